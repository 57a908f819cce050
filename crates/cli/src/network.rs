//! The flags of all verbs that use the network, and what they mean to a node or a daemon.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::str::FromStr;

use clap::builder::FalseyValueParser;

use crate::Context;
use crate::authoring::check_urls;
use crate::exit::{Exit, Failure};
use crate::paths::HomeFlag;
use crate::units::parse_size;

/// Where this computer listens, whom it asks, and how fast it goes, for a verb that may use a daemon.
#[derive(clap::Args)]
#[command(next_help_heading = "Network")]
pub struct NetworkFlags {
    /// Run by itself, even if a daemon runs for this home.
    #[arg(long, env = "STARLING_NO_DAEMON", value_parser = FalseyValueParser::new())]
    pub no_daemon: bool,
    #[command(flatten)]
    node: NodeFlags,
    #[command(flatten)]
    peers: PeerFlags,
    #[command(flatten)]
    pub limits: LimitFlags,
    #[command(flatten)]
    pub home: HomeFlag,
}

/// What belongs to a node as a whole: a daemon has its own.
#[derive(clap::Args)]
#[command(next_help_heading = "Network")]
pub struct NodeFlags {
    /// Listen only here; without a port on 6881, or another if that is taken.
    #[arg(long, value_name = "ADDR[:PORT]", env = "STARLING_BIND")]
    pub bind: Option<Bind>,
    #[command(flatten)]
    pub proxy: ProxyFlags,
    /// Do not ask the router to pass our port on to us.
    #[arg(long, env = "STARLING_NO_PORT_MAPPING", value_parser = FalseyValueParser::new())]
    pub no_port_mapping: bool,
    /// Have nothing to do with the addresses in this file: ipfilter.dat, P2P or plain lines, packed with gzip or not.
    #[arg(long, value_name = "FILE", env = "STARLING_BLOCK_LIST")]
    pub block_list: Option<PathBuf>,
    /// Do not take part in the DHT, the network that finds peers without a tracker.
    #[arg(long, env = "STARLING_NO_DHT", value_parser = FalseyValueParser::new())]
    pub no_dht: bool,
    /// Enter the DHT through this node instead of the public ones; can be given several times.
    #[arg(
        long,
        value_name = "HOST:PORT",
        env = "STARLING_DHT_BOOTSTRAP",
        value_delimiter = ' '
    )]
    pub dht_bootstrap: Vec<String>,
    /// Do not look for peers on the local network, nor tell them.
    #[arg(long, env = "STARLING_NO_LOCAL_DISCOVERY", value_parser = FalseyValueParser::new())]
    pub no_local_discovery: bool,
    /// Do not ask trackers, nor tell them.
    #[arg(long, env = "STARLING_NO_TRACKERS", value_parser = FalseyValueParser::new())]
    pub no_trackers: bool,
    /// Speak TCP alone; otherwise uTP too, which gives way to whatever else goes over the same line.
    #[arg(long, env = "STARLING_NO_UTP", value_parser = FalseyValueParser::new())]
    pub no_utp: bool,
    /// Whether connections are encrypted the BitTorrent way, which keeps networks from slowing them down and keeps
    /// no secret.
    #[arg(
        long,
        value_name = "HOW",
        env = "STARLING_ENCRYPTION",
        default_value = "prefer"
    )]
    pub encryption: Encryption,
}

/// By what way everything leaves.
#[derive(clap::Args, Default)]
#[command(next_help_heading = "Network")]
pub struct ProxyFlags {
    /// Leave by this network interface alone, such as tun0; while it is away, nothing leaves.
    #[arg(long, value_name = "NAME", env = "STARLING_INTERFACE")]
    pub interface: Option<String>,
    /// Go through this proxy: socks5://HOST:PORT or http://HOST:PORT, with NAME:PASSWORD@ before the host if it wants
    /// them. Others on this computer can read a command line: a password is better set as STARLING_PROXY.
    #[arg(
        long,
        value_name = "URL",
        env = "STARLING_PROXY",
        hide_env_values = true
    )]
    pub proxy: Option<String>,
    /// What cannot go through the proxy does not leave at all.
    #[arg(long, env = "STARLING_PROXY_REQUIRED", value_parser = FalseyValueParser::new())]
    pub proxy_required: bool,
}

