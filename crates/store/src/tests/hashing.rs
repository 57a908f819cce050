//! Hashing for new torrents: the same as torrents made naively, and nothing that changed meanwhile.

use std::{
    fs,
    path::PathBuf,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use proptest::prelude::*;
use torrent::layout::{BLOCK, Kind};

use super::album::Album;
use crate::hasher::{self, HashError, Hashed, Options};

fn hash(
    album: &Album,
    paths: &[PathBuf],
    threads: usize,
    on_progress: &(dyn Fn(u64) + Sync),
) -> Result<Hashed, HashError> {
    let options = Options {
        threads,
        progress: on_progress,
        cancel: &AtomicBool::new(false),
    };
    hasher::hash(album.layout(), paths, &options)
}

fn paths(album: &Album, root: &std::path::Path) -> Vec<PathBuf> {
    (0..album.files.len())
        .map(|file| album.path(root, file))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn hashes_are_those_of_the_torrent(
        kind in prop_oneof![Just(Kind::V1), Just(Kind::V2), Just(Kind::Hybrid)],
        shift in 0u32..8,
        lens in prop::collection::vec(prop_oneof![Just(0usize), 1usize..500, 1usize..3_000_000], 1..6),
        seed in any::<u64>(),
        pads in any::<bool>(),
        threads in 1usize..4,
    ) {
        prop_assume!(lens.iter().sum::<usize>() > 0);
        let album = Album::new(kind, BLOCK << shift, &lens, seed, pads);
        let folder = tempfile::tempdir().unwrap();
        album.lay_out(folder.path());
        let most = AtomicU64::new(0);
        let hashed = hash(&album, &paths(&album, folder.path()), threads, &|bytes| {
            most.fetch_max(bytes, Ordering::Relaxed);
        }).unwrap();
        prop_assert_eq!(most.into_inner(), album.layout().payload());
        for piece in 0..album.pieces() {
            prop_assert_eq!(hashed.hashes.pieces.get(piece as usize), album.info.piece_sha1(piece));
        }
        for file in 0..album.files.len() {
            let hash = hashed.hashes.files.get(file).cloned().flatten();
            prop_assert_eq!(hash.map(|(root, _)| root), album.info.file(file).root());
        }
    }
}

#[test]
fn a_file_that_changes_while_it_is_read_is_named() {
    let album = Album::new(Kind::Hybrid, BLOCK, &[5_000_000, 300], 1, false);
    let folder = tempfile::tempdir().unwrap();
    album.lay_out(folder.path());
    let paths = paths(&album, folder.path());
    let touched = AtomicBool::new(false);
    let result = hash(&album, &paths, 1, &|_| {
        if !touched.swap(true, Ordering::Relaxed) {
            fs::write(&paths[0], vec![7; 5_000_000]).unwrap();
        }
    });
    let Err(HashError::Changed { path }) = result else {
        panic!("{result:?}")
    };
    assert_eq!(path, paths[0]);
    fs::write(&paths[0], "shorter").unwrap();
    assert!(matches!(
        hash(&album, &paths, 2, &|_| {}),
        Err(HashError::Changed { .. })
    ));
    fs::remove_file(&paths[0]).unwrap();
    assert!(matches!(
        hash(&album, &paths, 2, &|_| {}),
        Err(HashError::Unreadable(_))
    ));
}

#[test]
fn hashing_stops_when_it_is_called_off() {
    let album = Album::single(Kind::V1, BLOCK, 20_000_000, 1);
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("f");
    album.lay_out(&root);
    let cancel = AtomicBool::new(false);
    let seen = AtomicU64::new(0);
    let progress = |bytes| {
        seen.fetch_max(bytes, Ordering::Relaxed);
        cancel.store(true, Ordering::Relaxed);
    };
    let options = Options {
        threads: 1,
        progress: &progress,
        cancel: &cancel,
    };
    let result = hasher::hash(album.layout(), &paths(&album, &root), &options);
    assert!(matches!(result, Err(HashError::Cancelled)));
    assert!(seen.into_inner() < 3_000_000);
}

#[test]
fn the_holes_of_a_sparse_file_are_hashed_as_zeros_without_reading_them() {
    let mut album = Album::single(Kind::Hybrid, 4 * BLOCK, 40_000_000, 1);
    album.files[0].fill(0);
    album.files[0][20_000_000] = 1;
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("f");
    let file = fs::File::create(&root).unwrap();
    file.set_len(40_000_000).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[1], 20_000_000).unwrap();
    let hashed = hash(&album, &paths(&album, &root), 2, &|_| {}).unwrap();
    for piece in 0..album.pieces() {
        assert_eq!(
            Some(hashed.hashes.pieces[piece as usize]),
            album.hash(piece).sha1,
            "piece {piece}"
        );
    }
}
