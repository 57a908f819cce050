//! What is shown of one transfer when it is opened: files, peers, trackers.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A file of a transfer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct File {
    /// Its index in the torrent; padding files have none and are not shown.
    pub index: u32,
    /// Its path in the torrent, with `/`.
    pub path: String,
    /// Its bytes.
    pub size: u64,
    /// Of those: verified and on disk.
    pub done: u64,
    /// 0: not wanted; 4: as usual; 7: before all others.
    #[schema(minimum = 0, maximum = 7)]
    pub priority: u8,
    /// Where it can be read over HTTP, if content is served.
    #[schema(format = "uri")]
    pub content_url: Option<String>,
}

/// Whose link a peer is on; limits may differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PeerClass {
    /// On the local network.
    Lan,
    /// Anywhere else.
    Other,
}

/// A connected peer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Peer {
    /// IP address and port.
    pub address: String,
    /// The program it says it is, if it says so.
    pub client: Option<String>,
    /// How it was found: `dht`, `tracker`, `pex`, `lsd`, `incoming`, `given`.
    pub source: String,
    /// Whose link it is on.
    pub class: PeerClass,
    /// Share of the pieces it has, 0 to 1.
    #[schema(minimum = 0, maximum = 1)]
    pub progress: f64,
    /// Payload bytes a second, received.
    pub rate_down: u64,
    /// Payload bytes a second, sent.
    pub rate_up: u64,
    /// Payload bytes received over this connection.
    pub received: u64,
    /// Payload bytes sent over this connection.
    pub sent: u64,
    /// We want something it has.
    pub interested: bool,
    /// We do not send to it.
    pub choking: bool,
    /// It wants something we have.
    pub peer_interested: bool,
    /// It does not send to us.
    pub peer_choking: bool,
    /// It unchoked us and sends nothing.
    pub snubbed: bool,
    /// The connection is encrypted.
    pub encrypted: bool,
    /// It called us.
    pub incoming: bool,
    /// Seconds since it is connected.
    pub connected_seconds: u64,
}

/// How a tracker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TrackerState {
    /// Not asked yet, or not in use.
    Idle,
    /// Being asked.
    Announcing,
    /// It answered.
    Working,
    /// It did not answer, or refused.
    Failed,
}

/// A tracker of a transfer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Tracker {
    /// Its URL.
    pub url: String,
    /// Its tier, from 0 (BEP 12).
    pub tier: u32,
    /// How it is.
    pub state: TrackerState,
    /// What it said, or what went wrong.
    pub message: Option<String>,
    /// Seeds it knows.
    pub seeds: Option<u32>,
    /// Peers it knows that miss something.
    pub leeches: Option<u32>,
    /// Addresses it gave us last time.
    pub peers: u32,
    /// When it is asked next, in seconds since 1970.
    pub next_at: Option<u64>,
}
