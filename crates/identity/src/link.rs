//! The texts that people paste: `starling:` and letters behind it.
//!
//! What a link says is here; how it becomes letters, and what is wrong with letters, is in `frame`; where to dial
//! first, in `hints`.

mod frame;
mod hints;

use std::fmt;
use std::str::FromStr;

use crate::bytes::{Reader, Short};
use crate::key::{DeviceId, PersonId};
use crate::secret::{Party, SECRET_LEN, ShareSecret};
use crate::time::UnixTime;
pub use frame::{Fix, LinkError, MAX_LETTERS, MAX_TEXT, SCHEME};
pub use hints::{Hints, MAX_OF_A_FAMILY, MAX_RELAYS, Relay, RelayError};

/// The version of links that is written and read here.
const VERSION: u8 = 1;

/// What link times count from: 2025, in seconds since 1970.
const EPOCH: u64 = 1_735_689_600;

/// Bits of the byte that says what is in a link, beside those of the hints.
const HAS_EXPIRY: u8 = 0x80;
const HAS_AUDIENCE: u8 = 0x40;

/// What a link leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Something that is shared.
    Share = 1,
    /// A device.
    Device = 2,
    /// A person.
    Person = 3,
    // 4 is for invitations into spaces.
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Share => "a share",
            Kind::Device => "a device",
            Kind::Person => "a person",
        })
    }
}

/// A link. It is shown in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Link {
    /// To something that is shared.
    Share(ShareLink),
    /// To a device.
    Device(DeviceLink),
    /// To a person.
    Person(PersonId),
}

/// A secret, and whom to ask with it. What is shared, and for whom, is told by the grant, once the secret is proved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShareLink {
    /// What is proved. Whoever has it has the share.
    pub secret: ShareSecret,
    /// Who shares: the device whose signature the grant must have.
    pub sharer: DeviceId,
    /// From when on asking is of no use.
    pub expires: Option<Expiry>,
    /// Whom it is for, if it is for one party alone: its [`Party::mark`].
    pub audience: Option<[u8; 4]>,
    /// Where to dial first.
    pub hints: Hints,
}

/// A device, and where it was last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceLink {
    /// Which.
    pub device: DeviceId,
    /// Where to dial first.
    pub hints: Hints,
}

/// When a share ends, to the minute: a hint that spares dialling. The grant is what counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Expiry(u32);

impl Expiry {
    /// The first full minute that is not before `time`; from 2025 to the year 10191.
    pub fn at(time: UnixTime) -> Expiry {
        let minutes = time.0.saturating_sub(EPOCH).div_ceil(60);
        Expiry(u32::try_from(minutes).unwrap_or(u32::MAX))
    }

    /// When it is.
    pub fn time(self) -> UnixTime {
        UnixTime(EPOCH + 60 * u64::from(self.0))
    }
}

impl ShareLink {
    /// Whether it may be for somebody who is one of these.
    pub fn is_for(&self, parties: &[Party]) -> bool {
        self.audience
            .is_none_or(|mark| parties.iter().any(|party| party.mark() == mark))
    }

    /// Whether asking is of no use any more, by a clock that says `now`.
    pub fn is_expired(&self, now: UnixTime) -> bool {
        self.expires.is_some_and(|expiry| expiry.time() <= now)
    }
}

impl Link {
    /// Reads a link as people paste it: in either case, with blanks, line breaks, marks of quoted mail and invisible
    /// characters anywhere, and quotes or brackets around it.
    ///
    /// # Errors
    /// What is wrong with it, for the person who pasted it.
    pub fn parse(text: &str) -> Result<Link, LinkError> {
        frame::open(text)
    }

    /// What it leads to.
    pub fn kind(&self) -> Kind {
        match self {
            Link::Share(_) => Kind::Share,
            Link::Device(_) => Kind::Device,
            Link::Person(_) => Kind::Person,
        }
    }

    /// The link to a share that it is.
    ///
    /// # Errors
    /// It leads to something else.
    pub fn into_share(self) -> Result<ShareLink, LinkError> {
        match self {
            Link::Share(share) => Ok(share),
            other => Err(other.is_not(Kind::Share)),
        }
    }

    /// The link to a device that it is.
    ///
    /// # Errors
    /// It leads to something else.
    pub fn into_device(self) -> Result<DeviceLink, LinkError> {
        match self {
            Link::Device(device) => Ok(device),
            other => Err(other.is_not(Kind::Device)),
        }
    }

    fn is_not(&self, wanted: Kind) -> LinkError {
        LinkError::Foreign {
            is: self.kind(),
            wanted,
        }
    }

    /// The same link in upper case: QR codes hold it in less room so (ISO/IEC 18004, alphanumeric mode).
    pub fn for_qr(&self) -> String {
        self.to_string().to_uppercase()
    }

