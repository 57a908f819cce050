//! A store with nothing to do does not wake up; measured in a process of its own.

use std::{fs, sync::mpsc::channel, time::Duration};

use store::{Config, Done, Placement, Slot, Store, TorrentId};
use torrent::{
    author::{Hashes, Options, Plan, Source},
    layout::{BLOCK, Kind},
};

/// How often each of the store's threads has gone to sleep so far.
fn naps() -> Vec<(String, u64)> {
    let mut naps = Vec::new();
    for task in fs::read_dir("/proc/self/task")
        .expect("Linux lists threads here")
        .flatten()
    {
        let status = fs::read_to_string(task.path().join("status")).unwrap_or_default();
        let field = |name| {
            status
                .lines()
                .find_map(|line: &str| line.strip_prefix(name))
                .unwrap_or_default()
                .trim()
        };
        if field("Name:").starts_with("store-") {
            naps.push((
                field("Name:").to_owned(),
                field("voluntary_ctxt_switches:")
                    .parse()
                    .unwrap_or_default(),
            ));
        }
    }
    naps.sort();
    naps
}

#[cfg(target_os = "linux")]
#[test]
fn an_idle_store_sleeps_and_a_lone_block_is_written_soon() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("a");
    let source = Source {
        path: "a".into(),
        len: 3 * u64::from(BLOCK),
        ..Source::default()
    };
    let plan = Plan::single(Kind::V1, 2 * BLOCK, &source).unwrap();
    let hashes = Hashes {
        pieces: vec![[0; 20]; 2],
        files: Vec::new(),
    };
    let info = plan.finish(&hashes, &Options::default()).unwrap().info;
    let (send, facts) = channel();
    let store = Store::new(
        Config::default(),
        Box::new(move |done| drop(send.send(done))),
    )
    .unwrap();
    store.add(TorrentId(1), info, Placement::at(&root)).unwrap();

    // Half a piece is not worth a wake-up at once, but it does not wait for the other half.
    let block = Slot::detached(&[7; BLOCK as usize]);
    store.write(TorrentId(1), 0, 0, block);
    let part = folder.path().join("a.part");
    for _ in 0..100 {
        std::thread::sleep(Duration::from_millis(20));
        if part.exists() {
            break;
        }
    }
    assert_eq!(fs::read(&part).unwrap(), [7; BLOCK as usize]);
    store.write(TorrentId(1), 0, BLOCK, Slot::detached(&[7; BLOCK as usize]));
    assert!(matches!(
        facts.recv_timeout(Duration::from_secs(10)),
        Ok(Done::PieceHashed { .. })
    ));
    store.verified(TorrentId(1), 0);
    store.flush(TorrentId(1));
    assert!(matches!(
        facts.recv_timeout(Duration::from_secs(10)),
        Ok(Done::Flushed { ok: true, .. })
    ));

    // The batch that was due in 5 s has nothing left to do; after it there is silence.
    std::thread::sleep(Duration::from_millis(5500));
    let before = naps();
    assert!(before.len() >= 3, "{before:?}");
    std::thread::sleep(Duration::from_millis(1000));
    assert_eq!(naps(), before);
}
