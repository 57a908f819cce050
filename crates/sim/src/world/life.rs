//! Nodes come, take part, stop, lose power, and come back.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use swarm::{Add, Config, Input, Session, TorrentId};

use torrent::metainfo::PieceLayers;

use super::{Event, World};
use crate::content::Content;
use crate::disk::{Disk, LightDisk};
use crate::eve::Eve;
use crate::node::{Brain, Downlink, How, Node, NodeId, PORT, Share, Spec, Uplink};
use crate::store::RealStore;

/// First names, for the trace.
const NAMES: [&str; 8] = [
    "alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi",
];

impl World {
    /// A computer that runs an engine.
    pub fn add(&mut self, spec: Spec) -> NodeId {
        let id = self.place(spec, None);
        self.start(id);
        id
    }

    /// A computer of somebody who plays by no rules.
    pub fn add_eve(&mut self, spec: Spec, eve: Eve) -> NodeId {
        let id = self.place(spec, Some("eve"));
        let node = &mut self.nodes[id.0];
        node.brain = Brain::Eve(eve);
        self.at(self.now, Some(id), Event::EveActs);
        id
    }

    fn place(&mut self, spec: Spec, name: Option<&str>) -> NodeId {
        let id = NodeId(self.nodes.len());
        // Far apart, as people are: much of the protocol treats neighbours alike, and trusts them more.
        let host = (id.0 as u32 + 1).wrapping_mul(0x9e_3779) & 0xff_ffff;
        let net = if spec.near { 0x0a00_0000 } else { 0x0500_0000 };
        let ip = Ipv4Addr::from(net | host);
        let addr = SocketAddr::new(IpAddr::V4(ip), PORT);
        self.by_addr.insert(addr, id);
        let name = match (name, NAMES.get(id.0)) {
            (Some(name), _) => format!("{name}{}", id.0),
            (None, Some(name)) => (*name).to_owned(),
            (None, None) => format!("n{}", id.0),
        };
        self.nodes.push(Node {
            name,
            addr,
            slots_free: spec.slots,
            spec,
            shares: BTreeMap::new(),
            banned: BTreeSet::new(),
            id,
            brain: Brain::Off,
            life: 0,
            conns: BTreeMap::new(),
            uplink: Uplink::default(),
            downlink: Downlink::default(),
            thirsty: VecDeque::new(),
            disk_free_at: Duration::ZERO,
            wake_at: None,
            syncing: false,
        });
        id
    }

    /// A node takes part in a torrent, all files wanted.
    pub fn share(&mut self, node: NodeId, content: &Rc<Content>, how: How) {
        self.share_some(node, content, how, Vec::new());
    }

    /// A node takes part in a torrent, with these priorities of its files.
    pub fn share_some(
        &mut self,
        node: NodeId,
        content: &Rc<Content>,
        how: How,
        priorities: Vec<u8>,
    ) {
        let pieces = content.layout().pieces();
        let seed = self.rng.u64(..);
        let real = self.nodes[node.0].spec.real_store;
        let disk: Box<dyn Disk> = match how {
            How::Seed => Box::new(LightDisk::whole(content, seed)),
            _ if real => Box::new(RealStore::new(content, seed)),
            _ => Box::new(LightDisk::new(content, seed)),
        };
        let right = disk.recorded().clone();
        debug_assert_eq!(right.len(), pieces);
        let share = Share {
            content: content.clone(),
            disk,
            finished: None,
            failed_pieces: 0,
            sent: 0,
            received: 0,
            trouble: None,
            how,
            knows_info: how.knows_info(),
            priorities,
            collecting: BTreeMap::new(),
            recheck: Vec::new(),
            right,
        };
        self.nodes[node.0].shares.insert(content.id, share);
        self.enter(node, content.id);
    }

    /// The engine is told of a torrent: at first, or after a restart.
    fn enter(&mut self, node: NodeId, id: TorrentId) {
        let share = &self.nodes[node.0].shares[&id];
        let content = share.content.clone();
        let layers = match share.how {
            How::Seed | How::Get => content.layers.clone(),
            _ => PieceLayers::default(),
        };
        let mut hashes = content.info.hashes();
        match share.how {
            How::MagnetV1 => hashes.v2 = None,
            How::MagnetV2 => hashes.v1 = None,
            _ => {}
        }
        let recorded = share.disk.recorded();
        let checking = share.knows_info && !share.recheck.is_empty();
        let add = Add {
            id,
            hashes,
            info: share.knows_info.then(|| content.info.clone()),
            layers,
            have: Some(recorded.clone()),
            checking,
            file_priorities: share.priorities.clone(),
            peers: Vec::new(),
        };
        self.fact(node, Input::Add(Box::new(add)));
        if checking {
            self.look_at_disk(node, id);
        }
        self.at(self.now, Some(node), Event::Announce(id));
    }

    /// The store hashes what lies on disk and is in no record.
    pub(super) fn look_at_disk(&mut self, node: NodeId, id: TorrentId) {
        let owner = &mut self.nodes[node.0];
        let share = &owner.shares[&id];
        let length = share.content.layout().piece_length();
        let bytes = share.recheck.len() as u64 * u64::from(length);
        let over = owner.disk_op(self.now, bytes);
        self.at(over, Some(node), Event::Checked(id));
    }

