//! What is asked of a daemon, answered. What changes something is in the files beside it, and is done [`whole`].

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};
use std::time::UNIX_EPOCH;

use api::{
    Add, Changes, Cut, Deleted, EventId, File, Items, Kind, Label, LabelPatch, Metrics, Move, Page,
    Peer, Preview, Problem, Query, Reach, Rename, Reusable, Row, Service, Settings, SettingsPatch,
    Source, Status, Tracker, TransferId, TransferPatch, Watch, WebSeed, WebSeedChange,
};
use swarm::TorrentId;

use super::Daemon;

/// Does all of it, even if whoever asked hangs up half-way.
async fn whole<T: Send + 'static>(
    work: impl Future<Output = Result<T, Problem>> + Send + 'static,
) -> Result<T, Problem> {
    let done = tokio::spawn(work).await;
    done.unwrap_or_else(|error| Err(Problem::new(Kind::Internal, error.to_string())))
}

impl Service for Daemon {
    async fn status(&self) -> Result<Status, Problem> {
        let shared = &self.shared;
        let network = shared.node.call(|driver| driver.network());
        let network = network.await.map_err(|_| Problem::stopping())?;
        let started_at = shared.started.duration_since(UNIX_EPOCH);
        Ok(Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            run: shared.run,
            pid: std::process::id(),
            home: shared.home.to_string_lossy().into_owned(),
            started_at: started_at.map_or(0, |since| since.as_secs()),
            uptime_seconds: shared.since.elapsed().as_secs(),
            listening: vec![shared.node.listening().to_string()],
            api: shared.api.clone(),
            content: shared.content.clone(),
            totals: shared.live.read(|table| (**table.totals()).clone()),
            network,
            warnings: shared
                .warnings
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone(),
        })
    }

    async fn list(&self, query: Query) -> Result<Page, Problem> {
        Ok(self.shared.live.read(|table| table.list(&query)))
    }

    async fn get(&self, id: TransferId) -> Result<Arc<Row>, Problem> {
        self.row(id.0)
    }

    async fn files(&self, id: TransferId, cut: Cut) -> Result<Items<File>, Problem> {
        self.row(id.0)?;
        let files = self
            .shared
            .node
            .call(move |driver| driver.files(TorrentId(id.0), cut));
        let mut shown = files.await.map_err(|_| Problem::stopping())?;
        for file in &mut shown.items {
            file.content_url = self.content_url(id.0, &file.path);
        }
        Ok(shown)
    }

    async fn peers(&self, id: TransferId) -> Result<Vec<Peer>, Problem> {
        self.row(id.0)?;
        let peers = self
            .shared
            .node
            .call(move |driver| driver.peers(TorrentId(id.0)));
        peers.await.map_err(|_| Problem::stopping())
    }

    async fn reach(&self, id: TransferId) -> Result<Reach, Problem> {
        self.row(id.0)?;
        let reach = self
            .shared
            .node
            .call(move |driver| driver.reach(TorrentId(id.0)));
        reach.await.map_err(|_| Problem::stopping())
    }

    async fn trackers(&self, id: TransferId) -> Result<Vec<Tracker>, Problem> {
        let tiers = self.edit(id.0, |entry| entry.record.rare.trackers.clone())?;
        let trackers = self
            .shared
            .node
            .call(move |driver| driver.tracker_states(TorrentId(id.0), &tiers));
        trackers.await.map_err(|_| Problem::stopping())
    }

    async fn web_seeds(&self, id: TransferId) -> Result<Vec<WebSeed>, Problem> {
        self.row(id.0)?;
        let node = &self.shared.node;
        let seeds = node.call(move |driver| driver.web_seed_states(TorrentId(id.0)));
        seeds.await.map_err(|_| Problem::stopping())
    }

    async fn change_web_seeds(
        &self,
        id: TransferId,
        change: WebSeedChange,
    ) -> Result<Vec<WebSeed>, Problem> {
        self.row(id.0)?;
        let changed = self.shared.node.call(move |driver| {
            let id = TorrentId(id.0);
            for url in &change.remove {
                driver.remove_web_seed(id, url)?;
            }
            driver.add_web_seeds(id, change.add)?;
            Ok::<_, String>(driver.web_seed_states(id))
        });
        let changed = changed.await.map_err(|_| Problem::stopping())?;
        changed.map_err(|why| super::adding::refusal(crate::Problem::other(&why)))
    }

    async fn reusable(&self, id: TransferId) -> Result<Reusable, Problem> {
        self.what_is_here(id.0).await
    }

    async fn reuse(&self, id: TransferId) -> Result<Arc<Row>, Problem> {
        whole(self.clone().take_over(id.0)).await
    }

    async fn watch(&self, id: TransferId) -> Result<Watch, Problem> {
        let watch = self.shared.live.watch(id);
        watch.ok_or_else(|| Problem::no_transfer(id))
    }

    async fn add_peers(&self, id: TransferId, peers: Vec<SocketAddr>) -> Result<Arc<Row>, Problem> {
        whole(self.clone().try_peers(id.0, peers)).await
    }

    async fn add(&self, add: Add) -> Result<Arc<Row>, Problem> {
        whole(self.clone().add_new(add)).await
    }

    async fn preview(&self, source: Source) -> Result<Preview, Problem> {
        self.look_at(source).await
    }

    async fn update(&self, id: TransferId, patch: TransferPatch) -> Result<Arc<Row>, Problem> {
        whole(self.clone().change(id.0, patch)).await
    }

    async fn pause(&self, id: TransferId) -> Result<Arc<Row>, Problem> {
        whole(self.clone().set_paused(id.0, true)).await
    }

    async fn resume(&self, id: TransferId) -> Result<Arc<Row>, Problem> {
        whole(self.clone().set_paused(id.0, false)).await
    }

    async fn recheck(&self, id: TransferId) -> Result<Arc<Row>, Problem> {
        whole(self.clone().check(id.0)).await
    }

    async fn move_data(&self, id: TransferId, to: Move) -> Result<Arc<Row>, Problem> {
        whole(self.clone().move_into(id.0, to)).await
    }

    async fn rename(&self, id: TransferId, rename: Rename) -> Result<Arc<Row>, Problem> {
        whole(self.clone().call(id.0, rename)).await
    }

    async fn forget(&self, id: TransferId) -> Result<(), Problem> {
        whole(self.clone().leave(id.0)).await
    }

    async fn delete(&self, id: TransferId) -> Result<Deleted, Problem> {
        whole(self.clone().erase(id.0)).await
    }

    async fn labels(&self) -> Result<Vec<Label>, Problem> {
        Ok(self.shared.live.read(|table| table.labels().to_vec()))
    }

    async fn add_label(&self, label: Label) -> Result<Label, Problem> {
        whole(self.clone().make_label(label)).await
    }

    async fn update_label(&self, name: String, patch: LabelPatch) -> Result<Label, Problem> {
        whole(self.clone().change_label(name, patch)).await
    }

    async fn remove_label(&self, name: String) -> Result<(), Problem> {
        whole(self.clone().drop_label(name)).await
    }

    async fn settings(&self) -> Result<Settings, Problem> {
        Ok(self.shared.live.read(|table| (**table.settings()).clone()))
    }

    async fn update_settings(&self, patch: SettingsPatch) -> Result<Settings, Problem> {
        whole(self.clone().change_settings(patch)).await
    }

    async fn changes(&self, since: Option<EventId>) -> Result<Changes, Problem> {
        Ok(self.shared.live.changes(since))
    }

    async fn metrics(&self) -> Result<Metrics, Problem> {
        let shared = &self.shared;
        let usage = super::surroundings::usage();
        let (totals, dormant) = shared.live.read(|table| {
            let dormant = table.rows().filter(|row| row.transfer.dormant).count();
            ((**table.totals()).clone(), dormant as u32)
        });
        let started_at = shared.started.duration_since(UNIX_EPOCH);
        Ok(Metrics {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            totals,
            started_at: started_at.map_or(0, |since| since.as_secs()),
            cpu_seconds: usage.cpu_seconds,
            resident_bytes: usage.resident_bytes,
            open_files: usage.open_files,
            max_open_files: usage.max_open_files,
            dormant,
        })
    }

    async fn reload(&self) -> Result<(), Problem> {
        self.read_again().await
    }

    async fn shutdown(&self) -> Result<(), Problem> {
        self.stop();
        Ok(())
    }
}

impl Daemon {
    /// Where a file can be read over HTTP.
    fn content_url(&self, id: u32, path: &str) -> Option<String> {
        let base = self.shared.content.as_deref()?;
        super::content::url(base, &self.content_key(id), path)
    }
}
