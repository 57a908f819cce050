//! Two homes whose routers let in only what answers: peers in them meet through a third (BEP 55).
//!
//! The third takes and gives next to nothing, so that what comes in time has come through a hole. Who fetches begins when
//! the others have exchanged addresses once: only it learns of somebody it cannot reach, and has to ask.

use crate::{PATIENT, SOON};
use interop::{Content, Home, Kind, Libtorrent, Nat, Peer, Role, Scenario, Starling, Torrent};
use std::thread::sleep;
use std::time::Duration;

/// The first exchange of addresses is over.
const EXCHANGED: Duration = Duration::from_secs(14);

fn homes(s: &Scenario) -> (Home<'_>, Home<'_>, Content, Torrent) {
    let (annas, berts) = (s.home(Nat::PortPreserving), s.home(Nat::PortPreserving));
    let album = s.album();
    let torrent = s.torrent_without_tracker(&album, Kind::Hybrid);
    (annas, berts, album, torrent)
}

/// Who takes and gives next to nothing.
fn slow(starling: Starling) -> Starling {
    let log = starling.env("RUST_LOG", "node=debug");
    log.arg("--limit-down")
        .arg("2K")
        .arg("--limit-up")
        .arg("1K")
}

fn over_both(libtorrent: Libtorrent) -> Libtorrent {
    let set = ["enable_outgoing_utp=true", "enable_incoming_utp=true"];
    set.into_iter()
        .fold(libtorrent, |it, it_is| it.arg("--set").arg(it_is))
}

fn logged(starling: Starling) -> Starling {
    starling.env("RUST_LOG", "node=debug")
}

fn punched(peer: &Peer) -> bool {
    peer.child.stderr().contains("Punch")
}

#[test]
fn two_behind_routers_meet_through_a_third() {
    let s = Scenario::internet();
    let (annas, berts, album, torrent) = homes(&s);
    let relay = slow(s.starling()).start(Role::get_and_stay(&torrent));
    let seed = logged(annas.starling()).knows(&relay).seeds(&torrent);
    sleep(EXCHANGED);
    let bert = logged(berts.starling()).knows(&relay);
    let mut bert = bert.clone().start(Role::get(&torrent));
    bert.receives(&album, SOON);
    assert!(punched(&bert) || punched(&seed), "{}", bert.child.stderr());
}

#[test]
fn starling_introduces_libtorrent() {
    let s = Scenario::internet();
    let (annas, berts, album, torrent) = homes(&s);
    let relay = slow(s.starling()).start(Role::get_and_stay(&torrent));
    let _seed = over_both(annas.libtorrent()).knows(&relay).seeds(&torrent);
    sleep(EXCHANGED);
    let bert = logged(berts.starling()).knows(&relay);
    let mut bert = bert.clone().start(Role::get(&torrent));
    bert.receives(&album, PATIENT);
}

#[test]
fn libtorrent_introduces_starling() {
    let s = Scenario::internet();
    let (annas, berts, album, torrent) = homes(&s);
    // It introduces peers at the ports it sees: over TCP, nobody can be called there.
    let relay = s.libtorrent().arg("--utp").arg("--limit-up").arg(1000);
    let relay = relay.arg("--limit-down").arg(2000);
    let relay = relay.start(Role::get_and_stay(&torrent));
    let seed = logged(annas.starling()).knows(&relay).seeds(&torrent);
    sleep(EXCHANGED);
    let bert = logged(berts.starling()).knows(&relay);
    let mut bert = bert.clone().start(Role::get(&torrent));
    bert.receives(&album, PATIENT);
    assert!(punched(&bert) || punched(&seed), "{}", bert.child.stderr());
}
