//! Rate limits of a whole session: which buckets bind whom, and who is next.
//!
//! A block passes when every bucket that binds it allows it: the session's, its torrent's label
//! group's, its torrent's, its peer's class's. Who must wait stands in line. Torrents take turns,
//! and within a torrent peers do, so that each torrent gets the same and none's crowd of peers
//! takes from another. Who is held back by a bucket of its own keeps its place and stops nobody.
//!
//! Knows nothing of blocks and pieces: whoever has a turn takes what it is allowed, and stands in
//! line again if it wants more.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use torrent::layout::BLOCK;

use super::Bucket;
use crate::{Class, ConnId, Scope, TorrentId};

/// Time between two wake-ups for the sake of limits: twenty a second are enough to be even.
const WAKE: Duration = Duration::from_millis(50);
/// Time between two deals that facts bring about: at 100 MB/s every block would be one.
const GAP: Duration = Duration::from_millis(2);
/// A turn is worth this much time of the slowest bucket that binds it...
const TURN: Duration = Duration::from_millis(10);
/// ...but no more bytes than this: what one disk read takes.
const MOST_TURN: u64 = 256 << 10;

/// A direction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// To us.
    Down,
    /// From us.
    Up,
}

/// What decides which buckets bind a peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Flow {
    /// The torrent.
    pub torrent: TorrentId,
    /// Its label group.
    pub group: Option<u32>,
    /// Where the peer is.
    pub class: Class,
}

/// Somebody may take something now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Turn {
    /// What.
    pub way: Way,
    /// Of which torrent.
    pub torrent: TorrentId,
    /// Who.
    pub conn: ConnId,
    /// How many bytes, before others have theirs. If there is less in the buckets they fall into
    /// debt, so that all turns are worth the same.
    pub bytes: u64,
}

#[derive(Debug)]
struct Waiting {
    conn: ConnId,
    /// What it needs to go on.
    bytes: u64,
    /// Smaller is earlier.
    ticket: u64,
}

/// Those of one torrent that wait, by class: what holds one up holds up the others.
#[derive(Debug, Default)]
struct Line {
    group: Option<u32>,
    peers: [VecDeque<Waiting>; 2],
}

impl Line {
    fn is_empty(&self) -> bool {
        self.peers.iter().all(VecDeque::is_empty)
    }

    /// The first of each class.
    fn fronts(&self, torrent: TorrentId) -> impl Iterator<Item = (Flow, &Waiting)> {
        [Class::Lan, Class::Other]
            .into_iter()
            .filter_map(move |class| {
                let group = self.group;
                let flow = Flow {
                    torrent,
                    group,
                    class,
                };
                Some((flow, self.peers[class as usize].front()?))
            })
    }
}

/// One direction.
#[derive(Debug, Default)]
struct Road {
    buckets: BTreeMap<Scope, Bucket>,
    lines: BTreeMap<TorrentId, Line>,
    /// Torrents with a line; the first is next.
    ring: VecDeque<TorrentId>,
}

impl Road {
    /// When so much may pass; in the past: now.
    fn ready_at(
        &mut self,
        now: Instant,
        scopes: [Option<Scope>; 4],
        bytes: u64,
    ) -> Option<Instant> {
        let mut latest = None;
        for scope in scopes.into_iter().flatten() {
            if let Some(bucket) = self.buckets.get_mut(&scope)
                && !bucket.has(now, bytes)
            {
                latest = latest.max(Some(bucket.ready_at(bytes)));
            }
        }
        latest
    }
}

/// All limits of a session.
#[derive(Debug)]
pub struct Limiter {
    lan_free: bool,
    /// Down and up.
    roads: [Road; 2],
    tickets: u64,
    /// When the first of those who wait may go on.
    next: Option<Instant>,
    /// The last time that turns were dealt because time had passed.
    woken: Option<Instant>,
}

impl Limiter {
    /// No limits; with `lan_free`, peers on the local network are bound by their class's alone.
    pub fn new(lan_free: bool) -> Limiter {
        Limiter {
            lan_free,
            roads: Default::default(),
            tickets: 0,
            next: None,
            woken: None,
        }
    }

