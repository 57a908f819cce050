//! Dialling back: who is asked, who may ask, and how often.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod rig;

use std::time::Duration;

use rig::{Rig, far};
use swarm::{Config, ConnId, DialbackEvent, Input, Reason, TorrentId};
use torrent::extension::{DialOutcome, Dialback, Handshake, Ids, Transport};
use torrent::wire::Message;

/// The number under which the peers of these tests take `sl_dialback`.
const THEIRS: u8 = 9;
/// That of ours.
const OURS: u8 = 6;

fn rig(dialback: bool) -> (Rig, TorrentId) {
    let mut rig = Rig::new(Config {
        dialback,
        ..Config::default()
    });
    let id = rig.add(0, 4, true);
    (rig, id)
}

fn peer(rig: &mut Rig, id: TorrentId, n: u32) -> ConnId {
    let conn = rig.greet_over(id, far(n), swarm::Road::TCP);
    let handshake = Handshake {
        m: Ids {
            sl_dialback: Some(THEIRS),
            ..Ids::default()
        },
        ..Handshake::default()
    };
    rig.introduces_itself(conn, &handshake);
    rig.extended.clear();
    conn
}

fn says(rig: &mut Rig, conn: ConnId, payload: Vec<u8>) {
    let message = Message::Extended { id: OURS, payload };
    rig.tell(Input::Message(conn, message));
}

/// What was said about dialling back since the last look.
fn said(rig: &mut Rig) -> Vec<(ConnId, Dialback)> {
    let ours = rig.extended.drain(..).filter(|(_, id, _)| *id == THEIRS);
    ours.map(|(conn, _, payload)| (conn, Dialback::parse(&payload).unwrap()))
        .collect()
}

#[test]
fn a_peer_is_dialled_where_it_is_and_told_what_came_of_it() {
    let (mut rig, id) = rig(true);
    let alice = peer(&mut rig, id, 1);
    let offered = DialbackEvent::Offered(far(1).ip());
    assert_eq!(rig.dialbacks, [(alice, offered)]);
    rig.dialbacks.clear();
    says(
        &mut rig,
        alice,
        Dialback::Ask(Transport::Tcp, 7000).encode(),
    );
    let to = (far(1).ip(), 7000).into();
    let wanted = DialbackEvent::Wanted(Transport::Tcp, to);
    assert_eq!(rig.dialbacks, [(alice, wanted)]);
    let answer = Dialback::Answer(Transport::Tcp, 7000, DialOutcome::TimedOut);
    rig.tell(Input::Dialback(alice, answer));
    assert_eq!(said(&mut rig), [(alice, answer)]);

    let ask = Dialback::Ask(Transport::Utp, 6881);
    rig.tell(Input::Dialback(alice, ask));
    assert_eq!(said(&mut rig), [(alice, ask)]);
    rig.dialbacks.clear();
    let answer = Dialback::Answer(Transport::Utp, 6881, DialOutcome::Refused);
    says(&mut rig, alice, answer.encode());
    let answered = DialbackEvent::Answered(far(1).ip(), Transport::Utp, DialOutcome::Refused);
    assert_eq!(rig.dialbacks, [(alice, answered)]);
}

#[test]
fn nobody_has_us_dial_often() {
    let (mut rig, id) = rig(true);
    let not_tried = |transport, port| Dialback::Answer(transport, port, DialOutcome::NotTried);
    let alice = peer(&mut rig, id, 1);
    rig.dialbacks.clear();
    for port in 1..20 {
        says(
            &mut rig,
            alice,
            Dialback::Ask(Transport::Tcp, port).encode(),
        );
    }
    assert_eq!(rig.dialbacks.len(), 1, "once for each connection");
    assert!(said(&mut rig).contains(&(alice, not_tried(Transport::Tcp, 2))));
    let others: Vec<ConnId> = (2..20).map(|n| peer(&mut rig, id, n)).collect();
    rig.dialbacks.clear();
    for &other in &others {
        says(&mut rig, other, Dialback::Ask(Transport::Tcp, 1).encode());
    }
    assert_eq!(rig.dialbacks.len(), 5, "six a minute in all");
    rig.run(Duration::from_secs(61));
    rig.dialbacks.clear();
    says(
        &mut rig,
        others[0],
        Dialback::Ask(Transport::Utp, 1).encode(),
    );
    assert_eq!(rig.dialbacks.len(), 1);
}

#[test]
fn nonsense_ends_the_connection_and_without_the_extension_nothing_is_said() {
    let (mut rig1, id) = rig(true);
    let eve = peer(&mut rig1, id, 1);
    says(&mut rig1, eve, vec![7; 3]);
    assert!(matches!(rig1.closed[..], [(conn, Reason::Protocol(_))] if conn == eve));

    let (mut off, id) = rig(false);
    let alice = peer(&mut off, id, 1);
    says(&mut off, alice, Dialback::Ask(Transport::Tcp, 1).encode());
    assert_eq!(off.dialbacks, []);
}
