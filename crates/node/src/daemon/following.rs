//! What follows: from what the node says, from what the policy decides. What is to be kept is kept.

use api::TransferId;

use super::entry::{self, Entry};
use super::state::Change;
use super::{Daemon, unix_now};
use crate::{Event, Problem, Report};

impl Daemon {
    /// Facts for the policy; what it decides is carried out.
    pub(super) fn judge(&self, facts: impl IntoIterator<Item = policy::Input>) {
        let mut changed = Vec::new();
        {
            let mut book = self.book();
            let verdicts = self.rules().tell(&self.shared.node, facts);
            for (id, hold) in verdicts {
                if let Some(entry) = book.get_mut(id) {
                    entry.hold = hold.map(Box::new);
                    changed.push(id);
                }
            }
        }
        self.shared.nudge.notify_one();
        if !changed.is_empty() {
            changed.iter().for_each(|&id| self.apply(id));
            self.show(changed);
        }
    }

    /// Tells the node whether a transfer runs.
    pub(super) fn apply(&self, id: u32) {
        let (halted, kept) = {
            let mut book = self.book();
            let Some(entry) = book.get_mut(id) else {
                return;
            };
            (entry.halted(), entry.seed_from_now())
        };
        self.shared.state.note(kept.into_iter().collect());
        let id = swarm::TorrentId(id);
        // The node has stopped: so has the transfer.
        drop(self.shared.node.call(move |driver| driver.halt(id, halted)));
    }

    /// Tells the policy of a transfer of which something changed that is not the node's to report.
    pub(super) fn wish(&self, id: u32) {
        let told = self.book().get(id).map(Entry::facts);
        if let Some(facts) = told {
            self.judge(facts);
        }
    }

    /// Keeps a transfer as it is, now.
    pub(super) async fn keep(&self, id: u32) -> Result<(), api::Problem> {
        let record = self.book().get(id).map(|e| e.record.clone());
        let Some(record) = record else {
            return Err(api::Problem::no_transfer(TransferId(id)));
        };
        self.commit(vec![Change::Transfer(Box::new(record))]).await
    }

    pub(super) async fn commit(&self, changes: Vec<Change>) -> Result<(), api::Problem> {
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

    pub(super) fn take(&self, batch: Vec<Event>) {
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
                    facts.extend(self.checked(id.0, have == of));
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
            self.show_effects();
            self.shared.stirred.notify_one();
        }
    }

    fn reported(&self, id: u32, report: Report) -> Option<policy::Input> {
        let mut book = self.book();
        let entry = book.get_mut(id)?;
        let before = entry.progress();
        entry.report(report);
        let now = entry.progress();
        (before != now).then_some(policy::Input::Progress(policy::TransferId(id), now))
    }

    /// The metadata is here.
    fn learnt(&self, id: u32, info: &torrent::metainfo::Info, changed: &mut Vec<u32>) {
        let mut book = self.book();
        let Some(entry) = book.get_mut(id) else {
            return;
        };
        let record = &mut entry.record;
        let facts = entry::facts(info, &record.rare.priorities);
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
            book.rename(id, info.hashes());
            let record = book.get(id).map(|entry| Box::new(entry.record.clone()));
            let changes = record.into_iter().map(Change::Transfer).collect();
            self.shared.state.note(changes);
        }
        changed.push(id);
    }

    /// A check is over: what was complete may be so no longer.
    fn checked(&self, id: u32, whole: bool) -> Option<policy::Input> {
        let mut book = self.book();
        let entry = book.get_mut(id)?;
        let record = &mut entry.record;
        let wants_all = record.facts.wanted == record.facts.size;
        if whole && record.finished.is_none() {
            record.finished = Some(unix_now());
            record.totals.done = record.facts.wanted;
        } else if !whole && wants_all && record.finished.is_some() {
            record.finished = None;
        } else {
            return None;
        }
        entry.seed_from_now();
        let record = Box::new(entry.record.clone());
        self.shared.state.note(vec![Change::Transfer(record)]);
        let progress = entry.progress();
        Some(policy::Input::Progress(policy::TransferId(id), progress))
    }

    fn finished(&self, id: u32) -> Option<policy::Input> {
        let mut book = self.book();
        let entry = book.get_mut(id)?;
        let news = entry.record.finished.is_none();
        if news {
            entry.record.finished = Some(unix_now());
            entry.record.totals.done = entry.record.facts.wanted;
        }
        entry.seed_from_now();
        let record = Box::new(entry.record.clone());
        self.shared.state.note(vec![Change::Transfer(record)]);
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
        let entry = book.get_mut(id)?;
        entry.problem = problem.map(Box::new);
        let kept = entry.seed_from_now();
        self.shared.state.note(kept.into_iter().collect());
        let wishes = Box::new(entry.wishes());
        Some(policy::Input::Transfer(policy::TransferId(id), wishes))
    }

    /// Keeps what transfers have done, and whether the computer will remember when this was.
    pub(super) fn keep_totals(&self) -> bool {
        let mut book = self.book();
        let mut changes = Vec::new();
        for entry in book.entries_mut() {
            if std::mem::take(&mut entry.unkept) {
                changes.push(Change::Totals(entry.record.id, entry.record.totals));
            }
        }
        let news = !changes.is_empty();
        self.shared.state.note(changes);
        news
    }
}
