//! Message Stream Encryption, also called Protocol Encryption: a handshake that looks like noise, and then RC4 or
//! nothing. Networks that slow BitTorrent down do not recognise it; whoever knows the info-hash can read it, so it
//! keeps no secret.
//!
//! Source: "Message Stream Encryption", version 1.0 (Azureus and µTorrent, 2006); deviations as libtorrent has them.
//!
//! ```text
//! A → B  Ya, PadA                                                      96 bytes and 0 to 512
//! B → A  Yb, PadB
//! A → B  H("req1", S), H("req2", info-hash) ^ H("req3", S),
//!        RC4(VC, crypto_provide, len PadC, PadC, len IA, IA)
//! B → A  RC4(VC, crypto_select, len PadD, PadD), then payload as selected
//! ```
//!
//! [`Opening`] is A, [`Answering`] is B. Neither touches a socket: bytes go in with `receive`, and come out in
//! what it returns.

use crypto_bigint::modular::{FixedMontyForm, FixedMontyParams};
use crypto_bigint::{Odd, U192, U768};
use rc4::{KeyInit, Rc4, StreamCipher};
use sha1::{Digest, Sha1};

/// Length of a public key, in bytes.
const KEY: usize = 96;
/// Bits of a private key: more add nothing.
const PRIVATE_BITS: u32 = 160;
/// Most padding, in bytes.
const PAD: usize = 512;
/// The verification constant: zeroes.
const VC: usize = 8;
/// Most initial payload taken: a handshake and a few messages.
const INITIAL: usize = 4096;
/// Bytes of RC4 keystream thrown away: the first ones tell of the key.
const DISCARDED: usize = 1024;

/// The prime of the key exchange.
const PRIME: Odd<U768> = Odd::<U768>::from_be_hex(concat!(
    "FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74",
    "020BBEA63B139B22514A08798E3404DDEF9519B3CD3A431B302B0A6DF25F1437",
    "4FE1356D6D51C245E485B576625E7EC6F44C42E9A63A36210000000000090563"
));
const GROUP: FixedMontyParams<{ U768::LIMBS }> = FixedMontyParams::new_vartime(PRIME);

/// What may come after the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Methods {
    /// Nothing more is encrypted.
    pub plain: bool,
    /// RC4 to the end.
    pub rc4: bool,
}

impl Methods {
    /// Either; plain is chosen where the other side allows it.
    pub const BOTH: Methods = Methods {
        plain: true,
        rc4: true,
    };
    /// RC4 and nothing else.
    pub const RC4: Methods = Methods {
        plain: false,
        rc4: true,
    };
    const PLAIN_BIT: u32 = 1;
    const RC4_BIT: u32 = 2;

    fn bits(self) -> u32 {
        (u32::from(self.plain) * Self::PLAIN_BIT) | (u32::from(self.rc4) * Self::RC4_BIT)
    }

    /// The one to take of what is offered, as its bit: the cheaper one.
    fn choose(self, offered: u32) -> Option<u32> {
        let both = self.bits() & offered;
        [Self::PLAIN_BIT, Self::RC4_BIT]
            .into_iter()
            .find(|bit| both & bit != 0)
    }
}

/// What makes a handshake unlike any other. From a random source that nobody can foresee.
#[derive(Clone)]
pub struct Noise {
    /// The private key.
    pub key: [u8; 20],
    /// Padding, up to 512 bytes of any content.
    pub pad: Vec<u8>,
}

/// Why a handshake failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MseError {
    /// What came is not this handshake.
    #[error("it does not speak the encrypted handshake")]
    NotMse,
    /// It names a torrent that is not here.
    #[error("it asks for a torrent that is not here")]
    UnknownTorrent,
    /// No method suits both sides.
    #[error("it allows no encryption that we allow")]
    NoMethod,
}

/// How far a handshake is.
pub enum Progress {
    /// More has to come; these bytes have to go out meanwhile.
    More(Vec<u8>),
    /// It is over.
    Done(Agreed),
}

