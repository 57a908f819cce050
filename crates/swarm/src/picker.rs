//! Which blocks to ask of whom.
//!
//! Order of preference for one peer: pieces somebody is about to read (deadlines); the pieces this
//! peer has begun; pieces nobody works on any more; the rarest new piece, ties broken at random
//! (or the first one, when pieces are to come in order); pieces others have begun; and when nothing else is left (*end game*), blocks already asked of
//! others. A piece stays with one peer as long as there is other work: its hash can then follow
//! the data, and a bad piece has one culprit.
//!
//! Knows nothing of connections beyond their ids: the torrent tells it what each peer has.

mod deadlines;
mod runs;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use torrent::layout::{BLOCK, Layout};
use torrent::wire::BlockRef;

use crate::{Bitfield, ConnId};
use deadlines::Due;
pub use runs::Runner;

/// Until this many pieces are here, new ones are taken at random: a newcomer needs something to
/// trade soon, and the rarest piece is on few, busy peers.
const RANDOM_FIRST: u32 = 4;
/// Copies of one block asked for in the end game; more only wastes bandwidth. The second is asked
/// of a quick peer, so that slow ones cannot hold up a block together.
const END_GAME_COPIES: u8 = 2;
/// Blocks taken from others' requests at once in the end game.
const END_GAME_BATCH: usize = 8;
/// Availability is told apart up to here; beyond it pieces are all "common".
const COMMON: u16 = 255;

/// State of one block of a piece in progress.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Block {
    Missing,
    /// Asked of this many peers.
    Requested(u8),
    Arrived(ConnId),
}

/// A piece in progress.
#[derive(Clone, Debug)]
struct Partial {
    blocks: Box<[Block]>,
    missing: u32,
    arrived: u32,
    /// The peer that works on it.
    owner: Option<ConnId>,
    /// Failed before with several contributors: only one peer may deliver it now.
    solo: bool,
    /// When missing blocks were last asked for because of its deadline.
    hurried: Option<Instant>,
}

impl Partial {
    fn whole(&self) -> bool {
        self.arrived as usize == self.blocks.len()
    }
}

/// What one peer could deliver, for [`Picker::pick`].
pub struct Asker<'a> {
    /// Who.
    pub conn: ConnId,
    /// Whether it has the piece (and will serve it).
    pub has: &'a dyn Fn(u32) -> bool,
    /// How many blocks to pick.
    pub room: usize,
    /// How many blocks are already asked of it: end game waits until it is nearly idle.
    pub outstanding: usize,
    /// Whether it is about as quick as the quickest: others' blocks are asked of such peers only.
    pub quick: bool,
    /// Only what somebody is about to read: the rest waits.
    pub rush: bool,
    /// Whether this block is among those: the end game asks others' blocks only.
    pub asked: &'a dyn Fn(BlockRef) -> bool,
}

/// What a block's arrival meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Arrival {
    /// It was needed.
    Fresh {
        /// All blocks of the piece are here now.
        whole: bool,
        /// Others were asked for it too: cancel those.
        elsewhere: bool,
    },
    /// It is here already, or its piece is.
    Duplicate,
}

/// The pieces of one torrent that are not here yet, and who is asked for what.
#[derive(Debug)]
pub struct Picker {
    priority: Box<[u8]>,
    availability: Box<[u16]>,
    have: Bitfield,
    /// Pieces whose hash is not known yet: not asked for.
    gated: Option<Bitfield>,
    /// Pieces nobody has begun, by (rank, shuffle, piece).
    fresh: BTreeSet<(u32, u32, u32)>,
    /// `fresh` must be rebuilt before use: cheaper than following a whole bitfield.
    stale: bool,
    partials: BTreeMap<u32, Partial>,
    /// Pieces somebody will read, the first to be read first.
    deadlines: BTreeSet<(Instant, u32)>,
    /// The same by piece.
    due: BTreeMap<u32, Due>,
    /// What was due before deadlines were last cleared.
    was_due: BTreeMap<u32, Due>,
    /// New pieces in order, not the rarest first.
    sequential: bool,
    /// Wanted pieces not yet verified.
    left: u32,
    max_partials: usize,
    seed: u64,
    rng: fastrand::Rng,
}

