//! The other clients among themselves. When one of these fails, the harness or the machine is
//! at fault, and nothing can be said about Starling.

use crate::{PATIENT, SOON};
use interop::{Kind, Role, Scenario};

#[test]
fn libtorrent_fetches_every_kind_from_libtorrent() {
    for kind in [Kind::V1, Kind::Hybrid, Kind::V2] {
        let s = Scenario::new();
        let album = s.album();
        let torrent = s.torrent_without_tracker(&album, kind);
        let seed = s.libtorrent().seeds(&torrent);
        s.libtorrent()
            .knows(&seed)
            .start(Role::get(&torrent))
            .receives(&album, SOON);
    }
}

#[test]
fn aria2_and_libtorrent_exchange_a_hybrid_torrent() {
    let s = Scenario::new();
    let album = s.album();
    let torrent = s.torrent(&album, Kind::Hybrid);
    let seed = s.libtorrent().seeds(&torrent);
    s.tracker().wait_for(seed.addr, "started", SOON);
    s.aria2(Role::get(&torrent)).receives(&album, SOON);
}

#[test]
fn libtorrent_fetches_from_aria2() {
    let s = Scenario::new();
    let album = s.album();
    let torrent = s.torrent(&album, Kind::V1);
    let _seed = s.aria2(Role::Seed(torrent.clone()));
    s.libtorrent()
        .start(Role::get(&torrent))
        .receives(&album, SOON);
}

#[test]
fn transmission_fetches_from_libtorrent_through_the_tracker() {
    let s = Scenario::new();
    let album = s.album();
    let torrent = s.torrent(&album, Kind::Hybrid);
    let seed = s.libtorrent().seeds(&torrent);
    s.tracker().wait_for(seed.addr, "started", SOON);
    s.transmission(Role::get(&torrent))
        .receives(&album, PATIENT);
    assert_eq!(s.tracker().heard_from(seed.addr)[0].by, "http");
}

#[test]
fn libtorrent_fetches_from_transmission() {
    let s = Scenario::new();
    let album = s.album();
    let torrent = s.torrent(&album, Kind::V1);
    let _seed = s.transmission(Role::Seed(torrent.clone()));
    s.libtorrent()
        .start(Role::get(&torrent))
        .receives(&album, PATIENT);
}

#[test]
fn the_udp_tracker_introduces_peers() {
    let s = Scenario::new();
    let film = s.file("film.mkv", 3_000_000);
    let torrent = s.torrent_with(&film, Kind::V1, 65536, &[&s.tracker().udp_url()]);
    let seed = s.libtorrent().seeds(&torrent);
    s.tracker().wait_for(seed.addr, "started", SOON);
    s.libtorrent()
        .start(Role::get(&torrent))
        .receives(&film, SOON);
}

#[test]
fn a_magnet_link_is_enough_for_aria2() {
    let s = Scenario::new();
    let film = s.file("film.mkv", 3_000_000);
    let torrent = s.torrent(&film, Kind::V1);
    let seed = s.libtorrent().seeds(&torrent);
    s.tracker().wait_for(seed.addr, "started", SOON);
    let magnet = format!("{}&tr={}", torrent.magnet, s.tracker().http_url());
    s.aria2(Role::get(&magnet)).receives(&film, SOON);
}

#[test]
fn the_dht_finds_a_seed() {
    let s = Scenario::new();
    let film = s.file("film.mkv", 3_000_000);
    let torrent = s.torrent_without_tracker(&film, Kind::Hybrid);
    let other = s.torrent_without_tracker(&s.file("other.bin", 100_000), Kind::V1);
    let router = s.libtorrent().with_dht(&[]).seeds(&other);
    let _seed = s.libtorrent().with_dht(&[&router]).seeds(&torrent);
    s.libtorrent()
        .with_dht(&[&router])
        .start(Role::get(&torrent.magnet))
        .receives(&film, SOON);
}

#[test]
fn multicast_works_on_the_lan() {
    let s = Scenario::new();
    s.lan();
    let film = s.file("film.mkv", 3_000_000);
    let torrent = s.torrent_without_tracker(&film, Kind::V1);
    let _seed = s.libtorrent().on_lan().arg("--lsd").seeds(&torrent);
    s.libtorrent()
        .on_lan()
        .arg("--lsd")
        .start(Role::get(&torrent))
        .receives(&film, SOON);
}
