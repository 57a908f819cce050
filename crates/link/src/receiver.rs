//! Messages and payload off a stream.

use std::collections::VecDeque;
use std::io::{self, IoSliceMut};
use std::ops::DerefMut;

use torrent::wire::{
    self, BlockRef, Limits, Message, PIECE_HEADER_LEN, Parsed, WireError, piece_header,
};

/// Read buffer, in bytes: messages between blocks, and the head of what follows a block.
const BUFFER: usize = 16 << 10;
/// The buffer grows to hold one message; the codec's own limits keep it below this.
const MOST: usize = 1 << 20;
/// Blocks whose payload is read ahead into slots, on the guess that they come next: a read then
/// takes up to 256 KiB off the socket and copies nothing twice.
pub const AHEAD: usize = 16;

/// What is next on the stream.
#[derive(Debug)]
pub enum Step<S> {
    /// A message.
    Message(Message),
    /// The header of a block: answer with [`Receiver::accept`] or [`Receiver::discard`].
    Arriving(BlockRef),
    /// The block's payload is here: in its slot, or (`None`) thrown away.
    Filled(BlockRef, Option<S>),
    /// Nothing whole is left: read more.
    Starved,
}

enum Payload<S> {
    None,
    /// The header was told; the caller has not answered.
    Asked(BlockRef),
    Filling {
        block: BlockRef,
        slot: S,
        filled: usize,
    },
    Skipping {
        block: BlockRef,
        left: usize,
    },
}

/// A slot lent for a block that may come next.
struct Guess<S> {
    block: BlockRef,
    slot: S,
    header: [u8; PIECE_HEADER_LEN],
    /// Bytes of header and payload that have been read into it.
    got: usize,
}

/// Takes the protocol off a stream; payload goes straight into slots `S`.
///
/// The loop: [`Receiver::next`] until [`Step::Starved`], then [`Receiver::read`], and again.
pub struct Receiver<S> {
    buf: Vec<u8>,
    start: usize,
    end: usize,
    payload: Payload<S>,
    guesses: VecDeque<Guess<S>>,
}

impl<S: DerefMut<Target = [u8]>> Default for Receiver<S> {
    fn default() -> Self {
        Receiver {
            buf: Vec::new(),
            start: 0,
            end: 0,
            payload: Payload::None,
            guesses: VecDeque::new(),
        }
    }
}

impl<S: DerefMut<Target = [u8]>> Receiver<S> {
    /// The first `n` bytes that were read, once they are there; for the handshake.
    pub fn take(&mut self, n: usize) -> Option<&[u8]> {
        if self.end - self.start < n {
            return None;
        }
        self.start += n;
        Some(&self.buf[self.start - n..self.start])
    }

    /// What is next on the stream, from what has been read.
    ///
    /// # Errors
    /// What comes is not the protocol.
    pub fn next(&mut self, limits: &Limits) -> Result<Step<S>, WireError> {
        match std::mem::replace(&mut self.payload, Payload::None) {
            Payload::None => {}
            asked @ Payload::Asked(_) => {
                self.payload = asked;
                return Ok(Step::Starved);
            }
            Payload::Filling {
                block,
                mut slot,
                mut filled,
            } => {
                let n = self.buffered().min(block.len as usize - filled);
                slot[filled..filled + n].copy_from_slice(&self.buf[self.start..self.start + n]);
                self.start += n;
                filled += n;
                if filled == block.len as usize {
                    return Ok(Step::Filled(block, Some(slot)));
                }
                self.payload = Payload::Filling {
                    block,
                    slot,
                    filled,
                };
                return Ok(Step::Starved);
            }
            Payload::Skipping { block, left } => {
                let n = self.buffered().min(left);
                self.start += n;
                if n == left {
                    return Ok(Step::Filled(block, None));
                }
                self.payload = Payload::Skipping {
                    block,
                    left: left - n,
                };
                return Ok(Step::Starved);
            }
        }
        if self.guesses.front().is_some_and(|g| g.got > 0) {
            return Ok(self.next_guess());
        }
        match wire::parse(&self.buf[self.start..self.end], limits)? {
            Parsed::Message { message, consumed } => {
                self.start += consumed;
                Ok(Step::Message(message))
            }
            Parsed::Block { block, consumed } => {
                self.start += consumed;
                self.payload = Payload::Asked(block);
                Ok(Step::Arriving(block))
            }
            Parsed::Incomplete(_) => Ok(Step::Starved),
        }
    }

    /// The head of the stream lies in guesses, not in the buffer.
    fn next_guess(&mut self) -> Step<S> {
        let right = self.guesses.iter().take_while(|g| {
            g.got > 0
                && g.header[..g.got.min(PIECE_HEADER_LEN)]
                    == piece_header(g.block)[..g.got.min(PIECE_HEADER_LEN)]
        });
        let right = right.count();
        let front = &self.guesses[0];
        if right > 0 && front.got >= PIECE_HEADER_LEN {
            let block = front.block;
            self.payload = Payload::Asked(block);
            return Step::Arriving(block);
        }
        // Wrong, or only a part of a header: back into the buffer, in order.
        self.unguess();
        Step::Starved
    }

