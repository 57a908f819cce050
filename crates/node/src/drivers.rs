//! The loop around the engines: one thread, one current-thread runtime, no channels between a
//! connection and the engine.
//!
//! Every task on this thread may call [`Driver::with_session`]: it hands facts to the engine and
//! then carries out all decisions at once. Nothing holds a borrow of the driver's state while it
//! awaits.

pub(crate) mod blocking;
pub(crate) mod datagrams;
pub(crate) mod dht;
mod dial;
pub(crate) mod dormant;
pub(crate) mod external;
pub(crate) mod interface;
pub(crate) mod local;
pub(crate) mod manage;
pub(crate) mod ports;
pub(crate) mod proxy;
pub(crate) mod reach;
pub(crate) mod reading;
pub(crate) mod report;
pub(crate) mod reuse;
pub(crate) mod road;
pub(crate) mod trackers;
pub(crate) mod transfer;
pub(crate) mod views;
pub(crate) mod waiting;
pub(crate) mod webseeds;
mod words;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use link::{Egress, Encryption, Wire};
use store::{BlockRun, Done, READ_MAX, ReadBuf, Store, StoreError};
use swarm::{ConnId, Input, Output, PieceDigest, Session, TorrentId};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::{Notify, oneshot};
use torrent::extension::Transport;
use torrent::metainfo::Info;
use torrent::wire::BlockRef;

use crate::Event;
use crate::keep::Keep;
use crate::node::EventSink;
use crate::web::Web;
use road::Road;
use transfer::Transfer;
use waiting::Attempt;

/// Transfers whose trackers are told at the end, those in use first.
const STOPS: usize = 200;
/// Facts from the disk taken in one go.
const DONE_BATCH: usize = 64;

pub(crate) struct Driver {
    pub session: RefCell<Session>,
    pub store: Store,
    pub keep: Keep,
    pub datagrams: datagrams::Datagrams,
    /// The DHT node, unless it is switched off.
    pub dht: Option<dht::DhtDriver>,
    /// Where others see us.
    pub outside: external::Outside,
    /// Local service discovery, unless it is switched off or the network has no multicast.
    pub local: Option<local::LocalDriver>,
    pub web: Web,
    pub web_seeds: webseeds::WebSeeds,
    pub trackers: trackers::Trackers,
    pub use_trackers: bool,
    pub encryption: Encryption,
    pub peer_id: [u8; 20],
    /// How what is ours leaves this computer.
    pub egress: Egress,
    pub proxy: proxy::Proxying,
    pub ports: ports::Ports,
    pub doors: interface::Doors,
    pub reach: reach::Reach,
    pub blocking: Rc<blocking::Blocking>,
    pub listening: SocketAddr,
    roads: RefCell<BTreeMap<ConnId, Rc<Road>>>,
    pub transfers: RefCell<BTreeMap<TorrentId, Transfer>>,
    /// Complete transfers that nobody uses.
    pub dormant: RefCell<dormant::Dormants>,
    /// Transfers of which something changed that is to be reported.
    pub news: report::News,
    /// Which transfer an info-hash names, in the 20-byte form of the wire.
    pub names: RefCell<HashMap<[u8; 20], TorrentId>>,
    /// The announcers of transfers that have trackers.
    pub followings: RefCell<BTreeMap<TorrentId, Rc<trackers::Following>>>,
    /// Complete transfers become dormant.
    pub may_sleep: bool,
    /// Transfers that are being checked, moved or left at this moment: one of it at a time.
    pub busy: RefCell<BTreeSet<TorrentId>>,
    /// One of them is busy no longer.
    pub turn_over: Notify,
    /// There is a transfer awake.
    pub roused: Notify,
    /// What stood in the way of some transfers may be gone.
    pub hurry: Notify,
    /// Torrents whose metadata somebody wants to look at, and nothing else.
    pub peeks: RefCell<BTreeMap<TorrentId, oneshot::Sender<Arc<Info>>>>,
    /// Reads under way: whose they are, and which blocks they hold.
    reads: RefCell<BTreeMap<u64, Read>>,
    /// Reads that are for no connection: of programs, and those that show whether there is anything to read again.
    looks: RefCell<BTreeMap<u64, oneshot::Sender<Result<ReadBuf, StoreError>>>>,
    /// Programs that read files.
    pub readings: reading::Readings,
    next_tag: Cell<u64>,
    pub events: EventSink,
    /// The engine's deadline may have changed.
    timer: Notify,
    /// A slot is free again.
    pub slot_freed: Arc<Notify>,
}

