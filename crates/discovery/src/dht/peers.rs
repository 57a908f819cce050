//! What others have announced here: for each info-hash, who has it (BEP 5). Forgets after half an hour.
//!
//! When there is no room, what is furthest from our own place is forgotten first: nobody looks for it here, and who
//! fills us with inventions of his own cannot push out what belongs here.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use torrent::krpc::NodeId;

/// How long an announce is remembered. Clients repeat theirs every 15 minutes or so.
const LIFETIME: Duration = Duration::from_secs(30 * 60);

/// Most info-hashes remembered; more than land on one node of the public DHT.
const MAX_HASHES: usize = 4_000;

/// Most peers of one address family remembered for an info-hash; an answer has room for forty.
const MAX_PEERS: usize = 200;

/// Most peers remembered altogether: about 5 MB.
const MAX_IN_ALL: usize = 60_000;

/// Who announced what, and when.
#[derive(Debug, Default)]
pub(super) struct Peers {
    by_hash: BTreeMap<[u8; 20], Vec<(SocketAddr, Instant)>>,
    in_all: usize,
}

impl Peers {
    /// Remembers a peer; false if there is no room. `own` is our place.
    pub(super) fn announce(
        &mut self,
        now: Instant,
        own: &NodeId,
        info_hash: [u8; 20],
        peer: SocketAddr,
    ) -> bool {
        if self.is_full_for(&info_hash) {
            self.expire(now);
        }
        while self.is_full_for(&info_hash) {
            let distance = |hash: &[u8; 20]| NodeId(*hash).distance(own);
            let furthest = self
                .by_hash
                .keys()
                .max_by_key(|hash| distance(hash))
                .copied();
            match furthest.filter(|furthest| distance(furthest) > distance(&info_hash)) {
                Some(furthest) => {
                    let gone = self
                        .by_hash
                        .remove(&furthest)
                        .map_or(0, |peers| peers.len());
                    self.in_all -= gone;
                }
                None => return false,
            }
        }
        let peers = self.by_hash.entry(info_hash).or_default();
        if let Some((_, heard)) = peers.iter_mut().find(|(known, _)| *known == peer) {
            *heard = now;
            return true;
        }
        let family = peers
            .iter()
            .filter(|(known, _)| known.is_ipv4() == peer.is_ipv4())
            .count();
        if family >= MAX_PEERS {
            // The one heard of least recently makes room: those that are still there come back.
            let oldest = peers
                .iter()
                .enumerate()
                .filter(|(_, (known, _))| known.is_ipv4() == peer.is_ipv4());
            let oldest = oldest
                .min_by_key(|(_, (_, heard))| *heard)
                .map(|(at, _)| at);
            peers.remove(oldest.expect("a full family has an oldest peer"));
            self.in_all -= 1;
        }
        peers.push((peer, now));
        self.in_all += 1;
        true
    }

    /// Up to `count` peers of one address family, chosen at random.
    pub(super) fn sample(
        &self,
        now: Instant,
        info_hash: &[u8; 20],
        v4: bool,
        count: usize,
        rng: &mut fastrand::Rng,
    ) -> Vec<SocketAddr> {
        let known = self.by_hash.get(info_hash).into_iter().flatten();
        let alive = known
            .filter(|(peer, heard)| peer.is_ipv4() == v4 && !is_old(now, *heard))
            .map(|(peer, _)| *peer);
        let mut peers: Vec<_> = alive.collect();
        rng.shuffle(&mut peers);
        peers.truncate(count);
        peers
    }

    /// Forgets what is old.
    pub(super) fn expire(&mut self, now: Instant) {
        self.by_hash.retain(|_, peers| {
            peers.retain(|(_, heard)| !is_old(now, *heard));
            !peers.is_empty()
        });
        self.in_all = self.by_hash.values().map(Vec::len).sum();
    }

    /// How many peers are remembered.
    pub(super) fn len(&self) -> usize {
        self.in_all
    }

    fn is_full_for(&self, info_hash: &[u8; 20]) -> bool {
        self.in_all >= MAX_IN_ALL
            || (self.by_hash.len() >= MAX_HASHES && !self.by_hash.contains_key(info_hash))
    }
}

