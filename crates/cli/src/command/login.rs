//! `starling login`: a browser comes in.

use std::time::Duration;

use serde_json::json;

use crate::Context;
use crate::exit::Failure;
use crate::paths::HomeFlag;
use crate::remote::Remote;
use crate::units::Clock;

/// Print a link that logs a browser on this computer in, once.
#[derive(clap::Args)]
pub struct Login {
    #[command(flatten)]
    home: HomeFlag,
}

impl Login {
    pub fn run(self, context: &Context) -> Result<(), Failure> {
        let remote = Remote::need(context, &self.home)?;
        let link = remote.ask(remote.client().login_link())?;
        context.console.event(&json!({
            "event": "login",
            "url": link.url,
            "expires_seconds": link.expires_seconds,
        }));
        let good = Clock(Duration::from_secs(link.expires_seconds));
        context.console.note(&format!(
            "good once, within {good}; whoever has it commands the daemon"
        ));
        context.console.result(&link.url);
        Ok(())
    }
}
