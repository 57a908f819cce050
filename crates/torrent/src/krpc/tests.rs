//! The examples of BEP 5, sloppy and hostile packets, and round trips.

use proptest::prelude::*;

use super::*;
use crate::bencode::Owned;

const ASKING: NodeId = NodeId(*b"abcdefghij0123456789");
const OTHER: [u8; 20] = *b"mnopqrstuvwxyz123456";

fn message(body: Body) -> Message {
    Message::new(*b"aa", body)
}

fn same(body: Body, packet: &[u8]) {
    assert_eq!(
        message(body.clone()).encode().escape_ascii().to_string(),
        packet.escape_ascii().to_string()
    );
    assert_eq!(Message::parse(packet), Ok(message(body)));
}

#[test]
fn the_queries_of_bep_5_are_written_and_read() {
    same(
        Body::Query(Query::Ping { id: ASKING }),
        b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe",
    );
    same(
        Body::Query(Query::FindNode { id: ASKING, target: NodeId(OTHER), want: None }),
        b"d1:ad2:id20:abcdefghij01234567896:target20:mnopqrstuvwxyz123456e1:q9:find_node1:t2:aa1:y1:qe",
    );
    same(
        Body::Query(Query::GetPeers { id: ASKING, info_hash: OTHER, want: None }),
        b"d1:ad2:id20:abcdefghij01234567899:info_hash20:mnopqrstuvwxyz123456e1:q9:get_peers1:t2:aa1:y1:qe",
    );
    let announce = Query::AnnouncePeer {
        id: ASKING,
        info_hash: OTHER,
        port: 6881,
        implied_port: true,
        token: b"aoeusnth".into(),
    };
    same(
        Body::Query(announce),
        b"d1:ad2:id20:abcdefghij012345678912:implied_porti1e9:info_hash20:mnopqrstuvwxyz1234564:porti6881e\
            5:token8:aoeusnthe1:q13:announce_peer1:t2:aa1:y1:qe",
    );
}

#[test]
fn values_are_asked_for_and_put_as_in_bep_44() {
    same(
        Body::Query(Query::Get { id: ASKING, target: NodeId(OTHER), seq: Some(4), want: None }),
        b"d1:ad2:id20:abcdefghij01234567893:seqi4e6:target20:mnopqrstuvwxyz123456e1:q3:get1:t2:aa1:y1:qe",
    );
    // Verbatim: a dictionary out of order stays out of order.
    let item = Item::Immutable(b"d1:bi1e1:ai2ee".to_vec());
    let put = |item, cas| Query::Put {
        id: ASKING,
        token: b"tok".into(),
        item: Box::new(item),
        cas,
    };
    same(
        Body::Query(put(item.clone(), None)),
        b"d1:ad2:id20:abcdefghij01234567895:token3:tok1:vd1:bi1e1:ai2eee1:q3:put1:t2:aa1:y1:qe",
    );
    let signed = Signed {
        key: [b'k'; 32],
        salt: b"foobar".into(),
        seq: 4,
        signature: [b's'; 64],
        value: b"12:Hello world!".into(),
    };
    let long = format!(
        "d1:ad3:casi3e2:id20:abcdefghij01234567891:k32:{}4:salt6:foobar3:seqi4e3:sig64:{}5:token3:tok\
         1:v12:Hello world!e1:q3:put1:t2:aa1:y1:qe",
        "k".repeat(32),
        "s".repeat(64)
    );
    same(
        Body::Query(put(Item::Mutable(signed), Some(3))),
        long.as_bytes(),
    );
    let response = Response {
        item: Some(Box::new(item)),
        ..Response::new(ASKING)
    };
    same(
        Body::Response(response),
        b"d1:rd2:id20:abcdefghij01234567891:vd1:bi1e1:ai2eee1:t2:aa1:y1:re",
    );
    let half = Message::parse(
        b"d1:ad2:id20:abcdefghij01234567891:k3:abc5:token3:tok1:vi1ee1:q3:put1:t2:aa1:y1:qe",
    );
    assert!(matches!(half, Err(KrpcError::Query { argument: "k", .. })));
}

