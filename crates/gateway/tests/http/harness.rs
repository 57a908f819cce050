//! A daemon on sockets of this test alone, and requests written by hand: so they can be as wrong
//! as a test wants.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use api::client::{Address, Client};
use gateway::http::{Config, Listeners, Token, bind_local, router, serve};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::fake::Fake;

/// Longer than anything takes here.
pub const LONG: Duration = Duration::from_secs(20);

/// A daemon that is served.
pub struct Daemon {
    pub fake: Arc<Fake>,
    pub address: SocketAddr,
    pub socket: PathBuf,
    pub token: String,
    stop: Option<oneshot::Sender<()>>,
    pub serving: JoinHandle<()>,
    _dir: tempfile::TempDir,
}

impl Daemon {
    /// With so many transfers.
    pub async fn start(transfers: u32) -> Daemon {
        Daemon::with(transfers, |_| ()).await
    }

    /// Served in another way than usual.
    pub async fn with(transfers: u32, change: impl FnOnce(&mut Config)) -> Daemon {
        let fake = Arc::new(Fake::new(transfers));
        let token = Token::random();
        let text = token.expose().to_owned();
        let mut config = Config::new(token);
        change(&mut config);
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("api.sock");
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let listeners = Listeners {
            tcp: vec![listener],
            unix: vec![bind_local(&socket).unwrap()],
        };
        let (stop, stopped) = oneshot::channel();
        let app = router(Arc::clone(&fake), config);
        let serving = tokio::spawn(serve(app, listeners, async { drop(stopped.await) }));
        Daemon {
            fake,
            address,
            socket,
            token: text,
            stop: Some(stop),
            serving,
            _dir: dir,
        }
    }

    pub fn stop(&mut self) {
        self.stop.take();
    }

    /// A client over TCP.
    pub fn client(&self) -> Client {
        Client::new(Address::Tcp(self.address.to_string(), self.token.clone()))
    }

    /// A client over the unix socket.
    pub fn local_client(&self) -> Client {
        Client::new(Address::Unix(self.socket.clone()))
    }

    pub async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// A request as it should be: the right Host and token, and these headers.
    pub fn head(&self, line: &str, headers: &str) -> String {
        format!(
            "{line} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n{headers}",
            self.address, self.token
        )
    }

    /// Asks as it should be.
    pub async fn ask(&self, line: &str) -> Answer {
        self.send(&self.head(line, "\r\n")).await
    }

    /// Asks with a body of JSON.
    pub async fn ask_json(&self, line: &str, body: &str) -> Answer {
        self.ask_typed(line, "application/json", body.as_bytes())
            .await
    }

    /// Asks with a body of this type.
    pub async fn ask_typed(&self, line: &str, media_type: &str, body: &[u8]) -> Answer {
        let headers = format!(
            "Content-Type: {media_type}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let mut request = self.head(line, &headers).into_bytes();
        request.extend_from_slice(body);
        self.send(request).await
    }

    /// Sends these bytes and reads one answer.
    pub async fn send(&self, bytes: impl AsRef<[u8]>) -> Answer {
        let mut stream = self.connect().await;
        stream.write_all(bytes.as_ref()).await.unwrap();
        Answer::read(&mut stream).await.expect("an answer")
    }
}

/// An answer, taken apart.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// By name in lower case.
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Answer {
    /// Reads one whose length is known, or that ends with its connection.
    pub async fn read(stream: &mut (impl AsyncReadExt + Unpin)) -> Option<Answer> {
        within(async {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.ok()?);
            }
            let head = String::from_utf8(head).unwrap();
            let mut lines = head.lines();
            let status = lines
                .next()
                .unwrap()
                .split(' ')
                .nth(1)
                .unwrap()
                .parse()
                .unwrap();
            let headers: BTreeMap<String, String> = lines
                .filter_map(|line| line.split_once(':'))
                .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
                .collect();
            let length = headers
                .get("content-length")
                .map(|length| length.parse().unwrap());
            let mut body = vec![0; length.unwrap_or(0)];
            stream.read_exact(&mut body).await.ok()?;
            Some(Answer {
                status,
                headers,
                body,
            })
        })
        .await
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    pub fn json(&self) -> Value {
        assert_eq!(self.header("content-type"), "application/json", "{self:?}");
        serde_json::from_slice(&self.body).unwrap()
    }

    /// It must be a problem of this kind, whole.
    pub fn refused(&self, status: u16, kind: &str) -> String {
        assert_eq!(
            self.status,
            status,
            "{}",
            String::from_utf8_lossy(&self.body)
        );
        assert_eq!(self.header("content-type"), "application/problem+json");
        let problem: api::Problem = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(problem.status, status);
        assert_eq!(problem.kind.name(), kind);
        assert_eq!(problem.type_uri, format!("urn:starling:problem:{kind}"));
        assert!(
            !problem.title.is_empty() && problem.detail.ends_with('.'),
            "{problem:?}"
        );
        problem.detail
    }
}

/// It must not take long.
pub async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(LONG, future)
        .await
        .expect("it should not take long")
}
