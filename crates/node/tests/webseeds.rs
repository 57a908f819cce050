//! Nodes that fetch from HTTP servers, good ones and bad ones, on loopback.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use node::{Event, Options, Place, Source, TorrentId};
use torrent::layout::Kind;
use torrent::metainfo::Metainfo;

mod world;

use world::{Peer, content, options};

const LENS: &[usize] = &[3_000_000, 5, 70_000, 0, 1_048_576, 16_384, 999_999];
const LONG: Duration = Duration::from_secs(60);

/// What a server does besides sending what it is asked for.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Habit {
    /// Nothing.
    Good,
    /// It knows no ranges.
    Whole,
    /// It sends wrong bytes of files called so.
    Corrupt(&'static str),
    /// It does not have files called so.
    Lacks(&'static str),
    /// The first answers are "503, try again in a second".
    Busy(u64),
    /// The first answers break off half-way.
    Breaks(u64),
    /// It sends everybody elsewhere.
    Moved(SocketAddr),
    /// Whatever is asked for, it has a page that says that all is well.
    Page,
    /// The same, called the bytes that were asked for.
    PageAsRange,
    /// Behind what it is asked for it sends more, and never stops.
    Endless,
    /// A byte at a time.
    Drips,
}

struct Server {
    addr: SocketAddr,
    /// Requests so far.
    asked: Arc<AtomicU64>,
    paths: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start(root: &Path, habit: Habit) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let (asked, paths) = (Arc::new(AtomicU64::new(0)), Arc::default());
        let server = Server {
            addr,
            asked: asked.clone(),
            paths: Arc::clone(&paths),
        };
        let root = root.to_owned();
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let (root, asked, paths) = (root.clone(), asked.clone(), paths.clone());
                std::thread::spawn(move || serve(stream, &root, habit, &asked, &paths));
            }
        });
        server
    }

    fn url(&self) -> String {
        format!("http://{}/", self.addr)
    }
}

/// Answers the requests of one connection. That it ends is no failure.
fn serve(
    stream: TcpStream,
    root: &Path,
    habit: Habit,
    asked: &AtomicU64,
    paths: &Mutex<Vec<String>>,
) -> Option<()> {
    let mut lines = BufReader::new(stream.try_clone().ok()?).lines();
    let mut stream = stream;
    loop {
        let request = lines.next()?.ok()?;
        let mut range = None;
        loop {
            let line = lines.next()?.ok()?.to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(bytes) = line.strip_prefix("range: bytes=") {
                let (first, last) = bytes.split_once('-')?;
                range = Some((first.parse().ok()?, last.parse::<usize>().ok()?));
            }
        }
        let number = asked.fetch_add(1, Ordering::SeqCst);
        let path = request.split(' ').nth(1)?.replace("%20", " ");
        paths.lock().ok()?.push(path.clone());
        let mut say = |text: &str| stream.write_all(text.as_bytes()).ok();
        let lacks = matches!(habit, Habit::Lacks(name) if path.ends_with(name));
        let data = std::fs::read(root.join(path.trim_start_matches('/'))).ok();
        match habit {
            Habit::Busy(most) if number < most => {
                say("HTTP/1.1 503 Busy\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n")?;
                continue;
            }
            Habit::Moved(to) => {
                let to = format!("http://{to}{}", path.replace(' ', "%20"));
                say(&format!(
                    "HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n"
                ))?;
                continue;
            }
            Habit::Page => {
                let page = "<html><title>Welcome to the hotel</title></html>";
                let head = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length";
                say(&format!("{head}: {}\r\n\r\n{page}", page.len()))?;
                continue;
            }
            _ => {}
        }
        let Some(mut data) = data.filter(|_| !lacks) else {
            say("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")?;
            continue;
        };
        let len = data.len();
        match range.filter(|_| habit != Habit::Whole) {
            Some((first, last)) => {
                data = data.get(first..=last)?.to_vec();
                if habit == Habit::PageAsRange {
                    let page = b"<html>Welcome to the hotel</html>".iter().cycle();
                    data = page.take(data.len()).copied().collect();
                }
                say(&format!(
                    "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {first}-{last}/{len}\r\n"
                ))?;
            }
            None => say("HTTP/1.1 200 OK\r\n")?,
        }
        let promised = if habit == Habit::Endless {
            1 << 40
        } else {
            data.len()
        };
        say(&format!("Content-Length: {promised}\r\n\r\n"))?;
        match habit {
            Habit::Endless => loop {
                stream.write_all(&data).ok()?;
            },
            Habit::Drips => {
                for byte in data {
                    stream.write_all(&[byte]).ok()?;
                    std::thread::sleep(Duration::from_millis(200));
                }
                continue;
            }
            _ => {}
        }
        if matches!(habit, Habit::Corrupt(name) if path.ends_with(name)) {
            data.iter_mut().for_each(|byte| *byte ^= 1);
        }
        if matches!(habit, Habit::Breaks(most) if number < most) {
            data.truncate(data.len() / 2);
            stream.write_all(&data).ok()?;
            return None;
        }
        stream.write_all(&data).ok()?;
    }
}

