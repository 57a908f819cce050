//! One connected peer of one torrent: what it has, what is asked of it, what it asks of us.
//!
//! State and its bookkeeping only; the torrent decides.

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use torrent::wire::{BlockRef, Message};

use crate::pipeline::Pipeline;
use crate::rate::Meter;
use crate::torrent::{Share, Veil};
use crate::{Bitfield, Carrier, Class, Config, ConnId, PeerStatus, Road, Source};

/// Requests cancelled or given up that may still be answered: remembered this long.
const LATE: Duration = Duration::from_secs(60);
/// `have` messages remembered before the number of pieces is known.
const MOST_EARLY_HAVES: usize = 4096;
/// Payload handed to the road and not yet in the socket, in bytes: enough for one large read
/// being sent and one being made.
const SENDING: u32 = 512 << 10;

/// Which pieces a peer has.
#[derive(Clone, Debug)]
pub enum Pieces {
    /// The number of pieces is not known yet; what it told us so far.
    Early {
        /// A raw bitfield, if one came.
        bits: Option<Vec<u8>>,
        /// It said it has everything.
        all: bool,
        /// Pieces it told of one by one.
        haves: Vec<u32>,
    },
    /// Some.
    Some(Bitfield),
    /// Everything.
    All,
}

impl Pieces {
    /// Whether the piece is among them.
    pub fn has(&self, piece: u32) -> bool {
        match self {
            Pieces::Early { .. } => false,
            Pieces::Some(bits) => bits.get(piece),
            Pieces::All => true,
        }
    }

    /// Everything is there.
    pub fn is_all(&self) -> bool {
        matches!(self, Pieces::All)
    }

    /// How many, of so many; what it said before their number was known is not counted.
    pub fn count(&self, of: u32) -> u32 {
        match self {
            Pieces::Early { .. } => 0,
            Pieces::Some(bits) => bits.count(),
            Pieces::All => of,
        }
    }

    pub(crate) fn early_have(&mut self, piece: u32) {
        if let Pieces::Early { haves, .. } = self
            && haves.len() < MOST_EARLY_HAVES
        {
            haves.push(piece);
        }
    }
}

/// A block asked of a peer.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// Which.
    pub block: BlockRef,
    /// When.
    pub at: Instant,
    /// False once given up: it may still come, and is taken if it is still needed.
    pub live: bool,
}

/// Numbers the peer gave to extensions (BEP 10); 0: not supported.
#[derive(Clone, Copy, Debug, Default)]
pub struct ExtensionIds {
    /// BEP 9.
    pub metadata: u8,
    /// BEP 11.
    pub pex: u8,
    /// BEP 54.
    pub dont_have: u8,
    /// BEP 21, as libtorrent speaks it.
    pub upload_only: u8,
    /// BEP 55.
    pub holepunch: u8,
    /// Ours, for dialling back.
    pub dialback: u8,
}

/// A connected peer.
#[derive(Debug)]
pub struct Peer {
    /// Its connection.
    pub conn: ConnId,
    /// Its address as seen by us.
    pub addr: SocketAddr,
    /// We dialled it.
    pub outgoing: bool,
    /// How its bytes travel.
    pub road: Road,
    /// How we learnt of it.
    pub source: Source,
    /// Which limits bind it.
    pub class: Class,
    /// When the handshakes were done.
    pub since: Instant,
    /// Its peer id.
    pub id: [u8; 20],
    /// Speaks BEP 6.
    pub fast: bool,
    /// Speaks BEP 10.
    pub extended: bool,
    /// Speaks BEP 52 on this connection.
    pub v2: bool,
    /// Extensions it numbered.
    pub ids: ExtensionIds,
    /// What it calls itself.
    pub client: Option<String>,
    /// Where it sees us listen, if it said so.
    pub sees_us: Option<SocketAddr>,
    /// Where it listens, if it said so.
    pub listens: Option<SocketAddr>,
    /// It wants nothing (BEP 21).
    pub upload_only: bool,

