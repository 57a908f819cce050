//! The file lists of an info dict: v1's `files`, v2's `file tree`, and both at once for a hybrid.
//!
//! Paths end up in one arena and everything optional in side tables, so that a file costs about 25
//! bytes beyond its path.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{MAX_NOTICES, MetainfoError, Notice};
use crate::bencode::{Cursor, Value};
use crate::layout::{FileLen, MAX_FILES};
use crate::names;

pub(super) const EXECUTABLE: u8 = 1;
pub(super) const HIDDEN: u8 = 2;
pub(super) const SYMLINK: u8 = 4;
pub(super) const PAD: u8 = 8;

/// Most bytes in all paths together. A deep tree repeats the names of its folders in every path, so
/// a small torrent could otherwise fill the memory.
const MAX_PATHS: usize = 128 * 1024 * 1024;

/// BitComet's way of naming padding, older than BEP 47.
const BITCOMET_PADDING: &[u8] = b"_____padding_file_";

/// Files as they are read, one behind another.
#[derive(Debug, Default)]
pub(super) struct Files {
    pub lens: Vec<FileLen>,
    /// How many of them are not padding.
    real: usize,
    /// Of the last path, where each part ends in the arena and whether any up to it was changed.
    last: Vec<(usize, bool)>,
    /// Bytes in `listed`.
    listed_bytes: usize,
    /// All paths, safe and joined by `/`, without separators between them.
    pub arena: String,
    /// Where each path ends in the arena.
    pub ends: Vec<u32>,
    pub attrs: Vec<u8>,
    /// Where in the info dict each file's root lies; 0 for none. Empty in v1.
    pub roots: Vec<u32>,
    pub symlinks: BTreeMap<u32, String>,
    /// Paths as the torrent has them, where they had to be changed but could be on a disk.
    pub listed: BTreeMap<u32, Box<str>>,
    pub notices: Vec<Notice>,
}

/// What an entry of either list says about a file.
struct Properties<'a> {
    len: u64,
    attrs: u8,
    link: Option<Vec<&'a [u8]>>,
    root: u32,
}

impl Files {
    fn note(&mut self, notice: Notice) {
        if self.notices.len() < MAX_NOTICES {
            self.notices.push(notice);
        }
    }

    /// Adds a file, of whose path the first `shared` parts are those of the last.
    fn push(
        &mut self,
        parts: &[&[u8]],
        shared: usize,
        properties: &Properties<'_>,
    ) -> Result<(), MetainfoError> {
        let index = self.lens.len();
        let pad = properties.attrs & PAD != 0;
        if !pad {
            self.real += 1;
        }
        if self.real > MAX_FILES || index >= 2 * MAX_FILES {
            return Err(MetainfoError::TooManyFiles);
        }
        if parts.len() > names::MAX_COMPONENTS {
            return Err(MetainfoError::PathTooDeep(index));
        }
        let start = self.arena.len();
        self.copy_last(shared);
        for part in &parts[shared..] {
            if self.arena.len() > start {
                self.arena.push('/');
            }
            let name = names::component(part);
            let changed = self.last.last().is_some_and(|last| last.1) || name.as_bytes() != *part;
            self.arena.push_str(&name);
            self.last.push((self.arena.len(), changed));
        }
        let changed = self.last.last().is_some_and(|last| last.1);
        if self.arena.len() - start > names::MAX_PATH {
            return Err(MetainfoError::PathTooLong(index));
        }
        if self.arena.len() + self.listed_bytes > MAX_PATHS {
            return Err(MetainfoError::PathsTooLong);
        }
        let end = self.arena.len() as u32;
        let listed = (changed && !pad).then(|| on_disk(parts)).flatten();
        if let Some(path) = listed {
            self.listed_bytes += path.len();
            self.listed.insert(index as u32, path);
        }
        let mut attrs = properties.attrs;
        if let Some(link) = &properties.link {
            match names::link_target(link.iter().copied()) {
                Some(target) => {
                    self.symlinks.insert(index as u32, target);
                }
                None => {
                    attrs &= !SYMLINK;
                    let path = self.arena[start..].to_owned();
                    self.note(Notice::LinkDropped { path });
                }
            }
        }
        self.ends.push(end);
        self.attrs.push(attrs);
        self.lens.push(FileLen {
            len: properties.len,
            pad,
        });
        Ok(())
    }

