//! What each v2 piece must hash to, and the exchange of those hashes between peers (BEP 52).
//!
//! A torrent file brings the piece layers along; with a magnet link they are asked of peers, proven
//! against the roots in the info dictionary. Leaves (one hash a block) are not kept: a peer that
//! asks for them gets them from a piece read back from disk.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use torrent::ids::Sha256Hash;
use torrent::merkle::{self, Layer, Leaves, PartialLayer, Tree};
use torrent::metainfo::{Info, PieceLayers};
use torrent::wire::{HashRange, Message};

use crate::{Bitfield, ConnId};

/// Hash requests under way with one peer: 2 × 512 pieces' hashes cover what it can send meanwhile.
const PER_PEER: usize = 2;
/// An unanswered hash request is asked of somebody else after this.
const PATIENCE: Duration = Duration::from_secs(8);
/// A peer that has not answered is not asked for the same again for this long; if its answer comes
/// after all, it is taken.
const OVERDUE: Duration = Duration::from_secs(60);
/// A peer that rejected is asked for the same again after this: it may have it by then.
const REJECTED: Duration = Duration::from_secs(10);
/// Trees kept ready to answer hash requests: their upper rows cost as much as the layer.
const TREES: usize = 4;
/// Requests for leaves waiting for pieces to be read, all peers together.
const MOST_WAITING: usize = 32;

/// What is known of a piece's v2 hash.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expected {
    /// It must be this.
    Hash(Sha256Hash),
    /// There is one, but we do not know it yet.
    Unknown,
    /// The torrent has no v2 half.
    None,
}

#[derive(Debug)]
enum State {
    /// One piece: the root is its hash.
    Single,
    Whole(Layer),
    Partial(Box<Partial>),
}

#[derive(Debug)]
struct Partial {
    /// What peers have sent.
    layer: PartialLayer,
    /// Roots of pieces we verified by SHA-1 (hybrid): when all are there, they are the layer.
    own: BTreeMap<u32, Sha256Hash>,
}

#[derive(Debug)]
struct File {
    root: Sha256Hash,
    len: u64,
    first: u32,
    state: State,
}

impl File {
    fn pieces(&self, piece_length: u32) -> u32 {
        self.len.div_ceil(u64::from(piece_length)) as u32
    }
}

/// A peer's request for leaves, waiting for pieces to be read.
#[derive(Debug)]
struct Waiting {
    conn: ConnId,
    range: HashRange,
    file: u32,
    need: std::ops::Range<u32>,
    leaves: BTreeMap<u32, Vec<Sha256Hash>>,
}

/// The v2 hashes of one torrent.
#[derive(Debug, Default)]
pub struct Hashes {
    piece_length: u32,
    /// Files that are not empty, in the order of their first pieces. There may be 100,000.
    files: Vec<File>,
    /// Places in `files`, in the order of the roots: files of the same content have the same.
    by_root: Vec<u32>,
    /// The files among them whose layer is not whole: all that hashes are asked for.
    incomplete: BTreeSet<u32>,
    asked: BTreeMap<(Sha256Hash, u32), (ConnId, Instant)>,
    rejected: BTreeMap<(ConnId, Sha256Hash, u32), Instant>,
    /// Requests given up, until when: at most what all peers were asked within [`OVERDUE`].
    overdue: BTreeMap<(ConnId, Sha256Hash, u32), Instant>,
    trees: Vec<(Sha256Hash, Tree)>,
    waiting: Vec<Waiting>,
}

/// The answer to a peer's hash request.
#[derive(Debug, PartialEq, Eq)]
pub enum Served {
    /// Send this.
    Now(Message),
    /// Read back these pieces; the answer follows.
    Read(Vec<u32>),
}

impl Hashes {
    /// The hashes of a torrent, as far as its metainfo brought them.
    pub fn new(info: &Arc<Info>, layers: PieceLayers) -> Hashes {
        let layout = info.layout();
        let mut hashes = Hashes {
            piece_length: layout.piece_length(),
            ..Hashes::default()
        };
        if !layout.kind().has_v2() {
            return hashes;
        }
        for i in 0..layout.files() {
            let Some(root) = info.file(i).root() else {
                continue;
            };
            let (len, first) = (layout.file(i).len, layout.file_pieces(i).start);
            let state = match PartialLayer::new(root, layout.piece_length(), len) {
                None => State::Single,
                Some(partial) => match layers.layer(&root) {
                    Some(layer) => State::Whole(layer.clone()),
                    None => State::Partial(Box::new(Partial {
                        layer: partial,
                        own: BTreeMap::new(),
                    })),
                },
            };
            if matches!(state, State::Partial(_)) {
                hashes.incomplete.insert(hashes.files.len() as u32);
            }
            hashes.files.push(File {
                root,
                len,
                first,
                state,
            });
        }
        let files = &hashes.files;
        hashes.by_root = (0..files.len() as u32).collect();
        hashes
            .by_root
            .sort_unstable_by_key(|&at| (files[at as usize].root, at));
        hashes
    }

