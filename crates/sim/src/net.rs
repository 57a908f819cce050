//! Connections as the world keeps them: two ends, each with what it has yet to send and to read.
//!
//! State only; `world::roads` moves it.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use swarm::{ConnId, TorrentId};
use torrent::wire::{BlockRef, Limits};

use crate::content::Data;
use crate::node::NodeId;

/// Bytes sent and not yet read by the other side, per connection and direction: a TCP window that
/// fills 8 MB/s at 60 ms.
pub(crate) const WINDOW: u64 = 512 << 10;
/// Message bytes that travel in one segment.
pub(crate) const SEGMENT: usize = 16 << 10;

/// One end of one connection: connection and side.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct EndId {
    pub wire: usize,
    pub side: usize,
}

impl EndId {
    pub fn other(self) -> EndId {
        let side = 1 - self.side;
        EndId { side, ..self }
    }
}

/// What is queued at an end.
pub(crate) enum Chunk {
    Bytes(Vec<u8>),
    Payload(BlockRef, Rc<Data>),
    /// The other side closed.
    End,
}

/// What travels at once: messages, then at most one block's payload.
#[derive(Default)]
pub(crate) struct Segment {
    pub bytes: Vec<u8>,
    pub payload: Option<(BlockRef, Rc<Data>)>,
    /// The connection ends behind it.
    pub last: bool,
}

impl Segment {
    pub fn len(&self) -> u64 {
        let payload = self.payload.as_ref().map_or(0, |(_, data)| data.len());
        self.bytes.len() as u64 + u64::from(payload)
    }
}

/// Where an end is in reading.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reading {
    Handshake,
    Messages,
    /// A block was accepted and there is no slot for it.
    Thirsty(BlockRef),
    /// Payload follows, into a slot or into nothing.
    Payload(BlockRef, bool),
}

/// One side of a connection.
pub(crate) struct End {
    pub node: NodeId,
    /// The life of the node it belongs to.
    pub life: u32,
    pub conn: Option<ConnId>,
    pub open: bool,
    /// From the handshakes.
    pub torrent: Option<TorrentId>,
    pub limits: Limits,
    pub outbox: VecDeque<Chunk>,
    pub outbox_bytes: usize,
    /// In a ring or among those waiting.
    pub queued: bool,
    /// Bytes sent that the other side has not read.
    pub flight: u64,
    /// When the segment sent last arrives: none overtakes it.
    pub last_arrival: Duration,
    pub inbox: VecDeque<Chunk>,
    pub buf: Vec<u8>,
    pub reading: Reading,
}

impl End {
    pub fn new(node: NodeId, life: u32) -> End {
        End {
            node,
            life,
            conn: None,
            open: false,
            torrent: None,
            limits: Limits::default(),
            outbox: VecDeque::new(),
            outbox_bytes: 0,
            queued: false,
            flight: 0,
            last_arrival: Duration::ZERO,
            inbox: VecDeque::new(),
            buf: Vec::new(),
            reading: Reading::Handshake,
        }
    }

    /// Queues message bytes.
    pub fn write(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        if !matches!(self.outbox.back(), Some(Chunk::Bytes(_))) {
            self.outbox.push_back(Chunk::Bytes(Vec::new()));
        }
        if let Some(Chunk::Bytes(bytes)) = self.outbox.back_mut() {
            let before = bytes.len();
            write(bytes);
            self.outbox_bytes += bytes.len() - before;
        }
    }

    /// The next segment, of at most `most` message bytes.
    pub fn segment(&mut self, most: usize) -> Segment {
        let mut segment = Segment::default();
        while let Some(chunk) = self.outbox.pop_front() {
            match chunk {
                Chunk::Bytes(mut bytes) => {
                    let room = most - segment.bytes.len();
                    if bytes.len() > room {
                        let rest = bytes.split_off(room);
                        segment.bytes.extend(bytes);
                        self.outbox.push_front(Chunk::Bytes(rest));
                        break;
                    }
                    segment.bytes.extend(bytes);
                }
                Chunk::Payload(block, data) => {
                    segment.payload = Some((block, data));
                    break;
                }
                Chunk::End => segment.last = true,
            }
        }
        self.outbox_bytes -= segment.len() as usize;
        segment
    }

    /// Forgets what was queued either way.
    pub fn clear(&mut self) {
        self.outbox.clear();
        self.outbox_bytes = 0;
        self.inbox.clear();
        self.buf.clear();
    }
}

/// A connection.
pub(crate) struct Wire {
    pub ends: [End; 2],
    /// One way.
    pub delay: Duration,
    pub loss: f64,
    /// Over uTP, through a hole that both sides made.
    pub punch: bool,
}
