//! The swarm engine: many torrents in one session, with no sockets, disks, clocks or tasks inside.
//!
//! # The loop
//!
//! A [`Session`] is driven by whoever owns the sockets and the disk:
//!
//! 1. hand over one fact: [`Session::handle`] (or [`Session::block_arriving`] and
//!    [`Session::block_arrived`], the two facts whose answer is needed at once);
//! 2. take decisions with [`Session::poll`] until there are none;
//! 3. sleep until the next fact, or until [`Session::deadline`], then hand over
//!    [`Input::Timeout`].
//!
//! Payload never passes through: see `docs/design/content-path.md`. The same seed and the same
//! facts at the same times give the same decisions, which is what the simulator relies on.
//!
//! # The parts
//!
//! [`Session`] owns what torrents compete for: connections, dials, unchoke slots, rates. Each
//! torrent is made of small machines with tests of their own: the [`picker`] says which blocks to
//! ask of whom, [`pipeline`] how many at a time, the [`choker`] whom to serve, [`roster`] whom to
//! dial (by [`priority`]), `hashes` what each piece must hash to, `metadata` how to get the info dictionary,
//! `culprit` who lied; [`webseed`] is for servers what the pipeline is for peers.

pub mod bitfield;
pub mod choker;
pub mod config;
mod culprit;
mod hashes;
pub mod io;
mod metadata;
pub mod peer;
pub mod picker;
pub mod pipeline;
pub mod priority;
pub mod rate;
mod road;
pub mod roster;
mod session;
mod status;
mod torrent;
mod traffic;
pub mod webseed;

pub use bitfield::Bitfield;
pub use config::Config;
pub use io::*;
pub use road::{Approach, Carrier, Cover, Failure, Road};
pub use session::Session;
pub use status::*;
