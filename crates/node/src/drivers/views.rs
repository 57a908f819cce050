//! What is shown of one transfer when it is opened: files, peers, trackers. And metadata that a person wants to look at
//! before anything is fetched.

use std::cell::Cell;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use api::{
    ConnectedBy, Cut, FailedFor, File, Items, KnownFrom, Peer, PeerClass, Reach, Tracker,
    TrackerState, Unreached,
};
use swarm::{Class, TorrentId};
use tokio::sync::oneshot;
use torrent::metainfo::Info;

use super::{Driver, words};
use crate::{Options, Place, Problem, Source};

thread_local! {
    /// Numbers of those that are only looked at, from the end: the others count from the beginning.
    static NEXT_PEEK: Cell<u32> = const { Cell::new(u32::MAX) };
}

impl Driver {
    /// The info dictionary, from the disk if the transfer is dormant.
    pub fn info(&self, id: TorrentId) -> Option<Info> {
        let awake = self.transfers.borrow().get(&id).map(|t| t.info.clone());
        match awake {
            Some(info) => info.map(|info| (*info).clone()),
            None => {
                let hashes = self.dormant.borrow().get(id).map(|d| d.hashes)?;
                self.keep
                    .load_torrent(&hashes)
                    .map(|metainfo| metainfo.info)
            }
        }
    }

    /// How many files the torrent has, pads counted; 0 until the metadata is here.
    pub fn file_count(&self, id: TorrentId) -> usize {
        self.info(id).map_or(0, |info| info.files().len())
    }

    /// Some of the files, pads not counted; none until the metadata is here. Costs what is shown, and a glance at each
    /// that is not.
    pub fn files(&self, id: TorrentId, cut: Cut) -> Items<File> {
        let Some(info) = self.info(id) else {
            return Items::cut([].into_iter(), cut);
        };
        let layout = info.layout();
        let priorities = match self.transfers.borrow().get(&id) {
            Some(t) => t.priorities(&info),
            None => self
                .dormant
                .borrow()
                .get(id)
                .and_then(|d| Some(d.chosen.as_ref()?.priorities.clone()))
                .unwrap_or_default(),
        };
        let priority = |file: usize| priorities.get(file).copied().unwrap_or(4);
        let session = self.session.borrow();
        let real: Vec<usize> = (0..layout.files())
            .filter(|&index| !layout.file(index).pad)
            .collect();
        let shown = Items::cut(real.into_iter(), cut);
        let file = |index: usize| File {
            index: index as u32,
            path: info.file(index).path().to_owned(),
            size: layout.file(index).len,
            done: match session.file_done(id, index) {
                Some(done) => done,
                // A dormant transfer has all that is wanted.
                None if priority(index) > 0 => layout.file(index).len,
                None => 0,
            },
            priority: priority(index),
            content_url: None,
        };
        Items {
            total: shown.total,
            offset: shown.offset,
            items: shown.items.into_iter().map(file).collect(),
        }
    }

    /// The connected peers.
    pub fn peers(&self, id: TorrentId) -> Vec<Peer> {
        let now = Instant::now();
        let session = self.session.borrow();
        let pieces = session.status(now, id).map_or(0, |status| status.pieces);
        let shown = session.peer_status(now, id).into_iter().map(|peer| Peer {
            words: words::peer(&peer),
            address: peer.addr.to_string(),
            client: peer.client,
            source: source(peer.source).to_owned(),
            class: match peer.class {
                Class::Lan => PeerClass::Lan,
                Class::Other => PeerClass::Other,
            },
            progress: f64::from(peer.pieces) / f64::from(pieces.max(1)),
            rate_down: peer.rate_down,
            rate_up: peer.rate_up,
            received: peer.received,
            sent: peer.sent,
            interested: peer.interested,
            choking: peer.choked,
            peer_interested: peer.interested_in_us,
            peer_choking: peer.chokes_us,
            snubbed: peer.snubs_us,
            road: road(peer.road),
            encrypted: peer.road.cover == swarm::Cover::Rc4,
            incoming: !peer.outgoing,
            connected_seconds: peer.connected.as_secs(),
        });
        shown.collect()
    }

    /// How far its peers are reached.
    pub fn reach(&self, id: TorrentId) -> Reach {
        let found = self.session.borrow().reach(id).unwrap_or_default();
        let known = found.known.into_iter().map(|(from, addresses)| KnownFrom {
            source: source(from).to_owned(),
            addresses,
        });
        let failed = found
            .failures
            .into_iter()
            .map(|(why, addresses)| FailedFor {
                reason: unreached(why),
                addresses,
            });
        let connected = found.connected.into_iter();
        let connected = connected.map(|((by, outgoing), peers)| ConnectedBy {
            road: road(by),
            incoming: !outgoing,
            peers,
        });
        Reach {
            known: known.collect(),
            tried: found.tried,
            reached: found.reached,
            failed: failed.collect(),
            connected: connected.collect(),
        }
    }

