//! What is on disk: the pieces of torrents, in ordinary files in people's own folders.
//!
//! - [`Store`] takes blocks in, hashes and writes them, reads them out again and makes them durable; all of
//!   it on a few threads, all of it bounded. What is right is decided elsewhere: the store tells hashes.
//! - [`SlotPool`] holds the buffers between sockets and disk.
//! - [`resume`] is what a restart may believe.
//!
//! Deliberately not here: the network, an async runtime, what a piece's hash should be.
//! The contract with the engine and the driver is `docs/design/content-path.md`.

mod bits;
mod digest;
mod disk;
mod done;
mod error;
mod files;
pub mod hasher;
mod home;
mod names;
mod readbuf;
mod reading;
mod relocate;
pub mod resume;
mod reuse;
pub mod scan;
mod settle;
mod slot;
mod store;
mod strand;
mod sweep;
pub mod twin;

pub use bits::Bits;
pub use digest::PieceHash;
pub use disk::Fingerprint;
pub use done::{BlockRun, Done};
pub use error::StoreError;
pub use files::DEFAULT_OPEN_FILES;
pub use home::{Allocate, Placement, TorrentId};
pub use names::{Naming, content_in};
pub use readbuf::{DEFAULT_READ_BUFFERS, READ_MAX, ReadBuf};
pub use relocate::{files_at, relocate, remove_files};
pub use reuse::{take_over, whole_file_at};
pub use slot::{DEFAULT_SLOTS, SLOT, Slot, SlotPool};
pub use store::{Config, Sink, Store, free_space};
pub use sweep::CheckedPiece;

#[cfg(test)]
mod tests;
