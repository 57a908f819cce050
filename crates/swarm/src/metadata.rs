//! The info dictionary, from peers to those who came with a magnet link (BEP 9).
//!
//! It comes in 16 KiB pieces from several peers at once, and is right when its hash is. A wrong
//! one with several authors is fetched again from one peer at a time, so that a liar is found.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::ConnId;

/// One piece of metadata, in bytes (BEP 9).
pub const PIECE: usize = 16 * 1024;
/// Largest info dictionary accepted, in bytes: half a million files, or 1.6 million pieces.
pub const MOST: usize = 32 << 20;
/// Pieces asked of one peer at a time.
const PER_PEER: usize = 4;
/// An unanswered piece is asked of somebody else after this.
const PATIENCE: Duration = Duration::from_secs(10);
/// A peer that has not answered is not asked again for this long, unless something comes after all.
const SILENT: Duration = Duration::from_secs(60);
/// A peer that refused is asked again after this: it may be fetching the metadata itself.
const REFUSED: Duration = Duration::from_secs(15);

/// Fetches one info dictionary.
#[derive(Debug, Default)]
pub struct Fetch {
    /// What each peer says its size is.
    offers: BTreeMap<ConnId, usize>,
    /// The size we go by now.
    size: usize,
    pieces: Vec<Option<Box<[u8]>>>,
    asked: BTreeMap<(usize, ConnId), Instant>,
    /// Asked and given up: taken if they come after all.
    overdue: BTreeSet<(usize, ConnId)>,
    refused: BTreeMap<ConnId, Instant>,
    authors: BTreeSet<ConnId>,
    /// After a failure with several authors: one author at a time.
    solo: bool,
}

/// What a piece of metadata led to.
#[derive(Debug, PartialEq, Eq)]
pub enum Progress {
    /// More is missing.
    More,
    /// It was not asked for, or has the wrong size.
    Nonsense,
    /// All is here, to be checked.
    Whole(Vec<u8>),
}

impl Fetch {
    /// A peer has metadata of this size. Sizes beyond [`MOST`] are no offer.
    pub fn offer(&mut self, conn: ConnId, size: usize) {
        if size == 0 || size > MOST {
            return;
        }
        self.offers.insert(conn, size);
        if self.size == 0 {
            self.restart(size);
        }
    }

    fn restart(&mut self, size: usize) {
        self.size = size;
        self.pieces = vec![None; size.div_ceil(PIECE)];
        self.asked.clear();
        self.overdue.clear();
        self.authors.clear();
    }

    /// Gives up what has not come in time.
    fn expire(&mut self, now: Instant) {
        let late = |at: Instant| now.saturating_duration_since(at) >= PATIENCE;
        let expired: Vec<(usize, ConnId)> = self
            .asked
            .iter()
            .filter(|&(_, &at)| late(at))
            .map(|(&key, _)| key)
            .collect();
        for (piece, conn) in expired {
            self.refused.insert(conn, now + SILENT);
            if self.solo && self.authors.contains(&conn) {
                return self.restart(self.size);
            }
            self.asked.remove(&(piece, conn));
            self.overdue.insert((piece, conn));
        }
    }

    /// Pieces to ask of this peer now.
    pub fn next(&mut self, now: Instant, conn: ConnId) -> Vec<usize> {
        self.expire(now);
        let willing = self.offers.get(&conn) == Some(&self.size)
            && self.refused.get(&conn).is_none_or(|&until| until <= now);
        if !willing || self.solo && self.authors.iter().any(|&a| a != conn) {
            return Vec::new();
        }
        let mut next = Vec::new();
        let mut mine = self.asked.keys().filter(|(_, c)| *c == conn).count();
        for piece in 0..self.pieces.len() {
            if mine >= PER_PEER {
                break;
            }
            let under_way = self
                .asked
                .range((piece, ConnId(0))..=(piece, ConnId(u64::MAX)))
                .next();
            if self.pieces[piece].is_none() && under_way.is_none() {
                self.asked.insert((piece, conn), now);
                if self.solo {
                    self.authors.insert(conn);
                }
                next.push(piece);
                mine += 1;
            }
        }
        next
    }

    /// A piece has come.
    pub fn data(&mut self, conn: ConnId, piece: usize, total: usize, payload: &[u8]) -> Progress {
        let late = self.overdue.remove(&(piece, conn));
        let asked = self.asked.remove(&(piece, conn)).is_some() || late;
        let len = self
            .size
            .saturating_sub(piece.saturating_mul(PIECE))
            .min(PIECE);
        if !asked || total != self.size || payload.len() != len || self.pieces[piece].is_some() {
            return Progress::Nonsense;
        }
        self.pieces[piece] = Some(payload.into());
        self.refused.remove(&conn);
        self.authors.insert(conn);
        if self.pieces.iter().any(Option::is_none) {
            return Progress::More;
        }
        Progress::Whole(
            self.pieces
                .iter()
                .flatten()
                .flat_map(|p| p.iter().copied())
                .collect(),
        )
    }

    /// What came whole was wrong. Returns the liar, if there is only one author; otherwise it is
    /// fetched anew, one author at a time.
    pub fn wrong(&mut self) -> Option<ConnId> {
        let liar = match self.authors.first() {
            Some(&only) if self.authors.len() == 1 => Some(only),
            _ => None,
        };
        self.solo = true;
        if let Some(liar) = liar {
            self.offers.remove(&liar);
        }
        // Another size may be the right one.
        let sizes: Vec<usize> = self.offers.values().copied().collect();
        let next = sizes
            .iter()
            .copied()
            .find(|&s| s != self.size)
            .or(sizes.first().copied());
        self.restart(next.unwrap_or(0));
        liar
    }

