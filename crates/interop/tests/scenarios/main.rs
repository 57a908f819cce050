//! Starling against real clients. `cargo test -p interop magnets` runs one file of it.
#![allow(clippy::unwrap_used)] // a panic with a place is the report

mod changed;
mod controls;
mod create;
mod devices;
mod discovery;
mod disk;
mod encryption;
mod families;
mod holes;
mod homes;
mod magnets;
mod manners;
mod many;
mod mixed;
mod pairs;
mod ports;
mod proxies;
mod resume;
mod trackers;
mod urls;
mod utp;
mod values;
mod watching;
mod webseeds;

use std::time::Duration;

/// Ample for a transfer of a few MiB on a busy machine.
const SOON: Duration = Duration::from_secs(60);

/// With transmission in it, whose timers alone take half a minute.
const PATIENT: Duration = Duration::from_secs(150);
