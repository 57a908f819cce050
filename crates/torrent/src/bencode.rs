//! Bencode (BEP 3): a reader that checks once and then borrows, and a writer that is always canonical.
//!
//! [`parse`] walks the input a single time without recursion and checks everything; a [`Value`] is
//! then just a place in those bytes, three words wide and `Copy`. Nothing is copied or allocated per
//! element, so a torrent of 100,000 files costs no more memory to read than its own bytes, and
//! [`Value::raw`] is exactly what was hashed. What keys mean is for other modules.

mod check;
#[cfg(test)]
mod tests;
mod value;
mod write;

use check::Checker;
pub use value::{Cursor, Dict, Elements, Entries, Kind, List, Value};
pub use write::{Encoder, Owned};

/// Deepest nesting of lists and dicts the presets allow. File trees (BEP 52) nest once a folder.
pub const MAX_DEPTH: u32 = 128;

/// Most elements (keys included) the presets allow: a million files with a few components each.
pub const MAX_ELEMENTS: u32 = 16_000_000;

/// Largest input in bytes the presets allow: a torrent file with a million files and its layers.
pub const MAX_SIZE: usize = 128 * 1024 * 1024;

/// Most oddities [`parse_noting`] lists; a sloppy file can hold one in every dict.
pub const MAX_ODDITIES: usize = 16;

/// How forgiving a parse is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Only the canonical form: sorted, unique keys; no leading zeros, no `-0`; nothing behind the value.
    Strict,
    /// What real torrents and peers contain: unsorted keys, duplicate keys (the first wins), leading
    /// zeros in numbers, and bytes behind the value.
    Lenient,
}

/// What a parse accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How forgiving it is.
    pub policy: Policy,
    /// Deepest nesting of lists and dicts.
    pub depth: u32,
    /// Most elements, keys included.
    pub elements: u32,
    /// Largest input in bytes.
    pub size: usize,
}

impl Limits {
    /// Canonical input only, up to the sizes of this module.
    pub const STRICT: Limits = Limits {
        policy: Policy::Strict,
        depth: MAX_DEPTH,
        elements: MAX_ELEMENTS,
        size: MAX_SIZE,
    };

    /// Forgiving, up to the sizes of this module.
    pub const LENIENT: Limits = Limits {
        policy: Policy::Lenient,
        ..Limits::STRICT
    };

    /// The same with another size limit, in bytes.
    pub const fn size(self, size: usize) -> Limits {
        Limits { size, ..self }
    }

    /// The same with another depth limit.
    pub const fn depth(self, depth: u32) -> Limits {
        Limits { depth, ..self }
    }
}

/// Why bytes are not acceptable bencode, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind} at byte {at}")]
pub struct Error {
    /// Offset into the input.
    pub at: usize,
    /// What is wrong there.
    pub kind: ErrorKind,
}

/// What is wrong with the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ErrorKind {
    /// The input ends inside a value.
    #[error("the data ends too early")]
    Truncated,
    /// A byte that can't start or continue a value here.
    #[error("there is an unexpected byte")]
    Unexpected,
    /// A number that is not one, or has leading zeros where those are refused.
    #[error("there is a malformed number")]
    BadNumber,
    /// A number that does not fit 64 bits.
    #[error("there is a number too large")]
    TooLarge,
    /// A dict key that is not a string.
    #[error("a dictionary key is not a string")]
    KeyNotString,
    /// A dict that ends between a key and its value.
    #[error("a dictionary key has no value")]
    KeyWithoutValue,
    /// Keys out of order (strict only).
    #[error("dictionary keys are not sorted")]
    UnsortedKeys,
    /// The same key twice (strict only).
    #[error("a dictionary key appears twice")]
    DuplicateKey,
    /// Bytes behind the value (strict only).
    #[error("there is something after the end")]
    Trailing,
    /// Nested deeper than [`Limits::depth`].
    #[error("lists and dictionaries are nested too deeply")]
    TooDeep,
    /// More elements than [`Limits::elements`].
    #[error("there are too many elements")]
    TooMany,
    /// Larger than [`Limits::size`].
    #[error("the data is larger than allowed")]
    TooBig,
}

/// Something a lenient parse let pass, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Oddity {
    /// Offset into the input.
    pub at: usize,
    /// [`ErrorKind::UnsortedKeys`], [`ErrorKind::DuplicateKey`], [`ErrorKind::BadNumber`] or
    /// [`ErrorKind::Trailing`].
    pub kind: ErrorKind,
}

/// Reads the one value that `input` is.
///
/// Leniently, bytes behind the value are ignored.
pub fn parse(input: &[u8], limits: Limits) -> Result<Value<'_>, Error> {
    whole(input, limits, &mut Vec::new())
}

/// Like [`parse`], also saying what a lenient parse let pass (at most [`MAX_ODDITIES`]).
pub fn parse_noting(input: &[u8], limits: Limits) -> Result<(Value<'_>, Vec<Oddity>), Error> {
    let mut oddities = Vec::new();
    let value = whole(input, limits, &mut oddities)?;
    Ok((value, oddities))
}

/// Reads the value that `input` starts with; also says how many bytes it takes.
///
/// For messages that carry a payload behind their dict (BEP 9).
pub fn parse_prefix(input: &[u8], limits: Limits) -> Result<(Value<'_>, usize), Error> {
    let value = Checker::new(input, limits, &mut Vec::new())?.run()?;
    Ok((value, value.span().end))
}

fn whole<'a>(
    input: &'a [u8],
    limits: Limits,
    oddities: &mut Vec<Oddity>,
) -> Result<Value<'a>, Error> {
    let mut checker = Checker::new(input, limits, oddities)?;
    let value = checker.run()?;
    if value.span().end < input.len() {
        checker.odd(value.span().end, ErrorKind::Trailing)?;
    }
    Ok(value)
}
