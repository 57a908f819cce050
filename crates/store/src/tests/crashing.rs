//! The twin: power cuts, full disks, failing reads, and what a restart believes afterwards.

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use torrent::layout::{BLOCK, Kind};

use super::album::Album;
use crate::{
    Bits, BlockRun, Done, PieceHash, Placement, READ_MAX, StoreError, TorrentId,
    twin::{Command, Twin},
};

const ID: TorrentId = TorrentId(1);

fn placement() -> Placement {
    Placement {
        record: Some("/state/album.resume".into()),
        ..Placement::at("/music/album")
    }
}

fn record() -> PathBuf {
    placement().record.unwrap()
}

fn write(album: &Album, twin: &mut Twin, piece: u32, block: u32) -> Vec<Done> {
    twin.apply(Command::Write {
        id: ID,
        piece,
        begin: block * BLOCK,
        slot: album.block(piece, block),
    })
}

/// Compares hashes and verifies what is right; returns the pieces.
fn judge(album: &Album, twin: &mut Twin, facts: Vec<Done>) -> Vec<u32> {
    let mut right = Vec::new();
    for fact in facts {
        if let Done::PieceHashed {
            piece,
            sha1,
            root,
            leaves,
            ..
        } = fact
        {
            assert_eq!(
                PieceHash { sha1, root, leaves },
                album.hash(piece),
                "piece {piece}"
            );
            twin.apply(Command::Verified { id: ID, piece });
            right.push(piece);
        }
    }
    right
}

fn piece_on_disk(album: &Album, twin: &mut Twin, piece: u32) -> Result<Vec<u8>, StoreError> {
    let mut bytes = Vec::new();
    let len = album.layout().piece_len(piece);
    for begin in (0..len).step_by(READ_MAX) {
        let run = BlockRun {
            piece,
            begin,
            len: (len - begin).min(READ_MAX as u32),
        };
        match twin
            .apply(Command::Read {
                id: ID,
                run,
                tag: 0,
            })
            .remove(0)
        {
            Done::Read { data, .. } => bytes.extend_from_slice(&data),
            Done::ReadFailed { error, .. } => return Err(error),
            other => panic!("{other:?}"),
        }
    }
    Ok(bytes)
}

/// Checks `pieces` against the album and verifies what is right.
fn check(album: &Album, twin: &mut Twin, pieces: Bits) -> Bits {
    let mut right = Bits::new(pieces.len());
    for fact in twin.apply(Command::Check { id: ID, pieces }) {
        let Done::Checked { pieces, .. } = fact else {
            continue;
        };
        for checked in pieces
            .into_iter()
            .filter(|checked| checked.hash.as_ref() == Some(&album.hash(checked.piece)))
        {
            twin.apply(Command::Verified {
                id: ID,
                piece: checked.piece,
            });
            right.set(checked.piece as usize);
        }
    }
    right
}

/// Downloads with power cuts in between; every restart must believe nothing wrong and nothing less than the last
/// batch, and the end must be the album.
fn download_with_power_cuts(album: &Album, seed: u64, part_names: bool) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut twin = Twin::new(seed);
    let pieces = album.pieces() as usize;
    let (mut recorded, mut verified) = (Bits::new(pieces), Bits::new(pieces));
    let mut closed = false;
    for life in 0.. {
        let mut placement = Placement {
            part_names,
            ..placement()
        };
        let resume = twin.load_resume(&record(), &album.info, &placement);
        // After a closed record that writes followed, recorded pieces are hashed again; otherwise believed.
        for piece in recorded.iter().filter(|_| !closed) {
            assert!(
                resume.have.has(piece),
                "life {life}: piece {piece} was recorded"
            );
        }
        resume.apply(&mut placement);
        twin.add(ID, album.info.clone(), placement).unwrap();
        for piece in resume.have.iter() {
            let bytes = piece_on_disk(album, &mut twin, piece as u32).unwrap();
            assert!(
                bytes == album.piece(piece as u32),
                "life {life}: piece {piece} is believed and wrong"
            );
        }
        let found = check(album, &mut twin, resume.recheck);
        verified = resume.have;
        for piece in found.iter() {
            verified.set(piece);
        }

        let mut missing: Vec<(u32, u32)> = album.blocks();
        for piece in recorded.iter() {
            assert!(
                verified.has(piece),
                "life {life}: piece {piece} was recorded and would be fetched again"
            );
        }
        missing.retain(|(piece, _)| !verified.has(*piece as usize));
        random.shuffle(&mut missing);
        // Each life is long enough to come to an end at last.
        let blocks = if life < 6 {
            random.usize(..=missing.len())
        } else {
            missing.len()
        };
        for &(piece, block) in &missing[..blocks] {
            let facts = write(album, &mut twin, piece, block);
            for piece in judge(album, &mut twin, facts) {
                verified.set(piece as usize);
            }
            match random.u32(..20) {
                0 => {
                    twin.apply(Command::Settle);
                    recorded = verified.clone();
                    closed = false;
                }
                1 => {
                    twin.apply(Command::Flush(ID));
                    recorded = verified.clone();
                    closed = true;
                }
                _ => {}
            }
        }
        if blocks == missing.len() {
            break;
        }
        twin.power_cut();
    }
    assert!(verified.all());
    assert!(matches!(
        twin.apply(Command::Flush(ID)).pop(),
        Some(Done::Flushed { ok: true, .. })
    ));
    twin.power_cut();
    for (file, bytes) in album
        .files
        .iter()
        .enumerate()
        .filter(|(file, _)| !album.layout().file(*file).pad)
    {
        let path = album.path(Path::new("/music/album"), file);
        assert!(
            twin.peek(&path).as_deref() == Some(&bytes[..]),
            "{} after the last power cut",
            path.display()
        );
    }
    let parts: Vec<PathBuf> = twin
        .list()
        .into_iter()
        .filter(|path| path.to_string_lossy().ends_with(".part"))
        .collect();
    assert!(parts.is_empty(), "{parts:?}");
    let resume = twin.load_resume(&record(), &album.info, &placement());
    assert!(
        resume.have.all() && resume.recheck.none() && resume.note.is_none(),
        "{resume:?}"
    );
}

