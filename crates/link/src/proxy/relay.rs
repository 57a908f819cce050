//! Datagrams through a SOCKS5 proxy (RFC 1928 §7).

use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use tokio::net::{TcpStream, UdpSocket};

use super::socks5::{self, Command, Opening};
use super::{Proxy, ProxyError, Target};
use crate::Egress;

/// A proxy has so long to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// An association with a proxy. It lasts as long as its control connection.
pub struct Relay {
    control: TcpStream,
    udp: UdpSocket,
}

impl Relay {
    /// Asks the proxy to carry datagrams.
    ///
    /// # Errors
    /// The proxy is not there, refuses, or carries none.
    pub async fn open(egress: &Egress, proxy: &Proxy) -> Result<Relay, ProxyError> {
        let away = |error| ProxyError::Away(proxy.to_string(), error);
        let talk = async {
            if proxy.scheme != super::Scheme::Socks5 {
                return Err(ProxyError::NoDatagrams);
            }
            let mut control = egress.to_proxy(proxy).await?;
            let there = control.peer_addr().map_err(away)?;
            let udp = egress.udp(match there.is_ipv4() {
                true => (std::net::Ipv4Addr::UNSPECIFIED, 0).into(),
                false => (std::net::Ipv6Addr::UNSPECIFIED, 0).into(),
            });
            let udp = udp.map_err(away)?;
            // We do not know where the proxy sees us: unspecified, as RFC 1928 §6 allows.
            let port = udp.local_addr().map_err(away)?.port();
            let unknown = match there.is_ipv4() {
                true => SocketAddr::from(([0; 4], port)),
                false => SocketAddr::from(([0u16; 8], port)),
            };
            let login = proxy.login.as_ref();
            let (mut opening, first) =
                Opening::new(Command::Associate, &Target::Addr(unknown), login)?;
            let bound =
                super::talk(proxy, &mut control, &first, |bytes| opening.receive(bytes)).await?;
            // A relay that does not know its own address is where the proxy is. A proxy may not send us elsewhere by name.
            let relay = match bound {
                Target::Addr(bound) if bound.ip().is_unspecified() => {
                    SocketAddr::new(there.ip(), bound.port())
                }
                Target::Addr(bound) => bound,
                Target::Name(_, port) => SocketAddr::new(there.ip(), port),
            };
            udp.connect(relay).await.map_err(away)?;
            Ok(Relay { control, udp })
        };
        tokio::time::timeout(PATIENCE, talk)
            .await
            .map_err(|_| away(io::ErrorKind::TimedOut.into()))?
    }

    /// Sends a datagram, which may be lost as on the way.
    ///
    /// # Errors
    /// Those of the socket, `WouldBlock` among them.
    pub fn try_send(&self, payload: &[u8], target: &Target) -> io::Result<()> {
        let mut out = Vec::with_capacity(payload.len() + socks5::OVERHEAD);
        socks5::wrap(target, payload, &mut out)?;
        self.udp.try_send(&out).map(drop)
    }

    /// Takes a datagram: where in `buffer` its payload is, and whose it is.
    ///
    /// # Errors
    /// Those of the socket, `WouldBlock` among them; `InvalidData`: the relay sent nonsense, which is to be passed over.
    pub fn try_receive(&self, buffer: &mut [u8]) -> io::Result<(Range<usize>, SocketAddr)> {
        let n = self.udp.try_recv(buffer)?;
        let (from, payload) =
            socks5::unwrap(&buffer[..n]).ok_or(io::Error::from(io::ErrorKind::InvalidData))?;
        Ok((n - payload.len()..n, from))
    }

    /// Waits until a datagram may be there.
    ///
    /// # Errors
    /// Those of the socket.
    pub async fn readable(&self) -> io::Result<()> {
        self.udp.readable().await
    }

    /// Waits until a datagram can be sent.
    ///
    /// # Errors
    /// Those of the socket.
    pub async fn writable(&self) -> io::Result<()> {
        self.udp.writable().await
    }

    /// Ends when the association does.
    pub async fn lost(&self) {
        let mut byte = [0; 64];
        loop {
            if self.control.readable().await.is_err() {
                return;
            }
            match self.control.try_read(&mut byte) {
                Ok(0) => return,
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return,
                // It has nothing to say here, yet may.
                _ => {}
            }
        }
    }
}
