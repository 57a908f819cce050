//! One UDP socket, and the uTP connections that share it with whatever else goes over it.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{self, IoSlice, IoSliceMut};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::conn::{Conn, End, State};
use super::packet::{HEADER, Header, Kind, Packet};
use crate::Udp;

/// Largest datagram looked at, in bytes: neither uTP nor the DHT has larger ones.
const DATAGRAM_MAX: usize = 2048;
/// Datagrams taken before answers leave: they acknowledge all of them at once.
const BATCH: usize = 64;
/// Connections of one socket; who dials then is told that there is none.
const CONNS: usize = 4096;
/// Connections whose other side has not shown that it is where it says.
const UNPROVEN: usize = 256;
/// Such a connection makes room for a new one after so long.
const PROOF: Duration = Duration::from_secs(6);

/// A connection on this socket: the other side, and the number its packets carry.
type Key = (SocketAddr, u16);

/// A UDP socket with its uTP connections. [`run`](Self::run) it.
pub struct Endpoint {
    udp: Udp,
    /// Others may dial.
    accepts: bool,
    epoch: Instant,
    conns: RefCell<BTreeMap<Key, Rc<Entry>>>,
    /// Those that dialled us and have sent nothing since, the oldest first.
    unproven: RefCell<VecDeque<(Key, Instant)>>,
    due: RefCell<BTreeSet<(Instant, Key)>>,
    /// Datagrams that the socket had no room for.
    unsent: RefCell<VecDeque<(SocketAddr, Vec<u8>)>>,
    /// Connections that have more to send.
    waiting: RefCell<BTreeSet<Key>>,
    random: RefCell<fastrand::Rng>,
    /// There is something to wait for that was not there before.
    changed: Notify,
}

struct Entry {
    conn: RefCell<Conn>,
    readable: Notify,
    writable: Notify,
    due: Cell<Option<Instant>>,
    proven: Cell<bool>,
    /// Nobody holds its stream any more.
    left: Cell<bool>,
}

impl Endpoint {
    /// Takes a socket. `seed`: what nobody can foresee; numbers of connections come from it. `accepts`: others may
    /// dial.
    pub fn new(udp: Udp, seed: u64, accepts: bool) -> Rc<Endpoint> {
        Rc::new(Endpoint {
            udp,
            accepts,
            epoch: Instant::now(),
            conns: RefCell::default(),
            unproven: RefCell::default(),
            due: RefCell::default(),
            unsent: RefCell::default(),
            waiting: RefCell::default(),
            random: RefCell::new(fastrand::Rng::with_seed(seed)),
            changed: Notify::new(),
        })
    }

    /// The way its datagrams take.
    pub fn udp(&self) -> &Udp {
        &self.udp
    }

    /// Sends a datagram that has nothing to do with uTP. It may be lost, as on the way.
    pub fn send_to(&self, bytes: &[u8], to: SocketAddr) {
        // A full socket buffer or an unreachable host loses it.
        let _ = self.udp.try_send_to(bytes, to);
    }

    /// Connects.
    ///
    /// # Errors
    /// Nobody answers, or with a refusal.
    pub async fn dial(self: &Rc<Self>, addr: SocketAddr) -> io::Result<Stream> {
        self.open(addr, Conn::dial).await
    }

    /// Connects to somebody who does the same at this moment, each behind a router that lets in only what answers
    /// (BEP 55). Both may succeed, each with a connection of its own.
    ///
    /// # Errors
    /// Nothing comes through for six seconds, or it refuses.
    pub async fn punch(self: &Rc<Self>, addr: SocketAddr) -> io::Result<Stream> {
        self.open(addr, Conn::punch).await
    }

