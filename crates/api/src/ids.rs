//! Names of things: transfers, info-hashes, runs of a daemon and the revisions in them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::ToSchema;

/// A transfer's number: given once per home folder and never again.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(transparent)]
pub struct TransferId(pub u32);

impl fmt::Display for TransferId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// `N` bytes of a hash, in lower-case hex: 20 of an info-hash of v1 (BEP 3), 32 of v2 (BEP 52).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash<const N: usize>(pub [u8; N]);

impl<const N: usize> fmt::Display for Hash<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0; 64];
        let text = &mut text[..2 * N];
        for (pair, byte) in text.chunks_exact_mut(2).zip(self.0) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        f.write_str(std::str::from_utf8(text).expect("hex digits are ASCII"))
    }
}

impl<const N: usize> fmt::Debug for Hash<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is no identifier of the kind that was wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct IdError(&'static str);

impl<const N: usize> FromStr for Hash<N> {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Hash<N>, IdError> {
        let wrong = IdError("not the hex digits of a hash of this length");
        let digit = |byte: u8| char::from(byte).to_digit(16).ok_or(wrong);
        let mut bytes = [0; N];
        if text.len() != 2 * N {
            return Err(wrong);
        }
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let value = digit(pair[0])? << 4 | digit(pair[1])?;
            *byte = u8::try_from(value).expect("two hex digits are a byte");
        }
        Ok(Hash(bytes))
    }
}

/// One run of a daemon, drawn at random: revisions mean something only within it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RunId(pub u64);

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for RunId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<RunId, IdError> {
        let hash: Hash<8> = text.parse().map_err(|_| IdError("not 16 hex digits"))?;
        Ok(RunId(u64::from_be_bytes(hash.0)))
    }
}

/// A state of the daemon that a client has seen: `<run>-<revision>`, as `id:` in the event stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EventId {
    /// Of which run.
    pub run: RunId,
    /// Counts up from 0 with each change.
    pub revision: u32,
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.run, self.revision)
    }
}

impl FromStr for EventId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<EventId, IdError> {
        let wrong = IdError("not an event id, which looks like 0123456789abcdef-42");
        let (run, revision) = text.split_once('-').ok_or(wrong)?;
        if revision.is_empty() || !revision.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(wrong);
        }
        Ok(EventId {
            run: run.parse().map_err(|_| wrong)?,
            revision: revision.parse().map_err(|_| wrong)?,
        })
    }
}

/// What is not a letter, digit, or mark without meaning, as `%XX` (RFC 3986 §2.1).
pub(crate) fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// JSON as the text that `Display` writes and `FromStr` reads.
macro_rules! as_text {
    ($name:ty $(, $($generic:tt)*)?) => {
        impl $(<$($generic)*>)? Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de, $($($generic)*)?> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use as_text;

as_text!(Hash<N>, const N: usize);
as_text!(RunId);
as_text!(EventId);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_id_reads_back_and_nonsense_does_not() {
        let id = EventId {
            run: RunId(0xfe),
            revision: 42,
        };
        assert_eq!(id.to_string(), "00000000000000fe-42");
        assert_eq!("00000000000000fe-42".parse(), Ok(id));
        for wrong in [
            "",
            "-",
            "fe-42",
            "00000000000000fe",
            "00000000000000fe-",
            "00000000000000fe-+1",
            "00000000000000fe-4294967296",
            "00000000000000fg-1",
        ] {
            assert!(wrong.parse::<EventId>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_hash_is_hex_in_json() {
        let hash = Hash([0xab; 20]);
        let json = serde_json::to_string(&hash).unwrap();
        assert_eq!(json, format!("\"{}\"", "ab".repeat(20)));
        assert_eq!(serde_json::from_str::<Hash<20>>(&json).unwrap(), hash);
        assert!(serde_json::from_str::<Hash<32>>(&json).is_err());
        assert!("é".repeat(20).parse::<Hash<20>>().is_err());
    }
}
