//! The peers of one torrent that are known: whom to dial next and how, whom not to, and why some were not reached.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use torrent::extension::PexFlags;

use crate::priority::priority;
use crate::{Approach, Class, ConnId, Failure, Reach, Source};

/// Addresses remembered per torrent: ten times what is ever connected at once.
const MOST_KNOWN: usize = 1000;
/// Banned addresses remembered per torrent.
const MOST_BANNED: usize = 1000;
/// Wait after the first failed dial; doubles with each further one.
const FIRST_RETRY: Duration = Duration::from_secs(2);
/// Wait at most, for addresses the person named...
const LAST_RETRY_DIRECT: Duration = Duration::from_secs(15);
/// ...and for all others.
const LAST_RETRY: Duration = Duration::from_secs(600);
/// An address somebody told us that failed this often is given up, until it is told again.
const MOST_FAILURES: u8 = 6;

/// A connection from or to it exists, or a dial.
const BUSY: u8 = 1;
/// It was dialled.
const TRIED: u8 = 2;
/// There was a connection, whoever dialled.
const REACHED: u8 = 4;
/// It has everything, or wants no more.
const SEED: u8 = 8;
/// It speaks uTP, and over TCP it may not be reached.
const UTP: u8 = 16;
/// Somebody was asked to have it dial us (BEP 55).
const ASKED: u8 = 32;

/// What is known of an address. There may be a thousand for each torrent: it is kept small.
#[derive(Clone, Debug)]
struct Known {
    source: Source,
    failures: u8,
    marks: u8,
    /// Why it was not reached when it was tried last.
    failure: Option<Failure>,
    /// Whom to dial first among equals (BEP 40).
    rank: u32,
    not_before: Instant,
    /// The peer that told us of it last (BEP 11).
    teller: Option<ConnId>,
}

impl Known {
    fn is(&self, mark: u8) -> bool {
        self.marks & mark != 0
    }

    fn set(&mut self, mark: u8, on: bool) {
        self.marks = if on {
            self.marks | mark
        } else {
            self.marks & !mark
        };
    }

    fn is_given_up(&self) -> bool {
        self.failures > MOST_FAILURES && self.source != Source::Direct
    }

    /// Whether it is dialled sooner or later; seeds are not by who `seeds`.
    fn is_dialled(&self, seeds: bool) -> bool {
        let avoided = self.is(BUSY) || self.is_given_up() || seeds && self.is(SEED);
        !avoided
    }

    /// What the person named comes first, then what is near.
    fn order(&self) -> (u8, u8, Reverse<u32>) {
        let source = match self.source {
            Source::Direct => 0,
            Source::Local => 1,
            _ => 2,
        };
        (self.failures, source, Reverse(self.rank))
    }
}

/// Our own addresses as others see them, one of each family at most.
pub type Ours = [Option<SocketAddr>; 2];

/// Known addresses of one torrent.
#[derive(Debug)]
pub struct Roster {
    known: BTreeMap<SocketAddr, Known>,
    banned: BTreeSet<IpAddr>,
    ours: Ours,
    rng: fastrand::Rng,
}

/// An IPv4 address in IPv6 clothes is that IPv4 address.
pub fn canonical(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}

/// Whether a peer can be there at all.
pub fn is_dialable(addr: SocketAddr) -> bool {
    let ip = addr.ip().to_canonical();
    let broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
    addr.port() != 0 && !ip.is_unspecified() && !ip.is_multicast() && !broadcast
}

impl Roster {
    /// Nobody is known.
    pub fn new(seed: u64) -> Roster {
        Roster {
            known: BTreeMap::new(),
            banned: BTreeSet::new(),
            ours: [None; 2],
            rng: fastrand::Rng::with_seed(seed),
        }
    }

    /// Where others see us: who is dialled first follows from it (BEP 40). Until it is known, chance decides.
    pub fn set_ours(&mut self, ours: Ours) {
        if self.ours == ours {
            return;
        }
        self.ours = ours;
        for (&addr, known) in &mut self.known {
            known.rank = rank(ours, addr).unwrap_or(known.rank);
        }
    }

    /// The rank of an address among all (BEP 40); `None` while ours is not known.
    pub fn rank(&self, addr: SocketAddr) -> Option<u32> {
        rank(self.ours, canonical(addr))
    }

    /// Whether this is ourselves, as others see us.
    pub fn is_ours(&self, addr: SocketAddr) -> bool {
        self.ours.contains(&Some(canonical(addr)))
    }

