//! How bytes become a link and a link bytes; and if they do not, where the mistake is.
//!
//! A frame is the body and four bytes of CRC-32 behind it, in base32. This stays for all versions, so that damage is
//! told from a version that came later. A CRC is no defence against people, and needs to be none: who changes a link
//! can as well write another. Against mistakes it is better than a hash of the same length, because what it finds is
//! certain (docs/design/links.md): any one letter that is wrong, which it even names; any two; any two that changed
//! places; and whatever is wrong within six letters in a row.

use super::{BodyError, Kind, Link};
use crate::bytes::Reader;
use crate::text;

/// What every link begins with, in either case.
pub const SCHEME: &str = "starling:";

/// Letters of the longest link, behind the colon. The largest that can be made now has 430.
pub const MAX_LETTERS: usize = 512;

/// Longest text that is looked at, in bytes: a link, and what mail programs do to it.
pub const MAX_TEXT: usize = 4096;

/// Bytes of the checksum.
const CRC_LEN: usize = 4;

/// Why a text is not the link it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// Something else.
    #[error("this is no Starling link: those begin with \"starling:\"")]
    NotALink,
    /// Longer than any link.
    #[error("this is too long for a link: at most {MAX_LETTERS} letters follow \"starling:\"")]
    TooLong,
    /// The end is missing.
    #[error("the link is cut off: its end is missing. Copy all of it")]
    Truncated,
    /// Some letter is wrong.
    #[error("the link is damaged: {}. Copy it once more", where_wrong(.0))]
    Damaged(Option<Fix>),
    /// A version or kind that came later.
    #[error("the link was made by a newer version of Starling. Update Starling to open it")]
    Newer,
    /// It leads to something else than is needed.
    #[error("this is a link to {is}, and a link to {wanted} is needed here")]
    Foreign {
        /// What it leads to.
        is: Kind,
        /// What is needed.
        wanted: Kind,
    },
    /// Undamaged, and wrong all the same: whoever made it, made it so.
    #[error("the link is undamaged, but its {0} cannot be: the program that made it has a fault")]
    Malformed(&'static str),
}

/// The one letter that is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fix {
    /// Which one behind the colon, from 1; blanks are not counted.
    pub at: usize,
    /// What stands there.
    pub is: char,
    /// What should stand there.
    pub should: char,
}

fn where_wrong(fix: &Option<Fix>) -> String {
    match fix {
        Some(Fix { at, is, should }) => {
            format!("letter {at} behind the colon is \"{is}\" and should be \"{should}\"")
        }
        None => "more than one letter is wrong or missing".to_owned(),
    }
}

/// A body as a link.
pub(super) fn seal(mut body: Vec<u8>) -> String {
    body.extend(crc(&body).to_be_bytes());
    format!("{SCHEME}{}", text::encode(&body))
}

/// A text as a link.
pub(super) fn open(pasted: &str) -> Result<Link, LinkError> {
    let letters = letters(pasted)?;
    if letters.len() > MAX_LETTERS {
        return Err(LinkError::TooLong);
    }
    let symbols: Option<Vec<u8>> = letters.iter().copied().map(text::symbol).collect();
    let Some(symbols) = symbols else {
        return Err(LinkError::Damaged(fix(&letters)));
    };
    let (bytes, is_all) = text::pack(&symbols);
    match bytes.split_last_chunk::<CRC_LEN>() {
        Some((body, sum)) if is_all && crc(body).to_be_bytes() == *sum => read(body),
        _ => Err(match fix(&letters) {
            None if is_cut(&bytes) => LinkError::Truncated,
            fix => LinkError::Damaged(fix),
        }),
    }
}

/// A body that is what was written.
fn read(body: &[u8]) -> Result<Link, LinkError> {
    let mut reader = Reader::new(body);
    match Link::take(&mut reader) {
        Ok(link) if reader.is_empty() => Ok(link),
        Ok(_) | Err(BodyError::Short) => Err(LinkError::Malformed("length")),
        Err(BodyError::Newer) => Err(LinkError::Newer),
        Err(BodyError::Cannot(what)) => Err(LinkError::Malformed(what)),
    }
}

