//! IPv4 and IPv6, side by side and each alone.

use crate::{PATIENT, SOON};
use interop::{Kind, Libtorrent, Role, Scenario, Seat, Starling};

/// A place with IPv4 and IPv6.
fn both(s: &Scenario) -> Seat {
    let seat = s.seat();
    seat.has_ipv6();
    seat
}

/// A place with IPv6 alone.
fn v6(s: &Scenario) -> Seat {
    let seat = both(s);
    seat.has_no_ipv4();
    seat
}

fn starling(seat: &Seat) -> Starling {
    Starling::at(seat.clone()).everywhere()
}

fn libtorrent(seat: &Seat) -> Libtorrent {
    let port = seat.addr.port();
    Libtorrent::at(seat.clone())
        .arg("--set")
        .arg(format!("listen_interfaces=0.0.0.0:{port},[::]:{port}"))
}

#[test]
fn a_magnet_finds_its_seed_where_there_is_ipv6_alone() {
    let s = Scenario::internet();
    let (film, other) = (s.file("film.mkv", 3_000_000), s.file("other.bin", 100_000));
    let torrent = s.torrent_without_tracker(&film, Kind::Hybrid);
    let places = [(); 3].map(|()| v6(&s));
    let entry = places[0].addr_v6();
    let dht = |seat| {
        starling(seat)
            .with_dht(&[])
            .arg("--dht-bootstrap")
            .arg(entry)
    };
    let _node = starling(&places[0])
        .with_dht(&[])
        .seeds(&s.torrent_without_tracker(&other, Kind::V1));
    let _seed = dht(&places[1]).seeds(&torrent);
    dht(&places[2])
        .start(Role::get(&torrent.magnet))
        .receives(&film, PATIENT);
}

#[test]
fn who_is_known_over_ipv4_tells_of_who_has_ipv6_alone() {
    let s = Scenario::internet();
    let film = s.file("film.mkv", 12_000_000);
    let torrent = s.torrent_without_tracker(&film, Kind::V1);
    let places = [v6(&s), both(&s), both(&s)];
    let _seed = starling(&places[0]).seeds(&torrent);
    // It has nothing yet and is slow to get it.
    let middle = libtorrent(&places[1])
        .arg("--peer")
        .arg(places[0].addr_v6())
        .arg("--set")
        .arg("download_rate_limit=10000")
        .start(Role::get_and_stay(&torrent));
    starling(&places[2])
        .knows(&middle)
        .start(Role::get(&torrent))
        .receives(&film, PATIENT);
}

#[test]
fn over_ipv6_there_is_utp_too() {
    let s = Scenario::internet();
    let album = s.album();
    let torrent = s.torrent_without_tracker(&album, Kind::Hybrid);
    let places = [both(&s), v6(&s), v6(&s)];
    let _seed = libtorrent(&places[0]).arg("--utp").seeds(&torrent);
    let from = |seat, source: &Seat| starling(seat).arg("--peer").arg(source.addr_v6());
    let mut ours = from(&places[1], &places[0]).start(Role::get_and_stay(&torrent));
    ours.receives(&album, SOON);
    libtorrent(&places[2])
        .arg("--utp")
        .arg("--peer")
        .arg(places[1].addr_v6())
        .start(Role::get(&torrent))
        .receives(&album, SOON);
}
