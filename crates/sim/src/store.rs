//! The real store under a simulated node: its strands, files, batches and records, over its disk in
//! memory.

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use store::twin::{Command, Twin};
use store::{Bits, BlockRun, Done, PieceHash, Placement, READ_MAX, SlotPool, TorrentId};
use swarm::{Bitfield, PieceDigest};
use torrent::ids::Sha256Hash;
use torrent::layout::BLOCK;

use crate::content::{Content, Data};
use crate::disk::{Disk, Found};

/// Slots the store may hold on to between two blocks of a piece: the world counts its own.
const SLOTS: usize = 4096;
/// Where the album lies, and its record.
const ROOT: &str = "/music/album";
const RECORD: &str = "/records/album";

/// A torrent in the real store.
pub struct RealStore {
    content: Rc<Content>,
    id: TorrentId,
    /// Reading changes which files are open.
    twin: RefCell<Twin>,
    slots: SlotPool,
    capacity: u64,
    verified: Bitfield,
    recorded: Bitfield,
}

impl RealStore {
    /// Nothing is there.
    pub fn new(content: &Rc<Content>, seed: u64) -> RealStore {
        let pieces = content.layout().pieces();
        let mut store = RealStore {
            content: content.clone(),
            id: TorrentId(content.id.0),
            twin: RefCell::new(Twin::new(seed)),
            slots: SlotPool::new(SLOTS),
            capacity: u64::MAX,
            verified: Bitfield::new(pieces),
            recorded: Bitfield::new(pieces),
        };
        store.restart();
        store
    }

    fn apply(&self, command: Command) -> Vec<Done> {
        self.twin.borrow_mut().apply(command)
    }

    fn read_run(&self, piece: u32, begin: u32, len: u32) -> Option<Vec<u8>> {
        let (id, tag) = (self.id, 0);
        let run = BlockRun { piece, begin, len };
        let facts = self.apply(Command::Read { id, run, tag });
        facts.into_iter().find_map(|fact| match fact {
            Done::Read { data, .. } => Some(data.to_vec()),
            _ => None,
        })
    }
}

fn digest(hash: PieceHash) -> PieceDigest {
    PieceDigest {
        sha1: hash.sha1,
        root: hash.root,
        leaves: hash.leaves,
    }
}

impl Disk for RealStore {
    fn write(
        &mut self,
        piece: u32,
        block: u32,
        data: &Rc<Data>,
    ) -> Result<Option<PieceDigest>, String> {
        let slot = self.slots.try_take(data.bytes().len());
        let mut slot = slot.expect("the store gives slots back");
        slot.copy_from_slice(data.bytes());
        let (id, begin) = (self.id, block * BLOCK);
        let mut whole = None;
        for fact in self.apply(Command::Write {
            id,
            piece,
            begin,
            slot,
        }) {
            match fact {
                Done::PieceHashed {
                    sha1, root, leaves, ..
                } => whole = Some(digest(PieceHash { sha1, root, leaves })),
                Done::WriteFailed { error, .. } => {
                    self.abandon(piece);
                    return Err(error.to_string());
                }
                _ => {}
            }
        }
        Ok(whole)
    }

    fn abandon(&mut self, piece: u32) {
        self.apply(Command::Abandon { id: self.id, piece });
    }

    fn verified(&mut self, piece: u32) {
        self.apply(Command::Verified { id: self.id, piece });
        self.verified.set(piece);
    }

    fn blocks(&self, piece: u32) -> Option<Vec<Rc<Data>>> {
        let layout = self.content.layout();
        let block = |b| self.read(piece, b * BLOCK, layout.block_len(piece, b));
        (0..layout.blocks(piece)).map(block).collect()
    }

    fn read(&self, piece: u32, begin: u32, len: u32) -> Option<Rc<Data>> {
        debug_assert!(len as usize <= READ_MAX, "the wire allows 128 KiB");
        self.read_run(piece, begin, len).map(Data::new)
    }

    fn leaves(&self, piece: u32) -> Option<Vec<Sha256Hash>> {
        let (id, tag) = (self.id, 0);
        let v2 = self.content.layout().kind().has_v2();
        let facts = self.apply(match v2 {
            true => Command::Leaves { id, piece, tag },
            false => Command::BlockDigests { id, piece },
        });
        facts.into_iter().find_map(|fact| match fact {
            Done::Leaves { leaves, .. } => leaves.ok(),
            Done::BlockDigests { digests, .. } => digests.ok(),
            _ => None,
        })
    }

    fn check(&mut self, pieces: &[u32]) -> Vec<(u32, Option<PieceDigest>)> {
        let mut bits = Bits::new(self.content.layout().pieces() as usize);
        pieces.iter().for_each(|&piece| {
            bits.set(piece as usize);
        });
        let (id, mut found) = (self.id, Vec::new());
        for fact in self.apply(Command::Check { id, pieces: bits }) {
            if let Done::Checked { pieces, .. } = fact {
                found.extend(pieces.into_iter().map(|p| (p.piece, p.hash.map(digest))));
            }
        }
        found
    }

    fn rot(&mut self, piece: u32) {
        // A look at it takes it out of what is believed, whatever it finds.
        self.check(&[piece]);
        self.verified.clear(piece);
        self.recorded.clear(piece);
    }

    fn sync(&mut self) {
        let facts = self.apply(Command::Settle);
        let failed = facts
            .iter()
            .any(|fact| matches!(fact, Done::SettleFailed { .. }));
        if !failed {
            self.recorded = self.verified.clone();
        }
    }

    fn recorded(&self) -> &Bitfield {
        &self.recorded
    }

    fn stop(&mut self, power_cut: bool) {
        match power_cut {
            true => self.twin.borrow_mut().power_cut(),
            false => {
                self.apply(Command::Remove(self.id));
            }
        }
    }

    fn restart(&mut self) -> Found {
        let info: Arc<_> = self.content.info.clone();
        let mut placement = Placement::at(ROOT);
        let twin = self.twin.get_mut();
        let resume = twin.load_resume(Path::new(RECORD), &info, &placement);
        resume.apply(&mut placement);
        placement.record = Some(RECORD.into());
        // Whoever starts it again has seen to it that there is room, for the moment.
        twin.set_capacity(u64::MAX);
        let added = twin.add(self.id, info, placement);
        twin.set_capacity(self.capacity);
        added.expect("there is room, and nothing else can be wrong");
        let mut have = Bitfield::new(self.recorded.len());
        resume.have.iter().for_each(|piece| {
            have.set(piece as u32);
        });
        let kept = self.recorded.iter().all(|piece| have.get(piece));
        assert!(
            kept,
            "what was recorded is in the record: {:?}",
            resume.note
        );
        self.recorded = have.clone();
        self.verified = have.clone();
        Found {
            have,
            recheck: resume.recheck.iter().map(|piece| piece as u32).collect(),
        }
    }

    fn set_capacity(&mut self, bytes: u64) {
        self.capacity = bytes;
        self.twin.get_mut().set_capacity(bytes);
    }
}