/// What two sides agreed on.
pub struct Agreed {
    /// Still to be sent, before any payload.
    pub send: Vec<u8>,
    /// Payload that has come already, decrypted.
    pub early: Vec<u8>,
    /// How payload is encrypted from here on; `None`: not at all.
    pub ciphers: Option<Box<Ciphers>>,
}

/// Both directions of a stream that is encrypted.
pub struct Ciphers {
    /// For what is sent.
    pub send: Rc4,
    /// For what is received.
    pub receive: Rc4,
}

/// The side that dialled.
pub struct Opening {
    info_hash: [u8; 20],
    offer: Methods,
    private: U192,
    /// Comes with the first encrypted bytes: it need not wait for an answer.
    initial: Vec<u8>,
    buf: Buffer,
    phase: OpeningPhase,
}

/// What [`Opening`] waits for.
enum OpeningPhase {
    Key,
    /// The zeroes after the padding, as they look encrypted.
    Mark(Box<Ciphers>, [u8; VC]),
    Select(Box<Ciphers>),
    Pad(Box<Ciphers>, u32, usize),
    Over,
}

impl Opening {
    /// Begins a handshake for a torrent, and gives the bytes to send first. `initial` is payload that goes out with
    /// it: the peer wire handshake, at most 64 KiB.
    pub fn new(
        info_hash: [u8; 20],
        offer: Methods,
        initial: Vec<u8>,
        noise: &Noise,
    ) -> (Opening, Vec<u8>) {
        let private = private(&noise.key);
        let mut send = power(&U768::from_u8(2), &private).to_vec();
        send.extend_from_slice(padding(noise));
        let opening = Opening {
            info_hash,
            offer,
            private,
            initial,
            buf: Buffer::default(),
            phase: OpeningPhase::Key,
        };
        (opening, send)
    }

    /// Takes what was received.
    ///
    /// # Errors
    /// The other side does something else. What it sends is never held beyond about 1 KiB and `bytes`.
    pub fn receive(&mut self, bytes: &[u8]) -> Result<Progress, MseError> {
        self.buf.0.extend_from_slice(bytes);
        let mut send = Vec::new();
        loop {
            match std::mem::replace(&mut self.phase, OpeningPhase::Over) {
                OpeningPhase::Key => {
                    let Some(key) = self.buf.take::<KEY>() else {
                        self.phase = OpeningPhase::Key;
                        return Ok(Progress::More(send));
                    };
                    let secret = secret(&key, &self.private)?;
                    let mut ciphers = Box::new(Ciphers {
                        send: cipher("keyA", &secret, &self.info_hash),
                        receive: cipher("keyB", &secret, &self.info_hash),
                    });
                    self.ask(&mut send, &secret, &mut ciphers.send);
                    let mut mark = [0; VC];
                    ciphers.receive.apply_keystream(&mut mark);
                    self.phase = OpeningPhase::Mark(ciphers, mark);
                }
                OpeningPhase::Mark(ciphers, mark) => {
                    self.phase = match self.buf.skip_to(&mark)? {
                        true => OpeningPhase::Select(ciphers),
                        false => {
                            self.phase = OpeningPhase::Mark(ciphers, mark);
                            return Ok(Progress::More(send));
                        }
                    };
                }
                OpeningPhase::Select(mut ciphers) => {
                    let Some(head) = self.buf.decrypt(6, &mut ciphers.receive) else {
                        self.phase = OpeningPhase::Select(ciphers);
                        return Ok(Progress::More(send));
                    };
                    let selected = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
                    if selected.count_ones() != 1 || selected & self.offer.bits() == 0 {
                        return Err(MseError::NoMethod);
                    }
                    self.phase = OpeningPhase::Pad(ciphers, selected, pad_len(&head[4..])?);
                }
                OpeningPhase::Pad(mut ciphers, selected, len) => {
                    if self.buf.decrypt(len, &mut ciphers.receive).is_none() {
                        self.phase = OpeningPhase::Pad(ciphers, selected, len);
                        return Ok(Progress::More(send));
                    }
                    let early = std::mem::take(&mut self.buf.0);
                    return Ok(Progress::Done(agreed(send, early, ciphers, selected)));
                }
                OpeningPhase::Over => return Err(MseError::NotMse),
            }
        }
    }

