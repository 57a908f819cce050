//! `cargo xtask test`: everything that must hold before a change is good.
//!
//! Sets the machine up, then checks formatting, lints, all tests and the documentation. A
//! failure does not stop what comes after it, so that one run tells all. The last line is
//! always `N passed, N failed`: tests of every binary, and each check as one.

use crate::{docs, setup, shell};
use anyhow::{Context, Result, bail};
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

/// How many interop scenarios run at once. They wait on other clients' timers more than they
/// compute, so more than there are cores.
const SCENARIOS_AT_ONCE: &str = "--test-threads=4";

#[derive(Default)]
struct Tally {
    passed: usize,
    failed: usize,
    failures: Vec<String>,
}

pub fn run(args: &[String]) -> Result<()> {
    let filter: Vec<&str> = args.iter().map(String::as_str).collect();
    let mut tally = Tally::default();
    tally.check("setup", setup::interop);
    if filter.is_empty() {
        tally.check("formatting", || {
            shell::run(&mut shell::cargo(&["fmt", "--all", "--check"]))
        });
        tally.check("lints", || {
            let clippy = [
                "clippy",
                "--workspace",
                "--all-targets",
                "--quiet",
                "--",
                "-D",
                "warnings",
            ];
            shell::run(&mut shell::cargo(&clippy))
        });
    }
    let mut units = shell::cargo(&[
        "test",
        "--workspace",
        "--exclude",
        "interop",
        "--no-fail-fast",
        "--",
    ]);
    units.args(&filter);
    tally.tests("tests", units);
    match interop(&filter) {
        Ok(scenarios) => tally.tests("interop", scenarios),
        Err(error) => tally.fail("interop did not run", &error),
    }
    if filter.is_empty() {
        tally.check("documentation", || docs::run(&[]));
    }
    for failure in &tally.failures {
        println!("failed: {failure}");
    }
    println!("{} passed, {} failed", tally.passed, tally.failed);
    if tally.failed > 0 {
        bail!("not everything passed");
    }
    Ok(())
}

/// The scenarios with other clients, against a binary that was built just now.
fn interop(filter: &[&str]) -> Result<Command> {
    shell::run(&mut shell::cargo(&["build", "-p", "cli"]))?;
    let test = ["test", "-p", "interop", "--no-fail-fast", "--"];
    let mut scenarios = shell::cargo(&test);
    scenarios.arg(SCENARIOS_AT_ONCE).args(filter);
    scenarios.env("STARLING_BIN", shell::root().join("target/debug/starling"));
    setup::with_namespaces(scenarios)
}

impl Tally {
    /// Runs a check that passes or fails as a whole.
    fn check(&mut self, name: &str, check: impl FnOnce() -> Result<()>) {
        match check() {
            Ok(()) => self.passed += 1,
            Err(error) => self.fail(name, &error),
        }
    }

    fn fail(&mut self, name: &str, error: &anyhow::Error) {
        self.failed += 1;
        self.failures.push(format!("{name}: {error:#}"));
    }

    /// Runs test binaries and adds up what they say. A run that fails without a failed test
    /// (it did not compile, or a binary died) counts as one failure.
    fn tests(&mut self, name: &str, command: Command) {
        let before = self.failed;
        let outcome = self.count(command);
        match outcome {
            Ok(true) => {}
            Ok(false) if self.failed > before => {}
            Ok(false) => self.fail(
                name,
                &anyhow::anyhow!("did not compile, or a test binary died"),
            ),
            Err(error) => self.fail(name, &error),
        }
    }

    /// Passes the output on and counts; says whether the command succeeded.
    fn count(&mut self, mut command: Command) -> Result<bool> {
        let line = shell::announce(&command);
        let mut child = command
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("could not start `{line}`"))?;
        let pipe = child.stdout.take().expect("stdout was asked for as a pipe");
        for line in BufReader::new(pipe).split(b'\n') {
            let line = line?;
            let text = String::from_utf8_lossy(&line);
            std::io::stdout().write_all(&line)?;
            println!();
            if let Some((passed, failed)) = summary(&text) {
                self.passed += passed;
                self.failed += failed;
            } else if let Some(test) = text
                .strip_prefix("test ")
                .and_then(|t| t.strip_suffix(" ... FAILED"))
            {
                self.failures.push(test.to_string());
            }
        }
        Ok(child.wait()?.success())
    }
}

/// Reads `test result: ok. 12 passed; 0 failed; …`.
fn summary(line: &str) -> Option<(usize, usize)> {
    let counts = line.strip_prefix("test result: ")?.split_once(". ")?.1;
    let number = |word: &str| -> Option<usize> {
        counts
            .split("; ")
            .find_map(|part| part.strip_suffix(word)?.trim().parse().ok())
    };
    Some((number("passed")?, number("failed")?))
}

#[cfg(test)]
mod tests {
    use super::summary;

    #[test]
    fn a_summary_line_gives_its_counts() {
        let line = "test result: FAILED. 12 passed; 3 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.02s";
        assert_eq!(summary(line), Some((12, 3)));
    }

    #[test]
    fn other_lines_count_for_nothing() {
        assert_eq!(summary("test result"), None);
        assert_eq!(summary("test picker::ends ... ok"), None);
    }
}
