//! What is to be done, in what order: strands that have collected enough, reads, checks. Under one lock, held
//! for moments; nothing here touches the disk.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    ops::Range,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    bits::Bits,
    done::BlockRun,
    error::StoreError,
    home::{Home, TorrentId},
    strand::{Arrived, Strand},
    sweep::sweep_len,
};

/// Blocks of a piece that are worth a worker's wake-up and a write call: 256 KiB.
const BATCH_BLOCKS: usize = 16;

/// The same when slots run short. When there are none at all, whoever asks for one sets everything going.
const SHORT_BATCH_BLOCKS: usize = 4;

/// How long fewer blocks than a batch may wait. Nobody needs them sooner (a piece that is whole does not wait),
/// and a crash loses little.
const LINGER: Duration = Duration::from_millis(50);

/// Verified bytes and time after which a batch is made durable (design §6).
const SETTLE_BYTES: u64 = 64 << 20;
const SETTLE_AFTER: Duration = Duration::from_secs(5);

/// A check gets one turn in so many while there is other work, so that neither starves.
const CHECK_TURN: u32 = 8;

type Key = (TorrentId, u32);

/// A read that waits for a worker and a buffer.
pub(super) struct Read {
    pub home: Arc<Home>,
    pub run: BlockRun,
    pub tag: u64,
}

/// A single question about a piece.
pub(super) enum Errand {
    BlockDigests {
        home: Arc<Home>,
        piece: u32,
    },
    Leaves {
        home: Arc<Home>,
        piece: u32,
        tag: u64,
    },
}

/// A check on its way through a torrent; workers take sweeps off its front.
pub(super) struct Check {
    pub home: Arc<Home>,
    pieces: Bits,
    next: usize,
    /// Sweeps that workers have not brought back.
    pub out: usize,
    pub trouble: Option<StoreError>,
    number: u64,
}

impl Check {
    pub fn new(home: Arc<Home>, pieces: Bits) -> Check {
        Check {
            home,
            pieces,
            next: 0,
            out: 0,
            trouble: None,
            number: 0,
        }
    }

    /// The next neighbouring pieces, about one sweep long.
    fn take(&mut self) -> Option<Range<u32>> {
        let len = self.pieces.len().min(self.home.layout().pieces() as usize);
        let start = (self.next..len).find(|&piece| self.pieces.has(piece))?;
        let end = (start..len)
            .find(|&piece| !self.pieces.has(piece))
            .unwrap_or(len);
        let start = start as u32;
        let taken = start..start + sweep_len(self.home.layout(), start, end as u32);
        self.next = taken.end as usize;
        Some(taken)
    }

    fn is_over(&self) -> bool {
        self.out == 0 && !(self.next..self.pieces.len()).any(|piece| self.pieces.has(piece))
    }
}

enum Place {
    /// In its seat, waiting for blocks.
    Idle(Box<Strand>),
    /// The same, and in the queue.
    Queued(Box<Strand>),
    /// With a worker. If abandoned meanwhile, what the worker brings back is dropped.
    Running { abandoned: bool },
    /// Told as `PieceHashed`; waits for the verdict.
    Hashed,
}

/// A strand and what has arrived for it since its last turn.
struct Seat {
    home: Arc<Home>,
    place: Place,
    inbox: Vec<Arrived>,
    /// Blocks missing on disk when the strand was last looked at.
    missing: usize,
    lean: bool,
}

/// What a worker takes away.
pub(super) enum Task {
    Strand {
        home: Arc<Home>,
        piece: u32,
        strand: Box<Strand>,
        arrived: Vec<Arrived>,
        lean: bool,
    },
    Read(Read),
    Errand(Errand),
    Sweep {
        check: u64,
        home: Arc<Home>,
        pieces: Range<u32>,
    },
}

#[derive(Default)]
pub(super) struct Queue {
    pub homes: BTreeMap<TorrentId, Arc<Home>>,
    seats: HashMap<Key, Seat>,
    /// Seats whose strand is `Queued`, in order.
    strands: VecDeque<Key>,
    pub reads: VecDeque<Read>,
    pub errands: VecDeque<Errand>,
    pub checks: VecDeque<Check>,
    checks_begun: u64,
    turn: u32,
    /// Idle strands with something in the inbox, and when to stop waiting for more.
    loitering: Vec<Key>,
    linger: Option<Instant>,
    /// A worker sleeps until `linger`.
    pub timekeeper: bool,
    nudged: bool,
    unsettled: u64,
    settle_at: Option<Instant>,
    pub flushes: VecDeque<TorrentId>,
    pub stop: bool,
}

impl Queue {
    fn seat(&mut self, home: &Arc<Home>, piece: u32) -> &mut Seat {
        self.seats.entry((home.id, piece)).or_insert_with(|| {
            let strand = Box::new(Strand::new(home, piece));
            let missing = strand.missing();
            Seat {
                home: home.clone(),
                place: Place::Idle(strand),
                inbox: Vec::new(),
                missing,
                lean: false,
            }
        })
    }

