//! `starling logs`: what the daemon in the background said.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use crate::Context;
use crate::exit::{Exit, Failure};
use crate::paths::{HomeFiles, HomeFlag};

/// How often new lines are looked for.
const PAUSE: Duration = Duration::from_millis(200);
/// Bytes read at once.
const CHUNK: usize = 64 << 10;

/// Show what the daemon in the background logged.
#[derive(clap::Args)]
pub struct Logs {
    /// Go on with what comes, until Ctrl-C.
    #[arg(long, short)]
    follow: bool,
    /// Begin with so many of the last lines.
    #[arg(long, short = 'n', value_name = "LINES", default_value = "100")]
    lines: usize,
    #[command(flatten)]
    home: HomeFlag,
}

impl Logs {
    pub fn run(self, context: &Context) -> Result<(), Failure> {
        let path = HomeFiles::of(self.home.path()?).log();
        let failed = |error: std::io::Error| Failure::io(&error, "read", &path);
        let mut file = File::open(&path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Failure::new(
                Exit::NotFound,
                format!(
                    "There is no log at {}. `starling up --detach` writes one; in the foreground a daemon logs to \
                     its terminal, and under systemd to the journal: journalctl --user -u starling",
                    path.display()
                ),
            ),
            _ => failed(error),
        })?;
        seek_to_last(&mut file, self.lines).map_err(failed)?;
        copy(context, &mut file).map_err(failed)?;
        while self.follow && !context.interrupt.is_asked() {
            std::thread::sleep(PAUSE);
            copy(context, &mut file).map_err(failed)?;
            // It was put aside: what was written to it before that has just been shown.
            if let Some(next) = newer(&path, &file) {
                copy(context, &mut file).map_err(failed)?;
                file = next;
            }
        }
        Ok(())
    }
}

/// The file that is at `path` now, if it is another one.
fn newer(path: &Path, file: &File) -> Option<File> {
    let next = File::open(path).ok()?;
    let (now, then) = (next.metadata().ok()?, file.metadata().ok()?);
    ((now.dev(), now.ino()) != (then.dev(), then.ino())).then_some(next)
}

fn copy(context: &Context, file: &mut File) -> std::io::Result<()> {
    let mut bytes = vec![0; CHUNK];
    loop {
        match file.read(&mut bytes)? {
            0 => return Ok(()),
            read => context.console.print(&bytes[..read]),
        }
    }
}

/// Goes to where the last `lines` lines begin.
fn seek_to_last(file: &mut File, lines: usize) -> std::io::Result<()> {
    let mut end = file.seek(SeekFrom::End(0))?;
    let mut left = lines;
    let mut bytes = vec![0; CHUNK];
    // The break at the very end closes the last line, and begins none.
    let mut last = true;
    while end > 0 {
        let len = end.min(CHUNK as u64);
        let begin = end - len;
        let part = &mut bytes[..len as usize];
        file.seek(SeekFrom::Start(begin))?;
        file.read_exact(part)?;
        for (at, _) in part
            .iter()
            .enumerate()
            .rev()
            .filter(|(_, byte)| **byte == b'\n')
        {
            if std::mem::take(&mut last) && begin + at as u64 + 1 == end {
                continue;
            }
            left = left.saturating_sub(1);
            if left == 0 {
                file.seek(SeekFrom::Start(begin + at as u64 + 1))?;
                return Ok(());
            }
        }
        end = begin;
    }
    file.seek(SeekFrom::Start(0)).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_found_in_files_of_any_length() {
        let last = |text: &str, lines| {
            let mut file = tempfile::tempfile().unwrap();
            std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
            seek_to_last(&mut file, lines).unwrap();
            std::io::read_to_string(file).unwrap()
        };
        assert_eq!(last("", 3), "");
        assert_eq!(last("a\nb\nc\n", 2), "b\nc\n");
        assert_eq!(last("a\nb\nc", 2), "b\nc");
        assert_eq!(last("a\nb\n", 9), "a\nb\n");
        let long = format!("{}\nb\n", "a".repeat(3 * CHUNK));
        assert_eq!(last(&long, 1), "b\n");
        assert_eq!(last(&long, 2), long);
    }
}