impl Picker {
    /// Everything is wanted alike; `have` is what is here.
    pub fn new(have: Bitfield, seed: u64) -> Picker {
        let pieces = have.len();
        Picker {
            priority: vec![4; pieces as usize].into(),
            availability: vec![0; pieces as usize].into(),
            left: pieces - have.count(),
            have,
            gated: None,
            fresh: BTreeSet::new(),
            stale: true,
            partials: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            due: BTreeMap::new(),
            was_due: BTreeMap::new(),
            sequential: false,
            max_partials: 16,
            seed,
            rng: fastrand::Rng::with_seed(seed),
        }
    }

    /// The verified pieces.
    pub fn have(&self) -> &Bitfield {
        &self.have
    }

    /// True once every wanted piece is verified.
    pub fn is_finished(&self) -> bool {
        self.left == 0
    }

    /// How many peers have this piece, those that have everything not counted.
    pub fn copies(&self, piece: u32) -> u16 {
        self.availability[piece as usize]
    }

    /// Whether this piece is wanted and not verified.
    pub fn wants(&self, piece: u32) -> bool {
        self.priority[piece as usize] > 0 && !self.have.get(piece)
    }

    /// How many pieces others may have begun before a peer is sent to help there rather than to
    /// begin another.
    pub fn set_max_partials(&mut self, max: usize) {
        self.max_partials = max;
    }

    /// Pieces whose hashes must be fetched first (v2): not asked for until [`Picker::open`].
    pub fn gate(&mut self, closed: Bitfield) {
        self.gated = (closed.count() > 0).then_some(closed);
        self.stale = true;
    }

    /// The hash of this piece is known now.
    pub fn open(&mut self, piece: u32) {
        if let Some(gated) = &mut self.gated
            && gated.clear(piece)
        {
            if gated.count() == 0 {
                self.gated = None;
            }
            self.stale = true;
        }
    }

    /// New priority of a piece, 0 (not wanted) to 7.
    pub fn set_priority(&mut self, piece: u32, priority: u8) {
        let old = std::mem::replace(&mut self.priority[piece as usize], priority.min(7));
        if !self.have.get(piece) {
            self.left += u32::from(priority > 0);
            self.left -= u32::from(old > 0);
        }
        self.stale |= old != priority;
    }

    /// Whether new pieces are begun in order, or the rarest first.
    pub fn set_sequential(&mut self, sequential: bool) {
        self.stale |= self.sequential != sequential;
        self.sequential = sequential;
    }

    /// One more peer has this piece. Peers that have everything need not be counted: they make
    /// no piece rarer than another.
    pub fn peer_has(&mut self, piece: u32) {
        let before = self.rank(piece);
        let count = &mut self.availability[piece as usize];
        *count = count.saturating_add(1);
        self.reorder(piece, before);
    }

    /// One peer fewer has this piece.
    pub fn peer_lost(&mut self, piece: u32) {
        let before = self.rank(piece);
        let count = &mut self.availability[piece as usize];
        *count = count.saturating_sub(1);
        self.reorder(piece, before);
    }

    /// A peer with these pieces came (`true`) or went.
    pub fn peer_bits(&mut self, bits: &Bitfield, came: bool) {
        for piece in bits.iter() {
            let count = &mut self.availability[piece as usize];
            *count = if came {
                count.saturating_add(1)
            } else {
                count.saturating_sub(1)
            };
        }
        self.stale |= bits.count() > 0;
    }

