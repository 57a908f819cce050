//! The policy engine: what may be used now, with no clock, file or socket inside.
//!
//! # The loop
//!
//! 1. hand over facts: [`Policy::handle`], one or many;
//! 2. take decisions with [`Policy::poll`] until there are none (it is here that they are made, so ten
//!    thousand transfers handed over at the start are thought about once; a fact about one of them
//!    costs as much as what follows from it, however many there are);
//! 3. sleep until the next fact, or until [`Policy::deadline`], then hand over [`Input::Timeout`].
//!
//! A decision is told when it changes and not again. The same facts at the same times give the same
//! decisions. What a person paused, and what stands still because of an error, are facts here: the
//! engine holds and releases only what wants to run.
//!
//! # The parts
//!
//! [`settings`] says what can be wished for and what is wrong with a wish; [`schedule`] which hours
//! rule; `queue` in which order, and `turns` whose turn it is; `row` how far one transfer is from its goals and whether it is
//! slow; `world` what is known of power, network, disks and memory, with some patience where they
//! flap; [`slots`] how many peers to serve.

pub mod io;
mod policy;
mod queue;
mod row;
pub mod schedule;
pub mod settings;
pub mod slots;
mod turns;
mod world;

pub use io::*;
pub use policy::Policy;
pub use schedule::{Action, Days, Entry, LocalTime};
pub use settings::{
    Checked, DiskReserve, Goals, LabelRules, Lan, OnBattery, OnMetered, Queue, Rates, Settings,
    Slow, WrongSetting,
};
