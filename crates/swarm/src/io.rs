//! The engine's vocabulary: the facts that go in and the decisions that come out.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use torrent::extension::{DialOutcome, Dialback, Transport};
use torrent::ids::{InfoHashes, Sha1Hash, Sha256Hash};
use torrent::metainfo::{Info, PieceLayers};
use torrent::wire::{BlockRef, Handshake, Message};

use crate::{Approach, Bitfield, Failure, Road};

/// One torrent of a session. Chosen by whoever adds it; never used again in the same session.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TorrentId(pub u32);

/// One connection, from the dial or the accept to the close. Never used again in a session.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ConnId(pub u64);

/// One web seed of a torrent (BEP 19). Chosen by whoever adds it; never used again for that torrent.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct WebSeedId(pub u32);

/// Blocks being fetched from a web seed. Never used again for that torrent.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FetchId(pub u32);

/// How we learned of a peer's address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Source {
    /// Named by the person or the link: tried again for ever.
    Direct,
    /// A tracker's answer.
    Tracker,
    /// The DHT.
    Dht,
    /// Another peer (BEP 11).
    Exchange,
    /// The local network (BEP 14).
    Local,
    /// It connected to us.
    Incoming,
}

/// Where a peer is, as far as limits care.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Class {
    /// On this computer or its local network: a loopback, link-local or private address (RFC 1918,
    /// RFC 3927, RFC 4193, RFC 4291).
    Lan,
    /// Anywhere else.
    Other,
}

impl Class {
    /// The class of an address.
    pub fn of(ip: IpAddr) -> Class {
        let near = match ip.to_canonical() {
            IpAddr::V4(ip) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
            IpAddr::V6(ip) => {
                ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local()
            }
        };
        if near { Class::Lan } else { Class::Other }
    }
}

/// What a rate limit is about. A block must be allowed by all limits that are about it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Scope {
    /// Everything.
    Session,
    /// The torrents of a group; see [`Input::Group`].
    Group(u32),
    /// One torrent.
    Torrent(TorrentId),
    /// Peers that are there.
    Class(Class),
}

/// A torrent handed to the session.
pub struct Add {
    /// The name the caller gave it.
    pub id: TorrentId,
    /// What it is known by; at least one of the two.
    pub hashes: InfoHashes,
    /// The info dictionary, unless it must be fetched from peers first (BEP 9).
    pub info: Option<Arc<Info>>,
    /// Piece layers that came with the metainfo, already checked against their roots.
    pub layers: PieceLayers,
    /// Pieces known to be on disk and right, from the resume record.
    pub have: Option<Bitfield>,
    /// True while existing data is being checked: no peer is served or asked until
    /// [`Input::CheckFinished`].
    pub checking: bool,
    /// Priority of each file, 0 (not wanted) to 7; empty means all are wanted alike.
    pub file_priorities: Vec<u8>,
    /// Addresses to try first.
    pub peers: Vec<SocketAddr>,
}

/// What hashing a piece gave: whichever the torrent's kind has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PieceDigest {
    /// SHA-1 of the piece (v1, hybrid).
    pub sha1: Option<Sha1Hash>,
    /// The piece's node in its file's merkle tree (v2, hybrid).
    pub root: Option<Sha256Hash>,
    /// SHA-256 of each block, if known.
    pub leaves: Option<Vec<Sha256Hash>>,
}

