//! Which path leads where.

mod bulk;
mod daemon;
mod labels;
mod transfers;

use std::sync::Arc;

use api::Service;
use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{delete, get, patch, post};

use super::answer::{method_not_allowed, not_found};
use super::guard::guard;
use super::{App, details, events, login, metrics, openapi};

pub(crate) use bulk::*;
pub(crate) use daemon::*;
pub(crate) use labels::*;
pub(crate) use transfers::*;

pub(crate) fn router<S: Service>(app: Arc<App<S>>) -> Router {
    let guard = from_fn_with_state(Arc::clone(&app), guard::<S>);
    let transfer = "/api/v1/transfers/{id}";
    let of = |what: &str| format!("{transfer}/{what}");
    Router::new()
        .route("/", get(index))
        .route("/healthz", get(healthz::<S>))
        .route("/metrics", get(metrics::metrics::<S>))
        .route("/login", get(login::page))
        .route("/login.css", get(login::style))
        .route("/login.js", get(login::script))
        .route("/api/v1/openapi.json", get(openapi::document))
        .route("/api/v1/login-links", post(login::make_link::<S>))
        .route("/api/v1/sessions", post(login::log_in::<S>))
        .route("/api/v1/session", delete(login::log_out::<S>))
        .route("/api/v1/status", get(status::<S>))
        .route("/api/v1/reload", post(reload::<S>))
        .route("/api/v1/shutdown", post(shutdown::<S>))
        .route(
            "/api/v1/settings",
            get(settings::<S>).patch(update_settings::<S>),
        )
        .route("/api/v1/events", get(events::events::<S>))
        .route("/api/v1/previews", post(preview::<S>))
        .route("/api/v1/transfers", get(list::<S>).post(add::<S>))
        .route(
            transfer,
            get(transfer_row::<S>)
                .patch(update::<S>)
                .delete(remove::<S>),
        )
        .route("/api/v1/bulk", post(bulk::<S>))
        .route(&of("events"), get(details::details::<S>))
        .route(&of("files"), get(files::<S>))
        .route(&of("peers"), get(peers::<S>).post(add_peers::<S>))
        .route(&of("reach"), get(reach::<S>))
        .route(&of("trackers"), get(trackers::<S>))
        .route(
            &of("web-seeds"),
            get(web_seeds::<S>).post(change_web_seeds::<S>),
        )
        .route(&of("reusable"), get(reusable::<S>))
        .route(&of("reuse"), post(reuse::<S>))
        .route(&of("pause"), post(pause::<S>))
        .route(&of("resume"), post(resume::<S>))
        .route(&of("recheck"), post(recheck::<S>))
        .route(&of("move"), post(move_data::<S>))
        .route(&of("rename"), post(rename::<S>))
        .route("/api/v1/labels", get(labels::<S>).post(add_label::<S>))
        .route(
            "/api/v1/labels/{name}",
            patch(update_label::<S>).delete(remove_label::<S>),
        )
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(guard)
        .with_state(app)
}
