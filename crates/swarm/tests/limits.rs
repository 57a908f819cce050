//! Rate limits, seen from the driver's loop.

mod rig;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use rig::{Move, Rig, far, near};
use swarm::{Class, Config, Input, Scope, TorrentId};

const SECOND: Duration = Duration::from_secs(1);

/// A session with so many torrents, a seed and a leech for each peer of each.
fn crowd(config: Config, torrents: u32, peers: u32, whole: bool) -> Rig {
    let mut rig = Rig::new(Config {
        unchoke_slots: 100,
        ..config
    });
    for id in 0..torrents {
        let id = rig.add(id, 8_000 / torrents, whole);
        for n in 0..peers {
            let addr = far(id.0 * 100 + n);
            match whole {
                true => rig.leech(id, addr),
                false => rig.seed(id, addr),
            };
        }
    }
    rig
}

/// Payload that moved within ten seconds, for each such time that begins on a full second.
fn tens(moves: &[Move], until: Duration) -> Vec<u64> {
    let starts = (0..)
        .map(|n| n * SECOND)
        .take_while(|&s| s + 10 * SECOND <= until);
    let within = |from: Duration| {
        let inside = moves
            .iter()
            .filter(|m| (from..from + 10 * SECOND).contains(&m.0));
        inside.map(|m| m.2).sum()
    };
    starts.map(within).collect()
}

/// 3 % over ten seconds; where that is less than a block, a block.
#[track_caller]
fn holds(rate: u64, moves: &[Move], until: Duration) {
    let off = (rate * 10 * 3 / 100).max(16_384);
    for (n, bytes) in tens(moves, until).into_iter().enumerate() {
        assert!(
            bytes.abs_diff(rate * 10) <= off,
            "{bytes} bytes in ten seconds from second {n} on, limit {rate} B/s"
        );
    }
}

fn by_torrent(rig: &Rig, moves: &[Move]) -> BTreeMap<TorrentId, u64> {
    let mut sums = BTreeMap::new();
    for (_, conn, bytes) in moves {
        *sums.entry(rig.wires[conn].torrent).or_default() += bytes;
    }
    sums
}

#[test]
fn limits_hold_for_one_torrent_and_for_twenty_from_a_block_a_second_on() {
    for rate in [16 << 10, 200_000, 5_000_000, 100_000_000] {
        for (torrents, peers) in [(1, 1), (1, 10), (20, 2)] {
            for whole in [false, true] {
                let config = Config {
                    limit_down: rate,
                    limit_up: rate,
                    ..Config::default()
                };
                let mut rig = crowd(config, torrents, peers, whole);
                let time = if rate > 50_000_000 { 13 } else { 30 } * SECOND;
                rig.run(time);
                let moves = if whole { &rig.up } else { &rig.down };
                println!(
                    "{rate} B/s, {torrents} torrents of {peers}, up {whole}: {:?}, {} wakes in {time:?}",
                    tens(moves, time),
                    rig.wakes
                );
                holds(rate, moves, time);
                let most = 21 * time.as_secs() as u32 + 5;
                assert!(rig.wakes <= most, "{} wake-ups in {time:?}", rig.wakes);
                let sums = by_torrent(&rig, moves);
                let (least, most) = (sums.values().min(), sums.values().max());
                let (least, most) = (least.unwrap_or(&0), most.unwrap_or(&0));
                assert!(sums.len() == torrents as usize, "{sums:?}");
                assert!(*most <= least * 21 / 20 + 2 * 16_384, "{sums:?}");
            }
        }
    }
}

#[test]
fn the_narrowest_limit_holds_and_others_take_what_it_leaves() {
    let config = Config {
        limit_up: 1_000_000,
        ..Config::default()
    };
    let mut rig = crowd(config, 4, 2, true);
    rig.tell(Input::Limits(Scope::Torrent(TorrentId(0)), 0, 100_000));
    rig.tell(Input::Limits(Scope::Group(3), 0, 300_000));
    rig.tell(Input::Group(TorrentId(1), Some(3)));
    rig.tell(Input::Group(TorrentId(2), Some(3)));
    rig.run(20 * SECOND);
    holds(1_000_000, &rig.up, rig.elapsed());
    let sums = by_torrent(&rig, &rig.up);
    for (id, rate) in [(0, 100_000), (1, 150_000), (2, 150_000), (3, 600_000)] {
        let share = sums[&TorrentId(id)] as f64 / (20 * rate) as f64;
        assert!((0.95..1.05).contains(&share), "{id}: {share} of {rate} B/s");
    }
    // A torrent's limit goes with it; a group's stays.
    rig.tell(Input::Remove(TorrentId(0)));
    rig.tell(Input::Group(TorrentId(2), None));
    rig.up.clear();
    let from = rig.elapsed();
    rig.run(10 * SECOND);
    let sums = by_torrent(&rig, &rig.up);
    for (id, rate) in [(1, 300_000), (2, 350_000), (3, 350_000)] {
        let share = sums[&TorrentId(id)] as f64 / (10 * rate) as f64;
        assert!((0.95..1.05).contains(&share), "{id}: {share} of {rate} B/s");
    }
    assert!(from > Duration::ZERO);
}

