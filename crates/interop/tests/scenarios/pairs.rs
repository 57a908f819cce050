//! One seed, one downloader: every kind of torrent that both speak, in both directions.

use crate::{PATIENT, SOON};
use interop::{Kind, Role, Scenario};

/// A test for each line: its name, who seeds, who fetches, and what kind of torrent.
macro_rules! pairs {
    ($($name:ident: $exchange:ident($kind:ident);)*) => {
        $(#[test] fn $name() { $exchange(Kind::$kind); })*
    };
}

pairs! {
    starling_fetches_v1_from_starling: from_us_to_us(V1);
    starling_fetches_hybrid_from_starling: from_us_to_us(Hybrid);
    starling_fetches_v2_from_starling: from_us_to_us(V2);

    libtorrent_fetches_v1_from_starling: from_us_to_libtorrent(V1);
    libtorrent_fetches_hybrid_from_starling: from_us_to_libtorrent(Hybrid);
    libtorrent_fetches_v2_from_starling: from_us_to_libtorrent(V2);
    starling_fetches_v1_from_libtorrent: from_libtorrent_to_us(V1);
    starling_fetches_hybrid_from_libtorrent: from_libtorrent_to_us(Hybrid);
    starling_fetches_v2_from_libtorrent: from_libtorrent_to_us(V2);

    aria2_fetches_v1_from_starling: from_us_to_aria2(V1);
    aria2_fetches_the_v1_half_of_a_hybrid_from_starling: from_us_to_aria2(Hybrid);
    starling_fetches_v1_from_aria2: from_aria2_to_us(V1);
    starling_fetches_the_v1_half_of_a_hybrid_from_aria2: from_aria2_to_us(Hybrid);

    transmission_fetches_v1_from_starling: from_us_to_transmission(V1);
    transmission_fetches_the_v1_half_of_a_hybrid_from_starling: from_us_to_transmission(Hybrid);
    starling_fetches_v1_from_transmission: from_transmission_to_us(V1);
    starling_fetches_the_v1_half_of_a_hybrid_from_transmission: from_transmission_to_us(Hybrid);
}

fn from_us_to_us(kind: Kind) {
    let s = Scenario::new();
    let album = s.album();
    let torrent = s.torrent_without_tracker(&album, kind);
    let seed = s.starling().seeds(&torrent);
    s.starling().fetches(&torrent, &seed, SOON);
}

fn from_us_to_libtorrent(kind: Kind) {
    let s = Scenario::new();
    let album = s.album();
    let torrent = s.torrent_without_tracker(&album, kind);
    let seed = s.starling().seeds(&torrent);
    s.libtorrent().fetches(&torrent, &seed, SOON);
}

fn from_libtorrent_to_us(kind: Kind) {
    let s = Scenario::new();
    let album = s.album();
    let torrent = s.torrent_without_tracker(&album, kind);
    let seed = s.libtorrent().seeds(&torrent);
    s.starling().fetches(&torrent, &seed, SOON);
}

fn from_us_to_aria2(kind: Kind) {
    let s = Scenario::new();
    let album = s.album();
    let torrent = s.torrent(&album, kind);
    let seed = s.starling().seeds(&torrent);
    s.tracker().wait_for(seed.addr, "started", SOON);
    s.aria2(Role::get(&torrent)).receives(&album, SOON);
}

fn from_aria2_to_us(kind: Kind) {
    let s = Scenario::new();
    // aria2 cannot seed a hybrid folder: it looks for the pad files on disk.
    let film = s.file("Film – 映画.mkv", 9_000_001);
    let torrent = s.torrent(&film, kind);
    let seed = s.aria2(Role::Seed(torrent.clone()));
    s.starling().fetches(&torrent, &seed, SOON);
}

fn from_us_to_transmission(kind: Kind) {
    let s = Scenario::new();
    let album = s.album();
    let torrent = s.torrent(&album, kind);
    let seed = s.starling().seeds(&torrent);
    s.tracker().wait_for(seed.addr, "started", SOON);
    s.transmission(Role::get(&torrent))
        .receives(&album, PATIENT);
}

fn from_transmission_to_us(kind: Kind) {
    let s = Scenario::new();
    // transmission, like aria2, knows no pad files.
    let film = s.file("Film – 映画.mkv", 9_000_001);
    let torrent = s.torrent(&film, kind);
    let seed = s.transmission(Role::Seed(torrent.clone()));
    s.starling().fetches(&torrent, &seed, PATIENT);
}
