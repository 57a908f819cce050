//! What happened, as one number and, if somebody wants to read it, as lines.

use std::fmt;
use std::io::Write;
use std::time::Duration;

/// Longest line printed, in characters: a bitfield tells little.
const LINE: usize = 200;

/// A running hash (FNV-1a) over everything that happens: two runs that end with the same value
/// went the same way.
pub struct Trace {
    hash: u64,
    print: bool,
}

impl Trace {
    /// Nothing has happened. With `print`, every step goes to standard output.
    pub fn new(print: bool) -> Trace {
        let hash = 0xcbf2_9ce4_8422_2325;
        Trace { hash, print }
    }

    /// Takes in a number.
    pub fn number(&mut self, number: u64) {
        self.bytes(&number.to_le_bytes());
    }

    /// Takes in bytes.
    pub fn bytes(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
    }

    /// A line for the reader.
    pub fn line(&self, now: Duration, who: &str, what: impl FnOnce() -> String) {
        if self.print {
            let mut what = what();
            if let Some((cut, _)) = what.char_indices().nth(LINE) {
                what.truncate(cut);
            }
            // Whoever reads may have read enough.
            let _ = writeln!(std::io::stdout(), "{} {who:8} {what}", Seconds(now));
        }
    }

    /// The hash so far.
    pub fn hash(&self) -> u64 {
        self.hash
    }
}

/// A virtual time, readable.
pub struct Seconds(pub Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:10.4}", self.0.as_secs_f64())
    }
}
