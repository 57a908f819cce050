//! A node of the mainline DHT (BEP 5) in both address families (BEP 32), as an engine without IO.
//!
//! ```text
//! loop:  dht.handle(now, fact);  while let Some(output) = dht.poll() { do it };  sleep until dht.deadline()
//! ```
//!
//! The two families are two DHTs. Each has its own id, routing table and walks (`dht/node.rs`); they only tell each other
//! of nodes while starting. `dht/server.rs` answers other nodes. This file starts searches and joins what the families
//! find. Who counts among the nearest is said in `dht/owner.rs`; whether others reach us is watched in `dht/reach.rs`.

mod items;
mod limiter;
mod lookup;
mod node;
mod owner;
mod peers;
mod queries;
mod reach;
mod server;
mod sign;
mod table;
mod tokens;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use torrent::krpc::{Body, Item, KrpcError, Message, NodeId, NodeInfo, Query};

use crate::scope::Scope;
use lookup::{Goal, Put};
use node::{ENOUGH, Event, Node, Shared};
use server::{Nearest, Server};

pub use reach::Reach;
pub use sign::{SigningKey, is_genuine};

/// How often whoever wants to be found should search and announce again. Others forget after half an hour.
pub const REANNOUNCE: Duration = Duration::from_secs(15 * 60);

/// Searches walking at a time; each has three questions on their way.
const MAX_RUNNING: usize = 16;

/// Searches waiting for their turn: enough for a program with thousands of torrents.
const MAX_WAITING: usize = 16_384;

/// Least time between two questions for the routers' addresses.
const RESOLVE_GAP: Duration = Duration::from_secs(60);

/// How a node is set up.
#[derive(Clone, Debug)]
pub struct Config {
    /// Our place; `None` chooses one at random. Keep it between runs, and save it with the nodes.
    pub id: Option<NodeId>,
    /// Our place in the IPv6 DHT; `None`: the same.
    pub id6: Option<NodeId>,
    /// Take part in the IPv4 DHT.
    pub v4: bool,
    /// Take part in the IPv6 DHT.
    pub v6: bool,
    /// Public nodes to begin with when nobody else is known: host name and UDP port.
    pub routers: Vec<(String, u16)>,
    /// Ask, but do not answer (BEP 43): for computers that others can't reach, or that should stay quiet.
    pub read_only: bool,
    /// Client and version, sent in every message; two letters and two bytes by custom.
    pub version: Option<[u8; 4]>,
    /// Unknown to others: tokens are made of it.
    pub secret: [u8; 20],
}

/// The caller's name for a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SearchId(pub u64);

/// How others are to find us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnnounceAs {
    /// TCP port where we listen.
    pub port: u16,
    /// Let the other node take the UDP port our packet comes from instead.
    pub implied: bool,
}

