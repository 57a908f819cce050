//! One peer's stream, over TCP or uTP, plain or encrypted ([`crate::mse`]).

use std::io::{self, IoSlice, IoSliceMut};
use std::time::Duration;

use rc4::StreamCipher;
use tokio::net::TcpStream;

use crate::device::PREFACE;
use crate::mse::{Agreed, Answering, Ciphers, Methods, MseError, Noise, Opening, Progress};
use crate::utp;

/// A peer has so long for the encrypted handshake: three round trips over a very bad line.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Bytes encrypted ahead of the socket, at most.
const HELD: usize = 64 << 10;
/// Bytes read at once during the handshake.
const PART: usize = 2048;
/// How an unencrypted peer wire handshake begins: a length and a name.
const PLAIN: &[u8; 20] = b"\x13BitTorrent protocol";

/// Which streams are encrypted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encryption {
    /// Peers that are dialled are asked for it first, plainly if that fails; who dials us may choose.
    #[default]
    Prefer,
    /// All of them, and all payload.
    Require,
    /// None of them.
    Refuse,
}

/// What hides a stream from those it passes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cover {
    /// Nothing.
    #[default]
    Plain,
    /// The handshake was encrypted; nothing after it is.
    Handshake,
    /// All is encrypted.
    Rc4,
}

/// What carries a stream.
pub enum Wire {
    /// TCP.
    Tcp(TcpStream),
    /// uTP (BEP 29).
    Utp(utp::Stream),
}

impl Wire {
    fn try_read(&self, slices: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        match self {
            Wire::Tcp(tcp) => tcp.try_read_vectored(slices),
            Wire::Utp(utp) => utp.try_read_vectored(slices),
        }
    }

    fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Wire::Tcp(tcp) => tcp.try_write_vectored(slices),
            Wire::Utp(utp) => utp.try_write_vectored(slices),
        }
    }

    async fn readable(&self) -> io::Result<()> {
        match self {
            Wire::Tcp(tcp) => tcp.readable().await,
            Wire::Utp(utp) => {
                utp.readable().await;
                Ok(())
            }
        }
    }

    async fn writable(&self) -> io::Result<()> {
        match self {
            Wire::Tcp(tcp) => tcp.writable().await,
            Wire::Utp(utp) => {
                utp.writable().await;
                Ok(())
            }
        }
    }
}

/// Who dialled.
pub enum Answered {
    /// A peer.
    Peer(Stream),
    /// A device, with what came behind its preface.
    Device(TcpStream, Vec<u8>),
}

/// How a stream begins.
enum Begun {
    Plain(Vec<u8>),
    Agreed(Agreed),
    Device(Vec<u8>),
}

/// A stream of bytes to and from one peer. Reading and writing do not block.
pub struct Stream {
    wire: Wire,
    /// Received before the stream was handed over.
    early: Vec<u8>,
    /// Of these taken.
    taken: usize,
    ciphers: Option<Box<Ciphers>>,
    cover: Cover,
    /// Encrypted and not sent yet.
    held: Vec<u8>,
    /// Of these sent.
    sent: usize,
}

impl Encryption {
    /// What is offered to who is dialled; `None`: a plain stream.
    pub fn offer(self) -> Option<Methods> {
        match self {
            Encryption::Prefer => Some(Methods::BOTH),
            Encryption::Require => Some(Methods::RC4),
            Encryption::Refuse => None,
        }
    }
}

impl Stream {
    /// A stream that is not encrypted.
    pub fn plain(wire: Wire) -> Stream {
        Stream {
            wire,
            early: Vec::new(),
            taken: 0,
            ciphers: None,
            cover: Cover::Plain,
            held: Vec::new(),
            sent: 0,
        }
    }

    fn agreed(wire: Wire, agreed: Agreed) -> Stream {
        Stream {
            cover: match agreed.ciphers {
                Some(_) => Cover::Rc4,
                None => Cover::Handshake,
            },
            early: agreed.early,
            ciphers: agreed.ciphers,
            held: agreed.send,
            ..Stream::plain(wire)
        }
    }

