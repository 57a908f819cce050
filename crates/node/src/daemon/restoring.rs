//! The start: everything that was kept is taken up where it was.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::book::Book;
use super::entry::Entry;
use super::home::Alive;
use super::state::{Change, Kept, Lost, Record};
use super::{Daemon, adding, home, unix_now};
use crate::drivers::dormant::{Chosen, Dormant};
use crate::{Event, Options, Source};

/// Why a transfer stands still whose move was cut off.
const MOVING: &str = "its data is being moved";

impl Daemon {
    /// Takes up what was kept by a daemon that was last alive then.
    pub(super) fn restore(
        &self,
        mut kept: Kept,
        alive: Alive,
        labels: BTreeMap<String, api::Label>,
    ) {
        if let Some(lost) = kept.lost.take() {
            let found = self.rebuild(&mut kept);
            let what = match lost {
                Lost::Damaged(aside) => format!("damaged: it is kept as {}, and", aside.display()),
                Lost::Gone => "gone:".to_owned(),
            };
            self.warn(format!(
                "the state database was {what} {found} transfers were found again by their torrents. \
                 Labels, limits and totals are lost"
            ));
        }
        let mut book = Book::new(kept.next_id, labels);
        // The queue is built in its order.
        kept.transfers
            .sort_by_key(|record| (record.position, record.id));
        let order: Vec<u32> = kept.transfers.iter().map(|record| record.id).collect();
        for record in kept.transfers {
            let mut entry = Entry::new(record);
            entry.seeded_until(alive);
            entry.file_system = home::file_system(&entry.root());
            book.insert(Box::new(entry));
        }
        // Verdicts first: what is held does not begin to run.
        let queued = order.into_iter().filter_map(|id| book.get(id));
        let facts = queued.flat_map(Entry::facts);
        let verdicts = self.rules().tell(&self.shared.node, facts);
        for (id, hold) in verdicts {
            if let Some(entry) = book.get_mut(id) {
                entry.hold = hold.map(Box::new);
            }
        }
        let (mut begun, mut groups, mut seeds) = (Vec::new(), Vec::new(), Vec::new());
        let now = unix_now();
        for entry in book.entries_mut() {
            if entry.complete() && entry.runs() && entry.begin_seeding(now) {
                seeds.push(entry.record.id);
            }
            // What a move has not brought over must not be fetched again meanwhile.
            entry.moving = entry.record.rare.moving_to.is_some();
            let moves = entry.moving.then(|| MOVING.to_owned());
            let halted = moves.or_else(|| entry.halted());
            begun.push((entry.record.id, Begin::of(&entry.record, halted)));
            if let Some(label) = &entry.record.label {
                groups.push((entry.record.id, self.rules().group(label)));
            }
        }
        // A crash of this run must neither lose seeding time, nor count that of the run before twice.
        self.shared.state.note(vec![Change::Seeding {
            alive,
            since: now,
            ids: seeds,
        }]);
        *self.book() = book;
        drop(self.shared.node.call(move |driver| {
            for (id, begin) in begun {
                let id = swarm::TorrentId(id);
                let begun = match begin {
                    Begin::Asleep(dormant) => driver.add_dormant(id, dormant),
                    Begin::Awake(source, options) => {
                        let hashes = source.hashes();
                        let begun = driver.add_again(id, source, (*options).clone());
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
        self.show_all();
        self.show_effects();
        for (id, to) in self.unfinished_moves() {
            self.relocate(id, to);
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
        book.entries()
            .filter_map(|e| Some((e.record.id, e.record.rare.moving_to.clone()?)))
            .collect()
    }
}

/// How a kept transfer begins.
enum Begin {
    Asleep(Box<Dormant>),
    Awake(Source, Box<Options>),
}

impl Begin {
    fn of(record: &Record, halted: Option<String>) -> Begin {
        let dormant = Dormant {
            hashes: record.hashes,
            folder: record.folder.clone(),
            exact: record.exact,
            read_only: record.read_only,
            preallocate: record.preallocate,
            sequential: record.sequential,
            super_seed: record.super_seed,
            private: record.facts.private,
            halted: halted.map(String::into_boxed_str),
            chosen: Chosen::of(&record.rare.select, &record.rare.priorities),
            trackers: record.rare.trackers.clone(),
        };
        let complete = record.finished.is_some() && record.facts.pieces > 0;
        // What is not all at its new place yet is not looked for at the old one.
        if complete || record.rare.moving_to.is_some() {
            return Begin::Asleep(Box::new(dormant));
        }
        let link = record.rare.link.as_deref();
        let source = match link.and_then(|link| link.parse().ok()) {
            Some(magnet) => Source::Magnet(Box::new(magnet)),
            None => Source::Hash(record.hashes),
        };
        Begin::Awake(source, Box::new(dormant.options()))
    }
}
