//! Making torrents: which order, which padding, which piece length, and the bytes in the end.
//!
//! A [`Plan`] is made from names and lengths alone, so that whoever hashes knows where pieces lie;
//! with the hashes it becomes a [`Metainfo`]. Info dicts come out as libtorrent's `create_torrent`
//! makes them from the same files, and so do the info-hashes. Nothing here reads files.
//!
//! One difference is deliberate: files are ordered part by part as in the file tree, where libtorrent
//! compares whole paths and so puts `a-b/x` before `a/x` in one half of a hybrid and behind it in the
//! other. It then refuses its own torrent.

use std::borrow::Borrow;
use std::sync::Arc;

use crate::bencode::Encoder;
use crate::ids::{Sha1Hash, Sha256Hash};
use crate::layout::{FileLen, Kind, Layout, LayoutError};
use crate::merkle::Layer;
use crate::metainfo::{Info, Metainfo, MetainfoError};
use crate::names::MAX_COMPONENTS;

mod choose;
#[cfg(test)]
mod tests;

pub use choose::{Choice, Wanted, choose, default_piece_length};

/// Files whose entries are encoded before they are put into the info dict: some 100 KiB.
const ENTRIES: usize = 1000;

/// A file, folder contents or link that is to be shared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// Where it lies in the shared folder, parts joined by `/`; for a single file its name.
    pub path: String,
    /// Length in bytes; 0 for a link.
    pub len: u64,
    /// Whether it may be run.
    pub executable: bool,
    /// Whether file managers hide it.
    pub hidden: bool,
    /// For a symlink to be shared as one, what it points at, relative to the shared folder (BEP 47).
    pub symlink: Option<String>,
}

/// Why files can't be made a torrent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// No part of a path may be empty, `.` or `..`, nor the name of the torrent.
    #[error("\"{0}\" is not a path that can be shared")]
    BadPath(String),
    /// Two files in one place, or a file where another has a folder.
    #[error("\"{0}\" is there twice")]
    Twice(String),
    /// Files and pieces do not form a layout.
    #[error(transparent)]
    Layout(#[from] LayoutError),
}

/// One file in the order of the torrent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planned {
    /// Which of the sources it is; `None` for padding.
    pub source: Option<usize>,
}

/// A torrent before hashing: its files in order, padding among them, and where they lie.
///
/// A file costs 32 bytes, and so does its padding. What was said about the files is shared with
/// clones and, in a [`Choice`], with the other plan.
#[derive(Clone, Debug)]
pub struct Plan {
    name: String,
    single: bool,
    sources: Arc<[Source]>,
    files: Vec<Planned>,
    layout: Layout,
}

/// What hashing a planned file gives: its root and, if it has more than one piece, its layer (as
/// [`crate::merkle::FileHasher`] makes them).
pub type FileHashes = (Sha256Hash, Layer);

/// The hashes of a plan's contents.
#[derive(Clone, Debug, Default)]
pub struct Hashes {
    /// SHA-1 of each piece, padding included; empty for v2.
    pub pieces: Vec<Sha1Hash>,
    /// For each file in the order of the plan, `None` if it is empty or padding. Empty for v1.
    pub files: Vec<Option<FileHashes>>,
}

/// What else a torrent says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Trackers by tier (BEP 12).
    pub trackers: Vec<Vec<String>>,
    /// HTTP servers that have the files (BEP 19).
    pub web_seeds: Vec<String>,
    /// DHT nodes to start from: host and port (BEP 5).
    pub nodes: Vec<(String, u16)>,
    /// Whether peers may come from the trackers alone (BEP 27).
    pub private: bool,
    /// A remark.
    pub comment: Option<String>,
    /// The program it is made by.
    pub created_by: Option<String>,
    /// Seconds since 1970.
    pub creation_date: Option<i64>,
    /// Who it is made for; changes the info-hash.
    pub source: Option<String>,
    /// Info-hashes of torrents that share files with it (BEP 38).
    pub similar: Vec<Sha1Hash>,
    /// Names of collections it belongs to (BEP 38).
    pub collections: Vec<String>,
}

impl Plan {
    /// Plans a torrent of a folder called `name` that holds these files.
    pub fn folder(
        kind: Kind,
        name: &str,
        piece_length: u32,
        sources: &[Source],
    ) -> Result<Plan, PlanError> {
        Plan::new(kind, Some(name), piece_length, sources.into())
    }

    /// Plans a torrent of one file without a folder; its path is its name.
    pub fn single(kind: Kind, piece_length: u32, source: &Source) -> Result<Plan, PlanError> {
        Plan::new(kind, None, piece_length, [source.clone()].into())
    }

