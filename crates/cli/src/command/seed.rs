//! `starling seed`: give a file or folder to the world. Nothing is shared before the person has seen what.

use std::path::{Path, PathBuf};

use clap::builder::FalseyValueParser;
use node::{Options, Place, Source};
use serde_json::json;
use torrent::metainfo::Metainfo;

use super::create::may_write;
use super::verify::content_root;
use crate::Context;
use crate::authoring::{Draft, Hashed, TorrentFlags, second_output, write_torrent};
use crate::exit::{Exit, Failure};
use crate::network::NetworkFlags;
use crate::source;
use crate::units::{Size, count};
use crate::watch::{Stage, Watch};

const EXAMPLES: &str = "\
Examples:
  starling seed ./album                     share a folder; prints its magnet link
  starling seed film.mkv --tracker https://tracker.example/announce
  starling seed album.torrent ./album       serve what you have of an existing torrent
  starling seed a.torrent ./a b.torrent ./b ./c

Serves until Ctrl-C; if a daemon runs for this home, it goes on. Nothing is written into what is shared; the torrent file is kept in
STARLING_HOME, and --torrent-out writes it where you like.";

/// Share a file or folder with everybody: public, to whoever has the link or finds it.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Seed {
    /// Files or folders to share; or a torrent file, and behind it the content it describes.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Do not check content that is served under an existing torrent.
    #[arg(long, env = "STARLING_ASSUME_COMPLETE", value_parser = FalseyValueParser::new())]
    assume_complete: bool,
    /// While nobody else has everything, show each peer one piece at a time, so that little is sent twice.
    #[arg(long, env = "STARLING_SUPER_SEED", value_parser = FalseyValueParser::new())]
    super_seed: bool,
    /// Write the torrent file here as well.
    #[arg(long, value_name = "FILE", env = "STARLING_TORRENT_OUT")]
    torrent_out: Option<PathBuf>,
    #[command(flatten)]
    torrent: TorrentFlags,
    #[command(flatten)]
    network: NetworkFlags,
}

/// One thing to serve.
enum Job {
    /// It has no torrent yet.
    New(Draft),
    /// It is what this torrent describes.
    Existing {
        metainfo: Box<Metainfo>,
        torrent: PathBuf,
        root: PathBuf,
    },
}

impl Seed {
    pub fn run(self, context: &Context) -> Result<(), Failure> {
        let jobs = self.jobs()?;
        let (home, peers) = (self.network.home()?, self.network.peers()?);
        let stage = Stage::choose(context, &self.network)?;
        let daemon = stage.is_daemon();
        if let Some(output) = &self.torrent_out {
            may_write(output)?;
        }
        self.review(context, &jobs)?;

        let mut ready = Vec::new();
        for job in jobs {
            match job {
                Job::Existing {
                    metainfo,
                    torrent,
                    root,
                } => ready.push((metainfo, torrent, root, self.assume_complete, Vec::new())),
                Job::New(draft) => {
                    let root = draft.root().to_owned();
                    let made = draft.hash(context, &self.torrent)?;
                    for (number, Hashed { metainfo, known }) in [Some(made.first), made.v2]
                        .into_iter()
                        .flatten()
                        .enumerate()
                    {
                        let torrent = self.keep(&home, daemon, &metainfo, number)?;
                        ready.push((Box::new(metainfo), torrent, root.clone(), true, known));
                    }
                }
            }
        }
        let mut watch = Watch::start(context, stage, &self.network, true)?;
        context.console.note(if daemon {
            "the daemon serves it; Ctrl-C ends this view. To fetch it elsewhere: starling get LINK"
        } else {
            "serving until Ctrl-C; to fetch it elsewhere: starling get LINK"
        });
        for (metainfo, torrent, root, assume_complete, known) in ready {
            let options = Options {
                assume_complete,
                known,
                read_only: true,
                super_seed: self.super_seed,
                peers: peers.clone(),
                ..Options::new(Place::At(root))
            };
            watch.add(Source::Metainfo(metainfo), options, Some(torrent))?;
        }
        let ended = watch.serve();
        let sent = watch.stop();
        ended.map_err(|failure| match failure.exit {
            Exit::Interrupted => Failure::new(
                Exit::Interrupted,
                if daemon {
                    format!(
                        "{} sent; the daemon goes on sharing it. `starling forget` ends that.",
                        Size(sent)
                    )
                } else {
                    format!("Sharing has ended; {} sent.", Size(sent))
                },
            ),
            _ => failure,
        })
    }

