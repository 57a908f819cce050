//! What is asked of a daemon, answered.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use api::{
    Add, Changes, Check, Cut, Deleted, EventId, File, Items, Kind, Label, LabelPatch, Metrics,
    Move, Page, Peer, Preview, Problem, Query, Rename, Row, Service, Settings, SettingsPatch,
    Source, Status, Tracker, TransferId, TransferPatch, Watch,
};
use swarm::TorrentId;

use super::book::Entry;
use super::state::Change;
use super::{Daemon, adding, rules, trash};
use crate::ProblemKind;

impl Daemon {
    /// Where content goes when nothing else is said.
    pub(super) fn folder(&self) -> PathBuf {
        let set = self
            .shared
            .live
            .read(|table| table.settings().folder.clone());
        match set.is_empty() {
            true => self.shared.downloads.clone(),
            false => PathBuf::from(set),
        }
    }

    fn row(&self, id: u32) -> Result<Arc<Row>, Problem> {
        let row = self
            .shared
            .live
            .read(|table| table.get(TransferId(id)).cloned());
        row.ok_or_else(|| Problem::no_transfer(TransferId(id)))
    }

    /// Changes a transfer in the book.
    fn edit<R>(&self, id: u32, change: impl FnOnce(&mut Entry) -> R) -> Result<R, Problem> {
        let mut book = self.book();
        let entry = book.entries.get_mut(&id);
        entry
            .map(|entry| change(entry))
            .ok_or_else(|| Problem::no_transfer(TransferId(id)))
    }

    /// Keeps, shows and answers a transfer that was changed.
    async fn changed(&self, id: u32) -> Result<Arc<Row>, Problem> {
        self.keep(id).await?;
        self.show([id]);
        self.row(id)
    }

    async fn set_paused(&self, id: u32, paused: bool) -> Result<Arc<Row>, Problem> {
        let was = self.edit(id, |entry| {
            std::mem::replace(&mut entry.record.paused, paused)
        })?;
        if let Err(problem) = self.keep(id).await {
            // Gone meanwhile: there is nothing to put back.
            let _ = self.edit(id, |entry| entry.record.paused = was);
            return Err(problem);
        }
        if !paused {
            // What stopped it is looked at again at once; a limit that was reached is a person's to lift.
            drop(self.shared.node.call(|driver| {
                driver.look_now();
                driver.retry_stuck();
            }));
        }
        self.apply(id);
        self.wish(id);
        self.show([id]);
        self.show_totals();
        self.row(id)
    }

    /// Moves a transfer's content, and tells when it is done.
    pub(super) fn relocate(&self, id: u32, to: PathBuf) {
        let daemon = self.clone();
        tokio::spawn(async move {
            let target = to.clone();
            let Ok(complete) = daemon.edit(id, |entry| entry.complete()) else {
                return;
            };
            let moved = daemon.shared.node.run(move |driver| async move {
                let moved = driver
                    .clone()
                    .relocate(TorrentId(id), target, complete)
                    .await;
                if moved.is_err() {
                    // It goes on where it is, even if it slept through the attempt.
                    driver.rouse(TorrentId(id));
                }
                moved
            });
            let moved = moved.await;
            let edited = daemon.edit(id, |entry| {
                entry.moving = false;
                entry.record.rare.edit(|rare| rare.moving_to = None);
                if let Ok(Ok(())) = moved {
                    entry.record.folder = to.as_path().into();
                    entry.record.exact = true;
                    entry.file_system = super::home::file_system(&to);
                }
            });
            if edited.is_err() {
                return;
            }
            match moved {
                Ok(Ok(())) => {
                    daemon.notice(Some(id), format!("its data is at {} now", to.display()))
                }
                Ok(Err(problem)) => daemon.notice(
                    Some(id),
                    format!(
                        "its data was not moved: {}. What was moved stays; try again",
                        problem.message
                    ),
                ),
                // The node has stopped; the move goes on at the next start.
                Err(_) => return,
            }
            if let Err(problem) = daemon.keep(id).await {
                daemon.notice(Some(id), problem.detail);
            }
            daemon.apply(id);
            daemon.wish(id);
            daemon.show([id]);
        });
    }

