//! What one device knows of its person's devices, as it is kept in a file and passed from device to device.

use crate::bytes::Reader;
use crate::certificate::{Certificate, Revocation};
use crate::key::{DeviceId, PersonId};
use crate::statement::{self, StatementError};

/// Certificates that are kept, and as many revocations: more devices than anybody has, some 60 KiB.
pub const MAX_DEVICES: usize = 128;

/// Certificates and revocations of one person. Two that know different things and tell each other come to know the
/// same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Devices {
    person: PersonId,
    /// By device; of two for one device, the later counts.
    certificates: Vec<Certificate>,
    /// By device, one for each.
    revocations: Vec<Revocation>,
}

/// Why a statement is not taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DevicesError {
    /// About somebody else's device.
    #[error("it is about a device of another person")]
    Foreign,
    /// There are [`MAX_DEVICES`].
    #[error("more than {MAX_DEVICES} devices of one person cannot be kept")]
    Full,
}

impl Devices {
    /// The longest form, in bytes.
    pub const MAX_LEN: usize =
        1 + 32 + 2 + MAX_DEVICES * (2 + Certificate::MAX_LEN + Revocation::LEN);

    /// None are known yet.
    pub fn of(person: PersonId) -> Devices {
        Devices {
            person,
            certificates: Vec::new(),
            revocations: Vec::new(),
        }
    }

    /// Whose.
    pub fn person(&self) -> PersonId {
        self.person
    }

    /// Every known device, revoked or not, by its id.
    pub fn certificates(&self) -> &[Certificate] {
        &self.certificates
    }

    /// Every known revocation, by the device's id; some of devices whose certificate is not known.
    pub fn revocations(&self) -> &[Revocation] {
        &self.revocations
    }

    /// What took the device away, if something did.
    pub fn revocation(&self, device: DeviceId) -> Option<&Revocation> {
        let at = self
            .revocations
            .binary_search_by_key(&device, Revocation::device);
        at.ok().map(|at| &self.revocations[at])
    }

    /// Whether the certificate is of this person, and nothing known takes it back.
    pub fn trusts(&self, certificate: &Certificate) -> bool {
        certificate.person() == self.person && self.revocation(certificate.device()).is_none()
    }

    /// Takes a certificate in; whether it was news.
    ///
    /// # Errors
    /// Why it is not kept.
    pub fn add(&mut self, certificate: Certificate) -> Result<bool, DevicesError> {
        if certificate.person() != self.person {
            return Err(DevicesError::Foreign);
        }
        let order = |one: &Certificate| (one.issued(), one.encode());
        match self
            .certificates
            .binary_search_by_key(&certificate.device(), Certificate::device)
        {
            Ok(at) => {
                let is_later = order(&self.certificates[at]) < order(&certificate);
                if is_later {
                    self.certificates[at] = certificate;
                }
                Ok(is_later)
            }
            Err(_) if self.certificates.len() >= MAX_DEVICES => Err(DevicesError::Full),
            Err(at) => {
                self.certificates.insert(at, certificate);
                Ok(true)
            }
        }
    }