    /// What it has.
    pub pieces: Pieces,
    /// How many of its pieces we want.
    pub wanted: u32,
    /// It may not ask us.
    pub choked: bool,
    /// We told it that we want something.
    pub interested: bool,
    /// We may not ask it.
    pub chokes_us: bool,
    /// It wants something from us.
    pub interested_in_us: bool,
    /// Pieces it lets us ask for while choked (BEP 6).
    pub allowed_us: BTreeSet<u32>,
    /// Pieces we let it ask for while choked.
    pub allowed: BTreeSet<u32>,

    /// What we asked of it, oldest first.
    pub asked: VecDeque<Asked>,
    /// How many of those are live.
    pub live: usize,
    /// How many to have asked.
    pub pipeline: Pipeline,
    /// What it asked of us and is not handed to the road yet.
    pub queue: VecDeque<BlockRef>,
    /// Handed to the road and not yet sent, in bytes.
    pub sending: u32,
    /// Whether it waits until limits let it be asked for more, and be given more.
    pub waits: [bool; 2],
    /// Introductions it had from us (BEP 55).
    pub introductions: Share,
    /// It was dialled back over TCP, over uTP.
    pub dialled_back: [bool; 2],
    /// Dials we did because it said so (BEP 55).
    pub punches: Share,
    /// Blocks that came unasked, and requests we could not honour: too many and it goes.
    pub nonsense: u32,

    /// Payload from it.
    pub down: Meter,
    /// Payload to it.
    pub up: Meter,
    /// `down.total()` at the last choke round.
    pub down_mark: u64,
    /// `up.total()` when it was last unchoked.
    pub turn_mark: u64,
    /// Choke rounds since it was last unchoked.
    pub waited: u32,
    /// The last message from it.
    pub heard: Instant,
    /// The last message to it.
    pub spoke: Instant,
    /// `have`s not yet told, because it needs nothing of us.
    pub untold: Vec<u32>,
    /// It is shown one piece at a time (BEP 16).
    pub veil: Option<Box<Veil>>,
    /// Connections told by peer exchange so far, by the low half of their numbers, in order: there may be hundreds for
    /// each of thousands of peers.
    pub told: Vec<u32>,
    /// When to exchange addresses next.
    pub exchange_at: Instant,
    /// When it may exchange addresses with us next (earlier is ignored).
    pub exchange_from: Instant,
    /// Peer exchange that came before that.
    pub exchange_early: u8,
}

impl Peer {
    /// A peer whose handshake has come.
    pub fn new(
        now: Instant,
        conn: ConnId,
        addr: SocketAddr,
        id: [u8; 20],
        config: &Config,
    ) -> Peer {
        Peer {
            conn,
            addr,
            outgoing: false,
            road: Road::default(),
            source: Source::Incoming,
            class: Class::of(addr.ip()),
            since: now,
            id,
            fast: false,
            extended: false,
            v2: false,
            ids: ExtensionIds::default(),
            client: None,
            sees_us: None,
            listens: None,
            upload_only: false,
            pieces: Pieces::Early {
                bits: None,
                all: false,
                haves: Vec::new(),
            },
            wanted: 0,
            choked: true,
            interested: false,
            chokes_us: true,
            interested_in_us: false,
            allowed_us: BTreeSet::new(),
            allowed: BTreeSet::new(),
            asked: VecDeque::new(),
            live: 0,
            pipeline: Pipeline::new(now, config.max_outstanding.min(250)),
            queue: VecDeque::new(),
            sending: 0,
            waits: [false; 2],
            introductions: Share::new(now),
            dialled_back: [false; 2],
            punches: Share::new(now),
            nonsense: 0,
            down: Meter::new(now),
            up: Meter::new(now),
            down_mark: 0,
            turn_mark: 0,
            waited: 0,
            heard: now,
            spoke: now,
            untold: Vec::new(),
            veil: None,
            told: Vec::new(),
            exchange_at: now + Duration::from_secs(10),
            exchange_from: now,
            exchange_early: 0,
        }
    }

