//! One torrent: its small machines put together.
//!
//! Facts about it arrive from the session; messages of its peers are taken apart in `dispatch`. Here
//! are its state, control and status; what it does with peers is in the modules below.

mod connections;
pub(crate) mod dialback;
mod dispatch;
mod downloading;
mod exchange;
mod pieces;
mod punching;
mod serving;
mod status;
mod superseed;
mod upkeep;
mod web;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use torrent::extension;
use torrent::ids::{InfoHashes, Sha256Hash};
use torrent::layout::{BLOCK, Layout};
use torrent::metainfo::{Info, PieceLayers};
use torrent::wire::{self, BlockRef, Handshake, Message};

use crate::choker::Candidate;
use crate::culprit::{Author, Culprits, Finding};
use crate::hashes::{Expected, Hashes};
use crate::metadata::Fetch;
use crate::peer::{Peer, Pieces};
use crate::picker::{Arrival, Asker, Picker};
use crate::rate::{Flow, Limiter, Meter, Way};
use crate::roster::{Ours, Roster};
use crate::traffic::Traffic;
pub use punching::Share;
pub use superseed::Veil;

use crate::{
    Add, Bitfield, Config, ConnId, Event, Output, PieceDigest, Reason, Source, State, Status,
    TorrentId, Verdict,
};

/// Unasked blocks or impossible requests after which a peer is shown out.
pub(crate) const MOST_NONSENSE: u32 = 200;

/// The numbers we give extensions in our handshakes (BEP 10).
pub(crate) const OUR_PEX: u8 = 1;
pub(crate) const OUR_METADATA: u8 = 2;
pub(crate) const OUR_DONT_HAVE: u8 = 3;
pub(crate) const OUR_UPLOAD_ONLY: u8 = 4;
pub(crate) const OUR_HOLEPUNCH: u8 = 5;
pub(crate) const OUR_DIALBACK: u8 = 6;

/// What all torrents of a session share.
pub(crate) struct Shared {
    pub config: Config,
    pub out: VecDeque<Output>,
    pub limiter: Limiter,
    pub traffic: Traffic,
    /// Torrents in which somebody waits for a piece: others ask for nothing meanwhile.
    pub rush: BTreeSet<TorrentId>,
    /// Peers unchoked now, of all torrents.
    pub unchoked: usize,
    /// Info-hashes learnt since the session last looked.
    pub learnt: Vec<(TorrentId, InfoHashes)>,
    /// Connections that torrents closed since then.
    pub closed: Vec<ConnId>,
    /// Addresses to dial at this moment, since they dial us (BEP 55).
    pub punches: Vec<(TorrentId, SocketAddr)>,
    /// Where others see us.
    pub ours: Ours,
    /// Dials done in this minute because a peer asked for them.
    pub dialbacks: dialback::Minute,
}

impl Shared {
    pub fn send(&mut self, now: Instant, peer: &mut Peer, message: Message) {
        peer.spoke = now;
        self.traffic.up.message(&message);
        self.out.push_back(Output::Send(peer.conn, message));
    }
}

/// Where a torrent is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Metadata,
    Checking,
    Running,
}

pub(crate) struct Torrent {
    pub id: TorrentId,
    pub hashes: InfoHashes,
    pub info: Option<Arc<Info>>,
    phase: Phase,
    paused: Option<String>,
    pub(crate) picker: Picker,
    pub(crate) tree: Hashes,
    pub(crate) fetch: Fetch,
    culprits: Culprits,
    pub(crate) web: web::Web,
    pub roster: Roster,
    pub peers: BTreeMap<ConnId, Peer>,
    /// Peers that left, and where they were: others may have been told of them.
    left: VecDeque<(u32, SocketAddr)>,
    /// The torrents it shares limits with.
    pub group: Option<u32>,
    sequential: bool,
    /// The only seed shows each peer one piece at a time (BEP 16).
    super_seeds: bool,
    file_priorities: Vec<u8>,
    /// Addresses behind connections that delivered blocks.
    authors: BTreeMap<ConnId, IpAddr>,
    /// Pieces found on disk whose v2 hash is not known, with what they hash to.
    unjudged: BTreeMap<u32, Sha256Hash>,
    /// [`Event::Finished`] went out.
    finished_said: bool,
    received: u64,
    wasted: u64,
    sent: u64,
    pub down: Meter,
    pub up: Meter,
    /// Time between blocks of the quickest peer since the last tick.
    best_gap: Option<Duration>,
    seed: u64,
}

