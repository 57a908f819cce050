//! Many streams over one: the engine, without IO.
//!
//! What came over the road goes in with [`receive`](Mux::receive), what is to be sent comes out of
//! [`transmit`](Mux::transmit), and [`poll`](Mux::poll) tells who can go on. A stream that nobody reads holds up
//! itself alone, and no more than [`WINDOW`] bytes wait to be read, whatever the other side does. The frames are in
//! `docs/design/devices.md`.

mod frame;
mod half;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::task::Poll;

use bytes::Bytes;

use frame::{Frame, HEADER, Header, Kind};
use half::{Inbound, Outbound};

use super::{STREAMS, StreamError, WINDOW};

pub use frame::TEXT;

/// Most payload of one frame that is sent, in bytes; streams take turns after so much.
const TURN: usize = 64 << 10;

/// A stream: odd numbers are begun by the side that dialled, even ones by the other.
pub type StreamId = u32;

/// Something happened that somebody may wait for. Of the first two, one for each time it was waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Reading can go on.
    Readable(StreamId),
    /// Writing can go on.
    Writable(StreamId),
    /// The other side began a stream.
    Arrived,
    /// One more stream can be begun.
    Room,
    /// What was sent with a ping came back.
    Pong(u64),
    /// The other side ends it all, for this reason.
    Closed(u32, String),
}

/// How the other side broke the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MuxError {
    /// A kind of frame there is not.
    #[error("a frame of an unknown kind ({0})")]
    Kind(u8),
    /// A frame with a length that its kind does not have.
    #[error("a frame of {1} bytes, of kind {0}")]
    Length(u8, u32),
    /// A stream that was not begun, or not by the side whose number it has.
    #[error("a frame for stream {0}, which is not open")]
    Stream(StreamId),
    /// More streams than agreed.
    #[error("too many streams")]
    TooMany,
    /// More bytes than there was room for.
    #[error("more than the window of stream {0} allows")]
    Window(StreamId),
}

struct Stream {
    out: Outbound,
    inbound: Inbound,
    /// It has a place in the queue of those that have something to send.
    queued: bool,
    hands: Hands,
    /// It takes no place among those that are open.
    counted_out: bool,
}

/// Whether somebody here has a stream in hand.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hands {
    /// Not yet.
    None,
    Held,
    /// Not any more.
    Released,
}

impl Stream {
    /// Both sides have said all and know it.
    fn is_over(&self) -> bool {
        self.out.is_over() && self.inbound.has_ended()
    }
}

/// One side of a connection.
pub struct Mux {
    streams: BTreeMap<StreamId, Stream>,
    /// Number of the next stream begun here.
    next: StreamId,
    /// Number of the next stream begun there.
    expected: StreamId,
    /// Streams begun here, and there, that are not over.
    open: [u32; 2],
    /// Begun there and not taken here.
    arrived: VecDeque<StreamId>,
    /// Streams that have something to send, in turn.
    queue: VecDeque<StreamId>,
    /// Frames about streams: they go before payload.
    control: Vec<u8>,
    /// What the other side asked to have back; only the last.
    pong: Option<u64>,
    /// Bytes we may still send, on all streams together.
    credit: u64,
    /// Bytes the other side may still send.
    granted: u64,
    /// Read since it was told that there is room.
    consumed: u64,
    frame: Frame,
    events: VecDeque<Event>,
}

impl Mux {
    /// A side that has sent nothing yet.
    pub fn new(dialled: bool) -> Mux {
        let (next, expected) = if dialled { (1, 2) } else { (2, 1) };
        Mux {
            streams: BTreeMap::new(),
            next,
            expected,
            open: [0; 2],
            arrived: VecDeque::new(),
            queue: VecDeque::new(),
            control: Vec::new(),
            pong: None,
            credit: WINDOW.into(),
            granted: WINDOW.into(),
            consumed: 0,
            frame: Frame::default(),
            events: VecDeque::new(),
        }
    }

    /// Begins a stream; `None` as long as there are too many.
    pub fn open(&mut self) -> Option<StreamId> {
        let next = self.next.checked_add(2)?;
        if self.open[0] >= STREAMS {
            return None;
        }
        let id = std::mem::replace(&mut self.next, next);
        self.open[0] += 1;
        self.begin(id, Hands::Held);
        self.put(Kind::Open, id, &[]);
        Some(id)
    }

    /// The next stream that the other side began.
    pub fn accept(&mut self) -> Option<StreamId> {
        let id = self.arrived.pop_front()?;
        self.stream(id).hands = Hands::Held;
        self.answer_stop(id);
        Some(id)
    }

    /// Takes as much as there is room for off the front of `bytes`.
    ///
    /// # Errors
    /// The stream was ended, or the other side wants no more of it.
    pub fn write(&mut self, id: StreamId, bytes: &mut Bytes) -> Poll<Result<usize, StreamError>> {
        let stream = self.stream(id);
        let taken = stream.out.write(bytes);
        if let Poll::Ready(Ok(1..)) = taken {
            self.enqueue(id);
        }
        taken
    }

