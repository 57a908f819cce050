//! One walk through the DHT towards a place: ask the nearest nodes known for nearer ones, until the eight nearest
//! have all answered (BEP 5). Decides whom to ask next; asking and waiting are the node's.
//!
//! Nodes whose id does not fit their address are asked like others, but do not count among the eight, and are told to
//! keep something only where there are fewer than eight that count (BEP 42, "Enforcement"). Of each owner the nearest
//! node is asked, and the next only if that does not answer.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use torrent::krpc::{Item, NodeId, NodeInfo};

use super::owner::{Owner, is_crowded, is_fit};
use super::table::K;
use super::{AnnounceAs, SearchId};

/// Questions of one walk on their way at a time, slow ones not counted (Kademlia's α).
const ALPHA: usize = 3;

/// Most nodes one walk keeps in mind; only the nearest matter.
const MAX_CANDIDATES: usize = 128;

/// Most of these whose id does not fit their address: anybody can invent any number of them next to the target.
const MAX_UNFIT: usize = 16;

/// Most of one owner: the nearest may be gone, or an invention to keep us from the others.
const MAX_OF_OWNER: usize = 3;

/// Nodes believed of one answer, the first ones: no node has more to say (BEP 5), and who lies says less.
pub(super) const MAX_TOLD: usize = K;

/// Most addresses one walk starts from without knowing whose they are.
const MAX_STRANGERS: usize = 32;

/// Most questions one walk asks: a walk through ten million nodes takes about forty, unless somebody leads it astray.
const MAX_ASKED: usize = 250;

/// Most peers one walk reports; nobody dials more.
const MAX_PEERS: usize = 2_000;

/// What a walk is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Goal {
    /// To get to know the nodes around us.
    Bootstrap,
    /// To keep a bucket fresh.
    Refresh,
    /// To find peers.
    Search {
        search: SearchId,
        info_hash: [u8; 20],
        announce: Option<AnnounceAs>,
    },
    /// To find a value, or to put one.
    Item {
        search: SearchId,
        /// Values under one key are told apart by it.
        salt: Vec<u8>,
        put: Option<Box<Put>>,
    },
}

/// A value to put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Put {
    pub(super) item: Item,
    /// The number of the value that it is to replace.
    pub(super) cas: Option<i64>,
}

impl Goal {
    /// Who wants it.
    pub(super) fn search(&self) -> Option<SearchId> {
        match self {
            Goal::Search { search, .. } | Goal::Item { search, .. } => Some(*search),
            Goal::Bootstrap | Goal::Refresh => None,
        }
    }
}

/// A node to tell what others should find.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Taker {
    pub(super) node: NodeInfo,
    pub(super) token: Vec<u8>,
    /// It has a value there already.
    pub(super) keeps: bool,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Ask this node.
    Ask(SocketAddr, Option<NodeId>),
    /// Nothing until an answer comes, or does not come.
    Wait,
    /// The nearest nodes have answered, or nobody is left to ask.
    Arrived,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Fresh,
    Asked,
    Slow,
    Answered {
        token: Option<Vec<u8>>,
        /// It has a value there already.
        keeps: bool,
    },
    Failed,
}

#[derive(Clone, Debug)]
struct Candidate {
    node: NodeInfo,
    owner: Option<Owner>,
    fit: bool,
    state: State,
}

impl Candidate {
    fn new(node: NodeInfo, state: State) -> Candidate {
        let (owner, fit) = (Owner::of(&node), is_fit(&node));
        Candidate {
            node,
            owner,
            fit,
            state,
        }
    }

    fn is_of(&self, owner: &Owner) -> bool {
        self.owner.is_some_and(|own| own.is_same(owner))
    }
}

