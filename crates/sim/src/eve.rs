//! Somebody who speaks the protocol in order to do harm.
//!
//! Eve connects to everybody who shares a torrent, greets properly, and then does one kind of
//! mischief for as long as she is let; shown out, she comes back. (Peers that merely lie about
//! bytes or keep none of their promises are honest engines with bad habits, see
//! [`Spec`](crate::node::Spec).)

use std::net::SocketAddr;
use std::rc::Rc;

use swarm::ConnId;
use torrent::extension::{self, Metadata, Pex, PexFlags};
use torrent::layout::BLOCK;
use torrent::wire::{BlockRef, Handshake, HashRange, Message, Reserved, piece_header};

use crate::content::Content;

/// Messages in one burst.
const BURST: usize = 50;

/// What Eve does all day.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mischief {
    /// Bytes that are no message.
    Noise,
    /// Asks for blocks, far more than anybody would, in all sizes.
    Requests,
    /// Asks for blocks that do not exist.
    Absurd,
    /// Asks for hashes, and sends some that nobody asked for.
    Hashes,
    /// Sends blocks nobody asked for.
    Blocks,
    /// Everything else at random: haves, chokes, extensions, addresses of nobody.
    Chatter,
    /// Claims to have everything and the metadata too, and sends noise when asked for that.
    Forgery,
}

impl Mischief {
    /// All kinds.
    pub const ALL: [Mischief; 7] = [
        Mischief::Noise,
        Mischief::Requests,
        Mischief::Absurd,
        Mischief::Hashes,
        Mischief::Blocks,
        Mischief::Chatter,
        Mischief::Forgery,
    ];
}

/// Eve.
pub struct Eve {
    /// The torrent she spoils.
    pub content: Rc<Content>,
    mischief: Mischief,
    conns: u64,
}

impl Eve {
    /// Eve, about to do this to the peers of that torrent.
    pub fn new(content: &Rc<Content>, mischief: Mischief) -> Eve {
        Eve {
            content: content.clone(),
            mischief,
            conns: 0,
        }
    }

    pub(crate) fn next_conn(&mut self) -> ConnId {
        self.conns += 1;
        ConnId(self.conns)
    }

    /// What she opens with.
    pub(crate) fn greet(&mut self, rng: &mut fastrand::Rng, out: &mut Vec<u8>) {
        let mut peer_id = *b"-EV0666-000000000000";
        rng.fill(&mut peer_id[8..]);
        let reserved = Reserved::default().with_fast().with_extended().with_v2();
        let info_hash = self.content.info.hashes().best().expect("it has a hash");
        out.extend(
            Handshake {
                reserved,
                info_hash,
                peer_id,
            }
            .encode(),
        );
        let size = self.content.info.raw().len() as u32;
        let shake = extension::Handshake {
            m: extension::Ids {
                ut_metadata: Some(2),
                ut_pex: Some(1),
                lt_donthave: Some(3),
                ..Default::default()
            },
            metadata_size: Some(match self.mischief {
                Mischief::Chatter => u32::MAX,
                _ => size,
            }),
            ..Default::default()
        };
        let payload = shake.encode();
        Message::Extended { id: 0, payload }.encode(out);
        match self.mischief {
            Mischief::Forgery => Message::HaveAll.encode(out),
            _ => Message::HaveNone.encode(out),
        }
    }

