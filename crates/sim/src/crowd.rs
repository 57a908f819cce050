//! A DHT as large as one likes, all of it in one process: how long a lookup takes, what it costs, and who pays.
//!
//! Every node is the engine people run. The world begins in the middle: tables are filled as they would be after long
//! acquaintance, from all nodes there are. Packets take a moment and do not get lost; only nodes that look for something
//! are told the time, since a million refreshes say nothing about lookups.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use discovery::dht::{AnnounceAs, Config, Dht, Input, Output, SearchId};
use discovery::scope::Scope;
use torrent::krpc::{Body, Message, NodeId, NodeInfo};

/// Nodes of one bucket (BEP 5).
const K: usize = 8;
/// Lookups under way at a time.
const AT_ONCE: usize = 200;
/// One way between two nodes, at least and at most, in milliseconds.
const DELAY: std::ops::Range<u64> = 5..150;
/// Where those who announce listen.
const PORT: u16 = 7000;

/// What came of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Nodes there are.
    pub nodes: usize,
    /// Lookups made: half of them announce, half look for what was announced.
    pub lookups: usize,
    /// Of those that looked for something, how many found it.
    pub found: usize,
    /// Nodes that took an announce, on average.
    pub announced: f64,
    /// Nodes that answered a lookup, on average.
    pub asked: f64,
    /// Steps from the own table to the node that knew: on average, and at most.
    pub hops: (f64, u32),
    /// Bytes sent for a lookup by all who took part, on average, without UDP's and IP's own.
    pub bytes: f64,
    /// Virtual seconds of a lookup: half of them took less, and 99 of 100.
    pub seconds: (f64, f64),
    /// Packets that came to a node: on average, to the busiest hundredth at least, and at most.
    pub load: (f64, u32, u32),
    /// Bytes of memory for each node, everything included.
    pub memory: f64,
    /// Real seconds: to build it, and to look.
    pub real: (f64, f64),
}

impl Outcome {
    /// As one line of JSON.
    pub fn json(&self) -> String {
        let Outcome {
            nodes,
            lookups,
            found,
            ..
        } = self;
        format!(
            "{{\"case\":\"dht\",\"nodes\":{nodes},\"lookups\":{lookups},\"found\":{found},\"announced\":{:.2},\
             \"asked\":{:.1},\"hops\":{:.2},\"hops_max\":{},\"bytes_per_lookup\":{:.0},\"seconds_median\":{:.3},\
             \"seconds_p99\":{:.3},\"load\":{:.2},\"load_p99\":{},\"load_max\":{},\"bytes_per_node\":{:.0},\
             \"build_seconds\":{:.2},\"lookups_per_second\":{:.1}}}",
            self.announced,
            self.asked,
            self.hops.0,
            self.hops.1,
            self.bytes,
            self.seconds.0,
            self.seconds.1,
            self.load.0,
            self.load.1,
            self.load.2,
            self.memory,
            self.real.0,
            self.rate()
        )
    }

    /// Lookups in a real second.
    fn rate(&self) -> f64 {
        self.lookups as f64 / self.real.1.max(1e-9)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lookers = self.lookups / 2;
        let rows = [
            ("nodes", self.nodes.to_string()),
            ("found", format!("{} of {lookers}", self.found)),
            ("lookups a second, one core", format!("{:.0}", self.rate())),
            ("bytes a lookup", format!("{:.0}", self.bytes)),
            ("nodes that answered a lookup", format!("{:.1}", self.asked)),
            (
                "nodes that took an announce",
                format!("{:.2}", self.announced),
            ),
            (
                "hops, on average and at most",
                format!("{:.2}, {}", self.hops.0, self.hops.1),
            ),
            (
                "virtual seconds, median and 99 %",
                format!("{:.2}, {:.2}", self.seconds.0, self.seconds.1),
            ),
            (
                "packets to a node: average, 99 %, most",
                format!("{:.1}, {}, {}", self.load.0, self.load.1, self.load.2),
            ),
            ("memory a node", format!("{:.1} KiB", self.memory / 1024.0)),
            ("seconds to build it", format!("{:.1}", self.real.0)),
        ];
        writeln!(f, "| DHT | |\n|---|---:|")?;
        rows.iter()
            .try_for_each(|(name, value)| writeln!(f, "| {name} | {value} |"))
    }
}

