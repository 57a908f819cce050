//! The session: what torrents compete for, and who gets which fact.
//!
//! Here are the loop and the clock; connections, unchoke slots and limits lie in the modules below.

mod connections;
mod limits;
mod slots;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use torrent::wire::BlockRef;

use crate::choker::Choker;
use crate::rate::{Limiter, Way};
use crate::torrent::{Shared, Torrent};
use crate::traffic::Traffic;
use crate::{
    Approach, Config, ConnId, Failure, FetchId, Input, Output, PeerStatus, Reach, Reason, Road,
    Scope, Status, Take, TorrentId, Totals, Uploading, Verdict, WebSeedStatus,
};

/// How often stalled peers, keep-alives and waiting dials are looked at.
const TICK: Duration = Duration::from_secs(1);
/// Both handshakes must be done within this.
const HANDSHAKE: Duration = Duration::from_secs(15);
/// A seed leaves it to those who want something to dial, for this long.
const SEED_PATIENCE: Duration = Duration::from_secs(3);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Dialing,
    Greeting(Instant),
    Live,
}

#[derive(Debug)]
struct Conn {
    addr: SocketAddr,
    outgoing: bool,
    torrent: Option<TorrentId>,
    stage: Stage,
    road: Road,
    /// How it is dialled.
    approach: Approach,
}

/// The engine. See the crate's documentation for the loop around it.
pub struct Session {
    shared: Shared,
    torrents: BTreeMap<TorrentId, Torrent>,
    by_hash: BTreeMap<[u8; 20], TorrentId>,
    conns: BTreeMap<ConnId, Conn>,
    /// Torrents with peers or addresses: the others cost nothing per tick.
    active: BTreeSet<TorrentId>,
    /// Torrents with deadlines.
    readers: BTreeSet<TorrentId>,
    next_conn: u64,
    dials: usize,
    /// Something changed that may allow a dial.
    redial: bool,
    /// The torrent dialled for last, so that all get their turn.
    dialled_last: Option<TorrentId>,
    choker: Choker,
    choke_at: Instant,
    tick_at: Option<Instant>,
    rng: fastrand::Rng,
}

impl Session {
    /// A session with no torrents. The same seed and facts give the same decisions.
    pub fn new(config: Config, seed: u64, now: Instant) -> Session {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut limiter = Limiter::new(config.lan_free);
        let Config {
            limit_down: down,
            limit_up: up,
            ..
        } = config;
        limiter.set(now, Scope::Session, down, up);
        Session {
            shared: Shared {
                limiter,
                traffic: Traffic::new(now),
                rush: BTreeSet::new(),
                config,
                out: VecDeque::new(),
                unchoked: 0,
                learnt: Vec::new(),
                closed: Vec::new(),
                punches: Vec::new(),
                ours: [None; 2],
                dialbacks: Default::default(),
            },
            torrents: BTreeMap::new(),
            by_hash: BTreeMap::new(),
            conns: BTreeMap::new(),
            active: BTreeSet::new(),
            readers: BTreeSet::new(),
            next_conn: 1,
            dials: 0,
            redial: false,
            dialled_last: None,
            choker: Choker::new(rng.u64(..)),
            choke_at: now,
            tick_at: None,
            rng,
        }
    }

    /// A fresh id for a connection that was accepted.
    pub fn next_conn(&mut self) -> ConnId {
        self.next_conn += 1;
        ConnId(self.next_conn)
    }

    /// The next decision.
    pub fn poll(&mut self) -> Option<Output> {
        self.shared.out.pop_front()
    }

    /// When to hand over [`Input::Timeout`]; `None`: only facts wake it.
    pub fn deadline(&self) -> Option<Instant> {
        let limits = self.shared.limiter.deadline();
        [self.tick_at, limits].into_iter().flatten().min()
    }

