//! A set of indices below a fixed length: pieces of a torrent, blocks of a piece, files.

use std::{fmt, ops::Range};

/// A fixed-length set of indices, one bit each.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Bits {
    words: Vec<u64>,
    len: usize,
}

impl Bits {
    /// The empty set over `0..len`.
    pub fn new(len: usize) -> Bits {
        Bits {
            words: vec![0; len.div_ceil(64)],
            len,
        }
    }

    /// The full set over `0..len`.
    pub fn full(len: usize) -> Bits {
        let mut bits = Bits {
            words: vec![u64::MAX; len.div_ceil(64)],
            len,
        };
        bits.clear_tail();
        bits
    }

    /// How many indices there are, in the set or not.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True if the length is zero (not: if the set is empty, that is [`none`](Self::none)).
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Is `index` in the set? Beyond the length: no.
    pub fn has(&self, index: usize) -> bool {
        index < self.len && self.words[index / 64] >> (index % 64) & 1 == 1
    }

    /// Puts `index` in; says whether it was new.
    ///
    /// # Panics
    /// If `index` is beyond the length.
    pub fn set(&mut self, index: usize) -> bool {
        assert!(
            index < self.len,
            "index {index} of a set over 0..{}",
            self.len
        );
        let (word, bit) = (&mut self.words[index / 64], 1 << (index % 64));
        let new = *word & bit == 0;
        *word |= bit;
        new
    }

    /// Takes `index` out; says whether it was in.
    pub fn unset(&mut self, index: usize) -> bool {
        let was = self.has(index);
        if was {
            self.words[index / 64] &= !(1 << (index % 64));
        }
        was
    }

    /// Puts all of `range` in.
    pub fn set_range(&mut self, range: Range<usize>) {
        for index in range {
            self.set(index);
        }
    }

    /// How many indices are in the set.
    pub fn count(&self) -> usize {
        self.words
            .iter()
            .map(|word| word.count_ones() as usize)
            .sum()
    }

    /// Is every index in the set?
    pub fn all(&self) -> bool {
        self.count() == self.len
    }

    /// Is no index in the set?
    pub fn none(&self) -> bool {
        self.words.iter().all(|&word| word == 0)
    }

    /// The indices in the set, ascending.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.words.iter().enumerate().flat_map(|(i, &word)| {
            let mut rest = word;
            std::iter::from_fn(move || {
                let bit = (rest != 0).then(|| rest.trailing_zeros() as usize)?;
                rest &= rest - 1;
                Some(i * 64 + bit)
            })
        })
    }

    /// The set as BEP 3's bitfield: the high bit of the first byte is index 0, spare bits are zero.
    pub fn to_bytes(&self) -> Vec<u8> {
        let words = self.words.iter().flat_map(|word| word.to_le_bytes());
        words
            .map(u8::reverse_bits)
            .take(self.len.div_ceil(8))
            .collect()
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote. `None` if the size is wrong or a spare bit is set.
    pub fn from_bytes(bytes: &[u8], len: usize) -> Option<Bits> {
        if bytes.len() != len.div_ceil(8) {
            return None;
        }
        let mut bits = Bits::new(len);
        for (i, byte) in bytes.iter().enumerate() {
            bits.words[i / 8] |= u64::from(byte.reverse_bits()) << (i % 8 * 8);
        }
        let before = bits.count();
        bits.clear_tail();
        (bits.count() == before).then_some(bits)
    }

    /// Keeps the invariant that bits beyond `len` are zero.
    fn clear_tail(&mut self) {
        if let (Some(last), spare @ 1..) = (self.words.last_mut(), self.len % 64) {
            *last &= (1 << spare) - 1;
        }
    }
}

impl fmt::Debug for Bits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bits({} of {})", self.count(), self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_first_index_is_the_high_bit_of_the_first_byte() {
        let mut bits = Bits::new(10);
        bits.set(0);
        bits.set(9);
        assert_eq!(bits.to_bytes(), [0x80, 0x40]);
        assert_eq!(Bits::from_bytes(&[0x80, 0x40], 10), Some(bits));
        assert_eq!(Bits::from_bytes(&[0x80, 0x20], 10), None, "a spare bit");
        assert_eq!(Bits::from_bytes(&[0x80], 10), None, "too short");
    }

    proptest! {
        #[test]
        fn bits_agree_with_a_vector_of_bools(model in prop::collection::vec(any::<bool>(), 0..300)) {
            let mut bits = Bits::new(model.len());
            for (i, _) in model.iter().enumerate().filter(|(_, on)| **on) {
                prop_assert!(bits.set(i));
                prop_assert!(!bits.set(i));
            }
            let expected: Vec<usize> = (0..model.len()).filter(|&i| model[i]).collect();
            prop_assert_eq!(bits.iter().collect::<Vec<_>>(), expected);
            prop_assert_eq!(bits.count(), model.iter().filter(|on| **on).count());
            prop_assert_eq!(bits.all(), model.iter().all(|on| *on));
            prop_assert_eq!(Bits::from_bytes(&bits.to_bytes(), model.len()), Some(bits.clone()));
            prop_assert!(Bits::full(model.len()).all());
            for (i, &on) in model.iter().enumerate() {
                prop_assert_eq!(bits.unset(i), on);
            }
            prop_assert!(bits.none());
        }
    }
}
