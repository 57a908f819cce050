//! Hashing what is on a disk: many pieces in large reads, holes skipped, pads as zeros. The same for a check of a
//! torrent's files and for making a new torrent.

use std::{collections::BTreeMap, ops::Range};

use torrent::layout::{Kind, Layout};

use crate::{
    digest::{PieceHash, PieceHasher},
    disk::{Disk, Stat},
    error::StoreError,
    files::Files,
    home::{Home, Name},
};

/// Bytes read in one call: a disk streams, and the hash finds them in the cache.
pub(crate) const SWEEP: usize = 1 << 20;

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
pub(crate) enum Found {
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

/// Where a sweep gets its bytes from.
pub(crate) trait Content {
    fn layout(&self) -> &Layout;
    /// Fills `buf` with a real file's bytes from `offset`, or up to its end; returns how much, and whether it
    /// is all one hole. A file that is not there is [`StoreError::Missing`].
    fn fetch(
        &mut self,
        file: usize,
        offset: u64,
        buf: &mut [u8],
    ) -> Result<(usize, Found), StoreError>;
}

/// Reads from an open file as [`Content::fetch`] does, without reading holes.
pub(crate) fn fetch_open<D: Disk>(
    disk: &D,
    file: &D::File,
    stat: Stat,
    offset: u64,
    buf: &mut [u8],
) -> std::io::Result<(usize, Found)> {
    let end = offset + buf.len() as u64;
    let has_holes = stat.allocated < stat.print.len && stat.print.len >= end;
    if has_holes && disk.data_at(file, offset)?.is_none_or(|at| at >= end) {
        buf.fill(0);
        return Ok((buf.len(), Found::Hole));
    }
    Ok((disk.read(file, buf, offset)?, Found::Data))
}

/// The files of a torrent in the store.
pub(crate) struct Stored<'a, D: Disk> {
    pub files: &'a Files<D>,
    pub home: &'a Home,
}

impl<D: Disk> Content for Stored<'_, D> {
    fn layout(&self) -> &Layout {
        self.home.layout()
    }

    fn fetch(
        &mut self,
        file: usize,
        offset: u64,
        buf: &mut [u8],
    ) -> Result<(usize, Found), StoreError> {
        let (files, home) = (self.files, self.home);
        let error = |error| {
            let path = home.path(file, home.facts().name(file));
            files.error(error, "read", &path, 0)
        };
        let open = files.reader(home, file)?;
        let stat = files.disk.stat(&open).map_err(error)?;
        {
            let mut facts = home.facts();
            if home.placement.read_only || facts.name(file) == Name::Whole {
                facts.set_print(file, Some(stat.print));
            }
        }
        fetch_open(&files.disk, &open, stat, offset, buf).map_err(error)
    }
}

/// Hashes many pieces in large reads. It remembers the hash of a piece of zeros, so that the holes of a sparse
/// file cost next to nothing. One thread, one sweeper.
#[derive(Default)]
pub(crate) struct Sweeper {
    buf: Vec<u8>,
    /// The hash of a full-length piece of zeros, by kind and piece length.
    zeros: BTreeMap<(Kind, u32), PieceHash>,
    /// The first thing that went wrong, besides files that are not there.
    trouble: Option<StoreError>,
}

impl Sweeper {
    /// Hashes `pieces`; a piece that cannot be read counts as absent, and the first error comes along.
    pub fn sweep(
        &mut self,
        content: &mut impl Content,
        pieces: Range<u32>,
    ) -> (Vec<CheckedPiece>, Option<StoreError>) {
        let mut checked: Vec<CheckedPiece> = Vec::with_capacity(pieces.len());
        let mut hasher: Option<PieceHasher> = None;
        for mut window in windows(content.layout(), pieces) {
            self.load(content, &mut window);
            let layout = content.layout();
            for Segment {
                piece,
                begin,
                buf,
                found,
            } in window
            {
                if begin == 0 {
                    hasher = Some(PieceHasher::new(layout, piece));
                }
                match &mut hasher {
                    Some(hasher) if found == Found::Data => {
                        hasher.feed(layout, &self.buf[buf.clone()])
                    }
                    Some(hasher) if found == Found::Hole => {
                        hasher.feed_zeros(layout, buf.len() as u32)
                    }
                    _ => hasher = None,
                }
                if begin + buf.len() as u32 == layout.piece_len(piece) {
                    let hash = hasher.take().map(|hasher| self.finish(layout, hasher));
                    checked.push(CheckedPiece { piece, hash });
                }
            }
        }
        (checked, self.trouble.take())
    }

