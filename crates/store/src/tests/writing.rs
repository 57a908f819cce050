//! Blocks in, hashes and files out.

use std::{fs, sync::mpsc::Receiver};

use proptest::prelude::*;
use torrent::layout::{BLOCK, Kind};

use super::{album::Album, next, store};
use crate::{
    Bits, BlockRun, Config, Done, PieceHash, Placement, READ_MAX, SLOT, Slot, SlotPool, Store,
    StoreError, TorrentId,
};

const ID: TorrentId = TorrentId(7);

/// Verifies each piece that hashes as it must, until all are.
fn expect_all(store: &Store, facts: &Receiver<Done>, album: &Album, pieces: usize) {
    for _ in 0..pieces {
        match next(facts) {
            Done::PieceHashed {
                id,
                piece,
                sha1,
                root,
                leaves,
            } => {
                assert_eq!(
                    PieceHash { sha1, root, leaves },
                    album.hash(piece),
                    "piece {piece}"
                );
                store.verified(id, piece);
            }
            other => panic!("expected a hash, not {other:?}"),
        }
    }
}

fn flush(store: &Store, facts: &Receiver<Done>) -> Vec<Done> {
    store.flush(ID);
    let mut seen = Vec::new();
    loop {
        match next(facts) {
            Done::Flushed { ok: true, .. } => return seen,
            other => seen.push(other),
        }
    }
}

/// Downloads an album with blocks in the order that `seed` gives.
fn download(album: &Album, seed: u64, slots: usize) {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("album");
    let pool = SlotPool::new(slots);
    let (store, facts) = store(Config {
        slots: pool.clone(),
        open_files: 2,
        ..Config::default()
    });
    store
        .add(ID, album.info.clone(), Placement::at(&root))
        .unwrap();
    let mut blocks = album.blocks();
    fastrand::Rng::with_seed(seed).shuffle(&mut blocks);
    for (piece, block) in blocks {
        let source = album.block(piece, block);
        let mut slot = loop {
            match pool.try_take(source.len()) {
                Some(slot) => break slot,
                None => std::thread::yield_now(),
            }
        };
        slot.copy_from_slice(&source);
        store.write(ID, piece, block * BLOCK, slot);
    }
    expect_all(&store, &facts, album, album.pieces() as usize);
    assert_eq!(pool.free(), slots, "every slot is back");
    let finished = flush(&store, &facts);
    let real = (0..album.files.len())
        .filter(|&f| !album.layout().file(f).pad && !album.files[f].is_empty());
    assert_eq!(finished.len(), real.count());
    album.assert_laid_out(&root);

    for (tag, piece) in (0..album.pieces()).enumerate() {
        let len = album.layout().piece_len(piece);
        let begin = (len / 3).min(5);
        let len = (len - begin).min(READ_MAX as u32);
        store.read(ID, BlockRun { piece, begin, len }, tag as u64);
        match next(&facts) {
            Done::Read { tag: got, data, .. } => {
                assert_eq!(got, tag as u64);
                assert!(
                    data[..] == album.piece(piece)[begin as usize..][..len as usize],
                    "piece {piece}"
                );
            }
            other => panic!("expected bytes, not {other:?}"),
        }
    }
}

