//! One connection: bytes between its socket and the engine.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;

use link::{Outbox, Receiver, Step, Stream, Wire};
use store::{ReadBuf, Slot};
use swarm::{ConnId, Input, TorrentId, Verdict};
use tokio::sync::Notify;
use torrent::wire::{BlockRef, HANDSHAKE_LEN, Handshake, Limits};

use super::dial::{kind, noise};
use super::{Driver, store_id};

/// Bytes read from one connection before the others get their turn.
const TURN: usize = 1 << 20;

/// Bytes waiting to be sent to one peer before it is no longer listened to: twice what its requests
/// for payload can amount to. Metadata and hashes asked for by who never reads end here.
const MOST_UNSENT: usize = 1 << 20;
/// Messages of one peer taken before the decisions they led to are carried out.
const MESSAGES: usize = 16;
/// One in this many slots is never lent ahead.
const KEPT: usize = 8;

type Payload = (Rc<ReadBuf>, u32, Vec<BlockRef>);

/// What the rest of the driver sees of a connection.
pub(crate) struct Road {
    pub conn: ConnId,
    pub outbox: RefCell<Outbox<ReadBuf>>,
    pub wake: Notify,
    pub closed: Cell<bool>,
    /// Our handshake went out as part of the road's.
    pub greeted: Cell<bool>,
    /// Reads in the order they were asked for: payload leaves in that order.
    reads: RefCell<VecDeque<(u64, Option<Option<Payload>>)>>,
}

impl Road {
    pub fn new(conn: ConnId) -> Road {
        Road {
            conn,
            outbox: RefCell::default(),
            wake: Notify::new(),
            closed: Cell::new(false),
            greeted: Cell::new(false),
            reads: RefCell::default(),
        }
    }

    /// A read for this connection was begun.
    pub fn expect(&self, tag: u64) {
        self.reads.borrow_mut().push_back((tag, None));
    }

    /// A read is over: `None` if it failed.
    pub fn deliver(&self, tag: u64, payload: Option<Payload>) {
        let mut reads = self.reads.borrow_mut();
        if let Some(read) = reads.iter_mut().find(|r| r.0 == tag) {
            read.1 = Some(payload);
        }
        while let Some((_, Some(payload))) = reads.front_mut() {
            if let Some((data, start, blocks)) = payload.take() {
                let mut outbox = self.outbox.borrow_mut();
                for block in blocks {
                    let from = (block.begin - start) as usize;
                    outbox.block(block, data.clone(), from..from + block.len as usize);
                }
            }
            reads.pop_front();
        }
        self.wake.notify_one();
    }
}

/// Runs the connection of a peer that dialled.
pub(crate) async fn accept(driver: Rc<Driver>, road: Rc<Road>, wire: Wire) {
    let torrents = || driver.names.borrow().keys().copied().collect::<Vec<_>>();
    // In a box of its own: what it takes to shake hands is given back, and a task stays as long as its connection.
    let handshake = Box::pin(Stream::accept(wire, driver.encryption, noise, torrents));
    let stream = tokio::select! {
        stream = handshake => stream,
        () = closed(&road) => return,
    };
    match stream {
        Ok(stream) => {
            driver.tell(Input::Road(road.conn, kind(&stream)));
            run(driver, road, stream).await;
        }
        Err(error) => {
            tracing::debug!(conn = road.conn.0, %error, "no handshake");
            if !road.closed.get() {
                driver.drop_road(road.conn);
                driver.tell(Input::Disconnected(road.conn));
            }
        }
    }
}

pub(super) async fn closed(road: &Road) {
    while !road.closed.get() {
        road.wake.notified().await;
    }
}

/// Runs a connection until either side ends it.
pub(super) async fn run(driver: Rc<Driver>, road: Rc<Road>, mut stream: Stream) {
    let mut traffic = Traffic {
        driver: driver.clone(),
        road: road.clone(),
        receiver: Receiver::default(),
        greeted: false,
        torrent: None,
        current: None,
        thirsty: false,
        limits: Limits::default(),
    };
    let result = traffic.run(&mut stream).await;
    tracing::debug!(conn = road.conn.0, ?result, "connection over");
    if !road.closed.get() {
        driver.drop_road(road.conn);
        driver.tell(Input::Disconnected(road.conn));
    }
}

struct Traffic {
    driver: Rc<Driver>,
    road: Rc<Road>,
    receiver: Receiver<Slot>,
    greeted: bool,
    /// Whose block is being received.
    torrent: Option<TorrentId>,
    /// The block being received.
    current: Option<BlockRef>,
    /// A block waits for a free slot: nothing more is read until then.
    thirsty: bool,
    limits: Limits,
}

impl Traffic {
    async fn run(&mut self, stream: &mut Stream) -> io::Result<()> {
        loop {
            self.write(stream)?;
            let busy = self.read(stream)?;
            if self.road.closed.get() {
                return Ok(());
            }
            if busy {
                tokio::task::yield_now().await;
                continue;
            }
            let writing = !self.road.outbox.borrow().is_empty() || !stream.is_flushed();
            tokio::select! {
                () = self.road.wake.notified() => {}
                () = self.driver.slot_freed.notified(), if self.thirsty => {}
                ready = stream.writable(), if writing => ready?,
                ready = stream.readable(), if !self.thirsty && !self.is_full() => ready?,
            }
        }
    }

