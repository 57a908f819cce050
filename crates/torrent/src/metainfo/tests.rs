//! Metainfo of all kinds, good and bad.