impl ProxyFlags {
    /// How what is ours leaves.
    pub fn egress(&self) -> Result<node::Egress, Failure> {
        let given = |text: &&String| !text.is_empty();
        let proxy = self.proxy.as_ref().filter(given).map(|text| text.parse());
        let proxy = proxy
            .transpose()
            .map_err(|error| Failure::usage(format!("--proxy cannot be meant: {error}.")))?;
        if self.proxy_required && proxy.is_none() {
            return Err(Failure::usage(NO_PROXY));
        }
        Ok(node::Egress {
            interface: self.interface.clone().filter(|name| !name.is_empty()),
            proxy,
            required: self.proxy_required,
            ..node::Egress::default()
        })
    }
}

/// Said where a proxy is required and none is named.
pub const NO_PROXY: &str = "proxy-required is set, and no proxy is named: set proxy too.";

/// Which connections are encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Encryption {
    /// Those to and from peers that can.
    Prefer,
    /// All; peers that cannot are not reached.
    Require,
    /// None.
    Refuse,
}

impl From<Encryption> for node::Encryption {
    fn from(encryption: Encryption) -> node::Encryption {
        match encryption {
            Encryption::Prefer => node::Encryption::Prefer,
            Encryption::Require => node::Encryption::Require,
            Encryption::Refuse => node::Encryption::Refuse,
        }
    }
}

/// Peers that are known beforehand.
#[derive(clap::Args)]
#[command(next_help_heading = "Network")]
pub struct PeerFlags {
    /// Connect to this peer first; can be given several times.
    #[arg(
        long = "peer",
        value_name = "ADDR:PORT",
        env = "STARLING_PEER",
        value_delimiter = ' '
    )]
    peers: Vec<String>,
}

/// Servers that are known beforehand.
#[derive(clap::Args)]
#[command(next_help_heading = "Network")]
pub struct WebSeedFlags {
    /// Fetch from this web server too, which has the files or the folder; can be given several times.
    #[arg(
        long = "web-seed",
        value_name = "URL",
        env = "STARLING_WEB_SEED",
        value_delimiter = ' '
    )]
    web_seeds: Vec<String>,
}

impl WebSeedFlags {
    /// Their URLs.
    pub fn urls(&self) -> Result<Vec<String>, Failure> {
        let urls: Vec<String> = self
            .web_seeds
            .iter()
            .filter(|url| !url.is_empty())
            .cloned()
            .collect();
        check_urls(&urls, &["http", "https"], "web seed")?;
        Ok(urls)
    }
}

/// How fast it may go.
#[derive(clap::Args)]
#[command(next_help_heading = "Network")]
pub struct LimitFlags {
    /// Receive at most so much a second, such as 2MiB; 0 is no limit.
    #[arg(long, value_name = "SIZE", env = "STARLING_LIMIT_DOWN", value_parser = parse_size)]
    pub limit_down: Option<u64>,
    /// Send at most so much a second, such as 500KiB; 0 is no limit.
    #[arg(long, value_name = "SIZE", env = "STARLING_LIMIT_UP", value_parser = parse_size)]
    pub limit_up: Option<u64>,
}

impl LimitFlags {
    /// As limits of a transfer.
    pub fn limits(&self) -> api::Limits {
        api::Limits {
            down: self.limit_down.unwrap_or(0),
            up: self.limit_up.unwrap_or(0),
        }
    }
}

/// An address to listen on, with or without a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bind {
    /// The address; none is all.
    pub addr: Option<IpAddr>,
    /// The port; none is the usual one, or another if that is taken.
    pub port: Option<u16>,
}

impl FromStr for Bind {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Bind, &'static str> {
        if let Ok(whole) = text.parse::<SocketAddr>() {
            return Ok(Bind {
                addr: Some(whole.ip()),
                port: Some(whole.port()),
            });
        }
        if let Ok(addr) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
            return Ok(Bind {
                addr: Some(addr),
                port: None,
            });
        }
        if let Some(Ok(port)) = text.strip_prefix(':').map(str::parse) {
            return Ok(Bind {
                addr: None,
                port: Some(port),
            });
        }
        Err(
            "give an address of this computer, such as 192.168.1.7, 192.168.1.7:6881, [::1]:6881 or :6881",
        )
    }
}

