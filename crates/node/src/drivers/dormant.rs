//! Complete transfers that nobody uses: hashes and options, no metainfo, no open file, no engine state.
//!
//! They are announced as before. The first peer that asks for one wakes it, and so does an announce that names an
//! address for the first time: that peer may be one which cannot reach us.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use swarm::{Input, TorrentId};
use torrent::ids::InfoHashes;

use super::{Driver, store_id};
use crate::{AddError, Event, Options, Place, Problem, Source};

/// Addresses remembered of each complete transfer, so that the same ones do not wake it with every announce.
const SEEN: usize = 64;
/// So many folders are remembered whether or not somebody has them.
const FOLDERS: usize = 64;
/// How often awake transfers are looked at.
const LOOK: Duration = Duration::from_secs(15);

/// What is kept of a transfer while it is dormant: the few of its [`Options`] that it was given.
pub(crate) struct Dormant {
    pub hashes: InfoHashes,
    /// The folder it lies in, shared by all that do; with `exact`, the content itself.
    pub folder: Arc<Path>,
    pub exact: bool,
    pub read_only: bool,
    pub preallocate: bool,
    pub sequential: bool,
    pub super_seed: bool,
    pub private: bool,
    pub halted: Option<Box<str>>,
    pub chosen: Option<Box<Chosen>>,
    pub trackers: Vec<Vec<String>>,
}

/// Which files are wanted.
pub(crate) struct Chosen {
    pub select: Vec<String>,
    pub priorities: Vec<u8>,
}

impl Chosen {
    /// Nothing, if all files are wanted alike.
    pub fn of(select: &[String], priorities: &[u8]) -> Option<Box<Chosen>> {
        (!select.is_empty() || !priorities.is_empty()).then(|| {
            Box::new(Chosen {
                select: select.to_vec(),
                priorities: priorities.to_vec(),
            })
        })
    }
}

impl Dormant {
    fn of(
        hashes: InfoHashes,
        options: &Options,
        private: bool,
        trackers: Vec<Vec<String>>,
        folders: &mut Folders,
    ) -> Dormant {
        let (folder, exact) = match &options.place {
            Place::Into(folder) => (folder, false),
            Place::At(root) => (root, true),
        };
        Dormant {
            hashes,
            folder: folders.one(folder),
            exact,
            read_only: options.read_only,
            preallocate: options.preallocate,
            sequential: options.sequential,
            super_seed: options.super_seed,
            private,
            halted: options.halted.as_deref().map(Into::into),
            chosen: Chosen::of(&options.select, &options.priorities),
            trackers,
        }
    }

    /// As it was given to the node.
    pub fn options(&self) -> Options {
        let place = match self.exact {
            true => Place::At(self.folder.to_path_buf()),
            false => Place::Into(self.folder.to_path_buf()),
        };
        let chosen = self.chosen.as_deref();
        Options {
            read_only: self.read_only,
            preallocate: self.preallocate,
            sequential: self.sequential,
            super_seed: self.super_seed,
            private: self.private,
            halted: self.halted.as_deref().map(str::to_owned),
            select: chosen.map(|c| c.select.clone()).unwrap_or_default(),
            priorities: chosen.map(|c| c.priorities.clone()).unwrap_or_default(),
            remember: true,
            ..Options::new(place)
        }
    }
}

/// Folders that are there once, however many transfers lie in them.
#[derive(Debug, Default)]
pub(crate) struct Folders {
    known: HashSet<Arc<Path>>,
    /// With so many, those that nobody has any more are dropped.
    most: usize,
}

impl Folders {
    /// This folder, as others have it.
    pub fn one(&mut self, folder: &Path) -> Arc<Path> {
        if let Some(known) = self.known.get(folder) {
            return known.clone();
        }
        if self.known.len() >= self.most {
            self.known.retain(|known| Arc::strong_count(known) > 1);
            self.most = (2 * self.known.len()).max(FOLDERS);
        }
        let folder: Arc<Path> = folder.into();
        self.known.insert(folder.clone());
        folder
    }
}

