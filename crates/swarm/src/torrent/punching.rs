//! Hole punching (BEP 55): peers that nobody can dial are dialled at the moment when they dial us.
//!
//! We ask whoever told us of an address that was not reached; we introduce two of our peers to each other if one asks;
//! and we dial whom a relay names. Which packets make a hole is the driver's business.

use torrent::extension::{Holepunch, PunchError};

use super::dispatch::Outcome;
use super::*;
use crate::roster::{canonical, is_dialable};
use crate::{Class, Failure};

/// Introductions a peer gets from us in a minute, and dials we do in a minute because it says so. Each is a few packets
/// to an address of its choice.
const MOST_A_MINUTE: u32 = 20;
const MINUTE: Duration = Duration::from_secs(60);

/// What a peer had of its share of this minute.
#[derive(Clone, Copy, Debug)]
pub struct Share {
    since: Instant,
    used: u32,
}

impl Share {
    /// Nothing yet.
    pub fn new(now: Instant) -> Share {
        Share {
            since: now,
            used: 0,
        }
    }

    fn take(&mut self, now: Instant) -> bool {
        if now.saturating_duration_since(self.since) >= MINUTE {
            *self = Share::new(now);
        }
        self.used += 1;
        self.used <= MOST_A_MINUTE
    }
}

fn punch(shared: &mut Shared, now: Instant, peer: &mut Peer, message: Holepunch) {
    let (id, payload) = (peer.ids.holepunch, message.encode());
    shared.send(now, peer, Message::Extended { id, payload });
}

impl Torrent {
    /// A dial failed, or ended before the peer said who it is.
    pub fn not_reached(
        &mut self,
        shared: &mut Shared,
        now: Instant,
        addr: SocketAddr,
        failure: Option<Failure>,
    ) {
        self.roster.free(now, addr, failure);
        let shut = matches!(
            failure,
            Some(Failure::TimedOut | Failure::Refused | Failure::Unreachable)
        );
        if !shut || !shared.config.hole_punching || !self.is_running() {
            return;
        }
        let teller = self.roster.introducer(addr);
        let teller = teller.and_then(|conn| self.peers.get_mut(&conn));
        if let Some(teller) = teller.filter(|p| p.ids.holepunch != 0) {
            punch(shared, now, teller, Holepunch::Rendezvous(addr));
        }
    }

    pub(super) fn on_holepunch(
        &mut self,
        shared: &mut Shared,
        now: Instant,
        conn: ConnId,
        payload: &[u8],
    ) -> Outcome {
        let Some(peer) = self.peers.get_mut(&conn) else {
            return Ok(());
        };
        // Who does not take such messages may not send them (BEP 55).
        if peer.ids.holepunch == 0 || !shared.config.hole_punching {
            return Ok(());
        }
        let Ok(message) = Holepunch::parse(payload) else {
            return Err(Reason::Protocol("sent a malformed ut_holepunch"));
        };
        match message {
            Some(Holepunch::Rendezvous(to)) if peer.introductions.take(now) => {
                self.introduce(shared, now, conn, to);
            }
            Some(Holepunch::Connect(to)) if peer.punches.take(now) => {
                self.meet(shared, conn, to);
            }
            // Too many; or it cannot help, or says what nobody knows.
            _ => {}
        }
        Ok(())
    }

    /// A peer wants to meet the one at this address.
    fn introduce(&mut self, shared: &mut Shared, now: Instant, conn: ConnId, to: SocketAddr) {
        let canonical = canonical(to);
        let (us, them) = (self.peers.get(&conn).and_then(Peer::home), Some(canonical));
        let other = self
            .peers
            .values()
            .find(|p| p.home() == them || p.addr == canonical)
            .map(|p| (p.conn, p.ids.holepunch != 0));
        let error = match other {
            _ if !is_dialable(canonical) => Some(PunchError::NoSuchPeer),
            _ if self.roster.is_ours(canonical) || us == them => Some(PunchError::NoSelf),
            None => Some(PunchError::NotConnected),
            Some((_, false)) => Some(PunchError::NoSupport),
            Some(_) => None,
        };
        let mut tell = |conn: ConnId, message| {
            if let Some(peer) = self.peers.get_mut(&conn) {
                punch(shared, now, peer, message);
            }
        };
        match (error, other, us) {
            (Some(error), ..) => tell(conn, Holepunch::Error(to, error)),
            (None, Some((other, _)), Some(us)) => {
                tell(other, Holepunch::Connect(us));
                tell(conn, Holepunch::Connect(to));
            }
            // Nobody can dial who came over TCP and did not say where it listens.
            _ => tell(conn, Holepunch::Error(to, PunchError::NotConnected)),
        }
    }

    /// A relay says that the peer at this address dials us now.
    fn meet(&mut self, shared: &mut Shared, relay: ConnId, to: SocketAddr) {
        let to = canonical(to);
        let Some(relay) = self.peers.get(&relay) else {
            return;
        };
        // Only who is near may name what is near: else strangers could make us knock at doors of this network.
        let astray = Class::of(to.ip()) == Class::Lan && relay.class != Class::Lan
            || to.ip().is_loopback() && !relay.addr.ip().to_canonical().is_loopback();
        let known = |p: &Peer| p.addr == to || p.home() == Some(to);
        if astray
            || !is_dialable(to)
            || self.roster.is_ours(to)
            || self.roster.is_banned(to.ip())
            || self.peers.values().any(known)
            || !self.is_running()
            || self.peers.len() >= shared.config.max_connections_per_torrent
        {
            return;
        }
        shared.punches.push((self.id, to));
    }
}
