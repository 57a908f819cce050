//! `starling web-seeds`: which servers a transfer is fetched from.

use api::{TransferId, WebSeedChange, WebSeedState};
use serde_json::Value;

use crate::Context;
use crate::authoring::check_urls;
use crate::exit::Failure;
use crate::paths::HomeFlag;
use crate::remote::Remote;
use crate::table::{Table, rate};
use crate::units::Size;
use crate::which::parse_id;

const EXAMPLES: &str = "\
Examples:
  starling web-seeds 7
  starling web-seeds 7 --add https://mirror.example/pub/
  starling web-seeds 7 --remove https://slow.example/pub/

For a folder, the URL is that of the place where the folder lies; for a single file, its own or that of its folder,
with a slash at the end. A server that you name may be on your own network; one that a torrent names may not.";

/// List the web servers that a transfer is fetched from, add some, or take some away.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct WebSeeds {
    /// Its number.
    #[arg(value_parser = parse_id)]
    id: TransferId,
    /// Fetch from this server, too; can be given several times.
    #[arg(long, value_name = "URL")]
    add: Vec<String>,
    /// Ask this server no more; can be given several times.
    #[arg(long, value_name = "URL")]
    remove: Vec<String>,
    #[command(flatten)]
    home: HomeFlag,
}

impl WebSeeds {
    pub fn run(self, context: &Context) -> Result<(), Failure> {
        check_urls(&self.add, &["http", "https"], "web seed")?;
        let remote = Remote::need(context, &self.home)?;
        let seeds = if self.add.is_empty() && self.remove.is_empty() {
            remote.ask(remote.client().web_seeds(self.id))?
        } else {
            let change = WebSeedChange {
                add: self.add,
                remove: self.remove,
            };
            remote.ask(remote.client().change_web_seeds(self.id, &change))?
        };
        let mut table = Table::new(&["STATE", ">RATE", ">RECEIVED", "NAMED BY", "URL", "WHY"]);
        for seed in &seeds {
            let mut event = serde_json::to_value(seed).expect("our types are JSON");
            event["event"] = Value::from("web-seed");
            event["transfer"] = self.id.0.into();
            context.console.event(&event);
            let state = match seed.state {
                WebSeedState::Idle => "idle",
                WebSeedState::Fetching => "fetching",
                WebSeedState::Waiting => "waiting",
                WebSeedState::Dropped => "dropped",
            };
            table.row([
                state.to_owned(),
                rate(seed.rate_down),
                Size(seed.received).to_string(),
                if seed.given { "you" } else { "torrent" }.to_owned(),
                seed.url.clone(),
                seed.message.clone().unwrap_or_default(),
            ]);
        }
        table.show(context);
        if seeds.is_empty() {
            context.console.note("it has no web seeds");
        }
        Ok(())
    }
}
