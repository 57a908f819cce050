//! Web servers as sources (BEP 19): nginx, one without ranges, and bad ones.

use crate::SOON;
use interop::{Kind, MIB, Role, Scenario, Torrent};
use std::ffi::OsStr;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

/// A public address, in a scenario ours.
const SERVER: &str = "93.184.216.34";
const OTHER: &str = "93.184.216.35";

fn from_nginx_alone(kind: Kind) {
    let s = Scenario::new();
    let album = s.album();
    let nginx = s.nginx(SERVER, &album, "");
    let torrent = s.torrent_on_servers(&album, kind, &[&nginx.url()]);
    let mut us = s.starling();
    us.start(Role::get(&torrent)).receives(&album, SOON);
    let answers = nginx.answers();
    assert!(
        answers.iter().all(|a| a.starts_with("206 ")),
        "{answers:#?}"
    );
    assert!(
        !answers
            .iter()
            .any(|a| a.contains(".pad") || a.contains("empty.log"))
    );
    let sent: u64 = answers
        .iter()
        .map(|a| a.split(' ').nth(1).unwrap().parse::<u64>().unwrap())
        .sum();
    assert_eq!(sent, album.len(), "each byte is fetched once");
}

#[test]
fn an_album_of_v1_comes_from_nginx() {
    from_nginx_alone(Kind::V1);
}

#[test]
fn a_hybrid_album_comes_from_nginx() {
    from_nginx_alone(Kind::Hybrid);
}

#[test]
fn an_album_of_v2_comes_from_nginx() {
    from_nginx_alone(Kind::V2);
}

#[test]
fn an_album_comes_over_http_2() {
    let s = Scenario::new();
    let album = s.album();
    let nginx = s.nginx_with_tls(SERVER, &album);
    let torrent = s.torrent_on_servers(&album, Kind::Hybrid, &[&nginx.url()]);
    s.starling()
        .env("SSL_CERT_FILE", nginx.certificate())
        .start(Role::get(&torrent))
        .receives(&album, SOON);
    let answers = nginx.answers();
    assert!(
        answers
            .iter()
            .all(|a| a.starts_with("206 ") && a.ends_with(" HTTP/2.0")),
        "{answers:#?}"
    );
}

#[test]
fn a_single_file_is_at_its_url_or_in_the_folder() {
    let s = Scenario::new();
    let film = s.file("ein Film & more.mkv", 3_000_000);
    let nginx = s.nginx(SERVER, &film, "");
    let itself = format!("{}ein%20Film%20%26%20more.mkv", nginx.url());
    for (kind, url) in [(Kind::V1, itself), (Kind::V2, nginx.url())] {
        let torrent = s.torrent_on_servers(&film, kind, &[&url]);
        s.starling()
            .start(Role::get(&torrent))
            .receives(&film, SOON);
    }
}

#[test]
fn server_and_peer_are_used_side_by_side() {
    let s = Scenario::new();
    let film = s.file("film.mkv", 24 * MIB);
    let nginx = s.nginx(SERVER, &film, "limit_rate 1m;");
    let torrent = s.torrent_on_servers(&film, Kind::V1, &[&nginx.url()]);
    let seed = s.libtorrent().limit_up(3_000_000).seeds(&torrent);
    let mut us = s.starling().knows(&seed);
    us.start(Role::get(&torrent)).receives(&film, SOON);
    assert!(!nginx.answers().is_empty());
}

#[test]
fn a_file_that_the_server_has_wrong_comes_from_the_peer() {
    let s = Scenario::new();
    let album = s.album();
    let torrent = s.torrent_on_servers(&album, Kind::V1, &[&format!("http://{SERVER}/")]);
    // The same album, but for a byte, is what the server has.
    let copy = s.path("copy");
    fs::create_dir(&copy).unwrap();
    let copied = Command::new("cp")
        .arg("-r")
        .arg(&album.path)
        .arg(&copy)
        .status();
    assert!(copied.unwrap().success());
    let theirs = interop::Content {
        path: copy.join(album.name()),
    };
    let wrong = theirs.path.join("02 Second.flac");
    let mut bytes = fs::read(&wrong).unwrap();
    bytes[1_000_000] ^= 1;
    fs::write(wrong, bytes).unwrap();
    let _nginx = s.nginx(SERVER, &theirs, "");
    let late = s.seat();
    let mut us = s.starling().arg("--peer").arg(late.addr);
    let mut run = us.start(Role::get(&torrent));
    let dropped = run.child.wait("the server is dropped", SOON, |child| {
        let events = child.events();
        let text = |e: &serde_json::Value| e["message"].as_str().map(str::to_owned);
        let mut notices = events
            .iter()
            .filter(|e| e["event"] == "notice")
            .filter_map(text);
        notices.find(|text| text.contains("web seed"))
    });
    assert!(dropped.contains("not what the torrent says"), "{dropped}");
    let _seed = interop::Libtorrent::at(late).seeds(&torrent);
    run.receives(&album, SOON);
}

