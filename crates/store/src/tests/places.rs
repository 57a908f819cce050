//! Existing data, restarts, full disks and many files, on real file systems.

use std::{
    fs,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::Command,
    sync::mpsc::Receiver,
    time::Instant,
};

use torrent::{
    author::{Hashes, Options, Plan, Source},
    layout::{BLOCK, Kind},
};

use super::{album::Album, next, store};
use crate::{
    Allocate, Bits, BlockRun, Config, Done, PieceHash, Placement, SLOT, Slot, Store, StoreError,
    TorrentId, resume,
};

const ID: TorrentId = TorrentId(3);

/// Checks pieces, verifies what is right, and says which.
fn check(
    store: &Store,
    facts: &Receiver<Done>,
    album: &Album,
    pieces: Bits,
) -> (Vec<u32>, Option<StoreError>) {
    let (mut left, mut right) = (pieces.count(), Vec::new());
    store.check(ID, pieces);
    loop {
        match next(facts) {
            Done::Checked { pieces, .. } => {
                left -= pieces.len();
                for checked in pieces {
                    if checked.hash.as_ref() == Some(&album.hash(checked.piece)) {
                        store.verified(ID, checked.piece);
                        right.push(checked.piece);
                    }
                }
            }
            Done::CheckFinished { trouble, .. } => {
                assert_eq!(left, 0, "every piece was told before the end");
                right.sort();
                return (right, trouble);
            }
            other => panic!("{other:?}"),
        }
    }
}

fn flush(store: &Store, facts: &Receiver<Done>) {
    store.flush(ID);
    while !matches!(next(facts), Done::Flushed { ok: true, .. }) {}
}

