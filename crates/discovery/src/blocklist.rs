//! Addresses that a person wants nothing to do with, as the lists that are around have them.
//!
//! Lines are read in each of these forms, mixed or not:
//!
//! ```text
//! # a comment, as are lines that begin with ; or //
//! 192.0.2.7                                     an address
//! 2001:db8::/32                                 a network
//! 192.0.2.0-192.0.2.255                         a range
//! 192.000.002.000 - 192.000.002.255 , 100 , x   eMule's ipfilter.dat; blocked is what has a level below 128
//! some owner:192.0.2.0-192.0.2.255              PeerGuardian's P2P format
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Longest line read, in bytes; names in lists have a hundred.
pub const LINE_MAX: usize = 1024;
/// Most ranges of a list: the largest around have half a million. One of IPv4 costs 8 bytes, one of IPv6 32.
pub const RANGES_MAX: usize = 2_000_000;
/// In ipfilter.dat, what has this level or more is let through.
const LET_THROUGH: u32 = 128;

/// Ranges of addresses, apart from each other and in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlockList {
    v4: Vec<(u32, u32)>,
    v6: Vec<(u128, u128)>,
}

/// Why a line cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// It is in none of the forms.
    #[error("it is no address, network or range")]
    Form,
    /// A range ends before it begins, or in the other family.
    #[error("the range ends before it begins")]
    Backwards,
    /// A network of more bits than an address has.
    #[error("a network has at most as many bits as an address")]
    Bits,
    /// It is longer than [`LINE_MAX`].
    #[error("the line has more than {LINE_MAX} bytes")]
    Long,
    /// There are more than [`RANGES_MAX`].
    #[error("there are more than {RANGES_MAX} ranges")]
    Many,
}

/// A list while it is read, line by line.
#[derive(Default)]
pub struct Builder {
    list: BlockList,
}

impl Builder {
    /// Takes a line, without its end.
    ///
    /// # Errors
    /// See [`LineError`].
    pub fn line(&mut self, line: &[u8]) -> Result<(), LineError> {
        if line.len() > LINE_MAX {
            return Err(LineError::Long);
        }
        // Names may be in any encoding; addresses are in ASCII.
        let text = String::from_utf8_lossy(line);
        let Some((from, to)) = read(text.trim_start_matches('\u{feff}').trim())? else {
            return Ok(());
        };
        if self.list.v4.len() + self.list.v6.len() >= RANGES_MAX {
            // Lists overlap themselves more often than not.
            self.list.tidy();
            if self.list.ranges() >= RANGES_MAX {
                return Err(LineError::Many);
            }
        }
        match (from, to) {
            (IpAddr::V4(from), IpAddr::V4(to)) if from <= to => {
                self.list.v4.push((from.to_bits(), to.to_bits()));
            }
            (IpAddr::V6(from), IpAddr::V6(to)) if from <= to => {
                self.list.v6.push((from.to_bits(), to.to_bits()));
            }
            _ => return Err(LineError::Backwards),
        }
        Ok(())
    }

    /// The list.
    pub fn finish(mut self) -> BlockList {
        self.list.tidy();
        self.list
    }
}

impl BlockList {
    /// Whether an address is in one of the ranges; an IPv4 address mapped into IPv6 is that IPv4 address.
    pub fn contains(&self, ip: IpAddr) -> bool {
        match ip.to_canonical() {
            IpAddr::V4(ip) => within(&self.v4, ip.to_bits()),
            IpAddr::V6(ip) => within(&self.v6, ip.to_bits()),
        }
    }

