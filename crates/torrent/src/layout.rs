//! Piece space: where every byte of every file lies among the pieces, for all three kinds of torrent.
//!
//! - **v1**: the listed files one behind another, pad files (BEP 47) included.
//! - **hybrid**: the same; its pad files make every real file start on a piece boundary.
//! - **v2 only**: as if each file but the last were padded to whole pieces (BEP 52). That padding
//!   exists in coordinates only, and the last piece of each file is cut short.
//!
//! Names, hashes and attributes of files are elsewhere ([`crate::metainfo`]).

use std::ops::Range;

#[cfg(test)]
mod tests;

/// Bytes in a block, the unit of a request (BEP 3) and of a merkle leaf (BEP 52).
pub const BLOCK: u32 = 16 * 1024;

/// Longest piece in bytes. Larger ones exist in no known torrent, and a piece is the unit that must
/// be fetched before anything is verified.
pub const MAX_PIECE_LENGTH: u32 = 512 * 1024 * 1024;

/// Most pieces in a torrent: 128 TiB in pieces of 16 MiB; a bitfield of 1 MiB per peer.
pub const MAX_PIECES: u32 = 8 * 1024 * 1024;

/// Most files in a torrent, pad files apart: each costs memory before a byte is fetched.
pub const MAX_FILES: usize = 1_000_000;

/// Which generations of the protocol a torrent speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// BEP 3: SHA-1 of each piece.
    V1,
    /// BEP 52: a SHA-256 tree over each file.
    V2,
    /// Both, over the same files.
    Hybrid,
}

impl Kind {
    /// Whether pieces have SHA-1 hashes.
    pub fn has_v1(self) -> bool {
        self != Kind::V2
    }

    /// Whether files have SHA-256 trees.
    pub fn has_v2(self) -> bool {
        self != Kind::V1
    }
}

/// One file as it goes into a layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileLen {
    /// Length in bytes.
    pub len: u64,
    /// Whether it is padding (BEP 47): zeros that nobody stores.
    pub pad: bool,
}

/// Where one file lies in piece space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// First byte in piece space.
    pub start: u64,
    /// Length in bytes.
    pub len: u64,
    /// Whether it is padding.
    pub pad: bool,
}

/// A run of bytes of one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Index of the file.
    pub file: usize,
    /// First byte within the file.
    pub offset: u64,
    /// Length in bytes, at least 1.
    pub len: u32,
    /// Whether the file is padding.
    pub pad: bool,
}

/// Why files do not form a layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// The piece length is 0 or above [`MAX_PIECE_LENGTH`].
    #[error("the piece length is {0} bytes; it must be between 1 byte and 512 MiB")]
    PieceLength(u64),
    /// v2 wants a power of two of at least [`BLOCK`].
    #[error("the piece length is {0} bytes; version 2 needs a power of two from 16 KiB up")]
    PieceLengthV2(u32),
    /// There is nothing to share.
    #[error("the torrent holds no bytes at all")]
    Empty,
    /// More than [`MAX_PIECES`].
    #[error("the torrent has more than 8,388,608 pieces; choose a larger piece size")]
    TooManyPieces,
    /// More than [`MAX_FILES`].
    #[error("the torrent has more than 1,000,000 files")]
    TooManyFiles,
    /// Lengths add up to more than can be.
    #[error("the lengths of the files add up to more than any disk can hold")]
    TooLong,
    /// A real file of a hybrid torrent starts inside a piece.
    #[error("file {0} does not start on a piece boundary, as it must in a hybrid torrent")]
    Misaligned(usize),
    /// A pad file of a hybrid torrent does not end at the next piece boundary.
    #[error("padding file {0} does not fill up exactly one piece, as it must in a hybrid torrent")]
    Padding(usize),
}

const PAD: u64 = 1 << 63;

/// 16 bytes a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    start: u64,
    /// Length, with [`PAD`] set for pad files.
    len: u64,
}

impl Place {
    fn len(self) -> u64 {
        self.len & !PAD
    }

    fn pad(self) -> bool {
        self.len & PAD != 0
    }

    fn end(self) -> u64 {
        self.start + self.len()
    }
}