    /// How its trackers are, in the order of their tiers.
    ///
    /// Those of a transfer that does not announce are asked how many take part in it, now and then.
    pub fn tracker_states(self: &Rc<Self>, id: TorrentId, tiers: &[Vec<String>]) -> Vec<Tracker> {
        let followings = self.followings.borrow();
        let following = followings.get(&id);
        let mut shown = Vec::new();
        for (tier, urls) in (0..).zip(tiers) {
            for url in urls {
                let heard = following.and_then(|following| following.heard_from(url));
                let counts = self.counts(id, url, following.is_none());
                let (asking, next) = following.map_or((false, None), |f| f.asks(url));
                let state = match &heard {
                    _ if asking => TrackerState::Announcing,
                    Some(heard) if heard.works => TrackerState::Working,
                    Some(_) => TrackerState::Failed,
                    None => TrackerState::Idle,
                };
                shown.push(Tracker {
                    url: url.clone(),
                    tier,
                    state,
                    words: words::tracker(
                        state,
                        following.is_some(),
                        heard.as_ref(),
                        next.is_some(),
                    ),
                    message: heard.as_ref().and_then(|heard| heard.message.clone()),
                    seeds: heard
                        .as_ref()
                        .and_then(|heard| heard.seeds)
                        .or(counts.map(|counts| counts.complete)),
                    leeches: heard
                        .as_ref()
                        .and_then(|heard| heard.leeches)
                        .or(counts.map(|counts| counts.incomplete)),
                    peers: heard.as_ref().map_or(0, |heard| heard.peers),
                    next_at: next.map(words::unix_time),
                });
            }
        }
        shown
    }

    /// Asks peers for a torrent's metadata, and for nothing else. Whoever waits no longer ends it.
    ///
    /// # Errors
    /// It is there as a transfer.
    pub async fn peek(self: Rc<Self>, source: Source) -> Result<Arc<Info>, Problem> {
        let id = NEXT_PEEK.with(|next| TorrentId(next.replace(next.get() - 1)));
        let (sender, answer) = oneshot::channel();
        let options = Options::new(Place::Into(PathBuf::new()));
        self.peeks.borrow_mut().insert(id, sender);
        let leave = Leave {
            driver: self.clone(),
            id,
        };
        if let Err(error) = self.add(id, source, options) {
            return Err(Problem::other(&error.to_string()));
        }
        let info = answer.await;
        drop(leave);
        info.map_err(|_| Problem::other("it was added meanwhile"))
    }

    /// Somebody adds what is being looked at: the look ends.
    pub async fn end_peek(self: &Rc<Self>, source: &Source) {
        let hashes = source.hashes();
        let peek = self
            .find(&hashes)
            .filter(|id| self.peeks.borrow().contains_key(id));
        if let Some(id) = peek {
            self.peeks.borrow_mut().remove(&id);
            self.clone().leave(id, false).await;
        }
    }
}

fn source(source: swarm::Source) -> &'static str {
    match source {
        swarm::Source::Direct => "given",
        swarm::Source::Tracker => "tracker",
        swarm::Source::Dht => "dht",
        swarm::Source::Exchange => "pex",
        swarm::Source::Local => "lsd",
        swarm::Source::Incoming => "incoming",
    }
}

fn road(road: swarm::Road) -> api::Road {
    api::Road {
        carrier: match road.carrier {
            swarm::Carrier::Tcp => api::Carrier::Tcp,
            swarm::Carrier::Utp => api::Carrier::Utp,
        },
        cover: match road.cover {
            swarm::Cover::Plain => api::Cover::Plain,
            swarm::Cover::Handshake => api::Cover::Handshake,
            swarm::Cover::Rc4 => api::Cover::Rc4,
        },
        punched: road.punched,
    }
}

fn unreached(why: swarm::Failure) -> Unreached {
    match why {
        swarm::Failure::Refused => Unreached::Refused,
        swarm::Failure::TimedOut => Unreached::NoAnswer,
        swarm::Failure::Unreachable => Unreached::NoWay,
        swarm::Failure::NoEncryption => Unreached::NoEncryption,
        swarm::Failure::Closed => Unreached::Closed,
        swarm::Failure::Silent => Unreached::Silent,
        swarm::Failure::Stranger => Unreached::Stranger,
        swarm::Failure::Here => Unreached::Here,
    }
}

/// Leaves what was looked at, however the look ends.
struct Leave {
    driver: Rc<Driver>,
    id: TorrentId,
}

impl Drop for Leave {
    fn drop(&mut self) {
        self.driver.peeks.borrow_mut().remove(&self.id);
        tokio::task::spawn_local(self.driver.clone().leave(self.id, false));
    }
}
