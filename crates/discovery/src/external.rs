//! At which address others see us: what DHT nodes, trackers and peers say, and when it is believed.
//!
//! Anybody may lie, and somebody who has many addresses may do so many times. So each network (a /24, a /64) has one
//! vote, each kind of voter has its own ballot, whose size bounds what one kind can do, and an address is believed when
//! most of the votes are for it. Votes of and for local addresses say nothing: they come from our side of the NAT.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use crate::scope::{Scope, neighbourhood};

/// Votes that must agree.
const AGREE: usize = 3;

/// Votes kept of one kind of voter and one address family; the oldest makes room.
const BALLOT: usize = 24;

/// Votes kept of DHT nodes whose id does not fit their address: those who lie are next to whatever is looked for, and
/// so are asked more often than others. They decide only where there is nobody else.
const BALLOT_UNFIT: usize = 8;

/// How long a vote counts.
const LIFETIME: Duration = Duration::from_secs(60 * 60);

/// Who says where we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Voter {
    /// A DHT node that we asked (BEP 42, `ip`).
    Node,
    /// The same, but its id does not fit its address.
    UnfitNode,
    /// A tracker (BEP 24, `external ip`).
    Tracker,
    /// A peer (BEP 10, `yourip`).
    Peer,
}

#[derive(Clone, Copy, Debug)]
struct Vote {
    network: u64,
    ip: IpAddr,
    at: Instant,
}

/// The votes of one address family.
#[derive(Debug, Default)]
struct Poll {
    ballots: [VecDeque<Vote>; 4],
    believed: Option<IpAddr>,
}

impl Poll {
    /// Takes a vote; answers the address if another one is believed from now on.
    fn vote(&mut self, by: Voter, vote: Vote) -> Option<IpAddr> {
        let most = match by {
            Voter::UnfitNode => BALLOT_UNFIT,
            Voter::Node | Voter::Tracker | Voter::Peer => BALLOT,
        };
        let ballot = &mut self.ballots[by as usize];
        ballot.retain(|other| other.network != vote.network);
        if ballot.len() == most {
            ballot.pop_front();
        }
        ballot.push_back(vote);
        for ballot in &mut self.ballots {
            ballot.retain(|other| vote.at.saturating_duration_since(other.at) < LIFETIME);
        }
        let (mut all, mut same) = (0, 0);
        for other in self.ballots.iter().flatten() {
            all += 1;
            same += usize::from(other.ip == vote.ip);
        }
        let is_elected = same >= AGREE && same * 2 > all;
        (is_elected && self.believed.replace(vote.ip) != Some(vote.ip)).then_some(vote.ip)
    }
}

/// Our addresses as others see them.
#[derive(Debug, Default)]
pub struct External {
    v4: Poll,
    v6: Poll,
}

impl External {
    /// Somebody at `from` says that we are at `ip`. Answers `ip` if that is believed from now on and was not before.
    pub fn vote(&mut self, now: Instant, by: Voter, from: IpAddr, ip: IpAddr) -> Option<IpAddr> {
        let (from, ip) = (from.to_canonical(), ip.to_canonical());
        let network = neighbourhood(from)?;
        if Scope::of(ip) != Scope::Public || from.is_ipv4() != ip.is_ipv4() {
            return None;
        }
        let poll = if ip.is_ipv4() {
            &mut self.v4
        } else {
            &mut self.v6
        };
        let vote = Vote {
            network,
            ip,
            at: now,
        };
        poll.vote(by, vote)
    }

    /// Our IPv4 address, if it is known.
    pub fn v4(&self) -> Option<Ipv4Addr> {
        match self.v4.believed {
            Some(IpAddr::V4(ip)) => Some(ip),
            _ => None,
        }
    }

