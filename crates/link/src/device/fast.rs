//! The fast road: streams over one TLS 1.3 connection over TCP. One task moves the bytes ([`pump`]); the rest of the
//! program talks to the [`Mux`] between it and them.

mod pump;

use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use rustls::Connection as Tls;
use tokio::io::ReadBuf;
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};

use super::mux::{Event, Mux, StreamId};
use super::{Closed, Road, StreamError, tls};

/// Bytes copied at once for who writes a slice.
const COPIED: usize = 256 << 10;

/// One connection.
pub(super) struct Connection {
    peer: [u8; 32],
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    tls: Mutex<Tls>,
    state: Mutex<State>,
    /// There is something for the task to do.
    work: Notify,
    closed: watch::Sender<Option<Closed>>,
}

struct State {
    mux: Mux,
    readers: HashMap<StreamId, Waker>,
    writers: HashMap<StreamId, Waker>,
    acceptors: Vec<Waker>,
    openers: Vec<Waker>,
    round_trip: Option<Duration>,
    /// Nothing more is said.
    closed: Option<Closed>,
}

impl Connection {
    /// Dials over a TCP connection: a preface, and the handshake behind it.
    pub async fn dial(
        keys: &tls::Keys,
        peer: &[u8; 32],
        tcp: TcpStream,
        preface: &[u8],
    ) -> io::Result<Connection> {
        let tls = keys.dial(peer).map_err(pump::invalid)?;
        pump::shake(tcp, tls, preface, BytesMut::new()).await
    }

    /// Answers a device that dialled; `early` is what came behind its preface.
    pub async fn accept(keys: &tls::Keys, tcp: TcpStream, early: &[u8]) -> io::Result<Connection> {
        let tls = keys.accept().map_err(pump::invalid)?;
        pump::shake(tcp, tls, &[], early.into()).await
    }

    pub fn peer(&self) -> [u8; 32] {
        self.peer
    }

    pub fn road(&self) -> Road {
        Road::Tls(self.address)
    }

    pub fn round_trip(&self) -> Option<Duration> {
        self.shared.state().round_trip
    }

    pub fn exporter(&self, label: &[u8]) -> [u8; 32] {
        self.shared
            .tls()
            .export_keying_material([0; 32], label, Some(&[]))
            .expect("32 bytes can be exported of every connection that stands")
    }

    pub async fn open(&self) -> Result<(Outgoing, Incoming), Closed> {
        let id = poll_fn(|cx| {
            let mut state = self.shared.state();
            if let Some(closed) = &state.closed {
                return Poll::Ready(Err(closed.clone()));
            }
            match state.mux.open() {
                Some(id) => Poll::Ready(Ok(id)),
                None => {
                    state.openers.push(cx.waker().clone());
                    Poll::Pending
                }
            }
        });
        Ok(self.ends(id.await?))
    }

    pub async fn accept_stream(&self) -> Result<(Outgoing, Incoming), Closed> {
        let id = poll_fn(|cx| {
            let mut state = self.shared.state();
            match (state.mux.accept(), &state.closed) {
                (Some(id), _) => Poll::Ready(Ok(id)),
                (None, Some(closed)) => Poll::Ready(Err(closed.clone())),
                (None, None) => {
                    state.acceptors.push(cx.waker().clone());
                    Poll::Pending
                }
            }
        });
        Ok(self.ends(id.await?))
    }

    fn ends(&self, id: StreamId) -> (Outgoing, Incoming) {
        self.shared.work.notify_one();
        let handle = Arc::new(Handle {
            id,
            shared: self.shared.clone(),
        });
        let outgoing = Outgoing {
            handle: handle.clone(),
            over: false,
        };
        (outgoing, Incoming { handle })
    }

    pub fn close(&self, code: u32, text: &str) {
        let mut state = self.shared.state();
        if state.closed.is_none() {
            state.mux.close(code, text);
            drop(state);
            self.shared.end(Closed::Here);
            self.shared.work.notify_one();
        }
    }

    pub fn close_reason(&self) -> Option<Closed> {
        self.shared.state().closed.clone()
    }

    pub async fn closed(&self) -> Closed {
        let mut closed = self.shared.closed.subscribe();
        let seen = closed.wait_for(Option::is_some).await;
        let seen = seen.expect("the sender is in our own hands");
        seen.clone().expect("this was waited for")
    }
}

/// A stream that somebody has in hand.
struct Handle {
    id: StreamId,
    shared: Arc<Shared>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.state().mux.release(self.id);
        self.shared.work.notify_one();
    }
}

pub(super) struct Outgoing {
    handle: Arc<Handle>,
    over: bool,
}

pub(super) struct Incoming {
    handle: Arc<Handle>,
}

impl Outgoing {
    pub async fn send(&mut self, mut bytes: Bytes) -> Result<(), StreamError> {
        while !bytes.is_empty() {
            poll_fn(|cx| self.poll_send(cx, &mut bytes)).await?;
        }
        Ok(())
    }

