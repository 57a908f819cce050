//! Which announce URLs are followed, and where they may lead. URLs come from strangers, and must not make this
//! program knock at services inside its own network.
//!
//! The rules are those of other clients: http, https and udp only; no ports of other well-known services; no query
//! that already is an announce; this computer itself only under `/announce`; no redirect from outside to inside.

use std::net::IpAddr;

use crate::scope::Scope;

/// Longest announce URL used, in bytes.
pub const MAX_URL_LEN: usize = 2048;

/// Longest host name, in bytes (RFC 1035 §2.3.4).
const MAX_HOST_LEN: usize = 253;

/// Ports of services that can be harmed by what looks like text to them (WHATWG Fetch, "port blocking").
const BAD_PORTS: [u16; 83] = [
    0, 1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101,
    102, 103, 104, 109, 110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427,
    465, 512, 513, 514, 515, 526, 530, 531, 532, 540, 548, 554, 556, 563, 587, 601, 636, 989, 990,
    993, 995, 1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667,
    6668, 6669, 6679, 6697, 10080,
];

/// Parameters that only an announce adds; a URL that brings its own wants something else.
const ANNOUNCE_PARAMETERS: [&str; 9] = [
    "info_hash",
    "peer_id",
    "port",
    "uploaded",
    "downloaded",
    "left",
    "event",
    "key",
    "corrupt",
];

/// How a tracker is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Plain HTTP.
    Http,
    /// HTTP over TLS.
    Https,
    /// BEP 15.
    Udp,
}

/// An announce URL that keeps the rules.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TrackerUrl {
    text: String,
    scheme: Scheme,
    userinfo: Option<String>,
    host: String,
    port: u16,
    path: String,
}

/// Which rule a URL or an address breaks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// Longer than [`MAX_URL_LEN`].
    #[error("the tracker's URL is too long")]
    TooLong,
    /// White space, control characters, or anything beyond ASCII.
    #[error("the tracker's URL contains characters that must be percent-encoded")]
    Characters,
    /// Not http, https or udp.
    #[error("trackers are reached over http, https or udp; this URL is neither")]
    Scheme,
    /// No host, or not a host's name.
    #[error("the tracker's URL names no valid host")]
    Host,
    /// No port where one is needed, or not a port.
    #[error("the tracker's URL names no valid port")]
    Port,
    /// A port of another service.
    #[error("port {0} belongs to another service and is not used for trackers")]
    BadPort(u16),
    /// A query that is an announce already.
    #[error("the tracker's URL contains parameters of an announce")]
    Parameters,
    /// This computer, but not under `/announce`.
    #[error("a tracker on this computer is only spoken to under /announce")]
    Loopback,
    /// Nobody's address.
    #[error("the tracker's address {0} is not one a tracker can have")]
    Address(IpAddr),
}

impl TrackerUrl {
    /// Reads an announce URL.
    ///
    /// # Errors
    /// Any of the rules that a URL can break by itself.
    pub fn parse(text: &str) -> Result<TrackerUrl, RuleError> {
        if text.len() > MAX_URL_LEN {
            return Err(RuleError::TooLong);
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(RuleError::Characters);
        }
        let (scheme, rest) = text.split_once("://").ok_or(RuleError::Scheme)?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            "udp" => Scheme::Udp,
            _ => return Err(RuleError::Scheme),
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let (userinfo, place) = match authority.rsplit_once('@') {
            Some((userinfo, place)) => (Some(userinfo.to_owned()), place),
            None => (None, authority),
        };
        let (host, port) = host_and_port(place)?;
        let port = match (port, scheme) {
            (Some(port), _) => port,
            (None, Scheme::Http) => 80,
            (None, Scheme::Https) => 443,
            (None, Scheme::Udp) => return Err(RuleError::Port),
        };
        if is_bad_port(port) {
            return Err(RuleError::BadPort(port));
        }
        let query = path.split_once('?').map_or("", |(_, query)| query);
        let mut names = query
            .split('&')
            .map(|pair| pair.split('=').next().unwrap_or_default());
        if names.any(|name| {
            ANNOUNCE_PARAMETERS
                .iter()
                .any(|known| known.eq_ignore_ascii_case(name))
        }) {
            return Err(RuleError::Parameters);
        }
        let text = text.split('#').next().unwrap_or_default().to_owned();
        Ok(TrackerUrl {
            text,
            scheme,
            userinfo,
            host,
            port,
            path: path.to_owned(),
        })
    }

