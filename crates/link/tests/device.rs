//! Two devices on one computer.
#![allow(clippy::unwrap_used)] // a panic with a place is the report

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use link::device::{Closed, Config, Connection, Devices, DialError, Road, StreamError, Target};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

/// Nothing here takes so long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(60);

fn config(seed: u8) -> Config {
    Config {
        secret: [seed; 32],
        bind: vec![SocketAddr::from(([127, 0, 0, 1], 0))],
        relays: Vec::new(),
        lan_only: false,
    }
}

async fn device(seed: u8) -> Devices {
    Devices::bind(&config(seed)).await.unwrap()
}

fn target(device: &Devices) -> Target {
    Target {
        key: device.key(),
        quic: device.listening(),
        relays: Vec::new(),
    }
}

async fn connected() -> (Devices, Devices, Connection, Connection) {
    let (alice, bob) = (device(1).await, device(2).await);
    let to_bob = target(&bob);
    let (there, here) = tokio::join!(alice.dial(&to_bob), bob.accept());
    (alice, bob, there.unwrap(), here.unwrap())
}

async fn in_time<T>(what: impl Future<Output = T>) -> T {
    timeout(PATIENCE, what).await.expect("it hangs")
}

#[tokio::test]
async fn both_know_the_key_of_the_other_and_share_a_secret() {
    in_time(async {
        let (alice, bob, there, here) = connected().await;
        assert_eq!(there.peer(), bob.key());
        assert_eq!(here.peer(), alice.key());
        assert!(there.dialled() && !here.dialled());
        assert_eq!(there.exporter(b"one"), here.exporter(b"one"));
        assert_ne!(there.exporter(b"one"), there.exporter(b"two"));
        assert_eq!(there.road(), Some(Road::Direct(bob.listening()[0])));
        assert_eq!(here.road(), Some(Road::Direct(alice.listening()[0])));
        assert!(there.round_trip().is_some());
        // Another connection has another secret.
        let eve = device(3).await;
        let other = eve.dial(&target(&bob)).await.unwrap();
        assert_ne!(other.exporter(b"one"), there.exporter(b"one"));
    })
    .await;
}

#[tokio::test]
async fn streams_carry_bytes_both_ways() {
    in_time(async {
        let (_alice, _bob, there, here) = connected().await;
        let payload: Vec<u8> = (0..3_000_000u32).map(|i| (i ^ (i >> 9)) as u8).collect();
        let sent = Bytes::from(payload.clone());
        let ask = async {
            let (mut out, mut back) = there.open().await.unwrap();
            out.send(sent).await.unwrap();
            out.finish();
            let mut answer = Vec::new();
            back.read_to_end(&mut answer).await.unwrap();
            answer
        };
        let answer = async {
            let (mut out, mut back) = here.accept().await.unwrap();
            while let Some(part) = back.receive(1 << 16).await.unwrap() {
                out.write_all(&part).await.unwrap();
            }
            out.finish();
        };
        let (received, ()) = tokio::join!(ask, answer);
        assert!(received == payload);
    })
    .await;
}

#[tokio::test]
async fn a_stream_given_up_says_so_on_the_other_side() {
    in_time(async {
        let (_alice, _bob, there, here) = connected().await;
        let (mut out, _back) = there.open().await.unwrap();
        out.send(Bytes::from_static(b"first")).await.unwrap();
        let (mut theirs, mut back) = here.accept().await.unwrap();
        assert_eq!(back.receive(99).await.unwrap().unwrap().as_ref(), b"first");
        out.reset(17);
        assert_eq!(back.receive(99).await, Err(StreamError::Reset(17)));
        drop(_back);
        let refused = loop {
            if let Err(error) = theirs.send(Bytes::from_static(b"more")).await {
                break error;
            }
            tokio::task::yield_now().await;
        };
        assert_eq!(refused, StreamError::Stopped(0));
        // A stream that is forgotten ends as an error, not as if all had come.
        let (mut out, _keep) = there.open().await.unwrap();
        out.send(Bytes::from_static(b"half")).await.unwrap();
        drop(out);
        let (_theirs, mut back) = here.accept().await.unwrap();
        let end = loop {
            match back.receive(99).await {
                Ok(Some(_)) => {}
                end => break end,
            }
        };
        assert_eq!(end, Err(StreamError::Reset(0)));
    })
    .await;
}