    /// The third part: which torrent, what is offered, and the initial payload.
    fn ask(&mut self, send: &mut Vec<u8>, secret: &[u8; KEY], cipher: &mut Rc4) {
        send.extend_from_slice(&hash(&[b"req1", secret]));
        send.extend_from_slice(&torrent_mark(secret, &self.info_hash));
        let at = send.len();
        send.extend_from_slice(&[0; VC]);
        send.extend_from_slice(&self.offer.bits().to_be_bytes());
        // No PadC: what goes before has a random length already.
        send.extend_from_slice(&0u16.to_be_bytes());
        self.initial.truncate(usize::from(u16::MAX));
        send.extend_from_slice(&(self.initial.len() as u16).to_be_bytes());
        send.append(&mut self.initial);
        cipher.apply_keystream(&mut send[at..]);
    }
}

/// The side that was dialled.
pub struct Answering {
    allowed: Methods,
    noise: Noise,
    buf: Buffer,
    phase: AnsweringPhase,
}

/// What [`Answering`] waits for.
enum AnsweringPhase {
    Key,
    /// `H("req1", S)` after the padding.
    Mark(Box<[u8; KEY]>),
    Torrent(Box<[u8; KEY]>),
    Offer(Box<Ciphers>),
    /// The padding, and the length of the initial payload.
    Pad(Box<Ciphers>, u32, usize),
    Initial(Box<Ciphers>, u32, usize),
    Over,
}

impl Answering {
    /// Waits for a handshake.
    pub fn new(allowed: Methods, noise: Noise) -> Answering {
        Answering {
            allowed,
            noise,
            buf: Buffer::default(),
            phase: AnsweringPhase::Key,
        }
    }