    /// The URL, without fragment. It may contain a password: to be shown, use [`shown`](TrackerUrl::shown).
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// How the tracker is spoken to.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// User name and password in front of the host, as written.
    pub fn userinfo(&self) -> Option<&str> {
        self.userinfo.as_deref()
    }

    /// Host name or address, in lower case, an IPv6 address without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// TCP or UDP port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Path and query, as written; may be empty. A UDP tracker gets it as URLData (BEP 41).
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The URL as it may stand in a log: user name, password and query, which may hold a key, are left out.
    pub fn shown(&self) -> String {
        shown(&self.text)
    }

    /// Whether the tracker may be at this address, one of those its host name stands for.
    ///
    /// # Errors
    /// [`RuleError::Loopback`] and [`RuleError::Address`].
    pub fn may_be_at(&self, ip: IpAddr) -> Result<(), RuleError> {
        match Scope::of(ip) {
            Scope::Unusable => Err(RuleError::Address(ip)),
            Scope::Loopback => {
                // An announce over UDP always looks like one, so its path may be missing.
                let is_announce = self.path.starts_with("/announce");
                let is_bare = self.scheme == Scheme::Udp && matches!(self.path.as_str(), "" | "/");
                if is_announce || is_bare {
                    Ok(())
                } else {
                    Err(RuleError::Loopback)
                }
            }
            Scope::LinkLocal | Scope::Private | Scope::Public => Ok(()),
        }
    }
}

/// Whether a port belongs to a service that what looks like text to it can harm.
pub fn is_bad_port(port: u16) -> bool {
    BAD_PORTS.contains(&port)
}

/// Whether a tracker at `from` may send us to `to`: never from the public network into our own, nor from our site
/// to this computer.
pub fn redirect_allowed(from: IpAddr, to: IpAddr) -> bool {
    match Scope::of(to) {
        Scope::Unusable => false,
        Scope::Public => true,
        Scope::Loopback => Scope::of(from) == Scope::Loopback,
        Scope::LinkLocal | Scope::Private => Scope::of(from).is_local(),
    }
}

/// Any URL as it may stand in a log: without user name, password and query.
pub fn shown(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let place = authority.rsplit('@').next().unwrap_or_default();
    let text = if scheme.is_empty() {
        format!("{place}{path}")
    } else {
        format!("{scheme}://{place}{path}")
    };
    text.chars()
        .filter(|c| !c.is_control())
        .take(MAX_URL_LEN)
        .collect()
}

