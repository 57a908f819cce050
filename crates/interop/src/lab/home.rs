//! A household: hosts behind a router.

use super::net::{Net, sysctl};
use super::{Line, Seat, line};
use crate::scenario::{ip, nft};
use crate::{Child, Libtorrent, Peer, Role, Scenario, Starling, transmission};
use serde_json::json;
use std::cell::RefCell;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::process::Command;
use std::time::{Duration, Instant};

/// How a router treats what its hosts send, and what comes for them (RFC 4787).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Nat {
    /// There is none: hosts have public addresses and anybody reaches them.
    Open,
    /// A host's port is the same for everybody, and who knows it gets through over UDP.
    EndpointIndependent,
    /// A host's port is the same for everybody; only whom it wrote to gets through. Linux does so, and most homes.
    PortPreserving,
    /// A host has another port for everybody it writes to: nobody can guess it.
    Symmetric,
}

/// A household at the internet of a [`Scenario`].
pub struct Home<'s> {
    scenario: &'s Scenario,
    number: u8,
    nat: Nat,
    router: Net,
    /// Ends with the home.
    _line: Option<line::Running>,
    /// What runs on the router.
    services: RefCell<Vec<Child>>,
}

impl<'s> Home<'s> {
    pub(crate) fn new(
        scenario: &'s Scenario,
        number: u8,
        nat: Nat,
        over: Option<Line>,
    ) -> Home<'s> {
        let (internet, router) = (Net::here(), Net::new());
        let near = format!("home{number}");
        let line = match over {
            Some(line) => Some(line.between((&internet, &near), (&router, "wan"))),
            None => {
                router.cable("wan", &near);
                None
            }
        };
        let home = Home {
            scenario,
            number,
            nat,
            router,
            _line: line,
            services: RefCell::default(),
        };
        let (public, far, lan) = (home.public_ip(), home.gateway(), home.host(1));
        ip(&format!(
            "addr add {far} peer {public} dev {near}\nlink set {near} up\n"
        ));
        if nat == Nat::Open {
            ip(&format!("route add {}/24 via {public}\n", home.host(0)));
        }
        home.on_router(|| {
            ip(&format!(
                "addr add {public} peer {far} dev wan\nlink set wan up\nroute add default via {far}\n\
                 link add name lan type bridge\naddr add {lan}/24 dev lan\nlink set lan up\n"
            ));
            sysctl("ipv4/ip_forward", "1");
            nft(&rules(nat));
        });
        home
    }

    /// The address under which the internet knows this home. Each home is in a /16 of its own: rules that take near
    /// addresses for one person's see different people.
    pub fn public_ip(&self) -> Ipv4Addr {
        Ipv4Addr::new(11, 100 + self.number, 0, 2)
    }

    /// The other end of its line.
    fn gateway(&self) -> Ipv4Addr {
        Ipv4Addr::new(11, 100 + self.number, 0, 1)
    }

    /// An address inside.
    fn host(&self, n: u8) -> Ipv4Addr {
        match self.nat {
            Nat::Open => Ipv4Addr::new(11, 100 + self.number, 1, n),
            _ => Ipv4Addr::new(192, 168, self.number, n),
        }
    }

    /// One more host in this home.
    pub fn seat(&self) -> Seat {
        let n = self.scenario.next_number();
        let (own, router) = (self.host(FIRST + n), self.host(1));
        let host = Net::new();
        self.on_router(|| {
            host.cable("eth0", &format!("host{n}"));
            ip(&format!("link set host{n} master lan up\n"));
        });
        host.within(|| {
            ip(&format!(
                "addr add {own}/24 dev eth0\nlink set eth0 up\nroute add default via {router}\n"
            ));
        });
        self.scenario.seat_at(own, n, Some(host))
    }

    /// Starling in this home, to be told what to do.
    pub fn starling(&self) -> Starling {
        Starling::at(self.seat())
    }

    /// libtorrent in this home, to be told what to do.
    pub fn libtorrent(&self) -> Libtorrent {
        Libtorrent::at(self.seat())
    }

    /// transmission in this home, which asks the router for a port.
    pub fn transmission(&self, role: Role) -> Peer {
        let special = json!({"port-forwarding-enabled": true});
        transmission::start(self.seat(), role, &special)
    }

    /// Does something on the router.
    pub fn on_router<R>(&self, work: impl FnOnce() -> R) -> R {
        self.router.within(work)
    }

    /// The router passes a port on to one of the hosts, as a person would set it up.
    pub fn forwards_port_of(&self, peer: SocketAddrV4) -> SocketAddrV4 {
        let (ip, port) = (peer.ip(), peer.port());
        self.on_router(|| {
            for protocol in ["tcp", "udp"] {
                nft(&format!(
                    "add rule ip router before iifname wan {protocol} dport {port} dnat to {ip}:{port}"
                ));
            }
        });
        SocketAddrV4::new(self.public_ip(), port)
    }

    /// Of a hundred packets so many are lost, in either direction.
    pub fn loses(&self, percent: u8) {
        self.on_router(|| {
            nft(&format!(
                "add table ip lossy; add chain ip lossy some {{ type filter hook prerouting priority -300; }}; \
                 add rule ip lossy some numgen random mod 100 < {percent} drop"
            ));
        });
    }

    /// Nothing gets through any more, as when somebody pulls the cable.
    pub fn is_cut_off(&self) {
        self.on_router(|| ip("link set wan down\n"));
    }

    /// The cable is back.
    pub fn is_back(&self) {
        self.on_router(|| {
            let gateway = self.gateway();
            ip(&format!(
                "link set wan up\nroute add default via {gateway}\n"
            ));
        });
    }

    /// The router answers UPnP-IGD, NAT-PMP and PCP: miniupnpd, as most routers have it.
    pub fn maps_ports(&self) {
        let folder = self.scenario.path(&format!("router{}", self.number));
        std::fs::create_dir_all(&folder).unwrap();
        let conf = folder.join("miniupnpd.conf");
        std::fs::write(&conf, MINIUPNPD).unwrap();
        self.on_router(|| {
            nft(IGD_TABLES);
            let mut command = Command::new("/usr/sbin/miniupnpd");
            command.args(["-d", "-f"]).arg(&conf);
            command.arg("-P").arg(folder.join("pid"));
            let mut child = Child::start("miniupnpd", command, &folder);
            child.wait("it listens", Duration::from_secs(20), |child| {
                child.stderr().contains("listening on").then_some(())
            });
            self.services.borrow_mut().push(child);
        });
    }

    /// Waits until the router passes the port of a host on to it, over TCP and UDP.
    pub fn has_mapped(&self, host: SocketAddrV4, within: Duration) {
        let end = Instant::now() + within;
        let rule = format!("dport {} dnat ip to {host}", host.port());
        loop {
            let mut list = Command::new("nft");
            list.args(["list", "chain", "inet", "igd", "mapped"]);
            let rules = self.on_router(|| list.output().unwrap());
            let rules = String::from_utf8_lossy(&rules.stdout);
            // One for each protocol; nft has no words for which is which.
            if rules.matches(&rule).count() == 2 {
                return;
            }
            assert!(Instant::now() < end, "{host} is not mapped: {rules}");
            std::thread::sleep(POLL);
        }
    }
}

