//! Where to dial first: what a link says, and what holders of a share tell each other.
//!
//! Hints are written by whoever made the link. They are no reason to trust what answers there: a device is known by
//! its key.

use std::fmt;
use std::net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::num::NonZeroU16;
use std::str::FromStr;

use super::BodyError;
use crate::bytes::{Reader, Short};

/// Addresses of IPv4, and as many of IPv6: the local network, the outside, and one more.
pub const MAX_OF_A_FAMILY: usize = 3;

/// Relays.
pub const MAX_RELAYS: usize = 2;

/// Longest name of a relay, in bytes.
const MAX_HOST: usize = 63;

/// First byte of a relay by address; by name it is [`NAMED`] and the name's length.
const BY_V4: u8 = 4;
const BY_V6: u8 = 6;
const NAMED: u8 = 0x40;

/// Where a device may be reached. All are tried at once, so their order says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hints {
    v4: Vec<SocketAddrV4>,
    v6: Vec<SocketAddrV6>,
    tcp_port: Option<NonZeroU16>,
    relays: Vec<Relay>,
}

impl Hints {
    /// The first addresses and relays that fit; those that nobody can dial, and those that are there twice, are left
    /// out. The addresses are of QUIC; the port for TCP is the same at all of them.
    pub fn new(
        addresses: impl IntoIterator<Item = SocketAddr>,
        tcp_port: Option<u16>,
        relays: impl IntoIterator<Item = Relay>,
    ) -> Hints {
        let mut hints = Hints::default();
        for address in addresses {
            let canonical = SocketAddr::new(address.ip().to_canonical(), address.port());
            match canonical {
                canonical if !is_dialable(canonical) => {}
                SocketAddr::V4(v4) => keep(&mut hints.v4, v4, MAX_OF_A_FAMILY),
                SocketAddr::V6(v6) => keep(&mut hints.v6, v6, MAX_OF_A_FAMILY),
            }
        }
        for relay in relays {
            keep(&mut hints.relays, relay, MAX_RELAYS);
        }
        if hints.addresses().next().is_some() {
            hints.tcp_port = tcp_port.and_then(NonZeroU16::new);
        }
        hints
    }

    /// Addresses for QUIC.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        let v4 = self.v4.iter().map(|&v4| SocketAddr::V4(v4));
        v4.chain(self.v6.iter().map(|&v6| SocketAddr::V6(v6)))
    }

    /// Addresses for TCP.
    pub fn tcp_addresses(&self) -> impl Iterator<Item = SocketAddr> {
        let port = self.tcp_port.map(NonZeroU16::get);
        let with_port = move |address: SocketAddr| port.map(|port| (address.ip(), port).into());
        self.addresses().filter_map(with_port)
    }

    /// Relays where the device may be.
    pub fn relays(&self) -> &[Relay] {
        &self.relays
    }

    /// How many there are of what: two bits each for relays, IPv4 and IPv6, the two highest are free.
    pub(crate) fn shape(&self) -> u8 {
        (self.relays.len() << 4 | self.v4.len() << 2 | self.v6.len()) as u8
    }

    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        if self.addresses().next().is_some() {
            let port = self.tcp_port.map_or(0, NonZeroU16::get);
            out.extend(port.to_be_bytes());
        }
        for address in self.addresses() {
            put_address(out, address);
        }
        for relay in &self.relays {
            relay.put(out);
        }
    }

    /// The shape and the hints it is of, in at most `room` bytes; relays from the end are left out as need be.
    pub(crate) fn within(&self, room: usize) -> Vec<u8> {
        let mut fitting = self.clone();
        loop {
            let mut out = vec![fitting.shape()];
            fitting.put(&mut out);
            if out.len() <= room || fitting.relays.pop().is_none() {
                return out;
            }
        }
    }

    /// Reads what [`within`](Self::within) wrote.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Option<Hints> {
        let shape = reader.u8().ok()?;
        Hints::take(shape, reader).ok()
    }

    pub(super) fn take(shape: u8, reader: &mut Reader<'_>) -> Result<Hints, BodyError> {
        let counts = [shape >> 6, shape >> 4 & 3, shape >> 2 & 3, shape & 3];
        let [rest, relays, v4, v6] = counts.map(usize::from);
        if rest > 0 || relays > MAX_RELAYS {
            return Err(BodyError::Cannot("shape"));
        }
        let tcp_port = match v4 + v6 {
            0 => None,
            _ => NonZeroU16::new(reader.u16()?),
        };
        let mut hints = Hints {
            tcp_port,
            ..Hints::default()
        };
        for _ in 0..v4 {
            hints.v4.push(take_v4(reader)?);
        }
        for _ in 0..v6 {
            hints.v6.push(take_v6(reader)?);
        }
        for _ in 0..relays {
            hints.relays.push(Relay::take(reader)?);
        }
        // Whoever makes hints from these gets the same, so nothing is in them that should not be.
        let port = tcp_port.map(NonZeroU16::get);
        match Hints::new(hints.addresses(), port, hints.relays.clone()) == hints {
            true => Ok(hints),
            false => Err(BodyError::Cannot("address")),
        }
    }
}

