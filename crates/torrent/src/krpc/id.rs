//! Node ids, how near they are to each other, and a node's id with its address.

use std::fmt;
use std::net::SocketAddr;

use crate::tracker::compact;

/// Length of a packed IPv4 node, in bytes: id, address, port.
pub const NODE_V4_LEN: usize = 20 + compact::V4_LEN;

/// Length of a packed IPv6 node, in bytes (BEP 32).
pub const NODE_V6_LEN: usize = 20 + compact::V6_LEN;

/// A place in the DHT's space of 160 bits: that of a node, or of content (whose place is its info-hash).
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub [u8; 20]);

impl NodeId {
    /// How far two places are apart: their exclusive or, to be compared as a number, which arrays of bytes do.
    pub fn distance(&self, other: &NodeId) -> [u8; 20] {
        std::array::from_fn(|at| self.0[at] ^ other.0[at])
    }

    /// How many bits the two have in common at the front, up to 160.
    pub fn shared_bits(&self, other: &NodeId) -> u32 {
        let distance = self.distance(other);
        let same = distance.iter().take_while(|&&byte| byte == 0).count();
        same as u32 * 8 + distance.get(same).map_or(0, |byte| byte.leading_zeros())
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A node and where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeInfo {
    /// Its place in the space.
    pub id: NodeId,
    /// Its UDP address.
    pub addr: SocketAddr,
}

impl NodeInfo {
    /// Appends the packed form: [`NODE_V4_LEN`] or [`NODE_V6_LEN`] bytes.
    pub fn push(&self, out: &mut Vec<u8>) {
        out.extend(self.id.0);
        compact::push(out, self.addr);
    }

    /// Reads the packed form; its length says which kind it is.
    pub fn parse(bytes: &[u8]) -> Option<NodeInfo> {
        let (id, addr) = bytes.split_first_chunk::<20>()?;
        Some(NodeInfo {
            id: NodeId(*id),
            addr: compact::addr(addr)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_is_the_exclusive_or() {
        let mut a = NodeId([0; 20]);
        let b = NodeId([0; 20]);
        assert_eq!((a.distance(&b), a.shared_bits(&b)), ([0; 20], 160));
        a.0[1] = 0b0001_0000;
        assert_eq!(a.shared_bits(&b), 11);
        assert_eq!(a.distance(&b)[..2], [0, 0b0001_0000]);
        a.0[0] = 0x80;
        assert_eq!(a.shared_bits(&b), 0);
    }

    #[test]
    fn an_id_is_shown_in_hex() {
        assert_eq!(NodeId([0xa0; 20]).to_string(), "a0".repeat(20));
    }
}
