//! A node that runs for as long as the computer is on: transfers as people manage them, kept in a database, seen and
//! changed through [`api::Service`]. What its parts are is in `docs/design/daemon.md`.
//!
//! Here is the daemon's start and its loop. What is asked of it is answered in `service`, and done in `adding`,
//! `transfers`, `moving`, `labels` and `configuring`; what follows from the node's events is in `following`, what is
//! shown in `showing`. What the policy decides is carried out by `rules`.

mod adding;
mod book;
mod clock;
mod configuring;
mod content;
mod entry;
mod following;
mod home;
mod hook;
mod labels;
mod moving;
mod restoring;
mod reusing;
mod rules;
mod service;
mod showing;
mod state;
mod surroundings;
mod transfers;
mod trash;
mod watched;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use api::{Live, RunId, Settings, Table};
use tokio::sync::{mpsc, watch};

use crate::{Event, Node, StartError};
use book::Book;
use clock::Clock;
pub use configuring::Reload;
pub use home::{Home, HomeError};
use rules::Rules;
use state::{Change, State, StateError};

/// How often transfers that change are shown anew.
const REPORT: Duration = Duration::from_millis(250);
/// A complete transfer without a peer for so long gives its memory back.
const DORMANCY: Duration = Duration::from_secs(120);
/// Statistics are kept this often while they change.
const KEEP: Duration = Duration::from_secs(5);
/// Places in the queue that changed because others came or went are shown so soon.
const PLACES: Duration = Duration::from_secs(1);
/// Events taken in one go.
const BATCH: usize = 256;
/// Requests to read the configuration again that may wait; who comes later waits to be heard.
const RELOADS: usize = 16;

/// How a daemon is to run.
pub struct Config {
    /// Its node; `report` and `dormancy` are the daemon's own.
    pub node: crate::Config,
    /// Settings of the configuration: what a person changed while it ran goes before.
    pub settings: Settings,
    /// Where content goes when no setting says it.
    pub downloads: PathBuf,
    /// What is shown of where the API can be reached.
    pub api: Vec<String>,
    /// URL of the content listener.
    pub content: Option<String>,
}

