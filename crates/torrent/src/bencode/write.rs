//! Writing: always the canonical form.

use std::collections::BTreeMap;

use super::Value;

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
