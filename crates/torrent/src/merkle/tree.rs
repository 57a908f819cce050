//! One file's tree from its piece layer up: serving hash requests, and collecting a piece layer.

use super::{HashRange, Layer, above, blocks, height, pad_hash, piece_layer, root_of};
use crate::ids::Sha256Hash;
use crate::layout::MAX_PIECES;

/// Piece hashes asked for in one request while collecting a layer (BEP 52: no more than 512).
const CHUNK: u32 = 512;

/// Leaf hashes of consecutive whole pieces of a file, from block `first` of the file on; short only
/// where the file ends.
#[derive(Clone, Copy, Debug)]
pub struct Leaves<'a> {
    /// Index within the file of the first block.
    pub first: u64,
    /// One hash a block.
    pub hashes: &'a [Sha256Hash],
}

/// The tree of one file, from its piece layer to its root.
///
/// Leaves are not kept: whoever serves them hashes the piece again. Costs 32 bytes a piece on top of
/// the layer, which is shared.
#[derive(Clone, Debug)]
pub struct Tree {
    base: u32,
    height: u32,
    blocks: u64,
    layer: Layer,
    upper: Vec<Vec<Sha256Hash>>,
}

impl Tree {
    /// The tree of a file of `file_len` bytes with this root. `layer` is its verified piece layer,
    /// or empty if the file fits in one piece; `None` if the length of the layer is another.
    pub fn new(root: Sha256Hash, layer: Layer, piece_length: u32, file_len: u64) -> Option<Tree> {
        let blocks = blocks(file_len);
        let height = height(blocks);
        let pieces = file_len.div_ceil(u64::from(piece_length));
        let (base, layer) = match pieces {
            0 => return None,
            1 if layer.is_empty() => (height, Layer::from([root])),
            1 => return None,
            _ => (piece_layer(piece_length), layer),
        };
        if layer.len() as u64 != pieces {
            return None;
        }
        let mut upper = Vec::new();
        for row in base..height {
            let below = upper
                .last()
                .map_or(&layer[..], |row: &Vec<Sha256Hash>| &row[..]);
            upper.push(above(below, row));
        }
        Some(Tree {
            base,
            height,
            blocks,
            layer,
            upper,
        })
    }

    /// The root of the file.
    pub fn root(&self) -> Sha256Hash {
        self.upper.last().map_or(self.layer[0], |row| row[0])
    }

    /// The layer of the root.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// The pieces of the file, counted within it, whose leaves [`serve`](Self::serve) needs for this
    /// range; none if it asks for nothing below the piece layer.
    pub fn pieces_needed(&self, range: &HashRange) -> std::ops::Range<u32> {
        if range.base_layer >= self.base || !range.is_valid(self.height) {
            return 0..0;
        }
        let shift = self.base - range.base_layer;
        let end = (u64::from(range.index) + u64::from(range.length)).div_ceil(1 << shift);
        let pieces = self.layer.len() as u32;
        (range.index >> shift).min(pieces)..(end as u32).min(pieces)
    }

    /// The answer to a hash request: the hashes asked for, padding included, then their uncles from
    /// the bottom up. `None` (to be rejected) if the range is invalid or needs leaves that `leaves`
    /// does not hold.
    pub fn serve(&self, range: &HashRange, leaves: Option<Leaves<'_>>) -> Option<Vec<Sha256Hash>> {
        if !range.is_valid(self.height) {
            return None;
        }
        let mut answer = Vec::with_capacity(range.hashes() as usize);
        for index in range.index..range.index + range.length {
            answer.push(self.node(range.base_layer, index, leaves)?);
        }
        let rows = range.length.ilog2();
        for step in 0..range.uncles() {
            let sibling = (range.index >> (rows + step)) ^ 1;
            answer.push(self.node(range.base_layer + rows + step, sibling, leaves)?);
        }
        Some(answer)
    }

    fn node(&self, layer: u32, index: u32, leaves: Option<Leaves<'_>>) -> Option<Sha256Hash> {
        if layer >= self.base {
            let row = match layer - self.base {
                0 => &self.layer[..],
                up => &self.upper[up as usize - 1],
            };
            return Some(
                row.get(index as usize)
                    .copied()
                    .unwrap_or_else(|| pad_hash(layer)),
            );
        }
        let first = u64::from(index) << layer;
        let end = (u64::from(index + 1) << layer).min(self.blocks);
        if first >= self.blocks {
            return Some(pad_hash(layer));
        }
        let leaves = leaves?;
        let from = usize::try_from(first.checked_sub(leaves.first)?).ok()?;
        let to = usize::try_from(end - leaves.first).ok()?;
        Some(root_of(leaves.hashes.get(from..to)?, 0, layer))
    }
}

