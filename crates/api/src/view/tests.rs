use serde_json::{Value, json};

use super::*;
use crate::detail::{Carrier, Cover, PeerClass, Road, TrackerState};
use crate::ids::TransferId;

fn peer(address: &str, received: u64, connected_seconds: u64) -> Peer {
    Peer {
        address: address.into(),
        client: None,
        source: "dht".into(),
        class: PeerClass::Other,
        progress: 0.5,
        rate_down: 0,
        rate_up: 0,
        received,
        sent: 0,
        interested: false,
        choking: true,
        peer_interested: false,
        peer_choking: true,
        snubbed: false,
        words: String::new(),
        road: Road {
            carrier: Carrier::Utp,
            cover: Cover::Plain,
            punched: false,
        },
        encrypted: false,
        incoming: false,
        connected_seconds,
    }
}

fn file(index: u32, done: u64) -> File {
    File {
        index,
        path: format!("{index}.bin"),
        size: 100,
        done,
        priority: 4,
        content_url: None,
    }
}

fn files(items: Vec<File>) -> View {
    View {
        files: Some(Items {
            total: items.len() as u32,
            offset: 0,
            items,
        }),
        ..View::default()
    }
}

fn peers(peers: Vec<Peer>) -> View {
    View {
        peers: Some(peers),
        ..View::default()
    }
}

fn trackers(urls: &[(&str, TrackerState)]) -> View {
    let tracker = |(url, state): &(&str, TrackerState)| Tracker {
        url: (*url).into(),
        tier: 0,
        state: *state,
        words: String::new(),
        message: None,
        seeds: None,
        leeches: None,
        peers: 0,
        next_at: None,
    };
    View {
        trackers: Some(urls.iter().map(tracker).collect()),
        ..View::default()
    }
}

/// What is said, as it is sent.
fn said(view: &mut View, newer: View) -> Vec<(&'static str, Value)> {
    let say = |event: &ViewEvent| (event.name(), serde_json::to_value(event).unwrap());
    view.look(newer).iter().map(say).collect()
}

#[test]
fn a_part_is_said_as_a_whole_once_and_then_what_differs() {
    let mut view = View::default();
    assert_eq!(
        said(&mut view, files(vec![file(0, 0), file(1, 0)]))[0].0,
        "files"
    );
    assert_eq!(said(&mut view, files(vec![file(0, 0), file(1, 0)])), []);
    assert_eq!(
        said(&mut view, files(vec![file(0, 0), file(1, 7)])),
        [("files-changed", json!([{"index": 1, "done": 7}]))]
    );
    // Others than before: as when the metadata has come.
    assert_eq!(said(&mut view, files(vec![file(0, 0)]))[0].0, "files");
}

#[test]
fn peers_come_go_and_change() {
    let mut view = View::default();
    let (alice, bob, eve) = ("192.0.2.1:1", "192.0.2.2:1", "192.0.2.3:1");
    said(&mut view, peers(vec![peer(alice, 0, 5), peer(bob, 0, 5)]));
    assert_eq!(
        said(&mut view, peers(vec![peer(bob, 9, 6), peer(eve, 0, 0)])),
        [
            ("peers-removed", json!([alice])),
            ("peers-changed", json!([{"address": bob, "received": 9}])),
            ("peers-added", json!([peer(eve, 0, 0)])),
        ]
    );
}

#[test]
fn time_that_passes_is_not_said_and_a_new_connection_is() {
    let mut view = View::default();
    let alice = "192.0.2.1:1";
    said(&mut view, peers(vec![peer(alice, 0, 5)]));
    assert_eq!(said(&mut view, peers(vec![peer(alice, 0, 50)])), []);
    assert_eq!(
        said(&mut view, peers(vec![peer(alice, 0, 1)])),
        [(
            "peers-changed",
            json!([{"address": alice, "connected_seconds": 1}])
        )]
    );
}

#[test]
fn what_is_named_twice_is_shown_once() {
    let mut view = View::default();
    use TrackerState::{Failed, Idle};
    let whole = said(&mut view, trackers(&[("a", Idle), ("a", Failed)]));
    assert_eq!(whole[0].1.as_array().unwrap().len(), 1);
    assert_eq!(
        said(&mut view, trackers(&[("a", Failed)])),
        [("trackers-changed", json!([{"url": "a", "state": "failed"}]))]
    );
}

/// A look that pseudo-random numbers make.
fn any_look(mut seed: u64) -> View {
    let mut draw = |below: u64| {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    let count = 1 + draw(3);
    let some_files = (0..count).map(|index| file(index as u32, draw(3)));
    let files = files(some_files.collect()).files;
    let mut shown = Vec::new();
    for port in 1..6 {
        if draw(2) == 0 {
            shown.push(peer(&format!("192.0.2.1:{port}"), draw(3), draw(3)));
        }
    }
    let states = [TrackerState::Idle, TrackerState::Working];
    let trackers = trackers(&[
        ("a", states[draw(2) as usize]),
        (["b", "c"][draw(2) as usize], TrackerState::Idle),
    ])
    .trackers;
    let mut transfer = Transfer::new(TransferId(1), "alice");
    transfer.done = draw(3);
    transfer.label = (draw(2) == 0).then(|| "films".to_owned());
    View {
        transfer: Some(Box::new(transfer)),
        files,
        peers: Some(shown),
        trackers,
    }
}

#[test]
fn a_client_ends_with_what_the_daemon_saw() {
    let (mut ours, mut theirs) = (View::default(), View::default());
    for seed in 0..500 {
        for event in ours.look(any_look(seed)) {
            let data = serde_json::to_string(&event).unwrap();
            let read = ViewEvent::read(event.name(), &data).unwrap().unwrap();
            assert_eq!(read, event);
            theirs.apply(read).unwrap();
        }
        // Clients count seconds themselves, and sort as they like.
        let tidy = |view: &View| {
            let mut view = view.clone();
            let peers = view.peers.as_mut().unwrap();
            peers.iter_mut().for_each(|peer| peer.connected_seconds = 0);
            peers.sort_by(|a, b| a.address.cmp(&b.address));
            view
        };
        assert_eq!(tidy(&theirs), tidy(&ours), "seed {seed}");
    }
}

#[test]
fn parts_are_read_as_they_are_written() {
    let parts: ViewParts = "peers,files,peers".parse().unwrap();
    assert_eq!(parts.to_string(), "files,peers");
    assert!(parts.has(ViewPart::Peers) && !parts.has(ViewPart::Transfer));
    for wrong in ["", "peers,", "pears", "peers, files"] {
        assert!(wrong.parse::<ViewParts>().is_err(), "{wrong}");
    }
    assert_eq!(
        ViewParts::default().to_string(),
        "transfer,files,peers,trackers"
    );
}
