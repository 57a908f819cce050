//! The peers of one torrent that are known: whom to dial next, whom not to.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use crate::Source;

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
/// An address somebody told us that failed this often is forgotten.
const MOST_FAILURES: u32 = 6;

#[derive(Clone, Debug)]
struct Known {
    source: Source,
    failures: u32,
    not_before: Instant,
    busy: bool,
}

/// Known addresses of one torrent.
#[derive(Debug)]
pub struct Roster {
    known: BTreeMap<SocketAddr, Known>,
    banned: BTreeSet<IpAddr>,
    rng: fastrand::Rng,
}

/// An IPv4 address in IPv6 clothes is that IPv4 address.
pub fn canonical(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}

impl Roster {
    /// Nobody is known.
    pub fn new(seed: u64) -> Roster {
        Roster {
            known: BTreeMap::new(),
            banned: BTreeSet::new(),
            rng: fastrand::Rng::with_seed(seed),
        }
    }

    /// Somebody told us of this address. Unusable and banned ones are ignored; when full, an
    /// address that has failed makes room.
    pub fn add(&mut self, now: Instant, addr: SocketAddr, source: Source) {
        let addr = canonical(addr);
        let ip = addr.ip();
        if addr.port() == 0 || ip.is_unspecified() || ip.is_multicast() || self.banned.contains(&ip)
        {
            return;
        }
        if let Some(known) = self.known.get_mut(&addr) {
            known.source = known.source.min(source);
            return;
        }
        if self.known.len() >= MOST_KNOWN {
            let worst = self
                .known
                .iter()
                .filter(|(_, k)| !k.busy && k.source != Source::Direct)
                .max_by_key(|(_, k)| k.failures)
                .map(|(&addr, _)| addr);
            match worst {
                Some(worst) => self.known.remove(&worst),
                None => return,
            };
        }
        self.known.insert(
            addr,
            Known {
                source,
                failures: 0,
                not_before: now,
                busy: false,
            },
        );
    }

    /// The best address to dial now, which then counts as busy until [`Roster::free`].
    pub fn next(&mut self, now: Instant) -> Option<SocketAddr> {
        let ready = |k: &Known| !k.busy && k.not_before <= now;
        let best = self
            .known
            .values()
            .filter(|k| ready(k))
            .map(|k| (k.failures, k.source))
            .min()?;
        let candidates: Vec<SocketAddr> = self
            .known
            .iter()
            .filter(|(_, k)| ready(k) && (k.failures, k.source) == best)
            .map(|(&addr, _)| addr)
            .collect();
        let addr = candidates[self.rng.usize(..candidates.len())];
        self.known.get_mut(&addr).expect("chosen from the map").busy = true;
        Some(addr)
    }

    /// How this address became known.
    pub fn source(&self, addr: SocketAddr) -> Option<Source> {
        self.known.get(&canonical(addr)).map(|k| k.source)
    }

    /// When [`Roster::next`] will have something, if it has nothing now.
    pub fn ready_at(&self) -> Option<Instant> {
        self.known
            .values()
            .filter(|k| !k.busy)
            .map(|k| k.not_before)
            .min()
    }

    /// A connection from or to this address exists.
    pub fn hold(&mut self, addr: SocketAddr) {
        if let Some(known) = self.known.get_mut(&canonical(addr)) {
            known.busy = true;
        }
    }

    /// The connection worked: earlier failures no longer count.
    pub fn worked(&mut self, addr: SocketAddr) {
        if let Some(known) = self.known.get_mut(&canonical(addr)) {
            known.failures = 0;
        }
    }

    /// The dial failed or the connection ended; it may be tried again after a growing wait.
    pub fn free(&mut self, now: Instant, addr: SocketAddr) {
        let addr = canonical(addr);
        let Some(known) = self.known.get_mut(&addr) else {
            return;
        };
        known.busy = false;
        known.failures += 1;
        let direct = known.source == Source::Direct;
        if known.failures > MOST_FAILURES && !direct {
            self.known.remove(&addr);
            return;
        }
        let most = if direct {
            LAST_RETRY_DIRECT
        } else {
            LAST_RETRY
        };
        let wait = (FIRST_RETRY * 2u32.pow(known.failures.min(12) - 1)).min(most);
        // Two peers that dialled each other at the same moment must not meet again in step.
        known.not_before = now + wait.mul_f64(0.75 + 0.5 * self.rng.f64());
    }

    /// Everything may be tried again at once (the torrent goes on after a pause).
    pub fn wake(&mut self, now: Instant) {
        for known in self.known.values_mut() {
            known.failures = 0;
            known.not_before = now;
        }
    }

    /// The peer has nothing for us and wants nothing of us at present: not dialled for a while, or
    /// until [`Roster::wake`].
    pub fn rest(&mut self, now: Instant, addr: SocketAddr) {
        if let Some(known) = self.known.get_mut(&canonical(addr)) {
            known.not_before = now + LAST_RETRY;
        }
    }

    /// The address is of no use for as long as we run (it is our own, or has all we have).
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
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(n: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, n], 6881))
    }

    #[test]
    fn failures_wait_longer_each_time_and_are_forgotten_in_the_end() {
        let mut now = Instant::now();
        let mut roster = Roster::new(1);
        roster.add(now, addr(1), Source::Tracker);
        let mut waits = Vec::new();
        while let Some(at) = roster.ready_at() {
            waits.push(at.saturating_duration_since(now));
            now = at;
            assert_eq!(roster.next(now), Some(addr(1)));
            assert_eq!(roster.next(now), None, "busy");
            roster.free(now, addr(1));
        }
        assert_eq!(waits.len(), 1 + MOST_FAILURES as usize);
        assert!(
            waits[2..]
                .iter()
                .zip(&waits[1..])
                .all(|(later, sooner)| later > sooner)
        );
    }

    #[test]
    fn an_address_the_person_named_is_tried_for_ever() {
        let mut now = Instant::now();
        let mut roster = Roster::new(1);
        roster.add(now, addr(1), Source::Direct);
        for _ in 0..100 {
            now = roster.ready_at().unwrap();
            assert_eq!(roster.next(now), Some(addr(1)));
            roster.free(now, addr(1));
            assert!(roster.ready_at().unwrap() < now + Duration::from_secs(20));
        }
    }

    #[test]
    fn a_peer_at_rest_is_dialled_again_when_something_is_wanted() {
        let now = Instant::now();
        let mut roster = Roster::new(1);
        roster.add(now, addr(1), Source::Direct);
        roster.rest(now, addr(1));
        assert_eq!(roster.next(now + Duration::from_secs(60)), None);
        roster.wake(now);
        assert_eq!(roster.next(now), Some(addr(1)));
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
        assert_eq!(roster.next(now), Some(addr(1)));
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
