//! The two directions of a stream.

use std::collections::VecDeque;
use std::task::Poll;

use bytes::{Buf, Bytes, BytesMut};

use crate::device::{STREAM_WINDOW, StreamError};

/// Bytes that may wait to be sent on one stream.
const QUEUE: usize = 512 << 10;
/// Least bytes of memory asked for at once for what arrives: short parts share it.
const PART: usize = 1024;

/// What is written here and read there.
pub struct Outbound {
    queue: VecDeque<Bytes>,
    queued: usize,
    /// Bytes there is room for on the other side.
    credit: u64,
    state: Out,
    /// A writer waits for room.
    waited: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Out {
    Open,
    /// All is written, and not all of it sent.
    Finishing,
    /// The other side said stop, and is to be told that we did.
    Stopped(u32),
    /// The same, and it has been told.
    WasStopped(u32),
    /// Nothing more goes out.
    Over,
}

impl Default for Outbound {
    fn default() -> Outbound {
        Outbound {
            queue: VecDeque::new(),
            queued: 0,
            credit: STREAM_WINDOW.into(),
            state: Out::Open,
            waited: false,
        }
    }
}

impl Outbound {
    pub fn write(&mut self, bytes: &mut Bytes) -> Poll<Result<usize, StreamError>> {
        match self.state {
            Out::Open => {}
            Out::Stopped(code) | Out::WasStopped(code) => {
                return Poll::Ready(Err(StreamError::Stopped(code)));
            }
            Out::Finishing | Out::Over => return Poll::Ready(Err(StreamError::Ended)),
        }
        let len = bytes.len().min(QUEUE.saturating_sub(self.queued));
        if len == 0 && !bytes.is_empty() {
            self.waited = true;
            return Poll::Pending;
        }
        if len > 0 {
            self.queue.push_back(bytes.split_to(len));
            self.queued += len;
        }
        Poll::Ready(Ok(len))
    }

    /// Moves up to `most` bytes to `out`; how many.
    pub fn take(&mut self, most: usize, out: &mut Vec<Bytes>) -> usize {
        let len = self.credit.min(most as u64).min(self.queued as u64) as usize;
        let mut left = len;
        while left > 0
            && let Some(front) = self.queue.front_mut()
        {
            let part = front.split_to(left.min(front.len()));
            left -= part.len();
            out.push(part);
            if front.is_empty() {
                self.queue.pop_front();
            }
        }
        self.queued -= len;
        self.credit -= len as u64;
        len
    }

    /// Something could be sent now, as far as this stream goes.
    pub fn has_more(&self) -> bool {
        (self.queued > 0 && self.credit > 0) || (self.queued == 0 && self.state == Out::Finishing)
    }

    /// The end is to be told now.
    pub fn take_fin(&mut self) -> bool {
        let now = self.queued == 0 && self.state == Out::Finishing;
        if now {
            self.state = Out::Over;
        }
        now
    }

    /// True if that is news.
    pub fn finish(&mut self) -> bool {
        let open = self.state == Out::Open;
        if open {
            self.state = Out::Finishing;
        }
        open
    }

    /// True if that is to be told.
    pub fn reset(&mut self) -> bool {
        let told = matches!(self.state, Out::Over | Out::WasStopped(_));
        self.drop_queue();
        self.state = Out::Over;
        !told
    }

    pub fn stopped(&mut self, code: u32) {
        if matches!(self.state, Out::Open | Out::Finishing) {
            self.drop_queue();
            self.state = Out::Stopped(code);
        }
    }

    /// The other side said stop and waits for our reset: true once.
    pub fn owes_reset(&mut self) -> bool {
        let Out::Stopped(code) = self.state else {
            return false;
        };
        self.state = Out::WasStopped(code);
        true
    }

    pub fn gets_room(&mut self, bytes: u32) {
        self.credit = self.credit.saturating_add(bytes.into());
    }

    /// Whoever waits can go on: true once for each time.
    pub fn wake(&mut self) -> bool {
        let go = self.queued < QUEUE || self.state != Out::Open;
        go && std::mem::take(&mut self.waited)
    }

