//! A node inside this command, as a host of transfers.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use node::{AddError, Config, Event, Node, Options, Source, StartError, TorrentId};
use torrent::metainfo::Info;

use super::host::{Doing, Facts, Happening, Host, Key, Look, failure_of, twice};
use crate::exit::{Exit, Failure, sentence};

/// Events taken in one go.
const BATCH: usize = 255;

/// A node, and what its transfers are made of.
pub struct Inside {
    node: Node,
    events: Receiver<Event>,
    infos: BTreeMap<Key, Option<Arc<Info>>>,
}

impl Inside {
    /// Starts a node.
    pub fn start(config: Config) -> Result<Inside, Failure> {
        let mut node = Node::start(config).map_err(refused)?;
        let events = node
            .events()
            .expect("nobody has taken the events of a new node");
        Ok(Inside {
            node,
            events,
            infos: BTreeMap::new(),
        })
    }

    /// An event in the words of a host.
    fn happening(&mut self, event: Event) -> Option<(Key, Happening)> {
        Some(match event {
            Event::Metadata(id, info) => {
                let facts = Facts::of(&info);
                self.infos.insert(id.0, Some(info));
                (id.0, Happening::Learnt(facts))
            }
            Event::Checked(id, have, of) => (id.0, Happening::Checked(have, of)),
            Event::FileFinished(id, index) => {
                let info = self.infos.get(&id.0)?.as_ref()?;
                let file = info.file(index);
                if file.pad {
                    return None;
                }
                (id.0, Happening::File(file.path().to_owned(), file.len))
            }
            Event::Finished(id) => (id.0, Happening::Finished),
            Event::Paused(id, problem) => (id.0, Happening::Paused(failure_of(&problem))),
            Event::Resumed(id) => (id.0, Happening::Resumed),
            Event::Failed(id, problem) => (id.0, Happening::Failed(failure_of(&problem))),
            Event::Notice(id, text) => (id.0, Happening::Notice(text)),
            // Only daemons ask for reports.
            Event::Report(_) | Event::DhtNodes(_) => return None,
        })
    }
}

impl Host for Inside {
    fn listening(&self) -> Option<SocketAddr> {
        Some(self.node.listening())
    }

    fn add(&mut self, source: Source, options: Options) -> Result<Key, Failure> {
        let added = self.node.add(source, options);
        let id = added.map_err(|error| match error {
            AddError::Place(problem) => failure_of(&problem),
            AddError::Twice(name) => twice(&name),
            AddError::Nameless => Failure::usage(sentence(&error.to_string())),
            AddError::Stopped => Failure::new(Exit::Other, "The node has stopped. Try again."),
        })?;
        self.infos.entry(id.0).or_default();
        Ok(id.0)
    }

    fn next(&mut self, within: Duration) -> Result<Vec<(Key, Happening)>, Failure> {
        match self.events.recv_timeout(within) {
            Ok(event) => {
                let more: Vec<Event> = self.events.try_iter().take(BATCH).collect();
                let events = std::iter::once(event).chain(more);
                Ok(events.filter_map(|event| self.happening(event)).collect())
            }
            Err(RecvTimeoutError::Timeout) => Ok(Vec::new()),
            Err(RecvTimeoutError::Disconnected) => Err(Failure::new(
                Exit::Other,
                "The node has ended by itself. What was fetched is kept; try again.",
            )),
        }
    }

    fn look(&self, key: Key) -> Option<Look> {
        let status = self.node.status(TorrentId(key))?;
        let swarm = status.swarm;
        Some(Look {
            doing: match swarm.state {
                _ if status.checking.is_some() => Doing::Checking,
                swarm::State::Metadata => Doing::Metadata,
                swarm::State::Checking => Doing::Checking,
                swarm::State::Downloading => Doing::Downloading,
                swarm::State::Seeding => Doing::Seeding,
                swarm::State::Paused(_) => Doing::Paused,
            },
            done: swarm.done,
            wanted: swarm.wanted,
            rate_down: swarm.rate_down,
            rate_up: swarm.rate_up,
            received: swarm.received,
            wasted: swarm.wasted,
            sent: swarm.sent,
            peers: swarm.peers,
            seeds: swarm.seeds,
            known: swarm.known,
            eta: status.eta,
            checking: status.checking,
            finding: status.finding,
        })
    }

    /// It ends with the command.
    fn discard(&mut self, _: Key) {}

    fn stop(self: Box<Self>) -> u64 {
        let looks = self.infos.keys().filter_map(|&key| self.look(key));
        let sent = looks.map(|look| look.sent).sum();
        self.node.stop();
        sent
    }
}

/// Why there is no node.
pub fn refused(error: StartError) -> Failure {
    let exit = match &error {
        StartError::NoProxy => Exit::Usage,
        StartError::Listen { source, .. }
        | StartError::State { source, .. }
        | StartError::System(source) => match source.kind() {
            std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
                Exit::Permission
            }
            std::io::ErrorKind::StorageFull => Exit::NoSpace,
            _ => Exit::Other,
        },
    };
    Failure::new(exit, sentence(&error.to_string()))
}