    /// One burst of mischief.
    pub(crate) fn burst(&mut self, rng: &mut fastrand::Rng, out: &mut Vec<u8>) {
        let layout = self.content.layout();
        let piece = |rng: &mut fastrand::Rng| rng.u32(..layout.pieces());
        match self.mischief {
            Mischief::Noise => out.extend((0..1000).map(|_| rng.u8(..))),
            Mischief::Requests => {
                Message::Interested.encode(out);
                for _ in 0..BURST {
                    let piece = piece(rng);
                    let begin = rng.u32(..layout.piece_len(piece));
                    let len = (layout.piece_len(piece) - begin).min(rng.u32(1..=8 * BLOCK));
                    let block = BlockRef { piece, begin, len };
                    Message::Request(block).encode(out);
                    if rng.u8(..4) == 0 {
                        Message::Cancel(block).encode(out);
                    }
                }
            }
            Mischief::Absurd => {
                let block = BlockRef {
                    piece: rng.u32(..),
                    begin: rng.u32(..),
                    len: rng.u32(..),
                };
                Message::Request(block).encode(out);
            }
            Mischief::Hashes => {
                for _ in 0..BURST {
                    let range = self.hash_range(rng);
                    if rng.bool() {
                        Message::HashRequest(range).encode(out);
                    } else {
                        let hashes = vec![[rng.u8(..); 32]; rng.usize(..20)];
                        Message::Hashes { range, hashes }.encode(out);
                    }
                }
            }
            Mischief::Blocks => {
                let piece = piece(rng);
                let block = rng.u32(..layout.blocks(piece));
                let len = layout.block_len(piece, block);
                let block = BlockRef {
                    piece,
                    begin: block * BLOCK,
                    len,
                };
                out.extend(piece_header(block));
                out.extend((0..len).map(|_| 0x66));
            }
            Mischief::Chatter => (0..BURST).for_each(|_| chatter(layout.pieces(), rng).encode(out)),
            Mischief::Forgery => {
                Message::Unchoke.encode(out);
                let size = self.content.info.raw().len();
                for piece in 0..size.div_ceil(16 << 10) {
                    let len = (size - piece * (16 << 10)).min(16 << 10);
                    let payload = Metadata::Data {
                        piece: piece as u32,
                        total_size: size as u32,
                        payload: (0..len).map(|_| rng.u8(..)).collect(),
                    };
                    // Number 2 is what she hopes the other side gave to metadata.
                    let payload = payload.encode();
                    Message::Extended { id: 2, payload }.encode(out);
                }
            }
        }
    }

    fn hash_range(&self, rng: &mut fastrand::Rng) -> HashRange {
        let file = rng.usize(..self.content.layout().files());
        let root = self.content.info.file(file).root();
        HashRange {
            root: root.filter(|_| rng.u8(..8) > 0).unwrap_or([6; 32]),
            base: rng.u32(..8),
            index: rng.u32(..8) * 2,
            length: 1 << rng.u32(1..6),
            proofs: rng.u32(..8),
        }
    }
}

fn chatter(pieces: u32, rng: &mut fastrand::Rng) -> Message {
    let piece = rng.u32(..pieces);
    match rng.u8(..16) {
        0 => Message::Choke,
        1 => Message::Unchoke,
        2 => Message::Interested,
        3 => Message::NotInterested,
        4 => Message::Have(piece),
        5 => Message::HaveAll,
        6 => Message::HaveNone,
        7 => Message::Suggest(piece),
        8 => Message::AllowedFast(piece),
        9 => Message::Port(rng.u16(..)),
        10 => {
            let bits = pieces.div_ceil(8) as usize;
            let mut bits: Vec<u8> = (0..bits).map(|_| rng.u8(..)).collect();
            if let (Some(last), spare) = (bits.last_mut(), bits_spare(pieces)) {
                *last &= 0xff << spare;
            }
            Message::Bitfield(bits)
        }
        11 => {
            let nobody = |_| SocketAddr::from((rng.u32(..).to_be_bytes(), 6881));
            let added = (0..50).map(nobody).map(|a| (a, PexFlags::SEED)).collect();
            let dropped = Vec::new();
            let payload = Pex { added, dropped }.encode();
            Message::Extended { id: 1, payload }
        }
        12 => Message::Extended {
            id: 3,
            payload: extension::DontHave(piece).encode(),
        },
        13 => Message::Extended {
            id: 2,
            payload: Metadata::Request { piece: rng.u32(..) }.encode(),
        },
        14 => Message::Reject(BlockRef {
            piece,
            begin: 0,
            len: BLOCK,
        }),
        _ => Message::Unknown { id: rng.u8(30..) },
    }
}

fn bits_spare(pieces: u32) -> u32 {
    (8 - pieces % 8) % 8
}
