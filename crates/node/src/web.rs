//! HTTP, the little of it that a node needs: tracker announces and torrent files by URL.
//!
//! URLs come from strangers. A tracker URL may not make us call services inside the network: see
//! `discovery::tracker::rules`. Redirects are followed by hand, so that each step is judged by
//! the addresses really connected to.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use discovery::scope::Scope;
use discovery::tracker::rules::{is_bad_port, redirect_allowed, shown};
use link::Egress;
use link::proxy::{Proxy, Scheme, Target};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Client, NoProxy, Response, StatusCode, Url, header, redirect};

use crate::drivers::blocking::Blocking;
use crate::drivers::proxy::passes_by;

/// Neighbours, whom no proxy could reach, as the HTTP client wants them.
const NEAR: &str = "127.0.0.0/8,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,100.64.0.0/10,169.254.0.0/16,::1,fc00::/7,fe80::/10";
/// Stands for a place that only a proxy knows (RFC 5737).
const OUTSIDE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
/// Steps of a redirect followed.
const REDIRECTS: usize = 5;
/// Connections kept to a host of which more is wanted...
const KEPT: usize = 4;
/// ...and for how long.
const IDLE: Duration = Duration::from_secs(30);
/// Hosts whose judged addresses are remembered for the client.
const MOST_PINS: usize = 1024;
/// One request with all its redirects.
const PATIENCE: Duration = Duration::from_secs(30);
/// Largest torrent file fetched, in bytes; the same as is read from disk.
pub const MOST_TORRENT: usize = 128 << 20;
/// Largest tracker answer, in bytes: thousands of peers fit.
pub const MOST_ANNOUNCE: usize = 1 << 20;

/// Who gave the URL.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trust {
    /// The person: they may name any address.
    Person,
    /// A torrent or link: on this computer only `/announce` may be called.
    Stranger,
    /// A torrent or link that names a web seed: nothing inside our own network.
    Seed,
}

/// Why a URL gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// It cannot be understood, or its scheme is not HTTP.
    #[error("“{0}” is not an http or https address")]
    Url(String),
    /// Its host has no address.
    #[error("{host} cannot be found: {source}. Check the address and the network")]
    Resolve {
        /// The host.
        host: String,
        /// The system's words.
        source: std::io::Error,
    },
    /// It would make us call a service inside the network.
    #[error("{0} leads from a public address into the local network; that is refused")]
    Inward(String),
    /// A web seed inside the network that nobody asked for.
    #[error(
        "{0} is inside the local network, where a torrent may not send us. Add it by hand if it is meant"
    )]
    Inside(String),
    /// A port of another service.
    #[error("{0} is at a port of another service; that is refused")]
    Port(String),
    /// It is on the block list.
    #[error("{0} is at {1}, which is on the block list")]
    Blocked(String, IpAddr),
    /// A tracker on this computer whose path is not `/announce`.
    #[error("{0} is on this computer and not a tracker's /announce; that is refused")]
    NotAnnounce(String),
    /// No connection, or it broke.
    #[error("{host} does not answer: {why}")]
    Connect {
        /// The host.
        host: String,
        /// The reason in words.
        why: String,
    },
    /// It answered with an error.
    #[error("{host} answers {status}")]
    Status {
        /// The host.
        host: String,
        /// Code and phrase.
        status: String,
    },
    /// Redirected more often than is followed.
    #[error("{0} redirects in circles")]
    Circles(String),
    /// The answer is larger than accepted.
    #[error("{host} sends more than {} MiB; that is refused", limit >> 20)]
    TooLarge {
        /// The host.
        host: String,
        /// Bytes accepted.
        limit: usize,
    },
}

/// Addresses already judged, for the client to connect to.
#[derive(Clone, Default)]
struct Pins(Arc<Mutex<BTreeMap<String, Vec<SocketAddr>>>>);

impl Resolve for Pins {
    fn resolve(&self, name: Name) -> Resolving {
        let pinned = self
            .0
            .lock()
            .map(|pins| pins.get(name.as_str()).cloned())
            .unwrap_or_default();
        Box::pin(async move {
            let addrs: Addrs = Box::new(pinned.unwrap_or_default().into_iter());
            Ok(addrs)
        })
    }
}

