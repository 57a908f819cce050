//! Where one torrent lives: its names on disk, and what is known about each of its files.
//!
//! Opening files is [`files`](crate::files)' work, moving bytes that of [`strand`](crate::strand)
//! and [`reading`](crate::reading).

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
};

use torrent::{layout::Layout, metainfo::Info};

use crate::{bits::Bits, disk::Fingerprint, names::Naming};

/// The ending of a file that is not whole yet.
pub(crate) const PART: &str = ".part";

/// Bytes in a file name on every common file system.
const NAME_MAX: usize = 255;

/// A torrent in this store; the caller numbers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TorrentId(pub u32);

impl fmt::Display for TorrentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "torrent {}", self.0)
    }
}

/// How a new file gets its room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Allocate {
    /// As blocks arrive; what has not come yet is a hole.
    #[default]
    Sparse,
    /// All of it before the first block, so that the disk cannot run full half-way.
    Full,
}

/// Where and how a torrent's files lie.
#[derive(Debug, Clone)]
pub struct Placement {
    /// The content itself: the folder of a torrent with several files, the file of one with a single
    /// file. [`Placement::under`] makes it from a download folder.
    pub root: PathBuf,
    /// Files are called `<name>.part` until whole. A file under a final name that holds none of this
    /// torrent's verified pieces is then never written to, nor replaced by anything but the same bytes. Without it (streaming) files have their final name at
    /// once, and an existing file of that name is written over.
    pub part_names: bool,
    /// How files get their room.
    pub allocate: Allocate,
    /// The files a person asked for; `None` is all. Bytes of other files that share a piece with a
    /// wanted one go to `<name>.part`, and stay there.
    pub wanted: Option<Bits>,
    /// Existing data that is only read: seeding.
    pub read_only: bool,
    /// Where the [resume record](crate::resume) goes; `None` keeps none.
    pub record: Option<PathBuf>,
    /// What the hasher saw, one for each file of the layout (pads too), if it has just read them: a file that has
    /// changed since is not served. Empty if unknown.
    pub known: Vec<Fingerprint>,
    /// Pieces verified earlier, from the resume record or by the hasher. They count at once, and no
    /// [`FileFinished`](crate::Done::FileFinished) is told for files that were whole under their final name then.
    pub have: Option<Bits>,
}

impl Placement {
    /// In the folder `dir`, under the torrent's own name, with `.part` names, sparse, everything wanted.
    pub fn under(dir: &Path, info: &Info) -> Placement {
        Placement::at(dir.join(info.name()))
    }

    /// At exactly `root`, otherwise as [`under`](Self::under).
    pub fn at(root: impl Into<PathBuf>) -> Placement {
        Placement {
            root: root.into(),
            part_names: true,
            allocate: Allocate::Sparse,
            wanted: None,
            read_only: false,
            record: None,
            known: Vec::new(),
            have: None,
        }
    }

    /// The data at `root` as it is, for seeding.
    pub fn existing(root: impl Into<PathBuf>) -> Placement {
        Placement {
            part_names: false,
            read_only: true,
            ..Placement::at(root)
        }
    }
}

/// Which name a file has on disk at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Name {
    /// Nobody has looked yet.
    Unknown,
    Part,
    Whole,
}

/// No fingerprint is known: no file has this time.
pub(crate) const NO_PRINT: Fingerprint = Fingerprint {
    len: 0,
    mtime: i64::MIN,
};

/// What changes while a torrent is here. Per file it costs 21 bytes and two bits, per piece a bit.
pub(crate) struct Facts {
    pub verified: Bits,
    pub wanted: Bits,
    /// Pieces of each file that are not verified.
    left: Vec<u32>,
    names: Vec<Name>,
    prints: Vec<Fingerprint>,
    /// Files with bytes that were not synced.
    pub dirty: BTreeSet<u32>,
    /// Files whose last piece was verified since the last batch.
    pub whole: Vec<u32>,
    /// Verified since the last record.
    pub unrecorded: bool,
    /// The record on disk (may) say that nothing is to be written any more.
    pub closed: bool,
    /// Nothing lay at the root when the torrent was added: no file of ours can be in anybody's way.
    pub fresh: bool,
    /// Empty files and links still have to be made.
    pub empties: bool,
}

impl Facts {
    pub fn name(&self, file: usize) -> Name {
        self.names[file]
    }

