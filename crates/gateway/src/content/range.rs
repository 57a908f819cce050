//! Which bytes of a file a request asks for (RFC 9110 §14).

use std::ops::Range;

/// What a `Range` header comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// All of it: there is no range, one in other units, nonsense, or several at once, which are answered whole
    /// (§14.2).
    All,
    /// These bytes, at least one.
    Part(Range<u64>),
    /// Bytes that the file does not have.
    Nothing,
}

/// Reads the value of a `Range` header, for a file of `size` bytes.
pub(crate) fn asked(value: &[u8], size: u64) -> Asked {
    match part(value) {
        None => Asked::All,
        Some(_) if size == 0 => Asked::Nothing,
        Some(Part::From(first, last)) => match first < size {
            true => Asked::Part(first..last.min(size - 1) + 1),
            false => Asked::Nothing,
        },
        Some(Part::Last(0)) => Asked::Nothing,
        Some(Part::Last(length)) => Asked::Part(size.saturating_sub(length)..size),
    }
}

enum Part {
    /// First and last byte.
    From(u64, u64),
    /// The last so many bytes.
    Last(u64),
}

fn part(value: &[u8]) -> Option<Part> {
    let (unit, set) = std::str::from_utf8(value).ok()?.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    let (first, last) = set.trim().split_once('-')?;
    match (first, last) {
        ("", length) => Some(Part::Last(number(length)?)),
        (first, "") => Some(Part::From(number(first)?, u64::MAX)),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then_some(Part::From(first, last))
        }
    }
}

/// Digits alone; more of them than any file needs are a number past its end.
fn number(digits: &str) -> Option<u64> {
    let all_digits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    all_digits.then(|| digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_cut_to_the_file() {
        for (value, bytes) in [
            ("bytes=0-0", 0..1),
            ("bytes=0-", 0..100),
            ("bytes=10-19", 10..20),
            ("bytes=99-", 99..100),
            ("bytes=50-1000", 50..100),
            ("bytes=50-99999999999999999999999", 50..100),
            ("bytes=-1", 99..100),
            ("bytes=-1000", 0..100),
            ("Bytes= 5-6 ", 5..7),
            ("bytes=0-18446744073709551615", 0..100),
        ] {
            assert_eq!(asked(value.as_bytes(), 100), Asked::Part(bytes), "{value}");
        }
    }

    #[test]
    fn what_the_file_does_not_have_is_nothing() {
        for value in [
            "bytes=100-",
            "bytes=100-200",
            "bytes=99999999999999999999-",
            "bytes=-0",
        ] {
            assert_eq!(asked(value.as_bytes(), 100), Asked::Nothing, "{value}");
        }
        for value in ["bytes=0-", "bytes=0-0", "bytes=-5"] {
            assert_eq!(asked(value.as_bytes(), 0), Asked::Nothing, "{value}");
        }
    }

    #[test]
    fn what_is_no_single_range_of_bytes_is_the_whole() {
        for value in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=a-b",
            "bytes=5-4",
            "bytes=+1-2",
            "bytes=1 -2",
            "lines=0-5",
            "bytes=0-1,5-6",
            "bytes=--5",
            "bytes=5--",
            "bytes=0x1-2",
        ] {
            assert_eq!(asked(value.as_bytes(), 100), Asked::All, "{value}");
        }
        assert_eq!(asked(b"bytes=\xff-", 100), Asked::All);
    }
}
