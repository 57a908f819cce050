//! Peer exchange (BEP 11): whom peers are told of, with what, and how many at once.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod rig;

use std::net::SocketAddr;
use std::time::Duration;

use rig::{Rig, far};
use swarm::{Carrier, Config, ConnId, Cover, Input, Road, TorrentId};
use torrent::extension::{Handshake, Ids, Pex, PexFlags};
use torrent::wire::Message;

const SECOND: Duration = Duration::from_secs(1);
/// The number under which the peers of these tests take `ut_pex`.
const THEIRS: u8 = 6;
/// The number under which we take it.
const OUR_PEX: u8 = 1;

/// Somebody who listens where it calls from, over a road.
fn peer(rig: &mut Rig, id: TorrentId, n: u32, road: Road, all: bool) -> ConnId {
    let conn = rig.greet_over(id, far(n), road);
    let handshake = Handshake {
        m: Ids {
            ut_pex: Some(THEIRS),
            ut_holepunch: (road.carrier == Carrier::Utp).then_some(9),
            ..Ids::default()
        },
        p: Some(6881),
        ..Handshake::default()
    };
    rig.introduces_itself(conn, &handshake);
    let has = if all {
        Message::HaveAll
    } else {
        Message::HaveNone
    };
    rig.tell(Input::Message(conn, has));
    conn
}

/// What a peer was told, message by message.
fn told(rig: &Rig, conn: ConnId) -> Vec<Pex> {
    let to = rig
        .extended
        .iter()
        .filter(|(to, id, _)| (*to, *id) == (conn, THEIRS));
    to.map(|(_, _, payload)| Pex::parse(payload).unwrap())
        .collect()
}

fn whom(pex: &Pex) -> Vec<SocketAddr> {
    pex.added.iter().map(|(addr, _)| *addr).collect()
}

#[test]
fn peers_are_told_who_is_there_and_what_they_can() {
    let mut rig = Rig::new(Config::default());
    let id = rig.add(0, 40, false);
    let covered = Road {
        carrier: Carrier::Utp,
        cover: Cover::Rc4,
        punched: false,
    };
    let alice = peer(&mut rig, id, 1, Road::TCP, false);
    let bob = peer(&mut rig, id, 2, covered, false);
    let carol = peer(&mut rig, id, 3, Road::TCP, true);
    let dave = peer(&mut rig, id, 4, Road::TCP, true);
    rig.run(12 * SECOND);
    let first = &told(&rig, alice)[0];
    let utp = PexFlags::UTP
        .with(PexFlags::HOLEPUNCH)
        .with(PexFlags::ENCRYPTION);
    let expected = [
        (far(2), utp),
        (far(3), PexFlags::SEED),
        (far(4), PexFlags::SEED),
    ];
    assert_eq!(first.added, expected);
    // Seeds have nothing for each other.
    assert_eq!(whom(&told(&rig, carol)[0]), [far(1), far(2)]);
    assert_eq!(whom(&told(&rig, dave)[0]), [far(1), far(2)]);

    // Once a minute, and only what is new.
    rig.tell(Input::Disconnected(bob));
    rig.wires.remove(&bob);
    let erin = peer(&mut rig, id, 5, Road::TCP, false);
    rig.run(50 * SECOND);
    assert_eq!(told(&rig, alice).len(), 1);
    rig.run(15 * SECOND);
    let [_, second] = &told(&rig, alice)[..] else {
        panic!("one more");
    };
    assert_eq!(
        (whom(second), &second.dropped),
        (vec![far(5)], &vec![far(2)])
    );
    assert!(told(&rig, erin).iter().all(|pex| pex.dropped.is_empty()));
}

#[test]
fn a_crowd_is_told_of_little_by_little() {
    let mut rig = Rig::new(Config {
        max_connections_per_torrent: 500,
        ..Config::default()
    });
    let id = rig.add(0, 40, false);
    let alice = peer(&mut rig, id, 0, Road::TCP, false);
    for n in 1..=300 {
        peer(&mut rig, id, n, Road::TCP, false);
    }
    rig.run(240 * SECOND);
    let sizes: Vec<usize> = told(&rig, alice)
        .iter()
        .map(|pex| pex.added.len())
        .collect();
    assert_eq!(sizes, [100, 50, 50, 50], "BEP 11 lets the first be larger");
    let mut all: Vec<SocketAddr> = told(&rig, alice).iter().flat_map(whom).collect();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 250, "nobody twice");
}

#[test]
fn who_is_full_keeps_those_of_high_priority() {
    let mut rig = Rig::new(Config {
        max_connections_per_torrent: 8,
        ..Config::default()
    });
    let id = rig.add(0, 40, true);
    let ours: SocketAddr = "9.8.7.6:0".parse().unwrap();
    rig.tell(Input::External(ours.ip()));
    let somewhere = |n: u32| SocketAddr::from(((n * 0x0103_0507).to_be_bytes(), 6881));
    let rank = |n: u32| swarm::priority::priority(ours, somewhere(n)).unwrap();
    for n in 11..=110 {
        rig.greet_over(id, somewhere(n), Road::UTP);
        rig.run(31 * SECOND);
        for conn in rig.wires.keys().copied().collect::<Vec<_>>() {
            rig.tell(Input::Message(conn, Message::KeepAlive));
        }
    }
    let mut best: Vec<u32> = (11..=110).collect();
    best.sort_by_key(|n| std::cmp::Reverse(rank(*n)));
    let mut best: Vec<SocketAddr> = best[..8].iter().map(|n| somewhere(*n)).collect();
    best.sort_unstable();
    let mut kept: Vec<SocketAddr> = rig.session.peers(id).map(|p| p.addr).collect();
    kept.sort_unstable();
    assert_eq!(kept, best);
}

#[test]
fn who_floods_us_with_addresses_is_left_and_few_of_them_are_known() {
    let mut rig = Rig::new(Config::default());
    let id = rig.add(0, 40, false);
    let tcp = Road::default();
    let [quick, calm] = [1, 2].map(|n| peer(&mut rig, id, n, tcp, false));
    let mut next = 10;
    let mut says = |rig: &mut Rig, conn| {
        next += 50;
        let added = (next..next + 50).map(|n| (far(n), PexFlags::default()));
        let pex = Pex {
            added: added.collect(),
            ..Pex::default()
        };
        let (id, payload) = (OUR_PEX, pex.encode());
        rig.tell(Input::Message(conn, Message::Extended { id, payload }));
    };
    for _ in 0..3 {
        says(&mut rig, calm);
        rig.run(60 * SECOND);
    }
    for _ in 0..30 {
        says(&mut rig, quick);
    }
    let reason = |conn| rig.closed.iter().find(|(closed, _)| *closed == conn);
    let (_, reason) = reason(quick).expect("it is left");
    assert!(reason.to_string().contains("floods us"), "{reason}");
    assert!(!rig.closed.iter().any(|(conn, _)| *conn == calm));
    let known: u32 = rig.session.reach(id).unwrap().known.values().sum();
    assert!((200..=210).contains(&known), "{known} addresses");
}
