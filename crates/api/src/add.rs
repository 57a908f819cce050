//! What can be asked about transfers: adding, looking before adding, changing, moving, renaming.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::check::{
    self, Check, MAX_BYTES, MAX_GLOB, MAX_GLOBS, MAX_LABEL, MAX_LIST, MAX_NAME, MAX_PATH,
    MAX_PRIORITIES, MAX_SOURCE,
};
use crate::ids::{Hash, TransferId};
use crate::problem::Problem;
use crate::settings::{Goals, Limits, nullable, present};
use crate::transfer::Transfer;

/// What to add or look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A magnet link, the URL of a torrent file, or an info-hash, as pasted.
    Text(String),
    /// A torrent file's bytes.
    Torrent(Bytes),
}

/// A transfer to add.
#[derive(Clone, Debug, PartialEq)]
pub struct Add {
    /// What.
    pub source: Source,
    /// How.
    pub options: AddOptions,
}

/// A transfer to add, in JSON. A torrent file comes as `multipart/form-data` instead, with the
/// parts `options` and `torrent`, or alone as `application/x-bittorrent`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AddBody {
    /// A magnet link, the http or https URL of a torrent file, or an info-hash in hex or base32.
    #[schema(min_length = 1, max_length = 65536)]
    pub source: String,
    /// How to add it.
    #[serde(default)]
    pub options: AddOptions,
}

/// Something to look at before it is added, in JSON; a torrent file comes as for adding.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PreviewBody {
    /// A magnet link, the http or https URL of a torrent file, or an info-hash in hex or base32.
    #[schema(min_length = 1, max_length = 65536)]
    pub source: String,
}

impl Check for AddBody {
    fn check(&self) -> Result<(), Problem> {
        check::text("source", &self.source, 1, MAX_SOURCE)?;
        self.options.check()
    }
}

impl Check for PreviewBody {
    fn check(&self) -> Result<(), Problem> {
        check::text("source", &self.source, 1, MAX_SOURCE)
    }
}

impl Check for Source {
    fn check(&self) -> Result<(), Problem> {
        match self {
            Source::Text(text) => check::text("source", text, 1, MAX_SOURCE),
            Source::Torrent(bytes) if bytes.is_empty() => Err(Problem::invalid(
                "The torrent file is empty. Send its bytes as the part `torrent`, or as the body.",
            )),
            Source::Torrent(_) => Ok(()),
        }
    }
}

impl Check for Add {
    fn check(&self) -> Result<(), Problem> {
        self.source.check()?;
        self.options.check()
    }
}

/// A priority for a file, or for several in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FilePriority {
    /// Index of the file, or of the first.
    pub file: u32,
    /// Index of the last; `null`: this file alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub through: Option<u32>,
    /// 0: not wanted; 4: as usual; 7: before all others.
    #[schema(minimum = 0, maximum = 7)]
    pub priority: u8,
}

impl Check for FilePriority {
    fn check(&self) -> Result<(), Problem> {
        check::range("priority", self.priority, 0, 7)
    }
}

/// What a file looked like when its data was hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Fingerprint {
    /// Its length in bytes.
    #[schema(minimum = 0, maximum = 9007199254740991i64)]
    pub len: u64,
    /// Its last modification, in nanoseconds since 1970.
    pub mtime: i64,
}

/// How to add a transfer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AddOptions {
    /// The folder it goes into, under its own name; `null`: that of the label or the settings.
    #[schema(min_length = 1, max_length = 4096, pattern = "^/")]
    pub folder: Option<String>,
    /// The file or folder that is the content already, to be seeded; instead of `folder`.
    #[schema(min_length = 1, max_length = 4096, pattern = "^/")]
    pub root: Option<String>,
    /// Its label, which must exist.
    #[schema(min_length = 1, max_length = 100)]
    pub label: Option<String>,
    /// Words to put on it.
    #[schema(max_items = 64)]
    pub tags: Vec<String>,
    /// Only files whose path matches one of these globs; none: all.
    #[schema(max_items = 200)]
    pub select: Vec<String>,
    /// Priorities of files, after `select`.
    #[schema(max_items = 10000)]
    pub priorities: Vec<FilePriority>,
    /// Do not start it.
    pub paused: bool,
    /// Fetch pieces in order.
    pub sequential: bool,
    /// As long as nobody else has everything, show each peer one piece at a time, so that little is sent twice (BEP 16).
    pub super_seed: bool,
    /// Reserve the space before writing.
    pub preallocate: bool,
    /// The data is there and right: hash nothing.
    pub assume_complete: bool,
    /// What the files looked like when they were hashed, one for each file: one that has changed
    /// since is not served. Empty: unknown.
    pub fingerprints: Vec<Fingerprint>,
    /// Never write to its data.
    pub read_only: bool,
    /// Addresses, as IP:PORT, to try first.
    #[schema(max_items = 1000)]
    pub peers: Vec<String>,
    /// HTTP servers that have the content, besides those that the torrent names (BEP 19). They may be on the local
    /// network.
    #[schema(max_items = 64)]
    pub web_seeds: Vec<String>,
    /// Its own limits.
    pub limits: Limits,
    /// Its own goals; `null`: those of its label, or of the settings.
    pub goals: Option<Goals>,
}

