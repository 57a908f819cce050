//! Whatever happens, in whatever order, some things stay true.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use policy::{
    Action, Days, Entry, FileSystem, Goals, Input, LabelRules, LocalTime, Move, OnBattery,
    OnMetered, Output, Policy, Power, Progress, Rates, Reason, Settings, Slow, Space, Transfer,
    TransferId, Upload,
};
use proptest::prelude::*;

/// One thing that happens, and how many seconds it takes to happen.
#[derive(Clone, Debug)]
enum Step {
    Fact(u64, Input),
    Settings(u64, Box<Settings>),
    Wait(u64),
}

const LABELS: [&str; 2] = ["films", "music"];

fn rates() -> impl Strategy<Value = Rates> {
    let rate = prop_oneof![Just(0u64), 1024..1_000_000u64];
    (rate.clone(), rate).prop_map(|(down, up)| Rates { down, up })
}

fn goals() -> impl Strategy<Value = Goals> {
    let ratio = prop::option::of(0..3000u32);
    let seeding = prop::option::of((0..5000u64).prop_map(Duration::from_secs));
    (ratio, seeding).prop_map(|(ratio, seeding)| Goals { ratio, seeding })
}

fn entry() -> impl Strategy<Value = Entry> {
    let action = prop_oneof![Just(Action::Pause), rates().prop_map(Action::Limit)];
    let times = (0..1440u16, 0..=1440u16).prop_filter("no hours", |(from, to)| from != to);
    (1..0x80u8, times, action).prop_map(|(days, (from, to), action)| Entry {
        days: Days(days),
        from,
        to,
        action,
    })
}

fn settings() -> impl Strategy<Value = Settings> {
    let slow = prop::option::of((1..120u64, 0..4u32).prop_map(|(time, most)| Slow {
        time: Duration::from_secs(time),
        most,
        ..Slow::default()
    }));
    let battery = prop_oneof![
        Just(OnBattery::Nothing),
        Just(OnBattery::Pause),
        (1..=100u8).prop_map(OnBattery::PauseBelow),
    ];
    let metered = prop_oneof![
        Just(OnMetered::Nothing),
        Just(OnMetered::Pause),
        Just(OnMetered::Limit(Rates { down: 5000, up: 0 })),
    ];
    let label = (
        rates(),
        prop::option::of(goals()),
        prop::option::of(1..3u32),
    );
    let queue = (prop::option::of(1..4u32), prop::option::of(1..4u32), slow);
    (
        (
            rates(),
            prop::collection::vec(entry(), 0..3),
            label,
            goals(),
        ),
        (queue, battery, metered, prop::option::of(Just(64u64 << 20))),
    )
        .prop_map(
            |((limits, schedule, label, goals), (queue, battery, metered, ceiling))| {
                let mut settings = Settings {
                    limits,
                    schedule,
                    goals,
                    ..Settings::default()
                };
                let (limits, goals, max_active) = label;
                let rules = LabelRules {
                    limits,
                    goals,
                    max_active,
                };
                settings.labels.insert(LABELS[0].into(), rules);
                settings.queue.max_downloads = queue.0;
                settings.queue.max_seeds = queue.1;
                settings.queue.slow = queue.2;
                settings.on_battery = battery;
                settings.on_metered = metered;
                settings.memory_ceiling = ceiling;
                settings
            },
        )
}

