//! Whom to serve: upload slots dealt anew every few seconds.
//!
//! While we download, the peers that gave us most in the last round get the slots (tit-for-tat,
//! BEP 3); one more slot goes round among the others, so that newcomers get a start and we find
//! better partners (optimistic unchoke). When we only seed there is nothing to be had in return:
//! slots go round so that all get a turn, peers near the start or the end of their download first
//! (those who will soon share, or soon leave with everything), which starves peers that take
//! much and give nothing.

use crate::ConnId;

/// What the choker knows of a peer that wants something from us.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Who.
    pub conn: ConnId,
    /// Served at present.
    pub unchoked: bool,
    /// Its torrent is complete here: judged as a seed judges.
    pub seeding: bool,
    /// Payload bytes it gave us since the last round.
    pub gave: u64,
    /// Payload bytes we gave it since it was last unchoked.
    pub turn: u64,
    /// How much of the torrent it has, in thousandths.
    pub progress: u32,
    /// Rounds since it was last unchoked (0: is unchoked now).
    pub waited: u32,
    /// It has stopped delivering although we asked (snubbed).
    pub snubbing: bool,
}

/// A turn as a seed serves one peer before it looks for another: enough for TCP to reach full
/// speed and for the peer to get pieces it can pass on.
const TURN_BYTES: u64 = 20 << 20;
/// Rounds between two changes of the optimistic slot.
const OPTIMISTIC_ROUNDS: u32 = 3;

/// Deals the slots.
#[derive(Debug)]
pub struct Choker {
    round: u32,
    optimistic: Option<ConnId>,
    rng: fastrand::Rng,
}

impl Choker {
    /// Nobody is served yet.
    pub fn new(seed: u64) -> Choker {
        Choker {
            round: 0,
            optimistic: None,
            rng: fastrand::Rng::with_seed(seed),
        }
    }

    /// The peers to serve until the next round: at most `slots`, and one optimistically.
    pub fn deal(&mut self, candidates: &[Candidate], slots: usize) -> Vec<ConnId> {
        let rotate = self.round.is_multiple_of(OPTIMISTIC_ROUNDS);
        self.round = self.round.wrapping_add(1);

        let mut ranked: Vec<(&Candidate, u64)> =
            candidates.iter().map(|c| (c, self.rng.u64(..))).collect();
        ranked.sort_by_key(|&(c, shuffle)| (std::cmp::Reverse(merit(c)), shuffle));
        let mut served: Vec<ConnId> = ranked
            .iter()
            .take(slots)
            .filter(|(c, _)| !c.snubbing)
            .map(|(c, _)| c.conn)
            .collect();

        let rest: Vec<&Candidate> = candidates
            .iter()
            .filter(|c| !served.contains(&c.conn))
            .collect();
        let keep = !rotate && rest.iter().any(|c| Some(c.conn) == self.optimistic);
        if !keep {
            // The longest waiting first; among equals, chance.
            let most = rest.iter().map(|c| c.waited).max();
            let waiting: Vec<ConnId> = rest
                .iter()
                .filter(|c| Some(c.waited) == most)
                .map(|c| c.conn)
                .collect();
            self.optimistic =
                (!waiting.is_empty()).then(|| waiting[self.rng.usize(..waiting.len())]);
        }
        served.extend(self.optimistic);
        served
    }
}

/// What earns a slot, larger is better.
fn merit(c: &Candidate) -> (u64, u64) {
    if !c.seeding {
        return (c.gave, u64::from(c.unchoked));
    }
    let extreme = u64::from(c.progress.abs_diff(500));
    let mid_turn = c.unchoked && c.turn < TURN_BYTES;
    (u64::from(mid_turn), u64::from(c.waited) * 200 + extreme)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(n: u64) -> Candidate {
        Candidate {
            conn: ConnId(n),
            unchoked: false,
            seeding: false,
            gave: 0,
            turn: 0,
            progress: 500,
            waited: 1,
            snubbing: false,
        }
    }

    #[test]
    fn those_who_give_most_are_served_and_one_more() {
        let peers: Vec<Candidate> = (0..10)
            .map(|n| Candidate {
                gave: n * 1000,
                ..peer(n)
            })
            .collect();
        let served = Choker::new(1).deal(&peers, 3);
        assert_eq!(served.len(), 4);
        assert_eq!(served[..3], [ConnId(9), ConnId(8), ConnId(7)]);
        assert!(served[3] < ConnId(7));
    }

    #[test]
    fn the_optimistic_slot_goes_round() {
        let mut choker = Choker::new(1);
        let mut peers: Vec<Candidate> = (0..6)
            .map(|n| Candidate {
                gave: (n < 2) as u64,
                ..peer(n)
            })
            .collect();
        let mut lucky = std::collections::BTreeSet::new();
        for _ in 0..12 {
            let served = choker.deal(&peers, 2);
            lucky.insert(served[2]);
            for p in &mut peers {
                p.waited = if served.contains(&p.conn) {
                    0
                } else {
                    p.waited + 1
                };
            }
        }
        assert_eq!(lucky.len(), 4);
    }

    #[test]
    fn a_seed_gives_everyone_a_turn_and_finishes_turns_it_began() {
        let mut choker = Choker::new(1);
        let mut peers: Vec<Candidate> = (0..12)
            .map(|n| Candidate {
                seeding: true,
                ..peer(n)
            })
            .collect();
        let mut rounds_served = vec![0; peers.len()];
        for _ in 0..40 {
            let served = choker.deal(&peers, 3);
            for p in &mut peers {
                p.unchoked = served.contains(&p.conn);
                if p.unchoked {
                    rounds_served[p.conn.0 as usize] += 1;
                    p.turn += 15 << 20;
                    p.waited = 0;
                } else {
                    p.turn = 0;
                    p.waited += 1;
                }
            }
        }
        let least = rounds_served.iter().min().unwrap();
        assert!(*least >= 7, "{rounds_served:?}");
    }

    #[test]
    fn a_snubbing_peer_holds_no_regular_slot() {
        let peers = [
            Candidate {
                gave: 100,
                snubbing: true,
                ..peer(1)
            },
            peer(2),
        ];
        let served = Choker::new(1).deal(&peers, 1);
        assert!(!served[..served.len() - 1].contains(&ConnId(1)));
    }
}
