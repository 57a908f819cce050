//! Frames, taken off a stream of bytes however it is cut.

use bytes::Bytes;

use super::{MuxError, StreamId};

/// Bytes of a header: kind (1), length (3), stream (4), the numbers with the highest byte first.
pub const HEADER: usize = 8;
/// Most payload of a data frame.
const DATA: u32 = 64 << 10;
/// Most bytes of the text in a close frame.
pub const TEXT: usize = 256;

/// What a frame says. The number is its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Open = 0,
    Data = 1,
    Fin = 2,
    Reset = 3,
    Stop = 4,
    Window = 5,
    Ping = 6,
    Pong = 7,
    Close = 8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub kind: Kind,
    len: u32,
    pub stream: StreamId,
}

impl Header {
    /// `len` is that of a frame we make: it fits.
    pub fn new(kind: Kind, len: usize, stream: StreamId) -> Header {
        Header {
            kind,
            len: len as u32,
            stream,
        }
    }

    pub fn encode(self) -> Bytes {
        let mut bytes = [0; HEADER];
        bytes[..4].copy_from_slice(&self.len.to_be_bytes());
        bytes[0] = self.kind as u8;
        bytes[4..].copy_from_slice(&self.stream.to_be_bytes());
        Bytes::copy_from_slice(&bytes)
    }

    fn decode([kind, a, b, c, stream @ ..]: [u8; HEADER]) -> Result<Header, MuxError> {
        let (len, stream) = (u32::from_be_bytes([0, a, b, c]), u32::from_be_bytes(stream));
        let (known, fits) = match kind {
            0 => (Kind::Open, len == 0),
            1 => (Kind::Data, (1..=DATA).contains(&len)),
            2 => (Kind::Fin, len == 0),
            3 => (Kind::Reset, len == 4),
            4 => (Kind::Stop, len == 4),
            5 => (Kind::Window, len == 4),
            6 => (Kind::Ping, len == 8),
            7 => (Kind::Pong, len == 8),
            8 => (Kind::Close, (4..=4 + TEXT as u32).contains(&len)),
            other => return Err(MuxError::Kind(other)),
        };
        // The last three are about the connection; a window is about either.
        let connection = matches!(known, Kind::Ping | Kind::Pong | Kind::Close);
        if !fits {
            Err(MuxError::Length(kind, len))
        } else if known != Kind::Window && connection != (stream == 0) {
            Err(MuxError::Stream(stream))
        } else {
            Ok(Header {
                kind: known,
                len,
                stream,
            })
        }
    }
}

/// The frame that is arriving.
#[derive(Default)]
pub struct Frame {
    /// What has come of the header, or of a short payload.
    head: Vec<u8>,
    /// The header, once it is there, and how much payload is still to come.
    current: Option<(Header, usize)>,
}

impl Frame {
    /// The header, once it is complete.
    pub fn header(&mut self, bytes: &mut &[u8]) -> Result<Option<Header>, MuxError> {
        if let Some((header, _)) = self.current {
            return Ok(Some(header));
        }
        self.fill(HEADER, bytes);
        let Ok(header) = <[u8; HEADER]>::try_from(&self.head[..]) else {
            return Ok(None);
        };
        self.head.clear();
        let header = Header::decode(header)?;
        self.current = Some((header, header.len as usize));
        Ok(Some(header))
    }

    /// What is there of the payload of a data frame.
    pub fn part<'b>(&mut self, bytes: &mut &'b [u8]) -> &'b [u8] {
        let Some((_, left)) = &mut self.current else {
            return &[];
        };
        let (part, rest) = bytes.split_at(bytes.len().min(*left));
        *bytes = rest;
        *left -= part.len();
        if *left == 0 {
            self.current = None;
        }
        part
    }

    /// A frame of any other kind, once its payload is complete.
    pub fn payload(&mut self, bytes: &mut &[u8]) -> Option<(Header, Vec<u8>)> {
        let (header, len) = self.current?;
        self.fill(len, bytes);
        (self.head.len() == len).then(|| {
            self.current = None;
            (header, std::mem::take(&mut self.head))
        })
    }

    fn fill(&mut self, len: usize, bytes: &mut &[u8]) {
        let missing = (len - self.head.len()).min(bytes.len());
        let (part, rest) = bytes.split_at(missing);
        self.head.extend_from_slice(part);
        *bytes = rest;
    }
}
