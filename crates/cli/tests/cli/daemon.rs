//! The daemon's life: it starts, answers, is alone in its home, reads its configuration again, stops, and comes back
//! after anything.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::transfer::{ALONE, seed};
use crate::{Desk, Ended, PATIENCE};

/// Doors that meet nobody else's.
pub const DOORS: [&str; 4] = ["--api", ":0", "--content", ":0"];

/// A daemon in the foreground. Dropped, it is killed.
pub struct Daemon {
    child: Child,
    errors: Receiver<String>,
    /// What it said when it was up.
    pub up: Value,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Daemon {
    /// Starts one that meets only those it is told of, and waits until it is up.
    pub fn start(desk: &Desk) -> Daemon {
        Daemon::with(desk, &[])
    }

    /// The same, with more flags.
    pub fn with(desk: &Desk, args: &[&str]) -> Daemon {
        Daemon::of(desk.command(&[&["up", "--json"], &ALONE[..], &DOORS, args].concat()))
    }

    /// The same, of a command made up elsewhere.
    pub fn of(mut command: Command) -> Daemon {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, errors) = mpsc::channel();
        thread::spawn(move || {
            let lines = stderr.lines().map_while(Result::ok);
            lines.for_each(|line| drop(sender.send(line)));
        });
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let mut daemon = Daemon {
            child,
            errors,
            up: Value::Null,
        };
        daemon.up = serde_json::from_str(&line)
            .unwrap_or_else(|_| panic!("it is not up: {line} {:?}", daemon.says("stopped")));
        daemon
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where peers reach it.
    pub fn peer(&self) -> String {
        self.up["listening"][0].as_str().unwrap().to_owned()
    }

    /// Tells it a signal.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args([name, &self.pid().to_string()])
            .status()
            .unwrap();
        assert!(sent.success());
    }

    /// Waits until its log says this; answers the log up to there.
    pub fn says(&mut self, text: &str) -> Vec<String> {
        let mut said = Vec::new();
        let late = Instant::now() + PATIENCE;
        while let Ok(line) = self
            .errors
            .recv_timeout(late.saturating_duration_since(Instant::now()))
        {
            let found = line.contains(text);
            said.push(line);
            if found {
                return said;
            }
        }
        panic!("“{text}” was not said: {said:#?}")
    }

    /// Waits for its end; answers its code.
    pub fn ends(&mut self) -> i32 {
        self.child
            .wait()
            .unwrap()
            .code()
            .expect("it ended by itself")
    }

    /// The daemon dies at once, as in a power cut.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// A daemon in the background. Dropped, it is stopped.
struct Detached<'a>(&'a Desk);

impl Drop for Detached<'_> {
    fn drop(&mut self) {
        self.0.run(&["down"]);
    }
}

impl Desk {
    /// The rows of `starling list`.
    pub fn list(&self) -> Vec<Value> {
        self.run(&["list", "--json"]).ends(0).events()
    }

    /// Waits until a transfer is as it should be; answers its row.
    pub fn until(&self, id: u32, is: impl Fn(&Value) -> bool) -> Value {
        let late = Instant::now() + PATIENCE;
        loop {
            let row = self
                .run(&["show", &id.to_string(), "--json"])
                .ends(0)
                .event();
            if is(&row) {
                return row;
            }
            assert!(Instant::now() < late, "{row:#}");
            thread::sleep(Duration::from_millis(50));
        }
    }
}

#[test]
fn a_daemon_answers_for_its_home_until_it_is_told_to_stop() {
    let desk = Desk::new();
    let mut daemon = Daemon::start(&desk);
    let status = desk.run(&["status", "--json"]).ends(0).event();
    assert_eq!(status["pid"], daemon.pid());
    assert_eq!(status["listening"], daemon.up["listening"]);
    assert_eq!(status["api"], daemon.up["api"]);
    let read = desk.run(&["status"]).ends(0);
    for word in ["process", "no limit down", "starling add", "upload slot"] {
        assert!(read.out.contains(word), "{word}: {}", read.out);
    }

    let home = desk.path("home");
    let mode = |name: &str| fs::metadata(home.join(name)).unwrap().mode() & 0o777;
    assert_eq!(
        (mode("api.sock"), mode("api-token"), mode("")),
        (0o600, 0o600, 0o700)
    );
    assert!(
        fs::metadata(home.join("api.sock"))
            .unwrap()
            .file_type()
            .is_socket()
    );

    let began = Instant::now();
    let down = desk.run(&["down", "--json"]).ends(0).event();
    assert_eq!(down["ran"], true);
    assert_eq!(daemon.ends(), 0);
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
    assert!(!home.join("api.sock").exists());

    let none = desk.run(&["down"]).ends(0);
    assert!(none.err.contains("no daemon runs"), "{}", none.err);
}

