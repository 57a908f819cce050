//! The store's twin for simulations: the same strands, files, batches and records, run at once and in the caller's
//! thread over a disk in memory. It tears writes at a power cut, fills up, and fails to read when told to.
//!
//! Same seed and same commands: same facts and the same bytes afterwards.

mod memory;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use torrent::{layout::BLOCK, metainfo::Info};

use crate::{
    bits::Bits,
    done::{BlockRun, Done},
    error::StoreError,
    files::{DEFAULT_OPEN_FILES, Files},
    home::{Home, Placement, TorrentId},
    readbuf::ReadBuf,
    reading, resume,
    resume::Resume,
    settle,
    slot::Slot,
    store::{check_place, check_run},
    strand::Strand,
    sweep::{Stored, Sweeper},
};
use memory::MemoryDisk;

/// What [`Store`](crate::Store)'s methods say, as values.
#[derive(Debug)]
#[non_exhaustive]
pub enum Command {
    /// [`Store::remove`](crate::Store::remove)
    Remove(TorrentId),
    /// [`Store::select`](crate::Store::select)
    Select(TorrentId, Bits),
    /// [`Store::write`](crate::Store::write)
    Write {
        /// Which torrent.
        id: TorrentId,
        /// Which piece.
        piece: u32,
        /// Where in it.
        begin: u32,
        /// All of the block.
        slot: Slot,
    },
    /// [`Store::adopt`](crate::Store::adopt)
    Adopt {
        /// Which torrent.
        id: TorrentId,
        /// Which piece.
        piece: u32,
        /// Which of its blocks.
        blocks: Vec<u32>,
    },
    /// [`Store::abandon`](crate::Store::abandon)
    Abandon {
        /// Which torrent.
        id: TorrentId,
        /// Which piece.
        piece: u32,
    },
    /// [`Store::verified`](crate::Store::verified)
    Verified {
        /// Which torrent.
        id: TorrentId,
        /// Which piece.
        piece: u32,
    },
    /// [`Store::read`](crate::Store::read)
    Read {
        /// Which torrent.
        id: TorrentId,
        /// What of it.
        run: BlockRun,
        /// The caller's own mark.
        tag: u64,
    },
    /// [`Store::check`](crate::Store::check)
    Check {
        /// Which torrent.
        id: TorrentId,
        /// Which pieces.
        pieces: Bits,
    },
    /// [`Store::block_digests`](crate::Store::block_digests)
    BlockDigests {
        /// Which torrent.
        id: TorrentId,
        /// Which piece.
        piece: u32,
    },
    /// [`Store::leaves`](crate::Store::leaves)
    Leaves {
        /// Which torrent.
        id: TorrentId,
        /// Which piece.
        piece: u32,
        /// The caller's own mark.
        tag: u64,
    },
    /// [`Store::flush`](crate::Store::flush)
    Flush(TorrentId),
    /// The batch that the store makes by itself every 64 MiB or 5 s: the simulation says when.
    Settle,
}

/// A piece in progress.
enum Seat {
    Going(Box<Strand>),
    /// Told as `PieceHashed`; waits for the verdict.
    Hashed,
}

/// A store in memory.
pub struct Twin {
    files: Files<MemoryDisk>,
    homes: BTreeMap<TorrentId, Arc<Home>>,
    seats: BTreeMap<(TorrentId, u32), Seat>,
    /// Whether a strand may keep slots is random: both ways must lead to the same.
    random: fastrand::Rng,
}

impl Twin {
    /// An empty disk without limit.
    pub fn new(seed: u64) -> Twin {
        Twin {
            files: Files::new(MemoryDisk::new(seed), DEFAULT_OPEN_FILES),
            homes: BTreeMap::new(),
            seats: BTreeMap::new(),
            random: fastrand::Rng::with_seed(seed ^ 0x7477_696e),
        }
    }

    /// [`Store::add`](crate::Store::add).
    ///
    /// # Errors
    /// As there.
    ///
    /// # Panics
    /// As there.
    pub fn add(
        &mut self,
        id: TorrentId,
        info: impl Into<Arc<Info>>,
        placement: Placement,
    ) -> Result<(), StoreError> {
        let mut home = Home::new(id, info.into(), placement);
        check_place(&self.files, &mut home)?;
        let before = self.homes.insert(id, Arc::new(home));
        assert!(before.is_none(), "{id} is in the store already");
        Ok(())
    }

    /// [`resume::load`] from this disk.
    pub fn load_resume(&self, path: &Path, info: &Info, placement: &Placement) -> Resume {
        resume::load_from(&self.files.disk, path, info, placement)
    }

