//! File names from the network, made safe and the same on every system.
//!
//! A torrent can name a file anything: `..`, `CON`, a name with a slash in it, two names that differ
//! only in case. [`component`] turns each part of a path into one that any system takes, and
//! [`tell_apart`] finds whole paths that some system would take for one another. The outcome depends
//! on nothing but the torrent, so two machines always agree. Where files go is the store's business.

use std::borrow::Cow;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};

use sha1::{Digest, Sha1};
use unicode_normalization::UnicodeNormalization;

/// Longest name in bytes. File systems take 255; this leaves room for `.part` behind it.
pub const MAX_COMPONENT: usize = 250;

/// Most folders in a path, the file included.
pub const MAX_COMPONENTS: usize = 100;

/// Longest whole path in bytes, below what Linux takes (4096) by the room for a download folder.
pub const MAX_PATH: usize = 3500;

/// Longest extension in bytes that survives when a name is cut.
const MAX_EXTENSION: usize = 32;

/// What stands for a character that can't.
const SUBSTITUTE: char = '_';

/// Names that mean devices on Windows, whatever extension follows.
const DEVICES: [&str; 8] = [
    "con", "prn", "aux", "nul", "clock$", "conin$", "conout$", "$mft",
];

/// One part of a path, made a name that every system takes: never empty, `.` or `..`, nothing that
/// separates or ends a path, no device names, at most [`MAX_COMPONENT`] bytes. A name that is fine
/// stays as it is.
pub fn component(raw: &[u8]) -> Cow<'_, str> {
    let text = String::from_utf8_lossy(raw);
    let mut name: Cow<'_, str> = if text.contains(is_unsafe) {
        text.chars()
            .map(|c| if is_unsafe(c) { SUBSTITUTE } else { c })
            .collect::<String>()
            .into()
    } else {
        text
    };
    if is_device(&name) {
        name.to_mut().insert(0, SUBSTITUTE);
    }
    if name.len() > MAX_COMPONENT {
        name = shortened(&name, "").into();
    }
    // Windows drops dots and spaces at the end; this also takes care of `.` and `..`.
    let kept = name.trim_end_matches(['.', ' ']).len();
    if kept < name.len() {
        let cut = name.len() - kept;
        let name = name.to_mut();
        name.truncate(kept);
        name.extend(std::iter::repeat_n(SUBSTITUTE, cut));
    }
    if name.is_empty() {
        return Cow::Borrowed("_");
    }
    name
}

fn is_unsafe(c: char) -> bool {
    let separates = matches!(c, '/' | '\\' | '<' | '>' | ':' | '"' | '|' | '?' | '*');
    // Marks that turn the direction of writing make `exe.txt` out of `txt.exe`.
    let turns = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    separates
        || turns
        || c.is_control()
        || matches!(
            c,
            '\u{feff}' | '\u{2028}' | '\u{2029}' | char::REPLACEMENT_CHARACTER
        )
}

fn is_device(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or(name).trim_end_matches(' ');
    if DEVICES
        .iter()
        .any(|device| stem.eq_ignore_ascii_case(device))
    {
        return true;
    }
    let mut letters = stem.chars();
    let port: String = letters.by_ref().take(3).collect();
    let numbered =
        matches!(letters.next(), Some('0'..='9' | '¹' | '²' | '³')) && letters.next().is_none();
    numbered && (port.eq_ignore_ascii_case("com") || port.eq_ignore_ascii_case("lpt"))
}

/// `name` with `suffix` before its extension, cut to fit.
fn shortened(name: &str, suffix: &str) -> String {
    let dot = name
        .rfind('.')
        .filter(|&dot| dot > 0 && name.len() - dot <= MAX_EXTENSION);
    let (stem, extension) = name.split_at(dot.unwrap_or(name.len()));
    let room = MAX_COMPONENT - suffix.len() - extension.len();
    let end = (0..=room.min(stem.len()))
        .rev()
        .find(|&at| stem.is_char_boundary(at))
        .unwrap_or(0);
    format!("{}{suffix}{extension}", &stem[..end])
}

/// The link target made of `parts`, relative to the torrent's folder; `None` if it would leave the
/// folder or name nothing (BEP 47).
pub fn link_target<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Option<String> {
    let mut target = String::new();
    for (index, part) in parts.into_iter().enumerate() {
        let climbs =
            part == b".." || part.contains(&0) || part.contains(&b'/') || part.contains(&b'\\');
        if climbs || index >= MAX_COMPONENTS || target.len() > MAX_PATH {
            return None;
        }
        if part.is_empty() || part == b"." {
            continue;
        }
        if !target.is_empty() {
            target.push('/');
        }
        target.push_str(&component(part));
    }
    (!target.is_empty()).then_some(target)
}

