//! Encrypted connections to one device, named by its Ed25519 key.
//!
//! [`Devices`] is this device's end of all of them: it [dials](Devices::dial) a [`Target`] and
//! [accepts](Devices::accept) those who dial it. A [`Connection`] proves the key of the other device and carries
//! many streams, whatever road it runs on: QUIC, straight or over a relay. It tells which [`Road`] that is.
//!
//! Every address is told by the caller and nobody else is asked: no directory, no server, no name service but the
//! system's for relays that have a name. What the protocol looks like is in `docs/design/devices.md`.
//!
//! Not here: who may talk to whom. A connection says who the other device is and no more.

mod quic;
mod stream;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, mpsc};

pub use stream::{Incoming, Outgoing, StreamError};

/// What a connection carries, as both sides say when they shake hands (ALPN, RFC 7301).
pub const PROTOCOL: &[u8] = b"starling/1";
/// Streams that one side may have open to the other: one to steer, eight for blocks, and room for short questions.
pub const STREAMS: u32 = 32;
/// Bytes a stream may be ahead of its reader. Not more: the QUIC in use ends connections whose streams hold over
/// 2048 unread packets (`docs/design/devices.md`).
pub const STREAM_WINDOW: u32 = 2 << 20;
/// Bytes all streams of a connection may be ahead of their readers: eight that stall leave room for the others.
pub const WINDOW: u32 = 24 << 20;

/// A dial that has not come through by then is given up: three tries of a handshake over a bad line.
const DIAL: Duration = Duration::from_secs(15);
/// Devices that are shaking hands with us at once; more are not answered, and try again.
const HALF_OPEN: usize = 64;
/// Connections accepted and not yet taken by the caller; more are closed.
const WAITING: usize = 64;
/// Connections to devices, ours and theirs; more are closed. Each costs about 100 KiB.
const MOST: usize = 1024;
/// Two connections made within so short a time were dialled at once by both sides.
const AT_ONCE: Duration = Duration::from_secs(10);

/// Reasons for closing that this module gives; callers take numbers from 16.
pub mod code {
    /// All is said.
    pub const DONE: u32 = 0;
    /// Another connection to the same device was kept.
    pub const DUPLICATE: u32 = 1;
    /// As many connections as there may be.
    pub const FULL: u32 = 2;
}

/// What this device is and what it may use.
#[derive(Clone)]
pub struct Config {
    /// The seed of its Ed25519 key (RFC 8032 §5.1.5).
    pub secret: [u8; 32],
    /// UDP addresses to listen at, one of a family at most. Port 0: any that is free.
    pub bind: Vec<SocketAddr>,
    /// Addresses (`http://` or `https://`) of the relays to be reachable through.
    pub relays: Vec<String>,
    /// Nothing is sent to an address outside the networks this computer has an address in, and nothing from there is
    /// answered; relays are not used. When the computer's addresses change, bind again.
    pub lan_only: bool,
}

/// A device and where it may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its Ed25519 key.
    pub key: [u8; 32],
    /// UDP addresses it may listen at.
    pub quic: Vec<SocketAddr>,
    /// Relays it may be reached through.
    pub relays: Vec<String>,
}

/// Where this device can be reached, as far as it knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// UDP: those of the computer, and those added from outside.
    pub quic: Vec<SocketAddr>,
    /// The relays that this device has a connection to.
    pub relays: Vec<String>,
}

/// How a connection gets to the other device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Road {
    /// QUIC, straight to this address.
    Direct(SocketAddr),
    /// QUIC, through the relay at this URL. It sees how much goes by, and between which keys.
    Relay(String),
}