/// All of them.
#[derive(Default)]
pub(crate) struct Dormants {
    by_id: BTreeMap<TorrentId, Box<Dormant>>,
    /// Those among them that could not be woken: their place would not do. They are tried again.
    stuck: BTreeSet<TorrentId>,
    /// Addresses that an announce has named, as hashes.
    seen: HashMap<TorrentId, Vec<u32>>,
    folders: Folders,
}

impl Dormants {
    pub fn get(&self, id: TorrentId) -> Option<&Dormant> {
        self.by_id.get(&id).map(|dormant| &**dormant)
    }

    pub fn get_mut(&mut self, id: TorrentId) -> Option<&mut Dormant> {
        self.by_id.get_mut(&id).map(|dormant| &mut **dormant)
    }

    /// All of them, in the order of their numbers.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (TorrentId, &Dormant)> {
        self.by_id.iter().map(|(&id, dormant)| (id, &**dormant))
    }

    pub fn has(&self, id: TorrentId) -> bool {
        self.by_id.contains_key(&id)
    }

    pub fn remove(&mut self, id: TorrentId) -> Option<Box<Dormant>> {
        self.seen.remove(&id);
        self.stuck.remove(&id);
        self.by_id.remove(&id)
    }

    /// Is one of these addresses new?
    fn news(&mut self, id: TorrentId, addrs: &[SocketAddr]) -> bool {
        let seen = self.seen.entry(id).or_default();
        let mut news = false;
        for addr in addrs {
            let mut hasher = DefaultHasher::new();
            addr.hash(&mut hasher);
            let mark = hasher.finish() as u32;
            if !seen.contains(&mark) {
                news = true;
                if seen.len() == SEEN {
                    seen.remove(0);
                }
                seen.push(mark);
            }
        }
        news
    }
}

impl Driver {
    /// Takes in a transfer that was complete when the program ended. Nothing is read.
    ///
    /// # Errors
    /// It is there already.
    pub fn add_dormant(
        self: &Rc<Self>,
        id: TorrentId,
        dormant: Box<Dormant>,
    ) -> Result<(), AddError> {
        if self.find(&dormant.hashes).is_some() {
            return Err(AddError::Twice(dormant.hashes.to_string()));
        }
        self.name(id, &dormant.hashes);
        let halted = dormant.halted.is_some();
        self.dormant.borrow_mut().by_id.insert(id, dormant);
        if !halted {
            self.find_peers(id);
        }
        Ok(())
    }

    /// A peer is there for this info-hash: wakes whoever has it.
    pub fn rouse_by(self: &Rc<Self>, hash: &[u8; 20]) {
        let Some(id) = self.names.borrow().get(hash).copied() else {
            return;
        };
        let wakes = {
            let dormant = self.dormant.borrow();
            dormant.get(id).is_some_and(|d| d.halted.is_none())
        };
        if wakes {
            self.rouse(id);
        }
        // What it takes is told, of a transfer at rest too.
        self.news.about(id);
    }

    /// Brings a dormant transfer back among those the engine knows; the others are left as they are.
    pub fn rouse(self: &Rc<Self>, id: TorrentId) {
        if let Err(problem) = self.try_rouse(id) {
            self.event(Event::Failed(id, problem));
        }
    }

    /// As [`rouse`](Self::rouse); one whose place will not do stays dormant and is tried again.
    fn try_rouse(self: &Rc<Self>, id: TorrentId) -> Result<(), Problem> {
        let Some(dormant) = self.dormant.borrow_mut().by_id.remove(&id) else {
            return Ok(());
        };
        self.unname(id);
        match self.add_again(id, Source::Hash(dormant.hashes), dormant.options()) {
            Ok(()) => {
                if self.dormant.borrow_mut().stuck.remove(&id) {
                    self.event(Event::Resumed(id));
                }
                Ok(())
            }
            Err(error) => {
                self.keep_stuck(id, dormant);
                Err(error.into())
            }
        }
    }

    /// A transfer whose place will not do is known all the same, and tried again.
    pub fn shelve(&self, id: TorrentId, hashes: InfoHashes, options: &Options, private: bool) {
        let dormant = Dormant::of(
            hashes,
            options,
            private,
            Vec::new(),
            &mut self.dormant.borrow_mut().folders,
        );
        self.keep_stuck(id, Box::new(dormant));
    }

