//! `ut_pex`: peers tell each other whom they are connected to (BEP 11).
//!
//! How often messages may be sent, and what to believe, is the engine's to decide.

use std::net::SocketAddr;

use super::{ExtensionError, limits};
use crate::bencode::{self, Dict, Owned};
use crate::tracker::compact;

/// Most peers a message should add, and as many it should drop (BEP 11); only the first message may have more.
pub const MAX_PEX_ADDED: usize = 50;

/// Most added and most dropped peers taken from one message; what goes beyond is left out.
pub const MAX_PEX_PARSED: usize = 200;

/// Longest message read, in bytes: about 1700 IPv6 peers.
pub const MAX_PEX_LEN: usize = 32 * 1024;

/// What is known about a peer (BEP 11, "Flags").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PexFlags(pub u8);

impl PexFlags {
    /// Prefers encryption.
    pub const ENCRYPTION: PexFlags = PexFlags(0x01);
    /// Wants nothing more: a seed, or upload only.
    pub const SEED: PexFlags = PexFlags(0x02);
    /// Speaks uTP.
    pub const UTP: PexFlags = PexFlags(0x04);
    /// Takes hole-punching messages (BEP 55).
    pub const HOLEPUNCH: PexFlags = PexFlags(0x08);
    /// Was reached by an outgoing connection, so others can reach it too.
    pub const REACHABLE: PexFlags = PexFlags(0x10);

    /// Whether all of these flags are set.
    pub const fn has(self, flags: PexFlags) -> bool {
        self.0 & flags.0 == flags.0
    }

    /// The same with these flags set too.
    pub const fn with(self, flags: PexFlags) -> PexFlags {
        PexFlags(self.0 | flags.0)
    }
}

/// Who joined and who left, as one peer sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pex {
    /// Peers the sender is now connected to.
    pub added: Vec<(SocketAddr, PexFlags)>,
    /// Peers it no longer is connected to.
    pub dropped: Vec<SocketAddr>,
}

impl Pex {
    /// The payload of the extended message, IPv4 peers before IPv6 ones.
    pub fn encode(&self) -> Vec<u8> {
        let mut fields: [Vec<u8>; 6] = Default::default();
        let [added, flags, added6, flags6, dropped, dropped6] = &mut fields;
        for &(addr, flag) in &self.added {
            let (to, to_flags) = if addr.is_ipv4() {
                (&mut *added, &mut *flags)
            } else {
                (&mut *added6, &mut *flags6)
            };
            compact::push(to, addr);
            to_flags.push(flag.0);
        }
        for &addr in &self.dropped {
            compact::push(
                if addr.is_ipv4() {
                    &mut *dropped
                } else {
                    &mut *dropped6
                },
                addr,
            );
        }
        let names = [
            "added", "added.f", "added6", "added6.f", "dropped", "dropped6",
        ];
        Owned::dict(names.into_iter().zip(fields.map(Owned::Bytes))).encode()
    }

    /// Reads the payload of an extended message. Peers without a port are left out; missing flags count as none set.
    ///
    /// # Errors
    /// Only if the payload is no bencoded dictionary, or longer than [`MAX_PEX_LEN`].
    pub fn parse(payload: &[u8]) -> Result<Pex, ExtensionError> {
        let root = bencode::parse(payload, limits(MAX_PEX_LEN))?;
        let dict = root.as_dict().ok_or(ExtensionError::NotDict)?;
        let flagged = |row: SocketAddrs, flags| row.zip(flags_of(&dict, flags)).collect::<Vec<_>>();
        let mut added = flagged(Box::new(compact::v4_row(text(&dict, "added"))), "added.f");
        added.extend(flagged(
            Box::new(compact::v6_row(text(&dict, "added6"))),
            "added6.f",
        ));
        added.retain(|(addr, _)| addr.port() != 0);
        added.truncate(MAX_PEX_PARSED);

        let dropped =
            compact::v4_row(text(&dict, "dropped")).chain(compact::v6_row(text(&dict, "dropped6")));
        Ok(Pex {
            added,
            dropped: dropped
                .filter(|addr| addr.port() != 0)
                .take(MAX_PEX_PARSED)
                .collect(),
        })
    }
}

