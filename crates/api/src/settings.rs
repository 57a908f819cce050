//! What a person can set: for the daemon, for a label, for a transfer.
//!
//! The rules these values feed are in `policy`; here are their names, ranges and defaults.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::ToSchema;

use crate::check::{self, Check, MAX_BYTES, MAX_LABEL, MAX_LIST};
use crate::ids::as_text;
use crate::problem::Problem;

/// Bytes a second of payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// To receive; 0: no limit.
    #[schema(minimum = 0, maximum = 9007199254740991i64)]
    pub down: u64,
    /// To send; 0: no limit.
    #[schema(minimum = 0, maximum = 9007199254740991i64)]
    pub up: u64,
}

impl Check for Limits {
    fn check(&self) -> Result<(), Problem> {
        check::range("limits.down", self.down, 0, MAX_BYTES)?;
        check::range("limits.up", self.up, 0, MAX_BYTES)
    }
}

/// When a transfer has been seeded enough: at the first of these it is held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Goals {
    /// Bytes sent for each byte of its size; `null`: no such goal.
    #[schema(minimum = 0)]
    pub ratio: Option<f64>,
    /// Seconds seeded; `null`: no such goal.
    #[schema(minimum = 0, maximum = 9007199254740991i64)]
    pub seeding_seconds: Option<u64>,
}

impl Check for Goals {
    fn check(&self) -> Result<(), Problem> {
        check::range("goals.ratio", self.ratio.unwrap_or(0.0), 0.0, f64::MAX)?;
        let seconds = self.seeding_seconds.unwrap_or(0);
        check::range("goals.seeding_seconds", seconds, 0, MAX_BYTES)
    }
}

/// A day of the week.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Day {
    /// Monday.
    Mon,
    /// Tuesday.
    Tue,
    /// Wednesday.
    Wed,
    /// Thursday.
    Thu,
    /// Friday.
    Fri,
    /// Saturday.
    Sat,
    /// Sunday.
    Sun,
}

/// A time of day in minutes since midnight, `HH:MM` in JSON; 24:00 is the day's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClockTime(u16);

impl ClockTime {
    /// So many minutes after midnight, at most 1,440.
    pub fn from_minutes(minutes: u16) -> Option<ClockTime> {
        (minutes <= 24 * 60).then_some(ClockTime(minutes))
    }

    /// Minutes after midnight.
    pub fn minutes(self) -> u16 {
        self.0
    }
}

impl fmt::Display for ClockTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0 / 60, self.0 % 60)
    }
}

impl FromStr for ClockTime {
    type Err = ClockTimeError;

    fn from_str(text: &str) -> Result<ClockTime, ClockTimeError> {
        let digits = |text: &str| -> Option<u16> {
            let two = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse().ok().filter(|_| two)
        };
        text.split_once(':')
            .and_then(|(hours, minutes)| Some((digits(hours)?, digits(minutes)?)))
            .filter(|&(_, minutes)| minutes < 60)
            .and_then(|(hours, minutes)| ClockTime::from_minutes(hours * 60 + minutes))
            .ok_or(ClockTimeError)
    }
}

as_text!(ClockTime);

/// A text that is no time of day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a time of day, which looks like 22:30")]
pub struct ClockTimeError;

/// Hours of the week in which other limits hold, in local time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// Days on which it begins.
    #[schema(max_items = 7)]
    pub days: Vec<Day>,
    /// When it begins.
    #[schema(value_type = String, pattern = "^([01][0-9]|2[0-3]):[0-5][0-9]$|^24:00$")]
    pub from: ClockTime,
    /// When it ends; before `from`: on the day after.
    #[schema(value_type = String, pattern = "^([01][0-9]|2[0-3]):[0-5][0-9]$|^24:00$")]
    pub to: ClockTime,
    /// Nothing runs.
    #[serde(default)]
    pub pause: bool,
    /// These limits hold, if it does not pause.
    #[serde(default)]
    pub limits: Limits,
}

