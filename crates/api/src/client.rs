//! A client of a daemon: over its unix socket, or over TCP with its token.
//!
//! [`Client`] has a method for each thing that can be asked; [`Follower`] follows what changes and
//! comes back by itself. [`Blocking`] is for programs without a runtime.

mod blocking;
mod connection;
mod follower;
mod sse;

use std::path::PathBuf;

use bytes::Bytes;
use http::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use blocking::Blocking;
pub use follower::{Follower, Said};

use crate::add::{
    Add, AddBody, AddOptions, Deleted, MorePeers, Move, Preview, PreviewBody, Removed, Rename,
    Source, TransferPatch, WebSeedChange,
};
use crate::bulk::{Bulk, BulkAnswer};
use crate::detail::{File, Peer, Reach, Reusable, Tracker, WebSeed};
use crate::ids::{EventId, TransferId, encoded};
use crate::label::{Label, LabelPatch};
use crate::problem::Problem;
use crate::query::{Cut, Items, Page, Query};
use crate::settings::{Settings, SettingsPatch};
use crate::status::{LoginLink, Status};
use crate::transfer::Transfer;
use crate::view::{ViewEvent, ViewQuery};
use connection::Connections;

/// Where a daemon is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// At this unix socket.
    Unix(PathBuf),
    /// At this HOST:PORT, with this token.
    Tcp(String, String),
}

/// Why a request was not answered as hoped.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody is there.
    #[error("no daemon answers at {0}: {1}. `starling up` starts one")]
    Unreachable(String, std::io::Error),
    /// It answered that it cannot be done.
    #[error(transparent)]
    Problem(#[from] Problem),
    /// The connection broke off before the answer was here.
    #[error("the daemon broke off: {0}")]
    Broken(String),
    /// The answer took too long.
    #[error("the daemon did not answer in time")]
    Timeout,
    /// It answered something that this client does not understand.
    #[error("the answer cannot be read: {0}. Are daemon and command of one version?")]
    Answer(String),
}

/// What a request came to.
pub type Result<T> = std::result::Result<T, ClientError>;

/// What a request carries.
pub(crate) struct Body {
    media_type: String,
    bytes: Bytes,
}

impl Body {
    fn json(value: &impl Serialize) -> Body {
        Body {
            media_type: "application/json".to_owned(),
            bytes: serde_json::to_vec(value)
                .expect("our types are JSON")
                .into(),
        }
    }

    /// A form with a torrent file and how to add it.
    fn form(torrent: &[u8], options: &AddOptions) -> Body {
        let absent = |boundary: &String| {
            !torrent
                .windows(boundary.len())
                .any(|window| window == boundary.as_bytes())
        };
        let boundary = (0..).map(|n| format!("starling-{n}")).find(absent);
        let boundary = boundary.expect("a file does not contain every number");
        let options = serde_json::to_string(options).expect("our types are JSON");
        let mut bytes = format!(
            "--{boundary}\r\ncontent-disposition: form-data; name=\"options\"\r\n\
             content-type: application/json\r\n\r\n{options}\r\n\
             --{boundary}\r\ncontent-disposition: form-data; name=\"torrent\"; filename=\"torrent\"\r\n\
             content-type: application/x-bittorrent\r\n\r\n"
        )
        .into_bytes();
        bytes.extend_from_slice(torrent);
        bytes.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
        Body {
            media_type: format!("multipart/form-data; boundary={boundary}"),
            bytes: bytes.into(),
        }
    }
}

/// A client of a daemon. It keeps connections open between requests.
#[derive(Debug)]
pub struct Client {
    connections: Connections,
}

impl Client {
    /// A client of the daemon at this address; it connects when it is first asked.
    pub fn new(address: Address) -> Client {
        Client {
            connections: Connections::new(address),
        }
    }

    async fn ask(&self, method: Method, path: &str, body: Option<Body>) -> Result<Bytes> {
        self.connections.ask(method, path, body).await
    }

