//! Connections of a session: dials, greetings, and whose torrent each belongs to.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use torrent::wire::Handshake;

use super::{Conn, Session, Stage, TICK};
use crate::torrent::our_handshake;
use crate::{ConnId, Output, Reason, TorrentId};

/// Two connections to one peer younger than this crossed each other.
const CROSSING: Duration = Duration::from_secs(10);

impl Session {
    pub(super) fn incoming(&mut self, now: Instant, conn: ConnId, addr: SocketAddr) {
        if self.conns.len() >= self.shared.config.max_connections {
            self.shared.out.push_back(Output::Close(conn, Reason::Full));
            return;
        }
        let stage = Stage::Greeting(now);
        self.conns.insert(
            conn,
            Conn {
                addr,
                outgoing: false,
                torrent: None,
                stage,
            },
        );
        self.tick_at.get_or_insert(now + TICK);
    }

    /// What a peer that is being dialled will be greeted with: a road may carry it as part of its own handshake.
    pub fn greeting(&self, conn: ConnId) -> Option<Handshake> {
        let torrent = self.conns.get(&conn)?.torrent?;
        Some(self.torrents.get(&torrent)?.handshake(&self.shared.config))
    }

    pub(super) fn connected(&mut self, now: Instant, conn: ConnId) {
        let Some(entry) = self
            .conns
            .get_mut(&conn)
            .filter(|c| c.stage == Stage::Dialing)
        else {
            return;
        };
        entry.stage = Stage::Greeting(now);
        self.dials -= 1;
        self.redial = true;
        if let Some(t) = entry.torrent.and_then(|id| self.torrents.get(&id)) {
            let ours = t.handshake(&self.shared.config);
            self.shared.traffic.up.handshake();
            self.shared.out.push_back(Output::Handshake(conn, ours));
        }
    }

    pub(super) fn handshake(
        &mut self,
        now: Instant,
        conn: ConnId,
        theirs: &Handshake,
    ) -> Result<(), Reason> {
        let Some(entry) = self
            .conns
            .get(&conn)
            .filter(|c| matches!(c.stage, Stage::Greeting(_)))
        else {
            return Ok(());
        };
        let (addr, outgoing) = (entry.addr, entry.outgoing);
        let id = match entry.torrent {
            Some(id) => id,
            None => *self
                .by_hash
                .get(&theirs.info_hash)
                .ok_or(Reason::UnknownTorrent)?,
        };
        let torrent = self.torrents.get_mut(&id).ok_or(Reason::UnknownTorrent)?;
        if !torrent.hashes.wire().any(|hash| hash == theirs.info_hash) {
            return Err(Reason::UnknownTorrent);
        }
        if !torrent.is_running() {
            return Err(Reason::Stopped);
        }
        if theirs.peer_id == self.shared.config.peer_id {
            torrent.roster.forget(addr);
            return Err(Reason::Ourselves);
        }
        if torrent.roster.is_banned(addr.ip()) {
            return Err(Reason::Banned);
        }
        let twin = torrent.peers.values().find(|p| p.id == theirs.peer_id);
        if let Some(twin) = twin {
            // If both dialled at once, both must keep the same connection: the one dialled by
            // the smaller peer id.
            let keep_outgoing = self.shared.config.peer_id < theirs.peer_id;
            let crossed = now.saturating_duration_since(twin.since) < CROSSING;
            if !crossed || twin.outgoing == outgoing || twin.outgoing == keep_outgoing {
                return Err(Reason::Duplicate);
            }
            let twin = twin.conn;
            torrent.close(&mut self.shared, now, twin, Reason::Duplicate);
            self.settle();
        }
        let torrent = self.torrents.get_mut(&id).ok_or(Reason::UnknownTorrent)?;
        if torrent.peers.len() >= self.shared.config.max_connections_per_torrent {
            return Err(Reason::Full);
        }

        // A hybrid is opened with its v1 hash; whoever knows the v2 half answers with that.
        let v2_hash = torrent.hashes.v2.as_ref().map(torrent::ids::truncated);
        let named_v2 = Some(theirs.info_hash) == v2_hash;
        let upgrade = theirs.reserved.v2() && v2_hash.is_some();
        if !outgoing {
            let answer = match v2_hash {
                Some(v2) if upgrade => v2,
                _ => theirs.info_hash,
            };
            let ours = our_handshake(&self.shared.config, answer, v2_hash.is_some());
            self.shared.traffic.up.handshake();
            self.shared.out.push_back(Output::Handshake(conn, ours));
        }
        let v2 = named_v2 || upgrade && !outgoing;
        if let Some(entry) = self.conns.get_mut(&conn) {
            entry.stage = Stage::Live;
            entry.torrent = Some(id);
        }
        torrent.connected(&mut self.shared, now, conn, (addr, outgoing), theirs, v2);
        self.active.insert(id);
        self.tick_at.get_or_insert(now + TICK);
        Ok(())
    }

