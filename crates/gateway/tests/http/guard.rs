//! Strangers: other origins, rebound names, wrong tokens.

use crate::harness::{Answer, Daemon, within};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;

/// Asks for the status with these headers alone.
async fn bare(daemon: &Daemon, headers: &str) -> Answer {
    daemon
        .send(format!("GET /api/v1/status HTTP/1.1\r\n{headers}\r\n"))
        .await
}

#[tokio::test]
async fn a_rebound_name_is_misdirected_even_with_the_token() {
    let daemon = Daemon::with(1, |config| config.names.push("box.example".into())).await;
    let port = daemon.address.port();
    let token = format!("Authorization: Bearer {}\r\n", daemon.token);
    for host in [
        "evil.example",
        "127.0.0.1",
        "127.0.0.1:1",
        "a.localhost",
        "",
    ] {
        let host = if host.is_empty() || host.contains(':') {
            host.to_owned()
        } else {
            format!("{host}:{}", port ^ u16::from(host == "127.0.0.1"))
        };
        let answer = bare(&daemon, &format!("Host: {host}\r\n{token}")).await;
        answer.refused(421, "misdirected");
    }
    for host in [
        format!("127.0.0.1:{port}"),
        format!("localhost:{port}"),
        format!("[::1]:{port}"),
        "box.example".to_owned(),
    ] {
        let answer = bare(&daemon, &format!("Host: {host}\r\n{token}")).await;
        assert_eq!(answer.status, 200, "{host}");
    }
    bare(&daemon, &token).await.refused(400, "malformed");
    let twice = format!("Host: 127.0.0.1:{port}\r\nHost: 127.0.0.1:{port}\r\n{token}");
    assert_eq!(bare(&daemon, &twice).await.status, 400);
    let whole = format!(
        "GET http://evil.example/api/v1/status HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{token}\r\n"
    );
    daemon.send(whole).await.refused(421, "misdirected");
    // What needs no token is misdirected too.
    daemon
        .send("GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n")
        .await
        .refused(421, "misdirected");
}

#[tokio::test]
async fn a_page_of_another_origin_is_refused_whatever_it_brings() {
    let daemon = Daemon::start(1).await;
    let port = daemon.address.port();
    for origin in [
        "http://evil.example",
        "null",
        "http://127.0.0.1",
        "http://127.0.0.1:1",
        "http://localhost:7117",
        &format!("http://127.0.0.1:{port}.evil.example"),
        &format!("ftp://127.0.0.1:{port}"),
        "",
    ] {
        let answer = daemon
            .send(daemon.head("GET /api/v1/status", &format!("Origin: {origin}\r\n\r\n")))
            .await;
        answer.refused(403, "forbidden");
        assert_eq!(answer.header("access-control-allow-origin"), "");
    }
    let own = format!("Origin: http://127.0.0.1:{port}\r\n\r\n");
    assert_eq!(
        daemon
            .send(daemon.head("GET /api/v1/status", &own))
            .await
            .status,
        200
    );
    for site in ["cross-site", "same-site"] {
        let answer = daemon
            .send(daemon.head(
                "GET /api/v1/status",
                &format!("Sec-Fetch-Site: {site}\r\n\r\n"),
            ))
            .await;
        answer.refused(403, "forbidden");
        // A link to the login page may be anywhere; a frame or script of it may not.
        let visit = format!("Sec-Fetch-Site: {site}\r\nSec-Fetch-Mode: navigate\r\n\r\n");
        assert_eq!(
            daemon.send(daemon.head("GET /login", &visit)).await.status,
            200
        );
        daemon
            .send(daemon.head("GET /api/v1/status", &visit))
            .await
            .refused(403, "forbidden");
        let script = format!("Sec-Fetch-Site: {site}\r\nSec-Fetch-Mode: no-cors\r\n\r\n");
        daemon
            .send(daemon.head("GET /login.js", &script))
            .await
            .refused(403, "forbidden");
    }
    let preflight = "Origin: http://evil.example\r\nAccess-Control-Request-Method: POST\r\n\r\n";
    daemon
        .send(daemon.head("OPTIONS /api/v1/transfers", preflight))
        .await
        .refused(403, "forbidden");
}

#[tokio::test]
async fn without_the_token_only_the_open_paths_answer() {
    let daemon = Daemon::start(1).await;
    let host = format!("Host: {}\r\n\r\n", daemon.address);
    for path in [
        "/",
        "/healthz",
        "/login",
        "/login.js",
        "/login.css",
        "/api/v1/openapi.json",
    ] {
        let answer = daemon.send(format!("GET {path} HTTP/1.1\r\n{host}")).await;
        assert_eq!(answer.status, 200, "{path}");
    }
    for path in [
        "/metrics",
        "/api/v1/status",
        "/api/v1/events",
        "/api/v1/transfers",
        "/nothing",
        "/healthz/",
        "//",
    ] {
        let answer = daemon.send(format!("GET {path} HTTP/1.1\r\n{host}")).await;
        answer.refused(401, "unauthorized");
        assert_eq!(answer.header("www-authenticate"), "Bearer");
    }
    for value in [
        "Basic abc",
        "Bearer",
        "Bearer ",
        "Bearer x",
        &format!("bearer {}x", daemon.token),
    ] {
        bare(
            &daemon,
            &format!("Host: {}\r\nAuthorization: {value}\r\n", daemon.address),
        )
        .await
        .refused(401, "unauthorized");
    }
}

