//! One seed and one who wants it.

use std::rc::Rc;
use std::time::Duration;

use swarm::Input;
use torrent::layout::Kind;

use super::{Report, time_for};
use crate::{Content, How, NodeId, Origin, Spec, World};

/// Alice has an album of several files, bob wants it.
fn pair(origin: Origin, kind: Kind, how: How) -> (World, Rc<Content>, NodeId, NodeId) {
    let mut world = World::new(origin);
    let lens = [1_500_000, 0, 70_001, 16_384, 900_000, 500];
    let album = world.content(kind, 64 << 10, &lens);
    let alice = world.add(Spec::default());
    let bob = world.add(real());
    world.share(alice, &album, How::Seed);
    world.share(bob, &album, how);
    (world, album, alice, bob)
}

/// A computer with the real store.
fn real() -> Spec {
    Spec {
        real_store: true,
        ..Spec::default()
    }
}

fn fetch(origin: Origin, kind: Kind, how: How) -> Report {
    let (mut world, album, _, bob) = pair(origin, kind, how);
    // The link's own time, half as much again, and a few round trips and dials.
    let within = time_for(&album, world.node(bob).spec.down.min(2_000_000)).mul_f64(1.5);
    world.finish(&[bob], &album, within + Duration::from_secs(3));
    let got = world.node(bob).share(&album).received;
    let pads = album.layout().size() - album.layout().payload();
    assert!(
        got <= album.layout().payload() + pads,
        "nothing comes twice"
    );
    Report::of(world)
}

pub fn v1(origin: Origin) -> Report {
    fetch(origin, Kind::V1, How::Get)
}

pub fn v2(origin: Origin) -> Report {
    fetch(origin, Kind::V2, How::Get)
}

pub fn hybrid(origin: Origin) -> Report {
    fetch(origin, Kind::Hybrid, How::Get)
}

pub fn v2_without_layers(origin: Origin) -> Report {
    fetch(origin, Kind::V2, How::GetWithoutLayers)
}

pub fn magnet_v1(origin: Origin) -> Report {
    fetch(origin, Kind::V1, How::Magnet)
}

pub fn magnet_v2(origin: Origin) -> Report {
    fetch(origin, Kind::V2, How::Magnet)
}

pub fn magnet_hybrid(origin: Origin) -> Report {
    fetch(origin, Kind::Hybrid, How::Magnet)
}

/// Links from slow and near to fast and far, with and without loss: the link is the limit.
pub fn links(origin: Origin) -> Report {
    let mut notes = Vec::new();
    let mut last = None;
    for (rate, ms, loss) in [
        (100_000u64, 5, 0.0),
        (1_000_000, 25, 0.0),
        (10_000_000, 1, 0.0),
        (8_000_000, 30, 0.0),
        (1_000_000, 20, 0.01),
    ] {
        let mut world = World::new(origin);
        let album = world.content(Kind::V1, 256 << 10, &[rate * 10]);
        let spec = Spec {
            delay: Duration::from_millis(ms),
            loss,
            ..Spec::default()
        };
        let alice = world.add(spec.clone().rate(rate, rate));
        let bob = world.add(spec.rate(4 * rate, 4 * rate));
        world.share(alice, &album, How::Seed);
        world.share(bob, &album, How::Get);
        world.finish(&[bob], &album, Duration::from_secs(60));
        let took = world.now().as_secs_f64();
        notes.push(format!(
            "{rate} B/s at {ms} ms, loss {loss}: {:.0} %",
            1000.0 / took
        ));
        let least = if loss > 0.0 { 0.5 } else { 0.85 };
        assert!(10.0 / took > least, "{}", notes.join("\n"));
        last = Some(Report::of(world));
    }
    notes
        .into_iter()
        .fold(last.expect("there are links"), Report::note)
}

