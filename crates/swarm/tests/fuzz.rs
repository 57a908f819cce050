//! Random facts for a whole session: any messages from any peers in any order, and a driver whose
//! disk and network answer at random. Nothing panics, what comes out is bounded, and it keeps the
//! rules that every driver and every peer relies on.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bolero::check;
use swarm::{
    Add, Class, Config, ConnId, DialbackEvent, Event, Failure, FetchError, FetchId, Input, Output,
    PieceDigest, Road, Scope, Session, Source, Take, TorrentId, Verdict, WebSeedId,
};
use torrent::extension::{
    DialOutcome, Dialback, Holepunch, Pex, PexFlags, PunchError, Transport, UploadOnly,
};
use torrent::ids::Sha256Hash;
use torrent::layout::BLOCK;
use torrent::metainfo::{Info, Metainfo, PieceLayers};
use torrent::wire::{self, BlockRef, Handshake, HashRange, Message, Parsed, Reserved};

const TORRENTS: [&[u8]; 3] = [
    include_bytes!("../../torrent/testdata/golden/folder-v1-64.torrent"),
    include_bytes!("../../torrent/testdata/golden/folder-v2-64.torrent"),
    include_bytes!("../../torrent/testdata/golden/folder-hybrid-64.torrent"),
];

/// Decisions one fact may lead to: each of twenty peers is told, asked and answered a few dozen
/// times at most.
const MOST_DECISIONS: usize = 20_000;
/// Connections the session is given.
const CONNECTIONS: usize = 20;
/// Dials for others that may fall into a minute: those of two minutes that are counted.
const MOST_DIALBACKS: usize = 12;
/// Facts in one run.
const FACTS: usize = 400;

/// The input, read as choices, and chance that follows from it behind its end.
struct Tape<'a>(&'a [u8], fastrand::Rng);

impl Tape<'_> {
    fn new(bytes: &[u8]) -> Tape<'_> {
        let fold = |seed: u64, byte: &u8| (seed ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        let seed = bytes.iter().fold(0xcbf2_9ce4_8422_2325, fold);
        Tape(bytes, fastrand::Rng::with_seed(seed))
    }

    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return self.1.u8(..);
        };
        self.0 = rest;
        *first
    }

    fn one_in(&mut self, n: u8) -> bool {
        self.byte().is_multiple_of(n)
    }

    /// Mostly below `most`, now and then anything.
    fn number(&mut self, most: u32) -> u32 {
        let number = u32::from_le_bytes([self.byte(), self.byte(), 0, 0]);
        match number >> 12 {
            15 => number.wrapping_mul(0x0101_0101),
            _ => number % most.max(1),
        }
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        let len = usize::from(self.byte()).min(most);
        (0..len).map(|_| self.byte()).collect()
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> Option<T> {
        let at = usize::from(self.byte()) % from.len().max(1);
        from.get(at).copied()
    }
}

/// What the driver knows of a connection.
#[derive(Default)]
struct Conn {
    connected: bool,
    addr: Option<SocketAddr>,
    asked: BTreeSet<BlockRef>,
    sending: Vec<BlockRef>,
}

struct Driver {
    session: Session,
    now: Instant,
    infos: Vec<(Arc<Info>, PieceLayers)>,
    conns: BTreeMap<ConnId, Conn>,
    verified: BTreeSet<(TorrentId, u32)>,
    digests_wanted: Vec<(TorrentId, u32)>,
    known: BTreeSet<TorrentId>,
    /// Blocks that web seeds still have to send, and whether they were told to wait.
    fetches: BTreeMap<(TorrentId, FetchId), (VecDeque<BlockRef>, bool)>,
    web_seeds: u32,
    addresses: u32,
    /// What there is to say about dialling back.
    dialbacks: Vec<(ConnId, Dialback)>,
    /// When peers were to be dialled because they asked for it.
    dialled_back: Vec<Instant>,
}

