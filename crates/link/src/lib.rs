//! Roads to one peer: how the peer wire protocol travels over a byte stream.
//!
//! [`Receiver`] takes messages off a stream and lets payload go straight into buffers of the
//! caller; [`Outbox`] puts messages and payload onto one in as few calls as it can. Both work on
//! anything that reads or writes without blocking, such as a [`Stream`]: TCP or uTP, plain or
//! encrypted.
//!
//! An [`Egress`] says how anything of ours leaves this computer: from which address and interface, through which
//! [`proxy`].
//!
//! [`device`] is another matter: connections to one device, proved by its key, with many streams each.
//!
//! Not here: what messages mean, where buffers come from, when to read.

pub mod device;
mod egress;
pub mod mse;
mod outbox;
pub mod proxy;
mod receiver;
mod stream;
pub mod tcp;
mod udp;
pub mod utp;

pub use egress::{Egress, interface_index};
pub use outbox::Outbox;
pub use receiver::{AHEAD, Receiver, Step};
pub use stream::{Answered, Cover, Encryption, Stream, Wire};
pub use udp::{Path, Udp};
