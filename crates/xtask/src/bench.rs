//! `cargo xtask bench`: Starling beside other clients, measured in the same run.
//!
//! The measuring itself is `benches/bench.py`; this builds the release binary, installs the
//! contestants and passes the arguments on.

use crate::{setup, shell};
use anyhow::Result;

pub fn run(args: &[String]) -> Result<()> {
    setup::bench()?;
    let built = shell::run(&mut shell::cargo(&["build", "--release", "-p", "cli"]));
    if let Err(error) = built {
        println!("Starling is not among the contestants: {error:#}");
    }
    let script = shell::root().join("benches/bench.py");
    let mut bench = shell::command("/usr/bin/python3", &["-u"]);
    bench.arg(script).args(args);
    bench.env(
        "STARLING_BIN",
        shell::root().join("target/release/starling"),
    );
    shell::run(&mut bench)
}
