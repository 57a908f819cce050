//! Names that people give and strangers read: short, on one line, and without what steers a terminal.

use std::fmt;
use std::str::FromStr;

/// A text of 1 to `MAX` bytes of UTF-8 that neither begins nor ends with white space and holds no control characters
/// and no marks that turn the direction of reading. `MAX` is at most 255: one byte holds the length.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text<const MAX: usize>(String);

/// What a device is called.
pub type Name = Text<64>;

/// What a share is called.
pub type Label = Text<128>;

/// Why a text is no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing but white space, or nothing.
    #[error("a name needs at least one character")]
    Empty,
    /// Longer than it may be.
    #[error("a name has at most {most} bytes, and this one has {len}; a shorter one will do")]
    TooLong {
        /// Bytes it has.
        len: usize,
        /// Bytes it may have.
        most: usize,
    },
    /// Characters that are no part of any name.
    #[error("a name is one line of text, without control characters")]
    Control,
}

impl<const MAX: usize> Text<MAX> {
    /// The longest such text, in bytes.
    pub const MAX_LEN: usize = MAX;

    /// `text` without the white space around it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(text: &str) -> Result<Text<MAX>, NameError> {
        const { assert!(MAX <= 255) };
        let text = text.trim();
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.len() > MAX {
            return Err(NameError::TooLong {
                len: text.len(),
                most: MAX,
            });
        }
        if text.chars().any(|c| c.is_control() || is_direction(c)) {
            return Err(NameError::Control);
        }
        Ok(Text(text.to_owned()))
    }

    /// As [`new`](Self::new), but nothing is mended and all is kept.
    pub(crate) fn exact(bytes: &[u8]) -> Option<Text<MAX>> {
        let text = str::from_utf8(bytes).ok()?;
        Text::new(text).ok().filter(|name| name.0 == text)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Marks that make text read in another order than it is written.
fn is_direction(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}')
}

impl<const MAX: usize> FromStr for Text<MAX> {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Text<MAX>, NameError> {
        Text::new(text)
    }
}

impl<const MAX: usize> fmt::Display for Text<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<const MAX: usize> fmt::Debug for Text<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_one_line_of_text() {
        assert_eq!(
            Name::new(" Ännchens Laptop \n").unwrap().as_str(),
            "Ännchens Laptop"
        );
        assert!(Name::new(&"x".repeat(64)).is_ok());
        for (text, error) in [
            ("", NameError::Empty),
            (" \t", NameError::Empty),
            (&"é".repeat(33), NameError::TooLong { len: 66, most: 64 }),
            ("a\nb", NameError::Control),
            ("a\u{1b}[2Jb", NameError::Control),
            ("a\u{202e}b", NameError::Control),
        ] {
            assert_eq!(Name::new(text), Err(error), "{text:?}");
        }
        assert_eq!(Name::exact(b"x").as_ref().map(Text::as_str), Some("x"));
        for bad in [&b" x"[..], b"x ", b"\xff", b""] {
            assert_eq!(Name::exact(bad), None);
        }
    }
}
