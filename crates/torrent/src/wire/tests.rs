//! Messages against the byte layouts of BEP 3, 5, 6, 10 and 52, limits, and round trips.

use proptest::prelude::*;

use super::*;

fn bytes(message: &Message) -> Vec<u8> {
    let mut out = Vec::new();
    message.encode(&mut out);
    out
}

fn whole(message: Message) -> Parsed {
    let consumed = bytes(&message).len();
    Parsed::Message { message, consumed }
}

#[test]
fn messages_are_laid_out_as_their_beps_say() {
    let block = BlockRef {
        piece: 1,
        begin: 0x4000,
        len: 0x4000,
    };
    let block_hex = b"\0\0\0\x01\0\0\x40\0\0\0\x40\0";
    let with_block = |id: u8| [&[0, 0, 0, 13, id], &block_hex[..]].concat();
    let range = HashRange {
        root: [9; 32],
        base: 0,
        index: 512,
        length: 512,
        proofs: 3,
    };
    let range_hex = [&[9; 32][..], b"\0\0\0\0\0\0\x02\0\0\0\x02\0\0\0\0\x03"].concat();
    let cases: Vec<(Message, Vec<u8>)> = vec![
        (Message::KeepAlive, b"\0\0\0\0".into()),
        (Message::Choke, b"\0\0\0\x01\x00".into()),
        (Message::Unchoke, b"\0\0\0\x01\x01".into()),
        (Message::Interested, b"\0\0\0\x01\x02".into()),
        (Message::NotInterested, b"\0\0\0\x01\x03".into()),
        (Message::Have(258), b"\0\0\0\x05\x04\0\0\x01\x02".into()),
        (
            Message::Bitfield(vec![0x80, 1]),
            b"\0\0\0\x03\x05\x80\x01".into(),
        ),
        (Message::Request(block), with_block(6)),
        (Message::Cancel(block), with_block(8)),
        (Message::Port(6881), b"\0\0\0\x03\x09\x1a\xe1".into()),
        (Message::Suggest(1), b"\0\0\0\x05\x0d\0\0\0\x01".into()),
        (Message::HaveAll, b"\0\0\0\x01\x0e".into()),
        (Message::HaveNone, b"\0\0\0\x01\x0f".into()),
        (Message::Reject(block), with_block(16)),
        (Message::AllowedFast(1), b"\0\0\0\x05\x11\0\0\0\x01".into()),
        (
            Message::Extended {
                id: 3,
                payload: b"de".into(),
            },
            b"\0\0\0\x04\x14\x03de".into(),
        ),
        (
            Message::HashRequest(range),
            [&b"\0\0\0\x31\x15"[..], &range_hex].concat(),
        ),
        (
            Message::Hashes {
                range,
                hashes: vec![[1; 32], [2; 32]],
            },
            [&b"\0\0\0\x71\x16"[..], &range_hex, &[1; 32], &[2; 32]].concat(),
        ),
        (
            Message::HashReject(range),
            [&b"\0\0\0\x31\x17"[..], &range_hex].concat(),
        ),
        (Message::Unknown { id: 99 }, b"\0\0\0\x01\x63".into()),
    ];
    for (message, expected) in cases {
        assert_eq!(bytes(&message), expected, "{message:?}");
        assert_eq!(parse(&expected, &Limits::default()), Ok(whole(message)));
    }
}

#[test]
fn a_piece_message_stops_after_its_header() {
    let block = BlockRef {
        piece: 7,
        begin: 32768,
        len: 16384,
    };
    let header = piece_header(block);
    assert_eq!(header, *b"\0\0\x40\x09\x07\0\0\0\x07\0\0\x80\0");
    let found = Ok(Parsed::Block {
        block,
        consumed: PIECE_HEADER_LEN,
    });
    assert_eq!(parse(&header, &Limits::default()), found);
    let with_payload = [&header[..], &[0xee; 100]].concat();
    assert_eq!(parse(&with_payload, &Limits::default()), found);
}

#[test]
fn a_message_over_its_limit_is_refused_at_its_fifth_byte() {
    let limits = Limits {
        bitfield: 10,
        extended: 20,
        block: 16384,
        hashes: 2,
        unknown: 30,
    };
    for (id, longest) in [(5, 11), (20, 22), (7, 16393), (22, 49 + 64), (200, 31)] {
        let start = |len: u32| [&len.to_be_bytes()[..], &[id]].concat();
        assert!(
            matches!(parse(&start(longest), &limits), Ok(Parsed::Incomplete(_))),
            "message {id}"
        );
        for len in [longest + 1, u32::MAX] {
            let refused = Err(WireError::TooLong {
                id,
                len,
                limit: longest,
            });
            assert_eq!(parse(&start(len), &limits), refused);
        }
    }
}

