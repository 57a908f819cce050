//! One transfer: where its files are, what is being checked, what the engine said about it.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use store::{Allocate, Bits, Naming, Placement, StoreError, content_in, resume};
use swarm::{Add, Bitfield, Input, TorrentId};
use torrent::ids::InfoHashes;
use torrent::magnet::Magnet;
use torrent::metainfo::{Info, Metainfo, PieceLayers};

use super::waiting::{Attempt, Patience};
use super::{Driver, store_id};
use crate::{AddError, Event, Options, Place, Problem, ProblemKind, Source, Status};

pub(crate) struct Transfer {
    pub hashes: InfoHashes,
    pub name: String,
    pub info: Option<Arc<Info>>,
    pub metainfo: Option<Metainfo>,
    pub trackers: Vec<Vec<String>>,
    /// The link it came from: it may select files (BEP 53).
    link: Option<Box<Magnet>>,
    pub options: Options,
    pub root: PathBuf,
    /// Pieces a check has looked at, of how many.
    pub checking: Option<(u32, u32)>,
    /// Why it stands still.
    pub problem: Option<Problem>,
    /// Which wait for the disk that is, and how long it takes.
    pub wait: u64,
    pub patience: Patience,
    /// There was something to fetch when it began.
    began_incomplete: bool,
    /// It may never go on by itself.
    pub fatal: bool,
    /// No peer has been there since.
    pub quiet_since: Option<Instant>,
    /// Everything wanted is verified; waiting for the disk to say so.
    pub finishing: bool,
    /// Programs that read its files at the moment.
    pub readers: usize,
    pub finished: bool,
    /// The program waits for this transfer's last flush.
    pub flushed: bool,
}

impl Transfer {
    pub fn has_v2(&self) -> bool {
        self.info.as_ref().is_some_and(|i| i.kind().has_v2())
    }

    pub fn private(&self) -> bool {
        self.info.as_ref().is_some_and(|i| i.private())
    }

    /// It sets room aside for whole files.
    pub fn reserves(&self) -> bool {
        self.options.preallocate
    }

    /// Peers that the link names by host, not by address.
    fn named_peers(&self) -> Vec<(String, u16)> {
        let peers = self.link.iter().flat_map(|link| &link.peers);
        peers
            .filter(|(host, _)| host.parse::<IpAddr>().is_err())
            .cloned()
            .collect()
    }

    /// Servers that the torrent or the link names.
    pub fn named_web_seeds(&self) -> Vec<String> {
        let torrent = self.metainfo.iter().flat_map(|m| &m.web_seeds);
        let link = self.link.iter().flat_map(|link| &link.web_seeds);
        torrent.chain(link).cloned().collect()
    }

    pub fn priorities(&self, info: &Info) -> Vec<u8> {
        let link = self.link.as_ref().filter(|l| l.select.is_some());
        if self.options.select.is_empty() && self.options.priorities.is_empty() && link.is_none() {
            return Vec::new();
        }
        if !self.options.priorities.is_empty() {
            let mut priorities = self.options.priorities.clone();
            priorities.resize(info.files().len(), 0);
            return priorities;
        }
        let globs = &self.options.select;
        let wanted = |(index, path): (usize, &str)| {
            let name = path.rsplit('/').next().unwrap_or(path);
            let matches =
                |glob| fast_glob::glob_match(glob, path) || fast_glob::glob_match(glob, name);
            let by_name = globs.is_empty() || globs.iter().any(matches);
            by_name && link.is_none_or(|l| l.selects(index as u32))
        };
        info.files()
            .enumerate()
            .map(|(i, f)| if wanted((i, f.path())) { 4 } else { 0 })
            .collect()
    }
}

/// Where the content lies: the file itself, or the folder of a torrent with several.
pub(crate) fn root_of(options: &Options, info: &Info) -> PathBuf {
    match &options.place {
        Place::Into(dir) => dir.join(info.name()),
        // A v2 torrent of a folder with one file is a torrent of that file.
        Place::At(root) if info.is_single_file() && root.is_dir() => match options.read_only {
            true => content_in(root, info),
            false => root.join(info.name()),
        },
        Place::At(root) => root.clone(),
    }
}

/// What a transfer finds at its place.
#[derive(Clone, Copy)]
enum Data {
    /// It is new: what lies there is taken up.
    MayBeThere,
    /// It was here before, and so were the pieces that its record names.
    WasThere,
}

