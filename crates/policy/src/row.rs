//! One transfer: how far it is from its goals, and whether it is slow.

use std::time::{Duration, Instant};

use crate::queue::Place;
use crate::settings::{Goals, Rates, Slow};
use crate::turns::Turn;
use crate::{Progress, Reason, Transfer};

/// What the engine keeps of a transfer.
#[derive(Debug)]
pub struct Row {
    /// What a person chose.
    pub given: Transfer,
    /// How far it is; `seeding` as of `counted`.
    pub progress: Progress,
    /// Why it is held, as last told.
    pub held: Option<Reason>,
    /// Its limits, as last told.
    pub told: Rates,
    /// It is wanted and not held.
    pub running: bool,
    /// Its place in the queue.
    pub place: Place,
    /// What its turn took of what others may want too.
    pub turn: Option<Turn>,
    counted: Instant,
    pace: Pace,
}

impl Row {
    /// One that may run and does not yet.
    pub fn new(now: Instant, given: Transfer, place: Place) -> Row {
        Row {
            given,
            progress: Progress::default(),
            held: None,
            told: Rates::NONE,
            running: false,
            place,
            turn: None,
            counted: now,
            pace: Pace::default(),
        }
    }

    /// It is this far. Returns whether that can change a decision.
    pub fn note(
        &mut self,
        now: Instant,
        progress: Progress,
        goals: Goals,
        slow: Option<Slow>,
    ) -> bool {
        let turned = progress.complete != self.progress.complete;
        let before = self.reached(now, goals);
        self.progress = progress;
        self.counted = now;
        if turned {
            self.pace = Pace::default();
        }
        let under = slow.is_some_and(|slow| self.rate() < slow.rate);
        let paced = self.running && self.pace.note(now, under);
        turned || paced || before != self.reached(now, goals)
    }

    /// It runs from now on, or does no more.
    pub fn run(&mut self, now: Instant, running: bool, slow: Option<Slow>) {
        if self.running == running {
            return;
        }
        self.progress.seeding = self.seeding(now);
        self.counted = now;
        self.running = running;
        self.pace = Pace::default();
        if running {
            let under = slow.is_some_and(|slow| self.rate() < slow.rate);
            self.pace.note(now, under);
        }
    }

    /// Whether it is slow.
    pub fn slow(&mut self, now: Instant, slow: Option<Slow>) -> bool {
        slow.is_some_and(|slow| self.running && self.pace.settle(now, slow.time))
    }

    /// The rate by which it is judged.
    fn rate(&self) -> u64 {
        match self.progress.complete {
            true => self.progress.rate_up,
            false => self.progress.rate_down,
        }
    }

    fn seeding(&self, now: Instant) -> Duration {
        let since = match self.running && self.progress.complete {
            true => now.saturating_duration_since(self.counted),
            false => Duration::ZERO,
        };
        self.progress.seeding.saturating_add(since)
    }

    /// The goal it has reached.
    pub fn reached(&self, now: Instant, goals: Goals) -> Option<Reason> {
        if !self.progress.complete {
            return None;
        }
        let Progress { up, down, have, .. } = self.progress;
        let owed = u128::from(down.max(have));
        let ratio = goals.ratio.filter(|&ratio| {
            ratio == 0 || owed > 0 && u128::from(up) * 1000 >= owed * u128::from(ratio)
        });
        if let Some(ratio) = ratio {
            return Some(Reason::RatioReached { ratio });
        }
        let time = goals.seeding.filter(|&goal| self.seeding(now) >= goal)?;
        Some(Reason::SeedingTimeReached { time })
    }

    /// When something about it may change, if it goes on as it does.
    pub fn changes(&self, now: Instant, goals: Goals, slow: Option<Slow>) -> Option<Instant> {
        let paced = slow
            .filter(|_| self.running)
            .and_then(|slow| self.pace.turns(slow.time));
        [paced, self.reaches(now, goals)]
            .into_iter()
            .flatten()
            .min()
    }

