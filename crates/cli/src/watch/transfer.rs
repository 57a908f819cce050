//! One transfer as it is told: to people as a bar and sentences, to programs as events.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use node::{Options, Place, Source};
use serde_json::json;
use torrent::hex;
use torrent::magnet::Magnet;

use super::host::{Doing, Facts, Look};
use crate::Context;
use crate::console::clean;
use crate::exit::{Exit, Failure};
use crate::units::{Clock, Size, count};

/// Letters of a name before its bar.
const NAME_WIDTH: usize = 28;

/// One transfer.
pub struct Transfer {
    name: String,
    place: Place,
    facts: Option<Facts>,
    magnet: String,
    /// The torrent file, where there is one.
    torrent: Option<PathBuf>,
    /// Only to be served: it must be whole, or it fails.
    pub seed: bool,
    /// How far it is.
    pub phase: Phase,
    /// Its link is shown as a picture too: of many, that would fill the terminal.
    pub pictured: bool,
    /// Its line on the terminal.
    pub bar: Option<ProgressBar>,
    began: Instant,
    /// When it last had a peer, or needed none.
    met: Instant,
    /// The progress told last: only news is told.
    told: String,
}

/// How far a transfer is.
#[derive(Debug, PartialEq, Eq)]
pub enum Phase {
    /// Something is missing, or not checked yet.
    Running,
    /// Complete, verified, on disk.
    Done,
    /// It will not be.
    Failed(Failure),
}

impl Transfer {
    /// As much as its source says.
    pub fn new(source: &Source, options: &Options, torrent: Option<PathBuf>) -> Transfer {
        let (name, facts, magnet) = match source {
            Source::Metainfo(metainfo) => {
                let facts = Facts::of(&metainfo.info);
                (facts.name.clone(), Some(facts), Magnet::of(metainfo))
            }
            Source::Magnet(magnet) => {
                let name = magnet.name.as_deref().map(clean);
                (
                    name.unwrap_or_else(|| magnet.hashes.to_string()),
                    None,
                    (**magnet).clone(),
                )
            }
            Source::Hash(hashes) => (hashes.to_string(), None, Magnet::of_hashes(*hashes)),
        };
        let now = Instant::now();
        Transfer {
            name,
            place: options.place.clone(),
            facts,
            magnet: magnet.to_string(),
            torrent,
            seed: options.read_only,
            phase: Phase::Running,
            pictured: false,
            bar: None,
            began: now,
            met: now,
            told: String::new(),
        }
    }

    /// Where it lies, or will.
    pub fn root(&self) -> PathBuf {
        let elsewhere = self.facts.as_ref().and_then(|facts| facts.root.clone());
        if let Some(root) = elsewhere {
            return root;
        }
        match &self.place {
            Place::At(root) => root.clone(),
            Place::Into(dir) => {
                let dir = if dir == Path::new(".") {
                    Path::new("")
                } else {
                    dir
                };
                dir.join(&self.name)
            }
        }
    }

    /// What it contains is known.
    pub fn learn(&mut self, context: &Context, facts: Facts) {
        self.name.clone_from(&facts.name);
        if self.facts.is_none() {
            let (files, size) = (count(facts.files, "file"), Size(facts.bytes));
            context
                .console
                .note(&clean(&format!("{}: {files}, {size}", self.name)));
        }
        self.facts = Some(facts);
    }

    /// What was on disk has been looked at: so many pieces are right.
    pub fn checked(&mut self, context: &Context, have: u32, of: u32) {
        let pieces = count(of as usize, "piece");
        match (self.seed, have == of) {
            (true, true) => self.serve(context),
            (true, false) => self.fail(context, self.incomplete(have, &pieces)),
            (false, _) => context.console.note(&format!(
                "{}: {have} of {pieces} are here already",
                self.name
            )),
        }
    }

