//! The daemon itself: how it is, its settings, its end.

use std::sync::Arc;

use api::{Service, Settings, SettingsPatch, Status};
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;

use crate::http::App;
use crate::http::answer::{Answer, done, json, ok, with_type};
use crate::http::body::Json;

/// What is here
///
/// Names the program and the paths to begin at. No token is needed.
#[utoipa::path(
    get,
    path = "/",
    tag = "daemon",
    security(()),
    responses((status = 200, body = serde_json::Value)),
)]
pub(crate) async fn index() -> Response {
    let index = serde_json::json!({
        "name": "starling",
        "version": env!("CARGO_PKG_VERSION"),
        "openapi": "/api/v1/openapi.json",
        "login": "/login",
        "health": "/healthz",
        "metrics": "/metrics",
    });
    json(StatusCode::OK, &index)
}

/// Is it well
///
/// 200 if the daemon answers, 503 if it cannot. No token is needed.
#[utoipa::path(
    get,
    path = "/healthz",
    tag = "daemon",
    security(()),
    responses((status = 200, description = "It is.", body = String, content_type = "text/plain")),
)]
pub(crate) async fn healthz<S: Service>(State(app): State<Arc<App<S>>>) -> Answer {
    app.service.status().await?;
    Ok(with_type(
        StatusCode::OK,
        "text/plain; charset=utf-8",
        "ok\n",
    ))
}

/// See how the daemon is
#[utoipa::path(
    get,
    path = "/api/v1/status",
    tag = "daemon",
    responses((status = 200, body = Status)),
)]
pub(crate) async fn status<S: Service>(State(app): State<Arc<App<S>>>) -> Answer {
    ok(&app.service.status().await?)
}

/// Read the configuration again
#[utoipa::path(
    post,
    path = "/api/v1/reload",
    tag = "daemon",
    responses((status = 204, description = "It is read, and in effect.")),
)]
pub(crate) async fn reload<S: Service>(State(app): State<Arc<App<S>>>) -> Answer {
    app.service.reload().await?;
    done()
}

/// Stop the daemon
#[utoipa::path(
    post,
    path = "/api/v1/shutdown",
    tag = "daemon",
    responses((status = 202, description = "It stops, and closes its connections.")),
)]
pub(crate) async fn shutdown<S: Service>(State(app): State<Arc<App<S>>>) -> Answer {
    app.service.shutdown().await?;
    let mut response = Response::default();
    *response.status_mut() = StatusCode::ACCEPTED;
    Ok(response)
}

/// See the settings
#[utoipa::path(
    get,
    path = "/api/v1/settings",
    tag = "settings",
    responses((status = 200, body = Settings)),
)]
pub(crate) async fn settings<S: Service>(State(app): State<Arc<App<S>>>) -> Answer {
    ok(&app.service.settings().await?)
}

/// Change settings
///
/// Each part that is named is replaced; what is absent stays. `null` takes back what was changed
/// here: the configuration's holds again.
#[utoipa::path(
    patch,
    path = "/api/v1/settings",
    tag = "settings",
    request_body = SettingsPatch,
    responses((status = 200, body = Settings)),
)]
pub(crate) async fn update_settings<S: Service>(
    State(app): State<Arc<App<S>>>,
    Json(patch): Json<SettingsPatch>,
) -> Answer {
    ok(&app.service.update_settings(patch).await?)
}
