//! Transfers: listing, adding, and what can be done with one.

#![allow(unused_qualifications, reason = "what utoipa makes of `params(Query)`")]

use std::sync::Arc;

use api::{
    AddBody, Check, Cut, Deleted, File, Items, MorePeers, Move, Page, Peer, Preview, PreviewBody,
    Problem, Query, Reach, Removed, Rename, Reusable, Row, Service, Tracker, Transfer,
    TransferPatch, WebSeed, WebSeedChange,
};
use axum::body::Body;
use axum::extract::State;
use http::header::{HeaderValue, LOCATION};
use http::{Request, StatusCode};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use crate::http::App;
use crate::http::answer::{Answer, json, ok, sized_json};
use crate::http::body::{Id, Json, Params, read_add, read_source};

/// Bytes of a row in JSON, generously: room for a page is made at once.
const ROW_BYTES: usize = 1_400;

/// A row, and 202: it is under way, and the row shows how far it is.
fn begun(row: &Row) -> Answer {
    Ok(json(StatusCode::ACCEPTED, row))
}

/// List transfers
#[utoipa::path(
    get,
    path = "/api/v1/transfers",
    tag = "transfers",
    params(Query),
    responses((status = 200, body = Page<Transfer>)),
)]
pub(crate) async fn list<S: Service>(
    State(app): State<Arc<App<S>>>,
    Params(query): Params<Query>,
) -> Answer {
    let page = app.service.list(query).await?;
    let size = 128 + page.transfers.len() * ROW_BYTES;
    Ok(sized_json(StatusCode::OK, &page, size))
}

/// Add a transfer
///
/// A link, URL or info-hash comes as JSON; a torrent file as `multipart/form-data` with the parts
/// `torrent` and `options`, or alone. One that is there already is a problem of kind
/// `already-present`, whose `instance` is its path.
#[utoipa::path(
    post,
    path = "/api/v1/transfers",
    tag = "transfers",
    request_body(content(
        (AddBody = "application/json"),
        (TorrentForm = "multipart/form-data"),
        (TorrentFile = "application/x-bittorrent"),
    )),
    responses((status = 201, body = Transfer, headers(("location" = String, description = "Path of the new transfer.")))),
)]
pub(crate) async fn add<S: Service>(
    State(app): State<Arc<App<S>>>,
    request: Request<Body>,
) -> Answer {
    let add = read_add(request, &app.uploads).await?;
    let row = app.service.add(add).await?;
    let mut response = json(StatusCode::CREATED, &row);
    let path = format!("/api/v1/transfers/{}", row.transfer.id);
    let path = HeaderValue::try_from(path).expect("a path of digits");
    response.headers_mut().insert(LOCATION, path);
    Ok(response)
}

/// A torrent file and how to add it.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a schema: forms are read part by part")]
pub(crate) struct TorrentForm {
    /// The bytes of a torrent file.
    #[schema(value_type = String, format = Binary)]
    torrent: Vec<u8>,
    /// How to add it, as JSON.
    #[schema(nullable = false)]
    options: Option<api::AddOptions>,
}

/// The bytes of a torrent file.
#[derive(ToSchema)]
#[schema(value_type = String, format = Binary)]
#[expect(dead_code, reason = "a schema")]
pub(crate) struct TorrentFile(Vec<u8>);

/// Look before adding
///
/// Says what would be added; nothing is written. Torrent files come as they do for adding.
#[utoipa::path(
    post,
    path = "/api/v1/previews",
    tag = "transfers",
    request_body(content(
        (PreviewBody = "application/json"),
        (TorrentForm = "multipart/form-data"),
        (TorrentFile = "application/x-bittorrent"),
    )),
    responses((status = 200, body = Preview)),
)]
pub(crate) async fn preview<S: Service>(
    State(app): State<Arc<App<S>>>,
    request: Request<Body>,
) -> Answer {
    let source = read_source(request, &app.uploads).await?;
    ok(&app.service.preview(source).await?)
}

/// See a transfer
#[utoipa::path(
    get,
    path = "/api/v1/transfers/{id}",
    tag = "transfers",
    params(("id" = u32, Path, description = "Its number.")),
    responses((status = 200, body = Transfer)),
)]
pub(crate) async fn transfer_row<S: Service>(State(app): State<Arc<App<S>>>, Id(id): Id) -> Answer {
    ok(&app.service.get(id).await?)
}

