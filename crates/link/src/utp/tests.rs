//! Connections over a line that is made up: so fast, so long, with such a queue and so many losses. From one seed.

use std::collections::BTreeMap;
use std::io::{IoSlice, IoSliceMut};
use std::time::{Duration, Instant};

use super::packet::Packet;
use super::{Conn, State};

const MS: Duration = Duration::from_millis(1);

/// What a line is like, in the direction that payload takes. The way back is as long and always free.
#[derive(Clone, Copy)]
struct Line {
    bytes_per_second: f64,
    delay: Duration,
    /// Bytes that wait at most.
    queue: f64,
    /// Of 1,000 packets so many are lost, either way.
    losses: u32,
}

const FAST: Line = Line {
    bytes_per_second: 12.5e6,
    delay: Duration::from_millis(10),
    queue: 400_000.0,
    losses: 0,
};

struct Flow {
    from: Conn,
    to: Conn,
    /// Bytes handed to one side, and taken out on the other.
    sent: u64,
    got: u64,
    total: u64,
    begins: Duration,
    begun: bool,
}

struct World {
    line: Line,
    random: fastrand::Rng,
    start: Instant,
    now: Instant,
    /// Arrivals: at which flow, and whether at the side that receives payload.
    events: BTreeMap<(Instant, u64), (usize, bool, Vec<u8>)>,
    next: u64,
    /// The line is busy until then.
    busy: Instant,
    flows: Vec<Flow>,
}

fn pattern(at: u64) -> u8 {
    (at.wrapping_mul(0x9e37_79b9) >> 24) as u8
}

impl World {
    fn new(line: Line, totals: &[(u64, Duration)]) -> World {
        let start = Instant::now();
        let flow = |&(total, begins): &(u64, Duration)| {
            let mut from = Conn::dial(start, 100);
            let mut syn = Vec::new();
            assert!(from.poll(start, &mut syn));
            let syn = Packet::parse(&syn).unwrap();
            // Its clock differs by an hour.
            let to = Conn::accept(
                start,
                start - Duration::from_secs(3600),
                &syn.header,
                40_000,
            );
            Flow {
                from,
                to,
                sent: 0,
                got: 0,
                total,
                begins,
                begun: false,
            }
        };
        World {
            line,
            random: fastrand::Rng::with_seed(7),
            start,
            now: start,
            events: BTreeMap::new(),
            next: 0,
            busy: start,
            flows: totals.iter().map(flow).collect(),
        }
    }

    fn carry(&mut self, flow: usize, onward: bool, datagram: Vec<u8>) {
        if self.random.u32(..1000) < self.line.losses {
            return;
        }
        let mut at = self.now + self.line.delay;
        if onward {
            let waits = self.busy.saturating_duration_since(self.now);
            if waits.as_secs_f64() * self.line.bytes_per_second > self.line.queue {
                return;
            }
            let takes = datagram.len() as f64 / self.line.bytes_per_second;
            self.busy = self.busy.max(self.now) + Duration::from_secs_f64(takes);
            at = self.busy + self.line.delay;
        }
        self.next += 1;
        self.events
            .insert((at, self.next), (flow, onward, datagram));
    }

    /// Lets both sides of a flow do what they can now.
    fn stir(&mut self, index: usize) {
        let flow = &mut self.flows[index];
        if self.now < self.start + flow.begins {
            return;
        }
        flow.begun = true;
        while flow.sent < flow.total {
            let part: Vec<u8> = (flow.sent..flow.total.min(flow.sent + 4096))
                .map(pattern)
                .collect();
            let taken = flow.from.write(&[IoSlice::new(&part)]);
            flow.sent += taken as u64;
            if taken < part.len() {
                break;
            }
        }
        if flow.sent == flow.total {
            flow.from.close();
        }
        let mut buffer = [0; 4096];
        loop {
            let n = flow.to.read(&mut [IoSliceMut::new(&mut buffer)]);
            for (at, &byte) in (flow.got..).zip(&buffer[..n]) {
                assert_eq!(byte, pattern(at), "at {at}");
            }
            flow.got += n as u64;
            if n == 0 {
                break;
            }
        }
        if flow.to.is_at_end() {
            flow.to.close();
        }
        let mut out = Vec::new();
        while self.flows[index].from.poll(self.now, &mut out) {
            self.carry(index, true, out.clone());
        }
        while self.flows[index].to.poll(self.now, &mut out) {
            self.carry(index, false, out.clone());
        }
    }

