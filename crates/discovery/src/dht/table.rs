//! The routing table (BEP 5): nodes that have answered us, many near our own place and few far away.
//!
//! Only nodes that have answered get in, so nobody can fill it with addresses alone. A bucket holds one node of each
//! owner (`owner.rs`), and prefers nodes whose id fits their address (BEP 42), so one owner can't fill it either.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::{Duration, Instant};

use torrent::krpc::{NodeId, NodeInfo};

use super::owner::{is_crowded, is_fit};
use crate::scope::Scope;

/// Nodes in a bucket, and nodes in an answer (BEP 5).
pub(super) const K: usize = 8;

/// How long after its last sign of life a node counts as good, and after its last change a bucket as fresh (BEP 5).
pub(super) const FRESH: Duration = Duration::from_secs(15 * 60);

/// Unanswered questions in a row that make a node bad.
const BAD_AFTER: u8 = 2;

/// Most buckets: one for each bit. The public DHT fills about twenty-two.
const MAX_BUCKETS: usize = 160;

/// How much a node can be relied upon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Has answered lately, or has answered once and asked lately.
    Good,
    /// Silent for a while.
    Questionable,
    /// Does not answer.
    Bad,
}

/// Time in a table, in tenths of a second since it was made: a table has many entries, and an `Instant` four times
/// the size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Tick(u32);

impl Tick {
    const FRESH: u32 = FRESH.as_secs() as u32 * 10;

    fn of(epoch: Instant, now: Instant) -> Tick {
        let passed = now.saturating_duration_since(epoch).as_millis() / 100;
        Tick(u32::try_from(passed).unwrap_or(u32::MAX))
    }
}

/// An address as it lies in a table: a `SocketAddr` is a third longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compact {
    V4(Ipv4Addr, u16),
    V6(Ipv6Addr, u16, u32),
}

impl From<SocketAddr> for Compact {
    fn from(addr: SocketAddr) -> Compact {
        match addr {
            SocketAddr::V4(addr) => Compact::V4(*addr.ip(), addr.port()),
            SocketAddr::V6(addr) => Compact::V6(*addr.ip(), addr.port(), addr.scope_id()),
        }
    }
}

impl From<Compact> for SocketAddr {
    fn from(addr: Compact) -> SocketAddr {
        match addr {
            Compact::V4(ip, port) => (ip, port).into(),
            Compact::V6(ip, port, scope) => SocketAddrV6::new(ip, port, 0, scope).into(),
        }
    }
}

#[derive(Clone, Debug)]
struct Entry {
    id: NodeId,
    addr: Compact,
    /// Its last sign of life: an answer, or a question after it had answered once.
    seen: Tick,
    failures: u8,
    /// Is being asked whether it is still there.
    pinged: bool,
    /// Its id fits its address.
    fit: bool,
}

impl Entry {
    fn node(&self) -> NodeInfo {
        NodeInfo {
            id: self.id,
            addr: self.addr.into(),
        }
    }

    fn is(&self, node: &NodeInfo) -> bool {
        self.id == node.id && self.addr == node.addr.into()
    }

    fn standing(&self, now: Tick) -> Standing {
        if self.failures >= BAD_AFTER {
            Standing::Bad
        } else if now.0.saturating_sub(self.seen.0) < Tick::FRESH {
            Standing::Good
        } else {
            Standing::Questionable
        }
    }
}

#[derive(Debug)]
struct Bucket {
    nodes: Vec<Entry>,
    /// Nodes that would like to get in, the latest last; at most [`K`].
    spare: Vec<Entry>,
    changed: Instant,
    /// Should be refreshed whether or not it has changed.
    due: bool,
}

impl Bucket {
    fn new(now: Instant) -> Bucket {
        Bucket {
            nodes: Vec::new(),
            spare: Vec::new(),
            changed: now,
            due: false,
        }
    }

    fn refresh_at(&self) -> Instant {
        if self.due {
            self.changed
        } else {
            self.changed + FRESH
        }
    }

    /// Whether a node of the same owner is already in.
    fn is_crowded(&self, node: &NodeInfo) -> bool {
        is_crowded(node, self.nodes.iter().map(Entry::node))
    }