    /// It is complete and served from now on.
    pub fn serve(&mut self, context: &Context) {
        self.phase = Phase::Done;
        self.end_bar();
        let Some(facts) = &self.facts else { return };
        let mut event = json!({
            "event": "seeding",
            "name": self.name,
            "files": facts.files,
            "bytes": facts.bytes,
            "magnet": self.magnet,
        });
        if let Some(v1) = facts.hashes.v1 {
            event["info_hash_v1"] = json!(hex::encode(&v1));
        }
        if let Some(v2) = facts.hashes.v2 {
            event["info_hash_v2"] = json!(hex::encode(&v2));
        }
        if let Some(torrent) = &self.torrent {
            event["torrent"] = json!(torrent.display().to_string());
        }
        context.console.event(&event);
        if self.seed {
            context.console.link(&self.magnet, self.pictured);
        }
    }

    /// It is complete, verified and on disk.
    pub fn finish(&mut self, context: &Context, look: Option<&Look>) {
        self.phase = Phase::Done;
        self.end_bar();
        if let Some(look) = look {
            self.tell_progress(context, look);
        }
        let (bytes, received) = look.map_or((0, 0), |look| (look.wanted, look.received));
        let took = self.began.elapsed();
        let how = if received == 0 {
            "all of it was here already".to_owned()
        } else {
            format!("{} in {}", Size(bytes), Clock(took))
        };
        context
            .console
            .note(&format!("{}: {how}, verified", self.name));
        context.console.event(&json!({
            "event": "done",
            "name": self.name,
            "path": self.root().display().to_string(),
            "bytes": bytes,
            "seconds": took.as_secs_f64(),
        }));
    }

    /// It cannot go on; others do.
    pub fn fail(&mut self, context: &Context, failure: Failure) {
        self.end_bar();
        if !matches!(self.phase, Phase::Failed(_)) {
            self.phase = Phase::Failed(context.console.failure(failure));
        }
    }

    /// It stands still. A full disk can be helped while it waits, and what is being served can be put right;
    /// anything else needs the person, and nothing is lost by ending.
    pub fn pause(&mut self, context: &Context, failure: Failure) {
        context.console.event(&json!({
            "event": "paused",
            "name": self.name,
            "code": failure.exit.name(),
            "message": failure.message,
        }));
        let waits = failure.exit == Exit::NoSpace;
        if !waits && self.phase == Phase::Running {
            return self.fail(context, failure);
        }
        let until = if waits {
            " It goes on when there is room."
        } else {
            " It goes on by itself once that is done."
        };
        context
            .console
            .warn(&format!("{}: {failure}{until}", self.name));
    }

    /// The reason it stood still is gone.
    pub fn resume(&self, context: &Context) {
        context
            .console
            .event(&json!({ "event": "resumed", "name": self.name }));
        context.console.note(&format!("{} goes on", self.name));
    }

    /// Something the person may want to know.
    pub fn notice(&self, context: &Context, text: &str) {
        context
            .console
            .event(&json!({ "event": "notice", "name": self.name, "message": text }));
        context
            .console
            .note(&clean(&format!("{}: {text}", self.name)));
    }

    /// A file is whole: an event for programs and, of a folder, a line on a terminal.
    pub fn tell_file(&self, context: &Context, path: &str, bytes: u64) {
        let Some(facts) = self.facts.as_ref().filter(|_| !self.seed) else {
            return;
        };
        let name = &self.name;
        context
            .console
            .event(&json!({ "event": "file", "name": name, "path": path, "bytes": bytes }));
        if context.console.is_live() && !facts.single {
            context
                .console
                .note(&clean(&format!("✓ {path}  {}", Size(bytes))));
        }
    }

    /// How far it is, for programs, if that is news.
    pub fn tell_progress(&mut self, context: &Context, look: &Look) {
        let event = json!({
            "event": "progress",
            "name": self.name,
            "state": look.doing.name(),
            "done": look.done,
            "total": look.wanted,
            "rate_down": look.rate_down,
            "rate_up": look.rate_up,
            "peers": look.peers,
            "seeds": look.seeds,
            "eta": look.eta,
            "fetched": look.received,
            "wasted": look.wasted,
            "sent": look.sent,
        });
        let text = event.to_string();
        if text != self.told {
            self.told = text;
            context.console.event(&event);
        }
    }

