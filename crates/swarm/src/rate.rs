//! How fast bytes flow, and how fast they may.

use std::time::{Duration, Instant};

/// One step of a [`Meter`]'s window.
const STEP: Duration = Duration::from_millis(250);
/// Steps in the window: 4 s smooths TCP's bursts and still follows a change quickly.
const STEPS: u64 = 16;

/// Measures a flow over the last few seconds.
#[derive(Clone, Debug)]
pub struct Meter {
    total: u64,
    start: Instant,
    window: [u32; STEPS as usize],
    /// The step the newest entry belongs to, counted from `start`.
    step: u64,
}

impl Meter {
    /// A meter at rest.
    pub fn new(now: Instant) -> Meter {
        Meter {
            total: 0,
            start: now,
            window: [0; STEPS as usize],
            step: 0,
        }
    }

    fn advance(&mut self, now: Instant) {
        let step = (now.saturating_duration_since(self.start).as_nanos() / STEP.as_nanos()) as u64;
        if step >= self.step + STEPS {
            self.window = [0; STEPS as usize];
        } else {
            for s in self.step + 1..=step {
                self.window[(s % STEPS) as usize] = 0;
            }
        }
        self.step = self.step.max(step);
    }

    /// Notes that `bytes` have passed.
    pub fn add(&mut self, now: Instant, bytes: u64) {
        self.advance(now);
        let entry = &mut self.window[(self.step % STEPS) as usize];
        *entry = entry.saturating_add(bytes.min(u64::from(u32::MAX)) as u32);
        self.total += bytes;
    }

    /// All bytes since the start.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Bytes a second over the window, or since the start if that is shorter.
    pub fn rate(&mut self, now: Instant) -> u64 {
        self.advance(now);
        let sum: u64 = self.window.iter().map(|&b| u64::from(b)).sum();
        let age = now.saturating_duration_since(self.start);
        let covered = age.min(STEP * STEPS as u32).max(STEP);
        (sum as u128 * 1_000_000_000 / covered.as_nanos()) as u64
    }
}

/// How long a [`Bucket`] may save up: short enough that a limit holds over any second or two.
const BURST: Duration = Duration::from_millis(250);

/// A token bucket: bytes come at a rate and are taken when used. A rate of 0 means no limit.
#[derive(Clone, Debug)]
pub struct Bucket {
    rate: u64,
    tokens: i64,
    last: Instant,
}

impl Bucket {
    /// A bucket that fills at `rate` bytes a second.
    pub fn new(now: Instant, rate: u64) -> Bucket {
        Bucket {
            rate,
            tokens: 0,
            last: now,
        }
    }

    /// Changes the rate.
    pub fn set_rate(&mut self, rate: u64) {
        self.rate = rate;
    }

    fn refill(&mut self, now: Instant) {
        let gone = now.saturating_duration_since(self.last);
        let fresh = (u128::from(self.rate) * gone.as_nanos() / 1_000_000_000) as i64;
        if fresh > 0 {
            let most = (u128::from(self.rate) * BURST.as_nanos() / 1_000_000_000) as i64;
            self.tokens = (self.tokens + fresh).min(most.max(1));
            self.last = now;
        }
    }

    /// Takes `bytes` if the bucket is not in debt; one taking may run into debt, so that blocks
    /// larger than the bucket pass and the average still holds.
    pub fn take(&mut self, now: Instant, bytes: u64) -> bool {
        if self.rate == 0 {
            return true;
        }
        self.refill(now);
        if self.tokens <= 0 {
            return false;
        }
        self.tokens -= bytes as i64;
        true
    }

    /// Returns what was taken and not used.
    pub fn give_back(&mut self, bytes: u64) {
        if self.rate != 0 {
            self.tokens += bytes as i64;
        }
    }

    /// When [`Bucket::take`] will next succeed; `None`: at once.
    pub fn ready_at(&self) -> Option<Instant> {
        if self.rate == 0 || self.tokens > 0 {
            return None;
        }
        let owed = (1 - self.tokens) as u128;
        let wait = owed * 1_000_000_000 / u128::from(self.rate) + 1;
        Some(self.last + Duration::from_nanos(wait as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_flow_is_measured_within_the_window() {
        let start = Instant::now();
        let mut meter = Meter::new(start);
        for ms in (0..10_000).step_by(10) {
            meter.add(start + Duration::from_millis(ms), 1000);
        }
        let rate = meter.rate(start + Duration::from_secs(10));
        assert!((90_000..=105_000).contains(&rate), "{rate}");
        assert_eq!(meter.rate(start + Duration::from_secs(20)), 0);
        assert_eq!(meter.total(), 1_000_000);
    }

    #[test]
    fn a_limit_holds_on_average_even_with_large_takes() {
        let start = Instant::now();
        let mut bucket = Bucket::new(start, 100_000);
        let (mut now, mut sent) = (start, 0u64);
        while now < start + Duration::from_secs(10) {
            if bucket.take(now, 16_384) {
                sent += 16_384;
            } else {
                now = bucket
                    .ready_at()
                    .expect("a bucket that refuses says when")
                    .max(now);
            }
        }
        assert!((970_000..=1_030_000).contains(&sent), "{sent}");
    }

    #[test]
    fn no_limit_never_refuses() {
        let now = Instant::now();
        let mut bucket = Bucket::new(now, 0);
        assert!((0..1000).all(|_| bucket.take(now, u64::MAX)));
        assert_eq!(bucket.ready_at(), None);
    }
}
