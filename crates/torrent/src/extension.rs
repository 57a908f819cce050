//! Extended messages (BEP 10): the extended handshake, and the extensions this program speaks, one file each:
//! metadata from peers (BEP 9), peer exchange (BEP 11), pieces taken back (BEP 54), upload only (BEP 21), hole punching
//! (BEP 55), and dialling back, which is ours.
//!
//! These are payloads of [`wire::Message::Extended`](crate::wire::Message::Extended). Reading is forgiving about
//! everything that other clients get wrong without harm, and bounded in everything.

mod dialback;
mod handshake;
mod holepunch;
mod metadata;
mod pex;
mod state;

pub use dialback::{DialOutcome, Dialback, Transport};
pub use handshake::{Handshake, Ids, MAX_CLIENT_LEN, MAX_HANDSHAKE_LEN};
pub use holepunch::{Holepunch, MAX_HOLEPUNCH_LEN, PunchError};
pub use metadata::{METADATA_PIECE_LEN, Metadata};
pub use pex::{MAX_PEX_ADDED, MAX_PEX_LEN, MAX_PEX_PARSED, Pex, PexFlags};
pub use state::{DontHave, UploadOnly};

use crate::bencode;

/// Id of the extended handshake, in both directions (BEP 10).
pub const HANDSHAKE_ID: u8 = 0;

/// Deepest nesting in an extension's dictionary; the handshake needs two.
const MAX_DEPTH: u32 = 16;

/// Most elements in an extension's dictionary; the longest handshakes have about sixty.
const MAX_ELEMENTS: u32 = 1024;

/// Why an extended message can't be read. It was heard whole, so the connection can go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExtensionError {
    /// The dictionary is not bencode, or over a limit.
    #[error("the peer's extension message is not readable: {0}")]
    Bencode(#[from] bencode::Error),
    /// The message is not a dictionary.
    #[error("the peer's extension message is not a dictionary")]
    NotDict,
    /// A key that is needed is missing or of another kind.
    #[error("the peer's extension message has no usable \"{0}\"")]
    Missing(&'static str),
    /// The message has a length it cannot have, in bytes.
    #[error("the peer's extension message has {0} bytes, which it cannot have")]
    Length(usize),
}

/// Limits for the dictionary of a message of at most `size` bytes.
fn limits(size: usize) -> bencode::Limits {
    bencode::Limits {
        depth: MAX_DEPTH,
        elements: MAX_ELEMENTS,
        ..bencode::Limits::LENIENT.size(size)
    }
}
