//! How many peers to serve at once, found by measurement.
//!
//! With too few slots slow peers leave the uplink idle; with too many each gets so little that it
//! has nothing to pass on for long. What is right depends on the uplink and on who is there, so it
//! is tried out. libtorrent's rate-based choker asks that each further slot carry 2 KiB/s more than
//! the one before, and is at a loss where all peers are slow. Here the uplink is asked instead:
//!
//! - While all slots are taken and peers wait, more slots are **tried**. If the rate grows by at
//!   least half of what as many more slots could add, they stay; else they go, and half as many are
//!   tried.
//! - Then fewer are tried. If less than a quarter of what they could carry is lost, they stay
//!   away: the others make up for them. The gap between the half and the quarter is why it does not
//!   swing between two numbers.
//! - Then it **rests**, for longer each time that nothing changed, unless the rate moves by a
//!   quarter.
//! - A slot that carries 1 MiB/s is shared rather than saved: so many slots a rate has at least.
//!
//! A rate limit that is reached is an uplink that is full: more slots cannot help. Time in which
//! nobody waits says nothing and is not counted.

use std::time::Duration;

use crate::Upload;

/// Slots to begin with: fifty peers at 250 kB/s finish sooner with 8 than with 16
/// (`cargo xtask sim fifty-peers`).
pub const FIRST_SLOTS: u32 = 8;
/// Slots that are kept whatever the rate: with the optimistic one as many as BEP 3 has.
pub const LEAST_SLOTS: u32 = 3;
/// Slots at most: at 1 MiB/s each, a 4 Gbit/s uplink.
pub const MOST_SLOTS: u32 = 500;
/// Bytes a second: whoever gets this from one of us is served well enough to share the rest.
const GENEROUS: u64 = 1 << 20;
/// Not measured after a change: peers that are new to a slot take so long to reach their speed.
const SETTLE: Duration = Duration::from_secs(10);
/// Measured for so long while steps are coarse: two rounds of dealing slots.
const MEASURE: Duration = Duration::from_secs(20);
/// And while they are fine, as what they change is not much more than rates tremble.
const MEASURE_FINE: Duration = Duration::from_secs(60);
/// The first rest.
const REST: Duration = Duration::from_secs(5 * 60);
/// The longest.
const LONGEST_REST: Duration = Duration::from_secs(40 * 60);
/// Parts of the present slots to add, at first and at the finest.
const COARSE: u32 = 2;
const FINE: u32 = 8;

#[derive(Clone, Copy, PartialEq, Debug)]
enum Stage {
    /// The present number is measured.
    Begin,
    /// More or fewer are measured, to be compared with so many and their rate.
    Try { from: u32, rate: u64 },
    /// Nothing is tried for so long, while the rate stays about this.
    Rest { rate: u64, left: Duration },
}

/// Finds the number of slots.
#[derive(Debug)]
pub struct Slots {
    count: u32,
    most: u32,
    /// Bytes a second; 0: none.
    limit: u64,
    stage: Stage,
    /// Of the present slots, one part in so many is tried next.
    part: u32,
    rest: Duration,
    /// Slots when it last rested.
    rested: u32,
    settling: Duration,
    bytes: u64,
    measured: Duration,
}

impl Default for Slots {
    fn default() -> Slots {
        Slots {
            count: FIRST_SLOTS,
            most: MOST_SLOTS,
            limit: 0,
            stage: Stage::Begin,
            part: COARSE,
            rest: REST,
            rested: FIRST_SLOTS,
            settling: SETTLE,
            bytes: 0,
            measured: Duration::ZERO,
        }
    }
}

impl Slots {
    /// Peers to serve.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// What bounds the search: a rate limit in bytes a second (0: none), and slots at most.
    pub fn bound(&mut self, limit: u64, most: u32) {
        let most = most.clamp(1, MOST_SLOTS);
        if (limit, most) == (self.limit, self.most) {
            return;
        }
        (self.limit, self.most) = (limit, most);
        self.stage = Stage::Begin;
        self.part = COARSE;
        self.rest = REST;
        self.set(self.count);
    }