    /// Puts a block into its inbox. True if a worker should wake up.
    pub fn write(&mut self, home: &Arc<Home>, piece: u32, block: Arrived, short: bool) -> bool {
        if home.facts().verified.has(piece as usize) {
            return false;
        }
        let seat = self.seat(home, piece);
        if matches!(seat.place, Place::Hashed) {
            return false;
        }
        seat.inbox.push(block);
        seat.lean |= short;
        self.decide((home.id, piece))
    }

    pub fn adopt(
        &mut self,
        home: &Arc<Home>,
        piece: u32,
        blocks: impl IntoIterator<Item = u32>,
    ) -> bool {
        let seat = self.seat(home, piece);
        let Place::Idle(strand) = &mut seat.place else {
            return false;
        };
        strand.adopt(blocks);
        seat.missing = strand.missing();
        self.decide((home.id, piece))
    }

    /// Queues an idle strand that has collected enough, or lets it loiter. True if a worker should wake up.
    fn decide(&mut self, key: Key) -> bool {
        let Some(seat) = self.seats.get_mut(&key) else {
            return false;
        };
        if !matches!(seat.place, Place::Idle(_)) {
            return false;
        }
        let batch = if seat.lean {
            SHORT_BATCH_BLOCKS
        } else {
            BATCH_BLOCKS
        };
        if seat.inbox.len() >= batch.min(seat.missing) {
            return self.enqueue(key);
        }
        if seat.inbox.len() != 1 {
            return false;
        }
        self.loitering.push(key);
        if self.linger.is_some() {
            return false;
        }
        self.linger = Some(Instant::now() + LINGER);
        !self.timekeeper
    }

    fn enqueue(&mut self, key: Key) -> bool {
        let Some(seat) = self.seats.get_mut(&key) else {
            return false;
        };
        let place = std::mem::replace(&mut seat.place, Place::Hashed);
        let idle = matches!(place, Place::Idle(_));
        seat.place = match place {
            Place::Idle(strand) => Place::Queued(strand),
            other => other,
        };
        if idle {
            self.strands.push_back(key);
        }
        idle
    }

    /// Queues every strand that holds a slot. True if there is any.
    pub fn nudge(&mut self) -> bool {
        if std::mem::replace(&mut self.nudged, true) {
            return false;
        }
        let mut thirsty: Vec<Key> = Vec::new();
        for (key, seat) in &mut self.seats {
            let holds = matches!(&seat.place, Place::Idle(strand) if strand.holds_slots() || !seat.inbox.is_empty());
            seat.lean = true;
            if holds {
                thirsty.push(*key);
            }
        }
        thirsty.sort_unstable();
        let any = !thirsty.is_empty();
        self.nudged = any;
        for key in thirsty {
            self.enqueue(key);
        }
        any
    }

    /// When loitering strands get their turn after all.
    pub fn linger(&self) -> Option<Instant> {
        self.linger
    }

    /// The wait is over: whoever loiters is queued.
    pub fn end_linger(&mut self) {
        self.linger = None;
        for key in std::mem::take(&mut self.loitering) {
            if self
                .seats
                .get(&key)
                .is_some_and(|seat| !seat.inbox.is_empty())
            {
                self.enqueue(key);
            }
        }
    }

    pub fn abandon(&mut self, id: TorrentId, piece: u32) {
        let Some(seat) = self.seats.get_mut(&(id, piece)) else {
            return;
        };
        seat.inbox.clear();
        if let Place::Running { abandoned } = &mut seat.place {
            *abandoned = true;
        } else {
            self.seats.remove(&(id, piece));
        }
    }

    /// The verdict on a hashed piece is in: its seat is free.
    pub fn judged(&mut self, id: TorrentId, piece: u32) {
        if self
            .seats
            .get(&(id, piece))
            .is_some_and(|seat| matches!(seat.place, Place::Hashed))
        {
            self.seats.remove(&(id, piece));
        }
    }

    pub fn remove(&mut self, id: TorrentId) {
        self.homes.remove(&id);
        self.seats.retain(|key, _| key.0 != id);
        self.reads.retain(|read| read.home.id != id);
        self.checks.retain(|check| check.home.id != id);
        self.flushes.retain(|flush| *flush != id);
    }

    /// The next task. `buffer` says whether there is a buffer for a read.
    pub fn next(&mut self, mut buffer: impl FnMut(usize) -> bool) -> Option<Task> {
        self.turn = self.turn.wrapping_add(1);
        if self.turn.is_multiple_of(CHECK_TURN)
            && let Some(sweep) = self.next_sweep()
        {
            return Some(sweep);
        }
        // Between what comes in and what goes out, turn about.
        if self.turn.is_multiple_of(2)
            && let Some(strand) = self.next_strand()
        {
            return Some(strand);
        }
        if let Some(errand) = self.errands.pop_front() {
            return Some(Task::Errand(errand));
        }
        if self
            .reads
            .front()
            .is_some_and(|read| buffer(read.run.len as usize))
        {
            return self.reads.pop_front().map(Task::Read);
        }
        self.next_strand().or_else(|| self.next_sweep())
    }