fn host_and_port(place: &str) -> Result<(String, Option<u16>), RuleError> {
    let (host, port) = match place.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']').ok_or(RuleError::Host)?;
            host.parse::<std::net::Ipv6Addr>()
                .map_err(|_| RuleError::Host)?;
            match after.strip_prefix(':') {
                None if after.is_empty() => (host, None),
                None => return Err(RuleError::Host),
                Some(port) => (host, Some(port)),
            }
        }
        None => match place.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (place, None),
        },
    };
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
    if host.is_empty() || host.len() > MAX_HOST_LEN || !host.bytes().all(is_name) {
        return Err(RuleError::Host);
    }
    let port = match port {
        None | Some("") => None,
        Some(digits) if digits.bytes().all(|digit| digit.is_ascii_digit()) => {
            Some(digits.parse().map_err(|_| RuleError::Port)?)
        }
        Some(_) => return Err(RuleError::Port),
    };
    Ok((host.to_ascii_lowercase(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn url(text: &str) -> TrackerUrl {
        TrackerUrl::parse(text).unwrap()
    }

    #[test]
    fn a_url_is_taken_apart() {
        let full = url("HTTPS://user:pass@Tracker.Example:8443/announce?passkey=secret#x");
        assert_eq!(
            (full.scheme(), full.host(), full.port()),
            (Scheme::Https, "tracker.example", 8443)
        );
        assert_eq!(
            (full.userinfo(), full.path()),
            (Some("user:pass"), "/announce?passkey=secret")
        );
        assert_eq!(
            full.as_str(),
            "HTTPS://user:pass@Tracker.Example:8443/announce?passkey=secret"
        );
        assert_eq!(full.shown(), "HTTPS://Tracker.Example:8443/announce");
        assert_eq!(
            (
                url("http://t").port(),
                url("https://t/").port(),
                url("http://t?a=b").path()
            ),
            (80, 443, "?a=b")
        );
        let v6 = url("udp://[2001:db8::1]:6969");
        assert_eq!(
            (v6.scheme(), v6.host(), v6.port(), v6.path()),
            (Scheme::Udp, "2001:db8::1", 6969, "")
        );
    }

    #[test]
    fn urls_that_break_a_rule_are_refused() {
        let long = format!("http://t/{}", "a".repeat(MAX_URL_LEN));
        for (text, error) in [
            ("", RuleError::Scheme),
            ("file:///etc/passwd", RuleError::Scheme),
            ("wss://t/announce", RuleError::Scheme),
            ("tracker.example", RuleError::Scheme),
            ("http://", RuleError::Host),
            ("http:///announce", RuleError::Host),
            ("http://user@/announce", RuleError::Host),
            ("http://a%20b/announce", RuleError::Host),
            ("http://[::1/announce", RuleError::Host),
            ("http://[evil]/announce", RuleError::Host),
            ("http://[::1]x/announce", RuleError::Host),
            ("udp://t/announce", RuleError::Port),
            ("http://t:65536/announce", RuleError::Port),
            ("http://t:+80/announce", RuleError::Port),
            ("http://t:25/announce", RuleError::BadPort(25)),
            ("udp://t:0/announce", RuleError::BadPort(0)),
            ("http://t/announce?a=b&Info_Hash=x", RuleError::Parameters),
            ("http://t/an nounce", RuleError::Characters),
            ("http://t/\r\nX: y", RuleError::Characters),
            ("http://tr\u{e4}cker/", RuleError::Characters),
            (&long, RuleError::TooLong),
        ] {
            assert_eq!(TrackerUrl::parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn this_computer_is_only_asked_under_announce() {
        for host in ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(
                url("http://x/admin?do=evil").may_be_at(ip(host)),
                Err(RuleError::Loopback)
            );
            assert_eq!(
                url("http://x").may_be_at(ip(host)),
                Err(RuleError::Loopback)
            );
            assert_eq!(
                url("http://x/announce?passkey=1").may_be_at(ip(host)),
                Ok(())
            );
            assert_eq!(url("udp://x:6969").may_be_at(ip(host)), Ok(()));
        }
        assert_eq!(
            url("http://x/a").may_be_at(ip("0.0.0.0")),
            Err(RuleError::Address(ip("0.0.0.0")))
        );
        assert_eq!(url("http://x/a").may_be_at(ip("192.168.1.1")), Ok(()));
        assert_eq!(url("http://x/a").may_be_at(ip("8.8.8.8")), Ok(()));
    }

    #[test]
    fn redirects_do_not_lead_inside() {
        let (public, site, link, own) = (
            ip("8.8.8.8"),
            ip("10.0.0.1"),
            ip("fe80::1"),
            ip("127.0.0.1"),
        );
        for from in [public, site, link, own] {
            assert!(redirect_allowed(from, public));
            assert!(!redirect_allowed(from, ip("0.0.0.0")));
        }
        for inside in [
            site,
            link,
            own,
            ip("::ffff:10.0.0.1"),
            ip("169.254.169.254"),
        ] {
            assert!(!redirect_allowed(public, inside), "{inside}");
        }
        assert!(
            redirect_allowed(site, site)
                && redirect_allowed(own, site)
                && redirect_allowed(own, own)
        );
        assert!(!redirect_allowed(site, own));
    }

    #[test]
    fn secrets_are_not_shown() {
        assert_eq!(
            shown("http://me:secret@t/announce?passkey=1"),
            "http://t/announce"
        );
        assert_eq!(shown("me:secret@t"), "t");
        assert_eq!(shown("http://a@b@t/x\u{1b}[2J"), "http://t/x[2J");
    }
}