/// A download into a folder of its own, from these servers, named by the person.
struct Download {
    peer: Peer,
    root: PathBuf,
    notices: Vec<String>,
}

impl Download {
    fn begin(dir: &Path, metainfo: Metainfo, web: Vec<String>, peers: Vec<SocketAddr>) -> Download {
        let peer = Peer::start();
        let to = dir.join("to");
        let options = Options {
            place: Place::Into(to.clone()),
            web_seeds: web,
            ..options(peers)
        };
        let source = Source::Metainfo(Box::new(metainfo));
        peer.node.add(source, options).unwrap();
        Download {
            peer,
            root: to.join("album"),
            notices: Vec::new(),
        }
    }

    fn ends_like(&mut self, original: &Path) {
        self.until(|event| matches!(event, Event::Finished(_)));
        let diff = std::process::Command::new("diff")
            .arg("-r")
            .args([original, &self.root])
            .status();
        assert!(diff.unwrap().success());
    }

    fn until(&mut self, done: impl Fn(&Event) -> bool) {
        let end = Instant::now() + LONG;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let event = self.peer.events.recv_timeout(left);
            let event = event.unwrap_or_else(|_| {
                let status = self.peer.node.status(TorrentId(1));
                panic!("not in time: {:?} {status:?}", self.notices)
            });
            if let Event::Notice(_, text) = &event {
                self.notices.push(text.clone());
            }
            if done(&event) {
                return;
            }
        }
    }
}

#[test]
fn a_server_alone_is_enough_for_all_three_kinds() {
    for kind in [Kind::V1, Kind::Hybrid, Kind::V2] {
        let dir = tempfile::tempdir().unwrap();
        let (root, metainfo) = content(dir.path(), LENS, kind);
        let server = Server::start(dir.path(), Habit::Good);
        let web = vec![server.url()];
        Download::begin(dir.path(), metainfo, web, Vec::new()).ends_like(&root);
        let paths = server.paths.lock().unwrap();
        assert!(paths.iter().all(|path| !path.contains("pad")), "{paths:?}");
        assert!(
            !paths.iter().any(|path| path.ends_with("3.bin")),
            "it is empty"
        );
        assert!(paths.len() < 30, "{} requests", paths.len());
    }
}

#[test]
fn a_server_and_a_peer_make_one_download() {
    let dir = tempfile::tempdir().unwrap();
    let (root, metainfo) = content(dir.path(), &[9_000_000, 9_000_000], Kind::V1);
    let server = Server::start(dir.path(), Habit::Good);
    let seed = Peer::start();
    seed.seed(&metainfo, &root);
    let web = vec![server.url()];
    Download::begin(dir.path(), metainfo, web, vec![seed.addr()]).ends_like(&root);
    assert!(server.asked.load(Ordering::SeqCst) > 0);
}

#[test]
fn a_server_that_sends_whole_files_serves_small_ones() {
    let dir = tempfile::tempdir().unwrap();
    let (root, metainfo) = content(dir.path(), LENS, Kind::V1);
    let server = Server::start(dir.path(), Habit::Whole);
    let web = vec![server.url()];
    Download::begin(dir.path(), metainfo, web, Vec::new()).ends_like(&root);
}

#[test]
fn a_server_that_sends_whole_large_files_is_dropped_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let (root, metainfo) = content(dir.path(), &[9_000_000], Kind::V1);
    let server = Server::start(dir.path(), Habit::Whole);
    let seed = Peer::start();
    let web = vec![server.url()];
    let mut download = Download::begin(dir.path(), metainfo.clone(), web, vec![seed.addr()]);
    download.until(|event| matches!(event, Event::Notice(..)));
    assert!(
        download.notices[0].contains("whole files"),
        "{:?}",
        download.notices
    );
    seed.seed(&metainfo, &root);
    download.ends_like(&root);
}

#[test]
fn a_corrupt_file_is_found_and_fetched_from_the_peer() {
    for kind in [Kind::V1, Kind::V2] {
        let dir = tempfile::tempdir().unwrap();
        let (root, metainfo) = content(dir.path(), LENS, kind);
        let server = Server::start(dir.path(), Habit::Corrupt("4.bin"));
        let web = vec![server.url()];
        let seed = Peer::start();
        let mut download = Download::begin(dir.path(), metainfo.clone(), web, vec![seed.addr()]);
        download.until(|event| matches!(event, Event::Notice(..)));
        let notice = &download.notices[0];
        assert!(notice.contains("not what the torrent says"), "{notice}");
        seed.seed(&metainfo, &root);
        download.ends_like(&root);
    }
}

