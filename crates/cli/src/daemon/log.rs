//! What a daemon says of itself: to stderr, or in the background to files that are rotated.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use tracing_subscriber::EnvFilter;

use crate::exit::Failure;

/// Bytes of a log file before the next is begun.
const MAX_FILE: u64 = 10 << 20;
/// Log files that are kept, the one that is written included: some days of a busy daemon.
const MAX_FILES: usize = 5;

/// Logs from now on: to `file`, or to stderr. `verbose` counts `-v`; `wanted` is the configuration's word.
pub fn start(verbose: u8, wanted: &str, file: Option<&Path>) -> Result<(), Failure> {
    let filter = match (verbose, EnvFilter::try_from_default_env()) {
        (0, Ok(filter)) => filter,
        (0, Err(_)) => EnvFilter::try_new(wanted).map_err(|error| {
            Failure::usage(format!(
                "log cannot be {wanted}: {error}. Give a level such as info, or node=debug,info."
            ))
        })?,
        (1, _) => EnvFilter::new("debug"),
        (_, _) => EnvFilter::new("trace"),
    };
    let log = tracing_subscriber::fmt().with_env_filter(filter);
    // The journal has its own clock.
    let journal = std::env::var_os("JOURNAL_STREAM").is_some();
    match file {
        Some(path) => {
            let file = Rotating::open(path).map_err(|error| Failure::io(&error, "write", path))?;
            log.with_ansi(false).with_writer(Mutex::new(file)).init();
        }
        None if journal && !io::stderr().is_terminal() => {
            let log = log.with_ansi(false).with_writer(io::stderr);
            log.without_time().init();
        }
        None => {
            let colour = io::stderr().is_terminal() && crate::paths::set("NO_COLOR").is_none();
            log.with_ansi(colour).with_writer(io::stderr).init();
        }
    }
    Ok(())
}

/// Why the process ends is told in the log too, when nobody sees its stderr.
pub fn note_panics() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        tracing::error!("{panic}");
        usual(panic);
    }));
}

/// A file that is put aside when it is long: `starling.log`, then `starling.log.1`, up to `.4`.
struct Rotating {
    path: PathBuf,
    file: File,
    len: u64,
}

impl Rotating {
    fn open(path: &Path) -> io::Result<Rotating> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(path)?;
        Ok(Rotating {
            path: path.to_owned(),
            len: file.metadata()?.len(),
            file,
        })
    }

    fn rotate(&mut self) -> io::Result<()> {
        for number in (1..MAX_FILES).rev() {
            let from = match number {
                1 => self.path.clone(),
                _ => numbered(&self.path, number - 1),
            };
            match fs::rename(from, numbered(&self.path, number)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        *self = Rotating::open(&self.path)?;
        Ok(())
    }
}

fn numbered(path: &Path, number: usize) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

impl Write for Rotating {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A file that cannot be put aside is written on.
        if self.len > 0 && self.len + bytes.len() as u64 > MAX_FILE && self.rotate().is_err() {
            self.len = 0;
        }
        let written = self.file.write(bytes)?;
        self.len += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_files_of_ten_mebibytes_are_kept_and_no_line_is_cut() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log/starling.log");
        let mut log = Rotating::open(&path).unwrap();
        let line = [&[b'x'; 1023][..], b"\n"].concat();
        for _ in 0..(6 * MAX_FILE / 1024) {
            log.write_all(&line).unwrap();
        }
        log.write_all(b"last\n").unwrap();
        let mut names: Vec<_> = fs::read_dir(dir.path().join("log"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(
            names,
            [
                "starling.log",
                "starling.log.1",
                "starling.log.2",
                "starling.log.3",
                "starling.log.4"
            ]
        );
        assert_eq!(fs::read(&path).unwrap(), b"last\n");
        assert_eq!(fs::metadata(numbered(&path, 1)).unwrap().len(), MAX_FILE);
        drop(log);
        assert_eq!(Rotating::open(&path).unwrap().len, 5);
    }
}