fn kinds() -> impl Strategy<Value = Kind> {
    prop_oneof![Just(Kind::V1), Just(Kind::V2), Just(Kind::Hybrid)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn power_cuts_lose_no_recorded_piece_and_bring_in_no_wrong_one(
        kind in kinds(),
        shift in 0u32..3,
        lens in prop::collection::vec(prop_oneof![Just(0usize), 1usize..200, 1usize..150_000], 1..8),
        seed in any::<u64>(),
        part_names in any::<bool>(),
    ) {
        prop_assume!(lens.iter().sum::<usize>() > 0);
        download_with_power_cuts(&Album::new(kind, BLOCK << shift, &lens, seed, false), seed, part_names);
    }
}

#[test]
fn power_cuts_with_more_files_than_are_synced_one_by_one() {
    download_with_power_cuts(
        &Album::new(Kind::V1, 4 * BLOCK, &[3000; 150], 1, false),
        1,
        true,
    );
}

#[test]
fn the_same_seed_gives_the_same_facts() {
    let album = Album::new(Kind::Hybrid, BLOCK, &[70_000, 20_000], 3, false);
    let run = || {
        let mut twin = Twin::new(9);
        let mut said = Vec::new();
        for _ in 0..3 {
            twin.add(ID, album.info.clone(), placement()).unwrap();
            for (piece, block) in album.blocks() {
                said.push(format!("{:?}", write(&album, &mut twin, piece, block)));
            }
            twin.power_cut();
            said.push(format!(
                "{:?}",
                twin.list()
                    .iter()
                    .map(|path| twin.peek(path))
                    .collect::<Vec<_>>()
            ));
        }
        said
    };
    assert!(run() == run());
}

#[test]
fn a_full_disk_says_so_and_the_download_goes_on_when_there_is_room() {
    let album = Album::new(Kind::Hybrid, 2 * BLOCK, &[100_000, 40_000], 3, false);
    let mut twin = Twin::new(1);
    twin.add(ID, album.info.clone(), placement()).unwrap();
    twin.set_capacity(60_000);
    let (mut lost, mut verified) = (Vec::new(), 0);
    for (piece, block) in album.blocks() {
        let facts = write(&album, &mut twin, piece, block);
        for fact in &facts {
            let Done::WriteFailed {
                piece,
                begins,
                error,
                ..
            } = fact
            else {
                continue;
            };
            assert!(
                matches!(
                    error,
                    StoreError::NoSpace {
                        need: 1..,
                        free: 0..,
                        ..
                    }
                ),
                "{error:?}"
            );
            lost.extend(begins.iter().map(|begin| (*piece, begin / BLOCK)));
        }
        verified += judge(&album, &mut twin, facts).len();
    }
    assert!(!lost.is_empty() && verified > 0);
    twin.set_capacity(10_000_000);
    for (piece, block) in lost {
        let facts = write(&album, &mut twin, piece, block);
        verified += judge(&album, &mut twin, facts).len();
    }
    assert_eq!(verified, album.pieces() as usize);
}

#[test]
fn a_download_that_cannot_fit_is_refused_before_it_begins() {
    let album = Album::new(Kind::V1, BLOCK, &[100_000, 40_000], 3, false);
    let mut twin = Twin::new(1);
    twin.set_capacity(130_000);
    match twin.add(ID, album.info.clone(), placement()) {
        Err(StoreError::NoSpace {
            need: 140_000,
            free: 130_000,
            ..
        }) => {}
        other => panic!("{other:?}"),
    }
    let mut wanted = Bits::new(2);
    wanted.set(0);
    twin.add(
        ID,
        album.info.clone(),
        Placement {
            wanted: Some(wanted),
            ..placement()
        },
    )
    .unwrap();
}

#[test]
fn a_failing_disk_fails_the_read_and_the_check_but_nothing_else() {
    let album = Album::new(Kind::V2, BLOCK, &[20_000, 20_000], 3, false);
    let mut twin = Twin::new(1);
    twin.add(ID, album.info.clone(), placement()).unwrap();
    for (piece, block) in album.blocks() {
        let facts = write(&album, &mut twin, piece, block);
        judge(&album, &mut twin, facts);
    }
    twin.fail_reads(Some("track 00"));
    assert!(matches!(
        piece_on_disk(&album, &mut twin, 0),
        Err(StoreError::Other { op: "read", .. })
    ));
    assert!(piece_on_disk(&album, &mut twin, 2).is_ok());
    let facts = twin.apply(Command::Check {
        id: ID,
        pieces: Bits::full(4),
    });
    assert!(matches!(
        facts.last(),
        Some(Done::CheckFinished {
            trouble: Some(_),
            ..
        })
    ));
    twin.fail_reads(None);
    assert!(check(&album, &mut twin, Bits::full(4)).all());
}

#[test]
fn a_file_changed_while_we_were_away_is_checked_and_not_believed() {
    let album = Album::new(
        Kind::V1,
        BLOCK,
        &[3 * BLOCK as usize, 2 * BLOCK as usize],
        3,
        false,
    );
    let mut twin = Twin::new(1);
    twin.add(ID, album.info.clone(), placement()).unwrap();
    // The first file whole, of the second a piece.
    for piece in 0..4 {
        let facts = write(&album, &mut twin, piece, 0);
        judge(&album, &mut twin, facts);
    }
    twin.apply(Command::Flush(ID));
    let believed = |twin: &Twin| {
        let resume = twin.load_resume(&record(), &album.info, &placement());
        (
            resume.have.iter().collect::<Vec<_>>(),
            resume.recheck.iter().collect::<Vec<_>>(),
            resume.note,
        )
    };
    assert_eq!(believed(&twin), (vec![0, 1, 2, 3], vec![], None));

    let (first, second) = (
        album.path(Path::new("/music/album"), 0),
        album.path(Path::new("/music/album"), 1),
    );
    let part = second.with_file_name("track 01.part");
    let old = twin.peek(&first).unwrap();
    twin.tamper(&first, &old);
    let (have, recheck, note) = believed(&twin);
    assert_eq!((have, recheck), (vec![3], vec![0, 1, 2]));
    assert!(note.unwrap().starts_with("1 of 2 files changed"));
    twin.tamper(&part, b"something else");
    assert_eq!(believed(&twin).1, [0, 1, 2, 3, 4]);

    // A record that is damaged, or another torrent's, is no record.
    let mut bytes = twin.peek(&record()).unwrap();
    bytes[80] ^= 1;
    twin.tamper(&record(), &bytes);
    let (have, recheck, note) = believed(&twin);
    assert_eq!((have, recheck), (vec![], vec![0, 1, 2, 3, 4]));
    assert!(note.unwrap().contains("is damaged"));
    let other = Album::new(Kind::V1, BLOCK, &[5], 9, false);
    bytes[80] ^= 1;
    twin.tamper(&record(), &bytes);
    let resume = twin.load_resume(&record(), &other.info, &placement());
    assert!(resume.have.none() && resume.note.unwrap().contains("belongs to another torrent"));
}

proptest! {
    #[test]
    fn any_bytes_are_a_record_or_none(bytes in prop::collection::vec(any::<u8>(), 0..400), keep in 0usize..400) {
        let album = Album::new(Kind::V1, BLOCK, &[50_000], 1, false);
        let mut twin = Twin::new(1);
        twin.add(ID, album.info.clone(), placement()).unwrap();
        twin.apply(Command::Flush(ID));
        let mut record_bytes = twin.peek(&record()).unwrap();
        record_bytes.truncate(keep);
        record_bytes.extend(bytes);
        twin.tamper(&record(), &record_bytes);
        let resume = twin.load_resume(&record(), &album.info, &placement());
        prop_assert!(resume.have.none());
    }
}
