//! Unchoke slots of a session: dealt by the choker, filled between its rounds.

use std::collections::BTreeSet;
use std::time::Instant;

use super::Session;
use crate::choker::Candidate;
use crate::{ConnId, TorrentId};

impl Session {
    /// So many slots from now on. Too many are taken from those who use them least; new ones go to those who have waited longest.
    pub(super) fn set_slots(&mut self, now: Instant, slots: usize) {
        self.shared.config.unchoke_slots = slots;
        // One more is served optimistically.
        let many = self.shared.unchoked.saturating_sub(slots + 1);
        if many > 0 {
            let torrents = self.active.iter().filter_map(|id| self.torrents.get(id));
            let served = torrents.flat_map(|t| {
                let served = t.peers.values().filter(|p| !p.choked);
                served.map(|p| (p.up.rate(now) + p.down.rate(now), t.id, p.conn))
            });
            let mut served: Vec<_> = served.collect();
            served.sort_unstable();
            for (_, id, conn) in served.into_iter().take(many) {
                if let Some(t) = self.torrents.get_mut(&id) {
                    t.set_choked(&mut self.shared, now, conn, true);
                }
            }
        }
        self.fill_slots(now);
    }

    /// Slots that became free between two rounds go to those who have waited longest.
    pub(super) fn fill_slots(&mut self, now: Instant) {
        let free = self
            .shared
            .config
            .unchoke_slots
            .saturating_sub(self.shared.unchoked);
        if free == 0 {
            return;
        }
        let torrents = self.active.iter().filter_map(|id| self.torrents.get(id));
        let waiting = torrents.filter(|t| t.is_running()).flat_map(|t| {
            let choked = t.peers.values().filter(|p| p.choked && p.interested_in_us);
            choked.map(|p| (std::cmp::Reverse(p.waited), p.since, t.id, p.conn))
        });
        let mut waiting: Vec<_> = waiting.collect();
        waiting.sort_unstable();
        for (.., id, conn) in waiting.into_iter().take(free) {
            if let Some(t) = self.torrents.get_mut(&id) {
                t.set_choked(&mut self.shared, now, conn, false);
            }
        }
    }

    pub(super) fn deal_slots(&mut self, now: Instant) {
        let mut wanting: Vec<(TorrentId, Candidate)> = Vec::new();
        for id in &self.active {
            if let Some(t) = self.torrents.get_mut(id) {
                t.candidates(&mut wanting);
            }
        }
        let candidates: Vec<Candidate> = wanting.iter().map(|(_, c)| c.clone()).collect();
        let served: BTreeSet<ConnId> = self
            .choker
            .deal(&candidates, self.shared.config.unchoke_slots)
            .into_iter()
            .collect();
        // Chokes first: the slots they free are the ones dealt.
        for choke in [true, false] {
            for (id, candidate) in &wanting {
                if served.contains(&candidate.conn) != choke
                    && let Some(t) = self.torrents.get_mut(id)
                {
                    t.set_choked(&mut self.shared, now, candidate.conn, choke);
                }
            }
        }
    }
}
