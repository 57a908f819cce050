//! The words that a person key can be made from again: BIP 39, English, 12 words.
//!
//! The words are those of BIP 39, so that paper and metal made for them serve; the key made from them is Starling's own
//! and no wallet's.

use bip0039::{English, Error, Language, Mnemonic};
use zeroize::Zeroizing;

/// Words in a phrase: 128 random bits and 4 of a checksum.
pub const WORDS: usize = 12;

/// Longest text that is read as a phrase, in bytes; 12 words have about 80.
const MAX_TEXT: usize = 1024;

/// Longest word that is shown back, in characters.
const MAX_SHOWN: usize = 20;

/// Words that are suggested for one that is wrong.
const SUGGESTIONS: usize = 3;

/// Most letters that may be wrong in a suggestion's place.
const NEAR: usize = 2;

/// 128 bits as 12 words. Never shown by accident: there is no `Debug`.
pub struct Phrase(Zeroizing<[u8; 16]>);

/// Why words are no phrase.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PhraseError {
    /// Not twelve.
    #[error("a phrase has {WORDS} words, and this has {0}")]
    Count(usize),
    /// Far too long.
    #[error("a phrase has {WORDS} words, and this is a longer text")]
    TooLong,
    /// A word that is none of the 2048.
    #[error(
        "word {at}, {word:?}, is none of the words that phrases are made of{}",
        perhaps(nearest)
    )]
    Unknown {
        /// Which one, from 1.
        at: usize,
        /// The word, in lower case; its beginning if it is long.
        word: String,
        /// Words that are almost it, nearest first.
        nearest: Vec<&'static str>,
    },
    /// All are words of the list, and do not belong together.
    #[error(
        "all {WORDS} are words of the list, but not together: one is another than was written down, or two changed places"
    )]
    Checksum,
}

fn perhaps(nearest: &[&str]) -> String {
    match nearest {
        [] => String::new(),
        words => format!(". Perhaps {}?", words.join(" or ")),
    }
}

impl Phrase {
    /// The phrase of these 16 random bytes.
    pub fn from_entropy(entropy: &[u8; 16]) -> Phrase {
        Phrase(Zeroizing::new(*entropy))
    }

    /// Reads words in any case, between which there is anything but letters: blanks, commas, numbers.
    ///
    /// # Errors
    /// Which word is wrong, or what else.
    pub fn parse(text: &str) -> Result<Phrase, PhraseError> {
        if text.len() > MAX_TEXT {
            return Err(PhraseError::TooLong);
        }
        let text = Zeroizing::new(text.to_lowercase());
        let words: Vec<&str> = text
            .split(|c: char| !c.is_alphabetic())
            .filter(|word| !word.is_empty())
            .collect();
        for (at, word) in words.iter().enumerate() {
            if English::index_of(word).is_none() {
                return Err(PhraseError::Unknown {
                    at: at + 1,
                    word: word.chars().take(MAX_SHOWN).collect(),
                    nearest: nearest(word),
                });
            }
        }
        let phrase = Zeroizing::new(words.join(" "));
        if words.len() != WORDS {
            return Err(PhraseError::Count(words.len()));
        }
        match Mnemonic::<English>::from_normalized_phrase(phrase.as_str()) {
            Ok(mnemonic) => {
                let entropy = mnemonic.entropy().try_into();
                Ok(Phrase(Zeroizing::new(
                    entropy.expect("12 words hold 16 bytes"),
                )))
            }
            Err(Error::InvalidChecksum) => Err(PhraseError::Checksum),
            Err(error) => unreachable!("the words and their number were looked at: {error}"),
        }
    }

    /// The words, with a blank between them.
    pub fn words(&self) -> Zeroizing<String> {
        let mnemonic = Mnemonic::<English>::from_entropy(self.0.to_vec());
        let mnemonic = mnemonic.expect("16 bytes are 12 words");
        Zeroizing::new(mnemonic.phrase().to_owned())
    }