#[test]
fn the_answers_of_bep_5_are_written_and_read() {
    same(
        Body::Response(Response::new(NodeId(OTHER))),
        b"d1:rd2:id20:mnopqrstuvwxyz123456e1:t2:aa1:y1:re",
    );
    let peers = Response {
        values: vec![
            "97.120.106.101:11893".parse().unwrap(),
            "105.100.104.116:28269".parse().unwrap(),
        ],
        token: Some(b"aoeusnth".into()),
        ..Response::new(ASKING)
    };
    same(
        Body::Response(peers),
        b"d1:rd2:id20:abcdefghij01234567895:token8:aoeusnth6:valuesl6:axje.u6:idhtnmee1:t2:aa1:y1:re",
    );
    let error = Body::Error {
        code: 201,
        message: "A Generic Error Ocurred".into(),
    };
    same(
        error,
        b"d1:eli201e23:A Generic Error Ocurrede1:t2:aa1:y1:ee",
    );
}

#[test]
fn the_short_example_node_of_bep_5_is_left_out() {
    let packet = b"d1:rd2:id20:0123456789abcdefghij5:nodes9:def456...e1:t2:aa1:y1:re";
    let expected = Response {
        nodes: Some(vec![]),
        ..Response::new(NodeId(*b"0123456789abcdefghij"))
    };
    assert_eq!(
        Message::parse(packet),
        Ok(message(Body::Response(expected)))
    );
}

#[test]
fn nodes_of_both_families_travel_side_by_side() {
    let node = |addr: &str| NodeInfo {
        id: NodeId(OTHER),
        addr: addr.parse().unwrap(),
    };
    let response = Response {
        nodes: Some(vec![node("10.0.0.1:258")]),
        nodes6: Some(vec![node("[2001:db8::1]:258")]),
        ..Response::new(ASKING)
    };
    same(
        Body::Response(response),
        b"d1:rd2:id20:abcdefghij01234567895:nodes26:mnopqrstuvwxyz123456\x0a\0\0\x01\x01\x02\
            6:nodes638:mnopqrstuvwxyz123456\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\x01\x02e1:t2:aa1:y1:re",
    );
}

#[test]
fn fields_of_later_beps_stand_at_the_top() {
    let full = Message {
        version: Some(b"ST\0\x01".into()),
        read_only: true,
        ip: Some("1.2.3.4:258".parse().unwrap()),
        ..message(Body::Query(Query::Ping { id: ASKING }))
    };
    let packet = b"d1:ad2:id20:abcdefghij0123456789e2:ip6:\x01\x02\x03\x04\x01\x021:q4:ping2:roi1e1:t2:aa1:v4:ST\0\x011:y1:qe";
    assert_eq!(full.encode(), packet);
    assert_eq!(Message::parse(packet), Ok(full));
}

#[test]
fn an_unknown_query_is_named_so_that_it_can_be_refused() {
    let packet = b"d1:ad2:id20:abcdefghij01234567891:vi1ee1:q3:pet1:t2:aa1:y1:qe";
    let expected = Query::Unknown {
        id: Some(ASKING),
        name: b"pet".into(),
    };
    assert_eq!(Message::parse(packet), Ok(message(Body::Query(expected))));
    let without = Message::parse(b"d1:q4:vote1:t2:aa1:y1:qe");
    assert_eq!(
        without,
        Ok(message(Body::Query(Query::Unknown {
            id: None,
            name: b"vote".into()
        })))
    );
}

