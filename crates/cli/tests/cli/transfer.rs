//! seed and get, over the loopback interface, with nobody else involved.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{Desk, Ended, PATIENCE, contents};

/// Flags of a node that meets only those it is told of.
pub const ALONE: [&str; 4] = ["--bind", "127.0.0.1:0", "--no-dht", "--no-local-discovery"];

/// A command that runs until it is told to stop. Dropped, it is killed.
pub struct Running {
    child: Child,
    lines: Receiver<Value>,
    heard: Vec<Value>,
    port: u16,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    /// Starts a verb with `--json` and waits until it listens.
    pub fn start(desk: &Desk, args: &[&str]) -> Running {
        Running::of(desk.command(args))
    }

    /// The same, of a command made up elsewhere.
    pub fn of(mut command: Command) -> Running {
        command.args(ALONE).args(["--json", "--yes"]);
        Running::bare(command)
    }

    /// The same, of a command that has all its flags.
    pub fn bare(mut command: Command) -> Running {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in stdout.lines() {
                let event = serde_json::from_str(&line.unwrap()).expect("every line is JSON");
                if sender.send(event).is_err() {
                    return;
                }
            }
        });
        let mut running = Running {
            child,
            lines,
            heard: Vec::new(),
            port: 0,
        };
        running.port = running.until("listening")["port"].as_u64().unwrap() as u16;
        running
    }

    /// Waits for this event.
    pub fn until(&mut self, name: &str) -> Value {
        let late = Instant::now() + PATIENCE;
        loop {
            match self
                .lines
                .recv_timeout(late.saturating_duration_since(Instant::now()))
            {
                Ok(event) if event["event"] == name => return event,
                Ok(event) => self.heard.push(event),
                Err(_) => {
                    let _ = self.child.kill();
                    let said = self.said();
                    panic!("no \"{name}\" came after {:?}\n{said}", self.heard);
                }
            }
        }
    }

    /// Events of these names that come within this time.
    pub fn hears(&mut self, names: &[&str], within: Duration) -> Vec<Value> {
        let end = Instant::now() + within;
        let mut heard = Vec::new();
        while let Ok(event) = self
            .lines
            .recv_timeout(end.saturating_duration_since(Instant::now()))
        {
            if names.iter().any(|name| event["event"] == *name) {
                heard.push(event);
            }
        }
        heard
    }

    /// What it has written for people, now that it has ended.
    pub fn said(&mut self) -> String {
        io::read_to_string(self.child.stderr.take().unwrap()).unwrap()
    }

    pub fn peer(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Ctrl-C; answers the exit code and how long it took.
    pub fn interrupt(&mut self) -> (i32, Duration) {
        let began = Instant::now();
        let sent = Command::new("kill")
            .args(["-INT", &self.child.id().to_string()])
            .status()
            .unwrap();
        assert!(sent.success());
        let code = self
            .child
            .wait()
            .unwrap()
            .code()
            .expect("it ended by itself");
        (code, began.elapsed())
    }
}

/// `starling seed` of these, and its link.
pub fn seed(desk: &Desk, args: &[&str]) -> (Running, String) {
    let mut running = Running::start(desk, &[&["seed"], args].concat());
    let magnet = running.until("seeding")["magnet"]
        .as_str()
        .unwrap()
        .to_owned();
    (running, magnet)
}

/// `starling get` in a home of its own.
pub fn get(desk: &Desk, args: &[&str]) -> Ended {
    let mut command = desk.command(&[&["get"], args, &ALONE].concat());
    command.env("STARLING_HOME", desk.path("other-home"));
    Ended::of(command)
}

#[test]
fn a_folder_goes_from_seed_to_get_in_every_kind() {
    for kind in ["--v1", "--v2", "--hybrid"] {
        let desk = Desk::new();
        let album = desk.album();
        let before = contents(&album);
        let (seed, magnet) = seed(&desk, &["album", kind]);
        let got = get(&desk, &[&magnet, "-o", "got", "--peer", &seed.peer()]).ends(0);
        assert_eq!(got.out, "got/album\n", "{kind}");
        assert_eq!(contents(&desk.path("got/album")), before, "{kind}");
        assert_eq!(
            contents(&album),
            before,
            "nothing is written into what is shared"
        );
    }
}

