//! Magnet links (BEP 9, 52, 53) and bare info-hashes, as people paste them.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use crate::hex;
use crate::ids::{InfoHashes, Sha1Hash};
use crate::metainfo::Metainfo;

/// Longest link in bytes; some carry dozens of trackers.
pub const MAX_LINK: usize = 64 * 1024;

/// Most trackers, web seeds and peers taken from a link, each.
pub const MAX_SOURCES: usize = 256;

/// Most ranges of files taken from a link.
pub const MAX_RANGES: usize = 10_000;

/// Multihash tag of a SHA-256 digest: its code and its length.
const SHA256_TAG: &str = "1220";

/// What a magnet link says. Either hash, or both for a hybrid, is always there in one that was parsed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Magnet {
    /// The info-hashes (`xt`).
    pub hashes: InfoHashes,
    /// What to call it until its metadata is here (`dn`).
    pub name: Option<String>,
    /// Length of its files in bytes (`xl`).
    pub length: Option<u64>,
    /// Trackers (`tr`), in order.
    pub trackers: Vec<String>,
    /// HTTP servers that have the files (`ws`).
    pub web_seeds: Vec<String>,
    /// Peers to ask first (`x.pe`): host name or address, an IPv6 one without brackets, and port.
    pub peers: Vec<(String, u16)>,
    /// The only files wanted, by index (`so`, BEP 53); `None` for all.
    pub select: Option<Vec<RangeInclusive<u32>>>,
}

/// Why text is not a magnet link that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MagnetError {
    /// It starts with something else.
    #[error("this is not a magnet link: it does not start with \"magnet:?\"")]
    NotMagnet,
    /// Longer than [`MAX_LINK`].
    #[error("the magnet link is longer than 64 KiB")]
    TooLong,
    /// No `xt` of BitTorrent's.
    #[error("the magnet link names no torrent: it has neither urn:btih nor urn:btmh")]
    NoHash,
    /// An `xt` that is cut short or mistyped.
    #[error("the magnet link has a malformed info-hash \"{0}\"; was it copied whole?")]
    BadHash(String),
    /// An `xt` with a hash function BitTorrent does not use.
    #[error("the magnet link has a hash of a kind that is not known here: \"{0}\"")]
    UnknownHash(String),
}

impl Magnet {
    /// A link with nothing but hashes.
    pub fn of_hashes(hashes: InfoHashes) -> Magnet {
        Magnet {
            hashes,
            ..Magnet::default()
        }
    }

    /// The link to a torrent whose metainfo is known.
    pub fn of(metainfo: &Metainfo) -> Magnet {
        Magnet {
            name: Some(metainfo.info.name().to_owned()),
            length: Some(metainfo.info.layout().payload()),
            trackers: metainfo.trackers.concat(),
            web_seeds: metainfo.web_seeds.clone(),
            ..Magnet::of_hashes(metainfo.info.hashes())
        }
    }

    /// Whether the link asks for file `index`.
    pub fn selects(&self, index: u32) -> bool {
        self.select
            .as_ref()
            .is_none_or(|ranges| ranges.iter().any(|range| range.contains(&index)))
    }

    fn topic(&mut self, topic: &str) -> Result<(), MagnetError> {
        let bad = || MagnetError::BadHash(topic.to_owned());
        if let Some(hash) = strip_prefix(topic, "urn:btih:") {
            let hash = match hash.len() {
                40 => hex::decode(hash),
                32 => base32(hash),
                _ => None,
            };
            self.hashes.v1.get_or_insert(hash.ok_or_else(bad)?);
        } else if let Some(hash) = strip_prefix(topic, "urn:btmh:") {
            let hash = match hash.split_at_checked(SHA256_TAG.len()) {
                Some((SHA256_TAG, hash)) => hex::decode(hash).ok_or_else(bad)?,
                _ => return Err(MagnetError::UnknownHash(topic.to_owned())),
            };
            self.hashes.v2.get_or_insert(hash);
        }
        Ok(())
    }
}

/// Unknown parameters are ignored, and so are malformed ones but for the hashes. Of two values where
/// one is meant, the first counts.
impl FromStr for Magnet {
    type Err = MagnetError;

