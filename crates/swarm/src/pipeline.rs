//! How many blocks to have asked of a peer at a time, and when to stop waiting for one.
//!
//! Too few and the link idles between answers; too many and a slow peer sits on work others
//! could do. The target follows the measured rate and delay: what arrives in one delay, doubled,
//! plus half a second's worth, so that a burst or a busy disk does not drain it. A new peer
//! starts small and doubles with each answered batch, as TCP does.

use std::time::{Duration, Instant};

use torrent::layout::BLOCK;

/// Asked of a peer we know nothing about.
const START: usize = 16;
/// Never fewer: one being sent, one on its way, for each direction.
const LEAST: usize = 4;
/// Time's worth of blocks kept queued beyond the delay.
const HORIZON: Duration = Duration::from_millis(500);
/// A peer that had been delivering is given this long at least...
const STALL_LEAST: Duration = Duration::from_secs(3);
/// ...and any peer this long at most before its blocks are asked of others.
const STALL_MOST: Duration = Duration::from_secs(30);

/// A peer this many times slower than the quickest one is of no help to others' requests.
const QUICK: u32 = 4;

/// The request window of one peer.
#[derive(Clone, Debug)]
pub struct Pipeline {
    target: usize,
    most: usize,
    ramping: bool,
    /// Shortest time from request to block seen since the last stall.
    delay: Option<Duration>,
    /// Smoothed time between blocks.
    gap: Option<Duration>,
    /// The last block, or the first request after a pause.
    progress: Instant,
    stalled: bool,
}

impl Pipeline {
    /// A window that never exceeds `most` blocks.
    pub fn new(now: Instant, most: usize) -> Pipeline {
        let most = most.max(1);
        Pipeline {
            target: START.min(most),
            most,
            ramping: true,
            delay: None,
            gap: None,
            progress: now,
            stalled: false,
        }
    }

    /// The peer said how many requests it queues (`reqq`).
    pub fn limit(&mut self, most: usize) {
        self.most = most.max(1);
        self.target = self.target.min(self.most);
    }

    /// How many blocks should be asked for now, given how many are.
    pub fn room(&self, outstanding: usize) -> usize {
        if self.stalled {
            return 1usize.saturating_sub(outstanding);
        }
        // Refilled in batches: one message and one wake-up for many blocks.
        if outstanding > self.target - self.target / 3 {
            0
        } else {
            self.target - outstanding
        }
    }

    /// Blocks were asked for while none were outstanding.
    pub fn started(&mut self, now: Instant) {
        self.progress = now;
    }

    /// A block asked for at `sent` has arrived; `rate` is the peer's measured speed.
    pub fn arrived(&mut self, now: Instant, sent: Instant, rate: u64) {
        let delay = now.saturating_duration_since(sent);
        // The least ever seen: later ones include the queue we keep ourselves.
        self.delay = Some(self.delay.map_or(delay, |least| least.min(delay)));
        let gap = now.saturating_duration_since(self.progress);
        self.gap = Some(self.gap.map_or(gap, |g| (g * 7 + gap) / 8));
        self.progress = now;
        self.stalled = false;

        let per_block = u64::from(BLOCK);
        let horizon = HORIZON + 2 * self.delay.unwrap_or_default();
        let fits = (u128::from(rate) * horizon.as_nanos() / 1_000_000_000) as u64 / per_block;
        let fits = (fits as usize + 1).clamp(LEAST.min(self.most), self.most);
        if self.ramping {
            self.target = (self.target + 1).min(self.most);
            // The rate no longer follows the window: what is queued already covers the horizon.
            self.ramping = self.target < fits.max(2 * START).min(self.most);
        } else {
            let mean = self.target * 7 + fits;
            self.target = if fits > self.target {
                mean.div_ceil(8)
            } else {
                mean / 8
            };
            self.target = self.target.clamp(1, self.most);
            self.ramping = fits > self.target * 2;
        }
    }

    /// When the peer counts as stalled if nothing arrives, given that blocks are outstanding.
    pub fn stalls_at(&self) -> Instant {
        let patience = match self.gap {
            Some(gap) => {
                (gap * 4 + 2 * self.delay.unwrap_or_default()).clamp(STALL_LEAST, STALL_MOST)
            }
            None => STALL_MOST,
        };
        self.progress + patience
    }

