//! `starling completions`: what a shell offers when Tab is pressed.

use clap_complete::Shell;

use crate::exit::Failure;
use crate::{Context, tree};

const EXAMPLES: &str = "\
Examples:
  starling completions bash > ~/.local/share/bash-completion/completions/starling
  starling completions zsh  > ~/.zfunc/_starling
  starling completions fish > ~/.config/fish/completions/starling.fish";

/// Print completions for a shell.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Completions {
    /// The shell.
    shell: Shell,
}

impl Completions {
    pub fn run(self, context: &Context) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut tree(), "starling", &mut script);
        context.console.print(&script);
        Ok(())
    }
}
