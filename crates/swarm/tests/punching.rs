//! Hole punching (BEP 55): who is asked, who is introduced to whom, who is dialled.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod rig;

use std::net::SocketAddr;
use std::time::Duration;

use rig::{Rig, far, near};
use swarm::{Approach, Config, ConnId, Failure, Input, Road, Source, TorrentId};
use torrent::extension::{Handshake, Holepunch, Ids, Pex, PexFlags, PunchError};
use torrent::wire::Message;

/// The number under which the peers of these tests take `ut_holepunch`.
const THEIRS: u8 = 9;
/// That of ours.
const OURS: u8 = 5;
const SECOND: Duration = Duration::from_secs(1);

/// Somebody over uTP who takes these messages, or not.
fn peer(rig: &mut Rig, id: TorrentId, addr: SocketAddr, takes: bool) -> ConnId {
    let conn = rig.greet_over(id, addr, Road::UTP);
    let m = Ids {
        ut_holepunch: takes.then_some(THEIRS),
        ..Ids::default()
    };
    let handshake = Handshake {
        m,
        ..Handshake::default()
    };
    rig.introduces_itself(conn, &handshake);
    rig.extended.clear();
    conn
}

fn says(rig: &mut Rig, conn: ConnId, message: Holepunch) {
    let payload = message.encode();
    rig.tell(Input::Message(
        conn,
        Message::Extended { id: OURS, payload },
    ));
}

/// What was said about holes since the last look.
fn said(rig: &mut Rig) -> Vec<(ConnId, Holepunch)> {
    let punches = rig.extended.drain(..).filter(|(_, id, _)| *id == THEIRS);
    punches
        .map(|(conn, _, payload)| (conn, Holepunch::parse(&payload).unwrap().unwrap()))
        .collect()
}

#[test]
fn who_was_told_of_a_peer_it_cannot_dial_asks_for_an_introduction_once() {
    let mut rig = Rig::new(Config::default());
    let id = rig.add(0, 4, false);
    let alice = peer(&mut rig, id, far(1), true);
    let tells = |rig: &mut Rig| {
        let pex = Pex {
            added: vec![
                (far(2), PexFlags::HOLEPUNCH),
                (near(3), PexFlags::default()),
            ],
            dropped: Vec::new(),
        };
        let payload = pex.encode();
        rig.tell(Input::Message(alice, Message::Extended { id: 1, payload }));
    };
    tells(&mut rig);
    rig.run(2 * SECOND);
    assert_eq!(rig.dials.len(), 2);
    for (conn, _) in std::mem::take(&mut rig.dials) {
        assert_eq!(rig.approaches[&conn], Approach::Usual);
        rig.tell(Input::DialFailed(conn, Failure::TimedOut));
    }
    assert_eq!(said(&mut rig), [(alice, Holepunch::Rendezvous(far(2)))]);

    // Alice says go: it is dialled at once, and insistently.
    says(&mut rig, alice, Holepunch::Connect(far(2)));
    let [(hole, to)] = rig.dials[..] else {
        panic!("{:?}", rig.dials);
    };
    assert_eq!((to, rig.approaches[&hole]), (far(2), Approach::Punch));
    rig.tell(Input::DialFailed(hole, Failure::TimedOut));
    rig.dials.clear();
    rig.run(60 * SECOND);
    for (conn, _) in std::mem::take(&mut rig.dials) {
        rig.tell(Input::DialFailed(conn, Failure::TimedOut));
    }
    tells(&mut rig);
    assert_eq!(said(&mut rig), [], "once is enough");
    let reach = rig.session.reach(id).unwrap();
    assert_eq!((reach.tried, reach.failures[&Failure::TimedOut]), (2, 2));
}

#[test]
fn a_hole_that_was_made_is_known_as_such() {
    let mut rig = Rig::new(Config::default());
    let id = rig.add(0, 4, false);
    let alice = peer(&mut rig, id, far(1), true);
    says(&mut rig, alice, Holepunch::Connect(far(2)));
    let (hole, _) = rig.dials[0];
    rig.dialled(hole, id);
    rig.tell(Input::Connected(hole, Road::UTP));
    rig.hello(hole);
    // Bob comes through it as well: one of the two is too many.
    let bob = rig.greet_as(id, far(2), Road::UTP, hole);
    let open = |rig: &Rig, conn| rig.wires.contains_key(&conn);
    assert!(open(&rig, hole) != open(&rig, bob));
    let reach = rig.session.reach(id).unwrap();
    let punched = reach.connected.iter().filter(|((road, _), _)| road.punched);
    assert_eq!(punched.count(), 1);
    // Who is connected is not dialled again.
    rig.dials.clear();
    says(&mut rig, alice, Holepunch::Connect(far(2)));
    assert_eq!(rig.dials, []);
}

