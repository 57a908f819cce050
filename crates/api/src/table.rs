//! What lists are answered from and the event stream is made of: one row a transfer, and for each
//! field the revision at which it last changed. So whatever a client has seen, the difference to
//! now is found without a log, and nothing grows with the number of clients or their slowness.
//!
//! A table knows no locks and no clock; [`Live`](crate::Live) shares one.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use serde::{Serialize, Serializer};

use crate::change::{Moment, Notice};
use crate::ids::{EventId, RunId, TransferId};
use crate::label::Label;
use crate::query::{Page, Query};
use crate::settings::Settings;
use crate::status::Totals;
use crate::transfer::Transfer;

/// Removed transfers that are remembered, 8 bytes each. Who was away for longer starts anew.
const MAX_REMOVED: usize = 4_096;
/// Moments that are kept for those who come back, some hundred bytes each.
const MAX_MOMENTS: usize = 256;

/// A transfer and when each of its fields last changed. It never changes itself: readers keep it
/// for as long as they like.
#[derive(Debug)]
pub struct Row {
    /// What is shown.
    pub transfer: Transfer,
    /// Its name in lower case, to sort and search by, if that differs.
    folded: Option<Arc<str>>,
    /// For each field: the revision at which it changed. Nothing: all are as they were added.
    stamps: Option<Box<[u32; Transfer::FIELDS.len()]>>,
    /// When it was added.
    pub(crate) added: u32,
    /// When any field changed.
    changed: u32,
}

impl Row {
    /// Its name in lower case.
    pub(crate) fn folded(&self) -> &str {
        self.folded.as_deref().unwrap_or(&self.transfer.name)
    }

    /// The revision at which a field last changed.
    fn stamp(&self, index: usize) -> u32 {
        self.stamps
            .as_ref()
            .map_or(self.added, |stamps| stamps[index])
    }

    /// Its number, and fields that changed after `since`.
    pub(crate) fn changed_since(&self, since: u32) -> impl Serialize + '_ {
        Changed { row: self, since }
    }
}

impl Serialize for Row {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.transfer.serialize(serializer)
    }
}

struct Changed<'a> {
    row: &'a Row,
    since: u32,
}

impl Serialize for Changed<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        let mut map = serializer.serialize_map(None)?;
        // The number never changes, and says of whom the rest is.
        let wanted = |index| index == 0 || self.row.stamp(index) > self.since;
        self.row.transfer.serialize_fields(&mut map, wanted)?;
        map.end()
    }
}

/// All that a client is shown.
///
/// Changes belong to the revision that [`commit`](Table::commit) makes.
#[derive(Debug)]
pub struct Table {
    pub(crate) run: RunId,
    pub(crate) revision: u32,
    /// Something changed since the last commit.
    dirty: bool,
    rows: BTreeMap<TransferId, Arc<Row>>,
    /// Each row once, at its `changed`.
    by_change: BTreeSet<(u32, TransferId)>,
    /// Oldest first.
    removed: VecDeque<(u32, TransferId)>,
    /// Revision of the latest that was dropped from `removed`.
    pub(crate) forgotten: u32,
    /// Oldest first.
    moments: VecDeque<(u32, Moment)>,
    pub(crate) labels: Stamped<Arc<[Label]>>,
    pub(crate) settings: Stamped<Arc<Settings>>,
    pub(crate) totals: Stamped<Arc<Totals>>,
}

/// A value and the revision at which it last changed.
#[derive(Debug)]
pub(crate) struct Stamped<T> {
    pub value: T,
    pub at: u32,
}

impl<T> Stamped<T> {
    fn new(value: T) -> Stamped<T> {
        Stamped { value, at: 0 }
    }

    /// The value, if it changed after `since`.
    pub fn since(&self, since: u32) -> Option<&T> {
        (self.at > since).then_some(&self.value)
    }
}

impl Table {
    /// An empty table of this run, at revision 0.
    pub fn new(run: RunId) -> Table {
        Table {
            run,
            revision: 0,
            dirty: false,
            rows: BTreeMap::new(),
            by_change: BTreeSet::new(),
            removed: VecDeque::new(),
            forgotten: 0,
            moments: VecDeque::new(),
            labels: Stamped::new(Arc::new([])),
            settings: Stamped::new(Arc::default()),
            totals: Stamped::new(Arc::default()),
        }
    }

