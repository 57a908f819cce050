//! Which names existing data goes by: those made safe for every system ([`FileRef::path`]), or those that
//! the torrent lists ([`FileRef::listed_path`]).
//!
//! What is fetched always gets safe names. What is only read may have been made elsewhere, or be what the
//! torrent was made from: there `a:b` is called so, and `README` lies beside `readme`.

use std::path::{Path, PathBuf};

use torrent::metainfo::{FileRef, Info};

use crate::disk::{Disk, RealDisk};

/// Files looked for, of those with two names: enough to tell, and soon done in a torrent of a million.
const LOOKED_FOR: usize = 1000;

/// The names of a torrent's files in one folder. For all of them alike: one file's listed path can be
/// another's safe one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Naming {
    /// Names that every system takes.
    #[default]
    Safe,
    /// Names as the torrent has them.
    Listed,
}

impl Naming {
    /// Under which more of the content at `root` is there; [`Safe`](Self::Safe) if it makes no difference.
    pub fn at(info: &Info, root: &Path) -> Naming {
        Naming::on(&RealDisk, info, root)
    }

    pub(crate) fn on(disk: &impl Disk, info: &Info, root: &Path) -> Naming {
        if info.is_single_file() {
            return Naming::Safe;
        }
        let is_there = |path: &str| disk.exists(&root.join(path));
        let two_names = info
            .files()
            .filter_map(|file| Some((file.path(), file.listed_path()?)));
        let (mut safe, mut listed) = (0, 0);
        for names in two_names.take(LOOKED_FOR) {
            safe += usize::from(is_there(names.0));
            listed += usize::from(is_there(names.1));
        }
        if listed > safe {
            Naming::Listed
        } else {
            Naming::Safe
        }
    }

    /// The path of a file, relative to its torrent's folder.
    pub fn path<'a>(self, file: FileRef<'a>) -> &'a str {
        let listed = file.listed_path().filter(|_| self == Naming::Listed);
        listed.unwrap_or(file.path())
    }
}

/// The content of a torrent in the folder `dir`: under the torrent's name, in the spelling that is there.
pub fn content_in(dir: &Path, info: &Info) -> PathBuf {
    let safe = dir.join(info.name());
    let listed = info.listed_name().map(|name| dir.join(name));
    let listed = listed.filter(|listed| !RealDisk.exists(&safe) && RealDisk.exists(listed));
    listed.unwrap_or(safe)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use torrent::bencode::Owned;

    use super::*;

    /// A v1 torrent of files of 16 bytes, and so of as many pieces.
    fn info(name: &str, paths: &[&str]) -> Info {
        let file = |path: &&str| {
            let parts = Owned::list(path.split('/').map(Owned::bytes));
            Owned::dict([("length", Owned::Int(16)), ("path", parts)])
        };
        let info = Owned::dict([
            ("files", Owned::list(paths.iter().map(file))),
            ("name", Owned::bytes(name)),
            ("piece length", Owned::Int(16)),
            ("pieces", Owned::bytes(vec![7; 20 * paths.len()])),
        ]);
        Info::parse(&info.encode()).unwrap()
    }

    fn laid_out(paths: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for path in paths {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, [1; 16]).unwrap();
        }
        folder
    }

    #[test]
    fn data_goes_by_the_names_under_which_more_of_it_is_there() {
        let listed = ["README", "a:b", "a_b", "con/x", "readme"];
        let info = info("album", &listed);
        let safe: Vec<&str> = info.files().map(|file| file.path()).collect();
        assert_eq!(safe, ["README", "a_b", "a_b (2)", "_con/x", "readme (2)"]);
        let at = |paths: &[&str]| Naming::at(&info, laid_out(paths).path());
        assert_eq!(at(&listed), Naming::Listed);
        assert_eq!(at(&safe), Naming::Safe);
        assert_eq!(at(&["a:b", "a_b"]), Naming::Listed);
        assert_eq!(at(&["README"]), Naming::Safe);
        assert_eq!(at(&[]), Naming::Safe);
        let called =
            |naming: Naming| -> Vec<&str> { info.files().map(|file| naming.path(file)).collect() };
        assert_eq!(called(Naming::Listed), listed);
        assert_eq!(called(Naming::Safe), safe);
    }

    #[test]
    fn content_is_found_under_the_name_that_is_there() {
        let info = info("a:b", &["x"]);
        for (there, found) in [
            (&["a:b/x"][..], "a:b"),
            (&["a:b/x", "a_b/x"], "a_b"),
            (&[], "a_b"),
        ] {
            let folder = laid_out(there);
            assert_eq!(content_in(folder.path(), &info), folder.path().join(found));
        }
    }
}
