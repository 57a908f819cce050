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

/// Bits that are left when so many letters hold as many whole bytes as they can; `None` if fewer letters would do.
pub(crate) fn padding(letters: usize) -> Option<usize> {
    let bits = letters * BITS % 8;
    (bits < BITS).then_some(bits)
}

/// The whole bytes that these numbers below 32 hold, and whether that is all: so many hold a whole number of bytes,
/// and the bits that are left are zero. Then the bytes encode to the same letters.
pub(crate) fn pack(symbols: &[u8]) -> (Vec<u8>, bool) {
    let len = symbols.len() * BITS / 8;
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
    let is_all = word == 0 && padding(symbols.len()).is_some();
    (bytes, is_all)
}

/// The bytes that these letters hold, if they are all letters of the alphabet and nothing is left.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    let symbols: Vec<u8> = text.chars().map(symbol).collect::<Option<_>>()?;
    let (bytes, is_all) = pack(&symbols);
    is_all.then_some(bytes)
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
