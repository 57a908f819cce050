//! How the command ends: exit codes, and Ctrl-C.

use crate::SOON;
use interop::{Child, Kind, MIB, Role, Scenario, Starling};
use std::ffi::OsStr;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

/// How soon after Ctrl-C everything is stored and told, and the process gone.
const CLEAN_END: Duration = Duration::from_secs(2);

fn run(us: &mut Starling, args: &[&dyn AsRef<OsStr>]) -> Child {
    let args: Vec<&OsStr> = args.iter().map(|arg| (*arg).as_ref()).collect();
    us.run(&args)
}

/// It ended with this code, and said why on standard error or as an event.
fn ends_with(child: &mut Child, code: i32) {
    assert_eq!(child.exit_code(SOON), code);
    let said = child.said("error").is_some() || !child.stderr().trim().is_empty();
    assert!(said, "it ended with {code} and did not say why");
}

#[test]
fn nothing_to_do_is_a_usage_error() {
    let s = Scenario::new();
    ends_with(&mut run(&mut s.starling(), &[&"get"]), 2);
    ends_with(&mut run(&mut s.starling(), &[&"frobnicate"]), 2);
    ends_with(
        &mut run(&mut s.starling(), &[&"get", &"magnet:?dn=nothing"]),
        2,
    );
}

#[test]
fn what_is_not_there_is_not_found() {
    let s = Scenario::new();
    ends_with(
        &mut run(&mut s.starling(), &[&"get", &"/nowhere/film.torrent"]),
        3,
    );
    ends_with(
        &mut run(&mut s.starling(), &[&"seed", &"/nowhere/film.mkv"]),
        3,
    );
    let missing = s.tracker().http_url().replace("/announce", "/film.torrent");
    ends_with(&mut run(&mut s.starling(), &[&"get", &missing]), 3);
}

#[test]
fn a_magnet_that_nobody_has_ends_without_peers() {
    let s = Scenario::new();
    let magnet = "magnet:?xt=urn:btih:0123456789abcdef0123456789abcdef01234567";
    ends_with(
        &mut run(&mut s.starling(), &[&"get", &magnet, &"--timeout", &"3"]),
        4,
    );
}

#[test]
fn a_wrong_piece_fails_verification() {
    let s = Scenario::new();
    let album = s.album();
    let torrent = s.torrent_without_tracker(&album, Kind::Hybrid);
    let us = s.starling();
    let verify = |expected| {
        let done = us.runs(&[
            OsStr::new("verify"),
            torrent.path.as_os_str(),
            album.path.as_os_str(),
        ]);
        let said = String::from_utf8_lossy(&done.stdout).into_owned()
            + &String::from_utf8_lossy(&done.stderr);
        assert_eq!(done.status.code(), Some(expected), "{said}");
        said
    };
    verify(0);
    let wrong = album.path.join("disc 2/01 Übung.flac");
    let mut bytes = std::fs::read(&wrong).expect("the album has it");
    bytes[1_000_000] ^= 1;
    std::fs::write(&wrong, bytes).expect("it is ours");
    assert!(
        verify(5).contains("01 Übung.flac"),
        "verify names the wrong file"
    );
    std::fs::remove_file(album.path.join("z.txt")).expect("it is ours");
    assert!(verify(5).contains("z.txt"), "verify names the missing file");
}

#[test]
fn a_folder_that_may_not_be_written_is_a_permission_error() {
    let s = Scenario::new();
    let film = s.file("film.mkv", MIB);
    let torrent = s.torrent_without_tracker(&film, Kind::V1);
    let seed = s.libtorrent().seeds(&torrent);
    let mut us = s.starling().knows(&seed).bound_by_permissions();
    let locked = s.path("locked");
    std::fs::create_dir(&locked).expect("the scenario's folder is ours");
    std::fs::set_permissions(&locked, Permissions::from_mode(0o555)).expect("it is ours");
    ends_with(
        &mut run(&mut us, &[&"get", &torrent.path, &"-o", &locked]),
        6,
    );
}

#[test]
fn ctrl_c_ends_a_download_within_two_seconds_and_keeps_it() {
    let s = Scenario::alone();
    let film = s.file("film.mkv", 16 * MIB);
    let torrent = s.torrent_without_tracker(&film, Kind::Hybrid);
    let seed = s.libtorrent().limit_up(4 * MIB).seeds(&torrent);
    let mut us = s.starling().knows(&seed);
    let mut run = us.start(Role::get(&torrent)).child;
    run.wait("some of it", SOON, |run| {
        run.said("progress")?["done"]
            .as_u64()
            .filter(|&done| done > 2 * MIB)
    });
    let asked = Instant::now();
    run.interrupt();
    assert_eq!(run.exit_code(SOON), 130);
    assert!(
        asked.elapsed() <= CLEAN_END,
        "it took {:?}",
        asked.elapsed()
    );
    us.start(Role::get(&torrent)).receives(&film, SOON);
}

#[test]
fn ctrl_c_ends_a_search_for_peers_within_two_seconds() {
    let s = Scenario::alone();
    let magnet = format!(
        "magnet:?xt=urn:btih:{}&tr=http://10.77.0.19:1/announce",
        "ab".repeat(20)
    );
    let mut run = s.starling().start(Role::get(&magnet)).child;
    run.wait_for("listening", SOON);
    std::thread::sleep(Duration::from_secs(1));
    let asked = Instant::now();
    run.interrupt();
    assert_eq!(run.exit_code(SOON), 130);
    assert!(
        asked.elapsed() <= CLEAN_END,
        "it took {:?}",
        asked.elapsed()
    );
}

#[test]
fn ctrl_c_ends_a_seed_within_two_seconds_even_if_its_tracker_hangs() {
    let s = Scenario::alone();
    let film = s.file("film.mkv", MIB);
    // A listener that takes connections and never answers.
    let silent = std::net::TcpListener::bind("10.77.0.19:80").expect("the address is ours");
    let torrent = s.torrent_with(&film, Kind::Hybrid, 65536, &["http://10.77.0.19/announce"]);
    let mut seed = s.starling().seeds(&torrent).child;
    std::thread::sleep(Duration::from_millis(500));
    let asked = Instant::now();
    seed.interrupt();
    let code = seed.exit_code(SOON);
    assert!(code == 0 || code == 130, "it ended with {code}");
    assert!(
        asked.elapsed() <= CLEAN_END,
        "it took {:?}",
        asked.elapsed()
    );
    drop(silent);
}