/// How often it is looked for a mapping.
const POLL: Duration = Duration::from_millis(50);
/// The last byte of a host's address is its number and this.
const FIRST: u8 = 10;

/// What the router does with packets. What comes unasked for is dropped before it is tracked: otherwise it would hold
/// the port that an answer to it is to have.
fn rules(nat: Nat) -> String {
    let (incoming, filter, outgoing) = match nat {
        Nat::Open => ("", "", ""),
        Nat::EndpointIndependent => (
            "iifname wan dnat to udp dport map @opened",
            "oifname wan update @opened { udp sport : ip saddr }",
            "oifname wan masquerade",
        ),
        Nat::PortPreserving => ("", "", "oifname wan masquerade"),
        Nat::Symmetric => ("", "", "oifname wan masquerade fully-random"),
    };
    let unasked = match nat {
        Nat::Open => "",
        _ => "iifname wan ct state new ct status & dnat == 0 drop",
    };
    format!(
        "table ip router {{
            map opened {{ type inet_service : ipv4_addr; flags dynamic, timeout; timeout 2m; }}
            chain before {{
                type nat hook prerouting priority dstnat;
                {incoming}
            }}
            chain after {{
                type nat hook postrouting priority srcnat;
                {outgoing}
            }}
            chain through {{
                type filter hook forward priority 0;
                {filter}
                {unasked}
            }}
            chain own {{
                type filter hook input priority 0;
                {unasked}
            }}
        }}"
    )
}

/// What a router of this kind has by default, and every address of the house may ask.
const MINIUPNPD: &str = "\
ext_ifname=wan
listening_ip=lan
enable_natpmp=yes
enable_upnp=yes
secure_mode=yes
system_uptime=yes
uuid=7c2b2f0e-8f6d-4a3c-9d64-1f2e3a4b5c6d
upnp_table_name=igd
upnp_nat_table_name=igd
upnp_forward_chain=allowed
upnp_nat_chain=mapped
upnp_nat_postrouting_chain=mapped_out
allow 1024-65535 0.0.0.0/0 1024-65535
deny 0-65535 0.0.0.0/0 0-65535
";

/// The tables that miniupnpd writes into.
const IGD_TABLES: &str = "
table inet igd {
    chain allowed { }
    chain mapped { }
    chain mapped_out { }
    chain before { type nat hook prerouting priority dstnat; jump mapped; }
    chain after { type nat hook postrouting priority srcnat; jump mapped_out; }
    chain through { type filter hook forward priority -10; jump allowed; }
}";
