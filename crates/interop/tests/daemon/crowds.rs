//! Too many, too much, and those who do not know the token: the daemon says so, stays small, and serves the others.

use crate::SOON;
use crate::world::{Daemon, read_answer};
use interop::{MIB, Scenario, curl};
use rustix::process::{Resource, getrlimit, setrlimit};
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

/// Clients that all want to follow.
const CROWD: usize = 10_000;
/// How many may.
const FOLLOWERS: usize = 256;
/// Connections that come before a listener looks.
const BACKLOG: usize = 100;
/// What a crowd may cost, in bytes.
const MEMORY: u64 = 64 * MIB;

/// This process has both a crowd's ends to hold and those of other tests.
fn may_open_many_files() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
    let most = limit.current.unwrap_or(u64::MAX);
    assert!(most > CROWD as u64 + 1000, "ulimit -Hn says {most}");
}

/// One that asks to follow; it has not read the answer yet.
fn follower(daemon: &Daemon) -> BufReader<TcpStream> {
    let stream = daemon.begin("GET", "/events", "", b"").unwrap();
    BufReader::with_capacity(1024, stream)
}

/// The next line, without its end.
fn line(stream: &mut BufReader<TcpStream>) -> String {
    let mut line = String::new();
    stream.read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}

/// Its owner asks through its socket.
fn owner_asks(daemon: &Daemon, path: &str, args: &[&str]) -> Value {
    let socket = daemon.home().join("api.sock");
    let url = format!("http://localhost/api/v1{path}");
    let mut all = vec!["--unix-socket", socket.to_str().unwrap(), "--max-time", "5"];
    all.extend(args);
    all.push(&url);
    serde_json::from_slice(&curl(&all).stdout).expect("its owner is answered")
}

