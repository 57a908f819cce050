//! How many take part in a torrent, asked of trackers that do not say so when we announce, and for transfers that do
//! not announce (BEP 48; BEP 15, "Scrape").

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use discovery::tracker::rules::TrackerUrl;
use discovery::tracker::{Answer, Ask};
use swarm::TorrentId;
use torrent::tracker::Scraped;

use super::{RUNNING, ask_each};
use crate::drivers::Driver;

/// A tracker is asked about a torrent at most this often.
const AGAIN: Duration = Duration::from_secs(30 * 60);
/// Answers remembered; the one asked for longest ago makes room.
const MOST: usize = 1_024;

/// What was asked, and answered.
#[derive(Default)]
pub(super) struct Scrapes(BTreeMap<(TorrentId, String), (Instant, Option<Scraped>)>);

impl Scrapes {
    /// Whether to ask now; from then on it counts as asked.
    fn begin(&mut self, now: Instant, torrent: TorrentId, tracker: String) -> bool {
        let key = (torrent, tracker);
        let before = self.0.get(&key).copied();
        if before.is_some_and(|(asked, _)| now.saturating_duration_since(asked) < AGAIN) {
            return false;
        }
        if before.is_none() && self.0.len() >= MOST {
            let oldest = self.0.iter().min_by_key(|(_, (asked, _))| *asked);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                self.0.remove(&oldest);
            }
        }
        self.0
            .insert(key, (now, before.and_then(|(_, counts)| counts)));
        true
    }

    fn answered(&mut self, torrent: TorrentId, tracker: String, counts: Scraped) {
        if let Some((_, known)) = self.0.get_mut(&(torrent, tracker)) {
            *known = Some(counts);
        }
    }

    fn counts(&self, torrent: TorrentId, tracker: String) -> Option<Scraped> {
        self.0.get(&(torrent, tracker))?.1
    }
}

impl Driver {
    /// What a tracker last said when it was asked; with `ask`, it is asked again if that is long ago.
    pub fn counts(self: &Rc<Self>, id: TorrentId, url: &str, ask: bool) -> Option<Scraped> {
        let url = TrackerUrl::parse(url).ok()?;
        if ask {
            self.scrape(id, &url);
        }
        self.trackers.scraped.borrow().counts(id, url.shown())
    }

    /// Asks a tracker how many take part in a torrent, unless that was done lately.
    pub(super) fn scrape(self: &Rc<Self>, id: TorrentId, url: &TrackerUrl) {
        let awake = self.transfers.borrow().get(&id).map(|t| t.hashes);
        let hashes = awake.or_else(|| self.dormant.borrow().get(id).map(|d| d.hashes));
        let hash = hashes.and_then(|hashes| hashes.wire().next());
        let running = &self.trackers.running;
        let (Some(hash), true) = (hash, self.use_trackers && running.get() < RUNNING) else {
            return;
        };
        let begun = {
            let mut scraped = self.trackers.scraped.borrow_mut();
            scraped.begin(Instant::now(), id, url.shown())
        };
        if !begun {
            return;
        }
        running.set(running.get() + 1);
        let (driver, url) = (self.clone(), url.clone());
        tokio::task::spawn_local(async move {
            let heard = |_, answer| {
                if let Answer::Scraped(counts) = answer {
                    let mut scraped = driver.trackers.scraped.borrow_mut();
                    scraped.answered(id, url.shown(), counts);
                }
            };
            let failure = ask_each(&driver, &url, &Ask::Scrape(hash), heard).await;
            tracing::debug!(tracker = url.shown(), %failure, "scraped");
            let running = &driver.trackers.running;
            running.set(running.get() - 1);
            driver.trackers.timer.notify_one();
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tracker_is_asked_once_in_half_an_hour_and_its_answer_kept() {
        let now = Instant::now();
        let mut scrapes = Scrapes::default();
        let (id, tracker) = (TorrentId(1), || "http://t".to_owned());
        assert!(scrapes.begin(now, id, tracker()));
        let counts = Scraped {
            complete: 1,
            ..Scraped::default()
        };
        scrapes.answered(id, tracker(), counts);
        assert!(!scrapes.begin(now + AGAIN / 2, id, tracker()));
        assert!(scrapes.begin(now + AGAIN, id, tracker()));
        assert_eq!(
            scrapes.counts(id, tracker()),
            Some(counts),
            "until it answers again"
        );
        assert_eq!(scrapes.counts(TorrentId(2), tracker()), None);
    }

    #[test]
    fn so_many_answers_are_kept_and_the_oldest_makes_room() {
        let now = Instant::now();
        let mut scrapes = Scrapes::default();
        for n in 0..=MOST as u32 {
            let at = now + Duration::from_millis(n.into());
            assert!(scrapes.begin(at, TorrentId(n), String::new()));
        }
        assert_eq!(scrapes.0.len(), MOST);
        assert!(scrapes.begin(now + AGAIN / 2, TorrentId(0), String::new()));
    }
}