    async fn get_json<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        read(&self.ask(Method::GET, path, None).await?)
    }

    async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        value: &impl Serialize,
    ) -> Result<T> {
        read(&self.ask(method, path, Some(Body::json(value))).await?)
    }

    async fn order<T: DeserializeOwned>(&self, id: TransferId, verb: &str) -> Result<T> {
        let path = format!("/api/v1/transfers/{id}/{verb}");
        read(&self.ask(Method::POST, &path, None).await?)
    }

    /// The daemon at a glance.
    pub async fn status(&self) -> Result<Status> {
        self.get_json("/api/v1/status").await
    }

    /// A page of transfers.
    pub async fn list(&self, query: &Query) -> Result<Page<Transfer>> {
        self.get_json(&format!("/api/v1/transfers?{}", query_text(query)))
            .await
    }

    /// One transfer.
    pub async fn get(&self, id: TransferId) -> Result<Transfer> {
        self.get_json(&format!("/api/v1/transfers/{id}")).await
    }

    /// Some of its files.
    pub async fn files(&self, id: TransferId, cut: Cut) -> Result<Items<File>> {
        let Cut { offset, limit } = cut;
        let path = format!("/api/v1/transfers/{id}/files?offset={offset}&limit={limit}");
        self.get_json(&path).await
    }

    /// Its connected peers.
    pub async fn peers(&self, id: TransferId) -> Result<Vec<Peer>> {
        self.get_json(&format!("/api/v1/transfers/{id}/peers"))
            .await
    }

    /// How far its peers are reached.
    pub async fn reach(&self, id: TransferId) -> Result<Reach> {
        self.get_json(&format!("/api/v1/transfers/{id}/reach"))
            .await
    }

    /// Its trackers.
    pub async fn trackers(&self, id: TransferId) -> Result<Vec<Tracker>> {
        self.get_json(&format!("/api/v1/transfers/{id}/trackers"))
            .await
    }

    /// Its web seeds.
    pub async fn web_seeds(&self, id: TransferId) -> Result<Vec<WebSeed>> {
        self.get_json(&format!("/api/v1/transfers/{id}/web-seeds"))
            .await
    }

    /// Has other servers asked for it.
    pub async fn change_web_seeds(
        &self,
        id: TransferId,
        change: &WebSeedChange,
    ) -> Result<Vec<WebSeed>> {
        let path = format!("/api/v1/transfers/{id}/web-seeds");
        self.send(Method::POST, &path, change).await
    }

    /// What other transfers have of its files.
    pub async fn reusable(&self, id: TransferId) -> Result<Reusable> {
        self.get_json(&format!("/api/v1/transfers/{id}/reusable"))
            .await
    }

    /// Copies what other transfers have of its files.
    pub async fn reuse(&self, id: TransferId) -> Result<Transfer> {
        self.order(id, "reuse").await
    }

    /// Adds a transfer.
    pub async fn add(&self, add: Add) -> Result<Transfer> {
        let body = match add.source {
            Source::Text(source) => Body::json(&AddBody {
                source,
                options: add.options,
            }),
            Source::Torrent(torrent) => Body::form(&torrent, &add.options),
        };
        read(
            &self
                .ask(Method::POST, "/api/v1/transfers", Some(body))
                .await?,
        )
    }

    /// What adding it would add.
    pub async fn preview(&self, source: Source) -> Result<Preview> {
        let body = match source {
            Source::Text(source) => Body::json(&PreviewBody { source }),
            Source::Torrent(bytes) => Body {
                media_type: "application/x-bittorrent".to_owned(),
                bytes,
            },
        };
        read(
            &self
                .ask(Method::POST, "/api/v1/previews", Some(body))
                .await?,
        )
    }

    /// Changes a transfer.
    pub async fn update(&self, id: TransferId, patch: &TransferPatch) -> Result<Transfer> {
        let path = format!("/api/v1/transfers/{id}");
        self.send(Method::PATCH, &path, patch).await
    }

    /// Has these addresses tried for it.
    pub async fn add_peers(&self, id: TransferId, peers: &MorePeers) -> Result<Transfer> {
        let path = format!("/api/v1/transfers/{id}/peers");
        self.send(Method::POST, &path, peers).await
    }

    /// Does one thing to many. Of many thousands the answer may take longer than this client waits;
    /// the daemon does it to the end all the same.
    pub async fn bulk(&self, bulk: &Bulk) -> Result<BulkAnswer> {
        self.send(Method::POST, "/api/v1/bulk", bulk).await
    }

    /// Pauses a transfer.
    pub async fn pause(&self, id: TransferId) -> Result<Transfer> {
        self.order(id, "pause").await
    }

    /// Resumes a transfer.
    pub async fn resume(&self, id: TransferId) -> Result<Transfer> {
        self.order(id, "resume").await
    }

    /// Has its data hashed again.
    pub async fn recheck(&self, id: TransferId) -> Result<Transfer> {
        self.order(id, "recheck").await
    }

    /// Has its data moved.
    pub async fn move_data(&self, id: TransferId, to: &Move) -> Result<Transfer> {
        let path = format!("/api/v1/transfers/{id}/move");
        self.send(Method::POST, &path, to).await
    }

    /// Renames what it has on disk.
    pub async fn rename(&self, id: TransferId, rename: &Rename) -> Result<Transfer> {
        let path = format!("/api/v1/transfers/{id}/rename");
        self.send(Method::POST, &path, rename).await
    }

    /// Forgets a transfer; its files stay.
    pub async fn forget(&self, id: TransferId) -> Result<()> {
        let path = format!("/api/v1/transfers/{id}?files=keep");
        self.ask(Method::DELETE, &path, None).await.map(drop)
    }

    /// Forgets a transfer and deletes its files, to the trash where there is one.
    pub async fn delete(&self, id: TransferId) -> Result<Deleted> {
        let path = format!("/api/v1/transfers/{id}?files=delete");
        let removed: Removed = read(&self.ask(Method::DELETE, &path, None).await?)?;
        Ok(removed.files)
    }

    /// All labels.
    pub async fn labels(&self) -> Result<Vec<Label>> {
        self.get_json("/api/v1/labels").await
    }

    /// Makes a label.
    pub async fn add_label(&self, label: &Label) -> Result<Label> {
        self.send(Method::POST, "/api/v1/labels", label).await
    }

    /// Changes a label.
    pub async fn update_label(&self, name: &str, patch: &LabelPatch) -> Result<Label> {
        let path = format!("/api/v1/labels/{}", encoded(name));
        self.send(Method::PATCH, &path, patch).await
    }

    /// Removes a label.
    pub async fn remove_label(&self, name: &str) -> Result<()> {
        let path = format!("/api/v1/labels/{}", encoded(name));
        self.ask(Method::DELETE, &path, None).await.map(drop)
    }

    /// The settings.
    pub async fn settings(&self) -> Result<Settings> {
        self.get_json("/api/v1/settings").await
    }

    /// Changes settings.
    pub async fn update_settings(&self, patch: &SettingsPatch) -> Result<Settings> {
        self.send(Method::PATCH, "/api/v1/settings", patch).await
    }

    /// Has the configuration read again.
    pub async fn reload(&self) -> Result<()> {
        self.ask(Method::POST, "/api/v1/reload", None)
            .await
            .map(drop)
    }

    /// Stops the daemon.
    pub async fn shutdown(&self) -> Result<()> {
        self.ask(Method::POST, "/api/v1/shutdown", None)
            .await
            .map(drop)
    }

    /// Makes a link that logs a browser in.
    pub async fn login_link(&self) -> Result<LoginLink> {
        read(&self.ask(Method::POST, "/api/v1/login-links", None).await?)
    }

    /// What Prometheus is told.
    pub async fn metrics(&self) -> Result<String> {
        let bytes = self.ask(Method::GET, "/metrics", None).await?;
        String::from_utf8(bytes.into()).map_err(|error| ClientError::Answer(error.to_string()))
    }

    /// Follows what changes, from what was seen or from a snapshot.
    pub fn follow(&self, since: Option<EventId>) -> Follower {
        let path = "/api/v1/events".to_owned();
        Follower::new(self.connections.address().clone(), path, since)
    }

    /// Follows one transfer: each part as a whole first, then what differs.
    pub fn follow_one(&self, id: TransferId, query: &ViewQuery) -> Follower<ViewEvent> {
        let path = format!("/api/v1/transfers/{id}/events?{}", query_text(query));
        Follower::new(self.connections.address().clone(), path, None)
    }
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| ClientError::Answer(error.to_string()))
}

/// A query as a URL has it.
fn query_text(query: &impl Serialize) -> String {
    let value = serde_json::to_value(query).expect("our types are JSON");
    let fields = value.as_object().expect("a query has fields").iter();
    let pairs = fields.map(|(name, value)| match value.as_str() {
        Some(text) => format!("{name}={}", encoded(text)),
        None => format!("{name}={value}"),
    });
    pairs.collect::<Vec<_>>().join("&")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::Sort;

    #[test]
    fn a_query_is_written_as_a_url_has_it() {
        let query = Query {
            text: Some("a&b=ü".into()),
            sort: Sort::RateDown,
            ..Query::default()
        };
        let text = query_text(&query);
        assert!(text.contains("text=a%26b%3D%C3%BC"), "{text}");
        assert!(
            text.contains("sort=rate_down") && text.contains("limit=50"),
            "{text}"
        );
        assert!(!text.contains("label"), "{text}");
    }

    #[test]
    fn a_form_has_a_boundary_that_its_file_does_not() {
        let body = Body::form(b"--starling-0\r\nstarling-1", &AddOptions::default());
        assert!(body.media_type.ends_with("boundary=starling-2"));
    }
}
