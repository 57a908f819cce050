//! The announces of one info-hash: whom to tell next, what, and when.
//!
//! A *round* goes through the trackers in order until one has answered. Then it rests for that tracker's interval;
//! a round that nobody has answered is followed by another one soon, later each time.

use std::time::{Duration, Instant};

use torrent::tracker::{Announced, Event, Retry, TrackerError};

use super::rules::TrackerUrl;
use super::{AnnounceId, Failure};

/// Shortest time between two rounds, whatever a tracker says.
const MIN_INTERVAL: Duration = Duration::from_secs(10);

/// Time from an answer to the next announce when there are too few peers, if the tracker does not say how often it
/// may be asked; and the shortest such time, whatever it says.
const NEED_INTERVAL: Duration = Duration::from_secs(60);
const MIN_NEED_INTERVAL: Duration = Duration::from_secs(5);

/// After this long without an answer the next tracker is told, too; the first may still answer.
const IMPATIENCE: Duration = Duration::from_secs(10);

/// After this long no answer will come: longer than a UDP exchange, or an HTTP request with all its time-outs.
const GIVE_UP: Duration = Duration::from_secs(150);

/// Time from a round that failed to the next one; doubles up to the second value, and varies by a quarter so that
/// not all clients come back to a tracker at once.
const RETRY: (Duration, Duration) = (Duration::from_secs(15), Duration::from_secs(30 * 60));

#[derive(Debug)]
struct Tracker {
    url: TrackerUrl,
    id: Option<Vec<u8>>,
    /// Has been told that the torrent has started, and so wants to know when it stops.
    knows_us: bool,
    /// Has asked not to be bothered before (BEP 31).
    not_before: Option<Instant>,
    /// Has asked never to be bothered again (BEP 31).
    is_dead: bool,
}

/// An announce on its way.
#[derive(Debug)]
pub(super) struct Flight {
    id: AnnounceId,
    tracker: usize,
    event: Option<Event>,
    since: Instant,
    /// Has been waited for long enough to go on to the next tracker.
    is_passed: bool,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Tell this tracker.
    Announce {
        tracker: usize,
        event: Option<Event>,
    },
    /// This tracker has not answered.
    Silent { tracker: usize },
}

/// The announces of one info-hash.
#[derive(Debug)]
pub(super) struct Course {
    pub(super) info_hash: [u8; 20],
    trackers: Vec<Tracker>,
    /// The order to try them in, as numbers of `trackers`.
    tiers: Vec<Vec<usize>>,
    flights: Vec<Flight>,
    /// Trackers tried in this round; `None` between rounds.
    round: Option<Vec<usize>>,
    /// When the next round begins; never, if every tracker has asked us to stay away.
    due: Option<Instant>,
    /// When it may begin if there are too few peers.
    soonest: Instant,
    needs_peers: bool,
    /// The download has become complete, and no tracker has been told yet.
    is_completed: bool,
    failures: u32,
    /// Trackers still to be told that the torrent stops; `None` while it runs.
    farewells: Option<Vec<usize>>,
}

impl Course {
    pub(super) fn new(
        info_hash: [u8; 20],
        tiers: &[Vec<TrackerUrl>],
        now: Instant,
        rng: &mut fastrand::Rng,
    ) -> Course {
        let mut trackers = Vec::new();
        let mut order = Vec::new();
        for tier in tiers {
            let start = trackers.len();
            let one = |url: &TrackerUrl| Tracker {
                url: url.clone(),
                id: None,
                knows_us: false,
                not_before: None,
                is_dead: false,
            };
            trackers.extend(tier.iter().map(one));
            let mut numbers: Vec<_> = (start..trackers.len()).collect();
            rng.shuffle(&mut numbers);
            order.push(numbers);
        }
        Course {
            info_hash,
            due: (!trackers.is_empty()).then_some(now),
            trackers,
            tiers: order,
            flights: Vec::new(),
            round: None,
            soonest: now,
            needs_peers: false,
            is_completed: false,
            failures: 0,
            farewells: None,
        }
    }

    /// The download has become complete: trackers want to know at once.
    pub(super) fn complete(&mut self, now: Instant) {
        self.is_completed = true;
        self.due = self.due.map(|due| due.min(now));
    }

    pub(super) fn need_peers(&mut self) {
        self.needs_peers = true;
    }

    /// From now on the only thing left to say is farewell, to those who know us or may have just heard of us.
    pub(super) fn stop(&mut self) {
        let flying = self
            .flights
            .drain(..)
            .map(|flight| flight.tracker)
            .collect::<Vec<_>>();
        let knows_us = |at: &usize| self.trackers[*at].knows_us || flying.contains(at);
        self.farewells = Some((0..self.trackers.len()).filter(knows_us).collect());
    }

    /// Whether everything is said.
    pub(super) fn is_over(&self) -> bool {
        self.farewells.as_ref().is_some_and(Vec::is_empty) && self.flights.is_empty()
    }