    /// What comes next on a stream, at most so many bytes; `None` at its end.
    ///
    /// # Errors
    /// The other side gave it up, or reading was ended here.
    pub fn read(&mut self, id: StreamId, most: usize) -> Poll<Result<Option<Bytes>, StreamError>> {
        let stream = self.stream(id);
        let part = stream.inbound.read(most);
        if let Poll::Ready(Ok(Some(part))) = &part {
            if let Some(room) = stream.inbound.room() {
                self.put(Kind::Window, id, &room.to_be_bytes());
            }
            self.consume(part.len() as u64);
        }
        part
    }

    /// Nothing more will be written.
    pub fn finish(&mut self, id: StreamId) {
        if self.stream(id).out.finish() {
            self.enqueue(id);
        }
    }

    /// Gives up what is written.
    pub fn reset(&mut self, id: StreamId, code: u32) {
        if self.stream(id).out.reset() {
            self.put(Kind::Reset, id, &code.to_be_bytes());
            self.settle(id);
        }
    }

    /// Wants to read no more.
    pub fn stop(&mut self, id: StreamId, code: u32) {
        let Some(unread) = self.stream(id).inbound.stop() else {
            return;
        };
        self.put(Kind::Stop, id, &code.to_be_bytes());
        self.consume(unread);
    }

    /// Whoever had this stream in hand will not ask about it again. Both directions have been ended.
    pub fn release(&mut self, id: StreamId) {
        self.stream(id).hands = Hands::Released;
        self.settle(id);
    }

    /// Asks for this number to come back.
    pub fn ping(&mut self, number: u64) {
        self.put(Kind::Ping, 0, &number.to_be_bytes());
    }

    /// Tells the other side that all is over.
    pub fn close(&mut self, code: u32, text: &str) {
        let end = text.floor_char_boundary(TEXT);
        let mut payload = code.to_be_bytes().to_vec();
        payload.extend_from_slice(&text.as_bytes()[..end]);
        self.put(Kind::Close, 0, &payload);
    }

