//! Peers that are slow, silent, or mean harm.

use std::time::Duration;

use torrent::layout::Kind;

use super::{Report, time_for};
use crate::{Eve, How, Mischief, NodeId, Origin, Spec, World};

/// Ten honest peers, four seeds that lie in one block of ten, one honest seed.
fn liars(origin: Origin, kind: Kind) -> Report {
    let mut world = World::new(origin);
    let album = world.content(kind, 128 << 10, &[5_000_000, 300_000]);
    let honest = world.add(Spec::default());
    world.share(honest, &album, How::Seed);
    let liars: Vec<NodeId> = (0..4)
        .map(|_| {
            let liar = world.add(Spec {
                lies: 0.1,
                ..Spec::default()
            });
            world.share(liar, &album, How::Seed);
            liar
        })
        .collect();
    let bobs: Vec<NodeId> = (0..10)
        .map(|_| {
            let bob = world.add(Spec::default());
            world.share(bob, &album, How::Get);
            bob
        })
        .collect();
    let within = time_for(&album, 2_000_000) * 6 + Duration::from_secs(30);
    world.finish(&bobs, &album, within);
    let failed: u32 = bobs
        .iter()
        .map(|b| world.node(*b).share(&album).failed_pieces)
        .sum();
    let bans: usize = bobs.iter().map(|b| world.node(*b).banned.len()).sum();
    let waste = super::crowds::waste(&world, &bobs, &album);
    let note = format!(
        "{failed} pieces failed, {bans} bans, {:.1} % came in vain",
        waste * 100.0
    );
    assert!(bans > 0 && liars.len() * bobs.len() >= bans, "{note}");
    Report::of(world).note(note)
}

pub fn liars_v1(origin: Origin) -> Report {
    liars(origin, Kind::V1)
}

pub fn liars_v2(origin: Origin) -> Report {
    liars(origin, Kind::V2)
}

pub fn liars_hybrid(origin: Origin) -> Report {
    liars(origin, Kind::Hybrid)
}

/// Twenty seeds that send nothing but lies, and one that is honest.
pub fn outnumbered(origin: Origin) -> Report {
    let mut world = World::new(origin);
    let album = world.content(Kind::V1, 64 << 10, &[2_000_000]);
    let bob = world.add(Spec::default());
    for n in 0..21 {
        let lies = if n == 7 { 0.0 } else { 1.0 };
        let seed = world.add(Spec {
            lies,
            ..Spec::default()
        });
        world.share(seed, &album, How::Seed);
    }
    world.share(bob, &album, How::Get);
    world.finish(&[bob], &album, Duration::from_secs(120));
    let bans = world.node(bob).banned.len();
    Report::of(world).note(format!("{bans} of 20 banned"))
}

/// Some promise everything and send nothing.
pub fn snubbing(origin: Origin) -> Report {
    let mut world = World::new(origin);
    let album = world.content(Kind::V2, 64 << 10, &[4_000_000]);
    let bob = world.add(Spec::default());
    let honest = world.add(Spec::default());
    world.share(honest, &album, How::Seed);
    for _ in 0..8 {
        let silent = world.add(Spec {
            silent: true,
            ..Spec::default()
        });
        world.share(silent, &album, How::Seed);
    }
    world.share(bob, &album, How::Get);
    world.finish(
        &[bob],
        &album,
        time_for(&album, 2_000_000) + Duration::from_secs(45),
    );
    Report::of(world)
}

/// One seed is fast, three are a hundred times slower: the slow ones do not hold up the end.
pub fn slow_tail(origin: Origin) -> Report {
    let mut world = World::new(origin);
    let album = world.content(Kind::V1, 256 << 10, &[16 << 20]);
    let bob = world.add(Spec::default());
    let fast = world.add(Spec::default());
    world.share(fast, &album, How::Seed);
    for _ in 0..3 {
        let slow = world.add(Spec::default().rate(20_000, 20_000));
        world.share(slow, &album, How::Seed);
    }
    world.share(bob, &album, How::Get);
    let ideal = time_for(&album, 2_060_000);
    world.finish(&[bob], &album, ideal * 2 + Duration::from_secs(10));
    let note = format!("{:.1} s would be ideal", ideal.as_secs_f64());
    Report::of(world).note(note)
}

/// A peer stops in the middle of everything without a word.
pub fn stalled_tail(origin: Origin) -> Report {
    let mut world = World::new(origin);
    let album = world.content(Kind::V1, 256 << 10, &[8 << 20]);
    let bob = world.add(Spec::default());
    let seeds: Vec<NodeId> = (0..3)
        .map(|_| {
            let seed = world.add(Spec::default());
            world.share(seed, &album, How::Seed);
            seed
        })
        .collect();
    world.share(bob, &album, How::Get);
    world.pass(Duration::from_millis(900));
    world.power_cut(seeds[0]);
    let ideal = time_for(&album, 4_000_000);
    world.finish(&[bob], &album, ideal * 2 + Duration::from_secs(12));
    Report::of(world)
}

/// Eve does one kind of mischief, three times over, to a seed and five who want something.
fn mischief(origin: Origin, mischief: Mischief, kind: Kind) -> Report {
    let mut world = World::new(origin);
    let album = world.content(kind, 64 << 10, &[2_000_000, 100_000]);
    let seed = world.add(Spec::default());
    world.share(seed, &album, How::Seed);
    let how = match mischief {
        Mischief::Forgery => How::Magnet,
        _ => How::Get,
    };
    for _ in 0..3 {
        world.add_eve(Spec::default(), Eve::new(&album, mischief));
    }
    let bobs: Vec<NodeId> = (0..5)
        .map(|_| {
            let bob = world.add(Spec::default());
            world.share(bob, &album, how);
            bob
        })
        .collect();
    world.finish(&bobs, &album, Duration::from_secs(120));
    Report::of(world)
}

/// Every kind of mischief.
pub fn eve(origin: Origin) -> Report {
    let mut report = None;
    let mut notes = Vec::new();
    for kind in [Kind::V1, Kind::V2, Kind::Hybrid] {
        for what in Mischief::ALL {
            let done = mischief(origin, what, kind);
            notes.push(format!(
                "{what:?} {kind:?}: {:.1} s",
                done.took.as_secs_f64()
            ));
            report = Some(done);
        }
    }
    notes
        .into_iter()
        .fold(report.expect("there is mischief"), Report::note)
}
