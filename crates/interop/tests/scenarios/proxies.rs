//! Through a proxy, and in no other way.

use crate::{PATIENT, SOON};
use interop::{Kind, ProxyKind, Role, Scenario, Starling};
use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

/// A Starling that has everything switched on and may use this proxy alone.
fn behind(s: &Scenario, url: &str) -> Starling {
    s.starling()
        .with_local_discovery()
        .fenced()
        .env("STARLING_PROXY", url)
        .env("RUST_LOG", "node=debug")
        .arg("--proxy-required")
}

/// Announces over HTTP and UDP, a DHT node known: all that could go past the proxy.
fn fetches_behind(kind: ProxyKind) {
    let s = Scenario::new();
    let (film, other) = (s.file("film.mkv", 3_000_000), s.file("other.bin", 100_000));
    let trackers = [&*s.tracker().udp_url(), &s.tracker().http_url()];
    let torrent = s.torrent_with(&film, Kind::Hybrid, 65536, &trackers);
    let node = s
        .libtorrent()
        .with_dht(&[])
        .seeds(&s.torrent_without_tracker(&other, Kind::V1));
    let _seed = s
        .libtorrent()
        .with_dht(&[&node])
        .arg("--set")
        .arg("announce_to_all_trackers=true")
        .seeds(&torrent);
    let proxy = s.proxy(kind);
    let fence = s.fence(*proxy.addr.ip());
    let mut us = behind(&s, &proxy.url())
        .with_dht(&[&node])
        .start(Role::get(&torrent));
    us.receives(&film, PATIENT);
    assert_eq!(fence.strays(), 0, "packets went past the proxy");
    assert!(fence.passed() > 100, "the download went through it");
    assert!(
        !us.child.stderr().contains("cret"),
        "the log tells the password"
    );
}

#[test]
fn a_download_goes_through_a_socks_proxy_alone() {
    fetches_behind(ProxyKind::Dante);
}

#[test]
fn a_download_goes_through_a_socks_proxy_without_datagrams_alone() {
    fetches_behind(ProxyKind::Microsocks);
}

#[test]
fn a_download_goes_through_an_http_proxy_alone() {
    fetches_behind(ProxyKind::Tinyproxy);
}

#[test]
fn the_dht_is_asked_through_a_proxy_that_carries_datagrams() {
    let s = Scenario::new();
    let (film, other) = (s.file("film.mkv", 3_000_000), s.file("other.bin", 100_000));
    let torrent = s.torrent_without_tracker(&film, Kind::V2);
    let node = s
        .libtorrent()
        .with_dht(&[])
        .seeds(&s.torrent_without_tracker(&other, Kind::V1));
    let _seed = s.libtorrent().with_dht(&[&node]).seeds(&torrent);
    let proxy = s.proxy(ProxyKind::Dante);
    let fence = s.fence(*proxy.addr.ip());
    behind(&s, &proxy.url())
        .with_dht(&[&node])
        .start(Role::get(&torrent.magnet))
        .receives(&film, PATIENT);
    assert_eq!(fence.strays(), 0, "packets went past the proxy");
}

#[test]
fn a_udp_tracker_is_asked_through_a_proxy_that_carries_datagrams() {
    let s = Scenario::new();
    let film = s.file("film.mkv", 3_000_000);
    let torrent = s.torrent_with(&film, Kind::V1, 65536, &[&s.tracker().udp_url()]);
    let _seed = s.libtorrent().seeds(&torrent);
    let proxy = s.proxy(ProxyKind::Dante);
    let fence = s.fence(*proxy.addr.ip());
    behind(&s, &proxy.url())
        .start(Role::get(&torrent))
        .receives(&film, SOON);
    assert_eq!(fence.strays(), 0, "packets went past the proxy");
}

#[test]
fn without_its_proxy_nothing_leaves_and_the_transfer_says_why() {
    let s = Scenario::new();
    let film = s.file("film.mkv", 3_000_000);
    let torrent = s.torrent(&film, Kind::V1);
    let seed = s.libtorrent().seeds(&torrent);
    let nobody: SocketAddrV4 = "10.77.0.18:1080".parse().unwrap();
    let fence = s.fence(*nobody.ip());
    let mut us = behind(&s, &format!("socks5://{nobody}"))
        .knows(&seed)
        .arg("--timeout")
        .arg("8s")
        .start(Role::get(&torrent));
    assert_ne!(us.child.exit_code(SOON), 0);
    assert_eq!(fence.strays(), 0, "packets went past the proxy");
    let said = us.child.stderr();
    assert!(
        said.contains("the proxy socks5://10.77.0.18:1080 does not answer"),
        "{said}"
    );
}

#[test]
fn what_the_proxy_cannot_carry_goes_directly_unless_it_is_required() {
    let s = Scenario::new();
    let film = s.file("film.mkv", 3_000_000);
    let torrent = s.torrent_with(&film, Kind::V1, 65536, &[&s.tracker().udp_url()]);
    let _seed = s.libtorrent().seeds(&torrent);
    let proxy = s.proxy(ProxyKind::Microsocks);
    s.starling()
        .env("STARLING_PROXY", proxy.url())
        .start(Role::get(&torrent))
        .receives(&film, SOON);
}

fn fetches_from_a_server_behind(kind: ProxyKind) {
    let s = Scenario::new();
    let album = s.album();
    let nginx = s.nginx("93.184.216.34", &album, "");
    let torrent = s.torrent_on_servers(&album, Kind::Hybrid, &[&nginx.url()]);
    let proxy = s.proxy(kind);
    let fence = s.fence(*proxy.addr.ip());
    behind(&s, &proxy.url())
        .start(Role::get(&torrent))
        .receives(&album, PATIENT);
    assert_eq!(fence.strays(), 0, "packets went past the proxy");
    assert!(fence.passed() > 100, "the download went through it");
    assert!(!nginx.answers().is_empty());
}

#[test]
fn a_web_server_is_asked_through_a_socks_proxy_alone() {
    fetches_from_a_server_behind(ProxyKind::Microsocks);
}

#[test]
fn a_web_server_is_asked_through_an_http_proxy_alone() {
    fetches_from_a_server_behind(ProxyKind::Tinyproxy);
}

#[test]
fn a_daemon_says_what_its_proxy_leaves_off() {
    let s = Scenario::new();
    let proxy = s.proxy(ProxyKind::Microsocks);
    let fence = s.fence(*proxy.addr.ip());
    let daemon = behind(&s, &proxy.url())
        .env("STARLING_NO_PORT_MAPPING", "0")
        .enters_by("10.77.0.19:6881")
        .ups();
    let end = Instant::now() + SOON;
    let notes = loop {
        let network = daemon.ask("/status", &[])["network"].take();
        assert!(!network.to_string().contains("cret"), "{network:#}");
        let notes = network["notes"].to_string();
        let mapping = network["port_mapping"].as_str().unwrap_or_default();
        if notes.contains("UDP") && mapping == "off: all goes through the proxy" {
            break notes;
        }
        assert!(Instant::now() < end, "{network:#}");
        std::thread::sleep(Duration::from_millis(100));
    };
    let wanted = [
        format!(
            "everything goes through socks5://{}, or not at all",
            proxy.addr
        ),
        "off beside the proxy: connections from outside, the local network, port mapping"
            .to_owned(),
        "DHT, uTP and UDP trackers are off: ".to_owned(),
    ];
    for words in wanted {
        assert!(notes.contains(&words), "not {words:?}: {notes}");
    }
    assert_eq!(fence.strays(), 0, "packets went past the proxy");
}
