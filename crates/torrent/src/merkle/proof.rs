//! Hash requests (BEP 52): which hashes they name, and how an answer is checked.

use super::{height, parent};
use crate::ids::Sha256Hash;

/// Most hashes asked for at once. BEP 52 says 512 is what one should stay within; libtorrent takes
/// up to 8192, the leaves of a piece of 128 MiB.
pub const MAX_HASHES: u32 = 8192;

/// The part of a tree that a hash request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HashRange {
    /// Layer of the hashes asked for; 0 is the leaves.
    pub base_layer: u32,
    /// First of them within the layer; a multiple of `length`.
    pub index: u32,
    /// How many; a power of two.
    pub length: u32,
    /// How many layers above the base the proof climbs, those left out included.
    pub proof_layers: u32,
}

impl HashRange {
    /// A range whose proof reaches the root of a tree with its root in layer `height`.
    pub fn to_root(base_layer: u32, index: u32, length: u32, height: u32) -> HashRange {
        let proof_layers = height.saturating_sub(base_layer + 1);
        HashRange {
            base_layer,
            index,
            length,
            proof_layers,
        }
    }

    /// Whether a tree with its root in layer `height` has such a range, and it is within the limits.
    ///
    /// BEP 52 wants a length of at least 2. One hash is let pass too: libtorrent asks so for the last
    /// piece of a file whose pieces are one more than a multiple of 512.
    pub fn is_valid(&self, height: u32) -> bool {
        if self.base_layer >= height || !self.length.is_power_of_two() || self.length > MAX_HASHES {
            return false;
        }
        let width = 1u64 << (height - self.base_layer).min(31);
        self.index.is_multiple_of(self.length)
            && u64::from(self.index) + u64::from(self.length) <= width
            && self.proof_layers < height - self.base_layer
    }

    /// Number of uncle hashes behind the hashes asked for. The first log2(length) − 1 proof layers
    /// count as asked for but hold nothing that is not known from the hashes themselves.
    pub fn uncles(&self) -> u32 {
        (self.proof_layers + 1).saturating_sub(self.length.max(1).ilog2())
    }

    /// Number of hashes in an answer.
    pub fn hashes(&self) -> u32 {
        self.length.saturating_add(self.uncles())
    }

    /// The layer that the proof arrives at: one above its last uncle.
    pub fn top(&self) -> u32 {
        self.base_layer
            .saturating_add(self.length.max(1).ilog2())
            .saturating_add(self.uncles())
    }

    /// Whether the proof arrives at the root of a tree with its root in layer `height`. Only then
    /// may an answer be checked against the root.
    pub fn reaches_root(&self, height: u32) -> bool {
        self.is_valid(height) && self.top() == height
    }

    /// Whether `answer`, as it came in a `hashes` message, proves the hashes it starts with.
    ///
    /// `node` is the trusted node in layer [`top`](Self::top) above them: the root of the file, or
    /// the root of a piece when the leaves of that piece were asked for without uncles.
    pub fn check(&self, node: &Sha256Hash, answer: &[Sha256Hash]) -> bool {
        let rows = self.top().saturating_sub(self.base_layer);
        if answer.len() as u64 != u64::from(self.length) + u64::from(self.uncles()) || rows > 62 {
            return false;
        }
        let (hashes, uncles) = answer.split_at(self.length as usize);
        // Counted from the left edge of what lies below the node.
        let index = u64::from(self.index) & ((1 << rows) - 1);
        check(node, self.base_layer, index as u32, hashes, uncles)
    }
}

