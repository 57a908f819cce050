//! What people notice: what runs, what is held and why, and how fast.

use std::time::Duration;

use super::*;
use crate::schedule::{Days, Entry};
use crate::settings::{LabelRules, OnBattery, Slow};
use crate::{FileSystem, Move, Power, Progress, Space, Upload};

const KIB: u64 = 1 << 10;
const GIB: u64 = 1 << 30;

fn monday(hour: u32, minute: u32) -> LocalTime {
    LocalTime::new(0, hour, minute, 0).expect("a time")
}

/// An engine with its clock.
struct Rig {
    policy: Policy,
    start: Instant,
    now: Duration,
    wall: LocalTime,
}

impl Rig {
    /// It is Monday, noon.
    fn new(change: impl FnOnce(&mut Settings)) -> Rig {
        let mut settings = Settings::default();
        change(&mut settings);
        let (start, wall) = (Instant::now(), monday(12, 0));
        let settings = settings.check().expect("good settings");
        Rig {
            policy: Policy::new(settings, start, wall),
            start,
            now: Duration::ZERO,
            wall,
        }
    }

    fn tell(&mut self, input: Input) {
        self.policy.handle(self.start + self.now, input);
    }

    fn set(&mut self, change: impl FnOnce(&mut Settings)) {
        let mut settings = self.policy.settings().clone();
        change(&mut settings);
        let settings = settings.check().expect("good settings");
        let local = self.wall.after(self.now);
        self.tell(Input::Settings(Box::new(settings), local));
    }

    fn add(&mut self, id: u32, transfer: Transfer) {
        self.tell(Input::Transfer(TransferId(id), Box::new(transfer)));
    }

    fn progress(&mut self, id: u32, progress: Progress) {
        self.tell(Input::Progress(TransferId(id), progress));
    }

    fn decisions(&mut self) -> Vec<Output> {
        std::iter::from_fn(|| self.policy.poll()).collect()
    }

    /// Lets time pass as a driver does; the decisions of that time.
    fn pass(&mut self, time: Duration) -> Vec<Output> {
        let end = self.now + time;
        let mut seen = self.decisions();
        while let Some(at) = self.policy.deadline().map(|at| at - self.start)
            && at <= end
        {
            assert!(at > self.now, "a deadline that is past at {:?}", self.now);
            self.now = at;
            self.tell(Input::Timeout(self.wall.after(self.now)));
            seen.extend(self.decisions());
        }
        self.now = end;
        seen
    }

    /// Why transfers are held, in the order of the queue.
    fn held(&mut self) -> Vec<Option<String>> {
        self.decisions();
        let ids: Vec<TransferId> = self.policy.queue().collect();
        let text = |id| self.policy.held(id).map(Reason::to_string);
        ids.into_iter().map(text).collect()
    }

    /// Which transfers run (are not held), in the order of the queue.
    fn runs(&mut self) -> Vec<u32> {
        self.decisions();
        let ids = self.policy.queue();
        ids.filter(|&id| self.policy.held(id).is_none())
            .map(|id| id.0)
            .collect()
    }
}

fn download() -> Transfer {
    Transfer {
        wanted: true,
        file_system: Some(FileSystem(1)),
        ..Transfer::default()
    }
}

fn labelled(label: &str) -> Transfer {
    Transfer {
        label: Some(label.into()),
        ..download()
    }
}

const FAST: Progress = Progress {
    complete: false,
    up: 0,
    down: 0,
    have: 0,
    seeding: Duration::ZERO,
    rate_down: 1 << 20,
    rate_up: 1 << 20,
};
const DONE: Progress = Progress {
    complete: true,
    have: 1000,
    ..FAST
};

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[test]
fn at_the_start_it_says_what_holds_and_then_only_what_changes() {
    let mut rig = Rig::new(|s| s.limits.up = 50 * KIB);
    let first = rig.decisions();
    let limits = Rates {
        down: 0,
        up: 50 * KIB,
    };
    assert_eq!(first.len(), 4, "{first:?}");
    assert_eq!(first[0], Output::Limit(Scope::Global, limits));
    let lan = ClassRule {
        limits: Rates::NONE,
        exempt: true,
    };
    assert_eq!(first[1], Output::LimitClass(Class::Lan, lan));
    assert!(matches!(first[3], Output::Allow(a) if a.connections == 500 && a.unchoke_slots == 8));
    rig.set(|_| {});
    rig.tell(Input::Power(Power::Mains));
    assert_eq!(rig.decisions(), []);
    let abroad = Rates {
        down: 0,
        up: 20 * KIB,
    };
    rig.set(|s| (s.lan.free, s.other) = (false, abroad));
    let rule = |limits| ClassRule {
        limits,
        exempt: false,
    };
    assert_eq!(
        rig.decisions(),
        [
            Output::LimitClass(Class::Lan, rule(Rates::NONE)),
            Output::LimitClass(Class::Other, rule(abroad)),
        ]
    );
}

