//! One transfer as a row: what lists and the event stream show of it.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::ids::{Hash, TransferId, encoded};
use crate::settings::{Goals, Limits};

/// What a transfer is doing, or why it does nothing.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Fetching the info dictionary from peers (BEP 9).
    Metadata,
    /// Existing data is being checked.
    Checking,
    /// Pieces are missing and looked for.
    Downloading,
    /// All wanted pieces are here and offered.
    Seeding,
    /// It waits for its turn.
    Queued,
    /// Held by policy: a schedule, battery, a metered link, a goal that is reached.
    Held,
    /// Paused by a person.
    Paused,
    /// Stopped by a problem; it goes on by itself when that is gone.
    Stopped,
}

impl State {
    /// All of them, in order.
    pub const ALL: [State; 8] = [
        State::Metadata,
        State::Checking,
        State::Downloading,
        State::Seeding,
        State::Queued,
        State::Held,
        State::Paused,
        State::Stopped,
    ];

    /// Its name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            State::Metadata => "metadata",
            State::Checking => "checking",
            State::Downloading => "downloading",
            State::Seeding => "seeding",
            State::Queued => "queued",
            State::Held => "held",
            State::Paused => "paused",
            State::Stopped => "stopped",
        }
    }
}

/// Why a transfer does not run, for programs; [`Transfer::reason`] says it in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// Queued: others go first.
    Queue,
    /// Held: the schedule says so.
    Schedule,
    /// Held: on battery.
    Battery,
    /// Held: the network costs by the byte.
    Metered,
    /// Held: its ratio is reached.
    Ratio,
    /// Held: it was seeded for as long as was asked.
    SeedingTime,
    /// Held: the disk's reserve would be used.
    DiskReserve,
    /// Held: the memory ceiling is reached.
    Memory,
    /// Stopped: the disk is full.
    NoSpace,
    /// Stopped: not allowed to read or write.
    Permission,
    /// Stopped: a file, folder or drive is not there.
    Missing,
    /// Stopped: data on disk is not what it should be.
    Damaged,
    /// Stopped: anything else.
    Other,
}

/// How far something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Progress {
    /// So many are done,
    pub done: u32,
    /// of so many.
    pub total: u32,
}

