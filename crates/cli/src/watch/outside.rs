//! A daemon as a host of transfers: they are given to it, followed by the changes it tells, and left with it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use api::client::{ClientError, Follower};
use api::{Add, AddOptions, Cause, Event, Kind, Limits, Query, State, Transfer, TransferId};
use node::{Options, Place, Source};
use torrent::ids::InfoHashes;

use super::host::{Doing, Facts, Happening, Host, Key, Look, twice};
use crate::Context;
use crate::command::whole;
use crate::exit::{Exit, Failure, sentence};
use crate::remote::Remote;
use crate::source::to_api;

/// How often the files of a transfer are looked at, to say which are whole.
const FILES: Duration = Duration::from_secs(1);
/// Files of a transfer that is looked at while it goes on; one of more is looked at when it is complete.
const FEW_FILES: u32 = api::MAX_CUT;
/// How long a check of existing data may take to begin.
const CHECK: Duration = Duration::from_secs(3);

/// A daemon, and the transfers that were given to it.
pub struct Outside<'a> {
    context: &'a Context,
    remote: Remote<'a>,
    follower: Follower,
    limits: Limits,
    transfers: BTreeMap<Key, Followed>,
}

/// A transfer that is followed.
struct Followed {
    row: Transfer,
    /// Counts when it began to be followed.
    base: (u64, u64, u64),
    since: Instant,
    /// This command added it; it was not there before.
    ours: bool,
    /// It is only to be served.
    seed: bool,
    /// Where it is, as the person said it.
    root: Option<PathBuf>,
    /// What was told of it.
    told: Told,
    /// Files that were said to be whole.
    whole: BTreeSet<u32>,
    /// Pieces when files were looked at, and when that was.
    looked: (u32, Instant),
}

/// What was told of a transfer.
#[derive(Default)]
struct Told {
    learnt: bool,
    /// It was seen while it was checked.
    checking: bool,
    checked: bool,
    finished: bool,
    stopped: bool,
}

impl<'a> Outside<'a> {
    /// Gives transfers to this daemon, with these limits each.
    pub fn new(
        context: &'a Context,
        remote: Remote<'a>,
        limits: Limits,
    ) -> Result<Outside<'a>, Failure> {
        // What is there already need not be told: only what changes from here on.
        let one = Query {
            limit: 1,
            ..Query::default()
        };
        let page = remote.ask(remote.client().list(&one))?;
        let follower = remote.client().follow(Some(page.as_of));
        Ok(Outside {
            context,
            remote,
            follower,
            limits,
            transfers: BTreeMap::new(),
        })
    }

    /// The daemon has it already: it goes on there.
    fn present(&self, id: TransferId) -> Result<Transfer, Failure> {
        let client = self.remote.client();
        let row = self.remote.ask(client.get(id))?;
        self.context.console.note(&crate::console::clean(&format!(
            "{} is transfer {id} of the daemon already, at {}",
            row.name, row.root
        )));
        match row.state {
            State::Paused => self.remote.ask(client.resume(id)),
            _ => Ok(row),
        }
    }

    /// What an event of the daemon is to the transfers that are followed.
    fn take(&mut self, event: Event) -> Vec<(Key, Happening)> {
        let mut happened = Vec::new();
        match event {
            Event::Added(rows) => {
                for row in rows {
                    let key = row.id.0;
                    if let Some(followed) = self.transfers.get_mut(&key) {
                        followed.row = row;
                        happened.extend(followed.news().into_iter().map(|news| (key, news)));
                    }
                }
            }
            Event::Changed(changes) => {
                for change in changes {
                    let key = change.id.0;
                    let Some(followed) = self.transfers.get_mut(&key) else {
                        continue;
                    };
                    if change.apply(&mut followed.row).is_ok() {
                        happened.extend(followed.news().into_iter().map(|news| (key, news)));
                    }
                }
            }
            Event::Removed(ids) => {
                let gone = ids
                    .into_iter()
                    .filter(|id| self.transfers.contains_key(&id.0));
                happened.extend(gone.map(|id| {
                    let text =
                        format!("Transfer {id} was taken out of the daemon by somebody else.");
                    (id.0, Happening::Failed(Failure::new(Exit::Other, text)))
                }));
            }
            Event::Notice(notice) => {
                let id = notice
                    .transfer
                    .filter(|id| self.transfers.contains_key(&id.0));
                happened.extend(id.map(|id| (id.0, Happening::Notice(notice.text))));
            }
            _ => {}
        }
        happened
    }

    /// Which files have become whole.
    fn files(&mut self) -> Result<Vec<(Key, Happening)>, Failure> {
        let now = Instant::now();
        let mut happened = Vec::new();
        for (&key, followed) in &mut self.transfers {
            let (row, (pieces, at)) = (&followed.row, followed.looked);
            let due = pieces != row.pieces_done && row.files <= FEW_FILES && now >= at + FILES;
            let last = row.complete && !followed.told.finished;
            if followed.seed || !followed.told.learnt || !(due || last) {
                continue;
            }
            followed.looked = (row.pieces_done, now);
            for file in self.remote.files(row.id)? {
                // Of an empty file there is nothing to tell.
                let whole = file.size > 0 && file.done == file.size && file.priority > 0;
                if whole && followed.whole.insert(file.index) {
                    happened.push((key, Happening::File(file.path, file.size)));
                }
            }
        }
        Ok(happened)
    }

    /// What follows from the passing of time, and from files that were looked at.
    fn settle(&mut self) -> Vec<(Key, Happening)> {
        let mut happened = Vec::new();
        for (&key, followed) in &mut self.transfers {
            happened.extend(followed.settle().into_iter().map(|news| (key, news)));
        }
        happened
    }
}

