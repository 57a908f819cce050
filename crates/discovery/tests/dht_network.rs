//! A few hundred DHT nodes on a network that delays and loses packets, in virtual time: do they find each other and
//! what was announced, also when a third of them dies? Everything follows from the seed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use discovery::dht::{AnnounceAs, Config, Dht, Input, Output, SearchId};
use torrent::krpc::{NodeId, NodeInfo};

const NODES: usize = 200;

/// Nodes, the packets between them, and the clock.
struct World {
    rng: fastrand::Rng,
    start: Instant,
    now: Instant,
    loss: f64,
    nodes: Vec<Host>,
    by_addr: BTreeMap<SocketAddr, usize>,
    /// Packets on their way: when they arrive, a number to keep their order, from, to, content.
    packets: BTreeMap<(Instant, u64), (SocketAddr, SocketAddr, Vec<u8>)>,
    wakes: BTreeSet<(Instant, usize)>,
    sent: u64,
    log: Vec<(Duration, usize, Output)>,
}

struct Host {
    dht: Dht,
    addr: SocketAddr,
    alive: bool,
    wake: Option<Instant>,
}

impl World {
    fn new(seed: u64, loss: f64) -> World {
        let now = Instant::now();
        World {
            rng: fastrand::Rng::with_seed(seed),
            start: now,
            now,
            loss,
            nodes: Vec::new(),
            by_addr: BTreeMap::new(),
            packets: BTreeMap::new(),
            wakes: BTreeSet::new(),
            sent: 0,
            log: Vec::new(),
        }
    }

    /// A world of nodes that joined one after another through the first one, and some minutes to settle.
    fn settled(seed: u64, loss: f64) -> World {
        let mut world = World::new(seed, loss);
        for n in 0..NODES {
            let node = world.join();
            if n > 0 {
                let first = world.nodes[0].addr;
                world.input(node, Input::AddNode(first));
            }
            world.run(Duration::from_millis(200));
        }
        world.run(Duration::from_secs(300));
        world
    }

    fn join(&mut self) -> usize {
        let n = self.nodes.len();
        let addr = SocketAddr::from(([9, (n >> 8) as u8, n as u8, 1], 6881));
        let config = Config {
            id: None,
            id6: None,
            v4: true,
            v6: false,
            routers: vec![],
            read_only: false,
            version: None,
            secret: std::array::from_fn(|_| self.rng.u8(..)),
        };
        let dht = Dht::new(config, self.rng.u64(..), self.now);
        self.nodes.push(Host {
            dht,
            addr,
            alive: true,
            wake: None,
        });
        self.by_addr.insert(addr, n);
        n
    }

    fn input(&mut self, n: usize, input: Input<'_>) {
        let host = &mut self.nodes[n];
        host.dht.handle(self.now, input);
        while let Some(output) = host.dht.poll() {
            if let Output::Send { to, bytes } = output {
                self.sent += 1;
                if self.rng.f64() >= self.loss {
                    let delay = Duration::from_millis(self.rng.u64(10..250));
                    self.packets
                        .insert((self.now + delay, self.sent), (host.addr, to, bytes));
                }
            } else {
                self.log.push((self.now - self.start, n, output));
            }
        }
        if let Some(wake) = host.wake.take() {
            self.wakes.remove(&(wake, n));
        }
        host.wake = host.dht.deadline();
        self.wakes.extend(host.wake.map(|wake| (wake, n)));
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let packet = self.packets.keys().next().copied();
            let wake = self.wakes.first().copied();
            let next = packet
                .map(|(at, _)| at)
                .into_iter()
                .chain(wake.map(|(at, _)| at))
                .min();
            let Some(next) = next.filter(|next| *next <= end) else {
                break;
            };
            self.now = self.now.max(next);
            if let Some(key) = packet.filter(|(at, _)| *at == next) {
                let (from, to, bytes) = self.packets.remove(&key).expect("it is the first one");
                if let Some(&n) = self.by_addr.get(&to).filter(|&&n| self.nodes[n].alive) {
                    self.input(
                        n,
                        Input::Packet {
                            from,
                            bytes: &bytes,
                        },
                    );
                }
            } else if let Some((at, n)) = wake {
                self.wakes.remove(&(at, n));
                self.nodes[n].wake = None;
                if self.nodes[n].alive {
                    self.input(n, Input::Timeout);
                }
            }
        }
        self.now = end;
    }

    fn kill(&mut self, share: f64) {
        for host in &mut self.nodes[1..] {
            host.alive = self.rng.f64() >= share;
        }
    }

    fn alive(&self) -> Vec<usize> {
        (0..self.nodes.len())
            .filter(|&n| self.nodes[n].alive)
            .collect()
    }

    fn some_alive(&mut self) -> usize {
        let alive = self.alive();
        alive[self.rng.usize(..alive.len())]
    }

    fn search(&mut self, n: usize, search: u64, info_hash: [u8; 20], port: Option<u16>) {
        let announce = port.map(|port| AnnounceAs {
            port,
            implied: false,
        });
        self.input(
            n,
            Input::Search {
                search: SearchId(search),
                info_hash,
                announce,
                want_peers: true,
            },
        );
    }

    /// Has one node announce and another one search; says whether it found the first one, and how long it took.
    fn announce_and_find(&mut self, number: u64) -> Option<Duration> {
        let info_hash = std::array::from_fn(|_| self.rng.u8(..));
        let (alice, bob) = (self.some_alive(), self.some_alive());
        self.search(alice, number * 2, info_hash, Some(7000));
        self.run(Duration::from_secs(30));
        let asked = self.now - self.start;
        self.search(bob, number * 2 + 1, info_hash, None);
        self.run(Duration::from_secs(30));
        let peer = SocketAddr::new(self.nodes[alice].addr.ip(), 7000);
        let found = self.log.iter().find(|(_, n, output)| {
            let Output::Peers { search, peers } = output else {
                return false;
            };
            *n == bob && *search == SearchId(number * 2 + 1) && peers.contains(&peer)
        });
        found.map(|(at, ..)| *at - asked)
    }

    /// Of the eight nodes alive that are nearest to each of some places, how many does a lookup end up announcing to?
    fn nearest_known(&mut self, places: usize) -> f64 {
        let mut known = 0;
        for number in 0..places {
            let info_hash: [u8; 20] = std::array::from_fn(|_| self.rng.u8(..));
            let alice = self.some_alive();
            self.search(alice, 1_000_000 + number as u64, info_hash, Some(7000));
            self.run(Duration::from_secs(30));
            let mut nearest = self.alive();
            nearest.sort_by_key(|&n| self.nodes[n].dht.id().distance(&NodeId(info_hash)));
            nearest.retain(|&n| n != alice);
            known += nearest[..8]
                .iter()
                .filter(|&&n| self.nodes[n].dht.status(self.now).stored_peers > 0)
                .count();
            // Forgets everything before the next one.
            self.run(Duration::from_secs(36 * 60));
        }
        known as f64 / (places * 8) as f64
    }
}