    /// The file that a piece belongs to.
    fn place_of(&self, piece: u32) -> Option<usize> {
        self.files
            .partition_point(|file| file.first <= piece)
            .checked_sub(1)
    }

    fn file_of(&self, piece: u32) -> Option<&File> {
        self.place_of(piece).map(|at| &self.files[at])
    }

    /// The files with this root.
    fn with_root(&self, root: &Sha256Hash) -> std::ops::Range<usize> {
        let of = |&at: &u32| &self.files[at as usize].root;
        let start = self.by_root.partition_point(|at| of(at) < root);
        let end = self.by_root.partition_point(|at| of(at) <= root);
        start..end
    }

    /// One of the files with this root.
    fn by_root(&self, root: &Sha256Hash) -> Option<&File> {
        let one = self.with_root(root).next()?;
        self.files.get(self.by_root[one] as usize)
    }

    /// What a piece must hash to.
    pub fn expected(&self, piece: u32) -> Expected {
        let Some(file) = self.file_of(piece) else {
            return Expected::None;
        };
        let within = piece - file.first;
        let hash = match &file.state {
            State::Single => (within == 0).then_some(&file.root),
            State::Whole(layer) => layer.get(within as usize),
            State::Partial(partial) => partial.layer.get(within),
        };
        hash.map_or(Expected::Unknown, |h| Expected::Hash(*h))
    }

    /// The pieces whose hash is still unknown.
    pub fn unknown(&self, pieces: u32) -> Bitfield {
        let mut unknown = Bitfield::new(pieces);
        for &at in &self.incomplete {
            let file = &self.files[at as usize];
            for piece in file.first..file.first + file.pieces(self.piece_length) {
                if self.expected(piece) == Expected::Unknown {
                    unknown.set(piece);
                }
            }
        }
        unknown
    }

    /// All piece layers with their files' lengths, if every one is known: what a torrent file needs.
    pub fn layers(&self) -> Option<Vec<(Sha256Hash, Layer, u64)>> {
        let mut layers = Vec::new();
        for file in &self.files {
            match &file.state {
                State::Single => {}
                State::Whole(layer) => layers.push((file.root, layer.clone(), file.len)),
                State::Partial(_) => return None,
            }
        }
        Some(layers)
    }

    /// Requests to send to this peer now, for pieces it has.
    pub fn next_requests(
        &mut self,
        now: Instant,
        conn: ConnId,
        has: impl Fn(u32) -> bool,
    ) -> Vec<HashRange> {
        let overdue = &mut self.overdue;
        self.asked.retain(|&(root, index), &mut (conn, at)| {
            let waiting = now.saturating_duration_since(at) < PATIENCE;
            if !waiting {
                overdue.insert((conn, root, index), now + OVERDUE);
            }
            waiting
        });
        self.overdue.retain(|_, until| *until > now);
        self.rejected.retain(|_, until| *until > now);
        let mut room = PER_PEER.saturating_sub(self.asked.values().filter(|a| a.0 == conn).count());
        let mut requests = Vec::new();
        // Asked after every `have`: with 100,000 small files, all of them would be too many.
        for &at in &self.incomplete {
            let file = &self.files[at as usize];
            let State::Partial(partial) = &file.state else {
                continue;
            };
            for range in partial.layer.missing() {
                if room == 0 {
                    return requests;
                }
                let key = (file.root, range.index);
                let useful = (range.index..range.index + range.length).any(|p| has(file.first + p));
                let one = (conn, key.0, key.1);
                let barred = self.rejected.contains_key(&one) || self.overdue.contains_key(&one);
                if useful && !barred && !self.asked.contains_key(&key) {
                    self.asked.insert(key, (conn, now));
                    requests.push(to_wire(file.root, &range));
                    room -= 1;
                }
            }
        }
        requests
    }