    /// Whether peers on the local network are bound by their class's limit alone.
    pub fn set_lan_free(&mut self, now: Instant, free: bool) {
        self.lan_free = free;
        self.look_again(now);
    }

    /// New limits of a scope, in bytes a second; 0: none.
    pub fn set(&mut self, now: Instant, scope: Scope, down: u64, up: u64) {
        for (road, rate) in self.roads.iter_mut().zip([down, up]) {
            match road.buckets.get_mut(&scope) {
                _ if rate == 0 => {
                    road.buckets.remove(&scope);
                }
                Some(bucket) => bucket.set_rate(now, rate),
                None => {
                    road.buckets.insert(scope, Bucket::new(now, rate));
                }
            }
        }
        self.look_again(now);
    }

    /// What binds those who wait has changed.
    fn look_again(&mut self, now: Instant) {
        self.next = self.next.map(|_| now);
    }

    /// The limit of a scope in bytes a second; 0: none.
    pub fn rate(&self, way: Way, scope: Scope) -> u64 {
        let bucket = self.roads[way as usize].buckets.get(&scope);
        bucket.map_or(0, Bucket::rate)
    }

    /// The torrent is in another group now.
    pub fn regroup(&mut self, now: Instant, torrent: TorrentId, group: Option<u32>) {
        for road in &mut self.roads {
            if let Some(line) = road.lines.get_mut(&torrent) {
                line.group = group;
            }
        }
        self.look_again(now);
    }

    /// The torrent is gone, and its limits with it.
    pub fn forget(&mut self, torrent: TorrentId) {
        for road in &mut self.roads {
            road.buckets.remove(&Scope::Torrent(torrent));
            road.lines.remove(&torrent);
            road.ring.retain(|&id| id != torrent);
        }
    }

    /// Whether the limit of their class alone binds peers of this one.
    pub fn frees(&self, class: Class) -> bool {
        self.lan_free && class == Class::Lan
    }

    /// What can bind this flow.
    pub fn scopes(&self, flow: Flow) -> [Option<Scope>; 4] {
        let class = Some(Scope::Class(flow.class));
        if self.frees(flow.class) {
            return [class, None, None, None];
        }
        let torrent = Some(Scope::Torrent(flow.torrent));
        [
            Some(Scope::Session),
            flow.group.map(Scope::Group),
            torrent,
            class,
        ]
    }

    /// Whether any limit binds this flow: if so, it takes only what it has a [`Turn`] for.
    pub fn binds(&self, way: Way, flow: Flow) -> bool {
        let buckets = &self.roads[way as usize].buckets;
        let mut scopes = self.scopes(flow).into_iter().flatten();
        !buckets.is_empty() && scopes.any(|scope| buckets.contains_key(&scope))
    }

    /// So many bytes are used, in a turn or without asking.
    pub fn charge(&mut self, way: Way, flow: Flow, bytes: u64) {
        self.each(way, flow, |bucket| bucket.spend(bytes));
    }

    /// So many bytes were taken and will not pass.
    pub fn give_back(&mut self, way: Way, flow: Flow, bytes: u64) {
        self.each(way, flow, |bucket| bucket.give_back(bytes));
    }

    fn each(&mut self, way: Way, flow: Flow, mut what: impl FnMut(&mut Bucket)) {
        let scopes = self.scopes(flow);
        let buckets = &mut self.roads[way as usize].buckets;
        for scope in scopes.into_iter().flatten() {
            buckets.get_mut(&scope).into_iter().for_each(&mut what);
        }
    }

    /// A peer that needs so many bytes to go on stands in line; it must not stand there already.
    pub fn join(&mut self, now: Instant, way: Way, flow: Flow, conn: ConnId, bytes: u64) {
        let scopes = self.scopes(flow);
        let road = &mut self.roads[way as usize];
        let line = road.lines.entry(flow.torrent).or_default();
        if line.is_empty() {
            road.ring.push_back(flow.torrent);
        }
        line.group = flow.group;
        self.tickets += 1;
        let ticket = self.tickets;
        line.peers[flow.class as usize].push_back(Waiting {
            conn,
            bytes,
            ticket,
        });
        // Whoever is behind others of its torrent is no reason to come earlier than for them.
        if line.peers[flow.class as usize].len() == 1 {
            let ready = road.ready_at(now, scopes, bytes).unwrap_or(now);
            self.next = Some(self.next.map_or(ready, |next| next.min(ready)));
        }
    }

