//! The few things the store asks of a disk, as a trait with two sides: the real one here, and the
//! [twin](crate::twin) in memory. Names, pieces and hashes are decided above this line.

use std::{
    fs::File,
    io::{self, IoSlice},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
    sync::Arc,
};

use rustix::{
    fs::{AtFlags, CWD, FallocateFlags, OFlags, RenameFlags, SeekFrom},
    io::Errno,
};

/// Slices in one vectored call (POSIX's `IOV_MAX` is 1024 on Linux; more is an error there).
const MAX_SLICES: usize = 1024;

/// A file's outward state, cheap to get and good enough to notice that somebody else wrote to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Fingerprint {
    /// Length in bytes.
    pub len: u64,
    /// Last modification, nanoseconds since 1970.
    pub mtime: i64,
}

/// What `fstat` tells.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stat {
    pub print: Fingerprint,
    /// Bytes the file system has set aside: less than `len` means that there are holes.
    pub allocated: u64,
}

impl From<rustix::fs::Stat> for Stat {
    // Field types differ between systems, hence the casts.
    #[allow(clippy::unnecessary_cast)]
    fn from(stat: rustix::fs::Stat) -> Stat {
        let nanos = (stat.st_mtime as i64)
            .saturating_mul(1_000_000_000)
            .saturating_add(stat.st_mtime_nsec as i64);
        Stat {
            print: Fingerprint {
                len: stat.st_size as u64,
                mtime: nanos,
            },
            allocated: (stat.st_blocks as u64).saturating_mul(512),
        }
    }
}

/// How to open a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Open {
    Read,
    /// It is made if absent; its folder must exist.
    Create,
}

/// A disk. Errors are the system's own; callers turn them into [`StoreError`](crate::StoreError).
pub(crate) trait Disk {
    /// An open file; clones share it.
    type File: Clone;

    fn open(&self, path: &Path, how: Open) -> io::Result<Self::File>;
    /// Fills `buf` from `offset`, or up to the end of the file; returns how much.
    fn read(&self, file: &Self::File, buf: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all of `bufs` one behind another at `offset`.
    fn write(&self, file: &Self::File, bufs: &mut [IoSlice<'_>], offset: u64) -> io::Result<()>;
    fn stat(&self, file: &Self::File) -> io::Result<Stat>;
    /// Where the next byte that is not in a hole lies, at or after `offset`.
    fn data_at(&self, file: &Self::File, offset: u64) -> io::Result<Option<u64>>;
    /// Sets room aside for `len` bytes; does nothing where the file system cannot.
    fn allocate(&self, file: &Self::File, len: u64) -> io::Result<()>;
    fn set_len(&self, file: &Self::File, len: u64) -> io::Result<()>;
    /// The file's data is durable when this returns.
    fn sync(&self, file: &Self::File) -> io::Result<()>;
    /// Everything on the file system that holds `dir` is durable when this returns.
    fn sync_all(&self, dir: &Path) -> io::Result<()>;
    /// The names in `dir` are durable when this returns.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// With `replace` an existing `to` is replaced, without it is `AlreadyExists`.
    fn rename(&self, from: &Path, to: &Path, replace: bool) -> io::Result<()>;
    fn symlink(&self, target: &Path, link: &Path) -> io::Result<()>;
    /// Whoever may read the file may run it, too (BEP 47, attribute `x`). Nothing where there is no such thing.
    fn set_executable(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;
    /// What lies there (a link counts as itself), if anything does.
    fn look(&self, path: &Path) -> Option<Stat>;
    fn exists(&self, path: &Path) -> bool {
        self.look(path).is_some()
    }
    /// Bytes free for us on the file system that holds `path` (or its nearest existing parent).
    fn free(&self, path: &Path) -> io::Result<u64>;
}

/// The system's own files.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct RealDisk;

impl Disk for RealDisk {
    type File = Arc<File>;

    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<File>> {
        let mut options = File::options();
        options
            .read(true)
            .write(how != Open::Read)
            .create(how == Open::Create);
        if how != Open::Read {
            // A link planted under a name of ours must not lead a download elsewhere.
            options.custom_flags(OFlags::NOFOLLOW.bits() as i32);
        }
        let file = options.open(path)?;
        Ok(Arc::new(file))
    }

    fn read(&self, file: &Arc<File>, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut got = 0;
        while got < buf.len() {
            match file.read_at(&mut buf[got..], offset + got as u64) {
                Ok(0) => break,
                Ok(n) => got += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(got)
    }

    fn write(
        &self,
        file: &Arc<File>,
        mut bufs: &mut [IoSlice<'_>],
        mut offset: u64,
    ) -> io::Result<()> {
        while !bufs.is_empty() {
            match rustix::io::pwritev(file, &bufs[..bufs.len().min(MAX_SLICES)], offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => {
                    offset += n as u64;
                    IoSlice::advance_slices(&mut bufs, n);
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    fn stat(&self, file: &Arc<File>) -> io::Result<Stat> {
        Ok(rustix::fs::fstat(file)?.into())
    }

    fn data_at(&self, file: &Arc<File>, offset: u64) -> io::Result<Option<u64>> {
        match rustix::fs::seek(file, SeekFrom::Data(offset)) {
            Ok(at) => Ok(Some(at)),
            Err(Errno::NXIO) => Ok(None),
            // A file system without holes has data everywhere.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(Some(offset)),
            Err(errno) => Err(errno.into()),
        }
    }

    fn allocate(&self, file: &Arc<File>, len: u64) -> io::Result<()> {
        match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, len) {
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    fn set_len(&self, file: &Arc<File>, len: u64) -> io::Result<()> {
        file.set_len(len)
    }

    fn sync(&self, file: &Arc<File>) -> io::Result<()> {
        file.sync_data()
    }

    fn sync_all(&self, dir: &Path) -> io::Result<()> {
        Ok(rustix::fs::syncfs(File::open(dir)?)?)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path, replace: bool) -> io::Result<()> {
        if replace {
            return std::fs::rename(from, to);
        }
        match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            // Some file systems cannot refuse; look first there.
            Err(Errno::INVAL | Errno::NOSYS) if self.exists(to) => {
                Err(io::ErrorKind::AlreadyExists.into())
            }
            Err(Errno::INVAL | Errno::NOSYS) => std::fs::rename(from, to),
            other => Ok(other?),
        }
    }

    fn symlink(&self, target: &Path, link: &Path) -> io::Result<()> {
        std::os::unix::fs::symlink(target, link)
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        std::fs::create_dir_all(dir)
    }

    #[cfg(unix)]
    fn set_executable(&self, path: &Path) -> io::Result<()> {
        use std::os::unix::fs::PermissionsExt;
        let mut permissions = std::fs::metadata(path)?.permissions();
        let mode = permissions.mode();
        permissions.set_mode(mode | (mode & 0o444) >> 2);
        std::fs::set_permissions(path, permissions)
    }

    fn look(&self, path: &Path) -> Option<Stat> {
        Some(
            rustix::fs::statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW)
                .ok()?
                .into(),
        )
    }

    fn free(&self, path: &Path) -> io::Result<u64> {
        let absolute = std::path::absolute(path)?;
        let existing = absolute
            .ancestors()
            .find(|dir| dir.exists())
            .unwrap_or(Path::new("/"));
        let stat = rustix::fs::statvfs(existing)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}