    /// The node that makes room for a newcomer at once: one that does not answer, or one without a right to its id
    /// when the newcomer has one.
    fn weakest(&self, now: Tick, is_newcomer_fit: bool) -> Option<usize> {
        let is_bad = |entry: &Entry| entry.standing(now) == Standing::Bad;
        let bad = self.nodes.iter().position(is_bad);
        let unfit = || self.nodes.iter().position(|entry| !entry.fit);
        bad.or_else(|| is_newcomer_fit.then(unfit).flatten())
    }

    /// The silent node that should be asked first, since others would like its place.
    fn doubtful(&mut self, now: Tick) -> Option<NodeInfo> {
        if self.spare.is_empty() || self.nodes.iter().any(|entry| entry.pinged) {
            return None;
        }
        let silent = self
            .nodes
            .iter_mut()
            .filter(|entry| entry.standing(now) == Standing::Questionable);
        let entry = silent.min_by_key(|entry| entry.seen)?;
        entry.pinged = true;
        Some(entry.node())
    }
}

/// The routing table of one node in one address family.
#[derive(Debug)]
pub(super) struct Table {
    own: NodeId,
    epoch: Instant,
    /// Bucket `n` has the nodes that share exactly `n` bits with us; the last one, those that share more too.
    buckets: Vec<Bucket>,
}

impl Table {
    pub(super) fn new(own: NodeId, now: Instant) -> Table {
        Table {
            own,
            epoch: now,
            buckets: vec![Bucket::new(now)],
        }
    }

    /// The same nodes around another place, as far as there is room for them.
    pub(super) fn around(&self, own: NodeId, now: Instant) -> Table {
        let mut table = Table::new(own, now);
        table.epoch = self.epoch;
        for entry in self.entries() {
            table.enter(now, entry.clone());
        }
        table
    }

    /// Notes that a node answered. Some other node may first have to be asked whether it is still there.
    pub(super) fn answered(&mut self, now: Instant, node: NodeInfo) -> Option<NodeInfo> {
        self.forget_under_other_ids(&node);
        let entry = Entry {
            fit: is_fit(&node),
            id: node.id,
            addr: node.addr.into(),
            seen: self.tick(now),
            failures: 0,
            pinged: false,
        };
        self.enter(now, entry)
    }

    fn enter(&mut self, now: Instant, entry: Entry) -> Option<NodeInfo> {
        let (node, tick) = (entry.node(), self.tick(now));
        if node.id == self.own {
            return None;
        }
        loop {
            let at = self.bucket_of(&node.id);
            let may_split = at + 1 == self.buckets.len() && self.buckets.len() < MAX_BUCKETS;
            let bucket = &mut self.buckets[at];
            if let Some(known) = bucket.nodes.iter().position(|entry| entry.id == node.id) {
                if bucket.nodes[known].addr == entry.addr {
                    bucket.nodes[known] = entry;
                    bucket.changed = now;
                    return bucket.doubtful(tick);
                }
                if bucket.nodes[known].standing(tick) != Standing::Bad {
                    return None;
                }
                bucket.nodes.remove(known);
            }
            if bucket.is_crowded(&node) {
                return None;
            }
            bucket.spare.retain(|entry| entry.id != node.id);
            if bucket.nodes.len() < K {
                bucket.nodes.push(entry);
                bucket.changed = now;
                return None;
            }
            if may_split {
                self.split(now);
                continue;
            }
            if let Some(weakest) = bucket.weakest(tick, entry.fit) {
                bucket.nodes[weakest] = entry;
                bucket.changed = now;
                return None;
            }
            if bucket.spare.len() == K {
                bucket.spare.remove(0);
            }
            bucket.spare.push(entry);
            return bucket.doubtful(tick);
        }
    }

