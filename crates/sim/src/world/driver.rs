//! A node's driver: facts go into its engine, decisions come out and are carried out.

use std::net::SocketAddr;

use swarm::{Event as Told, Input, Output, Source, TorrentId};
use torrent::wire::{self, Message};

use super::{Event, World};
use crate::node::{Brain, NodeId};

/// Addresses a tracker gives at once.
const ANNOUNCED: usize = 50;
/// Time between two announces.
const ANNOUNCE: std::time::Duration = std::time::Duration::from_secs(120);

impl World {
    /// Hands a fact to a node.
    pub(super) fn fact(&mut self, node: NodeId, input: Input) {
        if matches!(self.nodes[node.0].brain, Brain::Eve(_)) {
            return self.eve_learns(node, input);
        }
        self.note(node, || format!("<- {}", describe(&input)));
        let now = self.instant();
        let Some(session) = self.nodes[node.0].session() else {
            return;
        };
        session.handle(now, input);
        self.drain(node);
    }

    /// Carries out what the engine has decided, and notes when to wake it.
    pub(super) fn drain(&mut self, node: NodeId) {
        let mut decisions = 0u32;
        while let Some(output) = self.nodes[node.0].session().and_then(|s| s.poll()) {
            decisions += 1;
            self.check(decisions < 1_000_000, || {
                "the engine talks without end".into()
            });
            self.note(node, || format!("-> {output:?}"));
            self.decided(node, output);
        }
        let base = self.base;
        let now = self.now;
        let owner = &mut self.nodes[node.0];
        let Some(session) = owner.session() else {
            return;
        };
        let Some(deadline) = session.deadline() else {
            return;
        };
        let at = deadline.saturating_duration_since(base).max(now);
        if owner.wake_at.is_none_or(|planned| at < planned) {
            owner.wake_at = Some(at);
            self.at(at, Some(node), Event::Wake(node));
        }
    }

    pub(super) fn wake(&mut self, node: NodeId) {
        let owner = &mut self.nodes[node.0];
        // An earlier wake-up may have come in between.
        if owner.wake_at != Some(self.now) {
            return;
        }
        owner.wake_at = None;
        self.fact(node, Input::Timeout);
    }

    fn decided(&mut self, node: NodeId, output: Output) {
        match output {
            Output::Dial(conn, addr, approach) => self.dial(node, conn, addr, approach),
            Output::Handshake(conn, ours) => {
                if let Some(end) = self.end_of(node, conn) {
                    self.meant(end, &ours.info_hash);
                    self.queue(end, |end| end.write(|out| out.extend(ours.encode())));
                }
            }
            Output::Send(conn, message) => {
                if let Some(end) = self.end_of(node, conn) {
                    self.check_said(node, end, &message);
                    self.queue(end, |end| end.write(|out| message.encode(out)));
                }
            }
            Output::SendBlock(conn, id, block) => self.send_block(node, conn, id, block),
            Output::Close(conn, _) => {
                if let Some(end) = self.end_of(node, conn) {
                    self.close(end);
                }
            }
            Output::Verified(id, piece) => self.verified(node, id, piece),
            Output::Abandon(id, piece) => {
                if let Some(share) = self.nodes[node.0].shares.get_mut(&id) {
                    share.collecting.remove(&piece);
                    share.disk.abandon(piece);
                }
            }
            Output::ReadDigests(id, piece) => self.read_digests(node, id, piece),
            // No node is told of web seeds.
            Output::Fetch(..) | Output::FetchOn(..) | Output::EndFetch(..) => {}
            Output::Event(id, told) => self.told(node, id, told),
        }
    }

