//! From something pasted to a transfer: what is recognised, where it goes, what is kept of it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use api::{Add, AddOptions, FilePriority, Hash, Kind, Preview, PreviewFile, Row};
use torrent::ids::InfoHashes;
use torrent::magnet::{self, Magnet};
use torrent::metainfo::{Info, Metainfo};

use super::entry::{self, Entry};
use super::state::{Extras, Facts, Rare, Record, Totals};
use super::{Daemon, home, unix_now};
use crate::{AddError, Options, Place, Problem, ProblemKind, Source};

/// How long peers are asked for metadata that a person wants to look at.
const PEEK: Duration = Duration::from_secs(60);

/// What was pasted.
pub enum Pasted {
    /// A torrent file's content.
    Metainfo(Box<Metainfo>),
    /// A magnet link, and its text.
    Magnet(Box<Magnet>, String),
    /// A bare info-hash.
    Hash(InfoHashes),
}

impl Pasted {
    /// What it is known by.
    pub fn hashes(&self) -> InfoHashes {
        match self {
            Pasted::Metainfo(metainfo) => metainfo.info.hashes(),
            Pasted::Magnet(magnet, _) => magnet.hashes,
            Pasted::Hash(hashes) => *hashes,
        }
    }

    fn name(&self) -> String {
        match self {
            Pasted::Metainfo(metainfo) => metainfo.info.name().to_owned(),
            Pasted::Magnet(magnet, _) => {
                let name = magnet.name.clone();
                name.unwrap_or_else(|| magnet.hashes.to_string())
            }
            Pasted::Hash(hashes) => hashes.to_string(),
        }
    }

    fn trackers(&self) -> Vec<Vec<String>> {
        match self {
            Pasted::Metainfo(metainfo) => metainfo.trackers.clone(),
            Pasted::Magnet(magnet, _) => magnet.trackers.iter().map(|t| vec![t.clone()]).collect(),
            Pasted::Hash(_) => Vec::new(),
        }
    }

    fn source(self) -> Source {
        match self {
            Pasted::Metainfo(metainfo) => Source::Metainfo(metainfo),
            Pasted::Magnet(magnet, _) => Source::Magnet(magnet),
            Pasted::Hash(hashes) => Source::Hash(hashes),
        }
    }
}

/// Recognises a source; a URL is fetched.
///
/// # Errors
/// It is nothing that can be added, or cannot be fetched or read.
pub async fn recognise(
    source: api::Source,
    egress: &crate::Egress,
) -> Result<Pasted, api::Problem> {
    let parse = |bytes: &[u8]| {
        let parsed = Metainfo::parse(bytes);
        let metainfo = parsed.map_err(|error| {
            let text = format!(
                "The torrent cannot be used: {error}. Get it again, or use its magnet link."
            );
            api::Problem::new(Kind::Invalid, text)
        })?;
        Ok(Pasted::Metainfo(Box::new(metainfo)))
    };
    let text = match source {
        api::Source::Torrent(bytes) => return parse(&bytes),
        api::Source::Text(text) => text,
    };
    let text = text.trim();
    let begins = |scheme: &str| {
        text.get(..scheme.len())
            .is_some_and(|head| head.eq_ignore_ascii_case(scheme))
    };
    if begins("magnet:") {
        let magnet: Magnet = text
            .parse()
            .map_err(|error| api::Problem::invalid(format!("{error}. Copy the whole link.")))?;
        return Ok(Pasted::Magnet(Box::new(magnet), text.to_owned()));
    }
    if begins("http://") || begins("https://") {
        let url = text.to_owned();
        let egress = egress.clone();
        let fetch = move || crate::fetch_torrent(&url, &egress);
        let fetched = tokio::task::spawn_blocking(fetch).await;
        let bytes = fetched
            .map_err(|error| api::Problem::new(Kind::Internal, error.to_string()))?
            .map_err(|error| {
                api::Problem::new(
                    Kind::Unreachable,
                    format!("{text} was not fetched: {error}."),
                )
            })?;
        return parse(&bytes);
    }
    if let Some(hashes) = magnet::parse_anything_hash(text) {
        return Ok(Pasted::Hash(hashes));
    }
    if Path::new(text).is_absolute() {
        return parse(&super::watched::read(Path::new(text)).map_err(|error| {
            api::Problem::new(Kind::NotFound, format!("{text} cannot be read: {error}."))
        })?);
    }
    Err(api::Problem::invalid(
        "This is no magnet link, http or https URL, info-hash, or whole path of a torrent file.",
    ))
}