/// How many transfers run at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Queue {
    /// Downloads; 0: no limit.
    pub downloads: u32,
    /// Seeds; 0: no limit.
    pub seeds: u32,
    /// A transfer below this many bytes a second for a minute does not count; 0: all count.
    #[schema(minimum = 0, maximum = 9007199254740991i64)]
    pub slow: u64,
}

impl Default for Queue {
    fn default() -> Queue {
        Queue {
            downloads: 5,
            seeds: 0,
            slow: 2048,
        }
    }
}

/// How many connections and open files there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Connections {
    /// In all.
    #[schema(minimum = 1, maximum = 65535)]
    pub all: u32,
    /// Of one transfer.
    #[schema(minimum = 1, maximum = 65535)]
    pub per_transfer: u32,
    /// Being made at once.
    #[schema(minimum = 1, maximum = 1000)]
    pub dials: u32,
    /// Open files; 0: as the system allows.
    pub files: u32,
}

impl Default for Connections {
    fn default() -> Connections {
        Connections {
            all: 500,
            per_transfer: 100,
            dials: 30,
            files: 0,
        }
    }
}

/// Space that is left free: the smaller of the two.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DiskReserve {
    /// Bytes.
    #[schema(minimum = 0, maximum = 9007199254740991i64)]
    pub bytes: u64,
    /// Percent of the file system.
    #[schema(minimum = 0, maximum = 100)]
    pub percent: f64,
}

impl Default for DiskReserve {
    fn default() -> DiskReserve {
        DiskReserve {
            bytes: 1 << 30,
            percent: 1.0,
        }
    }
}

/// What to do on battery.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BatteryAction {
    /// Nothing.
    #[default]
    Ignore,
    /// Hold all transfers while the charge is below the percentage.
    PauseBelow,
    /// Hold all transfers.
    Pause,
}

/// What to do on battery, and from when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Battery {
    /// What.
    pub action: BatteryAction,
    /// Charge in percent, for `pause-below`.
    #[schema(minimum = 0, maximum = 100)]
    pub percent: u8,
}

impl Default for Battery {
    fn default() -> Battery {
        Battery {
            action: BatteryAction::Ignore,
            percent: 20,
        }
    }
}

/// What to do on a network that costs by the byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MeteredAction {
    /// Nothing.
    Ignore,
    /// Hold all transfers.
    #[default]
    Pause,
    /// Go on under other limits.
    Limit,
}

/// What to do on a network that costs by the byte, and the limits there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Metered {
    /// What.
    pub action: MeteredAction,
    /// For `limit`.
    pub limits: Limits,
}

/// A folder whose torrent files are added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WatchFolder {
    /// Which.
    #[schema(min_length = 1, max_length = 4096, pattern = "^/")]
    pub path: String,
    /// The content goes there; `null`: the folder of the label or the settings.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 4096, pattern = "^/")]
    pub folder: Option<String>,
    /// The label it gets.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 100)]
    pub label: Option<String>,
    /// Add without starting.
    #[serde(default)]
    pub paused: bool,
}