    /// Runs until then, or until nothing is left to happen.
    fn run(&mut self, until: Duration) {
        let end = self.start + until;
        for flow in 0..self.flows.len() {
            self.stir(flow);
        }
        loop {
            let arrival = self.events.keys().next().map(|key| key.0);
            let timers = self.flows.iter().flat_map(|flow| match flow.begun {
                true => [flow.from.deadline(), flow.to.deadline()],
                false => [Some(self.start + flow.begins), None],
            });
            let next = timers.flatten().chain(arrival).min();
            let Some(next) = next.filter(|next| *next <= end) else {
                return;
            };
            self.now = self.now.max(next);
            if arrival.is_some_and(|at| at <= self.now) {
                let Some((_, (flow, onward, datagram))) = self.events.pop_first() else {
                    return;
                };
                let packet = Packet::parse(&datagram).unwrap();
                match onward {
                    true => self.flows[flow].to.receive(self.now, &packet),
                    false => self.flows[flow].from.receive(self.now, &packet),
                }
                self.stir(flow);
            } else {
                (0..self.flows.len()).for_each(|flow| self.stir(flow));
            }
        }
    }
}

#[test]
fn everything_arrives_once_and_in_order_and_both_sides_end() {
    for losses in [0, 20, 200] {
        let line = Line { losses, ..FAST };
        let mut world = World::new(line, &[(3_000_000, Duration::ZERO)]);
        world.run(Duration::from_secs(600));
        let flow = &world.flows[0];
        assert_eq!(flow.got, 3_000_000, "{losses} of 1,000 lost");
        assert!(
            matches!(flow.from.state(), State::Over(_)),
            "{losses}: {:?}",
            flow.from.state()
        );
    }
}

#[test]
fn alone_it_uses_the_line_and_keeps_the_queue_short() {
    let line = Line {
        bytes_per_second: 2.5e6,
        queue: 750_000.0,
        ..FAST
    };
    let mut world = World::new(line, &[(u64::MAX, Duration::ZERO)]);
    world.run(Duration::from_secs(10));
    let before = world.flows[0].got;
    let mut worst = Duration::ZERO;
    for second in 11..=40 {
        world.run(Duration::from_secs(second));
        worst = worst.max(world.busy.saturating_duration_since(world.now));
    }
    let used = (world.flows[0].got - before) as f64 / 30.0 / line.bytes_per_second;
    assert!(used > 0.85, "{used:.2} of the line");
    assert!(worst < 150 * MS, "{worst:?} of waiting");
}

#[test]
fn two_share_a_line_though_one_came_late() {
    let line = Line {
        bytes_per_second: 2.5e6,
        queue: 750_000.0,
        ..FAST
    };
    let mut world = World::new(
        line,
        &[
            (u64::MAX, Duration::ZERO),
            (u64::MAX, Duration::from_secs(10)),
        ],
    );
    world.run(Duration::from_secs(30));
    let before = [world.flows[0].got, world.flows[1].got];
    world.run(Duration::from_secs(90));
    let got = [0, 1].map(|flow| (world.flows[flow].got - before[flow]) as f64);
    let ratio = got[0].max(got[1]) / got[0].min(got[1]);
    println!("{ratio:.2} to 1: {got:?}");
    assert!(ratio < 1.5, "{ratio:.2} to 1: {got:?}");
}

#[test]
fn losses_that_mean_nothing_do_not_stop_it() {
    let line = Line { losses: 20, ..FAST };
    let mut world = World::new(line, &[(u64::MAX, Duration::ZERO)]);
    world.run(Duration::from_secs(20));
    let rate = world.flows[0].got as f64 / 20.0;
    // What Mathis' formula leaves a TCP with this round trip: 1.22 × 1,380 / 0.02 / √0.02.
    assert!(rate > 0.8 * 595_000.0, "{rate:.0} bytes/s");
}

/// Carries all that two sides have to say to each other now; false: nothing.
fn exchange(now: Instant, a: &mut Conn, b: &mut Conn) -> bool {
    let (mut out, mut moved) = (Vec::new(), false);
    while a.poll(now, &mut out) {
        b.receive(now, &Packet::parse(&out).unwrap());
        moved = true;
    }
    while b.poll(now, &mut out) {
        a.receive(now, &Packet::parse(&out).unwrap());
        moved = true;
    }
    moved
}

