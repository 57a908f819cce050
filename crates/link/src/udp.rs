//! The way datagrams take: from a socket of ours, through a proxy, or none at all. It may change at any time.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::rc::Rc;

use tokio::net::UdpSocket;
use tokio::sync::Notify;

use crate::proxy::{Relay, Target};

/// A way for datagrams.
#[derive(Clone)]
pub enum Path {
    /// None: what is sent is lost, and nothing comes.
    Closed,
    /// A socket.
    Direct(Rc<UdpSocket>),
    /// An association with a proxy.
    Relayed(Rc<Relay>),
}

/// Datagrams over whatever way there is.
pub struct Udp {
    path: RefCell<Path>,
    changed: Notify,
}

impl From<UdpSocket> for Udp {
    fn from(socket: UdpSocket) -> Udp {
        Udp::new(Path::Direct(Rc::new(socket)))
    }
}

impl Udp {
    /// Datagrams take this way.
    pub fn new(path: Path) -> Udp {
        Udp {
            path: RefCell::new(path),
            changed: Notify::new(),
        }
    }

    /// From now on they take this one.
    pub fn set(&self, path: Path) {
        self.path.replace(path);
        self.changed.notify_waiters();
    }

    /// The way they take.
    pub fn path(&self) -> Path {
        self.path.borrow().clone()
    }

    /// Sends a datagram, which may be lost.
    ///
    /// # Errors
    /// Those of the socket, `WouldBlock` among them.
    pub fn try_send_to(&self, bytes: &[u8], to: SocketAddr) -> io::Result<()> {
        match &*self.path.borrow() {
            Path::Closed => Ok(()),
            Path::Direct(socket) => socket.try_send_to(bytes, to).map(drop),
            Path::Relayed(relay) => relay.try_send(bytes, &Target::Addr(to)),
        }
    }

    /// Sends a datagram to a name, which only a proxy can find; otherwise it is lost.
    pub fn send_to_name(&self, bytes: &[u8], name: &str, port: u16) {
        if let Path::Relayed(relay) = &*self.path.borrow() {
            // Lost, as on the way.
            let _ = relay.try_send(bytes, &Target::new(name, port));
        }
    }

    /// Takes a datagram: where in `buffer` it is, and whose.
    ///
    /// # Errors
    /// Those of the socket, `WouldBlock` among them.
    pub fn try_recv_from(&self, buffer: &mut [u8]) -> io::Result<(Range<usize>, SocketAddr)> {
        match &*self.path.borrow() {
            Path::Closed => Err(io::ErrorKind::WouldBlock.into()),
            Path::Direct(socket) => {
                let (n, from) = socket.try_recv_from(buffer)?;
                Ok((0..n, from))
            }
            Path::Relayed(relay) => relay.try_receive(buffer),
        }
    }

    /// Waits until a datagram may be there.
    pub async fn readable(&self) {
        let path = self.path();
        let readable = async {
            match &path {
                Path::Closed => std::future::pending().await,
                Path::Direct(socket) => drop(socket.readable().await),
                Path::Relayed(relay) => drop(relay.readable().await),
            }
        };
        tokio::select! {
            () = readable => {}
            () = self.changed.notified() => {}
        }
    }

    /// Waits until a datagram can be sent.
    pub async fn writable(&self) {
        let path = self.path();
        let writable = async {
            match &path {
                Path::Closed => {}
                Path::Direct(socket) => drop(socket.writable().await),
                Path::Relayed(relay) => drop(relay.writable().await),
            }
        };
        tokio::select! {
            () = writable => {}
            () = self.changed.notified() => {}
        }
    }
}
