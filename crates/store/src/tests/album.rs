//! Content to test with: a few files, their torrent, and what each piece must hash to, worked out naively.

use std::{collections::BTreeMap, fs, path::Path, sync::Arc};

use sha1::{Digest, Sha1};
use torrent::{
    bencode::Owned,
    layout::{BLOCK, Kind, Layout},
    merkle,
    metainfo::Info,
};

use crate::{PieceHash, Slot};

/// Of the torrent, and of its file if it has one only.
const NAME: &str = "album";

pub(crate) struct Album {
    pub info: Arc<Info>,
    /// In layout order; pads are zeros.
    pub files: Vec<Vec<u8>>,
}

impl Album {
    /// Files of these lengths with random bytes; hybrids (and, with `pads`, v1) are padded to pieces.
    pub fn new(kind: Kind, piece_length: u32, lens: &[usize], seed: u64, pads: bool) -> Album {
        Album::make(kind, piece_length, lens, seed, pads, false)
    }

    /// One file, one torrent.
    pub fn single(kind: Kind, piece_length: u32, len: usize, seed: u64) -> Album {
        Album::make(kind, piece_length, &[len], seed, false, true)
    }

    fn make(
        kind: Kind,
        piece_length: u32,
        lens: &[usize],
        seed: u64,
        pads: bool,
        single: bool,
    ) -> Album {
        let mut random = fastrand::Rng::with_seed(seed);
        let (mut files, mut listed, mut discs, mut at) =
            (Vec::new(), Vec::new(), BTreeMap::new(), 0);
        let padded = kind == Kind::Hybrid || pads && kind == Kind::V1;
        for (number, &len) in lens.iter().enumerate() {
            let over = at % piece_length as usize;
            if padded && len > 0 && over > 0 {
                let pad = piece_length as usize - over;
                files.push(vec![0; pad]);
                listed.push(Owned::dict([
                    ("length", Owned::Int(pad as i64)),
                    (
                        "path",
                        Owned::list([Owned::bytes(".pad"), Owned::bytes(pad.to_string())]),
                    ),
                    ("attr", Owned::bytes("p")),
                ]));
                at += pad;
            }
            let bytes: Vec<u8> = (0..len).map(|_| random.u8(..)).collect();
            let (disc, track) = (
                format!("disc {:02}", number / 3),
                format!("track {number:02}"),
            );
            let mut leaf = vec![("length", Owned::Int(len as i64))];
            if len > 0 {
                let leaves: Vec<_> = bytes.chunks(BLOCK as usize).map(merkle::leaf).collect();
                let root = merkle::root_of(&leaves, 0, merkle::height(leaves.len() as u64));
                leaf.push(("pieces root", Owned::bytes(root)));
            }
            let leaf = Owned::dict([("", Owned::dict(leaf))]);
            discs
                .entry(disc.clone())
                .or_insert_with(Vec::new)
                .push((track.clone(), leaf));
            let path = Owned::list([Owned::bytes(disc), Owned::bytes(track)]);
            listed.push(Owned::dict([
                ("length", Owned::Int(len as i64)),
                ("path", path),
            ]));
            files.push(bytes);
            at += len;
        }
        let mut info = vec![
            ("name", Owned::bytes(NAME)),
            ("piece length", Owned::Int(piece_length.into())),
        ];
        if kind.has_v1() {
            let all = files.concat();
            let pieces: Vec<u8> = all
                .chunks(piece_length as usize)
                .flat_map(|p| Sha1::digest(p).to_vec())
                .collect();
            info.push(("pieces", Owned::bytes(pieces)));
            info.push(if single {
                ("length", Owned::Int(lens[0] as i64))
            } else {
                ("files", Owned::List(listed))
            });
        }
        if kind.has_v2() {
            let tree = if single {
                let (_, leaf) = discs.pop_first().unwrap().1.remove(0);
                Owned::dict([(NAME, leaf)])
            } else {
                Owned::dict(
                    discs
                        .into_iter()
                        .map(|(disc, tracks)| (disc, Owned::dict(tracks))),
                )
            };
            info.push(("file tree", tree));
            info.push(("meta version", Owned::Int(2)));
        }
        let info = Info::parse(&Owned::dict(info).encode()).expect("the album is a proper torrent");
        assert_eq!(info.is_single_file(), single);
        Album {
            info: Arc::new(info),
            files,
        }
    }

    pub fn layout(&self) -> &Layout {
        self.info.layout()
    }

    pub fn pieces(&self) -> u32 {
        self.layout().pieces()
    }

    /// All bytes of a piece.
    pub fn piece(&self, piece: u32) -> Vec<u8> {
        let len = self.layout().piece_len(piece);
        let spans = self.layout().spans(piece, 0, len);
        spans
            .flat_map(|s| self.files[s.file][s.offset as usize..][..s.len as usize].to_vec())
            .collect()
    }

    pub fn block(&self, piece: u32, block: u32) -> Slot {
        let begin = (block * BLOCK) as usize;
        Slot::detached(
            &self.piece(piece)[begin..][..self.layout().block_len(piece, block) as usize],
        )
    }

    /// Every block that is not a pad: (piece, block).
    pub fn blocks(&self) -> Vec<(u32, u32)> {
        let all =
            (0..self.pieces()).flat_map(|p| (0..self.layout().blocks(p)).map(move |b| (p, b)));
        all.filter(|&(p, b)| !self.layout().is_pad_block(p, b))
            .collect()
    }

    /// What a piece must hash to.
    pub fn hash(&self, piece: u32) -> PieceHash {
        let (layout, bytes) = (self.layout(), self.piece(piece));
        let leaves: Option<Vec<_>> = layout.kind().has_v2().then(|| {
            bytes[..layout.payload_len(piece) as usize]
                .chunks(BLOCK as usize)
                .map(merkle::leaf)
                .collect()
        });
        let file_len = layout
            .file_of_piece(piece)
            .map_or(0, |file| layout.file(file).len);
        let root = leaves
            .as_ref()
            .map(|leaves| merkle::piece_root(leaves, layout.piece_length(), file_len));
        PieceHash {
            sha1: layout.kind().has_v1().then(|| Sha1::digest(&bytes).into()),
            root,
            leaves,
        }
    }

    /// Where file `file` is to be found under `root`.
    pub fn path(&self, root: &Path, file: usize) -> std::path::PathBuf {
        if self.info.is_single_file() {
            root.to_owned()
        } else {
            root.join(self.info.file(file).path())
        }
    }

    /// Writes the files as a person would have them.
    pub fn lay_out(&self, root: &Path) {
        for (file, bytes) in self
            .files
            .iter()
            .enumerate()
            .filter(|(file, _)| !self.layout().file(*file).pad)
        {
            let path = self.path(root, file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
    }

    /// Every file is there, whole, under its final name, and nothing else is.
    pub fn assert_laid_out(&self, root: &Path) {
        let mut expected = 0;
        for (file, bytes) in self
            .files
            .iter()
            .enumerate()
            .filter(|(file, _)| !self.layout().file(*file).pad)
        {
            assert!(
                fs::read(self.path(root, file)).unwrap() == *bytes,
                "file {file} differs"
            );
            expected += 1;
        }
        assert_eq!(
            count(root),
            expected,
            "nothing but the torrent's files under {}",
            root.display()
        );
    }
}

fn count(path: &Path) -> usize {
    if !path.is_dir() {
        return 1;
    }
    fs::read_dir(path)
        .unwrap()
        .map(|entry| count(&entry.unwrap().path()))
        .sum()
}
