//! `starling label`: names that transfers share, with a folder, limits and goals.

use std::path::Path;

use api::{Label as Value, LabelPatch};
use clap::Subcommand;

use super::relocate::whole;
use super::show::{goals_in_words, limits};
use crate::Context;
use crate::exit::Failure;
use crate::goals::{GoalFlags, OwnLimits};
use crate::paths::HomeFlag;
use crate::remote::Remote;
use crate::table::Table;

const EXAMPLES: &str = "\
Examples:
  starling label add music --folder ~/Music --ratio 2
  starling label set music --limit-up 1MiB --max-active 3
  starling add album.torrent --label music
  starling list --label music";

/// Labels: names that transfers share, with a folder, limits and goals.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Label {
    #[command(subcommand)]
    what: What,
}

/// What to do.
#[derive(Subcommand)]
enum What {
    /// Make a label
    Add(Edit),
    /// Change a label; its transfers follow
    Set(Change),
    /// Remove a label; its transfers have none then
    Remove(Named),
    /// List all labels
    List(All),
}

/// A label and what it brings.
#[derive(clap::Args)]
struct Edit {
    /// Its name.
    name: String,
    /// Where its transfers go; '' is the folder of the settings.
    #[arg(long, value_name = "DIR")]
    folder: Option<String>,
    /// Most of its transfers that run at once; 0 is no limit.
    #[arg(long, value_name = "NUMBER")]
    max_active: Option<u32>,
    #[command(flatten)]
    limits: OwnLimits,
    #[command(flatten)]
    goals: GoalFlags,
    #[command(flatten)]
    home: HomeFlag,
}

/// What is to be other.
#[derive(clap::Args)]
struct Change {
    /// A new name.
    #[arg(long, value_name = "NAME")]
    rename: Option<String>,
    /// Its transfers have the goals of the settings.
    #[arg(long, conflicts_with_all = ["ratio", "seed_time"])]
    usual_goals: bool,
    #[command(flatten)]
    edit: Edit,
}

/// One label.
#[derive(clap::Args)]
struct Named {
    /// Its name.
    name: String,
    #[command(flatten)]
    home: HomeFlag,
}

/// All of them.
#[derive(clap::Args)]
struct All {
    #[command(flatten)]
    home: HomeFlag,
}

impl Label {
    pub fn run(self, context: &Context) -> Result<(), Failure> {
        match self.what {
            What::Add(edit) => edit.add(context),
            What::Set(change) => change.run(context),
            What::Remove(named) => {
                let remote = Remote::need(context, &named.home)?;
                remote.ask(remote.client().remove_label(&named.name))?;
                context
                    .console
                    .event(&serde_json::json!({ "event": "label-removed", "name": named.name }));
                context.console.note(&format!("{} is removed", named.name));
                Ok(())
            }
            What::List(all) => all.run(context),
        }
    }
}

impl Edit {
    fn add(self, context: &Context) -> Result<(), Failure> {
        let remote = Remote::need(context, &self.home)?;
        let label = Value {
            folder: self.folder.as_deref().map(place).transpose()?.flatten(),
            limits: self.limits.over(api::Limits::default()).unwrap_or_default(),
            goals: self.goals.over(None),
            max_active: self.max_active.unwrap_or(0),
            ..Value::new(self.name)
        };
        tell(context, &[remote.ask(remote.client().add_label(&label))?]);
        Ok(())
    }
}

impl Change {
    fn run(self, context: &Context) -> Result<(), Failure> {
        let edit = self.edit;
        let remote = Remote::need(context, &edit.home)?;
        let labels = remote.ask(remote.client().labels())?;
        let now = labels.into_iter().find(|label| label.name == edit.name);
        let now = now.ok_or_else(|| Failure::from(api::Problem::no_label(&edit.name)))?;
        let patch = LabelPatch {
            name: self.rename,
            folder: edit.folder.as_deref().map(place).transpose()?,
            limits: edit.limits.over(now.limits),
            goals: match self.usual_goals {
                true => Some(None),
                false => edit.goals.over(now.goals).map(Some),
            },
            max_active: edit.max_active,
        };
        if patch == LabelPatch::default() {
            return Err(Failure::usage(
                "Nothing is to be changed. Say what, such as --folder or --limit-up.",
            ));
        }
        let label = remote.ask(remote.client().update_label(&edit.name, &patch))?;
        tell(context, &[label]);
        Ok(())
    }
}

impl All {
    fn run(self, context: &Context) -> Result<(), Failure> {
        let remote = Remote::need(context, &self.home)?;
        let labels = remote.ask(remote.client().labels())?;
        tell(context, &labels);
        if labels.is_empty() {
            context.console.note("no labels");
        }
        Ok(())
    }
}

/// A folder; nothing where it is empty.
fn place(folder: &str) -> Result<Option<String>, Failure> {
    if folder.is_empty() {
        return Ok(None);
    }
    whole(Path::new(folder)).map(Some)
}

fn tell(context: &Context, labels: &[Value]) {
    let mut table = Table::new(&["LABEL", "FOLDER", "LIMITS", "GOALS", ">ACTIVE"]);
    for label in labels {
        let mut event = serde_json::to_value(label).expect("our types are JSON");
        event["event"] = "label".into();
        context.console.event(&event);
        let goals = label.goals.as_ref();
        table.row([
            label.name.clone(),
            label.folder.clone().unwrap_or_else(|| "as usual".into()),
            limits(&label.limits),
            goals.map_or_else(|| "as usual".into(), goals_in_words),
            match label.max_active {
                0 => "any".into(),
                most => most.to_string(),
            },
        ]);
    }
    table.show(context);
}
