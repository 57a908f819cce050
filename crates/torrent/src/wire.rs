//! The peer wire protocol: the handshake, and the length-prefixed messages after it (BEP 3), with the fast
//! extension (BEP 6), the DHT port (BEP 5), extended messages (BEP 10) and the hash messages of BEP 52.
//!
//! Bytes in, values out. Whether a message makes sense now (a `have_all` without the fast extension, a piece
//! index beyond the torrent, a block nobody asked for) is the engine's to judge. The payload of a `piece` message
//! never passes through here: [`parse`] stops after its header, so that the road can read the block straight into
//! the buffer where it is hashed.

mod allowed_fast;
mod handshake;

pub use allowed_fast::allowed_fast_set;
pub use handshake::{HANDSHAKE_LEN, Handshake, PROTOCOL, Reserved};

/// Bytes of a `piece` message that come before the block: length prefix, id, piece, begin.
pub const PIECE_HEADER_LEN: usize = 13;

/// Longest block accepted, in bytes. Everybody asks for 16 KiB; 128 KiB is where other clients draw the line.
pub const MAX_BLOCK_LEN: u32 = 128 * 1024;

/// Longest bitfield accepted while the number of pieces is unknown, in bytes: four million pieces.
pub const MAX_BITFIELD_LEN: u32 = 512 * 1024;

/// Longest extended message accepted, in bytes. The longest in use carries 16 KiB of metadata and a small dictionary.
pub const MAX_EXTENDED_LEN: u32 = 128 * 1024;

/// Most hashes accepted in one `hashes` message: BEP 52 suggests asking for 512 at most; other clients serve up to
/// 8192; the rest leaves room for one uncle hash per layer of the highest tree.
pub const MAX_HASHES: u32 = 8192 + 64;

/// Longest message of an unknown kind that is skipped, in bytes.
pub const MAX_UNKNOWN_LEN: u32 = 64 * 1024;

/// A range of bytes of one piece, as `request`, `piece`, `cancel` and `reject` name it (BEP 3, BEP 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockRef {
    /// Index of the piece.
    pub piece: u32,
    /// Offset within the piece, in bytes.
    pub begin: u32,
    /// Length in bytes.
    pub len: u32,
}

/// What a hash request asks for (BEP 52, "hash request").
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HashRange {
    /// Root of the file's merkle tree.
    pub root: [u8; 32],
    /// Lowest layer wanted, counted upwards from the leaves (0: one hash for every 16 KiB).
    pub base: u32,
    /// First hash wanted in that layer; a multiple of `length`.
    pub index: u32,
    /// Number of hashes wanted of that layer; a power of two, at least two.
    pub length: u32,
    /// Number of layers above `base` for which uncle hashes are wanted.
    pub proofs: u32,
}

/// One message of the peer wire protocol, except `piece`, whose payload goes its own way ([`Parsed::Block`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Nothing to say, still there (an empty frame).
    KeepAlive,
    /// No more blocks for you.
    Choke,
    /// Ask away.
    Unchoke,
    /// You have something I want.
    Interested,
    /// You have nothing I want.
    NotInterested,
    /// I now have this piece.
    Have(u32),
    /// The pieces I have, first piece in the highest bit of the first byte; spare bits are zero.
    Bitfield(Vec<u8>),
    /// Send me this block.
    Request(BlockRef),
    /// I no longer want this block.
    Cancel(BlockRef),
    /// My DHT node listens on this UDP port (BEP 5).
    Port(u16),
    /// You might like to fetch this piece (BEP 6).
    Suggest(u32),
    /// I have every piece (BEP 6).
    HaveAll,
    /// I have no piece (BEP 6).
    HaveNone,
    /// I will not send this block (BEP 6).
    Reject(BlockRef),
    /// You may ask for this piece while choked (BEP 6).
    AllowedFast(u32),
    /// A message of an extension (BEP 10).
    Extended {
        /// 0 is the extended handshake, others are numbers the receiver gave out in its own handshake.
        id: u8,
        /// What the extension makes of it ([`crate::extension`]).
        payload: Vec<u8>,
    },
    /// Send me these hashes (BEP 52).
    HashRequest(HashRange),
    /// Here they are (BEP 52).
    Hashes {
        /// The request this answers.
        range: HashRange,
        /// The base layer's hashes, then uncle hashes upwards.
        hashes: Vec<[u8; 32]>,
    },
    /// I will not send these hashes (BEP 52).
    HashReject(HashRange),
    /// A message of a kind this program does not know; its content was dropped.
    Unknown {
        /// The message's id.
        id: u8,
    },
}

