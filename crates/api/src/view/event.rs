//! What is said of a transfer that is followed: parts as a whole, and entries that differ.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::change::Change;
use crate::detail::{File, Peer, Tracker};
use crate::ids::TransferId;
use crate::query::Items;
use crate::transfer::Transfer;

/// What a list is made of and its entries are told apart by.
pub(super) trait Entry: Clone + PartialEq + Serialize + DeserializeOwned {
    type Key: Ord + Clone;
    type Change;

    fn key(&self) -> Self::Key;

    /// What to say of it that it was not before; `None`: nothing.
    fn change(&self, before: &Self) -> Option<Self::Change>;

    /// Of which entry a change is.
    fn named(change: &Self::Change) -> &Self::Key;

    /// Changes it.
    fn take(&mut self, change: Self::Change) -> serde_json::Result<()>;
}

/// Declares what is said of an entry that differs.
macro_rules! entries {
    ($($(#[$outer:meta])* $change:ident: $entry:ident by $(#[$inner:meta])* $key:ident: $type:ty;)*) => {$(
        $(#[$outer])*
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
        pub struct $change {
            $(#[$inner])*
            pub $key: $type,
            /// The fields that differ.
            #[serde(flatten)]
            pub fields: Map<String, Value>,
        }

        impl Entry for $entry {
            type Key = $type;
            type Change = $change;

            fn key(&self) -> $type {
                self.$key.clone()
            }

            fn change(&self, before: &$entry) -> Option<$change> {
                let fields = differing(before, self);
                (!fields.is_empty()).then(|| $change { $key: self.key(), fields })
            }

            fn named(change: &$change) -> &$type {
                &change.$key
            }

            fn take(&mut self, change: $change) -> serde_json::Result<()> {
                let mut all = object(self);
                all.extend(change.fields);
                *self = serde_json::from_value(Value::Object(all))?;
                Ok(())
            }
        }
    )*};
}

entries! {
    /// Fields of a file that are other than they were.
    FileChange: File by
        /// Of which file.
        index: u32;
    /// Fields of a peer that are other than they were.
    PeerChange: Peer by
        /// Of which peer.
        address: String;
    /// Fields of a tracker that are other than they were.
    TrackerChange: Tracker by
        /// Of which tracker.
        url: String;
}

fn object(value: &impl Serialize) -> Map<String, Value> {
    match serde_json::to_value(value) {
        Ok(Value::Object(fields)) => fields,
        _ => unreachable!("what is shown is an object"),
    }
}

/// The fields of `after` that are not so in `before`.
pub(super) fn differing<T: Serialize + PartialEq>(before: &T, after: &T) -> Map<String, Value> {
    if before == after {
        return Map::new();
    }
    let before = object(before);
    let differs = |(name, value): &(String, Value)| before.get(name) != Some(value);
    object(after).into_iter().filter(differs).collect()
}

/// Declares [`ViewEvent`] from its list.
macro_rules! view_events {
    ($($(#[$doc:meta])* $name:literal $variant:ident($type:ty),)*) => {
        /// A message about a transfer that is followed. Serialised, it is the message's data.
        #[derive(Clone, Debug, PartialEq, Serialize)]
        #[serde(untagged)]
        pub enum ViewEvent {
            $($(#[$doc])* $variant($type),)*
        }

        impl ViewEvent {
            /// The name under which [`ViewEvent::read`] reads it.
            pub fn name(&self) -> &'static str {
                match self {
                    $(ViewEvent::$variant(_) => $name,)*
                }
            }

            /// Reads a message by its name; `None`: a name that this client does not know.
            ///
            /// # Errors
            /// The data is not what the name promises.
            pub fn read(name: &str, data: &str) -> serde_json::Result<Option<ViewEvent>> {
                Ok(Some(match name {
                    $($name => ViewEvent::$variant(serde_json::from_str(data)?),)*
                    _ => return Ok(None),
                }))
            }
        }
    };
}

view_events! {
    /// Its row.
    "transfer" Transfer(Box<Transfer>),
    /// Fields of its row that differ.
    "transfer-changed" TransferChanged(Vec<Change>),
    /// Its files, of which those that were asked for.
    "files" Files(Items<File>),
    /// Fields of files that differ.
    "files-changed" FilesChanged(Vec<FileChange>),
    /// Its connected peers.
    "peers" Peers(Vec<Peer>),
    /// Peers that came.
    "peers-added" PeersAdded(Vec<Peer>),
    /// Fields of peers that differ. `connected_seconds` is not said while it counts on.
    "peers-changed" PeersChanged(Vec<PeerChange>),
    /// Addresses of peers that went.
    "peers-removed" PeersRemoved(Vec<String>),
    /// Its trackers.
    "trackers" Trackers(Vec<Tracker>),
    /// Fields of trackers that differ.
    "trackers-changed" TrackersChanged(Vec<TrackerChange>),
    /// It is forgotten: nothing more comes.
    "removed" Removed(Vec<TransferId>),
}
