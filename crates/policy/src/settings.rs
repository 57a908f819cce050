//! What people can wish for, and what is wrong with a wish.
//!
//! [`Settings`] are plain values; [`Settings::check`] turns them into [`Checked`] ones, which is all
//! the engine takes. Keys in errors are spelled as the fields are, so that they can be found in a
//! configuration file.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::time::Duration;

use crate::schedule::{Action, Entry};
use crate::slots::MOST_SLOTS;

/// Bytes a second: less would not carry a block (16 KiB) within the minute peers wait for one, so it
/// was likely meant in another unit.
const LEAST_RATE: u64 = 1024;
/// Entries of a schedule: enough for a different rule in each waking hour of a week.
const MOST_ENTRIES: usize = 100;
/// Labels with rules: each is looked up by name and told of once.
const MOST_LABELS: usize = 1000;
/// Bytes of a label's name: what still fits beside a transfer on a screen.
const LONGEST_LABEL: usize = 100;
/// Bytes: below this a process that talks to peers at all does not fit.
const LEAST_CEILING: u64 = 64 << 20;
/// Bytes: a piece of common size on its way for a few peers at once.
pub(crate) const LEAST_BUFFERS: u64 = 2 << 20;
/// Files: below this a torrent of several files closes one for each block.
pub(crate) const LEAST_OPEN_FILES: u32 = 8;
/// Connections: more than a process can have on one address pair, and more than any swarm needs.
const MOST_CONNECTIONS: u32 = 65_535;

/// Limits in payload bytes a second; 0: none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Rates {
    /// Towards us.
    pub down: u64,
    /// From us.
    pub up: u64,
}

impl Rates {
    /// No limits.
    pub const NONE: Rates = Rates { down: 0, up: 0 };

    /// The stricter of both, each direction for itself.
    pub(crate) fn tighter(self, other: Rates) -> Rates {
        let tighter = |a: u64, b: u64| if a == 0 || b == 0 { a.max(b) } else { a.min(b) };
        Rates {
            down: tighter(self.down, other.down),
            up: tighter(self.up, other.up),
        }
    }

    /// Whether these limits, found under `key`, can be meant.
    ///
    /// # Errors
    /// A limit below 1 KiB a second, except 0.
    pub fn check(self, key: &str) -> Result<(), WrongSetting> {
        for (direction, rate) in [("down", self.down), ("up", self.up)] {
            if (1..LEAST_RATE).contains(&rate) {
                return wrong(
                    format!("{key}.{direction}"),
                    format!(
                        "{rate} bytes a second is too slow for any transfer; limits are in bytes a second, from {LEAST_RATE}, and 0 is no limit"
                    ),
                );
            }
        }
        Ok(())
    }
}

/// When a seed has done its part: it is held as soon as one of these is reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Goals {
    /// Sent by received, in thousandths (2000: twice as much). 0: it does not seed at all.
    pub ratio: Option<u32>,
    /// Time as a running seed.
    pub seeding: Option<Duration>,
}

/// What holds for the transfers of a label.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LabelRules {
    /// All its transfers together.
    pub limits: Rates,
    /// For its transfers without goals of their own; `None`: the global ones.
    pub goals: Option<Goals>,
    /// Downloads and seeds running at once; `None`: as many as the queue lets.
    pub max_active: Option<u32>,
}

/// Peers in the local network.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lan {
    /// Their bytes count in no other limit.
    pub free: bool,
    /// All of them together.
    pub limits: Rates,
}

impl Default for Lan {
    fn default() -> Lan {
        Lan {
            free: true,
            limits: Rates::NONE,
        }
    }
}

/// When a running transfer gives its turn to the next without stopping.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slow {
    /// Below this, in bytes a second (a download by what it receives, a seed by what it sends).
    pub rate: u64,
    /// For this long; as long at or above it, and it counts again.
    pub time: Duration,
    /// So many at most do not count, downloads and seeds each.
    pub most: u32,
}

