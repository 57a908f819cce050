//! The SHA-256 trees of BEP 52: roots, piece layers, and the proofs of hash requests.
//!
//! Layers are counted as on the wire: 0 is the leaves (one a block of 16 KiB), the root of a file
//! with `n` leaves is layer [`height`]`(n)`. Leaves beyond the end of a file are 32 zero bytes, so a
//! node that covers nothing else is [`pad_hash`] of its layer. A file that fits in one piece is
//! padded only to the next power of two of its blocks, and so has no piece layer.
//!
//! Nothing here reads files: who hashes blocks hands the leaves in.

use std::sync::{Arc, LazyLock};

use sha2::{Digest, Sha256};

use crate::ids::Sha256Hash;
use crate::layout::BLOCK;

mod proof;
mod tree;

pub use proof::{HashRange, MAX_HASHES, check};
pub use tree::{Leaves, PartialLayer, Tree};

/// All hashes of one file's piece layer, in order, none for padding.
pub type Layer = Arc<[Sha256Hash]>;

/// Highest layer a tree can have: 2^62 blocks are more than a 64-bit length can name.
const MAX_HEIGHT: usize = 62;

/// The hash of one block of at most 16 KiB; only a file's last block is shorter.
pub fn leaf(block: &[u8]) -> Sha256Hash {
    Sha256::digest(block).into()
}

/// The node above two others.
pub fn parent(left: &Sha256Hash, right: &Sha256Hash) -> Sha256Hash {
    Sha256::new()
        .chain_update(left)
        .chain_update(right)
        .finalize()
        .into()
}

/// The node of `layer` below which there is only padding. Panics beyond layer 62.
pub fn pad_hash(layer: u32) -> Sha256Hash {
    static PADS: LazyLock<[Sha256Hash; MAX_HEIGHT + 1]> = LazyLock::new(|| {
        let mut pads = [[0; 32]; MAX_HEIGHT + 1];
        for layer in 1..pads.len() {
            pads[layer] = parent(&pads[layer - 1], &pads[layer - 1]);
        }
        pads
    });
    PADS[layer as usize]
}

/// Number of blocks, and so of leaves that are not padding, in a file of `len` bytes.
pub fn blocks(len: u64) -> u64 {
    len.div_ceil(u64::from(BLOCK))
}

/// The layer of the root above `nodes` nodes of layer 0.
pub fn height(nodes: u64) -> u32 {
    nodes.next_power_of_two().trailing_zeros()
}

/// The layer whose nodes cover a whole piece each. `piece_length` is a power of two ≥ 16 KiB.
pub fn piece_layer(piece_length: u32) -> u32 {
    (piece_length / BLOCK).trailing_zeros()
}

/// The node `height` layers above `nodes`, which are consecutive nodes of layer `base` from the
/// subtree's left edge; the rest is padding. At most 2^`height` nodes.
pub fn root_of(nodes: &[Sha256Hash], base: u32, height: u32) -> Sha256Hash {
    debug_assert!(
        nodes.len() as u64 <= 1 << height,
        "the nodes fit below the root"
    );
    let Some(first) = nodes.first() else {
        return pad_hash(base + height);
    };
    if height == 0 {
        return *first;
    }
    let mut row = above(nodes, base);
    for layer in base + 1..base + height {
        // In place: a row is half as long as the one below it.
        for i in 0..row.len().div_ceil(2) {
            let right = row
                .get(2 * i + 1)
                .copied()
                .unwrap_or_else(|| pad_hash(layer));
            row[i] = parent(&row[2 * i], &right);
        }
        row.truncate(row.len().div_ceil(2));
    }
    row[0]
}

/// The row of nodes above a row of layer `base`, padding left out.
pub(crate) fn above(nodes: &[Sha256Hash], base: u32) -> Vec<Sha256Hash> {
    nodes
        .chunks(2)
        .map(|pair| match pair {
            [left, right] => parent(left, right),
            [left, ..] => parent(left, &pad_hash(base)),
            [] => pad_hash(base + 1),
        })
        .collect()
}

/// The root of one piece, from the leaves of its real blocks.
///
/// `file_len` is the length of the whole file: one that fits in a piece is padded only to the next
/// power of two of its blocks, and its piece root is the file's root.
pub fn piece_root(leaves: &[Sha256Hash], piece_length: u32, file_len: u64) -> Sha256Hash {
    root_of(
        leaves,
        0,
        piece_layer(piece_length).min(height(blocks(file_len))),
    )
}

/// The root of a file from the roots of its pieces, as [`piece_root`] makes them.
pub fn file_root(pieces: &[Sha256Hash], piece_length: u32) -> Sha256Hash {
    root_of(
        pieces,
        piece_layer(piece_length),
        height(pieces.len() as u64),
    )
}

