//! What may be had, by whom and until when, signed by who shares it; and what takes that back.
//!
//! A link carries no grant: it is fetched once the secret is proved, so that a link stays short and who finds half of
//! one learns nothing.

use std::fmt;

use crate::bytes::Reader;
use crate::certificate::Certificate;
use crate::crypto::{SIGNATURE_LEN, derive};
use crate::key::{DeviceId, DeviceKey, PersonId};
use crate::link::ShareLink;
use crate::name::Label;
use crate::secret::{Party, ShareSecret};
use crate::statement::{self, StatementError};
use crate::time::UnixTime;

/// Parties that one grant can be for.
pub const MAX_AUDIENCE: usize = 16;

/// How far a clock may be behind that of the sharer, in seconds, before it is not believed.
const CLOCK_SKEW: u64 = 10 * 60;

const GRANTS: &str = "starling grant 1";
const WITHDRAWS: &str = "starling grant withdrawal 1";
const ID: &str = "starling share id 1";

/// A share, by a number that follows from its secret: whoever has the secret knows which grant is meant, and no grant
/// can be moved to another secret.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShareId(pub [u8; 16]);

impl ShareId {
    /// That of the share with this secret.
    pub fn of(secret: &ShareSecret) -> ShareId {
        ShareId(*derive(secret.expose(), ID, b""))
    }
}

impl fmt::Display for ShareId {
    /// 32 hex digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ShareId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ShareId({self})")
    }
}

/// Who may hand on what a grant is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Spread {
    /// The sharer alone.
    #[default]
    Sharer = 0,
    /// The sharer alone, and to one device: the first that proves the secret. The sharer remembers which.
    Once = 1,
    /// Everyone who has it.
    Holders = 2,
}

/// What is granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The info-hash of the content (BEP 52).
    pub content: [u8; 32],
    /// What the sharer calls it.
    pub label: Label,
    /// When it was granted, by the sharer's clock.
    pub issued: UnixTime,
    /// When it ends, by the clock of each holder who is asked.
    pub expires: Option<UnixTime>,
    /// For whom; for everybody who has the link if empty. At most [`MAX_AUDIENCE`].
    pub audience: Vec<Party>,
    /// Who may hand it on.
    pub spread: Spread,
}

/// What cannot be granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TermsError {
    /// More than [`MAX_AUDIENCE`].
    #[error(
        "a share is for at most {MAX_AUDIENCE} persons and devices, or for everybody who has the link"
    )]
    Audience,
    /// It would end before it began.
    #[error("the share would end before it begins: set a later expiry, or this computer's clock")]
    Expiry,
}

/// Terms signed by the sharer's device. One that exists is genuine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    share: ShareId,
    sharer: DeviceId,
    terms: Terms,
    signature: [u8; SIGNATURE_LEN],
}

/// Why a grant is not the one that a link is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    /// It is none at all.
    #[error("the grant cannot be read: {0}")]
    Statement(#[from] StatementError),
    /// Signed by somebody else.
    #[error("the grant was signed by another device than the link names")]
    Sharer,
    /// Another share's.
    #[error("the grant belongs to another link")]
    Secret,
}

/// Why a peer is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The time is over.
    #[error("the share has expired")]
    Expired,
    /// It was granted in the future.
    #[error(
        "the clock of this computer is behind that of the sharer; set it, since the share has an expiry"
    )]
    ClockBehind,
    /// Others are meant.
    #[error("the share is for others")]
    Audience,
}

/// Who asks: a device whose key the channel has proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    device: DeviceId,
    person: Option<PersonId>,
}

impl Peer {
    /// A device, and nobody's as far as is known.
    pub fn new(device: DeviceId) -> Peer {
        Peer {
            device,
            person: None,
        }
    }

    /// The same device as its person's, if the certificate is of this device. That nothing revokes the certificate
    /// has been looked at before.
    pub fn with(self, certificate: &Certificate) -> Peer {
        let is_its = certificate.device() == self.device;
        Peer {
            person: is_its.then(|| certificate.person()).or(self.person),
            ..self
        }
    }

    /// The device.
    pub fn device(&self) -> DeviceId {
        self.device
    }

