//! The few operations that everything here is made of, all by aws-lc-rs.

use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use zeroize::Zeroizing;

/// Bytes of an Ed25519 signature (RFC 8032 §5.1.6).
pub(crate) const SIGNATURE_LEN: usize = 64;

/// An Ed25519 key, and the 32 secret bytes it is made of (RFC 8032 §5.1.5).
pub(crate) struct Signer {
    pair: Ed25519KeyPair,
    seed: Zeroizing<[u8; 32]>,
}

impl Signer {
    pub fn from_seed(seed: &[u8; 32]) -> Signer {
        Signer {
            pair: Ed25519KeyPair::from_seed_unchecked(seed).expect("every 32 bytes are a key"),
            seed: Zeroizing::new(*seed),
        }
    }

    pub fn seed(&self) -> &[u8; 32] {
        &self.seed
    }

    pub fn public(&self) -> [u8; 32] {
        let public = self.pair.public_key().as_ref();
        public.try_into().expect("an Ed25519 key has 32 bytes")
    }

    /// Signs `body` as what `context` says it is: a signature for one purpose is none for another. The context ends
    /// with a zero byte, so that no context begins another. Nothing else that these keys sign begins with "starling":
    /// TLS 1.3 begins with 64 spaces (RFC 8446 §4.4.3), values in the DHT with `3:seq` or `4:salt` (BEP 44).
    pub fn sign(&self, context: &str, body: &[u8]) -> [u8; SIGNATURE_LEN] {
        let signature = self.pair.sign(&signed_text(context, body));
        let bytes = signature.as_ref();
        bytes.try_into().expect("an Ed25519 signature has 64 bytes")
    }
}

/// Whether `key` signed `body` as what `context` says. A key that is no point of the curve signed nothing.
pub(crate) fn is_signed(
    key: &[u8; 32],
    context: &str,
    body: &[u8],
    signature: &[u8; SIGNATURE_LEN],
) -> bool {
    UnparsedPublicKey::new(&ED25519, key)
        .verify(&signed_text(context, body), signature)
        .is_ok()
}

fn signed_text(context: &str, body: &[u8]) -> Vec<u8> {
    debug_assert!(context.starts_with("starling ") && !context.contains('\0'));
    [context.as_bytes(), b"\0", body].concat()
}

/// `N` bytes that depend on all of the secret, the purpose and `more`: HKDF-SHA256 without a salt (RFC 5869). The
/// purpose ends with a zero byte in the info; `more` has one length for each purpose.
pub(crate) fn derive<const N: usize>(
    secret: &[u8],
    purpose: &str,
    more: &[u8],
) -> Zeroizing<[u8; N]> {
    struct Len(usize);
    impl KeyType for Len {
        fn len(&self) -> usize {
            self.0
        }
    }
    let mut out = Zeroizing::new([0; N]);
    let prk = Salt::new(HKDF_SHA256, b"").extract(secret);
    prk.expand(&[purpose.as_bytes(), b"\0", more], Len(N))
        .and_then(|okm| okm.fill(&mut *out))
        .expect("HKDF-SHA256 gives up to 8160 bytes");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_good_for_its_key_context_and_body_alone() {
        let (alice, eve) = (Signer::from_seed(&[1; 32]), Signer::from_seed(&[2; 32]));
        let signature = alice.sign("starling test", b"body");
        let good =
            |key: &Signer, context, body| is_signed(&key.public(), context, body, &signature);
        assert!(good(&alice, "starling test", b"body"));
        assert!(!good(&eve, "starling test", b"body"));
        assert!(!good(&alice, "starling rest", b"body"));
        assert!(!good(&alice, "starling test", b"bodz"));
        assert!(!is_signed(
            &[0xff; 32],
            "starling test",
            b"body",
            &signature
        ));
    }

    #[test]
    fn keys_for_different_purposes_have_nothing_in_common() {
        let of = |secret: &[u8], purpose, more: &[u8]| *derive::<32>(secret, purpose, more);
        let all = [
            of(b"secret", "a", b"1"),
            of(b"secret", "a", b"2"),
            of(b"secret", "b", b"1"),
            of(b"secreu", "a", b"1"),
        ];
        for (at, one) in all.iter().enumerate() {
            assert!(!all[..at].contains(one));
        }
        assert_eq!(of(b"secret", "a", b"1"), all[0]);
    }
}
