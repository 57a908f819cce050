//! The product: its binary as users have it, through flags, JSON lines and exit codes.

use crate::peer::{Peer, Role, Spoken};
use crate::scenario::repository;
use crate::{Child, Seat, Torrent};
use std::ffi::{OsStr, OsString};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

static BINARY: OnceLock<Result<PathBuf, String>> = OnceLock::new();

/// Makes sure that there is a binary: the one `STARLING_BIN` names, else what cargo builds now.
/// To be called while the network is still there.
pub(crate) fn build_once() {
    BINARY.get_or_init(|| {
        if let Some(path) = std::env::var_os("STARLING_BIN") {
            let path = PathBuf::from(path);
            return if path.is_file() {
                Ok(path)
            } else {
                Err(format!("STARLING_BIN: no file {}", path.display()))
            };
        }
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let built = Command::new(cargo)
            .args(["build", "--quiet", "-p", "cli"])
            .current_dir(repository())
            .status();
        match built {
            Ok(status) if status.success() => Ok(target_folder().join("starling")),
            Ok(status) => Err(format!("cargo build -p cli: {status}")),
            Err(error) => Err(format!("cargo build -p cli: {error}")),
        }
    });
}

/// Test binaries lie in `target/PROFILE/deps`.
fn target_folder() -> PathBuf {
    std::env::current_exe()
        .unwrap()
        .ancestors()
        .nth(2)
        .unwrap()
        .to_path_buf()
}

fn binary() -> &'static Path {
    match BINARY.get().expect("a scenario looks for the binary first") {
        Ok(path) => path,
        Err(why) => panic!("no starling to test: {why}"),
    }
}

/// A peer's address on the LAN.
pub(crate) fn lan_ip(addr: SocketAddrV4) -> Ipv4Addr {
    let [_, _, _, n] = addr.ip().octets();
    Ipv4Addr::new(10, 78, 0, n)
}

/// A `starling` command that has not started yet. It listens at an address of its own and
/// finds peers in no way but those it is given.
#[derive(Clone)]
pub struct Starling {
    /// Where it will listen.
    pub addr: SocketAddrV4,
    /// What stays from one run to the next (`STARLING_HOME`).
    pub home: PathBuf,
    seat: Seat,
    dht: bool,
    local: bool,
    bound: bool,
    fenced: bool,
    everywhere: bool,
    args: Vec<String>,
    variables: Vec<(String, OsString)>,
    runs: u32,
}

impl Starling {
    /// At this place.
    pub fn at(seat: Seat) -> Starling {
        Starling {
            addr: seat.addr,
            home: seat.home.clone(),
            seat,
            dht: false,
            local: false,
            bound: false,
            fenced: false,
            everywhere: false,
            args: Vec::new(),
            variables: Vec::new(),
            runs: 0,
        }
    }

    /// Adds an argument.
    pub fn arg(mut self, arg: impl ToString) -> Starling {
        self.args.push(arg.to_string());
        self
    }

    /// Sets a variable in its environment.
    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Starling {
        self.variables.push((name.into(), value.into()));
        self
    }

    /// It connects to this peer.
    pub fn knows(self, peer: &Peer) -> Starling {
        self.arg("--peer").arg(peer.addr)
    }

    /// It uses the DHT, starting from these nodes.
    pub fn with_dht(mut self, nodes: &[&Peer]) -> Starling {
        self.dht = true;
        nodes
            .iter()
            .fold(self, |it, node| it.arg("--dht-bootstrap").arg(node.addr))
    }

    /// It uses the DHT, starting from the node at this address.
    pub fn enters_by(mut self, node: impl ToString) -> Starling {
        self.dht = true;
        self.arg("--dht-bootstrap").arg(node)
    }

    /// It lives on the LAN and uses local discovery there.
    pub fn on_lan(mut self) -> Starling {
        self.addr = SocketAddrV4::new(lan_ip(self.addr), self.addr.port());
        self.local = true;
        self
    }

    /// File permissions hold for it, even if root runs the tests.
    pub fn bound_by_permissions(mut self) -> Starling {
        self.bound = true;
        self
    }

