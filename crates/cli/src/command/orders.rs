//! `starling pause`, `resume` and `recheck`: what is said to transfers in one word.

use api::Transfer;

use crate::Context;
use crate::exit::Failure;
use crate::paths::HomeFlag;
use crate::remote::Remote;
use crate::table;
use crate::which::{self, Which};

/// Transfers that are told something.
#[derive(clap::Args)]
pub struct Orders {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    home: HomeFlag,
}

/// What they are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Stand still until a person says otherwise.
    Pause,
    /// Go on.
    Resume,
    /// Hash what is on disk again.
    Recheck,
}

impl Orders {
    pub fn run(self, context: &Context, order: Order) -> Result<(), Failure> {
        let remote = Remote::need(context, &self.home)?;
        let client = remote.client();
        which::each(context, self.which.ids(&remote)?, |id| {
            let row = match order {
                Order::Pause => remote.ask(client.pause(id)),
                Order::Resume => remote.ask(client.resume(id)),
                Order::Recheck => remote.ask(client.recheck(id)),
            }?;
            which::tell(context, "transfer", &row);
            context.console.note(&said(&row));
            Ok(())
        })
    }
}

/// A transfer and how it is, with the reason.
pub fn said(row: &Transfer) -> String {
    let why = row.reason.as_ref();
    let why = why.map_or_else(String::new, |why| format!(" ({why})"));
    crate::console::clean(&format!(
        "{} {}: {}{why}",
        row.id,
        row.name,
        table::state(row)
    ))
}
