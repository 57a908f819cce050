//! Plans against libtorrent's own torrents of the same files (`testdata/golden/make.py`).

use sha1::{Digest, Sha1};

use super::*;
use crate::layout::BLOCK;
use crate::merkle::{FileHasher, leaf, piece_root};

const LISTING: &str = include_str!("../../testdata/golden/files.txt");

macro_rules! golden {
    ($name:literal) => {
        &include_bytes!(concat!("../../testdata/golden/", $name, ".torrent"))[..]
    };
}

/// The contents `make.py` gives a file.
fn contents(len: u64, seed: u64) -> Vec<u8> {
    (0..len)
        .map(|j| (31 * j + seed * (j / 251) + seed) as u8)
        .collect()
}

fn listed() -> (Vec<Source>, Vec<Vec<u8>>) {
    let file = |line: &str| {
        let [attrs, len, seed, path] = line.splitn(4, ' ').collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        let (len, seed) = (len.parse().unwrap(), seed.parse().unwrap());
        let (path, symlink) = match path.split_once(" -> ") {
            Some((path, target)) => (path, Some(target.to_owned())),
            None => (path, None),
        };
        let source = Source {
            path: path.to_owned(),
            len,
            executable: attrs.contains('x'),
            hidden: attrs.contains('h'),
            symlink,
        };
        (source, contents(len, seed))
    };
    LISTING.lines().map(file).unzip()
}

fn single() -> (Source, Vec<u8>) {
    let source = Source {
        path: "single.bin".into(),
        len: 100_000,
        executable: true,
        ..Source::default()
    };
    (source, contents(100_000, 7))
}

/// Hashes everything the simplest way there is.
fn hash(plan: &Plan, data: &[Vec<u8>]) -> Hashes {
    let layout = plan.layout();
    let piece_length = layout.piece_length();
    let mut hashes = Hashes::default();
    let bytes = |(file, planned): (usize, &Planned)| match planned.source {
        Some(source) => data[source].clone(),
        None => vec![0; layout.file(file).len as usize],
    };
    if layout.kind().has_v1() {
        let all: Vec<u8> = plan.files().iter().enumerate().flat_map(bytes).collect();
        hashes.pieces = all
            .chunks(piece_length as usize)
            .map(|piece| Sha1::digest(piece).into())
            .collect();
    }
    if layout.kind().has_v2() {
        for (file, planned) in plan.files().iter().enumerate() {
            let mut hasher = FileHasher::new(piece_length);
            if planned.source.is_some() {
                for piece in bytes((file, planned)).chunks(piece_length as usize) {
                    let leaves: Vec<_> = piece.chunks(BLOCK as usize).map(leaf).collect();
                    hasher.push(piece_root(&leaves, piece_length, layout.file(file).len));
                }
            }
            hashes.files.push(hasher.finish());
        }
    }
    hashes
}

fn assert_same(ours: &Metainfo, golden: &[u8]) {
    let theirs = Metainfo::parse(golden).unwrap();
    assert_eq!(
        ours.info.raw().escape_ascii().to_string(),
        theirs.info.raw().escape_ascii().to_string()
    );
    assert_eq!(
        ours.to_bytes().escape_ascii().to_string(),
        golden.escape_ascii().to_string()
    );
    assert_eq!(ours.info.hashes(), theirs.info.hashes());
    assert_eq!(*ours, theirs);
    assert!(theirs.notices.is_empty() && theirs.info.notices().is_empty());
}

#[test]
fn folders_come_out_as_libtorrent_makes_them() {
    let (sources, data) = listed();
    let cases = [
        (Kind::V1, 16, golden!("folder-v1-16")),
        (Kind::V1, 64, golden!("folder-v1-64")),
        (Kind::V2, 16, golden!("folder-v2-16")),
        (Kind::V2, 64, golden!("folder-v2-64")),
        (Kind::Hybrid, 16, golden!("folder-hybrid-16")),
        (Kind::Hybrid, 64, golden!("folder-hybrid-64")),
    ];
    for (kind, kib, golden) in cases {
        let plan = Plan::folder(kind, "golden", kib * 1024, &sources).unwrap();
        let (hashes, layout) = (hash(&plan, &data), plan.layout().clone());
        let ours = plan.finish(&hashes, &Options::default()).unwrap();
        assert_same(&ours, golden);
        assert_eq!(*ours.info.layout(), layout);
    }
}

#[test]
fn single_files_come_out_as_libtorrent_makes_them() {
    let (source, data) = single();
    let cases = [
        (Kind::V1, golden!("single-v1-32")),
        (Kind::V2, golden!("single-v2-32")),
        (Kind::Hybrid, golden!("single-hybrid-32")),
    ];
    for (kind, golden) in cases {
        let plan = Plan::single(kind, 32 * 1024, &source).unwrap();
        let hashes = hash(&plan, std::slice::from_ref(&data));
        let ours = plan.finish(&hashes, &Options::default()).unwrap();
        assert_same(&ours, golden);
        assert!(ours.info.is_single_file() && ours.info.file(0).executable);
    }
}

