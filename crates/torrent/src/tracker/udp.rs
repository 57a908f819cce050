//! Announces over UDP: four packets in the two directions (BEP 15), and the tracker URL's path behind an
//! announce (BEP 41, "URLData").
//!
//! Both directions can be written and read, so that a tracker for tests is a few lines.

use std::net::SocketAddr;
use std::time::Duration;

use super::{
    Announce, Announced, Event, MAX_INTERVAL, MAX_PEERS, Scraped, TrackerError, compact, printable,
};

/// What a connect request starts with (BEP 15).
pub const PROTOCOL_ID: u64 = 0x0417_2710_1980;

/// Most torrents in a scrape (BEP 15).
pub const MAX_SCRAPED: usize = 74;

/// Length of an announce request without options, in bytes.
const ANNOUNCE_LEN: usize = 98;

const CONNECT: u32 = 0;
const ANNOUNCE: u32 = 1;
const SCRAPE: u32 = 2;
const ERROR: u32 = 3;

/// A packet to a tracker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// May I talk to you?
    Connect {
        /// Chosen at random, comes back in the answer.
        transaction: u32,
    },
    /// Here is how one torrent does; who else is there?
    Announce {
        /// What the answer to the connect request said.
        connection: u64,
        /// Chosen at random, comes back in the answer.
        transaction: u32,
        /// How the torrent does. Its tracker id does not travel over UDP.
        announce: Box<Announce>,
        /// Path and query of the tracker's URL (BEP 41); may be empty.
        url_data: Vec<u8>,
    },
    /// How many take part in these torrents?
    Scrape {
        /// What the answer to the connect request said.
        connection: u64,
        /// Chosen at random, comes back in the answer.
        transaction: u32,
        /// At most [`MAX_SCRAPED`].
        info_hashes: Vec<[u8; 20]>,
    },
}

impl Request {
    /// The packet.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(128);
        match self {
            Request::Connect { transaction } => {
                out.extend(PROTOCOL_ID.to_be_bytes());
                out.extend(CONNECT.to_be_bytes());
                out.extend(transaction.to_be_bytes());
            }
            Request::Announce {
                connection,
                transaction,
                announce,
                url_data,
            } => {
                out.extend(connection.to_be_bytes());
                out.extend(ANNOUNCE.to_be_bytes());
                out.extend(transaction.to_be_bytes());
                push_announce(&mut out, announce);
                for part in url_data.chunks(255) {
                    out.extend([2, part.len() as u8]);
                    out.extend_from_slice(part);
                }
            }
            Request::Scrape {
                connection,
                transaction,
                info_hashes,
            } => {
                out.extend(connection.to_be_bytes());
                out.extend(SCRAPE.to_be_bytes());
                out.extend(transaction.to_be_bytes());
                out.extend(info_hashes.iter().flatten());
            }
        }
        out
    }

    /// Reads a packet as a tracker does.
    ///
    /// # Errors
    /// A packet too short, or of an unknown kind.
    pub fn parse(packet: &[u8]) -> Result<Request, TrackerError> {
        let (head, rest) = packet
            .split_first_chunk::<16>()
            .ok_or(TrackerError::Short)?;
        let transaction = be32(head, 12);
        match be32(head, 8) {
            CONNECT => Ok(Request::Connect { transaction }),
            ANNOUNCE => {
                let (body, options) = rest
                    .split_first_chunk::<{ ANNOUNCE_LEN - 16 }>()
                    .ok_or(TrackerError::Short)?;
                let announce = Box::new(announce(body));
                Ok(Request::Announce {
                    connection: be64(head, 0),
                    transaction,
                    announce,
                    url_data: url_data(options),
                })
            }
            SCRAPE => Ok(Request::Scrape {
                connection: be64(head, 0),
                transaction,
                info_hashes: rest
                    .as_chunks()
                    .0
                    .iter()
                    .copied()
                    .take(MAX_SCRAPED)
                    .collect(),
            }),
            action => Err(TrackerError::Action(action)),
        }
    }
}

