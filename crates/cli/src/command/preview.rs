//! `starling preview`: what adding something would add.

use serde_json::Value;

use crate::Context;
use crate::console::clean;
use crate::exit::Failure;
use crate::paths::HomeFlag;
use crate::remote::Remote;
use crate::source;
use crate::table::Table;
use crate::units::{Size, count};

/// Show what adding something would add; nothing is written. The files of a link are asked of peers.
#[derive(clap::Args)]
pub struct Preview {
    /// A magnet link, a torrent file or its URL, or a bare info-hash.
    source: String,
    #[command(flatten)]
    home: HomeFlag,
}

impl Preview {
    pub fn run(self, context: &Context) -> Result<(), Failure> {
        let pasted = source::recognise(&self.source)?;
        let remote = Remote::need(context, &self.home)?;
        let source = source::for_daemon(context, pasted)?;
        let preview = remote.ask(remote.client().preview(source))?;
        let mut event = serde_json::to_value(&preview).expect("our types are JSON");
        event["event"] = Value::from("preview");
        context.console.event(&event);
        let say = |name: &str, text: &str| {
            context.console.result(clean(&format!("{name:<10} {text}")));
        };
        say("name", preview.name.as_deref().unwrap_or("not known yet"));
        if let Some(size) = preview.size {
            say(
                "size",
                &format!("{} in {}", Size(size), count(preview.files.len(), "file")),
            );
        }
        if preview.private {
            say("private", "peers come from its trackers alone");
        }
        for tracker in &preview.trackers {
            say("tracker", tracker);
        }
        if let Some(id) = preview.already_present {
            say("is there", &format!("already, as transfer {id}"));
        }
        for warning in &preview.warnings {
            context.console.warn(warning);
        }
        let mut table = Table::new(&[">FILE", ">SIZE", "PATH"]);
        for file in &preview.files {
            table.row([
                file.index.to_string(),
                Size(file.size).to_string(),
                file.path.clone(),
            ]);
        }
        table.show(context);
        Ok(())
    }
}