/// Whether `layer` is the whole piece layer of the file with this root and length.
pub fn verify_layer(
    layer: &[Sha256Hash],
    root: &Sha256Hash,
    piece_length: u32,
    file_len: u64,
) -> bool {
    layer.len() as u64 == file_len.div_ceil(u64::from(piece_length))
        && file_len > u64::from(piece_length)
        && file_root(layer, piece_length) == *root
}

/// Takes the roots of a file's pieces in order and ends with the root of the file.
///
/// For whoever hashes a file from front to back; holds the piece layer, 32 bytes a piece.
#[derive(Clone, Debug)]
pub struct FileHasher {
    piece_length: u32,
    pieces: Vec<Sha256Hash>,
}

impl FileHasher {
    /// Starts a file.
    pub fn new(piece_length: u32) -> FileHasher {
        FileHasher {
            piece_length,
            pieces: Vec::new(),
        }
    }

    /// Adds the root of the next piece, made by [`piece_root`].
    pub fn push(&mut self, piece_root: Sha256Hash) {
        self.pieces.push(piece_root);
    }

    /// The root of the file and its piece layer (empty for a file of at most one piece); `None` for
    /// an empty file, which has no root.
    pub fn finish(self) -> Option<(Sha256Hash, Layer)> {
        match &self.pieces[..] {
            [] => None,
            [root] => Some((*root, Layer::default())),
            pieces => Some((file_root(pieces, self.piece_length), self.pieces.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const K16: u32 = BLOCK;

    /// The tree as the text of BEP 52 has it: all leaves written out, zeros included.
    pub(super) fn naive_root(leaves: &[Sha256Hash], width: usize) -> Sha256Hash {
        let mut row = leaves.to_vec();
        row.resize(width, [0; 32]);
        while row.len() > 1 {
            row = row
                .chunks(2)
                .map(|pair| parent(&pair[0], &pair[1]))
                .collect();
        }
        row[0]
    }

    #[test]
    fn a_file_of_one_block_is_its_own_root() {
        let block = leaf(b"hello");
        assert_eq!(piece_root(&[block], 4 * K16, 5), block);
        let mut hasher = FileHasher::new(4 * K16);
        hasher.push(block);
        let (root, layer) = hasher.finish().unwrap();
        assert_eq!((root, layer.len()), (block, 0));
        assert!(FileHasher::new(K16).finish().is_none());
    }

    #[test]
    fn a_small_file_is_padded_to_a_power_of_two_of_blocks_and_not_to_a_piece() {
        let leaves = [[1; 32], [2; 32], [3; 32]];
        let root = piece_root(&leaves, 16 * K16, 3 * u64::from(K16));
        assert_eq!(root, naive_root(&leaves, 4));
        assert_ne!(root, naive_root(&leaves, 16));
    }

    #[test]
    fn the_last_piece_of_a_larger_file_is_padded_to_a_piece() {
        let leaves = [[1; 32]];
        assert_eq!(
            piece_root(&leaves, 4 * K16, 9 * u64::from(K16)),
            naive_root(&leaves, 4)
        );
    }

    #[test]
    fn padding_hashes_are_trees_of_zeros() {
        assert_eq!(pad_hash(0), [0; 32]);
        assert_eq!(pad_hash(3), naive_root(&[], 8));
        assert_eq!(root_of(&[], 0, 3), pad_hash(3));
    }

    #[test]
    fn a_layer_of_the_wrong_length_does_not_verify() {
        let layer = [[1; 32], [2; 32], [3; 32]];
        let root = file_root(&layer, K16);
        let len = 3 * u64::from(K16);
        assert!(verify_layer(&layer, &root, K16, len));
        assert!(!verify_layer(&layer[..2], &root, K16, len));
        assert!(!verify_layer(&layer, &root, K16, len + 1));
        // The row above has the same root and must not pass for this one.
        let upper = above(&layer, 0);
        assert_eq!(root_of(&upper, 1, 1), root);
        assert!(!verify_layer(&upper, &root, K16, len));
    }

    proptest! {
        #[test]
        fn roots_agree_with_the_tree_written_out(
            seeds in proptest::collection::vec(any::<u8>(), 1..70),
            piece_log in 0u32..5,
        ) {
            let leaves: Vec<Sha256Hash> = seeds.iter().map(|&s| leaf(&[s])).collect();
            let piece_blocks = 1usize << piece_log;
            let piece_length = K16 << piece_log;
            let len = leaves.len() as u64 * u64::from(K16) - 7;
            let expected = naive_root(&leaves, leaves.len().next_power_of_two());
            let mut hasher = FileHasher::new(piece_length);
            for piece in leaves.chunks(piece_blocks) {
                hasher.push(piece_root(piece, piece_length, len));
            }
            let (root, layer) = hasher.finish().unwrap();
            prop_assert_eq!(root, expected);
            prop_assert_eq!(verify_layer(&layer, &root, piece_length, len), leaves.len() > piece_blocks);
            prop_assert_eq!(root_of(&leaves, 0, height(leaves.len() as u64)), expected);
        }
    }
}
