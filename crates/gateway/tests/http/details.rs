//! Following one transfer.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use api::client::{ClientError, Follower};
use api::{Kind, TransferId, View, ViewEvent, ViewPart, ViewParts, ViewQuery};
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::time::sleep;

use crate::events::{Stream, now};
use crate::fake::peer;
use crate::harness::{Daemon, within};

/// Those of the fake that download and that are paused.
const RUNS: TransferId = TransferId(2);
const RESTS: TransferId = TransferId(6);

async fn open(daemon: &Daemon, id: TransferId, query: &str) -> Stream {
    Stream::open_at(daemon, &format!("/api/v1/transfers/{id}/events{query}"), "").await
}

#[tokio::test]
async fn each_part_comes_whole_and_then_as_what_differs() {
    let daemon = Daemon::start(8).await;
    let mut stream = open(&daemon, RUNS, "?offset=248").await;
    let mut wholes = Vec::new();
    for _ in 0..4 {
        wholes.push(stream.next().await);
    }
    let names: Vec<&str> = wholes.iter().map(|whole| &*whole.name).collect();
    assert_eq!(names, ["transfer", "files", "peers", "trackers"]);
    assert_eq!(wholes[0].data["id"], 2);
    assert_eq!(wholes[1].data["total"], 250);
    assert_eq!(wholes[1].data["items"].as_array().unwrap().len(), 2);
    assert_eq!(wholes[2].data[0]["address"], "192.0.2.1:6881");
    let ids: Vec<_> = wholes.iter().map(|whole| whole.id.clone()).collect();
    assert_eq!(ids, [None, None, None, Some(now(&daemon).to_string())]);

    *daemon.fake.peers.lock().unwrap() = vec![peer("[2001:db8::1]:7")];
    daemon.ask("POST /api/v1/transfers/2/pause").await;
    let changed = stream.next().await;
    assert_eq!(changed.name, "transfer-changed");
    assert_eq!(changed.data, json!([{"id": 2, "state": "paused"}]));
    let removed = stream.next().await;
    assert_eq!(removed.name, "peers-removed");
    assert_eq!(removed.data, json!(["192.0.2.1:6881"]));
    let added = stream.next().await;
    assert_eq!(
        (added.name.as_str(), &added.data[0]["address"]),
        ("peers-added", &json!("[2001:db8::1]:7"))
    );
    assert_eq!(added.id, Some(now(&daemon).to_string()));

    daemon.ask("DELETE /api/v1/transfers/2?files=keep").await;
    let removed = stream.next().await;
    assert_eq!(
        (removed.name.as_str(), removed.data),
        ("removed", json!([2]))
    );
    stream.ends().await;
}

#[tokio::test]
async fn what_no_row_shows_is_told_too() {
    let daemon = Daemon::start(8).await;
    let mut peers = open(&daemon, RUNS, "?parts=peers").await;
    assert_eq!(peers.next().await.name, "peers");
    daemon.fake.peers.lock().unwrap()[0].peer_choking = false;
    let changed = peers.next().await;
    assert_eq!(changed.name, "peers-changed");
    assert_eq!(
        changed.data,
        json!([{"address": "192.0.2.1:6881", "peer_choking": false}])
    );

    let mut files = open(&daemon, RESTS, "?parts=files&limit=1").await;
    assert_eq!(files.next().await.name, "files");
    daemon.fake.priority.store(7, Relaxed);
    daemon.fake.live.stir();
    let changed = files.next().await;
    assert_eq!(changed.name, "files-changed");
    assert_eq!(changed.data, json!([{"index": 0, "priority": 7}]));
}

