//! Files of transfers under way, read by the programs that people have: curl, ffprobe, Chromium.

use crate::SOON;
use interop::{Daemon, FILM_RATE, Kind, Link, MIB, Scenario, Torrent, browse, curl, film, probe};
use serde_json::json;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

/// A daemon that fetches a torrent from a seed of this many bytes a second; and the transfer.
fn fetches(s: &Scenario, torrent: &Torrent, rate: u64) -> (Daemon, interop::Peer, u64) {
    let seed = s.starling().arg("--limit-up").arg(rate).seeds(torrent);
    let daemon = s.starling().ups();
    let id = daemon.adds(torrent, &[seed.addr], json!({}));
    (daemon, seed, id)
}

#[test]
fn curl_goes_on_with_a_download_that_broke_off() {
    let s = Scenario::new();
    let file = s.file("image ü.iso", 12 * MIB);
    let torrent = s.torrent_without_tracker(&file, Kind::Hybrid);
    let (daemon, _seed, id) = fetches(&s, &torrent, 3 * MIB);
    let (url, out) = (daemon.url(id), s.path("image.iso"));
    let out = out.to_str().unwrap();
    let first = curl(&["--max-time", "1.5", "--output", out, &url]);
    assert_eq!(first.status.code(), Some(28), "it takes four seconds");
    let begun = fs::metadata(out).unwrap().len();
    assert!((1..12 * MIB).contains(&begun), "{begun} bytes");
    let second = curl(&[
        "--continue-at",
        "-",
        "--output",
        out,
        "--fail",
        "--dump-header",
        "-",
        &url,
    ]);
    let head = String::from_utf8_lossy(&second.stdout);
    assert!(
        second.status.success() && head.starts_with("HTTP/1.1 206"),
        "{head}"
    );
    assert!(
        head.contains(&format!("content-range: bytes {begun}-")),
        "{head}"
    );
    assert!(
        fs::read(out).unwrap() == fs::read(&file.path).unwrap(),
        "bytes differ"
    );
    // Its own name for it, and what was fetched is not fetched again.
    let folder = s.path("saved");
    fs::create_dir(&folder).unwrap();
    let saved = curl(&[
        "--output-dir",
        folder.to_str().unwrap(),
        "--remote-name",
        "--remote-header-name",
        &url,
    ]);
    assert!(saved.status.success());
    let tag = head
        .lines()
        .find_map(|line| line.strip_prefix("etag: "))
        .unwrap();
    let same = curl(&[
        "--header",
        &format!("If-None-Match: {tag}"),
        "--write-out",
        "%{http_code}",
        &url,
    ]);
    assert_eq!(same.stdout, b"304");
}

#[test]
fn ffprobe_reads_what_a_film_says_of_itself_long_before_it_is_there() {
    let s = Scenario::new();
    // An MP4 with its index in the end, and a Matroska.
    for name in ["film.mp4", "film.mkv"] {
        let film = film(&s, name, 3, false);
        let torrent = s.torrent_without_tracker(&film, Kind::V1);
        let (daemon, _seed, id) = fetches(&s, &torrent, 4 * MIB);
        let seconds = probe(&daemon.url(id), &daemon.content);
        assert!((seconds - 60.0).abs() < 1.0, "{name}: {seconds}");
        let done = daemon.done(id);
        assert!(done < film.len() / 2, "{name}: {done} of {}", film.len());
    }
}

/// Plays a video, jumps to nine tenths of it, and tells how long each took until a picture moved.
const WATCH: &str = "
    const v = document.querySelector('video'), begun = performance.now();
    let played, jumped, from;
    const moves = (what) => { const at = v.currentTime; const look = () =>
        v.currentTime > at + 0.2 && !v.seeking ? what() : setTimeout(look, 10); look(); };
    v.onerror = () => report({error: v.error.message});
    v.onplaying = () => {
        v.onplaying = null;
        moves(() => {
            played = performance.now() - begun;
            setTimeout(() => {
                jumped = performance.now();
                v.currentTime = from = v.duration * 0.9;
                v.onseeked = () => moves(() => report({
                    duration: v.duration, played, sought: performance.now() - jumped,
                    from, at: v.currentTime, width: v.videoWidth,
                }));
            }, 1000);
        });
    };";

fn watches(s: &Scenario, url: &str) -> serde_json::Value {
    let video = format!("<video src='{url}' muted autoplay></video>");
    let report = browse(s, &video, WATCH, SOON);
    assert!(report["error"].is_null(), "{report}");
    report
}

#[test]
fn chromium_plays_a_film_and_jumps_in_it_while_it_comes() {
    let s = Scenario::new();
    let film = film(&s, "film.mp4", 6, true);
    let torrent = s.torrent_without_tracker(&film, Kind::Hybrid);
    let (daemon, _seed, id) = fetches(&s, &torrent, 3 * MIB);
    let report = watches(&s, &daemon.url(id));
    assert_eq!(report["width"], 640, "{report}");
    assert!(report["duration"].as_f64().unwrap() > 119.0, "{report}");
    assert!(report["at"].as_f64() > report["from"].as_f64(), "{report}");
    let done = daemon.done(id);
    assert!(
        done < film.len() * 9 / 10,
        "it was not there already: {done} of {}",
        film.len()
    );
}

