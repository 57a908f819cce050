//! A disk in memory that keeps apart what a program sees and what would survive a power cut.
//!
//! Its rules are harsher than those of common file systems, where these leave a choice: a new name is durable when its
//! file or its folder was synced, a rename when its folder was, a byte when its file was.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, IoSlice},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
};

use crate::disk::{Disk, Fingerprint, Open, Stat};

/// Bytes set aside at once, and shared between what is seen and what is durable.
const PAGE: usize = 4096;

/// Bytes that a disk writes whole or not at all.
const SECTOR: usize = 512;

type Page = [u8; PAGE];
type Inode = u64;

#[derive(Clone, Default)]
struct Bytes {
    /// Absent pages are holes.
    pages: BTreeMap<u64, Arc<Page>>,
    len: u64,
}

#[derive(Default)]
struct Content {
    now: Bytes,
    durable: Bytes,
    /// Pages written since the last sync.
    dirty: BTreeSet<u64>,
    mtime: i64,
}

/// A change of names that was not synced.
enum Naming {
    Create(PathBuf, Inode),
    Rename(PathBuf, PathBuf),
}

struct World {
    random: fastrand::Rng,
    names: BTreeMap<PathBuf, Inode>,
    durable_names: BTreeMap<PathBuf, Inode>,
    namings: Vec<Naming>,
    contents: BTreeMap<Inode, Content>,
    next: Inode,
    clock: i64,
    capacity: u64,
    failing: Option<String>,
}

pub(crate) struct MemoryDisk(Mutex<World>);

impl World {
    fn content(&mut self, inode: Inode) -> &mut Content {
        self.contents.entry(inode).or_default()
    }

    fn used(&self) -> u64 {
        self.contents
            .values()
            .map(|content| content.now.pages.len() as u64 * PAGE as u64)
            .sum()
    }

    fn create(&mut self, path: &Path) -> Inode {
        self.next += 1;
        let inode = self.next;
        self.names.insert(path.to_owned(), inode);
        self.namings.push(Naming::Create(path.to_owned(), inode));
        self.clock += 1;
        self.content(inode).mtime = self.clock;
        inode
    }

    /// Makes durable those changes of names that `which` picks.
    fn settle_names(&mut self, which: impl Fn(&Naming) -> bool) {
        let (settled, rest) = std::mem::take(&mut self.namings)
            .into_iter()
            .partition(which);
        self.namings = rest;
        for naming in settled {
            self.make_durable(naming);
        }
        self.forget_unnamed();
    }

    fn make_durable(&mut self, naming: Naming) {
        match naming {
            Naming::Create(path, inode) => {
                self.durable_names.insert(path, inode);
            }
            Naming::Rename(from, to) => {
                if let Some(inode) = self.durable_names.remove(&from) {
                    self.durable_names.insert(to, inode);
                }
            }
        }
    }

    /// Drops contents that neither a name nor a durable name leads to.
    fn forget_unnamed(&mut self) {
        let named: BTreeSet<Inode> = self
            .names
            .values()
            .chain(self.durable_names.values())
            .copied()
            .collect();
        self.contents.retain(|inode, _| named.contains(inode));
    }
}

impl Content {
    fn sync(&mut self) {
        for page in std::mem::take(&mut self.dirty) {
            match self.now.pages.get(&page) {
                Some(bytes) => self.durable.pages.insert(page, bytes.clone()),
                None => self.durable.pages.remove(&page),
            };
        }
        self.durable.len = self.now.len;
    }

    /// Each unsynced sector has reached the disk or not.
    fn tear(&mut self, random: &mut fastrand::Rng) {
        let mut torn = self.durable.clone();
        for page in std::mem::take(&mut self.dirty) {
            let new = self.now.pages.get(&page).map_or([0; PAGE], |page| **page);
            let mut mixed = torn.pages.get(&page).map_or([0; PAGE], |page| **page);
            for sector in (0..PAGE).step_by(SECTOR).filter(|_| random.bool()) {
                mixed[sector..sector + SECTOR].copy_from_slice(&new[sector..sector + SECTOR]);
                let end = page * PAGE as u64 + (sector + SECTOR) as u64;
                torn.len = torn.len.max(end.min(self.now.len));
            }
            torn.pages.insert(page, Arc::new(mixed));
        }
        self.now = torn.clone();
        self.durable = torn;
    }
}

