//! A daemon in memory: it has a table and does at once what it is asked.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use api::{
    Add, Cause, Changes, Cut, Deleted, EventId, File, Items, Kind, Label, LabelPatch, Live,
    Metrics, Move, Page, Peer, PeerClass, Preview, PreviewFile, Problem, Query, Rename, Reusable,
    Row, RunId, Service, Settings, SettingsPatch, Source, State, Status, Table, Totals, Tracker,
    TrackerState, Transfer, TransferId, TransferPatch, Watch, WebSeed, WebSeedChange, WebSeedState,
};

/// A daemon whose transfers are made up.
pub struct Fake {
    /// Its table.
    pub live: Live,
    next: AtomicU32,
    /// How often it was asked to stop.
    pub stops: AtomicU32,
    /// Peers of each of its transfers.
    pub peers: Mutex<Vec<Peer>>,
    pub web_seeds: Mutex<Vec<WebSeed>>,
    /// The priority of all files.
    pub priority: AtomicU8,
    /// How often peers were asked for.
    pub peer_looks: AtomicU32,
    /// How often files were asked for.
    pub file_looks: AtomicU32,
}

impl Fake {
    /// With so many transfers.
    pub fn new(transfers: u32) -> Fake {
        let mut table = Table::new(RunId(0xfade));
        for id in 1..=transfers {
            table.put(transfer(id));
        }
        Fake {
            live: Live::new(table),
            next: AtomicU32::new(transfers + 1),
            stops: AtomicU32::new(0),
            web_seeds: Mutex::default(),
            peers: Mutex::new(vec![peer("192.0.2.1:6881")]),
            priority: AtomicU8::new(4),
            peer_looks: AtomicU32::new(0),
            file_looks: AtomicU32::new(0),
        }
    }

    fn edit(
        &self,
        id: TransferId,
        change: impl FnOnce(&mut Transfer),
    ) -> Result<Arc<Row>, Problem> {
        self.live
            .update(|table| table.edit(id, change))
            .ok_or_else(|| Problem::no_transfer(id))
    }

    fn row(&self, id: TransferId) -> Result<Arc<Row>, Problem> {
        self.live
            .read(|table| table.get(id).cloned())
            .ok_or_else(|| Problem::no_transfer(id))
    }
}

/// A connected peer.
pub fn peer(address: &str) -> Peer {
    Peer {
        address: address.into(),
        client: Some("Starling 0.1".into()),
        source: "dht".into(),
        class: PeerClass::Other,
        progress: 0.5,
        rate_down: 1,
        rate_up: 2,
        received: 3,
        sent: 4,
        interested: true,
        choking: false,
        peer_interested: false,
        peer_choking: true,
        snubbed: false,
        words: "takes from us".into(),
        road: api::Road {
            carrier: api::Carrier::Utp,
            cover: api::Cover::Plain,
            punched: false,
        },
        encrypted: false,
        incoming: true,
        connected_seconds: 9,
    }
}

/// A transfer as one sees it.
pub fn transfer(id: u32) -> Transfer {
    let mut hash = [0x5a; 20];
    hash[..4].copy_from_slice(&id.to_be_bytes());
    let name = format!(
        "{}-linux-image-{id}.iso",
        ["debian", "Alpine", "arch"][id as usize % 3]
    );
    Transfer {
        info_hash_v1: Some(api::Hash(hash)),
        state: State::ALL[id as usize % 8],
        reason: (id % 8 == 5).then(|| "On battery, below 20 %.".to_owned()),
        cause: (id % 8 == 5).then_some(Cause::Battery),
        size: u64::from(id) << 20,
        wanted: u64::from(id) << 20,
        done: u64::from(id) << 18,
        received: u64::from(id) << 18,
        rate_down: u64::from(id % 7) << 10,
        ratio: f64::from(id) / 7.0,
        peers: id % 50,
        folder: "/home/alice/Downloads".to_owned(),
        root: format!("/home/alice/Downloads/{name}"),
        added_at: 1_790_000_000 + u64::from(id),
        pieces: id,
        files: 250,
        ..Transfer::new(TransferId(id), name)
    }
}

impl Service for Fake {
    async fn status(&self) -> Result<Status, Problem> {
        Ok(Status {
            version: "1.2.3".into(),
            run: self.live.read(Table::id).run,
            pid: 7,
            home: "/home/alice/.local/share/starling".into(),
            started_at: 1_790_000_000,
            uptime_seconds: 60,
            listening: vec!["[::]:6881".into()],
            api: vec!["/run/api.sock".into(), "127.0.0.1:7117".into()],
            content: None,
            totals: Totals::default(),
            network: api::Network::default(),
            warnings: Vec::new(),
        })
    }

