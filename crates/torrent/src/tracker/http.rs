//! Announces and scrapes over HTTP: the URL to ask for, and the dictionary that comes back (BEP 3, 7, 23, 24, 31, 48).

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::{
    Announce, Announced, DEFAULT_INTERVAL, Event, MAX_INTERVAL, MAX_PEERS, MAX_TRACKER_ID_LEN,
    Retry, Scraped, TrackerError, compact, printable,
};
use crate::bencode::{self, Dict, Value};

/// Longest answer read, in bytes: 2000 peers in the long form, three times over.
pub const MAX_RESPONSE_LEN: usize = 1024 * 1024;

/// Most elements in an answer: a peer in the long form has seven.
const MAX_ELEMENTS: u32 = 100_000;

/// Deepest nesting in an answer: a peer in the long form is at depth three.
const MAX_DEPTH: u32 = 16;

/// The URL that announces to the tracker at `tracker`, whose own query, if it has one, is kept.
pub fn announce_url(tracker: &str, announce: &Announce) -> String {
    let base = tracker.split('#').next().unwrap_or_default();
    let mut url = String::with_capacity(base.len() + 320);
    url.push_str(base);
    if !base.ends_with(['?', '&']) {
        url.push(if base.contains('?') { '&' } else { '?' });
    }
    url.push_str("info_hash=");
    push_escaped(&mut url, &announce.info_hash);
    url.push_str("&peer_id=");
    push_escaped(&mut url, &announce.peer_id);
    let Announce {
        port,
        uploaded,
        downloaded,
        left,
        key,
        ..
    } = announce;
    write!(url, "&port={port}&uploaded={uploaded}&downloaded={downloaded}&left={left}&key={key:08X}&compact=1")
        .expect("a String takes everything");
    if let Some(event) = announce.event {
        url.push_str(match event {
            Event::Started => "&event=started",
            Event::Completed => "&event=completed",
            Event::Stopped => "&event=stopped",
        });
    }
    if let Some(num_want) = announce.num_want {
        write!(url, "&numwant={num_want}").expect("a String takes everything");
    }
    if let Some(id) = &announce.tracker_id {
        url.push_str("&trackerid=");
        push_escaped(&mut url, id);
    }
    if let Some(ip) = announce.ip {
        url.push_str("&ip=");
        push_escaped(&mut url, ip.to_string().as_bytes());
    }
    url
}

/// The URL that asks the tracker at `tracker` how many take part in a torrent: `announce` at the beginning of the last
/// part of its path becomes `scrape` (BEP 48). `None`: the tracker cannot be asked.
pub fn scrape_url(tracker: &str, info_hash: &[u8; 20]) -> Option<String> {
    let base = tracker.split('#').next().unwrap_or_default();
    let (path, query) = base.split_once('?').unwrap_or((base, ""));
    let (folder, last) = path.rsplit_once('/')?;
    let rest = last.strip_prefix("announce")?;
    let mut url = format!("{folder}/scrape{rest}?");
    if !query.is_empty() {
        url.push_str(query);
        url.push('&');
    }
    url.push_str("info_hash=");
    push_escaped(&mut url, info_hash);
    Some(url)
}

/// Reads the body of the answer to [`scrape_url`].
///
/// # Errors
/// As [`parse`]; [`TrackerError::Unlisted`] if it says nothing of this torrent.
pub fn parse_scrape(body: &[u8], info_hash: &[u8; 20]) -> Result<Scraped, TrackerError> {
    let root = read(body)?;
    let dict = root.as_dict().ok_or(TrackerError::NotDict)?;
    refusal(&dict)?;
    let files = dict.get("files").and_then(|files| files.as_dict());
    let counts = files.and_then(|files| files.get(info_hash));
    let counts = counts.ok_or(TrackerError::Unlisted)?;
    let count = |key| {
        let count = counts.get(key).and_then(|count| count.as_uint());
        count.and_then(|count| u32::try_from(count).ok())
    };
    Ok(Scraped {
        complete: count("complete").ok_or(TrackerError::Unlisted)?,
        incomplete: count("incomplete").ok_or(TrackerError::Unlisted)?,
        downloaded: count("downloaded").unwrap_or(0),
    })
}

fn read(body: &[u8]) -> Result<Value<'_>, TrackerError> {
    let limits = bencode::Limits {
        elements: MAX_ELEMENTS,
        ..bencode::Limits::LENIENT
            .size(MAX_RESPONSE_LEN)
            .depth(MAX_DEPTH)
    };
    Ok(bencode::parse(body, limits)?)
}

