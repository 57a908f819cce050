//! How much may be under way: LEDBAT (RFC 6817, BEP 29), with the multiplicative decrease and the slowdowns of
//! LEDBAT++ (draft-irtf-iccrg-ledbat-plus-plus).
//!
//! The longer packets wait in queues on the way, the less is sent: whoever browses over the same line does not notice
//! us. The wait is what a packet took beyond the least that any took in the last two minutes. Who begins while
//! others fill the queue would take their wait for a part of the way, and more than its share; so everybody who has
//! met a queue lets it run dry now and then.

use std::time::{Duration, Instant};

/// The wait that is aimed at, in µs (BEP 29).
const TARGET: f64 = 100_000.0;
/// A start ends at this part of it.
const EXIT: f64 = 0.75;
/// A queue was met when packets waited so long, as a part of the target.
const MET: f64 = 0.25;
/// Most bytes that the window grows by in one round trip (BEP 29).
const GAIN: f64 = 3000.0;
/// What is left of the window after a loss.
const AFTER_LOSS: f64 = 0.5;
/// The least window, in packets.
const LEAST: f64 = 2.0;
/// The window at the start, in packets (RFC 6928).
const INITIAL: f64 = 10.0;
/// No window is larger, in bytes: what the packets beyond a gap that can be told of amount to.
const MOST: f64 = (1024 * 1400) as f64;
/// The least way is that of so many minutes.
const MINUTES: usize = 2;
const MINUTE: Duration = Duration::from_secs(60);
/// The wait is the least of so many packets: one that was held up alone says nothing.
const RECENT: usize = 4;
/// Between two slowdowns lies this many times what the last one took.
const BETWEEN: u32 = 9;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    /// Doubles in a round trip, up to `threshold`. `since`: a slowdown began then.
    Start { since: Option<Instant> },
    /// Follows the wait.
    Steady,
    /// Lets queues run dry until then.
    Drain { since: Instant, until: Instant },
}

/// The window of one connection.
#[derive(Debug)]
pub struct Window {
    /// Bytes in a full packet.
    packet: f64,
    bytes: f64,
    threshold: f64,
    phase: Phase,
    /// A slowdown is due then.
    slow_at: Option<Instant>,
    /// Packets waited since the last slowdown.
    met: bool,
    /// The least way of each of the last minutes.
    least: [Option<u32>; MINUTES],
    minute: Option<Instant>,
    recent: [Option<u32>; RECENT],
    next_recent: usize,
}

impl Window {
    /// A window for packets of this many bytes.
    pub fn new(packet: usize) -> Window {
        let packet = packet as f64;
        Window {
            packet,
            bytes: INITIAL * packet,
            threshold: MOST,
            phase: Phase::Start { since: None },
            slow_at: None,
            met: false,
            least: [None; MINUTES],
            minute: None,
            recent: [None; RECENT],
            next_recent: 0,
        }
    }

    /// Bytes that may be under way.
    pub fn bytes(&self) -> usize {
        self.bytes as usize
    }

    /// `bytes` have arrived. `way`: how long a packet was under way, by clocks that may differ. `full`: the window
    /// was used up; one that is not does not grow.
    pub fn acked(
        &mut self,
        now: Instant,
        bytes: usize,
        way: Option<u32>,
        rtt: Duration,
        full: bool,
    ) {
        let wait = way.map(|way| self.wait(now, way)).unwrap_or(0.0);
        self.met |= wait > TARGET * MET;
        let bytes = bytes as f64;
        match self.phase {
            Phase::Drain { since, until } if now >= until => {
                self.phase = Phase::Start { since: Some(since) };
            }
            Phase::Drain { .. } => {}
            Phase::Start { since } => {
                // After a slowdown it gets back what it had, though others are sending.
                let filled = wait > TARGET * EXIT && since.is_none();
                if filled || self.bytes >= self.threshold {
                    return self.settle(now, since, rtt);
                }
                if full {
                    self.bytes += bytes;
                }
            }
            Phase::Steady => {
                // The more above the target, and the larger the window, the more it shrinks: so windows that share a
                // queue become alike.
                let above = self.bytes * (wait / TARGET - 1.0).clamp(0.0, 0.5);
                let gain = if full && wait < TARGET { GAIN } else { 0.0 };
                self.bytes += (gain - above) * (bytes / self.bytes).min(1.0);
                if self.slow_at.is_some_and(|at| at <= now) {
                    self.slow_down(now, rtt);
                }
            }
        }
        self.bound();
    }

