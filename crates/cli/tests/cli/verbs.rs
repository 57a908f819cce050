//! What is said to a daemon about its transfers, verb by verb.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};

use crate::daemon::Daemon;
use crate::transfer::{ALONE, Running, seed};
use crate::{Desk, Ended, contents};

/// A daemon, a seed in a home of its own, and the seed's link.
fn stage(desk: &Desk) -> (Daemon, Running, String) {
    desk.album();
    let (running, magnet) = seed(
        desk,
        &[
            "album",
            "--home",
            "seed-home",
            "--torrent-out",
            "album.torrent",
        ],
    );
    (Daemon::start(desk), running, magnet)
}

#[test]
fn get_says_the_same_with_a_daemon_and_leaves_it_serving() {
    let desk = Desk::new();
    let (daemon, seed, magnet) = stage(&desk);
    let peer = seed.peer();
    let names = |ended: &Ended| -> Vec<String> {
        let name = |event: Value| event["event"].as_str().unwrap().to_owned();
        let mut names: Vec<String> = ended.events().into_iter().map(name).collect();
        names.retain(|name| name != "progress");
        names
    };
    let args = ["get", &magnet, "--peer", &peer, "--json"];
    let inside = [&args[..], &["-o", "inside", "--no-daemon"], &ALONE].concat();
    let inside = desk.run(&inside).ends(0);
    let outside = desk.run(&[&args[..], &["-o", "outside"]].concat()).ends(0);
    assert_eq!(names(&inside), names(&outside));
    let (inside, outside) = (inside.events(), outside.events());
    assert_eq!(outside[0]["addr"], daemon.peer());
    let (was, is) = (inside.last().unwrap(), outside.last().unwrap());
    assert_eq!(is["path"], "outside/album");
    assert_eq!((&was["bytes"], &was["name"]), (&is["bytes"], &is["name"]));
    let progress = outside
        .iter()
        .rfind(|event| event["event"] == "progress")
        .unwrap();
    assert_eq!(
        (&progress["done"], &progress["state"]),
        (&json!(523_608), &json!("seeding"))
    );
    assert_eq!(
        contents(&desk.path("outside/album")),
        contents(&desk.path("album"))
    );

    // It is there, and served to others when the first seed is gone.
    drop(seed);
    desk.until(1, |row| row["state"] == "seeding");
    let mut third = desk.command(
        &[
            &["get", &magnet, "-o", "third", "--peer", &daemon.peer()],
            &ALONE[..],
        ]
        .concat(),
    );
    third.env("STARLING_HOME", desk.path("third-home"));
    let third = Ended::of(third).ends(0);
    assert_eq!(third.out, "third/album\n");
    // Again, it is there at once.
    let again = desk.run(&["get", &magnet, "-o", "outside"]).ends(0);
    assert!(
        again.err.contains("transfer 1") && again.err.contains("goes on serving"),
        "{}",
        again.err
    );
    assert!(again.last().ends_with("outside/album"), "{}", again.out);
}

#[test]
fn get_fails_with_a_daemon_as_it_does_without() {
    let desk = Desk::new();
    let (daemon, seed, magnet) = stage(&desk);
    let hash = "c9e15763f722f23e98a29decdfae341b98d53056";
    let peer = seed.peer();
    let lonely = desk.run(&["get", hash, "--timeout", "1"]).ends(4);
    assert!(lonely.err.contains("goes on looking"), "{}", lonely.err);
    desk.run(&[
        "get",
        "album.torrent",
        "-o",
        "none",
        "--select",
        "*.iso",
        "--peer",
        &peer,
    ])
    .ends(3);
    desk.run(&["get", hash, hash, "--timeout", "1"]).ends(2);
    desk.run(&["get", "no-such.torrent"]).ends(3);
    // What only a node of its own could do is refused, with the way out.
    let refused = desk.run(&["get", &magnet, "--no-dht"]).ends(2);
    assert!(
        refused.err.contains("--no-daemon") && refused.err.contains(&daemon.pid().to_string()),
        "{}",
        refused.err
    );
    desk.run(&["seed", "album", "--bind", "127.0.0.1:0", "--yes"])
        .ends(2);
}

