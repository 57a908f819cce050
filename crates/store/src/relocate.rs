//! Files that go elsewhere, or away: one torrent's own, never what lies beside them.
//!
//! Within a file system files are renamed; between two they are copied, synced and only then removed. Both can be
//! interrupted at any moment and called again: what lies at the new place already is left there.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use torrent::metainfo::Info;

use crate::{
    disk::{Disk, Fingerprint, RealDisk},
    error::StoreError,
    home::PART,
    names::Naming,
};

/// Ending of a copy that is not whole yet.
const COPY: &str = ".moving";

/// Moves a torrent's files from the place `from` to the place `to`: the file itself, or the folder of a torrent
/// with several. Files that are not whole move too. The torrent must not be in a store.
///
/// # Errors
/// What the disk says. Files that were moved stay where they are now; the same call goes on with the others.
/// [`StoreError::Occupied`] if another file has a name that is needed: nothing was moved then.
pub fn relocate(info: &Info, from: &Path, to: &Path) -> Result<(), StoreError> {
    if from == to {
        return Ok(());
    }
    let moves: Vec<(PathBuf, PathBuf)> = names(info, from)
        .into_iter()
        .map(|name| (join(from, &name), join(to, &name)))
        .filter(|(from, _)| RealDisk.exists(from))
        .collect();
    let taken = |(from, to): &&(PathBuf, PathBuf)| RealDisk.exists(to) && !is_same(from, to);
    if let Some((_, path)) = moves.iter().find(taken) {
        return Err(StoreError::Occupied { path: path.clone() });
    }
    let mut folders = BTreeSet::new();
    for (from, to) in &moves {
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder).map_err(|error| failed(error, "make", folder, 0))?;
            folders.insert(folder.to_owned());
        }
        move_file(from, to)?;
    }
    for folder in &folders {
        RealDisk
            .sync_dir(folder)
            .map_err(|error| failed(error, "sync", folder, 0))?;
    }
    drop_empty(info, from);
    Ok(())
}

/// What belongs to a torrent at `root`: its files, whole or not, as far as they are there.
pub fn files_at(info: &Info, root: &Path) -> Vec<PathBuf> {
    names(info, root)
        .into_iter()
        .map(|name| join(root, &name))
        .filter(|path| RealDisk.exists(path))
        .collect()
}

/// Removes a torrent's own files at `root`, and the folders that are empty then.
///
/// # Errors
/// What the disk says; what is gone is gone.
pub fn remove_files(info: &Info, root: &Path) -> Result<(), StoreError> {
    for path in files_at(info, root) {
        fs::remove_file(&path).map_err(|error| failed(error, "remove", &path, 0))?;
    }
    drop_empty(info, root);
    Ok(())
}

/// Names below the root, both of each file; the empty one is the root itself.
fn names(info: &Info, root: &Path) -> Vec<String> {
    let naming = Naming::at(info, root);
    let single = info.is_single_file();
    let mut names = Vec::new();
    for (index, file) in info.files().enumerate() {
        if info.layout().file(index).pad {
            continue;
        }
        let name = if single { "" } else { naming.path(file) };
        names.push(name.to_owned());
        names.push(format!("{name}{PART}"));
    }
    names
}

pub(crate) fn join(root: &Path, name: &str) -> PathBuf {
    if name.is_empty() {
        return root.to_owned();
    }
    // A single file is its own root.
    if name == PART {
        let mut whole = root.as_os_str().to_owned();
        whole.push(PART);
        return whole.into();
    }
    root.join(name)
}

fn move_file(from: &Path, to: &Path) -> Result<(), StoreError> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {}
        Err(error) => return Err(failed(error, "move", from, 0)),
        Ok(()) => return Ok(()),
    }
    let meta = fs::symlink_metadata(from).map_err(|error| failed(error, "look at", from, 0))?;
    if meta.is_symlink() {
        let target = fs::read_link(from).map_err(|error| failed(error, "read", from, 0))?;
        RealDisk
            .symlink(&target, to)
            .map_err(|error| failed(error, "make", to, 0))?;
    } else {
        let mut copy = to.as_os_str().to_owned();
        copy.push(COPY);
        let copy = PathBuf::from(copy);
        let copied = copy_file(from, &copy, meta.modified().ok(), meta.len())
            .and_then(|()| fs::rename(&copy, to).map_err(|error| failed(error, "move", to, 0)));
        if let Err(error) = copied {
            // The half copy helps nobody.
            let _ = fs::remove_file(&copy);
            return Err(error);
        }
    }
    fs::remove_file(from).map_err(|error| failed(error, "remove", from, 0))
}

/// Copies holes as holes, and the time: the resume record knows the file by it.
pub(crate) fn copy_file(
    from: &Path,
    to: &Path,
    modified: Option<SystemTime>,
    len: u64,
) -> Result<(), StoreError> {
    let refused = |error| failed(error, "copy to", to, len);
    // The system's own call keeps holes where the file systems can, and works in the kernel.
    fs::copy(from, to).map_err(refused)?;
    let file = fs::File::options().write(true).open(to).map_err(refused)?;
    if let Some(modified) = modified {
        file.set_modified(modified).map_err(refused)?;
    }
    file.sync_all().map_err(refused)
}

