//! The project's own commands: `cargo xtask` lists them.
//!
//! One file per task. A task is a function from its arguments to success or an error that
//! says what to do; it may print as it likes. Nothing here is part of the product, so the
//! only dependency is `anyhow`: this crate is compiled before everything else.

mod audit;
mod bench;
mod docs;
mod fuzz;
mod setup;
mod shell;
mod sim;
mod test;
mod unpacked;

use std::process::ExitCode;

/// One line of `cargo xtask`.
struct Task {
    name: &'static str,
    args: &'static str,
    about: &'static str,
    run: fn(&[String]) -> anyhow::Result<()>,
}

const TASKS: &[Task] = &[
    Task {
        name: "test",
        args: "[FILTER]",
        about: "formatting, lints, every test (other clients included) and the documentation; sets itself up",
        run: test::run,
    },
    Task {
        name: "bench",
        args: "[CASE...] [--quick]",
        about: "speed and memory beside other clients, as Markdown tables; cases: swarm, create, memory, daemon, reach, dht",
        run: bench::run,
    },
    Task {
        name: "fuzz",
        args: "[TARGET] [--time SECONDS] [--seed SEED]",
        about: "random input for every decoder and engine, longer than the tests do",
        run: fuzz::run,
    },
    Task {
        name: "sim",
        args: "[SCENARIO] [--seed SEED] | dht [--nodes N] [--lookups N]",
        about: "the engines in a simulated world; a seed replays a run; dht: a DHT of any size",
        run: sim::run,
    },
    Task {
        name: "audit",
        args: "",
        about: "licences, sources, duplicates and known vulnerabilities of the dependencies",
        run: audit::run,
    },
    Task {
        name: "docs",
        args: "",
        about: "the API documentation, with every warning an error",
        run: docs::run,
    },
    Task {
        name: "setup",
        args: "[--bench]",
        about: "installs the clients that tests (and benchmarks) run against",
        run: setup::run,
    },
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let Some((name, rest)) = args.split_first() else {
        list();
        return ExitCode::SUCCESS;
    };
    let Some(task) = TASKS.iter().find(|task| task.name == name) else {
        list();
        eprintln!("\nThere is no task {name:?}.");
        return ExitCode::from(2);
    };
    match (task.run)(rest) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask {name}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn list() {
    println!("cargo xtask TASK\n");
    for Task {
        name, args, about, ..
    } in TASKS
    {
        println!("  {}\n      {about}", format!("{name} {args}").trim_end());
    }
}