/// Declares [`Settings`] and its patch from one list.
macro_rules! settings {
    ($($(#[doc = $doc:literal])* $(#[schema($($schema:tt)*)])? pub $name:ident: $type:ty,)*) => {
        /// The daemon's settings.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
        #[serde(default, deny_unknown_fields)]
        pub struct Settings {
            $($(#[doc = $doc])* $(#[schema($($schema)*)])? pub $name: $type,)*
        }

        /// What to change in the settings: each part that is named is replaced, what is absent stays;
        /// `null`: as the configuration says.
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
        #[serde(default, deny_unknown_fields)]
        pub struct SettingsPatch {
            $(
                $(#[doc = $doc])*
                #[serde(deserialize_with = "nullable", skip_serializing_if = "Option::is_none")]
                #[schema(value_type = Option<$type> $(, $($schema)*)?)]
                pub $name: Option<Option<$type>>,
            )*
        }

        impl SettingsPatch {
            /// Changes `settings`; what is dropped is as in `configured`.
            pub fn apply(self, settings: &mut Settings, configured: &Settings) {
                $(
                    let new = self.$name;
                    set(
                        &mut settings.$name,
                        new.map(|new| new.unwrap_or_else(|| configured.$name.clone())),
                    );
                )*
            }
        }
    };
}

settings! {
    /// Limits of everything together, peers on the local network aside if they are free.
    pub limits: Limits,
    /// Other limits by hours of the week; the first window that holds counts.
    #[schema(max_items = 64)]
    pub schedule: Vec<Window>,
    /// Peers on the local network pass no limit but `lan`.
    pub lan_free: bool,
    /// Limits of peers on the local network together.
    pub lan: Limits,
    /// How many transfers run at once.
    pub queue: Queue,
    /// When a transfer has been seeded enough.
    pub goals: Goals,
    /// Connections and open files.
    pub connections: Connections,
    /// Peers we send to at once; 0: found by measurement.
    #[schema(minimum = 0, maximum = 1000)]
    pub slots: u32,
    /// Space that is left free on each disk.
    pub disk_reserve: DiskReserve,
    /// Bytes of memory above which nothing new is begun; 0: no ceiling.
    #[schema(minimum = 0, maximum = 9007199254740991i64)]
    pub memory: u64,
    /// What to do on battery.
    pub battery: Battery,
    /// What to do on a network that costs by the byte.
    pub metered: Metered,
    /// Folders whose torrent files are added.
    #[schema(max_items = 64)]
    pub watch: Vec<WatchFolder>,
    /// Program and arguments to run when a transfer is done; none: nothing. What is about the
    /// transfer comes in variables `STARLING_…` and as `{id}`, `{name}`, `{path}` in arguments;
    /// no shell is asked.
    #[schema(max_items = 64)]
    pub on_done: Vec<String>,
    /// Where content goes when nothing else is said; empty: the person's folder for downloads.
    #[schema(max_length = 4096, pattern = "^(/|$)")]
    pub folder: String,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            limits: Limits::default(),
            schedule: Vec::new(),
            lan_free: true,
            lan: Limits::default(),
            queue: Queue::default(),
            goals: Goals::default(),
            connections: Connections::default(),
            slots: 0,
            disk_reserve: DiskReserve::default(),
            memory: 0,
            battery: Battery::default(),
            metered: Metered::default(),
            watch: Vec::new(),
            on_done: Vec::new(),
            folder: String::new(),
        }
    }
}

impl Check for Settings {
    fn check(&self) -> Result<(), Problem> {
        self.limits.check()?;
        self.lan.check()?;
        self.goals.check()?;
        self.metered.limits.check()?;
        check::list("schedule", &self.schedule, MAX_LIST)?;
        for window in &self.schedule {
            check::list("schedule.days", &window.days, 7)?;
            window.limits.check()?;
        }
        check::range("queue.slow", self.queue.slow, 0, MAX_BYTES)?;
        check::range("connections.all", self.connections.all, 1, 65_535)?;
        check::range(
            "connections.per_transfer",
            self.connections.per_transfer,
            1,
            65_535,
        )?;
        check::range("connections.dials", self.connections.dials, 1, 1_000)?;
        check::range("slots", self.slots, 0, 1_000)?;
        check::range("disk_reserve.bytes", self.disk_reserve.bytes, 0, MAX_BYTES)?;
        check::range(
            "disk_reserve.percent",
            self.disk_reserve.percent,
            0.0,
            100.0,
        )?;
        check::range("memory", self.memory, 0, MAX_BYTES)?;
        check::range("battery.percent", self.battery.percent, 0, 100)?;
        check::list("watch", &self.watch, MAX_LIST)?;
        for watch in &self.watch {
            check::path("watch.path", &watch.path)?;
            if let Some(folder) = &watch.folder {
                check::path("watch.folder", folder)?;
            }
            if let Some(label) = &watch.label {
                check::text("watch.label", label, 1, MAX_LABEL)?;
            }
        }
        check::list("on_done", &self.on_done, MAX_LIST)?;
        if self.on_done.iter().any(|argument| argument.contains('\0')) {
            return Err(check::nul("on_done"));
        }
        if self.folder.is_empty() {
            return Ok(());
        }
        check::path("folder", &self.folder)
    }
}

impl Check for SettingsPatch {
    fn check(&self) -> Result<(), Problem> {
        // A configuration is checked when it is read.
        let configured = Settings::default();
        let mut settings = configured.clone();
        self.clone().apply(&mut settings, &configured);
        settings.check()
    }
}

/// Sets what a patch names.
pub(crate) fn set<T>(value: &mut T, patch: Option<T>) {
    if let Some(new) = patch {
        *value = new;
    }
}

/// A field of a patch that may be `null`: the outer `None` is its absence.
pub(crate) fn nullable<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// A field of a patch that may be absent, not `null`.
pub(crate) fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_changes_what_it_names_and_nothing_else() {
        let mut settings = Settings::default();
        let patch: SettingsPatch =
            serde_json::from_str(r#"{"limits": {"up": 5}, "slots": 9}"#).unwrap();
        patch.apply(&mut settings, &Settings::default());
        let wanted = Settings {
            limits: Limits { down: 0, up: 5 },
            slots: 9,
            ..Settings::default()
        };
        assert_eq!(settings, wanted);
    }

    #[test]
    fn null_goes_back_to_what_the_configuration_says() {
        let configured = Settings {
            slots: 4,
            folder: "/srv".into(),
            ..Settings::default()
        };
        let mut settings = Settings {
            slots: 9,
            memory: 7,
            ..configured.clone()
        };
        let patch: SettingsPatch =
            serde_json::from_str(r#"{"slots": null, "folder": "/home/alice"}"#).unwrap();
        assert_eq!(patch.check(), Ok(()));
        patch.apply(&mut settings, &configured);
        let wanted = Settings {
            slots: 4,
            memory: 7,
            folder: "/home/alice".into(),
            ..Settings::default()
        };
        assert_eq!(settings, wanted);
    }

    #[test]
    fn wrong_keys_and_values_are_named() {
        let unknown = serde_json::from_str::<SettingsPatch>(r#"{"limit": {}}"#).unwrap_err();
        assert!(unknown.to_string().contains("`limit`"), "{unknown}");
        assert!(serde_json::from_str::<SettingsPatch>(r#"{"limits": {"up": null}}"#).is_err());
        let wrong = |settings: Settings| settings.check().unwrap_err().detail;
        assert!(
            wrong(Settings {
                slots: 1001,
                ..Settings::default()
            })
            .starts_with("slots is 1001")
        );
        assert!(
            wrong(Settings {
                folder: "downloads".into(),
                ..Settings::default()
            })
            .contains("not a whole path")
        );
        let goals = Goals {
            ratio: Some(f64::NAN),
            ..Goals::default()
        };
        assert!(goals.check().is_err());
        assert_eq!(Settings::default().check(), Ok(()));
    }

    #[test]
    fn settings_of_an_older_daemon_still_read() {
        let old: Settings = serde_json::from_str(r#"{"slots": 4}"#).unwrap();
        assert_eq!(old.slots, 4);
        assert_eq!(old.queue, Queue::default());
    }

    #[test]
    fn times_of_day_read_back() {
        for text in ["00:00", "09:05", "23:59", "24:00"] {
            assert_eq!(text.parse::<ClockTime>().unwrap().to_string(), text);
        }
        for text in ["", "9:05", "24:01", "12:60", "+1:00", "1200", "12:00:00"] {
            assert!(text.parse::<ClockTime>().is_err(), "{text}");
        }
    }
}
