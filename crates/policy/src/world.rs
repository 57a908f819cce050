//! What is known of the computer around us, with some patience where it flaps.
//!
//! A warning counts at once; that it is over counts when it has stayed so: a plug that wobbles or a
//! disk at its limit would otherwise start and stop every transfer each time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::settings::{DiskReserve, OnBattery};
use crate::{FileSystem, Power, Reason, Space};

/// Mains power, or a network that is not metered, is believed after this.
const PATIENCE: Duration = Duration::from_secs(30);
/// Percent of charge by which a battery must have recovered.
const RECOVERY: u8 = 5;
/// A disk has room again when so much of its reserve (a part in 8) is free beyond it …
const MARGIN: u64 = 8;
/// … and at least these bytes, which a fast download fills in a second.
const LEAST_MARGIN: u64 = 64 << 20;
/// Memory is looked at again this long after something was done about it: buffers drain in seconds.
const RELIEF: Duration = Duration::from_secs(10);
/// As long after memory was well below its ceiling, one measure is taken back.
const CALM: Duration = Duration::from_secs(30);
/// Measures there are against too much memory, see [`Memory::level`].
const MOST_LEVEL: u32 = 3;

/// The charge at which a battery that was below `percent` counts as recovered.
pub fn recovered(percent: u8) -> u8 {
    percent.saturating_add(RECOVERY).min(100)
}

/// A warning that is believed at once, and whose end is believed later.
#[derive(Debug, Default)]
pub struct Latch {
    on: bool,
    /// When its end will be believed.
    ends: Option<Instant>,
}

impl Latch {
    /// The warning is given, or no longer.
    pub fn note(&mut self, now: Instant, warned: bool) {
        match (self.on, warned) {
            (_, true) => {
                self.on = true;
                self.ends = None;
            }
            (true, false) => self.ends = self.ends.or(Some(now + PATIENCE)),
            (false, false) => {}
        }
    }

    /// Whether it counts.
    pub fn is_on(&mut self, now: Instant) -> bool {
        if self.ends.is_some_and(|at| at <= now) {
            *self = Latch::default();
        }
        self.on
    }

    /// When that may change by itself.
    pub fn ends(&self) -> Option<Instant> {
        self.ends
    }
}

/// Where power comes from.
#[derive(Debug, Default)]
pub struct Battery {
    /// We run on it.
    pub used: Latch,
    charge: Option<u8>,
    low: bool,
}

impl Battery {
    /// What the system says.
    pub fn note(&mut self, now: Instant, power: Power) {
        let Power::Battery(charge) = power else {
            self.used.note(now, false);
            return;
        };
        self.used.note(now, true);
        self.charge = charge.or(self.charge);
    }

    /// Other settings: what was low need not be.
    pub fn forget(&mut self) {
        self.low = false;
    }

    /// Why everything is held, if it is.
    pub fn verdict(&mut self, now: Instant, rule: OnBattery) -> Option<Reason> {
        if !self.used.is_on(now) {
            (self.low, self.charge) = (false, None);
            return None;
        }
        match rule {
            OnBattery::Nothing => None,
            OnBattery::Pause => Some(Reason::Battery { below: None }),
            OnBattery::PauseBelow(percent) => {
                let mark = if self.low {
                    recovered(percent)
                } else {
                    percent
                };
                self.low = self.charge.is_some_and(|charge| charge < mark);
                self.low.then_some(Reason::Battery {
                    below: Some(percent),
                })
            }
        }
    }
}

/// Room on the file systems that are written to.
#[derive(Debug, Default)]
pub struct Disks(BTreeMap<FileSystem, Disk>);

#[derive(Debug)]
struct Disk {
    space: Space,
    short: bool,
}

impl Disks {
    /// What the system says. Returns whether that can change a decision.
    pub fn note(&mut self, id: FileSystem, space: Option<Space>, rule: DiskReserve) -> bool {
        let Some(space) = space else {
            return self.0.remove(&id).is_some_and(|disk| disk.short);
        };
        let before = self.0.get(&id);
        let short = before.is_some_and(|disk| disk.short);
        let renamed = short && before.is_some_and(|disk| disk.space.folder != space.folder);
        let resized = short && before.is_some_and(|disk| disk.space.total != space.total);
        let disk = Disk {
            short: is_short(&space, rule, short),
            space,
        };
        let turned = disk.short != short;
        self.0.insert(id, disk);
        turned || renamed || resized
    }

    /// The rule is another.
    pub fn judge(&mut self, rule: DiskReserve) {
        for disk in self.0.values_mut() {
            disk.short = is_short(&disk.space, rule, false);
        }
    }

    /// Why downloads to `id` are held, if they are.
    pub fn verdict(&self, id: FileSystem, rule: DiskReserve) -> Option<Reason> {
        let disk = self.0.get(&id).filter(|disk| disk.short)?;
        Some(Reason::DiskReserve {
            folder: Arc::clone(&disk.space.folder),
            reserve: reserve(&disk.space, rule),
        })
    }
}

/// Bytes that stay free.
fn reserve(space: &Space, rule: DiskReserve) -> u64 {
    let part = u128::from(space.total) * u128::from(rule.percent) / 100;
    rule.bytes.min(u64::try_from(part).unwrap_or(u64::MAX))
}

fn is_short(space: &Space, rule: DiskReserve, was: bool) -> bool {
    let reserve = reserve(space, rule);
    let margin = match was && reserve > 0 {
        true => (reserve / MARGIN).max(LEAST_MARGIN.min(reserve)),
        false => 0,
    };
    space.free < reserve.saturating_add(margin)
}

