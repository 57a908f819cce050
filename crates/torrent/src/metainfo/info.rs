//! The info dict: what a torrent is, apart from where to find it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use sha1::{Digest, Sha1};
use sha2::Sha256;

use super::files::{self, EXECUTABLE, Files, HIDDEN, PAD, SYMLINK};
use super::{Keys, MAX_NOTICES, MetainfoError, Notice};
use crate::bencode::{self, Limits, Value};
use crate::ids::{InfoHashes, Sha1Hash, Sha256Hash};
use crate::layout::{Kind, Layout, check_piece_length};
use crate::names;

/// Most hashes of similar torrents and names of collections kept (BEP 38).
const MAX_HINTS: usize = 256;

/// The info dict of a torrent, checked. Cheap to clone.
///
/// Beyond the raw dict a file costs about 25 bytes and its path.
#[derive(Clone, Debug)]
pub struct Info(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    raw: Arc<[u8]>,
    name: String,
    listed_name: Option<Box<str>>,
    single: bool,
    layout: Layout,
    hashes: InfoHashes,
    private: bool,
    /// Where the SHA-1 hashes lie in `raw`; empty in v2.
    pieces: Range<usize>,
    arena: Box<str>,
    ends: Box<[u32]>,
    attrs: Box<[u8]>,
    roots: Box<[u32]>,
    symlinks: BTreeMap<u32, String>,
    listed: BTreeMap<u32, Box<str>>,
    source: Option<String>,
    similar: Vec<Sha1Hash>,
    collections: Vec<String>,
    notices: Vec<Notice>,
}

/// One file of a torrent.
#[derive(Clone, Copy, Debug)]
pub struct FileRef<'a> {
    info: &'a Inner,
    index: usize,
    /// Length in bytes.
    pub len: u64,
    /// Whether it is padding (BEP 47), which is never on a disk.
    pub pad: bool,
    /// Whether it may be run.
    pub executable: bool,
    /// Whether file managers should hide it.
    pub hidden: bool,
}

/// The keys of an info dict that are looked at here.
const KEYS: [&str; 12] = [
    "collections",
    "file tree",
    "files",
    "length",
    "meta version",
    "name",
    "name.utf-8",
    "piece length",
    "pieces",
    "private",
    "similar",
    "source",
];

impl Info {
    /// Reads an info dict from exactly its bytes, as they stand in a torrent file or came from peers
    /// (BEP 9).
    pub fn parse(raw: &[u8]) -> Result<Info, MetainfoError> {
        Info::read(raw, || raw.into())
    }

    /// The same from bytes that are kept as they are: the dict of very many files is large.
    pub fn of(raw: Arc<[u8]>) -> Result<Info, MetainfoError> {
        Info::read(&raw, || raw.clone())
    }