impl Bytes {
    fn read(&self, buf: &mut [u8], offset: u64) -> usize {
        let len = (self.len.saturating_sub(offset)).min(buf.len() as u64) as usize;
        let mut at = 0;
        while at < len {
            let from = offset + at as u64;
            let (page, inside) = (from / PAGE as u64, (from % PAGE as u64) as usize);
            let n = (PAGE - inside).min(len - at);
            match self.pages.get(&page) {
                Some(bytes) => buf[at..at + n].copy_from_slice(&bytes[inside..inside + n]),
                None => buf[at..at + n].fill(0),
            }
            at += n;
        }
        len
    }
}

impl MemoryDisk {
    pub fn new(seed: u64) -> MemoryDisk {
        MemoryDisk(Mutex::new(World {
            random: fastrand::Rng::with_seed(seed),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            namings: Vec::new(),
            contents: BTreeMap::new(),
            next: 0,
            clock: 0,
            capacity: u64::MAX,
            failing: None,
        }))
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.0
            .lock()
            .expect("no code panics while it holds the disk")
    }

    pub fn power_cut(&self) {
        let mut world = self.world();
        let world = &mut *world;
        // Names reach the disk in order, up to some point.
        let kept = world.random.usize(..=world.namings.len());
        for naming in std::mem::take(&mut world.namings).into_iter().take(kept) {
            world.make_durable(naming);
        }
        world.names = world.durable_names.clone();
        world.forget_unnamed();
        for content in world.contents.values_mut() {
            content.tear(&mut world.random);
        }
    }

    pub fn set_capacity(&self, bytes: u64) {
        self.world().capacity = bytes;
    }

    pub fn fail_reads(&self, part: Option<String>) {
        self.world().failing = part;
    }

    pub fn peek(&self, path: &Path) -> Option<Vec<u8>> {
        let mut world = self.world();
        let inode = *world.names.get(path)?;
        let now = &world.content(inode).now;
        let mut bytes = vec![0; now.len as usize];
        now.read(&mut bytes, 0);
        Some(bytes)
    }

    pub fn list(&self) -> Vec<PathBuf> {
        self.world().names.keys().cloned().collect()
    }

    pub fn tamper(&self, path: &Path, bytes: &[u8]) {
        let mut world = self.world();
        let inode = match world.names.get(path) {
            Some(inode) => *inode,
            None => world.create(path),
        };
        world.clock += 1;
        let clock = world.clock;
        let content = world.content(inode);
        *content = Content {
            mtime: clock,
            ..Content::default()
        };
        content.now.len = bytes.len() as u64;
        for (page, chunk) in bytes.chunks(PAGE).enumerate() {
            let mut whole = [0; PAGE];
            whole[..chunk.len()].copy_from_slice(chunk);
            content.now.pages.insert(page as u64, Arc::new(whole));
        }
        content.durable = content.now.clone();
        world.settle_names(|_| true);
    }
}

impl Disk for MemoryDisk {
    type File = (Inode, Arc<Path>);

    fn open(&self, path: &Path, how: Open) -> io::Result<(Inode, Arc<Path>)> {
        let mut world = self.world();
        let inode = match (world.names.get(path), how) {
            (Some(inode), _) => *inode,
            (None, Open::Read) => return Err(io::ErrorKind::NotFound.into()),
            (None, Open::Create) => world.create(path),
        };
        Ok((inode, path.into()))
    }

    fn read(
        &self,
        (inode, path): &(Inode, Arc<Path>),
        buf: &mut [u8],
        offset: u64,
    ) -> io::Result<usize> {
        let mut world = self.world();
        if world
            .failing
            .as_ref()
            .is_some_and(|part| path.to_string_lossy().contains(part.as_str()))
        {
            return Err(io::Error::other("the simulated disk fails to read"));
        }
        Ok(world.content(*inode).now.read(buf, offset))
    }

