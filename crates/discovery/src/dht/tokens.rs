//! Tokens: proof that whoever announces has received our answer at the address it announces (BEP 5).
//!
//! Nothing is remembered per node: a token is a hash of the address and a secret that changes with time.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use sha1::{Digest, Sha1};

/// How long a secret is used; tokens of the one before are accepted too, so one lives five to ten minutes (BEP 5).
const ROTATION: Duration = Duration::from_secs(5 * 60);

/// Length of a token, in bytes: too long to guess within ten minutes at any packet rate.
const TOKEN_LEN: usize = 8;

/// Makes tokens and recognises them.
#[derive(Debug)]
pub(super) struct Tokens {
    secret: [u8; 20],
    started: Instant,
}

impl Tokens {
    /// `secret` must be unknown to others; who knows it can announce others' addresses here.
    pub(super) fn new(secret: [u8; 20], started: Instant) -> Tokens {
        Tokens { secret, started }
    }

    /// The token for a node at `ip`.
    pub(super) fn token(&self, now: Instant, ip: IpAddr) -> Vec<u8> {
        self.of_epoch(self.epoch(now), ip)
    }

    /// Whether this is a token given to `ip` not long ago.
    pub(super) fn accepts(&self, now: Instant, ip: IpAddr, token: &[u8]) -> bool {
        let epoch = self.epoch(now);
        let earlier = epoch.checked_sub(1).map(|epoch| self.of_epoch(epoch, ip));
        token == self.of_epoch(epoch, ip) || earlier.is_some_and(|earlier| token == earlier)
    }

    fn epoch(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.started).as_secs() / ROTATION.as_secs()
    }

    fn of_epoch(&self, epoch: u64, ip: IpAddr) -> Vec<u8> {
        let mut hash = Sha1::new()
            .chain_update(self.secret)
            .chain_update(epoch.to_be_bytes());
        match ip {
            IpAddr::V4(ip) => hash.update(ip.octets()),
            IpAddr::V6(ip) => hash.update(ip.octets()),
        }
        hash.finalize()[..TOKEN_LEN].to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_holds_for_its_address_and_five_to_ten_minutes() {
        let start = Instant::now();
        let at = |secs| start + Duration::from_secs(secs);
        let tokens = Tokens::new([7; 20], start);
        let (alice, eve) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let token = tokens.token(at(299), alice);
        assert!(tokens.accepts(at(299), alice, &token));
        assert!(tokens.accepts(at(599), alice, &token));
        assert!(!tokens.accepts(at(600), alice, &token));
        assert!(!tokens.accepts(at(299), eve, &token));
        assert!(!tokens.accepts(at(299), alice, b""));
        assert!(!Tokens::new([8; 20], start).accepts(at(299), alice, &token));
    }
}
