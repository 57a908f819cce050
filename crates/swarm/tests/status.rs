//! What is shown of a session, its torrents, peers and files.

mod rig;

use std::sync::Arc;
use std::time::Duration;

use rig::{Rig, far, near};
use swarm::{
    Add, Bitfield, Class, Config, Input, Road, Scope, Source, TorrentId, Totals, Uploading,
};
use torrent::extension;
use torrent::metainfo::Metainfo;
use torrent::wire::Message;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn peers_are_shown_as_they_are() {
    let mut rig = Rig::new(Config {
        max_dials: 1,
        ..Config::default()
    });
    let id = rig.add(0, 4000, false);
    let alice = rig.seed(id, far(1));
    rig.wire(alice).delay = SECOND / 10;
    rig.tell(Input::Peers(id, Source::Tracker, vec![near(2)]));
    let (bob, _) = rig.dials[0];
    rig.dialled(bob, id);
    rig.tell(Input::Connected(bob, Road::UTP));
    rig.hello(bob);
    let v = extension::Handshake {
        v: Some("Birdsong 1.2".into()),
        ..Default::default()
    };
    let payload = v.encode();
    rig.tell(Input::Message(bob, Message::Extended { id: 0, payload }));
    rig.tell(Input::Message(bob, Message::Have(7)));
    rig.tell(Input::Message(bob, Message::Interested));
    rig.run(5 * SECOND);

    let peers = rig.session.peer_status(rig.now, id);
    let [a, b] = &peers[..] else {
        panic!("{peers:?}")
    };
    assert_eq!((a.conn, a.addr, a.class), (alice, far(1), Class::Other));
    assert_eq!((a.source, a.outgoing), (Source::Incoming, false));
    assert_eq!((a.pieces, a.connected), (4000, 5 * SECOND));
    assert!(a.interested && !a.chokes_us && a.choked && !a.interested_in_us && a.fast);
    assert_eq!(a.received, rig.wires[&alice].received);
    assert!(a.rate_down > 1_000_000 && a.asked > 4 && !a.snubs_us);
    assert_eq!((b.addr, b.class), (near(2), Class::Lan));
    assert_eq!((b.source, b.outgoing), (Source::Tracker, true));
    assert_eq!(b.client.as_deref(), Some("Birdsong 1.2"));
    assert_eq!((b.pieces, b.received, b.rate_down), (1, 0, 0));
    assert!(b.interested_in_us && b.chokes_us);
    assert!(rig.session.peer_status(rig.now, TorrentId(9)).is_empty());
}

#[test]
fn totals_are_of_all_torrents_also_of_those_that_are_gone() {
    let mut rig = Rig::new(Config::default());
    assert_eq!(rig.session.totals(rig.now), Totals::default());
    let (get, give) = (rig.add(0, 40, false), rig.add(1, 40, true));
    let seed = rig.seed(get, far(1));
    let leech = rig.leech(give, far(2));
    rig.wire(seed).delay = SECOND;
    rig.run(4 * SECOND);
    let totals = rig.session.totals(rig.now);
    assert_eq!(totals.received, rig.wires[&seed].received);
    assert_eq!(totals.sent, rig.wires[&leech].sent);
    assert!(totals.received > 0 && totals.sent > 0 && totals.connections == 2);
    assert!(totals.rate_down > 0 && totals.rate_up > 0);
    // A request of 17 bytes and a header of 13 for each block, and little else.
    for (overhead, blocks, other_way) in [
        (totals.overhead_received, totals.received, totals.sent),
        (totals.overhead_sent, totals.sent, totals.received),
    ] {
        let least = blocks / 16_384 * 13 + other_way / 16_384 * 17;
        assert!((least..least + 50_000).contains(&overhead), "{totals:?}");
    }
    rig.tell(Input::Remove(give));
    let after = rig.session.totals(rig.now);
    assert_eq!((after.sent, after.connections), (totals.sent, 1));
}

