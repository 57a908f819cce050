//! Encrypted connections to one device, named by its Ed25519 key.
//!
//! [`Devices`] is this device's end of all of them: it [dials](Devices::dial) a [`Target`] and
//! [accepts](Devices::accept) those who dial it. A [`Connection`] proves the key of the other device and carries
//! many streams, whatever road it runs on: QUIC, straight or over a relay, or TLS over TCP, which is several times
//! faster. It tells which [`Road`] that is.
//!
//! TCP connections come in at a port that others use as well: a [`Doorman`] tells who is a device, and
//! [`Devices::admit`] takes those.
//!
//! Every address is told by the caller and nobody else is asked: no directory, no server, no name service but the
//! system's for relays that have a name. What the protocol looks like is in `docs/design/devices.md`.
//!
//! Not here: who may talk to whom. A connection says who the other device is and no more.

mod connection;
mod devices;
mod fast;
pub mod mux;
mod preface;
mod quic;
mod stream;
mod tls;

use std::net::SocketAddr;

use crate::Egress;

pub use connection::Connection;
pub use devices::Devices;
pub use preface::{Doorman, PREFACE, preface};
pub use stream::{Incoming, Outgoing, StreamError};

/// What a connection carries, as both sides say when they shake hands (ALPN, RFC 7301).
pub const PROTOCOL: &[u8] = b"starling/1";
/// Streams that one side may have open to the other: one to steer, eight for blocks, and room for short questions.
pub const STREAMS: u32 = 32;
/// Bytes a stream may be ahead of its reader. Not more: the QUIC in use ends connections whose streams hold over
/// 2048 unread packets (`docs/design/devices.md`).
pub const STREAM_WINDOW: u32 = 2 << 20;
/// Bytes all streams of a connection may be ahead of their readers: eight that stall leave room for the others.
pub const WINDOW: u32 = 24 << 20;

/// Reasons for closing that this module gives; callers take numbers from 16.
pub mod code {
    /// All is said.
    pub const DONE: u32 = 0;
    /// Another connection to the same device was kept.
    pub const DUPLICATE: u32 = 1;
    /// As many connections as there may be.
    pub const FULL: u32 = 2;
    /// What came made no sense.
    pub const RULES: u32 = 3;
}

/// What this device is and what it may use.
#[derive(Clone)]
pub struct Config {
    /// The seed of its Ed25519 key (RFC 8032 §5.1.5).
    pub secret: [u8; 32],
    /// UDP addresses to listen at, one of a family at most. Port 0: any that is free.
    pub bind: Vec<SocketAddr>,
    /// Addresses (`http://` or `https://`) of the relays to be reachable through.
    pub relays: Vec<String>,
    /// Nothing is sent to an address outside the networks this computer has an address in, and nothing from there is
    /// answered; relays are not used. When the computer's addresses change, bind again.
    pub lan_only: bool,
    /// How TCP connections leave this computer. If a proxy is required, QUIC is not used at all.
    pub egress: Egress,
}

/// A device and where it may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its Ed25519 key.
    pub key: [u8; 32],
    /// UDP addresses it may listen at.
    pub quic: Vec<SocketAddr>,
    /// Relays it may be reached through.
    pub relays: Vec<String>,
    /// TCP addresses it may listen at; of no use without a preface key.
    pub tcp: Vec<SocketAddr>,
    /// What both sides know and nobody else: `docs/design/devices.md` says what becomes of it.
    pub preface: Option<[u8; 32]>,
}

/// Where this device can be reached, as far as it knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// UDP: those of the computer, and those added from outside.
    pub quic: Vec<SocketAddr>,
    /// The relays that this device has a connection to.
    pub relays: Vec<String>,
}

/// How a connection gets to the other device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Road {
    /// QUIC, straight to this address.
    Direct(SocketAddr),
    /// QUIC, through the relay at this URL. It sees how much goes by, and between which keys.
    Relay(String),
    /// TLS over TCP, with this address.
    Tls(SocketAddr),
}

/// Why there is no endpoint.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// An address cannot be used.
    #[error("cannot listen at {0}: {1}")]
    Address(String, String),
    /// A relay is not named by an http or https URL.
    #[error("{0} is not the address of a relay: it should look like https://relay.example")]
    Relay(String),
    /// The system does not say which addresses it has.
    #[error("cannot learn the addresses of this computer: {0}")]
    Interfaces(std::io::Error),
    /// The cryptography refuses the key.
    #[error("the key of this device is of no use: {0}")]
    Key(String),
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The target has no address that may be used.
    #[error("no address of this device may be dialled")]
    NoAddress,
    /// The key is not one.
    #[error("this is not the key of a device")]
    Key,
    /// It is our own key.
    #[error("this is the key of this device itself")]
    Ourselves,
    /// A relay is not named by an http or https URL.
    #[error("{0} is not the address of a relay")]
    Relay(String),
    /// Nobody with this key answered at these addresses.
    #[error("the device does not answer")]
    Silent,
    /// Somebody answered, and it went wrong.
    #[error("no connection to the device: {0}")]
    Failed(String),
    /// The connection was made and closed at once.
    #[error(transparent)]
    Closed(#[from] Closed),
}

/// Why a connection is over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Closed {
    /// We closed it.
    #[error("closed here")]
    Here,
    /// The other device closed it.
    #[error("closed by the other device: {text} ({code})")]
    There {
        /// Its reason, as a number.
        code: u32,
        /// And in words, if it gave any. Written by the other device.
        text: String,
    },
    /// Nothing was heard of the other device for too long.
    #[error("the other device is silent")]
    Silent,
    /// The road broke, or the other device broke the rules.
    #[error("the connection broke: {0}")]
    Broken(String),
}
