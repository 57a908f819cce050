//! What must never happen, looked at as it happens.
//!
//! - An honest node claims (`have`, bitfield, `Verified`, `Finished`) only what is whole and right
//!   on its own disk, and serves only what is right.
//! - Nobody fetches what its durable record holds, or writes over what it has verified.
//! - No honest node bans another.
//! - Slots never leak, queues stay bounded, and every download ends within its time.

use std::net::SocketAddr;
use std::time::Duration;

use swarm::{Bitfield, TorrentId};
use torrent::wire::{BlockRef, Message};

use super::World;
use crate::content::{Content, Data};
use crate::net::{EndId, Reading};
use crate::node::{Node, NodeId, Share};

impl World {
    /// Panics with the seed if this does not hold.
    #[track_caller]
    pub(super) fn check(&self, holds: bool, what: impl FnOnce() -> String) {
        assert!(holds, "{}", what());
    }

    fn honest_share(&self, node: NodeId, id: TorrentId) -> Option<(&Node, &Share)> {
        let node = &self.nodes[node.0];
        node.is_honest().then_some(())?;
        Some((node, node.shares.get(&id)?))
    }

    pub(super) fn check_said(&self, node: NodeId, end: EndId, message: &Message) {
        let torrent = self.wires[end.wire].ends[end.side].torrent;
        let share = torrent.and_then(|id| self.honest_share(node, id));
        let Some((node, share)) = share else {
            return;
        };
        let pieces = share.right.len();
        let claims = |piece| {
            let right = share.right.get(piece);
            self.check(right, || {
                format!("{} claims piece {piece} without it", node.name)
            });
        };
        match message {
            Message::Have(piece) => claims(*piece),
            Message::HaveAll => (0..pieces).for_each(claims),
            Message::Bitfield(bits) => {
                let bits = Bitfield::from_wire(bits, pieces);
                self.check(bits.is_some(), || {
                    format!("{} sends a bad bitfield", node.name)
                });
                bits.iter().flat_map(Bitfield::iter).for_each(claims);
            }
            Message::Request(block) => {
                let recorded = share.disk.recorded().get(block.piece);
                self.check(!recorded, || {
                    format!(
                        "{} asks for piece {}, which is in its record",
                        node.name, block.piece
                    )
                });
            }
            _ => {}
        }
    }

    fn is_right_on_disk(share: &Share, piece: u32) -> bool {
        let Some(blocks) = share.disk.blocks(piece) else {
            return false;
        };
        let mut begin = 0;
        blocks.iter().all(|block| {
            let right = share.content.is_right(piece, begin, block);
            begin += block.len();
            right
        })
    }

    pub(super) fn check_verified(&self, node: NodeId, id: TorrentId, piece: u32) {
        let share = &self.nodes[node.0].shares[&id];
        self.check(Self::is_right_on_disk(share, piece), || {
            format!(
                "{} accepted wrong bytes for piece {piece}",
                self.nodes[node.0].name
            )
        });
    }

    pub(super) fn check_overwriting(&self, node: NodeId, id: TorrentId, piece: u32) {
        if let Some(share) = self.nodes[node.0].shares.get(&id) {
            let verified = share.right.get(piece);
            self.check(!verified || !share.collecting.contains_key(&piece), || {
                format!(
                    "{} writes over verified piece {piece}",
                    self.nodes[node.0].name
                )
            });
        }
    }

    pub(super) fn check_served(&self, node: NodeId, id: TorrentId, at: BlockRef, data: &Data) {
        if let Some((node, share)) = self.honest_share(node, id) {
            let right = share.content.is_right(at.piece, at.begin, data);
            self.check(right, || {
                format!("{} serves wrong bytes at {at:?}", node.name)
            });
        }
    }

    pub(super) fn check_finished(&self, node: NodeId, id: TorrentId) {
        let share = &self.nodes[node.0].shares[&id];
        let layout = share.content.layout();
        for piece in 0..layout.pieces() {
            let wanted = wants(share, piece);
            let there = share.right.get(piece) && Self::is_right_on_disk(share, piece);
            self.check(!wanted || there, || {
                format!(
                    "{} has finished without piece {piece}",
                    self.nodes[node.0].name
                )
            });
        }
    }