/// Addresses to connect to for a host.
struct Pin {
    host: String,
    addrs: Vec<SocketAddr>,
}

/// An answer of which the body is still to be read.
pub struct Answer {
    /// The answer, whatever its status.
    pub response: Response,
    /// Where it came from in the end.
    pub url: Url,
    /// The address that led there.
    pub said_by: IpAddr,
}

/// An HTTP client, made when it is first needed: loading certificates takes a moment.
pub struct Web {
    /// For what is asked once in a while.
    client: OnceCell<Client>,
    /// For what is asked again and again: it keeps connections.
    steady: OnceCell<Client>,
    pins: Pins,
    egress: Egress,
    blocking: Rc<Blocking>,
}

impl Web {
    /// Connections leave as `egress` says, and to nobody who is blocked.
    pub fn new(egress: &Egress, blocking: Rc<Blocking>) -> Web {
        Web {
            client: OnceCell::new(),
            steady: OnceCell::new(),
            pins: Pins::default(),
            egress: egress.clone(),
            blocking,
        }
    }

    /// A client that keeps so many idle connections to a host.
    fn client(&self, idle: usize) -> &Client {
        let client = match idle {
            0 => &self.client,
            _ => &self.steady,
        };
        client.get_or_init(|| {
            let mut builder = Client::builder()
                .dns_resolver(self.pins.clone())
                .redirect(redirect::Policy::none())
                .local_address(self.egress.bind.filter(|ip| !ip.is_unspecified()))
                .user_agent(concat!("Starling/", env!("CARGO_PKG_VERSION")))
                .pool_max_idle_per_host(idle)
                .pool_idle_timeout(IDLE)
                .http2_adaptive_window(true)
                .no_proxy();
            if let Some(proxy) = &self.egress.proxy {
                builder = builder.proxy(through(proxy, self.egress.required));
            }
            #[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
            if let Some(interface) = &self.egress.interface {
                builder = builder.interface(interface);
            }
            // A client of another kind might go beside the proxy.
            builder
                .build()
                .expect("the platform's TLS can be set up, which nothing from outside can change")
        })
    }

    /// Whether the proxy is what finds and reaches this host.
    fn is_proxied(&self, url: &Url) -> bool {
        let host = url.host_str().unwrap_or_default();
        match Target::new(host, 0) {
            Target::Addr(addr) => !passes_by(&self.egress, addr.ip()),
            Target::Name(..) => self.egress.proxy.is_some(),
        }
    }

    /// Where a step leads, as far as we can know, which is to be judged; and whom to connect to if it is right: for what
    /// goes through a proxy, the proxy.
    async fn lead(
        &self,
        url: &Url,
        v6: Option<bool>,
    ) -> Result<(Vec<SocketAddr>, Pin), FetchError> {
        let (Some(proxy), true) = (&self.egress.proxy, self.is_proxied(url)) else {
            let addrs = resolve(url, v6).await?;
            let pin = Pin {
                host: url.host_str().unwrap_or_default().to_owned(),
                addrs: addrs.clone(),
            };
            return Ok((addrs, pin));
        };
        let away = |why: std::io::Error| FetchError::Connect {
            host: proxy.to_string(),
            why: why.to_string(),
        };
        let at = tokio::net::lookup_host((proxy.host.as_str(), proxy.port)).await;
        let pin = Pin {
            host: proxy.host.clone(),
            addrs: at.map_err(away)?.collect(),
        };
        let host = url.host_str().unwrap_or_default();
        let leads = match Target::new(host, 0) {
            Target::Addr(addr) => vec![addr],
            Target::Name(name, _) if name.eq_ignore_ascii_case("localhost") => {
                vec![([127, 0, 0, 1], 0).into()]
            }
            Target::Name(..) => Vec::new(),
        };
        Ok((leads, pin))
    }

    fn keep(&self, pin: Pin) {
        let name = pin.host.trim_matches(['[', ']']).to_owned();
        if let Ok(mut pins) = self.pins.0.lock() {
            if pins.len() >= MOST_PINS && !pins.contains_key(&name) {
                pins.pop_first();
            }
            pins.insert(name, pin.addrs);
        }
    }