#[test]
fn what_get_leaves_behind_the_daemon_finishes() {
    let desk = Desk::new();
    desk.files(&[("film.mkv", 4 << 20)]);
    let args = ["film.mkv", "--home", "seed-home", "--limit-up", "1MiB"];
    let (seed, magnet) = seed(&desk, &args);
    let _daemon = Daemon::start(&desk);
    let mut get = Running::bare(desk.command(&[
        "get",
        &magnet,
        "-o",
        "got",
        "--peer",
        &seed.peer(),
        "--json",
    ]));
    get.until("progress");
    let (code, took) = get.interrupt();
    assert_eq!(code, 130);
    assert!(took < Duration::from_secs(2), "{took:?}");
    let said = get.said();
    assert!(said.contains("The daemon goes on"), "{said}");
    desk.until(1, |row| row["complete"] == true);
    assert_eq!(
        fs::read(desk.path("got/film.mkv")).unwrap(),
        fs::read(desk.path("film.mkv")).unwrap()
    );
}

#[test]
fn seed_gives_what_it_hashed_to_the_daemon() {
    let desk = Desk::new();
    let album = desk.album();
    let before = contents(&album);
    let daemon = Daemon::start(&desk);
    let mut shown = Running::bare(desk.command(&["seed", "album", "--yes", "--json"]));
    let seeding = shown.until("seeding");
    assert_eq!(
        (&seeding["files"], &seeding["bytes"]),
        (&json!(3), &json!(523_608))
    );
    let torrent = seeding["torrent"].as_str().unwrap();
    desk.run(&["inspect", torrent]).ends(0);
    let (code, took) = shown.interrupt();
    assert_eq!(code, 130);
    assert!(took < Duration::from_secs(2), "{took:?}");
    let said = shown.said();
    assert!(said.contains("goes on sharing"), "{said}");

    let row = desk.list()[0].clone();
    assert_eq!(
        (&row["state"], &row["read_only"]),
        (&json!("seeding"), &json!(true))
    );
    let magnet = seeding["magnet"].as_str().unwrap();
    let mut other = desk.command(
        &[
            &["get", magnet, "-o", "got", "--peer", &daemon.peer()],
            &ALONE[..],
        ]
        .concat(),
    );
    other.env("STARLING_HOME", desk.path("other-home"));
    Ended::of(other).ends(0);
    assert_eq!(contents(&desk.path("got/album")), before);
    // What was there before is not the daemon's to delete.
    desk.run(&["delete", "1", "--yes"]).ends(0);
    assert_eq!(contents(&album), before);
}

#[test]
fn seed_of_wrong_content_leaves_nothing_in_the_daemon() {
    let desk = Desk::new();
    let album = desk.album();
    desk.run(&["create", "album"]).ends(0);
    let one = album.join("one.flac");
    let mut bytes = fs::read(&one).unwrap();
    bytes[5] ^= 1;
    fs::write(&one, &bytes).unwrap();
    let _daemon = Daemon::start(&desk);
    let refused = desk
        .run(&["seed", "album.torrent", "album", "--yes"])
        .ends(5);
    assert!(refused.err.contains("starling verify"), "{}", refused.err);
    assert_eq!(desk.list(), [Value::Null; 0]);
    bytes[5] ^= 1;
    fs::write(&one, &bytes).unwrap();
    let mut right =
        Running::bare(desk.command(&["seed", "album.torrent", "album", "--yes", "--json"]));
    right.until("seeding");
    right.interrupt();
}