/// What the place of a transfer led to.
struct Prepared {
    have: Bitfield,
    recheck: Bits,
    note: Option<String>,
}

impl Driver {
    /// Takes part in a torrent.
    pub fn add(
        self: &Rc<Self>,
        id: TorrentId,
        source: Source,
        options: Options,
    ) -> Result<(), AddError> {
        self.join(id, source, options, Data::MayBeThere)
    }

    /// Takes part in a torrent that was here before. If it had pieces and nothing of it is there, its drive is away:
    /// that is [`StoreError::Missing`], and nothing is begun in its place.
    pub fn add_again(
        self: &Rc<Self>,
        id: TorrentId,
        source: Source,
        options: Options,
    ) -> Result<(), AddError> {
        self.join(id, source, options, Data::WasThere)
    }

    fn join(
        self: &Rc<Self>,
        id: TorrentId,
        source: Source,
        options: Options,
        data: Data,
    ) -> Result<(), AddError> {
        let mut link = None;
        let (hashes, name, metainfo, trackers, mut peers): (_, _, _, _, Vec<SocketAddr>) =
            match source {
                Source::Metainfo(mut m) => {
                    self.complete_layers(&mut m);
                    let trackers = m.trackers.clone();
                    (
                        m.info.hashes(),
                        m.info.name().to_owned(),
                        Some(*m),
                        trackers,
                        Vec::new(),
                    )
                }
                Source::Magnet(m) => {
                    let hashes = m.hashes;
                    let name = m.name.clone().unwrap_or_else(|| hashes.to_string());
                    let addr = |(host, port): &(String, u16)| {
                        Some((host.parse::<IpAddr>().ok()?, *port).into())
                    };
                    let peers = m.peers.iter().filter_map(addr).collect();
                    let trackers = m.trackers.iter().map(|t| vec![t.clone()]).collect();
                    link = Some(m);
                    (
                        hashes,
                        name,
                        self.keep.load_torrent(&hashes),
                        trackers,
                        peers,
                    )
                }
                Source::Hash(hashes) => {
                    let kept = self.keep.load_torrent(&hashes);
                    (hashes, hashes.to_string(), kept, Vec::new(), Vec::new())
                }
            };
        if hashes.is_empty() {
            return Err(AddError::Nameless);
        }
        let twice = self.find(&hashes).is_some();
        if twice {
            return Err(AddError::Twice(name));
        }
        peers.extend(&options.peers);
        let mut transfer = Transfer {
            hashes,
            name,
            info: None,
            metainfo: None,
            trackers,
            link,
            options,
            root: PathBuf::new(),
            checking: None,
            problem: None,
            wait: 0,
            patience: Patience::default(),
            began_incomplete: true,
            fatal: false,
            quiet_since: None,
            finishing: false,
            readers: 0,
            finished: false,
            flushed: false,
        };
        let mut add = Add {
            id,
            hashes,
            info: None,
            layers: PieceLayers::default(),
            have: None,
            checking: false,
            file_priorities: Vec::new(),
            peers,
        };
        self.name(id, &hashes);
        self.roused.notify_one();
        self.news.about(id);
        let halted = transfer.options.halted.clone();
        let Some(metainfo) = metainfo else {
            let named = transfer.named_peers();
            self.transfers.borrow_mut().insert(id, transfer);
            self.tell(Input::Add(Box::new(add)));
            self.begin(id, halted, named);
            return Ok(());
        };
        let info = Arc::new(metainfo.info.clone());
        let prepared = self
            .prepare(id, &mut transfer, &info, data)
            .map_err(|problem| {
                self.unname(id);
                AddError::Place(problem)
            })?;
        self.name(id, &info.hashes());
        if transfer.options.remember
            && let Err(error) = self.keep.save_torrent(&metainfo)
        {
            tracing::warn!(%error, "the torrent file could not be kept");
        }
        add.info = Some(info.clone());
        add.layers = metainfo.piece_layers.clone();
        add.file_priorities = transfer.priorities(&info);
        add.have = Some(prepared.have);
        add.checking = !prepared.recheck.none();
        if transfer.trackers.is_empty() {
            transfer.trackers = metainfo.trackers.clone();
        }
        transfer.metainfo = Some(metainfo);
        transfer.began_incomplete = add.have.as_ref().is_some_and(|h| !h.is_full());
        let named = transfer.named_peers();
        self.transfers.borrow_mut().insert(id, transfer);
        self.event(Event::Metadata(id, info));
        if let Some(note) = prepared.note {
            self.event(Event::Notice(id, note));
        }
        self.tell(Input::Add(Box::new(add)));
        self.check(id, prepared.recheck);
        self.begin(id, halted, named);
        Ok(())
    }

