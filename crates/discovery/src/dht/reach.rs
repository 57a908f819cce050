//! Whether others reach us: who asks us something without having been asked before has found the way alone.
//!
//! In a DHT of some size somebody does so every few minutes. If nobody does, a NAT or a firewall is in between, and
//! others should not keep our address (BEP 43).

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Good nodes on the public network from which on silence says something.
const SETTLED: usize = 32;

/// So long a silence says that nobody can reach us.
const SILENCE: Duration = Duration::from_secs(30 * 60);

/// After this long of asking others to forget us we let them try again: networks change.
const TRIAL: Duration = Duration::from_secs(60 * 60);

/// How often it is worth looking at the table.
const CHECK: Duration = Duration::from_secs(60);

/// A NAT lets in what comes from where we have sent to for some minutes at most. Addresses are remembered for one to
/// two of these.
const MEMORY: Duration = Duration::from_secs(5 * 60);

/// Most addresses remembered for each of the two, 32 bytes each. While there are more, nobody counts as a stranger.
const MAX_ASKED: usize = 4_096;

/// Whether others reach us.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reach {
    /// Not known yet.
    #[default]
    Unknown,
    /// Somebody has found the way.
    Open,
    /// Nobody has for half an hour.
    Closed,
}

#[derive(Debug)]
pub(super) struct Watch {
    reach: Reach,
    /// Since when `reach` could have changed: the last stranger, or the last time too few nodes were known.
    since: Instant,
    check_at: Instant,
    asked: [Asked; 2],
    turned: Instant,
}

#[derive(Debug, Default)]
struct Asked {
    addrs: BTreeSet<SocketAddr>,
    is_full: bool,
}

impl Watch {
    pub(super) fn new(now: Instant) -> Watch {
        Watch {
            reach: Reach::Unknown,
            since: now,
            check_at: now,
            asked: Default::default(),
            turned: now,
        }
    }

    pub(super) fn reach(&self) -> Reach {
        self.reach
    }

    /// We ask this address something.
    pub(super) fn asked(&mut self, now: Instant, addr: SocketAddr) {
        if now.saturating_duration_since(self.turned) >= MEMORY {
            self.asked.swap(0, 1);
            self.asked[0] = Asked::default();
            self.turned = now;
        }
        let current = &mut self.asked[0];
        if current.addrs.len() < MAX_ASKED {
            current.addrs.insert(addr);
        } else {
            current.is_full |= !current.addrs.contains(&addr);
        }
    }

    /// This address asks us something.
    pub(super) fn heard(&mut self, now: Instant, addr: SocketAddr) {
        let is_known = |asked: &Asked| asked.is_full || asked.addrs.contains(&addr);
        if !self.asked.iter().any(is_known) {
            (self.reach, self.since) = (Reach::Open, now);
        }
    }

    /// Whether [`settle`](Watch::settle) is due.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        now >= self.check_at
    }

    /// So many good nodes on the public network are known.
    pub(super) fn settle(&mut self, now: Instant, good: usize) {
        self.check_at = now + CHECK;
        let waited = now.saturating_duration_since(self.since);
        match self.reach {
            Reach::Closed if waited >= TRIAL => (self.reach, self.since) = (Reach::Unknown, now),
            Reach::Closed => {}
            _ if good < SETTLED => self.since = now,
            _ if waited >= SILENCE => (self.reach, self.since) = (Reach::Closed, now),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(n: u16) -> SocketAddr {
        ([9, 9, (n >> 8) as u8, n as u8], 1).into()
    }

    #[test]
    fn silence_in_a_large_network_means_closed_and_is_doubted_later() {
        let start = Instant::now();
        let mut watch = Watch::new(start);
        watch.settle(start + SILENCE, SETTLED - 1);
        assert_eq!(
            watch.reach(),
            Reach::Unknown,
            "three friends may well be silent"
        );
        let settled = start + SILENCE;
        watch.settle(settled + SILENCE / 2, SETTLED);
        assert_eq!(watch.reach(), Reach::Unknown);
        watch.settle(settled + SILENCE, SETTLED);
        assert_eq!(watch.reach(), Reach::Closed);
        watch.settle(settled + SILENCE + TRIAL, SETTLED);
        assert_eq!(watch.reach(), Reach::Unknown);
    }

    #[test]
    fn only_strangers_show_that_the_way_is_open() {
        let start = Instant::now();
        let mut watch = Watch::new(start);
        watch.asked(start, addr(1));
        watch.heard(start, addr(1));
        assert_eq!(watch.reach(), Reach::Unknown);
        watch.heard(start, addr(2));
        assert_eq!(watch.reach(), Reach::Open);
        watch.settle(start + SILENCE, SETTLED);
        assert_eq!(watch.reach(), Reach::Closed);
        watch.heard(start + SILENCE, addr(2));
        assert_eq!(watch.reach(), Reach::Open);
    }

    #[test]
    fn who_was_asked_long_ago_is_a_stranger_and_nobody_is_when_too_many_were_asked() {
        let start = Instant::now();
        let mut watch = Watch::new(start);
        watch.asked(start, addr(1));
        for _ in 0..2 {
            (0..=MAX_ASKED as u16).for_each(|n| watch.asked(start + MEMORY, addr(n + 10)));
            watch.heard(start + MEMORY, addr(9_999));
            assert_eq!(watch.reach(), Reach::Unknown);
        }
        watch.asked(start + MEMORY * 2, addr(2));
        watch.asked(start + MEMORY * 3, addr(2));
        watch.heard(start + MEMORY * 3, addr(1));
        assert_eq!(watch.reach(), Reach::Open);
    }
}
