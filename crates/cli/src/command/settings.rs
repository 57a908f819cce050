//! `starling settings`: what the daemon is told while it runs.

use api::{Settings as Values, SettingsPatch};
use clap::Subcommand;
use serde_json::Value;

use crate::Context;
use crate::config::{at, keys, put, suggestion};
use crate::exit::Failure;
use crate::paths::HomeFlag;
use crate::remote::Remote;
use crate::table::Table;

const EXAMPLES: &str = "\
Examples:
  starling settings show limits
  starling settings set limits.up=2MiB queue.downloads=3
  starling settings set goals.ratio=none folder=~/Downloads
  starling settings reset limits
  starling settings set 'schedule=[{ days = [\"mon\"], from = \"08:00\", to = \"18:00\", limits.up = \"100KiB\" }]'

What is set here is kept, and goes before the configuration file until that says something new
about it or it is reset.";

/// Show or change the daemon's settings while it runs.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Settings {
    #[command(subcommand)]
    what: What,
}

/// What to do.
#[derive(Subcommand)]
enum What {
    /// Show settings, all or some
    Show(Show),
    /// Change settings; they are in effect at once
    Set(Set),
    /// Drop what was set here: as the configuration file says
    Reset(Reset),
}

/// Show settings, all or some.
#[derive(clap::Args)]
struct Show {
    /// Names of settings, or of tables of them.
    #[arg(value_name = "KEY")]
    keys: Vec<String>,
    #[command(flatten)]
    home: HomeFlag,
}

/// Change settings; they are in effect at once.
#[derive(clap::Args)]
struct Set {
    /// What to set, and to what; none takes a goal away.
    #[arg(required = true, value_name = "KEY=VALUE")]
    settings: Vec<String>,
    #[command(flatten)]
    home: HomeFlag,
}

/// Drop what was set here: as the configuration file says.
#[derive(clap::Args)]
struct Reset {
    /// Names of settings; those in a table go back together, under its name.
    #[arg(required = true, value_name = "KEY")]
    keys: Vec<String>,
    #[command(flatten)]
    home: HomeFlag,
}

impl Settings {
    pub fn run(self, context: &Context) -> Result<(), Failure> {
        match self.what {
            What::Show(show) => {
                for name in &show.keys {
                    if !keys::SETTINGS.iter().any(|key| within(key.name, name)) {
                        return Err(unknown(name));
                    }
                }
                let remote = Remote::need(context, &show.home)?;
                let settings = remote.ask(remote.client().settings())?;
                tell(context, &settings, &show.keys);
                Ok(())
            }
            What::Set(set) => set.run(context),
            What::Reset(reset) => reset.run(context),
        }
    }
}

impl Set {
    fn run(self, context: &Context) -> Result<(), Failure> {
        let mut wanted = Vec::new();
        for text in &self.settings {
            let (name, text) = text.split_once('=').ok_or_else(|| {
                Failure::usage(format!(
                    "{text} sets nothing: give KEY=VALUE, such as limits.up=2MiB."
                ))
            })?;
            let key = keys::SETTINGS.iter().find(|key| key.name == name);
            let key = key.ok_or_else(|| unknown(name))?;
            let cannot = |why: String| Failure::usage(format!("{name} cannot be {text}: {why}."));
            wanted.push((key, key.read(text).map_err(cannot)?));
        }
        let remote = Remote::need(context, &self.home)?;
        let now = remote.ask(remote.client().settings())?;
        // A part is replaced as a whole, so what is not named in it is sent as it is.
        let mut after = serde_json::to_value(&now).expect("settings are JSON");
        let mut named = Vec::new();
        for (key, value) in wanted {
            put(&mut after, key.name, value);
            named.push(key.name.to_owned());
        }
        let parts = named.iter().filter_map(|name| name.split('.').next());
        let patch: serde_json::Map<String, Value> = parts
            .map(|part| (part.to_owned(), after[part].clone()))
            .collect();
        let patch: SettingsPatch = serde_json::from_value(patch.into())
            .map_err(|error| Failure::usage(format!("This cannot be set: {error}.")))?;
        let settings = remote.ask(remote.client().update_settings(&patch))?;
        tell(context, &settings, &named);
        Ok(())
    }
}

impl Reset {
    fn run(self, context: &Context) -> Result<(), Failure> {
        let mut parts = serde_json::Map::new();
        for name in &self.keys {
            parts.insert(whole(name)?.to_owned(), Value::Null);
        }
        let patch: SettingsPatch = serde_json::from_value(parts.into())
            .map_err(|error| Failure::usage(format!("This cannot be reset: {error}.")))?;
        let remote = Remote::need(context, &self.home)?;
        let settings = remote.ask(remote.client().update_settings(&patch))?;
        tell(context, &settings, &self.keys);
        Ok(())
    }
}

/// A name of what is kept as a whole.
fn whole(name: &str) -> Result<&str, Failure> {
    if !keys::SETTINGS.iter().any(|key| within(key.name, name)) {
        return Err(unknown(name));
    }
    match name.split_once('.') {
        Some((table, _)) => Err(Failure::usage(format!(
            "{name} goes back with all of {table}: starling settings reset {table}"
        ))),
        None => Ok(name),
    }
}

/// Shows those of these names; none are all.
fn tell(context: &Context, settings: &Values, names: &[String]) {
    let values = serde_json::to_value(settings).expect("settings are JSON");
    let mut event = values.clone();
    event["event"] = "settings".into();
    context.console.event(&event);
    let mut table = Table::new(&["SETTING", "VALUE"]);
    let wanted =
        |key: &&keys::Key| names.is_empty() || names.iter().any(|name| within(key.name, name));
    for key in keys::SETTINGS.iter().filter(wanted) {
        let value = at(&values, key.name).unwrap_or(&Value::Null);
        table.row([key.name.to_owned(), key.show(value)]);
    }
    table.show(context);
}

/// Whether a key is this one, or in the table of this name.
fn within(key: &str, name: &str) -> bool {
    key.strip_prefix(name)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

fn unknown(name: &str) -> Failure {
    if keys::START.iter().any(|key| key.name == name) {
        return Failure::usage(format!(
            "{name} cannot be changed while the daemon runs. Set it in the configuration file and start anew."
        ));
    }
    let names = keys::SETTINGS.iter().map(|key| key.name);
    Failure::usage(format!(
        "There is no setting {name}.{}",
        suggestion(name, names)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_names_its_keys_and_no_others() {
        assert!(within("limits.up", "limits") && within("limits.up", "limits.up"));
        assert!(!within("lan_free", "lan") && !within("limits.up", "limits.u"));
    }

    #[test]
    fn what_is_kept_as_a_whole_is_reset_as_a_whole() {
        assert_eq!(whole("limits").ok(), Some("limits"));
        assert_eq!(whole("slots").ok(), Some("slots"));
        let refused = whole("limits.up").unwrap_err().message;
        assert!(refused.ends_with("reset limits"), "{refused}");
        assert!(whole("limit").is_err() && whole("dht").is_err());
    }

    #[test]
    fn what_cannot_be_set_is_told_from_what_is_not_there() {
        assert!(unknown("dht").message.contains("while the daemon runs"));
        assert!(unknown("limits.upp").message.contains("limits.up?"));
    }
}
