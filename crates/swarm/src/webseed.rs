//! One web seed: when to ask it, for how much at a time, and when to leave it alone.
//!
//! A server has everything and serves everybody, but each request costs it something: long runs of blocks are asked for,
//! as much as it delivers in a few seconds. Which blocks is the [`picker`](crate::picker)'s question.

use std::time::{Duration, Instant};

use torrent::layout::BLOCK;

use crate::rate::Meter;
use crate::{Bitfield, Class, FetchError, WebSeedId, WebSeedState, WebSeedStatus};

/// Fetches from one server at once: enough to keep it busy between answers, few enough to be polite.
pub const MOST_FETCHES: usize = 4;
/// Blocks in a fetch at least, unless there are fewer: 1 MiB...
const LEAST_RUN: usize = 64;
/// ...and at most: 16 MiB, after which a server may find out that others want something, too.
const MOST_RUN: usize = 1024;
/// A fetch is to take so long.
const RUN: Duration = Duration::from_secs(4);
/// A server that failed is left alone for so long, twice as long each further time...
const RETRY: Duration = Duration::from_secs(5);
/// ...but never longer than this, unless it asks for it...
const MOST_RETRY: Duration = Duration::from_secs(30 * 60);
/// ...and then at most this.
const MOST_ASKED: Duration = Duration::from_secs(24 * 3600);

/// Files missing one after another before a server is taken to have none.
const MOST_MISSING: u32 = 16;

/// A server that has the content of a torrent.
#[derive(Debug)]
pub struct WebSeed {
    id: WebSeedId,
    /// Which limits bind it.
    pub class: Class,
    /// Payload from it.
    pub down: Meter,
    /// It has given something.
    proved: bool,
    /// Failures since the last fetch that came whole.
    failures: u32,
    /// Files found missing since something came.
    missing: u32,
    /// Left alone until then, for this reason.
    rests: Option<(Instant, String)>,
    /// Asked no more, for this reason.
    dropped: Option<String>,
    /// Pieces that it does not have all files of.
    lacks: Option<Bitfield>,
}

impl WebSeed {
    /// A server nothing is known of.
    pub fn new(now: Instant, id: WebSeedId, class: Class) -> WebSeed {
        WebSeed {
            id,
            class,
            down: Meter::new(now),
            proved: false,
            failures: 0,
            missing: 0,
            rests: None,
            dropped: None,
            lacks: None,
        }
    }

    /// Whether it is asked no more.
    pub fn is_dropped(&self) -> bool {
        self.dropped.is_some()
    }

    /// Whether it may be asked for something now.
    pub fn is_ready(&self, now: Instant) -> bool {
        self.ready_at()
            .is_some_and(|at| at.is_none_or(|at| now >= at))
    }

    /// When it may be asked for something: `Some(None)`: at any time; `None`: never.
    pub fn ready_at(&self) -> Option<Option<Instant>> {
        (!self.is_dropped()).then(|| self.rests.as_ref().map(|rest| rest.0))
    }

    /// Whether it has this piece, as far as is known.
    pub fn has(&self, piece: u32) -> bool {
        self.lacks.as_ref().is_none_or(|lacks| !lacks.get(piece))
    }

    /// Whether one more fetch helps, besides so many. A server nobody knows is asked once.
    pub fn has_room(&self, fetches: usize) -> bool {
        fetches < if self.proved { MOST_FETCHES } else { 1 }
    }

    /// How many blocks to ask for at a time.
    pub fn run(&self, now: Instant) -> usize {
        let rate = self.down.rate(now) / MOST_FETCHES as u64;
        let blocks = rate * RUN.as_secs() / u64::from(BLOCK);
        usize::try_from(blocks).map_or(MOST_RUN, |blocks| blocks.clamp(LEAST_RUN, MOST_RUN))
    }

    /// Payload came.
    pub fn arrived(&mut self, now: Instant, bytes: u64) {
        self.proved = true;
        self.missing = 0;
        self.down.add(now, bytes);
    }

    /// A fetch came whole.
    pub fn succeeded(&mut self) {
        self.failures = 0;
        self.rests = None;
    }

