//! Too much, too long, too slow, too many.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::{Answer, Daemon, within};

const MIB: usize = 1 << 20;

#[tokio::test]
async fn a_json_body_over_its_limit_is_refused_declared_or_not() {
    let daemon = Daemon::start(1).await;
    let large = vec![b' '; MIB + 1];
    daemon
        .ask_typed("PATCH /api/v1/settings", "application/json", &large)
        .await
        .refused(413, "too-large");
    let mut fits = vec![b' '; MIB - 2];
    fits.extend_from_slice(b"{}");
    assert_eq!(
        daemon
            .ask_typed("PATCH /api/v1/settings", "application/json", &fits)
            .await
            .status,
        200
    );

    let head = daemon.head(
        "PATCH /api/v1/settings",
        "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n",
    );
    let mut stream = daemon.connect().await;
    stream.write_all(head.as_bytes()).await.unwrap();
    let chunk = [b"10000\r\n".as_slice(), &[b' '; 0x10000], b"\r\n"].concat();
    // A body without end: it is read until the limit, and then a little so that the answer arrives.
    let (mut reader, mut writer) = stream.split();
    let endless = async { while writer.write_all(&chunk).await.is_ok() {} };
    let (answer, ()) = tokio::join!(Answer::read(&mut reader), endless);
    let answer = answer.unwrap();
    answer.refused(413, "too-large");
}

#[tokio::test]
async fn a_torrent_over_its_limit_is_refused_at_once_and_64_mib_is_not() {
    let daemon = Daemon::start(0).await;
    let headers = format!(
        "Content-Type: application/x-bittorrent\r\nContent-Length: {}\r\n\r\n",
        64 * MIB + 1
    );
    let head = daemon.head("POST /api/v1/transfers", &headers);
    daemon.send(head).await.refused(413, "too-large");
    let torrent = vec![b'x'; 64 * MIB];
    let answer = daemon
        .ask_typed(
            "POST /api/v1/transfers",
            "application/x-bittorrent",
            &torrent,
        )
        .await;
    assert_eq!(answer.json()["name"], "a torrent of 67108864 bytes");
}

#[tokio::test]
async fn only_so_many_torrents_are_received_at_once() {
    let daemon = Daemon::start(0).await;
    let head = daemon.head(
        "POST /api/v1/previews",
        "Content-Type: application/x-bittorrent\r\nContent-Length: 4\r\n\r\n",
    );
    let mut slow = Vec::new();
    for _ in 0..2 {
        let mut stream = daemon.connect().await;
        stream.write_all(head.as_bytes()).await.unwrap();
        slow.push(stream);
    }
    let refused = within(async {
        loop {
            let answer = daemon
                .ask_typed("POST /api/v1/previews", "application/x-bittorrent", b"abcd")
                .await;
            if answer.status != 200 {
                return answer;
            }
        }
    })
    .await;
    refused.refused(503, "unavailable");
    assert_eq!(refused.header("retry-after"), "5");
    for mut stream in slow {
        stream.write_all(b"abcd").await.unwrap();
        assert_eq!(Answer::read(&mut stream).await.unwrap().json()["size"], 4);
    }
}

#[tokio::test]
async fn heads_have_a_limit() {
    let daemon = Daemon::start(1).await;
    let long = daemon.head(
        "GET /api/v1/status",
        &format!("X: {}\r\n\r\n", "x".repeat(300_000)),
    );
    assert_eq!(daemon.send(long).await.status, 431);
    let many = daemon.head(
        "GET /api/v1/status",
        &format!("{}\r\n", "X: x\r\n".repeat(200)),
    );
    assert_eq!(daemon.send(many).await.status, 431);
    assert_eq!(daemon.send("nonsense\r\n\r\n").await.status, 400);
}

#[tokio::test(start_paused = true)]
async fn who_is_slow_to_ask_is_hung_up_on() {
    let daemon = Daemon::start(1).await;
    let mut half = daemon.connect().await;
    half.write_all(b"GET / HTTP/1.1\r\nHost:").await.unwrap();
    let mut idle = daemon.connect().await;
    let mut kept = daemon.connect().await;
    kept.write_all(daemon.head("GET /api/v1/status", "\r\n").as_bytes())
        .await
        .unwrap();
    assert_eq!(Answer::read(&mut kept).await.unwrap().status, 200);
    for stream in [&mut half, &mut idle, &mut kept] {
        let mut rest = Vec::new();
        let start = tokio::time::Instant::now();
        let read =
            tokio::time::timeout(Duration::from_secs(40), stream.read_to_end(&mut rest)).await;
        assert!(read.is_ok(), "still open after {:?}", start.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_times_out() {
    let daemon = Daemon::start(1).await;
    let head = daemon.head(
        "PATCH /api/v1/settings",
        "Content-Type: application/json\r\nContent-Length: 5\r\n\r\n{",
    );
    let mut stream = daemon.connect().await;
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut text = Vec::new();
    let _ = stream.read_to_end(&mut text).await;
    let text = String::from_utf8(text).unwrap();
    assert!(text.starts_with("HTTP/1.1 408"), "{text}");
    assert!(text.contains("urn:starling:problem:timeout"), "{text}");
}

#[tokio::test]
async fn connections_beyond_the_limit_are_told_so_and_the_owner_is_let_in() {
    let daemon = Daemon::start(1).await;
    let mut crowd = Vec::new();
    for _ in 0..512 {
        crowd.push(daemon.connect().await);
    }
    let answer = daemon.ask("GET /api/v1/status").await;
    answer.refused(503, "unavailable");
    assert_eq!(answer.header("retry-after"), "5");
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
    assert_eq!(within(daemon.local_client().status()).await.unwrap().pid, 7);
    drop(crowd);
    within(async { while daemon.ask("GET /api/v1/status").await.status != 200 {} }).await;
}

#[tokio::test]
async fn a_stop_takes_no_longer_than_its_grace() {
    let mut daemon = Daemon::start(1).await;
    let mut half = daemon.connect().await;
    half.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    let mut follower = daemon.client().follow(None);
    within(follower.next()).await.unwrap();
    let start = Instant::now();
    daemon.stop();
    within(&mut daemon.serving).await.unwrap();
    assert!(
        start.elapsed() < Duration::from_millis(1500),
        "{:?}",
        start.elapsed()
    );
    assert!(
        tokio::net::TcpStream::connect(daemon.address)
            .await
            .is_err()
    );
}

/// Before anybody is known little is taken.
#[tokio::test]
async fn a_login_is_small() {
    let daemon = Daemon::start(0).await;
    let body = format!(r#"{{"code": "{}"}}"#, "x".repeat(4_096));
    let request = format!(
        "POST /api/v1/sessions HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        daemon.address,
        body.len()
    );
    daemon.send(request).await.refused(413, "too-large");
}
