//! A DHT node that wants to be everybody's way to everything: it claims a place next to whatever is looked for, and
//! names nobody but its friends.

use std::net::SocketAddr;

use torrent::krpc::{Body, Message, NodeId, NodeInfo, Query, Response};

/// How it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Its id is always next to what it is asked for, whatever its address allows.
    Near,
    /// Its id fits its address; only what it says is false.
    Fitting,
}

/// One that lies.
#[derive(Clone, Debug)]
pub struct Liar {
    pub(super) manner: Manner,
    pub(super) own: NodeId,
    /// The others, and itself.
    pub(super) friends: Vec<SocketAddr>,
}

impl Liar {
    /// Whom it claims to be, or says that a friend is, to one who looks for `target`.
    fn claim(&self, addr: SocketAddr, target: NodeId, n: usize) -> NodeId {
        match self.manner {
            Manner::Near => {
                let mut near = target.0;
                near[18] ^= (n >> 8) as u8;
                near[19] ^= n as u8 ^ 1;
                NodeId(near)
            }
            Manner::Fitting => {
                let mut random = target.0;
                random[19] = n as u8;
                NodeId::tied_to(addr.ip(), random)
            }
        }
    }

    /// What it answers, if anything.
    pub(super) fn answer(
        &self,
        from: SocketAddr,
        bytes: &[u8],
        rng: &mut fastrand::Rng,
    ) -> Option<Vec<u8>> {
        let message = Message::parse(bytes).ok()?;
        let Body::Query(query) = message.body else {
            return None;
        };
        let target = match query {
            Query::FindNode { target, .. } => Some(target),
            Query::GetPeers { info_hash, .. } => Some(NodeId(info_hash)),
            _ => None,
        };
        let mut response = Response::new(self.own);
        if let Some(target) = target {
            let named = (0..8).map(|_| rng.usize(..self.friends.len()));
            let named = named.map(|n| NodeInfo {
                id: self.claim(self.friends[n], target, n),
                addr: self.friends[n],
            });
            response.nodes = Some(named.collect());
            response.token = Some(vec![6; 8]);
            if self.manner == Manner::Near {
                response.id = self.claim(from, target, rng.usize(..self.friends.len()));
            }
        }
        let mut answer = Message::new(message.transaction, Body::Response(response));
        // Whoever believed it would move to a place of the liars' choice.
        answer.ip = Some(([6, 6, 6, 6], 6).into());
        Some(answer.encode())
    }

    /// A question that may bring it into somebody's table.
    pub(super) fn intrude(&self) -> Vec<u8> {
        let target = self.own;
        let query = Query::FindNode {
            id: self.own,
            target,
            want: None,
        };
        Message::new(*b"liar", Body::Query(query)).encode()
    }
}