    /// Ranges, overlapping and touching ones joined.
    pub fn ranges(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    fn tidy(&mut self) {
        join(&mut self.v4, |end| end.checked_add(1));
        join(&mut self.v6, |end| end.checked_add(1));
    }
}

fn within<N: Ord + Copy>(ranges: &[(N, N)], ip: N) -> bool {
    let behind = ranges.partition_point(|(from, _)| *from <= ip);
    behind > 0 && ip <= ranges[behind - 1].1
}

/// Sorts ranges and joins those that overlap or touch.
fn join<N: Ord + Copy>(ranges: &mut Vec<(N, N)>, next: impl Fn(N) -> Option<N>) {
    ranges.sort_unstable();
    ranges.dedup_by(|later, earlier| {
        let touches = next(earlier.1).is_none_or(|next| later.0 <= next);
        if touches {
            earlier.1 = earlier.1.max(later.1);
        }
        touches
    });
    ranges.shrink_to_fit();
}

/// The range of a line; none: a comment, or one that is let through.
fn read(line: &str) -> Result<Option<(IpAddr, IpAddr)>, LineError> {
    if line.is_empty() || line.starts_with(['#', ';']) || line.starts_with("//") {
        return Ok(None);
    }
    if let Some((first, rest)) = line.split_once(',')
        && let Ok(range) = range(first)
    {
        let level = rest.split(',').next().unwrap_or_default().trim();
        let level = level.parse::<u32>().unwrap_or(0);
        return Ok((level < LET_THROUGH).then_some(range));
    }
    let whole = range(line);
    if whole != Err(LineError::Form) {
        return whole.map(Some);
    }
    // A name may have anything in it.
    if let Some((_, last)) = line.rsplit_once(':') {
        let named = range(last);
        if named != Err(LineError::Form) {
            return named.map(Some);
        }
    }
    match line.split_once('#') {
        Some((before, _)) => range(before).map(Some),
        None => Err(LineError::Form),
    }
}

fn range(text: &str) -> Result<(IpAddr, IpAddr), LineError> {
    if let Some((ip, bits)) = text.split_once('/') {
        let (ip, bits) = (address(ip)?, bits.trim().parse::<u32>());
        return network(ip, bits.map_err(|_| LineError::Form)?);
    }
    match text.split_once('-') {
        Some((from, to)) => match (address(from)?, address(to)?) {
            (from, to) if from.is_ipv4() != to.is_ipv4() || from > to => Err(LineError::Backwards),
            both => Ok(both),
        },
        None => address(text).map(|ip| (ip, ip)),
    }
}

fn network(ip: IpAddr, bits: u32) -> Result<(IpAddr, IpAddr), LineError> {
    match ip {
        IpAddr::V4(ip) => {
            let rest = 32u32.checked_sub(bits).ok_or(LineError::Bits)?;
            let own = u32::MAX.checked_shr(bits).unwrap_or(0);
            let from = ip.to_bits() & u32::MAX.checked_shl(rest).unwrap_or(0);
            let (from, to) = (Ipv4Addr::from(from), Ipv4Addr::from(from | own));
            Ok((from.into(), to.into()))
        }
        IpAddr::V6(ip) => {
            let rest = 128u32.checked_sub(bits).ok_or(LineError::Bits)?;
            let own = u128::MAX.checked_shr(bits).unwrap_or(0);
            let from = ip.to_bits() & u128::MAX.checked_shl(rest).unwrap_or(0);
            let (from, to) = (Ipv6Addr::from(from), Ipv6Addr::from(from | own));
            Ok((from.into(), to.into()))
        }
    }
}

/// An address; in IPv4 numbers may begin with zeros, as in ipfilter.dat.
fn address(text: &str) -> Result<IpAddr, LineError> {
    let text = text.trim();
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Ok(ip.to_canonical());
    }
    let number = |part: &str| {
        let digits = part.len() <= 3 && part.bytes().all(|byte| byte.is_ascii_digit());
        part.parse::<u8>().ok().filter(|_| digits)
    };
    let numbers: Option<Vec<u8>> = text.split('.').map(number).collect();
    let octets = numbers.and_then(|numbers| <[u8; 4]>::try_from(numbers).ok());
    octets.map(IpAddr::from).ok_or(LineError::Form)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> BlockList {
        let mut builder = Builder::default();
        for line in text.lines() {
            builder.line(line.as_bytes()).unwrap();
        }
        builder.finish()
    }

    #[test]
    fn every_form_is_understood_and_neighbours_are_joined() {
        let list = list(
            "# of many kinds\n\
             ; more\n\
             // and more\n\
             \n\
             001.009.096.105 - 001.009.096.107 , 000 , an \"owner\", with commas\n\
             001.010.000.000 - 001.010.000.255 , 200 , let through\n\
             Some: owner 1.2.3.0-4:203.0.113.0-203.0.113.127\n\
             203.0.113.128/25\n\
             198.51.100.7 # a neighbour\n\
             198.51.100.8-198.51.100.9\n\
             2001:db8::/32\n\
             2001:db9::1-2001:db9::5\n\
             ::ffff:192.0.2.1\n",
        );
        assert_eq!(list.ranges(), 6, "{list:?}");
        for (ip, blocked) in [
            ("1.9.96.104", false),
            ("1.9.96.105", true),
            ("1.9.96.107", true),
            ("1.9.96.108", false),
            ("1.10.0.5", false),
            ("203.0.113.0", true),
            ("203.0.113.255", true),
            ("203.0.114.0", false),
            ("198.51.100.9", true),
            ("192.0.2.1", true),
            ("::ffff:1.9.96.106", true),
            ("2001:db8:ffff::1", true),
            ("2001:db9::6", false),
            ("0.0.0.0", false),
        ] {
            assert_eq!(list.contains(ip.parse().unwrap()), blocked, "{ip}");
        }
    }

    #[test]
    fn the_ends_of_all_addresses_are_addresses() {
        let all = list("0.0.0.0/0\n::/0\n255.255.255.255\n1.1.1.1/32\nffff::/128\n");
        assert_eq!(all.ranges(), 2);
        assert!(all.contains([255; 4].into()) && all.contains([0xffff; 8].into()));
        let last = list("255.255.255.255\n0.0.0.0\n");
        assert!(last.contains([255; 4].into()) && !last.contains([254; 4].into()));
    }

    #[test]
    fn what_cannot_be_meant_says_why() {
        let read = |line: &str| Builder::default().line(line.as_bytes()).unwrap_err();
        assert_eq!(read("hello"), LineError::Form);
        assert_eq!(read("<html>"), LineError::Form);
        assert_eq!(read("1.2.3.4/33"), LineError::Bits);
        assert_eq!(read("1.2.3.4-1.2.3.3"), LineError::Backwards);
        assert_eq!(read("owner:1.2.3.4-1.2.3.3"), LineError::Backwards);
        assert_eq!(read("1.2.3.4-::1"), LineError::Backwards);
        assert_eq!(read("1.2.3"), LineError::Form);
        assert_eq!(read("1.2.3.0004"), LineError::Form);
        assert_eq!(read(&"x".repeat(2000)), LineError::Long);
    }
}
