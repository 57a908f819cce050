//! Which devices are a person's: certificates, and what takes them back.

use crate::bytes::Reader;
use crate::crypto::SIGNATURE_LEN;
use crate::key::{DeviceId, DeviceKey, PersonId, PersonKey, SealKey};
use crate::name::Name;
use crate::statement::{self, StatementError};
use crate::time::UnixTime;

/// What the person signs.
const CERTIFIES: &str = "starling device certificate 1";
/// What the device signs: it belongs to this person and to nobody who merely says so.
const AGREES: &str = "starling device agreement 1";
/// What takes a device away.
const REVOKES: &str = "starling device revocation 1";

/// A device is a person's: signed by both. One that exists is genuine; whether it still counts is told by the
/// [`Revocation`]s that are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    person: PersonId,
    device: DeviceId,
    seal: [u8; 32],
    name: Name,
    issued: UnixTime,
    by_person: [u8; SIGNATURE_LEN],
    by_device: [u8; SIGNATURE_LEN],
}

impl Certificate {
    /// The longest, in bytes.
    pub const MAX_LEN: usize = 1 + 3 * 32 + 8 + 1 + Name::MAX_LEN + 2 * SIGNATURE_LEN;

    /// Makes the device with these keys one of the person's.
    pub fn issue(
        person: &PersonKey,
        device: &DeviceKey,
        seal: &SealKey,
        name: Name,
        now: UnixTime,
    ) -> Certificate {
        let mut certificate = Certificate {
            person: person.id(),
            device: device.id(),
            seal: seal.public(),
            name,
            issued: now,
            by_person: [0; SIGNATURE_LEN],
            by_device: [0; SIGNATURE_LEN],
        };
        let body = certificate.body();
        certificate.by_person = person.0.sign(CERTIFIES, &body);
        let body = [&body[..], &certificate.by_person].concat();
        certificate.by_device = device.0.sign(AGREES, &body);
        certificate
    }

    /// Reads one and checks both signatures.
    ///
    /// # Errors
    /// Why it is none.
    pub fn parse(bytes: &[u8]) -> Result<Certificate, StatementError> {
        let mut reader = Reader::new(bytes);
        statement::version(&mut reader)?;
        let person = PersonId(reader.array()?);
        let device = DeviceId(reader.array()?);
        let certificate = Certificate {
            person,
            device,
            seal: reader.array()?,
            issued: statement::time(&mut reader)?,
            name: statement::text(&mut reader, "name")?,
            by_person: statement::signature(&mut reader, bytes, &person.0, CERTIFIES)?,
            by_device: statement::signature(&mut reader, bytes, &device.0, AGREES)?,
        };
        statement::end(&reader)?;
        Ok(certificate)
    }

    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = self.body();
        out.extend(self.by_person);
        out.extend(self.by_device);
        out
    }

    fn body(&self) -> Vec<u8> {
        let mut out = vec![statement::VERSION];
        out.extend(self.person.0);
        out.extend(self.device.0);
        out.extend(self.seal);
        out.extend(self.issued.0.to_be_bytes());
        statement::put_text(&mut out, &self.name);
        out
    }

    /// Whose device it is.
    pub fn person(&self) -> PersonId {
        self.person
    }

    /// Which device.
    pub fn device(&self) -> DeviceId {
        self.device
    }

    /// What secrets for the device are sealed to (X25519).
    pub fn seal(&self) -> &[u8; 32] {
        &self.seal
    }

    /// What the person calls the device.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// When it was made, by the device's clock.
    pub fn issued(&self) -> UnixTime {
        self.issued
    }

    /// Whether this takes it back. A revoked device stays revoked, whenever it was certified: it comes back with a
    /// new key.
    pub fn is_revoked_by(&self, revocation: &Revocation) -> bool {
        self.person == revocation.person && self.device == revocation.device
    }
}

/// A device is no longer the person's, signed by the person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    person: PersonId,
    device: DeviceId,
    at: UnixTime,
    signature: [u8; SIGNATURE_LEN],
}

impl Revocation {
    /// Bytes of each.
    pub const LEN: usize = 1 + 2 * 32 + 8 + SIGNATURE_LEN;

    /// Takes the device away.
    pub fn issue(person: &PersonKey, device: DeviceId, now: UnixTime) -> Revocation {
        let mut revocation = Revocation {
            person: person.id(),
            device,
            at: now,
            signature: [0; SIGNATURE_LEN],
        };
        revocation.signature = person.0.sign(REVOKES, &revocation.body());
        revocation
    }