enum Event {
    Packet { from: u32, to: u32, bytes: Vec<u8> },
    Wake(u32),
}

/// A lookup under way.
struct Looking {
    node: u32,
    begun: Duration,
    /// What it hopes to find.
    wanted: Option<SocketAddr>,
    /// How far from the own table nodes are; what is not here is in it.
    hops: BTreeMap<SocketAddr, u32>,
    found_after: Option<u32>,
}

struct Crowd {
    base: Instant,
    now: Duration,
    rng: fastrand::Rng,
    nodes: Vec<Dht>,
    addrs: Vec<SocketAddr>,
    by_ip: HashMap<u32, u32>,
    queue: BinaryHeap<Reverse<(Duration, u64)>>,
    /// What happens at each entry of the queue.
    events: HashMap<u64, Event>,
    last_event: u64,
    looking: BTreeMap<SearchId, Looking>,
    /// Nodes that look for something, and for how much.
    active: BTreeMap<u32, u32>,
    load: Vec<u32>,
    bytes: u64,
    outcome: Outcome,
    times: Vec<f64>,
}

/// Builds a DHT of so many nodes and looks for things in it. Equal arguments, equal outcomes, but for real time and
/// memory.
pub fn run(nodes: usize, lookups: usize, seed: u64) -> Outcome {
    let begun = Instant::now();
    let before = resident();
    let mut crowd = Crowd::build(nodes, seed);
    crowd.outcome.real.0 = begun.elapsed().as_secs_f64();
    let begun = Instant::now();
    let mut left = lookups / 2;
    let mut number = 0;
    while left > 0 {
        let batch = left.min(AT_ONCE);
        let givers: Vec<(u32, [u8; 20])> = (0..batch)
            .map(|_| (crowd.someone(), std::array::from_fn(|_| crowd.rng.u8(..))))
            .collect();
        for &(giver, hash) in &givers {
            number += 1;
            crowd.look(SearchId(number), giver, hash, None);
        }
        crowd.settle();
        for (giver, hash) in givers {
            number += 1;
            let (seeker, giver) = (crowd.someone(), crowd.addrs[giver as usize]);
            let wanted = SocketAddr::new(giver.ip(), PORT);
            crowd.look(SearchId(number), seeker, hash, Some(wanted));
        }
        crowd.settle();
        left -= batch;
    }
    crowd.outcome.real.1 = begun.elapsed().as_secs_f64();
    crowd.outcome.memory = resident().saturating_sub(before) as f64 / nodes.max(1) as f64;
    crowd.conclude()
}

/// Bytes of memory this process has; 0 where the system does not say.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = statm.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1024
}

impl Crowd {
    fn build(count: usize, seed: u64) -> Crowd {
        let mut rng = fastrand::Rng::with_seed(seed);
        let base = Instant::now();
        let mut infos: Vec<NodeInfo> = Vec::with_capacity(count);
        let mut network = rng.u32(..);
        while infos.len() < count {
            // An odd step visits every /24 once. All bytes of an address have a part in the id.
            network = network.wrapping_add(0x9e_3779);
            let ip = Ipv4Addr::from(network << 8 | rng.u32(1..255));
            if Scope::of(ip.into()) == Scope::Public {
                let id = NodeId::tied_to(ip.into(), std::array::from_fn(|_| rng.u8(..)));
                infos.push(NodeInfo {
                    id,
                    addr: (ip, 6881).into(),
                });
            }
        }
        infos.sort_by_key(|info| info.id);
        let mut nodes = Vec::with_capacity(count);
        for info in &infos {
            let config = Config {
                id: Some(info.id),
                id6: None,
                v4: true,
                v6: false,
                routers: Vec::new(),
                read_only: false,
                version: None,
                secret: [7; 20],
            };
            let mut dht = Dht::new(config, rng.u64(..), base);
            dht.acquaint(base, &acquaintances(&infos, info.id, &mut rng));
            nodes.push(dht);
        }
        let addrs: Vec<SocketAddr> = infos.iter().map(|info| info.addr).collect();
        let by_ip = (0..)
            .zip(&addrs)
            .map(|(n, addr)| (ip_of(addr), n))
            .collect();
        Crowd {
            base,
            now: Duration::ZERO,
            rng,
            nodes,
            addrs,
            by_ip,
            queue: BinaryHeap::new(),
            events: HashMap::new(),
            last_event: 0,
            looking: BTreeMap::new(),
            active: BTreeMap::new(),
            load: vec![0; count],
            bytes: 0,
            outcome: Outcome {
                nodes: count,
                ..Outcome::default()
            },
            times: Vec::new(),
        }
    }

