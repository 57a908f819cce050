//! A session with scripted peers, a network without limits and a clock of its own: what the
//! session asks for arrives a moment later, what it sends is taken a moment later.

#![allow(dead_code, reason = "each test file uses its part")]

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use swarm::{
    Add, Approach, Bitfield, Config, ConnId, DialbackEvent, Event, FetchId, Input, Output,
    PieceDigest, Reason, Road, Session, Take, TorrentId, Verdict, WebSeedId,
};
use torrent::extension;
use torrent::metainfo::Info;
use torrent::wire::{BlockRef, Handshake, Message, Reserved};

/// What takes its time.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Coming {
    Block(ConnId, BlockRef),
    Sent(ConnId, BlockRef),
}

/// What the rig knows of a connection.
pub struct Wire {
    pub torrent: TorrentId,
    /// Time from a request to its block.
    pub delay: Duration,
    /// It asks for blocks whenever few are queued with us.
    pub asks: bool,
    asked_us: u32,
    next: u32,
    pub received: u64,
    pub sent: u64,
    /// Blocks asked of it, with the time.
    pub asked: Vec<(Instant, BlockRef)>,
    pub cancelled: Vec<BlockRef>,
    pub unchoked: bool,
    /// Pieces it was told of one by one.
    pub shown: Vec<u32>,
    /// Pieces it said it has, if a test keeps count.
    pub has: Vec<u32>,
}

/// Payload that moved: when, over which connection, how many bytes.
pub type Move = (Duration, ConnId, u64);

pub struct Rig {
    pub session: Session,
    pub start: Instant,
    pub now: Instant,
    pub infos: BTreeMap<TorrentId, Arc<Info>>,
    pub wires: BTreeMap<ConnId, Wire>,
    pub dials: Vec<(ConnId, SocketAddr)>,
    /// How each of them is to be dialled.
    pub approaches: BTreeMap<ConnId, Approach>,
    /// Extended messages that were sent.
    pub extended: Vec<(ConnId, u8, Vec<u8>)>,
    pub closed: Vec<(ConnId, Reason)>,
    /// What peers had to do with dialling back.
    pub dialbacks: Vec<(ConnId, DialbackEvent)>,
    /// Every block asked for, with the time.
    pub down: Vec<Move>,
    /// Every block handed over to be sent, with the time.
    pub up: Vec<Move>,
    /// Times the session asked to be woken.
    pub wakes: u32,
    /// What is asked of web seeds and has not come yet.
    pub fetches: BTreeMap<FetchId, (TorrentId, WebSeedId, VecDeque<BlockRef>)>,
    /// Fetches that were ended, and those that may go on.
    pub ended: Vec<FetchId>,
    pub gone_on: Vec<FetchId>,
    coming: BinaryHeap<Reverse<(Instant, u64, Coming)>>,
    /// Pieces whose hash is wrong.
    pub lies: Vec<u32>,
    number: u64,
    left: BTreeMap<(TorrentId, u32), u32>,
}

/// A torrent of one file, with pieces of 256 KiB whose hashes are all zeros.
pub fn info(name: &str, pieces: u32) -> Arc<Info> {
    let len = u64::from(pieces) << 18;
    let mut raw = format!("d6:lengthi{len}e4:name{}:{name}", name.len()).into_bytes();
    raw.extend(format!("12:piece lengthi262144e6:pieces{}:", pieces * 20).into_bytes());
    raw.extend(vec![0; pieces as usize * 20]);
    raw.push(b'e');
    Arc::new(Info::parse(&raw).expect("a small valid torrent"))
}

/// An address out there.
pub fn far(n: u32) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::from(0x0101_0000 + n), 6881))
}

/// An address on this network.
pub fn near(n: u8) -> SocketAddr {
    SocketAddr::from(([192, 168, 1, n], 6881))
}

impl Rig {
    pub fn new(config: Config) -> Rig {
        let start = Instant::now();
        Rig {
            session: Session::new(config, 1, start),
            start,
            now: start,
            infos: BTreeMap::new(),
            wires: BTreeMap::new(),
            dials: Vec::new(),
            dialbacks: Vec::new(),
            approaches: BTreeMap::new(),
            extended: Vec::new(),
            closed: Vec::new(),
            down: Vec::new(),
            up: Vec::new(),
            wakes: 0,
            fetches: BTreeMap::new(),
            ended: Vec::new(),
            gone_on: Vec::new(),
            coming: BinaryHeap::new(),
            lies: Vec::new(),
            number: 0,
            left: BTreeMap::new(),
        }
    }

    /// A torrent with everything or nothing there.
    pub fn add(&mut self, id: u32, pieces: u32, whole: bool) -> TorrentId {
        let info = info(&format!("t{id}"), pieces);
        let id = TorrentId(id);
        self.infos.insert(id, info.clone());
        let add = Add {
            id,
            hashes: info.hashes(),
            info: Some(info),
            layers: Default::default(),
            have: whole.then(|| Bitfield::full(pieces)),
            checking: false,
            file_priorities: Vec::new(),
            peers: Vec::new(),
        };
        self.tell(Input::Add(Box::new(add)));
        id
    }

