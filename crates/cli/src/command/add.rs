//! `starling add`: something more for the daemon to fetch.

use std::path::PathBuf;

use api::{Add as Request, AddOptions, Limits};

use super::orders::said;
use super::relocate::whole;
use crate::Context;
use crate::command::reuse;
use crate::exit::Failure;
use crate::goals::{GoalFlags, OwnLimits};
use crate::network::{PeerFlags, WebSeedFlags};
use crate::paths::HomeFlag;
use crate::remote::Remote;
use crate::source;
use crate::which;

const EXAMPLES: &str = "\
Examples:
  starling add 'magnet:?xt=urn:btih:…' album.torrent
  starling add film.torrent -o ~/Films --select '*.mkv' --sequential
  starling add album.torrent --label music --paused

Answers at once; `starling list` shows how it goes on. The last line on stdout is its number.";

/// Give the daemon something to fetch.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Add {
    /// Magnet links, torrent files or their URLs, or bare info-hashes.
    #[arg(required = true, value_name = "SOURCE")]
    sources: Vec<String>,
    /// The folder it goes to; by default that of the label or of the settings.
    #[arg(long, short = 'o', value_name = "DIR", env = "STARLING_DIR")]
    dir: Option<PathBuf>,
    /// Its label, which must exist.
    #[arg(long, value_name = "NAME")]
    label: Option<String>,
    /// Words to put on it; can be given several times.
    #[arg(long = "tag", value_name = "WORD")]
    tags: Vec<String>,
    /// Fetch only files whose path or name matches, such as '*.flac' or 'disc 2/**'; can be given several times.
    #[arg(
        long,
        value_name = "GLOB",
        env = "STARLING_SELECT",
        value_delimiter = '\n'
    )]
    select: Vec<String>,
    /// Do not start it.
    #[arg(long)]
    paused: bool,
    /// Fetch pieces in order.
    #[arg(long)]
    sequential: bool,
    /// While nobody else has everything, show each peer one piece at a time, so that little is sent twice.
    #[arg(long)]
    super_seed: bool,
    /// Reserve the space on disk before fetching.
    #[arg(long)]
    preallocate: bool,
    /// Copy the files that other transfers have already, instead of fetching them.
    #[arg(long)]
    reuse: bool,
    #[command(flatten)]
    limits: OwnLimits,
    #[command(flatten)]
    goals: GoalFlags,
    #[command(flatten)]
    peers: PeerFlags,
    #[command(flatten)]
    web: WebSeedFlags,
    #[command(flatten)]
    home: HomeFlag,
}

impl Add {
    pub fn run(self, context: &Context) -> Result<(), Failure> {
        let pasted = self
            .sources
            .iter()
            .map(|source| source::recognise(source))
            .collect::<Result<Vec<_>, _>>()?;
        let remote = Remote::need(context, &self.home)?;
        let addresses_only = remote.status.network.proxy_required;
        let options = AddOptions {
            folder: self.dir.as_deref().map(whole).transpose()?,
            label: self.label,
            tags: self.tags,
            select: self
                .select
                .into_iter()
                .filter(|glob| !glob.is_empty())
                .collect(),
            paused: self.paused,
            sequential: self.sequential,
            super_seed: self.super_seed,
            preallocate: self.preallocate,
            peers: self
                .peers
                .look_up(addresses_only)?
                .iter()
                .map(ToString::to_string)
                .collect(),
            web_seeds: self.web.urls()?,
            limits: self.limits.over(Limits::default()).unwrap_or_default(),
            goals: self.goals.over(None),
            ..AddOptions::default()
        };
        which::each(context, pasted, |pasted| {
            let add = Request {
                source: source::for_daemon(context, pasted)?,
                options: options.clone(),
            };
            let row = remote.ask(remote.client().add(add))?;
            which::tell(context, "transfer", &row);
            context.console.note(&said(&row));
            let found = remote.ask(remote.client().reusable(row.id))?;
            reuse::tell(context, row.id, &found);
            if found.files > 0 && self.reuse {
                reuse::take(context, &remote, row.id)?;
            } else if found.files > 0 {
                let hint = format!(
                    "`starling reuse {}` copies them instead of fetching them",
                    row.id
                );
                context.console.note(&hint);
            }
            context.console.result(row.id.to_string());
            Ok(())
        })
    }
}
