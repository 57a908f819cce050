//! What a daemon keeps in SQLite: transfers, labels, settings, totals. Which pieces are there is not here but in
//! the resume records.
//!
//! The database lives on a thread of its own; [`State::commit`] answers when the change is durable. The columns
//! are in [`schema`], rows in [`rows`].

mod rows;
mod schema;
#[cfg(test)]
pub(super) mod tests;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use api::{Goals, Label, Limits};
use rusqlite::Connection;
use tokio::sync::oneshot;
use torrent::ids::InfoHashes;

use super::home::Alive;

/// Jobs that are written in one transaction: those who ask at the same time wait for the disk once.
const TOGETHER: usize = 256;

/// A transfer as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Its number, never given twice in one home.
    pub id: u32,
    /// What it is called.
    pub name: String,
    /// What its content is called on disk, unless the place is `exact`; `None`: as it is called.
    pub file_name: Option<Box<str>>,
    /// What it is known by.
    pub hashes: InfoHashes,
    /// The folder it lies in or goes to; with `exact`, the content itself.
    pub folder: Arc<Path>,
    /// `folder` is the content, not the folder around it.
    pub exact: bool,
    /// Existing data that is never written to.
    pub read_only: bool,
    /// Its label.
    pub label: Option<String>,
    /// A person has paused it.
    pub paused: bool,
    /// Pieces in order.
    pub sequential: bool,
    /// While nobody else has everything, each peer is shown one piece at a time.
    pub super_seed: bool,
    /// Room reserved before writing.
    pub preallocate: bool,
    /// Its own limits.
    pub limits: Limits,
    /// Its place in the queue, smallest first.
    pub position: i64,
    /// Unix seconds.
    pub added: i64,
    /// Unix seconds at which everything wanted was there.
    pub finished: Option<i64>,
    /// It is a running seed since then, in Unix seconds; what came after is not in its totals.
    pub seeding_from: Option<i64>,
    /// What its torrent says, shown while it is dormant.
    pub facts: Facts,
    /// What it has done so far.
    pub totals: Totals,
    /// What few transfers have.
    pub rare: Rare,
}

impl Record {
    /// What its content is called on disk, unless the place is `exact`.
    pub fn file_name(&self) -> &str {
        self.file_name.as_deref().unwrap_or(&self.name)
    }

    /// Calls it, and its content on disk, like this.
    pub fn call(&mut self, name: &str, file_name: &str) {
        self.file_name = (name != file_name).then(|| file_name.into());
        name.clone_into(&mut self.name);
    }
}

/// What few transfers have; those without any of it pay a word.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rare(Option<Box<Extras>>);

/// What few transfers have.
#[derive(Clone, Debug, PartialEq)]
pub struct Extras {
    /// The link it came from, until its metadata is in `torrents/`.
    pub link: Option<String>,
    /// Priority of each file, 0 to 7; empty: all alike.
    pub priorities: Vec<u8>,
    /// Globs of the files that were asked for, used once, when the metadata is here.
    pub select: Vec<String>,
    /// Its own goals; `None`: those of its label or the daemon.
    pub goals: Option<Goals>,
    /// Words a person put on it.
    pub tags: Vec<String>,
    /// Its trackers, in tiers (BEP 12).
    pub trackers: Vec<Vec<String>>,
    /// Its data is on its way to here.
    pub moving_to: Option<PathBuf>,
}

static NOTHING: Extras = Extras {
    link: None,
    priorities: Vec::new(),
    select: Vec::new(),
    goals: None,
    tags: Vec::new(),
    trackers: Vec::new(),
    moving_to: None,
};

impl std::ops::Deref for Rare {
    type Target = Extras;

    fn deref(&self) -> &Extras {
        self.0.as_deref().unwrap_or(&NOTHING)
    }
}

impl Rare {
    /// Changes it.
    pub fn edit<R>(&mut self, change: impl FnOnce(&mut Extras) -> R) -> R {
        let mut extras = self.0.take().unwrap_or_else(|| Box::new(NOTHING.clone()));
        let result = change(&mut extras);
        self.0 = Some(extras).filter(|extras| **extras != NOTHING);
        result
    }
}

