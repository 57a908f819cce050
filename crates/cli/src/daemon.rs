//! A daemon in this process: `starling up`, from its flags to its clean end.
//!
//! Here are its parts put together: the home it holds, the sockets it listens on, the daemon itself, signals, and who
//! is told about it. What the daemon does is in `node::daemon`; what HTTP is, in `gateway`.

mod activation;
mod log;
mod notify;

use std::fs;
use std::net::SocketAddr;
use std::os::unix::net::UnixListener as StdUnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use api::{Problem, Service};
use gateway::content;
use gateway::http::{Config, Listeners, Token, bind_local, router, serve};
use node::daemon::{Daemon, DaemonError, Home, HomeError};
use serde_json::{Value, json};
use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, timeout_at};

use crate::Context;
use crate::config::{ConfigFlag, Configuration, Door};
use crate::exit::{Exit, Failure, sentence};
use crate::paths::{self, HomeFiles};
use crate::remote::short_way;
use crate::watch::refused;
use activation::Passed;
use notify::Notify;

/// How long a stop may take; what is not done by then is done at the next start.
const STOP: Duration = Duration::from_secs(2);
/// How long the home is waited for: the daemon before this one may be on its way out.
const HANDOVER: Duration = Duration::from_millis(500);
/// How often the home is tried meanwhile.
const PAUSE: Duration = Duration::from_millis(50);

/// What a daemon is to be, as its command says.
pub struct Plan {
    /// Its home.
    pub home: PathBuf,
    /// Its configuration's file.
    pub config: ConfigFlag,
    /// What flags set in the configuration.
    pub flags: Vec<(&'static str, Value)>,
    /// Counts `-v`.
    pub verbose: u8,
    /// It is in the background: it logs to a file.
    pub background: bool,
}

impl Plan {
    fn configuration(&self) -> Result<Configuration, Failure> {
        Configuration::load(&self.config, &self.flags)
    }
}

/// Holds the home; one that is about to be free is waited for.
pub fn hold(home: &Path) -> Result<Home, Failure> {
    let until = Instant::now() + HANDOVER;
    loop {
        match Home::hold(home) {
            Ok(held) => return Ok(held),
            Err(HomeError::Taken { .. }) if Instant::now() < until => std::thread::sleep(PAUSE),
            Err(error @ HomeError::Taken { .. }) => {
                return Err(Failure::new(Exit::Other, sentence(&error.to_string())));
            }
            Err(HomeError::System { source, path }) => {
                return Err(Failure::io(&source, "use the folder", &path));
            }
        }
    }
}

/// Runs a daemon until it is told to stop.
pub fn run(context: &Context, plan: &Plan) -> Result<(), Failure> {
    let passed = activation::take()?;
    let configuration = plan.configuration()?;
    let home = hold(&plan.home)?;
    let files = HomeFiles::of(plan.home.clone());
    let log = plan.background.then(|| files.log());
    log::start(plan.verbose, configuration.text("log"), log.as_deref())?;
    log::note_panics();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| {
            Failure::new(
                Exit::Other,
                format!("The system gives no event queue: {error}."),
            )
        })?;
    let ended = runtime.block_on(live(context, plan, configuration, passed, &home, &files));
    if let Err(failure) = &ended {
        tracing::error!("{failure}");
    }
    // What still runs on its threads has no say in how long a stop takes.
    runtime.shutdown_background();
    drop(home);
    ended
}

