//! Folders with names that not every system allows: they are found as they are, and fetched under names that
//! every system allows.

use std::fs;

use crate::transfer::{ALONE, get, seed};
use crate::{Desk, bytes, contents};

/// Names that differ in case, mean a device, hold a colon, and are each other's replacement.
const FILES: [(&str, usize); 7] = [
    ("odd/README", 40_000),
    ("odd/readme", 30_000),
    ("odd/aux.txt", 50_000),
    ("odd/a:b.txt", 20_000),
    ("odd/a_b.txt", 20_001),
    ("odd/what?/CON/x", 70_000),
    ("odd/plain/y", 60_000),
];

fn fetched_as(name: &str) -> &str {
    match name {
        "odd/readme" => "odd/readme (2)",
        "odd/aux.txt" => "odd/_aux.txt",
        "odd/a_b.txt" => "odd/a_b (2).txt",
        "odd/a:b.txt" => "odd/a_b.txt",
        "odd/what?/CON/x" => "odd/what_/_CON/x",
        same => same,
    }
}

#[test]
fn odd_names_are_verified_and_served_as_they_are_and_fetched_as_every_system_allows() {
    for kind in ["--v1", "--v2", "--hybrid"] {
        let desk = Desk::new();
        desk.files(&FILES);
        let before = contents(&desk.path("odd"));
        desk.run(&["create", "odd", kind, "--piece-size", "16KiB"])
            .ends(0);
        desk.run(&["verify", "odd.torrent", "odd"]).ends(0);

        let (existing, magnet) = seed(&desk, &["odd.torrent", "odd"]);
        let peer = existing.peer();
        get(&desk, &[&magnet, "-o", "got", "--peer", &peer]).ends(0);
        for (name, len) in FILES {
            let got = fs::read(desk.path("got").join(fetched_as(name))).unwrap();
            assert!(got == bytes(name, len), "{kind}: {name}");
        }
        assert_eq!(contents(&desk.path("got/odd")).len(), FILES.len());
        drop(existing);

        // What was fetched serves as well, and so does what was hashed just now.
        desk.run(&["verify", "odd.torrent", "got"]).ends(0);
        let (again, _) = seed(&desk, &["odd.torrent", "got/odd"]);
        get(&desk, &[&magnet, "-o", "from-got", "--peer", &again.peer()]).ends(0);
        drop(again);
        let (new, magnet) = seed(&desk, &["odd", kind]);
        get(&desk, &[&magnet, "-o", "from-new", "--peer", &new.peer()]).ends(0);
        let got = contents(&desk.path("got/odd"));
        assert_eq!(contents(&desk.path("from-got/odd")), got);
        assert_eq!(contents(&desk.path("from-new/odd")), got);
        assert_eq!(contents(&desk.path("odd")), before, "{kind}");
    }
}

#[test]
fn what_is_wrong_is_named_as_it_is_called_on_disk() {
    let desk = Desk::new();
    desk.files(&FILES);
    desk.run(&["create", "odd"]).ends(0);
    fs::write(desk.path("odd/readme"), "other").unwrap();
    fs::remove_file(desk.path("odd/a:b.txt")).unwrap();
    let wrong = desk.run(&["verify", "odd.torrent", "odd"]).ends(5);
    assert!(wrong.out.contains("a:b.txt: missing"), "{}", wrong.out);
    assert!(wrong.out.contains("\nreadme: only 5"), "{}", wrong.out);
    assert_eq!(wrong.out.lines().count(), 2, "{}", wrong.out);
    assert!(wrong.err.contains("in another place"), "{}", wrong.err);
}

#[test]
fn odd_names_of_the_whole_are_found_beside_one() {
    for (name, files) in [
        ("al:bum", &[("al:bum/one", 100_000), ("al:bum/two", 5)][..]),
        ("fi:lm.mkv", &[("fi:lm.mkv", 100_000)][..]),
    ] {
        let desk = Desk::new();
        desk.files(files);
        desk.run(&["create", name, "-o", "odd.torrent"]).ends(0);
        desk.run(&["verify", "odd.torrent"]).ends(0);
        let (existing, magnet) = seed(&desk, &["odd.torrent"]);
        let got = get(&desk, &[&magnet, "-o", "got", "--peer", &existing.peer()]).ends(0);
        let safe = format!("got/{}", name.replace(':', "_"));
        assert_eq!(got.last(), safe);
        drop(existing);
        desk.run(&["verify", "odd.torrent", "got"]).ends(0);
        let (fetched, _) = seed(&desk, &["odd.torrent", "got"]);
        get(&desk, &[&magnet, "-o", "more", "--peer", &fetched.peer()]).ends(0);
    }
}

#[test]
fn get_says_that_it_leaves_odd_names_as_they_are() {
    let desk = Desk::new();
    desk.files(&FILES);
    desk.run(&["create", "odd"]).ends(0);
    let before = contents(&desk.path("odd"));
    let (existing, _) = seed(&desk, &["odd.torrent", "odd"]);
    let there = desk.path("there");
    fs::create_dir(&there).unwrap();
    desk.files(&[("there/odd/aux.txt", 3), ("there/odd/a:b.txt", 4)]);
    let peer = existing.peer();
    let got = get(&desk, &["odd.torrent", "-o", "there", "--peer", &peer]).ends(0);
    assert!(got.err.contains("left as it is"), "{}", got.err);
    assert_eq!(fs::read(there.join("odd/aux.txt")).unwrap().len(), 3);
    // Now it is there under good names, and nothing is to be said.
    let again = get(&desk, &["odd.torrent", "-o", "there"]).ends(0);
    assert!(!again.err.contains("left as it is"), "{}", again.err);
    assert_eq!(contents(&desk.path("odd")), before);

    // Nothing but a copy with its own names: the same.
    desk.run(&["verify", "odd.torrent", "odd"]).ends(0);
    let args = [
        &["get", "odd.torrent", "-o", ".", "--timeout", "1"][..],
        &ALONE,
    ]
    .concat();
    let alone = desk.run(&args).ends(4);
    assert!(alone.err.contains("left as it is"), "{}", alone.err);
}