#[tokio::test(start_paused = true)]
async fn a_transfer_at_rest_is_not_looked_at() {
    let daemon = Daemon::start(8).await;
    let mut stream = open(&daemon, RESTS, "").await;
    while stream.next().await.name != "trackers" {}
    for done in 0..600 {
        // Others go on.
        let edit = |row: &mut api::Transfer| row.done = done;
        daemon.fake.live.update(|table| table.edit(RUNS, edit));
        sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(daemon.fake.peer_looks.load(Relaxed), 1);
    assert_eq!(daemon.fake.file_looks.load(Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn one_that_changes_all_the_time_is_looked_at_once_a_second() {
    let daemon = Daemon::start(8).await;
    let mut stream = open(&daemon, RUNS, "").await;
    while stream.next().await.name != "trackers" {}
    for rate in 0..400 {
        let edit = |row: &mut api::Transfer| row.rate_up = rate;
        daemon.fake.live.update(|table| table.edit(RUNS, edit));
        sleep(Duration::from_millis(250)).await;
    }
    let looks = daemon.fake.peer_looks.load(Relaxed);
    assert!((80..=102).contains(&looks), "{looks}");
    // What its files are does not depend on its rate.
    assert_eq!(daemon.fake.file_looks.load(Relaxed), 1);
}

#[tokio::test]
async fn who_comes_back_is_sent_everything_whatever_it_has_seen() {
    let daemon = Daemon::start(8).await;
    let path = "/api/v1/transfers/2/events?parts=trackers,transfer";
    let header = format!("Last-Event-ID: {}\r\n", now(&daemon));
    let mut stream = Stream::open_at(&daemon, path, &header).await;
    assert_eq!(stream.next().await.name, "transfer");
    assert_eq!(stream.next().await.name, "trackers");
}

#[tokio::test]
async fn what_cannot_be_followed_is_refused() {
    let daemon = Daemon::with(8, |config| config.followers = 1).await;
    let ask = async |what: &str| daemon.ask(&format!("GET /api/v1/transfers/{what}")).await;
    ask("9/events").await.refused(404, "not-found");
    let detail = ask("2/events?parts=pears").await.refused(400, "malformed");
    assert!(detail.contains("pears"), "{detail}");
    ask("2/events?part=peers").await.refused(400, "malformed");
    ask("2/events?limit=0").await.refused(422, "invalid");
    let head = daemon.head("GET /api/v1/transfers/2/events", "Last-Event-ID: x\r\n\r\n");
    daemon.send(head).await.refused(400, "malformed");
    let _first = open(&daemon, RUNS, "").await;
    ask("2/events").await.refused(503, "unavailable");
    daemon
        .ask("GET /api/v1/events")
        .await
        .refused(503, "unavailable");
}

#[tokio::test]
async fn the_daemons_end_is_the_streams_end() {
    let daemon = Daemon::start(8).await;
    let mut stream = open(&daemon, RESTS, "?parts=transfer").await;
    stream.next().await;
    daemon.fake.live.close();
    stream.ends().await;
}

async fn hear(follower: &mut Follower<ViewEvent>, view: &mut View) -> Result<(), ClientError> {
    let event = within(follower.next()).await?;
    view.apply(event).unwrap();
    Ok(())
}

#[tokio::test]
async fn a_client_has_what_the_daemon_shows_until_it_is_gone() {
    let daemon = Daemon::start(8).await;
    let client = daemon.client();
    let query = ViewQuery {
        parts: ViewParts::new([ViewPart::Transfer, ViewPart::Peers]),
        ..ViewQuery::default()
    };
    let mut follower = client.follow_one(RUNS, &query);
    let mut view = View::default();
    hear(&mut follower, &mut view).await.unwrap();
    hear(&mut follower, &mut view).await.unwrap();
    assert_eq!(
        view.transfer.as_deref(),
        Some(&client.get(RUNS).await.unwrap())
    );
    assert_eq!(view.peers, Some(client.peers(RUNS).await.unwrap()));
    assert_eq!(view.files, None);
    daemon.fake.peers.lock().unwrap().push(peer("192.0.2.9:9"));
    client.pause(RUNS).await.unwrap();
    hear(&mut follower, &mut view).await.unwrap();
    hear(&mut follower, &mut view).await.unwrap();
    assert_eq!(
        view.transfer.as_deref(),
        Some(&client.get(RUNS).await.unwrap())
    );
    assert_eq!(view.peers, Some(client.peers(RUNS).await.unwrap()));
    client.forget(RUNS).await.unwrap();
    hear(&mut follower, &mut view).await.unwrap();
    assert_eq!(view, View::default());
    match hear(&mut follower, &mut view).await {
        Err(ClientError::Problem(problem)) => assert_eq!(problem.kind, Kind::NotFound),
        other => panic!("{other:?}"),
    }
}

/// A connection that is cut is not the end.
#[tokio::test]
async fn a_client_that_was_cut_off_begins_again() {
    let daemon = Daemon::start(8).await;
    let (relay, cut) = relay(&daemon).await;
    let address = api::client::Address::Tcp(relay, daemon.token.clone());
    let client = api::client::Client::new(address);
    let query = ViewQuery {
        parts: ViewParts::new([ViewPart::Transfer]),
        ..ViewQuery::default()
    };
    let mut follower = client.follow_one(RUNS, &query);
    let first = within(follower.next()).await.unwrap();
    cut.send(()).unwrap();
    assert_eq!(within(follower.next()).await.unwrap(), first);
}

/// A way to the daemon whose first connection can be cut.
async fn relay(daemon: &Daemon) -> (String, tokio::sync::oneshot::Sender<()>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let name = format!("localhost:{}", daemon.address.port());
    let address = listener.local_addr().unwrap().to_string();
    let (cut, cutting) = tokio::sync::oneshot::channel::<()>();
    let (to, own) = (daemon.address, address.clone());
    tokio::spawn(async move {
        let mut cutting = Some(cutting);
        loop {
            let (near, _) = listener.accept().await.unwrap();
            let far = tokio::net::TcpStream::connect(to).await.unwrap();
            let (own, name) = (own.clone(), name.clone());
            let passing = pass(near, far, own, name);
            match cutting.take() {
                Some(cutting) => tokio::select! {
                    () = passing => {}
                    _ = cutting => {}
                },
                None => drop(tokio::spawn(passing)),
            }
        }
    });
    (address, cut)
}

/// Passes on both ways; the host that is named becomes the daemon's.
async fn pass(
    mut near: tokio::net::TcpStream,
    mut far: tokio::net::TcpStream,
    own: String,
    name: String,
) {
    use tokio::io::AsyncReadExt;
    let mut head = vec![0; 4096];
    let read = near.read(&mut head).await.unwrap();
    let head = String::from_utf8_lossy(&head[..read]).replace(&own, &name);
    far.write_all(head.as_bytes()).await.unwrap();
    let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
}