type SocketAddrs<'a> = Box<dyn Iterator<Item = SocketAddr> + 'a>;

fn text<'a>(dict: &Dict<'a>, key: &str) -> &'a [u8] {
    dict.get(key)
        .and_then(|value| value.as_bytes())
        .unwrap_or_default()
}

fn flags_of<'a>(dict: &Dict<'a>, key: &str) -> impl Iterator<Item = PexFlags> + use<'a> {
    text(dict, key)
        .iter()
        .copied()
        .chain(std::iter::repeat(0))
        .map(PexFlags)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_message_is_laid_out_as_bep_11_says() {
        let pex = Pex {
            added: vec![
                (
                    "1.2.3.4:258".parse().unwrap(),
                    PexFlags::SEED.with(PexFlags::REACHABLE),
                ),
                ("[::1]:1".parse().unwrap(), PexFlags::UTP),
            ],
            dropped: vec!["5.6.7.8:9".parse().unwrap()],
        };
        let expected = b"d5:added6:\x01\x02\x03\x04\x01\x027:added.f1:\x126:added618:\
            \0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\x018:added6.f1:\x047:dropped6:\x05\x06\x07\x08\0\x098:dropped60:e";
        assert_eq!(pex.encode(), expected);
        assert_eq!(Pex::parse(expected), Ok(pex));
    }

    #[test]
    fn missing_parts_and_short_flags_do_no_harm() {
        assert_eq!(Pex::parse(b"de"), Ok(Pex::default()));
        let pex =
            Pex::parse(b"d5:added12:\x01\x02\x03\x04\0\x01\x01\x02\x03\x05\0\x027:added.f1:\x02e")
                .unwrap();
        let expected = [
            ("1.2.3.4:1".parse().unwrap(), PexFlags::SEED),
            ("1.2.3.5:2".parse().unwrap(), PexFlags::default()),
        ];
        assert_eq!(pex.added, expected);
        assert!(pex.added[0].1.has(PexFlags::SEED) && !pex.added[1].1.has(PexFlags::SEED));
    }

    #[test]
    fn peers_without_a_port_are_left_out_and_their_flags_with_them() {
        let pex = Pex::parse(
            b"d5:added12:\x01\x02\x03\x04\0\0\x01\x02\x03\x05\0\x027:added.f2:\x02\x04e",
        )
        .unwrap();
        assert_eq!(pex.added, [("1.2.3.5:2".parse().unwrap(), PexFlags::UTP)]);
    }

    #[test]
    fn a_flood_is_cut_at_the_limit() {
        let flood = Pex {
            added: (1..1000u16)
                .map(|port| (([10, 0, 0, 1], port).into(), PexFlags::default()))
                .collect(),
            dropped: (1..1000u16)
                .map(|port| ([10, 0, 0, 2], port).into())
                .collect(),
        };
        let pex = Pex::parse(&flood.encode()).unwrap();
        assert_eq!(
            (pex.added.len(), pex.dropped.len()),
            (MAX_PEX_PARSED, MAX_PEX_PARSED)
        );
        assert!(Pex::parse(&vec![b'l'; MAX_PEX_LEN + 1]).is_err());
    }

    fn addrs() -> impl Strategy<Value = Vec<SocketAddr>> {
        let addr = (any::<std::net::IpAddr>(), 1u16..).prop_map(SocketAddr::from);
        proptest::collection::vec(addr, 0..20).prop_map(|mut addrs| {
            addrs.sort_by_key(SocketAddr::is_ipv6);
            addrs
        })
    }

    proptest! {
        #[test]
        fn every_message_survives_the_wire(added in addrs(), flags: [u8; 20], dropped in addrs()) {
            let added = added.into_iter().zip(flags.map(PexFlags)).collect();
            let pex = Pex { added, dropped };
            prop_assert_eq!(Pex::parse(&pex.encode()), Ok(pex));
        }
    }
}
