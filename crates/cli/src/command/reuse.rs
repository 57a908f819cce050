//! `starling reuse`: files that other transfers have already.

use api::{Reusable, TransferId};
use serde_json::Value;

use crate::Context;
use crate::exit::Failure;
use crate::paths::HomeFlag;
use crate::remote::Remote;
use crate::units::{Size, count};
use crate::which::parse_id;

const EXAMPLES: &str = "\
Examples:
  starling reuse 7
  starling reuse 7 --dry-run

Files are recognised by their version 2 hashes; where one torrent hints at the other (BEP 38), by name and length too.
They are copied, so that each transfer has its own, and checked before they count.";

/// Copy the files that other transfers have already, instead of fetching them.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Reuse {
    /// Its number.
    #[arg(value_parser = parse_id)]
    id: TransferId,
    /// Only show what is there.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    home: HomeFlag,
}

impl Reuse {
    pub fn run(self, context: &Context) -> Result<(), Failure> {
        let remote = Remote::need(context, &self.home)?;
        let found = remote.ask(remote.client().reusable(self.id))?;
        tell(context, self.id, &found);
        if found.files == 0 {
            context
                .console
                .note("no other transfer has any of its files");
        } else if !self.dry_run {
            take(context, &remote, self.id)?;
        }
        Ok(())
    }
}

/// Copies what is there.
pub fn take(context: &Context, remote: &Remote, id: TransferId) -> Result<(), Failure> {
    remote.ask(remote.client().reuse(id))?;
    context
        .console
        .note("the files are copied; `starling show` says how far their check is");
    Ok(())
}

/// Says what other transfers have.
pub fn tell(context: &Context, id: TransferId, found: &Reusable) {
    for from in &found.from {
        let mut event = serde_json::to_value(from).expect("our types are JSON");
        event["from"] = from.transfer.0.into();
        event["transfer"] = id.0.into();
        event["event"] = Value::from("reusable");
        context.console.event(&event);
        let files = count(from.files as usize, "file");
        let are = if from.files == 1 { "is" } else { "are" };
        context.console.note(&crate::console::clean(&format!(
            "{files} ({}) {are} already here, in transfer {}, “{}”",
            Size(from.bytes),
            from.transfer,
            from.name
        )));
    }
}
