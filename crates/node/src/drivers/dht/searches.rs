//! Which torrent is looked for in the DHT, and when: what is wanted before what is only offered, and the thousands that
//! are only offered one by one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use discovery::dht::SearchId;
use swarm::TorrentId;

/// A search that found somebody is repeated after this: announces live for half an hour (BEP 5)...
const AGAIN: Duration = Duration::from_secs(15 * 60);
/// ...one for something wanted that found nobody, after this, doubled each time up to a minute.
const NOBODY: Duration = Duration::from_secs(4);
/// Searches under way at once.
const RUNNING: usize = 8;
/// Searches for what is only offered begin this far apart: ten thousand of them must not keep the line busy.
const PACE: Duration = Duration::from_millis(250);

struct Search {
    info_hash: [u8; 20],
    /// Peers found in the last turn.
    found: usize,
    /// Nodes that answered in the last turn; `None`: it has had none.
    nodes: Option<usize>,
    /// Turns that found nobody, one after another.
    vain: u32,
    /// The next turn; `None`: it is under way.
    due: Option<Instant>,
    /// Nothing is wanted, only offered.
    offered: bool,
}

/// All of them.
#[derive(Default)]
pub(super) struct Searches {
    /// A torrent has two names at most: numbers are twice the torrent's, and one more.
    all: BTreeMap<u64, Search>,
    /// Those that wait, by whether they are only offered, then by time.
    due: BTreeSet<(bool, Instant, u64)>,
    running: usize,
    /// No search for what is only offered begins before this.
    paced: Option<Instant>,
}

impl Searches {
    fn numbers(torrent: TorrentId) -> std::ops::RangeInclusive<u64> {
        let first = u64::from(torrent.0) << 1;
        first..=first | 1
    }

    /// Looks for a torrent under this name, too, from now on. Known names are looked for as before.
    pub fn add(&mut self, now: Instant, torrent: TorrentId, info_hash: [u8; 20], offered: bool) {
        let known = self.all.range(Searches::numbers(torrent));
        if known
            .clone()
            .any(|(_, search)| search.info_hash == info_hash)
        {
            return;
        }
        let Some(number) = Searches::numbers(torrent).find(|n| !self.all.contains_key(n)) else {
            return;
        };
        let search = Search {
            info_hash,
            found: 0,
            nodes: None,
            vain: 0,
            due: Some(now),
            offered,
        };
        self.all.insert(number, search);
        self.due.insert((offered, now, number));
    }

    /// Looks for a torrent no longer; answers which searches are to be ended.
    pub fn remove(&mut self, torrent: TorrentId) -> Vec<SearchId> {
        let mut ended = Vec::new();
        for number in Searches::numbers(torrent) {
            let Some(search) = self.all.remove(&number) else {
                continue;
            };
            match search.due {
                Some(at) => drop(self.due.remove(&(search.offered, at, number))),
                None => {
                    self.running -= 1;
                    ended.push(SearchId(number));
                }
            }
        }
        ended
    }

    /// The torrent a search is for.
    pub fn torrent(search: SearchId) -> TorrentId {
        TorrentId((search.0 >> 1) as u32)
    }

    /// The next search that may begin now.
    pub fn begin(&mut self, now: Instant) -> Option<(SearchId, [u8; 20])> {
        if self.running >= RUNNING {
            return None;
        }
        let (offered, at, number) = self.first(now)?;
        if at > now {
            return None;
        }
        self.due.remove(&(offered, at, number));
        if offered {
            self.paced = Some(now + PACE);
        }
        self.running += 1;
        let search = self.all.get_mut(&number)?;
        search.due = None;
        search.found = 0;
        Some((SearchId(number), search.info_hash))
    }

    /// The one that is due first, of those that may begin by then.
    fn first(&self, now: Instant) -> Option<(bool, Instant, u64)> {
        let wanted = self.due.first().filter(|(offered, ..)| !offered).copied();
        if wanted.is_some_and(|(_, at, _)| at <= now) {
            return wanted;
        }
        let offered = self.due.range((true, epoch(), 0)..).next();
        let offered =
            offered.map(|&(_, at, n)| (true, self.paced.map_or(at, |p| p.max(at)), n, at));
        match (wanted, offered) {
            (Some(wanted), Some((.., when, _, _))) if wanted.1 <= when => Some(wanted),
            (_, Some((_, when, n, at))) if when <= now => Some((true, at, n)),
            (_, Some((_, when, n, _))) => Some((true, when, n)),
            (wanted, None) => wanted,
        }
    }

