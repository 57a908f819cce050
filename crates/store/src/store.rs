//! The store over real files: a small pool of threads that hash and touch the disk, and one that syncs.
//!
//! What is done with a piece is decided in [`strand`](crate::strand), [`reading`](crate::reading) and
//! [`settle`](crate::settle); here is only when, and on which thread. An idle store does not wake up.

mod queue;
mod workers;

use std::{
    path::Path,
    sync::{Arc, Condvar, Mutex, MutexGuard},
    thread::JoinHandle,
};

use torrent::{layout::BLOCK, metainfo::Info};

use crate::{
    bits::Bits,
    disk::{Disk, RealDisk},
    done::{BlockRun, Done},
    error::StoreError,
    files::{DEFAULT_OPEN_FILES, Files},
    home::{Home, Placement, TorrentId},
    names::Naming,
    readbuf::{DEFAULT_READ_BUFFERS, READ_MAX, ReadPool},
    slot::{DEFAULT_SLOTS, Slot, SlotPool},
};
use queue::{Check, Errand, Queue, Read};

/// Threads that hash and touch the disk: at least two, so that a slow disk call does not stop the hashing,
/// and not more than keep a disk and a network busy.
const THREADS: std::ops::RangeInclusive<usize> = 2..=8;

/// How large the store may grow.
#[derive(Debug, Clone)]
pub struct Config {
    /// Threads that hash, read and write; by default one a core, two to eight.
    pub threads: usize,
    /// The pool that the roads fill.
    pub slots: SlotPool,
    /// Descriptors kept open.
    pub open_files: usize,
    /// Reads under way or unsent, each of up to [`READ_MAX`] bytes.
    pub read_buffers: usize,
}

impl Default for Config {
    fn default() -> Config {
        let cores = std::thread::available_parallelism().map_or(*THREADS.start(), usize::from);
        Config {
            threads: cores.clamp(*THREADS.start(), *THREADS.end()),
            slots: SlotPool::new(DEFAULT_SLOTS),
            open_files: DEFAULT_OPEN_FILES,
            read_buffers: DEFAULT_READ_BUFFERS,
        }
    }
}

/// Where facts go. Called on the store's threads: pass on and return.
pub type Sink = Box<dyn Fn(Done) + Send + Sync>;

struct Shared {
    files: Files<RealDisk>,
    slots: SlotPool,
    reads: Arc<ReadPool>,
    queue: Mutex<Queue>,
    /// There is work for a hashing thread.
    work: Condvar,
    /// There is work for the syncing thread.
    unsettled: Condvar,
    sink: Sink,
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue
            .lock()
            .expect("no code panics while it holds the queue")
    }
}

/// Pieces of torrents, in ordinary files. All calls return at once; facts come through the sink.
///
/// Dropping it waits for what is being done at that moment and forgets the rest; [`flush`](Self::flush) first.
pub struct Store {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Store {
    /// Starts the threads.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn new(config: Config, sink: Sink) -> std::io::Result<Store> {
        let shared = Arc::new(Shared {
            files: Files::new(RealDisk, config.open_files),
            slots: config.slots.clone(),
            reads: ReadPool::new(config.read_buffers),
            queue: Mutex::new(Queue::default()),
            work: Condvar::new(),
            unsettled: Condvar::new(),
            sink,
        });
        let weak = Arc::downgrade(&shared);
        config.slots.on_thirst(move || {
            if let Some(shared) = weak.upgrade() {
                shared.nudge();
            }
        });
        let weak = Arc::downgrade(&shared);
        shared.reads.on_available(move || {
            if let Some(shared) = weak.upgrade() {
                // Under the lock, so that no worker is between looking and falling asleep.
                let _queue = shared.queue();
                shared.work.notify_one();
            }
        });
        let mut threads = Vec::new();
        for number in 0..config.threads.clamp(*THREADS.start(), *THREADS.end()) {
            let shared = shared.clone();
            let name = format!("store-{number}");
            threads.push(
                std::thread::Builder::new()
                    .name(name)
                    .spawn(move || shared.work())?,
            );
        }
        let settler = shared.clone();
        threads.push(
            std::thread::Builder::new()
                .name("store-sync".into())
                .spawn(move || settler.settle())?,
        );
        Ok(Store { shared, threads })
    }

    /// The pool that this store takes its slots from.
    pub fn slots(&self) -> &SlotPool {
        &self.shared.slots
    }

    /// Holds no more files open, and no more slots, than this from now on.
    pub fn set_room(&self, open_files: usize, slots: usize) {
        self.shared.files.set_limit(open_files);
        self.shared.slots.set_capacity(slots);
    }

