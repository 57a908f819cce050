//! Values as places in checked bytes: three words each, found again by walking.

use std::fmt;
use std::ops::Range;

/// One value within checked bytes.
///
/// Equality compares the exact bytes. Accessors answer `None` when the value is of another kind.
#[derive(Clone, Copy)]
pub struct Value<'a> {
    input: &'a [u8],
    start: u32,
    end: u32,
}

/// A value taken apart by kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind<'a> {
    /// `i…e`
    Int(i64),
    /// `n:…`
    Bytes(&'a [u8]),
    /// `l…e`
    List(List<'a>),
    /// `d…e`
    Dict(Dict<'a>),
}

/// The elements of a list, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct List<'a>(Value<'a>);

/// The entries of a dict, in the order of the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dict<'a>(Value<'a>);

impl<'a> Value<'a> {
    /// A value that the checker has found at these places.
    pub(super) fn checked(input: &'a [u8], start: u32, end: u32) -> Value<'a> {
        Value { input, start, end }
    }

    fn tag(&self) -> u8 {
        self.input[self.start as usize]
    }

    /// The value by kind.
    pub fn kind(&self) -> Kind<'a> {
        match self.tag() {
            b'i' => Kind::Int(self.int()),
            b'l' => Kind::List(List(*self)),
            b'd' => Kind::Dict(Dict(*self)),
            _ => Kind::Bytes(self.text()),
        }
    }

    /// Where the value lies in the parsed input.
    pub fn span(&self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    /// The exact bytes of the value, as they stood in the input.
    pub fn raw(&self) -> &'a [u8] {
        &self.input[self.span()]
    }

    fn int(&self) -> i64 {
        let digits = &self.input[self.start as usize + 1..self.end as usize - 1];
        let (negative, digits) = match digits {
            [b'-', rest @ ..] => (true, rest),
            all => (false, all),
        };
        // Counted downwards: i64::MIN has no positive twin.
        let negated = digits
            .iter()
            .fold(0i64, |n, d| n * 10 - i64::from(d - b'0'));
        if negative { negated } else { -negated }
    }

    fn text(&self) -> &'a [u8] {
        &self.input[string_at(self.input, self.start as usize)]
    }

    /// The number, if it is one.
    pub fn as_int(&self) -> Option<i64> {
        (self.tag() == b'i').then(|| self.int())
    }

    /// The number, if it is one and not negative.
    pub fn as_uint(&self) -> Option<u64> {
        self.as_int().and_then(|n| u64::try_from(n).ok())
    }

    /// The string's bytes, if it is a string.
    pub fn as_bytes(&self) -> Option<&'a [u8]> {
        self.tag().is_ascii_digit().then(|| self.text())
    }

    /// The string, if it is one and valid UTF-8.
    pub fn as_str(&self) -> Option<&'a str> {
        self.as_bytes()
            .and_then(|bytes| std::str::from_utf8(bytes).ok())
    }

    /// The string's bytes, if it is a string of exactly `N` bytes.
    pub fn as_array<const N: usize>(&self) -> Option<&'a [u8; N]> {
        self.as_bytes().and_then(|bytes| bytes.try_into().ok())
    }

    /// The list, if it is one.
    pub fn as_list(&self) -> Option<List<'a>> {
        (self.tag() == b'l').then_some(List(*self))
    }

    /// The dict, if it is one.
    pub fn as_dict(&self) -> Option<Dict<'a>> {
        (self.tag() == b'd').then_some(Dict(*self))
    }

    /// The value under `key`, if this is a dict that has it. Of several, the first.
    pub fn get(&self, key: impl AsRef<[u8]>) -> Option<Value<'a>> {
        self.as_dict().and_then(|dict| dict.get(key))
    }

    /// A value starting at `at`.
    fn at(&self, at: u32) -> Value<'a> {
        Value {
            input: self.input,
            start: at,
            end: end_of(self.input, at as usize) as u32,
        }
    }
}

impl PartialEq for Value<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.raw() == other.raw()
    }
}

impl Eq for Value<'_> {}

impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind() {
            Kind::Int(n) => write!(f, "{n}"),
            Kind::Bytes(b) if b.len() > 64 => write!(f, "<{} bytes>", b.len()),
            Kind::Bytes(b) => write!(f, "\"{}\"", b.escape_ascii()),
            Kind::List(list) => f.debug_list().entries(list.iter()).finish(),
            Kind::Dict(dict) => {
                let entries = dict
                    .iter()
                    .map(|(key, value)| (key.escape_ascii().to_string(), value));
                f.debug_map().entries(entries).finish()
            }
        }
    }
}

impl<'a> List<'a> {
    /// The elements in order.
    pub fn iter(&self) -> Elements<'a> {
        Elements {
            of: self.0,
            at: self.0.start + 1,
        }
    }

    /// How many elements there are; counts them.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.end - self.0.start == 2
    }

    /// The element at `index`.
    pub fn get(&self, index: usize) -> Option<Value<'a>> {
        self.iter().nth(index)
    }
}

