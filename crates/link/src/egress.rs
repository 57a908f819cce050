//! How what is ours leaves this computer: from which address, by which interface, through which proxy. Every socket of
//! a node is opened here.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket, lookup_host};

use crate::proxy::{self, Proxy, ProxyError, Target};
use crate::tcp;

/// A dial takes at most this long: three of TCP's first retries.
const DIAL: Duration = Duration::from_secs(8);
/// A proxy has so long to reach whom it is to reach, in all.
const PROXY_DIAL: Duration = Duration::from_secs(15);
/// Connections waiting to be accepted.
const BACKLOG: i32 = 128;
/// What the system is asked to keep of datagrams that come or go while we do something else, in bytes. It may give
/// less.
const BUFFER: usize = 2 << 20;

/// How what is ours leaves this computer.
#[derive(Clone, Debug, Default)]
pub struct Egress {
    /// From this address alone, and what is of its family.
    pub bind: Option<IpAddr>,
    /// By this interface alone.
    pub interface: Option<String>,
    /// Through this proxy, what it can carry.
    pub proxy: Option<Proxy>,
    /// What the proxy cannot carry does not leave at all.
    pub required: bool,
}

impl Egress {
    /// The proxy without which nothing may leave.
    pub fn only_proxy(&self) -> Option<&Proxy> {
        self.proxy.as_ref().filter(|_| self.required)
    }

    /// A stream to a target, through the proxy if there is one.
    ///
    /// # Errors
    /// Refused, unreachable, nothing within a few seconds; or the proxy's, as [`ProxyError`]. A name without a proxy is
    /// `Unsupported`.
    pub async fn stream(&self, target: &Target) -> io::Result<TcpStream> {
        let Some(proxy) = &self.proxy else {
            return match target {
                Target::Addr(addr) => self.direct(*addr).await,
                Target::Name(..) => Err(io::ErrorKind::Unsupported.into()),
            };
        };
        let road = async {
            let mut stream = self.to_proxy(proxy).await?;
            proxy::open(proxy, &mut stream, target).await?;
            Ok::<_, io::Error>(stream)
        };
        tokio::time::timeout(PROXY_DIAL, road)
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }

