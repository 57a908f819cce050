//! One computer of the world: its links, its disk, its habits, and the engine it runs.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use swarm::{Bitfield, Config, ConnId, Session, TorrentId};

use crate::content::Content;
use crate::disk::Disk;
use crate::eve::Eve;
use crate::net::{EndId, Segment};

/// A computer's place in the world.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct NodeId(pub usize);

/// Where nodes listen.
pub const PORT: u16 = 6881;

/// What a computer is like.
#[derive(Clone, Debug)]
pub struct Spec {
    /// Bytes a second it can send.
    pub up: u64,
    /// Bytes a second it can receive.
    pub down: u64,
    /// Its share of the way to others: two nodes are as far apart as both together, one way.
    pub delay: Duration,
    /// The chance that a segment to or from it is lost and comes a retransmission later.
    pub loss: f64,
    /// Whether others can dial it.
    pub reachable: bool,
    /// Whether its address is one of a local network (RFC 1918).
    pub near: bool,
    /// Bytes a second its disk reads, writes and hashes.
    pub disk: u64,
    /// Buffers between its connections and its disk.
    pub slots: usize,
    /// Its store is the real one, over a disk in memory, and not the light model of it.
    pub real_store: bool,
    /// The chance that a block it sends is wrong.
    pub lies: f64,
    /// It promises blocks and never sends them.
    pub silent: bool,
    /// What its engine may use.
    pub config: Config,
}

impl Default for Spec {
    fn default() -> Spec {
        Spec {
            up: 2_000_000,
            down: 8_000_000,
            delay: Duration::from_millis(15),
            loss: 0.0,
            reachable: true,
            near: false,
            disk: 200_000_000,
            slots: 256,
            real_store: false,
            lies: 0.0,
            silent: false,
            config: Config::default(),
        }
    }
}

impl Spec {
    /// The same with this many bytes a second up and down.
    pub fn rate(self, up: u64, down: u64) -> Spec {
        Spec { up, down, ..self }
    }

    /// Whether it plays by the rules.
    pub fn is_honest(&self) -> bool {
        self.lies == 0.0 && !self.silent
    }
}

/// How a node comes to a torrent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum How {
    /// It has everything.
    Seed,
    /// It wants it and has the torrent file.
    Get,
    /// It wants it and has the info dictionary, but no piece layers (BEP 52: they come from peers).
    GetWithoutLayers,
    /// It wants it and has the info-hashes only (BEP 9).
    Magnet,
    /// As [`How::Magnet`], but it knows a hybrid by its v1 hash alone.
    MagnetV1,
    /// As [`How::Magnet`], but it knows a hybrid by its v2 hash alone.
    MagnetV2,
}

impl How {
    /// Whether it has the info dictionary to begin with.
    pub(crate) fn knows_info(self) -> bool {
        matches!(self, How::Seed | How::Get | How::GetWithoutLayers)
    }
}

/// A node's part in a torrent.
pub struct Share {
    /// What it is about.
    pub content: Rc<Content>,
    /// What is on its disk.
    pub disk: Box<dyn Disk>,
    /// When everything wanted was there.
    pub finished: Option<Duration>,
    /// Whole pieces that were wrong.
    pub failed_pieces: u32,
    /// Payload bytes that left it.
    pub sent: u64,
    /// Payload bytes that reached it.
    pub received: u64,
    /// The engine paused it for this reason.
    pub trouble: Option<String>,
    pub(crate) how: How,
    pub(crate) knows_info: bool,
    pub(crate) priorities: Vec<u8>,
    /// Pieces whose blocks are being written, each time by another number: blocks of an attempt
    /// that was given up are dropped.
    pub(crate) collecting: BTreeMap<u32, u64>,
    /// Pieces that a restart found on disk and in no record.
    pub(crate) recheck: Vec<u32>,
    /// Pieces that were seen to be right on this disk.
    pub(crate) right: Bitfield,
}

/// Who decides.
pub(crate) enum Brain {
    Off,
    Engine(Box<Session>),
    Eve(Eve),
}

/// What a node sends into: one segment at a time, connections in turn.
#[derive(Default)]
pub(crate) struct Uplink {
    pub busy: bool,
    pub ring: VecDeque<EndId>,
}

/// What a node receives from: one segment at a time, first come first served.
#[derive(Default)]
pub(crate) struct Downlink {
    pub busy: bool,
    pub queue: VecDeque<(EndId, Segment)>,
    /// Bytes on their way here.
    pub booked: u64,
    /// Senders waiting for room.
    pub waiting: VecDeque<EndId>,
}

/// One computer.
pub struct Node {
    /// What the trace calls it.
    pub name: String,
    /// What it is like.
    pub spec: Spec,
    /// Where it listens.
    pub addr: SocketAddr,
    /// What it takes part in.
    pub shares: BTreeMap<TorrentId, Share>,
    /// Addresses it has banned.
    pub banned: BTreeSet<IpAddr>,
    pub(crate) id: NodeId,
    pub(crate) brain: Brain,
    /// Restarts so far: what an earlier life began does not reach a later one.
    pub(crate) life: u32,
    pub(crate) conns: BTreeMap<ConnId, EndId>,
    pub(crate) uplink: Uplink,
    pub(crate) downlink: Downlink,
    pub(crate) slots_free: usize,
    pub(crate) thirsty: VecDeque<EndId>,
    pub(crate) disk_free_at: Duration,
    pub(crate) wake_at: Option<Duration>,
    pub(crate) syncing: bool,
}

impl Node {
    /// Whether it runs.
    pub fn is_up(&self) -> bool {
        !matches!(self.brain, Brain::Off)
    }

    /// Whether it runs an engine and plays by the rules.
    pub fn is_honest(&self) -> bool {
        self.spec.is_honest() && !matches!(self.brain, Brain::Eve(_))
    }

    /// Its part in this torrent.
    pub fn share(&self, content: &Content) -> &Share {
        &self.shares[&content.id]
    }

    /// Open connections.
    pub fn connections(&self) -> usize {
        self.conns.len()
    }

    pub(crate) fn session(&mut self) -> Option<&mut Session> {
        match &mut self.brain {
            Brain::Engine(session) => Some(session),
            _ => None,
        }
    }

    /// When a disk operation on so many bytes that begins now is over.
    pub(crate) fn disk_op(&mut self, now: Duration, bytes: u64) -> Duration {
        /// What any operation costs, in nanoseconds.
        const OPERATION: u64 = 50_000;
        let nanos = OPERATION + bytes * 1_000_000_000 / self.spec.disk;
        self.disk_free_at = self.disk_free_at.max(now) + Duration::from_nanos(nanos);
        self.disk_free_at
    }
}
