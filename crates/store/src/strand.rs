//! One piece on its way in: collects its blocks, writes neighbours in one call, and hashes while the bytes are
//! warm. Writing comes before hashing, so a failed write leaves the hashes as if the block had never come.
//!
//! When a strand runs, and on which thread, is decided elsewhere: here is no lock and no clock.

use std::{collections::BTreeMap, io::IoSlice};

use sha1::{Digest, Sha1};
use torrent::{ids::Sha256Hash, layout::BLOCK, merkle};

use crate::{
    bits::Bits,
    digest::{self, PieceHash, ZEROS},
    disk::Disk,
    done::Done,
    error::StoreError,
    files::Files,
    home::Home,
    reading,
    slot::{self, Slot},
};

/// Blocks read back in one call when the prefix reaches blocks that were written but not kept: 256 KiB.
const READ_BACK_BLOCKS: u32 = 16;

/// A block of this strand's piece, by its number.
pub(crate) type Arrived = (u32, Slot);

/// What one turn of a strand came to.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    /// Blocks that are not on disk after all, and why.
    pub failed: Option<(Vec<u32>, StoreError)>,
    /// The piece is whole and written.
    pub hashed: Option<PieceHash>,
}

impl Turn {
    /// The same as facts for the caller.
    pub fn facts(self, home: &Home, piece: u32) -> impl Iterator<Item = Done> {
        let id = home.id;
        let failed = self.failed.map(|(blocks, error)| {
            let begins = blocks.into_iter().map(|block| block * BLOCK).collect();
            Done::WriteFailed {
                id,
                piece,
                begins,
                error,
            }
        });
        let hashed = self
            .hashed
            .map(|PieceHash { sha1, root, leaves }| Done::PieceHashed {
                id,
                piece,
                sha1,
                root,
                leaves,
            });
        failed.into_iter().chain(hashed)
    }
}

pub(crate) struct Strand {
    piece: u32,
    /// On disk; pads from the beginning.
    written: Bits,
    /// On disk, and kept for SHA-1 because a gap lies before them.
    held: BTreeMap<u32, Slot>,
    /// SHA-1 over the first `prefix` blocks.
    sha1: Option<Sha1>,
    prefix: u32,
    /// Of each payload block; valid where `leafed`.
    leaves: Option<Vec<Sha256Hash>>,
    leafed: Bits,
}

impl Strand {
    pub fn new(home: &Home, piece: u32) -> Strand {
        let layout = home.layout();
        let blocks = layout.blocks(piece);
        let mut written = Bits::new(blocks as usize);
        for block in (0..blocks).filter(|&block| layout.is_pad_block(piece, block)) {
            written.set(block as usize);
        }
        let payload_blocks = layout.payload_len(piece).div_ceil(BLOCK) as usize;
        let leaves = digest::wants_sha256(layout).then(|| vec![[0; 32]; payload_blocks]);
        Strand {
            piece,
            written,
            held: BTreeMap::new(),
            sha1: digest::wants_sha1(layout).then(Sha1::new),
            prefix: 0,
            leafed: Bits::new(leaves.as_ref().map_or(0, Vec::len)),
            leaves,
        }
    }

    /// Does it keep slots that a thirsty pool could have?
    pub fn holds_slots(&self) -> bool {
        !self.held.is_empty()
    }

    /// How many blocks are neither on disk nor pads.
    pub fn missing(&self) -> usize {
        self.written.len() - self.written.count()
    }

    /// `blocks` are on disk already.
    pub fn adopt(&mut self, blocks: impl IntoIterator<Item = u32>) {
        for block in blocks {
            self.written.set(block as usize);
        }
    }

