//! Which ids a node may have at its address (BEP 42): the first 21 bits follow from the address and three bits of
//! choice, so that nobody can settle wherever he likes.
//!
//! Addresses of local networks are exempt; which those are is decided in `discovery`.

use std::net::IpAddr;

use super::NodeId;
use crate::crc32c::crc32c;

/// Bits of an IPv4 address that count: the fewer the further in front, since whole networks are cheap to have.
const MASK_V4: u32 = 0x030f_3fff;

/// The same for the first 64 bits of an IPv6 address.
const MASK_V6: u64 = 0x0103_070f_1f3f_7fff;

/// The last byte of an id says, in these bits, which of eight choices it is made of.
const CHOICE: u8 = 7;

/// Of the third byte, the bits that follow from the address.
const THIRD: u8 = 0xf8;

impl NodeId {
    /// An id that may be at this address, otherwise made of `random`.
    pub fn tied_to(ip: IpAddr, random: [u8; 20]) -> NodeId {
        let [first, second, third, _] = hash(ip, random[19]).to_be_bytes();
        let mut id = random;
        (id[0], id[1]) = (first, second);
        id[2] = third & THIRD | random[2] & !THIRD;
        NodeId(id)
    }

    /// Whether this id may be at this address.
    pub fn is_tied_to(&self, ip: IpAddr) -> bool {
        let [first, second, third, _] = hash(ip, self.0[19]).to_be_bytes();
        self.0[..2] == [first, second] && (self.0[2] ^ third) & THIRD == 0
    }

    /// What the address and the choice in this id amount to: who has several addresses with one identity has one
    /// place in the DHT. Only identities of one address family can be compared.
    pub fn identity(&self, ip: IpAddr) -> u64 {
        match ip.to_canonical() {
            IpAddr::V4(ip) => {
                (ip.to_bits() & MASK_V4 | u32::from(self.0[19] & CHOICE) << 29).into()
            }
            IpAddr::V6(ip) => {
                (ip.to_bits() >> 64) as u64 & MASK_V6 | u64::from(self.0[19] & CHOICE) << 61
            }
        }
    }
}

fn hash(ip: IpAddr, last: u8) -> u32 {
    let mut id = NodeId([0; 20]);
    id.0[19] = last;
    let identity = id.identity(ip);
    match ip.to_canonical() {
        IpAddr::V4(_) => crc32c(&(identity as u32).to_be_bytes()),
        IpAddr::V6(_) => crc32c(&identity.to_be_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(hex: &str) -> NodeId {
        NodeId(crate::hex::decode(hex).unwrap())
    }

    /// Address, random number and id, as in BEP 42.
    const VECTORS: [(&str, u8, &str); 5] = [
        (
            "124.31.75.21",
            1,
            "5fbfbff10c5d6a4ec8a88e4c6ab4c28b95eee401",
        ),
        (
            "21.75.31.124",
            86,
            "5a3ce9c14e7a08645677bbd1cfe7d8f956d53256",
        ),
        (
            "65.23.51.170",
            22,
            "a5d43220bc8f112a3d426c84764f8c2a1150e616",
        ),
        (
            "84.124.73.14",
            65,
            "1b0321dd1bb1fe518101ceef99462b947a01ff41",
        ),
        (
            "43.213.53.83",
            90,
            "e56f6cbf5b7c4be0237986d5243b87aa6d51305a",
        ),
    ];

    #[test]
    fn the_vectors_of_bep_42_hold() {
        for (ip, rand, text) in VECTORS {
            let (ip, id): (IpAddr, _) = (ip.parse().unwrap(), id(text));
            assert_eq!(id.0[19], rand);
            assert!(id.is_tied_to(ip), "{ip}");
            let mut random = id.0;
            (random[0], random[1]) = (0, 0);
            random[2] &= !THIRD;
            assert_eq!(NodeId::tied_to(ip, random), id);
            let others = VECTORS.iter().filter(|(_, _, other)| *other != text);
            for (_, _, other) in others {
                assert!(!self::id(other).is_tied_to(ip));
            }
        }
    }

    #[test]
    fn addresses_that_differ_where_it_does_not_count_are_one_identity() {
        let of = |ip: &str| id(VECTORS[0].2).identity(ip.parse().unwrap());
        assert_eq!(of("124.31.75.21"), of("4.15.75.21"));
        assert_ne!(of("124.31.75.21"), of("124.31.75.22"));
        assert_eq!(of("2001:db8::1"), of("2001:db8::2"));
        assert_eq!(of("::ffff:124.31.75.21"), of("124.31.75.21"));
    }

    proptest! {
        #[test]
        fn an_id_made_for_an_address_is_tied_to_it(ip: IpAddr, random: [u8; 20]) {
            let id = NodeId::tied_to(ip, random);
            prop_assert!(id.is_tied_to(ip));
            prop_assert_eq!(&id.0[3..], &random[3..]);
            let mut other = id;
            other.0[1] ^= 1;
            prop_assert!(!other.is_tied_to(ip));
        }
    }
}