    fn finish(&mut self, layout: &Layout, hasher: PieceHasher) -> PieceHash {
        // Cut pieces, and files of one piece or less with their smaller trees, are worked out each time.
        let common = |piece| {
            let file_len = layout
                .file_of_piece(piece)
                .map_or(u64::MAX, |file| layout.file(file).len);
            layout.payload_len(piece) == layout.piece_length()
                && (!layout.kind().has_v2() || file_len > u64::from(layout.piece_length()))
        };
        if !hasher.is_hole() || !common(hasher.piece()) {
            return hasher.finish(layout);
        }
        let key = (layout.kind(), layout.piece_length());
        self.zeros
            .entry(key)
            .or_insert_with(|| hasher.finish(layout))
            .clone()
    }

    /// Reads a window into the buffer and notes what was found of each segment.
    fn load(&mut self, content: &mut impl Content, window: &mut [Segment]) {
        let extents = extents(content.layout(), window);
        let len = window.last().map_or(0, |segment| segment.buf.end);
        self.buf.resize(self.buf.len().max(len), 0);
        // Bytes that no extent covers are pads; the others are overwritten, or their piece is absent.
        if extents.iter().map(|extent| extent.buf.len()).sum::<usize>() < len {
            self.buf[..len].fill(0);
        }
        let mut first = 0;
        for extent in extents {
            let fetched = content.fetch(
                extent.file,
                extent.offset,
                &mut self.buf[extent.buf.clone()],
            );
            let (got, found) = fetched.unwrap_or_else(|error| {
                if !matches!(error, StoreError::Missing { .. }) {
                    self.trouble.get_or_insert(error);
                }
                (0, Found::Absent)
            });
            // Segments and extents both ascend, and a segment may take part in several extents.
            while window[first].buf.end <= extent.buf.start {
                first += 1;
            }
            for segment in &mut window[first..] {
                if segment.buf.start >= extent.buf.end {
                    break;
                }
                let short = segment.buf.end.min(extent.buf.end) > extent.buf.start + got;
                segment.found = segment.found.max(if short { Found::Absent } else { found });
            }
        }
    }
}

/// The stretches of files that fill a window, neighbours joined.
fn extents(layout: &Layout, window: &[Segment]) -> Vec<Extent> {
    let mut extents: Vec<Extent> = Vec::new();
    for segment in window {
        let mut at = segment.buf.start;
        for span in layout.spans(segment.piece, segment.begin, segment.buf.len() as u32) {
            let end = at + span.len as usize;
            match extents.last_mut() {
                _ if span.pad => {}
                Some(last) if last.file == span.file && last.buf.end == at => last.buf.end = end,
                _ => extents.push(Extent {
                    file: span.file,
                    offset: span.offset,
                    buf: at..end,
                }),
            }
            at = end;
        }
    }
    extents
}

/// Cuts pieces into windows of at most [`SWEEP`] bytes: many short pieces in one, a long one in several.
fn windows(layout: &Layout, pieces: Range<u32>) -> Vec<Vec<Segment>> {
    let mut windows: Vec<Vec<Segment>> = Vec::new();
    let mut room = 0;
    for piece in pieces {
        let mut begin = 0;
        while begin < layout.piece_len(piece) {
            let left = (layout.piece_len(piece) - begin) as usize;
            // A piece that does not fit is cut at window borders only, so that cuts are block borders.
            if room < left.min(SWEEP) {
                windows.push(Vec::new());
                room = SWEEP;
            }
            let len = left.min(room);
            let at = SWEEP - room;
            if let Some(window) = windows.last_mut() {
                window.push(Segment {
                    piece,
                    begin,
                    buf: at..at + len,
                    found: Found::Hole,
                });
            }
            room -= len;
            begin += len as u32;
        }
    }
    windows
}