/// How hard memory presses.
#[derive(Debug, Default)]
pub struct Memory {
    level: u32,
    /// When the level last changed.
    changed: Option<Instant>,
    /// Well below the ceiling since.
    calm: Option<Instant>,
}

impl Memory {
    /// Measures in force. 1: half the buffers and connections. 2: a quarter, and one download at a
    /// time. 3: no download.
    pub fn level(&self) -> u32 {
        self.level
    }

    /// The process holds so many bytes. Returns whether the level changed.
    pub fn note(&mut self, now: Instant, held: u64, ceiling: Option<u64>) -> bool {
        let Some(ceiling) = ceiling else {
            return self.forget();
        };
        let long_ago = |at: Option<Instant>, time| {
            at.is_none_or(|at| now.saturating_duration_since(at) >= time)
        };
        let calm = held < ceiling / 5 * 4;
        self.calm = calm.then(|| self.calm.unwrap_or(now));
        let level = if held > ceiling && long_ago(self.changed, RELIEF) {
            (self.level + 1).min(MOST_LEVEL)
        } else if calm && long_ago(self.calm, CALM) && long_ago(self.changed, CALM) {
            self.level.saturating_sub(1)
        } else {
            self.level
        };
        if level == self.level {
            return false;
        }
        self.level = level;
        self.changed = Some(now);
        true
    }

    /// There is no ceiling any more. Returns whether the level changed.
    pub fn forget(&mut self) -> bool {
        std::mem::take(self).level != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(start: Instant, secs: u64) -> Instant {
        start + Duration::from_secs(secs)
    }

    #[test]
    fn a_wobbling_plug_counts_as_battery_until_it_holds() {
        let start = Instant::now();
        let mut latch = Latch::default();
        latch.note(start, true);
        assert!(latch.is_on(start));
        latch.note(after(start, 1), false);
        latch.note(after(start, 20), true);
        latch.note(after(start, 21), false);
        latch.note(after(start, 40), false);
        assert!(latch.is_on(after(start, 50)));
        assert_eq!(latch.ends(), Some(after(start, 51)));
        assert!(!latch.is_on(after(start, 51)));
        assert_eq!(latch.ends(), None);
    }

    #[test]
    fn a_battery_at_its_mark_is_low_until_it_has_recovered() {
        let now = Instant::now();
        let mut battery = Battery::default();
        let mut low = |charge| {
            battery.note(now, Power::Battery(Some(charge)));
            battery.verdict(now, OnBattery::PauseBelow(20)).is_some()
        };
        let seen: Vec<bool> = [20, 19, 20, 24, 25, 24, 20, 19].map(&mut low).into();
        assert_eq!(seen, [false, true, true, true, false, false, false, true]);
        battery.note(now, Power::Battery(None));
        assert!(battery.verdict(now, OnBattery::PauseBelow(20)).is_some());
        assert_eq!(battery.verdict(now, OnBattery::Nothing), None);
    }

    #[test]
    fn a_battery_marked_at_a_hundred_can_recover() {
        let now = Instant::now();
        let mut battery = Battery::default();
        battery.note(now, Power::Battery(Some(98)));
        assert!(battery.verdict(now, OnBattery::PauseBelow(98)).is_none());
        battery.note(now, Power::Battery(Some(97)));
        assert!(battery.verdict(now, OnBattery::PauseBelow(98)).is_some());
        battery.note(now, Power::Battery(Some(100)));
        assert!(battery.verdict(now, OnBattery::PauseBelow(98)).is_none());
    }

    #[test]
    fn a_disk_is_short_below_its_reserve_until_there_is_a_margin() {
        let mut disks = Disks::default();
        let (id, rule) = (FileSystem(1), DiskReserve::default());
        let mut short = |free: u64| {
            let space = Space {
                folder: "/data".into(),
                free,
                total: 1 << 40,
            };
            disks.note(id, Some(space), rule);
            disks.verdict(id, rule).is_some()
        };
        const GIB: u64 = 1 << 30;
        assert!(!short(GIB));
        assert!(short(GIB - 1));
        assert!(short(GIB + GIB / 8 - 1));
        assert!(!short(GIB + GIB / 8));
        assert!(!short(GIB));
    }

    #[test]
    fn a_small_disk_keeps_a_hundredth() {
        let space = |free| Space {
            folder: "/boot".into(),
            free,
            total: 500 << 20,
        };
        let rule = DiskReserve::default();
        assert_eq!(reserve(&space(0), rule), 5 << 20);
        assert!(is_short(&space(4 << 20), rule, false));
        assert!(is_short(&space(9 << 20), rule, true));
        assert!(!is_short(&space(10 << 20), rule, true));
    }

    #[test]
    fn memory_is_met_by_steps_and_they_are_taken_back_by_steps() {
        let start = Instant::now();
        let mut memory = Memory::default();
        let mut levels = |from: u64, to: u64, held| {
            (from..to)
                .map(|n| {
                    memory.note(after(start, n), held, Some(1000));
                    memory.level()
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(levels(0, 3, 1001), [1, 1, 1]);
        assert_eq!(levels(10, 12, 1001), [2, 2]);
        assert_eq!(levels(12, 60, 900), [2; 48]);
        assert_eq!(levels(60, 90, 100), [2; 30]);
        assert_eq!(levels(90, 92, 100), [1, 1]);
        assert_eq!(levels(92, 120, 100), [1; 28]);
        assert_eq!(levels(120, 121, 100), [0]);
    }
}
