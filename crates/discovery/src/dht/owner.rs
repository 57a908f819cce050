//! Who counts: nodes whose id follows from their address (BEP 42), and of each owner one.
//!
//! Local addresses are exempt from both: within a site nobody is kept from choosing an address, and many nodes of one
//! network are what one has there.

use torrent::krpc::NodeInfo;

use crate::scope::{Scope, neighbourhood};

/// Whether the node's id is one that may be at its address.
pub(super) fn is_fit(node: &NodeInfo) -> bool {
    let ip = node.addr.ip();
    Scope::of(ip).is_local() || node.id.is_tied_to(ip)
}

/// What nodes of one owner are likely to share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    /// The /24 or /64.
    network: u64,
    /// What BEP 42 makes ids of.
    identity: u64,
}

impl Owner {
    /// Of a node on the public network.
    pub(super) fn of(node: &NodeInfo) -> Option<Owner> {
        let ip = node.addr.ip();
        Some(Owner {
            network: neighbourhood(ip)?,
            identity: node.id.identity(ip),
        })
    }

    /// Whether two nodes of one address family are likely to belong to one.
    pub(super) fn is_same(&self, other: &Owner) -> bool {
        self.network == other.network || self.identity == other.identity
    }
}

/// Whether one of `others` is of the same owner as `node`.
pub(super) fn is_crowded(node: &NodeInfo, others: impl IntoIterator<Item = NodeInfo>) -> bool {
    Owner::of(node).is_some_and(|owner| {
        let mut owners = others.into_iter().filter_map(|other| Owner::of(&other));
        owners.any(|other| other.is_same(&owner))
    })
}

#[cfg(test)]
mod tests {
    use torrent::krpc::NodeId;

    use super::*;

    fn node(addr: &str, last: u8) -> NodeInfo {
        let mut id = [0; 20];
        id[19] = last;
        let addr: std::net::SocketAddr = addr.parse().unwrap();
        NodeInfo {
            id: NodeId::tied_to(addr.ip(), id),
            addr,
        }
    }

    #[test]
    fn ids_must_fit_public_addresses_only() {
        let fit = node("9.9.9.9:1", 0);
        assert!(is_fit(&fit));
        let at = |addr: &str| NodeInfo {
            addr: addr.parse().unwrap(),
            ..fit
        };
        assert!(!is_fit(&at("9.9.9.10:1")) && !is_fit(&at("[2001:db8::1]:1")));
        for local in [
            "10.0.0.1:1",
            "172.16.0.1:1",
            "192.168.0.1:1",
            "169.254.0.1:1",
            "127.0.0.1:1",
            "[::1]:1",
        ] {
            assert!(is_fit(&at(local)), "{local}");
        }
    }

    #[test]
    fn a_network_and_an_identity_have_one_owner() {
        let one = node("9.9.9.9:1", 0);
        assert!(is_crowded(&node("9.9.9.10:1", 1), [one]));
        assert!(!is_crowded(&node("9.9.8.9:1", 0), [one]));
        // 9 and 13 differ in a bit that BEP 42 does not look at.
        assert!(is_crowded(&node("13.9.9.9:1", 0), [one]));
        assert!(!is_crowded(&node("13.9.9.9:1", 1), [one]));
        let local = node("10.0.0.1:1", 0);
        assert!(!is_crowded(&local, [local]));
    }
}
