//! Who has it: the mainline DHT, trackers, and announces on the local network, as engines without IO.
//!
//! Every engine is one struct with the same verbs: `handle` takes a fact, `poll` gives decisions until there are
//! none, `deadline` says when to come back. What the messages look like is in `torrent`; sockets, name resolution
//! and timers are the driver's.

pub mod blocklist;
pub mod dht;
pub mod external;
pub mod lsd;
pub mod ports;
pub mod scope;
pub mod tracker;