    /// The last word has been said.
    pub fn is_over(&self) -> bool {
        matches!(self.state, Out::Over | Out::WasStopped(_))
    }

    fn drop_queue(&mut self) {
        self.queue = VecDeque::new();
        self.queued = 0;
    }
}

/// What is written there and read here.
pub struct Inbound {
    queue: VecDeque<BytesMut>,
    /// Bytes in it.
    unread: u64,
    /// Bytes the other side may still send.
    granted: u64,
    /// Read since it was told that there is room.
    consumed: u64,
    end: Option<End>,
    /// Nobody reads any more.
    stopped: bool,
    /// A reader waits.
    waited: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Fin,
    Reset(u32),
}

impl Default for Inbound {
    fn default() -> Inbound {
        Inbound {
            queue: VecDeque::new(),
            unread: 0,
            granted: STREAM_WINDOW.into(),
            consumed: 0,
            end: None,
            stopped: false,
            waited: false,
        }
    }
}

impl Inbound {
    /// Takes what came before the end; how many bytes of it are of no use, or `None` if there is no room for it.
    pub fn receive(&mut self, part: &[u8]) -> Option<u64> {
        let len = part.len() as u64;
        self.granted = self.granted.checked_sub(len)?;
        if self.stopped || part.is_empty() {
            return Some(len);
        }
        match self.queue.back_mut() {
            Some(last) if last.capacity() - last.len() >= part.len() => {
                last.extend_from_slice(part);
            }
            _ => {
                let mut new = BytesMut::with_capacity(part.len().max(PART));
                new.extend_from_slice(part);
                self.queue.push_back(new);
            }
        }
        self.unread += len;
        Some(0)
    }

    pub fn read(&mut self, most: usize) -> Poll<Result<Option<Bytes>, StreamError>> {
        if self.stopped {
            return Poll::Ready(Err(StreamError::Ended));
        }
        let Some(front) = self.queue.front_mut() else {
            return match self.end {
                Some(End::Fin) => Poll::Ready(Ok(None)),
                Some(End::Reset(code)) => Poll::Ready(Err(StreamError::Reset(code))),
                None => {
                    self.waited = true;
                    Poll::Pending
                }
            };
        };
        let part = front.split_to(front.len().min(most)).freeze();
        if !front.has_remaining() {
            self.queue.pop_front();
        }
        self.unread -= part.len() as u64;
        self.consumed += part.len() as u64;
        Poll::Ready(Ok(Some(part)))
    }

    /// Room that the other side should know of by now.
    pub fn room(&mut self) -> Option<u32> {
        let due = self.consumed >= u64::from(STREAM_WINDOW / 2) && self.end.is_none();
        due.then(|| {
            let room = std::mem::take(&mut self.consumed);
            self.granted += room;
            room as u32
        })
    }

    pub fn finish(&mut self) {
        self.end.get_or_insert(End::Fin);
    }

    /// What is unread is lost; how many bytes.
    pub fn reset(&mut self, code: u32) -> u64 {
        if self.end.is_some() {
            return 0; // it had all arrived before
        }
        self.end = Some(End::Reset(code));
        self.drop_queue()
    }

    /// Nobody reads any more; how many bytes are of no use, or `None` if there is nothing to be told.
    pub fn stop(&mut self) -> Option<u64> {
        if std::mem::replace(&mut self.stopped, true) {
            return None;
        }
        let unread = self.drop_queue();
        Some(unread)
    }

    /// Whoever waits can go on: true once for each time.
    pub fn wake(&mut self) -> bool {
        std::mem::take(&mut self.waited)
    }

    /// The other side has said its last word.
    pub fn has_ended(&self) -> bool {
        self.end.is_some()
    }

    /// Pieces of memory in use.
    #[cfg(test)]
    pub fn parts(&self) -> usize {
        self.queue.len()
    }

    fn drop_queue(&mut self) -> u64 {
        self.queue = VecDeque::new();
        std::mem::take(&mut self.unread)
    }
}