/// Whether a link that begins like this would be longer.
fn is_cut(bytes: &[u8]) -> bool {
    let mut reader = Reader::new(bytes);
    match Link::take(&mut reader) {
        Ok(_) => reader.rest().len() < CRC_LEN,
        Err(error) => error == BodyError::Short,
    }
}

/// The letters behind the colon, without what got between them on the way.
fn letters(pasted: &str) -> Result<Vec<char>, LinkError> {
    if pasted.len() > MAX_TEXT {
        return Err(match pasted.trim_start().get(..SCHEME.len()) {
            Some(start) if start.eq_ignore_ascii_case(SCHEME) => LinkError::TooLong,
            _ => LinkError::NotALink,
        });
    }
    let unquoted = pasted
        .lines()
        .map(|line| line.trim_start_matches(|c: char| c == '>' || is_blank(c)));
    let text: String = unquoted
        .flat_map(str::chars)
        .filter(|&c| !is_blank(c))
        .collect();
    let text = text
        .trim_start_matches(is_around)
        .trim_end_matches(is_around);
    let (scheme, rest) = text
        .split_at_checked(SCHEME.len())
        .ok_or(LinkError::NotALink)?;
    if !scheme.eq_ignore_ascii_case(SCHEME) {
        return Err(LinkError::NotALink);
    }
    // Some programs think that every address has a host.
    Ok(rest.strip_prefix("//").unwrap_or(rest).chars().collect())
}

/// White space, and characters that nobody sees: soft hyphens, joiners, byte order marks, directions of reading.
fn is_blank(c: char) -> bool {
    c.is_whitespace()
        || matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// What is written around a link: quotes, brackets, the end of a sentence.
fn is_around(c: char) -> bool {
    c != ':' && !c.is_alphanumeric()
}

/// The one letter whose change makes the checksum right. There is never more than one (a test looks at all).
fn fix(letters: &[char]) -> Option<Fix> {
    let mut foreign = (0..letters.len()).filter(|&at| text::symbol(letters[at]).is_none());
    let (only, more) = (foreign.next(), foreign.next());
    let symbol = |&letter| text::symbol(letter).unwrap_or(0);
    let symbols: Vec<u8> = letters.iter().map(symbol).collect();
    let (last, padding) = (symbols.len().checked_sub(1)?, text::padding(symbols.len())?);
    if more.is_some() {
        return None;
    }
    let (bytes, _) = text::pack(&symbols);
    let syndrome = residue(&bytes) ^ INTACT;
    // What a change of the bit in hand does to the checksum, from the last bit to the first.
    let mut effect = POLYNOMIAL;
    for at in (0..=last).rev() {
        let hidden = if at == last { padding } else { 0 };
        let mut effects = [0; 32];
        for bit in 0..5 {
            for others in 0..1 << bit {
                effects[others | 1 << bit] =
                    effects[others] ^ if bit < hidden { 0 } else { effect };
            }
            if bit >= hidden {
                effect = shift(effect);
            }
        }
        // The bits behind the last byte must become zero.
        let is_right = |&change: &usize| {
            let end = symbols[last] ^ if at == last { change as u8 } else { 0 };
            effects[change] == syndrome && end & ((1 << padding) - 1) == 0
        };
        if only.is_none_or(|only| only == at)
            && let Some(change) = (0..32).find(is_right)
        {
            return Some(Fix {
                at: at + 1,
                is: letters[at],
                should: text::letter(symbols[at] ^ change as u8),
            });
        }
    }
    None
}

const POLYNOMIAL: u32 = 0x04c1_1db7;

/// What [`residue`] is of bytes with their checksum behind them.
const INTACT: u32 = 0xc704_dd7b;

/// CRC-32/BZIP2: that of Ethernet, with the bits of a byte from the highest down, as base32 has them.
fn crc(bytes: &[u8]) -> u32 {
    !residue(bytes)
}

fn residue(bytes: &[u8]) -> u32 {
    bytes.iter().fold(!0, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte) << 24, |crc, _| shift(crc))
    })
}

