//! `starling peers`: who a transfer is connected to.

use api::{Peer, PeerClass, TransferId};
use serde_json::Value;

use crate::Context;
use crate::exit::Failure;
use crate::paths::HomeFlag;
use crate::remote::Remote;
use crate::table::{Table, rate};
use crate::units::Size;
use crate::which::parse_id;

/// List the connected peers of a transfer.
#[derive(clap::Args)]
pub struct Peers {
    /// Its number.
    #[arg(value_parser = parse_id)]
    id: TransferId,
    #[command(flatten)]
    home: HomeFlag,
}

impl Peers {
    pub fn run(self, context: &Context) -> Result<(), Failure> {
        let remote = Remote::need(context, &self.home)?;
        let peers = remote.ask(remote.client().peers(self.id))?;
        let mut table = Table::new(&[
            "ADDRESS",
            "CLIENT",
            "FROM",
            "ROAD",
            ">HAS",
            ">DOWN",
            ">UP",
            ">RECEIVED",
            ">SENT",
            "IS",
        ]);
        for peer in &peers {
            let mut event = serde_json::to_value(peer).expect("our types are JSON");
            event["event"] = Value::from("peer");
            event["transfer"] = self.id.0.into();
            context.console.event(&event);
            table.row([
                peer.address.clone(),
                peer.client.clone().unwrap_or_default(),
                peer.source.clone(),
                peer.road.to_string(),
                format!("{} %", (peer.progress * 100.0) as u32),
                rate(peer.rate_down),
                rate(peer.rate_up),
                Size(peer.received).to_string(),
                Size(peer.sent).to_string(),
                what(peer).join(", "),
            ]);
        }
        table.show(context);
        if peers.is_empty() {
            context.console.note("no peer is connected");
        }
        Ok(())
    }
}

/// What there is to say of a peer.
fn what(peer: &Peer) -> Vec<&str> {
    let marks = [
        (peer.class == PeerClass::Lan, "on the local network"),
        (peer.incoming, "incoming"),
    ];
    let marks = marks
        .into_iter()
        .filter_map(|(is, word)| is.then_some(word));
    std::iter::once(peer.words.as_str()).chain(marks).collect()
}
