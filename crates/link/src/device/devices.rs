//! This device's end of all its connections: who is dialled how, who is let in, and which connection stays.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::net::TcpStream;
use tokio::sync::{Notify, Semaphore, mpsc, watch};

use super::connection::{Connection, Inner, Line};
use super::{
    Addresses, BindError, Config, DialError, Doorman, Target, code, fast, preface, quic, tls,
};
use crate::{Egress, proxy, tcp};

/// A dial that has not come through by then is given up: three tries of a handshake over a bad line.
const DIAL: Duration = Duration::from_secs(15);
/// Devices that are shaking hands with us at once; more are not answered, and try again.
const HALF_OPEN: usize = 64;
/// Connections accepted and not yet taken by the caller; more are closed.
const WAITING: usize = 64;
/// Connections to devices, ours and theirs; more are closed. Each costs 114 KiB over QUIC.
const MOST: usize = 1024;
/// Two connections made within so short a time were dialled at once by both sides.
const AT_ONCE: Duration = Duration::from_secs(10);

/// QUIC is tried so long after TCP: whoever answers in time is several times faster by TCP.
const HEAD_START: Duration = Duration::from_millis(250);
/// One TCP address is tried so long after the other, and so many of them.
const STAGGER: Duration = Duration::from_millis(250);
const TCP_ADDRESSES: usize = 8;

/// This device's end of all connections to other devices.
#[derive(Clone)]
pub struct Devices {
    shared: Arc<Shared>,
    accepted: Arc<tokio::sync::Mutex<mpsc::Receiver<Connection>>>,
}

struct Shared {
    quic: quic::Quic,
    keys: tls::Keys,
    doorman: Arc<Doorman>,
    us: [u8; 32],
    lan_only: bool,
    egress: Egress,
    /// Places for those who shake hands.
    places: Arc<Semaphore>,
    waiting: mpsc::Sender<Connection>,
    /// True once it is closed.
    over: watch::Sender<bool>,
    held: Mutex<HashMap<[u8; 32], [Option<Held>; 2]>>,
}

/// The connection to one device, of one kind: over TLS the first, over QUIC the second.
struct Held {
    since: Instant,
    dialled: bool,
    connection: Weak<Inner>,
}