/// A fact.
#[derive(Clone, Debug)]
pub enum Input<'a> {
    /// A UDP packet has come.
    Packet {
        /// From here.
        from: SocketAddr,
        /// With this in it.
        bytes: &'a [u8],
    },
    /// There may be a node at this address: a peer's `port` message, a torrent's `nodes`, what a person said.
    AddNode(SocketAddr),
    /// Nodes of an earlier run ([`Dht::nodes`]).
    Restore(&'a [NodeInfo]),
    /// The answer to [`Output::Resolve`]; no addresses if the name has none.
    Resolved(&'a [SocketAddr]),
    /// We are seen at this address from outside, as far as can be known ([`External`](crate::external::External)).
    Located(IpAddr),
    /// Somebody wants to know who has this content, or wants to be found by others.
    Search {
        /// To tell searches apart; not in use by another one.
        search: SearchId,
        /// SHA-1 info-hash, or the first 20 bytes of the SHA-256 one.
        info_hash: [u8; 20],
        /// Tell the nodes found that we have this content, too.
        announce: Option<AnnounceAs>,
        /// Report the peers found.
        want_peers: bool,
    },
    /// Somebody wants to know the value that is kept there (BEP 44).
    Get {
        /// To tell searches apart; not in use by another one.
        search: SearchId,
        /// Where it is kept.
        target: NodeId,
        /// Of a mutable one; may be empty.
        salt: Vec<u8>,
    },
    /// Somebody wants a value to be kept (BEP 44). Nodes forget it after two hours.
    Put {
        /// To tell searches apart; not in use by another one.
        search: SearchId,
        /// The value, rightly signed.
        item: Box<Item>,
        /// Only in place of the one with this number.
        cas: Option<i64>,
    },
    /// Nobody is interested in this search any more.
    CancelSearch(SearchId),
    /// Time has passed.
    Timeout,
}

/// A decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send this UDP packet.
    Send {
        /// There.
        to: SocketAddr,
        /// At most [`MAX_SENT_LEN`](torrent::krpc::MAX_SENT_LEN) bytes, with a value in it (BEP 44)
        /// [`MAX_SENT_ITEM_LEN`](torrent::krpc::MAX_SENT_ITEM_LEN).
        bytes: Vec<u8>,
    },
    /// Ask the name service for this host and give its addresses with this port to [`Input::Resolved`].
    Resolve {
        /// Host name.
        name: String,
        /// UDP port.
        port: u16,
    },
    /// A node sees us at this address (BEP 42); one alone may lie.
    Seen {
        /// Who says so.
        by: SocketAddr,
        /// Its id fits its address.
        is_fit: bool,
        /// Where it sees us.
        ip: IpAddr,
    },
    /// A search has met peers not met before.
    Peers {
        /// The search.
        search: SearchId,
        /// Where they listen, as others say.
        peers: Vec<SocketAddr>,
    },
    /// A search has met a value that is genuine, and newer than what it has met before. When one that cannot change is
    /// met, the search is over.
    Item {
        /// The search.
        search: SearchId,
        /// The value.
        item: Item,
    },
    /// A node does not keep what it was told to.
    Refused {
        /// The search.
        search: SearchId,
        /// One of [`code`](torrent::krpc::code), or whatever the node made up.
        code: u16,
        /// In its words.
        message: String,
    },
    /// A search has come to its end.
    SearchDone {
        /// The search.
        search: SearchId,
        /// Nodes that have answered; none means that we are cut off from the DHT.
        answered: usize,
        /// Nodes that have taken our announce or our value.
        announced: usize,
    },
    /// A start, or another attempt at one, has come to its end.
    Status(Status),
}

/// How well connected we are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Nodes in the IPv4 routing table that have shown a sign of life lately.
    pub good_v4: usize,
    /// Nodes in the IPv6 routing table that have shown a sign of life lately.
    pub good_v6: usize,
    /// Nodes in both routing tables, the silent ones included.
    pub known: usize,
    /// Of the good ones, those whose id fits their address (BEP 42).
    pub verified: usize,
    /// Whether others reach us over IPv4, and over IPv6.
    pub reach: [Reach; 2],
    /// Looking for its first nodes at this moment.
    pub is_settling: bool,
    /// Whether names of routers are being looked up.
    pub is_resolving: bool,
    /// Searches that walk or wait.
    pub searches: usize,
    /// Peers remembered for others.
    pub stored_peers: usize,
    /// Values kept for others (BEP 44).
    pub stored_items: usize,
    /// Questions left unanswered since the start: too many from one network, or altogether.
    pub left_out: u64,
}

#[derive(Debug)]
struct Search {
    target: NodeId,
    goal: Goal,
    want_peers: bool,
    /// The number of the newest value met.
    newest: Option<i64>,
    /// Families still walking; none while waiting.
    walking: usize,
    answered: usize,
    announced: usize,
    /// Met already, since both families may meet the same.
    peers: BTreeSet<SocketAddr>,
}

/// A node of the DHT.
#[derive(Debug)]
pub struct Dht {
    shared: Shared,
    v4: Option<Node>,
    v6: Option<Node>,
    routers: Vec<(String, u16)>,
    /// Names asked for and not answered.
    resolving: usize,
    resolve_at: Instant,
    searches: BTreeMap<SearchId, Search>,
    waiting: VecDeque<SearchId>,
    server: Server,
}

