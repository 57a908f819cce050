//! BitTorrent's formats: what the bytes mean, and nothing that moves them.
//!
//! Everything here is a value: parse outside bytes once into types that can't be wrong, or write
//! such a type out again. No sockets, files, clocks or threads; hashing is done by callers except
//! for the hashes of metadata itself.

pub mod author;
pub mod bencode;
pub mod crc32c;
pub mod extension;
pub mod hex;
pub mod ids;
pub mod krpc;
pub mod layout;
pub mod lsd;
pub mod magnet;
pub mod merkle;
pub mod metainfo;
pub mod names;
pub mod tracker;
pub mod webseed;
pub mod wire;
