//! Roads through a proxy: which one, and a connection or an association made through it.
//!
//! [`Proxy`] is the setting, without IO. The protocols are in [`socks5`] (RFC 1928, RFC 1929) and [`connect`]
//! (RFC 9110 §9.3.6); what is here carries their bytes. Datagrams through a SOCKS5 proxy are a [`Relay`].
//!
//! Not here: what goes through a proxy and what does not, which is [`crate::Egress`].

pub mod connect;
mod relay;
pub mod socks5;

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub use relay::Relay;

/// Longest name or password, in bytes: a length is one byte in RFC 1929.
pub const SECRET_MAX: usize = 255;
/// Longest host name, in bytes: a length is one byte in RFC 1928.
pub const HOST_MAX: usize = 255;
/// Bytes of an answer looked at in one go.
const PART: usize = 1024;

/// What a proxy speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// SOCKS5, for streams and, where it offers that, datagrams.
    Socks5,
    /// HTTP CONNECT, for streams alone.
    Http,
}

/// A proxy: what it speaks, where it is, and who we are to it. Neither [`Debug`] nor [`Display`](fmt::Display) tells
/// the password.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    /// What it speaks.
    pub scheme: Scheme,
    /// Its name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Who we are, if it asks.
    pub login: Option<Login>,
}

/// Name and password for a proxy, each at most [`SECRET_MAX`] bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// The name; not empty.
    pub name: String,
    /// The password.
    pub password: String,
}

/// Whom a proxy is to connect us to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// An address.
    Addr(SocketAddr),
    /// A name that the proxy looks up, at most [`HOST_MAX`] bytes, and a port.
    Name(String, u16),
}

impl Target {
    /// A host as a URL has it: an address, with brackets or without, or a name.
    pub fn new(host: &str, port: u16) -> Target {
        match host.trim_matches(['[', ']']).parse::<IpAddr>() {
            Ok(ip) => Target::Addr(SocketAddr::new(ip, port)),
            Err(_) => Target::Name(host.to_owned(), port),
        }
    }
}

impl From<SocketAddr> for Target {
    fn from(addr: SocketAddr) -> Target {
        Target::Addr(addr)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Addr(addr) => addr.fmt(f),
            Target::Name(host, port) => write!(f, "{host}:{port}"),
        }
    }
}

/// A text that names no proxy. It does not repeat the text, which may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a proxy looks like socks5://HOST:PORT, socks5://NAME:PASSWORD@HOST:PORT or http://HOST:PORT; \
     in name and password, write % : / and @ as %25 %3A %2F and %40"
)]
pub struct NoProxy;

impl FromStr for Proxy {
    type Err = NoProxy;

    fn from_str(text: &str) -> Result<Proxy, NoProxy> {
        let (scheme, rest) = text.split_once("://").ok_or(NoProxy)?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "socks5" | "socks5h" => Scheme::Socks5,
            "http" => Scheme::Http,
            _ => return Err(NoProxy),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (login, place) = match rest.rsplit_once('@') {
            Some((login, place)) => (Some(login.parse()?), place),
            None => (None, rest),
        };
        let (host, port) = place.rsplit_once(':').ok_or(NoProxy)?;
        let port = port.parse().ok().filter(|&port| port != 0).ok_or(NoProxy)?;
        let inner = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        let host = match inner {
            Some(v6) if v6.parse::<std::net::Ipv6Addr>().is_ok() => v6,
            Some(_) => return Err(NoProxy),
            None => host,
        };
        let named = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        let sound = inner.is_some() || host.bytes().all(named);
        match host.is_empty() || host.len() > HOST_MAX || !sound {
            true => Err(NoProxy),
            false => Ok(Proxy {
                scheme,
                host: host.to_owned(),
                port,
                login,
            }),
        }
    }
}

impl FromStr for Login {
    type Err = NoProxy;

    fn from_str(text: &str) -> Result<Login, NoProxy> {
        let (name, password) = text.split_once(':').unwrap_or((text, ""));
        let (name, password) = (unescape(name)?, unescape(password)?);
        match name.is_empty() || name.len() > SECRET_MAX || password.len() > SECRET_MAX {
            true => Err(NoProxy),
            false => Ok(Login { name, password }),
        }
    }
}

/// Undoes percent encoding (RFC 3986 §2.1).
fn unescape(text: &str) -> Result<String, NoProxy> {
    let mut bytes = text.bytes();
    let mut plain = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        plain.push(match byte {
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                let (high, low) = (digit().ok_or(NoProxy)?, digit().ok_or(NoProxy)?);
                (high * 16 + low) as u8
            }
            byte => byte,
        });
    }
    String::from_utf8(plain).map_err(|_| NoProxy)
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.scheme {
            Scheme::Socks5 => "socks5://",
            Scheme::Http => "http://",
        })?;
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({self})")
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Login")
    }
}

/// Why a proxy gave no road.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// No connection to the proxy itself.
    #[error("the proxy {0} does not answer: {1}")]
    Away(String, io::Error),
    /// It does not let us in.
    #[error(
        "the proxy refuses our name and password, or wants them and has none: check the setting `proxy`"
    )]
    Login,
    /// It does not do what was asked.
    #[error("the proxy carries no datagrams (SOCKS5 UDP ASSOCIATE)")]
    NoDatagrams,
    /// It could not reach whom it was to reach.
    #[error("the proxy says: {0}")]
    Target(&'static str),
    /// Its answer cannot be understood.
    #[error("what answers there speaks something else than the setting `proxy` says")]
    Nonsense,
    /// The name to be reached is longer than [`HOST_MAX`].
    #[error("the host's name is too long for a proxy")]
    Name,
}

