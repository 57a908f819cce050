//! Between the socket and the streams: the handshake, and the task that moves bytes after it.

use std::io::{self, BufRead, IoSlice, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use rustls::Connection as Tls;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Connection, Shared};
use crate::device::{Closed, code, tls};

/// Bytes of payload encrypted and written at once.
const BATCH: usize = 256 << 10;
/// Bytes read at once from a busy connection.
const READ: usize = 256 << 10;
/// Bytes read at once from one that was quiet; a connection that rests has no buffer at all.
const READ_FIRST: usize = 16 << 10;
/// Bytes taken from one connection before other tasks get their turn.
const YIELD: usize = 1 << 20;
/// How often each side asks whether the other is there.
const PING: Duration = Duration::from_secs(5);
/// So many times without a word, and it is not.
const SILENT: u32 = 3;
/// How long the last words may take.
const FAREWELL: Duration = Duration::from_secs(2);
/// Calls to write that may be gathered into one.
const SLICES: usize = 1024;

/// The handshake. Who dialled waits for the first word of the other side: only then has that side agreed.
pub async fn shake(
    tcp: TcpStream,
    mut tls: Tls,
    first: &[u8],
    mut input: BytesMut,
) -> io::Result<Connection> {
    let mut out = first.to_vec();
    let dialled = matches!(tls, Tls::Client(_));
    tls.set_buffer_limit(None);
    let mut agreed = false;
    loop {
        while tls.wants_write() {
            tls.write_tls(&mut out)?;
        }
        send(&tcp, &out).await?;
        out.clear();
        if agreed {
            break;
        }
        if input.is_empty() {
            tcp.readable().await?;
            input.reserve(READ_FIRST);
            match tcp.try_read_buf(&mut input) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                _ => continue,
            }
        }
        let taken = tls.read_tls(&mut &input[..])?;
        input.advance(taken);
        match tls.process_new_packets() {
            Ok(now) => {
                let word = !dialled || now.plaintext_bytes_to_read() > 0;
                agreed = !tls.is_handshaking() && word;
            }
            Err(error) => {
                // The other side may be told why.
                let _ = tls.write_tls(&mut out);
                let _ = send(&tcp, &out).await;
                return Err(invalid(error));
            }
        }
    }
    let connection = Connection {
        peer: tls::peer(&tls)?,
        address: tcp.peer_addr()?,
        shared: Arc::new(Shared::new(tls, dialled)),
    };
    tokio::spawn(run(connection.shared.clone(), tcp, input));
    Ok(connection)
}

