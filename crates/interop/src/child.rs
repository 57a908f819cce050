//! A process of a scenario: what it printed, and its certain end.

use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};
use serde_json::Value;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(20);

/// Lines of each output stream that a failed scenario prints.
const LAST_WORDS: usize = 40;

/// A running (or ended) program. Dropping it kills it.
pub struct Child {
    name: String,
    process: std::process::Child,
    out: PathBuf,
    err: PathBuf,
    read: u64,
    events: Vec<Value>,
    status: Option<ExitStatus>,
}

impl Child {
    /// Starts a command; its output goes to `folder`.
    pub fn start(name: &str, mut command: Command, folder: &Path) -> Child {
        fs::create_dir_all(folder).unwrap();
        let (out, err) = (folder.join("stdout"), folder.join("stderr"));
        command.stdin(Stdio::null());
        command
            .stdout(File::create(&out).unwrap())
            .stderr(File::create(&err).unwrap());
        // SAFETY: between fork and exec only one system call is made, prctl, which is
        // async-signal-safe; nothing is allocated and no lock is taken.
        unsafe {
            command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::KILL))?));
        }
        let process = command
            .spawn()
            .unwrap_or_else(|e| panic!("{name}: could not start {command:?}: {e}"));
        Child {
            name: name.into(),
            process,
            out,
            err,
            read: 0,
            events: Vec::new(),
            status: None,
        }
    }

    /// The JSON objects it has printed so far, one a line.
    pub fn events(&mut self) -> &[Value] {
        let text = fs::read(&self.out).unwrap();
        let fresh = &text[self.read as usize..];
        if let Some(end) = fresh.iter().rposition(|&byte| byte == b'\n') {
            self.read += end as u64 + 1;
            let lines = fresh[..end].split(|&byte| byte == b'\n');
            self.events
                .extend(lines.filter_map(|line| serde_json::from_slice(line).ok()));
        }
        &self.events
    }

    /// The last event of this name, if it has been printed.
    pub fn said(&mut self, event: &str) -> Option<Value> {
        self.events()
            .iter()
            .rev()
            .find(|e| e["event"] == event)
            .cloned()
    }

    /// Waits for an event.
    pub fn wait_for(&mut self, event: &str, within: Duration) -> Value {
        self.wait(&format!("event {event:?}"), within, |child| {
            child.said(event)
        })
    }

    /// Waits until `condition` gives a value. A process that has failed meanwhile cannot bring
    /// it about any more, so that ends the wait at once.
    pub fn wait<T>(
        &mut self,
        what: &str,
        within: Duration,
        mut condition: impl FnMut(&mut Child) -> Option<T>,
    ) -> T {
        let end = Instant::now() + within;
        loop {
            let ended = self.ended();
            if let Some(value) = condition(self) {
                return value;
            }
            if let Some(status) = ended
                && !status.success()
            {
                panic!(
                    "{}: ended with {status} while waited for: {what}",
                    self.name
                );
            }
            assert!(
                Instant::now() < end,
                "{}: not within {within:?}: {what}",
                self.name
            );
            std::thread::sleep(POLL);
        }
    }

    /// Its exit status, once it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.status = self.process.try_wait().unwrap();
        }
        self.status
    }

    /// Waits for its end and gives the exit code.
    pub fn exit_code(&mut self, within: Duration) -> i32 {
        let end = Instant::now() + within;
        loop {
            if let Some(status) = self.ended() {
                return status
                    .code()
                    .unwrap_or_else(|| panic!("{}: ended by {status}", self.name));
            }
            assert!(
                Instant::now() < end,
                "{}: still running after {within:?}",
                self.name
            );
            std::thread::sleep(POLL);
        }
    }

    /// Ctrl-C.
    pub fn interrupt(&mut self) {
        self.signal(Signal::INT);
    }

    /// `kill -9`, and its end.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.status = Some(self.process.wait().unwrap());
    }

    /// Peak resident memory so far, in bytes; `None` once it has ended.
    pub fn peak_memory(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).ok()?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))?;
        Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
    }

    /// All it wrote to its standard error.
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.err).unwrap()).into_owned()
    }

    fn signal(&mut self, signal: Signal) {
        if self.ended().is_none() {
            // Not reaped yet, so the number is still this process's.
            kill_process(Pid::from_child(&self.process), signal).unwrap();
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.process.try_wait().is_ok_and(|status| status.is_none()) {
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
        if std::thread::panicking() {
            for path in [&self.out, &self.err] {
                let text = fs::read(path).unwrap_or_default();
                let text = String::from_utf8_lossy(&text);
                let mut lines: Vec<&str> = text.lines().collect();
                // Of a row of progress lines the last says all.
                lines.dedup_by(|later, earlier| {
                    let both = is_progress(later) && is_progress(earlier);
                    if both {
                        *earlier = *later;
                    }
                    both
                });
                let last = &lines[lines.len().saturating_sub(LAST_WORDS)..];
                let stream = path.file_name().unwrap().display();
                eprintln!("---- {} {stream}\n{}", self.name, last.join("\n"));
            }
        }
    }
}

fn is_progress(line: &str) -> bool {
    line.starts_with('{') && line.contains("\"progress\"")
}
