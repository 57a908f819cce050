//! How bytes get from one end of a connection to the other.
//!
//! A node's uplink sends one segment at a time, its connections in turn; the segment travels, and
//! waits for its place in the receiver's downlink. Two things hold a sender back, as TCP would:
//! what one connection has sent and the other side has not read ([`WINDOW`]), and what is on its
//! way to a receiver from all sides ([`QUEUE`]). A lost segment comes a retransmission later, and
//! nothing behind it on the connection overtakes it.

use std::time::Duration;

use swarm::{Approach, ConnId, Failure, Input, Road};
use torrent::wire::BlockRef;

use super::{Event, World};
use crate::net::{Chunk, End, EndId, Reading, SEGMENT, Segment, WINDOW, Wire};
use crate::node::{Brain, NodeId};

/// Time's worth of bytes on their way to one downlink: the delay of the longest way, and what
/// buffers in the network hold.
const QUEUE: Duration = Duration::from_millis(300);
/// Bytes on their way to one downlink that are always allowed: a slow link takes whole segments.
const QUEUE_LEAST: u64 = 64 << 10;
/// The least time until a lost segment is sent again (RFC 6298 says a second, Linux 200 ms).
const RETRANSMIT: Duration = Duration::from_millis(200);
/// How long a dial waits for an answer.
const DIAL: Duration = Duration::from_secs(10);
/// Who dials to make a hole tries again so often.
const PUNCH_PACE: Duration = Duration::from_millis(400);
/// A router lets in what answers for so long (RFC 4787 says two minutes at least; many do less).
const HOLE: Duration = Duration::from_secs(30);
/// Bytes queued at one end at most: two disk reads and any number of small messages that a peer
/// provokes while it reads nothing.
pub(super) const OUTBOX: usize = 4 << 20;

impl World {
    pub(super) fn end(&mut self, id: EndId) -> &mut End {
        &mut self.wires[id.wire].ends[id.side]
    }

    /// The end of a live connection of this node.
    pub(super) fn end_of(&self, node: NodeId, conn: ConnId) -> Option<EndId> {
        self.nodes[node.0].conns.get(&conn).copied()
    }

    // ---- dialling ----------------------------------------------------------------------------

    pub(super) fn dial(
        &mut self,
        node: NodeId,
        conn: ConnId,
        addr: std::net::SocketAddr,
        approach: Approach,
    ) {
        let target = self.by_addr.get(&addr).copied();
        let punch = approach == Approach::Punch;
        if let Some(target) = target.filter(|_| punch) {
            self.open_hole(node, target);
        }
        let Some(target) = target.filter(|&t| self.can_dial(node, t)) else {
            let at = self.now + DIAL;
            let Some(target) = target.filter(|_| punch) else {
                return self.at(at, Some(node), Event::NoAnswer(conn));
            };
            self.holes.insert((node, target), (self.now, Some(conn)));
            let give_up = move |world: &mut World| {
                if world.awaits(node, conn) {
                    world.no_answer(node, conn);
                }
            };
            return self.at(at, Some(node), Event::Script(Box::new(give_up)));
        };
        self.begin(node, conn, target, punch);
    }

    /// A node behind a router dials another: what comes back from there is let in for a while. If the other dials it
    /// too, its next packet gets through.
    fn open_hole(&mut self, from: NodeId, to: NodeId) {
        self.holes.insert((from, to), (self.now, None));
        let waits = self.holes.get_mut(&(to, from));
        let Some((since, conn)) = waits else { return };
        let fresh = *since + DIAL > self.now;
        if let Some(conn) = conn.take().filter(|_| fresh) {
            let again = move |world: &mut World| {
                if world.awaits(to, conn) && world.can_dial(to, from) {
                    world.begin(to, conn, from, true);
                }
            };
            let at = self.now + PUNCH_PACE;
            self.at(at, Some(to), Event::Script(Box::new(again)));
        }
    }

    /// This dial is neither answered nor given up.
    fn awaits(&mut self, node: NodeId, conn: ConnId) -> bool {
        let session = self.nodes[node.0].session();
        session.is_some_and(|s| s.greeting(conn).is_some()) && self.end_of(node, conn).is_none()
    }

