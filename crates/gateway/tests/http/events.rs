//! Following what changes.

use std::time::Duration;

use api::{EventId, Table, TransferId};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::harness::{Daemon, within};

/// An event stream read by hand.
pub struct Stream {
    lines: BufReader<TcpStream>,
}

/// What is between two empty lines; the chunk lengths of HTTP are passed over.
#[derive(Debug)]
pub struct Message {
    pub id: Option<String>,
    pub name: String,
    pub data: Value,
}

impl Stream {
    async fn open(daemon: &Daemon, query: &str, headers: &str) -> Stream {
        Stream::open_at(daemon, &format!("/api/v1/events{query}"), headers).await
    }

    pub async fn open_at(daemon: &Daemon, path: &str, headers: &str) -> Stream {
        let mut stream = daemon.connect().await;
        let head = daemon.head(&format!("GET {path}"), &format!("{headers}\r\n"));
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut lines = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            within(lines.read_line(&mut head)).await.unwrap();
        }
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        assert!(head.contains("content-type: text/event-stream"), "{head}");
        Stream { lines }
    }

    /// It must come to its end, which is a chunk of no length, without another message.
    pub async fn ends(mut self) {
        loop {
            let line = self.line().await;
            assert!(!line.starts_with("event:"), "{line}");
            if line == "0" {
                return;
            }
        }
    }

    /// The next line that is of the stream.
    async fn line(&mut self) -> String {
        let mut line = String::new();
        within(self.lines.read_line(&mut line)).await.unwrap();
        line.trim_end().to_owned()
    }

    pub async fn next(&mut self) -> Message {
        let mut message = Message {
            id: None,
            name: String::new(),
            data: Value::Null,
        };
        loop {
            let line = self.line().await;
            if let Some(id) = line.strip_prefix("id: ") {
                message.id = Some(id.to_owned());
            } else if let Some(name) = line.strip_prefix("event: ") {
                message.name = name.to_owned();
            } else if let Some(data) = line.strip_prefix("data: ") {
                message.data = serde_json::from_str(data).unwrap();
                return message;
            }
        }
    }
}

pub fn now(daemon: &Daemon) -> EventId {
    daemon.fake.live.read(Table::id)
}

#[tokio::test]
async fn a_new_client_hears_everything_and_then_what_differs() {
    let daemon = Daemon::start(2).await;
    let mut stream = Stream::open(&daemon, "", "").await;
    stream.line().await; // the length of the first chunk
    assert_eq!(stream.line().await, "retry: 2000");
    let snapshot = stream.next().await;
    assert_eq!(
        (snapshot.name.as_str(), &snapshot.data["transfers"]),
        ("snapshot", &json!(2))
    );
    assert_eq!(snapshot.id, None);
    let added = stream.next().await;
    assert_eq!(
        (added.name.as_str(), &added.data[1]["id"]),
        ("added", &json!(2))
    );
    assert_eq!(added.id, Some(now(&daemon).to_string()));
    daemon.ask("POST /api/v1/transfers/2/pause").await;
    let changed = stream.next().await;
    assert_eq!(changed.name, "changed");
    assert_eq!(changed.data, json!([{"id": 2, "state": "paused"}]));
    daemon.ask("DELETE /api/v1/transfers/1?files=keep").await;
    let removed = stream.next().await;
    assert_eq!(
        (removed.name.as_str(), removed.data),
        ("removed", json!([1]))
    );
    assert_eq!(removed.id, Some(now(&daemon).to_string()));
}