/// Two names of one file, the rest of a move that was interrupted between copying and removing, or empty both.
fn is_same(from: &Path, to: &Path) -> bool {
    let print = |path| -> Option<Fingerprint> { RealDisk.look(path).map(|stat| stat.print) };
    let (from, to) = (print(from), print(to));
    from.is_some_and(|from| to.is_some_and(|to| from == to || from.len == 0 && to.len == 0))
}

/// Removes the folders of a torrent that hold nothing any more, the innermost first.
fn drop_empty(info: &Info, root: &Path) {
    if info.is_single_file() {
        return;
    }
    let mut folders: Vec<PathBuf> = names(info, root)
        .iter()
        .flat_map(|name| {
            let inside = Path::new(name).ancestors().skip(1);
            inside.map(|folder| root.join(folder)).collect::<Vec<_>>()
        })
        .collect();
    folders.sort_unstable_by(|a, b| b.cmp(a));
    folders.dedup();
    for folder in folders {
        // One that is not empty stays: what is in it is not ours.
        let _ = fs::remove_dir(folder);
    }
}

pub(crate) fn failed(error: io::Error, op: &'static str, path: &Path, need: u64) -> StoreError {
    StoreError::of(error, op, path, need, || RealDisk.free(path).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use torrent::bencode::Owned;

    use super::*;

    fn album() -> Info {
        let file = |path: &[&str]| {
            let parts = Owned::list(path.iter().map(|part| Owned::bytes(*part)));
            Owned::dict([("length", Owned::Int(16)), ("path", parts)])
        };
        let files = [file(&["one"]), file(&["disc 2", "two"])];
        let info = Owned::dict([
            ("files", Owned::list(files)),
            ("name", Owned::bytes("album")),
            ("piece length", Owned::Int(16384)),
            ("pieces", Owned::bytes([0; 20])),
        ]);
        Info::parse(&info.encode()).unwrap()
    }

    fn write(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Another file system than that of temporary files.
    fn elsewhere() -> Option<tempfile::TempDir> {
        tempfile::tempdir_in("/dev/shm").ok()
    }

    fn moves_between(from: &Path, to: &Path) {
        let (from, to) = (from.join("album"), to.join("deep/new name"));
        write(&from.join("one"), "1111111111111111");
        write(&from.join("disc 2/two.part"), "2222");
        write(&from.join("disc 2/mine.txt"), "not of the torrent");
        let time = fs::metadata(from.join("one")).unwrap().modified().unwrap();
        relocate(&album(), &from, &to).unwrap();
        assert_eq!(fs::read(to.join("one")).unwrap(), b"1111111111111111");
        assert_eq!(fs::read(to.join("disc 2/two.part")).unwrap(), b"2222");
        let moved = fs::metadata(to.join("one")).unwrap().modified().unwrap();
        assert_eq!(moved, time);
        assert!(!from.join("one").exists() && from.join("disc 2/mine.txt").exists());
    }

    #[test]
    fn files_move_and_what_lies_beside_them_stays() {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        moves_between(a.path(), b.path());
        if let Some(shm) = elsewhere() {
            moves_between(shm.path(), tempfile::tempdir().unwrap().path());
        }
    }

    #[test]
    fn a_move_that_was_interrupted_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("a"), dir.path().join("b"));
        write(&from.join("disc 2/two"), "2222222222222222");
        write(&to.join("one"), "1111111111111111");
        relocate(&album(), &from, &to).unwrap();
        assert!(to.join("disc 2/two").exists() && !from.exists());
    }

    #[test]
    fn an_empty_file_at_both_places_is_not_in_the_way() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("a"), dir.path().join("b"));
        write(&from.join("one"), "");
        write(&to.join("one"), "");
        relocate(&album(), &from, &to).unwrap();
        assert!(to.join("one").exists() && !from.exists());
    }

    #[test]
    fn a_foreign_file_in_the_way_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("a"), dir.path().join("b"));
        write(&from.join("one"), "1111111111111111");
        write(&from.join("disc 2/two"), "2222222222222222");
        write(&to.join("disc 2/two"), "somebody else's");
        assert!(matches!(
            relocate(&album(), &from, &to),
            Err(StoreError::Occupied { .. })
        ));
        assert!(from.join("one").exists() && !to.join("one").exists());
    }

    #[test]
    fn only_its_own_files_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("album");
        write(&root.join("one"), "1");
        write(&root.join("disc 2/two.part"), "2");
        write(&root.join("cover.jpg"), "mine");
        remove_files(&album(), &root).unwrap();
        assert!(root.join("cover.jpg").exists() && !root.join("disc 2").exists());
        fs::remove_file(root.join("cover.jpg")).unwrap();
        remove_files(&album(), &root).unwrap();
        assert!(!root.exists());
    }
}
