//! Connections over QUIC, by iroh: the one file that names it.
//!
//! iroh is told every address and asks nobody for one. It uses no relay, no directory, no port mapping and no name
//! server of its own; it probes nothing.

use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use iroh::dns::DnsResolver;
use iroh::endpoint::{
    BindOpts, ConnectError, ConnectionError, IncomingAddr, NetReportConfig, PortmapperConfig,
    QuicTransportConfig, ReadError, RecvStream, SendStream, VarInt, WriteError, presets,
};
use iroh::{
    Endpoint, EndpointAddr, PublicKey, RelayConfig, RelayMap, RelayMode, RelayUrl, SecretKey,
    TransportAddr, Watcher,
};
use tokio::io::ReadBuf;

use super::{
    Addresses, BindError, Closed, Config, DialError, PROTOCOL, Road, STREAM_WINDOW, STREAMS,
    StreamError, Target, WINDOW,
};

/// Sessions kept for a quicker handshake with the same device; no data goes with a first packet.
const TICKETS: usize = 32;

/// The endpoint.
#[derive(Clone)]
pub(super) struct Quic {
    endpoint: Endpoint,
}

/// A device that dials, before we answered.
pub(super) struct Knock(iroh::endpoint::Incoming);

pub(super) struct Connection(iroh::endpoint::Connection);

pub(super) struct Outgoing {
    stream: SendStream,
    over: bool,
}

pub(super) struct Incoming(RecvStream);

