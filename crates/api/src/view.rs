//! One transfer as a client follows it: in parts, each sent as a whole once and then as what
//! differs.
//!
//! Both sides have a [`View`]: the daemon's finds what differs from one look to the next
//! ([`View::look`]), the client's puts it in ([`View::apply`]).

mod event;
mod query;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use crate::change::Change;
use crate::detail::{File, Peer, Tracker};
use crate::query::Items;
use crate::transfer::Transfer;

use event::{Entry, differing};
pub use event::{FileChange, PeerChange, TrackerChange, ViewEvent};
pub use query::{ViewPart, ViewParts, ViewQuery};

/// A transfer as it is shown: parts that were asked for, `None` for the others.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct View {
    /// Its row.
    pub transfer: Option<Box<Transfer>>,
    /// Some of its files.
    pub files: Option<Items<File>>,
    /// Its connected peers.
    pub peers: Option<Vec<Peer>>,
    /// Its trackers.
    pub trackers: Option<Vec<Tracker>>,
}

impl View {
    /// Takes in what is `Some` in a newer look, and says how it differs.
    pub fn look(&mut self, newer: View) -> Vec<ViewEvent> {
        let mut events = Vec::new();
        if let Some(transfer) = newer.transfer {
            events.extend(transfer_event(self.transfer.as_deref(), &transfer));
            self.transfer = Some(transfer);
        }
        if let Some(mut files) = newer.files {
            once(&mut files.items);
            events.extend(files_event(self.files.as_ref(), &files));
            self.files = Some(files);
        }
        if let Some(mut peers) = newer.peers {
            once(&mut peers);
            peers_events(self.peers.as_deref(), &peers, &mut events);
            self.peers = Some(peers);
        }
        if let Some(mut trackers) = newer.trackers {
            once(&mut trackers);
            events.extend(trackers_event(self.trackers.as_deref(), &trackers));
            self.trackers = Some(trackers);
        }
        events
    }

    /// Puts in what was said. What is about an entry that is not there is passed over.
    ///
    /// # Errors
    /// A field has a value that it cannot have.
    pub fn apply(&mut self, event: ViewEvent) -> serde_json::Result<()> {
        match event {
            ViewEvent::Transfer(transfer) => self.transfer = Some(transfer),
            ViewEvent::TransferChanged(changes) => {
                for change in changes {
                    if let Some(transfer) = self.transfer.as_deref_mut() {
                        change.apply(transfer)?;
                    }
                }
            }
            ViewEvent::Files(files) => self.files = Some(files),
            ViewEvent::FilesChanged(changes) => {
                let files = self.files.as_mut().map(|files| &mut files.items);
                alter(files, changes)?;
            }
            ViewEvent::Peers(peers) => self.peers = Some(peers),
            ViewEvent::PeersAdded(new) => self.peers.get_or_insert_default().extend(new),
            ViewEvent::PeersChanged(changes) => alter(self.peers.as_mut(), changes)?,
            ViewEvent::PeersRemoved(gone) => {
                let peers = self.peers.get_or_insert_default();
                peers.retain(|peer| !gone.contains(&peer.address));
            }
            ViewEvent::Trackers(trackers) => self.trackers = Some(trackers),
            ViewEvent::TrackersChanged(changes) => alter(self.trackers.as_mut(), changes)?,
            ViewEvent::Removed(_) => *self = View::default(),
        }
        Ok(())
    }
}

fn alter<T: Entry>(list: Option<&mut Vec<T>>, changes: Vec<T::Change>) -> serde_json::Result<()> {
    let mut entries: BTreeMap<T::Key, &mut T> = list
        .into_iter()
        .flatten()
        .map(|entry| (entry.key(), entry))
        .collect();
    for change in changes {
        if let Some(entry) = entries.get_mut(T::named(&change)) {
            entry.take(change)?;
        }
    }
    Ok(())
}

/// Each entry once: what comes twice under one name could not be told apart later.
fn once<T: Entry>(list: &mut Vec<T>) {
    let mut seen = BTreeSet::new();
    list.retain(|entry| seen.insert(entry.key()));
}

fn transfer_event(before: Option<&Transfer>, after: &Transfer) -> Option<ViewEvent> {
    let Some(before) = before else {
        return Some(ViewEvent::Transfer(Box::new(after.clone())));
    };
    let fields = differing(before, after);
    let change = Change {
        id: after.id,
        fields,
    };
    (!change.fields.is_empty()).then(|| ViewEvent::TransferChanged(vec![change]))
}

fn files_event(before: Option<&Items<File>>, after: &Items<File>) -> Option<ViewEvent> {
    let same = |before: &&Items<File>| before.total == after.total;
    match before.filter(same).map(|before| &before.items) {
        Some(before) if same_entries(before, &after.items) => {
            some(changes(before, &after.items)).map(ViewEvent::FilesChanged)
        }
        _ => Some(ViewEvent::Files(after.clone())),
    }
}

fn trackers_event(before: Option<&[Tracker]>, after: &[Tracker]) -> Option<ViewEvent> {
    match before {
        Some(before) if same_entries(before, after) => {
            some(changes(before, after)).map(ViewEvent::TrackersChanged)
        }
        _ => Some(ViewEvent::Trackers(after.to_vec())),
    }
}

fn peers_events(before: Option<&[Peer]>, after: &[Peer], events: &mut Vec<ViewEvent>) {
    let Some(before) = before else {
        events.push(ViewEvent::Peers(after.to_vec()));
        return;
    };
    let was: BTreeMap<&str, &Peer> = before.iter().map(by_address).collect();
    let is: BTreeMap<&str, &Peer> = after.iter().map(by_address).collect();
    let gone = was.keys().filter(|address| !is.contains_key(*address));
    let gone = gone.map(|address| (*address).to_owned()).collect();
    events.extend(some(gone).map(ViewEvent::PeersRemoved));
    // Time passes for all alike, and a client can count: only a new connection begins again.
    let counted_on = |peer: &Peer| {
        let mut was = (*was.get(peer.address.as_str())?).clone();
        let on = was.connected_seconds..;
        if on.contains(&peer.connected_seconds) {
            was.connected_seconds = peer.connected_seconds;
        }
        Some(was)
    };
    let before: Vec<Peer> = after.iter().filter_map(counted_on).collect();
    events.extend(some(changes(&before, after)).map(ViewEvent::PeersChanged));
    let new = after
        .iter()
        .filter(|peer| !was.contains_key(peer.address.as_str()));
    events.extend(some(new.cloned().collect()).map(ViewEvent::PeersAdded));
}

fn by_address(peer: &Peer) -> (&str, &Peer) {
    (&peer.address, peer)
}

/// The list, if anything is in it.
fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

/// Are they of the same names, in the same order?
fn same_entries<T: Entry>(before: &[T], after: &[T]) -> bool {
    let names = |list: &[T]| list.iter().map(T::key).collect::<Vec<_>>();
    before.len() == after.len() && names(before) == names(after)
}

/// What is to be said of entries that are in both.
fn changes<T: Entry>(before: &[T], after: &[T]) -> Vec<T::Change> {
    let before: BTreeMap<T::Key, &T> = before.iter().map(|entry| (entry.key(), entry)).collect();
    let change = |entry: &T| entry.change(before.get(&entry.key())?);
    after.iter().filter_map(change).collect()
}
