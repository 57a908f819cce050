//! A seeded world of clocks, links, disks and peers that runs the real engines.
//!
//! Nothing here is a model of Starling: the engine inside each [`node`] is the one people run, and
//! the world is its driver. Time is virtual, chance comes from one seed, and what travels are the
//! bytes that would travel. What is modelled is what surrounds an engine: links with rates, delays
//! and loss (`world::roads`), disks that fill up and lose what was not synced ([`disk`]), computers
//! that stop (`world::life`), and people who mean harm ([`eve`]).
//!
//! [`scenario::ALL`] is the list of what is tried; `cargo xtask sim` runs one of them.

pub mod content;
pub mod crowd;
pub mod dht;
pub mod disk;
pub mod eve;
mod net;
pub mod node;
pub mod scenario;
pub mod store;
pub mod trace;
pub mod world;

pub use content::Content;
pub use eve::{Eve, Mischief};
pub use node::{How, Node, NodeId, Spec};
pub use world::{Origin, World};
