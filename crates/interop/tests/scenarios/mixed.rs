//! All clients in one swarm.

use crate::PATIENT;
use interop::{Kind, MIB, Role, Scenario};

/// Slow enough that the downloaders trade with each other meanwhile, in bytes a second.
const SEED_RATE: u64 = 3 * MIB;

/// The only seed leaves as soon as the others have every piece between them. From then on they
/// can be complete only by what they give each other, across clients.
fn the_seed_leaves(kind: Kind, ours: usize) {
    let s = Scenario::new();
    let film = s.file("film.mkv", 24 * MIB + 12_345);
    let torrent = s.torrent(&film, kind);
    let seed = s.libtorrent().limit_up(SEED_RATE);
    let mut seed = seed
        .arg("--super-seed")
        .arg("--leave-when-copied")
        .seeds(&torrent);
    s.tracker().wait_for(seed.addr, "started", PATIENT);
    let mut swarm = vec![s.libtorrent().start(Role::get_and_stay(&torrent))];
    swarm.extend((0..ours).map(|_| s.starling().start(Role::get_and_stay(&torrent))));
    if kind != Kind::V2 {
        swarm.push(s.aria2(Role::get_and_stay(&torrent)));
        swarm.push(s.transmission(Role::get_and_stay(&torrent)));
    }
    seed.child.wait_for("copied", PATIENT);
    seed.child.exit_code(PATIENT);
    for peer in &mut swarm {
        peer.receives(&film, PATIENT);
    }
}

#[test]
fn a_swarm_of_all_clients_completes_a_v1_torrent_after_its_seed_left() {
    the_seed_leaves(Kind::V1, 2);
}

#[test]
fn a_swarm_of_all_clients_completes_a_hybrid_torrent_after_its_seed_left() {
    the_seed_leaves(Kind::Hybrid, 2);
}

#[test]
fn a_swarm_completes_a_v2_torrent_after_its_seed_left() {
    the_seed_leaves(Kind::V2, 2);
}

/// A control: the others can do it without us.
#[test]
fn a_swarm_of_the_other_clients_completes_a_hybrid_torrent_after_its_seed_left() {
    the_seed_leaves(Kind::Hybrid, 0);
}
