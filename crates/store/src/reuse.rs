//! Files of one torrent that another one has, too: copied, never shared. Two transfers that write to one file would
//! each break what the other has verified.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use torrent::metainfo::Info;

use crate::disk::{Disk, RealDisk};
use crate::error::StoreError;
use crate::home::PART;
use crate::names::Naming;
use crate::relocate::{copy_file, failed, join};

/// Ending of a copy that is not whole yet.
const COPY: &str = ".copying";

/// Where file `file` of a torrent lies at `root`, if it is there and as long as it should be.
pub fn whole_file_at(info: &Info, root: &Path, file: usize) -> Option<PathBuf> {
    let naming = Naming::at(info, root);
    let path = join(root, &name(info, naming, file));
    let stat = RealDisk.look(&path)?;
    (stat.print.len == info.layout().file(file).len).then_some(path)
}

/// Copies files to where those of a torrent belong at `root`: each pair is the index of a file and a file like it. Where
/// the file system can, the copy shares its blocks until one of the two changes. The torrent must not be in a store, and
/// what was copied is to be checked. A file that is there under its final name is left as it is; one that is only begun
/// is replaced.
///
/// # Errors
/// What the disk says. Files that were copied stay; nothing half copied does.
pub fn take_over(info: &Info, root: &Path, files: &[(usize, PathBuf)]) -> Result<(), StoreError> {
    for (file, from) in files {
        let name = name(info, Naming::Safe, *file);
        let to = join(root, &name);
        if RealDisk.exists(&to) {
            continue;
        }
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder).map_err(|error| failed(error, "make", folder, 0))?;
        }
        let mut copy = to.as_os_str().to_owned();
        copy.push(COPY);
        let copy = PathBuf::from(copy);
        let len = info.layout().file(*file).len;
        let copied = copy_file(from, &copy, None, len)
            .and_then(|()| fs::rename(&copy, &to).map_err(|error| failed(error, "move", &to, 0)));
        if let Err(error) = copied {
            // The half copy helps nobody.
            let _ = fs::remove_file(&copy);
            return Err(error);
        }
        let part = join(root, &format!("{name}{PART}"));
        match fs::remove_file(&part) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed(error, "remove", &part, 0));
            }
            _ => {}
        }
    }
    Ok(())
}

fn name(info: &Info, naming: Naming, file: usize) -> String {
    match info.is_single_file() {
        true => String::new(),
        false => naming.path(info.file(file)).to_owned(),
    }
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
            ("piece length", Owned::Int(16)),
            ("pieces", Owned::bytes(vec![7; 40])),
        ]);
        Info::parse(&info.encode()).unwrap()
    }

    #[test]
    fn a_file_is_copied_and_what_is_there_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let (root, other) = (folder.path().join("album"), folder.path().join("other"));
        fs::create_dir_all(root.join("disc 2")).unwrap();
        fs::write(root.join("one"), [1; 16]).unwrap();
        fs::write(root.join("disc 2/two.part"), [2; 3]).unwrap();
        fs::write(&other, [9; 16]).unwrap();
        take_over(&album(), &root, &[(0, other.clone()), (1, other.clone())]).unwrap();
        assert_eq!(fs::read(root.join("one")).unwrap(), [1; 16]);
        assert_eq!(fs::read(root.join("disc 2/two")).unwrap(), [9; 16]);
        assert_eq!(fs::read_dir(root.join("disc 2")).unwrap().count(), 1);
        fs::write(root.join("disc 2/two"), [8; 16]).unwrap();
        assert_eq!(
            fs::read(&other).unwrap(),
            [9; 16],
            "the original is another file"
        );
        assert_eq!(whole_file_at(&album(), &root, 0), Some(root.join("one")));
        fs::write(root.join("one"), [1; 15]).unwrap();
        assert_eq!(whole_file_at(&album(), &root, 0), None);
    }

    #[test]
    fn nothing_half_copied_stays() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("album");
        let gone = folder.path().join("gone");
        assert!(take_over(&album(), &root, &[(0, gone)]).is_err());
        assert_eq!(fs::read_dir(&root).unwrap().count(), 0);
    }
}
