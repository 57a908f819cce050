//! Two devices on one computer.
#![allow(clippy::unwrap_used)] // a panic with a place is the report

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use link::device::{
    Closed, Config, Connection, Devices, DialError, Doorman, Road, StreamError, Target,
};
use link::mse::Noise;
use link::{Answered, Egress, Encryption, Stream, Wire};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::timeout;

/// Nothing here takes so long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(60);

fn config(seed: u8) -> Config {
    Config {
        secret: [seed; 32],
        bind: vec![SocketAddr::from(([127, 0, 0, 1], 0))],
        relays: Vec::new(),
        lan_only: false,
        egress: Egress::default(),
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
        tcp: Vec::new(),
        preface: None,
    }
}

/// What both sides know.
const PREFACE: [u8; 32] = [77; 32];

/// A port where peers and devices come in; peers are sent away.
async fn port(devices: &Devices) -> SocketAddr {
    devices.doorman().expect(&PREFACE);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let devices = devices.clone();
    tokio::task::spawn_local(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let devices = devices.clone();
            tokio::task::spawn_local(async move {
                let doorman = devices.doorman();
                let answered = answer(tcp, &doorman).await;
                if let Ok(Answered::Device(tcp, early)) = answered {
                    devices.admit(tcp, early);
                }
            });
        }
    });
    address
}

async fn answer(tcp: tokio::net::TcpStream, doorman: &Arc<Doorman>) -> std::io::Result<Answered> {
    let noise = || {
        Ok(Noise {
            key: [5; 20],
            pad: Vec::new(),
        })
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let admits = |bytes: &[u8; 32]| doorman.admits(bytes, now.as_secs());
    let torrents = Vec::<[u8; 20]>::new;
    Stream::answer(Wire::Tcp(tcp), Encryption::Prefer, noise, torrents, admits).await
}

/// By TCP alone.
async fn fast_target(device: &Devices) -> Target {
    Target {
        quic: Vec::new(),
        tcp: vec![port(device).await],
        preface: Some(PREFACE),
        ..target(device)
    }
}

async fn connected_fast() -> (Devices, Devices, Connection, Connection) {
    let (alice, bob) = (device(1).await, device(2).await);
    let to_bob = fast_target(&bob).await;
    let (there, here) = tokio::join!(alice.dial(&to_bob), bob.accept());
    (alice, bob, there.unwrap(), here.unwrap())
}

async fn connected() -> (Devices, Devices, Connection, Connection) {
    let (alice, bob) = (device(1).await, device(2).await);
    let to_bob = target(&bob);
    let (there, here) = tokio::join!(alice.dial(&to_bob), bob.accept());
    (alice, bob, there.unwrap(), here.unwrap())
}

async fn in_time<T>(what: impl Future<Output = T>) -> T {
    let here = tokio::task::LocalSet::new();
    let what = here.run_until(what);
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
        carries_bytes(connected().await).await;
        carries_bytes(connected_fast().await).await;
    })
    .await;
}

async fn carries_bytes((_alice, _bob, there, here): (Devices, Devices, Connection, Connection)) {
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
}

#[tokio::test]
async fn a_stream_given_up_says_so_on_the_other_side() {
    in_time(async {
        gives_up(connected().await).await;
        gives_up(connected_fast().await).await;
    })
    .await;
}

async fn gives_up((_alice, _bob, there, here): (Devices, Devices, Connection, Connection)) {
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
}

#[tokio::test]
async fn a_reason_for_closing_arrives() {
    in_time(async {
        closes(connected().await).await;
        closes(connected_fast().await).await;
    })
    .await;
}

async fn closes((_alice, _bob, there, here): (Devices, Devices, Connection, Connection)) {
    there.close(40, "the share has expired");
    let text = "the share has expired".to_owned();
    assert_eq!(here.closed().await, Closed::There { code: 40, text });
    assert_eq!(there.closed().await, Closed::Here);
    assert_eq!(there.open().await.err(), Some(Closed::Here));
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
            ..target(&bob)
        };
        let error = alice.dial(&by_relay).await.err().unwrap();
        assert!(matches!(error, DialError::NoAddress), "{error:?}");
    })
    .await;
}

