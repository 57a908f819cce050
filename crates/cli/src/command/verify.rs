//! `starling verify`: is a copy what its torrent says, and if not, what of it is wrong?
//!
//! Reading and hashing is the store's work; here its hashes are compared, and differences get names.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use serde_json::json;
use store::{Bits, CheckedPiece, Done, Naming, Placement, Store, TorrentId, content_in};
use torrent::ids::Sha256Hash;
use torrent::merkle::verify_layer;
use torrent::metainfo::{Info, Metainfo};

use crate::Context;
use crate::exit::{Exit, Failure};
use crate::network::ProxyFlags;
use crate::source::{self, Pasted};
use crate::units::{Size, count, ranges};

/// Runs of pieces named for one file; a file with more is all but gone.
const RUNS_SHOWN: usize = 20;

/// How often Ctrl-C is looked for while the disk is read.
const PATIENCE: Duration = Duration::from_millis(100);

const EXAMPLES: &str = "\
Examples:
  starling verify album.torrent ./album     the folder itself
  starling verify album.torrent             the copy beside you, under the torrent's name
  starling verify film.torrent ~/Downloads  or the folder it lies in

Ends with 0 if everything is there and right, and with 5 if not. Nothing is changed: to
repair a copy, get it again in the same place; only what is wrong is fetched.";

/// Check a copy against its torrent, and name each wrong file and piece.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Verify {
    /// The torrent file, or its URL.
    torrent: PathBuf,
    /// The copy: the file or folder itself, or the folder it lies in.
    path: Option<PathBuf>,
    #[command(flatten)]
    way: ProxyFlags,
}

/// What is wrong with a file.
#[derive(Debug, Default, PartialEq, Eq)]
struct Fault {
    /// Nothing is there under its name.
    missing: bool,
    /// What is there is no file, or not of the right length: what it is.
    instead: Option<String>,
    /// Pieces of it that do not have the right hash.
    pieces: Vec<u32>,
    /// It is not what its root hash says; where, nobody knows: the torrent has no hashes of its pieces.
    somewhere: bool,
}

/// What the check has found.
struct Found {
    /// What is wrong, by file.
    faults: BTreeMap<usize, Fault>,
    /// Pieces that could not be judged because a neighbour in them is missing.
    unsure: u32,
    /// Roots of pieces that the torrent has no v2 hash of: all of a file together prove it.
    roots: BTreeMap<u32, Sha256Hash>,
}

impl Verify {
    pub fn run(self, context: &Context) -> Result<(), Failure> {
        let pasted = self.torrent.to_str().map(source::recognise);
        let metainfo = match pasted.transpose()? {
            // Not even text: then it can only be a path.
            None => source::read_torrent(&self.torrent)?,
            Some(Pasted::File(path)) => source::read_torrent(&path)?,
            Some(Pasted::Url(url)) => {
                source::fetch_torrent(&url, self.way.egress()?, &context.interrupt)?
            }
            Some(Pasted::Magnet(_) | Pasted::Hash(_)) => {
                return Err(Failure::usage(
                    "To verify a copy, the torrent file is needed: a link has no hashes of pieces. \
                     Get the content with the link instead; what is already there is kept.",
                ));
            }
        };
        let root = content_root(
            &metainfo.info,
            self.path.as_deref().unwrap_or(Path::new(".")),
        );
        if !root.exists() {
            return Err(Failure::new(
                Exit::NotFound,
                format!(
                    "{} is not there. Name the folder or file to check.",
                    root.display()
                ),
            ));
        }
        let naming = Naming::at(&metainfo.info, &root);
        let mut found = Found {
            faults: look(&metainfo.info, &root, naming),
            unsure: 0,
            roots: BTreeMap::new(),
        };
        compare(context, &metainfo, &root, &mut found)?;
        found.prove_whole_files(&metainfo);
        report(context, &metainfo.info, &root, naming, &found)
    }
}

/// The content of `info` at `path`, or else under its name in the folder `path`.
pub fn content_root(info: &Info, path: &Path) -> PathBuf {
    let inside = content_in(path, info);
    let named_so = path.file_name().is_some_and(|name| {
        let name = name.to_string_lossy();
        name == info.name() || info.listed_name().is_some_and(|listed| name == listed)
    });
    let fits = |at: &Path| {
        if info.is_single_file() {
            at.is_file()
        } else {
            at.is_dir()
        }
    };
    if path.is_dir() && !named_so && fits(&inside) {
        inside
    } else {
        path.to_owned()
    }
}

