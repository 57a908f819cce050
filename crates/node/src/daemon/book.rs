//! All transfers and labels, found by number and by info-hash.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use api::Label;
use torrent::ids::InfoHashes;

use super::entry::Entry;
use crate::drivers::dormant::Folders;

/// All transfers and labels.
#[derive(Debug, Default)]
pub struct Book {
    entries: BTreeMap<u32, Box<Entry>>,
    /// How each hash begins, and whose it is; the rest of it is in the record.
    numbers: BTreeSet<(u32, u32)>,
    folders: Folders,
    /// By name.
    pub labels: BTreeMap<String, Label>,
    /// The next transfer's number.
    next_id: u32,
    /// A place in the queue behind all others.
    next_position: i64,
}

impl Book {
    /// An empty book whose first transfer gets this number.
    pub fn new(next_id: u32, labels: BTreeMap<String, Label>) -> Book {
        Book {
            labels,
            next_id,
            ..Book::default()
        }
    }

    /// A number for a new transfer, and a place behind all others.
    pub fn next(&mut self) -> (u32, i64) {
        let id = self.next_id;
        self.next_id += 1;
        (id, self.next_position)
    }

    /// Takes a transfer in.
    pub fn insert(&mut self, mut entry: Box<Entry>) {
        let record = &mut entry.record;
        record.folder = self.folders.one(&record.folder);
        self.next_position = self.next_position.max(record.position + 1);
        self.numbers.extend(begins(&record.hashes, record.id));
        self.entries.insert(record.id, entry);
    }

    /// Takes a transfer out.
    pub fn remove(&mut self, id: u32) -> Option<Box<Entry>> {
        let entry = self.entries.remove(&id)?;
        for begin in begins(&entry.record.hashes, id) {
            self.numbers.remove(&begin);
        }
        Some(entry)
    }

    /// All hashes of a transfer are known now.
    pub fn rename(&mut self, id: u32, hashes: InfoHashes) {
        let Some(entry) = self.entries.get_mut(&id) else {
            return;
        };
        let before = std::mem::replace(&mut entry.record.hashes, hashes);
        for begin in begins(&before, id) {
            self.numbers.remove(&begin);
        }
        self.numbers.extend(begins(&hashes, id));
    }

    /// The transfer with one of these hashes.
    pub fn find(&self, hashes: &InfoHashes) -> Option<u32> {
        let has = |id: u32, hash| {
            let entry = self.entries.get(&id);
            entry.is_some_and(|entry| entry.record.hashes.wire().any(|other| other == hash))
        };
        hashes.wire().find_map(|hash| {
            let begin = begin(hash);
            let alike = self.numbers.range((begin, 0)..=(begin, u32::MAX));
            alike.map(|(_, id)| *id).find(|&id| has(id, hash))
        })
    }

    /// A transfer.
    pub fn get(&self, id: u32) -> Option<&Entry> {
        self.entries.get(&id).map(|entry| &**entry)
    }

    /// A transfer, to be changed: all but its hashes.
    pub fn get_mut(&mut self, id: u32) -> Option<&mut Entry> {
        self.entries.get_mut(&id).map(|entry| &mut **entry)
    }

    /// All transfers, by number.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = &Entry> {
        self.entries.values().map(|entry| &**entry)
    }

    /// All transfers, by number, to be changed: all but their hashes.
    pub fn entries_mut(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.entries.values_mut().map(|entry| &mut **entry)
    }

    /// This folder, as other transfers have it.
    pub fn folder(&mut self, folder: &Path) -> Arc<Path> {
        self.folders.one(folder)
    }
}

fn begins(hashes: &InfoHashes, id: u32) -> impl Iterator<Item = (u32, u32)> {
    hashes.wire().map(move |hash| (begin(hash), id))
}

fn begin([a, b, c, d, ..]: [u8; 20]) -> u32 {
    u32::from_be_bytes([a, b, c, d])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::state::tests::record;

    fn entry(id: u32, v1: Option<u8>, v2: Option<u8>) -> Box<Entry> {
        let mut record = record(id);
        record.hashes = hashes(v1, v2);
        record.position = i64::from(id);
        Box::new(Entry::new(record))
    }

    fn hashes(v1: Option<u8>, v2: Option<u8>) -> InfoHashes {
        InfoHashes {
            v1: v1.map(|byte| [byte; 20]),
            v2: v2.map(|byte| [byte; 32]),
        }
    }

    #[test]
    fn a_transfer_is_found_by_each_of_its_hashes_while_it_is_there() {
        let mut book = Book::new(7, BTreeMap::new());
        book.insert(entry(1, Some(1), None));
        book.insert(entry(2, None, Some(2)));
        assert_eq!(book.find(&hashes(Some(1), Some(9))), Some(1));
        assert_eq!(book.find(&hashes(None, Some(2))), Some(2));
        assert_eq!(book.find(&hashes(Some(9), None)), None);
        // A link had one hash, the metadata has both.
        book.rename(1, hashes(Some(1), Some(3)));
        assert_eq!(book.find(&hashes(None, Some(3))), Some(1));
        assert!(book.remove(1).is_some() && book.remove(1).is_none());
        assert_eq!(book.find(&hashes(Some(1), Some(3))), None);
        assert_eq!(book.next(), (7, 3));
    }

    #[test]
    fn hashes_that_begin_alike_are_told_apart() {
        let mut book = Book::default();
        let mut alike = [1; 20];
        alike[19] = 2;
        let mut other = entry(2, None, None);
        other.record.hashes = InfoHashes::of_v1(alike);
        book.insert(other);
        book.insert(entry(1, Some(1), None));
        assert_eq!(book.find(&hashes(Some(1), None)), Some(1));
        assert_eq!(book.find(&InfoHashes::of_v1(alike)), Some(2));
    }

    #[test]
    fn hashes_that_two_transfers_claim_stay_with_whom_they_name() {
        let mut book = Book::default();
        book.insert(entry(1, Some(1), None));
        book.insert(entry(2, None, Some(2)));
        book.rename(2, hashes(Some(1), Some(2)));
        book.remove(1);
        assert_eq!(book.find(&hashes(Some(1), None)), Some(2));
    }
}
