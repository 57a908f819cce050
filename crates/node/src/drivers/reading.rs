//! Programs that read files while these are fetched: what a reader is about to need becomes pieces with a time by
//! which they are wanted, what is there becomes bytes.
//!
//! A reader goes through its range from the front to the end; whoever jumps begins anew. What it says is repeated
//! while it waits, because a transfer that was checked, moved or woken is a new one to the engine.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::{Range, RangeInclusive};
use std::rc::Rc;
use std::time::{Duration, Instant};

use api::{ChunkSender, Chunks, Kind, MAX_CHUNK, Problem};
use store::{BlockRun, READ_MAX, ReadBuf, StoreError};
use swarm::{Input, TorrentId};
use tokio::sync::{Notify, oneshot};
use torrent::hex;
use torrent::metainfo::Info;

use super::waiting::Attempt;
use super::{Driver, store_id};

/// Bytes before a reader that are fetched for it first: several seconds of a film.
const AHEAD: u64 = 16 << 20;
/// Pieces that this is: one is on its way while another is read, and each costs the engine a look whenever it asks a
/// peer for something.
const AHEAD_PIECES: RangeInclusive<u64> = 2..=64;
/// Bytes a second at which a film is guessed to be played: by this, pieces further on are wanted later.
const PLAYBACK: u64 = 2 << 20;
/// How often a reader that waits looks whether it waits in vain, and says again what it needs.
const LOOK: Duration = Duration::from_millis(500);
/// Priority of a file that nobody wants but its reader: after all others, except for the pieces that are read now.
const READ_ONLY_BY_READER: u8 = 1;

/// Everybody who reads.
#[derive(Default)]
pub(crate) struct Readings {
    next: Cell<u64>,
    windows: RefCell<BTreeMap<(TorrentId, u64), Window>>,
    /// A piece was verified.
    came: Notify,
}

/// What one reader is about to need.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Window {
    file: usize,
    pieces: Range<u32>,
    /// When the first of these is needed...
    since: Instant,
    /// ...and how long after it each further one.
    step: Duration,
}

impl Window {
    fn due(&self, piece: u32) -> Instant {
        self.since + self.step * piece.saturating_sub(self.pieces.start)
    }
}

impl Readings {
    /// A piece is there; called with the engine borrowed.
    pub fn verified(&self) {
        self.came.notify_waiters();
    }

    fn of(&self, id: TorrentId) -> Vec<Window> {
        let windows = self.windows.borrow();
        let all = windows.range((id, 0)..=(id, u64::MAX));
        all.map(|(_, window)| window.clone()).collect()
    }
}

/// A file that can be read.
pub(crate) struct Found {
    pub index: usize,
    pub size: u64,
    /// Names its bytes: the v2 root, or the info-hash and the index.
    pub tag: String,
}

impl Driver {
    /// The file with this path. A dormant transfer wakes: it is about to be read.
    pub fn file_at(self: &Rc<Self>, id: TorrentId, path: &str) -> Option<Found> {
        self.rouse(id);
        let info = self.info(id)?;
        let layout = info.layout();
        let file = info.files().find(|file| {
            let is_data = !layout.file(file.index()).pad && file.symlink().is_none();
            is_data && file.path() == path
        })?;
        let tag = match (file.root(), info.hashes().best()) {
            (Some(root), _) => hex::encode(&root),
            (None, hash) => format!("{}-{}", hex::encode(&hash?), file.index()),
        };
        Some(Found {
            index: file.index(),
            size: layout.file(file.index()).len,
            tag,
        })
    }