#[test]
fn programs_hear_what_happens_line_by_line() {
    let desk = Desk::new();
    desk.album();
    let mut seed = Running::start(&desk, &["seed", "album", "--torrent-out", "here.torrent"]);
    let seeding = seed.until("seeding");
    assert_eq!(
        (&seeding["files"], &seeding["bytes"], &seeding["torrent"]),
        (&json!(3), &json!(523_608), &json!("here.torrent"))
    );
    assert_eq!(seeding["info_hash_v1"].as_str().unwrap().len(), 40);
    assert_eq!(seeding["info_hash_v2"].as_str().unwrap().len(), 64);
    let got = get(
        &desk,
        &[
            "here.torrent",
            "-o",
            "got",
            "--json",
            "--peer",
            &seed.peer(),
        ],
    )
    .ends(0);
    let events = got.events();
    let names: Vec<&str> = events
        .iter()
        .map(|event| event["event"].as_str().unwrap())
        .collect();
    assert_eq!((names[0], *names.last().unwrap()), ("listening", "done"));
    let progress = events
        .iter()
        .rfind(|event| event["event"] == "progress")
        .expect("there is progress");
    assert_eq!(
        (&progress["done"], &progress["total"], &progress["state"]),
        (&json!(523_608), &json!(523_608), &json!("seeding"))
    );
    assert!(
        progress["fetched"].as_u64().unwrap() >= 523_608,
        "{progress}"
    );
    let done = events.last().unwrap();
    assert_eq!(
        (&done["path"], &done["bytes"]),
        (&json!("got/album"), &json!(523_608))
    );
    assert!(done["seconds"].is_f64());
    assert_eq!(names.iter().filter(|name| **name == "file").count(), 2);
}

#[test]
fn several_sources_and_selected_files_come_in_one_command() {
    let desk = Desk::new();
    desk.album();
    desk.files(&[("film.mkv", 100_000)]);
    let (mut both, album) = seed(&desk, &["album", "film.mkv"]);
    let film = both.until("seeding")["magnet"].as_str().unwrap().to_owned();
    let got = get(&desk, &[&album, &film, "-o", "got", "--peer", &both.peer()]).ends(0);
    assert_eq!(got.out, "got/album\ngot/film.mkv\n");
    let one = get(
        &desk,
        &[
            &album,
            "-o",
            "one",
            "--select",
            "one.*",
            "--peer",
            &both.peer(),
        ],
    )
    .ends(0);
    assert_eq!(one.last(), "one/album");
    let whole: Vec<_> = contents(&desk.path("one/album"))
        .into_iter()
        .map(|(path, _)| path)
        .collect();
    assert!(
        whole.contains(&"one.flac".into()) && !whole.contains(&"more/two.flac".into()),
        "{whole:?}"
    );
    get(
        &desk,
        &[
            &album,
            "-o",
            "none",
            "--select",
            "*.iso",
            "--peer",
            &both.peer(),
        ],
    )
    .ends(3);
}

#[test]
fn a_bare_hash_and_a_peer_are_enough_and_a_second_run_fetches_nothing() {
    let desk = Desk::new();
    desk.files(&[("film.mkv", 300_000)]);
    let mut seed = Running::start(&desk, &["seed", "film.mkv"]);
    let hash = seed.until("seeding")["info_hash_v1"]
        .as_str()
        .unwrap()
        .to_owned();
    for _ in 0..2 {
        assert_eq!(
            get(&desk, &[&hash, "--peer", &seed.peer(), "-o", "got"])
                .ends(0)
                .last(),
            "got/film.mkv"
        );
    }
    drop(seed);
    let again = get(&desk, &[&hash, "-o", "got", "--json"]).ends(0);
    let progress = again
        .events()
        .into_iter()
        .rfind(|event| event["event"] == "progress")
        .unwrap();
    assert_eq!(progress["fetched"], 0);
}

#[test]
fn what_get_fetched_it_can_go_on_serving() {
    let desk = Desk::new();
    desk.album();
    let (first, magnet) = seed(&desk, &["album"]);
    let mut command = Running::start(
        &desk,
        &[
            "get",
            &magnet,
            "-o",
            "second",
            "--home",
            "second-home",
            "--seed",
            "--peer",
            &first.peer(),
        ],
    );
    command.until("seeding");
    drop(first);
    get(&desk, &[&magnet, "-o", "third", "--peer", &command.peer()]).ends(0);
    assert_eq!(
        contents(&desk.path("third/album")),
        contents(&desk.path("album"))
    );
}

#[test]
fn existing_data_is_checked_before_it_is_served() {
    let desk = Desk::new();
    let album = desk.album();
    desk.run(&["create", "album"]).ends(0);
    let (existing, magnet) = seed(&desk, &["album.torrent", "album"]);
    get(&desk, &[&magnet, "-o", "got", "--peer", &existing.peer()]).ends(0);
    drop(existing);

    let one = album.join("one.flac");
    let mut bytes = fs::read(&one).unwrap();
    bytes[5] ^= 1;
    fs::write(&one, bytes).unwrap();
    let args = [&["seed", "album.torrent", "album"][..], &ALONE].concat();
    let refused = desk.run(&args).ends(5);
    assert!(refused.err.contains("starling verify"), "{}", refused.err);
    let (_assumed, _) = seed(&desk, &["album.torrent", "album", "--assume-complete"]);
    desk.run(&["seed", "album.torrent", "nowhere"]).ends(3);
    desk.run(&["seed", "album.torrent", "album", "--v1"])
        .ends(2);
}

