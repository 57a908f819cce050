//! Routers that pass our port on, lists of addresses we leave alone, interfaces that come and go.

use crate::{PATIENT, SOON};
use interop::{Daemon, Home, Kind, Nat, Peer, Role, Scenario, Starling};
use serde_json::json;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, UdpSocket};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Long enough for a packet that should not leave to have left.
const MEANWHILE: Duration = Duration::from_secs(4);

/// A seed behind a router, which is asked to pass its port on.
fn seed_at(home: &Home<'_>, torrent: &interop::Torrent) -> Peer {
    home.starling()
        .env("STARLING_NO_PORT_MAPPING", "0")
        .env("RUST_LOG", "node=info")
        .seeds(torrent)
}

fn nft(rules: &str) {
    assert!(Command::new("nft").arg(rules).status().unwrap().success());
}

fn is_mapped_and_reached(deaf_to_pcp: bool, how: &str) {
    let s = Scenario::internet();
    let film = s.file("film.mkv", 3_000_000);
    let torrent = s.torrent_without_tracker(&film, Kind::Hybrid);
    let home = s.home(Nat::PortPreserving);
    home.maps_ports();
    if deaf_to_pcp {
        home.on_router(|| {
            nft("table ip deaf { chain in { type filter hook input priority -5; udp dport 5351 drop; }; }");
        });
    }
    let mut seed = seed_at(&home, &torrent);
    home.has_mapped(seed.addr, SOON);
    let outside = SocketAddrV4::new(home.public_ip(), seed.addr.port());
    s.starling()
        .arg("--peer")
        .arg(outside)
        .start(Role::get(&torrent))
        .receives(&film, SOON);
    let said = seed.child.stderr();
    assert!(
        said.contains(&format!("mapped to {outside} by {how} on router")),
        "{said}"
    );
    seed.child.interrupt();
    seed.child.exit_code(SOON);
    let rules = home.on_router(|| {
        let list = ["list", "chain", "inet", "igd", "mapped"];
        Command::new("nft").args(list).output().unwrap()
    });
    let rules = String::from_utf8_lossy(&rules.stdout);
    assert!(!rules.contains("dnat"), "it is still mapped: {rules}");
}

#[test]
fn a_router_maps_our_port_by_pcp_and_forgets_it_when_we_stop() {
    is_mapped_and_reached(false, "PCP");
}

#[test]
fn a_router_maps_our_port_by_upnp_and_forgets_it_when_we_stop() {
    is_mapped_and_reached(true, "UPnP");
}

/// What a router was asked for by NAT-PMP: 1 for UDP or 2 for TCP, the port inside, and for how many seconds.
type Asked = Arc<Mutex<Vec<(u8, u16, u32)>>>;

/// A router from before PCP: it passes on what it is asked to by NAT-PMP (RFC 6886), and says to whoever speaks
/// anything newer that it does not.
fn speaks_nat_pmp(home: &Home<'_>) -> Asked {
    let (asked, public) = (Asked::default(), home.public_ip());
    let log = asked.clone();
    home.on_router(|| {
        let socket = UdpSocket::bind("0.0.0.0:5351").unwrap();
        std::thread::spawn(move || {
            let mut buf = [0; 2048];
            while let Ok((len, from)) = socket.recv_from(&mut buf) {
                let request = &buf[..len];
                let answer = |operation, result, rest: &[u8]| {
                    // Version, what was asked for, result, seconds since it was switched on.
                    let head = [0, 128 | operation, 0, result, 0, 0, 0, 9];
                    [&head[..], rest].concat()
                };
                let said = match *request {
                    [0, 0] => answer(0, 0, &public.octets()),
                    [0, operation @ 1..=2, _, _, a, b, c, d, ref rest @ ..] if rest.len() == 4 => {
                        let lifetime = u32::from_be_bytes(rest.try_into().unwrap());
                        let [inside, outside] = [[a, b], [c, d]].map(u16::from_be_bytes);
                        log.lock().unwrap().push((operation, inside, lifetime));
                        let protocol = ["udp", "tcp"][usize::from(operation) - 1];
                        let chain = format!("mapped-{protocol}");
                        nft(&format!("add chain ip router {chain}; flush chain ip router {chain}"));
                        if lifetime > 0 {
                            nft(&format!(
                                "add rule ip router {chain} {protocol} dport {outside} dnat to {}:{inside}; \
                                 add rule ip router before iifname wan jump {chain}",
                                from.ip()
                            ));
                        }
                        let given = if lifetime > 0 { [c, d] } else { [0, 0] };
                        answer(operation, 0, &[&[a, b], &given, rest].concat())
                    }
                    // RFC 6886 §3.5: the version that it speaks, and result 1.
                    [_, operation, ..] => answer(operation & 127, 1, &[]),
                    _ => continue,
                };
                let _ = socket.send_to(&said, from);
            }
        });
    });
    asked
}