    /// Reads a part of a file, and has fetched first what of it is missing.
    ///
    /// # Errors
    /// There is no such transfer or file, or its metadata is not here.
    pub fn read(
        self: &Rc<Self>,
        id: TorrentId,
        file: usize,
        bytes: Range<u64>,
    ) -> Result<Chunks, Problem> {
        self.rouse(id);
        let info = self.info(id).filter(|info| file < info.layout().files());
        let Some(info) = info else {
            return Err(Problem::new(Kind::NotFound, "There is no such file."));
        };
        let extent = info.layout().file(file);
        let end = extent.start + bytes.end.min(extent.len);
        let number = self.readings.next.get();
        self.readings.next.set(number + 1);
        let reader = Reader {
            driver: self.clone(),
            id,
            number,
            file,
            bytes: extent.start + bytes.start..end,
            info,
            asked: Cell::new(0),
        };
        let (sender, chunks) = Chunks::channel();
        tokio::task::spawn_local(async move {
            let result = tokio::select! {
                result = reader.run(&sender) => result,
                () = sender.closed() => Ok(()),
            };
            reader.end();
            if let Err(problem) = result {
                tracing::debug!(torrent = id.0, file, %problem, "a reader cannot go on");
                // It may have gone.
                let _ = sender.send(Err(problem)).await;
            }
        });
        Ok(chunks)
    }

    /// Is this piece here? If it is not and will not come, why not?
    fn is_here(&self, id: TorrentId, piece: u32) -> Result<bool, Problem> {
        let have = self
            .session
            .borrow()
            .have(id)
            .is_some_and(|have| piece < have.len() && have.get(piece));
        let transfers = self.transfers.borrow();
        let why = match transfers.get(&id) {
            None => Some("it is being moved, or was removed".to_owned()),
            Some(_) if have => None,
            Some(t) => {
                let problem = t.problem.as_ref().map(|problem| problem.message.clone());
                problem.or_else(|| t.options.halted.clone())
            }
        };
        match why {
            None => Ok(have),
            Some(why) => Err(Problem::new(
                Kind::Unavailable,
                format!("These bytes are not here yet, and the transfer stands still: {why}."),
            )),
        }
    }

    /// Reads what is verified.
    async fn bytes(self: &Rc<Self>, id: TorrentId, run: BlockRun) -> Result<ReadBuf, Problem> {
        let tag = self.next_tag();
        let (sender, answer) = oneshot::channel();
        self.looks.borrow_mut().insert(tag, sender);
        self.store.read(store_id(id), run, tag);
        let failed = |why: &str| {
            Problem::new(
                Kind::Unavailable,
                format!("The file cannot be read: {why}."),
            )
        };
        match answer.await {
            Ok(Ok(data)) => Ok(data),
            Ok(Err(error)) => {
                self.unreadable(id, run, &error);
                Err(failed(&error.to_string()))
            }
            Err(_) => Err(failed("the daemon is stopping")),
        }
    }

    /// The disk said no to a reader: that concerns peers as well.
    fn unreadable(self: &Rc<Self>, id: TorrentId, run: BlockRun, error: &StoreError) {
        self.pause_for_disk(id, error.clone(), Attempt::Read(run));
    }

    /// Tells the engine when some pieces are needed.
    fn need(self: &Rc<Self>, id: TorrentId, window: &Window, pieces: Range<u32>) {
        self.with_session(|session, now| {
            for piece in pieces {
                if session
                    .have(id)
                    .is_some_and(|have| piece < have.len() && !have.get(piece))
                {
                    session.handle(now, Input::Deadline(id, piece, window.due(piece)));
                }
            }
        });
    }

    /// Tells the engine which files are wanted: by a person, or by a reader alone.
    fn want_what_is_read(self: &Rc<Self>, id: TorrentId) {
        let read = self.readings.of(id);
        let wanted = {
            let transfers = self.transfers.borrow();
            let wanted = transfers
                .get(&id)
                .and_then(|t| Some(t.priorities(t.info.as_ref()?)));
            wanted.filter(|wanted| !wanted.is_empty())
        };
        let Some(mut wanted) = wanted else { return };
        for window in read {
            let priority = &mut wanted[window.file];
            *priority = READ_ONLY_BY_READER.max(*priority);
        }
        self.tell(Input::Prioritize(id, wanted));
        self.news.about(id);
    }

    /// Does nobody but readers want this file?
    fn is_left_out(&self, id: TorrentId, file: usize) -> bool {
        let transfers = self.transfers.borrow();
        let priorities = transfers
            .get(&id)
            .and_then(|t| Some(t.priorities(t.info.as_ref()?)));
        priorities.is_some_and(|priorities| priorities.get(file) == Some(&0))
    }

