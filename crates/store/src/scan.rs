//! What would be shared: walks a folder, and notes what a person should know before strangers get it.
//!
//! Nothing is read but names and attributes. Links are never followed out of the folder, so nothing is shared
//! that does not lie in it.

use std::{
    fmt, fs, io,
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Component, Path, PathBuf},
};

use rustix::fs::Access;
use torrent::author::Source;

use crate::error::StoreError;

/// Warnings kept of each kind; more are counted ([`Scan::more`]). A folder can hold a million hidden files.
const MAX_WARNINGS: usize = 100;

/// Everything below a path that can be shared.
#[derive(Debug, Clone, Default)]
pub struct Scan {
    /// What a torrent of it would be called: the name of the file or folder.
    pub name: String,
    /// It is one file and no folder.
    pub single: bool,
    /// For [`torrent::author::choose`], in the order of a torrent's file tree.
    pub sources: Vec<Source>,
    /// Where each of the sources lies.
    pub paths: Vec<PathBuf>,
    /// Bytes of all files.
    pub total: u64,
    /// What should be shown before it is shared.
    pub warnings: Vec<Warning>,
    /// Warnings there were beyond those kept.
    pub more: usize,
}

impl Scan {
    fn warn(&mut self, warning: Warning) {
        let same =
            |other: &&Warning| std::mem::discriminant(*other) == std::mem::discriminant(&warning);
        if self.warnings.iter().filter(same).count() < MAX_WARNINGS {
            self.warnings.push(warning);
        } else {
            self.more += 1;
        }
    }
}

/// Something to know before sharing. Paths are relative to the folder.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Warning {
    /// It looks like a key, a password or the like. It is shared if the person agrees.
    Secret {
        /// Where.
        path: String,
        /// What it looks like.
        what: &'static str,
    },
    /// A file or folder whose name begins with a dot. It is shared.
    Hidden {
        /// Where.
        path: String,
    },
    /// A link that leads out of the folder, or nowhere. Left out.
    LinkLeaves {
        /// Where.
        path: String,
        /// Where it leads.
        target: PathBuf,
    },
    /// A file or folder that may not be read. Left out.
    Unreadable {
        /// Where.
        path: String,
        /// The system's words.
        why: String,
    },
    /// Neither file nor folder nor link. Left out.
    Special {
        /// Where.
        path: String,
        /// What it is.
        what: &'static str,
    },
    /// A file or folder whose name is not Unicode, which a torrent cannot say. Left out.
    NotUnicode {
        /// Where, as far as it can be said.
        path: String,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Warning::Secret { path, what } => write!(f, "{path} looks like {what}"),
            Warning::Hidden { path } => write!(f, "{path} is hidden"),
            Warning::LinkLeaves { path, target } => {
                write!(
                    f,
                    "{path} is a link to {}, which is not in the folder; it is left out",
                    target.display()
                )
            }
            Warning::Unreadable { path, why } => {
                write!(f, "{path} cannot be read ({why}); it is left out")
            }
            Warning::Special { path, what } => write!(f, "{path} is a {what}; it is left out"),
            Warning::NotUnicode { path } => write!(
                f,
                "{path} has a name that is not Unicode, which no torrent can hold; it is left out. Rename it to share it"
            ),
        }
    }
}

/// Lists what lies at `path`, a file or a folder.
///
/// # Errors
/// If `path` itself is not there, cannot be read, or is neither file nor folder. What is wrong further down becomes
/// a [`Warning`].
pub fn scan(path: &Path) -> Result<Scan, StoreError> {
    let error = |error: io::Error| StoreError::of(error, "read", path, 0, || 0);
    let root = path.canonicalize().map_err(error)?;
    let meta = fs::metadata(&root).map_err(error)?;
    let name = path
        .components()
        .next_back()
        .filter(|last| matches!(last, Component::Normal(_)));
    let name = name
        .map(|name| name.as_os_str())
        .or(root.file_name())
        .unwrap_or("root".as_ref());
    let mut scan = Scan {
        name: name.to_string_lossy().into_owned(),
        single: meta.is_file(),
        ..Scan::default()
    };
    if meta.is_file() {
        fs::File::open(&root).map_err(error)?;
        let name = scan.name.clone();
        note_name(&mut scan, &name);
        scan.sources.push(Source {
            path: name,
            len: meta.len(),
            executable: is_executable(&meta),
            ..Source::default()
        });
        scan.paths.push(root);
        scan.total = meta.len();
        return Ok(scan);
    }
    if !meta.is_dir() {
        return Err(error(io::Error::other("it is neither a file nor a folder")));
    }
    fs::read_dir(&root).map_err(error)?;
    // What is still to be looked at, the next one last.
    let mut found = Vec::new();
    read_folder(&mut scan, &root, "", &mut found);
    while let Some((at, path)) = found.pop() {
        look(&mut scan, &root, at, path, &mut found);
    }
    Ok(scan)
}

/// Something found: where it lies, and its path in the torrent.
type Found = (PathBuf, String);

