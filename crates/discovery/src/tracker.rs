//! When to tell which tracker what, for one torrent: an engine without IO.
//!
//! Trackers come in tiers (BEP 12): one tracker of one tier is told at a time, the next one only if it fails, and
//! whoever has answered is asked first from then on. A hybrid torrent is announced under both of its info-hashes,
//! since a tracker takes them for two torrents. What a tracker's URL must look like, and where it may
//! lead, is in [`rules`]; the packets of a UDP tracker's exchange in [`udp`].

mod course;
pub mod rules;
pub mod udp;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use torrent::tracker::{Announce, Announced, Scraped, TrackerError};

use course::{Course, Step};
use rules::TrackerUrl;

/// Most trackers used for one torrent; there are lists of hundreds that go round.
pub const MAX_TRACKERS: usize = 64;

/// Peers asked for in one announce.
const NUM_WANT: u32 = 100;

/// What `left` says while the metadata is not there yet: more than nothing, so that nobody takes us for a seed.
const LEFT_UNKNOWN: u64 = 16 * 1024;

/// How long to wait for trackers when the torrent stops.
const FAREWELL: Duration = Duration::from_secs(5);

/// What an announcer is made of.
#[derive(Clone, Debug)]
pub struct Config {
    /// Tiers of announce URLs (BEP 12).
    pub tiers: Vec<Vec<String>>,
    /// The torrent's info-hashes as they go over the wire: SHA-1, or 20 bytes of SHA-256, or both.
    pub info_hashes: Vec<[u8; 20]>,
    /// This client's name for itself.
    pub peer_id: [u8; 20],
    /// TCP port where this client listens.
    pub port: u16,
}

/// How far the torrent is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Payload sent in this session, in bytes.
    pub uploaded: u64,
    /// Payload received in this session, in bytes.
    pub downloaded: u64,
    /// Payload missing, in bytes; `None` while the metadata is not there.
    pub left: Option<u64>,
}

/// To tell announces apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AnnounceId(pub u64);

/// Why a tracker has not helped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// It has answered, but with no peers.
    #[error(transparent)]
    Tracker(#[from] TrackerError),
    /// It could not be reached; says why.
    #[error("the tracker could not be reached: {0}")]
    Unreachable(String),
    /// It has not answered in time.
    #[error("the tracker has not answered")]
    Silent,
}

/// What a tracker is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Here is how one torrent does; who else is there?
    Announce(Box<Announce>),
    /// How many take part in this one (BEP 48)?
    Scrape([u8; 20]),
}

/// What it answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// To an announce.
    Announced(Announced),
    /// To a scrape.
    Scraped(Scraped),
}

/// A fact.
#[derive(Clone, Debug)]
pub enum Input {
    /// How far the torrent is; goes into the next announces.
    Stats(Stats),
    /// The download has just become complete. Not for torrents that were complete when they started.
    Completed,
    /// There are too few peers: ask again as soon as the trackers allow.
    NeedPeers,
    /// What came of an announce.
    Announced {
        /// That of the order.
        id: AnnounceId,
        /// The answer.
        result: Result<Announced, Failure>,
    },
    /// The torrent stops.
    Stop,
    /// Time has passed.
    Timeout,
}

/// A decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Announce this to this tracker, to one address of each family it has, and report what came of each; the same
    /// `key` lets it see that both are one client (BEP 7). The first report decides what happens next, so report a
    /// failure only when the last address has failed.
    Announce {
        /// To be given back.
        id: AnnounceId,
        /// The tracker.
        url: TrackerUrl,
        /// What to say.
        announce: Announce,
    },
    /// Other clients to talk to.
    Peers(Vec<SocketAddr>),
    /// A person should know.
    Notice {
        /// The tracker, fit to be shown ([`TrackerUrl::shown`]).
        tracker: String,
        /// What it says, or what is wrong with it.
        message: String,
    },
    /// All trackers know that the torrent has stopped, or have had their time.
    Stopped,
}

/// Announces one torrent.
#[derive(Debug)]
pub struct Announcer {
    courses: Vec<Course>,
    peer_id: [u8; 20],
    port: u16,
    key: u32,
    stats: Stats,
    rng: fastrand::Rng,
    last_id: u64,
    stop_at: Option<Instant>,
    is_stopped: bool,
    outputs: VecDeque<Output>,
}