    /// Writes and hashes what has arrived. With `lean` no slot stays here afterwards.
    pub fn turn<D: Disk>(
        &mut self,
        files: &Files<D>,
        home: &Home,
        mut arrived: Vec<Arrived>,
        lean: bool,
    ) -> Turn {
        arrived.sort_unstable_by_key(|(block, _)| *block);
        arrived.dedup_by_key(|(block, _)| *block);
        arrived.retain(|(block, _)| !self.written.has(*block as usize));
        for (block, slot) in &mut arrived {
            clear_pads(home, self.piece, *block, slot);
        }

        let mut turn = Turn::default();
        let mut spent = Vec::new();
        let mut rest = arrived.into_iter().peekable();
        while let Some(first) = rest.next() {
            let mut run = vec![first];
            while let Some(next) = rest.next_if(|(block, _)| *block == run[0].0 + run.len() as u32)
            {
                run.push(next);
            }
            match write_run(files, home, self.piece, &run) {
                Ok(()) => {
                    for (block, slot) in run {
                        self.written.set(block as usize);
                        spent.extend(self.hash(home, block, slot));
                    }
                }
                Err(error) => {
                    let (blocks, _) = turn.failed.get_or_insert((Vec::new(), error));
                    blocks.extend(run.iter().map(|(block, _)| *block));
                }
            }
        }
        let whole = self.missing() == 0;
        let hashed = self.advance(files, home, whole, &mut spent);
        if lean {
            spent.extend(std::mem::take(&mut self.held).into_values());
        }
        slot::release(spent);
        match hashed {
            Ok(()) if whole => turn.hashed = Some(self.finish(home)),
            Ok(()) => {}
            // What was written cannot be read back: none of it counts.
            Err(error) => {
                let blocks = (0..self.written.len() as u32)
                    .filter(|&block| !home.layout().is_pad_block(self.piece, block));
                turn.failed = Some((blocks.collect(), error));
                *self = Strand::new(home, self.piece);
            }
        }
        turn
    }

    /// Takes one written block into the hashes and gives its slot back, or keeps it for when the prefix has come
    /// so far.
    fn hash(&mut self, home: &Home, block: u32, slot: Slot) -> Option<Slot> {
        if self.sha1.is_some() && block == self.prefix {
            self.absorb_sha1(&slot);
            self.absorb_leaf(home, block, &slot);
            return Some(slot);
        }
        self.absorb_leaf(home, block, &slot);
        if self.sha1.is_none() {
            return Some(slot);
        }
        self.held.insert(block, slot);
        None
    }

    /// Moves the prefix over blocks that are held, pads, and (reading them back) blocks on disk. Blocks are read
    /// back in the middle of a piece too, so that the last block of a long piece does not bring a long wait.
    fn advance<D: Disk>(
        &mut self,
        files: &Files<D>,
        home: &Home,
        whole: bool,
        spent: &mut Vec<Slot>,
    ) -> Result<(), StoreError> {
        let layout = home.layout();
        let blocks = self.written.len() as u32;
        let mut buf = Vec::new();
        while self.sha1.is_some() && self.prefix < blocks {
            let block = self.prefix;
            if let Some(slot) = self.held.remove(&block) {
                self.absorb_sha1(&slot);
                spent.push(slot);
            } else if layout.is_pad_block(self.piece, block) {
                self.absorb_sha1(&ZEROS[..layout.block_len(self.piece, block) as usize]);
            } else if self.written.has(block as usize) {
                let end = self.read_back(files, home, block, &mut buf, |strand, block| {
                    strand.written.has(block as usize) && !strand.held.contains_key(&block)
                })?;
                for (block, bytes) in (block..end).zip(buf.chunks(BLOCK as usize)) {
                    self.absorb_sha1(bytes);
                    self.absorb_leaf(home, block, bytes);
                }
            } else {
                break;
            }
        }
        while let Some(block) =
            (0..self.leafed.len()).find(|&block| whole && !self.leafed.has(block))
        {
            let end = self.read_back(files, home, block as u32, &mut buf, |strand, block| {
                (block as usize) < strand.leafed.len() && !strand.leafed.has(block as usize)
            })?;
            for (block, bytes) in (block as u32..end).zip(buf.chunks(BLOCK as usize)) {
                self.absorb_leaf(home, block, bytes);
            }
        }
        Ok(())
    }

