//! Disks that are full.

use crate::SOON;
use interop::{Kind, MIB, Role, Scenario};
use std::fs::File;
use std::io::Write;

/// Bytes a second that the seed gives, so that the disk can be filled meanwhile.
const RATE: u64 = 8 * MIB;

#[test]
fn a_disk_that_fills_up_half_way_pauses_the_download_until_there_is_room() {
    let s = Scenario::new();
    let film = s.file("film.mkv", 32 * MIB);
    let torrent = s.torrent_without_tracker(&film, Kind::Hybrid);
    let seed = s.libtorrent().limit_up(RATE).seeds(&torrent);
    let mut us = s.starling().knows(&seed);
    let disk = s.small_disk_for(&us, 48 * MIB);
    let mut run = us.start(Role::get(&torrent));
    run.child.wait("some of it", SOON, |run| {
        let done = run.said("progress")?["done"].as_u64()?;
        (done > 8 * MIB).then_some(())
    });

    let ballast = disk.join("somebody else's file");
    let mut file = File::create(&ballast).expect("there is room for a name");
    while file.write_all(&[0; 65536]).is_ok() {}
    let paused = run.child.wait("it pauses", SOON, |run| {
        run.said("progress").filter(|p| p["state"] == "paused")
    });
    assert!(paused["done"].as_u64() < Some(film.len()));
    let why = run.child.said("paused").expect("it says why it pauses");
    assert_eq!(why["code"], "no-space", "{why}");
    assert!(run.child.ended().is_none(), "it waits for room");

    drop(file); // a file that is open keeps its room
    std::fs::remove_file(ballast).expect("it is ours");
    run.receives(&film, SOON);
}

#[test]
fn what_can_never_fit_is_refused_at_once() {
    let s = Scenario::new();
    let film = s.file("film.mkv", 32 * MIB);
    let torrent = s.torrent_without_tracker(&film, Kind::Hybrid);
    let seed = s.libtorrent().seeds(&torrent);
    let mut us = s.starling().knows(&seed);
    s.small_disk_for(&us, 8 * MIB);
    let mut run = us.start(Role::get(&torrent));
    assert_eq!(run.child.exit_code(SOON), 7);
    assert_eq!(
        run.child.said("error").expect("it says why")["code"],
        "no-space"
    );
}
