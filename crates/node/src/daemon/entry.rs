//! What the daemon knows of a transfer: what is kept, what the node said last, what the policy decided. A row of the
//! table is made from it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use api::{Cause, Hash, Limits, Progress, State, Transfer, TransferId};

use super::home::Alive;
use super::state::{Change, Facts, Record, Totals};
use crate::{Problem, ProblemKind, Report};

/// One transfer.
#[derive(Debug)]
pub struct Entry {
    /// What is kept.
    pub record: Record,
    /// What the node said last; nothing while it is dormant.
    live: Option<Box<Live>>,
    /// Why it stopped.
    pub problem: Option<Box<Problem>>,
    /// Why the policy holds it.
    pub hold: Option<Box<policy::Reason>>,
    /// Its totals differ from those that are kept.
    pub unkept: bool,
    /// Its data is being moved at this moment.
    pub moving: bool,
    /// The file system it writes to.
    pub file_system: Option<u64>,
    /// It is a running seed since then.
    seeding: Option<Instant>,
}

/// A transfer in the engine.
#[derive(Debug)]
struct Live {
    report: Report,
    /// What it had done when it joined the engine: the engine counts from zero each time.
    base: Totals,
}

impl Entry {
    /// A transfer as it was kept.
    pub fn new(record: Record) -> Entry {
        Entry {
            record,
            live: None,
            problem: None,
            hold: None,
            unkept: false,
            moving: false,
            file_system: None,
            seeding: None,
        }
    }

    /// The run before ended then: what it seeded until then is in its totals.
    pub fn seeded_until(&mut self, alive: Alive) {
        if let Some(from) = self.record.seeding_from.take() {
            self.record.totals.seeded_seconds += alive.since(from);
        }
    }

    /// Counts seeding time from now on, or no longer, as it is; answers what is to be kept.
    pub fn seed_from_now(&mut self) -> Option<Change> {
        let changed = match self.complete() && self.runs() {
            true => self.begin_seeding(super::unix_now()),
            false => self.stop_seeding(),
        };
        changed.then(|| Change::Transfer(Box::new(self.record.clone())))
    }

    /// Seeding time is counted from now on, in Unix seconds; false if it was before.
    pub fn begin_seeding(&mut self, now: i64) -> bool {
        let begins = self.seeding.is_none();
        if begins {
            self.seeding = Some(Instant::now());
            self.record.seeding_from = Some(now);
        }
        begins
    }

    /// Seeding time is counted no longer; false if it was not.
    pub fn stop_seeding(&mut self) -> bool {
        self.record.totals.seeded_seconds = self.seeded();
        self.record.seeding_from = None;
        self.seeding.take().is_some()
    }

    /// Seconds it was a running seed, up to now.
    fn seeded(&self) -> u64 {
        let now = self.seeding.map_or(0, |since| since.elapsed().as_secs());
        self.record.totals.seeded_seconds + now
    }

    /// The node says how it is doing.
    pub fn report(&mut self, report: Report) {
        let before = self.live.take();
        let Some(swarm) = &report.swarm else {
            return;
        };
        // It began again: what it counts from now on comes on top.
        let base = before.filter(|live| {
            let last = live.report.swarm.as_ref();
            last.is_some_and(|l| l.received <= swarm.received && l.sent <= swarm.sent)
        });
        let base = base.map_or(self.record.totals, |live| live.base);
        let totals = &mut self.record.totals;
        let was = *totals;
        totals.received = base.received + swarm.received;
        totals.sent = base.sent + swarm.sent;
        totals.wasted = base.wasted + swarm.wasted;
        if report.checking.is_none() && swarm.pieces > 0 {
            totals.done = swarm.done;
            self.record.facts.wanted = swarm.wanted;
        }
        self.unkept |= was != *totals;
        self.live = Some(Box::new(Live { report, base }));
    }

    /// What the engine says, if it has the transfer.
    pub fn swarm(&self) -> Option<&swarm::Status> {
        self.live.as_ref()?.report.swarm.as_ref()
    }

    /// Everything wanted is here.
    pub fn complete(&self) -> bool {
        self.record.finished.is_some()
    }

    /// It runs: neither a person, nor the policy, nor a problem is against it.
    pub fn runs(&self) -> bool {
        !self.record.paused && self.hold.is_none() && self.problem.is_none()
    }

    /// The policy alone holds it, until there is more room on its disk or in memory.
    pub fn waits_for_room(&self) -> bool {
        use policy::Reason::{DiskReserve, MemoryCeiling};
        let waits = matches!(
            self.hold.as_deref(),
            Some(DiskReserve { .. } | MemoryCeiling { .. })
        );
        waits && !self.record.paused && self.problem.is_none()
    }

    /// Why it is to stand still, in words; `None`: it is not.
    pub fn halted(&self) -> Option<String> {
        if self.record.paused {
            return Some("paused".to_owned());
        }
        self.hold.as_ref().map(ToString::to_string)
    }