    /// Nothing came in time: keep a single request, so that the peer can recover.
    pub fn stall(&mut self, now: Instant) {
        self.stalled = true;
        self.delay = None;
        self.ramping = true;
        self.target = START.min(self.most);
        self.progress = now;
    }

    /// Smoothed time between blocks; `None`: it has delivered nothing, or is stalled.
    pub fn gap(&self) -> Option<Duration> {
        self.gap.filter(|_| !self.stalled)
    }

    /// Whether the peer is of the same order as one with this time between blocks. `None`: nobody
    /// delivers anything.
    pub fn keeps_up(&self, best_gap: Option<Duration>) -> bool {
        match (self.gap(), best_gap) {
            (_, None) => true,
            (gap, Some(best)) => gap.is_some_and(|gap| gap <= best * QUICK),
        }
    }

    /// Whether the peer is stalled (*snubbing* us).
    pub fn is_stalled(&self) -> bool {
        self.stalled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A link with this rate and delay, always asked for as much as the pipeline says; returns
    /// the throughput it reached over the last five of fifteen seconds, and the final target.
    fn run(rate: f64, delay: Duration) -> (f64, usize) {
        let start = Instant::now();
        let mut meter = crate::rate::Meter::new(start);
        let mut pipe = Pipeline::new(start, 512);
        let (mut now, mut free_at) = (start, start);
        let mut queue = std::collections::VecDeque::new();
        let mut late = 0u64;
        while now < start + Duration::from_secs(15) {
            for _ in 0..pipe.room(queue.len()) {
                let leaves = free_at.max(now + delay / 2);
                free_at = leaves + Duration::from_secs_f64(f64::from(BLOCK) / rate);
                queue.push_back((now, free_at + delay / 2));
            }
            let (sent, arrives) = queue
                .pop_front()
                .expect("room is never 0 with nothing outstanding");
            now = now.max(arrives);
            meter.add(now, u64::from(BLOCK));
            if now > start + Duration::from_secs(10) {
                late += u64::from(BLOCK);
            }
            let measured = meter.rate(now);
            pipe.arrived(now, sent, measured);
        }
        (late as f64 / 5.0, pipe.target)
    }

    #[test]
    fn it_fills_links_from_slow_and_near_to_fast_and_far() {
        for (rate, ms) in [(50e3, 20), (1e6, 50), (10e6, 2), (10e6, 100), (30e6, 100)] {
            let (reached, target) = run(rate, Duration::from_millis(ms));
            assert!(
                reached > 0.9 * rate,
                "{rate} B/s at {ms} ms: {reached} with {target}"
            );
        }
    }

    #[test]
    fn it_does_not_hoard_from_a_slow_peer() {
        let (_, target) = run(50e3, Duration::from_millis(20));
        assert!(
            target <= 2 * LEAST,
            "{target} blocks are {} s",
            target as f64 * 16384.0 / 50e3
        );
    }

    #[test]
    fn only_peers_of_the_same_order_keep_up() {
        let now = Instant::now();
        let after = |ms| {
            let mut pipe = Pipeline::new(now, 512);
            pipe.arrived(now + Duration::from_millis(ms), now, 1_000_000);
            pipe
        };
        let (quick, slow) = (after(10), after(800));
        assert!(quick.keeps_up(quick.gap()) && after(30).keeps_up(quick.gap()));
        assert!(!slow.keeps_up(quick.gap()) && slow.keeps_up(slow.gap()));
        let fresh = Pipeline::new(now, 512);
        assert!(!fresh.keeps_up(slow.gap()) && fresh.keeps_up(None));
    }

    #[test]
    fn a_stalled_peer_keeps_one_request_and_recovers() {
        let now = Instant::now();
        let mut pipe = Pipeline::new(now, 512);
        pipe.arrived(now + Duration::from_millis(10), now, 1_000_000);
        assert_eq!(
            pipe.stalls_at(),
            now + Duration::from_millis(10) + STALL_LEAST
        );
        pipe.stall(now + Duration::from_secs(4));
        assert_eq!((pipe.room(0), pipe.room(1)), (1, 0));
        pipe.arrived(
            now + Duration::from_secs(5),
            now + Duration::from_secs(4),
            1000,
        );
        assert!(pipe.room(0) > 1);
    }
}