impl Quic {
    pub async fn bind(config: &Config) -> Result<Quic, BindError> {
        let transport = QuicTransportConfig::builder()
            .stream_receive_window(STREAM_WINDOW.into())
            .receive_window(WINDOW.into())
            .send_window(WINDOW.into())
            .max_concurrent_bidi_streams(STREAMS.into())
            .max_concurrent_uni_streams(0u32.into())
            .datagram_receive_buffer_size(None)
            .build();
        let relays = RelayMap::empty();
        for url in &config.relays {
            let url = relay(url).ok_or_else(|| BindError::Relay(url.clone()))?;
            relays.insert(url.clone(), Arc::new(RelayConfig::new(url, None)));
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut builder = Endpoint::builder(presets::Empty)
            .crypto_provider(provider)
            .secret_key(SecretKey::from_bytes(&config.secret))
            .alpns(vec![PROTOCOL.to_vec()])
            .transport_config(transport)
            .max_tls_tickets(TICKETS)
            .portmapper_config(PortmapperConfig::Disabled)
            .net_report_config(NetReportConfig::minimal())
            // The default asks public name servers if the system's do not answer.
            .dns_resolver(
                DnsResolver::builder()
                    .with_system_defaults()
                    .disable_fallback()
                    .build(),
            )
            .clear_ip_transports();
        if !config.lan_only && config.egress.only_proxy().is_none() {
            builder = builder.relay_mode(RelayMode::Custom(relays));
        }
        for (address, options) in sockets(config)? {
            builder = builder
                .bind_addr_with_opts(address, options)
                .map_err(|error| BindError::Address(address.to_string(), error.to_string()))?;
        }
        let endpoint = builder.bind().await.map_err(|error| {
            let wanted: Vec<_> = config.bind.iter().map(ToString::to_string).collect();
            BindError::Address(wanted.join(", "), reason(&error))
        })?;
        Ok(Quic { endpoint })
    }

    pub fn key(&self) -> [u8; 32] {
        *self.endpoint.id().as_bytes()
    }

    pub fn listening(&self) -> Vec<SocketAddr> {
        self.endpoint.bound_sockets()
    }

    pub fn addresses(&self) -> Addresses {
        addresses(&self.endpoint.addr())
    }

    pub async fn addresses_changed(&self, seen: &Addresses) -> Addresses {
        let mut changes = self.endpoint.watch_addr().stream();
        while let Some(now) = changes.next().await {
            let now = addresses(&now);
            if now != *seen {
                return now;
            }
        }
        std::future::pending().await
    }

    pub async fn add_external(&self, address: SocketAddr) {
        self.endpoint.add_external_addr(address).await;
    }

    pub async fn remove_external(&self, address: SocketAddr) -> bool {
        self.endpoint.remove_external_addr(&address).await
    }

    pub async fn add_relay(&self, url: &str, token: Option<&str>) -> Result<(), BindError> {
        let url = relay(url).ok_or_else(|| BindError::Relay(url.to_owned()))?;
        let mut config = RelayConfig::new(url.clone(), None);
        if let Some(token) = token {
            config = config.with_auth_token(token);
        }
        self.endpoint.insert_relay(url, Arc::new(config)).await;
        Ok(())
    }

    pub async fn remove_relay(&self, url: &str) -> bool {
        match relay(url) {
            Some(url) => self.endpoint.remove_relay(&url).await.is_some(),
            None => false,
        }
    }

    pub async fn network_changed(&self) {
        self.endpoint.network_change().await;
    }

    pub async fn dial(&self, target: &Target) -> Result<Connection, DialError> {
        let key = PublicKey::from_bytes(&target.key).map_err(|_| DialError::Key)?;
        let mut address = EndpointAddr::new(key);
        for ip in &target.quic {
            address = address.with_ip_addr(*ip);
        }
        for url in &target.relays {
            let url = relay(url).ok_or_else(|| DialError::Relay(url.clone()))?;
            address = address.with_relay_url(url);
        }
        if address.is_empty() {
            return Err(DialError::NoAddress);
        }
        match self.endpoint.connect(address, PROTOCOL).await {
            Ok(connection) => Ok(Connection(connection)),
            Err(error) => Err(failed(&error)),
        }
    }

    pub async fn knock(&self) -> Option<Knock> {
        self.endpoint.accept().await.map(Knock)
    }

    pub async fn close(&self) {
        self.endpoint.close().await;
    }
}

/// What to listen at, and how far each socket reaches.
fn sockets(config: &Config) -> Result<Vec<(SocketAddr, BindOpts)>, BindError> {
    if config.egress.only_proxy().is_some() {
        // iroh wants a socket; this one leads nowhere.
        let options = BindOpts::default()
            .set_prefix_len(8)
            .set_is_default_route(false);
        return Ok(vec![(SocketAddr::from(([127, 0, 0, 1], 0)), options)]);
    }
    if !config.lan_only {
        let all = config.bind.iter();
        return Ok(all.map(|address| (*address, BindOpts::default())).collect());
    }
    // One for each address of the computer, which takes only what its network is meant for.
    let mut sockets = Vec::new();
    for interface in if_addrs::get_if_addrs().map_err(BindError::Interfaces)? {
        let (ip, prefix) = (interface.ip(), prefix(&interface));
        let wanted = |bind: &&SocketAddr| {
            bind.is_ipv4() == ip.is_ipv4() && (bind.ip().is_unspecified() || bind.ip() == ip)
        };
        let Some(bind) = config.bind.iter().find(wanted) else {
            continue;
        };
        let mut address = SocketAddr::new(ip, bind.port());
        if let (SocketAddr::V6(address), Some(index)) = (&mut address, interface.index)
            && address.ip().is_unicast_link_local()
        {
            address.set_scope_id(index);
        }
        let options = BindOpts::default()
            .set_prefix_len(prefix)
            .set_is_default_route(false);
        sockets.push((address, options));
    }
    Ok(sockets)
}

fn prefix(interface: &if_addrs::Interface) -> u8 {
    match &interface.addr {
        if_addrs::IfAddr::V4(own) => own.prefixlen,
        if_addrs::IfAddr::V6(own) => own.prefixlen,
    }
}

fn relay(url: &str) -> Option<RelayUrl> {
    let known = url.starts_with("http://") || url.starts_with("https://");
    known.then(|| url.parse().ok()).flatten()
}

fn addresses(address: &EndpointAddr) -> Addresses {
    Addresses {
        quic: address.ip_addrs().copied().collect(),
        relays: address.relay_urls().map(ToString::to_string).collect(),
    }
}

fn failed(error: &ConnectError) -> DialError {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        match error.downcast_ref::<ConnectionError>() {
            Some(ConnectionError::TimedOut) => return DialError::Silent,
            Some(error @ ConnectionError::ApplicationClosed(_)) => {
                return DialError::Closed(closed(error.clone()));
            }
            _ => cause = error.source(),
        }
    }
    DialError::Failed(reason(error))
}

/// An error and its causes, as one sentence.
fn reason(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}

impl Knock {
    /// Where it comes from; `None` if through a relay.
    pub fn address(&self) -> Option<SocketAddr> {
        match self.0.remote_addr() {
            IncomingAddr::Ip(address) => Some(address),
            _ => None,
        }
    }

    /// Says nothing.
    pub fn ignore(self) {
        self.0.ignore();
    }

    /// Shakes hands. `None` if that fails, as it may with anyone who can send a packet.
    pub async fn answer(self) -> Option<Connection> {
        self.0.await.ok().map(Connection)
    }
}

