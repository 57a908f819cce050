//! How the DHT node does, in numbers and in words.

use std::time::Instant;

use discovery::dht::{Reach, Status};

use super::DhtDriver;

/// Fewer good nodes than this are few.
const FEW: usize = 4;

impl DhtDriver {
    /// How it does.
    pub fn state(&self) -> api::Dht {
        let status = self.engine.borrow().status(Instant::now());
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        api::Dht {
            state: words(&status, self.unresolved.borrow().as_deref()),
            nodes: number(status.known),
            good: number(good(&status)),
            verified: number(status.verified),
            reachable: reachable(&status),
            values: number(status.stored_items),
            peers: number(status.stored_peers),
            left_out: status.left_out,
        }
    }
}

fn good(status: &Status) -> usize {
    status.good_v4 + status.good_v6
}

fn reachable(status: &Status) -> Option<bool> {
    match status.reach {
        [Reach::Open, _] | [_, Reach::Open] => Some(true),
        [Reach::Closed, _] | [_, Reach::Closed] => Some(false),
        [Reach::Unknown, Reach::Unknown] => None,
    }
}

/// `unresolved`: which host to begin with could not be looked up, and why.
fn words(status: &Status, unresolved: Option<&str>) -> String {
    let good = good(status);
    if good == 0 {
        return match (status.is_resolving, unresolved, status.is_settling) {
            (true, ..) => "looking up hosts to begin with".to_owned(),
            (_, Some(why), _) => format!("asking for a host to begin with failed: {why}"),
            (_, _, true) => "looking for its first nodes".to_owned(),
            _ if status.known > 0 => "no node answers any more; trying again".to_owned(),
            _ => "no node answers yet; trying again".to_owned(),
        };
    }
    let nodes = match good {
        1 => "1 node answers".to_owned(),
        n => format!("{n} nodes answer"),
    };
    let more = match good {
        0..FEW => "; looking for more",
        _ => "",
    };
    let reached = match reachable(status) {
        Some(true) => "; other nodes reach this one",
        Some(false) => "; other nodes do not reach this one: a router or a firewall is in between",
        None => "",
    };
    let flooded = match status.left_out {
        0 => String::new(),
        n => format!("; {n} questions too many were left unanswered"),
    };
    format!(
        "{nodes}, {} verified{more}{reached}{flooded}",
        status.verified
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_state_has_words_of_its_own() {
        let start = Status::default();
        let resolving = Status {
            is_resolving: true,
            ..start
        };
        let settling = Status {
            is_settling: true,
            ..start
        };
        let few = Status {
            good_v4: 1,
            known: 2,
            verified: 1,
            ..start
        };
        let many = Status {
            good_v4: 20,
            good_v6: 9,
            known: 40,
            verified: 25,
            ..start
        };
        let open = Status {
            reach: [Reach::Open, Reach::Unknown],
            ..many
        };
        let closed = Status {
            reach: [Reach::Closed, Reach::Unknown],
            ..many
        };
        let lost = Status { known: 3, ..start };
        let flooded = Status {
            left_out: 7,
            ..many
        };
        for (status, expected) in [
            (start, "no node answers yet; trying again"),
            (lost, "no node answers any more; trying again"),
            (resolving, "looking up hosts to begin with"),
            (settling, "looking for its first nodes"),
            (few, "1 node answers, 1 verified; looking for more"),
            (many, "29 nodes answer, 25 verified"),
            (
                flooded,
                "29 nodes answer, 25 verified; 7 questions too many were left unanswered",
            ),
            (
                open,
                "29 nodes answer, 25 verified; other nodes reach this one",
            ),
            (
                closed,
                "29 nodes answer, 25 verified; other nodes do not reach this one: a router or a firewall is in between",
            ),
        ] {
            assert_eq!(words(&status, None), expected);
        }
        let failed = "asking for a host to begin with failed: dht.example: no such host";
        assert_eq!(words(&start, Some("dht.example: no such host")), failed);
        assert_eq!(
            words(&many, Some("dht.example: no such host")),
            words(&many, None)
        );
    }
}