    /// Somebody told us of this address. Unusable and banned ones are ignored; when full, an address that has failed
    /// makes room.
    pub fn add(&mut self, now: Instant, addr: SocketAddr, source: Source) {
        let addr = canonical(addr);
        if !is_dialable(addr) || self.banned.contains(&addr.ip()) {
            return;
        }
        if let Some(known) = self.known.get_mut(&addr) {
            known.source = known.source.min(source);
            // Given up and told of again: once more.
            if known.is_given_up() && known.not_before <= now {
                known.failures = MOST_FAILURES;
            }
            return;
        }
        if self.known.len() >= MOST_KNOWN {
            let worst = self
                .known
                .iter()
                .filter(|(_, k)| !k.is(BUSY) && k.source != Source::Direct)
                .max_by_key(|(_, k)| k.order())
                .map(|(&addr, _)| addr);
            match worst {
                Some(worst) => self.known.remove(&worst),
                None => return,
            };
        }
        let known = Known {
            source,
            failures: 0,
            marks: 0,
            failure: None,
            rank: rank(self.ours, addr).unwrap_or_else(|| self.rng.u32(..)),
            not_before: now,
            teller: None,
        };
        self.known.insert(addr, known);
    }

    /// A peer told us of this address, and what it knows of it (BEP 11).
    pub fn told(&mut self, now: Instant, addr: SocketAddr, flags: PexFlags, by: ConnId) {
        self.add(now, addr, Source::Exchange);
        if let Some(known) = self.known.get_mut(&canonical(addr)) {
            known.teller = Some(by);
            known.set(SEED, flags.has(PexFlags::SEED));
            // Nearby, giving way to others is nobody's wish.
            let far = Class::of(addr.ip()) == Class::Other;
            known.set(UTP, known.is(UTP) || far && flags.has(PexFlags::UTP));
        }
    }

    /// The best address to dial now and how, which then counts as busy until [`Roster::free`]. Who `seeds` dials no
    /// seeds.
    pub fn next(&mut self, now: Instant, seeds: bool) -> Option<(SocketAddr, Approach)> {
        let ready = |k: &Known| k.is_dialled(seeds) && k.not_before <= now;
        let (&addr, known) = self
            .known
            .iter_mut()
            .filter(|(_, k)| ready(k))
            .min_by_key(|(_, k)| k.order())?;
        known.set(BUSY | TRIED, true);
        let approach = match known.is(UTP) {
            true => Approach::UtpFirst,
            false => Approach::Usual,
        };
        Some((addr, approach))
    }

    /// Who told us of an address that was not reached: it may have both sides dial at once (BEP 55). Each address is
    /// asked for once, and none that is near: who dials it is up to those who are near.
    pub fn introducer(&mut self, addr: SocketAddr) -> Option<ConnId> {
        let known = self.known.get_mut(&canonical(addr))?;
        let asks = !known.is(ASKED | REACHED) && Class::of(addr.ip()) == Class::Other;
        let teller = known.teller.filter(|_| asks)?;
        known.set(ASKED, true);
        Some(teller)
    }

    /// How this address became known.
    pub fn source(&self, addr: SocketAddr) -> Option<Source> {
        self.known.get(&canonical(addr)).map(|k| k.source)
    }

    /// When [`Roster::next`] will have something, if it has nothing now.
    pub fn ready_at(&self, seeds: bool) -> Option<Instant> {
        let waiting = self.known.values().filter(|k| k.is_dialled(seeds));
        waiting.map(|k| k.not_before).min()
    }

    /// A connection from or to this address exists.
    pub fn hold(&mut self, addr: SocketAddr) {
        if let Some(known) = self.known.get_mut(&canonical(addr)) {
            known.set(BUSY | REACHED, true);
        }
    }

    /// Whoever is there said who it is.
    pub fn met(&mut self, addr: SocketAddr) {
        if let Some(known) = self.known.get_mut(&canonical(addr)) {
            known.set(REACHED, true);
            known.failure = None;
        }
    }

    /// The connection worked: earlier failures no longer count.
    pub fn worked(&mut self, addr: SocketAddr) {
        if let Some(known) = self.known.get_mut(&canonical(addr)) {
            known.failures = 0;
            known.failure = None;
        }
    }

    /// It closed a TCP connection without a word: it may speak over uTP alone.
    pub fn prefer_utp(&mut self, addr: SocketAddr) {
        if let Some(known) = self.known.get_mut(&canonical(addr)) {
            known.set(UTP, true);
        }
    }

