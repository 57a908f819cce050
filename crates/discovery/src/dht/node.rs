//! The asking half of a DHT node in one address family: its routing table, and the walks that use and feed it.
//! Answering is the same for both families and lives in the parent.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use torrent::krpc::{Body, Item, Message, NodeId, NodeInfo, Query, Response, Want};

use super::lookup::{Goal, Lookup, MAX_TOLD, Step, Taker};
use super::owner::is_fit;
use super::queries::{Overdue, Purpose, Queries};
use super::reach::{Reach, Watch};
use super::sign::is_genuine;
use super::table::{K, Standing, Table};
use super::{AnnounceAs, Output, SearchId};
use crate::scope::{Scope, may_refer};

/// Fewer good nodes than this, and we look for more: with so few the next failure may leave us alone.
pub(super) const ENOUGH: usize = 4;

/// Time from a failed bootstrap to the next one; doubles up to the second value.
const RETRY: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(5 * 60));

/// Time from the end of one refresh to the next: a young table has many buckets to fill, and nothing is in a hurry.
const REFRESH_GAP: Duration = Duration::from_secs(5);

/// Time from one change of our place to the next: whoever could make us believe one address after the other must not
/// keep us from being found at any.
const MOVE_GAP: Duration = Duration::from_secs(10 * 60);

/// Most pings on their way: nodes we have heard of come to us faster than that.
const MAX_PINGS: usize = 32;

/// Most addresses and most saved nodes to start from.
const MAX_CONTACTS: usize = 64;
const MAX_SAVED: usize = 400;

/// What both families share and the node adds to.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) read_only: bool,
    pub(super) version: Option<Vec<u8>>,
    /// Whether both address families are there, so that each may learn nodes of the other (BEP 32).
    pub(super) both: bool,
    pub(super) rng: fastrand::Rng,
    pub(super) outputs: VecDeque<Output>,
    pub(super) events: VecDeque<Event>,
}

impl Shared {
    /// Sends one message.
    pub(super) fn send(
        &mut self,
        to: SocketAddr,
        transaction: &[u8],
        body: Body,
        ip: Option<SocketAddr>,
    ) {
        self.send_as(to, transaction, body, ip, self.read_only);
    }

    fn send_as(
        &mut self,
        to: SocketAddr,
        transaction: &[u8],
        body: Body,
        ip: Option<SocketAddr>,
        read_only: bool,
    ) {
        let read_only = read_only && matches!(body, Body::Query(_));
        let message = Message {
            transaction: transaction.to_vec(),
            body,
            version: self.version.clone(),
            read_only,
            ip,
        };
        self.outputs.push_back(Output::Send {
            to,
            bytes: message.encode(),
        });
    }
}

/// What the parent has to know.
#[derive(Debug)]
pub(super) enum Event {
    /// A walk has met peers.
    Found {
        search: SearchId,
        peers: Vec<SocketAddr>,
    },
    /// A walk has met a value, and it is genuine.
    Item { search: SearchId, item: Item },
    /// A node does not keep what it was told to.
    Refused {
        search: SearchId,
        code: u16,
        message: String,
    },
    /// A walk for peers has come to its end.
    Finished {
        search: SearchId,
        answered: usize,
        announced: usize,
    },
    /// The walk around our own place has come to its end, or could not start for want of anybody to ask.
    Bootstrapped { good: usize },
    /// Somebody told us nodes of the other address family.
    Foreign(Vec<NodeInfo>),
}

/// One address family.
#[derive(Debug)]
pub(super) struct Node {
    v4: bool,
    /// Our place.
    pub(super) id: NodeId,
    pub(super) table: Table,
    watch: Watch,
    queries: Queries,
    lookups: BTreeMap<u32, Lookup>,
    last_lookup: u32,
    /// Addresses to start from, whoever may be there.
    contacts: VecDeque<SocketAddr>,
    /// Nodes of an earlier run to start from.
    saved: Vec<NodeInfo>,
    /// Helpers of everybody: asked when nobody else is known, and not kept in the table (BEP 5).
    routers: Vec<SocketAddr>,
    bootstrap: Option<u32>,
    /// We have another place, whose neighbours are to be met, however many nodes are known.
    has_moved: bool,
    /// Where others see us.
    located: Option<IpAddr>,
    may_move_at: Instant,
    bootstrap_at: Instant,
    retry: Duration,
    /// Whether a bootstrap has been tried at all.
    pub(super) tried: bool,
    refresh: Option<u32>,
    refresh_at: Instant,
}