    /// Without a folder's name there is one source.
    fn new(
        kind: Kind,
        folder: Option<&str>,
        piece_length: u32,
        sources: Arc<[Source]>,
    ) -> Result<Plan, PlanError> {
        crate::layout::check_piece_length(kind, u64::from(piece_length))?;
        let name = folder.unwrap_or_else(|| &sources[0].path).to_owned();
        let order = ordered(&name, &sources)?;
        let piece = u64::from(piece_length);
        let pads = kind == Kind::Hybrid && sources.len() > 1;
        let padding = |len: u64| {
            if pads {
                len.next_multiple_of(piece) - len
            } else {
                0
            }
        };
        let mut files = Vec::with_capacity(sources.len() * if pads { 2 } else { 1 });
        let mut at = 0;
        for index in order {
            let len = sources[index].len;
            if len > i64::MAX as u64 {
                return Err(LayoutError::TooLong.into());
            }
            files.push(Planned {
                source: Some(index),
            });
            // Behind the file rather than before the next one, as BEP 52's own program has it.
            if padding(len) > 0 {
                files.push(Planned { source: None });
            }
            at += len + padding(len);
            if at > i64::MAX as u64 {
                return Err(LayoutError::TooLong.into());
            }
        }
        let mut last = 0;
        let lens = files.iter().map(|planned| {
            let Some(index) = planned.source else {
                return FileLen {
                    len: padding(last),
                    pad: true,
                };
            };
            last = sources[index].len;
            FileLen {
                len: last,
                pad: false,
            }
        });
        let layout = Layout::new(kind, piece_length, lens)?;
        Ok(Plan {
            name,
            single: folder.is_none(),
            sources,
            files,
            layout,
        })
    }

    /// The name of the torrent.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is one file without a folder around it.
    pub fn is_single_file(&self) -> bool {
        self.single
    }

    /// Where files and pieces lie.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The files in the order of the layout.
    pub fn files(&self) -> &[Planned] {
        &self.files
    }

    /// What was said about each file in the order of the layout; nothing about padding.
    fn sources(&self) -> impl Iterator<Item = Option<&Source>> {
        let source = |planned: &Planned| planned.source.map(|index| &self.sources[index]);
        self.files.iter().map(source)
    }

    /// The torrent, once everything is hashed. Fails if the hashes are not those of such files, as
    /// far as that can be told without the files. Hashes that are given away are let go on the way.
    pub fn finish(
        self,
        hashes: impl Borrow<Hashes>,
        options: &Options,
    ) -> Result<Metainfo, MetainfoError> {
        let raw = self.info(hashes.borrow(), options);
        let layers = hashes.borrow().files.iter().enumerate();
        let layers: Vec<(usize, FileHashes)> = layers
            .filter_map(|(index, file)| Some((index, file.clone()?)))
            .filter(|(_, (_, layer))| !layer.is_empty())
            .collect();
        // There may be 100,000 files, and the info dict has all that was said of them.
        drop(self);
        drop(hashes);
        let info = Info::of(raw)?;
        let mut metainfo = Metainfo {
            trackers: options.trackers.clone(),
            web_seeds: options.web_seeds.clone(),
            nodes: options.nodes.clone(),
            comment: options.comment.clone(),
            created_by: options.created_by.clone(),
            creation_date: options.creation_date,
            ..Metainfo::of(info)
        };
        let layout = metainfo.info.layout();
        for (index, (root, layer)) in layers {
            let len = layout.file(index).len;
            let known = &mut metainfo.piece_layers;
            if !known.insert(root, layer, layout.piece_length(), len) {
                return Err(MetainfoError::WrongLayer(index));
            }
        }
        let missing = metainfo.piece_layers.missing(&metainfo.info).next();
        missing.map_or(Ok(metainfo), |index| {
            Err(MetainfoError::MissingLayer(index))
        })
    }

    /// The info dict in a place of just its length: of very many files it is the largest thing there is.
    fn info(&self, hashes: &Hashes, options: &Options) -> Arc<[u8]> {
        let mut len = 0;
        self.write_info(hashes, options, |part| len += part.len());
        let mut info: Arc<[u8]> = std::iter::repeat_n(0, len).collect();
        let mut rest = Arc::get_mut(&mut info).expect("nobody else has it yet");
        self.write_info(hashes, options, |part| {
            let (here, behind) = std::mem::take(&mut rest).split_at_mut(part.len());
            here.copy_from_slice(part);
            rest = behind;
        });
        info
    }