#[test]
fn nothing_that_looks_secret_is_shared_unless_the_person_says_yes() {
    let desk = Desk::new();
    desk.album();
    desk.files(&[("album/.ssh/id_ed25519", 100)]);
    let args = [&["seed", "album"][..], &ALONE].concat();
    let refused = desk.run(&args).ends(2);
    assert!(
        refused.err.contains("PUBLIC")
            && refused.err.contains("id_ed25519")
            && refused.err.contains("--yes"),
        "{}",
        refused.err
    );
    let refused = desk.run(&[&args[..], &["--json"]].concat()).ends(2);
    assert_eq!(refused.events().last().unwrap()["code"], "usage");
    let (mut shared, _) = seed(&desk, &["album"]);
    assert_eq!(shared.interrupt().0, 130);
}

#[test]
fn ctrl_c_ends_within_two_seconds_and_the_same_command_goes_on() {
    let desk = Desk::new();
    desk.files(&[("film.mkv", 6 << 20)]);
    let (seed, _) = seed(
        &desk,
        &[
            "film.mkv",
            "--limit-up",
            "1MiB",
            "--torrent-out",
            "f.torrent",
        ],
    );
    let args = [
        "get",
        "f.torrent",
        "-o",
        "got",
        "--home",
        "other-home",
        "--peer",
        &seed.peer(),
    ];
    let mut first = Running::start(&desk, &args);
    while first.until("progress")["done"].as_u64().unwrap() < 1 << 20 {}
    let (code, took) = first.interrupt();
    assert_eq!(code, 130);
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert!(!desk.path("got/film.mkv").exists(), "it is not whole yet");
    let err = first.said();
    assert!(err.contains("the same command goes on"), "{err}");

    let mut second = Running::start(&desk, &args);
    let mut last = second.until("progress");
    while last["state"] != "seeding" {
        last = second.until("progress");
    }
    second.until("done");
    assert!(
        last["fetched"].as_u64().unwrap() <= (5 << 20) + (256 << 10),
        "{last}"
    );
    assert_eq!(
        fs::read(desk.path("got/film.mkv")).unwrap(),
        fs::read(desk.path("film.mkv")).unwrap()
    );
}

#[test]
fn each_way_to_fail_has_its_code() {
    let desk = Desk::new();
    desk.album();
    desk.files(&[("file", 10)]);
    let hash = "c9e15763f722f23e98a29decdfae341b98d53056";
    let nobody = get(&desk, &[hash, "--timeout", "1", "--json"]).ends(4);
    assert_eq!(nobody.events().last().unwrap()["code"], "no-peers");
    get(&desk, &[hash, "--peer", "nonsense"]).ends(2);
    get(&desk, &[hash, "-o", "file"]).ends(2);
    get(&desk, &[hash, hash, "--timeout", "1"]).ends(2);
    get(&desk, &["album"]).ends(2);
    get(&desk, &["no-such.torrent"]).ends(3);
    // Not even root makes folders there.
    get(&desk, &[hash, "-o", "/sys/starling"]).ends(6);
    desk.run(&["seed", "nowhere"]).ends(3);
    desk.run(&["get", hash, "--bind", "203.0.113.1:1"]).ends(1);
}

#[test]
fn a_torrent_that_does_not_fit_is_refused_before_it_begins() {
    let desk = Desk::new();
    let (pieces, piece_length) = (1 << 17, 512_u64 << 20);
    let mut torrent = format!(
        "d4:infod6:lengthi{}e4:name4:huge12:piece lengthi{piece_length}e6:pieces{}:",
        pieces * piece_length,
        pieces * 20
    )
    .into_bytes();
    torrent.extend(vec![7; pieces as usize * 20]);
    torrent.extend(b"ee");
    fs::write(desk.path("huge.torrent"), torrent).unwrap();
    let refused = get(&desk, &["huge.torrent"]).ends(7);
    assert!(refused.err.contains("64.0 TiB"), "{}", refused.err);
}

#[test]
fn a_torrent_can_be_named_by_its_url() {
    let desk = Desk::new();
    desk.album();
    let (seed, _) = seed(&desk, &["album", "--torrent-out", "a.torrent"]);
    let torrent = fs::read(desk.path("a.torrent")).unwrap();
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/a.torrent", server.local_addr().unwrap());
    let served = thread::spawn(move || {
        for _ in 0..3 {
            let (mut stream, _) = server.accept().unwrap();
            let mut request = [0; 1024];
            let read = stream.read(&mut request).unwrap();
            let found = request[..read].starts_with(b"GET /a.torrent ");
            let (status, body) = if found {
                ("200 OK", &torrent[..])
            } else {
                ("404 Not Found", &b""[..])
            };
            write!(
                stream,
                "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            )
            .unwrap();
            stream.write_all(body).unwrap();
        }
    });
    assert_eq!(
        get(&desk, &[&url, "-o", "got", "--peer", &seed.peer()])
            .ends(0)
            .last(),
        "got/album"
    );
    assert_eq!(
        desk.run(&["inspect", &url, "--json"]).ends(0).event()["name"],
        "album"
    );
    get(&desk, &[&url.replace("a.torrent", "b.torrent")]).ends(3);
    served.join().unwrap();
    assert!(Path::new(&desk.path("got/album/one.flac")).is_file());
}