impl Node {
    pub(super) fn new(v4: bool, id: NodeId, now: Instant) -> Node {
        Node {
            v4,
            id,
            table: Table::new(id, now),
            watch: Watch::new(now),
            queries: Queries::default(),
            lookups: BTreeMap::new(),
            last_lookup: 0,
            contacts: VecDeque::new(),
            saved: Vec::new(),
            routers: Vec::new(),
            bootstrap: None,
            has_moved: false,
            located: None,
            may_move_at: now,
            bootstrap_at: now,
            retry: RETRY.0,
            tried: false,
            refresh: None,
            refresh_at: now,
        }
    }

    /// Takes nodes for known, without having asked them.
    pub(super) fn acquaint(&mut self, now: Instant, nodes: &[NodeInfo]) {
        for node in nodes.iter().filter(|node| node.addr.is_ipv4() == self.v4) {
            self.table.answered(now, *node);
        }
        self.tried = true;
        self.bootstrap_at = now + RETRY.1;
        self.refresh_at = now + RETRY.1;
    }

    /// Whether it may soon know nodes, though it does not yet.
    pub(super) fn is_settling(&self) -> bool {
        !self.tried || self.bootstrap.is_some()
    }

    /// Others see us at this address: our place follows from it (BEP 42).
    pub(super) fn located(&mut self, ip: IpAddr) {
        self.located = Some(ip);
    }

    /// When to take another place; `None`: we are where we belong.
    fn move_at(&self) -> Option<Instant> {
        let is_astray = |ip: IpAddr| {
            let (id, addr) = (self.id, (ip, 0).into());
            !is_fit(&NodeInfo { id, addr })
        };
        self.located
            .is_some_and(is_astray)
            .then_some(self.may_move_at)
    }

    fn move_if_astray(&mut self, now: Instant, shared: &mut Shared) {
        if let (Some(ip), Some(at)) = (self.located, self.move_at())
            && now >= at
        {
            self.may_move_at = now + MOVE_GAP;
            self.id = NodeId::tied_to(ip, std::array::from_fn(|_| shared.rng.u8(..)));
            self.table = self.table.around(self.id, now);
            self.has_moved = true;
            if let Some(walk) = self.bootstrap.take() {
                self.lookups.remove(&walk);
            }
            self.hurry(now);
        }
    }

    /// Whether others reach us.
    pub(super) fn reach(&self) -> Reach {
        self.watch.reach()
    }

    /// An address where a node may be.
    pub(super) fn add_contact(&mut self, now: Instant, shared: &mut Shared, addr: SocketAddr) {
        if Scope::of(addr.ip()) == Scope::Unusable || addr.port() == 0 {
            return;
        }
        if let Some(lookup) = self
            .bootstrap
            .and_then(|lookup| self.lookups.get_mut(&lookup))
        {
            lookup.add_stranger(addr);
        } else if self.table.counts(now).0 >= ENOUGH {
            self.ping(now, shared, addr, None);
            return;
        }
        if !self.contacts.contains(&addr) {
            if self.contacts.len() == MAX_CONTACTS {
                self.contacts.pop_front();
            }
            self.contacts.push_back(addr);
        }
        self.hurry(now);
    }

    /// The addresses of a router.
    pub(super) fn add_routers(&mut self, now: Instant, shared: &mut Shared, addrs: &[SocketAddr]) {
        for &addr in addrs {
            // A router within our own site is somebody's own node, and as good as any other.
            if !Scope::of(addr.ip()).is_local()
                && !self.routers.contains(&addr)
                && self.routers.len() < MAX_CONTACTS
            {
                self.routers.push(addr);
            }
            self.add_contact(now, shared, addr);
        }
    }