#[test]
fn a_router_maps_our_port_by_nat_pmp_and_forgets_it_when_we_stop() {
    let s = Scenario::internet();
    let film = s.file("film.mkv", 3_000_000);
    let torrent = s.torrent_without_tracker(&film, Kind::Hybrid);
    let home = s.home(Nat::PortPreserving);
    let asked = speaks_nat_pmp(&home);
    let mut seed = seed_at(&home, &torrent);
    let port = seed.addr.port();
    let outside = SocketAddrV4::new(home.public_ip(), port);
    seed.child.wait("it is mapped", SOON, |child| {
        let words = format!("mapped to {outside} by NAT-PMP on router");
        child.stderr().contains(&words).then_some(())
    });
    s.starling()
        .arg("--peer")
        .arg(outside)
        .start(Role::get(&torrent))
        .receives(&film, SOON);
    seed.child.interrupt();
    seed.child.exit_code(SOON);
    let asked = asked.lock().unwrap();
    for operation in [1, 2] {
        let of: Vec<u32> = (asked.iter())
            .filter(|asked| (asked.0, asked.1) == (operation, port))
            .map(|asked| asked.2)
            .collect();
        // A packet may come twice.
        assert!(of[0] > 0 && of.last() == Some(&0), "{asked:?}");
    }
}

/// Waits until the daemon says this of its TCP and of its UDP port; gives its words.
fn both_are(daemon: &Daemon, wanted: &str) -> String {
    let end = Instant::now() + PATIENT;
    loop {
        let network = daemon.ask("/status", &[])["network"].take();
        let ports = network["ports"].as_array().unwrap();
        if ports.len() == 2 && ports.iter().all(|port| port["state"] == wanted) {
            return ports[0]["words"].as_str().unwrap().to_owned();
        }
        assert!(Instant::now() < end, "not {wanted}: {network:#}");
        std::thread::sleep(Duration::from_millis(500));
    }
}

#[test]
fn whether_our_port_is_open_is_known_from_peers() {
    let s = Scenario::internet();
    let film = s.file("film.mkv", 50_000_000);
    let torrent = s.torrent_without_tracker(&film, Kind::Hybrid);
    let seeds = [(); 2].map(|()| s.starling().seeds(&torrent));
    let home = s.home(Nat::PortPreserving);
    // Peers that both have all of it part, and tell each other nothing.
    let mut us = home.starling().arg("--limit-down").arg("100KiB");
    let daemon = us.ups();
    assert!(both_are(&daemon, "unknown").contains("nobody to ask"));
    let addrs = [seeds[0].addr, seeds[1].addr];
    daemon.adds(&torrent, &addrs, json!({"paused": false}));
    let said = both_are(&daemon, "closed");
    let port = us.addr.port();
    assert!(
        said.contains(&format!("Forward TCP port {port} on your router")),
        "{said}"
    );
    let outside = home.forwards_port_of(us.addr);
    let _other = s
        .starling()
        .arg("--peer")
        .arg(outside)
        .arg("--limit-down")
        .arg("100KiB")
        .start(Role::get(&torrent));
    assert!(both_are(&daemon, "open").starts_with("open (seen"));
}

#[test]
fn where_no_router_answers_that_is_said() {
    let s = Scenario::internet();
    let film = s.file("film.mkv", 100_000);
    let torrent = s.torrent_without_tracker(&film, Kind::V1);
    let home = s.home(Nat::PortPreserving);
    let mut seed = seed_at(&home, &torrent);
    seed.child.wait("it says so", SOON, |child| {
        child
            .stderr()
            .contains("no router here answers UPnP, NAT-PMP or PCP")
            .then_some(())
    });
}

/// Answers whatever comes with the same, for ever.
fn answers(socket: UdpSocket, with: Vec<u8>) {
    std::thread::spawn(move || {
        let mut buf = [0; 2048];
        while let Ok((_, from)) = socket.recv_from(&mut buf) {
            let _ = socket.send_to(&with, from);
        }
    });
}

