//! Metainfo: torrent files of all three kinds (BEP 3, 12, 19, 27, 38, 47, 52), checked as they are read.
//!
//! [`Info`] is the info dict, which may also come from peers; [`Metainfo`] adds the piece layers and
//! where to look for peers. Making them from files is [`crate::author`]'s work.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::bencode::{self, Encoder, Limits, Oddity, Owned, Value};
use crate::ids::{Sha1Hash, Sha256Hash};
use crate::layout::LayoutError;
use crate::merkle::{Layer, verify_layer};

mod files;
mod info;
#[cfg(test)]
mod tests;

use info::hints;
pub use info::{FileRef, Info};

/// Largest torrent file in bytes: a million files, or the layers of some hundred terabytes.
pub const MAX_METAINFO: usize = 128 * 1024 * 1024;

/// Most tracker URLs kept, over all tiers; each costs announces.
pub const MAX_TRACKERS: usize = 256;

/// Most web seeds and most DHT nodes kept.
pub const MAX_SOURCES: usize = 256;

/// Most notices kept; a sloppy torrent may deserve one a file.
pub const MAX_NOTICES: usize = 64;

/// Why bytes are not a torrent that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetainfoError {
    /// Not bencode, or beyond its limits.
    #[error("this is not a torrent file: {0}")]
    Bencode(#[from] bencode::Error),
    /// The value is no dict.
    #[error("this is not a torrent file: it does not hold a dictionary")]
    NotADict,
    /// There is no info dict.
    #[error("this is not a torrent file: it has no info dictionary")]
    MissingInfo,
    /// Bytes behind the info dict.
    #[error("the info dictionary is followed by something else")]
    TrailingInfo,
    /// Made for a later protocol.
    #[error("the torrent needs version {0} of the protocol, which is newer than this program")]
    NewerVersion(i64),
    /// v2 is strict about bencode (BEP 52 gives no other choice but to trust an odd order of files).
    #[error("the torrent is malformed: {} at byte {}", .0.kind, .0.at)]
    NotCanonical(Oddity),
    /// A file tree without `meta version`.
    #[error("the torrent has a version 2 file tree but does not say that it is version 2")]
    MissingVersion,
    /// No `piece length`.
    #[error("the torrent does not say how long its pieces are")]
    MissingPieceLength,
    /// No `name`.
    #[error("the torrent has no name")]
    MissingName,
    /// No `pieces` where v1 needs them.
    #[error("the torrent has no hashes for its pieces")]
    MissingPieces,
    /// Neither `files` nor `length` where v1 needs one.
    #[error("the torrent does not list its files")]
    MissingFiles,
    /// No `file tree` in v2.
    #[error("the torrent is version 2 but has no file tree")]
    MissingTree,
    /// `files` is not a list of dicts.
    #[error("the list of files is malformed")]
    BadFiles,
    /// `file tree` is not as BEP 52 has it.
    #[error("the file tree is malformed")]
    BadTree,
    /// A path that is no list of strings, or empty.
    #[error("file {0} has no proper path")]
    BadPath(usize),
    /// A path deeper than [`crate::names::MAX_COMPONENTS`].
    #[error("file {0} lies in more than 100 folders")]
    PathTooDeep(usize),
    /// A path longer than [`crate::names::MAX_PATH`].
    #[error("the path of file {0} is too long")]
    PathTooLong(usize),
    /// All paths together are longer than 128 MiB.
    #[error("the paths of the files are too long in all")]
    PathsTooLong,
    /// A length that is missing, negative or no number.
    #[error("file {0} has no proper length")]
    BadLength(usize),
    /// More than [`crate::layout::MAX_FILES`].
    #[error("the torrent has more than 1,000,000 files")]
    TooManyFiles,
    /// A pad file in a file tree, where there is no need for one.
    #[error("file {0} of the file tree is padding, which has no place there")]
    PaddingInTree(usize),
    /// A non-empty file of a v2 torrent without a root.
    #[error("file {0} has no proper root hash")]
    MissingRoot(usize),
    /// The two halves of a hybrid are different torrents.
    #[error("the version 1 and version 2 halves of the torrent disagree about file {0}")]
    HalvesDisagree(usize),
    /// Files and pieces do not form a layout.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// `pieces` is no string of whole hashes.
    #[error("the hashes of the pieces are malformed")]
    BadPieces,
    /// More or fewer hashes than pieces.
    #[error("the torrent has hashes for {hashes} pieces but {pieces} pieces")]
    PieceCount {
        /// Whole hashes present.
        hashes: u64,
        /// Pieces the files make.
        pieces: u32,
    },
    /// A torrent was made without the piece layer of a file of several pieces.
    #[error("the piece hashes of file {0} are missing")]
    MissingLayer(usize),
    /// A piece layer that does not hash to the file's root.
    #[error("the piece hashes of file {0} do not match its root hash; the torrent file is damaged")]
    WrongLayer(usize),
}