    /// Somebody connects who has everything and gives it.
    pub fn seed(&mut self, id: TorrentId, addr: SocketAddr) -> ConnId {
        let conn = self.greet(id, addr);
        self.tell(Input::Message(conn, Message::HaveAll));
        self.tell(Input::Message(conn, Message::Unchoke));
        conn
    }

    /// Somebody connects who wants everything.
    pub fn leech(&mut self, id: TorrentId, addr: SocketAddr) -> ConnId {
        let conn = self.greet(id, addr);
        self.wire(conn).asks = true;
        self.tell(Input::Message(conn, Message::HaveNone));
        self.tell(Input::Message(conn, Message::Interested));
        conn
    }

    /// Somebody connects and says no more than hello.
    pub fn greet(&mut self, id: TorrentId, addr: SocketAddr) -> ConnId {
        self.greet_over(id, addr, Road::TCP)
    }

    /// The same over such a road.
    pub fn greet_over(&mut self, id: TorrentId, addr: SocketAddr, road: Road) -> ConnId {
        let conn = self.session.next_conn();
        self.wires.insert(conn, wire(id));
        self.tell(Input::Incoming(conn, addr, road));
        self.hello(conn);
        conn
    }

    /// The same, by a peer that we know from another connection.
    pub fn greet_as(&mut self, id: TorrentId, addr: SocketAddr, road: Road, as_: ConnId) -> ConnId {
        let conn = self.session.next_conn();
        self.wires.insert(conn, wire(id));
        self.tell(Input::Incoming(conn, addr, road));
        self.hello_as(conn, as_);
        conn
    }

    /// A peer says which extensions it takes, and where it listens.
    pub fn introduces_itself(&mut self, conn: ConnId, handshake: &extension::Handshake) {
        let payload = handshake.encode();
        self.tell(Input::Message(conn, Message::Extended { id: 0, payload }));
    }

    /// A dial of the session's will be answered.
    pub fn dialled(&mut self, conn: ConnId, id: TorrentId) {
        self.wires.insert(conn, wire(id));
    }

    /// A connection's other side sends its handshake.
    pub fn hello(&mut self, conn: ConnId) {
        self.hello_as(conn, conn);
    }

    fn hello_as(&mut self, conn: ConnId, as_: ConnId) {
        let mut peer_id = *b"-AL0000-000000000000";
        peer_id[12..].copy_from_slice(&as_.0.to_be_bytes());
        let torrent = self.wires[&conn].torrent;
        let theirs = Handshake {
            reserved: Reserved::default().with_fast().with_extended(),
            info_hash: self.infos[&torrent]
                .hashes()
                .best()
                .expect("it has an info-hash"),
            peer_id,
        };
        self.tell(Input::Handshake(conn, theirs));
    }

    /// Hands over a fact and takes the decisions.
    pub fn tell(&mut self, input: Input) {
        self.session.handle(self.now, input);
        self.drain();
    }

    #[track_caller]
    pub fn wire(&mut self, conn: ConnId) -> &mut Wire {
        self.wires
            .get_mut(&conn)
            .expect("it is about an open connection")
    }

    fn later(&mut self, wait: Duration, what: Coming) {
        self.number += 1;
        let due = (self.now + wait, self.number, what);
        self.coming.push(Reverse(due));
    }

    fn drain(&mut self) {
        while let Some(output) = self.session.poll() {
            let at = self.now - self.start;
            match output {
                Output::Dial(conn, addr, approach) => {
                    self.approaches.insert(conn, approach);
                    self.dials.push((conn, addr));
                }
                Output::Send(conn, Message::Extended { id, payload }) => {
                    self.extended.push((conn, id, payload));
                }
                Output::Send(conn, Message::Request(block)) => {
                    self.down.push((at, conn, u64::from(block.len)));
                    let now = self.now;
                    let wire = self.wire(conn);
                    wire.asked.push((now, block));
                    let delay = wire.delay;
                    self.later(delay, Coming::Block(conn, block));
                }
                Output::Send(conn, Message::Cancel(block)) => {
                    self.wire(conn).cancelled.push(block);
                }
                Output::Send(conn, Message::Have(piece)) => self.wire(conn).shown.push(piece),
                Output::Send(conn, Message::Unchoke) => {
                    self.wire(conn).unchoked = true;
                    self.ask_us(conn);
                }
                Output::Send(conn, Message::Choke) => {
                    let wire = self.wire(conn);
                    (wire.unchoked, wire.asked_us) = (false, 0);
                }
                Output::SendBlock(conn, _, block) => {
                    self.up.push((at, conn, u64::from(block.len)));
                    self.later(Duration::from_millis(1), Coming::Sent(conn, block));
                }
                Output::Close(conn, reason) => {
                    self.wires.remove(&conn);
                    self.closed.push((conn, reason));
                }
                Output::Fetch(id, fetch, seed, blocks) => {
                    self.fetches.insert(fetch, (id, seed, blocks.into()));
                }
                Output::EndFetch(_, fetch) => {
                    self.fetches.remove(&fetch);
                    self.ended.push(fetch);
                }
                Output::FetchOn(_, fetch) => self.gone_on.push(fetch),
                Output::Event(_, Event::Dialback(conn, event)) => {
                    self.dialbacks.push((conn, event));
                }
                _ => {}
            }
        }
    }

