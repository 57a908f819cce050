//! One transfer as a client follows it: in parts, each sent as a whole once and then as what
//! differs.
//!
//! Both sides have a [`View`]: the daemon's finds what differs from one look to the next
//! ([`View::look`]), the client's puts it in ([`View::apply`]).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::change::Change;
use crate::check::Check;
use crate::detail::{File, Peer, Tracker};
use crate::ids::{TransferId, as_text};
use crate::problem::Problem;
use crate::query::{Cut, Items};
use crate::transfer::Transfer;

/// A part in which a transfer is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ViewPart {
    /// Its row.
    Transfer,
    /// Some of its files, by index.
    Files,
    /// Its connected peers.
    Peers,
    /// Its trackers.
    Trackers,
}

impl ViewPart {
    const ALL: [ViewPart; 4] = [
        ViewPart::Transfer,
        ViewPart::Files,
        ViewPart::Peers,
        ViewPart::Trackers,
    ];

    /// Its name in a query, and at the beginning of its events.
    pub fn name(self) -> &'static str {
        match self {
            ViewPart::Transfer => "transfer",
            ViewPart::Files => "files",
            ViewPart::Peers => "peers",
            ViewPart::Trackers => "trackers",
        }
    }
}

/// Which parts; at least one. As text their names, with commas between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViewParts(BTreeSet<ViewPart>);

impl ViewParts {
    /// These, and the row if there are none.
    pub fn new(parts: impl IntoIterator<Item = ViewPart>) -> ViewParts {
        let mut parts = BTreeSet::from_iter(parts);
        if parts.is_empty() {
            parts.insert(ViewPart::Transfer);
        }
        ViewParts(parts)
    }

    /// Is this one among them?
    pub fn has(&self, part: ViewPart) -> bool {
        self.0.contains(&part)
    }
}

impl Default for ViewParts {
    fn default() -> ViewParts {
        ViewParts::new(ViewPart::ALL)
    }
}

impl fmt::Display for ViewParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, part) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{}", part.name())?;
        }
        Ok(())
    }
}

/// A text that names no part.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("parts contains {0:?}, where transfer, files, peers and trackers are possible")]
pub struct NoPart(String);

impl FromStr for ViewParts {
    type Err = NoPart;

    fn from_str(text: &str) -> Result<ViewParts, NoPart> {
        let named = |name: &str| {
            let mut all = ViewPart::ALL.into_iter();
            all.find(|part| part.name() == name)
                .ok_or_else(|| NoPart(name.chars().take(20).collect()))
        };
        Ok(ViewParts(
            text.split(',').map(named).collect::<Result<_, _>>()?,
        ))
    }
}

as_text!(ViewParts);

/// How a transfer is to be shown: in which parts, and which of its files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ViewQuery {
    /// In which parts.
    pub parts: ViewParts,
    /// How many files to pass over.
    pub offset: u32,
    /// How many files to show.
    pub limit: u32,
}

impl Default for ViewQuery {
    fn default() -> ViewQuery {
        let Cut { offset, limit } = Cut::default();
        ViewQuery {
            parts: ViewParts::default(),
            offset,
            limit,
        }
    }
}

impl ViewQuery {
    /// Which of its files.
    pub fn cut(&self) -> Cut {
        Cut {
            offset: self.offset,
            limit: self.limit,
        }
    }
}

impl Check for ViewQuery {
    fn check(&self) -> Result<(), Problem> {
        self.cut().check()
    }
}

/// What a list is made of and its entries are told apart by.
trait Entry: Clone + PartialEq + Serialize + DeserializeOwned {
    type Key: Ord + Clone;
    type Change;

    fn key(&self) -> Self::Key;

    /// What to say of it that it was not before; `None`: nothing.
    fn change(&self, before: &Self) -> Option<Self::Change>;

    /// Of which entry a change is.
    fn named(change: &Self::Change) -> &Self::Key;

    /// Changes it.
    fn take(&mut self, change: Self::Change) -> serde_json::Result<()>;
}