    pub fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize, StreamError>> {
        let mut bytes = Bytes::copy_from_slice(&bytes[..bytes.len().min(COPIED)]);
        self.poll_send(cx, &mut bytes)
    }

    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &mut Bytes,
    ) -> Poll<Result<usize, StreamError>> {
        let Handle { id, shared } = &*self.handle;
        let mut state = shared.state();
        if let Some(closed) = &state.closed {
            return Poll::Ready(Err(closed.clone().into()));
        }
        let written = state.mux.write(*id, bytes);
        if written.is_pending() {
            state.writers.insert(*id, cx.waker().clone());
        }
        shared.work.notify_one();
        written
    }

    pub fn finish(&mut self) {
        self.over = true;
        self.handle.shared.state().mux.finish(self.handle.id);
        self.handle.shared.work.notify_one();
    }

    pub fn reset(&mut self, code: u32) {
        self.over = true;
        self.handle.shared.state().mux.reset(self.handle.id, code);
        self.handle.shared.work.notify_one();
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        if !self.over {
            self.reset(0);
        }
        self.handle.shared.state().writers.remove(&self.handle.id);
    }
}

impl Incoming {
    pub async fn receive(&mut self, most: usize) -> Result<Option<Bytes>, StreamError> {
        poll_fn(|cx| self.poll_receive(cx, most)).await
    }

    pub fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<Result<(), StreamError>> {
        if buf.remaining() > 0
            && let Some(part) = ready!(self.poll_receive(cx, buf.remaining()))?
        {
            buf.put_slice(&part);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        most: usize,
    ) -> Poll<Result<Option<Bytes>, StreamError>> {
        let Handle { id, shared } = &*self.handle;
        let mut state = shared.state();
        let read = state.mux.read(*id, most);
        if read.is_ready() {
            shared.work.notify_one();
            return read;
        }
        // What came before the end can still be read.
        if let Some(closed) = &state.closed {
            return Poll::Ready(Err(closed.clone().into()));
        }
        state.readers.insert(*id, cx.waker().clone());
        Poll::Pending
    }

    pub fn stop(&mut self, code: u32) {
        self.handle.shared.state().mux.stop(self.handle.id, code);
        self.handle.shared.work.notify_one();
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        self.stop(0);
        self.handle.shared.state().readers.remove(&self.handle.id);
    }
}

impl Shared {
    fn new(tls: Tls, dialled: bool) -> Shared {
        let state = State {
            mux: Mux::new(dialled),
            readers: HashMap::new(),
            writers: HashMap::new(),
            acceptors: Vec::new(),
            openers: Vec::new(),
            round_trip: None,
            closed: None,
        };
        Shared {
            tls: Mutex::new(tls),
            state: Mutex::new(state),
            work: Notify::new(),
            closed: watch::Sender::new(None),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics while holding it")
    }

    fn tls(&self) -> MutexGuard<'_, Tls> {
        self.tls.lock().expect("nobody panics while holding it")
    }

    /// Nothing more is said; whoever waits hears why.
    fn end(&self, end: Closed) {
        let mut state = self.state();
        let end = state.closed.get_or_insert(end).clone();
        let waiting = std::mem::take(&mut state.readers).into_values();
        let waiting = waiting.chain(std::mem::take(&mut state.writers).into_values());
        let waiting: Vec<_> = waiting.collect();
        let others = std::mem::take(&mut state.acceptors);
        let openers = std::mem::take(&mut state.openers);
        drop(state);
        for waker in waiting.into_iter().chain(others).chain(openers) {
            waker.wake();
        }
        self.closed.send_replace(Some(end));
    }
}

impl State {
    /// Tells whoever waits for what happened. The reason, if the other side ended it all.
    fn dispatch(&mut self, began: Instant) -> Option<Closed> {
        while let Some(event) = self.mux.poll() {
            match event {
                Event::Pong(sent) => {
                    let now = began.elapsed();
                    self.round_trip = now.checked_sub(Duration::from_micros(sent));
                }
                Event::Closed(code, text) => return Some(Closed::There { code, text }),
                event => self.wake(&event),
            }
        }
        None
    }

    /// After sending, nothing but room can have come up.
    fn dispatch_writable(&mut self) {
        while let Some(event) = self.mux.poll() {
            self.wake(&event);
        }
    }

    fn wake(&mut self, event: &Event) {
        match event {
            Event::Readable(id) => self.readers.remove(id).map_or((), Waker::wake),
            Event::Writable(id) => self.writers.remove(id).map_or((), Waker::wake),
            Event::Arrived => self.acceptors.drain(..).for_each(Waker::wake),
            Event::Room => self.openers.drain(..).for_each(Waker::wake),
            Event::Pong(_) | Event::Closed(..) => {}
        }
    }
}