    /// The engine has the torrent: it runs, or stands still as it should.
    fn begin(self: &Rc<Self>, id: TorrentId, halted: Option<String>, named: Vec<(String, u16)>) {
        let transfers = self.transfers.borrow();
        let options = transfers.get(&id).map(|t| &t.options);
        let sequential = options.is_some_and(|options| options.sequential);
        let super_seed = options.is_some_and(|options| options.super_seed);
        drop(transfers);
        if sequential {
            self.tell(Input::Sequential(id, true));
        }
        if super_seed {
            self.tell(Input::SuperSeed(id, true));
        }
        match halted {
            Some(why) => self.tell(Input::Pause(id, Some(why))),
            None => self.find_peers(id),
        }
        self.resolve_peers(id, named);
        self.begin_web_seeds(id);
    }

    /// Finds the addresses of peers that a link names by host.
    fn resolve_peers(self: &Rc<Self>, id: TorrentId, named: Vec<(String, u16)>) {
        for (host, port) in named {
            let driver = self.clone();
            tokio::task::spawn_local(async move {
                match driver.look_up(&host, port).await {
                    Ok(addrs) => {
                        driver.tell(Input::Peers(id, swarm::Source::Direct, addrs));
                    }
                    Err(error) => {
                        let text = format!("the peer {host} cannot be found: {error}");
                        driver.event(Event::Notice(id, text));
                    }
                }
            });
        }
    }

    /// Puts a torrent whose metadata is known into the store.
    fn prepare(
        &self,
        id: TorrentId,
        transfer: &mut Transfer,
        info: &Arc<Info>,
        data: Data,
    ) -> Result<Prepared, Problem> {
        let pieces = info.layout().pieces();
        let options = &transfer.options;
        // A v2 torrent of a folder with one file is a torrent of that file.
        let root = root_of(options, info);
        let mut placement = match options.read_only {
            true => Placement::existing(root),
            false => Placement::at(root),
        };
        transfer.root = placement.root.clone();
        transfer.hashes = info.hashes();
        transfer.name = info.name().to_owned();
        transfer.info = Some(info.clone());
        let priorities = transfer.priorities(info);
        if !priorities.is_empty() {
            if priorities.iter().all(|&p| p == 0) {
                return Err(Problem {
                    kind: ProblemKind::NotFound,
                    message: format!(
                        "no file of “{}” matches {}. `starling inspect` lists its files",
                        info.name(),
                        transfer.options.select.join(", ")
                    ),
                });
            }
            let mut wanted = Bits::new(priorities.len());
            for (i, _) in priorities.iter().enumerate().filter(|(_, p)| **p > 0) {
                wanted.set(i);
            }
            placement.wanted = Some(wanted);
        }
        if transfer.options.preallocate {
            placement.allocate = Allocate::Full;
        }
        let mut prepared = Prepared {
            have: Bitfield::new(pieces),
            recheck: Bits::new(pieces as usize),
            note: None,
        };
        if transfer.options.assume_complete {
            prepared.have = Bitfield::full(pieces);
            placement.have = Some(Bits::full(pieces as usize));
            placement.known = transfer.options.known.clone();
        } else if transfer.options.read_only && !transfer.options.remember {
            prepared.recheck = Bits::full(pieces as usize);
        } else {
            let record = self.keep.record(&info.hashes(), &placement.root);
            let resume = resume::load(&record, info, &placement);
            if resume.gone && !options.read_only {
                if matches!(data, Data::WasThere) {
                    let path = placement.root;
                    return Err(StoreError::Missing { path }.into());
                }
                // It is begun anew here: the next start is not to miss what an old record names.
                self.keep.forget_record(&info.hashes(), &placement.root);
            }
            resume.apply(&mut placement);
            placement.record = Some(record);
            for piece in resume.have.iter() {
                prepared.have.set(piece as u32);
            }
            prepared.recheck = resume.recheck;
            let notes = [resume.note, passed_over(&options.place, info)];
            let notes: Vec<String> = notes.into_iter().flatten().collect();
            prepared.note = (!notes.is_empty()).then(|| notes.join(". "));
        }
        if transfer.options.remember {
            let saved = self
                .keep
                .save_place(&info.hashes(), &placement.root, placement.read_only);
            if let Err(error) = saved {
                tracing::warn!(%error, "the place of a torrent could not be kept");
            }
        }
        self.store.add(store_id(id), info.clone(), placement)?;
        Ok(prepared)
    }

