//! The home folder of a daemon: who holds it, its token, when it was last alive.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

/// How often a daemon notes that it is alive: after a crash, idle transfers lose at most this much seeding time.
pub(super) const ALIVE: Duration = Duration::from_secs(60);
/// Where it notes it.
const ALIVE_FILE: &str = "alive";
/// Random bytes of a token.
const TOKEN: usize = 32;

/// Why a home cannot be held.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// Another daemon holds it.
    #[error("a daemon runs for {path} already, as process {pid}. `starling down` stops it")]
    Taken {
        /// The home.
        path: PathBuf,
        /// Its process, if it says so.
        pid: String,
    },
    /// What the system says.
    #[error("cannot use the folder {path}: {source}. Set STARLING_HOME to one you can write to")]
    System {
        /// The home.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// A home folder held by this process, until this is dropped or the process ends.
pub struct Home {
    path: PathBuf,
    _lock: File,
}

impl Home {
    /// Makes the folder if need be, and holds it.
    ///
    /// # Errors
    /// Another daemon holds it, or the system refuses.
    pub fn hold(path: &Path) -> Result<Home, HomeError> {
        let failed = |source| HomeError::System {
            path: path.to_owned(),
            source,
        };
        fs::create_dir_all(path).map_err(failed)?;
        // Only its owner sees what is in it.
        fs::set_permissions(path, fs::Permissions::from_mode(0o700)).map_err(failed)?;
        let lock = path.join("lock");
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&lock)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => {
                let pid = fs::read_to_string(&lock).unwrap_or_default();
                return Err(HomeError::Taken {
                    path: path.to_owned(),
                    pid: pid.trim().to_owned(),
                });
            }
            Err(fs::TryLockError::Error(source)) => return Err(failed(source)),
        }
        file.set_len(0)
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(failed)?;
        Ok(Home {
            path: path.to_owned(),
            _lock: file,
        })
    }

    /// The process that holds the home at `path`, if one does.
    pub fn holder(path: &Path) -> Option<u32> {
        let file = File::open(path.join("lock")).ok()?;
        match file.try_lock_shared() {
            Err(fs::TryLockError::WouldBlock) => fs::read_to_string(path.join("lock"))
                .ok()?
                .trim()
                .parse()
                .ok(),
            _ => None,
        }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The token of the API; one is made if there is none, or none that only its owner can read.
    ///
    /// # Errors
    /// What the system says.
    pub fn token(&self) -> io::Result<String> {
        let path = self.path.join("api-token");
        if let Ok(meta) = fs::symlink_metadata(&path)
            && meta.is_file()
            && meta.mode() & 0o077 == 0
            && let Ok(token) = fs::read_to_string(&path)
            && token.trim().len() >= TOKEN
        {
            return Ok(token.trim().to_owned());
        }
        let mut bytes = [0; TOKEN];
        getrandom::fill(&mut bytes).map_err(io::Error::other)?;
        let token = base64url(&bytes);
        write_secret(&path, &format!("{token}\n"))?;
        Ok(token)
    }
}

/// A secret of the home's own, made on first use: hex digits in a file that only its owner can read.
///
/// # Errors
/// What the system says.
pub(super) fn secret(path: &Path) -> io::Result<[u8; TOKEN]> {
    let kept = fs::read_to_string(path).ok();
    if let Some(secret) = kept.and_then(|text| torrent::hex::decode(text.trim())) {
        return Ok(secret);
    }
    let mut bytes = [0; TOKEN];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    write_secret(path, &torrent::hex::encode(&bytes))?;
    Ok(bytes)
}

/// Writes a file that only its owner can read, whole or not at all.
fn write_secret(path: &Path, text: &str) -> io::Result<()> {
    let new = path.with_extension("new");
    // One that a crash left behind may have another mode.
    let _ = fs::remove_file(&new);
    let mut file = OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(new, path)
}

