//! Connections and upload slots: new limits while it runs.

mod rig;

use std::time::Duration;

use rig::{Rig, far};
use swarm::{Config, ConnId, Input, Reason, Source, TorrentId};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn connections_that_are_too_many_go_the_worst_first() {
    let mut rig = Rig::new(Config::default());
    let id = rig.add(0, 4000, false);
    let other = rig.add(1, 4, true);
    let quick = rig.seed(id, far(1));
    rig.wire(quick).delay = SECOND / 10;
    let slow = rig.seed(id, far(2));
    rig.wire(slow).delay = SECOND;
    let choking = rig.seed(id, far(3));
    rig.tell(Input::Message(choking, torrent::wire::Message::Choke));
    let idle = rig.greet(id, far(4));
    let visitor = rig.leech(other, far(5));
    rig.run(5 * SECOND);
    rig.tell(Input::Peers(id, Source::Tracker, vec![far(6)]));
    assert_eq!(rig.session.connections(), 6);

    let limits = |all, per_torrent| Input::Connections {
        all,
        per_torrent,
        dials: 1,
    };
    rig.tell(limits(6, 3));
    assert_eq!(rig.closed, [(idle, Reason::Full)]);
    rig.closed.clear();
    rig.tell(limits(3, 3));
    assert_eq!(
        rig.closed,
        [(rig.dials[0].0, Reason::Full), (choking, Reason::Full)]
    );
    rig.closed.clear();
    rig.tell(limits(2, 3));
    assert_eq!(rig.closed, [(slow, Reason::Full)]);
    rig.run(2 * SECOND);
    rig.tell(limits(1, 1));
    assert_eq!(rig.closed.len(), 2);
    assert!(rig.wires.contains_key(&quick) || rig.wires.contains_key(&visitor));

    // With room again those who were shut out are dialled.
    rig.dials.clear();
    rig.tell(limits(100, 50));
    rig.run(60 * SECOND);
    assert!(!rig.dials.is_empty());
}

/// A seed with so many who want something.
fn seed(leeches: u32, slots: usize) -> (Rig, Vec<ConnId>) {
    let mut rig = Rig::new(Config {
        unchoke_slots: slots,
        limit_up: 10_000_000,
        ..Config::default()
    });
    let id = rig.add(0, 400, true);
    let conns = (0..leeches).map(|n| rig.leech(id, far(n))).collect();
    (rig, conns)
}

fn served(rig: &Rig) -> usize {
    rig.wires.values().filter(|w| w.unchoked).count()
}

#[test]
fn slots_are_as_many_as_was_said_last() {
    let (mut rig, conns) = seed(12, 4);
    rig.run(5 * SECOND);
    assert_eq!(served(&rig), 5, "four and an optimistic one");
    rig.tell(Input::Slots(9));
    assert_eq!(served(&rig), 9, "at once");
    // Whoever takes nothing loses its slot before those who take.
    let lazy = conns
        .iter()
        .copied()
        .find(|c| rig.wires[c].unchoked)
        .unwrap();
    rig.wire(lazy).asks = false;
    rig.run(8 * SECOND);
    rig.tell(Input::Slots(2));
    assert!(served(&rig) <= 3 && !rig.wires[&lazy].unchoked);
    rig.run(30 * SECOND);
    assert_eq!(served(&rig), 3, "two and an optimistic one");
    rig.tell(Input::Slots(0));
    rig.run(30 * SECOND);
    assert_eq!(served(&rig), 1);
    assert!(rig.session.status(rig.now, TorrentId(0)).unwrap().sent > 20_000_000);
}
