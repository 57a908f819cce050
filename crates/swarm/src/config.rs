//! What a session may use. Every limit here has a unit and a reason.

use std::time::Duration;

/// Limits and habits of one session.
#[derive(Clone, Debug)]
pub struct Config {
    /// Our peer id (BEP 20), 20 bytes.
    pub peer_id: [u8; 20],
    /// The client name sent in the extension handshake.
    pub client: String,
    /// The port others can reach us at, sent in the extension handshake; 0: unknown.
    pub listen_port: u16,
    /// Our DHT port, sent to peers that speak it; 0: none.
    pub dht_port: u16,
    /// Connections of all torrents together.
    pub max_connections: usize,
    /// Connections of one torrent: beyond this a swarm gains nothing and gossip costs more.
    pub max_connections_per_torrent: usize,
    /// Dials under way at once: home routers drop state beyond a few dozen.
    pub max_dials: usize,
    /// Peers served at once, all torrents together (one more is served optimistically). Few, so
    /// that each soon has something to pass on: at 250 kB/s fifty peers finish in 38 s with 8 and
    /// in 51 s with 16 (`cargo xtask sim fifty-peers`).
    pub unchoke_slots: usize,
    /// Bytes a second of payload we ask for; 0: no limit. [`Input::Limits`](crate::Input::Limits)
    /// changes it, and sets narrower ones.
    pub limit_down: u64,
    /// Bytes a second of payload we send; 0: no limit.
    pub limit_up: u64,
    /// Peers on the local network ([`Class::Lan`](crate::Class::Lan)) are bound by limits of their
    /// class alone.
    pub lan_free: bool,
    /// How often unchoke slots are dealt anew. 10 s lets TCP reach its speed (BEP 3).
    pub choke_interval: Duration,
    /// Requests we let a peer have queued with us, sent as `reqq`: 32 MiB, since transmission asks by a timer for as
    /// much as it may.
    pub request_queue: usize,
    /// Blocks we have asked of one peer at most: 8 MiB covers 1 Gbit/s at 60 ms.
    pub max_outstanding: usize,
    /// Exchange addresses with peers of public torrents (BEP 11).
    pub peer_exchange: bool,
    /// uTP is there, so that peers can be dialled at the moment when they dial us (BEP 55).
    pub hole_punching: bool,
    /// Peers may ask us to dial them back, and we may ask them: only where dials leave directly.
    pub dialback: bool,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            peer_id: *b"-SG0100-000000000000",
            client: concat!("Starling ", env!("CARGO_PKG_VERSION")).to_owned(),
            listen_port: 0,
            dht_port: 0,
            max_connections: 500,
            max_connections_per_torrent: 80,
            max_dials: 30,
            unchoke_slots: 8,
            limit_down: 0,
            limit_up: 0,
            lan_free: false,
            choke_interval: Duration::from_secs(10),
            request_queue: 2048,
            max_outstanding: 512,
            peer_exchange: true,
            hole_punching: true,
            dialback: false,
        }
    }
}
