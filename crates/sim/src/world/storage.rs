//! What a node's store does, and how long it takes.
//!
//! Writes, reads and hashes stand in one queue per node. A block's slot is free when it is
//! written; a piece is hashed, from the disk, when all its blocks are; what is verified becomes
//! durable with the next sync.

use std::rc::Rc;
use std::time::Duration;

use swarm::{ConnId, Input, PieceDigest, TorrentId};
use torrent::layout::BLOCK;
use torrent::wire::{BlockRef, piece_header};

use super::{Event, World};
use crate::content::Data;
use crate::net::Chunk;
use crate::node::NodeId;

/// What is verified is durable at most so much later (design §6).
const SYNC: Duration = Duration::from_secs(5);

impl World {
    // ---- in ----------------------------------------------------------------------------------

    /// A block goes to the store; its slot is free when it is written.
    pub(super) fn write(&mut self, node: NodeId, id: TorrentId, at: BlockRef, data: Rc<Data>) {
        let (piece, block) = (at.piece, at.begin / BLOCK);
        let owner = &mut self.nodes[node.0];
        let Some(share) = owner.shares.get_mut(&id) else {
            return;
        };
        let fresh = &mut self.attempts;
        let attempt = share.collecting.entry(piece).or_insert_with(|| {
            *fresh += 1;
            *fresh
        });
        let attempt = *attempt;
        let over = owner.disk_op(self.now, u64::from(at.len));
        let written = Event::Written {
            id,
            piece,
            block,
            attempt,
            data,
        };
        self.at(over, Some(node), written);
    }

    pub(super) fn written(
        &mut self,
        node: NodeId,
        id: TorrentId,
        (piece, block): (u32, u32),
        attempt: u64,
        data: Rc<Data>,
    ) {
        self.give_slot(node);
        self.check_overwriting(node, id, piece);
        let owner = &mut self.nodes[node.0];
        let Some(share) = owner.shares.get_mut(&id) else {
            return;
        };
        if share.collecting.get(&piece) != Some(&attempt) {
            return;
        }
        let len = u64::from(share.content.layout().piece_len(piece));
        match share.disk.write(piece, block, &data) {
            Ok(None) => {}
            Ok(Some(digest)) => {
                let over = owner.disk_op(self.now, len);
                let digest = Box::new(digest);
                let hashed = Event::Hashed {
                    id,
                    piece,
                    attempt,
                    digest,
                };
                self.at(over, Some(node), hashed);
            }
            Err(why) => {
                share.collecting.remove(&piece);
                share.trouble = Some(why.clone());
                self.fact(node, Input::WriteFailed(id, piece, why));
            }
        }
    }

    pub(super) fn hashed(
        &mut self,
        node: NodeId,
        id: TorrentId,
        piece: u32,
        attempt: u64,
        digest: PieceDigest,
    ) {
        let share = self.nodes[node.0].shares.get(&id);
        if share.is_some_and(|s| s.collecting.get(&piece) == Some(&attempt)) {
            self.fact(node, Input::PieceHashed(id, piece, digest));
        }
    }

    /// The engine says that a piece is right.
    pub(super) fn verified(&mut self, node: NodeId, id: TorrentId, piece: u32) {
        self.check_verified(node, id, piece);
        let owner = &mut self.nodes[node.0];
        if let Some(share) = owner.shares.get_mut(&id) {
            share.collecting.remove(&piece);
            share.disk.verified(piece);
            share.right.set(piece);
        }
        if !std::mem::replace(&mut owner.syncing, true) {
            self.at(self.now + SYNC, Some(node), Event::Synced);
        }
    }

    pub(super) fn synced(&mut self, node: NodeId) {
        let owner = &mut self.nodes[node.0];
        owner.syncing = false;
        owner.shares.values_mut().for_each(|s| s.disk.sync());
    }

    // ---- out ---------------------------------------------------------------------------------

    /// Reads a block that is to be sent.
    pub(super) fn send_block(&mut self, node: NodeId, conn: ConnId, id: TorrentId, at: BlockRef) {
        if self.nodes[node.0].spec.silent {
            return;
        }
        let over = self.nodes[node.0].disk_op(self.now, u64::from(at.len));
        let read = Event::ReadBack {
            conn,
            id,
            block: at,
        };
        self.at(over, Some(node), read);
    }

    pub(super) fn read_back(&mut self, node: NodeId, conn: ConnId, id: TorrentId, at: BlockRef) {
        let Some(end) = self.end_of(node, conn) else {
            return;
        };
        let owner = &self.nodes[node.0];
        let Some(share) = owner.shares.get(&id) else {
            return;
        };
        let Some(mut data) = share.disk.read(at.piece, at.begin, at.len) else {
            return self.fact(node, Input::BlockUnreadable(conn, at));
        };
        let lies = owner.spec.lies;
        if lies > 0.0 && self.rng.f64() < lies {
            let mut bytes = data.bytes().to_vec();
            let spot = self.rng.usize(..bytes.len());
            bytes[spot] ^= self.rng.u8(1..);
            data = Data::new(bytes);
        } else {
            self.check_served(node, id, at, &data);
        }
        self.queue(end, |end| {
            end.write(|out| out.extend_from_slice(&piece_header(at)));
            end.outbox_bytes += data.len() as usize;
            end.outbox.push_back(Chunk::Payload(at, data));
        });
    }

    /// Reads a piece for the digests of its blocks.
    pub(super) fn read_digests(&mut self, node: NodeId, id: TorrentId, piece: u32) {
        let owner = &mut self.nodes[node.0];
        let Some(share) = owner.shares.get(&id) else {
            return;
        };
        let len = share.content.layout().piece_len(piece);
        let over = owner.disk_op(self.now, u64::from(len));
        self.at(over, Some(node), Event::Digested { id, piece });
    }

    pub(super) fn digested(&mut self, node: NodeId, id: TorrentId, piece: u32) {
        let Some(share) = self.nodes[node.0].shares.get(&id) else {
            return;
        };
        let digests = share.disk.leaves(piece);
        self.fact(node, Input::Digests(id, piece, digests));
    }
}