    /// Whether an address is one that a step may lead to.
    fn judge(
        &self,
        url: &Url,
        ip: IpAddr,
        trust: Trust,
        from: Option<IpAddr>,
    ) -> Result<(), FetchError> {
        if self.blocking.blocks(ip) {
            let host = url.host_str().unwrap_or_default();
            return Err(FetchError::Blocked(host.to_owned(), ip));
        }
        judge(url, ip, trust, from)
    }

    /// Asks for bytes of a file. `from` is the address that named this URL, if it was not the torrent or the person.
    ///
    /// # Errors
    /// See [`FetchError`]; what the server says in its status is the caller's to judge.
    pub async fn range(
        &self,
        url: Url,
        trust: Trust,
        from: Option<IpAddr>,
        range: &Range<u64>,
    ) -> Result<Answer, FetchError> {
        let mut headers = header::HeaderMap::new();
        let bytes = format!("bytes={}-{}", range.start, range.end.saturating_sub(1));
        if let Ok(bytes) = bytes.parse() {
            headers.insert(header::RANGE, bytes);
        }
        let identity = header::HeaderValue::from_static("identity");
        headers.insert(header::ACCEPT_ENCODING, identity);
        let how = How {
            trust,
            v6: None,
            idle: KEPT,
            headers,
        };
        self.send(url, from, &how).await
    }

    /// Fetches a URL, over IPv4 or IPv6 only if `family` says so.
    ///
    /// # Errors
    /// See [`FetchError`]; each says what to do or whom to blame.
    pub async fn get(
        &self,
        url: &str,
        trust: Trust,
        v6: Option<bool>,
        limit: usize,
    ) -> Result<Vec<u8>, FetchError> {
        match tokio::time::timeout(PATIENCE, self.follow(url, trust, v6, limit)).await {
            Ok(result) => result,
            Err(_) => {
                let host = Url::parse(url)
                    .ok()
                    .and_then(|u| u.host_str().map(str::to_owned));
                let why = format!("nothing within {} s", PATIENCE.as_secs());
                Err(FetchError::Connect {
                    host: host.unwrap_or_default(),
                    why,
                })
            }
        }
    }

    async fn follow(
        &self,
        url: &str,
        trust: Trust,
        v6: Option<bool>,
        limit: usize,
    ) -> Result<Vec<u8>, FetchError> {
        let how = How {
            trust,
            v6,
            idle: 0,
            headers: header::HeaderMap::new(),
        };
        let answer = self.send(parse(url)?, None, &how).await?;
        let host = answer.url.host_str().unwrap_or_default().to_owned();
        let mut response = answer.response;
        let status = response.status();
        if !status.is_success() {
            return Err(FetchError::Status {
                host,
                status: status.to_string(),
            });
        }
        let mut body = Vec::new();
        loop {
            let chunk = response.chunk().await;
            match chunk.map_err(|e| FetchError::Connect {
                host: host.clone(),
                why: plain(&e),
            })? {
                Some(bytes) if body.len() + bytes.len() > limit => {
                    return Err(FetchError::TooLarge { host, limit });
                }
                Some(bytes) => body.extend_from_slice(&bytes),
                None => return Ok(body),
            }
        }
    }

