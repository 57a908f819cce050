//! Files that are their owner's alone, replaced whole or not at all.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use zeroize::Zeroizing;

use super::IdentityError;

/// Permissions that nobody but the owner may have of a file.
const FILE: u32 = 0o077;
/// And of the folder: who can write there can put other keys in place of ours.
const FOLDER: u32 = 0o022;

fn system<'a>(op: &'static str, path: &'a Path) -> impl Fn(io::Error) -> IdentityError + 'a {
    move |source| IdentityError::System {
        op,
        path: path.to_owned(),
        source,
    }
}

fn check(metadata: &fs::Metadata, forbidden: u32, path: &Path) -> Result<(), IdentityError> {
    match metadata.mode() & forbidden {
        0 => Ok(()),
        _ => Err(IdentityError::Exposed {
            path: path.to_owned(),
            mode: metadata.mode() & 0o777,
        }),
    }
}

/// Makes the folder and those it is in, if they are not there.
pub(super) fn folder(path: &Path) -> Result<(), IdentityError> {
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder
        .create(path)
        .map_err(system("make the folder", path))
}

/// A file in the folder, as it is on disk; `None` if it is not there. Above `most` bytes, some of it.
pub(super) fn read(
    folder: &Path,
    path: &Path,
    most: usize,
) -> Result<Option<Zeroizing<Vec<u8>>>, IdentityError> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(system("read", path)(error)),
    };
    let of_folder = fs::metadata(folder).map_err(system("look at", folder))?;
    check(&of_folder, FOLDER, folder)?;
    // Of what was opened, whatever stands under its name by now.
    let metadata = file.metadata().map_err(system("look at", path))?;
    check(&metadata, FILE, path)?;
    // All at once: a buffer that grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(most + 1));
    let mut limited = (&mut file).take(most as u64 + 1);
    limited
        .read_to_end(&mut bytes)
        .map_err(system("read", path))?;
    Ok(Some(bytes))
}

/// Puts a file there so that a crash leaves the old one or the new, and the new one stays. The folder's lock is held.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), IdentityError> {
    let new = path.with_extension("new");
    // One that a crash left behind.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(system("replace", &new)(error));
        }
        _ => {}
    }
    let write = || {
        let mut options = OpenOptions::new();
        let mut file = options
            .create_new(true)
            .write(true)
            .mode(0o600)
            .open(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        match path.parent() {
            Some(folder) => File::open(folder)?.sync_all(),
            None => Ok(()),
        }
    };
    write().map_err(system("write", path))
}

/// An empty file of the owner's, made if it is not there.
pub(super) fn open_own(path: &Path) -> Result<File, IdentityError> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true).mode(0o600);
    options.open(path).map_err(system("open", path))
}
