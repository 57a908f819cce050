//! What can be asked of a session at any time: torrents, their peers and files, and totals.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use crate::{Class, ConnId, Failure, Road, Source, WebSeedId};

/// What a torrent is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Fetching the info dictionary from peers.
    Metadata,
    /// Existing data is being checked.
    Checking,
    /// Pieces are missing.
    Downloading,
    /// All wanted pieces are here.
    Seeding,
    /// Stopped, with the reason in words.
    Paused(String),
}

/// A torrent at a glance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// What it is doing.
    pub state: State,
    /// Payload bytes of wanted files that are verified.
    pub done: u64,
    /// Payload bytes of wanted files; 0 until the metadata is here.
    pub wanted: u64,
    /// Payload bytes received from peers in this session, wasted ones too.
    pub received: u64,
    /// Of those: what was discarded, came twice, or was wrong.
    pub wasted: u64,
    /// Payload bytes sent.
    pub sent: u64,
    /// Bytes a second, over the last few seconds.
    pub rate_down: u64,
    /// Bytes a second, over the last few seconds.
    pub rate_up: u64,
    /// Connected peers.
    pub peers: usize,
    /// Of those: how many have everything.
    pub seeds: usize,
    /// Addresses known.
    pub known: usize,
    /// Pieces verified.
    pub pieces_done: u32,
    /// Pieces in all.
    pub pieces: u32,
}

/// A peer at a glance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// Its connection.
    pub conn: ConnId,
    /// Its address as seen by us.
    pub addr: SocketAddr,
    /// Where it is, as far as limits care.
    pub class: Class,
    /// How we learnt of it; [`Source::Incoming`]: it came to us.
    pub source: Source,
    /// We dialled it.
    pub outgoing: bool,
    /// How its bytes travel.
    pub road: Road,
    /// Its peer id (BEP 20 says what most make of it).
    pub id: [u8; 20],
    /// What it calls itself, if it said so; printable and short.
    pub client: Option<String>,
    /// Speaks the fast extension (BEP 6).
    pub fast: bool,
    /// Speaks the extension protocol (BEP 10).
    pub extended: bool,
    /// Speaks v2 on this connection (BEP 52).
    pub v2: bool,
    /// It wants nothing (BEP 21).
    pub upload_only: bool,
    /// Time since the handshakes.
    pub connected: Duration,
    /// Bytes a second of payload from it, over the last few seconds.
    pub rate_down: u64,
    /// Bytes a second of payload to it, over the last few seconds.
    pub rate_up: u64,
    /// Payload bytes from it over this connection.
    pub received: u64,
    /// Payload bytes to it over this connection.
    pub sent: u64,
    /// Pieces it has, of [`Status::pieces`].
    pub pieces: u32,
    /// We want something it has.
    pub interested: bool,
    /// It wants something we have.
    pub interested_in_us: bool,
    /// We do not serve it.
    pub choked: bool,
    /// It does not serve us.
    pub chokes_us: bool,
    /// It serves us, so it says, and sends nothing.
    pub snubs_us: bool,
    /// Blocks asked of it.
    pub asked: usize,
    /// Blocks it asked for and has not been sent.
    pub queued: usize,
}

/// How far the peers of a torrent are reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// Addresses known, by how we learnt of them.
    pub known: BTreeMap<Source, u32>,
    /// Of these: how many were dialled.
    pub tried: u32,
    /// With how many there was a connection, whoever dialled.
    pub reached: u32,
    /// Those dialled and never reached, by what happened the last time.
    pub failures: BTreeMap<Failure, u32>,
    /// Peers connected now, by how their bytes travel, and whether we dialled.
    pub connected: BTreeMap<(Road, bool), u32>,
}

/// A web seed at a glance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebSeedStatus {
    /// Which.
    pub id: WebSeedId,
    /// What it is doing.
    pub state: WebSeedState,
    /// Payload bytes received from it.
    pub received: u64,
    /// Bytes a second of payload from it, over the last few seconds.
    pub rate: u64,
}

/// What a web seed is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WebSeedState {
    /// Nothing is asked of it.
    Idle,
    /// So many blocks are asked of it.
    Fetching(usize),
    /// It is left alone for so long, for this reason.
    Waiting(Duration, String),
    /// It is asked no more, for this reason.
    Dropped(String),
}

/// All torrents together, since the session began; torrents that are gone count too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Payload bytes received, wasted ones too.
    pub received: u64,
    /// Payload bytes sent.
    pub sent: u64,
    /// Bytes of handshakes, messages and headers of blocks received: all of the peer wire protocol
    /// that is not payload. What encryption and the network put around it is not counted.
    pub overhead_received: u64,
    /// The same sent.
    pub overhead_sent: u64,
    /// Bytes a second of payload received, over the last few seconds.
    pub rate_down: u64,
    /// Bytes a second of payload sent, over the last few seconds.
    pub rate_up: u64,
    /// Connections in any stage.
    pub connections: usize,
    /// Of those: dials not yet answered.
    pub dials: usize,
}

/// How serving goes: what it takes to find out whether more or fewer slots would serve better.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Uploading {
    /// Payload bytes sent since the session began: two looks say what went between them. What went to peers on the
    /// local network while they were [free](crate::Config::lan_free) is not in it: it says nothing of the uplink.
    pub sent: u64,
    /// Peers served, wherever they are.
    pub served: usize,
    /// Of those: peers whose queue on the way to the network is full, and who wait for more. Where
    /// all are, more slots only make each slower.
    pub full: usize,
    /// Of those served: peers that have nothing queued with us. Where many are, slots are idle.
    pub idle: usize,
    /// Peers that want something and are not served; not those that are free: with more slots they take nothing from the
    /// uplink.
    pub waiting: usize,
    /// A rate limit holds somebody back: what is sent says nothing about the network.
    pub limited: bool,
}