#[test]
fn done_bytes_of_files_follow_their_pieces() {
    let goldens: [&[u8]; 3] = [
        include_bytes!("../../torrent/testdata/golden/folder-v1-64.torrent"),
        include_bytes!("../../torrent/testdata/golden/folder-v2-64.torrent"),
        include_bytes!("../../torrent/testdata/golden/folder-hybrid-64.torrent"),
    ];
    for golden in goldens {
        let info = Metainfo::parse(golden).unwrap().info;
        let layout = info.layout();
        for holes in [0, 1, 3] {
            let mut have = Bitfield::full(layout.pieces());
            let gone = (0..layout.pieces()).filter(|p| holes > 0 && p % holes == 0);
            gone.for_each(|p| {
                have.clear(p);
            });
            let mut expected = vec![0; layout.files()];
            for piece in have.iter() {
                for span in layout.spans(piece, 0, layout.piece_len(piece)) {
                    expected[span.file] += u64::from(span.len);
                }
            }
            let mut rig = Rig::new(Config::default());
            let add = Add {
                id: TorrentId(0),
                hashes: info.hashes(),
                info: Some(Arc::new(info.clone())),
                layers: Default::default(),
                have: Some(have),
                checking: false,
                file_priorities: Vec::new(),
                peers: Vec::new(),
            };
            rig.tell(Input::Add(Box::new(add)));
            let done = (0..).map_while(|file| rig.session.file_done(TorrentId(0), file));
            assert_eq!(done.collect::<Vec<u64>>(), expected);
        }
    }
    let empty = Rig::new(Config::default());
    assert_eq!(empty.session.file_done(TorrentId(0), 0), None);
}

#[test]
fn serving_shows_whether_more_slots_would_help() {
    let mut rig = Rig::new(Config {
        unchoke_slots: 3,
        ..Config::default()
    });
    assert_eq!(rig.session.uploading(), Uploading::default());
    let id = rig.add(0, 400, true);
    let conns: Vec<_> = (0..6).map(|n| rig.leech(id, far(n))).collect();
    // All roads are full: the network holds them up.
    let now = rig.session.uploading();
    assert_eq!((now.served, now.full, now.idle, now.waiting), (3, 3, 0, 3));
    assert!(!now.limited);
    rig.run(SECOND / 2);
    let sent = rig.session.uploading().sent;
    assert!(sent > now.sent);
    assert_eq!(sent, rig.session.totals(rig.now).sent);

    // A limit holds them up.
    rig.tell(Input::Limits(Scope::Session, 0, 50_000));
    rig.run(SECOND / 2);
    let now = rig.session.uploading();
    assert!(now.limited && now.full == 0, "{now:?}");

    // Nobody asks.
    rig.tell(Input::Limits(Scope::Session, 0, 0));
    conns.iter().for_each(|&c| rig.wire(c).asks = false);
    rig.run(3 * SECOND);
    let now = rig.session.uploading();
    assert_eq!((now.full, now.idle, now.limited), (0, now.served, false));
    assert!(now.served >= 3, "{now:?}");
}

#[test]
fn what_goes_to_the_free_local_network_says_nothing_of_the_uplink() {
    let mut rig = Rig::new(Config {
        unchoke_slots: 3,
        lan_free: true,
        ..Config::default()
    });
    let id = rig.add(0, 400, true);
    let alice = rig.leech(id, far(1));
    let bob = rig.leech(id, near(1));
    for n in 2..6 {
        rig.leech(id, near(n));
    }
    rig.run(SECOND);
    let (far_sent, near_sent) = (rig.wires[&alice].sent, rig.wires[&bob].sent);
    assert!(far_sent > 0 && near_sent > 0);
    let now = rig.session.uploading();
    assert_eq!(now.sent, far_sent);
    // Of those who wait only alice could.
    assert!(now.served < 5 && now.waiting <= 1, "{now:?}");

    // Once it is bound like all others it counts like them, from then on.
    let all = rig.session.totals(rig.now).sent;
    rig.tell(Input::LanFree(false));
    rig.run(SECOND);
    let after = rig.session.uploading();
    let more = rig.session.totals(rig.now).sent - all;
    assert!(more > rig.wires[&alice].sent - far_sent);
    assert_eq!(after.sent - now.sent, more);
}
