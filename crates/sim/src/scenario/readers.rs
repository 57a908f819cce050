//! Somebody reads what is not there yet.

use std::time::Duration;

use swarm::Input;
use torrent::layout::Kind;

use super::Report;
use crate::{How, Origin, Spec, World};

/// Bytes of a piece of the film.
const PIECE: u32 = 1 << 20;
/// Pieces a player wants ahead of where it is.
const AHEAD: u32 = 4;
/// What the film plays at, in bytes a second.
const PLAYS: u64 = 1_000_000;

/// A jump to nine tenths of a film over 20 Mbit/s, while twenty other transfers fill the link: it
/// plays within two seconds, and goes on playing.
pub fn seek(origin: Origin) -> Report {
    let mut world = World::new(origin);
    let film = world.content(Kind::V1, PIECE, &[96 << 20]);
    let others: Vec<_> = (0..20)
        .map(|_| world.content(Kind::V1, 256 << 10, &[8 << 20]))
        .collect();
    let bob = world.add(Spec::default().rate(500_000, 2_500_000));
    for n in 0..4 {
        let spec = match n {
            // One of those who have it is slow, one promises and sends nothing.
            0 => Spec::default().rate(30_000, 1_000_000),
            1 => Spec {
                silent: true,
                ..Spec::default()
            },
            _ => Spec::default().rate(5_000_000, 5_000_000),
        };
        let seed = world.add(spec);
        world.share(seed, &film, How::Seed);
        if n > 1 {
            others.iter().for_each(|o| world.share(seed, o, How::Seed));
        }
    }
    world.share(bob, &film, How::Get);
    others.iter().for_each(|o| world.share(bob, o, How::Get));
    world.pass(Duration::from_secs(10));

    let from = film.layout().pieces() * 9 / 10;
    let jumped = world.now();
    let plays = Duration::from_secs_f64(f64::from(PIECE) / PLAYS as f64);
    let mut waits = Vec::new();
    for step in 0..6 {
        let piece = from + step;
        let now = world.instant();
        world.tell(bob, Input::ClearDeadlines(film.id));
        for ahead in 0..AHEAD.min(film.layout().pieces() - piece) {
            let when = now + plays * ahead;
            world.tell(bob, Input::Deadline(film.id, piece + ahead, when));
        }
        let asked = world.now();
        world.run(Duration::from_secs(60), |world| {
            world.has(bob, &film, piece)
        });
        waits.push(world.now() - asked);
        // It plays while the next comes.
        world.pass(plays);
    }
    let note = format!("from the jump at {jumped:?} on, waits of {waits:.2?}");
    assert!(waits[0] < Duration::from_secs(2), "{note}");
    assert!(waits[1..].iter().all(|w| *w < plays / 2), "{note}");
    Report::of(world).note(note)
}
