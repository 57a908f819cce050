//! One UDP port for everything that goes over UDP: uTP and the DHT.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use link::proxy::Relay;
use link::utp::Endpoint;
use link::{Egress, Path, Udp, Wire, interface_index};
use swarm::Input;
use torrent::extension::Transport;

use super::dial::carrier;
use super::{Driver, road};

/// An endpoint a family; or one for both, while a proxy carries their datagrams.
pub(crate) struct Datagrams {
    pub v4: Option<Rc<Endpoint>>,
    pub v6: Option<Rc<Endpoint>>,
    /// The UDP port others reach us at; 0: none.
    port: u16,
    relayed: Cell<bool>,
    /// Peers may use uTP.
    pub utp: bool,
}

impl Datagrams {
    /// No UDP at all.
    pub fn none() -> Datagrams {
        Datagrams {
            v4: None,
            v6: None,
            port: 0,
            relayed: Cell::new(false),
            utp: false,
        }
    }

    /// Opens the sockets, on the port that TCP listens on if it is free. Where only a proxy may carry datagrams there
    /// are none until it does.
    pub fn open(egress: &Egress, port: u16, utp: bool) -> io::Result<Datagrams> {
        let mut seed = [0; 8];
        getrandom::fill(&mut seed).map_err(io::Error::other)?;
        let seed = u64::from_le_bytes(seed);
        if egress.only_proxy().is_some() {
            let closed = Endpoint::new(Udp::new(Path::Closed), seed, utp);
            return Ok(Datagrams {
                v4: Some(closed),
                utp,
                ..Datagrams::none()
            });
        }
        let mut used = 0;
        let mut open = |any: SocketAddr| {
            let socket = egress
                .udp(any)
                .or_else(|_| egress.udp((any.ip(), 0).into()));
            let socket = socket.ok()?;
            if used == 0 {
                used = socket.local_addr().map_or(0, |addr| addr.port());
            }
            Some(Endpoint::new(socket.into(), seed, utp))
        };
        let [v4, v6] = link::tcp::everywhere().map(|any| open((any, port).into()));
        let away = (egress.interface.as_ref()).is_some_and(|i| interface_index(i).is_none());
        let closed = || Some(Endpoint::new(Udp::new(Path::Closed), seed, utp));
        match used {
            // It opens them when it comes.
            0 if away => Ok(Datagrams {
                v4: closed(),
                v6: closed(),
                port,
                relayed: Cell::new(false),
                utp,
            }),
            0 => Err(io::ErrorKind::AddrNotAvailable.into()),
            port => Ok(Datagrams {
                v4,
                v6,
                port,
                relayed: Cell::new(false),
                utp,
            }),
        }
    }

    /// The UDP port others reach us at; 0: none.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// From now on a proxy carries all datagrams.
    pub fn relay(&self, relay: Rc<Relay>) {
        let mut path = Path::Relayed(relay);
        for endpoint in [&self.v4, &self.v6].into_iter().flatten() {
            endpoint.udp().set(path);
            path = Path::Closed;
        }
        self.relayed.set(true);
    }

    /// A proxy carries them no longer: they leave from these sockets, if there are any.
    pub fn direct(&self, [v4, v6]: [Option<Path>; 2]) {
        for (endpoint, path) in [(&self.v4, v4), (&self.v6, v6)] {
            if let Some(endpoint) = endpoint {
                endpoint.udp().set(path.unwrap_or(Path::Closed));
            }
        }
        self.relayed.set(false);
    }

    /// The ways they take now.
    pub fn paths(&self) -> [Option<Path>; 2] {
        [&self.v4, &self.v6].map(|endpoint| Some(endpoint.as_ref()?.udp().path()))
    }

    /// Sends a datagram to a name, which only a proxy can find.
    pub fn send_to_name(&self, bytes: &[u8], name: &str, port: u16) {
        if let Some(endpoint) = self.v4.as_ref().or(self.v6.as_ref()) {
            endpoint.udp().send_to_name(bytes, name, port);
        }
    }

    /// The socket that reaches this address.
    pub fn to(&self, addr: SocketAddr) -> Option<&Rc<Endpoint>> {
        match (self.relayed.get(), addr.is_ipv4()) {
            (true, _) => self.v4.as_ref().or(self.v6.as_ref()),
            (false, true) => self.v4.as_ref(),
            (false, false) => self.v6.as_ref(),
        }
    }

    /// The socket that reaches this peer over uTP.
    pub fn utp_to(&self, addr: SocketAddr) -> Option<&Rc<Endpoint>> {
        self.to(addr).filter(|_| self.utp)
    }
}

/// Carries what comes to whom it is for.
pub(crate) fn run(driver: &Rc<Driver>) {
    let udp = &driver.datagrams;
    for endpoint in [&udp.v4, &udp.v6].into_iter().flatten() {
        let (peers, nodes) = (driver.clone(), driver.clone());
        let accept = move |stream, addr: SocketAddr| {
            if peers.blocking.blocks(addr.ip()) {
                return;
            }
            peers.came_in(Transport::Utp, addr);
            let wire = Wire::Utp(stream);
            let (conn, road) = peers.arrived(addr, &wire);
            tracing::debug!(conn = conn.0, %addr, "uTP");
            tokio::task::spawn_local(road::accept(peers.clone(), road, wire));
        };
        let other = move |bytes: &[u8], from| nodes.dht_packet(bytes, from);
        tokio::task::spawn_local(endpoint.clone().run(accept, other));
    }
}

impl Driver {
    /// A peer has dialled.
    pub fn arrived(
        self: &Rc<Self>,
        addr: SocketAddr,
        wire: &Wire,
    ) -> (swarm::ConnId, Rc<road::Road>) {
        let conn = self.session.borrow_mut().next_conn();
        let road = self.add_road(conn);
        let kind = swarm::Road {
            carrier: carrier(wire),
            ..swarm::Road::default()
        };
        self.tell(Input::Incoming(conn, addr, kind));
        (conn, road)
    }
}
