//! `starling up`, and what a script asks of it: through its socket, with curl.

use crate::{Child, Starling, Torrent};
use serde_json::{Value, json};
use std::ffi::OsStr;
use std::net::SocketAddrV4;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// How long it may take to answer.
const READY: Duration = Duration::from_secs(30);
/// How often a transfer is looked at.
const POLL: Duration = Duration::from_millis(20);

/// A daemon that runs. It ends with this value.
pub struct Daemon {
    /// Its process.
    pub child: Child,
    socket: PathBuf,
    /// Where files are served from, as `127.0.0.1:PORT`.
    pub content: String,
}

impl Starling {
    /// `starling up`, until it can be asked.
    pub fn ups(&mut self) -> Daemon {
        let args = ["up", "--api", "none", "--content", "127.0.0.1:0"].map(OsStr::new);
        let mut child = self.run(&args);
        let up = child.wait_for("up", READY);
        let content = up["content"].as_str().expect("content is served");
        Daemon {
            child,
            socket: self.home.join("home/api.sock"),
            content: content.trim_start_matches("http://").to_owned(),
        }
    }
}

impl Daemon {
    /// Asks its API; `args` are curl's.
    pub fn ask(&self, path: &str, args: &[&str]) -> Value {
        let socket = self.socket.to_str().unwrap();
        let url = format!("http://localhost/api/v1{path}");
        let said = curl(&[&["--unix-socket", socket, "--fail-with-body", &url], args].concat());
        let text = String::from_utf8_lossy(&said.stdout);
        assert!(said.status.success(), "{path} {args:?}: {text}");
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }

    /// Adds a torrent that these peers have, and gives its number.
    pub fn adds(&self, torrent: &Torrent, peers: &[SocketAddrV4], mut options: Value) -> u64 {
        let peers: Vec<String> = peers.iter().map(ToString::to_string).collect();
        options["peers"] = json!(peers);
        let options = format!("options={options};type=application/json");
        let file = format!(
            "torrent=@{};type=application/x-bittorrent",
            torrent.path.display()
        );
        let row = self.ask("/transfers", &["--form", &options, "--form", &file]);
        row["id"].as_u64().unwrap()
    }

    /// A transfer as it is now.
    pub fn row(&self, id: u64) -> Value {
        self.ask(&format!("/transfers/{id}"), &[])
    }

    /// Waits until a transfer is as it should be.
    pub fn until(
        &self,
        id: u64,
        what: &str,
        within: Duration,
        right: impl Fn(&Value) -> bool,
    ) -> Value {
        let end = Instant::now() + within;
        loop {
            let row = self.row(id);
            if right(&row) {
                return row;
            }
            assert!(
                Instant::now() < end,
                "not {what} within {within:?}: {row:#}"
            );
            std::thread::sleep(POLL);
        }
    }

    /// A transfer's first file as it is now.
    pub fn file(&self, id: u64) -> Value {
        self.ask(&format!("/transfers/{id}/files"), &[])["items"][0].take()
    }

    /// Bytes of a transfer's first file that are there.
    pub fn done(&self, id: u64) -> u64 {
        self.file(id)["done"].as_u64().unwrap()
    }

    /// Waits until some of a transfer's first file is there.
    pub fn is_under_way(&self, id: u64, within: Duration) {
        let end = Instant::now() + within;
        while self.done(id) == 0 {
            assert!(Instant::now() < end, "nothing came: {:#}", self.row(id));
            std::thread::sleep(POLL);
        }
    }

    /// The URL of a transfer's first file.
    pub fn url(&self, id: u64) -> String {
        self.file(id)["content_url"].as_str().unwrap().to_owned()
    }
}

/// Runs curl, silently and without its own configuration.
pub fn curl(args: &[&str]) -> Output {
    let mut curl = Command::new("curl");
    curl.args(["--disable", "--silent", "--show-error", "--noproxy", "*"])
        .args(args);
    curl.output()
        .expect("curl is installed: `cargo xtask setup`")
}
