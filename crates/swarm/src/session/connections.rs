//! Connections of a session: dials, greetings, and whose torrent each belongs to.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use torrent::wire::Handshake;

use super::{Conn, Session, Stage, TICK};
use crate::roster::canonical;
use crate::torrent::our_handshake;
use crate::{Approach, Carrier, ConnId, Failure, Output, Reason, Road, TorrentId};

/// Two connections to one peer younger than this crossed each other.
const CROSSING: Duration = Duration::from_secs(10);
/// Holes being punched at once: routers give each a place in a small table.
const MOST_PUNCHES: usize = 32;

impl Session {
    /// Where others see us.
    pub(super) fn seen_at(&mut self, ip: IpAddr) {
        let ip = ip.to_canonical();
        let ours = &mut self.shared.ours[usize::from(ip.is_ipv6())];
        *ours = Some(SocketAddr::new(ip, self.shared.config.listen_port));
        let ours = self.shared.ours;
        self.torrents
            .values_mut()
            .for_each(|t| t.roster.set_ours(ours));
    }

    pub(super) fn incoming(
        &mut self,
        now: Instant,
        conn: ConnId,
        addr: SocketAddr,
        mut road: Road,
    ) {
        if self.conns.len() >= self.shared.config.max_connections {
            self.shared.out.push_back(Output::Close(conn, Reason::Full));
            return;
        }
        // It came through the hole that we were asked to make.
        let met = |c: &Conn| c.approach == Approach::Punch && c.addr == canonical(addr);
        road.punched |= road.carrier == Carrier::Utp && self.conns.values().any(met);
        let entry = Conn {
            addr,
            outgoing: false,
            torrent: None,
            stage: Stage::Greeting(now),
            road,
            approach: Approach::Usual,
        };
        self.conns.insert(conn, entry);
        self.tick_at.get_or_insert(now + TICK);
    }

    /// What a peer that is being dialled will be greeted with: a road may carry it as part of its own handshake.
    pub fn greeting(&self, conn: ConnId) -> Option<Handshake> {
        let torrent = self.conns.get(&conn)?.torrent?;
        Some(self.torrents.get(&torrent)?.handshake(&self.shared.config))
    }

    pub(super) fn connected(&mut self, now: Instant, conn: ConnId, road: Road) {
        let Some(entry) = self
            .conns
            .get_mut(&conn)
            .filter(|c| c.stage == Stage::Dialing)
        else {
            return;
        };
        entry.stage = Stage::Greeting(now);
        entry.road = Road {
            punched: entry.approach == Approach::Punch,
            ..road
        };
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
        let (addr, outgoing, road) = (entry.addr, entry.outgoing, entry.road);
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
        if outgoing {
            torrent.roster.met(addr);
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
            let last = torrent.makes_room(now, addr).ok_or(Reason::Full)?;
            torrent.close(&mut self.shared, now, last, Reason::Full);
            self.settle();
        }
        let torrent = self.torrents.get_mut(&id).ok_or(Reason::UnknownTorrent)?;

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
        torrent.connected(
            &mut self.shared,
            now,
            conn,
            (addr, outgoing, road),
            theirs,
            v2,
        );
        self.active.insert(id);
        self.tick_at.get_or_insert(now + TICK);
        Ok(())
    }

    /// It is over; `why` says what that means if the peer has not said yet who it is.
    pub(super) fn gone(&mut self, now: Instant, conn: ConnId, why: Option<Failure>) {
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
            _ if !entry.outgoing => {}
            stage => {
                let mute = why == Some(Failure::Closed) && entry.road.carrier == Carrier::Tcp;
                if mute && stage != Stage::Dialing {
                    torrent.roster.prefer_utp(entry.addr);
                }
                torrent.not_reached(&mut self.shared, now, entry.addr, why);
            }
        }
    }

    /// We end it.
    pub(super) fn close(&mut self, now: Instant, conn: ConnId, reason: Reason) {
        if self.conns.contains_key(&conn) {
            let why = match reason {
                Reason::HandshakeTimeout => Some(Failure::Silent),
                Reason::UnknownTorrent | Reason::Protocol(_) => Some(Failure::Stranger),
                _ => None,
            };
            self.gone(now, conn, why);
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

    fn begin_dial(&mut self, id: TorrentId, addr: SocketAddr, approach: Approach) {
        let conn = self.next_conn();
        let entry = Conn {
            addr,
            outgoing: true,
            torrent: Some(id),
            stage: Stage::Dialing,
            road: Road::default(),
            approach,
        };
        self.conns.insert(conn, entry);
        self.dials += 1;
        self.shared
            .out
            .push_back(Output::Dial(conn, addr, approach));
    }

    /// Dials who dials us at this moment (BEP 55): it cannot wait for its turn.
    pub(super) fn punch(&mut self, id: TorrentId, addr: SocketAddr) {
        let config = &self.shared.config;
        let punches = |c: &Conn| c.approach == Approach::Punch && c.stage != Stage::Live;
        let under_way = self.conns.values().filter(|c| punches(c)).count();
        let twice = self.conns.values().any(|c| punches(c) && c.addr == addr);
        if self.conns.len() < config.max_connections && under_way < MOST_PUNCHES && !twice {
            self.begin_dial(id, addr, Approach::Punch);
        }
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
            let next = torrent.and_then(|t| {
                let seeds = t.is_finished();
                t.roster.next(now, seeds)
            });
            let Some((addr, approach)) = next else {
                continue;
            };
            turns.push_back(id);
            self.dialled_last = Some(id);
            self.begin_dial(id, addr, approach);
        }
        if self.tick_at.is_none() {
            self.tick_at = self.next_tick(now);
        }
    }
}
