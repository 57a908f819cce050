//! The 32 bytes with which the fast road begins: they show those who know a secret that a device dials, and anybody
//! else nothing.
//!
//! ```text
//! nonce (16)   random; its first byte is not that of a plain BitTorrent handshake
//! mac (16)     the first half of HMAC-SHA-256(key, "starling preface 1" ‖ nonce ‖ slot)
//! ```
//!
//! The slot is the number of ten minutes since 1970, 8 bytes, highest first. It is not sent: the listener tries its
//! own and the two beside it, so that a preface seen on the wire is of no use half an hour later. Until then its
//! nonce is remembered. A device whose clock is wrong comes by the other road.

use std::collections::HashMap;
use std::sync::Mutex;

use aws_lc_rs::hmac;
use subtle::ConstantTimeEq;

/// Length of a preface, in bytes.
pub const PREFACE: usize = 32;

/// Seconds of a slot.
const SLOT: u64 = 600;
/// Keys a listener knows at once. Each costs three hashes for each stranger who knocks.
const KEYS: usize = 512;
/// Prefaces remembered. They were all made by those who know a key; when there are more, the fast road is shut for
/// half an hour.
const REMEMBERED: usize = 4096;
/// What is said apart from the nonce and the time.
const LABEL: &[u8] = b"starling preface 1";
/// The first byte of a plain BitTorrent handshake.
const PLAIN: u8 = 0x13;

/// Makes a preface. The nonce is random; `now` is in seconds since 1970.
pub fn preface(key: &[u8; 32], mut nonce: [u8; 16], now: u64) -> [u8; PREFACE] {
    if nonce[0] == PLAIN {
        nonce[0] ^= 0x80;
    }
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    let mut bytes = [0; PREFACE];
    bytes[..16].copy_from_slice(&nonce);
    bytes[16..].copy_from_slice(&mac(&key, &nonce, now / SLOT));
    bytes
}

fn mac(key: &hmac::Key, nonce: &[u8], slot: u64) -> [u8; 16] {
    let mut context = hmac::Context::with_key(key);
    context.update(LABEL);
    context.update(nonce);
    context.update(&slot.to_be_bytes());
    let tag = context.sign();
    *tag.as_ref()
        .first_chunk()
        .expect("a tag of SHA-256 has 32 bytes")
}

/// Tells devices that dial from strangers.
#[derive(Default)]
pub struct Doorman {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    keys: Vec<([u8; 32], hmac::Key)>,
    /// Nonces that came in, with the slot they were made in.
    seen: HashMap<[u8; 16], u64>,
}

impl Doorman {
    /// Whoever knows this key is let in. False if there are too many keys already.
    pub fn expect(&self, key: &[u8; 32]) -> bool {
        let mut inner = self.inner();
        if inner.keys.iter().any(|(known, _)| known == key) {
            return true;
        }
        if inner.keys.len() >= KEYS {
            return false;
        }
        let ready = hmac::Key::new(hmac::HMAC_SHA256, key);
        inner.keys.push((*key, ready));
        true
    }

    /// This key opens no more.
    pub fn forget(&self, key: &[u8; 32]) {
        self.inner().keys.retain(|(known, _)| known != key);
    }

    /// A preface that was made with one of the keys, lately, and did not come before. `now` is in seconds since 1970.
    pub fn admits(&self, bytes: &[u8; PREFACE], now: u64) -> bool {
        let (nonce, theirs) = bytes.split_at(16);
        let now = now / SLOT;
        let mut inner = self.inner();
        let slots = now.saturating_sub(1)..=now.saturating_add(1);
        let mut made = None;
        // All are tried: how long it takes tells nothing of which it was.
        for (_, key) in &inner.keys {
            for slot in slots.clone() {
                if bool::from(mac(key, nonce, slot).ct_eq(theirs)) {
                    made = Some(slot);
                }
            }
        }
        let Some(slot) = made else {
            return false;
        };
        inner.seen.retain(|_, slot| *slot + 1 >= now);
        let nonce = *nonce.first_chunk().expect("split at 16");
        if inner.seen.len() >= REMEMBERED || inner.seen.contains_key(&nonce) {
            return false;
        }
        inner.seen.insert(nonce, slot);
        true
    }

    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().expect("nobody panics while holding it")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn doorman() -> Doorman {
        let doorman = Doorman::default();
        assert!(doorman.expect(&[7; 32]));
        doorman
    }

    #[test]
    fn who_knows_the_key_is_let_in_once() {
        let doorman = doorman();
        let bytes = preface(&[7; 32], [1; 16], NOW);
        assert!(doorman.admits(&bytes, NOW));
        assert!(!doorman.admits(&bytes, NOW));
        assert!(!doorman.admits(&bytes, NOW + SLOT));
        assert!(doorman.admits(&preface(&[7; 32], [2; 16], NOW), NOW));
    }

    #[test]
    fn other_keys_and_other_bytes_are_strangers() {
        let doorman = doorman();
        assert!(!doorman.admits(&preface(&[8; 32], [1; 16], NOW), NOW));
        let bytes = preface(&[7; 32], [1; 16], NOW);
        for bit in 0..PREFACE * 8 {
            let mut other = bytes;
            other[bit / 8] ^= 1 << (bit % 8);
            assert!(!doorman.admits(&other, NOW), "bit {bit}");
        }
        doorman.forget(&[7; 32]);
        assert!(!doorman.admits(&bytes, NOW));
    }

    #[test]
    fn a_preface_is_good_for_as_long_as_its_nonce_is_remembered() {
        for age in [0, SLOT, SLOT * 2 - 1] {
            // Whatever the place in the slot: ten minutes are always allowed, half an hour never is.
            for start in [NOW, NOW + 1, NOW + SLOT - 1] {
                let doorman = doorman();
                let bytes = preface(&[7; 32], [1; 16], start);
                let first = doorman.admits(&bytes, start + age);
                assert!(first || age > SLOT, "{age}");
                for later in 0..3 * SLOT / 60 {
                    assert!(!doorman.admits(&bytes, start + age + later * 60) || !first);
                }
            }
        }
        let old = preface(&[7; 32], [1; 16], NOW);
        assert!(!doorman().admits(&old, NOW + 3 * SLOT));
        assert!(!doorman().admits(&old, NOW - 3 * SLOT));
    }

    #[test]
    fn it_never_begins_like_bittorrent() {
        let bytes = preface(&[7; 32], [PLAIN; 16], NOW);
        assert_ne!(bytes[0], PLAIN);
        assert!(doorman().admits(&bytes, NOW));
    }

    #[test]
    fn memory_has_an_end() {
        let doorman = doorman();
        let mut let_in = 0;
        for n in 0..REMEMBERED as u128 + 10 {
            let bytes = preface(&[7; 32], (n << 8).to_be_bytes(), NOW);
            let_in += usize::from(doorman.admits(&bytes, NOW));
        }
        assert_eq!(let_in, REMEMBERED);
        // It opens again.
        let later = NOW + 3 * SLOT;
        assert!(doorman.admits(&preface(&[7; 32], [9; 16], later), later));
        for n in 0..KEYS + 10 {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&n.to_be_bytes());
            assert_eq!(doorman.expect(&key), n < KEYS - 1);
        }
    }
}
