//! From "verified and written" to "durable": one batch syncs what was written, gives whole files their names,
//! and then writes the resume record. In this order a crash can only make the record say too little.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use crate::{
    disk::Disk,
    done::Done,
    error::StoreError,
    files::{Files, is_absent},
    home::{Home, Name},
    resume,
};

/// Beyond so many files (or folders) in one batch, one sync of the file system costs less than one for each.
const SYNC_EACH_MAX: usize = 64;

/// Makes everything verified so far durable. Facts go to `tell`; true if nothing failed.
///
/// `closing`: nothing more is expected to be written, so that the record may say so.
pub(crate) fn settle<D: Disk>(
    files: &Files<D>,
    home: &Home,
    closing: bool,
    tell: &mut dyn FnMut(Done),
) -> bool {
    let mut ok = true;
    let mut fail = |error| {
        ok = false;
        tell(Done::SettleFailed { id: home.id, error });
    };
    let (dirty, whole, verified) = {
        let mut facts = home.facts();
        let dirty = std::mem::take(&mut facts.dirty);
        // Their modification time is not settled until the next look.
        for &file in &dirty {
            facts.set_print(file as usize, None);
        }
        (
            dirty,
            std::mem::take(&mut facts.whole),
            facts.verified.clone(),
        )
    };
    let wrote = !dirty.is_empty();
    if let Err(error) = sync(files, home, &dirty) {
        let mut facts = home.facts();
        facts.dirty.extend(dirty);
        facts.whole.extend(whole);
        drop(facts);
        fail(error);
        return ok;
    }
    let mut folders = BTreeSet::new();
    let mut finished = Vec::new();
    for file in whole {
        match name_whole(files, home, file as usize) {
            Ok(true) => {
                folders.extend(home.whole_path(file as usize).parent().map(Path::to_owned));
                finished.push(file as usize);
            }
            Ok(false) => {}
            Err(error) => {
                home.facts().whole.push(file);
                fail(error);
            }
        }
    }
    if let Err(error) = empties(files, home, &mut folders) {
        fail(error);
    }
    if let Err(error) = sync_folders(files, home, &folders) {
        fail(error);
    }
    let unrecorded = {
        let mut facts = home.facts();
        let reopened = facts.closed && wrote;
        std::mem::take(&mut facts.unrecorded) || reopened || closing
    };
    if unrecorded && let Err(error) = resume::save(files, home, &verified, closing) {
        home.facts().unrecorded = true;
        fail(error);
    }
    for file in finished {
        tell(Done::FileFinished { id: home.id, file });
    }
    ok
}

fn sync<D: Disk>(files: &Files<D>, home: &Home, dirty: &BTreeSet<u32>) -> Result<(), StoreError> {
    if dirty.len() > SYNC_EACH_MAX {
        let root = &home.placement.root;
        return files
            .disk
            .sync_all(root)
            .map_err(|error| files.error(error, "sync", root, 0));
    }
    for &file in dirty {
        let open = files.reader(home, file as usize)?;
        files.disk.sync(&open).map_err(|error| {
            let path = home.path(file as usize, home.facts().name(file as usize));
            files.error(error, "sync", &path, 0)
        })?;
    }
    Ok(())
}

fn sync_folders<D: Disk>(
    files: &Files<D>,
    home: &Home,
    folders: &BTreeSet<PathBuf>,
) -> Result<(), StoreError> {
    if folders.len() > SYNC_EACH_MAX {
        let root = &home.placement.root;
        return files
            .disk
            .sync_all(root)
            .map_err(|error| files.error(error, "sync", root, 0));
    }
    for folder in folders {
        let folder = if folder.as_os_str().is_empty() {
            Path::new(".")
        } else {
            folder
        };
        files
            .disk
            .sync_dir(folder)
            .map_err(|error| files.error(error, "sync", folder, 0))?;
    }
    Ok(())
}

/// Cuts a whole file to its length, notes its fingerprint and gives it its final name. False if it keeps its
/// part name, because nobody asked for it, or if it is no longer whole.
fn name_whole<D: Disk>(files: &Files<D>, home: &Home, file: usize) -> Result<bool, StoreError> {
    {
        let facts = home.facts();
        if home.placement.read_only || !facts.is_whole(file) || !facts.wanted.has(file) {
            return Ok(false);
        }
    }
    let len = home.layout().file(file).len;
    let path = home.path(file, files.name(home, file));
    // By name: of many small files most are closed by now.
    let look = || {
        files
            .disk
            .look(&path)
            .ok_or_else(|| StoreError::Missing { path: path.clone() })
    };
    let mut stat = look()?;
    if stat.print.len > len {
        // Left by somebody who had another idea of this file.
        let open = files.writer(home, file)?;
        let cut = files
            .disk
            .set_len(&open, len)
            .and_then(|()| files.disk.sync(&open));
        cut.map_err(|error| files.error(error, "cut", &path, 0))?;
        stat = look()?;
    }
    if stat.print.len < len {
        return Err(StoreError::FileChanged { path });
    }
    files.finish(home, file)?;
    if home.info.file(file).executable {
        let path = home.whole_path(file);
        let made = files.disk.set_executable(&path);
        made.map_err(|error| files.error(error, "make executable", &path, 0))?;
    }
    home.facts().set_print(file, Some(stat.print));
    Ok(true)
}

/// Makes the empty files and the links (BEP 47) of a download, once.
fn empties<D: Disk>(
    files: &Files<D>,
    home: &Home,
    folders: &mut BTreeSet<PathBuf>,
) -> Result<(), StoreError> {
    if !home.facts().empties {
        return Ok(());
    }
    for file in 0..home.layout().files() {
        let extent = home.layout().file(file);
        if extent.len > 0 || extent.pad || !home.facts().wanted.has(file) {
            continue;
        }
        let path = home.whole_path(file);
        if files.disk.exists(&path) {
            continue;
        }
        folders.extend(path.parent().map(Path::to_owned));
        let target = home
            .info
            .file(file)
            .symlink()
            .map(|target| link_target(home, &path, target.as_ref()));
        let make = || match &target {
            Some(target) => files.disk.symlink(target, &path),
            None => files.disk.open(&path, crate::disk::Open::Create).map(drop),
        };
        let made = match make() {
            Err(error) if is_absent(&error) => path
                .parent()
                .map_or(Ok(()), |folder| files.disk.create_dir_all(folder))
                .and_then(|()| make()),
            other => other,
        };
        made.map_err(|error| files.error(error, "make", &path, 0))?;
        home.facts().set_name(file, Name::Whole);
    }
    home.facts().empties = false;
    Ok(())
}

/// The target of a link, as seen from the folder that holds the link: the torrent names it from its top folder.
fn link_target(home: &Home, link: &Path, target: &Path) -> PathBuf {
    let depth = link
        .strip_prefix(&home.placement.root)
        .map_or(0, |inside| inside.components().count().saturating_sub(1));
    let mut from_link: PathBuf = std::iter::repeat_n("..", depth).collect();
    from_link.push(target);
    from_link
}