    /// The state it is in.
    pub fn id(&self) -> EventId {
        EventId {
            run: self.run,
            revision: self.revision,
        }
    }

    /// A row.
    pub fn get(&self, id: TransferId) -> Option<&Arc<Row>> {
        self.rows.get(&id)
    }

    /// All rows, by number.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &Arc<Row>> {
        self.rows.values()
    }

    /// A page.
    pub fn list(&self, query: &Query) -> Page {
        let (total, transfers) = query.select(self.rows.values());
        Page {
            total: u32::try_from(total).expect("rows have numbers of 32 bits"),
            offset: query.offset,
            as_of: self.id(),
            transfers,
        }
    }

    /// Adds a transfer, or says what is true of it now.
    pub fn put(&mut self, transfer: Transfer) -> Arc<Row> {
        let now = self.next();
        let id = transfer.id;
        let row = match self.rows.get(&id) {
            None => Row {
                folded: folded(&transfer.name),
                transfer,
                stamps: None,
                added: now,
                changed: now,
            },
            Some(old) => {
                let mut stamps = old.stamps.clone();
                let added = old.added;
                let mut same = true;
                old.transfer.differences(&transfer, |index| {
                    let all = || Box::new([added; Transfer::FIELDS.len()]);
                    stamps.get_or_insert_with(all)[index] = now;
                    same = false;
                });
                if same {
                    return Arc::clone(old);
                }
                if old.transfer.finished_at.is_none() && transfer.finished_at.is_some() {
                    push(&mut self.moments, MAX_MOMENTS, (now, Moment::Finished(id)));
                }
                self.by_change.remove(&(old.changed, id));
                Row {
                    folded: if old.transfer.name == transfer.name {
                        old.folded.clone()
                    } else {
                        folded(&transfer.name)
                    },
                    transfer,
                    stamps,
                    added: old.added,
                    changed: now,
                }
            }
        };
        let row = Arc::new(row);
        self.by_change.insert((now, id));
        self.rows.insert(id, Arc::clone(&row));
        self.dirty = true;
        row
    }

    /// Changes a row, if it is there.
    pub fn edit(&mut self, id: TransferId, change: impl FnOnce(&mut Transfer)) -> Option<Arc<Row>> {
        let mut transfer = self.rows.get(&id)?.transfer.clone();
        change(&mut transfer);
        debug_assert_eq!(transfer.id, id, "a row keeps its number");
        Some(self.put(transfer))
    }

    /// Removes a row; false if there is none.
    pub fn remove(&mut self, id: TransferId) -> bool {
        let Some(row) = self.rows.remove(&id) else {
            return false;
        };
        self.by_change.remove(&(row.changed, id));
        let now = self.next();
        if let Some((revision, _)) = push(&mut self.removed, MAX_REMOVED, (now, id)) {
            self.forgotten = revision;
        }
        self.dirty = true;
        true
    }

    /// Says something that leaves no state.
    pub fn notice(&mut self, notice: Notice) {
        let now = self.next();
        push(
            &mut self.moments,
            MAX_MOMENTS,
            (now, Moment::Notice(notice)),
        );
        self.dirty = true;
    }

    /// All labels, by name.
    pub fn labels(&self) -> &Arc<[Label]> {
        &self.labels.value
    }

    /// The settings.
    pub fn settings(&self) -> &Arc<Settings> {
        &self.settings.value
    }

    /// Sums, and what is in effect now.
    pub fn totals(&self) -> &Arc<Totals> {
        &self.totals.value
    }

    /// Sets all labels.
    pub fn set_labels(&mut self, mut labels: Vec<Label>) {
        labels.sort_by(|a, b| a.name.cmp(&b.name));
        if *self.labels.value != *labels {
            self.labels = Stamped {
                value: labels.into(),
                at: self.next(),
            };
            self.dirty = true;
        }
    }

    /// Sets the settings.
    pub fn set_settings(&mut self, settings: Settings) {
        if *self.settings.value != settings {
            self.settings = Stamped {
                value: settings.into(),
                at: self.next(),
            };
            self.dirty = true;
        }
    }

    /// Sets the sums.
    pub fn set_totals(&mut self, totals: Totals) {
        if *self.totals.value != totals {
            self.totals = Stamped {
                value: totals.into(),
                at: self.next(),
            };
            self.dirty = true;
        }
    }

    /// Makes a revision of what changed; false if nothing did.
    pub fn commit(&mut self) -> bool {
        if !self.dirty {
            return false;
        }
        self.dirty = false;
        self.revision += 1;
        if self.revision == u32::MAX {
            self.renew();
        }
        true
    }

    /// The revision that the next commit makes.
    fn next(&self) -> u32 {
        self.revision + 1
    }

    /// Revisions are used up (at four a second: after 34 years). All clients start anew.
    fn renew(&mut self) {
        let mut fresh = Table::new(RunId(self.run.0.wrapping_add(1)));
        for row in self.rows.values() {
            fresh.put(row.transfer.clone());
        }
        fresh.labels.value = Arc::clone(&self.labels.value);
        fresh.settings.value = Arc::clone(&self.settings.value);
        fresh.totals.value = Arc::clone(&self.totals.value);
        fresh.dirty = false;
        fresh.revision = 1;
        *self = fresh;
    }

    /// Rows in the order in which they last changed, from behind this place on.
    pub(crate) fn changed_after(
        &self,
        place: (u32, TransferId),
    ) -> impl Iterator<Item = &Arc<Row>> {
        use std::ops::Bound::{Excluded, Unbounded};
        self.by_change
            .range((Excluded(place), Unbounded))
            .map(|(_, id)| self.rows.get(id).expect("by_change names rows there are"))
    }

    /// Transfers removed after `since`.
    pub(crate) fn removed_since(&self, since: u32) -> Vec<TransferId> {
        let later = self.removed.partition_point(|(at, _)| *at <= since);
        self.removed.range(later..).map(|(_, id)| *id).collect()
    }

    /// What happened after `since` and is still kept.
    pub(crate) fn moments_since(&self, since: u32) -> impl Iterator<Item = &Moment> {
        let later = self.moments.partition_point(|(at, _)| *at <= since);
        self.moments.range(later..).map(|(_, moment)| moment)
    }
}

