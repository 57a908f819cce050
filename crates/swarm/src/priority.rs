//! Canonical peer priority (BEP 40): a number for each pair of addresses that both compute alike.
//!
//! All peers dial and keep those of high priority first, so a newcomer is high on the lists of some who are full, and a
//! flood from few networks is high on few.

use std::net::{IpAddr, SocketAddr};

use torrent::crc32c::crc32c;

/// The priority of the connection between these two; `None`: they are of different families.
pub fn priority(one: SocketAddr, other: SocketAddr) -> Option<u32> {
    let (a, b) = (one.ip().to_canonical(), other.ip().to_canonical());
    if a == b {
        let mut ports = [one.port(), other.port()];
        ports.sort_unstable();
        return Some(crc32c(ports.map(u16::to_be_bytes).as_flattened()));
    }
    match (a, b) {
        (IpAddr::V4(a), IpAddr::V4(b)) => Some(masked(a.octets(), b.octets(), 2)),
        (IpAddr::V6(a), IpAddr::V6(b)) => Some(masked(a.octets(), b.octets(), 6)),
        _ => None,
    }
}

/// The first `whole` bytes count in full, and one more than they have in common; of the others every second bit.
fn masked<const N: usize>(a: [u8; N], b: [u8; N], whole: usize) -> u32 {
    let common = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
    let full = if common < whole { whole } else { common + 1 };
    let mask = |ip: [u8; N]| {
        let mut ip = ip;
        ip.iter_mut().skip(full).for_each(|byte| *byte &= 0x55);
        ip
    };
    let mut both = [mask(a), mask(b)];
    both.sort_unstable();
    crc32c(both.as_flattened())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(a: &str, b: &str) -> Option<u32> {
        let pair = (a.parse().unwrap(), b.parse().unwrap());
        assert_eq!(priority(pair.0, pair.1), priority(pair.1, pair.0));
        priority(pair.0, pair.1)
    }

    #[test]
    fn the_vectors_of_bep_40_hold() {
        assert_eq!(of("123.213.32.10:1", "98.76.54.32:2"), Some(0xec2d_7224));
        assert_eq!(of("123.213.32.10:1", "123.213.32.234:2"), Some(0x9956_8189));
    }

    #[test]
    fn masks_follow_what_addresses_have_in_common() {
        // Within a /16 the third byte counts in full, the fourth by every second bit.
        let near = of("10.1.2.3:1", "10.1.4.5:1");
        assert_eq!(near, Some(crc32c(&[10, 1, 2, 1, 10, 1, 4, 5])));
        assert_eq!(near, of("10.1.2.3:1", "10.1.4.7:1"));
        assert_ne!(near, of("10.1.2.3:1", "10.1.6.5:1"));
        // Far apart, the masked bits of both last bytes make no difference.
        assert_eq!(
            of("10.1.2.3:1", "11.1.2.3:1"),
            of("10.1.8.11:1", "11.1.2.3:1")
        );
        // IPv6: six bytes in full, one more for each that they share beyond a /48.
        let sites = (
            of("[2001:db8:1::ff]:1", "[2001:db8:2::1]:1"),
            of("[2001:db8:1::55]:1", "[2001:db8:2::1]:1"),
        );
        assert_eq!(sites.0, sites.1);
        let subnets = (
            of("[2001:db8:1:ff00::1]:1", "[2001:db8:1:5500::1]:1"),
            of("[2001:db8:1:aa00::1]:1", "[2001:db8:1:5500::1]:1"),
        );
        assert_ne!(subnets.0, subnets.1);
    }

    #[test]
    fn on_one_address_ports_decide_and_families_do_not_mix() {
        assert_eq!(of("1.2.3.4:1", "1.2.3.4:258"), Some(crc32c(&[0, 1, 1, 2])));
        assert_eq!(of("1.2.3.4:1", "[2001:db8::1]:1"), None);
        assert_eq!(
            of("[::ffff:123.213.32.10]:1", "98.76.54.32:2"),
            Some(0xec2d_7224)
        );
    }
}
