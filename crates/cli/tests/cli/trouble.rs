//! Seeds that lose their files for a while, and torrent files that lack what they should have.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::process::Command;
use std::time::Duration;

use torrent::metainfo::{Metainfo, PieceLayers};

use crate::transfer::{ALONE, Running, get, seed};
use crate::{Desk, contents};

/// Nobody, as whom a test of permissions runs when it is started by root, who may do anything.
const NOBODY: u32 = 65534;

/// This command as a user who is subject to permissions.
fn unprivileged(desk: &Desk, args: &[&str]) -> Command {
    let command = desk.command(args);
    let is_root = fs::metadata("/proc/self").is_ok_and(|me| {
        use std::os::unix::fs::MetadataExt;
        me.uid() == 0
    });
    if !is_root {
        return command;
    }
    // Both the program and the folder must be reachable.
    let program = desk.path("starling");
    fs::copy(command.get_program(), &program).unwrap();
    fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(desk.dir.path(), Permissions::from_mode(0o755)).unwrap();
    let home = desk.path("nobodys-home");
    fs::create_dir_all(&home).unwrap();
    chown(&home, Some(NOBODY), Some(NOBODY)).unwrap();
    let mut other = Command::new("setpriv");
    other
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
        .arg(program)
        .args(command.get_args())
        .current_dir(desk.dir.path())
        .stdin(std::process::Stdio::null());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => other.env(name, value),
            None => other.env_remove(name),
        };
    }
    other.env("STARLING_HOME", home);
    other
}

#[test]
fn a_seed_that_may_not_read_says_so_once_and_goes_on_when_it_may() {
    let desk = Desk::new();
    let album = desk.album();
    let mut seed = Running::of(unprivileged(&desk, &["seed", "album"]));
    let magnet = seed.until("seeding")["magnet"].as_str().unwrap().to_owned();
    fs::set_permissions(&album, Permissions::from_mode(0o000)).unwrap();

    let getting = [
        "get",
        &magnet,
        "-o",
        "got",
        "--home",
        "other-home",
        "--peer",
        &seed.peer(),
    ];
    let mut getting = Running::start(&desk, &getting);
    let paused = seed.until("paused");
    assert_eq!(paused["code"], "permission");
    let message = paused["message"].as_str().unwrap();
    assert!(message.contains("No permission for"), "{message}");
    let heard = seed.hears(&["paused", "resumed"], Duration::from_secs(8));
    assert!(heard.is_empty(), "{heard:?}");

    fs::set_permissions(&album, Permissions::from_mode(0o755)).unwrap();
    seed.until("resumed");
    getting.until("done");
    assert_eq!(contents(&desk.path("got/album")), contents(&album));
    let heard = seed.hears(&["paused", "resumed"], Duration::from_secs(1));
    assert!(heard.is_empty(), "{heard:?}");
}

#[test]
fn a_download_that_may_not_write_ends_and_says_what_to_do() {
    let desk = Desk::new();
    desk.album();
    let (existing, magnet) = seed(&desk, &["album"]);
    let peer = existing.peer();
    let to = desk.path("to");
    fs::create_dir(&to).unwrap();
    fs::set_permissions(&to, Permissions::from_mode(0o555)).unwrap();
    let get = ["get", &magnet, "-o", "to", "--peer", &peer];
    let ended = crate::Ended::of(unprivileged(&desk, &[&get[..], &ALONE].concat())).ends(6);
    assert!(ended.err.contains("No permission for"), "{}", ended.err);
    fs::set_permissions(&to, Permissions::from_mode(0o777)).unwrap();
    crate::Ended::of(unprivileged(&desk, &[&get[..], &ALONE].concat())).ends(0);
}

#[test]
fn a_torrent_file_without_piece_layers_is_as_good_as_a_link() {
    for kind in ["--v2", "--hybrid"] {
        let desk = Desk::new();
        let album = desk.album();
        desk.run(&["create", "album", kind, "--piece-size", "16KiB"])
            .ends(0);
        let whole = Metainfo::parse(&fs::read(desk.path("album.torrent")).unwrap()).unwrap();
        let lacking = Metainfo {
            piece_layers: PieceLayers::default(),
            ..whole
        };
        fs::write(desk.path("lacking.torrent"), lacking.to_bytes()).unwrap();

        let seen = desk.run(&["inspect", "lacking.torrent"]).ends(0);
        let notice = "lacks the piece hashes of 2 files";
        assert!(seen.out.contains(notice), "{}", seen.out);
        desk.run(&["verify", "lacking.torrent", "album"]).ends(0);

        // The check of existing data finds the hashes, peers are asked for them, and they are kept.
        let (existing, _) = seed(&desk, &["lacking.torrent", "album"]);
        let peer = existing.peer();
        get(&desk, &["lacking.torrent", "-o", "got", "--peer", &peer]).ends(0);
        assert_eq!(contents(&desk.path("got/album")), contents(&album));
        drop(existing);
        let args = [
            "get",
            "lacking.torrent",
            "-o",
            "got",
            "--home",
            "other-home",
            "--seed",
        ];
        let mut second = Running::start(&desk, &args);
        second.until("seeding");
        let peer = second.peer();
        let third = ["lacking.torrent", "-o", "third", "--peer", &peer];
        let mut command = desk.command(&[&["get"], &third[..], &ALONE].concat());
        command.env("STARLING_HOME", desk.path("third-home"));
        crate::Ended::of(command).ends(0);
        assert_eq!(contents(&desk.path("third/album")), contents(&album));

        let mut bytes = fs::read(album.join("one.flac")).unwrap();
        bytes[200_000] ^= 1;
        fs::write(album.join("one.flac"), bytes).unwrap();
        let wrong = desk.run(&["verify", "lacking.torrent", "album"]).ends(5);
        let words = match kind {
            "--v2" => "one.flac: wrong somewhere",
            _ => "one.flac: wrong piece ",
        };
        assert!(wrong.out.contains(words), "{}", wrong.out);
        assert_eq!(wrong.out.lines().count(), 1, "{}", wrong.out);
    }
}
