//! Questions on their way: which answer belongs to which, and which will never come.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use torrent::krpc::NodeId;

/// After this long an answer is unlikely, and somebody else is asked as well. Answers within 2 s are the rule even
/// across the world.
pub(super) const SLOW: Duration = Duration::from_secs(2);

/// After this long no answer will come.
pub(super) const LOST: Duration = Duration::from_secs(8);

/// Most questions on their way at a time: what sixteen lookups and their announces need.
const MAX_IN_FLIGHT: usize = 256;

/// Why a question was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To see whether the node is there.
    Ping,
    /// A step of this lookup.
    Lookup(u32),
    /// The last step of this lookup: to be found by others.
    Announce(u32),
}

/// A question on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Query {
    pub(super) to: SocketAddr,
    /// Who should answer, if known.
    pub(super) id: Option<NodeId>,
    pub(super) purpose: Purpose,
}

/// What became of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overdue {
    /// No answer for [`SLOW`]; it may still come.
    Slow(Query),
    /// No answer for [`LOST`].
    Lost(Query),
}

/// All questions on their way.
#[derive(Debug, Default)]
pub(super) struct Queries {
    in_flight: BTreeMap<u32, Query>,
    /// When each becomes slow, and lost; in order, since every question waits equally long.
    slow: VecDeque<(Instant, u32)>,
    lost: VecDeque<(Instant, u32)>,
}

impl Queries {
    pub(super) fn has_room(&self) -> bool {
        self.in_flight.len() < MAX_IN_FLIGHT
    }

    pub(super) fn pings(&self) -> usize {
        self.in_flight
            .values()
            .filter(|query| query.purpose == Purpose::Ping)
            .count()
    }

    pub(super) fn is_asking(&self, addr: SocketAddr) -> bool {
        self.in_flight.values().any(|query| query.to == addr)
    }

    /// Notes a question; the answer is `transaction`, random so that nobody can answer in another's place.
    pub(super) fn ask(&mut self, now: Instant, query: Query, rng: &mut fastrand::Rng) -> [u8; 4] {
        let mut transaction = rng.u32(..);
        while self.in_flight.contains_key(&transaction) {
            transaction = transaction.wrapping_add(1);
        }
        self.in_flight.insert(transaction, query);
        self.slow.push_back((now + SLOW, transaction));
        self.lost.push_back((now + LOST, transaction));
        transaction.to_be_bytes()
    }

    /// The question that an answer from `from` belongs to; it is no longer on its way.
    pub(super) fn answered(&mut self, transaction: &[u8], from: SocketAddr) -> Option<Query> {
        let transaction = u32::from_be_bytes(transaction.try_into().ok()?);
        self.in_flight
            .get(&transaction)
            .filter(|query| query.to == from)?;
        let query = self.in_flight.remove(&transaction);
        self.drop_settled();
        query
    }

    /// The next question that has waited too long, if there is one.
    pub(super) fn overdue(&mut self, now: Instant) -> Option<Overdue> {
        while let Some((_, transaction)) = self.slow.pop_front_if(|(at, _)| *at <= now) {
            if let Some(query) = self.in_flight.get(&transaction) {
                return Some(Overdue::Slow(*query));
            }
        }
        while let Some((_, transaction)) = self.lost.pop_front_if(|(at, _)| *at <= now) {
            if let Some(query) = self.in_flight.remove(&transaction) {
                return Some(Overdue::Lost(query));
            }
        }
        self.drop_settled();
        None
    }

    /// When [`overdue`](Queries::overdue) has something to say again.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let next = [self.slow.front(), self.lost.front()];
        next.into_iter().flatten().map(|(at, _)| *at).min()
    }

    /// Questions that are no longer on their way have no deadline.
    fn drop_settled(&mut self) {
        for queue in [&mut self.slow, &mut self.lost] {
            while queue
                .pop_front_if(|(_, transaction)| !self.in_flight.contains_key(transaction))
                .is_some()
            {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(port: u16) -> Query {
        Query {
            to: ([10, 0, 0, 1], port).into(),
            id: None,
            purpose: Purpose::Ping,
        }
    }

    #[test]
    fn an_answer_is_taken_once_and_from_the_one_who_was_asked() {
        let (now, mut rng) = (Instant::now(), fastrand::Rng::with_seed(1));
        let mut queries = Queries::default();
        let transaction = queries.ask(now, query(1), &mut rng);
        assert_eq!(queries.answered(&transaction, query(2).to), None);
        assert_eq!(queries.answered(&transaction[..3], query(1).to), None);
        assert_eq!(queries.answered(&transaction, query(1).to), Some(query(1)));
        assert_eq!(queries.answered(&transaction, query(1).to), None);
        assert_eq!(queries.deadline(), None);
    }

    #[test]
    fn a_question_is_slow_then_lost() {
        let (now, mut rng) = (Instant::now(), fastrand::Rng::with_seed(1));
        let mut queries = Queries::default();
        queries.ask(now, query(1), &mut rng);
        let transaction = queries.ask(now, query(2), &mut rng);
        assert_eq!(queries.deadline(), Some(now + SLOW));
        assert_eq!(queries.overdue(now), None);
        assert_eq!(queries.overdue(now + SLOW), Some(Overdue::Slow(query(1))));
        assert_eq!(queries.overdue(now + SLOW), Some(Overdue::Slow(query(2))));
        assert_eq!(queries.overdue(now + SLOW), None);
        assert!(queries.answered(&transaction, query(2).to).is_some());
        assert_eq!(queries.deadline(), Some(now + LOST));
        assert_eq!(queries.overdue(now + LOST), Some(Overdue::Lost(query(1))));
        assert_eq!(
            (queries.overdue(now + LOST), queries.deadline()),
            (None, None)
        );
    }
}