fn settings() -> [(u64, f64); 2] {
    [(7, 0.0), (8, 0.05)]
}

#[test]
fn what_was_announced_is_found() {
    for (seed, loss) in settings() {
        let mut world = World::settled(seed, loss);
        let times: Vec<_> = (0..20).filter_map(|n| world.announce_and_find(n)).collect();
        assert_eq!(
            times.len(),
            20,
            "found {} of 20 with seed {seed}",
            times.len()
        );
        let slowest = times.iter().max().unwrap();
        assert!(
            *slowest < Duration::from_secs(5),
            "{slowest:?} with seed {seed}"
        );
    }
}

#[test]
fn tables_converge_and_announces_land_on_the_nearest_nodes() {
    let mut world = World::settled(1, 0.0);
    for n in 0..NODES {
        let good = world.nodes[n].dht.status(world.now).good_v4;
        assert!(good >= 36, "node {n} knows {good} nodes only");
    }
    let share = world.nearest_known(5);
    assert!(
        share > 0.95,
        "announces reached {share} of the nearest nodes"
    );
}

#[test]
fn a_third_of_the_nodes_may_die() {
    for (seed, loss) in settings() {
        let mut world = World::settled(seed, loss);
        world.kill(0.3);
        // At once, with tables full of the dead …
        let found = (0..10).filter_map(|n| world.announce_and_find(n)).count();
        assert!(found >= 9, "found {found} of 10 with seed {seed}");
        // … and an hour later, when they have been noticed.
        world.run(Duration::from_secs(3600));
        let times: Vec<_> = (10..20)
            .filter_map(|n| world.announce_and_find(n))
            .collect();
        assert!(
            times.len() >= 10,
            "found {} of 10 with seed {seed}",
            times.len()
        );
        let dead: BTreeSet<_> = world
            .nodes
            .iter()
            .filter(|host| !host.alive)
            .map(|host| host.addr)
            .collect();
        let (mut all, mut gone) = (0, 0);
        for n in world.alive() {
            let nodes = world.nodes[n].dht.nodes(world.now);
            all += nodes.len();
            gone += nodes
                .iter()
                .filter(|node| dead.contains(&node.addr))
                .count();
        }
        assert!(gone * 20 < all, "{gone} of {all} entries are dead nodes");
    }
}

#[test]
fn a_quiet_network_stays_cheap() {
    let mut world = World::settled(3, 0.0);
    let before = world.sent;
    world.run(Duration::from_secs(3600));
    let per_node_and_minute = (world.sent - before) as f64 / NODES as f64 / 60.0;
    assert!(
        per_node_and_minute < 20.0,
        "{per_node_and_minute} packets a minute and node"
    );
}

#[test]
fn three_nodes_are_a_network() {
    let mut world = World::new(1, 0.0);
    let [alice, bob, carol] = [world.join(), world.join(), world.join()];
    let first = world.nodes[alice].addr;
    world.input(alice, Input::Timeout);
    world.input(bob, Input::AddNode(first));
    world.input(carol, Input::AddNode(first));
    world.search(bob, 1, [5; 20], Some(7000));
    world.run(Duration::from_secs(12));
    world.search(carol, 2, [5; 20], None);
    world.run(Duration::from_secs(12));
    let peer = SocketAddr::new(world.nodes[bob].addr.ip(), 7000);
    let found = Output::Peers {
        search: SearchId(2),
        peers: vec![peer],
    };
    assert!(
        world
            .log
            .iter()
            .any(|(_, n, output)| *n == carol && *output == found),
        "{:?}",
        world.log
    );
}

#[test]
fn a_node_comes_back_with_what_it_saved() {
    let mut world = World::settled(5, 0.0);
    let saved: Vec<NodeInfo> = world.nodes[17].dht.nodes(world.now);
    let back = world.join();
    world.input(back, Input::Restore(&saved));
    world.run(Duration::from_secs(20));
    let good = world.nodes[back].dht.status(world.now).good_v4;
    assert!(good >= 8, "{good} nodes");
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = |seed| {
        let mut world = World::settled(seed, 0.05);
        world.announce_and_find(0);
        (world.sent, world.log)
    };
    let (one, two, other) = (run(11), run(11), run(12));
    assert_eq!(one, two);
    assert_ne!(one.0, other.0);
}
