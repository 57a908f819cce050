//! A transfer that the disk said no to stands still, looks now and then whether the reason is gone, and goes on by
//! itself. One event tells that it stands still; another follows only if the reason becomes another one.

use std::fs;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use rustix::fs::{Access, access};
use store::{BlockRun, StoreError};
use swarm::{Input, TorrentId};
use tokio::sync::oneshot;

use super::{Driver, store_id};
use crate::{Event, Problem};

/// The first look is after so long,
const SOONEST: Duration = Duration::from_secs(2);
/// each further one after twice as long, up to this; trouble that returns sooner than this goes on being waited
/// for where the last wait ended. A look that takes longer has found a disk that does not work.
const LATEST: Duration = Duration::from_secs(60);
/// Room that must be free before a transfer that ran out of it goes on, in bytes: enough for the blocks under way
/// and a while more.
const ROOM: u64 = 16 << 20;

/// What failed, and so what has to succeed before the transfer goes on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Attempt {
    /// Reading this: the file was not to be had, or was not the one that was checked.
    Read(BlockRun),
    /// Reading existing data for a check.
    Check,
    /// Writing, naming or syncing a file.
    Write,
}

/// How long a transfer waits for its disk.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    last: Option<Duration>,
    went_on: Option<Instant>,
}

impl Patience {
    /// The disk says no.
    fn begin(&mut self, now: Instant) {
        let returned = |at| now.saturating_duration_since(at) < LATEST;
        if !self.went_on.is_some_and(returned) {
            self.last = None;
        }
    }

    /// How long to wait for the next look.
    fn next(&mut self) -> Duration {
        let next = self.last.map_or(SOONEST, |last| (2 * last).min(LATEST));
        *self.last.insert(next)
    }

    /// The disk works again, as far as one can see.
    fn end(&mut self, now: Instant) {
        self.went_on = Some(now);
    }
}

impl Driver {
    /// The disk said no: the transfer waits, and goes on by itself when it can.
    pub fn pause_for_disk(self: &Rc<Self>, id: TorrentId, error: StoreError, attempt: Attempt) {
        let problem = Problem::from(error.clone());
        let wait = self.next_tag();
        {
            let mut transfers = self.transfers.borrow_mut();
            let Some(t) = transfers.get_mut(&id) else {
                return;
            };
            if t.problem.is_some() {
                return;
            }
            t.problem = Some(problem.clone());
            t.wait = wait;
            t.patience.begin(Instant::now());
        }
        self.tell(Input::Pause(id, Some(problem.message.clone())));
        self.event(Event::Paused(id, problem));
        tokio::task::spawn_local(wait_for_disk(self.clone(), id, wait, error, attempt));
    }

    /// A person says that it should work now: whoever waits for the disk looks at once.
    pub fn look_now(&self) {
        self.hurry.notify_waiters();
    }

    /// How long to wait for the next look; `None` if that wait is over, or will never end.
    fn next_look(&self, id: TorrentId, wait: u64) -> Option<Duration> {
        let mut transfers = self.transfers.borrow_mut();
        let waits = |t: &&mut super::Transfer| t.wait == wait && t.problem.is_some() && !t.fatal;
        let t = transfers.get_mut(&id).filter(waits)?;
        Some(t.patience.next())
    }

    /// The reason is another one now.
    fn reason_is(self: &Rc<Self>, id: TorrentId, error: &StoreError) {
        let problem = Problem::from(error.clone());
        if let Some(t) = self.transfers.borrow_mut().get_mut(&id) {
            t.problem = Some(problem.clone());
        }
        self.tell(Input::Pause(id, Some(problem.message.clone())));
        self.event(Event::Paused(id, problem));
    }

    /// Tries what failed, or looks at what stood in its way.
    async fn look_again(
        self: &Rc<Self>,
        id: TorrentId,
        error: &StoreError,
        attempt: Attempt,
    ) -> Result<(), StoreError> {
        if let Attempt::Read(run) = attempt {
            let tag = self.next_tag();
            let (sender, answer) = oneshot::channel();
            self.looks.borrow_mut().insert(tag, sender);
            self.store.read(store_id(id), run, tag);
            let answer = tokio::time::timeout(LATEST, answer).await;
            self.looks.borrow_mut().remove(&tag);
            return match answer {
                Ok(Ok(looked)) => looked.map(drop),
                _ => Err(error.clone()),
            };
        }
        let reserves = {
            let transfers = self.transfers.borrow();
            transfers.get(&id).is_some_and(|t| t.reserves())
        };
        let status = self.session.borrow().status(Instant::now(), id);
        let left = status.map_or(ROOM, |status| status.wanted.saturating_sub(status.done));
        let reason = error.clone();
        let look = tokio::task::spawn_blocking(move || match attempt {
            Attempt::Write => may_write(&reason, reserves, left),
            _ => fs::File::open(reason.path()).is_ok(),
        });
        match tokio::time::timeout(LATEST, look).await {
            Ok(Ok(true)) => Ok(()),
            _ => Err(error.clone()),
        }
    }
}