    /// Hashes have come. Returns the pieces whose hash is known now; `None` if they are wrong, or
    /// were not asked of this peer.
    pub fn received(
        &mut self,
        conn: ConnId,
        range: &HashRange,
        hashes: &[Sha256Hash],
    ) -> Option<Vec<u32>> {
        let key = (range.root, range.index);
        let late = self.overdue.remove(&(conn, key.0, key.1)).is_some();
        if !late && self.asked.get(&key).is_none_or(|(c, _)| *c != conn) {
            // Asked of nobody, or of somebody else: no harm, no use.
            return (!self.with_root(&range.root).is_empty()).then(Vec::new);
        }
        self.asked.remove(&key);
        let alike = self.with_root(&range.root);
        if alike.is_empty() {
            return None;
        }
        let mut known = Vec::new();
        for place in alike {
            let at = self.by_root[place];
            let file = &mut self.files[at as usize];
            let State::Partial(partial) = &mut file.state else {
                continue;
            };
            if !partial.layer.accept(&from_wire(range), hashes) {
                return None;
            }
            let whole = partial.layer.layer();
            let end = (range.index + range.length).min(file.pieces(self.piece_length));
            known.extend((range.index..end).map(|piece| file.first + piece));
            if let Some(layer) = whole {
                file.state = State::Whole(layer);
                self.incomplete.remove(&at);
            }
        }
        Some(known)
    }

    /// A peer refused a hash request.
    pub fn rejected(&mut self, now: Instant, conn: ConnId, range: &HashRange) {
        let key = (range.root, range.index);
        if self.asked.get(&key).is_some_and(|(c, _)| *c == conn) {
            self.asked.remove(&key);
            self.rejected.insert((conn, key.0, key.1), now + REJECTED);
        }
    }

    /// The peer left.
    pub fn gone(&mut self, conn: ConnId) {
        self.asked.retain(|_, (c, _)| *c != conn);
        self.rejected.retain(|(c, ..), _| *c != conn);
        self.overdue.retain(|(c, ..), _| *c != conn);
        self.waiting.retain(|w| w.conn != conn);
    }

    /// A piece was verified by its SHA-1 and has this root: together they may make the layer that
    /// nobody sent.
    pub fn learned(&mut self, piece: u32, root: Sha256Hash) {
        let Some(at) = self.place_of(piece) else {
            return;
        };
        let file = &mut self.files[at];
        let count = file.pieces(self.piece_length);
        let State::Partial(partial) = &mut file.state else {
            return;
        };
        partial.own.insert(piece - file.first, root);
        if partial.own.len() as u64 == u64::from(count) {
            let layer: Layer = std::mem::take(&mut partial.own).into_values().collect();
            if merkle::verify_layer(&layer, &file.root, self.piece_length, file.len) {
                file.state = State::Whole(layer);
                self.incomplete.remove(&(at as u32));
            }
        }
    }

    /// Answers a peer's request. `have` says which pieces can be read back.
    pub fn serve(&mut self, conn: ConnId, wire: &HashRange, have: &Bitfield) -> Served {
        let reject = Served::Now(Message::HashReject(*wire));
        let Some(first) = self.by_root(&wire.root).map(|file| file.first) else {
            return reject;
        };
        let Some(tree) = self.tree(wire.root) else {
            return reject;
        };
        let range = from_wire(wire);
        let need = tree.pieces_needed(&range);
        if need.is_empty() {
            return match tree.serve(&range, None) {
                Some(hashes) => Served::Now(Message::Hashes {
                    range: *wire,
                    hashes,
                }),
                None => reject,
            };
        }
        let readable = need.clone().all(|p| have.get(first + p));
        if !readable || !range.is_valid(tree.height()) || self.waiting.len() >= MOST_WAITING {
            return reject;
        }
        let pieces = need.clone().map(|p| first + p).collect();
        let leaves = BTreeMap::new();
        self.waiting.push(Waiting {
            conn,
            range: *wire,
            file: first,
            need,
            leaves,
        });
        Served::Read(pieces)
    }

    /// A piece was read back: the answers that are complete now.
    pub fn leaves(&mut self, piece: u32, leaves: Option<&[Sha256Hash]>) -> Vec<(ConnId, Message)> {
        let mut answers = Vec::new();
        for mut waiting in std::mem::take(&mut self.waiting) {
            if !waiting.need.contains(&piece.wrapping_sub(waiting.file)) {
                self.waiting.push(waiting);
                continue;
            }
            let Some(leaves) = leaves else {
                answers.push((waiting.conn, Message::HashReject(waiting.range)));
                continue;
            };
            waiting.leaves.insert(piece - waiting.file, leaves.to_vec());
            if waiting.leaves.len() < waiting.need.len() {
                self.waiting.push(waiting);
                continue;
            }
            let hashes: Vec<Sha256Hash> = waiting.leaves.into_values().flatten().collect();
            let per_piece = u64::from(self.piece_length / torrent::layout::BLOCK);
            let leaves = Leaves {
                first: u64::from(waiting.need.start) * per_piece,
                hashes: &hashes,
            };
            let answer = self
                .tree(waiting.range.root)
                .and_then(|tree| tree.serve(&from_wire(&waiting.range), Some(leaves)));
            let message = match answer {
                Some(hashes) => Message::Hashes {
                    range: waiting.range,
                    hashes,
                },
                None => Message::HashReject(waiting.range),
            };
            answers.push((waiting.conn, message));
        }
        answers
    }

