//! The secret of a share, and who a share may be for.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::key::{DeviceId, PersonId};

/// Bytes of a share's secret. Nobody guesses 128 random bits, and a link is short.
pub const SECRET_LEN: usize = 16;

/// What the mark of a party is a hash of.
const MARK: &[u8] = b"starling audience 1\0";

/// What whoever holds a link has in common, and nobody else. Shown by the link that carries it alone.
#[derive(Clone)]
pub struct ShareSecret(Zeroizing<[u8; SECRET_LEN]>);

impl ShareSecret {
    /// The secret made of these random bytes.
    pub fn from_bytes(bytes: &[u8; SECRET_LEN]) -> ShareSecret {
        ShareSecret(Zeroizing::new(*bytes))
    }

    /// The bytes.
    pub fn expose(&self) -> &[u8; SECRET_LEN] {
        &self.0
    }
}

impl PartialEq for ShareSecret {
    /// Takes the same time whatever it finds.
    fn eq(&self, other: &ShareSecret) -> bool {
        self.0.ct_eq(&*other.0).into()
    }
}

impl Eq for ShareSecret {}

impl fmt::Debug for ShareSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ShareSecret(…)")
    }
}

/// Who something is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Party {
    /// One device.
    Device(DeviceId),
    /// All devices of a person.
    Person(PersonId),
}

impl Party {
    /// Four bytes by which a party finds that something is meant for it, and others that it is not for them. It tells
    /// nothing to who does not know the id.
    pub fn mark(&self) -> [u8; 4] {
        let (kind, id) = match self {
            Party::Device(id) => (0, &id.0),
            Party::Person(id) => (1, &id.0),
        };
        let hash = digest(&SHA256, &[MARK, &[kind], id].concat());
        let (mark, _) = hash
            .as_ref()
            .split_first_chunk()
            .expect("a hash has 32 bytes");
        *mark
    }
}