    /// How many read a transfer: one that is read does not fall asleep.
    fn count_readers(&self, id: TorrentId) -> usize {
        let readers = self.readings.of(id).len();
        if let Some(t) = self.transfers.borrow_mut().get_mut(&id) {
            t.readers = readers;
        }
        readers
    }
}

/// One program that reads.
struct Reader {
    driver: Rc<Driver>,
    id: TorrentId,
    number: u64,
    file: usize,
    /// What it reads, in piece space.
    bytes: Range<u64>,
    info: Info,
    /// The engine knows of the pieces before this one.
    asked: Cell<u32>,
}

impl Reader {
    /// Reads to the end, as quickly as bytes are taken.
    async fn run(&self, sender: &ChunkSender) -> Result<(), Problem> {
        let layout = self.info.layout();
        let mut at = self.bytes.start;
        let mut front = None;
        while at < self.bytes.end {
            // Nothing is read, or held, before there is room for it.
            let Ok(room) = sender.reserve().await else {
                return Ok(());
            };
            let piece = layout.piece_at(at);
            let begin = (at - layout.piece_start(piece)) as u32;
            let left = u64::from(layout.piece_len(piece) - begin).min(self.bytes.end - at);
            let len = left.min(READ_MAX.min(MAX_CHUNK) as u64) as u32;
            if front.replace(piece) != Some(piece) {
                self.say(piece, false);
            }
            self.wait_for(piece).await?;
            let data = self
                .driver
                .bytes(self.id, BlockRun { piece, begin, len })
                .await?;
            at += u64::from(len);
            // The store's buffers are few and everybody's: a slow reader holds its own.
            room.send(Ok(data.to_vec().into()));
        }
        Ok(())
    }

    async fn wait_for(&self, piece: u32) -> Result<(), Problem> {
        loop {
            let came = self.driver.readings.came.notified();
            self.driver.rouse(self.id);
            if self.driver.is_here(self.id, piece)? {
                return Ok(());
            }
            tokio::select! {
                () = came => {}
                () = tokio::time::sleep(LOOK) => self.say(piece, true),
            }
        }
    }

    /// Says what is needed from this piece on: what was not said before, or all of it `again`.
    fn say(&self, piece: u32, again: bool) {
        let (layout, driver) = (self.info.layout(), &self.driver);
        let length = u64::from(layout.piece_length());
        let ahead = AHEAD
            .div_ceil(length)
            .clamp(*AHEAD_PIECES.start(), *AHEAD_PIECES.end()) as u32;
        let last = layout.piece_at(self.bytes.end - 1);
        let window = Window {
            file: self.file,
            pieces: piece..last.min(piece + ahead - 1) + 1,
            since: Instant::now(),
            step: Duration::from_millis(1000 * length / PLAYBACK),
        };
        let first = if again {
            piece
        } else {
            self.asked.get().max(piece)
        };
        self.asked.set(window.pieces.end);
        let key = (self.id, self.number);
        let begins = driver
            .readings
            .windows
            .borrow_mut()
            .insert(key, window.clone())
            .is_none();
        driver.count_readers(self.id);
        if (begins || again) && driver.is_left_out(self.id, self.file) {
            driver.want_what_is_read(self.id);
        }
        driver.need(self.id, &window, first..window.pieces.end);
    }

    /// Nobody reads here any more: what only this reader needed is needed no longer.
    fn end(&self) {
        let (driver, id) = (&self.driver, self.id);
        let read = driver
            .readings
            .windows
            .borrow_mut()
            .remove(&(id, self.number));
        if read.is_none() {
            return;
        }
        driver.tell(Input::ClearDeadlines(id));
        for window in driver.readings.of(id) {
            driver.need(id, &window, window.pieces.clone());
        }
        driver.count_readers(id);
        if driver.is_left_out(id, self.file) {
            driver.want_what_is_read(id);
        }
    }
}
