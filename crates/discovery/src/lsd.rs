//! Finding peers on the local network (BEP 14): tells neighbours from time to time which torrents are active here,
//! and hears the same from them. An engine without IO.
//!
//! Private torrents must not be added.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use torrent::lsd::{Announce, Group, MAX_HASHES};

use crate::scope::Scope;

/// How often an active torrent is announced (BEP 14).
const REPEAT: Duration = Duration::from_secs(5 * 60);

/// Least time between two packets to a group (BEP 14). With more than 120 torrents each has to wait for its turn.
const GAP: Duration = Duration::from_secs(60);

/// How long the first packet waits for more torrents to share it: a program starts its torrents one after another.
const GATHER: Duration = Duration::from_millis(250);

/// Most torrents announced in turn.
const MAX_ACTIVE: usize = 10_000;

/// Most packets listened to in a minute: from one neighbour, and altogether.
const MAX_PER_NEIGHBOUR: u32 = 30;
const MAX_PER_MINUTE: u32 = 1_000;

/// How this program takes part.
#[derive(Clone, Debug)]
pub struct Config {
    /// TCP port where this program listens.
    pub port: u16,
    /// Groups to announce to: those whose address family the driver listens on.
    pub groups: Vec<Group>,
}

/// A fact.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// This torrent is active now, under this info-hash; both of a hybrid's may be added.
    Add([u8; 20]),
    /// It no longer is.
    Remove([u8; 20]),
    /// A packet has come to one of the groups.
    Packet {
        /// From here.
        from: SocketAddr,
        /// With this in it.
        bytes: &'a [u8],
    },
    /// Time has passed.
    Timeout,
}

/// A decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send this packet to this group, on every interface.
    Send {
        /// The group.
        group: Group,
        /// At most 1400 bytes.
        bytes: Vec<u8>,
    },
    /// A neighbour has a torrent that is active here.
    Found {
        /// The torrent.
        info_hash: [u8; 20],
        /// Where the neighbour listens.
        peer: SocketAddr,
    },
}

/// Takes part in local service discovery.
#[derive(Debug)]
pub struct Local {
    config: Config,
    cookie: String,
    /// When each active torrent was announced last.
    active: BTreeMap<[u8; 20], Option<Instant>>,
    /// When the next packets may be sent.
    next: Instant,
    minute: Instant,
    heard: BTreeMap<IpAddr, u32>,
    heard_in_all: u32,
    outputs: VecDeque<Output>,
}

impl Local {
    /// With nothing active yet.
    pub fn new(config: Config, seed: u64, now: Instant) -> Local {
        let cookie = format!("{:016x}", fastrand::Rng::with_seed(seed).u64(..));
        Local {
            config,
            cookie,
            active: BTreeMap::new(),
            next: now,
            minute: now,
            heard: BTreeMap::new(),
            heard_in_all: 0,
            outputs: VecDeque::new(),
        }
    }

    /// Takes in a fact.
    pub fn handle(&mut self, now: Instant, input: Input<'_>) {
        match input {
            Input::Add(hash) => {
                if self.active.is_empty() {
                    self.next = self.next.max(now + GATHER);
                }
                if self.active.len() < MAX_ACTIVE {
                    self.active.entry(hash).or_default();
                }
            }
            Input::Remove(hash) => drop(self.active.remove(&hash)),
            Input::Packet { from, bytes } => self.packet(now, from, bytes),
            Input::Timeout => {}
        }
        if self.deadline().is_some_and(|at| now >= at) {
            self.announce(now);
        }
    }

    /// The next decision.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call [`handle`](Local::handle) with [`Input::Timeout`] at the latest.
    pub fn deadline(&self) -> Option<Instant> {
        let due = self
            .active
            .values()
            .map(|last| last.map_or(self.next, |last| last + REPEAT))
            .min()?;
        (!self.config.groups.is_empty()).then_some(due.max(self.next))
    }

    /// Announces those that have waited longest, the ones never announced first.
    fn announce(&mut self, now: Instant) {
        let is_due = |last: Option<Instant>| last.is_none_or(|last| now >= last + REPEAT);
        let mut due: Vec<_> = self
            .active
            .iter()
            .filter(|(_, last)| is_due(**last))
            .map(|(h, last)| (*last, *h))
            .collect();
        due.sort_unstable();
        let info_hashes: Vec<_> = due
            .into_iter()
            .map(|(_, hash)| hash)
            .take(MAX_HASHES)
            .collect();
        for hash in &info_hashes {
            self.active.insert(*hash, Some(now));
        }
        self.next = now + GAP;
        let announce = Announce {
            port: self.config.port,
            info_hashes,
            cookie: Some(self.cookie.clone()),
        };
        for &group in &self.config.groups {
            self.outputs.push_back(Output::Send {
                group,
                bytes: announce.encode(group),
            });
        }
    }

