//! The event stream of one transfer: what a page shows that has it open.
//!
//! Nothing is looked at before the client has room for what is found, and of a transfer at rest
//! nothing is looked at at all, but now and then what its trackers said.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use api::{
    Kind, Problem, Progress, Row, Service, State as Doing, Transfer, View, ViewEvent, ViewPart,
    ViewQuery, Watch,
};
use axum::extract::State;
use bytes::Bytes;
use http::HeaderMap;
use tokio::time::{Instant, sleep_until};

use super::App;
use super::answer::Answer;
use super::body::{Id, Params};
use super::events::{self, Source, message};

/// Shortest time between two looks.
const PACE: Duration = Duration::from_secs(1);
/// When to look again at a transfer that runs though its row is as it was: who chokes whom, and
/// what trackers say, is in no row.
const LIVELY: Duration = Duration::from_secs(3);
/// When to look again at the trackers of one that is dormant.
const QUIET: Duration = Duration::from_secs(60);

/// Follow one transfer
///
/// Server-sent events. Each part comes as a whole first, in an event of its name, and then as what
/// differs, at most once a second and only if something does. Names of events are the properties
/// of the schema ViewEventData, which says what their data is: as in `/api/v1/events`, `-changed`
/// has fields that differ by key. `id` comes with the message that completes a state. A client
/// that comes back is sent everything anew, whatever id it brings. When the transfer is forgotten,
/// `removed` comes and the stream ends. A comment comes every 30 seconds.
#[utoipa::path(
    get,
    path = "/api/v1/transfers/{id}/events",
    tag = "events",
    params(
        ("id" = u32, Path, description = "Its number."),
        ("parts" = Option<String>, Query, description = "Which parts, with commas between them; absent: all.",
            pattern = "^(transfer|files|peers|trackers)(,(transfer|files|peers|trackers))*$", nullable = false),
        ("offset" = Option<u32>, Query, description = "How many files to pass over.", nullable = false),
        ("limit" = Option<u32>, Query, description = "How many files to follow.",
            minimum = 1, maximum = 1000, nullable = false),
        ("Last-Event-ID" = Option<String>, Header, description = "As browsers say it. It makes no difference.",
            pattern = "^[0-9a-f]{16}-[0-9]{1,10}$", nullable = false),
    ),
    responses((status = 200, description = "Events, until either side closes or the transfer is forgotten.",
        body = String, content_type = "text/event-stream")),
)]
pub(crate) async fn details<S: Service>(
    State(app): State<Arc<App<S>>>,
    Id(id): Id,
    headers: HeaderMap,
    Params(query): Params<ViewQuery>,
) -> Answer {
    events::last_id(&headers)?;
    let source = Details {
        watch: app.service.watch(id).await?,
        service: Arc::clone(&app.service),
        query,
        view: View::default(),
        files_of: None,
        from: Instant::now(),
        again: None,
        ready: VecDeque::new(),
        over: false,
    };
    events::follow(&app, source)
}

/// A client's place at one transfer.
struct Details<S> {
    service: Arc<S>,
    watch: Watch,
    query: ViewQuery,
    /// What the client has been sent: its row, and files, peers and trackers that are asked for.
    view: View,
    /// Of which state the files are.
    files_of: Option<FilesOf>,
    /// Nothing is looked at before.
    from: Instant,
    /// When to look though there is no news.
    again: Option<Instant>,
    /// Messages of the last look: seven at most.
    ready: VecDeque<Bytes>,
    /// Nothing more comes.
    over: bool,
}

impl<S: Service> Source for Details<S> {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(message) = self.ready.pop_front() {
                return Some(message);
            }
            if self.over || !self.rest().await {
                return None;
            }
            self.look().await;
        }
    }
}

impl<S: Service> Details<S> {
    /// Waits until it is time to look; false when the daemon stops.
    async fn rest(&mut self) -> bool {
        tokio::select! {
            () = self.watch.closed() => return false,
            () = sleep_until(self.from) => {}
        }
        let again = self.again;
        let due = async {
            match again {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            news = self.watch.news() => news,
            () = due => true,
        }
    }

    /// Looks, and has ready what is to be said. If it is dropped half-way, nothing was looked at.
    async fn look(&mut self) {
        let sight = self.watch.sight();
        let seen = match &sight.row {
            Some(row) => self.see(row, sight.stirred).await,
            None => Err(Problem::no_transfer(self.watch.id())),
        };
        let now = Instant::now();
        let events = match seen {
            Ok((view, files_of)) => {
                if view.files.is_some() {
                    self.files_of = Some(files_of);
                }
                self.view.look(view)
            }
            Err(problem) => {
                self.over = true;
                let gone = problem.kind == Kind::NotFound;
                let removed = ViewEvent::Removed(vec![self.watch.id()]);
                gone.then_some(removed).into_iter().collect()
            }
        };
        let last = events.len().saturating_sub(1);
        for (index, event) in events.iter().enumerate() {
            let id = (index == last).then_some(sight.id);
            self.ready.push_back(message(id, event.name(), event));
        }
        self.from = now + PACE;
        let row = sight.row.as_deref().map(|row| &row.transfer);
        self.again = row.and_then(|row| self.look_again(row, now));
        self.watch.saw(sight);
    }

    /// What is there of the parts that are asked for, but of files if they are as they were.
    async fn see(&self, row: &Row, stirred: u32) -> Result<(View, FilesOf), Problem> {
        let id = row.transfer.id;
        let wants = |part| self.query.parts.has(part);
        let files_of = FilesOf::new(&row.transfer, stirred);
        let mut view = View::default();
        if wants(ViewPart::Transfer) {
            view.transfer = Some(Box::new(row.transfer.clone()));
        }
        if wants(ViewPart::Files) && self.files_of != Some(files_of) {
            view.files = Some(self.service.files(id, self.query.cut()).await?);
        }
        if wants(ViewPart::Peers) {
            view.peers = Some(self.service.peers(id).await?);
        }
        if wants(ViewPart::Trackers) {
            view.trackers = Some(self.service.trackers(id).await?);
        }
        Ok((view, files_of))
    }

    /// When there may be something that is no news of the row.
    fn look_again(&self, row: &Transfer, now: Instant) -> Option<Instant> {
        let wants = |part| self.query.parts.has(part);
        let runs = matches!(
            row.state,
            Doing::Metadata | Doing::Downloading | Doing::Seeding
        );
        match runs {
            true if !row.dormant && (wants(ViewPart::Peers) || wants(ViewPart::Trackers)) => {
                Some(now + LIVELY)
            }
            true if wants(ViewPart::Trackers) => Some(now + QUIET),
            _ => None,
        }
    }
}

/// What files depend on: while it is the same, they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FilesOf {
    files: u32,
    wanted: u64,
    done: u64,
    pieces_done: u32,
    checking: Option<Progress>,
    stirred: u32,
}

impl FilesOf {
    fn new(row: &Transfer, stirred: u32) -> FilesOf {
        FilesOf {
            files: row.files,
            wanted: row.wanted,
            done: row.done,
            pieces_done: row.pieces_done,
            checking: row.checking,
            stirred,
        }
    }
}