    fn check(&self, id: TorrentId, pieces: Bits) {
        if pieces.none() {
            return;
        }
        if let Some(t) = self.transfers.borrow_mut().get_mut(&id) {
            t.checking = Some((0, pieces.count() as u32));
        }
        self.store.check(store_id(id), pieces);
    }

    pub fn check_finished(self: &Rc<Self>, id: TorrentId, trouble: Option<StoreError>) {
        self.tell(Input::CheckFinished(id));
        let (have, of) = match self.session.borrow().have(id) {
            Some(have) => (have.count(), have.len()),
            None => return,
        };
        let read_only = {
            let mut transfers = self.transfers.borrow_mut();
            let Some(t) = transfers.get_mut(&id) else {
                return;
            };
            t.checking = None;
            t.options.read_only
        };
        self.event(Event::Checked(id, have, of));
        if let Some(error) = trouble {
            self.pause_for_disk(id, error, Attempt::Check);
        } else if read_only && have == 0 && of > 0 {
            self.fail(
                id,
                Problem {
                    kind: ProblemKind::Damaged,
                    message: "nothing at that place belongs to this torrent. \
                          `starling verify` names each wrong file"
                        .to_owned(),
                },
            );
        }
    }

    fn fail(self: &Rc<Self>, id: TorrentId, problem: Problem) {
        if let Some(t) = self.transfers.borrow_mut().get_mut(&id) {
            t.problem = Some(problem.clone());
            t.fatal = true;
        }
        self.tell(Input::Pause(id, Some(problem.message.clone())));
        self.event(Event::Failed(id, problem));
    }

    /// What the engine wants known.
    pub fn on_event(self: &Rc<Self>, id: TorrentId, event: swarm::Event) {
        match event {
            swarm::Event::Metadata(info) => self.metadata(id, info),
            swarm::Event::Finished => {
                if let Some(t) = self.transfers.borrow_mut().get_mut(&id) {
                    t.finishing = true;
                }
                self.store.flush(store_id(id));
            }
            swarm::Event::Banned(addr) => {
                let text = format!("{} sent bad data and is banned", addr.ip());
                self.event(Event::Notice(id, text));
            }
            swarm::Event::PieceFailed(piece) => {
                tracing::info!(
                    torrent = id.0,
                    piece,
                    "a piece was wrong and is fetched again"
                );
            }
            swarm::Event::WebSeedDropped(seed, why) => self.web_seed_dropped(id, seed, &why),
            swarm::Event::DhtNode(addr) => self.dht_node(addr),
            swarm::Event::Dialback(conn, event) => self.dialback(conn, event),
            swarm::Event::SeenAs(from, seen) => self.vote(from.ip(), seen),
        }
    }

    /// The metadata has come from peers: the transfer gets its place on disk.
    fn metadata(self: &Rc<Self>, id: TorrentId, info: Arc<Info>) {
        if let Some(peek) = self.peeks.borrow_mut().remove(&id) {
            // Whoever wanted to look has gone.
            let _ = peek.send(info);
            return;
        }
        let prepared = {
            let mut transfers = self.transfers.borrow_mut();
            let Some(transfer) = transfers.get_mut(&id) else {
                return;
            };
            self.prepare(id, transfer, &info, Data::MayBeThere)
                .map(|p| (p, transfer.priorities(&info)))
        };
        self.event(Event::Metadata(id, info));
        match prepared {
            Ok((prepared, priorities)) => {
                self.save_torrent(id);
                self.find_peers(id);
                if !priorities.is_empty() {
                    self.tell(Input::Prioritize(id, priorities));
                }
                if prepared.have.count() > 0 {
                    self.tell(Input::Resumed(id, prepared.have));
                }
                if prepared.recheck.none() {
                    self.tell(Input::CheckFinished(id));
                } else {
                    self.check(id, prepared.recheck);
                }
            }
            Err(problem) => self.fail(id, problem),
        }
    }

    /// Adds what an earlier run learned to a torrent file that lacks piece layers.
    fn complete_layers(&self, metainfo: &mut Metainfo) {
        if lacks_layers(metainfo)
            && let Some(kept) = self.keep.load_torrent(&metainfo.info.hashes())
            && kept.info == metainfo.info
            && !lacks_layers(&kept)
        {
            metainfo.piece_layers = kept.piece_layers;
        }
    }

