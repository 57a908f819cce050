//! A table that many read while one writes, and what a client follows it by.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError, RwLock};

use serde::{Serialize, Serializer};
use tokio::sync::watch;

use crate::change::{Moment, Notice, Snapshot};
use crate::ids::{EventId, RunId, TransferId};
use crate::label::Label;
use crate::settings::Settings;
use crate::status::Totals;
use crate::table::{Row, Table};
use crate::watch::Watch;

/// Most rows of a [`Part`]: some 150 KB of JSON when they are new. It bounds what a slow client
/// keeps alive.
const PART_ROWS: usize = 128;

/// A shared [`Table`]. Clones are the same one.
#[derive(Clone, Debug)]
pub struct Live {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    table: RwLock<Table>,
    /// Sent with each revision.
    signal: watch::Sender<Signal>,
}

/// What those who wait are told besides the table.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Signal {
    /// There will be no more.
    pub closed: bool,
    /// Counts what no row shows.
    pub stirred: u32,
}

impl Live {
    /// Shares a table.
    pub fn new(mut table: Table) -> Live {
        table.commit();
        Live {
            shared: Arc::new(Shared {
                table: RwLock::new(table),
                signal: watch::Sender::default(),
            }),
        }
    }

    /// Reads. Keep it short: a writer waits.
    pub fn read<T>(&self, read: impl FnOnce(&Table) -> T) -> T {
        read(
            &self
                .shared
                .table
                .read()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    /// Changes the table; all that changed is one revision, of which clients are told.
    pub fn update<T>(&self, update: impl FnOnce(&mut Table) -> T) -> T {
        let mut table = self
            .shared
            .table
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let value = update(&mut table);
        if table.commit() {
            self.shared.signal.send_modify(|_| {});
        }
        value
    }

    /// Follows the table: from what a client has seen in this run, or from a snapshot.
    pub fn changes(&self, since: Option<EventId>) -> Changes {
        let now = self.read(Table::id);
        let since = since
            .filter(|id| id.run == now.run && id.revision <= now.revision)
            .map(|id| id.revision);
        Changes {
            live: self.clone(),
            signal: self.shared.signal.subscribe(),
            run: now.run,
            anew: since.is_none(),
            seen: since.unwrap_or(0),
            told: since.unwrap_or(0),
            place: (since.unwrap_or(0), TransferId(u32::MAX)),
            ready: VecDeque::new(),
        }
    }

    /// Watches one transfer, if there is one of this number.
    pub fn watch(&self, id: TransferId) -> Option<Watch> {
        self.read(|table| table.get(id).is_some())
            .then(|| Watch::new(self.clone(), self.shared.signal.subscribe(), id))
    }

    /// Something about a transfer changed that no row shows, as the priority of a file: those who
    /// watch one look again.
    pub fn stir(&self) {
        self.shared
            .signal
            .send_modify(|signal| signal.stirred = signal.stirred.wrapping_add(1));
    }

    /// There will be no more changes: followers come to their end.
    pub fn close(&self) {
        self.shared
            .signal
            .send_modify(|signal| signal.closed = true);
    }
}

/// A client's place in the changes. It costs the same however far behind the client is: what it
/// is sent next is looked up when it is ready for it, merged.
///
/// Rows are sent in the order in which they last changed. A row that changes meanwhile moves to
/// the end, so the client is up to date when the end is reached; then a part has an id.
#[derive(Debug)]
pub struct Changes {
    live: Live,
    signal: watch::Receiver<Signal>,
    run: RunId,
    /// The client is to start anew.
    anew: bool,
    /// The client has seen everything up to this revision.
    seen: u32,
    /// It was told of what is no row up to this revision.
    told: u32,
    /// The last row it was sent.
    place: (u32, TransferId),
    /// Parts of one look at the table: at most a dozen, and the kept moments.
    ready: VecDeque<Part>,
}

impl Changes {
    /// What is next, as soon as there is something; `None` when the daemon stops.
    ///
    /// It may be dropped while it waits.
    pub async fn next(&mut self) -> Option<Part> {
        loop {
            if let Some(part) = self.ready.pop_front() {
                return Some(part);
            }
            let closed = self.signal.borrow_and_update().closed;
            let live = self.live.clone();
            live.read(|table| self.look(table));
            if self.ready.is_empty() && (closed || self.signal.changed().await.is_err()) {
                return None;
            }
        }
    }

    fn look(&mut self, table: &Table) {
        if table.run != self.run || table.forgotten > self.told {
            self.anew = true;
        }
        if self.anew {
            self.anew = false;
            self.run = table.run;
            self.seen = 0;
            self.place = (0, TransferId(0));
            self.say(Body::Snapshot(Snapshot {
                transfers: u32::try_from(table.rows().len()).unwrap_or(u32::MAX),
                labels: Arc::clone(table.labels()),
                settings: Arc::clone(table.settings()),
                totals: Arc::clone(table.totals()),
            }));
        } else if self.told < table.revision {
            self.look_beside_rows(table);
        }
        self.told = table.revision;
        let since = self.seen;
        let mut rest = table.changed_after(self.place);
        let rows: Vec<Arc<Row>> = rest.by_ref().take(PART_ROWS).cloned().collect();
        let all = rest.next().is_none();
        drop(rest);
        if let Some(last) = rows.last() {
            self.place = last.place();
        }
        let (new, old): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| row.added > since);
        if !new.is_empty() {
            self.say(Body::Added(new));
        }
        if !old.is_empty() {
            self.say(Body::Changed { rows: old, since });
        }
        if all {
            self.seen = table.revision;
            if let Some(last) = self.ready.back_mut() {
                last.id = Some(table.id());
            }
        }
    }

    fn look_beside_rows(&mut self, table: &Table) {
        let since = self.told;
        let removed = table.removed_since(since);
        if !removed.is_empty() {
            self.say(Body::Removed(removed));
        }
        if let Some(labels) = table.labels.since(since) {
            self.say(Body::Labels(Arc::clone(labels)));
        }
        if let Some(settings) = table.settings.since(since) {
            self.say(Body::Settings(Arc::clone(settings)));
        }
        if let Some(totals) = table.totals.since(since) {
            self.say(Body::Totals(Arc::clone(totals)));
        }
        for moment in table.moments_since(since) {
            self.say(match moment {
                Moment::Finished(id) => Body::Finished(*id),
                Moment::Notice(notice) => Body::Notice(notice.clone()),
            });
        }
    }

    fn say(&mut self, body: Body) {
        self.ready.push_back(Part { id: None, body });
    }
}

/// A message to a client, of bounded size. Serialised, it is the message's data.
#[derive(Debug)]
pub struct Part {
    /// With this part the client has seen everything up to here.
    pub id: Option<EventId>,
    body: Body,
}

#[derive(Debug)]
enum Body {
    Snapshot(Snapshot),
    Added(Vec<Arc<Row>>),
    Changed { rows: Vec<Arc<Row>>, since: u32 },
    Removed(Vec<TransferId>),
    Finished(TransferId),
    Notice(Notice),
    Labels(Arc<[Label]>),
    Settings(Arc<Settings>),
    Totals(Arc<Totals>),
}

impl Part {
    /// The name under which [`Event::read`](crate::Event::read) reads it.
    pub fn name(&self) -> &'static str {
        match self.body {
            Body::Snapshot(_) => "snapshot",
            Body::Added(_) => "added",
            Body::Changed { .. } => "changed",
            Body::Removed(_) => "removed",
            Body::Finished(_) => "finished",
            Body::Notice(_) => "notice",
            Body::Labels(_) => "labels",
            Body::Settings(_) => "settings",
            Body::Totals(_) => "totals",
        }
    }
}

impl Serialize for Part {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.body {
            Body::Snapshot(snapshot) => snapshot.serialize(serializer),
            Body::Added(rows) => rows.serialize(serializer),
            Body::Changed { rows, since } => {
                serializer.collect_seq(rows.iter().map(|row| row.changed_since(*since)))
            }
            Body::Removed(ids) => ids.serialize(serializer),
            Body::Finished(id) => id.serialize(serializer),
            Body::Notice(notice) => notice.serialize(serializer),
            Body::Labels(labels) => labels.serialize(serializer),
            Body::Settings(settings) => settings.serialize(serializer),
            Body::Totals(totals) => totals.serialize(serializer),
        }
    }
}
