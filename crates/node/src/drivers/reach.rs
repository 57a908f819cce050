//! Whether others reach our port: peers are asked to dial back, and who comes in is seen.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};
use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use discovery::ports::{PortState, Ports};
use link::utp::Endpoint;
use swarm::{ConnId, DialbackEvent, Input};
use tokio::sync::Notify;
use torrent::extension::{DialOutcome, Dialback, Transport};

use super::Driver;

/// A dial back takes at most this long.
const DIAL: Duration = Duration::from_secs(5);
/// How often it is seen whether somebody is to be asked.
const LOOK: Duration = Duration::from_secs(10);
/// Peers that would dial back and are remembered.
const WILLING: usize = 256;
/// Whom we sent a datagram may answer through a router for so long without the port being open: most routers forget it
/// within five minutes.
const WRITTEN: Duration = Duration::from_secs(5 * 60);
/// Addresses remembered for that; beyond, the oldest half is forgotten.
const MOST_WRITTEN: usize = 8192;
/// A stream that said something is open so long: datagrams take their time.
const LINGER: Duration = Duration::from_millis(500);

/// What is known of our port.
#[derive(Default)]
pub(crate) struct Reach {
    ports: RefCell<Ports>,
    willing: RefCell<BTreeMap<ConnId, IpAddr>>,
    /// The first who would dial back is there.
    somebody: Notify,
    written: RefCell<Written>,
}

/// Whom datagrams were sent to lately: in two halves, the older of which is forgotten at once.
#[derive(Default)]
struct Written {
    halves: [HashSet<SocketAddr>; 2],
    since: Option<Instant>,
}

impl Written {
    fn add(&mut self, now: Instant, to: SocketAddr) {
        let old = |since| now.saturating_duration_since(since) >= WRITTEN;
        if self.since.is_none_or(old) || self.halves[0].len() >= MOST_WRITTEN / 2 {
            self.halves.swap(0, 1);
            self.halves[0].clear();
            self.since = Some(now);
        }
        self.halves[0].insert(to);
    }

    fn has(&self, to: &SocketAddr) -> bool {
        self.halves.iter().any(|half| half.contains(to))
    }
}

impl Driver {
    /// A datagram goes there that nobody there asked for.
    pub fn writes_to(&self, to: SocketAddr) {
        self.reach.written.borrow_mut().add(Instant::now(), to);
    }

    /// Somebody there came in through our port.
    pub fn came_in(&self, transport: Transport, from: SocketAddr) {
        // What we wrote first may have opened a router's way for what came back.
        if transport == Transport::Utp && self.reach.written.borrow().has(&from) {
            return;
        }
        let mut ports = self.reach.ports.borrow_mut();
        ports.reached(Instant::now(), transport, from.ip());
    }

    /// A peer has to do with dialling back.
    pub fn dialback(self: &Rc<Self>, conn: ConnId, event: DialbackEvent) {
        match event {
            DialbackEvent::Offered(ip) => {
                let mut willing = self.reach.willing.borrow_mut();
                if willing.len() >= WILLING {
                    willing.pop_first();
                }
                willing.insert(conn, ip);
                drop(willing);
                self.reach.somebody.notify_one();
                self.ask_back(conn, ip);
            }
            DialbackEvent::Wanted(transport, to) => {
                let driver = self.clone();
                tokio::task::spawn_local(async move {
                    let outcome = match driver.blocking.blocks(to.ip()) {
                        true => DialOutcome::NotTried,
                        false => driver.dial_back(transport, to).await,
                    };
                    tracing::debug!(?transport, %to, ?outcome, "dialled back");
                    let answer = Dialback::Answer(transport, to.port(), outcome);
                    driver.tell(Input::Dialback(conn, answer));
                });
            }
            DialbackEvent::Answered(ip, transport, outcome) => {
                let mut ports = self.reach.ports.borrow_mut();
                ports.answered(Instant::now(), transport, ip, outcome);
            }
        }
    }

    /// Asks a peer whatever is to be asked.
    fn ask_back(self: &Rc<Self>, conn: ConnId, ip: IpAddr) {
        loop {
            let asks = self.reach.ports.borrow_mut().ask(Instant::now(), ip);
            let Some(transport) = asks else { return };
            let port = match transport {
                Transport::Tcp => self.listening.port(),
                Transport::Utp => self.datagrams.port(),
            };
            if port != 0 {
                self.tell(Input::Dialback(conn, Dialback::Ask(transport, port)));
            }
        }
    }

