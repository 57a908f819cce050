//! Who has a secret shows it without saying which, to somebody who has it too or learns nothing.
//!
//! Inside an encrypted channel, the dialer sends [`Channel::prove`]; the acceptor answers with its own proof if it
//! serves that share to this peer, and else with as many bytes that mean nothing. Only then is anything named. A proof
//! depends on what only the two ends of this one channel know (an exporter, RFC 8446 §7.5, RFC 5705), on who dialled,
//! and on both keys: it cannot be played back, mirrored or passed on.

use aws_lc_rs::hmac::{self, HMAC_SHA256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use crate::crypto::derive;
use crate::key::DeviceId;
use crate::secret::ShareSecret;

/// Bytes of a proof, and of what is sent in place of one.
pub const PROOF_LEN: usize = 32;

/// What proofs are keyed with.
const KEY: &str = "starling proof 1";

/// Which end of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Opened it.
    Dialer = 1,
    /// Was called.
    Acceptor = 2,
}

/// An encrypted channel between two devices whose keys it has proved.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Channel {
    /// 32 bytes that TLS exports at both ends of this channel and nowhere else.
    pub exporter: [u8; 32],
    /// Who opened it.
    pub dialer: DeviceId,
    /// Who was called.
    pub acceptor: DeviceId,
}

/// What the secret of a share is proved with; made once for each share.
pub struct ProofKey(hmac::Key);

impl ProofKey {
    /// That of this secret.
    pub fn of(secret: &ShareSecret) -> ProofKey {
        let key = derive::<32>(secret.expose(), KEY, b"");
        ProofKey(hmac::Key::new(HMAC_SHA256, &*key))
    }

    /// A key that proves nothing: what it makes looks like a proof to everybody. `random` are 32 bytes that this
    /// process drew when it began and tells nobody.
    pub fn decoy(random: &[u8; 32]) -> ProofKey {
        ProofKey(hmac::Key::new(HMAC_SHA256, random))
    }
}

impl Channel {
    /// What the end in this role sends: HMAC-SHA256 over exporter ‖ role ‖ own key ‖ other's key.
    pub fn prove(&self, key: &ProofKey, role: Role) -> [u8; PROOF_LEN] {
        let (ours, theirs) = match role {
            Role::Dialer => (self.dialer, self.acceptor),
            Role::Acceptor => (self.acceptor, self.dialer),
        };
        let mut context = hmac::Context::with_key(&key.0);
        context.update(&self.exporter);
        context.update(&[role as u8]);
        context.update(&ours.0);
        context.update(&theirs.0);
        let tag = context.sign();
        tag.as_ref().try_into().expect("HMAC-SHA256 has 32 bytes")
    }

    /// Whether the end in this role has the secret. Takes the same time whatever it finds.
    pub fn is_proof(&self, key: &ProofKey, role: Role, proof: &[u8; PROOF_LEN]) -> bool {
        self.prove(key, role).ct_eq(proof).into()
    }