/// Change a transfer
///
/// What is absent stays.
#[utoipa::path(
    patch,
    path = "/api/v1/transfers/{id}",
    tag = "transfers",
    params(("id" = u32, Path, description = "Its number.")),
    request_body = TransferPatch,
    responses((status = 200, body = Transfer)),
)]
pub(crate) async fn update<S: Service>(
    State(app): State<Arc<App<S>>>,
    Id(id): Id,
    Json(patch): Json<TransferPatch>,
) -> Answer {
    ok(&app.service.update(id, patch).await?)
}

/// What to do with the files of a transfer that is removed.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Files {
    /// They stay.
    Keep,
    /// They go to the trash where there is one.
    Delete,
}

/// How to remove a transfer.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct RemoveParams {
    /// What to do with its files; it has to be said.
    #[param(inline)]
    files: Files,
}

impl Check for RemoveParams {
    fn check(&self) -> Result<(), Problem> {
        Ok(())
    }
}

/// Remove a transfer
///
/// It is forgotten; what becomes of its files has to be said.
#[utoipa::path(
    delete,
    path = "/api/v1/transfers/{id}",
    tag = "transfers",
    params(("id" = u32, Path, description = "Its number."), RemoveParams),
    responses((status = 200, body = Removed)),
)]
pub(crate) async fn remove<S: Service>(
    State(app): State<Arc<App<S>>>,
    Id(id): Id,
    Params(params): Params<RemoveParams>,
) -> Answer {
    let files = match params.files {
        Files::Keep => app.service.forget(id).await.map(|()| Deleted::Kept)?,
        Files::Delete => app.service.delete(id).await?,
    };
    ok(&Removed { files })
}

/// List files of a transfer
#[utoipa::path(
    get,
    path = "/api/v1/transfers/{id}/files",
    tag = "transfers",
    params(("id" = u32, Path, description = "Its number."), Cut),
    responses((status = 200, body = Items<File>)),
)]
pub(crate) async fn files<S: Service>(
    State(app): State<Arc<App<S>>>,
    Id(id): Id,
    Params(cut): Params<Cut>,
) -> Answer {
    ok(&app.service.files(id, cut).await?)
}

/// List connected peers of a transfer
#[utoipa::path(
    get,
    path = "/api/v1/transfers/{id}/peers",
    tag = "transfers",
    params(("id" = u32, Path, description = "Its number.")),
    responses((status = 200, body = Vec<Peer>)),
)]
pub(crate) async fn peers<S: Service>(State(app): State<Arc<App<S>>>, Id(id): Id) -> Answer {
    ok(&app.service.peers(id).await?)
}

/// Have peers tried for a transfer
///
/// A private one takes none (BEP 27), and one that does not run has no use for any: both are a
/// `conflict`.
#[utoipa::path(
    post,
    path = "/api/v1/transfers/{id}/peers",
    tag = "transfers",
    params(("id" = u32, Path, description = "Its number.")),
    request_body = MorePeers,
    responses((status = 202, body = Transfer)),
)]
pub(crate) async fn add_peers<S: Service>(
    State(app): State<Arc<App<S>>>,
    Id(id): Id,
    Json(MorePeers { peers }): Json<MorePeers>,
) -> Answer {
    // They were checked: each is an address.
    let peers = peers.iter().filter_map(|peer| peer.parse().ok()).collect();
    begun(&*app.service.add_peers(id, peers).await?)
}

/// How far the peers of a transfer are reached
///
/// Which addresses are known and from where, how many answered, why others did not.
#[utoipa::path(
    get,
    path = "/api/v1/transfers/{id}/reach",
    tag = "transfers",
    params(("id" = u32, Path, description = "Its number.")),
    responses((status = 200, body = Reach)),
)]
pub(crate) async fn reach<S: Service>(State(app): State<Arc<App<S>>>, Id(id): Id) -> Answer {
    ok(&app.service.reach(id).await?)
}

/// List trackers of a transfer
#[utoipa::path(
    get,
    path = "/api/v1/transfers/{id}/trackers",
    tag = "transfers",
    params(("id" = u32, Path, description = "Its number.")),
    responses((status = 200, body = Vec<Tracker>)),
)]
pub(crate) async fn trackers<S: Service>(State(app): State<Arc<App<S>>>, Id(id): Id) -> Answer {
    ok(&app.service.trackers(id).await?)
}

