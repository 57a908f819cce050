//! Values that the DHT keeps (BEP 44): what libtorrent puts Starling finds, and the other way round.
//!
//! No command puts values yet, so Starling is here a node as programs have it.

use crate::SOON;
use interop::{Kind, Scenario, Seat};
use node::{Config, Item, Node, SigningKey};
use std::net::{IpAddr, SocketAddrV4};
use std::time::Instant;
use torrent::krpc::item::mutable_target;

const SEED: [u8; 32] = [7; 32];
const SALT: &str = "news";

/// A node at a seat of its own, with a runtime to wait on it.
struct Ours {
    node: Node,
    runtime: tokio::runtime::Runtime,
}

/// A node inside this test that takes part in the DHT and has nothing else to do.
pub fn dht_node(seat: &Seat, entry: SocketAddrV4) -> Node {
    let node = Node::start(Config {
        bind: Some(IpAddr::V4(*seat.addr.ip())),
        port: Some(seat.addr.port()),
        dht_bootstrap: vec![entry.to_string()],
        local_discovery: false,
        trackers: false,
        ..Config::new(seat.home.join("state"))
    });
    node.unwrap()
}

impl Ours {
    fn start(seat: &Seat, entry: SocketAddrV4) -> Ours {
        let runtime = tokio::runtime::Builder::new_current_thread();
        Ours {
            node: dht_node(seat, entry),
            runtime: { runtime }.enable_time().build().unwrap(),
        }
    }

    /// Puts a value until somebody keeps it.
    fn put(&self, item: &Item) {
        let end = Instant::now() + SOON;
        while let Err(error) = self
            .runtime
            .block_on(self.node.dht_put(item.clone(), None, true))
        {
            assert!(Instant::now() < end, "{error}");
        }
    }

    /// Looks for a value until it is there.
    fn get(&self, target: node::NodeId, salt: &str) -> Item {
        let end = Instant::now() + SOON;
        loop {
            let salt = salt.as_bytes().to_vec();
            let found = self.runtime.block_on(self.node.dht_get(target, salt));
            if let Ok(Some(item)) = found {
                return item;
            }
            assert!(Instant::now() < end, "{found:?}");
            std::thread::sleep(std::time::Duration::from_millis(200));
        }
    }
}

#[test]
fn libtorrent_finds_what_starling_puts_and_the_other_way_round() {
    let s = Scenario::new();
    let other = s.file("other.bin", 100_000);
    let torrent = s.torrent_without_tracker(&other, Kind::V1);
    let first = s.starling().with_dht(&[]).seeds(&torrent);
    let _second = s.libtorrent().with_dht(&[&first]).seeds(&torrent);
    let ours = Ours::start(&s.seat(), first.addr);
    let key = SigningKey::from_seed(&SEED);
    let hex = torrent::hex::encode;

    let plain = Item::Immutable(b"13:from Starling".to_vec());
    let signed = key.sign(SALT.as_bytes(), 1, b"14:signed by ours").unwrap();
    ours.put(&plain);
    ours.put(&Item::Mutable(signed));
    let libtorrent = || {
        s.libtorrent()
            .enters_by(first.addr)
            .arg("--seed")
            .arg(hex(&SEED))
            .arg("--key")
            .arg(hex(&key.public()))
            .arg("--salt")
            .arg(SALT)
    };
    let mut theirs = libtorrent()
        .arg("--get")
        .arg(hex(&plain.target().0))
        .values();
    assert_eq!(theirs.wait_for("immutable", SOON)["value"], "from Starling");
    assert_eq!(theirs.wait_for("mutable", SOON)["value"], "signed by ours");

    let mut theirs = libtorrent().arg("--put").arg("from libtorrent").values();
    theirs.wait_for("put", SOON);
    theirs.wait_for("put-signed", SOON);
    let text = b"15:from libtorrent".to_vec();
    let target = Item::Immutable(text.clone()).target();
    assert_eq!(ours.get(target, ""), Item::Immutable(text.clone()));
    let newer = ours.get(mutable_target(&key.public(), SALT.as_bytes()), SALT);
    assert_eq!((newer.value(), newer.seq()), (&text[..], Some(2)));
}
