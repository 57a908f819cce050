//! Somebody reads what is not here yet: it comes first, and holds up the rest for a moment only.

mod rig;

use std::time::Duration;

use rig::{Rig, far};
use swarm::{Config, ConnId, Input, TorrentId};
use torrent::wire::Message;

const SECOND: Duration = Duration::from_secs(1);

/// A film and something else, each with a peer that gives it at about 1 MB/s.
fn film() -> (Rig, [TorrentId; 2], [ConnId; 2]) {
    let mut rig = Rig::new(Config {
        max_outstanding: 16,
        ..Config::default()
    });
    let ids = [rig.add(0, 400, false), rig.add(1, 400, false)];
    let seeds = [rig.seed(ids[0], far(1)), rig.seed(ids[1], far(2))];
    for conn in seeds {
        rig.wire(conn).delay = SECOND / 4;
    }
    rig.run(5 * SECOND);
    (rig, ids, seeds)
}

/// Blocks asked of somebody within so long from now on.
fn asked(rig: &mut Rig, conn: ConnId, time: Duration) -> usize {
    let before = rig.wires[&conn].asked.len();
    rig.run(time);
    rig.wires[&conn].asked.len() - before
}

#[test]
fn what_is_read_comes_first_and_alone() {
    let (mut rig, [film, _], [_, other]) = film();
    let now = rig.now;
    rig.tell(Input::Deadline(film, 300, now));
    rig.tell(Input::Deadline(film, 301, now + SECOND));
    let before = rig.elapsed();
    let while_read = asked(&mut rig, other, SECOND / 2);
    let have = |rig: &Rig, piece| rig.session.have(film).unwrap().get(piece);
    assert!(while_read == 0 && !have(&rig, 301), "{while_read}");
    rig.run(SECOND);
    assert!(have(&rig, 300) && have(&rig, 301));
    let mut pieces: Vec<u32> = rig
        .wires
        .values()
        .flat_map(|w| &w.asked)
        .filter(|a| a.0 - rig.start >= before)
        .map(|a| a.1.piece)
        .collect();
    pieces.dedup();
    assert_eq!(pieces[..2], [300, 301]);
    let after = asked(&mut rig, other, SECOND);
    assert!(after > 20, "{after} blocks of the other afterwards");
}

#[test]
fn what_never_comes_holds_up_nobody_for_long() {
    let (mut rig, [film, _], [seed, other]) = film();
    // From now on it sends nothing.
    rig.wire(seed).delay = 3600 * SECOND;
    for second in 0..20 {
        // A player that waits asks again and again.
        let now = rig.now;
        rig.tell(Input::ClearDeadlines(film));
        rig.tell(Input::Deadline(film, 300, now));
        let blocks = asked(&mut rig, other, SECOND);
        assert!(second < 6 || blocks > 20, "{blocks} in second {second}");
    }
}

#[test]
fn what_nobody_gives_holds_up_nobody() {
    let (mut rig, [film, _], [seed, other]) = film();
    rig.tell(Input::Message(seed, Message::Choke));
    let now = rig.now;
    rig.tell(Input::Deadline(film, 300, now));
    assert!(asked(&mut rig, other, SECOND) > 20);
    // Nor does one who reads no more.
    rig.wire(seed).delay = 3600 * SECOND;
    rig.tell(Input::Message(seed, Message::Unchoke));
    assert_eq!(asked(&mut rig, other, SECOND / 2), 0);
    rig.tell(Input::ClearDeadlines(film));
    rig.run(SECOND);
    assert!(asked(&mut rig, other, SECOND) > 20);
}
