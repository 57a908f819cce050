//! Content to share: random files, their torrent, and the truth about every block.

use std::cell::OnceCell;
use std::rc::Rc;
use std::sync::Arc;

use sha1::{Digest, Sha1};
use swarm::{PieceDigest, TorrentId};
use torrent::author::{Hashes, Options, Plan, Source};
use torrent::ids::Sha256Hash;
use torrent::layout::{BLOCK, Kind, Layout};
use torrent::merkle::{self, FileHasher};
use torrent::metainfo::{Info, PieceLayers};

/// Payload on its way through the world: shared, never copied, its leaf hash taken at most once.
#[derive(Debug)]
pub struct Data {
    bytes: Box<[u8]>,
    leaf: OnceCell<Sha256Hash>,
}

impl Data {
    /// These bytes.
    pub fn new(bytes: impl Into<Box<[u8]>>) -> Rc<Data> {
        Rc::new(Data {
            bytes: bytes.into(),
            leaf: OnceCell::new(),
        })
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Length in bytes.
    pub fn len(&self) -> u32 {
        self.bytes.len() as u32
    }

    /// True if there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// SHA-256 of the first `payload` bytes.
    fn leaf(&self, payload: u32) -> Sha256Hash {
        if payload < self.len() {
            return merkle::leaf(&self.bytes[..payload as usize]);
        }
        *self.leaf.get_or_init(|| merkle::leaf(&self.bytes))
    }
}

/// A torrent and its bytes.
pub struct Content {
    /// Its id in every session of the world.
    pub id: TorrentId,
    /// The info dictionary.
    pub info: Arc<Info>,
    /// The piece layers, as a torrent file brings them.
    pub layers: PieceLayers,
    pieces: Vec<Vec<Rc<Data>>>,
    digests: Vec<PieceDigest>,
}

impl Content {
    /// Files of these lengths in bytes, filled from the seed.
    pub fn new(
        id: TorrentId,
        kind: Kind,
        piece_length: u32,
        lens: &[u64],
        rng: &mut fastrand::Rng,
    ) -> Content {
        let sources: Vec<Source> = (0..)
            .zip(lens)
            .map(|(n, &len)| Source {
                path: format!("track {n:03}"),
                len,
                ..Source::default()
            })
            .collect();
        let name = format!("album {}", id.0);
        let plan = Plan::folder(kind, &name, piece_length, &sources).expect("a plain folder");
        let layout = plan.layout();
        let pieces: Vec<Vec<Rc<Data>>> = (0..layout.pieces())
            .map(|p| {
                let block = |b| random_block(layout, p, b, rng);
                (0..layout.blocks(p)).map(block).collect()
            })
            .collect();
        let mut digests: Vec<PieceDigest> = (0..)
            .zip(&pieces)
            .map(|(p, blocks)| digest(layout, p, blocks))
            .collect();

        let file_hashes = |file| {
            let mut hasher = FileHasher::new(piece_length);
            for piece in layout.file_pieces(file) {
                hasher.push(digests[piece as usize].root.expect("v2 pieces have a root"));
            }
            (!layout.file(file).pad).then(|| hasher.finish()).flatten()
        };
        let hashes = Hashes {
            pieces: digests.iter().filter_map(|d| d.sha1).collect(),
            files: match kind.has_v2() {
                true => (0..layout.files()).map(file_hashes).collect(),
                false => Vec::new(),
            },
        };
        let meta = plan
            .finish(&hashes, &Options::default())
            .expect("hashed as planned");
        digests.shrink_to_fit();
        Content {
            id,
            info: Arc::new(meta.info),
            layers: meta.piece_layers,
            pieces,
            digests,
        }
    }

    /// Where everything lies.
    pub fn layout(&self) -> &Layout {
        self.info.layout()
    }

    /// The blocks of a piece, right.
    pub fn piece(&self, piece: u32) -> &[Rc<Data>] {
        &self.pieces[piece as usize]
    }

