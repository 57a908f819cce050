//! How fast each road between devices is, and what it costs: memory to memory, over loopback, each side a process.
//!
//! `cargo run --release -p link --example roads [MIB]` sends so many MiB (1024) by each of them and prints Gbit/s and
//! the processor time of both sides for each GiB. `… idle [N]` tells what N connections at rest take, in memory.
#![allow(clippy::unwrap_used)] // a panic with a place is the report

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use iroh::endpoint::{PortmapperConfig, presets};
use iroh::{Endpoint, EndpointAddr, PublicKey, RelayMode, SecretKey};
use link::Egress;
use link::device::{Config, Connection, Devices, PREFACE, Target};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Name, and streams at once.
const ROADS: [(&str, usize); 6] = [
    ("tcp", 1),
    ("tls", 1),
    ("tls", 8),
    ("quic", 1),
    ("quic", 8),
    ("iroh", 1),
];
/// Bytes handed over at once.
const PART: usize = 256 << 10;
const SENDER: [u8; 32] = [1; 32];
const RECEIVER: [u8; 32] = [2; 32];
const SECRET: [u8; 32] = [3; 32];

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    if let [mode, road, streams] = &args[..]
        && mode == "receive"
    {
        runtime.block_on(receive(road, streams.parse().unwrap()));
        println!("{}", processor_time().as_secs_f64());
        return;
    }
    if let [mode, road, peers, address] = &args[..]
        && mode == "rest"
    {
        let address = address.parse().unwrap();
        return runtime.block_on(rest(road, peers.parse().unwrap(), address));
    }
    if let [mode, road, peers] = &args[..]
        && mode == "idle"
    {
        return runtime.block_on(idle(road, peers.parse().unwrap()));
    }
    if args.first().is_some_and(|mode| mode == "idle") {
        let peers = args.get(1).map_or("200", |peers| peers);
        for road in ["quic", "tls"] {
            // Each begins with a memory of its own.
            let mut itself = Command::new(std::env::current_exe().unwrap());
            assert!(
                itself
                    .args(["idle", road, peers])
                    .status()
                    .unwrap()
                    .success()
            );
        }
        return;
    }
    let mib: u64 = args.first().map_or(1024, |mib| mib.parse().unwrap());
    println!("{mib} MiB          Gbit/s   CPU s/GiB  sender  receiver");
    for (road, streams) in ROADS {
        runtime.block_on(measure(road, streams, mib));
    }
}

async fn measure(road: &str, streams: usize, mib: u64) {
    let (mut child, mut said) = start(road, streams);
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    let mut words = line.split_whitespace();
    let address: SocketAddr = words.next().unwrap().parse().unwrap();
    let before = processor_time();
    let took = match road {
        "tcp" => send_tcp(address, mib).await,
        "iroh" => send_iroh(address, mib).await,
        _ => send(road, address, streams, mib).await,
    };
    let ours = (processor_time() - before).as_secs_f64();
    line.clear();
    said.read_line(&mut line).unwrap();
    let theirs: f64 = line.trim().parse().unwrap();
    child.wait().unwrap();
    let gib = mib as f64 / 1024.0;
    println!(
        "{road:4} {streams} streams {:10.2} {:11.2} {:7.2} {:9.2}",
        gib * 8.0 * 1.073_741_824 / took.as_secs_f64(),
        (ours + theirs) / gib,
        ours / gib,
        theirs / gib,
    );
}

fn start(road: &str, streams: usize) -> (Child, impl BufRead) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["receive", road, &streams.to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let said = BufReader::new(child.stdout.take().unwrap());
    (child, said)
}

/// User and system time of this process: fields 14 and 15 of its stat, in hundredths of a second.
fn processor_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields = stat.rsplit_once(')').unwrap().1.split_whitespace();
    let ticks: u64 = fields
        .skip(11)
        .take(2)
        .map(|n| n.parse::<u64>().unwrap())
        .sum();
    Duration::from_millis(ticks * 10)
}

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

async fn devices(secret: [u8; 32]) -> Devices {
    let config = Config {
        secret,
        bind: vec![loopback()],
        relays: Vec::new(),
        lan_only: false,
        egress: Egress::default(),
    };
    Devices::bind(&config).await.unwrap()
}

/// The receiver, by this road alone.
fn target(road: &str, address: SocketAddr) -> Target {
    let key = *SecretKey::from_bytes(&RECEIVER).public().as_bytes();
    let mut target = Target {
        key,
        quic: Vec::new(),
        relays: Vec::new(),
        tcp: Vec::new(),
        preface: Some(SECRET),
    };
    match road {
        "tls" => target.tcp.push(address),
        _ => target.quic.push(address),
    }
    target
}

async fn send(road: &str, address: SocketAddr, streams: usize, mib: u64) -> Duration {
    let devices = devices(SENDER).await;
    let connection = devices.dial(&target(road, address)).await.unwrap();
    let began = Instant::now();
    let each = (mib << 20) / streams as u64;
    let sending = (0..streams).map(|_| send_stream(connection.clone(), each));
    futures_util::future::join_all(sending).await;
    let took = began.elapsed();
    connection.close(0, "");
    devices.close().await;
    took
}

async fn send_stream(connection: Connection, bytes: u64) {
    let (mut out, mut back) = connection.open().await.unwrap();
    let part = Bytes::from(vec![7; PART]);
    for _ in 0..bytes / PART as u64 {
        out.send(part.clone()).await.unwrap();
    }
    out.finish();
    assert_eq!(back.receive(1).await.unwrap().unwrap().len(), 1);
}

