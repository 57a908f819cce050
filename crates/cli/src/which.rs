//! Which transfers a verb is about, and doing it to each.

use std::str::FromStr;

use api::{Query, Transfer, TransferId};

use crate::Context;
use crate::exit::Failure;
use crate::remote::Remote;

/// Transfers by number, or all.
#[derive(clap::Args)]
pub struct Which {
    /// Numbers of transfers, as `starling list` shows them, or all.
    #[arg(required = true, value_name = "ID")]
    ids: Vec<Chosen>,
}

/// One argument of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chosen {
    All,
    One(TransferId),
}

impl FromStr for Chosen {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Chosen, &'static str> {
        if text == "all" {
            return Ok(Chosen::All);
        }
        parse_id(text).map(Chosen::One)
    }
}

/// Reads the number of a transfer.
pub fn parse_id(text: &str) -> Result<TransferId, &'static str> {
    text.parse()
        .map(TransferId)
        .map_err(|_| "give the number of a transfer, as `starling list` shows it")
}

impl Which {
    /// Their numbers, each once.
    pub fn ids(&self, remote: &Remote<'_>) -> Result<Vec<TransferId>, Failure> {
        let mut ids = Vec::new();
        if self.ids.contains(&Chosen::All) {
            let all = remote.all(&Query::default())?;
            ids.extend(all.iter().map(|row| row.id));
        }
        for chosen in &self.ids {
            if let Chosen::One(id) = *chosen
                && !ids.contains(&id)
            {
                ids.push(id);
            }
        }
        Ok(ids)
    }
}

/// Does something to each; what fails is told at once, the others are done all the same. Answers the first failure.
pub fn each<T>(
    context: &Context,
    items: impl IntoIterator<Item = T>,
    mut act: impl FnMut(T) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut first = None;
    for item in items {
        if let Err(failure) = act(item) {
            if context.interrupt.is_asked() {
                return Err(failure);
            }
            first.get_or_insert(context.console.failure(failure));
        }
    }
    first.map_or(Ok(()), Err)
}

/// Tells programs how a transfer is.
pub fn tell(context: &Context, name: &str, row: &Transfer) {
    if context.console.is_json() {
        let mut event = serde_json::to_value(row).expect("our types are JSON");
        event["event"] = name.into();
        context.console.event(&event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transfer_is_a_number_or_all_are_meant() {
        assert_eq!("all".parse(), Ok(Chosen::All));
        assert_eq!("7".parse(), Ok(Chosen::One(TransferId(7))));
        assert!("seven".parse::<Chosen>().is_err() && "-1".parse::<Chosen>().is_err());
    }
}
