//! A set of pieces: who has what.

/// A fixed-length set of bits, one a piece, that knows how many are set.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Bitfield {
    words: Box<[u64]>,
    len: u32,
    ones: u32,
}

impl Bitfield {
    /// `len` bits, none set.
    pub fn new(len: u32) -> Bitfield {
        Bitfield {
            words: vec![0; len.div_ceil(64) as usize].into(),
            len,
            ones: 0,
        }
    }

    /// `len` bits, all set.
    pub fn full(len: u32) -> Bitfield {
        let mut bits = Bitfield::new(len);
        for i in 0..len {
            bits.set(i);
        }
        bits
    }

    /// Reads a `bitfield` message (BEP 3): high bit first, spare bits zero.
    /// `None` if the length is wrong or a spare bit is set.
    pub fn from_wire(bytes: &[u8], len: u32) -> Option<Bitfield> {
        if bytes.len() != len.div_ceil(8) as usize {
            return None;
        }
        let mut bits = Bitfield::new(len);
        for (i, &byte) in bytes.iter().enumerate() {
            bits.words[i / 8] |= u64::from(byte.reverse_bits()) << (i % 8 * 8);
        }
        if !len.is_multiple_of(64)
            && bits
                .words
                .last()
                .is_some_and(|last| last >> (len % 64) != 0)
        {
            return None;
        }
        bits.ones = bits.words.iter().map(|w| w.count_ones()).sum();
        Some(bits)
    }

    /// The payload of a `bitfield` message.
    pub fn to_wire(&self) -> Vec<u8> {
        let bytes = self.len.div_ceil(8) as usize;
        (0..bytes)
            .map(|i| ((self.words[i / 8] >> (i % 8 * 8)) as u8).reverse_bits())
            .collect()
    }

    /// How many bits there are.
    pub fn len(&self) -> u32 {
        self.len
    }

    /// True if there are no bits at all.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many bits are set.
    pub fn count(&self) -> u32 {
        self.ones
    }

    /// True if every bit is set.
    pub fn is_full(&self) -> bool {
        self.ones == self.len
    }

    /// Whether bit `i` is set; false beyond the end.
    pub fn get(&self, i: u32) -> bool {
        i < self.len && self.words[(i / 64) as usize] >> (i % 64) & 1 == 1
    }

    /// Sets bit `i`; returns whether that changed anything.
    pub fn set(&mut self, i: u32) -> bool {
        assert!(i < self.len, "a piece index is checked before it gets here");
        let word = &mut self.words[(i / 64) as usize];
        let bit = 1u64 << (i % 64);
        let new = *word & bit == 0;
        *word |= bit;
        if new {
            self.ones += 1;
        }
        new
    }

    /// Clears bit `i`; returns whether that changed anything.
    pub fn clear(&mut self, i: u32) -> bool {
        assert!(i < self.len, "a piece index is checked before it gets here");
        let word = &mut self.words[(i / 64) as usize];
        let bit = 1u64 << (i % 64);
        let was = *word & bit != 0;
        *word &= !bit;
        if was {
            self.ones -= 1;
        }
        was
    }

    /// The set bits, in order.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.words.iter().enumerate().flat_map(|(i, &word)| {
            let mut rest = word;
            std::iter::from_fn(move || {
                let bit = (rest != 0).then(|| rest.trailing_zeros())?;
                rest &= rest - 1;
                Some(i as u32 * 64 + bit)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_first_piece_is_the_high_bit_of_the_first_byte() {
        let bits = Bitfield::from_wire(&[0b1010_0000, 0b1000_0000], 9).unwrap();
        assert_eq!(bits.iter().collect::<Vec<_>>(), [0, 2, 8]);
        assert_eq!(bits.count(), 3);
    }

    #[test]
    fn spare_bits_and_wrong_lengths_are_refused() {
        assert!(Bitfield::from_wire(&[0xff, 0x40], 9).is_none());
        assert!(Bitfield::from_wire(&[0xff], 9).is_none());
        assert!(Bitfield::from_wire(&[0xff; 3], 9).is_none());
        assert!(Bitfield::from_wire(&[0xff; 8], 64).unwrap().is_full());
    }

    proptest! {
        #[test]
        fn it_behaves_like_a_set(len in 1u32..300, ops in proptest::collection::vec((any::<u32>(), any::<bool>()), 0..200)) {
            let mut bits = Bitfield::new(len);
            let mut model = std::collections::BTreeSet::new();
            for (i, set) in ops {
                let i = i % len;
                if set { prop_assert_eq!(bits.set(i), model.insert(i)); } else { prop_assert_eq!(bits.clear(i), model.remove(&i)); }
            }
            prop_assert_eq!(bits.count() as usize, model.len());
            prop_assert_eq!(bits.iter().collect::<Vec<_>>(), model.iter().copied().collect::<Vec<_>>());
            prop_assert_eq!(Bitfield::from_wire(&bits.to_wire(), len), Some(bits));
        }
    }
}
