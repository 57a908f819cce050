//! Every decoder of messages, fed with anything. None may panic, and what one accepts it must be able to write and
//! read again.

use torrent::{extension, krpc, lsd, tracker, wire};

/// Feeds `check` with noise, and with `seeds` in which some bytes are changed and the end perhaps cut off: noise
/// alone seldom gets past the first byte of a dictionary.
fn fuzz(seeds: &[&[u8]], check: impl Fn(&[u8]) + std::panic::RefUnwindSafe) {
    bolero::check!()
        .with_type::<(u8, Vec<(u16, u8)>, u16, Vec<u8>)>()
        .for_each(|(seed, changes, cut, noise)| {
            check(noise);
            let mut bytes = seeds[usize::from(*seed) % seeds.len()].to_vec();
            for &(at, byte) in changes.iter().take(4) {
                let at = usize::from(at) % bytes.len();
                bytes[at] = byte;
            }
            check(&bytes);
            bytes.truncate(usize::from(*cut) % (bytes.len() + 1));
            check(&bytes);
        });
}

#[test]
fn fuzz_wire_parse() {
    let range = wire::HashRange {
        root: [1; 32],
        base: 0,
        index: 0,
        length: 2,
        proofs: 0,
    };
    let mut hashes = Vec::new();
    wire::Message::Hashes {
        range,
        hashes: vec![[2; 32]; 2],
    }
    .encode(&mut hashes);
    let request = b"\0\0\0\x0d\x06\0\0\0\x01\0\0\x40\0\0\0\x40\0";
    let piece = b"\0\0\x40\x09\x07\0\0\0\x07\0\0\x80\0";
    fuzz(
        &[
            &hashes,
            request,
            piece,
            b"\0\0\0\x04\x14\x03de",
            b"\0\0\0\x03\x05\x80\x01",
        ],
        |bytes| {
            let limits = wire::Limits::for_pieces(100);
            match wire::parse(bytes, &limits) {
                Ok(wire::Parsed::Incomplete(more)) => assert!(more > 0),
                Ok(wire::Parsed::Block { block, consumed }) => {
                    assert_eq!(wire::piece_header(block), bytes[..consumed]);
                }
                Ok(wire::Parsed::Message {
                    message: wire::Message::Unknown { .. },
                    consumed,
                }) => {
                    assert!(consumed <= bytes.len());
                }
                Ok(wire::Parsed::Message { message, consumed }) => {
                    let mut again = Vec::new();
                    message.encode(&mut again);
                    assert_eq!(again, bytes[..consumed]);
                }
                Err(_) => {}
            }
        },
    );
}

#[test]
fn fuzz_handshake() {
    bolero::check!().with_type::<[u8; 48]>().for_each(|tail| {
        let mut bytes = [0; wire::HANDSHAKE_LEN];
        bytes[0] = 19;
        bytes[1..20].copy_from_slice(wire::PROTOCOL);
        bytes[20..].copy_from_slice(tail);
        assert_eq!(
            wire::Handshake::decode(&bytes).map(|handshake| handshake.encode()),
            Ok(bytes)
        );
    });
}

#[test]
fn fuzz_extension() {
    let handshake = b"d1:md11:ut_metadatai3e6:ut_pexi1ee13:metadata_sizei31235e1:pi6881e4:reqqi250e1:v4:test6:yourip4:\x01\x02\x03\x04e";
    let data = b"d8:msg_typei1e5:piecei0e10:total_sizei34256eexxxxxxxx";
    let pex =
        b"d5:added6:\x01\x02\x03\x04\x01\x027:added.f1:\x127:dropped6:\x05\x06\x07\x08\0\x09e";
    let punch = b"\x02\0\x01\x02\x03\x04\x1a\xe1\0\0\0\x02";
    let dialback = b"\x01\x01\x1a\xe1\x02";
    let seeds: [&[u8]; 7] = [handshake, data, pex, punch, dialback, &[0; 4], &[1]];
    fuzz(&seeds, |bytes| {
        if let Ok(handshake) = extension::Handshake::parse(bytes) {
            assert_eq!(
                extension::Handshake::parse(&handshake.encode()),
                Ok(handshake)
            );
        }
        if let Ok(Some(metadata)) = extension::Metadata::parse(bytes) {
            assert_eq!(
                extension::Metadata::parse(&metadata.encode()),
                Ok(Some(metadata))
            );
        }
        if let Ok(pex) = extension::Pex::parse(bytes) {
            assert_eq!(extension::Pex::parse(&pex.encode()), Ok(pex));
        }
        if let Ok(Some(punch)) = extension::Holepunch::parse(bytes) {
            assert_eq!(
                extension::Holepunch::parse(&punch.encode()),
                Ok(Some(punch))
            );
        }
        if let Ok(dialback) = extension::Dialback::parse(bytes) {
            assert_eq!(extension::Dialback::parse(&dialback.encode()), Ok(dialback));
        }
        let _ = extension::DontHave::parse(bytes);
        let _ = extension::UploadOnly::parse(bytes);
    });
}