    /// Takes a revocation in; whether it was news. The earliest of several is kept.
    ///
    /// # Errors
    /// Why it is not kept.
    pub fn revoke(&mut self, revocation: Revocation) -> Result<bool, DevicesError> {
        if revocation.person() != self.person {
            return Err(DevicesError::Foreign);
        }
        match self
            .revocations
            .binary_search_by_key(&revocation.device(), Revocation::device)
        {
            Ok(at) => {
                let is_earlier = revocation.at() < self.revocations[at].at();
                if is_earlier {
                    self.revocations[at] = revocation;
                }
                Ok(is_earlier)
            }
            Err(_) if self.revocations.len() >= MAX_DEVICES => Err(DevicesError::Full),
            Err(at) => {
                self.revocations.insert(at, revocation);
                Ok(true)
            }
        }
    }

    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![statement::VERSION];
        out.extend(self.person.0);
        out.push(self.certificates.len() as u8);
        out.push(self.revocations.len() as u8);
        for certificate in &self.certificates {
            let bytes = certificate.encode();
            out.extend((bytes.len() as u16).to_be_bytes());
            out.extend(bytes);
        }
        for revocation in &self.revocations {
            out.extend(revocation.encode());
        }
        out
    }

    /// Reads them and checks every signature.
    ///
    /// # Errors
    /// What is wrong with the first wrong one, or with the whole.
    pub fn parse(bytes: &[u8]) -> Result<Devices, StatementError> {
        let mut reader = Reader::new(bytes);
        statement::version(&mut reader)?;
        let mut devices = Devices::of(PersonId(reader.array()?));
        let (certificates, revocations) = (reader.u8()?, reader.u8()?);
        for _ in 0..certificates {
            let len = reader.u16()?;
            let certificate = Certificate::parse(reader.bytes(len.into())?)?;
            let last = devices.certificates.last().map(Certificate::device);
            let added = last < Some(certificate.device()) && devices.add(certificate) == Ok(true);
            added
                .then_some(())
                .ok_or(StatementError::Field("list of devices"))?;
        }
        for _ in 0..revocations {
            let revocation = Revocation::parse(reader.bytes(Revocation::LEN)?)?;
            let last = devices.revocations.last().map(Revocation::device);
            let added = last < Some(revocation.device()) && devices.revoke(revocation) == Ok(true);
            added
                .then_some(())
                .ok_or(StatementError::Field("list of revocations"))?;
        }
        statement::end(&reader)?;
        Ok(devices)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{DeviceKey, PersonKey, SealKey};
    use crate::name::Name;
    use crate::phrase::Phrase;
    use crate::time::UnixTime;

    fn alice() -> PersonKey {
        PersonKey::from_phrase(&Phrase::from_entropy(&[1; 16]))
    }

    fn device(seed: u8, name: &str, at: u64) -> Certificate {
        let (key, seal) = (
            DeviceKey::from_seed(&[seed; 32]),
            SealKey::from_bytes(&[seed; 32]),
        );
        Certificate::issue(
            &alice(),
            &key,
            &seal,
            Name::new(name).unwrap(),
            UnixTime(at),
        )
    }

    fn revoked(seed: u8, at: u64) -> Revocation {
        Revocation::issue(
            &alice(),
            DeviceKey::from_seed(&[seed; 32]).id(),
            UnixTime(at),
        )
    }

    #[test]
    fn the_order_of_arrival_does_not_matter() {
        let certificates = [device(1, "a", 1), device(2, "b", 1), device(1, "new", 2)];
        let revocations = [revoked(2, 9), revoked(2, 4), revoked(3, 1)];
        let mut one = Devices::of(alice().id());
        let mut other = one.clone();
        for certificate in &certificates {
            assert_eq!(one.add(certificate.clone()), Ok(true));
        }
        for revocation in &revocations {
            one.revoke(revocation.clone()).unwrap();
            other.revoke(revocation.clone()).unwrap();
        }
        for certificate in certificates.iter().rev() {
            other.add(certificate.clone()).unwrap();
            assert_eq!(other.add(certificate.clone()), Ok(false), "known already");
        }
        assert_eq!(one, other);
        assert_eq!(Devices::parse(&one.encode()), Ok(one.clone()));
        assert!(one.trusts(&device(1, "new", 2)) && !one.trusts(&device(2, "b", 1)));
        let id = DeviceKey::from_seed(&[2; 32]).id();
        assert_eq!(one.revocation(id).map(Revocation::at), Some(UnixTime(4)));
    }

    #[test]
    fn other_peoples_devices_stay_out() {
        let eve = PersonKey::from_phrase(&Phrase::from_entropy(&[66; 16]));
        let mut devices = Devices::of(eve.id());
        assert_eq!(devices.add(device(1, "a", 1)), Err(DevicesError::Foreign));
        assert_eq!(devices.revoke(revoked(1, 1)), Err(DevicesError::Foreign));
        assert!(!devices.trusts(&device(1, "a", 1)));
    }

    #[test]
    fn a_list_has_an_end_and_an_order() {
        let mut devices = Devices::of(alice().id());
        for seed in 0..MAX_DEVICES as u8 {
            devices.add(device(seed, "x", 1)).unwrap();
        }
        assert_eq!(devices.add(device(200, "x", 1)), Err(DevicesError::Full));
        assert!(devices.encode().len() <= Devices::MAX_LEN);

        let mut two = Devices::of(alice().id());
        two.add(device(1, "a", 1)).unwrap();
        two.add(device(2, "b", 1)).unwrap();
        two.certificates.reverse();
        let listed = StatementError::Field("list of devices");
        assert_eq!(Devices::parse(&two.encode()), Err(listed));
    }
}
