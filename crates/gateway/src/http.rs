//! The API over HTTP (docs/design/daemon.md): JSON, server-sent events, problem details.
//!
//! [`router`] is the whole API as a value; [`serve()`] gives it sockets. On the way in, a request
//! passes `guard`: the host it names, the origin it comes from, the token it brings. Bodies are
//! read by `body`, with their limits; what a route does is in `routes/`, one file a resource.
//! The OpenAPI document is the committed `docs/openapi.json`; a test checks it against the code.
//!
//! Not here: content of transfers, which is another origin.

mod answer;
mod body;
mod details;
mod events;
mod guard;
mod login;
mod metrics;
mod openapi;
mod patient;
mod routes;
mod serve;
mod token;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use api::Service;
use axum::Router;
use tokio::sync::Semaphore;

pub use guard::Caller;
pub use openapi::DOCUMENT;
pub(crate) use serve::serve_patiently;
pub use serve::{Listeners, bind_local, serve};
pub use token::{Token, TokenError};

/// Most clients that follow events at once. Each costs a connection and a place in the changes.
pub const MAX_FOLLOWERS: usize = 256;
/// Most torrent files that are received at once, each at most `body::MAX_TORRENT` bytes.
const MAX_UPLOADS: usize = 2;
/// A comment is sent to followers this often, so that both sides notice a dead connection.
pub const HEARTBEAT: Duration = Duration::from_secs(30);
/// Wrong tokens that one address may send in a minute.
pub const MAX_WRONG: u32 = 10;

/// How the API is to be served.
#[derive(Clone, Debug)]
pub struct Config {
    /// Who knows it may command the daemon.
    pub token: Token,
    /// Names by which it may be called, as in `Host`, beside this computer's own: of a proxy in
    /// front of it. Without a port they are good for any.
    pub names: Vec<String>,
    /// Most clients that follow events at once.
    pub followers: usize,
    /// How often they are sent a comment.
    pub heartbeat: Duration,
    /// Wrong tokens that one address may send in a minute before it is refused with 429.
    pub wrong_tokens: u32,
}

impl Config {
    /// As usual, with this token.
    pub fn new(token: Token) -> Config {
        Config {
            token,
            names: Vec::new(),
            followers: MAX_FOLLOWERS,
            heartbeat: HEARTBEAT,
            wrong_tokens: MAX_WRONG,
        }
    }
}

/// What all routes share.
pub(crate) struct App<S> {
    service: Arc<S>,
    gate: guard::Gate,
    followers: Arc<Semaphore>,
    /// For metrics: how many `followers` began with.
    max_followers: usize,
    heartbeat: Duration,
    uploads: Semaphore,
    counts: Counts,
}

/// What the gateway counts.
#[derive(Default)]
struct Counts {
    /// Answers by the first digit of their status, from 1.
    answers: [AtomicU64; 5],
    /// Requests with a wrong token or code.
    refused: AtomicU64,
}

impl Counts {
    fn answered(&self, status: http::StatusCode) {
        let class = usize::from(status.as_u16() / 100).clamp(1, 5) - 1;
        self.answers[class].fetch_add(1, Ordering::Relaxed);
    }
}

/// The API of a daemon. Requests must bear a [`Caller`] as extension, as [`serve()`] gives them;
/// one without is refused.
pub fn router<S: Service>(service: Arc<S>, config: Config) -> Router {
    let app = Arc::new(App {
        service,
        followers: Arc::new(Semaphore::new(config.followers)),
        max_followers: config.followers,
        heartbeat: config.heartbeat,
        uploads: Semaphore::new(MAX_UPLOADS),
        counts: Counts::default(),
        gate: guard::Gate::new(config.token, config.names, config.wrong_tokens),
    });
    routes::router(app)
}