#[test]
fn who_is_not_read_is_told_to_wait() {
    let start = Instant::now();
    let mut from = Conn::dial(start, 5);
    let mut out = Vec::new();
    assert!(from.poll(start, &mut out));
    let syn = Packet::parse(&out).unwrap();
    let mut to = Conn::accept(start, start, &syn.header, 9);
    // Nobody takes anything out.
    let part = vec![0; 1 << 16];
    let (mut now, mut taken) = (start, 0);
    for _ in 0..100_000 {
        now += MS;
        taken += from.write(&[IoSlice::new(&part)]);
        if !exchange(now, &mut from, &mut to) && taken > 1 << 20 {
            break;
        }
    }
    assert!(
        (1 << 20..3 << 20).contains(&taken),
        "{taken} bytes were taken and not read"
    );
    // All of it is there once somebody reads.
    let mut buffer = vec![0; 1 << 16];
    let mut got = 0;
    for _ in 0..60_000 {
        now += 10 * MS;
        got += to.read(&mut [IoSliceMut::new(&mut buffer)]);
        exchange(now, &mut to, &mut from);
        if got == taken {
            break;
        }
    }
    assert_eq!(got, taken);
}

#[test]
fn who_is_not_there_is_given_up() {
    let start = Instant::now();
    let mut conn = Conn::dial(start, 3);
    let mut out = Vec::new();
    let mut sent = 0;
    while conn.state() == State::Dialling {
        while conn.poll(conn.deadline().unwrap_or(start), &mut out) {
            sent += 1;
        }
    }
    assert_eq!(sent, 4);
}

#[test]
fn fuzz_utp_connection() {
    bolero::check!()
        .with_type::<Vec<(u8, u16, u16, u32, Vec<u8>)>>()
        .for_each(|packets| {
            let start = Instant::now();
            let mut conn = Conn::dial(start, 3);
            let (mut out, mut buffer) = (Vec::new(), [0; 512]);
            conn.poll(start, &mut out);
            for (at, (kind, seq, ack, window, body)) in packets.iter().enumerate() {
                let now = start + MS * at as u32;
                let mut datagram = vec![((kind % 5) << 4) | 1, u8::from(body.len() % 3 == 0)];
                datagram.extend([0, 3]);
                datagram.extend([0; 8]);
                datagram.extend(window.to_be_bytes());
                datagram.extend(seq.to_be_bytes());
                datagram.extend(ack.to_be_bytes());
                datagram.extend(body);
                if let Some(packet) = Packet::parse(&datagram) {
                    conn.receive(now, &packet);
                }
                conn.write(&[IoSlice::new(&buffer)]);
                conn.read(&mut [IoSliceMut::new(&mut buffer)]);
                for _ in 0..200 {
                    if !conn.poll(now, &mut out) {
                        break;
                    }
                }
            }
        });
}

#[test]
fn losses_cost_no_silences() {
    let line = Line { losses: 20, ..FAST };
    let mut world = World::new(line, &[(10_000_000, Duration::ZERO)]);
    let mut end = Duration::ZERO;
    while world.flows[0].got < 10_000_000 {
        let before = world.flows[0].got;
        end += MS * 300;
        world.run(end);
        assert!(world.flows[0].got > before, "nothing came before {end:?}");
    }
}

#[test]
fn who_punches_a_hole_knocks_at_one_pace_until_it_is_heard() {
    let start = Instant::now();
    let (mut now, mut datagram) = (start, Vec::new());
    let mut conn = Conn::punch(start, 100);
    let mut knocks = Vec::new();
    while conn.state() == State::Dialling {
        if conn.poll(now, &mut datagram) {
            knocks.push(now - start);
        }
        now = conn.deadline().unwrap_or(now);
    }
    assert_eq!(conn.state(), State::Over(super::conn::End::TimedOut));
    let gaps: Vec<Duration> = knocks.windows(2).map(|two| two[1] - two[0]).collect();
    assert!(gaps.iter().all(|gap| *gap == 400 * MS), "{gaps:?}");
    assert!((10..20).contains(&knocks.len()), "{}", knocks.len());

    // One that is heard late is answered as any other, and then its pace is that of the line.
    let mut conn = Conn::punch(start, 100);
    assert!(conn.poll(start, &mut datagram));
    assert!(conn.poll(start + 400 * MS, &mut datagram));
    let syn = Packet::parse(&datagram).unwrap();
    let mut other = Conn::accept(start + 500 * MS, start, &syn.header, 7);
    let mut answer = Vec::new();
    assert!(other.poll(start + 500 * MS, &mut answer));
    conn.receive(start + 600 * MS, &Packet::parse(&answer).unwrap());
    assert_eq!(conn.state(), State::Open);
}
