//! Logging a browser in: a link with a code that is good once, and the small page it opens.
//!
//! The code is behind `#`, so it is in no request line and no Referer; the page sends it and gets
//! a token, which it keeps for as long as its tab is open. There are no cookies: nothing is sent
//! that the page did not mean to send.

use std::sync::Arc;

use api::{LoginLink, Service, Session, SessionBody};
use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use http::header::{self, HeaderMap};

use super::App;
use super::answer::{Answer, done, json, with_type};
use super::body::Json;
use super::guard::{Caller, bearer};
use super::token::{CODE_LIFE, SESSION_LIFE};

/// Most bytes of a body with a code: whoever sends it is not known yet.
const MAX_LOGIN: usize = 4 << 10;

/// Make a login link
///
/// The link logs one browser in, once, within a minute.
#[utoipa::path(
    post,
    path = "/api/v1/login-links",
    tag = "login",
    responses((status = 201, body = LoginLink)),
)]
pub(crate) async fn make_link<S: Service>(
    State(app): State<Arc<App<S>>>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
) -> Answer {
    // Asked over the unix socket there is no address: the first TCP listener's is in the status.
    let host = match caller {
        Caller::Tcp { .. } => headers
            .get(header::HOST)
            .and_then(|host| host.to_str().ok())
            .map(str::to_owned),
        Caller::Local => {
            let status = app.service.status().await?;
            status
                .api
                .into_iter()
                .find(|address| address.parse::<std::net::SocketAddr>().is_ok())
        }
    };
    let Some(host) = host else {
        return Err(api::Problem::new(
            api::Kind::Conflict,
            "The daemon listens on no TCP address, so no browser can reach it. Start it with --api.",
        )
        .into());
    };
    let code = app.gate.logins(|logins, now| logins.code(now));
    let link = LoginLink {
        url: format!("http://{host}/login#{}", code.expose()),
        expires_seconds: CODE_LIFE.as_secs(),
    };
    Ok(json(StatusCode::CREATED, &link))
}

/// Log in
///
/// Gives a token for the code of a login link.
#[utoipa::path(
    post,
    path = "/api/v1/sessions",
    tag = "login",
    security(()),
    request_body = SessionBody,
    responses((status = 201, body = Session)),
)]
pub(crate) async fn log_in<S: Service>(
    State(app): State<Arc<App<S>>>,
    Extension(caller): Extension<Caller>,
    Json(body): Json<SessionBody, MAX_LOGIN>,
) -> Answer {
    let session = app
        .gate
        .logins(|logins, now| logins.session(now, body.code.as_bytes()));
    let Some(token) = session else {
        return Err(app.gate.wrong(
            &app.counts,
            caller,
            "The login link was used already, or is older than a minute. Make a new one.",
        ));
    };
    let session = Session {
        token: token.expose().to_owned(),
        expires_seconds: SESSION_LIFE.as_secs(),
    };
    Ok(json(StatusCode::CREATED, &session))
}

/// Log out
///
/// Ends the session whose token the request bears. Any other token stays good.
#[utoipa::path(
    delete,
    path = "/api/v1/session",
    tag = "login",
    responses((status = 204, description = "The token is good no more.")),
)]
pub(crate) async fn log_out<S: Service>(
    State(app): State<Arc<App<S>>>,
    headers: HeaderMap,
) -> Answer {
    let token = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| bearer(value.as_bytes()));
    app.gate
        .logins(|logins, now| logins.end(now, token.unwrap_or_default()));
    done()
}

pub(crate) async fn page() -> Response {
    let html = include_str!("login/login.html");
    with_type(StatusCode::OK, "text/html; charset=utf-8", html)
}

pub(crate) async fn script() -> Response {
    let script = include_str!("login/login.js");
    with_type(StatusCode::OK, "text/javascript; charset=utf-8", script)
}

pub(crate) async fn style() -> Response {
    let style = include_str!("login/login.css");
    with_type(StatusCode::OK, "text/css; charset=utf-8", style)
}
