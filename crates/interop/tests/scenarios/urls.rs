//! Torrent files behind a URL.

use crate::SOON;
use interop::{Kind, Role, Scenario, Source};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Answers every request on an address with one reply, and counts them.
pub(crate) fn serve(addr: &str, head: &str, body: Vec<u8>) -> Arc<AtomicUsize> {
    let listener = TcpListener::bind(addr).expect("the address is the scenario's");
    let head = format!(
        "HTTP/1.1 {head}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = asked.clone();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            counter.fetch_add(1, Ordering::SeqCst);
            let lines = BufReader::new(&stream).lines().map_while(Result::ok);
            lines.take_while(|line| !line.is_empty()).for_each(drop);
            // Whoever hangs up early has what it wanted.
            let _ = stream
                .write_all(head.as_bytes())
                .and_then(|()| stream.write_all(&body));
        }
    });
    asked
}

#[test]
fn a_torrent_behind_a_url_is_fetched_and_followed() {
    let s = Scenario::new();
    let film = s.file("film.mkv", 3_000_000);
    let torrent = s.torrent_without_tracker(&film, Kind::Hybrid);
    let seed = s.libtorrent().seeds(&torrent);
    let file = std::fs::read(&torrent.path).expect("it was just made");
    serve("10.77.0.19:80", "200 OK", file);
    let mut us = s.starling().knows(&seed);
    us.gets(&["http://10.77.0.19/film.torrent"])
        .receives(&film, SOON);
}

#[test]
fn a_public_server_cannot_send_us_to_a_private_one() {
    let s = Scenario::new();
    s.also_at("93.184.216.34"); // public, and in this namespace ours
    let redirect = "302 Found\r\nLocation: http://10.77.0.19/film.torrent";
    let outside = serve("93.184.216.34:80", redirect, Vec::new());
    let inside = serve("10.77.0.19:80", "200 OK", b"de".to_vec());
    let mut run = s
        .starling()
        .gets(&["http://93.184.216.34/film.torrent"])
        .child;
    assert_ne!(run.exit_code(SOON), 0);
    assert_eq!(
        outside.load(Ordering::SeqCst),
        1,
        "it asked the public server"
    );
    assert_eq!(
        inside.load(Ordering::SeqCst),
        0,
        "it must not ask the private one"
    );
}

#[test]
fn a_tracker_that_redirects_inside_is_not_followed() {
    let s = Scenario::new();
    s.also_at("93.184.216.34");
    let redirect = "302 Found\r\nLocation: http://10.77.0.19/announce";
    let outside = serve("93.184.216.34:80", redirect, Vec::new());
    let inside = serve(
        "10.77.0.19:80",
        "200 OK",
        b"d8:intervali60e5:peers0:e".to_vec(),
    );
    let film = s.file("film.mkv", 300_000);
    let tracker = "http://93.184.216.34/announce";
    let torrent = s.torrent_with(&film, Kind::V1, 65536, &[tracker]);
    let same = s.torrent_with(&film, Kind::V1, 65536, &[]);
    let seed = s.libtorrent().seeds(&same);
    let mut us = s.starling().knows(&seed);
    us.start(Role::get(Source::from(&torrent)))
        .receives(&film, SOON);
    assert!(outside.load(Ordering::SeqCst) > 0, "it asked the tracker");
    assert_eq!(
        inside.load(Ordering::SeqCst),
        0,
        "it must not follow it inside"
    );
}
