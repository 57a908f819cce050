//! Sockets for the API: how many connections there may be, how long each may take to ask and to
//! read the answer, and how they end.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::os::unix::net::UnixListener as StdUnixListener;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use futures_util::future::BoxFuture;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::answer::headers_text;
use super::guard::Caller;
use super::patient::Patient;

/// Most connections over TCP at once: all followers, and as many again.
const MAX_TCP: usize = 512;
/// Most connections over the unix socket at once. They are counted apart, so that a crowd at the
/// port does not keep the owner's tools out.
const MAX_LOCAL: usize = 512;
/// Most connections over those limits that are being told so; others are closed at once.
const MAX_TURNED_AWAY: usize = 64;
/// How long one may take to read that.
const TURN_AWAY_TIME: Duration = Duration::from_secs(1);
/// Bytes that a connection buffers of heads it reads and answers it writes.
const BUFFER_BYTES: usize = 64 << 10;
/// How long a head may take, and how long a connection may be idle.
const HEAD_TIME: Duration = Duration::from_secs(30);
/// How long the other side may take none of what we write.
const WRITE_PATIENCE: Duration = Duration::from_secs(30);
/// How long answers under way are given when the daemon stops.
const GRACE: Duration = Duration::from_millis(500);
/// How long accepting pauses when the system has no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where the API is served.
#[derive(Debug, Default)]
pub struct Listeners {
    /// With a token, Host and Origin checks.
    pub tcp: Vec<TcpListener>,
    /// For whoever can open them: see [`bind_local`].
    pub unix: Vec<UnixListener>,
}

/// Listens on a unix socket that its owner alone can open (0600). A socket that is there is
/// replaced: the caller holds the lock of its folder.
///
/// # Errors
/// What the system says: the folder cannot be written, the path is longer than a socket's may be.
pub fn bind_local(path: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    // Before it has a name, so that it is never open to others (Linux; elsewhere it is refused).
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    let _ = rustix::fs::fchmod(&socket, mode);
    socket.bind(&socket2::SockAddr::unix(path)?)?;
    rustix::fs::chmod(path, mode)?;
    socket.listen(128)?;
    UnixListener::from_std(StdUnixListener::from(socket))
}

/// Serves until `stop` is ready; then answers under way are given half a second.
pub async fn serve(router: Router, listeners: Listeners, stop: impl Future<Output = ()>) {
    serve_patiently(router, listeners, WRITE_PATIENCE, stop).await;
}

/// The same, for those who may take none of what we write for as long as `patience`.
pub(crate) async fn serve_patiently(
    router: Router,
    listeners: Listeners,
    patience: Duration,
    stop: impl Future<Output = ()>,
) {
    let (stopping, stopped) = watch::channel(());
    let host = Arc::new(Host {
        router,
        patience,
        stopped,
        tcp: Arc::new(Semaphore::new(MAX_TCP)),
        local: Arc::new(Semaphore::new(MAX_LOCAL)),
        turned_away: Arc::new(Semaphore::new(MAX_TURNED_AWAY)),
    });
    let mut doors = JoinSet::new();
    for listener in listeners.tcp {
        doors.spawn(Arc::clone(&host).accept(listener, Arc::clone(&host.tcp)));
    }
    for listener in listeners.unix {
        doors.spawn(Arc::clone(&host).accept(listener, Arc::clone(&host.local)));
    }
    stop.await;
    drop(stopping);
    // Each door has its connections and ends with them.
    let ended = async { while doors.join_next().await.is_some() {} };
    let _ = timeout(GRACE, ended).await;
}

/// Where connections come in.
trait Door: Send + Sync + 'static {
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// The next connection, and whose it is.
    fn next(&self) -> impl Future<Output = io::Result<(Self::Stream, Caller)>> + Send;
}

impl Door for TcpListener {
    type Stream = TcpStream;

