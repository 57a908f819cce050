//! What goes wrong around a daemon, and the words it has for it.

use crate::SOON;
use crate::world::Daemon;
use interop::{Child, Kind, MIB, Scenario};
use serde_json::json;
use std::fs;
use std::net::TcpListener;
use std::time::{Duration, Instant};

/// Waits for its end, and for its words.
pub fn ends(mut child: Child, code: i32, words: &[&str]) {
    assert_eq!(child.exit_code(SOON), code, "{}", child.stderr());
    let said = child.stderr();
    for word in words {
        assert!(said.contains(word), "{word} is not in: {said}");
    }
}

#[test]
fn a_home_has_one_daemon_and_a_port_one_program() {
    let s = Scenario::new();
    let mut daemon = Daemon::new(&s);
    let taken = TcpListener::bind(&daemon.api).unwrap();
    ends(
        daemon.starts(),
        1,
        &["another program has that port", "--api"],
    );
    drop(taken);
    let taken = TcpListener::bind(daemon.starling.addr).unwrap();
    let mut child = daemon.starts();
    assert_ne!(child.exit_code(SOON), 0);
    assert!(
        child
            .stderr()
            .contains(&daemon.starling.addr.port().to_string()),
        "{}",
        child.stderr()
    );
    drop(taken);
    let pid = daemon.up().said("up").unwrap()["pid"].to_string();
    ends(daemon.starts(), 1, &[&pid]);
    assert_eq!(
        daemon.asks("GET", "/status", None).status,
        200,
        "the first goes on"
    );
    daemon.down();
}

#[test]
fn a_home_that_cannot_be_made_is_named() {
    let s = Scenario::new();
    let mut daemon = Daemon::new(&s);
    daemon.starling = daemon.starling.bound_by_permissions();
    let above = daemon.starling.home.clone();
    let allow = |mode| {
        fs::set_permissions(&above, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap()
    };
    allow(0o555);
    let home = daemon.home().display().to_string();
    ends(daemon.starts(), 6, &[&home]);
    allow(0o755);
    daemon.up();
}

#[test]
fn a_key_that_is_none_is_named_with_its_line_and_what_was_meant() {
    let s = Scenario::new();
    let config = s.path("config.toml");
    fs::write(&config, "slots = 4\n\n[limits]\nupp = \"1 MiB\"\n").unwrap();
    let mut daemon = Daemon::new(&s);
    daemon.starling = daemon.starling.arg("--config").arg(config.display());
    ends(
        daemon.starts(),
        2,
        &["config.toml", "4", "limits.upp", "Did you mean limits.up?"],
    );
    fs::write(&config, "slots = 4\n\n[limits]\nup = \"1 MiB\"\n").unwrap();
    daemon.up();
    assert_eq!(daemon.gets("/settings")["limits"]["up"], MIB);
}

#[test]
fn who_checks_a_seed_whose_data_is_away_is_told_where_it_was() {
    let s = Scenario::new();
    let album = s.folder("album", &[("a.flac", 2 * MIB), ("b.flac", MIB)]);
    let torrent = s.torrent(&album, Kind::Hybrid);
    let mut seed = Daemon::new(&s);
    seed.up();
    let id = seed.seeds(&torrent);
    let away = s.path("away");
    fs::rename(&album.path, &away).unwrap();
    let recheck = format!("/transfers/{id}/recheck");
    let refused = seed.asks("POST", &recheck, None);
    assert_eq!(refused.status, 404);
    let words = refused.json()["detail"].as_str().unwrap().to_owned();
    assert!(
        words.contains(album.path.to_str().unwrap()) && words.contains("Put it back"),
        "{words}"
    );
}

#[test]
fn a_watched_folder_may_come_later() {
    let s = Scenario::new();
    let film = s.file("film.mkv", MIB);
    let torrent = s.torrent_without_tracker(&film, Kind::V1);
    let mut daemon = Daemon::new(&s);
    daemon.up();
    let inbox = s.path("inbox");
    daemon.does(
        "PATCH",
        "/settings",
        Some(&json!({"watch": [{"path": inbox, "paused": true}]})),
    );
    assert_eq!(daemon.rows().len(), 0);
    fs::create_dir(&inbox).unwrap();
    fs::copy(&torrent.path, inbox.join("film.torrent")).unwrap();
    // Told again, it looks at once; by itself within a minute.
    daemon.does(
        "PATCH",
        "/settings",
        Some(&json!({"watch": [{"path": inbox, "paused": true, "folder": s.path("films")}]})),
    );
    let end = Instant::now() + SOON;
    while daemon.rows().is_empty() || !inbox.join("film.torrent.added").exists() {
        assert!(Instant::now() < end, "nothing was added");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(daemon.rows()[0]["state"], "paused");
}
