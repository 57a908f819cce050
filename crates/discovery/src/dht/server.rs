//! The answering half of a DHT node: who is near, who has what, and keeping what others announce and put here. The same
//! for both address families.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use torrent::krpc::{Body, Item, NodeId, NodeInfo, Query, Response, Want, code};

use super::items::Items;
use super::limiter::Limiter;
use super::node::Node;
use super::peers::Peers;
use super::table::{K, Standing};
use super::tokens::Tokens;

/// Most peers in an answer, so that with nodes of both families it stays below
/// [`MAX_SENT_LEN`](torrent::krpc::MAX_SENT_LEN).
pub(super) const MAX_VALUES_V4: usize = 40;
pub(super) const MAX_VALUES_V6: usize = 16;

/// Longest value beside which as many nodes as usual fit into an answer, in bytes, and nodes of each family given
/// beside a longer one.
const SHORT_VALUE: usize = 500;
const NODES_BESIDE: usize = 3;

/// How often announces that have become old are swept out.
const SWEEP: Duration = Duration::from_secs(5 * 60);

/// Answers questions.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) stored: Peers,
    pub(super) items: Items,
    tokens: Tokens,
    limiter: Limiter,
    sweep_at: Instant,
    /// Questions left unanswered.
    pub(super) left_out: u64,
}

/// Where to look for nodes near a place.
pub(super) struct Nearest<'a> {
    pub(super) now: Instant,
    pub(super) v4: Option<&'a Node>,
    pub(super) v6: Option<&'a Node>,
}

impl Server {
    pub(super) fn new(secret: [u8; 20], now: Instant) -> Server {
        Server {
            stored: Peers::default(),
            items: Items::default(),
            tokens: Tokens::new(secret, now),
            limiter: Limiter::new(now),
            sweep_at: now + SWEEP,
            left_out: 0,
        }
    }

    /// Whether to answer a question from `from`; counts it.
    pub(super) fn allows(&mut self, now: Instant, from: SocketAddr) -> bool {
        let allows = self.limiter.allows(now, from);
        if !allows {
            self.left_out += 1;
        }
        allows
    }

    /// The answer, or a refusal.
    pub(super) fn answer(
        &mut self,
        now: Instant,
        from: SocketAddr,
        own: NodeId,
        query: Query,
        nearest: &Nearest<'_>,
        rng: &mut fastrand::Rng,
    ) -> Body {
        let mut response = Response::new(own);
        match query {
            Query::Ping { .. } => {}
            Query::FindNode { id, target, want } => {
                nearest.add_to(&mut response, id, &target, want, from)
            }
            Query::GetPeers {
                id,
                info_hash,
                want,
            } => {
                nearest.add_to(&mut response, id, &NodeId(info_hash), want, from);
                let v4 = from.is_ipv4();
                let count = if v4 { MAX_VALUES_V4 } else { MAX_VALUES_V6 };
                response.values = self.stored.sample(now, &info_hash, v4, count, rng);
                response.token = Some(self.tokens.token(now, from.ip()));
            }
            Query::AnnouncePeer {
                info_hash,
                port,
                implied_port,
                token,
                ..
            } => {
                let peer =
                    SocketAddr::new(from.ip(), if implied_port { from.port() } else { port });
                if !self.tokens.accepts(now, from.ip(), &token) {
                    return refusal(code::PROTOCOL, "bad token");
                }
                if !self.stored.announce(now, &own, info_hash, peer) {
                    return refusal(code::SERVER, "no room");
                }
            }
            Query::Get {
                id,
                target,
                seq,
                want,
            } => {
                nearest.add_to(&mut response, id, &target, want, from);
                response.token = Some(self.tokens.token(now, from.ip()));
                if let Some(item) = self.items.get(now, &target) {
                    response.seq = item.seq();
                    let is_news = seq.is_none_or(|known| item.seq().is_none_or(|seq| seq > known));
                    response.item = is_news.then(|| Box::new(without_salt(item)));
                }
                let value = response.item.as_ref().map_or(0, |item| item.value().len());
                if value > SHORT_VALUE {
                    for nodes in [&mut response.nodes, &mut response.nodes6]
                        .into_iter()
                        .flatten()
                    {
                        nodes.truncate(NODES_BESIDE);
                    }
                }
            }
            Query::Put {
                token, item, cas, ..
            } => {
                if !self.tokens.accepts(now, from.ip(), &token) {
                    return refusal(code::PROTOCOL, "bad token");
                }
                if let Err((code, message)) = self.items.put(now, &own, *item, cas) {
                    return refusal(code, message);
                }
            }
            Query::Unknown { .. } => return refusal(code::METHOD_UNKNOWN, "method unknown"),
        }
        Body::Response(response)
    }

    /// How many peers are remembered.
    pub(super) fn stored_peers(&self) -> usize {
        self.stored.len()
    }

    /// Forgets what is old, now and then.
    pub(super) fn sweep(&mut self, now: Instant) {
        if now >= self.sweep_at {
            self.stored.expire(now);
            self.items.expire(now);
            self.sweep_at = now + SWEEP;
        }
    }

    /// When [`sweep`](Server::sweep) has something to do.
    pub(super) fn deadline(&self) -> Instant {
        self.sweep_at
    }
}

impl Nearest<'_> {
    /// Adds the nodes nearest to `target` in the families that are wanted (BEP 32), without the asking one.
    fn add_to(
        &self,
        response: &mut Response,
        asking: NodeId,
        target: &NodeId,
        want: Option<Want>,
        from: SocketAddr,
    ) {
        let want = want.unwrap_or(Want {
            n4: from.is_ipv4(),
            n6: from.is_ipv6(),
        });
        response.nodes = self
            .v4
            .filter(|_| want.n4)
            .map(|node| self.nodes(node, asking, target));
        response.nodes6 = self
            .v6
            .filter(|_| want.n6)
            .map(|node| self.nodes(node, asking, target));
    }

    /// Good nodes, or silent ones if there are no good ones.
    fn nodes(&self, node: &Node, asking: NodeId, target: &NodeId) -> Vec<NodeInfo> {
        let of = |standing| {
            node.table
                .closest(self.now, target, K + 1, |is| is == standing)
        };
        let mut nodes = of(Standing::Good);
        if nodes.is_empty() {
            nodes = of(Standing::Questionable);
        }
        nodes.retain(|node| node.id != asking);
        nodes.truncate(K);
        nodes
    }
}

/// Whoever asks for a value knows its salt (BEP 44).
fn without_salt(item: &Item) -> Item {
    let mut item = item.clone();
    if let Item::Mutable(signed) = &mut item {
        signed.salt.clear();
    }
    item
}

/// The answer to a question that lacks something.
pub(super) fn malformed(argument: &str) -> Body {
    refusal(code::PROTOCOL, &format!("missing or malformed: {argument}"))
}

fn refusal(code: u16, message: &str) -> Body {
    Body::Error {
        code,
        message: message.to_owned(),
    }
}
