//! Connections of a torrent: greetings, farewells, bans.

use super::*;
use crate::{Class, Road};

/// Pieces a newcomer may fetch while choked (BEP 6)...
pub(crate) const ALLOWED_FAST: usize = 5;
/// ...and one in so many at most: a seed whose few pieces are free for all has no slots to deal.
const ALLOWED_FAST_SHARE: u32 = 100;

/// What a peer is worth to us and we to it; what is named first counts most.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Worth {
    /// One of us wants something of the other.
    useful: bool,
    /// And may ask for it.
    open: bool,
    /// Payload bytes a second, both ways.
    rate: u64,
    /// Who has been here for long is likely to stay.
    age: Duration,
}

/// A peer that nobody asks anything of makes room for one of higher priority (BEP 40) after so long.
const SETTLED: Duration = Duration::from_secs(30);

impl Torrent {
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
        (addr, outgoing, road): (SocketAddr, bool, Road),
        theirs: &Handshake,
        v2: bool,
    ) {
        let mut peer = Peer::new(now, conn, addr, theirs.peer_id, &shared.config);
        peer.outgoing = outgoing;
        peer.road = road;
        if outgoing {
            peer.source = self.roster.source(addr).unwrap_or(Source::Direct);
        }
        peer.fast = theirs.reserved.fast();
        peer.extended = theirs.reserved.extended();
        peer.v2 = v2;
        if let Some(home) = peer.home() {
            if !outgoing {
                self.roster.add(now, home, Source::Incoming);
            }
            self.roster.hold(home);
            self.roster.worked(home);
        }
        if peer.extended {
            let payload = self.extension_handshake(shared, addr).encode();
            shared.send(now, &mut peer, Message::Extended { id: 0, payload });
        }
        peer.veil = self.veil();
        let have = self.picker.have();
        let what = match self.info.as_ref().filter(|_| peer.veil.is_none()) {
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
            if peer.veil.is_none() {
                self.offer_allowed_fast(shared, now, &mut peer);
            }
        }
        self.peers.insert(conn, peer);
        self.picker.set_max_partials((self.peers.len() * 2).max(8));
    }

    pub(crate) fn extension_handshake(
        &self,
        shared: &Shared,
        addr: SocketAddr,
    ) -> extension::Handshake {
        let config = &shared.config;
        let public = !self.private();
        extension::Handshake {
            m: extension::Ids {
                ut_metadata: Some(OUR_METADATA),
                ut_pex: (public && config.peer_exchange).then_some(OUR_PEX),
                lt_donthave: Some(OUR_DONT_HAVE),
                upload_only: Some(OUR_UPLOAD_ONLY),
                ut_holepunch: config.hole_punching.then_some(OUR_HOLEPUNCH),
                sl_dialback: config.dialback.then_some(OUR_DIALBACK),
            },
            v: Some(config.client.clone()),
            p: (config.listen_port != 0).then_some(config.listen_port),
            reqq: Some(config.request_queue as u32),
            metadata_size: self.info.as_ref().map(|i| i.raw().len() as u32),
            yourip: Some(addr.ip()),
            // Who is shown no piece yet should not take us for one who will never have more.
            upload_only: (self.is_finished() && !self.veils()).then_some(true),
            ..Default::default()
        }
    }

    pub(crate) fn offer_allowed_fast(
        &mut self,
        shared: &mut Shared,
        now: Instant,
        peer: &mut Peer,
    ) {
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
        self.take_back(shared, conn, |_| true);
        let Some(peer) = self.peers.remove(&conn) else {
            return;
        };
        if peer.waits != [false; 2] {
            shared.limiter.leave(self.id, conn);
        }
        self.picker.disown(conn);
        if let Pieces::Some(bits) = &peer.pieces {
            self.picker.peer_bits(bits, false);
        }
        shared.unchoked -= usize::from(!peer.choked);
        self.fetch.gone(conn);
        self.tree.gone(conn);
        self.note_left(&peer);
        if let Some(home) = peer.home() {
            self.roster.free(now, home, None);
        }
        if self.info.is_some() && !self.is_finished() {
            self.refill_all(shared, now);
        }
    }

    /// All peers, those first that are missed least.
    pub fn worst_first(&self, now: Instant) -> Vec<(Worth, ConnId)> {
        let worth = |p: &Peer| Worth {
            useful: p.interested || p.interested_in_us,
            open: p.interested && !p.chokes_us || p.interested_in_us && !p.choked,
            rate: p.down.rate(now) + p.up.rate(now),
            age: now.saturating_duration_since(p.since),
        };
        let mut all: Vec<_> = self.peers.values().map(|p| (worth(p), p.conn)).collect();
        all.sort_unstable();
        all
    }

    /// Who makes room for a newcomer of this address: the one of lowest priority (BEP 40) among those that nothing moves
    /// to or from, if it is lower than the newcomer's.
    pub fn makes_room(&self, now: Instant, newcomer: SocketAddr) -> Option<ConnId> {
        let rank = self.roster.rank(newcomer)?;
        let idle = |p: &&Peer| {
            let open = p.interested && !p.chokes_us || p.interested_in_us && !p.choked;
            let settled = now.saturating_duration_since(p.since) >= SETTLED;
            !open && settled && p.source != Source::Direct && p.class == Class::Other
        };
        let ranked = self.peers.values().filter(idle);
        let ranked =
            ranked.filter_map(|p| Some((self.roster.rank(p.home().unwrap_or(p.addr))?, p.conn)));
        ranked
            .min()
            .filter(|(lowest, _)| *lowest < rank)
            .map(|(_, conn)| conn)
    }

    /// Closes a connection for a reason of ours.
    pub fn close(&mut self, shared: &mut Shared, now: Instant, conn: ConnId, reason: Reason) {
        let addr = self.peers.get(&conn).and_then(Peer::home);
        self.disconnected(shared, now, conn);
        match (addr, reason) {
            (Some(addr), Reason::Ourselves) => self.roster.forget(addr),
            (Some(addr), Reason::Redundant) if self.seed_here() => self.roster.is_seed(addr),
            // Files not wanted yet may be wanted later.
            (Some(addr), Reason::Redundant) => self.roster.rest(now, addr),
            _ => {}
        }
        shared.closed.push(conn);
        shared.out.push_back(Output::Close(conn, reason));
    }

    pub(crate) fn ban(&mut self, shared: &mut Shared, now: Instant, ip: IpAddr) {
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
}