    fn is(&self, party: &Party) -> bool {
        match party {
            Party::Device(device) => *device == self.device,
            Party::Person(person) => Some(*person) == self.person,
        }
    }
}

impl Grant {
    /// The longest, in bytes.
    pub const MAX_LEN: usize =
        1 + 16 + 2 * 32 + 2 * 8 + 2 + 33 * MAX_AUDIENCE + 1 + Label::MAX_LEN + SIGNATURE_LEN;

    /// Grants what the terms say to whoever proves the secret.
    ///
    /// # Errors
    /// What cannot be granted.
    pub fn issue(
        sharer: &DeviceKey,
        secret: &ShareSecret,
        mut terms: Terms,
    ) -> Result<Grant, TermsError> {
        terms.audience.sort();
        terms.audience.dedup();
        if terms.audience.len() > MAX_AUDIENCE {
            return Err(TermsError::Audience);
        }
        if terms.expires.is_some_and(|end| end <= terms.issued) {
            return Err(TermsError::Expiry);
        }
        let mut grant = Grant {
            share: ShareId::of(secret),
            sharer: sharer.id(),
            terms,
            signature: [0; SIGNATURE_LEN],
        };
        grant.signature = sharer.0.sign(GRANTS, &grant.body());
        Ok(grant)
    }

    /// Reads one and checks the signature of the sharer that it names.
    ///
    /// # Errors
    /// Why it is none.
    pub fn parse(bytes: &[u8]) -> Result<Grant, StatementError> {
        let mut reader = Reader::new(bytes);
        statement::version(&mut reader)?;
        let share = ShareId(reader.array()?);
        let content = reader.array()?;
        let sharer = DeviceId(reader.array()?);
        let issued = statement::time(&mut reader)?;
        let expires = Some(statement::time(&mut reader)?).filter(|end| *end != UnixTime(0));
        if expires.is_some_and(|end| end <= issued) {
            return Err(StatementError::Field("expiry"));
        }
        let spread = match reader.u8()? {
            0 => Spread::Sharer,
            1 => Spread::Once,
            2 => Spread::Holders,
            _ => return Err(StatementError::Field("way to be handed on")),
        };
        let audience = audience(&mut reader)?;
        let grant = Grant {
            share,
            sharer,
            terms: Terms {
                content,
                label: statement::text(&mut reader, "label")?,
                issued,
                expires,
                audience,
                spread,
            },
            signature: statement::signature(&mut reader, bytes, &sharer.0, GRANTS)?,
        };
        statement::end(&reader)?;
        Ok(grant)
    }

    /// Reads the grant that this link is about.
    ///
    /// # Errors
    /// Why it is none, or not this link's.
    pub fn of(link: &ShareLink, bytes: &[u8]) -> Result<Grant, GrantError> {
        let grant = Grant::parse(bytes)?;
        if grant.sharer != link.sharer {
            return Err(GrantError::Sharer);
        }
        if grant.share != ShareId::of(&link.secret) {
            return Err(GrantError::Secret);
        }
        Ok(grant)
    }

    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = self.body();
        out.extend(self.signature);
        out
    }

    fn body(&self) -> Vec<u8> {
        let terms = &self.terms;
        let mut out = vec![statement::VERSION];
        out.extend(self.share.0);
        out.extend(terms.content);
        out.extend(self.sharer.0);
        out.extend(terms.issued.0.to_be_bytes());
        out.extend(terms.expires.unwrap_or_default().0.to_be_bytes());
        out.push(terms.spread as u8);
        out.push(terms.audience.len() as u8);
        for party in &terms.audience {
            let (kind, id) = match party {
                Party::Device(device) => (0, device.0),
                Party::Person(person) => (1, person.0),
            };
            out.push(kind);
            out.extend(id);
        }
        statement::put_text(&mut out, &terms.label);
        out
    }

    /// Which share.
    pub fn share(&self) -> ShareId {
        self.share
    }

    /// Who shares.
    pub fn sharer(&self) -> DeviceId {
        self.sharer
    }

    /// What is granted.
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// Whether this device may serve others with it.
    pub fn may_be_served_by(&self, holder: DeviceId) -> bool {
        holder == self.sharer || self.terms.spread == Spread::Holders
    }

    /// Whether a holder whose clock says `now` serves this peer. The sharer is always served: its own devices that
    /// lost the content have it from others again.
    ///
    /// The clock that counts is the one of who is asked. If it is ahead, grants with an expiry end early. If it is
    /// behind, it might let them live for longer than they should; so a clock that says it is before the grant was
    /// made, by more than ten minutes, is not believed, and the peer refused. Grants without an expiry look at no
    /// clock at all.
    ///
    /// # Errors
    /// Why not.
    pub fn permits(&self, now: UnixTime, peer: &Peer) -> Result<(), Refusal> {
        if let Some(end) = self.terms.expires {
            if now >= end {
                return Err(Refusal::Expired);
            }
            if now.plus_seconds(CLOCK_SKEW) < self.terms.issued {
                return Err(Refusal::ClockBehind);
            }
        }
        let audience = &self.terms.audience;
        let is_meant = audience.is_empty()
            || peer.device == self.sharer
            || audience.iter().any(|party| peer.is(party));
        is_meant.then_some(()).ok_or(Refusal::Audience)
    }

    /// Whether this takes it back.
    pub fn is_withdrawn_by(&self, withdrawal: &Withdrawal) -> bool {
        self.share == withdrawal.share && self.sharer == withdrawal.sharer
    }
}

