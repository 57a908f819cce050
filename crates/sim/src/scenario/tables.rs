//! The DHT: who is found by whom, in a world where much goes wrong.

use std::net::SocketAddr;
use std::time::Duration;

use super::Report;
use crate::dht::{DhtWorld, Manner};
use crate::{NodeId, Origin};

const CONTENT: [u8; 20] = [0x5a; 20];

/// So many nodes, a quarter behind NATs, that joined through a few of those before them.
fn network(origin: Origin, nodes: usize, loss: f64) -> (DhtWorld, Vec<NodeId>) {
    grow(DhtWorld::new(origin, loss), nodes)
}

fn grow(mut world: DhtWorld, nodes: usize) -> (DhtWorld, Vec<NodeId>) {
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

/// A fifth of the nodes lie: with ids next to whatever is looked for or with ids that fit, from a few networks or each
/// from one of its own. Honest nodes have ids that fit, and find what honest nodes offer.
pub fn resists(origin: Origin) -> Report {
    let (mut world, all) = grow(DhtWorld::public(origin, 0.02), 300);
    world.pass(Duration::from_secs(300));
    let placed = all.iter().filter(|&&n| world.is_placed(n)).count();
    assert!(
        placed * 100 >= all.len() * 95,
        "{placed} ids of {} fit",
        all.len()
    );

    let (manner, networks) = match origin.seed % 4 {
        0 => (Manner::Near, 75),
        1 => (Manner::Near, 5),
        2 => (Manner::Fitting, 75),
        _ => (Manner::Fitting, 5),
    };
    let liar = |n: u8| SocketAddr::from(([66, 66 + n % networks, 6, n], 6881));
    world.intrude(manner, (0..75).map(liar).collect(), 100);
    world.pass(Duration::from_secs(20 * 60));

    let (mut hits, mut asked, mut slowest) = (0, 0, Duration::ZERO);
    for round in 0..5u8 {
        let content = std::array::from_fn(|_| world.rng().u8(..));
        let giver = all[world.rng().usize(..all.len())];
        world.search(giver, content, Some(7000));
        world.pass(Duration::from_secs(60));
        let askers: Vec<_> = all.iter().skip(round.into()).step_by(20).copied().collect();
        let begun = world.now();
        let searches: Vec<_> = askers
            .iter()
            .map(|&n| (n, world.search(n, content, None)))
            .collect();
        world.pass(Duration::from_secs(120));
        for (node, search) in searches {
            let found = world.found(node, search);
            let done = found.done.expect("a search ends within two minutes");
            slowest = slowest.max(done - begun);
            asked += 1;
            hits += usize::from(found.peers.iter().any(|p| p.ip() == world.addr(giver).ip()));
        }
    }
    assert!(hits * 100 >= asked * 97, "{hits} of {asked} found it");
    let still = all.iter().filter(|&&n| world.is_placed(n)).count();
    assert!(still >= placed, "the liars moved {} nodes", placed - still);
    report(&world).note(format!(
        "{manner:?} from {networks} networks: {hits} of {asked} found it, the slowest in {:.1} s",
        slowest.as_secs_f64()
    ))
}
