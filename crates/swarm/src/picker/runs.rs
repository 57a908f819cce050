//! Long runs of blocks, for servers: one request is to be worth its while.
//!
//! The order of preference is that for peers, but around what comes first its neighbours are taken along: from the
//! piece that somebody reads next onwards, or the stretch of new pieces that the rarest lies in. Stretches begin at
//! multiples of their length, so that they fit together.

use torrent::layout::Layout;
use torrent::wire::BlockRef;

use super::{Asker, Block, END_GAME_COPIES, Partial, Picker};
use crate::ConnId;

/// Blocks of a piece that is longer than a run taken at once: 4 MiB.
const MOST_OF_PIECE: usize = 256;
/// Blocks taken from others' requests at once in the end game.
const END_GAME_RUN: usize = 32;

/// Who wants a run of blocks, for [`Picker::pick_run`].
pub struct Runner<'a> {
    /// Who.
    pub conn: ConnId,
    /// Whether it has the piece.
    pub has: &'a dyn Fn(u32) -> bool,
    /// How many blocks to pick; the last piece is picked whole.
    pub room: usize,
    /// Only what somebody is about to read: the rest waits.
    pub rush: bool,
    /// It has nothing to do: in the end game it may help others.
    pub idle: bool,
}

impl Picker {
    /// Picks a run of blocks, in order, and notes them as asked of that server.
    pub fn pick_run(&mut self, layout: &Layout, runner: &Runner<'_>) -> Vec<BlockRef> {
        let mut picked = Vec::new();
        if runner.room == 0 || self.left == 0 {
            return picked;
        }
        self.refresh();
        let due = self.deadlines.iter().map(|&(_, piece)| piece);
        if let Some(first) = due.into_iter().find(|&piece| self.takes(runner, piece)) {
            self.run_from(layout, runner, first, &mut picked);
            return picked;
        }
        if runner.rush {
            return picked;
        }
        let begun = |fits: &dyn Fn(&Partial) -> bool| {
            let mut partials = self.partials.iter();
            let fit = partials.find(|&(&piece, p)| fits(p) && self.takes(runner, piece));
            fit.map(|(&piece, _)| piece)
        };
        let left = begun(&|p| p.owner.is_none());
        let first = left.or_else(|| self.stretch(layout, runner));
        let first = first.or_else(|| begun(&|_| true));
        if let Some(first) = first {
            self.run_from(layout, runner, first, &mut picked);
        } else if runner.idle && self.is_end_game() {
            self.run_of_others(layout, runner, &mut picked);
        }
        picked
    }

    /// Whether there is something in this piece that could be asked of a server.
    fn takes(&self, runner: &Runner<'_>, piece: u32) -> bool {
        if !(runner.has)(piece) {
            return false;
        }
        match self.partials.get(&piece) {
            Some(p) => p.missing > 0 && (!p.solo || p.owner.is_none_or(|o| o == runner.conn)),
            None => self.is_fresh(piece),
        }
    }

    /// Where to begin among new pieces.
    fn stretch(&self, layout: &Layout, runner: &Runner<'_>) -> Option<u32> {
        let mut ranked = self.fresh.iter().map(|&(_, _, piece)| piece);
        let mut first = ranked.find(|&piece| (runner.has)(piece))?;
        if self.sequential {
            return Some(first);
        }
        let blocks = layout.blocks(first).max(1) as usize;
        let span = (runner.room / blocks).max(1) as u32;
        let urgency = self.priority[first as usize];
        let joins = |piece: u32| {
            self.is_fresh(piece) && (runner.has)(piece) && self.priority[piece as usize] == urgency
        };
        while !first.is_multiple_of(span) && joins(first - 1) {
            first -= 1;
        }
        Some(first)
    }

    /// Picks from this piece on, until there is enough or something that is not to be picked.
    fn run_from(
        &mut self,
        layout: &Layout,
        runner: &Runner<'_>,
        first: u32,
        picked: &mut Vec<BlockRef>,
    ) {
        for piece in first..layout.pieces() {
            if picked.len() >= runner.room || !self.takes(runner, piece) {
                return;
            }
            if self.is_fresh(piece) {
                self.begin(layout, piece, runner.conn);
            }
            let room = picked.len() + runner.room.max(MOST_OF_PIECE);
            self.take(layout, piece, &asker(runner, room), picked, |b| {
                b == Block::Missing
            });
        }
    }

