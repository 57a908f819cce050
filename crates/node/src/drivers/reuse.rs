//! Files that another transfer has already (BEP 38): found by their v2 roots, or, where one torrent hints at the other,
//! by name and length. They are offered, and taken when the person says so.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::rc::Rc;

use store::{take_over, whole_file_at};
use swarm::TorrentId;
use torrent::ids::{InfoHashes, Sha256Hash};
use torrent::metainfo::{Info, Metainfo};

use super::Driver;
use super::transfer::root_of;
use crate::{Options, Problem};

/// Dormant transfers looked at, the newest first: each is a torrent file to read.
const MOST_DORMANT: usize = 1000;

/// What one other transfer has.
pub(crate) struct Found {
    pub from: TorrentId,
    /// Files of ours, and where one like each lies.
    pub files: Vec<(usize, PathBuf)>,
    pub bytes: u64,
}

/// A transfer that may have something.
enum Other {
    Awake(Box<Hinted>, PathBuf),
    Dormant(InfoHashes, Box<Options>),
}

/// A torrent, and which others it says it shares files with.
struct Hinted {
    info: Info,
    similar: Vec<[u8; 20]>,
    collections: Vec<String>,
}

impl Hinted {
    fn of(info: &Info, metainfo: Option<&Metainfo>) -> Hinted {
        let mut similar = info.similar().to_vec();
        let mut collections = info.collections().to_vec();
        if let Some(metainfo) = metainfo {
            similar.extend(&metainfo.similar);
            collections.extend(metainfo.collections.iter().cloned());
        }
        Hinted {
            info: info.clone(),
            similar,
            collections,
        }
    }

    /// Whether either names the other, or both are in a collection.
    fn is_hinted(&self, other: &Hinted) -> bool {
        let names = |a: &Hinted, b: &Hinted| b.info.hashes().wire().any(|h| a.similar.contains(&h));
        let together = |name| other.collections.contains(name);
        names(self, other) || names(other, self) || self.collections.iter().any(together)
    }
}

impl Driver {
    /// What other transfers have of the files that this one wants and has nothing of. What is found is only likely: its
    /// hashes are compared when it is taken.
    pub async fn reusable(self: Rc<Self>, id: TorrentId) -> Vec<Found> {
        let Some((ours, lacking)) = self.lacking(id) else {
            return Vec::new();
        };
        if lacking.is_empty() {
            return Vec::new();
        }
        let others = self.others(id);
        let keep = self.keep.clone();
        let look = move || {
            let mut search = Search::new(&ours, &lacking);
            for (from, other) in others {
                let (theirs, root) = match other {
                    Other::Awake(theirs, root) => (*theirs, root),
                    Other::Dormant(hashes, options) => {
                        let Some(metainfo) = keep.load_torrent(&hashes) else {
                            continue;
                        };
                        let root = root_of(&options, &metainfo.info);
                        (Hinted::of(&metainfo.info, Some(&metainfo)), root)
                    }
                };
                search.look(from, &theirs, |file| {
                    whole_file_at(&theirs.info, &root, file)
                });
            }
            search.found
        };
        // It reads names and lengths only; that it fails means that the program ends.
        tokio::task::spawn_blocking(look).await.unwrap_or_default()
    }

    /// Copies what other transfers have, and checks it. Returns how many files were copied.
    ///
    /// # Errors
    /// There is no such transfer, its metadata is unknown, or what the disk says.
    pub async fn reuse(self: Rc<Self>, id: TorrentId) -> Result<usize, Problem> {
        let found = self.clone().reusable(id).await;
        let files: Vec<(usize, PathBuf)> = found.into_iter().flat_map(|f| f.files).collect();
        let count = files.len();
        if count == 0 {
            return Ok(0);
        }
        self.around(id, async |metainfo, root, _| {
            let (info, place) = (metainfo.info.clone(), root.to_owned());
            let copied =
                tokio::task::spawn_blocking(move || take_over(&info, &place, &files)).await;
            // What was copied is looked at, also if not all could be.
            self.keep.forget_record(&metainfo.info.hashes(), root);
            match copied {
                Ok(copied) => copied.map_err(Problem::from),
                Err(error) => Err(Problem::other(&error.to_string())),
            }
        })
        .await??;
        Ok(count)
    }

    /// The torrent of a transfer, and the files that it wants and has nothing of.
    fn lacking(&self, id: TorrentId) -> Option<(Hinted, Vec<usize>)> {
        let transfers = self.transfers.borrow();
        let t = transfers.get(&id)?;
        let info = t.info.as_ref()?;
        let priorities = t.priorities(info);
        let session = self.session.borrow();
        let lacks = |&file: &usize| {
            let extent = info.layout().file(file);
            let wanted = priorities.get(file).is_none_or(|&priority| priority > 0);
            !extent.pad && extent.len > 0 && wanted && session.file_done(id, file) == Some(0)
        };
        let lacking = (0..info.layout().files()).filter(lacks).collect();
        Some((Hinted::of(info, t.metainfo.as_ref()), lacking))
    }

