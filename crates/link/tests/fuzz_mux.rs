//! What a device sends over the fast road may be anything.

use link::device::mux::{Event, Mux};
use link::device::{Doorman, PREFACE, STREAMS, preface};

/// A frame that is well formed, as often as not.
fn frame((kind, stream, len): (u8, u8, u16), bytes: &mut Vec<u8>) {
    let len = match kind % 10 {
        0 | 2 => 0,
        3..=5 => 4,
        6 | 7 => 8,
        _ => u32::from(len % 5000),
    };
    let mut header = len.to_be_bytes();
    header[0] = kind % 10;
    bytes.extend(header);
    bytes.extend([0, 0, 0, stream]);
    bytes.extend((0..len).map(|n| n as u8));
}

/// Frames and noise, cut anywhere, while a program here does what programs do: nothing panics, no more streams
/// come in than are allowed, and the other side is answered no more than it asks.
#[test]
fn fuzz_mux() {
    bolero::check!()
        .with_type::<(bool, Vec<(u8, u8, u16)>, Vec<u8>, u8, Vec<u8>)>()
        .for_each(|(dialled, frames, noise, cut, deeds)| {
            let mut bytes = Vec::new();
            frames.iter().for_each(|each| frame(*each, &mut bytes));
            bytes.extend(noise);
            let mut mux = Mux::new(*dialled);
            let mut held = Vec::new();
            let mut deeds = deeds.iter().cycle();
            for part in bytes.chunks(usize::from(*cut) + 1) {
                if mux.receive(part).is_err() {
                    return;
                }
                let arrived = std::iter::from_fn(|| mux.poll())
                    .filter(|event| *event == Event::Arrived)
                    .count();
                assert!(arrived <= STREAMS as usize);
                match deeds.next().map_or(0, |deed| deed % 8) {
                    0 => held.extend(mux.accept()),
                    1 => held.extend(mux.open()),
                    2 => held.iter().for_each(|id| mux.finish(*id)),
                    3 => held.iter().for_each(|id| mux.reset(*id, 7)),
                    4 => held.iter().for_each(|id| mux.stop(*id, 7)),
                    5 => held.iter().for_each(|id| drop(mux.read(*id, 1000))),
                    6 => held.iter().for_each(|id| {
                        drop(mux.write(*id, &mut vec![1; 3000].into()));
                    }),
                    _ => drop(mux.transmit(10_000, &mut Vec::new())),
                }
            }
            // One with whom nobody here has to do.
            let mut alone = Mux::new(*dialled);
            let mut answer = Vec::new();
            if alone.receive(&bytes).is_ok() {
                assert!(alone.transmit(1 << 20, &mut answer) <= bytes.len());
            }
            for id in held.drain(..) {
                mux.reset(id, 0);
                mux.stop(id, 0);
                mux.release(id);
            }
            let mut out = Vec::new();
            while mux.transmit(1 << 20, &mut out) > 0 {}
        });
}

/// Nothing but what was made with a key comes in.
#[test]
fn fuzz_preface() {
    let doorman = Doorman::default();
    doorman.expect(&[9; 32]);
    bolero::check!()
        .with_type::<([u8; PREFACE], u64)>()
        .for_each(|(bytes, now)| {
            assert!(!doorman.admits(bytes, *now));
            let nonce = *bytes.first_chunk().expect("32 bytes are more than 16");
            let right = preface(&[9; 32], nonce, *now);
            let mut wrong = right;
            wrong[16 + usize::from(bytes[31]) % 16] ^= bytes[30] | 1;
            assert!(!doorman.admits(&wrong, *now));
        });
}