    /// Writes the info dict, keys in order, in parts of some entries each.
    fn write_info(&self, hashes: &Hashes, options: &Options, mut write: impl FnMut(&[u8])) {
        let kind = self.layout.kind();
        let mut flush = |out: &mut Encoder| write(&std::mem::take(out).finish());
        let mut out = Encoder::new();
        out.dict(|out| {
            let v1_single = (kind.has_v1() && self.single).then(|| &self.sources[0]);
            if let Some(file) = v1_single {
                attributes(out, file);
            }
            if !options.collections.is_empty() {
                out.bytes(b"collections");
                out.list(|out| {
                    options
                        .collections
                        .iter()
                        .for_each(|name| out.bytes(name.as_bytes()))
                });
            }
            if kind.has_v2() {
                out.bytes(b"file tree");
                self.tree(out, hashes, &mut flush);
            }
            if kind.has_v1() && !self.single {
                out.bytes(b"files");
                out.list(|out| {
                    for (index, source) in self.sources().enumerate() {
                        if index % ENTRIES == 0 {
                            flush(out);
                        }
                        match source {
                            Some(source) => v1_entry(out, source),
                            None => v1_padding(out, self.layout.file(index).len),
                        }
                    }
                });
            }
            if let Some(file) = v1_single {
                out.bytes(b"length");
                out.int(file.len as i64);
            }
            if kind.has_v2() {
                out.bytes(b"meta version");
                out.int(2);
            }
            out.bytes(b"name");
            out.bytes(self.name.as_bytes());
            out.bytes(b"piece length");
            out.int(i64::from(self.layout.piece_length()));
            if kind.has_v1() {
                out.bytes(b"pieces");
                out.bytes(hashes.pieces.as_flattened());
            }
            if options.private {
                out.bytes(b"private");
                out.int(1);
            }
            if !options.similar.is_empty() {
                out.bytes(b"similar");
                out.list(|out| options.similar.iter().for_each(|hash| out.bytes(hash)));
            }
            if let Some(source) = &options.source {
                out.bytes(b"source");
                out.bytes(source.as_bytes());
            }
        });
        flush(&mut out);
    }

    /// The file tree of BEP 52. The files are in its order already.
    fn tree(&self, out: &mut Encoder, hashes: &Hashes, flush: &mut impl FnMut(&mut Encoder)) {
        let mut open: Vec<&str> = Vec::new();
        out.begin_dict();
        for (index, source) in self.sources().enumerate() {
            if index % ENTRIES == 0 {
                flush(out);
            }
            let Some(source) = source else { continue };
            let parts: Vec<&str> = source.path.split('/').collect();
            let shared = open
                .iter()
                .zip(&parts)
                .take_while(|(open, part)| open == part)
                .count();
            for _ in shared..open.len() {
                out.end();
            }
            open.truncate(shared);
            for part in &parts[shared..] {
                out.bytes(part.as_bytes());
                out.begin_dict();
                open.push(part);
            }
            let root = hashes
                .files
                .get(index)
                .and_then(|file| file.as_ref())
                .map(|(root, _)| root);
            out.bytes(b"");
            v2_entry(out, source, root);
        }
        for _ in &open {
            out.end();
        }
        out.end();
    }
}

/// Indices of the sources in the order of a file tree: part by part, bytewise.
fn ordered(name: &str, sources: &[Source]) -> Result<Vec<usize>, PlanError> {
    if name.is_empty() {
        return Err(PlanError::BadPath(name.to_owned()));
    }
    for source in sources {
        let bad =
            |part: &str| part.is_empty() || part == "." || part == ".." || part.contains('\0');
        if source.path.split('/').any(bad) || source.path.split('/').count() > MAX_COMPONENTS {
            return Err(PlanError::BadPath(source.path.clone()));
        }
    }
    let mut order: Vec<usize> = (0..sources.len()).collect();
    order.sort_by(|&a, &b| sources[a].path.split('/').cmp(sources[b].path.split('/')));
    // A file and a folder of one name have become neighbours.
    for pair in order.windows(2) {
        let (first, second) = (&sources[pair[0]].path, &sources[pair[1]].path);
        let rest = second.strip_prefix(first.as_str());
        if rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) {
            return Err(PlanError::Twice(first.clone()));
        }
    }
    Ok(order)
}

/// BEP 47's letters, in the order libtorrent writes them.
fn attributes(out: &mut Encoder, file: &Source) {
    let letters = [
        (file.hidden, b'h'),
        (file.executable, b'x'),
        (file.symlink.is_some(), b'l'),
    ];
    let letters: Vec<u8> = letters
        .iter()
        .filter(|(set, _)| *set)
        .map(|(_, letter)| *letter)
        .collect();
    if !letters.is_empty() {
        out.bytes(b"attr");
        out.bytes(&letters);
    }
}

fn path(out: &mut Encoder, path: &str) {
    out.list(|out| path.split('/').for_each(|part| out.bytes(part.as_bytes())));
}

/// Padding under its customary path.
fn v1_padding(out: &mut Encoder, len: u64) {
    out.dict(|out| {
        out.bytes(b"attr");
        out.bytes(b"p");
        out.bytes(b"length");
        out.int(len as i64);
        out.bytes(b"path");
        path(out, &format!(".pad/{len}"));
    });
}

fn v1_entry(out: &mut Encoder, file: &Source) {
    out.dict(|out| {
        attributes(out, file);
        out.bytes(b"length");
        out.int(file.len as i64);
        out.bytes(b"path");
        path(out, &file.path);
        if let Some(target) = &file.symlink {
            out.bytes(b"symlink path");
            path(out, target);
        }
    });
}

fn v2_entry(out: &mut Encoder, file: &Source, root: Option<&Sha256Hash>) {
    out.dict(|out| {
        attributes(out, file);
        if let Some(target) = &file.symlink {
            out.bytes(b"symlink path");
            path(out, target);
            return;
        }
        out.bytes(b"length");
        out.int(file.len as i64);
        if let Some(root) = root {
            out.bytes(b"pieces root");
            out.bytes(root);
        }
    });
}