    fn write(
        &self,
        (inode, _): &(Inode, Arc<Path>),
        bufs: &mut [IoSlice<'_>],
        offset: u64,
    ) -> io::Result<()> {
        let mut world = self.world();
        world.clock += 1;
        let (clock, mut room) = (
            world.clock,
            world.capacity.saturating_sub(world.used()) / PAGE as u64,
        );
        let content = world.content(*inode);
        content.mtime = clock;
        let mut at = offset;
        for mut bytes in bufs.iter().map(|slice| &**slice) {
            while !bytes.is_empty() {
                let (page, inside) = (at / PAGE as u64, (at % PAGE as u64) as usize);
                if !content.now.pages.contains_key(&page) {
                    // As on a real disk, what came before stays written.
                    room = room.checked_sub(1).ok_or(io::ErrorKind::StorageFull)?;
                }
                let n = (PAGE - inside).min(bytes.len());
                let target = content
                    .now
                    .pages
                    .entry(page)
                    .or_insert_with(|| Arc::new([0; PAGE]));
                Arc::make_mut(target)[inside..inside + n].copy_from_slice(&bytes[..n]);
                content.dirty.insert(page);
                at += n as u64;
                content.now.len = content.now.len.max(at);
                bytes = &bytes[n..];
            }
        }
        Ok(())
    }

    fn stat(&self, (inode, _): &(Inode, Arc<Path>)) -> io::Result<Stat> {
        let mut world = self.world();
        let content = world.content(*inode);
        Ok(Stat {
            print: Fingerprint {
                len: content.now.len,
                mtime: content.mtime,
            },
            allocated: content.now.pages.len() as u64 * PAGE as u64,
        })
    }

    fn data_at(&self, (inode, _): &(Inode, Arc<Path>), offset: u64) -> io::Result<Option<u64>> {
        let mut world = self.world();
        let pages = &world.content(*inode).now.pages;
        let page = pages.range(offset / PAGE as u64..).next();
        Ok(page.map(|(page, _)| offset.max(page * PAGE as u64)))
    }

    fn allocate(&self, (inode, _): &(Inode, Arc<Path>), len: u64) -> io::Result<()> {
        let mut world = self.world();
        let room = world.capacity.saturating_sub(world.used()) / PAGE as u64;
        let now = &mut world.content(*inode).now;
        let missing: Vec<u64> = (0..len.div_ceil(PAGE as u64))
            .filter(|page| !now.pages.contains_key(page))
            .collect();
        if missing.len() as u64 > room {
            return Err(io::ErrorKind::StorageFull.into());
        }
        now.pages
            .extend(missing.into_iter().map(|page| (page, Arc::new([0; PAGE]))));
        now.len = now.len.max(len);
        Ok(())
    }

    fn set_len(&self, (inode, _): &(Inode, Arc<Path>), len: u64) -> io::Result<()> {
        let mut world = self.world();
        world.clock += 1;
        let clock = world.clock;
        let content = world.content(*inode);
        content.mtime = clock;
        content.now.len = len;
        let beyond = content.now.pages.split_off(&len.div_ceil(PAGE as u64));
        content.dirty.extend(beyond.into_keys());
        if let Some(last) = content.now.pages.get_mut(&(len / PAGE as u64)) {
            Arc::make_mut(last)[(len % PAGE as u64) as usize..].fill(0);
            content.dirty.insert(len / PAGE as u64);
        }
        Ok(())
    }

    fn sync(&self, (inode, _): &(Inode, Arc<Path>)) -> io::Result<()> {
        let mut world = self.world();
        world.content(*inode).sync();
        world.settle_names(
            |naming| matches!(naming, Naming::Create(_, created) if created == inode),
        );
        Ok(())
    }

    fn sync_all(&self, _: &Path) -> io::Result<()> {
        let mut world = self.world();
        world.contents.values_mut().for_each(Content::sync);
        world.settle_names(|_| true);
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let inside = |path: &Path| path.parent() == Some(dir);
        self.world().settle_names(|naming| match naming {
            Naming::Create(path, _) => inside(path),
            Naming::Rename(from, to) => inside(from) || inside(to),
        });
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path, replace: bool) -> io::Result<()> {
        let mut world = self.world();
        if !replace && world.names.contains_key(to) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let inode = world.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        world.names.insert(to.to_owned(), inode);
        world
            .namings
            .push(Naming::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn symlink(&self, _: &Path, link: &Path) -> io::Result<()> {
        // A link has no bytes that a simulation could ask for.
        self.world().create(link);
        Ok(())
    }

    fn create_dir_all(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn look(&self, path: &Path) -> Option<Stat> {
        // A folder is there if anything lies in it.
        let world = self.world();
        if let Some(inode) = world.names.get(path).copied() {
            drop(world);
            return self.stat(&(inode, path.into())).ok();
        }
        let folder = world.names.keys().any(|name| name.starts_with(path));
        folder.then_some(Stat {
            print: Fingerprint::default(),
            allocated: 0,
        })
    }

    fn free(&self, _: &Path) -> io::Result<u64> {
        let world = self.world();
        Ok(world.capacity.saturating_sub(world.used()))
    }
}
