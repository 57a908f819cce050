//! The clock on the wall, which may jump: as that of a computer without a battery does when it first reaches a time
//! server. Seeding time is counted by the clock that only goes forward, and only kept by the one on the wall.

use std::sync::PoisonError;
use std::time::Instant;

use super::state::Change;
use super::{Daemon, home, rules, unix_now};

/// Seconds by which the clocks may differ from one look to the next: both are rounded, and one may be set right.
const TOLERANCE: i64 = 2;

/// Wall clock beside the clock that only goes forward.
pub(super) struct Clock {
    wall: i64,
    steady: Instant,
}

impl Clock {
    pub fn now() -> Clock {
        Clock {
            wall: unix_now(),
            steady: Instant::now(),
        }
    }

    /// Did the wall clock jump from the last look to this one? A computer that slept looks the same.
    fn jumps(&mut self, now: Clock) -> bool {
        let before = std::mem::replace(self, now);
        let steady = self.steady.saturating_duration_since(before.steady);
        let wall = self.wall.saturating_sub(before.wall);
        wall.abs_diff(steady.as_secs() as i64) > TOLERANCE as u64
    }
}

impl Daemon {
    /// If the clock jumped since the last look, the policy hears of it, and seeding time is counted by the new one.
    pub(super) async fn look_at_clock(&self) {
        let jumped = {
            let clock = self.shared.clock.lock();
            let mut clock = clock.unwrap_or_else(PoisonError::into_inner);
            clock.jumps(Clock::now())
        };
        if !jumped {
            return;
        }
        self.judge([policy::Input::Clock(rules::local_time())]);
        {
            let (now, mut changes, mut ids) = (unix_now(), Vec::new(), Vec::new());
            let mut book = self.book();
            for entry in book.entries_mut() {
                if entry.stop_seeding() {
                    entry.begin_seeding(now);
                    let id = entry.record.id;
                    changes.push(Change::Totals(id, entry.record.totals));
                    ids.push(id);
                }
            }
            changes.push(Change::Seeding {
                // It is in the totals.
                alive: home::Alive { at: now, ran: 0 },
                since: now,
                ids,
            });
            self.shared.state.note(changes);
        }
        // A crash from here on must find both as the new clock has them, and never the second alone.
        match self.shared.state.commit(Vec::new()).await {
            Ok(()) => home::note_alive(&self.shared.home, self.shared.since.elapsed()),
            Err(error) => tracing::warn!(error, "seeding times could not be kept"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_jump_is_noticed_once_and_in_either_direction() {
        let mut clock = Clock::now();
        let (wall, steady) = (clock.wall, clock.steady);
        let mut jumps = |wall_seconds: i64, seconds| {
            clock.jumps(Clock {
                wall: wall + wall_seconds,
                steady: steady + Duration::from_secs(seconds),
            })
        };
        let seen = [(60, 60), (121, 120), (3780, 180), (3840, 240), (300, 300)]
            .map(|(wall, steady)| jumps(wall, steady));
        assert_eq!(seen, [false, false, true, false, true]);
    }
}
