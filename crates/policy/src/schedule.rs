//! Hours of the week at which other limits rule, or nothing runs.
//!
//! Times are what the wall clock shows. The engine never converts between clocks: it is told the
//! local time whenever it wakes, and with a schedule it wakes at every full quarter of an hour,
//! which is when clocks are put forward and back. So an hour that is skipped or comes twice is
//! judged by what the clock shows.

use std::fmt;
use std::time::Duration;

use crate::Rates;

/// Minutes of a day.
const DAY: u32 = 24 * 60;
/// Days of a week.
const WEEK: u32 = 7;
/// Wake at least so often, in seconds: time zones change their offset at whole quarters of an hour.
const LOOK_AGAIN: u32 = 15 * 60;

/// A local time: seconds since Monday 00:00 as the wall clock shows it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LocalTime(u32);

impl LocalTime {
    /// A time by its day (0: Monday, 6: Sunday), hour, minute and second; `None` if there is no
    /// such. A leap second is the 59th once more.
    pub fn new(day: u32, hour: u32, minute: u32, second: u32) -> Option<LocalTime> {
        let real = day < WEEK && hour < 24 && minute < 60 && second <= 60;
        real.then(|| LocalTime(((day * 24 + hour) * 60 + minute) * 60 + second.min(59)))
    }

    /// The day: 0 is Monday.
    pub fn day(self) -> u32 {
        self.0 / 60 / DAY
    }

    /// The minute of the day, below 1440.
    pub fn minute(self) -> u32 {
        self.0 / 60 % DAY
    }

    /// The time so much later, if no clock is changed until then.
    pub(crate) fn after(self, time: Duration) -> LocalTime {
        let week = u64::from(WEEK * DAY * 60);
        LocalTime(((u64::from(self.0) + time.as_secs() % week) % week) as u32)
    }
}

impl fmt::Display for LocalTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [&str; 7] = [
            "Monday",
            "Tuesday",
            "Wednesday",
            "Thursday",
            "Friday",
            "Saturday",
            "Sunday",
        ];
        let (name, minute) = (NAMES[self.day() as usize], self.minute());
        write!(f, "{name} {:02}:{:02}", minute / 60, minute % 60)
    }
}

/// Days of the week, bit 0 being Monday.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Days(pub u8);

impl Days {
    /// Every day.
    pub const ALL: Days = Days(0x7f);
    /// Monday to Friday.
    pub const WORKING: Days = Days(0x1f);
    /// Saturday and Sunday.
    pub const WEEKEND: Days = Days(0x60);

    /// Whether `day` (0: Monday) is one of them.
    pub fn contains(self, day: u32) -> bool {
        day < WEEK && self.0 & (1 << day) != 0
    }
}

/// What rules in an entry's hours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// These limits instead of [`Settings::limits`](crate::Settings::limits).
    Limit(Rates),
    /// Nothing runs.
    Pause,
}

/// Hours of some days.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    /// The days on which it begins.
    pub days: Days,
    /// Its first minute, in minutes from midnight: 0 to 1439.
    pub from: u16,
    /// The minute it ends at, 0 to 1440. Before `from`: on the next day.
    pub to: u16,
    /// What rules.
    pub action: Action,
}

impl Entry {
    fn covers(&self, time: LocalTime) -> bool {
        let (day, minute) = (time.day(), time.minute());
        let (from, to) = (u32::from(self.from), u32::from(self.to));
        let eve = (day + WEEK - 1) % WEEK;
        if from < to {
            self.days.contains(day) && (from..to).contains(&minute)
        } else {
            self.days.contains(day) && minute >= from || self.days.contains(eve) && minute < to
        }
    }
}

/// What rules at a time: the first entry that covers it.
pub fn ruling(entries: &[Entry], time: LocalTime) -> Option<Action> {
    entries.iter().find(|e| e.covers(time)).map(|e| e.action)
}

/// The seconds of a day at which an entry begins or ends, in order.
fn edges(entries: &[Entry]) -> Vec<u32> {
    let ends = entries.iter().flat_map(|e| [e.from, e.to]);
    let mut edges: Vec<u32> = ends.map(|m| u32::from(m) % DAY * 60).collect();
    edges.sort_unstable();
    edges.dedup();
    edges
}

