//! `starling inspect`: what is in a torrent, or in a link.

use serde_json::{Value, json};
use torrent::hex;
use torrent::ids::InfoHashes;
use torrent::layout::Kind;
use torrent::magnet::Magnet;
use torrent::metainfo::Metainfo;

use crate::Context;
use crate::console::clean;
use crate::exit::Failure;
use crate::network::ProxyFlags;
use crate::source::{self, Pasted};
use crate::units::{Date, Size, count};

const EXAMPLES: &str = "\
Examples:
  starling inspect album.torrent
  starling inspect 'magnet:?xt=urn:btih:…'
  starling inspect album.torrent --json | jq -r '.files[].path'";

/// Show what a torrent file or magnet link contains.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Inspect {
    /// A torrent file or its URL, a magnet link, or an info-hash.
    source: String,
    #[command(flatten)]
    way: ProxyFlags,
}

impl Inspect {
    pub fn run(self, context: &Context) -> Result<(), Failure> {
        let console = &context.console;
        let (human, event) = match source::recognise(&self.source)? {
            Pasted::File(path) => of_metainfo(&source::read_torrent(&path)?),
            Pasted::Url(url) => {
                let egress = self.way.egress()?;
                of_metainfo(&source::fetch_torrent(&url, egress, &context.interrupt)?)
            }
            Pasted::Magnet(magnet) => of_magnet(&magnet),
            Pasted::Hash(hashes) => of_magnet(&Magnet::of_hashes(hashes)),
        };
        for line in human {
            console.result(clean(&line));
        }
        console.event(&event);
        Ok(())
    }
}

/// A kind as people and programs read it.
fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::V1 => "v1",
        Kind::V2 => "v2",
        Kind::Hybrid => "hybrid",
    }
}

fn of_metainfo(metainfo: &Metainfo) -> (Vec<String>, Value) {
    let info = &metainfo.info;
    let layout = info.layout();
    let magnet = Magnet::of(metainfo).to_string();
    let hashes = info.hashes();
    let files: Vec<_> = info.files().filter(|file| !file.pad).collect();

    let mut lines = Lines::default();
    lines.add("Name", info.name());
    let kind = match info.kind() {
        Kind::V1 => "v1",
        Kind::V2 => "v2",
        Kind::Hybrid => "hybrid (v1 and v2)",
    };
    lines.add("Kind", kind);
    lines.hashes(&hashes);
    lines.add(
        "Content",
        &format!(
            "{} in {}",
            Size(layout.payload()),
            count(files.len(), "file")
        ),
    );
    let pieces = count(layout.pieces() as usize, "piece");
    lines.add(
        "Pieces",
        &format!("{pieces} of {}", Size(u64::from(layout.piece_length()))),
    );
    lines.add(
        "Private",
        if info.private() {
            "yes: peers come from its trackers only"
        } else {
            "no"
        },
    );
    let made = [
        metainfo.creation_date.map(|date| Date(date).to_string()),
        metainfo
            .created_by
            .as_ref()
            .map(|program| format!("by {program}")),
    ];
    let made: Vec<String> = made.into_iter().flatten().collect();
    lines.add("Created", &made.join(" "));
    lines.add("Comment", metainfo.comment.as_deref().unwrap_or_default());
    lines.add("Source", info.source().unwrap_or_default());
    lines.list(
        "Trackers",
        metainfo.trackers.iter().map(|tier| tier.join("  or  ")),
    );
    lines.list("Web seeds", metainfo.web_seeds.iter().cloned());
    lines.list(
        "DHT nodes",
        metainfo
            .nodes
            .iter()
            .map(|(host, port)| format!("{host}:{port}")),
    );
    lines.list(
        "Notices",
        info.notices()
            .iter()
            .chain(&metainfo.notices)
            .map(|notice| notice.to_string()),
    );
    lines.list(
        "Files",
        files.iter().map(|file| match file.symlink() {
            Some(target) => format!("{:>11}  {} -> {target}", "link", file.path()),
            None => format!("{:>11}  {}", Size(file.len), file.path()),
        }),
    );
    lines.0.push(String::new());
    lines.0.push(magnet.clone());

    let file_values = files.iter().map(|file| {
        let mut value = json!({ "path": file.path(), "length": file.len });
        let extras = [
            ("root", file.root().map(|root| json!(hex::encode(&root)))),
            ("symlink", file.symlink().map(|target| json!(target))),
            ("executable", file.executable.then_some(json!(true))),
            ("hidden", file.hidden.then_some(json!(true))),
        ];
        for (key, extra) in extras {
            if let Some(extra) = extra {
                value[key] = extra;
            }
        }
        value
    });
    let event = json!({
        "event": "torrent",
        "kind": kind_name(info.kind()),
        "name": info.name(),
        "info_hash_v1": hashes.v1.map(|hash| hex::encode(&hash)),
        "info_hash_v2": hashes.v2.map(|hash| hex::encode(&hash)),
        "piece_length": layout.piece_length(),
        "pieces": layout.pieces(),
        "bytes": layout.payload(),
        "single_file": info.is_single_file(),
        "files": file_values.collect::<Vec<_>>(),
        "trackers": metainfo.trackers,
        "web_seeds": metainfo.web_seeds,
        "nodes": metainfo.nodes.iter().map(|(host, port)| json!([host, port])).collect::<Vec<_>>(),
        "private": info.private(),
        "comment": metainfo.comment,
        "created_by": metainfo.created_by,
        "creation_date": metainfo.creation_date,
        "source": info.source(),
        "notices": info.notices().iter().chain(&metainfo.notices).map(|notice| notice.to_string()).collect::<Vec<_>>(),
        "magnet": magnet,
    });
    (lines.0, event)
}