    /// Whether these are the right bytes for this place.
    pub fn is_right(&self, piece: u32, begin: u32, data: &Data) -> bool {
        let blocks = &self.pieces[piece as usize];
        let whole = blocks.get((begin / BLOCK) as usize);
        if begin.is_multiple_of(BLOCK) && whole.is_some_and(|b| std::ptr::eq(&**b, data)) {
            return true;
        }
        if let Some(whole) = whole
            && begin.is_multiple_of(BLOCK)
            && whole.len() == data.len()
        {
            return whole.bytes == data.bytes;
        }
        (begin..).zip(data.bytes()).all(|(at, &byte)| {
            let block = blocks.get((at / BLOCK) as usize);
            block.and_then(|b| b.bytes.get((at % BLOCK) as usize)) == Some(&byte)
        })
    }

    /// What these blocks of a piece hash to.
    pub fn digest(&self, piece: u32, blocks: &[Rc<Data>]) -> PieceDigest {
        let right = &self.pieces[piece as usize];
        let same =
            right.len() == blocks.len() && right.iter().zip(blocks).all(|(a, b)| Rc::ptr_eq(a, b));
        match same {
            true => self.digests[piece as usize].clone(),
            false => digest(self.layout(), piece, blocks),
        }
    }

    /// SHA-256 of each block: of its payload where there is a merkle tree, else of all of it.
    pub fn leaves(&self, piece: u32, blocks: &[Rc<Data>]) -> Vec<Sha256Hash> {
        leaves(self.layout(), piece, blocks)
    }
}

fn random_block(layout: &Layout, piece: u32, block: u32, rng: &mut fastrand::Rng) -> Rc<Data> {
    let mut bytes = vec![0; layout.block_len(piece, block) as usize];
    let mut at = 0;
    for span in layout.spans(piece, block * BLOCK, bytes.len() as u32) {
        let end = at + span.len as usize;
        if !span.pad {
            rng.fill(&mut bytes[at..end]);
        }
        at = end;
    }
    Data::new(bytes)
}

fn leaves(layout: &Layout, piece: u32, blocks: &[Rc<Data>]) -> Vec<Sha256Hash> {
    let payload = match layout.kind().has_v2() {
        true => layout.payload_len(piece),
        false => layout.piece_len(piece),
    };
    let places = (0..payload).step_by(BLOCK as usize);
    places
        .zip(blocks)
        .map(|(at, block)| block.leaf((payload - at).min(BLOCK)))
        .collect()
}

fn digest(layout: &Layout, piece: u32, blocks: &[Rc<Data>]) -> PieceDigest {
    let sha1 = layout.kind().has_v1().then(|| {
        let mut sha1 = Sha1::new();
        blocks.iter().for_each(|b| sha1.update(b.bytes()));
        sha1.finalize().into()
    });
    let leaves = layout
        .kind()
        .has_v2()
        .then(|| leaves(layout, piece, blocks));
    let file_len = layout.file_of_piece(piece).map(|f| layout.file(f).len);
    let root = leaves.as_ref().zip(file_len);
    PieceDigest {
        sha1,
        root: root.map(|(l, len)| merkle::piece_root(l, layout.piece_length(), len)),
        leaves,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_agrees_with_its_own_torrent() {
        for kind in [Kind::V1, Kind::V2, Kind::Hybrid] {
            let rng = &mut fastrand::Rng::with_seed(1);
            let lens = [100_000, 0, 16_384, 70_000, 3];
            let content = Content::new(TorrentId(0), kind, 32 << 10, &lens, rng);
            for piece in 0..content.layout().pieces() {
                let digest = content.digest(piece, content.piece(piece));
                assert_eq!(digest.sha1.as_ref(), content.info.piece_sha1(piece));
                assert_eq!(digest.root.is_some(), kind.has_v2());
                let mut wrong = content.piece(piece).to_vec();
                let mut bytes = wrong[0].bytes().to_vec();
                bytes[0] ^= 1;
                wrong[0] = Data::new(bytes);
                assert!(!content.is_right(piece, 0, &wrong[0]));
                assert_ne!(content.digest(piece, &wrong), digest);
            }
            assert_eq!(content.layers.missing(&content.info).count(), 0);
        }
    }
}
