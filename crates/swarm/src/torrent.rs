//! One torrent: its small machines put together.
//!
//! Facts about it arrive from the session; messages of its peers are taken apart in `dispatch`.

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
use crate::culprit::{Culprits, Finding};
use crate::hashes::{Expected, Hashes};
use crate::metadata::Fetch;
use crate::peer::{Peer, Pieces};
use crate::picker::{Arrival, Asker, Picker};
use crate::rate::{Bucket, Meter};
use crate::roster::Roster;
use crate::{
    Add, Bitfield, Config, ConnId, Event, Output, PieceDigest, Reason, Source, State, Status,
    TorrentId, Verdict,
};

/// A keep-alive goes out after this much silence of ours (BEP 3 says two minutes).
const KEEP_ALIVE: Duration = Duration::from_secs(100);
/// A peer silent for this long is gone.
const SILENCE: Duration = Duration::from_secs(240);
/// A peer that owes us blocks is gone after less: its address is worth another dial.
const OWED_SILENCE: Duration = Duration::from_secs(60);
/// Time between two exchanges of addresses with a peer (BEP 11).
const EXCHANGE: Duration = Duration::from_secs(60);
/// Addresses in one exchange (BEP 11).
const MOST_EXCHANGED: usize = 50;
/// Unasked blocks or impossible requests after which a peer is shown out.
pub(crate) const MOST_NONSENSE: u32 = 200;
/// Authors of blocks remembered after they left, for blame.
const MOST_AUTHORS: usize = 4096;
/// Pieces a newcomer may fetch while choked (BEP 6)...
pub(crate) const ALLOWED_FAST: usize = 5;
/// ...and one in so many at most: a seed whose few pieces are free for all has no slots to deal.
const ALLOWED_FAST_SHARE: u32 = 100;

/// The numbers we give extensions in our handshakes (BEP 10).
pub(crate) const OUR_PEX: u8 = 1;
pub(crate) const OUR_METADATA: u8 = 2;
pub(crate) const OUR_DONT_HAVE: u8 = 3;
pub(crate) const OUR_UPLOAD_ONLY: u8 = 4;

/// What all torrents of a session share.
pub(crate) struct Shared {
    pub config: Config,
    pub out: VecDeque<Output>,
    pub down: Bucket,
    pub up: Bucket,
    /// Peers unchoked now, of all torrents.
    pub unchoked: usize,
    /// The limit on what we ask for held something back: try again when its bucket says so.
    pub starved_down: bool,
    /// The same with what we send.
    pub starved_up: bool,
    /// Info-hashes learnt since the session last looked.
    pub learnt: Vec<(TorrentId, InfoHashes)>,
}