impl Dht {
    /// A node that knows nobody yet. Equal configurations, seeds and inputs give equal outputs.
    pub fn new(config: Config, seed: u64, now: Instant) -> Dht {
        let mut rng = fastrand::Rng::with_seed(seed);
        let id = config
            .id
            .unwrap_or_else(|| NodeId(std::array::from_fn(|_| rng.u8(..))));
        Dht {
            v4: config.v4.then(|| Node::new(true, id, now)),
            v6: config
                .v6
                .then(|| Node::new(false, config.id6.unwrap_or(id), now)),
            shared: Shared {
                read_only: config.read_only,
                version: config.version.map(|version| version.to_vec()),
                both: config.v4 && config.v6,
                rng,
                outputs: VecDeque::new(),
                events: VecDeque::new(),
            },
            routers: config.routers,
            resolving: 0,
            resolve_at: now,
            searches: BTreeMap::new(),
            waiting: VecDeque::new(),
            server: Server::new(config.secret, now),
        }
    }

    /// Our place; that in the IPv4 DHT if we are in both.
    pub fn id(&self) -> NodeId {
        self.families()
            .next()
            .map(|node| node.id)
            .unwrap_or_default()
    }

    /// Our place in the IPv6 DHT, if we are in it.
    pub fn id6(&self) -> Option<NodeId> {
        self.v6.as_ref().map(|node| node.id)
    }

    /// Takes nodes for known, as if they had answered just now: for simulated worlds that begin in the middle.
    pub fn acquaint(&mut self, now: Instant, nodes: &[NodeInfo]) {
        for node in self.families_mut() {
            node.acquaint(now, nodes);
        }
    }

    /// Nodes worth saving for the next run.
    pub fn nodes(&self, now: Instant) -> Vec<NodeInfo> {
        self.families()
            .flat_map(|node| node.table.nodes(now))
            .collect()
    }

    /// How well connected we are.
    pub fn status(&self, now: Instant) -> Status {
        let good = |node: &Option<Node>| node.as_ref().map_or(0, |node| node.table.counts(now).0);
        Status {
            good_v4: good(&self.v4),
            good_v6: good(&self.v6),
            known: self.families().map(|node| node.table.counts(now).1).sum(),
            verified: self.families().map(|node| node.table.fit(now)).sum(),
            reach: [&self.v4, &self.v6]
                .map(|node| node.as_ref().map(Node::reach).unwrap_or_default()),
            is_settling: self.families().any(Node::is_settling),
            is_resolving: self.resolving > 0,
            searches: self.searches.len(),
            stored_peers: self.server.stored_peers(),
            stored_items: self.server.items.len(),
            left_out: self.server.left_out,
        }
    }

    /// Takes in a fact.
    pub fn handle(&mut self, now: Instant, input: Input<'_>) {
        match input {
            Input::Packet { from, bytes } => self.packet(now, from, bytes),
            Input::AddNode(addr) => {
                if let (Some(node), shared) = self.family(addr.is_ipv4()) {
                    node.add_contact(now, shared, addr);
                }
            }
            Input::Located(ip) => {
                let ip = ip.to_canonical();
                if let (Some(node), _) = self.family(ip.is_ipv4())
                    && !Scope::of(ip).is_local()
                {
                    node.located(ip);
                }
            }
            Input::Restore(nodes) => self
                .families_mut()
                .for_each(|node| node.add_saved(now, nodes.iter().copied())),
            Input::Resolved(addrs) => {
                self.resolving = self.resolving.saturating_sub(1);
                for v4 in [true, false] {
                    let addrs: Vec<_> = addrs
                        .iter()
                        .copied()
                        .filter(|addr| addr.is_ipv4() == v4)
                        .collect();
                    if let (Some(node), shared) = self.family(v4) {
                        node.add_routers(now, shared, &addrs);
                    }
                }
            }
            Input::Search {
                search,
                info_hash,
                announce,
                want_peers,
            } => {
                let goal = Goal::Search {
                    search,
                    info_hash,
                    announce,
                };
                self.search(search, NodeId(info_hash), goal, want_peers);
            }
            Input::Get {
                search,
                target,
                salt,
            } => {
                let goal = Goal::Item {
                    search,
                    salt,
                    put: None,
                };
                self.search(search, target, goal, false);
            }
            Input::Put { search, item, cas } => {
                let target = item.target();
                let salt = match &*item {
                    Item::Immutable(_) => Vec::new(),
                    Item::Mutable(signed) => signed.salt.clone(),
                };
                let put = Some(Box::new(Put { item: *item, cas }));
                self.search(search, target, Goal::Item { search, salt, put }, false);
            }
            Input::CancelSearch(search) => {
                self.searches.remove(&search);
                self.waiting.retain(|waiting| *waiting != search);
                for node in self.families_mut() {
                    node.cancel(search);
                }
            }
            Input::Timeout => {}
        }
        self.advance(now);
    }

