//! A world of DHT nodes: the same clock and chance, with packets that get lost in place of
//! connections, and NATs that let in only answers.

mod liar;

pub use liar::{Liar, Manner};

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use discovery::dht::{AnnounceAs, Config, Dht, Input, Output, SearchId, Status};
use discovery::external::{External, Voter};
use discovery::scope::Scope;
use torrent::krpc;

use crate::trace::{Seconds, Trace};
use crate::{NodeId, Origin};

/// Longest packet that any node may send, in bytes: what passes every link without fragments.
const PACKET: usize = 1400;

/// One way between two nodes, at least and at most.
const DELAY: std::ops::Range<u64> = 5..150;

/// What became of a search.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Who was found.
    pub peers: BTreeSet<SocketAddr>,
    /// When it ended.
    pub done: Option<Duration>,
    /// Nodes that answered.
    pub answered: usize,
    /// Nodes that took the announce.
    pub announced: usize,
}

struct Host {
    dht: Option<Dht>,
    /// In place of an honest node.
    liar: Option<Liar>,
    external: External,
    addr: SocketAddr,
    /// Lets in only what comes from where it has sent to.
    nat: bool,
    spoken_to: BTreeSet<SocketAddr>,
    wake_at: Option<Duration>,
    searches: BTreeMap<SearchId, Found>,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Packet {
        from: SocketAddr,
        to: usize,
        bytes: Vec<u8>,
    },
    Wake(usize),
}

/// The world.
pub struct DhtWorld {
    origin: Origin,
    base: Instant,
    now: Duration,
    queue: BinaryHeap<Reverse<(Duration, u64, Event)>>,
    events: u64,
    /// The chance that a packet is lost.
    loss: f64,
    /// Nodes are on the public network, each on its own, rather than all at one site.
    is_public: bool,
    hosts: Vec<Host>,
    by_addr: BTreeMap<SocketAddr, usize>,
    rng: fastrand::Rng,
    trace: Trace,
    packets: u64,
}

impl DhtWorld {
    /// An empty world at one site, where every address is as good as another; packets get lost with this chance.
    pub fn new(origin: Origin, loss: f64) -> DhtWorld {
        DhtWorld {
            is_public: false,
            origin,
            base: Instant::now(),
            now: Duration::ZERO,
            queue: BinaryHeap::new(),
            events: 0,
            loss,
            hosts: Vec::new(),
            by_addr: BTreeMap::new(),
            rng: fastrand::Rng::with_seed(origin.seed),
            trace: Trace::new(origin.print),
            packets: 0,
        }
    }

    /// The same on the public network.
    pub fn public(origin: Origin, loss: f64) -> DhtWorld {
        let mut world = DhtWorld::new(origin, loss);
        world.is_public = true;
        world
    }

    /// An address that nobody has.
    fn new_addr(&mut self) -> SocketAddr {
        let id = self.hosts.len() as u32 + 1;
        let spread = id.wrapping_mul(0x9e_3779) & 0xff_ffff;
        if !self.is_public {
            return (Ipv4Addr::from(0x0a00_0000 | spread), 6881).into();
        }
        loop {
            // A network of its own, except by chance.
            let addr = SocketAddr::from((Ipv4Addr::from(self.rng.u32(..)), 6881));
            if Scope::of(addr.ip()) == Scope::Public && !self.by_addr.contains_key(&addr) {
                return addr;
            }
        }
    }

    /// Liars at these addresses, each of which makes itself known to so many others.
    pub fn intrude(&mut self, manner: Manner, addrs: Vec<SocketAddr>, each: usize) {
        let honest = self.hosts.len();
        for &addr in &addrs {
            let id = self.hosts.len();
            let own = krpc::NodeId::tied_to(addr.ip(), [self.rng.u8(..); 20]);
            let liar = Liar {
                manner,
                own,
                friends: addrs.clone(),
            };
            let question = liar.intrude();
            self.by_addr.insert(addr, id);
            self.hosts.push(Host {
                dht: None,
                liar: Some(liar),
                external: External::default(),
                addr,
                nat: false,
                spoken_to: BTreeSet::new(),
                wake_at: None,
                searches: BTreeMap::new(),
            });
            for _ in 0..each {
                let to = self.hosts[self.rng.usize(..honest)].addr;
                self.send(id, to, question.clone());
            }
        }
    }