fn keep<T: PartialEq>(kept: &mut Vec<T>, one: T, most: usize) {
    if kept.len() < most && !kept.contains(&one) {
        kept.push(one);
    }
}

fn is_dialable(address: SocketAddr) -> bool {
    let ip = address.ip();
    let is_local = match ip {
        IpAddr::V4(v4) => v4.is_broadcast(),
        // Such an address means something on the one link that it is of, whose name is another on each computer.
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    address.port() != 0 && !ip.is_unspecified() && !ip.is_multicast() && !is_local
}

fn put_address(out: &mut Vec<u8>, address: SocketAddr) {
    match address.ip() {
        IpAddr::V4(ip) => out.extend(ip.octets()),
        IpAddr::V6(ip) => out.extend(ip.octets()),
    }
    out.extend(address.port().to_be_bytes());
}

fn take_v4(reader: &mut Reader<'_>) -> Result<SocketAddrV4, Short> {
    let ip: [u8; 4] = reader.array()?;
    Ok(SocketAddrV4::new(ip.into(), reader.u16()?))
}

fn take_v6(reader: &mut Reader<'_>) -> Result<SocketAddrV6, Short> {
    let ip: [u8; 16] = reader.array()?;
    Ok(SocketAddrV6::new(ip.into(), reader.u16()?, 0, 0))
}

/// A relay, by address or by name, and its port. Written as `192.0.2.1:443`, `[2001:db8::1]:443` or
/// `relay.example.org:443`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Relay(Place);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Place {
    Address(SocketAddr),
    /// In lower case.
    Name(String, NonZeroU16),
}

/// A text that names no relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a relay is given as its address or name, a colon and the port, as in relay.example.org:443; a name has at most {MAX_HOST} letters"
)]
pub struct RelayError;

impl Relay {
    /// Its address, if it is not known by name.
    pub fn address(&self) -> Option<SocketAddr> {
        match self.0 {
            Place::Address(address) => Some(address),
            Place::Name(..) => None,
        }
    }

    /// Its name, if it has one.
    pub fn name(&self) -> Option<&str> {
        match &self.0 {
            Place::Address(_) => None,
            Place::Name(name, _) => Some(name),
        }
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        match &self.0 {
            Place::Address(address) => address.port(),
            Place::Name(_, port) => port.get(),
        }
    }

    fn by_address(address: SocketAddr) -> Option<Relay> {
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        is_dialable(address).then_some(Relay(Place::Address(address)))
    }

    fn by_name(name: &str, port: u16) -> Option<Relay> {
        let is_label = |label: &str| {
            !label.is_empty()
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-')
        };
        let last = name.rsplit('.').next()?;
        let is_name = name.len() <= MAX_HOST
            && name.split('.').all(is_label)
            && last.bytes().any(|b| b.is_ascii_alphabetic());
        let port = NonZeroU16::new(port)?;
        is_name.then(|| Relay(Place::Name(name.to_ascii_lowercase(), port)))
    }