    /// Asks, and follows redirects by hand: each step is judged.
    async fn send(
        &self,
        mut url: Url,
        mut from: Option<IpAddr>,
        how: &How,
    ) -> Result<Answer, FetchError> {
        for _ in 0..REDIRECTS {
            let host = url.host_str().unwrap_or_default().to_owned();
            let (addrs, pin) = self.lead(&url, how.v6).await?;
            for addr in &addrs {
                self.judge(&url, addr.ip(), how.trust, from)?;
            }
            self.keep(pin);
            // Where a name leads that only the proxy knows counts as outside: from there nothing leads inward.
            let here = addrs.first().map_or(OUTSIDE, |a| a.ip());
            let request = self.client(how.idle).get(url.clone());
            let sent = request.headers(how.headers.clone()).send().await;
            let response = sent.map_err(|e| FetchError::Connect {
                host: host.clone(),
                why: match &self.egress.proxy {
                    Some(proxy) if self.is_proxied(&url) => {
                        format!("through {proxy}: {}", plain(&e))
                    }
                    _ => plain(&e),
                },
            })?;
            // Another request for the same name may have been led, and allowed, elsewhere meanwhile.
            if let (Some(at), false) = (response.remote_addr(), self.is_proxied(&url)) {
                self.judge(&url, at.ip(), how.trust, from)?;
            }
            let status = response.status();
            if status.is_redirection() && status != StatusCode::NOT_MODIFIED {
                let to = response
                    .headers()
                    .get(header::LOCATION)
                    .and_then(|l| l.to_str().ok());
                let to = to.and_then(|to| url.join(to).ok());
                from = Some(here);
                url = match to {
                    Some(to) => parse(to.as_str())?,
                    None => {
                        return Err(FetchError::Status {
                            host,
                            status: status.to_string(),
                        });
                    }
                };
                continue;
            }
            return Ok(Answer {
                response,
                url,
                said_by: from.unwrap_or(here),
            });
        }
        Err(FetchError::Circles(url.to_string()))
    }
}

/// How something is asked for.
struct How {
    trust: Trust,
    v6: Option<bool>,
    /// Connections kept to a host.
    idle: usize,
    headers: header::HeaderMap,
}

/// Reads a URL.
///
/// # Errors
/// [`FetchError::Url`].
pub fn parse(url: &str) -> Result<Url, FetchError> {
    let bad = || FetchError::Url(url.to_owned());
    let url = Url::parse(url).map_err(|_| bad())?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(bad());
    }
    Ok(url)
}

async fn resolve(url: &Url, v6: Option<bool>) -> Result<Vec<SocketAddr>, FetchError> {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let port = url.port_or_known_default().unwrap_or(80);
    let failed = |source| FetchError::Resolve {
        host: host.to_owned(),
        source,
    };
    let addrs = tokio::net::lookup_host((host, port))
        .await
        .map_err(failed)?;
    let addrs: Vec<SocketAddr> = addrs
        .filter(|a| v6.is_none_or(|v6| a.is_ipv6() == v6))
        .collect();
    if addrs.is_empty() {
        return Err(failed(std::io::ErrorKind::NotFound.into()));
    }
    Ok(addrs)
}

/// Whether this step may be taken: to `ip`, after having been at `from`.
fn judge(url: &Url, ip: IpAddr, trust: Trust, from: Option<IpAddr>) -> Result<(), FetchError> {
    if from.is_some_and(|from| !redirect_allowed(from, ip)) {
        return Err(FetchError::Inward(url.to_string()));
    }
    if trust == Trust::Seed {
        if Scope::of(ip) != Scope::Public {
            return Err(FetchError::Inside(shown(url.as_str())));
        }
        if url.port_or_known_default().is_none_or(is_bad_port) {
            return Err(FetchError::Port(shown(url.as_str())));
        }
    }
    let announces = url.path().starts_with("/announce");
    if trust == Trust::Stranger && Scope::of(ip) == Scope::Loopback && !announces {
        return Err(FetchError::NotAnnounce(url.to_string()));
    }
    Ok(())
}

/// The innermost reason, which is the one that helps.
fn plain(error: &reqwest::Error) -> String {
    let mut inner: &dyn std::error::Error = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}

/// A proxy as the HTTP client knows it: names are looked up there, and neighbours are reached directly unless nothing
/// may be.
fn through(proxy: &Proxy, required: bool) -> reqwest::Proxy {
    let scheme = match proxy.scheme {
        Scheme::Socks5 => "socks5h",
        Scheme::Http => "http",
    };
    let host = match proxy.host.contains(':') {
        true => format!("[{}]", proxy.host),
        false => proxy.host.clone(),
    };
    let url = Url::parse(&format!("{scheme}://{host}:{}", proxy.port));
    let mut url = url.expect("a proxy has been parsed, and its parts make a URL");
    if let Some(login) = &proxy.login {
        // Only a URL without a host has no place for them.
        let _ = url.set_username(&login.name);
        let _ = url.set_password(Some(&login.password));
    }
    let through = reqwest::Proxy::all(url).expect("its scheme is one that the client knows");
    let near = (!required).then(|| NoProxy::from_string(NEAR));
    through.no_proxy(near.flatten())
}

