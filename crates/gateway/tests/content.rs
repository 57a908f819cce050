//! Content as players and browsers ask for it: a file in memory behind real sockets, some of it not there yet.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use api::{Chunks, Content, ContentFile, ContentListing, Kind, MAX_CHUNK, Problem, TransferId};
use bytes::Bytes;
use gateway::content::{MAX_READERS, router, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep, timeout};

const SIZE: u64 = 3 << 20;
const HUGE: u64 = 1 << 40;
const HOST: &str = "alice.localhost";

/// Bytes of the only file.
fn content(range: Range<u64>) -> Bytes {
    range.map(|at| (at ^ at >> 8 ^ at >> 16) as u8).collect()
}

/// A transfer with one file, of which the first `here` bytes are there.
#[derive(Default)]
struct Fake {
    here: AtomicU64,
    came: Notify,
    /// Why no more is coming.
    paused: Option<&'static str>,
    /// Reads that have not ended.
    reading: Arc<AtomicUsize>,
    /// Bytes that were taken out of the store.
    read: Arc<AtomicU64>,
}

impl Fake {
    fn with(here: u64) -> Arc<Fake> {
        let fake = Fake::default();
        fake.here.store(here, Ordering::Relaxed);
        Arc::new(fake)
    }

    fn more(&self, here: u64) {
        self.here.store(here, Ordering::Relaxed);
        self.came.notify_waiters();
    }
}

fn nothing() -> Problem {
    Problem::new(Kind::NotFound, "Nothing.")
}

/// The content that routes are made for.
struct Served(Arc<Fake>);

impl Content for Served {
    async fn listing(&self, host: String, _: usize) -> Result<ContentListing, Problem> {
        let files = vec![("a b/film ü.mkv".to_owned(), SIZE), ("empty".to_owned(), 0)];
        (host == "alice")
            .then_some(ContentListing {
                name: "A & B".to_owned(),
                files,
                total: 2,
            })
            .ok_or_else(nothing)
    }

    async fn find(&self, host: String, path: String) -> Result<ContentFile, Problem> {
        let (index, size) = match (host.as_str(), path.as_str()) {
            ("alice", "a b/film ü.mkv") => (0, SIZE),
            ("alice", "page.html") => (1, SIZE),
            ("alice", "empty") => (2, 0),
            ("alice", "huge") => (3, HUGE),
            _ => return Err(nothing()),
        };
        let tag = format!("tag-{index}");
        Ok(ContentFile {
            transfer: TransferId(1),
            index,
            path,
            size,
            tag,
            since: 1_700_000_000,
        })
    }

    async fn read(&self, _: &ContentFile, range: Range<u64>) -> Result<Chunks, Problem> {
        let (sender, chunks) = Chunks::channel();
        let (fake, reading) = (Arc::clone(&self.0), Arc::clone(&self.0.reading));
        reading.fetch_add(1, Ordering::Relaxed);
        tokio::spawn(async move {
            let mut at = range.start;
            let work = async {
                while at < range.end {
                    let came = fake.came.notified();
                    let end = range
                        .end
                        .min(at + MAX_CHUNK as u64)
                        .min(fake.here.load(Ordering::Relaxed));
                    if end <= at {
                        if let Some(why) = fake.paused {
                            let _ = sender.send(Err(Problem::new(Kind::Unavailable, why))).await;
                            return;
                        }
                        came.await;
                        continue;
                    }
                    fake.read.fetch_add(end - at, Ordering::Relaxed);
                    if sender.send(Ok(content(at..end))).await.is_err() {
                        return;
                    }
                    at = end;
                }
            };
            tokio::select! {
                () = work => {}
                () = sender.closed() => {}
            }
            reading.fetch_sub(1, Ordering::Relaxed);
        });
        Ok(chunks)
    }
}

struct Listening {
    address: SocketAddr,
    fake: Arc<Fake>,
    _stop: oneshot::Sender<()>,
}

impl Listening {
    async fn to(fake: Arc<Fake>) -> Listening {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let app = router(Arc::new(Served(Arc::clone(&fake))));
        tokio::spawn(serve(app, vec![listener], async { drop(stopped.await) }));
        Listening {
            address,
            fake,
            _stop: stop,
        }
    }

    async fn whole() -> Listening {
        Listening::to(Fake::with(SIZE)).await
    }