    /// Notes that a node did not answer. Some node may have to be asked (again).
    pub(super) fn failed(&mut self, now: Instant, node: &NodeInfo) -> Option<NodeInfo> {
        let tick = self.tick(now);
        let at = self.bucket_of(&node.id);
        let bucket = &mut self.buckets[at];
        bucket.spare.retain(|entry| !entry.is(node));
        let known = bucket.nodes.iter().position(|entry| entry.is(node))?;
        let entry = &mut bucket.nodes[known];
        entry.failures = entry.failures.saturating_add(1);
        entry.pinged = false;
        if entry.failures < BAD_AFTER {
            // One lost packet proves nothing: ask once more, if somebody waits for the place.
            let again = !bucket.spare.is_empty();
            bucket.nodes[known].pinged = again;
            return again.then_some(*node);
        }
        bucket.nodes[known] = Self::fitting_spare(bucket, known)?;
        bucket.changed = now;
        bucket.doubtful(tick)
    }

    /// Takes the latest spare node that does not crowd those that stay.
    fn fitting_spare(bucket: &mut Bucket, leaving: usize) -> Option<Entry> {
        let stays = |at: &usize| *at != leaving;
        let others = || {
            let others = bucket.nodes.iter().enumerate();
            others
                .filter(|(at, _)| stays(at))
                .map(|(_, entry)| entry.node())
        };
        let fits = bucket
            .spare
            .iter()
            .rposition(|entry| !is_crowded(&entry.node(), others()))?;
        Some(bucket.spare.remove(fits))
    }

    /// Notes that a node asked us something.
    pub(super) fn asked(&mut self, now: Instant, node: &NodeInfo) {
        let (at, tick) = (self.bucket_of(&node.id), self.tick(now));
        if let Some(entry) = self.buckets[at]
            .nodes
            .iter_mut()
            .find(|entry| entry.is(node))
        {
            entry.seen = tick;
        }
    }

    /// Whether a node that is not in the table would get in if it answered.
    pub(super) fn wants(&self, now: Instant, node: &NodeInfo) -> bool {
        let at = self.bucket_of(&node.id);
        let bucket = &self.buckets[at];
        let is_known = bucket.nodes.iter().any(|entry| entry.id == node.id);
        let has_room = bucket.nodes.len() < K
            || at + 1 == self.buckets.len()
            || bucket.weakest(self.tick(now), is_fit(node)).is_some();
        node.id != self.own && !is_known && has_room && !bucket.is_crowded(node)
    }

    /// Up to `count` nodes nearest to `target`, of such standing as `fits`, the nearest first.
    pub(super) fn closest(
        &self,
        now: Instant,
        target: &NodeId,
        count: usize,
        fits: impl Fn(Standing) -> bool,
    ) -> Vec<NodeInfo> {
        let tick = self.tick(now);
        let mut nodes: Vec<_> = self
            .entries()
            .filter(|entry| fits(entry.standing(tick)))
            .map(Entry::node)
            .collect();
        nodes.sort_by_key(|node| node.id.distance(target));
        nodes.truncate(count);
        nodes
    }

    /// All nodes but bad ones, those nearest to us last.
    pub(super) fn nodes(&self, now: Instant) -> impl Iterator<Item = NodeInfo> {
        let tick = self.tick(now);
        self.entries()
            .filter(move |entry| entry.standing(tick) != Standing::Bad)
            .map(Entry::node)
    }

    /// How many good nodes there are, and how many altogether.
    pub(super) fn counts(&self, now: Instant) -> (usize, usize) {
        (self.good(now).count(), self.entries().count())
    }

    /// How many good nodes there are whose id fits their address.
    pub(super) fn fit(&self, now: Instant) -> usize {
        self.good(now).filter(|entry| entry.fit).count()
    }

    /// How many good nodes there are that are not on a local network.
    pub(super) fn public(&self, now: Instant) -> usize {
        let is_public = |entry: &&Entry| !Scope::of(entry.node().addr.ip()).is_local();
        self.good(now).filter(is_public).count()
    }

    fn good(&self, now: Instant) -> impl Iterator<Item = &Entry> {
        let tick = self.tick(now);
        self.entries()
            .filter(move |entry| entry.standing(tick) == Standing::Good)
    }

    fn tick(&self, now: Instant) -> Tick {
        Tick::of(self.epoch, now)
    }

    /// Whether there is no node at all.
    pub(super) fn is_empty(&self) -> bool {
        self.entries().next().is_none()
    }

    /// Has every bucket that still has room refreshed, except the one around us, which a bootstrap has just filled.
    pub(super) fn fill(&mut self) {
        let last = self.buckets.len() - 1;
        for bucket in &mut self.buckets[..last] {
            bucket.due |= bucket.nodes.len() < K;
        }
    }