impl Announcer {
    /// An announcer that starts at once. URLs that break the rules are left out with a notice.
    pub fn new(config: Config, seed: u64, now: Instant) -> Announcer {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut outputs = VecDeque::new();
        let mut room = MAX_TRACKERS;
        let mut tiers: Vec<Vec<TrackerUrl>> = Vec::new();
        for tier in &config.tiers {
            let mut usable = Vec::new();
            for text in tier {
                match TrackerUrl::parse(text) {
                    Ok(url)
                        if tiers
                            .iter()
                            .flatten()
                            .chain(&usable)
                            .any(|known| *known == url) => {}
                    Ok(url) if room > 0 => {
                        room -= 1;
                        usable.push(url);
                    }
                    Ok(_) => {}
                    Err(error) => {
                        let tracker = rules::shown(text);
                        outputs.push_back(Output::Notice {
                            tracker,
                            message: error.to_string(),
                        });
                    }
                }
            }
            tiers.extend((!usable.is_empty()).then_some(usable));
        }
        let key = rng.u32(..);
        let courses = config
            .info_hashes
            .iter()
            .map(|hash| Course::new(*hash, &tiers, now, &mut rng))
            .collect();
        Announcer {
            courses,
            peer_id: config.peer_id,
            port: config.port,
            key,
            stats: Stats::default(),
            rng,
            last_id: 0,
            stop_at: None,
            is_stopped: false,
            outputs,
        }
    }

    /// Takes in a fact.
    pub fn handle(&mut self, now: Instant, input: Input) {
        match input {
            Input::Stats(stats) => self.stats = stats,
            Input::Completed => self
                .courses
                .iter_mut()
                .for_each(|course| course.complete(now)),
            Input::NeedPeers => self
                .courses
                .iter_mut()
                .for_each(|course| course.need_peers()),
            Input::Announced { id, result } => self.announced(now, id, result),
            Input::Stop => {
                if self.stop_at.is_none() {
                    self.stop_at = Some(now + FAREWELL);
                    self.courses.iter_mut().for_each(Course::stop);
                }
            }
            Input::Timeout => {}
        }
        self.advance(now);
    }

    /// The next decision.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call [`handle`](Announcer::handle) with [`Input::Timeout`] at the latest.
    pub fn deadline(&self) -> Option<Instant> {
        if self.is_stopped {
            return None;
        }
        self.courses
            .iter()
            .filter_map(Course::deadline)
            .chain(self.stop_at)
            .min()
    }

    /// When a tracker is told next, as far as that is decided; `None`: when those before it fail, or never.
    pub fn next_of(&self, url: &TrackerUrl) -> Option<Instant> {
        self.courses
            .iter()
            .filter_map(|course| course.next_of(url))
            .min()
    }

    fn announced(&mut self, now: Instant, id: AnnounceId, result: Result<Announced, Failure>) {
        let landed = self
            .courses
            .iter_mut()
            .find_map(|course| Some((course.land(id)?, course)));
        let Some((flight, course)) = landed else {
            // The tracker's other address, or one that was given up: its peers are as good as any.
            let peers = result.map(|answer| answer.peers).unwrap_or_default();
            if !peers.is_empty() && self.stop_at.is_none() {
                self.outputs.push_back(Output::Peers(peers));
            }
            return;
        };
        let tracker = course.told(&flight);
        match result {
            Ok(answer) => {
                course.succeeded(now, &flight, &answer);
                let Announced { peers, warning, .. } = answer;
                if !peers.is_empty() && self.stop_at.is_none() {
                    self.outputs.push_back(Output::Peers(peers));
                }
                self.outputs
                    .extend(warning.map(|message| Output::Notice { tracker, message }));
            }
            Err(failure) => {
                course.failed(now, &flight, &failure);
                self.outputs.push_back(Output::Notice {
                    tracker,
                    message: failure.to_string(),
                });
            }
        }
    }

    /// Does what time and the facts so far call for.
    fn advance(&mut self, now: Instant) {
        for course in &mut self.courses {
            while let Some(step) = course.next(now, &mut self.rng) {
                match step {
                    Step::Announce { tracker, event } => {
                        self.last_id += 1;
                        let id = AnnounceId(self.last_id);
                        let is_farewell = self.stop_at.is_some();
                        let announce = Announce {
                            info_hash: course.info_hash,
                            peer_id: self.peer_id,
                            port: self.port,
                            uploaded: self.stats.uploaded,
                            downloaded: self.stats.downloaded,
                            left: self.stats.left.unwrap_or(LEFT_UNKNOWN),
                            event,
                            num_want: Some(if is_farewell { 0 } else { NUM_WANT }),
                            key: self.key,
                            tracker_id: course.tracker_id(tracker),
                            ip: None,
                        };
                        let url = course.take_off(now, id, tracker, event);
                        self.outputs
                            .push_back(Output::Announce { id, url, announce });
                    }
                    Step::Silent { tracker } => {
                        let tracker = course.shown(tracker);
                        self.outputs.push_back(Output::Notice {
                            tracker,
                            message: Failure::Silent.to_string(),
                        });
                    }
                }
            }
        }
        let is_over = self
            .stop_at
            .is_some_and(|at| now >= at || self.courses.iter().all(Course::is_over));
        if is_over && !self.is_stopped {
            self.is_stopped = true;
            self.outputs.push_back(Output::Stopped);
        }
    }
}

#[cfg(test)]
mod tests;