#[test]
fn a_page_from_elsewhere_learns_nothing_and_a_page_in_content_runs_nothing() {
    let s = Scenario::new();
    let page = s.file("page.html", 20_000);
    let script = "<script>parent.postMessage('ran', '*')</script><b>text</b>";
    fs::write(&page.path, script.repeat(300)).unwrap();
    let torrent = s.torrent_without_tracker(&page, Kind::V1);
    let (daemon, _seed, id) = fetches(&s, &torrent, 0);
    daemon.until(id, "complete", SOON, |row| row["complete"] == true);
    let url = daemon.url(id);
    let script = format!(
        "const said = [], other = document.createElement('iframe');
        onmessage = e => said.push(e.data);
        other.srcdoc = '<script>parent.postMessage(`elsewhere`, `*`)</scr' + 'ipt>';
        document.body.append(other);
        fetch('{url}').then(() => 'read', () => 'refused').then(read => {{
            const frame = document.createElement('iframe');
            frame.src = '{url}';
            frame.onload = () => setTimeout(() => {{
                let inside = 'open';
                try {{ frame.contentWindow.document.title; }} catch (e) {{ inside = 'closed'; }}
                report({{read, inside, said}});
            }}, 500);
            document.body.append(frame);
        }})"
    );
    let report = browse(&s, "", &script, SOON);
    assert_eq!(
        report,
        json!({"read": "refused", "inside": "closed", "said": ["elsewhere"]})
    );
}

/// What a jump may take on a machine that does much else. How fast it is, `cargo xtask bench daemon-seek` measures:
/// under two seconds; where the jump does not go before the other transfers, seventeen.
const JUMP: Duration = Duration::from_secs(8);

#[test]
fn a_jump_over_a_busy_link_goes_before_all_else() {
    let s = Scenario::alone();
    let film = film(&s, "film.mp4", 52, true);
    assert!(
        film.len() > 1000 * MIB && film.len() / 1040 > FILM_RATE * 9 / 10,
        "{}",
        film.len()
    );
    let films = s.torrent_with(&film, Kind::Hybrid, MIB as u32, &[]);
    let lens: Vec<(String, u64)> = (0..20).map(|n| (format!("{n}.bin"), 24 * MIB)).collect();
    let lens: Vec<(&str, u64)> = lens
        .iter()
        .map(|(name, len)| (name.as_str(), *len))
        .collect();
    let others = s.torrents_of_each(&s.folder("others", &lens), Kind::V1);

    // 20 Mbit/s, shared by four seeds: of the film, and of what else is fetched.
    let link = Link::new(2_500_000);
    let seed = s.starling().seeds(&films);
    let daemon = s.starling().arg("--no-trackers").ups();
    let all_at_once = json!({"queue": {"downloads": 0, "seeds": 0, "slow": 0}}).to_string();
    daemon.ask("/settings", &["--request", "PATCH", "--json", &all_at_once]);
    let mut seeds = Vec::new();
    let mut ids = Vec::new();
    for some in others.chunks(7) {
        let mut starling = s.starling();
        let mut args = vec![OsStr::new("seed"), OsStr::new("--no-trackers")];
        args.extend(
            some.iter()
                .flat_map(|t| [t.path.as_os_str(), t.content.path.as_os_str()]),
        );
        let mut child = starling.run(&args);
        child.wait("it serves all", SOON, |child| {
            let serving = child
                .events()
                .iter()
                .filter(|event| event["event"] == "seeding");
            (serving.count() == some.len()).then_some(())
        });
        let addr = link.to(&s, starling.addr);
        ids.extend(
            some.iter()
                .map(|torrent| daemon.adds(torrent, &[addr], json!({}))),
        );
        seeds.push(child);
    }
    for &id in &ids {
        daemon.is_under_way(id, SOON);
    }
    let id = daemon.adds(&films, &[link.to(&s, seed.addr)], json!({}));
    daemon.is_under_way(id, SOON);

    // curl, for a second of film: it has a picture to start with.
    let url = daemon.url(id);
    let from = film.len() / 10 * 6;
    let range = format!("{from}-{}", from + FILM_RATE - 1);
    let began = Instant::now();
    let part = curl(&["--fail", "--range", &range, &url]);
    let took = began.elapsed();
    println!("a second of film at six tenths came after {took:?}");
    let mut right = vec![0; FILM_RATE as usize];
    let original = fs::File::open(&film.path).unwrap();
    original.read_exact_at(&mut right, from).unwrap();
    assert!(part.stdout == right, "{} bytes", part.stdout.len());
    assert!(took < JUMP, "{took:?}");

    // Chromium, at nine tenths.
    let report = watches(&s, &url);
    println!("chromium: {report}");
    let sought = Duration::from_secs_f64(report["sought"].as_f64().unwrap() / 1000.0);
    assert!(sought < JUMP, "{sought:?}");
    let going = ids.iter().filter(|&&id| daemon.done(id) < 24 * MIB).count();
    assert_eq!(going, 20, "all others are still under way");
}
