//! The event stream: server-sent events (WHATWG HTML §9.2) of what changes; and what it has in
//! common with that of [one transfer](super::details).
//!
//! A follower costs its place in the changes and one part: what it is sent next is looked up when
//! its connection has room. One that does not read at all is dropped by [`patient`](super::patient).

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use api::{Changes, Check, EventId, Kind, Problem, Service};
use axum::body::Body;
use axum::extract::State;
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::App;
use super::answer::{Answer, Refusal, with_type};
use super::body::Params;

/// What a client waits before it comes back, in milliseconds.
const RETRY: &str = "retry: 2000\n\n";
/// Something that is no event.
const COMMENT: &[u8] = b":\n\n";

/// From where on to follow.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Since {
    since: Option<EventId>,
}

impl Check for Since {
    fn check(&self) -> Result<(), Problem> {
        Ok(())
    }
}

/// Follow what changes
///
/// Server-sent events. A client that brings no id, or one of another run, begins with `snapshot`,
/// and `added` for all rows; one that comes back is sent what differs. Names of events are the
/// properties of the schema EventData, which says what their data is. `id` comes with the message
/// that completes a state; a comment comes every 30 seconds.
#[utoipa::path(
    get,
    path = "/api/v1/events",
    tag = "events",
    params(
        ("since" = Option<String>, Query, description = "An event id to go on from, as a page's `as_of`.",
            pattern = "^[0-9a-f]{16}-[0-9]{1,10}$", nullable = false),
        ("Last-Event-ID" = Option<String>, Header, description = "The same, as browsers say it; it comes before `since`.",
            pattern = "^[0-9a-f]{16}-[0-9]{1,10}$", nullable = false),
    ),
    responses((status = 200, description = "Events, until either side closes.", body = String, content_type = "text/event-stream")),
)]
pub(crate) async fn events<S: Service>(
    State(app): State<Arc<App<S>>>,
    headers: HeaderMap,
    Params(Since { since }): Params<Since>,
) -> Answer {
    let since = last_id(&headers)?.or(since);
    let changes = app.service.changes(since).await?;
    follow(&app, changes)
}

/// The id that a client which comes back has seen.
pub(super) fn last_id(headers: &HeaderMap) -> Result<Option<EventId>, Refusal> {
    let Some(last) = headers.get("last-event-id") else {
        return Ok(None);
    };
    let id = last.to_str().ok().and_then(|text| text.parse().ok());
    let wrong = || Refusal::new(Kind::Malformed, "Last-Event-ID is not an id of an event.");
    id.ok_or_else(wrong).map(Some)
}

/// What a stream is made of.
pub(super) trait Source: Send + 'static {
    /// The next message, as soon as there is one; `None` at the end. It may be dropped while it
    /// waits.
    fn next(&mut self) -> impl Future<Output = Option<Bytes>> + Send;
}

impl Source for Changes {
    async fn next(&mut self) -> Option<Bytes> {
        let part = Changes::next(self).await?;
        Some(message(part.id, part.name(), &part))
    }
}

/// Sends what comes, if there are not too many who follow already.
pub(super) fn follow<S: Service>(app: &App<S>, source: impl Source) -> Answer {
    let Ok(permit) = Arc::clone(&app.followers).try_acquire_owned() else {
        return Err(Refusal::new(
            Kind::Unavailable,
            format!(
                "{} clients follow events already, which is the most. Close one, or try again later.",
                app.max_followers
            ),
        ));
    };
    let follower = Follower {
        source,
        heartbeat: app.heartbeat,
        greeted: false,
        _permit: permit,
    };
    let stream = stream::unfold(follower, async |mut follower| {
        let bytes = follower.next().await?;
        Some((Ok::<_, std::convert::Infallible>(bytes), follower))
    });
    Ok(with_type(
        StatusCode::OK,
        "text/event-stream",
        Body::from_stream(stream),
    ))
}

struct Follower<T> {
    source: T,
    heartbeat: Duration,
    greeted: bool,
    _permit: OwnedSemaphorePermit,
}

impl<T: Source> Follower<T> {
    async fn next(&mut self) -> Option<Bytes> {
        if !self.greeted {
            // The client hears at once that it is connected.
            self.greeted = true;
            return Some(Bytes::from_static(RETRY.as_bytes()));
        }
        match timeout(self.heartbeat, self.source.next()).await {
            Err(_) => Some(Bytes::from_static(COMMENT)),
            Ok(message) => message,
        }
    }
}

/// A message as it is sent.
pub(super) fn message(id: Option<EventId>, name: &str, data: &impl Serialize) -> Bytes {
    let mut bytes = Vec::with_capacity(256);
    if let Some(id) = id {
        bytes.extend_from_slice(format!("id: {id}\n").as_bytes());
    }
    bytes.extend_from_slice(b"event: ");
    bytes.extend_from_slice(name.as_bytes());
    bytes.extend_from_slice(b"\ndata: ");
    // JSON has no line breaks of its own.
    serde_json::to_writer(&mut bytes, data).expect("our types are JSON");
    bytes.extend_from_slice(b"\n\n");
    bytes.into()
}