/// Four slots between the network and a slow disk.
pub fn few_slots(origin: Origin) -> Report {
    let mut world = World::new(origin);
    let album = world.content(Kind::Hybrid, 128 << 10, &[4_000_000]);
    let alice = world.add(Spec::default().rate(8_000_000, 8_000_000));
    let bob = world.add(Spec {
        slots: 4,
        disk: 1_000_000,
        ..Spec::default()
    });
    world.share(alice, &album, How::Seed);
    world.share(bob, &album, How::Get);
    // Each byte is written once and read once for its hash.
    let within = time_for(&album, 500_000).mul_f64(1.5);
    world.finish(&[bob], &album, within);
    Report::of(world)
}

/// A seed behind a NAT that lets nobody in.
pub fn nat(origin: Origin) -> Report {
    let mut world = World::new(origin);
    let album = world.content(Kind::V2, 64 << 10, &[1_000_000]);
    let alice = world.add(Spec {
        reachable: false,
        ..Spec::default()
    });
    let bob = world.add(Spec::default());
    world.share(alice, &album, How::Seed);
    world.share(bob, &album, How::Get);
    world.finish(&[bob], &album, Duration::from_secs(10));
    Report::of(world)
}

/// Two of five files.
pub fn selected(origin: Origin) -> Report {
    let mut last = None;
    for kind in [Kind::V1, Kind::V2, Kind::Hybrid] {
        let mut world = World::new(origin);
        let lens = [400_000, 300_000, 500_000, 50_000, 800_000];
        let album = world.content(kind, 64 << 10, &lens);
        let layout = album.layout();
        let real: Vec<usize> = (0..layout.files())
            .filter(|&f| !layout.file(f).pad)
            .collect();
        let mut wanted = vec![0; layout.files()];
        wanted[real[1]] = 4;
        wanted[real[3]] = 7;
        let alice = world.add(Spec::default());
        let bob = world.add(Spec::default());
        world.share(alice, &album, How::Seed);
        world.share_some(bob, &album, How::Get, wanted.clone());
        world.finish(&[bob], &album, Duration::from_secs(10));
        let pieces = |f: usize| u64::from(layout.file_pieces(real[f]).len() as u32) * (64 << 10);
        let got = world.node(bob).share(&album).received;
        assert!(got <= pieces(1) + pieces(3), "{got} bytes for two files");

        // And later the others too.
        wanted[real[0]] = 1;
        wanted[real[2]] = 1;
        world.tell(bob, Input::Prioritize(album.id, wanted));
        world.finish(&[bob], &album, Duration::from_secs(30));
        last = Some(Report::of(world));
    }
    last.expect("there are kinds")
}

/// The power goes in the middle; what was recorded is not fetched again (a check that is always
/// on), and little else is.
pub fn power_cut(origin: Origin) -> Report {
    let mut report = None;
    for kind in [Kind::V1, Kind::V2, Kind::Hybrid] {
        let mut world = World::new(origin);
        let album = world.content(kind, 128 << 10, &[16_000_000, 4_000_000]);
        let alice = world.add(Spec::default());
        let bob = world.add(real());
        world.share(alice, &album, How::Seed);
        world.share(bob, &album, How::Get);
        let mut cuts = 0;
        while !world.is_finished(bob, &album) && cuts < 5 {
            let wait = world.rng().u64(500..9_000);
            world.pass(Duration::from_millis(wait));
            world.power_cut(bob);
            world.pass(Duration::from_millis(wait / 4));
            world.start(bob);
            cuts += 1;
        }
        world.finish(&[bob], &album, Duration::from_secs(120));
        let share = world.node(bob).share(&album);
        let again = share.received.saturating_sub(album.layout().payload());
        let note = format!("{kind:?}: {cuts} cuts, {again} bytes fetched again");
        // Nobody loses more than what came since the last sync, 5 s and a window before.
        assert!(again <= cuts * 2_000_000 * 7, "{note}");
        report = Some(Report::of(world).note(note));
    }
    report.expect("there are kinds")
}

