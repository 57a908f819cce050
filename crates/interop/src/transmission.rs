//! transmission's daemon, through its RPC.

use crate::content::Forgive;
use crate::peer::{Peer, Role, Signs};
use crate::scenario::repository;
use crate::{Child, Seat, Source};
use serde_json::{Value, json};
use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::process::Command;
use std::time::Duration;

/// How long it may take until its RPC answers.
const START: Duration = Duration::from_secs(30);

/// It checks its seeds and keeps a minute between announces; the RPC is asked this patiently.
const ANSWER: Duration = Duration::from_secs(10);

/// `status` of a torrent that is complete and shared.
const SEEDING: u64 = 6;

/// `encryption` in its settings.
const PREFER_CLEAR: u8 = 0;
pub(crate) const REQUIRED: u8 = 2;

struct Rpc {
    addr: SocketAddrV4,
    seat: Seat,
    token: String,
}

impl Signs for Rpc {
    fn seeding(&mut self, _: &mut Child) -> bool {
        self.torrent()
            .is_some_and(|t| whole(&t["percentDone"]) && t["status"] == SEEDING)
    }

    fn complete(&mut self, _: &mut Child) -> bool {
        self.torrent().is_some_and(|t| {
            whole(&t["metadataPercentComplete"])
                && whole(&t["percentDone"])
                && t["leftUntilDone"] == 0
        })
    }

    fn forgive(&self) -> Forgive {
        Forgive {
            pad_files: true,
            empty_files: true,
        }
    }
}

/// Whether a fraction is 1; some releases write 1, some 1.0.
fn whole(fraction: &Value) -> bool {
    fraction.as_f64() == Some(1.0)
}

pub(crate) fn start(seat: Seat, role: Role, special: &Value) -> Peer {
    let (addr, home) = (seat.addr, seat.home.clone());
    let folder = role.folder(&home);
    let mut settings = json!({
        "bind-address-ipv4": addr.ip().to_string(), "peer-port": addr.port(), "rpc-port": addr.port() + 1000,
        "rpc-bind-address": addr.ip().to_string(), "rpc-whitelist-enabled": false, "rpc-host-whitelist-enabled": false,
        "dht-enabled": false, "lpd-enabled": false, "utp-enabled": false, "port-forwarding-enabled": false,
        "encryption": PREFER_CLEAR, "download-dir": folder, "message-level": 2,
    });
    for (name, value) in special.as_object().into_iter().flatten() {
        settings[name] = value.clone();
    }
    fs::write(home.join("settings.json"), settings.to_string()).unwrap();
    let mut command = Command::new(repository().join("target/interop/transmission-daemon"));
    command.arg("--foreground").arg("--config-dir").arg(&home);
    let mut child = seat.start(&format!("transmission {addr}"), command, &home);
    let mut rpc = Rpc {
        addr: SocketAddrV4::new(*addr.ip(), addr.port() + 1000),
        seat,
        token: String::new(),
    };
    child.wait("its RPC answers", START, |_| {
        rpc.call("session-get", json!({})).ok()
    });
    let added = match role.source() {
        Source::File(path) => {
            json!({"metainfo": base64(&fs::read(path).unwrap()), "download-dir": folder})
        }
        Source::Magnet(link) => json!({"filename": link, "download-dir": folder}),
    };
    let answer = rpc.call("torrent-add", added).unwrap();
    assert!(
        answer["torrent-added"].is_object(),
        "transmission did not add the torrent: {answer}"
    );
    let peer = Peer {
        addr,
        folder,
        child,
        signs: Box::new(rpc),
    };
    if matches!(role, Role::Seed(_)) {
        peer.serving()
    } else {
        peer
    }
}

impl Rpc {
    fn torrent(&mut self) -> Option<Value> {
        let fields = json!({"fields": ["percentDone", "leftUntilDone", "status", "metadataPercentComplete", "errorString"]});
        let mut answer = self.call("torrent-get", fields).ok()?;
        Some(answer["torrents"][0].take()).filter(Value::is_object)
    }

    /// One call; the first is refused with the token that the next ones have to bring.
    fn call(&mut self, method: &str, arguments: Value) -> io::Result<Value> {
        let body = json!({"method": method, "arguments": arguments}).to_string();
        for _ in 0..2 {
            let (head, answer) = self.post(&body)?;
            if !head.starts_with("HTTP/1.1 409") {
                let mut answer: Value = serde_json::from_str(&answer).map_err(io::Error::other)?;
                return Ok(answer["arguments"].take());
            }
            let token = head
                .lines()
                .find_map(|line| line.strip_prefix("X-Transmission-Session-Id: "));
            self.token = token.unwrap_or_default().to_string();
        }
        Err(io::Error::other("transmission refuses its own token"))
    }

    fn post(&self, body: &str) -> io::Result<(String, String)> {
        let mut stream = self.seat.within(|| TcpStream::connect(self.addr))?;
        stream.set_read_timeout(Some(ANSWER))?;
        write!(
            stream,
            "POST /transmission/rpc HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nX-Transmission-Session-Id: {}\r\nContent-Length: {}\r\n\r\n{body}",
            self.addr,
            self.token,
            body.len()
        )?;
        let mut reply = String::new();
        stream.read_to_string(&mut reply)?;
        let (head, answer) = reply
            .split_once("\r\n\r\n")
            .ok_or_else(|| io::Error::other("not an HTTP reply"))?;
        Ok((head.to_string(), answer.to_string()))
    }
}

/// RFC 4648 §4.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = (0..3).fold(0, |bits, i| {
            bits << 8 | u32::from(*chunk.get(i).unwrap_or(&0))
        });
        for i in 0..4 {
            let digit = char::from(DIGITS[(bits >> (18 - 6 * i) & 63) as usize]);
            text.push(if i <= chunk.len() { digit } else { '=' });
        }
    }
    text
}