    /// Does at once what a store would do soon, and tells it. Commands for a torrent that is not here do nothing.
    ///
    /// # Panics
    /// Where the [`Store`](crate::Store)'s methods do.
    pub fn apply(&mut self, command: Command) -> Vec<Done> {
        let id = match &command {
            Command::Remove(id) | Command::Select(id, _) | Command::Flush(id) => *id,
            Command::Write { id, .. }
            | Command::Adopt { id, .. }
            | Command::Abandon { id, .. }
            | Command::Verified { id, .. }
            | Command::Read { id, .. }
            | Command::Check { id, .. }
            | Command::BlockDigests { id, .. }
            | Command::Leaves { id, .. } => *id,
            Command::Settle => return self.settle_all(),
        };
        let Some(home) = self.homes.get(&id).cloned() else {
            return Vec::new();
        };
        let files = &self.files;
        match command {
            Command::Settle => Vec::new(),
            Command::Remove(_) => {
                self.homes.remove(&id);
                self.seats.retain(|key, _| key.0 != id);
                files.close(id);
                Vec::new()
            }
            Command::Select(_, wanted) => {
                home.select(&wanted);
                self.flush(&home)
            }
            Command::Write {
                piece, begin, slot, ..
            } => self.write(&home, piece, begin, slot),
            Command::Adopt { piece, blocks, .. } => {
                if let Some(strand) = self.strand(&home, piece) {
                    strand.adopt(blocks);
                }
                self.turn(&home, piece, Vec::new())
            }
            Command::Abandon { piece, .. } => {
                self.seats.remove(&(id, piece));
                Vec::new()
            }
            Command::Verified { piece, .. } => {
                self.seats.remove(&(id, piece));
                home.verify(piece);
                Vec::new()
            }
            Command::Read { run, tag, .. } => {
                check_run(&home, run);
                let mut data = ReadBuf::detached(run.len as usize);
                let read = reading::read(files, &home, run.piece, run.begin, data.bytes_mut());
                vec![match read {
                    Ok(()) => Done::Read { id, tag, data },
                    Err(error) => Done::ReadFailed { id, tag, error },
                }]
            }
            Command::Check { pieces, .. } => self.check(&home, &pieces),
            Command::BlockDigests { piece, .. } => {
                let digests = reading::block_digests(files, &home, piece);
                vec![Done::BlockDigests { id, piece, digests }]
            }
            Command::Leaves { piece, tag, .. } => {
                let leaves = reading::block_digests(files, &home, piece);
                vec![Done::Leaves {
                    id,
                    piece,
                    tag,
                    leaves,
                }]
            }
            Command::Flush(_) => self.flush(&home),
        }
    }

    /// The strand of a piece; none while it waits for its verdict, or has it.
    fn strand(&mut self, home: &Arc<Home>, piece: u32) -> Option<&mut Strand> {
        if home.facts().verified.has(piece as usize) {
            return None;
        }
        let fresh = || Seat::Going(Box::new(Strand::new(home, piece)));
        match self.seats.entry((home.id, piece)).or_insert_with(fresh) {
            Seat::Going(strand) => Some(strand),
            Seat::Hashed => None,
        }
    }

    fn write(&mut self, home: &Arc<Home>, piece: u32, begin: u32, slot: Slot) -> Vec<Done> {
        let (layout, block) = (home.layout(), begin / BLOCK);
        assert!(
            piece < layout.pieces()
                && begin.is_multiple_of(BLOCK)
                && block < layout.blocks(piece)
                && slot.len() == layout.block_len(piece, block) as usize,
            "{} has no block of {} bytes at {begin} of piece {piece}",
            home.id,
            slot.len(),
        );
        self.turn(home, piece, vec![(block, slot)])
    }

    fn turn(&mut self, home: &Arc<Home>, piece: u32, arrived: Vec<(u32, Slot)>) -> Vec<Done> {
        let lean = self.random.bool();
        if self.strand(home, piece).is_none() {
            return Vec::new();
        }
        let Some(seat) = self.seats.get_mut(&(home.id, piece)) else {
            return Vec::new();
        };
        let Seat::Going(strand) = seat else {
            return Vec::new();
        };
        let turn = strand.turn(&self.files, home, arrived, lean);
        if turn.hashed.is_some() {
            *seat = Seat::Hashed;
        }
        turn.facts(home, piece).collect()
    }

    fn check(&mut self, home: &Home, pieces: &Bits) -> Vec<Done> {
        let mut sweeper = Sweeper::default();
        let (mut facts, mut trouble) = (Vec::new(), None);
        for piece in pieces.iter().map(|piece| piece as u32) {
            home.doubt(piece);
            let content = &mut Stored {
                files: &self.files,
                home,
            };
            let (pieces, error) = sweeper.sweep(content, piece..piece + 1);
            trouble = trouble.or(error);
            facts.push(Done::Checked {
                id: home.id,
                pieces,
            });
        }
        facts.push(Done::CheckFinished {
            id: home.id,
            trouble,
        });
        facts
    }

    fn flush(&self, home: &Home) -> Vec<Done> {
        let mut facts = Vec::new();
        let ok = settle::settle(&self.files, home, true, &mut |done| facts.push(done));
        facts.push(Done::Flushed { id: home.id, ok });
        facts
    }

    fn settle_all(&self) -> Vec<Done> {
        let mut facts = Vec::new();
        for home in self.homes.values().filter(|home| home.is_unsettled()) {
            settle::settle(&self.files, home, false, &mut |done| facts.push(done));
        }
        facts
    }

    /// The power fails: all torrents are gone from the store, and of what was not synced each 512-byte sector and
    /// each new name survives or not, at random. [`load_resume`](Self::load_resume) and [`add`](Self::add) start again.
    pub fn power_cut(&mut self) {
        for id in std::mem::take(&mut self.homes).into_keys() {
            self.files.close(id);
        }
        self.seats.clear();
        self.files.disk.power_cut();
    }

    /// The disk has room for so many bytes in all, in pages of 4 KiB. What is there already stays.
    pub fn set_capacity(&mut self, bytes: u64) {
        self.files.disk.set_capacity(bytes);
    }

    /// From now on reads of files whose path contains `part` fail; `None` heals the disk.
    pub fn fail_reads(&mut self, part: Option<&str>) {
        self.files.disk.fail_reads(part.map(str::to_owned));
    }

    /// The bytes of a file as a program would see them now, for checkers.
    pub fn peek(&self, path: &Path) -> Option<Vec<u8>> {
        self.files.disk.peek(path)
    }

    /// The files there are, in order.
    pub fn list(&self) -> Vec<PathBuf> {
        self.files.disk.list()
    }

    /// Replaces a file behind the store's back.
    pub fn tamper(&mut self, path: &Path, bytes: &[u8]) {
        self.files.disk.tamper(path, bytes);
    }
}