    /// Everything but the checksum.
    fn body(&self) -> Vec<u8> {
        let mut out = vec![VERSION << 4 | self.kind() as u8];
        match self {
            Link::Share(share) => {
                let expiry = share.expires.map_or(0, |_| HAS_EXPIRY);
                let audience = share.audience.map_or(0, |_| HAS_AUDIENCE);
                out.push(share.hints.shape() | expiry | audience);
                out.extend(share.secret.expose());
                out.extend(share.sharer.0);
                if let Some(Expiry(minutes)) = share.expires {
                    out.extend(minutes.to_be_bytes());
                }
                out.extend(share.audience.iter().flatten());
                share.hints.put(&mut out);
            }
            Link::Device(device) => {
                out.push(device.hints.shape());
                out.extend(device.device.0);
                device.hints.put(&mut out);
            }
            Link::Person(person) => out.extend(person.0),
        }
        out
    }

    /// Takes a link off the front.
    fn take(reader: &mut Reader<'_>) -> Result<Link, BodyError> {
        let head = reader.u8()?;
        match (head >> 4, head & 15) {
            (VERSION, 1) => {
                let shape = reader.u8()?;
                let secret = ShareSecret::from_bytes(&reader.array::<SECRET_LEN>()?);
                let sharer = DeviceId(reader.array()?);
                let expires = match shape & HAS_EXPIRY {
                    0 => None,
                    _ => Some(Expiry(reader.u32()?)),
                };
                let audience = match shape & HAS_AUDIENCE {
                    0 => None,
                    _ => Some(reader.array()?),
                };
                Ok(Link::Share(ShareLink {
                    secret,
                    sharer,
                    expires,
                    audience,
                    hints: Hints::take(shape & !(HAS_EXPIRY | HAS_AUDIENCE), reader)?,
                }))
            }
            (VERSION, 2) => {
                let shape = reader.u8()?;
                Ok(Link::Device(DeviceLink {
                    device: DeviceId(reader.array()?),
                    hints: Hints::take(shape, reader)?,
                }))
            }
            (VERSION, 3) => Ok(Link::Person(PersonId(reader.array()?))),
            (0, _) | (VERSION, 0) => Err(BodyError::Cannot("kind")),
            _ => Err(BodyError::Newer),
        }
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&frame::seal(self.body()))
    }
}

impl FromStr for Link {
    type Err = LinkError;

    fn from_str(text: &str) -> Result<Link, LinkError> {
        Link::parse(text)
    }
}

/// Why bytes are no link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BodyError {
    /// They end too early.
    Short,
    /// A version or kind that came later.
    Newer,
    /// This part of it cannot be.
    Cannot(&'static str),
}

impl From<Short> for BodyError {
    fn from(_: Short) -> BodyError {
        BodyError::Short
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::DeviceKey;

    fn share() -> ShareLink {
        ShareLink {
            secret: ShareSecret::from_bytes(&[1; SECRET_LEN]),
            sharer: DeviceKey::from_seed(&[2; 32]).id(),
            expires: None,
            audience: None,
            hints: Hints::default(),
        }
    }

    #[test]
    fn a_link_is_short() {
        let len = |link: Link| link.to_string().len();
        assert_eq!(len(Link::Share(share())), 96);
        let device = share().sharer;
        let hints = Hints::default();
        assert_eq!(len(Link::Device(DeviceLink { device, hints })), 70);
        assert_eq!(len(Link::Person(PersonId([7; 32]))), 69);
    }

    #[test]
    fn an_expiry_is_never_too_early() {
        for seconds in [0, EPOCH, EPOCH + 1, EPOCH + 60, 4_000_000_001] {
            let expiry = Expiry::at(UnixTime(seconds));
            assert!(expiry.time().0 >= seconds && expiry.time().0 < seconds.max(EPOCH) + 60);
        }
        assert_eq!(Expiry::at(UnixTime(u64::MAX)), Expiry(u32::MAX));
        let ends = ShareLink {
            expires: Some(Expiry::at(UnixTime(EPOCH + 60))),
            ..share()
        };
        assert!(ends.is_expired(UnixTime(EPOCH + 60)) && !ends.is_expired(UnixTime(EPOCH + 59)));
        assert!(!share().is_expired(UnixTime(u64::MAX)));
    }

    #[test]
    fn who_it_is_not_for_knows_before_dialling() {
        let (alice, bob) = (
            Party::Person(PersonId([1; 32])),
            Party::Device(DeviceId([1; 32])),
        );
        let marked = ShareLink {
            audience: Some(alice.mark()),
            ..share()
        };
        assert!(marked.is_for(&[bob, alice]) && !marked.is_for(&[bob]) && !marked.is_for(&[]));
        assert!(share().is_for(&[]));
    }

    #[test]
    fn a_link_to_something_else_says_to_what() {
        let error = Link::Person(PersonId([7; 32])).into_share().unwrap_err();
        assert_eq!(
            error.to_string(),
            "this is a link to a person, and a link to a share is needed here"
        );
        assert_eq!(Link::Share(share()).into_share(), Ok(share()));
        assert!(Link::Share(share()).into_device().is_err());
    }

    #[test]
    fn a_secret_is_not_shown_by_accident() {
        let shown = format!("{:?}", Link::Share(share()));
        assert!(shown.contains("ShareSecret(…)") && !shown.contains("1, 1"));
    }
}
