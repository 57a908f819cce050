//! Local service discovery: multicast packets that look like HTTP and name the torrents of a neighbour (BEP 14).

use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

/// Longest packet sent, in bytes (BEP 14).
pub const MAX_SENT_LEN: usize = 1400;

/// Longest packet read, in bytes: what an Ethernet frame carries.
pub const MAX_PACKET_LEN: usize = 1500;

/// Most info-hashes that fit into [`MAX_SENT_LEN`] beside everything else; of a packet with more, the rest is
/// passed over.
pub const MAX_HASHES: usize = 24;

/// Longest cookie written or kept, in bytes.
pub const MAX_COOKIE_LEN: usize = 32;

/// Most header lines looked at in one packet.
const MAX_LINES: usize = 64;

/// The two places where announces are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Group {
    /// For IPv4: 239.192.152.143, port 6771.
    V4,
    /// For IPv6: ff15::efc0:988f, port 6771.
    V6,
}

impl Group {
    /// The multicast address and port.
    pub const fn addr(self) -> SocketAddr {
        const PORT: u16 = 6771;
        match self {
            Group::V4 => SocketAddr::new(
                std::net::IpAddr::V4(Ipv4Addr::new(239, 192, 152, 143)),
                PORT,
            ),
            Group::V6 => SocketAddr::new(
                std::net::IpAddr::V6(Ipv6Addr::new(0xff15, 0, 0, 0, 0, 0, 0xefc0, 0x988f)),
                PORT,
            ),
        }
    }
}

/// "On this port I have these torrents."
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announce {
    /// TCP port where the sender listens; never zero.
    pub port: u16,
    /// The torrents, as SHA-1 info-hashes or the first 20 bytes of SHA-256 ones.
    pub info_hashes: Vec<[u8; 20]>,
    /// Tells the sender its own packets; visible ASCII, at most [`MAX_COOKIE_LEN`] bytes.
    pub cookie: Option<String>,
}

impl Announce {
    /// The packet for a group. With at most [`MAX_HASHES`] info-hashes it keeps within [`MAX_SENT_LEN`].
    pub fn encode(&self, group: Group) -> Vec<u8> {
        let mut text = format!(
            "BT-SEARCH * HTTP/1.1\r\nHost: {}\r\nPort: {}\r\n",
            group.addr(),
            self.port
        );
        for hash in &self.info_hashes {
            text.push_str("Infohash: ");
            hash.iter()
                .try_for_each(|byte| write!(text, "{byte:02x}"))
                .expect("a String takes everything");
            text.push_str("\r\n");
        }
        if let Some(cookie) = &self.cookie {
            write!(text, "cookie: {cookie}\r\n").expect("a String takes everything");
        }
        text.push_str("\r\n\r\n");
        text.into_bytes()
    }

    /// Reads a packet. Info-hashes of a wrong form and headers nobody knows are passed over.
    ///
    /// # Errors
    /// Not a search, no usable port, or no info-hash.
    pub fn parse(packet: &[u8]) -> Result<Announce, LsdError> {
        if packet.len() > MAX_PACKET_LEN {
            return Err(LsdError::TooLong(packet.len()));
        }
        let text = std::str::from_utf8(packet).map_err(|_| LsdError::NotSearch)?;
        let mut lines = text.split("\r\n");
        let first = lines.next().unwrap_or_default();
        if !first.starts_with("BT-SEARCH * HTTP/1.") {
            return Err(LsdError::NotSearch);
        }
        let mut announce = Announce {
            port: 0,
            info_hashes: Vec::new(),
            cookie: None,
        };
        for line in lines.take(MAX_LINES).take_while(|line| !line.is_empty()) {
            let Some((name, value)) = line.split_once(':') else {
                continue;
            };
            let value = value.trim();
            match name.trim().to_ascii_lowercase().as_str() {
                "port" => announce.port = value.parse().unwrap_or(0),
                "infohash" if announce.info_hashes.len() < MAX_HASHES => {
                    announce.info_hashes.extend(unhex(value))
                }
                "cookie" if is_cookie(value) => announce.cookie = Some(value.to_owned()),
                _ => {}
            }
        }
        match &announce {
            Announce { port: 0, .. } => Err(LsdError::NoPort),
            Announce { info_hashes, .. } if info_hashes.is_empty() => Err(LsdError::NoHash),
            _ => Ok(announce),
        }
    }
}

fn is_cookie(value: &str) -> bool {
    (1..=MAX_COOKIE_LEN).contains(&value.len()) && value.bytes().all(|byte| byte.is_ascii_graphic())
}