    /// Nodes of an earlier run, or nodes that somebody told us of over the other address family.
    pub(super) fn add_saved(&mut self, now: Instant, nodes: impl IntoIterator<Item = NodeInfo>) {
        let room = MAX_SAVED - self.saved.len();
        let usable = nodes
            .into_iter()
            .filter(|node| node.addr.port() != 0 && node.addr.is_ipv4() == self.v4);
        let usable: Vec<_> = usable
            .filter(|node| Scope::of(node.addr.ip()) != Scope::Unusable)
            .take(room)
            .collect();
        if usable.is_empty() {
            return;
        }
        if let Some(lookup) = self
            .bootstrap
            .and_then(|lookup| self.lookups.get_mut(&lookup))
        {
            usable.iter().for_each(|node| lookup.add(*node));
        }
        self.saved.extend(usable);
        self.hurry(now);
    }

    /// A node has asked us something: it may be worth knowing.
    pub(super) fn heard(&mut self, now: Instant, shared: &mut Shared, node: NodeInfo) {
        self.watch.heard(now, node.addr);
        self.table.asked(now, &node);
        if self.table.wants(now, &node) {
            self.ping(now, shared, node.addr, Some(node.id));
        }
    }

    /// Starts to look for peers, or for a value.
    pub(super) fn search(&mut self, now: Instant, target: NodeId, goal: Goal) {
        let mut lookup = Lookup::new(target, goal);
        let start = self.table.closest(now, &lookup.target, 2 * K, |standing| {
            standing != Standing::Bad
        });
        start.into_iter().for_each(|node| lookup.add(node));
        self.start(lookup);
    }

    /// Gives up looking; answers how many nodes have answered.
    pub(super) fn cancel(&mut self, search: SearchId) -> usize {
        let gone = |_: &u32, lookup: &mut Lookup| lookup.goal.search() == Some(search);
        let gone = self.lookups.extract_if(.., gone);
        gone.map(|(_, lookup)| lookup.answers()).sum()
    }

    /// An answer has come.
    pub(super) fn responded(
        &mut self,
        now: Instant,
        shared: &mut Shared,
        from: SocketAddr,
        transaction: &[u8],
        response: Response,
        seen: Option<SocketAddr>,
    ) {
        let Some(query) = self.queries.answered(transaction, from) else {
            return;
        };
        let node = NodeInfo {
            id: response.id,
            addr: from,
        };
        shared.outputs.extend(seen.map(|seen| Output::Seen {
            by: from,
            is_fit: is_fit(&node),
            ip: seen.ip(),
        }));
        if !self.routers.contains(&from) {
            let doubtful = self.table.answered(now, node);
            self.ping_doubtful(now, shared, doubtful);
        }
        match query.purpose {
            Purpose::Ping => {}
            Purpose::Announce(lookup) => self.announce_settled(shared, lookup, true),
            Purpose::Lookup(number) => {
                let Some(lookup) = self.lookups.get_mut(&number) else {
                    return;
                };
                let keeps = response.item.is_some() || response.seq.is_some();
                lookup.answered(node, response.token, keeps);
                let (own, foreign) = match self.v4 {
                    true => (response.nodes, response.nodes6),
                    false => (response.nodes6, response.nodes),
                };
                let credible =
                    |node: &NodeInfo| may_refer(from.ip(), node.addr.ip()) && node.id != self.id;
                own.into_iter()
                    .flatten()
                    .take(MAX_TOLD)
                    .filter(credible)
                    .for_each(|node| lookup.add(node));
                let foreign: Vec<_> = foreign
                    .into_iter()
                    .flatten()
                    .take(MAX_TOLD)
                    .filter(credible)
                    .collect();
                if !foreign.is_empty() {
                    shared.events.push_back(Event::Foreign(foreign));
                }
                let peers = response
                    .values
                    .into_iter()
                    .filter(|peer| may_refer(from.ip(), peer.ip()));
                match &lookup.goal {
                    Goal::Search { search, .. } => {
                        let search = *search;
                        let peers = lookup.new_peers(peers);
                        if !peers.is_empty() {
                            shared.events.push_back(Event::Found { search, peers });
                        }
                    }
                    Goal::Item { search, salt, .. } => {
                        let item = response
                            .item
                            .and_then(|item| genuine(*item, salt, &lookup.target));
                        let search = *search;
                        shared
                            .events
                            .extend(item.map(|item| Event::Item { search, item }));
                    }
                    Goal::Bootstrap | Goal::Refresh => {}
                }
            }
        }
    }

