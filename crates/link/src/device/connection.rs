//! A connection, whatever carries it.

use std::sync::Arc;
use std::time::Duration;

use super::mux::TEXT;
use super::{Closed, Incoming, Outgoing, Road, fast, quic, stream};

/// An encrypted connection to one device. It is closed when the last clone is dropped, and its streams with it.
#[derive(Clone)]
pub struct Connection {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) peer: [u8; 32],
    dialled: bool,
    pub(super) line: Line,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.line.close(super::code::DONE, "");
    }
}

impl Connection {
    pub(super) fn new(line: Line, dialled: bool) -> Connection {
        let inner = Inner {
            peer: line.peer(),
            dialled,
            line,
        };
        Connection {
            inner: Arc::new(inner),
        }
    }

    /// The key of the other device. It has proved to have it.
    pub fn peer(&self) -> [u8; 32] {
        self.inner.peer
    }

    /// We dialled.
    pub fn dialled(&self) -> bool {
        self.inner.dialled
    }

    /// The same connection, not just one to the same device.
    pub fn is(&self, other: &Connection) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    /// How it gets there now; `None` while it looks for a way.
    pub fn road(&self) -> Option<Road> {
        self.inner.line.road()
    }

    /// How long there and back takes, by that road.
    pub fn round_trip(&self) -> Option<Duration> {
        self.inner.line.round_trip()
    }

    /// Waits until the road is another than `seen`. Never, once the connection is closed.
    pub async fn road_changed(&self, seen: Option<&Road>) -> Option<Road> {
        self.inner.line.road_changed(seen).await
    }

    /// A secret that both ends of this connection, and nobody else, can compute (RFC 8446 §7.5). It differs with the
    /// label, and on every connection.
    pub fn exporter(&self, label: &[u8]) -> [u8; 32] {
        self.inner.line.exporter(label)
    }

    /// Begins a stream, as soon as there may be one more. The other device learns of it when something is written.
    ///
    /// # Errors
    /// The connection is over.
    pub async fn open(&self) -> Result<(Outgoing, Incoming), Closed> {
        self.inner.line.open().await
    }

    /// The next stream begun by the other device.
    ///
    /// # Errors
    /// The connection is over.
    pub async fn accept(&self) -> Result<(Outgoing, Incoming), Closed> {
        self.inner.line.accept().await
    }

    /// Ends it at once: what is on its way may not arrive. Of the text the first 256 bytes are told.
    pub fn close(&self, code: u32, text: &str) {
        let end = text.floor_char_boundary(TEXT);
        self.inner.line.close(code, &text[..end]);
    }

    /// Why it is over, if it is.
    pub fn close_reason(&self) -> Option<Closed> {
        self.inner.line.close_reason()
    }

    /// Waits until it is over.
    pub async fn closed(&self) -> Closed {
        self.inner.line.closed().await
    }
}

/// What carries a connection.
pub(super) enum Line {
    Fast(fast::Connection),
    Quic(quic::Connection),
}

impl Line {
    fn peer(&self) -> [u8; 32] {
        match self {
            Line::Fast(fast) => fast.peer(),
            Line::Quic(quic) => quic.peer(),
        }
    }

    /// There is one connection of a kind: the faster comes first.
    pub fn kind(&self) -> usize {
        match self {
            Line::Fast(_) => 0,
            Line::Quic(_) => 1,
        }
    }

    fn road(&self) -> Option<Road> {
        match self {
            Line::Fast(fast) => Some(fast.road()),
            Line::Quic(quic) => quic.road(),
        }
    }

    fn round_trip(&self) -> Option<Duration> {
        match self {
            Line::Fast(fast) => fast.round_trip(),
            Line::Quic(quic) => quic.round_trip(),
        }
    }

    async fn road_changed(&self, seen: Option<&Road>) -> Option<Road> {
        match self {
            Line::Fast(fast) if seen != Some(&fast.road()) => Some(fast.road()),
            Line::Fast(_) => std::future::pending().await,
            Line::Quic(quic) => quic.road_changed(seen).await,
        }
    }

    fn exporter(&self, label: &[u8]) -> [u8; 32] {
        match self {
            Line::Fast(fast) => fast.exporter(label),
            Line::Quic(quic) => quic.exporter(label),
        }
    }

    async fn open(&self) -> Result<(Outgoing, Incoming), Closed> {
        match self {
            Line::Fast(fast) => fast.open().await.map(stream::fast),
            Line::Quic(quic) => quic.open().await.map(stream::quic),
        }
    }

    async fn accept(&self) -> Result<(Outgoing, Incoming), Closed> {
        match self {
            Line::Fast(fast) => fast.accept_stream().await.map(stream::fast),
            Line::Quic(quic) => quic.accept().await.map(stream::quic),
        }
    }

    fn close(&self, code: u32, text: &str) {
        match self {
            Line::Fast(fast) => fast.close(code, text),
            Line::Quic(quic) => quic.close(code, text),
        }
    }

    fn close_reason(&self) -> Option<Closed> {
        match self {
            Line::Fast(fast) => fast.close_reason(),
            Line::Quic(quic) => quic.close_reason(),
        }
    }

    async fn closed(&self) -> Closed {
        match self {
            Line::Fast(fast) => fast.closed().await,
            Line::Quic(quic) => quic.closed().await,
        }
    }
}