    async fn open(
        self: &Rc<Self>,
        addr: SocketAddr,
        dial: fn(Instant, u16) -> Conn,
    ) -> io::Result<Stream> {
        let free = |id: &u16| {
            let conns = self.conns.borrow();
            !conns.contains_key(&(addr, *id))
        };
        let ids = || self.random.borrow_mut().u16(..);
        let Some(id) = std::iter::repeat_with(ids).take(16).find(free) else {
            return Err(io::ErrorKind::AddrInUse.into());
        };
        if self.conns.borrow().len() >= CONNS {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        let stream = self.add((addr, id), dial(self.epoch, id), true);
        self.flush((addr, id), &stream.entry);
        loop {
            let state = stream.entry.conn.borrow().state();
            match state {
                State::Dialling => stream.entry.writable.notified().await,
                State::Open => return Ok(stream),
                State::Over(end) => return Err(error_of(end)),
            }
        }
    }

    fn add(self: &Rc<Self>, key: Key, conn: Conn, proven: bool) -> Stream {
        let entry = Rc::new(Entry {
            conn: RefCell::new(conn),
            readable: Notify::new(),
            writable: Notify::new(),
            due: Cell::new(None),
            proven: Cell::new(proven),
            left: Cell::new(false),
        });
        self.conns.borrow_mut().insert(key, entry.clone());
        Stream {
            endpoint: self.clone(),
            key,
            entry,
        }
    }

    /// Carries datagrams, for ever. `accept` is given who dials and has shown to be where it says, `other` every
    /// datagram that is not uTP.
    pub async fn run(
        self: Rc<Self>,
        mut accept: impl FnMut(Stream, SocketAddr),
        mut other: impl FnMut(&[u8], SocketAddr),
    ) {
        let mut buffer = [0; DATAGRAM_MAX];
        let mut touched = BTreeSet::new();
        // Who dialled, until it has sent something.
        let mut dialled = BTreeMap::new();
        loop {
            for _ in 0..BATCH {
                match self.udp.try_recv_from(&mut buffer) {
                    Ok((part, from)) => match Packet::parse(&buffer[part.clone()]) {
                        Some(packet) => {
                            if let Some(key) = self.receive(from, &packet, &mut dialled) {
                                touched.insert(key);
                            }
                        }
                        None => other(&buffer[part], from),
                    },
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    // Somebody we sent to is not there; that is no trouble of the socket.
                    Err(_) => {}
                }
            }
            let more = touched.len() >= BATCH;
            while let Some(key) = touched.pop_first() {
                self.stir(key);
                let proven = |entry: &Rc<Entry>| entry.proven.get();
                if self.conns.borrow().get(&key).is_some_and(proven)
                    && let Some(stream) = dialled.remove(&key)
                {
                    accept(stream, key.0);
                }
            }
            if more {
                tokio::task::yield_now().await;
                continue;
            }
            let due = self.due.borrow().first().map(|(at, _)| *at);
            let blocked = !self.unsent.borrow().is_empty();
            tokio::select! {
                _ = self.udp.readable() => {}
                _ = self.udp.writable(), if blocked => self.send_waiting(),
                () = self.changed.notified() => {}
                () = sleep_until(due) => {
                    let now = Instant::now();
                    let late = |due: &BTreeSet<(Instant, Key)>| {
                        due.first().filter(|(at, _)| *at <= now).map(|(_, key)| *key)
                    };
                    loop {
                        let next = late(&self.due.borrow());
                        let Some(key) = next else { break };
                        self.stir(key);
                    }
                }
            }
        }
    }

    /// A packet came; answers whose it is.
    fn receive(
        self: &Rc<Self>,
        from: SocketAddr,
        packet: &Packet<'_>,
        dialled: &mut BTreeMap<Key, Stream>,
    ) -> Option<Key> {
        let (now, header) = (Instant::now(), &packet.header);
        let key = match header.kind {
            Kind::Syn => (from, header.conn_id.wrapping_add(1)),
            Kind::Reset => self.reset_key(from, header.conn_id)?,
            _ => (from, header.conn_id),
        };
        let entry = self.conns.borrow().get(&key).cloned();
        let entry = match (entry, header.kind) {
            (Some(entry), _) => entry,
            (None, Kind::Syn) => {
                if !self.has_room(now, dialled) {
                    self.refuse(from, header);
                    return None;
                }
                let seq = self.random.borrow_mut().u16(..);
                let conn = Conn::accept(now, self.epoch, header, seq);
                dialled.insert(key, self.add(key, conn, false));
                self.unproven.borrow_mut().push_back((key, now));
                return Some(key);
            }
            (None, _) => {
                self.refuse(from, header);
                return None;
            }
        };
        entry.conn.borrow_mut().receive(now, packet);
        if header.kind == Kind::Data && !entry.proven.replace(true) {
            self.unproven
                .borrow_mut()
                .retain(|(other, _)| *other != key);
        }
        Some(key)
    }

    /// Who resets may name the connection by either number.
    fn reset_key(&self, from: SocketAddr, id: u16) -> Option<Key> {
        let conns = self.conns.borrow();
        let own = (from, id);
        if conns.contains_key(&own) {
            return Some(own);
        }
        let others = [id.wrapping_sub(1), id.wrapping_add(1)].map(|id| (from, id));
        let mut others = others.into_iter();
        others.find(|key| {
            conns
                .get(key)
                .is_some_and(|e| e.conn.borrow().send_id() == id)
        })
    }

    fn has_room(&self, now: Instant, dialled: &mut BTreeMap<Key, Stream>) -> bool {
        if !self.accepts {
            return false;
        }
        let oldest = {
            let unproven = self.unproven.borrow();
            let full = unproven.len() >= UNPROVEN;
            unproven.front().copied().filter(|_| full)
        };
        if let Some((key, since)) = oldest {
            if now.saturating_duration_since(since) < PROOF {
                return false;
            }
            self.unproven.borrow_mut().pop_front();
            dialled.remove(&key);
            self.forget(key);
        }
        self.conns.borrow().len() < CONNS
    }

    /// Tells that there is no such connection.
    fn refuse(&self, to: SocketAddr, header: &Header) {
        if header.kind == Kind::Reset {
            return;
        }
        let reset = Header {
            kind: Kind::Reset,
            window: 0,
            under_way: 0,
            seq: self.random.borrow_mut().u16(..),
            ack: header.seq,
            ..*header
        };
        let mut bytes = Vec::with_capacity(HEADER);
        reset.write(&[], &mut bytes);
        self.send_to(&bytes, to);
    }

    /// Something of a connection has changed: sends what it can and wakes who waits for it.
    fn stir(self: &Rc<Self>, key: Key) {
        let Some(entry) = self.conns.borrow().get(&key).cloned() else {
            self.due.borrow_mut().retain(|(_, other)| *other != key);
            return;
        };
        self.flush(key, &entry);
        let (readable, writable) = {
            let conn = entry.conn.borrow();
            (conn.is_readable(), conn.is_writable())
        };
        if readable {
            entry.readable.notify_one();
        }
        if writable {
            entry.writable.notify_one();
        }
    }

    /// Sends what a connection has to send.
    fn flush(&self, key: Key, entry: &Entry) {
        let now = Instant::now();
        let mut conn = entry.conn.borrow_mut();
        let mut datagram = Vec::with_capacity(super::DATAGRAM);
        loop {
            if !self.unsent.borrow().is_empty() {
                self.waiting.borrow_mut().insert(key);
                break;
            }
            if !conn.poll(now, &mut datagram) {
                break;
            }
            match self.udp.try_send_to(&datagram, key.0) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.unsent
                        .borrow_mut()
                        .push_back((key.0, datagram.clone()));
                    self.changed.notify_one();
                }
                // What cannot be sent is lost, and will be missed.
                _ => {}
            }
        }
        let over = matches!(conn.state(), State::Over(_));
        let due = conn.deadline();
        drop(conn);
        if over && entry.left.get() {
            return self.forget(key);
        }
        let before = entry.due.replace(due);
        if before != due {
            let mut all = self.due.borrow_mut();
            if let Some(before) = before {
                all.remove(&(before, key));
            }
            let first = all.first().map(|(at, _)| *at);
            if let Some(due) = due {
                all.insert((due, key));
                if first.is_none_or(|first| due < first) {
                    self.changed.notify_one();
                }
            }
        }
    }

    /// The socket takes datagrams again.
    fn send_waiting(self: &Rc<Self>) {
        loop {
            let Some((to, datagram)) = self.unsent.borrow_mut().pop_front() else {
                break;
            };
            if let Err(error) = self.udp.try_send_to(&datagram, to)
                && error.kind() == io::ErrorKind::WouldBlock
            {
                self.unsent.borrow_mut().push_front((to, datagram));
                return;
            }
        }
        let waiting = std::mem::take(&mut *self.waiting.borrow_mut());
        waiting.into_iter().for_each(|key| self.stir(key));
    }

    fn forget(&self, key: Key) {
        if let Some(entry) = self.conns.borrow_mut().remove(&key)
            && let Some(due) = entry.due.take()
        {
            self.due.borrow_mut().remove(&(due, key));
        }
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

fn error_of(end: End) -> io::Error {
    match end {
        End::Closed => io::ErrorKind::UnexpectedEof.into(),
        End::Reset => io::ErrorKind::ConnectionReset.into(),
        End::TimedOut => io::ErrorKind::TimedOut.into(),
    }
}

/// A stream over uTP. Reading and writing do not block.
pub struct Stream {
    endpoint: Rc<Endpoint>,
    key: Key,
    entry: Rc<Entry>,
}

impl Stream {
    /// Reads once, into these slices one after the other.
    ///
    /// # Errors
    /// `WouldBlock`: nothing is there. Others: the connection is over.
    pub fn try_read_vectored(&self, slices: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        let mut conn = self.entry.conn.borrow_mut();
        let n = conn.read(slices);
        if n > 0 {
            let answers = conn.owes_word();
            drop(conn);
            if answers {
                self.endpoint.flush(self.key, &self.entry);
            }
            return Ok(n);
        }
        match conn.state() {
            _ if conn.is_at_end() => Ok(0),
            State::Over(End::Closed) => Ok(0),
            State::Over(end) => Err(error_of(end)),
            _ => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// Writes once.
    ///
    /// # Errors
    /// `WouldBlock`: no room. Others: the connection is over.
    pub fn try_write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut conn = self.entry.conn.borrow_mut();
        if let State::Over(end) = conn.state() {
            return Err(error_of(end));
        }
        let n = conn.write(slices);
        drop(conn);
        if n == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.endpoint.flush(self.key, &self.entry);
        Ok(n)
    }

    /// Waits until there is something to read, or the end.
    pub async fn readable(&self) {
        while !self.entry.conn.borrow().is_readable() {
            self.entry.readable.notified().await;
        }
    }

    /// Waits until something can be written, or the end.
    pub async fn writable(&self) {
        while !self.entry.conn.borrow().is_writable() {
            self.entry.writable.notified().await;
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.entry.left.set(true);
        self.entry.conn.borrow_mut().close();
        self.endpoint.flush(self.key, &self.entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::task::LocalSet;

    async fn endpoint(accepts: bool) -> (Rc<Endpoint>, SocketAddr) {
        let udp = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let addr = udp.local_addr().unwrap();
        let endpoint = Endpoint::new(udp.into(), 7, accepts);
        (endpoint, addr)
    }

    async fn write_all(stream: &Stream, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            stream.writable().await;
            match stream.try_write_vectored(&[IoSlice::new(bytes)]) {
                Ok(n) => bytes = &bytes[n..],
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
        }
    }

    async fn read_all(stream: &Stream) -> Vec<u8> {
        let (mut all, mut part) = (Vec::new(), vec![0; 1 << 16]);
        loop {
            stream.readable().await;
            match stream.try_read_vectored(&mut [IoSliceMut::new(&mut part)]) {
                Ok(0) => return all,
                Ok(n) => all.extend_from_slice(&part[..n]),
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
        }
    }

    /// Runs until the work is done, a few seconds at most.
    fn run(work: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let local = LocalSet::new();
        runtime.block_on(async {
            let timed = tokio::time::timeout(Duration::from_secs(20), local.run_until(work));
            timed.await.unwrap();
        });
    }

    #[test]
    fn bytes_go_both_ways_and_the_end_is_seen() {
        run(async {
            let ((a, _), (b, addr)) = (endpoint(true).await, endpoint(true).await);
            let (sender, mut accepted) = tokio::sync::mpsc::unbounded_channel();
            tokio::task::spawn_local(a.clone().run(|_, _| {}, |_, _| {}));
            let accept = move |stream, _| drop(sender.send(stream));
            tokio::task::spawn_local(b.run(accept, |_, _| {}));
            let bytes: Vec<u8> = (0..3_000_000u32).map(|n| (n >> 4) as u8).collect();
            let dialled = a.dial(addr).await.unwrap();
            let sent = bytes.clone();
            tokio::task::spawn_local(async move {
                write_all(&dialled, &sent).await;
                let answer = read_all(&dialled).await;
                assert_eq!(answer, b"thanks");
            });
            let stream = accepted.recv().await.unwrap();
            let (mut got, mut part) = (Vec::new(), vec![0; 1 << 16]);
            while got.len() < bytes.len() {
                stream.readable().await;
                if let Ok(n) = stream.try_read_vectored(&mut [IoSliceMut::new(&mut part)]) {
                    got.extend_from_slice(&part[..n]);
                }
            }
            assert!(got == bytes);
            write_all(&stream, b"thanks").await;
            drop(stream);
            while !a.conns.borrow().is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
    }

    #[test]
    fn two_who_dial_at_once_reach_each_other_either_way() {
        run(async {
            let ((a, at_a), (b, at_b)) = (endpoint(true).await, endpoint(true).await);
            let (to_a, mut came_to_a) = tokio::sync::mpsc::unbounded_channel();
            let (to_b, mut came_to_b) = tokio::sync::mpsc::unbounded_channel();
            let accept = move |stream, _| drop(to_a.send(stream));
            tokio::task::spawn_local(a.clone().run(accept, |_, _| {}));
            let accept = move |stream, _| drop(to_b.send(stream));
            tokio::task::spawn_local(b.clone().run(accept, |_, _| {}));
            let (out_a, out_b) = tokio::join!(a.punch(at_b), b.punch(at_a));
            let (out_a, out_b) = (out_a.unwrap(), out_b.unwrap());
            write_all(&out_a, b"from a").await;
            write_all(&out_b, b"from b").await;
            drop((out_a, out_b));
            assert_eq!(read_all(&came_to_b.recv().await.unwrap()).await, b"from a");
            assert_eq!(read_all(&came_to_a.recv().await.unwrap()).await, b"from b");
        });
    }

    #[test]
    fn who_does_not_accept_refuses_and_other_datagrams_pass() {
        run(async {
            let ((a, from), (b, addr)) = (endpoint(true).await, endpoint(false).await);
            let (sender, mut others) = tokio::sync::mpsc::unbounded_channel();
            tokio::task::spawn_local(a.clone().run(|_, _| {}, |_, _| {}));
            let other = move |bytes: &[u8], from| drop(sender.send((bytes.to_vec(), from)));
            tokio::task::spawn_local(b.run(|_, _| panic!("it does not accept"), other));
            let refused = a.dial(addr).await.err().map(|error| error.kind());
            assert_eq!(refused, Some(io::ErrorKind::ConnectionReset));
            a.send_to(b"d1:y1:qe", addr);
            assert_eq!(others.recv().await, Some((b"d1:y1:qe".to_vec(), from)));
        });
    }
}
