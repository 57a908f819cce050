//! Bencode (BEP 3): a reader that checks once and then borrows, and a writer that is always canonical.
//!
//! [`parse`] walks the input a single time without recursion and checks everything; a [`Value`] is
//! then just a place in those bytes, three words wide and `Copy`. Nothing is copied or allocated per
//! element, so a torrent of 100,000 files costs no more memory to read than its own bytes, and
//! [`Value::raw`] is exactly what was hashed. What keys mean is for other modules.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

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
    Ok((value, value.end as usize))
}

fn whole<'a>(
    input: &'a [u8],
    limits: Limits,
    oddities: &mut Vec<Oddity>,
) -> Result<Value<'a>, Error> {
    let mut checker = Checker::new(input, limits, oddities)?;
    let value = checker.run()?;
    if (value.end as usize) < input.len() {
        checker.odd(value.end as usize, ErrorKind::Trailing)?;
    }
    Ok(value)
}

/// The single walk that checks everything.
struct Checker<'a, 'n> {
    input: &'a [u8],
    limits: Limits,
    at: usize,
    elements: u32,
    oddities: &'n mut Vec<Oddity>,
}

/// A list or dict that is still open.
struct Open {
    start: u32,
    dict: bool,
    unsorted: bool,
    /// A dict that has had a key and waits for its value.
    pending: bool,
    /// Where the last key's bytes lie; empty before the first.
    key: Option<(u32, u32)>,
}

impl<'a, 'n> Checker<'a, 'n> {
    fn new(input: &'a [u8], limits: Limits, oddities: &'n mut Vec<Oddity>) -> Result<Self, Error> {
        if input.len() > limits.size || input.len() > u32::MAX as usize {
            return Err(Error {
                at: limits.size,
                kind: ErrorKind::TooBig,
            });
        }
        Ok(Checker {
            input,
            limits,
            at: 0,
            elements: 0,
            oddities,
        })
    }

