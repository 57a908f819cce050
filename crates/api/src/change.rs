//! What the event stream says, as a client reads it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::ids::TransferId;
use crate::label::Label;
use crate::settings::Settings;
use crate::status::Totals;
use crate::transfer::Transfer;

/// Everything begins anew: a client drops what it knows. The rows follow in `added`, and the
/// message that completes them has the id.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Snapshot {
    /// How many rows there are.
    pub transfers: u32,
    /// All labels.
    #[schema(value_type = Vec<Label>)]
    pub labels: Arc<[Label]>,
    /// The settings.
    #[schema(value_type = Settings)]
    pub settings: Arc<Settings>,
    /// Sums, and what is in effect now.
    #[schema(value_type = Totals)]
    pub totals: Arc<Totals>,
}

/// Fields of a row that are other than they were.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Change {
    /// Of which transfer.
    pub id: TransferId,
    /// The fields, as a [`Transfer`] has them.
    #[serde(flatten)]
    pub fields: Map<String, Value>,
}

impl Change {
    /// Changes `transfer`.
    ///
    /// # Errors
    /// A field has a value that it cannot have; fields before it were changed.
    pub fn apply(self, transfer: &mut Transfer) -> serde_json::Result<()> {
        self.fields
            .into_iter()
            .try_for_each(|(name, value)| transfer.set(&name, value))
    }
}

/// Something a person may want to know: a tracker's message, a peer banned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Notice {
    /// About which transfer; `null`: the daemon.
    pub transfer: Option<TransferId>,
    /// In a sentence or two.
    pub text: String,
    /// When, in seconds since 1970.
    pub at: u64,
}

/// Something that happened and leaves no state; the last few are kept for those who come back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Moment {
    /// All that is wanted of a transfer is there.
    Finished(TransferId),
    /// Something to know.
    Notice(Notice),
}

/// A message of the event stream.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Drop what you know; rows follow.
    Snapshot(Snapshot),
    /// Rows that are new to the client; one that it knows is replaced.
    Added(Vec<Transfer>),
    /// Fields that differ.
    Changed(Vec<Change>),
    /// Transfers that are gone.
    Removed(Vec<TransferId>),
    /// All that is wanted of a transfer is there.
    Finished(TransferId),
    /// Something to know.
    Notice(Notice),
    /// All labels, as they are now.
    Labels(Vec<Label>),
    /// The settings, as they are now.
    Settings(Settings),
    /// Sums, and what is in effect now.
    Totals(Totals),
}

impl Event {
    /// Reads a message by its name; `None`: a name that this client does not know.
    ///
    /// # Errors
    /// The data is not what the name promises.
    pub fn read(name: &str, data: &str) -> serde_json::Result<Option<Event>> {
        use serde_json::from_str;
        Ok(Some(match name {
            "snapshot" => Event::Snapshot(from_str(data)?),
            "added" => Event::Added(from_str(data)?),
            "changed" => Event::Changed(from_str(data)?),
            "removed" => Event::Removed(from_str(data)?),
            "finished" => Event::Finished(from_str(data)?),
            "notice" => Event::Notice(from_str(data)?),
            "labels" => Event::Labels(from_str(data)?),
            "settings" => Event::Settings(from_str(data)?),
            "totals" => Event::Totals(from_str(data)?),
            _ => return Ok(None),
        }))
    }
}
