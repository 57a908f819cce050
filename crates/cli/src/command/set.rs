//! `starling set`: what a person wants of transfers.

use std::str::FromStr;

use api::{File, FilePriority, TransferPatch};
use clap::builder::BoolishValueParser;

use super::orders::said;
use crate::Context;
use crate::exit::{Exit, Failure};
use crate::goals::{GoalFlags, OwnLimits};
use crate::paths::HomeFlag;
use crate::remote::Remote;
use crate::which::{self, Which};

const EXAMPLES: &str = "\
Examples:
  starling set 7 --label music --limit-up 500KiB
  starling set 7 --priority '*.txt=0' --priority 'disc 1/**=7'
  starling set all --ratio 2 --seed-time 24h
  starling set 12 --queue 0                       before all others";

/// Change what is wanted of transfers: label, limits, goals, order, priorities of files.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Set {
    #[command(flatten)]
    which: Which,
    /// What to call it; its files keep their names.
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
    /// Its label, which must exist; none takes it away.
    #[arg(long, value_name = "NAME")]
    label: Option<String>,
    /// Words to have on it, in place of those there are; can be given several times, '' is none.
    #[arg(long = "tag", value_name = "WORD")]
    tags: Vec<String>,
    /// Its goals are those of its label, or of the settings.
    #[arg(long, conflicts_with_all = ["ratio", "seed_time"])]
    usual_goals: bool,
    /// Fetch pieces in order.
    #[arg(long, value_name = "YES", num_args = 0..=1, default_missing_value = "true", value_parser = BoolishValueParser::new())]
    sequential: Option<bool>,
    /// While nobody else has everything, show each peer one piece at a time, so that little is sent twice.
    #[arg(long, value_name = "YES", num_args = 0..=1, default_missing_value = "true", value_parser = BoolishValueParser::new())]
    super_seed: Option<bool>,
    /// Priority of files whose path or name matches: 0 not wanted, 4 as usual, 7 first; can be given several times.
    #[arg(long = "priority", value_name = "GLOB=N")]
    priorities: Vec<Priority>,
    /// Its place in the queue, from 0.
    #[arg(long, value_name = "PLACE")]
    queue: Option<u32>,
    #[command(flatten)]
    limits: OwnLimits,
    #[command(flatten)]
    goals: GoalFlags,
    #[command(flatten)]
    home: HomeFlag,
}

/// A priority for what a glob matches.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Priority {
    glob: String,
    priority: u8,
}

impl FromStr for Priority {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Priority, &'static str> {
        let (glob, number) = text
            .rsplit_once('=')
            .ok_or("give GLOB=N, such as '*.txt=0'")?;
        match number.parse() {
            Ok(priority @ 0..=7) => Ok(Priority {
                glob: glob.to_owned(),
                priority,
            }),
            _ => Err("a priority is 0 (not wanted) to 7 (first)"),
        }
    }
}

impl Set {
    pub fn run(self, context: &Context) -> Result<(), Failure> {
        let remote = Remote::need(context, &self.home)?;
        which::each(context, self.which.ids(&remote)?, |id| {
            let now = remote.ask(remote.client().get(id))?;
            let goals = match self.usual_goals {
                true => Some(None),
                false => self.goals.over(now.goals).map(Some),
            };
            let priorities = if self.priorities.is_empty() {
                None
            } else {
                Some(chosen(&remote.files(id)?, &self.priorities)?)
            };
            let label = self.label.clone();
            let tags = || {
                self.tags
                    .iter()
                    .filter(|tag| !tag.is_empty())
                    .cloned()
                    .collect()
            };
            let patch = TransferPatch {
                name: self.name.clone(),
                label: label.map(|label| (label != "none").then_some(label)),
                tags: (!self.tags.is_empty()).then(tags),
                limits: self.limits.over(now.limits),
                goals,
                priorities,
                sequential: self.sequential,
                super_seed: self.super_seed,
                queue_position: self.queue,
            };
            if patch == TransferPatch::default() {
                return Err(Failure::usage(
                    "Nothing is to be changed. Say what, such as --label or --limit-up.",
                ));
            }
            let row = remote.ask(remote.client().update(id, &patch))?;
            which::tell(context, "transfer", &row);
            context.console.note(&said(&row));
            Ok(())
        })
    }
}

/// Priorities by index, the last that matches first; runs of the same are one.
fn chosen(files: &[File], wanted: &[Priority]) -> Result<Vec<FilePriority>, Failure> {
    let mut matched = vec![false; wanted.len()];
    let mut parts: Vec<FilePriority> = Vec::new();
    for file in files {
        let name = file.path.rsplit('/').next().unwrap_or(&file.path);
        let mut priority = None;
        for (wanted, matched) in wanted.iter().zip(&mut matched) {
            if fast_glob::glob_match(&wanted.glob, &file.path)
                || fast_glob::glob_match(&wanted.glob, name)
            {
                (*matched, priority) = (true, Some(wanted.priority));
            }
        }
        let Some(priority) = priority else { continue };
        match parts.last_mut() {
            Some(last)
                if last.priority == priority
                    && last.through.unwrap_or(last.file) + 1 == file.index =>
            {
                last.through = Some(file.index);
            }
            _ => parts.push(FilePriority {
                file: file.index,
                through: None,
                priority,
            }),
        }
    }
    match matched.iter().position(|matched| !matched) {
        None => Ok(parts),
        Some(_) if files.is_empty() => Err(Failure::new(
            Exit::Other,
            "Its files are not known yet: no peer has sent its metadata. Try again later.",
        )),
        Some(at) => Err(Failure::new(
            Exit::NotFound,
            format!(
                "No file matches {}. `starling files` lists them.",
                wanted[at].glob
            ),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(index: u32, path: &str) -> File {
        File {
            index,
            path: path.into(),
            size: 1,
            done: 0,
            priority: 4,
            content_url: None,
        }
    }

    #[test]
    fn the_last_glob_that_matches_counts_and_runs_are_joined() {
        let files = [
            file(0, "a.txt"),
            file(1, "disc 1/b.flac"),
            file(2, "disc 1/c.txt"),
            file(4, "d.txt"),
        ];
        let wanted = |texts: &[&str]| -> Vec<Priority> {
            texts.iter().map(|text| text.parse().unwrap()).collect()
        };
        let part = |file, through, priority| FilePriority {
            file,
            through,
            priority,
        };
        let chosen_of = |texts: &[&str]| chosen(&files, &wanted(texts));
        assert_eq!(
            chosen_of(&["*.txt=0", "disc 1/*=7"]).unwrap(),
            [part(0, None, 0), part(1, Some(2), 7), part(4, None, 0)]
        );
        assert_eq!(chosen_of(&["*.iso=0"]).unwrap_err().exit, Exit::NotFound);
        assert_eq!(
            chosen(&[], &wanted(&["*=0"])).unwrap_err().exit,
            Exit::Other
        );
        assert!("*.txt".parse::<Priority>().is_err() && "*.txt=8".parse::<Priority>().is_err());
    }
}