/// The files of a torrent laid out in piece space.
///
/// Invariants: starts never fall, non-empty files do not overlap, `pieces` covers `size` exactly,
/// and in a v2 or hybrid layout every piece starts with a byte of a real file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    kind: Kind,
    piece_length: u32,
    pieces: u32,
    size: u64,
    payload: u64,
    places: Box<[Place]>,
}

impl Layout {
    /// Lays files out in the order given.
    ///
    /// Pad files are real entries in v1 and hybrid; a v2 file tree has none, and `pad` there only
    /// marks a file as such.
    pub fn new(
        kind: Kind,
        piece_length: u32,
        files: impl IntoIterator<Item = FileLen>,
    ) -> Result<Layout, LayoutError> {
        check_piece_length(kind, u64::from(piece_length))?;
        let piece = u64::from(piece_length);
        let limit = piece * u64::from(MAX_PIECES);
        let files = files.into_iter();
        let mut places = Vec::with_capacity(files.size_hint().0.min(2 * MAX_FILES));
        let (mut size, mut payload, mut at, mut real) = (0u64, 0u64, 0u64, 0usize);
        for (index, FileLen { len, pad }) in files.enumerate() {
            if !pad {
                real += 1;
            }
            if real > MAX_FILES || index >= 2 * MAX_FILES {
                return Err(LayoutError::TooManyFiles);
            }
            if kind == Kind::V2 {
                at = at.next_multiple_of(piece);
            }
            if kind == Kind::Hybrid && len > 0 {
                if !pad && !at.is_multiple_of(piece) {
                    return Err(LayoutError::Misaligned(index));
                }
                if pad && (at.is_multiple_of(piece) || len != piece - at % piece) {
                    return Err(LayoutError::Padding(index));
                }
            }
            if len > i64::MAX as u64 {
                return Err(LayoutError::TooLong);
            }
            places.push(Place {
                start: at,
                len: len | if pad { PAD } else { 0 },
            });
            at = at.checked_add(len).ok_or(LayoutError::TooLong)?;
            if at > limit {
                return Err(LayoutError::TooManyPieces);
            }
            size = if len > 0 { at } else { size };
            payload += if pad { 0 } else { len };
        }
        if payload == 0 {
            return Err(LayoutError::Empty);
        }
        Ok(Layout {
            kind,
            piece_length,
            pieces: size.div_ceil(piece) as u32,
            size,
            payload,
            places: places.into_boxed_slice(),
        })
    }

    /// Which generations of the protocol the torrent speaks.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Bytes in every piece but those cut short.
    pub fn piece_length(&self) -> u32 {
        self.piece_length
    }

    /// Number of pieces, at least 1.
    pub fn pieces(&self) -> u32 {
        self.pieces
    }

    /// Length of piece space in bytes, padding included.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Bytes of real files.
    pub fn payload(&self) -> u64 {
        self.payload
    }

    /// Where piece `p` starts in piece space.
    pub fn piece_start(&self, p: u32) -> u64 {
        u64::from(p) * u64::from(self.piece_length)
    }

    /// The piece that holds byte `offset` of piece space.
    pub fn piece_at(&self, offset: u64) -> u32 {
        (offset / u64::from(self.piece_length)) as u32
    }

    /// Bytes of piece `p` as they go over the wire; 0 when there is no such piece.
    pub fn piece_len(&self, p: u32) -> u32 {
        if p >= self.pieces {
            return 0;
        }
        let start = self.piece_start(p);
        let end = match self.kind {
            Kind::V2 => self.places[self.find(start)].end(),
            _ => self.size,
        };
        (end - start).min(u64::from(self.piece_length)) as u32
    }

    /// Bytes of piece `p` that belong to real files; in v2 and hybrid what the merkle tree covers.
    pub fn payload_len(&self, p: u32) -> u32 {
        let len = self.piece_len(p);
        match self.kind {
            Kind::V2 => len,
            _ if self.size == self.payload => len,
            _ => self
                .spans(p, 0, len)
                .filter(|span| !span.pad)
                .map(|span| span.len)
                .sum(),
        }
    }

    /// Number of blocks in piece `p`.
    pub fn blocks(&self, p: u32) -> u32 {
        self.piece_len(p).div_ceil(BLOCK)
    }

