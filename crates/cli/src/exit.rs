//! How a command ends: one exit code for each kind of end, and errors that a person can act on.

use std::fmt;
use std::io;
use std::path::Path;

use store::StoreError;

/// Exit codes, the same for all verbs. `docs/cli.md` and `--help` list them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// What was asked for is done.
    Ok = 0,
    /// Something that has no code of its own.
    Other = 1,
    /// The command line asks for something that can't be, or a question was answered with no.
    Usage = 2,
    /// A file, folder, or torrent is not there.
    NotFound = 3,
    /// Nobody was found who has it.
    NoPeers = 4,
    /// Data is not what the torrent says, or the torrent itself is damaged.
    Verification = 5,
    /// The system does not allow it.
    Permission = 6,
    /// The disk is full.
    NoSpace = 7,
    /// The keys of this computer cannot be used, or do not do for what was asked.
    Identity = 8,
    /// Ctrl-C, or a signal to end; what was fetched is kept.
    Interrupted = 130,
}

/// The table at the end of `--help`.
pub const TABLE: &str = "\
Exit codes:
  0    done
  1    another error
  2    wrong usage, or the answer to a question was no
  3    not found: a file, a folder, a URL, a transfer, a daemon
  4    no peers found in time (get --timeout)
  5    verification failed: data is not what the torrent says, or the torrent is damaged
  6    no permission
  7    no space left
  8    keys: readable by others, damaged, locked, revoked, or another person's
  130  interrupted; what was fetched is kept, and the same command goes on";

impl Exit {
    /// The one with this code.
    pub fn of(code: i32) -> Option<Exit> {
        let all = [
            Exit::Ok,
            Exit::Other,
            Exit::Usage,
            Exit::NotFound,
            Exit::NoPeers,
            Exit::Verification,
            Exit::Permission,
            Exit::NoSpace,
            Exit::Identity,
            Exit::Interrupted,
        ];
        all.into_iter().find(|&exit| exit as i32 == code)
    }

    /// Its name in the `error` event.
    pub fn name(self) -> &'static str {
        match self {
            Exit::Ok => "ok",
            Exit::Other => "other",
            Exit::Usage => "usage",
            Exit::NotFound => "not-found",
            Exit::NoPeers => "no-peers",
            Exit::Verification => "verification",
            Exit::Permission => "permission",
            Exit::NoSpace => "no-space",
            Exit::Identity => "identity",
            Exit::Interrupted => "interrupted",
        }
    }
}

/// Why a command did not do what was asked: what happened, what to do, and the code to end with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The code.
    pub exit: Exit,
    /// One sentence what happened, one what to do.
    pub message: String,
    /// The person and the program have heard it.
    pub told: bool,
}

impl Failure {
    /// Sentences under a code.
    pub fn new(exit: Exit, message: impl Into<String>) -> Failure {
        Failure {
            exit,
            message: message.into(),
            told: false,
        }
    }

    /// Wrong usage.
    pub fn usage(message: impl Into<String>) -> Failure {
        Failure::new(Exit::Usage, message)
    }

    /// The person asked to stop and nothing is left behind.
    pub fn interrupted() -> Failure {
        Failure::new(Exit::Interrupted, "Interrupted.")
    }

    /// The system refused to `op` (a verb) the file or folder at `path`.
    pub fn io(error: &io::Error, op: &str, path: &Path) -> Failure {
        let path = path.display();
        match error.kind() {
            io::ErrorKind::NotFound => Failure::new(
                Exit::NotFound,
                format!("{path} is not there. Check the spelling, and the folder you are in."),
            ),
            io::ErrorKind::ReadOnlyFilesystem => Failure::new(
                Exit::Permission,
                format!(
                    "Cannot {op} {path}: its file system is read-only. Make it writable, or choose another place."
                ),
            ),
            io::ErrorKind::PermissionDenied => Failure::new(
                Exit::Permission,
                format!(
                    "No permission to {op} {path}. Change its owner or mode, or choose another place."
                ),
            ),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Failure::new(
                Exit::NoSpace,
                format!("Cannot {op} {path}: the disk is full. Free some space and try again."),
            ),
            _ => Failure::new(Exit::Other, format!("Cannot {op} {path}: {error}.")),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Failure {
        let exit = match &error {
            StoreError::NoSpace { .. } => Exit::NoSpace,
            StoreError::Permission { .. } | StoreError::ReadOnly { .. } => Exit::Permission,
            StoreError::Missing { .. } => Exit::NotFound,
            StoreError::FileChanged { .. } => Exit::Verification,
            _ => Exit::Other,
        };
        Failure::new(exit, sentence(&error.to_string()))
    }
}

/// `text` with a capital at its front and a full stop at its end; paths at the front stay as they are.
pub fn sentence(text: &str) -> String {
    let starts_with_word = text
        .chars()
        .take_while(|c| !c.is_whitespace())
        .all(|c| c.is_ascii_lowercase());
    let mut out = String::with_capacity(text.len() + 1);
    let mut letters = text.chars();
    if let (true, Some(first)) = (starts_with_word, letters.next()) {
        out.extend(first.to_uppercase());
        out.push_str(letters.as_str());
    } else {
        out.push_str(text);
    }
    if !out.ends_with(['.', '!', '?']) {
        out.push('.');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_lists_every_code() {
        for exit in [
            Exit::Ok,
            Exit::Other,
            Exit::Usage,
            Exit::NotFound,
            Exit::NoPeers,
            Exit::Verification,
            Exit::Permission,
            Exit::NoSpace,
            Exit::Identity,
            Exit::Interrupted,
        ] {
            let number = format!("  {} ", exit as u8);
            assert!(
                TABLE.lines().any(|line| line.starts_with(&number)),
                "{exit:?}"
            );
        }
    }

    #[test]
    fn what_the_system_says_becomes_a_code() {
        let of = |kind| Failure::io(&io::Error::from(kind), "read", Path::new("x")).exit;
        assert_eq!(of(io::ErrorKind::NotFound), Exit::NotFound);
        assert_eq!(of(io::ErrorKind::PermissionDenied), Exit::Permission);
        assert_eq!(of(io::ErrorKind::ReadOnlyFilesystem), Exit::Permission);
        assert_eq!(of(io::ErrorKind::StorageFull), Exit::NoSpace);
        assert_eq!(of(io::ErrorKind::InvalidData), Exit::Other);
    }

    #[test]
    fn sentences_begin_and_end_like_sentences_and_paths_stay() {
        assert_eq!(sentence("the disk is full"), "The disk is full.");
        assert_eq!(sentence("a/b is not there."), "a/b is not there.");
        assert_eq!(sentence("/x has changed"), "/x has changed.");
    }
}
