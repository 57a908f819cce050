//! The client against the API: all that can be asked, over both kinds of socket, and following.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use api::client::{Address, Blocking, Client, ClientError};
use api::{
    Add, AddOptions, Cut, Deleted, Event, FilePriority, Goals, Kind, Label, LabelPatch, Limits,
    Move, Query, Rename, SettingsPatch, Sort, Source, State, Transfer, TransferId, TransferPatch,
};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::harness::{Daemon, within};

async fn asks_everything(client: &Client) {
    assert_eq!(client.status().await.unwrap().pid, 7);
    let page = client
        .list(&Query {
            sort: Sort::Size,
            limit: 3,
            ..Query::default()
        })
        .await
        .unwrap();
    assert_eq!((page.total, page.transfers.len()), (4, 3));
    let one = client.get(TransferId(1)).await.unwrap();
    assert_eq!(one, page.transfers[0]);
    assert_eq!(
        client
            .files(
                one.id,
                Cut {
                    offset: 249,
                    limit: 9
                }
            )
            .await
            .unwrap()
            .items
            .len(),
        1
    );
    assert_eq!(client.peers(one.id).await.unwrap().len(), 1);
    assert_eq!(client.trackers(one.id).await.unwrap().len(), 1);

    let source = Source::Text("magnet:?xt=urn:btih:1".into());
    assert_eq!(client.preview(source.clone()).await.unwrap().size, Some(0));
    let options = AddOptions {
        tags: vec!["ü \"x\"".into()],
        ..AddOptions::default()
    };
    let added = client
        .add(Add {
            source,
            options: options.clone(),
        })
        .await
        .unwrap();
    assert_eq!(added.tags, options.tags);
    let torrent = Source::Torrent(vec![b'-'; 100_000].into());
    assert_eq!(
        client.preview(torrent.clone()).await.unwrap().size,
        Some(100_000)
    );
    let torrent = client
        .add(Add {
            source: torrent,
            options,
        })
        .await
        .unwrap();
    assert_eq!(
        (torrent.name.as_str(), torrent.tags.len()),
        ("a torrent of 100000 bytes", 1)
    );

    let label = Label {
        folder: Some("/f".into()),
        ..Label::new("a/b?c")
    };
    assert_eq!(client.add_label(&label).await.unwrap(), label);
    let patch = LabelPatch {
        max_active: Some(3),
        folder: Some(None),
        ..LabelPatch::default()
    };
    let label = client.update_label("a/b?c", &patch).await.unwrap();
    assert_eq!((label.max_active, &label.folder), (3, &None));
    let patch = TransferPatch {
        label: Some(Some("a/b?c".into())),
        limits: Some(Limits { down: 1, up: 2 }),
        goals: Some(Some(Goals {
            ratio: Some(1.5),
            seeding_seconds: None,
        })),
        priorities: Some(vec![FilePriority {
            file: 0,
            through: Some(9),
            priority: 7,
        }]),
        ..TransferPatch::default()
    };
    let changed = client.update(added.id, &patch).await.unwrap();
    assert_eq!(
        (changed.label.as_deref(), changed.limits.up),
        (Some("a/b?c"), 2)
    );
    assert_eq!(client.labels().await.unwrap(), [label]);
    client.remove_label("a/b?c").await.unwrap();

    assert_eq!(client.pause(added.id).await.unwrap().state, State::Paused);
    assert_eq!(
        client.resume(added.id).await.unwrap().state,
        State::Downloading
    );
    assert_eq!(
        client.recheck(added.id).await.unwrap().state,
        State::Checking
    );
    let to = Move {
        folder: "/srv".into(),
    };
    assert_eq!(
        client.move_data(added.id, &to).await.unwrap().folder,
        "/srv"
    );
    let rename = Rename {
        path: String::new(),
        name: "x".into(),
    };
    assert_eq!(
        client.rename(added.id, &rename).await.unwrap().root,
        "/srv/x"
    );
    client.forget(added.id).await.unwrap();
    assert_eq!(client.delete(torrent.id).await.unwrap(), Deleted::Trashed);
    match client.get(added.id).await {
        Err(ClientError::Problem(problem)) => assert_eq!(problem.kind, Kind::NotFound),
        other => panic!("{other:?}"),
    }

    let patch = SettingsPatch {
        slots: Some(Some(9)),
        ..SettingsPatch::default()
    };
    let settings = client.update_settings(&patch).await.unwrap();
    assert_eq!(
        (settings.slots, &settings),
        (9, &client.settings().await.unwrap())
    );
    let dropped = SettingsPatch {
        slots: Some(None),
        ..SettingsPatch::default()
    };
    let settings = client.update_settings(&dropped).await.unwrap();
    assert_eq!(settings.slots, 0);
    client.reload().await.unwrap();
    client.shutdown().await.unwrap();
    assert!(client.metrics().await.unwrap().contains("starling_peers 0"));
    assert!(client.login_link().await.unwrap().url.contains("/login#"));
}

#[tokio::test]
async fn all_that_can_be_asked_is_asked_over_tcp() {
    let daemon = Daemon::start(4).await;
    within(asks_everything(&daemon.client())).await;
}