    /// The dial failed, for this reason, or the connection ended; it may be tried again after a growing wait.
    pub fn free(&mut self, now: Instant, addr: SocketAddr, failure: Option<Failure>) {
        let Some(known) = self.known.get_mut(&canonical(addr)) else {
            return;
        };
        known.set(BUSY, false);
        known.failures = known.failures.saturating_add(1);
        known.failure = failure.or(known.failure);
        let most = match known.source {
            Source::Direct => LAST_RETRY_DIRECT,
            _ => LAST_RETRY,
        };
        let doubled = FIRST_RETRY * 2u32.pow(u32::from(known.failures.min(12)) - 1);
        let wait = if known.is_given_up() {
            LAST_RETRY
        } else {
            doubled.min(most)
        };
        // Two peers that dialled each other at the same moment must not meet again in step.
        known.not_before = now + wait.mul_f64(0.75 + 0.5 * self.rng.f64());
    }

    /// Everything may be tried again at once (the torrent goes on after a pause).
    pub fn wake(&mut self, now: Instant) {
        for known in self.known.values_mut() {
            known.failures = 0;
            known.not_before = now;
            known.set(ASKED, false);
        }
    }

    /// The peer has nothing for us and wants nothing of us at present: not dialled for a while, or
    /// until [`Roster::wake`].
    pub fn rest(&mut self, now: Instant, addr: SocketAddr) {
        if let Some(known) = self.known.get_mut(&canonical(addr)) {
            known.not_before = now + LAST_RETRY;
        }
    }

    /// It has all we have: not dialled while we want nothing.
    pub fn is_seed(&mut self, addr: SocketAddr) {
        if let Some(known) = self.known.get_mut(&canonical(addr)) {
            known.set(SEED, true);
        }
    }

    /// The address is of no use for as long as we run: it is our own.
    pub fn forget(&mut self, addr: SocketAddr) {
        self.known.remove(&canonical(addr));
    }

    /// Nothing more to or from this address.
    pub fn ban(&mut self, ip: IpAddr) {
        let ip = ip.to_canonical();
        if self.banned.len() < MOST_BANNED {
            self.banned.insert(ip);
        }
        self.known.retain(|addr, _| addr.ip() != ip);
    }

    /// Whether this address was banned.
    pub fn is_banned(&self, ip: IpAddr) -> bool {
        self.banned.contains(&ip.to_canonical())
    }

    /// How many addresses are known.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// True if no address is known.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Whether there is anybody who is dialled sooner or later, or is connected.
    pub fn has_hope(&self, seeds: bool) -> bool {
        let mut known = self.known.values();
        known.any(|k| k.is(BUSY) || k.is_dialled(seeds))
    }

    /// How far the addresses are reached; connections are not counted here.
    pub fn reach(&self) -> Reach {
        let mut reach = Reach::default();
        for known in self.known.values() {
            *reach.known.entry(known.source).or_default() += 1;
            reach.tried += u32::from(known.is(TRIED));
            reach.reached += u32::from(known.is(REACHED));
            if let Some(failure) = known.failure.filter(|_| !known.is(REACHED)) {
                *reach.failures.entry(failure).or_default() += 1;
            }
        }
        reach
    }
}

