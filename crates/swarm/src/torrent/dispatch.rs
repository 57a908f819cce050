//! What a peer's messages mean for its torrent.
//!
//! Everything here comes from strangers: indices are checked before they become pieces, and what
//! makes no sense ends the connection with a reason.

use std::net::SocketAddr;
use std::time::Instant;

use torrent::extension;
use torrent::wire::{BlockRef, Message};

use super::connections::ALLOWED_FAST;
use super::downloading::flow;
use crate::hashes::Served;
use crate::metadata::{self, Progress};
use crate::peer::Pieces;
use crate::rate::Way;
use crate::torrent::{
    MOST_NONSENSE, OUR_DIALBACK, OUR_DONT_HAVE, OUR_HOLEPUNCH, OUR_METADATA, OUR_PEX,
    OUR_UPLOAD_ONLY, Shared, Torrent,
};
use crate::{Bitfield, ConnId, Event, Output, Reason, Source};

/// Pieces a peer may let us fetch while choked that we remember.
const MOST_ALLOWED: usize = 64;

pub(super) type Outcome = Result<(), Reason>;

impl Torrent {
    /// A message has come.
    pub fn message(
        &mut self,
        shared: &mut Shared,
        now: Instant,
        conn: ConnId,
        message: Message,
    ) -> Outcome {
        let Some(peer) = self.peers.get_mut(&conn) else {
            return Ok(());
        };
        peer.heard = now;
        match message {
            Message::KeepAlive | Message::Suggest(_) | Message::Unknown { .. } => Ok(()),
            Message::Choke => self.on_choke(shared, now, conn),
            Message::Unchoke => {
                peer.chokes_us = false;
                self.refill(shared, now, conn);
                Ok(())
            }
            Message::Interested => self.on_interested(shared, now, conn),
            Message::NotInterested => {
                peer.interested_in_us = false;
                self.set_choked(shared, now, conn, true);
                Ok(())
            }
            Message::Have(piece) => self.on_have(shared, now, conn, piece),
            Message::Bitfield(bits) => self.on_pieces(shared, now, conn, Some(bits)),
            Message::HaveAll => self.on_pieces(shared, now, conn, None),
            Message::HaveNone => {
                self.show_more(shared, now, conn);
                Ok(())
            }
            Message::Request(block) => self.on_request(shared, now, conn, block),
            Message::Cancel(block) => {
                if let Some(at) = peer.queue.iter().position(|b| *b == block) {
                    peer.queue.remove(at);
                    if let Some(message) = peer.reject(block) {
                        shared.send(now, peer, message);
                    }
                }
                Ok(())
            }
            Message::Reject(block) => self.on_reject(shared, now, conn, block),
            Message::AllowedFast(piece) => {
                let pieces = self.picker.have().len();
                if (piece < pieces || pieces == 0) && peer.allowed_us.len() < MOST_ALLOWED {
                    peer.allowed_us.insert(piece);
                    self.refill(shared, now, conn);
                }
                Ok(())
            }
            Message::Port(port) => {
                let addr = SocketAddr::new(peer.addr.ip(), port);
                if port != 0 {
                    shared
                        .out
                        .push_back(Output::Event(self.id, Event::DhtNode(addr)));
                }
                Ok(())
            }
            Message::Extended { id, payload } => self.on_extended(shared, now, conn, id, &payload),
            Message::HashRequest(range) => {
                if self.info.is_none() {
                    shared.send(now, peer, Message::HashReject(range));
                    return Ok(());
                }
                match self.tree.serve(conn, &range, self.picker.have()) {
                    Served::Now(message) => shared.send(now, peer, message),
                    Served::Read(pieces) => {
                        for piece in pieces {
                            shared.out.push_back(Output::ReadDigests(self.id, piece));
                        }
                    }
                }
                Ok(())
            }
            Message::Hashes { range, hashes } => {
                let opened = self
                    .tree
                    .received(conn, &range, &hashes)
                    .ok_or(Reason::Protocol("sent hashes that prove nothing"))?;
                opened.iter().for_each(|&piece| self.picker.open(piece));
                self.ask_hashes(shared, now, conn);
                self.refill_all(shared, now);
                Ok(())
            }
            Message::HashReject(range) => {
                self.tree.rejected(now, conn, &range);
                Ok(())
            }
        }
    }

