//! Peers that speak uTP and nothing else, both ways.

use crate::{PATIENT, SOON};
use interop::{Kind, Role, Scenario};

#[test]
fn starling_fetches_from_libtorrent_over_utp() {
    let s = Scenario::new();
    let album = s.album();
    let torrent = s.torrent_without_tracker(&album, Kind::Hybrid);
    let seed = s.libtorrent().arg("--utp").seeds(&torrent);
    s.starling().fetches(&torrent, &seed, SOON);
}

#[test]
fn libtorrent_fetches_from_starling_over_utp() {
    let s = Scenario::new();
    let album = s.album();
    let torrent = s.torrent_without_tracker(&album, Kind::V2);
    let seed = s.starling().seeds(&torrent);
    s.libtorrent().arg("--utp").fetches(&torrent, &seed, SOON);
}

#[test]
fn transmission_fetches_from_starling_over_utp() {
    let s = Scenario::new();
    let album = s.album();
    let torrent = s.torrent(&album, Kind::V1);
    let seed = s.starling().seeds(&torrent);
    s.tracker().wait_for(seed.addr, "started", SOON);
    s.transmission_over_utp(Role::get(&torrent))
        .receives(&album, PATIENT);
}

#[test]
fn starling_fetches_from_transmission_over_utp() {
    let s = Scenario::new();
    let film = s.file("Film.mkv", 9_000_001);
    let torrent = s.torrent(&film, Kind::V1);
    let seed = s.transmission_over_utp(Role::Seed(torrent.clone()));
    s.starling().fetches(&torrent, &seed, PATIENT);
}

#[test]
fn starling_reaches_starling_where_tcp_does_not_get_through() {
    let s = Scenario::new();
    let album = s.album();
    let torrent = s.torrent_without_tracker(&album, Kind::Hybrid);
    let seed = s.starling().seeds(&torrent);
    s.drops_tcp_to(seed.addr);
    s.starling().fetches(&torrent, &seed, SOON);
}

#[test]
fn without_utp_a_peer_that_has_nothing_else_is_not_reached() {
    let s = Scenario::new();
    let album = s.album();
    let torrent = s.torrent_without_tracker(&album, Kind::V1);
    let seed = s.libtorrent().arg("--utp").seeds(&torrent);
    let mut apart = s
        .starling()
        .arg("--no-utp")
        .knows(&seed)
        .start(Role::get(&torrent));
    s.starling().fetches(&torrent, &seed, SOON);
    assert!(!apart.is_complete());
}