    async fn dial_back(&self, transport: Transport, to: SocketAddr) -> DialOutcome {
        let dialled = tokio::time::timeout(DIAL, async {
            match transport {
                Transport::Tcp => self.egress.direct(to).await.map(drop),
                Transport::Utp => {
                    // From a port that it has never written to: its router may let in whom it has.
                    let any: IpAddr = match to {
                        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
                    };
                    let socket = self.egress.udp((any, 0).into())?;
                    let endpoint = Endpoint::new(
                        socket.into(),
                        getrandom::u64().map_err(io::Error::other)?,
                        true,
                    );
                    let runs = endpoint.clone().run(|_, _| {}, |_, _| {});
                    let dials = async {
                        let stream = endpoint.dial(to).await?;
                        // Only who has sent something has come in.
                        let _ = stream.try_write_vectored(&[IoSlice::new(b"\x13")]);
                        tokio::time::sleep(LINGER).await;
                        Ok(())
                    };
                    tokio::select! {
                        _ = runs => Err(io::ErrorKind::NotConnected.into()),
                        dialled = dials => dialled,
                    }
                }
            }
        });
        match dialled.await {
            Ok(Ok(())) => DialOutcome::Opened,
            Err(_) => DialOutcome::TimedOut,
            Ok(Err(error)) => match error.kind() {
                io::ErrorKind::TimedOut => DialOutcome::TimedOut,
                io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => {
                    DialOutcome::Refused
                }
                _ => DialOutcome::NotTried,
            },
        }
    }

    /// What is known of our ports.
    pub fn port_states(&self) -> Vec<api::Port> {
        // What only this computer reaches is not in question.
        if self.egress.proxy.is_some() || self.listening.ip().is_loopback() {
            return Vec::new();
        }
        let ports = self.reach.ports.borrow();
        let now = Instant::now();
        let all = [Transport::Tcp, Transport::Utp].map(|t| [(t, false), (t, true)]);
        let shown = |&(transport, v6): &(Transport, bool)| {
            let of = match transport {
                Transport::Tcp => self.listening.port(),
                Transport::Utp => self.datagrams.port(),
            };
            let known = ports.state(now, transport, v6) != PortState::Unknown { peers: 0 };
            of != 0 && (known || !v6)
        };
        let port = |(transport, v6)| {
            let state = ports.state(now, transport, v6);
            let (protocol, number) = match transport {
                Transport::Tcp => ("TCP", self.listening.port()),
                Transport::Utp => ("UDP", self.datagrams.port()),
            };
            api::Port {
                protocol: protocol.to_owned(),
                family: if v6 { "IPv6" } else { "IPv4" }.to_owned(),
                port: number,
                state: match state {
                    PortState::Open { .. } => api::PortIs::Open,
                    PortState::Closed { .. } => api::PortIs::Closed,
                    PortState::Unknown { .. } => api::PortIs::Unknown,
                },
                words: words(state, protocol, number),
            }
        };
        all.concat().into_iter().filter(shown).map(port).collect()
    }
}

fn words(state: PortState, protocol: &str, number: u16) -> String {
    let many = |n: usize| match n {
        1 => "1 peer".to_owned(),
        n => format!("{n} peers"),
    };
    match state {
        PortState::Open { ago, peers } => {
            let ago = match ago.as_secs() / 60 {
                0 => "just now".to_owned(),
                1 => "a minute ago".to_owned(),
                n => format!("{n} minutes ago"),
            };
            format!("open (seen {ago}, from {})", many(peers))
        }
        PortState::Closed { peers, refused } => {
            let how = match refused {
                true => "were refused",
                false => "did not get through",
            };
            format!(
                "closed: {} tried and {how}. Forward {protocol} port {number} on your router to this computer, and \
                 let it through the firewall here",
                many(peers)
            )
        }
        PortState::Unknown { peers: 0 } => "unknown: nobody to ask yet".to_owned(),
        PortState::Unknown { peers } => {
            format!(
                "unknown: {} tried in vain, which may be its own trouble",
                many(peers)
            )
        }
    }
}

/// Asks those who would dial back, for ever; sleeps while there is nobody.
pub(crate) async fn run(driver: Rc<Driver>) {
    loop {
        if driver.reach.willing.borrow().is_empty() {
            driver.reach.somebody.notified().await;
        }
        tokio::time::sleep(LOOK).await;
        let here = |conn: &ConnId| driver.road(*conn).is_some();
        driver
            .reach
            .willing
            .borrow_mut()
            .retain(|conn, _| here(conn));
        let willing = driver.reach.willing.borrow().clone();
        for (conn, ip) in willing {
            driver.ask_back(conn, ip);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_told_in_words() {
        let open = PortState::Open {
            ago: Duration::from_secs(200),
            peers: 2,
        };
        assert_eq!(
            words(open, "TCP", 6881),
            "open (seen 3 minutes ago, from 2 peers)"
        );
        let closed = PortState::Closed {
            peers: 3,
            refused: false,
        };
        let said = words(closed, "UDP", 6881);
        assert!(
            said.starts_with(
                "closed: 3 peers tried and did not get through. Forward UDP port 6881"
            )
        );
        let unknown = PortState::Unknown { peers: 0 };
        assert_eq!(words(unknown, "TCP", 1), "unknown: nobody to ask yet");
    }
}
