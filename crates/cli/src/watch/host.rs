//! Where transfers run while they are watched: a node inside this command, or a daemon.
//!
//! Both are seen through [`Host`], in the same words, so that what is told of a transfer does not depend on it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use node::{Options, Problem, ProblemKind, Source};
use torrent::ids::InfoHashes;
use torrent::metainfo::Info;

use crate::exit::{Exit, Failure, sentence};

/// A transfer, to its host.
pub type Key = u32;

/// Where transfers run.
pub trait Host {
    /// Where peers reach it, if it says so.
    fn listening(&self) -> Option<SocketAddr>;

    /// Begins a transfer.
    fn add(&mut self, source: Source, options: Options) -> Result<Key, Failure>;

    /// What happens next, within this time; nothing if nothing does.
    fn next(&mut self, within: Duration) -> Result<Vec<(Key, Happening)>, Failure>;

    /// How a transfer is doing.
    fn look(&self, key: Key) -> Option<Look>;

    /// It was tried in vain, and nothing is to be left of it.
    fn discard(&mut self, key: Key);

    /// The end. Answers how many bytes were sent meanwhile.
    fn stop(self: Box<Self>) -> u64;
}

/// What happened to a transfer.
#[derive(Debug)]
pub enum Happening {
    /// What it contains is known.
    Learnt(Facts),
    /// What was on disk has been looked at: so many pieces of so many are right.
    Checked(u32, u32),
    /// A file is whole: its path in the torrent, and its bytes.
    File(String, u64),
    /// All that is wanted is verified and on disk.
    Finished,
    /// It stands still.
    Paused(Failure),
    /// It goes on.
    Resumed,
    /// It cannot go on.
    Failed(Failure),
    /// Something to know.
    Notice(String),
}

/// What a torrent says of itself.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Its name.
    pub name: String,
    /// How many files it has.
    pub files: usize,
    /// Bytes of all of them.
    pub bytes: u64,
    /// It is a file, not a folder.
    pub single: bool,
    /// Its info-hashes.
    pub hashes: InfoHashes,
    /// Where it is, if that is not where it was asked to be.
    pub root: Option<PathBuf>,
}

impl Facts {
    /// Those of an info dictionary.
    pub fn of(info: &Info) -> Facts {
        Facts {
            name: info.name().to_owned(),
            files: info.files().filter(|file| !file.pad).count(),
            bytes: info.layout().payload(),
            single: info.is_single_file(),
            hashes: info.hashes(),
            root: None,
        }
    }
}

/// How a transfer is doing; counts are of this run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// What it is doing.
    pub doing: Doing,
    /// Bytes that are verified and on disk, of those that are wanted.
    pub done: u64,
    /// Bytes that are wanted.
    pub wanted: u64,
    /// Bytes a second, received.
    pub rate_down: u64,
    /// Bytes a second, sent.
    pub rate_up: u64,
    /// Bytes received.
    pub received: u64,
    /// Of those, bytes for nothing.
    pub wasted: u64,
    /// Bytes sent.
    pub sent: u64,
    /// Connected peers.
    pub peers: usize,
    /// Of those, with everything.
    pub seeds: usize,
    /// Addresses known.
    pub known: usize,
    /// Seconds until it is done.
    pub eta: Option<u64>,
    /// Pieces looked at, of how many.
    pub checking: Option<(u32, u32)>,
    /// What is being done to find peers.
    pub finding: Vec<String>,
}

/// What a transfer is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doing {
    /// Asking peers what it contains.
    Metadata,
    /// Checking what is on disk.
    Checking,
    /// Fetching.
    Downloading,
    /// Serving.
    Seeding,
    /// Standing still.
    Paused,
    /// Waiting for its turn in a daemon.
    Queued,
    /// Held by a daemon's rules.
    Held,
}

impl Doing {
    /// Its name in `progress` events.
    pub fn name(self) -> &'static str {
        match self {
            Doing::Metadata => "metadata",
            Doing::Checking => "checking",
            Doing::Downloading => "downloading",
            Doing::Seeding => "seeding",
            Doing::Paused => "paused",
            Doing::Queued => "queued",
            Doing::Held => "held",
        }
    }
}

/// A problem of a node under its exit code.
pub fn failure_of(problem: &Problem) -> Failure {
    let exit = match problem.kind {
        ProblemKind::NoSpace => Exit::NoSpace,
        ProblemKind::Permission => Exit::Permission,
        ProblemKind::NotFound => Exit::NotFound,
        ProblemKind::Damaged => Exit::Verification,
        ProblemKind::Other => Exit::Other,
    };
    Failure::new(exit, sentence(&problem.message))
}

/// The same transfer twice in one command.
pub fn twice(name: &str) -> Failure {
    Failure::usage(sentence(&format!("{name} is being transferred already")))
}