    fn run_of_others(&mut self, layout: &Layout, runner: &Runner<'_>, picked: &mut Vec<BlockRef>) {
        let open = |p: &Partial| !p.whole() && !p.solo;
        let pieces = self.partials.iter().filter(|&(_, p)| open(p));
        let pieces: Vec<u32> = pieces.map(|(&piece, _)| piece).collect();
        let asker = asker(runner, END_GAME_RUN);
        for piece in pieces.into_iter().filter(|&p| (runner.has)(p)) {
            self.take(
                layout,
                piece,
                &asker,
                picked,
                |b| matches!(b, Block::Requested(n) if n < END_GAME_COPIES),
            );
        }
    }
}

fn asker<'a>(runner: &'a Runner<'_>, room: usize) -> Asker<'a> {
    Asker {
        conn: runner.conn,
        has: runner.has,
        room,
        outstanding: 0,
        quick: true,
        rush: runner.rush,
        asked: &|_| false,
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::Bitfield;
    use torrent::layout::{BLOCK, FileLen, Kind};

    const WEB: ConnId = ConnId(9);

    /// Pieces of four blocks.
    fn layout(pieces: u64) -> Layout {
        let len = pieces * 4 * u64::from(BLOCK);
        Layout::new(Kind::V1, 4 * BLOCK, [FileLen { len, pad: false }]).unwrap()
    }

    fn run(picker: &mut Picker, layout: &Layout, room: usize) -> Vec<u32> {
        let runner = Runner {
            conn: WEB,
            has: &|_| true,
            room,
            rush: false,
            idle: true,
        };
        let blocks = picker.pick_run(layout, &runner);
        let mut pieces: Vec<u32> = blocks.iter().map(|b| b.piece).collect();
        pieces.dedup();
        pieces
    }

    #[test]
    fn runs_are_whole_pieces_side_by_side_and_fit_together() {
        let layout = layout(64);
        let mut picker = Picker::new(Bitfield::new(64), 7);
        let mut seen = Vec::new();
        for _ in 0..8 {
            let pieces = run(&mut picker, &layout, 32);
            assert_eq!(pieces.len(), 8);
            assert!(pieces[0].is_multiple_of(8));
            assert!(pieces.windows(2).all(|w| w[1] == w[0] + 1));
            seen.extend(pieces);
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..64).collect::<Vec<_>>());
        assert!(run(&mut picker, &layout, 32).len() <= 8, "others' blocks");
    }

    #[test]
    fn a_run_has_the_rarest_piece_in_it_and_leaves_out_what_is_here() {
        let layout = layout(64);
        let mut have = Bitfield::new(64);
        have.set(42);
        let mut picker = Picker::new(have, 7);
        for piece in (0..64).filter(|&p| p != 45) {
            picker.peer_has(piece);
        }
        assert_eq!(
            run(&mut picker, &layout, 32),
            [43, 44, 45, 46, 47, 48, 49, 50]
        );
    }

    #[test]
    fn what_somebody_reads_comes_first_and_onwards() {
        let layout = layout(64);
        let mut picker = Picker::new(Bitfield::new(64), 7);
        let now = Instant::now();
        picker.set_deadline(now, 21, now + Duration::from_secs(9));
        picker.set_deadline(now, 13, now + Duration::from_secs(10));
        assert_eq!(run(&mut picker, &layout, 8), [21, 22]);
        assert_eq!(run(&mut picker, &layout, 8), [13, 14]);
    }

    #[test]
    fn in_order_means_in_order() {
        let layout = layout(64);
        let mut picker = Picker::new(Bitfield::new(64), 7);
        picker.set_sequential(true);
        assert_eq!(run(&mut picker, &layout, 10), [0, 1, 2]);
        assert_eq!(run(&mut picker, &layout, 8), [3, 4]);
    }

    #[test]
    fn what_was_given_up_is_taken_first() {
        let layout = layout(64);
        let mut picker = Picker::new(Bitfield::new(64), 7);
        let pieces = run(&mut picker, &layout, 4);
        let block = |b: u32| BlockRef {
            piece: pieces[0],
            begin: b * BLOCK,
            len: BLOCK,
        };
        picker.arrived(WEB, block(0));
        (1..4).for_each(|b| picker.released(WEB, block(b)));
        let runner = Runner {
            conn: ConnId(10),
            has: &|_| true,
            room: 3,
            rush: false,
            idle: true,
        };
        assert_eq!(
            picker.pick_run(&layout, &runner),
            [block(1), block(2), block(3)]
        );
    }
}
