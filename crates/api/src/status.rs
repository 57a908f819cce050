//! The daemon at a glance, and what it measures of itself.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::check::{self, Check, MAX_LABEL};
use crate::ids::RunId;
use crate::problem::Problem;
use crate::settings::Limits;
use crate::transfer::State;

/// Sums over all transfers, and what is in effect now.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Totals {
    /// Payload bytes a second, received.
    pub rate_down: u64,
    /// Payload bytes a second, sent.
    pub rate_up: u64,
    /// Payload bytes received, ever.
    pub received: u64,
    /// Payload bytes sent, ever.
    pub sent: u64,
    /// Payload bytes received in vain, ever.
    pub wasted: u64,
    /// Transfers in each state.
    pub states: BTreeMap<State, u32>,
    /// Connected peers.
    pub peers: u32,
    /// Nodes of the DHT that answer; 0: it is off, or not joined yet.
    pub dht_nodes: u32,
    /// Free bytes where content goes when nothing else is said.
    pub free: Option<u64>,
    /// Limits in effect.
    pub limits: Limits,
    /// Why these, in words; `null`: they are the settings' own.
    pub limits_reason: Option<String>,
    /// Peers we send to at once.
    pub slots: u32,
}

/// The daemon at a glance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// Of the program.
    pub version: String,
    /// This run of the daemon; event ids begin with it.
    #[schema(value_type = String, pattern = "^[0-9a-f]{16}$")]
    pub run: RunId,
    /// Its process id.
    pub pid: u32,
    /// Its home folder.
    pub home: String,
    /// When it started, in seconds since 1970.
    pub started_at: u64,
    /// Seconds since then.
    pub uptime_seconds: u64,
    /// Addresses at which peers reach it.
    pub listening: Vec<String>,
    /// Addresses and socket paths of this API.
    pub api: Vec<String>,
    /// URL of the content listener, if there is one.
    pub content: Option<String>,
    /// Sums, and what is in effect now.
    pub totals: Totals,
    /// How it reaches others and is reached.
    pub network: Network,
    /// What a person should know: a port that was taken, a database that was rebuilt.
    pub warnings: Vec<String>,
}

/// How a daemon reaches others and is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Network {
    /// The proxy it goes through, without name and password; `null`: none.
    pub proxy: Option<String>,
    /// What cannot go through the proxy does not leave at all.
    pub proxy_required: bool,
    /// Whether the router passes our port on to us, in words; `null`: it is not asked to.
    pub port_mapping: Option<String>,
    /// Whether others reach our ports, as far as it is known.
    pub ports: Vec<Port>,
    /// What the block list does; `null`: there is none.
    pub blocking: Option<Blocking>,
    /// What a person should know of it, in sentences: what is off and why, what does not answer.
    pub notes: Vec<String>,
    /// The node of the DHT; `null`: it is off.
    pub dht: Option<Dht>,
    /// The addresses that others see it at, as far as enough of them agree.
    pub external: Vec<String>,
}

/// A node of the DHT, the network that finds peers without a tracker.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Dht {
    /// What it is doing, in words.
    pub state: String,
    /// Nodes known.
    pub nodes: u32,
    /// Of these, nodes that have answered or asked lately.
    pub good: u32,
    /// Of the good ones, those whose id follows from their address, as it should (BEP 42).
    pub verified: u32,
    /// Whether other nodes reach it; `null`: not known yet.
    pub reachable: Option<bool>,
    /// Values kept for others (BEP 44).
    pub values: u32,
    /// Peers remembered for others.
    pub peers: u32,
    /// Questions of others left unanswered since the start: too many came from one network, or altogether.
    pub left_out: u64,
}

/// Whether others reach a port of ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Port {
    /// `TCP` or `UDP`.
    pub protocol: String,
    /// `IPv4` or `IPv6`.
    pub family: String,
    /// Its number.
    pub port: u16,
    /// What is known.
    pub state: PortIs,
    /// The same in words, with what to do.
    pub words: String,
}

/// What is known of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PortIs {
    /// Somebody from outside came in within the last hour.
    Open,
    /// Peers tried and did not get through.
    Closed,
    /// Too few tried.
    Unknown,
}

/// Addresses that are left alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Blocking {
    /// Ranges of addresses, overlapping and touching ones joined.
    pub ranges: u64,
    /// How often somebody in them was met: dials and answers left out, connections refused.
    pub attempts: u64,
    /// Why the list cannot be read as it is now, in words.
    pub trouble: Option<String>,
}

/// A link that logs a browser in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LoginLink {
    /// To be opened in a browser on this computer, once.
    #[schema(format = "uri")]
    pub url: String,
    /// Seconds for which it is good.
    pub expires_seconds: u64,
}

/// What a browser brings from a login link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SessionBody {
    /// The code in the link, good once.
    #[schema(min_length = 1, max_length = 100)]
    pub code: String,
}

/// What a browser is given for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Session {
    /// To be sent as `Authorization: Bearer`.
    pub token: String,
    /// Seconds for which it is good, or until the daemon stops.
    pub expires_seconds: u64,
}

/// What the daemon measures of itself; `/metrics` writes it for Prometheus.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics {
    /// Of the program.
    pub version: String,
    /// Sums over all transfers.
    pub totals: Totals,
    /// When it started, in seconds since 1970.
    pub started_at: u64,
    /// Seconds of processor time used.
    pub cpu_seconds: f64,
    /// Bytes of memory in use (resident).
    pub resident_bytes: u64,
    /// Open file descriptors.
    pub open_files: u64,
    /// Most that may be open.
    pub max_open_files: u64,
    /// Transfers that cost only a row.
    pub dormant: u32,
}

impl Check for SessionBody {
    fn check(&self) -> Result<(), Problem> {
        check::text("code", &self.code, 1, MAX_LABEL)
    }
}
