//! `cargo xtask audit`: what `deny.toml` says about the dependencies.

use crate::shell;
use anyhow::{Result, bail};

/// The release of cargo-deny that `deny.toml` is written for.
const CARGO_DENY: &str = "0.20.2";

pub fn run(args: &[String]) -> Result<()> {
    if !args.is_empty() {
        bail!("usage: cargo xtask audit");
    }
    if !shell::succeeds(&mut shell::cargo(&["deny", "--version"])) {
        shell::run(&mut shell::cargo(&[
            "install",
            "cargo-deny",
            "--locked",
            "--version",
            CARGO_DENY,
        ]))?;
    }
    shell::run(&mut shell::cargo(&[
        "deny",
        "--workspace",
        "check",
        "licenses",
        "bans",
        "sources",
    ]))?;
    // The list of advisories is a git repository; without a way to it the rest still counts.
    if shell::succeeds(&mut shell::cargo(&["deny", "fetch", "db"])) {
        shell::run(&mut shell::cargo(&[
            "deny",
            "--workspace",
            "check",
            "--disable-fetch",
            "advisories",
        ]))
    } else {
        println!("advisories: NOT checked, the advisory database could not be fetched");
        Ok(())
    }
}
