//! One stream of a connection, a type for each direction, the same on every road.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Closed, fast, quic};

/// Why a stream carries no more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// Who wrote gave it up.
    #[error("the other device gave this stream up ({0})")]
    Reset(u32),
    /// Who read wants no more.
    #[error("the other device wants no more of this stream ({0})")]
    Stopped(u32),
    /// This side has ended it already.
    #[error("the stream was ended here")]
    Ended,
    /// The whole connection is over.
    #[error(transparent)]
    Closed(#[from] Closed),
}

/// The end of a stream that is written to. Dropped without [`finish`](Outgoing::finish), it is reset.
pub struct Outgoing(Out);

enum Out {
    Fast(fast::Outgoing),
    Quic(quic::Outgoing),
}

/// The end of a stream that is read from. Dropped early, the other device is told to stop.
pub struct Incoming(In);

enum In {
    Fast(fast::Incoming),
    Quic(quic::Incoming),
}

pub(super) fn fast((out, back): (fast::Outgoing, fast::Incoming)) -> (Outgoing, Incoming) {
    (Outgoing(Out::Fast(out)), Incoming(In::Fast(back)))
}

pub(super) fn quic((out, back): (quic::Outgoing, quic::Incoming)) -> (Outgoing, Incoming) {
    (Outgoing(Out::Quic(out)), Incoming(In::Quic(back)))
}

impl Outgoing {
    /// Writes all of it, as fast as the reader takes it. If dropped in between, a part may have been written.
    ///
    /// # Errors
    /// The other device wants no more, or the connection is over.
    pub async fn send(&mut self, bytes: Bytes) -> Result<(), StreamError> {
        match &mut self.0 {
            Out::Fast(end) => end.send(bytes).await,
            Out::Quic(end) => end.send(bytes).await,
        }
    }

    /// Nothing more will be written; what was, still arrives.
    pub fn finish(&mut self) {
        match &mut self.0 {
            Out::Fast(end) => end.finish(),
            Out::Quic(end) => end.finish(),
        }
    }

    /// Gives it up: what was written may not arrive.
    pub fn reset(&mut self, code: u32) {
        match &mut self.0 {
            Out::Fast(end) => end.reset(code),
            Out::Quic(end) => end.reset(code),
        }
    }
}

impl Incoming {
    /// What comes next, at most so many bytes; `None` at the end. Loses nothing if dropped in between.
    ///
    /// # Errors
    /// The other device gave the stream up, or the connection is over.
    pub async fn receive(&mut self, most: usize) -> Result<Option<Bytes>, StreamError> {
        match &mut self.0 {
            In::Fast(end) => end.receive(most).await,
            In::Quic(end) => end.receive(most).await,
        }
    }

    /// Wants no more.
    pub fn stop(&mut self, code: u32) {
        match &mut self.0 {
            In::Fast(end) => end.stop(code),
            In::Quic(end) => end.stop(code),
        }
    }
}

impl AsyncWrite for Outgoing {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = match &mut self.0 {
            Out::Fast(end) => end.poll_write(cx, bytes),
            Out::Quic(end) => end.poll_write(cx, bytes),
        };
        Poll::Ready(ready!(written).map_err(io::Error::from))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(())) // what was taken is sent without being asked for
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.finish();
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Incoming {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = match &mut self.0 {
            In::Fast(end) => end.poll_read(cx, buf),
            In::Quic(end) => end.poll_read(cx, buf),
        };
        Poll::Ready(ready!(read).map_err(io::Error::from))
    }
}

impl From<StreamError> for io::Error {
    fn from(error: StreamError) -> io::Error {
        let kind = match error {
            StreamError::Reset(_) => io::ErrorKind::ConnectionReset,
            StreamError::Stopped(_) | StreamError::Ended => io::ErrorKind::BrokenPipe,
            StreamError::Closed(_) => io::ErrorKind::NotConnected,
        };
        io::Error::new(kind, error)
    }
}
