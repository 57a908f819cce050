//! The engine's vocabulary: the facts that go in and the decisions that come out.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::{Checked, Goals, LocalTime, Rates};

/// One transfer. Chosen by whoever adds it; never used again for another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TransferId(pub u32);

/// A file system, by whatever number tells it from others (on Unix its device).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FileSystem(pub u64);

/// What a person chose for a transfer, and where it is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Transfer {
    /// It may run as far as the person and the disk are concerned: neither paused nor stopped by a
    /// problem.
    pub wanted: bool,
    /// The label it is filed under; its rules are in [`Settings::labels`](crate::Settings::labels).
    pub label: Option<Arc<str>>,
    /// The file system it writes to.
    pub file_system: Option<FileSystem>,
    /// Limits of its own, beside those of its label and the global ones.
    pub limits: Rates,
    /// Goals of its own; `None`: those of its label, else the global ones.
    pub goals: Option<Goals>,
}

/// How far a transfer is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Progress {
    /// Everything wanted is here: it is a seed.
    pub complete: bool,
    /// Payload bytes sent, ever.
    pub up: u64,
    /// Payload bytes received, ever.
    pub down: u64,
    /// Verified bytes that are here. The ratio is `up` by the larger of `down` and this, so that
    /// content that was here before does not count as a gift.
    pub have: u64,
    /// Time spent as a running seed, ever. While it runs the engine counts on from here.
    pub seeding: Duration,
    /// Payload bytes received a second, of late.
    pub rate_down: u64,
    /// Payload bytes sent a second, of late.
    pub rate_up: u64,
}

/// A change of a transfer's place in the queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Move {
    /// To the head.
    Top,
    /// One place nearer to the head.
    Up,
    /// One place nearer to the end.
    Down,
    /// To the end.
    Bottom,
    /// To this place, 0 being the head; past the end is the end.
    To(u32),
}

/// Where the computer's power comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Power {
    /// The system does not say: treated as mains.
    #[default]
    Unknown,
    /// Mains, or a desktop computer.
    Mains,
    /// A battery, with its charge in percent if known.
    Battery(Option<u8>),
}

/// Room on a file system.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Space {
    /// The folder by which people know it, for the text of [`Reason::DiskReserve`].
    pub folder: Arc<str>,
    /// Bytes free to us.
    pub free: u64,
    /// Bytes in all.
    pub total: u64,
}

/// What was sent in an interval: what [`slots`](crate::slots) learns from. Best handed over when
/// the unchoke slots are dealt anew (every 10 s).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Upload {
    /// Payload bytes sent to peers whose class counts (not to the LAN if that is free).
    pub bytes: u64,
    /// In this time.
    pub interval: Duration,
    /// Peers that had a slot and asked for blocks.
    pub served: u32,
    /// Peers of such a class that are interested and had no slot.
    pub waiting: u32,
}

/// A fact.
#[derive(Clone, Debug)]
pub enum Input {
    /// New settings, and the local time, as a schedule may have come with them.
    Settings(Box<Checked>, LocalTime),
    /// A transfer is new (it goes to the end of the queue) or something a person chose for it is
    /// different. A new one may run unless [`Output::Hold`] follows.
    Transfer(TransferId, Box<Transfer>),
    /// How far a transfer is, told when something of it changed, a rate that fell to 0 included.
    /// Unknown transfers are ignored, here and below.
    Progress(TransferId, Progress),
    /// A transfer changes its place.
    Move(TransferId, Move),
    /// A transfer is no more. Nothing follows about it.
    Gone(TransferId),
    /// Where power comes from.
    Power(Power),
    /// Whether bytes over the present network cost money; `None`: the system does not say, treated
    /// as no.
    Metered(Option<bool>),
    /// Room on a file system; `None`: it is gone or no longer of interest.
    Space(FileSystem, Option<Space>),
    /// Bytes of memory this process holds. To be told every few seconds while there is a ceiling.
    Memory(u64),
    /// What was sent.
    Upload(Upload),
    /// Files and sockets this process may have open (`RLIMIT_NOFILE`).
    OpenFileLimit(u64),
    /// The wall clock or the time zone was changed, or the computer woke up: it is now this late.
    Clock(LocalTime),
    /// The time of [`Policy::deadline`](crate::Policy::deadline) has come; the wall clock shows
    /// this.
    Timeout(LocalTime),
}

/// Where a peer is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Class {
    /// In the same local network.
    Lan,
    /// Anywhere else.
    Other,
}

/// What a rate limit is about. A byte counts in each limit that covers it, except that peers of a
/// class that is [`ClassRule::exempt`] count in that class's alone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Scope {
    /// All transfers together.
    Global,
    /// The transfers of a label together.
    Label(Arc<str>),
    /// One transfer.
    Transfer(TransferId),
}

/// How peers of a class are limited.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ClassRule {
    /// All peers of the class together.
    pub limits: Rates,
    /// Its bytes do not count in any [`Scope`].
    pub exempt: bool,
}

/// What the engines and the disk may use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Allowance {
    /// Connections to peers, of all torrents together.
    pub connections: u32,
    /// Connections of one torrent.
    pub connections_per_torrent: u32,
    /// Dials under way at once.
    pub dials: u32,
    /// Peers served at once, of all torrents together.
    pub unchoke_slots: u32,
    /// Content files open at once.
    pub open_files: u32,
    /// Bytes of content in memory on their way between network and disk.
    pub buffer_bytes: u64,
}

