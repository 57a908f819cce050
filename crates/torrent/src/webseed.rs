//! Web seeds (BEP 19): under which URL a file is, and which bytes of which files make up blocks.
//!
//! Speaking HTTP, and choosing what to ask for, is elsewhere.

use crate::layout::Layout;
use crate::magnet::escaped;
use crate::metainfo::Info;
use crate::wire::BlockRef;

/// The URL of file `file` at the web seed `base`. Panics when there is no such file.
///
/// As libtorrent has it: the URL of a single file is taken as it is, unless it ends with a slash; then the file's name
/// is added. For a folder, its name and the file's path are added, and a slash before them if it is missing. What is
/// added is percent-encoded: it cannot leave the folder, nor add a query.
pub fn file_url(base: &str, info: &Info, file: usize) -> String {
    let mut url = base.trim().to_owned();
    let name = info.listed_name().unwrap_or_else(|| info.name());
    if info.is_single_file() {
        if url.ends_with('/') {
            url += &escape(name);
        }
        return url;
    }
    if !url.ends_with('/') {
        url.push('/');
    }
    let file = info.file(file);
    url += &escape(name);
    url.push('/');
    url += &escape(file.listed_path().unwrap_or_else(|| file.path()));
    url
}

/// Percent-encodes the parts of a path.
fn escape(path: &str) -> String {
    let parts: Vec<String> = path.split('/').map(escaped).collect();
    parts.join("/")
}

/// A run of bytes that belongs together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// The file it is of; `None`: padding (BEP 47), which is zeros and on no server.
    pub file: Option<usize>,
    /// First byte within the file; of padding, 0.
    pub offset: u64,
    /// Length in bytes, at least 1.
    pub len: u64,
}