    fn on_choke(&mut self, shared: &mut Shared, now: Instant, conn: ConnId) -> Outcome {
        let Some(peer) = self.peers.get_mut(&conn) else {
            return Ok(());
        };
        peer.chokes_us = true;
        if !peer.fast {
            // A choke takes back all that was asked. With BEP 6 each request is answered all the
            // same, by its block or by a reject: what the road has begun to send still comes.
            self.take_back(shared, conn, |_| true);
            if let Some(peer) = self.peers.get_mut(&conn) {
                peer.asked.clear();
            }
        }
        self.picker.disown(conn);
        self.refill_all(shared, now);
        Ok(())
    }

    fn on_interested(&mut self, shared: &mut Shared, now: Instant, conn: ConnId) -> Outcome {
        let running = self.is_running();
        let Some(peer) = self.peers.get_mut(&conn) else {
            return Ok(());
        };
        peer.interested_in_us = true;
        if running && peer.choked && shared.unchoked < shared.config.unchoke_slots {
            // A free slot need not wait for the next round.
            self.set_choked(shared, now, conn, false);
        }
        Ok(())
    }

    fn on_have(&mut self, shared: &mut Shared, now: Instant, conn: ConnId, piece: u32) -> Outcome {
        let Some(peer) = self.peers.get_mut(&conn) else {
            return Ok(());
        };
        match &mut peer.pieces {
            Pieces::Early { .. } => peer.pieces.early_have(piece),
            Pieces::All => {}
            Pieces::Some(bits) => {
                if piece >= bits.len() {
                    return Err(Reason::Protocol("has a piece that does not exist"));
                }
                if !bits.set(piece) {
                    return Ok(());
                }
                if bits.is_full() {
                    bits.clear(piece);
                    self.picker.peer_bits(bits, false);
                    peer.pieces = Pieces::All;
                } else {
                    self.picker.peer_has(piece);
                }
                if self.picker.wants(piece) {
                    peer.wanted += 1;
                    if peer.wanted == 1 {
                        self.update_interest(shared, now, conn);
                    } else {
                        self.refill(shared, now, conn);
                    }
                }
                self.ask_hashes(shared, now, conn);
                self.seen_elsewhere(shared, now, conn, piece);
                self.unveil_if_seeded(shared, now);
                self.close_if_redundant(shared, now, conn);
            }
        }
        Ok(())
    }

    /// A bitfield came, or `None`: it has everything.
    fn on_pieces(
        &mut self,
        shared: &mut Shared,
        now: Instant,
        conn: ConnId,
        bits: Option<Vec<u8>>,
    ) -> Outcome {
        let Some(peer) = self.peers.get_mut(&conn) else {
            return Ok(());
        };
        let early = Pieces::Early {
            all: bits.is_none(),
            bits,
            haves: Vec::new(),
        };
        if let Pieces::Some(before) = std::mem::replace(&mut peer.pieces, early) {
            self.picker.peer_bits(&before, false);
        }
        self.settle_pieces(shared, now, conn)
    }

    /// Makes sense of what a peer said it has, as soon as the number of pieces is known.
    pub(crate) fn settle_pieces(
        &mut self,
        shared: &mut Shared,
        now: Instant,
        conn: ConnId,
    ) -> Outcome {
        let Some(peer) = self.peers.get_mut(&conn) else {
            return Ok(());
        };
        let pieces = self.picker.have().len();
        let Pieces::Early { bits, all, haves } = &peer.pieces else {
            return Ok(());
        };
        if self.info.is_none() {
            return Ok(());
        }
        let mut has = match bits {
            Some(bits) => Bitfield::from_wire(bits, pieces)
                .ok_or(Reason::Protocol("sent a bitfield of the wrong size"))?,
            None => Bitfield::new(pieces),
        };
        haves.iter().filter(|&&p| p < pieces).for_each(|&p| {
            has.set(p);
        });
        if *all || has.is_full() {
            peer.pieces = Pieces::All;
        } else {
            self.picker.peer_bits(&has, true);
            peer.pieces = Pieces::Some(has);
        }
        self.recount(shared, now, conn);
        self.ask_hashes(shared, now, conn);
        self.unveil_if_seeded(shared, now);
        self.show_more(shared, now, conn);
        self.close_if_redundant(shared, now, conn);
        Ok(())
    }

