//! Rate limits, on the links and disks of this world.

use std::rc::Rc;
use std::time::Duration;

use swarm::{Class, Config, Input, Scope};
use torrent::layout::{BLOCK, Kind};

use super::{Report, time_for};
use crate::{Content, How, NodeId, Origin, Spec, World};

/// What every limit is measured over.
const WINDOW: Duration = Duration::from_secs(10);

/// A node whose engine has these limits in bytes a second, down and up.
fn limited((limit_down, limit_up): (u64, u64)) -> Spec {
    let config = Config {
        limit_down,
        limit_up,
        unchoke_slots: 40,
        ..Config::default()
    };
    Spec {
        config,
        near: true,
        ..Spec::default()
    }
}

/// Alice has so many torrents of so many bytes, bob wants them all.
fn shelf(
    origin: Origin,
    (hers, his): (Spec, Spec),
    torrents: u64,
    len: u64,
) -> (World, NodeId, Vec<Rc<Content>>) {
    let mut world = World::new(origin);
    let alice = world.add(hers);
    let bob = world.add(his);
    let album = |world: &mut World| {
        let album = world.content(Kind::V1, 64 << 10, &[len]);
        world.share(alice, &album, How::Seed);
        world.share(bob, &album, How::Get);
        album
    };
    let albums = (0..torrents).map(|_| album(&mut world)).collect();
    (world, bob, albums)
}

fn received(world: &World, node: NodeId, albums: &[Rc<Content>]) -> Vec<u64> {
    let of = |album: &Rc<Content>| world.node(node).share(album).received;
    albums.iter().map(of).collect()
}

/// What comes of each torrent in the next ten seconds.
fn window(world: &mut World, node: NodeId, albums: &[Rc<Content>]) -> Vec<u64> {
    let before = received(world, node, albums);
    world.pass(WINDOW);
    let after = received(world, node, albums);
    after.iter().zip(before).map(|(a, b)| a - b).collect()
}

/// 3 % over ten seconds; where that is less than a block, a block.
#[track_caller]
fn holds(rate: u64, bytes: u64, note: &str) {
    let off = (rate * 10 * 3 / 100).max(u64::from(BLOCK));
    assert!(
        bytes.abs_diff(rate * 10) <= off,
        "{note}: {bytes} bytes in ten seconds"
    );
}

/// Limits both ways, on either side: they hold, and cost little more than they must.
pub fn both_ways(origin: Origin) -> Report {
    let mut report = None;
    for (hers, his) in [((0, 300_000), (0, 0)), ((0, 0), (200_000, 200_000))] {
        let specs = (limited(hers), limited(his));
        let (mut world, bob, albums) = shelf(origin, specs, 1, 4_000_000);
        let limit = hers.1.max(his.0);
        let ideal = time_for(&albums[0], limit);
        let within = ideal.mul_f64(1.1) + Duration::from_secs(2);
        world.finish(&[bob], &albums[0], within);
        let took = world.now();
        let note = format!("{limit} B/s: {took:?}, {ideal:?} at least");
        assert!(took > ideal.mul_f64(0.95), "{note}");
        report = Some(Report::of(world).note(note));
    }
    report.expect("there are limits")
}

/// From a block a second on, for one torrent and for twenty, each ten seconds are as they should
/// be, and torrents get the same.
pub fn hold(origin: Origin) -> Report {
    let mut notes = Vec::new();
    let mut last = None;
    for rate in [16 << 10, 300_000, 2_000_000] {
        for torrents in [1, 20] {
            for down in [true, false] {
                let specs = match down {
                    true => (limited((0, 0)), limited((rate, 0))),
                    false => (limited((0, rate)), limited((0, 0))),
                };
                let specs = (specs.0.rate(8_000_000, 8_000_000), specs.1);
                let len = rate * 40 / torrents + (1 << 20);
                let (mut world, bob, albums) = shelf(origin, specs, torrents, len);
                world.pass(Duration::from_secs(4));
                let which = if down { "down" } else { "up" };
                let note = format!("{rate} B/s {which}, {torrents} torrents");
                let mut sums = vec![0; albums.len()];
                let mut worst = 0.0f64;
                for _ in 0..3 {
                    let came = window(&mut world, bob, &albums);
                    let all: u64 = came.iter().sum();
                    holds(rate, all, &note);
                    worst = worst.max((all as f64 / (rate * 10) as f64 - 1.0).abs());
                    sums.iter_mut().zip(came).for_each(|(sum, n)| *sum += n);
                }
                let (least, most) = (sums.iter().min(), sums.iter().max());
                let apart = most.zip(least).map_or(0, |(most, least)| most - least);
                let fair = (rate * 30 / torrents / 10).max(3 * u64::from(BLOCK));
                assert!(apart <= fair, "{note}: {sums:?}");
                notes.push(format!("{note}: {:.2} % off at most", worst * 100.0));
                last = Some(Report::of(world));
            }
        }
    }
    notes
        .into_iter()
        .fold(last.expect("there are limits"), Report::note)
}

/// Limits within limits, changed while everything runs.
pub fn within_limits(origin: Origin) -> Report {
    let his = limited((600_000, 0));
    let (mut world, bob, albums) = shelf(origin, (limited((0, 0)), his), 4, 30_000_000);
    for (scope, rate) in [
        (Scope::Torrent(albums[0].id), 50_000),
        (Scope::Group(1), 150_000),
    ] {
        world.tell(bob, Input::Limits(scope, rate, 0));
    }
    for album in &albums[1..3] {
        world.tell(bob, Input::Group(album.id, Some(1)));
    }
    world.pass(Duration::from_secs(5));
    let came = window(&mut world, bob, &albums);
    holds(50_000, came[0], "the torrent's");
    holds(150_000, came[1] + came[2], "the group's");
    holds(600_000, came.iter().sum(), "the session's");

    // Free but for the class of everybody here, which is lower.
    world.tell(bob, Input::LanFree(true));
    world.tell(bob, Input::Limits(Scope::Class(Class::Lan), 200_000, 0));
    world.pass(Duration::from_secs(12));
    let came: u64 = window(&mut world, bob, &albums).iter().sum();
    holds(200_000, came, "the class's");

    // And free of all: the link is the limit.
    world.tell(bob, Input::Limits(Scope::Class(Class::Lan), 0, 0));
    world.pass(Duration::from_secs(5));
    let came: u64 = window(&mut world, bob, &albums).iter().sum();
    assert!(
        came > 15_000_000,
        "{came} bytes in ten seconds without a limit"
    );
    Report::of(world)
}