    /// Starts a path with the first `parts` parts of the last one: a deep tree says them once.
    fn copy_last(&mut self, parts: usize) {
        let start = self.arena.len();
        self.last.truncate(parts);
        let Some(&(end, _)) = self.last.last() else {
            return;
        };
        let before = self
            .ends
            .len()
            .checked_sub(2)
            .map_or(0, |i| self.ends[i] as usize);
        self.arena.extend_from_within(before..end);
        self.last
            .iter_mut()
            .for_each(|(end, _)| *end = *end - before + start);
    }

    /// Where the path of file `index` lies in the arena.
    fn path(&self, index: usize) -> &str {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.arena[start as usize..self.ends[index] as usize]
    }

    /// What only shows once all files are known: paths that collide, and links that mean something
    /// else than they say.
    fn complete(mut self) -> Files {
        self.tell_apart();
        self.aim_links();
        self
    }

    /// The indices of real files.
    fn real(&self) -> impl Iterator<Item = usize> + Clone + '_ {
        (0..self.lens.len()).filter(|&i| !self.lens[i].pad)
    }

    /// Gives a path of its own to every file that shares one with another on some system.
    fn tell_apart(&mut self) {
        let renamed = names::tell_apart(self.real().map(|i| self.path(i)));
        if renamed.is_empty() {
            return;
        }
        let as_listed = |i: usize| {
            let listed = self.listed.get(&(i as u32));
            listed.map_or(self.path(i), |path| path)
        };
        let mut shared: HashMap<&str, usize> = HashMap::new();
        self.real()
            .for_each(|i| *shared.entry(as_listed(i)).or_default() += 1);
        let mut arena = String::with_capacity(self.arena.len() + 8 * renamed.len());
        let mut ends = Vec::with_capacity(self.ends.len());
        let mut notices = Vec::new();
        let mut listed = Vec::new();
        let mut at = 0;
        for index in 0..self.lens.len() {
            let from = self.path(index);
            let to = renamed.get(&at).filter(|_| !self.lens[index].pad);
            if !self.lens[index].pad {
                at += 1;
            }
            arena.push_str(to.map_or(from, String::as_str));
            ends.push(arena.len() as u32);
            let Some(to) = to else { continue };
            if notices.len() < MAX_NOTICES {
                notices.push(Notice::Renamed {
                    from: from.to_owned(),
                    to: to.clone(),
                });
            }
            // Two files that are called exactly the same can't be found on any disk.
            let known = self.listed.contains_key(&(index as u32));
            if !known && shared.get(from) == Some(&1) {
                listed.push((index as u32, Box::from(from)));
            }
        }
        self.listed.extend(listed);
        notices.into_iter().for_each(|notice| self.note(notice));
        (self.arena, self.ends) = (arena, ends);
    }

    /// Links of older torrents are relative to where they lie, not to the torrent's folder as BEP 47
    /// has it. Where only that leads to a file or folder of the torrent, it is what was meant.
    fn aim_links(&mut self) {
        if self.symlinks.is_empty() {
            return;
        }
        let mut places: HashSet<&str> = HashSet::new();
        for path in self.real().map(|i| self.path(i)) {
            places.insert(path);
            let mut folder = path;
            while let Some((above, _)) = folder.rsplit_once('/') {
                if !places.insert(above) {
                    break;
                }
                folder = above;
            }
        }
        let aimed = self.symlinks.iter().filter_map(|(&index, target)| {
            let (folder, _) = self.path(index as usize).rsplit_once('/')?;
            let other = format!("{folder}/{target}");
            let meant = !places.contains(target.as_str()) && places.contains(other.as_str());
            meant.then_some((index, other))
        });
        let aimed: Vec<_> = aimed.collect();
        self.symlinks.extend(aimed);
    }
}

