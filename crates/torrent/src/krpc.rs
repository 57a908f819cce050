//! What DHT nodes say to each other: one bencoded dictionary in one UDP packet (BEP 5), over IPv4 and IPv6
//! (BEP 32), with the fields of later BEPs that travel in every message (`ro`, BEP 43; `ip`, BEP 42; `v`), and the
//! messages by which values are kept (BEP 44).
//!
//! Which queries are sent and how they are answered is decided in `discovery`.

mod id;
pub mod item;
mod read;
mod secure;
mod write;

pub use id::{NODE_V4_LEN, NODE_V6_LEN, NodeId, NodeInfo};
pub use item::{Item, Signed};

use std::net::SocketAddr;

use crate::bencode;

/// Longest packet sent, in bytes (BEP 32, "Maximum packet size").
pub const MAX_SENT_LEN: usize = 1024;

/// Longest packet sent with a value in it (BEP 44), in bytes: a value of full length with its signature is longer than
/// BEP 32 allows. With tokens of the usual length it still passes Ethernet in one piece.
pub const MAX_SENT_ITEM_LEN: usize = 1490;

/// Longest packet read, in bytes; a few nodes send more than BEP 32 allows.
pub const MAX_PACKET_LEN: usize = 4096;

/// Longest transaction id echoed, in bytes; two are typical.
pub const MAX_TRANSACTION_LEN: usize = 32;

/// Longest token kept, in bytes; 4 to 20 are typical.
pub const MAX_TOKEN_LEN: usize = 64;

/// Longest client version, query name and error message kept, in bytes.
pub const MAX_TEXT_LEN: usize = 100;

/// Most nodes of one address family taken from one response; 8 are usual.
pub const MAX_NODES: usize = 32;

/// Most peers taken from one response; about a hundred fit into a packet.
pub const MAX_VALUES: usize = 256;

/// Error codes (BEP 5, "Errors").
pub mod code {
    /// Something went wrong.
    pub const GENERIC: u16 = 201;
    /// The server failed.
    pub const SERVER: u16 = 202;
    /// A malformed packet, invalid arguments, or a bad token.
    pub const PROTOCOL: u16 = 203;
    /// A query the server does not know.
    pub const METHOD_UNKNOWN: u16 = 204;
    /// A value that is too long (BEP 44).
    pub const TOO_LONG: u16 = 205;
    /// A signature that is not one (BEP 44).
    pub const SIGNATURE: u16 = 206;
    /// A salt that is too long (BEP 44).
    pub const SALT: u16 = 207;
    /// The value was replaced meanwhile: read it again (BEP 44).
    pub const CAS: u16 = 301;
    /// A newer value is known (BEP 44).
    pub const SEQ: u16 = 302;
}

/// One packet between DHT nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Chosen by the asking node, echoed in the answer; at most [`MAX_TRANSACTION_LEN`] bytes.
    pub transaction: Vec<u8>,
    /// What is said.
    pub body: Body,
    /// The sender's client and version; two letters and two bytes by custom.
    pub version: Option<Vec<u8>>,
    /// The sender answers no queries, so nobody should remember it (BEP 43).
    pub read_only: bool,
    /// In responses: where the sender sees the receiver (BEP 42).
    pub ip: Option<SocketAddr>,
}

impl Message {
    /// A message with nothing but transaction and body.
    pub fn new(transaction: impl Into<Vec<u8>>, body: Body) -> Message {
        Message {
            transaction: transaction.into(),
            body,
            version: None,
            read_only: false,
            ip: None,
        }
    }
}

/// A question, an answer, or a refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// A question.
    Query(Query),
    /// An answer.
    Response(Response),
    /// A refusal.
    Error {
        /// One of [`code`], or whatever the sender made up.
        code: u16,
        /// In words; bounded and without control characters.
        message: String,
    },
}