    /// A fetch failed. `lost` are the pieces of a file that is not there, of so many in all. Returns why it is asked no
    /// more, if that is so.
    pub fn failed(
        &mut self,
        now: Instant,
        error: FetchError,
        lost: std::ops::Range<u32>,
        pieces: u32,
    ) -> Option<String> {
        match error {
            // Fetches that fail together are one failure.
            FetchError::Later(_, None) if !self.is_ready(now) => {}
            FetchError::Later(why, after) => {
                let wait = RETRY * 2u32.saturating_pow(self.failures.min(16));
                let asked = after.unwrap_or_default().min(MOST_ASKED);
                self.rests = Some((now + wait.min(MOST_RETRY).max(asked), why));
                self.failures = self.failures.saturating_add(1);
                self.proved = false;
            }
            FetchError::Missing(_, why) => {
                let lacks = self.lacks.get_or_insert_with(|| Bitfield::new(pieces));
                for piece in lost {
                    lacks.set(piece);
                }
                self.missing += 1;
                if lacks.is_full() || self.missing >= MOST_MISSING {
                    self.dropped = Some(why);
                }
            }
            FetchError::Useless(why) => self.dropped = Some(why),
        }
        self.dropped.clone()
    }

    /// It is asked no more.
    pub fn drop_for(&mut self, why: String) {
        self.dropped = Some(why);
    }

    /// The web seed at a glance, with so many blocks asked of it.
    pub fn status(&self, now: Instant, asked: usize) -> WebSeedStatus {
        let state = match (&self.dropped, &self.rests) {
            (Some(why), _) => WebSeedState::Dropped(why.clone()),
            (None, Some((until, why))) if *until > now => {
                WebSeedState::Waiting(*until - now, why.clone())
            }
            _ if asked > 0 => WebSeedState::Fetching(asked),
            _ => WebSeedState::Idle,
        };
        WebSeedStatus {
            id: self.id,
            state,
            received: self.down.total(),
            rate: self.down.rate(now),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn later(after: Option<u64>) -> FetchError {
        FetchError::Later("busy".to_owned(), after.map(Duration::from_secs))
    }

    #[test]
    fn a_server_that_fails_is_left_alone_longer_each_time() {
        let now = Instant::now();
        let mut seed = WebSeed::new(now, WebSeedId(0), Class::Other);
        assert!(seed.is_ready(now));
        let mut waits = Vec::new();
        let mut at = now;
        for _ in 0..12 {
            assert_eq!(seed.failed(at, later(None), 0..0, 9), None);
            assert_eq!(seed.failed(at, later(None), 0..0, 9), None);
            let Some(Some(end)) = seed.ready_at() else {
                panic!("it rests")
            };
            waits.push((end - at).as_secs());
            at = end;
        }
        assert_eq!(waits[..4], [5, 10, 20, 40]);
        assert_eq!(waits[11], 1800);
        seed.succeeded();
        assert!(seed.is_ready(now));
    }

    #[test]
    fn a_server_that_says_when_is_not_asked_before() {
        let now = Instant::now();
        let mut seed = WebSeed::new(now, WebSeedId(0), Class::Other);
        seed.failed(now, later(Some(120)), 0..0, 9);
        assert!(!seed.is_ready(now + Duration::from_secs(119)));
        assert!(seed.is_ready(now + Duration::from_secs(120)));
        seed.failed(now, later(Some(u64::MAX)), 0..0, 9);
        assert!(seed.is_ready(now + MOST_ASKED));
    }

    #[test]
    fn a_missing_file_costs_its_pieces_and_all_of_them_the_server() {
        let now = Instant::now();
        let mut seed = WebSeed::new(now, WebSeedId(0), Class::Other);
        let missing = |file| FetchError::Missing(file, "not found".to_owned());
        assert_eq!(seed.failed(now, missing(0), 0..2, 3), None);
        assert!(!seed.has(1) && seed.has(2) && seed.is_ready(now));
        let why = seed.failed(now, missing(1), 2..3, 3);
        assert_eq!(why.as_deref(), Some("not found"));
        assert!(seed.is_dropped() && !seed.is_ready(now));
    }

    #[test]
    fn a_quick_server_is_asked_for_more_at_a_time() {
        let now = Instant::now();
        let mut seed = WebSeed::new(now, WebSeedId(0), Class::Other);
        assert_eq!(seed.run(now), LEAST_RUN);
        assert!(seed.has_room(0) && !seed.has_room(1));
        let mut at = now;
        for _ in 0..100 {
            at += Duration::from_millis(100);
            seed.arrived(at, 10 << 20);
        }
        assert_eq!(seed.run(at), MOST_RUN);
        assert!(seed.has_room(3) && !seed.has_room(MOST_FETCHES));
    }
}
