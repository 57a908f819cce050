//! The loop around a transfer's tracker announcer: HTTP and UDP announces, each to one address of
//! each family. What trackers are asked beside is in `trackers/scrape.rs`.

mod scrape;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Instant;

use discovery::external::Voter;
use discovery::tracker::rules::{Scheme, TrackerUrl};
use discovery::tracker::udp::{self, Connection, Exchange};
use discovery::tracker::{
    AnnounceId, Announcer, Answer, Ask, Config, Failure, Input, Output, Stats,
};
use link::proxy::{ProxyError, Relay, Target};
use swarm::{Source, TorrentId};
use tokio::sync::Notify;
use torrent::ids::InfoHashes;
use torrent::tracker::{Announce, Announced, http};

use super::Driver;
use super::proxy::passes_by;
use crate::Event;
use crate::web::{MOST_ANNOUNCE, Trust};

/// Largest UDP answer looked at, in bytes.
const PACKET: usize = 4096;
/// Leaves to talk to UDP trackers remembered; they live a minute each.
const MOST_CONNECTIONS: usize = 256;

/// Announces under way at once, of all transfers.
const RUNNING: usize = 16;

/// The announcer of one transfer.
pub(crate) struct Following {
    pub torrent: TorrentId,
    engine: RefCell<Announcer>,
    /// When its engine wants to hear the time.
    due: Cell<Option<Instant>>,
    /// What the trackers said last, for the person.
    heard: RefCell<BTreeMap<String, Heard>>,
    /// Announces under way, by the URL as it is shown.
    asking: RefCell<BTreeMap<String, u32>>,
    pub stopped: Notify,
}

/// What a tracker said last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Heard {
    /// It answered as it should.
    pub works: bool,
    /// What it said, or what went wrong.
    pub message: Option<String>,
    /// Peers it knows that have everything.
    pub seeds: Option<u32>,
    /// Peers it knows that do not.
    pub leeches: Option<u32>,
    /// Addresses it gave.
    pub peers: u32,
}

/// What all announcers share.
#[derive(Default)]
pub(crate) struct Trackers {
    connections: RefCell<BTreeMap<SocketAddr, Connection>>,
    /// Announcers that wait for their time.
    due: RefCell<BTreeSet<(Instant, TorrentId)>>,
    running: Cell<usize>,
    timer: Notify,
    scraped: RefCell<scrape::Scrapes>,
}

impl Following {
    fn tell(self: &Rc<Self>, driver: &Rc<Driver>, input: Input) {
        let now = Instant::now();
        let mut engine = self.engine.borrow_mut();
        if driver.dormant.borrow().has(self.torrent) {
            let complete = Stats {
                left: Some(0),
                ..Stats::default()
            };
            engine.handle(now, Input::Stats(complete));
        } else if let Some(status) = driver.session.borrow_mut().status(now, self.torrent) {
            engine.handle(
                now,
                Input::Stats(Stats {
                    uploaded: status.sent,
                    downloaded: status.received,
                    left: (status.pieces > 0).then(|| status.wanted.saturating_sub(status.done)),
                }),
            );
        }
        engine.handle(now, input);
        let mut outputs = Vec::new();
        while let Some(output) = engine.poll() {
            outputs.push(output);
        }
        let due = engine.deadline();
        drop(engine);
        driver.trackers.schedule(self, due);
        for output in outputs {
            self.carry_out(driver, output);
        }
    }

    fn carry_out(self: &Rc<Self>, driver: &Rc<Driver>, output: Output) {
        match output {
            Output::Announce { id, url, announce } => {
                let (driver, following) = (driver.clone(), self.clone());
                driver
                    .trackers
                    .running
                    .set(driver.trackers.running.get() + 1);
                let shown = url.shown();
                *self.asking.borrow_mut().entry(shown.clone()).or_default() += 1;
                tokio::task::spawn_local(async move {
                    announce_to(driver.clone(), following.clone(), id, url, announce).await;
                    following.asked(&shown);
                    driver
                        .trackers
                        .running
                        .set(driver.trackers.running.get() - 1);
                    driver.trackers.timer.notify_one();
                });
            }
            Output::Peers(peers) => driver.peers_found(self.torrent, Source::Tracker, peers),
            Output::Notice { tracker, message } => {
                let text = format!("{tracker}: {message}");
                let mut heard = self.heard.borrow_mut();
                let entry = heard.entry(tracker).or_default();
                let before = entry.message.replace(message.clone());
                drop(heard);
                // The same complaint every few minutes is no news.
                if before.as_ref() != Some(&message) {
                    driver.event(Event::Notice(self.torrent, text));
                }
            }
            Output::Stopped => {
                driver.trackers.schedule(self, None);
                self.stopped.notify_one();
            }
        }
    }