async fn wait_for_disk(
    driver: Rc<Driver>,
    id: TorrentId,
    wait: u64,
    mut error: StoreError,
    attempt: Attempt,
) {
    while let Some(pause) = driver.next_look(id, wait) {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = driver.hurry.notified() => {}
        }
        let looked = driver.look_again(id, &error, attempt).await;
        let still_waits = {
            let mut transfers = driver.transfers.borrow_mut();
            let waits =
                |t: &&mut super::Transfer| t.wait == wait && t.problem.is_some() && !t.fatal;
            transfers.get_mut(&id).filter(waits).is_some_and(|t| {
                if looked.is_ok() {
                    t.patience.end(Instant::now());
                }
                true
            })
        };
        match looked {
            _ if !still_waits => return,
            Ok(()) => return driver.go_on(id, matches!(attempt, Attempt::Check)),
            Err(now) if is_same(&now, &error) => {}
            Err(now) => {
                driver.reason_is(id, &now);
                error = now;
            }
        }
    }
}

/// Bytes free and needed change by the minute and are no other reason.
fn is_same(a: &StoreError, b: &StoreError) -> bool {
    std::mem::discriminant(a) == std::mem::discriminant(b) && a.path() == b.path()
}

/// Does nothing that can be seen stand in the way of a write that failed with this? With `reserves` it needs all
/// its room at once.
fn may_write(error: &StoreError, reserves: bool, left: u64) -> bool {
    let path = error.path();
    match error {
        StoreError::NoSpace { need, .. } => {
            let room = ROOM.min(left);
            let needed = if reserves { room.max(*need) } else { room };
            store::free_space(path).is_ok_and(|free| free >= needed)
        }
        StoreError::Permission { .. } | StoreError::ReadOnly { .. } => is_writable(path),
        StoreError::Missing { .. } => path.exists(),
        StoreError::Occupied { .. } => fs::symlink_metadata(path).is_err(),
        // Who can say? It is tried, less and less often.
        _ => true,
    }
}

/// Can this file be written to and renamed, or be made with the folders it lies in?
fn is_writable(path: &Path) -> bool {
    let Ok(path) = std::path::absolute(path) else {
        return false;
    };
    let file = !path.is_dir() && path.exists();
    if file && access(&path, Access::WRITE_OK).is_err() {
        return false;
    }
    let above = if file { path.parent() } else { Some(&*path) };
    let folder = above.and_then(|above| above.ancestors().find(|folder| folder.exists()));
    folder.is_some_and(|folder| {
        folder.is_dir() && access(folder, Access::WRITE_OK | Access::EXEC_OK).is_ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_goes_on_saying_no_is_asked_less_and_less() {
        let mut patience = Patience::default();
        let mut now = Instant::now();
        let seconds = |patience: &mut Patience| patience.next().as_secs();
        patience.begin(now);
        let waits: Vec<u64> = (0..7).map(|_| seconds(&mut patience)).collect();
        assert_eq!(waits, [2, 4, 8, 16, 32, 60, 60]);
        patience.end(now);
        now += LATEST / 2;
        patience.begin(now);
        assert_eq!(seconds(&mut patience), 60, "it had hardly gone on");
        patience.end(now);
        now += LATEST;
        patience.begin(now);
        assert_eq!(seconds(&mut patience), 2);
    }

    #[test]
    fn a_reason_is_gone_when_one_can_see_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b");
        let (missing, occupied, permission) = (
            StoreError::Missing { path: path.clone() },
            StoreError::Occupied { path: path.clone() },
            StoreError::Permission { path: path.clone() },
        );
        let full = |need| StoreError::NoSpace {
            need,
            free: 0,
            path: path.clone(),
        };
        assert!(!may_write(&missing, false, ROOM) && may_write(&occupied, false, ROOM));
        assert!(
            may_write(&permission, false, ROOM),
            "its folder can be made"
        );
        fs::create_dir(folder.path().join("a")).unwrap();
        fs::write(&path, "x").unwrap();
        assert!(may_write(&missing, false, ROOM) && !may_write(&occupied, false, ROOM));
        assert!(may_write(&full(u64::MAX), false, ROOM) && !may_write(&full(u64::MAX), true, ROOM));
        let nowhere = StoreError::ReadOnly {
            path: path.join("c"),
        };
        assert!(!may_write(&nowhere, false, ROOM), "a file is no folder");
    }
}
