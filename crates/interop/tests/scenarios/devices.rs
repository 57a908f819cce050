//! Devices that know each other by key, in networks of their own.

use interop::{Nat, Scenario, Seat};
use link::Egress;
use link::device::{Closed, Config, Connection, Devices, DialError, PREFACE, Road, Target};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Command;
use std::sync::mpsc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// What two devices know together.
const SECRET: [u8; 32] = [3; 32];

/// A device at a seat. What it does runs on a thread that lives there.
struct Host {
    seat: Seat,
    runtime: Handle,
    devices: Devices,
    /// The thread ends with it.
    _stays: oneshot::Sender<()>,
}

impl Host {
    fn at(seat: Seat, seed: u8, lan_only: bool) -> Host {
        let (told, handle) = mpsc::channel();
        let (stays, gone) = oneshot::channel::<()>();
        let there = seat.clone();
        std::thread::spawn(move || {
            there.within(|| {
                let runtime = Builder::new_current_thread().enable_all().build().unwrap();
                told.send(runtime.handle().clone()).unwrap();
                let _ = runtime.block_on(gone);
            });
        });
        let runtime = handle.recv().unwrap();
        let config = Config {
            secret: [seed; 32],
            bind: vec![SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))],
            relays: Vec::new(),
            lan_only,
            egress: Egress::default(),
        };
        let devices = run_on(&runtime, async move { Devices::bind(&config).await });
        Host {
            seat,
            runtime,
            devices: devices.unwrap(),
            _stays: stays,
        }
    }

    fn run<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T {
        run_on(&self.runtime, work)
    }

    fn ip(&self) -> IpAddr {
        IpAddr::V4(*self.seat.addr.ip())
    }

    fn target(&self) -> Target {
        let quic = self.devices.listening();
        let port = quic
            .iter()
            .find(|at| at.ip().is_unspecified() || at.ip() == self.ip());
        Target {
            key: self.devices.key(),
            quic: vec![SocketAddr::new(self.ip(), port.unwrap().port())],
            relays: Vec::new(),
            tcp: Vec::new(),
            preface: None,
        }
    }

    /// Where it takes TCP connections of devices, and nothing else.
    fn fast_target(&self) -> Target {
        let (ip, devices) = (self.ip(), self.devices.clone());
        let listener = self.run(async move { TcpListener::bind((ip, 0)).await });
        let listener = listener.unwrap();
        let address = listener.local_addr().unwrap();
        self.runtime.spawn(async move {
            let doorman = devices.doorman();
            doorman.expect(&SECRET);
            while let Ok((mut tcp, _)) = listener.accept().await {
                let mut first = [0; PREFACE];
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
                if tcp.read_exact(&mut first).await.is_ok() && doorman.admits(&first, now.as_secs())
                {
                    devices.admit(tcp, Vec::new());
                }
            }
        });
        Target {
            quic: Vec::new(),
            tcp: vec![address],
            preface: Some(SECRET),
            ..self.target()
        }
    }

    fn dials(&self, target: Target) -> Result<Connection, DialError> {
        let devices = self.devices.clone();
        self.run(async move { devices.dial(&target).await })
    }

    fn accepts(&self) -> Connection {
        let devices = self.devices.clone();
        self.run(async move { devices.accept().await }).unwrap()
    }

    /// Counts what its computer sends over TCP and UDP to any address but these.
    fn watches(&self, allowed: &str) {
        let rules = format!(
            "table inet watch {{ counter strays {{ }}; counter passed {{ }}; chain out {{ \
             type filter hook output priority 0; oif lo accept; meta l4proto != {{ tcp, udp }} accept; \
             ip daddr {allowed} counter name passed accept; counter name strays; }}; }}"
        );
        let done = self.seat.within(|| Command::new("nft").arg(rules).status());
        assert!(done.unwrap().success());
    }

    fn counted(&self, counter: &str) -> u64 {
        let args = ["list", "counter", "inet", "watch", counter];
        let listed = self.seat.within(|| Command::new("nft").args(args).output());
        let text = String::from_utf8(listed.unwrap().stdout).unwrap();
        let mut words = text.split_whitespace().skip_while(|w| *w != "packets");
        words.nth(1).unwrap().parse().unwrap()
    }
}

