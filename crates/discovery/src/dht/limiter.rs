//! How many questions are answered: a flood from one source must not make us one, and forged questions must not
//! turn us against the address they claim to come from.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use crate::scope::neighbourhood;

/// Time over which questions are counted.
const WINDOW: Duration = Duration::from_secs(10);

/// Most questions answered to one source in a window; a busy lookup asks a node a handful.
const PER_SOURCE: u32 = 100;

/// Most questions answered to everybody in a window: at 300 bytes an answer, about 1.2 MB/s.
const IN_ALL: u32 = 40_000;

/// Most sources counted apart in a window; beyond, strangers get no answer until the next one.
const MAX_SOURCES: usize = 8_192;

/// Counts questions by source.
#[derive(Debug)]
pub(super) struct Limiter {
    window: Instant,
    in_all: u32,
    sources: BTreeMap<Source, u32>,
}

/// Neighbours on the public network count as one. Of local ones there may be many behind one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Source {
    V4(u64),
    V6(u64),
    Local(SocketAddr),
}

impl Source {
    fn of(addr: SocketAddr) -> Source {
        match (addr.ip().to_canonical(), neighbourhood(addr.ip())) {
            (_, None) => Source::Local(addr),
            (IpAddr::V4(_), Some(net)) => Source::V4(net),
            (IpAddr::V6(_), Some(net)) => Source::V6(net),
        }
    }
}

impl Limiter {
    pub(super) fn new(now: Instant) -> Limiter {
        Limiter {
            window: now,
            in_all: 0,
            sources: BTreeMap::new(),
        }
    }

    /// Whether to answer a question from `from`; counts it.
    pub(super) fn allows(&mut self, now: Instant, from: SocketAddr) -> bool {
        if now.saturating_duration_since(self.window) >= WINDOW {
            *self = Limiter::new(now);
        }
        let source = Source::of(from);
        if self.in_all >= IN_ALL
            || (self.sources.len() >= MAX_SOURCES && !self.sources.contains_key(&source))
        {
            return false;
        }
        let count = self.sources.entry(source).or_default();
        if *count >= PER_SOURCE {
            return false;
        }
        *count += 1;
        self.in_all += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn one_source_gets_so_many_answers_and_others_still_theirs() {
        let start = Instant::now();
        let mut limiter = Limiter::new(start);
        let answered = (0..500u16)
            .filter(|port| limiter.allows(start, addr(&format!("8.8.8.{}:{port}", port % 200))));
        assert_eq!(answered.count(), PER_SOURCE as usize);
        assert!(limiter.allows(start, addr("8.8.9.1:1")));
        assert!(limiter.allows(start + WINDOW, addr("8.8.8.1:1")));
    }

    #[test]
    fn local_nodes_count_each_for_itself() {
        let start = Instant::now();
        let mut limiter = Limiter::new(start);
        for port in 1..=1000 {
            assert!(limiter.allows(start, addr(&format!("127.0.0.1:{port}"))));
        }
    }

    #[test]
    fn a_flood_from_everywhere_is_cut_and_takes_bounded_memory() {
        let start = Instant::now();
        let mut limiter = Limiter::new(start);
        let sources = (0..100_000u32)
            .map(|n| SocketAddr::new(IpAddr::from((0x0800_0000 + (n << 8)).to_be_bytes()), 1));
        let answered = sources
            .filter(|&source| limiter.allows(start, source))
            .count();
        assert_eq!(answered, MAX_SOURCES);
        assert_eq!(limiter.sources.len(), MAX_SOURCES);
    }
}