fn rank(ours: Ours, addr: SocketAddr) -> Option<u32> {
    ours[usize::from(addr.is_ipv6())].and_then(|ours| priority(ours, addr))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(n: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, n], 6881))
    }

    fn next(roster: &mut Roster, now: Instant) -> Option<SocketAddr> {
        roster.next(now, false).map(|(addr, _)| addr)
    }

    #[test]
    fn failures_wait_longer_each_time_and_are_forgotten_in_the_end() {
        let mut now = Instant::now();
        let mut roster = Roster::new(1);
        roster.add(now, addr(1), Source::Tracker);
        let mut waits = Vec::new();
        while let Some(at) = roster.ready_at(false) {
            waits.push(at.saturating_duration_since(now));
            now = at;
            assert_eq!(next(&mut roster, now), Some(addr(1)));
            assert_eq!(next(&mut roster, now), None, "busy");
            roster.free(now, addr(1), Some(Failure::TimedOut));
        }
        assert_eq!(waits.len(), 1 + MOST_FAILURES as usize);
        assert!(
            waits[2..]
                .iter()
                .zip(&waits[1..])
                .all(|(later, sooner)| later > sooner)
        );
        assert!(!roster.has_hope(false));
        assert_eq!(roster.reach().failures[&Failure::TimedOut], 1);

        // Told of again at once it is left alone, later it is tried once more.
        roster.add(now, addr(1), Source::Tracker);
        assert_eq!(next(&mut roster, now), None);
        now += 2 * LAST_RETRY;
        roster.add(now, addr(1), Source::Tracker);
        assert_eq!(next(&mut roster, now), Some(addr(1)));
        roster.free(now, addr(1), Some(Failure::Refused));
        assert!(!roster.has_hope(false));
        assert_eq!(roster.reach().failures[&Failure::Refused], 1);
    }

    #[test]
    fn what_was_told_of_an_address_says_how_and_whether_it_is_dialled() {
        let (now, by) = (Instant::now(), ConnId(7));
        let far = |n: u8| SocketAddr::from(([1, 2, 3, n], 6881));
        let mut roster = Roster::new(1);
        roster.told(now, far(1), PexFlags::SEED.with(PexFlags::UTP), by);
        assert_eq!(roster.next(now, true), None, "we seed too");
        assert_eq!(roster.ready_at(true), None);
        assert_eq!(roster.next(now, false), Some((far(1), Approach::UtpFirst)));
        roster.told(now, addr(1), PexFlags::UTP, by);
        assert_eq!(roster.next(now, true), Some((addr(1), Approach::Usual)));
        roster.add(now, far(2), Source::Tracker);
        assert_eq!(roster.next(now, true), Some((far(2), Approach::Usual)));
        // The one who told is asked once for an introduction, and not for an address nearby.
        assert_eq!(roster.introducer(far(1)), Some(by));
        assert_eq!(roster.introducer(far(1)), None);
        assert_eq!(roster.introducer(addr(1)), None);
        assert_eq!(roster.introducer(far(2)), None, "of a tracker's");
    }

    #[test]
    fn peers_of_high_priority_come_first() {
        let now = Instant::now();
        let mut roster = Roster::new(1);
        let far = |n: u32| SocketAddr::from(((n * 0x0101_0101).to_be_bytes(), 6881));
        for n in 1..100 {
            roster.add(now, far(n), Source::Exchange);
        }
        roster.add(now, addr(1), Source::Local);
        let ours: SocketAddr = "123.213.32.10:6881".parse().unwrap();
        roster.set_ours([Some(ours), None]);
        roster.add(now, far(100), Source::Exchange);
        assert_eq!(next(&mut roster, now), Some(addr(1)), "what is near");
        let dialled: Vec<SocketAddr> = std::iter::from_fn(|| next(&mut roster, now)).collect();
        let ranks: Vec<u32> = dialled
            .iter()
            .map(|a| priority(ours, *a).unwrap())
            .collect();
        assert_eq!(ranks.len(), 100);
        assert!(ranks.is_sorted_by(|a, b| a >= b));
    }

    #[test]
    fn entries_are_small() {
        assert!(size_of::<(SocketAddr, Known)>() <= 80);
    }

    #[test]
    fn an_address_the_person_named_is_tried_for_ever() {
        let mut now = Instant::now();
        let mut roster = Roster::new(1);
        roster.add(now, addr(1), Source::Direct);
        for _ in 0..100 {
            now = roster.ready_at(false).unwrap();
            assert_eq!(next(&mut roster, now), Some(addr(1)));
            roster.free(now, addr(1), Some(Failure::Closed));
            assert!(roster.ready_at(false).unwrap() < now + Duration::from_secs(20));
        }
    }

    #[test]
    fn a_peer_at_rest_is_dialled_again_when_something_is_wanted() {
        let now = Instant::now();
        let mut roster = Roster::new(1);
        roster.add(now, addr(1), Source::Direct);
        roster.rest(now, addr(1));
        assert_eq!(next(&mut roster, now + Duration::from_secs(60)), None);
        roster.wake(now);
        assert_eq!(next(&mut roster, now), Some(addr(1)));
    }

    #[test]
    fn a_flood_of_addresses_is_bounded_and_never_displaces_named_ones() {
        let now = Instant::now();
        let mut roster = Roster::new(1);
        roster.add(now, addr(1), Source::Direct);
        for i in 0..100_000u32 {
            roster.add(
                now,
                SocketAddr::from((i.to_be_bytes(), 1000)),
                Source::Exchange,
            );
        }
        assert!(roster.len() <= MOST_KNOWN);
        assert_eq!(next(&mut roster, now), Some(addr(1)));
    }

    #[test]
    fn banned_and_unusable_addresses_are_not_dialled() {
        let now = Instant::now();
        let mut roster = Roster::new(1);
        roster.add(now, addr(1), Source::Tracker);
        roster.ban(addr(1).ip());
        roster.add(now, addr(1), Source::Tracker);
        roster.add(
            now,
            "[::ffff:10.0.0.1]:6881".parse().unwrap(),
            Source::Tracker,
        );
        roster.add(now, "0.0.0.0:1".parse().unwrap(), Source::Tracker);
        roster.add(now, "10.0.0.9:0".parse().unwrap(), Source::Tracker);
        assert!(roster.is_empty());
    }
}
