//! A small tracker: HTTP (BEP 3, compact lists of BEP 23) and UDP (BEP 15).
//!
//! Peers nearby are known by their ports: 7000 + n is 10.77.0.n. Not every client binds the socket it
//! announces from, so the sender's address would not do. Those on the internet are where they announce from.

use crate::content::hex;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const HTTP_PORT: u16 = 6969;
const UDP_PORT: u16 = 6968;

/// Seconds between announces. Short, so that peers who came first learn of those who came later.
const INTERVAL: u32 = 5;

/// The first connection id of BEP 15, and the one that is given out.
const PROTOCOL_ID: u64 = 0x417_2710_1980;
const CONNECTION_ID: u64 = 0x5747_4152_4c49_4e47;

/// One announce as it was heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announce {
    /// 40 hex digits; of a v2 torrent, the truncated info-hash.
    pub info_hash: String,
    /// Where the peer says it listens.
    pub port: u16,
    /// `started`, `completed`, `stopped`, or empty.
    pub event: String,
    /// Bytes it still wants.
    pub left: u64,
    /// `http` or `udp`.
    pub by: &'static str,
}

#[derive(Default)]
struct Swarms {
    peers: BTreeMap<String, BTreeSet<SocketAddrV4>>,
    heard: Vec<Announce>,
}

/// A running tracker. Its threads end with the test process.
pub struct Tracker {
    ip: Ipv4Addr,
    swarms: Arc<Mutex<Swarms>>,
}

impl Tracker {
    pub(crate) fn start(ip: Ipv4Addr) -> Tracker {
        let swarms = Arc::new(Mutex::new(Swarms::default()));
        let http = TcpListener::bind((ip, HTTP_PORT)).unwrap();
        let udp = UdpSocket::bind((ip, UDP_PORT)).unwrap();
        let shared = swarms.clone();
        std::thread::spawn(move || {
            for stream in http.incoming().flatten() {
                let swarms = shared.clone();
                // A client that hangs up early, or asks for something else, is its own trouble.
                std::thread::spawn(move || drop(serve_http(stream, &swarms)));
            }
        });
        let shared = swarms.clone();
        std::thread::spawn(move || serve_udp(&udp, &shared));
        Tracker { ip, swarms }
    }

    /// Its HTTP announce URL.
    pub fn http_url(&self) -> String {
        format!("http://{}:{HTTP_PORT}/announce", self.ip)
    }

    /// Its UDP announce URL.
    pub fn udp_url(&self) -> String {
        format!("udp://{}:{UDP_PORT}/announce", self.ip)
    }

    /// Everything that this peer has announced.
    pub fn heard_from(&self, peer: SocketAddrV4) -> Vec<Announce> {
        let swarms = self.swarms.lock().unwrap();
        swarms
            .heard
            .iter()
            .filter(|a| a.port == peer.port())
            .cloned()
            .collect()
    }

