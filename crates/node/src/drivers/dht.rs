//! The loop around the DHT engine: names resolved for it, searches kept going for every transfer.

mod searches;
mod state;
mod values;

use std::cell::RefCell;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use discovery::dht::{AnnounceAs, Config, Dht, Input, Output};
use discovery::external::Voter;
use swarm::{Source, TorrentId};
use tokio::sync::Notify;
use torrent::hex;
use torrent::krpc::{Body, Message, NodeId, NodeInfo, Query};

use super::Driver;
use super::datagrams::Datagrams;
use crate::Event;
use searches::Searches;
use values::Values;

/// Public nodes that everybody enters by.
const ROUTERS: &[(&str, u16)] = &[
    ("dht.libtorrent.org", 25401),
    ("router.bittorrent.com", 6881),
    ("dht.transmissionbt.com", 6881),
    ("router.utorrent.com", 6881),
];
/// Known nodes are saved this often.
const SAVE: Duration = Duration::from_secs(10 * 60);

/// A DHT node.
pub(crate) struct DhtDriver {
    engine: RefCell<Dht>,
    timer: Notify,
    searches: RefCell<Searches>,
    values: RefCell<Values>,
    /// The host to begin with that could not be looked up last, and why.
    unresolved: RefCell<Option<String>>,
    announce: AnnounceAs,
    /// What marks the answers of nodes that the proxy was told by name.
    by_name: [u8; 8],
}

impl DhtDriver {
    /// A node on these sockets. `port` is that of TCP.
    pub fn open(
        udp: &Datagrams,
        port: u16,
        bootstrap: &[String],
        saved: &str,
    ) -> io::Result<DhtDriver> {
        // Behind a proxy it is the proxy's port that others see.
        let implied = udp.port() == port || udp.port() == 0;
        let (id, id6, nodes) = parse_saved(saved);
        let mut secret = [0; 20];
        let mut seed = [0; 8];
        let mut by_name = [0; 8];
        getrandom::fill(&mut secret).map_err(io::Error::other)?;
        getrandom::fill(&mut by_name).map_err(io::Error::other)?;
        getrandom::fill(&mut seed).map_err(io::Error::other)?;
        // Who is named by address is a node like any other; who is named by name serves everybody, and is asked for a
        // beginning alone.
        let named: Vec<_> = bootstrap.iter().filter_map(|n| host_port(n)).collect();
        let contacts = named
            .iter()
            .filter_map(|(host, port)| Some(SocketAddr::new(host.parse().ok()?, *port)));
        let contacts: Vec<_> = contacts.collect();
        let routers = match bootstrap {
            [] => (ROUTERS.iter())
                .map(|&(host, port)| (host.to_owned(), port))
                .collect(),
            _ => (named.into_iter())
                .filter(|(host, _)| host.parse::<IpAddr>().is_err())
                .collect(),
        };
        let config = Config {
            id,
            id6,
            v4: udp.v4.is_some(),
            v6: udp.v6.is_some(),
            routers,
            read_only: false,
            version: Some(*b"SG\x00\x01"),
            secret,
        };
        let now = Instant::now();
        let mut engine = Dht::new(config, u64::from_le_bytes(seed), now);
        engine.handle(now, Input::Restore(&nodes));
        for addr in contacts {
            engine.handle(now, Input::AddNode(addr));
        }
        Ok(DhtDriver {
            engine: RefCell::new(engine),
            timer: Notify::new(),
            searches: RefCell::default(),
            values: RefCell::default(),
            unresolved: RefCell::default(),
            announce: AnnounceAs { port, implied },
            by_name,
        })
    }

