//! Rate limits, seen from the driver's loop.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use swarm::{Add, Config, Input, Output, Session, TorrentId};
use torrent::metainfo::Metainfo;
use torrent::wire::{Handshake, Message, Reserved};

#[test]
fn a_limit_that_holds_nobody_back_wakes_nobody() {
    let mut now = Instant::now();
    let config = Config {
        limit_down: 100_000,
        limit_up: 100_000,
        ..Config::default()
    };
    let mut session = Session::new(config, 1, now);
    let album = include_bytes!("../../torrent/testdata/golden/folder-v1-64.torrent");
    let info = Metainfo::parse(album).unwrap().info;
    let add = Add {
        id: TorrentId(0),
        hashes: info.hashes(),
        info: Some(Arc::new(info.clone())),
        layers: Default::default(),
        have: None,
        checking: false,
        file_priorities: Vec::new(),
        peers: Vec::new(),
    };
    session.handle(now, Input::Add(Box::new(add)));
    let alice = session.next_conn();
    session.handle(
        now,
        Input::Incoming(alice, SocketAddr::from(([10, 0, 0, 1], 6881))),
    );
    let theirs = Handshake {
        reserved: Reserved::default().with_fast(),
        info_hash: info.hashes().best().unwrap(),
        peer_id: *b"-AL0000-000000000000",
    };
    session.handle(now, Input::Handshake(alice, theirs));
    now += Duration::from_secs(1);
    session.handle(now, Input::Message(alice, Message::HaveAll));
    session.handle(now, Input::Message(alice, Message::Unchoke));

    session.handle(now, Input::Timeout);
    let (mut requests, mut wakes) = (0, 0);
    let end = now + Duration::from_secs(3);
    while now < end {
        while let Some(output) = session.poll() {
            requests += usize::from(matches!(output, Output::Send(_, Message::Request(_))));
        }
        let deadline = session.deadline().expect("there is a peer");
        assert!(deadline > now, "woken for nothing");
        now = deadline;
        wakes += 1;
        session.handle(now, Input::Timeout);
    }
    // Nothing is ever delivered, so no more than the first window goes out.
    assert!((2..=16).contains(&requests), "{requests} requests");
    assert!(wakes < 30, "{wakes} wake-ups in three seconds");
}