    fn on_request(
        &mut self,
        shared: &mut Shared,
        now: Instant,
        conn: ConnId,
        block: BlockRef,
    ) -> Outcome {
        let Some(peer) = self.peers.get_mut(&conn) else {
            return Ok(());
        };
        let Some(info) = &self.info else {
            return Err(Reason::Protocol(
                "asked for a block we told it we do not have",
            ));
        };
        let layout = info.layout();
        let sane = block.piece < layout.pieces()
            && block.len > 0
            && u64::from(block.begin) + u64::from(block.len)
                <= u64::from(layout.piece_len(block.piece));
        if !sane {
            return Err(Reason::Protocol("asked for bytes that do not exist"));
        }
        // Once it has a few pieces it is no newcomer any more (BEP 6).
        let newcomer = match &peer.pieces {
            Pieces::Some(bits) => bits.count() <= ALLOWED_FAST as u32,
            _ => false,
        };
        let allowed = !peer.choked || newcomer && peer.allowed.contains(&block.piece);
        let full = peer.queue.len() >= shared.config.request_queue;
        let veiled = peer.veil.as_ref().is_some_and(|v| !v.shows(block.piece));
        if !allowed || full || veiled || !self.picker.have().get(block.piece) {
            // A choke or a lost piece may have crossed the request; a flood has not.
            peer.nonsense += u32::from(full || peer.choked && !peer.fast);
            if peer.nonsense > MOST_NONSENSE + shared.config.request_queue as u32 {
                return Err(Reason::Flood);
            }
            if let Some(message) = peer.reject(block) {
                shared.send(now, peer, message);
            }
            return Ok(());
        }
        peer.queue.push_back(block);
        self.pump(shared, now, conn);
        Ok(())
    }

    fn on_reject(
        &mut self,
        shared: &mut Shared,
        now: Instant,
        conn: ConnId,
        block: BlockRef,
    ) -> Outcome {
        let Some(peer) = self.peers.get_mut(&conn) else {
            return Ok(());
        };
        let Some(asked) = peer.answered(block) else {
            return Ok(());
        };
        if !asked.live {
            return Ok(());
        }
        let flow = flow(self.id, self.group, peer);
        let len = u64::from(block.len);
        shared.limiter.give_back(Way::Down, flow, len);
        self.picker.released(conn, block);
        // What it let us have while choked is over: without this we would ask again at once.
        peer.allowed_us.remove(&block.piece);
        let unwilling = !peer.chokes_us;
        if unwilling {
            // Refused without choking us: it does not really have it, or will not give it.
            if let Pieces::Some(bits) = &mut peer.pieces
                && bits.clear(block.piece)
            {
                self.picker.peer_lost(block.piece);
                peer.wanted = peer
                    .wanted
                    .saturating_sub(u32::from(self.picker.wants(block.piece)));
            } else {
                peer.nonsense += 1;
                if peer.nonsense > MOST_NONSENSE {
                    return Err(Reason::Protocol("refuses what it claims to have"));
                }
                return Ok(());
            }
        }
        self.refill_all(shared, now);
        Ok(())
    }

