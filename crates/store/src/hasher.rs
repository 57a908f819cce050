//! Hashing what is to be shared, on all cores: for a new torrent, whose layout is planned but has no hashes yet.
//!
//! Both hashes of a hybrid are taken in one pass over warm data. A file that changes meanwhile is an error that
//! names it: its hashes would be of something nobody has.

use std::{
    fs::File,
    io,
    ops::Range,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
};

use torrent::{
    author::Hashes,
    ids::{Sha1Hash, Sha256Hash},
    layout::Layout,
    merkle::FileHasher,
};

use crate::{
    disk::{Disk, Fingerprint, Open, RealDisk},
    error::StoreError,
    home::NO_PRINT,
    sweep::{CheckedPiece, Content, Found, Sweeper, fetch_open, sweep_len},
};

/// Why there are no hashes.
#[derive(Debug, Clone, thiserror::Error)]
pub enum HashError {
    /// Somebody wrote to a file, or it has another length than when it was listed.
    #[error("{} changed while it was read. Start again when nothing writes to it any more", path.display())]
    Changed {
        /// Which file.
        path: PathBuf,
    },
    /// A file cannot be read.
    #[error(transparent)]
    Unreadable(#[from] StoreError),
    /// The caller called it off.
    #[error("stopped before everything was read")]
    Cancelled,
}

/// What came out.
#[derive(Debug, Clone)]
pub struct Hashed {
    /// For [`Plan::finish`](torrent::author::Plan::finish).
    pub hashes: Hashes,
    /// For [`Placement::known`](crate::Placement::known): what was read, by file of the layout.
    pub known: Vec<Fingerprint>,
}

/// How to go about it.
pub struct Options<'a> {
    /// Threads; by default one a core.
    pub threads: usize,
    /// Told the bytes hashed so far, on the hashing threads, about once a MiB.
    pub progress: &'a (dyn Fn(u64) + Sync),
    /// Set it, and the hashing stops within a moment.
    pub cancel: &'a AtomicBool,
}

/// Hashes the files of a planned torrent. `paths` has an entry for each file of the layout; those of pads, links and
/// empty files are not looked at.
///
/// # Errors
/// The first of [`HashError`] that any thread met.
///
/// # Panics
/// If `paths` are not as many as the files of the layout.
pub fn hash(
    layout: &Layout,
    paths: &[PathBuf],
    options: &Options<'_>,
) -> Result<Hashed, HashError> {
    assert_eq!(
        paths.len(),
        layout.files(),
        "every file of the layout has a path"
    );
    let count = |wanted| {
        if wanted { layout.pieces() as usize } else { 0 }
    };
    let run = Run {
        layout,
        paths,
        facts: Mutex::new(Facts {
            sha1: vec![[0; 20]; count(layout.kind().has_v1())],
            roots: vec![[0; 32]; count(layout.kind().has_v2())],
            prints: vec![NO_PRINT; paths.len()],
        }),
        next: AtomicU32::new(0),
        hashed: AtomicU64::new(0),
        stop: AtomicBool::new(false),
        options,
    };
    // A layout has at least one piece: one without bytes is refused when it is made.
    let threads = options.threads.clamp(1, layout.pieces() as usize);
    let ends: Vec<Result<(), HashError>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(|| run.work())).collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, _>| {
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        threads.into_iter().map(join).collect()
    });
    // Another thread that stopped for the same reason says so less well.
    let is_cancelled = |end: &Result<(), HashError>| matches!(end, Err(HashError::Cancelled));
    let (cancelled, others): (Vec<_>, Vec<_>) = ends.into_iter().partition(is_cancelled);
    others
        .into_iter()
        .chain(cancelled)
        .collect::<Result<(), _>>()?;
    run.check_unchanged()?;
    let Facts {
        sha1,
        roots,
        prints,
    } = std::mem::take(&mut *run.facts());
    let files = if layout.kind().has_v2() {
        file_hashes(layout, &roots)
    } else {
        Vec::new()
    };
    Ok(Hashed {
        hashes: Hashes {
            pieces: sha1,
            files,
        },
        known: prints,
    })
}

/// From the roots of pieces to those of files.
fn file_hashes(layout: &Layout, roots: &[Sha256Hash]) -> Vec<Option<torrent::author::FileHashes>> {
    let file_hash = |file| {
        if layout.file(file).pad {
            return None;
        }
        let mut hasher = FileHasher::new(layout.piece_length());
        layout
            .file_pieces(file)
            .for_each(|piece| hasher.push(roots[piece as usize]));
        hasher.finish()
    };
    (0..layout.files()).map(file_hash).collect()
}

/// What has been found out.
#[derive(Default)]
struct Facts {
    /// By piece; empty for v2.
    sha1: Vec<Sha1Hash>,
    /// By piece; empty for v1. Leaves are dropped at once.
    roots: Vec<Sha256Hash>,
    /// Of each file when it was first opened.
    prints: Vec<Fingerprint>,
}

