//! Eve's dealings with the world: she dials, greets, and bursts; what comes back she ignores.

use std::time::Duration;

use swarm::{Approach, Input};

use super::{Event, World};
use crate::net::{Chunk, EndId};
use crate::node::{Brain, NodeId};

/// Time between two bursts.
const PAUSE: Duration = Duration::from_millis(100);
/// Bytes she lets pile up at one end.
const PILE: usize = 64 << 10;

impl World {
    pub(super) fn eve_acts(&mut self, eve: NodeId) {
        let Brain::Eve(state) = &self.nodes[eve.0].brain else {
            return;
        };
        let id = state.content.id;
        let shares = |n: &NodeId| {
            let node = &self.nodes[n.0];
            node.is_up() && node.shares.contains_key(&id) && !self.talks(eve, *n)
        };
        let targets: Vec<NodeId> = self.nodes().filter(shares).collect();
        for target in targets {
            let addr = self.nodes[target.0].addr;
            if let Brain::Eve(state) = &mut self.nodes[eve.0].brain {
                let conn = state.next_conn();
                self.dial(eve, conn, addr, Approach::Usual);
            }
        }
        for end in self.nodes[eve.0]
            .conns
            .values()
            .copied()
            .collect::<Vec<_>>()
        {
            if self.end(end).outbox_bytes < PILE {
                self.eve_sends(eve, end, false);
            }
        }
        self.at(self.now + PAUSE, Some(eve), Event::EveActs);
    }

    /// Whether there is a connection between these two, or a dial under way.
    fn talks(&self, a: NodeId, b: NodeId) -> bool {
        let mut ends = self.nodes[a.0].conns.values();
        ends.any(|end| self.wires[end.wire].ends[1 - end.side].node == b)
    }

    fn eve_sends(&mut self, eve: NodeId, end: EndId, greeting: bool) {
        let mut bytes = Vec::new();
        let Brain::Eve(state) = &mut self.nodes[eve.0].brain else {
            return;
        };
        match greeting {
            true => state.greet(&mut self.rng, &mut bytes),
            false => state.burst(&mut self.rng, &mut bytes),
        }
        self.queue(end, |end| end.write(|out| out.extend(bytes)));
    }

    pub(super) fn eve_learns(&mut self, eve: NodeId, input: Input) {
        if let Input::Incoming(conn, ..) | Input::Connected(conn, _) = input
            && let Some(end) = self.end_of(eve, conn)
        {
            self.eve_sends(eve, end, true);
        }
    }

    pub(super) fn eve_reads(&mut self, id: EndId) {
        while let Some(chunk) = self.end(id).inbox.pop_front() {
            match chunk {
                Chunk::Bytes(bytes) => self.credit(id, bytes.len() as u64),
                Chunk::Payload(_, data) => self.credit(id, u64::from(data.len())),
                Chunk::End => return self.hung_up(id),
            }
        }
    }
}
