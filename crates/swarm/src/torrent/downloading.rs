//! What is asked of peers, what comes, and the metadata that comes first.

use super::*;

/// Authors of blocks remembered after they left, for blame.
const MOST_AUTHORS: usize = 4096;

impl Torrent {
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

    /// How many blocks a peer could be asked for now.
    fn room(&self, shared: &Shared, peer: &Peer) -> usize {
        // What others are about to read goes first.
        if !shared.rush.is_empty() && !shared.rush.contains(&self.id) {
            return 0;
        }
        let willing = !peer.chokes_us || !peer.allowed_us.is_empty();
        let stalled = peer.pipeline.is_stalled() && !peer.asked.is_empty();
        if self.info.is_none() || !self.is_running() || !peer.interested || !willing || stalled {
            return 0;
        }
        peer.pipeline.room(peer.live)
    }

    /// Whether somebody waits for a piece here that a peer would give: then all else waits too.
    pub fn rushes(&self, now: Instant) -> bool {
        let gives = |p: &Peer, piece| !p.chokes_us && p.pieces.has(piece);
        let can =
            |piece| self.peers.values().any(|p| gives(p, piece)) || self.web.gives(now, piece);
        self.is_running() && self.picker.is_urgent(now, can)
    }

    /// Asks a peer for as many blocks as its pipeline has room for; with limits, it waits for its
    /// turn.
    pub(crate) fn refill(&mut self, shared: &mut Shared, now: Instant, conn: ConnId) {
        let Some(peer) = self.peers.get(&conn) else {
            return;
        };
        let room = self.room(shared, peer);
        if room == 0 {
            return;
        }
        let flow = flow(self.id, self.group, peer);
        if !shared.limiter.binds(Way::Down, flow) {
            self.ask(shared, now, conn, room);
        } else if let Some(peer) = self.peers.get_mut(&conn) {
            wait(shared, now, Way::Down, flow, peer, BLOCK);
        }
    }

    /// A peer's turn to be asked for so many bytes.
    pub fn turn_down(&mut self, shared: &mut Shared, now: Instant, conn: ConnId, bytes: u64) {
        if self.web_turn(shared, conn, bytes) {
            return;
        }
        let Some(peer) = self.peers.get_mut(&conn) else {
            return;
        };
        peer.waits[Way::Down as usize] = false;
        let flow = flow(self.id, self.group, peer);
        let peer = &self.peers[&conn];
        let room = self.room(shared, peer);
        let block = u64::from(BLOCK);
        let turn = room.min(usize::try_from(bytes / block).unwrap_or(usize::MAX));
        let (asked, used) = self.ask(shared, now, conn, turn);
        shared.limiter.charge(Way::Down, flow, used);
        // Fewer than it had a turn for: there is nothing else to ask of it.
        if asked == turn && room > turn {
            self.refill(shared, now, conn);
        }
    }

    /// Asks a peer for so many blocks, if there are so many that it has. Returns how many it was
    /// asked for, and their bytes.
    fn ask(
        &mut self,
        shared: &mut Shared,
        now: Instant,
        conn: ConnId,
        room: usize,
    ) -> (usize, u64) {
        let (Some(info), Some(peer)) = (&self.info, self.peers.get_mut(&conn)) else {
            return (0, 0);
        };
        let allowed = |p: u32| !peer.chokes_us || peer.allowed_us.contains(&p);
        let asker = Asker {
            conn,
            has: &|p| peer.pieces.has(p) && allowed(p),
            room,
            outstanding: peer.live,
            quick: peer.pipeline.keeps_up(self.best_gap),
            rush: !shared.rush.is_empty(),
            asked: &|b| peer.is_asked(b),
        };
        let picked = self.picker.pick(now, info.layout(), &asker);
        let blocks = picked.len();
        let mut bytes = 0;
        for block in picked {
            bytes += u64::from(block.len);
            peer.ask(now, block);
            shared.send(now, peer, Message::Request(block));
        }
        (blocks, bytes)
    }

    /// Gives up requests to a peer that `fits` picks: others may be asked for them, and what was
    /// paid for them is free again.
    pub(crate) fn take_back(
        &mut self,
        shared: &mut Shared,
        conn: ConnId,
        fits: impl FnMut(BlockRef) -> bool,
    ) -> Vec<BlockRef> {
        let Some(peer) = self.peers.get_mut(&conn) else {
            return Vec::new();
        };
        let flow = flow(self.id, self.group, peer);
        let given = peer.give_up(fits);
        for &block in &given {
            self.picker.released(conn, block);
            let len = u64::from(block.len);
            shared.limiter.give_back(Way::Down, flow, len);
        }
        given
    }

    /// A limit was lowered: a peer keeps its oldest request, and is asked for the others again when
    /// it is their turn.
    pub fn rein_in(&mut self, shared: &mut Shared, now: Instant, conn: ConnId) {
        let mut first = true;
        let given = self.take_back(shared, conn, |_| !std::mem::take(&mut first));
        if let Some(peer) = self.peers.get_mut(&conn) {
            for block in given {
                shared.send(now, peer, Message::Cancel(block));
            }
        }
        self.refill(shared, now, conn);
    }

    pub(crate) fn refill_all(&mut self, shared: &mut Shared, now: Instant) {
        let conns: Vec<ConnId> = self.peers.keys().copied().collect();
        for conn in conns {
            self.refill(shared, now, conn);
        }
        self.refill_web(shared, now);
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
        shared.traffic.down.block(now, len);
        let mut store = false;
        if let Some(peer) = self.peers.get_mut(&conn) {
            peer.heard = now;
            peer.down.add(now, len);
            let asked = peer.answered(block);
            if !asked.is_some_and(|asked| asked.live) {
                let flow = flow(self.id, self.group, peer);
                shared.limiter.charge(Way::Down, flow, len);
            }
            if let Some(asked) = asked {
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

    pub(crate) fn cancel_elsewhere(
        &mut self,
        shared: &mut Shared,
        now: Instant,
        but: ConnId,
        block: BlockRef,
    ) {
        let asked = |p: &&Peer| p.conn != but && p.is_asked(block);
        let freed: Vec<ConnId> = self.peers.values().filter(asked).map(|p| p.conn).collect();
        for conn in freed {
            self.take_back(shared, conn, |b| b == block);
            if let Some(peer) = self.peers.get_mut(&conn) {
                shared.send(now, peer, Message::Cancel(block));
            }
            self.refill(shared, now, conn);
        }
        self.cancel_fetching(shared, but, block);
    }

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
        self.picker.set_sequential(self.sequential);
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
}

/// What decides which limits bind a peer.
pub(super) fn flow(torrent: TorrentId, group: Option<u32>, peer: &Peer) -> Flow {
    Flow {
        torrent,
        group,
        class: peer.class,
    }
}

/// A peer stands in line until limits allow it so many bytes.
pub(super) fn wait(
    shared: &mut Shared,
    now: Instant,
    way: Way,
    flow: Flow,
    peer: &mut Peer,
    bytes: u32,
) {
    if !std::mem::replace(&mut peer.waits[way as usize], true) {
        shared
            .limiter
            .join(now, way, flow, peer.conn, u64::from(bytes));
    }
}