/// Why a daemon did not start.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The node did not.
    #[error(transparent)]
    Start(#[from] StartError),
    /// What was kept cannot be read.
    #[error(transparent)]
    State(#[from] StateError),
    /// The settings cannot be meant.
    #[error("the setting {0}")]
    Setting(#[from] policy::WrongSetting),
}

/// A daemon, to those who ask it. Clones are one daemon.
#[derive(Clone)]
pub struct Daemon {
    shared: Arc<Shared>,
}

struct Shared {
    node: Node,
    state: State,
    live: Live,
    // Whoever holds several of these took them in this order: book, rules, the table in `live`. Beware of
    // `if let Some(x) = self.book()…`, which holds the book to the end of its block.
    book: Mutex<Book>,
    rules: Mutex<Rules>,
    /// The policy's deadline may have changed.
    nudge: tokio::sync::Notify,
    /// Something began to move, or what is of interest changed.
    stirred: tokio::sync::Notify,
    /// The configuration is to be read again.
    reload: (
        mpsc::Sender<Reload>,
        tokio::sync::Mutex<mpsc::Receiver<Reload>>,
    ),
    /// Folders whose torrent files are added.
    watched: watch::Sender<Vec<api::WatchFolder>>,
    /// Makes the hosts that content is served from hard to guess.
    content_secret: [u8; 32],
    stopping: watch::Sender<bool>,
    home: PathBuf,
    downloads: PathBuf,
    /// Settings of the configuration.
    configured: Mutex<Settings>,
    run: RunId,
    started: SystemTime,
    /// The same, by the clock that never jumps.
    since: Instant,
    /// As it was when it was last looked at.
    clock: Mutex<Clock>,
    api: Vec<String>,
    content: Option<String>,
    warnings: Mutex<Vec<String>>,
}

/// The daemon's own work; [`run`](Self::run) it beside the API.
pub struct Worker {
    daemon: Daemon,
    events: mpsc::UnboundedReceiver<Event>,
}

impl Daemon {
    /// Starts a daemon with all that was kept in its home.
    ///
    /// # Errors
    /// The node does not start, or what was kept cannot be read.
    pub fn start(config: Config) -> Result<(Daemon, Worker), DaemonError> {
        let home = config.node.state_dir.clone();
        let (sender, events) = mpsc::unbounded_channel();
        let node_config = crate::Config {
            report: Some(REPORT),
            dormancy: Some(DORMANCY),
            ..config.node
        };
        // The loop has ended: nobody is shown anything any more.
        let node = Node::start_with(node_config, Box::new(move |event| drop(sender.send(event))))?;
        // Where a daemon has been alive, there was a database.
        let alive = home::last_alive(&home);
        let (state, kept) = State::open(&home.join("state.sqlite"), alive.is_some())?;
        let mut run = [0; 8];
        getrandom::fill(&mut run)
            .map_err(|error| StartError::System(std::io::Error::other(error)))?;
        let run = RunId(u64::from_le_bytes(run));
        let content_secret =
            home::secret(&home.join("content-secret")).map_err(StartError::System)?;
        let labels = kept.labels.iter().map(|l| (l.name.clone(), l.clone()));
        let labels: BTreeMap<_, _> = labels.collect();
        let settings = configuring::overridden(&config.settings, &kept.settings);
        let rules = Rules::new(rules::settings(&settings, &labels)?);
        let (ask_reload, reloads) = mpsc::channel(RELOADS);
        let mut table = Table::new(run);
        let watched = settings.watch.clone();
        table.set_settings(settings);
        table.set_labels(kept.labels.clone());
        let daemon = Daemon {
            shared: Arc::new(Shared {
                node,
                state,
                live: Live::new(table),
                book: Mutex::default(),
                rules: Mutex::new(rules),
                nudge: tokio::sync::Notify::new(),
                stirred: tokio::sync::Notify::new(),
                reload: (ask_reload, tokio::sync::Mutex::new(reloads)),
                watched: watch::Sender::new(watched),
                content_secret,
                stopping: watch::Sender::new(false),
                home,
                downloads: config.downloads,
                configured: Mutex::new(config.settings),
                run,
                started: SystemTime::now(),
                since: Instant::now(),
                clock: Mutex::new(Clock::now()),
                api: config.api,
                content: config.content,
                warnings: Mutex::default(),
            }),
        };
        daemon.restore(kept, alive.unwrap_or_default(), labels);
        let worker = Worker {
            daemon: daemon.clone(),
            events,
        };
        Ok((daemon, worker))
    }

    /// Where peers reach the node.
    pub fn listening(&self) -> std::net::SocketAddr {
        self.shared.node.listening()
    }

    /// Ends once the daemon is to stop.
    pub async fn stopping(&self) {
        let mut stopping = self.shared.stopping.subscribe();
        // The sender lives as long as the daemon.
        let _ = stopping.wait_for(|&stopping| stopping).await;
    }

    /// Asks the daemon to stop.
    pub fn stop(&self) {
        self.shared.stopping.send_replace(true);
    }

    /// Something that a person should know and that lasts.
    pub fn warn(&self, text: String) {
        tracing::warn!("{text}");
        self.shared
            .warnings
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(text);
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.shared
            .book
            .lock()
            .expect("no code panics while it holds the book")
    }

    fn rules(&self) -> MutexGuard<'_, Rules> {
        self.shared
            .rules
            .lock()
            .expect("no code panics while it holds the rules")
    }
}

impl Worker {
    /// Does the daemon's work until it is to stop, then stops cleanly.
    pub async fn run(mut self) {
        let daemon = self.daemon.clone();
        let mut stopping = daemon.shared.stopping.subscribe();
        let surroundings = tokio::spawn(surroundings::follow(daemon.clone()));
        let watched = tokio::spawn(watched::follow(daemon.clone()));
        let mut batch = Vec::with_capacity(BATCH);
        let mut keep_at: Option<Instant> = None;
        let mut places_at: Option<Instant> = None;
        let mut alive_at = Instant::now();
        loop {
            let (rules_at, moved) = {
                let rules = daemon.rules();
                (rules.deadline(), rules.have_moved())
            };
            places_at = places_at.or_else(|| moved.then(|| Instant::now() + PLACES));
            let wake = [rules_at, keep_at, places_at, Some(alive_at)]
                .into_iter()
                .flatten()
                .min();
            tokio::select! {
                _ = stopping.wait_for(|&stopping| stopping) => break,
                taken = self.events.recv_many(&mut batch, BATCH) => {
                    if taken == 0 {
                        break;
                    }
                    daemon.take(std::mem::take(&mut batch));
                    keep_at = keep_at.or(Some(Instant::now() + KEEP));
                }
                () = daemon.shared.nudge.notified() => {}
                () = sleep_until(wake) => {
                    let now = Instant::now();
                    if keep_at.is_some_and(|at| at <= now) {
                        keep_at = daemon.keep_totals().then(|| now + KEEP);
                    }
                    if places_at.is_some_and(|at| at <= now) {
                        places_at = None;
                        daemon.show_places();
                    }
                }
            }
            if rules_at.is_some_and(|at| at <= Instant::now()) {
                // A jump that the policy hears of is one that is seen to be over, too.
                daemon.look_at_clock().await;
                daemon.judge([policy::Input::Timeout(rules::local_time())]);
            }
            if alive_at <= Instant::now() {
                // Before it is noted: by then the new clock has to count.
                daemon.look_at_clock().await;
                home::note_alive(&daemon.shared.home, daemon.shared.since.elapsed());
                alive_at = Instant::now() + home::ALIVE;
            }
        }
        surroundings.abort();
        watched.abort();
        daemon.shared.live.close();
        let shared = daemon.shared.clone();
        // Joining its thread may take a while.
        let _ = tokio::task::spawn_blocking(move || shared.node.halt()).await;
        // What it said last.
        while let Ok(event) = self.events.try_recv() {
            if let Event::Report(_) = event {
                daemon.take(vec![event]);
            }
        }
        daemon.end().await;
    }
}

impl Daemon {
    /// The node has stopped: keeps everything.
    async fn end(&self) {
        {
            let mut book = self.book();
            let mut changes = Vec::new();
            for entry in book.entries_mut() {
                if entry.stop_seeding() || std::mem::take(&mut entry.unkept) {
                    changes.push(Change::Transfer(Box::new(entry.record.clone())));
                }
            }
            self.shared.state.note(changes);
        }
        // What was noted before is written before this is answered.
        if let Err(error) = self.shared.state.commit(Vec::new()).await {
            tracing::error!(error, "the last statistics could not be kept");
        }
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

/// Seconds since 1970.
fn unix_now() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs() as i64)
}
