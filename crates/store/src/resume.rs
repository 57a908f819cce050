//! The resume record: which pieces were verified and durable, so that a restart hashes again only what came
//! since. Byte by byte in `docs/design/resume-record.md`.
//!
//! A record is a hint that was true once. What contradicts it on disk is looked at again, not believed.

use std::{
    io::{self, IoSlice},
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};
use torrent::metainfo::Info;

use crate::{
    bits::Bits,
    disk::{Disk, Fingerprint, Open, RealDisk},
    error::StoreError,
    files::Files,
    home::{Facts, Home, NO_PRINT, Name, Placement, TorrentId},
    names::Naming,
};

const MAGIC: &[u8; 8] = b"starling";
const VERSION: u32 = 1;
/// Up to the bitfield: magic, version, flags, both info-hashes, pieces, files.
const HEADER: usize = 8 + 4 + 4 + 20 + 32 + 4 + 4;
/// Of each file: state, length, time.
const ENTRY: usize = 1 + 8 + 8;
const CHECKSUM: usize = 32;
/// Flag: nothing was to be written after this record.
const CLOSED: u32 = 1;

/// What a restart may believe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resume {
    /// Pieces verified and durable then, and still there.
    pub have: Bits,
    /// Pieces worth hashing ([`Store::check`](crate::Store::check)): they may be on disk, nobody knows.
    pub recheck: Bits,
    /// For [`Placement::known`].
    pub known: Vec<Fingerprint>,
    /// There were pieces, and no file of this torrent is there: it was deleted, or its drive is away.
    pub gone: bool,
    /// Why the record was not believed, or not all of it, in words.
    pub note: Option<String>,
}

impl Resume {
    /// Puts what is believed into a placement.
    pub fn apply(&self, placement: &mut Placement) {
        placement.have = Some(self.have.clone());
        placement.known = self.known.clone();
    }
}

/// Reads the record at `path` and compares it with what lies at `placement`. Without a record (or with a damaged
/// one, or that of another torrent) nothing is had, and every piece of a file that is there is worth a check.
///
/// # Errors
/// None: what cannot be read is not believed, and `note` says so.
pub fn load(path: &Path, info: &Info, placement: &Placement) -> Resume {
    load_from(&RealDisk, path, info, placement)
}

/// What one file's entry says.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing is known of it.
    Unknown = 0,
    /// Under its part name, with this fingerprint if the record is closed.
    Part = 1,
    /// Whole, under its final name, with this fingerprint.
    Whole = 2,
}

struct Record {
    closed: bool,
    have: Bits,
    files: Vec<(State, Fingerprint)>,
}