impl Default for Slow {
    /// 2 KiB/s for a minute, as libtorrent has it; a hundred, so that a folder full of dead torrents
    /// cannot run all at once.
    fn default() -> Slow {
        Slow {
            rate: 2048,
            time: Duration::from_secs(60),
            most: 100,
        }
    }
}

/// How many transfers run at once. The order is told apart, with
/// [`Input::Move`](crate::Input::Move).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Queue {
    /// Downloads at once; `None`: all.
    pub max_downloads: Option<u32>,
    /// Seeds at once; `None`: all.
    pub max_seeds: Option<u32>,
    /// Those that do not count; `None`: all count.
    pub slow: Option<Slow>,
}

impl Default for Queue {
    fn default() -> Queue {
        Queue {
            max_downloads: Some(5),
            max_seeds: None,
            slow: Some(Slow::default()),
        }
    }
}

/// Room that downloads leave free: the smaller of the two.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DiskReserve {
    /// In bytes.
    pub bytes: u64,
    /// In percent of the file system.
    pub percent: u8,
}

impl Default for DiskReserve {
    fn default() -> DiskReserve {
        DiskReserve {
            bytes: 1 << 30,
            percent: 1,
        }
    }
}

/// What to do on battery.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum OnBattery {
    /// As always.
    #[default]
    Nothing,
    /// Hold everything while the charge is below so many percent.
    PauseBelow(u8),
    /// Hold everything.
    Pause,
}

/// What to do where bytes cost money.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum OnMetered {
    /// As always.
    Nothing,
    /// Hold everything.
    #[default]
    Pause,
    /// These limits at most.
    Limit(Rates),
}

/// Everything a person can set.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// All transfers together.
    pub limits: Rates,
    /// Hours with other limits, or none; the first that covers a time rules.
    pub schedule: Vec<Entry>,
    /// Peers in the local network.
    pub lan: Lan,
    /// All other peers together; what a schedule changes are `limits`, not these.
    pub other: Rates,
    /// By label.
    pub labels: BTreeMap<String, LabelRules>,
    /// For transfers that have none of their own or their label's.
    pub goals: Goals,
    /// How many run at once.
    pub queue: Queue,
    /// Room that downloads leave free.
    pub disk_reserve: DiskReserve,
    /// Bytes of memory the process may hold; `None`: no ceiling.
    pub memory_ceiling: Option<u64>,
    /// On battery.
    pub on_battery: OnBattery,
    /// On a metered link.
    pub on_metered: OnMetered,
    /// Connections to peers; fewer if the process may not open so many files.
    pub connections: u32,
    /// Connections of one torrent: beyond some dozens a swarm gains nothing and gossip costs more.
    pub connections_per_torrent: u32,
    /// Dials under way at once: home routers drop state beyond a few dozen.
    pub dials: u32,
    /// Peers served at once; `None`: found by measurement.
    pub upload_slots: Option<u32>,
    /// Content files open at once; fewer if the process may not.
    pub open_files: u32,
    /// Bytes of content in memory between network and disk; a quarter of the ceiling at most.
    pub buffer_bytes: u64,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            limits: Rates::NONE,
            schedule: Vec::new(),
            lan: Lan::default(),
            other: Rates::NONE,
            labels: BTreeMap::new(),
            goals: Goals::default(),
            queue: Queue::default(),
            disk_reserve: DiskReserve::default(),
            memory_ceiling: None,
            on_battery: OnBattery::default(),
            on_metered: OnMetered::default(),
            connections: 500,
            connections_per_torrent: 80,
            dials: 30,
            upload_slots: None,
            open_files: 128,
            buffer_bytes: 8 << 20,
        }
    }
}

/// A setting that cannot be meant.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{key}: {problem}")]
pub struct WrongSetting {
    /// Where it is: field names with dots between, places in lists in brackets, as in
    /// `schedule[2].to`.
    pub key: String,
    /// What is wrong and what can be meant.
    pub problem: String,
}

fn wrong(key: impl Into<String>, problem: impl Into<String>) -> Result<(), WrongSetting> {
    Err(WrongSetting {
        key: key.into(),
        problem: problem.into(),
    })
}