fn write_piece(store: &Store, facts: &Receiver<Done>, album: &Album, piece: u32) {
    let blocks = 0..album.layout().blocks(piece);
    for block in blocks.filter(|&block| !album.layout().is_pad_block(piece, block)) {
        store.write(ID, piece, block * BLOCK, album.block(piece, block));
    }
    match next(facts) {
        Done::PieceHashed {
            sha1, root, leaves, ..
        } => {
            assert_eq!(PieceHash { sha1, root, leaves }, album.hash(piece));
            store.verified(ID, piece);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn data_that_is_already_there_is_adopted_and_only_the_rest_is_fetched() {
    for kind in [Kind::V1, Kind::V2, Kind::Hybrid] {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("album");
        let album = Album::new(
            kind,
            2 * BLOCK,
            &[3_000_000, 70_000, 0, 5, 90_000],
            4,
            false,
        );
        album.lay_out(&root);
        // One file is gone, one is damaged, one too short.
        fs::remove_file(album.path(&root, album.files.len() - 1)).unwrap();
        let first = fs::OpenOptions::new()
            .write(true)
            .open(album.path(&root, 0))
            .unwrap();
        first.write_all_at(b"damage", 1_000_000).unwrap();
        first.set_len(2_500_000).unwrap();

        let (store, facts) = store(Config::default());
        store
            .add(ID, album.info.clone(), Placement::at(&root))
            .unwrap();
        let all = Bits::full(album.pieces() as usize);
        let (right, trouble) = check(&store, &facts, &album, all.clone());
        assert!(trouble.is_none());
        let there = album.pieces() as usize - right.len();
        assert!(
            there > 10 && right.len() > 70,
            "{there} missing, {} right",
            right.len()
        );
        for piece in (0..album.pieces()).filter(|piece| !right.contains(piece)) {
            write_piece(&store, &facts, &album, piece);
        }
        flush(&store, &facts);
        album.assert_laid_out(&root);
        assert_eq!(
            check(&store, &facts, &album, all).0.len(),
            album.pieces() as usize
        );
    }
}

#[test]
fn nothing_to_check_is_a_finished_check() {
    let folder = tempfile::tempdir().unwrap();
    let album = Album::single(Kind::V1, BLOCK, 10, 1);
    let (store, facts) = store(Config::default());
    store
        .add(
            ID,
            album.info.clone(),
            Placement::at(folder.path().join("a")),
        )
        .unwrap();
    assert_eq!(check(&store, &facts, &album, Bits::new(1)).0, []);
    assert_eq!(check(&store, &facts, &album, Bits::full(1)).0, []);
    assert!(matches!(
        store.add(
            TorrentId(4),
            album.info.clone(),
            Placement::existing(folder.path().join("no"))
        ),
        Err(StoreError::Missing { .. })
    ));
}

#[test]
fn a_restart_believes_the_record_and_finishes_the_files() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("album");
    let album = Album::new(Kind::Hybrid, BLOCK, &[50_000, 40_000, 0], 4, false);
    let mut place = Placement {
        record: Some(folder.path().join("state/record")),
        ..Placement::at(&root)
    };
    let record = place.record.clone().unwrap();
    {
        let (store, facts) = store(Config::default());
        store.add(ID, album.info.clone(), place.clone()).unwrap();
        for piece in 0..5 {
            write_piece(&store, &facts, &album, piece);
        }
        flush(&store, &facts);
        // Begun and never verified.
        store.write(ID, 5, 0, album.block(5, 0));
        assert!(matches!(next(&facts), Done::PieceHashed { piece: 5, .. }));
    }
    let resume = resume::load(&record, &album.info, &place);
    // The part file was written to after the record was closed, so its one piece is looked at again.
    assert_eq!(resume.have.iter().collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert_eq!(resume.recheck.iter().collect::<Vec<_>>(), [4, 5, 6]);
    resume.apply(&mut place);
    let (store, facts) = store(Config::default());
    store.add(ID, album.info.clone(), place.clone()).unwrap();
    assert_eq!(check(&store, &facts, &album, resume.recheck).0, [4, 5]);
    write_piece(&store, &facts, &album, 6);
    flush(&store, &facts);
    album.assert_laid_out(&root);
    let resume = resume::load(&record, &album.info, &place);
    assert!(resume.have.all() && resume.recheck.none() && resume.note.is_none());
    // Nothing is left of the temporary record.
    assert_eq!(fs::read_dir(record.parent().unwrap()).unwrap().count(), 1);
}

#[test]
fn a_record_whose_files_are_all_away_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let (root, away) = (folder.path().join("album"), folder.path().join("away"));
    let album = Album::new(Kind::Hybrid, BLOCK, &[50_000, 40_000], 4, false);
    let place = Placement {
        record: Some(folder.path().join("state/record")),
        ..Placement::at(&root)
    };
    let record = place.record.clone().unwrap();
    let gone = || resume::load(&record, &album.info, &place).gone;
    {
        let (store, facts) = store(Config::default());
        store.add(ID, album.info.clone(), place.clone()).unwrap();
        flush(&store, &facts);
        assert!(!gone(), "there was nothing yet");
        for piece in 0..5 {
            write_piece(&store, &facts, &album, piece);
        }
        flush(&store, &facts);
    }
    assert!(!gone());
    fs::rename(&root, &away).unwrap();
    assert!(gone());
    // The folder alone is what a drive is mounted on.
    fs::create_dir(&root).unwrap();
    assert!(gone());
    fs::write(root.join("mine.txt"), "not of the torrent").unwrap();
    assert!(gone());
    fs::remove_dir_all(&root).unwrap();
    fs::rename(&away, &root).unwrap();
    let names: Vec<_> = crate::files_at(&album.info, &root);
    assert!(names.len() > 1);
    fs::remove_file(&names[0]).unwrap();
    assert!(!gone(), "a file is there");
    fs::remove_file(&record).unwrap();
    fs::remove_dir_all(&root).unwrap();
    assert!(!gone(), "nobody says that there was something");
}

#[test]
fn a_batch_is_made_durable_without_being_asked() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("a");
    let album = Album::single(Kind::V1, BLOCK, SLOT, 1);
    let (store, facts) = store(Config::default());
    store
        .add(ID, album.info.clone(), Placement::at(&root))
        .unwrap();
    write_piece(&store, &facts, &album, 0);
    assert!(matches!(next(&facts), Done::FileFinished { .. }));
    album.assert_laid_out(&root);
}

#[test]
fn unwanted_files_keep_their_edges_in_part_files() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("album");
    let album = Album::new(Kind::V1, BLOCK, &[20_000, 20_000, 20_000], 4, false);
    let mut wanted = Bits::new(3);
    wanted.set(1);
    let (store, facts) = store(Config::default());
    store
        .add(
            ID,
            album.info.clone(),
            Placement {
                wanted: Some(wanted),
                ..Placement::at(&root)
            },
        )
        .unwrap();
    for piece in album.layout().file_pieces(1) {
        write_piece(&store, &facts, &album, piece);
    }
    flush(&store, &facts);
    assert_eq!(fs::read(album.path(&root, 1)).unwrap(), album.files[1]);
    assert!(!album.path(&root, 0).exists() && album.path(&root, 0).with_extension("part").exists());
    // Now the person wants the rest.
    store.select(ID, &Bits::full(3));
    assert!(matches!(next(&facts), Done::Flushed { .. }));
    for piece in 0..album.pieces() {
        if !album.layout().file_pieces(1).contains(&piece) {
            write_piece(&store, &facts, &album, piece);
        }
    }
    flush(&store, &facts);
    album.assert_laid_out(&root);
}