    /// A fact.
    pub fn handle(&mut self, now: Instant, input: Input) {
        // A reader that jumps clears its deadlines and gives new ones at once: no gap for others.
        let jumps = matches!(input, Input::ClearDeadlines(_));
        match input {
            Input::Add(add) => {
                let (id, seed) = (add.id, self.rng.u64(..));
                let torrent = Torrent::new(&mut self.shared, now, *add, seed);
                self.by_hash
                    .extend(torrent.hashes.wire().map(|hash| (hash, id)));
                self.torrents.insert(id, torrent);
                self.wake(id);
            }
            Input::Remove(id) => self.remove(now, id),
            Input::Peers(id, source, addrs) => {
                let ours = self.shared.config.listen_port;
                if let Some(t) = self.torrents.get_mut(&id) {
                    let patience = if t.is_finished() {
                        SEED_PATIENCE
                    } else {
                        Duration::ZERO
                    };
                    let addrs = addrs
                        .into_iter()
                        .filter(|a| !(a.ip().is_loopback() && a.port() == ours));
                    addrs.for_each(|addr| t.roster.add(now + patience, addr, source));
                    self.wake(id);
                }
            }
            Input::External(ip) => self.seen_at(ip),
            Input::Dialback(conn, message) => {
                if let Some((t, shared)) = self.live(conn) {
                    t.say_dialback(shared, now, conn, message);
                }
            }
            Input::Incoming(conn, addr, road) => self.incoming(now, conn, addr, road),
            Input::Road(conn, road) => {
                if let Some(entry) = self.conns.get_mut(&conn) {
                    entry.road = Road {
                        punched: entry.road.punched,
                        ..road
                    };
                }
            }
            Input::Connected(conn, road) => self.connected(now, conn, road),
            Input::DialFailed(conn, failure) => self.gone(now, conn, Some(failure)),
            Input::Disconnected(conn) => self.gone(now, conn, Some(Failure::Closed)),
            Input::Handshake(conn, theirs) => {
                self.shared.traffic.down.handshake();
                if let Err(reason) = self.handshake(now, conn, &theirs) {
                    self.close(now, conn, reason);
                }
            }
            Input::Message(conn, message) => {
                self.shared.traffic.down.message(&message);
                let Some((t, shared)) = self.live(conn) else {
                    return;
                };
                if let Err(reason) = t.message(shared, now, conn, message) {
                    self.close(now, conn, reason);
                }
            }
            Input::BlockSent(conn, block) => {
                if let Some((t, shared)) = self.live(conn) {
                    t.block_sent(shared, now, conn, block);
                }
            }
            Input::BlockUnreadable(conn, block) => {
                if let Some((t, shared)) = self.live(conn) {
                    t.block_unreadable(shared, now, conn, block);
                }
            }
            Input::Limits(scope, down, up) => self.limit(now, scope, down, up),
            Input::LanFree(free) => self.shared.limiter.set_lan_free(now, free),
            Input::Slots(slots) => self.set_slots(now, slots),
            Input::Connections {
                all,
                per_torrent,
                dials,
            } => {
                let config = &mut self.shared.config;
                config.max_connections = all;
                config.max_connections_per_torrent = per_torrent;
                config.max_dials = dials;
                self.shed(now);
                self.redial = true;
            }
            Input::Group(id, group) => {
                if let Some(t) = self.torrents.get_mut(&id) {
                    t.group = group;
                    self.shared.limiter.regroup(now, id, group);
                }
            }
            Input::WebSeed(id, seed, class) => {
                if let Some(t) = self.torrents.get_mut(&id) {
                    t.add_web_seed(&mut self.shared, now, seed, class);
                    self.wake(id);
                }
            }
            Input::NoWebSeed(id, seed) => {
                if let Some(t) = self.torrents.get_mut(&id) {
                    t.remove_web_seed(&mut self.shared, now, seed);
                }
            }
            Input::Fetched(id, fetch, result) => {
                if let Some(t) = self.torrents.get_mut(&id) {
                    t.fetched(&mut self.shared, now, fetch, result);
                }
            }
            Input::Timeout => self.timeout(now),
            Input::Pause(id, why) => self.pause(now, id, why),
            Input::WriteFailed(id, piece, why) => {
                if let Some(t) = self.torrents.get_mut(&id) {
                    t.write_failed(&mut self.shared, piece);
                    self.pause(now, id, Some(why));
                }
            }
            Input::Prioritize(id, _)
            | Input::Deadline(id, ..)
            | Input::ClearDeadlines(id)
            | Input::Sequential(id, _)
            | Input::SuperSeed(id, _)
            | Input::PieceHashed(id, ..)
            | Input::Checked(id, ..)
            | Input::Resumed(id, _)
            | Input::CheckFinished(id)
            | Input::Digests(id, ..)
            | Input::Lost(id, _) => {
                if let Some(t) = self.torrents.get_mut(&id) {
                    if matches!(input, Input::Deadline(..)) {
                        self.readers.insert(id);
                    }
                    torrent_fact(t, &mut self.shared, now, input);
                    self.wake(id);
                    self.redial = true;
                }
            }
        }
        self.settle();
        if !jumps {
            self.look_for_rush(now);
        }
        self.deal_turns(now);
        self.dial(now);
    }