/// Reads a list of parties: strictly upwards, so that one audience has one encoding.
fn audience(reader: &mut Reader<'_>) -> Result<Vec<Party>, StatementError> {
    let count = usize::from(reader.u8()?);
    let wrong = StatementError::Field("audience");
    if count > MAX_AUDIENCE {
        return Err(wrong);
    }
    let mut audience = Vec::with_capacity(count);
    for _ in 0..count {
        let party = match (reader.u8()?, reader.array()?) {
            (0, id) => Party::Device(DeviceId(id)),
            (1, id) => Party::Person(PersonId(id)),
            _ => return Err(wrong),
        };
        if audience.last() >= Some(&party) {
            return Err(wrong);
        }
        audience.push(party);
    }
    Ok(audience)
}

/// A share is no more: every grant for it, whenever made. Signed by the sharer, and passed on by every holder; it binds
/// those whom it has reached, and what they have already stays with them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Withdrawal {
    share: ShareId,
    sharer: DeviceId,
    at: UnixTime,
    signature: [u8; SIGNATURE_LEN],
}

impl Withdrawal {
    /// Bytes of each.
    pub const LEN: usize = 1 + 16 + 32 + 8 + SIGNATURE_LEN;

    /// Takes back what the sharer granted under this id.
    pub fn issue(sharer: &DeviceKey, share: ShareId, now: UnixTime) -> Withdrawal {
        let mut withdrawal = Withdrawal {
            share,
            sharer: sharer.id(),
            at: now,
            signature: [0; SIGNATURE_LEN],
        };
        withdrawal.signature = sharer.0.sign(WITHDRAWS, &withdrawal.body());
        withdrawal
    }

    /// Reads one and checks the signature of the sharer that it names.
    ///
    /// # Errors
    /// Why it is none.
    pub fn parse(bytes: &[u8]) -> Result<Withdrawal, StatementError> {
        let mut reader = Reader::new(bytes);
        statement::version(&mut reader)?;
        let share = ShareId(reader.array()?);
        let sharer = DeviceId(reader.array()?);
        let withdrawal = Withdrawal {
            share,
            sharer,
            at: statement::time(&mut reader)?,
            signature: statement::signature(&mut reader, bytes, &sharer.0, WITHDRAWS)?,
        };
        statement::end(&reader)?;
        Ok(withdrawal)
    }

    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = self.body();
        out.extend(self.signature);
        out
    }

    fn body(&self) -> Vec<u8> {
        let mut out = vec![statement::VERSION];
        out.extend(self.share.0);
        out.extend(self.sharer.0);
        out.extend(self.at.0.to_be_bytes());
        out
    }

    /// Which share.
    pub fn share(&self) -> ShareId {
        self.share
    }

    /// When, by the sharer's clock.
    pub fn at(&self) -> UnixTime {
        self.at
    }
}

#[cfg(test)]
mod tests;
