//! Roads to one peer: how the peer wire protocol travels over a byte stream.
//!
//! [`Receiver`] takes messages off a stream and lets payload go straight into buffers of the
//! caller; [`Outbox`] puts messages and payload onto one in as few calls as it can. Both work on
//! anything that reads or writes without blocking, such as a [`Stream`]: TCP or uTP, plain or
//! encrypted.
//!
//! Not here: what messages mean, where buffers come from, when to read.

pub mod mse;
mod outbox;
mod receiver;
mod stream;
pub mod tcp;
pub mod utp;

pub use outbox::Outbox;
pub use receiver::{AHEAD, Receiver, Step};
pub use stream::{Encryption, Stream, Wire};
