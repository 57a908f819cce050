//! `starling down`: the daemon's end.

use std::time::{Duration, Instant};

use node::daemon::Home;
use serde_json::json;

use crate::Context;
use crate::exit::{Exit, Failure};
use crate::paths::HomeFlag;
use crate::remote::Remote;

/// How long the daemon may take to end: twice as long as it gives itself.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often it is looked for.
const PAUSE: Duration = Duration::from_millis(20);

/// Stop the daemon; transfers go on when it is started again.
#[derive(clap::Args)]
pub struct Down {
    #[command(flatten)]
    home: HomeFlag,
}

impl Down {
    pub fn run(self, context: &Context) -> Result<(), Failure> {
        let home = self.home.path()?;
        // A socket that systemd holds would start one only to stop it.
        let holder = Home::holder(&home);
        let remote = match holder {
            Some(_) => Remote::find_at(context, &home)?,
            None => None,
        };
        let (Some(pid), Some(remote)) = (holder, remote) else {
            context
                .console
                .event(&json!({ "event": "down", "pid": null, "ran": false }));
            context
                .console
                .note(&format!("no daemon runs for {}", home.display()));
            return Ok(());
        };
        remote.ask(remote.client().shutdown())?;
        let until = Instant::now() + PATIENCE;
        while Home::holder(&home) == Some(pid) {
            if context.interrupt.is_asked() {
                return Err(Failure::interrupted());
            }
            if Instant::now() >= until {
                return Err(Failure::new(
                    Exit::Other,
                    format!(
                        "The daemon, process {pid}, was told to stop and still runs after {} s. \
                         It may wait for a disk; look at its log, or end it.",
                        PATIENCE.as_secs()
                    ),
                ));
            }
            std::thread::sleep(PAUSE);
        }
        context
            .console
            .event(&json!({ "event": "down", "pid": pid, "ran": true }));
        context.console.note("the daemon has stopped");
        Ok(())
    }
}
