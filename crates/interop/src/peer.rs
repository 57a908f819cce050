//! What all clients have in common once they run.

use crate::content::Forgive;
use crate::{Child, Content, Source, Torrent};
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a seed may take until it serves. transmission checks what it seeds first.
const SEED_READY: Duration = Duration::from_secs(60);

/// What a client is to do.
#[derive(Debug, Clone)]
pub enum Role {
    /// Serve content that is there.
    Seed(Torrent),
    /// Fetch, and go on serving when it is complete if `stay`.
    Get {
        /// What to fetch.
        source: Source,
        /// Whether it stays.
        stay: bool,
    },
}

impl Role {
    /// To fetch and then end.
    pub fn get(source: impl Into<Source>) -> Role {
        Role::Get {
            source: source.into(),
            stay: false,
        }
    }

    /// To fetch and go on serving.
    pub fn get_and_stay(source: impl Into<Source>) -> Role {
        Role::Get {
            source: source.into(),
            stay: true,
        }
    }

    /// The file or link the client is given.
    pub(crate) fn source(&self) -> Source {
        match self {
            Role::Seed(torrent) => torrent.into(),
            Role::Get { source, .. } => source.clone(),
        }
    }

    /// Where its content lies: beside the original for a seed, in `own` for others.
    pub(crate) fn folder(&self, own: &Path) -> PathBuf {
        match self {
            Role::Seed(torrent) => torrent.content.path.parent().unwrap().to_path_buf(),
            Role::Get { .. } => own.join("got"),
        }
    }
}

/// One client on the scenario's network.
pub struct Peer {
    /// Where it listens.
    pub addr: SocketAddrV4,
    /// Where its content lies.
    pub folder: PathBuf,
    /// Its process.
    pub child: Child,
    /// How to tell what it has done.
    pub(crate) signs: Box<dyn Signs>,
}

/// How one kind of client shows that it serves, or that it is complete.
pub(crate) trait Signs {
    fn seeding(&mut self, child: &mut Child) -> bool;
    fn complete(&mut self, child: &mut Child) -> bool;
    /// What of its result differs by nature.
    fn forgive(&self) -> Forgive {
        Forgive::default()
    }
}

/// Clients that say so themselves, in JSON lines: Starling and our libtorrent script.
pub(crate) struct Spoken;

impl Signs for Spoken {
    fn seeding(&mut self, child: &mut Child) -> bool {
        child.said("seeding").is_some()
    }

    fn complete(&mut self, child: &mut Child) -> bool {
        child
            .said("done")
            .is_some_and(|e| e["left"].as_u64().unwrap_or(0) == 0)
    }
}

impl Peer {
    /// Waits until it serves.
    pub fn serving(mut self) -> Peer {
        let signs = &mut self.signs;
        self.child.wait("it serves", SEED_READY, |child| {
            signs.seeding(child).then_some(())
        });
        self
    }

    /// Waits until it has everything.
    pub fn completes(&mut self, within: Duration) {
        let signs = &mut self.signs;
        self.child.wait("it is complete", within, |child| {
            signs.complete(child).then_some(())
        });
    }

    /// It has everything.
    pub fn is_complete(&mut self) -> bool {
        self.signs.complete(&mut self.child)
    }

    /// Waits until it has everything, and compares that with the original.
    pub fn receives(&mut self, content: &Content, within: Duration) {
        self.completes(within);
        content.assert_nearly_in(&self.folder, self.signs.forgive());
    }
}