    pub fn tell(&self, driver: &Rc<Driver>, input: Input<'_>) {
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
            Output::Send { to, .. } if driver.blocking.blocks(to.ip()) => {}
            Output::Send { to, bytes } => {
                if let Some(endpoint) = driver.datagrams.to(to) {
                    driver.writes_to(to);
                    endpoint.send_to(&bytes, to);
                }
            }
            Output::Resolve { name, port } => {
                let driver = driver.clone();
                if driver.egress.only_proxy().is_some() && name.parse::<IpAddr>().is_err() {
                    self.enter_by_name(&driver, &name, port);
                    return;
                }
                tokio::task::spawn_local(async move {
                    let found = driver.look_up(&name, port).await;
                    if let Some(dht) = &driver.dht {
                        let failure = found.as_ref().err();
                        let failure = failure.map(|error| format!("{name}: {error}"));
                        dht.unresolved.replace(failure);
                        let addrs = found.unwrap_or_default();
                        dht.tell(&driver, Input::Resolved(&addrs));
                    }
                });
            }
            Output::Seen { by, is_fit, ip } => {
                let voter = if is_fit {
                    Voter::Node
                } else {
                    Voter::UnfitNode
                };
                driver.vote_as(voter, by.ip(), ip);
            }
            Output::Peers { search, peers } => {
                self.searches.borrow_mut().found(search, peers.len());
                driver.peers_found(Searches::torrent(search), Source::Dht, peers);
            }
            Output::Item { search, item } => self.values.borrow_mut().met(search, item),
            Output::Refused {
                search,
                code,
                message,
            } => self.values.borrow_mut().refused(search, code, message),
            Output::SearchDone {
                search,
                answered,
                announced,
            } if self.values.borrow().has(search) => {
                let mut values = self.values.borrow_mut();
                values.done(search, answered, announced);
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

    /// Asks a node whose address only the proxy can find; its answer shows where it is.
    fn enter_by_name(&self, driver: &Driver, name: &str, port: u16) {
        let id = self.engine.borrow().id();
        let query = Body::Query(Query::Ping { id });
        let ask = Message::new(self.by_name, query).encode();
        driver.datagrams.send_to_name(&ask, name, port);
    }

    /// Whether this is the answer of a node that was asked by name.
    fn is_by_name(&self, bytes: &[u8]) -> bool {
        matches!(
            Message::parse(bytes),
            Ok(Message { transaction, body: Body::Response(_), .. }) if transaction == self.by_name
        )
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

    /// Puts values again whose time has come.
    fn put_again(&self, driver: &Rc<Driver>) {
        loop {
            let due = self.values.borrow_mut().due(Instant::now());
            let Some((search, item)) = due else { return };
            let item = Box::new(item);
            let cas = None;
            self.tell(driver, Input::Put { search, item, cas });
        }
    }

    /// Somebody says that a node lives here.
    pub fn add_node(&self, driver: &Rc<Driver>, addr: SocketAddr) {
        self.tell(driver, Input::AddNode(addr));
    }

    /// Nodes to begin with at the next start.
    pub fn save(&self) -> String {
        let engine = self.engine.borrow();
        let mut text = hex::encode(&engine.id().0);
        if let Some(id6) = engine.id6() {
            text += &format!(" {}", hex::encode(&id6.0));
        }
        text += "\n";
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

/// Our own id, and that over IPv6, on the first line, then a node a line: its id and address. What cannot be read is
/// left out.
fn parse_saved(text: &str) -> (Option<NodeId>, Option<NodeId>, Vec<NodeInfo>) {
    let id = |text: &str| Some(NodeId(hex::decode(text)?));
    let mut lines = text.lines();
    let mut own = lines.next().unwrap_or_default().split(' ').map(id);
    let (own, own6) = (own.next().flatten(), own.next().flatten());
    let node = |line: &str| {
        let (name, addr) = line.split_once(' ')?;
        Some(NodeInfo {
            id: id(name)?,
            addr: addr.parse().ok()?,
        })
    };
    (own, own6, lines.filter_map(node).collect())
}

fn host_port(text: &str) -> Option<(String, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    Some((host.trim_matches(['[', ']']).to_owned(), port.parse().ok()?))
}

/// Wakes the engine.
pub(crate) async fn run(driver: Rc<Driver>) {
    let Some(dht) = &driver.dht else { return };
    dht.tell(&driver, Input::Timeout);
    let mut save_at = Instant::now() + SAVE;
    loop {
        dht.search(&driver);
        dht.put_again(&driver);
        let put_at = dht.values.borrow().deadline();
        let search_at = dht.searches.borrow().deadline(Instant::now());
        let engine_at = dht.engine.borrow().deadline();
        let deadline = [engine_at, search_at, put_at]
            .into_iter()
            .flatten()
            .fold(save_at, Instant::min);
        tokio::select! {
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

impl Driver {
    /// A datagram that is not uTP.
    pub fn dht_packet(self: &Rc<Self>, bytes: &[u8], from: SocketAddr) {
        let Some(dht) = &self.dht else { return };
        if self.blocking.blocks(from.ip()) {
            return;
        }
        if self.egress.only_proxy().is_some() && dht.is_by_name(bytes) {
            return dht.tell(self, Input::Resolved(&[from]));
        }
        dht.tell(self, Input::Packet { from, bytes });
    }

    /// Keeps the known nodes for the next start.
    pub fn save_nodes(&self) {
        let Some(dht) = &self.dht else { return };
        if let Err(error) = self.keep.save_nodes(&dht.save()) {
            tracing::warn!(%error, "the known DHT nodes could not be kept");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn saved_nodes_are_read_with_one_id_or_two_and_without() {
        let (one, two) = ("01".repeat(20), "02".repeat(20));
        let node = format!("{two} 9.9.9.9:1\nnonsense\n");
        let [first, second] = [[1; 20], [2; 20]].map(|id| Some(NodeId(id)));
        for (line, ids) in [
            (one.clone(), (first, None)),
            (format!("{one} {two}"), (first, second)),
            (String::new(), (None, None)),
        ] {
            let (id, id6, nodes) = parse_saved(&format!("{line}\n{node}"));
            assert_eq!(((id, id6), nodes.len()), (ids, 1), "{line:?}");
        }
    }
}