impl Host for Outside<'_> {
    fn listening(&self) -> Option<SocketAddr> {
        let status = &self.remote.status;
        status.listening.iter().find_map(|addr| addr.parse().ok())
    }

    fn add(&mut self, source: Source, options: Options) -> Result<Key, Failure> {
        let seed = options.read_only;
        let dir = match &options.place {
            Place::Into(dir) => Some(dir.clone()),
            Place::At(_) => None,
        };
        let root = match &options.place {
            Place::Into(_) => None,
            Place::At(root) => Some(root.clone()),
        };
        let add = Add {
            source: to_api(&source),
            options: AddOptions {
                folder: dir.as_deref().map(whole).transpose()?,
                root: root.as_deref().map(whole).transpose()?,
                select: options.select,
                super_seed: options.super_seed,
                preallocate: options.preallocate,
                assume_complete: options.assume_complete,
                fingerprints: options.known.iter().map(fingerprint).collect(),
                read_only: options.read_only,
                peers: options.peers.iter().map(ToString::to_string).collect(),
                web_seeds: options.web_seeds,
                limits: self.limits,
                ..AddOptions::default()
            },
        };
        let asked = add.options.folder.clone();
        let chosen = &add.options;
        let choosy =
            !chosen.select.is_empty() || !chosen.peers.is_empty() || !chosen.web_seeds.is_empty();
        let (row, ours) = match self.remote.try_ask(self.remote.client().add(add))? {
            Ok(row) => (row, true),
            Err(ClientError::Problem(problem)) if problem.kind == Kind::AlreadyPresent => {
                let place = problem.instance.as_deref().unwrap_or_default();
                let id = place.rsplit('/').next().and_then(|id| id.parse().ok());
                let Some(id) = id.map(TransferId) else {
                    return Err(problem.into());
                };
                if let Some(followed) = self.transfers.get(&id.0) {
                    return Err(twice(&followed.row.name));
                }
                if choosy {
                    self.context
                        .console
                        .warn("--select and --peer are for what is new; `starling set` changes priorities");
                }
                (self.present(id)?, false)
            }
            Err(error) => return Err(error.into()),
        };
        let key = row.id.0;
        let root = match (dir, asked) {
            (Some(dir), Some(asked)) if Path::new(&row.folder) == Path::new(&asked) => Some(dir),
            (Some(_), _) => None,
            (None, _) => root,
        };
        let now = Instant::now();
        let followed = Followed {
            // What is new may have been received before the answer was here.
            base: if ours {
                (0, 0, 0)
            } else {
                (row.received, row.wasted, row.sent)
            },
            since: now,
            ours,
            seed,
            root,
            told: Told::default(),
            whole: BTreeSet::new(),
            looked: (0, now),
            row,
        };
        self.transfers.insert(key, followed);
        Ok(key)
    }

    fn next(&mut self, within: Duration) -> Result<Vec<(Key, Happening)>, Failure> {
        let mut happened = match self.remote.next(&mut self.follower, within)? {
            Some(event) => self.take(event),
            None => Vec::new(),
        };
        happened.extend(self.files()?);
        happened.extend(self.settle());
        Ok(happened)
    }

    fn look(&self, key: Key) -> Option<Look> {
        let Followed { row, base, .. } = self.transfers.get(&key)?;
        Some(Look {
            doing: match row.state {
                // What is shown of a moment ago may be behind what is kept.
                State::Downloading if row.complete => Doing::Seeding,
                State::Metadata => Doing::Metadata,
                State::Checking => Doing::Checking,
                State::Downloading => Doing::Downloading,
                State::Seeding => Doing::Seeding,
                State::Queued => Doing::Queued,
                State::Held => Doing::Held,
                State::Paused | State::Stopped => Doing::Paused,
            },
            done: row.done,
            wanted: row.wanted,
            rate_down: row.rate_down,
            rate_up: row.rate_up,
            received: row.received.saturating_sub(base.0),
            wasted: row.wasted.saturating_sub(base.1),
            sent: row.sent.saturating_sub(base.2),
            peers: row.peers as usize,
            seeds: row.seeds as usize,
            known: row.known as usize,
            eta: row.eta,
            checking: row.checking.map(|progress| (progress.done, progress.total)),
            finding: vec!["as the daemon is set".to_owned()],
        })
    }

    fn discard(&mut self, key: Key) {
        if let Some(followed) = self.transfers.get(&key)
            && followed.ours
        {
            // Gone already, or going with the daemon: then nothing is left either.
            let _ = self
                .remote
                .try_ask(self.remote.client().forget(followed.row.id));
        }
    }

    fn stop(self: Box<Self>) -> u64 {
        let sent = |followed: &Followed| followed.row.sent.saturating_sub(followed.base.2);
        self.transfers.values().map(sent).sum()
    }
}

