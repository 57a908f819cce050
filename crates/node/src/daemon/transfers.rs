//! What is done with one transfer that is there.

use std::net::SocketAddr;
use std::sync::Arc;

use api::{Deleted, Kind, Problem, Row, TransferId, TransferPatch};
use swarm::TorrentId;

use super::entry::Entry;
use super::state::{Change, Record};
use super::{Daemon, adding, trash};
use crate::ProblemKind;

impl Daemon {
    /// A transfer as it is shown.
    pub(super) fn row(&self, id: u32) -> Result<Arc<Row>, Problem> {
        let row = self
            .shared
            .live
            .read(|table| table.get(TransferId(id)).cloned());
        row.ok_or_else(|| Problem::no_transfer(TransferId(id)))
    }

    /// Changes a transfer in the book.
    pub(super) fn edit<R>(
        &self,
        id: u32,
        change: impl FnOnce(&mut Entry) -> R,
    ) -> Result<R, Problem> {
        let mut book = self.book();
        let entry = book.get_mut(id);
        entry
            .map(change)
            .ok_or_else(|| Problem::no_transfer(TransferId(id)))
    }

    /// Changes what a person chose for a transfer, and keeps it; what cannot be kept is as it was.
    async fn choose(&self, id: u32, change: impl FnOnce(&mut Record)) -> Result<(), Problem> {
        let before = self.edit(id, |entry| {
            let before = entry.record.clone();
            change(&mut entry.record);
            before
        })?;
        let kept = self.keep(id).await;
        if kept.is_err() {
            // Gone meanwhile: there is nothing to put back.
            let _ = self.edit(id, |entry| {
                let now = &mut entry.record;
                now.call(&before.name, before.file_name());
                now.label = before.label;
                now.paused = before.paused;
                now.limits = before.limits;
                now.sequential = before.sequential;
                now.super_seed = before.super_seed;
                now.finished = before.finished;
                now.rare = before.rare;
            });
        }
        kept
    }

    /// Pauses a transfer, or lets it go on.
    pub(super) async fn set_paused(self, id: u32, paused: bool) -> Result<Arc<Row>, Problem> {
        self.choose(id, |record| record.paused = paused).await?;
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
        self.row(id)
    }

    /// Changes name, label, limits, goals, priorities, order, queue position.
    pub(super) async fn change(self, id: u32, patch: TransferPatch) -> Result<Arc<Row>, Problem> {
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
        let lacks = match priorities.clone() {
            Some(wanted) => {
                let lacks = self
                    .shared
                    .node
                    .call(move |driver| driver.lacks(TorrentId(id), &wanted));
                lacks.await.map_err(|_| Problem::stopping())?
            }
            None => false,
        };
        let sequential = patch.sequential;
        let super_seed = patch.super_seed;
        let label = patch.label.clone();
        let position = patch.queue_position;
        self.choose(id, |record| {
            if let Some(name) = patch.name {
                let file_name = record.file_name().to_owned();
                record.call(&name, &file_name);
            }
            set(&mut record.label, patch.label);
            record.rare.edit(|rare| {
                set(&mut rare.tags, patch.tags);
                set(&mut rare.goals, patch.goals);
                set(&mut rare.priorities, priorities.clone());
            });
            set(&mut record.limits, patch.limits);
            set(&mut record.sequential, sequential);
            set(&mut record.super_seed, super_seed);
            if lacks {
                record.finished = None;
            }
        })
        .await?;
        let group = label.map(|label| label.map(|label| self.rules().group(&label)));
        let tell = self.shared.node.call(move |driver| {
            let id = TorrentId(id);
            if let Some(group) = group {
                driver.tell(swarm::Input::Group(id, group));
            }
            if let Some(sequential) = sequential {
                driver.set_sequential(id, sequential);
            }
            if let Some(super_seed) = super_seed {
                driver.set_super_seed(id, super_seed);
            }
            if let Some(priorities) = priorities {
                driver.prioritize(id, priorities);
            }
        });
        tell.await.map_err(|_| Problem::stopping())?;
        // Priorities of files are in no row.
        self.shared.live.stir();
        self.wish(id);
        if let Some(position) = position {
            self.put_in_queue(id, position).await?;
        }
        self.show([id]);
        self.row(id)
    }

    /// Gives a transfer a place among those that are not complete, and keeps the order.
    async fn put_in_queue(&self, id: u32, position: u32) -> Result<(), Problem> {
        let place = self.rules().place(position);
        self.judge([policy::Input::Move(
            policy::TransferId(id),
            policy::Move::To(place),
        )]);
        self.keep_order().await
    }

    /// Keeps the order of the queue.
    async fn keep_order(&self) -> Result<(), Problem> {
        let order: Vec<u32> = self.rules().queue().collect();
        let mut changes = Vec::new();
        {
            let mut book = self.book();
            for (position, id) in (0..).zip(&order) {
                if let Some(entry) = book.get_mut(*id)
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

    /// Tries these addresses for a transfer.
    pub(super) async fn try_peers(
        self,
        id: u32,
        peers: Vec<SocketAddr>,
    ) -> Result<Arc<Row>, Problem> {
        let (private, runs) = self.edit(id, |entry| (entry.record.facts.private, entry.runs()))?;
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
            driver.rouse(TorrentId(id));
            let source = swarm::Source::Direct;
            driver.tell(swarm::Input::Peers(TorrentId(id), source, peers));
        });
        told.await.map_err(|_| Problem::stopping())?;
        self.row(id)
    }

    /// Hashes a transfer's data again.
    pub(super) async fn check(self, id: u32) -> Result<Arc<Row>, Problem> {
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

    /// Takes a transfer out of everything.
    pub(super) async fn leave(self, id: u32) -> Result<(), Problem> {
        // Out of the book first: what would be noted of it meanwhile would bring its row back.
        let entry = self.book().remove(id);
        let entry = entry.ok_or_else(|| Problem::no_transfer(TransferId(id)))?;
        if let Err(problem) = self.commit(vec![Change::Forgotten(id)]).await {
            self.book().insert(entry);
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
    pub(super) async fn erase(self, id: u32) -> Result<Deleted, Problem> {
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
        self.clone().leave(id).await?;
        // What is only read was there before, and is not ours to delete.
        let Some(info) = info.filter(|_| !read_only) else {
            return Ok(Deleted::Kept);
        };
        let deleted = tokio::task::spawn_blocking(move || trash::delete(&info, &root)).await;
        deleted
            .map_err(|error| Problem::new(Kind::Internal, error.to_string()))?
            .map_err(|error| adding::refusal(error.into()))
    }
}

fn set<T>(value: &mut T, new: Option<T>) {
    if let Some(new) = new {
        *value = new;
    }
}