/// A walk.
#[derive(Debug)]
pub(super) struct Lookup {
    pub(super) target: NodeId,
    pub(super) goal: Goal,
    /// Announces without an answer yet, once the walk has arrived; `None` before.
    pub(super) announcing: Option<usize>,
    pub(super) announced: usize,
    /// The nearest first.
    candidates: Vec<Candidate>,
    strangers: Vec<(SocketAddr, State)>,
    peers: BTreeSet<SocketAddr>,
    asked: usize,
    answered: usize,
}

impl Lookup {
    pub(super) fn new(target: NodeId, goal: Goal) -> Lookup {
        Lookup {
            target,
            goal,
            announcing: None,
            announced: 0,
            candidates: Vec::new(),
            strangers: Vec::new(),
            peers: BTreeSet::new(),
            asked: 0,
            answered: 0,
        }
    }

    /// How many nodes have answered.
    pub(super) fn answers(&self) -> usize {
        self.answered
    }

    /// A node to ask, if it is near enough.
    pub(super) fn add(&mut self, node: NodeInfo) {
        let is_known = |one: &Candidate| one.node.id == node.id || one.node.addr == node.addr;
        if self.candidates.iter().any(is_known) {
            return;
        }
        let candidate = Candidate::new(node, State::Fresh);
        let is_flood = candidate.owner.is_some_and(|owner| {
            let same = self.candidates.iter().filter(|one| one.is_of(&owner));
            same.count() >= MAX_OF_OWNER
        });
        if !is_flood {
            self.insert(candidate);
        }
    }

    /// An address to ask, whoever may be there.
    pub(super) fn add_stranger(&mut self, addr: SocketAddr) {
        let is_known = self.strangers.iter().any(|(known, _)| *known == addr);
        if !is_known && self.strangers.len() < MAX_STRANGERS {
            self.strangers.push((addr, State::Fresh));
        }
    }

    /// Decides whom to ask next; the node counts as asked then.
    pub(super) fn next(&mut self) -> Step {
        let is_asked = |state: &State| *state == State::Asked;
        let busy_strangers = self
            .strangers
            .iter()
            .filter(|(_, state)| is_asked(state))
            .count();
        let busy = busy_strangers
            + self
                .candidates
                .iter()
                .filter(|one| is_asked(&one.state))
                .count();
        let may_ask = busy < ALPHA && self.asked < MAX_ASKED;

        let (mut nearest, is_short) = nearest(&mut self.candidates);
        if let Some(fresh) = nearest.iter_mut().find(|one| one.state == State::Fresh) {
            if may_ask {
                fresh.state = State::Asked;
                let node = fresh.node;
                self.asked += 1;
                return Step::Ask(node.addr, Some(node.id));
            }
            return if busy > 0 { Step::Wait } else { Step::Arrived };
        }
        if nearest.iter().any(|one| is_asked(&one.state)) {
            return Step::Wait;
        }
        if !is_short {
            return Step::Arrived;
        }
        let fresh = |one: &&mut (SocketAddr, State)| one.1 == State::Fresh;
        if let Some((addr, state)) = self.strangers.iter_mut().find(fresh)
            && may_ask
        {
            *state = State::Asked;
            self.asked += 1;
            return Step::Ask(*addr, None);
        }
        let mut states = self
            .candidates
            .iter()
            .map(|one| &one.state)
            .chain(self.strangers.iter().map(|(_, s)| s));
        if states.any(|state| matches!(state, State::Asked | State::Slow)) {
            Step::Wait
        } else {
            Step::Arrived
        }
    }

    /// A node has answered; `token` allows to announce to it, and it may keep a value there already.
    pub(super) fn answered(&mut self, node: NodeInfo, token: Option<Vec<u8>>, keeps: bool) {
        self.answered += 1;
        self.strangers.retain(|(addr, _)| *addr != node.addr);
        // Who answers decides what its id is, whatever others said.
        self.candidates
            .retain(|one| one.node.addr != node.addr && one.node.id != node.id);
        self.insert(Candidate::new(node, State::Answered { token, keeps }));
    }