    pub fn set_name(&mut self, file: usize, name: Name) {
        self.names[file] = name;
    }

    /// Is there, or was there, anything of the torrent on disk?
    pub fn is_begun(&self) -> bool {
        !self.verified.none() || self.names.iter().any(|&name| name != Name::Unknown)
    }

    /// Is every byte of this file verified?
    pub fn is_whole(&self, file: usize) -> bool {
        self.left[file] == 0
    }

    pub fn print(&self, file: usize) -> Option<Fingerprint> {
        self.prints
            .get(file)
            .copied()
            .filter(|print| *print != NO_PRINT)
    }

    pub fn set_print(&mut self, file: usize, print: Option<Fingerprint>) {
        if self.prints.is_empty() {
            self.prints = vec![NO_PRINT; self.names.len()];
        }
        self.prints[file] = print.unwrap_or(NO_PRINT);
    }
}

/// A torrent in the store.
pub(crate) struct Home {
    pub id: TorrentId,
    pub info: Arc<Info>,
    pub placement: Placement,
    /// What the files are called; anything but safe names only where data is only read.
    pub naming: Naming,
    /// Paths of files and folders of the torrent that end in `.part` themselves, in lower case.
    taken: BTreeSet<String>,
    facts: Mutex<Facts>,
}

/// Where a part file must not go. Almost always nowhere.
fn taken(info: &Info) -> BTreeSet<String> {
    let mut taken = BTreeSet::new();
    for file in info.files() {
        let path = file.path();
        let ends = path
            .match_indices('/')
            .map(|(at, _)| at)
            .chain([path.len()]);
        let is_part = |end: &usize| {
            let before = end
                .checked_sub(PART.len())
                .and_then(|at| path.as_bytes().get(at..*end));
            before.is_some_and(|bytes| bytes.eq_ignore_ascii_case(PART.as_bytes()))
        };
        taken.extend(ends.filter(is_part).map(|end| path[..end].to_lowercase()));
    }
    taken
}

impl Home {
    pub fn new(id: TorrentId, info: Arc<Info>, placement: Placement) -> Home {
        let layout = info.layout();
        let files = layout.files();
        let wanted = placement.wanted.clone().filter(|bits| bits.len() == files);
        let have = placement
            .have
            .clone()
            .filter(|bits| bits.len() == layout.pieces() as usize);
        let verified = have.unwrap_or_else(|| Bits::new(layout.pieces() as usize));
        let missing = |file| {
            layout
                .file_pieces(file)
                .filter(|&piece| !verified.has(piece as usize))
                .count() as u32
        };
        let mut facts = Facts {
            wanted: wanted.unwrap_or_else(|| Bits::full(files)),
            left: (0..files).map(missing).collect(),
            names: vec![Name::Unknown; files],
            prints: if placement.known.len() == files {
                placement.known.clone()
            } else {
                Vec::new()
            },
            dirty: BTreeSet::new(),
            whole: Vec::new(),
            unrecorded: false,
            closed: true,
            fresh: false,
            empties: !placement.read_only,
            verified,
        };
        if !placement.read_only {
            let unnamed = |&file: &usize| {
                facts.is_whole(file) && facts.print(file).is_none() && is_stored(layout, file)
            };
            facts.whole = (0..files).filter(unnamed).map(|file| file as u32).collect();
        }
        Home {
            id,
            taken: if info.is_single_file() {
                BTreeSet::new()
            } else {
                taken(&info)
            },
            info,
            placement: Placement {
                known: Vec::new(),
                have: None,
                ..placement
            },
            naming: Naming::Safe,
            facts: Mutex::new(facts),
        }
    }

    pub fn layout(&self) -> &Layout {
        self.info.layout()
    }

    /// The folder that holds the files, or the file: there once anything was written.
    pub fn folder(&self) -> &Path {
        let root = &self.placement.root;
        match self.info.is_single_file() {
            true => root.parent().unwrap_or(root),
            false => root,
        }
    }