    fn put(&self, out: &mut Vec<u8>) {
        match &self.0 {
            Place::Address(address) => {
                out.push(if address.is_ipv4() { BY_V4 } else { BY_V6 });
                put_address(out, *address);
            }
            Place::Name(name, port) => {
                out.push(NAMED | name.len() as u8);
                out.extend(name.bytes());
                out.extend(port.get().to_be_bytes());
            }
        }
    }

    fn take(reader: &mut Reader<'_>) -> Result<Relay, BodyError> {
        let kind = reader.u8()?;
        let relay = match kind {
            BY_V4 => Relay::by_address(take_v4(reader)?.into()),
            BY_V6 => {
                let address = take_v6(reader)?;
                let is_v6 = address.ip().to_canonical().is_ipv6();
                Relay::by_address(address.into()).filter(|_| is_v6)
            }
            named if named & 0xc0 == NAMED => {
                let name = reader.bytes((named & 0x3f).into())?;
                let port = reader.u16()?;
                let name = str::from_utf8(name).ok();
                let name = name.filter(|name| *name == name.to_ascii_lowercase());
                name.and_then(|name| Relay::by_name(name, port))
            }
            _ => None,
        };
        relay.ok_or(BodyError::Cannot("relay"))
    }
}

impl FromStr for Relay {
    type Err = RelayError;

    fn from_str(text: &str) -> Result<Relay, RelayError> {
        if let Ok(address) = text.parse() {
            return Relay::by_address(address).ok_or(RelayError);
        }
        let (name, port) = text.rsplit_once(':').ok_or(RelayError)?;
        let port = port.parse().map_err(|_| RelayError)?;
        Relay::by_name(name, port).ok_or(RelayError)
    }
}

impl fmt::Display for Relay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Place::Address(address) => write!(f, "{address}"),
            Place::Name(name, port) => write!(f, "{name}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_can_dial_is_left_out_and_the_rest_kept_once() {
        let given = [
            "192.168.1.7:4000",
            "[::ffff:192.168.1.7]:4000",
            "0.0.0.0:1",
            "10.0.0.1:0",
            "224.0.0.1:5",
            "255.255.255.255:5",
            "[fe80::1%3]:7",
            "[2001:db8::1]:7",
            "203.0.113.1:1",
            "203.0.113.1:2",
            "203.0.113.1:3",
        ];
        let hints = Hints::new(given.map(|text| text.parse().unwrap()), Some(5000), []);
        let shown: Vec<String> = hints
            .addresses()
            .map(|address| address.to_string())
            .collect();
        assert_eq!(
            shown,
            [
                "192.168.1.7:4000",
                "203.0.113.1:1",
                "203.0.113.1:2",
                "[2001:db8::1]:7"
            ]
        );
        let tcp: Vec<String> = hints
            .tcp_addresses()
            .map(|address| address.to_string())
            .collect();
        assert_eq!(tcp[0], "192.168.1.7:5000");
        assert_eq!(tcp.len(), 4);
    }

    #[test]
    fn relays_are_read_as_they_are_shown() {
        for text in [
            "192.0.2.1:443",
            "[2001:db8::1]:443",
            "relay.example.org:7",
            "nas:1",
        ] {
            assert_eq!(text.parse::<Relay>().unwrap().to_string(), text);
        }
        assert_eq!(
            "NAS.local:1".parse::<Relay>().unwrap().name(),
            Some("nas.local")
        );
        for text in [
            "",
            ":1",
            "a",
            "a:",
            "a:0",
            "a:65536",
            "a b:1",
            "-a:1",
            "a-.b:1",
            "a..b:1",
            "1.2.3:4",
            "0.0.0.0:1",
            "é:1",
            &format!("{}:1", "x".repeat(64)),
        ] {
            assert_eq!(text.parse::<Relay>(), Err(RelayError), "{text}");
        }
    }
}