    fn next_strand(&mut self) -> Option<Task> {
        // What was nudged is on its way; the next nudge may find others.
        self.nudged = false;
        while let Some(key) = self.strands.pop_front() {
            // The seat may have gone, or begun anew, since its key was queued.
            let Some(seat) = self.seats.get_mut(&key) else {
                continue;
            };
            match std::mem::replace(&mut seat.place, Place::Running { abandoned: false }) {
                Place::Queued(strand) => {
                    let arrived = std::mem::take(&mut seat.inbox);
                    let lean = std::mem::take(&mut seat.lean);
                    return Some(Task::Strand {
                        home: seat.home.clone(),
                        piece: key.1,
                        strand,
                        arrived,
                        lean,
                    });
                }
                other => seat.place = other,
            }
        }
        None
    }

    /// A worker brings a strand back. Returns whether its facts are still wanted, and whether there is work again.
    pub fn bring_back(
        &mut self,
        home: &Arc<Home>,
        piece: u32,
        strand: Box<Strand>,
        hashed: bool,
    ) -> (bool, bool) {
        let key = (home.id, piece);
        let Some(seat) = self
            .seats
            .get_mut(&key)
            .filter(|seat| Arc::ptr_eq(&seat.home, home))
        else {
            return (false, false);
        };
        let abandoned = matches!(seat.place, Place::Running { abandoned: true });
        if abandoned && seat.inbox.is_empty() {
            self.seats.remove(&key);
            return (false, false);
        }
        if hashed && !abandoned {
            seat.place = Place::Hashed;
            seat.inbox.clear();
            return (true, false);
        }
        let strand = if abandoned {
            Box::new(Strand::new(home, piece))
        } else {
            strand
        };
        seat.missing = strand.missing();
        seat.place = Place::Idle(strand);
        // Blocks that came meanwhile never loitered: look at them as if the first had just come.
        let waiting = !seat.inbox.is_empty();
        let more = waiting && (self.decide(key) || self.loiter(key));
        (!abandoned, more)
    }

    fn loiter(&mut self, key: Key) -> bool {
        if self
            .seats
            .get(&key)
            .is_some_and(|seat| matches!(seat.place, Place::Idle(_)))
        {
            self.loitering.push(key);
            self.linger.get_or_insert_with(|| Instant::now() + LINGER);
        }
        false
    }

    fn next_sweep(&mut self) -> Option<Task> {
        // A check whose pieces are all handed out waits in the queue until they are back.
        self.checks.iter_mut().find_map(|check| {
            let pieces = check.take()?;
            if check.number == 0 {
                self.checks_begun += 1;
                check.number = self.checks_begun;
            }
            check.out += 1;
            Some(Task::Sweep {
                check: check.number,
                home: check.home.clone(),
                pieces,
            })
        })
    }

    /// A worker brings a sweep back. `Some` if the check goes on being wanted; with the check itself if it is over.
    pub fn sweep_back(
        &mut self,
        number: u64,
        trouble: Option<StoreError>,
    ) -> Option<Option<Check>> {
        let index = self
            .checks
            .iter()
            .position(|check| check.number == number)?;
        let check = &mut self.checks[index];
        check.out -= 1;
        check.trouble = check.trouble.take().or(trouble);
        Some(if check.is_over() {
            self.checks.remove(index)
        } else {
            None
        })
    }

    /// Checks that never had a piece to look at.
    pub fn empty_checks(&mut self) -> Vec<Check> {
        let (over, rest) = std::mem::take(&mut self.checks)
            .into_iter()
            .partition(|check| check.number == 0 && check.is_over());
        self.checks = rest;
        let over: VecDeque<Check> = over;
        over.into()
    }

    /// Bytes were verified. True if the syncing thread should look.
    pub fn note_verified(&mut self, bytes: u64) -> bool {
        let before = self.unsettled;
        self.unsettled += bytes;
        let first = self.settle_at.is_none();
        self.settle_at
            .get_or_insert_with(|| Instant::now() + SETTLE_AFTER);
        first || before < SETTLE_BYTES && self.unsettled >= SETTLE_BYTES
    }

    /// When the next batch is due; `now` if it is large enough already.
    pub fn settle_at(&self, now: Instant) -> Option<Instant> {
        if self.unsettled >= SETTLE_BYTES {
            Some(now)
        } else {
            self.settle_at
        }
    }

    /// The batch is being taken care of.
    pub fn settled(&mut self) {
        self.unsettled = 0;
        self.settle_at = None;
    }

    /// A batch failed: try again, but not at once.
    pub fn settle_again(&mut self) {
        self.settle_at
            .get_or_insert_with(|| Instant::now() + SETTLE_AFTER);
    }
}
