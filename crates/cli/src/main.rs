//! The `starling` command: one file per verb, in [`command`].
//!
//! Here a command line becomes a verb, and its end an exit code. What people and programs read passes through
//! [`console`]; what they paste, through [`source`].

mod ask;
mod authoring;
mod command;
mod config;
mod console;
mod daemon;
mod exit;
mod goals;
mod interrupt;
mod network;
mod paths;
mod remote;
mod source;
mod table;
mod units;
mod watch;
mod which;

use std::process::ExitCode;

use clap::builder::FalseyValueParser;
use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser};

use command::Command;
use console::Console;
use exit::{Exit, Failure};
use interrupt::Interrupt;

/// Give a file or folder to the world, and fetch one from it, with every BitTorrent client as a partner.
#[derive(Parser)]
#[command(
    name = "starling",
    version,
    after_help = exit::TABLE,
    after_long_help = long_help(),
    max_term_width = 100
)]
struct Starling {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    output: OutputFlags,
}

/// The end of `--help`.
fn long_help() -> String {
    format!(
        "\
Examples:
  starling seed ./album                        share a folder with everybody
  starling get 'magnet:?xt=urn:btih:…'         fetch it somewhere else
  starling create ./album -o album.torrent     only make the torrent file
  starling verify album.torrent ./album        is this copy right?

  starling up --detach                         transfers go on in the background
  starling add album.torrent                   give it one more
  starling list                                how they are

What is set once and for all can be given in the environment: --some-flag is STARLING_SOME_FLAG wherever a
verb's help says so. `starling config` has more of it.

{}",
        exit::TABLE
    )
}

/// How much is said, and to whom.
#[derive(clap::Args)]
#[command(next_help_heading = "Output")]
struct OutputFlags {
    /// Write one JSON event a line to stdout, for programs.
    #[arg(long, global = true, env = "STARLING_JSON", value_parser = FalseyValueParser::new())]
    json: bool,
    /// Say nothing but the result and errors.
    #[arg(long, short, global = true, env = "STARLING_QUIET", value_parser = FalseyValueParser::new())]
    quiet: bool,
    /// Do not ask; take yes for the answer.
    #[arg(long, short, global = true, env = "STARLING_YES", value_parser = FalseyValueParser::new())]
    yes: bool,
    /// Log what happens inside to stderr; twice for more. RUST_LOG chooses in detail.
    #[arg(long, short, global = true, env = "STARLING_VERBOSE", action = clap::ArgAction::Count)]
    verbose: u8,
}

/// What every verb is given.
struct Context {
    console: Console,
    interrupt: Interrupt,
    /// Every question has been answered with yes.
    yes: bool,
    /// Counts `-v`.
    verbose: u8,
    /// The verb's flags as they were given.
    matches: ArgMatches,
}

impl Context {
    /// Whether the flag with this id is on the command line, not only in the environment.
    fn is_given(&self, id: &str) -> bool {
        self.matches.try_contains_id(id).is_ok()
            && self.matches.value_source(id) == Some(ValueSource::CommandLine)
    }
}

/// The whole tree of verbs and flags. Values of variables are not shown in help: a tracker's URL may hold a key.
fn tree() -> clap::Command {
    fn hide(command: clap::Command) -> clap::Command {
        command
            .mut_args(|flag| flag.hide_env_values(true))
            .mut_subcommands(hide)
    }
    hide(Starling::command())
}

/// Ends the process if there is nothing to do but to print.
fn parse() -> (Starling, ArgMatches) {
    let mut matches = tree().get_matches();
    let parsed = Starling::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    while let Some((_, inner)) = matches.remove_subcommand() {
        matches = inner;
    }
    (parsed, matches)
}

fn main() -> ExitCode {
    let (Starling { command, output }, matches) = parse();
    // A daemon's log is as its configuration says.
    if !matches!(command, Command::Up(_)) {
        log(output.verbose);
    }
    let console = Console::new(output.json, output.quiet);
    let listening = Interrupt::listen().map_err(|error| {
        Failure::new(Exit::Other, format!("The system gives no thread: {error}."))
    });
    let (console, ended) = match listening {
        Ok(interrupt) => {
            let context = Context {
                console,
                interrupt,
                yes: output.yes,
                verbose: output.verbose,
                matches,
            };
            let ended = command.run(&context);
            (context.console, ended)
        }
        Err(failure) => (console, Err(failure)),
    };
    let exit = ended.map_or_else(|failure| console.failure(failure).exit, |()| Exit::Ok);
    ExitCode::from(exit as u8)
}

/// Logs go to stderr, and only when asked for.
fn log(verbose: u8) {
    use tracing_subscriber::EnvFilter;
    let filter = match (verbose, EnvFilter::try_from_default_env()) {
        (0, Ok(filter)) => filter,
        (0, Err(_)) => return,
        (1, _) => EnvFilter::new("info"),
        (2, _) => EnvFilter::new("debug"),
        (_, _) => EnvFilter::new("trace"),
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
}
