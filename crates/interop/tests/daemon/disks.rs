//! Disks that say no for a while under a daemon: what is on them stands still, says why, and goes on by itself.

use crate::SOON;
use crate::world::Daemon;
use interop::{Content, Kind, MIB, Peer, Role, Scenario, Torrent};
use serde_json::{Value, json};
use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// Bytes a second that a peer gives, so that something can happen meanwhile.
const RATE: u64 = 4 * MIB;
/// Many files, so that there is always one to be opened.
const TRACKS: [(&str, u64); 12] = [
    ("01.flac", MIB),
    ("02.flac", MIB + 7),
    ("03.flac", MIB),
    ("04.flac", MIB),
    ("05.flac", MIB),
    ("06.flac", MIB - 1),
    ("disc 2/01.flac", MIB),
    ("disc 2/02.flac", MIB),
    ("disc 2/03.flac", MIB),
    ("disc 2/04.flac", MIB),
    ("disc 2/05.flac", MIB),
    ("disc 2/06.flac", 2 * MIB),
];

/// A daemon that fetches from a slow peer.
fn download(s: &Scenario, daemon: &mut Daemon, content: &Content, into: &Path) -> (Peer, u64) {
    let torrent = s.torrent_without_tracker(content, Kind::Hybrid);
    let peer = s.libtorrent().limit_up(RATE).seeds(&torrent);
    daemon.up();
    let id = daemon.adds(&torrent, &json!({"folder": into, "peers": [peer.addr]}));
    daemon.until(id, "under way", |row| row["done"].as_u64() >= Some(2 * MIB));
    (peer, id)
}

/// Somebody asks for what the daemon seeds.
fn asks(s: &Scenario, daemon: &Daemon, torrent: &Torrent) -> Peer {
    let them = s.libtorrent().arg("--peer").arg(daemon.starling.addr);
    them.start(Role::get(torrent))
}

/// It seeds again, by itself.
fn goes_on(s: &Scenario, daemon: &Daemon, id: u64, torrent: &Torrent) {
    daemon.until(id, "seeding", |row| row["state"] == "seeding");
    asks(s, daemon, torrent).receives(&torrent.content, SOON);
}

/// It stands still for this reason, in words with this in them, and the daemon goes on.
fn stops(daemon: &Daemon, id: u64, cause: &str, words: &str) -> Value {
    let row = daemon.until(id, cause, |row| row["state"] == "stopped");
    let reason = row["reason"].as_str().expect("it says why");
    assert!(row["cause"] == cause && reason.contains(words), "{row:#}");
    row
}

/// The drive that is mounted at `from` is at `to` now, or back. What is at its place is an empty folder.
fn unplugs(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    let mut mount = Command::new("mount");
    let moved = mount.arg("--move").args([from, to]).status().unwrap();
    assert!(moved.success(), "mount --move: {moved}");
}

#[test]
fn a_download_on_a_disk_that_is_full_goes_on_when_there_is_room() {
    let s = Scenario::new();
    let film = s.file("film.mkv", 24 * MIB);
    let mut daemon = Daemon::new(&s);
    let disk = s.small_disk_for(&daemon.starling, 48 * MIB);
    let (_peer, id) = download(&s, &mut daemon, &film, &disk);
    // None of it is kept free for others: it is the disk that says no.
    let reserve = json!({"disk_reserve": {"bytes": 0, "percent": 0}});
    daemon.does("PATCH", "/settings", Some(&reserve));
    let ballast = disk.join("somebody else's file");
    let mut file = File::create(&ballast).unwrap();
    while file.write_all(&[0; 65536]).is_ok() {}
    let row = stops(&daemon, id, "no-space", disk.to_str().unwrap());
    assert!(row["done"].as_u64() < row["size"].as_u64(), "{row:#}");
    drop(file);
    fs::remove_file(ballast).unwrap();
    daemon.receives(id, &film);
}

#[test]
fn a_download_whose_drive_is_unplugged_makes_nothing_in_its_place_and_goes_on_when_it_is_back() {
    let s = Scenario::new();
    let album = s.folder("album", &TRACKS);
    let mut daemon = Daemon::new(&s);
    let disk = s.small_disk_for(&daemon.starling, 64 * MIB);
    let (_peer, id) = download(&s, &mut daemon, &album, &disk);
    let away = s.path("away");
    unplugs(&disk, &away);
    stops(&daemon, id, "missing", disk.to_str().unwrap());
    let there: Vec<_> = fs::read_dir(&disk).unwrap().collect();
    assert!(there.is_empty(), "{there:?}");
    unplugs(&away, &disk);
    daemon.receives(id, &album);
}

#[test]
fn a_seed_whose_drive_is_unplugged_goes_on_when_it_is_back() {
    let s = Scenario::new();
    let album = s.folder("album", &TRACKS);
    let torrent = s.torrent_without_tracker(&album, Kind::Hybrid);
    let mut daemon = Daemon::new(&s);
    daemon.up();
    let id = daemon.seeds(&torrent);
    // What is open can be read from a drive that was only unmounted: it starts without.
    daemon.down();
    let away = s.path("away");
    fs::rename(&album.path, &away).unwrap();
    daemon.up();
    let _them = asks(&s, &daemon, &torrent);
    stops(&daemon, id, "missing", album.path.to_str().unwrap());
    fs::rename(&away, &album.path).unwrap();
    goes_on(&s, &daemon, id, &torrent);
}