    /// What hides it.
    pub fn cover(&self) -> Cover {
        self.cover
    }

    /// What carries it.
    pub fn wire(&self) -> &Wire {
        &self.wire
    }

    /// Encrypts a stream that was dialled. `initial` is sent as part of it.
    ///
    /// # Errors
    /// The peer does not speak the encrypted handshake, or says nothing for ten seconds.
    pub async fn open(
        wire: Wire,
        info_hash: [u8; 20],
        offer: Methods,
        initial: Vec<u8>,
        noise: &Noise,
    ) -> io::Result<Stream> {
        let (mut opening, first) = Opening::new(info_hash, offer, initial, noise);
        let talk = async {
            send(&wire, &first).await?;
            let mut part = [0; PART];
            loop {
                let n = receive(&wire, &mut part).await?;
                match opening.receive(&part[..n]).map_err(invalid)? {
                    Progress::More(bytes) => send(&wire, &bytes).await?,
                    Progress::Done(agreed) => return Ok(agreed),
                }
            }
        };
        let agreed = in_time(talk).await?;
        Ok(Stream::agreed(wire, agreed))
    }

    /// Takes a stream of a peer that dialled: plain or encrypted, as it begins and as is allowed.
    /// `torrents` names the info-hashes that are here.
    ///
    /// # Errors
    /// The peer's way is not allowed, it speaks neither way, or says nothing for ten seconds.
    pub async fn accept<I: IntoIterator<Item = [u8; 20]>>(
        wire: Wire,
        encryption: Encryption,
        noise: impl FnOnce() -> io::Result<Noise>,
        torrents: impl Fn() -> I,
    ) -> io::Result<Stream> {
        match Stream::answer(wire, encryption, noise, torrents, |_| false).await? {
            Answered::Peer(stream) => Ok(stream),
            Answered::Device(..) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// As [`accept`](Self::accept), at a port where [devices](crate::device) dial as well: `admits` tells by the first
    /// bytes whether one does ([`Doorman::admits`](crate::device::Doorman::admits)). Whoever is not admitted meets
    /// what is there without devices: as many bytes are waited for in either case.
    ///
    /// # Errors
    /// As those of `accept`.
    pub async fn answer<I: IntoIterator<Item = [u8; 20]>>(
        wire: Wire,
        encryption: Encryption,
        noise: impl FnOnce() -> io::Result<Noise>,
        torrents: impl Fn() -> I,
        admits: impl FnOnce(&[u8; PREFACE]) -> bool,
    ) -> io::Result<Answered> {
        let talk = async {
            let mut first = Vec::with_capacity(PART);
            let mut part = [0; PART];
            while first.len() < PLAIN.len() && PLAIN.starts_with(&first) {
                let n = receive(&wire, &mut part).await?;
                first.extend_from_slice(&part[..n]);
            }
            if first.starts_with(PLAIN) {
                return match encryption {
                    Encryption::Require => Err(invalid(MseError::NoMethod)),
                    _ => Ok(Begun::Plain(first)),
                };
            }
            while first.len() < PREFACE {
                let n = receive(&wire, &mut part).await?;
                first.extend_from_slice(&part[..n]);
            }
            if let (Wire::Tcp(_), Some(preface)) = (&wire, first.first_chunk())
                && admits(preface)
            {
                return Ok(Begun::Device(first.split_off(PREFACE)));
            }
            let allowed = encryption.offer();
            let allowed = allowed.ok_or_else(|| invalid(MseError::NoMethod))?;
            let mut answering = Answering::new(allowed, noise()?);
            loop {
                match answering.receive(&first, &torrents).map_err(invalid)? {
                    Progress::More(bytes) => send(&wire, &bytes).await?,
                    Progress::Done(agreed) => return Ok(Begun::Agreed(agreed)),
                }
                let n = receive(&wire, &mut part).await?;
                first.clear();
                first.extend_from_slice(&part[..n]);
            }
        };
        let stream = match (in_time(talk).await?, wire) {
            (Begun::Device(early), Wire::Tcp(tcp)) => return Ok(Answered::Device(tcp, early)),
            (Begun::Agreed(agreed), wire) => Stream::agreed(wire, agreed),
            (Begun::Plain(early) | Begun::Device(early), wire) => Stream {
                early,
                ..Stream::plain(wire)
            },
        };
        Ok(Answered::Peer(stream))
    }

    /// Reads once, into these slices one after the other.
    ///
    /// # Errors
    /// Those of the socket, `WouldBlock` among them.
    pub fn read(&mut self, slices: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        if self.taken < self.early.len() {
            return Ok(self.read_early(slices));
        }
        let n = self.wire.try_read(slices)?;
        if let Some(ciphers) = &mut self.ciphers {
            let mut left = n;
            for slice in slices {
                let len = slice.len().min(left);
                ciphers.receive.apply_keystream(&mut slice[..len]);
                left -= len;
            }
        }
        Ok(n)
    }

    fn read_early(&mut self, slices: &mut [IoSliceMut<'_>]) -> usize {
        let before = self.taken;
        for slice in slices {
            let part = &self.early[self.taken..];
            let len = part.len().min(slice.len());
            slice[..len].copy_from_slice(&part[..len]);
            self.taken += len;
        }
        let n = self.taken - before;
        if self.taken == self.early.len() {
            self.early = Vec::new();
            self.taken = 0;
        }
        n
    }

    /// Writes once. What is taken and not sent is sent by the next [`flush`](Self::flush).
    ///
    /// # Errors
    /// Those of the socket, `WouldBlock` among them: nothing was taken then.
    pub fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.flush()?;
        let Some(ciphers) = &mut self.ciphers else {
            return self.wire.try_write(slices);
        };
        for slice in slices {
            let len = slice.len().min(HELD - self.held.len());
            self.held.extend_from_slice(&slice[..len]);
        }
        ciphers.send.apply_keystream(&mut self.held);
        let taken = self.held.len();
        match self.flush() {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ => Ok(taken),
        }
    }

    /// Sends what was taken earlier.
    ///
    /// # Errors
    /// Those of the socket, `WouldBlock` among them.
    pub fn flush(&mut self) -> io::Result<()> {
        while self.sent < self.held.len() {
            self.sent += self
                .wire
                .try_write(&[IoSlice::new(&self.held[self.sent..])])?;
        }
        // Of thousands of connections few send at a moment: the others hold nothing.
        self.held = Vec::new();
        self.sent = 0;
        Ok(())
    }

    /// Nothing that was taken waits to be sent.
    pub fn is_flushed(&self) -> bool {
        self.held.is_empty()
    }

    /// Waits until there may be something to read.
    ///
    /// # Errors
    /// Those of the socket.
    pub async fn readable(&self) -> io::Result<()> {
        match self.early.is_empty() {
            true => self.wire.readable().await,
            false => Ok(()),
        }
    }

    /// Waits until something can be sent.
    ///
    /// # Errors
    /// Those of the socket.
    pub async fn writable(&self) -> io::Result<()> {
        self.wire.writable().await
    }
}

async fn in_time<T>(talk: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let late = |_| io::Error::from(io::ErrorKind::TimedOut);
    tokio::time::timeout(HANDSHAKE, talk).await.map_err(late)?
}

async fn send(wire: &Wire, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        wire.writable().await?;
        match wire.try_write(&[IoSlice::new(bytes)]) {
            Ok(n) => bytes = &bytes[n..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

async fn receive(wire: &Wire, part: &mut [u8]) -> io::Result<usize> {
    loop {
        wire.readable().await?;
        match wire.try_read(&mut [IoSliceMut::new(part)]) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            done => return done,
        }
    }
}

fn invalid(error: MseError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