    /// What was sent of late. Returns whether the number changed.
    pub fn note(&mut self, upload: Upload) -> bool {
        let before = self.count;
        let Upload {
            bytes,
            interval,
            served,
            waiting,
        } = upload;
        if waiting == 0 || served < self.count {
            // Whatever was compared is another crowd when they come back.
            if let Stage::Try { .. } = self.stage {
                self.stage = Stage::Begin;
            }
            self.set(self.count);
            return false;
        }
        if self.settling > Duration::ZERO {
            self.settling = self.settling.saturating_sub(interval);
            return false;
        }
        self.bytes = self.bytes.saturating_add(bytes);
        self.measured = self.measured.saturating_add(interval);
        let enough = if self.part < FINE {
            MEASURE
        } else {
            MEASURE_FINE
        };
        if self.measured >= enough {
            let rate = u128::from(self.bytes) * 1_000_000_000 / self.measured.as_nanos();
            let took = std::mem::take(&mut self.measured);
            self.bytes = 0;
            self.judge(u64::try_from(rate).unwrap_or(u64::MAX), took);
        }
        self.count != before
    }

    fn judge(&mut self, rate: u64, took: Duration) {
        match self.stage {
            Stage::Begin => self.try_more(rate),
            Stage::Try { from, rate: before } if self.count > from => {
                // rate / before ≥ 1 + (added / from) / 2, in whole numbers.
                let (from_128, added) = (u128::from(from), u128::from(self.count - from));
                let worth =
                    u128::from(rate) * from_128 * 2 >= u128::from(before) * (from_128 * 2 + added);
                if worth || self.count <= self.least(rate) {
                    self.try_more(rate);
                    return;
                }
                self.set(from);
                if self.part < FINE {
                    self.part *= 2;
                    self.try_more(before);
                } else {
                    self.try_fewer(before);
                }
            }
            Stage::Try { from, rate: before } => {
                // rate / before ≥ 1 − (dropped / from) / 4, in whole numbers.
                let (from_128, dropped) = (u128::from(from), u128::from(from - self.count));
                let spared = u128::from(rate) * from_128 * 4
                    >= u128::from(before) * (from_128 * 4 - dropped);
                if spared {
                    self.try_fewer(rate);
                } else {
                    self.set(from);
                    self.rest(before);
                }
            }
            Stage::Rest { rate: before, left } => {
                let moved = rate.abs_diff(before) > before / 4;
                let left = left.saturating_sub(took);
                self.stage = Stage::Rest { rate: before, left };
                if moved {
                    self.rest = REST;
                }
                if moved || left.is_zero() {
                    self.part = if moved { COARSE } else { FINE };
                    self.try_more(rate);
                }
            }
        }
    }

    /// With `rate` at the present number, are more of use?
    fn try_more(&mut self, rate: u64) {
        let full = self.limit > 0 && rate >= self.limit / 10 * 9;
        let generous = self.least(rate).min(self.count.saturating_mul(2));
        // By less than the finest step it is only what measuring trembles by.
        let more = match generous > self.count + self.count / FINE {
            true => generous,
            false if full => self.count,
            false => (self.count + (self.count / self.part).max(1)).min(self.most),
        };
        if more <= self.count {
            self.try_fewer(rate);
            return;
        }
        self.stage = Stage::Try {
            from: self.count,
            rate,
        };
        self.set(more);
    }

    /// With `rate` at the present number, would fewer do?
    fn try_fewer(&mut self, rate: u64) {
        self.part = FINE;
        let step = (self.count / FINE).max(1);
        let fewer = (self.count - step).max(self.least(rate));
        if fewer + step.div_ceil(2) > self.count {
            self.rest(rate);
            return;
        }
        self.stage = Stage::Try {
            from: self.count,
            rate,
        };
        self.set(fewer);
    }

    fn rest(&mut self, rate: u64) {
        self.rest = match self.count == self.rested {
            true => (self.rest * 2).min(LONGEST_REST),
            false => REST,
        };
        self.rested = self.count;
        self.stage = Stage::Rest {
            rate,
            left: self.rest,
        };
    }

    /// Slots that a rate has at least.
    fn least(&self, rate: u64) -> u32 {
        let shared = u32::try_from(rate / GENEROUS).unwrap_or(u32::MAX);
        shared.max(LEAST_SLOTS).min(self.most)
    }

    /// So many from now on; what was measured is forgotten.
    fn set(&mut self, count: u32) {
        self.count = count.clamp(1, self.most);
        self.settling = SETTLE;
        self.bytes = 0;
        self.measured = Duration::ZERO;
    }
}

#[cfg(test)]
mod tests;
