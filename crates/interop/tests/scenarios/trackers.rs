//! Finding each other through trackers, and telling them the truth.

use crate::SOON;
use interop::{Kind, Role, Scenario};
use std::time::Duration;

#[test]
fn an_http_tracker_introduces_starling_and_libtorrent() {
    let s = Scenario::new();
    let film = s.file("film.mkv", 3_000_000);
    let torrent = s.torrent(&film, Kind::Hybrid);
    let _seed = s.libtorrent().seeds(&torrent);
    s.starling()
        .start(Role::get(&torrent))
        .receives(&film, SOON);
}

#[test]
fn a_udp_tracker_introduces_starling_and_libtorrent() {
    let s = Scenario::new();
    let film = s.file("film.mkv", 3_000_000);
    let torrent = s.torrent_with(&film, Kind::Hybrid, 65536, &[&s.tracker().udp_url()]);
    let _seed = s.libtorrent().seeds(&torrent);
    let mut us = s.starling().start(Role::get(&torrent));
    us.receives(&film, SOON);
    assert!(
        s.tracker()
            .heard_from(us.addr)
            .iter()
            .all(|a| a.by == "udp")
    );
}

#[test]
fn a_udp_tracker_brings_libtorrent_to_starling() {
    let s = Scenario::new();
    let film = s.file("film.mkv", 3_000_000);
    let torrent = s.torrent_with(&film, Kind::V2, 65536, &[&s.tracker().udp_url()]);
    let seed = s.starling().seeds(&torrent);
    s.tracker().wait_for(seed.addr, "started", SOON);
    s.libtorrent()
        .start(Role::get(&torrent))
        .receives(&film, SOON);
}

#[test]
fn the_second_tracker_is_asked_when_the_first_is_down() {
    let s = Scenario::new();
    let film = s.file("film.mkv", 3_000_000);
    let nobody = [
        "http://10.77.0.19:1/announce",
        "udp://10.77.0.19:1/announce",
    ];
    for dead in nobody {
        let torrent = s.torrent_with(&film, Kind::V1, 65536, &[dead, &s.tracker().http_url()]);
        let _seed = s
            .libtorrent()
            .arg("--set")
            .arg("announce_to_all_trackers=true")
            .seeds(&torrent);
        s.starling()
            .start(Role::get(&torrent))
            .receives(&film, SOON);
    }
}

#[test]
fn a_tracker_hears_started_completed_and_stopped() {
    let s = Scenario::new();
    let film = s.file("film.mkv", 3_000_000);
    let torrent = s.torrent(&film, Kind::V1);
    let _seed = s.libtorrent().seeds(&torrent);
    let mut us = s.starling().start(Role::get_and_stay(&torrent));
    us.receives(&film, SOON);
    assert_eq!(
        s.tracker().wait_for(us.addr, "started", SOON).left,
        3_000_000
    );
    assert_eq!(s.tracker().wait_for(us.addr, "completed", SOON).left, 0);
    us.child.interrupt();
    us.child.exit_code(SOON);
    s.tracker()
        .wait_for(us.addr, "stopped", Duration::from_secs(5));
}