impl Check for AddOptions {
    fn check(&self) -> Result<(), Problem> {
        if let Some(folder) = &self.folder {
            check::path("options.folder", folder)?;
        }
        if let Some(root) = &self.root {
            check::path("options.root", root)?;
        }
        if let Some(label) = &self.label {
            check::text("options.label", label, 1, MAX_LABEL)?;
        }
        tags("options.tags", &self.tags)?;
        check::list("options.select", &self.select, MAX_GLOBS)?;
        for glob in &self.select {
            check::text("options.select", glob, 0, MAX_GLOB)?;
        }
        check::list("options.priorities", &self.priorities, MAX_PRIORITIES)?;
        self.priorities.iter().try_for_each(Check::check)?;
        for print in &self.fingerprints {
            check::range("options.fingerprints.len", print.len, 0, MAX_BYTES)?;
        }
        check::addresses("options.peers", &self.peers)?;
        check::urls("options.web_seeds", &self.web_seeds)?;
        self.limits.check()?;
        self.goals.check()?;
        if self.folder.is_some() && self.root.is_some() {
            return Err(Problem::invalid(
                "options.folder and options.root are both given. Say where it goes, or where it is.",
            ));
        }
        Ok(())
    }
}

fn tags(key: &str, tags: &[String]) -> Result<(), Problem> {
    check::list(key, tags, MAX_LIST)?;
    tags.iter()
        .try_for_each(|tag| check::text(key, tag, 1, MAX_LABEL))
}

/// A file in a preview.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PreviewFile {
    /// Its index in the torrent.
    pub index: u32,
    /// Its path in the torrent, with `/`.
    pub path: String,
    /// Its bytes.
    pub size: u64,
}

/// What would be added. Nothing was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Preview {
    /// Its name; of a magnet link, what the link calls it.
    pub name: Option<String>,
    /// SHA-1 of the info dictionary (BEP 3), if it has one.
    #[schema(value_type = Option<String>, pattern = "^[0-9a-f]{40}$")]
    pub info_hash_v1: Option<Hash<20>>,
    /// SHA-256 of the info dictionary (BEP 52), if it has one.
    #[schema(value_type = Option<String>, pattern = "^[0-9a-f]{64}$")]
    pub info_hash_v2: Option<Hash<32>>,
    /// Its bytes; `null`: known when the metadata has come from peers.
    pub size: Option<u64>,
    /// Its files; empty until the metadata has come.
    pub files: Vec<PreviewFile>,
    /// URLs of its trackers.
    pub trackers: Vec<String>,
    /// Peers come from its trackers alone (BEP 27).
    pub private: bool,
    /// What a person might want to know first: names that were changed, programs among the files.
    pub warnings: Vec<String>,
    /// The transfer that it is already.
    pub already_present: Option<TransferId>,
}

/// What to change in a transfer; what is absent stays.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TransferPatch {
    /// What to call it; files keep their names.
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, min_length = 1, max_length = 255)]
    pub name: Option<String>,
    /// Its label, which must exist; `null`: none.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 100)]
    pub label: Option<Option<String>>,
    /// Words to have on it, in place of those there are.
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, max_items = 64)]
    pub tags: Option<Vec<String>>,
    /// Its own limits.
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub limits: Option<Limits>,
    /// Its own goals; `null`: those of its label, or of the settings.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Goals>)]
    pub goals: Option<Option<Goals>>,
    /// Priorities of files; those not named stay.
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, max_items = 10000)]
    pub priorities: Option<Vec<FilePriority>>,
    /// Fetch pieces in order.
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub sequential: Option<bool>,
    /// As long as nobody else has everything, show each peer one piece at a time (BEP 16).
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub super_seed: Option<bool>,
    /// Its place in the queue, from 0; beyond the end is the end.
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub queue_position: Option<u32>,
}

