//! Values of their own that the DHT keeps (BEP 44): immutable ones under their hash, mutable ones under the hash of the
//! key that signs them.
//!
//! What a signature covers is said here; making and checking one is done in `discovery`.

use sha1::{Digest, Sha1};

use super::NodeId;
use crate::bencode;

/// Longest value that nodes can be expected to keep, in bytes of its bencoded form.
pub const MAX_VALUE_LEN: usize = 1000;

/// Longest salt, in bytes.
pub const MAX_SALT_LEN: usize = 64;

/// Deepest nesting of a value that is put; it stands two levels deep in a packet.
const MAX_DEPTH: u32 = 20;

/// Something to be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A value that stays what it is: any bencoded value, verbatim.
    Immutable(Vec<u8>),
    /// A value that whoever has the key can replace.
    Mutable(Signed),
}

/// A value and who vouches for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// Public key (ed25519).
    pub key: [u8; 32],
    /// Tells values under one key apart; may be empty. It is not in answers: who asks knows it.
    pub salt: Vec<u8>,
    /// The higher is the newer; never negative.
    pub seq: i64,
    /// Of [`Signed::text`].
    pub signature: [u8; 64],
    /// Any bencoded value, verbatim.
    pub value: Vec<u8>,
}

impl Item {
    /// Where it is kept.
    pub fn target(&self) -> NodeId {
        match self {
            Item::Immutable(value) => NodeId(Sha1::digest(value).into()),
            Item::Mutable(signed) => mutable_target(&signed.key, &signed.salt),
        }
    }

    /// The bencoded value.
    pub fn value(&self) -> &[u8] {
        match self {
            Item::Immutable(value) => value,
            Item::Mutable(signed) => &signed.value,
        }
    }

    /// Its number, if it is one of several.
    pub fn seq(&self) -> Option<i64> {
        match self {
            Item::Immutable(_) => None,
            Item::Mutable(signed) => Some(signed.seq),
        }
    }
}

impl Signed {
    /// What the signature covers ("Signature Verification").
    pub fn text(salt: &[u8], seq: i64, value: &[u8]) -> Vec<u8> {
        let mut text = Vec::with_capacity(value.len() + salt.len() + 40);
        if !salt.is_empty() {
            text.extend(format!("4:salt{}:", salt.len()).bytes());
            text.extend(salt);
        }
        text.extend(format!("3:seqi{seq}e1:v").bytes());
        text.extend(value);
        text
    }
}

/// Where values under this key and salt are kept.
pub fn mutable_target(key: &[u8; 32], salt: &[u8]) -> NodeId {
    let hash = Sha1::new().chain_update(key).chain_update(salt);
    NodeId(hash.finalize().into())
}

/// Why a value cannot be kept in the DHT.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ItemError {
    /// Not one bencoded value in its canonical form.
    #[error("what is to be kept in the DHT must be bencoded: {0}")]
    Bencode(#[from] bencode::Error),
    /// Over [`MAX_VALUE_LEN`].
    #[error("the DHT keeps at most {MAX_VALUE_LEN} bytes; this value has {0}")]
    TooLong(usize),
    /// Over [`MAX_SALT_LEN`].
    #[error("a salt has at most {MAX_SALT_LEN} bytes; this one has {0}")]
    Salt(usize),
    /// A negative number.
    #[error("the number of a value in the DHT is never negative, and {0} is")]
    Seq(i64),
}

/// Whether nodes can be expected to keep this.
///
/// # Errors
/// The limit that it breaks.
pub fn check(salt: &[u8], seq: i64, value: &[u8]) -> Result<(), ItemError> {
    if value.len() > MAX_VALUE_LEN {
        return Err(ItemError::TooLong(value.len()));
    }
    if salt.len() > MAX_SALT_LEN {
        return Err(ItemError::Salt(salt.len()));
    }
    if seq < 0 {
        return Err(ItemError::Seq(seq));
    }
    let limits = bencode::Limits::STRICT.size(MAX_VALUE_LEN).depth(MAX_DEPTH);
    bencode::parse(value, limits)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "77ff84905a91936367c01360803104f92432fcd904a43511876df5cdf3e7e548";
    const VALUE: &[u8] = b"12:Hello World!";

    fn id(hex: &str) -> NodeId {
        NodeId(crate::hex::decode(hex).unwrap())
    }

    #[test]
    fn the_targets_of_bep_44_hold() {
        let key = crate::hex::decode(KEY).unwrap();
        assert_eq!(
            mutable_target(&key, b""),
            id("4a533d47ec9c7d95b1ad75f576cffc641853b750")
        );
        assert_eq!(
            mutable_target(&key, b"foobar"),
            id("411eba73b6f087ca51a3795d9c8c938d365e32c1")
        );
        assert_eq!(
            Item::Immutable(VALUE.to_vec()).target(),
            id("e5f96f6f38320f0f33959cb4d3d656452117aadb")
        );
    }

    #[test]
    fn what_is_signed_is_what_bep_44_says() {
        assert_eq!(Signed::text(b"", 1, VALUE), b"3:seqi1e1:v12:Hello World!");
        assert_eq!(
            Signed::text(b"foobar", 1, VALUE),
            b"4:salt6:foobar3:seqi1e1:v12:Hello World!"
        );
    }

    #[test]
    fn what_nobody_would_keep_is_refused_before_it_is_sent() {
        let long = format!("1001:{}", "x".repeat(1001));
        assert_eq!(check(b"", 0, VALUE), Ok(()));
        assert_eq!(
            check(b"", 0, long.as_bytes()),
            Err(ItemError::TooLong(1006))
        );
        assert_eq!(check(&[0; 65], 0, VALUE), Err(ItemError::Salt(65)));
        assert_eq!(check(b"", -1, VALUE), Err(ItemError::Seq(-1)));
        for bad in [&b"Hello"[..], b"", b"12:Hello World!e", b"i1ei2e"] {
            assert!(
                matches!(check(b"", 0, bad), Err(ItemError::Bencode(_))),
                "{bad:?}"
            );
        }
    }
}