/// A question of one node to another (BEP 5, "DHT Queries").
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Query {
    /// Are you there?
    Ping {
        /// The asking node.
        id: NodeId,
    },
    /// Whom do you know near this id?
    FindNode {
        /// The asking node.
        id: NodeId,
        /// What the answer should be near to.
        target: NodeId,
        /// Of which address families; `None` means that of the packet (BEP 32).
        want: Option<Want>,
    },
    /// Who has this content, or else, whom do you know near its id?
    GetPeers {
        /// The asking node.
        id: NodeId,
        /// SHA-1 info-hash, or the first 20 bytes of the SHA-256 one.
        info_hash: [u8; 20],
        /// Nodes of which address families; `None` means that of the packet (BEP 32).
        want: Option<Want>,
    },
    /// I have this content, or am fetching it.
    AnnouncePeer {
        /// The asking node.
        id: NodeId,
        /// The content.
        info_hash: [u8; 20],
        /// TCP port of the asking node's peer.
        port: u16,
        /// Ignore `port` and take the one the packet came from.
        implied_port: bool,
        /// From a recent answer to `get_peers`.
        token: Vec<u8>,
    },
    /// What is kept here, or else, whom do you know near it (BEP 44)?
    Get {
        /// The asking node.
        id: NodeId,
        /// Where the value is kept.
        target: NodeId,
        /// Only if its number is higher.
        seq: Option<i64>,
        /// Nodes of which address families; `None` means that of the packet (BEP 32).
        want: Option<Want>,
    },
    /// Keep this (BEP 44).
    Put {
        /// The asking node.
        id: NodeId,
        /// From a recent answer to `get`.
        token: Vec<u8>,
        /// The value; whether it is within the limits and rightly signed is not known yet.
        item: Box<Item>,
        /// Only in place of the one with this number.
        cas: Option<i64>,
    },
    /// A question this program does not know; it deserves error [`code::METHOD_UNKNOWN`].
    Unknown {
        /// The asking node, if it says so.
        id: Option<NodeId>,
        /// What it asks; at most [`MAX_TEXT_LEN`] bytes.
        name: Vec<u8>,
    },
}

impl Query {
    /// The asking node.
    pub fn id(&self) -> Option<NodeId> {
        match self {
            Query::Ping { id }
            | Query::FindNode { id, .. }
            | Query::GetPeers { id, .. }
            | Query::Get { id, .. }
            | Query::Put { id, .. }
            | Query::AnnouncePeer { id, .. } => Some(*id),
            Query::Unknown { id, .. } => *id,
        }
    }
}

/// Of which address families nodes are wanted (BEP 32).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Want {
    /// IPv4 nodes, in `nodes`.
    pub n4: bool,
    /// IPv6 nodes, in `nodes6`.
    pub n6: bool,
}

/// An answer. Which parts there are depends on the question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The answering node.
    pub id: NodeId,
    /// IPv4 nodes near what was asked for.
    pub nodes: Option<Vec<NodeInfo>>,
    /// IPv6 nodes near what was asked for (BEP 32).
    pub nodes6: Option<Vec<NodeInfo>>,
    /// Peers that have the content.
    pub values: Vec<SocketAddr>,
    /// To be shown when announcing to the answering node.
    pub token: Option<Vec<u8>>,
    /// What is kept (BEP 44), without its salt; whether it is right is not known yet.
    pub item: Option<Box<Item>>,
    /// The number of what is kept, where only that is told.
    pub seq: Option<i64>,
}

impl Response {
    /// An answer that only says who answers, as to `ping` and `announce_peer`.
    pub fn new(id: NodeId) -> Response {
        Response {
            id,
            nodes: None,
            nodes6: None,
            values: Vec::new(),
            token: None,
            item: None,
            seq: None,
        }
    }
}

/// Why a packet can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KrpcError {
    /// Not bencode, or over a limit.
    #[error("the DHT packet is not readable: {0}")]
    Bencode(#[from] bencode::Error),
    /// Not a dictionary, or without what every message has: neither question nor answer.
    #[error("the DHT packet has no usable \"{0}\"")]
    Missing(&'static str),
    /// A question that lacks an argument; its sender deserves error [`code::PROTOCOL`].
    #[error("the DHT query has no usable \"{argument}\"")]
    Query {
        /// To be echoed.
        transaction: Vec<u8>,
        /// What is missing or malformed.
        argument: &'static str,
    },
}

#[cfg(test)]
mod tests;