/// What a driver is made of.
pub(crate) struct Parts {
    pub session: Session,
    pub store: Store,
    pub keep: Keep,
    pub datagrams: datagrams::Datagrams,
    pub dht: Option<dht::DhtDriver>,
    pub local: Option<local::LocalDriver>,
    pub use_trackers: bool,
    pub encryption: Encryption,
    pub peer_id: [u8; 20],
    pub egress: Egress,
    pub listening: SocketAddr,
    pub may_sleep: bool,
    pub events: EventSink,
    pub slot_freed: Arc<Notify>,
}

struct Read {
    road: Rc<Road>,
    torrent: TorrentId,
    run: BlockRun,
    blocks: Vec<BlockRef>,
}

impl Driver {
    pub fn new(parts: Parts) -> Driver {
        let blocking = Rc::new(blocking::Blocking::default());
        Driver {
            session: RefCell::new(parts.session),
            store: parts.store,
            keep: parts.keep,
            datagrams: parts.datagrams,
            dht: parts.dht,
            outside: external::Outside::default(),
            local: parts.local,
            web: Web::new(&parts.egress, blocking.clone()),
            web_seeds: webseeds::WebSeeds::default(),
            trackers: trackers::Trackers::default(),
            use_trackers: parts.use_trackers,
            encryption: parts.encryption,
            peer_id: parts.peer_id,
            proxy: proxy::Proxying::default(),
            ports: ports::Ports::default(),
            doors: interface::Doors::default(),
            reach: reach::Reach::default(),
            blocking,
            egress: parts.egress,
            listening: parts.listening,
            roads: RefCell::default(),
            transfers: RefCell::default(),
            dormant: RefCell::default(),
            news: report::News::default(),
            names: RefCell::default(),
            followings: RefCell::default(),
            may_sleep: parts.may_sleep,
            busy: RefCell::default(),
            turn_over: Notify::new(),
            roused: Notify::new(),
            hurry: Notify::new(),
            peeks: RefCell::default(),
            reads: RefCell::default(),
            looks: RefCell::default(),
            readings: reading::Readings::default(),
            next_tag: Cell::new(0),
            events: parts.events,
            timer: Notify::new(),
            slot_freed: parts.slot_freed,
        }
    }

    /// Hands facts to the engine, then carries out its decisions.
    pub fn with_session<R>(self: &Rc<Self>, facts: impl FnOnce(&mut Session, Instant) -> R) -> R {
        let mut session = self.session.borrow_mut();
        let before = session.deadline();
        let result = facts(&mut session, Instant::now());
        let mut reads = Reads::default();
        while let Some(output) = session.poll() {
            self.carry_out(output, &mut reads);
        }
        let after = session.deadline();
        drop(session);
        reads.flush(self);
        if after != before {
            self.timer.notify_one();
        }
        result
    }

    /// One fact.
    pub fn tell(self: &Rc<Self>, input: Input) {
        self.with_session(|session, now| session.handle(now, input));
    }

    pub fn event(&self, event: Event) {
        (self.events)(event);
    }

    fn road(&self, conn: ConnId) -> Option<Rc<Road>> {
        self.roads.borrow().get(&conn).cloned()
    }

