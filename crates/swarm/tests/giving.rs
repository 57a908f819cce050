//! Who wants nothing more (BEP 21), who lost something (BEP 54), and who shows little at a time (BEP 16).

mod rig;

use std::time::Duration;

use rig::{Rig, far};
use swarm::{Config, ConnId, Input, Reason, Source, TorrentId};
use torrent::extension::{DontHave, Handshake, Ids, UploadOnly};
use torrent::wire::{BlockRef, Message};

const SECOND: Duration = Duration::from_secs(1);
/// The numbers under which the peers of these tests take `upload_only` and `lt_donthave`.
const UPLOAD_ONLY: u8 = 7;
const DONT_HAVE: u8 = 8;

fn peer(rig: &mut Rig, id: TorrentId, n: u32) -> ConnId {
    let conn = rig.greet(id, far(n));
    let m = Ids {
        upload_only: Some(UPLOAD_ONLY),
        lt_donthave: Some(DONT_HAVE),
        ..Ids::default()
    };
    let handshake = Handshake {
        m,
        ..Handshake::default()
    };
    rig.introduces_itself(conn, &handshake);
    conn
}

fn told(rig: &Rig, conn: ConnId, number: u8) -> Vec<Vec<u8>> {
    let to = rig
        .extended
        .iter()
        .filter(|(to, id, _)| (*to, *id) == (conn, number));
    to.map(|(_, _, payload)| payload.clone()).collect()
}

fn block(piece: u32) -> BlockRef {
    BlockRef {
        piece,
        begin: 0,
        len: 16_384,
    }
}

#[test]
fn a_peer_is_told_when_we_want_no_more_and_when_we_do_again() {
    let mut rig = Rig::new(Config::default());
    let id = rig.add(0, 4, true);
    let alice = peer(&mut rig, id, 1);
    let ours = Handshake::parse(&told(&rig, alice, 0)[0]).unwrap();
    assert_eq!(ours.upload_only, Some(true));
    rig.tell(Input::Message(alice, Message::HaveNone));

    rig.tell(Input::Lost(id, 2));
    assert_eq!(told(&rig, alice, DONT_HAVE), [DontHave(2).encode()]);
    assert_eq!(told(&rig, alice, UPLOAD_ONLY), [UploadOnly(false).encode()]);
    // Of a file that is not wanted nothing is missed.
    rig.tell(Input::Prioritize(id, vec![0]));
    let both = [UploadOnly(false).encode(), UploadOnly(true).encode()];
    assert_eq!(told(&rig, alice, UPLOAD_ONLY), both);
    rig.tell(Input::Prioritize(id, vec![4]));
    assert_eq!(told(&rig, alice, UPLOAD_ONLY).len(), 3);
}

#[test]
fn two_who_want_no_more_part_though_neither_has_everything() {
    let mut rig = Rig::new(Config::default());
    let id = rig.add(0, 4, true);
    rig.tell(Input::Lost(id, 2));
    rig.tell(Input::Prioritize(id, vec![0]));
    let (alice, bob) = (peer(&mut rig, id, 1), peer(&mut rig, id, 2));
    for conn in [alice, bob] {
        rig.tell(Input::Message(conn, Message::Bitfield(vec![0x80])));
    }
    assert_eq!(rig.closed, []);
    let payload = UploadOnly(true).encode();
    rig.tell(Input::Message(alice, Message::Extended { id: 4, payload }));
    assert_eq!(rig.closed, [(alice, Reason::Redundant)]);
    // While we want more, such a peer is welcome.
    rig.tell(Input::Prioritize(id, vec![4]));
    let payload = UploadOnly(true).encode();
    rig.tell(Input::Message(bob, Message::Extended { id: 4, payload }));
    assert_eq!(rig.closed.len(), 1);
}

