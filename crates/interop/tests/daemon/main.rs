//! A daemon as people and programs have it: `starling up`, its API, its end at any moment.
//!
//! `cargo test -p interop --test daemon kills` runs one file of it.
#![allow(clippy::unwrap_used)] // a panic with a place is the report

mod browser;
mod clocks;
mod crowds;
mod disks;
mod homes;
mod kills;
mod recipes;
mod schema;
mod troubles;
mod world;

use std::time::Duration;

/// Ample for a few MiB, or for a process to start, on a busy machine.
const SOON: Duration = Duration::from_secs(60);
