//! The bytes of `device.key` (docs/design/links.md): the public keys, and the secret ones as they are or sealed with a
//! passphrase.

use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use identity::{DeviceId, DeviceKey, SealKey};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{Keys, MAX_PASSPHRASE};

const MAGIC: &[u8; 8] = b"starling";
const VERSION: u8 = 1;

/// Magic, version, kind, both public keys.
const HEAD: usize = 8 + 2 + 64;
const SECRETS: usize = 64;
const SALT: usize = 16;
const NONCE: usize = 12;
const TAG: usize = 16;
/// Memory and passes; salt; nonce.
const LOCK: usize = 8 + SALT + NONCE;
const SUM: usize = 32;

/// What trying one passphrase costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cost {
    /// Memory, in KiB.
    pub memory: u32,
    /// How often it is gone over.
    pub passes: u32,
}

/// Argon2id with 64 MiB and three passes (RFC 9106 §4, the second choice, on one lane).
pub(super) const COST: Cost = Cost {
    memory: 64 * 1024,
    passes: 3,
};

/// What a file may ask for at most: one that was tampered with is not to take all memory, or for ever.
const MOST: Cost = Cost {
    memory: 1024 * 1024,
    passes: 16,
};

/// Why a file's keys cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyFileError {
    Damaged(&'static str),
    Newer,
    Locked,
    WrongPassphrase,
    Passphrase,
}

/// A key file whose checksum is right.
#[derive(Clone)]
pub(super) struct KeyFile {
    device: DeviceId,
    seal: [u8; 32],
    secrets: Secrets,
}

#[derive(Clone)]
enum Secrets {
    Plain(Zeroizing<[u8; SECRETS]>),
    Locked {
        cost: Cost,
        salt: [u8; SALT],
        nonce: [u8; NONCE],
        sealed: [u8; SECRETS + TAG],
    },
}

impl KeyFile {
    /// The longest, in bytes.
    pub const MAX_LEN: usize = HEAD + LOCK + SECRETS + TAG + SUM;

    /// Keys that whoever can read the file has.
    pub fn plain(keys: &Keys) -> KeyFile {
        KeyFile {
            device: keys.device.id(),
            seal: keys.seal.public(),
            secrets: Secrets::Plain(secrets(keys)),
        }
    }

