//! SOCKS5, the client's side (RFC 1928), with name and password (RFC 1929). Bytes in, bytes out.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{HOST_MAX, Login, ProxyError, Step, Taken, Target};

const VERSION: u8 = 5;
/// Version of the sub-negotiation for name and password (RFC 1929 §2).
const LOGIN_VERSION: u8 = 1;
const NO_LOGIN: u8 = 0;
const WITH_LOGIN: u8 = 2;
const V4: u8 = 1;
const NAME: u8 = 3;
const V6: u8 = 4;
/// Bytes before the address in front of a datagram: reserved, reserved, fragment.
const DATAGRAM_HEAD: usize = 3;

/// Most bytes that go before a datagram with an address in it.
pub const OVERHEAD: usize = DATAGRAM_HEAD + 1 + 16 + 2;

/// What is asked of a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// A stream to the target.
    Connect = 1,
    /// A relay for datagrams.
    Associate = 3,
}

#[derive(Debug)]
enum State {
    /// Waits for the method the proxy chose.
    Method,
    /// Waits for its word about name and password.
    Verdict,
    /// Waits for its answer to the request.
    Reply,
}

/// The talk that opens a road.
pub struct Opening {
    state: State,
    login: Option<Vec<u8>>,
    request: Vec<u8>,
}

impl Opening {
    /// Begins; the bytes go to the proxy first.
    ///
    /// # Errors
    /// The target's name is too long.
    pub fn new(
        command: Command,
        target: &Target,
        login: Option<&Login>,
    ) -> Result<(Opening, Vec<u8>), ProxyError> {
        let mut request = vec![VERSION, command as u8, 0];
        write_target(target, &mut request)?;
        let login = login.map(|login| {
            let mut bytes = vec![LOGIN_VERSION, login.name.len() as u8];
            bytes.extend(login.name.bytes());
            bytes.push(login.password.len() as u8);
            bytes.extend(login.password.bytes());
            bytes
        });
        let first = match login {
            Some(_) => vec![VERSION, 2, NO_LOGIN, WITH_LOGIN],
            None => vec![VERSION, 1, NO_LOGIN],
        };
        let state = State::Method;
        Ok((
            Opening {
                state,
                login,
                request,
            },
            first,
        ))
    }

    /// Takes what the proxy said, from the first byte not used yet.
    ///
    /// # Errors
    /// The proxy refuses, or speaks something else.
    pub fn receive(&mut self, bytes: &[u8]) -> Result<Taken, ProxyError> {
        let wait = Taken {
            used: 0,
            step: Step::Wait,
        };
        let send = |bytes| Taken {
            used: 2,
            step: Step::Send(bytes),
        };
        if bytes.first().is_some_and(|&first| match self.state {
            State::Verdict => first != LOGIN_VERSION,
            _ => first != VERSION,
        }) {
            return Err(ProxyError::Nonsense);
        }
        if let State::Reply = self.state {
            return Ok(match read_reply(bytes)? {
                Some((bound, used)) => Taken {
                    used,
                    step: Step::Done(bound),
                },
                None => wait,
            });
        }
        let &[_, said, ..] = bytes else {
            return Ok(wait);
        };
        match (&self.state, said) {
            (State::Method, WITH_LOGIN) => {
                let login = self.login.take().ok_or(ProxyError::Login)?;
                self.state = State::Verdict;
                Ok(send(login))
            }
            (State::Method, NO_LOGIN) | (State::Verdict, 0) => {
                self.state = State::Reply;
                Ok(send(std::mem::take(&mut self.request)))
            }
            (State::Method, 0xff) | (State::Verdict, _) => Err(ProxyError::Login),
            _ => Err(ProxyError::Nonsense),
        }
    }
}

/// The answer to a request (RFC 1928 §6): where the proxy is bound, and its length. `None`: it is not whole yet.
fn read_reply(bytes: &[u8]) -> Result<Option<(Target, usize)>, ProxyError> {
    let Some(&code) = bytes.get(1) else {
        return Ok(None);
    };
    let why = match code {
        0 => {
            let rest = bytes.get(3..).unwrap_or_default();
            let read = read_target(rest)?;
            return Ok(read.map(|(bound, len)| (bound, 3 + len)));
        }
        1 => "general failure",
        2 => "not allowed by its rules",
        3 => "network unreachable",
        4 => "host unreachable",
        5 => "connection refused",
        6 => "nothing within its time",
        7 => return Err(ProxyError::NoDatagrams),
        8 => "it knows no such kind of address",
        _ => return Err(ProxyError::Nonsense),
    };
    Err(ProxyError::Target(why))
}

fn write_target(target: &Target, bytes: &mut Vec<u8>) -> Result<(), ProxyError> {
    let port = match target {
        Target::Addr(addr) => {
            match addr.ip().to_canonical() {
                IpAddr::V4(ip) => {
                    bytes.push(V4);
                    bytes.extend(ip.octets());
                }
                IpAddr::V6(ip) => {
                    bytes.push(V6);
                    bytes.extend(ip.octets());
                }
            }
            addr.port()
        }
        Target::Name(host, port) => {
            if host.is_empty() || host.len() > HOST_MAX {
                return Err(ProxyError::Name);
            }
            bytes.extend([NAME, host.len() as u8]);
            bytes.extend(host.bytes());
            *port
        }
    };
    bytes.extend(port.to_be_bytes());
    Ok(())
}

