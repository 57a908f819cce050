//! Bytes of a file as the body of an answer: as many as its head has announced, or the connection ends early.

use std::io;
use std::time::Duration;

use api::Chunks;
use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

/// How long a reader is left without a byte: what has not come by then is not about to, and players ask again.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A body under way.
struct Sending {
    /// Read before the head was sent.
    first: Option<Bytes>,
    chunks: Chunks,
    left: u64,
    /// One of so many readers.
    _permit: OwnedSemaphorePermit,
}

/// A body of `length` bytes.
pub(crate) fn body(
    first: Option<Bytes>,
    chunks: Chunks,
    length: u64,
    permit: OwnedSemaphorePermit,
) -> Body {
    let begun = Sending {
        first,
        chunks,
        left: length,
        _permit: permit,
    };
    Body::from_stream(stream::try_unfold(begun, |mut body| async move {
        let bytes = body.next().await?;
        Ok::<_, io::Error>(bytes.map(|bytes| (bytes, body)))
    }))
}

impl Sending {
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        if self.left == 0 {
            return Ok(None);
        }
        let bytes = match self.first.take() {
            Some(bytes) => bytes,
            None => match timeout(PATIENCE, self.chunks.next()).await {
                Ok(Some(Ok(bytes))) => bytes,
                Ok(Some(Err(problem))) => return Err(io::Error::other(problem)),
                Ok(None) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Err(_) => return Err(io::ErrorKind::TimedOut.into()),
            },
        };
        let left = self.left.checked_sub(bytes.len() as u64);
        self.left = left.ok_or_else(|| io::Error::other("more bytes came than were asked for"))?;
        Ok(Some(bytes))
    }
}