/// Puts what a folder holds behind `found`, the first of it last. So the tree is gone through part by part, as a
/// torrent's file tree has its files.
fn read_folder(scan: &mut Scan, folder: &Path, inside: &str, found: &mut Vec<Found>) {
    let mut unreadable = |error: io::Error| {
        scan.warn(Warning::Unreadable {
            path: inside.into(),
            why: error.to_string(),
        });
    };
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => return unreadable(error),
    };
    let before = found.len();
    for entry in entries {
        match entry {
            Ok(entry) => {
                let name = entry.file_name();
                let slash = if inside.is_empty() { "" } else { "/" };
                let path = format!("{inside}{slash}{}", name.to_string_lossy());
                found.push((entry.path(), path));
            }
            Err(error) => unreadable(error),
        }
    }
    found[before..].sort_unstable_by(|(_, a), (_, b)| b.cmp(a));
}

/// Takes one thing up into the scan, or what a folder holds into `found`.
fn look(scan: &mut Scan, root: &Path, at: PathBuf, path: String, found: &mut Vec<Found>) {
    if at.file_name().is_some_and(|name| name.to_str().is_none()) {
        return scan.warn(Warning::NotUnicode { path });
    }
    note_name(scan, &path);
    let unreadable = |error: io::Error, path| Warning::Unreadable {
        path,
        why: error.to_string(),
    };
    // Of the link itself, where it is one.
    let meta = match fs::symlink_metadata(&at) {
        Ok(meta) => meta,
        Err(error) => return scan.warn(unreadable(error, path)),
    };
    let kind = meta.file_type();
    if kind.is_dir() {
        read_folder(scan, &at, &path, found);
    } else if kind.is_symlink() {
        link(scan, root, at, path);
    } else if kind.is_file() {
        if let Err(errno) = rustix::fs::access(&at, Access::READ_OK) {
            return scan.warn(unreadable(errno.into(), path));
        }
        scan.sources.push(Source {
            path,
            len: meta.len(),
            executable: is_executable(&meta),
            ..Source::default()
        });
        scan.paths.push(at);
        scan.total += meta.len();
    } else {
        let what = match kind {
            kind if kind.is_fifo() => "pipe",
            kind if kind.is_socket() => "socket",
            _ => "device",
        };
        scan.warn(Warning::Special { path, what });
    }
}

/// A link into the folder is shared as a link (BEP 47); any other is left out.
fn link(scan: &mut Scan, root: &Path, at: PathBuf, path: String) {
    let resolved = at.canonicalize().ok();
    let target = resolved
        .as_deref()
        .and_then(|target| target.strip_prefix(root).ok())
        .and_then(Path::to_str);
    match target.filter(|target| !target.is_empty()) {
        Some(target) => {
            scan.sources.push(Source {
                path,
                symlink: Some(target.to_owned()),
                ..Source::default()
            });
            scan.paths.push(at);
        }
        None => {
            let target = fs::read_link(&at).unwrap_or_default();
            scan.warn(Warning::LinkLeaves { path, target });
        }
    }
}

fn is_executable(meta: &fs::Metadata) -> bool {
    meta.mode() & 0o100 != 0
}

fn note_name(scan: &mut Scan, path: &str) {
    let name = path.rsplit('/').next().unwrap_or(path);
    if let Some(what) = secret(name) {
        scan.warn(Warning::Secret {
            path: path.to_owned(),
            what,
        });
    } else if name.starts_with('.') {
        scan.warn(Warning::Hidden {
            path: path.to_owned(),
        });
    }
}

/// Names of files and folders that usually hold something nobody means to publish.
const SECRET_NAMES: &[(&str, &str)] = &[
    (".ssh", "SSH keys"),
    ("id_rsa", "an SSH key"),
    ("id_dsa", "an SSH key"),
    ("id_ecdsa", "an SSH key"),
    ("id_ed25519", "an SSH key"),
    (".gnupg", "GnuPG keys"),
    ("secring.gpg", "a GnuPG key"),
    (".env", "passwords in an .env file"),
    (".netrc", "saved passwords"),
    (".pgpass", "saved passwords"),
    (".git-credentials", "saved passwords"),
    (".htpasswd", "saved passwords"),
    (".password-store", "saved passwords"),
    (".npmrc", "a registry's token"),
    (".pypirc", "a registry's token"),
    (".aws", "cloud credentials"),
    (".kube", "cluster credentials"),
    (".docker", "registry credentials"),
    ("credentials.json", "cloud credentials"),
    ("wallet.dat", "a wallet"),
    (".electrum", "a wallet"),
    (".bitcoin", "a wallet"),
    (".ethereum", "a wallet"),
    ("logins.json", "a browser's saved passwords"),
    ("key4.db", "a browser's saved passwords"),
    ("login data", "a browser's saved passwords"),
    (".bash_history", "a shell's history"),
    (".zsh_history", "a shell's history"),
];

/// The same by ending.
const SECRET_ENDINGS: &[(&str, &str)] = &[
    (".pem", "a key or certificate"),
    (".key", "a key"),
    (".ppk", "an SSH key"),
    (".p12", "a key with its certificate"),
    (".pfx", "a key with its certificate"),
    (".jks", "a key store"),
    (".keystore", "a key store"),
    (".kdbx", "a password database"),
    (".kdb", "a password database"),
    (".wallet", "a wallet"),
    (".ovpn", "VPN credentials"),
];

