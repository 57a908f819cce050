//! What goes through a proxy and what does not: streams to peers, names, and the association that carries datagrams.
//!
//! Which of it a person is told is here too. HTTP goes through it in `web`, UDP trackers in `trackers`.

use std::cell::RefCell;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use discovery::scope::Scope;
use link::Egress;
use link::proxy::{ProxyError, Relay, Scheme, Target};
use tokio::net::{TcpStream, lookup_host};

use super::Driver;

/// A proxy that was not there or let us go is asked again after so long, then twice as long…
const SOON: Duration = Duration::from_secs(2);
/// …up to so long.
const LATE: Duration = Duration::from_secs(120);

/// How it goes with the proxy.
#[derive(Default)]
pub(crate) struct Proxying {
    /// Why nothing goes through it.
    trouble: RefCell<Option<String>>,
    datagrams: RefCell<Carried>,
}

/// Whether the proxy carries datagrams.
#[derive(Default)]
enum Carried {
    /// It has not said yet.
    #[default]
    Unknown,
    /// It does.
    Yes,
    /// It does not, for this reason.
    No(String),
}

impl Proxying {
    /// Why nothing goes through the proxy, in a sentence; none: nothing is known to stand in the way.
    pub fn trouble(&self) -> Option<String> {
        self.trouble.borrow().clone()
    }

    /// What was heard of the proxy by a road through it.
    pub fn heard<T>(&self, road: &io::Result<T>) {
        let said = match road {
            Ok(_) => None,
            Err(error) => {
                let inner = error.get_ref().and_then(|e| e.downcast_ref::<ProxyError>());
                match inner {
                    Some(ours) if ours.is_ours() => Some(ours.to_string()),
                    Some(_) => None,
                    // Nothing was heard in time: of whom is not known.
                    None => return,
                }
            }
        };
        self.trouble.replace(said);
    }
}

/// What goes to this address does not pass the proxy: it is a neighbour, whom no proxy far away could reach.
pub(crate) fn passes_by(egress: &Egress, ip: IpAddr) -> bool {
    egress.proxy.is_none() || !egress.required && Scope::of(ip).is_local()
}

impl Driver {
    /// A TCP stream to a peer.
    pub async fn stream_to(&self, addr: SocketAddr) -> io::Result<TcpStream> {
        if passes_by(&self.egress, addr.ip()) {
            return self.egress.direct(addr).await;
        }
        let stream = self.egress.stream(&Target::Addr(addr)).await;
        self.proxy.heard(&stream);
        stream
    }

    /// Looks a name up, unless only the proxy may.
    pub async fn look_up(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        if let Target::Addr(addr) = Target::new(host, port) {
            return Ok(vec![addr]);
        }
        if self.egress.only_proxy().is_some() {
            let text = "names are not looked up beside the proxy (proxy-required)";
            return Err(io::Error::new(io::ErrorKind::Unsupported, text));
        }
        Ok(lookup_host((host, port)).await?.collect())
    }

    /// What the proxy is and what stays out because of it, in sentences.
    pub fn proxy_words(&self) -> Vec<String> {
        let Some(proxy) = &self.egress.proxy else {
            return Vec::new();
        };
        let only = self.egress.required;
        let mut words = vec![match only {
            true => format!("everything goes through {proxy}, or not at all"),
            false => format!("what can goes through {proxy}, the rest directly"),
        }];
        if let Some(trouble) = self.proxy.trouble() {
            let nothing = match only {
                true => "nothing goes out",
                false => "nothing of it goes out",
            };
            words.push(format!("{trouble}; {nothing} until it does"));
        }
        if only {
            words.push(
                "off beside the proxy: connections from outside, the local network, port mapping, looking up names"
                    .to_owned(),
            );
        }
        match (&*self.proxy.datagrams.borrow(), only) {
            (Carried::Yes, _) => words.push("DHT, uTP and UDP trackers go through it".to_owned()),
            (Carried::No(why), true) => {
                words.push(format!("DHT, uTP and UDP trackers are off: {why}"));
            }
            (Carried::No(why), false) => {
                words.push(format!("DHT, uTP and UDP trackers go directly: {why}"));
            }
            (Carried::Unknown, _) => {}
        }
        words
    }

    /// How others are reached, and how we are.
    pub fn network(&self) -> api::Network {
        let proxy = self.egress.proxy.as_ref();
        api::Network {
            proxy: proxy.map(ToString::to_string),
            proxy_required: self.egress.required,
            port_mapping: self.ports.words(),
            blocking: self.blocking.shown(),
            dht: self.dht.as_ref().map(|dht| dht.state()),
            external: self.outside.addresses(),
            ports: self.port_states(),
            notes: self
                .interface_words()
                .into_iter()
                .chain(self.proxy_words())
                .collect(),
        }
    }
}

/// Has the proxy carry datagrams, if there is one and it does.
pub(crate) fn run(driver: &Rc<Driver>) {
    let scheme = driver.egress.proxy.as_ref().map(|proxy| proxy.scheme);
    match scheme {
        None => {}
        Some(Scheme::Http) => {
            let why = ProxyError::NoDatagrams.to_string();
            driver.proxy.datagrams.replace(Carried::No(why));
        }
        Some(Scheme::Socks5) => drop(tokio::task::spawn_local(associate(driver.clone()))),
    }
}

/// Keeps an association with the proxy, for ever.
async fn associate(driver: Rc<Driver>) {
    let Some(proxy) = &driver.egress.proxy else {
        return;
    };
    let direct = driver.datagrams.paths();
    let mut pause = SOON;
    loop {
        match Relay::open(&driver.egress, proxy).await {
            Ok(relay) => {
                tracing::debug!(%proxy, "the proxy carries datagrams");
                driver.proxy.heard(&Ok(()));
                driver.proxy.datagrams.replace(Carried::Yes);
                let relay = Rc::new(relay);
                driver.datagrams.relay(relay.clone());
                relay.lost().await;
                driver.datagrams.direct(direct.clone());
                driver.proxy.datagrams.replace(Carried::Unknown);
                pause = SOON;
            }
            Err(error) => {
                tracing::debug!(%proxy, %error, "no association");
                driver
                    .proxy
                    .datagrams
                    .replace(Carried::No(error.to_string()));
                driver.proxy.heard(&Err::<(), _>(error.into()));
                pause = (pause * 2).min(LATE);
            }
        }
        tokio::time::sleep(pause).await;
    }
}