async fn send(tcp: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        tcp.writable().await?;
        match tcp.try_write(bytes) {
            Ok(n) => bytes = &bytes[n..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

pub fn invalid(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// Moves bytes until either side ends it.
async fn run(shared: Arc<Shared>, tcp: TcpStream, input: BytesMut) {
    let mut pump = Pump {
        shared: shared.clone(),
        tcp,
        input,
        size: READ_FIRST,
        heard: true,
        writing: false,
        batch: Vec::new(),
    };
    let end = match pump.run().await {
        Err(end) => end,
        Ok(()) => Closed::Here,
    };
    shared.end(end);
    let _ = tokio::time::timeout(FAREWELL, pump.farewell()).await;
}

struct Pump {
    shared: Arc<Shared>,
    tcp: TcpStream,
    /// Read and not yet decrypted.
    input: BytesMut,
    /// Bytes asked for at once.
    size: usize,
    /// Something came since the last time it was asked.
    heard: bool,
    /// Something waits until the socket takes it.
    writing: bool,
    batch: Vec<Bytes>,
}

impl Pump {
    async fn run(&mut self) -> Result<(), Closed> {
        let began = Instant::now();
        let mut ticks = tokio::time::interval(PING);
        let mut silent = 0;
        loop {
            let busy = self.receive(began)?;
            let busy = self.transmit()? || busy;
            if self.shared.state().closed.is_some() {
                return Ok(());
            }
            if busy {
                tokio::task::yield_now().await;
                continue;
            }
            self.input = BytesMut::new();
            tokio::select! {
                () = self.shared.work.notified() => {}
                ready = self.tcp.readable() => ready.map_err(broken)?,
                ready = self.tcp.writable(), if self.writing => ready.map_err(broken)?,
                _ = ticks.tick() => {
                    silent = if std::mem::take(&mut self.heard) { 0 } else { silent + 1 };
                    if silent >= SILENT {
                        return Err(Closed::Silent);
                    }
                    let now = began.elapsed().as_micros() as u64;
                    self.shared.state().mux.ping(now);
                }
            }
        }
    }

    /// Takes what came; true if there may be more.
    fn receive(&mut self, began: Instant) -> Result<bool, Closed> {
        let mut taken = 0;
        let shared = self.shared.clone();
        let mut tls = shared.tls();
        loop {
            self.deliver(&mut tls, began)?;
            if !self.input.is_empty() {
                let len = tls.read_tls(&mut &self.input[..]).map_err(broken)?;
                self.input.advance(len);
                tls.process_new_packets().map_err(broken)?;
                continue;
            }
            if taken > YIELD {
                return Ok(true);
            }
            self.input.clear();
            self.input.reserve(self.size);
            match self.tcp.try_read_buf(&mut self.input) {
                Ok(0) => return Err(Closed::Broken("it was cut".to_owned())),
                Ok(len) => {
                    self.heard = true;
                    taken += len;
                    self.size = if len >= self.size { READ } else { self.size };
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if taken == 0 {
                        self.size = READ_FIRST;
                    }
                    return Ok(false);
                }
                Err(error) => return Err(broken(error)),
            }
        }
    }

    /// Gives what is decrypted to the streams.
    fn deliver(&self, tls: &mut Tls, began: Instant) -> Result<(), Closed> {
        let mut reader = tls.reader();
        loop {
            let part = match reader.fill_buf() {
                Ok([]) => return Err(Closed::Broken("it ended".to_owned())),
                Ok(part) => part,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(broken(error)),
            };
            let mut state = self.shared.state();
            let received = state.mux.receive(part);
            let ended = state.dispatch(began);
            if let Err(error) = received {
                state.mux.close(code::RULES, &error.to_string());
                return Err(broken(error));
            }
            if let Some(closed) = ended {
                return Err(closed);
            }
            drop(state);
            let len = part.len();
            reader.consume(len);
        }
    }

    /// Sends what the socket takes; true if there is more and others should have a turn.
    fn transmit(&mut self) -> Result<bool, Closed> {
        let mut sent = 0;
        let shared = self.shared.clone();
        let mut tls = shared.tls();
        loop {
            while tls.wants_write() {
                match tls.write_tls(&mut Socket(&self.tcp)) {
                    Ok(len) => sent += len,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        self.writing = true;
                        return Ok(false);
                    }
                    Err(error) => return Err(broken(error)),
                }
            }
            self.writing = false;
            if sent > YIELD {
                return Ok(true);
            }
            let mut state = self.shared.state();
            let len = state.mux.transmit(BATCH, &mut self.batch);
            state.dispatch_writable();
            drop(state);
            if len == 0 {
                return Ok(false);
            }
            for parts in self.batch.chunks(SLICES) {
                let slices: Vec<_> = parts.iter().map(|part| IoSlice::new(part)).collect();
                tls.writer().write_vectored(&slices).map_err(broken)?;
            }
            self.batch.clear();
        }
    }

    /// The last words.
    async fn farewell(&mut self) -> Option<()> {
        self.transmit().ok()?;
        self.shared.tls().send_close_notify();
        while self.transmit().ok()? || self.writing {
            self.tcp.writable().await.ok()?;
        }
        self.tcp.shutdown().await.ok()?;
        // Closed with something unread, the socket would take back what was just sent.
        let mut rest = [0; 4096];
        while self.tcp.read(&mut rest).await.ok()? > 0 {}
        Some(())
    }
}

fn broken(error: impl std::fmt::Display) -> Closed {
    Closed::Broken(error.to_string())
}

/// A socket that rustls can write to.
struct Socket<'s>(&'s TcpStream);

impl Write for Socket<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
