//! Finding each other without a tracker and without being told: DHT, LAN, other peers.

use crate::values::dht_node;
use crate::{PATIENT, SOON};
use interop::{Kind, Role, Scenario};
use std::net::SocketAddrV4;

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

/// A DHT large enough for transmission to believe in it: its nodes, and where they are.
fn dht(s: &Scenario) -> (Vec<node::Node>, Vec<SocketAddrV4>) {
    let seats: Vec<_> = (0..12).map(|_| s.seat()).collect();
    let entry = seats[0].addr;
    let nodes = seats.iter().map(|seat| dht_node(seat, entry)).collect();
    (nodes, seats.iter().map(|seat| seat.addr).collect())
}

#[test]
fn transmission_finds_starling_through_starlings_dht() {
    let s = Scenario::new();
    let film = s.file("film.mkv", 3_000_000);
    let torrent = s.torrent_without_tracker(&film, Kind::V1);
    let (_nodes, addrs) = dht(&s);
    let _seed = s.starling().enters_by(addrs[0]).seeds(&torrent);
    s.transmission_with_dht(&addrs, Role::get(&torrent.magnet))
        .receives(&film, PATIENT);
}

#[test]
fn starling_finds_transmission_through_the_dht() {
    let s = Scenario::new();
    let film = s.file("film.mkv", 3_000_000);
    let torrent = s.torrent_without_tracker(&film, Kind::V1);
    let (_nodes, addrs) = dht(&s);
    let _seed = s.transmission_with_dht(&addrs, Role::Seed(torrent.clone()));
    s.starling()
        .enters_by(addrs[0])
        .start(Role::get(&torrent.magnet))
        .receives(&film, PATIENT);
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
    us.receives(&film, PATIENT);
}

#[test]
fn we_tell_peers_of_peers() {
    let s = Scenario::new();
    // Each knows us alone. What we fetch in the time is a small part of it.
    let film = s.file("film.mkv", 12_000_000);
    let torrent = s.torrent_without_tracker(&film, Kind::Hybrid);
    let seed = s.libtorrent().limit_up(1_000_000).seeds(&torrent);
    let mut middle = s
        .starling()
        .knows(&seed)
        .arg("--limit-down")
        .arg("10KiB")
        .start(Role::get_and_stay(&torrent));
    let mut them = s.libtorrent().knows(&middle).start(Role::get(&torrent));
    them.receives(&film, PATIENT);
    assert!(!middle.is_complete(), "it came from the seed");
}