#[test]
fn a_router_that_answers_nonsense_is_as_good_as_none() {
    let s = Scenario::internet();
    let film = s.file("film.mkv", 3_000_000);
    let torrent = s.torrent_without_tracker(&film, Kind::V1);
    let home = s.home(Nat::PortPreserving);
    let mut other = home.starling();
    let [a, b, c, _] = other.addr.ip().octets();
    let router = Ipv4Addr::new(a, b, c, 1);
    let asked = home.on_router(|| {
        answers(
            UdpSocket::bind("0.0.0.0:5351").unwrap(),
            b"pardon?".to_vec(),
        );
        let ssdp = UdpSocket::bind("0.0.0.0:1900").unwrap();
        let group = Ipv4Addr::new(239, 255, 255, 250);
        ssdp.join_multicast_v4(&group, &router).unwrap();
        let here = format!(
            "HTTP/1.1 200 OK\r\nST: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\n\
             LOCATION: http://{router}:5000/what.xml\r\n\r\n"
        );
        answers(ssdp, here.into_bytes());
        let web = TcpListener::bind("0.0.0.0:5000").unwrap();
        let asked = Arc::new(AtomicU64::new(0));
        let count = asked.clone();
        std::thread::spawn(move || {
            for stream in web.incoming() {
                count.fetch_add(1, Ordering::SeqCst);
                let mut stream = stream.unwrap();
                std::thread::spawn(move || {
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n<root>");
                    while stream.write_all(&[b'<'; 65_536]).is_ok() {}
                });
            }
        });
        asked
    });
    let mut seed = seed_at(&home, &torrent);
    seed.child.wait("it says so", SOON, |child| {
        let said = child.stderr();
        said.contains("the router's answer is none of UPnP, NAT-PMP or PCP")
            .then_some(())
    });
    assert!(
        asked.load(Ordering::SeqCst) > 0,
        "its pages were not asked for"
    );
    other = other.knows(&seed);
    other.start(Role::get(&torrent)).receives(&film, SOON);
}

#[test]
fn blocked_addresses_are_left_alone_until_the_list_says_otherwise() {
    let s = Scenario::new();
    let film = s.file("film.mkv", 3_000_000);
    let torrent = s.torrent(&film, Kind::V1);
    let _seed = s.libtorrent().seeds(&torrent);
    let list = s.path("list.p2p");
    std::fs::write(&list, "everybody here:10.77.0.0-10.77.0.19\n").unwrap();
    let mut us = s
        .starling()
        .arg("--block-list")
        .arg(list.display())
        .env("RUST_LOG", "node=info")
        .start(Role::get(&torrent));
    us.child.wait("the list is read", SOON, |child| {
        child
            .stderr()
            .contains("the block list is in effect")
            .then_some(())
    });
    std::thread::sleep(MEANWHILE);
    assert!(!us.is_complete(), "it talked to who is blocked");
    std::fs::write(&list, "no address at all\n").unwrap();
    us.child.wait("the mistake is told", SOON, |child| {
        child
            .stderr()
            .contains("list.p2p:1: it is no address")
            .then_some(())
    });
    assert!(
        !us.is_complete(),
        "a list that cannot be read blocks nobody"
    );
    std::fs::write(&list, "elsewhere:192.0.2.0-192.0.2.255\n").unwrap();
    us.receives(&film, PATIENT);
}

#[test]
fn all_goes_by_one_interface_and_waits_for_it_while_it_is_away() {
    let s = Scenario::internet();
    let film = s.file("film.mkv", 12_000_000);
    let torrent = s.torrent(&film, Kind::Hybrid);
    let seed = s.libtorrent().seeds(&torrent);
    let mut seat = s.seat();
    let here = seat.clone();
    let tunnel = here.tunnel("tun0");
    seat.addr.set_ip(tunnel.own);
    // What the system itself answers to packets for nobody is not ours.
    here.within(|| {
        nft(
            "table inet beside { \
             set strays { type ipv4_addr . inet_proto . inet_service; size 100; flags dynamic; }; \
             chain out { type filter hook output priority 0; \
             meta skgid 7117 oifname eth0 meta nfproto ipv4 add @strays { ip daddr . meta l4proto . th dport }; }; }",
        );
    });
    let mut us = Starling::at(seat)
        .knows(&seed)
        .with_local_discovery()
        .fenced()
        .arg("--interface")
        .arg("tun0")
        .arg("--limit-down")
        .arg("1MiB")
        .start(Role::get(&torrent));
    let done = |us: &mut Peer| {
        let said = us.child.said("progress");
        said.and_then(|said| said["done"].as_u64()).unwrap_or(0)
    };
    let end = Instant::now() + SOON;
    while done(&mut us) < 1_000_000 {
        assert!(Instant::now() < end, "nothing comes through the tunnel");
        std::thread::sleep(Duration::from_millis(50));
    }
    tunnel.goes();
    std::thread::sleep(MEANWHILE);
    let stopped_at = done(&mut us);
    std::thread::sleep(MEANWHILE);
    assert!(!us.is_complete() && done(&mut us) == stopped_at);
    tunnel.comes();
    us.receives(&film, PATIENT);
    let counted = here.within(|| {
        let list = ["list", "set", "inet", "beside", "strays"];
        Command::new("nft").args(list).output().unwrap()
    });
    let strays = String::from_utf8_lossy(&counted.stdout).into_owned();
    assert!(counted.status.success());
    assert!(
        !strays.contains("elements"),
        "it left beside the tunnel: {strays}"
    );
}