    fn packet(&mut self, now: Instant, from: SocketAddr, bytes: &[u8]) {
        if !is_neighbour(from.ip()) || !self.listens_to(now, from.ip()) {
            return;
        }
        let Ok(announce) = Announce::parse(bytes) else {
            return;
        };
        if announce.cookie.as_ref() == Some(&self.cookie) {
            return;
        }
        let mut peer = from;
        peer.set_port(announce.port);
        let known = announce
            .info_hashes
            .into_iter()
            .filter(|hash| self.active.contains_key(hash));
        self.outputs
            .extend(known.map(|info_hash| Output::Found { info_hash, peer }));
    }

    fn listens_to(&mut self, now: Instant, ip: IpAddr) -> bool {
        if now.saturating_duration_since(self.minute) >= Duration::from_secs(60) {
            self.minute = now;
            self.heard.clear();
            self.heard_in_all = 0;
        }
        let count = self.heard.entry(ip).or_default();
        *count += 1;
        self.heard_in_all += 1;
        let is_fine = *count <= MAX_PER_NEIGHBOUR && self.heard_in_all <= MAX_PER_MINUTE;
        if self.heard_in_all > MAX_PER_MINUTE {
            // Nobody else is counted for the rest of the minute: the map does not grow.
            self.heard.retain(|_, count| *count > 1);
        }
        is_fine
    }
}