mod id {
    pub(super) const CHOKE: u8 = 0;
    pub(super) const UNCHOKE: u8 = 1;
    pub(super) const INTERESTED: u8 = 2;
    pub(super) const NOT_INTERESTED: u8 = 3;
    pub(super) const HAVE: u8 = 4;
    pub(super) const BITFIELD: u8 = 5;
    pub(super) const REQUEST: u8 = 6;
    pub(super) const PIECE: u8 = 7;
    pub(super) const CANCEL: u8 = 8;
    pub(super) const PORT: u8 = 9;
    pub(super) const SUGGEST: u8 = 13;
    pub(super) const HAVE_ALL: u8 = 14;
    pub(super) const HAVE_NONE: u8 = 15;
    pub(super) const REJECT: u8 = 16;
    pub(super) const ALLOWED_FAST: u8 = 17;
    pub(super) const EXTENDED: u8 = 20;
    pub(super) const HASH_REQUEST: u8 = 21;
    pub(super) const HASHES: u8 = 22;
    pub(super) const HASH_REJECT: u8 = 23;
}

impl Message {
    /// Appends the message as it goes over the wire, length prefix included.
    ///
    /// `Unknown` becomes an empty message of that id.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Message::KeepAlive => out.extend([0; 4]),
            Message::Choke => frame(out, id::CHOKE, &[]),
            Message::Unchoke => frame(out, id::UNCHOKE, &[]),
            Message::Interested => frame(out, id::INTERESTED, &[]),
            Message::NotInterested => frame(out, id::NOT_INTERESTED, &[]),
            Message::Have(piece) => frame(out, id::HAVE, &[&piece.to_be_bytes()]),
            Message::Bitfield(bits) => frame(out, id::BITFIELD, &[bits]),
            Message::Request(block) => frame(out, id::REQUEST, &[&block_bytes(*block)]),
            Message::Cancel(block) => frame(out, id::CANCEL, &[&block_bytes(*block)]),
            Message::Port(port) => frame(out, id::PORT, &[&port.to_be_bytes()]),
            Message::Suggest(piece) => frame(out, id::SUGGEST, &[&piece.to_be_bytes()]),
            Message::HaveAll => frame(out, id::HAVE_ALL, &[]),
            Message::HaveNone => frame(out, id::HAVE_NONE, &[]),
            Message::Reject(block) => frame(out, id::REJECT, &[&block_bytes(*block)]),
            Message::AllowedFast(piece) => frame(out, id::ALLOWED_FAST, &[&piece.to_be_bytes()]),
            Message::Extended { id, payload } => frame(out, id::EXTENDED, &[&[*id], payload]),
            Message::HashRequest(range) => frame(out, id::HASH_REQUEST, &[&range_bytes(range)]),
            Message::Hashes { range, hashes } => {
                frame(
                    out,
                    id::HASHES,
                    &[&range_bytes(range), hashes.as_flattened()],
                );
            }
            Message::HashReject(range) => frame(out, id::HASH_REJECT, &[&range_bytes(range)]),
            Message::Unknown { id } => frame(out, *id, &[]),
        }
    }
}

/// The bytes that go before a block's payload in a `piece` message.
pub fn piece_header(block: BlockRef) -> [u8; PIECE_HEADER_LEN] {
    let mut header = [0; PIECE_HEADER_LEN];
    header[..4].copy_from_slice(&(block.len.saturating_add(9)).to_be_bytes());
    header[4] = id::PIECE;
    header[5..9].copy_from_slice(&block.piece.to_be_bytes());
    header[9..].copy_from_slice(&block.begin.to_be_bytes());
    header
}

