//! What can be asked of a daemon and what it answers: types with their JSON names, the [`Service`]
//! a daemon is, the [`Table`] its answers come from, and a client.
//!
//! Requests are checked here, so that whoever implements [`Service`] is given values in range.
//! JSON names are `snake_case`, values of enums `kebab-case`; sizes are bytes, rates bytes a
//! second, times seconds since 1970.
//!
//! Not here: HTTP (`gateway::http`), and what a daemon does with a request (`node`).

mod add;
mod bulk;
mod change;
mod check;
pub mod client;
mod content;
mod detail;
mod ids;
mod label;
mod live;
mod overrides;
mod problem;
mod query;
mod service;
mod settings;
mod status;
mod table;
mod transfer;
mod view;
mod watch;

pub use add::{
    Add, AddBody, AddOptions, Deleted, FilePriority, Fingerprint, MorePeers, Move, Preview,
    PreviewBody, PreviewFile, Removed, Rename, Source, TransferPatch, WebSeedChange,
};
pub use bulk::{Bulk, BulkAnswer, BulkResult, Filter, Verb, Which};
pub use change::{Change, Event, Moment, Notice, Snapshot};
pub use check::Check;
pub use content::{ChunkSender, Chunks, Content, ContentFile, ContentListing, MAX_CHUNK};
pub use detail::{
    Carrier, ConnectedBy, Cover, FailedFor, File, KnownFrom, Peer, PeerClass, Reach, Reusable,
    ReusableFrom, Road, Tracker, TrackerState, Unreached, WebSeed, WebSeedState,
};
pub use ids::{EventId, Hash, RunId, TransferId};
pub use label::{Label, LabelPatch};
pub use live::{Changes, Live, Part};
pub use problem::{Kind, Problem};
pub use query::{Cut, Items, MAX_CUT, MAX_PAGE, Order, Page, Query, Sort};
pub use service::Service;
pub use settings::{
    Battery, BatteryAction, ClockTime, Connections, Day, DiskReserve, Goals, Limits, Metered,
    MeteredAction, Queue, Settings, SettingsPatch, WatchFolder, Window,
};
pub use status::{
    Blocking, Dht, LoginLink, Metrics, Network, Port, PortIs, Session, SessionBody, Status, Totals,
};
pub use table::{Row, Table};
pub use transfer::{Cause, Progress, State, Transfer};
pub use view::{
    FileChange, PeerChange, TrackerChange, View, ViewEvent, ViewPart, ViewParts, ViewQuery,
};
pub use watch::{Sight, Watch};
