//! A whole node: engines, sockets and disk wired together on one thread, and a handle to it.
//!
//! [`Node::start`] makes the thread; everything else is a command to it or an [`Event`] from it.
//! The drivers in `drivers/` make no protocol choices: they carry facts to the engines and
//! decisions to sockets and disk.
//!
//! Not here: what anything looks like to a person.

mod api;
pub mod daemon;
mod drivers;
mod error;
pub mod identity;
mod keep;
mod node;
mod web;

pub use api::{
    Config, Egress, Encryption, Event, Fingerprint, Options, Place, Problem, ProblemKind, Proxy,
    Report, Source, Status, TorrentId,
};
pub use discovery::dht::SigningKey;
pub use error::{AddError, DhtError, StartError};
pub use node::Node;
pub use torrent::krpc::{Item, NodeId};
pub use web::{FetchError, fetch_torrent};