fn kinds() -> impl Strategy<Value = Kind> {
    prop_oneof![Just(Kind::V1), Just(Kind::V2), Just(Kind::Hybrid)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn any_order_of_blocks_gives_the_same_hashes_and_files(
        kind in kinds(),
        shift in 0u32..5,
        lens in prop::collection::vec(prop_oneof![Just(0usize), 1usize..200, 1usize..90_000, Just(65_536usize)], 1..9),
        seed in any::<u64>(),
        pads in any::<bool>(),
        slots in prop_oneof![Just(3usize), Just(64usize)],
    ) {
        prop_assume!(lens.iter().sum::<usize>() > 0);
        download(&Album::new(kind, BLOCK << shift, &lens, seed, pads), seed, slots);
    }

    #[test]
    fn v1_pieces_need_not_be_a_number_of_blocks(len in 1usize..200_000, piece in 1u32..70_000, seed in any::<u64>()) {
        prop_assume!(len as u32 / piece < 200);
        download(&Album::single(Kind::V1, piece, len, seed), seed, 64);
    }
}

#[test]
fn a_long_piece_larger_than_the_pool_is_hashed_from_a_few_slots() {
    download(&Album::single(Kind::Hybrid, 4 << 20, 5 << 20, 1), 1, 8);
}

#[test]
fn a_single_file_is_called_part_until_it_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("film.mkv");
    let album = Album::single(Kind::V1, BLOCK, 3 * SLOT, 1);
    let (store, facts) = store(Config::default());
    store
        .add(ID, album.info.clone(), Placement::at(&root))
        .unwrap();
    for piece in 0..2 {
        store.write(ID, piece, 0, album.block(piece, 0));
    }
    expect_all(&store, &facts, &album, 2);
    assert!(flush(&store, &facts).is_empty());
    assert!(!root.exists());
    let part = folder.path().join("film.mkv.part");
    assert_eq!(store.path(ID, 0), Some(part.clone()));
    assert_eq!(fs::read(&part).unwrap(), album.files[0][..2 * SLOT]);
    store.write(ID, 2, 0, album.block(2, 0));
    expect_all(&store, &facts, &album, 1);
    assert!(matches!(
        flush(&store, &facts)[..],
        [Done::FileFinished { file: 0, .. }]
    ));
    assert!(!part.exists());
    album.assert_laid_out(&root);
}

#[test]
fn a_wrong_piece_is_abandoned_and_written_again() {
    let folder = tempfile::tempdir().unwrap();
    let album = Album::single(Kind::Hybrid, 2 * BLOCK, 2 * SLOT, 1);
    let root = folder.path().join("a");
    let (store, facts) = store(Config::default());
    store
        .add(ID, album.info.clone(), Placement::at(&root))
        .unwrap();
    store.write(ID, 0, 0, album.block(0, 0));
    store.write(ID, 0, BLOCK, Slot::detached(&[9; SLOT]));
    let Done::PieceHashed { leaves, sha1, .. } = next(&facts) else {
        panic!("a hash")
    };
    let right = album.hash(0);
    assert_ne!(sha1, right.sha1);
    assert_eq!(
        leaves.as_ref().map(|l| l[0]),
        right.leaves.as_ref().map(|l| l[0]),
        "the first block was right"
    );
    assert_ne!(leaves, right.leaves);
    // A late copy must not touch a piece that waits for its verdict.
    store.write(ID, 0, 0, Slot::detached(&[8; SLOT]));
    store.abandon(ID, 0);
    // Only the wrong block comes again.
    store.adopt(ID, 0, [0]);
    store.write(ID, 0, BLOCK, album.block(0, 1));
    expect_all(&store, &facts, &album, 1);
    // A late copy must not touch a verified piece either.
    store.write(ID, 0, 0, Slot::detached(&[8; SLOT]));
    flush(&store, &facts);
    album.assert_laid_out(&root);
}

#[test]
fn somebody_elses_file_of_the_same_name_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("a");
    fs::write(&root, "my diary").unwrap();
    let album = Album::single(Kind::V1, BLOCK, SLOT, 1);
    let (store, facts) = store(Config::default());
    store
        .add(ID, album.info.clone(), Placement::at(&root))
        .unwrap();
    store.write(ID, 0, 0, album.block(0, 0));
    match next(&facts) {
        Done::WriteFailed {
            piece: 0,
            begins,
            error: StoreError::Occupied { path },
            ..
        } => {
            assert_eq!((begins, path), (vec![0], root.clone()));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(fs::read(&root).unwrap(), b"my diary");
    // Of the same length it might be ours: that is known when the download is whole.
    let diary = vec![b'x'; SLOT];
    fs::write(&root, &diary).unwrap();
    store.write(ID, 0, 0, album.block(0, 0));
    expect_all(&store, &facts, &album, 1);
    store.flush(ID);
    assert!(matches!(
        next(&facts),
        Done::SettleFailed {
            error: StoreError::Occupied { .. },
            ..
        }
    ));
    assert!(matches!(next(&facts), Done::Flushed { ok: false, .. }));
    assert_eq!(fs::read(&root).unwrap(), diary);
    store.read(
        ID,
        BlockRun {
            piece: 0,
            begin: 0,
            len: BLOCK,
        },
        1,
    );
    assert!(matches!(next(&facts), Done::Read { data, .. } if data[..] == album.files[0]));
    // Moved away, or the same after all: the download gets its name.
    fs::write(&root, &album.files[0]).unwrap();
    flush(&store, &facts);
    album.assert_laid_out(&root);
}

#[test]
fn a_file_in_the_way_of_a_folder_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("album");
    fs::write(&root, "not a folder").unwrap();
    let album = Album::new(Kind::V1, BLOCK, &[100], 1, false);
    let (store, facts) = store(Config::default());
    store
        .add(ID, album.info.clone(), Placement::at(&root))
        .unwrap();
    store.write(ID, 0, 0, album.block(0, 0));
    assert!(matches!(
        next(&facts),
        Done::WriteFailed {
            error: StoreError::Other { .. },
            ..
        }
    ));
}