impl Driver {
    fn new(tape: &mut Tape<'_>) -> Driver {
        let now = Instant::now();
        let config = Config {
            max_connections: CONNECTIONS,
            unchoke_slots: 3,
            listen_port: 6881,
            limit_down: [0, 100_000][usize::from(tape.byte() & 1)],
            limit_up: [0, 100_000][usize::from(tape.byte() & 1)],
            dialback: true,
            ..Config::default()
        };
        let parse = |bytes| {
            let meta = Metainfo::parse(bytes).expect("a torrent by libtorrent");
            (Arc::new(meta.info), meta.piece_layers)
        };
        Driver {
            session: Session::new(config, u64::from(tape.byte()), now),
            now,
            infos: TORRENTS.map(parse).into(),
            conns: BTreeMap::new(),
            verified: BTreeSet::new(),
            digests_wanted: Vec::new(),
            known: BTreeSet::new(),
            fetches: BTreeMap::new(),
            web_seeds: 0,
            addresses: 0,
            dialbacks: Vec::new(),
            dialled_back: Vec::new(),
        }
    }

    fn address(&mut self) -> SocketAddr {
        self.addresses += 1;
        let net = [0x0a00_0000, 0x0100_0000][self.addresses as usize % 2];
        SocketAddr::from((u32::to_be_bytes(net + self.addresses % 50), 6881))
    }

    fn handle(&mut self, input: Input) {
        self.session.handle(self.now, input);
        self.drain();
    }

    /// Takes all decisions and holds them against the rules.
    fn drain(&mut self) {
        let mut decisions = 0;
        while let Some(output) = self.session.poll() {
            decisions += 1;
            assert!(decisions < MOST_DECISIONS, "{output:?} is one too many");
            match output {
                Output::Dial(conn, addr, _) => {
                    let state = Conn {
                        addr: Some(addr),
                        ..Conn::default()
                    };
                    let before = self.conns.insert(conn, state);
                    assert!(before.is_none(), "{conn:?} is used twice");
                }
                Output::Handshake(conn, _) => assert!(self.conns[&conn].connected),
                Output::Send(conn, message) => self.said(conn, &message),
                Output::SendBlock(conn, id, block) => {
                    assert!(
                        self.verified.contains(&(id, block.piece)),
                        "serves {block:?}"
                    );
                    self.conn(conn).sending.push(block);
                }
                Output::Close(conn, _) => {
                    assert!(self.conns.remove(&conn).is_some(), "{conn:?} closed twice");
                }
                Output::Verified(id, piece) => {
                    self.verified.insert((id, piece));
                }
                Output::Abandon(..) => {}
                Output::ReadDigests(id, piece) => self.digests_wanted.push((id, piece)),
                Output::Event(id, Event::Metadata(info)) => {
                    assert_eq!(info.raw(), self.infos[id.0 as usize].0.raw());
                    self.known.insert(id);
                }
                Output::Event(_, Event::Dialback(conn, event)) => self.dials_back(conn, event),
                Output::Event(..) => {}
                Output::Fetch(id, fetch, _, blocks) => {
                    assert!(!blocks.is_empty() && blocks.is_sorted());
                    let before = self.fetches.insert((id, fetch), (blocks.into(), false));
                    assert!(before.is_none(), "{fetch:?} is used twice");
                }
                Output::FetchOn(id, fetch) => {
                    let fetch = self.fetches.get_mut(&(id, fetch));
                    assert!(std::mem::take(&mut fetch.expect("it waits").1));
                }
                Output::EndFetch(id, fetch) => {
                    assert!(self.fetches.remove(&(id, fetch)).is_some());
                }
            }
        }
        if let Some(deadline) = self.session.deadline() {
            assert!(deadline < self.now + Duration::from_secs(3600));
        }
    }