#[test]
fn transfers_are_added_listed_and_shown() {
    let desk = Desk::new();
    let (_daemon, seed, magnet) = stage(&desk);
    desk.run(&["create", "album/one.flac", "-o", "one.torrent"])
        .ends(0);
    let preview = desk
        .run(&["preview", "album.torrent", "--json"])
        .ends(0)
        .event();
    assert_eq!(
        (&preview["name"], &preview["size"]),
        (&json!("album"), &json!(523_608))
    );
    assert!(preview["already_present"].is_null());
    assert_eq!(desk.list(), [Value::Null; 0], "a look adds nothing");

    let added = desk
        .run(&[
            "add",
            &magnet,
            "one.torrent",
            "-o",
            "got",
            "--peer",
            &seed.peer(),
            "--tag",
            "new",
        ])
        .ends(0);
    assert_eq!(added.out, "1\n2\n");
    let row = desk.until(1, |row| row["state"] == "seeding");
    assert_eq!(row["root"], desk.path("got/album").display().to_string());
    assert_eq!(row["tags"], json!(["new"]));
    let twice = desk.run(&["add", &magnet]).ends(2);
    assert!(twice.err.contains("transfer 1"), "{}", twice.err);

    let ids = |args: &[&str]| -> Vec<Value> {
        let rows = desk
            .run(&[&["list", "--json"], args].concat())
            .ends(0)
            .events();
        rows.iter().map(|row| row["id"].clone()).collect()
    };
    assert_eq!(ids(&["--sort", "size", "--reverse"]), [1, 2]);
    assert_eq!(ids(&["--sort", "name", "-n", "1"]), [1]);
    assert_eq!(ids(&["--state", "seeding"]), [1]);
    assert_eq!(ids(&["--text", "ONE"]), [2]);
    assert_eq!(ids(&["--label", "music"]), [0; 0]);
    desk.run(&["list", "--sort", "colour"]).ends(2);

    let table = desk.run(&["list"]).ends(0);
    assert!(
        table.out.starts_with("ID  NAME") && table.last().contains("one.flac"),
        "{}",
        table.out
    );
    let shown = desk.run(&["show", "1"]).ends(0);
    assert!(
        shown.last().starts_with("magnet:?xt=urn:btih:"),
        "{}",
        shown.out
    );
    let files = desk.run(&["files", "1", "--json"]).ends(0).events();
    let paths: Vec<&str> = files
        .iter()
        .map(|file| file["path"].as_str().unwrap())
        .collect();
    assert_eq!(paths, ["more/empty", "more/two.flac", "one.flac"]);
    assert!(files.iter().all(|file| file["done"] == file["size"]));
    let links = desk.run(&["files", "1", "--links"]).ends(0);
    assert!(links.last().contains(".localhost:"), "{}", links.out);
    desk.run(&["peers", "1"]).ends(0);
    desk.run(&["trackers", "1"]).ends(0);
    desk.run(&["web-seeds", "1"]).ends(0);
    for verb in ["show", "files", "peers", "trackers", "web-seeds"] {
        desk.run(&[verb, "99"]).ends(3);
        desk.run(&[verb, "seven"]).ends(2);
    }
}

#[test]
fn transfers_are_paused_resumed_rechecked_and_changed() {
    let desk = Desk::new();
    let (_daemon, seed, magnet) = stage(&desk);
    desk.run(&["get", &magnet, "-o", "got", "--peer", &seed.peer()])
        .ends(0);
    desk.run(&["pause", "1"]).ends(0);
    assert_eq!(desk.list()[0]["state"], "paused");
    desk.run(&["resume", "all"]).ends(0);
    desk.until(1, |row| row["state"] == "seeding");
    desk.run(&["recheck", "1"]).ends(0);
    desk.until(1, |row| row["state"] == "seeding" && row["done"] == 523_608);
    // One that is not there does not keep the others from it.
    desk.run(&["pause", "99", "1"]).ends(3);
    assert_eq!(desk.list()[0]["state"], "paused");

    desk.run(&[
        "label",
        "add",
        "music",
        "--folder",
        "music",
        "--limit-up",
        "1MiB",
    ])
    .ends(0);
    let args = [
        "set",
        "1",
        "--label",
        "music",
        "--limit-down",
        "2MiB",
        "--ratio",
        "1.5",
        "--sequential",
        "--name",
        "The album",
        "--tag",
        "a",
        "--tag",
        "b",
        "--priority",
        "*.flac=4",
        "--priority",
        "one.*=7",
    ];
    desk.run(&args).ends(0);
    let row = desk.list()[0].clone();
    assert_eq!(row["label"], "music");
    assert_eq!(row["limits"], json!({ "down": 2 << 20, "up": 0 }));
    assert_eq!(
        row["goals"],
        json!({ "ratio": 1.5, "seeding_seconds": null })
    );
    assert_eq!(
        (&row["sequential"], &row["name"]),
        (&json!(true), &json!("The album"))
    );
    assert_eq!(row["tags"], json!(["a", "b"]));
    let files = desk.run(&["files", "1", "--json"]).ends(0).events();
    let priorities: Vec<&Value> = files.iter().map(|file| &file["priority"]).collect();
    assert_eq!(priorities, [4, 4, 7]);
    desk.run(&[
        "set",
        "1",
        "--label",
        "none",
        "--usual-goals",
        "--sequential=no",
        "--limit-up",
        "1MiB",
    ])
    .ends(0);
    let row = desk.list()[0].clone();
    assert!(row["label"].is_null() && row["goals"].is_null() && row["sequential"] == false);
    assert_eq!(row["limits"], json!({ "down": 2 << 20, "up": 1 << 20 }));
    desk.run(&["set", "1", "--label", "nowhere"]).ends(3);
    desk.run(&["set", "1", "--priority", "*.iso=0"]).ends(3);
    desk.run(&["set", "1"]).ends(2);
}