#[test]
fn five_downloads_run_and_the_sixth_when_one_is_done() {
    let mut rig = Rig::new(|_| {});
    rig.decisions();
    (0..7).for_each(|id| rig.add(id, download()));
    let reason = Reason::Queue {
        seed: false,
        at_once: 5,
    };
    let waits = |id| Output::Hold(TransferId(id), reason.clone());
    assert_eq!(rig.decisions(), [waits(5), waits(6)]);
    rig.progress(2, DONE);
    assert_eq!(rig.decisions(), [Output::Release(TransferId(5))]);
    rig.tell(Input::Gone(TransferId(0)));
    assert_eq!(rig.decisions(), [Output::Release(TransferId(6))]);
}

#[test]
fn whoever_moves_up_takes_the_place_of_the_last() {
    let mut rig = Rig::new(|s| s.queue.max_downloads = Some(2));
    (0..4).for_each(|id| rig.add(id, download()));
    assert_eq!(rig.runs(), [0, 1]);
    rig.tell(Input::Move(TransferId(3), Move::Top));
    assert_eq!(rig.runs(), [3, 0]);
    rig.tell(Input::Move(TransferId(0), Move::Down));
    assert_eq!(rig.runs(), [3, 1]);
}

#[test]
fn a_person_pauses_and_the_next_one_runs() {
    let mut rig = Rig::new(|s| s.queue.max_downloads = Some(1));
    (0..2).for_each(|id| rig.add(id, download()));
    assert_eq!(rig.runs(), [0]);
    let paused = Transfer {
        wanted: false,
        ..download()
    };
    rig.add(0, paused.clone());
    assert_eq!(rig.decisions(), [Output::Release(TransferId(1))]);
    rig.add(0, download());
    let decisions = rig.decisions();
    assert!(
        matches!(decisions[..], [Output::Hold(TransferId(1), _)]),
        "{decisions:?}"
    );
    rig.add(1, paused);
    assert_eq!(
        rig.decisions(),
        [Output::Release(TransferId(1))],
        "no more than a pause is left"
    );
}

#[test]
fn slow_downloads_give_their_turn_away_and_get_it_back() {
    let mut rig = Rig::new(|s| s.queue.max_downloads = Some(1));
    (0..3).for_each(|id| rig.add(id, download()));
    rig.progress(
        0,
        Progress {
            rate_down: 100,
            ..FAST
        },
    );
    assert_eq!(rig.runs(), [0]);
    rig.pass(secs(59));
    assert_eq!(rig.runs(), [0]);
    rig.pass(secs(1));
    assert_eq!(rig.runs(), [0, 1]);
    rig.progress(1, FAST);
    rig.pass(secs(300));
    assert_eq!(rig.runs(), [0, 1]);
    rig.progress(0, FAST);
    rig.pass(secs(60));
    assert_eq!(rig.runs(), [0]);
}

#[test]
fn dead_torrents_do_not_all_run_at_once() {
    let mut rig = Rig::new(|s| {
        s.queue.max_downloads = Some(2);
        s.queue.slow = Some(Slow {
            most: 3,
            ..Slow::default()
        });
    });
    (0..20).for_each(|id| rig.add(id, download()));
    rig.pass(secs(3600));
    assert_eq!(rig.runs(), [0, 1, 2, 3, 4]);
}

#[test]
fn a_label_has_its_own_places_limits_and_goals() {
    let limits = Rates {
        down: 10 * KIB,
        up: 0,
    };
    let films = LabelRules {
        limits,
        goals: Some(Goals {
            ratio: Some(500),
            seeding: None,
        }),
        max_active: Some(1),
    };
    let mut rig = Rig::new(|s| s.labels = [("films".into(), films)].into());
    let scope = Scope::Label("films".into());
    assert!(
        rig.decisions()
            .contains(&Output::Limit(scope.clone(), limits))
    );
    rig.add(0, labelled("films"));
    rig.add(1, labelled("films"));
    rig.add(2, labelled("music"));
    let told = rig.held();
    assert_eq!(
        told[1].as_deref(),
        Some("waits for its turn: 1 at once under label \"films\"")
    );
    assert_eq!(rig.runs(), [0, 2]);
    rig.progress(0, Progress { up: 500, ..DONE });
    assert_eq!(
        rig.held()[0].as_deref(),
        Some("has reached its ratio of 0.5")
    );
    assert_eq!(rig.runs(), [1, 2]);
    rig.set(|s| s.labels.clear());
    let decisions = rig.decisions();
    assert_eq!(decisions[0], Output::Limit(scope, Rates::NONE));
    assert_eq!(decisions[1], Output::Release(TransferId(0)));
}