    /// Waits until this peer has announced an event.
    pub fn wait_for(&self, peer: SocketAddrV4, event: &str, within: Duration) -> Announce {
        let end = std::time::Instant::now() + within;
        loop {
            let heard = self.heard_from(peer);
            if let Some(announce) = heard.iter().find(|a| a.event == event) {
                return announce.clone();
            }
            assert!(
                std::time::Instant::now() < end,
                "no {event:?} from {peer} within {within:?}; heard: {heard:?}"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Swarms {
    /// Notes an announce and gives the other peers, packed.
    fn announce(&mut self, announce: Announce, from: IpAddr) -> Vec<u8> {
        let swarm = self.peers.entry(announce.info_hash.clone()).or_default();
        let sender = whereabouts(from, announce.port);
        let others = swarm.iter().filter(|&&peer| Some(peer) != sender);
        let packed = others.flat_map(|peer| {
            let ([a, b, c, d], [high, low]) = (peer.ip().octets(), peer.port().to_be_bytes());
            [a, b, c, d, high, low]
        });
        let packed = packed.collect();
        match sender {
            Some(peer) if announce.event == "stopped" => drop(swarm.remove(&peer)),
            Some(peer) => drop(swarm.insert(peer)),
            None => {}
        }
        self.heard.push(announce);
        packed
    }
}

/// Where who announces is reached, if it is a peer of a scenario.
fn whereabouts(from: IpAddr, port: u16) -> Option<SocketAddrV4> {
    let IpAddr::V4(from) = from else {
        return None;
    };
    let ip = match from.octets() {
        [11, ..] => from,
        _ => Ipv4Addr::new(10, 77, 0, u8::try_from(port.checked_sub(7000)?).ok()?),
    };
    Some(SocketAddrV4::new(ip, port))
}

fn serve_http(mut stream: TcpStream, swarms: &Mutex<Swarms>) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    while lines
        .next()
        .transpose()?
        .is_some_and(|line| !line.is_empty())
    {}
    let target = request.split(' ').nth(1).unwrap_or_default();
    let Some(query) = target.strip_prefix("/announce?") else {
        return write!(
            stream,
            "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
    };
    let field = |name: &str| {
        let pair = query
            .split('&')
            .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        unescape(pair.unwrap_or_default())
    };
    let text = |name: &str| String::from_utf8_lossy(&field(name)).into_owned();
    let announce = Announce {
        info_hash: hex(&field("info_hash")),
        port: text("port").parse().unwrap_or(0),
        event: text("event"),
        left: text("left").parse().unwrap_or(u64::MAX),
        by: "http",
    };
    let from = stream.peer_addr()?.ip();
    let peers = swarms.lock().unwrap().announce(announce, from);
    let mut body = format!(
        "d8:intervali{INTERVAL}e12:min intervali1e5:peers{}:",
        peers.len()
    )
    .into_bytes();
    body.extend_from_slice(&peers);
    body.push(b'e');
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    )?;
    stream.write_all(&body)
}

fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = text.bytes();
    let mut plain = Vec::new();
    while let Some(byte) = bytes.next() {
        plain.push(match byte {
            b'%' => {
                let digits = [bytes.next().unwrap_or(b'0'), bytes.next().unwrap_or(b'0')];
                u8::from_str_radix(&String::from_utf8_lossy(&digits), 16).unwrap_or(0)
            }
            b'+' => b' ',
            other => other,
        });
    }
    plain
}

fn serve_udp(socket: &UdpSocket, swarms: &Mutex<Swarms>) {
    let mut buffer = [0; 2048];
    while let Ok((len, from)) = socket.recv_from(&mut buffer) {
        if let Some(reply) = answer_udp(&buffer[..len], from.ip(), swarms) {
            // Lost packets are part of UDP; the client asks again.
            let _ = socket.send_to(&reply, from);
        }
    }
}

/// BEP 15: connect (action 0) and announce (action 1).
fn answer_udp(packet: &[u8], from: IpAddr, swarms: &Mutex<Swarms>) -> Option<Vec<u8>> {
    let u64_at = |at: usize| Some(u64::from_be_bytes(packet.get(at..at + 8)?.try_into().ok()?));
    let u32_at = |at: usize| Some(u32::from_be_bytes(packet.get(at..at + 4)?.try_into().ok()?));
    let (connection, action, transaction) = (u64_at(0)?, u32_at(8)?, u32_at(12)?);
    let mut reply = Vec::new();
    match (connection, action) {
        (PROTOCOL_ID, 0) => {
            reply.extend(0u32.to_be_bytes());
            reply.extend(transaction.to_be_bytes());
            reply.extend(CONNECTION_ID.to_be_bytes());
        }
        (CONNECTION_ID, 1) => {
            let events = ["", "completed", "started", "stopped"];
            let announce = Announce {
                info_hash: hex(packet.get(16..36)?),
                port: u16::from_be_bytes(packet.get(96..98)?.try_into().ok()?),
                event: events.get(u32_at(80)? as usize)?.to_string(),
                left: u64_at(64)?,
                by: "udp",
            };
            let peers = swarms.lock().unwrap().announce(announce, from);
            for number in [1, transaction, INTERVAL, 0, 1] {
                reply.extend(number.to_be_bytes());
            }
            reply.extend(peers);
        }
        _ => {
            reply.extend(3u32.to_be_bytes());
            reply.extend(transaction.to_be_bytes());
            reply.extend(b"connection id not known");
        }
    }
    Some(reply)
}
