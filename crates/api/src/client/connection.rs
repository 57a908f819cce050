//! Connections to a daemon: made when they are needed, kept while they are idle.

use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderValue};
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Address, Body, ClientError, Result};
use crate::problem::{Kind, Problem};

/// Idle connections that are kept.
const MAX_IDLE: usize = 4;
/// Most bytes of an answer: a page of 500 rows has half a megabyte.
const MAX_ANSWER: usize = 64 << 20;
/// How long connecting may take.
const CONNECT_TIME: Duration = Duration::from_secs(5);
/// How long an answer may take: a preview may fetch a torrent file first.
const ANSWER_TIME: Duration = Duration::from_secs(120);

type Sender = SendRequest<Full<Bytes>>;

#[derive(Debug)]
pub(super) struct Connections {
    address: Address,
    idle: Mutex<Vec<Sender>>,
}

impl Connections {
    pub fn new(address: Address) -> Connections {
        Connections {
            address,
            idle: Mutex::default(),
        }
    }

    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Asks, and reads the whole answer.
    pub async fn ask(&self, method: Method, path: &str, body: Option<Body>) -> Result<Bytes> {
        let mut request = request(&self.address, method, path)?;
        if let Some(body) = body {
            let media_type = HeaderValue::try_from(body.media_type).expect("ours are ASCII");
            request
                .headers_mut()
                .insert(header::CONTENT_TYPE, media_type);
            *request.body_mut() = Full::new(body.bytes);
        }
        timeout(ANSWER_TIME, self.exchange(request))
            .await
            .unwrap_or(Err(ClientError::Timeout))
    }

    async fn exchange(&self, mut request: Request<Full<Bytes>>) -> Result<Bytes> {
        // A kept connection may have been closed meanwhile: then the request was not sent.
        while let Some(mut sender) = self.take() {
            match sender.try_send_request(request).await {
                Ok(response) => return self.finish(sender, response).await,
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(broken(error.error())),
                },
            }
        }
        let mut sender = connect(&self.address).await?;
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| broken(&error))?;
        self.finish(sender, response).await
    }

    async fn finish(&self, sender: Sender, response: Response<Incoming>) -> Result<Bytes> {
        let status = response.status();
        let bytes = collect(response.into_body()).await?;
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < MAX_IDLE && !sender.is_closed() {
            idle.push(sender);
        }
        drop(idle);
        if status.is_success() {
            return Ok(bytes);
        }
        Err(refused(status, &bytes))
    }

    fn take(&self) -> Option<Sender> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|sender| !sender.is_closed());
        idle.pop()
    }
}

/// A request without a body.
pub(super) fn request(
    address: &Address,
    method: Method,
    path: &str,
) -> Result<Request<Full<Bytes>>> {
    let (host, token) = match address {
        Address::Unix(_) => ("localhost", None),
        Address::Tcp(host, token) => (host.as_str(), Some(token)),
    };
    let unfit = |error: http::Error| ClientError::Answer(error.to_string());
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, host);
    let request = match token {
        None => request,
        Some(token) => {
            let mut bearer = HeaderValue::try_from(format!("Bearer {}", token.trim()))
                .map_err(|error| unfit(error.into()))?;
            bearer.set_sensitive(true);
            request.header(header::AUTHORIZATION, bearer)
        }
    };
    request.body(Full::default()).map_err(unfit)
}

/// Connects; the connection works for as long as the sender or its answer is there.
pub(super) async fn connect(address: &Address) -> Result<Sender> {
    let (place, connecting) = match address {
        Address::Unix(path) => {
            let connecting = async { shake_hands(unix(path).await?).await };
            (
                path.display().to_string(),
                timeout(CONNECT_TIME, connecting).await,
            )
        }
        Address::Tcp(host, _) => {
            let connecting = async {
                let stream = TcpStream::connect(host).await?;
                stream.set_nodelay(true)?;
                shake_hands(stream).await
            };
            (host.clone(), timeout(CONNECT_TIME, connecting).await)
        }
    };
    connecting
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        .map_err(|error| ClientError::Unreachable(place, error))
}

#[cfg(unix)]
async fn unix(path: &std::path::Path) -> io::Result<tokio::net::UnixStream> {
    tokio::net::UnixStream::connect(path).await
}

#[cfg(not(unix))]
async fn unix(_: &std::path::Path) -> io::Result<TcpStream> {
    Err(io::ErrorKind::Unsupported.into())
}

async fn shake_hands<T>(stream: T) -> io::Result<Sender>
where
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let handshake = http1::handshake(TokioIo::new(stream)).await;
    let (sender, connection) = handshake.map_err(io::Error::other)?;
    tokio::spawn(async {
        // How it ended is told to whoever waits for an answer on it.
        let _ = connection.await;
    });
    Ok(sender)
}

/// The whole body.
pub(super) async fn collect(mut body: Incoming) -> Result<Bytes> {
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|error| broken(&error))?.into_data() else {
            continue;
        };
        if bytes.len() + data.len() > MAX_ANSWER {
            return Err(ClientError::Answer(format!(
                "it is longer than {MAX_ANSWER} bytes"
            )));
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes.freeze())
}

/// What an answer says that is no success.
pub(super) fn refused(status: http::StatusCode, bytes: &[u8]) -> ClientError {
    match serde_json::from_slice::<Problem>(bytes) {
        Ok(problem) => problem.into(),
        Err(_) => Problem::new(Kind::Internal, format!("The daemon answered {status}.")).into(),
    }
}

pub(super) fn broken(error: &hyper::Error) -> ClientError {
    ClientError::Broken(error.to_string())
}