    /// What a driver does about dialling back, and whom it may be told to dial.
    fn dials_back(&mut self, conn: ConnId, event: DialbackEvent) {
        let addr = self.conn(conn).addr.expect("it has one");
        match event {
            DialbackEvent::Offered(ip) => {
                assert_eq!(ip, addr.ip());
                let ask = Dialback::Ask(Transport::Tcp, 6881);
                self.dialbacks.push((conn, ask));
            }
            DialbackEvent::Wanted(transport, to) => {
                assert_eq!(to.ip(), addr.ip(), "who asks is dialled, and nobody else");
                let now = self.now;
                self.dialled_back
                    .retain(|at| now - *at < Duration::from_secs(60));
                self.dialled_back.push(now);
                assert!(self.dialled_back.len() <= MOST_DIALBACKS);
                let answer = Dialback::Answer(transport, to.port(), DialOutcome::Refused);
                self.dialbacks.push((conn, answer));
            }
            DialbackEvent::Answered(ip, ..) => assert_eq!(ip, addr.ip()),
        }
    }

    #[track_caller]
    fn conn(&mut self, conn: ConnId) -> &mut Conn {
        self.conns
            .get_mut(&conn)
            .expect("it is about an open connection")
    }

    fn said(&mut self, conn: ConnId, message: &Message) {
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        let parsed = wire::parse(&bytes, &wire::Limits::default());
        assert!(
            matches!(&parsed, Ok(Parsed::Message { message: m, .. }) if m == message),
            "{message:?} does not survive the wire"
        );
        match message {
            Message::Request(block) => {
                let conn = self.conn(conn);
                conn.asked.insert(*block);
                assert!(block.len > 0 && block.len <= BLOCK);
            }
            _ => {
                self.conn(conn);
            }
        }
    }

    /// What this piece must hash to.
    fn right(&self, id: TorrentId, piece: u32) -> PieceDigest {
        let (info, layers) = &self.infos[id.0 as usize];
        let layout = info.layout();
        let file = layout.file_of_piece(piece);
        let root = file.and_then(|file| {
            let root = info.file(file).root()?;
            let within = layout.piece_in_file(piece)? as usize;
            Some(layers.get(&root).map_or(root, |layer| layer[within]))
        });
        PieceDigest {
            sha1: info.piece_sha1(piece).copied(),
            root,
            leaves: None,
        }
    }

    fn block(&self, tape: &mut Tape<'_>) -> BlockRef {
        let layout = self.infos[0].0.layout();
        let piece = tape.number(layout.pieces());
        let blocks = layout.piece_length() / BLOCK;
        BlockRef {
            piece,
            begin: tape.number(blocks).wrapping_mul(BLOCK),
            len: match tape.byte() {
                0..=199 => BLOCK,
                _ => tape.number(2 * BLOCK),
            },
        }
    }

