//! Peer exchange (BEP 11): whom we are connected to, told to peers, and what they tell us.

use torrent::extension::{MAX_PEX_ADDED, Pex, PexFlags};

use super::dispatch::Outcome;
use super::*;
use crate::{Carrier, Cover};

/// Time between two exchanges with a peer (BEP 11).
const EXCHANGE: Duration = Duration::from_secs(60);
/// Addresses in the first message to a peer; BEP 11 limits the later ones alone.
const MOST_AT_FIRST: usize = 100;
/// Exchanges closer together than this are ignored (BEP 11: one a minute).
const EXCHANGE_GAP: Duration = Duration::from_secs(30);
/// ...and who sends more than so many in that time is left.
const MOST_EARLY: u8 = 20;
/// Addresses taken from one exchange.
const MOST_TAKEN: usize = 100;
/// Peers that left, remembered to tell others so. Who left before is taken for connected a little longer.
const MOST_LEFT: usize = 1000;

/// A connection in the lists of whom was told what.
fn number(conn: ConnId) -> u32 {
    conn.0 as u32
}

/// What others should know of a peer.
fn flags(peer: &Peer) -> PexFlags {
    let road = peer.road;
    [
        (road.cover != Cover::Plain, PexFlags::ENCRYPTION),
        (peer.is_seed(), PexFlags::SEED),
        (road.carrier == Carrier::Utp, PexFlags::UTP),
        (peer.ids.holepunch != 0, PexFlags::HOLEPUNCH),
        (peer.outgoing && !road.punched, PexFlags::REACHABLE),
    ]
    .into_iter()
    .filter(|(is, _)| *is)
    .fold(PexFlags::default(), |all, (_, flag)| all.with(flag))
}

impl Torrent {
    /// A peer is gone: others are told.
    pub(crate) fn note_left(&mut self, peer: &Peer) {
        if let Some(home) = peer.home() {
            if self.left.len() >= MOST_LEFT {
                self.left.pop_front();
            }
            self.left.push_back((number(peer.conn), home));
        }
    }

    /// Tells a peer who came and who left since the last time, if it is time.
    pub(crate) fn exchange(&mut self, shared: &mut Shared, now: Instant, conn: ConnId) {
        let due = |p: &&Peer| p.ids.pex != 0 && now >= p.exchange_at;
        let allowed = shared.config.peer_exchange && !self.private();
        let Some(peer) = self.peers.get(&conn).filter(due).filter(|_| allowed) else {
            return;
        };
        // Seeds have nothing for each other.
        let fits = |p: &&Peer| p.conn != conn && !(peer.is_seed() && p.is_seed());
        let news = |p: &&Peer| peer.told.binary_search(&number(p.conn)).is_err();
        let most = match peer.told.is_empty() {
            true => MOST_AT_FIRST,
            false => MAX_PEX_ADDED,
        };
        let mut told = peer.told.clone();
        let mut added = BTreeMap::new();
        for other in self.peers.values().filter(fits).filter(news) {
            if added.len() == most {
                break;
            }
            let home = other.home().filter(|home| Some(*home) != peer.home());
            if let Some(home) = home {
                added.insert(home, flags(other));
                told.push(number(other.conn));
            }
        }
        let mut dropped = BTreeSet::new();
        for (gone, home) in &self.left {
            if dropped.len() == MAX_PEX_ADDED {
                break;
            }
            if let Ok(at) = peer.told.binary_search(gone) {
                // Who is back was never away.
                if added.remove(home).is_none() {
                    dropped.insert(*home);
                }
                told.retain(|&other| other != peer.told[at]);
            }
        }
        told.sort_unstable();
        let Some(peer) = self.peers.get_mut(&conn) else {
            return;
        };
        peer.exchange_at = now + EXCHANGE;
        peer.told = told;
        if added.is_empty() && dropped.is_empty() {
            return;
        }
        let pex = Pex {
            added: added.into_iter().collect(),
            dropped: dropped.into_iter().collect(),
        };
        let (id, payload) = (peer.ids.pex, pex.encode());
        shared.send(now, peer, Message::Extended { id, payload });
    }

    pub(super) fn on_exchange(&mut self, now: Instant, conn: ConnId, payload: &[u8]) -> Outcome {
        let Some(peer) = self.peers.get_mut(&conn) else {
            return Ok(());
        };
        if self.info.as_ref().is_some_and(|i| i.private()) {
            return Ok(());
        }
        if now < peer.exchange_from {
            peer.exchange_early += 1;
            return match peer.exchange_early > MOST_EARLY {
                true => Err(Reason::Protocol("floods us with peer exchange")),
                false => Ok(()),
            };
        }
        (peer.exchange_from, peer.exchange_early) = (now + EXCHANGE_GAP, 0);
        let Ok(pex) = Pex::parse(payload) else {
            return Err(Reason::Protocol("sent a malformed peer exchange"));
        };
        // Some tell us of ourselves.
        let ours = peer.sees_us;
        let others = pex
            .added
            .into_iter()
            .filter(|(addr, _)| ours != Some(*addr));
        for (addr, flags) in others.take(MOST_TAKEN) {
            self.roster.told(now, addr, flags, conn);
        }
        Ok(())
    }
}
