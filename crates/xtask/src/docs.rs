//! `cargo xtask docs`: the API documentation, with every warning an error; the manual pages and
//! the shell completions, which the command writes itself.

use crate::shell;
use anyhow::{Result, bail};

const SHELLS: &[&str] = &["bash", "fish", "zsh"];

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
    let starling = |args: &[&str]| {
        let mut run = shell::cargo(&["run", "--quiet", "-p", "cli", "--"]);
        run.args(args);
        run
    };
    shell::run(&mut starling(&["man", "target/man"]))?;
    let completions = shell::root().join("target/completions");
    std::fs::create_dir_all(&completions)?;
    for name in SHELLS {
        let script = shell::output(&mut starling(&["completions", name]))?;
        std::fs::write(completions.join(format!("starling.{name}")), script)?;
    }
    println!("written: target/doc, target/man, target/completions");
    Ok(())
}