    pub fn add_road(&self, conn: ConnId) -> Rc<Road> {
        let road = Rc::new(Road::new(conn));
        self.roads.borrow_mut().insert(conn, road.clone());
        road
    }

    pub fn drop_road(&self, conn: ConnId) {
        self.roads.borrow_mut().remove(&conn);
    }

    fn carry_out(self: &Rc<Self>, output: Output, reads: &mut Reads) {
        match output {
            Output::Dial(conn, addr, how) => {
                let road = self.add_road(conn);
                tokio::task::spawn_local(dial::dial(self.clone(), road, addr, how));
            }
            Output::Handshake(conn, handshake) => {
                // It may have gone out with the road's own handshake.
                if let Some(road) = self.road(conn).filter(|road| !road.greeted.get()) {
                    road.outbox.borrow_mut().raw(&handshake.encode());
                    road.wake.notify_one();
                }
            }
            Output::Send(conn, message) => {
                if let Some(road) = self.road(conn) {
                    road.outbox.borrow_mut().message(&message);
                    road.wake.notify_one();
                }
            }
            Output::SendBlock(conn, torrent, block) => {
                if let Some(road) = self.road(conn) {
                    reads.add(self, road, torrent, block);
                }
            }
            Output::Close(conn, reason) => {
                if let Some(road) = self.roads.borrow_mut().remove(&conn) {
                    tracing::debug!(conn = conn.0, %reason, "closing");
                    road.closed.set(true);
                    road.wake.notify_one();
                }
            }
            Output::Verified(id, piece) => {
                self.store.verified(store_id(id), piece);
                self.readings.verified();
            }
            Output::Abandon(id, piece) => self.store.abandon(store_id(id), piece),
            Output::ReadDigests(id, piece) => {
                let v2 = self
                    .transfers
                    .borrow()
                    .get(&id)
                    .is_some_and(Transfer::has_v2);
                if v2 {
                    self.store.leaves(store_id(id), piece, 0);
                } else {
                    self.store.block_digests(store_id(id), piece);
                }
            }
            Output::Fetch(id, fetch, seed, blocks) => self.begin_fetch(id, fetch, seed, blocks),
            Output::FetchOn(id, fetch) => self.go_on_fetching(id, fetch),
            Output::EndFetch(id, fetch) => self.end_fetch(id, fetch),
            // Not while the engine is borrowed: the answer is more facts.
            Output::Event(id, event) => {
                let driver = self.clone();
                tokio::task::spawn_local(async move { driver.on_event(id, event) });
            }
        }
    }

    // ---- the disk ----------------------------------------------------------------------------

    fn on_done(self: &Rc<Self>, done: Done) {
        match done {
            Done::PieceHashed {
                id,
                piece,
                sha1,
                root,
                leaves,
            } => {
                self.tell(Input::PieceHashed(
                    TorrentId(id.0),
                    piece,
                    PieceDigest { sha1, root, leaves },
                ));
            }
            Done::WriteFailed {
                id, piece, error, ..
            } => {
                let id = TorrentId(id.0);
                self.tell(Input::WriteFailed(id, piece, error.to_string()));
                self.pause_for_disk(id, error, Attempt::Write);
            }
            Done::Read { tag, data, .. } => {
                let Some(read) = self.reads.borrow_mut().remove(&tag) else {
                    return self.looked(tag, Ok(data));
                };
                read.road
                    .deliver(tag, Some((Rc::new(data), read.run.begin, read.blocks)));
            }
            Done::ReadFailed { tag, error, .. } => {
                let Some(read) = self.reads.borrow_mut().remove(&tag) else {
                    return self.looked(tag, Err(error));
                };
                read.road.deliver(tag, None);
                let conn = read.road.conn;
                self.with_session(|session, now| {
                    for block in read.blocks {
                        session.handle(now, Input::BlockUnreadable(conn, block));
                    }
                });
                self.pause_for_disk(read.torrent, error, Attempt::Read(read.run));
            }
            Done::Checked { id, pieces } => {
                let id = TorrentId(id.0);
                if let Some(t) = self.transfers.borrow_mut().get_mut(&id)
                    && let Some((done, _)) = &mut t.checking
                {
                    *done += pieces.len() as u32;
                }
                self.with_session(|session, now| {
                    for piece in pieces {
                        let digest = piece.hash.map(|h| PieceDigest {
                            sha1: h.sha1,
                            root: h.root,
                            leaves: None,
                        });
                        session.handle(now, Input::Checked(id, piece.piece, digest));
                    }
                });
            }
            Done::CheckFinished { id, trouble } => self.check_finished(TorrentId(id.0), trouble),
            Done::BlockDigests { id, piece, digests }
            | Done::Leaves {
                id,
                piece,
                leaves: digests,
                ..
            } => {
                self.tell(Input::Digests(TorrentId(id.0), piece, digests.ok()));
            }
            Done::FileFinished { id, file } => {
                self.event(Event::FileFinished(TorrentId(id.0), file));
            }
            Done::SettleFailed { id, error } => {
                self.pause_for_disk(TorrentId(id.0), error, Attempt::Write);
            }
            Done::Flushed { id, ok } => self.flushed(TorrentId(id.0), ok),
            _ => {}
        }
    }

