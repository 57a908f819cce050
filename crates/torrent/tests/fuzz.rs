//! Random input for the decoders of bencode, metainfo, magnet links, names and merkle proofs.
//!
//! Plain random bytes hardly ever get past the first check, so torrents by libtorrent are also taken
//! and a few of their bytes changed.

use std::collections::BTreeSet;

use bolero::check;
use torrent::bencode::{self, Kind, Limits, Owned, Value};
use torrent::magnet::{Magnet, parse_anything_hash};
use torrent::merkle::{self, HashRange, Leaves, PartialLayer, Tree};
use torrent::metainfo::{Info, Metainfo};
use torrent::names;

const TORRENTS: [&[u8]; 6] = [
    include_bytes!("../testdata/golden/folder-v1-64.torrent"),
    include_bytes!("../testdata/golden/folder-v2-64.torrent"),
    include_bytes!("../testdata/golden/folder-hybrid-64.torrent"),
    include_bytes!("../testdata/golden/single-v2-32.torrent"),
    include_bytes!("../testdata/golden/single-hybrid-32.torrent"),
    include_bytes!("../testdata/golden/decorated-hybrid-32.torrent"),
];

/// Which torrent, and what to change in it: where, to what, and whether to remove the byte instead.
type Changes = (u8, Vec<(u16, u8, bool)>);

fn changed((which, changes): &Changes) -> Vec<u8> {
    let mut bytes = TORRENTS[usize::from(*which) % TORRENTS.len()].to_vec();
    for &(at, byte, remove) in changes.iter().take(4) {
        let at = usize::from(at) % bytes.len();
        if remove {
            bytes.remove(at);
        } else {
            bytes[at] = byte;
        }
    }
    bytes
}

fn owned(value: Value<'_>) -> Owned {
    match value.kind() {
        Kind::Int(n) => n.into(),
        Kind::Bytes(bytes) => bytes.into(),
        Kind::List(list) => Owned::List(list.iter().map(owned).collect()),
        Kind::Dict(dict) => Owned::dict(dict.iter().map(|(key, value)| (key, owned(value)))),
    }
}

fn bencode_holds(bytes: &[u8]) {
    let strict = bencode::parse(bytes, Limits::STRICT);
    let lenient = bencode::parse(bytes, Limits::LENIENT);
    if let Ok(value) = strict {
        assert_eq!(
            owned(value).encode(),
            bytes,
            "what is strictly right is canonical"
        );
        assert_eq!(lenient, Ok(value));
    }
    if let Ok(value) = lenient {
        let again = owned(value).encode();
        assert!(
            bencode::parse(&again, Limits::STRICT).is_ok(),
            "what is written is canonical"
        );
        let (prefix, used) = bencode::parse_prefix(bytes, Limits::LENIENT).expect("whole");
        assert_eq!((prefix, used), (value, value.raw().len()));
    }
}

fn info_holds(info: &Info) {
    let layout = info.layout();
    let mut paths = BTreeSet::new();
    for file in info.files().filter(|file| !file.pad) {
        for part in file.path().split('/') {
            assert_eq!(names::component(part.as_bytes()), part);
        }
        assert!(
            paths.insert(file.path().to_lowercase()),
            "no two files share a path"
        );
        assert!(
            file.symlink()
                .is_none_or(|target| !target.split('/').any(|part| part == ".."))
        );
        assert_eq!(
            file.root().is_some(),
            layout.kind().has_v2() && file.len > 0
        );
    }
    let pieces = layout.pieces();
    for p in (0..pieces.min(50)).chain([pieces - 1]) {
        let spans: Vec<_> = layout.spans(p, 0, u32::MAX).collect();
        assert_eq!(
            spans.iter().map(|span| span.len).sum::<u32>(),
            layout.piece_len(p)
        );
        assert_eq!(info.piece_sha1(p).is_some(), layout.kind().has_v1());
    }
}

fn metainfo_holds(bytes: &[u8]) {
    let Ok(metainfo) = Metainfo::parse(bytes) else {
        return;
    };
    info_holds(&metainfo.info);
    let again = Metainfo::parse(&metainfo.to_bytes()).expect("written");
    assert_eq!(again.info.hashes(), metainfo.info.hashes());
    assert_eq!(again.piece_layers, metainfo.piece_layers);
    let link: Magnet = Magnet::of(&metainfo).to_string().parse().expect("written");
    assert_eq!(link.hashes, metainfo.info.hashes());
}

