//! Whether others reach our port: what was seen of it, weighed.
//!
//! That a port is open is shown by who came in through it and by nothing else: nobody can claim that. That it is closed
//! is what peers say whom we asked to dial back (`sl_dialback`), so it takes [`ENOUGH`] of them, and one who comes in
//! later counts for more.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use torrent::extension::{DialOutcome, Transport};

use crate::scope::Scope;

/// What was seen counts for so long.
pub const LIFETIME: Duration = Duration::from_secs(3600);
/// Peers that say that they did not get through, until it is believed.
pub const ENOUGH: usize = 2;
/// Sights remembered of each port, the newest.
const SIGHTS: usize = 16;
/// Who came in shows it for so long before somebody is asked again.
const FRESH: Duration = Duration::from_secs(20 * 60);
/// At most one peer is asked in so long, for each port.
const PAUSE: Duration = Duration::from_secs(30);

/// What is known of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortState {
    /// Somebody came in.
    Open {
        /// How long ago, the last.
        ago: Duration,
        /// From so many addresses.
        peers: usize,
    },
    /// Nobody did, and so many tried.
    Closed {
        /// Who tried.
        peers: usize,
        /// They were refused, rather than hearing nothing.
        refused: bool,
    },
    /// Too few tried.
    Unknown {
        /// Who tried in vain.
        peers: usize,
    },
}

#[derive(Clone, Copy, Debug)]
struct Sight {
    at: Instant,
    from: IpAddr,
    outcome: DialOutcome,
}

/// One transport over one family.
#[derive(Clone, Debug, Default)]
struct Port {
    sights: VecDeque<Sight>,
    asked: VecDeque<(Instant, IpAddr)>,
}

/// What is known of our port, for each transport and family.
#[derive(Clone, Debug, Default)]
pub struct Ports {
    ports: [Port; 4],
}

fn index(transport: Transport, v6: bool) -> usize {
    transport as usize * 2 + usize::from(v6)
}

impl Ports {
    fn note(&mut self, at: Instant, transport: Transport, from: IpAddr, outcome: DialOutcome) {
        let from = from.to_canonical();
        // Neighbours come in by ways that others do not have.
        if Scope::of(from) != Scope::Public || outcome == DialOutcome::NotTried {
            return;
        }
        let sights = &mut self.ports[index(transport, from.is_ipv6())].sights;
        sights.retain(|sight| sight.from != from);
        if sights.len() == SIGHTS {
            sights.pop_front();
        }
        sights.push_back(Sight { at, from, outcome });
    }

    /// Somebody there came in.
    pub fn reached(&mut self, now: Instant, transport: Transport, from: IpAddr) {
        self.note(now, transport, from, DialOutcome::Opened);
    }

    /// A peer there was asked to dial back and says what came of it. That it got through has been seen, or is not so.
    pub fn answered(
        &mut self,
        now: Instant,
        transport: Transport,
        from: IpAddr,
        said: DialOutcome,
    ) {
        if said != DialOutcome::Opened {
            self.note(now, transport, from, said);
        }
    }

    /// A peer there would dial back: what to ask it, if anything.
    pub fn ask(&mut self, now: Instant, peer: IpAddr) -> Option<Transport> {
        let peer = peer.to_canonical();
        if Scope::of(peer) != Scope::Public {
            return None;
        }
        [Transport::Tcp, Transport::Utp]
            .into_iter()
            .find(|&transport| {
                let port = &mut self.ports[index(transport, peer.is_ipv6())];
                let young = |at: Instant, age| now.saturating_duration_since(at) < age;
                port.asked.retain(|&(at, _)| young(at, LIFETIME));
                let opened = |s: &Sight| s.outcome == DialOutcome::Opened && young(s.at, FRESH);
                let known = port.sights.iter().any(opened);
                let soon = port.asked.back().is_some_and(|&(at, _)| young(at, PAUSE));
                let again = port.asked.iter().any(|&(_, ip)| ip == peer);
                let asks = !known && !soon && !again;
                if asks {
                    if port.asked.len() == SIGHTS {
                        port.asked.pop_front();
                    }
                    port.asked.push_back((now, peer));
                }
                asks
            })
    }

