//! Nodes on loopback and content for them.

#![allow(dead_code, reason = "each test file uses its part")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use node::{Config, Event, Node, Options, Place, Source};
use torrent::author::{self, Wanted};
use torrent::layout::Kind;
use torrent::metainfo::Metainfo;

pub const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A node, and what it says.
pub struct Peer {
    pub node: Node,
    pub events: Receiver<Event>,
    _state: tempfile::TempDir,
}

impl Peer {
    pub fn start() -> Peer {
        Peer::with(|_| {})
    }

    /// A peer that enters the DHT by this one; `None`: it is the first.
    pub fn in_dht(by: Option<&Peer>) -> Peer {
        // A name that has no address: nothing outside is asked.
        let router = by.map_or("router.invalid:1".to_owned(), |p| p.addr().to_string());
        Peer::with(|config| {
            config.dht = true;
            config.dht_bootstrap = vec![router];
        })
    }

    pub fn with(change: impl FnOnce(&mut Config)) -> Peer {
        let state = tempfile::tempdir().unwrap();
        let mut config = Config {
            bind: Some(LOOPBACK),
            port: Some(0),
            dht: false,
            local_discovery: false,
            trackers: false,
            ..Config::new(state.path().to_owned())
        };
        change(&mut config);
        let mut node = Node::start(config).unwrap();
        let events = node.events().unwrap();
        Peer {
            node,
            events,
            _state: state,
        }
    }

    pub fn addr(&self) -> SocketAddr {
        self.node.listening()
    }

    pub fn seed(&self, metainfo: &Metainfo, data: &Path) {
        let options = Options {
            place: Place::At(data.to_owned()),
            assume_complete: true,
            read_only: true,
            ..options(Vec::new())
        };
        self.node
            .add(Source::Metainfo(Box::new(metainfo.clone())), options)
            .unwrap();
    }

    pub fn finished(&self, within: Duration) {
        let end = Instant::now() + within;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.events.recv_timeout(left) {
                Ok(Event::Finished(_)) => return,
                Ok(Event::Failed(_, p) | Event::Paused(_, p)) => panic!("{p:?}"),
                Ok(_) => {}
                Err(_) => panic!(
                    "not finished in {within:?}: {:?}",
                    self.node.status(node::TorrentId(1))
                ),
            }
        }
    }
}

pub fn options(peers: Vec<SocketAddr>) -> Options {
    Options {
        peers,
        ..Options::new(Place::Into(PathBuf::new()))
    }
}

/// A folder with files of these lengths, and its torrent.
pub fn content(dir: &Path, lens: &[usize], kind: Kind) -> (PathBuf, Metainfo) {
    let root = dir.join("album");
    std::fs::create_dir_all(if lens.len() > 1 {
        root.join("sub")
    } else {
        root.clone()
    })
    .unwrap();
    for (i, len) in lens.iter().enumerate() {
        let mut x = i as u32 + 1;
        let bytes: Vec<u8> = (0..*len)
            .map(|_| {
                x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (x >> 24) as u8
            })
            .collect();
        let name = if i % 2 == 0 {
            format!("{i}.bin")
        } else {
            format!("sub/{i}.bin")
        };
        std::fs::write(root.join(name), bytes).unwrap();
    }
    let program = root.join("0.bin");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let scan = store::scan::scan(&root).unwrap();
    let wanted = Wanted {
        kind: Some(kind),
        piece_length: Some(64 << 10),
    };
    let choice = author::choose(Some(&scan.name), &scan.sources, wanted).unwrap();
    let options = store::hasher::Options {
        threads: 2,
        progress: &|_| {},
        cancel: &AtomicBool::new(false),
    };
    let path = |p: &author::Planned| p.source.map(|i| scan.paths[i].clone()).unwrap_or_default();
    let paths: Vec<PathBuf> = choice.plan.files().iter().map(path).collect();
    let hashed = store::hasher::hash(choice.plan.layout(), &paths, &options).unwrap();
    let metainfo = choice
        .plan
        .finish(&hashed.hashes, &author::Options::default())
        .unwrap();
    (root, metainfo)
}