    /// Decides whom to tell next; [`take_off`](Course::take_off) must follow an announce.
    pub(super) fn next(&mut self, now: Instant, rng: &mut fastrand::Rng) -> Option<Step> {
        if let Some(lost) = self
            .flights
            .iter()
            .position(|flight| now >= flight.since + GIVE_UP)
        {
            let tracker = self.flights.remove(lost).tracker;
            return Some(Step::Silent { tracker });
        }
        if let Some(farewells) = &mut self.farewells {
            let tracker = farewells.pop()?;
            return Some(Step::Announce {
                tracker,
                event: Some(Event::Stopped),
            });
        }
        for flight in &mut self.flights {
            flight.is_passed |= now >= flight.since + IMPATIENCE;
        }
        if self.round.is_none() && self.due().is_some_and(|due| now >= due) {
            self.round = Some(Vec::new());
        }
        let round = self.round.as_mut()?;
        if self.flights.iter().any(|flight| !flight.is_passed) {
            return None;
        }
        let is_open = |at: &usize| {
            let tracker = &self.trackers[*at];
            let may_ask = !tracker.is_dead && tracker.not_before.is_none_or(|at| now >= at);
            may_ask
                && !round.contains(at)
                && !self.flights.iter().any(|flight| flight.tracker == *at)
        };
        if let Some(tracker) = self.tiers.iter().flatten().copied().find(is_open) {
            round.push(tracker);
            let event = match (self.trackers[tracker].knows_us, self.is_completed) {
                (false, _) => Some(Event::Started),
                (true, true) => Some(Event::Completed),
                (true, false) => None,
            };
            return Some(Step::Announce { tracker, event });
        }
        if self.flights.is_empty() {
            self.round_failed(now, rng);
        }
        None
    }

    /// When [`next`](Course::next) has something to do though nothing else happens.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let flights = self.flights.iter().map(|flight| {
            let patience = if flight.is_passed {
                GIVE_UP
            } else {
                IMPATIENCE
            };
            flight.since + patience
        });
        let due = self
            .due()
            .filter(|_| self.round.is_none() && self.farewells.is_none());
        flights.chain(due).min()
    }

    /// When this tracker is told next, as far as that is decided; `None`: when others fail, or never.
    pub(super) fn next_of(&self, url: &TrackerUrl) -> Option<Instant> {
        let (number, tracker) = (0..)
            .zip(&self.trackers)
            .find(|(_, tracker)| tracker.url == *url)?;
        let first = self.tiers.iter().flatten().next() == Some(&number);
        let resting = self.round.is_none() && self.farewells.is_none() && !tracker.is_dead;
        let due = self.due().filter(|_| first && resting)?;
        Some(tracker.not_before.map_or(due, |at| at.max(due)))
    }

    /// Notes that a tracker is being told.
    pub(super) fn take_off(
        &mut self,
        now: Instant,
        id: AnnounceId,
        tracker: usize,
        event: Option<Event>,
    ) -> TrackerUrl {
        self.flights.push(Flight {
            id,
            tracker,
            event,
            since: now,
            is_passed: false,
        });
        self.trackers[tracker].url.clone()
    }

    /// The announce that an answer belongs to; it is no longer on its way.
    pub(super) fn land(&mut self, id: AnnounceId) -> Option<Flight> {
        let at = self.flights.iter().position(|flight| flight.id == id)?;
        Some(self.flights.remove(at))
    }

    /// A tracker has answered.
    pub(super) fn succeeded(&mut self, now: Instant, flight: &Flight, answer: &Announced) {
        let tracker = &mut self.trackers[flight.tracker];
        tracker.knows_us = flight.event != Some(Event::Stopped);
        if let Some(id) = &answer.tracker_id {
            tracker.id = Some(id.clone());
        }
        for tier in &mut self.tiers {
            if let Some(at) = tier.iter().position(|number| *number == flight.tracker) {
                tier[..=at].rotate_right(1);
            }
        }
        self.round = None;
        self.failures = 0;
        self.needs_peers = false;
        let min_interval = answer.min_interval.unwrap_or(NEED_INTERVAL);
        self.soonest = now + min_interval.max(MIN_NEED_INTERVAL);
        let interval = answer
            .interval
            .max(answer.min_interval.unwrap_or_default())
            .max(MIN_INTERVAL);
        if flight.event == Some(Event::Completed) {
            self.is_completed = false;
        }
        self.due = Some(if self.is_completed {
            now
        } else {
            now + interval
        });
    }

    /// A tracker has not helped; the round goes on.
    pub(super) fn failed(&mut self, now: Instant, flight: &Flight, failure: &Failure) {
        let tracker = &mut self.trackers[flight.tracker];
        if let Failure::Tracker(TrackerError::Refused {
            retry: Some(retry), ..
        }) = failure
        {
            match retry {
                Retry::Never => tracker.is_dead = true,
                Retry::In(time) => tracker.not_before = Some(now + *time),
            }
        }
    }

    /// What a tracker has asked us to send back to it.
    pub(super) fn tracker_id(&self, tracker: usize) -> Option<Vec<u8>> {
        self.trackers[tracker].id.clone()
    }

    /// A tracker's URL as it may be shown.
    pub(super) fn shown(&self, tracker: usize) -> String {
        self.trackers[tracker].url.shown()
    }

    /// The URL, as it may be shown, of the tracker that an announce went to.
    pub(super) fn told(&self, flight: &Flight) -> String {
        self.shown(flight.tracker)
    }

    fn due(&self) -> Option<Instant> {
        self.due.map(|due| {
            if self.needs_peers {
                due.min(self.soonest)
            } else {
                due
            }
        })
    }

    fn round_failed(&mut self, now: Instant, rng: &mut fastrand::Rng) {
        self.round = None;
        self.needs_peers = false;
        let pause = RETRY
            .0
            .saturating_mul(1 << self.failures.min(16))
            .min(RETRY.1);
        self.failures += 1;
        let pause = pause.mul_f64(0.75 + rng.f64() / 2.0);
        let living = self.trackers.iter().filter(|tracker| !tracker.is_dead);
        let earliest = living
            .map(|tracker| tracker.not_before.unwrap_or(now))
            .min();
        self.due = earliest.map(|earliest| earliest.max(now + pause));
        self.soonest = self.due.unwrap_or(now);
    }
}
