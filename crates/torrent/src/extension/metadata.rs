//! `ut_metadata`: the info dictionary, fetched from peers in pieces of 16 KiB (BEP 9).

use super::{ExtensionError, limits};
use crate::bencode::{self, Owned};

/// Length of every piece of metadata but the last, in bytes (BEP 9).
pub const METADATA_PIECE_LEN: usize = 16 * 1024;

/// Longest dictionary in front of a piece of metadata, in bytes; they are below fifty.
const MAX_HEADER_LEN: usize = 1024;

/// One message of the metadata extension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Metadata {
    /// Send me this piece.
    Request {
        /// Index of the piece.
        piece: u32,
    },
    /// Here it is.
    Data {
        /// Index of the piece.
        piece: u32,
        /// Length of the whole metadata, in bytes, as the sender has it.
        total_size: u32,
        /// The piece, at most [`METADATA_PIECE_LEN`] bytes.
        payload: Vec<u8>,
    },
    /// I will not send this piece, or do not have it.
    Reject {
        /// Index of the piece.
        piece: u32,
    },
}

impl Metadata {
    /// The payload of the extended message.
    pub fn encode(&self) -> Vec<u8> {
        let header = |kind: u8, piece: u32| {
            vec![
                ("msg_type", Owned::from(kind)),
                ("piece", Owned::from(piece)),
            ]
        };
        match self {
            Metadata::Request { piece } => Owned::dict(header(0, *piece)).encode(),
            Metadata::Data {
                piece,
                total_size,
                payload,
            } => {
                let mut dict = header(1, *piece);
                dict.push(("total_size", Owned::from(*total_size)));
                let mut out = Owned::dict(dict).encode();
                out.extend_from_slice(payload);
                out
            }
            Metadata::Reject { piece } => Owned::dict(header(2, *piece)).encode(),
        }
    }

    /// Reads the payload of an extended message. `None` is a message of a later invention, to be ignored (BEP 9).
    ///
    /// # Errors
    /// Not bencode, a number missing or out of range, or more than [`METADATA_PIECE_LEN`] bytes of payload.
    pub fn parse(message: &[u8]) -> Result<Option<Metadata>, ExtensionError> {
        let (root, used) =
            bencode::parse_prefix(message, limits(MAX_HEADER_LEN + METADATA_PIECE_LEN))?;
        let dict = root.as_dict().ok_or(ExtensionError::NotDict)?;
        let number = |key| {
            let value = dict.get(key).and_then(|value| value.as_uint());
            value
                .and_then(|value| u32::try_from(value).ok())
                .ok_or(ExtensionError::Missing(key))
        };
        let kind = number("msg_type")?;
        let piece = number("piece")?;
        Ok(match kind {
            0 => Some(Metadata::Request { piece }),
            1 => {
                let payload = &message[used..];
                if payload.is_empty() || payload.len() > METADATA_PIECE_LEN {
                    return Err(ExtensionError::Length(message.len()));
                }
                Some(Metadata::Data {
                    piece,
                    total_size: number("total_size")?,
                    payload: payload.to_vec(),
                })
            }
            2 => Some(Metadata::Reject { piece }),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_examples_of_bep_9_are_written_and_read() {
        let cases = [
            (
                Metadata::Request { piece: 0 },
                &b"d8:msg_typei0e5:piecei0ee"[..],
            ),
            (
                Metadata::Data {
                    piece: 0,
                    total_size: 34256,
                    payload: b"xxxxxxxx".into(),
                },
                b"d8:msg_typei1e5:piecei0e10:total_sizei34256eexxxxxxxx",
            ),
            (Metadata::Reject { piece: 0 }, b"d8:msg_typei2e5:piecei0ee"),
        ];
        for (message, bytes) in cases {
            assert_eq!(message.encode(), bytes);
            assert_eq!(Metadata::parse(bytes), Ok(Some(message)));
        }
    }

    #[test]
    fn a_total_size_in_a_request_or_reject_does_no_harm() {
        let message = b"d8:msg_typei0e5:piecei3e10:total_sizei9ee";
        assert_eq!(
            Metadata::parse(message),
            Ok(Some(Metadata::Request { piece: 3 }))
        );
    }

    #[test]
    fn a_message_of_a_later_invention_is_ignored() {
        assert_eq!(Metadata::parse(b"d8:msg_typei9e5:piecei0ee"), Ok(None));
    }

    #[test]
    fn nonsense_is_refused() {
        assert_eq!(
            Metadata::parse(b"d5:piecei0ee"),
            Err(ExtensionError::Missing("msg_type"))
        );
        assert_eq!(
            Metadata::parse(b"d8:msg_typei0e5:piecei-1ee"),
            Err(ExtensionError::Missing("piece"))
        );
        assert_eq!(
            Metadata::parse(b"d8:msg_typei1e5:piecei0eex"),
            Err(ExtensionError::Missing("total_size"))
        );
        assert_eq!(Metadata::parse(b"i1e"), Err(ExtensionError::NotDict));
        let mut long = b"d8:msg_typei1e5:piecei0e10:total_sizei99999ee".to_vec();
        assert_eq!(
            Metadata::parse(&long),
            Err(ExtensionError::Length(long.len()))
        );
        long.resize(long.len() + METADATA_PIECE_LEN, 7);
        assert!(
            matches!(Metadata::parse(&long), Ok(Some(Metadata::Data { payload, .. })) if payload.len() == 16384)
        );
        long.push(7);
        assert_eq!(
            Metadata::parse(&long),
            Err(ExtensionError::Length(long.len()))
        );
    }

    proptest! {
        #[test]
        fn every_piece_survives_the_wire(
            piece: u32,
            total_size: u32,
            payload in proptest::collection::vec(any::<u8>(), 1..300),
        ) {
            let data = Metadata::Data { piece, total_size, payload };
            prop_assert_eq!(Metadata::parse(&data.encode()), Ok(Some(data)));
        }
    }
}
