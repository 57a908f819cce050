//! A piece's hashes, taken in one pass over its blocks while they are warm: SHA-1 over all of its bytes,
//! pads included (BEP 3, 47), and one SHA-256 a block over its payload (BEP 52), whichever the torrent has.

use sha1::{Digest, Sha1};
use torrent::{
    ids::{Sha1Hash, Sha256Hash},
    layout::{BLOCK, Layout},
    merkle,
};

/// A block of zeros, for pads.
pub(crate) static ZEROS: [u8; BLOCK as usize] = [0; BLOCK as usize];

/// What a piece's bytes hash to, to be compared with what the torrent says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PieceHash {
    /// v1 and hybrid: SHA-1 of the piece, pads included.
    pub sha1: Option<Sha1Hash>,
    /// v2 and hybrid: the root of the piece's merkle tree, as it stands in the piece layer; of a file no
    /// longer than a piece, the file's root.
    pub root: Option<Sha256Hash>,
    /// v2 and hybrid: the leaves of that tree, one for each block with payload.
    pub leaves: Option<Vec<Sha256Hash>>,
}

pub(crate) fn wants_sha1(layout: &Layout) -> bool {
    layout.kind().has_v1()
}

pub(crate) fn wants_sha256(layout: &Layout) -> bool {
    layout.kind().has_v2()
}

/// The bytes of block `block` that are a real file's, for v2 and hybrid pieces, where payload comes first.
pub(crate) fn payload_of_block(layout: &Layout, piece: u32, block: u32) -> u32 {
    layout
        .payload_len(piece)
        .saturating_sub(block * BLOCK)
        .min(BLOCK)
}

/// The root over the leaves of `piece`.
pub(crate) fn root(layout: &Layout, piece: u32, leaves: &[Sha256Hash]) -> Sha256Hash {
    let file_len = layout
        .file_of_piece(piece)
        .map_or(0, |file| layout.file(file).len);
    merkle::piece_root(leaves, layout.piece_length(), file_len)
}

/// Hashes a piece from its first byte to its last, in any number of steps that end on block borders.
///
/// Zeros at the front are only counted until other bytes follow, so that a piece that is one hole is known to
/// be one before any work is done.
pub(crate) struct PieceHasher {
    piece: u32,
    sha1: Option<Sha1>,
    leaves: Option<Vec<Sha256Hash>>,
    at: u32,
    zeros_ahead: u32,
}

impl PieceHasher {
    pub fn new(layout: &Layout, piece: u32) -> PieceHasher {
        let leaves = wants_sha256(layout).then(Vec::new);
        PieceHasher {
            piece,
            sha1: wants_sha1(layout).then(Sha1::new),
            leaves,
            at: 0,
            zeros_ahead: 0,
        }
    }

    pub fn piece(&self) -> u32 {
        self.piece
    }

    /// The next bytes.
    pub fn feed(&mut self, layout: &Layout, bytes: &[u8]) {
        for _ in 0..std::mem::take(&mut self.zeros_ahead).div_ceil(BLOCK) {
            let zeros = (layout.piece_len(self.piece) - self.at).min(BLOCK);
            self.absorb(layout, &ZEROS[..zeros as usize]);
        }
        for block in bytes.chunks(BLOCK as usize) {
            self.absorb(layout, block);
        }
    }

    /// The next `len` bytes are zeros that nobody has read.
    pub fn feed_zeros(&mut self, layout: &Layout, len: u32) {
        if self.at == 0 {
            self.zeros_ahead += len;
            return;
        }
        for at in (0..len).step_by(BLOCK as usize) {
            self.absorb(layout, &ZEROS[..(len - at).min(BLOCK) as usize]);
        }
    }

    /// Is it nothing but unread zeros so far?
    pub fn is_hole(&self) -> bool {
        self.at == 0
    }

    fn absorb(&mut self, layout: &Layout, block: &[u8]) {
        let payload = payload_of_block(layout, self.piece, self.at / BLOCK) as usize;
        self.at += block.len() as u32;
        if let Some(sha1) = &mut self.sha1 {
            sha1.update(block);
        }
        if let (Some(leaves), 1..) = (&mut self.leaves, payload) {
            leaves.push(merkle::leaf(&block[..payload]));
        }
    }

    /// The hashes; all bytes have been fed.
    pub fn finish(mut self, layout: &Layout) -> PieceHash {
        self.feed(layout, &[]);
        PieceHash {
            sha1: self.sha1.map(|sha1| sha1.finalize().into()),
            root: self
                .leaves
                .as_ref()
                .map(|leaves| root(layout, self.piece, leaves)),
            leaves: self.leaves,
        }
    }
}