    fn begin(&mut self, node: NodeId, conn: ConnId, target: NodeId, punch: bool) {
        let (a, b) = (&self.nodes[node.0], &self.nodes[target.0]);
        let delay = a.spec.delay + b.spec.delay;
        let mut ends = [End::new(node, a.life), End::new(target, b.life)];
        ends[0].conn = Some(conn);
        let loss = 1.0 - (1.0 - a.spec.loss) * (1.0 - b.spec.loss);
        let wire = self.wires.len();
        self.wires.push(Wire {
            ends,
            delay,
            loss,
            punch,
        });
        let end = EndId { wire, side: 0 };
        self.nodes[node.0].conns.insert(conn, end);
        self.at(self.now + delay, None, Event::Knock(wire));
    }

    fn can_dial(&self, from: NodeId, to: NodeId) -> bool {
        let hole = self.holes.get(&(to, from));
        let hole = hole.is_some_and(|(since, _)| *since + HOLE > self.now);
        (self.nodes[to.0].spec.reachable || hole) && !self.is_cut(from, to)
    }

    fn is_cut(&self, a: NodeId, b: NodeId) -> bool {
        self.partitions.contains(&(a, b)) || self.partitions.contains(&(b, a))
    }

    pub(super) fn knock(&mut self, wire: usize) {
        let (delay, from, to) = self.wire(wire);
        let conn = self.wires[wire].ends[0].conn;
        if !self.nodes[to.0].is_up() || self.wires[wire].ends[1].life != self.nodes[to.0].life {
            // Nobody is there to refuse.
            if let Some(conn) = conn {
                self.at(self.now + DIAL, Some(from), Event::NoAnswer(conn));
            }
            return;
        }
        // As the target sees it: another port for each dial over TCP, the same for all over uTP.
        let port = 20_000 + (wire % 40_000) as u16;
        let (addr, road) = match self.wires[wire].punch {
            true => (self.nodes[from.0].addr, Road::UTP),
            false => (
                std::net::SocketAddr::new(self.nodes[from.0].addr.ip(), port),
                Road::TCP,
            ),
        };
        let end = EndId { wire, side: 1 };
        let target = &mut self.nodes[to.0];
        let conn = match &mut target.brain {
            Brain::Engine(session) => session.next_conn(),
            Brain::Eve(eve) => eve.next_conn(),
            Brain::Off => return,
        };
        target.conns.insert(conn, end);
        let state = self.end(end);
        state.conn = Some(conn);
        state.open = true;
        self.at(self.now + delay, None, Event::Answered(wire));
        self.fact(to, Input::Incoming(conn, addr, road));
    }

    pub(super) fn answered(&mut self, wire: usize) {
        let (_, from, _) = self.wire(wire);
        let end = EndId { wire, side: 0 };
        let state = self.end(end);
        let (life, conn) = (state.life, state.conn);
        match conn {
            Some(conn) if life == self.nodes[from.0].life => {
                self.end(end).open = true;
                let road = match self.wires[wire].punch {
                    true => Road::UTP,
                    false => Road::TCP,
                };
                self.fact(from, Input::Connected(conn, road));
            }
            // It has been given up meanwhile.
            _ => self.send_end(end),
        }
    }

    pub(super) fn no_answer(&mut self, node: NodeId, conn: ConnId) {
        if let Some(end) = self.nodes[node.0].conns.remove(&conn) {
            self.end(end).conn = None;
        }
        self.fact(node, Input::DialFailed(conn, Failure::TimedOut));
    }

    fn wire(&self, wire: usize) -> (Duration, NodeId, NodeId) {
        let wire = &self.wires[wire];
        (wire.delay, wire.ends[0].node, wire.ends[1].node)
    }

    // ---- closing -----------------------------------------------------------------------------

    /// This side closes: what it has queued is dropped, the other side learns of it behind what is
    /// on its way.
    pub(super) fn close(&mut self, end: EndId) {
        let was_open = self.end(end).open;
        self.forget(end);
        if was_open {
            self.send_end(end);
        }
    }