    /// What happened.
    pub fn poll(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Adds what is to be sent to `out`, about so many bytes at most; the number of bytes added.
    pub fn transmit(&mut self, most: usize, out: &mut Vec<Bytes>) -> usize {
        if let Some(number) = self.pong.take() {
            self.put(Kind::Pong, 0, &number.to_be_bytes());
        }
        let mut sent = self.control.len();
        if sent > 0 {
            out.push(std::mem::take(&mut self.control).into());
        }
        // Streams may wait for room on the connection: when all of them do, there is no more to be had.
        let mut fruitless = 0;
        while sent < most
            && fruitless < self.queue.len()
            && let Some(id) = self.queue.pop_front()
        {
            let len = self.transmit_one(id, (most - sent).min(TURN), out);
            fruitless = if len == 0 { fruitless + 1 } else { 0 };
            sent += len;
        }
        sent
    }

    fn transmit_one(&mut self, id: StreamId, most: usize, out: &mut Vec<Bytes>) -> usize {
        let room = self.credit.min(most as u64) as usize;
        let Some(stream) = self.streams.get_mut(&id) else {
            return 0;
        };
        let start = out.len();
        out.push(Bytes::new());
        let len = stream.out.take(room, out);
        let mut sent = 0;
        if len > 0 {
            self.credit -= len as u64;
            out[start] = Header::new(Kind::Data, len, id).encode();
            sent = HEADER + len;
        } else {
            out.pop();
        }
        if stream.out.wake() {
            self.events.push_back(Event::Writable(id));
        }
        if stream.out.take_fin() {
            out.push(Header::new(Kind::Fin, 0, id).encode());
            sent += HEADER;
        }
        stream.queued = stream.out.has_more();
        match stream.queued {
            true => self.queue.push_back(id),
            false => self.settle(id),
        }
        sent
    }

    /// Takes what came.
    ///
    /// # Errors
    /// It breaks the rules: the connection is of no use any more.
    pub fn receive(&mut self, mut bytes: &[u8]) -> Result<(), MuxError> {
        while !bytes.is_empty() {
            let Some(header) = self.frame.header(&mut bytes)? else {
                return Ok(());
            };
            if header.kind == Kind::Data {
                self.data(header, &mut bytes)?;
            } else if let Some((header, payload)) = self.frame.payload(&mut bytes) {
                self.act(header, &payload)?;
            }
        }
        Ok(())
    }

    fn data(&mut self, header: Header, bytes: &mut &[u8]) -> Result<(), MuxError> {
        let id = header.stream;
        let part = self.frame.part(bytes);
        let stream = self.streams.get_mut(&id);
        let stream = stream.filter(|stream| !stream.inbound.has_ended());
        let stream = stream.ok_or(MuxError::Stream(id))?;
        let len = part.len() as u64;
        self.granted = self.granted.checked_sub(len).ok_or(MuxError::Window(id))?;
        let useless = stream.inbound.receive(part).ok_or(MuxError::Window(id))?;
        if stream.inbound.wake() {
            self.events.push_back(Event::Readable(id));
        }
        self.consume(useless);
        Ok(())
    }

    fn act(&mut self, header: Header, payload: &[u8]) -> Result<(), MuxError> {
        let id = header.stream;
        let number = payload.first_chunk().map_or(0, |n| u32::from_be_bytes(*n));
        let known = self.streams.contains_key(&id);
        // Of streams that began, words may come that crossed with ours.
        let was = id != 0
            && id
                < if id % 2 == self.next % 2 {
                    self.next
                } else {
                    self.expected
                };
        match header.kind {
            Kind::Data => unreachable!("payload is handled as it comes"),
            Kind::Open if id == self.expected => self.arrives(id)?,
            Kind::Open => return Err(MuxError::Stream(id)),
            Kind::Window if id == 0 => self.gets_room(number),
            Kind::Fin | Kind::Reset | Kind::Stop | Kind::Window if !known => {
                return if was {
                    Ok(())
                } else {
                    Err(MuxError::Stream(id))
                };
            }
            Kind::Window => {
                let stream = self.stream(id);
                stream.out.gets_room(number);
                if stream.out.has_more() {
                    self.enqueue(id);
                }
            }
            Kind::Fin => {
                self.stream(id).inbound.finish();
                self.ended(id);
            }
            Kind::Reset => {
                let unread = self.stream(id).inbound.reset(number);
                self.consume(unread);
                self.ended(id);
            }
            Kind::Stop => {
                let stream = self.stream(id);
                stream.out.stopped(number);
                if stream.out.wake() {
                    self.events.push_back(Event::Writable(id));
                }
                self.answer_stop(id);
            }
            Kind::Ping => self.pong = payload.first_chunk().map(|n| u64::from_be_bytes(*n)),
            Kind::Pong => {
                let number = payload.first_chunk().map_or(0, |n| u64::from_be_bytes(*n));
                self.events.push_back(Event::Pong(number));
            }
            Kind::Close => {
                let text = payload.get(4..).unwrap_or_default();
                let text = String::from_utf8_lossy(text).into_owned();
                self.events.push_back(Event::Closed(number, text));
            }
        }
        Ok(())
    }

    fn arrives(&mut self, id: StreamId) -> Result<(), MuxError> {
        if self.open[1] >= STREAMS {
            return Err(MuxError::TooMany);
        }
        self.expected = id.checked_add(2).ok_or(MuxError::TooMany)?;
        self.open[1] += 1;
        self.begin(id, Hands::None);
        self.arrived.push_back(id);
        self.events.push_back(Event::Arrived);
        Ok(())
    }

    fn gets_room(&mut self, bytes: u32) {
        self.credit = self.credit.saturating_add(bytes.into());
    }

    /// The other side said its last word on a stream.
    fn ended(&mut self, id: StreamId) {
        if self.stream(id).inbound.wake() {
            self.events.push_back(Event::Readable(id));
        }
        self.settle(id);
    }

    /// Who is told to stop says that it did; not before anybody here knows of the stream, so that streams cannot
    /// come and go unseen.
    fn answer_stop(&mut self, id: StreamId) {
        let stream = self.stream(id);
        if stream.hands != Hands::None && stream.out.owes_reset() {
            self.put(Kind::Reset, id, &0u32.to_be_bytes());
            self.settle(id);
        }
    }

    /// So many bytes are out of the way: the other side may send as many more, once it is worth a frame.
    fn consume(&mut self, bytes: u64) {
        self.consumed += bytes;
        if self.consumed >= u64::from(WINDOW / 2) {
            let room = std::mem::take(&mut self.consumed);
            self.granted += room;
            self.put(Kind::Window, 0, &(room as u32).to_be_bytes());
        }
    }

    fn begin(&mut self, id: StreamId, hands: Hands) {
        let stream = Stream {
            out: Outbound::default(),
            inbound: Inbound::default(),
            queued: false,
            hands,
            counted_out: false,
        };
        self.streams.insert(id, stream);
    }

    /// A stream that is over gives its place to another; it is forgotten once nobody has it in hand.
    fn settle(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        if !stream.is_over() {
            return;
        }
        let ours = id % 2 == self.next % 2;
        if !std::mem::replace(&mut stream.counted_out, true) {
            self.open[usize::from(!ours)] -= 1;
            if ours {
                self.events.push_back(Event::Room);
            }
        }
        if stream.hands == Hands::Released {
            self.streams.remove(&id);
        }
    }

    fn enqueue(&mut self, id: StreamId) {
        if !std::mem::replace(&mut self.stream(id).queued, true) {
            self.queue.push_back(id);
        }
    }

    fn put(&mut self, kind: Kind, id: StreamId, payload: &[u8]) {
        let header = Header::new(kind, payload.len(), id);
        self.control.extend_from_slice(&header.encode());
        self.control.extend_from_slice(payload);
    }

    fn stream(&mut self, id: StreamId) -> &mut Stream {
        self.streams
            .get_mut(&id)
            .expect("a stream is kept as long as somebody has it in hand")
    }
}
