//! `sim`: runs one scenario with one seed. `cargo xtask sim` is the short way here.

use std::io::Write;
use std::process::ExitCode;

use sim::Origin;
use sim::scenario::{ALL, find};

const USAGE: &str = "usage: sim SCENARIO [--seed N] [--trace]";

fn main() -> ExitCode {
    let (mut name, mut seed, mut print) = (None, 1, false);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--trace" => print = true,
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
