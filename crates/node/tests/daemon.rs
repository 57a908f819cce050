//! A daemon in this process: transfers as people manage them, on real nodes and files.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use api::{
    Add, AddOptions, Cause, Deleted, Goals, Kind, Label, Limits, Move, Query, Rename, Service,
    Settings, SettingsPatch, State, Transfer, TransferId, TransferPatch, WatchFolder,
};
use node::daemon::{self, Daemon, Worker};
use torrent::layout::Kind as TorrentKind;
use torrent::metainfo::Metainfo;

mod world;

use world::{LOOPBACK, Peer, content};

/// A daemon, its home and its downloads.
struct Running {
    daemon: Daemon,
    worker: tokio::task::JoinHandle<()>,
}

impl Running {
    fn start(home: &Path) -> Running {
        Running::with(home, Settings::default())
    }

    fn with(home: &Path, settings: Settings) -> Running {
        let (daemon, worker) = start(home, settings);
        Running {
            daemon,
            worker: tokio::spawn(worker.run()),
        }
    }

    async fn stop(self) {
        let began = Instant::now();
        self.daemon.stop();
        self.worker.await.unwrap();
        assert!(
            began.elapsed() < Duration::from_secs(2),
            "{:?}",
            began.elapsed()
        );
    }

    async fn row(&self, id: TransferId) -> Transfer {
        self.daemon.get(id).await.unwrap().transfer.clone()
    }

    /// Waits until a row is as it should be.
    async fn until(
        &self,
        id: TransferId,
        what: &str,
        right: impl Fn(&Transfer) -> bool,
    ) -> Transfer {
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            let row = self.row(id).await;
            if right(&row) {
                return row;
            }
            assert!(Instant::now() < end, "not {what}: {row:#?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn complete(&self, id: TransferId) -> Transfer {
        self.until(id, "complete", |row| row.complete).await
    }

    /// Complete, and what it received is shown.
    async fn fetched(&self, id: TransferId) -> Transfer {
        self.until(id, "fetched", |row| {
            row.complete && row.received >= row.wanted
        })
        .await
    }

    async fn add(&self, metainfo: &Metainfo, options: AddOptions) -> TransferId {
        let source = api::Source::Torrent(metainfo.to_bytes().into());
        self.daemon
            .add(Add { source, options })
            .await
            .unwrap()
            .transfer
            .id
    }
}

fn start(home: &Path, settings: Settings) -> (Daemon, Worker) {
    fs::create_dir_all(home.join("downloads")).unwrap();
    let node = node::Config {
        bind: Some(LOOPBACK),
        port: Some(0),
        dht: false,
        local_discovery: false,
        trackers: false,
        ..node::Config::new(home.to_owned())
    };
    Daemon::start(daemon::Config {
        node,
        settings,
        downloads: home.join("downloads"),
        api: Vec::new(),
        content: None,
    })
    .unwrap()
}

/// What a seed on loopback has, and how to get it from there.
struct Album {
    seed: Peer,
    root: PathBuf,
    metainfo: Metainfo,
    _dir: tempfile::TempDir,
}

impl Album {
    fn new(lens: &[usize]) -> Album {
        let begin = || {
            let dir = tempfile::tempdir().unwrap();
            let (root, metainfo) = content(dir.path(), lens, TorrentKind::Hybrid);
            let seed = Peer::start();
            seed.seed(&metainfo, &root);
            Album {
                seed,
                root,
                metainfo,
                _dir: dir,
            }
        };
        // A node's own calls wait, which a runtime's thread may not.
        std::thread::scope(|scope| scope.spawn(begin).join().unwrap())
    }

    fn options(&self) -> AddOptions {
        AddOptions {
            peers: vec![self.seed.addr().to_string()],
            ..AddOptions::default()
        }
    }

