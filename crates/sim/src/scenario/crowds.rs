//! Many who want the same.

use std::rc::Rc;
use std::time::Duration;

use swarm::{Config, Input};
use torrent::layout::Kind;

use super::{Report, time_for};
use crate::{Content, How, NodeId, Origin, Spec, World};

/// So many nodes of one kind in a torrent.
fn crowd(world: &mut World, spec: &Spec, album: &Rc<Content>, how: How, n: usize) -> Vec<NodeId> {
    let add = |world: &mut World| {
        let node = world.add(spec.clone());
        world.share(node, album, how);
        node
    };
    (0..n).map(|_| add(world)).collect()
}

/// What came in vain at these nodes, as a share of what they wanted.
pub(super) fn waste(world: &World, nodes: &[NodeId], album: &Content) -> f64 {
    let received: u64 = nodes
        .iter()
        .map(|n| world.node(*n).share(album).received)
        .sum();
    received as f64 / (album.layout().payload() * nodes.len() as u64) as f64 - 1.0
}

fn copies(world: &World, node: NodeId, album: &Content) -> f64 {
    world.node(node).share(album).sent as f64 / album.layout().payload() as f64
}

/// Three whom everybody can dial take and give next to nothing. The seed and sixteen others are behind routers that let in
/// only what answers: what they get in time from each other goes through holes.
pub fn nats(origin: Origin) -> Report {
    let mut world = World::new(origin);
    let album = world.content(Kind::V2, 64 << 10, &[3 << 20]);
    let hidden = Spec {
        reachable: false,
        ..Spec::default()
    };
    let open = Spec {
        config: Config {
            limit_down: 8_000,
            limit_up: 1_000,
            ..Config::default()
        },
        ..Spec::default()
    };
    crowd(&mut world, &open, &album, How::Get, 3);
    let seed = crowd(&mut world, &hidden, &album, How::Seed, 1)[0];
    let bobs = crowd(&mut world, &hidden, &album, How::Get, 16);
    world.finish(&bobs, &album, Duration::from_secs(240));
    let sent = copies(&world, seed, &album);
    let reach = bobs.iter().filter_map(|b| world.reach(*b, &album));
    let punched: u32 = reach
        .flat_map(|reach| reach.connected.into_iter())
        .filter(|((road, _), _)| road.punched)
        .map(|(_, peers)| peers)
        .sum();
    let took = world.now().as_secs();
    let note = format!(
        "all had it after {took} s, {punched} ends of holes among sixteen; the seed sent {sent:.2} copies"
    );
    Report::of(world).note(note)
}

/// What the first seed sent, in copies, when another was complete; and when all were.
fn first_copy(origin: Origin, super_seeds: bool) -> (f64, f64, World) {
    let mut world = World::new(origin);
    let album = world.content(Kind::V1, 64 << 10, &[16 << 20]);
    let spec = Spec::default().rate(500_000, 2_000_000);
    let seed = crowd(&mut world, &spec, &album, How::Seed, 1)[0];
    world.tell(seed, Input::SuperSeed(album.id, super_seeds));
    let bobs = crowd(&mut world, &spec, &album, How::Get, 20);
    let least = time_for(&album, 500_000);
    let one = world.run(least * 10, |world| {
        bobs.iter().any(|b| world.is_finished(*b, &album))
    });
    assert!(one, "somebody has everything in time");
    let first = copies(&world, seed, &album);
    world.finish(&bobs, &album, least * 4);
    let all = copies(&world, seed, &album);
    (first, all, world)
}

/// A seed and twenty others, with and without super-seeding.
pub fn super_seed(origin: Origin) -> Report {
    let (usual, ..) = first_copy(origin, false);
    let (first, all, world) = first_copy(origin, true);
    let took = world.now().as_secs();
    let note = format!(
        "the seed sent {first:.2} copies before another had one ({usual:.2} without), {all:.2} until all had after {took} s"
    );
    assert!(first < 1.25 && first < usual, "{note}");
    Report::of(world).note(note)
}

/// One seed, fifty others.
pub fn fifty(origin: Origin) -> Report {
    let mut world = World::new(origin);
    let album = world.content(Kind::V1, 64 << 10, &[4 << 20]);
    let spec = Spec::default().rate(250_000, 2_000_000);
    let seed = crowd(&mut world, &spec, &album, How::Seed, 1)[0];
    let bobs = crowd(&mut world, &spec, &album, How::Get, 50);
    let within = time_for(&album, 250_000) * 4 + Duration::from_secs(20);
    world.finish(&bobs, &album, within);
    let sent = copies(&world, seed, &album);
    let vain = waste(&world, &bobs, &album) * 100.0;
    let note = format!("the seed sent {sent:.2} copies, {vain:.1} % came in vain");
    assert!(sent < 5.0 && vain < 5.0, "{note}");
    Report::of(world).note(note)
}

