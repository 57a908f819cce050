//! What is shared: seeded random files, the torrents of them, and whether they arrived.

use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// The three kinds of torrent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// BEP 3.
    V1,
    /// BEP 52, and nothing else in it.
    V2,
    /// Both in one.
    Hybrid,
}

impl Kind {
    /// As command lines spell it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::V1 => "v1",
            Kind::V2 => "v2",
            Kind::Hybrid => "hybrid",
        }
    }
}

/// A file or a folder on disk.
#[derive(Debug, Clone)]
pub struct Content {
    /// Where it is.
    pub path: PathBuf,
}

impl Content {
    /// Makes a file (one entry with an empty path) or a folder of random bytes, the same for the same seed.
    pub(crate) fn make(path: PathBuf, files: &[(&str, u64)], seed: u64) -> Content {
        let mut random = fastrand::Rng::with_seed(seed);
        for (name, len) in files {
            let file = if name.is_empty() {
                path.clone()
            } else {
                path.join(name)
            };
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            let mut bytes = vec![0; *len as usize];
            random.fill(&mut bytes);
            fs::write(file, bytes).unwrap();
        }
        Content { path }
    }

    /// The last part of its path: the name the torrent gets.
    pub fn name(&self) -> &str {
        self.path.file_name().unwrap().to_str().unwrap()
    }

    /// Bytes in all files together.
    pub fn len(&self) -> u64 {
        files(&self.path)
            .values()
            .map(|path| path.metadata().unwrap().len())
            .sum()
    }

    /// Whether there is not a byte in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Panics unless `folder` holds exactly this content under its name: the same files, each
    /// with the same SHA-256, and no others.
    pub fn assert_in(&self, folder: &Path) {
        self.assert_nearly_in(folder, Forgive::default());
    }

    pub(crate) fn assert_nearly_in(&self, folder: &Path, forgive: Forgive) {
        let mut ours = digests(&self.path);
        let mut theirs = digests(&folder.join(self.name()));
        if forgive.pad_files {
            theirs.retain(|name, _| !name.starts_with(".pad/"));
        }
        if forgive.empty_files {
            let nothing = hex(&Sha256::digest([]));
            ours.retain(|name, digest| theirs.contains_key(name) || *digest != nothing);
        }
        let names = |of: &BTreeMap<String, String>| of.keys().cloned().collect::<Vec<_>>();
        assert_eq!(
            names(&ours),
            names(&theirs),
            "other files arrived than were shared"
        );
        let wrong: Vec<_> = ours
            .iter()
            .filter(|(name, digest)| theirs[*name] != **digest)
            .collect();
        assert!(wrong.is_empty(), "SHA-256 differs: {wrong:?}");
    }
}

/// What a client may do differently when it writes a torrent out.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Forgive {
    /// Writes pad files, as clients from before BEP 47 do.
    pub pad_files: bool,
    /// Leaves out files without a byte.
    pub empty_files: bool,
}

/// Every regular file at or below a path, by its path relative to it.
fn files(top: &Path) -> BTreeMap<String, PathBuf> {
    let mut found = BTreeMap::new();
    let mut folders = vec![top.to_path_buf()];
    while let Some(path) = folders.pop() {
        let kind =
            fs::symlink_metadata(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        if kind.is_dir() {
            folders.extend(
                fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        } else {
            found.insert(
                path.strip_prefix(top)
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .to_string(),
                path,
            );
        }
    }
    found
}

fn digests(top: &Path) -> BTreeMap<String, String> {
    files(top)
        .into_iter()
        .map(|(name, path)| (name, sha256(&path)))
        .collect()
}

fn sha256(path: &Path) -> String {
    let (mut file, mut hasher, mut buffer) =
        (File::open(path).unwrap(), Sha256::new(), vec![0; 1 << 18]);
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return hex(&hasher.finalize()),
            Ok(n) => hasher.update(&buffer[..n]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => panic!("{}: {e}", path.display()),
        }
    }
}

/// Lower-case hex digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A torrent file of some content.
#[derive(Debug, Clone)]
pub struct Torrent {
    /// The `.torrent` file.
    pub path: PathBuf,
    /// The content it was made of.
    pub content: Content,
    /// A link with its info-hashes and name, without trackers.
    pub magnet: String,
    /// 40 hex digits, unless it is v2 only.
    pub info_hash_v1: Option<String>,
    /// 64 hex digits, unless it is v1.
    pub info_hash_v2: Option<String>,
}

/// What a client is told to fetch.
#[derive(Debug, Clone)]
pub enum Source {
    /// A torrent file.
    File(PathBuf),
    /// A magnet link.
    Magnet(String),
}

impl Source {
    /// As one argument of a command.
    pub fn as_arg(&self) -> &str {
        match self {
            Source::File(path) => path.to_str().unwrap(),
            Source::Magnet(link) => link,
        }
    }
}

impl From<&Torrent> for Source {
    fn from(torrent: &Torrent) -> Source {
        Source::File(torrent.path.clone())
    }
}

impl From<&str> for Source {
    fn from(magnet: &str) -> Source {
        Source::Magnet(magnet.into())
    }
}

impl From<&String> for Source {
    fn from(magnet: &String) -> Source {
        Source::Magnet(magnet.clone())
    }
}
