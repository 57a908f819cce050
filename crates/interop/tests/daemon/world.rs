//! A daemon of a scenario, and its API spoken to by hand: so a test can hang up in the middle, and say what no client
//! would.

use crate::SOON;
use interop::{Child, Content, Scenario, Starling, Torrent};
use serde_json::{Value, json};
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(20);
/// What separates the parts of a form.
const BOUNDARY: &str = "- - 8< - -";

/// A daemon: its home stays while it comes and goes.
pub struct Daemon {
    pub starling: Starling,
    /// `127.0.0.1:PORT` of its API.
    pub api: String,
    child: Option<Child>,
    /// What it said in earlier lives.
    said: String,
}

/// What the API said.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
}

impl Daemon {
    /// One that has not started yet.
    pub fn new(scenario: &Scenario) -> Daemon {
        let starling = scenario.starling();
        let port = starling.addr.port() - 7000;
        let (api, content) = (
            format!("127.0.0.1:{}", 7200 + port),
            format!("127.0.0.1:{}", 7300 + port),
        );
        let starling = starling.arg("--api").arg(&api);
        Daemon {
            starling: starling.arg("--content").arg(content),
            api,
            child: None,
            said: String::new(),
        }
    }

    /// What it said in earlier lives.
    pub fn said(&self) -> &str {
        &self.said
    }

    /// Its home folder.
    pub fn home(&self) -> PathBuf {
        self.starling.home.join("home")
    }

    /// Starts it and waits until it answers.
    pub fn up(&mut self) -> &mut Child {
        let mut child = self.starts();
        child.wait_for("up", SOON);
        self.child.insert(child)
    }

    /// Starts it, whatever comes of it.
    pub fn starts(&mut self) -> Child {
        self.starling.run(&[OsStr::new("up")])
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill();
        self.said += &child.stderr();
    }

    /// Tells it to end, and waits until it has.
    pub fn down(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.interrupt();
        assert_eq!(child.exit_code(SOON), 0);
    }

    /// Most memory it has had so far, in bytes.
    pub fn peak_memory(&self) -> u64 {
        let child = self.child.as_ref().expect("it runs");
        child.peak_memory().expect("it runs")
    }

    pub fn token(&self) -> String {
        let text = std::fs::read_to_string(self.home().join("api-token"));
        text.expect("a daemon makes its token").trim().to_owned()
    }

    // ---------------------------------------------------------------- asking

    /// Sends a request, and leaves the answer to be read.
    pub fn begin(
        &self,
        method: &str,
        path: &str,
        kind: &str,
        body: &[u8],
    ) -> io::Result<TcpStream> {
        let mut stream = TcpStream::connect(&self.api)?;
        stream.set_read_timeout(Some(SOON))?;
        let mut head = format!("{method} /api/v1{path} HTTP/1.1\r\nhost: {}\r\n", self.api);
        let _ = write!(head, "authorization: Bearer {}\r\n", self.token());
        let _ = write!(
            head,
            "connection: close\r\ncontent-length: {}\r\n",
            body.len()
        );
        if !body.is_empty() {
            let _ = write!(head, "content-type: {kind}\r\n");
        }
        stream.write_all(&[head.as_bytes(), b"\r\n", body].concat())?;
        Ok(stream)
    }

    /// Asks, with JSON if there is a body.
    pub fn asks(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        let body = body.map(Value::to_string).unwrap_or_default();
        let stream = self.begin(method, path, "application/json", body.as_bytes());
        let answer = stream.and_then(read_answer);
        answer.unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    /// Asks for what has to be possible, and gives what it says.
    pub fn does(&self, method: &str, path: &str, body: Option<&Value>) -> Value {
        let answer = self.asks(method, path, body);
        let text = String::from_utf8_lossy(&answer.body);
        assert!(
            (200..300).contains(&answer.status),
            "{method} {path}: {} {text}",
            answer.status
        );
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }

    pub fn gets(&self, path: &str) -> Value {
        self.does("GET", path, None)
    }

    /// All rows of its table.
    pub fn rows(&self) -> Vec<Value> {
        let page = self.gets("/transfers?limit=500&sort=id");
        page["transfers"].as_array().unwrap().clone()
    }

    /// Adds a torrent file and gives its number.
    pub fn adds(&self, torrent: &Torrent, options: &Value) -> u64 {
        let body = form(torrent, options);
        let kind = form_type();
        let answer = self
            .begin("POST", "/transfers", &kind, &body)
            .and_then(read_answer)
            .unwrap();
        let text = String::from_utf8_lossy(&answer.body);
        assert_eq!(answer.status, 201, "{text}");
        answer.json()["id"].as_u64().unwrap()
    }

    /// Adds a torrent whose content is where it was made, to give it to others.
    pub fn seeds(&self, torrent: &Torrent) -> u64 {
        let root = torrent.content.path.to_str().unwrap();
        let id = self.adds(torrent, &json!({"root": root, "read_only": true}));
        self.until(id, "seeding", |row| row["state"] == "seeding");
        id
    }

    /// Waits until a transfer is as it should be.
    pub fn until(&self, id: u64, what: &str, right: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + SOON;
        loop {
            let row = self.gets(&format!("/transfers/{id}"));
            if right(&row) {
                return row;
            }
            assert!(
                Instant::now() < end,
                "not {what} within {SOON:?}: {row:#}\n{}{}",
                self.said,
                self.child.as_ref().expect("it runs").stderr()
            );
            std::thread::sleep(POLL);
        }
    }

    /// Waits until a transfer is complete, and compares what is there with the original.
    pub fn receives(&self, id: u64, content: &Content) {
        let row = self.until(id, "complete", |row| row["complete"] == true);
        content.assert_in(row["folder"].as_str().unwrap().as_ref());
    }
}

impl Answer {
    pub fn json(&self) -> Value {
        let text = String::from_utf8_lossy(&self.body);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }
}

/// The body that adds a torrent file with options.
pub fn form(torrent: &Torrent, options: &Value) -> Vec<u8> {
    let part = |name: &str, kind: &str, content: &[u8]| {
        let head = format!(
            "--{BOUNDARY}\r\ncontent-disposition: form-data; name=\"{name}\"; filename=\"{name}\"\r\n\
             content-type: {kind}\r\n\r\n"
        );
        [head.as_bytes(), content, b"\r\n"].concat()
    };
    let file = std::fs::read(&torrent.path).unwrap();
    [
        part(
            "options",
            "application/json",
            options.to_string().as_bytes(),
        ),
        part("torrent", "application/x-bittorrent", &file),
        format!("--{BOUNDARY}--\r\n").into_bytes(),
    ]
    .concat()
}

/// Its type.
pub fn form_type() -> String {
    format!("multipart/form-data; boundary=\"{BOUNDARY}\"")
}

/// Reads an answer to its end; an error if it was not whole.
pub fn read_answer(mut stream: TcpStream) -> io::Result<Answer> {
    let mut all = Vec::new();
    stream.read_to_end(&mut all)?;
    let cut = || {
        io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "it hung up before it had answered",
        )
    };
    let end = all
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .ok_or_else(cut)?;
    let head = String::from_utf8_lossy(&all[..end]).to_ascii_lowercase();
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .ok_or_else(cut)?;
    let body = all.split_off(end + 4);
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    if length.is_some_and(|length| length.parse() != Ok(body.len())) {
        return Err(cut());
    }
    Ok(Answer { status, body })
}
