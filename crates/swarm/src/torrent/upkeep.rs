//! What time brings: stalls, keep-alives, repeated questions; exchanged addresses when it is time for them.

use super::*;

/// A keep-alive goes out after this much silence of ours (BEP 3 says two minutes).
const KEEP_ALIVE: Duration = Duration::from_secs(100);
/// A peer silent for this long is gone.
const SILENCE: Duration = Duration::from_secs(240);
/// A peer that owes us blocks is gone after less: its address is worth another dial.
const OWED_SILENCE: Duration = Duration::from_secs(60);

impl Torrent {
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

    pub(crate) fn tick_peer(&mut self, shared: &mut Shared, now: Instant, conn: ConnId) {
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
            peer.pipeline.stall(now);
            let given = self.take_back(shared, conn, |_| true);
            if let Some(peer) = self.peers.get_mut(&conn) {
                for block in given.into_iter().skip(1) {
                    shared.send(now, peer, Message::Cancel(block));
                }
            }
            self.picker.disown(conn);
        }
        self.ask_metadata(shared, now, conn);
        self.ask_hashes(shared, now, conn);
        self.exchange(shared, now, conn);
        self.show_more(shared, now, conn);
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
}
