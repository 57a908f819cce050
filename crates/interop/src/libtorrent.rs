//! libtorrent 2.1.1, through `clients/lt.py`.

use crate::Child;
use crate::content::{Content, Kind, Torrent};
use crate::peer::{Peer, Role, Spoken};
use crate::{Seat, scenario};
use serde_json::Value;
use std::fmt::Display;
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Makes a torrent. A piece length of 0 leaves it to libtorrent.
pub(crate) fn create(
    content: &Content,
    out: &Path,
    kind: Kind,
    piece_len: u32,
    trackers: &[&str],
) -> Torrent {
    let mut command = script("create");
    command.arg(&content.path).arg(out).args([
        "--kind",
        kind.name(),
        "--piece-size",
        &piece_len.to_string(),
    ]);
    for url in trackers {
        command.args(["--tracker", url]);
    }
    made(command).remove(0).torrent(content, out)
}

/// Makes a torrent that names servers with its content.
pub(crate) fn create_with_web_seeds(
    content: &Content,
    out: &Path,
    kind: Kind,
    urls: &[&str],
) -> Torrent {
    let mut command = script("create");
    command.arg(&content.path).arg(out);
    command.args(["--kind", kind.name(), "--piece-size", "65536"]);
    for url in urls {
        command.args(["--web-seed", url]);
    }
    made(command).remove(0).torrent(content, out)
}

/// Makes one torrent for each file of a folder, named after it.
pub(crate) fn create_each(
    folder: &Content,
    out: &Path,
    kind: Kind,
    trackers: &[&str],
) -> Vec<Torrent> {
    std::fs::create_dir(out).unwrap();
    let mut command = script("create");
    command
        .arg(&folder.path)
        .arg(out)
        .args(["--each", "--kind", kind.name()]);
    for url in trackers {
        command.args(["--tracker", url]);
    }
    let torrents = made(command).into_iter().map(|made| {
        let name = made.0["name"].as_str().unwrap();
        made.torrent(
            &Content {
                path: folder.path.join(name),
            },
            &out.join(format!("{name}.torrent")),
        )
    });
    torrents.collect()
}

/// What the script says of one torrent.
struct Made(Value);

impl Made {
    fn torrent(&self, content: &Content, path: &Path) -> Torrent {
        let text = |key: &str| self.0[key].as_str().map(String::from);
        Torrent {
            path: path.to_path_buf(),
            content: content.clone(),
            magnet: text("magnet")
                .unwrap()
                .split("&tr=")
                .next()
                .unwrap()
                .to_string(),
            info_hash_v1: text("info_hash_v1"),
            info_hash_v2: text("info_hash_v2"),
        }
    }
}