#[test]
fn a_server_without_ranges_serves_small_files() {
    let s = Scenario::new();
    let folder = s.folder(
        "notes",
        &[("a.txt", 70_000), ("b/c.txt", 3_000_000), ("d.txt", 0)],
    );
    s.also_at(SERVER);
    let mut python = Command::new("/usr/bin/python3");
    python.args(["-m", "http.server", "80", "--bind", SERVER, "--directory"]);
    python.arg(folder.path.parent().unwrap());
    let mut server = interop::Child::start("http.server", python, &s.path("http.server"));
    server.wait("it listens", SOON, |_| {
        std::net::TcpStream::connect((SERVER, 80)).ok()
    });
    let torrent = s.torrent_on_servers(&folder, Kind::Hybrid, &[&format!("http://{SERVER}/")]);
    s.starling()
        .start(Role::get(&torrent))
        .receives(&folder, SOON);
}

#[test]
fn a_server_that_dies_and_comes_back_is_used_again() {
    let s = Scenario::new();
    let film = s.file("film.mkv", 8 * MIB);
    let mut nginx = s.nginx(SERVER, &film, "limit_rate 1m;");
    let torrent = s.torrent_on_servers(&film, Kind::V1, &[&nginx.url()]);
    let mut us = s.starling();
    let mut run = us.start(Role::get(&torrent));
    let some = run.child.wait("some of it is there", SOON, |child| {
        let progress = child.said("progress")?;
        progress["done"].as_u64().filter(|&done| done > MIB)
    });
    assert!(some < 8 * MIB);
    nginx.die();
    std::thread::sleep(Duration::from_secs(2));
    nginx.begin();
    run.receives(&film, SOON);
}

#[test]
fn a_server_cannot_send_us_to_this_computer() {
    let s = Scenario::new();
    let film = s.file("film.mkv", 300_000);
    let inside = s.nginx("127.0.0.2", &film, "");
    let outside = s.nginx(OTHER, &film, "return 302 http://127.0.0.2$request_uri;");
    let asked = inside.answers().len();
    let torrent = s.torrent_on_servers(&film, Kind::V1, &[&outside.url(), "http://127.0.0.2/"]);
    let mut us = s.starling();
    let mut run = us.start(Role::get(&torrent));
    let end = Instant::now() + SOON;
    let mut told = 0;
    while told < 2 {
        assert!(Instant::now() < end, "both servers are refused");
        let events = run.child.events();
        let refused = |e: &&serde_json::Value| {
            e["event"] == "notice"
                && e["message"]
                    .as_str()
                    .is_some_and(|m| m.contains("local network"))
        };
        told = events.iter().filter(refused).count();
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(inside.answers().len(), asked, "nobody asked inside");
    assert!(outside.answers().iter().any(|a| a.starts_with("302 ")));
}

#[test]
fn libtorrent_fetches_from_a_server_that_our_torrent_names() {
    let s = Scenario::new();
    let album = s.album();
    let nginx = s.nginx(SERVER, &album, "");
    let path = s.path("ours.torrent");
    let made = s.starling().runs(&[
        OsStr::new("create"),
        album.path.as_os_str(),
        OsStr::new("--web-seed"),
        OsStr::new(&nginx.url()),
        OsStr::new("-o"),
        path.as_os_str(),
    ]);
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    let torrent = Torrent {
        path,
        content: album.clone(),
        magnet: String::new(),
        info_hash_v1: None,
        info_hash_v2: None,
    };
    s.libtorrent()
        .start(Role::get(&torrent))
        .receives(&album, SOON);
}