#[test]
fn fuzz_bencode() {
    check!().for_each(bencode_holds);
}

#[test]
fn fuzz_bencode_of_changed_torrents() {
    check!()
        .with_type::<Changes>()
        .for_each(|changes| bencode_holds(&changed(changes)));
}

#[test]
fn fuzz_metainfo() {
    check!().for_each(metainfo_holds);
}

#[test]
fn fuzz_metainfo_of_changed_torrents() {
    check!()
        .with_type::<Changes>()
        .for_each(|changes| metainfo_holds(&changed(changes)));
}

#[test]
fn fuzz_info() {
    check!().for_each(|bytes| {
        // Behind a start that is right, so that something is left to be wrong.
        let info = [
            b"d6:lengthi9e4:name1:a12:piece lengthi16e6:pieces20:aaaaaaaaaaaaaaaaaaaa",
            bytes,
            b"e",
        ]
        .concat();
        if let Ok(info) = Info::parse(&info) {
            info_holds(&info);
        }
    });
}

#[test]
fn fuzz_magnet() {
    check!().for_each(|bytes| {
        let text = String::from_utf8_lossy(bytes);
        let known = format!("magnet:?xt=urn:btih:{}&{text}", "0".repeat(40));
        for text in [text.into_owned(), known] {
            let _ = parse_anything_hash(&text);
            if let Ok(magnet) = text.parse::<Magnet>() {
                assert_eq!(magnet.to_string().parse(), Ok(magnet));
            }
        }
    });
}

#[test]
fn fuzz_names() {
    check!().for_each(|bytes| {
        let parts: Vec<&[u8]> = bytes.split(|byte| *byte == b'/').collect();
        let paths: Vec<String> = parts
            .iter()
            .map(|part| names::component(part).into_owned())
            .collect();
        for path in &paths {
            assert_eq!(names::component(path.as_bytes()), path.as_str());
        }
        let renamed = names::tell_apart(paths.iter().map(String::as_str));
        let apart: BTreeSet<String> = (0..paths.len())
            .map(|i| renamed.get(&i).unwrap_or(&paths[i]).to_lowercase())
            .collect();
        assert_eq!(apart.len(), paths.len());
        if let Some(target) = names::link_target(parts) {
            assert!(
                target
                    .split('/')
                    .all(|part| part == names::component(part.as_bytes()))
            );
        }
    });
}

/// A range as a peer might ask for it, and the size of a file.
type Asked = (u32, u32, u32, u32, u8, u8, u8);

#[test]
fn fuzz_hash_requests() {
    check!().with_type::<Asked>().for_each(
        |&(base_layer, index, length, proof_layers, blocks, log, kind)| {
            let blocks = u64::from(blocks) + 1;
            let piece_length = torrent::layout::BLOCK << (log % 4);
            let leaves: Vec<_> = (0..blocks)
                .map(|i| merkle::leaf(&i.to_be_bytes()))
                .collect();
            let len = blocks * u64::from(torrent::layout::BLOCK);
            let mut hasher = merkle::FileHasher::new(piece_length);
            for piece in leaves.chunks(1 << (log % 4)) {
                hasher.push(merkle::piece_root(piece, piece_length, len));
            }
            let (root, layer) = hasher.finish().unwrap();
            let tree = Tree::new(root, layer, piece_length, len).unwrap();
            // Half of the time small numbers, which have a chance to be valid.
            let range = match kind % 2 {
                0 => HashRange {
                    base_layer,
                    index,
                    length,
                    proof_layers,
                },
                _ => HashRange {
                    base_layer: base_layer % 8,
                    index: index % 256,
                    length: 1 << (length % 9),
                    proof_layers: proof_layers % 9,
                },
            };
            let answer = tree.serve(
                &range,
                Some(Leaves {
                    first: 0,
                    hashes: &leaves,
                }),
            );
            assert_eq!(answer.is_some(), range.is_valid(tree.height()));
            if let Some(answer) = &answer {
                assert_eq!(
                    range.check(&root, answer),
                    range.reaches_root(tree.height())
                );
                assert_eq!(answer.len() as u32, range.hashes());
            }
            assert!(!range.check(&[9; 32], answer.as_deref().unwrap_or(&leaves)));
            if let Some(mut partial) = PartialLayer::new(root, piece_length, len) {
                let expected = partial.missing().any(|missing| missing == range);
                assert_eq!(
                    partial.accept(&range, answer.as_deref().unwrap_or(&leaves)),
                    expected
                );
            }
        },
    );
}