    /// Reads one and checks the signature.
    ///
    /// # Errors
    /// Why it is none.
    pub fn parse(bytes: &[u8]) -> Result<Revocation, StatementError> {
        let mut reader = Reader::new(bytes);
        statement::version(&mut reader)?;
        let person = PersonId(reader.array()?);
        let revocation = Revocation {
            person,
            device: DeviceId(reader.array()?),
            at: statement::time(&mut reader)?,
            signature: statement::signature(&mut reader, bytes, &person.0, REVOKES)?,
        };
        statement::end(&reader)?;
        Ok(revocation)
    }

    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = self.body();
        out.extend(self.signature);
        out
    }

    fn body(&self) -> Vec<u8> {
        let mut out = vec![statement::VERSION];
        out.extend(self.person.0);
        out.extend(self.device.0);
        out.extend(self.at.0.to_be_bytes());
        out
    }

    /// Whose device it was.
    pub fn person(&self) -> PersonId {
        self.person
    }

    /// Which device.
    pub fn device(&self) -> DeviceId {
        self.device
    }

    /// When, by the clock of the device that it was done on.
    pub fn at(&self) -> UnixTime {
        self.at
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::phrase::Phrase;

    fn person(n: u8) -> PersonKey {
        PersonKey::from_phrase(&Phrase::from_entropy(&[n; 16]))
    }

    fn certificate() -> Certificate {
        let name = Name::new("laptop").unwrap();
        let (device, seal) = (
            DeviceKey::from_seed(&[2; 32]),
            SealKey::from_bytes(&[3; 32]),
        );
        Certificate::issue(&person(1), &device, &seal, name, UnixTime(1_800_000_000))
    }

    #[test]
    fn a_certificate_says_whose_device_it_is() {
        let made = certificate();
        let read = Certificate::parse(&made.encode()).unwrap();
        assert_eq!(read, made);
        assert_eq!(read.person(), person(1).id());
        assert_eq!(read.device(), DeviceKey::from_seed(&[2; 32]).id());
        assert_eq!(read.seal(), &SealKey::from_bytes(&[3; 32]).public());
        assert_eq!(
            (read.name().as_str(), read.issued().0),
            ("laptop", 1_800_000_000)
        );
        assert!(made.encode().len() <= Certificate::MAX_LEN);
    }

    #[test]
    fn every_changed_bit_and_every_cut_is_noticed() {
        let device = DeviceId([9; 32]);
        let revocation = Revocation::issue(&person(1), device, UnixTime(5)).encode();
        assert_eq!(revocation.len(), Revocation::LEN);
        let certificate = certificate().encode();
        let refused = |bytes: &[u8], which| match which {
            0 => Certificate::parse(bytes).is_err(),
            _ => Revocation::parse(bytes).is_err(),
        };
        for (which, whole) in [certificate, revocation].into_iter().enumerate() {
            assert!(!refused(&whole, which) && refused(&whole, 1 - which));
            for at in 0..whole.len() {
                assert!(refused(&whole[..at], which), "cut at {at}");
                let mut changed = whole.clone();
                changed[at] ^= 1 << (at % 8);
                assert!(refused(&changed, which), "changed at {at}");
            }
            assert!(refused(&[&whole[..], b"x"].concat(), which));
        }
    }

    #[test]
    fn nobody_makes_a_device_theirs_that_did_not_agree() {
        let (good, eve) = (certificate(), person(66));
        let mut bad = Certificate {
            person: eve.id(),
            ..good
        };
        bad.by_person = eve.0.sign(CERTIFIES, &bad.body());
        assert_eq!(
            Certificate::parse(&bad.encode()),
            Err(StatementError::Signature)
        );
    }

    #[test]
    fn later_formats_are_told_from_damage() {
        let mut bytes = certificate().encode();
        bytes[0] = 2;
        assert_eq!(Certificate::parse(&bytes), Err(StatementError::Newer(2)));
        bytes[0] = 0;
        assert_eq!(
            Certificate::parse(&bytes),
            Err(StatementError::Field("version"))
        );
        assert_eq!(Certificate::parse(&[]), Err(StatementError::Length));
    }

    #[test]
    fn a_revocation_is_for_one_device_of_one_person() {
        let made = certificate();
        let of = |person: &PersonKey, device| Revocation::issue(person, device, UnixTime(7));
        let right = of(&person(1), made.device());
        let read = Revocation::parse(&right.encode()).unwrap();
        assert_eq!(
            (read.person(), read.device(), read.at()),
            (made.person(), made.device(), UnixTime(7))
        );
        assert!(made.is_revoked_by(&read));
        assert!(!made.is_revoked_by(&of(&person(2), made.device())));
        assert!(!made.is_revoked_by(&of(&person(1), DeviceId([0; 32]))));
    }

    proptest! {
        #[test]
        fn what_is_issued_is_read(
            seeds in any::<([u8; 16], [u8; 32], [u8; 32])>(),
            name in "[^\\p{C}\\p{Z}]{1,16}",
            now in any::<u64>(),
        ) {
            let person = PersonKey::from_phrase(&Phrase::from_entropy(&seeds.0));
            let (device, seal) = (DeviceKey::from_seed(&seeds.1), SealKey::from_bytes(&seeds.2));
            let name = Name::new(&name).unwrap();
            let made = Certificate::issue(&person, &device, &seal, name, UnixTime(now));
            let bytes = made.encode();
            let read = Certificate::parse(&bytes).unwrap();
            prop_assert_eq!(&read, &made);
            prop_assert_eq!(read.encode(), bytes);
        }
    }
}