impl Devices {
    /// Begins to listen.
    ///
    /// # Errors
    /// An address is in use or not ours, or a relay's URL is none.
    pub async fn bind(config: &Config) -> Result<Devices, BindError> {
        let (waiting, accepted) = mpsc::channel(WAITING);
        let quic = quic::Quic::bind(config).await?;
        let us = quic.key();
        let keys = tls::Keys::new(&config.secret, &us)
            .map_err(|error| BindError::Key(error.to_string()))?;
        let shared = Arc::new(Shared {
            quic,
            keys,
            doorman: Arc::default(),
            us,
            lan_only: config.lan_only,
            egress: config.egress.clone(),
            places: Arc::new(Semaphore::new(HALF_OPEN)),
            waiting,
            over: watch::Sender::new(false),
            held: Mutex::default(),
        });
        let over = shared.over.subscribe();
        tokio::spawn(listen(shared.quic.clone(), Arc::downgrade(&shared), over));
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
        if self.shared.lan_only || self.shared.egress.only_proxy().is_some() {
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

    /// The connection to a device: the one there is, or a new one. If it has a TCP address and QUIC too, TCP has a
    /// head start of 250 ms, and whatever comes through first is it.
    ///
    /// # Errors
    /// See [`DialError`]. After 15 seconds at the latest.
    pub async fn dial(&self, target: &Target) -> Result<Connection, DialError> {
        if let Some(connection) = self.connection(&target.key) {
            return Ok(connection);
        }
        self.settled(&target.key, self.shared.race(target)).await
    }

    /// The connection to a device by the fast road: the one there is, or a new one beside that over QUIC.
    ///
    /// # Errors
    /// See [`DialError`]. After 15 seconds at the latest.
    pub async fn dial_fast(&self, target: &Target) -> Result<Connection, DialError> {
        if let Some(connection) = self.shared.connection(&target.key, 0) {
            return Ok(connection);
        }
        self.settled(&target.key, self.shared.dial_tls(target))
            .await
    }

    async fn settled(
        &self,
        key: &[u8; 32],
        line: impl Future<Output = Result<Line, DialError>>,
    ) -> Result<Connection, DialError> {
        if *key == self.shared.us {
            return Err(DialError::Ourselves);
        }
        let line = tokio::time::timeout(DIAL, line).await;
        let line = line.map_err(|_| DialError::Silent)??;
        self.shared.settle(Connection::new(line, true))
    }

    /// Tells devices that dial over TCP from others; it has to be told whom to expect.
    pub fn doorman(&self) -> Arc<Doorman> {
        self.shared.doorman.clone()
    }

    /// Takes a TCP connection whose preface the [`Doorman`] admitted; `early` is what came behind that.
    pub fn admit(&self, tcp: TcpStream, early: Vec<u8>) {
        let near = |tcp: &TcpStream| tcp.peer_addr().is_ok_and(is_near);
        let place = self.shared.places.clone().try_acquire_owned();
        let (Ok(place), false) = (place, self.shared.lan_only && !near(&tcp)) else {
            return;
        };
        tcp::tune(&tcp);
        let shared = Arc::downgrade(&self.shared);
        tokio::spawn(async move {
            let Some(strong) = shared.upgrade() else {
                return;
            };
            let shaking = fast::Connection::accept(&strong.keys, tcp, &early);
            let connection = tokio::time::timeout(DIAL, shaking).await;
            drop(place);
            if let Ok(Ok(connection)) = connection {
                strong.arrived(Line::Fast(connection));
            }
        });
    }

    /// The connection to a device, if there is one; the faster, if there are two.
    pub fn connection(&self, key: &[u8; 32]) -> Option<Connection> {
        let shared = &self.shared;
        shared
            .connection(key, 0)
            .or_else(|| shared.connection(key, 1))
    }

    /// The next device that dialled us; `None` once this is closed.
    pub async fn accept(&self) -> Option<Connection> {
        let mut over = self.shared.over.subscribe();
        let next = async {
            let mut accepted = self.accepted.lock().await;
            loop {
                // Some have been overruled by another one meanwhile.
                let connection = accepted.recv().await?;
                if connection.close_reason().is_none() {
                    return Some(connection);
                }
            }
        };
        tokio::select! {
            connection = next => connection,
            _ = over.wait_for(|over| *over) => None,
        }
    }

    /// Closes all connections and listens no longer. Takes a moment: the other devices are told.
    pub async fn close(&self) {
        let held: Vec<_> = std::mem::take(&mut *self.shared.held())
            .into_values()
            .flatten()
            .filter_map(|held| held?.connection())
            .collect();
        for connection in held {
            connection.close(code::DONE, "");
        }
        self.shared.over.send_replace(true);
        self.shared.quic.close().await;
    }
}

impl Shared {
    fn held(&self) -> std::sync::MutexGuard<'_, HashMap<[u8; 32], [Option<Held>; 2]>> {
        self.held.lock().expect("nobody panics while holding it")
    }

    fn connection(&self, key: &[u8; 32], kind: usize) -> Option<Connection> {
        self.held().get(key)?[kind].as_ref()?.connection()
    }

    /// By both roads; the first that comes through. Why the other did not is told if neither does.
    async fn race(&self, target: &Target) -> Result<Line, DialError> {
        let gone = Notify::new();
        let tls = async {
            let line = self.dial_tls(target).await;
            gone.notify_one();
            line
        };
        let quic = async {
            tokio::select! {
                () = tokio::time::sleep(HEAD_START) => {}
                () = gone.notified() => {}
            }
            self.dial_quic(target).await
        };
        tokio::pin!(tls, quic);
        let (first, second) = tokio::select! {
            biased;
            line = &mut tls => match line {
                Ok(line) => return Ok(line),
                Err(error) => (error, quic.await),
            },
            line = &mut quic => match line {
                Ok(line) => return Ok(line),
                Err(error) => (error, tls.await),
            },
        };
        second.map_err(|second| match (&first, &second) {
            (DialError::NoAddress, _) | (DialError::Silent, DialError::Failed(_)) => second,
            _ => first,
        })
    }

    async fn dial_quic(&self, target: &Target) -> Result<Line, DialError> {
        if self.egress.only_proxy().is_some() {
            return Err(DialError::NoAddress);
        }
        let mut target = target.clone();
        if self.lan_only {
            target.relays.clear();
        }
        Ok(Line::Quic(self.quic.dial(&target).await?))
    }

    /// At all TCP addresses, one a moment after the other.
    async fn dial_tls(&self, target: &Target) -> Result<Line, DialError> {
        let Some(key) = &target.preface else {
            return Err(DialError::NoAddress);
        };
        let addresses = target.tcp.iter().copied();
        let addresses = addresses.filter(|address| !self.lan_only || is_near(*address));
        let mut tries: FuturesUnordered<_> = (0u32..)
            .zip(addresses.take(TCP_ADDRESSES))
            .map(|(n, address)| async move {
                tokio::time::sleep(STAGGER * n).await;
                self.dial_tcp(&target.key, key, address).await
            })
            .collect();
        let mut error = DialError::NoAddress;
        while let Some(tried) = tries.next().await {
            match tried {
                Ok(connection) => return Ok(Line::Fast(connection)),
                Err(e) => error = DialError::Failed(e.to_string()),
            }
        }
        Err(error)
    }

    async fn dial_tcp(
        &self,
        peer: &[u8; 32],
        key: &[u8; 32],
        address: SocketAddr,
    ) -> std::io::Result<fast::Connection> {
        let target = proxy::Target::Addr(address);
        let tcp = self.egress.stream(&target).await?;
        let mut nonce = [0; 16];
        rand::fill(&mut nonce).map_err(std::io::Error::other)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let first = preface(key, nonce, now.map_or(0, |now| now.as_secs()));
        fast::Connection::dial(&self.keys, peer, tcp, &first).await
    }

    /// Of two connections of a kind to one device one stays: who asks gets that.
    fn settle(&self, new: Connection) -> Result<Connection, DialError> {
        let mut held = self.held();
        let peer = new.inner.peer;
        let (now, kind) = (Instant::now(), new.inner.line.kind());
        let old = held.get(&peer).and_then(|old| {
            let old = old[kind].as_ref()?;
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
            let lives = |held: &Held| held.connection().is_some();
            held.retain(|_, kinds| kinds.iter().flatten().any(lives));
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
        held.entry(peer).or_default()[kind] = Some(entry);
        Ok(new)
    }

    /// Hands a connection of a device that dialled to the caller.
    fn arrived(&self, line: Line) {
        let connection = Connection::new(line, false);
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
async fn listen(quic: quic::Quic, shared: Weak<Shared>, mut over: watch::Receiver<bool>) {
    loop {
        let knock = tokio::select! {
            knock = quic.knock() => knock,
            // Closed, or nobody has it in hand any more.
            _ = over.changed() => break,
        };
        let Some(knock) = knock else {
            break;
        };
        let Some(strong) = shared.upgrade() else {
            break;
        };
        let place = strong.places.clone().try_acquire_owned();
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
            if let (Ok(Some(connection)), Some(shared)) = (connection, shared.upgrade()) {
                shared.arrived(Line::Quic(connection));
            }
        });
    }
    quic.close().await;
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
