//! `starling up`: the daemon.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use clap::ArgMatches;
use node::daemon::Home;
use serde_json::{Value, json};

use crate::Context;
use crate::config::{ConfigFlag, keys};
use crate::daemon::{self, Plan};
use crate::exit::{Exit, Failure};
use crate::network::{LimitFlags, NodeFlags};
use crate::paths::{HomeFiles, HomeFlag};
use crate::remote::Remote;

/// How long a daemon in the background may take to answer: its database may have to be rebuilt.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is looked for.
const PAUSE: Duration = Duration::from_millis(20);

const EXAMPLES: &str = "\
Examples:
  starling up --detach                     in the background; prints where its API is
  starling up --api none                   reached by its socket alone
  systemctl --user enable --now starling   with every login, where the unit is installed

One daemon runs for each home. It goes on with all transfers it had; `starling down` stops it.";

/// Run the daemon: transfers go on for as long as the computer is on.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Up {
    /// Go into the background once the API answers; log to HOME/log/starling.log.
    #[arg(long)]
    detach: bool,
    /// In the background already: what --detach starts.
    #[arg(long, hide = true, conflicts_with = "detach")]
    background: bool,
    /// Where the API listens: an address of this computer, :0 for any port, none for the socket alone. [default: 127.0.0.1:7117]
    #[arg(long, value_name = "ADDR:PORT", env = "STARLING_API")]
    api: Option<String>,
    /// Where content is served from, apart from the API. [default: 127.0.0.1:7118]
    #[arg(long, value_name = "ADDR:PORT", env = "STARLING_CONTENT")]
    content: Option<String>,
    #[command(flatten)]
    config: ConfigFlag,
    #[command(flatten)]
    node: NodeFlags,
    #[command(flatten)]
    limits: LimitFlags,
    #[command(flatten)]
    home: HomeFlag,
}

impl Up {
    pub fn run(self, context: &Context) -> Result<(), Failure> {
        let plan = Plan {
            home: self.home.path()?,
            config: self.config.clone(),
            flags: flags(&context.matches)?,
            verbose: context.verbose,
            background: self.background,
        };
        if self.detach {
            return detach(context, &plan);
        }
        if self.background {
            // Fails only for the leader of a group, which is as free of the terminal as can be.
            let _ = rustix::process::setsid();
        }
        daemon::run(context, &plan)
    }
}

/// What the command line sets in the configuration; what the environment sets, the configuration reads itself.
fn flags(matches: &ArgMatches) -> Result<Vec<(&'static str, Value)>, Failure> {
    let mut flags = Vec::new();
    for key in keys::all() {
        let Some(flag) = key.flag else { continue };
        let id = flag.name.trim_start_matches('-').replace('-', "_");
        if matches.value_source(&id) != Some(clap::parser::ValueSource::CommandLine) {
            continue;
        }
        let value = if flag.negates {
            json!(!matches.get_flag(&id))
        } else {
            let raw = matches.get_raw(&id).into_iter().flatten();
            let texts: Vec<&str> = raw.filter_map(|text| text.to_str()).collect();
            let cannot = |why: String| {
                Failure::usage(format!(
                    "{} cannot be {}: {why}.",
                    flag.name,
                    key.quoted(&texts.join(" "))
                ))
            };
            key.read(&texts.join(" ")).map_err(cannot)?
        };
        flags.push((key.name, value));
    }
    Ok(flags)
}

/// Starts the same command in the background and waits until it answers.
fn detach(context: &Context, plan: &Plan) -> Result<(), Failure> {
    if let Some(pid) = Home::holder(&plan.home) {
        // Said in one voice with the one who finds out later.
        drop(daemon::hold(&plan.home)?);
        context
            .console
            .note(&format!("process {pid} has just stopped"));
    }
    let unable = |error: std::io::Error| {
        Failure::new(
            Exit::Other,
            format!("The daemon could not be started: {error}."),
        )
    };
    let program = std::env::current_exe().map_err(unable)?;
    let mut child = Command::new(program);
    let mut arguments = std::env::args_os().skip(1);
    while let Some(argument) = arguments.next() {
        let text = argument.to_str().unwrap_or_default();
        // Everybody on this computer may read a command line: a password goes on in the environment.
        let proxy = match text.strip_prefix("--proxy=") {
            Some(proxy) => Some(proxy.into()),
            None if text == "--proxy" => arguments.next(),
            None => None,
        };
        match (text, proxy) {
            (_, Some(proxy)) => child.env("STARLING_PROXY", proxy),
            ("--detach", None) => child.arg("--background"),
            (_, None) => child.arg(argument),
        };
    }
    let mut child = child
        .env("STARLING_HOME", &plan.home)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(unable)?;
    let until = Instant::now() + PATIENCE;
    loop {
        if child.try_wait().map_err(unable)?.is_some() {
            return Err(ended(child));
        }
        if context.interrupt.is_asked() || Instant::now() >= until {
            let _ = child.kill();
            let _ = child.wait();
            return Err(if context.interrupt.is_asked() {
                Failure::interrupted()
            } else {
                let log = HomeFiles::of(plan.home.clone()).log();
                Failure::new(
                    Exit::Other,
                    format!(
                        "The daemon did not answer in time. {} may say why.",
                        log.display()
                    ),
                )
            });
        }
        if Home::holder(&plan.home) == Some(child.id())
            && let Ok(Some(remote)) = Remote::find_at(context, &plan.home)
            && remote.status.pid == child.id()
        {
            tell(context, &remote.status);
            return Ok(());
        }
        std::thread::sleep(PAUSE);
    }
}

/// It runs, and where.
fn tell(context: &Context, status: &api::Status) {
    let console = &context.console;
    console.event(&json!({
        "event": "up",
        "pid": status.pid,
        "home": status.home,
        "listening": status.listening,
        "api": status.api,
        "content": status.content,
    }));
    for warning in &status.warnings {
        console.warn(warning);
    }
    console.note(&format!(
        "the daemon runs as process {}; peers reach it at {}",
        status.pid,
        status.listening.join(", ")
    ));
    if let Some(api) = status.api.first() {
        console.result(if api.starts_with('/') {
            api.clone()
        } else {
            format!("http://{api}")
        });
    }
}

/// Why the process in the background has ended: its own words, under its own code.
fn ended(mut child: Child) -> Failure {
    let mut said = String::new();
    if let Some(stderr) = child.stderr.take() {
        // What is no text is not for people.
        let _ = stderr.take(64 << 10).read_to_string(&mut said);
    }
    let code = child.wait().ok().and_then(|status| status.code());
    let exit = code.and_then(Exit::of).unwrap_or(Exit::Other);
    let said = said.trim();
    let message = said
        .rsplit_once("error: ")
        .map_or(said, |(_, message)| message);
    if message.is_empty() {
        return Failure::new(exit, "The daemon ended as soon as it was started.");
    }
    Failure::new(exit, message)
}