    /// A packet was lost; once for all that were under way together.
    pub fn lost(&mut self, now: Instant, rtt: Duration) {
        if let Phase::Drain { .. } = self.phase {
            return;
        }
        let since = match self.phase {
            Phase::Start { since } => since,
            _ => None,
        };
        self.bytes *= AFTER_LOSS;
        self.threshold = self.bytes;
        if matches!(self.phase, Phase::Start { .. }) {
            self.settle(now, since, rtt);
        }
        self.bound();
    }

    /// Nothing came back for too long.
    pub fn timed_out(&mut self) {
        self.threshold = (self.bytes * AFTER_LOSS).max(LEAST * self.packet);
        self.bytes = 0.0;
        self.phase = Phase::Start { since: None };
        self.bound();
    }

    /// A start is over.
    fn settle(&mut self, now: Instant, since: Option<Instant>, rtt: Duration) {
        self.phase = Phase::Steady;
        let after = match since {
            Some(since) => now.saturating_duration_since(since) * BETWEEN,
            // The first one soon: a start fills queues.
            None => rtt * 2,
        };
        self.slow_at = Some(now + after);
        self.bound();
    }

    fn slow_down(&mut self, now: Instant, rtt: Duration) {
        if !std::mem::take(&mut self.met) {
            // Nobody waits for us: look again later.
            self.slow_at = Some(now + rtt * BETWEEN);
            return;
        }
        self.slow_at = None;
        self.threshold = self.bytes;
        self.bytes = 0.0;
        self.phase = Phase::Drain {
            since: now,
            until: now + rtt * 2,
        };
    }

    fn bound(&mut self) {
        self.bytes = self.bytes.clamp(LEAST * self.packet, MOST);
    }

    /// How long packets wait in queues now, in µs.
    fn wait(&mut self, now: Instant, way: u32) -> f64 {
        let minute = *self.minute.get_or_insert(now);
        let passed = now.saturating_duration_since(minute).as_secs() / MINUTE.as_secs();
        for _ in 0..passed.min(MINUTES as u64) {
            self.least.rotate_right(1);
            self.least[0] = None;
        }
        if passed > 0 {
            self.minute = Some(now);
        }
        self.least[0] = Some(self.least[0].map_or(way, |least| earlier(least, way)));
        self.recent[self.next_recent] = Some(way);
        self.next_recent = (self.next_recent + 1) % RECENT;
        let least = self.least.into_iter().flatten().reduce(earlier);
        let recent = self.recent.into_iter().flatten().reduce(earlier);
        let wait = recent.unwrap_or(way).wrapping_sub(least.unwrap_or(way));
        // A clock that was set back looks like a packet from the future.
        f64::from(wait as i32).max(0.0)
    }
}

/// The smaller of two clock differences, which wrap.
fn earlier(a: u32, b: u32) -> u32 {
    match (a.wrapping_sub(b) as i32) < 0 {
        true => a,
        false => b,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(50);

    /// A window after `rounds` round trips in which packets wait as `wait` says of it, in ms.
    fn after(rounds: u32, wait: impl Fn(usize) -> u32) -> Window {
        let (start, mut window) = (Instant::now(), Window::new(1400));
        let way = u32::MAX - 5_000;
        window.acked(start, 0, Some(way), RTT, true);
        for round in 1..=rounds {
            let bytes = window.bytes();
            let way = way.wrapping_add(wait(bytes) * 1000);
            for _ in 0..10 {
                window.acked(start + RTT * round, bytes / 10, Some(way), RTT, true);
            }
        }
        window
    }

    #[test]
    fn it_grows_while_nothing_waits() {
        assert!(after(20, |_| 0).bytes() as f64 > MOST * 0.9);
    }

    #[test]
    fn it_gives_way_to_a_queue_that_others_fill() {
        let window = after(400, |_| 300);
        assert!(window.bytes() <= 4 * 1400, "{}", window.bytes());
    }

    #[test]
    fn alone_it_holds_the_wait_near_the_target() {
        // 100 KB are what the way takes; the rest waits.
        let line = |bytes: usize| (bytes.saturating_sub(100_000) / 1000) as u32;
        let window = after(3000, line);
        let waits = line(window.bytes());
        assert!((10..=130).contains(&waits), "{waits} ms");
    }

    #[test]
    fn a_queue_is_left_to_run_dry_now_and_then() {
        let line = |bytes: usize| (bytes.saturating_sub(100_000) / 1000) as u32;
        let least = (2000..2400)
            .map(|rounds| after(rounds, line).bytes())
            .min()
            .unwrap();
        assert_eq!(least, 2800);
    }

    #[test]
    fn losses_and_silence_make_it_smaller() {
        let mut window = after(8, |_| 0);
        let before = window.bytes();
        window.lost(Instant::now(), RTT);
        assert!(window.bytes() <= before / 2 + 1);
        window.timed_out();
        assert_eq!(window.bytes(), 2800);
    }
}