    /// Keeps the metadata that came from peers, for the next start.
    fn save_torrent(&self, id: TorrentId) {
        let transfers = self.transfers.borrow();
        let Some(t) = transfers.get(&id) else { return };
        let Transfer {
            info: Some(info),
            metainfo,
            trackers,
            ..
        } = t
        else {
            return;
        };
        if metainfo.as_ref().is_some_and(|m| !lacks_layers(m)) {
            return;
        }
        let mut metainfo = Metainfo::of((**info).clone());
        metainfo.trackers = trackers.clone();
        metainfo.web_seeds = t.named_web_seeds();
        let piece_length = info.layout().piece_length();
        for (root, layer, len) in self.session.borrow().layers(id).unwrap_or_default() {
            metainfo.piece_layers.insert(root, layer, piece_length, len);
        }
        if let Err(error) = self.keep.save_torrent(&metainfo) {
            tracing::warn!(%error, "the metadata could not be kept");
        }
    }

    pub fn flushed(self: &Rc<Self>, id: TorrentId, ok: bool) {
        let mut transfers = self.transfers.borrow_mut();
        let Some(t) = transfers.get_mut(&id) else {
            return;
        };
        t.flushed = true;
        let news = ok && t.finishing && !t.finished;
        t.finished |= news;
        let fetched = t.began_incomplete;
        drop(transfers);
        self.news.about(id);
        if news {
            self.save_torrent(id);
            let following = self.followings.borrow().get(&id).cloned();
            if let Some(following) = following.filter(|_| fetched) {
                following.completed(self);
            }
            self.event(Event::Finished(id));
        }
    }

    /// The reason why a transfer stood still is gone. With `check`, existing data that could not be read is
    /// looked at.
    pub fn go_on(self: &Rc<Self>, id: TorrentId, check: bool) {
        let (finishing, read_only, halted) = {
            let mut transfers = self.transfers.borrow_mut();
            let Some(t) = transfers.get_mut(&id) else {
                return;
            };
            t.problem = None;
            let halted = t.options.halted.is_some();
            (t.finishing, t.options.read_only, halted)
        };
        if !halted {
            self.tell(Input::Pause(id, None));
        }
        if finishing {
            self.store.flush(store_id(id));
        }
        self.event(Event::Resumed(id));
        // What a download lacks, peers have.
        if check && read_only {
            self.check_missing(id);
        }
    }

    /// Checks the pieces that were not right when they were checked last.
    fn check_missing(&self, id: TorrentId) {
        let missing = {
            let session = self.session.borrow();
            let Some(have) = session.have(id) else { return };
            let mut missing = Bits::new(have.len() as usize);
            let lacks = (0..have.len()).filter(|&piece| !have.get(piece));
            lacks.for_each(|piece| {
                missing.set(piece as usize);
            });
            missing
        };
        self.check(id, missing);
    }

    pub fn status(&self, id: TorrentId) -> Option<Status> {
        let now = Instant::now();
        let swarm = self.session.borrow_mut().status(now, id)?;
        let transfers = self.transfers.borrow();
        let t = transfers.get(&id)?;
        let left = swarm.wanted.saturating_sub(swarm.done);
        let eta = (swarm.rate_down > 0 && left > 0).then(|| left.div_ceil(swarm.rate_down));
        Some(Status {
            name: t.name.clone(),
            eta,
            checking: t.checking,
            finding: self.finding(id),
            swarm,
        })
    }
}

/// Are there files whose piece layers are not known?
fn lacks_layers(metainfo: &Metainfo) -> bool {
    metainfo
        .piece_layers
        .missing(&metainfo.info)
        .next()
        .is_some()
}

/// Says if a download leaves data as it is that lies there under names which not every system allows.
fn passed_over(place: &Place, info: &Info) -> Option<String> {
    let root = match place {
        Place::Into(dir) => content_in(dir, info),
        Place::At(root) => root.clone(),
    };
    let renamed = matches!(place, Place::Into(dir) if root != dir.join(info.name()));
    let changed = renamed || Naming::at(info, &root) == Naming::Listed;
    changed.then(|| {
        format!(
            "{} has names that not every system allows; what is called so is left as it is, and fetched under \
             names that every system does. To serve it as it is, use `starling seed` with the torrent",
            root.display()
        )
    })
}
