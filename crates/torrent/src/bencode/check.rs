//! The one walk that checks everything a reader relies on later.

use super::{Dict, Error, ErrorKind, Limits, MAX_ODDITIES, Oddity, Policy, Value};

/// The single walk that checks everything.
pub(super) struct Checker<'a, 'n> {
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
    pub(super) fn new(
        input: &'a [u8],
        limits: Limits,
        oddities: &'n mut Vec<Oddity>,
    ) -> Result<Self, Error> {
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

    pub(super) fn run(&mut self) -> Result<Value<'a>, Error> {
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
                    return Ok(Value::checked(self.input, 0, self.at as u32));
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
    pub(super) fn odd(&mut self, at: usize, kind: ErrorKind) -> Result<(), Error> {
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
        if negative {
            self.at += 1;
        }
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
        let dict = Dict::checked(self.input, start, self.at as u32);
        let mut keys: Vec<&[u8]> = dict.iter().map(|(key, _)| key).collect();
        keys.sort_unstable();
        if keys.windows(2).any(|pair| pair[0] == pair[1]) {
            self.odd(start as usize, ErrorKind::DuplicateKey)?;
        }
        Ok(())
    }
}