impl Shared {
    pub fn send(&mut self, now: Instant, peer: &mut Peer, message: Message) {
        peer.spoke = now;
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
    pub roster: Roster,
    pub peers: BTreeMap<ConnId, Peer>,
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
            roster,
            peers: BTreeMap::new(),
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

    // ---- connections -------------------------------------------------------------------------

    /// The handshake we open with.
    pub fn handshake(&self, config: &Config) -> Handshake {
        let (hash, hybrid) = match (self.hashes.v1, self.hashes.v2) {
            (Some(v1), v2) => (v1, v2.is_some()),
            (None, Some(v2)) => (torrent::ids::truncated(&v2), true),
            (None, None) => unreachable!("a torrent has at least one info-hash"),
        };
        our_handshake(config, hash, hybrid)
    }

    /// Both handshakes are done.
    pub fn connected(
        &mut self,
        shared: &mut Shared,
        now: Instant,
        conn: ConnId,
        (addr, outgoing): (SocketAddr, bool),
        theirs: &Handshake,
        v2: bool,
    ) {
        let mut peer = Peer::new(now, conn, addr, theirs.peer_id, &shared.config);
        peer.outgoing = outgoing;
        peer.fast = theirs.reserved.fast();
        peer.extended = theirs.reserved.extended();
        peer.v2 = v2;
        self.roster.hold(addr);
        self.roster.worked(addr);
        if peer.extended {
            let payload = self.extension_handshake(shared, addr).encode();
            shared.send(now, &mut peer, Message::Extended { id: 0, payload });
        }
        let have = self.picker.have();
        let what = match self.info.as_ref() {
            Some(_) if have.is_full() && peer.fast => Some(Message::HaveAll),
            Some(_) if have.count() > 0 => Some(Message::Bitfield(have.to_wire())),
            _ => peer.fast.then_some(Message::HaveNone),
        };
        if let Some(what) = what {
            shared.send(now, &mut peer, what);
        }
        if theirs.reserved.dht() && shared.config.dht_port != 0 && !self.private() {
            shared.send(now, &mut peer, Message::Port(shared.config.dht_port));
        }
        if self.info.is_some() {
            peer.pieces = Pieces::Some(Bitfield::new(have.len()));
            self.offer_allowed_fast(shared, now, &mut peer);
        }
        self.peers.insert(conn, peer);
        self.picker.set_max_partials((self.peers.len() * 2).max(8));
    }

    fn extension_handshake(&self, shared: &Shared, addr: SocketAddr) -> extension::Handshake {
        let config = &shared.config;
        let public = !self.private();
        extension::Handshake {
            m: extension::Ids {
                ut_metadata: Some(OUR_METADATA),
                ut_pex: (public && config.peer_exchange).then_some(OUR_PEX),
                lt_donthave: Some(OUR_DONT_HAVE),
                upload_only: Some(OUR_UPLOAD_ONLY),
                ..Default::default()
            },
            v: Some(config.client.clone()),
            p: (config.listen_port != 0).then_some(config.listen_port),
            reqq: Some(config.request_queue as u32),
            metadata_size: self.info.as_ref().map(|i| i.raw().len() as u32),
            yourip: Some(addr.ip()),
            upload_only: self.is_finished().then_some(true),
            ..Default::default()
        }
    }

    fn offer_allowed_fast(&mut self, shared: &mut Shared, now: Instant, peer: &mut Peer) {
        let IpAddr::V4(ip) = peer.addr.ip().to_canonical() else {
            return;
        };
        let (Some(hash), Some(info)) = (self.hashes.best(), &self.info) else {
            return;
        };
        if !peer.fast || self.picker.have().count() == 0 {
            return;
        }
        let pieces = info.layout().pieces();
        let count = ALLOWED_FAST.min((pieces / ALLOWED_FAST_SHARE) as usize);
        let set = wire::allowed_fast_set(ip, &hash, pieces, count);
        for piece in set.into_iter().filter(|&p| self.picker.have().get(p)) {
            peer.allowed.insert(piece);
            shared.send(now, peer, Message::AllowedFast(piece));
        }
    }

    /// The connection is gone (or we close it): its work goes back.
    pub fn disconnected(&mut self, shared: &mut Shared, now: Instant, conn: ConnId) {
        let Some(mut peer) = self.peers.remove(&conn) else {
            return;
        };
        for block in peer.give_up(|_| true) {
            self.picker.released(conn, block);
        }
        self.picker.disown(conn);
        if let Pieces::Some(bits) = &peer.pieces {
            self.picker.peer_bits(bits, false);
        }
        shared.unchoked -= usize::from(!peer.choked);
        self.fetch.gone(conn);
        self.tree.gone(conn);
        self.roster.free(now, peer.home());
        if self.info.is_some() && !self.is_finished() {
            self.refill_all(shared, now);
        }
    }

    /// Closes a connection for a reason of ours.
    pub fn close(&mut self, shared: &mut Shared, now: Instant, conn: ConnId, reason: Reason) {
        let addr = self.peers.get(&conn).map(Peer::home);
        self.disconnected(shared, now, conn);
        match (addr, reason) {
            (Some(addr), Reason::Ourselves) => self.roster.forget(addr),
            (Some(addr), Reason::Redundant) if self.seed_here() => self.roster.forget(addr),
            // Files not wanted yet may be wanted later.
            (Some(addr), Reason::Redundant) => self.roster.rest(now, addr),
            _ => {}
        }
        shared.out.push_back(Output::Close(conn, reason));
    }

    fn ban(&mut self, shared: &mut Shared, now: Instant, ip: IpAddr) {
        self.roster.ban(ip);
        let theirs: Vec<(ConnId, SocketAddr)> = self
            .peers
            .values()
            .filter(|p| p.addr.ip().to_canonical() == ip.to_canonical())
            .map(|p| (p.conn, p.addr))
            .collect();
        let addr = theirs.first().map_or(SocketAddr::new(ip, 0), |t| t.1);
        shared
            .out
            .push_back(Output::Event(self.id, Event::Banned(addr)));
        for (conn, _) in theirs {
            self.close(shared, now, conn, Reason::Banned);
        }
    }

    // ---- downloading -------------------------------------------------------------------------

    /// Recounts what we want of a peer and says so if that changed.
    pub(crate) fn recount(&mut self, shared: &mut Shared, now: Instant, conn: ConnId) {
        let Some(peer) = self.peers.get_mut(&conn) else {
            return;
        };
        let have = self.picker.have();
        peer.wanted = match &peer.pieces {
            Pieces::Early { .. } => 0,
            Pieces::All => (0..have.len()).filter(|&p| self.picker.wants(p)).count() as u32,
            Pieces::Some(bits) => bits.iter().filter(|&p| self.picker.wants(p)).count() as u32,
        };
        self.update_interest(shared, now, conn);
    }

    pub(crate) fn update_interest(&mut self, shared: &mut Shared, now: Instant, conn: ConnId) {
        let running = self.is_running();
        let Some(peer) = self.peers.get_mut(&conn) else {
            return;
        };
        let want = peer.wanted > 0 && running;
        if want != peer.interested {
            peer.interested = want;
            let message = if want {
                Message::Interested
            } else {
                Message::NotInterested
            };
            shared.send(now, peer, message);
        }
        self.refill(shared, now, conn);
    }

    /// Asks a peer for as many blocks as its pipeline has room for.
    pub(crate) fn refill(&mut self, shared: &mut Shared, now: Instant, conn: ConnId) {
        let (Some(info), true) = (&self.info, self.is_running()) else {
            return;
        };
        let Some(peer) = self.peers.get_mut(&conn) else {
            return;
        };
        if !peer.interested || peer.chokes_us && peer.allowed_us.is_empty() {
            return;
        }
        if peer.pipeline.is_stalled() && !peer.asked.is_empty() {
            return;
        }
        let mut room = peer.pipeline.room(peer.live);
        if shared.config.limit_down > 0 {
            let affordable = (0..room)
                .take_while(|_| shared.down.take(now, u64::from(BLOCK)))
                .count();
            shared.starved_down |= affordable < room;
            room = affordable;
        }
        if room == 0 {
            return;
        }
        let allowed = |p: u32| !peer.chokes_us || peer.allowed_us.contains(&p);
        let asker = Asker {
            conn,
            has: &|p| peer.pieces.has(p) && allowed(p),
            room,
            outstanding: peer.live,
            quick: peer.pipeline.keeps_up(self.best_gap),
            asked: &|b| peer.is_asked(b),
        };
        let picked = self.picker.pick(now, info.layout(), &asker);
        if shared.config.limit_down > 0 {
            shared
                .down
                .give_back((room - picked.len()) as u64 * u64::from(BLOCK));
        }
        for block in picked {
            peer.ask(now, block);
            shared.send(now, peer, Message::Request(block));
        }
    }

    pub(crate) fn refill_all(&mut self, shared: &mut Shared, now: Instant) {
        let conns: Vec<ConnId> = self.peers.keys().copied().collect();
        for conn in conns {
            self.refill(shared, now, conn);
        }
    }

    /// A block's header has come: is its payload worth a slot?
    pub fn block_arriving(&mut self, now: Instant, conn: ConnId, block: BlockRef) -> Verdict {
        let Some(peer) = self.peers.get_mut(&conn) else {
            return Verdict::Discard;
        };
        peer.heard = now;
        if peer.was_asked(block) {
            if self.picker.needs(block) && self.is_running() {
                return Verdict::Accept(self.id);
            }
            return Verdict::Discard;
        }
        peer.nonsense += 1;
        if peer.nonsense > MOST_NONSENSE {
            return Verdict::Close(Reason::Protocol("sent blocks nobody asked for"));
        }
        Verdict::Discard
    }

    /// A block's payload has come (into a slot, or into nothing if `kept` is false). Returns
    /// whether the slot goes to the store.
    pub fn block_arrived(
        &mut self,
        shared: &mut Shared,
        now: Instant,
        conn: ConnId,
        block: BlockRef,
        kept: bool,
    ) -> bool {
        let len = u64::from(block.len);
        self.received += len;
        self.down.add(now, len);
        let mut store = false;
        if let Some(peer) = self.peers.get_mut(&conn) {
            peer.heard = now;
            peer.down.add(now, len);
            if let Some(asked) = peer.answered(block) {
                let rate = peer.down.rate(now);
                peer.pipeline.arrived(now, asked.at, rate);
                self.best_gap = self
                    .best_gap
                    .min(peer.pipeline.gap())
                    .or(peer.pipeline.gap());
                if asked.live && !kept {
                    self.picker.released(conn, block);
                }
                if kept && let Arrival::Fresh { elsewhere, .. } = self.picker.arrived(conn, block) {
                    store = true;
                    self.authors.insert(conn, peer.addr.ip().to_canonical());
                    if elsewhere {
                        self.cancel_elsewhere(shared, now, conn, block);
                    }
                }
            }
        }
        if !store {
            self.wasted += len;
        }
        if self.authors.len() > MOST_AUTHORS {
            let gone = self
                .authors
                .keys()
                .copied()
                .find(|c| !self.peers.contains_key(c));
            gone.map(|c| self.authors.remove(&c));
        }
        self.refill(shared, now, conn);
        store
    }

    fn cancel_elsewhere(
        &mut self,
        shared: &mut Shared,
        now: Instant,
        but: ConnId,
        block: BlockRef,
    ) {
        let mut freed = Vec::new();
        for peer in self.peers.values_mut().filter(|p| p.conn != but) {
            for block in peer.give_up(|b| b == block) {
                freed.push(peer.conn);
                shared.send(now, peer, Message::Cancel(block));
            }
        }
        for conn in freed {
            self.refill(shared, now, conn);
        }
    }

    // ---- pieces ------------------------------------------------------------------------------

    /// `None` if nothing is known to judge it by.
    fn judge(&self, piece: u32, digest: &PieceDigest) -> Option<bool> {
        let info = self.info.as_ref()?;
        let v1 = info
            .piece_sha1(piece)
            .map(|right| digest.sha1.as_ref() == Some(right));
        let v2 = match self.tree.expected(piece) {
            Expected::Hash(right) => Some(digest.root.as_ref() == Some(&right)),
            Expected::Unknown | Expected::None => None,
        };
        match (v1, v2) {
            (None, None) => None,
            (v1, v2) => Some(v1.unwrap_or(true) && v2.unwrap_or(true)),
        }
    }

    pub fn piece_hashed(
        &mut self,
        shared: &mut Shared,
        now: Instant,
        piece: u32,
        digest: PieceDigest,
    ) {
        if self.info.is_none() || self.picker.have().get(piece) {
            return;
        }
        if self.judge(piece, &digest) == Some(true) {
            self.piece_right(shared, now, piece, &digest);
        } else {
            self.piece_wrong(shared, now, piece, digest);
        }
    }

    fn piece_right(&mut self, shared: &mut Shared, now: Instant, piece: u32, digest: &PieceDigest) {
        let proof = self.culprits.wants_proof(piece);
        self.mark(shared, now, piece, digest);
        if proof {
            match &digest.leaves {
                Some(leaves) => self.convict(shared, now, piece, leaves),
                None => shared.out.push_back(Output::ReadDigests(self.id, piece)),
            }
        }
        for conn in self.peers.keys().copied().collect::<Vec<_>>() {
            let Some(peer) = self.peers.get_mut(&conn) else {
                continue;
            };
            let theirs = peer.pieces.has(piece);
            if theirs {
                peer.wanted = peer.wanted.saturating_sub(1);
            }
            if matches!(peer.pieces, Pieces::All) || peer.upload_only {
                peer.untold.push(piece);
            } else {
                shared.send(now, peer, Message::Have(piece));
            }
            if theirs && peer.wanted == 0 {
                self.update_interest(shared, now, conn);
            }
        }
        self.say_if_finished(shared, now);
    }

    /// Notes a piece as verified.
    fn mark(&mut self, shared: &mut Shared, _now: Instant, piece: u32, digest: &PieceDigest) {
        if self.picker.verified(piece) {
            shared.out.push_back(Output::Verified(self.id, piece));
            if let Some(root) = digest.root {
                self.tree.learned(piece, root);
            }
        }
    }

    fn piece_wrong(&mut self, shared: &mut Shared, now: Instant, piece: u32, digest: PieceDigest) {
        let Some(info) = self.info.clone() else {
            return;
        };
        let from: Vec<(u32, IpAddr)> = self
            .picker
            .contributors(piece)
            .into_iter()
            .filter_map(|(block, conn)| Some((block, *self.authors.get(&conn)?)))
            .collect();
        self.wasted += from
            .iter()
            .map(|&(block, _)| u64::from(info.layout().block_len(piece, block)))
            .sum::<u64>();
        shared
            .out
            .push_back(Output::Event(self.id, Event::PieceFailed(piece)));
        shared.out.push_back(Output::Abandon(self.id, piece));
        if from.is_empty() {
            self.picker.failed(info.layout(), piece, false);
            return self.refill_all(shared, now);
        }
        match self.culprits.failed(piece, from, digest.leaves.as_deref()) {
            Finding::Guilty(ip) => {
                self.picker.failed(info.layout(), piece, false);
                self.ban(shared, now, ip);
            }
            Finding::Noted => self.picker.failed(info.layout(), piece, true),
            // Asked for again once the evidence is read: it would be overwritten.
            Finding::NeedDigests => {
                shared.out.push_back(Output::ReadDigests(self.id, piece));
                return;
            }
        }
        self.refill_all(shared, now);
    }

    fn convict(&mut self, shared: &mut Shared, now: Instant, piece: u32, right: &[Sha256Hash]) {
        for ip in self.culprits.convict(piece, right) {
            self.ban(shared, now, ip);
        }
    }

    pub fn digests(
        &mut self,
        shared: &mut Shared,
        now: Instant,
        piece: u32,
        digests: Option<Vec<Sha256Hash>>,
    ) {
        let Some(info) = self.info.clone() else {
            return;
        };
        for (conn, message) in self.tree.leaves(piece, digests.as_deref()) {
            if let Some(peer) = self.peers.get_mut(&conn) {
                shared.send(now, peer, message);
            }
        }
        if self.picker.have().get(piece) {
            if let Some(right) = &digests
                && self.culprits.wants_proof(piece)
            {
                self.convict(shared, now, piece, right);
            }
            return;
        }
        if let Some(digests) = digests {
            self.culprits.note(piece, digests);
        }
        if self.picker.contributors(piece).is_empty() {
            return;
        }
        self.picker.failed(info.layout(), piece, true);
        self.refill_all(shared, now);
    }

    pub fn write_failed(&mut self, shared: &mut Shared, now: Instant, piece: u32, why: String) {
        if let Some(info) = self.info.clone() {
            self.picker.failed(info.layout(), piece, false);
            shared.out.push_back(Output::Abandon(self.id, piece));
        }
        self.pause(shared, now, Some(why));
    }

    pub fn checked(
        &mut self,
        shared: &mut Shared,
        now: Instant,
        piece: u32,
        digest: Option<PieceDigest>,
    ) {
        match digest.map(|digest| (self.judge(piece, &digest), digest)) {
            Some((Some(true), digest)) => self.mark(shared, now, piece, &digest),
            // A v2 file whose piece layer nobody has sent yet: all its pieces together can
            // still prove to be right, by the file's root.
            Some((
                None,
                PieceDigest {
                    root: Some(root), ..
                },
            )) => {
                self.unjudged.insert(piece, root);
                self.tree.learned(piece, root);
            }
            _ => self.picker.lost(piece),
        }
    }

    pub fn resumed(&mut self, have: &Bitfield) {
        if have.len() == self.picker.have().len() {
            have.iter().for_each(|piece| {
                self.picker.verified(piece);
            });
        }
    }

    pub fn check_finished(&mut self, shared: &mut Shared, now: Instant) {
        if self.phase == Phase::Checking {
            self.phase = Phase::Running;
            for (piece, root) in std::mem::take(&mut self.unjudged) {
                if self.tree.expected(piece) == Expected::Hash(root) {
                    self.picker.open(piece);
                    let digest = PieceDigest {
                        root: Some(root),
                        ..PieceDigest::default()
                    };
                    self.mark(shared, now, piece, &digest);
                }
            }
            self.say_if_finished(shared, now);
            for conn in self.peers.keys().copied().collect::<Vec<_>>() {
                self.recount(shared, now, conn);
                self.ask_hashes(shared, now, conn);
            }
        }
    }

    pub fn lost(&mut self, shared: &mut Shared, now: Instant, piece: u32) {
        self.picker.lost(piece);
        self.finished_said = false;
        for conn in self.peers.keys().copied().collect::<Vec<_>>() {
            let Some(peer) = self.peers.get_mut(&conn) else {
                continue;
            };
            if peer.ids.dont_have != 0 {
                let payload = extension::DontHave(piece).encode();
                let id = peer.ids.dont_have;
                shared.send(now, peer, Message::Extended { id, payload });
            }
            self.recount(shared, now, conn);
        }
    }

    fn say_if_finished(&mut self, shared: &mut Shared, now: Instant) {
        if self.phase == Phase::Checking || !self.is_finished() || self.finished_said {
            return;
        }
        self.finished_said = true;
        shared
            .out
            .push_back(Output::Event(self.id, Event::Finished));
        for conn in self.peers.keys().copied().collect::<Vec<_>>() {
            let Some(peer) = self.peers.get_mut(&conn) else {
                continue;
            };
            for piece in std::mem::take(&mut peer.untold) {
                shared.send(now, peer, Message::Have(piece));
            }
            if peer.ids.upload_only != 0 {
                let payload = extension::UploadOnly(true).encode();
                let id = peer.ids.upload_only;
                shared.send(now, peer, Message::Extended { id, payload });
            }
            self.close_if_redundant(shared, now, conn);
        }
    }

    pub(crate) fn close_if_redundant(&mut self, shared: &mut Shared, now: Instant, conn: ConnId) {
        let Some(peer) = self.peers.get(&conn) else {
            return;
        };
        // A peer still fetching metadata looks upload-only to nobody; hash requests need a peer too.
        if self.is_finished() && peer.pieces.is_all() && self.seed_here()
            || self.is_finished()
                && peer.upload_only
                && !matches!(peer.pieces, Pieces::Early { .. })
        {
            self.close(shared, now, conn, Reason::Redundant);
        }
    }

    // ---- metadata ----------------------------------------------------------------------------

    /// The whole info dictionary has come from peers.
    pub(crate) fn metadata_whole(&mut self, shared: &mut Shared, now: Instant, raw: &[u8]) {
        let info = Info::parse(raw)
            .ok()
            .filter(|i| self.hashes.agrees(&i.hashes()));
        let Some(info) = info else {
            if let Some(liar) = self.fetch.wrong()
                && let Some(ip) = self.peers.get(&liar).map(|p| p.addr.ip())
            {
                self.ban(shared, now, ip);
            }
            return;
        };
        let info = Arc::new(info);
        self.hashes = info.hashes();
        shared.learnt.push((self.id, self.hashes));
        self.picker = Picker::new(Bitfield::new(info.layout().pieces()), self.seed);
        self.picker.set_max_partials((self.peers.len() * 2).max(8));
        self.begin(info.clone(), PieceLayers::default());
        self.fetch = Fetch::default();
        // The files may be here already: whoever drives us checks, and says when that is over.
        self.phase = Phase::Checking;
        shared
            .out
            .push_back(Output::Event(self.id, Event::Metadata(info)));
        for conn in self.peers.keys().copied().collect::<Vec<_>>() {
            if let Err(reason) = self.settle_pieces(shared, now, conn) {
                self.close(shared, now, conn, reason);
            }
        }
    }

    // ---- serving -----------------------------------------------------------------------------

    /// Hands over what a peer may be sent now.
    pub(crate) fn pump(&mut self, shared: &mut Shared, now: Instant, conn: ConnId) {
        if self.paused.is_some() {
            return;
        }
        let Some(peer) = self.peers.get_mut(&conn) else {
            return;
        };
        loop {
            let mut held = false;
            let up = &mut shared.up;
            let next = peer.next_upload(|len| {
                held = !up.take(now, u64::from(len));
                !held
            });
            shared.starved_up |= held;
            let Some(block) = next else { return };
            shared
                .out
                .push_back(Output::SendBlock(conn, self.id, block));
        }
    }

    pub fn block_sent(&mut self, shared: &mut Shared, now: Instant, conn: ConnId, block: BlockRef) {
        if let Some(peer) = self.peers.get_mut(&conn) {
            peer.sending = peer.sending.saturating_sub(block.len);
            peer.up.add(now, u64::from(block.len));
            peer.spoke = now;
            self.up.add(now, u64::from(block.len));
            self.sent += u64::from(block.len);
        }
        self.pump(shared, now, conn);
    }

    pub fn block_unreadable(
        &mut self,
        shared: &mut Shared,
        now: Instant,
        conn: ConnId,
        block: BlockRef,
    ) {
        if let Some(peer) = self.peers.get_mut(&conn) {
            peer.sending = peer.sending.saturating_sub(block.len);
            if let Some(message) = peer.reject(block) {
                shared.send(now, peer, message);
            }
        }
        self.pump(shared, now, conn);
    }

    /// Chokes or unchokes a peer.
    pub fn set_choked(&mut self, shared: &mut Shared, now: Instant, conn: ConnId, choked: bool) {
        let Some(peer) = self.peers.get_mut(&conn) else {
            return;
        };
        if peer.choked == choked {
            return;
        }
        peer.choked = choked;
        if !choked {
            shared.unchoked += 1;
            peer.waited = 0;
            peer.turn_mark = peer.up.total();
            shared.send(now, peer, Message::Unchoke);
            return;
        }
        shared.unchoked -= 1;
        shared.send(now, peer, Message::Choke);
        let (kept, dropped): (Vec<_>, Vec<_>) = peer
            .queue
            .drain(..)
            .partition(|b| peer.allowed.contains(&b.piece));
        peer.queue = kept.into();
        for block in dropped {
            if let Some(message) = peer.reject(block) {
                shared.send(now, peer, message);
            }
        }
    }

    /// What the choker needs to know; marks the start of a round.
    pub fn candidates(&mut self, into: &mut Vec<(TorrentId, Candidate)>) {
        if !self.is_running() {
            return;
        }
        let seeding = self.is_finished();
        for peer in self.peers.values_mut() {
            peer.waited = if peer.choked {
                peer.waited.saturating_add(1)
            } else {
                0
            };
            let progress = match &peer.pieces {
                Pieces::Some(bits) if !bits.is_empty() => {
                    (u64::from(bits.count()) * 1000 / u64::from(bits.len())) as u32
                }
                _ => 0,
            };
            if peer.interested_in_us {
                let candidate = Candidate {
                    conn: peer.conn,
                    unchoked: !peer.choked,
                    seeding,
                    gave: peer.down.total() - peer.down_mark,
                    took: peer.up.total() - peer.up_mark,
                    turn: peer.up.total() - peer.turn_mark,
                    progress,
                    waited: peer.waited,
                    snubbing: !seeding && peer.live > 0 && peer.pipeline.is_stalled(),
                };
                into.push((self.id, candidate));
            }
            peer.down_mark = peer.down.total();
            peer.up_mark = peer.up.total();
        }
    }

    // ---- control -----------------------------------------------------------------------------

    pub fn pause(&mut self, shared: &mut Shared, now: Instant, why: Option<String>) {
        let was = std::mem::replace(&mut self.paused, why);
        match (&was, &self.paused) {
            (None, Some(_)) => {
                for conn in self.peers.keys().copied().collect::<Vec<_>>() {
                    self.close(shared, now, conn, Reason::Stopped);
                }
            }
            (Some(_), None) => self.roster.wake(now),
            _ => {}
        }
    }

    pub fn prioritize(&mut self, shared: &mut Shared, now: Instant, priorities: Vec<u8>) {
        self.file_priorities = priorities;
        self.apply_priorities();
        self.finished_said &= self.is_finished();
        for conn in self.peers.keys().copied().collect::<Vec<_>>() {
            self.recount(shared, now, conn);
        }
        if !self.is_finished() {
            self.roster.wake(now);
        }
        self.say_if_finished(shared, now);
    }

    // ---- time --------------------------------------------------------------------------------

    /// Once a second while there are peers.
    pub fn tick(&mut self, shared: &mut Shared, now: Instant) {
        for conn in self.peers.keys().copied().collect::<Vec<_>>() {
            self.tick_peer(shared, now, conn);
        }
        let willing = self.peers.values().filter(|p| !p.chokes_us);
        self.best_gap = willing.filter_map(|p| p.pipeline.gap()).min();
        if self.info.is_some() && !self.is_finished() {
            self.refill_all(shared, now);
        }
    }

    fn tick_peer(&mut self, shared: &mut Shared, now: Instant, conn: ConnId) {
        let Some(peer) = self.peers.get_mut(&conn) else {
            return;
        };
        let patience = if peer.live > 0 { OWED_SILENCE } else { SILENCE };
        if now.saturating_duration_since(peer.heard) > patience {
            return self.close(shared, now, conn, Reason::Idle);
        }
        if now.saturating_duration_since(peer.spoke) > KEEP_ALIVE {
            shared.send(now, peer, Message::KeepAlive);
        }
        for piece in std::mem::take(&mut peer.untold) {
            shared.send(now, peer, Message::Have(piece));
        }
        peer.forget_late(now);
        if peer.live > 0 && now >= peer.pipeline.stalls_at() {
            // All of it goes to others. The oldest request is not taken back, so that the peer can
            // show that it has recovered.
            for (n, block) in peer.give_up(|_| true).into_iter().enumerate() {
                self.picker.released(conn, block);
                if n > 0 {
                    shared.send(now, peer, Message::Cancel(block));
                }
            }
            self.picker.disown(conn);
            peer.pipeline.stall(now);
        }
        self.ask_metadata(shared, now, conn);
        self.ask_hashes(shared, now, conn);
        self.exchange(shared, now, conn);
    }

    pub(crate) fn ask_metadata(&mut self, shared: &mut Shared, now: Instant, conn: ConnId) {
        let Some(peer) = self.peers.get_mut(&conn) else {
            return;
        };
        if self.info.is_some() || self.paused.is_some() || peer.ids.metadata == 0 {
            return;
        }
        for piece in self.fetch.next(now, conn) {
            let payload = extension::Metadata::Request {
                piece: piece as u32,
            }
            .encode();
            let id = peer.ids.metadata;
            shared.send(now, peer, Message::Extended { id, payload });
        }
    }

    pub(crate) fn ask_hashes(&mut self, shared: &mut Shared, now: Instant, conn: ConnId) {
        let Some(peer) = self.peers.get_mut(&conn) else {
            return;
        };
        if !peer.v2 || self.info.is_none() || self.paused.is_some() {
            return;
        }
        let has = |piece| peer.pieces.has(piece);
        let ranges = self.tree.next_requests(now, conn, has);
        for range in ranges {
            shared.send(now, peer, Message::HashRequest(range));
        }
    }

    fn exchange(&mut self, shared: &mut Shared, now: Instant, conn: ConnId) {
        let due = |p: &Peer| p.ids.pex != 0 && now >= p.exchange_at;
        if !shared.config.peer_exchange || self.private() || !self.peers.get(&conn).is_some_and(due)
        {
            return;
        }
        let reachable: BTreeSet<SocketAddr> = self
            .peers
            .values()
            .filter(|p| p.conn != conn)
            .filter_map(|p| if p.outgoing { Some(p.addr) } else { p.listens })
            .collect();
        let seeds: BTreeSet<SocketAddr> = self
            .peers
            .values()
            .filter(|p| p.pieces.is_all())
            .map(|p| p.addr)
            .collect();
        let Some(peer) = self.peers.get_mut(&conn) else {
            return;
        };
        peer.exchange_at = now + EXCHANGE;
        let added: Vec<SocketAddr> = reachable
            .difference(&peer.told)
            .filter(|a| Some(**a) != peer.listens && **a != peer.addr)
            .take(MOST_EXCHANGED)
            .copied()
            .collect();
        let dropped: Vec<SocketAddr> = peer
            .told
            .difference(&reachable)
            .take(MOST_EXCHANGED)
            .copied()
            .collect();
        if added.is_empty() && dropped.is_empty() {
            return;
        }
        peer.told.extend(&added);
        dropped.iter().for_each(|a| {
            peer.told.remove(a);
        });
        let flags = |a: &SocketAddr| {
            if seeds.contains(a) {
                extension::PexFlags::SEED
            } else {
                extension::PexFlags::default()
            }
        };
        let added = added.iter().map(|a| (*a, flags(a))).collect();
        let payload = extension::Pex { added, dropped }.encode();
        let id = peer.ids.pex;
        shared.send(now, peer, Message::Extended { id, payload });
    }

    // ---- knowing -----------------------------------------------------------------------------

    pub fn status(&mut self, now: Instant) -> Status {
        let state = match (&self.paused, self.phase) {
            (Some(why), _) => State::Paused(why.clone()),
            (None, Phase::Metadata) => State::Metadata,
            (None, Phase::Checking) => State::Checking,
            (None, Phase::Running) if self.is_finished() => State::Seeding,
            (None, Phase::Running) => State::Downloading,
        };
        let (wanted, done) = self
            .info
            .as_ref()
            .map_or((0, 0), |i| self.progress(i.layout()));
        Status {
            state,
            done,
            wanted,
            received: self.received,
            wasted: self.wasted,
            sent: self.sent,
            rate_down: self.down.rate(now),
            rate_up: self.up.rate(now),
            peers: self.peers.len(),
            seeds: self.peers.values().filter(|p| p.pieces.is_all()).count(),
            known: self.roster.len(),
            pieces_done: self.picker.have().count(),
            pieces: self.picker.have().len(),
        }
    }

    fn progress(&self, layout: &Layout) -> (u64, u64) {
        let have = self.picker.have();
        if self.file_priorities.is_empty() {
            if have.is_full() {
                return (layout.payload(), layout.payload());
            }
            let done = have.iter().map(|p| u64::from(layout.payload_len(p))).sum();
            return (layout.payload(), done);
        }
        let (mut wanted, mut done) = (0, 0);
        for piece in 0..layout.pieces() {
            let len = u64::from(layout.payload_len(piece));
            let wants = self.picker.wants(piece);
            wanted += if wants || have.get(piece) { len } else { 0 };
            done += if have.get(piece) { len } else { 0 };
        }
        (wanted, done)
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