async fn live(
    context: &Context,
    plan: &Plan,
    configuration: Configuration,
    passed: Passed,
    home: &Home,
    files: &HomeFiles,
) -> Result<(), Failure> {
    let notify = Notify::from_env();
    let doors = Doors::open(&configuration, passed, files).await?;
    let (daemon, worker) = Daemon::start(node::daemon::Config {
        node: configuration.node(plan.home.clone()),
        settings: configuration.settings(),
        downloads: paths::downloads(&plan.home),
        api: doors.shown(),
        content: doors.content_url(),
    })
    .map_err(not_started)?;
    let failed = |error: std::io::Error| Failure::io(&error, "use", &files.token());
    let token = home.token().map_err(failed)?;
    let token = Token::parse(&token).ok_or_else(|| {
        Failure::new(
            Exit::Other,
            format!(
                "{} is no token. Remove it, and a new one is made.",
                files.token().display()
            ),
        )
    })?;
    let config = Config {
        names: configuration.list("api_names"),
        ..Config::new(token)
    };
    let service = Arc::new(daemon.clone());
    let stop = || {
        let daemon = daemon.clone();
        async move { daemon.stopping().await }
    };
    let Doors {
        listeners,
        content: content_doors,
        own,
        ..
    } = doors;
    let mut worker = tokio::spawn(worker.run());
    let content = content::router(Arc::clone(&service));
    let content = tokio::spawn(content::serve(content, content_doors, stop()));
    let api = tokio::spawn(serve(router(service, config), listeners, stop()));

    let status = daemon.status().await?;
    let said = json!({
        "event": "up",
        "pid": status.pid,
        "home": status.home,
        "listening": status.listening,
        "api": status.api,
        "content": status.content,
    });
    context.console.event(&said);
    tracing::info!(
        "peers reach this daemon at {}; its API is at {}",
        status.listening.join(", "),
        status.api.join(", ")
    );
    notify.ready(&format!(
        "Peers reach it at {}",
        status.listening.join(", ")
    ));

    let mut reader = Reader {
        plan,
        files,
        configuration,
    };
    reader.keep();
    let (mut hangup, mut terminate) = (
        listen(SignalKind::hangup())?,
        listen(SignalKind::terminate())?,
    );
    let ended = loop {
        tokio::select! {
            () = daemon.stopping() => break Ok(()),
            _ = tokio::signal::ctrl_c() => daemon.stop(),
            _ = terminate.recv() => daemon.stop(),
            // What is wrong with it is in the log.
            _ = hangup.recv() => drop(reader.read_again(&daemon, &notify)),
            asked = daemon.reload_asked() => asked.answer(reader.read_again(&daemon, &notify)),
            _ = &mut worker => break Err(Failure::new(
                Exit::Other,
                "The daemon has ended by itself. Its log says why; start it again.",
            )),
        }
    };
    notify.stopping();
    daemon.stop();
    let until = Instant::now() + STOP;
    // How they ended, their clients know.
    let _ = timeout_at(until, api).await;
    let _ = timeout_at(until, content).await;
    if ended.is_ok() && timeout_at(until, &mut worker).await.is_err() {
        tracing::warn!(
            "not everything could be written in {STOP:?}; the rest is done at the next start"
        );
    }
    for path in own {
        let _ = fs::remove_file(path);
    }
    tracing::info!("stopped");
    ended
}

fn listen(kind: SignalKind) -> Result<tokio::signal::unix::Signal, Failure> {
    signal(kind).map_err(|error| {
        Failure::new(
            Exit::Other,
            format!("Signals cannot be listened for: {error}."),
        )
    })
}

/// Reads the configuration again when it is asked to.
struct Reader<'a> {
    plan: &'a Plan,
    files: &'a HomeFiles,
    configuration: Configuration,
}

impl Reader<'_> {
    /// For whoever asks what is in effect.
    fn keep(&self) {
        if let Err(error) = self.configuration.keep(self.files) {
            tracing::warn!(%error, "what is in effect could not be written down");
        }
    }

    fn read_again(&mut self, daemon: &Daemon, notify: &Notify) -> Result<(), Problem> {
        notify.reloading();
        let read = self.read(daemon);
        match &read {
            Ok(()) => tracing::info!("the configuration was read again"),
            Err(problem) => tracing::error!("the configuration stays as it was: {problem}"),
        }
        notify.ready("The configuration was read again");
        read
    }

    fn read(&mut self, daemon: &Daemon) -> Result<(), Problem> {
        let read = self
            .plan
            .configuration()
            .map_err(|failure| Problem::invalid(failure.to_string()))?;
        let later = self.configuration.differs_at_start(&read);
        daemon.reconfigure(read.settings())?;
        if !later.is_empty() {
            tracing::warn!(
                "what changed in {} takes effect at the next start",
                later.join(", ")
            );
        }
        self.configuration = read;
        self.keep();
        Ok(())
    }
}

