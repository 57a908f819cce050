//! `starling create` makes the same torrents as libtorrent: the same info-hashes from the same
//! folder, kind and piece length.

use crate::SOON;
use interop::{Content, Kind, MIB, Role, Scenario};
use serde_json::Value;
use std::ffi::OsStr;

const ALL: [Kind; 3] = [Kind::V1, Kind::V2, Kind::Hybrid];

fn agrees_with_libtorrent(make: impl Fn(&Scenario) -> Content, kinds: &[Kind]) {
    let s = Scenario::new();
    let content = make(&s);
    let starling = s.starling();
    for &kind in kinds {
        for (piece_size, piece_len) in [
            ("16KiB", 16 << 10),
            ("256KiB", 256 << 10),
            ("1MiB", 1 << 20),
        ] {
            let theirs = s.torrent_with(&content, kind, piece_len, &[]);
            let out = s.path("ours.torrent");
            let made = starling.runs(&[
                OsStr::new("create"),
                content.path.as_os_str(),
                OsStr::new("-o"),
                out.as_os_str(),
                OsStr::new(&format!("--{}", kind.name())),
                OsStr::new("--piece-size"),
                OsStr::new(piece_size),
            ]);
            assert!(made.status.success(), "create {kind:?}: {made:?}");
            let inspected =
                starling.runs(&[OsStr::new("inspect"), out.as_os_str(), OsStr::new("--json")]);
            let ours: Value =
                serde_json::from_slice(&inspected.stdout).expect("inspect --json prints JSON");
            let hash = |key: &str| ours[key].as_str().map(String::from);
            assert_eq!(
                (hash("info_hash_v1"), hash("info_hash_v2")),
                (theirs.info_hash_v1, theirs.info_hash_v2),
                "{kind:?} with pieces of {piece_size}"
            );
            std::fs::remove_file(out).expect("create wrote it");
        }
    }
}

#[test]
fn of_a_single_file() {
    agrees_with_libtorrent(|s| s.file("film.mkv", 5 * MIB + 1), &ALL);
}

#[test]
fn of_a_file_smaller_than_a_block() {
    agrees_with_libtorrent(|s| s.file("note.txt", 100), &ALL);
}

#[test]
fn of_a_nested_folder_with_empty_files_and_names_in_several_scripts() {
    agrees_with_libtorrent(Scenario::album, &ALL);
}

#[test]
fn of_files_that_end_on_and_around_piece_borders() {
    let borders = |s: &Scenario| {
        let (block, piece) = (16 << 10, 256 << 10);
        let files = [
            ("a", block),
            ("b", block - 1),
            ("c", block + 1),
            ("d", piece),
            ("e", piece - 1),
            ("f", piece + 1),
            ("g/h", 2 * piece),
            ("z", 3 * piece - block),
        ];
        s.folder("borders", &files)
    };
    agrees_with_libtorrent(borders, &ALL);
}

/// '!' and '-' come before '/', digits and letters after it.
fn order(s: &Scenario) -> Content {
    let names = ["a!b", "a/b", "a-b", "a0", "Z", "ä"];
    s.folder("order", &names.map(|name| (name, 70_000)))
}

#[test]
fn of_names_that_sort_differently_as_bytes_and_as_paths() {
    // The hybrid that libtorrent makes of these it cannot read itself: its halves disagree.
    agrees_with_libtorrent(order, &[Kind::V1, Kind::V2]);
}

#[test]
fn a_hybrid_of_names_that_sort_differently_is_one_that_libtorrent_reads() {
    let s = Scenario::new();
    let content = order(&s);
    let mut seed = s.starling().shares(&content);
    let seeding = seed.child.said("seeding").expect("it was waited for");
    let magnet = seeding["magnet"]
        .as_str()
        .expect("seeding tells the magnet link");
    s.libtorrent()
        .knows(&seed)
        .start(Role::get(magnet))
        .receives(&content, SOON);
}