    /// Clears an end without a word to the other side.
    pub(super) fn forget(&mut self, id: EndId) {
        let end = self.end(id);
        end.open = false;
        end.clear();
        let (node, conn) = (end.node, end.conn.take());
        let held = matches!(end.reading, Reading::Payload(_, true));
        end.reading = Reading::Messages;
        let owner = &mut self.nodes[node.0];
        if let Some(conn) = conn {
            owner.conns.remove(&conn);
        }
        owner.thirsty.retain(|&other| other != id);
        if held {
            self.give_slot(node);
        }
    }

    fn send_end(&mut self, from: EndId) {
        let segment = Segment {
            last: true,
            ..Segment::default()
        };
        self.launch(from, segment, self.now);
    }

    // ---- sending -----------------------------------------------------------------------------

    /// Queues a segment's worth at an end and sees to it that it leaves.
    pub(super) fn queue(&mut self, id: EndId, fill: impl FnOnce(&mut End)) {
        let end = self.end(id);
        if !end.open {
            return;
        }
        fill(end);
        let (node, bytes) = (end.node, end.outbox_bytes);
        self.check(bytes <= OUTBOX, || {
            format!(
                "{} has {bytes} bytes queued on one connection",
                self.nodes[node.0].name
            )
        });
        self.enlist(id);
    }

    /// Puts an end that has something to send into its node's ring.
    fn enlist(&mut self, id: EndId) {
        let end = self.end(id);
        if end.open && !end.queued && !end.outbox.is_empty() && end.flight < WINDOW {
            end.queued = true;
            let node = end.node;
            self.nodes[node.0].uplink.ring.push_back(id);
            self.kick(node);
        }
    }

    /// The uplink takes its next segment, if it is idle and may.
    pub(super) fn kick(&mut self, node: NodeId) {
        while !self.nodes[node.0].uplink.busy {
            let Some(id) = self.nodes[node.0].uplink.ring.pop_front() else {
                return;
            };
            let end = self.end(id);
            if !end.open || end.outbox.is_empty() || end.flight >= WINDOW {
                end.queued = false;
                continue;
            }
            let to = self.end(id.other()).node;
            let most = self.most_booked(to);
            let downlink = &mut self.nodes[to.0].downlink;
            if downlink.booked >= most {
                downlink.waiting.push_back(id);
                continue;
            }
            self.send(node, id);
        }
    }

    fn send(&mut self, node: NodeId, id: EndId) {
        // Borders of messages are not borders of segments.
        let most = match self.rng.u8(..16) {
            0 => self.rng.usize(1..200),
            _ => SEGMENT,
        };
        let end = self.end(id);
        let segment = end.segment(most);
        let (len, more) = (segment.len(), !end.outbox.is_empty());
        end.flight += len;
        end.queued = more;
        let block = segment.payload.as_ref().map(|(block, _)| *block);
        self.trace.number((id.wire * 2 + id.side) as u64);
        self.trace.bytes(&segment.bytes);
        let uplink = &mut self.nodes[node.0].uplink;
        uplink.busy = true;
        if more {
            uplink.ring.push_back(id);
        }
        let over = self.now + transfer(len, self.nodes[node.0].spec.up);
        self.at(over, Some(node), Event::Sent(id, block));
        self.launch(id, segment, over);
    }

    /// A segment is on its way.
    fn launch(&mut self, from: EndId, segment: Segment, leaves: Duration) {
        let wire = &self.wires[from.wire];
        let (delay, loss) = (wire.delay, wire.loss);
        let mut arrives = leaves + delay;
        let mut wait = RETRANSMIT.max(delay * 2);
        while loss > 0.0 && self.rng.f64() < loss {
            arrives += wait;
            wait *= 2;
        }
        let to = from.other();
        let receiver = self.end(to).node;
        self.nodes[receiver.0].downlink.booked += segment.len();
        let end = self.end(from);
        end.last_arrival = end.last_arrival.max(arrives);
        let arrives = end.last_arrival;
        self.at(arrives, None, Event::Arrived(to, segment));
    }

    pub(super) fn sent(&mut self, id: EndId, block: Option<BlockRef>) {
        let end = self.end(id);
        let (node, conn) = (end.node, end.conn);
        self.nodes[node.0].uplink.busy = false;
        if let (Some(block), Some(conn)) = (block, conn) {
            if let Some(share) = self.end(id).torrent {
                let share = self.nodes[node.0].shares.get_mut(&share);
                share
                    .into_iter()
                    .for_each(|s| s.sent += u64::from(block.len));
            }
            self.fact(node, Input::BlockSent(conn, block));
        }
        self.kick(node);
    }