    /// Takes what was received. `torrents` names the info-hashes that are here, in the form of the wire; it is asked
    /// once.
    ///
    /// # Errors
    /// The other side does something else. What it sends is never held beyond about 5 KiB and `bytes`.
    pub fn receive<I: IntoIterator<Item = [u8; 20]>>(
        &mut self,
        bytes: &[u8],
        torrents: impl FnOnce() -> I,
    ) -> Result<Progress, MseError> {
        self.buf.0.extend_from_slice(bytes);
        let mut torrents = Some(torrents);
        let mut send = Vec::new();
        loop {
            match std::mem::replace(&mut self.phase, AnsweringPhase::Over) {
                AnsweringPhase::Key => {
                    let Some(key) = self.buf.take::<KEY>() else {
                        self.phase = AnsweringPhase::Key;
                        return Ok(Progress::More(send));
                    };
                    let private = private(&self.noise.key);
                    let secret = secret(&key, &private)?;
                    send.extend_from_slice(&power(&U768::from_u8(2), &private));
                    send.extend_from_slice(padding(&self.noise));
                    self.phase = AnsweringPhase::Mark(Box::new(secret));
                }
                AnsweringPhase::Mark(secret) => {
                    let mark = hash(&[b"req1", &*secret]);
                    if !self.buf.skip_to(&mark)? {
                        self.phase = AnsweringPhase::Mark(secret);
                        return Ok(Progress::More(send));
                    }
                    self.phase = AnsweringPhase::Torrent(secret);
                }
                AnsweringPhase::Torrent(secret) => {
                    let Some(mark) = self.buf.take::<20>() else {
                        self.phase = AnsweringPhase::Torrent(secret);
                        return Ok(Progress::More(send));
                    };
                    let known = torrents.take().map(|torrents| torrents().into_iter());
                    let named = known.and_then(|mut known| {
                        let blind = hash(&[b"req3", &*secret]);
                        known.find(|torrent| mark == xor(hash(&[b"req2", torrent]), blind))
                    });
                    let torrent = named.ok_or(MseError::UnknownTorrent)?;
                    self.phase = AnsweringPhase::Offer(Box::new(Ciphers {
                        send: cipher("keyB", &secret, &torrent),
                        receive: cipher("keyA", &secret, &torrent),
                    }));
                }
                AnsweringPhase::Offer(mut ciphers) => {
                    let Some(head) = self.buf.decrypt(VC + 6, &mut ciphers.receive) else {
                        self.phase = AnsweringPhase::Offer(ciphers);
                        return Ok(Progress::More(send));
                    };
                    if head[..VC] != [0; VC] {
                        return Err(MseError::NotMse);
                    }
                    let offered = u32::from_be_bytes([head[8], head[9], head[10], head[11]]);
                    let selected = self.allowed.choose(offered).ok_or(MseError::NoMethod)?;
                    self.phase = AnsweringPhase::Pad(ciphers, selected, pad_len(&head[12..])?);
                }
                AnsweringPhase::Pad(mut ciphers, selected, len) => {
                    let Some(pad) = self.buf.decrypt(len + 2, &mut ciphers.receive) else {
                        self.phase = AnsweringPhase::Pad(ciphers, selected, len);
                        return Ok(Progress::More(send));
                    };
                    let len = usize::from(u16::from_be_bytes([pad[len], pad[len + 1]]));
                    if len > INITIAL {
                        return Err(MseError::NotMse);
                    }
                    self.phase = AnsweringPhase::Initial(ciphers, selected, len);
                }
                AnsweringPhase::Initial(mut ciphers, selected, len) => {
                    let Some(initial) = self.buf.decrypt(len, &mut ciphers.receive) else {
                        self.phase = AnsweringPhase::Initial(ciphers, selected, len);
                        return Ok(Progress::More(send));
                    };
                    let at = send.len();
                    send.extend_from_slice(&[0; VC]);
                    send.extend_from_slice(&selected.to_be_bytes());
                    send.extend_from_slice(&0u16.to_be_bytes());
                    ciphers.send.apply_keystream(&mut send[at..]);
                    let rest = std::mem::take(&mut self.buf.0);
                    let mut agreed = agreed(send, rest, ciphers, selected);
                    agreed.early.splice(..0, initial);
                    return Ok(Progress::Done(agreed));
                }
                AnsweringPhase::Over => return Err(MseError::NotMse),
            }
        }
    }
}

/// Both sides are through; `rest` came after the last part.
fn agreed(send: Vec<u8>, mut rest: Vec<u8>, mut ciphers: Box<Ciphers>, selected: u32) -> Agreed {
    let encrypted = selected == Methods::RC4_BIT;
    if encrypted {
        ciphers.receive.apply_keystream(&mut rest);
    }
    Agreed {
        send,
        early: rest,
        ciphers: encrypted.then_some(ciphers),
    }
}

/// Received and not used yet.
#[derive(Default)]
struct Buffer(Vec<u8>);

impl Buffer {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let taken = *self.0.first_chunk::<N>()?;
        self.0.drain(..N);
        Some(taken)
    }

    fn decrypt(&mut self, len: usize, cipher: &mut Rc4) -> Option<Vec<u8>> {
        if self.0.len() < len {
            return None;
        }
        let mut taken: Vec<u8> = self.0.drain(..len).collect();
        cipher.apply_keystream(&mut taken);
        Some(taken)
    }

    /// Takes padding and the mark behind it; false: the mark has not come yet.
    fn skip_to(&mut self, mark: &[u8]) -> Result<bool, MseError> {
        let window = &self.0[..self.0.len().min(PAD + mark.len())];
        match window.windows(mark.len()).position(|part| part == mark) {
            Some(at) => {
                self.0.drain(..at + mark.len());
                Ok(true)
            }
            None if window.len() == PAD + mark.len() => Err(MseError::NotMse),
            None => Ok(false),
        }
    }
}