/// Something about a torrent that was let pass, or changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Bencode that is not canonical.
    Sloppy(Oddity),
    /// A symlink that points out of the torrent's folder; an empty file takes its place.
    LinkDropped {
        /// Where the link would have been.
        path: String,
    },
    /// A file that some system would take for another.
    Renamed {
        /// Its path in the torrent.
        from: String,
        /// Its path here.
        to: String,
    },
    /// Files of several pieces whose piece layer is not in the torrent file, though BEP 52 wants it there.
    LayersMissing {
        /// How many.
        files: usize,
    },
}

impl std::fmt::Display for Notice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Notice::Sloppy(oddity) => write!(
                f,
                "the torrent is not quite proper: {} at byte {}",
                oddity.kind, oddity.at
            ),
            Notice::LinkDropped { path } => write!(
                f,
                "{path} is a link that leaves the folder; an empty file takes its place"
            ),
            Notice::Renamed { from, to } => write!(
                f,
                "{from} is called {to}, so that it is not taken for another file"
            ),
            Notice::LayersMissing { files } => write!(
                f,
                "the torrent file lacks the piece hashes of {files} file{}; peers are asked for them",
                if *files == 1 { "" } else { "s" }
            ),
        }
    }
}

/// The piece layers of a torrent's files, each proven against the file's root (BEP 52).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PieceLayers(BTreeMap<Sha256Hash, Layer>);

impl PieceLayers {
    /// The layer of the file with this root.
    pub fn get(&self, root: &Sha256Hash) -> Option<&[Sha256Hash]> {
        self.0.get(root).map(|layer| &layer[..])
    }

    /// The same, to share.
    pub fn layer(&self, root: &Sha256Hash) -> Option<&Layer> {
        self.0.get(root)
    }

    /// Adds the layer of a file if it proves to be that: of the right length for the file, and below
    /// the root. Says whether it was.
    pub fn insert(
        &mut self,
        root: Sha256Hash,
        layer: Layer,
        piece_length: u32,
        file_len: u64,
    ) -> bool {
        let proven = verify_layer(&layer, &root, piece_length, file_len);
        if proven {
            self.0.insert(root, layer);
        }
        proven
    }

    /// The files of `info` that need a layer which isn't here, by index.
    pub fn missing<'a>(&'a self, info: &'a Info) -> impl Iterator<Item = usize> + 'a {
        needs_layer(info)
            .filter(|(_, _, root)| !self.0.contains_key(root))
            .map(|(index, ..)| index)
    }

    /// Number of layers.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All layers by root, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&Sha256Hash, &Layer)> {
        self.0.iter()
    }

    fn parse(layers: Option<Value<'_>>, info: &Info) -> Result<PieceLayers, MetainfoError> {
        let mut found: BTreeMap<&[u8], &[u8]> = BTreeMap::new();
        for (root, layer) in layers
            .and_then(|layers| layers.as_dict())
            .into_iter()
            .flatten()
        {
            found
                .entry(root)
                .or_insert(layer.as_bytes().unwrap_or_default());
        }
        let mut layers = PieceLayers::default();
        for (index, len, root) in needs_layer(info) {
            // BEP 52 calls a torrent without it invalid. Its info-hash is good all the same, and peers
            // or the content itself make up for it, as with a magnet link.
            let Some(bytes) = found.get(&root[..]) else {
                continue;
            };
            let (hashes, rest) = bytes.as_chunks::<32>();
            // Files alike share a root; their length is then the same, or one of them is a lie.
            let known = layers
                .get(&root)
                .is_some_and(|layer| layer.len() as u64 == pieces(info, len));
            let piece_length = info.layout().piece_length();
            let proven =
                known || rest.is_empty() && layers.insert(root, hashes.into(), piece_length, len);
            if !proven {
                return Err(MetainfoError::WrongLayer(index));
            }
        }
        Ok(layers)
    }
}

fn pieces(info: &Info, len: u64) -> u64 {
    len.div_ceil(u64::from(info.layout().piece_length()))
}