#[tokio::test]
async fn the_fast_road_proves_both_keys_and_has_secrets_of_its_own() {
    in_time(async {
        let (alice, bob, there, here) = connected_fast().await;
        assert_eq!(there.peer(), bob.key());
        assert_eq!(here.peer(), alice.key());
        assert_eq!(there.exporter(b"one"), here.exporter(b"one"));
        assert_ne!(there.exporter(b"one"), there.exporter(b"two"));
        assert!(matches!(there.road(), Some(Road::Tls(_))));
        assert!(matches!(here.road(), Some(Road::Tls(_))));
        while there.round_trip().is_none() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // Another device at the address is not the one that was meant.
        let wrong = Target {
            key: device(3).await.key(),
            ..fast_target(&bob).await
        };
        let error = alice.dial(&wrong).await.err().unwrap();
        assert!(matches!(error, DialError::Failed(_)), "{error:?}");
    })
    .await;
}

#[tokio::test]
async fn streams_wait_for_a_place() {
    in_time(async {
        let (_alice, _bob, there, here) = connected_fast().await;
        let mut streams = Vec::new();
        for _ in 0..link::device::STREAMS {
            streams.push(there.open().await.unwrap());
        }
        let one_more = there.open();
        tokio::pin!(one_more);
        let early = timeout(Duration::from_millis(50), &mut one_more).await;
        assert!(early.is_err());
        streams.clear();
        let answer = async {
            for _ in 0..link::device::STREAMS {
                drop(here.accept().await.unwrap());
            }
        };
        let (opened, ()) = tokio::join!(one_more, answer);
        opened.unwrap();
    })
    .await;
}

#[tokio::test]
async fn the_fast_road_is_taken_if_there_is_one_and_quic_if_not() {
    in_time(async {
        let (alice, bob) = (device(1).await, device(2).await);
        let both = Target {
            quic: bob.listening(),
            ..fast_target(&bob).await
        };
        let there = alice.dial(&both).await.unwrap();
        assert!(matches!(there.road(), Some(Road::Tls(_))));
        let here = bob.accept().await.unwrap();
        // It breaks, and nobody answers at the port any more.
        there.close(0, "");
        here.closed().await;
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let gone = Target {
            tcp: vec![closed.local_addr().unwrap()],
            ..both.clone()
        };
        drop(closed);
        let there = alice.dial(&gone).await.unwrap();
        assert!(matches!(there.road(), Some(Road::Direct(_))));
        // The fast one comes beside it, and is the one from then on.
        let fast = alice.dial_fast(&both).await.unwrap();
        assert!(there.close_reason().is_none() && !fast.is(&there));
        assert!(alice.dial(&both).await.unwrap().is(&fast));
        fast.close(0, "");
        assert!(alice.dial(&both).await.unwrap().is(&there));
        // Somebody who says nothing does not hold it up.
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let eve = device(3).await;
        let held_up = Target {
            tcp: vec![silent.local_addr().unwrap()],
            ..both
        };
        let there = eve.dial(&held_up).await.unwrap();
        assert!(matches!(there.road(), Some(Road::Direct(_))));
    })
    .await;
}

#[tokio::test]
async fn devices_that_dial_each_other_by_tcp_keep_the_same_connection() {
    for round in 0..8 {
        in_time(async {
            let (alice, bob) = (device(10 + round).await, device(30 + round).await);
            let (to_alice, to_bob) = (fast_target(&alice).await, fast_target(&bob).await);
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
        })
        .await;
    }
}