/// Why a transfer is held. The text is for people: what is the case, and what ends it. It names
/// rules and no measurements, so that it changes only when the rule does.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Reason {
    /// Its turn has not come.
    Queue {
        /// Whether it waits as a seed or as a download.
        seed: bool,
        /// So many run at once.
        at_once: u32,
    },
    /// Its label runs no more at once.
    LabelQueue {
        /// Which label.
        label: Arc<str>,
        /// So many run at once.
        at_once: u32,
    },
    /// An hour at which nothing runs.
    Schedule {
        /// When that ends; `None`: not within a week.
        until: Option<LocalTime>,
    },
    /// The computer runs on battery.
    Battery {
        /// Only below this charge, in percent; `None`: at any.
        below: Option<u8>,
    },
    /// Bytes cost money on this network.
    Metered,
    /// Too little room is left where it writes.
    DiskReserve {
        /// The folder.
        folder: Arc<str>,
        /// Bytes that stay free there.
        reserve: u64,
    },
    /// It has given as much as was wanted.
    RatioReached {
        /// The goal, in thousandths.
        ratio: u32,
    },
    /// It has been a seed for as long as was wanted.
    SeedingTimeReached {
        /// The goal.
        time: Duration,
    },
    /// The process holds as much memory as it may.
    MemoryCeiling {
        /// Bytes it may hold.
        ceiling: u64,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Queue { seed, at_once } => {
                let what = match (seed, at_once) {
                    (true, 1) => "seed runs",
                    (true, _) => "seeds run",
                    (false, 1) => "download runs",
                    (false, _) => "downloads run",
                };
                write!(f, "waits for its turn: {at_once} {what} at once")
            }
            Reason::LabelQueue { label, at_once } => {
                write!(
                    f,
                    "waits for its turn: {at_once} at once under label {label:?}"
                )
            }
            Reason::Schedule { until: Some(until) } => {
                write!(f, "paused by the schedule until {until}")
            }
            Reason::Schedule { until: None } => {
                f.write_str("paused by the schedule, which has no other hours")
            }
            Reason::Battery { below: Some(below) } => write!(
                f,
                "the battery is below {below} %; goes on with mains power or {} %",
                crate::world::recovered(*below)
            ),
            Reason::Battery { below: None } => {
                f.write_str("the computer runs on battery; goes on with mains power")
            }
            Reason::Metered => f.write_str("this network is metered; goes on with one that is not"),
            Reason::DiskReserve { folder, reserve } => write!(
                f,
                "{} must stay free in {folder}; goes on when there is more room",
                Size(*reserve)
            ),
            Reason::RatioReached { ratio } => {
                write!(f, "has reached its ratio of {}", f64::from(*ratio) / 1000.0)
            }
            Reason::SeedingTimeReached { time } => {
                write!(f, "has seeded for its {}", Span(*time))
            }
            Reason::MemoryCeiling { ceiling } => write!(
                f,
                "memory has reached its ceiling of {}; goes on when there is less to do",
                Size(*ceiling)
            ),
        }
    }
}

/// Bytes as people read them.
struct Size(u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, shift) = match self.0 {
            n if n >= 1 << 30 => ("GiB", 30),
            n if n >= 1 << 20 => ("MiB", 20),
            _ => ("KiB", 10),
        };
        let tenths = (u128::from(self.0) * 10) >> shift;
        match tenths % 10 {
            0 => write!(f, "{} {unit}", tenths / 10),
            rest => write!(f, "{}.{rest} {unit}", tenths / 10),
        }
    }
}

/// A time as people read it, in its largest whole unit.
struct Span(Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let units = [
            ("day", 86_400),
            ("hour", 3600),
            ("minute", 60),
            ("second", 1),
        ];
        let (unit, size) = units
            .into_iter()
            .find(|(_, size)| seconds >= *size && seconds.is_multiple_of(*size))
            .unwrap_or(("second", 1));
        let n = seconds / size;
        write!(f, "{n} {unit}{}", if n == 1 { "" } else { "s" })
    }
}

/// A decision.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// Rate limits. Until told otherwise there are none; those of a transfer or label that is gone
    /// are to be forgotten with it.
    Limit(Scope, Rates),
    /// How peers of a class are limited. Told for each class at the start.
    LimitClass(Class, ClassRule),
    /// What may be used. Told at the start.
    Allow(Allowance),
    /// The transfer must not run.
    Hold(TransferId, Reason),
    /// The transfer is still held, now for this reason.
    Explain(TransferId, Reason),
    /// Nothing is held against the transfer any more: it runs if a person wants it to.
    Release(TransferId),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_sentences_that_name_rules() {
        let at = LocalTime::new(0, 7, 0, 0).expect("a time");
        let said = |r: Reason| r.to_string();
        assert_eq!(
            said(Reason::Queue {
                seed: false,
                at_once: 5
            }),
            "waits for its turn: 5 downloads run at once"
        );
        assert_eq!(
            said(Reason::Schedule { until: Some(at) }),
            "paused by the schedule until Monday 07:00"
        );
        assert_eq!(
            said(Reason::Battery { below: Some(20) }),
            "the battery is below 20 %; goes on with mains power or 25 %"
        );
        assert_eq!(
            said(Reason::DiskReserve {
                folder: "/data".into(),
                reserve: 3 << 29
            }),
            "1.5 GiB must stay free in /data; goes on when there is more room"
        );
        assert_eq!(
            said(Reason::RatioReached { ratio: 1500 }),
            "has reached its ratio of 1.5"
        );
        assert_eq!(
            said(Reason::SeedingTimeReached {
                time: Duration::from_secs(7200)
            }),
            "has seeded for its 2 hours"
        );
    }
}
