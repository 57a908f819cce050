//! The encrypted handshake, in whatever parts it comes and whatever comes instead of it.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::panic::RefUnwindSafe;

use bolero::generator::TypeGenerator;
use link::mse::{Agreed, Answering, Methods, MseError, Noise, Opening, Progress};
use rc4::StreamCipher;

const TORRENT: [u8; 20] = [7; 20];
/// Who dialled has made up its mind after so many bytes: key, padding, mark, choice, padding.
const MOST_TO_OPENING: usize = 96 + 512 + 8 + 6 + 512;
/// Who was dialled, after so many: key, padding, mark, torrent, offer, padding, initial payload.
const MOST_TO_ANSWERING: usize = 96 + 512 + 20 + 20 + 14 + 512 + 2 + 4096;

type Hears = Box<dyn FnMut(&[u8]) -> Result<Progress, MseError>>;

/// One side of a conversation.
struct Side {
    hears: Hears,
    /// What it says when the handshake is over.
    says: &'static [u8],
    /// Most bytes that it may want before the handshake is over.
    most: usize,
    given: usize,
    /// Under way to it.
    coming: Vec<u8>,
    /// Payload that it has got.
    heard: Vec<u8>,
    end: Option<Result<Agreed, MseError>>,
}

impl Side {
    fn new(hears: Hears, says: &'static [u8], most: usize) -> Side {
        Side {
            hears,
            says,
            most,
            given: 0,
            coming: Vec::new(),
            heard: Vec::new(),
            end: None,
        }
    }

    /// The next bytes of what is under way to it arrive; what it sends then.
    fn takes(&mut self, len: usize) -> Vec<u8> {
        let mut part: Vec<u8> = self.coming.drain(..len.min(self.coming.len())).collect();
        match &mut self.end {
            Some(Ok(agreed)) => {
                if let Some(ciphers) = &mut agreed.ciphers {
                    ciphers.receive.apply_keystream(&mut part);
                }
                self.heard.extend(part);
                return Vec::new();
            }
            Some(Err(_)) => return Vec::new(),
            None => self.given += part.len(),
        }
        match (self.hears)(&part) {
            Ok(Progress::More(send)) => {
                assert!(self.given < self.most, "it wants more and more");
                send
            }
            Ok(Progress::Done(mut agreed)) => {
                self.heard = std::mem::take(&mut agreed.early);
                let (mut send, mut said) = (std::mem::take(&mut agreed.send), self.says.to_vec());
                if let Some(ciphers) = &mut agreed.ciphers {
                    ciphers.send.apply_keystream(&mut said);
                }
                send.extend(said);
                self.end = Some(Ok(agreed));
                send
            }
            Err(error) => {
                self.end = Some(Err(error));
                Vec::new()
            }
        }
    }

    fn encrypts(&self) -> Option<bool> {
        let agreed = self.end.as_ref()?.as_ref().ok()?;
        Some(agreed.ciphers.is_some())
    }
}

/// How a conversation goes.
#[derive(Clone, Debug, TypeGenerator)]
struct Talk {
    offer: (bool, bool),
    allowed: (bool, bool),
    keys: [[u8; 20]; 2],
    pads: [u16; 2],
    initial: u16,
    /// Bytes that arrive at once, over and over again; 0: all there are.
    parts: Vec<u16>,
}

impl Talk {
    fn methods(&self) -> [Methods; 2] {
        [self.offer, self.allowed].map(|(plain, rc4)| Methods { plain, rc4 })
    }

    fn noise(&self, side: usize) -> Noise {
        Noise {
            key: self.keys[side],
            pad: noise(self.pads[side].into(), usize::from(self.pads[side]) % 600),
        }
    }

    fn initial(&self) -> Vec<u8> {
        noise(u64::from(self.initial), usize::from(self.initial) % 4097)
    }

    /// Both sides, with the first bytes under way.
    fn sides(&self) -> [Side; 2] {
        let [offer, allowed] = self.methods();
        let (mut opening, first) = Opening::new(TORRENT, offer, self.initial(), &self.noise(0));
        let mut answering = Answering::new(allowed, self.noise(1));
        let a: Hears = Box::new(move |bytes| opening.receive(bytes));
        let b: Hears = Box::new(move |bytes| answering.receive(bytes, || [[1; 20], TORRENT]));
        let a = Side::new(a, b"from a", MOST_TO_OPENING);
        let mut b = Side::new(b, b"from b", MOST_TO_ANSWERING);
        b.coming = first;
        [a, b]
    }

