//! What is said to trackers and what they answer: over HTTP (BEP 3, 7, 23, 24, 31, 48) and over UDP (BEP 15, 41).
//!
//! Whom to ask and when is decided in `discovery`.

pub mod compact;
pub mod http;
pub mod udp;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::bencode;

/// Most peers taken from one answer; what goes beyond is left out. Trackers give 50 to 200.
pub const MAX_PEERS: usize = 2000;

/// Interval assumed when a tracker names none.
pub const DEFAULT_INTERVAL: Duration = Duration::from_secs(30 * 60);

/// Longest interval believed; a tracker that wants to see us less often than daily is out of its mind.
pub const MAX_INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);

/// Longest message from a tracker kept, in characters; it is shown to people.
pub const MAX_REASON_LEN: usize = 300;

/// Longest tracker id kept, in bytes; it goes into every later announce.
pub const MAX_TRACKER_ID_LEN: usize = 256;

/// Why an announce is made at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// The torrent starts.
    Started,
    /// The download has become complete.
    Completed,
    /// The torrent stops.
    Stopped,
}

/// What a client tells a tracker about one torrent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announce {
    /// SHA-1 info-hash, or the first 20 bytes of the SHA-256 one (BEP 52).
    pub info_hash: [u8; 20],
    /// This client's name for itself.
    pub peer_id: [u8; 20],
    /// TCP port where this client listens.
    pub port: u16,
    /// Payload sent since `started`, in bytes.
    pub uploaded: u64,
    /// Payload received since `started`, in bytes.
    pub downloaded: u64,
    /// Payload still missing, in bytes.
    pub left: u64,
    /// Why now; `None` at the regular interval.
    pub event: Option<Event>,
    /// How many peers are wanted; `None` leaves it to the tracker.
    pub num_want: Option<u32>,
    /// Random number that is the same in all announces of a torrent, whatever address they come from (BEP 7).
    pub key: u32,
    /// What the tracker gave us to send back to it.
    pub tracker_id: Option<Vec<u8>>,
    /// The address others should use, if it is not the one the tracker sees.
    pub ip: Option<IpAddr>,
}

/// A tracker's answer to an announce.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announced {
    /// When to announce again; at most [`MAX_INTERVAL`].
    pub interval: Duration,
    /// Never announce more often than this; at most [`MAX_INTERVAL`].
    pub min_interval: Option<Duration>,
    /// Other clients to talk to; at most [`MAX_PEERS`], none with port zero.
    pub peers: Vec<SocketAddr>,
    /// Peers that have everything.
    pub complete: Option<u32>,
    /// Peers that do not.
    pub incomplete: Option<u32>,
    /// The address the tracker sees us at (BEP 24).
    pub external_ip: Option<IpAddr>,
    /// To be sent back with every later announce.
    pub tracker_id: Option<Vec<u8>>,
    /// Something a person should know.
    pub warning: Option<String>,
}

impl Default for Announced {
    fn default() -> Announced {
        Announced {
            interval: DEFAULT_INTERVAL,
            min_interval: None,
            peers: Vec::new(),
            complete: None,
            incomplete: None,
            external_ip: None,
            tracker_id: None,
            warning: None,
        }
    }
}

/// How many take part in a torrent, as a tracker counts them (BEP 48).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scraped {
    /// Peers that have everything.
    pub complete: u32,
    /// Peers that do not.
    pub incomplete: u32,
    /// How often it has been fetched as a whole.
    pub downloaded: u32,
}

/// When a tracker that refused wants to be asked again (BEP 31).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Not before this time has passed.
    In(Duration),
    /// Never: it is no tracker, or wants nothing to do with this torrent.
    Never,
}

/// Why an answer holds no peers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrackerError {
    /// The tracker refused, and says why.
    #[error("the tracker refused: {reason}")]
    Refused {
        /// In the tracker's words; at most [`MAX_REASON_LEN`] characters, none of them control characters.
        reason: String,
        /// When to ask again, if it says so.
        retry: Option<Retry>,
    },
    /// The answer is not bencode, or over a limit.
    #[error("the tracker's answer is not readable: {0}")]
    Bencode(#[from] bencode::Error),
    /// The answer is not a dictionary.
    #[error("the tracker's answer is not a dictionary")]
    NotDict,
    /// It was asked how many take part in a torrent, and does not say.
    #[error("the tracker does not know this torrent")]
    Unlisted,
    /// A UDP packet that is too short for what it claims to be.
    #[error("the tracker's answer is cut short")]
    Short,
    /// A UDP packet of an unknown kind.
    #[error("the tracker's answer is of an unknown kind ({0})")]
    Action(u32),
}

/// Text from a stranger, fit for a terminal.
fn printable(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes)
        .chars()
        .filter(|c| !c.is_control())
        .take(MAX_REASON_LEN)
        .collect()
}