    fn is_at(&self, root: &Path) {
        for name in ["0.bin", "sub/1.bin"] {
            let (there, here) = (root.join(name), self.root.join(name));
            assert!(
                fs::read(there).unwrap() == fs::read(here).unwrap(),
                "{name} differs"
            );
        }
    }
}

#[tokio::test]
async fn a_transfer_is_fetched_and_is_there_after_a_restart() {
    let album = Album::new(&[300_000, 200_000]);
    let home = tempfile::tempdir().unwrap();
    let running = Running::start(home.path());
    let id = running.add(&album.metainfo, album.options()).await;
    let fetched = running.complete(id).await;
    assert_eq!(
        (fetched.done, fetched.size, fetched.files),
        (500_000, 500_000, 2)
    );
    album.is_at(&home.path().join("downloads/album"));
    // The same again is found.
    let source = api::Source::Torrent(album.metainfo.to_bytes().into());
    let again = Add {
        source,
        options: AddOptions::default(),
    };
    let problem = running.daemon.add(again).await.unwrap_err();
    assert_eq!(problem.kind, Kind::AlreadyPresent);
    assert_eq!(problem.instance, Some(format!("/api/v1/transfers/{id}")));
    running.stop().await;

    let running = Running::start(home.path());
    let row = running.row(id).await;
    assert!(row.complete && row.dormant, "{row:?}");
    // Up to the last moment before the stop.
    assert!(
        row.state == State::Seeding && row.received >= 500_000,
        "{row:?}"
    );
    // It wakes for whoever asks: a peer fetches from the daemon alone.
    let dir = tempfile::tempdir().unwrap();
    let peer = Peer::start();
    let from = vec![running.daemon.listening()];
    let options = node::Options {
        peers: from,
        ..node::Options::new(node::Place::Into(dir.path().to_owned()))
    };
    let metainfo = Box::new(album.metainfo.clone());
    let finished = tokio::task::spawn_blocking(move || {
        peer.node
            .add(node::Source::Metainfo(metainfo), options)
            .unwrap();
        peer.finished(Duration::from_secs(20));
    });
    finished.await.unwrap();
    album.is_at(&dir.path().join("album"));
    let row = running
        .until(id, "counted", |row| row.sent >= 500_000)
        .await;
    assert!(!row.dormant);
    running.stop().await;
}

#[tokio::test]
async fn what_a_person_paused_stays_so() {
    let album = Album::new(&[300_000, 200_000]);
    let home = tempfile::tempdir().unwrap();
    let running = Running::start(home.path());
    let options = AddOptions {
        paused: true,
        ..album.options()
    };
    let id = running.add(&album.metainfo, options).await;
    assert_eq!(running.row(id).await.state, State::Paused);
    running.stop().await;
    let running = Running::start(home.path());
    tokio::time::sleep(Duration::from_millis(300)).await;
    let row = running.row(id).await;
    assert_eq!((row.state, row.done), (State::Paused, 0));
    running.daemon.resume(id).await.unwrap();
    running
        .until(id, "downloading", |row| row.state == State::Downloading)
        .await;
    running.stop().await;
}

#[tokio::test]
async fn data_moves_and_is_renamed_and_goes_on() {
    let album = Album::new(&[300_000, 200_000]);
    let home = tempfile::tempdir().unwrap();
    let running = Running::start(home.path());
    let id = running.add(&album.metainfo, album.options()).await;
    let received = running.fetched(id).await.received;
    let target = home.path().join("elsewhere");
    let to = Move {
        folder: target.to_string_lossy().into(),
    };
    running.daemon.move_data(id, to).await.unwrap();
    let there = target.join("album");
    let row = running
        .until(id, "moved", |row| {
            row.root == there.to_string_lossy() && row.state == State::Seeding
        })
        .await;
    assert_eq!(row.folder, target.to_string_lossy());
    album.is_at(&there);
    assert!(!home.path().join("downloads/album").exists());
    let rename = Rename {
        path: String::new(),
        name: "new name".to_owned(),
    };
    running.daemon.rename(id, rename).await.unwrap();
    let there = target.join("new name");
    let moved = |row: &Transfer| row.root == there.to_string_lossy() && row.state == State::Seeding;
    running.until(id, "renamed", moved).await;
    album.is_at(&there);
    // Nothing had to be hashed or fetched again.
    assert_eq!(running.row(id).await.received, received);
    running.stop().await;
    let running = Running::start(home.path());
    assert!(running.row(id).await.complete);
    running.stop().await;
}

#[tokio::test]
async fn a_recheck_finds_what_changed_and_fetches_it() {
    let album = Album::new(&[300_000, 200_000]);
    let home = tempfile::tempdir().unwrap();
    let running = Running::start(home.path());
    let id = running.add(&album.metainfo, album.options()).await;
    let received = running.fetched(id).await.received;
    let file = home.path().join("downloads/album/0.bin");
    let mut bytes = fs::read(&file).unwrap();
    bytes[100_000] ^= 1;
    fs::write(&file, bytes).unwrap();
    running.daemon.recheck(id).await.unwrap();
    let mended = |row: &Transfer| row.complete && row.received > received;
    running.until(id, "mended", mended).await;
    album.is_at(&home.path().join("downloads/album"));
    running.stop().await;
}

#[tokio::test]
async fn forgetting_keeps_the_files_and_deleting_does_not() {
    let album = Album::new(&[300_000, 200_000]);
    let home = tempfile::tempdir().unwrap();
    let running = Running::start(home.path());
    let root = home.path().join("downloads/album");
    let id = running.add(&album.metainfo, album.options()).await;
    running.complete(id).await;
    running.daemon.forget(id).await.unwrap();
    assert_eq!(
        running.daemon.get(id).await.unwrap_err().kind,
        Kind::NotFound
    );
    album.is_at(&root);
    let id = running.add(&album.metainfo, album.options()).await;
    let row = running.complete(id).await;
    assert_eq!(row.received, 0, "what was there is taken up");
    fs::write(root.join("mine.txt"), "not of the torrent").unwrap();
    let deleted = running.daemon.delete(id).await.unwrap();
    assert!(matches!(deleted, Deleted::Trashed | Deleted::Erased));
    assert!(!root.join("0.bin").exists() && root.join("mine.txt").exists());
    running.stop().await;
    let running = Running::start(home.path());
    assert_eq!(
        running.daemon.list(Query::default()).await.unwrap().total,
        0
    );
    running.stop().await;
}

#[tokio::test]
async fn files_are_chosen_before_and_after() {
    let album = Album::new(&[300_000, 200_000]);
    let home = tempfile::tempdir().unwrap();
    let running = Running::start(home.path());
    let options = AddOptions {
        select: vec!["0.bin".to_owned()],
        ..album.options()
    };
    let id = running.add(&album.metainfo, options).await;
    let row = running.complete(id).await;
    assert_eq!((row.wanted, row.size), (300_000, 500_000));
    assert!(!home.path().join("downloads/album/sub/1.bin").exists());
    let files = running.daemon.files(id, api::Cut::default()).await.unwrap();
    let file = |path: &str| files.items.iter().find(|file| file.path == path).unwrap();
    assert_eq!((file("0.bin").priority, file("sub/1.bin").priority), (4, 0));
    let cut = api::Cut {
        offset: 1,
        limit: 1,
    };
    let page = running.daemon.files(id, cut).await.unwrap();
    assert_eq!((page.total, page.offset), (2, 1));
    assert_eq!(page.items, files.items[1..]);
    let patch = TransferPatch {
        priorities: Some(vec![api::FilePriority {
            file: file("sub/1.bin").index,
            through: None,
            priority: 7,
        }]),
        ..TransferPatch::default()
    };
    running.daemon.update(id, patch).await.unwrap();
    running
        .until(id, "whole", |row| row.complete && row.wanted == 500_000)
        .await;
    album.is_at(&home.path().join("downloads/album"));
    running.stop().await;
}

#[tokio::test]
async fn labels_have_folders_limits_and_goals() {
    let album = Album::new(&[300_000, 200_000]);
    let home = tempfile::tempdir().unwrap();
    let running = Running::start(home.path());
    let folder = home.path().join("music");
    let label = Label {
        folder: Some(folder.to_string_lossy().into()),
        limits: Limits {
            down: 250_000,
            up: 0,
        },
        goals: Some(Goals {
            ratio: Some(0.0),
            seeding_seconds: None,
        }),
        ..Label::new("music")
    };
    running.daemon.add_label(label).await.unwrap();
    let unknown = AddOptions {
        label: Some("films".to_owned()),
        ..album.options()
    };
    let source = api::Source::Torrent(album.metainfo.to_bytes().into());
    let add = Add {
        source,
        options: unknown,
    };
    assert_eq!(
        running.daemon.add(add).await.unwrap_err().kind,
        Kind::NotFound
    );
    // Peers on loopback are free of limits unless a person says otherwise.
    let patch = SettingsPatch {
        lan_free: Some(Some(false)),
        ..SettingsPatch::default()
    };
    running.daemon.update_settings(patch).await.unwrap();
    let options = AddOptions {
        label: Some("music".to_owned()),
        ..album.options()
    };
    let began = Instant::now();
    let id = running.add(&album.metainfo, options).await;
    running.complete(id).await;
    assert!(
        began.elapsed() > Duration::from_millis(1200),
        "{:?}",
        began.elapsed()
    );
    album.is_at(&folder.join("album"));
    let held = |row: &Transfer| row.state == State::Held && row.cause == Some(Cause::Ratio);
    running.until(id, "held by its goal", held).await;
    running
        .daemon
        .remove_label("music".to_owned())
        .await
        .unwrap();
    let row = running
        .until(id, "seeding", |row| row.state == State::Seeding)
        .await;
    assert_eq!(row.label, None);
    running.stop().await;
}

#[tokio::test]
async fn downloads_wait_for_their_turn() {
    let albums: Vec<Album> = (1..4).map(|n| Album::new(&[100_000 * n, 50_000])).collect();
    let home = tempfile::tempdir().unwrap();
    let mut settings = Settings::default();
    settings.queue.downloads = 1;
    settings.limits.down = 200_000;
    settings.lan_free = false;
    let running = Running::with(home.path(), settings);
    let mut ids = Vec::new();
    for (n, album) in albums.iter().enumerate() {
        let folder = home.path().join(n.to_string());
        let options = AddOptions {
            folder: Some(folder.to_string_lossy().into()),
            ..album.options()
        };
        ids.push(running.add(&album.metainfo, options).await);
    }
    let states = |row: &Transfer| row.state;
    assert_eq!(states(&running.row(ids[1]).await), State::Queued);
    assert_eq!(running.row(ids[2]).await.queue_position, Some(2));
    // The last goes before the second.
    let patch = TransferPatch {
        queue_position: Some(0),
        ..TransferPatch::default()
    };
    running.daemon.update(ids[2], patch).await.unwrap();
    for &id in &ids {
        running.complete(id).await;
    }
    running.stop().await;
}

#[tokio::test]
async fn what_is_put_into_a_watched_folder_is_added() {
    let album = Album::new(&[300_000, 200_000]);
    let home = tempfile::tempdir().unwrap();
    let inbox = home.path().join("inbox");
    fs::create_dir(&inbox).unwrap();
    fs::write(inbox.join("early.torrent"), "not a torrent").unwrap();
    let settings = Settings {
        watch: vec![WatchFolder {
            path: inbox.to_string_lossy().into(),
            folder: None,
            label: None,
            paused: true,
        }],
        ..Settings::default()
    };
    let running = Running::with(home.path(), settings);
    let exists = async |name: &str| {
        let end = Instant::now() + Duration::from_secs(10);
        while !inbox.join(name).exists() {
            assert!(Instant::now() < end, "{name} is not there");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    exists("early.torrent.invalid").await;
    fs::write(inbox.join("a.torrent"), album.metainfo.to_bytes()).unwrap();
    exists("a.torrent.added").await;
    let page = running.daemon.list(Query::default()).await.unwrap();
    assert_eq!(page.total, 1);
    assert_eq!(page.transfers[0].transfer.state, State::Paused);
    running.stop().await;
}

#[tokio::test]
async fn a_program_is_run_when_a_transfer_is_done() {
    let album = Album::new(&[300_000, 200_000]);
    let home = tempfile::tempdir().unwrap();
    let out = home.path().join("told; touch oops");
    let settings = Settings {
        on_done: vec![
            "/bin/sh".to_owned(),
            "-c".to_owned(),
            r#"printf '%s|%s|%s' "$1" "$STARLING_TRANSFER_NAME" "$3" > "$2""#.to_owned(),
            "hook".to_owned(),
            "{id}".to_owned(),
            out.to_string_lossy().into(),
            "{path}".to_owned(),
        ],
        ..Settings::default()
    };
    let running = Running::with(home.path(), settings);
    let id = running.add(&album.metainfo, album.options()).await;
    running.complete(id).await;
    let end = Instant::now() + Duration::from_secs(10);
    while fs::read_to_string(&out).unwrap_or_default().is_empty() {
        assert!(Instant::now() < end, "the program was not run");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let root = home.path().join("downloads/album");
    let told = fs::read_to_string(&out).unwrap();
    assert_eq!(told, format!("{id}|album|{}", root.display()));
    running.stop().await;
}

#[tokio::test]
async fn a_damaged_database_is_rebuilt_from_torrents_and_files() {
    let album = Album::new(&[300_000, 200_000]);
    let home = tempfile::tempdir().unwrap();
    let running = Running::start(home.path());
    let id = running.add(&album.metainfo, album.options()).await;
    running.complete(id).await;
    running.stop().await;
    fs::write(home.path().join("state.sqlite"), vec![b'x'; 50_000]).unwrap();
    let running = Running::start(home.path());
    let page = running.daemon.list(Query::default()).await.unwrap();
    assert_eq!(page.total, 1);
    let id = page.transfers[0].transfer.id;
    let row = running.complete(id).await;
    assert_eq!(row.received, 0, "nothing is fetched again");
    let status = running.daemon.status().await.unwrap();
    assert!(
        status.warnings[0].contains("damaged"),
        "{:?}",
        status.warnings
    );
    running.stop().await;
}

#[tokio::test]
async fn a_preview_writes_nothing() {
    let album = Album::new(&[300_000, 200_000]);
    let home = tempfile::tempdir().unwrap();
    let running = Running::start(home.path());
    let source = api::Source::Torrent(album.metainfo.to_bytes().into());
    let preview = running.daemon.preview(source).await.unwrap();
    assert_eq!(
        (preview.name.as_deref(), preview.size),
        (Some("album"), Some(500_000))
    );
    assert_eq!(preview.files.len(), 2);
    let hash = album.metainfo.info.hashes().v1.unwrap();
    let magnet = format!(
        "magnet:?xt=urn:btih:{}&x.pe={}",
        torrent::hex::encode(&hash),
        album.seed.addr()
    );
    let preview = running
        .daemon
        .preview(api::Source::Text(magnet))
        .await
        .unwrap();
    assert_eq!(
        (preview.name.as_deref(), preview.size),
        (Some("album"), Some(500_000))
    );
    assert_eq!(
        running.daemon.list(Query::default()).await.unwrap().total,
        0
    );
    assert_eq!(
        fs::read_dir(home.path().join("downloads")).unwrap().count(),
        0
    );
    running.stop().await;
}

#[tokio::test]
async fn settings_that_cannot_be_meant_are_refused_and_the_others_stay() {
    let home = tempfile::tempdir().unwrap();
    let running = Running::start(home.path());
    let limits = |up| SettingsPatch {
        limits: Some(Some(Limits { down: 0, up })),
        ..SettingsPatch::default()
    };
    let problem = running.daemon.update_settings(limits(5)).await.unwrap_err();
    assert!(problem.detail.contains("limits.up"), "{problem}");
    running.daemon.update_settings(limits(5000)).await.unwrap();
    running.stop().await;
    let running = Running::start(home.path());
    assert_eq!(running.daemon.settings().await.unwrap().limits.up, 5000);
    running.stop().await;
}

#[tokio::test]
async fn what_was_set_is_dropped_by_a_person_or_by_news_from_the_file() {
    let home = tempfile::tempdir().unwrap();
    let slots = |slots| SettingsPatch {
        slots: Some(slots),
        ..SettingsPatch::default()
    };
    let file = |slots| Settings {
        slots,
        ..Settings::default()
    };
    let running = Running::with(home.path(), file(4));
    running
        .daemon
        .update_settings(slots(Some(9)))
        .await
        .unwrap();
    let dropped = running.daemon.update_settings(slots(None)).await.unwrap();
    assert_eq!(dropped.slots, 4);
    running.stop().await;
    let running = Running::with(home.path(), file(5));
    assert_eq!(running.daemon.settings().await.unwrap().slots, 5);
    running
        .daemon
        .update_settings(slots(Some(9)))
        .await
        .unwrap();
    running.daemon.reconfigure(file(5)).unwrap();
    assert_eq!(running.daemon.settings().await.unwrap().slots, 9);
    running.daemon.reconfigure(file(6)).unwrap();
    assert_eq!(running.daemon.settings().await.unwrap().slots, 6);
    running.stop().await;
    let running = Running::with(home.path(), file(6));
    assert_eq!(running.daemon.settings().await.unwrap().slots, 6);
    running.stop().await;
}

#[tokio::test]
async fn a_seed_whose_data_was_away_goes_on_when_it_is_back() {
    let album = Album::new(&[300_000, 200_000]);
    let home = tempfile::tempdir().unwrap();
    let (root, away) = (home.path().join("mine"), home.path().join("away"));
    fs::create_dir_all(root.join("sub")).unwrap();
    for name in ["0.bin", "sub/1.bin"] {
        fs::copy(album.root.join(name), root.join(name)).unwrap();
    }
    let running = Running::start(home.path());
    let options = AddOptions {
        root: Some(root.to_string_lossy().into()),
        read_only: true,
        ..AddOptions::default()
    };
    let id = running.add(&album.metainfo, options).await;
    running.complete(id).await;
    fs::rename(&root, &away).unwrap();
    let problem = running.daemon.recheck(id).await.unwrap_err();
    assert_eq!(problem.kind, Kind::NotFound);
    let row = running.row(id).await;
    assert_eq!(
        (row.state, row.cause),
        (State::Stopped, Some(Cause::Missing))
    );
    fs::rename(&away, &root).unwrap();
    running.daemon.resume(id).await.unwrap();
    let whole = |row: &Transfer| row.state == State::Seeding && row.complete;
    running.until(id, "seeding again", whole).await;
    running.daemon.recheck(id).await.unwrap();
    running.until(id, "checked", whole).await;
    running.stop().await;
}

/// Asks, and hangs up before the answer.
async fn ask_and_go<T: std::fmt::Debug>(asked: impl Future<Output = T>) {
    let mut asked = std::pin::pin!(asked);
    let answer =
        std::future::poll_fn(|context| std::task::Poll::Ready(asked.as_mut().poll(context)));
    let answer = answer.await;
    assert!(answer.is_pending(), "nobody could hang up: {answer:?}");
}

#[tokio::test]
async fn what_was_asked_is_done_though_whoever_asked_hangs_up() {
    let album = Album::new(&[300_000, 200_000]);
    let home = tempfile::tempdir().unwrap();
    let running = Running::start(home.path());
    let id = running.add(&album.metainfo, album.options()).await;
    running.complete(id).await;
    let daemon = &running.daemon;
    ask_and_go(daemon.add_label(Label::new("films"))).await;
    let labelled = async || daemon.labels().await.unwrap().len() == 1;
    let end = Instant::now() + Duration::from_secs(10);
    while !labelled().await {
        assert!(Instant::now() < end, "no label was made");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let patch = TransferPatch {
        label: Some(Some("films".to_owned())),
        ..TransferPatch::default()
    };
    ask_and_go(daemon.update(id, patch)).await;
    let films = |row: &Transfer| row.label.as_deref() == Some("films");
    running.until(id, "labelled", films).await;
    let renamed = api::LabelPatch {
        name: Some("cinema".to_owned()),
        ..api::LabelPatch::default()
    };
    ask_and_go(daemon.update_label("films".to_owned(), renamed)).await;
    let cinema = |row: &Transfer| row.label.as_deref() == Some("cinema");
    running.until(id, "labelled anew", cinema).await;
    let there = home.path().join("elsewhere");
    let to = Move {
        folder: there.to_string_lossy().into(),
    };
    ask_and_go(daemon.move_data(id, to)).await;
    let moved = |row: &Transfer| row.folder == there.to_string_lossy();
    running.until(id, "moved", moved).await;
    album.is_at(&there.join("album"));
    ask_and_go(daemon.recheck(id)).await;
    ask_and_go(daemon.pause(id)).await;
    let paused = |row: &Transfer| row.state == State::Paused;
    running.until(id, "paused", paused).await;
    let patch = SettingsPatch {
        slots: Some(Some(9)),
        ..SettingsPatch::default()
    };
    ask_and_go(daemon.update_settings(patch)).await;
    let end = Instant::now() + Duration::from_secs(10);
    while daemon.settings().await.unwrap().slots != 9 {
        assert!(Instant::now() < end, "the settings are as they were");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    running.stop().await;
    // And all of it was kept.
    let running = Running::start(home.path());
    let row = running.row(id).await;
    assert!(cinema(&row) && moved(&row) && paused(&row), "{row:#?}");
    assert_eq!(running.daemon.settings().await.unwrap().slots, 9);
    running.stop().await;
}

#[tokio::test]
async fn seeding_time_outlives_a_crash() {
    let album = Album::new(&[300_000, 200_000]);
    let home = tempfile::tempdir().unwrap();
    let running = Running::start(home.path());
    let options = AddOptions {
        goals: Some(Goals {
            ratio: None,
            seeding_seconds: Some(3600),
        }),
        ..album.options()
    };
    let id = running.add(&album.metainfo, options).await;
    running.complete(id).await;
    running.stop().await;
    let running = Running::start(home.path());
    // What was noted before this is answered is in the database, too.
    running
        .daemon
        .update(id, TransferPatch::default())
        .await
        .unwrap();
    let crashed = tempfile::tempdir().unwrap();
    for file in fs::read_dir(home.path()).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_name().unwrap().to_owned();
        if name.to_string_lossy().starts_with("state.sqlite") {
            fs::copy(&path, crashed.path().join(name)).unwrap();
        }
    }
    running.stop().await;
    // It ran for an hour before it crashed.
    let alive = fs::File::create(crashed.path().join("alive")).unwrap();
    let hour = Duration::from_secs(3600);
    alive
        .set_modified(std::time::SystemTime::now() + hour)
        .unwrap();
    let running = Running::start(crashed.path());
    let held = |row: &Transfer| row.cause == Some(Cause::SeedingTime);
    running.until(id, "held by its goal", held).await;
    running.stop().await;
}

#[tokio::test]
async fn places_in_the_queue_close_up_and_are_changed_among_those_that_wait() {
    let albums: Vec<Album> = (1..6).map(|n| Album::new(&[100_000 * n, 50_000])).collect();
    let home = tempfile::tempdir().unwrap();
    let running = Running::start(home.path());
    let mut ids = Vec::new();
    for (n, album) in albums.iter().enumerate() {
        let options = AddOptions {
            folder: Some(home.path().join(n.to_string()).to_string_lossy().into()),
            paused: n > 0,
            peers: vec![album.seed.addr().to_string()],
            ..AddOptions::default()
        };
        ids.push(running.add(&album.metainfo, options).await);
    }
    // A seed has no place, and those behind it move up.
    running.complete(ids[0]).await;
    let at = |place| move |row: &Transfer| row.queue_position == place;
    for (place, &id) in [None, Some(0), Some(1), Some(2), Some(3)]
        .into_iter()
        .zip(&ids)
    {
        running.until(id, &format!("at {place:?}"), at(place)).await;
    }
    let patch = TransferPatch {
        queue_position: Some(1),
        ..TransferPatch::default()
    };
    let row = running.daemon.update(ids[4], patch).await.unwrap();
    assert_eq!(row.transfer.queue_position, Some(1));
    running.daemon.forget(ids[1]).await.unwrap();
    for (place, id) in [(0, ids[4]), (1, ids[2]), (2, ids[3])] {
        running
            .until(id, &format!("at {place}"), at(Some(place)))
            .await;
    }
    running.stop().await;
}

#[tokio::test]
async fn reading_the_configuration_again_is_answered_when_it_was_read() {
    let home = tempfile::tempdir().unwrap();
    let running = Running::start(home.path());
    let asked = running.daemon.reload();
    let reader = async {
        let reload = running.daemon.reload_asked().await;
        let read = Settings {
            slots: 7,
            ..Settings::default()
        };
        reload.answer(running.daemon.reconfigure(read));
    };
    let (answer, ()) = tokio::join!(asked, reader);
    assert_eq!(answer, Ok(()));
    assert_eq!(running.daemon.settings().await.unwrap().slots, 7);
    let reader = async {
        let reload = running.daemon.reload_asked().await;
        let mut read = Settings::default();
        read.limits.up = 5;
        reload.answer(running.daemon.reconfigure(read));
    };
    let (answer, ()) = tokio::join!(running.daemon.reload(), reader);
    assert!(answer.unwrap_err().detail.contains("limits.up"));
    assert_eq!(running.daemon.settings().await.unwrap().slots, 7);
    // Whoever waits is not left alone when the daemon stops.
    running.daemon.stop();
    assert!(running.daemon.reload().await.is_err());
    running.stop().await;
}

/// Priorities of an album's files; there is a pad between the two.
fn prioritize(from: u32, priority: u8) -> TransferPatch {
    TransferPatch {
        priorities: Some(vec![api::FilePriority {
            file: from,
            through: Some(2),
            priority,
        }]),
        ..TransferPatch::default()
    }
}

#[tokio::test]
async fn what_is_complete_stays_so_while_nothing_wanted_is_missing() {
    let album = Album::new(&[300_000, 200_000]);
    let home = tempfile::tempdir().unwrap();
    let out = home.path().join("told");
    let told = || fs::read_to_string(&out).unwrap_or_default();
    let settings = Settings {
        on_done: ["/bin/sh", "-c", "echo done >> \"$1\"", "hook"]
            .map(str::to_owned)
            .into_iter()
            .chain([out.to_string_lossy().into()])
            .collect(),
        ..Settings::default()
    };
    let running = Running::with(home.path(), settings.clone());
    let id = running.add(&album.metainfo, album.options()).await;
    let finished_at = running.fetched(id).await.finished_at;
    assert!(finished_at.is_some());
    let row = running.daemon.update(id, prioritize(0, 7)).await.unwrap();
    assert!(row.transfer.complete && row.transfer.finished_at == finished_at);
    // One that is not wanted, and wanted again, was there all the time.
    for priority in [0, 4] {
        let patch = prioritize(1, priority);
        let row = running.daemon.update(id, patch).await.unwrap();
        assert!(row.transfer.complete && row.transfer.finished_at == finished_at);
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let row = running.row(id).await;
    assert!(row.complete && row.finished_at == finished_at, "{row:?}");
    running.stop().await;

    // Asleep, too.
    let running = Running::with(home.path(), settings);
    assert!(running.row(id).await.dormant);
    running.daemon.update(id, prioritize(0, 1)).await.unwrap();
    let row = running.until(id, "awake", |row| !row.dormant).await;
    assert!(row.complete && row.finished_at == finished_at, "{row:?}");
    tokio::time::sleep(Duration::from_millis(500)).await;
    let row = running.row(id).await;
    assert!(row.complete && row.state == State::Seeding, "{row:?}");
    assert_eq!(told(), "done\n");
    running.stop().await;
}

/// A download that has the first of two files, and wants the second; it is paused.
async fn half(home: &Path, album: &Album) -> TransferId {
    let running = Running::start(home);
    let options = AddOptions {
        select: vec!["0.bin".to_owned()],
        ..album.options()
    };
    let id = running.add(&album.metainfo, options).await;
    running.complete(id).await;
    running.daemon.pause(id).await.unwrap();
    running.daemon.update(id, prioritize(0, 4)).await.unwrap();
    let row = running.row(id).await;
    assert!(!row.complete && row.finished_at.is_none(), "{row:?}");
    running.stop().await;
    id
}

fn is_away(row: &Transfer) -> bool {
    row.state == State::Stopped && row.cause == Some(Cause::Missing)
}

#[tokio::test]
async fn a_download_whose_data_is_away_waits_for_it() {
    let album = Album::new(&[300_000, 200_000]);
    let home = tempfile::tempdir().unwrap();
    let (root, away) = (
        home.path().join("downloads/album"),
        home.path().join("away"),
    );
    let id = half(home.path(), &album).await;
    fs::rename(&root, &away).unwrap();

    let running = Running::start(home.path());
    let received = running.until(id, "away", is_away).await.received;
    running.daemon.resume(id).await.unwrap();
    running.until(id, "away", is_away).await;
    // There is nothing to be moved.
    let to = home.path().join("elsewhere");
    let to = Move {
        folder: to.to_string_lossy().into(),
    };
    running.daemon.move_data(id, to).await.unwrap();
    let row = running
        .until(id, "not moved", |row| row.state != State::Checking)
        .await;
    assert!(
        is_away(&row) && row.root == root.to_string_lossy(),
        "{row:?}"
    );
    assert!(!root.exists() && !home.path().join("elsewhere").exists());

    // It goes on by itself, and fetches what it did not have.
    fs::rename(&away, &root).unwrap();
    running
        .until(id, "going on", |row| row.state == State::Downloading)
        .await;
    let addr = vec![album.seed.addr()];
    running.daemon.add_peers(id, addr).await.unwrap();
    let row = running.fetched(id).await;
    assert!(row.received < received + 300_000, "{row:?}");
    album.is_at(&root);
    running.stop().await;
}

#[tokio::test]
async fn data_that_is_gone_for_good_is_fetched_again_when_it_is_checked_or_added_anew() {
    let album = Album::new(&[300_000, 200_000]);
    let home = tempfile::tempdir().unwrap();
    let root = home.path().join("downloads/album");
    let id = half(home.path(), &album).await;
    fs::remove_dir_all(&root).unwrap();

    let running = Running::start(home.path());
    running.until(id, "away", is_away).await;
    running.daemon.resume(id).await.unwrap();
    running.daemon.recheck(id).await.unwrap();
    let addr = vec![album.seed.addr()];
    running.daemon.add_peers(id, addr).await.unwrap();
    running.complete(id).await;
    album.is_at(&root);
    running.stop().await;

    // A record of what somebody deleted keeps nobody from getting it again.
    let records = home.path().join("resume");
    let record = fs::read_dir(&records).unwrap().next().unwrap().unwrap();
    let bytes = fs::read(record.path()).unwrap();
    let running = Running::start(home.path());
    running.daemon.delete(id).await.unwrap();
    fs::write(record.path(), bytes).unwrap();
    let id = running.add(&album.metainfo, album.options()).await;
    running.complete(id).await;
    album.is_at(&root);
    running.stop().await;
}