    /// Moves its bar, and gives up if it has met nobody for `patience`; zero is for ever.
    pub fn look(&mut self, context: &Context, look: &Look, now: Instant, patience: Duration) {
        if self.phase != Phase::Running {
            return;
        }
        let alone = now.duration_since(self.met);
        if let Some(bar) = &self.bar {
            draw(bar, &self.name, look, alone);
        }
        let searches = matches!(look.doing, Doing::Metadata | Doing::Downloading);
        if !searches || look.peers > 0 {
            self.met = now;
        } else if !patience.is_zero() && alone >= patience {
            self.fail(context, self.lonely(look, patience));
        }
    }

    fn end_bar(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    /// Data that was to be served is not what the torrent says.
    fn incomplete(&self, have: u32, pieces: &str) -> Failure {
        let root = self.root();
        let above = root
            .parent()
            .filter(|above| !above.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        let torrent = self
            .torrent
            .as_deref()
            .unwrap_or(Path::new("TORRENT"))
            .display();
        let (root, above) = (root.display(), above.display());
        Failure::new(
            Exit::Verification,
            format!(
                "{root} is not what the torrent says: {have} of {pieces} are right. \
                 `starling verify {torrent} {root}` names what is wrong, and \
                 `starling get {torrent} -o {above}` fetches it."
            ),
        )
    }

    /// Nobody was met.
    fn lonely(&self, look: &Look, patience: Duration) -> Failure {
        let tried = match &look.finding[..] {
            [] => "every way to find peers is off".to_owned(),
            tried => format!("tried: {}", tried.join(", ")),
        };
        Failure::new(
            Exit::NoPeers,
            format!(
                "Nobody who has {} was met in {} ({tried}). Try later, name somebody who has it with \
                 --peer, or wait longer with --timeout.",
                self.name,
                Clock(patience),
            ),
        )
    }
}

/// A bar and its words: how far, how fast, from how many, how long; or what is being tried.
fn draw(bar: &ProgressBar, name: &str, look: &Look, alone: Duration) {
    let mut short: String = name.chars().take(NAME_WIDTH).collect();
    if short.len() < name.len() {
        short.pop();
        short.push('…');
    }
    bar.set_prefix(short);
    let (done, total) = match look.checking {
        Some((done, total)) => (u64::from(done), u64::from(total)),
        None => (look.done, look.wanted),
    };
    bar.set_length(total.max(1));
    bar.set_position(done);
    let percent = 100 * u128::from(done) / u128::from(total.max(1));
    let alone = Clock(Duration::from_secs(alone.as_secs()));
    bar.set_message(match look.doing {
        Doing::Checking if look.checking.is_some() => format!("{percent} %  checking what is here"),
        Doing::Checking => "checking what is here".to_owned(),
        Doing::Paused => format!("{percent} %  paused"),
        Doing::Queued => format!("{percent} %  waits for its turn"),
        Doing::Held => format!("{percent} %  held by the daemon's settings"),
        Doing::Metadata | Doing::Downloading if look.peers == 0 => {
            let mut tried = look.finding.clone();
            if look.known > 0 {
                tried.push(format!("dialling {}", count(look.known, "peer")));
            }
            format!("looking for peers for {alone}: {}", tried.join(", "))
        }
        Doing::Metadata => format!("asking {} what it is", count(look.peers, "peer")),
        Doing::Downloading | Doing::Seeding => {
            let left = look.eta.map(Duration::from_secs);
            let left = left.map_or(String::new(), |left| format!("  {} left", Clock(left)));
            let (done, total, rate) = (Size(done), Size(total), Size(look.rate_down));
            let sources = count(look.peers, "source");
            format!("{percent} %  {done} of {total}  {rate}/s  {sources}{left}")
        }
    });
}
