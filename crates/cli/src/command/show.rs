//! `starling show`: one transfer, all that is known of it.

use std::time::Duration;

use api::{Goals, Limits, Reach, Transfer, TransferId};

use crate::Context;
use crate::console::clean;
use crate::exit::Failure;
use crate::paths::HomeFlag;
use crate::remote::Remote;
use crate::table::{self, limit, percent};
use crate::units::{Clock, Date, Size, count};
use crate::which::{self, parse_id};

/// Show all that is known of a transfer; the last line is its link.
#[derive(clap::Args)]
pub struct Show {
    /// Its number.
    #[arg(value_parser = parse_id)]
    id: TransferId,
    #[command(flatten)]
    home: HomeFlag,
}

impl Show {
    pub fn run(self, context: &Context) -> Result<(), Failure> {
        let remote = Remote::need(context, &self.home)?;
        let row = remote.ask(remote.client().get(self.id))?;
        which::tell(context, "transfer", &row);
        let reach = remote.ask(remote.client().reach(self.id))?;
        let lines = lines(&row).into_iter().chain(reach_lines(&reach));
        for (name, text) in lines {
            context.console.result(clean(&format!("{name:<10} {text}")));
        }
        context.console.result(magnet(&row));
        Ok(())
    }
}

/// A link that leads others to it. Trackers of a private torrent are not passed on.
fn magnet(row: &Transfer) -> String {
    let hashes = torrent::ids::InfoHashes {
        v1: row.info_hash_v1.map(|hash| hash.0),
        v2: row.info_hash_v2.map(|hash| hash.0),
    };
    let link = torrent::magnet::Magnet {
        hashes,
        name: Some(row.name.clone()),
        ..Default::default()
    };
    link.to_string()
}

fn lines(row: &Transfer) -> Vec<(&'static str, String)> {
    let mut lines = vec![("transfer", format!("{} {}", row.id, row.name))];
    let mut line = |name, text: String| lines.push((name, text));
    let why = row.reason.as_ref();
    let why = why.map_or_else(String::new, |why| format!(": {why}"));
    line("state", format!("{}{why}", table::state(row)));
    if row.files > 0 {
        let part = if row.wanted < row.size {
            format!(", {} of it wanted", Size(row.wanted))
        } else {
            String::new()
        };
        let files = count(row.files as usize, "file");
        line("size", format!("{} in {files}{part}", Size(row.size)));
        let (percent, pieces) = (
            percent(row.done, row.wanted),
            count(row.pieces as usize, "piece"),
        );
        line(
            "done",
            format!(
                "{percent}, {}; {} of {pieces}",
                Size(row.done),
                row.pieces_done
            ),
        );
    }
    if let Some(eta) = row.eta {
        line("left", Clock(Duration::from_secs(eta)).to_string());
    }
    line(
        "now",
        format!("{}/s down, {}/s up", Size(row.rate_down), Size(row.rate_up)),
    );
    line(
        "in all",
        format!(
            "{} received ({} in vain), {} sent, ratio {:.3}",
            Size(row.received),
            Size(row.wasted),
            Size(row.sent),
            row.ratio
        ),
    );
    line(
        "peers",
        format!(
            "{} connected, {} of them seeds, {} known",
            row.peers, row.seeds, row.known
        ),
    );
    if let Some(label) = &row.label {
        line("label", label.clone());
    }
    if !row.tags.is_empty() {
        line("tags", row.tags.join(", "));
    }
    line("at", row.root.clone());
    line("added", Date(row.added_at.cast_signed()).to_string());
    if let Some(at) = row.finished_at {
        line("finished", Date(at.cast_signed()).to_string());
    }
    if let Some(place) = row.queue_position {
        line("queue", format!("place {place}"));
    }
    if row.limits != Limits::default() {
        line("limits", limits(&row.limits));
    }
    if let Some(goals) = &row.goals {
        line("goals", goals_in_words(goals));
    }
    for (flag, name) in [
        (row.sequential, "in order"),
        (
            row.super_seed,
            "super-seeding: each peer is shown one piece at a time while nobody else has all",
        ),
        (row.private, "private"),
        (row.read_only, "never written to"),
    ] {
        if flag {
            line("flag", name.to_owned());
        }
    }
    for (name, hash) in [
        ("hash v1", row.info_hash_v1.map(|hash| hash.to_string())),
        ("hash v2", row.info_hash_v2.map(|hash| hash.to_string())),
    ] {
        if let Some(hash) = hash {
            line(name, hash);
        }
    }
    lines
}

/// How far its peers are reached.
fn reach_lines(reach: &Reach) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    if reach.known.is_empty() {
        return lines;
    }
    let joined = |parts: Vec<String>| parts.join(", ");
    let known = reach.known.iter();
    let known =
        known.map(|from| format!("{} from {}", from.addresses, from_in_words(&from.source)));
    lines.push(("known", joined(known.collect())));
    let failed = reach.failed.iter();
    let failed = failed.map(|failed| format!("{} {}", failed.addresses, failed.reason));
    let failed: Vec<String> = failed.collect();
    let failed = match failed.is_empty() {
        true => String::new(),
        false => format!("; of the others: {}", joined(failed)),
    };
    let tried = format!("{} called, {} reached{failed}", reach.tried, reach.reached);
    lines.push(("reached", tried));
    for by in &reach.connected {
        let who = if by.incoming {
            "they called"
        } else {
            "we called"
        };
        lines.push(("connected", format!("{} over {}; {who}", by.peers, by.road)));
    }
    lines
}

fn from_in_words(source: &str) -> &str {
    match source {
        "dht" => "the DHT",
        "tracker" => "trackers",
        "pex" => "peers",
        "lsd" => "the local network",
        "incoming" => "their calls",
        "given" => "you",
        other => other,
    }
}

/// Limits in words.
pub fn limits(limits: &Limits) -> String {
    format!("{} down, {} up", limit(limits.down), limit(limits.up))
}

/// Goals in words.
pub fn goals_in_words(goals: &Goals) -> String {
    let ratio = goals.ratio.map(|ratio| format!("ratio {ratio}"));
    let time = goals.seeding_seconds;
    let time = time.map(|seconds| format!("{} of seeding", Clock(Duration::from_secs(seconds))));
    let goals: Vec<String> = [ratio, time].into_iter().flatten().collect();
    if goals.is_empty() {
        "none".to_owned()
    } else {
        goals.join(" or ")
    }
}