#[test]
fn a_message_of_an_impossible_length_is_refused() {
    // A `have` of 3 bytes, a `choke` with content, an empty block, an extended message without id, a torn hash.
    for (id, len) in [
        (4, 4),
        (0, 2),
        (7, 9),
        (20, 1),
        (22, 50),
        (22, 48),
        (9, 2),
        (6, 12),
        (21, 48),
        (6, u32::MAX),
    ] {
        let start = [&u32::to_be_bytes(len)[..], &[id]].concat();
        assert_eq!(
            parse(&start, &Limits::default()),
            Err(WireError::Length { id, len })
        );
    }
}

#[test]
fn an_unknown_message_is_skipped_whole() {
    let mut stream = b"\0\0\0\x06\xc8hello".to_vec();
    assert_eq!(
        parse(&stream, &Limits::default()),
        Ok(Parsed::Message {
            message: Message::Unknown { id: 200 },
            consumed: 10
        })
    );
    stream.pop();
    assert_eq!(
        parse(&stream, &Limits::default()),
        Ok(Parsed::Incomplete(1))
    );
}

#[test]
fn limits_for_a_torrent_fit_its_bitfield_exactly() {
    assert_eq!(Limits::for_pieces(0).bitfield, 0);
    assert_eq!(Limits::for_pieces(8).bitfield, 1);
    assert_eq!(Limits::for_pieces(9).bitfield, 2);
    assert_eq!(Limits::for_pieces(u32::MAX).bitfield, 1 << 29);
}

fn any_message() -> impl Strategy<Value = Message> {
    let block = (any::<u32>(), any::<u32>(), any::<u32>())
        .prop_map(|(piece, begin, len)| BlockRef { piece, begin, len });
    let range =
        (any::<[u8; 32]>(), any::<[u32; 4]>()).prop_map(|(root, [base, index, length, proofs])| {
            HashRange {
                root,
                base,
                index,
                length,
                proofs,
            }
        });
    let raw = || proptest::collection::vec(any::<u8>(), 0..200);
    prop_oneof![
        proptest::sample::select(vec![
            Message::KeepAlive,
            Message::Choke,
            Message::Unchoke,
            Message::Interested,
            Message::NotInterested,
            Message::HaveAll,
            Message::HaveNone,
        ]),
        any::<u32>().prop_map(Message::Have),
        any::<u32>().prop_map(Message::Suggest),
        any::<u32>().prop_map(Message::AllowedFast),
        any::<u16>().prop_map(Message::Port),
        block.clone().prop_map(Message::Request),
        block.clone().prop_map(Message::Cancel),
        block.prop_map(Message::Reject),
        raw().prop_map(Message::Bitfield),
        (any::<u8>(), raw()).prop_map(|(id, payload)| Message::Extended { id, payload }),
        range.clone().prop_map(Message::HashRequest),
        range.clone().prop_map(Message::HashReject),
        (range, proptest::collection::vec(any::<[u8; 32]>(), 0..20))
            .prop_map(|(range, hashes)| Message::Hashes { range, hashes }),
    ]
}

proptest! {
    #[test]
    fn every_message_survives_the_wire(message in any_message()) {
        prop_assert_eq!(parse(&bytes(&message), &Limits::default()), Ok(whole(message)));
    }

    #[test]
    fn a_stream_cut_anywhere_gives_the_same_messages(
        messages in proptest::collection::vec(any_message(), 1..8),
        cuts in proptest::collection::vec(1usize..60, 1..40),
    ) {
        let stream: Vec<u8> = messages.iter().flat_map(bytes).collect();
        let (mut buf, mut arrived, mut seen) = (Vec::new(), 0, Vec::new());
        for cut in cuts.into_iter().cycle() {
            let end = (arrived + cut).min(stream.len());
            buf.extend(&stream[arrived..end]);
            arrived = end;
            loop {
                match parse(&buf, &Limits::default()).expect("a valid stream") {
                    Parsed::Message { message, consumed } => {
                        seen.push(message);
                        buf.drain(..consumed);
                    }
                    Parsed::Incomplete(more) => {
                        prop_assert!(more > 0 && more <= stream.len() - arrived + 4);
                        break;
                    }
                    Parsed::Block { .. } => prop_assert!(false, "no piece message was sent"),
                }
            }
            if arrived == stream.len() {
                break;
            }
        }
        prop_assert_eq!(seen, messages);
        prop_assert!(buf.is_empty());
    }
}