#[test]
fn a_transfer_has_limits_and_goals_of_its_own() {
    let mut rig = Rig::new(|s| s.goals.ratio = Some(1000));
    rig.decisions();
    let limits = Rates {
        down: 0,
        up: 5 * KIB,
    };
    let goals = Some(Goals::default());
    rig.add(
        0,
        Transfer {
            limits,
            goals,
            ..download()
        },
    );
    let scope = Scope::Transfer(TransferId(0));
    assert_eq!(rig.decisions(), [Output::Limit(scope, limits)]);
    rig.add(1, download());
    let generous = Progress { up: 9000, ..DONE };
    rig.progress(0, generous);
    rig.progress(1, generous);
    assert_eq!(rig.runs(), [0]);
}

#[test]
fn a_seed_is_held_to_the_second_when_its_time_is_over() {
    let mut rig = Rig::new(|s| s.goals.seeding = Some(secs(3600)));
    rig.add(0, download());
    rig.progress(
        0,
        Progress {
            seeding: secs(3000),
            ..DONE
        },
    );
    rig.pass(secs(599));
    assert_eq!(rig.runs(), [0]);
    rig.pass(secs(1));
    assert_eq!(rig.held()[0].as_deref(), Some("has seeded for its 1 hour"));
}

#[test]
fn the_schedule_changes_limits_and_pauses_on_time() {
    let night = Rates {
        down: 0,
        up: 900 * KIB,
    };
    let limit = Entry {
        days: Days::WORKING,
        from: 22 * 60,
        to: 6 * 60,
        action: Action::Limit(night),
    };
    let pause = Entry {
        from: 18 * 60,
        to: 20 * 60,
        action: Action::Pause,
        ..limit
    };
    let day = Rates {
        down: 0,
        up: 100 * KIB,
    };
    let mut rig = Rig::new(|s| {
        s.limits = day;
        s.schedule = vec![pause, limit];
    });
    rig.add(0, download());
    rig.decisions();
    let hour = secs(3600);
    assert_eq!(rig.pass(6 * hour - secs(1)), []);
    let until = Some(monday(20, 0));
    let held = Output::Hold(TransferId(0), Reason::Schedule { until });
    assert_eq!(rig.pass(secs(1)), [held]);
    assert_eq!(rig.pass(2 * hour), [Output::Release(TransferId(0))]);
    assert_eq!(rig.pass(2 * hour), [Output::Limit(Scope::Global, night)]);
    assert_eq!(rig.pass(8 * hour), [Output::Limit(Scope::Global, day)]);
}

#[test]
fn a_clock_put_forward_skips_the_hour_it_skips() {
    let pause = Entry {
        days: Days::ALL,
        from: 3 * 60,
        to: 4 * 60,
        action: Action::Pause,
    };
    let mut rig = Rig::new(|s| s.schedule = vec![pause]);
    rig.add(0, download());
    rig.wall = monday(1, 59);
    rig.tell(Input::Clock(rig.wall));
    rig.decisions();
    // At 02:00 it becomes 03:00: the driver is woken there and sees it.
    let at = rig.policy.deadline().expect("a schedule is looked at") - rig.start;
    assert_eq!(at, secs(60));
    rig.now = at;
    rig.wall = monday(3, 0);
    rig.tell(Input::Timeout(rig.wall));
    assert_eq!(
        rig.held()[0].as_deref(),
        Some("paused by the schedule until Monday 04:00")
    );
}

#[test]
fn a_metered_link_holds_everything_and_its_end_is_believed_later() {
    let mut rig = Rig::new(|_| {});
    rig.add(0, download());
    rig.tell(Input::Metered(Some(true)));
    assert_eq!(
        rig.held()[0].as_deref(),
        Some("this network is metered; goes on with one that is not")
    );
    rig.tell(Input::Metered(Some(false)));
    assert_eq!(rig.pass(secs(29)), []);
    assert_eq!(rig.pass(secs(1)), [Output::Release(TransferId(0))]);
}

#[test]
fn a_metered_link_can_be_limited_instead() {
    let limits = Rates {
        down: 30 * KIB,
        up: 10 * KIB,
    };
    let mut rig = Rig::new(|s| {
        s.limits = Rates {
            down: 20 * KIB,
            up: 0,
        };
        s.on_metered = OnMetered::Limit(limits);
    });
    rig.add(0, download());
    rig.decisions();
    rig.tell(Input::Metered(Some(true)));
    let both = Rates {
        down: 20 * KIB,
        up: 10 * KIB,
    };
    assert_eq!(rig.decisions(), [Output::Limit(Scope::Global, both)]);
}

