//! What the store tells: facts, in the past tense. The same from files and from the twin.

use torrent::ids::{Sha1Hash, Sha256Hash};

use crate::{CheckedPiece, ReadBuf, StoreError, TorrentId};

/// A stretch of one piece, at most [`READ_MAX`](crate::READ_MAX) bytes, in one read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockRun {
    /// The piece.
    pub piece: u32,
    /// Its first byte.
    pub begin: u32,
    /// How many bytes.
    pub len: u32,
}

/// Something the store has done, or could not do.
#[derive(Debug)]
#[non_exhaustive]
pub enum Done {
    /// All blocks of a piece are written and hashed. The caller compares and answers with
    /// [`verified`](crate::Store::verified) or, before any block is written anew, [`abandon`](crate::Store::abandon).
    PieceHashed {
        /// Which torrent.
        id: TorrentId,
        /// Which piece.
        piece: u32,
        /// v1 and hybrid: over all of the piece, pads as zeros.
        sha1: Option<Sha1Hash>,
        /// v2 and hybrid: the piece's root (BEP 52).
        root: Option<Sha256Hash>,
        /// v2 and hybrid: the leaves under that root, one a block with payload: a wrong one names its block.
        leaves: Option<Vec<Sha256Hash>>,
    },
    /// These blocks are not on disk. They can be written again; what else was written of the piece stays.
    WriteFailed {
        /// Which torrent.
        id: TorrentId,
        /// Which piece.
        piece: u32,
        /// Where in the piece the lost blocks begin.
        begins: Vec<u32>,
        /// Why.
        error: StoreError,
    },
    /// A read is there.
    Read {
        /// Which torrent.
        id: TorrentId,
        /// The caller's own mark.
        tag: u64,
        /// The bytes asked for.
        data: ReadBuf,
    },
    /// A read did not succeed; the data cannot be served.
    ReadFailed {
        /// Which torrent.
        id: TorrentId,
        /// The caller's own mark.
        tag: u64,
        /// Why.
        error: StoreError,
    },
    /// Some pieces of a check.
    Checked {
        /// Which torrent.
        id: TorrentId,
        /// What was found of each.
        pieces: Vec<CheckedPiece>,
    },
    /// All pieces of a check have been told.
    CheckFinished {
        /// Which torrent.
        id: TorrentId,
        /// The first thing that could not be read for a reason other than not being there.
        trouble: Option<StoreError>,
    },
    /// The answer to [`block_digests`](crate::Store::block_digests).
    BlockDigests {
        /// Which torrent.
        id: TorrentId,
        /// Which piece.
        piece: u32,
        /// SHA-256 of each block as it lies on disk.
        digests: Result<Vec<Sha256Hash>, StoreError>,
    },
    /// The answer to [`leaves`](crate::Store::leaves).
    Leaves {
        /// Which torrent.
        id: TorrentId,
        /// Which piece.
        piece: u32,
        /// The caller's own mark.
        tag: u64,
        /// BEP 52's layer 0 below this piece, without padding.
        leaves: Result<Vec<Sha256Hash>, StoreError>,
    },
    /// A file is whole, verified, synced, and has its final name.
    FileFinished {
        /// Which torrent.
        id: TorrentId,
        /// Its index in the layout.
        file: usize,
    },
    /// A file is whole but could not get its final name, or a sync or the resume record failed. The
    /// store tries again with the next batch or flush.
    SettleFailed {
        /// Which torrent.
        id: TorrentId,
        /// Why.
        error: StoreError,
    },
    /// The answer to [`flush`](crate::Store::flush): what was verified before is durable, and in the resume
    /// record; unless a [`SettleFailed`](Done::SettleFailed) came just before.
    Flushed {
        /// Which torrent.
        id: TorrentId,
        /// Whether all of it succeeded.
        ok: bool,
    },
}