    /// What the acceptor sends to a dialer who sent `proof`, and which of its shares was meant, counted from 0.
    ///
    /// With each share comes whether it is served to this dialer. One that is not, because it expired, was withdrawn
    /// or is for others, is as good as none. Every share costs the same work, whichever is meant: the time tells how
    /// many there are, and nothing else.
    pub fn answer<'a>(
        &self,
        shares: impl IntoIterator<Item = (&'a ProofKey, bool)>,
        decoy: &ProofKey,
        proof: &[u8; PROOF_LEN],
    ) -> (Option<usize>, [u8; PROOF_LEN]) {
        let mut answer = self.prove(decoy, Role::Acceptor);
        let mut found = u64::MAX;
        for (at, (key, is_served)) in (0_u64..).zip(shares) {
            let expected = self.prove(key, Role::Dialer);
            let ours = self.prove(key, Role::Acceptor);
            let is_meant = expected.ct_eq(proof) & Choice::from(u8::from(is_served));
            found.conditional_assign(&at, is_meant);
            for (byte, our) in answer.iter_mut().zip(&ours) {
                byte.conditional_assign(our, is_meant);
            }
        }
        let found = (found != u64::MAX).then_some(found as usize);
        (found, answer)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn channel(exporter: u8) -> Channel {
        Channel {
            exporter: [exporter; 32],
            dialer: DeviceId([1; 32]),
            acceptor: DeviceId([2; 32]),
        }
    }

    fn key(secret: &[u8; 16]) -> ProofKey {
        ProofKey::of(&ShareSecret::from_bytes(secret))
    }

    #[test]
    fn both_ends_prove_what_both_have() {
        let (here, keys) = (channel(7), [key(&[1; 16]), key(&[2; 16]), key(&[3; 16])]);
        let decoy = ProofKey::decoy(&[0; 32]);
        for (at, secret) in [[1; 16], [2; 16], [3; 16]].iter().enumerate() {
            let dialers = key(secret);
            let sent = here.prove(&dialers, Role::Dialer);
            assert!(here.is_proof(&keys[at], Role::Dialer, &sent));
            let (found, answer) = here.answer(keys.iter().map(|key| (key, true)), &decoy, &sent);
            assert_eq!(found, Some(at));
            assert!(here.is_proof(&dialers, Role::Acceptor, &answer));
        }
    }

    #[test]
    fn a_proof_is_for_one_channel_and_one_direction() {
        let key = key(&[1; 16]);
        let here = channel(7);
        let sent = here.prove(&key, Role::Dialer);
        assert!(!here.is_proof(&key, Role::Acceptor, &sent), "mirrored");
        assert!(
            !channel(8).is_proof(&key, Role::Dialer, &sent),
            "played back"
        );
        let eve = DeviceId([66; 32]);
        for passed_on in [
            Channel {
                dialer: eve,
                ..here
            },
            Channel {
                acceptor: eve,
                ..here
            },
            Channel {
                dialer: here.acceptor,
                acceptor: here.dialer,
                ..here
            },
        ] {
            assert!(!passed_on.is_proof(&key, Role::Dialer, &sent));
        }
    }

    proptest! {
        /// What a prober hears is the same, byte for byte, whatever is shared here.
        #[test]
        fn no_answer_without_a_proof_depends_on_the_shares(
            shares in prop::collection::vec(any::<([u8; 16], bool)>(), 0..20),
            random in any::<[u8; 32]>(),
            exporter in any::<u8>(),
            sent in any::<[u8; PROOF_LEN]>(),
        ) {
            let (here, decoy) = (channel(exporter), ProofKey::decoy(&random));
            let keys: Vec<_> = shares.iter().map(|(secret, served)| (key(secret), *served)).collect();
            let told = here.answer(keys.iter().map(|(key, served)| (key, *served)), &decoy, &sent);
            prop_assert_eq!(told, here.answer([], &decoy, &sent));
            prop_assert_eq!(told.0, None);
            let elsewhere = channel(exporter.wrapping_add(1)).answer([], &decoy, &sent);
            prop_assert_ne!(told.1, elsewhere.1, "it looks fresh on every channel");
        }

        /// Whoever has the secret of a share that is not served hears what somebody without it hears.
        #[test]
        fn a_share_that_is_not_served_is_as_good_as_none(
            secret in any::<[u8; 16]>(),
            others in prop::collection::vec(any::<([u8; 16], bool)>(), 0..10),
            random in any::<[u8; 32]>(),
        ) {
            let (here, decoy) = (channel(7), ProofKey::decoy(&random));
            let sent = here.prove(&key(&secret), Role::Dialer);
            let mut keys: Vec<_> = others.iter().map(|(secret, served)| (key(secret), *served)).collect();
            keys.push((key(&secret), false));
            let told = here.answer(keys.iter().map(|(key, served)| (key, *served)), &decoy, &sent);
            prop_assert_eq!(told, here.answer([], &decoy, &sent));
        }
    }
}
