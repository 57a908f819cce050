//! A network and a folder of their own for one test.

use crate::content::{Content, Kind, Torrent};
use crate::lab::{Home, Line, Nat, Net, Seat, sysctl};
use crate::peer::{Peer, Role};
use crate::{Libtorrent, Starling, Tracker, aria2, libtorrent, starling, transmission};
use rustix::thread::UnshareFlags;
use serde_json::json;
use std::cell::{Cell, OnceCell, RefCell};
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};
use tempfile::TempDir;

/// Peers that a scenario can have: as many addresses are made.
const PEERS: u8 = 20;

thread_local! {
    /// This thread holds a scenario.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Scenarios run side by side; one that measures time runs alone.
static QUIET: RwLock<()> = RwLock::new(());

/// Which addresses peers have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Plan {
    /// Of a local network.
    Near,
    /// Of the internet, each far from all others.
    Public,
}

impl Plan {
    fn ip(self, n: u8) -> Ipv4Addr {
        match self {
            Plan::Near => Ipv4Addr::new(10, 77, 0, n),
            Plan::Public => Ipv4Addr::new(11, n, 0, 1),
        }
    }
}

fn shared() -> Turn {
    Turn::Shared(QUIET.read().unwrap_or_else(|e| e.into_inner()))
}

fn alone() -> Turn {
    Turn::Alone(QUIET.write().unwrap_or_else(|e| e.into_inner()))
}

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
    plan: Plan,
    peers: Cell<u8>,
    homes: Cell<u8>,
    contents: Cell<u64>,
    tracker: OnceCell<Tracker>,
    disks: RefCell<Vec<PathBuf>>,
    _turn: Turn,
}

impl Scenario {
    /// Enters a network of its own.
    #[allow(clippy::new_without_default, reason = "it does too much for a default")]
    pub fn new() -> Scenario {
        Scenario::enter(Plan::Near, shared)
    }

    /// A network in which peers have public addresses, and around which homes can be set up.
    pub fn internet() -> Scenario {
        Scenario::enter(Plan::Public, shared)
    }

    /// As [`new`](Self::new), with no other scenario at the same time: for tests of how long things take.
    pub fn alone() -> Scenario {
        Scenario::enter(Plan::Near, alone)
    }

    /// As [`internet`](Self::internet), with no other scenario at the same time.
    pub fn internet_alone() -> Scenario {
        Scenario::enter(Plan::Public, alone)
    }

    fn enter(plan: Plan, turn: impl FnOnce() -> Turn) -> Scenario {
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
            // On the internet peers are machines of their own.
            if plan == Plan::Near || i == PEERS {
                batch += &format!("addr add {}/32 dev lo\n", plan.ip(i));
            }
        }
        ip(&batch);
        if plan == Plan::Public {
            sysctl("ipv4/ip_forward", "1");
        }
        let folder = tempfile::Builder::new()
            .prefix("starling-interop-")
            .tempdir()
            .unwrap();
        Scenario {
            folder,
            plan,
            peers: Cell::new(0),
            homes: Cell::new(0),
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
        nft(&rules);
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

    /// A torrent made by libtorrent that names servers with its content (BEP 19), and no tracker.
    pub fn torrent_on_servers(&self, content: &Content, kind: Kind, urls: &[&str]) -> Torrent {
        self.contents.set(self.contents.get() + 1);
        let out = self.path(&format!("{}.torrent", self.contents.get()));
        libtorrent::create_with_web_seeds(content, &out, kind, urls)
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
            .get_or_init(|| Tracker::start(self.plan.ip(PEERS)))
    }

    // ---------------------------------------------------------------- homes

    /// Sets up a home whose router treats its hosts so.
    pub fn home(&self, nat: Nat) -> Home<'_> {
        self.household(nat, None)
    }