fn fact() -> impl Strategy<Value = Input> {
    let id = || (0..12u32).prop_map(TransferId);
    let label = prop::option::of(prop::sample::select(&LABELS[..]));
    let transfer = (
        prop::bool::weighted(0.8),
        label,
        prop::option::of(0..3u64),
        rates(),
        prop::option::of(goals()),
    )
        .prop_map(|(wanted, label, file_system, limits, goals)| Transfer {
            wanted,
            label: label.map(Into::into),
            file_system: file_system.map(FileSystem),
            limits,
            goals,
        });
    let progress = (
        any::<bool>(),
        0..9000u64,
        0..9000u64,
        0..4000u64,
        0..5000u64,
    )
        .prop_map(|(complete, up, have, rate, seeding)| Progress {
            complete,
            up,
            down: have,
            have,
            seeding: Duration::from_secs(seeding),
            rate_down: rate,
            rate_up: rate,
        });
    let moves = prop_oneof![
        Just(Move::Top),
        Just(Move::Up),
        Just(Move::Down),
        Just(Move::Bottom),
        (0..15u32).prop_map(Move::To),
    ];
    let power = prop_oneof![
        Just(Power::Unknown),
        Just(Power::Mains),
        prop::option::of(0..=100u8).prop_map(Power::Battery),
    ];
    let space = prop::option::of(
        (0..3u64 << 30, 0..1u64 << 40).prop_map(|(free, total)| Space {
            folder: "/data".into(),
            free,
            total,
        }),
    );
    let upload = (0..1u64 << 40, 0..40u64, 0..600u32, 0..9u32).prop_map(
        |(bytes, interval, served, waiting)| Upload {
            bytes,
            interval: Duration::from_secs(interval),
            served,
            waiting,
        },
    );
    let clock = (0..7u32, 0..24u32, 0..60u32, 0..60u32)
        .prop_map(|(d, h, m, s)| LocalTime::new(d, h, m, s).expect("a time"));
    prop_oneof![
        4 => (id(), transfer).prop_map(|(id, t)| Input::Transfer(id, Box::new(t))),
        4 => (id(), progress).prop_map(|(id, p)| Input::Progress(id, p)),
        1 => (id(), moves).prop_map(|(id, to)| Input::Move(id, to)),
        1 => id().prop_map(Input::Gone),
        1 => power.prop_map(Input::Power),
        1 => prop::option::of(any::<bool>()).prop_map(Input::Metered),
        1 => (0..3u64, space).prop_map(|(id, s)| Input::Space(FileSystem(id), s)),
        1 => (0..99u64 << 20).prop_map(Input::Memory),
        1 => upload.prop_map(Input::Upload),
        1 => (0..2000u64).prop_map(Input::OpenFileLimit),
        1 => clock.prop_map(Input::Clock),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (0..20u64, fact()).prop_map(|(after, input)| Step::Fact(after, input)),
        1 => (0..20u64, settings()).prop_map(|(after, s)| Step::Settings(after, Box::new(s))),
        2 => (0..4000u64).prop_map(Step::Wait),
    ]
}

/// What the engine was told and said, kept by somebody who believes it.
#[derive(Default)]
struct Witness {
    transfers: BTreeMap<TransferId, (Transfer, bool)>,
    held: BTreeMap<TransferId, Reason>,
    said: Vec<Output>,
}

impl Witness {
    fn saw(&mut self, input: &Input) {
        match input {
            Input::Transfer(id, given) => {
                self.transfers.entry(*id).or_default().0 = (**given).clone();
            }
            Input::Progress(id, progress) => {
                if let Some((_, complete)) = self.transfers.get_mut(id) {
                    *complete = progress.complete;
                }
            }
            Input::Gone(id) => {
                self.transfers.remove(id);
                self.held.remove(id);
            }
            _ => {}
        }
    }

    fn heard(&mut self, output: Output) {
        match &output {
            Output::Hold(id, reason) => {
                assert!(
                    self.transfers[id].0.wanted,
                    "{id:?} is held, and nobody wants it"
                );
                let before = self.held.insert(*id, reason.clone());
                assert_eq!(before, None, "{id:?} is held twice");
            }
            Output::Explain(id, reason) => {
                let before = self.held.insert(*id, reason.clone());
                assert!(before.is_some(), "{id:?} is explained, not held");
                assert_ne!(before.as_ref(), Some(reason), "{id:?} is explained twice");
            }
            Output::Release(id) => {
                assert!(
                    self.held.remove(id).is_some(),
                    "{id:?} is released, not held"
                );
            }
            Output::Allow(a) => {
                assert!(a.connections > 0 && a.dials > 0 && a.unchoke_slots > 0);
                assert!(a.unchoke_slots <= a.connections && a.dials <= a.connections);
            }
            _ => {}
        }
        self.said.push(output);
    }