    fn state(&self) -> (State, Option<Cause>, Option<String>) {
        // Pausing it does not stop a move, but what a person said is what is shown.
        if self.moving && !self.record.paused {
            return (
                State::Checking,
                None,
                Some("its data is being moved".to_owned()),
            );
        }
        if let Some(problem) = &self.problem {
            let cause = match problem.kind {
                ProblemKind::NoSpace => Cause::NoSpace,
                ProblemKind::Permission => Cause::Permission,
                ProblemKind::NotFound => Cause::Missing,
                ProblemKind::Damaged => Cause::Damaged,
                ProblemKind::Other => Cause::Other,
            };
            return (State::Stopped, Some(cause), Some(problem.message.clone()));
        }
        if self.record.paused {
            return (State::Paused, None, Some("paused by you".to_owned()));
        }
        if let Some(reason) = &self.hold {
            use policy::Reason;
            let (state, cause) = match &**reason {
                Reason::Queue { .. } | Reason::LabelQueue { .. } => (State::Queued, Cause::Queue),
                Reason::Schedule { .. } => (State::Held, Cause::Schedule),
                Reason::Battery { .. } => (State::Held, Cause::Battery),
                Reason::Metered => (State::Held, Cause::Metered),
                Reason::DiskReserve { .. } => (State::Held, Cause::DiskReserve),
                Reason::RatioReached { .. } => (State::Held, Cause::Ratio),
                Reason::SeedingTimeReached { .. } => (State::Held, Cause::SeedingTime),
                Reason::MemoryCeiling { .. } => (State::Held, Cause::Memory),
            };
            return (state, Some(cause), Some(reason.to_string()));
        }
        let state = match self.swarm().map(|swarm| &swarm.state) {
            Some(swarm::State::Checking) => State::Checking,
            // The engine was done before it said so.
            Some(swarm::State::Downloading) if !self.complete() => State::Downloading,
            Some(swarm::State::Seeding) => State::Seeding,
            Some(swarm::State::Metadata) => State::Metadata,
            _ if self.complete() => State::Seeding,
            _ if self.record.facts.pieces == 0 => State::Metadata,
            _ => State::Downloading,
        };
        (state, None, None)
    }

    /// Where its content is.
    pub fn root(&self) -> PathBuf {
        match self.record.exact {
            true => self.record.folder.to_path_buf(),
            false => self.record.folder.join(self.record.file_name()),
        }
    }

    /// Its row. `position`: its place in the queue.
    pub fn row(&self, position: Option<u32>) -> Transfer {
        let record = &self.record;
        let (totals, facts) = (record.totals, record.facts);
        let (state, cause, reason) = self.state();
        let swarm = self.swarm();
        let root = self.root();
        let folder = match record.exact {
            true => root.parent().unwrap_or(Path::new("/")),
            false => &record.folder,
        };
        let left = facts.wanted.saturating_sub(totals.done);
        // Without peers a rate is what it was.
        let moving = swarm.filter(|swarm| swarm.peers > 0);
        let rate_down = moving.map_or(0, |swarm| swarm.rate_down);
        let running = state == State::Downloading;
        Transfer {
            id: TransferId(record.id),
            name: record.name.clone(),
            info_hash_v1: record.hashes.v1.map(Hash),
            info_hash_v2: record.hashes.v2.map(Hash),
            state,
            reason,
            cause,
            size: facts.size,
            wanted: facts.wanted,
            done: totals.done,
            received: totals.received,
            sent: totals.sent,
            wasted: totals.wasted,
            rate_down,
            rate_up: moving.map_or(0, |swarm| swarm.rate_up),
            eta: (running && rate_down > 0).then(|| left.div_ceil(rate_down)),
            ratio: ratio(&totals, facts.wanted),
            peers: swarm.map_or(0, |swarm| swarm.peers as u32),
            seeds: swarm.map_or(0, |swarm| swarm.seeds as u32),
            known: swarm.map_or(0, |swarm| swarm.known as u32),
            label: record.label.clone(),
            tags: record.rare.tags.clone(),
            folder: folder.to_string_lossy().into_owned(),
            root: root.to_string_lossy().into_owned(),
            added_at: record.added.max(0) as u64,
            finished_at: record.finished.map(|at| at.max(0) as u64),
            queue_position: position,
            limits: record.limits,
            goals: record.rare.goals,
            sequential: record.sequential,
            super_seed: record.super_seed,
            private: facts.private,
            read_only: record.read_only,
            files: facts.files,
            pieces: facts.pieces,
            pieces_done: match swarm {
                Some(swarm) if swarm.pieces > 0 => swarm.pieces_done,
                _ if self.complete() && facts.wanted == facts.size => facts.pieces,
                _ => 0,
            },
            checking: self
                .live
                .as_ref()
                .and_then(|live| live.report.checking)
                .map(|(done, total)| Progress { done, total }),
            complete: self.complete(),
            dormant: self.complete() && swarm.is_none() && self.problem.is_none(),
        }
    }

