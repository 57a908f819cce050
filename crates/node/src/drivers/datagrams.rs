//! One UDP port for everything that goes over UDP: uTP and the DHT.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;

use link::Wire;
use link::utp::Endpoint;
use socket2::{Domain, Protocol, Socket, Type};
use swarm::Input;
use tokio::net::UdpSocket;

use super::{Driver, road};

/// What the system is asked to keep of datagrams that come or go while we do something else, in bytes. It may give
/// less.
const BUFFER: usize = 2 << 20;

/// A socket a family.
pub(crate) struct Datagrams {
    pub v4: Option<Rc<Endpoint>>,
    pub v6: Option<Rc<Endpoint>>,
    /// Peers may use uTP.
    pub utp: bool,
}

impl Datagrams {
    /// No UDP at all.
    pub fn none() -> Datagrams {
        Datagrams {
            v4: None,
            v6: None,
            utp: false,
        }
    }

    /// Opens the sockets, on the port that TCP listens on if it is free.
    pub fn open(bind_ip: Option<IpAddr>, port: u16, utp: bool) -> io::Result<Datagrams> {
        let mut seed = [0; 8];
        getrandom::fill(&mut seed).map_err(io::Error::other)?;
        let seed = u64::from_le_bytes(seed);
        let open = |ip: IpAddr| {
            let socket = match bind_ip {
                Some(only) if only.is_ipv4() != ip.is_ipv4() => None,
                Some(only) => bind(only, port).or_else(|_| bind(only, 0)).ok(),
                None => bind(ip, port).or_else(|_| bind(ip, 0)).ok(),
            };
            socket.map(|socket| Endpoint::new(socket, seed, utp))
        };
        let opened = Datagrams {
            v4: open(Ipv4Addr::UNSPECIFIED.into()),
            v6: open(Ipv6Addr::UNSPECIFIED.into()),
            utp,
        };
        match opened.port() {
            0 => Err(io::ErrorKind::AddrNotAvailable.into()),
            _ => Ok(opened),
        }
    }

    /// The UDP port others reach us at; 0: none.
    pub fn port(&self) -> u16 {
        let endpoint = self.v4.as_ref().or(self.v6.as_ref());
        endpoint
            .and_then(|endpoint| endpoint.local_addr().ok())
            .map_or(0, |addr| addr.port())
    }

    /// The socket that reaches this address.
    pub fn to(&self, addr: SocketAddr) -> Option<&Rc<Endpoint>> {
        match addr.is_ipv4() {
            true => self.v4.as_ref(),
            false => self.v6.as_ref(),
        }
    }

    /// The socket that reaches this peer over uTP.
    pub fn utp_to(&self, addr: SocketAddr) -> Option<&Rc<Endpoint>> {
        self.to(addr).filter(|_| self.utp)
    }
}

fn bind(ip: IpAddr, port: u16) -> io::Result<UdpSocket> {
    let addr = SocketAddr::new(ip, port);
    let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Without it more is lost, and sent again.
    let _ = socket.set_recv_buffer_size(BUFFER);
    let _ = socket.set_send_buffer_size(BUFFER);
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    UdpSocket::from_std(socket.into())
}

/// Carries what comes to whom it is for.
pub(crate) fn run(driver: &Rc<Driver>) {
    let udp = &driver.datagrams;
    for endpoint in [&udp.v4, &udp.v6].into_iter().flatten() {
        let (peers, nodes) = (driver.clone(), driver.clone());
        let accept = move |stream, addr| {
            let (conn, road) = peers.arrived(addr);
            tracing::debug!(conn = conn.0, %addr, "uTP");
            tokio::task::spawn_local(road::accept(peers.clone(), road, Wire::Utp(stream)));
        };
        let other = move |bytes: &[u8], from| nodes.dht_packet(bytes, from);
        tokio::task::spawn_local(endpoint.clone().run(accept, other));
    }
}

impl Driver {
    /// A peer has dialled.
    pub fn arrived(self: &Rc<Self>, addr: SocketAddr) -> (swarm::ConnId, Rc<road::Road>) {
        let conn = self.session.borrow_mut().next_conn();
        let road = self.add_road(conn);
        self.tell(Input::Incoming(conn, addr));
        (conn, road)
    }
}
