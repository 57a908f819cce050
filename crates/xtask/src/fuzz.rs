//! `cargo xtask fuzz`: random input for every decoder and engine.
//!
//! A fuzz target is a test named `fuzz_…` written with bolero. As part of `cargo xtask test` each
//! runs for about a second; here it runs as long as asked, on the stable compiler, with overflow
//! checks and debug assertions on. A failure prints its seed, which `--seed` plays again.

use crate::shell;
use anyhow::{Context, Result, bail};

/// Time for each target unless `--time` says otherwise, in seconds.
const DEFAULT_SECONDS: u64 = 60;

/// Longest input in bytes. Enough for several peer messages or a small torrent file.
const INPUT_BYTES: &str = "65536";

pub fn run(args: &[String]) -> Result<()> {
    let (mut target, mut seconds, mut seed) = ("fuzz_".to_string(), DEFAULT_SECONDS, None);
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--time" => {
                let value = args.next().context("--time needs a number of seconds")?;
                seconds = value
                    .parse()
                    .with_context(|| format!("--time {value}: not a number of seconds"))?;
            }
            "--seed" => {
                seed = Some(
                    args.next()
                        .context("--seed needs the seed that a failure printed")?,
                )
            }
            flag if flag.starts_with('-') => {
                bail!("usage: cargo xtask fuzz [TARGET] [--time SECONDS] [--seed SEED]")
            }
            name => target = name.to_string(),
        }
    }
    let mut command = shell::cargo(&[
        "test",
        "--workspace",
        "--exclude",
        "interop",
        "--tests",
        "--no-fail-fast",
        "--",
    ]);
    command
        .arg(&target)
        .env("BOLERO_RANDOM_MAX_LEN", INPUT_BYTES);
    match seed {
        Some(seed) => command
            .env("BOLERO_RANDOM_SEED", seed)
            .env("BOLERO_RANDOM_ITERATIONS", "1"),
        None => command.env("BOLERO_RANDOM_TEST_TIME_MS", (seconds * 1000).to_string()),
    };
    shell::run(&mut command)
}
