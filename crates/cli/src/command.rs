//! The verbs, one file each.

mod completions;
mod create;
mod get;
mod inspect;
mod man;
mod seed;
mod verify;

use clap::Subcommand;

use crate::Context;
use crate::exit::Failure;

/// What to do.
#[derive(Subcommand)]
pub enum Command {
    /// Share a file or folder with everybody
    Seed(seed::Seed),
    /// Fetch files or folders, from all who have them at once
    Get(get::Get),
    /// Make a torrent file from a file or folder
    Create(create::Create),
    /// Show what a torrent file or magnet link contains
    Inspect(inspect::Inspect),
    /// Check a copy against its torrent, and name each wrong file and piece
    Verify(verify::Verify),
    /// Print completions for a shell
    Completions(completions::Completions),
    /// Write the man pages
    Man(man::Man),
}

impl Command {
    /// Does it.
    pub fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Command::Seed(seed) => seed.run(context),
            Command::Get(get) => get.run(context),
            Command::Create(create) => create.run(context),
            Command::Inspect(inspect) => inspect.run(context),
            Command::Verify(verify) => verify.run(context),
            Command::Completions(completions) => completions.run(context),
            Command::Man(man) => man.run(context),
        }
    }
}
