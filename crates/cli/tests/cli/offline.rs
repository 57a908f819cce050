//! The verbs that use no network: create, inspect, verify, completions, man.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::json;

use crate::{Desk, contents};

#[test]
fn create_says_what_it_made_and_inspect_shows_the_same() {
    let desk = Desk::new();
    desk.album();
    let made = desk
        .run(&[
            "create",
            "album",
            "--tracker",
            "http://t.example/announce",
            "--comment",
            "hello",
        ])
        .ends(0);
    let lines: Vec<&str> = made.out.lines().collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0], "album.torrent");
    assert!(
        lines[1].starts_with("magnet:?xt=urn:btih:") && lines[1].contains("&xt=urn:btmh:1220"),
        "{}",
        lines[1]
    );

    let seen = desk
        .run(&["inspect", "album.torrent", "--json"])
        .ends(0)
        .event();
    assert_eq!(seen["kind"], "hybrid");
    assert_eq!(seen["name"], "album");
    assert_eq!(seen["magnet"], lines[1]);
    assert_eq!(seen["bytes"], 523_608);
    assert_eq!(seen["trackers"], json!([["http://t.example/announce"]]));
    assert_eq!(seen["comment"], "hello");
    let paths: Vec<&str> = seen["files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| file["path"].as_str().unwrap())
        .collect();
    assert_eq!(paths, ["more/empty", "more/two.flac", "one.flac"]);
    assert!(
        seen["files"][0]["root"].is_null()
            && seen["files"][1]["root"].as_str().unwrap().len() == 64
    );

    let read = desk.run(&["inspect", "album.torrent"]).ends(0);
    assert_eq!(read.last(), lines[1]);
    for word in [
        "hybrid",
        "511.3 KiB in 3 files",
        "more/two.flac",
        "http://t.example/announce",
        "hello",
    ] {
        assert!(read.out.contains(word), "{word} in {}", read.out);
    }
}

#[test]
fn create_writes_nothing_into_what_it_describes_and_is_the_same_every_time() {
    let desk = Desk::new();
    let album = desk.album();
    let before = contents(&album);
    let mut inside = desk.command(&["create", ".", "--no-creation-date"]);
    inside.current_dir(&album);
    assert!(inside.status().unwrap().success());
    assert_eq!(contents(&album), before);
    let first = fs::read(desk.path("album.torrent")).unwrap();
    desk.run(&[
        "create",
        "album/",
        "--no-creation-date",
        "-o",
        "again.torrent",
    ])
    .ends(0);
    assert_eq!(fs::read(desk.path("again.torrent")).unwrap(), first);
}

#[test]
fn create_makes_each_kind_with_the_piece_size_asked_for() {
    let desk = Desk::new();
    desk.files(&[("film.mkv", 200_000)]);
    for (flag, kind, v1, v2) in [
        ("--v1", "v1", true, false),
        ("--v2", "v2", false, true),
        ("--hybrid", "hybrid", true, true),
    ] {
        desk.run(&[
            "create",
            "film.mkv",
            flag,
            "--piece-size",
            "64KiB",
            "-o",
            "out.torrent",
        ])
        .ends(0);
        let seen = desk
            .run(&["inspect", "out.torrent", "--json"])
            .ends(0)
            .event();
        assert_eq!(
            (
                seen["kind"].as_str(),
                &seen["piece_length"],
                &seen["pieces"]
            ),
            (Some(kind), &json!(65536), &json!(4))
        );
        assert_eq!(
            (
                seen["info_hash_v1"].is_string(),
                seen["info_hash_v2"].is_string()
            ),
            (v1, v2)
        );
        assert_eq!(seen["single_file"], true);
    }
}

#[test]
fn create_explains_when_padding_would_cost_too_much() {
    let desk = Desk::new();
    let small: Vec<String> = (0..100)
        .map(|number| format!("notes/{number}.txt"))
        .collect();
    desk.files(
        &small
            .iter()
            .map(|name| (name.as_str(), 1000))
            .collect::<Vec<_>>(),
    );
    let made = desk.run(&["create", "notes"]).ends(0);
    let lines: Vec<&str> = made.out.lines().collect();
    assert_eq!((lines[0], lines[2]), ("notes.torrent", "notes.v2.torrent"));
    assert!(made.err.contains("padding"), "{}", made.err);
    desk.run(&["verify", "notes.torrent", "notes"]).ends(0);
    desk.run(&["verify", "notes.v2.torrent", "notes"]).ends(0);
}