    /// The next decision.
    pub fn poll(&mut self) -> Option<Output> {
        self.shared.outputs.pop_front()
    }

    /// When to call [`handle`](Dht::handle) with [`Input::Timeout`] at the latest.
    pub fn deadline(&self) -> Option<Instant> {
        self.families()
            .filter_map(Node::deadline)
            .chain([self.server.deadline()])
            .min()
    }

    fn families(&self) -> impl Iterator<Item = &Node> {
        self.v4.iter().chain(&self.v6)
    }

    fn families_mut(&mut self) -> impl Iterator<Item = &mut Node> {
        self.v4.iter_mut().chain(&mut self.v6)
    }

    fn family(&mut self, v4: bool) -> (Option<&mut Node>, &mut Shared) {
        let node = if v4 {
            self.v4.as_mut()
        } else {
            self.v6.as_mut()
        };
        (node, &mut self.shared)
    }

    /// Does what time and the facts so far call for, until nothing more follows from it.
    fn advance(&mut self, now: Instant) {
        self.server.sweep(now);
        loop {
            for node in self.v4.iter_mut().chain(&mut self.v6) {
                node.advance(now, &mut self.shared);
            }
            let mut is_settled = self.shared.events.is_empty();
            while let Some(event) = self.shared.events.pop_front() {
                self.event(now, event);
            }
            is_settled &= !self.start_searches(now);
            if is_settled {
                return;
            }
        }
    }

    fn event(&mut self, now: Instant, event: Event) {
        match event {
            Event::Found { search, peers } => {
                let Some(state) = self
                    .searches
                    .get_mut(&search)
                    .filter(|state| state.want_peers)
                else {
                    return;
                };
                let peers: Vec<_> = peers
                    .into_iter()
                    .filter(|peer| state.peers.insert(*peer))
                    .collect();
                if !peers.is_empty() {
                    self.shared
                        .outputs
                        .push_back(Output::Peers { search, peers });
                }
            }
            Event::Item { search, item } => self.item(search, item),
            Event::Refused {
                search,
                code,
                message,
            } => {
                if self.searches.contains_key(&search) {
                    self.shared.outputs.push_back(Output::Refused {
                        search,
                        code,
                        message,
                    });
                }
            }
            Event::Finished {
                search,
                answered,
                announced,
            } => {
                let Some(state) = self.searches.get_mut(&search) else {
                    return;
                };
                state.walking -= 1;
                state.answered += answered;
                state.announced += announced;
                if state.walking == 0 {
                    self.done(search);
                }
            }
            Event::Bootstrapped { good } => {
                if good < ENOUGH {
                    self.resolve(now);
                }
                let status = self.status(now);
                self.shared.outputs.push_back(Output::Status(status));
            }
            Event::Foreign(nodes) => {
                let v4 = nodes.first().is_some_and(|node| node.addr.is_ipv4());
                if let (Some(node), _) = self.family(v4) {
                    // Only a family that is still looking for its first nodes needs help from the other.
                    if node.table.counts(now).0 < ENOUGH {
                        node.add_saved(now, nodes);
                    }
                }
            }
        }
    }

    /// Asks for the routers' addresses, now and then.
    fn resolve(&mut self, now: Instant) {
        if self.resolving == 0 && now >= self.resolve_at {
            self.resolve_at = now + RESOLVE_GAP;
            self.resolving = self.routers.len();
            let names = self.routers.iter().cloned();
            self.shared
                .outputs
                .extend(names.map(|(name, port)| Output::Resolve { name, port }));
        }
    }

    /// A walk has met a genuine value.
    fn item(&mut self, search: SearchId, item: Item) {
        let Some(state) = self.searches.get_mut(&search) else {
            return;
        };
        // A put only wants to know who keeps what; what cannot change is known once it is met.
        let is_put = matches!(state.goal, Goal::Item { put: Some(_), .. });
        let is_news = item
            .seq()
            .is_none_or(|seq| state.newest.is_none_or(|newest| seq > newest));
        if is_put || !is_news {
            return;
        }
        state.newest = item.seq();
        let is_final = state.newest.is_none();
        self.shared.outputs.push_back(Output::Item { search, item });
        if is_final {
            let answered = self
                .families_mut()
                .map(|node| node.cancel(search))
                .sum::<usize>();
            if let Some(state) = self.searches.get_mut(&search) {
                state.answered += answered;
            }
            self.done(search);
        }
    }