#[test]
fn a_planted_link_does_not_lead_a_download_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let (root, target) = (folder.path().join("a"), folder.path().join("precious"));
    fs::write(&target, "precious").unwrap();
    std::os::unix::fs::symlink(&target, folder.path().join("a.part")).unwrap();
    let album = Album::single(Kind::V1, BLOCK, SLOT, 1);
    let (store, facts) = store(Config::default());
    store
        .add(ID, album.info.clone(), Placement::at(&root))
        .unwrap();
    store.write(ID, 0, 0, album.block(0, 0));
    assert!(matches!(next(&facts), Done::WriteFailed { .. }));
    assert_eq!(fs::read(&target).unwrap(), b"precious");
}

/// A small file system of its own, unmounted at the end.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// None if this user may not mount; root may, or the test fails.
    fn mount(at: &Path, options: &str) -> Option<SmallDisk> {
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(at)
            .status();
        if mounted.is_ok_and(|status| status.success()) {
            return Some(SmallDisk(at.to_owned()));
        }
        let uid = fs::read_to_string("/proc/self/status").unwrap();
        let root = uid.lines().any(|line| line.starts_with("Uid:\t0\t"));
        assert!(!root, "root could not mount a tmpfs at {}", at.display());
        eprintln!("skipped: mounting a tmpfs needs root");
        None
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_pauses_and_goes_on_when_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(folder.path(), "size=1m") else {
        return;
    };
    let ballast = disk.0.join("ballast");
    fs::write(&ballast, vec![0; 700_000]).unwrap();
    let root = disk.0.join("film");
    let album = Album::single(Kind::Hybrid, 4 * BLOCK, 800_000, 1);
    let (store, facts) = store(Config::default());
    let refused = store.add(ID, album.info.clone(), Placement::at(&root));
    assert!(
        matches!(refused, Err(StoreError::NoSpace { need: 800_000, .. })),
        "{refused:?}"
    );

    // With room at first, that somebody else takes meanwhile.
    fs::remove_file(&ballast).unwrap();
    store
        .add(ID, album.info.clone(), Placement::at(&root))
        .unwrap();
    fs::write(&ballast, vec![0; 700_000]).unwrap();
    let (mut verified, mut lost) = (Vec::new(), Vec::new());
    for piece in 0..album.pieces() {
        for block in 0..album.layout().blocks(piece) {
            store.write(ID, piece, block * BLOCK, album.block(piece, block));
        }
        match next(&facts) {
            Done::PieceHashed { piece, .. } => {
                store.verified(ID, piece);
                verified.push(piece);
            }
            Done::WriteFailed {
                piece,
                begins,
                error,
                ..
            } => {
                assert!(error.to_string().contains("is full"), "{error}");
                lost.extend(begins.into_iter().map(|begin| (piece, begin)));
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(!verified.is_empty() && !lost.is_empty());
    fs::remove_file(&ballast).unwrap();
    for (piece, begin) in lost {
        store.write(ID, piece, begin, album.block(piece, begin / BLOCK));
    }
    while verified.len() < album.pieces() as usize {
        match next(&facts) {
            Done::PieceHashed {
                piece,
                sha1,
                root,
                leaves,
                ..
            } => {
                assert_eq!(PieceHash { sha1, root, leaves }, album.hash(piece));
                store.verified(ID, piece);
                verified.push(piece);
            }
            other => panic!("{other:?}"),
        }
    }
    flush(&store, &facts);
    assert!(fs::read(&root).unwrap() == album.files[0]);
}

#[cfg(target_os = "linux")]
#[test]
fn room_set_aside_beforehand_cannot_run_out_later() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(folder.path(), "size=1m") else {
        return;
    };
    let root = disk.0.join("film");
    let album = Album::single(Kind::V1, BLOCK, 800_000, 1);
    let (store, facts) = store(Config::default());
    store
        .add(
            ID,
            album.info.clone(),
            Placement {
                allocate: Allocate::Full,
                ..Placement::at(&root)
            },
        )
        .unwrap();
    write_piece(&store, &facts, &album, 0);
    assert!(
        fs::write(disk.0.join("ballast"), vec![0; 700_000]).is_err(),
        "the room is taken"
    );
    for piece in 1..album.pieces() {
        write_piece(&store, &facts, &album, piece);
    }
    flush(&store, &facts);
    assert!(fs::read(&root).unwrap() == album.files[0]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_read_only_disk_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(folder.path(), "ro,size=1m") else {
        return;
    };
    let album = Album::single(Kind::V1, BLOCK, SLOT, 1);
    let (store, facts) = store(Config::default());
    store
        .add(ID, album.info.clone(), Placement::at(disk.0.join("a")))
        .unwrap();
    store.write(ID, 0, 0, album.block(0, 0));
    assert!(matches!(
        next(&facts),
        Done::WriteFailed {
            error: StoreError::ReadOnly { .. },
            ..
        }
    ));
}

#[test]
fn two_thousand_small_files_need_few_descriptors_and_little_time() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("album");
    let album = Album::new(Kind::V2, BLOCK, &[SLOT; 2000], 4, false);
    let (store, facts) = store(Config {
        open_files: 16,
        ..Config::default()
    });
    store
        .add(ID, album.info.clone(), Placement::at(&root))
        .unwrap();
    let begun = Instant::now();
    for piece in 0..album.pieces() {
        store.write(ID, piece, 0, album.block(piece, 0));
        if piece % 100 == 0 {
            let open = fs::read_dir("/proc/self/fd").unwrap();
            let ours = open.filter(|fd| {
                let target = fs::read_link(fd.as_ref().unwrap().path());
                target.is_ok_and(|target| target.starts_with(&root))
            });
            assert!(ours.count() <= 16 + 2, "more descriptors than allowed");
        }
    }
    for _ in 0..album.pieces() {
        match next(&facts) {
            Done::PieceHashed { piece, .. } => store.verified(ID, piece),
            other => panic!("{other:?}"),
        }
    }
    flush(&store, &facts);
    assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());
    album.assert_laid_out(&root);
}

#[test]
fn reads_wait_for_buffers_and_then_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("a");
    let album = Album::single(Kind::V1, BLOCK, 40 * SLOT, 1);
    album.lay_out(&root);
    let (store, facts) = store(Config {
        read_buffers: 3,
        ..Config::default()
    });
    store
        .add(ID, album.info.clone(), Placement::existing(&root))
        .unwrap();
    for piece in 0..40 {
        store.read(
            ID,
            BlockRun {
                piece,
                begin: 0,
                len: BLOCK,
            },
            piece.into(),
        );
    }
    let mut held = Vec::new();
    let mut seen = Bits::new(40);
    while !seen.all() {
        if held.len() == 3 {
            assert!(facts.try_recv().is_err(), "a fourth buffer");
            held.clear();
        }
        let Done::Read { tag, data, .. } = next(&facts) else {
            panic!()
        };
        assert!(data[..] == album.piece(tag as u32)[..]);
        assert!(seen.set(tag as usize));
        held.push(data);
    }
}

