//! What passes in both directions, payload and what it takes to move it.

use std::time::Instant;

use torrent::wire::Message;

use crate::rate::Meter;

/// Bytes of a handshake (BEP 3).
const HANDSHAKE: u64 = 68;
/// Bytes in front of a block: length, id, piece, begin (BEP 3).
const BLOCK_HEADER: u64 = 13;

/// One direction.
#[derive(Debug)]
pub(crate) struct Tally {
    pub payload: Meter,
    /// Bytes that were not payload.
    pub overhead: u64,
}

impl Tally {
    pub fn block(&mut self, now: Instant, len: u64) {
        self.payload.add(now, len);
        self.overhead += BLOCK_HEADER;
    }

    pub fn message(&mut self, message: &Message) {
        self.overhead += wire_len(message);
    }

    pub fn handshake(&mut self) {
        self.overhead += HANDSHAKE;
    }
}

/// Both directions.
#[derive(Debug)]
pub(crate) struct Traffic {
    pub down: Tally,
    pub up: Tally,
    /// Bytes of payload sent to peers that more than their class's limit binds: those the uplink is shared by.
    pub up_bound: u64,
}

impl Traffic {
    pub fn new(now: Instant) -> Traffic {
        let tally = || Tally {
            payload: Meter::new(now),
            overhead: 0,
        };
        Traffic {
            down: tally(),
            up: tally(),
            up_bound: 0,
        }
    }
}

/// Bytes of a message on the wire. Of one that we do not know, only the head is left to count.
fn wire_len(message: &Message) -> u64 {
    let body = match message {
        Message::KeepAlive => return 4,
        Message::Choke | Message::Unchoke | Message::Interested | Message::NotInterested => 0,
        Message::HaveAll | Message::HaveNone | Message::Unknown { .. } => 0,
        Message::Have(_) | Message::Suggest(_) | Message::AllowedFast(_) => 4,
        Message::Port(_) => 2,
        Message::Request(_) | Message::Cancel(_) | Message::Reject(_) => 12,
        Message::Bitfield(bits) => bits.len() as u64,
        Message::Extended { payload, .. } => 1 + payload.len() as u64,
        Message::HashRequest(_) | Message::HashReject(_) => 48,
        Message::Hashes { hashes, .. } => 48 + 32 * hashes.len() as u64,
    };
    5 + body
}

#[cfg(test)]
mod tests {
    use super::*;
    use torrent::wire::{BlockRef, HashRange};

    #[test]
    fn lengths_are_those_on_the_wire() {
        let block = BlockRef {
            piece: 1,
            begin: 2,
            len: 3,
        };
        let range = HashRange {
            root: [1; 32],
            base: 0,
            index: 0,
            length: 2,
            proofs: 0,
        };
        let all = [
            Message::KeepAlive,
            Message::Choke,
            Message::Unchoke,
            Message::Interested,
            Message::NotInterested,
            Message::Have(7),
            Message::Bitfield(vec![0xff; 9]),
            Message::Request(block),
            Message::Cancel(block),
            Message::Port(6881),
            Message::Suggest(7),
            Message::HaveAll,
            Message::HaveNone,
            Message::Reject(block),
            Message::AllowedFast(7),
            Message::Extended {
                id: 3,
                payload: vec![1; 33],
            },
            Message::HashRequest(range),
            Message::Hashes {
                range,
                hashes: vec![[2; 32]; 5],
            },
            Message::HashReject(range),
            Message::Unknown { id: 99 },
        ];
        for message in all {
            let mut bytes = Vec::new();
            message.encode(&mut bytes);
            assert_eq!(wire_len(&message), bytes.len() as u64, "{message:?}");
        }
        assert_eq!(
            BLOCK_HEADER,
            torrent::wire::piece_header(block).len() as u64
        );
    }
}