    /// A refusal has come: the node is there, but of no use for this.
    pub(super) fn refused(
        &mut self,
        shared: &mut Shared,
        from: SocketAddr,
        transaction: &[u8],
        (code, message): (u16, String),
    ) {
        match self
            .queries
            .answered(transaction, from)
            .map(|query| query.purpose)
        {
            Some(Purpose::Lookup(lookup)) => {
                self.lookups
                    .get_mut(&lookup)
                    .into_iter()
                    .for_each(|lookup| lookup.failed(from));
            }
            Some(Purpose::Announce(lookup)) => {
                let goal = self.lookups.get(&lookup).map(|lookup| &lookup.goal);
                if let Some(Goal::Item { search, .. }) = goal {
                    let search = *search;
                    shared.events.push_back(Event::Refused {
                        search,
                        code,
                        message,
                    });
                }
                self.announce_settled(shared, lookup, false);
            }
            Some(Purpose::Ping) | None => {}
        }
    }

    /// Does what time and the facts so far call for.
    pub(super) fn advance(&mut self, now: Instant, shared: &mut Shared) {
        while let Some(overdue) = self.queries.overdue(now) {
            self.overdue(now, shared, overdue);
        }
        self.move_if_astray(now, shared);
        if self.watch.is_due(now) {
            self.watch.settle(now, self.table.public(now));
        }
        if self.bootstrap.is_none() && now >= self.bootstrap_at {
            if self.has_moved || self.table.counts(now).0 < ENOUGH {
                self.start_bootstrap(now, shared);
            } else {
                self.bootstrap_at = now + RETRY.1;
            }
        }
        if self.refresh.is_none()
            && now >= self.refresh_at
            && !self.table.is_empty()
            && let Some(target) = self.table.refresh(now, &mut shared.rng)
        {
            let mut lookup = Lookup::new(target, Goal::Refresh);
            let start = self
                .table
                .closest(now, &target, 2 * K, |standing| standing != Standing::Bad);
            start.into_iter().for_each(|node| lookup.add(node));
            self.refresh = Some(self.start(lookup));
        }
        self.walk(now, shared);
    }