    fn asked(&self, shown: &str) {
        let mut asking = self.asking.borrow_mut();
        if let Some(left) = asking.get_mut(shown) {
            *left -= 1;
            if *left == 0 {
                asking.remove(shown);
            }
        }
    }

    /// An announce is over.
    fn heard_of(
        self: &Rc<Self>,
        driver: &Rc<Driver>,
        id: AnnounceId,
        url: &TrackerUrl,
        result: Result<Announced, Failure>,
    ) {
        let mut all = self.heard.borrow_mut();
        match &result {
            Ok(answer) => {
                let heard = Heard {
                    works: true,
                    message: answer.warning.clone(),
                    seeds: answer.complete,
                    leeches: answer.incomplete,
                    peers: answer.peers.len() as u32,
                };
                all.insert(url.shown(), heard);
            }
            Err(_) => {
                if let Some(heard) = all.get_mut(&url.shown()) {
                    heard.works = false;
                }
            }
        }
        drop(all);
        let says_nothing = |answer: &Announced| answer.complete.or(answer.incomplete).is_none();
        if result.as_ref().is_ok_and(says_nothing) {
            driver.scrape(self.torrent, url);
        }
        self.tell(driver, Input::Announced { id, result });
    }

    /// The download has just become complete.
    pub fn completed(self: &Rc<Self>, driver: &Rc<Driver>) {
        self.tell(driver, Input::Completed);
    }

    /// The torrent stops: trackers are told.
    pub fn stop(self: &Rc<Self>, driver: &Rc<Driver>) {
        self.tell(driver, Input::Stop);
    }

    /// What the trackers said last, in words.
    pub fn words(&self) -> Vec<String> {
        self.heard
            .borrow()
            .iter()
            .map(|(tracker, heard)| match &heard.message {
                Some(message) => format!("{tracker}: {message}"),
                None => format!("{tracker}: {} peers", heard.peers),
            })
            .collect()
    }

    /// Whether the tracker with this URL is being asked, and when it is next, as far as that is decided.
    pub fn asks(&self, url: &str) -> (bool, Option<Instant>) {
        let Ok(url) = TrackerUrl::parse(url) else {
            return (false, None);
        };
        let asking = self.asking.borrow().contains_key(&url.shown());
        (asking, self.engine.borrow().next_of(&url))
    }

    /// What the tracker with this URL said last.
    pub fn heard_from(&self, url: &str) -> Option<Heard> {
        let shown = TrackerUrl::parse(url).ok()?.shown();
        self.heard.borrow().get(&shown).cloned()
    }
}

impl Driver {
    /// Begins to announce a transfer, once.
    pub fn follow_trackers(
        self: &Rc<Self>,
        id: TorrentId,
        hashes: InfoHashes,
        tiers: Vec<Vec<String>>,
    ) {
        if !self.use_trackers
            || self.followings.borrow().contains_key(&id)
            || tiers.iter().all(Vec::is_empty)
        {
            return;
        }
        let config = Config {
            tiers,
            info_hashes: hashes.wire().collect(),
            peer_id: self.peer_id,
            port: self.listening.port(),
        };
        let mut seed = [0; 8];
        // Without randomness the order of trackers is the same for all; nothing worse.
        let _ = getrandom::fill(&mut seed);
        let engine = Announcer::new(config, u64::from_le_bytes(seed), Instant::now());
        let following = Rc::new(Following {
            torrent: id,
            engine: RefCell::new(engine),
            due: Cell::new(None),
            heard: RefCell::default(),
            asking: RefCell::default(),
            stopped: Notify::new(),
        });
        self.followings.borrow_mut().insert(id, following.clone());
        self.trackers.schedule(&following, Some(Instant::now()));
    }
}

impl Trackers {
    /// An announcer wants to hear the time then.
    fn schedule(&self, following: &Following, due: Option<Instant>) {
        let mut all = self.due.borrow_mut();
        if let Some(before) = following.due.replace(due) {
            all.remove(&(before, following.torrent));
        }
        all.extend(due.map(|at| (at, following.torrent)));
        self.timer.notify_one();
    }

