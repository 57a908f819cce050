//! What a person does with a transfer that is there: halt it, look at its data again, put it elsewhere, choose
//! among its files, leave it.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use store::{Bits, StoreError};
use swarm::{Input, TorrentId};
use torrent::ids::InfoHashes;
use torrent::metainfo::Metainfo;

use super::dormant::Chosen;
use super::{Driver, store_id};
use crate::{Options, Place, Problem, Source};

/// A flush may take so long before a transfer is left or restarted without it.
const FLUSH: Duration = Duration::from_secs(30);
/// How often a flush is looked at.
const MOMENT: Duration = Duration::from_millis(5);

/// A transfer is checked, moved or left, and nothing else of these happens to it meanwhile.
struct Turn {
    driver: Rc<Driver>,
    id: TorrentId,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.driver.busy.borrow_mut().remove(&self.id);
        self.driver.turn_over.notify_waiters();
    }
}

impl Driver {
    /// Waits until nobody else is busy with this transfer.
    async fn turn(self: &Rc<Self>, id: TorrentId) -> Turn {
        loop {
            let over = self.turn_over.notified();
            if self.busy.borrow_mut().insert(id) {
                let driver = self.clone();
                return Turn { driver, id };
            }
            over.await;
        }
    }

    /// The transfer with one of these hashes.
    pub fn find(&self, hashes: &InfoHashes) -> Option<TorrentId> {
        let names = self.names.borrow();
        hashes.wire().find_map(|hash| names.get(&hash).copied())
    }

    /// Remembers what a transfer is known by.
    pub fn name(&self, id: TorrentId, hashes: &InfoHashes) {
        let mut names = self.names.borrow_mut();
        names.extend(hashes.wire().map(|hash| (hash, id)));
    }

    /// Forgets what a transfer is known by.
    pub fn unname(&self, id: TorrentId) {
        self.names.borrow_mut().retain(|_, named| *named != id);
    }

    /// Stops a transfer for a reason, or lets it go on.
    pub fn halt(self: &Rc<Self>, id: TorrentId, why: Option<String>) {
        if let Some(dormant) = self.dormant.borrow_mut().get_mut(id) {
            dormant.halted = why.as_deref().map(Into::into);
        }
        let waits = {
            let mut transfers = self.transfers.borrow_mut();
            transfers.get_mut(&id).map(|t| {
                t.options.halted = why.clone();
                t.problem.is_some()
            })
        };
        match why {
            Some(_) => self.lose_peers(id),
            None => self.find_peers(id),
        }
        match (waits, why) {
            (None, _) => {}
            // It goes on when the problem is gone.
            (Some(true), None) => {}
            (Some(_), why) => {
                let stops = why.is_some();
                self.tell(Input::Pause(id, why));
                if stops {
                    self.store.flush(store_id(id));
                }
            }
        }
        self.news.about(id);
    }

    /// Whether pieces would be missing of the files that these priorities want. What cannot be looked at may be.
    pub fn lacks(self: &Rc<Self>, id: TorrentId, priorities: &[u8]) -> bool {
        self.rouse(id);
        let (transfers, session) = (self.transfers.borrow(), self.session.borrow());
        let info = transfers.get(&id).and_then(|t| t.info.as_ref());
        let (Some(info), Some(have)) = (info, session.have(id)) else {
            return true;
        };
        let layout = info.layout();
        let wanted = |&file: &usize| priorities.get(file).is_none_or(|&priority| priority > 0);
        let pieces = (0..layout.files())
            .filter(|&file| !layout.file(file).pad)
            .filter(wanted)
            .flat_map(|file| layout.file_pieces(file));
        pieces.into_iter().any(|piece| !have.get(piece))
    }

