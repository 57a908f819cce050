//! What a daemon does for whoever may ask it. `node` implements it; `gateway` translates to it.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::add::{Add, Deleted, Move, Preview, Rename, Source, TransferPatch, WebSeedChange};
use crate::detail::{File, Peer, Reach, Reusable, Tracker, WebSeed};
use crate::ids::{EventId, TransferId};
use crate::label::{Label, LabelPatch};
use crate::live::Changes;
use crate::problem::Problem;
use crate::query::{Cut, Items, Page, Query};
use crate::settings::{Settings, SettingsPatch};
use crate::status::{Metrics, Status};
use crate::table::Row;
use crate::watch::Watch;

/// A daemon, to those who may command it.
///
/// Arguments were [checked](crate::Check); numbers of transfers and names of labels may be of none
/// ([`Kind::NotFound`](crate::Kind::NotFound)). What an answer says has been kept: it is true after
/// a crash. A row that is returned shows what was asked.
pub trait Service: Send + Sync + 'static {
    /// The daemon at a glance.
    fn status(&self) -> impl Future<Output = Result<Status, Problem>> + Send;

    /// A page of the table.
    fn list(&self, query: Query) -> impl Future<Output = Result<Page, Problem>> + Send;

    /// One row of the table.
    fn get(&self, id: TransferId) -> impl Future<Output = Result<Arc<Row>, Problem>> + Send;

    /// Some of its files, by index; none until the metadata is here.
    fn files(
        &self,
        id: TransferId,
        cut: Cut,
    ) -> impl Future<Output = Result<Items<File>, Problem>> + Send;

    /// Its connected peers.
    fn peers(&self, id: TransferId) -> impl Future<Output = Result<Vec<Peer>, Problem>> + Send;

    /// How far its peers are reached; nothing is known of one that does not run.
    fn reach(&self, id: TransferId) -> impl Future<Output = Result<Reach, Problem>> + Send;

    /// Its trackers.
    fn trackers(
        &self,
        id: TransferId,
    ) -> impl Future<Output = Result<Vec<Tracker>, Problem>> + Send;

    /// Its web seeds.
    fn web_seeds(
        &self,
        id: TransferId,
    ) -> impl Future<Output = Result<Vec<WebSeed>, Problem>> + Send;

    /// Asks other servers for it.
    fn change_web_seeds(
        &self,
        id: TransferId,
        change: WebSeedChange,
    ) -> impl Future<Output = Result<Vec<WebSeed>, Problem>> + Send;

    /// What other transfers have of its files.
    fn reusable(&self, id: TransferId) -> impl Future<Output = Result<Reusable, Problem>> + Send;

    /// Copies what other transfers have of its files, and checks it.
    fn reuse(&self, id: TransferId) -> impl Future<Output = Result<Arc<Row>, Problem>> + Send;

    /// Watches it.
    fn watch(&self, id: TransferId) -> impl Future<Output = Result<Watch, Problem>> + Send;

    /// Tries these addresses for it. A private one (BEP 27) and one that does not run are a
    /// [`Kind::Conflict`](crate::Kind::Conflict).
    fn add_peers(
        &self,
        id: TransferId,
        peers: Vec<SocketAddr>,
    ) -> impl Future<Output = Result<Arc<Row>, Problem>> + Send;

    /// Adds a transfer. One that is there already is
    /// [`Kind::AlreadyPresent`](crate::Kind::AlreadyPresent), about its path.
    fn add(&self, add: Add) -> impl Future<Output = Result<Arc<Row>, Problem>> + Send;

    /// What adding it would add. Nothing is written.
    fn preview(&self, source: Source) -> impl Future<Output = Result<Preview, Problem>> + Send;

    /// Changes name, label, limits, goals, priorities, order, queue position.
    fn update(
        &self,
        id: TransferId,
        patch: TransferPatch,
    ) -> impl Future<Output = Result<Arc<Row>, Problem>> + Send;

    /// Pauses it, until a person resumes it. One that is paused stays so.
    fn pause(&self, id: TransferId) -> impl Future<Output = Result<Arc<Row>, Problem>> + Send;

    /// Takes a person's pause away, and looks again at what stopped it.
    fn resume(&self, id: TransferId) -> impl Future<Output = Result<Arc<Row>, Problem>> + Send;

    /// Hashes its data again.
    fn recheck(&self, id: TransferId) -> impl Future<Output = Result<Arc<Row>, Problem>> + Send;

    /// Moves its data; answers once it is begun, the row shows when it is done.
    fn move_data(
        &self,
        id: TransferId,
        to: Move,
    ) -> impl Future<Output = Result<Arc<Row>, Problem>> + Send;

    /// Renames its root, or a file or folder in it, on disk.
    fn rename(
        &self,
        id: TransferId,
        rename: Rename,
    ) -> impl Future<Output = Result<Arc<Row>, Problem>> + Send;

    /// Forgets the transfer; its files stay.
    fn forget(&self, id: TransferId) -> impl Future<Output = Result<(), Problem>> + Send;

    /// Forgets the transfer and deletes its files: to the trash where there is one.
    fn delete(&self, id: TransferId) -> impl Future<Output = Result<Deleted, Problem>> + Send;

    /// All labels, by name.
    fn labels(&self) -> impl Future<Output = Result<Vec<Label>, Problem>> + Send;

    /// Makes a label; a name that is taken is a [`Kind::Conflict`](crate::Kind::Conflict).
    fn add_label(&self, label: Label) -> impl Future<Output = Result<Label, Problem>> + Send;

    /// Changes a label; its transfers follow.
    fn update_label(
        &self,
        name: String,
        patch: LabelPatch,
    ) -> impl Future<Output = Result<Label, Problem>> + Send;

    /// Removes a label; its transfers have none then.
    fn remove_label(&self, name: String) -> impl Future<Output = Result<(), Problem>> + Send;

    /// The settings.
    fn settings(&self) -> impl Future<Output = Result<Settings, Problem>> + Send;

    /// Changes settings; they are in effect when this answers.
    fn update_settings(
        &self,
        patch: SettingsPatch,
    ) -> impl Future<Output = Result<Settings, Problem>> + Send;

    /// What changes from now on: first what differs from `since`, or everything.
    fn changes(
        &self,
        since: Option<EventId>,
    ) -> impl Future<Output = Result<Changes, Problem>> + Send;

    /// What the daemon measures of itself.
    fn metrics(&self) -> impl Future<Output = Result<Metrics, Problem>> + Send;

    /// Reads the configuration again.
    fn reload(&self) -> impl Future<Output = Result<(), Problem>> + Send;

    /// Stops the daemon, soon after this answers.
    fn shutdown(&self) -> impl Future<Output = Result<(), Problem>> + Send;
}