    fn write(&mut self, stream: &mut Stream) -> io::Result<()> {
        let mut sent = Vec::new();
        let result = loop {
            let mut outbox = self.road.outbox.borrow_mut();
            let written = match outbox.is_empty() {
                true if stream.is_flushed() => break Ok(()),
                true => stream.flush(),
                false => outbox
                    .write(&mut sent, |slices| stream.write(slices))
                    .map(drop),
            };
            match written {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        if !sent.is_empty() {
            let conn = self.road.conn;
            self.driver.with_session(|session, now| {
                for block in sent {
                    session.handle(now, Input::BlockSent(conn, block));
                }
            });
        }
        result
    }

    /// Reads until the socket is empty; true if there may be more but others should have a turn.
    fn read(&mut self, stream: &mut Stream) -> io::Result<bool> {
        let mut taken = 0;
        while !self.road.closed.get() {
            if self.is_full() {
                return Ok(false);
            }
            let more = self.digest()?;
            if self.thirsty {
                return Ok(false);
            }
            if more {
                continue;
            }
            if taken > TURN {
                return Ok(true);
            }
            self.read_ahead();
            match self.receiver.read(|slices| stream.read(slices)) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => taken += n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.receiver.rest();
                    return Ok(false);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    /// So much waits to be sent that nothing more is taken from this peer: it asks and does not
    /// read.
    fn is_full(&self) -> bool {
        self.road.outbox.borrow().len() > MOST_UNSENT
    }

    /// Makes facts of what has been read; true if some of it is left for the next time.
    fn digest(&mut self) -> io::Result<bool> {
        if !self.greeted {
            let Some(bytes) = self.receiver.take(HANDSHAKE_LEN) else {
                return Ok(false);
            };
            let bytes = bytes
                .try_into()
                .expect("take gives as many bytes as asked for");
            let theirs = Handshake::decode(bytes).map_err(invalid)?;
            self.greeted = true;
            self.driver.rouse_by(&theirs.info_hash);
            self.driver.tell(Input::Handshake(self.road.conn, theirs));
        }
        let driver = self.driver.clone();
        driver.with_session(|session, now| {
            let conn = self.road.conn;
            let mut messages = 0;
            while !self.road.closed.get() {
                if self.thirsty && !self.quench() {
                    return Ok(false);
                }
                // The answers are carried out before more is asked.
                if messages == MESSAGES {
                    return Ok(true);
                }
                match self.receiver.next(&self.limits).map_err(invalid)? {
                    Step::Message(message) => {
                        messages += 1;
                        session.handle(now, Input::Message(conn, message));
                    }
                    Step::Arriving(block) => match session.block_arriving(now, conn, block) {
                        Verdict::Accept(torrent) => {
                            self.torrent = Some(torrent);
                            self.current = Some(block);
                            if self.receiver.has_slot() {
                                self.receiver.accept_ahead();
                            } else {
                                self.thirsty = true;
                            }
                        }
                        Verdict::Discard => self.receiver.discard(),
                        Verdict::Close(reason) => return Err(invalid(reason)),
                    },
                    Step::Filled(block, slot) => {
                        self.current = None;
                        let wanted = session.block_arrived(now, conn, block, slot.is_some());
                        if let (true, Some(slot), Some(torrent)) = (wanted, slot, self.torrent) {
                            let id = store_id(torrent);
                            driver.store.write(id, block.piece, block.begin, slot);
                        }
                    }
                    Step::Starved if self.receiver.has_more(&self.limits) => {}
                    Step::Starved => return Ok(false),
                }
            }
            Ok(false)
        })
    }

    /// Finds a slot for the block that waits for one.
    fn quench(&mut self) -> bool {
        let Some(block) = self.current else {
            return true;
        };
        match self.driver.store.slots().try_take(block.len as usize) {
            Some(slot) => {
                self.receiver.accept(slot);
                self.thirsty = false;
                // One freed slot wakes one connection; whoever is served passes the word on.
                self.driver.slot_freed.notify_one();
                true
            }
            None => false,
        }
    }

    /// Lends slots to the receiver for the blocks that will likely come next.
    fn read_ahead(&mut self) {
        let mut room = self.receiver.room_ahead();
        if room < link::AHEAD / 2 {
            return;
        }
        let pool = self.driver.store.slots();
        // Slots that wait for guesses to come true are no use to others: some are always left.
        room = room.min(pool.free().saturating_sub(pool.capacity() / KEPT));
        let session = self.driver.session.borrow();
        let mut expected = session.expected(self.road.conn).peekable();
        if expected.peek().is_none() {
            return self.receiver.reclaim();
        }
        let behind = self.receiver.last_guess().or(self.current);
        let mut ahead = expected.clone();
        if behind.is_some_and(|behind| ahead.any(|block| block == behind)) {
            expected = ahead;
        }
        for block in expected.take(room) {
            let Some(slot) = pool.try_take(block.len as usize) else {
                return;
            };
            self.receiver.guess(block, slot);
        }
    }
}

fn invalid(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