    // ---- receiving ---------------------------------------------------------------------------

    pub(super) fn arrived(&mut self, id: EndId, segment: Segment) {
        let (from, to) = (self.end(id.other()).node, self.end(id).node);
        let end = self.end(id);
        let (open, same_life) = (end.open, end.life == self.nodes[to.0].life);
        if !same_life || !open || self.is_cut(from, to) {
            self.release(to, segment.len());
            // A computer that runs says that it knows nothing of this; one that does not is silent.
            let refuses = !open && self.nodes[to.0].is_up() && !self.is_cut(from, to);
            if refuses && !segment.last && self.end(id.other()).open {
                self.send_end(id);
            }
            return;
        }
        let downlink = &mut self.nodes[to.0].downlink;
        downlink.queue.push_back((id, segment));
        self.pull(to);
    }

    /// The downlink takes its next segment: messages are read as they come, payload when it is
    /// whole.
    fn pull(&mut self, node: NodeId) {
        let downlink = &mut self.nodes[node.0].downlink;
        if downlink.busy {
            return;
        }
        let Some((id, mut segment)) = downlink.queue.pop_front() else {
            return;
        };
        downlink.busy = true;
        let len = segment.len();
        let bytes = std::mem::take(&mut segment.bytes);
        let over = self.now + transfer(len, self.nodes[node.0].spec.down);
        let early = !bytes.is_empty() && segment.payload.is_some();
        if early {
            self.release(node, bytes.len() as u64);
            if self.end(id).open {
                self.end(id).inbox.push_back(Chunk::Bytes(bytes));
            }
            self.at(over, Some(node), Event::Received(id, segment));
            self.read(id);
        } else {
            segment.bytes = bytes;
            self.at(over, Some(node), Event::Received(id, segment));
        }
    }

    pub(super) fn received(&mut self, id: EndId, segment: Segment) {
        let end = self.end(id);
        let node = end.node;
        let len = segment.len();
        let Segment {
            bytes,
            payload,
            last,
        } = segment;
        if end.open {
            if !bytes.is_empty() {
                end.inbox.push_back(Chunk::Bytes(bytes));
            }
            if let Some((block, data)) = payload {
                end.inbox.push_back(Chunk::Payload(block, data));
            }
            if last {
                end.inbox.push_back(Chunk::End);
            }
        }
        self.release(node, len);
        self.nodes[node.0].downlink.busy = false;
        self.read(id);
        self.pull(node);
    }

    /// So many bytes are no longer on their way to this node: others may send.
    fn release(&mut self, node: NodeId, bytes: u64) {
        let most = self.most_booked(node);
        let downlink = &mut self.nodes[node.0].downlink;
        downlink.booked = downlink.booked.saturating_sub(bytes);
        // Each of them once: whoever still finds no room waits again.
        for _ in 0..downlink.waiting.len() {
            let downlink = &mut self.nodes[node.0].downlink;
            if downlink.booked >= most {
                return;
            }
            let Some(id) = downlink.waiting.pop_front() else {
                return;
            };
            let sender = self.end(id).node;
            self.nodes[sender.0].uplink.ring.push_back(id);
            self.kick(sender);
        }
    }

    /// Bytes that may be on their way to this node.
    fn most_booked(&self, node: NodeId) -> u64 {
        let rate = self.nodes[node.0].spec.down;
        (rate * QUEUE.as_millis() as u64 / 1000).max(QUEUE_LEAST)
    }

    /// An end has read so many bytes: the window of the other side opens.
    pub(super) fn credit(&mut self, reader: EndId, bytes: u64) {
        let end = self.end(reader.other());
        end.flight = end.flight.saturating_sub(bytes);
        self.enlist(reader.other());
    }
}

/// How long so many bytes take.
fn transfer(bytes: u64, rate: u64) -> Duration {
    Duration::from_nanos(bytes * 1_000_000_000 / rate.max(1))
}