/// List web seeds of a transfer
#[utoipa::path(
    get,
    path = "/api/v1/transfers/{id}/web-seeds",
    tag = "transfers",
    params(("id" = u32, Path, description = "Its number.")),
    responses((status = 200, body = Vec<WebSeed>)),
)]
pub(crate) async fn web_seeds<S: Service>(State(app): State<Arc<App<S>>>, Id(id): Id) -> Answer {
    ok(&app.service.web_seeds(id).await?)
}

/// Add web seeds to a transfer, or take some away
///
/// The answer lists all that it has then. To take away one that is not there changes nothing.
#[utoipa::path(
    post,
    path = "/api/v1/transfers/{id}/web-seeds",
    tag = "transfers",
    params(("id" = u32, Path, description = "Its number.")),
    request_body = WebSeedChange,
    responses((status = 200, body = Vec<WebSeed>)),
)]
pub(crate) async fn change_web_seeds<S: Service>(
    State(app): State<Arc<App<S>>>,
    Id(id): Id,
    Json(change): Json<WebSeedChange>,
) -> Answer {
    ok(&app.service.change_web_seeds(id, change).await?)
}

/// Show what other transfers have of the files of one
///
/// Files that are wanted and not begun: known by their v2 root, or, where one torrent hints at the other (BEP 38), by
/// name and length. Nothing is taken until it is asked for.
#[utoipa::path(
    get,
    path = "/api/v1/transfers/{id}/reusable",
    tag = "transfers",
    params(("id" = u32, Path, description = "Its number.")),
    responses((status = 200, body = Reusable)),
)]
pub(crate) async fn reusable<S: Service>(State(app): State<Arc<App<S>>>, Id(id): Id) -> Answer {
    ok(&app.service.reusable(id).await?)
}

/// Take what other transfers have of the files of one
///
/// The files are copied, and then checked with all of its data.
#[utoipa::path(
    post,
    path = "/api/v1/transfers/{id}/reuse",
    tag = "transfers",
    params(("id" = u32, Path, description = "Its number.")),
    responses((status = 202, body = Transfer)),
)]
pub(crate) async fn reuse<S: Service>(State(app): State<Arc<App<S>>>, Id(id): Id) -> Answer {
    begun(&*app.service.reuse(id).await?)
}

/// Pause a transfer
///
/// Until a person resumes it.
#[utoipa::path(
    post,
    path = "/api/v1/transfers/{id}/pause",
    tag = "transfers",
    params(("id" = u32, Path, description = "Its number.")),
    responses((status = 200, body = Transfer)),
)]
pub(crate) async fn pause<S: Service>(State(app): State<Arc<App<S>>>, Id(id): Id) -> Answer {
    ok(&app.service.pause(id).await?)
}

/// Resume a transfer
///
/// A person's pause is over, and a problem that stopped it is looked at again.
#[utoipa::path(
    post,
    path = "/api/v1/transfers/{id}/resume",
    tag = "transfers",
    params(("id" = u32, Path, description = "Its number.")),
    responses((status = 200, body = Transfer)),
)]
pub(crate) async fn resume<S: Service>(State(app): State<Arc<App<S>>>, Id(id): Id) -> Answer {
    ok(&app.service.resume(id).await?)
}

/// Hash the data of a transfer again
#[utoipa::path(
    post,
    path = "/api/v1/transfers/{id}/recheck",
    tag = "transfers",
    params(("id" = u32, Path, description = "Its number.")),
    responses((status = 202, body = Transfer)),
)]
pub(crate) async fn recheck<S: Service>(State(app): State<Arc<App<S>>>, Id(id): Id) -> Answer {
    begun(&*app.service.recheck(id).await?)
}

/// Move the data of a transfer
#[utoipa::path(
    post,
    path = "/api/v1/transfers/{id}/move",
    tag = "transfers",
    params(("id" = u32, Path, description = "Its number.")),
    request_body = Move,
    responses((status = 202, body = Transfer)),
)]
pub(crate) async fn move_data<S: Service>(
    State(app): State<Arc<App<S>>>,
    Id(id): Id,
    Json(to): Json<Move>,
) -> Answer {
    begun(&*app.service.move_data(id, to).await?)
}

/// Rename files of a transfer on disk
#[utoipa::path(
    post,
    path = "/api/v1/transfers/{id}/rename",
    tag = "transfers",
    params(("id" = u32, Path, description = "Its number.")),
    request_body = Rename,
    responses((status = 200, body = Transfer)),
)]
pub(crate) async fn rename<S: Service>(
    State(app): State<Arc<App<S>>>,
    Id(id): Id,
    Json(to): Json<Rename>,
) -> Answer {
    ok(&app.service.rename(id, to).await?)
}
