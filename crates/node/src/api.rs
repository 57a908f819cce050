//! What a program that contains a node says to it and hears from it.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use torrent::ids::InfoHashes;
use torrent::magnet::Magnet;
use torrent::metainfo::{Info, Metainfo};

/// A proxy: what it speaks, where it is, and who we are to it.
pub use link::proxy::Proxy;
pub use link::{Egress, Encryption};
/// What a file looked like: its length and time.
pub use store::Fingerprint;
/// One transfer of a node.
pub use swarm::TorrentId;

/// How a node is to run.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where resume records, torrents and known nodes are kept.
    pub state_dir: PathBuf,
    /// Address to listen on; `None`: all, IPv4 and IPv6.
    pub bind: Option<IpAddr>,
    /// The interface all that is ours goes over; `None`: any. While it is away, nothing leaves.
    pub interface: Option<String>,
    /// Have the router pass our port on to us.
    pub port_mapping: bool,
    /// A file with addresses to have nothing to do with; read again when it changes.
    pub block_list: Option<PathBuf>,
    /// The proxy that what it can carry goes through.
    pub proxy: Option<Proxy>,
    /// What the proxy cannot carry does not leave at all.
    pub proxy_required: bool,
    /// Port to listen on; 0: any that is free; `None`: 6881, or any if that is taken.
    pub port: Option<u16>,
    /// Take part in the mainline DHT.
    pub dht: bool,
    /// Nodes to enter the DHT by, as HOST:PORT; empty: the public routers.
    pub dht_bootstrap: Vec<String>,
    /// Look for peers on the local network (BEP 14).
    pub local_discovery: bool,
    /// Announce to trackers.
    pub trackers: bool,
    /// Speak uTP beside TCP.
    pub utp: bool,
    /// Which connections are encrypted.
    pub encryption: Encryption,
    /// Bytes a second of payload; 0: no limit.
    pub limit_down: u64,
    /// Bytes a second of payload; 0: no limit.
    pub limit_up: u64,
    /// Tell [`Event::Report`] at most this often; `None`: never.
    pub report: Option<Duration>,
    /// Complete transfers without a peer for so long cost nothing but their hashes; `None`: never.
    pub dormancy: Option<Duration>,
}

impl Config {
    /// The usual: everything on but port mapping, no limits, nothing reported.
    pub fn new(state_dir: PathBuf) -> Config {
        Config {
            state_dir,
            bind: None,
            interface: None,
            port_mapping: false,
            block_list: None,
            proxy: None,
            proxy_required: false,
            port: None,
            dht: true,
            dht_bootstrap: Vec::new(),
            local_discovery: true,
            trackers: true,
            utp: true,
            encryption: Encryption::default(),
            limit_down: 0,
            limit_up: 0,
            report: None,
            dormancy: None,
        }
    }

    /// How what is ours leaves this computer.
    pub fn egress(&self) -> Egress {
        Egress {
            bind: self.bind,
            interface: self.interface.clone(),
            proxy: self.proxy.clone(),
            required: self.proxy_required,
        }
    }
}

/// What to take part in.
pub enum Source {
    /// A torrent file's content.
    Metainfo(Box<Metainfo>),
    /// A magnet link.
    Magnet(Box<Magnet>),
    /// A bare info-hash.
    Hash(InfoHashes),
}

impl Source {
    /// What it is known by.
    pub fn hashes(&self) -> InfoHashes {
        match self {
            Source::Metainfo(metainfo) => metainfo.info.hashes(),
            Source::Magnet(magnet) => magnet.hashes,
            Source::Hash(hashes) => *hashes,
        }
    }
}

/// Where the content is, or is to go.
#[derive(Clone, Debug)]
pub enum Place {
    /// Into this folder, under the torrent's own name.
    Into(PathBuf),
    /// The content itself is this file or folder (existing data to seed).
    At(PathBuf),
}

