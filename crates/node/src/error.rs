//! Why something could not begin.

use std::net::SocketAddr;
use std::path::PathBuf;

use store::StoreError;

use crate::{Problem, ProblemKind};

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The port or address is not to be had.
    #[error("cannot listen on {addr}: {source}. Choose another address or port with --bind")]
    Listen {
        /// What was asked for.
        addr: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// All is to go through a proxy, and there is none.
    #[error("all is to go through a proxy (proxy-required), and no proxy is named: set proxy too")]
    NoProxy,
    /// The state folder cannot be made.
    #[error("cannot use the folder {}: {source}. Set STARLING_HOME to one you can write to", path.display())]
    State {
        /// The folder.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The system gives no thread or no event queue.
    #[error("the system refused what a node needs to run: {0}")]
    System(#[from] std::io::Error),
}

/// Why a transfer did not begin.
#[derive(Debug, thiserror::Error)]
pub enum AddError {
    /// It runs already.
    #[error("{0} is being transferred already")]
    Twice(String),
    /// The place for it will not do.
    #[error("{}", .0.message)]
    Place(Problem),
    /// A magnet link or hash that names nothing.
    #[error("the link names no info-hash this program understands")]
    Nameless,
    /// The node has stopped.
    #[error("the node has stopped")]
    Stopped,
}

impl From<AddError> for Problem {
    fn from(error: AddError) -> Problem {
        match error {
            AddError::Place(problem) => problem,
            other => Problem::other(&other.to_string()),
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Problem {
        let kind = match &error {
            StoreError::NoSpace { .. } => ProblemKind::NoSpace,
            StoreError::Permission { .. } | StoreError::ReadOnly { .. } => ProblemKind::Permission,
            StoreError::Missing { .. } => ProblemKind::NotFound,
            StoreError::FileChanged { .. } => ProblemKind::Damaged,
            _ => ProblemKind::Other,
        };
        Problem {
            kind,
            message: error.to_string(),
        }
    }
}

/// Why the DHT does not give or keep a value (BEP 44).
#[derive(Debug, thiserror::Error)]
pub enum DhtError {
    /// It is off.
    #[error("the DHT is switched off")]
    Off,
    /// The node has stopped.
    #[error("the node is stopping")]
    Stopped,
    /// The value cannot be kept.
    #[error(transparent)]
    Item(#[from] torrent::krpc::item::ItemError),
    /// The signature is not that of its key.
    #[error("the value is not signed by the key it is to be kept under")]
    Forged,
    /// Too much is asked for, put or kept alive at once.
    #[error("too many values are asked for or kept alive; wait, or let some go")]
    TooMany,
    /// No node answered.
    #[error("no node of the DHT answers; try again when it has been joined")]
    Nobody,
    /// No node keeps it, and this is what one of them says.
    #[error("no node of the DHT keeps the value: {message} ({code})")]
    Refused {
        /// One of [`code`](torrent::krpc::code), or whatever the node made up.
        code: u16,
        /// In its words.
        message: String,
    },
}