/// How long until the schedule is to be looked at again; `None`: it is empty.
pub fn next_look(entries: &[Entry], time: LocalTime) -> Option<Duration> {
    let day = DAY * 60;
    let second = time.0 % day;
    let ahead = |edge: &u32| match (edge + day - second) % day {
        0 => day,
        wait => wait,
    };
    let edge = edges(entries).iter().map(ahead).min()?;
    let quarter = LOOK_AGAIN - second % LOOK_AGAIN;
    Some(Duration::from_secs(u64::from(edge.min(quarter))))
}

/// When a pause that rules now will end; `None`: never.
pub fn pause_ends(entries: &[Entry], time: LocalTime) -> Option<LocalTime> {
    let edges = edges(entries);
    let today = time.0 - time.0 % (DAY * 60);
    let days = (0..=WEEK).map(|d| (today + d * DAY * 60, d));
    days.flat_map(|(midnight, d)| edges.iter().map(move |edge| (midnight + edge, d)))
        .filter(|&(at, _)| at > time.0)
        .map(|(at, _)| LocalTime(at % (WEEK * DAY * 60)))
        .find(|&at| ruling(entries, at) != Some(Action::Pause))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(day: u32, hour: u32, minute: u32) -> LocalTime {
        LocalTime::new(day, hour, minute, 0).expect("a time")
    }

    fn entry(days: Days, from: u16, to: u16) -> Entry {
        Entry {
            days,
            from: from * 60,
            to: to * 60,
            action: Action::Pause,
        }
    }

    #[test]
    fn hours_over_midnight_belong_to_the_day_they_begin_on() {
        let friday_night = [entry(Days(1 << 4), 22, 6)];
        let rules = |t| ruling(&friday_night, t).is_some();
        assert!(!rules(at(4, 21, 59)));
        assert!(rules(at(4, 22, 0)));
        assert!(rules(at(5, 5, 59)));
        assert!(!rules(at(5, 6, 0)));
        assert!(!rules(at(4, 3, 0)), "the night before Friday");
        assert!(!rules(at(5, 23, 0)), "the night after Saturday");
    }

    #[test]
    fn sunday_night_reaches_into_monday() {
        let sunday = [entry(Days(1 << 6), 20, 4)];
        assert!(ruling(&sunday, at(0, 3, 0)).is_some());
        assert_eq!(pause_ends(&sunday, at(6, 21, 0)), Some(at(0, 4, 0)));
    }

    #[test]
    fn the_first_entry_that_covers_a_time_rules() {
        let limits = Rates {
            down: 5000,
            up: 5000,
        };
        let lunch = Entry {
            action: Action::Limit(limits),
            ..entry(Days::ALL, 12, 13)
        };
        let entries = [lunch, entry(Days::WORKING, 8, 18)];
        assert_eq!(ruling(&entries, at(2, 12, 30)), Some(Action::Limit(limits)));
        assert_eq!(ruling(&entries, at(2, 13, 0)), Some(Action::Pause));
        assert_eq!(ruling(&entries, at(6, 13, 0)), None);
        assert_eq!(pause_ends(&entries, at(2, 9, 0)), Some(at(2, 12, 0)));
        assert_eq!(pause_ends(&entries, at(2, 14, 0)), Some(at(2, 18, 0)));
    }

    #[test]
    fn pauses_that_meet_are_one() {
        let entries = [entry(Days::ALL, 0, 12), entry(Days::WEEKEND, 12, 24)];
        assert_eq!(pause_ends(&entries, at(5, 3, 0)), Some(at(0, 12, 0)));
        let always = [entry(Days::ALL, 0, 24)];
        assert_eq!(pause_ends(&always, at(3, 3, 0)), None);
    }

    #[test]
    fn it_looks_again_at_an_edge_to_the_second_and_at_every_quarter() {
        let entries = [Entry {
            from: 7 * 60 + 20,
            ..entry(Days::ALL, 7, 9)
        }];
        let look = |t| next_look(&entries, t).map(|d| d.as_secs());
        let time = LocalTime::new(1, 7, 19, 30).expect("a time");
        assert_eq!(look(time), Some(30));
        assert_eq!(look(at(1, 7, 20)), Some(10 * 60));
        assert_eq!(look(at(1, 1, 1)), Some(14 * 60));
        assert_eq!(next_look(&[], time), None);
    }

    #[test]
    fn there_is_no_time_beyond_the_week() {
        assert_eq!(LocalTime::new(7, 0, 0, 0), None);
        assert_eq!(LocalTime::new(0, 24, 0, 0), None);
        let end = LocalTime::new(6, 23, 59, 60).expect("a leap second");
        assert_eq!(end.after(Duration::from_secs(1)), at(0, 0, 0));
    }
}
