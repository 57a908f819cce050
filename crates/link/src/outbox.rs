//! Messages and payload onto a stream.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::rc::Rc;

use torrent::wire::{BlockRef, Message, piece_header};

/// Slices in one vectored write: the system takes 1024, and more than this is more than a
/// socket's buffer holds.
const SLICES: usize = 64;

enum Chunk<B> {
    Bytes(Vec<u8>),
    Payload {
        block: BlockRef,
        data: Rc<B>,
        range: Range<usize>,
    },
}

/// What is to be sent, in order. `B` holds payload that several blocks may share.
pub struct Outbox<B> {
    queue: VecDeque<Chunk<B>>,
    /// Bytes of the first chunk that are sent already.
    sent: usize,
    bytes: usize,
}

impl<B> Default for Outbox<B> {
    fn default() -> Self {
        Outbox {
            queue: VecDeque::new(),
            sent: 0,
            bytes: 0,
        }
    }
}

impl<B: AsRef<[u8]>> Outbox<B> {
    /// Appends bytes as they are (the handshake).
    pub fn raw(&mut self, bytes: &[u8]) {
        self.tail().extend_from_slice(bytes);
        self.bytes += bytes.len();
    }

    /// Appends a message.
    pub fn message(&mut self, message: &Message) {
        let tail = self.tail();
        let before = tail.len();
        message.encode(tail);
        self.bytes += self.tail().len() - before;
    }

    /// Appends a block whose payload is `range` of `data`.
    pub fn block(&mut self, block: BlockRef, data: Rc<B>, range: Range<usize>) {
        self.raw(&piece_header(block));
        self.bytes += range.len();
        self.queue.push_back(Chunk::Payload { block, data, range });
    }

    fn tail(&mut self) -> &mut Vec<u8> {
        if !matches!(self.queue.back(), Some(Chunk::Bytes(_))) {
            self.queue.push_back(Chunk::Bytes(Vec::new()));
        }
        match self.queue.back_mut() {
            Some(Chunk::Bytes(bytes)) => bytes,
            _ => unreachable!("pushed just above"),
        }
    }

    /// Nothing is left to send.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Bytes left to send.
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// Writes once, as much as fits in a call. Blocks that have gone out completely are appended
    /// to `done`.
    ///
    /// # Errors
    /// Those of `write`, `WouldBlock` among them.
    pub fn write(
        &mut self,
        done: &mut Vec<BlockRef>,
        write: impl FnOnce(&[IoSlice<'_>]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let mut slices: Vec<IoSlice<'_>> = Vec::with_capacity(SLICES.min(self.queue.len()));
        for (i, chunk) in self.queue.iter().take(SLICES).enumerate() {
            let bytes = bytes_of(chunk);
            slices.push(IoSlice::new(if i == 0 {
                &bytes[self.sent..]
            } else {
                bytes
            }));
        }
        let n = write(&slices)?;
        drop(slices);
        self.bytes -= n;
        let mut left = n + self.sent;
        while let Some(chunk) = self.queue.front() {
            let len = bytes_of(chunk).len();
            if left < len {
                break;
            }
            left -= len;
            if let Some(Chunk::Payload { block, .. }) = self.queue.pop_front() {
                done.push(block);
            }
        }
        self.sent = left;
        Ok(n)
    }
}

fn bytes_of<B: AsRef<[u8]>>(chunk: &Chunk<B>) -> &[u8] {
    match chunk {
        Chunk::Bytes(bytes) => bytes,
        Chunk::Payload { data, range, .. } => &(**data).as_ref()[range.clone()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_goes_out_in_order_whatever_the_socket_takes() {
        let data = Rc::new((0..100_000u32).map(|i| i as u8).collect::<Vec<u8>>());
        for most in [1usize, 7, 1000, usize::MAX] {
            let mut outbox = Outbox::default();
            let mut expect = Vec::new();
            for n in 0..5u32 {
                Message::Have(n).encode(&mut expect);
                outbox.message(&Message::Have(n));
                let block = BlockRef {
                    piece: n,
                    begin: 0,
                    len: 1000,
                };
                let range = n as usize * 1000..(n as usize + 1) * 1000;
                expect.extend(piece_header(block));
                expect.extend(&data[range.clone()]);
                outbox.block(block, data.clone(), range);
            }
            assert_eq!(outbox.len(), expect.len());
            let (mut wire, mut done): (Vec<u8>, _) = (Vec::new(), Vec::new());
            while !outbox.is_empty() {
                outbox
                    .write(&mut done, |slices| {
                        let all: Vec<u8> = slices.iter().flat_map(|s| s.iter().copied()).collect();
                        let n = all.len().min(most);
                        wire.extend(&all[..n]);
                        Ok(n)
                    })
                    .unwrap();
            }
            assert!(wire == expect);
            assert_eq!(
                done.iter().map(|b| b.piece).collect::<Vec<_>>(),
                [0, 1, 2, 3, 4]
            );
            assert_eq!(outbox.len(), 0);
        }
    }
}
