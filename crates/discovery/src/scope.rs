//! What kind of place an address is: whether a stranger may send us there, and which addresses are neighbours.

use std::net::{IpAddr, Ipv6Addr};

/// How far an address reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// This computer.
    Loopback,
    /// This cable or radio cell (169.254/16, fe80::/10).
    LinkLocal,
    /// This site (RFC 1918, RFC 6598, RFC 4193).
    Private,
    /// Nobody's address: unspecified, multicast, broadcast, reserved.
    Unusable,
    /// The whole network.
    Public,
}

impl Scope {
    /// The scope of an address; an IPv4 address mapped into IPv6 has that of the IPv4 address.
    pub fn of(ip: IpAddr) -> Scope {
        match ip.to_canonical() {
            IpAddr::V4(ip) => {
                let [a, b, ..] = ip.octets();
                match (a, b) {
                    (127, _) => Scope::Loopback,
                    (169, 254) => Scope::LinkLocal,
                    (10, _) | (192, 168) | (172, 16..32) | (100, 64..128) => Scope::Private,
                    (0, _) | (224.., _) => Scope::Unusable,
                    _ => Scope::Public,
                }
            }
            IpAddr::V6(ip) => match ip.octets() {
                _ if ip == Ipv6Addr::LOCALHOST => Scope::Loopback,
                _ if ip == Ipv6Addr::UNSPECIFIED => Scope::Unusable,
                [0xff, ..] => Scope::Unusable,
                [0xfe, 0x80..0xc0, ..] => Scope::LinkLocal,
                [0xfc | 0xfd, ..] => Scope::Private,
                _ => Scope::Public,
            },
        }
    }

    /// Whether the address lies within the own computer or site.
    pub fn is_local(self) -> bool {
        matches!(self, Scope::Loopback | Scope::LinkLocal | Scope::Private)
    }
}

/// Whether to believe somebody at `from` who says that `ip` is worth talking to: nobody on the public network may
/// send us to addresses within our own.
pub fn may_refer(from: IpAddr, ip: IpAddr) -> bool {
    match Scope::of(ip) {
        Scope::Unusable => false,
        Scope::Public => true,
        _ => Scope::of(from).is_local(),
    }
}

/// A number that public addresses of one owner are likely to share: their /24 (IPv4) or /64 (IPv6). Local
/// addresses have none; there everybody may be a neighbour.
pub fn neighbourhood(ip: IpAddr) -> Option<u64> {
    let ip = ip.to_canonical();
    (Scope::of(ip) == Scope::Public).then(|| match ip {
        IpAddr::V4(ip) => u64::from(ip.to_bits() >> 8),
        IpAddr::V6(ip) => (ip.to_bits() >> 64) as u64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn every_kind_of_address_is_told_apart() {
        for (text, scope) in [
            ("127.0.0.1", Scope::Loopback),
            ("::1", Scope::Loopback),
            ("::ffff:127.0.0.1", Scope::Loopback),
            ("169.254.1.1", Scope::LinkLocal),
            ("fe80::1", Scope::LinkLocal),
            ("10.1.2.3", Scope::Private),
            ("172.16.0.1", Scope::Private),
            ("172.31.255.255", Scope::Private),
            ("172.32.0.1", Scope::Public),
            ("192.168.1.1", Scope::Private),
            ("100.64.0.1", Scope::Private),
            ("100.128.0.1", Scope::Public),
            ("fd00::1", Scope::Private),
            ("0.0.0.0", Scope::Unusable),
            ("::", Scope::Unusable),
            ("224.0.0.1", Scope::Unusable),
            ("255.255.255.255", Scope::Unusable),
            ("ff02::1", Scope::Unusable),
            ("8.8.8.8", Scope::Public),
            ("2001:db8::1", Scope::Public),
        ] {
            assert_eq!(Scope::of(ip(text)), scope, "{text}");
        }
    }

    #[test]
    fn nobody_outside_may_send_us_inside() {
        assert!(may_refer(ip("8.8.8.8"), ip("9.9.9.9")));
        assert!(!may_refer(ip("8.8.8.8"), ip("127.0.0.1")));
        assert!(!may_refer(ip("8.8.8.8"), ip("::ffff:10.0.0.1")));
        assert!(may_refer(ip("127.0.0.1"), ip("127.0.0.2")));
        assert!(may_refer(ip("192.168.0.2"), ip("8.8.8.8")));
        assert!(!may_refer(ip("127.0.0.1"), ip("224.0.0.1")));
    }

    #[test]
    fn neighbours_share_a_network() {
        assert_eq!(neighbourhood(ip("8.8.8.1")), neighbourhood(ip("8.8.8.200")));
        assert_ne!(neighbourhood(ip("8.8.8.1")), neighbourhood(ip("8.8.9.1")));
        assert_eq!(
            neighbourhood(ip("2001:db8::1")),
            neighbourhood(ip("2001:db8::ffff:0:0:1"))
        );
        assert_ne!(
            neighbourhood(ip("2001:db8::1")),
            neighbourhood(ip("2001:db8:0:1::1"))
        );
        assert_eq!(neighbourhood(ip("127.0.0.1")), None);
        assert_eq!(neighbourhood(ip("192.168.0.1")), None);
    }
}
