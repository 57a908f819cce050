//! Deleting what a transfer brought: to the trash where there is one.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use api::Deleted;
use store::StoreError;
use torrent::metainfo::Info;

/// Entries of a folder looked at to see whether all in it is the torrent's own.
const LOOK: usize = 1_000_000;

/// Deletes a torrent's own files at `root`. What else lies in its folder stays.
///
/// # Errors
/// What the disk says.
pub fn delete(info: &Info, root: &Path) -> Result<Deleted, StoreError> {
    let files = store::files_at(info, root);
    if files.is_empty() {
        return Ok(Deleted::Kept);
    }
    let whole = !info.is_single_file() && holds_only(root, &files);
    let paths = match whole {
        true => vec![root.to_owned()],
        false => files,
    };
    match trash::delete_all(&paths) {
        Ok(()) => {
            // Folders that are empty now, and what a trash that gave up half-way left.
            store::remove_files(info, root)?;
            Ok(Deleted::Trashed)
        }
        Err(error) => {
            tracing::info!(%error, "there is no trash here; the files are removed");
            store::remove_files(info, root)?;
            Ok(Deleted::Erased)
        }
    }
}

/// Is everything in this folder one of these files?
fn holds_only(root: &Path, files: &[PathBuf]) -> bool {
    let own: BTreeSet<&Path> = files.iter().map(PathBuf::as_path).collect();
    let mut folders = vec![root.to_owned()];
    let mut looked = 0;
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else {
            return false;
        };
        for entry in entries {
            looked += 1;
            let Ok(entry) = entry else { return false };
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            let path = entry.path();
            if looked > LOOK || !is_folder && !own.contains(path.as_path()) {
                return false;
            }
            if is_folder {
                folders.push(path);
            }
        }
    }
    true
}
