//! Magnet links: metadata from peers (BEP 9), in both directions.

use crate::SOON;
use interop::{Kind, Role, Scenario};

macro_rules! magnets {
    ($($name:ident: $exchange:ident($kind:ident);)*) => {
        $(#[test] fn $name() { $exchange(Kind::$kind); })*
    };
}

magnets! {
    starling_follows_a_v1_magnet_to_libtorrent: from_libtorrent(V1);
    starling_follows_a_hybrid_magnet_to_libtorrent: from_libtorrent(Hybrid);
    starling_follows_a_v2_magnet_to_libtorrent: from_libtorrent(V2);
    libtorrent_follows_a_v1_magnet_to_starling: to_libtorrent(V1);
    libtorrent_follows_a_hybrid_magnet_to_starling: to_libtorrent(Hybrid);
    libtorrent_follows_a_v2_magnet_to_starling: to_libtorrent(V2);
}

fn from_libtorrent(kind: Kind) {
    let s = Scenario::new();
    let album = s.album();
    let torrent = s.torrent_without_tracker(&album, kind);
    let seed = s.libtorrent().seeds(&torrent);
    s.starling()
        .knows(&seed)
        .start(Role::get(&torrent.magnet))
        .receives(&album, SOON);
}

fn to_libtorrent(kind: Kind) {
    let s = Scenario::new();
    let album = s.album();
    let torrent = s.torrent_without_tracker(&album, kind);
    let seed = s.starling().seeds(&torrent);
    s.libtorrent()
        .knows(&seed)
        .start(Role::get(&torrent.magnet))
        .receives(&album, SOON);
}

#[test]
fn the_link_that_seed_prints_is_all_that_libtorrent_needs() {
    let s = Scenario::new();
    let album = s.album();
    let mut seed = s.starling().shares(&album);
    let seeding = seed.child.said("seeding").expect("it was waited for");
    let magnet = seeding["magnet"]
        .as_str()
        .expect("seeding tells the magnet link");
    assert!(
        magnet.contains("urn:btih:") && magnet.contains("urn:btmh:1220"),
        "hybrid by default: {magnet}"
    );
    s.libtorrent()
        .knows(&seed)
        .start(Role::get(magnet))
        .receives(&album, SOON);
}

#[test]
fn a_bare_info_hash_and_a_peer_are_enough() {
    let s = Scenario::new();
    let album = s.album();
    let torrent = s.torrent_without_tracker(&album, Kind::Hybrid);
    let seed = s.libtorrent().seeds(&torrent);
    for hash in [torrent.info_hash_v1, torrent.info_hash_v2] {
        let hash = hash.expect("a hybrid has both");
        s.starling()
            .knows(&seed)
            .gets(&[&hash])
            .receives(&album, SOON);
    }
}

#[test]
fn the_peer_named_in_a_link_is_enough() {
    let s = Scenario::new();
    let album = s.album();
    let torrent = s.torrent_without_tracker(&album, Kind::Hybrid);
    let seed = s.libtorrent().seeds(&torrent);
    let magnet = format!("{}&x.pe={}", torrent.magnet, seed.addr);
    s.starling().gets(&[&magnet]).receives(&album, SOON);
}

#[test]
fn aria2_follows_a_magnet_to_starling() {
    let s = Scenario::new();
    let album = s.album();
    let torrent = s.torrent(&album, Kind::V1);
    let seed = s.starling().seeds(&torrent);
    s.tracker().wait_for(seed.addr, "started", SOON);
    let magnet = format!("{}&tr={}", torrent.magnet, s.tracker().http_url());
    s.aria2(Role::get(&magnet)).receives(&album, SOON);
}

#[test]
fn starling_follows_a_magnet_to_aria2() {
    let s = Scenario::new();
    let album = s.album();
    let torrent = s.torrent(&album, Kind::V1);
    let seed = s.aria2(Role::Seed(torrent.clone()));
    s.starling()
        .knows(&seed)
        .start(Role::get(&torrent.magnet))
        .receives(&album, SOON);
}
