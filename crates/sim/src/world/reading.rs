//! What a node does with bytes that have come: the road's part of the driver.
//!
//! The same steps as over real sockets. Bytes are parsed as they come; at a block's header the
//! engine is asked; an accepted block takes a slot from the bounded pool, and where there is none
//! the end stops reading until one is free.

use std::rc::Rc;

use swarm::{Input, Verdict};
use torrent::wire::{self, BlockRef, HANDSHAKE_LEN, Handshake, Parsed};

use super::{Event, World};
use crate::content::Data;
use crate::net::{Chunk, EndId, Reading};
use crate::node::{Brain, NodeId};

impl World {
    /// Reads all that can be read now.
    pub(super) fn read(&mut self, id: EndId) {
        while self.end(id).open {
            let node = self.end(id).node;
            if matches!(self.nodes[node.0].brain, Brain::Eve(_)) {
                return self.eve_reads(id);
            }
            let went_on = match self.end(id).reading {
                Reading::Handshake => self.read_handshake(id),
                Reading::Messages => self.read_message(id),
                Reading::Thirsty(block) => self.take_slot(id, block),
                Reading::Payload(block, kept) => self.read_payload(id, block, kept),
            };
            if !went_on && !self.take_chunk(id) {
                return;
            }
        }
    }

    /// Moves what came next from the inbox to where it is parsed. False: nothing more to do now.
    fn take_chunk(&mut self, id: EndId) -> bool {
        let end = self.end(id);
        if matches!(end.reading, Reading::Thirsty(_)) {
            return false;
        }
        match end.inbox.pop_front() {
            None => false,
            Some(Chunk::Bytes(bytes)) => {
                end.buf.extend_from_slice(&bytes);
                self.credit(id, bytes.len() as u64);
                true
            }
            Some(Chunk::Payload(_, data)) => {
                // Payload where a message should be: bytes like all others.
                end.buf.extend_from_slice(data.bytes());
                self.credit(id, u64::from(data.len()));
                true
            }
            Some(Chunk::End) => {
                self.hung_up(id);
                false
            }
        }
    }

    /// The other side closed, or what it sent is no BitTorrent.
    pub(super) fn hung_up(&mut self, id: EndId) {
        let end = self.end(id);
        let (node, conn) = (end.node, end.conn);
        self.close(id);
        if let Some(conn) = conn {
            self.fact(node, Input::Disconnected(conn));
        }
    }

    fn read_handshake(&mut self, id: EndId) -> bool {
        let end = self.end(id);
        let Some((head, rest)) = end.buf.split_first_chunk::<HANDSHAKE_LEN>() else {
            return false;
        };
        let theirs = Handshake::decode(head);
        end.buf = rest.to_vec();
        end.reading = Reading::Messages;
        let (node, conn) = (end.node, end.conn);
        match (theirs, conn) {
            (Ok(theirs), Some(conn)) => {
                self.meant(id, &theirs.info_hash);
                self.fact(node, Input::Handshake(conn, theirs));
            }
            _ => self.hung_up(id),
        }
        true
    }

    /// Notes which torrent a connection is about.
    pub(super) fn meant(&mut self, id: EndId, info_hash: &[u8; 20]) {
        let torrent = self.by_hash.get(info_hash).copied();
        let end = self.end(id);
        end.torrent = end.torrent.or(torrent);
        if let Some(torrent) = end.torrent {
            let node = end.node;
            let share = self.nodes[node.0].shares.get(&torrent);
            if let Some(share) = share.filter(|s| s.knows_info) {
                let pieces = share.content.layout().pieces();
                self.end(id).limits = wire::Limits::for_pieces(pieces);
            }
        }
    }

    fn read_message(&mut self, id: EndId) -> bool {
        let end = self.end(id);
        let parsed = wire::parse(&end.buf, &end.limits);
        let (node, Some(conn)) = (end.node, end.conn) else {
            return false;
        };
        match parsed {
            Ok(Parsed::Incomplete(_)) => false,
            Ok(Parsed::Message { message, consumed }) => {
                end.buf.drain(..consumed);
                self.fact(node, Input::Message(conn, message));
                true
            }
            Ok(Parsed::Block { block, consumed }) => {
                end.buf.drain(..consumed);
                self.block_arriving(id, node, block);
                true
            }
            Err(_) => {
                self.hung_up(id);
                true
            }
        }
    }

    fn block_arriving(&mut self, id: EndId, node: NodeId, block: BlockRef) {
        let now = self.instant();
        let conn = self.end(id).conn;
        let session = self.nodes[node.0].session();
        let (Some(conn), Some(session)) = (conn, session) else {
            return;
        };
        match session.block_arriving(now, conn, block) {
            Verdict::Accept(_) => {
                self.end(id).reading = Reading::Thirsty(block);
                self.take_slot(id, block);
            }
            Verdict::Discard => self.end(id).reading = Reading::Payload(block, false),
            Verdict::Close(_) => self.hung_up(id),
        }
        self.drain(node);
    }

    /// Takes a slot for the block, or joins those who wait. True: there was one.
    fn take_slot(&mut self, id: EndId, block: BlockRef) -> bool {
        let node = self.end(id).node;
        let node = &mut self.nodes[node.0];
        if node.slots_free == 0 {
            if !node.thirsty.contains(&id) {
                node.thirsty.push_back(id);
            }
            return false;
        }
        node.slots_free -= 1;
        node.thirsty.retain(|&other| other != id);
        self.end(id).reading = Reading::Payload(block, true);
        true
    }

    /// A slot is free again: whoever waits longest reads on.
    pub(super) fn give_slot(&mut self, node: NodeId) {
        let node = &mut self.nodes[node.0];
        node.slots_free += 1;
        let (free, all) = (node.slots_free, node.spec.slots);
        if let Some(id) = node.thirsty.pop_front() {
            let id_of_node = node.id;
            self.at(self.now, Some(id_of_node), Event::Read(id));
        }
        self.check(free <= all, || format!("{free} of {all} slots are free"));
    }

    fn read_payload(&mut self, id: EndId, block: BlockRef, kept: bool) -> bool {
        let end = self.end(id);
        let data = if end.buf.is_empty()
            && let Some(Chunk::Payload(_, data)) = end.inbox.front()
            && data.len() == block.len
        {
            let data = data.clone();
            end.inbox.pop_front();
            self.credit(id, u64::from(block.len));
            data
        } else if end.buf.len() >= block.len as usize {
            Data::new(end.buf.drain(..block.len as usize).collect::<Vec<u8>>())
        } else {
            return false;
        };
        self.end(id).reading = Reading::Messages;
        self.block_arrived(id, block, data, kept);
        true
    }

    fn block_arrived(&mut self, id: EndId, block: BlockRef, data: Rc<Data>, kept: bool) {
        let now = self.instant();
        let end = self.end(id);
        let (node, conn, torrent) = (end.node, end.conn, end.torrent);
        if let Some(share) = torrent.and_then(|t| self.nodes[node.0].shares.get_mut(&t)) {
            share.received += u64::from(block.len);
        }
        let session = self.nodes[node.0].session();
        let wanted = match (session, conn) {
            (Some(session), Some(conn)) => session.block_arrived(now, conn, block, kept),
            _ => false,
        };
        self.note(node, || {
            format!("block {block:?} from {conn:?}, taken: {wanted}")
        });
        self.check(kept || !wanted, || {
            "a block without a slot goes to the store".into()
        });
        match torrent {
            Some(torrent) if wanted => self.write(node, torrent, block, data),
            _ if kept => self.give_slot(node),
            _ => {}
        }
        self.drain(node);
    }
}
