//! A message as bytes.

use super::{Body, Item, Message, NodeInfo, Query, Response, Want};
use crate::bencode::Owned;
use crate::tracker::compact;

type Entries = Vec<(&'static str, Owned)>;

impl Message {
    /// The packet. Keeping it within [`MAX_SENT_LEN`](super::MAX_SENT_LEN) is the caller's to do.
    pub fn encode(&self) -> Vec<u8> {
        let mut dict: Entries = vec![("t", self.transaction.as_slice().into())];
        match &self.body {
            Body::Query(query) => {
                let (name, arguments) = query_entries(query);
                dict.extend([
                    ("y", "q".into()),
                    ("q", name.into()),
                    ("a", Owned::dict(arguments)),
                ]);
            }
            Body::Response(response) => {
                dict.extend([
                    ("y", "r".into()),
                    ("r", Owned::dict(response_entries(response))),
                ]);
            }
            Body::Error { code, message } => {
                let error = vec![Owned::from(*code), Owned::from(message.as_str())];
                dict.extend([("y", "e".into()), ("e", error.into())]);
            }
        }
        if let Some(version) = &self.version {
            dict.push(("v", version.as_slice().into()));
        }
        if self.read_only {
            dict.push(("ro", 1u8.into()));
        }
        if let Some(ip) = self.ip {
            dict.push(("ip", packed(|out| compact::push(out, ip))));
        }
        Owned::dict(dict).encode()
    }
}

fn query_entries(query: &Query) -> (&[u8], Entries) {
    let mut entries: Entries = query
        .id()
        .map(|id| ("id", id.0.into()))
        .into_iter()
        .collect();
    let name: &[u8] = match query {
        Query::Ping { .. } => b"ping",
        Query::FindNode { target, want, .. } => {
            entries.push(("target", target.0.into()));
            entries.extend(want.map(want_entry));
            b"find_node"
        }
        Query::GetPeers {
            info_hash, want, ..
        } => {
            entries.push(("info_hash", info_hash.into()));
            entries.extend(want.map(want_entry));
            b"get_peers"
        }
        Query::AnnouncePeer {
            info_hash,
            port,
            implied_port,
            token,
            ..
        } => {
            entries.push(("info_hash", info_hash.into()));
            entries.push(("port", (*port).into()));
            entries.push(("implied_port", (*implied_port).into()));
            entries.push(("token", token.as_slice().into()));
            b"announce_peer"
        }
        Query::Get {
            target, seq, want, ..
        } => {
            entries.push(("target", target.0.into()));
            entries.extend(seq.map(|seq| ("seq", Owned::Int(seq))));
            entries.extend(want.map(want_entry));
            b"get"
        }
        Query::Put {
            token, item, cas, ..
        } => {
            entries.push(("token", token.as_slice().into()));
            entries.extend(cas.map(|cas| ("cas", Owned::Int(cas))));
            entries.extend(item_entries(item));
            b"put"
        }
        Query::Unknown { name, .. } => name,
    };
    (name, entries)
}

fn want_entry(want: Want) -> (&'static str, Owned) {
    let families = [(want.n4, "n4"), (want.n6, "n6")];
    (
        "want",
        Owned::list(
            families
                .into_iter()
                .filter(|(wanted, _)| *wanted)
                .map(|(_, name)| name),
        ),
    )
}

fn item_entries(item: &Item) -> Entries {
    let mut entries: Entries = vec![("v", Owned::Raw(item.value().to_vec()))];
    if let Item::Mutable(signed) = item {
        entries.push(("k", signed.key.as_slice().into()));
        entries.push(("seq", Owned::Int(signed.seq)));
        entries.push(("sig", signed.signature.as_slice().into()));
        if !signed.salt.is_empty() {
            entries.push(("salt", signed.salt.as_slice().into()));
        }
    }
    entries
}

fn response_entries(response: &Response) -> Entries {
    let mut entries: Entries = vec![("id", response.id.0.into())];
    for (key, nodes) in [("nodes", &response.nodes), ("nodes6", &response.nodes6)] {
        if let Some(nodes) = nodes {
            entries.push((
                key,
                packed(|out| nodes.iter().for_each(|node| NodeInfo::push(node, out))),
            ));
        }
    }
    if let Some(token) = &response.token {
        entries.push(("token", token.as_slice().into()));
    }
    entries.extend(response.seq.map(|seq| ("seq", Owned::Int(seq))));
    if let Some(item) = &response.item {
        entries.extend(item_entries(item));
    }
    if !response.values.is_empty() {
        let values = response
            .values
            .iter()
            .map(|&peer| packed(|out| compact::push(out, peer)));
        entries.push(("values", Owned::list(values)));
    }
    entries
}

fn packed(write: impl FnOnce(&mut Vec<u8>)) -> Owned {
    let mut out = Vec::new();
    write(&mut out);
    Owned::Bytes(out)
}