    async fn begin_move(&self, id: u32, to: PathBuf) -> Result<Arc<Row>, Problem> {
        self.edit(id, |entry| {
            if entry.moving {
                return Err(Problem::new(Kind::Conflict, "Its data is being moved. Wait for that."));
            }
            if entry.record.read_only {
                return Err(Problem::new(
                    Kind::Conflict,
                    "It only serves data that is yours to move. Forget it and add it where the data is.",
                ));
            }
            if entry.record.facts.pieces == 0 {
                return Err(Problem::new(
                    Kind::Conflict,
                    "Its metadata is not here yet, so there is nothing to move. Wait until a peer has sent it.",
                ));
            }
            entry.moving = true;
            entry.record.rare.edit(|rare| rare.moving_to = Some(to.clone()));
            Ok(())
        })??;
        if let Err(problem) = self.keep(id).await {
            let back = |entry: &mut Entry| {
                entry.moving = false;
                entry.record.rare.edit(|rare| rare.moving_to = None);
            };
            self.edit(id, back)?;
            return Err(problem);
        }
        self.show([id]);
        self.relocate(id, to);
        self.row(id)
    }

    /// Settings are in effect.
    fn settle(&self, settings: &Settings) -> Result<(), Problem> {
        let checked = rules::settings(settings, &self.book().labels).map_err(wrong_setting)?;
        self.judge([policy::Input::Settings(
            Box::new(checked),
            rules::local_time(),
        )]);
        self.shared
            .live
            .update(|table| table.set_settings(settings.clone()));
        self.shared.watched.send_if_modified(|watched| {
            let changed = *watched != settings.watch;
            watched.clone_from(&settings.watch);
            changed
        });
        self.shared.stirred.notify_one();
        self.show_totals();
        Ok(())
    }

    fn settle_labels(&self) -> Result<(), Problem> {
        let settings = self.shared.live.read(|table| table.settings().clone());
        self.settle(&settings)?;
        let labels = self.book().labels.values().cloned().collect();
        self.shared.live.update(|table| table.set_labels(labels));
        Ok(())
    }

    /// Takes a transfer out of everything.
    async fn leave(&self, id: u32) -> Result<(), Problem> {
        // Out of the book first: what would be noted of it meanwhile would bring its row back.
        let entry = self.book().entries.remove(&id);
        let entry = entry.ok_or_else(|| Problem::no_transfer(TransferId(id)))?;
        if let Err(problem) = self.commit(vec![Change::Forgotten(id)]).await {
            self.book().entries.insert(id, entry);
            return Err(problem);
        }
        self.forget_entry(id);
        let left = self
            .shared
            .node
            .run(move |driver| driver.leave(TorrentId(id), true));
        left.await.map_err(|_| Problem::stopping())
    }

    /// Takes a transfer out of everything, its files too.
    async fn erase(&self, id: u32) -> Result<Deleted, Problem> {
        let (root, read_only, moving) = self.edit(id, |entry| {
            (entry.root(), entry.record.read_only, entry.moving)
        })?;
        if moving {
            return Err(Problem::new(
                Kind::Conflict,
                "Its data is being moved. Delete it when that is done.",
            ));
        }
        let info = self
            .shared
            .node
            .call(move |driver| driver.info(TorrentId(id)));
        let info = info.await.map_err(|_| Problem::stopping())?;
        self.leave(id).await?;
        // What is only read was there before, and is not ours to delete.
        let Some(info) = info.filter(|_| !read_only) else {
            return Ok(Deleted::Kept);
        };
        let deleted = tokio::task::spawn_blocking(move || trash::delete(&info, &root)).await;
        deleted
            .map_err(|error| Problem::new(Kind::Internal, error.to_string()))?
            .map_err(|error| adding::refusal(error.into()))
    }