    /// A block's header has come over `conn`: what to do with its payload.
    pub fn block_arriving(&mut self, now: Instant, conn: ConnId, block: BlockRef) -> Verdict {
        match self.live(conn) {
            Some((t, _)) => t.block_arriving(now, conn, block),
            None => Verdict::Discard,
        }
    }

    /// A block's payload has come, into a slot (`kept`) or into nothing. Returns whether the slot
    /// goes to the store; if not, it came twice.
    pub fn block_arrived(
        &mut self,
        now: Instant,
        conn: ConnId,
        block: BlockRef,
        kept: bool,
    ) -> bool {
        let Some((t, shared)) = self.live(conn) else {
            return false;
        };
        let wanted = t.block_arrived(shared, now, conn, block, kept);
        self.deal_turns(now);
        wanted
    }

    /// The next block of a fetch is about to come: what to do with it.
    pub fn web_arriving(
        &mut self,
        now: Instant,
        id: TorrentId,
        fetch: FetchId,
        block: BlockRef,
    ) -> Take {
        match self.torrents.get_mut(&id) {
            Some(t) => t.web_arriving(&mut self.shared, now, fetch, block),
            None => Take::End,
        }
    }

    /// A block of a fetch has come, into a slot (`kept`) or into nothing. Returns whether the slot goes to the store.
    pub fn web_arrived(
        &mut self,
        now: Instant,
        id: TorrentId,
        fetch: FetchId,
        block: BlockRef,
        kept: bool,
    ) -> bool {
        let Some(t) = self.torrents.get_mut(&id) else {
            return false;
        };
        let wanted = t.web_arrived(&mut self.shared, now, fetch, block, kept);
        self.deal_turns(now);
        wanted
    }

    /// The web seeds of a torrent at a glance, in the order of their numbers.
    pub fn web_seeds(&self, now: Instant, id: TorrentId) -> Vec<WebSeedStatus> {
        self.torrents
            .get(&id)
            .map_or(Vec::new(), |t| t.web_seeds(now))
    }

    /// A torrent at a glance.
    pub fn status(&self, now: Instant, id: TorrentId) -> Option<Status> {
        self.torrents.get(&id).map(|t| t.status(now))
    }

    /// How far the peers of a torrent are reached. Costs a look at each address that is known.
    pub fn reach(&self, id: TorrentId) -> Option<Reach> {
        self.torrents.get(&id).map(Torrent::reach)
    }

    /// The peers of a torrent at a glance, in the order they came.
    pub fn peer_status(&self, now: Instant, id: TorrentId) -> Vec<PeerStatus> {
        let torrent = self.torrents.get(&id);
        let peers = torrent.into_iter().flat_map(|t| {
            let pieces = t.picker.have().len();
            t.peers.values().map(move |p| p.status(now, pieces))
        });
        peers.collect()
    }

    /// Verified bytes of a file of a torrent, by its index in the layout; `None` while its files are not known, and if
    /// there is no such file. Costs a look at each of its pieces.
    pub fn file_done(&self, id: TorrentId, file: usize) -> Option<u64> {
        self.torrents.get(&id)?.file_done(file)
    }

    /// All torrents together.
    pub fn totals(&self, now: Instant) -> Totals {
        let Traffic { down, up, .. } = &self.shared.traffic;
        Totals {
            received: down.payload.total(),
            sent: up.payload.total(),
            overhead_received: down.overhead,
            overhead_sent: up.overhead,
            rate_down: down.payload.rate(now),
            rate_up: up.payload.rate(now),
            connections: self.conns.len(),
            dials: self.dials,
        }
    }

