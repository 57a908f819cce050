//! TCP sockets as peers need them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use tokio::net::TcpStream;

/// Small messages leave at once: they are already gathered into large writes.
pub fn tune(stream: &TcpStream) {
    // Without it everything still works, only later.
    let _ = stream.set_nodelay(true);
}

/// The addresses that mean "all of this machine", IPv4 first.
pub fn everywhere() -> [IpAddr; 2] {
    [
        IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    ]
}