    fn search(&mut self, search: SearchId, target: NodeId, goal: Goal, want_peers: bool) {
        let state = Search {
            target,
            goal,
            want_peers,
            newest: None,
            walking: 0,
            answered: 0,
            announced: 0,
            peers: BTreeSet::new(),
        };
        if self.waiting.len() >= MAX_WAITING || self.searches.contains_key(&search) {
            self.shared.outputs.push_back(Output::SearchDone {
                search,
                answered: 0,
                announced: 0,
            });
            return;
        }
        self.searches.insert(search, state);
        self.waiting.push_back(search);
    }

    /// Starts searches that wait, as far as there is room for them and somebody to ask.
    fn start_searches(&mut self, now: Instant) -> bool {
        let is_settling = self.resolving > 0 || self.families().any(Node::is_settling);
        let is_alone = self.families().all(|node| node.table.is_empty());
        let mut started = false;
        while self.searches.len() - self.waiting.len() < MAX_RUNNING && !(is_alone && is_settling) {
            let Some(search) = self.waiting.pop_front() else {
                break;
            };
            let state = self
                .searches
                .get_mut(&search)
                .expect("whoever waits is known");
            for node in self
                .v4
                .iter_mut()
                .chain(&mut self.v6)
                .filter(|node| !node.table.is_empty())
            {
                node.search(now, state.target, state.goal.clone());
                state.walking += 1;
                started = true;
            }
            if state.walking == 0 {
                self.done(search);
            }
        }
        started
    }

    fn done(&mut self, search: SearchId) {
        if let Some(state) = self.searches.remove(&search) {
            let Search {
                answered,
                announced,
                ..
            } = state;
            self.shared.outputs.push_back(Output::SearchDone {
                search,
                answered,
                announced,
            });
        }
    }

    fn packet(&mut self, now: Instant, from: SocketAddr, bytes: &[u8]) {
        if from.port() == 0 || self.family(from.is_ipv4()).0.is_none() {
            return;
        }
        match Message::parse(bytes) {
            Ok(Message {
                transaction,
                body,
                read_only,
                ip,
                ..
            }) => match body {
                Body::Query(query) => self.query(now, from, &transaction, query, read_only),
                Body::Response(response) => {
                    if let (Some(node), shared) = self.family(from.is_ipv4()) {
                        node.responded(now, shared, from, &transaction, response, ip);
                    }
                }
                Body::Error { code, message } => {
                    if let (Some(node), shared) = self.family(from.is_ipv4()) {
                        node.refused(shared, from, &transaction, (code, message));
                    }
                }
            },
            Err(KrpcError::Query {
                transaction,
                argument,
            }) => {
                if !self.shared.read_only && self.server.allows(now, from) {
                    let body = server::malformed(argument);
                    self.shared.send(from, &transaction, body, Some(from));
                }
            }
            Err(KrpcError::Bencode(_) | KrpcError::Missing(_)) => {}
        }
    }

    /// Answers another node's question, and takes note of the node.
    fn query(
        &mut self,
        now: Instant,
        from: SocketAddr,
        transaction: &[u8],
        query: Query,
        is_read_only: bool,
    ) {
        let asking = query.id();
        let Some(own) = self.family(from.is_ipv4()).0.map(|node| node.id) else {
            return;
        };
        if self.shared.read_only || asking == Some(own) || !self.server.allows(now, from) {
            return;
        }
        let nearest = Nearest {
            now,
            v4: self.v4.as_ref(),
            v6: self.v6.as_ref(),
        };
        let body = self
            .server
            .answer(now, from, own, query, &nearest, &mut self.shared.rng);
        self.shared.send(from, transaction, body, Some(from));
        if let (Some(id), false) = (asking, is_read_only)
            && let (Some(node), shared) = self.family(from.is_ipv4())
        {
            node.heard(now, shared, NodeInfo { id, addr: from });
        }
    }
}

#[cfg(test)]
mod tests;
