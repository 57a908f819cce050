//! Bytes off the disk: part of a piece, or several pieces in one sweep. Pads read as zeros.

use std::{collections::BTreeMap, ops::Range};

use torrent::{
    ids::Sha256Hash,
    layout::{BLOCK, Layout},
    merkle,
};

use crate::{
    digest::{self, PieceHash, PieceHasher},
    disk::Disk,
    error::StoreError,
    files::Files,
    home::{Home, Name, TorrentId},
};

/// Bytes read in one call while hashing what is there: a disk streams, and the hash finds it in the
/// second-level cache.
pub(crate) const SWEEP: usize = 1 << 20;

/// Fills `buf` with the bytes of `piece` from `begin`.
pub(crate) fn read<D: Disk>(
    files: &Files<D>,
    home: &Home,
    piece: u32,
    begin: u32,
    buf: &mut [u8],
) -> Result<(), StoreError> {
    let mut at = 0;
    for span in home.layout().spans(piece, begin, buf.len() as u32) {
        let part = &mut buf[at..at + span.len as usize];
        at += part.len();
        if span.pad {
            part.fill(0);
            continue;
        }
        let file = files.reader(home, span.file)?;
        check_print(files, home, span.file, &file)?;
        let path = || home.path(span.file, home.facts().name(span.file));
        let got = files
            .disk
            .read(&file, part, span.offset)
            .map_err(|e| files.error(e, "read", &path(), 0))?;
        if got < part.len() {
            return Err(StoreError::FileChanged { path: path() });
        }
    }
    Ok(())
}

/// A whole file that somebody has written to since it was checked must not be served.
fn check_print<D: Disk>(
    files: &Files<D>,
    home: &Home,
    index: usize,
    file: &D::File,
) -> Result<(), StoreError> {
    let (known, name) = {
        let facts = home.facts();
        let at_rest = facts.is_whole(index) && !facts.dirty.contains(&(index as u32));
        let settled = home.placement.read_only || at_rest && facts.name(index) == Name::Whole;
        if !settled {
            return Ok(());
        }
        (facts.print(index), facts.name(index))
    };
    let path = || home.path(index, name);
    let now = files
        .disk
        .stat(file)
        .map_err(|e| files.error(e, "look at", &path(), 0))?
        .print;
    match known {
        Some(known) if known != now => Err(StoreError::FileChanged { path: path() }),
        Some(_) => Ok(()),
        None => {
            if now.len != home.layout().file(index).len {
                return Err(StoreError::FileChanged { path: path() });
            }
            home.facts().set_print(index, Some(now));
            Ok(())
        }
    }
}

/// What a sweep found of one piece.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedPiece {
    /// Which piece.
    pub piece: u32,
    /// Its hashes, or `None` if some of its bytes are not there (no file, or a shorter one).
    pub hash: Option<PieceHash>,
}

/// How many pieces from `first` on make one piece of work of about [`SWEEP`] bytes, up to `end`.
pub(crate) fn sweep_len(layout: &Layout, first: u32, end: u32) -> u32 {
    let mut bytes = 0;
    let fits = |&piece: &u32| {
        bytes += layout.piece_len(piece) as usize;
        bytes <= SWEEP
    };
    ((first..end).take_while(fits).count() as u32).max(1)
}

