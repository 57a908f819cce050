//! Who this computer is: its keys and its person's devices, kept in the folder `identity` of a home.
//!
//! The bytes of the key file are in `keyfile`, what keys and certificates mean in the crate `identity`. Several
//! programs may use a home at once: what changes anything holds the folder's lock, and files are replaced whole.

mod keyfile;
mod private;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use identity::{
    Certificate, DeviceId, DeviceKey, Devices, DevicesError, Name, PersonId, PersonKey, Revocation,
    SealKey, UnixTime,
};
use keyfile::{KeyFile, KeyFileError};

/// What a passphrase may be, in bytes.
pub const MAX_PASSPHRASE: usize = 1024;

/// Why the keys of this computer cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// Others could have read it.
    #[error(
        "{path} holds secret keys, and others may read or change it (mode {mode:03o}). If nobody did, make it yours alone: chmod go= {path}. Otherwise move it away, and this computer becomes a new device"
    )]
    Exposed {
        /// The file or folder.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// Not what was written.
    #[error("{path} is damaged: {why}. Move it away{instead}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
        /// What comes of moving it away.
        instead: &'static str,
    },
    /// A format that came later.
    #[error("{path} was written by a newer Starling. Update Starling to use it")]
    Newer {
        /// The file.
        path: PathBuf,
    },
    /// It opens with a passphrase.
    #[error("the keys of this computer are locked, and the passphrase is needed")]
    Locked,
    /// It opens with another.
    #[error("this is not the passphrase that the keys of this computer are locked with")]
    WrongPassphrase,
    /// Too long, or none.
    #[error("a passphrase has 1 to {MAX_PASSPHRASE} bytes")]
    Passphrase,
    /// It is one of another person's.
    #[error(
        "this computer is a device of the person {0} already, and a device has one person. Use another home folder for another person"
    )]
    OtherPerson(PersonId),
    /// It is no person's.
    #[error(
        "this computer is no person's device yet. `starling id new-person` makes a person, `starling id restore` enrols it with a phrase"
    )]
    NoPerson,
    /// It was taken away.
    #[error(
        "this device was revoked, and a revoked key never comes back. Move {path} away, and this computer becomes a new device"
    )]
    Revoked {
        /// The folder.
        path: PathBuf,
    },
    /// There is no room for more.
    #[error(transparent)]
    Devices(#[from] DevicesError),
    /// What the system says.
    #[error("cannot {op} {path}: {source}")]
    System {
        /// A verb.
        op: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// The folder `identity` of a home.
#[derive(Clone, Debug)]
pub struct Folder {
    path: PathBuf,
}

/// What anybody may know of this computer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Card {
    /// By which it is dialled.
    pub device: DeviceId,
    /// What secrets for it are sealed to (X25519).
    pub seal: [u8; 32],
    /// Whether its keys need a passphrase.
    pub is_locked: bool,
    /// Whose it is, and what is known of that person's devices.
    pub devices: Option<Devices>,
}

/// The secret keys of this computer.
pub struct Keys {
    /// It is dialled and signs with this.
    pub device: DeviceKey,
    /// What was sealed for it opens with this.
    pub seal: SealKey,
}

impl Card {
    /// Its person's certificate for it, if that counts.
    pub fn certificate(&self) -> Option<&Certificate> {
        let devices = self.devices.as_ref()?;
        let mut all = devices.certificates().iter();
        all.find(|one| one.device() == self.device && devices.trusts(one))
    }
}

impl Folder {
    /// That of this home. Nothing is looked at yet.
    pub fn of(home: &Path) -> Folder {
        Folder {
            path: home.join("identity"),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What this computer shows of itself. On first use, its keys are made.
    ///
    /// # Errors
    /// Why its files cannot be used.
    pub fn card(&self) -> Result<Card, IdentityError> {
        let file = self.key_file()?;
        Ok(Card {
            device: file.device(),
            seal: *file.seal(),
            is_locked: file.is_locked(),
            devices: self.devices()?,
        })
    }

    /// The secret keys, with the passphrase if they are locked. On first use they are made.
    ///
    /// # Errors
    /// Why they cannot be used.
    pub fn keys(&self, passphrase: Option<&[u8]>) -> Result<Keys, IdentityError> {
        let file = self.key_file()?;
        file.open(passphrase).map_err(|error| self.explain(error))
    }

    /// Locks the keys with a passphrase, or with none any more.
    ///
    /// # Errors
    /// Why the file cannot be written.
    pub fn lock(&self, keys: &Keys, passphrase: Option<&[u8]>) -> Result<(), IdentityError> {
        let _held = self.hold()?;
        self.write_keys(&self.locked(keys, passphrase)?)
    }

    /// Makes this device one of the person's, under this name; one that it is already gets the name.
    ///
    /// # Errors
    /// It is another person's or was revoked, or the file cannot be written.
    pub fn enrol(
        &self,
        person: &PersonKey,
        keys: &Keys,
        name: Name,
        now: UnixTime,
    ) -> Result<Certificate, IdentityError> {
        let _held = self.hold()?;
        let known = self.devices()?;
        let mut devices = known.unwrap_or_else(|| Devices::of(person.id()));
        if devices.person() != person.id() {
            return Err(IdentityError::OtherPerson(devices.person()));
        }
        if devices.revocation(keys.device.id()).is_some() {
            let path = self.path.clone();
            return Err(IdentityError::Revoked { path });
        }
        // A clock that was set back does not keep the newer name from counting.
        let last = devices
            .certificates()
            .iter()
            .find(|one| one.device() == keys.device.id());
        let now = last.map_or(now, |last| now.max(last.issued().plus_seconds(1)));
        let certificate = Certificate::issue(person, &keys.device, &keys.seal, name, now);
        devices.add(certificate.clone())?;
        self.write_devices(&devices)?;
        Ok(certificate)
    }

    /// Takes a device away from its person.
    ///
    /// # Errors
    /// This computer is not that person's, or the file cannot be written.
    pub fn revoke(
        &self,
        person: &PersonKey,
        device: DeviceId,
        now: UnixTime,
    ) -> Result<Revocation, IdentityError> {
        let _held = self.hold()?;
        let mut devices = self.devices()?.ok_or(IdentityError::NoPerson)?;
        if devices.person() != person.id() {
            return Err(IdentityError::OtherPerson(devices.person()));
        }
        let revocation = Revocation::issue(person, device, now);
        devices.revoke(revocation.clone())?;
        self.write_devices(&devices)?;
        Ok(revocation)
    }

    /// The keys as they are kept; made if there are none.
    fn key_file(&self) -> Result<KeyFile, IdentityError> {
        if let Some(file) = self.read_keys()? {
            return Ok(file);
        }
        let _held = self.hold()?;
        // Somebody else may have been faster.
        if let Some(file) = self.read_keys()? {
            return Ok(file);
        }
        let [device, seal] = [random()?, random()?];
        let keys = Keys {
            device: DeviceKey::from_seed(&device),
            seal: SealKey::from_bytes(&seal),
        };
        let file = self.locked(&keys, None)?;
        self.write_keys(&file)?;
        Ok(file)
    }

    fn read_keys(&self) -> Result<Option<KeyFile>, IdentityError> {
        let path = self.key_path();
        let Some(bytes) = private::read(&self.path, &path, KeyFile::MAX_LEN)? else {
            return Ok(None);
        };
        let file = KeyFile::parse(&bytes).map_err(|error| self.explain(error))?;
        Ok(Some(file))
    }

    fn write_keys(&self, file: &KeyFile) -> Result<(), IdentityError> {
        private::write(&self.key_path(), &file.encode())
    }

    fn locked(&self, keys: &Keys, passphrase: Option<&[u8]>) -> Result<KeyFile, IdentityError> {
        let Some(passphrase) = passphrase else {
            return Ok(KeyFile::plain(keys));
        };
        let (salt, nonce) = (random()?, random()?);
        KeyFile::locked(keys, passphrase, &salt, &nonce, keyfile::COST)
            .map_err(|error| self.explain(error))
    }

    fn devices(&self) -> Result<Option<Devices>, IdentityError> {
        let path = self.path.join("devices");
        let Some(bytes) = private::read(&self.path, &path, Devices::MAX_LEN)? else {
            return Ok(None);
        };
        match Devices::parse(&bytes) {
            Ok(devices) => Ok(Some(devices)),
            Err(identity::StatementError::Newer(_)) => Err(IdentityError::Newer { path }),
            Err(error) => Err(IdentityError::Damaged {
                path,
                why: error.to_string(),
                instead: ", and enrol this computer again with `starling id restore`",
            }),
        }
    }

    fn write_devices(&self, devices: &Devices) -> Result<(), IdentityError> {
        private::write(&self.path.join("devices"), &devices.encode())
    }

    fn key_path(&self) -> PathBuf {
        self.path.join("device.key")
    }

    fn explain(&self, error: KeyFileError) -> IdentityError {
        let path = self.key_path();
        match error {
            KeyFileError::Damaged(why) => IdentityError::Damaged {
                path,
                why: why.to_owned(),
                instead: ", or put a copy of this very file there; without one, this computer becomes a new device",
            },
            KeyFileError::Newer => IdentityError::Newer { path },
            KeyFileError::Locked => IdentityError::Locked,
            KeyFileError::WrongPassphrase => IdentityError::WrongPassphrase,
            KeyFileError::Passphrase => IdentityError::Passphrase,
        }
    }

    /// Makes the folder if need be, and keeps others from changing it until this is dropped.
    fn hold(&self) -> Result<File, IdentityError> {
        private::folder(&self.path)?;
        let path = self.path.join("lock");
        let lock = private::open_own(&path)?;
        lock.lock().map_err(|source| IdentityError::System {
            op: "lock",
            path,
            source,
        })?;
        Ok(lock)
    }
}

/// Bytes from the system.
fn random<const N: usize>() -> Result<zeroize::Zeroizing<[u8; N]>, IdentityError> {
    let mut bytes = zeroize::Zeroizing::new([0; N]);
    getrandom::fill(&mut *bytes).map_err(|error| IdentityError::System {
        op: "get random bytes from",
        path: "the system".into(),
        source: io::Error::other(error),
    })?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