/// A piece layer that comes in from peers, each part proven against the root of the file.
///
/// Memory grows with what has been proven.
#[derive(Clone, Debug)]
pub struct PartialLayer {
    root: Sha256Hash,
    base: u32,
    height: u32,
    pieces: u32,
    chunks: Vec<Option<Box<[Sha256Hash]>>>,
}

impl PartialLayer {
    /// Nothing yet of the layer of such a file; `None` if a file that short has none.
    pub fn new(root: Sha256Hash, piece_length: u32, file_len: u64) -> Option<PartialLayer> {
        let pieces = file_len.div_ceil(u64::from(piece_length));
        if pieces < 2 || pieces > u64::from(MAX_PIECES) {
            return None;
        }
        let chunks = vec![None; pieces.div_ceil(u64::from(CHUNK)) as usize];
        let height = height(blocks(file_len));
        Some(PartialLayer {
            root,
            base: piece_layer(piece_length),
            height,
            pieces: pieces as u32,
            chunks,
        })
    }

    /// The request that brings the hash of `piece`, counted within the file, and its neighbours'.
    pub fn request_for(&self, piece: u32) -> HashRange {
        let index = piece / CHUNK * CHUNK;
        let rest = self.pieces.saturating_sub(index);
        let length = rest.min(CHUNK).next_power_of_two().max(2);
        HashRange::to_root(self.base, index, length, self.height)
    }