fn unhex(text: &str) -> Option<[u8; 20]> {
    if text.len() != 40 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut hash = [0; 20];
    for (at, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[at * 2..at * 2 + 2], 16).ok()?;
    }
    Some(hash)
}

/// Why a packet is no local announce.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LsdError {
    /// The packet is longer than [`MAX_PACKET_LEN`]; its length in bytes.
    #[error("the local announce is {0} bytes long, which no announce is")]
    TooLong(usize),
    /// It does not start like a search.
    #[error("the packet is no local announce")]
    NotSearch,
    /// It names no port, or an impossible one.
    #[error("the local announce names no port")]
    NoPort,
    /// It names no torrent.
    #[error("the local announce names no torrent")]
    NoHash,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_announce_is_laid_out_as_bep_14_says() {
        let announce = Announce {
            port: 6881,
            info_hashes: vec![[0xab; 20], [1; 20]],
            cookie: Some("5ta7".into()),
        };
        let expected = format!(
            "BT-SEARCH * HTTP/1.1\r\nHost: 239.192.152.143:6771\r\nPort: 6881\r\nInfohash: {}\r\nInfohash: {}\r\n\
             cookie: 5ta7\r\n\r\n\r\n",
            "ab".repeat(20),
            "01".repeat(20)
        );
        assert_eq!(announce.encode(Group::V4), expected.as_bytes());
        assert_eq!(Announce::parse(expected.as_bytes()), Ok(announce.clone()));
        let v6 = String::from_utf8(announce.encode(Group::V6)).unwrap();
        assert!(v6.contains("\r\nHost: [ff15::efc0:988f]:6771\r\n"), "{v6}");
    }

    #[test]
    fn the_longest_announce_fits() {
        let announce = Announce {
            port: 65535,
            info_hashes: vec![[0; 20]; MAX_HASHES],
            cookie: Some("c".repeat(MAX_COOKIE_LEN)),
        };
        assert!(announce.encode(Group::V6).len() <= MAX_SENT_LEN);
        assert_eq!(Announce::parse(&announce.encode(Group::V6)), Ok(announce));
    }

    #[test]
    fn other_spellings_and_unknown_headers_are_read() {
        let hash = "AB".repeat(20);
        let packet = format!(
            "BT-SEARCH * HTTP/1.0\r\nX: y\r\nPORT:1\r\ninfohash:{hash}\r\nInfohash: 12\r\nodd\r\n\r\n"
        );
        let announce = Announce::parse(packet.as_bytes()).unwrap();
        assert_eq!(
            announce,
            Announce {
                port: 1,
                info_hashes: vec![[0xab; 20]],
                cookie: None
            }
        );
    }

    #[test]
    fn nonsense_is_refused() {
        let hash = format!("Infohash: {}\r\n", "ab".repeat(20));
        let parse = |text: &str| Announce::parse(text.as_bytes());
        assert_eq!(parse("GET / HTTP/1.1\r\n\r\n"), Err(LsdError::NotSearch));
        assert_eq!(
            Announce::parse(b"BT-SEARCH * HTTP/1.1\r\n\xff"),
            Err(LsdError::NotSearch)
        );
        for port in ["", "Port: 0\r\n", "Port: 65536\r\n", "Port: x\r\n"] {
            assert_eq!(
                parse(&format!("BT-SEARCH * HTTP/1.1\r\n{port}{hash}\r\n")),
                Err(LsdError::NoPort)
            );
        }
        assert_eq!(
            parse("BT-SEARCH * HTTP/1.1\r\nPort: 1\r\n\r\n"),
            Err(LsdError::NoHash)
        );
        assert_eq!(
            parse(&format!("BT-SEARCH * HTTP/1.1\r\nPort: 1\r\n\r\n{hash}")),
            Err(LsdError::NoHash)
        );
        let odd = "é".repeat(20);
        assert_eq!(
            parse(&format!(
                "BT-SEARCH * HTTP/1.1\r\nPort: 1\r\nInfohash: {odd}\r\n"
            )),
            Err(LsdError::NoHash)
        );
        assert_eq!(Announce::parse(&[b'x'; 1501]), Err(LsdError::TooLong(1501)));
    }

    proptest! {
        #[test]
        fn every_announce_survives_the_wire(
            port in 1u16..,
            info_hashes in proptest::collection::vec(any::<[u8; 20]>(), 1..=MAX_HASHES),
            cookie in proptest::option::of("[!-~]{1,32}"),
        ) {
            let announce = Announce { port, info_hashes, cookie };
            prop_assert_eq!(Announce::parse(&announce.encode(Group::V4)), Ok(announce));
        }
    }
}
