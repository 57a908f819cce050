//! The session: what torrents compete for, and who gets which fact.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use torrent::wire::{BlockRef, Handshake};

use crate::choker::{Candidate, Choker};
use crate::rate::Bucket;
use crate::torrent::{Shared, Torrent, our_handshake};
use crate::{Config, ConnId, Input, Output, Reason, Status, TorrentId, Verdict};

/// How often stalled peers, keep-alives and waiting dials are looked at.
const TICK: Duration = Duration::from_secs(1);
/// Both handshakes must be done within this.
const HANDSHAKE: Duration = Duration::from_secs(15);
/// Two connections to one peer younger than this crossed each other.
const CROSSING: Duration = Duration::from_secs(10);
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
}

/// The engine. See the crate's documentation for the loop around it.
pub struct Session {
    shared: Shared,
    torrents: BTreeMap<TorrentId, Torrent>,
    by_hash: BTreeMap<[u8; 20], TorrentId>,
    conns: BTreeMap<ConnId, Conn>,
    /// Torrents with peers or addresses: the others cost nothing per tick.
    active: BTreeSet<TorrentId>,
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
        Session {
            shared: Shared {
                down: Bucket::new(now, config.limit_down),
                up: Bucket::new(now, config.limit_up),
                config,
                out: VecDeque::new(),
                unchoked: 0,
                starved_down: false,
                starved_up: false,
                learnt: Vec::new(),
            },
            torrents: BTreeMap::new(),
            by_hash: BTreeMap::new(),
            conns: BTreeMap::new(),
            active: BTreeSet::new(),
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
        // A bucket that holds nobody back may say anything.
        let Shared {
            starved_down,
            starved_up,
            down,
            up,
            ..
        } = &self.shared;
        let down = starved_down.then(|| down.ready_at()).flatten();
        let up = starved_up.then(|| up.ready_at()).flatten();
        [self.tick_at, down, up].into_iter().flatten().min()
    }

    /// A fact.
    pub fn handle(&mut self, now: Instant, input: Input) {
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
            Input::Incoming(conn, addr) => self.incoming(now, conn, addr),
            Input::Connected(conn) => self.connected(now, conn),
            Input::DialFailed(conn) | Input::Disconnected(conn) => self.gone(now, conn),
            Input::Handshake(conn, theirs) => {
                if let Err(reason) = self.handshake(now, conn, &theirs) {
                    self.close(now, conn, reason);
                }
            }
            Input::Message(conn, message) => {
                let Some((t, shared)) = self.live(conn) else {
                    return;
                };
                if let Err(reason) = t.message(shared, now, conn, message) {
                    self.close(now, conn, reason);
                }
                self.settle();
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
            Input::Timeout => self.timeout(now),
            Input::Pause(id, _)
            | Input::Prioritize(id, _)
            | Input::Deadline(id, ..)
            | Input::PieceHashed(id, ..)
            | Input::WriteFailed(id, ..)
            | Input::Checked(id, ..)
            | Input::Resumed(id, _)
            | Input::CheckFinished(id)
            | Input::Digests(id, ..)
            | Input::Lost(id, _) => {
                if let Some(t) = self.torrents.get_mut(&id) {
                    torrent_fact(t, &mut self.shared, now, input);
                    self.settle();
                    self.redial = true;
                }
            }
        }
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
        t.block_arrived(shared, now, conn, block, kept)
    }