/// The sockets that others connect to.
struct Doors {
    listeners: Listeners,
    content: Vec<TcpListener>,
    /// Unix sockets that we made, and so remove.
    own: Vec<PathBuf>,
    /// Where each unix socket is.
    unix: Vec<PathBuf>,
}

impl Doors {
    /// Those that were passed, and those that the configuration asks for and were not.
    async fn open(
        configuration: &Configuration,
        passed: Passed,
        files: &HomeFiles,
    ) -> Result<Doors, Failure> {
        let unusable = |error| {
            Failure::new(
                Exit::Other,
                format!("A socket that was passed cannot be used: {error}."),
            )
        };
        let taken = |listeners: Vec<std::net::TcpListener>| {
            let taken = listeners.into_iter().map(TcpListener::from_std);
            taken.collect::<Result<Vec<_>, _>>().map_err(unusable)
        };
        let mut tcp = taken(passed.api)?;
        if let (true, Door::At(address)) = (tcp.is_empty(), configuration.door("api")) {
            tcp.push(bind(address, "--api").await?);
        }
        let mut content = taken(passed.content)?;
        if let (true, Door::At(address)) = (content.is_empty(), configuration.door("content")) {
            content.push(bind(address, "--content").await?);
        }
        let (mut unix, mut own) = (Vec::new(), Vec::new());
        let mut listeners = Vec::new();
        for listener in passed.unix {
            unix.extend(path_of(&listener));
            listeners.push(UnixListener::from_std(listener).map_err(unusable)?);
        }
        let socket = files.socket();
        if !unix.contains(&socket) {
            let failed = |error: std::io::Error| Failure::io(&error, "make the socket", &socket);
            let (way, _held) = short_way(&socket).map_err(failed)?;
            listeners.push(bind_local(&way).map_err(failed)?);
            own.push(socket.clone());
            unix.push(socket.clone());
        }
        Ok(Doors {
            listeners: Listeners {
                tcp,
                unix: listeners,
            },
            content,
            own,
            unix,
        })
    }

    /// Where the API is: addresses first, then sockets.
    fn shown(&self) -> Vec<String> {
        let tcp = self
            .listeners
            .tcp
            .iter()
            .filter_map(|listener| listener.local_addr().ok());
        let unix = self.unix.iter().map(|path| path.display().to_string());
        tcp.map(|address| address.to_string()).chain(unix).collect()
    }

    /// Where content is.
    fn content_url(&self) -> Option<String> {
        let address = self.content.first()?.local_addr().ok()?;
        Some(format!("http://{address}"))
    }
}

/// Where a socket is in the file system.
fn path_of(listener: &StdUnixListener) -> Option<PathBuf> {
    listener
        .local_addr()
        .ok()?
        .as_pathname()
        .map(Path::to_owned)
}

async fn bind(address: SocketAddr, flag: &str) -> Result<TcpListener, Failure> {
    if !address.ip().is_loopback() {
        tracing::warn!(
            "{flag} {address}: other computers reach it, and what is said there is not encrypted"
        );
    }
    TcpListener::bind(address).await.map_err(|error| {
        let exit = match error.kind() {
            std::io::ErrorKind::PermissionDenied => Exit::Permission,
            _ => Exit::Other,
        };
        let why = match error.kind() {
            std::io::ErrorKind::AddrInUse => "another program has that port".to_owned(),
            std::io::ErrorKind::AddrNotAvailable => "this computer has no such address".to_owned(),
            _ => error.to_string(),
        };
        Failure::new(
            exit,
            format!(
                "Cannot listen on {address}: {why}. Choose another with {flag} ADDR:PORT; {flag} :0 takes any port."
            ),
        )
    })
}

fn not_started(error: DaemonError) -> Failure {
    match error {
        DaemonError::Start(error) => refused(error),
        DaemonError::Setting(error) => Failure::usage(format!("The setting {error}.")),
        DaemonError::State(error) => Failure::new(Exit::Other, sentence(&error.to_string())),
    }
}
