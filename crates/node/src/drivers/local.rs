//! The loop around local service discovery (BEP 14): multicast on every interface.

use std::cell::RefCell;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::time::Instant;

use discovery::lsd::{Config, Input, Local, Output};
use link::Egress;
use socket2::{Domain, Protocol, Socket, Type};
use swarm::Source;
use tokio::net::UdpSocket;
use tokio::sync::Notify;
use torrent::lsd::Group;

use super::Driver;

/// Largest announce looked at, in bytes.
const PACKET: usize = 2048;

pub(crate) struct LocalDriver {
    engine: RefCell<Local>,
    v4: Option<Member>,
    v6: Option<Member>,
    wake: Notify,
}

/// A socket in the group of its family, and the interfaces it is in.
struct Member {
    socket: UdpSocket,
    interfaces: Vec<Interface>,
}

#[derive(Clone, Copy)]
enum Interface {
    V4(Ipv4Addr),
    V6(u32),
}

fn join(group: Group, egress: &Egress) -> io::Result<Member> {
    let addr = group.addr();
    let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_address(true)?;
    #[cfg(unix)]
    socket.set_reuse_port(true)?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    egress.confine(&socket, addr.is_ipv6())?;
    let any: IpAddr = match addr {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    socket.bind(&SocketAddr::new(any, addr.port()).into())?;
    let mut interfaces = Vec::new();
    for interface in if_addrs::get_if_addrs()? {
        let others = |ip: IpAddr| !ip.is_unspecified() && ip != interface.ip();
        if egress.bind.is_some_and(others)
            || (egress.interface.as_ref()).is_some_and(|name| *name != interface.name)
        {
            continue;
        }
        match (addr.ip(), interface.ip()) {
            (IpAddr::V4(group), IpAddr::V4(ip))
                if socket.join_multicast_v4(&group, &ip).is_ok() =>
            {
                interfaces.push(Interface::V4(ip));
            }
            (IpAddr::V6(group), IpAddr::V6(_)) => {
                let Some(index) = interface.index else {
                    continue;
                };
                if socket.join_multicast_v6(&group, index).is_ok() {
                    interfaces.push(Interface::V6(index));
                }
            }
            _ => {}
        }
    }
    if interfaces.is_empty() {
        return Err(io::ErrorKind::AddrNotAvailable.into());
    }
    // Other programs on this computer are neighbours too.
    match addr {
        SocketAddr::V4(_) => socket.set_multicast_loop_v4(true)?,
        SocketAddr::V6(_) => socket.set_multicast_loop_v6(true)?,
    }
    Ok(Member {
        socket: UdpSocket::from_std(socket.into())?,
        interfaces,
    })
}

impl Member {
    fn send(&self, group: Group, bytes: &[u8]) {
        let raw = socket2::SockRef::from(&self.socket);
        for interface in &self.interfaces {
            let chosen = match *interface {
                Interface::V4(ip) => raw.set_multicast_if_v4(&ip),
                Interface::V6(index) => raw.set_multicast_if_v6(index),
            };
            if chosen.is_ok() {
                // An interface that is down has no neighbours.
                let _ = self.socket.try_send_to(bytes, group.addr());
            }
        }
    }
}

impl LocalDriver {
    /// Joins the groups; `None` where the network has no multicast.
    pub fn open(egress: &Egress, port: u16) -> Option<LocalDriver> {
        let wants = |v6: bool| egress.bind.is_none_or(|ip| ip.is_ipv6() == v6);
        let v4 = wants(false).then(|| join(Group::V4, egress).ok()).flatten();
        let v6 = wants(true).then(|| join(Group::V6, egress).ok()).flatten();
        let mut groups = Vec::new();
        groups.extend(v4.is_some().then_some(Group::V4));
        groups.extend(v6.is_some().then_some(Group::V6));
        if groups.is_empty() {
            return None;
        }
        let mut seed = [0; 8];
        getrandom::fill(&mut seed).ok()?;
        let config = Config { port, groups };
        let engine = Local::new(config, u64::from_le_bytes(seed), Instant::now());
        Some(LocalDriver {
            engine: RefCell::new(engine),
            v4,
            v6,
            wake: Notify::new(),
        })
    }

    fn tell(&self, driver: &Rc<Driver>, input: Input<'_>) {
        let mut engine = self.engine.borrow_mut();
        engine.handle(Instant::now(), input);
        let mut found = Vec::new();
        while let Some(output) = engine.poll() {
            match output {
                Output::Send { group, bytes } => {
                    let member = if group.addr().is_ipv4() {
                        &self.v4
                    } else {
                        &self.v6
                    };
                    if let Some(member) = member {
                        member.send(group, &bytes);
                    }
                }
                Output::Found { info_hash, peer } => found.push((info_hash, peer)),
            }
        }
        drop(engine);
        for (info_hash, peer) in found {
            let torrent = driver.names.borrow().get(&info_hash).copied();
            if let Some(id) = torrent {
                driver.peers_found(id, Source::Local, vec![peer]);
            }
        }
        self.wake.notify_one();
    }

    /// Tells the neighbours about a torrent.
    pub fn add(&self, driver: &Rc<Driver>, hashes: impl Iterator<Item = [u8; 20]>) {
        hashes.for_each(|hash| self.tell(driver, Input::Add(hash)));
    }

    /// Tells them no longer.
    pub fn remove(&self, driver: &Rc<Driver>, hashes: impl Iterator<Item = [u8; 20]>) {
        hashes.for_each(|hash| self.tell(driver, Input::Remove(hash)));
    }
}

/// Carries announces in and wakes the engine.
pub(crate) async fn run(driver: Rc<Driver>) {
    let Some(local) = &driver.local else { return };
    let (mut buf4, mut buf6) = ([0; PACKET], [0; PACKET]);
    loop {
        let deadline = local.engine.borrow().deadline();
        let sleep = async {
            match deadline {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            got = receive(&local.v4, &mut buf4) => {
                if let Ok((n, from)) = got {
                    local.tell(&driver, Input::Packet { from, bytes: &buf4[..n] });
                }
            }
            got = receive(&local.v6, &mut buf6) => {
                if let Ok((n, from)) = got {
                    local.tell(&driver, Input::Packet { from, bytes: &buf6[..n] });
                }
            }
            () = local.wake.notified() => {}
            () = sleep => local.tell(&driver, Input::Timeout),
        }
    }
}

async fn receive(member: &Option<Member>, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
    match member {
        Some(member) => member.socket.recv_from(buf).await,
        None => std::future::pending().await,
    }
}