    /// A torrent at a glance.
    pub fn status(&mut self, now: Instant, id: TorrentId) -> Option<Status> {
        self.torrents.get_mut(&id).map(|t| t.status(now))
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

    /// New limits in bytes a second; 0: none.
    pub fn set_limits(&mut self, down: u64, up: u64) {
        self.shared.config.limit_down = down;
        self.shared.config.limit_up = up;
        self.shared.down.set_rate(down);
        self.shared.up.set_rate(up);
    }

    fn live(&mut self, conn: ConnId) -> Option<(&mut Torrent, &mut Shared)> {
        let entry = self.conns.get(&conn).filter(|c| c.stage == Stage::Live)?;
        Some((self.torrents.get_mut(&entry.torrent?)?, &mut self.shared))
    }

    /// Follows up on what a torrent did: connections it closed, info-hashes it learnt.
    fn settle(&mut self) {
        for (id, hashes) in std::mem::take(&mut self.shared.learnt) {
            self.by_hash.extend(hashes.wire().map(|hash| (hash, id)));
        }
        let closed: Vec<ConnId> = self
            .shared
            .out
            .iter()
            .filter_map(|o| match o {
                Output::Close(conn, _) => Some(*conn),
                _ => None,
            })
            .collect();
        for conn in closed {
            self.redial |= self.conns.remove(&conn).is_some();
        }
    }

    fn wake(&mut self, id: TorrentId) {
        self.active.insert(id);
        self.redial = true;
    }

    fn remove(&mut self, now: Instant, id: TorrentId) {
        let Some(mut torrent) = self.torrents.remove(&id) else {
            return;
        };
        torrent.pause(&mut self.shared, now, Some(String::new()));
        self.by_hash.retain(|_, t| *t != id);
        self.active.remove(&id);
        let greeting: Vec<ConnId> = self
            .conns
            .iter()
            .filter(|(_, c)| c.torrent == Some(id))
            .map(|(&c, _)| c)
            .collect();
        self.settle();
        for conn in greeting {
            self.close(now, conn, Reason::Stopped);
        }
    }

    // ---- connections -------------------------------------------------------------------------

    fn incoming(&mut self, now: Instant, conn: ConnId, addr: SocketAddr) {
        if self.conns.len() >= self.shared.config.max_connections {
            self.shared.out.push_back(Output::Close(conn, Reason::Full));
            return;
        }
        let stage = Stage::Greeting(now);
        self.conns.insert(
            conn,
            Conn {
                addr,
                outgoing: false,
                torrent: None,
                stage,
            },
        );
        self.tick_at.get_or_insert(now + TICK);
    }

    fn connected(&mut self, now: Instant, conn: ConnId) {
        let Some(entry) = self
            .conns
            .get_mut(&conn)
            .filter(|c| c.stage == Stage::Dialing)
        else {
            return;
        };
        entry.stage = Stage::Greeting(now);
        self.dials -= 1;
        self.redial = true;
        if let Some(t) = entry.torrent.and_then(|id| self.torrents.get(&id)) {
            let ours = t.handshake(&self.shared.config);
            self.shared.out.push_back(Output::Handshake(conn, ours));
        }
    }

    fn handshake(&mut self, now: Instant, conn: ConnId, theirs: &Handshake) -> Result<(), Reason> {
        let Some(entry) = self
            .conns
            .get(&conn)
            .filter(|c| matches!(c.stage, Stage::Greeting(_)))
        else {
            return Ok(());
        };
        let (addr, outgoing) = (entry.addr, entry.outgoing);
        let id = match entry.torrent {
            Some(id) => id,
            None => *self
                .by_hash
                .get(&theirs.info_hash)
                .ok_or(Reason::UnknownTorrent)?,
        };
        let torrent = self.torrents.get_mut(&id).ok_or(Reason::UnknownTorrent)?;
        if !torrent.hashes.wire().any(|hash| hash == theirs.info_hash) {
            return Err(Reason::UnknownTorrent);
        }
        if !torrent.is_running() {
            return Err(Reason::Stopped);
        }
        if theirs.peer_id == self.shared.config.peer_id {
            torrent.roster.forget(addr);
            return Err(Reason::Ourselves);
        }
        if torrent.roster.is_banned(addr.ip()) {
            return Err(Reason::Banned);
        }
        let twin = torrent.peers.values().find(|p| p.id == theirs.peer_id);
        if let Some(twin) = twin {
            // If both dialled at once, both must keep the same connection: the one dialled by
            // the smaller peer id.
            let keep_outgoing = self.shared.config.peer_id < theirs.peer_id;
            let crossed = now.saturating_duration_since(twin.since) < CROSSING;
            if !crossed || twin.outgoing == outgoing || twin.outgoing == keep_outgoing {
                return Err(Reason::Duplicate);
            }
            let twin = twin.conn;
            torrent.close(&mut self.shared, now, twin, Reason::Duplicate);
            self.settle();
        }
        let torrent = self.torrents.get_mut(&id).ok_or(Reason::UnknownTorrent)?;
        if torrent.peers.len() >= self.shared.config.max_connections_per_torrent {
            return Err(Reason::Full);
        }

        // A hybrid is opened with its v1 hash; whoever knows the v2 half answers with that.
        let v2_hash = torrent.hashes.v2.as_ref().map(torrent::ids::truncated);
        let named_v2 = Some(theirs.info_hash) == v2_hash;
        let upgrade = theirs.reserved.v2() && v2_hash.is_some();
        if !outgoing {
            let answer = match v2_hash {
                Some(v2) if upgrade => v2,
                _ => theirs.info_hash,
            };
            let ours = our_handshake(&self.shared.config, answer, v2_hash.is_some());
            self.shared.out.push_back(Output::Handshake(conn, ours));
        }
        let v2 = named_v2 || upgrade && !outgoing;
        if let Some(entry) = self.conns.get_mut(&conn) {
            entry.stage = Stage::Live;
            entry.torrent = Some(id);
        }
        torrent.connected(&mut self.shared, now, conn, (addr, outgoing), theirs, v2);
        self.active.insert(id);
        self.tick_at.get_or_insert(now + TICK);
        Ok(())
    }

    /// The other side or the network ended it.
    fn gone(&mut self, now: Instant, conn: ConnId) {
        let Some(entry) = self.conns.remove(&conn) else {
            return;
        };
        self.redial = true;
        self.dials -= usize::from(entry.stage == Stage::Dialing);
        let Some(torrent) = entry.torrent.and_then(|id| self.torrents.get_mut(&id)) else {
            return;
        };
        match entry.stage {
            Stage::Live => torrent.disconnected(&mut self.shared, now, conn),
            _ => torrent.roster.free(now, entry.addr),
        }
    }

    /// We end it.
    fn close(&mut self, now: Instant, conn: ConnId, reason: Reason) {
        if self.conns.contains_key(&conn) {
            self.gone(now, conn);
            self.shared.out.push_back(Output::Close(conn, reason));
        }
    }

    fn dial(&mut self, now: Instant) {
        if !std::mem::take(&mut self.redial) {
            return;
        }
        loop {
            let config = &self.shared.config;
            if self.dials >= config.max_dials || self.conns.len() >= config.max_connections {
                break;
            }
            // In turn, beginning behind the one that was last.
            let last = self.dialled_last;
            let ids: Vec<TorrentId> = self
                .active
                .iter()
                .copied()
                .filter(|id| Some(*id) > last)
                .chain(self.active.iter().copied().filter(|id| Some(*id) <= last))
                .collect();
            let mut found = None;
            for id in ids {
                let Some(t) = self.torrents.get_mut(&id) else {
                    continue;
                };
                if t.wants_peers(config)
                    && let Some(addr) = t.roster.next(now)
                {
                    found = Some((id, addr));
                    break;
                }
            }
            let Some((id, addr)) = found else { break };
            self.dialled_last = Some(id);
            let conn = self.next_conn();
            let stage = Stage::Dialing;
            self.conns.insert(
                conn,
                Conn {
                    addr,
                    outgoing: true,
                    torrent: Some(id),
                    stage,
                },
            );
            self.dials += 1;
            self.shared.out.push_back(Output::Dial(conn, addr));
        }
        if self.tick_at.is_none() {
            self.tick_at = self.next_tick(now);
        }
    }

    // ---- time --------------------------------------------------------------------------------

    fn next_tick(&self, now: Instant) -> Option<Instant> {
        if !self.conns.is_empty() {
            return Some(now + TICK);
        }
        let waiting = self.active.iter().filter_map(|id| self.torrents.get(id));
        let ready = waiting
            .filter(|t| t.is_running())
            .filter_map(|t| t.roster.ready_at())
            .min();
        ready.map(|at| at.max(now + TICK / 10))
    }

    fn timeout(&mut self, now: Instant) {
        let down = std::mem::take(&mut self.shared.starved_down);
        let up = std::mem::take(&mut self.shared.starved_up);
        if down || up {
            self.feed(now);
        }
        if self.tick_at.is_some_and(|at| now >= at) {
            self.tick(now);
        }
    }

    /// A limit held somebody back: goes on where it can.
    fn feed(&mut self, now: Instant) {
        let ids: Vec<TorrentId> = self.active.iter().copied().collect();
        // The first to be served takes most of what has come: a different one each time.
        let start = self.rng.usize(..ids.len().max(1));
        for id in ids[start..].iter().chain(&ids[..start]) {
            let Some(t) = self.torrents.get_mut(id) else {
                continue;
            };
            let mut conns: Vec<ConnId> = t.peers.keys().copied().collect();
            self.rng.shuffle(&mut conns);
            for conn in conns {
                t.pump(&mut self.shared, now, conn);
                t.refill(&mut self.shared, now, conn);
            }
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
                Some(t) if !t.peers.is_empty() || !t.roster.is_empty() => {
                    t.tick(&mut self.shared, now);
                }
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

    /// Slots that became free between two rounds go to those who have waited longest.
    fn fill_slots(&mut self, now: Instant) {
        let free = self
            .shared
            .config
            .unchoke_slots
            .saturating_sub(self.shared.unchoked);
        if free == 0 {
            return;
        }
        let torrents = self.active.iter().filter_map(|id| self.torrents.get(id));
        let waiting = torrents.filter(|t| t.is_running()).flat_map(|t| {
            let choked = t.peers.values().filter(|p| p.choked && p.interested_in_us);
            choked.map(|p| (std::cmp::Reverse(p.waited), p.since, t.id, p.conn))
        });
        let mut waiting: Vec<_> = waiting.collect();
        waiting.sort_unstable();
        for (.., id, conn) in waiting.into_iter().take(free) {
            if let Some(t) = self.torrents.get_mut(&id) {
                t.set_choked(&mut self.shared, now, conn, false);
            }
        }
    }

    fn deal_slots(&mut self, now: Instant) {
        let mut wanting: Vec<(TorrentId, Candidate)> = Vec::new();
        for id in &self.active {
            if let Some(t) = self.torrents.get_mut(id) {
                t.candidates(&mut wanting);
            }
        }
        let candidates: Vec<Candidate> = wanting.iter().map(|(_, c)| c.clone()).collect();
        let served: BTreeSet<ConnId> = self
            .choker
            .deal(&candidates, self.shared.config.unchoke_slots)
            .into_iter()
            .collect();
        // Chokes first: the slots they free are the ones dealt.
        for choke in [true, false] {
            for (id, candidate) in &wanting {
                if served.contains(&candidate.conn) != choke
                    && let Some(t) = self.torrents.get_mut(id)
                {
                    t.set_choked(&mut self.shared, now, candidate.conn, choke);
                }
            }
        }
    }
}

/// A fact about one torrent that is not about a connection.
fn torrent_fact(t: &mut Torrent, shared: &mut Shared, now: Instant, input: Input) {
    match input {
        Input::Pause(_, why) => t.pause(shared, now, why),
        Input::Prioritize(_, priorities) => t.prioritize(shared, now, priorities),
        Input::Deadline(_, piece, when) => {
            if piece < t.picker.have().len() {
                t.picker.set_deadline(piece, when);
                t.refill_all(shared, now);
            }
        }
        Input::PieceHashed(_, piece, digest) => t.piece_hashed(shared, now, piece, digest),
        Input::WriteFailed(_, piece, why) => t.write_failed(shared, now, piece, why),
        Input::Checked(_, piece, digest) => t.checked(shared, now, piece, digest),
        Input::Resumed(_, have) => t.resumed(&have),
        Input::CheckFinished(_) => t.check_finished(shared, now),
        Input::Digests(_, piece, digests) => t.digests(shared, now, piece, digests),
        Input::Lost(_, piece) => t.lost(shared, now, piece),
        _ => unreachable!("the caller passes facts about one torrent"),
    }
}
