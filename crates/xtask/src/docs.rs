//! `cargo xtask docs`: the API documentation, with every warning an error.

use crate::shell;
use anyhow::{Result, bail};

pub fn run(args: &[String]) -> Result<()> {
    if !args.is_empty() {
        bail!("usage: cargo xtask docs");
    }
    let doc = [
        "doc",
        "--workspace",
        "--no-deps",
        "--document-private-items",
        "--quiet",
    ];
    shell::run(shell::cargo(&doc).env("RUSTDOCFLAGS", "-D warnings"))?;
    println!("the documentation is in target/doc");
    Ok(())
}