#[test]
fn what_a_peer_has_no_more_is_not_asked_of_it() {
    let mut rig = Rig::new(Config::default());
    let id = rig.add(0, 4, false);
    let alice = peer(&mut rig, id, 1);
    rig.tell(Input::Message(alice, Message::HaveAll));
    for piece in 0..3 {
        let payload = DontHave(piece).encode();
        rig.tell(Input::Message(alice, Message::Extended { id: 3, payload }));
    }
    rig.tell(Input::Message(alice, Message::Unchoke));
    rig.run(SECOND);
    let asked = &rig.wires[&alice].asked;
    assert_eq!(asked.len(), 16);
    assert!(asked.iter().all(|(_, block)| block.piece == 3));
    // It says so of a piece that does not exist: that is nothing to anybody.
    let payload = DontHave(99).encode();
    rig.tell(Input::Message(alice, Message::Extended { id: 3, payload }));
    assert_eq!(rig.closed, []);
}

#[test]
fn a_seed_that_was_seen_is_dialled_again_only_when_something_is_wanted() {
    let mut rig = Rig::new(Config::default());
    let id = rig.add(0, 4, true);
    rig.tell(Input::Peers(id, Source::Tracker, vec![far(1)]));
    rig.run(5 * SECOND);
    let (bob, _) = rig.dials[0];
    rig.dialled(bob, id);
    rig.tell(Input::Connected(bob, swarm::Road::TCP));
    rig.hello(bob);
    rig.tell(Input::Message(bob, Message::HaveAll));
    assert_eq!(rig.closed, [(bob, Reason::Redundant)]);
    rig.dials.clear();
    for _ in 0..10 {
        rig.tell(Input::Peers(id, Source::Tracker, vec![far(1)]));
        rig.run(600 * SECOND);
    }
    assert_eq!(rig.dials, []);
    rig.tell(Input::Lost(id, 0));
    rig.run(2 * SECOND);
    assert_eq!(rig.dials.len(), 1);
}

#[test]
fn a_super_seed_shows_the_next_piece_when_the_last_was_passed_on() {
    let mut rig = Rig::new(Config::default());
    let id = rig.add(0, 40, true);
    rig.tell(Input::SuperSeed(id, true));
    let (alice, bob) = (rig.leech(id, far(1)), rig.leech(id, far(2)));
    let ours = Handshake::parse(&told(&rig, alice, 0)[0]).unwrap();
    assert_eq!(ours.upload_only, None);
    rig.run(2 * SECOND);
    let shown = |rig: &Rig, conn| rig.wires[&conn].shown.clone();
    let (to_alice, to_bob) = (shown(&rig, alice), shown(&rig, bob));
    assert_eq!((to_alice.len(), to_bob.len()), (2, 2));
    assert!(to_alice.iter().all(|piece| !to_bob.contains(piece)));

    // Nothing else is given, whatever is asked for.
    rig.run(2 * SECOND);
    rig.up.clear();
    let hidden = (0..40).find(|p| !to_alice.contains(p)).unwrap();
    rig.tell(Input::Message(alice, Message::Request(block(hidden))));
    rig.tell(Input::Message(alice, Message::Request(block(to_alice[0]))));
    let given = rig.up.iter().filter(|(_, conn, _)| *conn == alice);
    assert_eq!(given.count(), 1);

    // Having it is not enough; passing it on is.
    rig.tell(Input::Message(alice, Message::Have(to_alice[0])));
    assert_eq!(shown(&rig, alice).len(), 2);
    rig.tell(Input::Message(bob, Message::Have(to_alice[0])));
    assert_eq!((shown(&rig, alice).len(), shown(&rig, bob).len()), (3, 2));

    // Somebody else has everything: there is nothing to be saved any more.
    let carol = rig.greet(id, far(3));
    rig.tell(Input::Message(carol, Message::HaveAll));
    let mut all = shown(&rig, alice);
    all.sort_unstable();
    assert!(all.iter().copied().eq(0..40), "{all:?}");
}

#[test]
fn a_super_seed_with_one_peer_serves_it_as_any() {
    let mut rig = Rig::new(Config::default());
    let id = rig.add(0, 40, true);
    rig.tell(Input::SuperSeed(id, true));
    let alice = rig.leech(id, far(1));
    for _ in 0..39 {
        let shown = rig.wires[&alice].shown.clone();
        let missing = shown.iter().find(|p| !rig.wires[&alice].has.contains(p));
        let Some(&piece) = missing else { break };
        rig.wire(alice).has.push(piece);
        rig.tell(Input::Message(alice, Message::Have(piece)));
    }
    assert_eq!(rig.wires[&alice].shown.len(), 40);
}
