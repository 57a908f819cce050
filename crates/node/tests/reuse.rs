//! Files that another transfer of the daemon has already: offered, and taken when the person says so.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use api::{Add, AddOptions, Service, Settings, Transfer, TransferId, WebSeedChange};
use node::daemon::{self, Daemon};
use torrent::layout::Kind;
use torrent::metainfo::Metainfo;

mod world;

use world::{LOOPBACK, content};

fn start(home: &Path) -> (Daemon, tokio::task::JoinHandle<()>) {
    let downloads = home.join("downloads");
    fs::create_dir_all(&downloads).unwrap();
    let node = node::Config {
        bind: Some(LOOPBACK),
        port: Some(0),
        dht: false,
        local_discovery: false,
        trackers: false,
        ..node::Config::new(home.to_owned())
    };
    let config = daemon::Config {
        node,
        settings: Settings::default(),
        downloads,
        api: Vec::new(),
        content: None,
    };
    let (daemon, worker) = Daemon::start(config).unwrap();
    (daemon, tokio::spawn(worker.run()))
}

async fn add(daemon: &Daemon, metainfo: &Metainfo, options: AddOptions) -> TransferId {
    let source = api::Source::Torrent(metainfo.to_bytes().into());
    let row = daemon.add(Add { source, options }).await.unwrap();
    row.transfer.id
}

async fn until(daemon: &Daemon, id: TransferId, right: impl Fn(&Transfer) -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        let row = daemon.get(id).await.unwrap();
        if right(&row.transfer) {
            return;
        }
        assert!(Instant::now() < end, "{:#?}", row.transfer);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Two albums, of which the second has two files of the first, and a daemon that has the first.
struct Stage {
    home: tempfile::TempDir,
    first: PathBuf,
    second: Metainfo,
}

impl Stage {
    async fn set() -> Stage {
        let home = tempfile::tempdir().unwrap();
        let one = home.path().join("one");
        let (first, metainfo) = content(&one, &[300_000, 200_000, 5], Kind::Hybrid);
        let (_, second) = content(
            &home.path().join("two"),
            &[300_000, 200_000, 70_000],
            Kind::V2,
        );
        let (daemon, worker) = start(home.path());
        let options = AddOptions {
            root: Some(first.to_str().unwrap().to_owned()),
            read_only: true,
            ..AddOptions::default()
        };
        let id = add(&daemon, &metainfo, options).await;
        until(&daemon, id, |row| row.complete).await;
        daemon.stop();
        worker.await.unwrap();
        Stage {
            home,
            first,
            second,
        }
    }
}

#[tokio::test]
async fn files_of_another_transfer_are_offered_and_copied() {
    let stage = Stage::set().await;
    let (daemon, worker) = start(stage.home.path());
    let id = add(&daemon, &stage.second, AddOptions::default()).await;
    until(&daemon, id, |row| row.checking.is_none()).await;
    let found = daemon.reusable(id).await.unwrap();
    assert_eq!((found.files, found.bytes), (2, 500_000));
    assert_eq!(found.from[0].name, "album");
    assert_eq!(
        daemon.get(id).await.unwrap().transfer.done,
        0,
        "nothing is taken by itself"
    );

    daemon.reuse(id).await.unwrap();
    until(&daemon, id, |row| row.done == 500_000).await;
    for name in ["0.bin", "sub/1.bin"] {
        let (theirs, ours) = (
            stage.first.join(name),
            stage.home.path().join("downloads/album").join(name),
        );
        assert!(
            fs::read(&theirs).unwrap() == fs::read(&ours).unwrap(),
            "{name} differs"
        );
        let inode = |path: &Path| fs::metadata(path).unwrap().ino();
        assert_ne!(inode(&theirs), inode(&ours), "{name} is shared");
    }
    assert_eq!(daemon.reusable(id).await.unwrap(), api::Reusable::default());
    daemon.stop();
    worker.await.unwrap();
}

#[tokio::test]
async fn what_is_copied_counts_only_as_far_as_it_is_right() {
    let stage = Stage::set().await;
    let (daemon, worker) = start(stage.home.path());
    let id = add(&daemon, &stage.second, AddOptions::default()).await;
    until(&daemon, id, |row| row.checking.is_none()).await;
    // Of the same length, and damaged since it was found to be right.
    let file = stage.first.join("0.bin");
    let mut bytes = fs::read(&file).unwrap();
    bytes[100_000] ^= 1;
    fs::write(&file, bytes).unwrap();
    daemon.reuse(id).await.unwrap();
    let right = 500_000 - 65_536;
    until(&daemon, id, |row| row.done == right).await;
    daemon.stop();
    worker.await.unwrap();
}

#[tokio::test]
async fn web_seeds_that_a_person_changed_stay_so() {
    let stage = Stage::set().await;
    let (daemon, worker) = start(stage.home.path());
    let mut metainfo = stage.second.clone();
    metainfo.web_seeds = vec!["http://192.0.2.1:7/".to_owned()];
    let id = add(
        &daemon,
        &metainfo,
        AddOptions {
            paused: true,
            ..AddOptions::default()
        },
    )
    .await;
    let named = daemon.web_seeds(id).await.unwrap();
    assert_eq!((named.len(), named[0].given), (1, false));
    let change = WebSeedChange {
        add: vec!["http://10.0.0.7/pub/".to_owned()],
        remove: vec!["http://192.0.2.1:7/".to_owned(), "http://other/".to_owned()],
    };
    let changed = daemon.change_web_seeds(id, change).await.unwrap();
    assert_eq!((changed.len(), changed[0].given), (1, true));
    let wrong = WebSeedChange {
        add: vec!["http://[".to_owned()],
        ..WebSeedChange::default()
    };
    daemon.change_web_seeds(id, wrong).await.unwrap_err();
    daemon.stop();
    worker.await.unwrap();

    let (daemon, worker) = start(stage.home.path());
    let after = daemon.web_seeds(id).await.unwrap();
    assert_eq!(after[0].url, "http://10.0.0.7/pub/");
    assert_eq!(after.len(), 1);
    daemon.stop();
    worker.await.unwrap();
}