/// Times x, modulo the polynomial.
fn shift(crc: u32) -> u32 {
    crc << 1 ^ if crc >> 31 == 1 { POLYNOMIAL } else { 0 }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_checksum_is_the_published_one() {
        assert_eq!(crc(b"123456789"), 0xfc89_1918);
        let sealed = [&b"123456789"[..], &crc(b"123456789").to_be_bytes()].concat();
        assert_eq!(residue(&sealed), INTACT);
    }

    /// What one wrong letter, or two, do to the checksum does not depend on the others: a CRC is linear. So all that
    /// can happen to the longest link is few enough to be looked at.
    #[test]
    fn one_wrong_letter_is_always_found_and_two_are_never_taken_for_none() {
        // Of all lengths that leave so many bits at the end, the longest; shorter links are ends of these.
        for letters in [512, 511, 509, 508, 506] {
            let (intact, _) = text::pack(&vec![0; letters]);
            let intact = residue(&intact);
            let mut effects = HashSet::from([0]);
            for (at, change) in (0..letters).flat_map(|at| (1..32).map(move |change| (at, change)))
            {
                let mut symbols = vec![0; letters];
                symbols[at] = change;
                let (bytes, is_all) = text::pack(&symbols);
                // Bits at the end that are not zero are found without the checksum.
                assert!(
                    !is_all || effects.insert(residue(&bytes) ^ intact),
                    "letter {at} changed by {change} does what another change does, or nothing"
                );
            }
        }
        assert_eq!(MAX_LETTERS, 512);
    }

    #[test]
    fn other_texts_are_no_links() {
        for text in [
            "",
            "starling",
            "magnet:?xt=urn:btih:0",
            "starlings:abc",
            "ärling:aaaaaaaaa",
        ] {
            assert_eq!(open(text), Err(LinkError::NotALink), "{text}");
        }
        let noise = "x".repeat(MAX_TEXT + 1);
        assert_eq!(open(&noise), Err(LinkError::NotALink));
        assert_eq!(open(&format!("Starling:{noise}")), Err(LinkError::TooLong));
        assert_eq!(
            open(&format!("starling:{}", &noise[..513])),
            Err(LinkError::TooLong)
        );
        assert_eq!(open("starling:"), Err(LinkError::Truncated));
    }

    #[test]
    fn versions_and_kinds_to_come_are_told_from_damage() {
        for head in [0x14, 0x1f, 0x21, 0xf0] {
            let text = seal(vec![head, 1, 2, 3]);
            assert_eq!(open(&text), Err(LinkError::Newer));
            let damaged = text.replace(char::is_numeric, "x");
            assert!(matches!(open(&damaged), Err(LinkError::Damaged(_))) || damaged == text);
        }
        assert_eq!(open(&seal(vec![0x01])), Err(LinkError::Malformed("kind")));
        let short = seal(vec![0x13; 32]);
        assert_eq!(open(&short), Err(LinkError::Malformed("length")));
        assert_eq!(
            open(&seal(vec![0x13; 34])),
            Err(LinkError::Malformed("length"))
        );
        assert!(open(&seal(vec![0x13; 33])).is_ok());
    }

    /// Bodies that nobody wrote, with the checksum that makes them links.
    #[test]
    fn fuzz_link_bodies() {
        let check = |body: Vec<u8>| {
            let text = seal(body);
            match open(&text) {
                Ok(link) => assert_eq!(link.to_string(), text, "one link has one text"),
                Err(LinkError::Newer | LinkError::Malformed(_)) => {}
                Err(LinkError::TooLong) => assert!(text.len() > SCHEME.len() + MAX_LETTERS),
                Err(LinkError::NotALink) => assert!(text.len() > MAX_TEXT),
                Err(error) => panic!("{error}: {text}"),
            }
        };
        bolero::check!().for_each(|bytes: &[u8]| {
            check(bytes.to_vec());
            check([&[0x11], bytes].concat());
            // Of a device, so that the bytes begin with the hints.
            let (shape, hints) = bytes.split_first().unwrap_or((&0, &[]));
            check([&[0x12, *shape][..], &[7; 32], hints].concat());
        });
    }
}