    /// When the next search may begin.
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        if self.running >= RUNNING {
            return None;
        }
        self.first(now).map(|(_, at, _)| at)
    }

    /// A search has found peers.
    pub fn found(&mut self, search: SearchId, peers: usize) {
        if let Some(search) = self.all.get_mut(&search.0) {
            search.found += peers;
        }
    }

    /// A search is over; so many nodes answered. `offered`: nothing of the torrent is wanted any more.
    pub fn done(&mut self, now: Instant, id: SearchId, nodes: usize, offered: bool) {
        let Some(search) = self
            .all
            .get_mut(&id.0)
            .filter(|search| search.due.is_none())
        else {
            return;
        };
        search.nodes = Some(nodes);
        search.offered = offered;
        let wait = match search.found {
            0 if !offered => {
                search.vain += 1;
                NOBODY * (1 << search.vain.min(5) >> 1)
            }
            _ => {
                search.vain = 0;
                AGAIN
            }
        };
        search.due = Some(now + wait);
        self.due.insert((offered, now + wait, id.0));
        self.running -= 1;
    }

    /// There are nodes to ask: searches that had none do not wait for their turn.
    pub fn hurry(&mut self, now: Instant) {
        for (&number, search) in &mut self.all {
            if let (Some(at), Some(0)) = (search.due, search.nodes) {
                self.due.remove(&(search.offered, at, number));
                self.due.insert((search.offered, now, number));
                search.due = Some(now);
            }
        }
    }

    /// Peers found in the last turns of a torrent's searches.
    pub fn peers(&self, torrent: TorrentId) -> usize {
        let searches = self.all.range(Searches::numbers(torrent));
        searches.map(|(_, search)| search.found).sum()
    }
}

/// Before any time that is met.
fn epoch() -> Instant {
    use std::sync::OnceLock;
    static FIRST: OnceLock<Instant> = OnceLock::new();
    let now = Instant::now();
    *FIRST.get_or_init(|| now.checked_sub(Duration::from_secs(3600)).unwrap_or(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begun(searches: &mut Searches, now: Instant) -> Vec<u32> {
        let begin = || searches.begin(now).map(|(id, _)| Searches::torrent(id).0);
        std::iter::from_fn(begin).collect()
    }

    #[test]
    fn what_is_wanted_goes_first_and_what_is_offered_one_by_one() {
        let mut searches = Searches::default();
        let now = Instant::now();
        for n in 0..20 {
            searches.add(now, TorrentId(n), [n as u8; 20], n != 19);
        }
        assert_eq!(begun(&mut searches, now), [19, 0]);
        assert_eq!(searches.deadline(now), Some(now + PACE));
        assert_eq!(begun(&mut searches, now + PACE), [1]);
    }

    #[test]
    fn a_search_in_vain_is_repeated_soon_and_one_with_peers_later() {
        let mut searches = Searches::default();
        let now = Instant::now();
        searches.add(now, TorrentId(7), [7; 20], false);
        let (id, _) = searches.begin(now).unwrap();
        searches.done(now, id, 8, false);
        assert_eq!(searches.deadline(now), Some(now + NOBODY));
        let (id, _) = searches.begin(now + NOBODY).unwrap();
        searches.found(id, 3);
        searches.done(now, id, 8, false);
        assert_eq!(searches.deadline(now), Some(now + AGAIN));
        assert_eq!(searches.peers(TorrentId(7)), 3);
    }

    #[test]
    fn searches_that_had_nobody_to_ask_go_on_when_there_is_somebody() {
        let mut searches = Searches::default();
        let now = Instant::now();
        searches.add(now, TorrentId(1), [1; 20], true);
        let (id, _) = searches.begin(now).unwrap();
        searches.done(now, id, 0, true);
        let later = now + PACE;
        assert_eq!(searches.begin(later), None);
        searches.hurry(later);
        assert!(searches.begin(later).is_some());
    }

    #[test]
    fn two_names_of_one_torrent_are_looked_for_and_left_together() {
        let mut searches = Searches::default();
        let now = Instant::now();
        searches.add(now, TorrentId(1), [1; 20], false);
        searches.add(now, TorrentId(1), [2; 20], false);
        searches.add(now, TorrentId(1), [1; 20], false);
        assert_eq!(begun(&mut searches, now), [1, 1]);
        assert_eq!(searches.remove(TorrentId(1)).len(), 2);
        assert_eq!(searches.deadline(now), None);
        assert_eq!(searches.running, 0);
    }
}
