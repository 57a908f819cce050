//! Has the router pass our port on to us: by PCP or NAT-PMP (`crab_nat`), else by UPnP (`igd-next`).
//!
//! A mapping is for a while and renewed half-way; a router that is another one now, or slept together with us, is
//! asked anew. What a stop leaves behind, the router forgets by itself.

mod route;

use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU16;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use crab_nat::{
    GatewayAddress, InternetProtocol, PortMapping, PortMappingOptions, PortMappingType,
};
use discovery::external::Voter;
use discovery::scope::Scope;
use igd_next::aio::Gateway;
use igd_next::aio::tokio::{Tokio, search_gateway};
use igd_next::{AddPortError, PortMappingProtocol, SearchOptions};

use super::Driver;

/// A mapping is asked for so long.
const LEASE: Duration = Duration::from_secs(3600);
/// How often it is seen whether the router is still the same.
const LOOK: Duration = Duration::from_secs(30);
/// A router that did not do it is asked again after so long.
const AGAIN: Duration = Duration::from_secs(10 * 60);
/// A router has so long to answer a search.
const SEARCH: Duration = Duration::from_secs(4);
/// The first wait for an answer of PCP or NAT-PMP; each of the [`RETRIES`] waits twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(250);
const RETRIES: usize = 3;
/// Taking a mapping back may take so long: somebody waits for us to end.
const FAREWELL: Duration = Duration::from_millis(1000);
/// What the router shows in its list.
const NAME: &str = "Starling";

/// What there is between us and the internet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Place {
    own: Ipv4Addr,
    gateway: Option<Ipv4Addr>,
}

/// Something that passes our port on.
enum Mapping {
    /// By PCP or NAT-PMP: TCP and UDP.
    Asked(Box<[PortMapping; 2]>),
    /// By UPnP.
    Upnp(Box<Gateway<Tokio>>),
}

/// How it goes with the router.
#[derive(Default)]
pub(crate) struct Ports {
    words: RefCell<Option<String>>,
    mapping: RefCell<Option<Mapping>>,
}

impl Ports {
    /// In words; none: it is off.
    pub fn words(&self) -> Option<String> {
        self.words.borrow().clone()
    }

    fn say(&self, words: String) {
        tracing::info!("port mapping: {words}");
        self.words.replace(Some(words));
    }

    /// Takes the mapping back.
    pub async fn end(&self, port: u16) {
        let mapping = self.mapping.borrow_mut().take();
        let Some(mapping) = mapping else { return };
        // A router that does not answer forgets it in an hour.
        let _ = tokio::time::timeout(FAREWELL, remove(mapping, port)).await;
    }
}

async fn remove(mapping: Mapping, port: u16) {
    match mapping {
        Mapping::Asked(both) => {
            for mapping in *both {
                let _ = mapping.try_drop().await;
            }
        }
        Mapping::Upnp(router) => {
            for protocol in [PortMappingProtocol::TCP, PortMappingProtocol::UDP] {
                let _ = router.remove_port(protocol, port).await;
            }
        }
    }
}

/// Why there is no mapping.
enum Trouble {
    /// Nobody answers.
    Nobody,
    /// Somebody does, and it means nothing.
    Nonsense,
    /// The router says no.
    Refused(String),
}