/// Missing files and wrong lengths, by index.
fn look(info: &Info, root: &Path, naming: Naming) -> BTreeMap<usize, Fault> {
    let mut faults = BTreeMap::new();
    for file in info.files().filter(|file| !file.pad) {
        let at = if info.is_single_file() {
            root.to_owned()
        } else {
            root.join(naming.path(file))
        };
        let fault = if file.symlink().is_some() {
            fs::symlink_metadata(&at).is_err().then(|| Fault {
                missing: true,
                ..Fault::default()
            })
        } else {
            match fs::metadata(&at) {
                Err(_) => Some(Fault {
                    missing: true,
                    ..Fault::default()
                }),
                Ok(there) if !there.is_file() => Some(Fault::instead("not a file".to_owned())),
                Ok(there) if there.len() < file.len => Some(Fault::instead(format!(
                    "only {} of {}",
                    Size(there.len()),
                    Size(file.len)
                ))),
                Ok(there) if there.len() > file.len => Some(Fault::instead(format!(
                    "{} longer than it should be",
                    Size(there.len() - file.len)
                ))),
                Ok(_) => None,
            }
        };
        faults.extend(fault.map(|fault| (file.index(), fault)));
    }
    faults
}

impl Fault {
    fn instead(what: String) -> Fault {
        Fault {
            instead: Some(what),
            ..Fault::default()
        }
    }
}

/// Hashes what is there and judges each piece.
fn compare(
    context: &Context,
    metainfo: &Metainfo,
    root: &Path,
    found: &mut Found,
) -> Result<(), Failure> {
    let info = &metainfo.info;
    let layout = info.layout();
    let (sender, facts) = mpsc::channel();
    let sink = Box::new(move |done| drop(sender.send(done)));
    let store = Store::new(store::Config::default(), sink).map_err(|error| {
        Failure::new(Exit::Other, format!("The system gives no thread: {error}."))
    })?;
    let id = TorrentId(0);
    store.add(id, Arc::new(info.clone()), Placement::existing(root))?;
    store.check(id, Bits::full(layout.pieces() as usize));

    let bar = context.console.bar(layout.payload());
    bar.set_prefix("checking");
    loop {
        if context.interrupt.is_asked() {
            return Err(Failure::interrupted());
        }
        match facts.recv_timeout(PATIENCE) {
            Ok(Done::Checked { pieces, .. }) => {
                for piece in pieces {
                    bar.inc(u64::from(layout.payload_len(piece.piece)));
                    found.judge(metainfo, &piece);
                }
                bar.set_message(format!(
                    "{} of {}",
                    Size(bar.position()),
                    Size(layout.payload())
                ));
            }
            Ok(Done::CheckFinished { trouble, .. }) => {
                bar.finish_and_clear();
                return trouble.map_or(Ok(()), |trouble| Err(trouble.into()));
            }
            Ok(_) | Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                return Err(Failure::new(
                    Exit::Other,
                    "The check ended before all was read. Try again.",
                ));
            }
        }
    }
}

impl Found {
    /// Adds a wrong piece to the faults of its files.
    fn judge(&mut self, metainfo: &Metainfo, checked: &CheckedPiece) {
        let (info, layout) = (&metainfo.info, metainfo.info.layout());
        let piece = checked.piece;
        let spans = layout
            .spans(piece, 0, layout.piece_len(piece))
            .filter(|span| !span.pad);
        let mut files: Vec<usize> = spans.map(|span| span.file).collect();
        files.dedup();
        let Some(hash) = &checked.hash else {
            // Bytes of it are not there; does it lie in a file that is?
            let absent = |file: &usize| {
                self.faults
                    .get(file)
                    .is_some_and(|fault| fault.missing || fault.instead.is_some())
            };
            self.unsure += u32::from(!files.iter().all(absent));
            return;
        };
        let expected = piece_root(metainfo, piece);
        if expected.is_none() {
            self.roots.extend(hash.root.map(|root| (piece, root)));
        }
        let right = hash.sha1.as_ref() == info.piece_sha1(piece)
            && (expected.is_none() || hash.root == expected);
        if !right {
            for file in files {
                self.faults.entry(file).or_default().pieces.push(piece);
            }
        }
    }