    fn run(&mut self) -> Result<Value<'a>, Error> {
        let mut open: Vec<Open> = Vec::new();
        loop {
            let start = self.at;
            let byte = self.peek()?;
            let awaits_key = open.last().is_some_and(|o| o.dict && !o.pending);
            match byte {
                b'e' => {
                    let Some(done) = open.pop() else {
                        return self.fail(ErrorKind::Unexpected);
                    };
                    if done.pending {
                        return self.fail(ErrorKind::KeyWithoutValue);
                    }
                    self.at += 1;
                    if done.unsorted {
                        self.note_duplicates(done.start)?;
                    }
                }
                b'0'..=b'9' => {
                    let text = self.string()?;
                    if awaits_key {
                        let dict = open.last_mut().expect("only an open dict awaits a key");
                        self.key(dict, text)?;
                        self.count()?;
                        continue;
                    }
                }
                _ if awaits_key => return self.fail(ErrorKind::KeyNotString),
                b'i' => self.integer()?,
                b'l' | b'd' => {
                    if open.len() as u32 >= self.limits.depth {
                        return self.fail(ErrorKind::TooDeep);
                    }
                    self.count()?;
                    self.at += 1;
                    open.push(Open {
                        start: start as u32,
                        dict: byte == b'd',
                        unsorted: false,
                        pending: false,
                        key: None,
                    });
                    continue;
                }
                _ => return self.fail(ErrorKind::Unexpected),
            }
            // A value is complete.
            if byte != b'e' {
                self.count()?;
            }
            match open.last_mut() {
                Some(parent) => parent.pending = false,
                None => {
                    // The outermost value starts at 0: nothing may precede it.
                    return Ok(Value {
                        input: self.input,
                        start: 0,
                        end: self.at as u32,
                    });
                }
            }
        }
    }

    fn peek(&self) -> Result<u8, Error> {
        let byte = self.input.get(self.at).copied();
        byte.ok_or(Error {
            at: self.at,
            kind: ErrorKind::Truncated,
        })
    }

    fn fail<T>(&self, kind: ErrorKind) -> Result<T, Error> {
        Err(Error { at: self.at, kind })
    }

    /// An error when strict, a note when lenient.
    fn odd(&mut self, at: usize, kind: ErrorKind) -> Result<(), Error> {
        if self.limits.policy == Policy::Strict {
            return Err(Error { at, kind });
        }
        if self.oddities.len() < MAX_ODDITIES {
            self.oddities.push(Oddity { at, kind });
        }
        Ok(())
    }

    fn count(&mut self) -> Result<(), Error> {
        self.elements += 1;
        if self.elements > self.limits.elements {
            self.fail(ErrorKind::TooMany)
        } else {
            Ok(())
        }
    }

    /// Reads decimal digits, at least one.
    fn digits(&mut self) -> Result<u64, Error> {
        let start = self.at;
        let mut number: u64 = 0;
        while let digit @ b'0'..=b'9' = self.peek()? {
            let next = number
                .checked_mul(10)
                .and_then(|n| n.checked_add(u64::from(digit - b'0')));
            let Some(next) = next else {
                return self.fail(ErrorKind::TooLarge);
            };
            number = next;
            self.at += 1;
        }
        if self.at == start {
            return self.fail(ErrorKind::BadNumber);
        }
        if self.input[start] == b'0' && self.at - start > 1 {
            self.odd(start, ErrorKind::BadNumber)?;
        }
        Ok(number)
    }

    fn integer(&mut self) -> Result<(), Error> {
        self.at += 1;
        let start = self.at;
        let negative = self.peek()? == b'-';
        self.at += usize::from(negative);
        let number = self.digits()?;
        if number > i64::MAX as u64 + u64::from(negative) {
            return Err(Error {
                at: start,
                kind: ErrorKind::TooLarge,
            });
        }
        if negative && number == 0 {
            self.odd(start, ErrorKind::BadNumber)?;
        }
        if self.peek()? != b'e' {
            return self.fail(ErrorKind::BadNumber);
        }
        self.at += 1;
        Ok(())
    }

    /// Reads a string and answers where its bytes lie.
    fn string(&mut self) -> Result<(u32, u32), Error> {
        let len = self.digits()?;
        if self.peek()? != b':' {
            return self.fail(ErrorKind::BadNumber);
        }
        self.at += 1;
        if len > (self.input.len() - self.at) as u64 {
            return self.fail(ErrorKind::Truncated);
        }
        let start = self.at;
        self.at += len as usize;
        Ok((start as u32, self.at as u32))
    }

    fn key(&mut self, dict: &mut Open, (start, end): (u32, u32)) -> Result<(), Error> {
        let bytes = |(start, end): (u32, u32)| &self.input[start as usize..end as usize];
        let order = dict.key.map(|last| bytes(last).cmp(bytes((start, end))));
        match order {
            Some(std::cmp::Ordering::Equal) if !dict.unsorted => {
                self.odd(start as usize, ErrorKind::DuplicateKey)?;
            }
            Some(std::cmp::Ordering::Greater) if !dict.unsorted => {
                self.odd(start as usize, ErrorKind::UnsortedKeys)?;
                dict.unsorted = true;
            }
            _ => {}
        }
        dict.key = Some((start, end));
        dict.pending = true;
        Ok(())
    }

    /// Keys of an unsorted dict need sorting to find those that are there twice.
    fn note_duplicates(&mut self, start: u32) -> Result<(), Error> {
        if self.oddities.len() >= MAX_ODDITIES {
            return Ok(());
        }
        let dict = Dict(Value {
            input: self.input,
            start,
            end: self.at as u32,
        });
        let mut keys: Vec<&[u8]> = dict.iter().map(|(key, _)| key).collect();
        keys.sort_unstable();
        if keys.windows(2).any(|pair| pair[0] == pair[1]) {
            self.odd(start as usize, ErrorKind::DuplicateKey)?;
        }
        Ok(())
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

impl<'a> Value<'a> {
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

/// A value to be written. Whatever the order of insertion, [`encode`](Owned::encode) is canonical.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owned {
    /// A number.
    Int(i64),
    /// A string of bytes.
    Bytes(Vec<u8>),
    /// A list.
    List(Vec<Owned>),
    /// A dict; the map keeps its keys sorted.
    Dict(BTreeMap<Vec<u8>, Owned>),
    /// Bytes that are already a bencoded value, written as they are (an info dict keeps its hash).
    Raw(Vec<u8>),
}

impl Owned {
    /// A dict of these entries; of equal keys the last wins.
    pub fn dict<K: Into<Vec<u8>>>(entries: impl IntoIterator<Item = (K, Owned)>) -> Owned {
        Owned::Dict(
            entries
                .into_iter()
                .map(|(key, value)| (key.into(), value))
                .collect(),
        )
    }

    /// A list of these elements.
    pub fn list<T: Into<Owned>>(elements: impl IntoIterator<Item = T>) -> Owned {
        Owned::List(elements.into_iter().map(Into::into).collect())
    }

    /// A string of bytes.
    pub fn bytes(bytes: impl Into<Vec<u8>>) -> Owned {
        Owned::Bytes(bytes.into())
    }

    /// The canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::new();
        self.encode_into(&mut out);
        out.finish()
    }

    /// Writes the value behind what `out` already holds.
    pub fn encode_into(&self, out: &mut Encoder) {
        match self {
            Owned::Int(n) => out.int(*n),
            Owned::Bytes(bytes) => out.bytes(bytes),
            Owned::List(list) => {
                out.list(|out| list.iter().for_each(|value| value.encode_into(out)))
            }
            Owned::Dict(dict) => out.dict(|out| {
                for (key, value) in dict {
                    out.bytes(key);
                    value.encode_into(out);
                }
            }),
            Owned::Raw(raw) => out.raw(raw),
        }
    }
}

