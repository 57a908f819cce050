//! Who may ask: the host that a request names, the origin it comes from, the token it brings.
//!
//! A page of another origin can neither read nor change anything: it cannot know the token, its
//! requests say where they are from, and a name of its own that resolves to this computer (DNS
//! rebinding) is not a name of ours.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use api::{Kind, Service};
use axum::body::Body;
use axum::extract::State;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{self, HeaderMap};
use http::uri::Authority;
use http::{Method, Request};
use tokio::time::Instant;

use super::answer::{Refusal, dress};
use super::token::{Logins, Token, Wrong};
use super::{App, Counts};

/// From where a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// Through the socket that only its owner can open: no token is needed.
    Local,
    /// Over TCP.
    Tcp {
        /// Its address.
        peer: SocketAddr,
        /// Ours, to which it connected.
        local: SocketAddr,
    },
}

/// A request without a [`Caller`] is from nowhere, and no host is its.
const NOWHERE: Caller = Caller::Tcp {
    peer: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
    local: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
};

/// What needs no token: it says nothing about the daemon's person.
const OPEN: [&str; 7] = [
    "/",
    "/healthz",
    "/login",
    "/login.css",
    "/login.js",
    "/api/v1/openapi.json",
    "/api/v1/sessions",
];

/// What is known of those who ask.
pub(crate) struct Gate {
    token: Token,
    names: Vec<String>,
    logins: Mutex<Logins>,
    wrong: Mutex<Wrong>,
}

impl Gate {
    pub fn new(token: Token, names: Vec<String>, most_wrong: u32) -> Gate {
        Gate {
            token,
            names,
            logins: Mutex::default(),
            wrong: Mutex::new(Wrong::new(most_wrong)),
        }
    }

    /// Codes and sessions.
    pub fn logins<T>(&self, ask: impl FnOnce(&mut Logins, Instant) -> T) -> T {
        let mut logins = self.logins.lock().unwrap_or_else(PoisonError::into_inner);
        ask(&mut logins, Instant::now())
    }

    /// A secret was wrong: what to answer.
    pub fn wrong(&self, counts: &Counts, caller: Caller, detail: &str) -> Refusal {
        counts.refused.fetch_add(1, Ordering::Relaxed);
        let source = match caller {
            Caller::Local => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            Caller::Tcp { peer, .. } => peer.ip(),
        };
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        match wrong.count(Instant::now(), source) {
            None => Refusal::new(Kind::Unauthorized, detail),
            Some(wait) => Refusal::new(
                Kind::TooMany,
                "Too many wrong tokens came from this address. Wait a minute; the right one passes.",
            )
            .retry_after(wait.as_secs() + 1),
        }
    }

    /// Does the request name this daemon? DNS rebinding ends here.
    fn check_host(&self, caller: Caller, request: &Request<Body>) -> Result<(), Refusal> {
        let Caller::Tcp { local, .. } = caller else {
            return Ok(());
        };
        let misdirected = |host: &str| {
            Refusal::new(
                Kind::Misdirected,
                format!(
                    "The request names the host {host}, which is not this daemon. Use \
                     127.0.0.1 or localhost and its port, or give it that name: --api-name."
                ),
            )
        };
        let mut hosts = request.headers().get_all(header::HOST).iter();
        let (host, None) = (hosts.next(), hosts.next()) else {
            return Err(Refusal::new(
                Kind::Malformed,
                "There is more than one Host.",
            ));
        };
        let host = host.map(|host| host.to_str().unwrap_or("?"));
        let named = request.uri().authority().map(Authority::as_str);
        let Some(first) = host.or(named) else {
            return Err(Refusal::new(Kind::Malformed, "The request has no Host."));
        };
        // A request line with a whole URL names a host too (RFC 9112 §3.2.2).
        for name in [Some(first), named].into_iter().flatten() {
            if !self.is_ours(name, local) {
                return Err(misdirected(name));
            }
        }
        Ok(())
    }

    fn is_ours(&self, host: &str, local: SocketAddr) -> bool {
        if self
            .names
            .iter()
            .any(|name| name.eq_ignore_ascii_case(host))
        {
            return true;
        }
        let Ok(authority) = host.parse::<Authority>() else {
            return false;
        };
        if host.contains('@') {
            return false;
        }
        let name = authority.host();
        if self.names.iter().any(|own| own.eq_ignore_ascii_case(name)) {
            return true;
        }
        let ours = local.port() != 0 && authority.port_u16().unwrap_or(80) == local.port();
        let address = name
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse::<IpAddr>();
        ours && match address {
            Ok(address) => {
                address == IpAddr::V4(Ipv4Addr::LOCALHOST)
                    || address == IpAddr::V6(std::net::Ipv6Addr::LOCALHOST)
                    || address == local.ip().to_canonical()
            }
            Err(_) => name.eq_ignore_ascii_case("localhost"),
        }
    }