    fn message(&self, tape: &mut Tape<'_>) -> Option<Message> {
        let pieces = self.infos[0].0.layout().pieces();
        Some(match tape.byte() % 28 {
            0 => Message::KeepAlive,
            1 => Message::Choke,
            2 | 3 => Message::Unchoke,
            4 | 5 => Message::Interested,
            6 => Message::NotInterested,
            7 => Message::Have(tape.number(pieces)),
            8 => Message::Bitfield(tape.bytes(pieces.div_ceil(8) as usize)),
            9 => Message::Bitfield(vec![0xff; pieces as usize / 8]),
            10 | 11 => Message::Request(self.block(tape)),
            12 => Message::Cancel(self.block(tape)),
            13 => Message::Port(tape.number(65_536) as u16),
            14 => Message::Suggest(tape.number(pieces)),
            15 | 16 => Message::HaveAll,
            17 => Message::HaveNone,
            18 => Message::Reject(self.block(tape)),
            19 => Message::AllowedFast(tape.number(pieces)),
            20 => {
                let range = self.hash_range(tape);
                match tape.byte() % 3 {
                    0 => Message::HashRequest(range),
                    1 => Message::HashReject(range),
                    _ => Message::Hashes {
                        range,
                        hashes: vec![[tape.byte(); 32]; usize::from(tape.byte() % 40)],
                    },
                }
            }
            21 => Message::Extended {
                id: 0,
                payload:
                    b"d1:md11:ut_metadatai2e6:ut_pexi1e11:lt_donthavei3e12:ut_holepunchi9e11:sl_dialbacki8e11:upload_onlyi7ee13:metadata_sizei700ee6:yourip4:\x01\x02\x03\x04e"
                        .to_vec(),
            },
            23 => Message::Extended {
                id: 5,
                payload: self.holepunch(tape).encode(),
            },
            24 => {
                let flags = PexFlags(tape.byte());
                let pex = Pex {
                    added: vec![(somewhere(tape), flags), (somewhere(tape), flags)],
                    dropped: Vec::new(),
                };
                Message::Extended {
                    id: 1,
                    payload: pex.encode(),
                }
            }
            22 => Message::Extended {
                id: tape.byte() % 8,
                payload: tape.bytes(80),
            },
            25 => Message::Extended {
                id: 6,
                payload: dialback(tape).encode(),
            },
            26 => Message::Extended {
                id: 4,
                payload: UploadOnly(tape.one_in(2)).encode(),
            },
            // Whatever the codec makes of plain bytes.
            _ => {
                let mut bytes = vec![0, 0, 0];
                bytes.push(tape.byte());
                bytes.extend(tape.bytes(60));
                match wire::parse(&bytes, &wire::Limits::default()) {
                    Ok(Parsed::Message { message, .. }) => message,
                    _ => return None,
                }
            }
        })
    }

    fn holepunch(&self, tape: &mut Tape<'_>) -> Holepunch {
        let addr = somewhere(tape);
        match tape.byte() % 5 {
            0 | 1 => Holepunch::Rendezvous(addr),
            2 | 3 => Holepunch::Connect(addr),
            _ => Holepunch::Error(addr, PunchError::NotConnected),
        }
    }

    fn hash_range(&self, tape: &mut Tape<'_>) -> HashRange {
        let info = &self.infos[1 + usize::from(tape.byte() & 1)].0;
        let file = usize::from(tape.byte()) % info.layout().files();
        HashRange {
            root: info.file(file).root().unwrap_or([6; 32]),
            base: tape.number(6),
            index: tape.number(16),
            length: 1 << (tape.byte() % 6),
            proofs: tape.number(6),
        }
    }

    fn add(&mut self, tape: &mut Tape<'_>) {
        if tape.one_in(2) {
            let ip = somewhere(tape).ip();
            self.handle(Input::External(ip));
        }
        let id = TorrentId(u32::from(tape.byte()) % TORRENTS.len() as u32);
        if !self.known.insert(id) {
            return;
        }
        let (info, layers) = self.infos[id.0 as usize].clone();
        let (with_info, with_layers) = (!tape.one_in(4), !tape.one_in(4));
        let mut have = swarm::Bitfield::new(info.layout().pieces());
        if with_info {
            for piece in 0..have.len() {
                if tape.byte() & 1 == 1 {
                    have.set(piece);
                    self.verified.insert((id, piece));
                }
            }
        }
        let peers = (0..tape.byte() % 8).map(|_| self.address()).collect();
        let add = Add {
            id,
            hashes: info.hashes(),
            info: with_info.then_some(info),
            layers: if with_layers {
                layers
            } else {
                PieceLayers::default()
            },
            have: Some(have),
            checking: tape.one_in(8),
            file_priorities: tape.bytes(6),
            peers,
        };
        self.handle(Input::Add(Box::new(add)));
    }