    async fn list(&self, query: Query) -> Result<Page, Problem> {
        Ok(self.live.read(|table| table.list(&query)))
    }

    async fn get(&self, id: TransferId) -> Result<Arc<Row>, Problem> {
        self.row(id)
    }

    async fn files(&self, id: TransferId, cut: Cut) -> Result<Items<File>, Problem> {
        let count = self.row(id)?.transfer.files as usize;
        self.file_looks.fetch_add(1, Ordering::Relaxed);
        let priority = self.priority.load(Ordering::Relaxed);
        let file = |index| File {
            index: index as u32,
            path: format!("disc/{index}.bin"),
            size: 100,
            done: 50,
            priority,
            content_url: Some(format!("http://{id}.localhost:7118/disc/{index}.bin")),
        };
        Ok(Items::cut((0..count).map(file), cut))
    }

    async fn peers(&self, id: TransferId) -> Result<Vec<Peer>, Problem> {
        self.row(id)?;
        self.peer_looks.fetch_add(1, Ordering::Relaxed);
        Ok(self.peers.lock().expect("nobody panics with it").clone())
    }

    async fn reach(&self, id: TransferId) -> Result<api::Reach, Problem> {
        self.row(id)?;
        Ok(api::Reach {
            tried: 5,
            reached: 3,
            ..api::Reach::default()
        })
    }

    async fn trackers(&self, id: TransferId) -> Result<Vec<Tracker>, Problem> {
        self.row(id)?;
        Ok(vec![Tracker {
            url: "udp://tracker.example:6969/announce".into(),
            tier: 0,
            state: TrackerState::Working,
            words: "named 3 peers".into(),
            message: None,
            seeds: Some(1),
            leeches: None,
            peers: 3,
            next_at: None,
        }])
    }

    async fn web_seeds(&self, id: TransferId) -> Result<Vec<WebSeed>, Problem> {
        self.row(id)?;
        Ok(self
            .web_seeds
            .lock()
            .expect("nobody panics with it")
            .clone())
    }

    async fn change_web_seeds(
        &self,
        id: TransferId,
        change: WebSeedChange,
    ) -> Result<Vec<WebSeed>, Problem> {
        self.row(id)?;
        let mut seeds = self.web_seeds.lock().expect("nobody panics with it");
        seeds.retain(|seed| !change.remove.contains(&seed.url));
        seeds.extend(change.add.into_iter().map(|url| WebSeed {
            url,
            given: true,
            state: WebSeedState::Idle,
            message: None,
            asked: 0,
            rate_down: 0,
            received: 0,
        }));
        Ok(seeds.clone())
    }

    async fn reusable(&self, id: TransferId) -> Result<Reusable, Problem> {
        self.row(id)?;
        Ok(Reusable::default())
    }

    async fn reuse(&self, id: TransferId) -> Result<Arc<Row>, Problem> {
        self.row(id)
    }

    async fn watch(&self, id: TransferId) -> Result<Watch, Problem> {
        self.live.watch(id).ok_or_else(|| Problem::no_transfer(id))
    }

    async fn add_peers(&self, id: TransferId, peers: Vec<SocketAddr>) -> Result<Arc<Row>, Problem> {
        self.edit(id, |transfer| transfer.known += peers.len() as u32)
    }

    async fn add(&self, add: Add) -> Result<Arc<Row>, Problem> {
        let name = match &add.source {
            Source::Text(text) => text.clone(),
            Source::Torrent(bytes) => format!("a torrent of {} bytes", bytes.len()),
        };
        let there = self.live.read(|table| {
            let mut rows = table.rows();
            rows.find(|row| row.transfer.name == name)
                .map(|row| row.transfer.id)
        });
        if let Some(id) = there {
            return Err(
                Problem::new(Kind::AlreadyPresent, format!("It is transfer {id}."))
                    .about(format!("/api/v1/transfers/{id}")),
            );
        }
        let id = TransferId(self.next.fetch_add(1, Ordering::Relaxed));
        let mut transfer = Transfer::new(id, name);
        if add.options.paused {
            transfer.state = State::Paused;
        }
        transfer.tags = add.options.tags;
        Ok(self.live.update(|table| table.put(transfer)))
    }

