//! The interface that all has to go by: it comes and goes, and our sockets with it.
//!
//! A socket is held to the interface that was there when it was opened. One that comes back under the same name is
//! another one to the system: so everything that listens is opened anew.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use link::{Path, interface_index};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::Driver;

/// How often it is looked for.
const LOOK: Duration = Duration::from_secs(1);

/// What listens, and whether the interface is there.
#[derive(Default)]
pub(crate) struct Doors {
    listening: RefCell<Vec<JoinHandle<()>>>,
    away: Cell<bool>,
}

impl Driver {
    /// Takes connections from these sockets, and from no other.
    pub fn listen_on(self: &Rc<Self>, listeners: Vec<TcpListener>) {
        let accept = |listener| tokio::task::spawn_local(super::accept(self.clone(), listener));
        let now = listeners.into_iter().map(accept).collect();
        for before in self.doors.listening.replace(now) {
            before.abort();
        }
    }

    /// Why nothing leaves, if the interface is away.
    pub fn interface_words(&self) -> Option<String> {
        let interface = self
            .egress
            .interface
            .as_ref()
            .filter(|_| self.doors.away.get())?;
        Some(format!(
            "the interface {interface} is away: nothing leaves until it is back"
        ))
    }

    /// Opens what listens, on the ports it had.
    fn open_doors(self: &Rc<Self>) {
        let (ip, port) = (self.listening.ip(), self.listening.port());
        let ips = match ip.is_unspecified() {
            true => link::tcp::everywhere().to_vec(),
            false => vec![ip],
        };
        let listener = |ip| {
            let opened = self.egress.listen((ip, port).into());
            let failed = |error| tracing::debug!(%ip, port, %error, "not listening");
            opened.map_err(failed).ok()
        };
        self.listen_on(ips.into_iter().filter_map(listener).collect());
        if self.egress.only_proxy().is_none() {
            let port = self.datagrams.port();
            let path = |any: std::net::IpAddr| {
                let socket = self.egress.udp(SocketAddr::new(any, port)).ok()?;
                Some(Path::Direct(Rc::new(socket)))
            };
            self.datagrams.direct(link::tcp::everywhere().map(path));
        }
    }

    fn close_doors(self: &Rc<Self>) {
        self.listen_on(Vec::new());
        self.datagrams.direct([None, None]);
    }
}

/// Follows the interface, for ever.
pub(crate) async fn run(driver: Rc<Driver>, interface: String, mut before: Option<u32>) {
    driver.doors.away.set(before.is_none());
    loop {
        tokio::time::sleep(LOOK).await;
        let now = interface_index(&interface);
        if now == before {
            continue;
        }
        tracing::info!(%interface, there = now.is_some(), "the interface changed");
        before = now;
        driver.doors.away.set(now.is_none());
        match now {
            Some(_) => driver.open_doors(),
            None => driver.close_doors(),
        }
    }
}