    /// A random place in the bucket that has gone without change for longest, if that is too long; it counts as
    /// changed from then on.
    pub(super) fn refresh(&mut self, now: Instant, rng: &mut fastrand::Rng) -> Option<NodeId> {
        let at = (0..self.buckets.len()).min_by_key(|&at| self.buckets[at].refresh_at())?;
        let bucket = &mut self.buckets[at];
        if now < bucket.refresh_at() {
            return None;
        }
        (bucket.changed, bucket.due) = (now, false);
        Some(self.place_in(at, rng))
    }

    /// When [`refresh`](Table::refresh) has something to say.
    pub(super) fn refresh_at(&self) -> Option<Instant> {
        self.buckets.iter().map(Bucket::refresh_at).min()
    }

    fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.buckets.iter().flat_map(|bucket| &bucket.nodes)
    }

    fn bucket_of(&self, id: &NodeId) -> usize {
        (self.own.shared_bits(id) as usize).min(self.buckets.len() - 1)
    }

    /// Moves the nodes that share more bits with us into a bucket of their own.
    fn split(&mut self, now: Instant) {
        let last = self.buckets.len() - 1;
        let own = self.own;
        let nearer = |entry: &mut Entry| own.shared_bits(&entry.id) as usize > last;
        let bucket = &mut self.buckets[last];
        let nodes = bucket.nodes.extract_if(.., nearer).collect();
        let spare = bucket.spare.extract_if(.., nearer).collect();
        // What stays behind is a corner that nobody has looked into yet.
        bucket.due |= bucket.nodes.len() < K;
        self.buckets.reserve_exact(1);
        self.buckets.push(Bucket {
            nodes,
            spare,
            changed: now,
            due: false,
        });
    }

    /// An address has one id: a node that comes back under another one has been started anew.
    fn forget_under_other_ids(&mut self, node: &NodeInfo) {
        let addr = Compact::from(node.addr);
        let is_other = |entry: &Entry| entry.addr == addr && entry.id != node.id;
        for bucket in &mut self.buckets {
            bucket.nodes.retain(|entry| !is_other(entry));
            bucket.spare.retain(|entry| !is_other(entry));
        }
    }

    /// A random id that belongs into bucket `at`.
    fn place_in(&self, at: usize, rng: &mut fastrand::Rng) -> NodeId {
        let mut id = NodeId(std::array::from_fn(|_| rng.u8(..)));
        for bit in 0..at {
            let mask = 0x80 >> (bit % 8);
            id.0[bit / 8] = id.0[bit / 8] & !mask | self.own.0[bit / 8] & mask;
        }
        if at + 1 < self.buckets.len() {
            let mask = 0x80 >> (at % 8);
            id.0[at / 8] = id.0[at / 8] & !mask | !self.own.0[at / 8] & mask;
        }
        id
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OWN: NodeId = NodeId([0; 20]);

    /// A node on a network of its own, in the half (quarter, …) of the space that `first` says.
    fn node(first: u8, n: u8) -> NodeInfo {
        let mut id = [n; 20];
        id[0] = first;
        NodeInfo {
            id: NodeId(id),
            addr: ([9, first, n, first], 6881).into(),
        }
    }

    fn full() -> (Table, Instant) {
        let now = Instant::now();
        let mut table = Table::new(OWN, now);
        // One near node makes sure that the far half is not the last bucket.
        table.answered(now, node(0, 1));
        for n in 0..K as u8 {
            assert_eq!(table.answered(now, node(0x80, n)), None);
        }
        assert_eq!(table.counts(now), (K + 1, K + 1));
        (table, now)
    }

    #[test]
    fn an_id_that_fits_takes_the_place_of_one_that_does_not() {
        let (mut table, now) = full();
        let fit = |last: u8| {
            // 9.0.15.x, whose id for one of the eight choices lies in the far half.
            let addr = SocketAddr::from(([9, 0, 15, last], 1));
            let ids = (0..8).map(|choice| NodeId::tied_to(addr.ip(), [choice; 20]));
            let id = ids.into_iter().find(|id| id.0[0] >= 0x80).unwrap();
            NodeInfo { id, addr }
        };
        let newcomer = fit(1);
        assert!(table.wants(now, &newcomer));
        table.answered(now, newcomer);
        assert!(has(&table, &newcomer));
        assert_eq!((table.counts(now).1, table.fit(now)), (K + 1, 1));
        assert!(!table.wants(now, &node(0x80, 99)), "the others keep theirs");
    }

    #[test]
    fn around_another_place_the_nodes_are_the_same() {
        let (table, now) = full();
        let moved = table.around(NodeId([0x80; 20]), now);
        assert_eq!(moved.counts(now), table.counts(now));
        for entry in moved.entries() {
            assert!(has(&table, &entry.node()));
        }
    }

    fn has(table: &Table, node: &NodeInfo) -> bool {
        table.entries().any(|entry| entry.is(node))
    }

    #[test]
    fn a_full_bucket_of_good_nodes_takes_no_more() {
        let (mut table, now) = full();
        assert_eq!(table.answered(now, node(0x80, 99)), None);
        assert!(!has(&table, &node(0x80, 99)) && !table.wants(now, &node(0x80, 99)));
    }

    #[test]
    fn the_bucket_around_us_splits_instead() {
        let (mut table, now) = full();
        for n in 2..40 {
            assert_eq!(table.answered(now, node(n, n)), None);
        }
        assert!(table.buckets.len() > 3);
        for (at, bucket) in table.buckets.iter().enumerate() {
            assert!(bucket.nodes.len() <= K);
            for entry in &bucket.nodes {
                assert_eq!(table.bucket_of(&entry.id), at);
            }
        }
    }

    #[test]
    fn a_bad_node_makes_room() {
        let (mut table, now) = full();
        assert_eq!(table.failed(now, &node(0x80, 3)), None);
        assert!(
            !table.wants(now, &node(0x80, 99)),
            "one lost packet proves nothing"
        );
        assert_eq!(table.failed(now, &node(0x80, 3)), None);
        assert!(table.wants(now, &node(0x80, 99)));
        table.answered(now, node(0x80, 99));
        assert!(has(&table, &node(0x80, 99)) && !has(&table, &node(0x80, 3)));
    }

    #[test]
    fn silent_nodes_are_asked_before_they_are_replaced() {
        let (mut table, start) = full();
        let later = start + FRESH;
        table.answered(later - Duration::from_secs(1), node(0x80, 0));
        // The newcomer waits while the one silent for longest is asked twice.
        let first = table
            .answered(later, node(0x80, 99))
            .expect("somebody to ask");
        assert_eq!(table.answered(later, node(0x80, 98)), None, "one at a time");
        assert_eq!(table.failed(later, &first), Some(first));
        let second = table.failed(later, &first).expect("the next to ask");
        assert!(
            !has(&table, &first) && has(&table, &node(0x80, 98)),
            "the latest newcomer gets the place"
        );
        // The next one is still there, so another one is asked.
        let third = table.answered(later, second).expect("the next to ask");
        assert!(has(&table, &second) && third != second);
    }

    #[test]
    fn a_node_that_asks_stays_good_without_being_asked() {
        let (mut table, start) = full();
        table.asked(start + FRESH / 2, &node(0x80, 5));
        assert_eq!(table.counts(start + FRESH), (1, K + 1));
    }

    #[test]
    fn one_network_gets_one_place_in_a_bucket_and_local_ones_many() {
        let now = Instant::now();
        let mut table = Table::new(OWN, now);
        let at = |n: u8, addr: &str| NodeInfo {
            addr: addr.parse().unwrap(),
            ..node(0x80, n)
        };
        for (n, addr) in [
            (1, "9.9.9.1:1"),
            (2, "9.9.9.2:1"),
            (3, "9.9.8.1:1"),
            (4, "127.0.0.1:1"),
            (5, "127.0.0.1:2"),
        ] {
            table.answered(now, at(n, addr));
        }
        assert_eq!(table.counts(now), (4, 4));
        assert!(!has(&table, &at(2, "9.9.9.2:1")));
    }

    #[test]
    fn an_id_stays_with_its_address_until_that_is_bad() {
        let (mut table, now) = full();
        let thief = NodeInfo {
            addr: "1.2.3.4:5".parse().unwrap(),
            ..node(0x80, 3)
        };
        table.answered(now, thief);
        assert!(!has(&table, &thief));
        table.failed(now, &node(0x80, 3));
        table.failed(now, &node(0x80, 3));
        table.answered(now, thief);
        assert!(has(&table, &thief) && !has(&table, &node(0x80, 3)));
    }

    #[test]
    fn an_address_under_a_new_id_loses_the_old_one() {
        let (mut table, now) = full();
        let anew = NodeInfo {
            id: NodeId([0x40; 20]),
            ..node(0x80, 3)
        };
        table.answered(now, anew);
        assert!(has(&table, &anew) && !has(&table, &node(0x80, 3)));
    }

    #[test]
    fn we_are_not_in_our_own_table() {
        let now = Instant::now();
        let mut table = Table::new(OWN, now);
        table.answered(
            now,
            NodeInfo {
                id: OWN,
                addr: "9.9.9.9:1".parse().unwrap(),
            },
        );
        assert!(table.is_empty());
    }

    #[test]
    fn a_bucket_without_change_is_refreshed_once() {
        let (mut table, start) = full();
        let mut rng = fastrand::Rng::with_seed(1);
        // The far half was left behind by a split when it had room for one more.
        assert!(
            table
                .refresh(start, &mut rng)
                .is_some_and(|place| OWN.shared_bits(&place) == 0)
        );
        assert_eq!(table.refresh_at(), Some(start + FRESH));
        assert_eq!(table.refresh(start + FRESH / 2, &mut rng), None);
        let count = table.buckets.len();
        let mut places: Vec<_> = (0..count)
            .map(|_| table.refresh(start + FRESH, &mut rng).unwrap())
            .collect();
        assert_eq!(table.refresh(start + FRESH, &mut rng), None);
        places.sort_by_key(|place| OWN.shared_bits(place));
        let shared: Vec<_> = places.iter().map(|place| table.bucket_of(place)).collect();
        assert_eq!(shared, (0..count).collect::<Vec<_>>());
    }

    proptest! {
        #[test]
        fn the_nearest_are_the_nearest(ids in proptest::collection::vec(any::<[u8; 20]>(), 1..60), target: [u8; 20]) {
            let now = Instant::now();
            let target = NodeId(target);
            let mut table = Table::new(OWN, now);
            for (n, id) in ids.iter().enumerate() {
                let addr = ([127, 0, 0, 1], 1 + n as u16).into();
                table.answered(now, NodeInfo { id: NodeId(*id), addr });
            }
            let closest = table.closest(now, &target, K, |_| true);
            prop_assert!(closest.is_sorted_by_key(|node| node.id.distance(&target)));
            let furthest = closest.last().map(|node| node.id.distance(&target));
            let nearer = table.entries().filter(|entry| Some(entry.id.distance(&target)) < furthest).count();
            prop_assert!(closest.is_empty() || nearer == closest.len() - 1);
        }

        #[test]
        fn whatever_happens_the_table_keeps_its_shape(
            events in proptest::collection::vec((0u8..4, any::<[u8; 2]>(), 0u64..1200), 0..300),
        ) {
            let mut now = Instant::now();
            let mut table = Table::new(OWN, now);
            for (what, [a, b], secs) in events {
                now += Duration::from_secs(secs);
                let node = node(a, b % 16);
                match what {
                    0 | 1 => drop(table.answered(now, node)),
                    2 => drop(table.failed(now, &node)),
                    _ => table.asked(now, &node),
                }
                for (at, bucket) in table.buckets.iter().enumerate() {
                    prop_assert!(bucket.nodes.len() <= K && bucket.spare.len() <= K);
                    for entry in bucket.nodes.iter().chain(&bucket.spare) {
                        prop_assert_eq!(table.bucket_of(&entry.id), at);
                    }
                }
                let mut addrs: Vec<_> = table.entries().map(|entry| entry.node().addr).collect();
                addrs.sort();
                prop_assert!(addrs.windows(2).all(|pair| pair[0] != pair[1]));
            }
        }
    }
}
