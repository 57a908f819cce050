//! Who sent bad data.
//!
//! A piece that fails with one contributor names its culprit. With several, the digest of every
//! block is kept; the piece is then fetched from one peer alone, and when it is right, the blocks
//! that differ say who lied. An honest peer is never banned for sharing a piece with a liar.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use torrent::ids::Sha256Hash;

use crate::WebSeedId;

/// Failed pieces remembered: beyond this somebody floods us, and the oldest evidence goes.
const MOST_SUSPECT_PIECES: usize = 64;

/// Who a block came from.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Author {
    /// A peer there.
    Peer(IpAddr),
    /// A web seed of the torrent.
    Web(WebSeedId),
}

/// Evidence about failed pieces of one torrent.
#[derive(Debug, Default)]
pub struct Culprits {
    /// For each failed piece: who delivered each block, and its digest once known.
    suspects: BTreeMap<u32, Attempt>,
    order: Vec<u32>,
}

#[derive(Debug)]
struct Attempt {
    from: Vec<(u32, Author)>,
    digests: Option<Vec<Sha256Hash>>,
}

/// What a failed piece tells at once.
#[derive(Debug, PartialEq, Eq)]
pub enum Finding {
    /// One peer or web seed delivered all of it.
    Guilty(Author),
    /// Several did: digests of what is on disk are needed before it is fetched again.
    NeedDigests,
    /// Several did, and their digests are noted.
    Noted,
}

impl Culprits {
    /// A piece failed: `from` says who sent which block.
    pub fn failed(
        &mut self,
        piece: u32,
        from: Vec<(u32, Author)>,
        leaves: Option<&[Sha256Hash]>,
    ) -> Finding {
        let who: BTreeSet<Author> = from.iter().map(|&(_, who)| who).collect();
        if who.len() == 1 {
            return Finding::Guilty(from[0].1);
        }
        if self.suspects.len() >= MOST_SUSPECT_PIECES && !self.suspects.contains_key(&piece) {
            let oldest = self.order.remove(0);
            self.suspects.remove(&oldest);
        }
        self.order.retain(|&p| p != piece);
        self.order.push(piece);
        self.suspects.insert(
            piece,
            Attempt {
                from,
                digests: leaves.map(<[_]>::to_vec),
            },
        );
        if leaves.is_some() {
            Finding::Noted
        } else {
            Finding::NeedDigests
        }
    }

    /// The digests of the failed piece, as it was on disk.
    pub fn note(&mut self, piece: u32, digests: Vec<Sha256Hash>) {
        if let Some(attempt) = self.suspects.get_mut(&piece) {
            attempt.digests.get_or_insert(digests);
        }
    }

    /// Whether the digests of the right version of this piece would convict anyone.
    pub fn wants_proof(&self, piece: u32) -> bool {
        self.suspects
            .get(&piece)
            .is_some_and(|a| a.digests.is_some())
    }

    /// The piece is right and its blocks have these digests: who sent others?
    pub fn convict(&mut self, piece: u32, right: &[Sha256Hash]) -> BTreeSet<Author> {
        self.order.retain(|&p| p != piece);
        let Some(Attempt {
            from,
            digests: Some(wrong),
        }) = self.suspects.remove(&piece)
        else {
            return BTreeSet::new();
        };
        let differs = |&(block, _): &(u32, Author)| {
            let block = block as usize;
            matches!((wrong.get(block), right.get(block)), (Some(w), Some(r)) if w != r)
        };
        from.into_iter()
            .filter(differs)
            .map(|(_, who)| who)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: Author = Author::Peer(IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1)));
    const EVE: Author = Author::Web(WebSeedId(66));

    #[test]
    fn a_single_contributor_is_guilty_at_once() {
        let mut c = Culprits::default();
        assert_eq!(
            c.failed(3, vec![(0, EVE), (1, EVE)], None),
            Finding::Guilty(EVE)
        );
        assert!(c.suspects.is_empty());
    }

    #[test]
    fn among_several_only_the_liar_is_convicted() {
        let mut c = Culprits::default();
        let from = vec![(0, ALICE), (1, EVE), (2, ALICE)];
        assert_eq!(c.failed(3, from, None), Finding::NeedDigests);
        assert!(!c.wants_proof(3));
        c.note(3, vec![[0; 32], [66; 32], [2; 32]]);
        assert!(c.wants_proof(3));
        assert_eq!(c.convict(3, &[[0; 32], [1; 32], [2; 32]]), [EVE].into());
        assert!(c.suspects.is_empty());
    }

    #[test]
    fn evidence_is_bounded() {
        let mut c = Culprits::default();
        for piece in 0..1000 {
            c.failed(piece, vec![(0, ALICE), (1, EVE)], Some(&[[0; 32]; 2]));
        }
        assert_eq!(c.suspects.len(), MOST_SUSPECT_PIECES);
        assert_eq!(c.order.len(), MOST_SUSPECT_PIECES);
        assert!(c.wants_proof(999) && !c.wants_proof(0));
    }
}