    pub fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts
            .lock()
            .expect("no code panics while it holds a torrent's facts")
    }

    /// The engine agreed with a piece's hash. Returns the bytes that now wait for a batch.
    pub fn verify(&self, piece: u32) -> u64 {
        let layout = self.layout();
        let mut facts = self.facts();
        if !facts.verified.set(piece as usize) {
            return 0;
        }
        facts.unrecorded = true;
        for file in files_of(layout, piece) {
            // Also what a check found: an earlier run may have written it and been killed before
            // the sync. What is only read is nobody's to sync, and keeps its fingerprint.
            if !self.placement.read_only {
                facts.dirty.insert(file as u32);
            }
            facts.left[file] -= 1;
            if facts.left[file] == 0 {
                facts.whole.push(file as u32);
            }
        }
        u64::from(layout.payload_len(piece))
    }

    /// A piece is to be looked at again: until it is verified once more, it is not held.
    pub fn doubt(&self, piece: u32) {
        let mut facts = self.facts();
        if facts.verified.unset(piece as usize) {
            facts.unrecorded = true;
            for file in files_of(self.layout(), piece) {
                facts.left[file] += 1;
            }
        }
    }

    /// Is there anything for a batch to do?
    pub fn is_unsettled(&self) -> bool {
        let facts = self.facts();
        !self.placement.read_only
            && (facts.unrecorded || !facts.dirty.is_empty() || !facts.whole.is_empty())
    }

    /// Changes which files are wanted; whole ones among them get their names with the next batch.
    pub fn select(&self, wanted: &Bits) {
        let layout = self.layout();
        if wanted.len() != layout.files() || self.placement.read_only {
            return;
        }
        let mut facts = self.facts();
        let newly = |&file: &usize| {
            wanted.has(file)
                && !facts.wanted.has(file)
                && facts.is_whole(file)
                && facts.name(file) != Name::Whole
                && is_stored(layout, file)
        };
        let whole: Vec<u32> = (0..layout.files())
            .filter(newly)
            .map(|file| file as u32)
            .collect();
        facts.whole.extend(whole);
        facts.wanted = wanted.clone();
        facts.empties = true;
    }

    /// The path of a file under its final name.
    pub fn whole_path(&self, file: usize) -> PathBuf {
        if self.info.is_single_file() && file == 0 {
            return self.placement.root.clone();
        }
        let path = self.naming.path(self.info.file(file));
        self.placement.root.join(path)
    }

    /// The path of a file that is not whole: `.part` behind its name. Where that would be too long, or the name of
    /// something else in the torrent, the file's number makes it another.
    pub fn part_path(&self, file: usize) -> PathBuf {
        let path = self.whole_path(file);
        let name = path.file_name().map(OsString::from).unwrap_or_default();
        let inside = if self.info.is_single_file() {
            ""
        } else {
            self.info.file(file).path()
        };
        let is_taken = || {
            !self.taken.is_empty()
                && self
                    .taken
                    .contains(&format!("{inside}{PART}").to_lowercase())
        };
        if name.len() + PART.len() <= NAME_MAX && !is_taken() {
            let mut part = name;
            part.push(PART);
            return path.with_file_name(part);
        }
        let text = name.to_string_lossy();
        let end = (0..=text.len().min(NAME_MAX - 32))
            .rev()
            .find(|&at| text.is_char_boundary(at))
            .unwrap_or(0);
        let folder = inside
            .rsplit_once('/')
            .map_or(String::new(), |(folder, _)| format!("{folder}/"));
        let mut part = format!("{}~{file}{PART}", &text[..end]);
        while self
            .taken
            .contains(&format!("{folder}{part}").to_lowercase())
        {
            part.insert(end, '~');
        }
        path.with_file_name(part)
    }

    pub fn path(&self, file: usize, name: Name) -> PathBuf {
        if name == Name::Part {
            self.part_path(file)
        } else {
            self.whole_path(file)
        }
    }

    /// Does this file carry `.part` until it is whole?
    pub fn begins_as_part(&self, facts: &Facts, file: usize) -> bool {
        self.placement.part_names || !facts.wanted.has(file)
    }
}

/// Does this file have bytes of its own on disk?
fn is_stored(layout: &Layout, file: usize) -> bool {
    let extent = layout.file(file);
    extent.len > 0 && !extent.pad
}

/// The real files with bytes in `piece`.
pub(crate) fn files_of(layout: &Layout, piece: u32) -> impl Iterator<Item = usize> + '_ {
    layout
        .spans(piece, 0, layout.piece_len(piece))
        .filter(|span| !span.pad)
        .map(|span| span.file)
}