#[test]
fn a_query_without_an_argument_can_still_be_answered() {
    let lacks = |argument| {
        Err(KrpcError::Query {
            transaction: b"aa".into(),
            argument,
        })
    };
    assert_eq!(Message::parse(b"d1:t2:aa1:y1:qe"), lacks("q"));
    assert_eq!(Message::parse(b"d1:q4:ping1:t2:aa1:y1:qe"), lacks("a"));
    assert_eq!(
        Message::parse(b"d1:ad2:id3:abce1:q4:ping1:t2:aa1:y1:qe"),
        lacks("id")
    );
    assert_eq!(
        Message::parse(b"d1:ad2:id20:abcdefghij0123456789e1:q9:find_node1:t2:aa1:y1:qe"),
        lacks("target")
    );
    let announce = |arguments: &str| {
        let packet = format!(
            "d1:ad2:id20:abcdefghij0123456789{arguments}e1:q13:announce_peer1:t2:aa1:y1:qe"
        );
        Message::parse(packet.as_bytes())
    };
    assert_eq!(
        announce("9:info_hash20:mnopqrstuvwxyz1234565:token1:x"),
        lacks("port")
    );
    assert_eq!(
        announce("9:info_hash20:mnopqrstuvwxyz1234564:porti0e5:token1:x"),
        lacks("port")
    );
    assert_eq!(
        announce("9:info_hash20:mnopqrstuvwxyz1234564:porti70000e5:token1:x"),
        lacks("port")
    );
    assert_eq!(
        announce("9:info_hash20:mnopqrstuvwxyz1234564:porti1e"),
        lacks("token")
    );
    assert_eq!(announce("4:porti1e5:token1:x"), lacks("info_hash"));
    assert!(announce("12:implied_porti1e9:info_hash20:mnopqrstuvwxyz1234565:token1:x").is_ok());
}

#[test]
fn what_is_no_message_is_refused() {
    assert_eq!(Message::parse(b"le"), Err(KrpcError::Missing("y")));
    assert_eq!(Message::parse(b"d1:y1:qe"), Err(KrpcError::Missing("t")));
    assert_eq!(
        Message::parse(b"d1:t2:aa1:y1:xe"),
        Err(KrpcError::Missing("y"))
    );
    assert_eq!(
        Message::parse(b"d1:t2:aa1:y1:re"),
        Err(KrpcError::Missing("r"))
    );
    assert_eq!(
        Message::parse(b"d1:rde1:t2:aa1:y1:re"),
        Err(KrpcError::Missing("id"))
    );
    assert!(matches!(
        Message::parse(b"d1:t2:aa"),
        Err(KrpcError::Bencode(_))
    ));
    assert!(matches!(
        Message::parse(&[b'l'; 3000]),
        Err(KrpcError::Bencode(_))
    ));
    assert!(matches!(
        Message::parse(&vec![b' '; MAX_PACKET_LEN + 1]),
        Err(KrpcError::Bencode(_))
    ));
    let long = format!(
        "d1:t{0}:{1}1:y1:ee",
        MAX_TRANSACTION_LEN + 1,
        "t".repeat(MAX_TRANSACTION_LEN + 1)
    );
    assert_eq!(
        Message::parse(long.as_bytes()),
        Err(KrpcError::Missing("t"))
    );
}

#[test]
fn a_malformed_error_is_still_an_error() {
    let error = |message: &str| {
        Ok(Message::new(
            *b"aa",
            Body::Error {
                code: 201,
                message: message.into(),
            },
        ))
    };
    assert_eq!(Message::parse(b"d1:ede1:t2:aa1:y1:ee"), error(""));
    assert_eq!(Message::parse(b"d1:t2:aa1:y1:ee"), error(""));
    assert_eq!(
        Message::parse(b"d1:eli99999e5:\x1bnah\ne1:t2:aa1:y1:ee"),
        error("nah")
    );
}

#[test]
fn floods_are_cut_at_their_limits() {
    let nodes = [&b"mnopqrstuvwxyz123456\x0a\0\0\x01\x01\x02"[..]]
        .repeat(MAX_NODES + 9)
        .concat();
    let head = format!("d1:rd2:id20:abcdefghij01234567895:nodes{}:", nodes.len());
    let packet = [
        head.as_bytes(),
        &nodes,
        b"6:valuesl",
        &b"6:axje.u".repeat(MAX_VALUES + 9),
        b"ee1:t2:aa1:y1:re",
    ];
    let Body::Response(response) = Message::parse(&packet.concat()).unwrap().body else {
        panic!("a response")
    };
    assert_eq!(response.nodes.unwrap().len(), MAX_NODES);
    assert_eq!(response.values.len(), MAX_VALUES);
}

