//! From a folder to a torrent: what `create` and `seed` have in common.
//!
//! A [`Draft`] knows what would be shared; hashing it makes it a torrent. Which kind and piece length suit it is
//! `torrent::author`'s business, reading and hashing is `store`'s.

use std::fs;
use std::io::Write;
use std::mem::take;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use clap::builder::FalseyValueParser;
use store::Fingerprint;
use store::hasher::{self, HashError};
use store::scan::{Scan, Warning, scan};
use torrent::author::{self, Choice, Plan, Wanted};
use torrent::layout::Kind;
use torrent::metainfo::Metainfo;

use crate::Context;
use crate::console::Console;
use crate::exit::{Exit, Failure, sentence};
use crate::source::read_torrent;
use crate::units::{Size, count, parse_size};

/// Warnings shown of one kind; the others are counted.
const SHOWN: usize = 8;

/// What kind of torrent, and what it says.
#[derive(clap::Args)]
#[command(next_help_heading = "Torrent")]
pub struct TorrentFlags {
    /// Only version 1, which every client speaks.
    #[arg(long, group = "kind", env = "STARLING_V1", value_parser = FalseyValueParser::new())]
    v1: bool,
    /// Only version 2, for newer clients.
    #[arg(long, group = "kind", env = "STARLING_V2", value_parser = FalseyValueParser::new())]
    v2: bool,
    /// Both in one: the default, unless padding would cost more than 1 %.
    #[arg(long, group = "kind", env = "STARLING_HYBRID", value_parser = FalseyValueParser::new())]
    hybrid: bool,
    /// Bytes in a piece, a power of two from 16KiB; by default it suits the total.
    #[arg(long, value_name = "SIZE", env = "STARLING_PIECE_SIZE", value_parser = parse_size)]
    piece_size: Option<u64>,
    /// Announce to this tracker; several are asked in the order given.
    #[arg(
        long = "tracker",
        value_name = "URL",
        env = "STARLING_TRACKER",
        value_delimiter = ' '
    )]
    trackers: Vec<String>,
    /// A web server that has the content too; can be given several times.
    #[arg(
        long = "web-seed",
        value_name = "URL",
        env = "STARLING_WEB_SEED",
        value_delimiter = ' '
    )]
    web_seeds: Vec<String>,
    /// A torrent that has some of the same files, by its file or info-hash; can be given several times. Changes the
    /// info-hash.
    #[arg(
        long = "similar",
        value_name = "TORRENT",
        env = "STARLING_SIMILAR",
        value_delimiter = '\n'
    )]
    similar: Vec<String>,
    /// A collection whose torrents have some of the same files; can be given several times. Changes the info-hash.
    #[arg(
        long = "collection",
        value_name = "NAME",
        env = "STARLING_COLLECTION",
        value_delimiter = '\n'
    )]
    collections: Vec<String>,
    /// Peers may come from the trackers only: no DHT, no peer exchange.
    #[arg(long, env = "STARLING_PRIVATE", value_parser = FalseyValueParser::new())]
    private: bool,
    /// A remark for whoever opens the torrent.
    #[arg(long, value_name = "TEXT", env = "STARLING_COMMENT")]
    comment: Option<String>,
    /// Who the torrent is for; some trackers ask for it. Changes the info-hash.
    #[arg(long, value_name = "TEXT", env = "STARLING_SOURCE")]
    source: Option<String>,
    /// Leave the date out, so that the same content gives the same bytes.
    #[arg(long, env = "STARLING_NO_CREATION_DATE", value_parser = FalseyValueParser::new())]
    no_creation_date: bool,
}

impl TorrentFlags {
    /// Whether any of them was given.
    pub fn any(&self) -> bool {
        let TorrentFlags {
            v1,
            v2,
            hybrid,
            piece_size,
            trackers,
            web_seeds,
            similar,
            collections,
            private,
            comment,
            source,
            no_creation_date,
        } = self;
        *v1 || *v2
            || *hybrid
            || *private
            || *no_creation_date
            || piece_size.is_some()
            || comment.is_some()
            || source.is_some()
            || !trackers.is_empty()
            || !web_seeds.is_empty()
            || !similar.is_empty()
            || !collections.is_empty()
    }

    /// Whether the torrent is to be private.
    pub fn private(&self) -> bool {
        self.private
    }

    fn wanted(&self) -> Result<Wanted, Failure> {
        let kind = match (self.v1, self.v2, self.hybrid) {
            (true, ..) => Some(Kind::V1),
            (_, true, _) => Some(Kind::V2),
            (.., true) => Some(Kind::Hybrid),
            _ => None,
        };
        let piece_length = self.piece_size.map(|size| {
            let usable = size.is_power_of_two()
                && size >= 16 * 1024
                && size <= u64::from(torrent::layout::MAX_PIECE_LENGTH);
            u32::try_from(size).ok().filter(|_| usable).ok_or_else(|| {
                Failure::usage(format!(
                    "A piece cannot be {}: take a power of two from 16KiB to 512MiB.",
                    Size(size)
                ))
            })
        });
        Ok(Wanted {
            kind,
            piece_length: piece_length.transpose()?,
        })
    }

