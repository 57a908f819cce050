//! What is on a node's disk of one torrent, and what a restart finds there. How long things take is
//! the world's business.
//!
//! Two sides of one trait: [`LightDisk`] here, small and quick enough for crowds, and
//! [`RealStore`](crate::store::RealStore), the store itself over its disk in memory. Both do what
//! disks do to those who trust them: lose what was not synced when the power goes, tear what was
//! being written, and fill up.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use swarm::{Bitfield, PieceDigest};
use torrent::ids::Sha256Hash;
use torrent::layout::BLOCK;

use crate::content::{Content, Data};

/// What a restart may believe of a disk.
pub struct Found {
    /// Pieces in the record.
    pub have: Bitfield,
    /// Pieces that may be there, to be looked at.
    pub recheck: Vec<u32>,
}

/// One torrent on one disk.
pub trait Disk {
    /// Writes a block. Returns the piece's digest if it is whole now.
    ///
    /// # Errors
    /// Why it could not be written, in words; what was collected of the piece is then given up.
    fn write(
        &mut self,
        piece: u32,
        block: u32,
        data: &Rc<Data>,
    ) -> Result<Option<PieceDigest>, String>;
    /// Forgets what was collected of a piece.
    fn abandon(&mut self, piece: u32);
    /// The piece is right and may go into the record.
    fn verified(&mut self, piece: u32);
    /// All blocks of a piece; `None` if one is missing.
    fn blocks(&self, piece: u32) -> Option<Vec<Rc<Data>>>;
    /// Some bytes of a piece; `None` if they are not all there.
    fn read(&self, piece: u32, begin: u32, len: u32) -> Option<Rc<Data>>;
    /// SHA-256 of each block as [`Content::leaves`] has it.
    fn leaves(&self, piece: u32) -> Option<Vec<Sha256Hash>>;
    /// What these pieces hash to, as they lie there.
    fn check(&mut self, pieces: &[u32]) -> Vec<(u32, Option<PieceDigest>)>;
    /// The bytes of this piece went bad; it is no longer recorded.
    fn rot(&mut self, piece: u32);
    /// Everything verified is durable, and then so is the record.
    fn sync(&mut self);
    /// What is durable and recorded for certain.
    fn recorded(&self) -> &Bitfield;
    /// The program stops here; with a power cut, so does the computer.
    fn stop(&mut self, power_cut: bool);
    /// The program starts again.
    fn restart(&mut self) -> Found;
    /// Room for so many bytes in all.
    fn set_capacity(&mut self, bytes: u64);
}

/// What a disk writes at once or not at all, in bytes.
const SECTOR: usize = 512;

/// One block's place.
struct Cell {
    data: Rc<Data>,
    /// What would be there after a power cut if nothing of the last write survived; `None`: the
    /// write is durable.
    before: Option<Rc<Data>>,
}

/// The blocks of one torrent, and the record. Blocks are shared, not copied.
pub struct LightDisk {
    content: Rc<Content>,
    cells: BTreeMap<(u32, u32), Cell>,
    /// Bytes of blocks that have ever been written.
    used: u64,
    capacity: u64,
    /// Blocks written of pieces in progress.
    collecting: BTreeMap<u32, BTreeSet<u32>>,
    /// Pieces that may go into the record.
    verified: Bitfield,
    /// The durable record.
    recorded: Bitfield,
    rng: fastrand::Rng,
}

impl LightDisk {
    /// Nothing is there.
    pub fn new(content: &Rc<Content>, seed: u64) -> LightDisk {
        let pieces = content.layout().pieces();
        LightDisk {
            content: content.clone(),
            cells: BTreeMap::new(),
            used: 0,
            capacity: u64::MAX,
            collecting: BTreeMap::new(),
            verified: Bitfield::new(pieces),
            recorded: Bitfield::new(pieces),
            rng: fastrand::Rng::with_seed(seed),
        }
    }