    pub(super) fn checked(&mut self, node: NodeId, id: TorrentId) {
        let Some(share) = self.nodes[node.0].shares.get_mut(&id) else {
            return;
        };
        let pieces = std::mem::take(&mut share.recheck);
        for (piece, digest) in share.disk.check(&pieces) {
            self.fact(node, Input::Checked(id, piece, digest));
        }
        self.fact(node, Input::CheckFinished(id));
    }

    /// Switches a node on (again): it believes its records and checks the rest.
    pub fn start(&mut self, id: NodeId) {
        let seed = self.rng.u64(..);
        let now = self.instant();
        let node = &mut self.nodes[id.0];
        let mut config = Config {
            listen_port: PORT,
            ..node.spec.config.clone()
        };
        let name = format!("{:05}{:07}", id.0, node.life);
        config.peer_id[8..].copy_from_slice(name.as_bytes());
        node.brain = Brain::Engine(Box::new(Session::new(config, seed, now)));
        for torrent in node.shares.keys().copied().collect::<Vec<_>>() {
            self.found_on_disk(id, torrent);
            self.enter(id, torrent);
        }
    }

    /// A restart believes its record: that had better be right.
    fn found_on_disk(&mut self, id: NodeId, torrent: TorrentId) {
        let Some(share) = self.nodes[id.0].shares.get_mut(&torrent) else {
            return;
        };
        let found = share.disk.restart();
        share.recheck = found.recheck;
        share.right = found.have.clone();
        for piece in found.have.iter() {
            self.check_verified(id, torrent, piece);
        }
    }

    /// The process ends at once (`kill -9`): the system closes its connections, and what it wrote
    /// stays written.
    pub fn kill(&mut self, id: NodeId) {
        for end in self.nodes[id.0].conns.values().copied().collect::<Vec<_>>() {
            self.close(end);
        }
        self.switch_off(id, false);
    }

    /// The process ends in order: as [`World::kill`], but its records are up to date.
    pub fn stop(&mut self, id: NodeId) {
        self.synced(id);
        self.kill(id);
    }

    /// The power goes: nobody is told, and the disk does its worst.
    pub fn power_cut(&mut self, id: NodeId) {
        for end in self.nodes[id.0].conns.values().copied().collect::<Vec<_>>() {
            self.forget(end);
        }
        self.switch_off(id, true);
    }

    fn switch_off(&mut self, id: NodeId, power_cut: bool) {
        let node = &mut self.nodes[id.0];
        node.brain = Brain::Off;
        node.life += 1;
        node.slots_free = node.spec.slots;
        node.conns.clear();
        node.thirsty.clear();
        node.disk_free_at = Duration::ZERO;
        node.wake_at = None;
        node.syncing = false;
        for end in std::mem::take(&mut node.uplink.ring) {
            self.end(end).queued = false;
        }
        let node = &mut self.nodes[id.0];
        node.uplink.busy = false;
        let waiting = std::mem::take(&mut node.downlink).waiting;
        for end in waiting {
            let sender = self.end(end).node;
            self.nodes[sender.0].uplink.ring.push_back(end);
            self.kick(sender);
        }
        for share in self.nodes[id.0].shares.values_mut() {
            share.collecting.clear();
            share.finished = None;
            share.disk.stop(power_cut);
        }
    }

    /// The engine leaves a torrent.
    pub fn leave(&mut self, node: NodeId, content: &Content) {
        self.fact(node, Input::Remove(content.id));
        self.nodes[node.0].shares.remove(&content.id);
    }

    /// Tells the engine something a person would: pause, go on, other files.
    pub fn tell(&mut self, node: NodeId, input: Input) {
        if let Input::Prioritize(id, priorities) = &input
            && let Some(share) = self.nodes[node.0].shares.get_mut(id)
        {
            share.priorities = priorities.clone();
            share.finished = None;
        }
        self.fact(node, input);
    }

    /// A piece on a node's disk goes bad, and the node notices.
    pub fn rot(&mut self, node: NodeId, content: &Content, piece: u32) {
        if let Some(share) = self.nodes[node.0].shares.get_mut(&content.id) {
            share.disk.rot(piece);
            share.right.clear(piece);
            share.finished = None;
        }
        self.fact(node, Input::Lost(content.id, piece));
    }

    /// Room on a node's disk, in bytes a torrent.
    pub fn set_capacity(&mut self, node: NodeId, content: &Content, bytes: u64) {
        if let Some(share) = self.nodes[node.0].shares.get_mut(&content.id) {
            share.disk.set_capacity(bytes);
        }
    }

    /// Nothing passes between two nodes any more, without a word.
    pub fn cut(&mut self, a: NodeId, b: NodeId) {
        self.partitions.push((a, b));
    }

    /// What [`World::cut`] cut is whole again; what was on its way is lost.
    pub fn mend(&mut self, a: NodeId, b: NodeId) {
        self.partitions
            .retain(|&pair| pair != (a, b) && pair != (b, a));
    }
}
