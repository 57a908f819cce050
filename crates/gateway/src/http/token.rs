//! Secrets that open the API: the token in a file, codes in login links, tokens of sessions; and
//! how often a source may be wrong.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv6Addr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use subtle::ConstantTimeEq;
use tokio::time::Instant;

/// Bytes of randomness in a secret.
const SECRET_BYTES: usize = 32;
/// Its text: base64url without padding.
const SECRET_CHARS: usize = 43;
/// Login links that are good at once; the oldest gives way.
const MAX_CODES: usize = 16;
/// Sessions at once; the oldest gives way.
const MAX_SESSIONS: usize = 64;
/// How long a login link is good.
pub(crate) const CODE_LIFE: Duration = Duration::from_secs(60);
/// How long a session is good.
pub(crate) const SESSION_LIFE: Duration = Duration::from_secs(12 * 60 * 60);
/// After it a source may be wrong again.
const WINDOW: Duration = Duration::from_secs(60);
/// Sources that are remembered, 40 bytes each; the oldest gives way.
const MAX_SOURCES: usize = 1_024;

/// A secret of 256 random bits, as text. It is never printed.
#[derive(Clone)]
pub struct Token([u8; SECRET_CHARS]);

/// Why the token file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The system does not let us read or write it.
    #[error("cannot use the token file {}: {error}. Check the owner and mode of its folder", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// It contains something else.
    #[error("{} is no token file. Delete it, and the daemon makes a new one when it starts", .0.display())]
    Damaged(PathBuf),
}

impl Token {
    /// A new one.
    pub fn random() -> Token {
        let mut bytes = [0; SECRET_BYTES];
        getrandom::fill(&mut bytes).expect("the system has random bytes");
        let mut text = [0; SECRET_CHARS];
        let written = BASE64_URL_SAFE_NO_PAD.encode_slice(bytes, &mut text);
        assert_eq!(written, Ok(SECRET_CHARS), "32 bytes are 43 digits");
        Token(text)
    }