    fn from_str(link: &str) -> Result<Magnet, MagnetError> {
        if link.len() > MAX_LINK {
            return Err(MagnetError::TooLong);
        }
        let query = strip_prefix(link.trim(), "magnet:?").ok_or(MagnetError::NotMagnet)?;
        let mut magnet = Magnet::default();
        for parameter in query.split('&') {
            // Links copied out of a page's source have `&amp;` between parameters.
            let parameter = parameter.strip_prefix("amp;").unwrap_or(parameter);
            let Some((key, value)) = parameter.split_once('=') else {
                continue;
            };
            match unnumbered(key).to_ascii_lowercase().as_str() {
                "xt" => magnet.topic(&unescaped(value))?,
                "dn" => {
                    magnet
                        .name
                        .get_or_insert(unescaped(&value.replace('+', " ")));
                }
                "xl" => magnet.length = magnet.length.or(value.parse().ok()),
                "tr" => add(&mut magnet.trackers, unescaped(value)),
                "ws" => add(&mut magnet.web_seeds, unescaped(value)),
                "x.pe" if magnet.peers.len() < MAX_SOURCES => {
                    magnet.peers.extend(host_and_port(&unescaped(value)));
                }
                "so" => magnet.select = magnet.select.or(ranges(&unescaped(value))),
                _ => {}
            }
        }
        magnet.name.take_if(|name| name.is_empty());
        if magnet.hashes.is_empty() {
            Err(MagnetError::NoHash)
        } else {
            Ok(magnet)
        }
    }
}

impl fmt::Display for Magnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let v1 = self
            .hashes
            .v1
            .map(|hash| format!("xt=urn:btih:{}", hex::encode(&hash)));
        let v2 = self
            .hashes
            .v2
            .map(|hash| format!("xt=urn:btmh:{SHA256_TAG}{}", hex::encode(&hash)));
        let mut parameters: Vec<String> = v1.into_iter().chain(v2).collect();
        parameters.extend(
            self.name
                .as_ref()
                .map(|name| format!("dn={}", escaped(name))),
        );
        parameters.extend(self.length.map(|length| format!("xl={length}")));
        parameters.extend(
            self.trackers
                .iter()
                .map(|url| format!("tr={}", escaped(url))),
        );
        parameters.extend(
            self.web_seeds
                .iter()
                .map(|url| format!("ws={}", escaped(url))),
        );
        parameters.extend(
            self.peers
                .iter()
                .map(|(host, port)| match host.contains(':') {
                    true => format!("x.pe=[{host}]:{port}"),
                    false => format!("x.pe={}:{port}", escaped(host)),
                }),
        );
        parameters.extend(self.select.as_ref().map(|ranges| {
            let range = |range: &RangeInclusive<u32>| match range.start() == range.end() {
                true => range.start().to_string(),
                false => format!("{}-{}", range.start(), range.end()),
            };
            format!(
                "so={}",
                ranges.iter().map(range).collect::<Vec<_>>().join(",")
            )
        }));
        write!(f, "magnet:?{}", parameters.join("&"))
    }
}

/// A bare info-hash: 40 hex digits or 32 of base32 for v1; 64 hex digits for v2, with or without
/// the tag of a multihash.
pub fn parse_anything_hash(text: &str) -> Option<InfoHashes> {
    let text = text.trim();
    match text.len() {
        40 => hex::decode(text).map(InfoHashes::of_v1),
        32 => base32(text).map(InfoHashes::of_v1),
        64 => hex::decode(text).map(InfoHashes::of_v2),
        68 => hex::decode(text.strip_prefix(SHA256_TAG)?).map(InfoHashes::of_v2),
        _ => None,
    }
}

/// RFC 4648's alphabet in either case, 32 letters for 20 bytes.
fn base32(text: &str) -> Option<Sha1Hash> {
    let mut hash = [0; 20];
    let letters = text.as_bytes();
    if letters.len() != 32 {
        return None;
    }
    for (bytes, letters) in hash.chunks_mut(5).zip(letters.chunks(8)) {
        let bits = letters.iter().try_fold(0u64, |bits, letter| {
            let value = match letter.to_ascii_uppercase() {
                letter @ b'A'..=b'Z' => letter - b'A',
                letter @ b'2'..=b'7' => letter - b'2' + 26,
                _ => return None,
            };
            Some(bits << 5 | u64::from(value))
        })?;
        bytes.copy_from_slice(&bits.to_be_bytes()[3..]);
    }
    Some(hash)
}

/// `text` without `prefix`, whatever its case.
fn strip_prefix<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let (head, rest) = text.split_at_checked(prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then_some(rest)
}

/// Keys may be numbered where there are several: `xt.1`, `tr.2`.
fn unnumbered(key: &str) -> &str {
    match key.rsplit_once('.') {
        Some((name, number)) if number.bytes().all(|digit| digit.is_ascii_digit()) => name,
        _ => key,
    }
}