fn refusal(dict: &Dict<'_>) -> Result<(), TrackerError> {
    let Some(reason) = dict.get("failure reason") else {
        return Ok(());
    };
    Err(TrackerError::Refused {
        reason: printable(reason.as_bytes().unwrap_or_default()),
        retry: dict.get("retry in").and_then(retry),
    })
}

/// Percent-encodes all but the unreserved characters (RFC 3986 §2.3).
fn push_escaped(url: &mut String, bytes: &[u8]) {
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            url.push(char::from(byte));
        } else {
            write!(url, "%{byte:02X}").expect("a String takes everything");
        }
    }
}

/// Reads the body of a tracker's answer. Parts that make no sense are taken as missing; peers given by name
/// instead of address are left out.
///
/// # Errors
/// A refusal in the tracker's words, or a body that is no bencoded dictionary.
pub fn parse(body: &[u8]) -> Result<Announced, TrackerError> {
    let root = read(body)?;
    let dict = root.as_dict().ok_or(TrackerError::NotDict)?;
    refusal(&dict)?;
    let count = |key| {
        dict.get(key)
            .and_then(|n| n.as_uint())
            .and_then(|n| u32::try_from(n).ok())
    };
    let warning = dict.get("warning message").and_then(|text| text.as_bytes());
    let tracker_id = dict.get("tracker id").and_then(|id| id.as_bytes());
    Ok(Announced {
        interval: seconds(dict.get("interval")).unwrap_or(DEFAULT_INTERVAL),
        min_interval: seconds(dict.get("min interval")),
        peers: peers(&dict),
        complete: count("complete"),
        incomplete: count("incomplete"),
        external_ip: dict
            .get("external ip")
            .and_then(|ip| compact::ip(ip.as_bytes()?)),
        tracker_id: tracker_id
            .filter(|id| id.len() <= MAX_TRACKER_ID_LEN)
            .map(<[u8]>::to_vec),
        warning: warning.map(printable),
    })
}

fn seconds(value: Option<Value<'_>>) -> Option<Duration> {
    value?
        .as_uint()
        .map(|n| Duration::from_secs(n).min(MAX_INTERVAL))
}

/// BEP 31 counts minutes, as a number or, in its own examples, as a string of digits.
fn retry(value: Value<'_>) -> Option<Retry> {
    if value.as_bytes() == Some(b"never") {
        return Some(Retry::Never);
    }
    let minutes = value.as_uint().or_else(|| value.as_str()?.parse().ok())?;
    Some(Retry::In(
        Duration::from_secs(minutes.saturating_mul(60)).min(MAX_INTERVAL),
    ))
}

fn peers(dict: &Dict<'_>) -> Vec<SocketAddr> {
    let mut found = Vec::new();
    let mut take = |peers: &mut dyn Iterator<Item = SocketAddr>| {
        let room = MAX_PEERS - found.len();
        found.extend(peers.filter(|addr| addr.port() != 0).take(room));
    };
    match dict.get("peers") {
        Some(peers) if peers.as_list().is_some() => take(
            &mut peers
                .as_list()
                .into_iter()
                .flat_map(|list| list.iter())
                .filter_map(long_form),
        ),
        Some(peers) => take(&mut compact::v4_row(peers.as_bytes().unwrap_or_default())),
        None => {}
    }
    if let Some(peers6) = dict.get("peers6").and_then(|peers| peers.as_bytes()) {
        take(&mut compact::v6_row(peers6));
    }
    found
}

