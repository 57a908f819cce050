//! A private torrent uses its trackers and nothing else (BEP 27): everything that leaves the node is looked at. A public
//! one beside it shows that there is something to see.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod world;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use torrent::krpc::{Body, Message, NodeId, Response};
use torrent::layout::Kind;
use torrent::metainfo::Metainfo;
use world::{LOOPBACK, Peer, content};

const WITHIN: Duration = Duration::from_secs(60);

type Heard = Arc<Mutex<Vec<Vec<u8>>>>;

/// A DHT node that knows nobody and notes what it hears.
fn dht_node() -> (SocketAddr, Heard) {
    let socket = UdpSocket::bind((LOOPBACK, 0)).unwrap();
    let (addr, heard) = (socket.local_addr().unwrap(), Heard::default());
    let notes = heard.clone();
    std::thread::spawn(move || {
        let mut buf = [0; 4096];
        while let Ok((len, from)) = socket.recv_from(&mut buf) {
            notes.lock().unwrap().push(buf[..len].to_vec());
            if let Ok(Message {
                transaction,
                body: Body::Query(_),
                ..
            }) = Message::parse(&buf[..len])
            {
                let response = Response {
                    nodes: Some(Vec::new()),
                    token: Some(b"token".to_vec()),
                    ..Response::new(NodeId([7; 20]))
                };
                let answer = Message::new(transaction, Body::Response(response));
                let _ = socket.send_to(&answer.encode(), from);
            }
        }
    });
    (addr, heard)
}

/// Notes what is said to all on the local network, as far as this computer hears it.
fn local_network() -> Heard {
    let heard = Heard::default();
    let notes = heard.clone();
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 6771));
    // Where there is no multicast, there is nothing to hear.
    if socket.bind(&any.into()).is_ok() {
        let group = Ipv4Addr::new(239, 192, 152, 143);
        let _ = socket.join_multicast_v4(&group, &Ipv4Addr::LOCALHOST);
        let _ = socket.join_multicast_v4(&group, &Ipv4Addr::UNSPECIFIED);
        let socket = UdpSocket::from(socket);
        std::thread::spawn(move || {
            let mut buf = [0; 4096];
            while let Ok(len) = socket.recv(&mut buf) {
                notes.lock().unwrap().push(buf[..len].to_vec());
            }
        });
    }
    heard
}

/// A tracker that knows nobody and notes what it is asked.
fn tracker() -> (String, Heard) {
    let listener = TcpListener::bind((LOOPBACK, 0)).unwrap();
    let url = format!("http://{}/announce", listener.local_addr().unwrap());
    let heard = Heard::default();
    let notes = heard.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut buf = [0; 4096];
            let len = stream.read(&mut buf).unwrap_or(0);
            notes.lock().unwrap().push(buf[..len].to_vec());
            let body = "d8:completei1e10:incompletei0e8:intervali1800e5:peers0:e";
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all((head + body).as_bytes());
        }
    });
    (url, heard)
}

fn has(heard: &Heard, what: &[u8]) -> bool {
    let heard = heard.lock().unwrap();
    heard
        .iter()
        .any(|one| one.windows(what.len()).any(|part| part == what))
}

fn wait(what: &str, condition: impl Fn() -> bool) {
    let end = Instant::now() + WITHIN;
    while !condition() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// What the node says to a peer in its first messages.
fn greeting(to: SocketAddr, hash: [u8; 20]) -> Vec<u8> {
    let mut stream = TcpStream::connect(to).unwrap();
    let reserved = [0, 0, 0, 0, 0, 0x10, 0, 0];
    let hello = [
        b"\x13BitTorrent protocol",
        &reserved[..],
        &hash,
        b"-XX0000-aaaaaaaaaaaa",
    ]
    .concat();
    stream.write_all(&hello).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    let (mut said, mut buf) = (Vec::new(), [0; 4096]);
    let end = Instant::now() + WITHIN;
    // Its extended handshake (BEP 10), and half a second of what follows.
    loop {
        match stream.read(&mut buf) {
            Ok(0) => return said,
            Ok(len) => said.extend_from_slice(&buf[..len]),
            Err(_) if said.windows(4).any(|part| part == b"1:md") => return said,
            Err(error) => assert!(Instant::now() < end, "{error}"),
        }
    }
}

fn torrent(
    dir: &std::path::Path,
    len: usize,
    tracker: &str,
    private: bool,
) -> (std::path::PathBuf, Metainfo) {
    std::fs::create_dir_all(dir).unwrap();
    let (root, plain) = content(dir, &[len], Kind::V1);
    // The same with what makes it private: an info dictionary of its own.
    let mut info = plain.info.raw().to_vec();
    if private {
        info.truncate(info.len() - 1);
        info.extend(b"7:privatei1ee");
    }
    let announce = format!("d8:announce{}:{tracker}4:info", tracker.len());
    let bytes = [announce.as_bytes(), &info, b"e"].concat();
    (root, Metainfo::parse(&bytes).unwrap())
}

#[test]
fn a_private_torrent_is_told_to_its_tracker_and_to_nobody_else() {
    let dir = tempfile::tempdir().unwrap();
    let (url, asked) = tracker();
    let (entry, dht) = dht_node();
    let lan = local_network();
    let (secret_data, secret) = torrent(&dir.path().join("secret"), 100_000, &url, true);
    let (open_data, open) = torrent(&dir.path().join("open"), 120_000, &url, false);
    assert!(secret.info.private() && !open.info.private());
    let hash = |metainfo: &Metainfo| metainfo.info.hashes().v1.unwrap();

    let peer = Peer::with(|config| {
        config.dht = true;
        config.dht_bootstrap = vec![entry.to_string()];
        config.trackers = true;
        config.local_discovery = true;
    });
    peer.seed(&secret, &secret_data);
    peer.seed(&open, &open_data);
    wait("the DHT hears of the public one", || {
        has(&dht, &hash(&open))
    });
    let escaped = |metainfo: &Metainfo| {
        let url = torrent::tracker::http::scrape_url("http://t/announce", &hash(metainfo)).unwrap();
        url.rsplit_once('=').unwrap().1.as_bytes().to_vec()
    };
    wait("the tracker hears of the private one", || {
        has(&asked, &escaped(&secret))
    });

    let pex = b"6:ut_pex";
    let offered = |metainfo: &Metainfo| {
        let said = greeting(peer.addr(), hash(metainfo));
        said.windows(pex.len()).any(|part| part == pex)
    };
    assert!(offered(&open) && !offered(&secret));
    // Both were there from the beginning: had the private one been looked for, it would have been first.
    assert!(!has(&dht, &hash(&secret)));
    let hex = torrent::hex::encode(&hash(&secret));
    assert!(!has(&lan, hex.as_bytes()) && !has(&lan, hex.to_uppercase().as_bytes()));
}