#[test]
fn create_refuses_what_cannot_be_and_says_what_can() {
    let desk = Desk::new();
    desk.album();
    desk.files(&[("letter.txt", 10)]);
    fs::create_dir(desk.path("nothing")).unwrap();
    for (args, code, said) in [
        (
            &["create", "album", "--piece-size", "100K"][..],
            2,
            "power of two",
        ),
        (&["create", "album", "--piece-size", "many"], 2, "262144"),
        (
            &["create", "album", "--v1", "--v2"],
            2,
            "cannot be used with",
        ),
        (
            &["create", "album", "--tracker", "tracker"],
            2,
            "no tracker",
        ),
        (&["create", "album", "-o", "letter.txt"], 2, "left alone"),
        (&["create", "nothing"], 2, "nothing to share"),
        (&["create", "nowhere"], 3, "not there"),
        (
            &["create", "album", "-o", "no/such/folder.torrent"],
            3,
            "no/such/folder.torrent",
        ),
    ] {
        let ended = desk.run(args).ends(code);
        assert!(ended.err.contains(said), "{args:?}: {}", ended.err);
        assert_eq!(ended.out, "");
    }
    assert_eq!(fs::read(desk.path("letter.txt")).unwrap().len(), 10);
}

#[test]
fn create_warns_of_keys_and_of_links_that_leave_the_folder() {
    let desk = Desk::new();
    let album = desk.album();
    desk.files(&[("album/id_rsa", 16_384), ("outside", 5)]);
    symlink("../outside", album.join("out")).unwrap();
    let made = desk.run(&["create", "album"]).ends(0);
    assert!(
        made.err.contains("id_rsa looks like an SSH key"),
        "{}",
        made.err
    );
    assert!(
        made.err.contains("out is a link to ../outside"),
        "{}",
        made.err
    );
    let quiet = desk.run(&["create", "album", "--quiet"]).ends(0);
    assert_eq!((quiet.err.as_str(), quiet.out.lines().count()), ("", 2));
}

#[test]
fn create_without_permission_says_so() {
    // Root may write anywhere but into /proc.
    let desk = Desk::new();
    desk.album();
    let ended = desk.run(&["create", "album", "-o", "/proc/album.torrent"]);
    assert!(
        [3, 6].contains(&ended.code),
        "{}: {}",
        ended.code,
        ended.err
    );
}

#[test]
fn inspect_reads_links_hashes_and_refuses_the_rest() {
    let desk = Desk::new();
    let hash = "c9e15763f722f23e98a29decdfae341b98d53056";
    let link = format!(
        "magnet:?xt=urn:btih:{hash}&dn=Some%20film&tr=udp%3A%2F%2Ft.example%3A80&x.pe=10.0.0.5:6881&so=0,2-4"
    );
    let seen = desk.run(&["inspect", &link, "--json"]).ends(0).event();
    assert_eq!(
        (&seen["name"], &seen["info_hash_v1"], &seen["select"]),
        (&json!("Some film"), &json!(hash), &json!("0,2-4"))
    );
    assert_eq!(seen["peers"], json!(["10.0.0.5:6881"]));
    assert!(desk.run(&["inspect", hash]).ends(0).last().ends_with(hash));
    desk.run(&["inspect", "magnet:?dn=nothing"]).ends(2);
    desk.run(&["inspect", "not-there.torrent"]).ends(3);
    desk.files(&[("noise.torrent", 5000)]);
    let failed = desk.run(&["inspect", "noise.torrent", "--json"]).ends(5);
    assert_eq!(failed.event()["code"], "verification");
    assert!(failed.err.contains("not a torrent file"), "{}", failed.err);
}