fn run_on<T: Send + 'static>(
    runtime: &Handle,
    work: impl Future<Output = T> + Send + 'static,
) -> T {
    let (told, result) = mpsc::channel();
    runtime.spawn(async move { told.send(work.await) });
    result.recv().unwrap()
}

/// Sends some bytes and waits until they have arrived.
fn sends(from: (&Host, &Connection), to: (&Host, &Connection)) {
    const LEN: usize = 4 << 20;
    let sender = from.1.clone();
    from.0.runtime.spawn(async move {
        let (mut out, _back) = sender.open().await.unwrap();
        out.send(vec![7; LEN].into()).await.unwrap();
        out.finish();
        sender.closed().await;
    });
    let receiver = to.1.clone();
    let received = to.0.run(async move {
        let (_out, mut back) = receiver.accept().await.unwrap();
        let mut all = Vec::new();
        back.read_to_end(&mut all).await.unwrap();
        all.len()
    });
    assert_eq!(received, LEN);
}

#[test]
fn devices_speak_to_each_other_and_to_nobody_else() {
    let s = Scenario::internet();
    let (one, two) = (s.home(Nat::Open), s.home(Nat::Open));
    let alice = Host::at(one.seat(), 1, false);
    let bob = Host::at(two.seat(), 2, false);
    alice.watches(&bob.ip().to_string());
    bob.watches(&alice.ip().to_string());
    let there = alice.dials(bob.target()).unwrap();
    let here = bob.accepts();
    assert!(matches!(there.road(), Some(Road::Direct(_))));
    sends((&alice, &there), (&bob, &here));
    // Long enough for what is done now and then.
    std::thread::sleep(Duration::from_secs(12));
    let fast = bob.fast_target();
    let devices = alice.devices.clone();
    let fast = alice
        .run(async move { devices.dial_fast(&fast).await })
        .unwrap();
    sends((&bob, &bob.accepts()), (&alice, &fast));
    for host in [&alice, &bob] {
        assert_eq!(host.counted("strays"), 0);
        assert!(host.counted("passed") > 100);
    }
    // The counter would have told.
    let mut elsewhere = bob.target();
    elsewhere.key = [1; 32];
    elsewhere.quic = vec![SocketAddr::from(([11, 250, 0, 1], 9))];
    let fresh = Host::at(one.seat(), 3, false);
    fresh.watches("127.0.0.1");
    assert!(fresh.dials(elsewhere).is_err());
    assert!(fresh.counted("strays") > 0);
}

#[test]
fn in_the_local_network_alone_nothing_leaves_it() {
    let s = Scenario::internet();
    let (one, two) = (s.home(Nat::Open), s.home(Nat::Open));
    let alice = Host::at(one.seat(), 1, true);
    let carol = Host::at(one.seat(), 2, true);
    let bob = Host::at(two.seat(), 3, false);
    alice.watches(&format!("{}/24", alice.ip()));
    let there = alice.dials(carol.target()).unwrap();
    sends((&alice, &there), (&carol, &carol.accepts()));
    let mut far = bob.target();
    far.tcp = bob.fast_target().tcp;
    far.preface = Some(SECRET);
    assert!(alice.dials(far).is_err());
    // Nor does it answer from there.
    assert!(bob.dials(alice.target()).is_err());
    assert_eq!(alice.counted("strays"), 0);
    assert!(alice.counted("passed") > 100);
}

#[test]
fn a_device_that_is_cut_off_is_given_up() {
    let s = Scenario::internet();
    let (one, two) = (s.home(Nat::Open), s.home(Nat::Open));
    let alice = Host::at(one.seat(), 1, false);
    let bob = Host::at(two.seat(), 2, false);
    let quic = alice.dials(bob.target()).unwrap();
    let fast = bob.fast_target();
    let devices = alice.devices.clone();
    let fast = alice
        .run(async move { devices.dial_fast(&fast).await })
        .unwrap();
    two.is_cut_off();
    for connection in [quic, fast] {
        let closed = alice.run(async move {
            tokio::time::timeout(Duration::from_secs(60), connection.closed()).await
        });
        assert_eq!(closed.unwrap(), Closed::Silent);
    }
}
