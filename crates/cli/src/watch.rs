//! A running node under the eyes of a person or a program: bars, lines, events, and when it is over.
//!
//! What is transferred is the verb's business; here every transfer is followed from its start to its end.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use node::{
    AddError, Event, Node, Options, Place, Problem, ProblemKind, Source, StartError, Status,
    TorrentId,
};
use serde_json::{Value, json};
use swarm::State;
use torrent::hex;
use torrent::ids::InfoHashes;
use torrent::magnet::Magnet;
use torrent::metainfo::{Info, Metainfo};

use crate::Context;
use crate::console::clean;
use crate::exit::{Exit, Failure, sentence};
use crate::network::NetworkFlags;
use crate::units::{Clock, Size, count};

/// How often bars move, and Ctrl-C is looked for.
const TICK: Duration = Duration::from_millis(200);

/// How often programs hear of progress.
const REPORT: Duration = Duration::from_secs(1);

/// Bars drawn one under another; further transfers are only counted.
const BARS: usize = 12;

/// Letters of a name before its bar.
const NAME_WIDTH: usize = 28;

/// A node and the transfers in it.
pub struct Watch<'a> {
    context: &'a Context,
    node: Node,
    events: Receiver<Event>,
    transfers: BTreeMap<TorrentId, Transfer>,
    /// One line for all that are only served.
    serving: Option<ProgressBar>,
    began: Instant,
    reported: Instant,
}

/// One transfer.
struct Transfer {
    name: String,
    place: Place,
    info: Option<Arc<Info>>,
    magnet: Option<String>,
    /// The torrent file, where there is one.
    torrent: Option<PathBuf>,
    /// Only to be served: it must be whole, or it fails.
    seed: bool,
    phase: Phase,
    bar: Option<ProgressBar>,
    began: Instant,
    /// When it last had a peer, or did not need one.
    met: Instant,
    /// The last progress told, to tell only news.
    told: String,
}

#[derive(Debug, PartialEq, Eq)]
enum Phase {
    Running,
    /// Complete, verified, on disk.
    Done,
    Failed(Failure),
}

impl<'a> Watch<'a> {
    /// Starts a node.
    pub fn start(context: &'a Context, flags: &NetworkFlags) -> Result<Watch<'a>, Failure> {
        let mut node = Node::start(flags.config()?).map_err(|error| {
            let source = match &error {
                StartError::Listen { source, .. }
                | StartError::State { source, .. }
                | StartError::System(source) => source,
            };
            let exit = match source.kind() {
                std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
                    Exit::Permission
                }
                std::io::ErrorKind::StorageFull => Exit::NoSpace,
                _ => Exit::Other,
            };
            Failure::new(exit, sentence(&error.to_string()))
        })?;
        let events = node
            .events()
            .expect("nobody has taken the events of a new node");
        let addr = node.listening();
        context
            .console
            .event(&json!({ "event": "listening", "addr": addr.to_string(), "port": addr.port() }));
        let now = Instant::now();
        Ok(Watch {
            context,
            node,
            events,
            transfers: BTreeMap::new(),
            serving: None,
            began: now,
            reported: now,
        })
    }

    /// Begins a transfer that is called `name` until more is known.
    pub fn add(
        &mut self,
        name: &str,
        source: Source,
        options: Options,
        torrent: Option<PathBuf>,
    ) -> Result<(), Failure> {
        let (place, seed, whole) = (
            options.place.clone(),
            options.read_only,
            options.assume_complete,
        );
        let (info, magnet) = match &source {
            Source::Metainfo(metainfo) => (
                Some(Arc::new(metainfo.info.clone())),
                Some(Magnet::of(metainfo).to_string()),
            ),
            Source::Magnet(magnet) => (None, Some(magnet.to_string())),
            Source::Hash(hashes) => (None, Some(Magnet::of_hashes(*hashes).to_string())),
        };
        let id = self
            .node
            .add(source, options)
            .map_err(|error| match error {
                AddError::Place(problem) => failure_of(&problem),
                AddError::Twice(_) | AddError::Nameless => {
                    Failure::usage(sentence(&error.to_string()))
                }
                AddError::Stopped => Failure::new(Exit::Other, "The node has stopped. Try again."),
            })?;
        let now = Instant::now();
        let few = self.transfers.len() < BARS && self.context.console.is_live();
        let bar = (few && !(seed && whole)).then(|| self.context.console.bar(1));
        let transfer = Transfer {
            name: name.to_owned(),
            place,
            info,
            magnet,
            torrent,
            seed,
            phase: Phase::Running,
            bar,
            began: now,
            met: now,
            told: String::new(),
        };
        let transfer = self.transfers.entry(id).or_insert(transfer);
        if seed && whole {
            transfer.phase = Phase::Done;
            serve(self.context, transfer);
        }
        Ok(())
    }

