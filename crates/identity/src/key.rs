//! The three keys, and the ids by which others know their owners.
//!
//! No secret is ever shown: these keys have no `Debug`, and their bytes leave through `expose` alone, for the file
//! they are kept in and the library that dials with them.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::agreement::{PrivateKey, UnparsedPublicKey, X25519, agree};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::crypto::{Signer, derive};
use crate::phrase::Phrase;
use crate::text;

/// What a person key is derived for.
const PERSON: &str = "starling person key 1";

/// Letters of an id in the short form.
const SHORT: usize = 8;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; 32]);

        impl $name {
            /// The first letters, to tell one from another at a glance; not enough to trust.
            pub fn short(&self) -> String {
                text::encode(&self.0)[..SHORT].to_owned()
            }
        }

        impl fmt::Display for $name {
            /// 52 letters and digits (base32, RFC 4648 §6, lower case, no padding).
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&text::encode(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.short())
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<$name, IdError> {
                let bytes = text::decode(text).ok_or(IdError)?;
                bytes.try_into().map($name).map_err(|_| IdError)
            }
        }
    };
}

/// A text that is no id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an id has 52 letters and digits, from a to z and 2 to 7")]
pub struct IdError;

id! {
    /// A person: the public key that certifies their devices.
    PersonId
}

id! {
    /// A device: its public key, by which it is dialled.
    DeviceId
}

/// A person's Ed25519 key. It lives in the phrase, and in memory while it is used; no device keeps it.
pub struct PersonKey(pub(crate) Signer);

impl PersonKey {
    /// The key that these words stand for.
    pub fn from_phrase(phrase: &Phrase) -> PersonKey {
        PersonKey(Signer::from_seed(&derive(phrase.entropy(), PERSON, b"")))
    }

    /// By which others know the person.
    pub fn id(&self) -> PersonId {
        PersonId(self.0.public())
    }
}

/// A device's Ed25519 key. It is made on the device and never leaves it: a restored computer gets another.
pub struct DeviceKey(pub(crate) Signer);

impl DeviceKey {
    /// The key made of these 32 random bytes (RFC 8032 §5.1.5).
    pub fn from_seed(seed: &[u8; 32]) -> DeviceKey {
        DeviceKey(Signer::from_seed(seed))
    }

    /// By which others know the device.
    pub fn id(&self) -> DeviceId {
        DeviceId(self.0.public())
    }

    /// The secret bytes.
    pub fn expose(&self) -> &[u8; 32] {
        self.0.seed()
    }
}

/// A device's X25519 key (RFC 7748): secrets are sealed to it. It has nothing to do with the Ed25519 key.
pub struct SealKey(Zeroizing<[u8; 32]>);

impl SealKey {
    /// The key made of these 32 random bytes.
    pub fn from_bytes(bytes: &[u8; 32]) -> SealKey {
        SealKey(Zeroizing::new(*bytes))
    }

    /// What others seal to.
    pub fn public(&self) -> [u8; 32] {
        let public = self.private().compute_public_key();
        let public = public.expect("every 32 bytes are an X25519 key");
        let bytes = public.as_ref();
        bytes.try_into().expect("an X25519 key has 32 bytes")
    }

    /// The secret that this key and another have in common (RFC 7748 §6.1): input for a key derivation, not a key.
    /// `None` where the other's is one of the few keys that give everybody the same.
    pub fn agree(&self, theirs: &[u8; 32]) -> Option<Zeroizing<[u8; 32]>> {
        let theirs = UnparsedPublicKey::new(&X25519, theirs);
        agree(&self.private(), theirs, (), |shared| {
            let shared: [u8; 32] = shared.try_into().map_err(|_| ())?;
            Ok(Zeroizing::new(shared))
        })
        .ok()
        .filter(|shared| !bool::from(shared.ct_eq(&[0; 32])))
    }

    /// The secret bytes.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    fn private(&self) -> PrivateKey {
        PrivateKey::from_private_key(&X25519, &*self.0).expect("every 32 bytes are an X25519 key")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> [u8; 32] {
        let digit = |at: usize| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap();
        std::array::from_fn(digit)
    }

    #[test]
    fn device_keys_are_those_of_rfc_8032() {
        // §7.1, TEST 1
        let seed = bytes("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60");
        let key = DeviceKey::from_seed(&seed);
        let public = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
        assert_eq!(key.id(), DeviceId(bytes(public)));
        assert_eq!(key.expose(), &seed);
    }

    #[test]
    fn seal_keys_are_those_of_rfc_7748() {
        // §6.1
        let alice = SealKey::from_bytes(&bytes(
            "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a",
        ));
        let bob = SealKey::from_bytes(&bytes(
            "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb",
        ));
        let bob_public = bytes("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f");
        assert_eq!(bob.public(), bob_public);
        let shared = bytes("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742");
        assert_eq!(alice.agree(&bob.public()).as_deref(), Some(&shared));
        assert_eq!(bob.agree(&alice.public()).as_deref(), Some(&shared));
        assert!(alice.agree(&[0; 32]).is_none(), "a point of small order");
    }

    #[test]
    fn ids_are_read_as_they_are_shown_and_nothing_else_is() {
        let id = DeviceKey::from_seed(&[7; 32]).id();
        let shown = id.to_string();
        assert_eq!(shown.len(), 52);
        assert!(shown.starts_with(&id.short()));
        assert_eq!(shown.parse(), Ok(id));
        assert_eq!(shown.to_uppercase().parse(), Ok(id));
        for bad in [
            "",
            &shown[1..],
            &format!("{shown}a"),
            &shown.replace(&shown[..1], "1"),
        ] {
            assert_eq!(bad.parse::<DeviceId>(), Err(IdError), "{bad}");
        }
    }
}
