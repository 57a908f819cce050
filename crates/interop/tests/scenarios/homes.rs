//! Peers in homes of their own, behind routers and lines.

use crate::{PATIENT, SOON};
use interop::{Home, Kind, Line, Nat, Role, Scenario, Seat};
use std::net::{SocketAddr, SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant};

/// A socket in a home, and what it says to others.
struct Host(UdpSocket);

impl Host {
    fn at(seat: &Seat) -> Host {
        let socket = seat.within(|| UdpSocket::bind(seat.addr)).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_millis(500)))
            .unwrap();
        Host(socket)
    }

    fn says(&self, to: SocketAddr) {
        self.0.send_to(b"hello", to).unwrap();
    }

    /// Who is heard next, if anybody is.
    fn hears(&self) -> Option<SocketAddr> {
        self.0.recv_from(&mut [0; 64]).ok().map(|(_, from)| from)
    }

    fn addr(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }
}

/// Two hosts on the internet.
fn hosts(s: &Scenario) -> [Host; 2] {
    [(); 2].map(|()| Host::at(&s.seat()))
}

#[test]
fn a_router_that_preserves_ports_lets_in_whom_its_hosts_wrote_to() {
    let s = Scenario::internet();
    let home = s.home(Nat::PortPreserving);
    let (host, [first, second]) = (Host::at(&home.seat()), hosts(&s));
    host.says(first.addr());
    let outside = first.hears().unwrap();
    assert_eq!(outside.ip(), home.public_ip());
    assert_eq!(outside.port(), host.addr().port());
    first.says(outside);
    assert_eq!(host.hears(), Some(first.addr()));
    second.says(outside);
    assert_eq!(host.hears(), None);
    host.says(second.addr());
    assert_eq!(second.hears(), Some(outside));
}

#[test]
fn a_symmetric_router_has_another_port_for_everybody() {
    let s = Scenario::internet();
    let home = s.home(Nat::Symmetric);
    let (host, [first, second]) = (Host::at(&home.seat()), hosts(&s));
    let seen = [&first, &second].map(|other| {
        host.says(other.addr());
        let outside = other.hears().unwrap();
        other.says(outside);
        assert_eq!(host.hears(), Some(other.addr()));
        outside
    });
    assert_ne!(seen[0], seen[1]);
}

#[test]
fn an_endpoint_independent_router_lets_in_whoever_knows_the_port() {
    let s = Scenario::internet();
    let home = s.home(Nat::EndpointIndependent);
    let (host, [first, second]) = (Host::at(&home.seat()), hosts(&s));
    second.says(SocketAddr::new(home.public_ip().into(), host.addr().port()));
    assert_eq!(host.hears(), None);
    host.says(first.addr());
    second.says(first.hears().unwrap());
    assert_eq!(host.hears(), Some(second.addr()));
}

#[test]
fn two_homes_that_write_to_each_other_at_once_meet() {
    let s = Scenario::internet();
    let (annas, berts) = (s.home(Nat::PortPreserving), s.home(Nat::PortPreserving));
    let (anna, bert) = (Host::at(&annas.seat()), Host::at(&berts.seat()));
    let seen =
        |home: &Home, host: &Host| SocketAddr::new(home.public_ip().into(), host.addr().port());
    anna.says(seen(&berts, &bert));
    assert_eq!(bert.hears(), None);
    bert.says(seen(&annas, &anna));
    assert_eq!(anna.hears(), Some(seen(&berts, &bert)));
    anna.says(seen(&berts, &bert));
    assert_eq!(bert.hears(), Some(seen(&annas, &anna)));
}

#[test]
fn a_line_is_as_long_as_it_says_and_loses_what_it_should() {
    let s = Scenario::internet();
    let home = s.home_over(Nat::Open, Line::mbits(10).delay_ms(100));
    let (host, [other, _]) = (Host::at(&home.seat()), hosts(&s));
    let began = Instant::now();
    host.says(other.addr());
    other.says(other.hears().unwrap());
    assert_eq!(host.hears(), Some(other.addr()));
    assert!(began.elapsed() >= Duration::from_millis(200));
    home.loses(50);
    (0..100).for_each(|_| host.says(other.addr()));
    let heard = std::iter::from_fn(|| other.hears()).count();
    assert!((20..80).contains(&heard), "{heard} of 100");
    home.is_cut_off();
    host.says(other.addr());
    assert_eq!(other.hears(), None);
    home.is_back();
    (0..100).for_each(|_| host.says(other.addr()));
    assert!(other.hears().is_some());
}

#[test]
fn who_is_behind_a_router_fetches_from_who_is_not() {
    let s = Scenario::internet();
    let home = s.home_over(Nat::Symmetric, Line::mbits(50));
    let album = s.album();
    let torrent = s.torrent(&album, Kind::Hybrid);
    let seed = s.libtorrent().seeds(&torrent);
    s.tracker().wait_for(seed.addr, "started", SOON);
    let mut peer = home.starling().start(Role::get(&torrent));
    peer.receives(&album, SOON);
}

#[test]
fn a_forwarded_port_is_reached_from_outside() {
    let s = Scenario::internet();
    let home = s.home(Nat::PortPreserving);
    let album = s.album();
    let torrent = s.torrent_without_tracker(&album, Kind::V1);
    let mut starling = home.starling();
    let outside = home.forwards_port_of(starling.addr);
    let _seed = starling.seeds(&torrent);
    let mut peer = s
        .libtorrent()
        .arg("--peer")
        .arg(outside)
        .start(Role::get(&torrent));
    peer.receives(&album, SOON);
}

#[test]
fn a_router_maps_the_port_that_a_client_asks_for() {
    let s = Scenario::internet();
    let home = s.home(Nat::PortPreserving);
    home.maps_ports();
    let album = s.album();
    let torrent = s.torrent(&album, Kind::V1);
    let seed = home.transmission(Role::Seed(torrent.clone()));
    let outside = SocketAddrV4::new(home.public_ip(), seed.addr.port());
    home.has_mapped(seed.addr, PATIENT);
    let mut peer = s
        .libtorrent()
        .arg("--peer")
        .arg(outside)
        .start(Role::get(&torrent));
    peer.receives(&album, PATIENT);
}