    /// It uses local discovery where it is.
    pub fn with_local_discovery(mut self) -> Starling {
        self.local = true;
        self
    }

    /// What it sends is watched by a [`Fence`](crate::Fence).
    pub fn fenced(mut self) -> Starling {
        self.fenced = true;
        self
    }

    /// It listens at all addresses there are, of IPv4 and IPv6.
    pub fn everywhere(mut self) -> Starling {
        self.everywhere = true;
        self
    }

    /// Where `get` puts what it fetches.
    pub fn folder(&self) -> PathBuf {
        self.home.join("got")
    }

    /// `starling seed TORRENT CONTENT`, until it serves.
    pub fn seeds(&mut self, torrent: &Torrent) -> Peer {
        self.start(Role::Seed(torrent.clone())).serving()
    }

    /// Fetches a torrent from this peer, and compares what it gets with the original.
    pub fn fetches(self, torrent: &Torrent, from: &Peer, within: Duration) {
        let mut peer = self.knows(from).start(Role::get(torrent));
        peer.receives(&torrent.content, within);
    }

    /// `starling seed CONTENT`, which makes the torrent itself, until it serves.
    pub fn shares(&mut self, content: &crate::Content) -> Peer {
        let child = self.run(&[OsStr::new("seed"), content.path.as_os_str()]);
        let folder = content.path.parent().unwrap().to_path_buf();
        Peer {
            addr: self.addr,
            folder,
            child,
            signs: Box::new(Spoken),
        }
        .serving()
    }

    /// `starling get` of several sources at once, into [`folder`](Starling::folder).
    pub fn gets(&mut self, sources: &[&str]) -> Peer {
        let folder = self.folder();
        let mut args = vec![OsStr::new("get"), OsStr::new("-o"), folder.as_os_str()];
        args.extend(sources.iter().map(OsStr::new));
        let child = self.run(&args);
        Peer {
            addr: self.addr,
            folder,
            child,
            signs: Box::new(Spoken),
        }
    }

    /// Starts it in a role.
    pub fn start(&mut self, role: Role) -> Peer {
        match &role {
            Role::Seed(torrent) => {
                let child = self.run(&[
                    OsStr::new("seed"),
                    torrent.path.as_os_str(),
                    torrent.content.path.as_os_str(),
                ]);
                let folder = role.folder(&self.home);
                Peer {
                    addr: self.addr,
                    folder,
                    child,
                    signs: Box::new(Spoken),
                }
            }
            Role::Get {
                source,
                stay: false,
            } => self.gets(&[source.as_arg()]),
            Role::Get { source, stay: true } => self.clone().arg("--seed").gets(&[source.as_arg()]),
        }
    }

    /// Runs any network verb with the flags of this peer.
    pub fn run(&mut self, args: &[&OsStr]) -> Child {
        let mut command = self.bare(args);
        let bind = match self.everywhere {
            true => format!(":{}", self.addr.port()),
            false => self.addr.to_string(),
        };
        command.args(["--bind", &bind, "--json", "--yes"]);
        if !self.dht {
            command.arg("--no-dht");
        }
        if !self.local {
            command.arg("--no-local-discovery");
        }
        command.args(&self.args);
        self.runs += 1;
        self.seat.start(
            &format!("starling {}", self.addr),
            command,
            &self.home.join(format!("run{}", self.runs)),
        )
    }

    /// Runs a verb that does not use the network, such as `create`, to its end.
    pub fn runs(&self, args: &[&OsStr]) -> std::process::Output {
        self.bare(args).output().unwrap()
    }

    fn bare(&self, args: &[&OsStr]) -> Command {
        let mut command = Command::new(binary());
        if self.bound {
            command = Command::new("setpriv");
            let without = "--bounding-set=-dac_override,-dac_read_search";
            command.arg(without).arg(binary());
        }
        if self.fenced {
            command = Command::new("setpriv");
            let group = crate::proxy::FENCED.to_string();
            command
                .args(["--regid", &group, "--clear-groups"])
                .arg(binary());
        }
        command
            .args(args)
            .env("STARLING_NO_PORT_MAPPING", "1")
            .env("STARLING_HOME", self.home.join("home"))
            .env("HOME", &self.home)
            .envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }
}