    /// Judges the files whose piece layers the torrent lacks.
    fn prove_whole_files(&mut self, metainfo: &Metainfo) {
        let (info, layout) = (&metainfo.info, metainfo.info.layout());
        for index in metainfo.piece_layers.missing(info) {
            let file = info.file(index);
            let layer: Option<Vec<Sha256Hash>> = layout
                .file_pieces(index)
                .map(|piece| self.roots.get(&piece).copied())
                .collect();
            let proven = layer.zip(file.root()).is_some_and(|(layer, root)| {
                verify_layer(&layer, &root, layout.piece_length(), file.len)
            });
            if !proven && !self.faults.contains_key(&index) {
                self.faults.entry(index).or_default().somewhere = true;
            }
        }
    }
}

/// What v2 says the root of a piece is: its hash in the piece layer, or of a short file the file's root. `None`
/// if the torrent does not say.
fn piece_root(metainfo: &Metainfo, piece: u32) -> Option<[u8; 32]> {
    let layout = metainfo.info.layout();
    let file = metainfo.info.file(layout.file_of_piece(piece)?);
    let root = file.root()?;
    if file.len <= u64::from(layout.piece_length()) {
        return Some(root);
    }
    let layer = metainfo.piece_layers.get(&root)?;
    layer.get(layout.piece_in_file(piece)? as usize).copied()
}

fn report(
    context: &Context,
    info: &Info,
    root: &Path,
    naming: Naming,
    found: &Found,
) -> Result<(), Failure> {
    let console = &context.console;
    let (faults, unsure) = (&found.faults, found.unsure);
    for (&index, fault) in faults {
        let mut pieces = fault.pieces.clone();
        pieces.sort_unstable();
        let path = info.file(index).path();
        let problem = match fault {
            Fault { missing: true, .. } => "missing",
            Fault {
                instead: Some(_), ..
            } => "length",
            _ => "content",
        };
        console.event(
            &json!({ "event": "wrong", "file": path, "problem": problem, "pieces": pieces }),
        );
        let mut words: Vec<String> = fault.instead.iter().cloned().collect();
        if fault.missing {
            words.push("missing".into());
        }
        if fault.somewhere {
            words.push("wrong somewhere; the torrent has no hashes of its pieces".into());
        }
        if !pieces.is_empty() {
            let noun = if pieces.len() == 1 { "piece" } else { "pieces" };
            words.push(format!("wrong {noun} {}", ranges(&pieces, RUNS_SHOWN)));
        }
        let called = naming.path(info.file(index));
        console.result(format!("{called}: {}", words.join("; ")));
    }
    if unsure > 0 {
        console.note(&format!(
            "{} could not be judged: part of each lies in a missing file.",
            count(unsure as usize, "piece")
        ));
    }
    let files = info.files().filter(|file| !file.pad).count();
    let bytes = info.layout().payload();
    console.event(&json!({
        "event": "verified",
        "ok": faults.is_empty() && unsure == 0,
        "path": root.display().to_string(),
        "files": files,
        "bytes": bytes,
        "wrong": faults.len(),
        "unjudged_pieces": unsure,
    }));
    if faults.is_empty() && unsure == 0 {
        console.note(&format!(
            "{} of {}: all is there and right.",
            count(files, "file"),
            Size(bytes)
        ));
        console.result(root);
        return Ok(());
    }
    let repair = match naming {
        Naming::Safe => {
            "To repair the copy, get the torrent again in the same place; only what is wrong is fetched."
        }
        Naming::Listed => {
            "To repair the copy, get the torrent again in another place and copy the right files over: \
             some names here are not good on every system, and `starling get` changes those."
        }
    };
    Err(Failure::new(
        Exit::Verification,
        format!(
            "{} of {files} in {} {} not what the torrent says. {repair}",
            count(faults.len(), "file"),
            root.display(),
            if faults.len() == 1 { "is" } else { "are" },
        ),
    ))
}