/// What secret a name suggests.
fn secret(name: &str) -> Option<&'static str> {
    let name = name.to_lowercase();
    let by_name = SECRET_NAMES.iter().find(|(secret, _)| name == *secret);
    let by_ending = || {
        SECRET_ENDINGS
            .iter()
            .find(|(ending, _)| name.ends_with(ending))
    };
    let env = || {
        name.starts_with(".env.")
            .then_some(&(".env", "passwords in an .env file"))
    };
    by_name
        .or_else(by_ending)
        .or_else(env)
        .map(|(_, what)| *what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::{fs::symlink, net::UnixListener};

    #[test]
    fn a_folder_is_listed_in_the_order_of_its_tree_with_what_one_should_know() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("my album");
        fs::create_dir_all(root.join("a/.ssh")).unwrap();
        fs::create_dir_all(root.join("a-b")).unwrap();
        for (path, len) in [
            ("a/x", 3),
            ("a-b/x", 4),
            ("z.txt", 5),
            (".hidden", 1),
            ("a/.ssh/id_rsa", 2),
            ("Server.KEY", 1),
        ] {
            fs::write(root.join(path), vec![0; len]).unwrap();
        }
        fs::write(folder.path().join("outside"), "secret").unwrap();
        symlink("../z.txt", root.join("a/inside")).unwrap();
        symlink("../outside", root.join("out")).unwrap();
        symlink("/etc/passwd", root.join("passwd")).unwrap();
        symlink("nowhere", root.join("broken")).unwrap();
        let _socket = UnixListener::bind(root.join("socket")).unwrap();

        let scan = scan(&root).unwrap();
        assert_eq!(
            (scan.name.as_str(), scan.single, scan.total),
            ("my album", false, 16)
        );
        let paths: Vec<&str> = scan
            .sources
            .iter()
            .map(|source| source.path.as_str())
            .collect();
        assert_eq!(
            paths,
            [
                ".hidden",
                "Server.KEY",
                "a/.ssh/id_rsa",
                "a/inside",
                "a/x",
                "a-b/x",
                "z.txt"
            ]
        );
        assert_eq!(scan.sources[3].symlink.as_deref(), Some("z.txt"));
        for (source, path) in scan.sources.iter().zip(&scan.paths) {
            assert!(path.ends_with(&source.path));
        }
        let mut said: Vec<String> = scan.warnings.iter().map(Warning::to_string).collect();
        said.sort();
        assert_eq!(
            said,
            [
                ".hidden is hidden",
                "Server.KEY looks like a key",
                "a/.ssh looks like SSH keys",
                "a/.ssh/id_rsa looks like an SSH key",
                "broken is a link to nowhere, which is not in the folder; it is left out",
                "out is a link to ../outside, which is not in the folder; it is left out",
                "passwd is a link to /etc/passwd, which is not in the folder; it is left out",
                "socket is a socket; it is left out",
            ]
        );
    }

    #[test]
    fn names_that_no_torrent_can_hold_are_left_out() {
        use std::os::unix::ffi::OsStrExt;
        let folder = tempfile::tempdir().unwrap();
        let name = |bytes: &[u8]| folder.path().join(std::ffi::OsStr::from_bytes(bytes));
        fs::write(name(b"caf\xe9.txt"), "left out").unwrap();
        fs::create_dir(name(b"d\xe9j\xe0")).unwrap();
        fs::write(name(b"d\xe9j\xe0/vu"), "left out").unwrap();
        fs::write(name("caf\u{e9}.txt".as_bytes()), "shared").unwrap();
        let scan = scan(folder.path()).unwrap();
        assert_eq!(scan.sources.len(), 1);
        assert_eq!(scan.sources[0].path, "caf\u{e9}.txt");
        assert_eq!(scan.warnings.len(), 2);
        assert!(scan.warnings[0].to_string().contains("it is left out"));
    }

    #[test]
    fn a_single_file_is_its_own_scan_and_what_is_not_there_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("film.mkv");
        fs::write(&file, [0; 10]).unwrap();
        let scan_of_file = scan(&file).unwrap();
        assert!(
            scan_of_file.single && scan_of_file.total == 10 && scan_of_file.warnings.is_empty()
        );
        assert_eq!(scan_of_file.sources[0].path, "film.mkv");
        assert!(matches!(
            scan(&folder.path().join("no")),
            Err(StoreError::Missing { .. })
        ));
        assert!(matches!(
            scan(&file.join("deeper")),
            Err(StoreError::Other { .. })
        ));
    }

    #[test]
    fn a_million_warnings_are_a_hundred_and_a_number() {
        let mut scan = Scan::default();
        for number in 0..1000 {
            note_name(&mut scan, &format!(".{number}"));
        }
        note_name(&mut scan, "x.kdbx");
        assert_eq!((scan.warnings.len(), scan.more), (MAX_WARNINGS + 1, 900));
    }
}