    /// The token in this file; a new one in a new file (0600) if there is none.
    ///
    /// # Errors
    /// [`TokenError`]: the file cannot be read or made, or is something else.
    pub fn open(path: &Path) -> Result<Token, TokenError> {
        let failed = |error| TokenError::Io {
            path: path.to_owned(),
            error,
        };
        match fs::read_to_string(path) {
            Ok(text) => Token::parse(&text).ok_or_else(|| TokenError::Damaged(path.to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let token = Token::random();
                let mut file = fs::OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .mode(0o600)
                    .open(path)
                    .map_err(failed)?;
                let written = writeln!(file, "{}", token.expose()).and_then(|()| file.sync_all());
                written.map_err(failed)?;
                Ok(token)
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// A token as it is written in its file.
    pub fn parse(text: &str) -> Option<Token> {
        let text = text.trim_end();
        BASE64_URL_SAFE_NO_PAD
            .decode(text)
            .ok()
            .filter(|bytes| bytes.len() == SECRET_BYTES)?;
        Some(Token(text.as_bytes().try_into().ok()?))
    }

    /// Its text, for the one who is to know it.
    pub fn expose(&self) -> &str {
        std::str::from_utf8(&self.0).expect("base64 is ASCII")
    }

    /// Is this it? Takes as long whatever `text` is.
    pub(crate) fn is(&self, text: &[u8]) -> bool {
        self.0.ct_eq(text).into()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// Secrets that are good for a while.
#[derive(Debug, Default)]
pub(crate) struct Passing(VecDeque<(Token, Instant)>);

impl Passing {
    /// Makes one, good until `end`; at most `most` are kept.
    fn make(&mut self, now: Instant, life: Duration, most: usize) -> Token {
        self.0.retain(|(_, end)| *end > now);
        if self.0.len() == most {
            self.0.pop_front();
        }
        let token = Token::random();
        self.0.push_back((token.clone(), now + life));
        token
    }

    /// Where this one is, if it is good. All are compared, so that time says nothing.
    fn find(&self, now: Instant, text: &[u8]) -> Option<usize> {
        let all = self.0.iter().enumerate();
        all.fold(None, |found, (index, (token, end))| {
            if token.is(text) && *end > now {
                Some(index)
            } else {
                found
            }
        })
    }
}

/// Codes and sessions.
#[derive(Debug, Default)]
pub(crate) struct Logins {
    codes: Passing,
    sessions: Passing,
}

impl Logins {
    /// A code for a link.
    pub fn code(&mut self, now: Instant) -> Token {
        self.codes.make(now, CODE_LIFE, MAX_CODES)
    }

    /// A session for a code, which is used up by it.
    pub fn session(&mut self, now: Instant, code: &[u8]) -> Option<Token> {
        let index = self.codes.find(now, code)?;
        self.codes.0.remove(index);
        Some(self.sessions.make(now, SESSION_LIFE, MAX_SESSIONS))
    }

    /// Is this the token of a session?
    pub fn knows(&self, now: Instant, token: &[u8]) -> bool {
        self.sessions.find(now, token).is_some()
    }

    /// Ends the session; false if there is none with this token.
    pub fn end(&mut self, now: Instant, token: &[u8]) -> bool {
        let index = self.sessions.find(now, token);
        index.is_some_and(|index| self.sessions.0.remove(index).is_some())
    }
}

/// How often each source was wrong. A right token passes always: whoever floods the daemon with
/// wrong ones must not lock its owner out, and 256 bits are not guessed.
#[derive(Debug)]
pub(crate) struct Wrong {
    /// Since when, and how often.
    sources: BTreeMap<IpAddr, (Instant, u32)>,
    /// So often in a [`WINDOW`] they are answered one by one.
    most: u32,
}

impl Wrong {
    pub fn new(most: u32) -> Wrong {
        Wrong {
            sources: BTreeMap::new(),
            most,
        }
    }

    /// Counts a wrong secret; says how long its source has to wait, if it was wrong too often.
    pub fn count(&mut self, now: Instant, source: IpAddr) -> Option<Duration> {
        let source = network(source);
        if !self.sources.contains_key(&source) && self.sources.len() >= MAX_SOURCES {
            self.sources.retain(|_, (since, _)| *since + WINDOW > now);
            if self.sources.len() >= MAX_SOURCES {
                let oldest = self.sources.iter().min_by_key(|(_, (since, _))| *since);
                let oldest = *oldest.expect("there are many").0;
                self.sources.remove(&oldest);
            }
        }
        let entry = self.sources.entry(source).or_insert((now, 0));
        if entry.0 + WINDOW <= now {
            *entry = (now, 0);
        }
        entry.1 = entry.1.saturating_add(1);
        (entry.1 > self.most).then(|| entry.0 + WINDOW - now)
    }
}

/// Who has one address of an IPv6 /64 has them all.
fn network(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        four => four,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_token_file_is_made_once_and_for_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("api-token");
        let token = Token::open(&path).unwrap();
        assert!(Token::open(&path).unwrap().is(token.expose().as_bytes()));
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(format!("{token:?}"), "Token(…)");
    }

    #[test]
    fn a_file_that_is_no_token_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("api-token");
        for text in ["", "hello", &"é".repeat(22), &"A".repeat(44)] {
            fs::write(&path, text).unwrap();
            assert!(
                matches!(Token::open(&path), Err(TokenError::Damaged(_))),
                "{text}"
            );
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }

    #[test]
    fn only_the_very_token_is_right() {
        let token = Token::random();
        let text = token.expose().as_bytes();
        assert!(token.is(text));
        let mut other = text.to_vec();
        other[42] ^= 1;
        for wrong in [&other[..], &text[..42], b"", &[text, b"A"].concat()] {
            assert!(!token.is(wrong));
        }
    }

    #[test]
    fn a_code_is_good_once_and_for_a_minute() {
        let start = Instant::now();
        let mut logins = Logins::default();
        let code = logins.code(start);
        let session = logins.session(start, code.expose().as_bytes()).unwrap();
        assert!(logins.session(start, code.expose().as_bytes()).is_none());
        assert!(logins.knows(start, session.expose().as_bytes()));
        assert!(!logins.knows(start + SESSION_LIFE, session.expose().as_bytes()));
        let late = logins.code(start);
        assert!(
            logins
                .session(start + CODE_LIFE, late.expose().as_bytes())
                .is_none()
        );
        assert!(logins.end(start, session.expose().as_bytes()));
        assert!(!logins.knows(start, session.expose().as_bytes()));
    }

    #[test]
    fn codes_and_sources_do_not_pile_up() {
        let start = Instant::now();
        let mut logins = Logins::default();
        let first = logins.code(start);
        (0..MAX_CODES).for_each(|_| _ = logins.code(start));
        assert_eq!(logins.codes.0.len(), MAX_CODES);
        assert!(logins.session(start, first.expose().as_bytes()).is_none());
        let mut wrong = Wrong::new(10);
        for n in 0..3_000u32 {
            wrong.count(start, IpAddr::V4(n.into()));
        }
        assert_eq!(wrong.sources.len(), MAX_SOURCES);
    }

    #[test]
    fn who_is_wrong_too_often_waits_and_others_do_not() {
        let start = Instant::now();
        let mut wrong = Wrong::new(10);
        let eve: IpAddr = "2001:db8::1".parse().unwrap();
        let her_other: IpAddr = "2001:db8::2".parse().unwrap();
        let bob: IpAddr = "2001:db8:0:1::1".parse().unwrap();
        for _ in 0..10 {
            assert_eq!(wrong.count(start, eve), None);
        }
        let later = start + Duration::from_secs(20);
        assert_eq!(wrong.count(later, her_other), Some(Duration::from_secs(40)));
        assert_eq!(wrong.count(later, bob), None);
        assert_eq!(wrong.count(start + WINDOW, eve), None);
    }
}