    fn on_extended(
        &mut self,
        shared: &mut Shared,
        now: Instant,
        conn: ConnId,
        id: u8,
        payload: &[u8],
    ) -> Outcome {
        match id {
            0 => self.on_extension_handshake(shared, now, conn, payload),
            OUR_METADATA => self.on_metadata(shared, now, conn, payload),
            OUR_PEX => self.on_exchange(now, conn, payload),
            OUR_DIALBACK => self.on_dialback(shared, now, conn, payload),
            OUR_HOLEPUNCH => self.on_holepunch(shared, now, conn, payload),
            OUR_DONT_HAVE => {
                let Ok(extension::DontHave(piece)) = extension::DontHave::parse(payload) else {
                    return Err(Reason::Protocol("sent a malformed lt_donthave"));
                };
                self.on_dont_have(shared, now, conn, piece)
            }
            OUR_UPLOAD_ONLY => {
                if let (Some(peer), Ok(extension::UploadOnly(on))) = (
                    self.peers.get_mut(&conn),
                    extension::UploadOnly::parse(payload),
                ) {
                    peer.upload_only = on;
                }
                self.close_if_redundant(shared, now, conn);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn on_extension_handshake(
        &mut self,
        shared: &mut Shared,
        now: Instant,
        conn: ConnId,
        payload: &[u8],
    ) -> Outcome {
        let Some(peer) = self.peers.get_mut(&conn) else {
            return Ok(());
        };
        let theirs = extension::Handshake::parse(payload)
            .map_err(|_| Reason::Protocol("sent a malformed extension handshake"))?;
        let set = |ours: &mut u8, number: Option<u8>| *ours = number.unwrap_or(*ours);
        set(&mut peer.ids.metadata, theirs.m.ut_metadata);
        set(&mut peer.ids.pex, theirs.m.ut_pex);
        set(&mut peer.ids.dont_have, theirs.m.lt_donthave);
        set(&mut peer.ids.upload_only, theirs.m.upload_only);
        set(&mut peer.ids.holepunch, theirs.m.ut_holepunch);
        let before = peer.ids.dialback;
        set(&mut peer.ids.dialback, theirs.m.sl_dialback);
        if before == 0 && peer.ids.dialback != 0 && shared.config.dialback {
            let offered = Event::Dialback(conn, crate::DialbackEvent::Offered(peer.addr.ip()));
            shared.out.push_back(Output::Event(self.id, offered));
        }
        if let Some(reqq) = theirs.reqq {
            peer.pipeline
                .limit((reqq as usize).clamp(1, shared.config.max_outstanding));
        }
        if let Some(port) = theirs.p.filter(|&p| p != 0) {
            peer.listens = Some(SocketAddr::new(peer.addr.ip(), port));
        }
        peer.client = theirs.v.or(peer.client.take());
        if let Some(on) = theirs.upload_only {
            peer.upload_only = on;
        }
        if let Some(seen) = theirs.yourip {
            peer.sees_us = Some(SocketAddr::new(seen, shared.config.listen_port));
            let event = Event::SeenAs(peer.addr, seen);
            shared.out.push_back(Output::Event(self.id, event));
        }
        if let Some(home) = peer.home().filter(|_| !peer.outgoing) {
            self.roster.add(now, home, Source::Incoming);
            self.roster.hold(home);
        }
        if self.info.is_none() {
            self.fetch
                .offer(conn, theirs.metadata_size.unwrap_or(0) as usize);
            self.ask_metadata(shared, now, conn);
        }
        self.close_if_redundant(shared, now, conn);
        Ok(())
    }

    fn on_metadata(
        &mut self,
        shared: &mut Shared,
        now: Instant,
        conn: ConnId,
        payload: &[u8],
    ) -> Outcome {
        let Some(peer) = self.peers.get_mut(&conn) else {
            return Ok(());
        };
        let Ok(message) = extension::Metadata::parse(payload) else {
            return Err(Reason::Protocol("sent malformed metadata"));
        };
        match message {
            Some(extension::Metadata::Request { piece }) => {
                let id = peer.ids.metadata;
                if id == 0 {
                    return Ok(());
                }
                let raw = self.info.as_ref().map(|i| i.raw());
                let found = raw.and_then(|raw| metadata::serve(raw, piece as usize));
                let answer = match (raw, found) {
                    (Some(raw), Some(bytes)) => extension::Metadata::Data {
                        piece,
                        total_size: raw.len() as u32,
                        payload: bytes.to_vec(),
                    },
                    _ => extension::Metadata::Reject { piece },
                };
                shared.send(
                    now,
                    peer,
                    Message::Extended {
                        id,
                        payload: answer.encode(),
                    },
                );
            }
            Some(extension::Metadata::Data {
                piece,
                total_size,
                payload,
            }) => {
                if self.info.is_some() {
                    return Ok(());
                }
                match self
                    .fetch
                    .data(conn, piece as usize, total_size as usize, &payload)
                {
                    Progress::More => self.ask_metadata(shared, now, conn),
                    Progress::Nonsense => {
                        peer.nonsense += 1;
                        if peer.nonsense > MOST_NONSENSE {
                            return Err(Reason::Protocol("sent metadata nobody asked for"));
                        }
                    }
                    Progress::Whole(raw) => self.metadata_whole(shared, now, &raw),
                }
            }
            Some(extension::Metadata::Reject { piece }) => {
                self.fetch.refused(now, conn, piece as usize);
            }
            None => {}
        }
        Ok(())
    }

    fn on_dont_have(
        &mut self,
        shared: &mut Shared,
        now: Instant,
        conn: ConnId,
        piece: u32,
    ) -> Outcome {
        let pieces = self.picker.have().len();
        let Some(peer) = self.peers.get_mut(&conn) else {
            return Ok(());
        };
        if piece >= pieces {
            return Ok(());
        }
        match &mut peer.pieces {
            Pieces::All => {
                let mut bits = Bitfield::full(pieces);
                bits.clear(piece);
                self.picker.peer_bits(&bits, true);
                peer.pieces = Pieces::Some(bits);
            }
            Pieces::Some(bits) => {
                if !bits.clear(piece) {
                    return Ok(());
                }
                self.picker.peer_lost(piece);
            }
            Pieces::Early { .. } => return Ok(()),
        }
        self.take_back(shared, conn, |b| b.piece == piece);
        self.recount(shared, now, conn);
        Ok(())
    }
}