/// `kill -9` ten times: the system keeps what was written, so next to nothing comes twice.
pub fn kills(origin: Origin) -> Report {
    let mut world = World::new(origin);
    let album = world.content(Kind::Hybrid, 64 << 10, &[20_000_000]);
    let alice = world.add(Spec::default());
    let bob = world.add(real());
    world.share(alice, &album, How::Seed);
    world.share(bob, &album, How::Get);
    for _ in 0..10 {
        let wait = world.rng().u64(300..1500);
        world.pass(Duration::from_millis(wait));
        world.kill(bob);
        world.pass(Duration::from_millis(100));
        world.start(bob);
    }
    world.finish(&[bob], &album, Duration::from_secs(90));
    let share = world.node(bob).share(&album);
    let again = share.received - album.layout().payload();
    let note = format!("{again} bytes fetched again");
    // A few pieces in progress each time.
    assert!(again <= 10 * 2_000_000, "{note}");
    Report::of(world).note(note)
}

/// The disk fills up half-way: the torrent pauses and says why; with room again it goes on.
pub fn disk_full(origin: Origin) -> Report {
    let (mut world, album, _, bob) = pair(origin, Kind::V2, How::Get);
    world.set_capacity(bob, &album, 1_000_000);
    let paused = world.run(Duration::from_secs(20), |world| {
        let status = world.status(bob, &album).expect("bob runs");
        matches!(status.state, swarm::State::Paused(_))
    });
    assert!(paused, "a full disk pauses the torrent");
    world.pass(Duration::from_secs(30));
    assert!(!world.is_finished(bob, &album));
    world.set_capacity(bob, &album, u64::MAX);
    world.tell(bob, Input::Pause(album.id, None));
    world.finish(&[bob], &album, Duration::from_secs(60));
    Report::of(world)
}

/// Nothing passes for a minute, without a word from the network.
pub fn outage(origin: Origin) -> Report {
    let mut world = World::new(origin);
    let album = world.content(Kind::V1, 64 << 10, &[6_000_000]);
    let alice = world.add(Spec::default());
    let bob = world.add(Spec::default());
    world.share(alice, &album, How::Seed);
    world.share(bob, &album, How::Get);
    world.pass(Duration::from_secs(1));
    world.cut(alice, bob);
    world.pass(Duration::from_secs(60));
    assert!(!world.is_finished(bob, &album));
    world.mend(alice, bob);
    world.finish(&[bob], &album, Duration::from_secs(330));
    Report::of(world)
}

/// Pieces go bad on a seed's disk while it serves: it says so, fetches them anew from those who
/// have them, and serves on.
pub fn rot(origin: Origin) -> Report {
    let mut world = World::new(origin);
    let album = world.content(Kind::Hybrid, 64 << 10, &[3_000_000]);
    let alice = world.add(Spec::default());
    let bob = world.add(real());
    let carol = world.add(Spec::default());
    world.share(alice, &album, How::Seed);
    world.share(bob, &album, How::Get);
    world.share(carol, &album, How::Get);
    world.pass(Duration::from_millis(1200));
    let shared = |world: &World| {
        let both = |p: &u32| world.has(bob, &album, *p) || world.has(carol, &album, *p);
        (0..album.layout().pieces())
            .filter(both)
            .take(3)
            .collect::<Vec<u32>>()
    };
    let bad = shared(&world);
    assert!(!bad.is_empty(), "some pieces are out by now");
    for &piece in &bad {
        world.rot(alice, &album, piece);
    }
    world.finish(&[bob, carol, alice], &album, Duration::from_secs(30));
    world.rot(bob, &album, bad[0]);
    world.finish(&[bob], &album, Duration::from_secs(30));
    Report::of(world)
}

/// Killed, started again, and then the power goes: what a check found right after the kill was
/// never synced by anybody, and may be recorded only once it is.
pub fn kill_then_power_cut(origin: Origin) -> Report {
    let mut world = World::new(origin);
    let album = world.content(Kind::Hybrid, 128 << 10, &[12_000_000]);
    let alice = world.add(Spec::default());
    let bob = world.add(real());
    world.share(alice, &album, How::Seed);
    world.share(bob, &album, How::Get);
    world.pass(Duration::from_secs(4));
    world.kill(bob);
    world.pass(Duration::from_millis(100));
    world.kill(alice);
    world.start(bob);
    world.pass(Duration::from_secs(8));
    world.power_cut(bob);
    world.start(bob);
    world.start(alice);
    world.finish(&[bob], &album, Duration::from_secs(60));
    Report::of(world)
}