    /// Whether [`Receiver::next`] should be called again after [`Step::Starved`]: bytes were put
    /// back in order.
    pub fn has_more(&self, limits: &Limits) -> bool {
        matches!(self.payload, Payload::None)
            && !matches!(
                wire::parse(&self.buf[self.start..self.end], limits),
                Ok(Parsed::Incomplete(_))
            )
    }

    /// Puts all bytes held in guesses in front of what is in the buffer.
    fn unguess(&mut self) {
        let held: usize = self.guesses.iter().map(|g| g.got).sum();
        if held == 0 {
            self.guesses.clear();
            return;
        }
        let mut bytes = Vec::with_capacity(held + self.buffered());
        for guess in self.guesses.drain(..) {
            let header = guess.got.min(PIECE_HEADER_LEN);
            bytes.extend_from_slice(&guess.header[..header]);
            bytes.extend_from_slice(&guess.slot[..guess.got - header]);
        }
        bytes.extend_from_slice(&self.buf[self.start..self.end]);
        self.start = 0;
        self.end = bytes.len();
        self.buf = bytes;
    }

    /// Whether a slot was read ahead into for the block that was told last.
    pub fn has_slot(&self) -> bool {
        matches!((&self.payload, self.guesses.front()), (Payload::Asked(b), Some(g)) if g.got > 0 && g.block == *b)
    }

    /// Fill this slot, of the block's length, with the block that was told last.
    ///
    /// # Panics
    /// If no block is waiting for an answer.
    pub fn accept(&mut self, slot: S) {
        let Payload::Asked(block) = self.payload else {
            panic!("a block was told just before")
        };
        self.guesses.clear();
        self.payload = Payload::Filling {
            block,
            slot,
            filled: 0,
        };
    }

    /// Keep the slot that was read ahead into, if [`Receiver::has_slot`].
    pub fn accept_ahead(&mut self) {
        let Payload::Asked(block) = self.payload else {
            panic!("a block was told just before")
        };
        let guess = self.guesses.pop_front().expect("the caller asked has_slot");
        let filled = guess.got - PIECE_HEADER_LEN;
        self.payload = Payload::Filling {
            block,
            slot: guess.slot,
            filled,
        };
    }

    /// Throw the block away that was told last.
    pub fn discard(&mut self) {
        let Payload::Asked(block) = self.payload else {
            panic!("a block was told just before")
        };
        if self.has_slot() {
            let guess = self.guesses.pop_front().expect("has_slot looked");
            let left = block.len as usize - (guess.got - PIECE_HEADER_LEN);
            self.payload = Payload::Skipping { block, left };
        } else {
            self.payload = Payload::Skipping {
                block,
                left: block.len as usize,
            };
        }
    }

    fn buffered(&self) -> usize {
        self.end - self.start
    }

    /// How many blocks may be read ahead now: none while the buffer still holds something.
    pub fn room_ahead(&self) -> usize {
        if self.buffered() == 0 && self.guesses.iter().all(|g| g.got == 0) {
            AHEAD - self.guesses.len().min(AHEAD)
        } else {
            0
        }
    }

    /// The block read ahead for last, if any: guesses continue behind it.
    pub fn last_guess(&self) -> Option<BlockRef> {
        self.guesses.back().map(|g| g.block)
    }

    /// Lends a slot for a block that is expected next (after those lent before).
    pub fn guess(&mut self, block: BlockRef, slot: S) {
        self.guesses.push_back(Guess {
            block,
            slot,
            header: [0; PIECE_HEADER_LEN],
            got: 0,
        });
    }

    /// Takes back slots lent ahead that hold nothing.
    pub fn reclaim(&mut self) {
        if self.guesses.iter().all(|g| g.got == 0) {
            self.guesses.clear();
        }
    }