    /// What is known of one.
    pub fn state(&self, now: Instant, transport: Transport, v6: bool) -> PortState {
        let port = &self.ports[index(transport, v6)];
        let young = |s: &&Sight| now.saturating_duration_since(s.at) < LIFETIME;
        let (opened, failed): (Vec<&Sight>, Vec<&Sight>) = (port.sights.iter())
            .filter(young)
            .partition(|s| s.outcome == DialOutcome::Opened);
        let last = opened.last().map(|s| s.at);
        // Who failed before somebody came in met another time.
        let failed: Vec<&&Sight> = (failed.iter())
            .filter(|s| last.is_none_or(|last| s.at > last))
            .collect();
        match last {
            _ if failed.len() >= ENOUGH => PortState::Closed {
                peers: failed.len(),
                refused: failed.iter().all(|s| s.outcome == DialOutcome::Refused),
            },
            Some(last) => PortState::Open {
                ago: now.saturating_duration_since(last),
                peers: opened.len(),
            },
            None => PortState::Unknown {
                peers: failed.len(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    fn peer(n: u8) -> IpAddr {
        [203, 0, 113, n].into()
    }

    const TCP: Transport = Transport::Tcp;

    #[test]
    fn open_is_what_was_seen_and_closed_is_what_several_say() {
        let (mut ports, now) = (Ports::default(), Instant::now());
        let at = |seconds| now + Duration::from_secs(seconds);
        assert_eq!(
            ports.state(now, TCP, false),
            PortState::Unknown { peers: 0 }
        );
        ports.answered(now, TCP, peer(1), DialOutcome::Opened);
        ports.answered(now, TCP, peer(2), DialOutcome::NotTried);
        ports.reached(now, TCP, [192, 168, 1, 9].into());
        assert_eq!(
            ports.state(now, TCP, false),
            PortState::Unknown { peers: 0 },
            "claims and neighbours open nothing"
        );
        ports.answered(at(1), TCP, peer(1), DialOutcome::TimedOut);
        ports.answered(at(2), TCP, peer(1), DialOutcome::TimedOut);
        assert_eq!(
            ports.state(at(2), TCP, false),
            PortState::Unknown { peers: 1 }
        );
        ports.answered(at(3), TCP, peer(2), DialOutcome::Refused);
        let closed = PortState::Closed {
            peers: 2,
            refused: false,
        };
        assert_eq!(ports.state(at(3), TCP, false), closed);
        ports.reached(at(4), TCP, peer(3));
        ports.reached(at(5), TCP, "::ffff:203.0.113.4".parse().unwrap());
        let open = PortState::Open {
            ago: Duration::from_secs(5),
            peers: 2,
        };
        assert_eq!(ports.state(at(10), TCP, false), open);
        assert_eq!(
            ports.state(at(10), TCP, true),
            PortState::Unknown { peers: 0 }
        );
        assert_eq!(
            ports.state(at(10), Transport::Utp, false),
            PortState::Unknown { peers: 0 }
        );
        ports.answered(at(11), TCP, peer(5), DialOutcome::TimedOut);
        assert!(matches!(
            ports.state(at(11), TCP, false),
            PortState::Open { .. }
        ));
        ports.answered(at(12), TCP, peer(6), DialOutcome::TimedOut);
        assert!(matches!(
            ports.state(at(12), TCP, false),
            PortState::Closed { peers: 2, .. }
        ));
        assert_eq!(
            ports.state(at(4000), TCP, false),
            PortState::Unknown { peers: 0 },
            "it was long ago"
        );
    }

    #[test]
    fn few_are_asked_and_nobody_twice() {
        let (mut ports, now) = (Ports::default(), Instant::now());
        let at = |seconds| now + Duration::from_secs(seconds);
        assert_eq!(ports.ask(now, [10, 0, 0, 1].into()), None);
        assert_eq!(ports.ask(now, peer(1)), Some(TCP));
        assert_eq!(ports.ask(now, peer(1)), Some(Transport::Utp));
        assert_eq!(ports.ask(now, peer(2)), None, "one at a time");
        assert_eq!(ports.ask(at(31), peer(1)), None, "it was asked already");
        assert_eq!(ports.ask(at(31), peer(2)), Some(TCP));
        ports.reached(at(32), TCP, peer(9));
        assert_eq!(ports.ask(at(100), peer(3)), Some(Transport::Utp));
        assert_eq!(ports.ask(at(200), peer(4)), Some(Transport::Utp));
        assert_eq!(ports.ask(at(32 + 1200), peer(5)), Some(TCP));
    }

    /// Somebody's address: near or far, of either family, and one of them written in another way.
    fn somebody(n: u8) -> IpAddr {
        match n % 8 {
            0 => [192, 168, 1, n].into(),
            1 => IpAddr::from([0, 0, 0, 0, 0, 0xffff, 0xcb00, 0x7100 + u16::from(n / 8)]),
            2 | 3 => IpAddr::from([0x2a0e, 0x77, 0, 0, 0, 0, 0, u16::from(n)]),
            _ => peer(n / 8),
        }
    }

    proptest! {
        #[test]
        fn open_is_a_port_that_somebody_came_in_through(
            steps in proptest::collection::vec((0u8..8, any::<bool>(), any::<u8>(), 0u64..900), 0..120),
        ) {
            let (mut ports, mut now) = (Ports::default(), Instant::now());
            // Who came in, and who said that they did not get through: when, by which way, from where.
            let (mut came, mut failed) = (Vec::new(), Vec::new());
            let transports = [Transport::Tcp, Transport::Utp];
            for (what, utp, who, seconds) in steps {
                now += Duration::from_secs(seconds);
                let (transport, from) = (transports[usize::from(utp)], somebody(who));
                let way = (transport, from.to_canonical().is_ipv6());
                let far = Scope::of(from.to_canonical()) == Scope::Public;
                match what {
                    0 | 1 => {
                        ports.reached(now, transport, from);
                        came.extend(far.then_some((now, way, from.to_canonical())));
                    }
                    2 => ports.answered(now, transport, from, DialOutcome::Opened),
                    3 => ports.answered(now, transport, from, DialOutcome::NotTried),
                    4 | 5 => {
                        let said = [DialOutcome::Refused, DialOutcome::TimedOut];
                        ports.answered(now, transport, from, said[usize::from(what - 4)]);
                        failed.extend(far.then_some((now, way, from.to_canonical())));
                    }
                    _ => {
                        let asked = ports.ask(now, from);
                        prop_assert!(far || asked.is_none());
                    }
                }
                for port in &ports.ports {
                    prop_assert!(port.sights.len() <= SIGHTS && port.asked.len() <= SIGHTS);
                }
                for transport in transports {
                    for v6 in [false, true] {
                        let of = |seen: &[(Instant, (Transport, bool), IpAddr)]| {
                            let young = seen.iter().filter(|s| now - s.0 < LIFETIME);
                            let here = young.filter(|s| s.1 == (transport, v6));
                            here.map(|s| s.2).collect::<BTreeSet<_>>().len()
                        };
                        match ports.state(now, transport, v6) {
                            PortState::Open { peers, ago } => {
                                prop_assert!(peers > 0 && peers <= of(&came));
                                prop_assert!(ago < LIFETIME);
                            }
                            PortState::Closed { peers, .. } => {
                                prop_assert!(peers >= ENOUGH && peers <= of(&failed));
                            }
                            PortState::Unknown { peers } => {
                                prop_assert!(peers < ENOUGH && peers <= of(&failed));
                            }
                        }
                    }
                }
            }
        }
    }
}
