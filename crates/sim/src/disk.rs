//! A disk in memory that does what disks do to those who trust them: it loses what was not synced
//! when the power goes, tears what was being written, and fills up.
//!
//! It holds the blocks of one torrent on one node, and the record of verified pieces that survives
//! a restart. How long things take is the world's business.

use std::collections::BTreeMap;
use std::rc::Rc;

use swarm::Bitfield;
use torrent::layout::{BLOCK, Layout};

use crate::content::Data;

/// What a disk writes at once or not at all, in bytes.
const SECTOR: usize = 512;

/// One block's place.
struct Cell {
    data: Rc<Data>,
    /// What would be there after a power cut if nothing of the last write survived; `None`: the
    /// write is durable.
    before: Option<Rc<Data>>,
}

/// The blocks of one torrent, and the resume record.
pub struct Disk {
    cells: BTreeMap<(u32, u32), Cell>,
    /// Bytes of blocks that have ever been written.
    used: u64,
    /// Bytes that fit.
    pub capacity: u64,
    /// Pieces that may go into the record.
    verified: Bitfield,
    /// The durable record.
    recorded: Bitfield,
}

/// There is no room for the block.
#[derive(Debug, PartialEq, Eq)]
pub struct Full;

impl Disk {
    /// Nothing is there.
    pub fn new(pieces: u32) -> Disk {
        Disk {
            cells: BTreeMap::new(),
            used: 0,
            capacity: u64::MAX,
            verified: Bitfield::new(pieces),
            recorded: Bitfield::new(pieces),
        }
    }

    /// Everything is there, durable and recorded: a seed's disk.
    pub fn whole<'a>(pieces: impl ExactSizeIterator<Item = &'a [Rc<Data>]>) -> Disk {
        let mut disk = Disk::new(pieces.len() as u32);
        for (piece, blocks) in (0..).zip(pieces) {
            for (block, data) in (0..).zip(blocks) {
                let (data, before) = (data.clone(), None);
                disk.used += u64::from(data.len());
                disk.cells.insert((piece, block), Cell { data, before });
            }
            disk.verified.set(piece);
        }
        disk.recorded = disk.verified.clone();
        disk
    }

    /// Writes a block.
    pub fn write(&mut self, piece: u32, block: u32, data: Rc<Data>) -> Result<(), Full> {
        if let Some(cell) = self.cells.get_mut(&(piece, block)) {
            let old = std::mem::replace(&mut cell.data, data);
            cell.before.get_or_insert(old);
            return Ok(());
        }
        let used = self.used + u64::from(data.len());
        if used > self.capacity {
            return Err(Full);
        }
        self.used = used;
        let before = Some(Data::new(vec![0; data.len() as usize]));
        self.cells.insert((piece, block), Cell { data, before });
        Ok(())
    }

    /// All blocks of a piece, pads as zeros; `None` if one is missing.
    pub fn piece(&self, layout: &Layout, piece: u32) -> Option<Vec<Rc<Data>>> {
        let block = |b| match self.cells.get(&(piece, b)) {
            Some(cell) => Some(cell.data.clone()),
            None if layout.is_pad_block(piece, b) => {
                Some(Data::new(vec![0; layout.block_len(piece, b) as usize]))
            }
            None => None,
        };
        (0..layout.blocks(piece)).map(block).collect()
    }

    /// Some bytes of a piece; `None` if they are not all there.
    pub fn read(&self, layout: &Layout, piece: u32, begin: u32, len: u32) -> Option<Rc<Data>> {
        let cell = self.cells.get(&(piece, begin / BLOCK));
        if let Some(cell) = cell
            && begin.is_multiple_of(BLOCK)
            && cell.data.len() == len
        {
            return Some(cell.data.clone());
        }
        let whole = self.piece(layout, piece)?;
        let bytes = whole.iter().flat_map(|d| d.bytes().iter().copied());
        let bytes: Vec<u8> = bytes.skip(begin as usize).take(len as usize).collect();
        (bytes.len() == len as usize).then(|| Data::new(bytes))
    }

    /// The piece may go into the record with the next sync.
    pub fn verified(&mut self, piece: u32) {
        self.verified.set(piece);
    }

    /// Everything written is durable, and then so is the record.
    pub fn sync(&mut self) {
        self.cells.values_mut().for_each(|c| c.before = None);
        self.recorded = self.verified.clone();
    }

    /// The durable record: what a restart believes.
    pub fn recorded(&self) -> &Bitfield {
        &self.recorded
    }

    /// The power goes. Each write that was not synced survives, is lost, or is torn by sectors.
    pub fn power_cut(&mut self, rng: &mut fastrand::Rng) {
        for cell in self.cells.values_mut() {
            let Some(before) = cell.before.take() else {
                continue;
            };
            match rng.u8(..3) {
                0 => {}
                1 => cell.data = before,
                _ => {
                    let mut torn = before.bytes().to_vec();
                    let new = cell.data.bytes().chunks(SECTOR);
                    for (old, new) in torn.chunks_mut(SECTOR).zip(new) {
                        if rng.bool() {
                            old.copy_from_slice(new);
                        }
                    }
                    cell.data = Data::new(torn);
                }
            }
        }
        self.verified = self.recorded.clone();
    }

    /// Whether anything is there of this piece.
    pub fn has_any(&self, piece: u32) -> bool {
        let range = (piece, 0)..=(piece, u32::MAX);
        self.cells.range(range).next().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(byte: u8) -> Rc<Data> {
        Data::new(vec![byte; BLOCK as usize])
    }

    #[test]
    fn what_was_synced_survives_and_the_rest_may_not() {
        let mut fates = std::collections::BTreeSet::new();
        for seed in 0..50 {
            let mut disk = Disk::new(2);
            disk.write(0, 0, block(1)).unwrap();
            disk.verified(0);
            disk.sync();
            disk.write(1, 0, block(2)).unwrap();
            disk.verified(1);
            disk.power_cut(&mut fastrand::Rng::with_seed(seed));
            assert_eq!(disk.recorded().iter().collect::<Vec<_>>(), [0]);
            assert_eq!(disk.cells[&(0, 0)].data.bytes(), block(1).bytes());
            let late = disk.cells[&(1, 0)].data.bytes();
            let new = late.iter().filter(|&&b| b == 2).count();
            fates.insert((new > 0, new < late.len()));
        }
        assert_eq!(fates.len(), 3, "lost, torn and whole all happen");
    }

    #[test]
    fn a_full_disk_refuses_new_blocks_and_takes_old_ones() {
        let mut disk = Disk::new(2);
        disk.capacity = u64::from(BLOCK);
        disk.write(0, 0, block(1)).unwrap();
        assert_eq!(disk.write(1, 0, block(1)), Err(Full));
        disk.write(0, 0, block(2)).unwrap();
        disk.capacity *= 2;
        disk.write(1, 0, block(1)).unwrap();
    }
}