    /// When [`advance`](Node::advance) has something to do though nothing else happens.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let bootstrap = self.bootstrap.is_none().then_some(self.bootstrap_at);
        let refresh = self
            .table
            .refresh_at()
            .filter(|_| self.refresh.is_none() && !self.table.is_empty());
        let refresh = refresh.map(|at| at.max(self.refresh_at));
        [self.queries.deadline(), bootstrap, refresh, self.move_at()]
            .into_iter()
            .flatten()
            .min()
    }

    fn start(&mut self, lookup: Lookup) -> u32 {
        self.last_lookup = self.last_lookup.wrapping_add(1);
        self.lookups.insert(self.last_lookup, lookup);
        self.last_lookup
    }

    fn start_bootstrap(&mut self, now: Instant, shared: &mut Shared) {
        (self.tried, self.has_moved) = (true, false);
        let mut lookup = Lookup::new(self.id, Goal::Bootstrap);
        let known = self.table.closest(now, &self.id, 2 * K, |_| true);
        let is_alone = known.is_empty() && self.saved.is_empty() && self.contacts.is_empty();
        known
            .into_iter()
            .chain(self.saved.iter().copied())
            .for_each(|node| lookup.add(node));
        self.contacts
            .iter()
            .for_each(|&addr| lookup.add_stranger(addr));
        if is_alone {
            self.bootstrap_ended(now, shared);
        } else {
            self.bootstrap = Some(self.start(lookup));
        }
    }

    fn bootstrap_ended(&mut self, now: Instant, shared: &mut Shared) {
        self.bootstrap = None;
        let (good, _) = self.table.counts(now);
        if good < ENOUGH {
            self.bootstrap_at = now + self.retry;
            self.retry = (self.retry * 2).min(RETRY.1);
        } else {
            // Look again when the nodes that are good now have had time to become silent.
            self.bootstrap_at = now + RETRY.1;
            self.retry = RETRY.0;
            self.saved.clear();
            self.table.fill();
        }
        shared.events.push_back(Event::Bootstrapped { good });
    }

    /// There is somebody new to ask: no need to wait.
    fn hurry(&mut self, now: Instant) {
        self.bootstrap_at = self.bootstrap_at.min(now);
        self.retry = RETRY.0;
    }

    fn overdue(&mut self, now: Instant, shared: &mut Shared, overdue: Overdue) {
        let (query, is_lost) = match overdue {
            Overdue::Slow(query) => (query, false),
            Overdue::Lost(query) => (query, true),
        };
        match query.purpose {
            Purpose::Lookup(lookup) => {
                let lookup = self.lookups.get_mut(&lookup).into_iter();
                lookup.for_each(|lookup| {
                    if is_lost {
                        lookup.failed(query.to)
                    } else {
                        lookup.slow(query.to)
                    }
                });
            }
            Purpose::Announce(lookup) if is_lost => self.announce_settled(shared, lookup, false),
            Purpose::Announce(_) | Purpose::Ping => {}
        }
        if let (true, Some(id)) = (is_lost, query.id) {
            let doubtful = self.table.failed(now, &NodeInfo { id, addr: query.to });
            self.ping_doubtful(now, shared, doubtful);
        }
    }

    /// Lets every walk take the steps it can.
    fn walk(&mut self, now: Instant, shared: &mut Shared) {
        let numbers: Vec<_> = self.lookups.keys().copied().collect();
        for number in numbers {
            while let Some(lookup) = self
                .lookups
                .get_mut(&number)
                .filter(|lookup| lookup.announcing.is_none())
            {
                if !self.queries.has_room() {
                    return;
                }
                match lookup.next() {
                    Step::Wait => break,
                    Step::Arrived => self.arrived(now, shared, number),
                    Step::Ask(to, id) => {
                        let query = question(lookup, self.id, shared.both);
                        self.ask(now, shared, to, id, Purpose::Lookup(number), query);
                    }
                }
            }
        }
    }

    fn arrived(&mut self, now: Instant, shared: &mut Shared, number: u32) {
        let Some(lookup) = self.lookups.get_mut(&number) else {
            return;
        };
        match lookup.goal.clone() {
            Goal::Bootstrap => {
                self.lookups.remove(&number);
                self.bootstrap_ended(now, shared);
            }
            Goal::Refresh => {
                self.lookups.remove(&number);
                self.refresh = None;
                self.refresh_at = now + REFRESH_GAP;
            }
            goal @ (Goal::Search { .. } | Goal::Item { .. }) => {
                let own = self.id;
                let tell = |taker: &Taker| announcement(own, &goal, taker);
                let to = lookup.announce_to();
                let tell: Vec<_> = to
                    .iter()
                    .filter_map(|taker| Some((taker.node, tell(taker)?)))
                    .collect();
                lookup.announcing = Some(tell.len());
                for (node, query) in tell {
                    let purpose = Purpose::Announce(number);
                    self.ask(now, shared, node.addr, Some(node.id), purpose, query);
                }
                self.finish_if_announced(shared, number);
            }
        }
    }

    fn announce_settled(&mut self, shared: &mut Shared, number: u32, is_done: bool) {
        if let Some(lookup) = self.lookups.get_mut(&number) {
            lookup.announcing = lookup.announcing.map(|left| left.saturating_sub(1));
            lookup.announced += usize::from(is_done);
            self.finish_if_announced(shared, number);
        }
    }

    fn finish_if_announced(&mut self, shared: &mut Shared, number: u32) {
        let lookup = self
            .lookups
            .get(&number)
            .filter(|lookup| lookup.announcing == Some(0));
        if let Some(search) = lookup.and_then(|lookup| lookup.goal.search()) {
            let (answered, announced) =
                lookup.map_or((0, 0), |lookup| (lookup.answers(), lookup.announced));
            self.lookups.remove(&number);
            shared.events.push_back(Event::Finished {
                search,
                answered,
                announced,
            });
        }
    }

    fn ping_doubtful(&mut self, now: Instant, shared: &mut Shared, node: Option<NodeInfo>) {
        if let Some(node) = node {
            let query = Query::Ping { id: self.id };
            self.ask(now, shared, node.addr, Some(node.id), Purpose::Ping, query);
        }
    }

    fn ping(&mut self, now: Instant, shared: &mut Shared, to: SocketAddr, id: Option<NodeId>) {
        let is_free = self.queries.has_room()
            && self.queries.pings() < MAX_PINGS
            && !self.queries.is_asking(to);
        if is_free {
            let query = Query::Ping { id: self.id };
            self.ask(now, shared, to, id, Purpose::Ping, query);
        }
    }

    fn ask(
        &mut self,
        now: Instant,
        shared: &mut Shared,
        to: SocketAddr,
        id: Option<NodeId>,
        purpose: Purpose,
        query: Query,
    ) {
        let note = super::queries::Query { to, id, purpose };
        let transaction = self.queries.ask(now, note, &mut shared.rng);
        self.watch.asked(now, to);
        let read_only = shared.read_only || self.reach() == Reach::Closed;
        shared.send_as(to, &transaction, Body::Query(query), None, read_only);
    }
}