    /// Somebody dials us and, most times, greets.
    fn welcome(&mut self, tape: &mut Tape<'_>) {
        let addr = self.address();
        let conn = self.session.next_conn();
        let state = Conn {
            connected: true,
            addr: Some(addr),
            ..Conn::default()
        };
        self.conns.insert(conn, state);
        self.handle(Input::Incoming(conn, addr, Road::UTP));
        if !tape.one_in(8) && self.conns.contains_key(&conn) {
            let known: Vec<TorrentId> = self.known.iter().copied().collect();
            let id = tape.pick(&known).unwrap_or(TorrentId(0));
            self.greet(tape, conn, id);
        }
    }

    fn greet(&mut self, tape: &mut Tape<'_>, conn: ConnId, id: TorrentId) {
        let hashes: Vec<[u8; 20]> = self.infos[id.0 as usize].0.hashes().wire().collect();
        let mut peer_id = [tape.byte(); 20];
        peer_id[0] = b'-';
        let theirs = Handshake {
            reserved: Reserved([0, 0, 0, 0, 0, 0x10, 0, tape.byte()]),
            info_hash: tape.pick(&hashes).unwrap_or([0; 20]),
            peer_id,
        };
        self.handle(Input::Handshake(conn, theirs));
    }

    /// One fact, of any kind.
    fn step(&mut self, tape: &mut Tape<'_>) {
        let id = TorrentId(u32::from(tape.byte()) % TORRENTS.len() as u32);
        // A driver speaks of pieces that there are.
        let pieces = self.session.have(id).map_or(0, |have| have.len());
        let piece = u32::from(tape.byte()) % pieces.max(1);
        let some: Vec<ConnId> = self.conns.keys().copied().collect();
        let conn = tape.pick(&some);
        match (tape.byte() % 32, conn) {
            (0, _) => self.add(tape),
            (1, _) => self.welcome(tape),
            (2, _) => {
                let addrs = (0..tape.byte()).map(|_| self.address()).collect();
                self.handle(Input::Peers(id, Source::Exchange, addrs));
            }
            (3, Some(conn)) if !self.conns[&conn].connected => {
                self.conn(conn).connected = true;
                self.handle(Input::Connected(conn, Road::TCP));
            }
            (4, Some(conn)) => {
                let connected = self.conns[&conn].connected;
                self.conns.remove(&conn);
                self.handle(match connected {
                    true => Input::Disconnected(conn),
                    false => Input::DialFailed(conn, Failure::TimedOut),
                });
            }
            (5..=7, Some(conn)) if self.conns[&conn].connected => self.greet(tape, conn, id),
            (8..=17, Some(conn)) => {
                if let Some(message) = self.message(tape) {
                    self.handle(Input::Message(conn, message));
                }
            }
            (18..=21, Some(conn)) => {
                let asked: Vec<BlockRef> = self.conns[&conn].asked.iter().copied().collect();
                let block = match tape.byte() % 8 {
                    0 => self.block(tape),
                    _ => match tape.pick(&asked) {
                        Some(block) => block,
                        None => return,
                    },
                };
                match self.session.block_arriving(self.now, conn, block) {
                    Verdict::Close(_) => {
                        self.conns.remove(&conn);
                        return self.handle(Input::Disconnected(conn));
                    }
                    Verdict::Accept(_) => {
                        assert!(asked.contains(&block), "took what it never asked for");
                        self.session.block_arrived(self.now, conn, block, true);
                    }
                    Verdict::Discard => {
                        let stored = self.session.block_arrived(self.now, conn, block, false);
                        assert!(!stored, "there is nothing to store");
                    }
                }
                self.drain();
            }
            (22, Some(conn)) => {
                if let Some(block) = self.conn(conn).sending.pop() {
                    self.handle(match tape.byte() % 8 {
                        0 => Input::BlockUnreadable(conn, block),
                        _ => Input::BlockSent(conn, block),
                    });
                }
            }
            (23 | 24, _) if pieces > 0 => {
                let mut digest = self.right(id, piece);
                if tape.one_in(3) {
                    digest.sha1 = Some([6; 20]);
                    digest.root = Some([6; 32]);
                }
                if tape.byte() & 1 == 1 {
                    digest.leaves = Some(self.leaves(tape));
                }
                self.handle(Input::PieceHashed(id, piece, digest));
            }
            (25, _) => {
                if let Some((id, piece)) = self.digests_wanted.pop() {
                    let leaves = (!tape.one_in(4)).then(|| self.leaves(tape));
                    self.handle(Input::Digests(id, piece, leaves));
                }
            }
            (26, _) if tape.one_in(4) => self.control(tape, id, piece),
            (27, _) if tape.one_in(4) => {
                self.web_seeds += 1;
                let seed = WebSeedId(self.web_seeds);
                self.handle(Input::WebSeed(id, seed, Class::Other));
                if tape.one_in(4) {
                    self.handle(Input::NoWebSeed(id, WebSeedId(self.web_seeds / 2)));
                }
            }
            (27 | 28, _) => self.web(tape),
            (29, _) => {
                if let Some((conn, message)) = self.dialbacks.pop() {
                    self.handle(Input::Dialback(conn, message));
                }
            }
            (_, _) => {
                let jump = [1, 10, 10, 100, 100, 1000, 1000, 1000, 3000, 11_000];
                let ms = match tape.byte() {
                    255 => 300_000,
                    _ => tape.pick(&jump).unwrap_or(1000),
                };
                self.time_passes(Duration::from_millis(ms));
            }
        }
    }

