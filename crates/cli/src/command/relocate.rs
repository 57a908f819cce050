//! `starling move` and `starling rename`: a transfer's data gets another place or name on disk.

use std::path::PathBuf;

use api::{Move, Transfer, TransferId};

use crate::Context;
use crate::exit::Failure;
use crate::paths::HomeFlag;
use crate::remote::Remote;
use crate::which::{self, parse_id};

/// Move a transfer's data into another folder; it goes on there.
#[derive(clap::Args)]
pub struct MoveData {
    /// Its number.
    #[arg(value_parser = parse_id)]
    id: TransferId,
    /// The folder it is to be in, under its own name.
    dir: PathBuf,
    #[command(flatten)]
    home: HomeFlag,
}

/// Rename a transfer's file or folder on disk.
#[derive(clap::Args)]
pub struct Rename {
    /// Its number.
    #[arg(value_parser = parse_id)]
    id: TransferId,
    /// The new name.
    name: String,
    #[command(flatten)]
    home: HomeFlag,
}

impl MoveData {
    pub fn run(self, context: &Context) -> Result<(), Failure> {
        let remote = Remote::need(context, &self.home)?;
        let to = Move {
            folder: whole(&self.dir)?,
        };
        let row = remote.ask(remote.client().move_data(self.id, &to))?;
        told(context, &row, &to.folder);
        Ok(())
    }
}

impl Rename {
    pub fn run(self, context: &Context) -> Result<(), Failure> {
        let remote = Remote::need(context, &self.home)?;
        let rename = api::Rename {
            path: String::new(),
            name: self.name,
        };
        let row = remote.ask(remote.client().rename(self.id, &rename))?;
        told(context, &row, &rename.name);
        Ok(())
    }
}

fn told(context: &Context, row: &Transfer, to: &str) {
    which::tell(context, "transfer", row);
    context.console.note(&crate::console::clean(&format!(
        "{} {}: on its way to {to}; `starling show {}` says when it is there",
        row.id, row.name, row.id
    )));
}

/// A path as a daemon, which is in another folder, understands it.
pub fn whole(path: &std::path::Path) -> Result<String, Failure> {
    let path = std::path::absolute(path).map_err(|error| Failure::io(&error, "use", path))?;
    path.into_os_string().into_string().map_err(|path| {
        Failure::usage(format!(
            "{} has letters that cannot be sent to the daemon. Choose another name.",
            path.display()
        ))
    })
}
