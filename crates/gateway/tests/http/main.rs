//! The API as programs meet it: a fake daemon behind real sockets.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod bulk;
mod client;
mod details;
mod events;
mod fake;
mod guard;
mod harness;
mod limits;
mod routes;
