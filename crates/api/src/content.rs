//! Content of transfers, for programs that read files: players, browsers, downloads.
//!
//! What a file is called by others is a host, one for each transfer, and a path in it. Bytes come in chunks, as
//! quickly as they are taken and no quicker.

use std::future::Future;
use std::ops::Range;

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::ids::TransferId;
use crate::problem::Problem;

/// Most bytes in a chunk.
pub const MAX_CHUNK: usize = 256 << 10;
/// Chunks that wait to be taken: the next one is read while this one is sent.
const CHUNKS_AHEAD: usize = 1;

/// A file of a transfer, as it can be read. Its bytes never change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContentFile {
    /// Whose.
    pub transfer: TransferId,
    /// Its index in the torrent.
    pub index: u32,
    /// Its path in the torrent, with `/`.
    pub path: String,
    /// Its bytes.
    pub size: u64,
    /// Names these bytes and no others: letters, digits and `-`.
    pub tag: String,
    /// Seconds since 1970 since when it has been here under this name.
    pub since: u64,
}

/// What is under one host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContentListing {
    /// The transfer's name.
    pub name: String,
    /// Path and size of files, in the torrent's order; not more than were asked for.
    pub files: Vec<(String, u64)>,
    /// How many there are.
    pub total: usize,
}

/// Gives content to whoever knows its host.
///
/// A host that names nothing, and a path that no file has, are [`Kind::NotFound`](crate::Kind::NotFound).
pub trait Content: Send + Sync + 'static {
    /// The first so many files under a host, which is a label such as `k5ge6…`.
    fn listing(
        &self,
        host: String,
        most: usize,
    ) -> impl Future<Output = Result<ContentListing, Problem>> + Send;

    /// The file with this path.
    fn find(
        &self,
        host: String,
        path: String,
    ) -> impl Future<Output = Result<ContentFile, Problem>> + Send;

    /// Begins to read; what is not there yet is fetched before all else. The range lies in the file.
    fn read(
        &self,
        file: &ContentFile,
        range: Range<u64>,
    ) -> impl Future<Output = Result<Chunks, Problem>> + Send;
}

/// Bytes on their way to who reads them. To drop it is to stop reading.
#[derive(Debug)]
pub struct Chunks(mpsc::Receiver<Result<Bytes, Problem>>);

/// The other end of [`Chunks`]: closed when nobody reads any more.
pub type ChunkSender = mpsc::Sender<Result<Bytes, Problem>>;

impl Chunks {
    /// Both ends. Whoever sends gives at most [`MAX_CHUNK`] bytes at a time, in the end as many as the range has;
    /// a problem is the last.
    pub fn channel() -> (ChunkSender, Chunks) {
        let (sender, receiver) = mpsc::channel(CHUNKS_AHEAD);
        (sender, Chunks(receiver))
    }

    /// The next bytes; `None` after the last ones.
    pub async fn next(&mut self) -> Option<Result<Bytes, Problem>> {
        self.0.recv().await
    }
}
