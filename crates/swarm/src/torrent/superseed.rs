//! Super-seeding (BEP 16): the only seed shows each peer one piece at a time, so that nothing is sent twice before all of
//! it is among the others.
//!
//! A peer is shown the next piece when the one before turns up at somebody else: who passes on gets more. The mode ends
//! by itself as soon as somebody else has everything. How much it saves: `cargo xtask sim super-seed`.

use super::*;

/// A piece that nobody took from the peer it was shown to is taken for passed on after so long: its uplink may be slow,
/// or everybody it knows is busy.
const PATIENCE: Duration = Duration::from_secs(60);
/// Pieces shown to a peer and not seen elsewhere: one that is fetched and one behind it, so that a long line is never
/// empty.
const AHEAD: usize = 2;

/// What a peer was shown.
#[derive(Clone, Debug)]
pub struct Veil {
    shown: Bitfield,
    /// Of these: what was seen nowhere else yet.
    open: Vec<(u32, Instant)>,
}

impl Veil {
    /// Whether it may ask for this piece.
    pub fn shows(&self, piece: u32) -> bool {
        self.shown.get(piece)
    }
}

impl Torrent {
    /// Whether newcomers are shown nothing at first: it is to be so, everything is here, and nobody else has it.
    pub(crate) fn veils(&self) -> bool {
        self.super_seeds && self.seed_here() && !self.peers.values().any(|p| p.pieces.is_all())
    }

    /// Super-seeds from now on, or shows all. Those who are connected know what is here: the mode is for newcomers.
    pub fn set_super_seeding(&mut self, shared: &mut Shared, now: Instant, on: bool) {
        self.super_seeds = on;
        self.unveil_if_seeded(shared, now);
    }

    /// A veil for somebody who has just come.
    pub(crate) fn veil(&self) -> Option<Box<Veil>> {
        let veil = || Veil {
            shown: Bitfield::new(self.picker.have().len()),
            open: Vec::new(),
        };
        self.veils().then(|| Box::new(veil()))
    }

    /// Shows everything to everybody once somebody else has it, or the mode was switched off.
    pub(crate) fn unveil_if_seeded(&mut self, shared: &mut Shared, now: Instant) {
        if self.veils() {
            return;
        }
        for peer in self.peers.values_mut() {
            let Some(veil) = peer.veil.take() else {
                continue;
            };
            for piece in self.picker.have().iter().filter(|&p| !veil.shows(p)) {
                shared.send(now, peer, Message::Have(piece));
            }
        }
    }

    /// This piece is at a peer now: whoever was shown it has passed it on.
    pub(crate) fn seen_elsewhere(
        &mut self,
        shared: &mut Shared,
        now: Instant,
        at: ConnId,
        piece: u32,
    ) {
        let alone = self.peers.len() == 1;
        let passed = |p: &&mut Peer| p.veil.is_some() && (p.conn != at || alone);
        let mut free = Vec::new();
        for peer in self.peers.values_mut().filter(passed) {
            let Some(veil) = &mut peer.veil else { continue };
            let before = veil.open.len();
            veil.open.retain(|(open, _)| *open != piece);
            if veil.open.len() < before {
                free.push(peer.conn);
            }
        }
        for conn in free {
            self.show_more(shared, now, conn);
        }
    }

    /// Shows a peer the next pieces, if it may see any: those that are rarest and were shown least.
    pub(crate) fn show_more(&mut self, shared: &mut Shared, now: Instant, conn: ConnId) {
        let Some(peer) = self.peers.get_mut(&conn) else {
            return;
        };
        let Some(veil) = &mut peer.veil else { return };
        veil.open
            .retain(|(_, since)| now.saturating_duration_since(*since) < PATIENCE);
        while let Some(peer) = self.peers.get(&conn)
            && let Some(veil) = &peer.veil
            && veil.open.len() < AHEAD
        {
            let unknown = |p: &u32| !veil.shows(*p) && !peer.pieces.has(*p);
            let rarity = |p: &u32| {
                let shown = self.peers.values().filter_map(|p| p.veil.as_ref());
                let shown = shown.filter(|v| v.open.iter().any(|(open, _)| open == p));
                (self.picker.copies(*p), shown.count())
            };
            let pieces = (0..self.picker.have().len()).filter(unknown);
            // Each peer begins somewhere else.
            let turn = |p: u32| p.wrapping_add((conn.0 as u32).wrapping_mul(0x9e37_79b9));
            let next = pieces.min_by_key(|p| (rarity(p), turn(*p)));
            let (Some(piece), Some(peer)) = (next, self.peers.get_mut(&conn)) else {
                return;
            };
            if let Some(veil) = &mut peer.veil {
                veil.shown.set(piece);
                veil.open.push((piece, now));
            }
            shared.send(now, peer, Message::Have(piece));
        }
    }
}