    /// Whether anybody waits.
    pub fn holds_back(&self, way: Way) -> bool {
        !self.roads[way as usize].ring.is_empty()
    }

    /// A peer waits no longer.
    pub fn leave(&mut self, torrent: TorrentId, conn: ConnId) {
        for road in &mut self.roads {
            let Some(line) = road.lines.get_mut(&torrent) else {
                continue;
            };
            line.peers
                .iter_mut()
                .for_each(|peers| peers.retain(|w| w.conn != conn));
            if line.is_empty() {
                road.lines.remove(&torrent);
                road.ring.retain(|&id| id != torrent);
            }
        }
    }

    /// Whether [`Limiter::turn`] may have something now.
    pub fn is_due(&self, now: Instant) -> bool {
        self.next.is_some_and(|at| now >= at)
    }

    /// When to come back if nothing happens; `None`: nobody waits.
    pub fn deadline(&self) -> Option<Instant> {
        let next = self.next?;
        Some(self.woken.map_or(next, |woken| next.max(woken + WAKE)))
    }

    /// The deadline has come.
    pub fn wake(&mut self, now: Instant) {
        if self.is_due(now) {
            self.woken = Some(now);
        }
    }

    /// Whoever is next and may take something now; it no longer stands in line. To be asked until
    /// it says `None`, which sets the next deadline.
    pub fn turn(&mut self, now: Instant) -> Option<Turn> {
        let turn = self
            .turn_of(now, Way::Down)
            .or_else(|| self.turn_of(now, Way::Up));
        if turn.is_none() {
            let ready = [Way::Down, Way::Up].map(|way| self.ready_at(now, way));
            let ready = ready.into_iter().flatten().min();
            self.next = ready.map(|at| at.max(now + GAP));
        }
        turn
    }

    fn turn_of(&mut self, now: Instant, way: Way) -> Option<Turn> {
        for at in 0..self.roads[way as usize].ring.len() {
            let torrent = self.roads[way as usize].ring[at];
            let line = &self.roads[way as usize].lines[&torrent];
            let mut fronts: Vec<(u64, Flow, u64)> = line
                .fronts(torrent)
                .map(|(flow, w)| (w.ticket, flow, w.bytes))
                .collect();
            fronts.sort_unstable_by_key(|front| front.0);
            for (_, flow, bytes) in fronts {
                let scopes = self.scopes(flow);
                let road = &mut self.roads[way as usize];
                if road.ready_at(now, scopes, bytes).is_some() {
                    continue;
                }
                road.ring.remove(at);
                let line = road.lines.get_mut(&torrent)?;
                let first = line.peers[flow.class as usize].pop_front()?;
                if line.is_empty() {
                    road.lines.remove(&torrent);
                } else {
                    road.ring.push_back(torrent);
                }
                let rates = scopes.into_iter().flatten();
                let slowest = rates.filter_map(|s| road.buckets.get(&s)).map(Bucket::rate);
                let bytes = slowest.min().map_or(u64::MAX, |rate| {
                    let worth = u128::from(rate) * TURN.as_nanos() / 1_000_000_000;
                    (worth as u64).clamp(u64::from(BLOCK), MOST_TURN)
                });
                let conn = first.conn;
                return Some(Turn {
                    way,
                    torrent,
                    conn,
                    bytes,
                });
            }
        }
        None
    }

    /// When the first of those who wait may go on.
    fn ready_at(&mut self, now: Instant, way: Way) -> Option<Instant> {
        let road = &self.roads[way as usize];
        let fronts: Vec<(Flow, u64)> = road
            .lines
            .iter()
            .flat_map(|(&id, line)| line.fronts(id).map(|(flow, w)| (flow, w.bytes)))
            .collect();
        let ready = fronts.into_iter().map(|(flow, bytes)| {
            let scopes = self.scopes(flow);
            let road = &mut self.roads[way as usize];
            road.ready_at(now, scopes, bytes).unwrap_or(now)
        });
        ready.min()
    }
}

#[cfg(test)]
mod tests;