    /// Is the token of this request right?
    fn check_token(
        &self,
        counts: &Counts,
        caller: Caller,
        headers: &HeaderMap,
    ) -> Result<(), Refusal> {
        if caller == Caller::Local {
            return Ok(());
        }
        let Some(value) = headers.get(header::AUTHORIZATION) else {
            return Err(Refusal::new(
                Kind::Unauthorized,
                "A token is needed: `Authorization: Bearer` and what is in the file api-token of \
                 the daemon's home folder.",
            ));
        };
        let token = bearer(value.as_bytes()).unwrap_or_default();
        if self.token.is(token) || self.logins(|logins, now| logins.knows(now, token)) {
            return Ok(());
        }
        Err(self.wrong(
            counts,
            caller,
            "The token is wrong. The file api-token of the daemon's home folder has the right one.",
        ))
    }
}

/// The token in `Authorization: Bearer …` (RFC 6750 §2.1).
pub(crate) fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(7)?;
    scheme
        .eq_ignore_ascii_case(b"bearer ")
        .then(|| token.trim_ascii())
}

/// Is it from a page of ours, or from no page at all?
fn check_origin(request: &Request<Body>) -> Result<(), Refusal> {
    let headers = request.headers();
    let foreign = || {
        Refusal::new(
            Kind::Forbidden,
            "The request comes from a page of another origin. Only the daemon's own pages, and \
             programs, may ask.",
        )
    };
    for origin in headers.get_all(header::ORIGIN) {
        let origin = origin.as_bytes();
        let host = headers
            .get(header::HOST)
            .map_or(&b""[..], |host| host.as_bytes());
        let own = |scheme: &[u8]| {
            origin
                .strip_prefix(scheme)
                .is_some_and(|rest| !host.is_empty() && rest.eq_ignore_ascii_case(host))
        };
        if !own(b"http://") && !own(b"https://") {
            return Err(foreign());
        }
    }
    // What browsers say where they send no Origin: images, scripts, links.
    let says = |name| headers.get(name).map(http::HeaderValue::as_bytes);
    let site = says("sec-fetch-site");
    let visit = request.method() == Method::GET && says("sec-fetch-mode") == Some(b"navigate");
    match site {
        None | Some(b"same-origin" | b"none") => Ok(()),
        Some(_) if visit && OPEN.contains(&request.uri().path()) => Ok(()),
        Some(_) => Err(foreign()),
    }
}

/// Lets a request through or refuses it, and dresses the answer.
pub(crate) async fn guard<S: Service>(
    State(app): State<Arc<App<S>>>,
    request: Request<Body>,
    next: Next,
) -> Response {
    let caller = *request.extensions().get().unwrap_or(&NOWHERE);
    let open = OPEN.contains(&request.uri().path());
    let allowed = app
        .gate
        .check_host(caller, &request)
        .and_then(|()| check_origin(&request))
        .and_then(|()| match open {
            true => Ok(()),
            false => app.gate.check_token(&app.counts, caller, request.headers()),
        });
    let mut response = match allowed {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    };
    app.counts.answered(response.status());
    dress(response.headers_mut());
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours(host: &str, local: &str) -> bool {
        let names = vec!["starling.example".to_owned(), "box:8080".to_owned()];
        Gate::new(Token::random(), names, 10).is_ours(host, local.parse().unwrap())
    }

    #[test]
    fn only_names_of_this_computer_with_our_port_are_ours() {
        let local = "127.0.0.1:7117";
        for host in [
            "127.0.0.1:7117",
            "localhost:7117",
            "LOCALHOST:7117",
            "[::1]:7117",
        ] {
            assert!(ours(host, local), "{host}");
        }
        for host in [
            "127.0.0.1",
            "127.0.0.1:80",
            "127.0.0.1:7118",
            "evil.example:7117",
            "localhost.evil.example:7117",
            "a.localhost:7117",
            "127.0.0.1:7117@evil.example",
            "evil.example@127.0.0.1:7117",
            "",
            ":7117",
            "0.0.0.0:7117",
            "[::1]:7118",
            "127.0.0.1:7117:7117",
            "2130706433:7117",
            "localhost.:7117",
        ] {
            assert!(!ours(host, local), "{host}");
        }
    }

    #[test]
    fn the_address_it_listens_on_and_names_it_was_given_are_ours() {
        assert!(ours("192.168.1.5:7117", "192.168.1.5:7117"));
        assert!(ours("192.168.1.5:7117", "[::ffff:192.168.1.5]:7117"));
        assert!(!ours("192.168.1.6:7117", "192.168.1.5:7117"));
        assert!(ours("localhost", "127.0.0.1:80"));
        assert!(ours("starling.example", "127.0.0.1:7117"));
        assert!(ours("starling.example:443", "127.0.0.1:7117"));
        assert!(ours("box:8080", "127.0.0.1:7117"));
        assert!(!ours("box:8081", "127.0.0.1:7117"));
    }

    #[test]
    fn bearer_is_read_in_any_case() {
        assert_eq!(bearer(b"Bearer abc"), Some(&b"abc"[..]));
        assert_eq!(bearer(b"bearer  abc "), Some(&b"abc"[..]));
        assert_eq!(bearer(b"Basic abc"), None);
        assert_eq!(bearer(b"Bearer"), None);
    }
}