#[tokio::test]
async fn a_prober_meets_bittorrent() {
    in_time(async {
        let bob = device(2).await;
        let address = port(&bob).await;
        // A preface that is not good, and a TLS handshake behind it; what MSE would read as a key and padding.
        let mut bytes = vec![0xAB; 32];
        bytes.extend([22, 3, 1, 2, 0]);
        bytes.resize(300, 1);
        let mut tcp = tokio::net::TcpStream::connect(address).await.unwrap();
        tcp.write_all(&bytes).await.unwrap();
        let mut answer = [0; 96];
        tcp.read_exact(&mut answer).await.unwrap();
        // A plain handshake is taken as before.
        let alice = device(1).await;
        let good = Target {
            preface: Some([1; 32]),
            ..fast_target(&bob).await
        };
        let error = alice.dial(&good).await.err().unwrap();
        assert!(
            matches!(error, DialError::Failed(_) | DialError::Silent),
            "{error:?}"
        );
    })
    .await;
}

#[tokio::test]
async fn closing_ends_everything_and_gives_the_port_back() {
    in_time(async {
        let (alice, bob, there, here) = connected_fast().await;
        let address = alice.listening()[0];
        let (end, ()) = tokio::join!(alice.accept(), alice.close());
        assert!(end.is_none());
        assert_eq!(there.close_reason(), Some(Closed::Here));
        let told = here.closed().await;
        assert!(matches!(told, Closed::There { code: 0, .. }), "{told:?}");
        assert!(alice.dial(&target(&bob)).await.is_err());
        drop((alice, there));
        while tokio::net::UdpSocket::bind(address).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // Forgotten without a word, it ends as well.
        let carol = device(3).await;
        let address = carol.listening()[0];
        drop(carol);
        while tokio::net::UdpSocket::bind(address).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn behind_a_required_proxy_there_is_no_quic() {
    in_time(async {
        let mut config = config(1);
        config.egress.proxy = Some("socks5://127.0.0.1:1".parse().unwrap());
        config.egress.required = true;
        let alice = Devices::bind(&config).await.unwrap();
        let bob = device(2).await;
        let error = alice.dial(&target(&bob)).await.err().unwrap();
        assert!(matches!(error, DialError::NoAddress), "{error:?}");
        assert!(alice.add_relay("http://127.0.0.1:9", None).await.is_err());
        // The proxy is asked, and is not there.
        let error = alice.dial(&fast_target(&bob).await).await.err().unwrap();
        assert!(matches!(error, DialError::Failed(_)), "{error:?}");
    })
    .await;
}

#[tokio::test]
async fn streams_that_nobody_reads_hold_up_themselves_alone() {
    in_time(async {
        lags(connected().await).await;
        lags(connected_fast().await).await;
    })
    .await;
}

/// Eight streams are full to the brim, with as many unread packets as the QUIC in use bears; a ninth goes on, and
/// nothing of the eight is lost.
async fn lags((_alice, _bob, there, here): (Devices, Devices, Connection, Connection)) {
    const LEN: usize = 4 << 20;
    let mut stalled = Vec::new();
    for n in 0..8 {
        let (mut out, back) = there.open().await.unwrap();
        tokio::task::spawn_local(async move {
            out.send(vec![n; LEN].into()).await.unwrap();
            out.finish();
            drop(back);
        });
        stalled.push(here.accept().await.unwrap().1);
    }
    let (mut out, mut back) = there.open().await.unwrap();
    out.send(Bytes::from_static(b"x")).await.unwrap();
    let (mut answer, mut question) = here.accept().await.unwrap();
    for _ in 0..2000 {
        question.receive(1).await.unwrap().unwrap();
        answer.send(Bytes::from_static(b"y")).await.unwrap();
        back.receive(1).await.unwrap().unwrap();
        out.send(Bytes::from_static(b"x")).await.unwrap();
    }
    for (n, mut back) in (0..).zip(stalled) {
        let mut all = Vec::new();
        back.read_to_end(&mut all).await.unwrap();
        assert!(all.len() == LEN && all.iter().all(|byte| *byte == n));
    }
}
