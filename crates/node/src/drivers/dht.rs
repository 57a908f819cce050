//! The loop around the DHT engine: one UDP socket a family, names resolved for it, searches kept
//! going for every transfer.

mod searches;

use std::cell::RefCell;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use discovery::dht::{AnnounceAs, Config, Dht, Input, Output};
use socket2::{Domain, Protocol, Socket, Type};
use swarm::{Source, TorrentId};
use tokio::net::UdpSocket;
use tokio::sync::Notify;
use torrent::hex;
use torrent::krpc::{NodeId, NodeInfo};

use super::Driver;
use crate::Event;
use searches::Searches;

/// Public nodes that everybody enters by.
const ROUTERS: &[(&str, u16)] = &[
    ("dht.libtorrent.org", 25401),
    ("router.bittorrent.com", 6881),
    ("dht.transmissionbt.com", 6881),
    ("router.utorrent.com", 6881),
];
/// Largest UDP packet looked at, in bytes: DHT messages are far smaller.
const PACKET: usize = 2048;
/// Known nodes are saved this often.
const SAVE: Duration = Duration::from_secs(10 * 60);

/// A DHT node with its sockets.
pub(crate) struct DhtDriver {
    engine: RefCell<Dht>,
    v4: Option<UdpSocket>,
    v6: Option<UdpSocket>,
    timer: Notify,
    searches: RefCell<Searches>,
    announce: AnnounceAs,
}

fn bind(ip: IpAddr, port: u16) -> io::Result<UdpSocket> {
    let addr = SocketAddr::new(ip, port);
    let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    UdpSocket::from_std(socket.into())
}

impl DhtDriver {
    /// Opens the sockets, on the port that TCP listens on if it is free.
    pub fn open(
        bind_ip: Option<IpAddr>,
        port: u16,
        bootstrap: &[String],
        saved: &str,
    ) -> io::Result<DhtDriver> {
        let open = |ip: IpAddr| match bind_ip {
            Some(only) if only.is_ipv4() != ip.is_ipv4() => None,
            Some(only) => bind(only, port).or_else(|_| bind(only, 0)).ok(),
            None => bind(ip, port).or_else(|_| bind(ip, 0)).ok(),
        };
        let v4 = open(Ipv4Addr::UNSPECIFIED.into());
        let v6 = open(Ipv6Addr::UNSPECIFIED.into());
        let bound = v4
            .as_ref()
            .or(v6.as_ref())
            .ok_or(io::ErrorKind::AddrNotAvailable)?;
        let implied = bound.local_addr()?.port() == port;
        let (id, nodes) = parse_saved(saved);
        let mut secret = [0; 20];
        let mut seed = [0; 8];
        getrandom::fill(&mut secret).map_err(io::Error::other)?;
        getrandom::fill(&mut seed).map_err(io::Error::other)?;
        let routers = match bootstrap {
            [] => ROUTERS
                .iter()
                .map(|&(host, port)| (host.to_owned(), port))
                .collect(),
            named => named.iter().filter_map(|n| host_port(n)).collect(),
        };
        let config = Config {
            id,
            v4: v4.is_some(),
            v6: v6.is_some(),
            routers,
            read_only: false,
            version: Some(*b"SG\x00\x01"),
            secret,
        };
        let now = Instant::now();
        let mut engine = Dht::new(config, u64::from_le_bytes(seed), now);
        engine.handle(now, Input::Restore(&nodes));
        Ok(DhtDriver {
            engine: RefCell::new(engine),
            v4,
            v6,
            timer: Notify::new(),
            searches: RefCell::default(),
            announce: AnnounceAs { port, implied },
        })
    }

    /// The UDP port others reach us at.
    pub fn port(&self) -> u16 {
        let socket = self.v4.as_ref().or(self.v6.as_ref());
        socket
            .and_then(|s| s.local_addr().ok())
            .map_or(0, |a| a.port())
    }

    fn tell(&self, driver: &Rc<Driver>, input: Input<'_>) {
        let mut engine = self.engine.borrow_mut();
        engine.handle(Instant::now(), input);
        let mut outputs = Vec::new();
        while let Some(output) = engine.poll() {
            outputs.push(output);
        }
        drop(engine);
        for output in outputs {
            self.carry_out(driver, output);
        }
        self.timer.notify_one();
    }

    fn carry_out(&self, driver: &Rc<Driver>, output: Output) {
        match output {
            Output::Send { to, bytes } => {
                let socket = if to.is_ipv4() { &self.v4 } else { &self.v6 };
                if let Some(socket) = socket {
                    // A full socket buffer or an unreachable host loses the packet, as UDP may.
                    let _ = socket.try_send_to(&bytes, to);
                }
            }
            Output::Resolve { name, port } => {
                let driver = driver.clone();
                tokio::task::spawn_local(async move {
                    let found = tokio::net::lookup_host((name.as_str(), port)).await;
                    let addrs: Vec<SocketAddr> = found.map(Iterator::collect).unwrap_or_default();
                    if let Some(dht) = &driver.dht {
                        dht.tell(&driver, Input::Resolved(&addrs));
                    }
                });
            }
            Output::Peers { search, peers } => {
                self.searches.borrow_mut().found(search, peers.len());
                driver.peers_found(Searches::torrent(search), Source::Dht, peers);
            }
            Output::SearchDone {
                search, answered, ..
            } => {
                let offered = driver.is_offered(Searches::torrent(search));
                let now = Instant::now();
                self.searches
                    .borrow_mut()
                    .done(now, search, answered, offered);
            }
            Output::Status(status) => {
                tracing::debug!(?status, "DHT");
                // The first search began before anybody was known: do not wait for its turn.
                driver.event(Event::DhtNodes(status.good_v4 + status.good_v6));
                if status.good_v4 + status.good_v6 > 0 {
                    self.searches.borrow_mut().hurry(Instant::now());
                }
            }
        }
    }