    fn told(&mut self, node: NodeId, id: TorrentId, told: Told) {
        let now = self.now;
        let Some(share) = self.nodes[node.0].shares.get_mut(&id) else {
            return;
        };
        match told {
            Told::Metadata(info) => {
                let right = info.raw() == share.content.info.raw();
                share.knows_info = true;
                let pieces = info.layout().pieces();
                for end in self.nodes[node.0].conns.values() {
                    let end = &mut self.wires[end.wire].ends[end.side];
                    if end.torrent == Some(id) {
                        end.limits = wire::Limits::for_pieces(pieces);
                    }
                }
                self.check(right, || "took wrong metadata".into());
                self.look_at_disk(node, id);
            }
            Told::Finished => {
                share.finished = Some(now);
                share.trouble = None;
                share.disk.sync();
                self.check_finished(node, id);
            }
            Told::PieceFailed(_) => share.failed_pieces += 1,
            Told::Banned(addr) => {
                self.check_banned(node, addr);
                self.nodes[node.0].banned.insert(addr.ip());
            }
            Told::DhtNode(_) | Told::SeenAs(..) | Told::Dialback(..) | Told::WebSeedDropped(..) => {
            }
        }
    }

    // ---- finding each other ------------------------------------------------------------------

    pub(super) fn announce(&mut self, node: NodeId, id: TorrentId) {
        if !self.tracker {
            return;
        }
        let sharing = |other: &NodeId| {
            let other = &self.nodes[other.0];
            let eve = matches!(&other.brain, Brain::Eve(eve) if eve.content.id == id);
            other.id != node && (eve || other.shares.contains_key(&id))
        };
        let mut others: Vec<NodeId> = self.nodes().filter(sharing).collect();
        self.rng.shuffle(&mut others);
        others.truncate(ANNOUNCED);
        self.introduce(node, id, &others);
        self.at(self.now + ANNOUNCE, Some(node), Event::Announce(id));
    }

    /// Tells a node where others are.
    pub fn introduce(&mut self, node: NodeId, id: TorrentId, others: &[NodeId]) {
        let addrs: Vec<SocketAddr> = others.iter().map(|o| self.nodes[o.0].addr).collect();
        self.fact(node, Input::Peers(id, Source::Tracker, addrs));
    }
}

fn describe(input: &Input) -> String {
    match input {
        Input::Add(add) => format!("Add({:?})", add.id),
        Input::Pause(id, why) => format!("Pause({id:?}, {why:?})"),
        Input::Prioritize(id, p) => format!("Prioritize({id:?}, {p:?})"),
        Input::Deadline(id, piece, _) => format!("Deadline({id:?}, {piece})"),
        Input::Peers(id, from, addrs) => format!("Peers({id:?}, {from:?}, {})", addrs.len()),
        Input::Incoming(conn, addr, road) => format!("Incoming({conn:?}, {addr}, {road})"),
        Input::Connected(conn, road) => format!("Connected({conn:?}, {road})"),
        Input::DialFailed(conn, why) => format!("DialFailed({conn:?}, {why})"),
        Input::Handshake(conn, h) => format!("Handshake({conn:?}, {:02x?})", &h.info_hash[..4]),
        Input::Message(conn, Message::Extended { id, payload }) => {
            let text = String::from_utf8_lossy(payload);
            format!("Message({conn:?}, Extended {id}: {text:?})")
        }
        Input::Message(conn, m) => format!("Message({conn:?}, {m:?})"),
        Input::BlockSent(conn, b) => format!("BlockSent({conn:?}, {b:?})"),
        Input::BlockUnreadable(conn, b) => format!("BlockUnreadable({conn:?}, {b:?})"),
        Input::Disconnected(conn) => format!("Disconnected({conn:?})"),
        Input::PieceHashed(id, piece, _) => format!("PieceHashed({id:?}, {piece})"),
        Input::WriteFailed(id, piece, why) => format!("WriteFailed({id:?}, {piece}, {why})"),
        Input::Checked(id, piece, found) => {
            format!("Checked({id:?}, {piece}, {})", found.is_some())
        }
        Input::CheckFinished(id) => format!("CheckFinished({id:?})"),
        Input::Digests(id, piece, _) => format!("Digests({id:?}, {piece})"),
        Input::Lost(id, piece) => format!("Lost({id:?}, {piece})"),
        Input::Timeout => "Timeout".to_owned(),
        _ => "another fact".to_owned(),
    }
}
