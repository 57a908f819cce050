//! Transfers under the eyes of a person or a program, until it is over.
//!
//! Here is the loop: what happens, the passing of time, Ctrl-C. Where transfers run is a [`Host`]: a node inside this
//! command, or a daemon. What is known and told of a single transfer is in [`transfer`]; which transfers there are is
//! the verb's business.

mod host;
mod inside;
mod outside;
mod transfer;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use node::{Options, Source};
use serde_json::json;

use crate::Context;
use crate::exit::Failure;
use crate::network::NetworkFlags;
use crate::remote::Remote;
use crate::units::{Clock, Size, count};
use host::{Happening, Host, Key};
use inside::Inside;
pub use inside::refused;
use outside::Outside;
use transfer::{Phase, Transfer};

/// How often bars move, and Ctrl-C is looked for.
const TICK: Duration = Duration::from_millis(200);

/// How often programs hear of progress.
const REPORT: Duration = Duration::from_secs(1);

/// Bars drawn one under another; further transfers have none.
const BARS: usize = 12;

/// Where the transfers of a verb are to run.
pub enum Stage<'a> {
    /// In a node of the verb's own.
    Inside,
    /// In the daemon of its home.
    Daemon(Box<Remote<'a>>),
}

impl<'a> Stage<'a> {
    /// The daemon, if one runs and nothing is said against it.
    pub fn choose(context: &'a Context, flags: &NetworkFlags) -> Result<Stage<'a>, Failure> {
        if flags.no_daemon {
            return Ok(Stage::Inside);
        }
        let Some(remote) = Remote::find(context, &flags.home)? else {
            return Ok(Stage::Inside);
        };
        flags.suit_daemon(context, remote.status.pid)?;
        Ok(Stage::Daemon(Box::new(remote)))
    }

    /// Whether it is a daemon.
    pub fn is_daemon(&self) -> bool {
        matches!(self, Stage::Daemon(_))
    }
}

/// A host and the transfers in it that are watched.
pub struct Watch<'a> {
    context: &'a Context,
    host: Box<dyn Host + 'a>,
    transfers: BTreeMap<Key, Transfer>,
    /// What is complete is served on.
    stay: bool,
    /// One line for all that are served.
    serving: Option<ProgressBar>,
    began: Instant,
    reported: Instant,
}

impl<'a> Watch<'a> {
    /// Begins. With `stay`, what is complete is served on.
    pub fn start(
        context: &'a Context,
        stage: Stage<'a>,
        flags: &NetworkFlags,
        stay: bool,
    ) -> Result<Watch<'a>, Failure> {
        let host: Box<dyn Host + 'a> = match stage {
            Stage::Inside => Box::new(Inside::start(flags.config()?)?),
            Stage::Daemon(remote) => {
                let limits = flags.limits.limits();
                Box::new(Outside::new(context, *remote, limits)?)
            }
        };
        if let Some(addr) = host.listening() {
            let listening =
                json!({ "event": "listening", "addr": addr.to_string(), "port": addr.port() });
            context.console.event(&listening);
        }
        let now = Instant::now();
        Ok(Watch {
            context,
            host,
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
        let id = self.host.add(source, options)?;
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

    /// Ends cleanly. Answers how many bytes were sent.
    pub fn stop(mut self) -> u64 {
        for (&key, transfer) in &self.transfers {
            if transfer.seed && matches!(transfer.phase, Phase::Failed(_)) {
                self.host.discard(key);
            }
        }
        self.host.stop()
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
            let happenings = self.host.next(wait)?;
            self.context.console.together(|| {
                for (key, happening) in happenings {
                    self.take(key, happening);
                }
            });
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

    /// Something happened to a transfer.
    fn take(&mut self, key: Key, happening: Happening) {
        let context = self.context;
        let Some(transfer) = self.transfers.get_mut(&key) else {
            return;
        };
        match happening {
            Happening::Learnt(facts) => transfer.learn(context, facts),
            Happening::Checked(have, of) => transfer.checked(context, have, of),
            Happening::File(path, bytes) => transfer.tell_file(context, &path, bytes),
            // Content that was there from the start is served, not finished.
            Happening::Finished if transfer.seed => {}
            Happening::Finished => {
                transfer.finish(context, self.host.look(key).as_ref());
                if self.stay {
                    transfer.serve(context);
                }
            }
            Happening::Paused(failure) => transfer.pause(context, failure),
            Happening::Resumed => transfer.resume(context),
            Happening::Failed(failure) => transfer.fail(context, failure),
            Happening::Notice(text) => transfer.notice(context, &text),
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
            let Some(look) = self.host.look(id) else {
                continue;
            };
            peers += look.peers;
            rate_up += look.rate_up;
            sent += look.sent;
            if report {
                transfer.tell_progress(self.context, &look);
            }
            transfer.look(self.context, &look, now, patience);
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