impl From<Extras> for Rare {
    fn from(extras: Extras) -> Rare {
        let mut rare = Rare::default();
        rare.edit(|empty| *empty = extras);
        rare
    }
}

/// What a transfer's torrent says of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Payload bytes of all files; 0 until the metadata is here.
    pub size: u64,
    /// Payload bytes of wanted files.
    pub wanted: u64,
    /// Files, pads not counted.
    pub files: u32,
    /// Pieces.
    pub pieces: u32,
    /// Peers come from its trackers only (BEP 27).
    pub private: bool,
}

/// What a transfer has done in all its runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Payload bytes of wanted files that were verified.
    pub done: u64,
    /// Payload bytes received.
    pub received: u64,
    /// Payload bytes sent.
    pub sent: u64,
    /// Of those received: what was of no use.
    pub wasted: u64,
    /// Seconds it was complete and served.
    pub seeded_seconds: u64,
}

/// What is to be kept.
#[derive(Clone, Debug)]
pub enum Change {
    /// A transfer, new or changed.
    Transfer(Box<Record>),
    /// A transfer that is forgotten.
    Forgotten(u32),
    /// A label, new or changed.
    Label(Label),
    /// A label that is no more; its transfers have none then.
    LabelGone(String),
    /// A setting, by its key; `None` goes back to what the configuration says.
    Setting(String, Option<String>),
    /// Only what a transfer has done.
    Totals(u32, Totals),
    /// A new run: what was seeded in the one before goes into the totals, and these seed from now on.
    Seeding {
        /// The end of the run before.
        alive: Alive,
        /// The begin of this one, in Unix seconds.
        since: i64,
        /// By number.
        ids: Vec<u32>,
    },
}

/// Everything that was kept.
#[derive(Debug, Default)]
pub struct Kept {
    /// In the order of their numbers.
    pub transfers: Vec<Record>,
    /// In the order of their names.
    pub labels: Vec<Label>,
    /// Key and value.
    pub settings: Vec<(String, String)>,
    /// The next transfer's number.
    pub next_id: u32,
    /// What was kept is lost; what is above is empty.
    pub lost: Option<Lost>,
}

/// Where a database went.
#[derive(Debug, PartialEq, Eq)]
pub enum Lost {
    /// It was damaged, and is kept aside here.
    Damaged(PathBuf),
    /// It was not there, where one had been.
    Gone,
}