/// Keeps our port mapped, for ever.
pub(crate) async fn run(driver: Rc<Driver>) {
    let ports = &driver.ports;
    if driver.egress.only_proxy().is_some() {
        return ports.say("off: all goes through the proxy".to_owned());
    }
    if driver.egress.interface.is_some() {
        return ports.say(
            "off: all goes by one interface, and routers are not asked through it".to_owned(),
        );
    }
    loop {
        let here = place(driver.egress.bind);
        let Some(here) = here.filter(|here| Scope::of(here.own.into()) == Scope::Private) else {
            ports.say(match here {
                None => "not needed: there is no way out over IPv4".to_owned(),
                Some(here) => match Scope::of(here.own.into()) {
                    Scope::Public => format!("not needed: {} is a public address", here.own),
                    _ => format!("not possible: nobody outside reaches {}", here.own),
                },
            });
            until_moved(&driver, here, AGAIN * 6).await;
            continue;
        };
        let port = driver.listening.port();
        let before = ports.mapping.borrow_mut().take();
        if let Some(before) = before {
            // PCP knows a mapping by what it was asked for with: it is renewed, not asked for again.
            match renew(before, here).await {
                Ok(mapping) => {
                    ports.mapping.replace(Some(mapping));
                    until_moved(&driver, Some(here), LEASE / 2).await;
                    continue;
                }
                Err(Some(old)) => drop(tokio::time::timeout(FAREWELL, remove(old, port)).await),
                Err(None) => {}
            }
        }
        match map(here, port).await {
            Ok((mapping, outside, words)) => {
                ports.say(words);
                ports.mapping.replace(Some(mapping));
                if let (Some(ip), Some(gateway)) = (outside, here.gateway) {
                    driver.vote_as(Voter::Peer, gateway.into(), ip);
                }
                until_moved(&driver, Some(here), LEASE / 2).await;
            }
            Err(Trouble::Nobody) => {
                ports.say("no router here answers UPnP, NAT-PMP or PCP".to_owned());
                until_moved(&driver, Some(here), AGAIN).await;
            }
            Err(Trouble::Nonsense) => {
                ports.say("the router's answer is none of UPnP, NAT-PMP or PCP".to_owned());
                until_moved(&driver, Some(here), AGAIN).await;
            }
            Err(Trouble::Refused(why)) => {
                ports.say(format!("the router refuses: {why}"));
                until_moved(&driver, Some(here), AGAIN).await;
            }
        }
    }
}

/// Renews what PCP or NAT-PMP gave; gives back what is to be asked for anew.
async fn renew(before: Mapping, here: Place) -> Result<Mapping, Option<Mapping>> {
    let Mapping::Asked(mut both) = before else {
        // UPnP takes the same again.
        return Err(None);
    };
    let same = here.gateway.map(GatewayAddress::IpV4) == Some(both[0].gateway());
    for mapping in both.iter_mut() {
        if !same || mapping.renew().await.is_err() {
            return Err(Some(Mapping::Asked(both)));
        }
    }
    Ok(Mapping::Asked(both))
}

/// Waits so long, by the clock on the wall, which goes on while the computer sleeps; or until we are elsewhere.
async fn until_moved(driver: &Driver, here: Option<Place>, long: Duration) {
    let since = SystemTime::now();
    loop {
        tokio::time::sleep(LOOK).await;
        // A clock that was set back is no reason to wait longer.
        let over = since.elapsed().is_ok_and(|past| past < long);
        if !over || place(driver.egress.bind) != here {
            return;
        }
    }
}

/// Where we are; `None`: nowhere that IPv4 leads out of.
fn place(bind: Option<IpAddr>) -> Option<Place> {
    let gateway = route::gateway();
    let own = match bind {
        Some(IpAddr::V4(ip)) if !ip.is_unspecified() => ip,
        Some(IpAddr::V6(_)) => return None,
        _ => {
            // Chooses a way and sends nothing.
            let socket = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
            let outside = gateway.unwrap_or(Ipv4Addr::new(192, 0, 2, 1));
            socket.connect((outside, 1900)).ok()?;
            match socket.local_addr().ok()?.ip() {
                IpAddr::V4(ip) => ip,
                IpAddr::V6(_) => return None,
            }
        }
    };
    Some(Place { own, gateway })
}

/// Asks in every way there is; answers what passes the port on, which address the router has outside, and all of it in
/// words.
async fn map(here: Place, port: u16) -> Result<(Mapping, Option<IpAddr>, String), Trouble> {
    let asked = match here.gateway {
        Some(gateway) => by_asking(here.own, gateway, port).await,
        None => Err(Trouble::Nobody),
    };
    let before = match asked {
        Ok(mapped) => return Ok(mapped),
        Err(trouble) => trouble,
    };
    match by_upnp(here.own, port).await {
        Err(Trouble::Nobody) => Err(before),
        mapped => mapped,
    }
}