    /// Where it can be dialled, as far as we know; the port of an incoming TCP connection is no such place. Over uTP all
    /// goes through one port, and what we see of it is what its router shows.
    pub fn home(&self) -> Option<SocketAddr> {
        match self.outgoing || self.road.carrier == Carrier::Utp {
            true => Some(self.addr),
            false => self.listens,
        }
    }

    /// It has everything, or wants no more.
    pub fn is_seed(&self) -> bool {
        self.pieces.is_all() || self.upload_only
    }

    /// The peer at a glance; its torrent has so many pieces.
    pub fn status(&self, now: Instant, pieces: u32) -> PeerStatus {
        PeerStatus {
            conn: self.conn,
            addr: self.addr,
            class: self.class,
            source: self.source,
            outgoing: self.outgoing,
            road: self.road,
            id: self.id,
            client: self.client.clone(),
            fast: self.fast,
            extended: self.extended,
            v2: self.v2,
            upload_only: self.upload_only,
            connected: now.saturating_duration_since(self.since),
            rate_down: self.down.rate(now),
            rate_up: self.up.rate(now),
            received: self.down.total(),
            sent: self.up.total(),
            pieces: self.pieces.count(pieces),
            interested: self.interested,
            interested_in_us: self.interested_in_us,
            choked: self.choked,
            chokes_us: self.chokes_us,
            snubs_us: self.live > 0 && self.pipeline.is_stalled(),
            asked: self.live,
            queued: self.queue.len(),
        }
    }

    /// Notes a request.
    pub fn ask(&mut self, now: Instant, block: BlockRef) {
        if self.live == 0 {
            self.pipeline.started(now);
        }
        self.live += 1;
        self.asked.push_back(Asked {
            block,
            at: now,
            live: true,
        });
    }

    /// The request this block answers, if there is one; it is removed.
    pub fn answered(&mut self, block: BlockRef) -> Option<Asked> {
        let at = self.asked.iter().position(|a| a.block == block)?;
        let asked = self.asked.remove(at)?;
        self.live -= usize::from(asked.live);
        Some(asked)
    }

    /// Whether this block was asked for, live or given up.
    pub fn was_asked(&self, block: BlockRef) -> bool {
        self.asked.iter().any(|a| a.block == block)
    }

    /// Whether this block is asked for now.
    pub fn is_asked(&self, block: BlockRef) -> bool {
        self.asked.iter().any(|a| a.live && a.block == block)
    }

    /// Gives up live requests that `fits` picks; they may still be answered.
    pub fn give_up(&mut self, mut fits: impl FnMut(BlockRef) -> bool) -> Vec<BlockRef> {
        let mut given = Vec::new();
        for asked in self.asked.iter_mut().filter(|a| a.live) {
            if fits(asked.block) {
                asked.live = false;
                given.push(asked.block);
            }
        }
        self.live -= given.len();
        given
    }

    /// Forgets given-up requests nobody will answer any more.
    pub fn forget_late(&mut self, now: Instant) {
        self.asked
            .retain(|a| a.live || now.saturating_duration_since(a.at) < LATE);
    }

    /// The next block to send it, if its road has room.
    pub fn next_upload(&self) -> Option<BlockRef> {
        let block = *self.queue.front()?;
        let room = self.sending == 0 || self.sending + block.len <= SENDING;
        room.then_some(block)
    }

    /// [`Peer::next_upload`] goes to the road.
    pub fn hand_over(&mut self) {
        if let Some(block) = self.queue.pop_front() {
            self.sending += block.len;
        }
    }

    /// The message that refuses a request, for peers that understand it.
    pub fn reject(&self, block: BlockRef) -> Option<Message> {
        self.fast.then_some(Message::Reject(block))
    }
}