fn made(mut command: Command) -> Vec<Made> {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let made: Result<Vec<_>, _> = said
        .lines()
        .map(|line| serde_json::from_str(line).map(Made))
        .collect();
    assert!(
        output.status.success(),
        "lt.py create: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    made.unwrap()
}

fn script(verb: &str) -> Command {
    let venv = scenario::repository().join("target/interop/venv/bin/python");
    assert!(
        venv.exists(),
        "no libtorrent: `cargo xtask setup` installs it"
    );
    let mut command = Command::new(venv);
    command
        .arg(scenario::repository().join("crates/interop/clients/lt.py"))
        .arg(verb);
    command
}

/// A libtorrent that has not started yet.
pub struct Libtorrent {
    addr: SocketAddrV4,
    seat: Seat,
    args: Vec<String>,
}

impl Libtorrent {
    /// A libtorrent at a place that is known beforehand.
    pub fn at(seat: Seat) -> Libtorrent {
        Libtorrent {
            addr: seat.addr,
            seat,
            args: Vec::new(),
        }
    }

    /// Adds an argument of `lt.py peer`.
    pub fn arg(mut self, arg: impl Display) -> Libtorrent {
        self.args.push(arg.to_string());
        self
    }

    /// Moves it to the LAN.
    pub fn on_lan(mut self) -> Libtorrent {
        self.addr = SocketAddrV4::new(crate::starling::lan_ip(self.addr), self.addr.port());
        self
    }

    /// It connects to this peer.
    pub fn knows(self, peer: &Peer) -> Libtorrent {
        self.arg("--peer").arg(peer.addr)
    }

    /// It asks this DHT node first.
    pub fn with_dht(self, nodes: &[&Peer]) -> Libtorrent {
        nodes.iter().fold(self.arg("--dht"), |it, node| {
            it.arg("--node").arg(node.addr)
        })
    }

    /// It speaks to nobody who does not encrypt all of it.
    pub fn encrypted(self) -> Libtorrent {
        const FORCED: [&str; 4] = [
            "in_enc_policy=0",
            "out_enc_policy=0",
            "allowed_enc_level=2",
            "prefer_rc4=1",
        ];
        let set = |it: Libtorrent, setting| it.arg("--set").arg(setting);
        FORCED.into_iter().fold(self, set)
    }

    /// It does not know how to encrypt.
    pub fn unencrypted(self) -> Libtorrent {
        self.arg("--set")
            .arg("in_enc_policy=2")
            .arg("--set")
            .arg("out_enc_policy=2")
    }

    /// Bytes a second that it sends at most.
    pub fn limit_up(self, bytes: u64) -> Libtorrent {
        self.arg("--limit-up").arg(bytes)
    }

    /// Seeds, and waits until it does.
    pub fn seeds(self, torrent: &Torrent) -> Peer {
        self.start(Role::Seed(torrent.clone())).serving()
    }

    /// Fetches a torrent from this peer, and compares what it gets with the original.
    pub fn fetches(self, torrent: &Torrent, from: &Peer, within: Duration) {
        let mut peer = self.knows(from).start(Role::get(torrent));
        peer.receives(&torrent.content, within);
    }

    /// Seeds several torrents whose contents lie in one folder, and waits until it does.
    pub fn seeds_all(self, torrents: &[Torrent]) -> Peer {
        let folder = torrents[0].content.path.parent().unwrap().to_path_buf();
        self.launch(&paths(torrents), folder, &["--seed"]).serving()
    }

    /// Fetches several torrents.
    pub fn gets_all(self, torrents: &[Torrent]) -> Peer {
        let folder = self.seat.home.join("got");
        self.launch(&paths(torrents), folder, &[])
    }

    /// Starts it.
    pub fn start(self, role: Role) -> Peer {
        let flags: &[&str] = match role {
            Role::Seed(_) => &["--seed"],
            Role::Get { stay: true, .. } => &["--stay"],
            Role::Get { .. } => &[],
        };
        let folder = role.folder(&self.seat.home);
        self.launch(&[role.source().as_arg()], folder, flags)
    }

    /// Puts or gets values in the DHT (BEP 44), as `lt.py values` is told; it says of each when it has worked.
    pub fn values(self) -> Child {
        let mut command = script("values");
        command
            .args(["--bind", &self.addr.to_string()])
            .args(&self.args);
        let name = format!("libtorrent {}", self.addr);
        self.seat.start(&name, command, &self.seat.home)
    }

    /// It asks this DHT node first; for [`values`](Self::values).
    pub fn enters_by(self, node: SocketAddrV4) -> Libtorrent {
        self.arg("--node").arg(node)
    }

    fn launch(self, sources: &[&str], folder: PathBuf, flags: &[&str]) -> Peer {
        let mut command = script("peer");
        command.args(sources).arg("--save").arg(&folder);
        command.args(["--bind", &self.addr.to_string()]).args(flags);
        command.args(["--progress", "0.2"]).args(&self.args);
        let name = format!("libtorrent {}", self.addr);
        let child = self.seat.start(&name, command, &self.seat.home);
        Peer {
            addr: self.addr,
            folder,
            child,
            signs: Box::new(Spoken),
        }
    }
}

fn paths(torrents: &[Torrent]) -> Vec<&str> {
    torrents
        .iter()
        .map(|torrent| torrent.path.to_str().unwrap())
        .collect()
}
