//! What thousands of complete transfers cost that nobody uses. A file of its own: memory is that of the process.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::path::Path;
use std::time::{Duration, Instant};

use api::{Query, Service, Settings};
use node::daemon::{self, Daemon};

const TRANSFERS: u32 = 10_000;
/// Bytes of memory that one may cost.
const EACH: u64 = 2048;

fn start(home: &Path) -> (Daemon, tokio::task::JoinHandle<()>) {
    let config = daemon::Config {
        node: node::Config {
            bind: Some([127, 0, 0, 1].into()),
            port: Some(0),
            dht: false,
            local_discovery: false,
            ..node::Config::new(home.to_owned())
        },
        settings: Settings::default(),
        downloads: home.join("downloads"),
        api: Vec::new(),
        content: None,
    };
    let (daemon, worker) = Daemon::start(config).unwrap();
    (daemon, tokio::spawn(worker.run()))
}

fn number(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn wake_ups() -> u64 {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let of = |task: std::path::PathBuf| {
        let status = std::fs::read_to_string(task.join("status")).unwrap_or_default();
        let line = status.lines().find(|line| line.starts_with("voluntary"));
        line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok())
            .unwrap_or(0)
    };
    tasks.map(|task| of(task.unwrap().path())).sum()
}

#[tokio::test]
async fn ten_thousand_idle_seeds_cost_little_and_wake_nobody() {
    let home = tempfile::tempdir().unwrap();
    let (daemon, worker) = start(home.path());
    daemon.stop();
    worker.await.unwrap();
    let mut database = rusqlite::Connection::open(home.path().join("state.sqlite")).unwrap();
    let all = database.transaction().unwrap();
    for n in 1..=TRANSFERS {
        let mut hash = [0; 20];
        hash[..4].copy_from_slice(&n.to_be_bytes());
        let name = format!("an album with a name of usual length {n}");
        all.execute(
            "INSERT INTO transfer (id, name, file_name, v1, folder, exact, read_only, paused, sequential, preallocate,
             priorities, chosen, limit_down, limit_up, own_goals, tags, trackers, position, added, finished,
             seeding_from, size, wanted, files, pieces, private, done, received, sent, wasted, seeded_seconds)
             VALUES (?1, ?2, ?2, ?3, ?4, 0, 1, 0, 0, 0,
             x'', '', 0, 0, 0, '', '', ?1, 1700000000, 1700000100,
             1700000100, 16384, 16384, 1, 1, 0, 16384, 0, 0, 0, 0)",
            rusqlite::params![n, name, hash, b"/home/alice/Music/from friends".as_slice()],
        )
        .unwrap();
    }
    all.commit().unwrap();
    drop(database);

    let before = number("VmRSS:");
    let began = Instant::now();
    let (daemon, worker) = start(home.path());
    let page = daemon.list(Query::default()).await.unwrap();
    let took = began.elapsed();
    assert_eq!(page.total, TRANSFERS);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let cost = (number("VmRSS:") - before) * 1024 / u64::from(TRANSFERS);
    let woken = wake_ups();
    tokio::time::sleep(Duration::from_secs(5)).await;
    let woken = wake_ups() - woken;
    println!("{took:?} to answer, {cost} bytes each, {woken} wake-ups in 5 s");
    assert!(cost <= EACH, "{cost} bytes each");
    // This test's own sleep is one of them.
    assert!(woken <= 5, "{woken} wake-ups");
    daemon.stop();
    worker.await.unwrap();
}
