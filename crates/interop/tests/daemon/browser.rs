//! A real browser: pages of other origins learn nothing and change nothing; a login link lets one in, once.

use crate::SOON;
use crate::world::Daemon;
use interop::{Child, Kind, MIB, Scenario};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

/// Tries all that a page can do to another origin, and posts what came of it to its own.
const ATTACK: &str = r#"<!doctype html><body><script>
const api = 'API', json = {'content-type': 'application/json'};
const body = JSON.stringify({limits: {down: 5000, up: 5000}});
const tries = {
  read: () => fetch(api + '/api/v1/transfers'),
  open: () => fetch(api + '/'),
  metrics: () => fetch(api + '/metrics'),
  token: () => fetch(api + '/api/v1/transfers', {headers: {authorization: 'Bearer guess'}}),
  patch: () => fetch(api + '/api/v1/settings', {method: 'PATCH', headers: json, body}),
  remove: () => fetch(api + '/api/v1/transfers/1?files=delete', {method: 'DELETE'}),
  post: () => fetch(api + '/api/v1/transfers/1/pause', {method: 'POST', credentials: 'include'}),
};
// Sent without a question beforehand; the page cannot see the answer.
const blind = [
  () => fetch(api + '/api/v1/transfers/1/pause', {method: 'POST', mode: 'no-cors'}),
  () => fetch(api + '/api/v1/shutdown', {method: 'POST', mode: 'no-cors', body: 'x'}),
  () => navigator.sendBeacon(api + '/api/v1/shutdown', 'x'),
];
const shown = (make) => new Promise((tell) => {
  const it = make();
  it.onload = it.onopen = () => tell('got in');
  it.onerror = () => tell('refused');
  setTimeout(() => tell('nothing'), 2000);
});
const element = (name, url) => () => {
  const it = document.createElement(name);
  it.src = url;
  document.body.append(it);
  return it;
};
(async () => {
  // Its own server it can reach.
  const found = {own: await fetch('/').then(() => 'got in', () => 'refused')};
  for (const [name, go] of Object.entries(tries)) {
    found[name] = await go().then(() => 'got in', () => 'refused');
  }
  for (const go of blind) await Promise.resolve().then(go).catch(() => 0);
  found.events = await shown(() => new EventSource(api + '/api/v1/events'));
  found.image = await shown(element('img', api + '/api/v1/status'));
  found.script = await shown(element('script', api + '/login.js'));
  const frame = document.createElement('iframe');
  frame.name = 'inside';
  document.body.append(frame);
  const form = document.createElement('form');
  Object.assign(form, {method: 'post', action: api + '/api/v1/transfers/1/pause', target: 'inside', enctype: 'text/plain'});
  document.body.append(form);
  form.submit();
  await new Promise((later) => setTimeout(later, 500));
  await fetch('/report', {method: 'POST', body: JSON.stringify(found)});
})();
</script>"#;

/// Chromium without a window, with a profile of its own.
fn chromium(scenario: &Scenario, name: &str, args: &[&str]) -> Child {
    let profile = scenario.path(name);
    let mut chromium = Command::new("chromium");
    chromium.args([
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
    ]);
    chromium.args([
        "--no-first-run",
        "--no-proxy-server",
        "--disable-background-networking",
    ]);
    chromium
        .arg(format!("--user-data-dir={}", profile.display()))
        .args(args);
    chromium.env("HOME", &profile);
    Child::start(name, chromium, &scenario.path(&format!("{name}.run")))
}

