//! `sim`: runs one scenario with one seed, or a DHT of any size. `cargo xtask sim` is the short way here.

use std::io::Write;
use std::process::ExitCode;

use sim::Origin;
use sim::scenario::{ALL, find};

const USAGE: &str = "usage: sim SCENARIO [--seed N] [--trace]\n       sim dht [--nodes N] [--lookups N] [--seed N] [--json]";

/// What `sim dht` does when nothing is said.
const NODES: usize = 10_000;
const LOOKUPS: usize = 2_000;

fn main() -> ExitCode {
    let (mut name, mut seed, mut print) = (None, 1, false);
    let (mut nodes, mut lookups, mut json) = (NODES, LOOKUPS, false);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--trace" => print = true,
            "--json" => json = true,
            "--nodes" | "--lookups" => match args.next().and_then(|n| n.parse().ok()) {
                Some(n) if arg == "--nodes" => nodes = n,
                Some(n) => lookups = n,
                None => return usage(&format!("{arg} takes a number")),
            },
            "--seed" => match args.next().and_then(|n| n.parse().ok()) {
                Some(n) => seed = n,
                None => return usage("--seed takes a number"),
            },
            _ if arg.starts_with('-') => return usage(&format!("there is no {arg}")),
            _ => name = Some(arg),
        }
    }
    let Some(name) = name else {
        println!("{USAGE}\n");
        ALL.iter()
            .for_each(|s| println!("{:24} {}", s.name, s.about));
        return ExitCode::SUCCESS;
    };
    if name == "dht" {
        let outcome = sim::crowd::run(nodes.max(1), lookups, seed);
        let text = match json {
            true => outcome.json() + "\n",
            false => outcome.to_string(),
        };
        // Whoever reads may have read enough.
        let _ = std::io::stdout().write_all(text.as_bytes());
        return ExitCode::SUCCESS;
    }
    let Some(scenario) = find(&name) else {
        return usage(&format!("there is no scenario {name}"));
    };
    let begun = std::time::Instant::now();
    let scenario_name = scenario.name;
    let report = (scenario.run)(Origin {
        scenario: scenario_name,
        seed,
        print,
    });
    let real = begun.elapsed().as_secs_f64();
    let mut out = std::io::stdout();
    // Whoever reads may have read enough.
    let _ = writeln!(
        out,
        "{scenario_name} with seed {seed}: {report}\nin {real:.2} s of real time"
    );
    ExitCode::SUCCESS
}

fn usage(what: &str) -> ExitCode {
    eprintln!("{what}\n{USAGE}");
    ExitCode::from(2)
}