    fn options(&self) -> Result<author::Options, Failure> {
        let given = |list: &[String]| -> Vec<String> {
            list.iter().filter(|url| !url.is_empty()).cloned().collect()
        };
        let (trackers, web_seeds) = (given(&self.trackers), given(&self.web_seeds));
        check_urls(&trackers, &["http", "https", "udp"], "tracker")?;
        check_urls(&web_seeds, &["http", "https"], "web seed")?;
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs() as i64);
        Ok(author::Options {
            trackers: trackers.into_iter().map(|url| vec![url]).collect(),
            web_seeds,
            private: self.private,
            comment: self.comment.clone(),
            created_by: Some(concat!("Starling ", env!("CARGO_PKG_VERSION")).to_owned()),
            creation_date: (!self.no_creation_date).then_some(now),
            source: self.source.clone(),
            similar: given(&self.similar)
                .iter()
                .map(|torrent| hash_of(torrent))
                .collect::<Result<_, _>>()?,
            collections: given(&self.collections),
            ..author::Options::default()
        })
    }
}

pub fn check_urls(urls: &[String], schemes: &[&str], what: &str) -> Result<(), Failure> {
    for url in urls {
        let usable = url.split_once("://").is_some_and(|(scheme, rest)| {
            schemes.contains(&scheme.to_ascii_lowercase().as_str())
                && !rest.is_empty()
                && !rest.starts_with('/')
        });
        if !usable {
            let schemes = schemes.join(", ");
            return Err(Failure::usage(format!(
                "{url} is no {what}: its URL must begin with one of {schemes} and ://."
            )));
        }
    }
    Ok(())
}

/// What a torrent is called in a hint (BEP 38).
fn hash_of(text: &str) -> Result<[u8; 20], Failure> {
    let hashes = match Path::new(text).exists() {
        true => read_torrent(Path::new(text))?.info.hashes(),
        false => torrent::magnet::parse_anything_hash(text).unwrap_or_default(),
    };
    hashes.best().ok_or_else(|| {
        Failure::usage(format!(
            "{text} is no torrent: give its file, or its info-hash."
        ))
    })
}

/// What would be shared.
pub struct Draft {
    scan: Scan,
    root: PathBuf,
}

/// A draft that was hashed.
pub struct Made {
    /// The torrent; where there are two, the one every client understands.
    pub first: Hashed,
    /// The second, of version 2, where one for all would be mostly padding.
    pub v2: Option<Hashed>,
}

/// A torrent, and what its files looked like while they were hashed: a file that has changed since is not served.
pub struct Hashed {
    /// The torrent.
    pub metainfo: Metainfo,
    /// One for each file of its layout.
    pub known: Vec<Fingerprint>,
}

impl Draft {
    /// Lists what lies at `path`.
    pub fn scan(path: &Path) -> Result<Draft, Failure> {
        let scan = scan(path)?;
        let root = path
            .canonicalize()
            .map_err(|error| Failure::io(&error, "read", path))?;
        if scan.total == 0 {
            let why = if scan.sources.is_empty() {
                "no files"
            } else {
                "only empty files"
            };
            return Err(Failure::usage(format!(
                "There is nothing to share: {} has {why}. Put something into it first.",
                path.display()
            )));
        }
        Ok(Draft { scan, root })
    }

    /// What the torrent will be called.
    pub fn name(&self) -> &str {
        &self.scan.name
    }

    /// The file or folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// How many files, and how many bytes.
    pub fn size(&self) -> (usize, u64) {
        (self.scan.sources.len(), self.scan.total)
    }

    /// Files that look like keys or passwords, as sentences; those beyond a few are counted.
    pub fn secrets(&self) -> Vec<String> {
        self.told(|warning| matches!(warning, Warning::Secret { .. }))
    }

    /// Hidden files, which people forget that they have.
    pub fn hidden(&self) -> Vec<String> {
        self.told(|warning| matches!(warning, Warning::Hidden { .. }))
    }

    /// What is left out, and why; and names that change.
    pub fn skipped(&self) -> Vec<String> {
        self.told(|warning| !matches!(warning, Warning::Secret { .. } | Warning::Hidden { .. }))
    }

    /// Warns of what is left out.
    pub fn tell_skipped(&self, console: &Console) {
        for skipped in self.skipped() {
            console.warn(&skipped);
        }
    }

    fn told(&self, wanted: impl Fn(&Warning) -> bool) -> Vec<String> {
        let all: Vec<&Warning> = self
            .scan
            .warnings
            .iter()
            .filter(|warning| wanted(warning))
            .collect();
        let mut told: Vec<String> = all
            .iter()
            .take(SHOWN)
            .map(|warning| warning.to_string())
            .collect();
        if all.len() > SHOWN {
            let least = if self.scan.more > 0 { "at least " } else { "" };
            told.push(format!(
                "and {least}{} more like that",
                count(all.len() - SHOWN, "path")
            ));
        }
        told
    }