async fn receive(road: &str, streams: usize) {
    match road {
        "tcp" => return receive_tcp().await,
        "iroh" => return receive_iroh().await,
        _ => {}
    }
    let devices = devices(RECEIVER).await;
    if road == "tls" {
        let listener = TcpListener::bind(loopback()).await.unwrap();
        println!("{}", listener.local_addr().unwrap());
        admit(&devices, &listener).await;
    } else {
        println!("{}", devices.listening()[0]);
    }
    let connection = devices.accept().await.unwrap();
    let receiving = (0..streams).map(|_| receive_stream(connection.clone()));
    futures_util::future::join_all(receiving).await;
    connection.closed().await;
    devices.close().await;
}

/// Lets one device in.
async fn admit(devices: &Devices, listener: &TcpListener) {
    let (mut tcp, _) = listener.accept().await.unwrap();
    let mut preface = [0; PREFACE];
    tcp.read_exact(&mut preface).await.unwrap();
    let doorman = devices.doorman();
    doorman.expect(&SECRET);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    assert!(doorman.admits(&preface, now.as_secs()));
    devices.admit(tcp, Vec::new());
}

/// Memory of this process, in KiB, and its threads.
fn footprint() -> (u64, u64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let value = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    (value("VmRSS"), value("Threads"))
}

/// Accepts connections of so many devices and looks at itself.
async fn idle(road: &str, peers: u64) {
    let devices = devices(RECEIVER).await;
    let listener = TcpListener::bind(loopback()).await.unwrap();
    let address = match road {
        "tls" => listener.local_addr().unwrap(),
        _ => devices.listening()[0],
    };
    let (alone, threads) = footprint();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["rest", road, &peers.to_string(), &address.to_string()])
        .spawn()
        .unwrap();
    let mut connections = Vec::new();
    for _ in 0..peers {
        if road == "tls" {
            admit(&devices, &listener).await;
        }
        connections.push(devices.accept().await.unwrap());
    }
    tokio::time::sleep(Duration::from_secs(10)).await;
    let (with, _) = footprint();
    println!(
        "{road}: {alone} KiB and {threads} threads alone; {} KiB for each of {peers} connections",
        with.saturating_sub(alone) / peers
    );
    drop(connections);
    devices.close().await;
    child.kill().unwrap();
    child.wait().unwrap();
}

/// The other side of that.
async fn rest(road: &str, peers: u64, address: SocketAddr) {
    let mut kept = Vec::new();
    for n in 0..peers {
        let mut secret = [9; 32];
        secret[..8].copy_from_slice(&n.to_be_bytes());
        let devices = devices(secret).await;
        let connection = devices.dial(&target(road, address)).await.unwrap();
        kept.push((devices, connection));
    }
    std::future::pending().await
}

async fn receive_stream(connection: Connection) {
    let (mut out, mut back) = connection.accept().await.unwrap();
    while back.receive(PART).await.unwrap().is_some() {}
    out.send(Bytes::from_static(b"!")).await.unwrap();
    out.finish();
}

async fn send_tcp(address: SocketAddr, mib: u64) -> Duration {
    let mut tcp = TcpStream::connect(address).await.unwrap();
    let part = vec![7; PART];
    let began = Instant::now();
    for _ in 0..(mib << 20) / PART as u64 {
        tcp.write_all(&part).await.unwrap();
    }
    tcp.shutdown().await.unwrap();
    tcp.read_u8().await.unwrap();
    began.elapsed()
}

async fn receive_tcp() {
    let listener = TcpListener::bind(loopback()).await.unwrap();
    println!("{}", listener.local_addr().unwrap());
    let (mut tcp, _) = listener.accept().await.unwrap();
    let mut part = vec![0; PART];
    while tcp.read(&mut part).await.unwrap() > 0 {}
    tcp.write_u8(1).await.unwrap();
}

/// iroh as it comes, with our cryptography.
async fn endpoint(secret: [u8; 32]) -> Endpoint {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    Endpoint::builder(presets::Empty)
        .crypto_provider(std::sync::Arc::new(provider))
        .secret_key(SecretKey::from_bytes(&secret))
        .alpns(vec![b"bare".to_vec()])
        .relay_mode(RelayMode::Disabled)
        .portmapper_config(PortmapperConfig::Disabled)
        .clear_ip_transports()
        .bind_addr(loopback())
        .unwrap()
        .bind()
        .await
        .unwrap()
}

async fn send_iroh(address: SocketAddr, mib: u64) -> Duration {
    let key: PublicKey = SecretKey::from_bytes(&RECEIVER).public();
    let endpoint = endpoint(SENDER).await;
    let address = EndpointAddr::new(key).with_ip_addr(address);
    let connection = endpoint.connect(address, b"bare").await.unwrap();
    let (mut out, mut back) = connection.open_bi().await.unwrap();
    let part = Bytes::from(vec![7; PART]);
    let began = Instant::now();
    for _ in 0..(mib << 20) / PART as u64 {
        out.write_chunk(part.clone()).await.unwrap();
    }
    out.finish().unwrap();
    back.read_chunk(1).await.unwrap().unwrap();
    let took = began.elapsed();
    connection.close(0u32.into(), b"");
    endpoint.close().await;
    took
}

async fn receive_iroh() {
    let endpoint = endpoint(RECEIVER).await;
    println!("{}", endpoint.bound_sockets()[0]);
    let connection = endpoint.accept().await.unwrap().await.unwrap();
    let (mut out, mut back) = connection.accept_bi().await.unwrap();
    while back.read_chunk(PART).await.unwrap().is_some() {}
    out.write_chunk(Bytes::from_static(b"!")).await.unwrap();
    out.finish().unwrap();
    connection.closed().await;
    endpoint.close().await;
}