    fn next_tag(&self) -> u64 {
        let tag = self.next_tag.get();
        self.next_tag.set(tag + 1);
        tag
    }

    fn looked(&self, tag: u64, looked: Result<ReadBuf, StoreError>) {
        if let Some(look) = self.looks.borrow_mut().remove(&tag) {
            // Whoever asked may have given up meanwhile.
            let _ = look.send(looked);
        }
    }
}

pub(crate) fn store_id(id: TorrentId) -> store::TorrentId {
    store::TorrentId(id.0)
}

/// Blocks to read, joined while they are neighbours of one connection.
#[derive(Default)]
struct Reads {
    open: Option<Read>,
}

impl Reads {
    fn add(&mut self, driver: &Rc<Driver>, road: Rc<Road>, torrent: TorrentId, block: BlockRef) {
        if let Some(read) = &mut self.open {
            let run = &mut read.run;
            let joins = read.road.conn == road.conn
                && run.piece == block.piece
                && run.begin + run.len == block.begin
                && (run.len + block.len) as usize <= READ_MAX;
            if joins {
                run.len += block.len;
                read.blocks.push(block);
                return;
            }
        }
        self.flush(driver);
        let run = BlockRun {
            piece: block.piece,
            begin: block.begin,
            len: block.len,
        };
        self.open = Some(Read {
            road,
            torrent,
            run,
            blocks: vec![block],
        });
    }

    fn flush(&mut self, driver: &Driver) {
        let Some(read) = self.open.take() else { return };
        let tag = driver.next_tag();
        read.road.expect(tag);
        let (torrent, run) = (read.torrent, read.run);
        driver.reads.borrow_mut().insert(tag, read);
        driver.store.read(store_id(torrent), run, tag);
    }
}

/// Wakes the engine at its deadlines.
pub(crate) async fn keep_time(driver: Rc<Driver>) {
    loop {
        let deadline = driver.session.borrow().deadline();
        let changed = driver.timer.notified();
        match deadline {
            None => changed.await,
            Some(at) => {
                tokio::select! {
                    () = changed => {}
                    () = tokio::time::sleep_until(at.into()) => driver.tell(Input::Timeout),
                }
            }
        }
    }
}

/// Takes facts from the disk.
pub(crate) async fn hear_disk(driver: Rc<Driver>, mut done: UnboundedReceiver<Done>) {
    let mut batch = Vec::with_capacity(DONE_BATCH);
    while done.recv_many(&mut batch, DONE_BATCH).await > 0 {
        for done in batch.drain(..) {
            driver.on_done(done);
        }
    }
}

