//! How holders of a share find each other: sealed slots in the DHT, at places that only the secret tells.
//!
//! Every day has a few slots of its own. Each is a mutable value (BEP 44) under a key pair that every holder derives,
//! with places for a handful of entries, sealed, and all of one length: who stores it sees random bytes. A holder reads
//! the slot, puts its entry in place of its last one, and stores it back, if nobody was faster (compare and swap).
//! A malicious holder can wipe slots; nobody else can even tell that they belong together, or to what.
//!
//! Here are the values. Reading and writing the DHT is done by others.

use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroizing;

use crate::bytes::Reader;
use crate::crypto::derive;
use crate::key::DeviceId;
use crate::link::Hints;
use crate::secret::ShareSecret;
use crate::time::UnixTime;

/// Slots of one day.
pub const SLOTS: usize = 4;

/// Entries that one slot has places for.
pub const PLACES: usize = 5;

/// Bytes of a sealed entry: nonce, what is sealed, tag.
pub const ENTRY_LEN: usize = NONCE_LEN + OPEN_LEN + TAG_LEN;

const NONCE_LEN: usize = 12;
const TAG_LEN: usize = 16;
/// Bytes of an entry before it is sealed.
const OPEN_LEN: usize = 171;
/// Of these, for the hints and their shape.
const HINTS_LEN: usize = OPEN_LEN - 32 - 8;

/// What stands before the entries: the length of a bencoded string.
const BENCODE: &[u8] = b"995:";

const SECONDS_PER_DAY: u64 = 24 * 3600;
/// How near midnight both days count, in seconds: more than clocks are usually wrong.
const MIDNIGHT: u64 = 3600;

const DAY: &str = "starling slots 1";
const SLOT: &str = "starling slot key 1";
const SEAL: &str = "starling slot seal 1";
const CHOICE: &str = "starling slot choice 1";

/// A day, counted from 1970-01-01 UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(pub u32);

impl Day {
    /// The day that it is, and within an hour of midnight the other one, too: entries go into all of them, and are
    /// looked for in all.
    pub fn around(now: UnixTime) -> Vec<Day> {
        let day = |seconds: u64| Day((seconds / SECONDS_PER_DAY).try_into().unwrap_or(u32::MAX));
        let today = day(now.0);
        let mut days = vec![today];
        let near = [now.0.saturating_sub(MIDNIGHT), now.plus_seconds(MIDNIGHT).0];
        days.extend(near.map(day).into_iter().filter(|other| *other != today));
        days
    }
}

/// A device that has what is shared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Which.
    pub device: DeviceId,
    /// When it said so, by its clock.
    pub at: UnixTime,
    /// Where it may be reached.
    pub hints: Hints,
}

/// The slots of one share on one day.
pub struct Slots {
    root: Zeroizing<[u8; 32]>,
    seal: LessSafeKey,
}

impl Slots {
    /// Those of the share with this secret.
    pub fn of(secret: &ShareSecret, day: Day) -> Slots {
        let root = derive::<32>(secret.expose(), DAY, &day.0.to_be_bytes());
        let key = derive::<32>(&*root, SEAL, b"");
        let key = UnboundKey::new(&CHACHA20_POLY1305, &*key).expect("the key has 32 bytes");
        Slots {
            seal: LessSafeKey::new(key),
            root,
        }
    }

    /// The seed of the Ed25519 key that slot `slot` (below [`SLOTS`]) is kept under, without a salt. A key for each
    /// slot rather than a salt: who stores two of them does not see that they have to do with each other.
    pub fn seed(&self, slot: usize) -> Zeroizing<[u8; 32]> {
        derive(&*self.root, SLOT, &[slot as u8])
    }

    /// The slot that a device writes to first; the ones after it, in turn, are for when that is of no use.
    pub fn first_of(&self, device: DeviceId) -> usize {
        let [byte] = *derive::<1>(&*self.root, CHOICE, &device.0);
        usize::from(byte) % SLOTS
    }

    /// An entry as it stands in a slot. `nonce` is random, anew each time. Relays that there is no room for are left
    /// out; addresses have room always.
    pub fn seal(&self, holder: &Holder, nonce: [u8; NONCE_LEN]) -> [u8; ENTRY_LEN] {
        let mut open = Vec::with_capacity(OPEN_LEN);
        open.extend(holder.device.0);
        open.extend(holder.at.0.to_be_bytes());
        open.extend(holder.hints.within(HINTS_LEN));
        open.resize(OPEN_LEN, 0);
        let nonce_used = Nonce::assume_unique_for_key(nonce);
        self.seal
            .seal_in_place_append_tag(nonce_used, Aad::empty(), &mut open)
            .expect("an entry is far below what one nonce is good for");
        let mut sealed = [0; ENTRY_LEN];
        let (head, rest) = sealed.split_at_mut(NONCE_LEN);
        head.copy_from_slice(&nonce);
        rest.copy_from_slice(&open);
        sealed
    }

