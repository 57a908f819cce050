//! `starling files`: what a transfer consists of.

use api::TransferId;
use serde_json::Value;

use crate::Context;
use crate::exit::Failure;
use crate::paths::HomeFlag;
use crate::remote::Remote;
use crate::table::{Table, percent};
use crate::units::Size;
use crate::which::parse_id;

/// List the files of a transfer, with priority and progress.
#[derive(clap::Args)]
pub struct Files {
    /// Its number.
    #[arg(value_parser = parse_id)]
    id: TransferId,
    /// Show where each can be read over HTTP.
    #[arg(long)]
    links: bool,
    #[command(flatten)]
    home: HomeFlag,
}

impl Files {
    pub fn run(self, context: &Context) -> Result<(), Failure> {
        let remote = Remote::need(context, &self.home)?;
        let files = remote.files(self.id)?;
        let mut table = Table::new(if self.links {
            &[">FILE", "PATH", "LINK"]
        } else {
            &[">FILE", ">PRIORITY", ">DONE", ">SIZE", "PATH"]
        });
        for file in &files {
            let mut event = serde_json::to_value(file).expect("our types are JSON");
            event["event"] = Value::from("transfer-file");
            event["transfer"] = self.id.0.into();
            context.console.event(&event);
            if self.links {
                let link = file.content_url.clone().unwrap_or_default();
                table.row([file.index.to_string(), file.path.clone(), link]);
                continue;
            }
            table.row([
                file.index.to_string(),
                file.priority.to_string(),
                percent(file.done, file.size),
                Size(file.size).to_string(),
                file.path.clone(),
            ]);
        }
        table.show(context);
        if files.is_empty() {
            context
                .console
                .note("its files are not known yet: no peer has sent its metadata");
        }
        Ok(())
    }
}