    /// Sets up a home at the end of a line.
    pub fn home_over(&self, nat: Nat, line: Line) -> Home<'_> {
        self.household(nat, Some(line))
    }

    fn household(&self, nat: Nat, line: Option<Line>) -> Home<'_> {
        assert_eq!(self.plan, Plan::Public, "homes need `Scenario::internet()`");
        self.homes.set(self.homes.get() + 1);
        Home::new(self, self.homes.get(), nat, line)
    }

    // ---------------------------------------------------------------- peers

    /// A place for one more peer. Its port tells its number, which is how the tracker knows it.
    pub fn seat(&self) -> Seat {
        let n = self.next_number();
        let own = self.plan.ip(n);
        if self.plan == Plan::Near {
            return self.seat_at(own, n, None);
        }
        let (host, near) = (Net::new(), format!("peer{n}"));
        let far = Ipv4Addr::from(own.to_bits() + 1);
        host.cable("eth0", &near);
        ip(&format!(
            "addr add {far} peer {own} dev {near}\nlink set {near} up\n"
        ));
        host.within(|| {
            ip(&format!(
                "addr add {own} peer {far} dev eth0\nlink set eth0 up\nroute add default via {far}\n"
            ));
        });
        self.seat_at(own, n, Some(host))
    }

    pub(crate) fn next_number(&self) -> u8 {
        let n = self.peers.get() + 1;
        assert!(
            n < PEERS,
            "a scenario has {PEERS} addresses, the last of them the tracker's"
        );
        self.peers.set(n);
        n
    }

    pub(crate) fn seat_at(&self, ip: Ipv4Addr, n: u8, net: Option<Net>) -> Seat {
        let home = self.path(&format!("peer{n}"));
        std::fs::create_dir_all(&home).unwrap();
        Seat {
            addr: SocketAddrV4::new(ip, 7000 + u16::from(n)),
            home,
            net: net.map(Arc::new),
        }
    }

    /// Starling, to be told what to do.
    pub fn starling(&self) -> Starling {
        Starling::at(self.seat())
    }

    /// libtorrent 2.1.1, to be told what to do.
    pub fn libtorrent(&self) -> Libtorrent {
        Libtorrent::at(self.seat())
    }

    /// aria2 at work. It finds peers through trackers only.
    pub fn aria2(&self, role: Role) -> Peer {
        aria2::start(self.seat(), role, false)
    }

    /// aria2 that speaks to nobody who does not encrypt all of it.
    pub fn aria2_encrypted(&self, role: Role) -> Peer {
        aria2::start(self.seat(), role, true)
    }

    /// transmission at work. It finds peers through trackers only.
    pub fn transmission(&self, role: Role) -> Peer {
        transmission::start(self.seat(), role, &json!({}))
    }

    /// transmission that finds peers through the DHT, too, and enters it by these nodes. It takes a DHT of fewer than
    /// nine for broken, and neither asks nor announces there.
    pub fn transmission_with_dht(&self, nodes: &[SocketAddrV4], role: Role) -> Peer {
        let seat = self.seat();
        let entry = |node: &SocketAddrV4| format!("{} {}\n", node.ip(), node.port());
        let entries: String = nodes.iter().map(entry).collect();
        std::fs::write(seat.home.join("dht.bootstrap"), entries).unwrap();
        transmission::start(seat, role, &json!({"dht-enabled": true}))
    }

    /// transmission that speaks to nobody who does not encrypt.
    pub fn transmission_encrypted(&self, role: Role) -> Peer {
        let special = json!({"encryption": transmission::REQUIRED});
        transmission::start(self.seat(), role, &special)
    }

    /// transmission that speaks uTP alone.
    pub fn transmission_over_utp(&self, role: Role) -> Peer {
        let special = json!({"utp-enabled": true, "tcp-enabled": false});
        transmission::start(self.seat(), role, &special)
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

/// Adds rules for packets in the network this thread is in.
pub(crate) fn nft(rules: &str) {
    run("nft", &[rules]);
}

/// Runs several commands of `ip`, a line each.
pub(crate) fn ip(batch: &str) {
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