    /// A node takes its time; it no longer keeps us from asking others.
    pub(super) fn slow(&mut self, addr: SocketAddr) {
        self.set(addr, State::Slow);
    }

    /// A node will not answer.
    pub(super) fn failed(&mut self, addr: SocketAddr) {
        self.set(addr, State::Failed);
    }

    /// Those of `peers` that this walk has not met yet.
    pub(super) fn new_peers(
        &mut self,
        peers: impl IntoIterator<Item = SocketAddr>,
    ) -> Vec<SocketAddr> {
        let room = MAX_PEERS - self.peers.len();
        peers
            .into_iter()
            .filter(|peer| self.peers.insert(*peer))
            .take(room)
            .collect()
    }

    /// The nearest nodes that have answered with a token and count, each of another owner; filled up with those that
    /// do not count.
    pub(super) fn announce_to(&self) -> Vec<Taker> {
        let mut to: Vec<Taker> = Vec::with_capacity(K);
        for fit in [true, false] {
            for one in self.candidates.iter().filter(|one| one.fit == fit) {
                let State::Answered {
                    token: Some(token),
                    keeps,
                } = &one.state
                else {
                    continue;
                };
                if to.len() < K && !is_crowded(&one.node, to.iter().map(|taker| taker.node)) {
                    to.push(Taker {
                        node: one.node,
                        token: token.clone(),
                        keeps: *keeps,
                    });
                }
            }
        }
        to
    }

    fn insert(&mut self, candidate: Candidate) {
        let distance = candidate.node.id.distance(&self.target);
        let at = self
            .candidates
            .partition_point(|one| one.node.id.distance(&self.target) < distance);
        let is_fit = candidate.fit;
        self.candidates.insert(at, candidate);
        // Of those that count and those that do not, the furthest makes room.
        let most = if is_fit { MAX_CANDIDATES } else { MAX_UNFIT };
        let same = |one: &Candidate| one.fit == is_fit;
        if self.candidates.iter().filter(|one| same(one)).count() > most
            && let Some(furthest) = self.candidates.iter().rposition(same)
        {
            self.candidates.remove(furthest);
        }
    }

    fn set(&mut self, addr: SocketAddr, to: State) {
        let candidates = self
            .candidates
            .iter_mut()
            .map(|one| (one.node.addr, &mut one.state));
        let strangers = self
            .strangers
            .iter_mut()
            .map(|(addr, state)| (*addr, state));
        for (_, state) in candidates
            .chain(strangers)
            .filter(|(known, _)| *known == addr)
        {
            if matches!(state, State::Asked | State::Slow) {
                *state = to.clone();
            }
        }
    }
}

