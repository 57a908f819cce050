//! Files that change while they are seeded.

use crate::SOON;
use interop::{Kind, MIB, Role, Scenario, Torrent};
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;

/// Seeds, changes the file, and lets libtorrent ask for it: what is wrong must not be served in
/// silence, and one bad file must not end the process.
fn is_noticed(change: impl Fn(&Torrent)) {
    let s = Scenario::new();
    let film = s.file("film.mkv", 4 * MIB);
    let torrent = s.torrent_without_tracker(&film, Kind::Hybrid);
    let mut seed = s.starling().seeds(&torrent);
    change(&torrent);
    let mut them = s.libtorrent().knows(&seed).start(Role::get(&torrent));
    let paused = seed.child.wait_for("paused", SOON);
    let message = paused["message"].as_str().expect("it says why");
    assert!(
        message.contains(film.name()),
        "it names the file: {message}"
    );
    assert!(
        them.child.said("done").is_none(),
        "libtorrent cannot have got it all"
    );
    assert!(seed.child.ended().is_none(), "the process goes on");
}

#[test]
fn a_piece_that_is_overwritten_while_seeded_is_noticed() {
    is_noticed(|torrent| {
        let file = OpenOptions::new()
            .write(true)
            .open(&torrent.content.path)
            .expect("it is there");
        file.write_all_at(&[0; 100_000], 2 * MIB)
            .expect("it can be written");
    });
}

#[test]
fn a_file_that_is_cut_short_while_seeded_is_noticed() {
    is_noticed(|torrent| {
        let file = OpenOptions::new()
            .write(true)
            .open(&torrent.content.path)
            .expect("it is there");
        file.set_len(MIB).expect("it can be cut");
    });
}

#[test]
fn a_file_that_is_deleted_while_seeded_ends_nothing() {
    let s = Scenario::new();
    let film = s.file("film.mkv", 4 * MIB);
    let torrent = s.torrent_without_tracker(&film, Kind::Hybrid);
    let mut seed = s.starling().seeds(&torrent);
    std::fs::remove_file(&film.path).expect("it is there");
    let mut them = s.libtorrent().knows(&seed).start(Role::get(&torrent));
    // An open file can still be read, and that is fine; one that is not open is missed.
    seed.child.wait("it serves or pauses", SOON, |seed| {
        let served = them.child.said("done").is_some();
        (served || seed.said("paused").is_some()).then_some(())
    });
    assert!(seed.child.ended().is_none(), "the process goes on");
}
