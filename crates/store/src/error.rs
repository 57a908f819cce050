//! What can go wrong between a block and its file, each as a sentence with what to do.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// A failed operation on somebody's disk. Everything verified so far stays valid.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The disk or the quota is full. The same blocks can be written again once there is room.
    #[error("the disk of {} is full: {} more are needed and {} are free. Free some space and go on; what is here is kept", path.display(), Size(*need), Size(*free))]
    NoSpace {
        /// Bytes the failed operation needed.
        need: u64,
        /// Bytes the file system offered at that moment.
        free: u64,
        /// The file (or folder) that did not fit.
        path: PathBuf,
    },
    /// The system refused access.
    #[error("no permission for {}. Change its owner or mode, or choose another folder", path.display())]
    Permission {
        /// What was refused.
        path: PathBuf,
    },
    /// A file or its folder is not there (any more).
    #[error("{} is not there. Put it back, or check the data again to fetch what is missing", path.display())]
    Missing {
        /// What was looked for.
        path: PathBuf,
    },
    /// A file is shorter than it was, or was written to by somebody else.
    #[error("{} has changed since it was checked. Check it again, or put the old file back", path.display())]
    FileChanged {
        /// The changed file.
        path: PathBuf,
    },
    /// The file system, or this torrent's placement, is read-only.
    #[error("{} is read-only. Choose a folder that can be written to", path.display())]
    ReadOnly {
        /// What was to be written.
        path: PathBuf,
    },
    /// Somebody else's file has the name that one of ours is to get.
    #[error("{} already exists and is not part of this download. Move it away or choose another folder", path.display())]
    Occupied {
        /// The name that is taken.
        path: PathBuf,
    },
    /// Anything else the system says.
    #[error("cannot {op} {}: {source}", path.display())]
    Other {
        /// Where.
        path: PathBuf,
        /// A verb: "open", "write", "read", "sync", "rename".
        op: &'static str,
        /// The system's words.
        source: Arc<io::Error>,
    },
}

impl StoreError {
    /// Sorts an error of the system. `need` and `free` matter for a full disk only.
    pub(crate) fn of(
        error: io::Error,
        op: &'static str,
        path: &Path,
        need: u64,
        free: impl FnOnce() -> u64,
    ) -> Self {
        let path = path.to_owned();
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::NoSpace {
                need,
                free: free(),
                path,
            },
            io::ErrorKind::PermissionDenied => StoreError::Permission { path },
            io::ErrorKind::NotFound => StoreError::Missing { path },
            io::ErrorKind::ReadOnlyFilesystem => StoreError::ReadOnly { path },
            io::ErrorKind::UnexpectedEof => StoreError::FileChanged { path },
            _ => StoreError::Other {
                path,
                op,
                source: Arc::new(error),
            },
        }
    }

    /// The file or folder it is about.
    pub fn path(&self) -> &Path {
        match self {
            StoreError::NoSpace { path, .. }
            | StoreError::Permission { path }
            | StoreError::Missing { path }
            | StoreError::FileChanged { path }
            | StoreError::ReadOnly { path }
            | StoreError::Occupied { path }
            | StoreError::Other { path, .. } => path,
        }
    }
}

/// Bytes in words: `1.5 MiB`.
struct Size(u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        let mut value = self.0 as f64;
        let mut unit = "bytes";
        for next in units {
            if value < 1024.0 {
                break;
            }
            (value, unit) = (value / 1024.0, next);
        }
        if unit == "bytes" {
            write!(f, "{} bytes", self.0)
        } else {
            write!(f, "{value:.1} {unit}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_says_how_much_is_missing() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        let error = StoreError::of(full, "write", Path::new("/x/a.part"), 1 << 20, || 1536);
        assert_eq!(
            error.to_string(),
            "the disk of /x/a.part is full: 1.0 MiB more are needed and 1.5 KiB are free. \
             Free some space and go on; what is here is kept"
        );
    }
}
