//! Whose turn it is: the order of transfers, and the places that are left.

use crate::settings::{Settings, Slow};
use crate::{Move, TransferId};

/// The order in which transfers get their turn, the head first.
#[derive(Debug, Default)]
pub struct Order(Vec<TransferId>);

impl Order {
    /// Everyone, the head first.
    pub fn ids(&self) -> &[TransferId] {
        &self.0
    }

    /// A new one comes last.
    pub fn append(&mut self, id: TransferId) {
        self.0.push(id);
    }

    /// One leaves.
    pub fn remove(&mut self, id: TransferId) {
        self.0.retain(|&other| other != id);
    }

    /// One changes its place; whoever is not there does not.
    pub fn shift(&mut self, id: TransferId, to: Move) {
        let Some(from) = self.0.iter().position(|&other| other == id) else {
            return;
        };
        let last = self.0.len() - 1;
        let to = match to {
            Move::Top => 0,
            Move::Up => from.saturating_sub(1),
            Move::Down => (from + 1).min(last),
            Move::Bottom => last,
            Move::To(place) => (place as usize).min(last),
        };
        if from < to {
            self.0[from..=to].rotate_left(1);
        } else {
            self.0[to..=from].rotate_right(1);
        }
    }
}

/// The places of one kind, while they are dealt out from the head of the queue on.
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

    /// Whether one can run. The number that run at once, if it cannot.
    pub fn has_room(&self, slow: bool) -> Result<(), u32> {
        match self.most {
            Some(most) if self.taken >= most && !self.is_extra(slow) => Err(most),
            _ => Ok(()),
        }
    }

    /// One does.
    pub fn take(&mut self, slow: bool) {
        if self.is_extra(slow) {
            self.slow += 1;
        } else {
            self.taken += 1;
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
        (0..5).for_each(|n| order.append(TransferId(n)));
        let mut after = |id, to| {
            order.shift(TransferId(id), to);
            order.ids().iter().map(|id| id.0).collect::<Vec<_>>()
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