fn pad_len(bytes: &[u8]) -> Result<usize, MseError> {
    let len = usize::from(u16::from_be_bytes([bytes[0], bytes[1]]));
    (len <= PAD).then_some(len).ok_or(MseError::NotMse)
}

fn padding(noise: &Noise) -> &[u8] {
    &noise.pad[..noise.pad.len().min(PAD)]
}

fn private(key: &[u8; 20]) -> U192 {
    let mut wide = [0; 24];
    wide[4..].copy_from_slice(key);
    U192::from_be_slice(&wide)
}

fn power(base: &U768, exponent: &U192) -> [u8; KEY] {
    let base = FixedMontyForm::new(base, &GROUP);
    let result = base.pow_bounded_exp(exponent, PRIVATE_BITS).retrieve();
    result.to_be_bytes().into()
}

/// The secret that both sides share.
fn secret(key: &[u8; KEY], private: &U192) -> Result<[u8; KEY], MseError> {
    let key = U768::from_be_slice(key);
    // With one of these the secret would be known to everybody.
    if key <= U768::ONE || key >= PRIME.get().wrapping_sub(&U768::ONE) {
        return Err(MseError::NotMse);
    }
    Ok(power(&key, private))
}

fn hash(parts: &[&[u8]]) -> [u8; 20] {
    let mut hasher = Sha1::new();
    parts.iter().for_each(|part| hasher.update(part));
    hasher.finalize().into()
}

fn xor(a: [u8; 20], b: [u8; 20]) -> [u8; 20] {
    std::array::from_fn(|at| a[at] ^ b[at])
}

/// What names a torrent to those who know it.
fn torrent_mark(secret: &[u8; KEY], info_hash: &[u8; 20]) -> [u8; 20] {
    xor(hash(&[b"req2", info_hash]), hash(&[b"req3", secret]))
}

fn cipher(direction: &str, secret: &[u8; KEY], info_hash: &[u8; 20]) -> Rc4 {
    let key = hash(&[direction.as_bytes(), secret, info_hash]);
    let mut cipher = Rc4::new_from_slice(&key).expect("RC4 takes keys of 1 to 256 bytes");
    cipher.apply_keystream(&mut [0; DISCARDED]);
    cipher
}

#[cfg(test)]
mod tests {
    use super::*;

    const TORRENT: [u8; 20] = [7; 20];

    fn noise(seed: u8, pad: usize) -> Noise {
        Noise {
            key: std::array::from_fn(|at| seed.wrapping_mul(31).wrapping_add(at as u8)),
            pad: (0..pad).map(|at| (at as u8).wrapping_mul(seed)).collect(),
        }
    }

    /// A conversation in which each side gets `step` bytes at a time; what either has at the end.
    fn talk(
        offer: Methods,
        allowed: Methods,
        pads: (usize, usize),
        step: usize,
    ) -> Result<(Agreed, Agreed), MseError> {
        let (mut a, mut to_b) =
            Opening::new(TORRENT, offer, b"initial".to_vec(), &noise(3, pads.0));
        let mut b = Answering::new(allowed, noise(5, pads.1));
        let mut to_a = Vec::new();
        let (mut done_a, mut done_b) = (None::<Agreed>, None::<Agreed>);
        while done_a.is_none() || done_b.is_none() {
            let n = to_b.len().min(step);
            let part: Vec<u8> = to_b.drain(..n).collect();
            if done_b.is_none() && n > 0 {
                match b.receive(&part, || [[1; 20], TORRENT])? {
                    Progress::More(bytes) => to_a.extend(bytes),
                    Progress::Done(mut agreed) => {
                        to_a.append(&mut agreed.send);
                        let mut said = b"from b".to_vec();
                        if let Some(ciphers) = &mut agreed.ciphers {
                            ciphers.send.apply_keystream(&mut said);
                        }
                        to_a.extend(said);
                        done_b = Some(agreed);
                    }
                }
            }
            let m = to_a.len().min(step);
            let part: Vec<u8> = to_a.drain(..m).collect();
            if done_a.is_none() && m > 0 {
                match a.receive(&part)? {
                    Progress::More(bytes) => to_b.extend(bytes),
                    Progress::Done(agreed) => done_a = Some(agreed),
                }
            }
            assert!(n + m > 0, "nothing moves any more");
        }
        Ok((done_a.unwrap(), done_b.unwrap()))
    }

