//! Programs read files of a daemon while these are fetched, on real nodes and files.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fs;
use std::ops::Range;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use api::{
    Add, AddOptions, Content, ContentFile, Cut, File, Kind, Problem, Service, Transfer, TransferId,
};
use node::daemon::{self, Daemon};
use torrent::layout::Kind as TorrentKind;
use torrent::metainfo::Metainfo;

mod world;

use world::{LOOPBACK, Peer, content};

/// Longer than anything takes here.
const LONG: Duration = Duration::from_secs(60);

/// A seed of an album, and a daemon that can fetch it from there.
struct Pair {
    seed: Peer,
    daemon: Daemon,
    id: TransferId,
    root: PathBuf,
    metainfo: Metainfo,
    home: tempfile::TempDir,
    _dir: tempfile::TempDir,
}

impl Pair {
    /// The seed sends so many bytes a second; 0: as quickly as it can.
    async fn new(kind: TorrentKind, lens: &[usize], limit_up: u64, options: AddOptions) -> Pair {
        let (dir, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (root, metainfo) = content(dir.path(), lens, kind);
        let (held, there) = (metainfo.clone(), root.clone());
        // A node's own calls wait, which a runtime's thread may not.
        let seed = tokio::task::spawn_blocking(move || {
            let seed = Peer::with(|config| config.limit_up = limit_up);
            seed.seed(&held, &there);
            seed
        });
        let seed = seed.await.unwrap();
        let daemon = start(home.path().to_owned());
        let source = api::Source::Torrent(metainfo.to_bytes().into());
        let peers = vec![seed.addr().to_string()];
        let options = AddOptions { peers, ..options };
        let added = daemon.add(Add { source, options }).await.unwrap();
        Pair {
            seed,
            daemon,
            id: added.transfer.id,
            root,
            metainfo,
            home,
            _dir: dir,
        }
    }

    async fn files(&self) -> Vec<File> {
        self.daemon
            .files(
                self.id,
                Cut {
                    offset: 0,
                    limit: 100,
                },
            )
            .await
            .unwrap()
            .items
    }

    /// A file as its URL names it.
    async fn find(&self, path: &str) -> ContentFile {
        let url = self
            .files()
            .await
            .into_iter()
            .find(|file| file.path == path)
            .unwrap()
            .content_url
            .unwrap();
        let host = url
            .strip_prefix("http://")
            .unwrap()
            .split('.')
            .next()
            .unwrap()
            .to_owned();
        self.daemon.find(host, path.to_owned()).await.unwrap()
    }

    /// Reads a part of a file to its end, or to what is in the way.
    async fn read(&self, path: &str, range: Range<u64>) -> Result<Vec<u8>, Problem> {
        let file = self.find(path).await;
        let mut chunks = self.daemon.read(&file, range).await?;
        let mut bytes = Vec::new();
        while let Some(chunk) = tokio::time::timeout(LONG, chunks.next())
            .await
            .expect("bytes come")
        {
            bytes.extend(chunk?);
        }
        Ok(bytes)
    }

    /// Reads, and what comes is right.
    async fn reads(&self, path: &str, range: Range<u64>) {
        let bytes = self.read(path, range.clone()).await.unwrap();
        let right = fs::read(self.root.join(path)).unwrap();
        assert!(
            bytes == right[range.start as usize..range.end as usize],
            "{path} {range:?} differs"
        );
    }

    async fn until(&self, what: &str, right: impl Fn(&Transfer) -> bool) -> Transfer {
        let end = Instant::now() + LONG;
        loop {
            let row = self.daemon.get(self.id).await.unwrap().transfer.clone();
            if right(&row) {
                return row;
            }
            assert!(Instant::now() < end, "not {what}: {row:#?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn start(home: PathBuf) -> Daemon {
    fs::create_dir_all(home.join("downloads")).unwrap();
    let downloads = home.join("downloads");
    let node = node::Config {
        bind: Some(LOOPBACK),
        port: Some(0),
        dht: false,
        local_discovery: false,
        trackers: false,
        ..node::Config::new(home)
    };
    let (daemon, worker) = Daemon::start(daemon::Config {
        node,
        settings: api::Settings::default(),
        downloads,
        api: Vec::new(),
        content: Some("http://127.0.0.1:7118".to_owned()),
    })
    .unwrap();
    tokio::spawn(worker.run());
    daemon
}

const MIB: usize = 1 << 20;

#[tokio::test]
async fn what_is_read_is_fetched_first() {
    for kind in [TorrentKind::V1, TorrentKind::V2, TorrentKind::Hybrid] {
        let pair = Pair::new(kind, &[300_001, 24 * MIB], 3 << 20, AddOptions::default()).await;
        let at = 21 * MIB as u64 + 12_345;
        pair.reads("sub/1.bin", at..at + 500_000).await;
        pair.reads("sub/1.bin", 24 * MIB as u64 - 1..24 * MIB as u64)
            .await;
        pair.reads("0.bin", 299_000..300_001).await;
        let row = pair.daemon.get(pair.id).await.unwrap().transfer.clone();
        assert!(
            !row.complete && row.done < 20 * MIB as u64,
            "{kind:?}: it was not first: {row:#?}"
        );
    }
}

#[tokio::test]
async fn a_whole_file_can_be_read_while_it_comes() {
    let pair = Pair::new(
        TorrentKind::Hybrid,
        &[5 * MIB + 1, 3 * MIB],
        0,
        AddOptions::default(),
    )
    .await;
    tokio::join!(
        pair.reads("0.bin", 0..5 * MIB as u64 + 1),
        pair.reads("sub/1.bin", 0..3 * MIB as u64),
        pair.reads("sub/1.bin", MIB as u64..2 * MIB as u64),
    );
    pair.until("complete", |row| row.complete).await;
}

#[tokio::test]
async fn a_file_nobody_wants_comes_for_its_reader_and_no_longer() {
    let options = AddOptions {
        select: vec!["0.bin".to_owned()],
        ..AddOptions::default()
    };
    let pair = Pair::new(TorrentKind::V1, &[300_001, 40 * MIB], 4 << 20, options).await;
    pair.until("complete", |row| row.complete).await;
    let at = 30 * MIB as u64;
    pair.reads("sub/1.bin", at..at + 300_000).await;
    // Nobody reads any more: what was asked for comes, and that is all.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let done = || async {
        pair.files()
            .await
            .iter()
            .find(|file| file.path == "sub/1.bin")
            .unwrap()
            .done
    };
    let before = done().await;
    assert!((300_000..24 * MIB as u64).contains(&before), "{before}");
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(done().await, before);
    let as_it_was = |row: &Transfer| row.complete && row.wanted < 24 * MIB as u64;
    pair.until("as it was", as_it_was).await;
}

#[tokio::test]
async fn who_stands_still_says_why_and_gives_what_it_has() {
    let pair = Pair::new(
        TorrentKind::Hybrid,
        &[300_001, 24 * MIB],
        2 << 20,
        AddOptions::default(),
    )
    .await;
    pair.reads("0.bin", 0..300_001).await;
    // Somebody reads what is not there when a person pauses it.
    let reading = pair.read("sub/1.bin", 0..24 * MIB as u64);
    let pausing = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        pair.daemon.pause(pair.id).await.unwrap();
    };
    let (read, ()) = tokio::join!(reading, pausing);
    let problem = read.unwrap_err();
    assert_eq!(problem.kind, Kind::Unavailable);
    assert!(problem.detail.contains("paused"), "{problem}");
    pair.reads("0.bin", 100_000..200_000).await;
    pair.daemon.resume(pair.id).await.unwrap();
    pair.reads("sub/1.bin", 20 * MIB as u64..21 * MIB as u64)
        .await;
}

#[tokio::test]
async fn a_dormant_transfer_wakes_for_a_reader() {
    let pair = Pair::new(
        TorrentKind::V2,
        &[300_001, 500_000],
        0,
        AddOptions::default(),
    )
    .await;
    pair.until("complete", |row| row.complete).await;
    let host = pair.files().await[0].content_url.clone().unwrap();
    pair.daemon.stop();
    tokio::time::sleep(Duration::from_millis(500)).await;
    drop(pair.seed);
    let Pair {
        daemon,
        home,
        root,
        id,
        ..
    } = pair;
    drop(daemon);
    let daemon = start(home.path().to_owned());
    assert!(daemon.get(id).await.unwrap().transfer.dormant);
    let host = host
        .strip_prefix("http://")
        .unwrap()
        .split('.')
        .next()
        .unwrap()
        .to_owned();
    let listing = daemon.listing(host.clone(), 1).await.unwrap();
    assert_eq!((listing.files.len(), listing.total), (1, 2));
    let file = daemon.find(host.clone(), "0.bin".to_owned()).await.unwrap();
    let mut chunks = daemon.read(&file, 5..file.size).await.unwrap();
    let mut bytes = Vec::new();
    while let Some(chunk) = chunks.next().await {
        bytes.extend(chunk.unwrap());
    }
    assert!(bytes == fs::read(root.join("0.bin")).unwrap()[5..]);
    for (host, path) in [
        (host, "album/0.bin"),
        ("a".repeat(20), "0.bin"),
        (String::new(), "0.bin"),
    ] {
        let problem = daemon.find(host, path.to_owned()).await.unwrap_err();
        assert_eq!(problem.kind, Kind::NotFound);
    }
}

#[tokio::test]
async fn a_tag_names_the_bytes_of_a_file() {
    let (mut v2, v1) = (Vec::new(), AddOptions::default());
    for kind in [TorrentKind::V2, TorrentKind::Hybrid] {
        let pair = Pair::new(kind, &[300_001, 500_000], 0, v1.clone()).await;
        let tags = [
            pair.find("0.bin").await.tag,
            pair.find("sub/1.bin").await.tag,
        ];
        assert_eq!(
            pair.metainfo
                .info
                .files()
                .find(|f| f.path() == "0.bin")
                .unwrap()
                .root()
                .map(|r| torrent::hex::encode(&r)),
            Some(tags[0].clone())
        );
        v2.push(tags);
    }
    assert_eq!(
        v2[0], v2[1],
        "the same bytes in another torrent are the same"
    );
    let pair = Pair::new(TorrentKind::V1, &[300_001, 500_000], 0, v1).await;
    let (a, b) = (
        pair.find("0.bin").await.tag,
        pair.find("sub/1.bin").await.tag,
    );
    assert!(a != b && a.ends_with("-0") && a.len() == 42, "{a} {b}");
}

#[tokio::test]
async fn a_file_that_was_changed_or_forgotten_is_not_served() {
    let pair = Pair::new(
        TorrentKind::Hybrid,
        &[300_001, 500_000],
        0,
        AddOptions::default(),
    )
    .await;
    pair.until("complete", |row| row.complete).await;
    pair.reads("0.bin", 0..10).await;
    let path = pair.home.path().join("downloads/album/0.bin");
    fs::write(path, "something else").unwrap();
    let problem = pair.read("0.bin", 0..10).await.unwrap_err();
    assert_eq!(problem.kind, Kind::Unavailable);
    pair.until("stopped", |row| row.cause.is_some()).await;
    let file = pair.find("0.bin").await;
    pair.daemon.forget(pair.id).await.unwrap();
    let problem = pair.daemon.read(&file, 0..10).await.unwrap_err();
    assert_eq!(problem.kind, Kind::NotFound);
}