    /// What a place holds; `None` for a free one, one of another share or day, and nonsense of a malicious holder.
    pub fn open(&self, sealed: &[u8; ENTRY_LEN]) -> Option<Holder> {
        let (nonce, rest) = sealed.split_first_chunk::<NONCE_LEN>()?;
        let mut open = rest.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let open = self
            .seal
            .open_in_place(nonce, Aad::empty(), &mut open)
            .ok()?;
        let mut reader = Reader::new(open);
        let device = DeviceId(reader.array().ok()?);
        let at = UnixTime(reader.u64().ok()?);
        let hints = Hints::read(&mut reader)?;
        let is_padded = reader.rest().iter().all(|&byte| byte == 0);
        is_padded.then_some(Holder { device, at, hints })
    }

    /// Who is in a slot with this value: of each device the latest entry, at most [`PLACES`].
    pub fn read(&self, value: &[u8]) -> Vec<Holder> {
        self.entries(value)
            .into_iter()
            .map(|(holder, _)| holder)
            .collect()
    }

    /// The value of a slot with this entry in it: in place of the device's last one, of a free one, or of the one that
    /// is oldest. Always as long, and as random to who stores it. `random` fills the bytes it is given, from the
    /// system.
    pub fn write(
        &self,
        previous: &[u8],
        holder: &Holder,
        mut random: impl FnMut(&mut [u8]),
    ) -> Vec<u8> {
        let mut nonce = [0; NONCE_LEN];
        random(&mut nonce);
        let mut places = vec![self.seal(holder, nonce)];
        let others = self
            .entries(previous)
            .into_iter()
            .filter(|(other, _)| other.device != holder.device);
        places.extend(others.map(|(_, sealed)| sealed).take(PLACES - 1));
        while places.len() < PLACES {
            let mut free = [0; ENTRY_LEN];
            random(&mut free);
            places.push(free);
        }
        // The order says neither who came last nor how many there are.
        places.sort();
        [BENCODE, places.as_flattened()].concat()
    }

    /// The entries of a value, the latest first, one of each device.
    fn entries(&self, value: &[u8]) -> Vec<(Holder, [u8; ENTRY_LEN])> {
        let (places, rest) = match value.strip_prefix(BENCODE) {
            Some(places) => places.as_chunks::<ENTRY_LEN>(),
            None => return Vec::new(),
        };
        if places.len() != PLACES || !rest.is_empty() {
            return Vec::new();
        }
        let mut entries: Vec<_> = places
            .iter()
            .filter_map(|sealed| Some((self.open(sealed)?, *sealed)))
            .collect();
        entries.sort_by(|(one, a), (other, b)| (other.at, b).cmp(&(one.at, a)));
        let mut seen = Vec::new();
        entries.retain(|(holder, _)| {
            let is_new = !seen.contains(&holder.device);
            seen.push(holder.device);
            is_new
        });
        entries
    }
}