    /// A web seed sends the next block of a fetch; after the last one the fetch is over.
    pub fn web_block(&mut self, fetch: FetchId) -> Take {
        let (id, _, blocks) = self.fetches.get(&fetch).expect("it is under way");
        let (id, block) = (*id, blocks[0]);
        let take = self.session.web_arriving(self.now, id, fetch, block);
        match take {
            Take::Wait => {}
            Take::End => drop(self.fetches.remove(&fetch)),
            Take::Accept | Take::Discard => {
                let kept = take == Take::Accept;
                let wanted = self.session.web_arrived(self.now, id, fetch, block, kept);
                let (_, _, blocks) = self.fetches.get_mut(&fetch).expect("it is under way");
                blocks.pop_front();
                if blocks.is_empty() {
                    self.fetches.remove(&fetch);
                    self.tell(Input::Fetched(id, fetch, Ok(())));
                }
                if wanted {
                    self.stored(id, block);
                }
            }
        }
        self.drain();
        take
    }

    /// A block went to the store: the last one of a piece completes it.
    fn stored(&mut self, id: TorrentId, block: BlockRef) {
        let left = self.left.entry((id, block.piece)).or_insert(16);
        *left -= 1;
        if *left == 0 {
            self.left.remove(&(id, block.piece));
            let sha1 = match self.lies.contains(&block.piece) {
                true => [1; 20],
                false => [0; 20],
            };
            let digest = PieceDigest {
                sha1: Some(sha1),
                ..PieceDigest::default()
            };
            self.tell(Input::PieceHashed(id, block.piece, digest));
        }
    }

    /// A peer that may ask keeps a hundred blocks queued with us.
    fn ask_us(&mut self, conn: ConnId) {
        while let Some(wire) = self.wires.get_mut(&conn)
            && wire.asks
            && wire.unchoked
            && wire.asked_us < 100
        {
            let pieces = self.infos[&wire.torrent].layout().pieces();
            let block = BlockRef {
                piece: wire.next / 16 % pieces,
                begin: wire.next % 16 * 16_384,
                len: 16_384,
            };
            wire.next += 1;
            wire.asked_us += 1;
            self.session
                .handle(self.now, Input::Message(conn, Message::Request(block)));
        }
    }

    /// Lets so much time pass.
    pub fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            self.drain();
            let due = self.coming.peek().map(|Reverse(due)| due.0);
            let wake = self.session.deadline();
            let Some(next) = [due, wake].into_iter().flatten().min() else {
                break;
            };
            if next > end {
                break;
            }
            self.now = self.now.max(next);
            if wake.is_some_and(|at| at <= self.now) {
                self.wakes += 1;
                self.session.handle(self.now, Input::Timeout);
                self.drain();
                let again = self.session.deadline();
                assert!(again.is_none_or(|at| at > self.now), "woken for nothing");
            } else if let Some(Reverse((.., what))) = self.coming.pop() {
                self.come(what);
            }
        }
        self.now = end;
    }

    fn come(&mut self, what: Coming) {
        match what {
            Coming::Block(conn, block) => {
                let Some(wire) = self.wires.get_mut(&conn) else {
                    return;
                };
                wire.received += u64::from(block.len);
                let id = wire.torrent;
                let kept = match self.session.block_arriving(self.now, conn, block) {
                    Verdict::Accept(_) => true,
                    Verdict::Discard => false,
                    Verdict::Close(reason) => panic!("{reason}"),
                };
                if self.session.block_arrived(self.now, conn, block, kept) {
                    self.stored(id, block);
                }
            }
            Coming::Sent(conn, block) => {
                let Some(wire) = self.wires.get_mut(&conn) else {
                    return;
                };
                wire.sent += u64::from(block.len);
                wire.asked_us = wire.asked_us.saturating_sub(1);
                self.tell(Input::BlockSent(conn, block));
                self.ask_us(conn);
            }
        }
        self.drain();
    }

    /// Time since the start.
    pub fn elapsed(&self) -> Duration {
        self.now - self.start
    }
}

fn wire(torrent: TorrentId) -> Wire {
    Wire {
        torrent,
        delay: Duration::from_millis(5),
        asks: false,
        asked_us: 0,
        next: 0,
        received: 0,
        sent: 0,
        asked: Vec::new(),
        cancelled: Vec::new(),
        unchoked: false,
        shown: Vec::new(),
        has: Vec::new(),
    }
}