#[test]
fn digests_of_blocks_name_the_wrong_one() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("a");
    let album = Album::single(Kind::Hybrid, 4 * BLOCK, 3 * SLOT + 10, 1);
    album.lay_out(&root);
    fs::OpenOptions::new()
        .write(true)
        .open(&root)
        .unwrap()
        .write_all_at(b"?", u64::from(BLOCK))
        .unwrap();
    let (store, facts) = store(Config::default());
    store
        .add(ID, album.info.clone(), Placement::existing(&root))
        .unwrap();
    store.leaves(ID, 0, 5);
    let Done::Leaves {
        tag: 5,
        leaves: Ok(leaves),
        ..
    } = next(&facts)
    else {
        panic!()
    };
    let right = album.hash(0).leaves.unwrap();
    let wrong: Vec<usize> = (0..4).filter(|&i| leaves[i] != right[i]).collect();
    assert_eq!((leaves.len(), wrong), (4, vec![1]));
    store.block_digests(ID, 0);
    assert!(
        matches!(next(&facts), Done::BlockDigests { digests: Ok(digests), .. } if digests == leaves)
    );
}

#[test]
fn a_torrent_with_names_that_end_in_part_does_not_mix_up_its_files() {
    let paths = ["a", "a.PART", "a~0.part/x", "b", "b.part/c"];
    let source = |path: &&str| Source {
        path: (*path).into(),
        len: BLOCK.into(),
        ..Source::default()
    };
    let plan = Plan::folder(
        Kind::V1,
        "tricky",
        BLOCK,
        &paths.iter().map(source).collect::<Vec<_>>(),
    )
    .unwrap();
    let hashes = Hashes {
        pieces: vec![[0; 20]; paths.len()],
        files: Vec::new(),
    };
    let info = plan.finish(&hashes, &Options::default()).unwrap().info;
    let folder = tempfile::tempdir().unwrap();
    let (store, facts) = store(Config::default());
    store
        .add(ID, info.clone(), Placement::at(folder.path()))
        .unwrap();
    let byte = |file: usize| 10 + file as u8;
    for file in 0..paths.len() {
        store.write(ID, file as u32, 0, Slot::detached(&[byte(file); SLOT]));
        assert!(matches!(next(&facts), Done::PieceHashed { .. }));
        assert!(store.path(ID, file).unwrap().exists());
    }
    for file in 0..paths.len() {
        store.verified(ID, file as u32);
    }
    flush(&store, &facts);
    for file in 0..paths.len() {
        assert_eq!(
            fs::read(folder.path().join(info.file(file).path())).unwrap(),
            [byte(file); SLOT],
            "{file}"
        );
    }
}

