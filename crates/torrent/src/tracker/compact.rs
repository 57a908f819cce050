//! Addresses as trackers, peers and DHT nodes pack them: 4 bytes of IPv4 or 16 of IPv6, then the port, all in
//! network byte order (BEP 23, BEP 7, BEP 5, BEP 11).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Length of a packed IPv4 address and port, in bytes.
pub const V4_LEN: usize = 6;

/// Length of a packed IPv6 address and port, in bytes.
pub const V6_LEN: usize = 18;

/// Appends an address and port: [`V4_LEN`] or [`V6_LEN`] bytes.
pub fn push(out: &mut Vec<u8>, addr: SocketAddr) {
    push_ip(out, addr.ip());
    out.extend(addr.port().to_be_bytes());
}

/// Appends an address alone: 4 or 16 bytes.
pub fn push_ip(out: &mut Vec<u8>, ip: IpAddr) {
    match ip {
        IpAddr::V4(ip) => out.extend(ip.octets()),
        IpAddr::V6(ip) => out.extend(ip.octets()),
    }
}

/// Reads one address and port; its length says which kind it is.
pub fn addr(bytes: &[u8]) -> Option<SocketAddr> {
    let (ip, port) = bytes.split_last_chunk::<2>()?;
    Some(SocketAddr::new(self::ip(ip)?, u16::from_be_bytes(*port)))
}

/// Reads an address without port; its length says which kind it is.
pub fn ip(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(Ipv4Addr::from(v4).into());
    }
    <[u8; 16]>::try_from(bytes)
        .ok()
        .map(|v6| Ipv6Addr::from(v6).into())
}

/// Reads a row of packed IPv4 addresses; a torn one at the end is left out.
pub fn v4_row(bytes: &[u8]) -> impl Iterator<Item = SocketAddr> {
    bytes
        .as_chunks::<V4_LEN>()
        .0
        .iter()
        .filter_map(|one| addr(one))
}

/// Reads a row of packed IPv6 addresses; a torn one at the end is left out.
pub fn v6_row(bytes: &[u8]) -> impl Iterator<Item = SocketAddr> {
    bytes
        .as_chunks::<V6_LEN>()
        .0
        .iter()
        .filter_map(|one| addr(one))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_packed_in_network_order() {
        let mut out = Vec::new();
        push(&mut out, "10.0.0.5:6881".parse().unwrap());
        assert_eq!(out, [10, 0, 0, 5, 0x1a, 0xe1]);
        assert_eq!(addr(&out), Some("10.0.0.5:6881".parse().unwrap()));
        let mut out = Vec::new();
        push(&mut out, "[2001:db8::1]:1".parse().unwrap());
        assert_eq!(out, *b"\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\0\x01");
        assert_eq!(addr(&out), Some("[2001:db8::1]:1".parse().unwrap()));
    }

    #[test]
    fn a_row_with_a_torn_end_gives_what_is_whole() {
        let row: Vec<_> = v4_row(&[127, 0, 0, 1, 0, 80, 10, 0, 0, 1, 1]).collect();
        assert_eq!(row, ["127.0.0.1:80".parse().unwrap()]);
        assert_eq!(v6_row(&[0; 17]).count(), 0);
    }

    #[test]
    fn other_lengths_are_no_address() {
        for len in (0..40).filter(|len| ![V4_LEN, V6_LEN].contains(len)) {
            assert_eq!(addr(&vec![1; len]), None, "{len} bytes");
        }
    }
}
