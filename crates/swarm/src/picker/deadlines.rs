//! Pieces somebody is about to read, and how they come in time.

use std::time::{Duration, Instant};

use torrent::layout::Layout;
use torrent::wire::BlockRef;

use super::{Asker, Block, Picker};

/// A piece that somebody reads within this time is urgent.
const URGENT: Duration = Duration::from_millis(1500);
/// ...and one that somebody reads within this time is not begun by a slow peer: four blocks at
/// 30 kB/s take 2 s, and the last one counts.
const SOON: Duration = Duration::from_secs(10);
/// Slow peers leave urgent pieces to quick ones for this long...
const HEAD_START: Duration = Duration::from_secs(1);
/// ...and those that are read soon.
const HEAD_START_SOON: Duration = Duration::from_secs(3);
/// Blocks of an urgent piece that have not come after this long are asked of one more quick peer:
/// more than stands in a peer's queue, see the pipeline's horizon.
const ASK_AGAIN: Duration = Duration::from_millis(700);
/// An urgent piece holds up everything else for this long at most: what does not come by then may
/// never come.
const RUSH: Duration = Duration::from_secs(5);
/// Copies of one block asked for at most before its reader waits for it, and then.
const URGENT_COPIES: (u8, u8) = (2, 3);

/// Somebody will read a piece.
#[derive(Clone, Copy, Debug)]
pub(super) struct Due {
    when: Instant,
    /// Since when that is known.
    since: Instant,
    /// Since when it is urgent, or from when on it will be.
    urgent: Instant,
}

impl Picker {
    /// Somebody will read this piece at `when`; of several readers the first counts.
    pub fn set_deadline(&mut self, now: Instant, piece: u32, when: Instant) {
        if !self.wants(piece) {
            return;
        }
        let before = self.due.get(&piece).copied();
        if before.is_some_and(|due| due.when <= when) {
            return;
        }
        let urgent = when.checked_sub(URGENT).map_or(now, |at| at.max(now));
        let mut due = Due {
            when,
            since: now,
            urgent,
        };
        // A reader that says it again does not begin anew.
        if let Some(known) = before.or_else(|| self.was_due.get(&piece).copied()) {
            due.since = known.since;
            due.urgent = known.urgent.min(urgent);
        }
        self.clear_deadline(piece);
        self.deadlines.insert((when, piece));
        self.due.insert(piece, due);
    }

    /// Nobody reads any more.
    pub fn clear_deadlines(&mut self) {
        self.deadlines.clear();
        self.was_due = std::mem::take(&mut self.due);
    }

    pub(super) fn clear_deadline(&mut self, piece: u32) {
        if let Some(due) = self.due.remove(&piece) {
            self.deadlines.remove(&(due.when, piece));
        }
    }

    /// Whether anybody is about to read something that is not here.
    pub fn has_readers(&self) -> bool {
        !self.deadlines.is_empty()
    }

    /// Whether somebody reads this piece next.
    pub fn is_due(&self, piece: u32) -> bool {
        self.due.contains_key(&piece)
    }

    /// The first piece somebody will read of which nobody was asked for something.
    pub fn unasked_due(&self) -> Option<u32> {
        let unasked = |&piece: &u32| match self.partials.get(&piece) {
            Some(partial) => partial.missing > 0,
            None => self.is_fresh(piece),
        };
        self.deadlines.iter().map(|&(_, piece)| piece).find(unasked)
    }

    /// Whether a piece is urgent, has been so for a short time only, and `can` come.
    pub fn is_urgent(&self, now: Instant, can: impl Fn(u32) -> bool) -> bool {
        let mut urgent = self.deadlines.iter().map(|(_, piece)| piece);
        urgent.any(|piece| {
            let pressing = |due: &Due| (due.urgent..due.urgent + RUSH).contains(&now);
            self.due.get(piece).is_some_and(pressing) && can(*piece)
        })
    }

    pub(super) fn pick_deadlines(
        &mut self,
        now: Instant,
        layout: &Layout,
        asker: &Asker<'_>,
        picked: &mut Vec<BlockRef>,
    ) {
        let due: Vec<(u32, Due)> = self
            .deadlines
            .iter()
            .filter(|&&(_, piece)| (asker.has)(piece))
            .map(|&(_, piece)| (piece, self.due[&piece]))
            .collect();
        for (piece, due) in due {
            if picked.len() >= asker.room {
                return;
            }
            let when = due.when;
            let urgent = now >= due.urgent;
            let quick_first = match urgent {
                true => now < due.urgent + HEAD_START,
                false => now + SOON > when && now < due.since + HEAD_START_SOON,
            };
            if quick_first && !asker.quick {
                continue;
            }
            if self.is_fresh(piece) {
                self.begin(layout, piece, asker.conn);
            }
            let before = picked.len();
            self.take(layout, piece, asker, picked, |b| b == Block::Missing);
            let Some(partial) = self.partials.get_mut(&piece) else {
                continue;
            };
            if picked.len() > before {
                partial.hurried = Some(now);
            } else if urgent && asker.quick {
                // Another copy of each block after each wait.
                let (asked, copies) = partial.hurried.map_or((due.since, 2), |at| (at, 1));
                let waits =
                    now.saturating_duration_since(asked).as_millis() / ASK_AGAIN.as_millis();
                let most = match now < when {
                    true => URGENT_COPIES.0,
                    false => URGENT_COPIES.1,
                };
                let copies = (waits + copies).min(u128::from(most)) as u8;
                self.take(
                    layout,
                    piece,
                    asker,
                    picked,
                    |b| matches!(b, Block::Requested(n) if n < copies),
                );
            }
        }
    }
}
