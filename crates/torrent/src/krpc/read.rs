//! Bytes as a message.

use super::{
    Body, Item, KrpcError, MAX_NODES, MAX_PACKET_LEN, MAX_TEXT_LEN, MAX_TOKEN_LEN,
    MAX_TRANSACTION_LEN, MAX_VALUES, Message, NODE_V4_LEN, NODE_V6_LEN, NodeId, NodeInfo, Query,
    Response, Signed, Want, code,
};
use crate::bencode::{self, Dict, Value};
use crate::tracker::compact;

/// Deepest nesting in a packet; messages need three, data that later BEPs carry may have more.
const MAX_DEPTH: u32 = 24;

/// Most elements in a packet.
const MAX_ELEMENTS: u32 = 2000;

impl Message {
    /// Reads a packet. Optional parts that make no sense are taken as missing; nodes and peers without a port are
    /// left out.
    ///
    /// # Errors
    /// Not a message; [`KrpcError::Query`] if it is a query that can still be answered with an error.
    pub fn parse(packet: &[u8]) -> Result<Message, KrpcError> {
        let limits = bencode::Limits {
            depth: MAX_DEPTH,
            elements: MAX_ELEMENTS,
            ..bencode::Limits::LENIENT.size(MAX_PACKET_LEN)
        };
        let root = bencode::parse(packet, limits)?;
        let dict = root.as_dict().ok_or(KrpcError::Missing("y"))?;
        let transaction = bytes(&dict, "t", MAX_TRANSACTION_LEN).ok_or(KrpcError::Missing("t"))?;
        let body = match dict.get("y").and_then(|y| y.as_bytes()) {
            Some(b"q") => Body::Query(query(&dict).map_err(|argument| {
                let transaction = transaction.clone();
                KrpcError::Query {
                    transaction,
                    argument,
                }
            })?),
            Some(b"r") => Body::Response(response(&dict)?),
            Some(b"e") => error(&dict),
            _ => return Err(KrpcError::Missing("y")),
        };
        Ok(Message {
            transaction,
            body,
            version: bytes(&dict, "v", MAX_TEXT_LEN),
            read_only: flag(&dict, "ro"),
            ip: dict.get("ip").and_then(|ip| compact::addr(ip.as_bytes()?)),
        })
    }
}