fn is_old(now: Instant, heard: Instant) -> bool {
    now.saturating_duration_since(heard) >= LIFETIME
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: NodeId = NodeId([0; 20]);

    fn peer(n: u32) -> SocketAddr {
        SocketAddr::from(((0x0900_0000 + n).to_be_bytes(), 1))
    }

    #[test]
    fn an_announce_is_remembered_for_half_an_hour() {
        let start = Instant::now();
        let mut rng = fastrand::Rng::with_seed(1);
        let mut peers = Peers::default();
        assert!(peers.announce(start, &OWN, [1; 20], peer(1)));
        assert!(peers.announce(start, &OWN, [1; 20], "[::1]:1".parse().unwrap()));
        let mut sample = |peers: &Peers, at, v4| peers.sample(at, &[1; 20], v4, 10, &mut rng);
        assert_eq!(sample(&peers, start + LIFETIME / 2, true), [peer(1)]);
        assert_eq!(sample(&peers, start, false), ["[::1]:1".parse().unwrap()]);
        assert!(peers.announce(start + LIFETIME / 2, &OWN, [1; 20], peer(1)));
        assert_eq!(sample(&peers, start + LIFETIME, true), [peer(1)]);
        assert!(sample(&peers, start + LIFETIME, false).is_empty());
        peers.expire(start + LIFETIME * 2);
        assert_eq!((peers.len(), peers.by_hash.len()), (0, 0));
    }

    #[test]
    fn a_full_info_hash_forgets_the_one_heard_of_least_recently() {
        let start = Instant::now();
        let mut peers = Peers::default();
        for n in 0..MAX_PEERS as u32 + 1 {
            assert!(peers.announce(
                start + Duration::from_millis(n.into()),
                &OWN,
                [1; 20],
                peer(n)
            ));
        }
        let mut rng = fastrand::Rng::with_seed(1);
        let all = peers.sample(start, &[1; 20], true, usize::MAX, &mut rng);
        assert_eq!((all.len(), peers.len()), (MAX_PEERS, MAX_PEERS));
        assert!(!all.contains(&peer(0)) && all.contains(&peer(MAX_PEERS as u32)));
    }

    #[test]
    fn a_flood_of_info_hashes_pushes_out_what_is_furthest_from_us() {
        let start = Instant::now();
        let mut peers = Peers::default();
        let hash = |n: usize| {
            let mut hash = [0x80; 20];
            hash[1..5].copy_from_slice(&(n as u32).to_be_bytes());
            hash
        };
        for n in 0..MAX_HASHES {
            assert!(peers.announce(start, &OWN, hash(n), peer(1)));
        }
        assert!(
            !peers.announce(start, &OWN, hash(MAX_HASHES), peer(1)),
            "it is the furthest"
        );
        assert!(peers.announce(start, &OWN, hash(0), peer(2)), "it is known");
        assert!(peers.announce(start, &OWN, [1; 20], peer(1)), "it is near");
        assert_eq!(peers.by_hash.len(), MAX_HASHES);
        assert!(!peers.by_hash.contains_key(&hash(MAX_HASHES - 1)));
        assert_eq!(
            peers.len(),
            peers.by_hash.values().map(Vec::len).sum::<usize>()
        );
        assert!(peers.announce(start + LIFETIME, &OWN, hash(MAX_HASHES), peer(1)));
        assert_eq!(peers.len(), 1);
    }

    #[test]
    fn samples_differ_and_keep_to_their_size() {
        let start = Instant::now();
        let mut peers = Peers::default();
        (0..100).for_each(|n| assert!(peers.announce(start, &OWN, [1; 20], peer(n))));
        let mut rng = fastrand::Rng::with_seed(1);
        let one = peers.sample(start, &[1; 20], true, 10, &mut rng);
        let two = peers.sample(start, &[1; 20], true, 10, &mut rng);
        assert_eq!((one.len(), two.len()), (10, 10));
        assert_ne!(one, two);
    }
}