impl Daemon {
    /// Adds a transfer.
    ///
    /// # Errors
    /// It is there already, cannot be added like that, or its place will not do.
    pub(super) async fn add_new(self, add: Add) -> Result<Arc<Row>, api::Problem> {
        let Add { source, options } = add;
        let pasted = recognise(source, self.shared.node.egress()).await?;
        let priorities = match &pasted {
            Pasted::Metainfo(metainfo) => spread(&options.priorities, metainfo.info.files().len())?,
            _ if options.priorities.is_empty() => Vec::new(),
            _ => {
                return Err(api::Problem::invalid(
                    "options.priorities need the torrent: the files of a link are not known yet. Set them later.",
                ));
            }
        };
        let (id, mut node_options) = self.reserve(&pasted, &options, priorities)?;
        let label = options.label.as_deref();
        let group = label.map(|label| self.rules().group(label));
        self.wish(id);
        node_options.halted = self.book().get(id).and_then(Entry::halted);
        let source = pasted.source();
        let begun = self.shared.node.run(move |driver| async move {
            let id = swarm::TorrentId(id);
            driver.end_peek(&source).await;
            driver.add(id, source, node_options)?;
            if group.is_some() {
                driver.tell(swarm::Input::Group(id, group));
            }
            Ok::<_, AddError>(())
        });
        let begun = begun.await.unwrap_or(Err(AddError::Stopped));
        let result = match begun {
            Ok(()) => self.keep(id).await,
            Err(AddError::Stopped) => Err(api::Problem::stopping()),
            Err(error) => Err(refusal(error.into())),
        };
        if let Err(problem) = result {
            self.forget_entry(id);
            // The node has stopped: it holds nothing.
            drop(
                self.shared
                    .node
                    .run(move |driver| driver.leave(swarm::TorrentId(id), true)),
            );
            return Err(problem);
        }
        self.show([id]);
        self.row(id)
    }

    /// Gives a transfer its number and its place in the book.
    fn reserve(
        &self,
        pasted: &Pasted,
        options: &AddOptions,
        priorities: Vec<u8>,
    ) -> Result<(u32, Options), api::Problem> {
        let folder = self.folder();
        let mut book = self.book();
        if let Some(id) = book.find(&pasted.hashes()) {
            let text = format!("“{}” is there already, as transfer {id}.", pasted.name());
            return Err(api::Problem::new(Kind::AlreadyPresent, text)
                .about(format!("/api/v1/transfers/{id}")));
        }
        if let Some(label) = options
            .label
            .as_deref()
            .filter(|l| !book.labels.contains_key(*l))
        {
            return Err(api::Problem::no_label(label));
        }
        let labelled = options
            .label
            .as_ref()
            .and_then(|l| book.labels[l].folder.clone());
        let (folder, exact) = match (&options.root, &options.folder) {
            (Some(root), _) => (PathBuf::from(root), true),
            (None, Some(folder)) => (PathBuf::from(folder), false),
            (None, None) => (labelled.map_or(folder, PathBuf::from), false),
        };
        let metainfo = match pasted {
            Pasted::Metainfo(metainfo) => Some(metainfo),
            _ => None,
        };
        let (id, position) = book.next();
        let record = Record {
            id,
            name: pasted.name(),
            file_name: None,
            hashes: pasted.hashes(),
            folder: book.folder(&folder),
            exact,
            read_only: options.read_only,
            label: options.label.clone(),
            paused: options.paused,
            sequential: options.sequential,
            super_seed: options.super_seed,
            preallocate: options.preallocate,
            limits: options.limits,
            position,
            added: unix_now(),
            finished: None,
            seeding_from: None,
            facts: metainfo.map_or(Facts::default(), |m| entry::facts(&m.info, &priorities)),
            totals: Totals::default(),
            rare: Rare::from(Extras {
                link: match pasted {
                    Pasted::Magnet(_, text) => Some(text.clone()),
                    _ => None,
                },
                priorities: priorities.clone(),
                select: options.select.clone(),
                goals: options.goals,
                tags: options.tags.clone(),
                trackers: pasted.trackers(),
                moving_to: None,
            }),
        };
        let known = options.fingerprints.iter().map(|print| crate::Fingerprint {
            len: print.len,
            mtime: print.mtime,
        });
        let place = match exact {
            true => Place::At(folder),
            false => Place::Into(folder),
        };
        let node_options = Options {
            assume_complete: options.assume_complete,
            known: known.collect(),
            read_only: options.read_only,
            select: options.select.clone(),
            priorities,
            preallocate: options.preallocate,
            sequential: options.sequential,
            super_seed: options.super_seed,
            private: record.facts.private,
            remember: true,
            peers: options
                .peers
                .iter()
                .filter_map(|p| p.parse::<SocketAddr>().ok())
                .collect(),
            web_seeds: options.web_seeds.clone(),
            ..Options::new(place)
        };
        let mut entry = Entry::new(record);
        entry.file_system = home::file_system(&entry.root());
        book.insert(Box::new(entry));
        Ok((id, node_options))
    }

    /// Takes a transfer out of book, table and rules.
    pub(super) fn forget_entry(&self, id: u32) {
        self.book().remove(id);
        self.judge([policy::Input::Gone(policy::TransferId(id))]);
        self.unshow(id);
    }

