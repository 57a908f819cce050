//! The real binary, as people and programs use it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod configuration;
mod daemon;
mod identity;
#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod linked;
mod names;
mod offline;
mod transfer;
mod trouble;
mod units;
mod verbs;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{io, thread};

use serde_json::Value;
use tempfile::TempDir;

/// How long a command may take, on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(30);

/// A folder of its own for a test, with a home in it.
struct Desk {
    dir: TempDir,
    /// The home's name in the folder.
    home: String,
}

/// How a command ended.
struct Ended {
    code: i32,
    out: String,
    err: String,
}

impl Desk {
    fn new() -> Desk {
        Desk {
            dir: tempfile::tempdir().unwrap(),
            home: "home".into(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Makes files of the given lengths; the bytes depend on the name.
    fn files(&self, files: &[(&str, usize)]) {
        for (name, len) in files {
            let path = self.path(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes(name, *len)).unwrap();
        }
    }

    /// A small folder for everything that needs one: little padding, so that it becomes one hybrid.
    fn album(&self) -> PathBuf {
        self.files(&[
            ("album/one.flac", 311_000),
            ("album/more/two.flac", 212_608),
            ("album/more/empty", 0),
        ]);
        self.path("album")
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_starling"));
        command
            .args(args)
            .current_dir(self.dir.path())
            .env_remove("RUST_LOG")
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("NOTIFY_SOCKET")
            .env("HOME", self.dir.path())
            .env("STARLING_HOME", self.path(&self.home))
            .stdin(Stdio::null());
        command
    }

    fn run(&self, args: &[&str]) -> Ended {
        Ended::of(self.command(args))
    }
}

impl Ended {
    /// Runs a command to its end, which must come soon.
    fn of(mut command: Command) -> Ended {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (mut stdout, mut stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let err = thread::spawn(move || io::read_to_string(&mut stderr).expect("stderr is text"));
        let out = thread::spawn(move || io::read_to_string(&mut stdout).expect("stdout is text"));
        let late = Instant::now() + PATIENCE;
        let code = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status.code();
            }
            if Instant::now() > late {
                child.kill().unwrap();
                break None;
            }
            thread::sleep(Duration::from_millis(10));
        };
        let (out, err) = (out.join().unwrap(), err.join().unwrap());
        let Some(code) = code else {
            panic!("{command:?} did not end\nstdout: {out}\nstderr: {err}")
        };
        Ended { code, out, err }
    }

    /// It must have ended with this code.
    fn ends(self, code: i32) -> Ended {
        assert_eq!(
            self.code, code,
            "stdout: {}\nstderr: {}",
            self.out, self.err
        );
        self
    }

    /// Its last line on stdout.
    fn last(&self) -> &str {
        self.out.lines().last().expect("there is a result")
    }

    /// Its events.
    fn events(&self) -> Vec<Value> {
        self.out
            .lines()
            .map(|line| serde_json::from_str(line).expect("every line is JSON"))
            .collect()
    }

    /// Its only event.
    fn event(&self) -> Value {
        let [event] = &self.events()[..] else {
            panic!("one event expected: {}", self.out)
        };
        event.clone()
    }
}

/// Bytes that are the same in every run and differ between names.
fn bytes(name: &str, len: usize) -> Vec<u8> {
    let mut state = name.bytes().fold(0x9e37_79b9_7f4a_7c15_u64, |state, byte| {
        (state ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    });
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..len).map(|_| next()).collect()
}

/// The files below `root` and what they hold.
fn contents(root: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push((
                    path.strip_prefix(root).unwrap().to_owned(),
                    fs::read(&path).unwrap(),
                ));
            }
        }
    }
    found.sort();
    found
}