fn of_magnet(magnet: &Magnet) -> (Vec<String>, Value) {
    let kind = match (magnet.hashes.v1, magnet.hashes.v2) {
        (Some(_), Some(_)) => "hybrid",
        (None, Some(_)) => "v2",
        _ => "v1",
    };
    let peers: Vec<String> = magnet
        .peers
        .iter()
        .map(|(host, port)| {
            if host.contains(':') {
                format!("[{host}]:{port}")
            } else {
                format!("{host}:{port}")
            }
        })
        .collect();
    let select = magnet.select.as_ref().map(|ranges| {
        let ranges = ranges
            .iter()
            .map(|range| match (range.start(), range.end()) {
                (first, last) if first == last => first.to_string(),
                (first, last) => format!("{first}-{last}"),
            });
        ranges.collect::<Vec<_>>().join(",")
    });
    let mut lines = Lines::default();
    lines.add(
        "Name",
        magnet
            .name
            .as_deref()
            .unwrap_or("(not said; peers know it)"),
    );
    lines.add("Kind", &format!("link to a {kind} torrent"));
    lines.hashes(&magnet.hashes);
    lines.add(
        "Content",
        &magnet
            .length
            .map(|length| Size(length).to_string())
            .unwrap_or_default(),
    );
    lines.add("Only files", select.as_deref().unwrap_or_default());
    lines.list("Trackers", magnet.trackers.iter().cloned());
    lines.list("Web seeds", magnet.web_seeds.iter().cloned());
    lines.list("Peers", peers.iter().cloned());
    lines.0.push(String::new());
    lines.0.push(magnet.to_string());
    let event = json!({
        "event": "magnet",
        "kind": kind,
        "name": magnet.name,
        "info_hash_v1": magnet.hashes.v1.map(|hash| hex::encode(&hash)),
        "info_hash_v2": magnet.hashes.v2.map(|hash| hex::encode(&hash)),
        "bytes": magnet.length,
        "select": select,
        "trackers": magnet.trackers,
        "web_seeds": magnet.web_seeds,
        "peers": peers,
        "magnet": magnet.to_string(),
    });
    (lines.0, event)
}

/// A table of two columns; what is empty is left out.
#[derive(Default)]
struct Lines(Vec<String>);

impl Lines {
    fn add(&mut self, label: &str, value: &str) {
        if !value.is_empty() {
            self.0.push(format!("{label:<13}{value}"));
        }
    }

    fn hashes(&mut self, hashes: &InfoHashes) {
        self.add(
            "Info-hash v1",
            &hashes.v1.map(|hash| hex::encode(&hash)).unwrap_or_default(),
        );
        self.add(
            "Info-hash v2",
            &hashes.v2.map(|hash| hex::encode(&hash)).unwrap_or_default(),
        );
    }

    fn list(&mut self, label: &str, values: impl Iterator<Item = String>) {
        for (number, value) in values.enumerate() {
            self.add(if number == 0 { label } else { "" }, &value);
        }
    }
}
