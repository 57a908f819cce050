//! What is shown of one transfer when it is opened: files, peers, trackers.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::ids::TransferId;

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

/// What carries a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Carrier {
    /// TCP.
    Tcp,
    /// uTP (BEP 29).
    Utp,
}

/// What hides a connection from networks that look for BitTorrent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Cover {
    /// Nothing.
    Plain,
    /// The handshake was encrypted, what follows is not.
    Handshake,
    /// All of it is.
    Rc4,
}

/// How a connection's bytes travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub struct Road {
    /// What carries them.
    pub carrier: Carrier,
    /// What hides them.
    pub cover: Cover,
    /// Both sides dialled at once, since a third peer had them do so: neither could be dialled (BEP 55).
    pub punched: bool,
}

impl fmt::Display for Road {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.carrier {
            Carrier::Tcp => "TCP",
            Carrier::Utp => "uTP",
        })?;
        f.write_str(match self.cover {
            Cover::Plain => "",
            Cover::Handshake => ", encrypted handshake",
            Cover::Rc4 => ", encrypted",
        })?;
        f.write_str(if self.punched { ", hole punched" } else { "" })
    }
}

/// Why peers were not reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Unreached {
    /// Somebody there refuses connections.
    Refused,
    /// Nothing came back.
    NoAnswer,
    /// The network knows no way there.
    NoWay,
    /// Encryption is required, and they do not speak it.
    NoEncryption,
    /// They took the connection and closed it without a word.
    Closed,
    /// They took the connection and said nothing.
    Silent,
    /// They have another torrent.
    Stranger,
    /// They could not be tried from here.
    Here,
}

impl fmt::Display for Unreached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Unreached::Refused => "refused",
            Unreached::NoAnswer => "no answer",
            Unreached::NoWay => "no way there",
            Unreached::NoEncryption => "no encrypted handshake",
            Unreached::Closed => "closed without a word",
            Unreached::Silent => "connected and said nothing",
            Unreached::Stranger => "has another torrent",
            Unreached::Here => "could not be tried from here",
        })
    }
}

/// Addresses that became known in one way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KnownFrom {
    /// `dht`, `tracker`, `pex`, `lsd`, `incoming`, `given`.
    pub source: String,
    /// How many.
    pub addresses: u32,
}

/// Peers connected over one kind of road.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ConnectedBy {
    /// How their bytes travel.
    pub road: Road,
    /// They called us.
    pub incoming: bool,
    /// How many.
    pub peers: u32,
}

/// Addresses that were not reached for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FailedFor {
    /// What happened the last time.
    pub reason: Unreached,
    /// How many.
    pub addresses: u32,
}

/// How far the peers of a transfer are reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Reach {
    /// Addresses known, by how they became known.
    pub known: Vec<KnownFrom>,
    /// Of these: how many were called.
    pub tried: u32,
    /// With how many there was a connection, whoever called.
    pub reached: u32,
    /// Those called and never reached.
    pub failed: Vec<FailedFor>,
    /// Peers connected now.
    pub connected: Vec<ConnectedBy>,
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
    /// How its bytes travel.
    pub road: Road,
    /// All of the connection is encrypted.
    pub encrypted: bool,
    /// It called us.
    pub incoming: bool,
    /// Seconds since it is connected.
    pub connected_seconds: u64,
    /// What it does for us and we for it, in words.
    pub words: String,
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

/// What a web seed is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WebSeedState {
    /// Nothing is asked of it.
    Idle,
    /// It is sending, or about to.
    Fetching,
    /// It failed, and is asked again later.
    Waiting,
    /// It is asked no more.
    Dropped,
}

/// An HTTP server that has the content of a transfer (BEP 19).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WebSeed {
    /// Its URL.
    #[schema(format = "uri")]
    pub url: String,
    /// A person named it, and not the torrent: it may be on the local network.
    pub given: bool,
    /// What it is doing.
    pub state: WebSeedState,
    /// Why it waits or is asked no more.
    pub message: Option<String>,
    /// Blocks asked of it, of 16 KiB.
    pub asked: u32,
    /// Payload bytes a second, received.
    pub rate_down: u64,
    /// Payload bytes received since the transfer woke up.
    pub received: u64,
}

/// What other transfers have of a transfer's files (BEP 38).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Reusable {
    /// How many files that are wanted and not begun.
    pub files: u32,
    /// Their bytes.
    pub bytes: u64,
    /// Who has them.
    pub from: Vec<ReusableFrom>,
}

/// What one other transfer has of a transfer's files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReusableFrom {
    /// Its number.
    pub transfer: TransferId,
    /// Its name.
    pub name: String,
    /// How many files.
    pub files: u32,
    /// Their bytes.
    pub bytes: u64,
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
    /// The same in words, with what comes next.
    pub words: String,
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