    /// Follows all transfers until each is complete or has failed; then answers the first failure, if any. A
    /// transfer that meets no peer for `patience` fails; zero is for ever.
    pub fn until_complete(&mut self, patience: Duration) -> Result<(), Failure> {
        self.follow(patience, |transfer| transfer.phase == Phase::Running)
    }

    /// Goes on serving all that is complete until Ctrl-C.
    pub fn serve(&mut self) -> Result<(), Failure> {
        for transfer in self
            .transfers
            .values_mut()
            .filter(|transfer| !transfer.seed && transfer.phase == Phase::Done)
        {
            serve(self.context, transfer);
        }
        if self.context.console.is_live() {
            self.serving = Some(self.context.console.spinner());
        }
        self.follow(Duration::ZERO, |transfer| {
            !matches!(transfer.phase, Phase::Failed(_))
        })
    }

    /// Ends the node cleanly. Answers bytes sent.
    pub fn stop(self) -> u64 {
        let sent = self
            .transfers
            .keys()
            .filter_map(|&id| self.node.status(id))
            .map(|status| status.swarm.sent)
            .sum();
        self.node.stop();
        sent
    }

    /// Where everything that is complete lies.
    pub fn roots(&self) -> Vec<PathBuf> {
        self.transfers
            .values()
            .filter(|transfer| transfer.phase == Phase::Done)
            .map(Transfer::root)
            .collect()
    }

    fn follow(
        &mut self,
        patience: Duration,
        lasts: impl Fn(&Transfer) -> bool,
    ) -> Result<(), Failure> {
        let mut next = Instant::now();
        while self.transfers.values().any(&lasts) {
            if self.context.interrupt.is_asked() {
                return Err(Failure::interrupted());
            }
            match self
                .events
                .recv_timeout(next.saturating_duration_since(Instant::now()))
            {
                Ok(event) => self.take(event),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Failure::new(
                        Exit::Other,
                        "The node has ended by itself. What was fetched is kept; try again.",
                    ));
                }
            }
            let now = Instant::now();
            if now >= next {
                next = now + TICK;
                self.look(now, patience);
            }
        }
        let failed = self
            .transfers
            .values()
            .find_map(|transfer| match &transfer.phase {
                Phase::Failed(failure) => Some(failure.clone()),
                _ => None,
            });
        failed.map_or(Ok(()), Err)
    }

    /// One event of the node.
    fn take(&mut self, event: Event) {
        let console = &self.context.console;
        let id = match &event {
            Event::Metadata(id, _)
            | Event::Checked(id, ..)
            | Event::FileFinished(id, _)
            | Event::Finished(id)
            | Event::Paused(id, _)
            | Event::Resumed(id)
            | Event::Failed(id, _)
            | Event::Notice(id, _) => *id,
        };
        let Some(transfer) = self.transfers.get_mut(&id) else {
            return;
        };
        match event {
            Event::Metadata(_, info) => {
                transfer.name = info.name().to_owned();
                if transfer.info.is_none() {
                    let files = info.files().filter(|file| !file.pad).count();
                    console.note(&format!(
                        "{}: {}, {}",
                        info.name(),
                        count(files, "file"),
                        Size(info.layout().payload())
                    ));
                }
                transfer.info = Some(info);
            }
            Event::Checked(_, have, of) if transfer.seed => {
                if have == of {
                    transfer.phase = Phase::Done;
                    serve(self.context, transfer);
                } else {
                    fail(self.context, transfer, incomplete(transfer, have, of));
                }
            }
            Event::Checked(_, have, of) => {
                console.note(&format!(
                    "{}: {have} of {} are here already",
                    transfer.name,
                    count(of as usize, "piece")
                ));
            }
            Event::FileFinished(_, index) => tell_file(self.context, transfer, index),
            Event::Finished(_) if transfer.seed => {}
            Event::Finished(_) => {
                let status = self.node.status(id);
                transfer.phase = Phase::Done;
                finish(self.context, transfer, status.as_ref());
            }
            Event::Paused(_, problem) => {
                console.event(&json!({
                    "event": "paused",
                    "name": transfer.name,
                    "code": failure_of(&problem).exit.name(),
                    "message": problem.message,
                }));
                // A full disk can be helped while this waits; the rest needs the person, and nothing is lost.
                if problem.kind == ProblemKind::NoSpace
                    || transfer.seed && transfer.phase == Phase::Done
                {
                    let goes_on = if problem.kind == ProblemKind::NoSpace {
                        " It goes on when there is room."
                    } else {
                        ""
                    };
                    console.warn(&format!(
                        "{}: {}{goes_on}",
                        transfer.name,
                        sentence(&problem.message)
                    ));
                } else {
                    fail(self.context, transfer, failure_of(&problem));
                }
            }
            Event::Resumed(_) => {
                console.event(&json!({ "event": "resumed", "name": transfer.name }));
                console.note(&format!("{} goes on", transfer.name));
            }
            Event::Failed(_, problem) => fail(self.context, transfer, failure_of(&problem)),
            Event::Notice(_, text) => {
                console
                    .event(&json!({ "event": "notice", "name": transfer.name, "message": text }));
                console.note(&clean(&format!("{}: {text}", transfer.name)));
            }
        }
    }

    /// Moves bars, tells progress, and gives up on what nobody has.
    fn look(&mut self, now: Instant, patience: Duration) {
        let console = &self.context.console;
        let report = console.is_json() && now.duration_since(self.reported) >= REPORT;
        if report {
            self.reported = now;
        }
        if !report && !console.is_live() && patience.is_zero() {
            return;
        }
        let (mut peers, mut rate_up, mut sent) = (0, 0, 0);
        for (&id, transfer) in &mut self.transfers {
            if matches!(transfer.phase, Phase::Failed(_)) {
                continue;
            }
            let Some(status) = self.node.status(id) else {
                continue;
            };
            peers += status.swarm.peers;
            rate_up += status.swarm.rate_up;
            sent += status.swarm.sent;
            if report {
                transfer.tell_progress(self.context, &status);
            }
            if transfer.phase != Phase::Running {
                continue;
            }
            if let Some(bar) = &transfer.bar {
                draw(
                    bar,
                    &transfer.name,
                    &status,
                    now.duration_since(transfer.met),
                );
            }
            let waits = matches!(status.swarm.state, State::Metadata | State::Downloading)
                && status.swarm.peers == 0;
            if !waits {
                transfer.met = now;
            } else if !patience.is_zero() && now.duration_since(transfer.met) >= patience {
                fail(self.context, transfer, lonely(transfer, &status, patience));
            }
        }
        if let Some(line) = &self.serving {
            line.set_prefix("serving");
            line.set_message(format!(
                "{}, {}/s up, {} sent in {}",
                count(peers, "peer"),
                Size(rate_up),
                Size(sent),
                Clock(now.duration_since(self.began)),
            ));
        }
    }
}