    /// The bytes that the words stand for.
    pub(crate) fn entropy(&self) -> &[u8; 16] {
        &self.0
    }
}

/// Words of the list that differ from this one in a letter or two.
fn nearest(word: &str) -> Vec<&'static str> {
    if word.chars().count() > MAX_SHOWN {
        return Vec::new();
    }
    let mut near: Vec<(usize, &str)> = English::words()
        .iter()
        .map(|known| (strsim::osa_distance(word, known), *known))
        .filter(|(distance, _)| *distance <= NEAR)
        .collect();
    near.sort();
    let best = near.first().map_or(0, |(distance, _)| *distance);
    near.into_iter()
        .filter(|(distance, _)| *distance == best)
        .map(|(_, word)| word)
        .take(SUGGESTIONS)
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::key::PersonKey;

    /// From the vectors of BIP 39: `7f` sixteen times.
    const LEGAL: &str =
        "legal winner thank year wave sausage worth useful legal winner thank yellow";

    fn refused(text: &str) -> PhraseError {
        Phrase::parse(text).err().expect("it is refused")
    }

    #[test]
    fn words_are_those_of_bip_39() {
        let phrase = Phrase::from_entropy(&[0x7f; 16]);
        assert_eq!(phrase.words().as_str(), LEGAL);
        assert_eq!(Phrase::parse(LEGAL).ok().unwrap().entropy(), &[0x7f; 16]);
    }

    #[test]
    fn words_may_be_numbered_and_shouted() {
        let numbered: String = LEGAL
            .split(' ')
            .enumerate()
            .map(|(at, word)| format!("{}. {},\n", at + 1, word.to_uppercase()))
            .collect();
        assert_eq!(
            Phrase::parse(&numbered).ok().unwrap().entropy(),
            &[0x7f; 16]
        );
    }

    #[test]
    fn a_wrong_word_is_named_and_the_nearest_suggested() {
        let typo = LEGAL.replace("sausage", "sausgae");
        let error = refused(&typo);
        assert_eq!(
            error.to_string(),
            "word 6, \"sausgae\", is none of the words that phrases are made of. Perhaps sausage?"
        );
        let far = LEGAL.replace("sausage", &"q".repeat(500));
        assert!(matches!(
            refused(&far),
            PhraseError::Unknown { at: 6, word, nearest } if word.len() == 20 && nearest.is_empty()
        ));
    }

    #[test]
    fn other_mistakes_have_sentences_of_their_own() {
        let swapped = LEGAL.replace("legal winner thank year", "winner legal thank year");
        assert_eq!(refused(&swapped), PhraseError::Checksum);
        assert_eq!(
            refused(LEGAL.rsplit_once(' ').unwrap().0),
            PhraseError::Count(11)
        );
        assert_eq!(refused(&format!("{LEGAL} zoo")), PhraseError::Count(13));
        assert_eq!(refused(""), PhraseError::Count(0));
        assert_eq!(refused(&LEGAL.repeat(20)), PhraseError::TooLong);
    }

    #[test]
    fn the_key_of_a_phrase_is_pinned() {
        let key = PersonKey::from_phrase(&Phrase::parse(LEGAL).ok().unwrap());
        assert_eq!(
            key.id().to_string(),
            "bvnb34uys3p56bwgelrpki6wavl3762e3hwdblddqrebzebxrqiq"
        );
    }

    proptest! {
        #[test]
        fn every_phrase_is_read_again(entropy in any::<[u8; 16]>()) {
            let phrase = Phrase::from_entropy(&entropy);
            let read = Phrase::parse(&phrase.words()).ok().unwrap();
            prop_assert_eq!(read.entropy(), &entropy);
        }

        #[test]
        fn any_text_is_a_phrase_or_a_sentence(text in "\\PC{0,200}") {
            if let Err(error) = Phrase::parse(&text) {
                prop_assert!(!error.to_string().is_empty());
            }
        }
    }
}