/// Finds paths that some system would take for one another, and a new path for each but the first.
///
/// Paths are components joined by `/`. Two collide if they are equal after folding case and Unicode
/// normal form, or if one is a file where the other has a folder (then the file gives way). The new
/// name has a number before its extension. Answers are by index. Takes time in proportion to the
/// paths, whatever they are.
pub fn tell_apart<'a, I>(paths: I) -> BTreeMap<usize, String>
where
    I: IntoIterator<Item = &'a str> + Clone,
{
    // For each path that is taken, the number its next namesake tries first.
    let mut taken: HashMap<Place, u32> = HashMap::new();
    let mut last = Folder::default();
    for path in paths.clone() {
        let (folder, _) = split(path);
        last.go(folder, |place| {
            taken.insert(place, 2);
        });
    }
    let mut renamed = BTreeMap::new();
    let mut last = Folder::default();
    for (index, path) in paths.into_iter().enumerate() {
        let (folder, name) = split(path);
        last.go(folder, |_| {});
        let place = below(last.place, name);
        let Some(&number) = taken.get(&place) else {
            taken.insert(place, 2);
            continue;
        };
        let mut number = number;
        let other = loop {
            let other = shortened(name, &format!(" ({number})"));
            number += 1;
            if let Entry::Vacant(free) = taken.entry(below(last.place, &other)) {
                free.insert(2);
                break other;
            }
        };
        taken.insert(place, number);
        let slash = if folder.is_empty() { "" } else { "/" };
        renamed.insert(index, format!("{folder}{slash}{other}"));
    }
    renamed
}

/// The folder of a path and the name in it.
fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

/// What all paths have in common that some system takes for one another: a digest over their folded
/// parts. Two others with one digest would merely be told apart needlessly.
type Place = u128;

/// The folder last gone to; files of one folder mostly stand together.
#[derive(Default)]
struct Folder<'a> {
    path: &'a str,
    place: Place,
}

impl<'a> Folder<'a> {
    /// Goes to another folder, through those above it.
    fn go(&mut self, path: &'a str, mut through: impl FnMut(Place)) {
        if path == self.path {
            return;
        }
        self.path = path;
        self.place = 0;
        for name in path.split('/').filter(|_| !path.is_empty()) {
            self.place = below(self.place, name);
            through(self.place);
        }
    }
}