    /// When it will have seeded for long enough.
    fn reaches(&self, now: Instant, goals: Goals) -> Option<Instant> {
        let seeds = self.running && self.progress.complete;
        let goal = goals.seeding.filter(|_| seeds)?;
        now.checked_add(goal.saturating_sub(self.seeding(now)))
    }
}

/// Whether a flow is slow: it changes sides after it was long enough on the other.
#[derive(Debug, Default)]
struct Pace {
    slow: bool,
    /// On the other side since.
    since: Option<Instant>,
}

impl Pace {
    /// The flow is below the mark, or not. Returns whether that is news.
    fn note(&mut self, now: Instant, under: bool) -> bool {
        let before = self.since;
        self.since = (under != self.slow).then(|| before.unwrap_or(now));
        before != self.since
    }

    /// When it changes sides, if it goes on like this.
    fn turns(&self, time: Duration) -> Option<Instant> {
        self.since?.checked_add(time)
    }

    fn settle(&mut self, now: Instant, time: Duration) -> bool {
        if self.turns(time).is_some_and(|at| at <= now) {
            self.slow = !self.slow;
            self.since = None;
        }
        self.slow
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOW: Option<Slow> = Some(Slow {
        rate: 1000,
        time: Duration::from_secs(60),
        most: 9,
    });

    fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn it_is_slow_after_a_minute_and_fast_after_another() {
        let start = Instant::now();
        let mut row = Row::new(start, Transfer::default(), 0);
        let at = |n| start + secs(n);
        let flow = |rate_down| Progress {
            rate_down,
            ..Progress::default()
        };
        row.run(at(0), true, SLOW);
        assert!(!row.slow(at(59), SLOW));
        let changes = |row: &Row, now| row.changes(now, Goals::default(), SLOW);
        assert_eq!(changes(&row, at(59)), Some(at(60)));
        assert!(row.slow(at(60), SLOW));
        assert_eq!(changes(&row, at(60)), None);
        assert!(row.note(at(70), flow(5000), Goals::default(), SLOW));
        assert!(!row.note(at(71), flow(6000), Goals::default(), SLOW));
        assert!(row.note(at(80), flow(999), Goals::default(), SLOW));
        assert!(row.slow(at(200), SLOW));
        row.note(at(200), flow(5000), Goals::default(), SLOW);
        assert!(!row.slow(at(260), SLOW));
        row.run(at(261), false, SLOW);
        assert!(!row.slow(at(900), SLOW));
    }

    #[test]
    fn a_ratio_counts_what_was_here_before() {
        let start = Instant::now();
        let goals = Goals {
            ratio: Some(1500),
            seeding: None,
        };
        let mut row = Row::new(start, Transfer::default(), 0);
        let seed = Progress {
            complete: true,
            up: 149,
            down: 10,
            have: 100,
            ..Progress::default()
        };
        row.note(start, seed, goals, None);
        assert_eq!(row.reached(start, goals), None);
        row.note(start, Progress { up: 150, ..seed }, goals, None);
        assert_eq!(
            row.reached(start, goals),
            Some(Reason::RatioReached { ratio: 1500 })
        );
        row.note(
            start,
            Progress {
                up: 500,
                complete: false,
                ..seed
            },
            goals,
            None,
        );
        assert_eq!(
            row.reached(start, goals),
            None,
            "a download has no ratio to reach"
        );
    }

    #[test]
    fn seeding_time_is_counted_while_it_runs_and_no_longer() {
        let start = Instant::now();
        let at = |n| start + secs(n);
        let goals = Goals {
            ratio: None,
            seeding: Some(secs(100)),
        };
        let mut row = Row::new(start, Transfer::default(), 0);
        let seed = Progress {
            complete: true,
            seeding: secs(40),
            ..Progress::default()
        };
        row.note(start, seed, goals, None);
        row.run(at(10), true, None);
        assert_eq!(row.reaches(at(20), goals), Some(at(70)));
        row.run(at(30), false, None);
        assert_eq!(row.reached(at(900), goals), None);
        row.run(at(900), true, None);
        assert_eq!(row.reaches(at(900), goals), Some(at(940)));
        assert!(row.reached(at(940), goals).is_some());
    }
}