    /// The next announcer whose time has come, unless enough is under way.
    fn next(&self, now: Instant) -> Option<TorrentId> {
        if self.running.get() >= RUNNING {
            return None;
        }
        let mut due = self.due.borrow_mut();
        let first = due.first().filter(|(at, _)| *at <= now).copied()?;
        due.remove(&first);
        Some(first.1)
    }

    fn deadline(&self) -> Option<Instant> {
        let due = self.due.borrow();
        let first = due.first().filter(|_| self.running.get() < RUNNING);
        first.map(|(at, _)| *at)
    }
}

/// Tells announcers the time, for ever.
pub(crate) async fn run(driver: Rc<Driver>) {
    loop {
        while let Some(id) = driver.trackers.next(Instant::now()) {
            let following = driver.followings.borrow().get(&id).cloned();
            if let Some(following) = following {
                following.due.set(None);
                following.tell(&driver, Input::Timeout);
            }
        }
        let deadline = driver.trackers.deadline();
        tokio::select! {
            () = driver.trackers.timer.notified() => {}
            () = sleep_until(deadline) => {}
        }
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

/// One announce, to an address of each family the tracker has. A failure is reported only when
/// there is no other address left.
async fn announce_to(
    driver: Rc<Driver>,
    following: Rc<Following>,
    id: AnnounceId,
    url: TrackerUrl,
    announce: Announce,
) {
    let mut reported = false;
    let ask = Ask::Announce(Box::new(announce));
    let failure = ask_each(&driver, &url, &ask, |addr, answer| {
        if let Answer::Announced(answer) = answer {
            if let (Some(by), Some(ip)) = (addr, answer.external_ip) {
                driver.vote_as(Voter::Tracker, by, ip);
            }
            following.heard_of(&driver, id, &url, Ok(answer));
            reported = true;
        }
    });
    let failure = failure.await;
    if !reported {
        following.heard_of(&driver, id, &url, Err(failure));
    }
}

/// Asks a tracker at an address of each family it has, and passes on each answer, with the address it is from if that
/// is known. Answers what went wrong, if anything did.
async fn ask_each(
    driver: &Rc<Driver>,
    url: &TrackerUrl,
    ask: &Ask,
    mut heard: impl FnMut(Option<IpAddr>, Answer),
) -> Failure {
    let unreachable = |why: String| Failure::Unreachable(why);
    let mut failure = unreachable("its name has no address".to_owned());
    match through_proxy(driver, url, ask).await {
        Some(Ok(answer)) => {
            heard(None, answer);
            return failure;
        }
        Some(Err(failure)) => return failure,
        None => {}
    }
    let addrs = match driver.look_up(url.host(), url.port()).await {
        Ok(addrs) => addrs,
        Err(error) => return unreachable(error.to_string()),
    };
    for v6 in [false, true] {
        let Some(&addr) = addrs.iter().find(|a| a.is_ipv6() == v6) else {
            continue;
        };
        if driver.egress.bind.is_some_and(|ip| ip.is_ipv6() != v6) {
            continue;
        }
        if driver.blocking.blocks(addr.ip()) {
            failure = unreachable(format!("{} is on the block list", addr.ip()));
            continue;
        }
        let result = match url.may_be_at(addr.ip()) {
            Err(error) => Err(unreachable(error.to_string())),
            Ok(()) if url.scheme() == Scheme::Udp => over_udp(driver, addr, url, ask).await,
            Ok(()) => over_http(driver, Some(v6), url, ask).await,
        };
        match result {
            Ok(answer) => heard(Some(addr.ip()), answer),
            Err(why) => failure = why,
        }
    }
    failure
}

/// One question through the proxy, which finds the tracker; `None`: it does not go through one.
async fn through_proxy(
    driver: &Driver,
    url: &TrackerUrl,
    ask: &Ask,
) -> Option<Result<Answer, Failure>> {
    let proxy = driver.egress.proxy.as_ref()?;
    let target = Target::new(url.host(), url.port());
    if let Target::Addr(addr) = target {
        if passes_by(&driver.egress, addr.ip()) {
            return None;
        }
        if driver.blocking.blocks(addr.ip()) {
            let why = format!("{} is on the block list", addr.ip());
            return Some(Err(Failure::Unreachable(why)));
        }
        if let Err(error) = url.may_be_at(addr.ip()) {
            return Some(Err(Failure::Unreachable(error.to_string())));
        }
    }
    if url.scheme() != Scheme::Udp {
        return Some(over_http(driver, None, url, ask).await);
    }
    let relay = Relay::open(&driver.egress, proxy).await;
    Some(match relay {
        Ok(relay) => over_relay(&relay, &target, url, ask).await,
        Err(ProxyError::NoDatagrams) if !driver.egress.required => return None,
        Err(error) => Err(Failure::Unreachable(error.to_string())),
    })
}

async fn over_relay(
    relay: &Relay,
    target: &Target,
    url: &TrackerUrl,
    ask: &Ask,
) -> Result<Answer, Failure> {
    let v6 = matches!(target, Target::Addr(addr) if addr.is_ipv6());
    let mut exchange = exchange(ask, url, v6, None)?;
    let mut buf = [0; PACKET];
    loop {
        while let Some(output) = exchange.poll() {
            match output {
                udp::Output::Send(packet) => drop(relay.try_send(&packet, target)),
                udp::Output::Done(result) => return result,
            }
        }
        tokio::select! {
            ready = relay.readable() => {
                ready.map_err(|error| Failure::Unreachable(error.to_string()))?;
                if let Ok((part, _)) = relay.try_receive(&mut buf) {
                    exchange.handle(Instant::now(), udp::Input::Packet(&buf[part]));
                }
            }
            () = relay.lost() => {
                return Err(Failure::Unreachable("the proxy let go of it".to_owned()));
            }
            () = sleep_until(exchange.deadline()) => {
                exchange.handle(Instant::now(), udp::Input::Timeout);
            }
        }
    }
}

fn exchange(
    ask: &Ask,
    url: &TrackerUrl,
    v6: bool,
    known: Option<Connection>,
) -> Result<Exchange, Failure> {
    let mut seed = [0; 8];
    getrandom::fill(&mut seed).map_err(|e| Failure::Unreachable(e.to_string()))?;
    let (seed, now) = (u64::from_le_bytes(seed), Instant::now());
    let ask = ask.clone();
    Ok(Exchange::new(ask, url.path(), v6, known, seed, now))
}

async fn over_http(
    driver: &Driver,
    v6: Option<bool>,
    url: &TrackerUrl,
    ask: &Ask,
) -> Result<Answer, Failure> {
    let asked = match ask {
        Ask::Announce(announce) => http::announce_url(url.as_str(), announce),
        Ask::Scrape(info_hash) => http::scrape_url(url.as_str(), info_hash)
            .ok_or_else(|| Failure::Unreachable("it counts for nobody".to_owned()))?,
    };
    let body = driver
        .web
        .get(&asked, Trust::Stranger, v6, MOST_ANNOUNCE)
        .await;
    let body = body.map_err(|error| Failure::Unreachable(error.to_string()))?;
    Ok(match ask {
        Ask::Announce(_) => Answer::Announced(http::parse(&body)?),
        Ask::Scrape(info_hash) => Answer::Scraped(http::parse_scrape(&body, info_hash)?),
    })
}

async fn over_udp(
    driver: &Driver,
    addr: SocketAddr,
    url: &TrackerUrl,
    ask: &Ask,
) -> Result<Answer, Failure> {
    let io = |error: std::io::Error| Failure::Unreachable(error.to_string());
    let any: IpAddr = if addr.is_ipv4() {
        [0, 0, 0, 0].into()
    } else {
        [0u16; 8].into()
    };
    let socket = driver.egress.udp((any, 0).into()).map_err(io)?;
    socket.connect(addr).await.map_err(io)?;
    let known = driver.trackers.connections.borrow().get(&addr).copied();
    let mut exchange = exchange(ask, url, addr.is_ipv6(), known)?;
    let mut buf = [0; PACKET];
    loop {
        while let Some(output) = exchange.poll() {
            match output {
                udp::Output::Send(packet) => drop(socket.send(&packet).await),
                udp::Output::Done(result) => {
                    let mut known = driver.trackers.connections.borrow_mut();
                    known.retain(|_, c| c.is_alive(Instant::now()));
                    if let Some(connection) = exchange.connection()
                        && known.len() < MOST_CONNECTIONS
                    {
                        known.insert(addr, connection);
                    }
                    return result;
                }
            }
        }
        tokio::select! {
            got = socket.recv(&mut buf) => match got {
                Ok(n) => exchange.handle(Instant::now(), udp::Input::Packet(&buf[..n])),
                // Nobody listens there: said at once, no need to wait for silence.
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                    return Err(io(error));
                }
                Err(_) => {}
            },
            () = sleep_until(exchange.deadline()) => {
                exchange.handle(Instant::now(), udp::Input::Timeout);
            }
        }
    }
}
