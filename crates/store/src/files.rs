//! Open files: which name a file has now, and a bounded number of descriptors, least recently used first out.

use std::{
    collections::HashMap,
    io,
    path::Path,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::{
    disk::{Disk, Open},
    error::StoreError,
    home::{Allocate, Home, Name, TorrentId},
};

/// Descriptors held open unless the configuration says otherwise: an eighth of the usual soft limit
/// of 1024, the rest is for sockets.
pub const DEFAULT_OPEN_FILES: usize = 128;

/// Bytes compared at a time.
const COMPARE: usize = 64 * 1024;

/// Files of different numbers are opened and renamed at the same time, up to so many: more than there are threads
/// that do it, so that two of them seldom meet.
const DOORS: usize = 64;

struct Entry<F> {
    file: F,
    writable: bool,
    used: u64,
}

struct Cache<F> {
    entries: HashMap<(TorrentId, u32), Entry<F>>,
    clock: u64,
}

/// The disk and the files open on it. Lock order: a door, then this cache or a torrent's facts; neither of these
/// two is held while the disk works.
pub(crate) struct Files<D: Disk> {
    pub disk: D,
    limit: AtomicUsize,
    cache: Mutex<Cache<D::File>>,
    /// Whoever opens or renames a file stands in the door of its number, so that nobody looks for it meanwhile.
    doors: [Mutex<()>; DOORS],
}

impl<D: Disk> Files<D> {
    pub fn new(disk: D, limit: usize) -> Files<D> {
        let cache = Cache {
            entries: HashMap::new(),
            clock: 0,
        };
        Files {
            disk,
            limit: AtomicUsize::new(limit.max(1)),
            cache: Mutex::new(cache),
            doors: [const { Mutex::new(()) }; DOORS],
        }
    }

    /// Holds no more files open than this (at least one) from now on.
    pub fn set_limit(&self, limit: usize) {
        let limit = limit.max(1);
        self.limit.store(limit, Ordering::Relaxed);
        let mut closed = Vec::new();
        let mut cache = self.cache();
        while cache.entries.len() > limit {
            closed.extend(cache.remove_oldest());
        }
        drop(cache);
    }

    fn cache(&self) -> MutexGuard<'_, Cache<D::File>> {
        self.cache
            .lock()
            .expect("no code panics while it holds the open files")
    }

    fn door(&self, file: usize) -> MutexGuard<'_, ()> {
        self.doors[file % DOORS]
            .lock()
            .expect("no code panics while it stands in a door")
    }

    /// An error of the system on `path`, sorted.
    pub fn error(&self, error: io::Error, op: &'static str, path: &Path, need: u64) -> StoreError {
        StoreError::of(error, op, path, need, || self.disk.free(path).unwrap_or(0))
    }

    /// The file to read from, under whichever name it has. [`StoreError::Missing`] if it has none.
    pub fn reader(&self, home: &Home, file: usize) -> Result<D::File, StoreError> {
        self.get(home, file, false)
    }

    /// The file to write to, made with its folders if it is not there.
    pub fn writer(&self, home: &Home, file: usize) -> Result<D::File, StoreError> {
        self.get(home, file, true)
    }

    fn get(&self, home: &Home, file: usize, write: bool) -> Result<D::File, StoreError> {
        let _door = self.door(file);
        let key = (home.id, file as u32);
        if let Some(open) = self.cache().find(key, write) {
            return Ok(open);
        }
        let opened = if write {
            self.open_writer(home, file)
        } else {
            self.open_reader(home, file)
        }?;
        let limit = self.limit.load(Ordering::Relaxed);
        let closed = self.cache().insert(key, opened.clone(), write, limit);
        // Not under the lock: closing is work for the disk, too.
        drop(closed);
        Ok(opened)
    }

    fn open_reader(&self, home: &Home, file: usize) -> Result<D::File, StoreError> {
        let (known, begins_as_part) = {
            let facts = home.facts();
            (facts.name(file), home.begins_as_part(&facts, file))
        };
        let names: &[Name] = match known {
            Name::Unknown if home.placement.read_only => &[Name::Whole],
            // Where both are there, the part is surely ours.
            Name::Unknown if begins_as_part => &[Name::Part, Name::Whole],
            Name::Unknown => &[Name::Whole, Name::Part],
            Name::Part => &[Name::Part],
            Name::Whole => &[Name::Whole],
        };
        for &name in names {
            let path = home.path(file, name);
            match self.disk.open(&path, Open::Read) {
                Ok(opened) => {
                    home.facts().set_name(file, name);
                    return Ok(opened);
                }
                Err(error) if is_absent(&error) => {}
                Err(error) => return Err(self.error(error, "open", &path, 0)),
            }
        }
        home.facts().set_name(file, Name::Unknown);
        Err(StoreError::Missing {
            path: home.whole_path(file),
        })
    }

    fn open_writer(&self, home: &Home, file: usize) -> Result<D::File, StoreError> {
        if home.placement.read_only {
            return Err(StoreError::ReadOnly {
                path: home.whole_path(file),
            });
        }
        let (known, begins_as_part, fresh, wanted) = {
            let facts = home.facts();
            let begins_as_part = home.begins_as_part(&facts, file);
            (
                facts.name(file),
                begins_as_part,
                facts.fresh,
                facts.wanted.has(file),
            )
        };
        let name = if begins_as_part {
            Name::Part
        } else {
            Name::Whole
        };
        let unseen = fresh && known == Name::Unknown;
        if name == Name::Part && known != Name::Part && !unseen {
            self.claim(home, file)?;
        }
        let path = home.path(file, name);
        // What was there and is gone was moved, or is on a drive that was unplugged: nothing is made in its place.
        if name == Name::Part && known == name && !self.disk.exists(&path) {
            return Err(StoreError::Missing { path });
        }
        let opened = match self.disk.open(&path, Open::Create) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let folder = home.folder();
                if home.facts().is_begun() && !self.disk.exists(folder) {
                    let path = folder.to_owned();
                    return Err(StoreError::Missing { path });
                }
                path.parent()
                    .map_or(Ok(()), |parent| self.disk.create_dir_all(parent))
                    .and_then(|()| self.disk.open(&path, Open::Create))
            }
            other => other,
        };
        let len = home.layout().file(file).len;
        let opened = opened.map_err(|error| self.error(error, "open", &path, len))?;
        if known != name && home.placement.allocate == Allocate::Full && wanted {
            self.disk
                .allocate(&opened, len)
                .map_err(|error| self.error(error, "set room aside for", &path, len))?;
        }
        home.facts().set_name(file, name);
        Ok(opened)
    }

    /// Before the first write to `<name>.part`: a file that lies under the final name becomes the part if it holds
    /// pieces of ours. Otherwise it stays as it is. One of the right length may yet turn out to be ours, in the
    /// end; one of another length is somebody else's.
    fn claim(&self, home: &Home, file: usize) -> Result<(), StoreError> {
        let (whole, part) = (home.whole_path(file), home.part_path(file));
        let found = match self.disk.open(&whole, Open::Read) {
            Ok(found) => found,
            Err(error) if is_absent(&error) => return Ok(()),
            Err(error) => return Err(self.error(error, "open", &whole, 0)),
        };
        let len = self
            .disk
            .stat(&found)
            .map_err(|error| self.error(error, "look at", &whole, 0))?
            .print
            .len;
        let right_len = home.layout().file(file).len;
        let ours = {
            let facts = home.facts();
            let mut pieces = home.layout().file_pieces(file);
            pieces.any(|piece| facts.verified.has(piece as usize))
        };
        if (len == 0 || ours && len <= right_len) && !self.disk.exists(&part) {
            return self
                .disk
                .rename(&whole, &part, false)
                .map_err(|error| self.error(error, "rename", &whole, 0));
        }
        if len == right_len {
            Ok(())
        } else {
            Err(StoreError::Occupied { path: whole })
        }
    }

    /// Which name a file has on disk, looking there if nobody has.
    pub fn name(&self, home: &Home, file: usize) -> Name {
        let known = home.facts().name(file);
        match known {
            Name::Unknown if self.disk.exists(&home.part_path(file)) => Name::Part,
            Name::Unknown => Name::Whole,
            name => name,
        }
    }

    /// Gives a whole file its final name. The descriptors stay good. A file that has the name already is replaced
    /// only if its bytes are the same.
    pub fn finish(&self, home: &Home, file: usize) -> Result<(), StoreError> {
        match self.rename_whole(home, file, false) {
            Err(StoreError::Occupied { .. }) if self.is_same(home, file) => {
                self.rename_whole(home, file, true)
            }
            other => other,
        }
    }

    fn rename_whole(&self, home: &Home, file: usize, replace: bool) -> Result<(), StoreError> {
        let _door = self.door(file);
        if self.name(home, file) == Name::Part {
            let (part, whole) = (home.part_path(file), home.whole_path(file));
            match self.disk.rename(&part, &whole, replace) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    return Err(StoreError::Occupied { path: whole });
                }
                other => other.map_err(|error| self.error(error, "rename", &part, 0))?,
            }
        }
        home.facts().set_name(file, Name::Whole);
        Ok(())
    }

    /// Do the part file and the file under the final name hold the same bytes?
    fn is_same(&self, home: &Home, file: usize) -> bool {
        let same = || -> io::Result<bool> {
            let part = self.disk.open(&home.part_path(file), Open::Read)?;
            let whole = self.disk.open(&home.whole_path(file), Open::Read)?;
            let len = self.disk.stat(&part)?.print.len;
            if self.disk.stat(&whole)?.print.len != len {
                return Ok(false);
            }
            let (mut a, mut b) = (vec![0; COMPARE], vec![0; COMPARE]);
            for offset in (0..len).step_by(COMPARE) {
                let got = self.disk.read(&part, &mut a, offset)?;
                if self.disk.read(&whole, &mut b, offset)? != got || a[..got] != b[..got] {
                    return Ok(false);
                }
            }
            Ok(true)
        };
        same().unwrap_or(false)
    }

    /// Closes one file: what it is called may be another file by now.
    pub fn forget(&self, id: TorrentId, file: usize) {
        self.cache().entries.remove(&(id, file as u32));
    }

    /// Closes the files of one torrent.
    pub fn close(&self, id: TorrentId) {
        self.cache().entries.retain(|key, _| key.0 != id);
    }
}

