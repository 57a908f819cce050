//! Lists for people: columns side by side, and transfers as rows of them.

use api::{State, Transfer};

use crate::Context;
use crate::console::clean;
use crate::units::{Clock, Size};

/// Letters of a name on a terminal; a pipe gets all of them.
const NAME: usize = 48;

/// Which way a column leans.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Lean {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// Columns with a head, to be filled row by row.
pub struct Table {
    columns: Vec<(&'static str, Lean)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// With these columns; a head that begins with `>` is of numbers.
    pub fn new(heads: &[&'static str]) -> Table {
        let column = |head: &&'static str| match head.strip_prefix('>') {
            Some(head) => (head, Lean::Right),
            None => (*head, Lean::Left),
        };
        Table {
            columns: heads.iter().map(column).collect(),
            rows: Vec::new(),
        }
    }

    /// One more row. What strangers wrote is made harmless.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let cells = cells
            .into_iter()
            .map(|cell| clean(&cell).replace('\n', " "));
        self.rows.push(cells.collect());
    }

    /// Its lines, the head first; none if there are no rows.
    pub fn lines(&self) -> Vec<String> {
        if self.rows.is_empty() {
            return Vec::new();
        }
        let heads: Vec<String> = self
            .columns
            .iter()
            .map(|(head, _)| (*head).to_owned())
            .collect();
        let all = || std::iter::once(&heads).chain(&self.rows);
        let width = |column: usize| {
            all()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
        };
        let widths: Vec<usize> = (0..heads.len())
            .map(|column| width(column).unwrap_or(0))
            .collect();
        let line = |row: &Vec<String>| {
            let cells = row.iter().zip(&self.columns).zip(&widths);
            let cells = cells.map(|((cell, (_, lean)), &width)| match lean {
                Lean::Left => format!("{cell:<width$}"),
                Lean::Right => format!("{cell:>width$}"),
            });
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        all().map(line).collect()
    }

    /// Shows it as a result.
    pub fn show(&self, context: &Context) {
        self.lines()
            .iter()
            .for_each(|line| context.console.result(line));
    }
}

/// Transfers, a row each.
pub fn transfers<'a>(context: &Context, rows: impl IntoIterator<Item = &'a Transfer>) -> Table {
    let mut table = Table::new(&[
        ">ID", "NAME", "STATE", ">DONE", ">SIZE", ">DOWN", ">UP", ">RATIO", ">PEERS", ">LEFT",
        "LABEL",
    ]);
    for row in rows {
        table.row([
            row.id.to_string(),
            short(context, &row.name),
            state(row),
            percent(row.done, row.wanted),
            if row.size == 0 {
                String::new()
            } else {
                Size(row.size).to_string()
            },
            rate(row.rate_down),
            rate(row.rate_up),
            format!("{:.2}", row.ratio),
            row.peers.to_string(),
            row.eta.map_or_else(String::new, |eta| {
                Clock(std::time::Duration::from_secs(eta)).to_string()
            }),
            row.label.clone().unwrap_or_default(),
        ]);
    }
    table
}

/// What a transfer is doing, in a word or two.
pub fn state(row: &Transfer) -> String {
    match row.checking {
        Some(progress) if row.state == State::Checking => {
            format!(
                "checking {}",
                percent(progress.done.into(), progress.total.into())
            )
        }
        _ => row.state.name().to_owned(),
    }
}

/// A share, in whole percent, never 100 before it is all.
pub fn percent(done: u64, of: u64) -> String {
    match of {
        0 => String::new(),
        of => format!("{} %", (100 * u128::from(done) / u128::from(of)).min(100)),
    }
}

/// Bytes a second; nothing for none.
pub fn rate(rate: u64) -> String {
    match rate {
        0 => String::new(),
        rate => format!("{}/s", Size(rate)),
    }
}

/// A limit in words.
pub fn limit(rate: u64) -> String {
    match rate {
        0 => "no limit".to_owned(),
        rate => format!("{}/s", Size(rate)),
    }
}

/// A name as a terminal has room for it.
pub fn short(context: &Context, name: &str) -> String {
    if !context.console.is_terminal() || name.chars().count() <= NAME {
        return name.to_owned();
    }
    let mut short: String = name.chars().take(NAME - 1).collect();
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&[">ID", "NAME", ">SIZE"]);
        assert_eq!(table.lines(), [""; 0]);
        table.row(["7".into(), "älbum".into(), "1 KiB".into()]);
        table.row(["12".into(), "a\x1bb".into(), "999 bytes".into()]);
        assert_eq!(
            table.lines(),
            [
                "ID  NAME        SIZE",
                " 7  älbum      1 KiB",
                "12  a\u{fffd}b    999 bytes",
            ]
        );
    }

    #[test]
    fn what_is_not_whole_is_not_a_hundred_percent() {
        assert_eq!(percent(999, 1000), "99 %");
        assert_eq!(percent(1000, 1000), "100 %");
        assert_eq!(percent(0, 0), "");
        assert_eq!(percent(u64::MAX, u64::MAX), "100 %");
    }
}
