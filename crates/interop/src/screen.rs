//! Films, and programs that show them: ffmpeg's and Chromium.

use crate::{Child, Content, Scenario};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Seconds of a film that are encoded; longer ones repeat them.
const SCENE: u32 = 20;
/// What a film has of bytes in a second, about.
pub const FILM_RATE: u64 = 1_000_000;

/// A film of this many times twenty seconds, a picture to start at each second. The end of the name tells the
/// container; an MP4 has its index in front if `index_first`.
pub fn film(scenario: &Scenario, name: &str, scenes: u32, index_first: bool) -> Content {
    let folder = scenario.path("films");
    std::fs::create_dir_all(&folder).unwrap();
    let scene = folder.join("scene.mp4");
    if !scene.exists() {
        let picture = "testsrc2=size=640x360:rate=25,noise=alls=80:allf=t";
        let length = SCENE.to_string();
        let video = [
            "-c:v",
            "libx264",
            "-preset",
            "ultrafast",
            "-pix_fmt",
            "yuv420p",
            "-g",
            "25",
        ];
        let rate = [
            "-b:v", "8M", "-minrate", "8M", "-maxrate", "8M", "-bufsize", "8M", "-nal-hrd", "cbr",
        ];
        let tone = ["-f", "lavfi", "-i", "sine=frequency=440", "-c:a", "aac"];
        let mut args = vec!["-f", "lavfi", "-i", picture];
        args.extend(&tone[..4]);
        args.extend(["-t", &length]);
        args.extend(video.iter().chain(&rate).chain(&tone[4..]));
        ffmpeg(&args, &scene);
    }
    let repeats = (scenes - 1).to_string();
    let mut args = vec![
        "-stream_loop",
        &repeats,
        "-i",
        scene.to_str().unwrap(),
        "-c",
        "copy",
    ];
    if index_first {
        args.extend(["-movflags", "+faststart"]);
    }
    let path = folder.join(name);
    ffmpeg(&args, &path);
    Content { path }
}

fn ffmpeg(args: &[&str], out: &Path) {
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg
        .args(["-nostdin", "-loglevel", "error", "-y"])
        .args(args)
        .arg(out);
    let status = ffmpeg
        .status()
        .expect("ffmpeg is installed: `cargo xtask setup`");
    assert!(status.success(), "{ffmpeg:?}: {status}");
}

/// Seconds that a film at a URL has, as ffprobe finds them. `host` is what it calls the server: C programs do not know
/// that all names under `localhost` are this computer.
pub fn probe(url: &str, server: &str) -> f64 {
    let (host, path) = url
        .strip_prefix("http://")
        .and_then(|rest| rest.split_once('/'))
        .unwrap();
    let mut probe = Command::new("ffprobe");
    probe.args([
        "-loglevel",
        "error",
        "-show_entries",
        "format=duration",
        "-of",
        "csv=p=0",
    ]);
    probe.args([
        "-headers",
        &format!("Host: {host}\r\n"),
        &format!("http://{server}/{path}"),
    ]);
    let said = probe
        .output()
        .expect("ffprobe is installed: `cargo xtask setup`");
    let error = String::from_utf8_lossy(&said.stderr);
    let text = String::from_utf8_lossy(&said.stdout);
    text.trim()
        .parse()
        .unwrap_or_else(|_| panic!("{probe:?}: {text} {error}"))
}

/// Shows a page to Chromium until the page's script calls `report`, and gives what that was given.
pub fn browse(scenario: &Scenario, body: &str, script: &str, within: Duration) -> Value {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let profile = scenario.path("chromium");
    let mut chromium = Command::new("chromium");
    chromium.args([
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
    ]);
    chromium.args([
        "--autoplay-policy=no-user-gesture-required",
        "--mute-audio",
        "--no-proxy-server",
    ]);
    chromium.args([
        "--disable-component-update",
        "--disable-background-networking",
        "--remote-debugging-port=0",
    ]);
    chromium.arg(format!("--user-data-dir={}", profile.display()));
    chromium.arg(format!("http://{}/", listener.local_addr().unwrap()));
    chromium.env("HOME", &profile);
    let page = format!(
        "<!doctype html><body>{body}<script>\
         const report = what => fetch('/report', {{method: 'POST', body: JSON.stringify(what)}});\n\
         onerror = e => report({{error: String(e)}});\n{script}</script>"
    );
    let _browser = Child::start("chromium", chromium, &scenario.path("chromium.run"));
    listener.set_nonblocking(true).unwrap();
    let end = Instant::now() + within;
    loop {
        assert!(
            Instant::now() < end,
            "the page said nothing within {within:?}"
        );
        match listener.accept() {
            Ok((stream, _)) => {
                if let Some(report) = answer(stream, &page) {
                    return report;
                }
            }
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

/// Gives the page to whoever asks; or a report that came.
fn answer(mut stream: TcpStream, page: &str) -> Option<Value> {
    stream.set_nonblocking(false).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let (mut first, mut line, mut length) = (String::new(), String::new(), 0);
    reader.read_line(&mut first).ok()?;
    while reader.read_line(&mut line).ok()? > 2 {
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().ok()?;
        }
        line.clear();
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let (status, text) = match first.split(' ').nth(1) {
        Some("/") => ("200 OK", page),
        Some("/report") => ("200 OK", ""),
        _ => ("404 Not Found", ""),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/html\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        text.len()
    );
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(text.as_bytes()).ok()?;
    first
        .starts_with("POST /report")
        .then(|| serde_json::from_slice(&body).ok())?
}