#[tokio::test]
async fn wrong_tokens_are_limited_and_the_right_one_passes() {
    let daemon = Daemon::start(1).await;
    let wrong = format!(
        "Host: {}\r\nAuthorization: Bearer wrong\r\n",
        daemon.address
    );
    for _ in 0..10 {
        bare(&daemon, &wrong).await.refused(401, "unauthorized");
    }
    let limited = bare(&daemon, &wrong).await;
    limited.refused(429, "too-many");
    let wait: u64 = limited.header("retry-after").parse().unwrap();
    assert!((1..=61).contains(&wait), "{wait}");
    assert_eq!(daemon.ask("GET /api/v1/status").await.status, 200);
    let code = daemon
        .ask_json("POST /api/v1/sessions", r#"{"code": "guessed"}"#)
        .await;
    code.refused(429, "too-many");
}

#[tokio::test]
async fn every_answer_has_the_headers_that_keep_pages_out() {
    let daemon = Daemon::start(1).await;
    let answers = [
        daemon.ask("GET /login").await,
        daemon.ask("GET /api/v1/status").await,
        daemon.ask("GET /nothing").await,
        daemon.ask("PUT /api/v1/status").await,
        daemon.send("GET / HTTP/1.1\r\nHost: evil\r\n\r\n").await,
    ];
    for answer in answers {
        let policy = answer.header("content-security-policy");
        assert!(
            policy.starts_with("default-src 'none'") && !policy.contains("unsafe"),
            "{policy}"
        );
        assert!(policy.contains("frame-ancestors 'none'"));
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "no-referrer"),
            ("cache-control", "no-store"),
            ("cross-origin-resource-policy", "same-origin"),
        ] {
            assert_eq!(answer.header(name), value, "{} {name}", answer.status);
        }
        assert_eq!(answer.header("set-cookie"), "");
    }
}

#[tokio::test]
async fn a_login_link_is_good_once_and_its_session_until_it_is_ended() {
    let daemon = Daemon::start(1).await;
    let link = daemon.ask("POST /api/v1/login-links").await.json();
    let url = link["url"].as_str().unwrap();
    let (page, code) = url.split_once('#').unwrap();
    assert_eq!(page, format!("http://{}/login", daemon.address));
    assert_eq!(link["expires_seconds"], 60);
    let host = format!("Host: {}\r\n", daemon.address);
    let body = format!("{{\"code\": \"{code}\"}}");
    let log_in = format!(
        "POST /api/v1/sessions HTTP/1.1\r\n{host}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let session = daemon.send(&log_in).await;
    assert_eq!(session.status, 201);
    daemon.send(&log_in).await.refused(401, "unauthorized");
    let token = session.json()["token"].as_str().unwrap().to_owned();
    assert_ne!(token, daemon.token);
    let bearer = format!("{host}Authorization: Bearer {token}\r\n");
    assert_eq!(bare(&daemon, &bearer).await.status, 200);
    let end = daemon
        .send(format!("DELETE /api/v1/session HTTP/1.1\r\n{bearer}\r\n"))
        .await;
    assert_eq!(end.status, 204);
    bare(&daemon, &bearer).await.refused(401, "unauthorized");
}

#[tokio::test]
async fn the_login_page_has_nothing_inline() {
    let daemon = Daemon::start(1).await;
    let page = String::from_utf8(daemon.ask("GET /login").await.body).unwrap();
    assert!(page.contains(r#"<script type="module" src="/login.js"></script>"#));
    for inline in ["<style", "style=", "onclick", "onload", "javascript:"] {
        assert!(!page.contains(inline), "{inline}");
    }
    let script = daemon.ask("GET /login.js").await;
    assert_eq!(
        script.header("content-type"),
        "text/javascript; charset=utf-8"
    );
    let script = String::from_utf8(script.body).unwrap();
    for wrong in [
        "innerHTML",
        "eval(",
        "document.cookie",
        "localStorage",
        "document.write",
    ] {
        assert!(!script.contains(wrong), "{wrong}");
    }
}

#[tokio::test]
async fn the_unix_socket_needs_no_token_and_lets_its_owner_in_alone() {
    use std::os::unix::fs::PermissionsExt;
    let daemon = Daemon::start(1).await;
    let mode = std::fs::metadata(&daemon.socket)
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let ask = async |headers: &str| {
        let mut stream = UnixStream::connect(&daemon.socket).await.unwrap();
        let request = format!("GET /api/v1/status HTTP/1.1\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        within(Answer::read(&mut stream)).await.unwrap()
    };
    assert_eq!(ask("Host: whatever\r\n").await.status, 200);
    ask("Host: whatever\r\nOrigin: http://evil.example\r\n")
        .await
        .refused(403, "forbidden");
}