/// Why there is no endpoint.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// An address cannot be used.
    #[error("cannot listen at {0}: {1}")]
    Address(String, String),
    /// A relay is not named by an http or https URL.
    #[error("{0} is not the address of a relay: it should look like https://relay.example")]
    Relay(String),
    /// The system does not say which addresses it has.
    #[error("cannot learn the addresses of this computer: {0}")]
    Interfaces(std::io::Error),
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The target has no address that may be used.
    #[error("no address of this device may be dialled")]
    NoAddress,
    /// The key is not one.
    #[error("this is not the key of a device")]
    Key,
    /// It is our own key.
    #[error("this is the key of this device itself")]
    Ourselves,
    /// A relay is not named by an http or https URL.
    #[error("{0} is not the address of a relay")]
    Relay(String),
    /// Nobody with this key answered at these addresses.
    #[error("the device does not answer")]
    Silent,
    /// Somebody answered, and it went wrong.
    #[error("no connection to the device: {0}")]
    Failed(String),
    /// The connection was made and closed at once.
    #[error(transparent)]
    Closed(#[from] Closed),
}

/// Why a connection is over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Closed {
    /// We closed it.
    #[error("closed here")]
    Here,
    /// The other device closed it.
    #[error("closed by the other device: {text} ({code})")]
    There {
        /// Its reason, as a number.
        code: u32,
        /// And in words, if it gave any. Written by the other device.
        text: String,
    },
    /// Nothing was heard of the other device for too long.
    #[error("the other device is silent")]
    Silent,
    /// The road broke, or the other device broke the rules.
    #[error("the connection broke: {0}")]
    Broken(String),
}

/// This device's end of all connections to other devices.
#[derive(Clone)]
pub struct Devices {
    shared: Arc<Shared>,
    accepted: Arc<tokio::sync::Mutex<mpsc::Receiver<Connection>>>,
}

struct Shared {
    quic: quic::Quic,
    us: [u8; 32],
    lan_only: bool,
    waiting: mpsc::Sender<Connection>,
    held: Mutex<HashMap<[u8; 32], Held>>,
}

/// The connection to one device.
struct Held {
    since: Instant,
    dialled: bool,
    connection: Weak<Inner>,
}

/// An encrypted connection to one device. It is closed when the last clone is dropped.
#[derive(Clone)]
pub struct Connection {
    inner: Arc<Inner>,
}

struct Inner {
    peer: [u8; 32],
    dialled: bool,
    road: quic::Connection,
}

impl Devices {
    /// Begins to listen.
    ///
    /// # Errors
    /// An address is in use or not ours, or a relay's URL is none.
    pub async fn bind(config: &Config) -> Result<Devices, BindError> {
        let (waiting, accepted) = mpsc::channel(WAITING);
        let quic = quic::Quic::bind(config).await?;
        let shared = Arc::new(Shared {
            us: quic.key(),
            quic,
            lan_only: config.lan_only,
            waiting,
            held: Mutex::default(),
        });
        tokio::spawn(listen(shared.quic.clone(), Arc::downgrade(&shared)));
        Ok(Devices {
            shared,
            accepted: Arc::new(tokio::sync::Mutex::new(accepted)),
        })
    }

    /// The key of this device.
    pub fn key(&self) -> [u8; 32] {
        self.shared.us
    }

    /// The UDP addresses it listens at.
    pub fn listening(&self) -> Vec<SocketAddr> {
        self.shared.quic.listening()
    }

    /// Where this device can be reached now.
    pub fn addresses(&self) -> Addresses {
        self.shared.quic.addresses()
    }

    /// Waits until the addresses are others than `seen`.
    pub async fn addresses_changed(&self, seen: &Addresses) -> Addresses {
        self.shared.quic.addresses_changed(seen).await
    }

    /// An address from which others see this device, or at which a router forwards to it. It is told to the devices
    /// we are connected to, and they try it.
    pub async fn add_external(&self, address: SocketAddr) {
        self.shared.quic.add_external(address).await;
    }

    /// The address is no longer ours. False if it was not known.
    pub async fn remove_external(&self, address: SocketAddr) -> bool {
        self.shared.quic.remove_external(address).await
    }