/// The files of more than one piece: index, length, root.
fn needs_layer(info: &Info) -> impl Iterator<Item = (usize, u64, Sha256Hash)> + '_ {
    let piece_length = u64::from(info.layout().piece_length());
    let roots = info.files().filter(move |file| file.len > piece_length);
    roots.filter_map(|file| Some((file.index(), file.len, file.root()?)))
}

/// A torrent file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metainfo {
    /// What the torrent is.
    pub info: Info,
    /// The hashes of its pieces in v2, as far as the file has them ([`PieceLayers::missing`]); none in v1.
    pub piece_layers: PieceLayers,
    /// Trackers by tier (BEP 12).
    pub trackers: Vec<Vec<String>>,
    /// HTTP servers that have the files (BEP 19).
    pub web_seeds: Vec<String>,
    /// Info-hashes of torrents that may share files with this one, besides [`Info::similar`] (BEP 38).
    pub similar: Vec<Sha1Hash>,
    /// Names of collections it belongs to, besides [`Info::collections`] (BEP 38).
    pub collections: Vec<String>,
    /// DHT nodes to start from: host and port (BEP 5).
    pub nodes: Vec<(String, u16)>,
    /// A remark by whoever made it.
    pub comment: Option<String>,
    /// The program that made it.
    pub created_by: Option<String>,
    /// When it was made, in seconds since 1970.
    pub creation_date: Option<i64>,
    /// What was odd about the file outside the info dict.
    pub notices: Vec<Notice>,
}

impl Metainfo {
    /// A torrent file around an info dict, with nothing else in it.
    pub fn of(info: Info) -> Metainfo {
        Metainfo {
            info,
            piece_layers: PieceLayers::default(),
            trackers: Vec::new(),
            web_seeds: Vec::new(),
            similar: Vec::new(),
            collections: Vec::new(),
            nodes: Vec::new(),
            comment: None,
            created_by: None,
            creation_date: None,
            notices: Vec::new(),
        }
    }

    /// Reads a torrent file of at most [`MAX_METAINFO`] bytes. The info-hashes are those of the info
    /// dict's exact bytes, however sloppy.
    pub fn parse(bytes: &[u8]) -> Result<Metainfo, MetainfoError> {
        let (file, oddities) = bencode::parse_noting(bytes, Limits::LENIENT.size(MAX_METAINFO))?;
        let file = Keys::of(&file, &KEYS)?;
        let info = file.get("info").ok_or(MetainfoError::MissingInfo)?;
        let inside = info.span();
        let info = Info::parse(info.raw())?;
        let text = |key: &str| {
            let bytes = file.get(key).and_then(|value| value.as_bytes());
            bytes
                .map(|bytes| String::from_utf8_lossy(bytes).trim().to_owned())
                .filter(|text| !text.is_empty())
        };
        let outside = |oddity: &Oddity| !inside.contains(&oddity.at);
        let piece_layers = PieceLayers::parse(file.get("piece layers"), &info)?;
        let mut notices: Vec<Notice> = oddities
            .into_iter()
            .filter(outside)
            .map(Notice::Sloppy)
            .collect();
        let missing = piece_layers.missing(&info).count();
        notices.extend((missing > 0).then_some(Notice::LayersMissing { files: missing }));
        Ok(Metainfo {
            piece_layers,
            info,
            trackers: trackers(file.get("announce"), file.get("announce-list")),
            web_seeds: match file.get("url-list") {
                Some(one) if one.as_bytes().is_some() => urls([one]),
                Some(list) => urls(list.as_list().into_iter().flatten()),
                None => Vec::new(),
            },
            similar: hints(file.get("similar"), |hint| hint.as_array().copied()),
            collections: hints(file.get("collections"), |hint| {
                hint.as_str().map(str::to_owned)
            }),
            nodes: nodes(file.get("nodes")),
            comment: text("comment.utf-8").or_else(|| text("comment")),
            created_by: text("created by"),
            creation_date: file.get("creation date").and_then(|date| date.as_int()),
            notices,
        })
    }