    /// A node that knows the address of some others; behind a NAT it asks only.
    pub fn join(&mut self, nat: bool, contacts: &[NodeId]) -> NodeId {
        let id = self.hosts.len();
        let addr = self.new_addr();
        self.by_addr.insert(addr, id);
        let mut secret = [0; 20];
        self.rng.fill(&mut secret);
        let config = Config {
            id: None,
            id6: None,
            v4: true,
            v6: false,
            routers: Vec::new(),
            read_only: nat,
            version: None,
            secret,
        };
        let dht = Dht::new(config, self.rng.u64(..), self.base + self.now);
        self.hosts.push(Host {
            dht: Some(dht),
            liar: None,
            external: External::default(),
            addr,
            nat,
            spoken_to: BTreeSet::new(),
            wake_at: None,
            searches: BTreeMap::new(),
        });
        for contact in contacts {
            let addr = self.hosts[contact.0].addr;
            self.fact(id, Input::AddNode(addr));
        }
        NodeId(id)
    }

    /// A node is gone, without a word.
    pub fn kill(&mut self, id: NodeId) {
        self.hosts[id.0].dht = None;
    }

    /// Whether it runs.
    pub fn is_up(&self, id: NodeId) -> bool {
        self.hosts[id.0].dht.is_some()
    }

    /// A node looks for this content, and offers it too if it says where.
    pub fn search(&mut self, id: NodeId, info_hash: [u8; 20], offer: Option<u16>) -> SearchId {
        let host = &mut self.hosts[id.0];
        let search = SearchId(host.searches.len() as u64);
        host.searches.insert(search, Found::default());
        let announce = offer.map(|port| AnnounceAs {
            port,
            implied: false,
        });
        let input = Input::Search {
            search,
            info_hash,
            announce,
            want_peers: true,
        };
        self.fact(id.0, input);
        search
    }

    /// What a search has found so far.
    pub fn found(&self, id: NodeId, search: SearchId) -> &Found {
        &self.hosts[id.0].searches[&search]
    }

    /// Whether a node's id fits its address (BEP 42).
    pub fn is_placed(&self, id: NodeId) -> bool {
        let host = &self.hosts[id.0];
        let dht = host.dht.as_ref();
        dht.is_some_and(|dht| dht.id().is_tied_to(host.addr.ip()))
    }

    /// Where a node is.
    pub fn addr(&self, id: NodeId) -> SocketAddr {
        self.hosts[id.0].addr
    }

    /// How well connected a node is.
    pub fn status(&self, id: NodeId) -> Status {
        let now = self.base + self.now;
        let dht = self.hosts[id.0].dht.as_ref();
        dht.map(|d| d.status(now)).unwrap_or_default()
    }

    /// Chance, for scenarios.
    pub fn rng(&mut self) -> &mut fastrand::Rng {
        &mut self.rng
    }

    /// Time since the world began.
    pub fn now(&self) -> Duration {
        self.now
    }

    /// Packets sent so far.
    pub fn packets(&self) -> u64 {
        self.packets
    }

    /// Events so far, and all that happened as one number.
    pub fn history(&self) -> (u64, u64) {
        (self.events, self.trace.hash())
    }