/// What the threads share.
struct Run<'a> {
    layout: &'a Layout,
    paths: &'a [PathBuf],
    facts: Mutex<Facts>,
    /// The first piece that nobody has taken.
    next: AtomicU32,
    hashed: AtomicU64,
    /// Some thread failed.
    stop: AtomicBool,
    options: &'a Options<'a>,
}

impl Run<'_> {
    fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts
            .lock()
            .expect("no code panics while it holds what was found out")
    }

    fn work(&self) -> Result<(), HashError> {
        let mut sweeper = Sweeper::default();
        let mut reader = Reader {
            run: self,
            open: None,
            failed: None,
        };
        while let Some(pieces) = self.take() {
            if self.stop.load(Ordering::Relaxed) || self.options.cancel.load(Ordering::Relaxed) {
                return Err(HashError::Cancelled);
            }
            let bytes: u64 = pieces
                .clone()
                .map(|piece| u64::from(self.layout.payload_len(piece)))
                .sum();
            let (checked, _) = sweeper.sweep(&mut reader, pieces);
            if let Some(error) = reader.failed.take() {
                self.stop.store(true, Ordering::Relaxed);
                return Err(error);
            }
            self.note(checked);
            (self.options.progress)(self.hashed.fetch_add(bytes, Ordering::Relaxed) + bytes);
        }
        Ok(())
    }

    /// Notes the hashes of a sweep.
    fn note(&self, checked: Vec<CheckedPiece>) {
        let facts = &mut *self.facts();
        for CheckedPiece { piece, hash } in checked {
            let Some(hash) = hash else { continue };
            if let Some(sha1) = hash.sha1 {
                facts.sha1[piece as usize] = sha1;
            }
            if let Some(root) = hash.root {
                facts.roots[piece as usize] = root;
            }
        }
    }

    /// The next sweep.
    fn take(&self) -> Option<Range<u32>> {
        let end = self.layout.pieces();
        let mut start = self.next.load(Ordering::Relaxed);
        while start < end {
            let next = start + sweep_len(self.layout, start, end);
            match self
                .next
                .compare_exchange_weak(start, next, Ordering::Relaxed, Ordering::Relaxed)
            {
                Ok(_) => return Some(start..next),
                Err(taken) => start = taken,
            }
        }
        None
    }

    /// Every file is still as it was when it was opened.
    fn check_unchanged(&self) -> Result<(), HashError> {
        for (file, print) in self
            .facts()
            .prints
            .iter()
            .enumerate()
            .filter(|(_, print)| **print != NO_PRINT)
        {
            let path = &self.paths[file];
            let now = RealDisk
                .open(path, Open::Read)
                .and_then(|open| RealDisk.stat(&open));
            if !now.is_ok_and(|now| now.print == *print) {
                return Err(HashError::Changed { path: path.clone() });
            }
        }
        Ok(())
    }
}

/// One thread's eye on the files: it keeps the last one open, the next sweep is likely to go on in it.
struct Reader<'a> {
    run: &'a Run<'a>,
    open: Option<(usize, Arc<File>, crate::disk::Stat)>,
    failed: Option<HashError>,
}

impl Reader<'_> {
    fn try_fetch(
        &mut self,
        file: usize,
        offset: u64,
        buf: &mut [u8],
    ) -> Result<(usize, Found), HashError> {
        let path = &self.run.paths[file];
        let error = |error: io::Error| StoreError::of(error, "read", path, 0, || 0);
        let (open, stat) = match &self.open {
            Some((index, open, stat)) if *index == file => (open.clone(), *stat),
            _ => {
                let open = RealDisk.open(path, Open::Read).map_err(error)?;
                let stat = RealDisk.stat(&open).map_err(error)?;
                self.note(file, stat.print)?;
                self.open = Some((file, open.clone(), stat));
                (open, stat)
            }
        };
        let (got, found) = fetch_open(&RealDisk, &open, stat, offset, buf).map_err(error)?;
        if got < buf.len() {
            Err(HashError::Changed { path: path.clone() })
        } else {
            Ok((got, found))
        }
    }

    /// Notes a file as it is at first sight; at the next it must be the same.
    fn note(&self, file: usize, print: Fingerprint) -> Result<(), HashError> {
        let prints = &mut self.run.facts().prints;
        if print.len != self.run.layout.file(file).len
            || prints[file] != NO_PRINT && prints[file] != print
        {
            return Err(HashError::Changed {
                path: self.run.paths[file].clone(),
            });
        }
        prints[file] = print;
        Ok(())
    }
}

impl Content for Reader<'_> {
    fn layout(&self) -> &Layout {
        self.run.layout
    }

    fn fetch(
        &mut self,
        file: usize,
        offset: u64,
        buf: &mut [u8],
    ) -> Result<(usize, Found), StoreError> {
        match self.try_fetch(file, offset, buf) {
            Ok(fetched) => Ok(fetched),
            Err(error) => {
                self.failed.get_or_insert(error);
                Ok((0, Found::Absent))
            }
        }
    }
}
