//! `starling status`: the daemon at a glance.

use std::time::Duration;

use api::Query;
use serde_json::Value;

use crate::Context;
use crate::exit::Failure;
use crate::paths::HomeFlag;
use crate::remote::Remote;
use crate::table::{self, limit};
use crate::units::{Clock, Size, count};

/// Transfers shown; `starling list` shows all.
const SHOWN: u32 = 100;

/// Show how the daemon is, and a line for each transfer.
#[derive(clap::Args)]
pub struct Status {
    #[command(flatten)]
    home: HomeFlag,
}

impl Status {
    pub fn run(self, context: &Context) -> Result<(), Failure> {
        let remote = Remote::need(context, &self.home)?;
        let status = &remote.status;
        if context.console.is_json() {
            let mut event = serde_json::to_value(status).expect("our types are JSON");
            event["event"] = Value::from("status");
            context.console.event(&event);
            return Ok(());
        }
        lines(status)
            .iter()
            .for_each(|line| context.console.result(line));
        let query = Query {
            limit: SHOWN,
            ..Query::default()
        };
        let page = remote.ask(remote.client().list(&query))?;
        if !page.transfers.is_empty() {
            context.console.result("");
            table::transfers(context, &page.transfers).show(context);
        }
        if page.total > SHOWN {
            let more = count((page.total - SHOWN) as usize, "transfer");
            context
                .console
                .result(format!("and {more} more: starling list"));
        }
        Ok(())
    }
}

/// What there is to say of the daemon itself.
fn lines(status: &api::Status) -> Vec<String> {
    let totals = &status.totals;
    let uptime = Clock(Duration::from_secs(status.uptime_seconds));
    let mut lines = vec![format!(
        "Starling {}, process {}, for {uptime}",
        status.version, status.pid
    )];
    let mut line = |name: &str, text: String| lines.push(format!("{name:<9} {text}"));
    line("home", status.home.clone());
    line(
        "peers",
        format!("reach it at {}", status.listening.join(", ")),
    );
    line("API", status.api.join(", "));
    if let Some(content) = &status.content {
        line("content", content.clone());
    }
    line(
        "now",
        format!(
            "{}/s down, {}/s up, {}",
            Size(totals.rate_down),
            Size(totals.rate_up),
            count(totals.peers as usize, "peer")
        ),
    );
    line(
        "in all",
        format!(
            "{} received, {} sent",
            Size(totals.received),
            Size(totals.sent)
        ),
    );
    line("limits", {
        let why = totals.limits_reason.as_ref();
        let why = why.map_or_else(String::new, |why| format!(" ({why})"));
        let (down, up) = (limit(totals.limits.down), limit(totals.limits.up));
        format!(
            "{down} down, {up} up{why}; {}",
            count(totals.slots as usize, "upload slot")
        )
    });
    if let Some(free) = totals.free {
        line("free", Size(free).to_string());
    }
    let states: Vec<String> = totals
        .states
        .iter()
        .map(|(state, number)| format!("{number} {}", state.name()))
        .collect();
    line(
        "transfers",
        if states.is_empty() {
            "none; add one: starling add SOURCE".to_owned()
        } else {
            states.join(", ")
        },
    );
    for port in &status.network.ports {
        let text = format!(
            "{} {} over {}: {}",
            port.protocol, port.port, port.family, port.words
        );
        line("port", text);
    }
    if let Some(mapping) = &status.network.port_mapping {
        line("router", mapping.clone());
    }
    if let Some(blocking) = &status.network.blocking {
        let (ranges, met) = (blocking.ranges as usize, blocking.attempts as usize);
        line(
            "blocked",
            format!("{}, met {}", count(ranges, "range"), count(met, "time")),
        );
        if let Some(trouble) = &blocking.trouble {
            line("warning", trouble.clone());
        }
    }
    if !status.network.external.is_empty() {
        line("seen at", status.network.external.join(", "));
    }
    if let Some(dht) = &status.network.dht {
        line("DHT", dht.state.clone());
    }
    for note in &status.network.notes {
        line("network", note.clone());
    }
    for warning in &status.warnings {
        line("warning", warning.clone());
    }
    lines
}