    /// Priority of each file, 0 (not wanted) to 7; empty: all alike.
    pub fn prioritize(self: &Rc<Self>, id: TorrentId, priorities: Vec<u8>) {
        let lacks = self.lacks(id, &priorities);
        if let Some(dormant) = self.dormant.borrow_mut().get_mut(id) {
            dormant.chosen = Chosen::of(&[], &priorities);
        }
        let wanted = {
            let mut transfers = self.transfers.borrow_mut();
            let Some(t) = transfers.get_mut(&id) else {
                return;
            };
            t.options.priorities.clone_from(&priorities);
            // What has finished, or is about to, is not said again.
            t.finished &= !lacks;
            t.finishing &= !lacks;
            t.info.as_ref().map(|info| {
                let mut wanted = Bits::new(info.files().len());
                for file in 0..info.files().len() {
                    if priorities.get(file).is_none_or(|&p| p > 0) {
                        wanted.set(file);
                    }
                }
                wanted
            })
        };
        if let Some(wanted) = wanted {
            self.store.select(store_id(id), &wanted);
        }
        self.tell(Input::Prioritize(id, priorities));
        self.news.about(id);
    }

    /// Pieces in order, or the rarest first.
    pub fn set_sequential(self: &Rc<Self>, id: TorrentId, sequential: bool) {
        if let Some(t) = self.transfers.borrow_mut().get_mut(&id) {
            t.options.sequential = sequential;
        }
        if let Some(dormant) = self.dormant.borrow_mut().get_mut(id) {
            dormant.sequential = sequential;
        }
        self.tell(Input::Sequential(id, sequential));
    }

    /// While nobody else has everything, show each peer one piece at a time, or all of it.
    pub fn set_super_seed(self: &Rc<Self>, id: TorrentId, super_seed: bool) {
        if let Some(t) = self.transfers.borrow_mut().get_mut(&id) {
            t.options.super_seed = super_seed;
        }
        if let Some(dormant) = self.dormant.borrow_mut().get_mut(id) {
            dormant.super_seed = super_seed;
        }
        self.tell(Input::SuperSeed(id, super_seed));
    }

    /// Leaves a transfer; its files stay. With `forget`, its resume record and torrent file go.
    pub async fn leave(self: Rc<Self>, id: TorrentId, forget: bool) {
        let _turn = self.turn(id).await;
        let (hashes, root) = {
            let (transfers, dormant) = (self.transfers.borrow(), self.dormant.borrow());
            match (transfers.get(&id), dormant.get(id)) {
                (Some(t), _) => (t.hashes, Some(t.root.clone())),
                (None, Some(d)) => (d.hashes, None),
                (None, None) => return,
            }
        };
        self.lose_peers(id);
        self.stop_one(id).await;
        let dormant = self.dormant.borrow_mut().remove(id);
        self.unname(id);
        if forget {
            let root = root.or_else(|| {
                let metainfo = self.keep.load_torrent(&hashes)?;
                let options = dormant?.options();
                Some(super::transfer::root_of(&options, &metainfo.info))
            });
            self.keep.forget(&hashes, root.as_deref());
        }
        self.news.about(id);
    }

    /// Takes a transfer out of engine and store, everything synced and recorded.
    async fn stop_one(self: &Rc<Self>, id: TorrentId) {
        let known = {
            let mut transfers = self.transfers.borrow_mut();
            transfers.get_mut(&id).map(|t| {
                t.flushed = t.info.is_none();
                t.flushed
            })
        };
        let Some(flushed) = known else { return };
        self.tell(Input::Pause(id, Some("it is being stopped".to_owned())));
        if !flushed {
            self.store.flush(store_id(id));
            let done = async {
                while self.transfers.borrow().get(&id).is_some_and(|t| !t.flushed) {
                    tokio::time::sleep(MOMENT).await;
                }
            };
            if tokio::time::timeout(FLUSH, done).await.is_err() {
                tracing::warn!(
                    torrent = id.0,
                    "the disk did not answer; stopped without it"
                );
            }
        }
        self.report_last(id);
        self.end_web_seeds(id);
        self.tell(Input::Remove(id));
        self.store.remove(store_id(id));
        self.transfers.borrow_mut().remove(&id);
    }

