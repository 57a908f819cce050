//! HTTP CONNECT, the client's side (RFC 9110 §9.3.6), with Basic authentication (RFC 7617). Bytes in, bytes out.

use base64::prelude::{BASE64_STANDARD, Engine};

use super::{Login, ProxyError, Step, Taken, Target};

/// Longest head of an answer, in bytes: proxies say little.
pub const HEAD_MAX: usize = 8 << 10;
const END: &[u8] = b"\r\n\r\n";

/// The talk that opens a road.
pub struct Opening {
    target: Target,
    head: Vec<u8>,
}

impl Opening {
    /// Begins; the bytes go to the proxy first.
    ///
    /// # Errors
    /// The target's name cannot be written.
    pub fn new(target: &Target, login: Option<&Login>) -> Result<(Opening, Vec<u8>), ProxyError> {
        if let Target::Name(name, _) = target {
            let sound = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
            if name.is_empty() || name.len() > super::HOST_MAX || !name.bytes().all(sound) {
                return Err(ProxyError::Name);
            }
        }
        let mut first = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n");
        if let Some(Login { name, password }) = login {
            let secret = BASE64_STANDARD.encode(format!("{name}:{password}"));
            first += &format!("Proxy-Authorization: Basic {secret}\r\n");
        }
        first += "\r\n";
        let (target, head) = (target.clone(), Vec::new());
        Ok((Opening { target, head }, first.into_bytes()))
    }

    /// Takes what the proxy said, from the first byte not used yet.
    ///
    /// # Errors
    /// The proxy refuses, or speaks something else.
    pub fn receive(&mut self, bytes: &[u8]) -> Result<Taken, ProxyError> {
        let before = self.head.len();
        self.head.extend_from_slice(bytes);
        // The end may lie across two parts.
        let from = before.saturating_sub(END.len() - 1);
        let end = self.head[from..]
            .windows(END.len())
            .position(|w| w == END)
            .map(|at| from + at + END.len());
        let Some(end) = end else {
            let wrong = !b"HTTP/1."
                .iter()
                .zip(&self.head)
                .all(|(expected, byte)| expected == byte);
            if wrong || self.head.len() > HEAD_MAX {
                return Err(ProxyError::Nonsense);
            }
            return Ok(Taken {
                used: bytes.len(),
                step: Step::Wait,
            });
        };
        match status(&self.head[..end]).ok_or(ProxyError::Nonsense)? {
            200..300 => Ok(Taken {
                used: end - before,
                step: Step::Done(self.target.clone()),
            }),
            401 | 407 => Err(ProxyError::Login),
            403 | 405 => Err(ProxyError::Target("not allowed by its rules")),
            502 => Err(ProxyError::Target("host unreachable")),
            503 => Err(ProxyError::Target(
                "connection refused, or it is overloaded",
            )),
            504 => Err(ProxyError::Target("nothing within its time")),
            _ => Err(ProxyError::Target("general failure")),
        }
    }
}

/// The number of the status line (RFC 9112 §4).
fn status(head: &[u8]) -> Option<u16> {
    let rest = head.strip_prefix(b"HTTP/1.")?;
    let rest = rest.get(1..)?.strip_prefix(b" ")?;
    let digits = rest.get(..3)?;
    let number = std::str::from_utf8(digits).ok()?.parse().ok()?;
    (100..600).contains(&number).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opening() -> Opening {
        Opening::new(&Target::Name("example.org".into(), 80), None)
            .unwrap()
            .0
    }

    #[test]
    fn the_road_begins_behind_the_head_wherever_it_is_cut() {
        let login: Login = "bob:secret".parse().unwrap();
        let target = Target::Addr("[2001:db8::1]:80".parse().unwrap());
        let (_, first) = Opening::new(&target, Some(&login)).unwrap();
        assert_eq!(
            std::str::from_utf8(&first).unwrap(),
            "CONNECT [2001:db8::1]:80 HTTP/1.1\r\nHost: [2001:db8::1]:80\r\n\
             Proxy-Authorization: Basic Ym9iOnNlY3JldA==\r\n\r\n"
        );
        let said = b"HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\nhello";
        for cut in 1..said.len() - 5 {
            let mut opening = opening();
            let taken = opening.receive(&said[..cut]).unwrap();
            assert_eq!((taken.used, taken.step), (cut, Step::Wait));
            let taken = opening.receive(&said[cut..]).unwrap();
            assert_eq!(taken.used, said.len() - 5 - cut);
            assert!(matches!(taken.step, Step::Done(_)));
        }
    }

    #[test]
    fn each_refusal_has_its_word() {
        for (said, words) in [
            ("HTTP/1.1 407 Who?\r\n\r\n", "password"),
            ("HTTP/1.0 403 No\r\n\r\n", "rules"),
            ("HTTP/1.1 502 Bad\r\n\r\n", "unreachable"),
            ("HTTP/1.1 999 x\r\n\r\n", "else"),
            ("SSH-2.0-x", "else"),
            ("\x05\x00", "else"),
        ] {
            let error = opening().receive(said.as_bytes()).unwrap_err();
            assert!(error.to_string().contains(words), "{said}: {error}");
        }
        let mut long = opening();
        let head = [b"HTTP/1.1 200 OK\r\n", &[b'x'; 1000][..]].concat();
        let refused = (0..10).any(|_| long.receive(&head).is_err());
        assert!(refused, "a head without end is given up");
        for name in ["a b", "a\r\nHost: b", ""] {
            let target = Target::Name(name.into(), 80);
            assert!(matches!(Opening::new(&target, None), Err(ProxyError::Name)));
        }
    }
}