#[test]
fn of_ten_thousand_who_follow_a_few_hundred_may_and_the_others_hear_why() {
    let s = Scenario::new();
    let mut daemon = Daemon::new(&s);
    daemon.up();
    may_open_many_files();
    let before = daemon.peak_memory();
    let mut following = Vec::new();
    for n in 0..CROWD {
        let mut stream = follower(&daemon);
        match &*line(&mut stream) {
            "HTTP/1.1 200 OK" => following.push(stream),
            "HTTP/1.1 503 Service Unavailable" if n > 0 && n < CROWD - 1 => {}
            "HTTP/1.1 503 Service Unavailable" => {
                let lines = stream.lines().map_while(Result::ok);
                let said: Vec<String> = lines.collect();
                assert!(
                    said.iter().any(|line| line.starts_with("retry-after: ")),
                    "{said:?}"
                );
                let words = said.last().unwrap();
                assert!(
                    words.contains("256 clients follow events already"),
                    "{words}"
                );
            }
            other => panic!("{n}: {other}"),
        }
    }
    assert_eq!(following.len(), FOLLOWERS);

    // All at once, and none of them asks or leaves.
    let comes = |n: usize| {
        if n.is_multiple_of(BACKLOG) {
            // Who finds no place in the listener's queue tries again after a second.
            thread::sleep(Duration::from_millis(5));
        }
        TcpStream::connect(&daemon.api)
    };
    let crowd: Vec<_> = (0..CROWD).map(comes).collect();
    let there = crowd.iter().filter(|stream| stream.is_ok()).count();
    assert!(there > CROWD / 2, "{there} of them came");
    let began = Instant::now();
    owner_asks(&daemon, "/labels", &["--json", r#"{"name": "heard"}"#]);
    println!(
        "{there} came; its owner is answered in {:?}",
        began.elapsed()
    );
    for stream in &mut following {
        while !line(stream).contains("\"heard\"") {}
    }
    let cost = daemon.peak_memory() - before;
    println!("{cost} bytes");
    assert!(cost < MEMORY, "{cost} bytes for {CROWD} clients");
    drop(crowd);

    // When they are gone, there is room again, for followers too.
    drop(following);
    let end = Instant::now() + SOON;
    while line(&mut follower(&daemon)) != "HTTP/1.1 200 OK" {
        assert!(Instant::now() < end, "nobody may follow any more");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn bodies_without_end_are_refused_and_cost_little() {
    let s = Scenario::new();
    let mut daemon = Daemon::new(&s);
    daemon.up();
    let before = daemon.peak_memory();
    let chunk = [b"100000\r\n".as_slice(), &[b' '; MIB as usize], b"\r\n"].concat();
    for (method, path, kind) in [
        ("PATCH", "/settings", "application/json"),
        ("POST", "/labels", "application/json"),
        ("POST", "/transfers", "application/json"),
        ("POST", "/transfers", "application/x-bittorrent"),
        ("POST", "/previews", "application/x-bittorrent"),
    ] {
        let mut stream = TcpStream::connect(&daemon.api).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        let head = format!(
            "{method} /api/v1{path} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\n\
             connection: close\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n",
            daemon.api,
            daemon.token()
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut writer = stream.try_clone().unwrap();
        let chunk = &chunk;
        let answer = thread::scope(|scope| {
            scope.spawn(move || while writer.write_all(chunk).is_ok() {});
            read_answer(stream).unwrap()
        });
        assert_eq!(answer.status, 413, "{method} {path} {kind}");
        let words = answer.json()["detail"].to_string();
        assert!(words.contains("larger than"), "{words}");
    }
    let cost = daemon.peak_memory() - before;
    println!("{cost} bytes");
    assert!(
        cost < 2 * MEMORY + 16 * MIB,
        "{cost} bytes for bodies of at most 64 MiB"
    );
}

#[test]
fn what_is_no_json_or_not_what_was_asked_for_changes_nothing() {
    let s = Scenario::new();
    let mut daemon = Daemon::new(&s);
    daemon.up();
    let before = daemon.gets("/settings");
    let deep = "[".repeat(100_000);
    for body in [
        "",
        "{",
        "nonsense",
        "{\"slots\": 3}}",
        "{\"slots\": 3,}",
        "{\"slots\": 1e999}",
        "{\"slots\": -1}",
        "{\"slots\": \"three\"}",
        "{\"slots\": 3, \"slotz\": 3}",
        "{\"slots\": 3, \"folder\": \"\u{0}\"}",
        "[]",
        &deep,
    ] {
        let stream = daemon.begin("PATCH", "/settings", "application/json", body.as_bytes());
        let answer = stream.and_then(read_answer).unwrap();
        let start: String = body.chars().take(40).collect();
        assert!(
            [400, 415, 422].contains(&answer.status),
            "{start}: {}",
            answer.status
        );
        assert!(answer.json()["detail"].is_string(), "{start}");
    }
    assert_eq!(daemon.gets("/settings"), before);
}

#[test]
fn who_guesses_tokens_is_slowed_down_and_who_knows_it_is_not() {
    let s = Scenario::new();
    let mut daemon = Daemon::new(&s);
    daemon.up();
    let url = format!("http://{}/api/v1/status", daemon.api);
    let asks = |from: &str, token: &str| {
        let header = format!("authorization: Bearer {token}");
        let wanted = "%{http_code} %header{retry-after}";
        let said = curl(&[
            "--interface",
            from,
            "--header",
            &header,
            "--output",
            "/dev/null",
            "--write-out",
            wanted,
            &url,
        ]);
        String::from_utf8(said.stdout).unwrap().trim().to_owned()
    };
    let right = daemon.token();
    // All but its last character is right.
    let wrong = format!("{}~", &right[..right.len() - 1]);
    let mut guesses = Vec::new();
    while guesses.last().is_none_or(|answer| answer == "401") && guesses.len() < 100 {
        guesses.push(asks("127.0.0.2", &wrong));
    }
    assert_eq!(guesses.len(), 11, "ten a minute: {guesses:?}");
    let wait = guesses[10].strip_prefix("429 ").expect("too many");
    assert!((1..=61).contains(&wait.parse().unwrap()), "{wait}");
    assert_eq!(
        asks("127.0.0.2", &right),
        "200",
        "a person may live at that address, too"
    );
    assert_eq!(
        asks("127.0.0.1", &wrong),
        "401",
        "others are not slowed down"
    );
    assert_eq!(asks("127.0.0.1", &right), "200");
}