#[test]
fn signals_stop_it_cleanly_within_two_seconds() {
    for signal in ["-TERM", "-INT"] {
        let desk = Desk::new();
        desk.files(&[("film.mkv", 100_000)]);
        let mut daemon = Daemon::start(&desk);
        desk.run(&["create", "film.mkv"]).ends(0);
        desk.run(&["add", "film.mkv.torrent", "-o", "got"]).ends(0);
        let began = Instant::now();
        daemon.signal(signal);
        assert_eq!(daemon.ends(), 0, "{signal}");
        assert!(
            began.elapsed() < Duration::from_secs(2),
            "{:?}",
            began.elapsed()
        );
    }
}

#[test]
fn in_the_background_it_says_where_it_is_and_logs_to_a_file() {
    let desk = Desk::new();
    let up = desk
        .run(&[&["up", "--detach"], &ALONE[..], &DOORS].concat())
        .ends(0);
    let _detached = Detached(&desk);
    let url = up.last().strip_prefix("http://").expect("it is a URL");
    assert!(url.parse::<SocketAddr>().unwrap().ip().is_loopback());
    assert!(up.err.contains("process"), "{}", up.err);
    let logs = desk.run(&["logs"]).ends(0);
    assert!(logs.out.contains("peers reach this daemon"), "{}", logs.out);

    // It is nobody's child, and in a session of its own.
    let pid = desk.run(&["status", "--json"]).ends(0).event()["pid"].to_string();
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let after_name: Vec<&str> = stat
        .rsplit_once(')')
        .unwrap()
        .1
        .split_whitespace()
        .collect();
    assert_eq!(after_name[3], pid, "{stat}");

    let mut follow = desk
        .command(&["logs", "--follow", "-n", "1"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(follow.stdout.take().unwrap()).lines();
    lines.next().unwrap().unwrap();
    desk.run(&["down"]).ends(0);
    assert!(lines.next().unwrap().unwrap().contains("stopped"));
    Command::new("kill")
        .args(["-INT", &follow.id().to_string()])
        .status()
        .unwrap();
    assert_eq!(follow.wait().unwrap().code(), Some(0));
}

#[test]
fn a_home_has_one_daemon() {
    let desk = Desk::new();
    let daemon = Daemon::start(&desk);
    let up = [&["up"], &ALONE[..], &DOORS].concat();
    let detached = [&["up", "--detach"], &ALONE[..], &DOORS].concat();
    for args in [up, detached] {
        let refused = desk.run(&args).ends(1);
        let pid = daemon.pid().to_string();
        assert!(
            refused.err.contains("already") && refused.err.contains(&pid),
            "{}",
            refused.err
        );
    }
    assert_eq!(
        desk.run(&["status", "--json"]).ends(0).event()["pid"],
        daemon.pid()
    );
}

#[test]
fn a_port_that_is_taken_is_named_with_the_way_out() {
    let desk = Desk::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let up = |flag: &str, detach: bool| {
        let mut args = vec!["up", flag, &address];
        args.extend(["--bind", "127.0.0.1:0", "--no-dht", "--no-local-discovery"]);
        for (door, any) in [("--api", ":0"), ("--content", ":0")] {
            if door != flag {
                args.extend([door, any]);
            }
        }
        if detach {
            args.push("--detach");
        }
        desk.run(&args).ends(1)
    };
    for detach in [false, true] {
        for flag in ["--api", "--content"] {
            let refused = up(flag, detach);
            assert!(
                refused.err.contains(&address) && refused.err.contains(flag),
                "{}",
                refused.err
            );
        }
    }
    // Peers that cannot reach it are no daemon either.
    let args = [&["up", "--bind", &address], &ALONE[2..], &DOORS].concat();
    let refused = desk.run(&args).ends(1);
    assert!(refused.err.contains("--bind"), "{}", refused.err);
    // Nothing is left of any of them.
    drop(Daemon::start(&desk));
}

#[test]
fn without_tcp_the_socket_is_enough() {
    let desk = Desk::new();
    let args = [
        &["up", "--json", "--api", "none", "--content", "none"],
        &ALONE[..],
    ]
    .concat();
    let daemon = Daemon::of(desk.command(&args));
    let doors = daemon.up["api"].as_array().unwrap();
    assert_eq!(doors.len(), 1, "{}", daemon.up);
    assert!(doors[0].as_str().unwrap().ends_with("home/api.sock"));
    assert!(daemon.up["content"].is_null());
    desk.run(&["list"]).ends(0);
    // No browser reaches it.
    desk.run(&["login"]).ends(1);
}

#[test]
fn a_home_far_down_has_its_socket_too() {
    let mut desk = Desk::new();
    desk.home = format!("{}/{}/home", "x".repeat(80), "y".repeat(80));
    let mut daemon = Daemon::start(&desk);
    desk.run(&["list"]).ends(0);
    desk.run(&["down"]).ends(0);
    assert_eq!(daemon.ends(), 0);
}

#[test]
fn a_login_link_lets_a_browser_in_once() {
    let desk = Desk::new();
    let daemon = Daemon::start(&desk);
    let login = desk.run(&["login"]).ends(0);
    let api = daemon.up["api"][0].as_str().unwrap();
    assert!(
        login.last().starts_with(&format!("http://{api}/login#")),
        "{}",
        login.out
    );
    assert_ne!(desk.run(&["login"]).ends(0).last(), login.last());
}

#[test]
fn after_a_kill_everything_that_was_answered_is_back() {
    let desk = Desk::new();
    desk.album();
    desk.files(&[("film.mkv", 300_000)]);
    let (_seeding, magnet) = {
        let (running, magnet) = seed(&desk, &["film.mkv", "--home", "third-home"]);
        (running, magnet)
    };
    desk.run(&["create", "album"]).ends(0);
    let daemon = Daemon::start(&desk);
    desk.run(&["label", "add", "music", "--ratio", "3", "--max-active", "2"])
        .ends(0);
    desk.run(&[
        "add",
        "album.torrent",
        "-o",
        "got",
        "--paused",
        "--label",
        "music",
        "--tag",
        "live",
    ])
    .ends(0);
    desk.run(&["get", &magnet, "-o", "got", "--peer", &_seeding.peer()])
        .ends(0);
    desk.run(&[
        "set",
        "1",
        "--limit-up",
        "5KiB",
        "--priority",
        "one.*=7",
        "--sequential",
        "--seed-time",
        "2h",
    ])
    .ends(0);
    desk.run(&["settings", "set", "limits.down=3MiB", "queue.seeds=7"])
        .ends(0);
    let facts = |desk: &Desk| -> Vec<Value> {
        let mut rows = desk.list();
        for row in &mut rows {
            let row = row.as_object_mut().unwrap();
            // What changes from moment to moment.
            for name in [
                "rate_down",
                "rate_up",
                "peers",
                "seeds",
                "known",
                "eta",
                "dormant",
                "checking",
            ] {
                row.remove(name);
            }
        }
        rows.extend(desk.run(&["label", "list", "--json"]).ends(0).events());
        rows.extend(desk.run(&["settings", "show", "--json"]).ends(0).events());
        rows.extend(
            desk.run(&["files", "1", "--json"])
                .ends(0)
                .events()
                .into_iter()
                .map(|mut file| {
                    file.as_object_mut().unwrap().remove("content_url");
                    file
                }),
        );
        rows
    };
    // Statistics are kept every five seconds.
    thread::sleep(Duration::from_secs(6));
    let before = facts(&desk);
    daemon.kill();
    let refused = desk.run(&["list"]).ends(3);
    assert!(refused.err.contains("starling up"), "{}", refused.err);

    let _again = Daemon::start(&desk);
    desk.until(2, |row| row["state"] == "seeding");
    let after = facts(&desk);
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(before, after);
    }
    assert_eq!(before.len(), after.len());
    // Nothing that is here is fetched again.
    let got = desk.run(&["get", &magnet, "-o", "got", "--json"]).ends(0);
    let progress = got
        .events()
        .into_iter()
        .rfind(|event| event["event"] == "progress")
        .unwrap();
    assert_eq!(progress["fetched"], 0);
}

#[test]
fn who_started_it_is_told_how_it_is() {
    let desk = Desk::new();
    let path = desk.path("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let hears = || {
        let mut bytes = [0; 512];
        let len = socket.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..len].to_vec()).unwrap()
    };
    let mut command = desk.command(&[&["up", "--json"], &ALONE[..], &DOORS].concat());
    command.env("NOTIFY_SOCKET", &path);
    let mut daemon = Daemon::of(command);
    let ready = hears();
    assert!(
        ready.starts_with("READY=1\n") && ready.contains(&daemon.peer()),
        "{ready}"
    );
    daemon.signal("-HUP");
    let reloading = hears();
    assert!(
        reloading.starts_with("RELOADING=1\n") && reloading.contains("MONOTONIC_USEC="),
        "{reloading}"
    );
    assert!(hears().starts_with("READY=1\n"));
    daemon.signal("-TERM");
    assert!(hears().starts_with("STOPPING=1\n"));
    assert_eq!(daemon.ends(), 0);
}