impl Connection {
    pub fn peer(&self) -> [u8; 32] {
        *self.0.remote_id().as_bytes()
    }

    pub fn road(&self) -> Option<Road> {
        let paths = self.0.paths();
        let used = paths.iter().find(|path| path.is_selected());
        let used = used.or_else(|| paths.iter().next())?;
        match used.remote_addr() {
            TransportAddr::Ip(address) => Some(Road::Direct(*address)),
            TransportAddr::Relay(url) => Some(Road::Relay(url.to_string())),
            _ => None,
        }
    }

    pub fn round_trip(&self) -> Option<Duration> {
        let paths = self.0.paths();
        let used = paths.iter().find(|path| path.is_selected());
        used.or_else(|| paths.iter().next()).map(|path| path.rtt())
    }

    pub async fn road_changed(&self, seen: Option<&Road>) -> Option<Road> {
        let mut changes = self.0.paths_stream();
        while changes.next().await.is_some() {
            let now = self.road();
            if now.as_ref() != seen {
                return now;
            }
        }
        std::future::pending().await
    }

    pub fn exporter(&self, label: &[u8]) -> [u8; 32] {
        let mut secret = [0; 32];
        self.0
            .export_keying_material(&mut secret, label, &[])
            .expect("32 bytes can be exported of every connection that stands");
        secret
    }

    pub async fn open(&self) -> Result<(Outgoing, Incoming), Closed> {
        Ok(ends(self.0.open_bi().await.map_err(closed)?))
    }

    pub async fn accept(&self) -> Result<(Outgoing, Incoming), Closed> {
        Ok(ends(self.0.accept_bi().await.map_err(closed)?))
    }

    pub fn close(&self, code: u32, text: &str) {
        self.0.close(code.into(), text.as_bytes());
    }

    pub fn close_reason(&self) -> Option<Closed> {
        self.0.close_reason().map(closed)
    }

    pub async fn closed(&self) -> Closed {
        closed(self.0.closed().await)
    }
}

fn ends((send, receive): (SendStream, RecvStream)) -> (Outgoing, Incoming) {
    let outgoing = Outgoing {
        stream: send,
        over: false,
    };
    (outgoing, Incoming(receive))
}

impl Outgoing {
    pub async fn send(&mut self, bytes: Bytes) -> Result<(), StreamError> {
        self.stream.write_chunk(bytes).await.map_err(unwritten)
    }

    pub fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize, StreamError>> {
        let stream = std::pin::Pin::new(&mut self.stream);
        stream.poll_write(cx, bytes).map_err(unwritten)
    }

    pub fn finish(&mut self) {
        self.over = true;
        let _ = self.stream.finish(); // it may be over already
    }

    pub fn reset(&mut self, code: u32) {
        self.over = true;
        let _ = self.stream.reset(code.into()); // it may be over already
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        if !self.over {
            self.reset(0);
        }
    }
}

impl Incoming {
    pub async fn receive(&mut self, most: usize) -> Result<Option<Bytes>, StreamError> {
        self.0.read_chunk(most).await.map_err(unread)
    }

    pub fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<Result<(), StreamError>> {
        let read = ready!(self.0.poll_read(cx, buf.initialize_unfilled()));
        buf.advance(read.map_err(unread)?);
        Poll::Ready(Ok(()))
    }

    pub fn stop(&mut self, code: u32) {
        let _ = self.0.stop(code.into()); // it may be over already
    }
}

fn unwritten(error: WriteError) -> StreamError {
    match error {
        WriteError::Stopped(code) => StreamError::Stopped(number(code)),
        WriteError::ConnectionLost(error) => StreamError::Closed(closed(error)),
        _ => StreamError::Ended,
    }
}

fn unread(error: ReadError) -> StreamError {
    match error {
        ReadError::Reset(code) => StreamError::Reset(number(code)),
        ReadError::ConnectionLost(error) => StreamError::Closed(closed(error)),
        _ => StreamError::Ended,
    }
}

fn closed(error: ConnectionError) -> Closed {
    match error {
        ConnectionError::LocallyClosed => Closed::Here,
        ConnectionError::TimedOut => Closed::Silent,
        ConnectionError::ApplicationClosed(close) => Closed::There {
            code: number(close.error_code),
            text: String::from_utf8_lossy(&close.reason).into_owned(),
        },
        other => Closed::Broken(other.to_string()),
    }
}

/// A reason as a number; ours fit, others are told apart no further.
fn number(code: VarInt) -> u32 {
    u32::try_from(code.into_inner()).unwrap_or(u32::MAX)
}