    /// Something happens to a fetch.
    fn web(&mut self, tape: &mut Tape<'_>) {
        let open: Vec<_> = self.fetches.keys().copied().collect();
        let Some((id, fetch)) = tape.pick(&open) else {
            return;
        };
        if tape.one_in(16) {
            self.fetches.remove(&(id, fetch));
            let why = "a test wants it".to_owned();
            let error = match tape.byte() % 8 {
                0 => FetchError::Useless(why),
                1 | 2 => FetchError::Missing(usize::from(tape.byte()), why),
                n => FetchError::Later(why, Some(Duration::from_secs(u64::from(n)))),
            };
            return self.handle(Input::Fetched(id, fetch, Err(error)));
        }
        let (blocks, waits) = &self.fetches[&(id, fetch)];
        if *waits {
            return;
        }
        let Some(&block) = blocks.front() else {
            self.fetches.remove(&(id, fetch));
            return self.handle(Input::Fetched(id, fetch, Ok(())));
        };
        let take = self.session.web_arriving(self.now, id, fetch, block);
        let entry = self.fetches.get_mut(&(id, fetch)).expect("it is open");
        match take {
            Take::Wait => entry.1 = true,
            Take::End => drop(self.fetches.remove(&(id, fetch))),
            Take::Accept | Take::Discard => {
                entry.0.pop_front();
                let kept = take == Take::Accept && !tape.one_in(16);
                let stored = self.session.web_arrived(self.now, id, fetch, block, kept);
                assert!(kept || !stored, "there is nothing to store");
            }
        }
        self.drain();
    }

    /// The driver sleeps, and wakes the session when it wants to be.
    fn time_passes(&mut self, time: Duration) {
        self.now += time;
        for _ in 0..3 {
            if self.session.deadline().is_none_or(|at| at > self.now) {
                return;
            }
            self.handle(Input::Timeout);
        }
        panic!("it wants to be woken again and again");
    }

    fn leaves(&self, tape: &mut Tape<'_>) -> Vec<Sha256Hash> {
        (0..tape.byte() % 6).map(|_| [tape.byte(); 32]).collect()
    }