/// An address of RFC 1928 §5 and its length; `None`: it is not whole.
fn read_target(bytes: &[u8]) -> Result<Option<(Target, usize)>, ProxyError> {
    let len = match bytes {
        [V4, ..] => 1 + 4,
        [V6, ..] => 1 + 16,
        [NAME, len, ..] => 2 + usize::from(*len),
        [] | [NAME] => return Ok(None),
        _ => return Err(ProxyError::Nonsense),
    };
    let (Some(host), Some(port)) = (bytes.get(1..len), bytes.get(len..len + 2)) else {
        return Ok(None);
    };
    let port = u16::from_be_bytes([port[0], port[1]]);
    let target = if let Ok(v4) = <[u8; 4]>::try_from(host)
        && bytes[0] == V4
    {
        Target::Addr((Ipv4Addr::from(v4), port).into())
    } else if let Ok(v6) = <[u8; 16]>::try_from(host)
        && bytes[0] == V6
    {
        Target::Addr((Ipv6Addr::from(v6), port).into())
    } else {
        let name = std::str::from_utf8(&host[1..]).map_err(|_| ProxyError::Nonsense)?;
        Target::Name(name.to_owned(), port)
    };
    Ok(Some((target, len + 2)))
}

/// Puts a datagram as it is sent to a relay (RFC 1928 §7) into `out`.
///
/// # Errors
/// The target's name is too long.
pub fn wrap(target: &Target, payload: &[u8], out: &mut Vec<u8>) -> Result<(), ProxyError> {
    out.clear();
    out.extend([0; DATAGRAM_HEAD]);
    write_target(target, out)?;
    out.extend_from_slice(payload);
    Ok(())
}

/// Takes a datagram of a relay apart: whose it is, and what it says. `None`: it is a fragment, which nobody sends, from
/// a name, or nonsense.
pub fn unwrap(datagram: &[u8]) -> Option<(SocketAddr, &[u8])> {
    let rest = datagram.strip_prefix(&[0, 0, 0])?;
    match read_target(rest) {
        Ok(Some((Target::Addr(from), len))) => Some((from, &rest[len..])),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login() -> Login {
        "bob:secret".parse().unwrap()
    }

    fn sends(opening: &mut Opening, said: &[u8]) -> Vec<u8> {
        match opening.receive(said) {
            Ok(Taken {
                used,
                step: Step::Send(bytes),
            }) if used == said.len() => bytes,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_stream_is_asked_for_by_name_after_name_and_password() {
        let target = Target::Name("example.org".into(), 6969);
        let login = login();
        let (mut opening, first) = Opening::new(Command::Connect, &target, Some(&login)).unwrap();
        assert_eq!(first, [5, 2, 0, 2]);
        assert_eq!(opening.receive(&[5]).unwrap().used, 0);
        assert_eq!(sends(&mut opening, &[5, 2]), b"\x01\x03bob\x06secret");
        assert_eq!(
            sends(&mut opening, &[1, 0]),
            b"\x05\x01\x00\x03\x0bexample.org\x1b\x39"
        );
        let reply = [5, 0, 0, 1, 10, 0, 0, 1, 0, 80, b'x'];
        for cut in 0..10 {
            assert_eq!(opening.receive(&reply[..cut]).unwrap().step, Step::Wait);
        }
        let taken = opening.receive(&reply).unwrap();
        let bound = Target::Addr("10.0.0.1:80".parse().unwrap());
        assert_eq!(
            (taken.used, taken.step),
            (10, Step::Done(bound)),
            "what the other side says first is left"
        );
    }

    #[test]
    fn each_refusal_has_its_word() {
        let target = Target::Addr("[2001:db8::1]:6881".parse().unwrap());
        let fresh = || Opening::new(Command::Connect, &target, None).unwrap().0;
        assert!(matches!(fresh().receive(&[5, 2]), Err(ProxyError::Login)));
        assert!(matches!(fresh().receive(&[5, 255]), Err(ProxyError::Login)));
        assert!(matches!(
            fresh().receive(b"HTTP/1.1 400"),
            Err(ProxyError::Nonsense)
        ));
        for (code, words) in [(2, "rules"), (5, "refused"), (7, "datagrams"), (99, "else")] {
            let mut opening = fresh();
            let request = sends(&mut opening, &[5, 0]);
            assert_eq!((request[3], request.len()), (V6, 22));
            let error = opening.receive(&[5, code]).unwrap_err();
            assert!(error.to_string().contains(words), "{error}");
        }
        let login = login();
        let (mut opening, _) = Opening::new(Command::Connect, &target, Some(&login)).unwrap();
        sends(&mut opening, &[5, 2]);
        assert!(matches!(opening.receive(&[1, 1]), Err(ProxyError::Login)));
        let long = Target::Name("n".repeat(256), 1);
        assert!(matches!(
            Opening::new(Command::Connect, &long, None),
            Err(ProxyError::Name)
        ));
    }

    #[test]
    fn a_datagram_comes_out_as_it_went_in() {
        let mut out = Vec::new();
        for addr in ["10.1.2.3:4", "[2001:db8::5]:6"] {
            let addr: SocketAddr = addr.parse().unwrap();
            wrap(&Target::Addr(addr), b"ping", &mut out).unwrap();
            assert!(out.len() <= OVERHEAD + 4);
            assert_eq!(unwrap(&out), Some((addr, &b"ping"[..])));
        }
        wrap(&Target::Name("router.example".into(), 9), b"x", &mut out).unwrap();
        assert_eq!(unwrap(&out), None, "an answer comes from an address");
        assert_eq!(
            unwrap(&[0, 0, 1, 1, 10, 0, 0, 1, 0, 80]),
            None,
            "a fragment"
        );
    }
}