/// One seed, two hundred others.
pub fn two_hundred(origin: Origin) -> Report {
    let mut world = World::new(origin);
    let album = world.content(Kind::Hybrid, 64 << 10, &[2 << 20]);
    let spec = Spec {
        config: Config {
            max_connections_per_torrent: 30,
            ..Config::default()
        },
        ..Spec::default()
    };
    let seed = crowd(&mut world, &spec, &album, How::Seed, 1)[0];
    let bobs = crowd(&mut world, &spec, &album, How::Get, 200);
    world.finish(&bobs, &album, Duration::from_secs(60));
    let sent = copies(&world, seed, &album);
    let vain = waste(&world, &bobs, &album) * 100.0;
    let note = format!("the seed sent {sent:.2} copies, {vain:.1} % came in vain");
    Report::of(world).note(note)
}

/// The seed of a fresh torrent serves four: it should hardly send anything twice.
pub fn one_to_four(origin: Origin) -> Report {
    let mut world = World::new(origin);
    let album = world.content(Kind::V1, 256 << 10, &[32 << 20]);
    let seed = crowd(&mut world, &Spec::default(), &album, How::Seed, 1)[0];
    let bobs = crowd(&mut world, &Spec::default(), &album, How::Get, 4);
    world.finish(&bobs, &album, time_for(&album, 2_000_000) * 2);
    let sent = copies(&world, seed, &album);
    let vain = waste(&world, &bobs, &album) * 100.0;
    let note = format!("the seed sent {sent:.2} copies, {vain:.1} % came in vain");
    assert!(sent < 1.6 && vain < 3.0, "{note}");
    Report::of(world).note(note)
}

/// Four seeds serve one.
pub fn four_to_one(origin: Origin) -> Report {
    let mut world = World::new(origin);
    let album = world.content(Kind::V2, 256 << 10, &[32 << 20]);
    crowd(&mut world, &Spec::default(), &album, How::Seed, 4);
    let bob = crowd(&mut world, &Spec::default(), &album, How::Get, 1)[0];
    world.finish(&[bob], &album, time_for(&album, 8_000_000).mul_f64(1.3));
    Report::of(world)
}

/// The only seed goes as soon as one copy of everything is among the others.
fn seed_leaves(origin: Origin, kind: Kind, how: How) -> Report {
    let mut world = World::new(origin);
    let album = world.content(kind, 64 << 10, &[3_000_000, 200_000, 800_000]);
    let seed = crowd(&mut world, &Spec::default(), &album, How::Seed, 1)[0];
    let bobs = crowd(&mut world, &Spec::default(), &album, how, 10);
    let pieces = album.layout().pieces();
    let out = world.run(Duration::from_secs(60), |world| {
        (0..pieces).all(|p| bobs.iter().any(|b| world.has(*b, &album, p)))
    });
    assert!(out, "one copy gets out within a minute");
    let left = bobs
        .iter()
        .filter(|b| !world.is_finished(**b, &album))
        .count();
    let sent = copies(&world, seed, &album);
    world.kill(seed);
    world.finish(&bobs, &album, Duration::from_secs(60));
    Report::of(world).note(format!(
        "{sent:.2} copies were out, {left} peers unfinished"
    ))
}

pub fn seed_leaves_v1(origin: Origin) -> Report {
    seed_leaves(origin, Kind::V1, How::Get)
}

pub fn seed_leaves_v2(origin: Origin) -> Report {
    seed_leaves(origin, Kind::V2, How::Magnet)
}

pub fn seed_leaves_hybrid(origin: Origin) -> Report {
    seed_leaves(origin, Kind::Hybrid, How::Magnet)
}

/// A hybrid that some know by its v1 hash alone, some by its v2 hash alone, some by both: one
/// swarm, also when the only seed leaves after one copy.
pub fn two_names(origin: Origin) -> Report {
    let mut world = World::new(origin);
    let album = world.content(Kind::Hybrid, 64 << 10, &[2_000_000, 150_000]);
    let seed = crowd(&mut world, &Spec::default(), &album, How::Seed, 1)[0];
    let mut bobs = Vec::new();
    for how in [How::MagnetV1, How::MagnetV2, How::Magnet, How::Get] {
        bobs.extend(crowd(&mut world, &Spec::default(), &album, how, 3));
    }
    let pieces = album.layout().pieces();
    let out = world.run(Duration::from_secs(60), |world| {
        (0..pieces).all(|p| bobs.iter().any(|b| world.has(*b, &album, p)))
    });
    assert!(out, "one copy gets out within a minute");
    world.kill(seed);
    world.finish(&bobs, &album, Duration::from_secs(60));
    Report::of(world)
}