    /// Lets so much time pass.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(Reverse((at, ..))) = self.queue.peek()
            && *at <= end
        {
            let Some(Reverse((at, _, event))) = self.queue.pop() else {
                break;
            };
            self.now = at;
            match event {
                Event::Packet { from, to, bytes } => self.packet(from, to, &bytes),
                Event::Wake(id) if self.hosts[id].wake_at == Some(at) => {
                    self.hosts[id].wake_at = None;
                    self.fact(id, Input::Timeout);
                }
                Event::Wake(_) => {}
            }
        }
        self.now = end;
    }

    fn at(&mut self, at: Duration, event: Event) {
        self.events += 1;
        self.queue.push(Reverse((at, self.events, event)));
    }

    fn packet(&mut self, from: SocketAddr, to: usize, bytes: &[u8]) {
        let host = &self.hosts[to];
        if host.nat && !host.spoken_to.contains(&from) {
            return;
        }
        self.trace.number(self.now.as_nanos() as u64);
        self.trace.number(to as u64);
        self.trace.bytes(bytes);
        if let Some(liar) = &host.liar {
            if let Some(answer) = liar.answer(from, bytes, &mut self.rng) {
                self.send(to, from, answer);
            }
            return;
        }
        self.fact(to, Input::Packet { from, bytes });
    }

    fn fact(&mut self, id: usize, input: Input<'_>) {
        let now = self.base + self.now;
        let Some(dht) = &mut self.hosts[id].dht else {
            return;
        };
        dht.handle(now, input);
        while let Some(output) = self.hosts[id].dht.as_mut().and_then(Dht::poll) {
            self.trace
                .line(self.now, &format!("n{id}"), || format!("-> {output:?}"));
            self.decided(id, output);
        }
        let host = &mut self.hosts[id];
        let deadline = host.dht.as_ref().and_then(Dht::deadline);
        let Some(deadline) = deadline else { return };
        let at = deadline.saturating_duration_since(self.base).max(self.now);
        if host.wake_at.is_none_or(|planned| at < planned) {
            host.wake_at = Some(at);
            self.at(at, Event::Wake(id));
        }
    }

    fn send(&mut self, id: usize, to: SocketAddr, bytes: Vec<u8>) {
        assert!(bytes.len() <= PACKET, "a packet of {} bytes", bytes.len());
        self.packets += 1;
        let from = self.hosts[id].addr;
        self.hosts[id].spoken_to.insert(to);
        let lost = self.rng.f64() < self.loss;
        let delay = Duration::from_micros(self.rng.u64(DELAY.start * 1000..DELAY.end * 1000));
        if let (Some(&to), false) = (self.by_addr.get(&to), lost) {
            self.at(self.now + delay, Event::Packet { from, to, bytes });
        }
    }

    fn decided(&mut self, id: usize, output: Output) {
        match output {
            Output::Send { to, bytes } => self.send(id, to, bytes),
            Output::Seen { by, is_fit, ip } => {
                let voter = if is_fit {
                    Voter::Node
                } else {
                    Voter::UnfitNode
                };
                let external = &mut self.hosts[id].external;
                let now = self.base + self.now;
                if let Some(ip) = external.vote(now, voter, by.ip(), ip) {
                    self.fact(id, Input::Located(ip));
                }
            }
            Output::Resolve { name, .. } => panic!("{name} was never configured"),
            Output::Peers { search, peers } => {
                let found = self.hosts[id].searches.get_mut(&search);
                found.expect("the search was ours").peers.extend(peers);
            }
            Output::SearchDone {
                search,
                answered,
                announced,
            } => {
                let found = self.hosts[id].searches.get_mut(&search);
                let found = found.expect("the search was ours");
                assert!(found.done.is_none(), "a search ends once");
                found.done = Some(self.now);
                found.answered = answered;
                found.announced = announced;
            }
            Output::Item { .. } | Output::Refused { .. } | Output::Status(_) => {}
        }
    }
}

impl Drop for DhtWorld {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Origin { scenario, seed, .. } = self.origin;
            let now = Seconds(self.now);
            eprintln!(
                "in {scenario} with seed {seed} at {now} s; again: cargo xtask sim {scenario} --seed {seed}"
            );
        }
    }
}