impl Followed {
    /// What is new in its row.
    fn news(&mut self) -> Vec<Happening> {
        let mut news = Vec::new();
        let row = &self.row;
        if row.files > 0 && !std::mem::replace(&mut self.told.learnt, row.files > 0) {
            news.push(Happening::Learnt(self.facts()));
        }
        let row = &self.row;
        if row.state == State::Checking {
            self.told.checking = true;
        }
        let stopped = row.state == State::Stopped;
        let was = std::mem::replace(&mut self.told.stopped, stopped);
        if stopped && !was {
            news.push(Happening::Paused(why(row)));
        } else if was && !stopped {
            news.push(Happening::Resumed);
        }
        news
    }

    /// What is known once files were looked at and enough time has passed.
    fn settle(&mut self) -> Vec<Happening> {
        // A row that came with the answer is news too.
        let mut news = self.news();
        let row = &self.row;
        let at_rest = matches!(row.state, State::Downloading | State::Seeding);
        if at_rest && !self.told.checked {
            // A check is short, or has not begun: the daemon tells how its transfers are four times a second.
            let over = self.told.checking || row.complete || self.since.elapsed() >= CHECK;
            if over && (self.seed || self.told.checking) {
                let have = if row.complete {
                    row.pieces
                } else {
                    row.pieces_done
                };
                news.push(Happening::Checked(have, row.pieces));
                self.told.checked = true;
            }
        }
        if row.complete && at_rest && !std::mem::replace(&mut self.told.finished, true) {
            news.push(Happening::Finished);
        }
        news
    }

    fn facts(&self) -> Facts {
        let row = &self.row;
        let path = Path::new(&row.root);
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let root = match &self.root {
            Some(_) => None,
            None => Some(path.to_owned()),
        };
        Facts {
            name: name.into_owned(),
            files: row.files as usize,
            bytes: row.size,
            // Of one file it does not matter whether it is in a folder.
            single: row.files == 1,
            hashes: InfoHashes {
                v1: row.info_hash_v1.map(|hash| hash.0),
                v2: row.info_hash_v2.map(|hash| hash.0),
            },
            root,
        }
    }
}

fn fingerprint(known: &node::Fingerprint) -> api::Fingerprint {
    api::Fingerprint {
        len: known.len,
        mtime: known.mtime,
    }
}

/// Why a transfer is stopped.
fn why(row: &Transfer) -> Failure {
    let exit = match row.cause {
        Some(Cause::NoSpace) => Exit::NoSpace,
        Some(Cause::Permission) => Exit::Permission,
        Some(Cause::Missing) => Exit::NotFound,
        Some(Cause::Damaged) => Exit::Verification,
        _ => Exit::Other,
    };
    let reason = row.reason.as_deref().unwrap_or("it was stopped");
    Failure::new(exit, sentence(reason))
}
