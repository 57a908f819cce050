//! A node that runs for as long as the computer is on: transfers as people manage them, kept in a database, seen and
//! changed through [`api::Service`]. What its parts are is in `docs/design/daemon.md`.
//!
//! Here is the daemon's start, its loop, and what follows from the node's events. What is asked of it is answered in
//! `service`; what the policy decides is carried out by `rules`.

mod adding;
mod book;
mod content;
mod home;
mod rules;
mod service;
mod state;
mod surroundings;
mod trash;
mod watched;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use api::{Live, Notice, RunId, Settings, Table, Totals, TransferId};
use tokio::sync::{mpsc, watch};

use crate::drivers::dormant::{Chosen, Dormant};
use crate::{Event, Node, Options, Place, Problem, Report, Source, StartError};
use book::{Book, Entry};
pub use home::{Home, HomeError};
use rules::Rules;
use state::{Change, Kept, Record, State, StateError};

/// How often transfers that change are shown anew.
const REPORT: Duration = Duration::from_millis(250);
/// A complete transfer without a peer for so long gives its memory back.
const DORMANCY: Duration = Duration::from_secs(120);
/// Statistics are kept this often while they change.
const KEEP: Duration = Duration::from_secs(5);
/// Events taken in one go.
const BATCH: usize = 256;
/// Why a transfer stands still whose move was cut off.
const MOVING: &str = "its data is being moved";

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
    book: Mutex<Book>,
    rules: Mutex<Rules>,
    /// The policy's deadline may have changed.
    nudge: tokio::sync::Notify,
    /// Something began to move, or what is of interest changed.
    stirred: tokio::sync::Notify,
    /// The configuration is to be read again.
    reload: tokio::sync::Notify,
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
        let (state, kept) = State::open(&home.join("state.sqlite"))?;
        let mut run = [0; 8];
        getrandom::fill(&mut run)
            .map_err(|error| StartError::System(std::io::Error::other(error)))?;
        let run = RunId(u64::from_le_bytes(run));
        let content_secret =
            home::secret(&home.join("content-secret")).map_err(StartError::System)?;
        let labels = kept.labels.iter().map(|l| (l.name.clone(), l.clone()));
        let labels: BTreeMap<_, _> = labels.collect();
        let settings = service::overridden(&config.settings, &kept.settings);
        let rules = Rules::new(rules::settings(&settings, &labels)?);
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
                reload: tokio::sync::Notify::new(),
                watched: watch::Sender::new(watched),
                content_secret,
                stopping: watch::Sender::new(false),
                home,
                downloads: config.downloads,
                configured: Mutex::new(config.settings),
                run,
                started: SystemTime::now(),
                api: config.api,
                content: config.content,
                warnings: Mutex::default(),
            }),
        };
        daemon.restore(kept, labels);
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

    // ---- the start ---------------------------------------------------------------------------

    /// Takes up what was kept.
    fn restore(&self, mut kept: Kept, labels: BTreeMap<String, api::Label>) {
        if let Some(aside) = kept.damaged.take() {
            let found = self.rebuild(&mut kept);
            self.warn(format!(
                "the state database was damaged: it is kept as {}, and {found} transfers were found again by their \
                 torrents. Labels, limits and totals are lost",
                aside.display()
            ));
        }
        let alive = home::last_alive(&self.shared.home);
        let mut book = self.book();
        book.labels = labels;
        book.next_id = kept.next_id;
        // The queue is built in its order.
        kept.transfers
            .sort_by_key(|record| (record.position, record.id));
        let (mut facts, mut begun) = (Vec::new(), Vec::new());
        for mut record in kept.transfers {
            let id = record.id;
            if let Some(from) = record.seeding_from.take() {
                record.totals.seeded_seconds += alive.saturating_sub(from).max(0) as u64;
            }
            begun.push(self.begin_kept(&record));
            let mut entry = Entry::new(record);
            entry.file_system = home::file_system(&entry.root());
            facts.push(policy::Input::Transfer(
                policy::TransferId(id),
                Box::new(entry.wishes()),
            ));
            facts.push(policy::Input::Progress(
                policy::TransferId(id),
                entry.progress(),
            ));
            book.entries.insert(id, Box::new(entry));
        }
        drop(book);
        // Verdicts first: what is held does not begin to run.
        let verdicts = self.rules().tell(&self.shared.node, facts);
        let mut halted: BTreeMap<u32, String> = BTreeMap::new();
        {
            let mut book = self.book();
            for (id, hold) in verdicts {
                if let Some(entry) = book.entries.get_mut(&id) {
                    entry.hold = hold.map(Box::new);
                }
            }
            for (&id, entry) in &mut book.entries {
                entry.seed_from_now();
                // What a move has not brought over must not be fetched again meanwhile.
                let moving = entry.record.rare.moving_to.is_some();
                entry.moving = moving;
                let moves = moving.then(|| MOVING.to_owned());
                halted.extend(moves.or_else(|| entry.halted()).map(|why| (id, why)));
            }
        }
        let mut groups = Vec::new();
        for (id, begin) in &mut begun {
            begin.halt(halted.remove(id));
            if let Some(label) = self
                .book()
                .entries
                .get(id)
                .and_then(|e| e.record.label.clone())
            {
                groups.push((*id, self.rules().group(&label)));
            }
        }
        let daemon = self.clone();
        drop(self.shared.node.call(move |driver| {
            for (id, begin) in begun {
                let id = swarm::TorrentId(id);
                let begun = match begin {
                    Begin::Asleep(dormant) => driver.add_dormant(id, dormant),
                    Begin::Awake(source, options) => {
                        let hashes = source.hashes();
                        let begun = driver.add(id, source, (*options).clone());
                        if begun.is_err() {
                            driver.shelve(id, hashes, &options, options.private);
                        }
                        begun
                    }
                };
                if let Err(error) = begun {
                    driver.event(Event::Failed(id, error.into()));
                }
            }
            for (id, group) in groups {
                driver.tell(swarm::Input::Group(swarm::TorrentId(id), Some(group)));
            }
        }));
        daemon.show_all();
        daemon.show_totals();
        for (id, to) in daemon.unfinished_moves() {
            daemon.relocate(id, to);
        }
    }

    /// Finds transfers by the torrents that are kept, with the place of each.
    fn rebuild(&self, kept: &mut Kept) -> usize {
        let placed = match crate::keep::Keep::open(&self.shared.home) {
            Ok(keep) => keep.placed(),
            Err(_) => Vec::new(),
        };
        for (metainfo, root, read_only) in placed {
            let id = kept.next_id;
            kept.next_id += 1;
            kept.transfers
                .push(adding::found(id, &metainfo, root, read_only));
        }
        let changes = kept
            .transfers
            .iter()
            .cloned()
            .map(Box::new)
            .map(Change::Transfer);
        self.shared.state.note(changes.collect());
        kept.transfers.len()
    }

    /// Moves that a stop or crash interrupted.
    fn unfinished_moves(&self) -> Vec<(u32, PathBuf)> {
        let book = self.book();
        let entries = book.entries.values();
        entries
            .filter_map(|e| Some((e.record.id, e.record.rare.moving_to.clone()?)))
            .collect()
    }

    /// How a transfer joins the node again.
    fn begin_kept(&self, record: &Record) -> (u32, Begin) {
        let place = match record.exact {
            true => Place::At(record.folder.to_path_buf()),
            false => Place::Into(record.folder.to_path_buf()),
        };
        let options = Box::new(Options {
            read_only: record.read_only,
            select: record.rare.select.clone(),
            priorities: record.rare.priorities.clone(),
            preallocate: record.preallocate,
            sequential: record.sequential,
            private: record.facts.private,
            remember: true,
            ..Options::new(place)
        });
        let complete = record.finished.is_some() && record.facts.pieces > 0;
        // What is not all at its new place yet is not looked for at the old one.
        if complete || record.rare.moving_to.is_some() {
            let dormant = Dormant {
                hashes: record.hashes,
                folder: record.folder.clone(),
                exact: record.exact,
                read_only: record.read_only,
                preallocate: record.preallocate,
                sequential: record.sequential,
                private: record.facts.private,
                halted: None,
                chosen: Chosen::of(&record.rare.select, &record.rare.priorities),
                trackers: record.rare.trackers.clone(),
            };
            return (record.id, Begin::Asleep(Box::new(dormant)));
        }
        let link = record
            .rare
            .link
            .as_deref()
            .and_then(|link| link.parse().ok());
        let source = match link {
            Some(magnet) => Source::Magnet(Box::new(magnet)),
            None => Source::Hash(record.hashes),
        };
        (record.id, Begin::Awake(source, options))
    }

    // ---- what is shown -----------------------------------------------------------------------

    /// Shows a transfer as it is now.
    fn show(&self, ids: impl IntoIterator<Item = u32>) {
        let positions = self.positions();
        let book = self.book();
        self.shared.live.update(|table| {
            for id in ids {
                if let Some(entry) = book.entries.get(&id) {
                    table.put(entry.row(positions.get(&id).copied()));
                }
            }
        });
    }

    fn show_all(&self) {
        let ids: Vec<u32> = self.book().entries.keys().copied().collect();
        self.show(ids);
    }

    /// Places in the queue of those that are not complete.
    fn positions(&self) -> BTreeMap<u32, u32> {
        let rules = self.rules();
        let book = self.book();
        let waits = |id: &u32| book.entries.get(id).is_some_and(|e| !e.complete());
        (0..)
            .zip(rules.queue().filter(waits))
            .map(|(at, id)| (id, at))
            .collect()
    }

    /// Shows the sums.
    fn show_totals(&self) {
        let (limits, slots) = {
            let rules = self.rules();
            (rules.limits, rules.slots)
        };
        let free = store::free_space(&self.folder()).ok();
        self.shared.live.update(|table| {
            let mut totals = Totals {
                limits: api::Limits {
                    down: limits.down,
                    up: limits.up,
                },
                slots,
                dht_nodes: table.totals().dht_nodes,
                free: free.map(|free| free >> 20 << 20),
                ..Totals::default()
            };
            for row in table.rows() {
                let t = &row.transfer;
                totals.rate_down += t.rate_down;
                totals.rate_up += t.rate_up;
                totals.received += t.received;
                totals.sent += t.sent;
                totals.wasted += t.wasted;
                totals.peers += t.peers;
                *totals.states.entry(t.state).or_default() += 1;
            }
            if limits != book::rates(table.settings().limits) {
                totals.limits_reason =
                    Some("the schedule or a metered network asks for other limits".to_owned());
            }
            table.set_totals(totals);
        });
    }

    fn notice(&self, id: Option<u32>, text: String) {
        tracing::info!(transfer = id, "{text}");
        let notice = Notice {
            transfer: id.map(TransferId),
            text,
            at: unix_now() as u64,
        };
        self.shared.live.update(|table| table.notice(notice));
    }

    // ---- what follows from facts -------------------------------------------------------------

    /// Facts for the policy; what it decides is carried out.
    fn judge(&self, facts: impl IntoIterator<Item = policy::Input>) {
        let verdicts = self.rules().tell(&self.shared.node, facts);
        self.shared.nudge.notify_one();
        if verdicts.is_empty() {
            return;
        }
        let mut changed = Vec::new();
        {
            let mut book = self.book();
            for (id, hold) in verdicts {
                if let Some(entry) = book.entries.get_mut(&id) {
                    entry.hold = hold.map(Box::new);
                    changed.push(id);
                }
            }
        }
        changed.iter().for_each(|&id| self.apply(id));
        self.show(changed);
    }

    /// Tells the node whether a transfer runs.
    fn apply(&self, id: u32) {
        let (halted, kept) = {
            let mut book = self.book();
            let Some(entry) = book.entries.get_mut(&id) else {
                return;
            };
            (entry.halted(), entry.seed_from_now())
        };
        self.shared.state.note(kept);
        let id = swarm::TorrentId(id);
        // The node has stopped: so has the transfer.
        drop(self.shared.node.call(move |driver| driver.halt(id, halted)));
    }

    /// What the policy is told when something a person chose has changed.
    fn wish(&self, id: u32) {
        let wishes = self.book().entries.get(&id).map(|entry| entry.wishes());
        if let Some(wishes) = wishes {
            let id = policy::TransferId(id);
            self.judge([policy::Input::Transfer(id, Box::new(wishes))]);
        }
    }

    /// Keeps a transfer as it is, now.
    async fn keep(&self, id: u32) -> Result<(), api::Problem> {
        let record = self.book().entries.get(&id).map(|e| e.record.clone());
        let Some(record) = record else {
            return Err(api::Problem::no_transfer(TransferId(id)));
        };
        self.commit(vec![Change::Transfer(Box::new(record))]).await
    }

    async fn commit(&self, changes: Vec<Change>) -> Result<(), api::Problem> {
        let kept = self.shared.state.commit(changes).await;
        kept.map_err(|error| {
            let kind = match error.contains("full") {
                true => api::Kind::NoSpace,
                false => api::Kind::Internal,
            };
            api::Problem::new(
                kind,
                format!(
                    "This could not be kept in the state database: {error}. Make room in {} and try again.",
                    self.shared.home.display()
                ),
            )
        })
    }

    fn take(&self, batch: Vec<Event>) {
        let (mut changed, mut facts) = (Vec::new(), Vec::new());
        for event in batch {
            match event {
                Event::Report(reports) => {
                    for (id, report) in reports {
                        facts.extend(self.reported(id.0, report));
                        changed.push(id.0);
                    }
                }
                Event::Metadata(id, info) => self.learnt(id.0, &info, &mut changed),
                Event::Checked(id, have, of) => {
                    self.checked(id.0, have == of);
                    changed.push(id.0);
                }
                Event::FileFinished(..) => {}
                Event::Finished(id) => {
                    facts.extend(self.finished(id.0));
                    changed.push(id.0);
                }
                Event::Paused(id, problem) | Event::Failed(id, problem) => {
                    self.notice(Some(id.0), problem.message.clone());
                    facts.extend(self.stopped(id.0, Some(problem)));
                    changed.push(id.0);
                }
                Event::Resumed(id) => {
                    facts.extend(self.stopped(id.0, None));
                    changed.push(id.0);
                }
                Event::Notice(id, text) => self.notice(Some(id.0), text),
                Event::DhtNodes(nodes) => self.shared.live.update(|table| {
                    let mut totals = (**table.totals()).clone();
                    totals.dht_nodes = nodes as u32;
                    table.set_totals(totals);
                }),
            }
        }
        if !facts.is_empty() {
            self.judge(facts);
        }
        changed.sort_unstable();
        changed.dedup();
        if !changed.is_empty() {
            self.show(changed);
            self.show_totals();
            self.shared.stirred.notify_one();
        }
    }

    fn reported(&self, id: u32, report: Report) -> Option<policy::Input> {
        let mut book = self.book();
        let entry = book.entries.get_mut(&id)?;
        let before = entry.progress();
        entry.report(report);
        let now = entry.progress();
        (before != now).then_some(policy::Input::Progress(policy::TransferId(id), now))
    }

    /// The metadata is here.
    fn learnt(&self, id: u32, info: &torrent::metainfo::Info, changed: &mut Vec<u32>) {
        let mut book = self.book();
        let Some(entry) = book.entries.get_mut(&id) else {
            return;
        };
        let record = &mut entry.record;
        let facts = book::facts(info, &record.rare.priorities);
        let news = record.facts.pieces == 0 || record.hashes != info.hashes();
        let wanted = record.facts.wanted;
        record.facts = facts;
        // Which files were asked for by name, the node knows and reports.
        if !record.rare.select.is_empty() && wanted > 0 {
            record.facts.wanted = wanted;
        }
        if news {
            // A name that a person gave stays.
            let name = match record.file_name {
                None => info.name().to_owned(),
                Some(_) => record.name.clone(),
            };
            record.call(&name, info.name());
            record.hashes = info.hashes();
            let record = Box::new(record.clone());
            self.shared.state.note(vec![Change::Transfer(record)]);
        }
        changed.push(id);
    }

    /// A check is over: what was complete may be so no longer.
    fn checked(&self, id: u32, whole: bool) {
        let mut book = self.book();
        let Some(entry) = book.entries.get_mut(&id) else {
            return;
        };
        let record = &mut entry.record;
        let wants_all = record.facts.wanted == record.facts.size;
        if whole && record.finished.is_none() {
            record.finished = Some(unix_now());
            record.totals.done = record.facts.wanted;
        } else if !whole && wants_all && record.finished.is_some() {
            record.finished = None;
        } else {
            return;
        }
        let record = Box::new(record.clone());
        self.shared.state.note(vec![Change::Transfer(record)]);
    }

    fn finished(&self, id: u32) -> Option<policy::Input> {
        let mut book = self.book();
        let entry = book.entries.get_mut(&id)?;
        let news = entry.record.finished.is_none();
        if news {
            entry.record.finished = Some(unix_now());
            entry.record.totals.done = entry.record.facts.wanted;
        }
        let mut kept = entry.seed_from_now();
        kept.push(Change::Transfer(Box::new(entry.record.clone())));
        self.shared.state.note(kept);
        let (name, root) = (entry.record.name.clone(), entry.root());
        let progress = entry.progress();
        drop(book);
        if news {
            self.run_hook(id, &name, &root);
        }
        Some(policy::Input::Progress(policy::TransferId(id), progress))
    }

    fn stopped(&self, id: u32, problem: Option<Problem>) -> Option<policy::Input> {
        let mut book = self.book();
        let entry = book.entries.get_mut(&id)?;
        entry.problem = problem.map(Box::new);
        let kept = entry.seed_from_now();
        self.shared.state.note(kept);
        let wishes = Box::new(entry.wishes());
        Some(policy::Input::Transfer(policy::TransferId(id), wishes))
    }

    /// Keeps what transfers have done, and whether the computer will remember when this was.
    fn keep_totals(&self) -> bool {
        let mut book = self.book();
        let mut changes = Vec::new();
        for entry in book.entries.values_mut() {
            if std::mem::take(&mut entry.unkept) {
                changes.push(Change::Totals(entry.record.id, entry.record.totals));
            }
        }
        let news = !changes.is_empty();
        self.shared.state.note(changes);
        news
    }
}

/// How a kept transfer begins.
enum Begin {
    Asleep(Box<Dormant>),
    Awake(Source, Box<Options>),
}

impl Begin {
    fn halt(&mut self, why: Option<String>) {
        match self {
            Begin::Asleep(dormant) => dormant.halted = why.map(String::into_boxed_str),
            Begin::Awake(_, options) => options.halted = why,
        }
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
        let mut alive_at = Instant::now();
        loop {
            let rules_at = daemon.rules().deadline();
            let wake = [rules_at, keep_at, Some(alive_at)]
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
                    if rules_at.is_some_and(|at| at <= now) {
                        daemon.judge([policy::Input::Timeout(rules::local_time())]);
                    }
                    if keep_at.is_some_and(|at| at <= now) {
                        keep_at = daemon.keep_totals().then(|| now + KEEP);
                    }
                    if alive_at <= now {
                        home::note_alive(&daemon.shared.home);
                        alive_at = now + home::ALIVE;
                    }
                }
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
            for entry in book.entries.values_mut() {
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