    /// Bytes of block `b` of piece `p`; 0 when there is no such block.
    pub fn block_len(&self, p: u32, b: u32) -> u32 {
        let begin = u64::from(b) * u64::from(BLOCK);
        u64::from(self.piece_len(p))
            .saturating_sub(begin)
            .min(u64::from(BLOCK)) as u32
    }

    /// Whether block `b` of piece `p` is nothing but padding, so that nobody needs to fetch it.
    pub fn is_pad_block(&self, p: u32, b: u32) -> bool {
        if self.kind == Kind::V2 || self.size == self.payload {
            return false;
        }
        let len = self.block_len(p, b);
        len > 0 && self.spans(p, b * BLOCK, len).all(|span| span.pad)
    }

    /// Number of files, pad files included.
    pub fn files(&self) -> usize {
        self.places.len()
    }

    /// Where file `i` lies. Panics when there is no such file.
    pub fn file(&self, i: usize) -> Extent {
        let place = self.places[i];
        Extent {
            start: place.start,
            len: place.len(),
            pad: place.pad(),
        }
    }

    /// The pieces that hold any byte of file `i`; none for an empty file.
    pub fn file_pieces(&self, i: usize) -> Range<u32> {
        let place = self.places[i];
        let first = self.piece_at(place.start);
        if place.len() == 0 {
            first..first
        } else {
            first..self.piece_at(place.end() - 1) + 1
        }
    }

    /// The runs of files that make up `len` bytes from `begin` on in piece `p`, in order. What lies
    /// outside the piece is left out, and so are empty files.
    pub fn spans(&self, p: u32, begin: u32, len: u32) -> Spans<'_> {
        let piece_len = self.piece_len(p);
        let begin = begin.min(piece_len);
        let left = len.min(piece_len - begin);
        let at = self.piece_start(p) + u64::from(begin);
        let file = if left == 0 { 0 } else { self.find(at) };
        Spans {
            places: &self.places,
            file,
            at,
            left,
        }
    }

    /// In v2 and hybrid, the one real file piece `p` belongs to; `None` in v1.
    pub fn file_of_piece(&self, p: u32) -> Option<usize> {
        (self.kind.has_v2() && p < self.pieces).then(|| self.find(self.piece_start(p)))
    }

    /// In v2 and hybrid, which piece of its file piece `p` is; `None` in v1.
    pub fn piece_in_file(&self, p: u32) -> Option<u32> {
        let file = self.file_of_piece(p)?;
        Some(p - self.piece_at(self.places[file].start))
    }

    /// The non-empty file that holds byte `at` of piece space, which is one.
    fn find(&self, at: u64) -> usize {
        // Empty files start where their neighbours end, so the last one to start at or before a
        // byte within a file is that file.
        self.places.partition_point(|place| place.start <= at) - 1
    }
}

/// Checks a piece length by itself, before there are files.
pub fn check_piece_length(kind: Kind, piece_length: u64) -> Result<u32, LayoutError> {
    let length = u32::try_from(piece_length).unwrap_or(u32::MAX);
    if length == 0 || length > MAX_PIECE_LENGTH {
        return Err(LayoutError::PieceLength(piece_length));
    }
    if kind.has_v2() && (length < BLOCK || !length.is_power_of_two()) {
        return Err(LayoutError::PieceLengthV2(length));
    }
    Ok(length)
}

/// Iterates over the runs of files in a part of a piece; see [`Layout::spans`].
#[derive(Clone, Debug)]
pub struct Spans<'a> {
    places: &'a [Place],
    file: usize,
    at: u64,
    left: u32,
}

impl Iterator for Spans<'_> {
    type Item = Span;

    fn next(&mut self) -> Option<Span> {
        while self.left > 0 {
            let file = self.file;
            let place = self.places[file];
            let offset = self.at - place.start;
            let len = (place.len() - offset).min(u64::from(self.left)) as u32;
            self.file += 1;
            self.at += u64::from(len);
            self.left -= len;
            if len > 0 {
                return Some(Span {
                    file,
                    offset,
                    len,
                    pad: place.pad(),
                });
            }
        }
        None
    }
}