/// Fetches a torrent file by a URL the person gave. Blocks; for programs that run no node yet.
///
/// # Errors
/// See [`FetchError`].
pub fn fetch_torrent(url: &str, egress: &Egress) -> Result<Vec<u8>, FetchError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(|e| FetchError::Connect {
        host: String::new(),
        why: e.to_string(),
    })?;
    runtime.block_on(Web::new(egress, Rc::default()).get(url, Trust::Person, None, MOST_TORRENT))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    /// Answers each connection with the next of these, verbatim; gives its address.
    fn server(answers: Vec<String>) -> SocketAddr {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for answer in answers {
                let Ok((mut stream, _)) = listener.accept() else {
                    return;
                };
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        addr
    }

    fn get(url: &str, trust: Trust, limit: usize) -> Result<Vec<u8>, FetchError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(Web::new(&Egress::default(), Rc::default()).get(url, trust, None, limit))
    }

    fn ok(body: &str) -> String {
        format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    }

    #[test]
    fn a_torrent_is_fetched_and_redirects_within_the_same_network_are_followed() {
        let end = server(vec![ok("d4:spam4:eggse")]);
        let to =
            format!("HTTP/1.1 302 Found\r\nLocation: http://{end}/x\r\nContent-Length: 0\r\n\r\n");
        let start = server(vec![to]);
        assert_eq!(
            get(&format!("http://{start}/"), Trust::Person, 100).unwrap(),
            b"d4:spam4:eggse"
        );
    }

    #[test]
    fn strangers_reach_nothing_on_this_computer_but_announce() {
        let addr = server(vec![ok("x")]);
        let error = get(
            &format!("http://{addr}/admin?delete=all"),
            Trust::Stranger,
            100,
        )
        .unwrap_err();
        assert!(matches!(error, FetchError::NotAnnounce(_)), "{error}");
        assert_eq!(
            get(&format!("http://{addr}/announce"), Trust::Stranger, 100).unwrap(),
            b"x"
        );
    }

    #[test]
    fn where_a_name_may_not_lead_nobody_is_led() {
        let url = format!("http://localhost:{}/admin", server(vec![ok("x")]).port());
        let web = Web::new(&Egress::default(), Rc::default());
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().build().unwrap();
        let refused = runtime.block_on(web.get(&url, Trust::Stranger, None, 9));
        assert!(
            matches!(refused, Err(FetchError::NotAnnounce(_))),
            "{refused:?}"
        );
        // Another request for this name, which was allowed elsewhere, connects to what is pinned.
        assert!(web.pins.0.lock().unwrap().is_empty());
    }

    #[test]
    fn a_public_address_does_not_lead_inward() {
        let url = Url::parse("http://192.168.1.1/announce").unwrap();
        let public = Some("93.184.216.34".parse().unwrap());
        for inside in ["192.168.1.1", "127.0.0.1", "::1", "169.254.1.1", "fd00::1"] {
            let error = judge(&url, inside.parse().unwrap(), Trust::Stranger, public).unwrap_err();
            assert!(matches!(error, FetchError::Inward(_)), "{error}");
        }
        assert!(judge(&url, "192.168.1.1".parse().unwrap(), Trust::Stranger, None).is_ok());
    }

    #[test]
    fn too_much_too_many_and_nothing_end_in_a_sentence() {
        let addr = server(vec![ok(&"x".repeat(1000))]);
        assert!(matches!(
            get(&format!("http://{addr}/"), Trust::Person, 999),
            Err(FetchError::TooLarge { .. })
        ));
        let addr = server(vec!["HTTP/1.1 302 F\r\nLocation: /again\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_owned(); 9]);
        assert!(matches!(
            get(&format!("http://{addr}/"), Trust::Person, 9),
            Err(FetchError::Circles(_))
        ));
        let addr = server(vec![
            "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned(),
        ]);
        assert!(
            get(&format!("http://{addr}/"), Trust::Person, 9)
                .unwrap_err()
                .to_string()
                .contains("404")
        );
        assert!(matches!(
            get("ftp://x/y", Trust::Person, 9),
            Err(FetchError::Url(_))
        ));
    }
}