/// How long messages from a peer may be. A message over its limit is refused as soon as its header is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest bitfield, in bytes; [`Limits::for_pieces`] sets it for a known torrent.
    pub bitfield: u32,
    /// Longest extended message, in bytes.
    pub extended: u32,
    /// Longest block, in bytes.
    pub block: u32,
    /// Most hashes in one `hashes` message.
    pub hashes: u32,
    /// Longest message of an unknown kind, in bytes.
    pub unknown: u32,
}

impl Limits {
    /// Limits for a torrent of so many pieces.
    pub fn for_pieces(pieces: u32) -> Limits {
        Limits {
            bitfield: pieces.div_ceil(8),
            ..Limits::default()
        }
    }
}

impl Default for Limits {
    /// Limits for a torrent whose number of pieces is not known yet.
    fn default() -> Limits {
        Limits {
            bitfield: MAX_BITFIELD_LEN,
            extended: MAX_EXTENDED_LEN,
            block: MAX_BLOCK_LEN,
            hashes: MAX_HASHES,
            unknown: MAX_UNKNOWN_LEN,
        }
    }
}

/// What [`parse`] saw at the start of the buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// At least this many more bytes are needed to say more; never zero.
    Incomplete(usize),
    /// A whole message.
    Message {
        /// The message.
        message: Message,
        /// How many bytes of the buffer it took.
        consumed: usize,
    },
    /// The header of a `piece` message: `block.len` bytes of payload follow on the stream.
    Block {
        /// The block that follows.
        block: BlockRef,
        /// How many bytes of the buffer the header took: [`PIECE_HEADER_LEN`].
        consumed: usize,
    },
}

/// Why bytes from a peer are not the BitTorrent protocol. None of these can be recovered from: hang up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The first bytes are not a BitTorrent handshake (encrypted, or another protocol).
    #[error(
        "the peer does not speak plain BitTorrent: its first bytes are not a BitTorrent handshake"
    )]
    NotBitTorrent,
    /// A message of fixed length has another length.
    #[error(
        "the peer sent message {id} with a length of {len} bytes, which that message cannot have"
    )]
    Length {
        /// The message's id.
        id: u8,
        /// Its length prefix: the id and what follows it, in bytes.
        len: u32,
    },
    /// A message is longer than its limit.
    #[error("the peer sent message {id} of {len} bytes; at most {limit} are accepted")]
    TooLong {
        /// The message's id.
        id: u8,
        /// Its length prefix: the id and what follows it, in bytes.
        len: u32,
        /// The longest length prefix accepted for it.
        limit: u32,
    },
}

/// Reads the first message in `buf`.
///
/// Call it again with the rest after dropping the consumed bytes; after a [`Parsed::Block`], its payload comes first.
///
/// # Errors
/// A message over its limit or of an impossible length, as soon as its first five bytes are there.
pub fn parse(buf: &[u8], limits: &Limits) -> Result<Parsed, WireError> {
    let Some((prefix, rest)) = buf.split_first_chunk::<4>() else {
        return Ok(Parsed::Incomplete(4 - buf.len()));
    };
    let len = u32::from_be_bytes(*prefix);
    if len == 0 {
        return Ok(Parsed::Message {
            message: Message::KeepAlive,
            consumed: 4,
        });
    }
    let Some((&id, rest)) = rest.split_first() else {
        return Ok(Parsed::Incomplete(1));
    };
    check_length(id, len, limits)?;

    if id == id::PIECE {
        let Some((header, _)) = rest.split_first_chunk::<8>() else {
            return Ok(Parsed::Incomplete(8 - rest.len()));
        };
        let block = BlockRef {
            piece: be32(header, 0),
            begin: be32(header, 4),
            len: len - 9,
        };
        return Ok(Parsed::Block {
            block,
            consumed: PIECE_HEADER_LEN,
        });
    }
    let body_len = len as usize - 1;
    let Some(body) = rest.get(..body_len) else {
        return Ok(Parsed::Incomplete(body_len - rest.len()));
    };
    Ok(Parsed::Message {
        message: message(id, body),
        consumed: body_len + 5,
    })
}

