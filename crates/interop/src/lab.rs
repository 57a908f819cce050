//! The laboratory: homes with routers of their own around the scenario's network, which is their internet.
//!
//! ```no_run
//! # use interop::{Line, Nat, Scenario};
//! let s = Scenario::internet();
//! let anna = s.home(Nat::Symmetric);
//! let bert = s.home_over(Nat::PortPreserving, Line::mbits(20).queue_ms(300));
//! let (mut at_annas, mut at_berts) = (anna.starling(), bert.starling());
//! ```
//!
//! Every router and every host is a network namespace. A home's line to the internet is a virtual cable, or a [`Line`]
//! as narrow, long and badly queued as lines to homes are.

mod home;
mod line;
mod net;

pub use home::{Home, Nat};
pub use line::Line;
pub use net::Net;
pub(crate) use net::sysctl;

use crate::Child;
use crate::scenario::ip;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

/// A second way out of a [`Seat`], which comes and goes.
pub struct Tunnel<'n> {
    net: &'n Net,
    name: String,
    /// The address at our end.
    pub own: Ipv4Addr,
    far: Ipv4Addr,
}

impl Tunnel<'_> {
    /// It is there, with its address and a way to everywhere.
    pub fn comes(&self) {
        let Tunnel {
            net,
            name,
            own,
            far,
        } = self;
        let near = format!("end-{name}");
        net.cable(name, &near);
        ip(&format!(
            "addr add {far} peer {own} dev {near}\nlink set {near} up\n"
        ));
        net.within(|| {
            ip(&format!(
                "addr add {own} peer {far} dev {name}\nlink set {name} up\n\
                 route add default via {far} dev {name} metric 1000\n"
            ));
        });
    }

    /// It is gone, as when a VPN breaks down.
    pub fn goes(&self) {
        let name = &self.name;
        self.net.within(|| ip(&format!("link del {name}\n")));
    }
}

/// Where a peer lives: its address, its folder, its network.
#[derive(Clone)]
pub struct Seat {
    /// The address and port that are its own.
    pub addr: SocketAddrV4,
    /// A folder for its files.
    pub home: PathBuf,
    /// The network it is in, if that is not the scenario's.
    pub(crate) net: Option<Arc<Net>>,
}

impl Seat {
    /// Starts a program here; its output goes to `folder`.
    pub fn start(&self, name: &str, command: Command, folder: &Path) -> Child {
        self.within(|| Child::start(name, command, folder))
    }

    /// Gives it IPv6, too; every seat in a /64 of its own, as households have them. To be called from the scenario's
    /// network.
    pub fn has_ipv6(&self) {
        let own = self.addr_v6();
        let far = Ipv6Addr::from_bits(own.ip().to_bits() - 1);
        sysctl("ipv6/conf/all/forwarding", "1");
        let near = format!("peer{}", self.addr.port() - 7000);
        ip(&format!("addr add {far}/64 dev {near} nodad\n"));
        self.within(|| {
            ip(&format!(
                "addr add {}/64 dev eth0 nodad\nroute add default via {far}\n",
                own.ip()
            ));
        });
    }

    /// Takes IPv4 away.
    pub fn has_no_ipv4(&self) {
        let own = self.addr.ip();
        self.within(|| {
            ip(&format!(
                "addr del {own} peer {} dev eth0\n",
                Ipv4Addr::from_bits(own.to_bits() + 1)
            ));
        });
    }

    /// Where it is over IPv6, once it [has](Self::has_ipv6) that.
    pub fn addr_v6(&self) -> SocketAddrV6 {
        let port = self.addr.port();
        let ip = Ipv6Addr::new(0x2a0e, 0x77, port, 0, 0, 0, 0, 2);
        SocketAddrV6::new(ip, port, 0, 0)
    }

    /// Another way to the internet beside its own, as a VPN gives one: an interface with an address that is answered.
    /// To be called from the scenario's network.
    pub fn tunnel(&self, name: &str) -> Tunnel<'_> {
        let net = self
            .net
            .as_deref()
            .expect("a tunnel leads out of a network of its own");
        let [.., n] = self.addr.ip().octets();
        let tunnel = Tunnel {
            net,
            name: name.to_owned(),
            own: Ipv4Addr::new(11, 200, n, 2),
            far: Ipv4Addr::new(11, 200, n, 1),
        };
        tunnel.comes();
        tunnel
    }

    /// Does something in the network that is here.
    pub fn within<R>(&self, work: impl FnOnce() -> R) -> R {
        match &self.net {
            Some(net) => net.within(work),
            None => work(),
        }
    }
}