/// What to fetch for these blocks, one behind another, and where zeros go. Neighbours in a file become one part.
pub fn parts(layout: &Layout, blocks: impl IntoIterator<Item = BlockRef>) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    for block in blocks {
        for span in layout.spans(block.piece, block.begin, block.len) {
            let part = Part {
                file: (!span.pad).then_some(span.file),
                offset: if span.pad { 0 } else { span.offset },
                len: u64::from(span.len),
            };
            match parts.last_mut() {
                Some(last) if last.file.is_none() && part.file.is_none() => last.len += part.len,
                Some(last)
                    if last.file.is_some()
                        && last.file == part.file
                        && last.offset + last.len == part.offset =>
                {
                    last.len += part.len;
                }
                _ => parts.push(part),
            }
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bencode::Owned;
    use crate::layout::{BLOCK, FileLen, Kind};
    use proptest::prelude::*;

    fn single(name: &str) -> Info {
        let raw = Owned::dict([
            ("length", 3.into()),
            ("name", name.into()),
            ("piece length", 16_384.into()),
            ("pieces", [0u8; 20].as_slice().into()),
        ]);
        Info::parse(&raw.encode()).unwrap()
    }

    fn folder(name: &str, path: &[&str]) -> Info {
        let file = Owned::dict([
            ("length", 3.into()),
            ("path", Owned::list(path.iter().copied())),
        ]);
        let raw = Owned::dict([
            ("files", Owned::List(vec![file])),
            ("name", name.into()),
            ("piece length", 16_384.into()),
            ("pieces", [0u8; 20].as_slice().into()),
        ]);
        Info::parse(&raw.encode()).unwrap()
    }

    #[test]
    fn a_single_file_is_where_the_url_says_or_under_its_name() {
        let info = single("a film.mkv");
        for (base, url) in [
            ("http://mirror.com/file.exe", "http://mirror.com/file.exe"),
            (
                "http://mirror.com/pub/",
                "http://mirror.com/pub/a%20film.mkv",
            ),
            (" http://mirror.com/%20x ", "http://mirror.com/%20x"),
        ] {
            assert_eq!(file_url(base, &info, 0), url);
        }
    }

    #[test]
    fn files_of_a_folder_are_under_its_name_with_or_without_a_slash() {
        // The example of BEP 19.
        let info = folder("michael", &["Readme.txt"]);
        for base in ["http://mirror.com/pub/", "http://mirror.com/pub"] {
            let url = file_url(base, &info, 0);
            assert_eq!(url, "http://mirror.com/pub/michael/Readme.txt");
        }
    }

    #[test]
    fn what_a_url_cannot_hold_is_encoded() {
        let info = folder("Ä #1", &["50%?", "a&b +.txt"]);
        let url = file_url("http://h/", &info, 0);
        assert_eq!(url, "http://h/%C3%84%20%231/50%25%3F/a%26b%20%2B.txt");
    }

    #[test]
    fn names_that_no_server_can_be_asked_for_are_made_safe() {
        let info = folder("..", &["..", "..", "etc", "passwd"]);
        let url = file_url("http://h/pub/", &info, 0);
        let path = url.strip_prefix("http://h/pub/").unwrap();
        assert!(path.split('/').all(|part| part != ".." && part != "."));
    }

    proptest! {
        #[test]
        fn no_name_leaves_its_folder(
            name in ".{1,20}",
            path in prop::collection::vec(r"\PC{0,8}|\.\.?|[\x00-\x20%/?#\\]{1,3}", 1..5),
        ) {
            let parts: Vec<&str> = path.iter().map(String::as_str).collect();
            let raw = Owned::dict([
                ("files", Owned::List(vec![Owned::dict([
                    ("length", 3.into()),
                    ("path", Owned::list(parts)),
                ])])),
                ("name", name.as_str().into()),
                ("piece length", 16_384.into()),
                ("pieces", [0u8; 20].as_slice().into()),
            ]);
            let Ok(info) = Info::parse(&raw.encode()) else { return Ok(()) };
            let url = file_url("http://host/pub", &info, 0);
            let added = url.strip_prefix("http://host/pub/").expect("what is given stays");
            prop_assert!(added.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~%/".contains(&b)));
            for part in added.split('/') {
                prop_assert!(!part.is_empty() && part != "." && part != "..");
            }
            let mut rest = added;
            while let Some(at) = rest.find('%') {
                let code = rest.get(at + 1..at + 3).expect("two digits follow");
                prop_assert!(u8::from_str_radix(code, 16).is_ok());
                rest = &rest[at + 3..];
            }
        }

        #[test]
        fn every_wanted_byte_is_in_one_part_and_no_pad_byte_is_of_a_file(
            files in prop::collection::vec((0u64..40_000, any::<bool>()), 1..12),
            kind in prop::sample::select(vec![Kind::V1, Kind::V2]),
            wanted in prop::collection::vec(any::<bool>(), 64),
        ) {
            let files = files.into_iter().map(|(len, pad)| FileLen {
                len,
                pad: pad && kind == Kind::V1,
            });
            let Ok(layout) = Layout::new(kind, 2 * BLOCK, files) else { return Ok(()) };
            let all = (0..layout.pieces()).flat_map(|piece| {
                let layout = &layout;
                (0..layout.blocks(piece)).map(move |b| BlockRef {
                    piece,
                    begin: b * BLOCK,
                    len: layout.block_len(piece, b),
                })
            });
            let mut wanted = wanted.into_iter().cycle();
            let blocks: Vec<BlockRef> = all.filter(|_| wanted.next() == Some(true)).collect();
            let bytes = |block: &BlockRef| {
                let start = layout.piece_start(block.piece) + u64::from(block.begin);
                start..start + u64::from(block.len)
            };
            let mut places = Vec::new();
            for part in parts(&layout, blocks.iter().copied()) {
                prop_assert!(part.len > 0);
                match part.file {
                    None => places.extend(std::iter::repeat_n(None, part.len as usize)),
                    Some(file) => {
                        let extent = layout.file(file);
                        prop_assert!(!extent.pad && part.offset + part.len <= extent.len);
                        let first = extent.start + part.offset;
                        places.extend((first..first + part.len).map(Some));
                    }
                }
            }
            let pad = |at: u64| (0..layout.files()).any(|file| {
                let extent = layout.file(file);
                extent.pad && (extent.start..extent.start + extent.len).contains(&at)
            });
            let expected: Vec<_> = blocks.iter().flat_map(bytes).map(|at| (!pad(at)).then_some(at)).collect();
            prop_assert_eq!(places, expected);
        }
    }
}