    /// The other side or the network ended it.
    pub(super) fn gone(&mut self, now: Instant, conn: ConnId) {
        let Some(entry) = self.conns.remove(&conn) else {
            return;
        };
        self.redial = true;
        self.dials -= usize::from(entry.stage == Stage::Dialing);
        let Some(torrent) = entry.torrent.and_then(|id| self.torrents.get_mut(&id)) else {
            return;
        };
        match entry.stage {
            Stage::Live => torrent.disconnected(&mut self.shared, now, conn),
            _ => torrent.roster.free(now, entry.addr),
        }
    }

    /// We end it.
    pub(super) fn close(&mut self, now: Instant, conn: ConnId, reason: Reason) {
        if self.conns.contains_key(&conn) {
            self.gone(now, conn);
            self.shared.out.push_back(Output::Close(conn, reason));
        }
    }

    /// Closes connections that are too many, the worst first: of each torrent, then of all.
    pub(super) fn shed(&mut self, now: Instant) {
        let config = &self.shared.config;
        let (all, each) = (config.max_connections, config.max_connections_per_torrent);
        for id in self.active.iter().copied().collect::<Vec<_>>() {
            let worst = self.torrents.get(&id).map(|t| t.worst_first(now));
            let worst = worst.unwrap_or_default();
            let many = worst.len().saturating_sub(each);
            for (_, conn) in worst.into_iter().take(many) {
                self.shut_out(now, conn);
            }
        }
        let many = self.conns.len().saturating_sub(all);
        if many == 0 {
            return;
        }
        // Who has not even greeted comes first, the newest before those that are nearly there.
        let unfinished = self.conns.iter().filter(|(_, c)| c.stage != Stage::Live);
        let mut worst: Vec<ConnId> = unfinished.map(|(&conn, _)| conn).rev().collect();
        let live = self.active.iter().filter_map(|id| self.torrents.get(id));
        let mut live: Vec<_> = live.flat_map(|t| t.worst_first(now)).collect();
        live.sort_unstable();
        worst.extend(live.into_iter().map(|(_, conn)| conn));
        for conn in worst.into_iter().take(many) {
            self.shut_out(now, conn);
        }
    }

    fn shut_out(&mut self, now: Instant, conn: ConnId) {
        match self.live(conn) {
            Some((t, shared)) => t.close(shared, now, conn, Reason::Full),
            None => self.close(now, conn, Reason::Full),
        }
        self.settle();
    }

    /// Dials while there is room: one address of each torrent in turn, beginning behind the one
    /// that was last.
    pub(super) fn dial(&mut self, now: Instant) {
        if !std::mem::take(&mut self.redial) {
            return;
        }
        let last = self.dialled_last;
        let behind = self.active.iter().filter(|id| Some(**id) > last);
        let before = self.active.iter().filter(|id| Some(**id) <= last);
        let mut turns: VecDeque<TorrentId> = behind.chain(before).copied().collect();
        while let Some(id) = turns.pop_front() {
            let config = &self.shared.config;
            if self.dials >= config.max_dials || self.conns.len() >= config.max_connections {
                break;
            }
            let torrent = self.torrents.get_mut(&id);
            let torrent = torrent.filter(|t| t.wants_peers(config));
            let Some(addr) = torrent.and_then(|t| t.roster.next(now)) else {
                continue;
            };
            turns.push_back(id);
            self.dialled_last = Some(id);
            let conn = self.next_conn();
            let entry = Conn {
                addr,
                outgoing: true,
                torrent: Some(id),
                stage: Stage::Dialing,
            };
            self.conns.insert(conn, entry);
            self.dials += 1;
            self.shared.out.push_back(Output::Dial(conn, addr));
        }
        if self.tick_at.is_none() {
            self.tick_at = self.next_tick(now);
        }
    }
}