    fn tree(&mut self, root: Sha256Hash) -> Option<&Tree> {
        if let Some(at) = self.trees.iter().position(|(r, _)| *r == root) {
            self.trees[..=at].rotate_right(1);
        } else {
            let file = self.by_root(&root)?;
            let layer = match &file.state {
                State::Single => Layer::default(),
                State::Whole(layer) => layer.clone(),
                State::Partial(_) => return None,
            };
            let tree = Tree::new(root, layer, self.piece_length, file.len)?;
            self.trees.insert(0, (root, tree));
            self.trees.truncate(TREES);
        }
        self.trees.first().map(|(_, tree)| tree)
    }
}

fn to_wire(root: Sha256Hash, range: &merkle::HashRange) -> HashRange {
    HashRange {
        root,
        base: range.base_layer,
        index: range.index,
        length: range.length,
        proofs: range.proof_layers,
    }
}

fn from_wire(range: &HashRange) -> merkle::HashRange {
    merkle::HashRange {
        base_layer: range.base,
        index: range.index,
        length: range.length,
        proof_layers: range.proofs,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use torrent::bencode::Owned;
    use torrent::metainfo::Metainfo;

    const ALICE: ConnId = ConnId(2);
    const EVE: ConnId = ConnId(1);

    fn torrent() -> Metainfo {
        let bytes = include_bytes!("../../torrent/testdata/golden/folder-v2-64.torrent");
        Metainfo::parse(bytes).unwrap()
    }

    #[test]
    fn hashes_that_do_not_come_are_asked_of_somebody_else_and_taken_late() {
        let meta = torrent();
        let info = Arc::new(meta.info);
        let mut seed = Hashes::new(&info, meta.piece_layers);
        let mut hashes = Hashes::new(&info, PieceLayers::default());
        let mut now = Instant::now();
        let asked = hashes.next_requests(now, EVE, |_| true);
        assert!(!asked.is_empty() && asked.len() <= PER_PEER);
        now += PATIENCE;
        assert!(
            hashes
                .next_requests(now, EVE, |_| true)
                .iter()
                .all(|r| !asked.contains(r)),
            "eve is first in line again and has had her chance"
        );
        let again = hashes.next_requests(now, ALICE, |_| true);
        assert!(again.contains(&asked[0]));

        let have = Bitfield::full(info.layout().pieces());
        let Served::Now(Message::Hashes {
            range,
            hashes: right,
        }) = seed.serve(EVE, &asked[0], &have)
        else {
            panic!("a seed knows its hashes")
        };
        let opened = hashes.received(EVE, &range, &right).unwrap();
        assert!(!opened.is_empty(), "late is better than never");
        assert_eq!(hashes.received(ALICE, &range, &right), Some(Vec::new()));
    }

    /// Two files of the same three pieces.
    fn twins() -> (Arc<Info>, PieceLayers) {
        let layer: Layer = [[1; 32], [2; 32], [3; 32]].into_iter().collect();
        let (length, piece) = (3 * 16384, 16384);
        let root = merkle::file_root(&layer, piece);
        let file = || {
            let facts = [
                ("length", Owned::Int(length)),
                ("pieces root", Owned::bytes(root)),
            ];
            Owned::dict([("", Owned::dict(facts))])
        };
        let info = Owned::dict([
            ("file tree", Owned::dict([("a", file()), ("b", file())])),
            ("meta version", Owned::Int(2)),
            ("name", Owned::bytes("twins")),
            ("piece length", Owned::Int(i64::from(piece))),
        ]);
        let mut layers = PieceLayers::default();
        layers.insert(root, layer, piece, length as u64);
        (Arc::new(Info::parse(&info.encode()).unwrap()), layers)
    }

    #[test]
    fn hashes_are_for_all_files_of_the_same_content() {
        let (info, layers) = twins();
        let mut seed = Hashes::new(&info, layers);
        let mut hashes = Hashes::new(&info, PieceLayers::default());
        let now = Instant::now();
        let asked = hashes.next_requests(now, ALICE, |_| true);
        assert_eq!(asked.len(), 1);
        let Served::Now(Message::Hashes {
            range,
            hashes: right,
        }) = seed.serve(ALICE, &asked[0], &Bitfield::full(6))
        else {
            panic!("a seed knows its hashes")
        };
        let opened = hashes.received(ALICE, &range, &right).unwrap();
        assert_eq!(opened, [0, 1, 2, 3, 4, 5]);
        assert_eq!(hashes.expected(4), Expected::Hash([2; 32]));
        assert_eq!(hashes.next_requests(now, ALICE, |_| true), []);
    }
}