/// Refuses a length prefix that message `id` cannot have.
fn check_length(id: u8, len: u32, limits: &Limits) -> Result<(), WireError> {
    let (min, max) = match id {
        id::CHOKE
        | id::UNCHOKE
        | id::INTERESTED
        | id::NOT_INTERESTED
        | id::HAVE_ALL
        | id::HAVE_NONE => (1, 1),
        id::HAVE | id::SUGGEST | id::ALLOWED_FAST => (5, 5),
        id::REQUEST | id::CANCEL | id::REJECT => (13, 13),
        id::PORT => (3, 3),
        id::HASH_REQUEST | id::HASH_REJECT => (49, 49),
        id::BITFIELD => (1, limits.bitfield.saturating_add(1)),
        id::PIECE => (10, limits.block.saturating_add(9)),
        id::EXTENDED => (2, limits.extended.saturating_add(2)),
        id::HASHES => (49, limits.hashes.saturating_mul(32).saturating_add(49)),
        _ => (1, limits.unknown.saturating_add(1)),
    };
    if len > max && min != max {
        return Err(WireError::TooLong {
            id,
            len,
            limit: max,
        });
    }
    let ragged = id == id::HASHES && !len.wrapping_sub(49).is_multiple_of(32);
    if len < min || len > max || ragged {
        return Err(WireError::Length { id, len });
    }
    Ok(())
}

/// Makes a message of a body whose length [`check_length`] has approved.
fn message(id: u8, body: &[u8]) -> Message {
    match id {
        id::CHOKE => Message::Choke,
        id::UNCHOKE => Message::Unchoke,
        id::INTERESTED => Message::Interested,
        id::NOT_INTERESTED => Message::NotInterested,
        id::HAVE => Message::Have(be32(body, 0)),
        id::BITFIELD => Message::Bitfield(body.to_vec()),
        id::REQUEST => Message::Request(block(body)),
        id::CANCEL => Message::Cancel(block(body)),
        id::PORT => Message::Port(u16::from_be_bytes([body[0], body[1]])),
        id::SUGGEST => Message::Suggest(be32(body, 0)),
        id::HAVE_ALL => Message::HaveAll,
        id::HAVE_NONE => Message::HaveNone,
        id::REJECT => Message::Reject(block(body)),
        id::ALLOWED_FAST => Message::AllowedFast(be32(body, 0)),
        id::EXTENDED => Message::Extended {
            id: body[0],
            payload: body[1..].to_vec(),
        },
        id::HASH_REQUEST => Message::HashRequest(range(body)),
        id::HASHES => Message::Hashes {
            range: range(body),
            hashes: body[48..].as_chunks::<32>().0.to_vec(),
        },
        id::HASH_REJECT => Message::HashReject(range(body)),
        _ => Message::Unknown { id },
    }
}

fn frame(out: &mut Vec<u8>, id: u8, parts: &[&[u8]]) {
    let body: usize = parts.iter().map(|part| part.len()).sum();
    let len = u32::try_from(body + 1).expect("messages are built in memory, far below 4 GiB");
    out.reserve(body + 5);
    out.extend(len.to_be_bytes());
    out.push(id);
    for part in parts {
        out.extend_from_slice(part);
    }
}

fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn block(body: &[u8]) -> BlockRef {
    BlockRef {
        piece: be32(body, 0),
        begin: be32(body, 4),
        len: be32(body, 8),
    }
}

fn block_bytes(block: BlockRef) -> [u8; 12] {
    let mut bytes = [0; 12];
    bytes[..4].copy_from_slice(&block.piece.to_be_bytes());
    bytes[4..8].copy_from_slice(&block.begin.to_be_bytes());
    bytes[8..].copy_from_slice(&block.len.to_be_bytes());
    bytes
}

fn range(body: &[u8]) -> HashRange {
    let mut root = [0; 32];
    root.copy_from_slice(&body[..32]);
    HashRange {
        root,
        base: be32(body, 32),
        index: be32(body, 36),
        length: be32(body, 40),
        proofs: be32(body, 44),
    }
}

fn range_bytes(range: &HashRange) -> [u8; 48] {
    let mut bytes = [0; 48];
    bytes[..32].copy_from_slice(&range.root);
    for (at, number) in [
        (32, range.base),
        (36, range.index),
        (40, range.length),
        (44, range.proofs),
    ] {
        bytes[at..at + 4].copy_from_slice(&number.to_be_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests;