    /// Runs the program that a person wants to run when a transfer is done.
    pub(super) fn run_hook(&self, id: u32, name: &str, root: &Path) {
        let argv = self
            .shared
            .live
            .read(|table| table.settings().on_done.clone());
        let Some((program, arguments)) = argv.split_first() else {
            return;
        };
        let path = root.to_string_lossy();
        // A name that begins with a dash is still a name: it replaces a part of an argument or all of it, and is
        // never taken apart by a shell.
        let fill = |argument: &String| {
            argument
                .replace("{id}", &id.to_string())
                .replace("{name}", name)
                .replace("{path}", &path)
        };
        let mut command = tokio::process::Command::new(program);
        command
            .args(arguments.iter().map(fill))
            .env("STARLING_TRANSFER_ID", id.to_string())
            .env("STARLING_TRANSFER_NAME", name)
            .env("STARLING_TRANSFER_PATH", root)
            .stdin(std::process::Stdio::null());
        let (daemon, program) = (self.clone(), program.clone());
        match command.spawn() {
            Err(error) => self.notice(Some(id), format!("{program} cannot be run: {error}")),
            Ok(mut child) => drop(tokio::spawn(async move {
                match child.wait().await {
                    Ok(status) if status.success() => {}
                    Ok(status) => daemon.notice(Some(id), format!("{program} ended with {status}")),
                    Err(error) => daemon.notice(Some(id), format!("{program}: {error}")),
                }
            })),
        }
    }
}

/// The configuration's settings, with those that a person changed while the daemon ran.
pub(super) fn overridden(configured: &Settings, kept: &[(String, String)]) -> Settings {
    let mut settings = configured.clone();
    for (key, value) in kept {
        // One setting that an other version wrote must not undo all others.
        match SettingsPatch::one(key, value) {
            Ok(patch) => patch.apply(&mut settings),
            Err(error) => tracing::warn!(key, %error, "a kept setting is left out"),
        }
    }
    settings
}

/// Does all of it, even if whoever asked hangs up half-way.
async fn whole<T: Send + 'static>(
    work: impl Future<Output = Result<T, Problem>> + Send + 'static,
) -> Result<T, Problem> {
    let done = tokio::spawn(work).await;
    done.unwrap_or_else(|error| Err(Problem::new(Kind::Internal, error.to_string())))
}

fn wrong_setting(error: policy::WrongSetting) -> Problem {
    Problem::invalid(format!("{error}."))
}