/// The path as the torrent has it, if it is one that stays in the folder and a disk could hold.
pub(super) fn on_disk(parts: &[&[u8]]) -> Option<Box<str>> {
    let fits = |part: &&[u8]| {
        !part.is_empty()
            && *part != b"."
            && *part != b".."
            && !part.contains(&b'/')
            && !part.contains(&0)
    };
    let parts: Option<Vec<&str>> = parts
        .iter()
        .map(|part| std::str::from_utf8(part).ok().filter(|_| fits(part)))
        .collect();
    parts.map(|parts| parts.join("/").into())
}

fn attributes(entry: &Value<'_>) -> u8 {
    let letters = entry
        .get("attr")
        .and_then(|attr| attr.as_bytes())
        .unwrap_or_default();
    letters.iter().fold(0, |attrs, letter| {
        attrs
            | match letter {
                b'x' => EXECUTABLE,
                b'h' => HIDDEN,
                b'l' => SYMLINK,
                b'p' => PAD,
                _ => 0,
            }
    })
}

fn properties<'a>(entry: &Value<'a>, index: usize) -> Result<Properties<'a>, MetainfoError> {
    let mut attrs = attributes(entry);
    let mut link = None;
    if attrs & SYMLINK != 0 {
        match entry.get("symlink path").and_then(|path| path.as_list()) {
            Some(path) => link = Some(strings(path).ok_or(MetainfoError::BadPath(index))?),
            None => attrs &= !SYMLINK,
        }
    }
    let len = match (entry.get("length"), link.is_some()) {
        // BEP 47: a symlink has no bytes, whatever it says.
        (_, true) => 0,
        (Some(len), false) => len.as_uint().ok_or(MetainfoError::BadLength(index))?,
        (None, false) => return Err(MetainfoError::BadLength(index)),
    };
    Ok(Properties {
        len,
        attrs,
        link,
        root: 0,
    })
}

fn strings(list: crate::bencode::List<'_>) -> Option<Vec<&[u8]>> {
    list.iter().map(|part| part.as_bytes()).collect()
}

/// The one file of an info dict without `files` (BEP 3).
pub(super) fn v1_single(info: &Value<'_>, name: &[u8]) -> Result<Files, MetainfoError> {
    let mut files = Files::default();
    let mut properties = properties(info, 0)?;
    properties.attrs &= !PAD;
    files.push(&[name], 0, &properties)?;
    Ok(files)
}

/// An entry of `files`: where it goes, and what it is.
fn v1_entry<'a>(
    entry: &Value<'a>,
    index: usize,
) -> Result<(Vec<&'a [u8]>, Properties<'a>), MetainfoError> {
    if entry.as_dict().is_none() {
        return Err(MetainfoError::BadFiles);
    }
    let mut properties = properties(entry, index)?;
    let path = entry.get("path.utf-8").and_then(|path| path.as_list());
    let path = path.or_else(|| entry.get("path").and_then(|path| path.as_list()));
    let parts = path
        .map_or(Some(Vec::new()), strings)
        .ok_or(MetainfoError::BadPath(index))?;
    if parts
        .last()
        .is_some_and(|name| name.starts_with(BITCOMET_PADDING))
    {
        properties.attrs |= PAD;
    }
    // A pad file needs no path (BEP 47).
    if parts.is_empty() && properties.attrs & PAD == 0 {
        return Err(MetainfoError::BadPath(index));
    }
    Ok((parts, properties))
}

/// The entries of `files` (BEP 3).
pub(super) fn v1_list(list: &Value<'_>) -> Result<Files, MetainfoError> {
    let mut files = Files::default();
    for (index, entry) in list
        .as_list()
        .ok_or(MetainfoError::BadFiles)?
        .iter()
        .enumerate()
    {
        let (parts, properties) = v1_entry(&entry, index)?;
        files.push(&parts, 0, &properties)?;
    }
    Ok(files.complete())
}

/// The leaves of `file tree` (BEP 52), and whether it is a single file.
pub(super) fn v2_tree(tree: &Value<'_>) -> Result<(Files, bool), MetainfoError> {
    let mut files = Files::default();
    let mut walk = Walk::new(tree)?;
    let mut index = 0;
    while let Some(entry) = walk.next()? {
        let properties = v2_properties(&entry, index)?;
        files.push(&walk.parts, walk.shared, &properties)?;
        files.roots.push(properties.root);
        index += 1;
    }
    let single = index == 1 && walk.deepest == 1;
    Ok((files.complete(), single))
}