/// A number must lie in a range.
fn within(key: &str, value: u64, least: u64, most: u64, unit: &str) -> Result<(), WrongSetting> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    wrong(
        key,
        match most {
            u64::MAX => format!("{value} is too small; meant is {least} {unit} or more"),
            _ => format!("{value} is out of range; meant is {least} to {most} {unit}"),
        },
    )
}

/// Settings that were found to make sense.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Checked(Settings);

impl Deref for Checked {
    type Target = Settings;

    fn deref(&self) -> &Settings {
        &self.0
    }
}

impl Settings {
    /// The settings, if they make sense.
    ///
    /// # Errors
    /// The first key that is wrong, and what can be meant.
    pub fn check(self) -> Result<Checked, WrongSetting> {
        self.limits.check("limits")?;
        self.lan.limits.check("lan.limits")?;
        self.other.check("other")?;
        self.check_schedule()?;
        self.check_labels()?;
        self.check_queue()?;
        self.check_surroundings()?;
        self.check_resources()?;
        Ok(Checked(self))
    }

    fn check_schedule(&self) -> Result<(), WrongSetting> {
        let most = MOST_ENTRIES as u64;
        within("schedule", self.schedule.len() as u64, 0, most, "entries")?;
        for (n, entry) in self.schedule.iter().enumerate() {
            let key = |field: &str| format!("schedule[{n}].{field}");
            if !(1..=0x7f).contains(&entry.days.0) {
                wrong(
                    key("days"),
                    "names no day; meant is at least one of the seven",
                )?;
            }
            let minutes = "minutes from midnight";
            within(&key("from"), entry.from.into(), 0, 1439, minutes)?;
            within(&key("to"), entry.to.into(), 0, 1440, minutes)?;
            if entry.from == entry.to {
                wrong(
                    key("to"),
                    "is the same as `from`; a whole day is from 0 to 1440",
                )?;
            }
            if let Action::Limit(rates) = entry.action {
                rates.check(&key("limits"))?;
            }
        }
        Ok(())
    }

    fn check_labels(&self) -> Result<(), WrongSetting> {
        let most = MOST_LABELS as u64;
        within("labels", self.labels.len() as u64, 0, most, "labels")?;
        for (name, rules) in &self.labels {
            let long = name.len() > LONGEST_LABEL;
            if name.is_empty() || long || name.contains(char::is_control) {
                let shown: String = name.chars().take(20).flat_map(char::escape_debug).collect();
                wrong(
                    format!("labels.{shown}"),
                    format!(
                        "is no name for a label; meant are 1 to {LONGEST_LABEL} bytes of text in one line"
                    ),
                )?;
            }
            rules.limits.check(&format!("labels.{name}.limits"))?;
            at_least_one(&format!("labels.{name}.max_active"), rules.max_active)?;
        }
        Ok(())
    }

    fn check_queue(&self) -> Result<(), WrongSetting> {
        at_least_one("queue.max_downloads", self.queue.max_downloads)?;
        if self.queue.max_seeds == Some(0) {
            wrong(
                "queue.max_seeds",
                "0 would hold every seed; to seed nothing, set goals.ratio to 0",
            )?;
        }
        if let Some(slow) = self.queue.slow {
            within("queue.slow.rate", slow.rate, 1, u64::MAX, "bytes a second")?;
            within("queue.slow.time", slow.time.as_secs(), 1, 86_400, "seconds")?;
        }
        Ok(())
    }

    fn check_surroundings(&self) -> Result<(), WrongSetting> {
        let percent = self.disk_reserve.percent.into();
        within("disk_reserve.percent", percent, 0, 99, "percent")?;
        if let OnBattery::PauseBelow(percent) = self.on_battery {
            let key = "on_battery.pause_below";
            within(key, percent.into(), 1, 100, "percent")?;
        }
        if let OnMetered::Limit(rates) = self.on_metered {
            rates.check("on_metered.limit")?;
            if rates == Rates::NONE {
                wrong(
                    "on_metered.limit",
                    "limits nothing; meant is `nothing`, or a limit for `down` or `up`",
                )?;
            }
        }
        Ok(())
    }