impl<'a> IntoIterator for List<'a> {
    type Item = Value<'a>;
    type IntoIter = Elements<'a>;
    fn into_iter(self) -> Elements<'a> {
        self.iter()
    }
}

impl<'a> Dict<'a> {
    /// A dict that the checker has found at these places.
    pub(super) fn checked(input: &'a [u8], start: u32, end: u32) -> Dict<'a> {
        Dict(Value::checked(input, start, end))
    }

    /// The entries in the order of the source, later duplicates included.
    pub fn iter(&self) -> Entries<'a> {
        Entries(Elements {
            of: self.0,
            at: self.0.start + 1,
        })
    }

    /// How many entries there are; counts them.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.end - self.0.start == 2
    }

    /// The value under `key`; of several, the first. Walks the dict, so go through
    /// [`iter`](Self::iter) for many keys of a large one.
    pub fn get(&self, key: impl AsRef<[u8]>) -> Option<Value<'a>> {
        let key = key.as_ref();
        let input = self.0.input;
        let mut at = self.0.start as usize + 1;
        while input[at] != b'e' {
            let name = string_at(input, at);
            if input[name.clone()] == *key {
                return Some(self.0.at(name.end as u32));
            }
            at = end_of(input, name.end);
        }
        None
    }

    /// Walks the dict and those within it in one go. [`iter`](Self::iter) looks for the end of each
    /// value before it is asked for, which in a deep tree comes to once a level.
    pub fn cursor(&self) -> Cursor<'a> {
        Cursor(Elements {
            of: self.0,
            at: self.0.start + 1,
        })
    }

    /// The dict as a value, for its span and bytes.
    pub fn value(&self) -> Value<'a> {
        self.0
    }
}

impl<'a> IntoIterator for Dict<'a> {
    type Item = (&'a [u8], Value<'a>);
    type IntoIter = Entries<'a>;
    fn into_iter(self) -> Entries<'a> {
        self.iter()
    }
}

/// A place in a dict or in one of those within it; see [`Dict::cursor`].
///
/// In turn: [`key`](Self::key), then [`enter`](Self::enter) or [`value`](Self::value).
#[derive(Clone, Debug)]
pub struct Cursor<'a>(Elements<'a>);

impl<'a> Cursor<'a> {
    /// The next key; `None` at the end of the dict, which is left, and ever after the outermost.
    pub fn key(&mut self) -> Option<&'a [u8]> {
        let Elements { of, at } = &mut self.0;
        if *at >= of.end {
            return None;
        }
        if of.input[*at as usize] == b'e' {
            *at += 1;
            return None;
        }
        let key = string_at(of.input, *at as usize);
        *at = key.end as u32;
        Some(&of.input[key])
    }

    /// Goes into the dict that is the value here; stays and says no if it is none.
    pub fn enter(&mut self) -> bool {
        let Elements { of, at } = &mut self.0;
        // Written as a branch: rustc 1.95 (LLVM 22.1.2) at opt-level 2 and up loses the step of
        // `*at += u32::from(is_dict)` where the caller branches on the answer too.
        if of.input[*at as usize] != b'd' {
            return false;
        }
        *at += 1;
        true
    }

    /// The value here, and on to behind it.
    pub fn value(&mut self) -> Value<'a> {
        let value = self.0.of.at(self.0.at);
        self.0.at = value.end;
        value
    }
}

/// Iterates over a [`List`].
#[derive(Clone, Debug)]
pub struct Elements<'a> {
    of: Value<'a>,
    at: u32,
}

impl<'a> Iterator for Elements<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Value<'a>> {
        if self.at + 1 >= self.of.end {
            return None;
        }
        let value = self.of.at(self.at);
        self.at = value.end;
        Some(value)
    }
}

/// Iterates over a [`Dict`].
#[derive(Clone, Debug)]
pub struct Entries<'a>(Elements<'a>);

impl<'a> Iterator for Entries<'a> {
    type Item = (&'a [u8], Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let key = self.0.next()?;
        let value = self
            .0
            .next()
            .expect("a checked dict has a value behind every key");
        Some((key.text(), value))
    }
}

/// Where the string at `at` of checked bytes has its contents.
fn string_at(input: &[u8], at: usize) -> Range<usize> {
    let mut len = 0;
    let mut at = at;
    while input[at] != b':' {
        len = len * 10 + usize::from(input[at] - b'0');
        at += 1;
    }
    at + 1..at + 1 + len
}

/// Where the value at `at` of checked bytes ends.
fn end_of(input: &[u8], mut at: usize) -> usize {
    let mut depth = 0u32;
    loop {
        match input[at] {
            b'i' => {
                while input[at] != b'e' {
                    at += 1;
                }
                at += 1;
            }
            b'l' | b'd' => {
                depth += 1;
                at += 1;
            }
            b'e' => {
                depth -= 1;
                at += 1;
            }
            _ => at = string_at(input, at).end,
        }
        if depth == 0 {
            return at;
        }
    }
}