    /// All that the policy is told of it.
    pub fn facts(&self) -> [policy::Input; 2] {
        let id = policy::TransferId(self.record.id);
        [
            policy::Input::Transfer(id, Box::new(self.wishes())),
            policy::Input::Progress(id, self.progress()),
        ]
    }

    /// What the policy is told of what a person chose.
    pub fn wishes(&self) -> policy::Transfer {
        let limits = self.record.limits;
        policy::Transfer {
            wanted: !self.record.paused && self.problem.is_none(),
            label: self.record.label.as_deref().map(Into::into),
            file_system: self.file_system.map(policy::FileSystem),
            limits: rates(limits),
            goals: self.record.rare.goals.map(super::rules::goals),
        }
    }

    /// What the policy is told of how far it is.
    pub fn progress(&self) -> policy::Progress {
        let (totals, swarm) = (self.record.totals, self.swarm());
        policy::Progress {
            complete: self.complete(),
            up: totals.sent,
            down: totals.received,
            have: totals.done,
            seeding: Duration::from_secs(self.seeded()),
            rate_down: swarm.map_or(0, |swarm| swarm.rate_down),
            rate_up: swarm.map_or(0, |swarm| swarm.rate_up),
        }
    }
}

/// Limits as the policy counts them.
pub fn rates(limits: Limits) -> policy::Rates {
    policy::Rates {
        down: limits.down,
        up: limits.up,
    }
}

fn ratio(totals: &Totals, wanted: u64) -> f64 {
    match wanted {
        0 => 0.0,
        // Three digits are enough, and make fewer changes to tell.
        wanted => (totals.sent as f64 / wanted as f64 * 1000.0).round() / 1000.0,
    }
}

/// What a torrent says of itself, for its row. Wanted are files with a priority.
pub fn facts(info: &torrent::metainfo::Info, priorities: &[u8]) -> Facts {
    let layout = info.layout();
    let real = |&file: &usize| !layout.file(file).pad;
    let wanted = |&file: &usize| priorities.get(file).is_none_or(|&priority| priority > 0);
    let bytes = |file: usize| layout.file(file).len;
    Facts {
        size: (0..layout.files()).filter(real).map(bytes).sum(),
        wanted: (0..layout.files())
            .filter(real)
            .filter(wanted)
            .map(bytes)
            .sum(),
        files: (0..layout.files()).filter(real).count() as u32,
        pieces: layout.pieces(),
        private: info.private(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::state::tests::record;

    fn status(received: u64, sent: u64) -> swarm::Status {
        swarm::Status {
            state: swarm::State::Seeding,
            done: 50,
            wanted: 100,
            received,
            wasted: 0,
            sent,
            rate_down: 0,
            rate_up: 0,
            peers: 1,
            seeds: 0,
            known: 1,
            pieces_done: 1,
            pieces: 2,
        }
    }

    fn report(swarm: Option<swarm::Status>) -> Report {
        Report {
            swarm,
            checking: None,
        }
    }

    #[test]
    fn what_was_done_before_is_not_forgotten() {
        let mut entry = Entry::new(record(1));
        let before = entry.record.totals;
        entry.report(report(Some(status(10, 20))));
        assert_eq!(entry.record.totals.sent, before.sent + 20);
        // Asleep, and awake again: the engine counts from zero.
        entry.report(report(None));
        entry.report(report(Some(status(0, 5))));
        assert_eq!(entry.record.totals.sent, before.sent + 25);
        // Begun again without a word in between.
        entry.report(report(Some(status(0, 1))));
        assert_eq!(entry.record.totals.sent, before.sent + 26);
        assert_eq!(entry.record.totals.received, before.received + 10);
    }

    #[test]
    fn what_is_held_for_want_of_room_waits_for_it_unless_something_else_holds_it_too() {
        let mut entry = Entry::new(record(1));
        entry.record.paused = false;
        assert!(entry.runs() && !entry.waits_for_room());
        let reserve = policy::Reason::DiskReserve {
            folder: "/data".into(),
            reserve: 1,
        };
        for room in [reserve, policy::Reason::MemoryCeiling { ceiling: 1 }] {
            entry.hold = Some(Box::new(room));
            assert!(entry.waits_for_room() && !entry.runs());
            entry.record.paused = true;
            assert!(!entry.waits_for_room());
            entry.record.paused = false;
            entry.problem = Some(Box::new(Problem::other("the disk is gone")));
            assert!(!entry.waits_for_room());
            entry.problem = None;
        }
        entry.hold = Some(Box::new(policy::Reason::Metered));
        assert!(!entry.waits_for_room());
    }

    #[test]
    fn a_person_s_pause_is_shown_before_what_the_policy_holds() {
        let mut entry = Entry::new(record(2));
        entry.hold = Some(Box::new(policy::Reason::Metered));
        assert_eq!(entry.row(None).state, State::Held);
        entry.record.paused = true;
        assert_eq!(entry.row(None).state, State::Paused);
        entry.problem = Some(Box::new(Problem::other("the disk is gone")));
        let row = entry.row(None);
        assert_eq!((row.state, row.cause), (State::Stopped, Some(Cause::Other)));
    }
}
