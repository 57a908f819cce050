//! Two and more whole nodes on loopback: real sockets, real files.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use node::{Event, Options, Place, Source};
use torrent::ids::InfoHashes;
use torrent::layout::Kind;
use torrent::magnet::Magnet;
use torrent::metainfo::Metainfo;

#[path = "transfer/disk.rs"]
mod disk;
mod world;

use world::{Peer, content, options};

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