    /// A connection to the proxy itself.
    ///
    /// # Errors
    /// [`ProxyError::Away`].
    pub(crate) async fn to_proxy(&self, proxy: &Proxy) -> Result<TcpStream, ProxyError> {
        let away = |error| ProxyError::Away(proxy.to_string(), error);
        let addrs = lookup_host((proxy.host.as_str(), proxy.port)).await;
        let mut last = io::ErrorKind::NotFound.into();
        for addr in addrs.map_err(away)? {
            match self.direct(addr).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(away(last))
    }

    /// A connection without a proxy.
    ///
    /// # Errors
    /// Refused, unreachable, nothing within a few seconds; the address or interface to leave by is away.
    pub async fn direct(&self, addr: SocketAddr) -> io::Result<TcpStream> {
        let socket = self.socket(addr, Type::STREAM)?;
        if let Some(ip) = self.bind {
            socket.bind(&SocketAddr::new(ip, 0).into())?;
        }
        let socket = TcpSocket::from_std_stream(socket.into());
        let stream = tokio::time::timeout(DIAL, socket.connect(addr))
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        tcp::tune(&stream);
        Ok(stream)
    }

    /// Listens on one address. IPv6 sockets take IPv6 alone, so that both can share a port.
    ///
    /// # Errors
    /// The port is taken, the address is not ours, the interface is away, …
    pub fn listen(&self, addr: SocketAddr) -> io::Result<TcpListener> {
        let socket = match addr.ip().is_loopback() {
            true => raw(addr, Type::STREAM)?,
            false => self.socket(addr, Type::STREAM)?,
        };
        #[cfg(unix)]
        socket.set_reuse_address(true)?;
        socket.bind(&addr.into())?;
        socket.listen(BACKLOG)?;
        TcpListener::from_std(socket.into())
    }

    /// A socket for datagrams at an address; an unspecified one stands for [`bind`](Self::bind), if there is one.
    ///
    /// # Errors
    /// The port is taken, the address is not ours or of the other family, the interface is away, …
    pub fn udp(&self, addr: SocketAddr) -> io::Result<UdpSocket> {
        let socket = self.socket(addr, Type::DGRAM)?;
        // Without it more is lost, and sent again.
        let _ = socket.set_recv_buffer_size(BUFFER);
        let _ = socket.set_send_buffer_size(BUFFER);
        let ip = match self.bind {
            Some(ip) if addr.ip().is_unspecified() => ip,
            _ => addr.ip(),
        };
        socket.bind(&SocketAddr::new(ip, addr.port()).into())?;
        UdpSocket::from_std(socket.into())
    }

    /// A socket that leaves where it may.
    fn socket(&self, addr: SocketAddr, kind: Type) -> io::Result<Socket> {
        if self.bind.is_some_and(|ip| ip.is_ipv4() != addr.is_ipv4()) {
            return Err(io::ErrorKind::AddrNotAvailable.into());
        }
        let socket = raw(addr, kind)?;
        self.confine(&socket, addr.is_ipv6())?;
        Ok(socket)
    }

    /// Lets a socket use no other interface than this one says.
    ///
    /// # Errors
    /// The interface is away, or the system has no way to do it.
    pub fn confine(&self, socket: &Socket, v6: bool) -> io::Result<()> {
        match &self.interface {
            Some(interface) => confine(socket, interface, v6),
            None => Ok(()),
        }
    }
}

fn raw(addr: SocketAddr, kind: Type) -> io::Result<Socket> {
    let protocol = match kind {
        Type::STREAM => Protocol::TCP,
        _ => Protocol::UDP,
    };
    let socket = Socket::new(Domain::for_address(addr), kind, Some(protocol))?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// The number by which the system knows an interface that has an address; `None`: it is away.
pub fn interface_index(interface: &str) -> Option<u32> {
    let all = if_addrs::get_if_addrs().ok()?;
    all.into_iter().find(|i| i.name == interface)?.index
}

/// Lets a socket use one interface alone.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn confine(socket: &Socket, interface: &str, _: bool) -> io::Result<()> {
    socket
        .bind_device(Some(interface.as_bytes()))
        .map_err(|error| away(interface, error))
}

/// Lets a socket use one interface alone.
#[cfg(target_vendor = "apple")]
fn confine(socket: &Socket, interface: &str, v6: bool) -> io::Result<()> {
    let index = interface_index(interface).and_then(std::num::NonZeroU32::new);
    let index = index.ok_or_else(|| away(interface, io::ErrorKind::NotFound.into()))?;
    match v6 {
        true => socket.bind_device_by_index_v6(Some(index)),
        false => socket.bind_device_by_index_v4(Some(index)),
    }
}

/// There is no way to hold a socket to one interface here: rather none than one that leaves by another.
#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
fn confine(_: &Socket, interface: &str, _: bool) -> io::Result<()> {
    Err(away(interface, io::ErrorKind::Unsupported.into()))
}

fn away(interface: &str, error: io::Error) -> io::Error {
    let text = format!("the interface {interface} cannot be used: {error}");
    io::Error::new(error.kind(), text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run<R>(work: impl Future<Output = R>) -> R {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(work)
    }

    #[test]
    fn what_is_bound_leaves_from_there_or_not_at_all() {
        run(async {
            let here = Egress {
                bind: Some([127, 0, 0, 2].into()),
                ..Egress::default()
            };
            let listener = Egress::default()
                .listen(([127, 0, 0, 1], 0).into())
                .unwrap();
            let addr = listener.local_addr().unwrap();
            let (dialled, accepted) = tokio::join!(here.direct(addr), listener.accept());
            dialled.unwrap();
            assert_eq!(accepted.unwrap().1.ip(), here.bind.unwrap());
            let v6 = SocketAddr::from(([0u16; 8], 0));
            assert!(here.udp(v6).is_err(), "the other family");
            let any = SocketAddr::from(([0; 4], 0));
            let udp = here.udp(any).unwrap();
            assert_eq!(udp.local_addr().unwrap().ip(), here.bind.unwrap());
        });
    }

    #[test]
    fn without_its_interface_nothing_leaves() {
        run(async {
            let gone = Egress {
                interface: Some("no-such-dev".into()),
                ..Egress::default()
            };
            let listener = Egress::default()
                .listen(([127, 0, 0, 1], 0).into())
                .unwrap();
            let addr = listener.local_addr().unwrap();
            let error = gone.direct(addr).await.unwrap_err().to_string();
            assert!(error.contains("no-such-dev"), "{error}");
            assert!(gone.udp(([0; 4], 0).into()).is_err());
            assert!(gone.listen(([0; 4], 0).into()).is_err());
            assert!(interface_index("no-such-dev").is_none());
        });
    }
}
