//! Peers that insist on the encrypted handshake, peers that cannot speak it, and both directions of each.

use crate::{PATIENT, SOON};
use interop::{Kind, Role, Scenario, Starling};

const KIND: Kind = Kind::V1;

fn that(encryption: &str, starling: Starling) -> Starling {
    starling.arg("--encryption").arg(encryption)
}

#[test]
fn starling_requires_it_of_starling_both_ways() {
    for (ours, theirs) in [("require", "prefer"), ("prefer", "require")] {
        let s = Scenario::new();
        let album = s.album();
        let torrent = s.torrent_without_tracker(&album, Kind::Hybrid);
        let seed = that(theirs, s.starling()).seeds(&torrent);
        that(ours, s.starling()).fetches(&torrent, &seed, SOON);
    }
}

#[test]
fn starling_that_refuses_and_starling_that_requires_do_not_meet() {
    for (ours, theirs) in [("require", "refuse"), ("refuse", "require")] {
        let s = Scenario::new();
        let album = s.album();
        let torrent = s.torrent_without_tracker(&album, KIND);
        let seed = that(theirs, s.starling()).seeds(&torrent);
        // A third one speaks to both, and to it the answer comes: so the others had their time.
        let mut apart = that(ours, s.starling())
            .knows(&seed)
            .start(Role::get(&torrent));
        s.starling().fetches(&torrent, &seed, SOON);
        assert!(!apart.is_complete(), "{ours} got it of {theirs}");
    }
}

#[test]
fn starling_fetches_from_libtorrent_that_requires_it() {
    let s = Scenario::new();
    let album = s.album();
    let torrent = s.torrent_without_tracker(&album, Kind::V2);
    let seed = s.libtorrent().encrypted().seeds(&torrent);
    s.starling().fetches(&torrent, &seed, SOON);
}

#[test]
fn libtorrent_that_requires_it_fetches_from_starling() {
    let s = Scenario::new();
    let album = s.album();
    let torrent = s.torrent_without_tracker(&album, Kind::Hybrid);
    let seed = s.starling().seeds(&torrent);
    s.libtorrent().encrypted().fetches(&torrent, &seed, SOON);
}

#[test]
fn libtorrent_that_cannot_is_reached_all_the_same() {
    let s = Scenario::new();
    let album = s.album();
    let torrent = s.torrent_without_tracker(&album, KIND);
    let seed = s.libtorrent().unencrypted().seeds(&torrent);
    s.starling().fetches(&torrent, &seed, SOON);
}

#[test]
fn starling_that_requires_it_and_libtorrent_exchange_both_ways() {
    let s = Scenario::new();
    let album = s.album();
    let torrent = s.torrent_without_tracker(&album, KIND);
    let seed = s.libtorrent().seeds(&torrent);
    let mut middle = that("require", s.starling())
        .knows(&seed)
        .start(Role::get_and_stay(&torrent));
    middle.receives(&album, SOON);
    s.libtorrent().fetches(&torrent, &middle, SOON);
}

#[test]
fn aria2_that_requires_it_fetches_from_starling() {
    let s = Scenario::new();
    let album = s.album();
    let torrent = s.torrent(&album, KIND);
    let seed = s.starling().seeds(&torrent);
    s.tracker().wait_for(seed.addr, "started", SOON);
    s.aria2_encrypted(Role::get(&torrent))
        .receives(&album, SOON);
}

#[test]
fn starling_fetches_from_aria2_that_requires_it() {
    let s = Scenario::new();
    let film = s.file("Film.mkv", 9_000_001);
    let torrent = s.torrent(&film, KIND);
    let seed = s.aria2_encrypted(Role::Seed(torrent.clone()));
    s.starling().fetches(&torrent, &seed, PATIENT);
}

#[test]
fn transmission_that_requires_it_fetches_from_starling() {
    let s = Scenario::new();
    let album = s.album();
    let torrent = s.torrent(&album, KIND);
    let seed = s.starling().seeds(&torrent);
    s.tracker().wait_for(seed.addr, "started", SOON);
    s.transmission_encrypted(Role::get(&torrent))
        .receives(&album, PATIENT);
}

#[test]
fn starling_fetches_from_transmission_that_requires_it() {
    let s = Scenario::new();
    let film = s.file("Film.mkv", 9_000_001);
    let torrent = s.torrent(&film, KIND);
    let seed = s.transmission_encrypted(Role::Seed(torrent.clone()));
    s.starling().fetches(&torrent, &seed, PATIENT);
}