    fn rank(&self, piece: u32) -> u32 {
        let urgency = 7 - u32::from(self.priority[piece as usize]);
        let rarity = match self.sequential {
            true => 0,
            false => self.availability[piece as usize].min(COMMON),
        };
        urgency << 16 | u32::from(rarity)
    }

    fn key(&self, piece: u32, rank: u32) -> (u32, u32, u32) {
        if self.sequential {
            return (rank, 0, piece);
        }
        // A fixed shuffle of pieces, different for each session: ties are broken at random, and
        // an order once made stays valid.
        let mix = (u64::from(piece) ^ self.seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (rank, (mix >> 32) as u32, piece)
    }

    fn reorder(&mut self, piece: u32, before: u32) {
        let after = self.rank(piece);
        if !self.stale && before != after && self.fresh.remove(&self.key(piece, before)) {
            self.fresh.insert(self.key(piece, after));
        }
    }

    fn is_fresh(&self, piece: u32) -> bool {
        self.wants(piece)
            && !self.partials.contains_key(&piece)
            && !self.gated.as_ref().is_some_and(|g| g.get(piece))
    }

    fn refresh(&mut self) {
        if self.stale {
            let pieces = 0..self.have.len();
            self.fresh = pieces
                .filter(|&p| self.is_fresh(p))
                .map(|p| self.key(p, self.rank(p)))
                .collect();
            self.stale = false;
        }
    }

    /// Picks up to `asker.room` blocks and notes them as asked of that peer.
    pub fn pick(&mut self, now: Instant, layout: &Layout, asker: &Asker<'_>) -> Vec<BlockRef> {
        let mut picked = Vec::with_capacity(asker.room.min(64));
        if asker.room == 0 || self.left == 0 {
            return picked;
        }
        self.refresh();
        self.pick_deadlines(now, layout, asker, &mut picked);
        if asker.rush {
            return picked;
        }
        self.pick_partials(layout, asker, &mut picked, |p, conn| p.owner == Some(conn));
        self.pick_partials(layout, asker, &mut picked, |p, _| p.owner.is_none());
        let crowded = self.partials.len() >= self.max_partials;
        if crowded {
            self.pick_partials(layout, asker, &mut picked, |p, _| !p.solo);
        }
        self.pick_fresh(layout, asker, &mut picked);
        if !crowded {
            self.pick_partials(layout, asker, &mut picked, |p, _| !p.solo);
        }
        let helpful = asker.quick && asker.outstanding < END_GAME_BATCH;
        if picked.is_empty() && helpful && self.is_end_game() {
            self.pick_end_game(layout, asker, &mut picked);
        }
        picked
    }

    fn pick_partials(
        &mut self,
        layout: &Layout,
        asker: &Asker<'_>,
        picked: &mut Vec<BlockRef>,
        fits: impl Fn(&Partial, ConnId) -> bool,
    ) {
        if picked.len() >= asker.room {
            return;
        }
        let pieces: Vec<u32> = self
            .partials
            .iter()
            .filter(|&(&piece, p)| p.missing > 0 && fits(p, asker.conn) && (asker.has)(piece))
            .map(|(&piece, _)| piece)
            .collect();
        for piece in pieces {
            if picked.len() >= asker.room {
                return;
            }
            self.take(layout, piece, asker, picked, |b| b == Block::Missing);
        }
    }

    fn pick_fresh(&mut self, layout: &Layout, asker: &Asker<'_>, picked: &mut Vec<BlockRef>) {
        while picked.len() < asker.room {
            let begun = self.have.count() + self.partials.len() as u32;
            let piece = if begun < RANDOM_FIRST && !self.sequential {
                self.random_fresh(asker)
            } else {
                self.fresh
                    .iter()
                    .map(|&(_, _, p)| p)
                    .find(|&p| (asker.has)(p))
            };
            let Some(piece) = piece else { return };
            self.begin(layout, piece, asker.conn);
            self.take(layout, piece, asker, picked, |b| b == Block::Missing);
        }
    }

    fn random_fresh(&mut self, asker: &Asker<'_>) -> Option<u32> {
        let top = self.fresh.first()?.0 >> 16;
        let candidates: Vec<u32> = self
            .fresh
            .iter()
            .take_while(|&&(rank, ..)| rank >> 16 == top)
            .map(|&(_, _, p)| p)
            .filter(|&p| (asker.has)(p))
            .take(1024)
            .collect();
        match candidates.len() {
            0 => self
                .fresh
                .iter()
                .map(|&(_, _, p)| p)
                .find(|&p| (asker.has)(p)),
            n => Some(candidates[self.rng.usize(..n)]),
        }
    }

    /// Every block still wanted is asked of somebody: what this peer could add elsewhere is not the
    /// question.
    fn is_end_game(&self) -> bool {
        self.left as usize <= self.partials.len() && self.partials.values().all(|p| p.missing == 0)
    }

    fn pick_end_game(&mut self, layout: &Layout, asker: &Asker<'_>, picked: &mut Vec<BlockRef>) {
        let pieces: Vec<u32> = self
            .partials
            .iter()
            .filter(|&(&piece, p)| !p.whole() && !p.solo && (asker.has)(piece))
            .map(|(&piece, _)| piece)
            .collect();
        let room = asker.room.min(END_GAME_BATCH);
        for piece in pieces {
            if picked.len() >= room {
                return;
            }
            let asker = Asker { room, ..*asker };
            self.take(
                layout,
                piece,
                &asker,
                picked,
                |b| matches!(b, Block::Requested(n) if n < END_GAME_COPIES),
            );
        }
    }

    fn begin(&mut self, layout: &Layout, piece: u32, owner: ConnId) {
        let count = layout.blocks(piece);
        let all_pad = (0..count).all(|b| layout.is_pad_block(piece, b));
        let blocks: Box<[Block]> = (0..count)
            .map(|b| match layout.is_pad_block(piece, b) && !all_pad {
                true => Block::Arrived(ConnId(u64::MAX)),
                false => Block::Missing,
            })
            .collect();
        let missing = blocks.iter().filter(|&&b| b == Block::Missing).count() as u32;
        let arrived = count - missing;
        let partial = Partial {
            blocks,
            missing,
            arrived,
            owner: Some(owner),
            solo: false,
            hurried: None,
        };
        self.partials.insert(piece, partial);
        self.fresh.remove(&self.key(piece, self.rank(piece)));
    }

    fn take(
        &mut self,
        layout: &Layout,
        piece: u32,
        asker: &Asker<'_>,
        picked: &mut Vec<BlockRef>,
        fits: impl Fn(Block) -> bool,
    ) {
        let Some(partial) = self.partials.get_mut(&piece) else {
            return;
        };
        if partial.solo && partial.owner.is_some_and(|o| o != asker.conn) {
            return;
        }
        partial.owner.get_or_insert(asker.conn);
        for (b, block) in partial.blocks.iter_mut().enumerate() {
            if picked.len() >= asker.room {
                return;
            }
            let b = b as u32;
            let wire = BlockRef {
                piece,
                begin: b * BLOCK,
                len: layout.block_len(piece, b),
            };
            if !fits(*block) || *block != Block::Missing && (asker.asked)(wire) {
                continue;
            }
            *block = match *block {
                Block::Missing => {
                    partial.missing -= 1;
                    Block::Requested(1)
                }
                Block::Requested(n) => Block::Requested(n + 1),
                Block::Arrived(_) => continue,
            };
            picked.push(wire);
        }
    }

    /// A request to this peer is over without the block: it choked us, refused, stalled or left.
    pub fn released(&mut self, conn: ConnId, block: BlockRef) {
        let Some(partial) = self.partials.get_mut(&block.piece) else {
            return;
        };
        let slot = &mut partial.blocks[(block.begin / BLOCK) as usize];
        if let Block::Requested(n) = *slot {
            *slot = if n > 1 {
                Block::Requested(n - 1)
            } else {
                Block::Missing
            };
            partial.missing += u32::from(n == 1);
            if partial.owner == Some(conn) {
                partial.owner = None;
            }
        }
        if partial.arrived == 0 && partial.missing as usize == partial.blocks.len() && !partial.solo
        {
            self.partials.remove(&block.piece);
            if self.is_fresh(block.piece) && !self.stale {
                self.fresh
                    .insert(self.key(block.piece, self.rank(block.piece)));
            }
        }
    }

    /// This peer has nothing more to do with its pieces (it left or choked us).
    pub fn disown(&mut self, conn: ConnId) {
        for partial in self.partials.values_mut().filter(|p| p.owner == Some(conn)) {
            partial.owner = None;
        }
    }

    /// Whether a block that is about to arrive is still needed.
    pub fn needs(&self, block: BlockRef) -> bool {
        self.partials.get(&block.piece).is_some_and(|p| {
            p.blocks
                .get((block.begin / BLOCK) as usize)
                .is_some_and(|b| !matches!(b, Block::Arrived(_)))
        })
    }

    /// A block has arrived from `conn`.
    pub fn arrived(&mut self, conn: ConnId, block: BlockRef) -> Arrival {
        let Some(partial) = self.partials.get_mut(&block.piece) else {
            return Arrival::Duplicate;
        };
        let slot = &mut partial.blocks[(block.begin / BLOCK) as usize];
        let elsewhere = match *slot {
            Block::Arrived(_) => return Arrival::Duplicate,
            Block::Requested(n) => n > 1,
            Block::Missing => {
                partial.missing -= 1;
                false
            }
        };
        *slot = Block::Arrived(conn);
        partial.arrived += 1;
        Arrival::Fresh {
            whole: partial.whole(),
            elsewhere,
        }
    }

    /// Who delivered each block of a piece in progress, in order; pads are skipped.
    pub fn contributors(&self, piece: u32) -> Vec<(u32, ConnId)> {
        let blocks = self.partials.get(&piece).map_or(&[][..], |p| &p.blocks);
        let from = |(b, block): (usize, &Block)| match *block {
            Block::Arrived(conn) if conn.0 != u64::MAX => Some((b as u32, conn)),
            _ => None,
        };
        blocks.iter().enumerate().filter_map(from).collect()
    }

    /// The piece is right and on disk. Returns whether that was news.
    pub fn verified(&mut self, piece: u32) -> bool {
        if self.have.get(piece) {
            return false;
        }
        if self.wants(piece) {
            self.left -= 1;
        }
        self.fresh.remove(&self.key(piece, self.rank(piece)));
        self.have.set(piece);
        self.partials.remove(&piece);
        self.clear_deadline(piece);
        true
    }

    /// The piece was wrong or could not be written: every block is missing again. With `solo`,
    /// one peer alone is to deliver it next.
    pub fn failed(&mut self, layout: &Layout, piece: u32, solo: bool) {
        if self.partials.remove(&piece).is_none() {
            return;
        }
        if solo && self.wants(piece) {
            self.begin(layout, piece, ConnId(u64::MAX));
            let partial = self
                .partials
                .get_mut(&piece)
                .expect("begun in the line above");
            partial.owner = None;
            partial.solo = true;
        } else if self.is_fresh(piece) && !self.stale {
            self.fresh.insert(self.key(piece, self.rank(piece)));
        }
    }

    /// A piece we had is gone from the disk.
    pub fn lost(&mut self, piece: u32) {
        if self.have.clear(piece) {
            self.left += u32::from(self.priority[piece as usize] > 0);
            self.stale = true;
        }
    }

    /// Pieces in progress.
    pub fn partials(&self) -> usize {
        self.partials.len()
    }
}

#[cfg(test)]
mod tests;
