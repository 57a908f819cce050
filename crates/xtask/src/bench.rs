//! `cargo xtask bench`: Starling beside other clients, measured in the same run.
//!
//! The measuring itself is `benches/bench.py`; this builds the release binary, installs the
//! contestants and passes the arguments on. The case `dht` has no contestants: it is a DHT of 10,000 nodes in one
//! process (`sim dht`), whose JSON goes to `target/bench/runs.jsonl` like that of the others.

use crate::{setup, shell};
use anyhow::{Context, Result, ensure};
use std::io::Write;

pub fn run(args: &[String]) -> Result<()> {
    if let Some((case, args)) = args.split_first()
        && case == "dht"
    {
        return dht(args);
    }
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

fn dht(args: &[String]) -> Result<()> {
    shell::run(&mut shell::cargo(&[
        "build",
        "--release",
        "--quiet",
        "-p",
        "sim",
    ]))?;
    let mut sim = shell::command("target/release/sim", &["dht", "--json"]);
    let output = sim.args(args).output()?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let line = String::from_utf8(output.stdout)?;
    println!("| DHT | |\n|---|---:|");
    let fields = line.trim().trim_matches(['{', '}']).split(',');
    for field in fields {
        let (name, value) = field.split_once(':').context("a field has a name")?;
        println!(
            "| {} | {} |",
            name.trim_matches('"'),
            value.trim_matches('"')
        );
    }
    println!("\n{line}");
    let folder = shell::root().join("target/bench");
    std::fs::create_dir_all(&folder)?;
    let mut runs = std::fs::OpenOptions::new();
    let mut runs = runs
        .create(true)
        .append(true)
        .open(folder.join("runs.jsonl"))?;
    runs.write_all(line.as_bytes())?;
    Ok(())
}
