//! `ut_holepunch`: a peer connected to two others has them dial each other at the same moment (BEP 55).
//!
//! Who may ask whom, and how often, is the engine's to decide.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::ExtensionError;

/// Bytes of the longest message: kind, family, an IPv6 address, port, error.
pub const MAX_HOLEPUNCH_LEN: usize = 1 + 1 + 16 + 2 + 4;

/// Why a relay cannot help (BEP 55, "err_code").
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PunchError {
    /// The address cannot be a peer's.
    NoSuchPeer,
    /// The relay is not connected to that peer.
    NotConnected,
    /// That peer does not take these messages.
    NoSupport,
    /// The address is the relay's own.
    NoSelf,
    /// A number that BEP 55 does not list.
    Other(u32),
}

impl PunchError {
    fn number(self) -> u32 {
        match self {
            PunchError::NoSuchPeer => 1,
            PunchError::NotConnected => 2,
            PunchError::NoSupport => 3,
            PunchError::NoSelf => 4,
            PunchError::Other(number) => number,
        }
    }

    fn of(number: u32) -> PunchError {
        match number {
            1 => PunchError::NoSuchPeer,
            2 => PunchError::NotConnected,
            3 => PunchError::NoSupport,
            4 => PunchError::NoSelf,
            other => PunchError::Other(other),
        }
    }
}

/// One message of the hole-punching extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holepunch {
    /// To a relay: have me and the peer at this address dial each other.
    Rendezvous(SocketAddr),
    /// From a relay: dial this address over uTP now; it does the same.
    Connect(SocketAddr),
    /// From a relay: nothing comes of the rendezvous with this address.
    Error(SocketAddr, PunchError),
}

impl Holepunch {
    /// The payload of the extended message.
    pub fn encode(self) -> Vec<u8> {
        let (kind, addr, error) = match self {
            Holepunch::Rendezvous(addr) => (0, addr, 0),
            Holepunch::Connect(addr) => (1, addr, 0),
            Holepunch::Error(addr, error) => (2, addr, error.number()),
        };
        let mut out = Vec::with_capacity(MAX_HOLEPUNCH_LEN);
        match addr.ip() {
            IpAddr::V4(ip) => {
                out.extend([kind, 0]);
                out.extend(ip.octets());
            }
            IpAddr::V6(ip) => {
                out.extend([kind, 1]);
                out.extend(ip.octets());
            }
        }
        out.extend(addr.port().to_be_bytes());
        out.extend(u32::to_be_bytes(error));
        out
    }

    /// Reads the payload of an extended message. `None` is a message of a later invention, to be ignored. The error may
    /// be left out of messages that report none; what follows is ignored.
    ///
    /// # Errors
    /// Too short for what it says it is.
    pub fn parse(payload: &[u8]) -> Result<Option<Holepunch>, ExtensionError> {
        let short = || ExtensionError::Length(payload.len());
        let (&[kind, family], rest) = payload.split_first_chunk().ok_or_else(short)?;
        let (ip, rest): (IpAddr, _) = match family {
            0 => {
                let (ip, rest) = rest.split_first_chunk::<4>().ok_or_else(short)?;
                (Ipv4Addr::from(*ip).into(), rest)
            }
            1 => {
                let (ip, rest) = rest.split_first_chunk::<16>().ok_or_else(short)?;
                (Ipv6Addr::from(*ip).into(), rest)
            }
            _ => return Ok(None),
        };
        let (port, rest) = rest.split_first_chunk().ok_or_else(short)?;
        let addr = SocketAddr::new(ip, u16::from_be_bytes(*port));
        Ok(match kind {
            0 => Some(Holepunch::Rendezvous(addr)),
            1 => Some(Holepunch::Connect(addr)),
            2 => {
                let (error, _) = rest.split_first_chunk().ok_or_else(short)?;
                let error = PunchError::of(u32::from_be_bytes(*error));
                Some(Holepunch::Error(addr, error))
            }
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn messages_are_laid_out_as_bep_55_says() {
        let rendezvous = Holepunch::Rendezvous(addr("1.2.3.4:258"));
        assert_eq!(
            rendezvous.encode(),
            [0, 0, 1, 2, 3, 4, 1, 2, 0, 0, 0, 0],
            "kind, family, address, port, no error"
        );
        let connect = Holepunch::Connect(addr("[2001:db8::5]:6881"));
        let expected =
            b"\x01\x01\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x05\x1a\xe1\0\0\0\0".as_slice();
        assert_eq!(connect.encode(), expected);
        let error = Holepunch::Error(addr("1.2.3.4:258"), PunchError::NoSupport);
        assert_eq!(error.encode(), [2, 0, 1, 2, 3, 4, 1, 2, 0, 0, 0, 3]);
        for message in [rendezvous, connect, error] {
            assert_eq!(Holepunch::parse(&message.encode()), Ok(Some(message)));
        }
    }

    #[test]
    fn a_missing_error_matters_only_where_there_is_one() {
        let connect = [1, 0, 1, 2, 3, 4, 1, 2];
        let expected = Holepunch::Connect(addr("1.2.3.4:258"));
        assert_eq!(Holepunch::parse(&connect), Ok(Some(expected)));
        let error = [2, 0, 1, 2, 3, 4, 1, 2];
        assert_eq!(Holepunch::parse(&error), Err(ExtensionError::Length(8)));
        assert_eq!(Holepunch::parse(&[]), Err(ExtensionError::Length(0)));
        assert_eq!(Holepunch::parse(&[0, 1, 9]), Err(ExtensionError::Length(3)));
        assert_eq!(Holepunch::parse(&[9, 0, 1, 2, 3, 4, 1, 2]), Ok(None));
        assert_eq!(Holepunch::parse(&[0, 7, 1, 2, 3, 4, 1, 2]), Ok(None));
    }

    proptest! {
        #[test]
        fn every_message_survives_the_wire(
            kind in 0..3, ip: IpAddr, port: u16, error: u32,
        ) {
            let addr = SocketAddr::new(ip, port);
            let message = match kind {
                0 => Holepunch::Rendezvous(addr),
                1 => Holepunch::Connect(addr),
                _ => Holepunch::Error(addr, PunchError::of(error)),
            };
            prop_assert_eq!(Holepunch::parse(&message.encode()), Ok(Some(message)));
            prop_assert!(message.encode().len() <= MAX_HOLEPUNCH_LEN);
        }
    }
}