    fn others(&self, id: TorrentId) -> BTreeMap<TorrentId, Other> {
        let transfers = self.transfers.borrow();
        let awake = transfers.iter().filter(|(other, _)| **other != id);
        let awake = awake.filter_map(|(&other, t)| {
            let hinted = Hinted::of(t.info.as_ref()?, t.metainfo.as_ref());
            Some((other, Other::Awake(Box::new(hinted), t.root.clone())))
        });
        let dormant = self.dormant.borrow();
        let newest = dormant.iter().rev().take(MOST_DORMANT);
        let asleep = newest.map(|(other, d)| {
            let options = Box::new(d.options());
            (other, Other::Dormant(d.hashes, options))
        });
        awake.chain(asleep).collect()
    }
}

/// A search for files among other torrents.
struct Search<'a> {
    ours: &'a Hinted,
    by_root: HashMap<Sha256Hash, usize>,
    by_name: HashMap<(&'a str, u64), usize>,
    taken: Vec<usize>,
    found: Vec<Found>,
}

impl<'a> Search<'a> {
    fn new(ours: &'a Hinted, lacking: &[usize]) -> Search<'a> {
        let file = |&file: &usize| (file, ours.info.file(file));
        let roots = lacking.iter().map(file);
        let names = lacking.iter().map(file);
        Search {
            by_root: roots.filter_map(|(i, f)| Some((f.root()?, i))).collect(),
            by_name: names.map(|(i, f)| ((base(f.path()), f.len), i)).collect(),
            ours,
            taken: Vec::new(),
            found: Vec::new(),
        }
    }

    /// Looks at another torrent; `at` says where its files are, those that are whole.
    fn look(&mut self, from: TorrentId, theirs: &Hinted, at: impl Fn(usize) -> Option<PathBuf>) {
        let hinted = self.ours.is_hinted(theirs);
        let mut found = Found {
            from,
            files: Vec::new(),
            bytes: 0,
        };
        for file in theirs.info.files().filter(|file| !file.pad && file.len > 0) {
            let same = file.root().and_then(|root| self.by_root.get(&root));
            let likely = hinted.then(|| self.by_name.get(&(base(file.path()), file.len)));
            let Some(&ours) = same.or(likely.flatten()) else {
                continue;
            };
            if self.taken.contains(&ours) {
                continue;
            }
            if let Some(path) = at(file.index()) {
                self.taken.push(ours);
                found.bytes += file.len;
                found.files.push((ours, path));
            }
        }
        if !found.files.is_empty() {
            self.found.push(found);
        }
    }
}

fn base(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use torrent::bencode::Owned;

    fn hinted(name: &str, files: &[(&str, i64)], collections: &[&str]) -> Hinted {
        let total: i64 = files.iter().map(|file| file.1).sum();
        let file = |&(path, len): &(&str, i64)| {
            let parts = Owned::list(path.split('/').map(Owned::bytes));
            Owned::dict([("length", Owned::Int(len)), ("path", parts)])
        };
        let info = Owned::dict([
            (
                "collections",
                Owned::list(collections.iter().map(|name| Owned::bytes(*name))),
            ),
            ("files", Owned::list(files.iter().map(file))),
            ("name", Owned::bytes(name)),
            ("piece length", Owned::Int(16)),
            (
                "pieces",
                Owned::bytes(vec![7; 20 * (total as usize).div_ceil(16)]),
            ),
        ]);
        Hinted::of(&Info::parse(&info.encode()).unwrap(), None)
    }

    fn found(ours: &Hinted, theirs: &Hinted) -> Vec<usize> {
        let all: Vec<usize> = (0..ours.info.layout().files()).collect();
        let mut search = Search::new(ours, &all);
        search.look(TorrentId(2), theirs, |file| Some(format!("/{file}").into()));
        let files = search.found.into_iter().flat_map(|found| found.files);
        files.map(|(file, _)| file).collect()
    }

    #[test]
    fn files_of_a_collection_are_known_by_name_and_length() {
        let files = [("a/one", 16), ("two", 32), ("three", 16)];
        let ours = hinted("ours", &files, &["series", "other"]);
        let theirs = [("b/one", 16), ("two", 31), ("more/three", 16), ("one", 16)];
        assert_eq!(
            found(&ours, &hinted("theirs", &theirs, &["series"])),
            [0, 2]
        );
        assert!(found(&ours, &hinted("theirs", &theirs, &["films"])).is_empty());
        assert!(found(&ours, &hinted("theirs", &theirs, &[])).is_empty());
    }

    #[test]
    fn a_hint_counts_in_both_directions() {
        let files = [("one", 16)];
        let (ours, mut theirs) = (hinted("ours", &files, &[]), hinted("theirs", &files, &[]));
        assert!(found(&ours, &theirs).is_empty());
        theirs.similar.extend(ours.info.hashes().v1);
        assert_eq!(found(&ours, &theirs), [0]);
        assert_eq!(found(&theirs, &ours), [0]);
    }
}