impl Transfer {
    /// Where it lies, or will.
    fn root(&self) -> PathBuf {
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

    fn tell_progress(&mut self, context: &Context, status: &Status) {
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
}

/// Tells that a transfer is served from now on.
fn serve(context: &Context, transfer: &Transfer) {
    if let Some(bar) = &transfer.bar {
        bar.finish_and_clear();
    }
    let Some(info) = &transfer.info else { return };
    let mut event = json!({
        "event": "seeding",
        "name": transfer.name,
        "files": info.files().filter(|file| !file.pad).count(),
        "bytes": info.layout().payload(),
        "magnet": transfer.magnet,
    });
    put_hashes(&mut event, &info.hashes());
    if let Some(torrent) = &transfer.torrent {
        event["torrent"] = json!(torrent.display().to_string());
    }
    context.console.event(&event);
    if transfer.seed
        && let Some(magnet) = &transfer.magnet
    {
        context.console.link(magnet);
    }
}

/// Tells that a transfer is complete, verified and on disk.
fn finish(context: &Context, transfer: &mut Transfer, status: Option<&Status>) {
    let (bytes, seconds) = (
        status.map_or(0, |status| status.swarm.wanted),
        transfer.began.elapsed(),
    );
    if let Some(status) = status {
        transfer.tell_progress(context, status);
    }
    if let Some(bar) = transfer.bar.take() {
        bar.finish_and_clear();
    }
    let received = status.map_or(0, |status| status.swarm.received);
    let how = if received == 0 {
        "was all here already".to_owned()
    } else {
        let rate = (received as f64 / seconds.as_secs_f64().max(0.001)) as u64;
        format!("{} in {}, {}/s", Size(bytes), Clock(seconds), Size(rate))
    };
    context
        .console
        .note(&format!("{}: {how}, verified", transfer.name));
    context.console.event(&json!({
        "event": "done",
        "name": transfer.name,
        "path": transfer.root().display().to_string(),
        "bytes": bytes,
        "seconds": seconds.as_secs_f64(),
    }));
}

/// Ends a transfer that cannot go on; the others do.
fn fail(context: &Context, transfer: &mut Transfer, failure: Failure) {
    if let Some(bar) = transfer.bar.take() {
        bar.finish_and_clear();
    }
    transfer.phase = Phase::Failed(context.console.failure(failure));
}

/// A line for a file of a folder, on a terminal, and an event for programs.
fn tell_file(context: &Context, transfer: &Transfer, index: usize) {
    let Some(info) = &transfer.info else { return };
    let file = info.file(index);
    if file.pad || transfer.seed {
        return;
    }
    context.console.event(
        &json!({ "event": "file", "name": transfer.name, "path": file.path(), "bytes": file.len }),
    );
    if context.console.is_live() && !info.is_single_file() {
        context
            .console
            .note(&format!("✓ {}  {}", file.path(), Size(file.len)));
    }
}

/// A transfer's line: how far, how fast, from how many, how long; or what is being tried.
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
    let trying = || {
        let tried = if status.finding.is_empty() {
            String::new()
        } else {
            format!(": {}", status.finding.join(", "))
        };
        format!("looking for peers for {}{tried}", Clock(alone))
    };
    bar.set_message(match &swarm.state {
        _ if status.checking.is_some() => format!("{percent} %  checking what is here"),
        State::Paused(_) => "paused".to_owned(),
        State::Metadata | State::Downloading if swarm.peers == 0 && swarm.known == 0 => trying(),
        State::Metadata | State::Downloading if swarm.peers == 0 => {
            format!("{percent} %  dialling {}", count(swarm.known, "peer"))
        }
        State::Metadata => format!("asking {} what it is", count(swarm.peers, "peer")),
        State::Checking => "checking what is here".to_owned(),
        State::Downloading | State::Seeding => {
            let eta = status.eta.map_or(String::new(), |eta| {
                format!("  {} left", Clock(Duration::from_secs(eta)))
            });
            format!(
                "{percent} %  {} of {}  {}/s  {}{eta}",
                Size(done),
                Size(total),
                Size(swarm.rate_down),
                count(swarm.peers, "source"),
            )
        }
    });
}

fn put_hashes(event: &mut Value, hashes: &InfoHashes) {
    if let Some(v1) = hashes.v1 {
        event["info_hash_v1"] = json!(hex::encode(&v1));
    }
    if let Some(v2) = hashes.v2 {
        event["info_hash_v2"] = json!(hex::encode(&v2));
    }
}

fn failure_of(problem: &Problem) -> Failure {
    let exit = match problem.kind {
        ProblemKind::NoSpace => Exit::NoSpace,
        ProblemKind::Permission => Exit::Permission,
        ProblemKind::NotFound => Exit::NotFound,
        ProblemKind::Damaged => Exit::Verification,
        ProblemKind::Other => Exit::Other,
    };
    Failure::new(exit, sentence(&problem.message))
}

/// Data that was to be served is not what the torrent says.
fn incomplete(transfer: &Transfer, have: u32, of: u32) -> Failure {
    let root = transfer.root();
    let torrent = transfer
        .torrent
        .as_deref()
        .unwrap_or(Path::new("TORRENT"))
        .display();
    Failure::new(
        Exit::Verification,
        format!(
            "{} is not what the torrent says: {} of {} are right. `starling verify {torrent} {}` names what is wrong, and \
             `starling get {torrent} -o {}` fetches it.",
            root.display(),
            have,
            count(of as usize, "piece"),
            root.display(),
            root.parent()
                .filter(|parent| !parent.as_os_str().is_empty())
                .unwrap_or(Path::new("."))
                .display(),
        ),
    )
}

/// Nobody was met.
fn lonely(transfer: &Transfer, status: &Status, patience: Duration) -> Failure {
    let tried = match &status.finding[..] {
        [] => "no way to find peers is left on".to_owned(),
        tried => format!("tried: {}", tried.join(", ")),
    };
    Failure::new(
        Exit::NoPeers,
        format!(
            "Nobody who has {} was found in {} ({tried}). Try later, name somebody who has it with --peer, or wait longer \
             with --timeout.",
            clean(&transfer.name),
            Clock(patience),
        ),
    )
}

/// A torrent file kept for later.
pub fn kept_name(metainfo: &Metainfo) -> String {
    format!("{}.torrent", metainfo.info.hashes())
}