impl Service for Daemon {
    async fn status(&self) -> Result<Status, Problem> {
        let shared = &self.shared;
        let started_at = shared.started.duration_since(UNIX_EPOCH);
        Ok(Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            run: shared.run,
            pid: std::process::id(),
            home: shared.home.to_string_lossy().into_owned(),
            started_at: started_at.map_or(0, |since| since.as_secs()),
            uptime_seconds: shared.started.elapsed().map_or(0, |since| since.as_secs()),
            listening: vec![shared.node.listening().to_string()],
            api: shared.api.clone(),
            content: shared.content.clone(),
            totals: shared.live.read(|table| (**table.totals()).clone()),
            warnings: shared
                .warnings
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .clone(),
        })
    }

    async fn list(&self, query: Query) -> Result<Page, Problem> {
        Ok(self.shared.live.read(|table| table.list(&query)))
    }

    async fn get(&self, id: TransferId) -> Result<Arc<Row>, Problem> {
        self.row(id.0)
    }

    async fn files(&self, id: TransferId, cut: Cut) -> Result<Items<File>, Problem> {
        self.row(id.0)?;
        let files = self
            .shared
            .node
            .call(move |driver| driver.files(TorrentId(id.0)));
        let files = files.await.map_err(|_| Problem::stopping())?;
        let mut shown = Items::cut(files.into_iter(), cut);
        for file in &mut shown.items {
            file.content_url = self.content_url(id.0, &file.path);
        }
        Ok(shown)
    }

    async fn peers(&self, id: TransferId) -> Result<Vec<Peer>, Problem> {
        self.row(id.0)?;
        let peers = self
            .shared
            .node
            .call(move |driver| driver.peers(TorrentId(id.0)));
        peers.await.map_err(|_| Problem::stopping())
    }

    async fn trackers(&self, id: TransferId) -> Result<Vec<Tracker>, Problem> {
        let tiers = self.edit(id.0, |entry| entry.record.rare.trackers.clone())?;
        let trackers = self
            .shared
            .node
            .call(move |driver| driver.tracker_states(TorrentId(id.0), &tiers));
        trackers.await.map_err(|_| Problem::stopping())
    }

    async fn watch(&self, id: TransferId) -> Result<Watch, Problem> {
        let watch = self.shared.live.watch(id);
        watch.ok_or_else(|| Problem::no_transfer(id))
    }

    async fn add_peers(&self, id: TransferId, peers: Vec<SocketAddr>) -> Result<Arc<Row>, Problem> {
        let (private, runs) =
            self.edit(id.0, |entry| (entry.record.facts.private, entry.runs()))?;
        if private {
            return Err(Problem::new(
                Kind::Conflict,
                "It is private: its peers come from its trackers alone.",
            ));
        }
        if !runs {
            return Err(Problem::new(
                Kind::Conflict,
                "It does not run. Resume it, and name the peers then.",
            ));
        }
        let told = self.shared.node.call(move |driver| {
            driver.rouse(TorrentId(id.0));
            let source = swarm::Source::Direct;
            driver.tell(swarm::Input::Peers(TorrentId(id.0), source, peers));
        });
        told.await.map_err(|_| Problem::stopping())?;
        self.row(id.0)
    }

    async fn add(&self, add: Add) -> Result<Arc<Row>, Problem> {
        let daemon = self.clone();
        let id = whole(async move { daemon.add_new(add).await }).await?;
        self.row(id)
    }

    async fn preview(&self, source: Source) -> Result<Preview, Problem> {
        self.look_at(source).await
    }

    async fn update(&self, id: TransferId, patch: TransferPatch) -> Result<Arc<Row>, Problem> {
        let id = id.0;
        if let Some(Some(label)) = &patch.label
            && !self.book().labels.contains_key(label)
        {
            return Err(Problem::no_label(label));
        }
        let priorities = match &patch.priorities {
            Some(given) => {
                let files = self
                    .shared
                    .node
                    .call(move |driver| driver.file_count(TorrentId(id)));
                let files = files.await.map_err(|_| Problem::stopping())?;
                let mut all = self.edit(id, |entry| entry.record.rare.priorities.clone())?;
                all.resize(files, 4);
                adding::change(&mut all, given)?;
                Some(all)
            }
            None => None,
        };
        self.edit(id, |entry| {
            let record = &mut entry.record;
            let mut patch = patch.clone();
            if let Some(name) = patch.name.take() {
                let file_name = record.file_name().to_owned();
                record.call(&name, &file_name);
            }
            set(&mut record.label, patch.label.take());
            record.rare.edit(|rare| {
                set(&mut rare.tags, patch.tags.take());
                set(&mut rare.goals, patch.goals);
            });
            set(&mut record.limits, patch.limits);
            set(&mut record.sequential, patch.sequential);
            if let Some(priorities) = &priorities {
                record
                    .rare
                    .edit(|rare| rare.priorities.clone_from(priorities));
                record.finished = None;
            }
        })?;
        if let Some(position) = patch.queue_position {
            self.judge([policy::Input::Move(
                policy::TransferId(id),
                policy::Move::To(position),
            )]);
            self.keep_order().await?;
        }
        let row = self.changed(id).await?;
        let group = match &patch.label {
            Some(Some(label)) => Some(Some(self.rules().group(label))),
            Some(None) => Some(None),
            None => None,
        };
        let sequential = patch.sequential;
        let tell = self.shared.node.call(move |driver| {
            let id = TorrentId(id);
            if let Some(group) = group {
                driver.tell(swarm::Input::Group(id, group));
            }
            if let Some(sequential) = sequential {
                driver.set_sequential(id, sequential);
            }
            if let Some(priorities) = priorities {
                driver.prioritize(id, priorities);
            }
        });
        tell.await.map_err(|_| Problem::stopping())?;
        // Priorities of files are in no row.
        self.shared.live.stir();
        self.wish(id);
        Ok(row)
    }

    async fn pause(&self, id: TransferId) -> Result<Arc<Row>, Problem> {
        self.set_paused(id.0, true).await
    }

    async fn resume(&self, id: TransferId) -> Result<Arc<Row>, Problem> {
        self.set_paused(id.0, false).await
    }

    async fn recheck(&self, id: TransferId) -> Result<Arc<Row>, Problem> {
        let id = id.0;
        if self.edit(id, |entry| entry.moving)? {
            return Err(Problem::new(
                Kind::Conflict,
                "Its data is being moved. Check it when that is done.",
            ));
        }
        let checked = self
            .shared
            .node
            .run(move |driver| driver.recheck(TorrentId(id)));
        let checked = checked.await.map_err(|_| Problem::stopping())?;
        if let Err(problem) = checked {
            if problem.kind != ProblemKind::Other {
                self.edit(id, |entry| entry.problem = Some(Box::new(problem.clone())))?;
            }
            self.show([id]);
            return Err(adding::refusal(problem));
        }
        self.edit(id, |entry| entry.problem = None)?;
        self.wish(id);
        self.show([id]);
        self.row(id)
    }

    async fn move_data(&self, id: TransferId, to: Move) -> Result<Arc<Row>, Problem> {
        let name = self.edit(id.0, |entry| {
            entry.root().file_name().map(ToOwned::to_owned)
        })?;
        let Some(name) = name else {
            return Err(Problem::new(
                Kind::Conflict,
                "Its place has no name to move it by.",
            ));
        };
        self.begin_move(id.0, Path::new(&to.folder).join(name))
            .await
    }

    async fn rename(&self, id: TransferId, rename: Rename) -> Result<Arc<Row>, Problem> {
        if !rename.path.is_empty() {
            return Err(Problem::new(
                Kind::Conflict,
                "Files inside a torrent keep their names, so that others can check them. Rename the whole.",
            ));
        }
        let root = self.edit(id.0, |entry| entry.root())?;
        self.begin_move(id.0, root.with_file_name(rename.name))
            .await
    }

    async fn forget(&self, id: TransferId) -> Result<(), Problem> {
        let daemon = self.clone();
        whole(async move { daemon.leave(id.0).await }).await
    }

    async fn delete(&self, id: TransferId) -> Result<Deleted, Problem> {
        let daemon = self.clone();
        whole(async move { daemon.erase(id.0).await }).await
    }

    async fn labels(&self) -> Result<Vec<Label>, Problem> {
        Ok(self.shared.live.read(|table| table.labels().to_vec()))
    }

    async fn add_label(&self, label: Label) -> Result<Label, Problem> {
        {
            let mut book = self.book();
            if book.labels.contains_key(&label.name) {
                let text = format!("There is a label {} already.", label.name);
                return Err(Problem::new(Kind::Conflict, text));
            }
            let mut labels = book.labels.clone();
            labels.insert(label.name.clone(), label.clone());
            let settings = self.shared.live.read(|table| table.settings().clone());
            rules::settings(&settings, &labels).map_err(wrong_setting)?;
            book.labels = labels;
        }
        if let Err(problem) = self.commit(vec![Change::Label(label.clone())]).await {
            self.book().labels.remove(&label.name);
            return Err(problem);
        }
        self.settle_labels()?;
        Ok(label)
    }

    async fn update_label(&self, name: String, patch: LabelPatch) -> Result<Label, Problem> {
        let mut label = {
            let book = self.book();
            let label = book.labels.get(&name).cloned();
            label.ok_or_else(|| Problem::no_label(&name))?
        };
        patch.apply(&mut label);
        label.check()?;
        let renamed = label.name != name;
        let mut changes = vec![Change::Label(label.clone())];
        let mut shown = Vec::new();
        {
            let mut book = self.book();
            if renamed && book.labels.contains_key(&label.name) {
                let text = format!("There is a label {} already.", label.name);
                return Err(Problem::new(Kind::Conflict, text));
            }
            let mut labels = book.labels.clone();
            if renamed {
                labels.remove(&name);
            }
            labels.insert(label.name.clone(), label.clone());
            let settings = self.shared.live.read(|table| table.settings().clone());
            rules::settings(&settings, &labels).map_err(wrong_setting)?;
            book.labels = labels;
            if renamed {
                for entry in book.entries.values_mut() {
                    if entry.record.label.as_deref() == Some(&name) {
                        entry.record.label = Some(label.name.clone());
                        changes.push(Change::Transfer(Box::new(entry.record.clone())));
                        shown.push(entry.record.id);
                    }
                }
                changes.push(Change::LabelGone(name));
            }
        }
        self.commit(changes).await?;
        self.settle_labels()?;
        shown.iter().for_each(|&id| self.regroup(id));
        self.show(shown);
        Ok(label)
    }

    async fn remove_label(&self, name: String) -> Result<(), Problem> {
        if !self.book().labels.contains_key(&name) {
            return Err(Problem::no_label(&name));
        }
        self.commit(vec![Change::LabelGone(name.clone())]).await?;
        let mut shown = Vec::new();
        {
            let mut book = self.book();
            book.labels.remove(&name);
            for entry in book.entries.values_mut() {
                if entry.record.label.as_deref() == Some(&name) {
                    entry.record.label = None;
                    shown.push(entry.record.id);
                }
            }
        }
        self.settle_labels()?;
        shown.iter().for_each(|&id| self.regroup(id));
        self.show(shown);
        Ok(())
    }

    async fn settings(&self) -> Result<Settings, Problem> {
        Ok(self.shared.live.read(|table| (**table.settings()).clone()))
    }

    async fn update_settings(&self, patch: SettingsPatch) -> Result<Settings, Problem> {
        let mut settings = self.shared.live.read(|table| (**table.settings()).clone());
        patch.clone().apply(&mut settings);
        settings.check()?;
        rules::settings(&settings, &self.book().labels).map_err(wrong_setting)?;
        let kept = patch
            .parts()
            .into_iter()
            .map(|(key, value)| Change::Setting(key, Some(value)));
        self.commit(kept.collect()).await?;
        self.settle(&settings)?;
        Ok(settings)
    }

    async fn changes(&self, since: Option<EventId>) -> Result<Changes, Problem> {
        Ok(self.shared.live.changes(since))
    }

    async fn metrics(&self) -> Result<Metrics, Problem> {
        let shared = &self.shared;
        let usage = super::surroundings::usage();
        let (totals, dormant) = shared.live.read(|table| {
            let dormant = table.rows().filter(|row| row.transfer.dormant).count();
            ((**table.totals()).clone(), dormant as u32)
        });
        let started_at = shared.started.duration_since(UNIX_EPOCH);
        Ok(Metrics {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            totals,
            started_at: started_at.map_or(0, |since| since.as_secs()),
            cpu_seconds: usage.cpu_seconds,
            resident_bytes: usage.resident_bytes,
            open_files: usage.open_files,
            max_open_files: usage.max_open_files,
            dormant,
        })
    }

    async fn reload(&self) -> Result<(), Problem> {
        self.shared.reload.notify_one();
        Ok(())
    }

    async fn shutdown(&self) -> Result<(), Problem> {
        self.stop();
        Ok(())
    }
}