    #[test]
    fn both_sides_agree_however_the_bytes_come() {
        for step in [1, 7, 100, 5000] {
            for pads in [(0, 0), (512, 512), (13, 400)] {
                for (offer, allowed, encrypted) in [
                    (Methods::BOTH, Methods::BOTH, false),
                    (Methods::RC4, Methods::BOTH, true),
                    (Methods::BOTH, Methods::RC4, true),
                ] {
                    let (mut a, mut b) = talk(offer, allowed, pads, step).unwrap();
                    assert_eq!(b.early, b"initial");
                    assert!(b"from b".starts_with(&a.early), "{:?}", a.early);
                    assert_eq!(a.ciphers.is_some(), encrypted);
                    assert_eq!(b.ciphers.is_some(), encrypted);
                    if let (Some(a), Some(b)) = (&mut a.ciphers, &mut b.ciphers) {
                        let mut bytes = *b"on and on";
                        a.send.apply_keystream(&mut bytes);
                        assert_ne!(&bytes, b"on and on");
                        b.receive.apply_keystream(&mut bytes);
                        assert_eq!(&bytes, b"on and on");
                    }
                }
            }
        }
    }

    #[test]
    fn sides_that_share_no_method_or_torrent_part() {
        let plain = Methods {
            plain: true,
            rc4: false,
        };
        assert_eq!(
            talk(plain, Methods::RC4, (0, 0), 9).err(),
            Some(MseError::NoMethod)
        );
        let (mut a, first) = Opening::new(TORRENT, Methods::BOTH, Vec::new(), &noise(1, 9));
        let mut b = Answering::new(Methods::BOTH, noise(2, 9));
        let Ok(Progress::More(key)) = b.receive(&first, || [[1; 20]]) else {
            panic!("a key is answered by a key");
        };
        let Ok(Progress::More(ask)) = a.receive(&key) else {
            panic!("a key is answered by a question");
        };
        let answer = b.receive(&ask, || [[1; 20], [2; 20]]);
        assert_eq!(answer.err(), Some(MseError::UnknownTorrent));
    }

    #[test]
    fn noise_without_a_mark_is_given_up() {
        let mut b = Answering::new(Methods::BOTH, noise(2, 0));
        assert!(b.receive(&[9; KEY + PAD], || [TORRENT]).is_ok());
        assert!(b.receive(&[9; 20], || [TORRENT]).is_err());
        let (mut a, _) = Opening::new(TORRENT, Methods::BOTH, Vec::new(), &noise(1, 0));
        assert!(a.receive(&[9; KEY + PAD + VC]).is_err());
        let (mut a, _) = Opening::new(TORRENT, Methods::BOTH, Vec::new(), &noise(1, 0));
        assert!(
            a.receive(&[0; KEY]).is_err(),
            "everybody would know the secret"
        );
    }

    #[test]
    fn public_keys_are_those_of_the_group() {
        // 2^1 and 2^768 mod the prime: 2^768 is one prime and a rest.
        let mut one = [0; 20];
        one[19] = 1;
        let mut two = [0; KEY];
        two[KEY - 1] = 2;
        assert_eq!(power(&U768::from_u8(2), &private(&one)), two);
        let mut exponent = [0; 20];
        exponent[18..].copy_from_slice(&768u16.to_be_bytes());
        let rest = PRIME.get().wrapping_neg();
        let rest: [u8; KEY] = rest.to_be_bytes().into();
        assert_eq!(power(&U768::from_u8(2), &private(&exponent)), rest);
    }
}
