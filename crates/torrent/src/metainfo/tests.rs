//! Metainfo of all kinds, good and bad. Torrents by another program are read in the author's tests.

use std::sync::Arc;

use super::*;
use crate::bencode::{ErrorKind, Owned};
use crate::layout::Kind;
use crate::merkle::file_root;

const K16: u64 = 16 * 1024;

type Entries = Vec<(&'static str, Owned)>;

fn dict(entries: impl IntoIterator<Item = (&'static str, Owned)>) -> Owned {
    Owned::dict(entries)
}

fn v1(files: Vec<Owned>, pieces: usize) -> Entries {
    vec![
        ("files", Owned::List(files)),
        ("name", "folder".into()),
        ("piece length", 16.into()),
        ("pieces", vec![7u8; 20 * pieces].into()),
    ]
}

fn v1_file(path: &[&[u8]], len: i64) -> Owned {
    dict([
        ("length", len.into()),
        ("path", Owned::list(path.iter().copied())),
    ])
}

fn v1_of(paths: &[&[&[u8]]]) -> Info {
    let files = paths.iter().map(|path| v1_file(path, 16)).collect();
    parse(v1(files, paths.len())).unwrap()
}

fn leaf(len: u64, root: u8) -> Owned {
    let mut entry: Entries = vec![("length", (len as i64).into())];
    entry.extend((len > 0).then(|| ("pieces root", [root; 32].into())));
    dict([("", dict(entry))])
}

fn v2(tree: Owned) -> Entries {
    vec![
        ("file tree", tree),
        ("meta version", 2.into()),
        ("name", "folder".into()),
        ("piece length", (K16 as i64).into()),
    ]
}

/// Two files of one and two pieces with the padding between them, in both halves.
fn hybrid() -> Entries {
    let pad = dict([
        ("attr", "p".into()),
        ("length", (K16 as i64 - 5).into()),
        ("path", Owned::list([".pad", "16379"])),
    ]);
    let mut entries = v2(dict([("a", leaf(5, 1)), ("b", leaf(2 * K16, 2))]));
    entries.push((
        "files",
        Owned::List(vec![
            v1_file(&[b"a"], 5),
            pad,
            v1_file(&[b"b"], 2 * K16 as i64),
        ]),
    ));
    entries.push(("pieces", vec![7u8; 60].into()));
    entries
}

fn parse(entries: Entries) -> Result<Info, MetainfoError> {
    Info::parse(&Owned::dict(entries).encode())
}

/// The same with one key set to another value, or without it.
fn with(mut entries: Entries, key: &'static str, value: impl Into<Option<Owned>>) -> Entries {
    entries.retain(|(name, _)| *name != key);
    entries.extend(value.into().map(|value| (key, value)));
    entries
}

fn paths(info: &Info) -> Vec<&str> {
    info.files()
        .filter(|file| !file.pad)
        .map(|file| file.path())
        .collect()
}

#[test]
fn the_example_of_bep_52_is_a_file_in_two_folders() {
    // BEP 52's `fileA.txt`, with what its excerpt leaves out.
    let raw = b"d9:file treed4:dir1d4:dir2d9:fileA.txtd0:d6:lengthi1024e11:pieces root32:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaeeeee12:meta versioni2e4:name1:x12:piece lengthi16384ee";
    let info = Info::parse(raw).unwrap();
    assert_eq!(paths(&info), ["dir1/dir2/fileA.txt"]);
    assert_eq!(info.file(0).root(), Some([b'a'; 32]));
    assert!(!info.is_single_file());
    assert_eq!(&info.raw()[..], raw);
}

#[test]
fn halves_that_agree_make_a_hybrid() {
    let info = parse(hybrid()).unwrap();
    assert_eq!(info.kind(), Kind::Hybrid);
    assert_eq!(paths(&info), ["a", "b"]);
    assert_eq!(info.file(2).root(), Some([2; 32]));
    assert_eq!(info.file(1).root(), None);
    assert!(info.file(1).pad);
    assert!(info.hashes().v1.is_some() && info.hashes().v2.is_some());
    assert_eq!(info.piece_sha1(2), Some(&[7; 20]));
    assert_eq!(info.piece_sha1(3), None);
}

#[test]
fn halves_that_disagree_are_refused() {
    let disagree = |entries| {
        assert!(matches!(
            parse(entries),
            Err(MetainfoError::HalvesDisagree(_))
        ))
    };
    let tree = |a: Owned, name: &'static str| dict([("a", a), (name, leaf(2 * K16, 2))]);
    disagree(with(hybrid(), "file tree", tree(leaf(6, 1), "b")));
    disagree(with(hybrid(), "file tree", tree(leaf(5, 1), "c")));
    disagree(with(hybrid(), "file tree", dict([("a", leaf(5, 1))])));
    disagree(with(
        hybrid(),
        "file tree",
        dict([
            ("a", leaf(5, 1)),
            ("b", leaf(2 * K16, 2)),
            ("c", leaf(0, 0)),
        ]),
    ));
    let single = with(with(hybrid(), "files", None), "length", Owned::from(5));
    disagree(single);
    let unpadded = vec![v1_file(&[b"a"], 5), v1_file(&[b"b"], 2 * K16 as i64)];
    let error = parse(with(hybrid(), "files", Owned::List(unpadded)));
    assert_eq!(
        error,
        Err(MetainfoError::Layout(LayoutError::Misaligned(1)))
    );
}

#[test]
fn each_missing_or_malformed_key_has_a_name() {
    let v1 = || v1(vec![v1_file(&[b"a"], 40)], 3);
    let v2 = || v2(dict([("a", leaf(40, 1))]));
    assert!(parse(v1()).is_ok() && parse(v2()).is_ok());
    let cases: Vec<(Entries, MetainfoError)> = vec![
        (with(v1(), "name", None), MetainfoError::MissingName),
        (
            with(v1(), "name", Owned::from(1)),
            MetainfoError::MissingName,
        ),
        (
            with(v1(), "piece length", None),
            MetainfoError::MissingPieceLength,
        ),
        (
            with(v1(), "piece length", Owned::from(-16)),
            MetainfoError::MissingPieceLength,
        ),
        (
            with(v1(), "piece length", Owned::from(0)),
            LayoutError::PieceLength(0).into(),
        ),
        (
            with(v1(), "piece length", Owned::from(1i64 << 40)),
            LayoutError::PieceLength(1 << 40).into(),
        ),
        (with(v1(), "pieces", None), MetainfoError::MissingPieces),
        (
            with(v1(), "pieces", Owned::from(1)),
            MetainfoError::BadPieces,
        ),
        (
            with(v1(), "pieces", Owned::from(vec![0; 59])),
            MetainfoError::BadPieces,
        ),
        (
            with(v1(), "pieces", Owned::from(vec![0; 40])),
            MetainfoError::PieceCount {
                hashes: 2,
                pieces: 3,
            },
        ),
        (with(v1(), "files", None), MetainfoError::MissingFiles),
        (
            with(v1(), "files", Owned::from("x")),
            MetainfoError::BadFiles,
        ),
        (
            with(v1(), "files", Owned::list(["x"])),
            MetainfoError::BadFiles,
        ),
        (
            with(v1(), "files", Owned::List(vec![])),
            LayoutError::Empty.into(),
        ),
        (
            with(v1(), "files", Owned::List(vec![v1_file(&[], 40)])),
            MetainfoError::BadPath(0),
        ),
        (
            with(v1(), "files", Owned::List(vec![v1_file(&[b"a"], -1)])),
            MetainfoError::BadLength(0),
        ),
        (
            with(
                v1(),
                "files",
                Owned::List(vec![dict([("path", Owned::list(["a"]))])]),
            ),
            MetainfoError::BadLength(0),
        ),
        (
            with(
                v1(),
                "files",
                Owned::List(vec![v1_file(&[&b"x"[..]; 101], 40)]),
            ),
            MetainfoError::PathTooDeep(0),
        ),
        (
            with(
                v1(),
                "files",
                Owned::List(vec![v1_file(&[&[b'x'; 250][..]; 20], 40)]),
            ),
            MetainfoError::PathTooLong(0),
        ),
        (
            with(v1(), "meta version", Owned::from(3)),
            MetainfoError::NewerVersion(3),
        ),
        (
            with(v1(), "file tree", dict([("a", leaf(40, 1))])),
            MetainfoError::MissingVersion,
        ),
        (
            with(hybrid(), "file tree", None),
            MetainfoError::MissingTree,
        ),
        (with(v2(), "file tree", None), MetainfoError::MissingTree),
        (
            with(v2(), "piece length", Owned::from(8192)),
            LayoutError::PieceLengthV2(8192).into(),
        ),
        (
            with(v2(), "piece length", Owned::from(16385)),
            LayoutError::PieceLengthV2(16385).into(),
        ),
        (
            with(v2(), "pieces", Owned::from("")),
            MetainfoError::MissingFiles,
        ),
        (
            with(v2(), "file tree", Owned::from("x")),
            MetainfoError::BadTree,
        ),
        (
            with(v2(), "file tree", dict([("a", "x".into())])),
            MetainfoError::BadTree,
        ),
        (with(v2(), "file tree", leaf(5, 1)), MetainfoError::BadTree),
        (
            with(v2(), "file tree", dict([("a", dict([("", "x".into())]))])),
            MetainfoError::BadTree,
        ),
        (
            with(
                v2(),
                "file tree",
                dict([(
                    "a",
                    dict([("", dict([("length", 1.into())])), ("b", leaf(5, 1))]),
                )]),
            ),
            MetainfoError::BadTree,
        ),
        (
            with(v2(), "file tree", dict([("a", leaf(5, 0))])),
            MetainfoError::MissingRoot(0),
        ),
        (
            with(
                v2(),
                "file tree",
                dict([("a", dict([("", dict([("length", 1.into())]))]))]),
            ),
            MetainfoError::MissingRoot(0),
        ),
        (
            with(
                v2(),
                "file tree",
                dict([(
                    "a",
                    dict([("", dict([("attr", "p".into()), ("length", 1.into())]))]),
                )]),
            ),
            MetainfoError::PaddingInTree(0),
        ),
        (
            with(v2(), "file tree", dict([("a", leaf(i64::MAX as u64, 1))])),
            LayoutError::TooManyPieces.into(),
        ),
    ];
    for (entries, expected) in cases {
        let bytes = Owned::dict(entries.clone()).encode();
        assert_eq!(parse(entries), Err(expected), "{}", bytes.escape_ascii());
    }
    assert_eq!(Info::parse(b"le"), Err(MetainfoError::NotADict));
    assert_eq!(Info::parse(b"dede"), Err(MetainfoError::TrailingInfo));
}

#[test]
fn every_truncation_is_an_error() {
    let whole = Owned::dict([("info", Owned::dict(hybrid()))]).encode();
    for len in 0..whole.len() {
        assert!(
            matches!(
                Metainfo::parse(&whole[..len]),
                Err(MetainfoError::Bencode(_))
            ),
            "cut at {len}"
        );
    }
}

#[test]
fn sloppy_v1_is_read_by_its_exact_bytes_and_sloppy_v2_is_not() {
    let sloppy =
        b"d4:name1:x6:lengthi3e12:piece lengthi16e6:pieces20:aaaaaaaaaaaaaaaaaaaa4:name1:ye";
    let info = Info::parse(sloppy).unwrap();
    assert_eq!(info.name(), "x");
    assert_eq!(
        info.hashes()
            .v1
            .map(|hash| crate::hex::encode(&hash))
            .unwrap(),
        crate::hex::encode(&{
            use sha1::Digest;
            <[u8; 20]>::from(sha1::Sha1::digest(sloppy))
        })
    );
    assert!(
        info.notices().len() >= 2 && info.notices()[0].to_string().contains("not sorted at byte")
    );

    let tree = b"d9:file treed1:bd0:d6:lengthi0eee1:ad0:d6:lengthi0eeee12:meta versioni2e4:name1:x12:piece lengthi16384ee";
    let error = Info::parse(tree).unwrap_err();
    assert!(matches!(
        error,
        MetainfoError::NotCanonical(Oddity {
            kind: ErrorKind::UnsortedKeys,
            ..
        })
    ));
}

#[test]
fn a_deep_tree_ends_at_the_limit_and_not_in_the_stack() {
    let mut tree = leaf(5, 1);
    for _ in 0..100 {
        tree = dict([("x", tree)]);
    }
    assert!(parse(v2(tree.clone())).is_ok());
    assert_eq!(
        parse(v2(dict([("x", tree.clone())]))),
        Err(MetainfoError::PathTooDeep(0))
    );
    for _ in 0..1000 {
        tree = dict([("x", tree)]);
    }
    assert!(matches!(parse(v2(tree)), Err(MetainfoError::Bencode(_))));
}

#[test]
fn a_deep_tree_can_not_fill_the_memory_with_its_paths() {
    // 60,000 files below folders that make each path 3 KB: 4 MB that would become 180 MB.
    let files: Vec<(Vec<u8>, Owned)> = (0..60_000)
        .map(|i| (format!("{i:06}").into_bytes(), leaf(0, 0)))
        .collect();
    let mut tree = Owned::dict(files);
    for _ in 0..15 {
        tree = Owned::dict([([b'x'; 200], tree)]);
    }
    assert_eq!(parse(v2(tree)), Err(MetainfoError::PathsTooLong));
}

#[test]
fn paths_come_out_safe_and_apart_and_can_be_looked_up_as_listed() {
    let info = v1_of(&[
        &[b"..", b"..", b"etc", b"passwd"],
        &[b"/abs"],
        &[b"con.txt"],
        &[b"What?"],
        &[b"A.txt"],
        &[b"a.txt"],
        &[b"a.txt"],
        &[b"caf\xe9"],
    ]);
    let expected = [
        "__/__/etc/passwd",
        "_abs",
        "_con.txt",
        "What_",
        "A.txt",
        "a (2).txt",
        "a (3).txt",
        "caf_",
    ];
    assert_eq!(paths(&info), expected);
    let listed: Vec<_> = info.files().map(|file| file.listed_path()).collect();
    assert_eq!(
        listed,
        [
            None,
            None,
            Some("con.txt"),
            Some("What?"),
            None,
            None,
            None,
            None
        ]
    );
    assert!(info.notices().contains(&Notice::Renamed {
        from: "a.txt".into(),
        to: "a (2).txt".into()
    }));

    let by_case = v1_of(&[&[b"A"], &[b"a"]]);
    assert_eq!(by_case.file(1).listed_path(), Some("a"));

    let by_change = v1_of(&[&[b"a:b"], &[b"a_b"]]);
    assert_eq!(paths(&by_change), ["a_b", "a_b (2)"]);
    let listed: Vec<_> = by_change.files().map(|file| file.listed_path()).collect();
    assert_eq!(listed, [Some("a:b"), Some("a_b")]);
}

#[test]
fn the_name_can_be_looked_up_as_listed_too() {
    let named = |name: &str| {
        let mut info = v1(vec![v1_file(&[b"file"], 16)], 1);
        info.retain(|(key, _)| *key != "name");
        info.push(("name", name.into()));
        let info = parse(info).unwrap();
        (
            info.name().to_owned(),
            info.listed_name().map(str::to_owned),
        )
    };
    assert_eq!(named("album"), ("album".into(), None));
    assert_eq!(named("a:b"), ("a_b".into(), Some("a:b".into())));
    assert_eq!(named("a/b"), ("a_b".into(), None));
    assert_eq!(named(".."), ("__".into(), None));
}

#[test]
fn the_utf_8_path_is_preferred() {
    let file = dict([
        ("length", 16.into()),
        ("path", Owned::list([&b"caf\xe9"[..]])),
        ("path.utf-8", Owned::list(["café"])),
    ]);
    let mut entries = v1(vec![file], 1);
    entries.push(("name.utf-8", "Straße".into()));
    let info = parse(entries).unwrap();
    assert_eq!((info.name(), paths(&info)), ("Straße", vec!["café"]));
}

#[test]
fn padding_needs_no_path_and_bitcomet_has_its_own_way() {
    let pad = dict([("attr", "p".into()), ("length", 6.into())]);
    let theirs = v1_file(&[b"_____padding_file_0_if you see this file, update"], 6);
    let info = parse(v1(
        vec![v1_file(&[b"a"], 10), pad, v1_file(&[b"b"], 10), theirs],
        2,
    ))
    .unwrap();
    let pads: Vec<_> = info.files().map(|file| file.pad).collect();
    assert_eq!(pads, [false, true, false, true]);
    assert_eq!(info.layout().payload(), 20);
}

fn link(path: &[&[u8]], target: &[&str]) -> Owned {
    dict([
        ("attr", "l".into()),
        ("length", 0.into()),
        ("path", Owned::list(path.iter().copied())),
        ("symlink path", Owned::list(target.iter().copied())),
    ])
}

#[test]
fn links_stay_inside_or_become_empty_files() {
    let files = vec![
        v1_file(&[b"dir", b"file"], 16),
        link(&[b"good"], &["dir", "file"]),
        link(&[b"bad"], &["..", "outside"]),
        link(&[b"worse"], &["/etc/passwd"]),
        link(&[b"dir", b"older"], &["file"]),
        dict([
            ("attr", "lx".into()),
            ("length", 0.into()),
            ("path", Owned::list(["bare"])),
        ]),
    ];
    let info = parse(v1(files, 1)).unwrap();
    let targets: Vec<_> = info.files().map(|file| file.symlink()).collect();
    assert_eq!(
        targets,
        [None, Some("dir/file"), None, None, Some("dir/file"), None]
    );
    assert!(info.file(5).executable);
    assert_eq!(info.notices().len(), 2);
    assert_eq!(
        info.notices()[0].to_string(),
        "bad is a link that leaves the folder; an empty file takes its place"
    );
}

#[test]
fn nothing_is_written_through_a_link() {
    let files = vec![link(&[b"dir"], &["other"]), v1_file(&[b"dir", b"file"], 16)];
    let info = parse(v1(files, 1)).unwrap();
    assert_eq!(paths(&info), ["dir (2)", "dir/file"]);
}

fn with_layers(layers: Vec<([u8; 32], Vec<[u8; 32]>)>) -> (Vec<u8>, [u8; 32]) {
    let root = file_root(&[[1; 32], [2; 32], [3; 32]], K16 as u32);
    let entry = dict([
        ("length", (3 * K16 as i64).into()),
        ("pieces root", root.into()),
    ]);
    let info = v2(dict([("a", dict([("", entry)])), ("b", leaf(K16, 9))]));
    let layers = layers.into_iter().map(|(key, layer)| {
        let key = if key == [0; 32] { root } else { key };
        (key.to_vec(), layer.concat().into())
    });
    (
        dict([
            ("info", Owned::dict(info)),
            ("piece layers", Owned::dict(layers)),
        ])
        .encode(),
        root,
    )
}

#[test]
fn piece_layers_match_their_root_and_what_is_missing_is_said() {
    let good = vec![[1; 32], [2; 32], [3; 32]];
    let (bytes, root) = with_layers(vec![([0; 32], good.clone())]);
    let metainfo = Metainfo::parse(&bytes).unwrap();
    assert_eq!(metainfo.piece_layers.get(&root), Some(&good[..]));
    assert_eq!(metainfo.piece_layers.missing(&metainfo.info).count(), 0);
    assert_eq!(metainfo.to_bytes(), bytes);

    assert_eq!(metainfo.notices, []);

    for layers in [vec![], vec![([5; 32], good.clone())]] {
        let lacking = Metainfo::parse(&with_layers(layers).0).unwrap();
        assert_eq!(lacking.info, metainfo.info);
        let missing: Vec<_> = lacking.piece_layers.missing(&lacking.info).collect();
        assert_eq!(missing, [0]);
        assert_eq!(lacking.notices, [Notice::LayersMissing { files: 1 }]);
    }

    let error = |layers| Metainfo::parse(&with_layers(layers).0).unwrap_err();
    assert_eq!(
        error(vec![([0; 32], good[..2].to_vec())]),
        MetainfoError::WrongLayer(0)
    );
    assert_eq!(
        error(vec![([0; 32], vec![[2; 32], [1; 32], [3; 32]])]),
        MetainfoError::WrongLayer(0)
    );
    assert_eq!(
        error(vec![([0; 32], [&good[..], &[[0; 32]]].concat())]),
        MetainfoError::WrongLayer(0)
    );
    // The layer above has the same root.
    let above = crate::merkle::above(&good, 0);
    assert_eq!(error(vec![([0; 32], above)]), MetainfoError::WrongLayer(0));
}

#[test]
fn layers_that_arrive_later_are_taken_if_they_prove_themselves() {
    let (bytes, root) = with_layers(vec![([0; 32], vec![[1; 32], [2; 32], [3; 32]])]);
    let metainfo = Metainfo::parse(&bytes).unwrap();
    let mut layers = PieceLayers::default();
    assert_eq!(layers.missing(&metainfo.info).collect::<Vec<_>>(), [0]);
    assert!(!layers.insert(
        root,
        [[1; 32], [3; 32], [3; 32]].into(),
        K16 as u32,
        3 * K16
    ));
    assert!(layers.insert(
        root,
        [[1; 32], [2; 32], [3; 32]].into(),
        K16 as u32,
        3 * K16
    ));
    assert_eq!(layers, metainfo.piece_layers);
}

fn around(extra: Entries) -> Metainfo {
    let mut file = extra;
    file.push(("info", Owned::dict(v1(vec![v1_file(&[b"a"], 16)], 1))));
    Metainfo::parse(&Owned::dict(file).encode()).unwrap()
}

#[test]
fn trackers_come_in_tiers_and_the_single_one_counts_only_alone() {
    let tiers = Owned::List(vec![
        Owned::list([" http://a ", "http://b", "http://a"]),
        Owned::List(vec![]),
        Owned::list(["udp://c"]),
    ]);
    let metainfo = around(vec![
        ("announce", "http://z".into()),
        ("announce-list", tiers),
    ]);
    assert_eq!(
        metainfo.trackers,
        [vec!["http://a", "http://b"], vec!["udp://c"]]
    );
    let empty = around(vec![
        ("announce", "http://z".into()),
        ("announce-list", Owned::List(vec![])),
    ]);
    assert_eq!(empty.trackers, [["http://z"]]);
    let flood = Owned::List(
        (0..1000)
            .map(|i| Owned::list([format!("http://{i}")]))
            .collect(),
    );
    assert_eq!(
        around(vec![("announce-list", flood)]).trackers.len(),
        MAX_TRACKERS
    );
}

#[test]
fn what_else_a_torrent_file_says_is_read_and_written() {
    let nodes = Owned::List(vec![
        Owned::List(vec!["dht.example".into(), 6881.into()]),
        Owned::List(vec!["x".into(), 99_999.into()]),
    ]);
    let metainfo = around(vec![
        ("announce", "http://z".into()),
        ("collections", Owned::list(["a series"])),
        ("comment", "c".into()),
        ("created by", "p".into()),
        ("creation date", 12.into()),
        ("nodes", nodes),
        (
            "similar",
            Owned::list([Owned::bytes([7; 20]), Owned::bytes("short")]),
        ),
        ("url-list", Owned::list(["http://s1", "http://s2"])),
    ]);
    assert_eq!(metainfo.nodes, [("dht.example".to_owned(), 6881)]);
    assert_eq!(metainfo.web_seeds, ["http://s1", "http://s2"]);
    assert_eq!(metainfo.similar, [[7; 20]]);
    assert_eq!(metainfo.collections, ["a series"]);
    assert_eq!(
        (metainfo.comment.as_deref(), metainfo.creation_date),
        (Some("c"), Some(12))
    );
    assert_eq!(Metainfo::parse(&metainfo.to_bytes()), Ok(metainfo));
    assert_eq!(
        around(vec![("url-list", "http://one".into())]).web_seeds,
        ["http://one"]
    );
}

#[test]
fn junk_behind_a_torrent_file_is_noted_and_ignored() {
    let mut bytes = around(vec![]).to_bytes();
    bytes.extend_from_slice(b"\r\n");
    let metainfo = Metainfo::parse(&bytes).unwrap();
    assert_eq!(metainfo.notices.len(), 1);
}

#[test]
fn the_same_torrent_in_v2_is_a_single_file_if_it_lies_at_the_top() {
    let single = parse(v2(dict([("a", leaf(5, 1))]))).unwrap();
    assert!(single.is_single_file());
    assert!(
        !parse(v2(dict([("d", dict([("a", leaf(5, 1))]))])))
            .unwrap()
            .is_single_file()
    );
    assert!(
        !parse(v2(dict([("a", leaf(5, 1)), ("b", leaf(5, 1))])))
            .unwrap()
            .is_single_file()
    );
}

#[test]
fn folders_that_files_share_are_the_same_in_each_path() {
    let tree = dict([
        (
            "a",
            dict([
                ("b:", dict([("1", leaf(0, 0)), ("2", leaf(5, 1))])),
                ("c", leaf(0, 0)),
            ]),
        ),
        ("d", leaf(0, 0)),
        ("e", dict([("b", dict([("1", leaf(0, 0))]))])),
    ]);
    let info = parse(v2(tree)).unwrap();
    assert_eq!(paths(&info), ["a/b_/1", "a/b_/2", "a/c", "d", "e/b/1"]);
    let listed: Vec<_> = info.files().map(|file| file.listed_path()).collect();
    assert_eq!(listed, [Some("a/b:/1"), Some("a/b:/2"), None, None, None]);
}

#[test]
fn neither_the_dict_nor_the_file_around_it_is_copied_to_be_kept_or_written() {
    let raw: Arc<[u8]> = around(vec![]).info.raw().clone();
    let info = Info::of(raw.clone()).unwrap();
    assert!(Arc::ptr_eq(info.raw(), &raw));
    let metainfo = Metainfo::of(info);
    let [_, middle, _] = metainfo.to_parts();
    assert!(std::ptr::eq(&*middle, &*raw));
    assert_eq!(Info::of(raw[1..].into()), Info::parse(&raw[1..]));
}