#[test]
fn a_folder_that_goes_away_is_missed_and_not_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let drive = folder.path().join("drive");
    for single in [false, true] {
        let (root, begun) = match single {
            false => (drive.join("album"), drive.join("album")),
            true => (drive.join("film"), drive.clone()),
        };
        let album = match single {
            false => Album::new(Kind::V2, BLOCK, &[SLOT, SLOT], 1, false),
            true => Album::single(Kind::V1, BLOCK, 2 * SLOT, 1),
        };
        let (store, facts) = store(Config::default());
        let place = Placement::at(&root);
        store.add(ID, album.info.clone(), place.clone()).unwrap();
        store.write(ID, 0, 0, album.block(0, 0));
        expect_all(&store, &facts, &album, 1);
        flush(&store, &facts);
        drop((store, facts));

        // Nothing is open any more.
        let mut have = Bits::new(2);
        have.set(0);
        let away = folder.path().join("away");
        let (store, facts) = super::store(Config::default());
        let place = Placement {
            have: Some(have),
            ..place
        };
        store.add(ID, album.info.clone(), place).unwrap();
        fs::rename(&drive, &away).unwrap();
        store.write(ID, 1, 0, album.block(1, 0));
        match next(&facts) {
            Done::WriteFailed {
                error: StoreError::Missing { path },
                ..
            } => assert_eq!(path, begun),
            other => panic!("{other:?}"),
        }
        assert!(!drive.exists(), "nothing is made in its place");
        fs::rename(&away, &drive).unwrap();
        store.write(ID, 1, 0, album.block(1, 0));
        expect_all(&store, &facts, &album, 1);
        flush(&store, &facts);
        album.assert_laid_out(&root);
    }
}

#[test]
fn seeded_data_that_changes_is_not_served() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("album");
    let album = Album::new(Kind::Hybrid, BLOCK, &[40_000, 100], 1, false);
    album.lay_out(&root);
    let (store, facts) = store(Config::default());
    store
        .add(ID, album.info.clone(), Placement::existing(&root))
        .unwrap();
    let run = BlockRun {
        piece: 0,
        begin: 0,
        len: BLOCK,
    };
    store.read(ID, run, 1);
    assert!(matches!(next(&facts), Done::Read { tag: 1, .. }));
    let path = album.path(&root, 0);
    fs::write(&path, vec![1; 40_000]).unwrap();
    store.read(ID, run, 2);
    let Done::ReadFailed {
        tag: 2,
        error: StoreError::FileChanged { path: named },
        ..
    } = next(&facts)
    else {
        panic!()
    };
    assert_eq!(named, path);
    fs::write(&path, "short").unwrap();
    store.read(ID, run, 3);
    assert!(matches!(
        next(&facts),
        Done::ReadFailed {
            error: StoreError::FileChanged { .. },
            ..
        }
    ));
    store.write(ID, 0, 0, album.block(0, 0));
    assert!(matches!(
        next(&facts),
        Done::WriteFailed {
            error: StoreError::ReadOnly { .. },
            ..
        }
    ));
}