/// Part of a piece that lies in one window of a sweep.
struct Segment {
    piece: u32,
    begin: u32,
    /// Its place in the buffer.
    buf: Range<usize>,
    found: Found,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Found {
    /// Pads and holes only: zeros without reading.
    Hole,
    Data,
    Absent,
}

/// A stretch of one file that fills a stretch of the buffer.
struct Extent {
    file: usize,
    offset: u64,
    buf: Range<usize>,
}

/// Hashes what lies on the disk. It remembers the hash of a piece of zeros, so that the holes of a sparse
/// file cost next to nothing. One thread, one sweeper.
#[derive(Default)]
pub(crate) struct Sweeper {
    buf: Vec<u8>,
    /// For the torrent at hand, by (piece length, payload length, length of a file that is one piece or less).
    zeros: BTreeMap<(u32, u32, u64), PieceHash>,
    zeros_of: Option<TorrentId>,
    /// The first thing that went wrong, besides files that are not there.
    trouble: Option<StoreError>,
}

impl Sweeper {
    /// Hashes `pieces`; a piece that cannot be read counts as absent, and the first error comes along.
    pub fn sweep<D: Disk>(
        &mut self,
        files: &Files<D>,
        home: &Home,
        pieces: Range<u32>,
    ) -> (Vec<CheckedPiece>, Option<StoreError>) {
        if self.zeros_of != Some(home.id) {
            self.zeros.clear();
            self.zeros_of = Some(home.id);
        }
        let layout = home.layout();
        let mut checked: Vec<CheckedPiece> = Vec::with_capacity(pieces.len());
        let mut hasher: Option<PieceHasher<'_>> = None;
        for mut window in windows(layout, pieces) {
            self.load(files, home, &mut window);
            for segment in window {
                let piece = segment.piece;
                if segment.begin == 0 {
                    hasher = Some(PieceHasher::new(layout, piece));
                }
                if segment.found == Found::Absent {
                    hasher = None;
                }
                let Some(going) = &mut hasher else {
                    if segment.begin + segment.buf.len() as u32 == layout.piece_len(piece) {
                        checked.push(CheckedPiece { piece, hash: None });
                    }
                    continue;
                };
                match segment.found {
                    Found::Data => going.feed(&self.buf[segment.buf.clone()]),
                    _ => going.feed_zeros(segment.buf.len() as u32),
                }
                if segment.begin + segment.buf.len() as u32 == layout.piece_len(piece) {
                    let hash = hasher
                        .take()
                        .map(|hasher| self.finish(layout, hasher, piece));
                    checked.push(CheckedPiece { piece, hash });
                }
            }
        }
        (checked, self.trouble.take())
    }

    fn finish(&mut self, layout: &Layout, hasher: PieceHasher<'_>, piece: u32) -> PieceHash {
        if !hasher.is_hole() {
            return hasher.finish();
        }
        // A file of one piece or less has a tree of its own height; all others share theirs.
        let file_len = layout
            .file_of_piece(piece)
            .map_or(0, |file| layout.file(file).len);
        let small = if file_len <= u64::from(layout.piece_length()) {
            file_len
        } else {
            0
        };
        let key = (layout.piece_len(piece), layout.payload_len(piece), small);
        self.zeros
            .entry(key)
            .or_insert_with(|| hasher.finish())
            .clone()
    }

    /// Reads a window into the buffer and notes what was found of each segment.
    fn load<D: Disk>(&mut self, files: &Files<D>, home: &Home, window: &mut [Segment]) {
        let mut extents: Vec<Extent> = Vec::new();
        for segment in &*window {
            let mut at = segment.buf.start;
            for span in home
                .layout()
                .spans(segment.piece, segment.begin, segment.buf.len() as u32)
            {
                let end = at + span.len as usize;
                match extents.last_mut() {
                    _ if span.pad => {}
                    Some(last) if last.file == span.file && last.buf.end == at => {
                        last.buf.end = end
                    }
                    _ => extents.push(Extent {
                        file: span.file,
                        offset: span.offset,
                        buf: at..end,
                    }),
                }
                at = end;
            }
        }
        let len = window.last().map_or(0, |segment| segment.buf.end);
        self.buf.resize(self.buf.len().max(len), 0);
        // Bytes no extent covers are pads; with holes they are zeroed, the rest is overwritten.
        let covered: usize = extents.iter().map(|extent| extent.buf.len()).sum();
        if covered < len {
            self.buf[..len].fill(0);
        }
        let mut first = 0;
        for extent in extents {
            let (have, found) = self.fetch(files, home, &extent);
            // Segments and extents both ascend, and a segment may take part in several extents.
            while window[first].buf.end <= extent.buf.start {
                first += 1;
            }
            for segment in window[first..]
                .iter_mut()
                .take_while(|segment| segment.buf.start < extent.buf.end)
            {
                let found = if segment.buf.end.min(extent.buf.end) > have {
                    Found::Absent
                } else {
                    found
                };
                segment.found = segment.found.max(found);
            }
        }
    }