    /// The torrent file in canonical form, around the info dict as it is.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.to_parts().concat()
    }

    /// The same to be written one behind another. The info dict, which may be large, is not copied.
    pub fn to_parts(&self) -> [Cow<'_, [u8]>; 3] {
        let mut head = Encoder::new();
        head.begin_dict();
        if let Some(first) = self.trackers.iter().flatten().next() {
            entry(&mut head, "announce", first.as_str());
        }
        if self.trackers.iter().flatten().count() > 1 {
            let tiers = self.trackers.iter().filter(|tier| !tier.is_empty());
            let tiers = Owned::list(tiers.map(|tier| strings(tier)));
            entry(&mut head, "announce-list", tiers);
        }
        if !self.collections.is_empty() {
            entry(&mut head, "collections", strings(&self.collections));
        }
        if let Some(comment) = &self.comment {
            entry(&mut head, "comment", comment.as_str());
        }
        if let Some(program) = &self.created_by {
            entry(&mut head, "created by", program.as_str());
        }
        if let Some(date) = self.creation_date {
            entry(&mut head, "creation date", date);
        }
        head.bytes(b"info");

        let mut tail = Encoder::new();
        if !self.nodes.is_empty() {
            let node = |(host, port): &(String, u16)| {
                Owned::List(vec![host.as_str().into(), (*port).into()])
            };
            entry(&mut tail, "nodes", Owned::list(self.nodes.iter().map(node)));
        }
        if self.info.kind().has_v2() {
            tail.bytes(b"piece layers");
            tail.dict(|tail| {
                for (root, layer) in self.piece_layers.iter() {
                    tail.bytes(root);
                    tail.bytes(layer.as_flattened());
                }
            });
        }
        if !self.similar.is_empty() {
            let similar = self.similar.iter().map(|hash| Owned::bytes(*hash));
            entry(&mut tail, "similar", Owned::list(similar));
        }
        match &self.web_seeds[..] {
            [] => {}
            [one] => entry(&mut tail, "url-list", one.as_str()),
            several => entry(&mut tail, "url-list", strings(several)),
        }
        tail.end();
        [
            head.finish().into(),
            Cow::Borrowed(self.info.raw()),
            tail.finish().into(),
        ]
    }
}

fn entry(out: &mut Encoder, key: &str, value: impl Into<Owned>) {
    out.bytes(key.as_bytes());
    value.into().encode_into(out);
}

/// The keys of a torrent file that are looked at.
const KEYS: [&str; 12] = [
    "announce",
    "announce-list",
    "collections",
    "comment",
    "comment.utf-8",
    "created by",
    "creation date",
    "info",
    "nodes",
    "piece layers",
    "similar",
    "url-list",
];

/// The values of some keys of a dict, each the first of its name, found in one walk over what may
/// be large.
struct Keys<'a>(BTreeMap<&'a [u8], Value<'a>>);

impl<'a> Keys<'a> {
    fn of(dict: &Value<'a>, known: &[&str]) -> Result<Keys<'a>, MetainfoError> {
        let mut keys = Keys(BTreeMap::new());
        for (key, value) in dict.as_dict().ok_or(MetainfoError::NotADict)? {
            if known.iter().any(|known| known.as_bytes() == key) {
                keys.0.entry(key).or_insert(value);
            }
        }
        Ok(keys)
    }

    fn get(&self, key: &str) -> Option<Value<'a>> {
        self.0.get(key.as_bytes()).copied()
    }
}

fn strings(list: &[String]) -> Owned {
    Owned::list(list.iter().map(String::as_str))
}

/// The distinct URLs of a list, as far as they are text.
fn urls<'a>(list: impl IntoIterator<Item = Value<'a>>) -> Vec<String> {
    let mut urls: Vec<String> = Vec::new();
    for url in list {
        let url = url.as_str().unwrap_or_default().trim();
        if !url.is_empty() && urls.len() < MAX_SOURCES && !urls.iter().any(|known| known == url) {
            urls.push(url.to_owned());
        }
    }
    urls
}

/// BEP 12: where there is a usable list, `announce` is not looked at.
fn trackers(announce: Option<Value<'_>>, list: Option<Value<'_>>) -> Vec<Vec<String>> {
    let mut room = MAX_TRACKERS;
    let mut tiers = Vec::new();
    for tier in list.and_then(|list| list.as_list()).into_iter().flatten() {
        let mut tier = urls(tier.as_list().into_iter().flatten());
        tier.truncate(room);
        room -= tier.len();
        if !tier.is_empty() {
            tiers.push(tier);
        }
    }
    if tiers.is_empty() {
        let single = urls(announce);
        tiers.extend((!single.is_empty()).then_some(single));
    }
    tiers
}

fn nodes(list: Option<Value<'_>>) -> Vec<(String, u16)> {
    let node = |node: Value<'_>| {
        let node = node.as_list()?;
        let host = node.get(0)?.as_str()?;
        let port = u16::try_from(node.get(1)?.as_int()?).ok()?;
        Some((host.to_owned(), port))
    };
    let list = list.and_then(|list| list.as_list());
    list.into_iter()
        .flatten()
        .take(MAX_SOURCES)
        .filter_map(node)
        .collect()
}
