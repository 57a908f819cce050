//! Labels. The book has a change first, so that nothing else is kept against it meanwhile; it is put back if the change
//! cannot be kept.

use std::collections::BTreeMap;

use api::{Check, Kind, Label, LabelPatch, Problem};
use swarm::TorrentId;

use super::state::Change;
use super::{Daemon, rules};

impl Daemon {
    /// Makes a label.
    pub(super) async fn make_label(self, label: Label) -> Result<Label, Problem> {
        {
            let mut book = self.book();
            if book.labels.contains_key(&label.name) {
                return Err(taken(&label.name));
            }
            let mut labels = book.labels.clone();
            labels.insert(label.name.clone(), label.clone());
            self.check_labels(&labels)?;
            book.labels = labels;
        }
        if let Err(problem) = self.commit(vec![Change::Label(label.clone())]).await {
            self.book().labels.remove(&label.name);
            return Err(problem);
        }
        self.settle_labels()?;
        Ok(label)
    }

    /// Changes a label; its transfers follow.
    pub(super) async fn change_label(
        self,
        name: String,
        patch: LabelPatch,
    ) -> Result<Label, Problem> {
        let mut changes = Vec::new();
        let (before, label, theirs) = {
            let mut book = self.book();
            let before = book.labels.get(&name).cloned();
            let before = before.ok_or_else(|| Problem::no_label(&name))?;
            let mut label = before.clone();
            patch.apply(&mut label);
            label.check()?;
            let renamed = label.name != name;
            if renamed && book.labels.contains_key(&label.name) {
                return Err(taken(&label.name));
            }
            let mut labels = book.labels.clone();
            labels.remove(&name);
            labels.insert(label.name.clone(), label.clone());
            self.check_labels(&labels)?;
            book.labels = labels;
            changes.push(Change::Label(label.clone()));
            let mut theirs = Vec::new();
            if renamed {
                theirs = relabel(&mut book, &name, Some(&label.name));
                let records = theirs.iter().filter_map(|&id| book.get(id));
                let kept = records.map(|entry| Box::new(entry.record.clone()));
                changes.extend(kept.map(Change::Transfer));
                changes.push(Change::LabelGone(name.clone()));
            }
            (before, label, theirs)
        };
        if let Err(problem) = self.commit(changes).await {
            let mut book = self.book();
            book.labels.remove(&label.name);
            book.labels.insert(name.clone(), before);
            put_back(&mut book, &theirs, &name);
            return Err(problem);
        }
        self.settle_labels()?;
        self.regroup(theirs);
        Ok(label)
    }

    /// Removes a label; its transfers have none then.
    pub(super) async fn drop_label(self, name: String) -> Result<(), Problem> {
        let (before, theirs) = {
            let mut book = self.book();
            let before = book.labels.remove(&name);
            let before = before.ok_or_else(|| Problem::no_label(&name))?;
            (before, relabel(&mut book, &name, None))
        };
        // The database takes it from its transfers.
        let gone = Change::LabelGone(name.clone());
        if let Err(problem) = self.commit(vec![gone]).await {
            let mut book = self.book();
            book.labels.insert(name.clone(), before);
            put_back(&mut book, &theirs, &name);
            return Err(problem);
        }
        self.settle_labels()?;
        self.regroup(theirs);
        Ok(())
    }

    fn check_labels(&self, labels: &BTreeMap<String, Label>) -> Result<(), Problem> {
        let settings = self.shared.live.read(|table| table.settings().clone());
        let checked = rules::settings(&settings, labels);
        checked.map(drop).map_err(rules::wrong_setting)
    }

    fn settle_labels(&self) -> Result<(), Problem> {
        let settings = self.shared.live.read(|table| table.settings().clone());
        self.settle(&settings)?;
        let labels = self.book().labels.values().cloned().collect();
        self.shared.live.update(|table| table.set_labels(labels));
        Ok(())
    }

    /// Puts the labels of transfers in effect.
    fn regroup(&self, ids: Vec<u32>) {
        for &id in &ids {
            let label = self.book().get(id).and_then(|e| e.record.label.clone());
            let group = label.map(|label| self.rules().group(&label));
            // The node has stopped: nothing is left to be limited.
            drop(self.shared.node.call(move |driver| {
                driver.tell(swarm::Input::Group(TorrentId(id), group));
            }));
            self.wish(id);
        }
        self.show(ids);
    }
}

/// Transfers with one label get another; answers which.
fn relabel(book: &mut super::Book, from: &str, to: Option<&str>) -> Vec<u32> {
    let theirs = book
        .entries_mut()
        .filter(|entry| entry.record.label.as_deref() == Some(from));
    let changed = theirs.map(|entry| {
        entry.record.label = to.map(str::to_owned);
        entry.record.id
    });
    changed.collect()
}

fn put_back(book: &mut super::Book, ids: &[u32], name: &str) {
    for &id in ids {
        if let Some(entry) = book.get_mut(id) {
            entry.record.label = Some(name.to_owned());
        }
    }
}

fn taken(name: &str) -> Problem {
    Problem::new(Kind::Conflict, format!("There is a label {name} already."))
}
