//! Complete transfers that nobody uses: hashes and options, no metainfo, no open file, no engine state.
//!
//! They are announced as before. The first peer that asks for one wakes it, and so does an announce that names an
//! address for the first time: that peer may be one which cannot reach us.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use swarm::{Input, TorrentId};
use torrent::ids::InfoHashes;

use super::{Driver, store_id};
use crate::{AddError, Event, Options, Source};

/// Addresses remembered of each complete transfer, so that the same ones do not wake it with every announce.
const SEEN: usize = 64;
/// How often awake transfers are looked at.
const LOOK: Duration = Duration::from_secs(15);

/// What is kept of a transfer while it is dormant.
pub(crate) struct Dormant {
    pub hashes: InfoHashes,
    pub options: Options,
    pub trackers: Vec<Vec<String>>,
}

/// All of them.
#[derive(Default)]
pub(crate) struct Dormants {
    by_id: BTreeMap<TorrentId, Box<Dormant>>,
    /// Addresses that an announce has named, as hashes.
    seen: HashMap<TorrentId, Vec<u32>>,
}

impl Dormants {
    pub fn get(&self, id: TorrentId) -> Option<&Dormant> {
        self.by_id.get(&id).map(|dormant| &**dormant)
    }

    pub fn get_mut(&mut self, id: TorrentId) -> Option<&mut Dormant> {
        self.by_id.get_mut(&id).map(|dormant| &mut **dormant)
    }

    pub fn has(&self, id: TorrentId) -> bool {
        self.by_id.contains_key(&id)
    }

    pub fn remove(&mut self, id: TorrentId) -> Option<Box<Dormant>> {
        self.seen.remove(&id);
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
        let halted = dormant.options.halted.is_some();
        self.dormant.borrow_mut().by_id.insert(id, dormant);
        if !halted {
            self.find_peers(id);
        }
        Ok(())
    }

    /// Wakes whoever has this info-hash.
    pub fn rouse_by(self: &Rc<Self>, hash: &[u8; 20]) {
        let id = self.names.borrow().get(hash).copied();
        let wakes = |id: &TorrentId| {
            let dormant = self.dormant.borrow();
            dormant.get(*id).is_some_and(|d| d.options.halted.is_none())
        };
        if let Some(id) = id.filter(wakes) {
            self.rouse(id);
        }
    }

    /// Brings a dormant transfer back among those the engine knows; the others are left as they are.
    pub fn rouse(self: &Rc<Self>, id: TorrentId) {
        let Some(dormant) = self.dormant.borrow_mut().by_id.remove(&id) else {
            return;
        };
        self.unname(id);
        let Dormant {
            hashes, options, ..
        } = *dormant;
        if let Err(error) = self.add(id, Source::Hash(hashes), options) {
            // It stays known, so that it can be looked at again.
            let problem = match error {
                AddError::Place(problem) => problem,
                other => crate::Problem {
                    kind: crate::ProblemKind::Other,
                    message: other.to_string(),
                },
            };
            tracing::warn!(torrent = id.0, %hashes, problem = problem.message, "cannot be woken");
            self.event(Event::Failed(id, problem));
        }
    }

    /// Lets a transfer sleep if it is complete and nothing happens with it.
    fn lull(self: &Rc<Self>, id: TorrentId) {
        let mut transfers = self.transfers.borrow_mut();
        let Some(t) = transfers.get(&id) else { return };
        let (hashes, trackers) = (t.hashes, t.trackers.clone());
        let mut options = t.options.clone();
        // What was found on waking is in the resume record.
        options.assume_complete = false;
        options.known = Vec::new();
        transfers.remove(&id);
        drop(transfers);
        self.report_last(id);
        self.tell(Input::Remove(id));
        self.store.remove(store_id(id));
        let dormant = Dormant {
            hashes,
            options,
            trackers,
        };
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
        addrs: Vec<SocketAddr>,
    ) {
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
        if driver.transfers.borrow().is_empty() {
            driver.roused.notified().await;
            continue;
        }
        tokio::time::sleep(LOOK.min(quiet)).await;
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
