//! Values in the DHT (BEP 44): who waits for one, and which are kept alive while the node runs.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use discovery::dht::{Input, SearchId};
use tokio::sync::oneshot;
use torrent::krpc::item::check;
use torrent::krpc::{Item, NodeId};

use crate::DhtError;
use crate::drivers::Driver;

/// Nodes forget a value after two hours; it is put again after one (BEP 44, "Expiration").
const AGAIN: Duration = Duration::from_secs(60 * 60);
/// Values kept alive at once: each costs a walk an hour, and up to 1.2 KB.
const MOST_KEPT: usize = 1_000;
/// Values asked for and put at once.
const MOST_ASKED: usize = 256;
/// Searches for values have numbers from here on; those for peers are lower.
const FIRST: u64 = 1 << 40;

/// Somebody who waits.
enum Wait {
    Get(
        Option<Item>,
        oneshot::Sender<Result<Option<Item>, DhtError>>,
    ),
    Put(
        Option<(u16, String)>,
        oneshot::Sender<Result<usize, DhtError>>,
    ),
    /// A value that is kept alive: nobody waits.
    Again,
}

/// All of them.
#[derive(Default)]
pub(super) struct Values {
    last: u64,
    waiting: BTreeMap<SearchId, Wait>,
    /// What is kept alive, and when it is put again.
    kept: BTreeMap<NodeId, (Item, Instant)>,
}

impl Values {
    fn begin(&mut self, wait: Wait) -> SearchId {
        self.last += 1;
        let search = SearchId(FIRST + self.last);
        self.waiting.insert(search, wait);
        search
    }

    /// Whether this search is for a value.
    pub fn has(&self, search: SearchId) -> bool {
        self.waiting.contains_key(&search)
    }

    /// A value has been met; each is newer than those before.
    pub fn met(&mut self, search: SearchId, item: Item) {
        if let Some(Wait::Get(newest, _)) = self.waiting.get_mut(&search) {
            *newest = Some(item);
        }
    }

    /// A node does not keep a value.
    pub fn refused(&mut self, search: SearchId, code: u16, message: String) {
        if let Some(Wait::Put(refusal, _)) = self.waiting.get_mut(&search) {
            *refusal = Some((code, message));
        }
    }

    /// A search is over; so many nodes answered, so many have the value.
    pub fn done(&mut self, search: SearchId, answered: usize, taken: usize) {
        // Whoever asked may have given up meanwhile.
        match self.waiting.remove(&search) {
            Some(Wait::Get(None, answer)) if answered == 0 => {
                let _ = answer.send(Err(DhtError::Nobody));
            }
            Some(Wait::Get(newest, answer)) => drop(answer.send(Ok(newest))),
            Some(Wait::Put(refusal, answer)) => {
                let _ = answer.send(match (taken, refusal) {
                    (0, Some((code, message))) => Err(DhtError::Refused { code, message }),
                    (0, None) => Err(DhtError::Nobody),
                    (taken, _) => Ok(taken),
                });
            }
            Some(Wait::Again) | None => {}
        }
    }

    /// Keeps a value alive from now on, in place of what was kept there.
    fn keep(&mut self, now: Instant, item: &Item) -> Result<(), DhtError> {
        let target = item.target();
        if self.kept.len() >= MOST_KEPT && !self.kept.contains_key(&target) {
            return Err(DhtError::TooMany);
        }
        self.kept.insert(target, (item.clone(), now + AGAIN));
        Ok(())
    }

    /// When a value is to be put again.
    pub fn deadline(&self) -> Option<Instant> {
        self.kept.values().map(|(_, at)| *at).min()
    }

    /// The next value that is to be put again now.
    pub fn due(&mut self, now: Instant) -> Option<(SearchId, Item)> {
        let (item, at) = self.kept.values_mut().find(|(_, at)| *at <= now)?;
        *at = now + AGAIN;
        let item = item.clone();
        Some((self.begin(Wait::Again), item))
    }
}

impl Driver {
    /// Looks for a value; `salt` may be empty.
    pub fn dht_get(
        self: &Rc<Self>,
        target: NodeId,
        salt: Vec<u8>,
        answer: oneshot::Sender<Result<Option<Item>, DhtError>>,
    ) {
        let Some(dht) = &self.dht else {
            return drop(answer.send(Err(DhtError::Off)));
        };
        let mut values = dht.values.borrow_mut();
        if values.waiting.len() >= MOST_ASKED {
            return drop(answer.send(Err(DhtError::TooMany)));
        }
        let search = values.begin(Wait::Get(None, answer));
        drop(values);
        dht.tell(
            self,
            Input::Get {
                search,
                target,
                salt,
            },
        );
    }