    /// `keep` makes the raw dict to hold, once it has proven to be one.
    fn read(raw: &[u8], keep: impl FnOnce() -> Arc<[u8]>) -> Result<Info, MetainfoError> {
        let (info, oddities) = bencode::parse_noting(raw, Limits::LENIENT)?;
        if info.raw().len() != raw.len() {
            return Err(MetainfoError::TrailingInfo);
        }
        let keys = Keys::of(&info, &KEYS)?;
        let kind = kind(&keys)?;
        if let Some(oddity) = oddities.first().filter(|_| kind.has_v2()) {
            return Err(MetainfoError::NotCanonical(*oddity));
        }

        let piece_length = keys.get("piece length").and_then(|length| length.as_uint());
        let piece_length =
            check_piece_length(kind, piece_length.ok_or(MetainfoError::MissingPieceLength)?)?;

        let name = keys.get("name.utf-8").or_else(|| keys.get("name"));
        let name = name
            .and_then(|name| name.as_bytes())
            .ok_or(MetainfoError::MissingName)?;

        let list = keys.get("files");
        let missing = MetainfoError::MissingTree;
        let (files, single) = match (kind, &list) {
            (Kind::V1, None) => (files::v1_single(&info, name)?, true),
            (Kind::V1, Some(list)) => (files::v1_list(list)?, false),
            (Kind::V2, _) => files::v2_tree(&keys.get("file tree").ok_or(missing)?)?,
            (Kind::Hybrid, list) => {
                let tree = keys.get("file tree").ok_or(missing)?;
                (
                    files::hybrid(&info, name, list.as_ref(), &tree)?,
                    list.is_none(),
                )
            }
        };
        let Files {
            lens,
            arena,
            ends,
            attrs,
            roots,
            symlinks,
            listed,
            notices: mut told,
            ..
        } = files;
        let layout = Layout::new(kind, piece_length, lens)?;

        let pieces = match keys.get("pieces").filter(|_| kind.has_v1()) {
            None => 0..0,
            Some(pieces) => {
                let len = pieces.as_bytes().ok_or(MetainfoError::BadPieces)?.len();
                if !len.is_multiple_of(20) {
                    return Err(MetainfoError::BadPieces);
                }
                if len as u64 != u64::from(layout.pieces()) * 20 {
                    return Err(MetainfoError::PieceCount {
                        hashes: len as u64 / 20,
                        pieces: layout.pieces(),
                    });
                }
                pieces.span().end - len..pieces.span().end
            }
        };

        let mut notices: Vec<Notice> = oddities.into_iter().map(Notice::Sloppy).collect();
        notices.append(&mut told);
        notices.truncate(MAX_NOTICES);
        let safe_name = names::component(name).into_owned();
        Ok(Info(Arc::new(Inner {
            listed_name: files::on_disk(&[name]).filter(|listed| **listed != *safe_name),
            name: safe_name,
            single,
            hashes: InfoHashes {
                v1: kind.has_v1().then(|| Sha1::digest(raw).into()),
                v2: kind.has_v2().then(|| Sha256::digest(raw).into()),
            },
            private: keys
                .get("private")
                .and_then(|flag| flag.as_int())
                .is_some_and(|flag| flag != 0),
            pieces,
            arena: arena.into(),
            ends: ends.into(),
            attrs: attrs.into(),
            roots: roots.into(),
            symlinks,
            listed,
            source: keys
                .get("source")
                .and_then(|source| source.as_str())
                .map(str::to_owned),
            similar: hints(keys.get("similar"), |hint| hint.as_array().copied()),
            collections: hints(keys.get("collections"), |hint| {
                hint.as_str().map(str::to_owned)
            }),
            notices,
            layout,
            raw: keep(),
        })))
    }

    /// The exact bytes, as hashed and as sent to peers that ask for them (BEP 9).
    pub fn raw(&self) -> &Arc<[u8]> {
        &self.0.raw
    }

    /// What the content is called in a download folder, made safe: the torrent's name for a folder,
    /// the file's for a single file. (Of a v2 torrent these can differ: `name` is only for display
    /// then, BEP 52, and other clients go by the file tree, too.)
    pub fn name(&self) -> &str {
        if self.0.single {
            self.file(0).path()
        } else {
            &self.0.name
        }
    }

    /// The same exactly as the torrent has it, where that differs and data on a disk may be called so.
    pub fn listed_name(&self) -> Option<&str> {
        if self.0.single {
            self.file(0).listed_path()
        } else {
            self.0.listed_name.as_deref()
        }
    }

    /// Whether the torrent is one file without a folder around it.
    pub fn is_single_file(&self) -> bool {
        self.0.single
    }

    /// Where files and pieces lie.
    pub fn layout(&self) -> &Layout {
        &self.0.layout
    }

    /// Which generations of the protocol the torrent speaks.
    pub fn kind(&self) -> Kind {
        self.0.layout.kind()
    }

    /// The info-hashes.
    pub fn hashes(&self) -> InfoHashes {
        self.0.hashes
    }

    /// Whether peers may come from the torrent's trackers alone (BEP 27).
    pub fn private(&self) -> bool {
        self.0.private
    }

    /// The SHA-1 hash of piece `p`; `None` in v2 or if there is no such piece.
    pub fn piece_sha1(&self, p: u32) -> Option<&Sha1Hash> {
        let hashes = &self.0.raw[self.0.pieces.clone()];
        let start = (p as usize).checked_mul(20)?;
        hashes.get(start..)?.first_chunk()
    }