/// Declares what is said of an entry that differs.
macro_rules! entries {
    ($($(#[$outer:meta])* $change:ident: $entry:ident by $(#[$inner:meta])* $key:ident: $type:ty;)*) => {$(
        $(#[$outer])*
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
        pub struct $change {
            $(#[$inner])*
            pub $key: $type,
            /// The fields that differ.
            #[serde(flatten)]
            pub fields: Map<String, Value>,
        }

        impl Entry for $entry {
            type Key = $type;
            type Change = $change;

            fn key(&self) -> $type {
                self.$key.clone()
            }

            fn change(&self, before: &$entry) -> Option<$change> {
                let fields = differing(before, self);
                (!fields.is_empty()).then(|| $change { $key: self.key(), fields })
            }

            fn named(change: &$change) -> &$type {
                &change.$key
            }

            fn take(&mut self, change: $change) -> serde_json::Result<()> {
                let mut all = object(self);
                all.extend(change.fields);
                *self = serde_json::from_value(Value::Object(all))?;
                Ok(())
            }
        }
    )*};
}

entries! {
    /// Fields of a file that are other than they were.
    FileChange: File by
        /// Of which file.
        index: u32;
    /// Fields of a peer that are other than they were.
    PeerChange: Peer by
        /// Of which peer.
        address: String;
    /// Fields of a tracker that are other than they were.
    TrackerChange: Tracker by
        /// Of which tracker.
        url: String;
}

fn object(value: &impl Serialize) -> Map<String, Value> {
    match serde_json::to_value(value) {
        Ok(Value::Object(fields)) => fields,
        _ => unreachable!("what is shown is an object"),
    }
}

/// The fields of `after` that are not so in `before`.
fn differing<T: Serialize + PartialEq>(before: &T, after: &T) -> Map<String, Value> {
    if before == after {
        return Map::new();
    }
    let before = object(before);
    let differs = |(name, value): &(String, Value)| before.get(name) != Some(value);
    object(after).into_iter().filter(differs).collect()
}

/// Declares [`ViewEvent`] from its list.
macro_rules! view_events {
    ($($(#[$doc:meta])* $name:literal $variant:ident($type:ty),)*) => {
        /// A message about a transfer that is followed. Serialised, it is the message's data.
        #[derive(Clone, Debug, PartialEq, Serialize)]
        #[serde(untagged)]
        pub enum ViewEvent {
            $($(#[$doc])* $variant($type),)*
        }

        impl ViewEvent {
            /// The name under which [`ViewEvent::read`] reads it.
            pub fn name(&self) -> &'static str {
                match self {
                    $(ViewEvent::$variant(_) => $name,)*
                }
            }

            /// Reads a message by its name; `None`: a name that this client does not know.
            ///
            /// # Errors
            /// The data is not what the name promises.
            pub fn read(name: &str, data: &str) -> serde_json::Result<Option<ViewEvent>> {
                Ok(Some(match name {
                    $($name => ViewEvent::$variant(serde_json::from_str(data)?),)*
                    _ => return Ok(None),
                }))
            }
        }
    };
}

view_events! {
    /// Its row.
    "transfer" Transfer(Box<Transfer>),
    /// Fields of its row that differ.
    "transfer-changed" TransferChanged(Vec<Change>),
    /// Its files, of which those that were asked for.
    "files" Files(Items<File>),
    /// Fields of files that differ.
    "files-changed" FilesChanged(Vec<FileChange>),
    /// Its connected peers.
    "peers" Peers(Vec<Peer>),
    /// Peers that came.
    "peers-added" PeersAdded(Vec<Peer>),
    /// Fields of peers that differ. `connected_seconds` is not said while it counts on.
    "peers-changed" PeersChanged(Vec<PeerChange>),
    /// Addresses of peers that went.
    "peers-removed" PeersRemoved(Vec<String>),
    /// Its trackers.
    "trackers" Trackers(Vec<Tracker>),
    /// Fields of trackers that differ.
    "trackers-changed" TrackersChanged(Vec<TrackerChange>),
    /// It is forgotten: nothing more comes.
    "removed" Removed(Vec<TransferId>),
}

/// A transfer as it is shown: parts that were asked for, `None` for the others.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct View {
    /// Its row.
    pub transfer: Option<Box<Transfer>>,
    /// Some of its files.
    pub files: Option<Items<File>>,
    /// Its connected peers.
    pub peers: Option<Vec<Peer>>,
    /// Its trackers.
    pub trackers: Option<Vec<Tracker>>,
}

impl View {
    /// Takes in what is `Some` in a newer look, and says how it differs.
    pub fn look(&mut self, newer: View) -> Vec<ViewEvent> {
        let mut events = Vec::new();
        if let Some(transfer) = newer.transfer {
            events.extend(transfer_event(self.transfer.as_deref(), &transfer));
            self.transfer = Some(transfer);
        }
        if let Some(mut files) = newer.files {
            once(&mut files.items);
            events.extend(files_event(self.files.as_ref(), &files));
            self.files = Some(files);
        }
        if let Some(mut peers) = newer.peers {
            once(&mut peers);
            peers_events(self.peers.as_deref(), &peers, &mut events);
            self.peers = Some(peers);
        }
        if let Some(mut trackers) = newer.trackers {
            once(&mut trackers);
            events.extend(trackers_event(self.trackers.as_deref(), &trackers));
            self.trackers = Some(trackers);
        }
        events
    }

    /// Puts in what was said. What is about an entry that is not there is passed over.
    ///
    /// # Errors
    /// A field has a value that it cannot have.
    pub fn apply(&mut self, event: ViewEvent) -> serde_json::Result<()> {
        match event {
            ViewEvent::Transfer(transfer) => self.transfer = Some(transfer),
            ViewEvent::TransferChanged(changes) => {
                for change in changes {
                    if let Some(transfer) = self.transfer.as_deref_mut() {
                        change.apply(transfer)?;
                    }
                }
            }
            ViewEvent::Files(files) => self.files = Some(files),
            ViewEvent::FilesChanged(changes) => {
                let files = self.files.as_mut().map(|files| &mut files.items);
                alter(files, changes)?;
            }
            ViewEvent::Peers(peers) => self.peers = Some(peers),
            ViewEvent::PeersAdded(new) => self.peers.get_or_insert_default().extend(new),
            ViewEvent::PeersChanged(changes) => alter(self.peers.as_mut(), changes)?,
            ViewEvent::PeersRemoved(gone) => {
                let peers = self.peers.get_or_insert_default();
                peers.retain(|peer| !gone.contains(&peer.address));
            }
            ViewEvent::Trackers(trackers) => self.trackers = Some(trackers),
            ViewEvent::TrackersChanged(changes) => alter(self.trackers.as_mut(), changes)?,
            ViewEvent::Removed(_) => *self = View::default(),
        }
        Ok(())
    }
}

fn alter<T: Entry>(list: Option<&mut Vec<T>>, changes: Vec<T::Change>) -> serde_json::Result<()> {
    let mut entries: BTreeMap<T::Key, &mut T> = list
        .into_iter()
        .flatten()
        .map(|entry| (entry.key(), entry))
        .collect();
    for change in changes {
        if let Some(entry) = entries.get_mut(T::named(&change)) {
            entry.take(change)?;
        }
    }
    Ok(())
}

/// Each entry once: what comes twice under one name could not be told apart later.
fn once<T: Entry>(list: &mut Vec<T>) {
    let mut seen = BTreeSet::new();
    list.retain(|entry| seen.insert(entry.key()));
}

fn transfer_event(before: Option<&Transfer>, after: &Transfer) -> Option<ViewEvent> {
    let Some(before) = before else {
        return Some(ViewEvent::Transfer(Box::new(after.clone())));
    };
    let fields = differing(before, after);
    let change = Change {
        id: after.id,
        fields,
    };
    (!change.fields.is_empty()).then(|| ViewEvent::TransferChanged(vec![change]))
}

fn files_event(before: Option<&Items<File>>, after: &Items<File>) -> Option<ViewEvent> {
    let same = |before: &&Items<File>| before.total == after.total;
    match before.filter(same).map(|before| &before.items) {
        Some(before) if same_entries(before, &after.items) => {
            some(changes(before, &after.items)).map(ViewEvent::FilesChanged)
        }
        _ => Some(ViewEvent::Files(after.clone())),
    }
}

fn trackers_event(before: Option<&[Tracker]>, after: &[Tracker]) -> Option<ViewEvent> {
    match before {
        Some(before) if same_entries(before, after) => {
            some(changes(before, after)).map(ViewEvent::TrackersChanged)
        }
        _ => Some(ViewEvent::Trackers(after.to_vec())),
    }
}

fn peers_events(before: Option<&[Peer]>, after: &[Peer], events: &mut Vec<ViewEvent>) {
    let Some(before) = before else {
        events.push(ViewEvent::Peers(after.to_vec()));
        return;
    };
    let was: BTreeMap<&str, &Peer> = before.iter().map(by_address).collect();
    let is: BTreeMap<&str, &Peer> = after.iter().map(by_address).collect();
    let gone = was.keys().filter(|address| !is.contains_key(*address));
    let gone = gone.map(|address| (*address).to_owned()).collect();
    events.extend(some(gone).map(ViewEvent::PeersRemoved));
    // Time passes for all alike, and a client can count: only a new connection begins again.
    let counted_on = |peer: &Peer| {
        let mut was = (*was.get(peer.address.as_str())?).clone();
        let on = was.connected_seconds..;
        if on.contains(&peer.connected_seconds) {
            was.connected_seconds = peer.connected_seconds;
        }
        Some(was)
    };
    let before: Vec<Peer> = after.iter().filter_map(counted_on).collect();
    events.extend(some(changes(&before, after)).map(ViewEvent::PeersChanged));
    let new = after
        .iter()
        .filter(|peer| !was.contains_key(peer.address.as_str()));
    events.extend(some(new.cloned().collect()).map(ViewEvent::PeersAdded));
}

fn by_address(peer: &Peer) -> (&str, &Peer) {
    (&peer.address, peer)
}

/// The list, if anything is in it.
fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

/// Are they of the same names, in the same order?
fn same_entries<T: Entry>(before: &[T], after: &[T]) -> bool {
    let names = |list: &[T]| list.iter().map(T::key).collect::<Vec<_>>();
    before.len() == after.len() && names(before) == names(after)
}

/// What is to be said of entries that are in both.
fn changes<T: Entry>(before: &[T], after: &[T]) -> Vec<T::Change> {
    let before: BTreeMap<T::Key, &T> = before.iter().map(|entry| (entry.key(), entry)).collect();
    let change = |entry: &T| entry.change(before.get(&entry.key())?);
    after.iter().filter_map(change).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::detail::{PeerClass, TrackerState};

    fn peer(address: &str, received: u64, connected_seconds: u64) -> Peer {
        Peer {
            address: address.into(),
            client: None,
            source: "dht".into(),
            class: PeerClass::Other,
            progress: 0.5,
            rate_down: 0,
            rate_up: 0,
            received,
            sent: 0,
            interested: false,
            choking: true,
            peer_interested: false,
            peer_choking: true,
            snubbed: false,
            encrypted: false,
            incoming: false,
            connected_seconds,
        }
    }

    fn file(index: u32, done: u64) -> File {
        File {
            index,
            path: format!("{index}.bin"),
            size: 100,
            done,
            priority: 4,
            content_url: None,
        }
    }

    fn files(items: Vec<File>) -> View {
        View {
            files: Some(Items {
                total: items.len() as u32,
                offset: 0,
                items,
            }),
            ..View::default()
        }
    }

    fn peers(peers: Vec<Peer>) -> View {
        View {
            peers: Some(peers),
            ..View::default()
        }
    }

    fn trackers(urls: &[(&str, TrackerState)]) -> View {
        let tracker = |(url, state): &(&str, TrackerState)| Tracker {
            url: (*url).into(),
            tier: 0,
            state: *state,
            message: None,
            seeds: None,
            leeches: None,
            peers: 0,
            next_at: None,
        };
        View {
            trackers: Some(urls.iter().map(tracker).collect()),
            ..View::default()
        }
    }

    /// What is said, as it is sent.
    fn said(view: &mut View, newer: View) -> Vec<(&'static str, Value)> {
        let say = |event: &ViewEvent| (event.name(), serde_json::to_value(event).unwrap());
        view.look(newer).iter().map(say).collect()
    }

    #[test]
    fn a_part_is_said_as_a_whole_once_and_then_what_differs() {
        let mut view = View::default();
        assert_eq!(
            said(&mut view, files(vec![file(0, 0), file(1, 0)]))[0].0,
            "files"
        );
        assert_eq!(said(&mut view, files(vec![file(0, 0), file(1, 0)])), []);
        assert_eq!(
            said(&mut view, files(vec![file(0, 0), file(1, 7)])),
            [("files-changed", json!([{"index": 1, "done": 7}]))]
        );
        // Others than before: as when the metadata has come.
        assert_eq!(said(&mut view, files(vec![file(0, 0)]))[0].0, "files");
    }

    #[test]
    fn peers_come_go_and_change() {
        let mut view = View::default();
        let (alice, bob, eve) = ("192.0.2.1:1", "192.0.2.2:1", "192.0.2.3:1");
        said(&mut view, peers(vec![peer(alice, 0, 5), peer(bob, 0, 5)]));
        assert_eq!(
            said(&mut view, peers(vec![peer(bob, 9, 6), peer(eve, 0, 0)])),
            [
                ("peers-removed", json!([alice])),
                ("peers-changed", json!([{"address": bob, "received": 9}])),
                ("peers-added", json!([peer(eve, 0, 0)])),
            ]
        );
    }

    #[test]
    fn time_that_passes_is_not_said_and_a_new_connection_is() {
        let mut view = View::default();
        let alice = "192.0.2.1:1";
        said(&mut view, peers(vec![peer(alice, 0, 5)]));
        assert_eq!(said(&mut view, peers(vec![peer(alice, 0, 50)])), []);
        assert_eq!(
            said(&mut view, peers(vec![peer(alice, 0, 1)])),
            [(
                "peers-changed",
                json!([{"address": alice, "connected_seconds": 1}])
            )]
        );
    }

    #[test]
    fn what_is_named_twice_is_shown_once() {
        let mut view = View::default();
        use TrackerState::{Failed, Idle};
        let whole = said(&mut view, trackers(&[("a", Idle), ("a", Failed)]));
        assert_eq!(whole[0].1.as_array().unwrap().len(), 1);
        assert_eq!(
            said(&mut view, trackers(&[("a", Failed)])),
            [("trackers-changed", json!([{"url": "a", "state": "failed"}]))]
        );
    }

    /// A look that pseudo-random numbers make.
    fn any_look(mut seed: u64) -> View {
        let mut draw = |below: u64| {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % below
        };
        let count = 1 + draw(3);
        let some_files = (0..count).map(|index| file(index as u32, draw(3)));
        let files = files(some_files.collect()).files;
        let mut shown = Vec::new();
        for port in 1..6 {
            if draw(2) == 0 {
                shown.push(peer(&format!("192.0.2.1:{port}"), draw(3), draw(3)));
            }
        }
        let states = [TrackerState::Idle, TrackerState::Working];
        let trackers = trackers(&[
            ("a", states[draw(2) as usize]),
            (["b", "c"][draw(2) as usize], TrackerState::Idle),
        ])
        .trackers;
        let mut transfer = Transfer::new(TransferId(1), "alice");
        transfer.done = draw(3);
        transfer.label = (draw(2) == 0).then(|| "films".to_owned());
        View {
            transfer: Some(Box::new(transfer)),
            files,
            peers: Some(shown),
            trackers,
        }
    }

    #[test]
    fn a_client_ends_with_what_the_daemon_saw() {
        let (mut ours, mut theirs) = (View::default(), View::default());
        for seed in 0..500 {
            for event in ours.look(any_look(seed)) {
                let data = serde_json::to_string(&event).unwrap();
                let read = ViewEvent::read(event.name(), &data).unwrap().unwrap();
                assert_eq!(read, event);
                theirs.apply(read).unwrap();
            }
            // Clients count seconds themselves, and sort as they like.
            let tidy = |view: &View| {
                let mut view = view.clone();
                let peers = view.peers.as_mut().unwrap();
                peers.iter_mut().for_each(|peer| peer.connected_seconds = 0);
                peers.sort_by(|a, b| a.address.cmp(&b.address));
                view
            };
            assert_eq!(tidy(&theirs), tidy(&ours), "seed {seed}");
        }
    }

    #[test]
    fn parts_are_read_as_they_are_written() {
        let parts: ViewParts = "peers,files,peers".parse().unwrap();
        assert_eq!(parts.to_string(), "files,peers");
        assert!(parts.has(ViewPart::Peers) && !parts.has(ViewPart::Transfer));
        for wrong in ["", "peers,", "pears", "peers, files"] {
            assert!(wrong.parse::<ViewParts>().is_err(), "{wrong}");
        }
        assert_eq!(
            ViewParts::default().to_string(),
            "transfer,files,peers,trackers"
        );
    }
}