/// Everybody knows everybody from the first moment and dials at once.
pub fn crossed_dials(origin: Origin) -> Report {
    let mut world = World::new(origin);
    let album = world.content(Kind::V1, 64 << 10, &[2 << 20]);
    let spec = Spec::default();
    let seed = crowd(&mut world, &spec, &album, How::Seed, 1);
    let bobs = crowd(&mut world, &spec, &album, How::Get, 12);
    let all: Vec<NodeId> = seed.iter().chain(&bobs).copied().collect();
    world.pass(Duration::from_secs(1));
    for &node in &all {
        let peers = world.peers(node, &album);
        assert_eq!(
            peers.len(),
            all.len() - 1,
            "{}: {peers:?}",
            world.node(node).name
        );
    }
    world.finish(&bobs, &album, Duration::from_secs(30));
    Report::of(world)
}

/// Peers come and go, some by power cut, and come back with what they had.
pub fn churn(origin: Origin) -> Report {
    let mut world = World::new(origin);
    let album = world.content(Kind::Hybrid, 64 << 10, &[6_000_000, 700_000]);
    crowd(
        &mut world,
        &Spec::default().rate(500_000, 4_000_000),
        &album,
        How::Seed,
        1,
    );
    let spec = Spec {
        real_store: true,
        ..Spec::default().rate(300_000, 2_000_000)
    };
    let bobs = crowd(&mut world, &spec, &album, How::Get, 20);
    for _ in 0..30 {
        let wait = world.rng().u64(200..3_000);
        world.pass(Duration::from_millis(wait));
        let who = world.rng().usize(..bobs.len());
        let who = bobs[who];
        if !world.node(who).is_up() {
            continue;
        }
        match world.rng().u8(..3) {
            0 => world.stop(who),
            1 => world.kill(who),
            _ => world.power_cut(who),
        }
        let back = world.rng().u64(100..20_000);
        world.after(Duration::from_millis(back), move |world| world.start(who));
    }
    world.pass(Duration::from_secs(20));
    world.finish(&bobs, &album, Duration::from_secs(240));
    Report::of(world)
}

/// Who gives more gets more: ten peers with fast uplinks and ten with slow ones.
pub fn fairness(origin: Origin) -> Report {
    let mut world = World::new(origin);
    let album = world.content(Kind::V1, 64 << 10, &[12 << 20]);
    let config = Config {
        unchoke_slots: 4,
        ..Config::default()
    };
    let spec = |up| Spec {
        config: config.clone(),
        ..Spec::default().rate(up, 8_000_000)
    };
    crowd(&mut world, &spec(3_000_000), &album, How::Seed, 1);
    let givers = crowd(&mut world, &spec(800_000), &album, How::Get, 10);
    let takers = crowd(&mut world, &spec(50_000), &album, How::Get, 10);
    let within = Duration::from_secs(600);
    world.finish(&givers, &album, within);
    world.finish(&takers, &album, within);
    let mean = |world: &World, nodes: &[NodeId]| {
        let times = nodes
            .iter()
            .filter_map(|n| world.node(*n).share(&album).finished);
        times.sum::<Duration>().as_secs_f64() / nodes.len() as f64
    };
    let (fast, slow) = (mean(&world, &givers), mean(&world, &takers));
    let note = format!("givers took {fast:.1} s, takers {slow:.1} s");
    assert!(fast < slow * 0.7, "{note}");
    Report::of(world).note(note)
}

/// One process seeds a thousand torrents and fetches twenty more at once.
pub fn thousand_torrents(origin: Origin) -> Report {
    let mut world = World::new(origin);
    let alice = world.add(Spec::default().rate(10_000_000, 10_000_000));
    let bob = world.add(Spec::default().rate(10_000_000, 10_000_000));
    let mut hers = Vec::new();
    for _ in 0..1000 {
        let single = world.content(Kind::V1, 16 << 10, &[20_000]);
        world.share(alice, &single, How::Seed);
        hers.push(single);
    }
    let mut his = Vec::new();
    for _ in 0..20 {
        let album = world.content(Kind::Hybrid, 64 << 10, &[500_000]);
        world.share(alice, &album, How::Get);
        world.share(bob, &album, How::Seed);
        his.push(album);
    }
    for album in hers.iter().step_by(50) {
        world.share(bob, album, How::Get);
    }
    for album in &his {
        world.finish(&[alice], album, Duration::from_secs(60));
    }
    for album in hers.iter().step_by(50) {
        world.finish(&[bob], album, Duration::from_secs(60));
    }
    Report::of(world)
}
