//! The DHT: who is found by whom, in a world where much goes wrong.

use std::time::Duration;

use super::Report;
use crate::dht::DhtWorld;
use crate::{NodeId, Origin};

const CONTENT: [u8; 20] = [0x5a; 20];

/// So many nodes, a quarter behind NATs, that joined through a few of those before them.
fn network(origin: Origin, nodes: usize, loss: f64) -> (DhtWorld, Vec<NodeId>) {
    let mut world = DhtWorld::new(origin, loss);
    let (mut all, mut open): (Vec<NodeId>, Vec<NodeId>) = (Vec::new(), Vec::new());
    for n in 0..nodes {
        let nat = n > 10 && world.rng().u8(..4) == 0;
        let contacts: Vec<NodeId> = (0..3.min(open.len()))
            .map(|_| open[world.rng().usize(..open.len())])
            .collect();
        let node = world.join(nat, &contacts);
        all.push(node);
        if !nat {
            open.push(node);
        }
        world.pass(Duration::from_millis(50));
    }
    world.pass(Duration::from_secs(60));
    (world, all)
}

fn report(world: &DhtWorld) -> Report {
    let (events, trace) = world.history();
    Report {
        took: world.now(),
        events,
        trace,
        notes: Vec::new(),
    }
}

/// One offers, others find it: also from behind NATs, with loss, and after a third are gone.
pub fn finds(origin: Origin) -> Report {
    let (mut world, all) = network(origin, 600, 0.03);
    let giver = all[origin.seed as usize * 7 % all.len()];
    let offer = world.search(giver, CONTENT, Some(7000));
    world.pass(Duration::from_secs(30));
    let announced = world.found(giver, offer).announced;
    assert!(announced >= 5, "{announced} nodes took the announce");

    let ask = |world: &mut DhtWorld, who: &[NodeId]| {
        let asked: Vec<_> = who
            .iter()
            .map(|&n| (n, world.search(n, CONTENT, None)))
            .collect();
        world.pass(Duration::from_secs(30));
        let hit = asked.iter().filter(|(n, search)| {
            let found = world.found(*n, *search);
            assert!(found.done.is_some(), "a search ends within half a minute");
            found.peers.iter().any(|p| p.ip() == world.addr(giver).ip())
        });
        hit.count()
    };
    let askers: Vec<NodeId> = all
        .iter()
        .copied()
        .filter(|&n| n != giver)
        .step_by(20)
        .collect();
    let first = ask(&mut world, &askers);
    assert_eq!(first, askers.len(), "all find it");

    for &node in &all {
        if node != giver && !askers.contains(&node) && world.rng().u8(..3) == 0 {
            world.kill(node);
        }
    }
    let then = ask(&mut world, &askers);
    assert!(
        then * 10 >= askers.len() * 9,
        "{then} of {} after",
        askers.len()
    );
    let packets = world.packets() as f64 / all.len() as f64;
    let note = format!(
        "{packets:.0} packets a node, {then} of {} found it after",
        askers.len()
    );
    report(&world).note(note)
}

/// Nodes come and go for hours; whoever stays keeps a full table and costs little.
pub fn endures(origin: Origin) -> Report {
    let (mut world, mut all) = network(origin, 150, 0.02);
    let before = world.packets();
    for _ in 0..120 {
        let gone = world.rng().usize(20..all.len());
        world.kill(all[gone]);
        let contacts = [all[world.rng().usize(..20)]];
        let nat = world.rng().u8(..4) == 0;
        all[gone] = world.join(nat, &contacts);
        world.pass(Duration::from_secs(60));
    }
    let hours = 2.0;
    let rate = (world.packets() - before) as f64 / all.len() as f64 / (hours * 3600.0);
    let good: Vec<usize> = all[..20].iter().map(|&n| world.status(n).good_v4).collect();
    let least = good.iter().min().copied().unwrap_or(0);
    assert!(
        least >= 20,
        "somebody knows {least} good nodes only: {good:?}"
    );
    assert!(rate < 2.0, "{rate:.2} packets a second and node");
    report(&world).note(format!(
        "{rate:.2} packets a second and node, at least {least} good nodes"
    ))
}
