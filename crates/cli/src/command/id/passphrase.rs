//! `id passphrase`: whether whoever reads the key file has the keys.

use std::io::{self, IsTerminal};
use std::path::PathBuf;

use serde_json::json;

use super::{PassphraseFlag, folder};
use crate::exit::Failure;
use crate::paths::HomeFlag;
use crate::{Context, ask};

/// Lock this device's keys with a passphrase, change it, or remove it. It is asked for whenever the keys are used, also
/// when the daemon starts. It protects them where others get at the disk, not where they get at the running computer.
#[derive(clap::Args)]
pub struct Passphrase {
    /// Unlock the keys for good.
    #[arg(long, conflicts_with = "new_passphrase_file")]
    remove: bool,
    /// The new passphrase is the first line of this file.
    #[arg(long, value_name = "FILE")]
    new_passphrase_file: Option<PathBuf>,
    #[command(flatten)]
    passphrase: PassphraseFlag,
    #[command(flatten)]
    home: HomeFlag,
}

impl Passphrase {
    pub fn run(self, context: &Context) -> Result<(), Failure> {
        let folder = folder(&self.home)?;
        let keys = self.passphrase.keys(context, &folder)?;
        let told = if self.remove {
            folder.lock(&keys, None)?;
            "the keys of this device are not locked any more"
        } else {
            let file = self.new_passphrase_file.as_deref();
            let new = ask::passphrase(context, file, "New passphrase: ")?;
            if file.is_none() && io::stdin().is_terminal() {
                let again = ask::passphrase(context, None, "Once more: ")?;
                if again != new {
                    return Err(Failure::usage(
                        "The two are not the same. Nothing was changed.",
                    ));
                }
            }
            folder.lock(&keys, Some(new.as_bytes()))?;
            "the keys of this device are locked; without the passphrase nobody can use them, you no more than others"
        };
        context
            .console
            .event(&json!({ "event": "passphrase", "locked": !self.remove }));
        context.console.note(told);
        Ok(())
    }
}
