//! Rate limits of a session: new ones, and turns for those whom they hold back.

use std::time::Instant;

use super::Session;
use crate::rate::{Flow, Turn, Way};
use crate::{ConnId, Scope, TorrentId};

impl Session {
    /// New limits of a scope, in bytes a second; 0: none.
    pub(super) fn limit(&mut self, now: Instant, scope: Scope, down: u64, up: u64) {
        let before = self.shared.limiter.rate(Way::Down, scope);
        self.shared.limiter.set(now, scope, down, up);
        if down > 0 && (before == 0 || down < before) {
            self.rein_in(now, scope, down);
        }
    }

    /// What was asked for under an easier limit would go on coming for long: if it is more than a
    /// second's worth, it is taken back.
    fn rein_in(&mut self, now: Instant, scope: Scope, rate: u64) {
        let limiter = &self.shared.limiter;
        let mut bound: Vec<(TorrentId, ConnId)> = Vec::new();
        let mut coming = 0;
        for t in self.active.iter().filter_map(|id| self.torrents.get(id)) {
            for peer in t.peers.values().filter(|p| p.live > 1) {
                let flow = Flow {
                    torrent: t.id,
                    group: t.group,
                    class: peer.class,
                };
                if limiter.scopes(flow).contains(&Some(scope)) {
                    bound.push((t.id, peer.conn));
                    let live = peer.asked.iter().filter(|a| a.live);
                    coming += live.map(|a| u64::from(a.block.len)).sum::<u64>();
                }
            }
        }
        for (id, conn) in bound.into_iter().filter(|_| coming > rate) {
            if let Some(t) = self.torrents.get_mut(&id) {
                t.rein_in(&mut self.shared, now, conn);
            }
        }
    }

    /// Those whom limits held back go on, as far as they may by now.
    pub(super) fn deal_turns(&mut self, now: Instant) {
        if !self.shared.limiter.is_due(now) {
            return;
        }
        while let Some(Turn {
            way,
            torrent,
            conn,
            bytes,
        }) = self.shared.limiter.turn(now)
        {
            let Some(t) = self.torrents.get_mut(&torrent) else {
                continue;
            };
            match way {
                Way::Down => t.turn_down(&mut self.shared, now, conn, bytes),
                Way::Up => t.turn_up(&mut self.shared, now, conn, bytes),
            }
        }
    }
}