    /// Reads one extent. Returns up to where the buffer now holds the file's bytes, and what they are.
    fn fetch<D: Disk>(&mut self, files: &Files<D>, home: &Home, extent: &Extent) -> (usize, Found) {
        let nothing = (extent.buf.start, Found::Absent);
        let attempt = (|| {
            let path = || home.path(extent.file, home.facts().name(extent.file));
            let error = |error| files.error(error, "read", &path(), 0);
            let file = files.reader(home, extent.file)?;
            let stat = files.disk.stat(&file).map_err(error)?;
            if home.placement.read_only || home.facts().name(extent.file) == Name::Whole {
                home.facts().set_print(extent.file, Some(stat.print));
            }
            let end = extent.offset + extent.buf.len() as u64;
            let whole_hole = stat.allocated < stat.print.len
                && stat.print.len >= end
                && files
                    .disk
                    .data_at(&file, extent.offset)
                    .map_err(error)?
                    .is_none_or(|at| at >= end);
            let buf = &mut self.buf[extent.buf.clone()];
            if whole_hole {
                buf.fill(0);
                return Ok((extent.buf.end, Found::Hole));
            }
            let got = files.disk.read(&file, buf, extent.offset).map_err(error)?;
            Ok((extent.buf.start + got, Found::Data))
        })();
        match attempt {
            Ok(found) => found,
            Err(StoreError::Missing { .. }) => nothing,
            Err(error) => {
                self.trouble.get_or_insert(error);
                nothing
            }
        }
    }
}

/// Cuts pieces into windows of at most [`SWEEP`] bytes: many short pieces in one, a long one in several.
fn windows(layout: &Layout, pieces: Range<u32>) -> impl Iterator<Item = Vec<Segment>> {
    let (mut piece, mut begin) = (pieces.start, 0);
    std::iter::from_fn(move || {
        let mut window: Vec<Segment> = Vec::new();
        let mut at = 0;
        while piece < pieces.end {
            let left = layout.piece_len(piece) - begin;
            let len = (left as usize).min(SWEEP - at);
            if len < left as usize && at > 0 {
                break; // a piece is cut at window borders only, so cuts are block borders
            }
            window.push(Segment {
                piece,
                begin,
                buf: at..at + len,
                found: Found::Hole,
            });
            at += len;
            begin += len as u32;
            if len == left as usize {
                (piece, begin) = (piece + 1, 0);
            }
        }
        (!window.is_empty()).then_some(window)
    })
}

/// SHA-256 of each block of a piece: of v2 and hybrid pieces the leaves (payload alone), of v1 pieces all bytes.
pub(crate) fn block_digests<D: Disk>(
    files: &Files<D>,
    home: &Home,
    piece: u32,
) -> Result<Vec<Sha256Hash>, StoreError> {
    let layout = home.layout();
    let len = if digest::wants_sha256(layout) {
        layout.payload_len(piece)
    } else {
        layout.piece_len(piece)
    };
    let mut buf = Vec::new();
    let mut digests = Vec::with_capacity(len.div_ceil(BLOCK) as usize);
    for begin in (0..len).step_by(SWEEP) {
        buf.resize((len - begin).min(SWEEP as u32) as usize, 0);
        read(files, home, piece, begin, &mut buf)?;
        digests.extend(buf.chunks(BLOCK as usize).map(merkle::leaf));
    }
    Ok(digests)
}
