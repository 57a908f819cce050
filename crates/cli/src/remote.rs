//! The daemon of a home, as a verb sees it: found by the home's socket, asked by the client in `api`.

use std::future::Future;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::{Duration, Instant};

use api::client::{Address, Blocking, Client, ClientError, Follower};
use api::{Kind, Problem, Query, Status, Transfer, TransferId};
use node::daemon::Home;

use crate::Context;
use crate::exit::{Exit, Failure, sentence};
use crate::paths::{HomeFiles, HomeFlag};

/// How long a daemon that holds its home may take to answer: it is starting, with up to 10,000 transfers.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is tried again.
const PAUSE: Duration = Duration::from_millis(50);
/// How often Ctrl-C is looked for while an answer is waited for.
const LOOK: Duration = Duration::from_millis(100);
/// Longest path of a unix socket, in bytes: `sun_path` without its NUL (unix(7)), the shortest of all systems.
const MAX_SOCKET_PATH: usize = 103;

/// A daemon that answered.
pub struct Remote<'a> {
    context: &'a Context,
    daemon: Blocking,
    /// How it was when it was found.
    pub status: Status,
    /// The way to its socket stays open.
    _way: Option<OwnedFd>,
}

impl<'a> Remote<'a> {
    /// The daemon of this home, if one runs. One that is starting is waited for.
    pub fn find(context: &'a Context, home: &HomeFlag) -> Result<Option<Remote<'a>>, Failure> {
        Remote::find_at(context, &home.path()?)
    }

    /// The same, of the home at a path.
    pub fn find_at(context: &'a Context, home: &Path) -> Result<Option<Remote<'a>>, Failure> {
        let socket = HomeFiles::of(home.to_owned()).socket();
        let until = Instant::now() + PATIENCE;
        loop {
            if socket.exists() {
                match Remote::connect(context, &socket) {
                    Err(ClientError::Unreachable(_, error))
                        if error.kind() == std::io::ErrorKind::PermissionDenied =>
                    {
                        return Err(Failure::io(&error, "connect to", &socket));
                    }
                    Err(ClientError::Unreachable(..)) => {}
                    Err(error) => return Err(error.into()),
                    Ok(remote) => return Ok(Some(remote)),
                }
            }
            let Some(pid) = Home::holder(home) else {
                return Ok(None);
            };
            if context.interrupt.is_asked() {
                return Err(Failure::interrupted());
            }
            if Instant::now() >= until {
                return Err(Failure::new(
                    Exit::Other,
                    format!(
                        "Process {pid} holds {} and does not answer at {}. Look at its log, or end it.",
                        home.display(),
                        socket.display()
                    ),
                ));
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// The daemon of this home; without one, how to start it.
    pub fn need(context: &'a Context, home: &HomeFlag) -> Result<Remote<'a>, Failure> {
        let path = home.path()?;
        Remote::find_at(context, &path)?.ok_or_else(|| none(&path))
    }

    fn connect(context: &'a Context, socket: &Path) -> Result<Remote<'a>, ClientError> {
        let broken = |error: std::io::Error| ClientError::Broken(error.to_string());
        let (path, way) = short_way(socket).map_err(broken)?;
        let daemon = Blocking::new(Address::Unix(path)).map_err(broken)?;
        let status = daemon.wait(daemon.client().status())?;
        Ok(Remote {
            context,
            daemon,
            status,
            _way: way,
        })
    }

    /// What to ask.
    pub fn client(&self) -> &Client {
        self.daemon.client()
    }

    /// Waits for an answer, or for Ctrl-C.
    pub fn ask<T>(
        &self,
        answer: impl Future<Output = api::client::Result<T>>,
    ) -> Result<T, Failure> {
        Ok(self.try_ask(answer)??)
    }

    /// The same; what the daemon refuses is an answer too.
    pub fn try_ask<T>(
        &self,
        answer: impl Future<Output = api::client::Result<T>>,
    ) -> Result<api::client::Result<T>, Failure> {
        self.daemon.wait(async {
            let mut answer = pin!(answer);
            loop {
                match tokio::time::timeout(LOOK, answer.as_mut()).await {
                    Ok(answer) => return Ok(answer),
                    Err(_) if self.context.interrupt.is_asked() => {
                        return Err(Failure::interrupted());
                    }
                    Err(_) => {}
                }
            }
        })
    }

    /// The next change, if one comes within this time.
    pub fn next(
        &self,
        follower: &mut Follower,
        within: Duration,
    ) -> Result<Option<api::Event>, Failure> {
        let next = async { tokio::time::timeout(within, follower.next()).await };
        match self.daemon.wait(next) {
            Ok(Ok(event)) => Ok(Some(event)),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Ok(None),
        }
    }

    /// All transfers that a query selects, whatever its page.
    pub fn all(&self, query: &Query) -> Result<Vec<Transfer>, Failure> {
        let mut query = Query {
            offset: 0,
            limit: api::MAX_PAGE,
            ..query.clone()
        };
        let mut all = Vec::new();
        loop {
            let mut page = self.ask(self.client().list(&query))?;
            let last = page.transfers.len() < query.limit as usize;
            all.append(&mut page.transfers);
            if last || all.len() >= page.total as usize {
                return Ok(all);
            }
            query.offset += query.limit;
        }
    }

    /// All files of a transfer.
    pub fn files(&self, id: TransferId) -> Result<Vec<api::File>, Failure> {
        let mut files = Vec::new();
        loop {
            let cut = api::Cut {
                offset: u32::try_from(files.len()).unwrap_or(u32::MAX),
                limit: api::MAX_CUT,
            };
            let mut part = self.ask(self.client().files(id, cut))?;
            let last = part.items.is_empty();
            files.append(&mut part.items);
            if last || files.len() >= part.total as usize {
                return Ok(files);
            }
        }
    }
}

/// There is no daemon, and how to start one.
fn none(home: &Path) -> Failure {
    Failure::new(
        Exit::NotFound,
        format!(
            "No daemon runs for {}. Start one: starling up --detach",
            home.display()
        ),
    )
}

/// A path to a socket that the system takes, however long its own is: by way of its folder, held open.
pub fn short_way(socket: &Path) -> std::io::Result<(PathBuf, Option<OwnedFd>)> {
    use std::os::fd::AsRawFd;
    if socket.as_os_str().len() <= MAX_SOCKET_PATH || !cfg!(target_os = "linux") {
        return Ok((socket.to_owned(), None));
    }
    let (Some(folder), Some(name)) = (socket.parent(), socket.file_name()) else {
        return Ok((socket.to_owned(), None));
    };
    let folder = OwnedFd::from(std::fs::File::open(folder)?);
    let way = Path::new("/proc/self/fd")
        .join(folder.as_raw_fd().to_string())
        .join(name);
    Ok((way, Some(folder)))
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Failure {
        match error {
            ClientError::Problem(problem) => problem.into(),
            ClientError::Unreachable(..) => Failure::new(
                Exit::Other,
                "The daemon has gone. `starling up --detach` starts one.",
            ),
            other => Failure::new(Exit::Other, sentence(&other.to_string())),
        }
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Failure {
        let exit = match problem.kind {
            Kind::NotFound => Exit::NotFound,
            Kind::Malformed | Kind::Invalid | Kind::TooLarge | Kind::AlreadyPresent => Exit::Usage,
            Kind::Unauthorized | Kind::Forbidden | Kind::Permission => Exit::Permission,
            Kind::Damaged => Exit::Verification,
            Kind::NoSpace => Exit::NoSpace,
            _ => Exit::Other,
        };
        Failure::new(exit, sentence(&problem.detail))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_far_down_is_reached_all_the_same() {
        use std::os::unix::net::{UnixListener, UnixStream};
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("x".repeat(80)).join("y".repeat(80));
        std::fs::create_dir_all(&deep).unwrap();
        let socket = deep.join("api.sock");
        let (way, _held) = short_way(&socket).unwrap();
        let _listener = UnixListener::bind(way).unwrap();
        assert!(socket.exists());
        let (way, _held) = short_way(&socket).unwrap();
        UnixStream::connect(way).unwrap();
    }
}