    /// Reads blocks from `first` on for which `wanted` holds, a bounded number; returns where it stopped.
    fn read_back<D: Disk>(
        &self,
        files: &Files<D>,
        home: &Home,
        first: u32,
        buf: &mut Vec<u8>,
        wanted: impl Fn(&Strand, u32) -> bool,
    ) -> Result<u32, StoreError> {
        let layout = home.layout();
        let limit = (first + READ_BACK_BLOCKS).min(self.written.len() as u32);
        let end = (first + 1..limit)
            .find(|&block| !wanted(self, block))
            .unwrap_or(limit);
        let len: u32 = (first..end)
            .map(|block| layout.block_len(self.piece, block))
            .sum();
        buf.resize(len as usize, 0);
        reading::read(files, home, self.piece, first * BLOCK, buf)?;
        Ok(end)
    }

    fn absorb_sha1(&mut self, bytes: &[u8]) {
        if let Some(sha1) = &mut self.sha1 {
            sha1.update(bytes);
            self.prefix += 1;
        }
    }

    fn absorb_leaf(&mut self, home: &Home, block: u32, bytes: &[u8]) {
        let payload = digest::payload_of_block(home.layout(), self.piece, block) as usize;
        let Some(leaf) = self
            .leaves
            .as_mut()
            .and_then(|leaves| leaves.get_mut(block as usize))
        else {
            return;
        };
        if self.leafed.set(block as usize) {
            *leaf = merkle::leaf(&bytes[..payload]);
        }
    }

    /// The hashes of the whole piece; the strand begins anew.
    fn finish(&mut self, home: &Home) -> PieceHash {
        let done = std::mem::replace(self, Strand::new(home, self.piece));
        PieceHash {
            sha1: done.sha1.map(|sha1| sha1.finalize().into()),
            root: done
                .leaves
                .as_ref()
                .map(|leaves| digest::root(home.layout(), done.piece, leaves)),
            leaves: done.leaves,
        }
    }
}

/// Pads are zeros whatever a peer sent for them.
fn clear_pads(home: &Home, piece: u32, block: u32, slot: &mut Slot) {
    let mut at = 0;
    for span in home.layout().spans(piece, block * BLOCK, slot.len() as u32) {
        let end = at + span.len as usize;
        if span.pad {
            slot[at..end].fill(0);
        }
        at = end;
    }
}

/// Writes neighbouring blocks: one vectored call for each file they touch.
fn write_run<D: Disk>(
    files: &Files<D>,
    home: &Home,
    piece: u32,
    run: &[Arrived],
) -> Result<(), StoreError> {
    let len: usize = run.iter().map(|(_, slot)| slot.len()).sum();
    let mut at = 0;
    for span in home.layout().spans(piece, run[0].0 * BLOCK, len as u32) {
        let (from, to) = (at, at + span.len as usize);
        at = to;
        if span.pad {
            continue;
        }
        let block = BLOCK as usize;
        let mut slices: Vec<IoSlice<'_>> = (from / block..to.div_ceil(block))
            .map(|i| {
                let slot = &run[i].1;
                IoSlice::new(
                    &slot[from.saturating_sub(i * block)..(to - i * block).min(slot.len())],
                )
            })
            .collect();
        let file = files.writer(home, span.file)?;
        let written = files.disk.write(&file, &mut slices, span.offset);
        // After the write: a batch that looked earlier would sync too early and forget the file.
        home.facts().dirty.insert(span.file as u32);
        written.map_err(|error| {
            let path = home.path(span.file, home.facts().name(span.file));
            files.error(error, "write", &path, u64::from(span.len))
        })?;
    }
    Ok(())
}
