//! Dealing out turns from the head of the queue on.

use std::collections::BTreeMap;

use crate::queue::Places;
use crate::row::Row;
use crate::settings::Settings;
use crate::{Reason, Transfer};

/// What a turn took of what others may want too.
#[derive(Clone, Copy, Debug)]
pub struct Turn {
    seed: bool,
    /// As a slow one it took no place.
    extra: bool,
    /// Nor one of its label's.
    label_extra: bool,
}

/// What has been dealt out up to some place in the queue. Whoever is behind it is decided upon by
/// this and by what is known of itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Turns<'a> {
    downloads: Places,
    seeds: Places,
    labels: BTreeMap<&'a str, Places>,
    /// Downloads that got a turn, while memory lets only so many run.
    loading: u32,
}

/// By which rules turns are dealt out.
#[derive(Clone, Copy)]
pub struct Dealer<'a> {
    pub settings: &'a Settings,
    /// See [`Memory::level`](crate::world::Memory::level).
    pub memory: u32,
}

impl<'a> Dealer<'a> {
    /// Nothing is dealt out yet.
    pub fn begin(&self) -> Turns<'a> {
        Turns {
            downloads: Places::downloads(self.settings),
            seeds: Places::seeds(self.settings),
            labels: BTreeMap::new(),
            loading: 0,
        }
    }

    /// Whether its turn takes something of which there is an end.
    pub fn contends(&self, row: &Row) -> bool {
        let queue = &self.settings.queue;
        let few = match row.progress.complete {
            true => queue.max_seeds.is_some(),
            false => queue.max_downloads.is_some() || self.memory >= 2,
        };
        few || self.few_of_label(&row.given).is_some()
    }

    /// A turn for one; else why not.
    pub fn take(&self, turns: &mut Turns<'a>, row: &Row, slow: bool) -> Result<Turn, Reason> {
        let seed = row.progress.complete;
        if let (false, Some(ceiling)) = (seed, self.settings.memory_ceiling)
            && (self.memory > 2 || self.memory == 2 && turns.loading > 0)
        {
            return Err(Reason::MemoryCeiling { ceiling });
        }
        let places = turns.of_kind(seed);
        if let Err(at_once) = places.has_room(slow) {
            return Err(Reason::Queue { seed, at_once });
        }
        let mut label_extra = false;
        if let Some((name, most)) = self.few_of_label(&row.given) {
            let mut of_label = match turns.labels.get(name) {
                Some(places) => places.clone(),
                None => Places::new(Some(most), self.settings.queue.slow),
            };
            if let Err(at_once) = of_label.has_room(slow) {
                let label = row
                    .given
                    .label
                    .clone()
                    .expect("who has rules of a label has one");
                return Err(Reason::LabelQueue { label, at_once });
            }
            label_extra = of_label.take(slow);
            turns.labels.insert(name, of_label);
        }
        let extra = turns.of_kind(seed).take(slow);
        turns.loading += u32::from(self.is_loading(seed));
        Ok(Turn {
            seed,
            extra,
            label_extra,
        })
    }

    /// A turn that one has, dealt out as it was.
    pub fn count(&self, turns: &mut Turns<'a>, turn: Turn, given: &Transfer) {
        turns.of_kind(turn.seed).count(turn.extra);
        if let Some((name, most)) = self.few_of_label(given) {
            let places = || Places::new(Some(most), self.settings.queue.slow);
            let of_label = turns.labels.entry(name).or_insert_with(places);
            of_label.count(turn.label_extra);
        }
        turns.loading += u32::from(self.is_loading(turn.seed));
    }

    /// The label that runs no more than so many at once.
    fn few_of_label(&self, given: &Transfer) -> Option<(&'a str, u32)> {
        let label = given.label.as_deref()?;
        let (name, rules) = self.settings.labels.get_key_value(label)?;
        Some((name, rules.max_active?))
    }

    fn is_loading(&self, seed: bool) -> bool {
        !seed && self.memory == 2
    }
}

impl Turns<'_> {
    fn of_kind(&mut self, seed: bool) -> &mut Places {
        match seed {
            true => &mut self.seeds,
            false => &mut self.downloads,
        }
    }
}
