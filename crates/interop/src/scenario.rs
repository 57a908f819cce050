//! A network and a folder of their own for one test.

use crate::content::{Content, Kind, Torrent};
use crate::peer::{Peer, Role};
use crate::{Libtorrent, Starling, Tracker, aria2, libtorrent, starling, transmission};
use rustix::thread::UnshareFlags;
use serde_json::json;
use std::cell::{Cell, OnceCell, RefCell};
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use tempfile::TempDir;

/// Peers that a scenario can have: as many addresses are made.
const PEERS: u8 = 20;

thread_local! {
    /// This thread holds a scenario.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Scenarios run side by side; one that measures time runs alone.
static QUIET: RwLock<()> = RwLock::new(());

/// Held for the length of a scenario.
#[allow(dead_code, reason = "held, not read")]
enum Turn {
    Shared(RwLockReadGuard<'static, ()>),
    Alone(RwLockWriteGuard<'static, ()>),
}

/// A throw-away network with a folder, in which each peer has an address of its own.
///
/// The calling thread enters a network namespace that has only `lo`, with 10.77.0.1 to .20 on
/// it, and a mount namespace. Both end with the last process in them. An address for each peer,
/// because transmission takes no peers in 127.0.0.0/8 and libtorrent one connection per address.
pub struct Scenario {
    folder: TempDir,
    peers: Cell<u8>,
    contents: Cell<u64>,
    tracker: OnceCell<Tracker>,
    disks: RefCell<Vec<PathBuf>>,
    _turn: Turn,
}

impl Scenario {
    /// Enters a network of its own.
    #[allow(clippy::new_without_default, reason = "it does too much for a default")]
    pub fn new() -> Scenario {
        Scenario::enter(|| Turn::Shared(QUIET.read().unwrap_or_else(|e| e.into_inner())))
    }

    /// The same, with no other scenario at the same time: for tests of how long things take.
    pub fn alone() -> Scenario {
        Scenario::enter(|| Turn::Alone(QUIET.write().unwrap_or_else(|e| e.into_inner())))
    }

    fn enter(turn: impl FnOnce() -> Turn) -> Scenario {
        let already = INSIDE.replace(true);
        assert!(
            !already,
            "a test that holds a scenario waits for ever for a second one"
        );
        let turn = turn();
        starling::build_once();
        // SAFETY: descriptor tables stay shared; only the network and mounts become our own.
        let entered =
            unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET | UnshareFlags::NEWNS) };
        entered.expect(
            "namespaces need root, or a user namespace: `cargo xtask test` takes care of it",
        );
        run("mount", &["--make-rprivate", "/"]);
        let mut batch = String::from("link set lo up\n");
        for i in 1..=PEERS {
            batch += &format!("addr add 10.77.0.{i}/32 dev lo\n");
        }
        ip(&batch);
        let folder = tempfile::Builder::new()
            .prefix("starling-interop-")
            .tempdir()
            .unwrap();
        Scenario {
            folder,
            peers: Cell::new(0),
            contents: Cell::new(0),
            tracker: OnceCell::new(),
            disks: RefCell::default(),
            _turn: turn,
        }
    }

    /// Adds a LAN on which multicast works: peers made from now on live on it, at 10.78.0.x.
    pub fn lan(&self) -> &Scenario {
        let mut batch = String::from("link add lan type veth peer name other-end\n");
        for i in 1..=PEERS {
            batch += &format!("addr add 10.78.0.{i}/24 dev lan\n");
        }
        ip(&(batch + "link set other-end up\nlink set lan up\n"));
        self
    }

    /// Nobody hears anything of TCP connections to this address.
    pub fn drops_tcp_to(&self, addr: SocketAddrV4) {
        let rules = format!(
            "table ip broken {{ chain input {{ type filter hook input priority 0; ip daddr {} tcp dport {} drop; }}; }}",
            addr.ip(),
            addr.port()
        );
        run("nft", &[&rules]);
    }

    /// Adds an address that is reached only from within.
    pub fn also_at(&self, addr: &str) {
        ip(&format!("addr add {addr}/32 dev lo\n"));
    }

    /// A folder inside the scenario's.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Puts what a `Starling` fetches on a small disk of its own, and tells where that is.
    pub fn small_disk_for(&self, starling: &Starling, bytes: u64) -> PathBuf {
        self.small_disk_at(&starling.folder(), bytes);
        starling.folder()
    }

    /// Makes a folder that is a small disk of its own.
    pub fn small_disk_at(&self, path: &Path, bytes: u64) {
        std::fs::create_dir(path).unwrap();
        let size = format!("size={bytes}");
        let at = path.to_str().unwrap();
        run("mount", &["-t", "tmpfs", "-o", &size, "small-disk", at]);
        self.disks.borrow_mut().push(path.to_owned());
    }

    // ---------------------------------------------------------------- content

    /// A folder of random files, given as path and length.
    pub fn folder(&self, name: &str, files: &[(&str, u64)]) -> Content {
        Content::make(self.place(name), files, self.contents.get())
    }

    /// One random file.
    pub fn file(&self, name: &str, len: u64) -> Content {
        Content::make(self.place(name), &[("", len)], self.contents.get())
    }

    /// A folder with a little of everything: nested, of many lengths, an empty file, names in
    /// several scripts.
    pub fn album(&self) -> Content {
        self.folder(
            "Album – 音楽",
            &[
                ("01 First.flac", 5_000_017),
                ("02 Second.flac", 3 << 20),
                ("cover.jpg", 40_000),
                ("disc 2/01 Übung.flac", 2_345_678),
                ("disc 2/scans/página.png", 16_384),
                ("empty.log", 0),
                ("z.txt", 1),
            ],
        )
    }

    /// Each content in a folder of its own, so that a torrent's folder holds nothing else.
    fn place(&self, name: &str) -> PathBuf {
        self.contents.set(self.contents.get() + 1);
        self.path(&format!("content{}", self.contents.get()))
            .join(name)
    }

    /// A torrent made by libtorrent, with the scenario's HTTP tracker in it.
    pub fn torrent(&self, content: &Content, kind: Kind) -> Torrent {
        self.torrent_with(content, kind, 256 * 1024, &[&self.tracker().http_url()])
    }

    /// A torrent made by libtorrent without any tracker.
    pub fn torrent_without_tracker(&self, content: &Content, kind: Kind) -> Torrent {
        self.torrent_with(content, kind, 256 * 1024, &[])
    }

    /// A torrent made by libtorrent with all that can be chosen.
    pub fn torrent_with(
        &self,
        content: &Content,
        kind: Kind,
        piece_len: u32,
        trackers: &[&str],
    ) -> Torrent {
        self.contents.set(self.contents.get() + 1);
        let out = self.path(&format!("{}.torrent", self.contents.get()));
        libtorrent::create(content, &out, kind, piece_len, trackers)
    }

    /// A torrent for each file of a folder, with the scenario's HTTP tracker in it.
    pub fn torrents_of_each(&self, folder: &Content, kind: Kind) -> Vec<Torrent> {
        self.contents.set(self.contents.get() + 1);
        let out = self.path(&format!("torrents{}", self.contents.get()));
        libtorrent::create_each(folder, &out, kind, &[&self.tracker().http_url()])
    }

    /// The tracker, from when it is first asked for.
    pub fn tracker(&self) -> &Tracker {
        self.tracker
            .get_or_init(|| Tracker::start(Ipv4Addr::new(10, 77, 0, PEERS)))
    }

    // ---------------------------------------------------------------- peers

    /// The next free address. A peer's port tells its number, which is how the tracker knows it.
    pub(crate) fn next_addr(&self) -> SocketAddrV4 {
        let n = self.peers.get() + 1;
        assert!(
            n < PEERS,
            "a scenario has {PEERS} addresses, the last of them the tracker's"
        );
        self.peers.set(n);
        SocketAddrV4::new(Ipv4Addr::new(10, 77, 0, n), 7000 + u16::from(n))
    }

    /// A place for a peer's own files.
    pub(crate) fn home(&self, addr: SocketAddrV4) -> PathBuf {
        let home = self.path(&format!("peer{}", addr.port() - 7000));
        std::fs::create_dir_all(&home).unwrap();
        home
    }

    /// Starling, to be told what to do.
    pub fn starling(&self) -> Starling {
        Starling::new(self)
    }

    /// libtorrent 2.1.1, to be told what to do.
    pub fn libtorrent(&self) -> Libtorrent {
        Libtorrent::new(self)
    }

    /// aria2 at work. It finds peers through trackers only.
    pub fn aria2(&self, role: Role) -> Peer {
        aria2::start(self, role, false)
    }

    /// aria2 that speaks to nobody who does not encrypt all of it.
    pub fn aria2_encrypted(&self, role: Role) -> Peer {
        aria2::start(self, role, true)
    }

    /// transmission at work. It finds peers through trackers only.
    pub fn transmission(&self, role: Role) -> Peer {
        transmission::start(self, role, &json!({}))
    }

    /// transmission that speaks to nobody who does not encrypt.
    pub fn transmission_encrypted(&self, role: Role) -> Peer {
        let special = json!({"encryption": transmission::REQUIRED});
        transmission::start(self, role, &special)
    }

    /// transmission that speaks uTP alone.
    pub fn transmission_over_utp(&self, role: Role) -> Peer {
        let special = json!({"utp-enabled": true, "tcp-enabled": false});
        transmission::start(self, role, &special)
    }
}

impl Drop for Scenario {
    fn drop(&mut self) {
        INSIDE.set(false);
        // The folder can be removed only when nothing is mounted in it.
        for disk in self.disks.take() {
            let _ = Command::new("umount").arg("--lazy").arg(disk).status();
        }
    }
}

/// Runs a system tool that has to succeed.
pub(crate) fn run(program: &str, args: &[&str]) {
    let status = Command::new(program).args(args).status();
    let status =
        status.unwrap_or_else(|e| panic!("{program}: {e}; `cargo xtask setup` installs it"));
    assert!(status.success(), "{program} {args:?}: {status}");
}

fn ip(batch: &str) {
    let mut ip = Command::new("ip")
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("iproute2 is installed");
    ip.stdin
        .take()
        .unwrap()
        .write_all(batch.as_bytes())
        .unwrap();
    assert!(ip.wait().unwrap().success(), "ip -batch failed");
}

/// The root of the repository.
pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
}
