//! The schema, its versions, and what to do with a database that is damaged.
//!
//! `PRAGMA user_version` counts the migrations that were made. One that has been released is never changed: the
//! next one alters what it made.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, ErrorCode};

/// KiB of pages that SQLite keeps in memory: the upper levels of its trees.
const CACHE_KIB: i64 = 512;

/// Each brings the database from the version before it (its place in this list) to the next.
pub(super) const MIGRATIONS: &[&str] = &[
    "
CREATE TABLE label (
    name TEXT PRIMARY KEY NOT NULL,
    folder TEXT,
    limit_down INTEGER NOT NULL,
    limit_up INTEGER NOT NULL,
    own_goals INTEGER NOT NULL,
    goal_ratio REAL,
    goal_seconds INTEGER,
    max_active INTEGER NOT NULL
) STRICT;
CREATE TABLE transfer (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    file_name TEXT NOT NULL,
    v1 BLOB CHECK (length(v1) = 20),
    v2 BLOB CHECK (length(v2) = 32),
    link TEXT,
    folder BLOB NOT NULL,
    exact INTEGER NOT NULL,
    read_only INTEGER NOT NULL,
    label TEXT REFERENCES label (name) ON UPDATE CASCADE ON DELETE SET NULL,
    paused INTEGER NOT NULL,
    sequential INTEGER NOT NULL,
    preallocate INTEGER NOT NULL,
    priorities BLOB NOT NULL,
    chosen TEXT NOT NULL,
    limit_down INTEGER NOT NULL,
    limit_up INTEGER NOT NULL,
    own_goals INTEGER NOT NULL,
    goal_ratio REAL,
    goal_seconds INTEGER,
    tags TEXT NOT NULL,
    trackers TEXT NOT NULL,
    moving_to BLOB,
    position INTEGER NOT NULL,
    added INTEGER NOT NULL,
    finished INTEGER,
    seeding_from INTEGER,
    size INTEGER NOT NULL,
    wanted INTEGER NOT NULL,
    files INTEGER NOT NULL,
    pieces INTEGER NOT NULL,
    private INTEGER NOT NULL,
    done INTEGER NOT NULL,
    received INTEGER NOT NULL,
    sent INTEGER NOT NULL,
    wasted INTEGER NOT NULL,
    seeded_seconds INTEGER NOT NULL,
    CHECK (v1 IS NOT NULL OR v2 IS NOT NULL)
) STRICT;
CREATE TABLE setting (
    key TEXT PRIMARY KEY NOT NULL,
    value TEXT NOT NULL
) STRICT;
",
    "
ALTER TABLE transfer ADD COLUMN super_seed INTEGER NOT NULL DEFAULT 0;
",
];

/// Another program that reads the database may hold it for so long.
const BUSY: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) enum OpenError {
    Sqlite(rusqlite::Error),
    Newer { found: u32, known: u32 },
}

impl From<rusqlite::Error> for OpenError {
    fn from(error: rusqlite::Error) -> OpenError {
        OpenError::Sqlite(error)
    }
}

/// Opens the database at `path` and brings it to the newest version.
pub(super) fn open(path: &Path) -> Result<Connection, OpenError> {
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // All is read once, and then only written.
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    // What a person sees in the list may be read by nobody else.
    #[cfg(unix)]
    if let Err(error) =
        fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600))
    {
        tracing::warn!(%error, "the state database may be read by others");
    }
    migrate(&mut connection, MIGRATIONS)?;
    let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if verdict != "ok" {
        let damage = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
        return Err(rusqlite::Error::SqliteFailure(damage, Some(verdict)).into());
    }
    Ok(connection)
}

/// Makes the migrations that this database has not seen, each whole or not at all.
pub(super) fn migrate(connection: &mut Connection, migrations: &[&str]) -> Result<(), OpenError> {
    let known = migrations.len() as u32;
    let found: u32 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if found > known {
        return Err(OpenError::Newer { found, known });
    }
    for (version, migration) in (1..).zip(migrations).skip(found as usize) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(migration)?;
        transaction.pragma_update(None, "user_version", version)?;
        transaction.commit()?;
    }
    Ok(())
}

/// Is the file itself wrong, rather than the disk or the permissions?
pub(super) fn is_damage(error: &rusqlite::Error) -> bool {
    match error {
        rusqlite::Error::SqliteFailure(failure, _) => matches!(
            failure.code,
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase
        ),
        // Rows that are not what the schema says.
        rusqlite::Error::FromSqlConversionFailure(..)
        | rusqlite::Error::IntegralValueOutOfRange(..)
        | rusqlite::Error::InvalidColumnType(..)
        | rusqlite::Error::Utf8Error(..) => true,
        _ => false,
    }
}

/// Moves a damaged database out of the way, with what belongs to it.
pub(super) fn set_aside(path: &Path) -> io::Result<PathBuf> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let with = |path: &Path, ending: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(ending);
        PathBuf::from(name)
    };
    let aside = with(path, &format!(".damaged-{now}"));
    fs::rename(path, &aside)?;
    for ending in ["-wal", "-shm"] {
        match fs::rename(with(path, ending), with(&aside, ending)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(aside)
}
