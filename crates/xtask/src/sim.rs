//! `cargo xtask sim`: the simulator, built for speed. Its own arguments follow.

use crate::shell;
use anyhow::Result;

pub fn run(args: &[String]) -> Result<()> {
    shell::run(shell::cargo(&["run", "--release", "--quiet", "-p", "sim", "--"]).args(args))
}