    /// Everything is there, durable and recorded: a seed's disk.
    pub fn whole(content: &Rc<Content>, seed: u64) -> LightDisk {
        let mut disk = LightDisk::new(content, seed);
        for piece in 0..content.layout().pieces() {
            for (block, data) in (0..).zip(content.piece(piece)) {
                let (data, before) = (data.clone(), None);
                disk.used += u64::from(data.len());
                disk.cells.insert((piece, block), Cell { data, before });
            }
            disk.verified.set(piece);
        }
        disk.recorded = disk.verified.clone();
        disk
    }

    fn put(&mut self, piece: u32, block: u32, data: Rc<Data>) -> Result<(), String> {
        if let Some(cell) = self.cells.get_mut(&(piece, block)) {
            let old = std::mem::replace(&mut cell.data, data);
            cell.before.get_or_insert(old);
            return Ok(());
        }
        let used = self.used + u64::from(data.len());
        if used > self.capacity {
            return Err("the disk is full".to_owned());
        }
        self.used = used;
        let before = Some(Data::new(vec![0; data.len() as usize]));
        self.cells.insert((piece, block), Cell { data, before });
        Ok(())
    }

    /// The power goes. Each write that was not synced survives, is lost, or is torn by sectors.
    fn power_cut(&mut self) {
        for cell in self.cells.values_mut() {
            let Some(before) = cell.before.take() else {
                continue;
            };
            match self.rng.u8(..3) {
                0 => {}
                1 => cell.data = before,
                _ => {
                    let mut torn = before.bytes().to_vec();
                    let new = cell.data.bytes().chunks(SECTOR);
                    for (old, new) in torn.chunks_mut(SECTOR).zip(new) {
                        if self.rng.bool() {
                            old.copy_from_slice(new);
                        }
                    }
                    cell.data = Data::new(torn);
                }
            }
        }
    }
}

impl Disk for LightDisk {
    fn write(
        &mut self,
        piece: u32,
        block: u32,
        data: &Rc<Data>,
    ) -> Result<Option<PieceDigest>, String> {
        if let Err(why) = self.put(piece, block, data.clone()) {
            self.abandon(piece);
            return Err(why);
        }
        let written = self.collecting.entry(piece).or_default();
        written.insert(block);
        let layout = self.content.layout();
        let blocks = layout.blocks(piece);
        let pads = (0..blocks)
            .filter(|&b| layout.is_pad_block(piece, b))
            .count() as u32;
        let needed = match blocks - pads {
            0 => pads,
            real => real,
        };
        if (written.len() as u32) < needed {
            return Ok(None);
        }
        let blocks = self.blocks(piece);
        Ok(blocks.map(|blocks| self.content.digest(piece, &blocks)))
    }

    fn abandon(&mut self, piece: u32) {
        self.collecting.remove(&piece);
    }

    fn verified(&mut self, piece: u32) {
        self.collecting.remove(&piece);
        self.verified.set(piece);
    }

    fn blocks(&self, piece: u32) -> Option<Vec<Rc<Data>>> {
        let layout = self.content.layout();
        let block = |b| match self.cells.get(&(piece, b)) {
            Some(cell) => Some(cell.data.clone()),
            None if layout.is_pad_block(piece, b) => {
                Some(Data::new(vec![0; layout.block_len(piece, b) as usize]))
            }
            None => None,
        };
        (0..layout.blocks(piece)).map(block).collect()
    }

    fn read(&self, piece: u32, begin: u32, len: u32) -> Option<Rc<Data>> {
        let cell = self.cells.get(&(piece, begin / BLOCK));
        if let Some(cell) = cell
            && begin.is_multiple_of(BLOCK)
            && cell.data.len() == len
        {
            return Some(cell.data.clone());
        }
        let whole = self.blocks(piece)?;
        let bytes = whole.iter().flat_map(|d| d.bytes().iter().copied());
        let bytes: Vec<u8> = bytes.skip(begin as usize).take(len as usize).collect();
        (bytes.len() == len as usize).then(|| Data::new(bytes))
    }