/// A fact.
pub enum Input {
    /// A torrent to take part in.
    Add(Box<Add>),
    /// A torrent to leave; its connections are closed.
    Remove(TorrentId),
    /// Stop (with the reason, in words) or go on.
    Pause(TorrentId, Option<String>),
    /// New file priorities, as in [`Add::file_priorities`].
    Prioritize(TorrentId, Vec<u8>),
    /// Somebody reads here: this piece is wanted by then, before all others. Of several readers of
    /// a piece the first counts. While a piece is read within a second and a half and a peer gives
    /// it, other torrents ask for nothing, for five seconds at most.
    Deadline(TorrentId, u32, Instant),
    /// Nobody reads any more. When one of several readers stops or jumps, the deadlines that remain
    /// are given again right behind.
    ClearDeadlines(TorrentId),
    /// Whether new pieces come in order, or the rarest first. Deadlines come before either.
    Sequential(TorrentId, bool),
    /// Whether newcomers are shown one piece at a time while nobody else has everything (BEP 16).
    SuperSeed(TorrentId, bool),
    /// New rate limits: payload bytes a second asked for and sent; 0: none. Those of a torrent go
    /// when it goes, all others stay until they are set anew.
    Limits(Scope, u64, u64),
    /// The group a torrent belongs to, for limits that it shares with others.
    Group(TorrentId, Option<u32>),
    /// As [`Config::lan_free`](crate::Config::lan_free).
    LanFree(bool),
    /// As [`Config::unchoke_slots`](crate::Config::unchoke_slots). Slots that are gone are taken
    /// at once from those who use them least.
    Slots(usize),
    /// New limits on connections. Those that are too many are closed, the worst first; dials under
    /// way are left to end.
    Connections {
        /// As [`Config::max_connections`](crate::Config::max_connections).
        all: usize,
        /// As [`Config::max_connections_per_torrent`](crate::Config::max_connections_per_torrent).
        per_torrent: usize,
        /// As [`Config::max_dials`](crate::Config::max_dials).
        dials: usize,
    },
    /// Addresses of peers of this torrent.
    Peers(TorrentId, Source, Vec<SocketAddr>),

    /// Where others see us, one address of a family: BEP 40 ranks peers by it.
    External(IpAddr),

    /// Somebody connected to us; the id comes from [`Session::next_conn`](crate::Session::next_conn). Whether the
    /// connection is encrypted may show later ([`Input::Road`]).
    Incoming(ConnId, SocketAddr, Road),
    /// How an incoming connection's bytes travel, now that it is known.
    Road(ConnId, Road),
    /// A dial succeeded.
    Connected(ConnId, Road),
    /// A dial failed.
    DialFailed(ConnId, Failure),
    /// The peer's handshake.
    Handshake(ConnId, Handshake),
    /// Any message but a piece.
    Message(ConnId, Message),
    /// A block we sent has gone into the socket.
    BlockSent(ConnId, BlockRef),
    /// A block we meant to send could not be read.
    BlockUnreadable(ConnId, BlockRef),
    /// What is to be said to a peer about dialling back: a question or an answer.
    Dialback(ConnId, Dialback),
    /// The connection is gone.
    Disconnected(ConnId),

    /// A piece is whole, hashed and written.
    PieceHashed(TorrentId, u32, PieceDigest),
    /// A write failed: what was taken of this piece is lost. The torrent pauses with the reason.
    WriteFailed(TorrentId, u32, String),
    /// A piece found on disk, with its digest; `None`: it is not (wholly) there.
    Checked(TorrentId, u32, Option<PieceDigest>),
    /// Pieces that the resume record vouches for, when the metadata came after [`Input::Add`].
    Resumed(TorrentId, Bitfield),
    /// The check is over; the torrent starts.
    CheckFinished(TorrentId),
    /// SHA-256 of each block of a piece as it is on disk, asked for by [`Output::ReadDigests`].
    Digests(TorrentId, u32, Option<Vec<Sha256Hash>>),
    /// A piece we claimed is no longer readable or right; it is wanted again.
    Lost(TorrentId, u32),

    /// A server has the content, and is there so far.
    WebSeed(TorrentId, WebSeedId, Class),
    /// A server is to be asked no more, and forgotten.
    NoWebSeed(TorrentId, WebSeedId),
    /// A fetch is over: all of it came, or no more of it will.
    Fetched(TorrentId, FetchId, Result<(), FetchError>),

    /// The time of [`Session::deadline`](crate::Session::deadline) has come.
    Timeout,
}

/// Why a web seed did not give what it was asked for. The reasons are for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FetchError {
    /// It may later: not before this time has passed, if it said so.
    Later(String, Option<Duration>),
    /// It does not have this file of the torrent.
    Missing(usize, String),
    /// It never will.
    Useless(String),
}