#[test]
fn a_seed_whose_file_was_written_over_gives_none_of_it_and_goes_on_when_the_old_one_is_back() {
    let s = Scenario::new();
    let film = s.file("film.mkv", 4 * MIB);
    let torrent = s.torrent_without_tracker(&film, Kind::Hybrid);
    let mut daemon = Daemon::new(&s);
    daemon.up();
    let id = daemon.seeds(&torrent);
    let bytes = fs::read(&film.path).unwrap();
    let modified = fs::metadata(&film.path).unwrap().modified().unwrap();
    fs::write(&film.path, vec![0; bytes.len()]).unwrap();
    let mut them = asks(&s, &daemon, &torrent);
    stops(&daemon, id, "damaged", film.name());
    assert!(them.child.said("done").is_none());
    fs::write(&film.path, bytes).unwrap();
    let file = File::options().write(true).open(&film.path).unwrap();
    file.set_modified(modified).unwrap();
    goes_on(&s, &daemon, id, &torrent);
}

#[test]
fn a_folder_that_may_not_be_written_to_for_a_while_holds_up_what_goes_there() {
    let s = Scenario::new();
    let album = s.folder("album", &TRACKS);
    let mut daemon = Daemon::new(&s);
    daemon.starling = daemon.starling.clone().bound_by_permissions();
    let folder = s.path("mine");
    let (_peer, id) = download(&s, &mut daemon, &album, &folder);
    fs::set_permissions(&folder, Permissions::from_mode(0o000)).unwrap();
    stops(&daemon, id, "permission", folder.to_str().unwrap());
    fs::set_permissions(&folder, Permissions::from_mode(0o755)).unwrap();
    daemon.receives(id, &album);
}

#[test]
fn a_file_that_may_not_be_read_for_a_while_holds_up_who_gives_it() {
    let s = Scenario::new();
    let film = s.file("film.mkv", 4 * MIB);
    let torrent = s.torrent_without_tracker(&film, Kind::Hybrid);
    let mut daemon = Daemon::new(&s);
    daemon.starling = daemon.starling.clone().bound_by_permissions();
    daemon.up();
    let id = daemon.seeds(&torrent);
    daemon.down();
    fs::set_permissions(&film.path, Permissions::from_mode(0o000)).unwrap();
    daemon.up();
    let _them = asks(&s, &daemon, &torrent);
    stops(&daemon, id, "permission", film.name());
    fs::set_permissions(&film.path, Permissions::from_mode(0o644)).unwrap();
    goes_on(&s, &daemon, id, &torrent);
}

#[test]
fn a_download_that_would_use_the_last_of_a_disk_waits_until_there_is_more() {
    let s = Scenario::new();
    let film = s.file("film.mkv", 24 * MIB);
    let mut daemon = Daemon::new(&s);
    let disk = s.small_disk_for(&daemon.starling, 48 * MIB);
    let torrent = s.torrent_without_tracker(&film, Kind::Hybrid);
    let peer = s.libtorrent().limit_up(MIB).seeds(&torrent);
    daemon.up();
    let reserve = json!({"disk_reserve": {"bytes": 16 * MIB, "percent": 50}});
    daemon.does("PATCH", "/settings", Some(&reserve));
    let ballast = disk.join("somebody else's file");
    let id = daemon.adds(&torrent, &json!({"folder": disk, "peers": [peer.addr]}));
    daemon.until(id, "under way", |row| row["done"].as_u64() > Some(MIB));
    fs::write(&ballast, vec![0; 28 * MIB as usize]).unwrap();
    let row = daemon.until(id, "held", |row| row["state"] == "held");
    assert_eq!(row["cause"], "disk-reserve", "{row:#}");
    fs::remove_file(ballast).unwrap();
    daemon.until(id, "going on", |row| row["state"] == "downloading");
}

#[test]
fn a_download_whose_drive_is_away_at_the_start_waits_for_it() {
    let s = Scenario::new();
    let album = s.folder("album", &TRACKS);
    let mut daemon = Daemon::new(&s);
    let disk = s.small_disk_for(&daemon.starling, 64 * MIB);
    let (peer, id) = download(&s, &mut daemon, &album, &disk);
    daemon.down();
    let away = s.path("away");
    unplugs(&disk, &away);
    daemon.up();
    stops(&daemon, id, "missing", disk.to_str().unwrap());
    let there: Vec<_> = fs::read_dir(&disk).unwrap().collect();
    assert!(there.is_empty(), "{there:?}");
    unplugs(&away, &disk);
    let row = daemon.until(id, "going on", |row| row["state"] == "downloading");
    assert!(row["done"].as_u64() > Some(MIB), "{row:#}");
    // There is no tracker to say it again.
    let peers = json!({"peers": [peer.addr]});
    daemon.does("POST", &format!("/transfers/{id}/peers"), Some(&peers));
    daemon.receives(id, &album);
}