    /// One more relay to be reachable through. `token` is what it wants to be told, if anything.
    ///
    /// # Errors
    /// It is not the URL of a relay, or relays are not to be used.
    pub async fn add_relay(&self, url: &str, token: Option<&str>) -> Result<(), BindError> {
        if self.shared.lan_only {
            return Err(BindError::Relay(url.to_owned()));
        }
        self.shared.quic.add_relay(url, token).await
    }

    /// A relay that is not to be used any more. False if it was not.
    pub async fn remove_relay(&self, url: &str) -> bool {
        self.shared.quic.remove_relay(url).await
    }

    /// The computer woke up or changed networks: looks at once for addresses and roads.
    pub async fn network_changed(&self) {
        self.shared.quic.network_changed().await;
    }

    /// The connection to a device: the one there is, or a new one.
    ///
    /// # Errors
    /// See [`DialError`]. After 15 seconds at the latest.
    pub async fn dial(&self, target: &Target) -> Result<Connection, DialError> {
        if target.key == self.shared.us {
            return Err(DialError::Ourselves);
        }
        if let Some(connection) = self.connection(&target.key) {
            return Ok(connection);
        }
        let mut target = target.clone();
        if self.shared.lan_only {
            target.relays.clear();
        }
        let dialled = self.shared.quic.dial(&target);
        let road = tokio::time::timeout(DIAL, dialled)
            .await
            .map_err(|_| DialError::Silent)??;
        self.shared.settle(Connection::new(road, true))
    }

    /// The connection to a device, if there is one.
    pub fn connection(&self, key: &[u8; 32]) -> Option<Connection> {
        self.shared.connection(key)
    }

    /// The next device that dialled us; `None` once this is closed.
    pub async fn accept(&self) -> Option<Connection> {
        self.accepted.lock().await.recv().await
    }

    /// Closes all connections and listens no longer. Takes a moment: the other devices are told.
    pub async fn close(&self) {
        self.shared.quic.close().await;
        self.accepted.lock().await.close();
    }
}

impl Shared {
    fn held(&self) -> std::sync::MutexGuard<'_, HashMap<[u8; 32], Held>> {
        self.held.lock().expect("nobody panics while holding it")
    }

    fn connection(&self, key: &[u8; 32]) -> Option<Connection> {
        self.held().get(key)?.connection()
    }

    /// Of two connections to one device one stays: who asks gets that.
    fn settle(&self, new: Connection) -> Result<Connection, DialError> {
        let mut held = self.held();
        let peer = new.inner.peer;
        let now = Instant::now();
        let old = held.get(&peer).and_then(|old| {
            let at_once = now.saturating_duration_since(old.since) < AT_ONCE;
            Some((old.connection()?, at_once && old.dialled != new.dialled()))
        });
        if let Some((old, at_once)) = old {
            // Both dialled: both keep what the smaller key dialled. Otherwise the other device knows of no
            // connection that works, or it would not have made a new one.
            let ours = self.us < peer;
            if at_once && new.dialled() != ours {
                new.close(code::DUPLICATE, "there is another connection");
                return Ok(old);
            }
            old.close(code::DUPLICATE, "there is another connection");
        } else if held.len() >= MOST {
            held.retain(|_, held| held.connection().is_some());
            if held.len() >= MOST {
                new.close(code::FULL, "too many connections");
                return Err(DialError::Failed("too many connections".to_owned()));
            }
        }
        let entry = Held {
            since: now,
            dialled: new.dialled(),
            connection: Arc::downgrade(&new.inner),
        };
        held.insert(peer, entry);
        Ok(new)
    }

    /// Hands a connection of a device that dialled to the caller.
    fn arrived(&self, road: quic::Connection) {
        let connection = Connection::new(road, false);
        if !matches!(self.settle(connection.clone()), Ok(kept) if kept.is(&connection)) {
            return;
        }
        if let Err(error) = self.waiting.try_send(connection) {
            error.into_inner().close(code::FULL, "too many connections");
        }
    }
}

impl Held {
    fn connection(&self) -> Option<Connection> {
        let inner = self.connection.upgrade()?;
        let connection = Connection { inner };
        connection.close_reason().is_none().then_some(connection)
    }
}