fn push_announce(out: &mut Vec<u8>, announce: &Announce) {
    out.extend(announce.info_hash);
    out.extend(announce.peer_id);
    out.extend(announce.downloaded.to_be_bytes());
    out.extend(announce.left.to_be_bytes());
    out.extend(announce.uploaded.to_be_bytes());
    let event: u32 = match announce.event {
        None => 0,
        Some(Event::Completed) => 1,
        Some(Event::Started) => 2,
        Some(Event::Stopped) => 3,
    };
    out.extend(event.to_be_bytes());
    match announce.ip {
        Some(std::net::IpAddr::V4(ip)) => out.extend(ip.octets()),
        _ => out.extend([0; 4]),
    }
    out.extend(announce.key.to_be_bytes());
    let num_want = announce
        .num_want
        .map_or(-1, |n| i32::try_from(n).unwrap_or(i32::MAX));
    out.extend(num_want.to_be_bytes());
    out.extend(announce.port.to_be_bytes());
}

fn announce(body: &[u8; ANNOUNCE_LEN - 16]) -> Announce {
    let mut announce = Announce {
        info_hash: [0; 20],
        peer_id: [0; 20],
        port: u16::from_be_bytes([body[80], body[81]]),
        downloaded: be64(body, 40),
        left: be64(body, 48),
        uploaded: be64(body, 56),
        event: match be32(body, 64) {
            1 => Some(Event::Completed),
            2 => Some(Event::Started),
            3 => Some(Event::Stopped),
            _ => None,
        },
        num_want: u32::try_from(be32(body, 76).cast_signed()).ok(),
        key: be32(body, 72),
        tracker_id: None,
        ip: compact::ip(&body[68..72]).filter(|ip| !ip.is_unspecified()),
    };
    announce.info_hash.copy_from_slice(&body[..20]);
    announce.peer_id.copy_from_slice(&body[20..40]);
    announce
}

/// Joins the URLData options (BEP 41): each has its number, a length and bytes; 0 ends them, 1 is padding.
fn url_data(mut options: &[u8]) -> Vec<u8> {
    let mut joined = Vec::new();
    loop {
        match options {
            [1, rest @ ..] => options = rest,
            [2, len, rest @ ..] if rest.len() >= usize::from(*len) => {
                let (part, rest) = rest.split_at(usize::from(*len));
                joined.extend_from_slice(part);
                options = rest;
            }
            _ => return joined,
        }
    }
}

/// A packet from a tracker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    /// You may talk to me.
    Connected {
        /// That of the request.
        transaction: u32,
        /// To be sent with requests within the next minute.
        connection: u64,
    },
    /// Here is who else is there.
    Announced {
        /// That of the request.
        transaction: u32,
        /// The answer.
        answer: Announced,
    },
    /// So many take part.
    Scraped {
        /// That of the request.
        transaction: u32,
        /// In the order of the request; at most [`MAX_SCRAPED`].
        counts: Vec<Scraped>,
    },
    /// No.
    Error {
        /// That of the request.
        transaction: u32,
        /// In the tracker's words; bounded and without control characters.
        message: String,
    },
}

impl Response {
    /// The number the request had.
    pub fn transaction(&self) -> u32 {
        match self {
            Response::Connected { transaction, .. }
            | Response::Announced { transaction, .. }
            | Response::Scraped { transaction, .. }
            | Response::Error { transaction, .. } => *transaction,
        }
    }

    /// The packet. Peers of the other address family than `v6` says can't be said and are left out.
    pub fn encode(&self, v6: bool) -> Vec<u8> {
        let mut out = Vec::with_capacity(32);
        match self {
            Response::Connected {
                transaction,
                connection,
            } => {
                out.extend(CONNECT.to_be_bytes());
                out.extend(transaction.to_be_bytes());
                out.extend(connection.to_be_bytes());
            }
            Response::Announced {
                transaction,
                answer,
            } => {
                let interval = u32::try_from(answer.interval.as_secs()).unwrap_or(u32::MAX);
                let counts = [answer.incomplete.unwrap_or(0), answer.complete.unwrap_or(0)];
                for number in [ANNOUNCE, *transaction, interval].into_iter().chain(counts) {
                    out.extend(number.to_be_bytes());
                }
                for &peer in answer.peers.iter().filter(|peer| peer.is_ipv6() == v6) {
                    compact::push(&mut out, peer);
                }
            }
            Response::Scraped {
                transaction,
                counts,
            } => {
                out.extend(SCRAPE.to_be_bytes());
                out.extend(transaction.to_be_bytes());
                for one in counts {
                    for count in [one.complete, one.downloaded, one.incomplete] {
                        out.extend(count.to_be_bytes());
                    }
                }
            }
            Response::Error {
                transaction,
                message,
            } => {
                out.extend(ERROR.to_be_bytes());
                out.extend(transaction.to_be_bytes());
                out.extend(message.as_bytes());
            }
        }
        out
    }