    /// Carries what they say to and fro until nobody says anything; `harm` sees what is sent to a side, and how much
    /// went before.
    fn runs(&self, [a, b]: &mut [Side; 2], harm: impl Fn(usize, usize, &mut Vec<u8>)) {
        let mut parts = self.parts.iter().cycle();
        let mut part = || match parts.next() {
            None | Some(0) => usize::MAX,
            Some(&part) => 1 + usize::from(part) % 700,
        };
        let mut sent = [0, b.coming.len()];
        harm(1, 0, &mut b.coming);
        while !(a.coming.is_empty() && b.coming.is_empty()) {
            for to in [0, 1] {
                let (here, there) = match to {
                    0 => (&mut *b, &mut *a),
                    _ => (&mut *a, &mut *b),
                };
                if here.coming.is_empty() {
                    continue;
                }
                let mut said = here.takes(part());
                harm(to, sent[to], &mut said);
                sent[to] += said.len();
                there.coming.extend(said);
            }
        }
    }
}

fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut rng = fastrand::Rng::with_seed(seed);
    (0..len).map(|_| rng.u8(..)).collect()
}

fn check<T: TypeGenerator + Clone + std::fmt::Debug + RefUnwindSafe + 'static>(
    holds: impl Fn(&T) + RefUnwindSafe,
) {
    bolero::check!().with_type::<T>().for_each(holds);
}

#[test]
fn fuzz_mse_agrees() {
    check(|talk: &Talk| {
        let mut sides = talk.sides();
        talk.runs(&mut sides, |_, _, _| {});
        let [offer, allowed] = talk.methods();
        let both = (offer.plain && allowed.plain, offer.rc4 && allowed.rc4);
        let [a, b] = sides;
        if both == (false, false) {
            assert_eq!(b.end.unwrap().err(), Some(MseError::NoMethod));
            return;
        }
        // Plain is cheaper, so it is taken where it may be.
        assert_eq!((a.encrypts(), b.encrypts()), (Some(!both.0), Some(!both.0)));
        assert_eq!(a.heard, b"from b");
        assert_eq!(b.heard, [&talk.initial()[..], b"from a"].concat());
    });
}

/// What somebody in the middle does; `true`: to what is under way to the side that was dialled.
#[derive(Clone, Debug, TypeGenerator)]
struct Harm {
    talk: Talk,
    /// Bytes changed: in which direction, where, how.
    changes: Vec<(bool, u16, u8)>,
    /// Noise instead of a message, from some byte on.
    instead: Option<(bool, u16)>,
}

/// Somebody in the middle changes bytes: what is encrypted changes in the same places, so every field is reached.
#[test]
fn fuzz_mse() {
    check(|harm: &Harm| {
        let Harm {
            talk,
            changes,
            instead,
        } = harm;
        let mut sides = talk.sides();
        talk.runs(&mut sides, |to, before, bytes| {
            for &(_, at, by) in changes.iter().take(3).filter(|c| usize::from(c.0) == to) {
                let at = usize::from(at) % 1400;
                let at = at.checked_sub(before).and_then(|at| bytes.get_mut(at));
                at.into_iter().for_each(|byte| *byte ^= by);
            }
            // From some place on, noise.
            if let &Some((whom, len)) = instead
                && usize::from(whom) == to
                && before > 0
                && !bytes.is_empty()
            {
                let keep = usize::from(len) % (bytes.len() + 1);
                bytes.truncate(keep);
                bytes.extend(noise(len.into(), usize::from(len) % 8000));
            }
        });
        for side in sides {
            let all = side.given + side.heard.len();
            assert!(side.end.is_some() || all < side.most);
        }
    });
}

/// Whoever talks to us does not know of any handshake.
#[test]
fn fuzz_mse_noise() {
    check(|(talk, seed, len): &(Talk, u64, u16)| {
        let mut sides = talk.sides();
        for side in &mut sides {
            side.coming = noise(*seed, usize::from(*len) % 8000);
        }
        // Nobody answers what these two say.
        let mut parts = talk.parts.iter().cycle();
        for side in &mut sides {
            while !side.coming.is_empty() {
                let part = parts
                    .next()
                    .map_or(usize::MAX, |part| 1 + usize::from(*part));
                side.takes(part);
            }
            assert_eq!(side.encrypts(), None, "noise agrees with nobody");
        }
    });
}