#[test]
fn what_else_a_torrent_says_is_where_libtorrent_puts_it() {
    let (source, data) = single();
    let plan = Plan::single(Kind::Hybrid, 32 * 1024, &source).unwrap();
    let options = Options {
        trackers: vec![
            vec!["http://one.example/announce".into()],
            vec!["udp://two.example:80".into()],
        ],
        web_seeds: vec!["http://seed.example/".into()],
        comment: Some("a comment".into()),
        created_by: Some("golden".into()),
        creation_date: Some(1_700_000_000),
        private: true,
        collections: vec!["golden things".into()],
        similar: vec![[0x11; 20]],
        ..Options::default()
    };
    let hashes = hash(&plan, &[data]);
    let ours = plan.finish(&hashes, &options).unwrap();
    assert_same(&ours, golden!("decorated-hybrid-32"));
    assert!(ours.info.private());
    assert_eq!(ours.info.collections(), ["golden things"]);
}

fn named(paths: &[&str]) -> Vec<Source> {
    paths
        .iter()
        .map(|path| Source {
            path: (*path).into(),
            len: 1,
            ..Source::default()
        })
        .collect()
}

#[test]
fn both_halves_of_a_hybrid_have_the_order_of_the_tree() {
    let plan = Plan::folder(
        Kind::Hybrid,
        "x",
        BLOCK,
        &named(&["a-b/x", "a/x", "a.d/x", "a/-"]),
    )
    .unwrap();
    let paths: Vec<&str> = plan
        .sources()
        .flatten()
        .map(|source| source.path.as_str())
        .collect();
    assert_eq!(paths, ["a/-", "a/x", "a-b/x", "a.d/x"]);
    let data = vec![vec![1]; 4];
    let hashes = hash(&plan, &data);
    let made = plan.finish(&hashes, &Options::default()).unwrap();
    let strict = crate::bencode::parse(made.info.raw(), crate::bencode::Limits::STRICT);
    assert!(strict.is_ok(), "the tree's keys are sorted");
}

#[test]
fn what_cannot_be_shared_is_refused_in_words() {
    let fails = |paths: &[&str]| {
        Plan::folder(Kind::V2, "x", BLOCK, &named(paths))
            .unwrap_err()
            .to_string()
    };
    assert_eq!(fails(&["a", "b", "a"]), "\"a\" is there twice");
    assert_eq!(fails(&["a", "a-", "a/b"]), "\"a\" is there twice");
    assert_eq!(
        fails(&["a/../b"]),
        "\"a/../b\" is not a path that can be shared"
    );
    assert_eq!(fails(&["/a"]), "\"/a\" is not a path that can be shared");
    assert_eq!(fails(&[]), "the torrent holds no bytes at all");
    let huge = Source {
        path: "a".into(),
        len: u64::MAX,
        ..Source::default()
    };
    let error = Plan::folder(Kind::Hybrid, "x", BLOCK, &[huge]).unwrap_err();
    assert_eq!(error, PlanError::Layout(LayoutError::TooLong));
}

#[test]
fn hashes_of_other_files_are_refused() {
    let (sources, data) = listed();
    let plan = Plan::folder(Kind::Hybrid, "golden", 16 * 1024, &sources).unwrap();
    let good = hash(&plan, &data);

    let mut short = good.clone();
    short.pieces.pop();
    let error = plan
        .clone()
        .finish(&short, &Options::default())
        .unwrap_err();
    assert!(matches!(error, MetainfoError::PieceCount { .. }));

    let large = good
        .files
        .iter()
        .position(|file| file.as_ref().is_some_and(|(_, layer)| layer.len() > 2))
        .unwrap();
    let mut wrong = good.clone();
    let (_, layer) = wrong.files[large].as_mut().unwrap();
    *layer = layer.iter().rev().copied().collect();
    assert_eq!(
        plan.clone().finish(&wrong, &Options::default()),
        Err(MetainfoError::WrongLayer(large))
    );

    let mut missing = good.clone();
    missing.files[large].as_mut().unwrap().1 = Layer::default();
    assert_eq!(
        plan.clone().finish(&missing, &Options::default()),
        Err(MetainfoError::MissingLayer(large))
    );

    let mut rootless = good;
    rootless.files.clear();
    assert!(matches!(
        plan.finish(&rootless, &Options::default()),
        Err(MetainfoError::MissingRoot(_))
    ));
}

#[test]
fn a_dict_that_is_written_in_many_parts_is_whole() {
    let count = 2 * ENTRIES + 1;
    let paths: Vec<String> = (0..count).map(|i| format!("{}/{i}", i / 100)).collect();
    let sources = named(&paths.iter().map(String::as_str).collect::<Vec<_>>());
    for kind in [Kind::V1, Kind::V2, Kind::Hybrid] {
        let plan = Plan::folder(kind, "x", BLOCK, &sources).unwrap();
        let hashes = hash(&plan, &vec![vec![1]; count]);
        let made = plan.finish(hashes, &Options::default()).unwrap();
        let listed: Vec<&str> = made
            .info
            .files()
            .filter(|file| !file.pad)
            .map(|file| file.path())
            .collect();
        let mut sorted = paths.clone();
        sorted.sort_by(|a, b| a.split('/').cmp(b.split('/')));
        assert_eq!(listed, sorted);
        assert_eq!(Metainfo::parse(&made.to_bytes()), Ok(made));
    }
}