    /// The peer will not send this piece now.
    pub fn refused(&mut self, now: Instant, conn: ConnId, piece: usize) {
        if self.asked.remove(&(piece, conn)).is_some() {
            self.refused.insert(conn, now + REFUSED);
            self.authors.remove(&conn);
        }
    }

    /// The peer left.
    pub fn gone(&mut self, conn: ConnId) {
        self.offers.remove(&conn);
        self.refused.remove(&conn);
        self.asked.retain(|(_, c), _| *c != conn);
        self.overdue.retain(|(_, c)| *c != conn);
        if self.solo && self.authors.contains(&conn) {
            self.restart(self.size);
        }
        if !self.offers.values().any(|&s| s == self.size) {
            let size = self.offers.values().next().copied().unwrap_or(0);
            if size != self.size {
                self.restart(size);
            }
        }
    }
}

/// The piece of our info dictionary a peer asks for; `None`: there is no such piece.
pub fn serve(info: &[u8], piece: usize) -> Option<&[u8]> {
    let start = piece.checked_mul(PIECE).filter(|&s| s < info.len())?;
    Some(&info[start..info.len().min(start + PIECE)])
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: ConnId = ConnId(1);
    const BOB: ConnId = ConnId(2);
    const EVE: ConnId = ConnId(66);

    fn dict(len: usize) -> Vec<u8> {
        (0..len).map(|i| (i / 7) as u8).collect()
    }

    #[test]
    fn two_peers_share_the_work() {
        let (info, now) = (dict(5 * PIECE + 100), Instant::now());
        let mut f = Fetch::default();
        f.offer(ALICE, info.len());
        f.offer(BOB, info.len());
        let a = f.next(now, ALICE);
        let b = f.next(now, BOB);
        assert_eq!(
            (a.as_slice(), b.as_slice()),
            (&[0, 1, 2, 3][..], &[4, 5][..])
        );
        let mut last = Progress::More;
        for (conn, piece) in a
            .iter()
            .map(|&p| (ALICE, p))
            .chain(b.iter().map(|&p| (BOB, p)))
        {
            assert_eq!(last, Progress::More);
            last = f.data(conn, piece, info.len(), serve(&info, piece).unwrap());
        }
        assert_eq!(last, Progress::Whole(info));
    }

    #[test]
    fn a_liar_among_several_is_found_by_asking_one_at_a_time() {
        let (info, lie) = (dict(2 * PIECE), vec![66; 2 * PIECE]);
        let mut now = Instant::now();
        let mut f = Fetch::default();
        let mut banned = None;
        for conn in [ALICE, EVE] {
            f.offer(conn, info.len());
        }
        assert_eq!(f.next(now, EVE), [0, 1]);
        f.refused(now, EVE, 1);
        assert_eq!(f.next(now, ALICE), [1]);
        assert_eq!(f.data(EVE, 0, info.len(), &lie[..PIECE]), Progress::More);
        let Progress::Whole(got) = f.data(ALICE, 1, info.len(), &info[PIECE..]) else {
            panic!()
        };
        assert_ne!(got, info);
        assert_eq!(f.wrong(), None);
        for _ in 0..4 {
            now += Duration::from_secs(20);
            for (conn, truth) in [(EVE, &lie), (ALICE, &info)] {
                for piece in f.next(now, conn) {
                    match f.data(conn, piece, info.len(), serve(truth, piece).unwrap()) {
                        Progress::Whole(got) if got == info => {
                            assert_eq!(banned, Some(EVE));
                            return;
                        }
                        Progress::Whole(_) => banned = f.wrong(),
                        _ => {}
                    }
                }
            }
        }
        panic!("the right metadata never came");
    }

    #[test]
    fn absurd_sizes_and_unasked_pieces_cost_nothing() {
        let mut f = Fetch::default();
        f.offer(EVE, usize::MAX);
        f.offer(EVE, MOST + 1);
        assert!(f.next(Instant::now(), EVE).is_empty());
        assert_eq!(f.data(EVE, 0, 10, &[0; 10]), Progress::Nonsense);
        assert_eq!(f.data(EVE, usize::MAX, 10, &[0; 10]), Progress::Nonsense);
        f.offer(ALICE, 100);
        assert_eq!(f.next(Instant::now(), ALICE), [0]);
        assert_eq!(f.data(ALICE, 0, 99, &[0; 100]), Progress::Nonsense);
    }

    #[test]
    fn a_silent_peer_is_passed_over() {
        let now = Instant::now();
        let mut f = Fetch::default();
        f.offer(EVE, 100);
        f.offer(ALICE, 100);
        assert_eq!(f.next(now, EVE), [0]);
        assert!(f.next(now, ALICE).is_empty());
        assert!(f.next(now + PATIENCE, EVE).is_empty(), "she had her chance");
        assert_eq!(f.next(now + PATIENCE, ALICE), [0]);
        assert_eq!(
            f.data(EVE, 0, 100, &[7; 100]),
            Progress::Whole(vec![7; 100]),
            "late"
        );
    }
}