impl NetworkFlags {
    /// How a node inside this command is to run.
    pub fn config(&self) -> Result<node::Config, Failure> {
        let NodeFlags {
            bind,
            proxy,
            no_port_mapping,
            block_list,
            no_dht,
            dht_bootstrap,
            no_local_discovery,
            no_trackers,
            no_utp,
            encryption,
        } = &self.node;
        let egress = proxy.egress()?;
        Ok(node::Config {
            bind: bind.and_then(|bind| bind.addr),
            interface: egress.interface,
            proxy: egress.proxy,
            proxy_required: egress.required,
            port_mapping: !no_port_mapping,
            block_list: block_list
                .clone()
                .filter(|path| !path.as_os_str().is_empty()),
            port: bind.and_then(|bind| bind.port),
            dht: !no_dht,
            dht_bootstrap: dht_bootstrap.clone(),
            local_discovery: !no_local_discovery,
            trackers: !no_trackers,
            utp: !no_utp,
            encryption: (*encryption).into(),
            limit_down: self.limits.limit_down.unwrap_or(0),
            limit_up: self.limits.limit_up.unwrap_or(0),
            ..node::Config::new(self.home()?)
        })
    }

    /// The peers of `--peer`, names looked up.
    pub fn peers(&self) -> Result<Vec<SocketAddr>, Failure> {
        self.peers.look_up(self.node.proxy.proxy_required)
    }

    /// How what is fetched before there is a node leaves.
    pub fn egress(&self) -> Result<node::Egress, Failure> {
        Ok(self.config()?.egress())
    }

    /// The folder that stays from one run to the next.
    pub fn home(&self) -> Result<PathBuf, Failure> {
        self.home.path()
    }

    /// Refuses flags on the command line that a daemon, which has its own, cannot follow.
    pub fn suit_daemon(&self, context: &Context, pid: u32) -> Result<(), Failure> {
        const OWN: [(&str, &str); 12] = [
            ("bind", "--bind"),
            ("interface", "--interface"),
            ("proxy", "--proxy"),
            ("proxy_required", "--proxy-required"),
            ("no_port_mapping", "--no-port-mapping"),
            ("block_list", "--block-list"),
            ("no_dht", "--no-dht"),
            ("dht_bootstrap", "--dht-bootstrap"),
            ("no_local_discovery", "--no-local-discovery"),
            ("no_trackers", "--no-trackers"),
            ("no_utp", "--no-utp"),
            ("encryption", "--encryption"),
        ];
        let Some((_, flag)) = OWN.iter().find(|(id, _)| context.is_given(id)) else {
            return Ok(());
        };
        Err(Failure::usage(format!(
            "A daemon runs for this home (process {pid}), and {flag} is for it to say: `starling up {flag} …`. \
             Leave it out, or add --no-daemon to run beside it."
        )))
    }
}

impl PeerFlags {
    /// The peers, names looked up unless that is for a proxy alone to do.
    pub fn look_up(&self, addresses_only: bool) -> Result<Vec<SocketAddr>, Failure> {
        let mut peers = Vec::new();
        for peer in self.peers.iter().filter(|peer| !peer.is_empty()) {
            if addresses_only && peer.parse::<SocketAddr>().is_err() {
                return Err(Failure::usage(format!(
                    "{peer} is no address, and names are not looked up beside the proxy (proxy-required)."
                )));
            }
            let found = peer
                .to_socket_addrs()
                .map_err(|error| match peer.rsplit_once(':') {
                    Some((_, port)) if port.parse::<u16>().is_ok() => Failure::new(
                        Exit::NotFound,
                        format!("The peer {peer} cannot be looked up: {error}. Check its name."),
                    ),
                    _ => Failure::usage(format!(
                        "{peer} is no peer: give ADDR:PORT, such as 10.0.0.5:6881."
                    )),
                })?;
            peers.extend(found);
        }
        Ok(peers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_to_listen_on_may_have_a_port_or_be_one() {
        let bind = |text: &str| text.parse::<Bind>().map(|bind| (bind.addr, bind.port));
        let v4: IpAddr = [127, 0, 0, 1].into();
        let v6: IpAddr = "::1".parse().unwrap();
        assert_eq!(bind("127.0.0.1"), Ok((Some(v4), None)));
        assert_eq!(bind("127.0.0.1:0"), Ok((Some(v4), Some(0))));
        assert_eq!(bind("[::1]:6881"), Ok((Some(v6), Some(6881))));
        assert_eq!(bind("::1"), Ok((Some(v6), None)));
        assert_eq!(bind("[::1]"), Ok((Some(v6), None)));
        assert_eq!(bind(":7000"), Ok((None, Some(7000))));
        assert!(bind("localhost").is_err() && bind("127.0.0.1:x").is_err() && bind("").is_err());
    }
}
