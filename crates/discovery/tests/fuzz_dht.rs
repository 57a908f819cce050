//! A DHT node among liars: noise, damaged messages, and well-formed answers with invented content, in any order.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use discovery::dht::{AnnounceAs, Config, Dht, Input, Output, SearchId};
use torrent::krpc::{
    Body, Item, MAX_SENT_ITEM_LEN, MAX_SENT_LEN, Message, NodeId, NodeInfo, Query, Response, Signed,
};

/// What happens next, and bytes to make it of.
type Step = (u8, u8, Vec<u8>);

const QUERIES: [&[u8]; 6] = [
    b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe",
    b"d1:ad2:id20:abcdefghij01234567896:target20:mnopqrstuvwxyz1234564:wantl2:n42:n6ee1:q9:find_node1:t2:aa1:y1:qe",
    b"d1:ad2:id20:abcdefghij01234567899:info_hash20:mnopqrstuvwxyz123456e1:q9:get_peers1:t2:aa1:y1:qe",
    b"d1:ad2:id20:abcdefghij01234567899:info_hash20:mnopqrstuvwxyz1234564:porti1e5:token8:aoeusnthe\
      1:q13:announce_peer1:t2:aa1:y1:qe",
    b"d1:ad2:id20:abcdefghij01234567896:target20:mnopqrstuvwxyz123456e1:q3:get1:t2:aa1:y1:qe",
    b"d1:ad2:id20:abcdefghij01234567895:token8:aoeusnth1:vd1:bi1e1:ai2eee1:q3:put1:t2:aa1:y1:qe",
];

fn addr(n: u8) -> SocketAddr {
    match n % 4 {
        0 => ([127, 0, 0, 1], 1 + u16::from(n)).into(),
        1 => ([9, 9, n, 1], 6881).into(),
        2 => (
            [0x20, 1, 0xd, 0xb8, 0, n, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
            6881,
        )
            .into(),
        _ => ([9, n, 1, 1], 0).into(),
    }
}

/// Nodes as the bytes say: ids near and far, addresses of all kinds.
fn nodes(bytes: &[u8]) -> Vec<NodeInfo> {
    let node = |pair: &[u8; 2]| NodeInfo {
        id: NodeId([pair[0]; 20]),
        addr: addr(pair[1]),
    };
    bytes.as_chunks().0.iter().map(node).take(40).collect()
}

/// A value, as often signed as not, and never rightly.
fn item(bytes: &[u8]) -> Item {
    let value = [format!("{}:", bytes.len()).as_bytes(), bytes].concat();
    match bytes.first() {
        Some(0..128) => Item::Mutable(Signed {
            key: [bytes[0]; 32],
            salt: Vec::new(),
            seq: i64::from(bytes[0]),
            signature: [bytes[0]; 64],
            value,
        }),
        _ => Item::Immutable(value),
    }
}

#[test]
fn fuzz_dht_handle() {
    bolero::check!()
        .with_type::<(u64, Vec<Step>)>()
        .for_each(|(seed, steps)| {
            let mut now = Instant::now();
            let config = Config {
                id: None,
                id6: None,
                v4: true,
                v6: true,
                routers: vec![("router".into(), 6881)],
                read_only: seed % 16 == 0,
                version: None,
                secret: [7; 20],
            };
            let mut dht = Dht::new(config, *seed, now);
            let mut asked: VecDeque<(SocketAddr, Message)> = VecDeque::new();
            for (what, who, bytes) in steps {
                let from = addr(*who);
                match what % 8 {
                    0 => dht.handle(now, Input::Packet { from, bytes }),
                    1 => {
                        let mut query = QUERIES[usize::from(*who) % QUERIES.len()].to_vec();
                        for pair in bytes.as_chunks::<2>().0.iter().take(3) {
                            let at = usize::from(pair[0]) % query.len();
                            query[at] = pair[1];
                        }
                        dht.handle(
                            now,
                            Input::Packet {
                                from,
                                bytes: &query,
                            },
                        );
                    }
                    2..=4 => {
                        let Some((to, question)) = asked.pop_front() else {
                            continue;
                        };
                        let (v4, v6) = nodes(bytes)
                            .into_iter()
                            .partition(|node| node.addr.is_ipv4());
                        let response = Response {
                            nodes: Some(v4),
                            nodes6: Some(v6),
                            values: bytes.iter().map(|n| addr(*n)).take(20).collect(),
                            token: Some(bytes[..bytes.len().min(8)].to_vec()),
                            item: (*who > 128).then(|| Box::new(item(bytes))),
                            ..Response::new(NodeId([*who; 20]))
                        };
                        let body = match what % 16 {
                            12 => Body::Error {
                                code: 203,
                                message: "no".into(),
                            },
                            _ => Body::Response(response),
                        };
                        let answer = Message::new(question.transaction, body).encode();
                        dht.handle(
                            now,
                            Input::Packet {
                                from: to,
                                bytes: &answer,
                            },
                        );
                    }
                    5 => {
                        now += Duration::from_secs(u64::from(*who) * u64::from(*what));
                        dht.handle(now, Input::Timeout);
                    }
                    6 => {
                        let announce = (what % 16 == 6).then_some(AnnounceAs {
                            port: 1,
                            implied: true,
                        });
                        let (search, info_hash) = (SearchId(u64::from(*who % 8)), [*who; 20]);
                        dht.handle(
                            now,
                            match bytes.first() {
                                Some(0..80) => Input::Get {
                                    search,
                                    target: item(bytes).target(),
                                    salt: Vec::new(),
                                },
                                Some(80..160) => Input::Put {
                                    search,
                                    item: Box::new(item(&bytes[..bytes.len().min(900)])),
                                    cas: None,
                                },
                                _ => Input::Search {
                                    search,
                                    info_hash,
                                    announce,
                                    want_peers: true,
                                },
                            },
                        );
                    }
                    _ => match who % 5 {
                        0 => dht.handle(now, Input::CancelSearch(SearchId(u64::from(*what % 8)))),
                        1 => dht.handle(now, Input::AddNode(from)),
                        2 => dht.handle(now, Input::Restore(&nodes(bytes))),
                        3 => dht.handle(now, Input::Located(from.ip())),
                        _ => dht.handle(now, Input::Resolved(&[from])),
                    },
                }
                while let Some(output) = dht.poll() {
                    if let Output::Send { to, bytes } = output {
                        let message = Message::parse(&bytes).expect("we send what can be read");
                        let has_item = match &message.body {
                            Body::Query(query) => matches!(query, Query::Put { .. }),
                            Body::Response(response) => response.item.is_some(),
                            Body::Error { .. } => false,
                        };
                        let most = if has_item {
                            MAX_SENT_ITEM_LEN
                        } else {
                            MAX_SENT_LEN
                        };
                        assert!(bytes.len() <= most && to.port() != 0);
                        if matches!(message.body, Body::Query(_)) && asked.len() < 100 {
                            asked.push_back((to, message));
                        }
                    }
                }
                assert!(
                    dht.deadline().is_some_and(|at| at > now),
                    "what is due has been done"
                );
            }
            assert!(dht.nodes(now).len() <= 2 * 160 * 8);
        });
}
