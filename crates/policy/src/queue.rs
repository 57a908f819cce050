//! Whose turn it is: the order of transfers, and the places that are left.

use std::collections::BTreeMap;

use crate::settings::{Settings, Slow};
use crate::{Move, TransferId};

/// A place in the order, the smaller the nearer to the head. Some are nobody's. There are as many as
/// numbers of transfers.
pub type Place = u32;

/// The order in which transfers get their turn.
#[derive(Debug, Default)]
pub struct Order {
    ids: BTreeMap<Place, TransferId>,
    /// Places of those that are not complete, in order.
    incomplete: Vec<Place>,
}

impl Order {
    /// Everyone, the head first.
    pub fn ids(&self) -> impl ExactSizeIterator<Item = TransferId> + '_ {
        self.ids.values().copied()
    }

    /// All places that are somebody's.
    pub fn places(&self) -> impl Iterator<Item = Place> + '_ {
        self.ids.keys().copied()
    }

    /// Who has a place.
    pub fn at(&self, place: Place) -> Option<TransferId> {
        self.ids.get(&place).copied()
    }

    /// A new one comes last, and is not complete.
    pub fn append(&mut self, id: TransferId) -> Place {
        let place = self.ids.last_key_value().map_or(0, |(last, _)| last + 1);
        self.ids.insert(place, id);
        self.incomplete.push(place);
        place
    }

    /// One leaves.
    pub fn remove(&mut self, place: Place) {
        self.ids.remove(&place);
        self.set_complete(place, true);
    }

    /// One is complete, or no longer.
    pub fn set_complete(&mut self, place: Place, complete: bool) {
        match (self.incomplete.binary_search(&place), complete) {
            (Ok(index), true) => {
                self.incomplete.remove(index);
            }
            (Err(index), false) => self.incomplete.insert(index, place),
            _ => {}
        }
    }

    /// How many of those that are not complete come before this one; `None`: it is complete.
    pub fn before(&self, place: Place) -> Option<usize> {
        self.incomplete.binary_search(&place).ok()
    }

    /// Those that are not complete, from the one on that so many of them come before.
    pub fn incomplete(&self, from: usize) -> impl Iterator<Item = TransferId> + '_ {
        let places = self.incomplete.get(from..).unwrap_or_default();
        places.iter().map(|place| self.ids[place])
    }

    /// One changes its place, and everyone's number with it: to be told with
    /// [`places`](Self::places) anew.
    pub fn shift(&mut self, place: Place, to: Move) {
        let mut all: Vec<(TransferId, bool)> = (self.ids.iter())
            .map(|(&place, &id)| (id, self.before(place).is_some()))
            .collect();
        let Some(from) = self.ids.keys().position(|&other| other == place) else {
            return;
        };
        let last = all.len() - 1;
        let to = match to {
            Move::Top => 0,
            Move::Up => from.saturating_sub(1),
            Move::Down => (from + 1).min(last),
            Move::Bottom => last,
            Move::To(place) => (place as usize).min(last),
        };
        if from < to {
            all[from..=to].rotate_left(1);
        } else {
            all[to..=from].rotate_right(1);
        }
        self.ids = (0..).zip(all.iter().map(|(id, _)| *id)).collect();
        let incomplete = (0..).zip(&all).filter(|(_, (_, incomplete))| *incomplete);
        self.incomplete = incomplete.map(|(place, _)| place).collect();
    }
}

/// The places of one kind, while they are dealt out from the head of the queue on. Where there is
/// no end of them nobody counts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Places {
    /// How many there are; `None`: no end.
    most: Option<u32>,
    taken: u32,
    /// Slow ones that took none.
    slow: u32,
    most_slow: u32,
}

impl Places {
    pub fn new(most: Option<u32>, slow: Option<Slow>) -> Places {
        Places {
            most,
            taken: 0,
            slow: 0,
            most_slow: slow.map_or(0, |s| s.most),
        }
    }

    /// All places of downloads.
    pub fn downloads(settings: &Settings) -> Places {
        Places::new(settings.queue.max_downloads, settings.queue.slow)
    }

    /// All places of seeds.
    pub fn seeds(settings: &Settings) -> Places {
        Places::new(settings.queue.max_seeds, settings.queue.slow)
    }

    /// Whether there is an end of them.
    pub fn are_few(&self) -> bool {
        self.most.is_some()
    }

    /// Whether one can run. The number that run at once, if it cannot.
    pub fn has_room(&self, slow: bool) -> Result<(), u32> {
        match self.most {
            Some(most) if self.taken >= most && !self.is_extra(slow) => Err(most),
            _ => Ok(()),
        }
    }

    /// One does: whether as a slow one that takes no place.
    pub fn take(&mut self, slow: bool) -> bool {
        let extra = self.is_extra(slow);
        self.count(extra);
        extra
    }

    /// One did, as [`take`](Self::take) said.
    pub fn count(&mut self, extra: bool) {
        if self.are_few() {
            self.slow += u32::from(extra);
            self.taken += u32::from(!extra);
        }
    }

    fn is_extra(&self, slow: bool) -> bool {
        slow && self.slow < self.most_slow
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moves_shift_those_between() {
        let mut order = Order::default();
        for n in 0..5 {
            order.append(TransferId(n));
        }
        order.set_complete(2, true);
        let mut after = |id, to| {
            let found = order
                .places()
                .find(|&p| order.at(p) == Some(TransferId(id)));
            order.shift(found.unwrap_or(77), to);
            let waits: Vec<u32> = order.incomplete(0).map(|id| id.0).collect();
            assert_eq!(waits.len(), 4, "{waits:?}");
            assert!(!waits.contains(&2), "{waits:?}");
            order.ids().map(|id| id.0).collect::<Vec<_>>()
        };
        assert_eq!(after(3, Move::Top), [3, 0, 1, 2, 4]);
        assert_eq!(after(3, Move::Up), [3, 0, 1, 2, 4]);
        assert_eq!(after(0, Move::Down), [3, 1, 0, 2, 4]);
        assert_eq!(after(1, Move::Bottom), [3, 0, 2, 4, 1]);
        assert_eq!(after(1, Move::Up), [3, 0, 2, 1, 4]);
        assert_eq!(after(4, Move::To(1)), [3, 4, 0, 2, 1]);
        assert_eq!(after(3, Move::To(99)), [4, 0, 2, 1, 3]);
        assert_eq!(after(77, Move::Top), [4, 0, 2, 1, 3]);
    }

    #[test]
    fn the_incomplete_are_counted_from_the_head() {
        let mut order = Order::default();
        let places: Vec<Place> = (0..4).map(|n| order.append(TransferId(n))).collect();
        order.set_complete(places[1], true);
        let before = |order: &Order| places.iter().map(|&p| order.before(p)).collect::<Vec<_>>();
        assert_eq!(before(&order), [Some(0), None, Some(1), Some(2)]);
        order.remove(places[0]);
        order.set_complete(places[1], false);
        assert_eq!(before(&order), [None, Some(0), Some(1), Some(2)]);
        assert_eq!(
            order.incomplete(1).collect::<Vec<_>>(),
            [TransferId(2), TransferId(3)]
        );
    }

    #[test]
    fn so_many_slow_ones_take_no_place() {
        let slow = Slow {
            most: 1,
            ..Slow::default()
        };
        let mut places = Places::new(Some(1), Some(slow));
        places.take(true);
        assert_eq!(places.has_room(true), Ok(()));
        places.take(true);
        assert_eq!(places.has_room(true), Err(1));
        assert_eq!(places.has_room(false), Err(1));
    }
}
