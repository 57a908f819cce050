//! Values that others have put here (BEP 44). Forgets after two hours.
//!
//! When there is no room, what is furthest from our own place is forgotten first, as in `peers.rs`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use torrent::krpc::item::{MAX_SALT_LEN, MAX_VALUE_LEN};
use torrent::krpc::{Item, NodeId, code};

use super::sign::is_genuine;

/// How long a value is kept. Whoever wants it kept puts it again every hour.
const LIFETIME: Duration = Duration::from_secs(2 * 60 * 60);

/// Most values kept: about 3 MB.
const MAX_ITEMS: usize = 2_000;

/// Why a value is not kept: an error code, and its words.
pub(super) type Refusal = (u16, &'static str);

/// What is kept for others.
#[derive(Debug, Default)]
pub(super) struct Items(BTreeMap<NodeId, (Item, Instant)>);

impl Items {
    /// Keeps a value, if nothing speaks against it. `own` is our place; `cas`, which value it is to replace.
    pub(super) fn put(
        &mut self,
        now: Instant,
        own: &NodeId,
        item: Item,
        cas: Option<i64>,
    ) -> Result<(), Refusal> {
        if item.value().len() > MAX_VALUE_LEN {
            return Err((code::TOO_LONG, "value too long"));
        }
        let target = item.target();
        if let Item::Mutable(signed) = &item {
            if signed.salt.len() > MAX_SALT_LEN {
                return Err((code::SALT, "salt too long"));
            }
            if let Some(Item::Mutable(kept)) = self.get(now, &target) {
                if cas.is_some_and(|cas| cas != kept.seq) {
                    return Err((code::CAS, "replaced meanwhile, read it again"));
                }
                let is_same = kept.seq == signed.seq && kept.value == signed.value;
                if kept.seq >= signed.seq && !is_same {
                    return Err((code::SEQ, "a newer value is known"));
                }
            }
            if !is_genuine(signed) {
                return Err((code::SIGNATURE, "not signed by its key"));
            }
        }
        if !self.0.contains_key(&target) && !self.make_room(now, own, &target) {
            return Err((code::SERVER, "no room"));
        }
        self.0.insert(target, (item, now));
        Ok(())
    }

    /// What is kept there.
    pub(super) fn get(&self, now: Instant, target: &NodeId) -> Option<&Item> {
        let (item, heard) = self.0.get(target)?;
        (!is_old(now, *heard)).then_some(item)
    }

    /// Forgets what is old.
    pub(super) fn expire(&mut self, now: Instant) {
        self.0.retain(|_, (_, heard)| !is_old(now, *heard));
    }

    /// How many values are kept.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    fn make_room(&mut self, now: Instant, own: &NodeId, target: &NodeId) -> bool {
        if self.0.len() < MAX_ITEMS {
            return true;
        }
        self.expire(now);
        let furthest = self.0.keys().max_by_key(|one| one.distance(own)).copied();
        let furthest = furthest.filter(|_| self.0.len() >= MAX_ITEMS);
        match furthest {
            None => true,
            Some(furthest) if furthest.distance(own) > target.distance(own) => {
                self.0.remove(&furthest).is_some()
            }
            Some(_) => false,
        }
    }
}

fn is_old(now: Instant, heard: Instant) -> bool {
    now.saturating_duration_since(heard) >= LIFETIME
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dht::SigningKey;

    const OWN: NodeId = NodeId([0; 20]);

    fn signed(seq: i64, value: &str) -> Item {
        let key = SigningKey::from_seed(&[7; 32]);
        Item::Mutable(key.sign(b"news", seq, value.as_bytes()).unwrap())
    }

    #[test]
    fn the_newest_value_is_kept_and_older_ones_are_refused() {
        let now = Instant::now();
        let mut items = Items::default();
        let mut put = |seq, value, cas| {
            let refused = items.put(now, &OWN, signed(seq, value), cas);
            refused.map_err(|(code, _)| code)
        };
        assert_eq!(
            put(3, "1:a", Some(99)),
            Ok(()),
            "cas says nothing where there is nothing"
        );
        assert_eq!(put(3, "1:a", None), Ok(()), "again");
        assert_eq!(put(3, "1:b", None), Err(code::SEQ));
        assert_eq!(put(2, "1:b", None), Err(code::SEQ));
        assert_eq!(put(4, "1:b", Some(2)), Err(code::CAS));
        assert_eq!(put(4, "1:b", Some(3)), Ok(()));
        assert_eq!(
            items.get(now, &signed(0, "1:x").target()),
            Some(&signed(4, "1:b"))
        );
    }

    #[test]
    fn what_breaks_a_limit_or_is_forged_is_refused() {
        let now = Instant::now();
        let mut items = Items::default();
        let mut put = |item| items.put(now, &OWN, item, None).map_err(|(code, _)| code);
        let long = format!("1000:{}", "x".repeat(1000)).into_bytes();
        assert_eq!(put(Item::Immutable(long)), Err(code::TOO_LONG));
        let Item::Mutable(right) = signed(1, "1:a") else {
            unreachable!()
        };
        let mut salty = right.clone();
        salty.salt = vec![0; 65];
        assert_eq!(put(Item::Mutable(salty)), Err(code::SALT));
        let mut forged = right;
        forged.value = b"1:b".to_vec();
        assert_eq!(put(Item::Mutable(forged)), Err(code::SIGNATURE));
        assert_eq!(items.len(), 0);
    }

    #[test]
    fn values_live_two_hours_after_they_were_last_put() {
        let start = Instant::now();
        let mut items = Items::default();
        let item = Item::Immutable(b"i1e".to_vec());
        let target = item.target();
        items.put(start, &OWN, item.clone(), None).unwrap();
        items
            .put(start + LIFETIME / 2, &OWN, item.clone(), None)
            .unwrap();
        assert_eq!(items.get(start + LIFETIME, &target), Some(&item));
        assert_eq!(items.get(start + LIFETIME * 2, &target), None);
        items.expire(start + LIFETIME * 2);
        assert_eq!(items.len(), 0);
    }

    #[test]
    fn a_flood_pushes_out_what_is_furthest_from_us() {
        let now = Instant::now();
        let mut items = Items::default();
        let item = |n: usize| Item::Immutable(format!("i{n}e").into_bytes());
        let kept = (0..MAX_ITEMS * 2).filter(|n| items.put(now, &OWN, item(*n), None).is_ok());
        assert!(kept.count() < MAX_ITEMS * 2);
        assert_eq!(items.len(), MAX_ITEMS);
        let mut all: Vec<_> = (0..MAX_ITEMS * 2).map(|n| item(n).target()).collect();
        all.sort_by_key(|target| target.distance(&OWN));
        assert!(
            all[..MAX_ITEMS]
                .iter()
                .all(|target| items.get(now, target).is_some())
        );
    }
}
