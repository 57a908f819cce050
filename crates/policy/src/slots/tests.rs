//! A model uplink: it carries so much, and each peer takes so much; what it sends also trembles.

use super::*;

struct Uplink {
    /// Bytes a second.
    capacity: u64,
    /// What each peer can take, bytes a second.
    peer: u64,
    /// Peers that want something.
    peers: u32,
    /// The rate trembles by up to so many percent.
    noise: u64,
    seed: u64,
}

impl Uplink {
    fn new(capacity: u64, peer: u64) -> Uplink {
        Uplink {
            capacity,
            peer,
            peers: 1000,
            noise: 3,
            seed: 7,
        }
    }

    fn send(&mut self, slots: u32, interval: Duration) -> Upload {
        // xorshift (Marsaglia, 2003): enough to tremble.
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        let served = slots.min(self.peers);
        let rate = self.capacity.min(u64::from(served) * self.peer);
        let tremble = 100 - self.noise + self.seed % (2 * self.noise + 1);
        Upload {
            bytes: rate * interval.as_secs() * tremble / 100,
            interval,
            served,
            waiting: self.peers - served,
        }
    }
}

/// The numbers of slots over so many minutes, one for every ten seconds.
fn run(slots: &mut Slots, uplink: &mut Uplink, minutes: u64) -> Vec<u32> {
    let interval = Duration::from_secs(10);
    (0..minutes * 6)
        .map(|_| {
            slots.note(uplink.send(slots.count(), interval));
            slots.count()
        })
        .collect()
}

/// That after twenty minutes it has as many slots as expected, however the rate trembles.
fn settles(capacity: u64, peer: u64, expected: std::ops::RangeInclusive<u32>) {
    for seed in 1..=40u64 {
        let uplink = Uplink {
            seed: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15),
            ..Uplink::new(capacity, peer)
        };
        let usual = stays(uplink);
        assert!(expected.contains(&usual), "{usual}, seed {seed}");
    }
}

/// Slots after twenty minutes; and that in the four hours that follow they stay near that number,
/// and the uplink stays full.
fn stays(mut uplink: Uplink) -> u32 {
    let mut slots = Slots::default();
    run(&mut slots, &mut uplink, 20);
    let later = run(&mut slots, &mut uplink, 240);
    let mut sorted = later.clone();
    sorted.sort_unstable();
    let usual = sorted[sorted.len() / 2];
    let near = |&&n: &&u32| n.abs_diff(usual) <= usual / FINE;
    let away = later.len() - later.iter().filter(near).count();
    assert!(
        away * 8 < later.len(),
        "{away} of {} away from {usual}: {sorted:?}",
        later.len()
    );
    let (low, high) = (sorted[0], sorted[sorted.len() - 1]);
    let step = (usual / 4).max(1);
    assert!(
        low + step >= usual && high <= usual + step,
        "{low}..{high} around {usual}"
    );
    let possible = uplink.capacity.min(u64::from(uplink.peers) * uplink.peer);
    let reached = u64::from(usual) * uplink.peer;
    assert!(reached * 100 >= possible * 85, "{reached} of {possible}");
    usual
}

const MBIT: u64 = 125_000;

#[test]
fn one_mbit_is_given_to_few() {
    settles(MBIT, 100_000, 3..=8);
}

#[test]
fn twenty_mbit_are_given_to_as_many_as_it_takes() {
    // 25 peers of 100 kB/s fill it.
    settles(20 * MBIT, 100_000, 22..=30);
    settles(20 * MBIT, 5_000_000, 3..=8);
}

#[test]
fn a_gbit_is_filled_and_shared() {
    // 62 peers of 2 MB/s would fill it; at 1 MiB/s each, 119 are served well.
    settles(1000 * MBIT, 2_000_000, 100..=130);
    // 250 peers of 500 kB/s.
    settles(1000 * MBIT, 500_000, 220..=290);
}

#[test]
fn slow_peers_do_not_shrink_the_slots() {
    // Mobile peers at 2 kB/s: a thousand would not fill the uplink.
    let mut slots = Slots::default();
    let mut uplink = Uplink::new(20 * MBIT, 2000);
    run(&mut slots, &mut uplink, 60);
    assert_eq!(slots.count(), MOST_SLOTS);
}

#[test]
fn when_nobody_waits_nothing_is_learnt() {
    let mut slots = Slots::default();
    let mut uplink = Uplink {
        peers: 6,
        ..Uplink::new(1000 * MBIT, 10_000)
    };
    assert!(
        run(&mut slots, &mut uplink, 60)
            .iter()
            .all(|&n| n == FIRST_SLOTS)
    );
}

#[test]
fn a_limit_that_is_reached_keeps_it_from_trying_more() {
    let mut slots = Slots::default();
    slots.bound(500_000, MOST_SLOTS);
    let mut uplink = Uplink::new(500_000, 60_000);
    let seen = run(&mut slots, &mut uplink, 120);
    assert!(seen.iter().all(|&n| n <= FIRST_SLOTS + 4), "{seen:?}");
    assert!(
        slots.count() >= 8,
        "9 peers of 60 kB/s fill it, not {}",
        slots.count()
    );
    slots.bound(0, MOST_SLOTS);
    let mut uplink = Uplink::new(20 * MBIT, 60_000);
    run(&mut slots, &mut uplink, 20);
    assert!(
        slots.count() >= 36,
        "the limit is gone, and there are {}",
        slots.count()
    );
}

#[test]
fn it_follows_when_other_peers_come() {
    let mut slots = Slots::default();
    run(&mut slots, &mut Uplink::new(20 * MBIT, 50_000), 30);
    assert!(slots.count() >= 44, "{}", slots.count());
    // Fast ones: a few would do, and it finds that out, rest by rest or at once.
    run(&mut slots, &mut Uplink::new(20 * MBIT, 1_000_000), 240);
    assert!(slots.count() <= 10, "{}", slots.count());
    // And slow ones again.
    run(&mut slots, &mut Uplink::new(20 * MBIT, 50_000), 30);
    assert!(slots.count() >= 40, "{}", slots.count());
}

#[test]
fn fewer_connections_are_fewer_slots() {
    let mut slots = Slots::default();
    slots.bound(0, 5);
    assert_eq!(slots.count(), 5);
    run(&mut slots, &mut Uplink::new(20 * MBIT, 1000), 60);
    assert_eq!(slots.count(), 5);
}
