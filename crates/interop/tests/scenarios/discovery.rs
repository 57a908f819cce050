//! Finding each other without a tracker and without being told: DHT, LAN, other peers.

use crate::SOON;
use interop::{Kind, Role, Scenario};

#[test]
fn three_of_our_nodes_are_dht_enough() {
    let s = Scenario::new();
    let (film, other) = (s.file("film.mkv", 3_000_000), s.file("other.bin", 100_000));
    let torrent = s.torrent_without_tracker(&film, Kind::Hybrid);
    let first = s
        .starling()
        .with_dht(&[])
        .seeds(&s.torrent_without_tracker(&other, Kind::V1));
    let _seed = s.starling().with_dht(&[&first]).seeds(&torrent);
    s.starling()
        .with_dht(&[&first])
        .start(Role::get(&torrent.magnet))
        .receives(&film, SOON);
}

#[test]
fn starling_finds_a_seed_through_libtorrents_dht() {
    let s = Scenario::new();
    let (film, other) = (s.file("film.mkv", 3_000_000), s.file("other.bin", 100_000));
    let torrent = s.torrent_without_tracker(&film, Kind::V2);
    let node = s
        .libtorrent()
        .with_dht(&[])
        .seeds(&s.torrent_without_tracker(&other, Kind::V1));
    let _seed = s.libtorrent().with_dht(&[&node]).seeds(&torrent);
    s.starling()
        .with_dht(&[&node])
        .start(Role::get(&torrent.magnet))
        .receives(&film, SOON);
}

#[test]
fn libtorrent_finds_starling_through_starlings_dht() {
    let s = Scenario::new();
    let (film, other) = (s.file("film.mkv", 3_000_000), s.file("other.bin", 100_000));
    let torrent = s.torrent_without_tracker(&film, Kind::V1);
    let node = s
        .starling()
        .with_dht(&[])
        .seeds(&s.torrent_without_tracker(&other, Kind::V1));
    let _seed = s.starling().with_dht(&[&node]).seeds(&torrent);
    s.libtorrent()
        .with_dht(&[&node])
        .start(Role::get(&torrent.magnet))
        .receives(&film, SOON);
}

#[test]
fn transmission_finds_starling_through_starlings_dht() {
    let s = Scenario::new();
    let (film, other) = (s.file("film.mkv", 3_000_000), s.file("other.bin", 100_000));
    let torrent = s.torrent_without_tracker(&film, Kind::V1);
    let node = s
        .starling()
        .with_dht(&[])
        .seeds(&s.torrent_without_tracker(&other, Kind::V1));
    let _seed = s.starling().with_dht(&[&node]).seeds(&torrent);
    s.transmission_with_dht(&node, Role::get(&torrent.magnet))
        .receives(&film, crate::PATIENT);
}

#[test]
fn starling_finds_transmission_through_the_dht() {
    let s = Scenario::new();
    let (film, other) = (s.file("film.mkv", 3_000_000), s.file("other.bin", 100_000));
    let torrent = s.torrent_without_tracker(&film, Kind::V1);
    let node = s
        .starling()
        .with_dht(&[])
        .seeds(&s.torrent_without_tracker(&other, Kind::V1));
    let _seed = s.transmission_with_dht(&node, Role::Seed(torrent.clone()));
    s.starling()
        .with_dht(&[&node])
        .start(Role::get(&torrent.magnet))
        .receives(&film, crate::PATIENT);
}

#[test]
fn starling_finds_libtorrent_on_the_lan() {
    let s = Scenario::new();
    s.lan();
    let film = s.file("film.mkv", 3_000_000);
    let torrent = s.torrent_without_tracker(&film, Kind::Hybrid);
    let _seed = s.libtorrent().on_lan().arg("--lsd").seeds(&torrent);
    s.starling()
        .on_lan()
        .start(Role::get(&torrent))
        .receives(&film, SOON);
}

#[test]
fn libtorrent_finds_starling_on_the_lan() {
    let s = Scenario::new();
    s.lan();
    let film = s.file("film.mkv", 3_000_000);
    let torrent = s.torrent_without_tracker(&film, Kind::V1);
    let _seed = s.starling().on_lan().seeds(&torrent);
    s.libtorrent()
        .on_lan()
        .arg("--lsd")
        .start(Role::get(&torrent))
        .receives(&film, SOON);
}

#[test]
fn peers_tell_each_other_of_peers() {
    let s = Scenario::new();
    // Each knows only the one in the middle, which has nothing yet and is slow to get it.
    let film = s.file("film.mkv", 12_000_000);
    let torrent = s.torrent_without_tracker(&film, Kind::Hybrid);
    let seed = s.libtorrent().limit_up(1_000_000).seeds(&torrent);
    let middle = s
        .libtorrent()
        .knows(&seed)
        .arg("--limit-up")
        .arg(10_000)
        .start(Role::get_and_stay(&torrent));
    let mut us = s.starling().knows(&middle).start(Role::get(&torrent));
    us.receives(&film, crate::PATIENT);
}