/// Answers those who dial, as long as anyone is interested.
async fn listen(quic: quic::Quic, shared: Weak<Shared>) {
    let places = Arc::new(Semaphore::new(HALF_OPEN));
    while let Some(knock) = quic.knock().await {
        let Some(strong) = shared.upgrade() else {
            return;
        };
        let place = places.clone().try_acquire_owned();
        let outside = strong.lan_only && !knock.address().is_some_and(is_near);
        let (Ok(place), false) = (place, outside) else {
            knock.ignore();
            continue;
        };
        let shared = shared.clone();
        drop(strong);
        tokio::spawn(async move {
            let connection = tokio::time::timeout(DIAL, knock.answer()).await;
            drop(place);
            if let (Ok(Some(road)), Some(shared)) = (connection, shared.upgrade()) {
                shared.arrived(road);
            }
        });
    }
}

/// An address in a network this computer has an address in.
fn is_near(address: SocketAddr) -> bool {
    let near = |own: if_addrs::Interface| match (own.addr, address.ip().to_canonical()) {
        (if_addrs::IfAddr::V4(own), IpAddr::V4(ip)) => {
            let mask = own.netmask.to_bits();
            own.ip.to_bits() & mask == ip.to_bits() & mask
        }
        (if_addrs::IfAddr::V6(own), IpAddr::V6(ip)) => {
            let mask = own.netmask.to_bits();
            own.ip.to_bits() & mask == ip.to_bits() & mask
        }
        _ => false,
    };
    if_addrs::get_if_addrs().is_ok_and(|own| own.into_iter().any(near))
}

impl Connection {
    fn new(road: quic::Connection, dialled: bool) -> Connection {
        let inner = Inner {
            peer: road.peer(),
            dialled,
            road,
        };
        Connection {
            inner: Arc::new(inner),
        }
    }

    /// The key of the other device. It has proved to have it.
    pub fn peer(&self) -> [u8; 32] {
        self.inner.peer
    }

    /// We dialled.
    pub fn dialled(&self) -> bool {
        self.inner.dialled
    }

    /// The same connection, not just one to the same device.
    pub fn is(&self, other: &Connection) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    /// How it gets there now; `None` while it looks for a way.
    pub fn road(&self) -> Option<Road> {
        self.inner.road.road()
    }

    /// How long there and back takes, by that road.
    pub fn round_trip(&self) -> Option<Duration> {
        self.inner.road.round_trip()
    }

    /// Waits until the road is another than `seen`. Never, once the connection is closed.
    pub async fn road_changed(&self, seen: Option<&Road>) -> Option<Road> {
        self.inner.road.road_changed(seen).await
    }

    /// A secret that both ends of this connection, and nobody else, can compute (RFC 8446 §7.5). It differs with the
    /// label, and on every connection.
    pub fn exporter(&self, label: &[u8]) -> [u8; 32] {
        self.inner.road.exporter(label)
    }

    /// Begins a stream, as soon as there may be one more. The other device learns of it when something is written.
    ///
    /// # Errors
    /// The connection is over.
    pub async fn open(&self) -> Result<(Outgoing, Incoming), Closed> {
        self.inner.road.open().await
    }

    /// The next stream begun by the other device.
    ///
    /// # Errors
    /// The connection is over.
    pub async fn accept(&self) -> Result<(Outgoing, Incoming), Closed> {
        self.inner.road.accept().await
    }

    /// Ends it at once: what is on its way may not arrive. Of the text the first 256 bytes are told.
    pub fn close(&self, code: u32, text: &str) {
        let end = text.floor_char_boundary(256);
        self.inner.road.close(code, &text[..end]);
    }

    /// Why it is over, if it is.
    pub fn close_reason(&self) -> Option<Closed> {
        self.inner.road.close_reason()
    }

    /// Waits until it is over.
    pub async fn closed(&self) -> Closed {
        self.inner.road.closed().await
    }
}