impl Row {
    /// Where it is in the order of changes.
    pub(crate) fn place(&self) -> (u32, TransferId) {
        (self.changed, self.transfer.id)
    }
}

/// A name in lower case, if that differs.
fn folded(name: &str) -> Option<Arc<str>> {
    let folded = name.to_lowercase();
    (folded != name).then(|| folded.into())
}

/// Appends to a ring of at most `most`; returns what fell out.
fn push<T>(ring: &mut VecDeque<T>, most: usize, item: T) -> Option<T> {
    let out = (ring.len() == most).then(|| ring.pop_front()).flatten();
    ring.push_back(item);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(value: impl Serialize) -> serde_json::Value {
        serde_json::to_value(value).unwrap()
    }

    #[test]
    fn a_change_names_the_fields_that_differ_and_no_others() {
        let mut table = Table::new(RunId(1));
        let alice = TransferId(1);
        table.put(Transfer::new(alice, "alice"));
        assert!(table.commit());
        table.edit(alice, |transfer| transfer.done = 5);
        assert!(table.commit());
        table.edit(alice, |transfer| transfer.peers = 2);
        assert!(table.commit());
        let row = table.get(alice).unwrap();
        assert_eq!(
            json(row.changed_since(1)),
            serde_json::json!({"id": 1, "done": 5, "peers": 2})
        );
        assert_eq!(
            json(row.changed_since(2)),
            serde_json::json!({"id": 1, "peers": 2})
        );
    }

    #[test]
    fn what_does_not_differ_makes_no_revision() {
        let mut table = Table::new(RunId(1));
        table.put(Transfer::new(TransferId(1), "alice"));
        table.commit();
        table.put(Transfer::new(TransferId(1), "alice"));
        table.set_settings(Settings::default());
        table.set_labels(Vec::new());
        assert!(!table.remove(TransferId(2)));
        assert!(!table.commit());
        assert_eq!(table.revision, 1);
    }

    #[test]
    fn used_up_revisions_begin_a_new_run_with_every_row() {
        let mut table = Table::new(RunId(u64::MAX));
        table.revision = u32::MAX - 1;
        table.put(Transfer::new(TransferId(1), "alice"));
        table.set_labels(vec![Label::new("films")]);
        assert!(table.commit());
        assert_eq!(
            table.id(),
            EventId {
                run: RunId(0),
                revision: 1
            }
        );
        assert_eq!(table.rows().len(), 1);
        assert_eq!(table.labels().len(), 1);
        assert_eq!(table.changed_after((0, TransferId(0))).count(), 1);
    }
}
