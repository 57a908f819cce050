//! How fast bytes flow, and how fast they may.

mod limiter;

use std::time::{Duration, Instant};

use torrent::layout::BLOCK;

pub use limiter::{Flow, Limiter, Turn, Way};

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

    fn step_at(&self, now: Instant) -> u64 {
        (now.saturating_duration_since(self.start).as_nanos() / STEP.as_nanos()) as u64
    }

    fn advance(&mut self, now: Instant) {
        let step = self.step_at(now);
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
    pub fn rate(&self, now: Instant) -> u64 {
        let step = self.step_at(now);
        let oldest = (step + 1).saturating_sub(STEPS);
        let steps = oldest..=self.step.min(step);
        let sum: u64 = steps
            .map(|s| u64::from(self.window[(s % STEPS) as usize]))
            .sum();
        let age = now.saturating_duration_since(self.start);
        let covered = age.min(STEP * STEPS as u32).max(STEP);
        (u128::from(sum) * 1_000_000_000 / covered.as_nanos()) as u64
    }
}

/// How long a [`Bucket`] may save up: 2 % of ten seconds, and enough for a wake-up that comes late.
const BURST: Duration = Duration::from_millis(200);
/// How long a block that is paid for may wait for another bucket or a wake-up, and nothing is lost.
const SLACK: Duration = Duration::from_millis(60);
/// What a [`Bucket`] may owe at most: what comes although it was taken back is made up for, but
/// not for ever.
const DEBT: Duration = Duration::from_secs(5);
/// No rate is above this, in bytes a second: sums stay far from overflow.
const MOST_RATE: u64 = 1 << 40;

/// A token bucket: bytes come at a rate and are taken when used.
#[derive(Clone, Debug)]
pub struct Bucket {
    rate: u64,
    tokens: i64,
    last: Instant,
}

impl Bucket {
    /// A bucket that fills at `rate` bytes a second, with a block in it; 0 counts as 1.
    pub fn new(now: Instant, rate: u64) -> Bucket {
        Bucket {
            rate: rate.clamp(1, MOST_RATE),
            tokens: i64::from(BLOCK),
            last: now,
        }
    }

    /// Bytes a second.
    pub fn rate(&self) -> u64 {
        self.rate
    }

    /// Changes the rate.
    pub fn set_rate(&mut self, now: Instant, rate: u64) {
        self.refill(now);
        self.rate = rate.clamp(1, MOST_RATE);
        self.tokens = self.tokens.clamp(-self.worth(DEBT), self.most());
    }

    fn worth(&self, time: Duration) -> i64 {
        (u128::from(self.rate) * time.as_nanos() / 1_000_000_000) as i64
    }

    /// What it holds at most: a block always fits, and what comes while that waits.
    fn most(&self) -> i64 {
        let block = i64::from(BLOCK) + self.worth(SLACK);
        self.worth(BURST).max(block)
    }

    fn refill(&mut self, now: Instant) {
        let gone = now.saturating_duration_since(self.last);
        let fresh = u128::from(self.rate) * gone.as_nanos() / 1_000_000_000;
        if fresh > (self.most() - self.tokens) as u128 {
            self.tokens = self.most();
            self.last = now;
        } else if fresh > 0 {
            // Not `now`: the part of a byte that is on its way must not be lost each time.
            let spent = (fresh * 1_000_000_000).div_ceil(u128::from(self.rate));
            self.last += Duration::from_nanos(spent as u64);
            self.tokens += fresh as i64;
        }
    }

    /// What must be in it so that so many bytes may pass: what is larger than the bucket passes
    /// when it is full, and leaves it in debt.
    fn needs(&self, bytes: u64) -> i64 {
        self.most().min(bytes.min(MOST_RATE) as i64)
    }

    /// Whether so many bytes may pass now.
    pub fn has(&mut self, now: Instant, bytes: u64) -> bool {
        self.refill(now);
        self.tokens >= self.needs(bytes)
    }

    /// So many bytes pass, allowed or not.
    pub fn spend(&mut self, bytes: u64) {
        let least = -self.worth(DEBT).max(self.most());
        self.tokens = (self.tokens - bytes.min(MOST_RATE) as i64).max(least);
    }

    /// So many bytes were allowed and did not pass.
    pub fn give_back(&mut self, bytes: u64) {
        self.tokens = (self.tokens + bytes.min(MOST_RATE) as i64).min(self.most());
    }

    /// When [`Bucket::has`] will say yes, as of the last time it was asked.
    pub fn ready_at(&self, bytes: u64) -> Instant {
        let owed = (self.needs(bytes) - self.tokens).max(0) as u128;
        let wait = (owed * 1_000_000_000).div_ceil(u128::from(self.rate));
        self.last + Duration::from_nanos(wait as u64)
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

    /// Takes blocks as soon as they may be had, for ten seconds; returns the bytes.
    fn drain(bucket: &mut Bucket, start: Instant, block: u64) -> u64 {
        let (mut now, mut sent) = (start, 0);
        loop {
            while bucket.has(now, block) {
                bucket.spend(block);
                sent += block;
            }
            let ready = bucket.ready_at(block);
            assert!(ready > now, "it says when");
            now = ready;
            if now >= start + Duration::from_secs(10) {
                return sent;
            }
        }
    }

    #[test]
    fn a_limit_holds_from_a_block_a_second_to_very_many() {
        let start = Instant::now();
        for rate in [16 << 10, 100_000, 1_000_000, 100_000_000, 10_000_000_000] {
            let mut bucket = Bucket::new(start, rate);
            // The first seconds may begin with a full bucket; so may any others.
            for n in 0..3 {
                let sent = drain(&mut bucket, start + n * Duration::from_secs(10), 16_384);
                let off = sent as f64 / (rate * 10) as f64 - 1.0;
                let block = 16_384.0 / (rate * 10) as f64;
                assert!(off.abs() <= block.max(0.001), "{rate} B/s: {sent}, {off}");
            }
        }
    }

    #[test]
    fn what_is_saved_up_is_little() {
        let start = Instant::now();
        let later = start + Duration::from_secs(3600);
        let mut bucket = Bucket::new(start, 1_000_000);
        let sent = drain(&mut bucket, later, 16_384);
        assert!(sent <= 10_200_000 + 16_384, "{sent}");
        let mut slow = Bucket::new(start, 16_384);
        assert!(drain(&mut slow, later, 16_384) <= 11 * 16_384);
    }

    #[test]
    fn looking_often_costs_nothing() {
        let start = Instant::now();
        let mut bucket = Bucket::new(start, 1000);
        bucket.spend(16_384);
        for us in 0..10_000_000 / 7 {
            bucket.has(start + Duration::from_micros(us * 7), 1);
        }
        assert!((9_990..=10_000).contains(&bucket.tokens), "{bucket:?}");
    }

    #[test]
    fn what_is_larger_than_the_bucket_passes_and_is_made_up_for() {
        let start = Instant::now();
        let mut bucket = Bucket::new(start, 16_384);
        let sent = drain(&mut bucket, start, 131_072);
        assert_eq!(sent, 2 * 131_072, "one at once, one after eight seconds");
    }
}