#[test]
fn inspect_shows_no_escape_codes_of_strangers() {
    let desk = Desk::new();
    desk.album();
    desk.run(&["create", "album", "--comment", "x\u{1b}[31mred"])
        .ends(0);
    assert!(
        !desk
            .run(&["inspect", "album.torrent"])
            .ends(0)
            .out
            .contains('\u{1b}')
    );
}

#[test]
fn verify_names_each_wrong_file_and_piece() {
    for kind in ["--v1", "--v2", "--hybrid"] {
        let desk = Desk::new();
        let album = desk.album();
        desk.run(&["create", "album", kind, "--piece-size", "16KiB"])
            .ends(0);
        assert_eq!(
            desk.run(&["verify", "album.torrent", "album"])
                .ends(0)
                .last(),
            "album"
        );
        desk.run(&["verify", "album.torrent"]).ends(0);

        let one = album.join("one.flac");
        let mut bytes = fs::read(&one).unwrap();
        bytes[12 * 16384 + 100] ^= 1;
        fs::write(&one, bytes).unwrap();
        fs::remove_file(album.join("more/empty")).unwrap();
        fs::write(album.join("more/two.flac"), [0; 10]).unwrap();
        let ended = desk.run(&["verify", "album.torrent", "album"]).ends(5);
        let lines: Vec<&str> = ended.out.lines().collect();
        assert_eq!(lines[0], "more/empty: missing");
        assert!(
            lines[1].starts_with("more/two.flac: only 10 bytes of"),
            "{kind}: {}",
            lines[1]
        );
        // v1 pieces run across files; in the other kinds each file begins a piece.
        let piece = if kind == "--v1" { 24 } else { 25 };
        assert_eq!(lines[2], format!("one.flac: wrong piece {piece}"), "{kind}");
        assert!(ended.err.contains("3 files of 3"), "{}", ended.err);

        let events = desk
            .run(&["verify", "album.torrent", "album", "--json"])
            .ends(5)
            .events();
        let names: Vec<&str> = events
            .iter()
            .map(|event| event["event"].as_str().unwrap())
            .collect();
        assert_eq!(names, ["wrong", "wrong", "wrong", "verified", "error"]);
        assert_eq!(events[2]["pieces"], json!([piece]));
    }
}

#[test]
fn verify_needs_the_torrent_and_the_copy() {
    let desk = Desk::new();
    desk.album();
    desk.run(&["create", "album"]).ends(0);
    desk.run(&["verify", "album.torrent", "elsewhere"]).ends(3);
    desk.run(&["verify", "no.torrent", "album"]).ends(3);
    desk.run(&[
        "verify",
        "c9e15763f722f23e98a29decdfae341b98d53056",
        "album",
    ])
    .ends(2);
}

#[test]
fn shells_and_readers_are_served() {
    let desk = Desk::new();
    for shell in ["bash", "zsh", "fish"] {
        assert!(
            desk.run(&["completions", shell])
                .ends(0)
                .out
                .contains("verify")
        );
    }
    assert!(desk.run(&["man"]).ends(0).out.contains("starling"));
    desk.run(&["man", "pages"]).ends(0);
    for page in ["starling.1", "starling-create.1", "starling-verify.1"] {
        assert!(desk.path("pages").join(page).is_file(), "{page}");
    }
}

#[test]
fn help_lists_the_exit_codes_and_flags_have_variables() {
    let desk = Desk::new();
    assert!(
        desk.run(&["--help"])
            .ends(0)
            .out
            .contains("130  interrupted")
    );
    assert!(
        desk.run(&["create", "--help"])
            .ends(0)
            .out
            .contains("STARLING_PIECE_SIZE")
    );
    desk.run(&["frobnicate"]).ends(2);
    desk.album();
    let mut from_environment = desk.command(&["create", "album"]);
    from_environment.envs([
        ("STARLING_V2", "1"),
        ("STARLING_JSON", "1"),
        ("STARLING_TRACKER", "http://a/x http://b/x"),
    ]);
    let made = crate::Ended::of(from_environment).ends(0).event();
    assert_eq!(made["info_hash_v1"], json!(null));
    assert!(
        made["magnet"]
            .as_str()
            .unwrap()
            .contains("tr=http%3A%2F%2Fb%2Fx")
    );
}