#[test]
fn two_peers_are_introduced_if_both_take_it() {
    let mut rig = Rig::new(Config::default());
    let id = rig.add(0, 4, true);
    let alice = peer(&mut rig, id, far(1), true);
    let bob = peer(&mut rig, id, far(2), true);
    let carol = peer(&mut rig, id, far(3), false);
    rig.tell(Input::External("1.1.9.9".parse().unwrap()));

    says(&mut rig, alice, Holepunch::Rendezvous(far(2)));
    let both = [
        (bob, Holepunch::Connect(far(1))),
        (alice, Holepunch::Connect(far(2))),
    ];
    assert_eq!(said(&mut rig), both);

    let nowhere: SocketAddr = "0.0.0.0:7".parse().unwrap();
    for (to, error) in [
        (far(3), PunchError::NoSupport),
        (far(4), PunchError::NotConnected),
        (far(1), PunchError::NoSelf),
        (nowhere, PunchError::NoSuchPeer),
    ] {
        says(&mut rig, alice, Holepunch::Rendezvous(to));
        assert_eq!(said(&mut rig), [(alice, Holepunch::Error(to, error))]);
    }
    // Who does not take such messages is not answered.
    says(&mut rig, carol, Holepunch::Rendezvous(far(2)));
    assert_eq!(said(&mut rig), []);

    // And nobody without end.
    for _ in 0..100 {
        says(&mut rig, alice, Holepunch::Rendezvous(far(2)));
    }
    assert!(said(&mut rig).len() < 50);
    rig.run(61 * SECOND);
    says(&mut rig, alice, Holepunch::Rendezvous(far(2)));
    assert_eq!(said(&mut rig), both);
}

#[test]
fn who_came_over_tcp_is_introduced_at_where_it_listens() {
    let mut rig = Rig::new(Config::default());
    let id = rig.add(0, 4, true);
    let alice = peer(&mut rig, id, far(1), true);
    let bob = rig.greet_over(id, SocketAddr::new(far(2).ip(), 40_000), Road::TCP);
    let mut handshake = Handshake {
        m: Ids {
            ut_holepunch: Some(THEIRS),
            ..Ids::default()
        },
        ..Handshake::default()
    };
    rig.introduces_itself(bob, &handshake);
    rig.extended.clear();
    says(&mut rig, bob, Holepunch::Rendezvous(far(1)));
    let error = Holepunch::Error(far(1), PunchError::NotConnected);
    assert_eq!(said(&mut rig), [(bob, error)], "nobody knows where it is");
    handshake.p = Some(6881);
    rig.introduces_itself(bob, &handshake);
    rig.extended.clear();
    says(&mut rig, bob, Holepunch::Rendezvous(far(1)));
    let both = [
        (alice, Holepunch::Connect(far(2))),
        (bob, Holepunch::Connect(far(1))),
    ];
    assert_eq!(said(&mut rig), both);
}

#[test]
fn strangers_cannot_have_us_knock_at_doors_of_this_network() {
    let mut rig = Rig::new(Config::default());
    let id = rig.add(0, 4, false);
    let eve = peer(&mut rig, id, far(1), true);
    for addr in [
        "192.168.1.1:80",
        "127.0.0.1:22",
        "[fe80::1]:80",
        "1.2.3.4:0",
    ] {
        says(&mut rig, eve, Holepunch::Connect(addr.parse().unwrap()));
    }
    says(
        &mut rig,
        eve,
        Holepunch::Connect("[::ffff:10.0.0.1]:80".parse().unwrap()),
    );
    assert_eq!(rig.dials, []);
    for n in 0..1000 {
        says(&mut rig, eve, Holepunch::Connect(far(1000 + n)));
    }
    assert!(rig.dials.len() <= 20, "{}", rig.dials.len());
    // A neighbour may name neighbours.
    let near_eve = peer(&mut rig, id, near(1), true);
    rig.dials.clear();
    says(&mut rig, near_eve, Holepunch::Connect(near(2)));
    assert_eq!(rig.dials.len(), 1);
}

#[test]
fn without_utp_nobody_is_told_that_holes_can_be_made() {
    let config = Config {
        hole_punching: false,
        ..Config::default()
    };
    let mut rig = Rig::new(config);
    let id = rig.add(0, 4, true);
    let alice = rig.greet_over(id, far(1), Road::TCP);
    let (_, _, payload) = rig.extended.iter().find(|(_, id, _)| *id == 0).unwrap();
    let ours = Handshake::parse(payload).unwrap();
    assert_eq!((ours.m.ut_holepunch, ours.m.ut_pex.is_some()), (None, true));
    says(&mut rig, alice, Holepunch::Connect(far(2)));
    rig.tell(Input::Peers(id, Source::Tracker, vec![far(1)]));
    assert!(rig.dials.iter().all(|(_, addr)| *addr != far(2)));
}