#[test]
fn fuzz_tracker() {
    let compact = b"d8:completei3e8:intervali1800e5:peers6:\x0a\0\0\x05\x1a\xe110:tracker id3:abce";
    let long = b"d8:intervali5e5:peersld2:ip9:127.0.0.14:porti80eed2:ip3:::14:porti80eeee";
    let refused = b"d14:failure reason10:Overloaded8:retry in1:5e";
    let connect = b"\0\0\x04\x17\x27\x10\x19\x80\0\0\0\0\x01\x02\x03\x04";
    let announce = [
        &[0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1][..],
        &[7; 86],
        &[2, 3],
        b"/an",
        &[2, 1, b'n', 0],
    ]
    .concat();
    let answer = b"\0\0\0\x01\0\0\0\x05\0\0\x07\x08\0\0\0\x02\0\0\0\x03\x0a\0\0\x01\x1a\xe1";
    let error = b"\0\0\0\x03\0\0\0\x05no such torrent";
    let count = [b"\0\0\0\x01\0\0\0\x02\0\0\0\x02\0\0\0\x05", &[7; 40][..]].concat();
    let counts = b"\0\0\0\x02\0\0\0\x05\0\0\0\x03\0\0\0\x09\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\0";
    let files =
        b"d5:filesd20:aaaaaaaaaaaaaaaaaaaad8:completei5e10:downloadedi50e10:incompletei10eeee";
    fuzz(
        &[
            compact, long, refused, connect, &announce, answer, error, &count, counts, files,
        ],
        |bytes| {
            if let Ok(counts) = tracker::http::parse_scrape(bytes, b"aaaaaaaaaaaaaaaaaaaa") {
                let again = format!(
                    "d5:filesd20:aaaaaaaaaaaaaaaaaaaad8:completei{}e10:downloadedi{}e10:incompletei{}eeee",
                    counts.complete, counts.downloaded, counts.incomplete
                );
                let again = tracker::http::parse_scrape(again.as_bytes(), b"aaaaaaaaaaaaaaaaaaaa");
                assert_eq!(again, Ok(counts));
            }
            if let Ok(answer) = tracker::http::parse(bytes) {
                assert!(
                    answer.peers.len() <= tracker::MAX_PEERS
                        && answer.interval <= tracker::MAX_INTERVAL
                );
            }
            if let Ok(request) = tracker::udp::Request::parse(bytes) {
                assert_eq!(tracker::udp::Request::parse(&request.encode()), Ok(request));
            }
            for v6 in [false, true] {
                if let Ok(response) = tracker::udp::Response::parse(bytes, v6) {
                    assert_eq!(
                        tracker::udp::Response::parse(&response.encode(v6), v6),
                        Ok(response)
                    );
                }
            }
        },
    );
}

#[test]
fn fuzz_krpc() {
    let find = b"d1:ad2:id20:abcdefghij01234567896:target20:mnopqrstuvwxyz1234564:wantl2:n42:n6ee1:q9:find_node2:roi1e1:t2:aa1:y1:qe";
    let announce = b"d1:ad2:id20:abcdefghij012345678912:implied_porti1e9:info_hash20:mnopqrstuvwxyz1234564:porti6881e5:token8:aoeusnthe1:q13:announce_peer1:t2:aa1:y1:qe";
    let peers = b"d2:ip6:\x01\x02\x03\x04\x01\x021:rd2:id20:abcdefghij01234567895:token8:aoeusnth6:valuesl6:axje.u6:idhtnmee1:t2:aa1:y1:re";
    let nodes = b"d1:rd2:id20:abcdefghij01234567895:nodes26:mnopqrstuvwxyz123456\x0a\0\0\x01\x01\x02e1:t2:aa1:v4:ST\0\x011:y1:re";
    let error = b"d1:eli201e23:A Generic Error Ocurrede1:t2:aa1:y1:ee";
    fuzz(&[find, announce, peers, nodes, error], |bytes| {
        if let Ok(message) = krpc::Message::parse(bytes) {
            assert_eq!(krpc::Message::parse(&message.encode()), Ok(message));
        }
    });
}

#[test]
fn fuzz_lsd() {
    bolero::check!().for_each(|bytes: &[u8]| {
        let packet = [b"BT-SEARCH * HTTP/1.1\r\n", bytes].concat();
        for packet in [bytes, &packet] {
            if let Ok(announce) = lsd::Announce::parse(packet) {
                assert_eq!(
                    lsd::Announce::parse(&announce.encode(lsd::Group::V4)),
                    Ok(announce)
                );
            }
        }
    });
}