    pub(super) fn check_banned(&self, node: NodeId, addr: SocketAddr) {
        let banned = self.nodes.iter().find(|n| n.addr.ip() == addr.ip());
        let unjust = banned.filter(|n| n.is_honest());
        self.check(unjust.is_none(), || {
            format!("{} banned {addr}, who is honest", self.nodes[node.0].name)
        });
    }

    // ---- what must have happened in the end --------------------------------------------------

    /// Whether all of these have what they want of it.
    pub fn all_finished(&self, nodes: &[NodeId], content: &Content) -> bool {
        nodes.iter().all(|n| self.is_finished(*n, content))
    }

    /// Whether it has what it wants of it.
    pub fn is_finished(&self, node: NodeId, content: &Content) -> bool {
        let share = self.nodes[node.0].shares.get(&content.id);
        share.is_some_and(|s| s.finished.is_some())
    }

    /// Lets time pass until all of these have what they want.
    ///
    /// # Panics
    /// If that takes longer than `within`.
    #[track_caller]
    pub fn finish(&mut self, nodes: &[NodeId], content: &Content, within: Duration) {
        let mut waiting = nodes.to_vec();
        let done = self.run(within, |world| {
            while let Some(&node) = waiting.last()
                && world.is_finished(node, content)
            {
                waiting.pop();
            }
            waiting.is_empty()
        });
        if !done {
            let stuck: Vec<String> = nodes
                .iter()
                .filter(|n| !self.is_finished(**n, content))
                .map(|n| self.stuck(*n, content))
                .collect();
            let few = stuck[..stuck.len().min(4)].join("\n");
            panic!("{} not finished within {within:?}:\n{few}", stuck.len());
        }
    }

    /// Lets the world come to rest and looks for what leaked.
    pub fn settle(&mut self) {
        self.pass(Duration::from_secs(2));
        for node in &self.nodes {
            let held = node.conns.values().filter(|end| {
                let reading = self.wires[end.wire].ends[end.side].reading;
                matches!(reading, Reading::Payload(_, true))
            });
            let (held, free) = (held.count(), node.slots_free);
            let idle = node.disk_free_at <= self.now;
            self.check(!idle || held + free == node.spec.slots, || {
                format!("{}: {held} slots held and {free} free", node.name)
            });
        }
    }

    /// What stands between a node and its goal.
    fn stuck(&self, id: NodeId, content: &Content) -> String {
        let node = &self.nodes[id.0];
        let share = node.share(content);
        let crate::node::Brain::Engine(session) = &node.brain else {
            return format!("{} is off", node.name);
        };
        let have = session.have(content.id).map_or(0, Bitfield::count);
        let pieces = share.right.len();
        let missing: Vec<u32> = (0..pieces)
            .filter(|&p| wants(share, p) && !share.right.get(p))
            .take(8)
            .collect();
        let peers: Vec<String> = session
            .peers(content.id)
            .take(6)
            .map(|p| {
                let useful = missing.iter().filter(|&&m| p.pieces.has(m)).count();
                format!(
                    "{} (has {useful}, wanted {}, choked by it {}, asked {}/{}, stalled {})",
                    self.who(p.addr),
                    p.wanted,
                    p.chokes_us,
                    p.live,
                    p.asked.len(),
                    p.pipeline.is_stalled(),
                )
            })
            .collect();
        format!(
            "{}: {have}/{pieces} pieces, missing {missing:?}…, {} slots free of {}, trouble {:?}, peers: {}",
            node.name,
            node.slots_free,
            node.spec.slots,
            share.trouble,
            peers.join(", ")
        )
    }

    fn who(&self, addr: SocketAddr) -> &str {
        let node = self.nodes.iter().find(|n| n.addr.ip() == addr.ip());
        node.map_or("?", |n| &n.name)
    }
}

/// Whether a node wants this piece: any of its files is wanted.
pub(super) fn wants(share: &Share, piece: u32) -> bool {
    if share.priorities.is_empty() {
        return true;
    }
    let layout = share.content.layout();
    layout
        .spans(piece, 0, layout.piece_len(piece))
        .filter(|span| !span.pad)
        .any(|span| share.priorities.get(span.file).copied().unwrap_or(4) > 0)
}
