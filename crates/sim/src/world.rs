//! The world: virtual time, one queue of events, and everything that happens in it.
//!
//! A scenario makes a world, puts nodes and torrents into it and lets time pass. All chance comes
//! from one seed; the same seed gives the same run to the last bit, and [`World::trace_hash`] says
//! so. The checks (`checks.rs`) are always on: a world in which something wrong happens panics
//! there and then, and names the seed.

mod checks;
mod driver;
mod life;
mod mischief;
mod reading;
mod roads;
mod storage;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use swarm::{ConnId, PieceDigest, TorrentId};
use torrent::layout::Kind;
use torrent::wire::BlockRef;

use crate::content::{Content, Data};
use crate::net::{EndId, Segment, Wire};
use crate::node::{Node, NodeId};
use crate::trace::{Seconds, Trace};

/// What will happen.
pub(crate) enum Event {
    /// An engine's deadline.
    Wake(NodeId),
    /// An uplink has sent its segment; a block was the payload.
    Sent(EndId, Option<BlockRef>),
    /// A segment reaches the downlink.
    Arrived(EndId, Segment),
    /// A downlink is through with a segment.
    Received(EndId, Segment),
    /// There may be a slot for this end now.
    Read(EndId),
    /// A dial reaches its target.
    Knock(usize),
    /// The target's answer reaches the dialler.
    Answered(usize),
    /// A dial gets no answer.
    NoAnswer(ConnId),
    /// A block is on disk.
    Written {
        id: TorrentId,
        piece: u32,
        block: u32,
        attempt: u64,
        data: Rc<Data>,
    },
    /// A whole piece was hashed.
    Hashed {
        id: TorrentId,
        piece: u32,
        attempt: u64,
        digest: Box<PieceDigest>,
    },
    /// A block was read to be sent.
    ReadBack {
        conn: ConnId,
        id: TorrentId,
        block: BlockRef,
    },
    /// A piece was read for its digests.
    Digested { id: TorrentId, piece: u32 },
    /// Data that was there before has been looked at.
    Checked(TorrentId),
    /// Everything written is durable now.
    Synced,
    /// Ask the tracker for peers.
    Announce(TorrentId),
    /// Eve does something.
    EveActs,
    /// A scenario's own idea.
    Script(Box<dyn FnOnce(&mut World)>),
}

/// An event, and the life of the node it belongs to: a node that was switched off meanwhile does
/// not notice.
struct Due {
    at: Duration,
    number: u64,
    node: Option<(NodeId, u32)>,
    event: Event,
}