impl Daemon {
    /// Puts a transfer's label in effect.
    fn regroup(&self, id: u32) {
        let label = self
            .book()
            .entries
            .get(&id)
            .and_then(|e| e.record.label.clone());
        let group = label.map(|label| self.rules().group(&label));
        // The node has stopped: nothing is left to be limited.
        drop(self.shared.node.call(move |driver| {
            driver.tell(swarm::Input::Group(TorrentId(id), group));
        }));
        self.wish(id);
    }

    /// Keeps the order of the queue.
    async fn keep_order(&self) -> Result<(), Problem> {
        let order: Vec<u32> = self.rules().queue().collect();
        let mut changes = Vec::new();
        {
            let mut book = self.book();
            for (position, id) in (0..).zip(&order) {
                if let Some(entry) = book.entries.get_mut(id)
                    && entry.record.position != position
                {
                    entry.record.position = position;
                    changes.push(Change::Transfer(Box::new(entry.record.clone())));
                }
            }
        }
        self.commit(changes).await?;
        self.show(order);
        Ok(())
    }

    /// The configuration was read again.
    pub fn reconfigure(&self, configured: Settings) -> Result<(), Problem> {
        configured.check()?;
        let mut settings = self.shared.live.read(|table| (**table.settings()).clone());
        let before = {
            let mut kept = self
                .shared
                .configured
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            std::mem::replace(&mut *kept, configured.clone())
        };
        // What the file changes goes in; what a person changed while it ran and the file leaves alone stays.
        SettingsPatch::between(&before, &configured).apply(&mut settings);
        self.settle(&settings)
    }

    /// Ends when the configuration is to be read again.
    pub async fn reload_asked(&self) {
        self.shared.reload.notified().await;
    }

    /// Where a file can be read over HTTP.
    fn content_url(&self, id: u32, path: &str) -> Option<String> {
        let base = self.shared.content.as_deref()?;
        super::content::url(base, &self.content_key(id), path)
    }
}

fn set<T>(value: &mut T, new: Option<T>) {
    if let Some(new) = new {
        *value = new;
    }
}
