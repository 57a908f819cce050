//! The flags of all verbs that use the network, and what they mean to a node.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::str::FromStr;

use clap::builder::FalseyValueParser;

use crate::exit::{Exit, Failure};
use crate::units::parse_size;

/// Where this computer listens, whom it asks, and how fast it goes.
#[derive(clap::Args)]
#[command(next_help_heading = "Network")]
pub struct NetworkFlags {
    /// Listen only here; without a port on 6881, or another if that is taken.
    #[arg(long, value_name = "ADDR[:PORT]", env = "STARLING_BIND")]
    bind: Option<Bind>,
    /// Connect to this peer first; can be given several times.
    #[arg(
        long = "peer",
        value_name = "ADDR:PORT",
        env = "STARLING_PEER",
        value_delimiter = ' '
    )]
    peers: Vec<String>,
    /// Do not take part in the DHT, the network that finds peers without a tracker.
    #[arg(long, env = "STARLING_NO_DHT", value_parser = FalseyValueParser::new())]
    no_dht: bool,
    /// Enter the DHT through this node instead of the public ones; can be given several times.
    #[arg(
        long,
        value_name = "HOST:PORT",
        env = "STARLING_DHT_BOOTSTRAP",
        value_delimiter = ' '
    )]
    dht_bootstrap: Vec<String>,
    /// Do not look for peers on the local network, nor tell them.
    #[arg(long, env = "STARLING_NO_LOCAL_DISCOVERY", value_parser = FalseyValueParser::new())]
    no_local_discovery: bool,
    /// Do not ask trackers, nor tell them.
    #[arg(long, env = "STARLING_NO_TRACKERS", value_parser = FalseyValueParser::new())]
    no_trackers: bool,
    /// Receive at most so much a second, such as 2MiB; 0 is no limit.
    #[arg(long, value_name = "SIZE", env = "STARLING_LIMIT_DOWN", value_parser = parse_size, default_value = "0", hide_default_value = true)]
    limit_down: u64,
    /// Send at most so much a second, such as 500KiB; 0 is no limit.
    #[arg(long, value_name = "SIZE", env = "STARLING_LIMIT_UP", value_parser = parse_size, default_value = "0", hide_default_value = true)]
    limit_up: u64,
    /// Where resume records, torrents and known nodes are kept.
    #[arg(long, value_name = "DIR", env = "STARLING_HOME")]
    home: Option<PathBuf>,
}

/// An address to listen on, with or without a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bind {
    addr: Option<IpAddr>,
    port: Option<u16>,
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
    /// How the node is to run.
    pub fn config(&self) -> Result<node::Config, Failure> {
        Ok(node::Config {
            bind: self.bind.and_then(|bind| bind.addr),
            port: self.bind.and_then(|bind| bind.port),
            dht: !self.no_dht,
            dht_bootstrap: self.dht_bootstrap.clone(),
            local_discovery: !self.no_local_discovery,
            trackers: !self.no_trackers,
            limit_down: self.limit_down,
            limit_up: self.limit_up,
            ..node::Config::new(self.home()?)
        })
    }

    /// The peers of `--peer`, names looked up.
    pub fn peers(&self) -> Result<Vec<SocketAddr>, Failure> {
        let mut peers = Vec::new();
        for peer in self.peers.iter().filter(|peer| !peer.is_empty()) {
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

    /// The folder that stays from one run to the next.
    pub fn home(&self) -> Result<PathBuf, Failure> {
        let set = |name: &str| {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        let home = || set("HOME").or_else(|| set("USERPROFILE"));
        let usual = || {
            if cfg!(windows) {
                set("LOCALAPPDATA").map(|data| data.join("Starling"))
            } else if cfg!(target_os = "macos") {
                home().map(|home| home.join("Library/Application Support/Starling"))
            } else {
                let state = set("XDG_STATE_HOME").filter(|dir| dir.is_absolute());
                state
                    .or_else(|| home().map(|home| home.join(".local/state")))
                    .map(|state| state.join("starling"))
            }
        };
        self.home.clone().filter(|dir| !dir.as_os_str().is_empty()).or_else(usual).ok_or_else(|| {
            Failure::usage("There is no home folder to keep records in. Set STARLING_HOME to a folder of yours.")
        })
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