    /// No more run than may, the slow ones aside; and nobody waits for its turn with a place free.
    fn check_queue(&self, settings: &Settings) {
        let slow = settings.queue.slow.map_or(0, |slow| slow.most);
        let runs = |seed: bool| {
            let all = self.transfers.iter();
            let run = all.filter(|(id, (given, complete))| {
                given.wanted && *complete == seed && !self.held.contains_key(*id)
            });
            run.count() as u32
        };
        let queue = settings.queue;
        for (seed, most) in [(false, queue.max_downloads), (true, queue.max_seeds)] {
            let runs = runs(seed);
            assert!(most.is_none_or(|most| runs <= most + slow), "{runs} run");
            let waits = self
                .held
                .values()
                .any(|r| matches!(r, Reason::Queue { seed: s, .. } if *s == seed));
            assert!(!waits || Some(runs) >= most, "one waits while {runs} run");
        }
    }
}

/// The engine, made to decide upon everyone each time.
struct Thorough(Policy);

impl Thorough {
    fn says(&mut self, now: Instant, input: Input) -> Vec<Output> {
        self.0.handle(now, input);
        let head = self.0.queue().next();
        if let Some(head) = head {
            self.0.handle(now, Input::Move(head, Move::Top));
        }
        std::iter::from_fn(|| self.0.poll()).collect()
    }
}

/// Does as a driver does and checks as it goes; what was said.
fn drive(steps: &[Step], start: Instant) -> Vec<Output> {
    let wall = |now: Duration| {
        let s = (now.as_secs() % 604_800) as u32;
        LocalTime::new(s / 86_400, s / 3600 % 24, s / 60 % 60, s % 60).expect("a time")
    };
    let first = Settings::default().check().expect("defaults are good");
    let mut policy = Policy::new(first.clone(), start, wall(Duration::ZERO));
    let mut thorough = Thorough(Policy::new(first, start, wall(Duration::ZERO)));
    let mut witness = Witness::default();
    let mut now = Duration::ZERO;
    for step in steps {
        let (after, input) = match step.clone() {
            Step::Fact(after, input) => (after, Some(input)),
            Step::Settings(after, settings) => {
                let checked = settings.check().expect("generated settings are good");
                let local = wall(now + Duration::from_secs(after));
                (after, Some(Input::Settings(Box::new(checked), local)))
            }
            Step::Wait(after) => (after, None),
        };
        let then = now + Duration::from_secs(after);
        while let Some(at) = policy.deadline().filter(|at| *at <= start + then) {
            now = at - start;
            policy.handle(at, Input::Timeout(wall(now)));
            let said: Vec<Output> = std::iter::from_fn(|| policy.poll()).collect();
            assert_eq!(said, thorough.says(at, Input::Timeout(wall(now))));
            said.into_iter().for_each(|o| witness.heard(o));
            let next = policy.deadline();
            assert!(
                next.is_none_or(|next| next > at),
                "woken for nothing at {now:?}"
            );
        }
        now = then;
        if let Some(input) = input {
            witness.saw(&input);
            policy.handle(start + now, input.clone());
            let said: Vec<Output> = std::iter::from_fn(|| policy.poll()).collect();
            assert_eq!(said, thorough.says(start + now, input));
            said.into_iter().for_each(|o| witness.heard(o));
        }
        assert_eq!(policy.deadline(), thorough.0.deadline());
        witness.check_queue(policy.settings());
        let queue: BTreeSet<TransferId> = policy.queue().collect();
        assert!(
            queue.iter().eq(witness.transfers.keys()),
            "the queue is everyone"
        );
        assert_eq!(policy.queue().len(), queue.len(), "and everyone once");
        for id in witness.transfers.keys() {
            assert_eq!(
                policy.held(*id),
                witness.held.get(id),
                "what was told is what is"
            );
        }
    }
    witness.said
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn holds_and_releases_alternate_turns_are_kept_and_runs_repeat(
        steps in prop::collection::vec(step(), 1..80),
    ) {
        let start = Instant::now();
        let said = drive(&steps, start);
        prop_assert_eq!(said, drive(&steps, start + Duration::from_secs(5)));
    }
}