    fn leaves(&self, piece: u32) -> Option<Vec<Sha256Hash>> {
        let blocks = self.blocks(piece)?;
        Some(self.content.leaves(piece, &blocks))
    }

    fn check(&mut self, pieces: &[u32]) -> Vec<(u32, Option<PieceDigest>)> {
        let digest = |piece| {
            let blocks = self.blocks(piece);
            blocks.map(|blocks| self.content.digest(piece, &blocks))
        };
        pieces.iter().map(|&piece| (piece, digest(piece))).collect()
    }

    fn rot(&mut self, piece: u32) {
        for (_, cell) in self.cells.range_mut((piece, 0)..=(piece, u32::MAX)) {
            cell.data = Data::new(vec![0x66; cell.data.len() as usize]);
        }
        self.verified.clear(piece);
        self.recorded.clear(piece);
    }

    fn sync(&mut self) {
        self.cells.values_mut().for_each(|c| c.before = None);
        self.recorded = self.verified.clone();
    }

    fn recorded(&self) -> &Bitfield {
        &self.recorded
    }

    fn stop(&mut self, power_cut: bool) {
        if power_cut {
            self.power_cut();
        }
        self.collecting.clear();
        self.verified = self.recorded.clone();
    }

    fn restart(&mut self) -> Found {
        let there: BTreeSet<u32> = self.cells.keys().map(|&(piece, _)| piece).collect();
        let unknown = |piece: &u32| !self.recorded.get(*piece);
        Found {
            have: self.recorded.clone(),
            recheck: there.into_iter().filter(unknown).collect(),
        }
    }

    fn set_capacity(&mut self, bytes: u64) {
        self.capacity = bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use swarm::TorrentId;
    use torrent::layout::Kind;

    fn album() -> Rc<Content> {
        let rng = &mut fastrand::Rng::with_seed(1);
        let len = 2 * u64::from(BLOCK);
        Rc::new(Content::new(TorrentId(0), Kind::V1, BLOCK, &[len], rng))
    }

    #[test]
    fn what_was_synced_survives_and_the_rest_may_not() {
        let album = album();
        let mut fates = BTreeSet::new();
        for seed in 0..50 {
            let mut disk = LightDisk::new(&album, seed);
            for piece in [0, 1] {
                let whole = disk.write(piece, 0, &album.piece(piece)[0]).unwrap();
                assert_eq!(whole.unwrap().sha1.as_ref(), album.info.piece_sha1(piece));
                disk.verified(piece);
                if piece == 0 {
                    disk.sync();
                }
            }
            disk.stop(true);
            let found = disk.restart();
            assert_eq!(found.have.iter().collect::<Vec<_>>(), [0]);
            assert_eq!(found.recheck, [1]);
            assert!(album.is_right(0, 0, &disk.blocks(0).unwrap()[0]));
            let late = &disk.blocks(1).unwrap()[0];
            let zeros = late
                .bytes()
                .chunks(SECTOR)
                .any(|s| s.iter().all(|&b| b == 0));
            let some = late.bytes().iter().any(|&b| b != 0);
            fates.insert((zeros, some));
        }
        assert_eq!(fates.len(), 3, "lost, torn and whole all happen");
    }

    #[test]
    fn a_full_disk_refuses_new_blocks_and_takes_old_ones() {
        let album = album();
        let block = |piece: u32| &album.piece(piece)[0];
        let mut disk = LightDisk::new(&album, 1);
        disk.set_capacity(u64::from(BLOCK));
        disk.write(0, 0, block(0)).unwrap();
        assert!(disk.write(1, 0, block(1)).is_err());
        disk.write(0, 0, block(0)).unwrap();
        disk.set_capacity(u64::from(2 * BLOCK));
        disk.write(1, 0, block(1)).unwrap();
    }
}