    /// Reads and hashes all of it. What is needed no more is let go on the way: there may be 100,000 files.
    pub fn hash(self, context: &Context, flags: &TorrentFlags) -> Result<Made, Failure> {
        let (wanted, options) = (flags.wanted()?, flags.options()?);
        if options.private && options.trackers.is_empty() {
            context.console.warn(
                "a private torrent finds peers through its trackers only, and this one has none",
            );
        }
        let name = (!self.scan.single).then_some(self.scan.name.as_str());
        let Choice { plan, v2, reason } = author::choose(name, &self.scan.sources, wanted)
            .map_err(|error| {
                Failure::usage(format!(
                    "{} Choose another piece size, or share a part of it.",
                    sentence(&error.to_string())
                ))
            })?;
        let Scan {
            sources, mut paths, ..
        } = self.scan;
        drop(sources);
        if let Some(reason) = reason {
            context.console.note(&reason);
        }
        let hashed = read(context, &plan, &mut paths)?;
        if v2.is_none() {
            paths = Vec::new();
        }
        let first = finish(plan, hashed, &options)?;
        let v2 = v2.map(|plan| {
            let hashed = read(context, &plan, &mut paths)?;
            drop(paths);
            finish(plan, hashed, &options)
        });
        Ok(Made {
            first,
            v2: v2.transpose()?,
        })
    }
}

/// Reads the files of a plan, which lie at `paths` in the order of its sources.
fn read(context: &Context, plan: &Plan, paths: &mut [PathBuf]) -> Result<hasher::Hashed, Failure> {
    // Lent to the order of the plan, and given back for the next one.
    let mut path = |planned: &author::Planned| {
        planned
            .source
            .map_or_else(PathBuf::new, |at| take(&mut paths[at]))
    };
    let planned: Vec<PathBuf> = plan.files().iter().map(&mut path).collect();
    let total = plan.layout().payload();
    let bar = context.console.bar(total);
    bar.set_prefix("hashing");
    let progress = |hashed: u64| {
        bar.set_position(hashed);
        bar.set_message(format!("{} of {}", Size(hashed), Size(total)));
    };
    let hashed = hasher::hash(
        plan.layout(),
        &planned,
        &hasher::Options {
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            progress: &progress,
            cancel: context.interrupt.flag(),
        },
    );
    bar.finish_and_clear();
    for (file, path) in plan.files().iter().zip(planned) {
        if let Some(at) = file.source {
            paths[at] = path;
        }
    }
    hashed.map_err(|error| match error {
        HashError::Cancelled => Failure::interrupted(),
        HashError::Unreadable(error) => error.into(),
        changed => Failure::new(Exit::Verification, sentence(&changed.to_string())),
    })
}

fn finish(
    plan: Plan,
    hashed: hasher::Hashed,
    options: &author::Options,
) -> Result<Hashed, Failure> {
    let hasher::Hashed { hashes, known } = hashed;
    let metainfo = plan.finish(hashes, options).map_err(|error| {
        Failure::new(
            Exit::Other,
            format!(
                "These files cannot be made a torrent: {error}. Rename or leave out that file."
            ),
        )
    })?;
    give_back();
    Ok(Hashed { metainfo, known })
}

/// Gives memory that was let go back to the system. What follows may serve for weeks, on other threads, and the C
/// library would keep megabytes for this one.
fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        // SAFETY: malloc.h of glibc declares it so. It may be called at any time and on any thread.
        unsafe extern "C" {
            safe fn malloc_trim(pad: usize) -> std::ffi::c_int;
        }
        malloc_trim(0);
    }
}

/// Where the second of two torrents goes: `album.torrent` → `album.v2.torrent`.
pub fn second_output(first: &Path) -> PathBuf {
    first.with_extension("v2.torrent")
}

/// Writes a torrent file so that it is there whole or not at all.
pub fn write_torrent(path: &Path, metainfo: &Metainfo) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::io(&error, "write", path);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let draft = path.with_file_name(format!(".{name}.{}.part", std::process::id()));
    let written = fs::File::create(&draft)
        .and_then(|mut file| {
            let mut parts = metainfo.to_parts().into_iter();
            parts.try_for_each(|part| file.write_all(&part))?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&draft, path));
    if written.is_err() {
        let _ = fs::remove_file(&draft);
    }
    written.map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_torrent_lies_beside_the_first() {
        assert_eq!(
            second_output(Path::new("a/b.torrent")),
            Path::new("a/b.v2.torrent")
        );
        assert_eq!(second_output(Path::new("b")), Path::new("b.v2.torrent"));
    }

    #[test]
    fn urls_that_no_client_can_use_are_refused() {
        let check = |url: &str| check_urls(&[url.to_owned()], &["http", "udp"], "tracker").is_ok();
        assert!(check("http://a/announce") && check("UDP://a:80"));
        assert!(!check("a:80") && !check("ftp://a") && !check("http://") && !check("http:///x"));
    }
}