impl<F: Clone> Cache<F> {
    fn find(&mut self, key: (TorrentId, u32), write: bool) -> Option<F> {
        self.clock += 1;
        let entry = self.entries.get_mut(&key)?;
        if write && !entry.writable {
            return None;
        }
        entry.used = self.clock;
        Some(entry.file.clone())
    }

    /// Remembers an open file; returns those that it takes the place of.
    /// Takes out the file that was used the longest time ago. A scan of a hundred entries is nothing beside the call
    /// that opens a file.
    fn remove_oldest(&mut self) -> Option<Entry<F>> {
        let used_first = self.entries.iter().min_by_key(|(_, entry)| entry.used);
        let first = used_first.map(|(key, _)| *key)?;
        self.entries.remove(&first)
    }

    fn insert(
        &mut self,
        key: (TorrentId, u32),
        file: F,
        writable: bool,
        limit: usize,
    ) -> [Option<Entry<F>>; 2] {
        let mut oldest = None;
        if self.entries.len() >= limit && !self.entries.contains_key(&key) {
            oldest = self.remove_oldest();
        }
        let used = self.clock;
        let entry = Entry {
            file,
            writable,
            used,
        };
        [oldest, self.entries.insert(key, entry)]
    }
}

/// Nothing of that name, or a file where a folder would have to be.
pub(crate) fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}
