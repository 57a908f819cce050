//! What is shown of a torrent.

use super::*;
use crate::{Reach, Uploading};

impl Torrent {
    pub fn status(&self, now: Instant) -> Status {
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

    /// How far its peers are reached.
    pub fn reach(&self) -> Reach {
        let mut reach = self.roster.reach();
        for peer in self.peers.values() {
            *reach
                .connected
                .entry((peer.road, peer.outgoing))
                .or_default() += 1;
        }
        reach
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

    /// Bytes of each file that are verified, pad files included; `None` while the files are not
    /// known. Looks at each piece of each file: for when somebody asks.
    pub fn file_done(&self, index: usize) -> Option<u64> {
        let layout = self.info.as_ref()?.layout();
        if index >= layout.files() {
            return None;
        }
        let have = self.picker.have();
        let file = layout.file(index);
        if have.is_full() {
            return Some(file.len);
        }
        let pieces = layout.file_pieces(index).filter(|&p| have.get(p));
        let within = pieces.map(|p| {
            let start = layout.piece_start(p);
            let end = start + u64::from(layout.piece_len(p));
            end.min(file.start + file.len) - start.max(file.start)
        });
        Some(within.sum())
    }

    /// Adds how serving goes here.
    pub fn uploading(&self, limiter: &Limiter, sum: &mut Uploading) {
        for peer in self.peers.values() {
            if peer.choked {
                let waits = peer.interested_in_us && !limiter.frees(peer.class);
                sum.waiting += usize::from(waits);
                continue;
            }
            sum.served += 1;
            let waits = !peer.queue.is_empty();
            sum.full += usize::from(waits && peer.next_upload().is_none());
            sum.idle += usize::from(!waits && peer.sending == 0);
        }
    }
}
