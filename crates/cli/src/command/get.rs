//! `starling get`: from a link or torrent to files.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::FalseyValueParser;
use node::{Options, Place};

use crate::Context;
use crate::exit::{Exit, Failure};
use crate::network::{NetworkFlags, WebSeedFlags};
use crate::source;
use crate::units::parse_seconds;
use crate::watch::{Stage, Watch};

const EXAMPLES: &str = "\
Examples:
  starling get 'magnet:?xt=urn:btih:…' -o ~/Downloads
  starling get album.torrent film.torrent           several at once
  starling get http://host/album.torrent --select '*.flac'
  starling get c9e15763f722f23e98a29decdfae341b98d53056 --peer 10.0.0.5:6881

Ends when everything is complete, verified and on disk; the last line on stdout says where.
Stop it at any time: the same command goes on where it was.
If a daemon runs for this home, it does the work and serves what is complete.";

/// Fetch files or folders, from all who have them at once.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Get {
    /// Magnet links, torrent files or their URLs, or bare info-hashes.
    #[arg(required = true, value_name = "SOURCE")]
    sources: Vec<String>,
    /// The folder it goes to.
    #[arg(
        long,
        short = 'o',
        value_name = "DIR",
        env = "STARLING_DIR",
        default_value = "."
    )]
    dir: PathBuf,
    /// Fetch only files whose path or name matches, such as '*.flac' or 'disc 2/**'; can be given several times.
    #[arg(
        long,
        value_name = "GLOB",
        env = "STARLING_SELECT",
        value_delimiter = '\n'
    )]
    select: Vec<String>,
    /// Go on serving when it is complete, until Ctrl-C.
    #[arg(long, env = "STARLING_SEED", value_parser = FalseyValueParser::new())]
    seed: bool,
    /// Give up when no peer has been there for so long, such as 30s or 5m; 0 waits for ever.
    #[arg(long, value_name = "TIME", env = "STARLING_TIMEOUT", value_parser = parse_seconds, default_value = "0")]
    timeout: Duration,
    /// Reserve the space on disk before fetching.
    #[arg(long, env = "STARLING_PREALLOCATE", value_parser = FalseyValueParser::new())]
    preallocate: bool,
    #[command(flatten)]
    network: NetworkFlags,
    #[command(flatten)]
    web: WebSeedFlags,
}

impl Get {
    pub fn run(self, context: &Context) -> Result<(), Failure> {
        // What is wrong with the command is said before anything begins.
        let pasted = self
            .sources
            .iter()
            .map(|source| source::recognise(source))
            .collect::<Result<Vec<_>, _>>()?;
        let peers = self.network.peers()?;
        let web_seeds = self.web.urls()?;
        let stage = Stage::choose(context, &self.network)?;
        let daemon = stage.is_daemon();
        let select: Vec<String> = self
            .select
            .iter()
            .filter(|glob| !glob.is_empty())
            .cloned()
            .collect();
        let sources = pasted
            .into_iter()
            .map(|pasted| source::known(context, pasted, || self.network.egress()))
            .collect::<Result<Vec<_>, _>>()?;
        self.make_dir()?;

        let mut watch = Watch::start(context, stage, &self.network, self.seed)?;
        let mut refused = None;
        for source in sources {
            let options = Options {
                select: select.clone(),
                preallocate: self.preallocate,
                peers: peers.clone(),
                web_seeds: web_seeds.clone(),
                ..Options::new(Place::Into(self.dir.clone()))
            };
            if let Err(failure) = watch.add(source, options, None) {
                refused.get_or_insert(context.console.failure(failure));
            }
        }
        let ended = watch.until_complete(self.timeout);
        let roots = watch.roots();
        let ended = match ended {
            Err(failure) if failure.exit == Exit::Interrupted => Err(failure),
            ended if self.seed && !roots.is_empty() => {
                roots.iter().for_each(|root| context.console.result(root));
                context.console.note("serving it from now on; Ctrl-C ends");
                watch.serve().and(ended)
            }
            ended => {
                if daemon && !roots.is_empty() {
                    context
                        .console
                        .note("the daemon goes on serving it; `starling list` shows how");
                }
                roots.iter().for_each(|root| context.console.result(root));
                ended
            }
        };
        watch.stop();
        let lonely = |failure: &Failure| failure.exit == Exit::NoPeers;
        if daemon && ended.as_ref().is_err_and(lonely) {
            context.console.note("the daemon goes on looking for peers");
        }
        match (ended, refused) {
            (Err(failure), _) if failure.exit == Exit::Interrupted => Err(Failure::new(
                Exit::Interrupted,
                if daemon {
                    "Interrupted. The daemon goes on with it: `starling list` shows how, `starling pause` and \
                     `starling forget` stop it."
                } else {
                    "Interrupted. What was fetched is kept; the same command goes on with it."
                },
            )),
            (_, Some(refused)) => Err(refused),
            (ended, None) => ended,
        }
    }

    fn make_dir(&self) -> Result<(), Failure> {
        if self.dir.exists() && !self.dir.is_dir() {
            return Err(Failure::usage(format!(
                "{} is no folder. Give one that the files go into.",
                self.dir.display()
            )));
        }
        fs::create_dir_all(&self.dir)
            .map_err(|error| Failure::io(&error, "make the folder", &self.dir))
    }
}
