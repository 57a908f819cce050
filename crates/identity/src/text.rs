//! Base32 (RFC 4648 §6) without padding: what keys and links are written in. Lower case is written, both are read.

const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// Bits in one letter.
const BITS: usize = 5;

/// The letter of a number below 32.
pub(crate) fn letter(symbol: u8) -> char {
    char::from(ALPHABET[usize::from(symbol & 31)])
}

/// The number that a letter stands for.
pub(crate) fn symbol(letter: char) -> Option<u8> {
    match letter {
        'a'..='z' => Some(letter as u8 - b'a'),
        'A'..='Z' => Some(letter as u8 - b'A'),
        '2'..='7' => Some(letter as u8 - b'2' + 26),
        _ => None,
    }
}

/// Letters for these bytes.
pub(crate) fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity((8 * bytes.len()).div_ceil(BITS));
    for chunk in bytes.chunks(BITS) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        let word = u64::from_be_bytes(word);
        for place in 0..(8 * chunk.len()).div_ceil(BITS) {
            text.push(letter((word >> (59 - BITS * place)) as u8));
        }
    }
    text
}

/// The bytes that these numbers below 32 hold; `None` if so many hold no whole number of bytes, or bits are left that
/// are not zero. What is returned encodes to the same letters.
pub(crate) fn pack(symbols: &[u8]) -> Option<Vec<u8>> {
    let len = symbols.len() * BITS / 8;
    if (8 * len).div_ceil(BITS) != symbols.len() {
        return None;
    }
    let mut bytes = Vec::with_capacity(len);
    let (mut word, mut bits) = (0_u16, 0);
    for symbol in symbols {
        word = word << BITS | u16::from(*symbol);
        bits += BITS;
        if bits >= 8 {
            bits -= 8;
            bytes.push((word >> bits) as u8);
            word &= (1 << bits) - 1;
        }
    }
    (word == 0).then_some(bytes)
}

/// The bytes that these letters hold, if they are all letters of the alphabet and [`pack`].
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    let symbols: Vec<u8> = text.chars().map(symbol).collect::<Option<_>>()?;
    pack(&symbols)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn letters_are_those_of_the_rfc() {
        // RFC 4648 §10
        for (bytes, text) in [
            ("", ""),
            ("f", "my"),
            ("fo", "mzxq"),
            ("foo", "mzxw6"),
            ("foob", "mzxw6yq"),
            ("fooba", "mzxw6ytb"),
            ("foobar", "mzxw6ytboi"),
        ] {
            assert_eq!(encode(bytes.as_bytes()), text);
            assert_eq!(decode(text).as_deref(), Some(bytes.as_bytes()));
            assert_eq!(
                decode(&text.to_uppercase()).as_deref(),
                Some(bytes.as_bytes())
            );
        }
        for bad in ["m", "mzx", "mz", "mzxw6y", "m0", "m=", "mé"] {
            assert_eq!(decode(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn bytes_survive(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let text = encode(&bytes);
            prop_assert_eq!(decode(&text), Some(bytes));
        }
    }
}
