//! Labels.

use std::sync::Arc;

use api::{Label, LabelPatch, Service};
use axum::extract::State;
use http::StatusCode;

use crate::http::App;
use crate::http::answer::{Answer, done, json, ok};
use crate::http::body::{Json, Name};

/// List labels
#[utoipa::path(
    get,
    path = "/api/v1/labels",
    tag = "labels",
    responses((status = 200, body = Vec<Label>)),
)]
pub(crate) async fn labels<S: Service>(State(app): State<Arc<App<S>>>) -> Answer {
    ok(&app.service.labels().await?)
}

/// Make a label
#[utoipa::path(
    post,
    path = "/api/v1/labels",
    tag = "labels",
    request_body = Label,
    responses((status = 201, body = Label)),
)]
pub(crate) async fn add_label<S: Service>(
    State(app): State<Arc<App<S>>>,
    Json(label): Json<Label>,
) -> Answer {
    Ok(json(
        StatusCode::CREATED,
        &app.service.add_label(label).await?,
    ))
}

/// Change a label
///
/// What is absent stays; its transfers follow.
#[utoipa::path(
    patch,
    path = "/api/v1/labels/{name}",
    tag = "labels",
    params(("name" = String, Path, description = "Its name.", min_length = 1, max_length = 100)),
    request_body = LabelPatch,
    responses((status = 200, body = Label)),
)]
pub(crate) async fn update_label<S: Service>(
    State(app): State<Arc<App<S>>>,
    Name(name): Name,
    Json(patch): Json<LabelPatch>,
) -> Answer {
    ok(&app.service.update_label(name, patch).await?)
}

/// Remove a label
///
/// Its transfers have none then.
#[utoipa::path(
    delete,
    path = "/api/v1/labels/{name}",
    tag = "labels",
    params(("name" = String, Path, description = "Its name.", min_length = 1, max_length = 100)),
    responses((status = 204, description = "It is gone.")),
)]
pub(crate) async fn remove_label<S: Service>(
    State(app): State<Arc<App<S>>>,
    Name(name): Name,
) -> Answer {
    app.service.remove_label(name).await?;
    done()
}