    fn check_resources(&self) -> Result<(), WrongSetting> {
        if let Some(ceiling) = self.memory_ceiling {
            within("memory_ceiling", ceiling, LEAST_CEILING, u64::MAX, "bytes")?;
        }
        let all = u64::from(self.connections);
        within(
            "connections",
            all,
            1,
            MOST_CONNECTIONS.into(),
            "connections",
        )?;
        let one = self.connections_per_torrent.into();
        within("connections_per_torrent", one, 1, all, "connections")?;
        within("dials", self.dials.into(), 1, all, "dials at once")?;
        if let Some(slots) = self.upload_slots {
            within("upload_slots", slots.into(), 1, MOST_SLOTS.into(), "peers")?;
        }
        let files = u64::from(LEAST_OPEN_FILES);
        within(
            "open_files",
            self.open_files.into(),
            files,
            u64::MAX,
            "files",
        )?;
        within(
            "buffer_bytes",
            self.buffer_bytes,
            LEAST_BUFFERS,
            u64::MAX,
            "bytes",
        )
    }
}

fn at_least_one(key: &str, value: Option<u32>) -> Result<(), WrongSetting> {
    match value {
        Some(0) => wrong(
            key,
            "0 would hold everything; meant is 1 or more, or nothing for no limit",
        ),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Days;

    fn complaint(change: impl FnOnce(&mut Settings)) -> String {
        let mut settings = Settings::default();
        change(&mut settings);
        settings.check().expect_err("wrong").to_string()
    }

    #[test]
    fn what_nobody_changed_is_right() {
        assert_eq!(Settings::default().check(), Ok(Checked::default()));
    }

    #[test]
    fn a_wrong_setting_is_named_with_what_can_be_meant() {
        let entry = Entry {
            days: Days::ALL,
            from: 60,
            to: 60,
            action: Action::Pause,
        };
        let said = complaint(|s| s.limits.up = 100);
        assert!(said.starts_with("limits.up: 100 bytes a second"), "{said}");
        let said = complaint(|s| s.schedule = vec![Entry { to: 90, ..entry }, entry]);
        assert!(said.starts_with("schedule[1].to: is the same as"), "{said}");
        let said = complaint(|s| s.schedule = vec![Entry { to: 1500, ..entry }]);
        assert_eq!(
            said,
            "schedule[0].to: 1500 is out of range; meant is 0 to 1440 minutes from midnight"
        );
        let days = Days(0x80);
        let said = complaint(|s| {
            s.schedule = vec![Entry {
                days,
                to: 90,
                ..entry
            }]
        });
        assert!(said.starts_with("schedule[0].days: names no day"), "{said}");
        let said = complaint(|s| {
            let none = LabelRules {
                max_active: Some(0),
                ..LabelRules::default()
            };
            s.labels.insert("films".into(), none);
        });
        assert!(
            said.starts_with("labels.films.max_active: 0 would"),
            "{said}"
        );
        let said = complaint(|s| s.labels = [("a\nb".into(), LabelRules::default())].into());
        assert!(said.starts_with("labels.a\\nb: is no name"), "{said}");
        let said = complaint(|s| s.on_metered = OnMetered::Limit(Rates::NONE));
        assert!(
            said.starts_with("on_metered.limit: limits nothing"),
            "{said}"
        );
        let said = complaint(|s| s.memory_ceiling = Some(500));
        assert_eq!(
            said,
            "memory_ceiling: 500 is too small; meant is 67108864 bytes or more"
        );
        let said = complaint(|s| s.connections = 10);
        assert!(
            said.starts_with("connections_per_torrent: 80 is out"),
            "{said}"
        );
    }

    #[test]
    fn no_limit_is_looser_than_any() {
        let a = Rates { down: 0, up: 5000 };
        let b = Rates {
            down: 9000,
            up: 4000,
        };
        assert_eq!(a.tighter(b), b);
        assert_eq!(b.tighter(Rates::NONE), b);
    }
}