    /// Puts a value, and keeps it alive if so wished.
    pub fn dht_put(
        self: &Rc<Self>,
        item: Item,
        cas: Option<i64>,
        keep: bool,
        answer: oneshot::Sender<Result<usize, DhtError>>,
    ) {
        match self.try_put(item, keep) {
            Err(error) => drop(answer.send(Err(error))),
            Ok((dht, item)) => {
                let search = dht.values.borrow_mut().begin(Wait::Put(None, answer));
                let item = Box::new(item);
                dht.tell(self, Input::Put { search, item, cas });
            }
        }
    }

    fn try_put(&self, item: Item, keep: bool) -> Result<(&super::DhtDriver, Item), DhtError> {
        let dht = self.dht.as_ref().ok_or(DhtError::Off)?;
        match &item {
            Item::Immutable(value) => check(b"", 0, value)?,
            Item::Mutable(signed) => {
                check(&signed.salt, signed.seq, &signed.value)?;
                if !discovery::dht::is_genuine(signed) {
                    return Err(DhtError::Forged);
                }
            }
        }
        let mut values = dht.values.borrow_mut();
        if values.waiting.len() >= MOST_ASKED {
            return Err(DhtError::TooMany);
        }
        if keep {
            values.keep(Instant::now(), &item)?;
        }
        drop(values);
        Ok((dht, item))
    }

    /// Keeps a value alive no longer; nodes forget it within two hours.
    pub fn dht_forget(&self, target: NodeId) {
        if let Some(dht) = &self.dht {
            dht.values.borrow_mut().kept.remove(&target);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(n: u32) -> Item {
        Item::Immutable(format!("i{n}e").into_bytes())
    }

    #[test]
    fn a_kept_value_is_put_again_every_hour() {
        let now = Instant::now();
        let mut values = Values::default();
        values.keep(now, &item(1)).unwrap();
        assert_eq!(values.due(now), None);
        assert_eq!(values.deadline(), Some(now + AGAIN));
        let (search, put) = values.due(now + AGAIN).unwrap();
        assert!(put == item(1) && values.has(search));
        assert_eq!(values.due(now + AGAIN), None);
        assert_eq!(values.deadline(), Some(now + AGAIN * 2));
        values.done(search, 8, 8);
        assert!(!values.has(search));
    }

    #[test]
    fn so_many_values_are_kept_and_no_more() {
        let now = Instant::now();
        let mut values = Values::default();
        (0..MOST_KEPT as u32).for_each(|n| values.keep(now, &item(n)).unwrap());
        assert!(matches!(
            values.keep(now, &item(5_000)),
            Err(DhtError::TooMany)
        ));
        values.keep(now, &item(5)).unwrap();
    }

    #[test]
    fn whoever_waits_hears_what_became_of_it() {
        let mut values = Values::default();
        let put = |values: &mut Values, refusal: bool, taken| {
            let (sender, mut answer) = oneshot::channel();
            let search = values.begin(Wait::Put(None, sender));
            if refusal {
                values.refused(search, 302, "newer".into());
            }
            values.done(search, 8, taken);
            answer.try_recv().unwrap()
        };
        assert!(matches!(put(&mut values, true, 3), Ok(3)));
        assert!(matches!(
            put(&mut values, true, 0),
            Err(DhtError::Refused { code: 302, .. })
        ));
        assert!(matches!(put(&mut values, false, 0), Err(DhtError::Nobody)));
        let get = |values: &mut Values, met: &[u32], answered| {
            let (sender, mut answer) = oneshot::channel();
            let search = values.begin(Wait::Get(None, sender));
            met.iter().for_each(|n| values.met(search, item(*n)));
            values.done(search, answered, 0);
            answer.try_recv().unwrap()
        };
        assert!(matches!(get(&mut values, &[1, 2], 8), Ok(Some(found)) if found == item(2)));
        assert!(matches!(get(&mut values, &[], 8), Ok(None)));
        assert!(matches!(get(&mut values, &[], 0), Err(DhtError::Nobody)));
    }
}
