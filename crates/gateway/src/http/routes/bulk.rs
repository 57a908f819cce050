//! One thing said to many transfers.

use std::collections::BTreeSet;
use std::sync::Arc;

use api::{Bulk, BulkAnswer, BulkResult, Deleted, Kind, Problem, Service, TransferId, Verb, Which};
use axum::extract::State;
use futures_util::StreamExt;
use futures_util::stream;

use crate::http::App;
use crate::http::answer::{Answer, ok};
use crate::http::body::Json;

/// So many of them are told at once: they wait for the disk more than for each other.
const AT_ONCE: usize = 16;

/// Say one thing to many transfers
///
/// Each is told, whatever becomes of the others, and even if the client does not wait for the
/// answer. The answer says what came of it for each; rows show how they are now.
#[utoipa::path(
    post,
    path = "/api/v1/bulk",
    tag = "transfers",
    request_body = Bulk,
    responses((status = 200, body = BulkAnswer)),
)]
pub(crate) async fn bulk<S: Service>(
    State(app): State<Arc<App<S>>>,
    Json(Bulk { transfers, verb }): Json<Bulk>,
) -> Answer {
    let ids: BTreeSet<TransferId> = match transfers {
        Which::Ids(ids) => ids.into_iter().collect(),
        Which::Filter(filter) => {
            let page = app.service.list(filter.query()).await?;
            page.transfers.iter().map(|row| row.transfer.id).collect()
        }
    };
    let (service, verb) = (Arc::clone(&app.service), Arc::new(verb));
    let each = stream::iter(ids).map(move |id| {
        let (service, verb) = (Arc::clone(&service), Arc::clone(&verb));
        async move { tell(&*service, id, &verb).await }
    });
    // A task of its own: it goes on when the connection breaks.
    let results = tokio::spawn(each.buffered(AT_ONCE).collect()).await;
    let results = results.map_err(|error| Problem::new(Kind::Internal, error.to_string()))?;
    ok(&BulkAnswer { results })
}

async fn tell<S: Service>(service: &S, id: TransferId, verb: &Verb) -> BulkResult {
    let done = match verb {
        Verb::Pause => service.pause(id).await.map(|_| None),
        Verb::Resume => service.resume(id).await.map(|_| None),
        Verb::Recheck => service.recheck(id).await.map(|_| None),
        Verb::Forget => service.forget(id).await.map(|()| Some(Deleted::Kept)),
        Verb::Delete => service.delete(id).await.map(Some),
        Verb::Move(to) => service.move_data(id, to.clone()).await.map(|_| None),
        Verb::Update(patch) => service.update(id, patch.clone()).await.map(|_| None),
    };
    let (files, problem) = match done {
        Ok(files) => (files, None),
        Err(problem) => (None, Some(problem)),
    };
    BulkResult { id, files, problem }
}
