//! Many torrents in one process.

use crate::PATIENT;
use interop::{Content, Kind, Scenario};

const SEEDS: usize = 1000;
const GETS: usize = 20;

/// How many of the seeds somebody asks for.
const ASKED_FOR: usize = 50;

/// Resident memory with everything running, in bytes.
const MEMORY: u64 = 256 << 20;

#[test]
fn a_thousand_seeds_and_twenty_downloads_run_in_one_process() {
    let s = Scenario::new();
    let names: Vec<String> = (0..SEEDS + GETS).map(|i| format!("{i:04}.bin")).collect();
    let len = |i: usize| {
        if i < SEEDS {
            20_000 + i as u64
        } else {
            1 << 20
        }
    };
    let files: Vec<(&str, u64)> = names
        .iter()
        .enumerate()
        .map(|(i, name)| (name.as_str(), len(i)))
        .collect();
    let library = s.folder("library", &files);
    let torrents = s.torrents_of_each(&library, Kind::Hybrid);
    let (ours, theirs) = torrents.split_at(SEEDS);
    let _seed = s.libtorrent().seeds_all(theirs);

    let mut us = s.starling().arg("--seed");
    std::fs::create_dir_all(us.folder()).expect("the folder is ours");
    for torrent in ours {
        let name = torrent.content.name();
        std::fs::copy(&torrent.content.path, us.folder().join(name)).expect("the library has it");
    }
    let sources: Vec<&str> = torrents
        .iter()
        .map(|t| t.path.to_str().expect("our own names"))
        .collect();
    let mut run = us.gets(&sources);
    run.child.wait("all are complete", PATIENT, |run| {
        let done = run.events().iter().filter(|e| e["event"] == "done").count();
        (done == SEEDS + GETS).then_some(())
    });
    let got = Content { path: us.folder() };
    for torrent in &torrents {
        torrent.content.assert_in(&got.path);
    }

    let wanted: Vec<_> = ours.iter().step_by(SEEDS / ASKED_FOR).cloned().collect();
    let mut them = s.libtorrent().knows(&run).gets_all(&wanted);
    them.completes(PATIENT);
    for torrent in &wanted {
        torrent.content.assert_in(&them.folder);
    }
    let peak = run.child.peak_memory().expect("it still runs");
    assert!(
        peak <= MEMORY,
        "{} MiB of memory for {} torrents",
        peak >> 20,
        SEEDS + GETS
    );
}