#[test]
fn sockets_opened_before_it_are_taken_over() {
    let desk = Desk::new();
    let free = |_| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().to_string()
    };
    let [api, content] = [0, 1].map(free);
    let home = desk.path("home");
    fs::create_dir_all(&home).unwrap();
    let socket = home.join("api.sock");
    let mut command = Command::new("systemd-socket-activate");
    command
        .args(["-l", socket.to_str().unwrap(), "-l", &content, "-l", &api])
        .args([
            "--fdname=unix:content:api",
            "-E",
            "STARLING_HOME",
            "-E",
            "HOME",
        ])
        .arg(env!("CARGO_BIN_EXE_starling"))
        .args(["up", "--json"])
        .args(ALONE)
        .current_dir(desk.path(""))
        .env("STARLING_HOME", &home)
        .env("HOME", desk.path(""));
    // The first who asks starts it.
    let asking = thread::scope(|scope| {
        let starting = scope.spawn(|| Daemon::of(command));
        let late = Instant::now() + PATIENCE;
        let status = loop {
            let status = desk.run(&["status", "--json"]);
            if status.code == 0 {
                break status.event();
            }
            assert!(Instant::now() < late, "{}", status.err);
            thread::sleep(Duration::from_millis(50));
        };
        (starting.join().unwrap(), status)
    });
    let (mut daemon, status) = asking;
    assert_eq!(
        status["api"],
        serde_json::json!([api, socket.to_str().unwrap()])
    );
    assert_eq!(status["content"], format!("http://{content}"));
    desk.run(&["down"]).ends(0);
    assert_eq!(daemon.ends(), 0);
    assert!(socket.exists(), "a socket that is not its own stays");
}

