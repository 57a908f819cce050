//! uTP (BEP 29): a byte stream over UDP that gives way to everything else on the same line.

mod conn;
mod endpoint;
pub mod packet;
mod window;

pub use conn::{Conn, DATAGRAM, End, State};
pub use endpoint::{Endpoint, Stream};

#[cfg(test)]
mod tests;