/// Base64 with the alphabet for URLs, without padding (RFC 4648 §5).
fn base64url(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk
            .iter()
            .fold(0, |word, &byte| word << 8 | u32::from(byte));
        let word = word << (8 * (3 - chunk.len()));
        for place in 0..=chunk.len() {
            text.push(char::from(
                ALPHABET[(word >> (18 - 6 * place) & 63) as usize],
            ));
        }
    }
    text
}

/// When a daemon was last alive.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Alive {
    /// By the clock on the wall, in seconds since 1970.
    pub at: i64,
    /// How many seconds it had run then, by the clock that never jumps.
    pub ran: u64,
}

impl Alive {
    /// Seconds that it was alive since `from`, in seconds since 1970: never more than it ran.
    pub fn since(self, from: i64) -> u64 {
        let since = self.at.saturating_sub(from).max(0);
        (since as u64).min(self.ran)
    }
}

/// Notes that the daemon is alive now, and has been for so long.
pub(super) fn note_alive(home: &Path, ran: Duration) {
    let write = || {
        // As long each time: the file never has less in it than it should.
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(home.join(ALIVE_FILE))?;
        writeln!(file, "{:010}", ran.as_secs())
    };
    if let Err(error) = write() {
        tracing::warn!(%error, "cannot write to the home folder");
    }
}

/// When a daemon was last alive here; `None`: there was none yet.
pub(super) fn last_alive(home: &Path) -> Option<Alive> {
    let path = home.join(ALIVE_FILE);
    let modified = fs::metadata(&path).ok()?.modified().ok()?;
    let since = modified.duration_since(UNIX_EPOCH).ok();
    let ran = fs::read_to_string(path).ok();
    Some(Alive {
        at: since.map_or(0, |since| since.as_secs() as i64),
        ran: ran
            .and_then(|text| text.trim().parse().ok())
            .unwrap_or(u64::MAX),
    })
}

/// The file system that holds `path`, or its nearest folder that is there.
pub(super) fn file_system(path: &Path) -> Option<u64> {
    path.ancestors()
        .find_map(|there| fs::metadata(there).ok())
        .map(|meta| meta.dev())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_was_alive_for_longer_than_they_ran() {
        let dir = tempfile::tempdir().unwrap();
        assert!(last_alive(dir.path()).is_none());
        for ran in [0, 7_200, 60] {
            note_alive(dir.path(), Duration::from_secs(ran));
            assert_eq!(last_alive(dir.path()).unwrap().ran, ran);
        }
        let alive = Alive {
            at: 10_000,
            ran: 60,
        };
        assert_eq!(
            [9_990, 0, 10_001].map(|from| alive.since(from)),
            [10, 60, 0]
        );
    }

    #[test]
    fn one_daemon_holds_a_home() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("home");
        assert_eq!(Home::holder(&path), None);
        let home = Home::hold(&path).unwrap();
        assert_eq!(Home::holder(&path), Some(std::process::id()));
        assert!(matches!(
            Home::hold(&path),
            Err(HomeError::Taken { pid, .. }) if pid == std::process::id().to_string()
        ));
        drop(home);
        assert_eq!(Home::holder(&path), None);
        Home::hold(&path).unwrap();
    }

    #[test]
    fn the_token_stays_and_is_for_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::hold(dir.path()).unwrap();
        let token = home.token().unwrap();
        assert_eq!(token.len(), 43);
        assert_eq!(home.token().unwrap(), token);
        let path = dir.path().join("api-token");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        // One that others could read is nobody's secret.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert_ne!(home.token().unwrap(), token);
    }

    #[test]
    fn base64url_is_that_of_the_rfc() {
        for (bytes, text) in [
            (&b""[..], ""),
            (b"f", "Zg"),
            (b"fo", "Zm8"),
            (b"foo", "Zm9v"),
            (&[0xfb, 0xff], "-_8"),
        ] {
            assert_eq!(base64url(bytes), text);
        }
    }
}
