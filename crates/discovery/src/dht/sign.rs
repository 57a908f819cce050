//! Signatures of values that the DHT keeps (BEP 44): ed25519 (RFC 8032), which gives one text one signature.

use std::fmt;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use torrent::krpc::Signed;
use torrent::krpc::item::{ItemError, check};

/// What values are signed with.
pub struct SigningKey(Ed25519KeyPair);

impl SigningKey {
    /// The key made of these 32 secret bytes (RFC 8032 §5.1.5).
    pub fn from_seed(seed: &[u8; 32]) -> SigningKey {
        SigningKey(Ed25519KeyPair::from_seed_unchecked(seed).expect("every 32 bytes are a key"))
    }

    /// The public key, by which others know it.
    pub fn public(&self) -> [u8; 32] {
        let public = self.0.public_key().as_ref();
        public.try_into().expect("an ed25519 key has 32 bytes")
    }

    /// Signs a bencoded value.
    ///
    /// # Errors
    /// What nobody would keep.
    pub fn sign(&self, salt: &[u8], seq: i64, value: &[u8]) -> Result<Signed, ItemError> {
        check(salt, seq, value)?;
        let signature = self.0.sign(&Signed::text(salt, seq, value));
        Ok(Signed {
            key: self.public(),
            salt: salt.to_vec(),
            seq,
            signature: signature
                .as_ref()
                .try_into()
                .expect("an ed25519 signature has 64 bytes"),
            value: value.to_vec(),
        })
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", torrent::hex::encode(&self.public()))
    }
}

/// Whether the value is signed by its key.
pub fn is_genuine(signed: &Signed) -> bool {
    let text = Signed::text(&signed.salt, signed.seq, &signed.value);
    let key = UnparsedPublicKey::new(&ED25519, &signed.key);
    key.verify(&text, &signed.signature).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes<const N: usize>(hex: &str) -> [u8; N] {
        torrent::hex::decode(hex).unwrap()
    }

    #[test]
    fn the_signatures_of_bep_44_are_genuine() {
        let key = bytes("77ff84905a91936367c01360803104f92432fcd904a43511876df5cdf3e7e548");
        let plain = "305ac8aeb6c9c151fa120f120ea2cfb923564e11552d06a5d856091e5e853cff\
                     1260d3f39e4999684aa92eb73ffd136e6f4f3ecbfda0ce53a1608ecd7ae21f01";
        let salted = "6834284b6b24c3204eb2fea824d82f88883a3d95e8b4a21b8c0ded553d17d17d\
                      df9a8a7104b1258f30bed3787e6cb896fca78c58f8e03b5f18f14951a87d9a08";
        for (salt, signature) in [(&b""[..], plain), (b"foobar", salted)] {
            let signed = Signed {
                key,
                salt: salt.to_vec(),
                seq: 1,
                signature: bytes(signature),
                value: b"12:Hello World!".to_vec(),
            };
            assert!(is_genuine(&signed));
            let later = Signed {
                seq: 2,
                ..signed.clone()
            };
            let other = Signed {
                value: b"12:Hello world!".to_vec(),
                ..signed.clone()
            };
            let elsewhere = Signed {
                salt: b"foo".to_vec(),
                ..signed
            };
            assert!(![later, other, elsewhere].iter().any(is_genuine));
        }
    }

    #[test]
    fn keys_and_signatures_are_those_of_rfc_8032() {
        // §7.1, TEST 1; what it signs is no value, so only the key can be compared.
        let seed = bytes("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60");
        let key = SigningKey::from_seed(&seed);
        let public = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
        assert_eq!(key.public(), bytes(public));
        let signed = key.sign(b"salt", 7, b"i1e").unwrap();
        assert!(is_genuine(&signed));
        assert_eq!(
            key.sign(b"salt", 7, b"i1e"),
            Ok(signed),
            "one text, one signature"
        );
        assert!(key.sign(b"salt", 7, b"nonsense").is_err());
    }
}