fn long_form(peer: Value<'_>) -> Option<SocketAddr> {
    let ip: IpAddr = peer.get("ip")?.as_str()?.parse().ok()?;
    Some(SocketAddr::new(
        ip,
        u16::try_from(peer.get("port")?.as_uint()?).ok()?,
    ))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn announce() -> Announce {
        Announce {
            info_hash: *b"\x124Vx\x9a\xbc\xde\xf1#Eg\x89\xab\xcd\xef\x124Vx\x9a",
            peer_id: *b"-ST0100-aaaaaaaaaaa~",
            port: 6881,
            uploaded: 1,
            downloaded: 2,
            left: 3,
            event: Some(Event::Started),
            num_want: Some(50),
            key: 0xbeef,
            tracker_id: Some(b"a b&c".into()),
            ip: None,
        }
    }

    #[test]
    fn an_announce_has_every_parameter_escaped() {
        let url = announce_url("http://tracker.example/announce", &announce());
        let expected = "http://tracker.example/announce?info_hash=%124Vx%9A%BC%DE%F1%23Eg%89%AB%CD%EF%124Vx%9A\
            &peer_id=-ST0100-aaaaaaaaaaa~&port=6881&uploaded=1&downloaded=2&left=3&key=0000BEEF&compact=1\
            &event=started&numwant=50&trackerid=a%20b%26c";
        assert_eq!(url, expected);
    }

    #[test]
    fn a_query_in_the_tracker_url_is_kept_and_a_fragment_is_not() {
        for (tracker, start) in [
            (
                "http://t/announce?passkey=x#y",
                "http://t/announce?passkey=x&info_hash=",
            ),
            ("http://t/announce?", "http://t/announce?info_hash="),
            ("http://t/announce?a=b&", "http://t/announce?a=b&info_hash="),
            ("http://t", "http://t?info_hash="),
        ] {
            let url = announce_url(
                tracker,
                &Announce {
                    event: None,
                    num_want: None,
                    ..announce()
                },
            );
            assert!(url.starts_with(start), "{url}");
            assert!(
                !url.contains("event=") && !url.contains("numwant=") && !url.contains('#'),
                "{url}"
            );
        }
    }

    #[test]
    fn a_scrape_goes_where_bep_48_says() {
        let hash = *b"xxxxxxxxxxxxxxxxxxxx";
        for (tracker, scrape) in [
            ("http://t/announce", Some("http://t/scrape?info_hash=")),
            (
                "http://t/x/announce.php?k=1#f",
                Some("http://t/x/scrape.php?k=1&info_hash="),
            ),
            ("http://t/announce/x", None),
            ("http://t/xannounce", None),
            ("http://t/a?x=/announce", None),
        ] {
            let expected = scrape.map(|start| format!("{start}xxxxxxxxxxxxxxxxxxxx"));
            assert_eq!(scrape_url(tracker, &hash), expected, "{tracker}");
        }
    }

    #[test]
    fn the_answer_of_bep_48_is_read() {
        let body = b"d5:filesd20:xxxxxxxxxxxxxxxxxxxxd8:completei11e10:downloadedi13772e10:incompletei19ee\
            20:yyyyyyyyyyyyyyyyyyyyd8:completei21e10:downloadedi206e10:incompletei20eeee";
        let counts = Scraped {
            complete: 11,
            incomplete: 19,
            downloaded: 13772,
        };
        assert_eq!(parse_scrape(body, b"xxxxxxxxxxxxxxxxxxxx"), Ok(counts));
        assert_eq!(
            parse_scrape(body, b"zzzzzzzzzzzzzzzzzzzz"),
            Err(TrackerError::Unlisted)
        );
        let refused = parse_scrape(b"d14:failure reason2:noe", b"xxxxxxxxxxxxxxxxxxxx");
        assert!(matches!(refused, Err(TrackerError::Refused { .. })));
        assert_eq!(
            parse_scrape(b"le", b"xxxxxxxxxxxxxxxxxxxx"),
            Err(TrackerError::NotDict)
        );
    }

    #[test]
    fn an_address_of_our_own_is_escaped_too() {
        let url = announce_url(
            "http://t/a",
            &Announce {
                ip: Some("2001:db8::1".parse().unwrap()),
                ..announce()
            },
        );
        assert!(url.ends_with("&ip=2001%3Adb8%3A%3A1"), "{url}");
    }

    #[test]
    fn compact_peers_of_both_families_are_read() {
        let body = b"d8:completei3e10:incompletei4e8:intervali1800e12:min intervali60e5:peers6:\x0a\0\0\x05\x1a\xe1\
            6:peers618:\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\0\x5010:tracker id3:abce";
        let answer = parse(body).unwrap();
        assert_eq!(
            answer.peers,
            [
                "10.0.0.5:6881".parse().unwrap(),
                "[2001:db8::1]:80".parse().unwrap()
            ]
        );
        assert_eq!((answer.complete, answer.incomplete), (Some(3), Some(4)));
        assert_eq!(answer.interval, Duration::from_secs(1800));
        assert_eq!(answer.min_interval, Some(Duration::from_secs(60)));
        assert_eq!(answer.tracker_id.as_deref(), Some(&b"abc"[..]));
    }

    #[test]
    fn peers_in_the_long_form_are_read_and_names_left_out() {
        let body = b"d8:intervali5e5:peersld2:ip9:127.0.0.17:peer id20:aaaaaaaaaaaaaaaaaaaa4:porti80ee\
            d2:ip7:example4:porti80eed2:ip3:::14:porti0eed2:ip3:::14:porti1eed2:ip3:::14:porti65536ee3:odde15:warning message2:hie";
        let answer = parse(body).unwrap();
        assert_eq!(
            answer.peers,
            ["127.0.0.1:80".parse().unwrap(), "[::1]:1".parse().unwrap()]
        );
        assert_eq!(answer.warning.as_deref(), Some("hi"));
    }

    #[test]
    fn a_refusal_says_why_and_when_to_come_back() {
        let refused = |reason: &str, retry| {
            Err(TrackerError::Refused {
                reason: reason.into(),
                retry,
            })
        };
        assert_eq!(
            parse(b"d14:failure reason7:go away5:peers0:e"),
            refused("go away", None)
        );
        let minutes = |n: u64| Some(Retry::In(Duration::from_secs(n * 60)));
        assert_eq!(
            parse(b"d14:failure reason10:Overloaded8:retry in1:5e"),
            refused("Overloaded", minutes(5))
        );
        assert_eq!(
            parse(b"d14:failure reason10:Overloaded8:retry ini5ee"),
            refused("Overloaded", minutes(5))
        );
        assert_eq!(
            parse(b"d14:failure reason13:Not a tracker8:retry in5:nevere"),
            refused("Not a tracker", Some(Retry::Never))
        );
        assert_eq!(parse(b"d14:failure reason4:\x1b[2Je"), refused("[2J", None));
    }

    #[test]
    fn the_external_address_comes_in_two_lengths() {
        assert_eq!(
            parse(b"d11:external ip4:\x01\x02\x03\x04e")
                .unwrap()
                .external_ip,
            Some([1, 2, 3, 4].into())
        );
        let v6 = parse(b"d11:external ip16:\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01e")
            .unwrap()
            .external_ip;
        assert_eq!(v6, Some("2001:db8::1".parse().unwrap()));
        assert_eq!(parse(b"d11:external ip5:abcdee").unwrap().external_ip, None);
    }

    #[test]
    fn absurd_numbers_are_bounded_or_missing() {
        let answer = parse(b"d8:completei-1e8:intervali99999999999e12:min interval3:abce").unwrap();
        assert_eq!(
            answer,
            Announced {
                interval: MAX_INTERVAL,
                ..Announced::default()
            }
        );
        assert_eq!(
            parse(b"d8:intervali-5ee").unwrap().interval,
            DEFAULT_INTERVAL
        );
    }

    #[test]
    fn a_flood_of_peers_is_cut_at_the_limit() {
        let row = [1, 2, 3, 4, 0, 9].repeat(MAX_PEERS + 500);
        let row6 = [7; 18].repeat(10);
        let body = [
            format!("d5:peers{}:", row.len()).as_bytes(),
            &row,
            b"6:peers6180:",
            &row6,
            b"e",
        ]
        .concat();
        assert_eq!(parse(&body).unwrap().peers.len(), MAX_PEERS);
    }

    #[test]
    fn a_web_page_is_no_answer() {
        assert!(matches!(parse(b"<html>"), Err(TrackerError::Bencode(_))));
        assert!(matches!(parse(b""), Err(TrackerError::Bencode(_))));
        assert_eq!(parse(b"le"), Err(TrackerError::NotDict));
        assert!(matches!(
            parse(&vec![b' '; MAX_RESPONSE_LEN + 1]),
            Err(TrackerError::Bencode(_))
        ));
    }

    proptest! {
        #[test]
        fn escaping_can_be_undone(bytes: Vec<u8>) {
            let mut url = String::new();
            push_escaped(&mut url, &bytes);
            let mut plain = Vec::new();
            let mut rest = url.as_bytes();
            while let [first, tail @ ..] = rest {
                if *first == b'%' {
                    let hex = std::str::from_utf8(&tail[..2]).unwrap();
                    plain.push(u8::from_str_radix(hex, 16).unwrap());
                    rest = &tail[2..];
                } else {
                    plain.push(*first);
                    rest = tail;
                }
            }
            prop_assert_eq!(plain, bytes);
        }
    }
}