    /// Stops a transfer, does something with its data, and begins it again.
    pub(super) async fn around<R>(
        self: &Rc<Self>,
        id: TorrentId,
        work: impl AsyncFnOnce(&Metainfo, &Path, &mut Options) -> R,
    ) -> Result<R, Problem> {
        let _turn = self.turn(id).await;
        let awake = {
            let transfers = self.transfers.borrow();
            transfers.get(&id).map(|t| {
                (
                    t.hashes,
                    t.metainfo.clone(),
                    t.options.clone(),
                    Some(t.root.clone()),
                )
            })
        };
        // One that is dormant is not woken for it: what it would make anew at the old place is in the way.
        let taken = awake.or_else(|| {
            let dormant = self.dormant.borrow();
            let dormant = dormant.get(id)?;
            Some((dormant.hashes, None, dormant.options(), None))
        });
        let Some((hashes, metainfo, mut options, root)) = taken else {
            return Err(Problem::other("there is no such transfer"));
        };
        let metainfo = metainfo.or_else(|| self.keep.load_torrent(&hashes));
        let Some(metainfo) = metainfo else {
            return Err(Problem::other(
                "its metadata is not here yet. Wait until a peer has sent it",
            ));
        };
        let root = root.unwrap_or_else(|| super::transfer::root_of(&options, &metainfo.info));
        self.lose_peers(id);
        self.stop_one(id).await;
        self.dormant.borrow_mut().remove(id);
        self.unname(id);
        options.assume_complete = false;
        options.known = Vec::new();
        let result = work(&metainfo, &root, &mut options).await;
        let private = metainfo.info.private();
        let again = self.add_again(id, Source::Metainfo(Box::new(metainfo)), options.clone());
        self.news.about(id);
        if let Err(error) = again {
            self.shelve(id, hashes, &options, private);
            return Err(error.into());
        }
        Ok(result)
    }

    /// Hashes all of a transfer's data again.
    ///
    /// # Errors
    /// There is no such transfer, its metadata is unknown, or its place will not do.
    pub async fn recheck(self: Rc<Self>, id: TorrentId) -> Result<(), Problem> {
        self.around(id, async |metainfo, root, _| {
            self.keep.forget_record(&metainfo.info.hashes(), root);
        })
        .await
    }

    /// Puts a transfer's data at `to`: the file itself, or the folder of a torrent with several.
    /// What was moved stays moved if it is interrupted; the same call goes on with the rest. With `there`, some of it
    /// has to be at either place.
    ///
    /// # Errors
    /// As [`recheck`](Self::recheck), and what the disk says; the transfer goes on where it was then.
    pub async fn relocate(
        self: Rc<Self>,
        id: TorrentId,
        to: PathBuf,
        there: bool,
    ) -> Result<(), Problem> {
        let keep = self.keep.clone();
        self.around(id, async |metainfo, root, options| {
            let (info, from, target) = (metainfo.info.clone(), root.to_owned(), to.clone());
            let work = move || {
                let away = |root| store::files_at(&info, root).is_empty();
                if there && away(&from) && away(&target) {
                    return Err(StoreError::Missing { path: from });
                }
                store::relocate(&info, &from, &target)
            };
            let moved = match tokio::task::spawn_blocking(work).await {
                Ok(moved) => moved,
                Err(error) => return Err(Problem::other(&error.to_string())),
            };
            moved?;
            keep.move_record(&metainfo.info.hashes(), root, &to);
            options.place = Place::At(to.clone());
            Ok(())
        })
        .await?
    }

    /// Stops looking for peers of a transfer, and tells trackers so.
    pub fn lose_peers(self: &Rc<Self>, id: TorrentId) {
        let hashes = {
            let (transfers, dormant) = (self.transfers.borrow(), self.dormant.borrow());
            let awake = transfers.get(&id).map(|t| t.hashes);
            awake.or_else(|| dormant.get(id).map(|d| d.hashes))
        };
        let Some(hashes) = hashes else { return };
        if let Some(dht) = &self.dht {
            dht.leave(self, id);
        }
        if let Some(local) = &self.local {
            local.remove(self, hashes.wire());
        }
        if let Some(following) = self.followings.borrow_mut().remove(&id) {
            following.stop(self);
        }
    }
}

impl Problem {
    /// A problem of no special kind.
    pub(crate) fn other(message: &str) -> Problem {
        Problem {
            kind: crate::ProblemKind::Other,
            message: message.to_owned(),
        }
    }
}
