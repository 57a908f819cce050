//! Two and more whole nodes on loopback: real sockets, real files.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use node::{Config, Event, Node, Options, Place, Source};
use torrent::author::{self, Wanted};
use torrent::ids::InfoHashes;
use torrent::layout::Kind;
use torrent::magnet::Magnet;
use torrent::metainfo::Metainfo;

#[path = "transfer/disk.rs"]
mod disk;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

struct Peer {
    node: Node,
    events: Receiver<Event>,
    _state: tempfile::TempDir,
}

impl Peer {
    fn start() -> Peer {
        Peer::with(|_| {})
    }

    /// A peer that enters the DHT by this one; `None`: it is the first.
    fn in_dht(by: Option<&Peer>) -> Peer {
        // A name that has no address: nothing outside is asked.
        let router = by.map_or("router.invalid:1".to_owned(), |p| p.addr().to_string());
        Peer::with(|config| {
            config.dht = true;
            config.dht_bootstrap = vec![router];
        })
    }

    fn with(change: impl FnOnce(&mut Config)) -> Peer {
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

    fn addr(&self) -> SocketAddr {
        self.node.listening()
    }

    fn seed(&self, metainfo: &Metainfo, data: &Path) {
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

    fn finished(&self, within: Duration) {
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

fn options(peers: Vec<SocketAddr>) -> Options {
    Options {
        peers,
        ..Options::new(Place::Into(PathBuf::new()))
    }
}

/// A folder with files of these lengths, and its torrent.
fn content(dir: &Path, lens: &[usize], kind: Kind) -> (PathBuf, Metainfo) {
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

fn is_executable(path: &Path) -> bool {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o100 != 0
}

fn assert_same(a: &Path, b: &Path) {
    let status = std::process::Command::new("diff")
        .arg("-r")
        .args([a, b])
        .status()
        .unwrap();
    assert!(
        status.success(),
        "{} and {} differ",
        a.display(),
        b.display()
    );
}

const LENS: &[usize] = &[3_000_000, 5, 70_000, 0, 1_048_576, 16_384, 999_999];

#[test]
fn a_leecher_gets_all_three_kinds_from_a_seed() {
    for kind in [Kind::V1, Kind::Hybrid, Kind::V2] {
        let dir = tempfile::tempdir().unwrap();
        let (root, metainfo) = content(dir.path(), LENS, kind);
        let (seed, leech) = (Peer::start(), Peer::start());
        seed.seed(&metainfo, &root);
        let to = dir.path().join("to");
        let opts = Options {
            place: Place::Into(to.clone()),
            ..options(vec![seed.addr()])
        };
        leech
            .node
            .add(Source::Metainfo(Box::new(metainfo)), opts)
            .unwrap();
        leech.finished(Duration::from_secs(20));
        assert_same(&root, &to.join("album"));
        assert!(is_executable(&to.join("album/0.bin")), "{kind:?}");
        assert!(!is_executable(&to.join("album/2.bin")), "{kind:?}");
    }
}

#[test]
fn a_magnet_link_is_enough() {
    for kind in [Kind::V1, Kind::Hybrid, Kind::V2] {
        let dir = tempfile::tempdir().unwrap();
        let (root, metainfo) = content(dir.path(), LENS, kind);
        let (seed, leech) = (Peer::start(), Peer::start());
        seed.seed(&metainfo, &root);
        let to = dir.path().join("to");
        let opts = Options {
            place: Place::Into(to.clone()),
            ..options(vec![seed.addr()])
        };
        let magnet = Magnet::of(&metainfo);
        leech
            .node
            .add(Source::Magnet(Box::new(magnet)), opts)
            .unwrap();
        leech.finished(Duration::from_secs(20));
        assert_same(&root, &to.join("album"));
    }
}

#[test]
fn five_share_what_one_gives() {
    let dir = tempfile::tempdir().unwrap();
    let (root, metainfo) = content(dir.path(), LENS, Kind::Hybrid);
    let seed = Peer::start();
    seed.seed(&metainfo, &root);
    let peers: Vec<Peer> = (0..4).map(|_| Peer::start()).collect();
    let addrs: Vec<SocketAddr> = peers.iter().map(Peer::addr).chain([seed.addr()]).collect();
    for (i, peer) in peers.iter().enumerate() {
        let to = dir.path().join(format!("to{i}"));
        let others = addrs
            .iter()
            .copied()
            .filter(|a| *a != peer.addr())
            .collect();
        let opts = Options {
            place: Place::Into(to),
            ..options(others)
        };
        peer.node
            .add(Source::Metainfo(Box::new(metainfo.clone())), opts)
            .unwrap();
    }
    for (i, peer) in peers.iter().enumerate() {
        peer.finished(Duration::from_secs(30));
        assert_same(&root, &dir.path().join(format!("to{i}/album")));
    }
}

#[test]
fn selected_files_alone_are_fetched() {
    let dir = tempfile::tempdir().unwrap();
    let (root, metainfo) = content(dir.path(), LENS, Kind::Hybrid);
    let (seed, leech) = (Peer::start(), Peer::start());
    seed.seed(&metainfo, &root);
    let to = dir.path().join("to");
    let select = vec!["sub/5.bin".to_owned(), "2.*".to_owned()];
    let opts = Options {
        place: Place::Into(to.clone()),
        select,
        ..options(vec![seed.addr()])
    };
    leech
        .node
        .add(Source::Metainfo(Box::new(metainfo)), opts)
        .unwrap();
    leech.finished(Duration::from_secs(20));
    for name in ["sub/5.bin", "2.bin"] {
        assert_same(&root.join(name), &to.join("album").join(name));
    }
    assert!(!to.join("album/0.bin").exists());
}

#[test]
fn a_bare_magnet_link_finds_its_peers_through_the_dht() {
    for kind in [Kind::V1, Kind::V2] {
        let dir = tempfile::tempdir().unwrap();
        let (root, metainfo) = content(dir.path(), LENS, kind);
        let first = Peer::in_dht(None);
        let (seed, leech) = (Peer::in_dht(Some(&first)), Peer::in_dht(Some(&first)));
        seed.seed(&metainfo, &root);
        let to = dir.path().join("to");
        let opts = Options {
            place: Place::Into(to.clone()),
            ..options(Vec::new())
        };
        let source = Source::Hash(metainfo.info.hashes());
        leech.node.add(source, opts).unwrap();
        leech.finished(Duration::from_secs(60));
        assert_same(&root, &to.join("album"));
    }
}

#[test]
fn limits_hold() {
    let dir = tempfile::tempdir().unwrap();
    let (root, metainfo) = content(dir.path(), &[3_000_000], Kind::V1);
    for (up, down) in [(1_000_000, 0), (0, 1_000_000)] {
        let seed = Peer::with(|config| config.limit_up = up);
        let leech = Peer::with(|config| config.limit_down = down);
        seed.seed(&metainfo, &root);
        let to = dir.path().join(format!("to{up}"));
        let opts = Options {
            place: Place::Into(to.clone()),
            ..options(vec![seed.addr()])
        };
        let start = Instant::now();
        leech
            .node
            .add(Source::Metainfo(Box::new(metainfo.clone())), opts)
            .unwrap();
        leech.finished(Duration::from_secs(30));
        // A machine that is busy may be slower; a limit that does not hold is faster.
        let rate = 3_000_000.0 / start.elapsed().as_secs_f64();
        assert!(rate < 1_200_000.0, "{rate} B/s");
        assert_same(&root, &to.join("album"));
    }
}

/// Fetches a part, stops, and goes on: by what, and whether the metadata was kept in between.
fn stop_and_go_on(kind: Kind, source: impl Fn(&Metainfo) -> Source, forget_metadata: bool) {
    let dir = tempfile::tempdir().unwrap();
    let (root, metainfo) = content(dir.path(), &[4_000_000], kind);
    let seed = Peer::with(|config| config.limit_up = 2_000_000);
    seed.seed(&metainfo, &root);
    let to = dir.path().join("to");
    let opts = || Options {
        place: Place::Into(to.clone()),
        ..options(vec![seed.addr()])
    };
    let state = tempfile::tempdir().unwrap();
    let start = || Peer::with(|config| config.state_dir = state.path().to_owned());

    let leech = start();
    let id = leech.node.add(source(&metainfo), opts()).unwrap();
    let end = Instant::now() + Duration::from_secs(20);
    let before = loop {
        let status = leech.node.status(id).unwrap().swarm;
        if status.done > 1_000_000 {
            break status;
        }
        assert!(Instant::now() < end, "{status:?}");
        std::thread::sleep(Duration::from_millis(20));
    };
    let stopping = Instant::now();
    leech.node.stop();
    assert!(stopping.elapsed() < Duration::from_secs(2));
    if forget_metadata {
        std::fs::remove_dir_all(state.path().join("torrents")).unwrap();
    }

    let leech = start();
    let id = leech.node.add(source(&metainfo), opts()).unwrap();
    leech.finished(Duration::from_secs(30));
    let after = leech.node.status(id).unwrap().swarm;
    assert!(
        after.received + before.done <= 4_000_000 + 64 * 1024,
        "{before:?} then {after:?}"
    );
    // The v2 torrent of a folder with one file is a torrent of that file.
    let (from, name) = match metainfo.info.is_single_file() {
        true => (root.join("0.bin"), "0.bin"),
        false => (root, "album"),
    };
    assert_same(&from, &to.join(name));
}

#[test]
fn a_stop_in_the_middle_loses_nothing_that_was_verified() {
    stop_and_go_on(
        Kind::Hybrid,
        |m| Source::Metainfo(Box::new(m.clone())),
        false,
    );
}

#[test]
fn a_magnet_link_goes_on_where_it_stopped() {
    for kind in [Kind::V1, Kind::V2, Kind::Hybrid] {
        stop_and_go_on(kind, |m| Source::Magnet(Box::new(Magnet::of(m))), false);
    }
}

#[test]
fn a_magnet_link_goes_on_even_when_its_metadata_must_come_again() {
    for kind in [Kind::V2, Kind::Hybrid] {
        let by_v2 = |m: &Metainfo| {
            Source::Hash(InfoHashes {
                v1: None,
                ..m.info.hashes()
            })
        };
        stop_and_go_on(kind, by_v2, true);
    }
}

#[test]
fn data_that_is_there_already_is_adopted_after_a_check_even_with_a_magnet_link() {
    for kind in [Kind::V1, Kind::Hybrid, Kind::V2] {
        let dir = tempfile::tempdir().unwrap();
        let (root, metainfo) = content(dir.path(), LENS, kind);
        let (seed, leech) = (Peer::start(), Peer::start());
        seed.seed(&metainfo, &root);
        let opts = Options {
            place: Place::Into(dir.path().to_owned()),
            ..options(vec![seed.addr()])
        };
        let magnet = Magnet::of(&metainfo);
        let id = leech
            .node
            .add(Source::Magnet(Box::new(magnet)), opts)
            .unwrap();
        leech.finished(Duration::from_secs(20));
        assert_eq!(leech.node.status(id).unwrap().swarm.received, 0, "{kind:?}");
    }
}