/// Both lists of a hybrid, which must name the same files in the same order.
///
/// `list` is `None` for a torrent whose v1 half is a single file called `name`.
pub(super) fn hybrid(
    info: &Value<'_>,
    name: &[u8],
    list: Option<&Value<'_>>,
    tree: &Value<'_>,
) -> Result<Files, MetainfoError> {
    let mut files = Files::default();
    let mut walk = Walk::new(tree)?;
    let mut one = |files: &mut Files, parts: &[&[u8]], v1: Properties<'_>| {
        let index = files.lens.len();
        let mut root = 0;
        if v1.attrs & PAD == 0 {
            let entry = walk.next()?.ok_or(MetainfoError::HalvesDisagree(index))?;
            let v2 = v2_properties(&entry, index)?;
            if walk.parts != parts || v1.len != v2.len || v1.link != v2.link {
                return Err(MetainfoError::HalvesDisagree(index));
            }
            root = v2.root;
        }
        files.push(parts, 0, &v1)?;
        files.roots.push(root);
        Ok(())
    };
    match list {
        None => {
            let mut v1 = properties(info, 0)?;
            v1.attrs &= !PAD;
            one(&mut files, &[name], v1)?;
        }
        Some(list) => {
            for (index, entry) in list
                .as_list()
                .ok_or(MetainfoError::BadFiles)?
                .iter()
                .enumerate()
            {
                let (parts, v1) = v1_entry(&entry, index)?;
                one(&mut files, &parts, v1)?;
            }
        }
    }
    if walk.next()?.is_some() {
        return Err(MetainfoError::HalvesDisagree(files.lens.len()));
    }
    Ok(files.complete())
}

fn v2_properties<'a>(entry: &Value<'a>, index: usize) -> Result<Properties<'a>, MetainfoError> {
    let mut properties = properties(entry, index)?;
    if properties.attrs & PAD != 0 {
        return Err(MetainfoError::PaddingInTree(index));
    }
    if properties.len > 0 {
        let root = entry
            .get("pieces root")
            .ok_or(MetainfoError::MissingRoot(index))?;
        if root.as_array::<32>().is_none_or(|root| *root == [0; 32]) {
            return Err(MetainfoError::MissingRoot(index));
        }
        properties.root = (root.span().end - 32) as u32;
    }
    Ok(properties)
}

/// Walks the leaves of a file tree in order, each byte once and without recursion.
struct Walk<'a> {
    cursor: Cursor<'a>,
    /// The path of the leaf last answered, or of the folder being walked.
    parts: Vec<&'a [u8]>,
    /// How many folders are open, the top of the tree included.
    open: usize,
    deepest: usize,
    /// How many parts of the path are those of the leaf before.
    shared: usize,
}

impl<'a> Walk<'a> {
    fn new(tree: &Value<'a>) -> Result<Walk<'a>, MetainfoError> {
        let tree = tree.as_dict().ok_or(MetainfoError::BadTree)?;
        Ok(Walk {
            cursor: tree.cursor(),
            parts: Vec::new(),
            open: 1,
            deepest: 0,
            shared: 0,
        })
    }

    /// The next file's entry; its path is then in `parts`.
    fn next(&mut self) -> Result<Option<Value<'a>>, MetainfoError> {
        self.shared = self.parts.len();
        while self.open > 0 {
            self.parts.truncate(self.open - 1);
            self.shared = self.shared.min(self.parts.len());
            let Some(name) = self.cursor.key() else {
                self.open -= 1;
                continue;
            };
            if name.is_empty() || !self.cursor.enter() {
                return Err(MetainfoError::BadTree);
            }
            self.parts.push(name);
            self.deepest = self.deepest.max(self.parts.len());
            // A file is a dict with nothing but a dict under an empty key, which sorts first.
            let mut inside = self.cursor.clone();
            if inside.key() != Some(b"") {
                self.open += 1;
                continue;
            }
            let entry = inside.value();
            if entry.as_dict().is_none() || inside.key().is_some() {
                return Err(MetainfoError::BadTree);
            }
            self.cursor = inside;
            return Ok(Some(entry));
        }
        Ok(None)
    }
}