#[test]
fn a_hold_is_explained_anew_when_its_reason_changes() {
    let mut rig = Rig::new(|s| s.on_battery = OnBattery::PauseBelow(20));
    rig.add(0, download());
    rig.decisions();
    rig.tell(Input::Power(Power::Battery(Some(10))));
    let low = Reason::Battery { below: Some(20) };
    assert_eq!(rig.decisions(), [Output::Hold(TransferId(0), low)]);
    rig.tell(Input::Metered(Some(true)));
    rig.tell(Input::Power(Power::Mains));
    let metered = Output::Explain(TransferId(0), Reason::Metered);
    assert_eq!(rig.pass(secs(60)), [metered]);
    rig.set(|s| s.on_metered = OnMetered::Nothing);
    assert_eq!(rig.decisions(), [Output::Release(TransferId(0))]);
}

#[test]
fn a_full_disk_holds_the_downloads_on_it() {
    let mut rig = Rig::new(|_| {});
    let elsewhere = Transfer {
        file_system: Some(FileSystem(2)),
        ..download()
    };
    rig.add(0, download());
    rig.add(1, elsewhere);
    rig.add(2, download());
    rig.progress(2, DONE);
    let space = |free| Space {
        folder: "/data".into(),
        free,
        total: 1000 * GIB,
    };
    rig.tell(Input::Space(FileSystem(1), Some(space(GIB / 2))));
    assert_eq!(
        rig.held()[0].as_deref(),
        Some("1 GiB must stay free in /data; goes on when there is more room")
    );
    assert_eq!(rig.runs(), [1, 2]);
    rig.tell(Input::Space(FileSystem(1), Some(space(2 * GIB))));
    assert_eq!(rig.runs(), [0, 1, 2]);
}

#[test]
fn too_much_memory_costs_buffers_then_downloads() {
    let mut rig = Rig::new(|s| s.memory_ceiling = Some(100 << 20));
    (0..3).for_each(|id| rig.add(id, download()));
    rig.add(3, download());
    rig.progress(3, DONE);
    rig.decisions();
    let mut steps = Vec::new();
    for _ in 0..3 {
        rig.tell(Input::Memory(101 << 20));
        let allowed = rig.decisions().into_iter().find_map(|o| match o {
            Output::Allow(a) => Some((a.buffer_bytes >> 20, a.connections)),
            _ => None,
        });
        steps.push((allowed, rig.runs()));
        rig.pass(secs(10));
    }
    assert_eq!(
        steps,
        [
            (Some((4, 250)), vec![0, 1, 2, 3]),
            (Some((2, 125)), vec![0, 3]),
            (None, vec![3]),
        ]
    );
}

#[test]
fn a_process_that_may_open_few_files_has_fewer_peers() {
    let mut rig = Rig::new(|_| {});
    rig.decisions();
    rig.tell(Input::OpenFileLimit(256));
    let decisions = rig.decisions();
    let [Output::Allow(allowed)] = decisions[..] else {
        panic!("{decisions:?}");
    };
    assert_eq!((allowed.open_files, allowed.connections), (32, 96));
    rig.tell(Input::OpenFileLimit(0));
    let decisions = rig.decisions();
    assert!(matches!(decisions[..], [Output::Allow(a)] if a.connections == 1 && a.dials == 1));
}

#[test]
fn slots_follow_what_is_measured_unless_they_are_set() {
    let mut rig = Rig::new(|_| {});
    let slots = |decisions: &[Output]| match decisions {
        [Output::Allow(a)] => Some(a.unchoke_slots),
        _ => None,
    };
    rig.decisions();
    let upload = Upload {
        bytes: 1_000_000,
        interval: secs(10),
        served: 8,
        waiting: 50,
    };
    (0..3).for_each(|_| rig.tell(Input::Upload(upload)));
    assert_eq!(slots(&rig.decisions()), Some(12));
    rig.set(|s| s.upload_slots = Some(4));
    assert_eq!(slots(&rig.decisions()), Some(4));
}

#[test]
fn ten_thousand_seeds_cost_no_wake_ups() {
    let mut rig = Rig::new(|s| s.queue.max_downloads = None);
    for id in 0..10_000 {
        rig.add(id, download());
        rig.progress(id, Progress { rate_up: 0, ..DONE });
    }
    rig.pass(secs(60));
    assert_eq!(rig.policy.deadline(), None);
}

#[test]
fn nothing_follows_about_a_transfer_that_is_gone() {
    let mut rig = Rig::new(|_| {});
    (0..2).for_each(|id| rig.add(id, download()));
    rig.decisions();
    rig.tell(Input::Metered(Some(true)));
    assert_eq!(
        rig.policy.poll(),
        Some(Output::Hold(TransferId(0), Reason::Metered))
    );
    rig.tell(Input::Gone(TransferId(1)));
    assert_eq!(rig.decisions(), []);
    rig.add(1, download());
    assert_eq!(
        rig.decisions(),
        [Output::Hold(TransferId(1), Reason::Metered)]
    );
}
