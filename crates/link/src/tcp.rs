//! TCP sockets as peers need them.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// A dial takes at most this long: three of TCP's first retries.
const DIAL: Duration = Duration::from_secs(8);
/// Connections waiting to be accepted.
const BACKLOG: i32 = 128;

/// Listens on one address. IPv6 sockets take IPv6 alone, so that both can share a port.
///
/// # Errors
/// The port is taken, the address is not ours, …
pub fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Connects, from `bind` if given (the same family only).
///
/// # Errors
/// Refused, unreachable, or nothing within a few seconds.
pub async fn dial(addr: SocketAddr, bind: Option<IpAddr>) -> io::Result<TcpStream> {
    let socket = if addr.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    match bind {
        Some(ip) if ip.is_ipv4() == addr.is_ipv4() => socket.bind(SocketAddr::new(ip, 0))?,
        Some(_) => return Err(io::ErrorKind::AddrNotAvailable.into()),
        None => {}
    }
    let stream = tokio::time::timeout(DIAL, socket.connect(addr))
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    tune(&stream);
    Ok(stream)
}

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