    /// File `i`, pad files included, in the order of [`layout`](Self::layout). Panics when there is
    /// no such file.
    pub fn file(&self, i: usize) -> FileRef<'_> {
        let extent = self.0.layout.file(i);
        let attrs = self.0.attrs[i];
        FileRef {
            info: &self.0,
            index: i,
            len: extent.len,
            pad: attrs & PAD != 0,
            executable: attrs & EXECUTABLE != 0,
            hidden: attrs & HIDDEN != 0,
        }
    }

    /// All files in order, pad files included.
    pub fn files(&self) -> impl ExactSizeIterator<Item = FileRef<'_>> {
        (0..self.0.layout.files()).map(|i| self.file(i))
    }

    /// Who the torrent was made for; trackers ask for it to make info-hashes differ.
    pub fn source(&self) -> Option<&str> {
        self.0.source.as_deref()
    }

    /// Info-hashes of torrents that may share files with this one (BEP 38).
    pub fn similar(&self) -> &[Sha1Hash] {
        &self.0.similar
    }

    /// Names of collections whose torrents may share files (BEP 38).
    pub fn collections(&self) -> &[String] {
        &self.0.collections
    }

    /// What was odd about the dict and how it was dealt with.
    pub fn notices(&self) -> &[Notice] {
        &self.0.notices
    }
}

/// Two are the same if their bytes are.
impl PartialEq for Info {
    fn eq(&self, other: &Info) -> bool {
        self.0.raw == other.0.raw
    }
}

impl Eq for Info {}

impl<'a> FileRef<'a> {
    /// Its index in the torrent.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Where it goes, relative to the torrent's folder and without that folder's name: safe on every
    /// system, parts joined by `/`. For a single file, its name.
    pub fn path(&self) -> &'a str {
        let ends = &self.info.ends;
        let start = self.index.checked_sub(1).map_or(0, |before| ends[before]);
        &self.info.arena[start as usize..ends[self.index] as usize]
    }

    /// The path exactly as the torrent has it, where that differs from [`path`](Self::path) and does
    /// stay inside the folder: some system could have it so, and data that is already on a disk may
    /// be found there. Go by these for all files of a torrent or for none: one file's listed path
    /// can be another's safe one.
    pub fn listed_path(&self) -> Option<&'a str> {
        self.info
            .listed
            .get(&(self.index as u32))
            .map(|path| &**path)
    }

    /// For a symlink, what it points at, relative to the torrent's folder and inside it (BEP 47).
    pub fn symlink(&self) -> Option<&'a str> {
        let is_link = self.info.attrs[self.index] & SYMLINK != 0;
        self.info
            .symlinks
            .get(&(self.index as u32))
            .filter(|_| is_link)
            .map(String::as_str)
    }

    /// The root of its merkle tree; `None` in v1, for an empty file, and for padding.
    pub fn root(&self) -> Option<Sha256Hash> {
        match self.info.roots.get(self.index).copied() {
            None | Some(0) => None,
            Some(at) => self.info.raw[at as usize..].first_chunk().copied(),
        }
    }
}

/// Which halves are there. The version comes first (BEP 52), so that a newer torrent is called newer
/// and not broken.
fn kind(keys: &Keys<'_>) -> Result<Kind, MetainfoError> {
    let version = keys
        .get("meta version")
        .map(|version| version.as_int().unwrap_or(-1));
    let v2 = match version {
        Some(2) => true,
        Some(newer) if newer > 2 => return Err(MetainfoError::NewerVersion(newer)),
        _ if keys.get("file tree").is_some() => return Err(MetainfoError::MissingVersion),
        _ => false,
    };
    let pieces = keys.get("pieces").is_some();
    let lengths = keys.get("files").is_some() || keys.get("length").is_some();
    match (v2, pieces, lengths) {
        (true, false, false) => Ok(Kind::V2),
        (true, true, true) => Ok(Kind::Hybrid),
        (false, true, true) => Ok(Kind::V1),
        (_, false, _) => Err(MetainfoError::MissingPieces),
        (_, _, false) => Err(MetainfoError::MissingFiles),
    }
}

pub(super) fn hints<T>(list: Option<Value<'_>>, read: impl Fn(Value<'_>) -> Option<T>) -> Vec<T> {
    let list = list.and_then(|list| list.as_list());
    list.into_iter()
        .flatten()
        .take(MAX_HINTS)
        .filter_map(read)
        .collect()
}