    /// Reads once, as much as there is room for: the rest of a block's payload into its slot,
    /// blocks expected next into theirs, whatever follows into the buffer. 0 is the end.
    ///
    /// # Errors
    /// Those of `read`, `WouldBlock` among them.
    pub fn read(
        &mut self,
        read: impl FnOnce(&mut [IoSliceMut<'_>]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        self.make_room();
        let buf_empty = self.start == self.end;
        let skipping = match &self.payload {
            Payload::Skipping { left, .. } => *left,
            _ => 0,
        };
        let mut slices: Vec<IoSliceMut<'_>> = Vec::with_capacity(2 + 2 * AHEAD);
        let mut filling = 0;
        if let Payload::Filling {
            block,
            slot,
            filled,
        } = &mut self.payload
            && buf_empty
        {
            let rest = &mut slot[*filled..block.len as usize];
            filling = rest.len();
            slices.push(IoSliceMut::new(rest));
        }
        let ahead = buf_empty && skipping == 0;
        if ahead {
            for guess in &mut self.guesses {
                let header = guess.got.min(PIECE_HEADER_LEN);
                let body = guess.got - header;
                slices.push(IoSliceMut::new(&mut guess.header[header..]));
                slices.push(IoSliceMut::new(
                    &mut guess.slot[body..guess.block.len as usize],
                ));
            }
        }
        slices.push(IoSliceMut::new(&mut self.buf[self.end..]));
        let n = read(&mut slices)?;
        drop(slices);

        let mut left = n;
        if let Payload::Filling { filled, .. } = &mut self.payload {
            let here = left.min(filling);
            *filled += here;
            left -= here;
        }
        if ahead {
            for guess in &mut self.guesses {
                let here = left.min(PIECE_HEADER_LEN + guess.block.len as usize - guess.got);
                guess.got += here;
                left -= here;
            }
        }
        self.end += left;
        Ok(n)
    }

    /// Nothing more comes for now: the buffer goes if nothing is in it. Of thousands of connections few speak at a
    /// moment.
    pub fn rest(&mut self) {
        if self.start == self.end {
            self.buf = Vec::new();
            self.start = 0;
            self.end = 0;
        }
    }

    fn make_room(&mut self) {
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
            if self.buf.len() > BUFFER {
                self.buf = Vec::new();
            }
        }
        if self.start > 0 && self.buf.len() - self.end < BUFFER / 2 {
            self.buf.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.buf.len() - self.end < BUFFER / 4 {
            let grown = (self.buf.len() * 2).clamp(BUFFER, MOST + BUFFER);
            self.buf.resize(grown.max(self.end + BUFFER / 4), 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    const LEN: usize = 16 << 10;

    fn block(piece: u32, n: u32) -> BlockRef {
        BlockRef {
            piece,
            begin: n * LEN as u32,
            len: LEN as u32,
        }
    }

    fn payload(b: BlockRef) -> Vec<u8> {
        (0..b.len)
            .map(|i| (i / 5 + b.begin / 99 + b.piece) as u8)
            .collect()
    }

    /// What a peer sends: blocks with messages in between.
    fn stream(blocks: &[BlockRef]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (i, &b) in blocks.iter().enumerate() {
            if i % 3 == 1 {
                Message::Have(i as u32).encode(&mut bytes);
            }
            bytes.extend(piece_header(b));
            bytes.extend(payload(b));
        }
        Message::Choke.encode(&mut bytes);
        bytes
    }

    /// Feeds the stream in chunks; `guess` says which blocks to expect after the n-th.
    fn run(
        bytes: &[u8],
        chunks: &[usize],
        mut guess: impl FnMut(usize) -> Vec<BlockRef>,
    ) -> (Vec<BlockRef>, usize) {
        let (mut at, mut turn, mut got, mut messages) = (0, 0, Vec::new(), 0);
        let mut receiver: Receiver<Vec<u8>> = Receiver::default();
        loop {
            match receiver.next(&Limits::default()).unwrap() {
                Step::Message(_) => messages += 1,
                Step::Arriving(b) if b.piece == 9 => receiver.discard(),
                Step::Arriving(_) if receiver.has_slot() => receiver.accept_ahead(),
                Step::Arriving(b) => receiver.accept(vec![0; b.len as usize]),
                Step::Filled(b, Some(slot)) => {
                    assert!(slot == payload(b), "{b:?}");
                    got.push(b);
                }
                Step::Filled(..) => {}
                Step::Starved if receiver.has_more(&Limits::default()) => {}
                Step::Starved => {
                    if at == bytes.len() {
                        return (got, messages);
                    }
                    if receiver.room_ahead() > 0 {
                        for b in guess(got.len()).into_iter().take(receiver.room_ahead()) {
                            receiver.guess(b, vec![0; b.len as usize]);
                        }
                    }
                    if turn % 2 == 1 {
                        receiver.rest();
                    }
                    let n = chunks[turn % chunks.len()].min(bytes.len() - at);
                    turn += 1;
                    let mut piece = &bytes[at..at + n];
                    at += receiver.read(|slices| piece.read_vectored(slices)).unwrap();
                }
            }
        }
    }

    #[test]
    fn blocks_and_messages_come_out_whatever_the_reads_and_the_guesses() {
        let blocks: Vec<BlockRef> = (0..24)
            .map(|i| block(if i % 7 == 5 { 9 } else { 1 }, i))
            .collect();
        let kept: Vec<BlockRef> = blocks.iter().copied().filter(|b| b.piece != 9).collect();
        let bytes = stream(&blocks);
        for chunks in [
            &[1usize << 20][..],
            &[1],
            &[13],
            &[16_397, 5],
            &[100_000, 7, 60_000],
        ] {
            if chunks == [1] && cfg!(debug_assertions) && bytes.len() > 1 << 20 {
                continue;
            }
            let right = |n: usize| kept[n.min(kept.len())..].iter().copied().take(4).collect();
            assert_eq!(
                run(&bytes, chunks, right),
                (kept.clone(), 9),
                "right guesses, {chunks:?}"
            );
            assert_eq!(
                run(&bytes, chunks, |_| vec![]),
                (kept.clone(), 9),
                "no guesses, {chunks:?}"
            );
            let wrong = |n: usize| vec![block(1, 900 + n as u32), block(2, 3)];
            assert_eq!(
                run(&bytes, chunks, wrong),
                (kept.clone(), 9),
                "wrong guesses, {chunks:?}"
            );
        }
    }
}