    /// What a person or a disk does.
    fn control(&mut self, tape: &mut Tape<'_>, id: TorrentId, piece: u32) {
        match tape.byte() % 15 {
            8 => {
                let scope = match tape.byte() % 5 {
                    0 => Scope::Session,
                    1 => Scope::Group(u32::from(tape.byte() % 2)),
                    2 => Scope::Class(Class::Lan),
                    3 => Scope::Class(Class::Other),
                    _ => Scope::Torrent(id),
                };
                let mut rate = || [0, 16_384, 100_000, u64::MAX][usize::from(tape.byte() % 4)];
                let (down, up) = (rate(), rate());
                self.handle(Input::Limits(scope, down, up));
            }
            9 => {
                let group = tape.byte() % 3;
                let group = (group > 0).then(|| u32::from(group - 1));
                self.handle(Input::Group(id, group));
            }
            13 => self.handle(Input::Slots(usize::from(tape.byte() % 6))),
            14 => self.handle(Input::Connections {
                all: usize::from(tape.byte()) % CONNECTIONS,
                per_torrent: usize::from(tape.byte()) % CONNECTIONS,
                dials: usize::from(tape.byte() % 4),
            }),
            11 => self.handle(Input::ClearDeadlines(id)),
            12 => self.handle(Input::Sequential(id, tape.byte() & 1 == 1)),
            10 => self.handle(Input::LanFree(tape.byte() & 1 == 1)),
            0 => {
                self.handle(Input::Remove(id));
                self.verified.retain(|(torrent, _)| *torrent != id);
                self.known.remove(&id);
            }
            1 => self.handle(Input::Pause(id, Some("a test wants it".into()))),
            2 | 3 => self.handle(Input::Pause(id, None)),
            4 => {
                let priorities = tape.bytes(6);
                self.handle(Input::Prioritize(id, priorities));
            }
            5 => {
                let when = self.now + Duration::from_millis(u64::from(tape.byte()) * 20);
                self.handle(Input::Deadline(id, piece, when));
            }
            6 | 7 if self.session.have(id).is_none_or(|have| have.is_empty()) => {}
            6 => self.handle(Input::WriteFailed(id, piece, "the disk is full".into())),
            _ if tape.byte() & 1 == 1 => self.handle(Input::CheckFinished(id)),
            _ => {
                self.verified.remove(&(id, piece));
                self.handle(Input::Lost(id, piece));
            }
        }
    }
}

/// Where peers of the fuzzer are, or nobody; near or far.
fn somewhere(tape: &mut Tape<'_>) -> SocketAddr {
    let net = [10, 10, 1, 127, 0][usize::from(tape.byte() % 5)];
    SocketAddr::from(([net, 0, 0, tape.byte() % 50], 6881))
}

fn dialback(tape: &mut Tape<'_>) -> Dialback {
    let transport = [Transport::Tcp, Transport::Utp][usize::from(tape.byte() & 1)];
    let port = 1 + tape.number(65_535) as u16 % 65_535;
    match tape.byte() % 4 {
        0..=2 => Dialback::Ask(transport, port),
        _ => Dialback::Answer(transport, port, DialOutcome::TimedOut),
    }
}

fn session_holds(bytes: &[u8]) {
    let tape = &mut Tape::new(bytes);
    let mut driver = Driver::new(tape);
    driver.add(tape);
    driver.add(tape);
    (0..8).for_each(|_| driver.welcome(tape));
    for _ in 0..FACTS {
        driver.step(tape);
        assert!(driver.session.connections() <= CONNECTIONS);
        for id in driver.known.clone() {
            let most = Config::default().max_outstanding;
            assert!(driver.session.peers(id).all(|p| p.live <= most));
            assert!(driver.session.web_seeds(driver.now, id).len() <= 64);
            let status = driver.session.status(driver.now, id).expect("it was added");
            assert!(status.done <= status.wanted && status.wasted <= status.received);
            if let Some(have) = driver.session.have(id) {
                assert!(have.iter().all(|p| driver.verified.contains(&(id, p))));
            }
        }
    }
    for id in driver.known.clone() {
        driver.handle(Input::Remove(id));
    }
    driver.time_passes(Duration::from_secs(100));
    assert_eq!(
        driver.session.deadline(),
        None,
        "there is nothing to wake up for"
    );
}

#[test]
fn fuzz_session() {
    check!().for_each(session_holds);
}