    /// How serving goes.
    pub fn uploading(&self) -> Uploading {
        let mut sum = Uploading {
            sent: self.shared.traffic.up_bound,
            limited: self.shared.limiter.holds_back(Way::Up),
            ..Uploading::default()
        };
        let torrents = self.active.iter().filter_map(|id| self.torrents.get(id));
        torrents.for_each(|t| t.uploading(&self.shared.limiter, &mut sum));
        sum
    }

    /// The pieces of a torrent that are verified; empty while its metadata is unknown.
    pub fn have(&self, id: TorrentId) -> Option<&crate::Bitfield> {
        self.torrents.get(&id).map(|t| t.picker.have())
    }

    /// All piece layers of a torrent with their files' lengths, if known: with the info dictionary, they make its torrent
    /// file.
    pub fn layers(
        &self,
        id: TorrentId,
    ) -> Option<Vec<(torrent::ids::Sha256Hash, torrent::merkle::Layer, u64)>> {
        self.torrents.get(&id).and_then(|t| t.tree.layers())
    }

    /// The peers of a torrent.
    pub fn peers(&self, id: TorrentId) -> impl Iterator<Item = &crate::peer::Peer> {
        self.torrents
            .get(&id)
            .into_iter()
            .flat_map(|t| t.peers.values())
    }