#[tokio::test]
async fn who_comes_back_hears_what_differs_merged() {
    let daemon = Daemon::start(3).await;
    let page = daemon.ask("GET /api/v1/transfers").await.json();
    let since = page["as_of"].as_str().unwrap();
    for done in 1..=5 {
        daemon
            .fake
            .live
            .update(|table| table.edit(TransferId(3), |row| row.done = done));
    }
    for (query, headers) in [
        (format!("?since={since}"), String::new()),
        (String::new(), format!("Last-Event-ID: {since}\r\n")),
        // The header is of a later time than the URL.
        (
            "?since=0000000000000001-0".to_owned(),
            format!("Last-Event-ID: {since}\r\n"),
        ),
    ] {
        let message = Stream::open(&daemon, &query, &headers).await.next().await;
        assert_eq!(message.data, json!([{"id": 3, "done": 5}]));
        assert_eq!(message.id, Some(now(&daemon).to_string()));
    }
    let other = Stream::open(&daemon, "?since=0000000000000001-0", "")
        .await
        .next()
        .await;
    assert_eq!(other.name, "snapshot");
    daemon
        .ask("GET /api/v1/events?since=yesterday")
        .await
        .refused(400, "malformed");
    let head = daemon.head("GET /api/v1/events", "Last-Event-ID: x\r\n\r\n");
    daemon.send(head).await.refused(400, "malformed");
}

#[tokio::test]
async fn a_silent_stream_has_a_heartbeat() {
    let daemon = Daemon::with(0, |config| config.heartbeat = Duration::from_millis(20)).await;
    let mut stream = Stream::open(&daemon, "", "").await;
    stream.next().await;
    for _ in 0..3 {
        while stream.line().await != ":" {}
    }
}

#[tokio::test]
async fn followers_beyond_the_limit_are_refused_until_one_leaves() {
    let daemon = Daemon::with(1, |config| config.followers = 2).await;
    let first = Stream::open(&daemon, "", "").await;
    let _second = Stream::open(&daemon, "", "").await;
    let refused = daemon.ask("GET /api/v1/events").await;
    refused.refused(503, "unavailable");
    assert_eq!(refused.header("retry-after"), "5");
    let metrics = String::from_utf8(daemon.ask("GET /metrics").await.body).unwrap();
    assert!(metrics.contains("starling_http_followers 2"), "{metrics}");
    drop(first);
    within(async {
        loop {
            let metrics = String::from_utf8(daemon.ask("GET /metrics").await.body).unwrap();
            if metrics.contains("starling_http_followers 1") {
                return;
            }
        }
    })
    .await;
    Stream::open(&daemon, "", "").await;
}

/// A client that does not read, of a daemon where everything changes all the time: it costs what
/// its socket buffers, and it is given up while the clock of the test runs ahead.
#[tokio::test]
async fn who_does_not_read_is_sent_the_merged_difference_when_it_does() {
    let daemon = Daemon::start(2_000).await;
    let mut stream = Stream::open(&daemon, "", "").await;
    for done in 1..=200 {
        daemon.fake.live.update(|table| {
            for id in 1..=2_000 {
                table.edit(TransferId(id), |row| row.done = done);
            }
        });
        tokio::task::yield_now().await;
    }
    let last = now(&daemon).to_string();
    let mut messages = 0;
    loop {
        let message = stream.next().await;
        messages += 1;
        if message.id.as_ref() == Some(&last) {
            break;
        }
    }
    // 200 times 2,000 rows would be more than 3,000 messages.
    assert!(messages < 2_000, "{messages}");
}

#[tokio::test(start_paused = true)]
async fn who_never_reads_is_dropped() {
    let daemon = Daemon::start(2_000).await;
    let mut stream = Stream::open(&daemon, "", "").await;
    let followers = async || {
        let text = daemon.local_client().metrics().await.unwrap();
        text.contains("starling_http_followers 1")
    };
    assert!(followers().await);
    for done in 1..=400 {
        daemon.fake.live.update(|table| {
            for id in 1..=2_000 {
                table.edit(TransferId(id), |row| {
                    row.name = format!("{done}{}", "x".repeat(200))
                });
            }
        });
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    assert!(!followers().await, "100 seconds on, and never read");
    let mut rest = Vec::new();
    let _ = stream.lines.read_to_end(&mut rest).await;
}