#[tokio::test]
async fn all_that_can_be_asked_is_asked_over_the_unix_socket() {
    let daemon = Daemon::start(4).await;
    within(asks_everything(&daemon.local_client())).await;
}

#[tokio::test]
async fn a_wrong_token_and_an_absent_daemon_are_told_apart() {
    let daemon = Daemon::start(1).await;
    let client = Client::new(Address::Tcp(daemon.address.to_string(), "wrong".into()));
    let error = within(client.status()).await.unwrap_err();
    assert!(matches!(&error, ClientError::Problem(problem) if problem.kind == Kind::Unauthorized));
    assert!(within(client.follow(None).next()).await.is_err());
    let client = Client::new(Address::Unix(daemon.socket.with_file_name("other.sock")));
    let error = within(client.status()).await.unwrap_err();
    assert!(matches!(&error, ClientError::Unreachable(..)));
    assert!(error.to_string().contains("starling up"), "{error}");
}

#[tokio::test]
async fn an_idle_connection_that_was_closed_is_made_anew() {
    let daemon = Daemon::start(1).await;
    let client = daemon.client();
    for _ in 0..3 {
        client.status().await.unwrap();
    }
    let metrics = client.metrics().await.unwrap();
    assert!(metrics.contains("{class=\"2xx\"} 3"), "{metrics}");
    tokio::time::pause();
    tokio::time::sleep(Duration::from_secs(60)).await;
    tokio::time::resume();
    within(client.status()).await.unwrap();
}

#[tokio::test]
async fn a_follower_has_what_the_daemon_has() {
    let daemon = Daemon::start(300).await;
    let mut follower = daemon.client().follow(None);
    let mut rows: BTreeMap<TransferId, Transfer> = BTreeMap::new();
    let mut finished = Vec::new();
    let live = daemon.fake.live.clone();
    let mut hear = |event| match event {
        Event::Snapshot(_) => rows.clear(),
        Event::Added(added) => rows.extend(added.into_iter().map(|row| (row.id, row))),
        Event::Changed(changes) => {
            for change in changes {
                let row = rows.get_mut(&change.id).unwrap();
                change.apply(row).unwrap();
            }
        }
        Event::Removed(ids) => rows.retain(|id, _| !ids.contains(id)),
        Event::Finished(id) => finished.push(id),
        Event::Notice(_) | Event::Labels(_) | Event::Settings(_) | Event::Totals(_) => {}
    };
    while follower.seen().is_none() {
        hear(within(follower.next()).await.unwrap());
    }
    live.update(|table| {
        table.edit(TransferId(7), |row| row.finished_at = Some(1));
        table.edit(TransferId(8), |row| row.reason = Some("x".into()));
        table.remove(TransferId(9));
    });
    let last = live.read(api::Table::id);
    while follower.seen() != Some(last) {
        hear(within(follower.next()).await.unwrap());
    }
    let daemons: BTreeMap<_, _> = live.read(|table| {
        table
            .rows()
            .map(|row| (row.transfer.id, row.transfer.clone()))
            .collect()
    });
    assert_eq!((rows, finished), (daemons, vec![TransferId(7)]));
}

/// A road to a daemon, at another port, that can be cut.
async fn road(to: SocketAddr, mut cuts: watch::Receiver<()>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (mut near, _) = listener.accept().await.unwrap();
            let mut far = TcpStream::connect(to).await.unwrap();
            tokio::select! {
                _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                _ = cuts.changed() => {}
            }
        }
    });
    port
}

#[tokio::test]
async fn a_follower_comes_back_and_hears_the_difference() {
    let daemon = Daemon::with(1, |config| config.names.push("localhost".into())).await;
    let (cut, cuts) = watch::channel(());
    let port = road(daemon.address, cuts).await;
    let client = Client::new(Address::Tcp(
        format!("localhost:{port}"),
        daemon.token.clone(),
    ));
    let mut follower = client.follow(None);
    while follower.seen().is_none() {
        within(follower.next()).await.unwrap();
    }
    cut.send_replace(());
    daemon
        .fake
        .live
        .update(|table| table.edit(TransferId(1), |row| row.done = 77));
    match within(follower.next()).await.unwrap() {
        Event::Changed(changes) => assert_eq!(changes[0].fields["done"], 77),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_program_without_a_runtime_asks_too() {
    let (socket, sockets) = std::sync::mpsc::channel();
    let (done, until) = tokio::sync::oneshot::channel::<()>();
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.unwrap().block_on(async {
            let daemon = Daemon::start(1).await;
            socket.send(daemon.socket.clone()).unwrap();
            drop(until.await);
        });
    });
    let blocking = Blocking::new(Address::Unix(sockets.recv().unwrap())).unwrap();
    assert_eq!(blocking.wait(blocking.client().status()).unwrap().pid, 7);
    let mut follower = blocking.client().follow(None);
    let event = blocking.wait(follower.next()).unwrap();
    assert!(matches!(event, Event::Snapshot(_)));
    drop(done);
    thread.join().unwrap();
}
