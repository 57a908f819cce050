//! A connection from its first byte on: however it is cut into parts, and whatever blocks are read ahead for, a
//! receiver tells the same as the codec does of all of it at once.

use std::io::Read;

use link::{Receiver, Step};
use torrent::wire::{self, BlockRef, HANDSHAKE_LEN, Limits, Message, Parsed, piece_header};

/// What was on the stream.
#[derive(Debug, PartialEq)]
enum Told {
    Message(Message),
    Block(BlockRef, Option<Vec<u8>>),
    Nonsense,
}

/// Blocks of this piece are thrown away.
fn is_unwanted(block: BlockRef) -> bool {
    block.piece % 5 == 4
}

/// What the codec makes of all of it.
fn at_once(mut bytes: &[u8], limits: &Limits) -> Vec<Told> {
    let mut told = Vec::new();
    loop {
        match wire::parse(bytes, limits) {
            Ok(Parsed::Message { message, consumed }) => {
                told.push(Told::Message(message));
                bytes = &bytes[consumed..];
            }
            Ok(Parsed::Block { block, consumed }) => {
                let Some((payload, rest)) = bytes[consumed..].split_at_checked(block.len as usize)
                else {
                    return told;
                };
                let kept = (!is_unwanted(block)).then(|| payload.to_vec());
                told.push(Told::Block(block, kept));
                bytes = rest;
            }
            Ok(Parsed::Incomplete(_)) => return told,
            Err(_) => {
                told.push(Told::Nonsense);
                return told;
            }
        }
    }
}

/// What a receiver makes of it, part by part; before each read, slots may be lent for `guesses`.
fn in_parts(
    mut bytes: &[u8],
    parts: &[u16],
    limits: &Limits,
    mut guesses: impl FnMut(usize) -> Vec<BlockRef>,
) -> Vec<Told> {
    let (mut told, mut parts) = (Vec::new(), parts.iter().cycle());
    let mut receiver: Receiver<Vec<u8>> = Receiver::default();
    // Each read gives a byte at least, and each step in between takes one or asks for a read.
    for _ in 0..4 * bytes.len() + 100 {
        match receiver.next(limits) {
            Ok(Step::Message(message)) => told.push(Told::Message(message)),
            Ok(Step::Arriving(block)) if is_unwanted(block) => receiver.discard(),
            Ok(Step::Arriving(_)) if receiver.has_slot() => receiver.accept_ahead(),
            Ok(Step::Arriving(block)) => receiver.accept(vec![0; block.len as usize]),
            Ok(Step::Filled(block, slot)) => told.push(Told::Block(block, slot)),
            Ok(Step::Starved) if receiver.has_more(limits) => {}
            Ok(Step::Starved) if bytes.is_empty() => return told,
            Ok(Step::Starved) => {
                let blocks = told.iter().filter(|told| matches!(told, Told::Block(..)));
                let expected = guesses(blocks.count());
                for block in expected.into_iter().take(receiver.room_ahead()) {
                    receiver.guess(block, vec![0; block.len as usize]);
                }
                let part = parts
                    .next()
                    .map_or(bytes.len(), |part| 1 + usize::from(*part));
                let (mut part, _) = bytes.split_at(part.min(bytes.len()));
                let read = receiver.read(|slices| part.read_vectored(slices));
                bytes = &bytes[read.expect("bytes can be read")..];
            }
            Err(_) => {
                told.push(Told::Nonsense);
                return told;
            }
        }
    }
    panic!("it goes on and on")
}

/// Messages, blocks and noise, in any order.
fn stream(choices: &[(u8, u16)]) -> (Vec<u8>, Vec<BlockRef>) {
    let (mut bytes, mut blocks) = (Vec::new(), Vec::new());
    for &(kind, number) in choices {
        match kind % 16 {
            0..=8 => {
                let block = BlockRef {
                    piece: number.into(),
                    begin: u32::from(kind) << 14,
                    len: 1 + u32::from(number) % 1000,
                };
                bytes.extend(piece_header(block));
                bytes.extend((0..block.len).map(|at| (at / 3 + u32::from(kind)) as u8));
                blocks.push(block);
            }
            9 => bytes.extend(number.to_be_bytes()),
            10 => bytes.truncate(bytes.len().saturating_sub(usize::from(number) % 50)),
            11 => Message::Bitfield(vec![kind; usize::from(number) % 300]).encode(&mut bytes),
            12 => Message::KeepAlive.encode(&mut bytes),
            _ => Message::Have(number.into()).encode(&mut bytes),
        }
    }
    (bytes, blocks)
}

#[test]
fn fuzz_receiver() {
    bolero::check!()
        .with_type::<(Vec<(u8, u16)>, Vec<u16>, Vec<u8>)>()
        .for_each(|(choices, parts, noise)| {
            let limits = Limits::default();
            let (mut bytes, blocks) = stream(choices);
            for _ in 0..2 {
                let all = at_once(&bytes, &limits);
                assert_eq!(in_parts(&bytes, parts, &limits, |_| Vec::new()), all);
                let right = |n: usize| blocks[n.min(blocks.len())..].to_vec();
                assert_eq!(in_parts(&bytes, parts, &limits, right), all);
                let wrong = |n: usize| blocks.iter().rev().skip(n % 3).copied().collect();
                assert_eq!(in_parts(&bytes, parts, &limits, wrong), all);
                bytes = noise.clone();
            }
        });
}

#[test]
fn fuzz_first_bytes() {
    bolero::check!().for_each(|bytes: &[u8]| {
        let mut receiver: Receiver<Vec<u8>> = Receiver::default();
        for at in 0..bytes.len() {
            if let Some(handshake) = receiver.take(HANDSHAKE_LEN) {
                assert_eq!((at, handshake), (HANDSHAKE_LEN, &bytes[..HANDSHAKE_LEN]));
                let first = handshake.first_chunk::<HANDSHAKE_LEN>();
                let _ = wire::Handshake::decode(first.expect("it is as long"));
                return;
            }
            let mut part = &bytes[at..=at];
            let read = receiver.read(|slices| part.read_vectored(slices));
            assert_eq!(read.expect("bytes can be read"), 1);
        }
    });
}