#[test]
fn a_missing_file_comes_from_the_peer_and_the_rest_from_the_server() {
    let dir = tempfile::tempdir().unwrap();
    let (root, metainfo) = content(dir.path(), LENS, Kind::V2);
    let server = Server::start(dir.path(), Habit::Lacks("5.bin"));
    let web = vec![server.url()];
    let seed = Peer::start();
    let mut download = Download::begin(dir.path(), metainfo.clone(), web, vec![seed.addr()]);
    let end = Instant::now() + LONG;
    let done = |download: &Download| {
        let status = download.peer.node.status(TorrentId(1)).unwrap().swarm;
        status.wanted - status.done
    };
    while done(&download) != 16_384 {
        assert!(
            Instant::now() < end,
            "{} bytes are missing",
            done(&download)
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    seed.seed(&metainfo, &root);
    download.ends_like(&root);
    assert_eq!(download.notices, [""; 0]);
}

#[test]
fn a_busy_server_is_asked_again_and_so_is_one_that_breaks_off() {
    for habit in [Habit::Busy(2), Habit::Breaks(1)] {
        let dir = tempfile::tempdir().unwrap();
        let (root, metainfo) = content(dir.path(), LENS, Kind::V1);
        let server = Server::start(dir.path(), habit);
        let web = vec![server.url()];
        Download::begin(dir.path(), metainfo, web, Vec::new()).ends_like(&root);
    }
}

#[test]
fn a_server_that_has_something_else_is_dropped_with_the_reason_and_the_peer_gives_all() {
    for (habit, why) in [
        (Habit::Page, "where the torrent has"),
        (Habit::PageAsRange, "not what the torrent says"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let (root, metainfo) = content(dir.path(), &[3_000_000], Kind::Hybrid);
        let server = Server::start(dir.path(), habit);
        let seed = Peer::start();
        let (web, peers) = (vec![server.url()], vec![seed.addr()]);
        let mut download = Download::begin(dir.path(), metainfo.clone(), web, peers);
        download.until(|event| matches!(event, Event::Notice(..)));
        assert!(download.notices[0].contains(why), "{:?}", download.notices);
        seed.seed(&metainfo, &root);
        download.ends_like(&root);
    }
}

#[test]
fn a_server_that_never_ends_is_dropped_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let (root, metainfo) = content(dir.path(), &[9_000_000], Kind::V1);
    let server = Server::start(dir.path(), Habit::Endless);
    let seed = Peer::start();
    let (web, peers) = (vec![server.url()], vec![seed.addr()]);
    let mut download = Download::begin(dir.path(), metainfo.clone(), web, peers);
    download.until(|event| matches!(event, Event::Notice(..)));
    let notice = &download.notices[0];
    assert!(
        notice.contains("sends more than it is asked for"),
        "{notice}"
    );
    seed.seed(&metainfo, &root);
    download.ends_like(&root);
}

#[test]
fn a_server_that_drips_holds_up_nobody_and_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (root, metainfo) = content(dir.path(), &[9_000_000], Kind::V1);
    let server = Server::start(dir.path(), Habit::Drips);
    let seed = Peer::start();
    let (web, peers) = (vec![server.url()], vec![seed.addr()]);
    let mut download = Download::begin(dir.path(), metainfo.clone(), web, peers);
    // It is given up for its slowness, and given another chance.
    let end = Instant::now() + LONG;
    while server.asked.load(Ordering::SeqCst) < 2 {
        assert!(Instant::now() < end, "it is still waited for");
        std::thread::sleep(Duration::from_millis(100));
    }
    seed.seed(&metainfo, &root);
    download.ends_like(&root);
}

#[test]
fn a_server_that_moved_is_found_and_remembered() {
    let dir = tempfile::tempdir().unwrap();
    let (root, metainfo) = content(dir.path(), &[9_000_000], Kind::V1);
    let server = Server::start(dir.path(), Habit::Good);
    let front = Server::start(dir.path(), Habit::Moved(server.addr));
    let web = vec![front.url()];
    Download::begin(dir.path(), metainfo, web, Vec::new()).ends_like(&root);
    let (asked, sent_on) = (&server.asked, &front.asked);
    assert!(sent_on.load(Ordering::SeqCst) < asked.load(Ordering::SeqCst));
}

#[test]
fn a_torrent_may_not_send_us_to_this_computer() {
    let dir = tempfile::tempdir().unwrap();
    let (_, mut metainfo) = content(dir.path(), LENS, Kind::V1);
    let server = Server::start(dir.path(), Habit::Good);
    metainfo.web_seeds = vec![server.url(), "ftp://mirror.invalid/pub/".to_owned()];
    let mut download = Download::begin(dir.path(), metainfo, Vec::new(), Vec::new());
    download.until(|event| matches!(event, Event::Notice(..)));
    assert!(
        download.notices[0].contains("inside the local network"),
        "{:?}",
        download.notices
    );
    assert_eq!(server.asked.load(Ordering::SeqCst), 0);
}