    /// The requests whose answers are still missing, in order.
    pub fn missing(&self) -> impl Iterator<Item = HashRange> + '_ {
        let chunks = self.chunks.iter().enumerate();
        chunks
            .filter(|(_, chunk)| chunk.is_none())
            .map(|(i, _)| self.request_for(i as u32 * CHUNK))
    }

    /// Takes the answer to one of [`missing`](Self::missing). False, with nothing kept, if it proves
    /// nothing or was not asked for.
    pub fn accept(&mut self, range: &HashRange, answer: &[Sha256Hash]) -> bool {
        if range.index >= self.pieces || *range != self.request_for(range.index) {
            return false;
        }
        if !range.check(&self.root, answer) {
            return false;
        }
        let real = range.length.min(self.pieces - range.index) as usize;
        self.chunks[(range.index / CHUNK) as usize] = Some(answer[..real].into());
        true
    }

    /// The hash of a piece, counted within the file, once it is proven.
    pub fn get(&self, piece: u32) -> Option<&Sha256Hash> {
        let chunk = self.chunks.get((piece / CHUNK) as usize)?.as_ref()?;
        chunk.get((piece % CHUNK) as usize)
    }

    /// The whole layer, once every part is there.
    pub fn layer(&self) -> Option<Layer> {
        if self.chunks.iter().any(Option::is_none) {
            return None;
        }
        Some(self.chunks.iter().flatten().flatten().copied().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::BLOCK;
    use crate::merkle::{FileHasher, leaf, piece_root};
    use proptest::prelude::*;

    struct File {
        len: u64,
        piece_length: u32,
        leaves: Vec<Sha256Hash>,
        root: Sha256Hash,
        layer: Layer,
    }

    fn file(blocks: u32, piece_log: u32) -> File {
        let piece_length = BLOCK << piece_log;
        let len = u64::from(blocks) * u64::from(BLOCK) - 5;
        let leaves: Vec<_> = (0..blocks).map(|i| leaf(&i.to_be_bytes())).collect();
        let mut hasher = FileHasher::new(piece_length);
        for piece in leaves.chunks(1 << piece_log) {
            hasher.push(piece_root(piece, piece_length, len));
        }
        let (root, layer) = hasher.finish().unwrap();
        File {
            len,
            piece_length,
            leaves,
            root,
            layer,
        }
    }

    /// Every node of the tree: `rows[layer][index]`.
    fn full(leaves: &[Sha256Hash]) -> Vec<Vec<Sha256Hash>> {
        let mut row = leaves.to_vec();
        row.resize(leaves.len().next_power_of_two(), [0; 32]);
        let mut rows = vec![row];
        while rows.last().unwrap().len() > 1 {
            rows.push(above(rows.last().unwrap(), 0));
        }
        rows
    }

    #[test]
    fn a_layer_is_collected_in_chunks_that_each_prove_themselves() {
        for pieces in [2, 3, 512, 513, 514, 1500] {
            let file = file(pieces * 2, 1);
            let tree =
                Tree::new(file.root, file.layer.clone(), file.piece_length, file.len).unwrap();
            let mut partial = PartialLayer::new(file.root, file.piece_length, file.len).unwrap();
            assert_eq!(partial.layer(), None);
            for range in partial.clone().missing() {
                assert!(range.length >= 2 && range.length <= 512);
                let answer = tree.serve(&range, None).unwrap();
                let mut wrong = answer.clone();
                wrong[0][0] ^= 1;
                assert!(!partial.accept(&range, &wrong));
                assert!(!partial.accept(&range, &answer[1..]));
                assert!(partial.accept(&range, &answer));
                assert_eq!(
                    partial.get(range.index),
                    Some(&file.layer[range.index as usize])
                );
            }
            assert_eq!(partial.missing().count(), 0);
            assert_eq!(partial.layer(), Some(file.layer.clone()), "{pieces} pieces");
        }
    }

    #[test]
    fn a_short_proof_of_a_higher_layer_does_not_pass() {
        let file = file(8, 0);
        let rows = full(&file.leaves);
        let mut partial = PartialLayer::new(file.root, file.piece_length, file.len).unwrap();
        let asked = partial.missing().next().unwrap();
        assert!(!partial.accept(&asked, &rows[1]));
        assert!(!partial.accept(&HashRange { length: 4, ..asked }, &rows[1]));
        assert!(partial.accept(&asked, &rows[0]));
    }

    #[test]
    fn one_hash_alone_is_served_with_its_sibling_first() {
        let file = file(513, 0);
        let tree = Tree::new(file.root, file.layer.clone(), file.piece_length, file.len).unwrap();
        let range = HashRange::to_root(0, 512, 1, tree.height());
        let answer = tree.serve(&range, None).unwrap();
        assert_eq!(answer[..2], [file.leaves[512], [0; 32]]);
        assert!(range.check(&file.root, &answer));
    }

    #[test]
    fn a_file_in_one_piece_serves_its_leaves() {
        let file = file(3, 4);
        let tree = Tree::new(file.root, Layer::default(), file.piece_length, file.len).unwrap();
        assert_eq!(tree.height(), 2);
        let range = HashRange::to_root(0, 0, 4, 2);
        assert_eq!(tree.pieces_needed(&range), 0..1);
        let leaves = Leaves {
            first: 0,
            hashes: &file.leaves,
        };
        let answer = tree.serve(&range, Some(leaves)).unwrap();
        assert_eq!(answer, full(&file.leaves)[0]);
        assert!(range.check(&file.root, &answer));
        assert_eq!(tree.serve(&range, None), None);
    }

    proptest! {
        #[test]
        fn every_answer_is_the_part_of_the_full_tree_and_proves_itself(
            blocks in 1u32..150,
            piece_log in 0u32..5,
            base_layer in 0u32..8,
            log in 0u32..6,
            slot in 0u32..64,
            proof_layers in 0u32..9,
        ) {
            let file = file(blocks, piece_log);
            let rows = full(&file.leaves);
            let height = rows.len() as u32 - 1;
            let length = 1 << log;
            let range = HashRange { base_layer, index: slot * length, length, proof_layers };
            let tree = Tree::new(file.root, file.layer.clone(), file.piece_length, file.len).unwrap();
            prop_assert_eq!(tree.root(), file.root);
            prop_assert_eq!(tree.height(), height);
            let whole = Leaves { first: 0, hashes: &file.leaves };
            let answer = tree.serve(&range, Some(whole));
            prop_assert_eq!(answer.is_some(), range.is_valid(height));
            let Some(answer) = answer else { return Ok(()) };

            let (first, end) = (range.index as usize, (range.index + length) as usize);
            prop_assert_eq!(&answer[..length as usize], &rows[base_layer as usize][first..end]);
            let top = range.top() as usize;
            let node = rows[top][first >> (top - base_layer as usize)];
            prop_assert!(range.check(&node, &answer));
            prop_assert_eq!(range.reaches_root(height), top == rows.len() - 1);

            // Only the pieces it says it needs are needed.
            let pieces = tree.pieces_needed(&range);
            let piece_blocks = 1usize << piece_log;
            let from = (pieces.start as usize * piece_blocks).min(file.leaves.len());
            let to = (pieces.end as usize * piece_blocks).min(file.leaves.len());
            let part = Leaves { first: from as u64, hashes: &file.leaves[from..to] };
            prop_assert_eq!(tree.serve(&range, Some(part)), Some(answer));
        }
    }
}