impl PartialEq for Due {
    fn eq(&self, other: &Due) -> bool {
        self.number == other.number
    }
}
impl Eq for Due {}
impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Due) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Due {
    fn cmp(&self, other: &Due) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// Where a run comes from.
#[derive(Clone, Copy, Debug)]
pub struct Origin {
    /// The scenario's name.
    pub scenario: &'static str,
    /// The seed of all chance.
    pub seed: u64,
    /// Print what happens.
    pub print: bool,
}

/// The world.
pub struct World {
    /// What nodes learn of each other without being told: all that share a torrent, from a
    /// tracker. Off: only [`World::introduce`] tells.
    pub tracker: bool,
    origin: Origin,
    base: Instant,
    now: Duration,
    queue: BinaryHeap<Reverse<Due>>,
    events: u64,
    nodes: Vec<Node>,
    wires: Vec<Wire>,
    contents: Vec<Rc<Content>>,
    by_hash: BTreeMap<[u8; 20], TorrentId>,
    by_addr: BTreeMap<SocketAddr, NodeId>,
    rng: fastrand::Rng,
    trace: Trace,
    attempts: u64,
    /// Nothing passes between these.
    partitions: Vec<(NodeId, NodeId)>,
    /// Who dialled whom to make a hole, when, and the dial that waits for the other's.
    holes: BTreeMap<(NodeId, NodeId), (Duration, Option<ConnId>)>,
}

impl World {
    /// An empty world.
    pub fn new(origin: Origin) -> World {
        World {
            tracker: true,
            origin,
            base: Instant::now(),
            now: Duration::ZERO,
            queue: BinaryHeap::new(),
            events: 0,
            nodes: Vec::new(),
            wires: Vec::new(),
            contents: Vec::new(),
            by_hash: BTreeMap::new(),
            by_addr: BTreeMap::new(),
            rng: fastrand::Rng::with_seed(origin.seed),
            trace: Trace::new(origin.print),
            attempts: 0,
            partitions: Vec::new(),
            holes: BTreeMap::new(),
        }
    }

    /// A torrent of files of these lengths, in bytes.
    pub fn content(&mut self, kind: Kind, piece_length: u32, lens: &[u64]) -> Rc<Content> {
        let id = TorrentId(self.contents.len() as u32);
        let content = Rc::new(Content::new(id, kind, piece_length, lens, &mut self.rng));
        let hashes = content.info.hashes();
        self.by_hash.extend(hashes.wire().map(|hash| (hash, id)));
        self.contents.push(content.clone());
        content
    }

    // ---- looking -----------------------------------------------------------------------------

    /// Time since the world began.
    pub fn now(&self) -> Duration {
        self.now
    }

    /// Chance, for scenarios.
    pub fn rng(&mut self) -> &mut fastrand::Rng {
        &mut self.rng
    }

    /// A node.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
    }

    /// All nodes, in the order they came.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> + use<> {
        (0..self.nodes.len()).map(NodeId)
    }

    /// Changes what a node is like.
    pub fn respec(&mut self, id: NodeId, change: impl FnOnce(&mut crate::node::Spec)) {
        change(&mut self.nodes[id.0].spec);
    }

    /// What a node's engine says of a torrent.
    pub fn status(&mut self, id: NodeId, content: &Content) -> Option<swarm::Status> {
        let now = self.instant();
        self.nodes[id.0].session()?.status(now, content.id)
    }

    /// How far a node's engine reaches the peers of a torrent.
    pub fn reach(&self, id: NodeId, content: &Content) -> Option<swarm::Reach> {
        match &self.nodes[id.0].brain {
            crate::node::Brain::Engine(session) => session.reach(content.id),
            _ => None,
        }
    }

    /// Whether a node has this piece, whole and right.
    pub fn has(&self, id: NodeId, content: &Content, piece: u32) -> bool {
        self.nodes[id.0].share(content).right.get(piece)
    }

    /// The addresses a node's engine is connected to for this torrent.
    pub fn peers(&mut self, id: NodeId, content: &Content) -> Vec<SocketAddr> {
        let session = self.nodes[id.0].session();
        let peers = session
            .into_iter()
            .flat_map(|s| s.peers(content.id).map(|p| p.addr));
        peers.collect()
    }

    /// What has happened so far, as one number.
    pub fn trace_hash(&self) -> u64 {
        self.trace.hash()
    }

    /// Events so far.
    pub fn events(&self) -> u64 {
        self.events
    }

    // ---- time --------------------------------------------------------------------------------

    pub(crate) fn instant(&self) -> Instant {
        self.base + self.now
    }

    pub(crate) fn at(&mut self, at: Duration, node: Option<NodeId>, event: Event) {
        self.events += 1;
        let node = node.map(|id| (id, self.nodes[id.0].life));
        self.queue.push(Reverse(Due {
            at: at.max(self.now),
            number: self.events,
            node,
            event,
        }));
    }

    /// Does something later.
    pub fn after(&mut self, wait: Duration, what: impl FnOnce(&mut World) + 'static) {
        self.at(self.now + wait, None, Event::Script(Box::new(what)));
    }

    /// Lets time pass until `done`, or for so long. Returns whether it came to be.
    pub fn run(&mut self, for_: Duration, mut done: impl FnMut(&mut World) -> bool) -> bool {
        let end = self.now + for_;
        while !done(self) {
            match self.queue.peek() {
                Some(Reverse(due)) if due.at <= end => self.step(),
                _ => {
                    self.now = end;
                    return done(self);
                }
            }
        }
        true
    }

    /// Lets so much time pass.
    pub fn pass(&mut self, time: Duration) {
        self.run(time, |_| false);
    }

    fn step(&mut self) {
        let Some(Reverse(due)) = self.queue.pop() else {
            return;
        };
        self.now = due.at;
        let node = match due.node {
            // It was switched off meanwhile.
            Some((id, life)) if self.nodes[id.0].life != life => return,
            Some((id, _)) => id,
            None => NodeId(usize::MAX),
        };
        self.trace.number(due.at.as_nanos() as u64);
        self.trace.number(node.0 as u64);
        match due.event {
            Event::Wake(id) => self.wake(id),
            Event::Sent(end, block) => self.sent(end, block),
            Event::Arrived(end, segment) => self.arrived(end, segment),
            Event::Received(end, segment) => self.received(end, segment),
            Event::Read(end) => self.read(end),
            Event::Knock(wire) => self.knock(wire),
            Event::Answered(wire) => self.answered(wire),
            Event::NoAnswer(conn) => self.no_answer(node, conn),
            Event::Written {
                id,
                piece,
                block,
                attempt,
                data,
            } => {
                self.written(node, id, (piece, block), attempt, data);
            }
            Event::Hashed {
                id,
                piece,
                attempt,
                digest,
            } => self.hashed(node, id, piece, attempt, *digest),
            Event::ReadBack { conn, id, block } => self.read_back(node, conn, id, block),
            Event::Digested { id, piece } => self.digested(node, id, piece),
            Event::Checked(id) => self.checked(node, id),
            Event::Synced => self.synced(node),
            Event::Announce(id) => self.announce(node, id),
            Event::EveActs => self.eve_acts(node),
            Event::Script(what) => what(self),
        }
    }

    /// A line of the trace.
    pub(crate) fn note(&self, node: NodeId, what: impl FnOnce() -> String) {
        self.trace.line(self.now, &self.nodes[node.0].name, what);
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Origin { scenario, seed, .. } = self.origin;
            let now = Seconds(self.now);
            eprintln!(
                "in {scenario} with seed {seed} at {now} s; again: cargo xtask sim {scenario} --seed {seed}"
            );
        }
    }
}