/// The nearest nodes there is hope of, as many as hold eight that count, each of another owner; and whether there
/// are fewer.
fn nearest(candidates: &mut [Candidate]) -> (Vec<&mut Candidate>, bool) {
    let mut nearest: Vec<&mut Candidate> = Vec::with_capacity(K);
    let mut counted = 0;
    for one in candidates {
        let is_hopeless = matches!(one.state, State::Failed | State::Slow);
        let is_taken = |owner: Owner| nearest.iter().any(|nearer| nearer.is_of(&owner));
        if is_hopeless || one.owner.is_some_and(is_taken) {
            continue;
        }
        counted += usize::from(one.fit);
        nearest.push(one);
        if counted == K {
            return (nearest, false);
        }
    }
    (nearest, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: NodeId = NodeId([0; 20]);

    fn node(n: u8) -> NodeInfo {
        NodeInfo {
            id: NodeId([n; 20]),
            addr: ([127, 0, 0, 1], 1000 + u16::from(n)).into(),
        }
    }

    fn lookup() -> Lookup {
        Lookup::new(TARGET, Goal::Refresh)
    }

    fn ask(n: u8) -> Step {
        Step::Ask(node(n).addr, Some(node(n).id))
    }

    #[test]
    fn the_nearest_are_asked_first_and_three_at_a_time() {
        let mut lookup = lookup();
        [5, 3, 9, 1].iter().for_each(|n| lookup.add(node(*n)));
        assert_eq!(
            [lookup.next(), lookup.next(), lookup.next()],
            [ask(1), ask(3), ask(5)]
        );
        assert_eq!(lookup.next(), Step::Wait);
        lookup.answered(node(3), None, false);
        lookup.add(node(2));
        assert_eq!(lookup.next(), ask(2));
        assert_eq!(lookup.next(), Step::Wait);
    }

    #[test]
    fn a_slow_node_makes_room_and_is_still_waited_for_when_nobody_is_left() {
        let mut lookup = lookup();
        (1..=4).for_each(|n| lookup.add(node(n)));
        (0..3).for_each(|_| assert!(matches!(lookup.next(), Step::Ask(..))));
        lookup.slow(node(1).addr);
        assert_eq!(lookup.next(), ask(4));
        [2, 3, 4]
            .iter()
            .for_each(|n| lookup.answered(node(*n), None, false));
        assert_eq!(lookup.next(), Step::Wait);
        lookup.failed(node(1).addr);
        assert_eq!(lookup.next(), Step::Arrived);
        assert_eq!(lookup.answers(), 3);
    }

    #[test]
    fn the_walk_ends_when_the_eight_nearest_have_answered() {
        let mut lookup = lookup();
        (1..=20).for_each(|n| lookup.add(node(n)));
        let mut asked = Vec::new();
        loop {
            match lookup.next() {
                Step::Ask(addr, Some(id)) => {
                    asked.push(id);
                    // The third nearest is dead: the ninth takes its place.
                    if id == node(3).id {
                        lookup.failed(addr)
                    } else {
                        lookup.answered(NodeInfo { id, addr }, None, false)
                    }
                }
                step => {
                    assert_eq!(step, Step::Arrived);
                    break;
                }
            }
        }
        assert_eq!(asked, (1..=9).map(|n| node(n).id).collect::<Vec<_>>());
    }

    #[test]
    fn strangers_are_asked_while_too_few_nodes_are_known() {
        let mut lookup = lookup();
        let stranger = "127.0.0.1:9".parse().unwrap();
        lookup.add_stranger(stranger);
        lookup.add_stranger(stranger);
        assert_eq!(lookup.next(), Step::Ask(stranger, None));
        assert_eq!(lookup.next(), Step::Wait);
        lookup.answered(
            NodeInfo {
                id: node(7).id,
                addr: stranger,
            },
            None,
            false,
        );
        lookup.add(node(1));
        assert_eq!(lookup.next(), ask(1));
        lookup.failed(node(1).addr);
        assert_eq!(lookup.next(), Step::Arrived);
    }

    #[test]
    fn with_nobody_to_ask_the_walk_has_arrived() {
        assert_eq!(lookup().next(), Step::Arrived);
    }

    #[test]
    fn announces_go_to_the_nearest_with_a_token() {
        let mut lookup = lookup();
        for n in 1..=12 {
            lookup.add(node(n));
            let _ = lookup.next();
            lookup.answered(node(n), (n != 2).then(|| vec![n]), false);
        }
        let to: Vec<_> = lookup
            .announce_to()
            .into_iter()
            .map(|taker| taker.token[0])
            .collect();
        assert_eq!(to, [1, 3, 4, 5, 6, 7, 8, 9]);
    }

    #[test]
    fn a_forged_id_counts_for_nothing_once_its_node_answers() {
        let mut lookup = lookup();
        let forged = NodeInfo {
            id: NodeId([0; 20]),
            addr: node(200).addr,
        };
        lookup.add(forged);
        let _ = lookup.next();
        lookup.answered(node(200), Some(vec![1]), false);
        lookup.add(node(5));
        assert_eq!(lookup.next(), ask(5));
        assert_eq!(lookup.announce_to()[0].node.id, node(200).id);
    }

    /// A node on the public network whose id fits, with the nth address of a network.
    fn public(network: u8, n: u8) -> NodeInfo {
        let addr = SocketAddr::from(([9, 9, network, n], 1));
        let id = NodeId::tied_to(addr.ip(), [n; 20]);
        NodeInfo { id, addr }
    }

    #[test]
    fn one_public_network_is_asked_one_at_a_time() {
        let mut lookup = lookup();
        (1..=9).for_each(|n| lookup.add(public(9, n)));
        let Step::Ask(first, _) = lookup.next() else {
            panic!("somebody to ask")
        };
        assert_eq!(lookup.next(), Step::Wait);
        // What does not answer may have been invented to keep us from the others.
        lookup.failed(first);
        assert!(matches!(lookup.next(), Step::Ask(addr, _) if addr != first));
        assert_eq!(lookup.candidates.len(), MAX_OF_OWNER);
    }

    #[test]
    fn nodes_without_a_right_to_their_id_are_asked_and_do_not_count() {
        let mut lookup = lookup();
        let unfit = |n: u8| NodeInfo {
            id: NodeId([n; 20]),
            addr: ([9, 8, n, 1], 1).into(),
        };
        (1..=100).for_each(|n| lookup.add(unfit(n)));
        assert_eq!(lookup.candidates.len(), MAX_UNFIT);
        (1..=12).for_each(|n| lookup.add(public(n, 1)));
        let mut asked = Vec::new();
        while let Step::Ask(addr, Some(id)) = lookup.next() {
            asked.push(addr);
            lookup.answered(NodeInfo { id, addr }, Some(vec![1]), false);
        }
        assert!(asked.contains(&unfit(1).addr));
        let to = lookup.announce_to();
        assert_eq!(to.len(), K);
        assert!(to.iter().all(|taker| is_fit(&taker.node)));
    }

    #[test]
    fn where_too_few_count_the_others_are_told_too() {
        let mut lookup = lookup();
        for n in 1..=12u8 {
            let addr = ([9, 8, n, 1], 1).into();
            let id = NodeId([n; 20]);
            lookup.add(NodeInfo { id, addr });
        }
        lookup.add(public(1, 1));
        while let Step::Ask(addr, Some(id)) = lookup.next() {
            lookup.answered(NodeInfo { id, addr }, Some(vec![1]), false);
        }
        let to = lookup.announce_to();
        assert_eq!((to.len(), to[0].node), (K, public(1, 1)));
    }

    #[test]
    fn a_walk_led_astray_ends() {
        let mut lookup = lookup();
        let mut steps = 0;
        // On local addresses, where every id is as good as another.
        let at = |n: u32| {
            let mut id = [0; 20];
            id[..4].copy_from_slice(&(u32::MAX - n).to_be_bytes());
            NodeInfo {
                id: NodeId(id),
                addr: (n.to_be_bytes(), 1).into(),
            }
        };
        let mut last = 0x0a00_0000;
        lookup.add(at(last));
        while let Step::Ask(addr, Some(id)) = lookup.next() {
            steps += 1;
            lookup.answered(NodeInfo { id, addr }, None, false);
            for _ in 0..8 {
                last += 1;
                lookup.add(at(last));
            }
        }
        assert_eq!(steps, MAX_ASKED);
        assert!(lookup.candidates.len() <= MAX_CANDIDATES + MAX_UNFIT);
    }

    #[test]
    fn each_peer_is_reported_once() {
        let mut lookup = lookup();
        assert_eq!(
            lookup.new_peers([node(1).addr, node(2).addr, node(1).addr]),
            [node(1).addr, node(2).addr]
        );
        assert_eq!(
            lookup.new_peers([node(2).addr, node(3).addr]),
            [node(3).addr]
        );
        let flood = (1..60_000u16).map(|port| SocketAddr::from(([9, 9, 9, 9], port)));
        assert_eq!(lookup.new_peers(flood).len(), MAX_PEERS - 3);
    }
}
