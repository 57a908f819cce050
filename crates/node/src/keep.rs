//! The state folder: resume records, torrents whose metadata came from peers, known DHT nodes.
//!
//! ```text
//! state/resume/<info-hash>.resume   what is verified (docs/design/resume-record.md)
//! state/torrents/<info-hash>.torrent  or .info, while piece layers are missing
//! state/torrents/<info-hash>.place    where its content is: only a database that is lost needs it
//! state/torrents/<info-hash>.webseeds  what the person changed of its web seeds
//! state/dht-nodes                   our node id, and that over IPv6, then a known node a line: id and address
//! ```

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use torrent::ids::InfoHashes;
use torrent::metainfo::{Info, Metainfo};

/// The state folder.
#[derive(Clone, Debug)]
pub struct Keep {
    dir: PathBuf,
}

impl Keep {
    /// Makes the folder and its parts.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(dir: &Path) -> io::Result<Keep> {
        fs::create_dir_all(dir.join("resume"))?;
        fs::create_dir_all(dir.join("torrents"))?;
        Ok(Keep {
            dir: dir.to_owned(),
        })
    }

    /// Where the resume record of this torrent in this place belongs: the same torrent in two
    /// folders has two.
    pub fn record(&self, hashes: &InfoHashes, root: &Path) -> PathBuf {
        let place = std::path::absolute(root).unwrap_or_else(|_| root.to_owned());
        let mark = torrent::merkle::leaf(place.as_os_str().as_encoded_bytes());
        let name = Keep::names(hashes).next().unwrap_or_default();
        let name = format!("{name}-{}.resume", torrent::hex::encode(&mark[..4]));
        self.dir.join("resume").join(name)
    }

    /// Keeps a torrent whose metadata came from peers, under each of its hashes. A torrent file
    /// needs the piece layers of its v2 files; while they are not all known, the info dictionary
    /// is kept alone.
    pub fn save_torrent(&self, metainfo: &Metainfo) -> io::Result<()> {
        let whole = metainfo
            .piece_layers
            .missing(&metainfo.info)
            .next()
            .is_none();
        for name in Keep::names(&metainfo.info.hashes()) {
            let path = |ending| self.dir.join("torrents").join(format!("{name}.{ending}"));
            if whole {
                write_whole(&path("torrent"), &metainfo.to_bytes())?;
                let _ = fs::remove_file(path("info"));
            } else {
                write_whole(&path("info"), metainfo.info.raw())?;
            }
        }
        Ok(())
    }

    /// A torrent kept earlier, under either hash; its piece layers may be missing.
    pub fn load_torrent(&self, hashes: &InfoHashes) -> Option<Metainfo> {
        let read = |name: &str, ending| {
            fs::read(self.dir.join("torrents").join(format!("{name}.{ending}"))).ok()
        };
        let load = |name: String| {
            let torrent = read(&name, "torrent").and_then(|bytes| Metainfo::parse(&bytes).ok());
            torrent.or_else(|| {
                let info = read(&name, "info").and_then(|bytes| Info::parse(&bytes).ok())?;
                Some(Metainfo::of(info))
            })
        };
        Keep::names(hashes)
            .filter_map(load)
            .find(|m| hashes.agrees(&m.info.hashes()))
    }

    /// Keeps where a torrent's content is, and whether it is only read: a first byte `r` or `w`, then the path.
    pub fn save_place(&self, hashes: &InfoHashes, root: &Path, read_only: bool) -> io::Result<()> {
        let root = std::path::absolute(root)?;
        let mut text = vec![if read_only { b'r' } else { b'w' }];
        text.extend_from_slice(root.as_os_str().as_encoded_bytes());
        let Some(name) = Keep::names(hashes).next() else {
            return Ok(());
        };
        write_whole(
            &self.dir.join("torrents").join(format!("{name}.place")),
            &text,
        )
    }

    /// All torrents that are kept with their place, and whether they are only read. One that cannot be read is left out.
    pub fn placed(&self) -> Vec<(Metainfo, PathBuf, bool)> {
        let entries = fs::read_dir(self.dir.join("torrents"))
            .into_iter()
            .flatten()
            .flatten();
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        paths.retain(|path| path.extension().is_some_and(|ending| ending == "place"));
        paths.sort();
        let placed = |path: PathBuf| {
            let text = fs::read(&path).ok()?;
            let (&kind, root) = text.split_first()?;
            let metainfo = Metainfo::parse(&fs::read(path.with_extension("torrent")).ok()?).ok()?;
            let root = std::ffi::OsStr::from_bytes(root);
            Some((metainfo, PathBuf::from(root), kind == b'r'))
        };
        paths.into_iter().filter_map(placed).collect()
    }

    /// Keeps what the person changed of a torrent's web seeds: those added (`true`) and those taken away. One a line,
    /// `+` or `-` and the URL.
    pub fn save_web_seeds(
        &self,
        hashes: &InfoHashes,
        changes: &[(String, bool)],
    ) -> io::Result<()> {
        let line =
            |(url, added): &(String, bool)| format!("{}{url}\n", if *added { '+' } else { '-' });
        let text: String = changes.iter().map(line).collect();
        match Keep::names(hashes).next() {
            Some(name) => write_whole(&self.web_seeds_path(&name), text.as_bytes()),
            None => Ok(()),
        }
    }

    /// What [`save_web_seeds`](Self::save_web_seeds) kept, under either hash.
    pub fn load_web_seeds(&self, hashes: &InfoHashes) -> Vec<(String, bool)> {
        let mut names = Keep::names(hashes);
        let text = names.find_map(|name| fs::read_to_string(self.web_seeds_path(&name)).ok());
        let change = |line: &str| match line.split_at_checked(1)? {
            ("+", url) => Some((url.to_owned(), true)),
            ("-", url) => Some((url.to_owned(), false)),
            _ => None,
        };
        text.unwrap_or_default()
            .lines()
            .filter_map(change)
            .collect()
    }

    fn web_seeds_path(&self, name: &str) -> PathBuf {
        self.dir.join("torrents").join(format!("{name}.webseeds"))
    }

    /// Forgets a torrent, and what is recorded of it at `root`.
    pub fn forget(&self, hashes: &InfoHashes, root: Option<&Path>) {
        if let Some(root) = root {
            self.forget_record(hashes, root);
        }
        for name in Keep::names(hashes) {
            for ending in ["torrent", "info", "place", "webseeds"] {
                remove(&self.dir.join("torrents").join(format!("{name}.{ending}")));
            }
        }
    }

    /// Forgets what is recorded of a torrent at `root`: all of it is hashed again.
    pub fn forget_record(&self, hashes: &InfoHashes, root: &Path) {
        remove(&self.record(hashes, root));
    }

    /// The data of a torrent lies elsewhere now.
    pub fn move_record(&self, hashes: &InfoHashes, from: &Path, to: &Path) {
        let (from, to) = (self.record(hashes, from), self.record(hashes, to));
        if from != to
            && let Err(error) = fs::rename(&from, &to)
        {
            tracing::warn!(%error, "the resume record did not follow; the data will be checked");
        }
    }

    /// The names a torrent goes by: one for each hash.
    fn names(hashes: &InfoHashes) -> impl Iterator<Item = String> {
        let v1 = hashes.v1.map(|h| torrent::hex::encode(&h));
        v1.into_iter()
            .chain(hashes.v2.map(|h| torrent::hex::encode(&h)))
    }

    /// The DHT nodes saved last.
    pub fn load_nodes(&self) -> String {
        fs::read_to_string(self.dir.join("dht-nodes")).unwrap_or_default()
    }

    /// Keeps DHT nodes for the next start.
    pub fn save_nodes(&self, text: &str) -> io::Result<()> {
        write_whole(&self.dir.join("dht-nodes"), text.as_bytes())
    }
}

/// Removes a file of ours; that it is not there is as good.
fn remove(path: &Path) {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(%error, path = %path.display(), "could not be removed");
        }
        _ => {}
    }
}

/// Writes a file so that a crash leaves the old or the new one, never half of either.
fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, bytes)?;
    fs::rename(new, path)
}
