//! The first 68 bytes either side sends (BEP 3), and what their reserved bits announce.

use super::WireError;

/// The name that opens every handshake, after a byte with its length.
pub const PROTOCOL: &[u8; 19] = b"BitTorrent protocol";

/// Length of a handshake, in bytes.
pub const HANDSHAKE_LEN: usize = 68;

/// What a peer says first: which content it means, and who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handshake {
    /// Extensions the peer supports.
    pub reserved: Reserved,
    /// SHA-1 info-hash, or the first 20 bytes of the SHA-256 one (BEP 52).
    pub info_hash: [u8; 20],
    /// The peer's name for itself.
    pub peer_id: [u8; 20],
}

impl Handshake {
    /// The handshake as it goes over the wire.
    pub fn encode(&self) -> [u8; HANDSHAKE_LEN] {
        let mut out = [0; HANDSHAKE_LEN];
        out[0] = 19;
        out[1..20].copy_from_slice(PROTOCOL);
        out[20..28].copy_from_slice(&self.reserved.0);
        out[28..48].copy_from_slice(&self.info_hash);
        out[48..].copy_from_slice(&self.peer_id);
        out
    }

    /// Reads a handshake.
    ///
    /// # Errors
    /// [`WireError::NotBitTorrent`] if it does not open with the protocol's name.
    pub fn decode(bytes: &[u8; HANDSHAKE_LEN]) -> Result<Handshake, WireError> {
        if bytes[0] != 19 || bytes[1..20] != PROTOCOL[..] {
            return Err(WireError::NotBitTorrent);
        }
        let mut handshake = Handshake {
            reserved: Reserved([0; 8]),
            info_hash: [0; 20],
            peer_id: [0; 20],
        };
        handshake.reserved.0.copy_from_slice(&bytes[20..28]);
        handshake.info_hash.copy_from_slice(&bytes[28..48]);
        handshake.peer_id.copy_from_slice(&bytes[48..]);
        Ok(handshake)
    }
}

/// The eight reserved bytes of a handshake: one bit for each extension a peer supports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reserved(pub [u8; 8]);

impl Reserved {
    const DHT: (usize, u8) = (7, 0x01);
    const FAST: (usize, u8) = (7, 0x04);
    const V2: (usize, u8) = (7, 0x10);
    const EXTENDED: (usize, u8) = (5, 0x10);

    /// Runs a DHT node and takes `port` messages (BEP 5).
    pub const fn dht(self) -> bool {
        self.has(Self::DHT)
    }

    /// Speaks the fast extension (BEP 6); it holds if both sides say so.
    pub const fn fast(self) -> bool {
        self.has(Self::FAST)
    }

    /// Takes extended messages (BEP 10).
    pub const fn extended(self) -> bool {
        self.has(Self::EXTENDED)
    }

    /// Knows the hybrid torrent's v2 form too, and may be answered with its v2 info-hash (BEP 52, "Upgrade Path").
    pub const fn v2(self) -> bool {
        self.has(Self::V2)
    }

    /// The same with the DHT bit set.
    pub const fn with_dht(self) -> Reserved {
        self.with(Self::DHT)
    }

    /// The same with the fast extension's bit set.
    pub const fn with_fast(self) -> Reserved {
        self.with(Self::FAST)
    }

    /// The same with the extension protocol's bit set.
    pub const fn with_extended(self) -> Reserved {
        self.with(Self::EXTENDED)
    }

    /// The same with the v2 bit set.
    pub const fn with_v2(self) -> Reserved {
        self.with(Self::V2)
    }

    const fn has(self, (byte, bit): (usize, u8)) -> bool {
        self.0[byte] & bit != 0
    }

    const fn with(mut self, (byte, bit): (usize, u8)) -> Reserved {
        self.0[byte] |= bit;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handshake_is_laid_out_as_bep_3_says() {
        let handshake = Handshake {
            reserved: Reserved::default().with_extended().with_fast(),
            info_hash: *b"aaaaaaaaaaaaaaaaaaaa",
            peer_id: *b"-ST0100-abcdefghijkl",
        };
        let bytes = handshake.encode();
        assert_eq!(
            bytes.as_slice(),
            b"\x13BitTorrent protocol\0\0\0\0\0\x10\0\x04aaaaaaaaaaaaaaaaaaaa-ST0100-abcdefghijkl"
        );
        assert_eq!(Handshake::decode(&bytes), Ok(handshake));
    }

    #[test]
    fn another_protocol_is_refused() {
        let mut bytes = [b'x'; HANDSHAKE_LEN];
        assert_eq!(Handshake::decode(&bytes), Err(WireError::NotBitTorrent));
        bytes[..20].copy_from_slice(b"\x13BitTorrent protocoL");
        assert_eq!(Handshake::decode(&bytes), Err(WireError::NotBitTorrent));
        bytes[..20].copy_from_slice(b"\x12BitTorrent protocol");
        assert_eq!(Handshake::decode(&bytes), Err(WireError::NotBitTorrent));
    }

    #[test]
    fn each_reserved_bit_is_where_its_bep_puts_it() {
        let none = Reserved::default();
        assert!(!none.dht() && !none.fast() && !none.extended() && !none.v2());
        assert_eq!(none.with_dht().0, [0, 0, 0, 0, 0, 0, 0, 0x01]);
        assert_eq!(none.with_fast().0, [0, 0, 0, 0, 0, 0, 0, 0x04]);
        assert_eq!(none.with_extended().0, [0, 0, 0, 0, 0, 0x10, 0, 0]);
        assert_eq!(none.with_v2().0, [0, 0, 0, 0, 0, 0, 0, 0x10]);
        let all = none.with_dht().with_fast().with_extended().with_v2();
        assert!(all.dht() && all.fast() && all.extended() && all.v2());
    }
}
