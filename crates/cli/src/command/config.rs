//! `starling config`: what the configuration says, and whether a file is right.

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::json;

use crate::Context;
use crate::config::keys::{self, Key};
use crate::config::{ConfigFlag, Configuration, Origin, read_file, refused, suggestion};
use crate::exit::Failure;
use crate::paths::{HomeFiles, HomeFlag};
use crate::remote::Remote;
use crate::units::count;

const EXAMPLES: &str = "\
Examples:
  starling config show --origin            each key, its value, and where that is from
  starling config show > config.toml       a file to begin with
  starling config check config.toml        every mistake in it, with its line

While a daemon runs, it is the daemon's configuration that is shown. What is set in the file gives way to the environment, and that to the flags of `starling up`. What a person sets
while the daemon runs (starling settings set) holds until the file says something new about it.";

/// Show the configuration, or check a file.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Config {
    #[command(subcommand)]
    what: What,
}

/// What to do with it.
#[derive(Subcommand)]
enum What {
    /// Show every key and its value, as a file would have it
    Show(Show),
    /// Name every mistake in a file
    Check(CheckFile),
}

/// Show every key and its value, as a file would have it.
#[derive(clap::Args)]
struct Show {
    /// Say where each value is from: a file and its line, a variable, a flag, set while the daemon runs, or the
    /// default.
    #[arg(long)]
    origin: bool,
    #[command(flatten)]
    config: ConfigFlag,
    #[command(flatten)]
    home: HomeFlag,
}

/// Name every mistake in a file.
#[derive(clap::Args)]
struct CheckFile {
    /// The file; by default the one that a daemon would read.
    file: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigFlag,
}

impl Config {
    pub fn run(self, context: &Context) -> Result<(), Failure> {
        match self.what {
            What::Show(show) => show.run(context),
            What::Check(check) => check.run(context),
        }
    }
}

impl Show {
    fn run(self, context: &Context) -> Result<(), Failure> {
        let configuration = match Remote::find(context, &self.home)? {
            None => Configuration::load(&self.config, &[])?,
            Some(remote) => {
                let files = HomeFiles::of(self.home.path()?);
                let running = Configuration::running(&files);
                let mut running = match running {
                    Some(running) => running,
                    None => Configuration::load(&self.config, &[])?,
                };
                running.changed_to(&remote.ask(remote.client().settings())?);
                running
            }
        };
        for (key, set) in configuration.iter() {
            let origin = set.origin.to_string();
            context.console.event(&json!({
                "event": "key",
                "key": key.name,
                "value": key.public(&set.value),
                "origin": origin,
                "variable": key.variable(),
            }));
            // A key without a value is one that a file leaves out.
            let line = match key.write(&key.public(&set.value)) {
                Some(value) => format!("{} = {value}", key.name),
                None => format!("# {} is not set", key.name),
            };
            context.console.result(if self.origin {
                format!("{line:<40} # {origin}")
            } else {
                line
            });
        }
        Ok(())
    }
}

impl CheckFile {
    fn run(self, context: &Context) -> Result<(), Failure> {
        let path = match self.file {
            Some(path) => path,
            None => self.config.path().0.ok_or_else(|| {
                Failure::usage("There is no folder for a configuration. Name the file.")
            })?,
        };
        let text = read_file(&path, true)?.unwrap_or_default();
        let mut configuration = Configuration::usual();
        let wrong = configuration.add_file(&path, &text);
        for wrong in &wrong {
            context.console.event(&json!({
                "event": "mistake",
                "file": path.display().to_string(),
                "line": wrong.line,
                "message": wrong.text,
            }));
        }
        if !wrong.is_empty() {
            return Err(refused(&path, &wrong));
        }
        tell_variables(context);
        let said = configuration
            .iter()
            .filter(|(_, set)| set.origin != Origin::Default)
            .count();
        let said = count(said, "key");
        context
            .console
            .note(&format!("{} is right; it sets {said}", path.display()));
        Ok(())
    }
}

/// Warns of variables that look like ours and are not.
fn tell_variables(context: &Context) {
    let mut known: Vec<String> = keys::all().map(Key::variable).collect();
    let tree = crate::tree();
    let verbs = tree
        .get_subcommands()
        .flat_map(clap::Command::get_arguments);
    let flags = tree.get_arguments().chain(verbs);
    known.extend(flags.filter_map(|flag| flag.get_env()?.to_str().map(str::to_owned)));
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    for name in names.filter(|name| name.starts_with("STARLING_") && !known.contains(name)) {
        let meant = suggestion(&name, known.iter().map(String::as_str));
        context
            .console
            .warn(&format!("{name} is set, and nothing reads it.{meant}"));
    }
}
