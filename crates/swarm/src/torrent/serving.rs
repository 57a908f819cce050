//! What peers are given: blocks, and slots to ask for them.

use super::downloading::{flow, wait};
use super::*;

impl Torrent {
    /// Hands over what a peer may be sent now; with limits, it waits for its turn.
    pub(crate) fn pump(&mut self, shared: &mut Shared, now: Instant, conn: ConnId) {
        if self.paused.is_some() {
            return;
        }
        let Some(peer) = self.peers.get_mut(&conn) else {
            return;
        };
        let flow = flow(self.id, self.group, peer);
        let bound = shared.limiter.binds(Way::Up, flow);
        while let Some(block) = peer.next_upload() {
            if bound {
                return wait(shared, now, Way::Up, flow, peer, block.len);
            }
            peer.hand_over();
            let block = Output::SendBlock(conn, self.id, block);
            shared.out.push_back(block);
        }
    }

    /// A peer's turn to be sent so many bytes.
    pub fn turn_up(&mut self, shared: &mut Shared, now: Instant, conn: ConnId, mut bytes: u64) {
        let Some(peer) = self.peers.get_mut(&conn) else {
            return;
        };
        peer.waits[Way::Up as usize] = false;
        let flow = flow(self.id, self.group, peer);
        while let Some(block) = peer.next_upload() {
            let len = u64::from(block.len);
            if bytes == 0 {
                break;
            }
            bytes = bytes.saturating_sub(len);
            shared.limiter.charge(Way::Up, flow, len);
            peer.hand_over();
            let block = Output::SendBlock(conn, self.id, block);
            shared.out.push_back(block);
        }
        self.pump(shared, now, conn);
    }

    pub fn block_sent(&mut self, shared: &mut Shared, now: Instant, conn: ConnId, block: BlockRef) {
        if let Some(peer) = self.peers.get_mut(&conn) {
            peer.sending = peer.sending.saturating_sub(block.len);
            peer.up.add(now, u64::from(block.len));
            peer.spoke = now;
            self.up.add(now, u64::from(block.len));
            shared.traffic.up.block(now, u64::from(block.len));
            if !shared.limiter.frees(peer.class) {
                shared.traffic.up_bound += u64::from(block.len);
            }
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
                    turn: peer.up.total() - peer.turn_mark,
                    progress,
                    waited: peer.waited,
                    snubbing: !seeding && peer.live > 0 && peer.pipeline.is_stalled(),
                };
                into.push((self.id, candidate));
            }
            peer.down_mark = peer.down.total();
        }
    }
}