fn any_message() -> impl Strategy<Value = Message> {
    let id = || any::<[u8; 20]>().prop_map(NodeId);
    let raw = |max: usize| proptest::collection::vec(any::<u8>(), 0..=max);
    let addr = || (any::<std::net::IpAddr>(), 1u16..).prop_map(SocketAddr::from);
    let want = || proptest::option::of(any::<(bool, bool)>().prop_map(|(n4, n6)| Want { n4, n6 }));
    let v4 = (any::<[u8; 4]>(), 1u16..).prop_map(SocketAddr::from);
    let v6 = (any::<[u8; 16]>(), 1u16..).prop_map(SocketAddr::from);
    let node =
        |addr: BoxedStrategy<SocketAddr>| (id(), addr).prop_map(|(id, addr)| NodeInfo { id, addr });
    let nodes = |addr: BoxedStrategy<SocketAddr>| {
        proptest::option::of(proptest::collection::vec(node(addr), 0..9))
    };
    let item = || {
        let value = || raw(MAX_TOKEN_LEN).prop_map(|value| Owned::bytes(value).encode());
        let key = (any::<[u8; 32]>(), any::<[u8; 32]>());
        let signed = (key, raw(64), 0..i64::MAX, value());
        prop_oneof![
            value().prop_map(Item::Immutable),
            signed.prop_map(|((key, half), salt, seq, value)| Item::Mutable(Signed {
                key,
                salt,
                seq,
                signature: std::array::from_fn(|at| half[at % 32]),
                value,
            })),
        ]
    };
    let query = prop_oneof![
        id().prop_map(|id| Query::Ping { id }),
        (id(), id(), want()).prop_map(|(id, target, want)| Query::FindNode { id, target, want }),
        (id(), any::<[u8; 20]>(), want()).prop_map(|(id, info_hash, want)| Query::GetPeers {
            id,
            info_hash,
            want
        }),
        (
            id(),
            any::<[u8; 20]>(),
            1u16..,
            any::<bool>(),
            raw(MAX_TOKEN_LEN)
        )
            .prop_map(
                |(id, info_hash, port, implied_port, token)| Query::AnnouncePeer {
                    id,
                    info_hash,
                    port,
                    implied_port,
                    token
                }
            ),
        (id(), id(), proptest::option::of(0..i64::MAX), want()).prop_map(
            |(id, target, seq, want)| Query::Get {
                id,
                target,
                seq,
                want
            }
        ),
        (
            id(),
            raw(MAX_TOKEN_LEN),
            item(),
            proptest::option::of(0..i64::MAX)
        )
            .prop_map(|(id, token, item, cas)| Query::Put {
                id,
                token,
                item: Box::new(item),
                cas
            }),
        (proptest::option::of(id()), "[a-f]{0,9}").prop_map(|(id, name)| Query::Unknown {
            id,
            name: name.into_bytes()
        }),
    ];
    let response = (
        id(),
        nodes(v4.boxed()),
        nodes(v6.boxed()),
        proptest::collection::vec(addr(), 0..20),
        proptest::option::of(raw(MAX_TOKEN_LEN)),
        proptest::option::of(item()),
    )
        .prop_map(|(id, nodes, nodes6, values, token, item)| Response {
            id,
            nodes,
            nodes6,
            values,
            token,
            seq: item.as_ref().and_then(Item::seq),
            item: item.map(Box::new),
        });
    let body = prop_oneof![
        query.prop_map(Body::Query),
        response.prop_map(Body::Response),
        (any::<u16>(), "[ -~]{0,100}").prop_map(|(code, message)| Body::Error { code, message }),
    ];
    let top = (
        raw(MAX_TRANSACTION_LEN),
        proptest::option::of(raw(8)),
        any::<bool>(),
        proptest::option::of(addr()),
    );
    (body, top).prop_map(|(body, (transaction, version, read_only, ip))| Message {
        transaction,
        body,
        version,
        read_only,
        ip,
    })
}

proptest! {
    #[test]
    fn every_message_survives_the_wire(message in any_message()) {
        prop_assert_eq!(Message::parse(&message.encode()), Ok(message));
    }

    #[test]
    fn shared_bits_grow_as_distance_shrinks(a: [u8; 20], b: [u8; 20], c: [u8; 20]) {
        let (a, b, c) = (NodeId(a), NodeId(b), NodeId(c));
        if a.shared_bits(&b) > a.shared_bits(&c) {
            prop_assert!(a.distance(&b) < a.distance(&c));
        }
    }
}