    /// Blocks a peer has been asked for and not sent yet, in the order it will likely send them:
    /// a road may read ahead for them.
    pub fn expected(&self, conn: ConnId) -> impl Iterator<Item = BlockRef> + Clone + '_ {
        let torrent = self
            .conns
            .get(&conn)
            .and_then(|c| self.torrents.get(&c.torrent?));
        let peer = torrent.and_then(|t| t.peers.get(&conn));
        peer.into_iter()
            .flat_map(|p| p.asked.iter().filter(|a| a.live).map(|a| a.block))
    }

    /// Connections in any stage.
    pub fn connections(&self) -> usize {
        self.conns.len()
    }

    fn live(&mut self, conn: ConnId) -> Option<(&mut Torrent, &mut Shared)> {
        let entry = self.conns.get(&conn).filter(|c| c.stage == Stage::Live)?;
        Some((self.torrents.get_mut(&entry.torrent?)?, &mut self.shared))
    }

    /// Somebody waits for a piece of one torrent: the others let it pass. Or nobody does any more,
    /// and they go on.
    fn look_for_rush(&mut self, now: Instant) {
        if self.readers.is_empty() {
            return;
        }
        let torrents = &self.torrents;
        self.readers
            .retain(|id| torrents.get(id).is_some_and(|t| t.picker.has_readers()));
        let readers = self.readers.iter().copied();
        let rush: BTreeSet<TorrentId> = readers.filter(|id| torrents[id].rushes(now)).collect();
        let before = std::mem::replace(&mut self.shared.rush, rush);
        if before == self.shared.rush {
            return;
        }
        for id in &self.active {
            if let Some(t) = self.torrents.get_mut(id)
                && !t.is_finished()
            {
                t.refill_all(&mut self.shared, now);
            }
        }
    }

    /// Follows up on what a torrent did: connections it closed, info-hashes it learnt.
    fn settle(&mut self) {
        for (id, hashes) in std::mem::take(&mut self.shared.learnt) {
            self.by_hash.extend(hashes.wire().map(|hash| (hash, id)));
        }
        for conn in std::mem::take(&mut self.shared.closed) {
            self.redial |= self.conns.remove(&conn).is_some();
        }
        for (id, addr) in std::mem::take(&mut self.shared.punches) {
            self.punch(id, addr);
        }
    }

    /// A torrent may have somebody to dial.
    fn wake(&mut self, id: TorrentId) {
        if self.torrents.get(&id).is_some_and(Torrent::is_active) {
            self.active.insert(id);
            self.redial = true;
        }
    }

    /// Stops a torrent for this reason: whoever is connected, greeted or dialled for it is let go.
    fn pause(&mut self, now: Instant, id: TorrentId, why: Option<String>) {
        let Some(torrent) = self.torrents.get_mut(&id) else {
            return;
        };
        let stops = why.is_some();
        torrent.pause(&mut self.shared, now, why);
        self.settle();
        self.wake(id);
        if stops {
            self.close_unfinished(now, id);
        }
    }

    /// Ends dials and greetings of a torrent.
    fn close_unfinished(&mut self, now: Instant, id: TorrentId) {
        let of_it = |c: &Conn| c.torrent == Some(id) && c.stage != Stage::Live;
        let conns: Vec<ConnId> = self
            .conns
            .iter()
            .filter(|(_, c)| of_it(c))
            .map(|(&conn, _)| conn)
            .collect();
        for conn in conns {
            self.close(now, conn, Reason::Stopped);
        }
    }

    fn remove(&mut self, now: Instant, id: TorrentId) {
        self.pause(now, id, Some(String::new()));
        self.active.remove(&id);
        self.shared.limiter.forget(id);
        if let Some(torrent) = self.torrents.remove(&id) {
            for hash in torrent.hashes.wire() {
                if self.by_hash.get(&hash) == Some(&id) {
                    self.by_hash.remove(&hash);
                }
            }
        }
    }

    fn next_tick(&self, now: Instant) -> Option<Instant> {
        if !self.conns.is_empty() {
            return Some(now + TICK);
        }
        let waiting = self.active.iter().filter_map(|id| self.torrents.get(id));
        let ready = waiting
            .filter(|t| t.is_running())
            .flat_map(|t| [t.roster.ready_at(t.is_finished()), t.web_ready_at(now)])
            .flatten()
            .min();
        ready.map(|at| at.max(now + TICK / 10))
    }

    fn timeout(&mut self, now: Instant) {
        self.shared.limiter.wake(now);
        if self.tick_at.is_some_and(|at| now >= at) {
            self.tick(now);
        }
    }

    fn tick(&mut self, now: Instant) {
        let late: Vec<ConnId> = self
            .conns
            .iter()
            .filter(|(_, c)| matches!(c.stage, Stage::Greeting(since) if now.saturating_duration_since(since) > HANDSHAKE))
            .map(|(&conn, _)| conn)
            .collect();
        for conn in late {
            self.close(now, conn, Reason::HandshakeTimeout);
        }
        for id in self.active.iter().copied().collect::<Vec<_>>() {
            match self.torrents.get_mut(&id) {
                Some(t) if t.is_active() => t.tick(&mut self.shared, now),
                _ => {
                    self.active.remove(&id);
                }
            }
        }
        self.settle();
        if now >= self.choke_at {
            self.choke_at = now + self.shared.config.choke_interval;
            self.deal_slots(now);
        } else {
            self.fill_slots(now);
        }
        self.redial = true;
        self.tick_at = None;
        self.dial(now);
    }
}

/// A fact about one torrent that is not about a connection.
fn torrent_fact(t: &mut Torrent, shared: &mut Shared, now: Instant, input: Input) {
    match input {
        Input::Prioritize(_, priorities) => t.prioritize(shared, now, priorities),
        Input::Deadline(_, piece, when) => {
            if piece < t.picker.have().len() {
                t.picker.set_deadline(now, piece, when);
                t.refill_all(shared, now);
            }
        }
        Input::ClearDeadlines(_) => t.picker.clear_deadlines(),
        Input::Sequential(_, on) => t.set_sequential(on),
        Input::SuperSeed(_, on) => t.set_super_seeding(shared, now, on),
        Input::PieceHashed(_, piece, digest) => t.piece_hashed(shared, now, piece, digest),
        Input::Checked(_, piece, digest) => t.checked(shared, now, piece, digest),
        Input::Resumed(_, have) => t.resumed(&have),
        Input::CheckFinished(_) => t.check_finished(shared, now),
        Input::Digests(_, piece, digests) => t.digests(shared, now, piece, digests),
        Input::Lost(_, piece) => t.lost(shared, now, piece),
        _ => unreachable!("the caller passes facts about one torrent"),
    }
}