fn add(list: &mut Vec<String>, url: String) {
    if !url.is_empty() && list.len() < MAX_SOURCES && !list.contains(&url) {
        list.push(url);
    }
}

/// Percent-encoding undone; what is no such code, or not text, stays or is replaced.
fn unescaped(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, behind)) = rest.split_first() {
        let code = behind.first_chunk::<2>().filter(|_| byte == b'%');
        let code = code
            .and_then(|code| std::str::from_utf8(code).ok())
            .and_then(hex::decode);
        match code {
            Some([decoded]) => {
                bytes.push(decoded);
                rest = &behind[2..];
            }
            None => {
                bytes.push(byte);
                rest = behind;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Everything but RFC 3986's unreserved characters percent-encoded.
pub(crate) fn escaped(text: &str) -> String {
    let escape = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(escape).collect()
}

/// `host:port`, `1.2.3.4:port` or `[v6]:port`; port 0 is none.
fn host_and_port(text: &str) -> Option<(String, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse().ok().filter(|&port| port != 0)?;
    let host = match host.strip_prefix('[') {
        Some(v6) => v6
            .strip_suffix(']')
            .filter(|v6| v6.parse::<std::net::Ipv6Addr>().is_ok())?,
        None => host,
    };
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_');
    let fits = !host.is_empty() && host.len() <= 253;
    (fits && (host.parse::<std::net::Ipv6Addr>().is_ok() || host.chars().all(plain)))
        .then(|| (host.to_owned(), port))
}

/// BEP 53: indices and inclusive ranges; those that make no sense are left out.
fn ranges(text: &str) -> Option<Vec<RangeInclusive<u32>>> {
    let range = |text: &str| {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        (first <= last).then_some(first..=last)
    };
    let ranges: Vec<_> = text.split(',').filter_map(range).take(MAX_RANGES).collect();
    (!ranges.is_empty()).then_some(ranges)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const V1: &str = "0123456789abcdef0123456789ABCDEF01234567";
    const V2: &str = "caf1e1c30e81cb361b9ee167c4aa64228a7fa4fa9f6105232b28ad099f3a302e";

    fn parse(link: &str) -> Result<Magnet, MagnetError> {
        link.parse()
    }

    #[test]
    fn everything_a_link_can_say_is_read() {
        let link = format!(
            "magnet:?xt=urn:btih:{V1}&xt=urn:btmh:1220{V2}&dn=a+b%20c%26&xl=12345\
             &tr=http%3A%2F%2Fone.example%2Fannounce%3Fkey%3D1%2B2&tr.1=udp://two.example:80&ws=http%3A%2F%2Fseed\
             &x.pe=10.0.0.5:6881&x.pe=%5B2001:db8::1%5D:6882&x.pe=host.example:6883&so=0,2,4,6-8&as=unknown"
        );
        let magnet = parse(&link).unwrap();
        assert_eq!(
            magnet.hashes,
            InfoHashes {
                v1: hex::decode(V1),
                v2: hex::decode(V2)
            }
        );
        assert_eq!(magnet.name.as_deref(), Some("a b c&"));
        assert_eq!(magnet.length, Some(12345));
        assert_eq!(
            magnet.trackers,
            [
                "http://one.example/announce?key=1+2",
                "udp://two.example:80"
            ]
        );
        assert_eq!(magnet.web_seeds, ["http://seed"]);
        let peers = [
            ("10.0.0.5", 6881),
            ("2001:db8::1", 6882),
            ("host.example", 6883),
        ];
        assert_eq!(
            magnet.peers,
            peers.map(|(host, port)| (host.to_owned(), port))
        );
        let selected: Vec<_> = (0..10).filter(|&i| magnet.selects(i)).collect();
        assert_eq!(selected, [0, 2, 4, 6, 7, 8]);
        assert_eq!(parse(&magnet.to_string()), Ok(magnet));
    }

    #[test]
    fn hashes_come_in_hex_and_base32() {
        let base32 = "AAAQEAYEAUDAOCAJBIFQYDIOB4IBCEQT";
        let hash = std::array::from_fn(|i| i as u8);
        let magnet = parse(&format!("magnet:?xt=urn:btih:{base32}")).unwrap();
        assert_eq!(magnet.hashes.v1, Some(hash));
        assert_eq!(super::base32(&base32.to_lowercase()), Some(hash));
        assert_eq!(super::base32(&"A".repeat(32)), Some([0; 20]));
        assert_eq!(super::base32(&"7".repeat(32)), Some([0xff; 20]));
        assert_eq!(
            super::base32("AEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIB"),
            Some([1; 20])
        );
        assert_eq!(super::base32(&"1".repeat(32)), None);
    }

    #[test]
    fn links_are_read_however_they_were_copied() {
        let upper = format!("  MAGNET:?XT=URN:BTIH:{}&amp;DN=x \n", V1.to_uppercase());
        let magnet = parse(&upper).unwrap();
        assert_eq!(magnet.hashes.v1, hex::decode(V1));
        assert_eq!(magnet.name.as_deref(), Some("x"));
        let escaped = format!("magnet:?dn=&xt.1=urn%3Abtih%3A{V1}");
        assert_eq!(
            parse(&escaped).unwrap(),
            Magnet::of_hashes(InfoHashes::of_v1(hex::decode(V1).unwrap()))
        );
    }

    #[test]
    fn what_is_no_usable_link_is_refused_in_words() {
        assert_eq!(parse("http://example.com"), Err(MagnetError::NotMagnet));
        assert_eq!(parse("magnet:"), Err(MagnetError::NotMagnet));
        assert_eq!(parse("magnet:?dn=x"), Err(MagnetError::NoHash));
        assert_eq!(parse("magnet:?xt=urn:sha1:abc"), Err(MagnetError::NoHash));
        assert!(matches!(
            parse("magnet:?xt=urn:btih:abc"),
            Err(MagnetError::BadHash(_))
        ));
        assert!(matches!(
            parse(&format!("magnet:?xt=urn:btmh:1220{}", &V2[1..])),
            Err(MagnetError::BadHash(_))
        ));
        assert!(matches!(
            parse("magnet:?xt=urn:btmh:1114aa"),
            Err(MagnetError::UnknownHash(_))
        ));
        assert_eq!(
            parse(&format!("magnet:?{}", "a".repeat(MAX_LINK))),
            Err(MagnetError::TooLong)
        );
    }

    #[test]
    fn malformed_extras_are_left_out() {
        let magnet = parse(&format!(
            "magnet:?xt=urn:btih:{V1}&x.pe=nohost&x.pe=:1&x.pe=a:0&x.pe=a:99999&x.pe=[zz]:1&x.pe=a%20b:1\
             &so=5-2,x,-,9-&xl=-1&tr=&%zz&=&dn=%zz%4"
        ));
        let magnet = magnet.unwrap();
        assert_eq!(
            (magnet.peers, magnet.select, magnet.length),
            (vec![], None, None)
        );
        assert!(magnet.trackers.is_empty());
        assert_eq!(magnet.name.as_deref(), Some("%zz%4"));
    }

    #[test]
    fn bare_hashes_are_recognised_by_their_length() {
        assert_eq!(parse_anything_hash(V1).unwrap().v1, hex::decode(V1));
        assert_eq!(parse_anything_hash(V2).unwrap().v2, hex::decode(V2));
        assert_eq!(
            parse_anything_hash(&format!("1220{V2}")).unwrap().v2,
            hex::decode(V2)
        );
        assert_eq!(
            parse_anything_hash("AEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIB")
                .unwrap()
                .v1,
            Some([1; 20])
        );
        for text in [
            "",
            "album",
            &V1[1..],
            &format!("{V1}0"),
            &V2.replace('a', "g"),
        ] {
            assert_eq!(parse_anything_hash(text), None);
        }
    }

    proptest! {
        #[test]
        fn links_survive_being_written_and_read(
            v1 in proptest::option::of(any::<[u8; 20]>()),
            v2 in any::<[u8; 32]>(),
            name in proptest::option::of(".{1,20}"),
            length in proptest::option::of(any::<u64>()),
            urls in proptest::collection::btree_set(".{1,30}", 0..4),
            peers in proptest::collection::vec(("[a-z0-9.-]{1,20}", 1u16..), 0..4),
            select in proptest::option::of(proptest::collection::vec((any::<u16>(), any::<u16>()), 1..5)),
        ) {
            let select = select.map(|ranges| ranges.iter().map(|&(a, b)| u32::from(a.min(b))..=u32::from(a.max(b))).collect());
            let urls: Vec<String> = urls.into_iter().collect();
            let magnet = Magnet {
                hashes: InfoHashes { v1, v2: Some(v2) },
                name, length, trackers: urls.clone(), web_seeds: urls, peers, select,
            };
            prop_assert_eq!(parse(&magnet.to_string()), Ok(magnet));
        }
    }
}
