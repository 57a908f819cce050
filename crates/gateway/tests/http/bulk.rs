//! One thing said to many transfers, and peers named for one.

use api::{
    Bulk, Deleted, Filter, Kind, MorePeers, Move, State, TransferId, TransferPatch, Verb,
    WebSeedChange, Which,
};
use serde_json::json;

use crate::harness::Daemon;

async fn states(daemon: &Daemon) -> Vec<State> {
    let live = &daemon.fake.live;
    live.read(|table| table.rows().map(|row| row.transfer.state).collect())
}

#[tokio::test]
async fn each_is_told_and_answers_for_itself() {
    let daemon = Daemon::start(3).await;
    let body = json!({"transfers": {"ids": [3, 99, 1, 3]}, "verb": "pause"});
    let answer = daemon
        .ask_json("POST /api/v1/bulk", &body.to_string())
        .await;
    assert_eq!(answer.status, 200);
    let results = answer.json()["results"].clone();
    assert_eq!(results[0], json!({"id": 1}));
    assert_eq!(results[1], json!({"id": 3}));
    assert_eq!(results[2]["id"], 99);
    assert_eq!(results[2]["problem"]["kind"], "not-found");
    let states = states(&daemon).await;
    assert_eq!((states[0], states[2]), (State::Paused, State::Paused));
    assert_ne!(states[1], State::Paused);
}

#[tokio::test]
async fn a_filter_names_those_there_are() {
    let daemon = Daemon::start(700).await;
    let client = daemon.client();
    let ask = async |filter, verb| {
        let transfers = Which::Filter(filter);
        client
            .bulk(&Bulk { transfers, verb })
            .await
            .unwrap()
            .results
    };
    let paused = Filter {
        state: Some(State::Paused),
        ..Filter::default()
    };
    let resumed = ask(paused.clone(), Verb::Resume).await;
    assert_eq!(resumed.len(), 87);
    assert!(resumed.iter().all(|result| result.problem.is_none()));
    assert_eq!(ask(paused, Verb::Resume).await, []);
    let alpine = Filter {
        text: Some("ALPINE".into()),
        ..Filter::default()
    };
    let patch = TransferPatch {
        tags: Some(vec!["small".into()]),
        ..TransferPatch::default()
    };
    assert_eq!(ask(alpine.clone(), Verb::Update(patch)).await.len(), 234);
    let row = client.get(TransferId(1)).await.unwrap();
    assert_eq!(row.tags, ["small"]);
    let full = Verb::Move(Move {
        folder: "/full".into(),
    });
    let moved = ask(alpine.clone(), full).await;
    let kind = |result: &api::BulkResult| result.problem.as_ref().map(|problem| problem.kind);
    assert!(
        moved
            .iter()
            .all(|result| kind(result) == Some(Kind::NoSpace))
    );
    let deleted = ask(alpine.clone(), Verb::Delete).await;
    assert!(deleted.iter().all(|r| r.files == Some(Deleted::Trashed)));
    assert_eq!(ask(alpine, Verb::Forget).await, []);
    assert_eq!(ask(Filter::default(), Verb::Forget).await.len(), 700 - 234);
}

#[tokio::test]
async fn what_is_not_said_in_one_way_is_refused_and_nothing_is_done() {
    let daemon = Daemon::start(3).await;
    let before = states(&daemon).await;
    for body in [
        json!({"transfers": {"ids": [1]}}),
        json!({"transfers": {"ids": [1], "filter": {}}, "verb": "pause"}),
        json!({"transfers": {"filter": {"lable": "x"}}, "verb": "delete"}),
        json!({"transfers": {"ids": [1]}, "verb": {"pause": null}}),
        json!({"transfers": {"ids": [1]}, "verb": {"update": {"name": "x"}}}),
        json!({"transfers": {"ids": [1]}, "verb": {"move": {"folder": "here"}}}),
        json!({"transfers": {"ids": vec![1; 10_001]}, "verb": "pause"}),
    ] {
        let answer = daemon
            .ask_json("POST /api/v1/bulk", &body.to_string())
            .await;
        answer.refused(422, "invalid");
    }
    assert_eq!(states(&daemon).await, before);
}

#[tokio::test]
async fn web_seeds_are_named_and_taken_away() {
    let daemon = Daemon::start(1).await;
    let id = TransferId(1);
    let change = |add: &[&str], remove: &[&str]| WebSeedChange {
        add: add.iter().map(|url| (*url).to_owned()).collect(),
        remove: remove.iter().map(|url| (*url).to_owned()).collect(),
    };
    let (one, two) = ("http://one.example/pub/", "https://[2001:db8::1]:8443/x");
    let client = daemon.client();
    let seeds = client.change_web_seeds(id, &change(&[one, two], &[])).await;
    assert_eq!(seeds.unwrap().len(), 2);
    let seeds = client
        .change_web_seeds(id, &change(&[], &[one, "other"]))
        .await;
    assert_eq!(seeds.unwrap()[0].url, two);
    assert_eq!(client.web_seeds(id).await.unwrap().len(), 1);
    for wrong in ["ftp://one.example/", "http://", "one.example", "http://a b"] {
        let body = format!(r#"{{"add": ["{wrong}"]}}"#);
        let path = "POST /api/v1/transfers/1/web-seeds";
        daemon.ask_json(path, &body).await.refused(422, "invalid");
    }
}

#[tokio::test]
async fn peers_are_named_by_address() {
    let daemon = Daemon::start(1).await;
    let peers = MorePeers {
        peers: vec!["192.0.2.1:6881".into(), "[2001:db8::1]:6881".into()],
    };
    let row = daemon.client().add_peers(TransferId(1), &peers).await;
    assert_eq!(row.unwrap().known, 2);
    let answer = daemon
        .ask_json(
            "POST /api/v1/transfers/1/peers",
            r#"{"peers": ["alice:1"]}"#,
        )
        .await;
    assert!(answer.refused(422, "invalid").contains("alice:1"));
    let answer = daemon
        .ask_json("POST /api/v1/transfers/9/peers", r#"{"peers": []}"#)
        .await;
    answer.refused(404, "not-found");
}