    async fn next(&self) -> io::Result<(TcpStream, Caller)> {
        let (stream, peer) = self.accept().await?;
        let local = stream.local_addr()?;
        // Small answers leave at once.
        stream.set_nodelay(true)?;
        Ok((stream, Caller::Tcp { peer, local }))
    }
}

impl Door for UnixListener {
    type Stream = UnixStream;

    async fn next(&self) -> io::Result<(UnixStream, Caller)> {
        let (stream, _) = self.accept().await?;
        let uid = stream.peer_cred()?.uid();
        if uid != rustix::process::geteuid().as_raw() && uid != 0 {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        Ok((stream, Caller::Local))
    }
}

/// What all connections share.
struct Host {
    router: Router,
    patience: Duration,
    /// Closed when the daemon stops.
    stopped: watch::Receiver<()>,
    tcp: Arc<Semaphore>,
    local: Arc<Semaphore>,
    turned_away: Arc<Semaphore>,
}

impl Host {
    /// Takes connections until the daemon stops, then waits for those there are.
    async fn accept(self: Arc<Host>, door: impl Door, room: Arc<Semaphore>) {
        let mut stopped = self.stopped.clone();
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                biased;
                _ = stopped.changed() => break,
                Some(_) = connections.join_next() => continue,
                accepted = door.next() => accepted,
            };
            match accepted {
                Ok((stream, caller)) => match Arc::clone(&room).try_acquire_owned() {
                    Ok(permit) => {
                        connections.spawn(Arc::clone(&self).talk(stream, caller, permit));
                    }
                    Err(_) => {
                        if let Ok(permit) = Arc::clone(&self.turned_away).try_acquire_owned() {
                            connections.spawn(turn_away(stream, permit));
                        }
                    }
                },
                Err(error) => {
                    tracing::debug!(%error, "a connection to the API could not be taken");
                    if is_out_of_files(&error) {
                        sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        }
        while connections.join_next().await.is_some() {}
    }

    /// One connection, from its first request to its end.
    async fn talk<T: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
        self: Arc<Host>,
        stream: T,
        caller: Caller,
        _permit: OwnedSemaphorePermit,
    ) {
        let stream = TokioIo::new(Patient::new(stream, self.patience));
        let service = Named {
            router: TowerToHyperService::new(self.router.clone()),
            caller,
        };
        let mut connection = pin!(
            http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIME)
                .max_buf_size(BUFFER_BYTES)
                .serve_connection(stream, service)
        );
        let mut stopped = self.stopped.clone();
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            _ = stopped.changed() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, ?caller, "a connection to the API ended early");
        }
    }
}

fn is_out_of_files(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let code = error.raw_os_error();
    [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM]
        .iter()
        .any(|errno| code == Some(errno.raw_os_error()))
}

/// Says that there are too many, whatever the request.
async fn turn_away<T: AsyncRead + AsyncWrite + Unpin>(
    mut stream: T,
    _permit: OwnedSemaphorePermit,
) {
    let problem = api::Problem::new(
        api::Kind::Unavailable,
        "The daemon has as many connections as it takes. Try again in a moment.",
    );
    let body = serde_json::to_string(&problem).expect("our types are JSON");
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\nretry-after: 5\r\nconnection: close\r\n\
         content-type: application/problem+json\r\ncontent-length: {}\r\n{}\r\n{body}",
        body.len(),
        headers_text(),
    );
    let telling = async {
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await?;
        // What it asked is read, lest closing resets the connection before it read the answer.
        tokio::io::copy(&mut stream, &mut tokio::io::sink()).await
    };
    let _ = timeout(TURN_AWAY_TIME, telling).await;
}

/// The router, for requests of one caller.
struct Named {
    router: TowerToHyperService<Router>,
    caller: Caller,
}

impl hyper::service::Service<Request<Incoming>> for Named {
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(self.caller);
        Box::pin(hyper::service::Service::call(&self.router, request))
    }
}