/// Why the state is not to be had.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// What SQLite says.
    #[error("the state database {path}: {source}")]
    Database {
        /// Where.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
    /// The file was written by a later version.
    #[error(
        "the state database {path} is of a later version ({found}, this program knows {known}). Use the newer starling"
    )]
    Newer {
        /// Where.
        path: PathBuf,
        /// Its schema version.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// No thread, or no rename.
    #[error("the state database {path}: {source}")]
    System {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Writes what was said by then, all in one; if that cannot be kept, each for itself.
fn write(connection: &mut Connection, jobs: Vec<Job>) {
    let durable = jobs.iter().any(Job::is_durable);
    let all = jobs.iter().flat_map(Job::changes);
    let together = jobs.len() > 1 && rows::keep(connection, all, durable).is_ok();
    for job in jobs {
        let result = match together {
            true => Ok(()),
            false => rows::keep(connection, job.changes(), job.is_durable()),
        };
        match (job, result) {
            (Job::Commit(_, sender), result) => {
                // Whoever asked has gone; the change is kept all the same.
                let _ = sender.send(result.map_err(|error| error.to_string()));
            }
            (Job::Note(_), Err(error)) => {
                tracing::warn!(%error, "statistics could not be kept");
            }
            (Job::Note(_), Ok(())) => {}
        }
    }
}

enum Job {
    /// Durable before the answer.
    Commit(Vec<Change>, oneshot::Sender<Result<(), String>>),
    /// Durable soon.
    Note(Vec<Change>),
}

impl Job {
    fn changes(&self) -> &[Change] {
        match self {
            Job::Commit(changes, _) | Job::Note(changes) => changes,
        }
    }

    fn is_durable(&self) -> bool {
        matches!(self, Job::Commit(..))
    }
}

/// The database, and its thread. Dropping it writes what was said before.
pub struct State {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl State {
    /// Opens or makes the database, and reads all of it. One that is damaged is kept aside. With `before`, there
    /// has been one: if it is empty or missing now, it is lost.
    ///
    /// # Errors
    /// It cannot be read or made at all, or a later version wrote it.
    pub fn open(path: &Path, before: bool) -> Result<(State, Kept), StateError> {
        let system = |source| StateError::System {
            path: path.to_owned(),
            source,
        };
        let failed = |error| match error {
            schema::OpenError::Sqlite(source) => StateError::Database {
                path: path.to_owned(),
                source,
            },
            schema::OpenError::Newer { found, known } => StateError::Newer {
                path: path.to_owned(),
                found,
                known,
            },
        };
        let open = || {
            let connection = schema::open(path)?;
            let kept = rows::load(&connection)?;
            Ok((connection, kept))
        };
        let anew = |lost| {
            let (connection, mut kept) = open()?;
            kept.lost = Some(lost);
            Ok((connection, kept))
        };
        let size = match fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            // What else is wrong with it, SQLite says.
            there => Some(there.map_or(1, |there| there.len())),
        };
        let opened = match size {
            None if before => anew(Lost::Gone),
            Some(0) if before => {
                tracing::error!("the state database is empty");
                let aside = schema::set_aside(path).map_err(system)?;
                anew(Lost::Damaged(aside))
            }
            _ => match open() {
                Err(schema::OpenError::Sqlite(error)) if schema::is_damage(&error) => {
                    tracing::error!(%error, "the state database is damaged");
                    let aside = schema::set_aside(path).map_err(system)?;
                    anew(Lost::Damaged(aside))
                }
                opened => opened,
            },
        };
        let (mut connection, mut kept) = opened.map_err(failed)?;
        kept.next_id = kept.next_id.max(1);
        let (jobs, inbox) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("state".into())
            .spawn(move || work(&mut connection, &inbox))
            .map_err(|source| StateError::System {
                path: path.to_owned(),
                source,
            })?;
        let state = State {
            jobs: Some(jobs),
            thread: Some(thread),
        };
        Ok((state, kept))
    }

    /// Keeps changes, all or none of them.
    ///
    /// # Errors
    /// What SQLite says, as a sentence; nothing was changed then.
    pub async fn commit(&self, changes: Vec<Change>) -> Result<(), String> {
        let (sender, done) = oneshot::channel();
        let told = self
            .jobs
            .as_ref()
            .is_some_and(|jobs| jobs.send(Job::Commit(changes, sender)).is_ok());
        match told {
            true => done.await.unwrap_or_else(|_| Err(ENDED.to_owned())),
            false => Err(ENDED.to_owned()),
        }
    }

    /// Keeps changes that may be lost if the computer fails within seconds.
    pub fn note(&self, changes: Vec<Change>) {
        if let Some(jobs) = self.jobs.as_ref().filter(|_| !changes.is_empty()) {
            // The thread ends with the process only.
            let _ = jobs.send(Job::Note(changes));
        }
    }
}

const ENDED: &str = "the state database is closed";

impl Drop for State {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported by its own thread.
            let _ = thread.join();
        }
    }
}

fn work(connection: &mut Connection, inbox: &mpsc::Receiver<Job>) {
    while let Ok(job) = inbox.recv() {
        let others = inbox.try_iter().take(TOGETHER - 1);
        let jobs: Vec<Job> = std::iter::once(job).chain(others).collect();
        write(connection, jobs);
    }
    // A database at rest is one file.
    let _ = connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)");
}