async fn by_asking(
    own: Ipv4Addr,
    gateway: Ipv4Addr,
    port: u16,
) -> Result<(Mapping, Option<IpAddr>, String), Trouble> {
    let router = GatewayAddress::IpV4(gateway);
    let number = NonZeroU16::new(port).ok_or(Trouble::Nobody)?;
    let patience = crab_nat::TimeoutConfig {
        initial_timeout: FIRST_WAIT,
        max_retries: RETRIES,
        max_retry_timeout: None,
    };
    let options = PortMappingOptions {
        external_port: Some(number),
        lifetime_seconds: Some(LEASE.as_secs() as u32),
        timeout_config: Some(patience),
    };
    let ask = |protocol| PortMapping::new(router, own.into(), protocol, number, options);
    let tcp = ask(InternetProtocol::Tcp).await.map_err(trouble_of)?;
    let udp = match ask(InternetProtocol::Udp).await {
        Ok(udp) => udp,
        Err(error) => {
            let _ = tcp.try_drop().await;
            return Err(trouble_of(error));
        }
    };
    let given = [tcp.external_port(), udp.external_port()];
    let (how, outside) = match tcp.mapping_type() {
        PortMappingType::Pcp { external_ip, .. } => ("PCP", Some(external_ip)),
        PortMappingType::NatPmp => {
            let outside = crab_nat::natpmp::external_address(router, Some(patience)).await;
            ("NAT-PMP", outside.ok().map(IpAddr::V4))
        }
    };
    let mapping = Mapping::Asked(Box::new([tcp, udp]));
    if given != [number, number] {
        remove(mapping, port).await;
        return Err(Trouble::Refused(format!(
            "port {port} belongs to somebody else already (it offers {}): choose another port with listen",
            given[0]
        )));
    }
    Ok((mapping, outside, words(outside, port, how, gateway.into())))
}

fn trouble_of(error: crab_nat::MappingFailure) -> Trouble {
    use crab_nat::{MappingFailure, natpmp, pcp};
    use natpmp::Failure as NatPmp;
    use pcp::Failure as Pcp;
    match error {
        MappingFailure::NatPmp(
            NatPmp::Socket(_) | NatPmp::Timeout | NatPmp::UnsupportedVersion(_),
        )
        | MappingFailure::Pcp(Pcp::Socket(_) | Pcp::Timeout | Pcp::UnsupportedVersion(_)) => {
            Trouble::Nobody
        }
        MappingFailure::NatPmp(NatPmp::InvalidResponse(_))
        | MappingFailure::Pcp(Pcp::Nonce | Pcp::InvalidResponse(_)) => Trouble::Nonsense,
        refusal => Trouble::Refused(refusal.to_string()),
    }
}

async fn by_upnp(own: Ipv4Addr, port: u16) -> Result<(Mapping, Option<IpAddr>, String), Trouble> {
    let mut options = SearchOptions::default();
    options.bind_addr = (own, 0).into();
    options.timeout = Some(SEARCH);
    options.single_search_timeout = Some(SEARCH);
    let router = search_gateway(options).await.map_err(|_| Trouble::Nobody)?;
    let inside = SocketAddr::from((own, port));
    for protocol in [PortMappingProtocol::TCP, PortMappingProtocol::UDP] {
        let lease = LEASE.as_secs() as u32;
        let mut added = router.add_port(protocol, port, inside, lease, NAME).await;
        if matches!(added, Err(AddPortError::OnlyPermanentLeasesSupported)) {
            added = router.add_port(protocol, port, inside, 0, NAME).await;
        }
        if let Err(error) = added {
            if protocol == PortMappingProtocol::UDP {
                let _ = router.remove_port(PortMappingProtocol::TCP, port).await;
            }
            return Err(Trouble::Refused(match error {
                AddPortError::PortInUse => format!(
                    "port {port} belongs to somebody else already: choose another port with listen"
                ),
                error => format!("UPnP: {error}"),
            }));
        }
    }
    let outside = router.get_external_ip().await.ok();
    let words = words(outside, port, "UPnP", router.addr.ip());
    Ok((Mapping::Upnp(Box::new(router)), outside, words))
}

fn words(outside: Option<IpAddr>, port: u16, how: &str, router: IpAddr) -> String {
    match outside {
        Some(ip) if Scope::of(ip) == Scope::Public => {
            format!(
                "mapped to {} by {how} on router {router}",
                SocketAddr::new(ip, port)
            )
        }
        Some(ip) => format!(
            "mapped to {} by {how} on router {router}, which has no public address itself: another router is in \
             between, and nobody outside gets through it",
            SocketAddr::new(ip, port)
        ),
        None => format!("mapped to port {port} by {how} on router {router}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_mapping_is_good_for_is_said() {
        let router = "192.168.1.1".parse().unwrap();
        let said = |ip: &str| words(Some(ip.parse().unwrap()), 6881, "UPnP", router);
        assert_eq!(
            said("203.0.113.5"),
            "mapped to 203.0.113.5:6881 by UPnP on router 192.168.1.1"
        );
        assert!(said("100.64.0.9").contains("another router is in between"));
        assert!(words(None, 6881, "PCP", router).starts_with("mapped to port 6881 by PCP"));
    }
}
