//! `starling create`: a torrent file and nothing else.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::json;
use torrent::magnet::Magnet;
use torrent::metainfo::Metainfo;

use crate::Context;
use crate::authoring::{Draft, TorrentFlags, second_output, write_torrent};
use crate::exit::Failure;
use crate::units::{Size, count};

const EXAMPLES: &str = "\
Examples:
  starling create ./album                              writes album.torrent beside you
  starling create ./album -o /tmp/a.torrent --v2
  starling create film.mkv --tracker https://tracker.example/announce \\
                           --web-seed https://example.org/films/
  starling create ./album --no-creation-date           the same bytes every time

The last line on stdout is the magnet link.";

/// Make a torrent file from a file or folder.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Create {
    /// What the torrent is of.
    path: PathBuf,
    /// Where the torrent file goes; by default NAME.torrent in this folder.
    #[arg(long, short, value_name = "FILE", env = "STARLING_OUTPUT")]
    output: Option<PathBuf>,
    #[command(flatten)]
    torrent: TorrentFlags,
}

impl Create {
    pub fn run(self, context: &Context) -> Result<(), Failure> {
        let console = &context.console;
        let draft = Draft::scan(&self.path)?;
        for secret in draft.secrets() {
            console.warn(&format!("{secret}; it will be in the torrent"));
        }
        draft.tell_skipped(console);
        let output = match &self.output {
            Some(output) => output.clone(),
            None => default_output(&draft)?,
        };
        may_write(&output)?;
        let made = draft.hash(context, &self.torrent)?;
        let mut outputs = vec![(output.clone(), &made.first.metainfo)];
        if let Some(v2) = &made.v2 {
            outputs.push((second_output(&output), &v2.metainfo));
        }
        for (output, metainfo) in &outputs {
            may_write(output)?;
            write_torrent(output, metainfo)?;
            tell(context, output, metainfo);
        }
        Ok(())
    }
}

/// What was made: hashes for people, the path and the link as results.
fn tell(context: &Context, output: &Path, metainfo: &Metainfo) {
    let (console, info) = (&context.console, &metainfo.info);
    let magnet = Magnet::of(metainfo).to_string();
    let hashes = info.hashes();
    let v1 = hashes.v1.map(|hash| torrent::hex::encode(&hash));
    let v2 = hashes.v2.map(|hash| torrent::hex::encode(&hash));
    let files = info.files().filter(|file| !file.pad).count();
    let layout = info.layout();
    console.note(&format!(
        "{}: {} in {}, {} of {}",
        info.name(),
        Size(layout.payload()),
        count(files, "file"),
        count(layout.pieces() as usize, "piece"),
        Size(u64::from(layout.piece_length())),
    ));
    for (version, hash) in [("v1", &v1), ("v2", &v2)] {
        if let Some(hash) = hash {
            console.note(&format!("info-hash {version}  {hash}"));
        }
    }
    console.event(&json!({
        "event": "created",
        "torrent": output.display().to_string(),
        "name": info.name(),
        "magnet": magnet,
        "info_hash_v1": v1,
        "info_hash_v2": v2,
        "piece_length": layout.piece_length(),
        "files": files,
        "bytes": layout.payload(),
    }));
    console.result(output);
    console.result(magnet);
}

/// Here, unless that is inside what is shared.
fn default_output(draft: &Draft) -> Result<PathBuf, Failure> {
    let name = format!("{}.torrent", draft.name());
    let here =
        std::env::current_dir().map_err(|error| Failure::io(&error, "find", Path::new(".")))?;
    match draft.root().parent() {
        Some(parent) if here.starts_with(draft.root()) => Ok(parent.join(name)),
        _ => Ok(PathBuf::from(name)),
    }
}

/// A torrent may be replaced by a newer one; any other file was not meant.
pub fn may_write(output: &Path) -> Result<(), Failure> {
    if output.is_dir() {
        return Err(Failure::usage(format!(
            "{} is a folder. Name the torrent file to write, such as {}.",
            output.display(),
            output.join("album.torrent").display()
        )));
    }
    if output.exists() && !begins_like_torrent(output) {
        return Err(Failure::usage(format!(
            "{} is there already and is no torrent, so it is left alone. Choose another name.",
            output.display()
        )));
    }
    Ok(())
}

/// A dictionary whose first key follows: `d8:announce…`. To read more would cost more than it tells.
fn begins_like_torrent(path: &Path) -> bool {
    let mut head = [0; 4];
    let read = File::open(path).and_then(|mut file| file.read(&mut head));
    read.is_ok() && head[0] == b'd' && head[1].is_ascii_digit() && head[2..].contains(&b':')
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_that_is_no_torrent_is_not_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("letter.txt");
        fs::write(&file, "dear alice").unwrap();
        assert!(may_write(&file).is_err() && may_write(dir.path()).is_err());
        let old = dir.path().join("old.torrent");
        fs::write(&old, "d8:announce3:urle").unwrap();
        assert!(may_write(&old).is_ok() && may_write(&dir.path().join("new.torrent")).is_ok());
    }
}