#[test]
fn a_name_as_long_as_names_can_be_has_a_part_too() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("ü".repeat(127));
    let album = Album::single(Kind::V1, BLOCK, SLOT, 1);
    let (store, facts) = store(Config::default());
    store
        .add(ID, album.info.clone(), Placement::at(&root))
        .unwrap();
    write_piece(&store, &facts, &album, 0);
    assert!(
        store
            .path(ID, 0)
            .unwrap()
            .to_string_lossy()
            .ends_with("~0.part")
    );
    flush(&store, &facts);
    album.assert_laid_out(&root);
}

#[test]
fn a_file_that_was_exchanged_is_not_served_until_the_right_one_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("album");
    let album = Album::new(Kind::V1, BLOCK, &[50_000, 40_000], 8, false);
    album.lay_out(&root);
    let config = Config {
        open_files: 1,
        ..Config::default()
    };
    let (store, facts) = store(config);
    store
        .add(ID, album.info.clone(), Placement::existing(&root))
        .unwrap();
    let all = Bits::full(album.pieces() as usize);
    assert_eq!(
        check(&store, &facts, &album, all).0.len(),
        album.pieces() as usize
    );
    let read = |piece| {
        let run = BlockRun {
            piece,
            begin: 0,
            len: 1,
        };
        store.read(ID, run, 1);
        match next(&facts) {
            Done::Read { .. } => Ok(()),
            Done::ReadFailed { error, .. } => Err(error),
            other => panic!("{other:?}"),
        }
    };
    let (first, aside) = (album.path(&root, 0), folder.path().join("aside"));
    fs::rename(&first, &aside).unwrap();
    fs::write(&first, vec![7; 50_000]).unwrap();
    // The other file takes the only descriptor.
    assert!(read(album.pieces() - 1).is_ok());
    assert!(matches!(read(0), Err(StoreError::FileChanged { path }) if path == first));
    fs::rename(&aside, &first).unwrap();
    assert!(read(0).is_ok());

    // The same with the whole folder gone.
    fs::rename(&root, &aside).unwrap();
    assert!(read(album.pieces() - 1).is_err());
    fs::rename(&aside, &root).unwrap();
    assert!(read(album.pieces() - 1).is_ok());
}