    fn keep_stuck(&self, id: TorrentId, dormant: Box<Dormant>) {
        self.name(id, &dormant.hashes);
        let mut all = self.dormant.borrow_mut();
        all.by_id.insert(id, dormant);
        all.stuck.insert(id);
        drop(all);
        self.roused.notify_one();
    }

    /// Tries those again that could not be woken.
    pub fn retry_stuck(self: &Rc<Self>) {
        let stuck: Vec<TorrentId> = self.dormant.borrow().stuck.iter().copied().collect();
        for id in stuck {
            // The reason was told when it was met first.
            let _ = self.try_rouse(id);
        }
    }

    /// Lets a transfer sleep if it is complete and nothing happens with it.
    fn lull(self: &Rc<Self>, id: TorrentId) {
        let mut transfers = self.transfers.borrow_mut();
        let Some(t) = transfers.get(&id) else { return };
        let dormant = Dormant::of(
            t.hashes,
            &t.options,
            t.private(),
            t.trackers.clone(),
            &mut self.dormant.borrow_mut().folders,
        );
        transfers.remove(&id);
        drop(transfers);
        self.report_last(id);
        self.end_web_seeds(id);
        self.tell(Input::Remove(id));
        self.store.remove(store_id(id));
        self.dormant
            .borrow_mut()
            .by_id
            .insert(id, Box::new(dormant));
    }

    /// Somebody was found who may have or want this torrent.
    pub fn peers_found(
        self: &Rc<Self>,
        id: TorrentId,
        source: swarm::Source,
        mut addrs: Vec<SocketAddr>,
    ) {
        addrs.retain(|addr| !self.blocking.blocks(addr.ip()));
        if self.may_sleep && self.is_offered(id) {
            let news = self.dormant.borrow_mut().news(id, &addrs);
            if !news {
                return;
            }
            self.rouse(id);
        }
        self.tell(Input::Peers(id, source, addrs));
    }

    /// Is it complete, so that peers are not looked for but waited for?
    pub fn is_offered(&self, id: TorrentId) -> bool {
        self.dormant.borrow().has(id) || self.is_finished(id)
    }

    fn is_finished(&self, id: TorrentId) -> bool {
        self.transfers.borrow().get(&id).is_some_and(|t| t.finished)
    }
}

/// Looks from time to time for transfers that can sleep; with none awake it sleeps itself.
pub(crate) async fn run(driver: Rc<Driver>, quiet: Duration) {
    loop {
        let stuck = !driver.dormant.borrow().stuck.is_empty();
        if driver.transfers.borrow().is_empty() && !stuck {
            driver.roused.notified().await;
            continue;
        }
        tokio::time::sleep(LOOK.min(quiet)).await;
        driver.retry_stuck();
        let now = Instant::now();
        let mut tired = Vec::new();
        for (&id, t) in driver.transfers.borrow_mut().iter_mut() {
            let status = driver.session.borrow_mut().status(now, id);
            let idle = t.finished
                && t.flushed
                && t.problem.is_none()
                && t.checking.is_none()
                && t.readers == 0
                && t.options.remember
                && status.is_some_and(|s| s.peers == 0 && s.done == s.wanted);
            t.quiet_since = match idle {
                true => t.quiet_since.or(Some(now)),
                false => None,
            };
            if t.quiet_since.is_some_and(|since| now - since >= quiet) {
                tired.push(id);
            }
        }
        tired.into_iter().for_each(|id| driver.lull(id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_there_once_and_goes_with_those_who_have_it() {
        let mut folders = Folders::default();
        let kept = folders.one(Path::new("/data"));
        for n in 0..10 * FOLDERS {
            folders.one(Path::new(&format!("/data/{n}")));
        }
        assert!(Arc::ptr_eq(&kept, &folders.one(Path::new("/data"))));
        assert!(folders.known.len() <= FOLDERS, "{}", folders.known.len());
    }
}