    /// What adding something would add.
    pub(super) async fn look_at(&self, source: api::Source) -> Result<Preview, api::Problem> {
        let pasted = recognise(source, self.shared.node.egress()).await?;
        let hashes = pasted.hashes();
        let already = self.book().find(&hashes).map(api::TransferId);
        let (name, trackers) = (pasted.name(), pasted.trackers());
        let mut warnings = Vec::new();
        let info: Option<Info> = match pasted {
            Pasted::Metainfo(metainfo) => {
                warnings.extend(metainfo.info.notices().iter().map(ToString::to_string));
                Some(metainfo.info)
            }
            other if already.is_none() => {
                let source = other.source();
                let look = self.shared.node.run(move |driver| driver.peek(source));
                match tokio::time::timeout(PEEK, look).await {
                    Ok(Ok(Ok(info))) => Some((*info).clone()),
                    _ => {
                        warnings.push(format!(
                            "no peer has sent what it contains within {} seconds; it can be added all the same",
                            PEEK.as_secs()
                        ));
                        None
                    }
                }
            }
            _ => None,
        };
        let files = info.as_ref().map(|info| {
            let layout = info.layout();
            let shown = |(index, file): (usize, torrent::metainfo::FileRef<'_>)| {
                let extent = layout.file(index);
                (!extent.pad).then(|| PreviewFile {
                    index: index as u32,
                    path: file.path().to_owned(),
                    size: extent.len,
                })
            };
            info.files()
                .enumerate()
                .filter_map(shown)
                .collect::<Vec<_>>()
        });
        let hashes = info.as_ref().map_or(hashes, Info::hashes);
        Ok(Preview {
            name: Some(info.as_ref().map_or(name, |info| info.name().to_owned())),
            info_hash_v1: hashes.v1.map(Hash),
            info_hash_v2: hashes.v2.map(Hash),
            size: info.as_ref().map(|info| entry::facts(info, &[]).size),
            files: files.unwrap_or_default(),
            trackers: trackers.into_iter().flatten().collect(),
            private: info.as_ref().is_some_and(Info::private),
            warnings,
            already_present: already,
        })
    }
}

/// A transfer as far as its torrent and place tell.
pub(super) fn found(id: u32, metainfo: &Metainfo, root: PathBuf, read_only: bool) -> Record {
    let info = &metainfo.info;
    let mut rare = Rare::default();
    rare.edit(|rare| rare.trackers.clone_from(&metainfo.trackers));
    Record {
        id,
        name: info.name().to_owned(),
        file_name: None,
        hashes: info.hashes(),
        folder: root.into(),
        exact: true,
        read_only,
        label: None,
        paused: false,
        sequential: false,
        super_seed: false,
        preallocate: false,
        limits: api::Limits::default(),
        position: i64::from(id),
        added: unix_now(),
        finished: None,
        seeding_from: None,
        facts: entry::facts(info, &[]),
        totals: Totals::default(),
        rare,
    }
}

/// Priorities of files, one for each of `files`.
pub fn spread(given: &[FilePriority], files: usize) -> Result<Vec<u8>, api::Problem> {
    if given.is_empty() {
        return Ok(Vec::new());
    }
    let mut priorities = vec![4; files];
    change(&mut priorities, given)?;
    Ok(priorities)
}

/// Changes the priorities that are given.
pub fn change(priorities: &mut [u8], given: &[FilePriority]) -> Result<(), api::Problem> {
    for part in given {
        let (from, through) = (
            part.file as usize,
            part.through.unwrap_or(part.file) as usize,
        );
        let files = priorities.len();
        let Some(range) = priorities
            .get_mut(from..=through.max(from))
            .filter(|_| from <= through)
        else {
            return Err(api::Problem::invalid(format!(
                "priorities name the files {from} to {through}, and there are 0 to {}.",
                files.saturating_sub(1)
            )));
        };
        range.fill(part.priority);
    }
    Ok(())
}

/// Why something of a transfer cannot be done, as an answer.
pub(super) fn refusal(problem: Problem) -> api::Problem {
    let kind = match problem.kind {
        ProblemKind::NoSpace => Kind::NoSpace,
        ProblemKind::Permission => Kind::Permission,
        ProblemKind::NotFound => Kind::NotFound,
        ProblemKind::Damaged => Kind::Damaged,
        ProblemKind::Other => Kind::Conflict,
    };
    let mut text = problem.message;
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    if !text.ends_with(['.', '!', '?']) {
        text.push('.');
    }
    api::Problem::new(kind, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priorities_are_given_for_files_and_ranges_that_are_there() {
        let part = |file, through, priority| FilePriority {
            file,
            through,
            priority,
        };
        let given = [part(1, Some(2), 0), part(2, None, 7)];
        assert_eq!(spread(&given, 4).unwrap(), [4, 0, 7, 4]);
        assert!(spread(&[], 4).unwrap().is_empty());
        for wrong in [part(4, None, 0), part(0, Some(4), 0), part(2, Some(1), 0)] {
            assert!(spread(&[wrong], 4).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_refusal_is_a_sentence() {
        let problem = refusal(Problem::other("the disk is full"));
        assert_eq!(problem.detail, "The disk is full.");
    }
}