impl ProxyError {
    /// The proxy itself is the trouble, so that nothing goes through it; not whom it was to reach.
    pub fn is_ours(&self) -> bool {
        matches!(
            self,
            ProxyError::Away(..) | ProxyError::Login | ProxyError::Nonsense
        )
    }
}

impl From<ProxyError> for io::Error {
    fn from(error: ProxyError) -> io::Error {
        let kind = match &error {
            ProxyError::Away(_, error) => error.kind(),
            ProxyError::Login => io::ErrorKind::PermissionDenied,
            ProxyError::NoDatagrams => io::ErrorKind::Unsupported,
            ProxyError::Target(_) => io::ErrorKind::HostUnreachable,
            ProxyError::Nonsense | ProxyError::Name => io::ErrorKind::InvalidData,
        };
        io::Error::new(kind, error)
    }
}

/// One step of a talk with a proxy: so many bytes of its answer are used up.
#[derive(Debug, PartialEq, Eq)]
pub struct Taken {
    /// Bytes used.
    pub used: usize,
    /// What follows.
    pub step: Step,
}

/// What follows from the bytes of a proxy.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// More is to come.
    Wait,
    /// This is to be sent.
    Send(Vec<u8>),
    /// The road is there; for datagrams, where they are to be sent.
    Done(Target),
}

/// Talks to a proxy over a fresh connection until the road through it is there. Takes no byte too many.
async fn talk(
    proxy: &Proxy,
    stream: &mut TcpStream,
    first: &[u8],
    mut receive: impl FnMut(&[u8]) -> Result<Taken, ProxyError>,
) -> Result<Target, ProxyError> {
    let away = |error| ProxyError::Away(proxy.to_string(), error);
    stream.write_all(first).await.map_err(away)?;
    let mut part = [0; PART];
    loop {
        let n = stream.peek(&mut part).await.map_err(away)?;
        if n == 0 {
            return Err(ProxyError::Nonsense);
        }
        let Taken { used, step } = receive(&part[..n])?;
        stream.read_exact(&mut part[..used]).await.map_err(away)?;
        match step {
            Step::Wait => {}
            Step::Send(bytes) => stream.write_all(&bytes).await.map_err(away)?,
            Step::Done(bound) => return Ok(bound),
        }
    }
}

/// Makes a connected stream to the proxy into one to `target`.
///
/// # Errors
/// See [`ProxyError`].
pub async fn open(
    proxy: &Proxy,
    stream: &mut TcpStream,
    target: &Target,
) -> Result<(), ProxyError> {
    let login = proxy.login.as_ref();
    match proxy.scheme {
        Scheme::Socks5 => {
            let (mut opening, first) =
                socks5::Opening::new(socks5::Command::Connect, target, login)?;
            talk(proxy, stream, &first, |bytes| opening.receive(bytes)).await?;
        }
        Scheme::Http => {
            let (mut opening, first) = connect::Opening::new(target, login)?;
            talk(proxy, stream, &first, |bytes| opening.receive(bytes)).await?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_written_as_a_url_and_keeps_its_password_to_itself() {
        let proxy: Proxy = "socks5://alice:s%3Ae%40cret@proxy.example:1080"
            .parse()
            .unwrap();
        let login = proxy.login.as_ref().unwrap();
        assert_eq!(
            (login.name.as_str(), login.password.as_str()),
            ("alice", "s:e@cret")
        );
        assert_eq!(proxy.to_string(), "socks5://proxy.example:1080");
        assert_eq!(
            format!("{proxy:?} {login:?}"),
            "Proxy(socks5://proxy.example:1080) Login"
        );
        let proxy: Proxy = "HTTP://[2001:db8::1]:3128/".parse().unwrap();
        assert_eq!((proxy.scheme, proxy.port), (Scheme::Http, 3128));
        assert_eq!(proxy.to_string(), "http://[2001:db8::1]:3128");
        assert_eq!("socks5h://10.0.0.1:9".parse::<Proxy>().unwrap().port, 9);
        let long = format!("socks5://{}:x@h:1", "n".repeat(256));
        for wrong in [
            "",
            "proxy:1080",
            "https://h:1",
            "socks4://h:1",
            "socks5://h",
            "socks5://h:0",
            "socks5://:1",
            "socks5://h:99999",
            "socks5://[zz]:1",
            "socks5://a b:1",
            "socks5://%zz@h:1",
            "socks5://:pw@h:1",
            "socks5://::1:1080",
            "socks5://h\r\n:1",
            &long,
        ] {
            assert_eq!(wrong.parse::<Proxy>(), Err(NoProxy), "{wrong}");
        }
    }

    #[test]
    fn a_target_is_an_address_where_it_is_written_as_one() {
        let addr = |text: &str| Target::Addr(text.parse().unwrap());
        assert_eq!(Target::new("10.0.0.1", 80), addr("10.0.0.1:80"));
        assert_eq!(Target::new("[::1]", 80), addr("[::1]:80"));
        assert_eq!(
            Target::new("tracker.example", 80),
            Target::Name("tracker.example".into(), 80)
        );
    }
}