    fn someone(&mut self) -> u32 {
        self.rng.usize(..self.nodes.len()) as u32
    }

    fn look(&mut self, search: SearchId, node: u32, hash: [u8; 20], wanted: Option<SocketAddr>) {
        let looking = Looking {
            node,
            begun: self.now,
            wanted,
            hops: BTreeMap::new(),
            found_after: None,
        };
        self.looking.insert(search, looking);
        *self.active.entry(node).or_default() += 1;
        let announce = wanted.is_none().then_some(AnnounceAs {
            port: PORT,
            implied: false,
        });
        let input = Input::Search {
            search,
            info_hash: hash,
            announce,
            want_peers: true,
        };
        self.fact(node, input);
    }

    /// Until nothing is looked for any more and no packet is on its way.
    fn settle(&mut self) {
        while let Some(Reverse((at, number))) = self.queue.pop() {
            self.now = at;
            match self.events.remove(&number) {
                Some(Event::Packet { from, to, bytes }) => self.packet(from, to, &bytes),
                Some(Event::Wake(node)) if self.active.contains_key(&node) => {
                    self.fact(node, Input::Timeout);
                }
                Some(Event::Wake(_)) | None => {}
            }
        }
        assert!(self.looking.is_empty(), "every lookup ends");
    }

    fn packet(&mut self, from: u32, to: u32, bytes: &[u8]) {
        self.load[to as usize] += 1;
        let from = self.addrs[from as usize];
        if self.active.contains_key(&to) {
            self.note_hops(from, to, bytes);
        }
        self.fact(to, Input::Packet { from, bytes });
    }

    /// Who is named by an answer is a step further than who gave it.
    fn note_hops(&mut self, from: SocketAddr, to: u32, bytes: &[u8]) {
        let Ok(Message {
            body: Body::Response(response),
            ..
        }) = Message::parse(bytes)
        else {
            return;
        };
        for looking in self
            .looking
            .values_mut()
            .filter(|looking| looking.node == to)
        {
            let here = looking.hops.get(&from).copied().unwrap_or(1);
            for node in response.nodes.iter().flatten() {
                looking.hops.entry(node.addr).or_insert(here + 1);
            }
            let has_it = looking
                .wanted
                .is_some_and(|peer| response.values.contains(&peer));
            if has_it && looking.found_after.is_none() {
                looking.found_after = Some(here);
            }
        }
    }

    fn fact(&mut self, node: u32, input: Input<'_>) {
        let now = self.base + self.now;
        self.nodes[node as usize].handle(now, input);
        while let Some(output) = self.nodes[node as usize].poll() {
            match output {
                Output::Send { to, bytes } => {
                    self.bytes += bytes.len() as u64;
                    let delay = Duration::from_millis(self.rng.u64(DELAY));
                    if let Some(&to) = self.by_ip.get(&ip_of(&to)) {
                        let from = node;
                        self.at(self.now + delay, Event::Packet { from, to, bytes });
                    }
                }
                Output::SearchDone {
                    search,
                    answered,
                    announced,
                } => self.done(search, answered, announced),
                _ => {}
            }
        }
        if self.active.contains_key(&node)
            && let Some(deadline) = self.nodes[node as usize].deadline()
        {
            let at = deadline.saturating_duration_since(self.base);
            self.at(at.max(self.now), Event::Wake(node));
        }
    }