impl Torrent {
    pub fn new(shared: &mut Shared, now: Instant, add: Add, seed: u64) -> Torrent {
        let Add {
            id,
            mut hashes,
            info,
            layers,
            have,
            checking,
            file_priorities,
            peers,
        } = add;
        if let Some(info) = &info {
            hashes = info.hashes();
        }
        let pieces = info.as_ref().map_or(0, |i| i.layout().pieces());
        let have = have
            .filter(|h| h.len() == pieces)
            .unwrap_or_else(|| Bitfield::new(pieces));
        let mut roster = Roster::new(seed ^ 1);
        roster.set_ours(shared.ours);
        for addr in peers {
            roster.add(now, addr, Source::Direct);
        }
        let mut torrent = Torrent {
            id,
            hashes,
            phase: Phase::Metadata,
            paused: None,
            picker: Picker::new(have, seed),
            tree: Hashes::default(),
            fetch: Fetch::default(),
            culprits: Culprits::default(),
            web: web::Web::default(),
            roster,
            peers: BTreeMap::new(),
            left: VecDeque::new(),
            group: None,
            sequential: false,
            super_seeds: false,
            file_priorities,
            authors: BTreeMap::new(),
            unjudged: BTreeMap::new(),
            finished_said: false,
            received: 0,
            wasted: 0,
            sent: 0,
            down: Meter::new(now),
            up: Meter::new(now),
            best_gap: None,
            seed,
            info: None,
        };
        if let Some(info) = info {
            torrent.begin(info, layers);
            torrent.phase = if checking {
                Phase::Checking
            } else {
                Phase::Running
            };
            torrent.say_if_finished(shared, now);
        }
        torrent
    }

    /// The info dictionary is known: makes everything that depends on it.
    fn begin(&mut self, info: Arc<Info>, layers: PieceLayers) {
        self.tree = Hashes::new(&info, layers);
        // A hybrid's v1 half can verify alone; a v2 piece is worth nothing without its hash.
        if !info.layout().kind().has_v1() {
            self.picker.gate(self.tree.unknown(info.layout().pieces()));
        }
        self.info = Some(info);
        self.apply_priorities();
    }

    fn apply_priorities(&mut self) {
        let Some(info) = &self.info else { return };
        if self.file_priorities.is_empty() {
            return;
        }
        let layout = info.layout();
        let mut best = vec![0u8; layout.pieces() as usize];
        for file in (0..layout.files()).filter(|&f| !layout.file(f).pad) {
            let priority = self.file_priorities.get(file).copied().unwrap_or(4);
            for piece in layout.file_pieces(file) {
                best[piece as usize] = best[piece as usize].max(priority);
            }
        }
        for (piece, priority) in best.into_iter().enumerate() {
            self.picker.set_priority(piece as u32, priority);
        }
    }

    pub fn is_running(&self) -> bool {
        self.paused.is_none() && self.phase != Phase::Checking
    }

    /// All that is wanted is here.
    pub fn is_finished(&self) -> bool {
        self.info.is_some() && self.picker.is_finished()
    }

    /// Whether there is anybody to look after or to dial: other torrents cost nothing per tick.
    pub fn is_active(&self) -> bool {
        !self.peers.is_empty()
            || self.roster.has_hope(self.is_finished())
            || self.web.has_hope() && !self.is_finished()
    }

    /// Whether dialling more peers can help anybody.
    pub fn wants_peers(&self, config: &Config) -> bool {
        self.is_running()
            && self.peers.len() < config.max_connections_per_torrent
            && !self.roster.is_empty()
    }

    fn private(&self) -> bool {
        self.info.as_ref().is_some_and(|i| i.private())
    }

    fn seed_here(&self) -> bool {
        self.info.is_some() && self.picker.have().is_full()
    }

    /// Stops, for this reason, or goes on.
    pub fn pause(&mut self, shared: &mut Shared, now: Instant, why: Option<String>) {
        let was = std::mem::replace(&mut self.paused, why);
        match (&was, &self.paused) {
            (None, Some(_)) => {
                // What is closed now says nothing against an address.
                self.roster.wake(now);
                self.end_fetches(shared, None);
                for conn in self.peers.keys().copied().collect::<Vec<_>>() {
                    self.close(shared, now, conn, Reason::Stopped);
                }
            }
            (Some(_), None) => {
                self.roster.wake(now);
                self.refill_web(shared, now);
            }
            _ => {}
        }
    }

    /// Pieces in order, or the rarest first.
    pub fn set_sequential(&mut self, sequential: bool) {
        self.sequential = sequential;
        self.picker.set_sequential(sequential);
    }

    pub fn prioritize(&mut self, shared: &mut Shared, now: Instant, priorities: Vec<u8>) {
        self.file_priorities = priorities;
        self.apply_priorities();
        self.say_if_unfinished(shared, now);
        for conn in self.peers.keys().copied().collect::<Vec<_>>() {
            self.recount(shared, now, conn);
        }
        if !self.is_finished() {
            self.roster.wake(now);
        }
        self.refill_web(shared, now);
        self.say_if_finished(shared, now);
    }
}

/// What we open a connection with.
pub(crate) fn our_handshake(config: &Config, info_hash: [u8; 20], hybrid: bool) -> Handshake {
    let mut reserved = wire::Reserved::default().with_fast().with_extended();
    if config.dht_port != 0 {
        reserved = reserved.with_dht();
    }
    if hybrid {
        reserved = reserved.with_v2();
    }
    Handshake {
        reserved,
        info_hash,
        peer_id: config.peer_id,
    }
}
