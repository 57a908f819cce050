//! What a store costs in memory, measured in a process of its own.

use std::{fs, sync::mpsc::channel};

use store::{Config, Done, Placement, Store, TorrentId, resume};
use torrent::{
    author::{Hashes, Options, Plan, Source},
    layout::Kind,
};

/// Resident bytes of this process, now or at most (`VmRSS`, `VmHWM`).
fn resident(which: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(which))
        .unwrap_or_default();
    let number = line
        .trim_start_matches(':')
        .split_whitespace()
        .next()
        .unwrap_or_default();
    number
        .parse::<u64>()
        .expect("Linux says how much memory a process has")
        * 1024
}

#[cfg(target_os = "linux")]
#[test]
fn a_hundred_thousand_files_cost_less_than_thirty_megabytes() {
    const FILES: usize = 100_000;
    let folder = tempfile::tempdir().unwrap();
    let info = {
        let source = |i| Source {
            path: format!("{}/{i:06}", i / 1000),
            len: 100_000,
            ..Source::default()
        };
        let sources: Vec<Source> = (0..FILES).map(source).collect();
        let plan = Plan::folder(Kind::V1, "many", 1 << 20, &sources).unwrap();
        let hashes = Hashes {
            pieces: vec![[0; 20]; plan.layout().pieces() as usize],
            files: Vec::new(),
        };
        plan.finish(&hashes, &Options::default()).unwrap().info
    };
    // What making the torrent took goes back to the system as far as it will.
    let (before, peak_before) = (resident("VmRSS"), resident("VmHWM"));
    let (send, facts) = channel();
    let store = Store::new(
        Config::default(),
        Box::new(move |done| drop(send.send(done))),
    )
    .unwrap();
    let record = folder.path().join("record");
    let place = Placement {
        record: Some(record.clone()),
        ..Placement::at(folder.path().join("many"))
    };
    store
        .add(TorrentId(1), info.clone(), place.clone())
        .unwrap();
    store.flush(TorrentId(1));
    while !matches!(facts.recv().unwrap(), Done::Flushed { ok: true, .. }) {}
    let resume = resume::load(&record, &info, &place);
    assert!(resume.have.none() && resume.note.is_none());
    drop(resume);
    let grown = resident("VmRSS")
        .saturating_sub(before)
        .max(resident("VmHWM").saturating_sub(peak_before));
    assert!(grown < 30_000_000, "{grown} bytes for {FILES} files");
    println!("{grown} bytes for {FILES} files");
}