/// Takes connections from a listening socket.
pub(crate) async fn accept(driver: Rc<Driver>, listener: tokio::net::TcpListener) {
    loop {
        match listener.accept().await {
            Ok((_, addr)) if driver.blocking.blocks(addr.ip()) => {}
            Ok((stream, addr)) => {
                link::tcp::tune(&stream);
                driver.came_in(Transport::Tcp, addr);
                let wire = Wire::Tcp(stream);
                let (_, road) = driver.arrived(addr, &wire);
                let accepted = road::accept(driver.clone(), road, wire);
                tokio::task::spawn_local(accepted);
            }
            // Out of descriptors, or the peer is gone already: neither goes away by hurrying.
            Err(error) => {
                tracing::debug!(%error, "accept failed");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Stops everything, so that nothing is lost: connections are closed, what is verified is synced
/// and recorded, trackers are told.
pub(crate) async fn stop(driver: &Rc<Driver>) {
    driver.save_nodes();
    let ids: Vec<TorrentId> = driver.transfers.borrow().keys().copied().collect();
    let mut following: Vec<_> = driver.followings.borrow().values().cloned().collect();
    // Trackers forget the others by themselves.
    following.sort_by_key(|f| !ids.contains(&f.torrent));
    following.truncate(STOPS);
    for &id in &ids {
        if let Some(t) = driver.transfers.borrow_mut().get_mut(&id) {
            t.flushed = t.info.is_none();
        }
        driver.report_last(id);
        driver.tell(Input::Pause(id, Some("stopped".to_owned())));
        driver.store.flush(store_id(id));
    }
    following.iter().for_each(|f| f.stop(driver));
    let unmapped = driver.clone();
    let unmapped = tokio::task::spawn_local(async move {
        unmapped.ports.end(unmapped.listening.port()).await;
    });
    while !driver.transfers.borrow().values().all(|t| t.flushed) {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    for f in following {
        f.stopped.notified().await;
    }
    // It cannot fail, and is not cancelled.
    let _ = unmapped.await;
}

impl Driver {
    /// A peer says that a DHT node runs here.
    pub fn dht_node(self: &Rc<Self>, addr: SocketAddr) {
        if let Some(dht) = &self.dht {
            dht.add_node(self, addr);
        }
    }

    /// Begins to look for peers, as far as the torrent allows (BEP 27).
    pub fn find_peers(self: &Rc<Self>, id: TorrentId) {
        let found = {
            let (transfers, dormant) = (self.transfers.borrow(), self.dormant.borrow());
            let awake = transfers
                .get(&id)
                .filter(|t| t.options.halted.is_none())
                .map(|t| (t.hashes, t.private(), t.trackers.clone()));
            awake.or_else(|| {
                let d = dormant.get(id).filter(|d| d.halted.is_none())?;
                Some((d.hashes, d.private, d.trackers.clone()))
            })
        };
        let Some((hashes, private, trackers)) = found else {
            return;
        };
        if let Some(dht) = &self.dht {
            if private {
                dht.leave(self, id);
            } else {
                dht.follow(self, id, hashes.wire());
            }
        }
        if let Some(local) = &self.local {
            if private {
                local.remove(self, hashes.wire());
            } else {
                local.add(self, hashes.wire());
            }
        }
        self.follow_trackers(id, hashes, trackers);
    }

    /// What is being done to find peers, in words.
    pub fn finding(&self, id: TorrentId) -> Vec<String> {
        let transfers = self.transfers.borrow();
        let Some(t) = transfers.get(&id) else {
            return Vec::new();
        };
        let followings = self.followings.borrow();
        let mut words: Vec<String> = self.interface_words().into_iter().collect();
        words.extend(self.proxy.trouble());
        words.extend(followings.get(&id).into_iter().flat_map(|f| f.words()));
        if !t.private() {
            words.extend(self.dht.as_ref().map(|dht| dht.words(id)));
        }
        words
    }
}