    async fn preview(&self, source: Source) -> Result<Preview, Problem> {
        let torrent = match source {
            Source::Text(text) if text.starts_with("http") => {
                return Err(Problem::new(
                    Kind::Unreachable,
                    format!("{text} did not answer."),
                ));
            }
            Source::Text(_) => 0,
            Source::Torrent(bytes) => bytes.len() as u64,
        };
        Ok(Preview {
            name: Some("bob".into()),
            info_hash_v1: None,
            info_hash_v2: Some(api::Hash([1; 32])),
            size: Some(torrent),
            files: vec![PreviewFile {
                index: 0,
                path: "bob".into(),
                size: torrent,
            }],
            trackers: Vec::new(),
            private: false,
            warnings: Vec::new(),
            already_present: None,
        })
    }

    async fn update(&self, id: TransferId, patch: TransferPatch) -> Result<Arc<Row>, Problem> {
        if let Some(Some(label)) = &patch.label
            && !self
                .labels()
                .await?
                .iter()
                .any(|known| known.name == *label)
        {
            return Err(Problem::new(
                Kind::Conflict,
                format!("There is no label {label}."),
            ));
        }
        self.edit(id, |transfer| patch.apply(transfer))
    }

    async fn pause(&self, id: TransferId) -> Result<Arc<Row>, Problem> {
        self.edit(id, |transfer| transfer.state = State::Paused)
    }

    async fn resume(&self, id: TransferId) -> Result<Arc<Row>, Problem> {
        self.edit(id, |transfer| transfer.state = State::Downloading)
    }

    async fn recheck(&self, id: TransferId) -> Result<Arc<Row>, Problem> {
        self.edit(id, |transfer| transfer.state = State::Checking)
    }

    async fn move_data(&self, id: TransferId, to: Move) -> Result<Arc<Row>, Problem> {
        if to.folder.starts_with("/full") {
            return Err(Problem::new(Kind::NoSpace, "There is no room in /full."));
        }
        self.edit(id, |transfer| transfer.folder = to.folder)
    }

    async fn rename(&self, id: TransferId, rename: Rename) -> Result<Arc<Row>, Problem> {
        self.edit(id, |transfer| {
            transfer.root = format!("{}/{}", transfer.folder, rename.name)
        })
    }

    async fn forget(&self, id: TransferId) -> Result<(), Problem> {
        let removed = self.live.update(|table| table.remove(id));
        removed
            .then_some(())
            .ok_or_else(|| Problem::no_transfer(id))
    }

    async fn delete(&self, id: TransferId) -> Result<Deleted, Problem> {
        self.forget(id).await.map(|()| Deleted::Trashed)
    }

    async fn labels(&self) -> Result<Vec<Label>, Problem> {
        Ok(self.live.read(|table| table.labels().to_vec()))
    }

    async fn add_label(&self, label: Label) -> Result<Label, Problem> {
        self.live.update(|table| {
            let mut labels = table.labels().to_vec();
            if labels.iter().any(|known| known.name == label.name) {
                return Err(Problem::new(
                    Kind::Conflict,
                    format!("{} is there.", label.name),
                ));
            }
            labels.push(label.clone());
            table.set_labels(labels);
            Ok(label)
        })
    }

    async fn update_label(&self, name: String, patch: LabelPatch) -> Result<Label, Problem> {
        self.live.update(|table| {
            let mut labels = table.labels().to_vec();
            let found = labels.iter_mut().find(|label| label.name == name);
            let label = found.ok_or_else(|| Problem::no_label(&name))?;
            patch.apply(label);
            let label = label.clone();
            table.set_labels(labels);
            Ok(label)
        })
    }

    async fn remove_label(&self, name: String) -> Result<(), Problem> {
        self.live.update(|table| {
            let mut labels = table.labels().to_vec();
            let before = labels.len();
            labels.retain(|label| label.name != name);
            if labels.len() == before {
                return Err(Problem::no_label(&name));
            }
            table.set_labels(labels);
            Ok(())
        })
    }

    async fn settings(&self) -> Result<Settings, Problem> {
        Ok(self.live.read(|table| Settings::clone(table.settings())))
    }

    async fn update_settings(&self, patch: SettingsPatch) -> Result<Settings, Problem> {
        Ok(self.live.update(|table| {
            let mut settings = Settings::clone(table.settings());
            patch.apply(&mut settings, &Settings::default());
            table.set_settings(settings.clone());
            settings
        }))
    }

    async fn changes(&self, since: Option<EventId>) -> Result<Changes, Problem> {
        Ok(self.live.changes(since))
    }

    async fn metrics(&self) -> Result<Metrics, Problem> {
        Ok(Metrics {
            version: "1.2.3".into(),
            ..Metrics::default()
        })
    }

    async fn reload(&self) -> Result<(), Problem> {
        Ok(())
    }

    async fn shutdown(&self) -> Result<(), Problem> {
        self.stops.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}