    /// Our IPv6 address, if it is known.
    pub fn v6(&self) -> Option<Ipv6Addr> {
        match self.v6.believed {
            Some(IpAddr::V6(ip)) => Some(ip),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const US: IpAddr = IpAddr::V4(Ipv4Addr::new(8, 8, 4, 4));
    const EVES: IpAddr = IpAddr::V4(Ipv4Addr::new(6, 6, 6, 6));

    fn voter(network: u8, n: u8) -> IpAddr {
        [9, 9, network, n].into()
    }

    #[test]
    fn three_networks_that_agree_are_believed_and_one_with_many_addresses_is_not() {
        let now = Instant::now();
        let mut external = External::default();
        for n in 0..200 {
            assert_eq!(
                external.vote(now, Voter::UnfitNode, voter(1, n), EVES),
                None
            );
        }
        assert_eq!(external.vote(now, Voter::Node, voter(2, 1), US), None);
        assert_eq!(external.vote(now, Voter::Tracker, voter(3, 1), US), None);
        assert_eq!(external.vote(now, Voter::Peer, voter(4, 1), US), Some(US));
        assert_eq!(
            external.vote(now, Voter::Peer, voter(5, 1), US),
            None,
            "it is known"
        );
        assert_eq!(external.v4(), Some(Ipv4Addr::new(8, 8, 4, 4)));
        assert_eq!(external.v6(), None);
    }

    #[test]
    fn local_votes_and_votes_for_local_addresses_say_nothing() {
        let now = Instant::now();
        let mut external = External::default();
        for n in 0..10 {
            assert_eq!(
                external.vote(now, Voter::Node, [10, 0, n, 1].into(), US),
                None
            );
            let inside = IpAddr::from([192, 168, 0, 1]);
            assert_eq!(external.vote(now, Voter::Node, voter(n, 1), inside), None);
            let v6 = "2001:db8::1".parse().unwrap();
            assert_eq!(external.vote(now, Voter::Node, voter(n, 1), v6), None);
        }
        assert_eq!(external.v4(), None);
    }

    #[test]
    fn a_new_address_is_believed_once_most_have_seen_it() {
        let start = Instant::now();
        let mut external = External::default();
        for n in 0..20 {
            external.vote(start, Voter::Node, voter(n, 1), EVES);
        }
        let later = start + Duration::from_secs(60);
        let changes: Vec<_> = (0..20)
            .filter_map(|n| {
                external
                    .vote(later, Voter::Node, voter(n, 1), US)
                    .map(|ip| (n, ip))
            })
            .collect();
        assert_eq!(changes, [(10, US)]);
    }

    #[test]
    fn nodes_without_a_right_to_their_id_decide_only_among_themselves() {
        let now = Instant::now();
        let mut external = External::default();
        let unfit = |external: &mut External, ip| {
            let votes =
                (0..200).filter_map(|n| external.vote(now, Voter::UnfitNode, voter(n, 1), ip));
            votes.last()
        };
        assert_eq!(unfit(&mut external, US), Some(US));
        for n in 200..209 {
            external.vote(now, Voter::Node, voter(n, 1), US);
        }
        assert_eq!(unfit(&mut external, EVES), None);
    }

    #[test]
    fn old_votes_are_forgotten() {
        let start = Instant::now();
        let mut external = External::default();
        for n in 0..20 {
            external.vote(start, Voter::Node, voter(n, 1), EVES);
        }
        let votes = (30..33).map(|n| external.vote(start + LIFETIME, Voter::Node, voter(n, 1), US));
        assert_eq!(votes.last(), Some(Some(US)));
    }

    proptest! {
        #[test]
        fn liars_of_one_kind_move_nothing_while_the_others_hold(
            votes in proptest::collection::vec((any::<[u8; 4]>(), any::<[u8; 4]>()), 0..300),
        ) {
            let now = Instant::now();
            let mut external = External::default();
            for n in 0..BALLOT as u8 {
                external.vote(now, Voter::Node, voter(n, 1), US);
                external.vote(now, Voter::Tracker, voter(n, 1), US);
            }
            for (from, ip) in votes {
                let moved = external.vote(now, Voter::Peer, from.into(), ip.into());
                prop_assert_eq!(moved, None);
            }
            prop_assert_eq!(external.v4().map(IpAddr::from), Some(US));
        }
    }
}