    /// Reads a packet as a client does; `v6` says whether it came over IPv6, which decides how peers are packed.
    ///
    /// # Errors
    /// A packet too short, or of an unknown kind.
    pub fn parse(packet: &[u8], v6: bool) -> Result<Response, TrackerError> {
        let (head, body) = packet.split_first_chunk::<8>().ok_or(TrackerError::Short)?;
        let transaction = be32(head, 4);
        match be32(head, 0) {
            CONNECT => {
                let connection = body.first_chunk::<8>().ok_or(TrackerError::Short)?;
                Ok(Response::Connected {
                    transaction,
                    connection: u64::from_be_bytes(*connection),
                })
            }
            ANNOUNCE => {
                let (numbers, row) = body.split_first_chunk::<12>().ok_or(TrackerError::Short)?;
                let answer = Announced {
                    interval: Duration::from_secs(be32(numbers, 0).into()).min(MAX_INTERVAL),
                    incomplete: Some(be32(numbers, 4)),
                    complete: Some(be32(numbers, 8)),
                    peers: if v6 {
                        usable(compact::v6_row(row))
                    } else {
                        usable(compact::v4_row(row))
                    },
                    ..Announced::default()
                };
                Ok(Response::Announced {
                    transaction,
                    answer,
                })
            }
            SCRAPE => Ok(Response::Scraped {
                transaction,
                counts: body
                    .as_chunks::<12>()
                    .0
                    .iter()
                    .map(|one| Scraped {
                        complete: be32(one, 0),
                        downloaded: be32(one, 4),
                        incomplete: be32(one, 8),
                    })
                    .take(MAX_SCRAPED)
                    .collect(),
            }),
            ERROR => Ok(Response::Error {
                transaction,
                message: printable(body),
            }),
            action => Err(TrackerError::Action(action)),
        }
    }
}

fn usable(row: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    row.filter(|addr| addr.port() != 0)
        .take(MAX_PEERS)
        .collect()
}

fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn be64(bytes: &[u8], at: usize) -> u64 {
    u64::from(be32(bytes, at)) << 32 | u64::from(be32(bytes, at + 4))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample() -> Announce {
        Announce {
            info_hash: [0xaa; 20],
            peer_id: [0xbb; 20],
            port: 6881,
            uploaded: 3,
            downloaded: 1,
            left: 2,
            event: Some(Event::Started),
            num_want: None,
            key: 7,
            tracker_id: None,
            ip: None,
        }
    }

    #[test]
    fn requests_are_laid_out_as_bep_15_says() {
        let connect = Request::Connect {
            transaction: 0x0102_0304,
        };
        assert_eq!(
            connect.encode(),
            b"\0\0\x04\x17\x27\x10\x19\x80\0\0\0\0\x01\x02\x03\x04"
        );

        let announce = Request::Announce {
            connection: 1,
            transaction: 2,
            announce: Box::new(sample()),
            url_data: vec![],
        };
        let expected = [
            &b"\0\0\0\0\0\0\0\x01\0\0\0\x01\0\0\0\x02"[..],
            &[0xaa; 20],
            &[0xbb; 20],
            b"\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x03\0\0\0\x02\0\0\0\0\0\0\0\x07\xff\xff\xff\xff\x1a\xe1",
        ]
        .concat();
        assert_eq!(expected.len(), ANNOUNCE_LEN);
        assert_eq!(announce.encode(), expected);
    }

    #[test]
    fn answers_are_laid_out_as_bep_15_says() {
        let connected = b"\0\0\0\0\0\0\0\x05\x01\x02\x03\x04\x05\x06\x07\x08";
        let connection = 0x0102_0304_0506_0708;
        assert_eq!(
            Response::parse(connected, false),
            Ok(Response::Connected {
                transaction: 5,
                connection
            })
        );

        let announced = b"\0\0\0\x01\0\0\0\x05\0\0\x07\x08\0\0\0\x02\0\0\0\x03\x0a\0\0\x01\x1a\xe1\x0a\0\0\x02\0\0torn";
        let Ok(Response::Announced {
            transaction: 5,
            answer,
        }) = Response::parse(announced, false)
        else {
            panic!("an announce response")
        };
        assert_eq!(answer.interval, Duration::from_secs(1800));
        assert_eq!((answer.incomplete, answer.complete), (Some(2), Some(3)));
        assert_eq!(answer.peers, ["10.0.0.1:6881".parse().unwrap()]);

        let error = Response::parse(b"\0\0\0\x03\0\0\0\x05no such torrent\n", false);
        assert_eq!(
            error,
            Ok(Response::Error {
                transaction: 5,
                message: "no such torrent".into()
            })
        );
    }

    #[test]
    fn peers_over_ipv6_are_eighteen_bytes_each() {
        let peers = vec![
            "[2001:db8::1]:80".parse().unwrap(),
            "10.0.0.1:80".parse().unwrap(),
        ];
        let answer = Announced {
            peers: peers.clone(),
            complete: Some(0),
            incomplete: Some(0),
            ..Announced::default()
        };
        let packet = Response::Announced {
            transaction: 1,
            answer,
        }
        .encode(true);
        assert_eq!(packet.len(), 20 + 18);
        let Ok(Response::Announced { answer, .. }) = Response::parse(&packet, true) else {
            panic!("an answer")
        };
        assert_eq!(answer.peers, peers[..1]);
    }

    #[test]
    fn a_packet_may_be_longer_but_not_shorter() {
        let request = Request::Connect { transaction: 9 }.encode();
        for len in 0..request.len() {
            assert_eq!(Request::parse(&request[..len]), Err(TrackerError::Short));
        }
        assert_eq!(
            Request::parse(&[&request[..], b"more"].concat()),
            Ok(Request::Connect { transaction: 9 })
        );
        for short in [
            &[][..],
            &[0; 7],
            &[0; 15],
            &[&[0, 0, 0, 1][..], &[0; 15]].concat(),
        ] {
            assert_eq!(Response::parse(short, false), Err(TrackerError::Short));
        }
        assert_eq!(
            Response::parse(&[9; 40], false),
            Err(TrackerError::Action(0x0909_0909))
        );
    }

    #[test]
    fn a_long_path_is_split_and_joined() {
        let url_data: Vec<u8> = (0..600).map(|n| b'a' + (n % 26) as u8).collect();
        let request = Request::Announce {
            connection: 1,
            transaction: 2,
            announce: Box::new(sample()),
            url_data: url_data.clone(),
        };
        let packet = request.encode();
        assert_eq!(packet.len(), ANNOUNCE_LEN + 600 + 3 * 2);
        assert_eq!(packet[98..100], [2, 255]);
        assert_eq!(Request::parse(&packet), Ok(request));
        assert_eq!(super::url_data(&[1, 1, 2, 1, b'x', 0, 2, 1, b'y']), b"x");
        assert_eq!(super::url_data(&[2, 9, b'x']), b"");
    }

    proptest! {
        #[test]
        fn every_announce_survives_the_wire(
            (info_hash, peer_id) in any::<([u8; 20], [u8; 20])>(),
            (connection, transaction) in any::<(u64, u32)>(),
            (uploaded, downloaded, left) in any::<(u64, u64, u64)>(),
            (port, key) in any::<(u16, u32)>(),
            num_want in proptest::option::of(0..u32::MAX / 2),
            event in proptest::sample::select(vec![
                None, Some(Event::Started), Some(Event::Completed), Some(Event::Stopped),
            ]),
            url_data in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let announce = Announce {
                info_hash, peer_id, port, uploaded, downloaded, left, event, num_want, key, tracker_id: None, ip: None,
            };
            let request = Request::Announce { connection, transaction, announce: Box::new(announce), url_data };
            prop_assert_eq!(Request::parse(&request.encode()), Ok(request));
        }

        #[test]
        fn every_answer_survives_the_wire(
            transaction: u32,
            (complete, incomplete) in any::<(u32, u32)>(),
            secs in 0..86400u64,
            peers in proptest::collection::vec((any::<[u8; 4]>(), 1u16..).prop_map(SocketAddr::from), 0..40),
        ) {
            let interval = Duration::from_secs(secs);
            let (complete, incomplete) = (Some(complete), Some(incomplete));
            let answer = Announced { interval, complete, incomplete, peers, ..Announced::default() };
            let response = Response::Announced { transaction, answer };
            prop_assert_eq!(Response::parse(&response.encode(false), false), Ok(response));
        }
    }
}
