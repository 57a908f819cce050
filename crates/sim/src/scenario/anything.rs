//! Whatever the seed makes up: any kind and size of torrent, any mix of peers, links, disks,
//! liars, deserters and misfortunes. As long as one honest seed stays, everybody honest finishes.

use std::time::Duration;

use swarm::Config;
use torrent::layout::{BLOCK, Kind};

use super::Report;
use crate::{Eve, How, Mischief, NodeId, Origin, Spec, World};

/// A computer of any sort.
fn any_spec(rng: &mut fastrand::Rng) -> Spec {
    let up = 1 << rng.u32(16..22);
    Spec {
        up,
        down: up * rng.u64(1..8),
        delay: Duration::from_millis(rng.u64(1..120)),
        loss: [0.0, 0.0, 0.002, 0.02][rng.usize(..4)],
        reachable: rng.u8(..4) > 0,
        disk: 1 << rng.u32(21..28),
        slots: [8, 32, 256][rng.usize(..3)],
        real_store: rng.u8(..3) == 0,
        config: Config {
            unchoke_slots: rng.usize(1..20),
            max_connections_per_torrent: rng.usize(4..80),
            ..Config::default()
        },
        ..Spec::default()
    }
}

pub fn goes(origin: Origin) -> Report {
    let mut world = World::new(origin);
    let mut rng = fastrand::Rng::with_seed(origin.seed ^ 0x616e_7974_6869_6e67);
    let kind = [Kind::V1, Kind::V2, Kind::Hybrid][rng.usize(..3)];
    let piece = BLOCK << rng.u32(..5);
    let mut lens: Vec<u64> = (0..rng.usize(1..6)).map(|_| rng.u64(..900_000)).collect();
    lens[0] += 1;
    let album = world.content(kind, piece, &lens);

    let steady = world.add(Spec {
        reachable: true,
        loss: 0.0,
        ..any_spec(&mut rng)
    });
    world.share(steady, &album, How::Seed);
    let ways = [How::Get, How::Get, How::GetWithoutLayers, How::Magnet];
    let bobs: Vec<NodeId> = (0..rng.usize(1..14))
        .map(|_| {
            let bob = world.add(any_spec(&mut rng));
            let way = ways[rng.usize(..ways.len())];
            if rng.u8(..4) == 0 {
                let pick = |_| [0, 1, 4, 7][rng.usize(..4)];
                let some = (0..album.layout().files()).map(pick).collect();
                world.share_some(bob, &album, way, some);
            } else {
                world.share(bob, &album, way);
            }
            bob
        })
        .collect();
    for _ in 0..rng.usize(..4) {
        let mut spec = any_spec(&mut rng);
        match rng.u8(..3) {
            0 => spec.lies = rng.f64(),
            1 => spec.silent = true,
            _ => {
                let what = Mischief::ALL[rng.usize(..Mischief::ALL.len())];
                world.add_eve(spec, Eve::new(&album, what));
                continue;
            }
        }
        let bad = world.add(spec);
        world.share(bad, &album, How::Seed);
    }

    for _ in 0..rng.usize(..12) {
        world.pass(Duration::from_millis(rng.u64(..4000)));
        let who = bobs[rng.usize(..bobs.len())];
        if !world.node(who).is_up() {
            continue;
        }
        match rng.u8(..5) {
            0 => world.power_cut(who),
            1 => world.kill(who),
            2 => world.stop(who),
            3 => {
                let other = bobs[rng.usize(..bobs.len())];
                world.cut(who, other);
                let wait = Duration::from_millis(rng.u64(..60_000));
                world.after(wait, move |world| world.mend(who, other));
                continue;
            }
            _ => {
                let free = album.layout().size() * rng.u64(1..4) / 4;
                world.set_capacity(who, &album, free);
                let wait = Duration::from_millis(rng.u64(..20_000));
                let (id, content) = (album.id, album.clone());
                world.after(wait, move |world| {
                    world.set_capacity(who, &content, u64::MAX);
                    world.tell(who, swarm::Input::Pause(id, None));
                });
                continue;
            }
        }
        let back = Duration::from_millis(rng.u64(..20_000));
        world.after(back, move |world| world.start(who));
    }
    world.pass(Duration::from_secs(80));
    world.finish(&bobs, &album, Duration::from_secs(900));
    let note = format!(
        "{kind:?}, {} bytes in pieces of {piece}",
        album.layout().size()
    );
    Report::of(world).note(format!("{note}, {} wanted it", bobs.len()))
}
