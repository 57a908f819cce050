//! Homes that cannot be written to, or that were damaged.

use crate::SOON;
use crate::troubles::ends;
use crate::world::Daemon;
use interop::{Kind, MIB, Role, Scenario};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Room of a home on a disk of its own.
const ROOM: u64 = 8 * MIB;

/// Takes all room that is left.
fn fills(disk: &Path) -> PathBuf {
    let ballast = disk.join("somebody else's file");
    let mut file = File::create(&ballast).unwrap();
    while file.write_all(&[0; 512]).is_ok() {}
    ballast
}

fn remounts(disk: &Path, how: &str) {
    let mut mount = Command::new("mount");
    let mount = mount.args(["-o", &format!("remount,{how}")]).arg(disk);
    assert!(mount.status().unwrap().success(), "remount,{how}");
}

fn labels(daemon: &Daemon) -> Vec<String> {
    let labels = daemon.gets("/labels");
    let names = labels
        .as_array()
        .unwrap()
        .iter()
        .map(|label| &label["name"]);
    names
        .map(|name| name.as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a_home_on_a_read_only_disk_is_named() {
    let s = Scenario::new();
    let mut daemon = Daemon::new(&s);
    let home = daemon.home();
    s.small_disk_at(&home, ROOM);
    daemon.up();
    daemon.down();
    remounts(&home, "ro");
    ends(
        daemon.starts(),
        6,
        &[home.to_str().unwrap(), "is read-only"],
    );
    remounts(&home, "rw");
    daemon.up();
}

#[test]
fn what_a_full_home_cannot_keep_is_refused_in_words_and_all_else_goes_on() {
    let s = Scenario::new();
    let film = s.file("film.mkv", MIB);
    let torrent = s.torrent_without_tracker(&film, Kind::Hybrid);
    let mut daemon = Daemon::new(&s);
    let home = daemon.home();
    s.small_disk_at(&home, ROOM);
    daemon.up();
    let id = daemon.seeds(&torrent);
    let label = |name: &str| json!({"name": name.repeat(20)});
    daemon.does("POST", "/labels", Some(&label("a")));
    let ballast = fills(&home);

    // What still fits into the pages of its journal is kept: so much does not.
    let mut refused = None;
    for n in 0..2000 {
        let answer = daemon.asks("POST", "/labels", Some(&label(&format!("{n:04}"))));
        if answer.status != 201 {
            refused = Some((n, answer));
            break;
        }
    }
    let (n, refused) = refused.expect("there is room for 2000 labels");
    let problem = refused.json();
    let words = problem["detail"].as_str().unwrap();
    println!("{problem:#}");
    assert_eq!(refused.status, 507, "{words}");
    assert!(
        words.contains("Make room in") && words.contains(home.to_str().unwrap()),
        "{words}"
    );
    let kept = labels(&daemon);
    assert_eq!(kept.len(), n + 1, "what was refused is not there");
    assert_eq!(daemon.rows()[0]["state"], "seeding");

    fs::remove_file(ballast).unwrap();
    daemon.does("POST", "/labels", Some(&label("z")));
    let kept = labels(&daemon);
    daemon.kill();
    daemon.up();
    assert_eq!(labels(&daemon), kept);
    assert_eq!(daemon.rows()[0]["id"], id);
}

#[test]
fn a_home_that_is_full_before_it_starts_is_named() {
    let s = Scenario::new();
    let mut daemon = Daemon::new(&s);
    let home = daemon.home();
    s.small_disk_at(&home, ROOM);
    let ballast = fills(&home);
    ends(daemon.starts(), 7, &[home.to_str().unwrap()]);
    fs::remove_file(ballast).unwrap();
    daemon.up();
}

/// Damages the database, and finds all transfers again.
fn is_rebuilt(damage: impl Fn(&Path)) {
    let s = Scenario::new();
    let films = s.folder("films", &[("one.mkv", MIB), ("two.mkv", MIB)]);
    let torrents = s.torrents_of_each(&films, Kind::Hybrid);
    let mut daemon = Daemon::new(&s);
    daemon.up();
    for torrent in &torrents {
        daemon.seeds(torrent);
    }
    let names = |daemon: &Daemon| -> Vec<Value> {
        let mut names: Vec<_> = daemon
            .rows()
            .iter()
            .map(|row| row["name"].clone())
            .collect();
        names.sort_by_key(Value::to_string);
        names
    };
    let before = names(&daemon);
    daemon.down();
    let database = daemon.home().join("state.sqlite");
    damage(&database);
    let damaged = fs::read(&database).ok();
    let said = daemon.up().stderr();
    let word = match damaged {
        Some(_) => "was damaged",
        None => "was gone",
    };
    let warning = daemon.gets("/status")["warnings"][0].to_string();
    assert!(said.contains(word) && warning.contains(word), "{said}");
    let aside = fs::read_dir(daemon.home())
        .unwrap()
        .flatten()
        .map(|entry| entry.path());
    let aside = aside.filter(|path| path.to_str().unwrap().contains("state.sqlite.damaged-"));
    match (&aside.collect::<Vec<_>>()[..], damaged) {
        ([], None) => {}
        ([aside], Some(damaged)) => {
            assert!(warning.contains(aside.to_str().unwrap()), "{warning}");
            assert_eq!(fs::read(aside).unwrap(), damaged);
        }
        (all, _) => panic!("it is kept aside, once: {all:?}"),
    }
    assert_eq!(names(&daemon), before);
    for row in daemon.rows() {
        let id = row["id"].as_u64().unwrap();
        daemon.until(id, "seeding", |row| {
            row["state"] == "seeding" && row["complete"] == true
        });
    }
    // It is said once: the next start is as any other.
    daemon.down();
    daemon.up();
    assert_eq!(daemon.gets("/status")["warnings"], json!([]));
    assert_eq!(names(&daemon), before);
}

#[test]
fn a_database_that_is_none_any_more_is_kept_aside_and_rebuilt() {
    is_rebuilt(|database| fs::write(database, vec![b'x'; 50_000]).unwrap());
}

#[test]
fn a_database_with_a_damaged_page_is_kept_aside_and_rebuilt() {
    is_rebuilt(|database| {
        let file = File::options().write(true).open(database).unwrap();
        let len = file.metadata().unwrap().len();
        for page in (4096..len).step_by(4096) {
            file.write_all_at(&[0xa5; 64], page).unwrap();
        }
    });
}

#[test]
fn a_database_that_was_cut_off_is_kept_aside_and_rebuilt() {
    is_rebuilt(|database| {
        let file = File::options().write(true).open(database).unwrap();
        file.set_len(6_000).unwrap();
    });
}

#[test]
fn a_database_that_is_empty_is_rebuilt() {
    is_rebuilt(|database| fs::write(database, []).unwrap());
}

#[test]
fn a_database_that_is_gone_is_rebuilt() {
    is_rebuilt(|database| fs::remove_file(database).unwrap());
}

#[test]
fn what_was_fetched_without_a_daemon_is_none_of_its_transfers() {
    let s = Scenario::new();
    let (film, song) = (s.file("film.mkv", MIB), s.file("song.flac", MIB));
    let torrent = s.torrent_without_tracker(&film, Kind::Hybrid);
    let mut daemon = Daemon::new(&s);
    let mut alone = s.starling();
    alone.home = daemon.starling.home.clone();
    let peer = s.libtorrent().seeds(&torrent);
    let mut alone = alone.knows(&peer);
    // What it learnt of the link is kept.
    alone
        .start(Role::get(&torrent.magnet))
        .receives(&film, SOON);
    let kept = fs::read_dir(daemon.home().join("torrents")).unwrap();
    assert!(kept.count() > 0, "its torrent is kept");
    daemon.up();
    assert_eq!(daemon.rows(), [json!(null); 0]);
    assert_eq!(daemon.gets("/status")["warnings"], json!([]));
    // Nor is it when what the daemon has is found again.
    daemon.seeds(&s.torrent_without_tracker(&song, Kind::Hybrid));
    daemon.down();
    fs::remove_file(daemon.home().join("state.sqlite")).unwrap();
    daemon.up();
    let [row] = &daemon.rows()[..] else {
        panic!("it has one transfer");
    };
    assert_eq!(row["name"], "song.flac");
    // Who takes all of it away begins anew.
    daemon.down();
    fs::remove_dir_all(daemon.home()).unwrap();
    daemon.up();
    assert_eq!(daemon.rows(), [json!(null); 0]);
    assert_eq!(daemon.gets("/status")["warnings"], json!([]));
}