/// Whether `hashes`, consecutive nodes of `base_layer` from `index` on, lie below `root`, given the
/// siblings (`uncles`) on the way up. Padding is among the hashes where the file has ended.
///
/// `root` must be the node log2(hashes) + uncles layers above `base_layer`; that the answer has the
/// right number of uncles for that is [`HashRange::check`]'s to see.
pub fn check(
    root: &Sha256Hash,
    base_layer: u32,
    index: u32,
    hashes: &[Sha256Hash],
    uncles: &[Sha256Hash],
) -> bool {
    let length = hashes.len();
    if !length.is_power_of_two() || !(index as usize).is_multiple_of(length) || base_layer > 62 {
        return false;
    }
    let rows = height(length as u64);
    let mut node = super::root_of(hashes, base_layer, rows);
    let mut position = index >> rows;
    for uncle in uncles {
        node = if position & 1 == 0 {
            parent(&node, uncle)
        } else {
            parent(uncle, &node)
        };
        position >>= 1;
    }
    // A position left over means that the claimed place lies outside this tree.
    position == 0 && node == *root
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merkle::{leaf, root_of};

    fn leaves(n: u8) -> Vec<Sha256Hash> {
        (0..n).map(|i| leaf(&[i])).collect()
    }

    #[test]
    fn the_layers_that_are_left_out_still_count() {
        // BEP 52: "the first log2(length)-1 proof layers are omitted".
        let range = HashRange {
            base_layer: 0,
            index: 0,
            length: 2,
            proof_layers: 2,
        };
        assert_eq!((range.uncles(), range.top()), (2, 3));
        let range = HashRange {
            base_layer: 0,
            index: 0,
            length: 4,
            proof_layers: 2,
        };
        assert_eq!((range.uncles(), range.top()), (1, 3));
        let range = HashRange {
            base_layer: 0,
            index: 0,
            length: 8,
            proof_layers: 2,
        };
        assert_eq!((range.uncles(), range.top()), (0, 3));
        let range = HashRange {
            base_layer: 0,
            index: 0,
            length: 8,
            proof_layers: 0,
        };
        assert_eq!((range.uncles(), range.top()), (0, 3));
    }

    #[test]
    fn a_request_to_the_root_reaches_it_from_every_layer() {
        for height in 1..12 {
            for base in 0..height {
                for log in 0..=(height - base) {
                    let range = HashRange::to_root(base, 0, 1 << log, height);
                    assert!(range.reaches_root(height), "{range:?} of {height}");
                }
            }
        }
    }

    #[test]
    fn ranges_outside_the_tree_or_unaligned_are_invalid() {
        let range = |base_layer, index, length, proof_layers| {
            HashRange {
                base_layer,
                index,
                length,
                proof_layers,
            }
            .is_valid(4)
        };
        assert!(range(0, 0, 16, 3));
        assert!(range(0, 14, 2, 3));
        assert!(range(0, 15, 1, 3));
        assert!(!range(0, 16, 2, 3));
        assert!(!range(0, 0, 32, 3));
        assert!(!range(0, 1, 2, 3));
        assert!(!range(0, 0, 3, 3));
        assert!(!range(0, 0, 0, 3));
        assert!(!range(0, 0, 16, 4));
        assert!(!range(4, 0, 2, 0));
        assert!(!range(u32::MAX, 0, 2, 0));
        assert!(!range(0, 0, 2, u32::MAX));
        assert!(
            !HashRange {
                base_layer: 0,
                index: 0,
                length: 16384,
                proof_layers: 0
            }
            .is_valid(60)
        );
        assert!(
            !HashRange {
                base_layer: 0,
                index: u32::MAX,
                length: 2,
                proof_layers: u32::MAX
            }
            .is_valid(60)
        );
    }

    #[test]
    fn a_true_proof_holds_and_every_altered_one_fails() {
        let leaves = leaves(8);
        let root = root_of(&leaves, 0, 3);
        let uncle = root_of(&leaves[..4], 0, 2);
        let neighbour = root_of(&leaves[6..], 0, 1);
        assert!(check(&root, 0, 4, &leaves[4..6], &[neighbour, uncle]));
        assert!(!check(&root, 0, 6, &leaves[4..6], &[neighbour, uncle]));
        assert!(!check(&root, 0, 4, &leaves[4..6], &[uncle, neighbour]));
        assert!(!check(&root, 0, 4, &leaves[4..6], &[neighbour]));
        assert!(!check(&root, 0, 12, &leaves[4..6], &[neighbour, uncle]));
        assert!(!check(&root, 0, 5, &leaves[4..6], &[neighbour, uncle]));
        assert!(!check(&root, 0, 4, &leaves[4..7], &[neighbour, uncle]));
        assert!(!check(&root, 0, 4, &[], &[neighbour, uncle]));
    }

    #[test]
    fn leaves_of_a_piece_are_checked_against_its_root_without_uncles() {
        let leaves = leaves(8);
        let piece = root_of(&leaves[4..], 0, 2);
        let range = HashRange {
            base_layer: 0,
            index: 4,
            length: 4,
            proof_layers: 0,
        };
        assert_eq!(range.top(), 2);
        assert!(range.check(&piece, &leaves[4..]));
        assert!(!range.check(&piece, &leaves[..4]));
        assert!(!range.check(&piece, &leaves[4..7]));
    }
}