#[test]
fn data_is_moved_renamed_forgotten_and_deleted() {
    let desk = Desk::new();
    let (_daemon, seed, magnet) = stage(&desk);
    desk.run(&["get", &magnet, "-o", "got", "--peer", &seed.peer()])
        .ends(0);
    let whole = contents(&desk.path("album"));
    desk.run(&["move", "1", "moved"]).ends(0);
    let at = |path: &str| desk.path(path).display().to_string();
    desk.until(1, |row| {
        row["root"] == at("moved/album") && row["state"] == "seeding"
    });
    assert_eq!(contents(&desk.path("moved/album")), whole);
    desk.run(&["rename", "1", "records"]).ends(0);
    desk.until(1, |row| {
        row["root"] == at("moved/records") && row["state"] == "seeding"
    });
    assert_eq!(contents(&desk.path("moved/records")), whole);
    desk.run(&["rename", "1", "../out"]).ends(2);

    desk.run(&["forget", "1"]).ends(0);
    assert_eq!(desk.list(), [Value::Null; 0]);
    assert_eq!(contents(&desk.path("moved/records")), whole);

    desk.run(&["get", &magnet, "-o", "again", "--peer", &seed.peer()])
        .ends(0);
    let unasked = desk.run(&["delete", "2"]).ends(2);
    assert!(unasked.err.contains("--yes"), "{}", unasked.err);
    assert!(desk.path("again/album").exists());
    let removed = desk
        .run(&["delete", "all", "--yes", "--json"])
        .ends(0)
        .event();
    assert_eq!(removed["id"], 2);
    assert!(
        removed["files"] == "trashed" || removed["files"] == "erased",
        "{removed}"
    );
    assert!(!desk.path("again/album").exists());
}

#[test]
fn labels_and_settings_are_made_shown_and_changed() {
    let desk = Desk::new();
    let _daemon = Daemon::start(&desk);
    desk.run(&[
        "label",
        "add",
        "music",
        "--folder",
        "tunes",
        "--ratio",
        "2",
        "--max-active",
        "3",
    ])
    .ends(0);
    desk.run(&["label", "add", "music"]).ends(1);
    let label = desk.run(&["label", "list", "--json"]).ends(0).event();
    assert_eq!(label["folder"], desk.path("tunes").display().to_string());
    assert_eq!(
        (&label["max_active"], &label["goals"]["ratio"]),
        (&json!(3), &json!(2.0))
    );
    desk.run(&[
        "label",
        "set",
        "music",
        "--rename",
        "songs",
        "--limit-up",
        "1MiB",
        "--usual-goals",
        "--folder",
        "",
    ])
    .ends(0);
    let label = desk.run(&["label", "list", "--json"]).ends(0).event();
    assert_eq!(
        (&label["name"], &label["limits"]["up"]),
        (&json!("songs"), &json!(1 << 20))
    );
    assert!(label["folder"].is_null() && label["goals"].is_null());
    desk.run(&["label", "remove", "songs"]).ends(0);
    desk.run(&["label", "remove", "songs"]).ends(3);

    let set = desk
        .run(&[
            "settings",
            "set",
            "limits.up=2MiB",
            "goals.ratio=1.5",
            "metered.action=limit",
            "metered.limits.up=1MiB",
            "--json",
        ])
        .ends(0)
        .event();
    assert_eq!(
        (&set["limits"]["up"], &set["goals"]["ratio"]),
        (&json!(2 << 20), &json!(1.5))
    );
    desk.run(&["settings", "set", "limits.down=1MiB", "goals.ratio=none"])
        .ends(0);
    let shown = desk.run(&["settings", "show", "--json"]).ends(0).event();
    assert_eq!(shown["limits"], json!({ "down": 1 << 20, "up": 2 << 20 }));
    assert!(shown["goals"]["ratio"].is_null());
    let table = desk.run(&["settings", "show", "limits"]).ends(0);
    assert_eq!(table.out.lines().count(), 3, "{}", table.out);
    let wrong = desk.run(&["settings", "set", "limit.up=1"]).ends(2);
    assert!(
        wrong.err.contains("Did you mean limits.up?"),
        "{}",
        wrong.err
    );
    desk.run(&["settings", "set", "slots=5000"]).ends(2);
    desk.run(&["settings", "set", "dht=false"]).ends(2);
    desk.run(&["settings", "set", "slots"]).ends(2);
}