    async fn begin(&self, line: &str, host: &str, headers: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let head = format!("{line} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        stream
    }

    async fn ask(&self, line: &str, headers: &str) -> Answer {
        let mut stream = self.begin(line, HOST, headers).await;
        let mut answer = Answer::head(&mut stream).await;
        if !line.starts_with("HEAD") {
            answer.body = vec![0; answer.length()];
            stream.read_exact(&mut answer.body).await.unwrap();
        }
        answer
    }
}

const FILM: &str = "GET /a%20b/film%20%C3%BC.mkv";

#[derive(Debug)]
struct Answer {
    status: u16,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl Answer {
    async fn head(stream: &mut TcpStream) -> Answer {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        let head = String::from_utf8(head).unwrap();
        let headers = head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(": "));
        Answer {
            status: head.split(' ').nth(1).unwrap().parse().unwrap(),
            headers: headers
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            body: Vec::new(),
        }
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    fn length(&self) -> usize {
        self.header("content-length").parse().unwrap_or(0)
    }
}

#[tokio::test]
async fn a_file_comes_whole_and_in_parts() {
    let listening = Listening::whole().await;
    let whole = listening.ask(FILM, "").await;
    assert_eq!(
        (whole.status, whole.header("accept-ranges")),
        (200, "bytes")
    );
    assert_eq!(whole.header("content-type"), "video/x-matroska");
    assert_eq!(whole.header("etag"), "\"tag-0\"");
    assert!(
        whole
            .header("content-disposition")
            .ends_with("filename*=UTF-8''film%20%C3%BC.mkv")
    );
    assert!(whole.body == content(0..SIZE), "bytes differ");
    for (range, bytes) in [
        ("0-0", 0..1),
        ("1000000-2000000", 1_000_000..2_000_001),
        ("-5", SIZE - 5..SIZE),
        ("3145727-", SIZE - 1..SIZE),
    ] {
        let part = listening
            .ask(
                FILM,
                &format!("Range: bytes={range}\r\nIf-Range: \"tag-0\"\r\n"),
            )
            .await;
        assert_eq!(part.status, 206);
        let said = format!("bytes {}-{}/{SIZE}", bytes.start, bytes.end - 1);
        assert_eq!(part.header("content-range"), said);
        assert!(part.body == content(bytes), "bytes {range} differ");
    }
    let several = listening.ask(FILM, "Range: bytes=0-1,5-6\r\n").await;
    assert_eq!((several.status, several.body.len() as u64), (200, SIZE));
    let past = listening
        .ask(FILM, &format!("Range: bytes={SIZE}-\r\n"))
        .await;
    assert_eq!(
        (past.status, past.header("content-range")),
        (416, &*format!("bytes */{SIZE}"))
    );
    let had = listening.ask(FILM, "If-None-Match: \"tag-0\"\r\n").await;
    assert_eq!((had.status, had.body.len()), (304, 0));
}

#[tokio::test]
async fn a_head_says_all_and_reads_nothing() {
    let listening = Listening::to(Fake::with(0)).await;
    let head = listening
        .ask("HEAD /a%20b/film%20%C3%BC.mkv", "Range: bytes=0-0\r\n")
        .await;
    assert_eq!((head.status, head.length() as u64), (200, SIZE));
    let empty = listening.ask("GET /empty", "").await;
    assert_eq!((empty.status, empty.header("content-length")), (200, "0"));
    assert_eq!(
        listening
            .ask("GET /empty", "Range: bytes=0-\r\n")
            .await
            .status,
        416
    );
    assert_eq!(listening.fake.reading.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn only_the_right_host_path_and_method_lead_anywhere() {
    let listening = Listening::whole().await;
    for host in [
        "bob.localhost",
        "localhost",
        "127.0.0.1:7118",
        "alice.localhost.evil.example",
        "alice",
    ] {
        let mut stream = listening.begin(FILM, host, "").await;
        assert_eq!(Answer::head(&mut stream).await.status, 404, "{host}");
    }
    for path in [
        "/nothing",
        "/a%20b/../empty",
        "/a%20b",
        "/%ff",
        "//empty",
        "/empty/",
    ] {
        assert_eq!(
            listening.ask(&format!("GET {path}"), "").await.status,
            404,
            "{path}"
        );
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"] {
        let refused = listening
            .ask(
                &format!("{method} /empty"),
                "Origin: http://evil.example\r\n",
            )
            .await;
        assert_eq!(
            (refused.status, refused.header("allow")),
            (405, "GET, HEAD"),
            "{method}"
        );
        assert!(
            !refused
                .headers
                .keys()
                .any(|name| name.starts_with("access-control"))
        );
    }
}

#[tokio::test]
async fn what_is_no_player_is_sandboxed_and_the_listing_is_inert() {
    let listening = Listening::whole().await;
    let page = listening
        .ask("GET /page.html?download", "Range: bytes=0-9\r\n")
        .await;
    assert!(
        page.header("content-security-policy")
            .starts_with("sandbox; ")
    );
    assert_eq!(
        page.header("content-disposition"),
        "attachment; filename=\"page.html\""
    );
    let listing = listening.ask("GET /", "").await;
    assert_eq!(
        (listing.status, listing.header("content-type")),
        (200, "text/html; charset=utf-8")
    );
    assert!(
        listing
            .header("content-security-policy")
            .starts_with("sandbox")
    );
    let text = String::from_utf8(listing.body).unwrap();
    assert!(
        text.contains("<a href=\"/a%20b/film%20%C3%BC.mkv\">") && text.contains("A &amp; B"),
        "{text}"
    );
    for answer in [
        listening.ask("GET /", "").await,
        listening.ask("GET /x", "").await,
        page,
    ] {
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("referrer-policy"), "no-referrer");
        assert!(!answer.headers.contains_key("set-cookie"));
    }
}

#[tokio::test]
async fn bytes_that_are_not_there_yet_follow_when_they_come() {
    let listening = Listening::to(Fake::with(1000)).await;
    let mut stream = listening.begin(FILM, HOST, "").await;
    assert_eq!(Answer::head(&mut stream).await.length() as u64, SIZE);
    let mut bytes = vec![0; 1000];
    stream.read_exact(&mut bytes).await.unwrap();
    let early = timeout(Duration::from_millis(200), stream.read_u8()).await;
    assert!(early.is_err(), "it is not there yet");
    listening.fake.more(SIZE);
    bytes.resize(SIZE as usize, 0);
    stream.read_exact(&mut bytes[1000..]).await.unwrap();
    assert!(bytes == content(0..SIZE), "bytes differ");
}

#[tokio::test]
async fn who_is_paused_says_so_and_gives_what_it_has() {
    let fake = Fake {
        paused: Some("It is paused."),
        here: AtomicU64::new(1000),
        ..Fake::default()
    };
    let listening = Listening::to(Arc::new(fake)).await;
    let late = listening.ask(FILM, "Range: bytes=1000-\r\n").await;
    assert_eq!((late.status, late.header("retry-after")), (503, "5"));
    assert_eq!(late.body, b"It is paused.\n");
    assert_eq!(
        listening.ask(FILM, "Range: bytes=0-999\r\n").await.status,
        206
    );
    // It begins, and then cannot go on: the connection ends before its time.
    let mut stream = listening.begin(FILM, HOST, "").await;
    assert_eq!(Answer::head(&mut stream).await.status, 200);
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    assert!(bytes == content(0..1000), "{} bytes", bytes.len());
}

#[tokio::test(start_paused = true)]
async fn a_reader_waits_a_minute_and_learns_the_size_meanwhile() {
    let listening = Listening::to(Fake::with(0)).await;
    let mut stream = listening.begin(FILM, HOST, "").await;
    let start = Instant::now();
    assert_eq!(Answer::head(&mut stream).await.status, 200);
    assert!(
        start.elapsed() < Duration::from_secs(4),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(stream.read(&mut [0]).await.unwrap_or(0), 0);
    assert!(
        start.elapsed() >= Duration::from_secs(60),
        "{:?}",
        start.elapsed()
    );
    sleep(Duration::from_millis(1)).await;
    assert_eq!(listening.fake.reading.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn who_does_not_read_holds_little_and_not_for_long() {
    let listening = Listening::to(Fake::with(HUGE)).await;
    let mut stream = listening.begin("GET /huge", HOST, "").await;
    Answer::head(&mut stream).await;
    let start = Instant::now();
    while listening.fake.reading.load(Ordering::Relaxed) > 0 {
        sleep(Duration::from_secs(1)).await;
        assert!(
            start.elapsed() < Duration::from_secs(90),
            "it is still there"
        );
    }
    assert!(
        start.elapsed() >= Duration::from_secs(55),
        "{:?}",
        start.elapsed()
    );
    // Most of it is in buffers of the system.
    let read = listening.fake.read.load(Ordering::Relaxed);
    assert!(read < 16 << 20, "{read} bytes");
}

#[tokio::test]
async fn who_goes_away_stops_reading() {
    let listening = Listening::to(Fake::with(1000)).await;
    let mut stream = listening.begin(FILM, HOST, "").await;
    Answer::head(&mut stream).await;
    assert_eq!(listening.fake.reading.load(Ordering::Relaxed), 1);
    drop(stream);
    let gone = async {
        while listening.fake.reading.load(Ordering::Relaxed) > 0 {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(10), gone)
        .await
        .expect("it stops while it waits for bytes");
}

#[tokio::test]
async fn only_so_many_read_at_once() {
    let listening = Listening::to(Fake::with(1000)).await;
    let mut readers = Vec::new();
    for _ in 0..MAX_READERS {
        let mut stream = listening.begin(FILM, HOST, "").await;
        assert_eq!(Answer::head(&mut stream).await.status, 200);
        readers.push(stream);
    }
    let refused = listening.ask(FILM, "").await;
    assert_eq!((refused.status, refused.header("retry-after")), (503, "5"));
    assert_eq!(listening.ask("HEAD /empty", "").await.status, 200);
    readers.pop();
    let free = async {
        loop {
            let mut stream = listening.begin(FILM, HOST, "").await;
            if Answer::head(&mut stream).await.status == 200 {
                return;
            }
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(10), free)
        .await
        .expect("one place is free again");
}
