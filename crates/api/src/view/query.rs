//! In which parts a transfer is shown.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::check::Check;
use crate::ids::as_text;
use crate::problem::Problem;
use crate::query::Cut;

/// A part in which a transfer is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ViewPart {
    /// Its row.
    Transfer,
    /// Some of its files, by index.
    Files,
    /// Its connected peers.
    Peers,
    /// Its trackers.
    Trackers,
}

impl ViewPart {
    const ALL: [ViewPart; 4] = [
        ViewPart::Transfer,
        ViewPart::Files,
        ViewPart::Peers,
        ViewPart::Trackers,
    ];

    /// Its name in a query, and at the beginning of its events.
    pub fn name(self) -> &'static str {
        match self {
            ViewPart::Transfer => "transfer",
            ViewPart::Files => "files",
            ViewPart::Peers => "peers",
            ViewPart::Trackers => "trackers",
        }
    }
}

/// Which parts; at least one. As text their names, with commas between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViewParts(BTreeSet<ViewPart>);

impl ViewParts {
    /// These, and the row if there are none.
    pub fn new(parts: impl IntoIterator<Item = ViewPart>) -> ViewParts {
        let mut parts = BTreeSet::from_iter(parts);
        if parts.is_empty() {
            parts.insert(ViewPart::Transfer);
        }
        ViewParts(parts)
    }

    /// Is this one among them?
    pub fn has(&self, part: ViewPart) -> bool {
        self.0.contains(&part)
    }
}

impl Default for ViewParts {
    fn default() -> ViewParts {
        ViewParts::new(ViewPart::ALL)
    }
}

impl fmt::Display for ViewParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, part) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{}", part.name())?;
        }
        Ok(())
    }
}

/// A text that names no part.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("parts contains {0:?}, where transfer, files, peers and trackers are possible")]
pub struct NoPart(String);

impl FromStr for ViewParts {
    type Err = NoPart;

    fn from_str(text: &str) -> Result<ViewParts, NoPart> {
        let named = |name: &str| {
            let mut all = ViewPart::ALL.into_iter();
            all.find(|part| part.name() == name)
                .ok_or_else(|| NoPart(name.chars().take(20).collect()))
        };
        Ok(ViewParts(
            text.split(',').map(named).collect::<Result<_, _>>()?,
        ))
    }
}

as_text!(ViewParts);

/// How a transfer is to be shown: in which parts, and which of its files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ViewQuery {
    /// In which parts.
    pub parts: ViewParts,
    /// How many files to pass over.
    pub offset: u32,
    /// How many files to show.
    pub limit: u32,
}

impl Default for ViewQuery {
    fn default() -> ViewQuery {
        let Cut { offset, limit } = Cut::default();
        ViewQuery {
            parts: ViewParts::default(),
            offset,
            limit,
        }
    }
}

impl ViewQuery {
    /// Which of its files.
    pub fn cut(&self) -> Cut {
        Cut {
            offset: self.offset,
            limit: self.limit,
        }
    }
}

impl Check for ViewQuery {
    fn check(&self) -> Result<(), Problem> {
        self.cut().check()
    }
}