    /// Keys sealed with a passphrase.
    pub fn locked(
        keys: &Keys,
        passphrase: &[u8],
        salt: &[u8; SALT],
        nonce: &[u8; NONCE],
        cost: Cost,
    ) -> Result<KeyFile, KeyFileError> {
        let mut file = KeyFile::plain(keys);
        // With room for the tag: a buffer that moves leaves the secrets behind.
        let mut bytes = Vec::with_capacity(SECRETS + TAG);
        bytes.extend_from_slice(&*secrets(keys));
        let aad = Aad::from(file.head(1));
        stretch(passphrase, salt, cost)?
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(*nonce), aad, &mut bytes)
            .expect("64 bytes are far below what one nonce is good for");
        file.secrets = Secrets::Locked {
            cost,
            salt: *salt,
            nonce: *nonce,
            sealed: bytes.try_into().expect("the tag has 16 bytes"),
        };
        Ok(file)
    }

    /// By which the device is known.
    pub fn device(&self) -> DeviceId {
        self.device
    }

    /// What is sealed to.
    pub fn seal(&self) -> &[u8; 32] {
        &self.seal
    }

    /// Whether a passphrase is needed.
    pub fn is_locked(&self) -> bool {
        matches!(self.secrets, Secrets::Locked { .. })
    }

    /// The secret keys. A passphrase is not looked at where none is needed.
    pub fn open(&self, passphrase: Option<&[u8]>) -> Result<Keys, KeyFileError> {
        let bytes = match &self.secrets {
            Secrets::Plain(bytes) => bytes.clone(),
            Secrets::Locked {
                cost,
                salt,
                nonce,
                sealed,
            } => {
                let passphrase = passphrase.ok_or(KeyFileError::Locked)?;
                let mut bytes = Zeroizing::new(*sealed);
                let (nonce, aad) = (
                    Nonce::assume_unique_for_key(*nonce),
                    Aad::from(self.head(1)),
                );
                let opened = stretch(passphrase, salt, *cost)?
                    .open_in_place(nonce, aad, &mut *bytes)
                    .map_err(|_| KeyFileError::WrongPassphrase)?;
                let opened: &[u8] = opened;
                Zeroizing::new(opened.try_into().expect("the tag has 16 bytes"))
            }
        };
        let (two, _) = bytes.as_chunks::<32>();
        let keys = Keys {
            device: DeviceKey::from_seed(&two[0]),
            seal: SealKey::from_bytes(&two[1]),
        };
        match keys.device.id() == self.device && keys.seal.public() == self.seal {
            true => Ok(keys),
            false => Err(KeyFileError::Damaged(
                "the keys in it do not belong together",
            )),
        }
    }

    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut out = Zeroizing::new(Vec::with_capacity(KeyFile::MAX_LEN));
        match &self.secrets {
            Secrets::Plain(bytes) => {
                out.extend(self.head(0));
                out.extend(&**bytes);
            }
            Secrets::Locked {
                cost,
                salt,
                nonce,
                sealed,
            } => {
                out.extend(self.head(1));
                out.extend(cost.memory.to_be_bytes());
                out.extend(cost.passes.to_be_bytes());
                out.extend(salt);
                out.extend(nonce);
                out.extend(sealed);
            }
        }
        let sum = Sha256::digest(&*out);
        out.extend(sum);
        out
    }

    pub fn parse(bytes: &[u8]) -> Result<KeyFile, KeyFileError> {
        let damaged = |why| KeyFileError::Damaged(why);
        if bytes.is_empty() {
            return Err(damaged("it is empty"));
        }
        if !bytes.starts_with(MAGIC) {
            return Err(damaged("it is no key file of Starling"));
        }
        let end = damaged("its end is missing");
        let (body, sum) = bytes.split_last_chunk::<SUM>().ok_or(end)?;
        if Sha256::digest(body)[..] != sum[..] {
            return Err(damaged("its checksum is wrong"));
        }
        let [version, kind] = *body
            .get(MAGIC.len()..)
            .and_then(<[u8]>::first_chunk)
            .ok_or(end)?;
        match version {
            0 => return Err(damaged("its version cannot be")),
            VERSION if kind <= 1 => {}
            _ => return Err(KeyFileError::Newer),
        }
        let length = damaged("its length is wrong");
        let (head, rest) = body.split_first_chunk::<HEAD>().ok_or(length)?;
        let array = |at: usize| -> [u8; 32] { std::array::from_fn(|byte| head[10 + at + byte]) };
        let secrets = match kind {
            0 => Secrets::Plain(Zeroizing::new(rest.try_into().map_err(|_| length)?)),
            _ => {
                let (cost, rest) = rest.split_first_chunk::<8>().ok_or(length)?;
                let number =
                    |at: usize| u32::from_be_bytes(std::array::from_fn(|byte| cost[at + byte]));
                let cost = Cost {
                    memory: number(0),
                    passes: number(4),
                };
                if cost.memory > MOST.memory || cost.passes > MOST.passes {
                    return Err(damaged("its passphrase would cost more than any does"));
                }
                let (salt, rest) = rest.split_first_chunk().ok_or(length)?;
                let (nonce, sealed) = rest.split_first_chunk().ok_or(length)?;
                Secrets::Locked {
                    cost,
                    salt: *salt,
                    nonce: *nonce,
                    sealed: sealed.try_into().map_err(|_| length)?,
                }
            }
        };
        Ok(KeyFile {
            device: DeviceId(array(0)),
            seal: array(32),
            secrets,
        })
    }

    fn head(&self, kind: u8) -> [u8; HEAD] {
        let head = [&MAGIC[..], &[VERSION, kind], &self.device.0, &self.seal].concat();
        head.try_into().expect("the parts are as long as the head")
    }
}

fn secrets(keys: &Keys) -> Zeroizing<[u8; SECRETS]> {
    let mut bytes = Zeroizing::new([0; SECRETS]);
    let (device, seal) = bytes.split_at_mut(32);
    device.copy_from_slice(keys.device.expose());
    seal.copy_from_slice(keys.seal.expose());
    bytes
}