/// The number of a slot's next value: above the last, and by the clock where that is enough. `None` if a malicious
/// holder left no number above it: this slot is lost for the day.
pub fn next_seq(last: Option<i64>, now: UnixTime) -> Option<i64> {
    let clock = i64::try_from(now.0).unwrap_or(0);
    match last {
        Some(last) => Some(last.checked_add(1)?.max(clock)),
        None => Some(clock),
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use proptest::prelude::*;

    use super::*;
    use crate::link::Relay;

    fn slots() -> Slots {
        Slots::of(&ShareSecret::from_bytes(&[7; 16]), Day(20_000))
    }

    fn holder(device: u8, at: u64) -> Holder {
        let address: SocketAddr = ([10, 0, 0, device], 4433).into();
        Holder {
            device: DeviceId([device; 32]),
            at: UnixTime(at),
            hints: Hints::new([address], Some(6881), []),
        }
    }

    /// Random enough here: every byte asked for differs from the last.
    fn counter() -> impl FnMut(&mut [u8]) {
        let mut next = 0_u64;
        move |bytes: &mut [u8]| {
            for byte in bytes {
                next += 1;
                *byte = (next.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8;
            }
        }
    }

    #[test]
    fn days_change_at_midnight_and_both_count_around_it() {
        let days = |now: u64| {
            Day::around(UnixTime(now))
                .into_iter()
                .map(|day| day.0)
                .collect::<Vec<_>>()
        };
        assert_eq!(days(0), [0]);
        assert_eq!(days(43_200), [0]);
        assert_eq!(days(86_400 - 3601), [0]);
        assert_eq!(days(86_400 - 3600), [0, 1]);
        assert_eq!(days(86_400), [1, 0]);
        assert_eq!(days(86_400 + 3600), [1]);
        assert_eq!(days(u64::MAX), [u32::MAX]);
    }

    #[test]
    fn every_slot_of_every_day_and_share_is_elsewhere() {
        let of = |secret, day, slot| {
            *Slots::of(&ShareSecret::from_bytes(&[secret; 16]), Day(day)).seed(slot)
        };
        let all = [of(1, 1, 0), of(1, 1, 1), of(1, 2, 0), of(2, 1, 0)];
        for (at, one) in all.iter().enumerate() {
            assert!(!all[..at].contains(one));
        }
        let mut used = [0; SLOTS];
        for device in 0..40 {
            used[slots().first_of(DeviceId([device; 32]))] += 1;
        }
        assert!(used.iter().all(|&devices| devices > 0), "{used:?}");
    }

    #[test]
    fn a_slot_keeps_the_latest_of_each() {
        let (slots, mut random) = (slots(), counter());
        let mut value = Vec::new();
        for (device, at) in [(1, 10), (2, 11), (1, 12), (3, 5), (4, 13), (5, 14)] {
            value = slots.write(&value, &holder(device, at), &mut random);
            assert_eq!(value.len(), 999);
        }
        let seen = |value: &[u8]| {
            let read = slots.read(value);
            read.iter()
                .map(|holder| (holder.device.0[0], holder.at.0))
                .collect::<Vec<_>>()
        };
        assert_eq!(seen(&value), [(5, 14), (4, 13), (1, 12), (2, 11), (3, 5)]);
        // A sixth comes in, even with a clock that is a year behind.
        let value = slots.write(&value, &holder(6, 1), &mut random);
        assert_eq!(seen(&value), [(5, 14), (4, 13), (1, 12), (2, 11), (6, 1)]);
    }

    #[test]
    fn what_is_no_slot_is_empty() {
        let (slots, mut random) = (slots(), counter());
        let value = slots.write(b"", &holder(1, 1), &mut random);
        assert_eq!(slots.read(&value), [holder(1, 1)]);
        let other = Slots::of(&ShareSecret::from_bytes(&[8; 16]), Day(20_000));
        let tomorrow = Slots::of(&ShareSecret::from_bytes(&[7; 16]), Day(20_001));
        assert!(other.read(&value).is_empty() && tomorrow.read(&value).is_empty());
        for bad in [
            &b""[..],
            b"995:",
            &value[..998],
            &[&value[..], b"e"].concat(),
            b"5:hello",
        ] {
            assert!(slots.read(bad).is_empty());
        }
    }

    #[test]
    fn addresses_have_room_and_relays_as_far_as_there_is_any() {
        let addresses = (1..4_u8).flat_map(|n| {
            let v6: SocketAddr = ([0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(n)], 1).into();
            [([10, 0, 0, n], 1).into(), v6]
        });
        let long = |letter: &str| {
            format!("{}.org:443", letter.repeat(40))
                .parse::<Relay>()
                .unwrap()
        };
        let relays = [long("a"), long("b")];
        let mut big = holder(1, 1);
        big.hints = Hints::new(addresses, Some(1), relays);
        let read = slots().open(&slots().seal(&big, [0; 12])).unwrap();
        assert!(read.hints.addresses().eq(big.hints.addresses()));
        assert_eq!(read.hints.relays(), &big.hints.relays()[..1]);
    }

    #[test]
    fn numbers_go_up_until_there_are_none() {
        assert_eq!(next_seq(None, UnixTime(5)), Some(5));
        assert_eq!(next_seq(Some(3), UnixTime(5)), Some(5));
        assert_eq!(next_seq(Some(9), UnixTime(5)), Some(10));
        assert_eq!(next_seq(Some(i64::MAX), UnixTime(5)), None);
        assert_eq!(next_seq(Some(1), UnixTime(u64::MAX)), Some(2));
    }

    proptest! {
        #[test]
        fn a_sealed_entry_is_opened_and_a_changed_one_is_not(
            id in any::<[u8; 32]>(),
            at in any::<u64>(),
            addresses in prop::collection::vec(any::<SocketAddr>(), 0..8),
            nonce in any::<[u8; 12]>(),
            bit in 0..8 * ENTRY_LEN,
        ) {
            let (device, at) = (DeviceId(id), UnixTime(at));
            let made = Holder { device, at, hints: Hints::new(addresses, None, []) };
            let mut sealed = slots().seal(&made, nonce);
            prop_assert_eq!(slots().open(&sealed), Some(made));
            sealed[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(slots().open(&sealed), None);
        }
    }
}
