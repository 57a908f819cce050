//! How uTP packets look (BEP 29, "header format").
//!
//! ```text
//!  0       4       8               16              24              32
//! | type  | ver   | extension     | connection id                 |
//! | timestamp, µs                                                 |
//! | difference of timestamps, µs                                  |
//! | window, bytes                                                 |
//! | sequence number               | acknowledged number           |
//! ```

/// Length of a header without extensions, in bytes.
pub const HEADER: usize = 20;
/// The version of the protocol.
const VERSION: u8 = 1;
/// The extension that acknowledges single packets.
const SELECTIVE: u8 = 1;
/// Most bytes of a selective acknowledgement that are looked at: 1,024 packets beyond a gap.
pub const SELECTIVE_MAX: usize = 128;

/// What a packet is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Carries payload.
    Data = 0,
    /// The sender sends nothing after it.
    Fin = 1,
    /// Only acknowledges.
    State = 2,
    /// There is no such connection.
    Reset = 3,
    /// Begins a connection.
    Syn = 4,
}

/// The fields of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the packet is for.
    pub kind: Kind,
    /// The receiver's number of the connection; the sender's own in a SYN.
    pub conn_id: u16,
    /// The sender's clock when it was sent, in µs.
    pub sent_at: u32,
    /// How long the last packet from the other side was under way by both clocks, in µs.
    pub under_way: u32,
    /// Bytes the sender takes beyond what it has acknowledged.
    pub window: u32,
    /// The packet's place in order.
    pub seq: u16,
    /// The last packet up to which everything has come.
    pub ack: u16,
}

/// A packet, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Its header.
    pub header: Header,
    /// Packets that have come beyond a gap, a bit each, the lowest bit of the first byte for `ack + 2`.
    pub selective: &'a [u8],
    /// What it carries.
    pub payload: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Takes a datagram apart; `None`: it is no uTP packet.
    pub fn parse(bytes: &'a [u8]) -> Option<Packet<'a>> {
        let (head, mut rest) = bytes.split_first_chunk::<HEADER>()?;
        let kind = match (head[0] >> 4, head[0] & 0x0f) {
            (0, VERSION) => Kind::Data,
            (1, VERSION) => Kind::Fin,
            (2, VERSION) => Kind::State,
            (3, VERSION) => Kind::Reset,
            (4, VERSION) => Kind::Syn,
            _ => return None,
        };
        let short = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
        let long = |at: usize| u32::from(short(at)) << 16 | u32::from(short(at + 2));
        let header = Header {
            kind,
            conn_id: short(2),
            sent_at: long(4),
            under_way: long(8),
            window: long(12),
            seq: short(16),
            ack: short(18),
        };
        let (mut extension, mut selective) = (head[1], &[][..]);
        while extension != 0 {
            let (&[next, len], after) = rest.split_first_chunk::<2>()?;
            let (body, after) = after.split_at_checked(usize::from(len))?;
            if extension == SELECTIVE {
                selective = &body[..body.len().min(SELECTIVE_MAX)];
            }
            (extension, rest) = (next, after);
        }
        Some(Packet {
            header,
            selective,
            payload: rest,
        })
    }
}

impl Header {
    /// Writes the header, and the selective acknowledgement if there is one.
    pub fn write(&self, selective: &[u8], out: &mut Vec<u8>) {
        let extension = if selective.is_empty() { 0 } else { SELECTIVE };
        out.extend_from_slice(&[(self.kind as u8) << 4 | VERSION, extension]);
        out.extend_from_slice(&self.conn_id.to_be_bytes());
        for field in [self.sent_at, self.under_way, self.window] {
            out.extend_from_slice(&field.to_be_bytes());
        }
        out.extend_from_slice(&self.seq.to_be_bytes());
        out.extend_from_slice(&self.ack.to_be_bytes());
        if !selective.is_empty() {
            out.extend_from_slice(&[0, selective.len() as u8]);
            out.extend_from_slice(selective);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let header = Header {
            kind: Kind::State,
            conn_id: 0x1234,
            sent_at: 0x0102_0304,
            under_way: u32::MAX,
            window: 1 << 20,
            seq: 65_535,
            ack: 7,
        };
        for selective in [&[][..], &[1, 2, 3, 4]] {
            let mut bytes = Vec::new();
            header.write(selective, &mut bytes);
            bytes.extend_from_slice(b"payload");
            let packet = Packet::parse(&bytes).unwrap();
            assert_eq!((packet.header, packet.selective), (header, selective));
            assert_eq!(packet.payload, b"payload");
        }
    }

    #[test]
    fn extensions_that_are_not_known_are_passed_over() {
        let mut bytes = Vec::new();
        let header = Header {
            kind: Kind::Data,
            conn_id: 1,
            sent_at: 0,
            under_way: 0,
            window: 0,
            seq: 0,
            ack: 0,
        };
        header.write(&[], &mut bytes);
        bytes[1] = 9;
        bytes.extend_from_slice(&[0, 2, 5, 5, b'x']);
        assert_eq!(Packet::parse(&bytes).unwrap().payload, b"x");
    }

    #[test]
    fn fuzz_utp_packet() {
        bolero::check!().for_each(|bytes: &[u8]| {
            if let Some(packet) = Packet::parse(bytes) {
                assert!(packet.payload.len() + HEADER <= bytes.len());
                assert!(packet.selective.len() <= SELECTIVE_MAX);
            }
        });
        // A DHT message on the same port.
        assert_eq!(Packet::parse(b"d1:ad2:id20:abcdefghij0123456789e"), None);
    }
}