    fn at(&mut self, at: Duration, event: Event) {
        self.last_event += 1;
        self.events.insert(self.last_event, event);
        self.queue.push(Reverse((at, self.last_event)));
    }

    fn done(&mut self, search: SearchId, answered: usize, announced: usize) {
        let Some(looking) = self.looking.remove(&search) else {
            return;
        };
        if let Some(left) = self.active.get_mut(&looking.node) {
            *left -= 1;
            if *left == 0 {
                self.active.remove(&looking.node);
            }
        }
        self.outcome.lookups += 1;
        self.outcome.asked += answered as f64;
        self.times.push((self.now - looking.begun).as_secs_f64());
        match looking.wanted {
            None => self.outcome.announced += announced as f64,
            Some(_) => {
                if let Some(hops) = looking.found_after {
                    self.outcome.found += 1;
                    self.outcome.hops.0 += f64::from(hops);
                    self.outcome.hops.1 = self.outcome.hops.1.max(hops);
                }
            }
        }
    }

    fn conclude(mut self) -> Outcome {
        let mut outcome = self.outcome;
        let lookups = outcome.lookups.max(1) as f64;
        outcome.asked /= lookups;
        outcome.announced /= (lookups / 2.0).max(1.0);
        outcome.hops.0 /= outcome.found.max(1) as f64;
        outcome.bytes = self.bytes as f64 / lookups;
        self.times.sort_by(f64::total_cmp);
        let time = |share: f64| {
            let at = (self.times.len() as f64 * share) as usize;
            self.times.get(at).copied().unwrap_or_default()
        };
        outcome.seconds = (time(0.5), time(0.99));
        self.load.sort_unstable();
        let total: u64 = self.load.iter().map(|&n| u64::from(n)).sum();
        let at = |share: usize| self.load.get(self.load.len() * share / 100).copied();
        outcome.load = (
            total as f64 / self.load.len().max(1) as f64,
            at(99).unwrap_or_default(),
            self.load.last().copied().unwrap_or_default(),
        );
        outcome
    }
}

fn ip_of(addr: &SocketAddr) -> u32 {
    match addr {
        SocketAddr::V4(addr) => addr.ip().to_bits(),
        SocketAddr::V6(_) => 0,
    }
}

/// Whom a node knows after a long time: up to eight of each corner of the space, chosen at random, and everybody around
/// it. `sorted` is everybody, by id.
fn acquaintances(sorted: &[NodeInfo], own: NodeId, rng: &mut fastrand::Rng) -> Vec<NodeInfo> {
    let mut known = Vec::new();
    // Those that share the first `bits` with us.
    let mut near = sorted;
    for bits in 0..160 {
        if near.len() <= K {
            break;
        }
        let (byte, mask) = (bits / 8, 0x80 >> (bits % 8));
        let (zeros, ones) = near.split_at(near.partition_point(|info| info.id.0[byte] & mask == 0));
        let (here, there) = match own.0[byte] & mask {
            0 => (zeros, ones),
            _ => (ones, zeros),
        };
        if there.len() <= K {
            known.extend(there);
        } else {
            // One met twice is one that is not met: with so many it hardly happens.
            known.extend((0..K).map(|_| there[rng.usize(..there.len())]));
        }
        near = here;
    }
    known.extend(near);
    known.retain(|info| info.id != own);
    known
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_finds_in_a_crowd() {
        let outcome = run(2_000, 100, 1);
        assert_eq!((outcome.lookups, outcome.found), (100, 50));
        assert!(outcome.announced > 7.5, "{outcome}");
        assert!(outcome.hops.0 < 6.0 && outcome.asked < 60.0, "{outcome}");
        let again = run(2_000, 100, 1);
        let plain = |outcome: Outcome| Outcome {
            memory: 0.0,
            real: (0.0, 0.0),
            ..outcome
        };
        assert_eq!(plain(outcome), plain(again));
    }
}