pub(crate) fn load_from<D: Disk>(
    disk: &D,
    path: &Path,
    info: &Info,
    placement: &Placement,
) -> Resume {
    let (record, mut note) = match read_whole(disk, path) {
        Ok(bytes) => match decode(&bytes, info) {
            Ok(record) => (Some(record), None),
            Err(why) => (
                None,
                Some(format!(
                    "the resume record {} {why}, so the data is checked",
                    path.display()
                )),
            ),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => (None, None),
        Err(error) => (
            None,
            Some(format!(
                "the resume record {} cannot be read ({error}), so the data is checked",
                path.display()
            )),
        ),
    };
    let layout = info.layout();
    let (pieces, count) = (layout.pieces() as usize, layout.files());
    let mut resume = Resume {
        have: Bits::new(pieces),
        recheck: Bits::new(pieces),
        known: vec![NO_PRINT; count],
        gone: false,
        note: None,
    };
    let Record {
        closed,
        have,
        files,
    } = record.unwrap_or_else(|| Record {
        closed: false,
        have: Bits::new(pieces),
        files: vec![(State::Unknown, NO_PRINT); count],
    });
    resume.have = have;
    // Names alone are needed of this; its torrent is in nobody's store.
    let mut home = Home::new(
        TorrentId(0),
        std::sync::Arc::new(info.clone()),
        placement.clone(),
    );
    if placement.read_only {
        home.naming = Naming::on(disk, info, &placement.root);
    }
    let root_is_there = disk.exists(&placement.root) || info.is_single_file();
    resume.gone = !resume.have.none();
    let mut changed = 0;
    for (file, &(state, print)) in files.iter().enumerate() {
        let extent = layout.file(file);
        if extent.pad || extent.len == 0 {
            continue;
        }
        let look = |name| {
            if root_is_there {
                disk.look(&home.path(file, name))
            } else {
                None
            }
        };
        let names = match home.begins_as_part(&home.facts(), file) {
            true => [Name::Part, Name::Whole],
            false => [Name::Whole, Name::Part],
        };
        let found = names.into_iter().find_map(|name| Some((look(name)?, name)));
        let (found, name) = (found.map(|(stat, _)| stat), found.map(|(_, name)| name));
        resume.gone &= found.is_none();
        let its_pieces = layout.file_pieces(file);
        let had = its_pieces
            .clone()
            .any(|piece| resume.have.has(piece as usize));
        let believed = match (found, state) {
            (Some(stat), State::Whole) => name == Some(Name::Whole) && stat.print == print,
            (Some(stat), State::Part) if closed => stat.print == print,
            // After a crash its time says nothing. Synced bytes cannot be beyond its end.
            (Some(stat), State::Part) => stat.print.len >= print.len,
            _ => !had,
        };
        if believed && state == State::Whole {
            resume.known[file] = print;
        }
        changed += usize::from(!believed);
        for piece in its_pieces {
            if !believed {
                resume.have.unset(piece as usize);
            }
            if found.is_some() && !resume.have.has(piece as usize) && !(closed && believed) {
                resume.recheck.set(piece as usize);
            }
        }
    }
    if changed > 0 && note.is_none() {
        note = Some(format!(
            "{changed} of {count} files changed since the download was left, so they are checked again"
        ));
    }
    resume.note = note;
    // A piece that one of its files cast doubt on is doubtful for all.
    for piece in resume.have.clone().iter() {
        resume.recheck.unset(piece);
    }
    resume
}

/// Writes the record of what `verified` says, durably and all or nothing.
pub(crate) fn save<D: Disk>(
    files: &Files<D>,
    home: &Home,
    verified: &Bits,
    closed: bool,
) -> Result<(), StoreError> {
    let Some(path) = &home.placement.record else {
        return Ok(());
    };
    let entries = entries(files, home, closed);
    let bytes = encode(home, verified, closed, &entries);
    let mut temporary = path.clone().into_os_string();
    temporary.push(".new");
    let temporary = PathBuf::from(temporary);
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let disk = &files.disk;
    let write = || -> io::Result<()> {
        disk.create_dir_all(folder)?;
        let file = disk.open(&temporary, Open::Create)?;
        disk.set_len(&file, 0)?;
        disk.write(&file, &mut [IoSlice::new(&bytes)], 0)?;
        disk.sync(&file)?;
        disk.rename(&temporary, path, true)?;
        disk.sync_dir(folder)
    };
    write().map_err(|error| files.error(error, "write", path, bytes.len() as u64))?;
    home.facts().closed = closed;
    Ok(())
}

fn entries<D: Disk>(files: &Files<D>, home: &Home, closed: bool) -> Vec<(State, Fingerprint)> {
    let entry = |facts: &Facts, file: usize| match (facts.name(file), facts.print(file)) {
        (Name::Whole, Some(print)) if facts.is_whole(file) => (State::Whole, print),
        (Name::Unknown, Some(print)) if facts.is_whole(file) => (State::Whole, print),
        (Name::Unknown, _) => (State::Unknown, NO_PRINT),
        (Name::Part | Name::Whole, _) => (State::Part, NO_PRINT),
    };
    let mut entries: Vec<(State, Fingerprint)> = {
        let facts = home.facts();
        (0..home.layout().files())
            .map(|file| entry(&facts, file))
            .collect()
    };
    for (file, (state, print)) in entries.iter_mut().enumerate() {
        if *state != State::Part {
            continue;
        }
        *print = Fingerprint {
            len: synced_end(home, file),
            mtime: 0,
        };
        let name = home.facts().name(file);
        if closed && let Some(stat) = files.disk.look(&home.path(file, name)) {
            *print = stat.print;
        }
    }
    entries
}

/// Where the last verified byte of a file ends.
fn synced_end(home: &Home, file: usize) -> u64 {
    let layout = home.layout();
    let extent = layout.file(file);
    let facts = home.facts();
    let last = layout
        .file_pieces(file)
        .rev()
        .find(|&piece| facts.verified.has(piece as usize));
    last.map_or(0, |piece| {
        let end = layout.piece_start(piece) + u64::from(layout.piece_len(piece));
        end.min(extent.start + extent.len) - extent.start
    })
}

fn read_whole<D: Disk>(disk: &D, path: &Path) -> io::Result<Vec<u8>> {
    let file = disk.open(path, Open::Read)?;
    let len = disk.stat(&file)?.print.len;
    // A million files and eight million pieces make less; more is no record of ours.
    if len > 32 << 20 {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = vec![0; len as usize];
    let got = disk.read(&file, &mut bytes, 0)?;
    bytes.truncate(got);
    Ok(bytes)
}

fn encode(home: &Home, verified: &Bits, closed: bool, entries: &[(State, Fingerprint)]) -> Vec<u8> {
    let hashes = home.info.hashes();
    let mut out =
        Vec::with_capacity(HEADER + verified.len() / 8 + entries.len() * ENTRY + CHECKSUM + 1);
    out.extend(MAGIC);
    out.extend(VERSION.to_le_bytes());
    out.extend(if closed { CLOSED } else { 0 }.to_le_bytes());
    out.extend(hashes.v1.unwrap_or_default());
    out.extend(hashes.v2.unwrap_or_default());
    out.extend((verified.len() as u32).to_le_bytes());
    out.extend((entries.len() as u32).to_le_bytes());
    out.extend(verified.to_bytes());
    for (state, print) in entries {
        out.push(*state as u8);
        out.extend(print.len.to_le_bytes());
        out.extend(print.mtime.to_le_bytes());
    }
    let checksum = Sha256::digest(&out);
    out.extend(checksum);
    out
}

/// The record of this very torrent, or why not.
fn decode(bytes: &[u8], info: &Info) -> Result<Record, &'static str> {
    const DAMAGED: &str = "is damaged";
    let body = bytes
        .len()
        .checked_sub(CHECKSUM)
        .map(|end| &bytes[..end])
        .ok_or(DAMAGED)?;
    if !body.starts_with(MAGIC) {
        return Err("is something else");
    }
    if Sha256::digest(body)[..] != bytes[body.len()..] || body.len() < HEADER {
        return Err(DAMAGED);
    }
    let number =
        |at: usize| u32::from_le_bytes([body[at], body[at + 1], body[at + 2], body[at + 3]]);
    if number(8) != VERSION {
        return Err("was written by another version of Starling");
    }
    let hashes = info.hashes();
    if body[16..36] != hashes.v1.unwrap_or_default()
        || body[36..68] != hashes.v2.unwrap_or_default()
    {
        return Err("belongs to another torrent");
    }
    let (pieces, files) = (number(68) as usize, number(72) as usize);
    if pieces != info.layout().pieces() as usize || files != info.layout().files() {
        return Err("belongs to another torrent");
    }
    let (bitfield, entries) = body[HEADER..]
        .split_at_checked(pieces.div_ceil(8))
        .ok_or(DAMAGED)?;
    if entries.len() != files * ENTRY {
        return Err(DAMAGED);
    }
    let have = Bits::from_bytes(bitfield, pieces).ok_or(DAMAGED)?;
    let mut decoded = Vec::with_capacity(files);
    for entry in entries.chunks_exact(ENTRY) {
        let state = match entry[0] {
            0 => State::Unknown,
            1 => State::Part,
            2 => State::Whole,
            _ => return Err(DAMAGED),
        };
        let mut eight = [0; 8];
        eight.copy_from_slice(&entry[1..9]);
        let len = u64::from_le_bytes(eight);
        eight.copy_from_slice(&entry[9..17]);
        decoded.push((
            state,
            Fingerprint {
                len,
                mtime: i64::from_le_bytes(eight),
            },
        ));
    }
    Ok(Record {
        closed: number(12) & CLOSED != 0,
        have,
        files: decoded,
    })
}
