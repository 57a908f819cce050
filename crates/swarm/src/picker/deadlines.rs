//! Pieces somebody is about to read, and how they come in time.

use std::time::{Duration, Instant};

use torrent::layout::Layout;
use torrent::wire::BlockRef;

use super::{Asker, Block, Picker};

/// A piece that somebody reads within this time is urgent.
const URGENT: Duration = Duration::from_millis(1500);
/// Slow peers leave urgent pieces to quick ones for this long: their blocks would be the last.
const HEAD_START: Duration = Duration::from_millis(1000);
/// Blocks of an urgent piece that have not come after this long are asked of one more quick peer:
/// more than stands in a peer's queue, see the pipeline's horizon.
const ASK_AGAIN: Duration = Duration::from_millis(700);
/// Copies of one block asked for before its reader waits for it, and then.
const URGENT_COPIES: (u8, u8) = (2, 3);

impl Picker {
    /// Somebody will read this piece at `when`; of several readers the first counts.
    pub fn set_deadline(&mut self, now: Instant, piece: u32, when: Instant) {
        if !self.wants(piece) {
            return;
        }
        let since = match self.due.get(&piece) {
            Some(&(before, _)) if before <= when => return,
            Some(&(before, since)) => {
                self.deadlines.remove(&(before, piece));
                since
            }
            None => now,
        };
        self.deadlines.insert((when, piece));
        self.due.insert(piece, (when, since));
    }

    /// Nobody reads any more.
    pub fn clear_deadlines(&mut self) {
        self.deadlines.clear();
        self.due.clear();
    }

    pub(super) fn clear_deadline(&mut self, piece: u32) {
        if let Some((when, _)) = self.due.remove(&piece) {
            self.deadlines.remove(&(when, piece));
        }
    }

    pub(super) fn pick_deadlines(
        &mut self,
        now: Instant,
        layout: &Layout,
        asker: &Asker<'_>,
        picked: &mut Vec<BlockRef>,
    ) {
        let due: Vec<(Instant, u32)> = self
            .deadlines
            .iter()
            .copied()
            .filter(|&(_, p)| (asker.has)(p))
            .collect();
        for (when, piece) in due {
            if picked.len() >= asker.room {
                return;
            }
            let urgent = when.saturating_duration_since(now) < URGENT;
            let since = self.due.get(&piece).map_or(now, |&(_, since)| since);
            let urgent_since = when.checked_sub(URGENT).map_or(since, |at| at.max(since));
            if urgent && !asker.quick && now < urgent_since + HEAD_START {
                continue;
            }
            if self.is_fresh(piece) {
                self.begin(layout, piece, asker.conn);
            }
            let before = picked.len();
            self.take(layout, piece, asker, picked, |b| b == Block::Missing);
            let hurried = self.partials.get(&piece).and_then(|p| p.hurried);
            let late = hurried.is_none_or(|at| now >= at + ASK_AGAIN);
            if urgent && asker.quick && late && picked.len() == before {
                let (early, waiting) = URGENT_COPIES;
                let copies = if when <= now { waiting } else { early };
                self.take(
                    layout,
                    piece,
                    asker,
                    picked,
                    |b| matches!(b, Block::Requested(n) if n < copies),
                );
            }
            if picked.len() > before
                && let Some(partial) = self.partials.get_mut(&piece)
            {
                partial.hurried = Some(now);
            }
        }
    }
}