    /// Takes a torrent in. Touches the disk only to ask for free room, and to see that existing data is there.
    ///
    /// # Errors
    /// [`StoreError::NoSpace`] if what is missing cannot fit; [`StoreError::Missing`] if data that is to be
    /// seeded is not there.
    ///
    /// # Panics
    /// If `id` is in use.
    pub fn add(
        &self,
        id: TorrentId,
        info: impl Into<Arc<Info>>,
        placement: Placement,
    ) -> Result<(), StoreError> {
        let mut home = Home::new(id, info.into(), placement);
        check_place(&self.shared.files, &mut home)?;
        let unnamed = !home.facts().whole.is_empty();
        let mut queue = self.shared.queue();
        let before = queue.homes.insert(id, Arc::new(home));
        assert!(before.is_none(), "{id} is in the store already");
        if unnamed {
            queue.note_verified(0);
            self.shared.unsettled.notify_one();
        }
        Ok(())
    }

    /// Forgets a torrent; its files stay. What was not flushed is not in the resume record. Facts on their way
    /// may still arrive.
    pub fn remove(&self, id: TorrentId) {
        let mut queue = self.shared.queue();
        queue.remove(id);
        drop(queue);
        self.shared.files.close(id);
    }

    /// Changes which files are wanted (one bit a file of the layout). Files already whole get their final names.
    pub fn select(&self, id: TorrentId, wanted: &Bits) {
        let home = self.shared.queue().homes.get(&id).cloned();
        if let Some(home) = home {
            home.select(wanted);
            self.flush(id);
        }
    }

    /// A block has arrived: `begin` is its place in the piece, the slot holds all of its bytes. Blocks of a piece
    /// that is verified, or hashed and not yet judged, are dropped.
    ///
    /// # Panics
    /// If `begin` and the slot's length are not those of a block of this torrent.
    pub fn write(&self, id: TorrentId, piece: u32, begin: u32, slot: Slot) {
        let mut queue = self.shared.queue();
        let Some(home) = queue.homes.get(&id).cloned() else {
            return;
        };
        let (layout, block) = (home.layout(), begin / BLOCK);
        assert!(
            piece < layout.pieces()
                && begin.is_multiple_of(BLOCK)
                && block < layout.blocks(piece)
                && slot.len() == layout.block_len(piece, block) as usize,
            "{id} has no block of {} bytes at {begin} of piece {piece}",
            slot.len(),
        );
        if queue.write(&home, piece, (block, slot), self.shared.slots.is_short()) {
            drop(queue);
            self.shared.work.notify_one();
        }
    }

    /// These blocks of a piece lie on disk already (from before a restart, or all but those that were wrong): they
    /// count as written, and are read back for the hash.
    pub fn adopt(&self, id: TorrentId, piece: u32, blocks: impl IntoIterator<Item = u32>) {
        let mut queue = self.shared.queue();
        let Some(home) = queue.homes.get(&id).cloned() else {
            return;
        };
        if queue.adopt(&home, piece, blocks) {
            self.shared.work.notify_one();
        }
    }

    /// Work on all that has collected, and keep no slot for later: somebody needs slots. The pool itself asks for
    /// this when it is empty.
    pub fn nudge(&self) {
        self.shared.nudge();
    }

    /// Forgets what was collected and hashed of a piece; what was written of it stays on disk without a meaning. Also
    /// the answer to a [`PieceHashed`](Done::PieceHashed) that was wrong.
    pub fn abandon(&self, id: TorrentId, piece: u32) {
        self.shared.queue().abandon(id, piece);
    }

    /// The caller agrees with a piece's hash. It counts towards its files, and goes into the next batch.
    pub fn verified(&self, id: TorrentId, piece: u32) {
        let mut queue = self.shared.queue();
        let Some(home) = queue.homes.get(&id).cloned() else {
            return;
        };
        queue.judged(id, piece);
        let bytes = home.verify(piece);
        if !home.placement.read_only && queue.note_verified(bytes) {
            self.shared.unsettled.notify_one();
        }
    }

    /// Reads a stretch of a piece; the answer carries `tag`.
    ///
    /// # Panics
    /// If the run is longer than [`READ_MAX`] or does not lie inside the piece.
    pub fn read(&self, id: TorrentId, run: BlockRun, tag: u64) {
        let mut queue = self.shared.queue();
        let Some(home) = queue.homes.get(&id).cloned() else {
            return;
        };
        check_run(&home, run);
        queue.reads.push_back(Read { home, run, tag });
        drop(queue);
        self.shared.work.notify_one();
    }