impl TransferPatch {
    /// Changes what a row shows at once; what the engine decides (priorities, the queue) follows.
    pub fn apply(&self, transfer: &mut Transfer) {
        use crate::settings::set;
        set(&mut transfer.name, self.name.clone());
        set(&mut transfer.label, self.label.clone());
        set(&mut transfer.tags, self.tags.clone());
        set(&mut transfer.limits, self.limits);
        set(&mut transfer.goals, self.goals);
        set(&mut transfer.sequential, self.sequential);
        set(&mut transfer.super_seed, self.super_seed);
    }
}

impl Check for TransferPatch {
    fn check(&self) -> Result<(), Problem> {
        if let Some(name) = &self.name {
            check::text("name", name, 1, MAX_NAME)?;
        }
        if let Some(Some(label)) = &self.label {
            check::text("label", label, 1, MAX_LABEL)?;
        }
        tags("tags", self.tags.as_deref().unwrap_or_default())?;
        self.limits.check()?;
        self.goals.flatten().check()?;
        let priorities = self.priorities.as_deref().unwrap_or_default();
        check::list("priorities", priorities, MAX_PRIORITIES)?;
        priorities.iter().try_for_each(Check::check)
    }
}

/// Where to move a transfer's data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Move {
    /// The folder it is to be in, under its own name.
    #[schema(min_length = 1, max_length = 4096, pattern = "^/")]
    pub folder: String,
}

impl Check for Move {
    fn check(&self) -> Result<(), Problem> {
        check::path("folder", &self.folder)
    }
}

/// What to rename on disk, and to what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rename {
    /// Path of a file or folder in the transfer, with `/`; empty: its root.
    #[serde(default)]
    #[schema(max_length = 4096)]
    pub path: String,
    /// Its new name, without `/`.
    #[schema(min_length = 1, max_length = 255, pattern = r"^[^/\\\x00]*$")]
    pub name: String,
}

impl Check for Rename {
    fn check(&self) -> Result<(), Problem> {
        check::text("path", &self.path, 0, MAX_PATH)?;
        check::text("name", &self.name, 1, MAX_NAME)?;
        if self.name.contains(['/', '\\', '\0']) || matches!(self.name.as_str(), "." | "..") {
            return Err(Problem::invalid(format!(
                "name is {}, which cannot be the name of a file. To move the data: \
                 POST /api/v1/transfers/ID/move.",
                self.name
            )));
        }
        Ok(())
    }
}

/// Peers to try for a transfer that is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MorePeers {
    /// Their addresses, as IP:PORT.
    #[schema(max_items = 1000)]
    pub peers: Vec<String>,
}

impl Check for MorePeers {
    fn check(&self) -> Result<(), Problem> {
        check::addresses("peers", &self.peers)
    }
}

/// Web seeds to ask, and others to ask no more, for a transfer that is there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WebSeedChange {
    /// URLs of HTTP servers that have the content (BEP 19). They may be on the local network.
    #[schema(max_items = 64)]
    pub add: Vec<String>,
    /// URLs of those to be asked no more, as they are listed; the torrent may have named them.
    #[schema(max_items = 64)]
    pub remove: Vec<String>,
}

impl Check for WebSeedChange {
    fn check(&self) -> Result<(), Problem> {
        check::urls("add", &self.add)?;
        check::list("remove", &self.remove, MAX_LIST)?;
        let short = |url: &String| check::text("remove", url, 1, check::MAX_URL);
        self.remove.iter().try_for_each(short)
    }
}

/// What became of a transfer's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Deleted {
    /// They are where they were.
    Kept,
    /// They are in the trash.
    Trashed,
    /// They are gone: there is no trash for that disk.
    Erased,
}

/// What became of a transfer that was removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Removed {
    /// And of its files.
    pub files: Deleted,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_that_contradict_or_cannot_be_are_named() {
        let wrong = |options: AddOptions| options.check().unwrap_err().detail;
        let base = AddOptions::default;
        assert!(
            wrong(AddOptions {
                folder: Some("/a".into()),
                root: Some("/b".into()),
                ..base()
            })
            .contains("both given")
        );
        assert!(
            wrong(AddOptions {
                peers: vec!["alice:1".into()],
                ..base()
            })
            .contains("alice:1")
        );
        let priority = FilePriority {
            file: 0,
            through: None,
            priority: 8,
        };
        assert!(
            wrong(AddOptions {
                priorities: vec![priority],
                ..base()
            })
            .contains("0 to 7")
        );
        assert_eq!(base().check(), Ok(()));
    }

    #[test]
    fn a_rename_stays_in_its_folder() {
        for name in ["..", ".", "a/b", "a\\b", ""] {
            let rename = Rename {
                path: String::new(),
                name: name.into(),
            };
            assert!(rename.check().is_err(), "{name}");
        }
    }
}
