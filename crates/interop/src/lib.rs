//! Starling against real clients: the harness. The scenarios are in `tests/scenarios`.
//!
//! A [`Scenario`] is a network and a folder that vanish with it. In it live an HTTP and a UDP
//! [`Tracker`], [`Content`] to share, and [`Peer`]s: the `starling` binary as users have it,
//! libtorrent, aria2 and transmission. Every wait has a deadline, every process ends with the
//! scenario, and a scenario that fails prints what its processes last said.
//!
//! With [`Scenario::internet`] there are also [`Home`]s: networks of their own behind routers, over lines that are as
//! slow as one likes.
//!
//! This crate knows nothing of the product but its command line, its exit codes and the JSON
//! lines it prints. Like the tests that use it, it panics when something is wrong.
#![allow(clippy::unwrap_used)] // a harness: a panic with a place is the report

mod aria2;
mod child;
mod content;
mod daemon;
mod lab;
mod libtorrent;
mod link;
mod nginx;
mod peer;
mod proxy;
mod scenario;
mod screen;
mod starling;
mod tracker;
mod transmission;

pub use child::Child;
pub use content::{Content, Kind, Source, Torrent};
pub use daemon::{Daemon, curl};
pub use lab::{Home, Line, Nat, Net, Seat, Tunnel};
pub use libtorrent::Libtorrent;
pub use link::Link;
pub use nginx::Nginx;
pub use peer::{Peer, Role};
pub use proxy::{Fence, Proxy, ProxyKind};
pub use scenario::Scenario;
pub use screen::{FILM_RATE, browse, film, probe};
pub use starling::Starling;
pub use tracker::{Announce, Tracker};

/// Bytes in a MiB.
pub const MIB: u64 = 1 << 20;
