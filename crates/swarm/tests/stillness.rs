//! A session with nothing to do does nothing; a paused torrent has nobody.

mod rig;

use std::time::Duration;

use rig::{Rig, far};
use swarm::{Config, Failure, Input, Reason, Road, Source, TorrentId};

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn ten_thousand_complete_torrents_wake_nobody() {
    let mut rig = Rig::new(Config::default());
    for id in 0..10_000 {
        rig.add(id, 1, true);
        assert_eq!(rig.session.deadline(), None, "after torrent {id}");
    }
    // A visitor comes, and goes: a minute later all is still again.
    let conn = rig.leech(TorrentId(5000), far(1));
    assert!(rig.session.deadline().is_some());
    rig.run(MINUTE);
    assert!(rig.wires[&conn].sent > 0);
    rig.tell(Input::Disconnected(conn));
    rig.run(MINUTE);
    rig.wakes = 0;
    rig.run(60 * MINUTE);
    assert_eq!((rig.wakes, rig.session.deadline()), (0, None));
}

#[test]
fn a_paused_torrent_has_nobody_and_forgets_nobody() {
    let mut rig = Rig::new(Config {
        max_dials: 3,
        ..Config::default()
    });
    let id = rig.add(0, 4, false);
    let peer = rig.greet(id, far(100));
    let addrs: Vec<_> = (0..5).map(far).collect();
    rig.tell(Input::Peers(id, Source::Tracker, addrs.clone()));
    assert_eq!(rig.dials.len(), 3);
    rig.tell(Input::Connected(rig.dials[0].0, Road::TCP));

    rig.tell(Input::Pause(id, Some("for now".into())));
    let closed: Vec<_> = rig.closed.iter().map(|c| c.0).collect();
    let mut all: Vec<_> = rig.dials.iter().map(|d| d.0).collect();
    all.push(peer);
    assert!(all.iter().all(|conn| closed.contains(conn)), "{closed:?}");
    assert!(rig.closed.iter().all(|c| c.1 == Reason::Stopped));
    assert_eq!(rig.session.connections(), 0);
    rig.dials.clear();
    rig.tell(Input::Peers(id, Source::Tracker, vec![far(9)]));
    rig.run(5 * MINUTE);
    assert_eq!((rig.dials.len(), rig.session.deadline()), (0, None));

    // A dial that fails makes room for the next, until all were tried.
    rig.tell(Input::Pause(id, None));
    let mut tried = Vec::new();
    while let Some((conn, addr)) = rig.dials.pop() {
        tried.push(addr);
        rig.tell(Input::DialFailed(conn, Failure::Refused));
    }
    tried.sort();
    assert_eq!(tried, [&addrs[..], &[far(9)]].concat(), "all at once");
}

#[test]
fn a_write_that_failed_ends_dials_too() {
    let mut rig = Rig::new(Config::default());
    let id = rig.add(0, 4, false);
    rig.tell(Input::Peers(id, Source::Tracker, vec![far(1)]));
    assert_eq!(rig.session.connections(), 1);
    rig.tell(Input::WriteFailed(id, 0, "the disk is full".into()));
    assert_eq!(rig.session.connections(), 0);
}