/// How to take part.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the content is, or is to go.
    pub place: Place,
    /// The data is there and right: hash nothing (seeding what was just hashed).
    pub assume_complete: bool,
    /// What the files looked like when they were hashed, one for each file of the layout: one that
    /// has changed since is not served. Empty if unknown.
    pub known: Vec<Fingerprint>,
    /// Only serve: existing data is never written to.
    pub read_only: bool,
    /// Only files whose path matches one of these globs; empty: all.
    pub select: Vec<String>,
    /// Priority of each file, 0 (not wanted) to 7; empty: all alike. Goes before `select`.
    pub priorities: Vec<u8>,
    /// Reserve the space before writing.
    pub preallocate: bool,
    /// Pieces in order, for who looks at it while it comes.
    pub sequential: bool,
    /// While nobody else has everything, show each peer one piece at a time (BEP 16).
    pub super_seed: bool,
    /// Begins standing still, for this reason.
    pub halted: Option<String>,
    /// Peers come from its trackers only (BEP 27): asked while its metadata is not read.
    pub private: bool,
    /// Keep torrent file and resume record for existing data too, so that a restart need not
    /// hash it again.
    pub remember: bool,
    /// Peers to try first.
    pub peers: Vec<SocketAddr>,
    /// Servers that have the content, besides those that the torrent names (BEP 19).
    pub web_seeds: Vec<String>,
}

impl Options {
    /// Everything, to or at `place`.
    pub fn new(place: Place) -> Options {
        Options {
            place,
            assume_complete: false,
            known: Vec::new(),
            read_only: false,
            select: Vec::new(),
            priorities: Vec::new(),
            preallocate: false,
            sequential: false,
            super_seed: false,
            halted: None,
            private: false,
            remember: false,
            peers: Vec::new(),
            web_seeds: Vec::new(),
        }
    }
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// The info dictionary is here (at once, when a torrent file was given).
    Metadata(TorrentId, Arc<Info>),
    /// Existing data was checked: this many of so many pieces are here and right.
    Checked(TorrentId, u32, u32),
    /// A file is whole, verified and under its final name.
    FileFinished(TorrentId, usize),
    /// Everything wanted is verified and on disk.
    Finished(TorrentId),
    /// It stopped; it goes on by itself when the reason is gone.
    Paused(TorrentId, Problem),
    /// It goes on.
    Resumed(TorrentId),
    /// It cannot go on.
    Failed(TorrentId, Problem),
    /// Something the person may want to know (a tracker's message, a peer banned).
    Notice(TorrentId, String),
    /// So many nodes of the DHT answer.
    DhtNodes(usize),
    /// How transfers that changed are doing now; only if [`Config::report`] asks for it.
    Report(Vec<(TorrentId, Report)>),
}

/// How a transfer is doing, as far as it changes often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// What the engine says; `None` while the transfer is dormant.
    pub swarm: Option<swarm::Status>,
    /// Pieces looked at by a check under way, of how many.
    pub checking: Option<(u32, u32)>,
}

/// Why a transfer stands still.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What kind, for exit codes.
    pub kind: ProblemKind,
    /// What happened and what to do, in a sentence or two.
    pub message: String,
}

/// Kinds of problem a program may treat differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProblemKind {
    /// The disk is full.
    NoSpace,
    /// Not allowed to read or write.
    Permission,
    /// A file or folder is not there.
    NotFound,
    /// Data on disk is not what it should be.
    Damaged,
    /// Anything else.
    Other,
}

/// A transfer at a glance.
#[derive(Clone, Debug)]
pub struct Status {
    /// What the engine says: state, bytes, rates, peers.
    pub swarm: swarm::Status,
    /// The torrent's name, or its info-hash until the metadata is here.
    pub name: String,
    /// Seconds until done at the present rate.
    pub eta: Option<u64>,
    /// Pieces looked at by a check under way, of how many.
    pub checking: Option<(u32, u32)>,
    /// What is being done to find peers, in words.
    pub finding: Vec<String>,
}
