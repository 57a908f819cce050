//! `starling list`: transfers, filtered and sorted.

use api::{Order, Query, Sort, State};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use serde_json::Value;

use crate::Context;
use crate::exit::Failure;
use crate::paths::HomeFlag;
use crate::remote::Remote;
use crate::table;
use crate::which;

const EXAMPLES: &str = "\
Examples:
  starling list --state downloading --sort eta
  starling list --label music --sort size --reverse
  starling list --json | jq -r 'select(.complete) | .root'";

/// Names of the ways to sort.
const SORTS: [&str; 16] = [
    "id",
    "name",
    "state",
    "size",
    "progress",
    "rate-down",
    "rate-up",
    "received",
    "sent",
    "ratio",
    "eta",
    "peers",
    "label",
    "added-at",
    "finished-at",
    "queue-position",
];

/// List transfers.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct List {
    /// Only those in this state.
    #[arg(long, value_parser = PossibleValuesParser::new(State::ALL.map(State::name)).try_map(state))]
    state: Option<State>,
    /// Only those with this label; '' is without any.
    #[arg(long, value_name = "NAME")]
    label: Option<String>,
    /// Only those whose name contains this, whatever the case.
    #[arg(long, value_name = "TEXT")]
    text: Option<String>,
    /// By what to sort; names as in --json.
    #[arg(long, value_name = "KEY", default_value = "id", value_parser = PossibleValuesParser::new(SORTS).try_map(sort))]
    sort: Sort,
    /// Largest first.
    #[arg(long, short)]
    reverse: bool,
    /// At most so many.
    #[arg(long, short = 'n', value_name = "NUMBER")]
    limit: Option<u32>,
    #[command(flatten)]
    home: HomeFlag,
}

fn state(name: String) -> serde_json::Result<State> {
    serde_json::from_value(Value::from(name))
}

fn sort(name: String) -> serde_json::Result<Sort> {
    serde_json::from_value(Value::from(name.replace('-', "_")))
}

impl List {
    pub fn run(self, context: &Context) -> Result<(), Failure> {
        let remote = Remote::need(context, &self.home)?;
        let query = Query {
            state: self.state,
            label: self.label,
            text: self.text,
            sort: self.sort,
            order: if self.reverse {
                Order::Desc
            } else {
                Order::Asc
            },
            offset: 0,
            limit: self.limit.unwrap_or(0).min(api::MAX_PAGE),
        };
        let mut rows = match self.limit {
            Some(0) => Vec::new(),
            Some(limit) if limit <= api::MAX_PAGE => {
                remote.ask(remote.client().list(&query))?.transfers
            }
            _ => remote.all(&query)?,
        };
        rows.truncate(self.limit.map_or(usize::MAX, |limit| limit as usize));
        rows.iter()
            .for_each(|row| which::tell(context, "transfer", row));
        table::transfers(context, &rows).show(context);
        if rows.is_empty() {
            context.console.note("no transfers");
        }
        Ok(())
    }
}
