//! `starling trackers`: whom a transfer asks for peers.

use api::{TrackerState, TransferId};
use serde_json::Value;

use crate::Context;
use crate::exit::Failure;
use crate::paths::HomeFlag;
use crate::remote::Remote;
use crate::table::Table;
use crate::which::parse_id;

/// List the trackers of a transfer.
#[derive(clap::Args)]
pub struct Trackers {
    /// Its number.
    #[arg(value_parser = parse_id)]
    id: TransferId,
    #[command(flatten)]
    home: HomeFlag,
}

impl Trackers {
    pub fn run(self, context: &Context) -> Result<(), Failure> {
        let remote = Remote::need(context, &self.home)?;
        let trackers = remote.ask(remote.client().trackers(self.id))?;
        let mut table = Table::new(&[
            ">TIER", "STATE", ">SEEDS", ">OTHERS", ">GAVE", "URL", "SAID",
        ]);
        let number =
            |number: Option<u32>| number.map_or_else(String::new, |number| number.to_string());
        for tracker in &trackers {
            let mut event = serde_json::to_value(tracker).expect("our types are JSON");
            event["event"] = Value::from("tracker");
            event["transfer"] = self.id.0.into();
            context.console.event(&event);
            let state = match tracker.state {
                TrackerState::Idle => "idle",
                TrackerState::Announcing => "announcing",
                TrackerState::Working => "working",
                TrackerState::Failed => "failed",
            };
            table.row([
                tracker.tier.to_string(),
                state.to_owned(),
                number(tracker.seeds),
                number(tracker.leeches),
                tracker.peers.to_string(),
                tracker.url.clone(),
                tracker.words.clone(),
            ]);
        }
        table.show(context);
        if trackers.is_empty() {
            context.console.note("it has no trackers");
        }
        Ok(())
    }
}