    /// Hashes what is on disk of these pieces, on all threads. They do not count as verified until
    /// [`verified`](Self::verified) is called for them again.
    pub fn check(&self, id: TorrentId, pieces: Bits) {
        let mut queue = self.shared.queue();
        let Some(home) = queue.homes.get(&id).cloned() else {
            return;
        };
        for piece in pieces.iter() {
            home.doubt(piece as u32);
        }
        queue.checks.push_back(Check::new(home, pieces));
        drop(queue);
        self.shared.work.notify_all();
    }

    /// SHA-256 of each block of a piece as it lies on disk, to compare with what peers sent.
    pub fn block_digests(&self, id: TorrentId, piece: u32) {
        self.errand(id, |home| Errand::BlockDigests { home, piece });
    }

    /// The leaves below a piece, for serving BEP 52's hash requests. v2 and hybrid torrents only.
    pub fn leaves(&self, id: TorrentId, piece: u32, tag: u64) {
        self.errand(id, |home| Errand::Leaves { home, piece, tag });
    }

    fn errand(&self, id: TorrentId, make: impl FnOnce(Arc<Home>) -> Errand) {
        let mut queue = self.shared.queue();
        let Some(home) = queue.homes.get(&id).cloned() else {
            return;
        };
        queue.errands.push_back(make(home));
        drop(queue);
        self.shared.work.notify_one();
    }

    /// Makes all that is verified durable, names whole files, makes empty files and links, writes the resume record,
    /// and answers [`Flushed`](Done::Flushed).
    pub fn flush(&self, id: TorrentId) {
        let mut queue = self.shared.queue();
        if queue.homes.contains_key(&id) {
            queue.flushes.push_back(id);
            self.shared.unsettled.notify_one();
        }
    }

    /// The path of a file as it is on disk now.
    pub fn path(&self, id: TorrentId, file: usize) -> Option<std::path::PathBuf> {
        let home = self.shared.queue().homes.get(&id).cloned()?;
        let facts = home.facts();
        let part = match facts.name(file) {
            crate::home::Name::Unknown => {
                !home.placement.read_only && home.begins_as_part(&facts, file)
            }
            name => name == crate::home::Name::Part,
        };
        Some(if part {
            home.part_path(file)
        } else {
            home.whole_path(file)
        })
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.shared.queue().stop = true;
        self.shared.work.notify_all();
        self.shared.unsettled.notify_all();
        for thread in self.threads.drain(..) {
            // A panic there has been reported by its own thread.
            let _ = thread.join();
        }
    }
}

/// Bytes free for downloads into `folder`.
///
/// # Errors
/// What the system says.
pub fn free_space(folder: &Path) -> std::io::Result<u64> {
    RealDisk.free(folder)
}

pub(crate) fn check_run(home: &Home, run: BlockRun) {
    let layout = home.layout();
    let fits = run.piece < layout.pieces()
        && run.len as usize <= READ_MAX
        && run
            .begin
            .checked_add(run.len)
            .is_some_and(|end| end <= layout.piece_len(run.piece));
    assert!(fits, "{} cannot read {run:?}", home.id);
}

/// Data to be seeded is there, by which names is found out, and what is missing of a download has room.
pub(crate) fn check_place<D: Disk>(files: &Files<D>, home: &mut Home) -> Result<(), StoreError> {
    let root = &home.placement.root;
    if home.placement.read_only {
        if !files.disk.exists(root) {
            return Err(StoreError::Missing { path: root.clone() });
        }
        home.naming = Naming::on(&files.disk, &home.info, root);
        return Ok(());
    }
    let home = &*home;
    let layout = home.layout();
    let mut facts = home.facts();
    facts.fresh = !home.info.is_single_file() && !files.disk.exists(root);
    let unfinished = || {
        (0..layout.files()).filter(|&file| {
            !layout.file(file).pad && facts.wanted.has(file) && !facts.is_whole(file)
        })
    };
    let missing: u64 = unfinished().map(|file| layout.file(file).len).sum();
    let Ok(free) = files.disk.free(root) else {
        return Ok(());
    };
    if missing <= free {
        return Ok(());
    }
    // Only now is it worth asking every file how much of it is there already.
    let there = unfinished().filter_map(|file| {
        let names = [home.part_path(file), home.whole_path(file)];
        let stat = names.iter().find_map(|path| files.disk.look(path))?;
        Some(stat.allocated.min(layout.file(file).len))
    });
    let need = missing.saturating_sub(there.sum());
    if need <= free {
        Ok(())
    } else {
        Err(StoreError::NoSpace {
            need,
            free,
            path: root.clone(),
        })
    }
}
