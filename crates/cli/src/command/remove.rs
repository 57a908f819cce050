//! `starling forget` and `starling delete`: a transfer ends, and its files stay or go.

use api::{Deleted, TransferId};
use serde_json::json;

use crate::Context;
use crate::console::clean;
use crate::exit::Failure;
use crate::paths::HomeFlag;
use crate::remote::Remote;
use crate::units::{Size, count};
use crate::which::{self, Which};

/// Transfers named before `delete` asks; the others are counted.
const NAMED: usize = 10;

/// Forget transfers; their files stay where they are.
#[derive(clap::Args)]
pub struct Forget {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    home: HomeFlag,
}

/// Forget transfers and delete their files: to the trash, where there is one.
#[derive(clap::Args)]
pub struct Delete {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    home: HomeFlag,
}

impl Forget {
    pub fn run(self, context: &Context) -> Result<(), Failure> {
        let remote = Remote::need(context, &self.home)?;
        which::each(context, self.which.ids(&remote)?, |id| {
            remote.ask(remote.client().forget(id))?;
            told(context, id, Deleted::Kept);
            Ok(())
        })
    }
}

impl Delete {
    pub fn run(self, context: &Context) -> Result<(), Failure> {
        let remote = Remote::need(context, &self.home)?;
        let ids = self.which.ids(&remote)?;
        confirm(context, &remote, &ids)?;
        which::each(context, ids, |id| {
            let files = remote.ask(remote.client().delete(id))?;
            told(context, id, files);
            Ok(())
        })
    }
}

/// Shows what would go, and asks.
fn confirm(context: &Context, remote: &Remote<'_>, ids: &[TransferId]) -> Result<(), Failure> {
    if context.yes || ids.is_empty() {
        return Ok(());
    }
    if !context.console.can_ask() {
        return Err(Failure::usage(
            "Nothing was deleted, because nobody can be asked here. Say --yes, or `starling forget` to keep the files.",
        ));
    }
    for &id in ids.iter().take(NAMED) {
        let row = remote.ask(remote.client().get(id))?;
        context.console.note(&clean(&format!(
            "  {id} {}  {}  {}",
            row.name,
            Size(row.size),
            row.root
        )));
    }
    if ids.len() > NAMED {
        context
            .console
            .note(&format!("  and {} more", ids.len() - NAMED));
    }
    let question = format!("Delete the files of {}?", count(ids.len(), "transfer"));
    if context.console.confirm(&question, false) {
        Ok(())
    } else {
        Err(Failure::usage("Nothing was deleted."))
    }
}

fn told(context: &Context, id: TransferId, files: Deleted) {
    context
        .console
        .event(&json!({ "event": "removed", "id": id, "files": files }));
    let what = match files {
        Deleted::Kept => "its files are where they were",
        Deleted::Trashed => "its files are in the trash",
        Deleted::Erased => "its files are deleted",
    };
    context.console.note(&format!("{id} is forgotten; {what}"));
}