/// Writes bencode piece by piece, for what is too large to build as [`Owned`] first.
///
/// Inside [`dict`](Encoder::dict) write a key with [`bytes`](Encoder::bytes), then its value; the
/// caller keeps keys sorted (tests parse the result strictly).
#[derive(Debug, Default)]
pub struct Encoder {
    out: Vec<u8>,
}

impl Encoder {
    /// An empty writer.
    pub fn new() -> Encoder {
        Encoder::default()
    }

    /// Writes a number.
    pub fn int(&mut self, n: i64) {
        self.out.push(b'i');
        self.decimal(n);
        self.out.push(b'e');
    }

    /// Writes a string.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.decimal(bytes.len() as i64);
        self.out.push(b':');
        self.out.extend_from_slice(bytes);
    }

    /// Writes a string that comes in parts, `len` bytes in all.
    pub fn parts<'p>(&mut self, len: usize, parts: impl IntoIterator<Item = &'p [u8]>) {
        self.decimal(len as i64);
        self.out.push(b':');
        let start = self.out.len();
        parts
            .into_iter()
            .for_each(|part| self.out.extend_from_slice(part));
        assert_eq!(
            self.out.len() - start,
            len,
            "the parts are as long as was said"
        );
    }

    /// Writes a list of whatever `contents` writes.
    pub fn list(&mut self, contents: impl FnOnce(&mut Encoder)) {
        self.out.push(b'l');
        contents(self);
        self.out.push(b'e');
    }

    /// Writes a dict of whatever `contents` writes: keys and values in turn, keys sorted.
    pub fn dict(&mut self, contents: impl FnOnce(&mut Encoder)) {
        self.out.push(b'd');
        contents(self);
        self.out.push(b'e');
    }

    /// Writes bytes that are already a bencoded value.
    pub fn raw(&mut self, raw: &[u8]) {
        self.out.extend_from_slice(raw);
    }

    /// Opens a dict that [`end`](Encoder::end) closes, where a closure would nest too deeply.
    pub fn begin_dict(&mut self) {
        self.out.push(b'd');
    }

    /// Closes what [`begin_dict`](Encoder::begin_dict) opened.
    pub fn end(&mut self) {
        self.out.push(b'e');
    }

    /// What was written.
    pub fn finish(self) -> Vec<u8> {
        self.out
    }

    fn decimal(&mut self, n: i64) {
        use std::io::Write;
        write!(self.out, "{n}").expect("a Vec takes everything");
    }
}

macro_rules! from_int {
    ($($int:ty),*) => {$(
        impl From<$int> for Owned {
            fn from(n: $int) -> Owned {
                Owned::Int(i64::from(n))
            }
        }
    )*};
}
from_int!(i64, i32, u32, u16, u8, bool);

impl From<&str> for Owned {
    fn from(text: &str) -> Owned {
        Owned::Bytes(text.as_bytes().to_vec())
    }
}

impl From<String> for Owned {
    fn from(text: String) -> Owned {
        Owned::Bytes(text.into_bytes())
    }
}

impl From<&[u8]> for Owned {
    fn from(bytes: &[u8]) -> Owned {
        Owned::Bytes(bytes.to_vec())
    }
}

impl<const N: usize> From<&[u8; N]> for Owned {
    fn from(bytes: &[u8; N]) -> Owned {
        Owned::Bytes(bytes.to_vec())
    }
}

impl<const N: usize> From<[u8; N]> for Owned {
    fn from(bytes: [u8; N]) -> Owned {
        Owned::Bytes(bytes.to_vec())
    }
}

impl From<Vec<u8>> for Owned {
    fn from(bytes: Vec<u8>) -> Owned {
        Owned::Bytes(bytes)
    }
}

impl From<Vec<Owned>> for Owned {
    fn from(list: Vec<Owned>) -> Owned {
        Owned::List(list)
    }
}

impl From<BTreeMap<Vec<u8>, Owned>> for Owned {
    fn from(dict: BTreeMap<Vec<u8>, Owned>) -> Owned {
        Owned::Dict(dict)
    }
}