/// What a walk asks.
fn question(lookup: &Lookup, id: NodeId, both: bool) -> Query {
    match lookup.goal {
        Goal::Search { info_hash, .. } => Query::GetPeers {
            id,
            info_hash,
            want: None,
        },
        Goal::Item { .. } => Query::Get {
            id,
            target: lookup.target,
            seq: None,
            want: None,
        },
        Goal::Bootstrap | Goal::Refresh => {
            let both = both && lookup.goal == Goal::Bootstrap;
            let want = both.then_some(Want { n4: true, n6: true });
            Query::FindNode {
                id,
                target: lookup.target,
                want,
            }
        }
    }
}

/// What a walk tells one of the nearest nodes at its end, if anything.
fn announcement(id: NodeId, goal: &Goal, taker: &Taker) -> Option<Query> {
    let token = taker.token.clone();
    match goal {
        Goal::Search {
            info_hash,
            announce: Some(AnnounceAs { port, implied }),
            ..
        } => Some(Query::AnnouncePeer {
            id,
            info_hash: *info_hash,
            port: *port,
            implied_port: *implied,
            token,
        }),
        Goal::Item { put: Some(put), .. } => Some(Query::Put {
            id,
            token,
            item: Box::new(put.item.clone()),
            // Where there is nothing, there is nothing to compare with.
            cas: put.cas.filter(|_| taker.keeps),
        }),
        _ => None,
    }
}

/// The value, with the salt it was looked for with, if it belongs there and is rightly signed.
fn genuine(mut item: Item, salt: &[u8], target: &NodeId) -> Option<Item> {
    if let Item::Mutable(signed) = &mut item {
        signed.salt = salt.to_vec();
    }
    let is_genuine = match &item {
        Item::Immutable(_) => true,
        Item::Mutable(signed) => is_genuine(signed),
    };
    (item.target() == *target && is_genuine).then_some(item)
}