/// Serves the page from here until it has reported.
fn report(listener: &TcpListener, page: &str) -> Value {
    listener.set_nonblocking(true).unwrap();
    let end = Instant::now() + SOON;
    while Instant::now() < end {
        match listener.accept() {
            Ok((stream, _)) => {
                if let Some(found) = answer(stream, page) {
                    return found;
                }
            }
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
    panic!("the page reported nothing within {SOON:?}");
}

fn answer(mut stream: TcpStream, page: &str) -> Option<Value> {
    stream.set_nonblocking(false).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let (mut first, mut line, mut length) = (String::new(), String::new(), 0);
    reader.read_line(&mut first).ok()?;
    while reader.read_line(&mut line).ok()? > 2 {
        let line = std::mem::take(&mut line).to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\nconnection: close\r\n";
    let _ = write!(stream, "{head}content-length: {}\r\n\r\n{page}", page.len());
    first
        .starts_with("POST /report")
        .then(|| serde_json::from_slice(&body).unwrap())
}

#[test]
fn a_page_of_another_origin_reads_and_changes_nothing() {
    let s = Scenario::new();
    let film = s.file("film.mkv", MIB);
    let torrent = s.torrent_without_tracker(&film, Kind::V1);
    let mut daemon = Daemon::new(&s);
    daemon.up();
    daemon.seeds(&torrent);
    let settings = daemon.gets("/settings");
    let port = daemon.api.split_once(':').unwrap().1.to_owned();
    // Another port of the same name, and another name of the same computer.
    for (n, (page, api)) in [
        ("127.0.0.1", "127.0.0.1"),
        ("localhost", "127.0.0.1"),
        ("localhost", "localhost"),
    ]
    .into_iter()
    .enumerate()
    {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{page}:{}/", listener.local_addr().unwrap().port());
        let _browser = chromium(
            &s,
            &format!("chromium{n}"),
            &["--remote-debugging-port=0", &url],
        );
        let found = report(
            &listener,
            &ATTACK.replace("API", &format!("http://{api}:{port}")),
        );
        let mut found = found.as_object().unwrap().clone();
        assert_eq!(found.remove("own"), Some("got in".into()));
        assert_eq!(found.len(), 10, "{found:?}");
        for (what, came) in &found {
            assert_ne!(came, "got in", "{url} to {api}: {what} of {found:?}");
        }
        assert_eq!(daemon.gets("/settings"), settings, "after {url}");
        assert_eq!(
            daemon.gets("/transfers/1")["state"],
            "seeding",
            "after {url}"
        );
    }
    daemon.down();
}

#[test]
fn a_name_of_somebody_else_that_leads_here_is_refused() {
    let s = Scenario::new();
    let mut daemon = Daemon::new(&s);
    daemon.up();
    let port = daemon.api.split_once(':').unwrap().1.to_owned();
    let token = format!("Authorization: Bearer {}", daemon.token());
    for path in [
        "/api/v1/transfers",
        "/login",
        "/",
        "/healthz",
        "/api/v1/openapi.json",
    ] {
        let mut curl = Command::new("curl");
        curl.args([
            "--silent",
            "--noproxy",
            "*",
            "--output",
            "/dev/null",
            "--write-out",
            "%{http_code}",
        ]);
        curl.args([
            "--resolve",
            &format!("evil.example:{port}:127.0.0.1"),
            "--header",
            &token,
        ]);
        let out = curl
            .arg(format!("http://evil.example:{port}{path}"))
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&out.stdout), "421", "{path}");
    }
    // The same from a page: its own origin, as the browser sees it.
    let url = format!("http://evil.example:{port}/login");
    let rules = "--host-resolver-rules=MAP evil.example 127.0.0.1";
    let mut browser = chromium(&s, "rebound", &[rules, "--dump-dom", &url]);
    assert_eq!(browser.exit_code(SOON), 0);
    let shown = std::fs::read_to_string(s.path("rebound.run/stdout")).unwrap();
    assert!(
        shown.contains("is not this daemon") && !shown.contains("login.js"),
        "{shown}"
    );
}

#[test]
fn a_login_link_lets_a_browser_in_once() {
    let s = Scenario::new();
    let film = s.file("film.mkv", MIB);
    let torrent = s.torrent_without_tracker(&film, Kind::V1);
    let mut daemon = Daemon::new(&s);
    daemon.up();
    daemon.adds(&torrent, &json!({"paused": true, "folder": s.path("x")}));
    daemon.does(
        "PATCH",
        "/transfers/1",
        Some(&json!({"name": "<i>film</i>"})),
    );
    let link = daemon.does("POST", "/login-links", None);
    let url = link["url"].as_str().unwrap();
    let sees = |name: &str| {
        let mut browser = chromium(&s, name, &["--virtual-time-budget=4000", "--dump-dom", url]);
        assert_eq!(browser.exit_code(SOON), 0);
        std::fs::read_to_string(s.path(&format!("{name}.run/stdout"))).unwrap()
    };
    let first = sees("first");
    assert!(first.contains("1 transfer<"), "{first}");
    assert!(
        first.contains("&lt;i&gt;film&lt;/i&gt;"),
        "names are text: {first}"
    );
    let second = sees("second");
    assert!(
        second.contains("The login link was used already"),
        "{second}"
    );
    assert!(!second.contains("film"), "{second}");
}