/// Whether an address can be on the local network: over IPv6 neighbours use public addresses, too.
fn is_neighbour(ip: IpAddr) -> bool {
    let scope = Scope::of(ip);
    scope.is_local() || (ip.to_canonical().is_ipv6() && scope == Scope::Public)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    struct Hand {
        local: Local,
        start: Instant,
        now: Instant,
    }

    impl Hand {
        fn new() -> Hand {
            let now = Instant::now();
            let config = Config {
                port: 6881,
                groups: vec![Group::V4],
            };
            Hand {
                local: Local::new(config, 1, now),
                start: now,
                now,
            }
        }

        fn input(&mut self, input: Input<'_>) -> Vec<Output> {
            self.local.handle(self.now, input);
            std::iter::from_fn(|| self.local.poll()).collect()
        }

        /// The announces made in some time, with the millisecond of each.
        fn pass(&mut self, time: Duration) -> Vec<(u128, Announce)> {
            let end = self.now + time;
            let mut sent = Vec::new();
            while let Some(at) = self.local.deadline().filter(|at| *at <= end) {
                assert!(at > self.now, "what is due has been done");
                self.now = at;
                for output in self.input(Input::Timeout) {
                    let Output::Send { bytes, .. } = output else {
                        panic!("only announces come by themselves")
                    };
                    sent.push((
                        (self.now - self.start).as_millis(),
                        Announce::parse(&bytes).unwrap(),
                    ));
                }
            }
            self.now = end;
            sent
        }

        fn hear(&mut self, from: &str, hashes: &[[u8; 20]], cookie: Option<&str>) -> Vec<Output> {
            let cookie = cookie.map(str::to_owned);
            let bytes = Announce {
                port: 7000,
                info_hashes: hashes.to_vec(),
                cookie,
            }
            .encode(Group::V4);
            self.input(Input::Packet {
                from: from.parse().unwrap(),
                bytes: &bytes,
            })
        }
    }

    #[test]
    fn torrents_started_together_share_a_packet_and_come_back_every_five_minutes() {
        let mut hand = Hand::new();
        assert_eq!(hand.local.deadline(), None);
        for n in 1..=3 {
            assert_eq!(hand.input(Input::Add([n; 20])), []);
        }
        let sent = hand.pass(Duration::from_secs(700));
        let times: Vec<_> = sent.iter().map(|(at, _)| *at).collect();
        assert_eq!(times, [250, 300_250, 600_250]);
        assert_eq!(sent[0].1.info_hashes, [[1; 20], [2; 20], [3; 20]]);
        assert_eq!(sent[0].1.port, 6881);
    }

    #[test]
    fn a_later_torrent_waits_for_its_minute() {
        let mut hand = Hand::new();
        hand.input(Input::Add([1; 20]));
        hand.pass(Duration::from_secs(10));
        hand.input(Input::Add([2; 20]));
        let sent = hand.pass(Duration::from_secs(300));
        let sent: Vec<_> = sent
            .into_iter()
            .map(|(at, announce)| (at, announce.info_hashes))
            .collect();
        assert_eq!(sent, [(60_250, vec![[2; 20]]), (300_250, vec![[1; 20]])]);
    }

    #[test]
    fn a_hundred_torrents_take_turns_and_none_is_forgotten() {
        let mut hand = Hand::new();
        for n in 0..100 {
            hand.input(Input::Add([n; 20]));
        }
        let sent = hand.pass(Duration::from_secs(299));
        assert!(sent.windows(2).all(|pair| pair[1].0 - pair[0].0 >= 60_000));
        assert!(
            sent.iter()
                .all(|(_, announce)| announce.info_hashes.len() <= MAX_HASHES)
        );
        let named: std::collections::BTreeSet<_> = sent
            .iter()
            .flat_map(|(_, announce)| &announce.info_hashes)
            .collect();
        assert_eq!(named.len(), 100);
    }

    #[test]
    fn a_torrent_removed_is_announced_no_more() {
        let mut hand = Hand::new();
        hand.input(Input::Add([1; 20]));
        hand.pass(Duration::from_secs(1));
        hand.input(Input::Remove([1; 20]));
        assert_eq!(hand.pass(Duration::from_secs(3600)), []);
        assert_eq!(hand.hear("10.0.0.2:6771", &[[1; 20]], None), []);
    }

    #[test]
    fn a_neighbour_is_found_for_the_torrents_that_are_active_here() {
        let mut hand = Hand::new();
        hand.input(Input::Add([1; 20]));
        let peer = "10.0.0.2:7000".parse().unwrap();
        let found = Output::Found {
            info_hash: [1; 20],
            peer,
        };
        assert_eq!(
            hand.hear("10.0.0.2:6771", &[[1; 20], [9; 20]], Some("theirs")),
            [found]
        );
        let v6 = hand.hear("[fe80::2%3]:6771", &[[1; 20]], None);
        let Output::Found {
            peer: SocketAddr::V6(peer),
            ..
        } = v6[0]
        else {
            panic!("a neighbour")
        };
        assert_eq!(
            (peer.scope_id(), peer.port()),
            (3, 7000),
            "a link-local address is nothing without its link"
        );
    }

    #[test]
    fn our_own_packets_and_those_from_afar_are_passed_over() {
        let mut hand = Hand::new();
        hand.input(Input::Add([1; 20]));
        let cookie = hand.local.cookie.clone();
        assert_eq!(hand.hear("10.0.0.2:6771", &[[1; 20]], Some(&cookie)), []);
        assert_eq!(hand.hear("8.8.8.8:6771", &[[1; 20]], None), []);
        assert_eq!(
            hand.input(Input::Packet {
                from: "10.0.0.2:6771".parse().unwrap(),
                bytes: b"noise"
            }),
            []
        );
    }

    #[test]
    fn a_flood_is_cut_and_takes_bounded_memory() {
        let mut hand = Hand::new();
        hand.input(Input::Add([1; 20]));
        let found = (0..1000)
            .map(|_| hand.hear("10.0.0.2:6771", &[[1; 20]], None).len())
            .sum::<usize>();
        assert_eq!(found, MAX_PER_NEIGHBOUR as usize);
        hand.now += Duration::from_secs(60);
        hand.input(Input::Timeout);
        let flood = |n: u32| format!("10.{}.{}.{}:1", n >> 16, n >> 8 & 255, n & 255);
        let found = (0..20_000)
            .map(|n| hand.hear(&flood(n), &[[1; 20]], None).len())
            .sum::<usize>();
        assert_eq!(found, MAX_PER_MINUTE as usize);
        assert!(hand.local.heard.len() <= MAX_PER_MINUTE as usize + 1);
    }

    proptest! {
        #[test]
        fn every_active_torrent_is_announced_in_its_turn(
            steps in proptest::collection::vec((0u8..3, 0u8..60, 0u64..200), 0..60),
        ) {
            let mut hand = Hand::new();
            let mut last_sent = None;
            for (what, n, secs) in steps {
                match what {
                    0 => drop(hand.input(Input::Remove([n; 20]))),
                    1 => drop(hand.input(Input::Add([n; 20]))),
                    _ => {
                        for (at, announce) in hand.pass(Duration::from_secs(secs)) {
                            prop_assert!(last_sent.is_none_or(|last| at >= last + 60_000));
                            prop_assert!(announce.info_hashes.iter().all(|hash| hand.local.active.contains_key(hash)));
                            last_sent = Some(at);
                        }
                    }
                }
            }
            // Sixty torrents fit into three packets, so within eight minutes each has had its turn.
            hand.pass(Duration::from_secs(8 * 60));
            let recent = |last: &Option<Instant>| last.is_some_and(|last| hand.now - last <= Duration::from_secs(8 * 60));
            prop_assert!(hand.local.active.values().all(recent));
        }
    }
}