#[test]
fn verbs_that_need_a_daemon_say_how_to_start_one() {
    let desk = Desk::new();
    desk.album();
    desk.run(&["create", "album"]).ends(0);
    let verbs: [&[&str]; 22] = [
        &["status"],
        &["list"],
        &["show", "1"],
        &["files", "1"],
        &["peers", "1"],
        &["trackers", "1"],
        &["web-seeds", "1"],
        &["reuse", "1"],
        &["add", "album.torrent"],
        &["preview", "album.torrent"],
        &["pause", "all"],
        &["resume", "1"],
        &["recheck", "1"],
        &["move", "1", "there"],
        &["rename", "1", "other"],
        &["set", "1", "--queue", "0"],
        &["forget", "1"],
        &["delete", "1", "--yes"],
        &["label", "list"],
        &["settings", "show"],
        &["settings", "set", "slots=4"],
        &["login"],
    ];
    for verb in verbs {
        let Ended { code, err, .. } = desk.run(verb);
        assert_eq!(code, 3, "{verb:?}: {err}");
        assert!(err.contains("starling up --detach"), "{verb:?}: {err}");
    }
    desk.run(&["paths"]).ends(0);
    desk.run(&["config", "show"]).ends(0);
    let logs = desk.run(&["logs"]).ends(3);
    assert!(logs.err.contains("journalctl"), "{}", logs.err);
}
