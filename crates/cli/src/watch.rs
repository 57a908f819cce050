//! A running node under the eyes of a person or a program, until it is over.
//!
//! Here is the loop: the node's events, the passing of time, Ctrl-C. What is known and told of a single
//! transfer is in [`transfer`]; which transfers there are is the verb's business.

mod transfer;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use node::{AddError, Event, Node, Options, Source, StartError, TorrentId};
use serde_json::json;

use crate::Context;
use crate::exit::{Exit, Failure, sentence};
use crate::network::NetworkFlags;
use crate::units::{Clock, Size, count};
use transfer::{Phase, Transfer, failure_of};

/// How often bars move, and Ctrl-C is looked for.
const TICK: Duration = Duration::from_millis(200);

/// How often programs hear of progress.
const REPORT: Duration = Duration::from_secs(1);

/// Bars drawn one under another; further transfers have none.
const BARS: usize = 12;

/// A node and the transfers in it.
pub struct Watch<'a> {
    context: &'a Context,
    node: Node,
    events: Receiver<Event>,
    transfers: BTreeMap<TorrentId, Transfer>,
    /// What is complete is served on.
    stay: bool,
    /// One line for all that are served.
    serving: Option<ProgressBar>,
    began: Instant,
    reported: Instant,
}

impl<'a> Watch<'a> {
    /// Starts a node. With `stay`, what is complete is served on.
    pub fn start(
        context: &'a Context,
        flags: &NetworkFlags,
        stay: bool,
    ) -> Result<Watch<'a>, Failure> {
        let mut node = Node::start(flags.config()?).map_err(refused)?;
        let events = node
            .events()
            .expect("nobody has taken the events of a new node");
        let addr = node.listening();
        let listening =
            json!({ "event": "listening", "addr": addr.to_string(), "port": addr.port() });
        context.console.event(&listening);
        let now = Instant::now();
        Ok(Watch {
            context,
            node,
            events,
            transfers: BTreeMap::new(),
            stay,
            serving: None,
            began: now,
            reported: now,
        })
    }

    /// Begins a transfer. `torrent` is the file that describes it, if it is known.
    pub fn add(
        &mut self,
        source: Source,
        options: Options,
        torrent: Option<PathBuf>,
    ) -> Result<(), Failure> {
        let served_at_once = options.read_only && options.assume_complete;
        let drawn = self.transfers.len() < BARS && self.context.console.is_live();
        let mut transfer = Transfer::new(&source, &options, torrent);
        transfer.pictured = self.transfers.is_empty();
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
        if served_at_once {
            transfer.serve(self.context);
        } else if drawn {
            transfer.bar = Some(self.context.console.bar(1));
        }
        self.transfers.insert(id, transfer);
        Ok(())
    }

    /// Follows all transfers until each is complete or has failed; then answers the first failure, if any.
    /// A transfer that meets no peer for `patience` fails; zero is for ever.
    pub fn until_complete(&mut self, patience: Duration) -> Result<(), Failure> {
        self.follow(patience, |transfer| transfer.phase == Phase::Running)
    }

    /// Serves all that is complete until Ctrl-C, or until all have failed.
    pub fn serve(&mut self) -> Result<(), Failure> {
        if self.context.console.is_live() {
            self.serving = Some(self.context.console.spinner());
        }
        self.follow(Duration::ZERO, |transfer| {
            !matches!(transfer.phase, Phase::Failed(_))
        })
    }

    /// Ends the node cleanly. Answers how many bytes it sent.
    pub fn stop(self) -> u64 {
        let statuses = self.transfers.keys().filter_map(|&id| self.node.status(id));
        let sent = statuses.map(|status| status.swarm.sent).sum();
        self.node.stop();
        sent
    }

    /// Where everything that is complete lies.
    pub fn roots(&self) -> Vec<PathBuf> {
        let complete = self
            .transfers
            .values()
            .filter(|transfer| transfer.phase == Phase::Done);
        complete.map(Transfer::root).collect()
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
            let wait = next.saturating_duration_since(Instant::now());
            match self.events.recv_timeout(wait) {
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
        let failed = |transfer: &Transfer| match &transfer.phase {
            Phase::Failed(failure) => Some(failure.clone()),
            _ => None,
        };
        self.transfers.values().find_map(failed).map_or(Ok(()), Err)
    }

    /// One event of the node.
    fn take(&mut self, event: Event) {
        let (Event::Metadata(id, _)
        | Event::Checked(id, ..)
        | Event::FileFinished(id, _)
        | Event::Finished(id)
        | Event::Paused(id, _)
        | Event::Resumed(id)
        | Event::Failed(id, _)
        | Event::Notice(id, _)) = &event
        else {
            return;
        };
        let (id, context) = (*id, self.context);
        let Some(transfer) = self.transfers.get_mut(&id) else {
            return;
        };
        match event {
            Event::Metadata(_, info) => transfer.learn(context, info),
            Event::Checked(_, have, of) => transfer.checked(context, have, of),
            Event::FileFinished(_, index) => transfer.tell_file(context, index),
            // Content that was there from the start is served, not finished.
            Event::Finished(_) if transfer.seed => {}
            Event::Finished(_) => {
                transfer.finish(context, self.node.status(id).as_ref());
                if self.stay {
                    transfer.serve(context);
                }
            }
            Event::Paused(_, problem) => transfer.pause(context, &problem),
            Event::Resumed(_) => transfer.resume(context),
            Event::Failed(_, problem) => transfer.fail(context, failure_of(&problem)),
            Event::Notice(_, text) => transfer.notice(context, &text),
            // Only daemons ask for reports.
            Event::Report(_) => {}
        }
    }

    /// Moves bars, tells progress, and gives up on what nobody has.
    fn look(&mut self, now: Instant, patience: Duration) {
        let console = &self.context.console;
        let report = console.is_json() && now.duration_since(self.reported) >= REPORT;
        if !report && !console.is_live() && patience.is_zero() {
            return;
        }
        if report {
            self.reported = now;
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
            transfer.look(self.context, &status, now, patience);
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

/// Why there is no node.
fn refused(error: StartError) -> Failure {
    let (StartError::Listen { source, .. }
    | StartError::State { source, .. }
    | StartError::System(source)) = &error;
    let exit = match source.kind() {
        std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
            Exit::Permission
        }
        std::io::ErrorKind::StorageFull => Exit::NoSpace,
        _ => Exit::Other,
    };
    Failure::new(exit, sentence(&error.to_string()))
}