#[test]
fn a_lower_limit_holds_at_once() {
    for rate in [16_384, 500_000] {
        let mut rig = crowd(Config::default(), 2, 2, false);
        let seeds: Vec<_> = rig.wires.keys().copied().collect();
        for &conn in &seeds {
            rig.wire(conn).delay = 300 * SECOND / 1000;
        }
        rig.run(5 * SECOND);
        assert!(
            rig.down.iter().map(|m| m.2).sum::<u64>() > 20 << 20,
            "it was fast"
        );
        rig.down.clear();
        rig.tell(Input::Limits(Scope::Session, rate, 0));
        // What was on its way still comes, and is made up for.
        rig.run(30 * SECOND);
        let asked: u64 = rig.down.iter().map(|m| m.2).sum();
        assert!(
            asked <= rate * 31,
            "{asked} bytes in thirty seconds, limit {rate} B/s"
        );
        rig.down.clear();
        let from = rig.elapsed();
        rig.run(20 * SECOND);
        let moves: Vec<Move> = rig.down.iter().map(|m| (m.0 - from, m.1, m.2)).collect();
        holds(rate, &moves, 20 * SECOND);
        // And with no limit all is soon as before.
        rig.tell(Input::Limits(Scope::Session, 0, 0));
        rig.run(10 * SECOND);
        rig.down.clear();
        rig.run(5 * SECOND);
        let again = rig.down.iter().map(|m| m.2).sum::<u64>();
        assert!(again > 20 << 20, "{again}");
    }
}

#[test]
fn the_local_network_is_free_unless_it_has_a_limit_of_its_own() {
    let config = Config {
        limit_up: 100_000,
        lan_free: true,
        ..Config::default()
    };
    let mut rig = crowd(config, 1, 1, true);
    let alice = *rig.wires.keys().next().unwrap();
    let bob = rig.leech(TorrentId(0), near(7));
    let sent = |rig: &Rig, conn| rig.wires[&conn].sent;
    rig.run(10 * SECOND);
    assert!(sent(&rig, bob) > 100 << 20, "{}", sent(&rig, bob));
    assert!((950_000..1_050_000).contains(&sent(&rig, alice)));

    rig.tell(Input::Limits(Scope::Class(Class::Lan), 0, 300_000));
    rig.run(SECOND);
    let before = (sent(&rig, alice), sent(&rig, bob));
    rig.run(10 * SECOND);
    assert!((970_000..1_030_000).contains(&(sent(&rig, alice) - before.0)));
    assert!((2_910_000..3_090_000).contains(&(sent(&rig, bob) - before.1)));

    rig.tell(Input::Limits(Scope::Class(Class::Lan), 0, 0));
    rig.tell(Input::LanFree(false));
    rig.run(SECOND);
    rig.up.clear();
    let from = rig.elapsed();
    rig.run(10 * SECOND);
    let moves: Vec<Move> = rig.up.iter().map(|m| (m.0 - from, m.1, m.2)).collect();
    holds(100_000, &moves, 10 * SECOND);
}

#[test]
fn classes_follow_addresses() {
    for (lan, addrs) in [
        (
            true,
            "127.0.0.1 10.1.2.3 172.16.0.1 192.168.9.9 169.254.1.1 ::1 fe80::1 fd00::1 ::ffff:10.0.0.1",
        ),
        (
            false,
            "1.1.1.1 172.32.0.1 100.64.0.1 2001:db8::1 ::ffff:8.8.8.8",
        ),
    ] {
        for addr in addrs.split(' ') {
            let class = Class::of(addr.parse().unwrap());
            assert_eq!(class == Class::Lan, lan, "{addr}");
        }
    }
}

#[test]
fn a_limit_that_holds_nobody_back_wakes_nobody() {
    let mut rig = Rig::new(Config {
        limit_down: 100_000,
        limit_up: 100_000,
        ..Config::default()
    });
    let id = rig.add(0, 4, false);
    let alice = rig.seed(id, SocketAddr::from(([1, 0, 0, 1], 6881)));
    assert!(
        Rig::new(Config {
            limit_up: 1,
            ..Config::default()
        })
        .session
        .deadline()
        .is_none()
    );
    // Nothing is ever delivered, so no more than the first window goes out.
    rig.wire(alice).delay = 3600 * SECOND;
    rig.run(5 * SECOND);
    assert!(
        (2..=16).contains(&rig.down.len()),
        "{} requests",
        rig.down.len()
    );
    rig.wakes = 0;
    rig.run(10 * SECOND);
    assert!(rig.wakes <= 10, "{} wake-ups in ten seconds", rig.wakes);
}