/// What to do with a block of a fetch that is about to arrive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Take {
    /// Fill a slot with it.
    Accept,
    /// Read it and forget it.
    Discard,
    /// Read no more for now: [`Output::FetchOn`] says when to ask again.
    Wait,
    /// Nothing more of the fetch is wanted: it is over, and need not be told so.
    End,
}

/// What to do with a block whose header has arrived.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Fill a slot with it.
    Accept(TorrentId),
    /// Read it and forget it.
    Discard,
    /// Close the connection.
    Close(Reason),
}

/// A decision.
#[derive(Debug)]
pub enum Output {
    /// Connect to this address.
    Dial(ConnId, SocketAddr, Approach),
    /// Send our handshake.
    Handshake(ConnId, Handshake),
    /// Send a message.
    Send(ConnId, Message),
    /// Read this block and send it.
    SendBlock(ConnId, TorrentId, BlockRef),
    /// Close the connection (nothing follows about it).
    Close(ConnId, Reason),
    /// Fetch these blocks from a web seed, in this order.
    Fetch(TorrentId, FetchId, WebSeedId, Vec<BlockRef>),
    /// A fetch that was told to wait may go on.
    FetchOn(TorrentId, FetchId),
    /// Stop a fetch (nothing follows about it).
    EndFetch(TorrentId, FetchId),
    /// The piece is right: it may be recorded.
    Verified(TorrentId, u32),
    /// The piece was wrong or given up: forget what was hashed of it.
    Abandon(TorrentId, u32),
    /// Read the piece back and give [`Input::Digests`].
    ReadDigests(TorrentId, u32),
    /// Something a person or the layers above want to know.
    Event(TorrentId, Event),
}

/// What the layers above want to know.
#[derive(Debug)]
pub enum Event {
    /// The info dictionary is here and matches the info-hash.
    Metadata(Arc<Info>),
    /// All wanted pieces are verified.
    Finished,
    /// A peer was caught sending bad data and is banned.
    Banned(SocketAddr),
    /// A web seed is asked no more, for this reason.
    WebSeedDropped(WebSeedId, String),
    /// A whole piece was wrong.
    PieceFailed(u32),
    /// A peer runs a DHT node here.
    DhtNode(SocketAddr),
    /// The peer at the first address says that it sees us at the second (BEP 10, `yourip`).
    SeenAs(SocketAddr, IpAddr),
    /// A peer and dialling back.
    Dialback(ConnId, DialbackEvent),
}

/// What a peer has to do with dialling back (`sl_dialback`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DialbackEvent {
    /// It dials back if it is asked; where it is.
    Offered(IpAddr),
    /// It asks to be dialled here, and waits for an answer.
    Wanted(Transport, SocketAddr),
    /// It says what came of what we asked for; where it is.
    Answered(IpAddr, Transport, DialOutcome),
}

/// Why a connection was closed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, thiserror::Error)]
pub enum Reason {
    /// Nothing within the time a handshake may take.
    #[error("no handshake in time")]
    HandshakeTimeout,
    /// Silent for longer than keep-alives allow.
    #[error("silent for too long")]
    Idle,
    /// It asked for a torrent we do not have.
    #[error("unknown info-hash")]
    UnknownTorrent,
    /// We dialled ourselves.
    #[error("it is ourselves")]
    Ourselves,
    /// There is a connection to this peer already.
    #[error("connected twice")]
    Duplicate,
    /// Both sides have everything.
    #[error("nobody needs anything")]
    Redundant,
    /// It broke the protocol.
    #[error("broke the protocol: {0}")]
    Protocol(&'static str),
    /// It asked for more than it may.
    #[error("flooded us")]
    Flood,
    /// It sent bad data.
    #[error("banned for bad data")]
    Banned,
    /// No room for more connections.
    #[error("too many connections")]
    Full,
    /// The torrent was removed or paused.
    #[error("the torrent stopped")]
    Stopped,
    /// The other side closed, or the network did.
    #[error("closed by the other side")]
    Remote,
}
