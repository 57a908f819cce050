//! Real proxies, and a fence around those who are to use nothing else.

use crate::scenario::run;
use crate::{Child, Scenario};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

/// The group whose packets a fence watches.
pub(crate) const FENCED: u32 = 7117;
/// A proxy listens within so long.
const START: Duration = Duration::from_secs(20);
/// Name and password of the proxies that want them.
const LOGIN: (&str, &str) = ("alice", "s-e_cret");
/// The same in a URL.
const LOGIN_ESCAPED: &str = "alice:s%2De%5Fcret";

/// Which proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyKind {
    /// Dante: SOCKS5 with UDP ASSOCIATE, for everybody.
    Dante,
    /// microsocks: SOCKS5 without UDP, with name and password.
    Microsocks,
    /// tinyproxy: HTTP CONNECT, with name and password.
    Tinyproxy,
}

/// A running proxy.
pub struct Proxy {
    /// Where it listens.
    pub addr: SocketAddrV4,
    kind: ProxyKind,
    child: Child,
}

impl Proxy {
    fn start(scenario: &Scenario, kind: ProxyKind) -> Proxy {
        let seat = scenario.seat();
        let (addr, home) = (seat.addr, &seat.home);
        let (ip, port) = (addr.ip(), addr.port());
        let (name, password) = LOGIN;
        let configured = |text: String| {
            let path = home.join("proxy.conf");
            std::fs::write(&path, text).unwrap();
            path
        };
        let command = match kind {
            ProxyKind::Dante => {
                let path = configured(format!(
                    "logoutput: stderr\ninternal: {ip} port = {port}\nexternal: {ip}\n\
                     clientmethod: none\nsocksmethod: none\nuser.privileged: root\n\
                     user.unprivileged: nobody\n\
                     client pass {{ from: 0.0.0.0/0 to: 0.0.0.0/0 }}\n\
                     socks pass {{ from: 0.0.0.0/0 to: 0.0.0.0/0 }}\n"
                ));
                let mut command = Command::new("danted");
                command.arg("-f").arg(path);
                command
            }
            ProxyKind::Microsocks => {
                let (ip, port) = (ip.to_string(), port.to_string());
                let mut command = Command::new("microsocks");
                command.args(["-i", &ip, "-p", &port, "-u", name, "-P", password]);
                command
            }
            ProxyKind::Tinyproxy => {
                let path = configured(format!(
                    "Port {port}\nListen {ip}\nTimeout 60\nMaxClients 100\nDisableViaHeader Yes\n\
                     BasicAuth {name} {password}\n"
                ));
                let mut command = Command::new("tinyproxy");
                command.arg("-d").arg("-c").arg(path);
                command
            }
        };
        let child = seat.start(&format!("{kind:?}"), command, home);
        let end = Instant::now() + START;
        while TcpStream::connect(addr).is_err() {
            assert!(Instant::now() < end, "{kind:?} does not listen at {addr}");
            std::thread::sleep(Duration::from_millis(20));
        }
        Proxy { addr, kind, child }
    }

    /// As the setting `proxy` names it.
    pub fn url(&self) -> String {
        match self.kind {
            ProxyKind::Dante => format!("socks5://{}", self.addr),
            ProxyKind::Microsocks => format!("socks5://{LOGIN_ESCAPED}@{}", self.addr),
            ProxyKind::Tinyproxy => format!("http://{LOGIN_ESCAPED}@{}", self.addr),
        }
    }

    /// It is gone.
    pub fn kill(&mut self) {
        self.child.kill();
    }
}

/// Counts and drops every packet of the fenced that does not go where it may.
pub struct Fence(());

impl Fence {
    /// Packets that went elsewhere so far.
    pub fn strays(&self) -> u64 {
        self.count("strays")
    }

    /// Packets that went where they may.
    pub fn passed(&self) -> u64 {
        self.count("passed")
    }

    fn count(&self, counter: &str) -> u64 {
        let args = ["list", "counter", "inet", "fence", counter];
        let listed = Command::new("nft").args(args).output().unwrap();
        let text = String::from_utf8_lossy(&listed.stdout);
        let mut words = text.split_whitespace().skip_while(|w| *w != "packets");
        let number = words.nth(1).and_then(|word| word.parse().ok());
        number.unwrap_or_else(|| panic!("nft counts nothing: {text}"))
    }
}

impl Scenario {
    /// A proxy at work.
    pub fn proxy(&self, kind: ProxyKind) -> Proxy {
        Proxy::start(self, kind)
    }

    /// Whoever is fenced reaches this address alone.
    pub fn fence(&self, only: Ipv4Addr) -> Fence {
        let rules = format!(
            "table inet fence {{ counter strays {{ }}; counter passed {{ }}; \
             chain fenced {{ ip daddr {only} counter name passed accept; counter name strays drop; }}; \
             chain out {{ type filter hook output priority 0; meta skgid {FENCED} jump fenced; }}; }}"
        );
        run("nft", &[&rules]);
        Fence(())
    }
}
