//! Finding each other through trackers, and telling them the truth.

use crate::SOON;
use crate::urls::serve;
use interop::{Kind, MIB, Role, Scenario};
use serde_json::{Value, json};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

#[test]
fn an_http_tracker_introduces_starling_and_libtorrent() {
    let s = Scenario::new();
    let film = s.file("film.mkv", 3_000_000);
    let torrent = s.torrent(&film, Kind::Hybrid);
    let _seed = s.libtorrent().seeds(&torrent);
    s.starling()
        .start(Role::get(&torrent))
        .receives(&film, SOON);
}

#[test]
fn a_udp_tracker_introduces_starling_and_libtorrent() {
    let s = Scenario::new();
    let film = s.file("film.mkv", 3_000_000);
    let torrent = s.torrent_with(&film, Kind::Hybrid, 65536, &[&s.tracker().udp_url()]);
    let _seed = s.libtorrent().seeds(&torrent);
    let mut us = s.starling().start(Role::get(&torrent));
    us.receives(&film, SOON);
    assert!(
        s.tracker()
            .heard_from(us.addr)
            .iter()
            .all(|a| a.by == "udp")
    );
}

#[test]
fn a_udp_tracker_brings_libtorrent_to_starling() {
    let s = Scenario::new();
    let film = s.file("film.mkv", 3_000_000);
    let torrent = s.torrent_with(&film, Kind::V2, 65536, &[&s.tracker().udp_url()]);
    let seed = s.starling().seeds(&torrent);
    s.tracker().wait_for(seed.addr, "started", SOON);
    s.libtorrent()
        .start(Role::get(&torrent))
        .receives(&film, SOON);
}

#[test]
fn the_second_tracker_is_asked_when_the_first_is_down() {
    let s = Scenario::new();
    let film = s.file("film.mkv", 3_000_000);
    let nobody = [
        "http://10.77.0.19:1/announce",
        "udp://10.77.0.19:1/announce",
    ];
    for dead in nobody {
        let torrent = s.torrent_with(&film, Kind::V1, 65536, &[dead, &s.tracker().http_url()]);
        let _seed = s
            .libtorrent()
            .arg("--set")
            .arg("announce_to_all_trackers=true")
            .seeds(&torrent);
        s.starling()
            .start(Role::get(&torrent))
            .receives(&film, SOON);
    }
}

#[test]
fn a_tracker_hears_started_completed_and_stopped() {
    let s = Scenario::new();
    let film = s.file("film.mkv", 3_000_000);
    let torrent = s.torrent(&film, Kind::V1);
    let _seed = s.libtorrent().seeds(&torrent);
    let mut us = s.starling().start(Role::get_and_stay(&torrent));
    us.receives(&film, SOON);
    assert_eq!(
        s.tracker().wait_for(us.addr, "started", SOON).left,
        3_000_000
    );
    assert_eq!(s.tracker().wait_for(us.addr, "completed", SOON).left, 0);
    us.child.interrupt();
    us.child.exit_code(SOON);
    s.tracker()
        .wait_for(us.addr, "stopped", Duration::from_secs(5));
}

/// Most memory of a daemon whose tracker is of the worst kind.
const MOST_MEMORY: u64 = 100 * MIB;

/// A transfer completes from the peer it was told of, whatever this tracker answers; gives the tracker as the daemon
/// sees it once `told` is true of it.
fn completes_with(head: &str, body: Vec<u8>, told: impl Fn(&Value) -> bool) -> Value {
    let s = Scenario::new();
    let asked = serve("10.77.0.19:80", head, body);
    let inside = serve(
        "127.0.0.1:6999",
        "200 OK",
        b"d8:intervali60e5:peers0:e".to_vec(),
    );
    let film = s.file("film.mkv", 3_000_000);
    let tracker = "http://10.77.0.19/announce";
    let torrent = s.torrent_with(&film, Kind::V1, 65536, &[tracker]);
    let seed = s
        .libtorrent()
        .seeds(&s.torrent_with(&film, Kind::V1, 65536, &[]));
    let daemon = s.starling().ups();
    let id = daemon.adds(&torrent, &[seed.addr], json!({}));
    daemon.until(id, "complete", SOON, |row| row["complete"] == true);
    let end = Instant::now() + SOON;
    let tracker = loop {
        let tracker = daemon.ask(&format!("/transfers/{id}/trackers"), &[])[0].take();
        if told(&tracker) {
            break tracker;
        }
        assert!(Instant::now() < end, "it does not tell: {tracker:#}");
        std::thread::sleep(Duration::from_millis(100));
    };
    assert!(asked.load(Ordering::SeqCst) > 0);
    assert_eq!(
        inside.load(Ordering::SeqCst),
        0,
        "somebody knocked at this computer's door"
    );
    let peak = daemon.child.peak_memory().unwrap();
    assert!(peak < MOST_MEMORY, "it took {} MiB", peak / MIB);
    tracker
}

fn says(tracker: &Value, words: &str) -> bool {
    let message = tracker["message"].as_str();
    message.is_some_and(|message| message.contains(words))
}

#[test]
fn a_tracker_that_answers_nonsense_is_told_of_and_done_without() {
    let page = b"<html><body>It works!</body></html>".to_vec();
    completes_with("200 OK", page, |tracker| {
        says(tracker, "the tracker's answer is not readable")
    });
}

/// A list of so many bytes, of peers that are not there.
fn list_of(bytes: usize) -> Vec<u8> {
    let mut body = format!("d8:intervali1800e5:peers{bytes}:").into_bytes();
    let peers = (0..bytes as u32 / 6).flat_map(|n| {
        let [_, _, high, low] = (1024 + n % 60_000).to_be_bytes();
        [10, 77, 0, 20, high, low]
    });
    body.extend(peers);
    body.push(b'e');
    body
}

#[test]
fn a_tracker_that_lists_ten_million_peers_is_hung_up_on() {
    completes_with("200 OK", list_of(60_000_000), |tracker| {
        says(tracker, "10.77.0.19 sends more than 1 MiB; that is refused")
    });
}

#[test]
fn of_a_tracker_that_lists_a_hundred_thousand_peers_a_part_is_taken() {
    let tracker = completes_with("200 OK", list_of(600_000), |tracker| {
        tracker["state"] == "working"
    });
    assert_eq!(tracker["peers"], 2000, "{tracker:#}");
}

#[test]
fn a_tracker_nearby_cannot_send_us_to_our_own_computer() {
    let redirect = "302 Found\r\nLocation: http://127.0.0.1:6999/announce";
    completes_with(redirect, Vec::new(), |tracker| {
        says(tracker, "http://127.0.0.1:6999/announce") && says(tracker, "that is refused")
    });
}