/// The key that a passphrase stands for.
fn stretch(passphrase: &[u8], salt: &[u8], cost: Cost) -> Result<LessSafeKey, KeyFileError> {
    if passphrase.is_empty() || passphrase.len() > MAX_PASSPHRASE {
        return Err(KeyFileError::Passphrase);
    }
    let damaged = KeyFileError::Damaged("its passphrase costs less than any does");
    let params = Params::new(cost.memory, cost.passes, 1, Some(32)).map_err(|_| damaged)?;
    let mut key = Zeroizing::new([0; 32]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase, salt, &mut *key)
        .map_err(|_| damaged)?;
    let key = UnboundKey::new(&CHACHA20_POLY1305, &*key).expect("the key has 32 bytes");
    Ok(LessSafeKey::new(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The least that there is: these tests are not about how long it takes.
    const CHEAP: Cost = Cost {
        memory: 8,
        passes: 1,
    };

    fn keys() -> Keys {
        Keys {
            device: DeviceKey::from_seed(&[1; 32]),
            seal: SealKey::from_bytes(&[2; 32]),
        }
    }

    fn locked(passphrase: &[u8]) -> Result<KeyFile, KeyFileError> {
        KeyFile::locked(&keys(), passphrase, &[3; SALT], &[4; NONCE], CHEAP)
    }

    fn error<T>(result: Result<T, KeyFileError>) -> KeyFileError {
        result.err().expect("it is refused")
    }

    #[test]
    fn keys_come_out_as_they_went_in() {
        for (file, passphrase) in [
            (KeyFile::plain(&keys()), None),
            (locked(b"open sesame").unwrap(), Some(&b"open sesame"[..])),
        ] {
            let bytes = file.encode();
            let read = KeyFile::parse(&bytes).ok().unwrap();
            assert_eq!(read.encode(), bytes);
            assert_eq!(read.is_locked(), passphrase.is_some());
            assert_eq!(
                (read.device(), read.seal()),
                (keys().device.id(), &keys().seal.public())
            );
            let out = read.open(passphrase).ok().unwrap();
            assert_eq!(out.device.expose(), keys().device.expose());
            assert_eq!(out.seal.expose(), keys().seal.expose());
        }
    }

    #[test]
    fn a_locked_file_opens_with_its_passphrase_alone() {
        let file = locked(b"open sesame").ok().unwrap();
        assert_eq!(error(file.open(None)), KeyFileError::Locked);
        assert_eq!(
            error(file.open(Some(b"open barley"))),
            KeyFileError::WrongPassphrase
        );
        assert_eq!(error(file.open(Some(b""))), KeyFileError::Passphrase);
        assert_eq!(
            error(locked(&[b'x'; MAX_PASSPHRASE + 1])),
            KeyFileError::Passphrase
        );
        let bytes = file.encode();
        for secret in [[1; 32], [2; 32]] {
            assert!(!bytes.windows(32).any(|window| window == secret));
        }
    }

    #[test]
    fn every_changed_byte_and_every_cut_is_damage() {
        let whole = locked(b"x").ok().unwrap().encode();
        assert_eq!(whole.len(), KeyFile::MAX_LEN);
        for at in 0..whole.len() {
            let mut changed = whole.to_vec();
            changed[at] ^= 1;
            assert!(matches!(
                error(KeyFile::parse(&changed)),
                KeyFileError::Damaged(_)
            ));
            assert!(matches!(
                error(KeyFile::parse(&whole[..at])),
                KeyFileError::Damaged(_)
            ));
        }
    }

    /// A body with a checksum that is right.
    fn summed(body: &[u8]) -> Vec<u8> {
        [body, &Sha256::digest(body)[..]].concat()
    }

    #[test]
    fn what_was_tampered_with_takes_no_memory_and_gives_no_keys() {
        let whole = locked(b"x").ok().unwrap().encode();
        let mut body = whole[..whole.len() - SUM].to_vec();
        body[HEAD..HEAD + 4].fill(0xff);
        assert!(matches!(
            error(KeyFile::parse(&summed(&body))),
            KeyFileError::Damaged(_)
        ));
        body[HEAD..HEAD + 4].fill(0);
        let cheap = KeyFile::parse(&summed(&body)).ok().unwrap();
        assert!(matches!(
            error(cheap.open(Some(b"x"))),
            KeyFileError::Damaged(_)
        ));

        let plain = KeyFile::plain(&keys()).encode();
        let mut body = plain[..plain.len() - SUM].to_vec();
        body[10] ^= 1;
        let other = KeyFile::parse(&summed(&body)).ok().unwrap();
        assert!(matches!(error(other.open(None)), KeyFileError::Damaged(_)));
        body[8] = 2;
        assert_eq!(error(KeyFile::parse(&summed(&body))), KeyFileError::Newer);
        assert!(matches!(
            error(KeyFile::parse(&summed(b"starling"))),
            KeyFileError::Damaged(_)
        ));
    }

    #[test]
    fn fuzz_key_files() {
        bolero::check!().for_each(|bytes: &[u8]| {
            let behind = |head: &[u8]| summed(&[head, bytes].concat());
            for file in [bytes.to_vec(), behind(MAGIC), behind(b"starling\x01\x01")] {
                if let Ok(read) = KeyFile::parse(&file) {
                    assert_eq!(**read.encode(), *file, "one file has one meaning");
                    assert!(!read.is_locked() || read.open(None).is_err());
                }
            }
        });
    }
}
