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

    pub(crate) fn cancel_elsewhere(
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
}
