//! Files of transfers over HTTP (docs/design/daemon.md): any of them, by ranges, while they are still being fetched.
//!
//! Each transfer is a host of its own, `<key>.localhost`, hard to guess: one transfer's pages are strangers to
//! another's and to the API, and a page from elsewhere knows no host to ask. There are no cookies and no tokens here,
//! nothing is shared with other origins, and what is not played is shown without any right.
//!
//! [`router`] is all of it as a value; [`serve`] gives it sockets.

mod answer;
mod body;
mod listing;
mod media;
mod names;
mod range;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use api::{Content, Kind, Problem};
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::header::{self, HeaderMap};
use http::uri::Authority;
use http::{Method, Request, Uri};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use answer::Verdict;

/// Most files read at once: a few players, and browsers that leave paused ones open. Each holds three chunks at most
/// ([`api::MAX_CHUNK`]), so all together 48 MiB.
pub const MAX_READERS: usize = 64;
/// A head waits so long for the first bytes, so that it can still say what is in their way; a player that waits longer
/// learns the size meanwhile.
const HEAD_PATIENCE: Duration = Duration::from_secs(3);

/// How long a reader may take none of what is sent: a player that is paused for longer asks again.
const WRITE_PATIENCE: Duration = Duration::from_secs(60);

/// What all requests share.
struct App<C> {
    content: Arc<C>,
    readers: Arc<Semaphore>,
}

/// Content as a service: any path, any host.
pub fn router<C: Content>(content: Arc<C>) -> Router {
    let app = App {
        content,
        readers: Arc::new(Semaphore::new(MAX_READERS)),
    };
    Router::new()
        .fallback(handle::<C>)
        .with_state(Arc::new(app))
}

/// Serves content until `stop` is ready; then answers under way are given half a second. Who takes nothing of what is
/// sent for a minute is dropped.
pub async fn serve(router: Router, listeners: Vec<TcpListener>, stop: impl Future<Output = ()>) {
    let listeners = crate::http::Listeners {
        tcp: listeners,
        unix: Vec::new(),
    };
    crate::http::serve_patiently(router, listeners, WRITE_PATIENCE, stop).await;
}

async fn handle<C: Content>(State(app): State<Arc<App<C>>>, request: Request<Body>) -> Response {
    let (head, _) = request.into_parts();
    match app.answer(&head.method, &head.uri, &head.headers).await {
        Ok(response) => response,
        Err(problem) => answer::refusal(&problem),
    }
}

impl<C: Content> App<C> {
    async fn answer(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Result<Response, Problem> {
        if ![Method::GET, Method::HEAD].contains(method) {
            return Err(Problem::new(
                Kind::Method,
                "Content can be read (GET, HEAD) and nothing else.",
            ));
        }
        let host = label(uri, headers).ok_or_else(nothing)?;
        if uri.path() == "/" {
            let listing = self.content.listing(host, listing::MOST).await?;
            return Ok(answer::page(
                "text/html; charset=utf-8",
                listing::page(&listing),
            ));
        }
        let path = names::decoded(uri.path()).ok_or_else(nothing)?;
        let file = self.content.find(host, path).await?;
        let verdict = answer::judge(method, headers, &file);
        let mut response = answer::about(&file, &verdict, wants_to_save(uri));
        let range = match &verdict {
            Verdict::Whole => 0..file.size,
            Verdict::Part(range) => range.clone(),
            Verdict::Unchanged | Verdict::Other | Verdict::Nothing => return Ok(response),
        };
        if method == Method::GET && !range.is_empty() {
            *response.body_mut() = self.begin(&file, range).await?;
        }
        Ok(response)
    }

    /// Begins to read. What is wrong at once can still be said in the head.
    async fn begin(
        &self,
        file: &api::ContentFile,
        range: std::ops::Range<u64>,
    ) -> Result<Body, Problem> {
        let permit = Arc::clone(&self.readers).try_acquire_owned().map_err(|_| {
            Problem::new(
                Kind::Unavailable,
                "As many files as may be are being read. Close a player, or try again in a moment.",
            )
        })?;
        let length = range.end - range.start;
        let mut chunks = self.content.read(file, range).await?;
        let first = match timeout(HEAD_PATIENCE, chunks.next()).await {
            Ok(Some(first)) => Some(first?),
            Ok(None) => {
                return Err(Problem::new(
                    Kind::Unavailable,
                    "The file cannot be read at the moment.",
                ));
            }
            Err(_) => None,
        };
        Ok(body::body(first, chunks, length, permit))
    }
}

/// The label before `.localhost` in the host that a request names (RFC 6761 §6.3), with any port.
fn label(uri: &Uri, headers: &HeaderMap) -> Option<String> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let (host, None) = (hosts.next(), hosts.next()) else {
        return None;
    };
    let host: Option<Authority> = host.and_then(|host| host.to_str().ok()?.parse().ok());
    // A request line with a whole URL goes before (RFC 9112 §3.2.2).
    let name = uri
        .authority()
        .or(host.as_ref())?
        .host()
        .to_ascii_lowercase();
    let label = name.strip_suffix(".localhost")?;
    let is_label = !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric());
    is_label.then(|| label.to_owned())
}

/// `?download`: it is to be saved, not shown.
fn wants_to_save(uri: &Uri) -> bool {
    let mut keys = uri.query().unwrap_or_default().split('&');
    keys.any(|key| key == "download" || key.starts_with("download="))
}

fn nothing() -> Problem {
    Problem::new(
        Kind::NotFound,
        "There is nothing here. The daemon shows the address of each file beside it.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(uri: &str, hosts: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(header::HOST, host.parse().unwrap());
        }
        label(&uri.parse().unwrap(), &headers)
    }

    #[test]
    fn only_a_label_before_localhost_names_content() {
        for host in ["abc2.localhost", "abc2.localhost:7118", "ABC2.LocalHost:1"] {
            assert_eq!(of("/x", &[host]).as_deref(), Some("abc2"), "{host}");
        }
        for host in [
            "localhost",
            "localhost:7118",
            ".localhost",
            "127.0.0.1:7118",
            "abc2",
            "abc2.localhost.evil.example",
            "a.b.localhost",
            "abc2.localhost.",
            "evil.example",
            "a@localhost",
            "",
        ] {
            assert_eq!(of("/x", &[host]), None, "{host}");
        }
        assert_eq!(of("/x", &[]), None);
        assert_eq!(of("/x", &["a.localhost", "b.localhost"]), None);
        assert_eq!(
            of("http://b.localhost/x", &["a.localhost"]).as_deref(),
            Some("b")
        );
    }
}