fn query(dict: &Dict<'_>) -> Result<Query, &'static str> {
    let name = dict.get("q").and_then(|name| name.as_bytes()).ok_or("q")?;
    let known: [&[u8]; 6] = [
        b"ping",
        b"find_node",
        b"get_peers",
        b"announce_peer",
        b"get",
        b"put",
    ];
    let arguments = dict.get("a").and_then(|a| a.as_dict());
    if !known.contains(&name) {
        let id = arguments
            .and_then(|arguments| array(&arguments, "id"))
            .map(NodeId);
        return Ok(Query::Unknown {
            id,
            name: name[..name.len().min(MAX_TEXT_LEN)].to_vec(),
        });
    }
    let arguments = arguments.ok_or("a")?;
    let id = NodeId(array(&arguments, "id").ok_or("id")?);
    let info_hash = || array(&arguments, "info_hash").ok_or("info_hash");
    let want = want(&arguments);
    match name {
        b"ping" => Ok(Query::Ping { id }),
        b"find_node" => {
            let target = NodeId(array(&arguments, "target").ok_or("target")?);
            Ok(Query::FindNode { id, target, want })
        }
        b"get_peers" => Ok(Query::GetPeers {
            id,
            info_hash: info_hash()?,
            want,
        }),
        b"get" => Ok(Query::Get {
            id,
            target: NodeId(array(&arguments, "target").ok_or("target")?),
            seq: number(&arguments, "seq"),
            want,
        }),
        b"put" => Ok(Query::Put {
            id,
            token: bytes(&arguments, "token", MAX_TOKEN_LEN).ok_or("token")?,
            item: Box::new(item(&arguments)?),
            cas: number(&arguments, "cas"),
        }),
        _ => {
            let implied_port = flag(&arguments, "implied_port");
            let port = arguments
                .get("port")
                .and_then(|port| port.as_uint())
                .and_then(|port| u16::try_from(port).ok());
            let port = if implied_port {
                port.unwrap_or(0)
            } else {
                port.filter(|&port| port != 0).ok_or("port")?
            };
            let token = bytes(&arguments, "token", MAX_TOKEN_LEN).ok_or("token")?;
            Ok(Query::AnnouncePeer {
                id,
                info_hash: info_hash()?,
                port,
                implied_port,
                token,
            })
        }
    }
}

/// A value to keep: mutable if there is a key (BEP 44).
fn item(dict: &Dict<'_>) -> Result<Item, &'static str> {
    let value = dict.get("v").ok_or("v")?.raw().to_vec();
    if dict.get("k").is_none() {
        return Ok(Item::Immutable(value));
    }
    Ok(Item::Mutable(Signed {
        key: *dict.get("k").and_then(|k| k.as_array::<32>()).ok_or("k")?,
        salt: match dict.get("salt") {
            Some(salt) => salt.as_bytes().ok_or("salt")?.to_vec(),
            None => Vec::new(),
        },
        seq: number(dict, "seq").ok_or("seq")?,
        signature: *dict
            .get("sig")
            .and_then(|sig| sig.as_array::<64>())
            .ok_or("sig")?,
        value,
    }))
}

fn response(dict: &Dict<'_>) -> Result<Response, KrpcError> {
    let values = dict
        .get("r")
        .and_then(|r| r.as_dict())
        .ok_or(KrpcError::Missing("r"))?;
    let peers = values.get("values").and_then(|peers| peers.as_list());
    let peers = peers.into_iter().flat_map(|list| list.iter());
    Ok(Response {
        id: NodeId(array(&values, "id").ok_or(KrpcError::Missing("id"))?),
        nodes: nodes(&values, "nodes", NODE_V4_LEN),
        nodes6: nodes(&values, "nodes6", NODE_V6_LEN),
        values: peers
            .filter_map(|peer| compact::addr(peer.as_bytes()?))
            .filter(|peer| peer.port() != 0)
            .take(MAX_VALUES)
            .collect(),
        token: bytes(&values, "token", MAX_TOKEN_LEN),
        item: item(&values).ok().map(Box::new),
        seq: number(&values, "seq"),
    })
}

/// BEP 5 wants a list of code and message; whatever else comes is an error all the same.
fn error(dict: &Dict<'_>) -> Body {
    let list = dict.get("e").and_then(|e| e.as_list());
    let entry = |at| list.and_then(|list| list.get(at));
    let code = entry(0).and_then(|code: Value<'_>| u16::try_from(code.as_int()?).ok());
    let message = entry(1)
        .and_then(|message: Value<'_>| message.as_bytes())
        .unwrap_or_default();
    let mut message = String::from_utf8_lossy(message).replace(char::is_control, "");
    message.truncate(message.floor_char_boundary(MAX_TEXT_LEN));
    Body::Error {
        code: code.unwrap_or(code::GENERIC),
        message,
    }
}

fn want(arguments: &Dict<'_>) -> Option<Want> {
    let list = arguments.get("want")?.as_list()?;
    let has = |family: &[u8]| list.iter().any(|want| want.as_bytes() == Some(family));
    Some(Want {
        n4: has(b"n4"),
        n6: has(b"n6"),
    })
}

fn nodes(values: &Dict<'_>, key: &str, len: usize) -> Option<Vec<NodeInfo>> {
    let packed = values.get(key)?.as_bytes()?;
    let nodes = packed.chunks_exact(len).filter_map(NodeInfo::parse);
    Some(
        nodes
            .filter(|node| node.addr.port() != 0)
            .take(MAX_NODES)
            .collect(),
    )
}

fn array(dict: &Dict<'_>, key: &str) -> Option<[u8; 20]> {
    dict.get(key)?.as_array::<20>().copied()
}

fn bytes(dict: &Dict<'_>, key: &str, max: usize) -> Option<Vec<u8>> {
    dict.get(key)?
        .as_bytes()
        .filter(|bytes| bytes.len() <= max)
        .map(<[u8]>::to_vec)
}

/// A number of a value: never negative.
fn number(dict: &Dict<'_>, key: &str) -> Option<i64> {
    dict.get(key)?.as_int().filter(|number| *number >= 0)
}

fn flag(dict: &Dict<'_>, key: &str) -> bool {
    dict.get(key)
        .and_then(|flag| flag.as_int())
        .is_some_and(|flag| flag != 0)
}