#[tokio::test]
async fn a_reason_for_closing_arrives() {
    in_time(async {
        let (_alice, _bob, there, here) = connected().await;
        there.close(40, "the share has expired");
        let text = "the share has expired".to_owned();
        assert_eq!(here.closed().await, Closed::There { code: 40, text });
        assert_eq!(there.closed().await, Closed::Here);
        assert_eq!(there.open().await.err(), Some(Closed::Here));
    })
    .await;
}

#[tokio::test]
async fn a_device_with_another_key_is_not_taken_for_the_one_dialled() {
    in_time(async {
        let (alice, bob, eve) = (device(1).await, device(2).await, device(3).await);
        let wrong = Target {
            key: bob.key(),
            ..target(&eve)
        };
        let error = alice.dial(&wrong).await.err().unwrap();
        assert!(matches!(error, DialError::Failed(_)), "{error:?}");
        let own = alice.dial(&target(&alice)).await.err().unwrap();
        assert!(matches!(own, DialError::Ourselves), "{own:?}");
        let nowhere = Target {
            quic: Vec::new(),
            ..target(&bob)
        };
        let error = alice.dial(&nowhere).await.err().unwrap();
        assert!(matches!(error, DialError::NoAddress), "{error:?}");
    })
    .await;
}

#[tokio::test]
async fn there_is_one_connection_to_a_device() {
    in_time(async {
        let (alice, bob, there, here) = connected().await;
        assert!(alice.dial(&target(&bob)).await.unwrap().is(&there));
        assert!(bob.dial(&target(&alice)).await.unwrap().is(&here));
        there.close(0, "");
        here.closed().await;
        assert!(bob.connection(&alice.key()).is_none());
        let again = bob.dial(&target(&alice)).await.unwrap();
        assert!(again.dialled());
    })
    .await;
}

#[tokio::test]
async fn devices_that_dial_each_other_at_once_keep_the_same_connection() {
    for round in 0..8 {
        in_time(async {
            let (alice, bob) = (device(10 + round).await, device(30 + round).await);
            let (to_alice, to_bob) = (target(&alice), target(&bob));
            // Either may have been told of a connection that was overruled a moment later.
            let mut seen = Vec::new();
            let (here, there) = loop {
                let pair = tokio::join!(alice.dial(&to_bob), bob.dial(&to_alice));
                if let (Ok(here), Ok(there)) = &pair
                    && here.exporter(b"which") == there.exporter(b"which")
                {
                    break (here.clone(), there.clone());
                }
                seen.push(pair);
                tokio::task::yield_now().await;
            };
            assert_ne!(here.dialled(), there.dialled());
            assert!(here.close_reason().is_none() && there.close_reason().is_none());
        })
        .await;
    }
}

#[tokio::test]
async fn addresses_from_outside_are_known() {
    in_time(async {
        let alice = device(1).await;
        let before = alice.addresses();
        let outside = SocketAddr::from(([203, 0, 113, 7], 4242));
        let (after, ()) = tokio::join!(
            alice.addresses_changed(&before),
            alice.add_external(outside)
        );
        assert!(after.quic.contains(&outside), "{after:?}");
        assert!(alice.remove_external(outside).await);
        assert!(!alice.remove_external(outside).await);
        assert!(alice.add_relay("relay.example", None).await.is_err());
    })
    .await;
}

#[tokio::test]
async fn in_the_local_network_alone_nothing_else_is_dialled() {
    in_time(async {
        let mut config = config(1);
        config.lan_only = true;
        config.relays = vec!["http://127.0.0.1:9".to_owned()];
        let alice = Devices::bind(&config).await.unwrap();
        let bob = device(2).await;
        assert!(alice.add_relay("http://127.0.0.1:9", None).await.is_err());
        let there = alice.dial(&target(&bob)).await.unwrap();
        assert_eq!(there.peer(), bob.key());
        let by_relay = Target {
            key: device(3).await.key(),
            quic: Vec::new(),
            relays: vec!["http://127.0.0.1:9".to_owned()],
        };
        let error = alice.dial(&by_relay).await.err().unwrap();
        assert!(matches!(error, DialError::NoAddress), "{error:?}");
    })
    .await;
}
