//! Stopping in the middle, in a good way and in a bad way, and going on.

use crate::SOON;
use interop::{Child, Kind, MIB, Role, Scenario};

/// Bytes a second that the seed gives: slow enough to be stopped at a chosen point.
const RATE: u64 = 6 * MIB;

/// What one kill may cost: blocks that had arrived for pieces that were not whole yet, and
/// those on their way, in bytes. Whole pieces are on disk. What came after the last resume
/// record is hashed again, not fetched again.
const IN_FLIGHT: u64 = 4 * MIB;

const KILLS: u64 = 10;

struct Progress {
    done: u64,
    fetched: u64,
}

/// The last progress of a run that is past looking at what is there.
fn progress(run: &mut Child) -> Option<Progress> {
    let line = run.said("progress")?;
    let state = line["state"].as_str().expect("progress has a state");
    let number = |key: &str| line[key].as_u64().expect("progress counts bytes");
    ["downloading", "seeding"]
        .contains(&state)
        .then(|| Progress {
            done: number("done"),
            fetched: number("fetched"),
        })
}

#[test]
fn ten_kills_cost_no_piece_that_was_whole() {
    let s = Scenario::new();
    let film = s.file("film.mkv", 66 * MIB);
    let torrent = s.torrent_without_tracker(&film, Kind::Hybrid);
    let mut seed = s.libtorrent().limit_up(RATE).seeds(&torrent);
    let mut us = s.starling().knows(&seed);
    let (mut before, mut fetched) = (0, 0);
    for kill in 1..=KILLS {
        let mut run = us.start(Role::get(&torrent)).child;
        let start = run.wait("it goes on", SOON, progress);
        assert!(
            start.done + IN_FLIGHT >= before,
            "kill {kill}: {before} bytes were there, {} still are",
            start.done
        );
        let mark = film.len() * kill / (KILLS + 1);
        run.wait("it gets further", SOON, |run| {
            progress(run).filter(|p| p.done >= mark)
        });
        run.kill();
        let end = progress(&mut run).expect("there was progress");
        (before, fetched) = (end.done, fetched + end.fetched);
    }
    let mut run = us.start(Role::get(&torrent));
    run.receives(&film, SOON);
    run.child.exit_code(SOON);
    fetched += run
        .child
        .said("progress")
        .and_then(|p| p["fetched"].as_u64())
        .expect("there was progress");
    let most = film.len() + KILLS * IN_FLIGHT;
    assert!(
        fetched <= most,
        "{fetched} bytes were fetched, at most {most} were needed"
    );
    let sent = seed
        .child
        .said("progress")
        .and_then(|p| p["up"].as_u64())
        .expect("the seed counts too");
    assert!(
        sent <= most,
        "the seed sent {sent} bytes, at most {most} were needed"
    );
}

#[test]
fn what_was_fetched_before_ctrl_c_is_not_fetched_again() {
    let s = Scenario::new();
    let film = s.file("film.mkv", 24 * MIB);
    let torrent = s.torrent_without_tracker(&film, Kind::V2);
    let mut seed = s.libtorrent().limit_up(RATE).seeds(&torrent);
    let mut us = s.starling().knows(&seed);
    let mut run = us.start(Role::get(&torrent)).child;
    run.wait("half of it", SOON, |run| {
        progress(run).filter(|p| p.done >= film.len() / 2)
    });
    run.interrupt();
    assert_eq!(run.exit_code(SOON), 130);
    let mut run = us.start(Role::get(&torrent));
    run.receives(&film, SOON);
    let sent = seed
        .child
        .said("progress")
        .and_then(|p| p["up"].as_u64())
        .expect("the seed counts");
    assert!(
        sent <= film.len() + IN_FLIGHT,
        "the seed sent {sent} bytes of {}",
        film.len()
    );
}

#[test]
fn files_that_are_there_already_are_adopted_after_a_check() {
    let s = Scenario::new();
    let album = s.album();
    let torrent = s.torrent_without_tracker(&album, Kind::Hybrid);
    let mut seed = s.libtorrent().seeds(&torrent);
    let mut us = s.starling().knows(&seed);
    let there = us.folder().join(album.name());
    std::fs::create_dir_all(&there).expect("the folder is ours");
    for name in ["01 First.flac", "cover.jpg"] {
        std::fs::copy(album.path.join(name), there.join(name)).expect("the album has it");
    }
    us.start(Role::get(&torrent)).receives(&album, SOON);
    let sent = seed.child.wait("the seed counts", SOON, |seed| {
        seed.said("progress")?["up"].as_u64().filter(|&up| up > 0)
    });
    assert!(
        sent < album.len() - 4_500_000,
        "the seed sent {sent} bytes, although 5 MB were there"
    );
}
