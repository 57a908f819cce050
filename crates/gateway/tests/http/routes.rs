//! Each route, and each way to ask it wrongly.

use serde_json::json;

use crate::harness::Daemon;

#[tokio::test]
async fn a_list_is_paged_sorted_and_filtered() {
    let daemon = Daemon::start(100).await;
    let page = daemon.ask("GET /api/v1/transfers").await.json();
    assert_eq!(page["total"], 100);
    assert_eq!(page["transfers"].as_array().unwrap().len(), 50);
    let query =
        "GET /api/v1/transfers?state=seeding&sort=size&order=desc&limit=2&offset=1&text=LINUX";
    let page = daemon.ask(query).await.json();
    assert_eq!(page["total"], 13);
    let ids: Vec<_> = page["transfers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| &row["id"])
        .collect();
    assert_eq!(ids, [&json!(91), &json!(83)]);
    assert_eq!(page["as_of"], "000000000000fade-1");
}

#[tokio::test]
async fn wrong_queries_are_refused_by_name() {
    let daemon = Daemon::start(1).await;
    for (query, word) in [("limit=501", "limit is 501"), ("limit=0", "limit is 0")] {
        let detail = daemon
            .ask(&format!("GET /api/v1/transfers?{query}"))
            .await
            .refused(422, "invalid");
        assert!(detail.contains(word), "{detail}");
    }
    for query in [
        "limit=x",
        "limit=-1",
        "state=sleeping",
        "sort=colour",
        "offset=4294967296",
        "page=2",
        "limit=1&limit=2",
    ] {
        daemon
            .ask(&format!("GET /api/v1/transfers?{query}"))
            .await
            .refused(400, "malformed");
    }
}

#[tokio::test]
async fn a_transfer_lives_from_adding_to_forgetting() {
    let daemon = Daemon::start(0).await;
    let added = daemon
        .ask_json(
            "POST /api/v1/transfers",
            r#"{"source": "magnet:?xt=1", "options": {"paused": true, "tags": ["x"]}}"#,
        )
        .await;
    assert_eq!(added.status, 201);
    assert_eq!(added.header("location"), "/api/v1/transfers/1");
    assert_eq!(added.json()["state"], "paused");
    let again = daemon
        .ask_json("POST /api/v1/transfers", r#"{"source": "magnet:?xt=1"}"#)
        .await;
    again.refused(409, "already-present");
    assert_eq!(
        serde_json::from_slice::<serde_json::Value>(&again.body).unwrap()["instance"],
        "/api/v1/transfers/1"
    );

    assert_eq!(
        daemon.ask("POST /api/v1/transfers/1/resume").await.json()["state"],
        "downloading"
    );
    assert_eq!(
        daemon.ask("POST /api/v1/transfers/1/pause").await.json()["state"],
        "paused"
    );
    let checked = daemon.ask("POST /api/v1/transfers/1/recheck").await;
    assert_eq!(
        (checked.status, &checked.json()["state"]),
        (202, &json!("checking"))
    );
    let moved = daemon
        .ask_json("POST /api/v1/transfers/1/move", r#"{"folder": "/srv"}"#)
        .await;
    assert_eq!(
        (moved.status, &moved.json()["folder"]),
        (202, &json!("/srv"))
    );
    daemon
        .ask_json("POST /api/v1/transfers/1/move", r#"{"folder": "/full"}"#)
        .await
        .refused(507, "no-space");
    let renamed = daemon
        .ask_json("POST /api/v1/transfers/1/rename", r#"{"name": "b"}"#)
        .await;
    assert_eq!(renamed.json()["root"], "/srv/b");

    daemon
        .ask_json("POST /api/v1/labels", r#"{"name": "films"}"#)
        .await;
    let patch = r#"{"name": "n", "label": "films", "limits": {"up": 7}, "goals": {"ratio": 2.5}, "sequential": true}"#;
    let row = daemon
        .ask_json("PATCH /api/v1/transfers/1", patch)
        .await
        .json();
    assert_eq!(
        (&row["name"], &row["label"], &row["limits"]),
        (&json!("n"), &json!("films"), &json!({"down": 0, "up": 7}))
    );
    let row = daemon
        .ask_typed(
            "PATCH /api/v1/transfers/1",
            "application/merge-patch+json",
            br#"{"label": null}"#,
        )
        .await
        .json();
    assert_eq!((&row["label"], &row["name"]), (&json!(null), &json!("n")));
    assert_eq!(daemon.ask("GET /api/v1/transfers/1").await.json(), row);

    daemon
        .ask("DELETE /api/v1/transfers/1")
        .await
        .refused(400, "malformed");
    daemon
        .ask("DELETE /api/v1/transfers/1?files=burn")
        .await
        .refused(400, "malformed");
    assert_eq!(
        daemon
            .ask("DELETE /api/v1/transfers/1?files=keep")
            .await
            .json(),
        json!({"files": "kept"})
    );
    daemon
        .ask("DELETE /api/v1/transfers/1?files=delete")
        .await
        .refused(404, "not-found");
}

#[tokio::test]
async fn a_torrent_file_comes_alone_or_in_a_form() {
    let daemon = Daemon::start(0).await;
    let alone = daemon
        .ask_typed(
            "POST /api/v1/transfers",
            "application/x-bittorrent",
            b"d4:infoe",
        )
        .await;
    assert_eq!(alone.json()["name"], "a torrent of 8 bytes");
    let form = b"--x\r\nContent-Disposition: form-data; name=\"options\"\r\n\r\n{\"paused\": true}\r\n\
        --x\r\nContent-Disposition: form-data; name=\"torrent\"; filename=\"a\"\r\n\r\nd4:info2:xxe\r\n--x--\r\n";
    let multipart = "multipart/form-data; boundary=x";
    let added = daemon
        .ask_typed("POST /api/v1/transfers", multipart, form)
        .await
        .json();
    assert_eq!(
        (&added["name"], &added["state"]),
        (&json!("a torrent of 12 bytes"), &json!("paused"))
    );
    let preview = daemon
        .ask_typed("POST /api/v1/previews", multipart, form)
        .await
        .json();
    assert_eq!(preview["size"], 12);

    let wrong =
        |form: &'static str| daemon.ask_typed("POST /api/v1/transfers", multipart, form.as_bytes());
    wrong("--x--\r\n").await.refused(422, "invalid");
    wrong("nothing").await.refused(400, "malformed");
    wrong("--x\r\nContent-Disposition: form-data; name=\"torrent\"\r\n\r\nd")
        .await
        .refused(400, "malformed");
    let part = |name: &str, data: &str| {
        format!("--x\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{data}\r\n")
    };
    for (form, status, kind) in [
        (part("torrent", "d") + &part("torrent", "d"), 422, "invalid"),
        (part("torrent", "d") + &part("file", "d"), 422, "invalid"),
        (
            part("torrent", "d") + &part("options", "{"),
            400,
            "malformed",
        ),
        (
            part("torrent", "d") + &part("options", r#"{"pause": true}"#),
            422,
            "invalid",
        ),
        (part("torrent", ""), 422, "invalid"),
    ] {
        let form = form + "--x--\r\n";
        daemon
            .ask_typed("POST /api/v1/transfers", multipart, form.as_bytes())
            .await
            .refused(status, kind);
    }
    daemon
        .ask_typed("POST /api/v1/transfers", "multipart/form-data", b"")
        .await
        .refused(400, "malformed");
    daemon
        .ask_typed("POST /api/v1/transfers", "application/x-bittorrent", b"")
        .await
        .refused(422, "invalid");
}

#[tokio::test]
async fn details_of_a_transfer_are_listed() {
    let daemon = Daemon::start(1).await;
    let files = daemon
        .ask("GET /api/v1/transfers/1/files?offset=10&limit=3")
        .await
        .json();
    assert_eq!(
        (&files["total"], &files["items"][0]["index"]),
        (&json!(250), &json!(10))
    );
    assert_eq!(files["items"].as_array().unwrap().len(), 3);
    daemon
        .ask("GET /api/v1/transfers/1/files?limit=1001")
        .await
        .refused(422, "invalid");
    assert_eq!(
        daemon.ask("GET /api/v1/transfers/1/peers").await.json()[0]["class"],
        "other"
    );
    assert_eq!(
        daemon.ask("GET /api/v1/transfers/1/trackers").await.json()[0]["state"],
        "working"
    );
    assert_eq!(
        daemon.ask("GET /api/v1/transfers/1/reach").await.json()["reached"],
        3
    );
    for what in [
        "",
        "/files",
        "/peers",
        "/reach",
        "/reusable",
        "/trackers",
        "/web-seeds",
    ] {
        daemon
            .ask(&format!("GET /api/v1/transfers/9{what}"))
            .await
            .refused(404, "not-found");
    }
    for id in ["x", "+1", "-1", "4294967296", "%ff", "1.0"] {
        let answer = daemon.ask(&format!("GET /api/v1/transfers/{id}")).await;
        assert!(matches!(answer.status, 400 | 404), "{id} {}", answer.status);
    }
}

#[tokio::test]
async fn labels_and_settings_are_changed_in_part() {
    let daemon = Daemon::start(0).await;
    let label = r#"{"name": "films & more", "folder": "/films", "goals": {"ratio": 1}}"#;
    assert_eq!(
        daemon.ask_json("POST /api/v1/labels", label).await.status,
        201
    );
    daemon
        .ask_json("POST /api/v1/labels", label)
        .await
        .refused(409, "conflict");
    daemon
        .ask_json("POST /api/v1/labels", r#"{"name": ""}"#)
        .await
        .refused(422, "invalid");
    let changed = daemon
        .ask_json(
            "PATCH /api/v1/labels/films%20%26%20more",
            r#"{"max_active": 2}"#,
        )
        .await
        .json();
    assert_eq!(
        (&changed["folder"], &changed["max_active"]),
        (&json!("/films"), &json!(2))
    );
    assert_eq!(daemon.ask("GET /api/v1/labels").await.json()[0], changed);
    assert_eq!(
        daemon
            .ask("DELETE /api/v1/labels/films%20%26%20more")
            .await
            .status,
        204
    );
    daemon
        .ask("DELETE /api/v1/labels/films")
        .await
        .refused(404, "not-found");

    let patch =
        r#"{"schedule": [{"days": ["mon"], "from": "22:00", "to": "06:00", "pause": true}]}"#;
    let settings = daemon
        .ask_json("PATCH /api/v1/settings", patch)
        .await
        .json();
    assert_eq!(settings["schedule"][0]["from"], "22:00");
    assert_eq!(settings["queue"]["downloads"], 5);
    assert_eq!(daemon.ask("GET /api/v1/settings").await.json(), settings);
    let settings = daemon
        .ask_json("PATCH /api/v1/settings", r#"{"schedule": null}"#)
        .await
        .json();
    assert_eq!(settings["schedule"], serde_json::json!([]));
    for (patch, word) in [
        (r#"{"slotz": 1}"#, "slotz"),
        (r#"{"slots": 1001}"#, "slots is 1001"),
        (r#"{"limits": {"up": null}}"#, "null"),
        (
            r#"{"schedule": [{"days": [], "from": "25:00", "to": "06:00"}]}"#,
            "22:30",
        ),
        (r#"{"folder": "relative"}"#, "not a whole path"),
    ] {
        let detail = daemon
            .ask_json("PATCH /api/v1/settings", patch)
            .await
            .refused(422, "invalid");
        assert!(detail.contains(word), "{detail}");
    }
}

#[tokio::test]
async fn bodies_that_are_no_json_are_refused() {
    let daemon = Daemon::start(1).await;
    for body in ["", "{", "{]", "\u{1}", "{\"slots\": 1} x", "nul"] {
        daemon
            .ask_json("PATCH /api/v1/settings", body)
            .await
            .refused(400, "malformed");
    }
    for lists in [
        "[]",
        "[{}, []]",
        r#"{"limits": [1, 2]}"#,
        r#"{"schedule": [[["mon"], "22:00", "06:00"]]}"#,
    ] {
        daemon
            .ask_json("PATCH /api/v1/settings", lists)
            .await
            .refused(422, "invalid");
    }
    let deep = "[".repeat(100_000);
    let deep = daemon.ask_json("PATCH /api/v1/settings", &deep).await;
    deep.refused(400, "malformed");
    daemon
        .ask_typed(
            "PATCH /api/v1/settings",
            "application/json",
            b"{\"folder\": \"\xff\"}",
        )
        .await
        .refused(400, "malformed");
    for media_type in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "",
        "json",
    ] {
        daemon
            .ask_typed("PATCH /api/v1/settings", media_type, b"{}")
            .await
            .refused(415, "media-type");
        daemon
            .ask_typed("POST /api/v1/transfers", media_type, b"{}")
            .await
            .refused(415, "media-type");
    }
    daemon
        .ask("PATCH /api/v1/settings")
        .await
        .refused(415, "media-type");
    let float = daemon
        .ask_json("PATCH /api/v1/settings", r#"{"slots": 9.0}"#)
        .await;
    assert_eq!(float.json()["slots"], 9);
    daemon
        .ask_json("PATCH /api/v1/settings", r#"{"slots": 9.5}"#)
        .await
        .refused(422, "invalid");
    let charset = daemon
        .ask_typed(
            "PATCH /api/v1/settings",
            "Application/JSON; charset=utf-8",
            b"{}",
        )
        .await;
    assert_eq!(charset.status, 200);
}

#[tokio::test]
async fn unknown_paths_and_methods_are_problems_too() {
    let daemon = Daemon::start(1).await;
    for path in [
        "/api/v1/nothing",
        "/api",
        "/api/v1/transfers/",
        "/api/v2/status",
        "//",
        "/login/../x",
    ] {
        daemon
            .ask(&format!("GET {path}"))
            .await
            .refused(404, "not-found");
    }
    for (line, allow) in [
        ("PUT /api/v1/transfers", "GET,HEAD,POST"),
        ("OPTIONS /api/v1/transfers", "GET,HEAD,POST"),
        ("GET /api/v1/transfers/1/pause", "POST"),
        ("BREW /api/v1/status", "GET,HEAD"),
    ] {
        let answer = daemon.ask(line).await;
        answer.refused(405, "method");
        let mut allowed: Vec<_> = answer.header("allow").split(',').collect();
        allowed.sort_unstable();
        assert_eq!(allowed.join(","), allow, "{line}");
    }
}

#[tokio::test]
async fn the_daemon_says_how_it_is_and_stops_when_asked() {
    let daemon = Daemon::start(1).await;
    assert_eq!(
        daemon.ask("GET /api/v1/status").await.json()["run"],
        "000000000000fade"
    );
    assert_eq!(daemon.ask("POST /api/v1/reload").await.status, 204);
    assert_eq!(daemon.ask("POST /api/v1/shutdown").await.status, 202);
    assert_eq!(
        daemon.fake.stops.load(std::sync::atomic::Ordering::Relaxed),
        1
    );
    let metrics = daemon.ask("GET /metrics").await;
    assert_eq!(
        metrics.header("content-type"),
        "text/plain; version=0.0.4; charset=utf-8"
    );
    let text = String::from_utf8(metrics.body).unwrap();
    assert!(
        text.contains("starling_http_answers_total{class=\"2xx\"} 3"),
        "{text}"
    );
}

#[tokio::test]
async fn every_operation_of_the_document_is_there_and_answers_as_documented() {
    let daemon = Daemon::start(3).await;
    let document = daemon.ask("GET /api/v1/openapi.json").await.json();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            if path.ends_with("/events") {
                continue; // It does not end; `events` has its tests.
            }
            let path = path.replace("{id}", "1").replace("{name}", "x");
            let answer = daemon
                .ask(&format!("{} {path}", method.to_uppercase()))
                .await;
            let documented = &operation["responses"][answer.status.to_string()];
            assert!(!documented.is_null(), "{method} {path}: {}", answer.status);
            assert!(
                answer.status != 404 || path.contains('x'),
                "{method} {path}"
            );
        }
    }
}