    /// Pairs torrents with their content.
    fn jobs(&self) -> Result<Vec<Job>, Failure> {
        let mut jobs = Vec::new();
        let mut paths = self.paths.iter().peekable();
        while let Some(path) = paths.next() {
            if !is_torrent(path) {
                jobs.push(Job::New(Draft::scan(path)?));
                continue;
            }
            let metainfo = Box::new(source::read_torrent(path)?);
            let content = paths
                .next_if(|next| !is_torrent(next))
                .map_or(Path::new("."), PathBuf::as_path);
            let root = content_root(&metainfo.info, content);
            if !root.exists() {
                return Err(Failure::new(
                    Exit::NotFound,
                    format!(
                        "{} is not there. Name the content of {} behind it.",
                        root.display(),
                        path.display()
                    ),
                ));
            }
            jobs.push(Job::Existing {
                metainfo,
                torrent: path.clone(),
                root,
            });
        }
        let new = jobs.iter().filter(|job| matches!(job, Job::New(_))).count();
        let told =
            |flag: &str, what: &str| Err(Failure::usage(format!("{flag} {what}. Leave it out.")));
        match new {
            0 if self.torrent.any() => told(
                "A flag for new torrents",
                "does not go with existing ones, which stay as they are",
            ),
            0 if self.torrent_out.is_some() => {
                told("--torrent-out", "does not go with torrents that exist")
            }
            2.. if self.torrent_out.is_some() => told(
                "--torrent-out",
                "is for one new torrent, and these are several",
            ),
            _ => Ok(jobs),
        }
    }

    /// Keeps a new torrent in the home folder and, if asked, elsewhere. Answers the latter or else the former. A
    /// daemon keeps those it is given, under the same name.
    fn keep(
        &self,
        home: &Path,
        daemon: bool,
        metainfo: &Metainfo,
        number: usize,
    ) -> Result<PathBuf, Failure> {
        let dir = home.join("torrents");
        std::fs::create_dir_all(&dir)
            .map_err(|error| Failure::io(&error, "make the folder", &dir))?;
        let kept = dir.join(format!("{}.torrent", metainfo.info.hashes()));
        if !daemon {
            write_torrent(&kept, metainfo)?;
        }
        let Some(first) = &self.torrent_out else {
            return Ok(kept);
        };
        let output = if number == 0 {
            first.clone()
        } else {
            second_output(first)
        };
        write_torrent(&output, metainfo)?;
        Ok(output)
    }

    /// Shows what will be shared and that it is public, and asks.
    fn review(&self, context: &Context, jobs: &[Job]) -> Result<(), Failure> {
        let console = &context.console;
        let private = |job: &Job| match job {
            Job::New(_) => self.torrent.private(),
            Job::Existing { metainfo, .. } => metainfo.info.private(),
        };
        let audience = if jobs.iter().all(private) {
            "with everybody its tracker lets in"
        } else {
            "with everybody: it is PUBLIC, and who fetches it sees this computer's address"
        };
        console.note(&format!("This will be shared {audience}:"));
        let mut all_secrets = Vec::new();
        for job in jobs {
            let (mut secrets, mut warnings) = (Vec::new(), Vec::new());
            let (name, files, bytes, root) = match job {
                Job::New(draft) => {
                    secrets = draft.secrets();
                    warnings.extend(
                        draft
                            .hidden()
                            .into_iter()
                            .map(|hidden| format!("{hidden}; it will be shared")),
                    );
                    warnings.extend(draft.skipped());
                    (draft.name(), draft.size().0, draft.size().1, draft.root())
                }
                Job::Existing { metainfo, root, .. } => {
                    let files = metainfo.info.files().filter(|file| !file.pad).count();
                    (
                        metainfo.info.name(),
                        files,
                        metainfo.info.layout().payload(),
                        root.as_path(),
                    )
                }
            };
            console.note(&format!(
                "  {name}  {}, {}  {}",
                count(files, "file"),
                Size(bytes),
                root.display()
            ));
            console.event(&json!({
                "event": "sharing",
                "name": name,
                "path": root.display().to_string(),
                "files": files,
                "bytes": bytes,
                "public": !private(job),
                "secrets": secrets,
                "warnings": warnings,
            }));
            for warning in warnings.iter().chain(&secrets) {
                console.warn(warning);
            }
            all_secrets.append(&mut secrets);
        }
        let secrets = all_secrets;
        if context.yes {
            return Ok(());
        }
        if console.can_ask() {
            let question = if secrets.is_empty() {
                "Share it?"
            } else {
                "Share it with these secrets in it?"
            };
            let agreed = console.confirm(question, secrets.is_empty());
            return if agreed {
                Ok(())
            } else {
                Err(Failure::usage("Nothing was shared."))
            };
        }
        if secrets.is_empty() {
            return Ok(());
        }
        Err(Failure::usage(format!(
            "Nothing was shared, because it seems to hold secrets: {}. Take them out, or say --yes if everybody may have them.",
            secrets.join("; "),
        )))
    }
}

/// By its name; what else it may be is found out when it is read.
fn is_torrent(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case("torrent"))
        && path.is_file()
}