/// Declares [`Transfer`] and what follows from its list of fields.
macro_rules! transfer {
    ($(#[$outer:meta])* pub struct Transfer { $($(#[$inner:meta])* pub $name:ident: $type:ty,)* }) => {
        $(#[$outer])*
        pub struct Transfer { $($(#[$inner])* pub $name: $type,)* }

        impl Transfer {
            /// Names of its fields, in order.
            pub const FIELDS: &'static [&'static str] = &[$(stringify!($name)),*];

            /// Calls `found` with the index of each field in which `other` differs.
            pub(crate) fn differences(&self, other: &Transfer, mut found: impl FnMut(usize)) {
                let mut index = 0;
                $(
                    if self.$name != other.$name {
                        found(index);
                    }
                    index += 1;
                )*
                debug_assert_eq!(index, Transfer::FIELDS.len());
            }

            /// Writes those fields, by index, for which `wanted` says so.
            pub(crate) fn serialize_fields<M: serde::ser::SerializeMap>(
                &self,
                map: &mut M,
                wanted: impl Fn(usize) -> bool,
            ) -> Result<(), M::Error> {
                let mut index = 0;
                $(
                    if wanted(index) {
                        map.serialize_entry(stringify!($name), &self.$name)?;
                    }
                    index += 1;
                )*
                debug_assert_eq!(index, Transfer::FIELDS.len());
                Ok(())
            }

            /// Sets one field from its JSON. A name that is none is passed over: a newer daemon
            /// may say more.
            pub(crate) fn set(&mut self, name: &str, value: Value) -> serde_json::Result<()> {
                match name {
                    $(stringify!($name) => self.$name = serde_json::from_value(value)?,)*
                    _ => {}
                }
                Ok(())
            }
        }
    };
}

transfer! {
    /// A transfer at a glance.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
    pub struct Transfer {
        /// Its number.
        pub id: TransferId,
        /// Its name: the torrent's, or what a person called it; its info-hash until the metadata is here.
        pub name: String,
        /// SHA-1 of the info dictionary (BEP 3), if it has one.
        #[schema(value_type = Option<String>, pattern = "^[0-9a-f]{40}$")]
        pub info_hash_v1: Option<Hash<20>>,
        /// SHA-256 of the info dictionary (BEP 52), if it has one.
        #[schema(value_type = Option<String>, pattern = "^[0-9a-f]{64}$")]
        pub info_hash_v2: Option<Hash<32>>,
        /// What it is doing.
        pub state: State,
        /// Why it does not run, in words.
        pub reason: Option<String>,
        /// Why it does not run, for programs.
        pub cause: Option<Cause>,
        /// Bytes of all files; 0 until the metadata is here.
        pub size: u64,
        /// Bytes of the files that are wanted.
        pub wanted: u64,
        /// Of those: bytes that are verified and on disk.
        pub done: u64,
        /// Payload bytes received from peers, ever.
        pub received: u64,
        /// Payload bytes sent to peers, ever.
        pub sent: u64,
        /// Payload bytes that were received in vain, ever.
        pub wasted: u64,
        /// Payload bytes a second, received, over the last few seconds.
        pub rate_down: u64,
        /// Payload bytes a second, sent, over the last few seconds.
        pub rate_up: u64,
        /// Seconds until it is done at the present rate.
        pub eta: Option<u64>,
        /// Bytes sent for each byte of what is wanted.
        #[schema(minimum = 0)]
        pub ratio: f64,
        /// Connected peers.
        pub peers: u32,
        /// Of those: with everything.
        pub seeds: u32,
        /// Addresses known.
        pub known: u32,
        /// Its label.
        pub label: Option<String>,
        /// Words a person put on it.
        pub tags: Vec<String>,
        /// The folder it is in.
        pub folder: String,
        /// The file or folder that is its content.
        pub root: String,
        /// When it was added, in seconds since 1970.
        pub added_at: u64,
        /// When all that is wanted was there, in seconds since 1970.
        pub finished_at: Option<u64>,
        /// Its place in the queue, from 0; none if it does not wait for one.
        pub queue_position: Option<u32>,
        /// Its own limits.
        pub limits: Limits,
        /// Its own goals; `null`: those of its label, or of the settings.
        pub goals: Option<Goals>,
        /// Pieces are fetched in order.
        pub sequential: bool,
        /// As long as nobody else has everything, each peer is shown one piece at a time (BEP 16).
        pub super_seed: bool,
        /// Peers come from its trackers alone (BEP 27).
        pub private: bool,
        /// Its data is never written to.
        pub read_only: bool,
        /// How many files it has; 0 until the metadata is here.
        pub files: u32,
        /// How many pieces it has; 0 until the metadata is here.
        pub pieces: u32,
        /// Of those: verified.
        pub pieces_done: u32,
        /// How far a check is.
        pub checking: Option<Progress>,
        /// All that is wanted is verified and on disk.
        pub complete: bool,
        /// Complete and used by nobody: it costs a row.
        pub dormant: bool,
    }
}

impl Transfer {
    /// A link that leads others to it: its info-hashes and name (BEP 9, BEP 52). Trackers are not
    /// in it; none if it has no info-hash.
    pub fn magnet(&self) -> Option<String> {
        let v1 = self.info_hash_v1.map(|hash| format!("xt=urn:btih:{hash}"));
        // 12 20: a multihash of SHA-256, 32 bytes.
        let v2 = self
            .info_hash_v2
            .map(|hash| format!("xt=urn:btmh:1220{hash}"));
        let name = format!("dn={}", encoded(&self.name));
        let hashes = [v1, v2]
            .into_iter()
            .flatten()
            .reduce(|v1, v2| format!("{v1}&{v2}"))?;
        Some(format!("magnet:?{hashes}&{name}"))
    }

    /// A transfer of this number and name of which nothing else is known yet: it waits for its
    /// metadata.
    pub fn new(id: TransferId, name: impl Into<String>) -> Transfer {
        Transfer {
            id,
            name: name.into(),
            info_hash_v1: None,
            info_hash_v2: None,
            state: State::Metadata,
            reason: None,
            cause: None,
            size: 0,
            wanted: 0,
            done: 0,
            received: 0,
            sent: 0,
            wasted: 0,
            rate_down: 0,
            rate_up: 0,
            eta: None,
            ratio: 0.0,
            peers: 0,
            seeds: 0,
            known: 0,
            label: None,
            tags: Vec::new(),
            folder: String::new(),
            root: String::new(),
            added_at: 0,
            finished_at: None,
            queue_position: None,
            limits: Limits::default(),
            goals: None,
            sequential: false,
            super_seed: false,
            private: false,
            read_only: false,
            files: 0,
            pieces: 0,
            pieces_done: 0,
            checking: None,
            complete: false,
            dormant: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_magnet_link_names_each_hash_and_the_name() {
        let mut transfer = Transfer::new(TransferId(1), "a b&c");
        assert_eq!(transfer.magnet(), None);
        transfer.info_hash_v2 = Some(Hash([0xab; 32]));
        let v2 = format!("xt=urn:btmh:1220{}", "ab".repeat(32));
        assert_eq!(
            transfer.magnet(),
            Some(format!("magnet:?{v2}&dn=a%20b%26c"))
        );
        transfer.info_hash_v1 = Some(Hash([1; 20]));
        let v1 = format!("xt=urn:btih:{}", "01".repeat(20));
        assert_eq!(
            transfer.magnet(),
            Some(format!("magnet:?{v1}&{v2}&dn=a%20b%26c"))
        );
    }
}