/// The place of `name` in a folder.
fn below(folder: Place, name: &str) -> Place {
    let digest = Sha1::new().chain_update(folder.to_be_bytes());
    let digest = if name.is_ascii() {
        digest.chain_update(name.to_ascii_lowercase())
    } else {
        // Upper case first: ß and ss, ſ and s, ς and σ are one to some systems.
        let upper: String = name.nfc().flat_map(char::to_uppercase).collect();
        let folded: String = upper.chars().flat_map(char::to_lowercase).nfc().collect();
        digest.chain_update(folded)
    };
    let digest = digest.finalize();
    let (head, _) = digest.split_first_chunk().expect("20 bytes hold 16");
    Place::from_be_bytes(*head)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ordinary_names_stay_as_they_are() {
        for name in [
            "a.txt",
            "Wörld – 日本語.flac",
            ".hidden",
            "a b",
            "community",
            "com10",
            "nullify.c",
            "👩‍👩‍👧.png",
        ] {
            assert!(
                matches!(component(name.as_bytes()), Cow::Borrowed(same) if same == name),
                "{name}"
            );
        }
    }

    #[test]
    fn names_that_would_leave_the_folder_do_not() {
        assert_eq!(component(b""), "_");
        assert_eq!(component(b"."), "_");
        assert_eq!(component(b".."), "__");
        assert_eq!(component(b"../../etc/passwd"), ".._.._etc_passwd");
        assert_eq!(component(b"/etc"), "_etc");
        assert_eq!(component(b"C:\\x"), "C__x");
        assert_eq!(component(b"a\0b\nc\x7f"), "a_b_c_");
    }

    #[test]
    fn names_windows_can_not_have_are_changed_everywhere() {
        assert_eq!(component(b"what?.mp3"), "what_.mp3");
        assert_eq!(component(b"a<>:\"|?*b"), "a_______b");
        assert_eq!(component(b"end. ."), "end___");
        for device in [
            "CON",
            "nul.txt",
            "Com1",
            "LPT9.tar.gz",
            "aux .h",
            "COM\u{b9}",
        ] {
            assert_eq!(component(device.as_bytes()), format!("_{device}"));
        }
    }

    #[test]
    fn bytes_that_are_no_text_and_marks_that_mislead_are_replaced() {
        assert_eq!(component(b"caf\xe9.txt"), "caf_.txt");
        assert_eq!(component("x\u{202e}txt.exe".as_bytes()), "x_txt.exe");
    }

    #[test]
    fn long_names_are_cut_and_keep_their_extension() {
        let name = format!("{}.flac", "é".repeat(200));
        let cut = component(name.as_bytes());
        assert!(cut.len() <= MAX_COMPONENT && cut.len() > MAX_COMPONENT - 2);
        assert!(cut.ends_with("é.flac"));
        assert_eq!(component(&[b'a'; 300]).len(), MAX_COMPONENT);
        let long_extension = format!("a.{}", "b".repeat(300));
        assert_eq!(component(long_extension.as_bytes()).len(), MAX_COMPONENT);
    }

    fn apart(paths: &[&str]) -> Vec<String> {
        let renamed = tell_apart(paths.iter().copied());
        let path = |(i, path): (usize, &&str)| renamed.get(&i).cloned().unwrap_or(path.to_string());
        paths.iter().enumerate().map(path).collect()
    }

    #[test]
    fn names_that_differ_only_in_case_or_normal_form_get_numbers() {
        assert_eq!(
            apart(&["a.txt", "A.TXT", "a.txt"]),
            ["a.txt", "A (2).TXT", "a (3).txt"]
        );
        assert_eq!(apart(&["é", "e\u{301}"]), ["é", "e\u{301} (2)"]);
        assert_eq!(apart(&["straße", "STRASSE"]), ["straße", "STRASSE (2)"]);
        assert_eq!(apart(&["x/a", "y/a", "X/A"]), ["x/a", "y/a", "X/A (2)"]);
        assert_eq!(apart(&["a", "a (2)", "A"]), ["a", "a (2)", "A (3)"]);
    }

    #[test]
    fn a_file_gives_way_to_a_folder_of_its_name() {
        assert_eq!(apart(&["a", "A/b", "a/b/c"]), ["a (2)", "A/b (2)", "a/b/c"]);
    }

    #[test]
    fn a_hundred_thousand_equal_names_take_no_longer_than_others() {
        let paths = vec!["same"; 100_000];
        let renamed = tell_apart(paths.iter().copied());
        assert_eq!(renamed.len(), 99_999);
        assert_eq!(renamed[&99_999], "same (100000)");
    }

    #[test]
    fn links_stay_inside() {
        let target = |parts: &[&str]| link_target(parts.iter().map(|part| part.as_bytes()));
        assert_eq!(target(&["dir", "file"]).as_deref(), Some("dir/file"));
        assert_eq!(target(&[".", "", "file"]).as_deref(), Some("file"));
        assert_eq!(target(&["..", "file"]), None);
        assert_eq!(target(&["dir", "..", "..", "x"]), None);
        assert_eq!(target(&["/etc/passwd"]), None);
        assert_eq!(target(&["..\\x"]), None);
        assert_eq!(target(&[]), None);
    }

    proptest! {
        #[test]
        fn whatever_comes_in_a_safe_name_comes_out(raw in proptest::collection::vec(any::<u8>(), 0..400)) {
            let name = component(&raw);
            prop_assert!(!name.is_empty() && name.len() <= MAX_COMPONENT);
            prop_assert!(!name.contains(is_unsafe) && !name.ends_with(['.', ' ']));
            prop_assert!(!is_device(&name));
            prop_assert_eq!(component(name.as_bytes()), &name[..]);
        }

        #[test]
        fn after_telling_apart_no_two_fold_to_the_same(paths in proptest::collection::vec("[aAbB]{1,2}(/[aA]( \\([23]\\))?){0,2}", 0..40)) {
            let renamed = tell_apart(paths.iter().map(String::as_str));
            let paths: Vec<_> = paths.iter().enumerate().map(|(i, p)| renamed.get(&i).unwrap_or(p)).collect();
            let fold = |path: &str| path.split('/').fold(0, below);
            let mut files: Vec<_> = paths.iter().map(|path| fold(path)).collect();
            files.sort();
            prop_assert!(files.windows(2).all(|pair| pair[0] != pair[1]));
            for path in &paths {
                for (at, _) in path.match_indices('/') {
                    prop_assert!(files.binary_search(&fold(&path[..at])).is_err());
                }
            }
        }
    }
}