/// Exactly the bytes it was parsed from.
impl From<Value<'_>> for Owned {
    fn from(value: Value<'_>) -> Owned {
        Owned::Raw(value.raw().to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn strict(input: &[u8]) -> Result<Value<'_>, ErrorKind> {
        parse(input, Limits::STRICT).map_err(|e| e.kind)
    }

    fn lenient(input: &[u8]) -> Result<Value<'_>, ErrorKind> {
        parse(input, Limits::LENIENT).map_err(|e| e.kind)
    }

    #[test]
    fn the_examples_of_bep_3_read_as_it_says() {
        assert_eq!(strict(b"4:spam").unwrap().as_str(), Some("spam"));
        assert_eq!(strict(b"i3e").unwrap().as_int(), Some(3));
        assert_eq!(strict(b"i-3e").unwrap().as_int(), Some(-3));
        assert_eq!(strict(b"i0e").unwrap().as_int(), Some(0));
        let list = strict(b"l4:spam4:eggse").unwrap().as_list().unwrap();
        let words: Vec<_> = list.iter().map(|v| v.as_str().unwrap()).collect();
        assert_eq!(words, ["spam", "eggs"]);
        let dict = strict(b"d4:spaml1:a1:bee").unwrap();
        assert_eq!(dict.get("spam").unwrap().as_list().unwrap().len(), 2);
        assert_eq!(strict(b"i-0e"), Err(ErrorKind::BadNumber));
        assert_eq!(strict(b"i03e"), Err(ErrorKind::BadNumber));
    }

    #[test]
    fn a_span_covers_exactly_the_bytes_of_a_value() {
        let input = b"d1:ai1e4:infod4:name3:xyze1:zlee";
        let info = strict(input).unwrap().get("info").unwrap();
        assert_eq!(info.raw(), b"d4:name3:xyze");
        assert_eq!(&input[info.span()], info.raw());
    }

    #[test]
    fn every_way_to_be_cut_short_is_an_error() {
        let whole = b"d1:ai-12e1:bl4:spamdeee";
        assert!(strict(whole).is_ok());
        for len in 0..whole.len() {
            assert_eq!(
                lenient(&whole[..len]),
                Err(ErrorKind::Truncated),
                "cut at {len}"
            );
        }
    }

    #[test]
    fn numbers_reach_both_ends_of_64_bits_and_no_further() {
        assert_eq!(
            strict(b"i9223372036854775807e").unwrap().as_int(),
            Some(i64::MAX)
        );
        assert_eq!(
            strict(b"i-9223372036854775808e").unwrap().as_int(),
            Some(i64::MIN)
        );
        assert_eq!(lenient(b"i9223372036854775808e"), Err(ErrorKind::TooLarge));
        assert_eq!(lenient(b"i-9223372036854775809e"), Err(ErrorKind::TooLarge));
        assert_eq!(
            lenient(b"i99999999999999999999999e"),
            Err(ErrorKind::TooLarge)
        );
        assert_eq!(
            lenient(b"99999999999999999999999:a"),
            Err(ErrorKind::TooLarge)
        );
        assert_eq!(
            lenient(b"18446744073709551615:a"),
            Err(ErrorKind::Truncated)
        );
    }

    #[test]
    fn nonsense_is_refused_whatever_the_policy() {
        for bad in [
            &b"ie"[..],
            b"i-e",
            b"i--1e",
            b"i+1e",
            b"i1.5e",
            b"i1",
            b"-1:a",
            b"x",
            b"e",
            b"1a",
            b"l:e",
        ] {
            assert!(lenient(bad).is_err(), "{}", bad.escape_ascii());
        }
        assert_eq!(lenient(b"di1ei2ee"), Err(ErrorKind::KeyNotString));
        assert_eq!(lenient(b"dlei2ee"), Err(ErrorKind::KeyNotString));
        assert_eq!(lenient(b"d1:ae"), Err(ErrorKind::KeyWithoutValue));
        assert_eq!(lenient(b"d1:ai1e1:be"), Err(ErrorKind::KeyWithoutValue));
    }

    #[test]
    fn sloppy_dicts_are_read_leniently_and_noted() {
        let unsorted = b"d1:bi1e1:ai2ee";
        assert_eq!(strict(unsorted), Err(ErrorKind::UnsortedKeys));
        assert_eq!(
            lenient(unsorted).unwrap().get("a").unwrap().as_int(),
            Some(2)
        );

        let twice = b"d1:ai1e1:ai2ee";
        assert_eq!(strict(twice), Err(ErrorKind::DuplicateKey));
        let (value, oddities) = parse_noting(twice, Limits::LENIENT).unwrap();
        assert_eq!(value.get("a").unwrap().as_int(), Some(1));
        assert_eq!(
            oddities,
            [Oddity {
                at: 9,
                kind: ErrorKind::DuplicateKey
            }]
        );

        let far_apart = b"d1:bi1e1:ai2e1:bi3ee";
        let (value, oddities) = parse_noting(far_apart, Limits::LENIENT).unwrap();
        assert_eq!(value.get("b").unwrap().as_int(), Some(1));
        assert_eq!(
            oddities.last(),
            Some(&Oddity {
                at: 0,
                kind: ErrorKind::DuplicateKey
            })
        );

        assert_eq!(strict(b"i1e\n"), Err(ErrorKind::Trailing));
        assert_eq!(lenient(b"i1e\n").unwrap().as_int(), Some(1));
        assert_eq!(lenient(b"i007e").unwrap().as_int(), Some(7));
        assert_eq!(lenient(b"i-0e").unwrap().as_int(), Some(0));
    }

    #[test]
    fn a_payload_may_follow_a_prefix() {
        let (value, used) = parse_prefix(b"d8:msg_typei1ee\0\xffdata", Limits::STRICT).unwrap();
        assert_eq!(value.get("msg_type").unwrap().as_int(), Some(1));
        assert_eq!(used, 15);
    }

    #[test]
    fn hostile_nesting_ends_at_the_depth_limit() {
        let deep = vec![b'l'; 1_000_000];
        assert_eq!(lenient(&deep), Err(ErrorKind::TooDeep));
        let fits = [
            vec![b'l'; MAX_DEPTH as usize],
            vec![b'e'; MAX_DEPTH as usize],
        ]
        .concat();
        let value = lenient(&fits).unwrap();
        assert_eq!(value.as_list().unwrap().len(), 1);
        assert_eq!(
            lenient(&[&b"l"[..], &fits, b"e"].concat()),
            Err(ErrorKind::TooDeep)
        );
    }

    #[test]
    fn element_and_size_limits_hold() {
        let limits = Limits {
            elements: 3,
            ..Limits::STRICT
        };
        assert!(parse(b"li1ei2ee", limits).is_ok());
        assert_eq!(
            parse(b"li1ei2ei3ee", limits).unwrap_err().kind,
            ErrorKind::TooMany
        );
        assert_eq!(
            parse(b"d1:ai1e1:bi1ee", limits).unwrap_err().kind,
            ErrorKind::TooMany
        );
        assert_eq!(
            parse(b"i1e", Limits::STRICT.size(2)).unwrap_err().kind,
            ErrorKind::TooBig
        );
    }

    #[test]
    fn a_value_is_three_words() {
        assert_eq!(size_of::<Value<'_>>(), 24);
    }

    #[test]
    fn an_error_says_what_and_where() {
        let error = parse(b"d1:ai1e", Limits::STRICT).unwrap_err();
        assert_eq!(error.to_string(), "the data ends too early at byte 7");
    }

    fn any_owned() -> impl Strategy<Value = Owned> {
        let leaf = prop_oneof![
            any::<i64>().prop_map(Owned::Int),
            proptest::collection::vec(any::<u8>(), 0..20).prop_map(Owned::Bytes),
        ];
        leaf.prop_recursive(5, 60, 8, |inner| {
            let key = proptest::collection::vec(any::<u8>(), 0..6);
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..8).prop_map(Owned::List),
                proptest::collection::btree_map(key, inner, 0..8).prop_map(Owned::Dict),
            ]
        })
    }

    fn owned(value: Value<'_>) -> Owned {
        match value.kind() {
            Kind::Int(n) => Owned::Int(n),
            Kind::Bytes(b) => b.into(),
            Kind::List(list) => Owned::List(list.iter().map(owned).collect()),
            Kind::Dict(dict) => Owned::dict(dict.iter().map(|(k, v)| (k, owned(v)))),
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back_strictly(value in any_owned()) {
            let bytes = value.encode();
            let read = parse(&bytes, Limits::STRICT).unwrap();
            prop_assert_eq!(owned(read), value);
            prop_assert_eq!(Owned::from(read).encode(), bytes);
        }

        #[test]
        fn whatever_reads_strictly_is_written_the_same(bytes in "[dl]([0-3]:[a-c]{0,3}|i-?[0-9]{1,3}e|[dle]){0,12}e") {
            if let Ok(value) = parse(bytes.as_bytes(), Limits::STRICT) {
                prop_assert_eq!(owned(value).encode(), bytes.as_bytes());
            }
        }
    }
}
