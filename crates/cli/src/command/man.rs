//! `starling man`: the manual, from the same tree as `--help`.

use std::fs;
use std::path::PathBuf;

use crate::exit::Failure;
use crate::{Context, tree};

const EXAMPLES: &str = "\
Examples:
  starling man | man -l -                   read it now
  starling man ~/.local/share/man/man1      one page a verb";

/// Write the man pages: one a verb into a folder, or the main page to stdout.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Man {
    /// The folder; it is made if it is not there.
    dir: Option<PathBuf>,
}

impl Man {
    pub fn run(self, context: &Context) -> Result<(), Failure> {
        let command = tree();
        if let Some(dir) = self.dir {
            fs::create_dir_all(&dir).map_err(|error| Failure::io(&error, "make", &dir))?;
            clap_mangen::generate_to(command, &dir)
                .map_err(|error| Failure::io(&error, "write to", &dir))?;
            context.console.result(&dir);
            return Ok(());
        }
        let mut page = Vec::new();
        clap_mangen::Man::new(command)
            .render(&mut page)
            .expect("a Vec takes every byte");
        context.console.print(&page);
        Ok(())
    }
}