    /// Looks for peers of a torrent, now and from time to time, and tells that we are one.
    pub fn follow(
        &self,
        driver: &Rc<Driver>,
        torrent: TorrentId,
        hashes: impl Iterator<Item = [u8; 20]>,
    ) {
        let offered = driver.is_offered(torrent);
        let now = Instant::now();
        let mut searches = self.searches.borrow_mut();
        hashes.for_each(|hash| searches.add(now, torrent, hash, offered));
        drop(searches);
        self.timer.notify_one();
    }

    /// The torrent turned out to be private, or is gone.
    pub fn leave(&self, driver: &Rc<Driver>, torrent: TorrentId) {
        let ended = self.searches.borrow_mut().remove(torrent);
        for search in ended {
            self.tell(driver, Input::CancelSearch(search));
        }
    }

    /// Begins the searches that are due.
    fn search(&self, driver: &Rc<Driver>) {
        loop {
            let begun = self.searches.borrow_mut().begin(Instant::now());
            let Some((search, info_hash)) = begun else {
                return;
            };
            self.tell(
                driver,
                Input::Search {
                    search,
                    info_hash,
                    announce: Some(self.announce),
                    want_peers: true,
                },
            );
        }
    }

    /// Somebody says that a node lives here.
    pub fn add_node(&self, driver: &Rc<Driver>, addr: SocketAddr) {
        self.tell(driver, Input::AddNode(addr));
    }

    /// Nodes to begin with at the next start.
    pub fn save(&self) -> String {
        let engine = self.engine.borrow();
        let mut text = format!("{}\n", hex::encode(&engine.id().0));
        for node in engine.nodes(Instant::now()) {
            text += &format!("{} {}\n", hex::encode(&node.id.0), node.addr);
        }
        text
    }

    /// What it is doing for a torrent, in words.
    pub fn words(&self, torrent: TorrentId) -> String {
        let status = self.engine.borrow().status(Instant::now());
        let nodes = status.good_v4 + status.good_v6;
        let found = self.searches.borrow().peers(torrent);
        match (nodes, found) {
            (0, _) => "DHT: no node answers yet".to_owned(),
            (n, 0) => format!("DHT: {n} nodes, no peers found yet"),
            (n, found) => format!("DHT: {n} nodes, {found} peers found"),
        }
    }
}

/// Our own id on the first line, then a node a line: its id and address. What cannot be read is
/// left out.
fn parse_saved(text: &str) -> (Option<NodeId>, Vec<NodeInfo>) {
    let id = |text: &str| Some(NodeId(hex::decode(text)?));
    let mut lines = text.lines();
    let own = lines.next().and_then(id);
    let node = |line: &str| {
        let (name, addr) = line.split_once(' ')?;
        Some(NodeInfo {
            id: id(name)?,
            addr: addr.parse().ok()?,
        })
    };
    (own, lines.filter_map(node).collect())
}

fn host_port(text: &str) -> Option<(String, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    Some((host.trim_matches(['[', ']']).to_owned(), port.parse().ok()?))
}

/// Carries packets in and wakes the engine.
pub(crate) async fn run(driver: Rc<Driver>) {
    let Some(dht) = &driver.dht else { return };
    dht.tell(&driver, Input::Timeout);
    let (mut buf4, mut buf6) = ([0; PACKET], [0; PACKET]);
    let mut save_at = Instant::now() + SAVE;
    loop {
        dht.search(&driver);
        let search_at = dht.searches.borrow().deadline(Instant::now());
        let engine_at = dht.engine.borrow().deadline();
        let deadline = [engine_at, search_at]
            .into_iter()
            .flatten()
            .fold(save_at, Instant::min);
        tokio::select! {
            got = receive(&dht.v4, &mut buf4) => {
                if let Ok((n, from)) = got {
                    dht.tell(&driver, Input::Packet { from, bytes: &buf4[..n] });
                }
            }
            got = receive(&dht.v6, &mut buf6) => {
                if let Ok((n, from)) = got {
                    dht.tell(&driver, Input::Packet { from, bytes: &buf6[..n] });
                }
            }
            () = dht.timer.notified() => {}
            () = tokio::time::sleep_until(deadline.into()) => {
                dht.tell(&driver, Input::Timeout);
                if Instant::now() >= save_at {
                    save_at = Instant::now() + SAVE;
                    driver.save_nodes();
                }
            }
        }
    }
}

async fn receive(socket: &Option<UdpSocket>, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
    match socket {
        Some(socket) => socket.recv_from(buf).await,
        None => std::future::pending().await,
    }
}

impl Driver {
    /// Keeps the known nodes for the next start.
    pub fn save_nodes(&self) {
        let Some(dht) = &self.dht else { return };
        if let Err(error) = self.keep.save_nodes(&dht.save()) {
            tracing::warn!(%error, "the known DHT nodes could not be kept");
        }
    }
}
