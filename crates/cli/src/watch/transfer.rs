//! One transfer as it is told: to people as a bar and sentences, to programs as events.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use node::{Options, Place, Problem, ProblemKind, Source, Status};
use serde_json::json;
use swarm::State;
use torrent::hex;
use torrent::magnet::Magnet;
use torrent::metainfo::Info;

use crate::Context;
use crate::console::clean;
use crate::exit::{Exit, Failure, sentence};
use crate::units::{Clock, Size, count};

/// Letters of a name before its bar.
const NAME_WIDTH: usize = 28;

/// One transfer.
pub struct Transfer {
    name: String,
    place: Place,
    info: Option<Arc<Info>>,
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
        let (name, info, magnet) = match source {
            Source::Metainfo(metainfo) => {
                let info = metainfo.info.clone();
                (
                    info.name().to_owned(),
                    Some(Arc::new(info)),
                    Magnet::of(metainfo),
                )
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
            info,
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
        match &self.place {
            Place::At(root) => root.clone(),
            Place::Into(dir) => {
                let dir = if dir == Path::new(".") {
                    Path::new("")
                } else {
                    dir
                };
                dir.join(
                    self.info
                        .as_ref()
                        .map_or(self.name.as_str(), |info| info.name()),
                )
            }
        }
    }

    /// Its metadata is here.
    pub fn learn(&mut self, context: &Context, info: Arc<Info>) {
        self.name = info.name().to_owned();
        if self.info.is_none() {
            let files = info.files().filter(|file| !file.pad).count();
            let (files, size) = (count(files, "file"), Size(info.layout().payload()));
            context
                .console
                .note(&format!("{}: {files}, {size}", self.name));
        }
        self.info = Some(info);
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
        let Some(info) = &self.info else { return };
        let mut event = json!({
            "event": "seeding",
            "name": self.name,
            "files": info.files().filter(|file| !file.pad).count(),
            "bytes": info.layout().payload(),
            "magnet": self.magnet,
        });
        let hashes = info.hashes();
        if let Some(v1) = hashes.v1 {
            event["info_hash_v1"] = json!(hex::encode(&v1));
        }
        if let Some(v2) = hashes.v2 {
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
    pub fn finish(&mut self, context: &Context, status: Option<&Status>) {
        self.phase = Phase::Done;
        self.end_bar();
        if let Some(status) = status {
            self.tell_progress(context, status);
        }
        let (bytes, received) = status.map_or((0, 0), |status| {
            (status.swarm.wanted, status.swarm.received)
        });
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
    pub fn pause(&mut self, context: &Context, problem: &Problem) {
        let failure = failure_of(problem);
        context.console.event(&json!({
            "event": "paused",
            "name": self.name,
            "code": failure.exit.name(),
            "message": failure.message,
        }));
        let waits = problem.kind == ProblemKind::NoSpace;
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
    pub fn tell_file(&self, context: &Context, index: usize) {
        let Some(info) = self.info.as_ref().filter(|_| !self.seed) else {
            return;
        };
        let file = info.file(index);
        if file.pad {
            return;
        }
        let (name, path, bytes) = (&self.name, file.path(), file.len);
        context
            .console
            .event(&json!({ "event": "file", "name": name, "path": path, "bytes": bytes }));
        if context.console.is_live() && !info.is_single_file() {
            context.console.note(&format!("✓ {path}  {}", Size(bytes)));
        }
    }

    /// How far it is, for programs, if that is news.
    pub fn tell_progress(&mut self, context: &Context, status: &Status) {
        let swarm = &status.swarm;
        let state = match &swarm.state {
            _ if status.checking.is_some() => "checking",
            State::Metadata => "metadata",
            State::Checking => "checking",
            State::Downloading => "downloading",
            State::Seeding => "seeding",
            State::Paused(_) => "paused",
        };
        let event = json!({
            "event": "progress",
            "name": self.name,
            "state": state,
            "done": swarm.done,
            "total": swarm.wanted,
            "rate_down": swarm.rate_down,
            "rate_up": swarm.rate_up,
            "peers": swarm.peers,
            "seeds": swarm.seeds,
            "eta": status.eta,
            "fetched": swarm.received,
            "wasted": swarm.wasted,
            "sent": swarm.sent,
        });
        let text = event.to_string();
        if text != self.told {
            self.told = text;
            context.console.event(&event);
        }
    }

    /// Moves its bar, and gives up if it has met nobody for `patience`; zero is for ever.
    pub fn look(&mut self, context: &Context, status: &Status, now: Instant, patience: Duration) {
        if self.phase != Phase::Running {
            return;
        }
        let alone = now.duration_since(self.met);
        if let Some(bar) = &self.bar {
            draw(bar, &self.name, status, alone);
        }
        let searches = matches!(status.swarm.state, State::Metadata | State::Downloading);
        if !searches || status.swarm.peers > 0 {
            self.met = now;
        } else if !patience.is_zero() && alone >= patience {
            self.fail(context, self.lonely(status, patience));
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
    fn lonely(&self, status: &Status, patience: Duration) -> Failure {
        let tried = match &status.finding[..] {
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
fn draw(bar: &ProgressBar, name: &str, status: &Status, alone: Duration) {
    let swarm = &status.swarm;
    let mut short: String = name.chars().take(NAME_WIDTH).collect();
    if short.len() < name.len() {
        short.pop();
        short.push('…');
    }
    bar.set_prefix(short);
    let (done, total) = match status.checking {
        Some((done, total)) => (u64::from(done), u64::from(total)),
        None => (swarm.done, swarm.wanted),
    };
    bar.set_length(total.max(1));
    bar.set_position(done);
    let percent = 100 * u128::from(done) / u128::from(total.max(1));
    let alone = Clock(Duration::from_secs(alone.as_secs()));
    bar.set_message(match &swarm.state {
        _ if status.checking.is_some() => format!("{percent} %  checking what is here"),
        State::Checking => "checking what is here".to_owned(),
        State::Paused(_) => format!("{percent} %  paused"),
        State::Metadata | State::Downloading if swarm.peers == 0 => {
            let mut tried = status.finding.clone();
            if swarm.known > 0 {
                tried.push(format!("dialling {}", count(swarm.known, "peer")));
            }
            format!("looking for peers for {alone}: {}", tried.join(", "))
        }
        State::Metadata => format!("asking {} what it is", count(swarm.peers, "peer")),
        State::Downloading | State::Seeding => {
            let left = status.eta.map(Duration::from_secs);
            let left = left.map_or(String::new(), |left| format!("  {} left", Clock(left)));
            let (done, total, rate) = (Size(done), Size(total), Size(swarm.rate_down));
            let sources = count(swarm.peers, "source");
            format!("{percent} %  {done} of {total}  {rate}/s  {sources}{left}")
        }
    });
}

/// A problem of the node under its exit code.
pub fn failure_of(problem: &Problem) -> Failure {
    let exit = match problem.kind {
        ProblemKind::NoSpace => Exit::NoSpace,
        ProblemKind::Permission => Exit::Permission,
        ProblemKind::NotFound => Exit::NotFound,
        ProblemKind::Damaged => Exit::Verification,
        ProblemKind::Other => Exit::Other,
    };
    Failure::new(exit, sentence(&problem.message))
}
