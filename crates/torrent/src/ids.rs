//! What torrents are called on the network.

use std::fmt;

use crate::hex;

/// A SHA-1 digest.
pub type Sha1Hash = [u8; 20];

/// A SHA-256 digest.
pub type Sha256Hash = [u8; 32];

/// The info-hashes of one torrent: the digests of its info dict (BEP 3, BEP 52).
///
/// A hybrid has both; a magnet link may know only one of the two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InfoHashes {
    /// SHA-1, if the torrent has v1 pieces.
    pub v1: Option<Sha1Hash>,
    /// SHA-256, if the torrent has v2 trees.
    pub v2: Option<Sha256Hash>,
}

impl InfoHashes {
    /// Only v1.
    pub fn of_v1(hash: Sha1Hash) -> InfoHashes {
        InfoHashes {
            v1: Some(hash),
            v2: None,
        }
    }

    /// Only v2.
    pub fn of_v2(hash: Sha256Hash) -> InfoHashes {
        InfoHashes {
            v1: None,
            v2: Some(hash),
        }
    }

    /// The 20-byte forms that handshakes, trackers and the DHT use: v1, then v2 cut to 20 bytes
    /// (BEP 52).
    pub fn wire(&self) -> impl Iterator<Item = Sha1Hash> + use<> {
        self.v1
            .into_iter()
            .chain(self.v2.map(|hash| truncated(&hash)))
    }

    /// The 20-byte form that most peers know: v1 if there is one. `None` only if both are missing.
    pub fn best(&self) -> Option<Sha1Hash> {
        self.wire().next()
    }

    /// Whether neither hash is known.
    pub fn is_empty(&self) -> bool {
        self.v1.is_none() && self.v2.is_none()
    }

    /// Whether every hash known to both sides is the same and at least one is.
    pub fn agrees(&self, other: &InfoHashes) -> bool {
        let v1 = self.v1.zip(other.v1).map(|(a, b)| a == b);
        let v2 = self.v2.zip(other.v2).map(|(a, b)| a == b);
        [v1, v2].contains(&Some(true)) && ![v1, v2].contains(&Some(false))
    }
}

/// A v2 info-hash as it goes where only 20 bytes fit (BEP 52).
pub fn truncated(hash: &Sha256Hash) -> Sha1Hash {
    let (head, _) = hash.split_first_chunk().expect("32 bytes hold 20");
    *head
}

/// Hex, the longer v2 hash only where there is no v1: what a person types or pastes.
impl fmt::Display for InfoHashes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.v1, self.v2) {
            (Some(hash), _) => f.write_str(&hex::encode(&hash)),
            (None, Some(hash)) => f.write_str(&hex::encode(&hash)),
            (None, None) => f.write_str("(unknown)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hybrid_goes_by_two_names_on_the_wire_v1_first() {
        let hashes = InfoHashes {
            v1: Some([1; 20]),
            v2: Some([2; 32]),
        };
        assert_eq!(hashes.wire().collect::<Vec<_>>(), [[1; 20], [2; 20]]);
        assert_eq!(hashes.best(), Some([1; 20]));
        assert_eq!(InfoHashes::of_v2([2; 32]).best(), Some([2; 20]));
        assert_eq!(InfoHashes::default().best(), None);
    }

    #[test]
    fn hashes_agree_when_what_both_know_is_the_same() {
        let hybrid = InfoHashes {
            v1: Some([1; 20]),
            v2: Some([2; 32]),
        };
        assert!(hybrid.agrees(&InfoHashes::of_v1([1; 20])));
        assert!(hybrid.agrees(&hybrid));
        assert!(!hybrid.agrees(&InfoHashes::of_v1([3; 20])));
        assert!(!hybrid.agrees(&InfoHashes {
            v1: Some([1; 20]),
            v2: Some([9; 32])
        }));
        assert!(!InfoHashes::of_v1([1; 20]).agrees(&InfoHashes::of_v2([2; 32])));
    }

    #[test]
    fn people_see_hex() {
        assert_eq!(InfoHashes::of_v1([0xab; 20]).to_string(), "ab".repeat(20));
        assert_eq!(InfoHashes::of_v2([0xcd; 32]).to_string(), "cd".repeat(32));
    }
}
