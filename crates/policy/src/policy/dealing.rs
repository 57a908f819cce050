//! Deciding upon transfers: who is looked at again, and what follows from it for those behind.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::{Policy, goals};
use crate::queue::Place;
use crate::turns::{Dealer, Turn, Turns};
use crate::{Output, Scope, Transfer, TransferId};

pub(super) const QUEUED: &str = "whoever queues has a row";
const DEALT: &str = "who got something is there and has it";

/// Transfers to decide upon.
#[derive(Debug, Default)]
pub(super) struct Open {
    /// Everyone.
    pub all: bool,
    /// These.
    pub places: BTreeSet<Place>,
    /// What was taken here, by whom, and is no longer.
    pub left: BTreeMap<Place, (Turn, Transfer)>,
}

impl Open {
    fn first(&self) -> Option<Place> {
        let left = self.left.first_key_value().map(|(place, _)| *place);
        self.places.first().copied().into_iter().chain(left).min()
    }
}

/// When something about transfers may change by itself. Most have no such time.
#[derive(Debug, Default)]
pub(super) struct Wakes {
    times: BTreeMap<TransferId, Instant>,
    order: BTreeSet<(Instant, TransferId)>,
}

impl Wakes {
    /// The next.
    pub fn first(&self) -> Option<(Instant, TransferId)> {
        self.order.first().copied()
    }

    /// The time of one, or that it has none.
    pub fn set(&mut self, id: TransferId, wake: Option<Instant>) {
        let before = match wake {
            Some(at) => self.times.insert(id, at),
            None => self.times.remove(&id),
        };
        if before != wake {
            self.order.extend(wake.map(|at| (at, id)));
            if let Some(at) = before {
                self.order.remove(&(at, id));
            }
        }
    }
}

impl Policy {
    /// Whoever has this place is to be decided upon; until then it has nothing.
    pub(super) fn reopen(&mut self, place: Place) {
        self.open.places.insert(place);
        self.contenders.remove(&place);
        if !self.dealt.remove(&place) {
            return;
        }
        let id = self.order.at(place).expect(DEALT);
        let row = self.rows.get_mut(&id).expect(QUEUED);
        let turn = row.turn.take().expect(DEALT);
        self.open.left.insert(place, (turn, row.given.clone()));
    }

    /// Those whose time has come are to be decided upon.
    pub(super) fn open_due(&mut self) {
        while let Some((at, id)) = self.wakes.first()
            && at <= self.now
        {
            self.wakes.set(id, None);
            self.reopen(self.rows[&id].place);
        }
    }

    /// Decides upon those that are open, and those behind them for whom something follows from it.
    ///
    /// What has been dealt out before a place is reckoned as it was the last time and as it is now.
    /// While both are the same, nothing can be other than it was for whoever is not open; else the
    /// next one that wants something is looked at.
    pub(super) fn deal(&mut self) {
        if std::mem::take(&mut self.open.all) {
            self.rows.values_mut().for_each(|row| row.turn = None);
            self.contenders.clear();
            self.dealt.clear();
            self.open.left.clear();
            self.open.places = self.order.places().collect();
        }
        let settings = self.settings.clone();
        let dealer = Dealer {
            settings: &settings,
            memory: self.memory.level(),
        };
        let mut then = dealer.begin();
        let mut now = dealer.begin();
        let mut from = 0;
        loop {
            let open = self.open.first();
            let next = match then == now {
                true => open,
                false => open
                    .into_iter()
                    .chain(self.contenders.range(from..).next().copied())
                    .min(),
            };
            let Some(place) = next else { break };
            for passed in self.dealt.range(from..place) {
                let row = &self.rows[&self.order.at(*passed).expect(DEALT)];
                let turn = row.turn.expect(DEALT);
                dealer.count(&mut then, turn, &row.given);
                dealer.count(&mut now, turn, &row.given);
            }
            self.reopen(place);
            self.open.places.remove(&place);
            if let Some((turn, given)) = self.open.left.remove(&place) {
                dealer.count(&mut then, turn, &given);
            }
            if let Some(id) = self.order.at(place) {
                self.decide_one(id, &dealer, &mut now);
            }
            from = place + 1;
        }
    }

    /// Decides upon one; `turns` is what those before it have.
    fn decide_one<'a>(&mut self, id: TransferId, dealer: &Dealer<'a>, turns: &mut Turns<'a>) {
        let (now, settings) = (self.now, dealer.settings);
        let slow_rule = settings.queue.slow;
        let row = self.rows.get_mut(&id).expect(QUEUED);
        let goals = goals(settings, &row.given);
        let complete = row.progress.complete;
        let disk = row.given.file_system.filter(|_| !complete);
        let slow = row.slow(now, slow_rule);
        let held = match row.given.wanted {
            false => Some(None),
            true => row
                .reached(now, goals)
                .or_else(|| self.everyone.clone())
                .or_else(|| self.disks.verdict(disk?, settings.disk_reserve))
                .map(Some),
        };
        let reason = held.unwrap_or_else(|| {
            let contends = dealer.contends(row);
            if contends {
                self.contenders.insert(row.place);
            }
            match dealer.take(turns, row, slow) {
                Err(reason) => Some(reason),
                Ok(turn) => {
                    if contends {
                        row.turn = Some(turn);
                        self.dealt.insert(row.place);
                    }
                    None
                }
            }
        });
        row.run(now, row.given.wanted && reason.is_none(), slow_rule);
        self.wakes.set(id, row.changes(now, goals, slow_rule));

        if row.told != row.given.limits {
            row.told = row.given.limits;
            let scope = Scope::Transfer(id);
            self.out.push_back(Output::Limit(scope, row.told));
        }
        if row.held == reason {
            return;
        }
        self.out.push_back(match (&row.held, &reason) {
            (_, None) => Output::Release(id),
            (None, Some(reason)) => Output::Hold(id, reason.clone()),
            (Some(_), Some(reason)) => Output::Explain(id, reason.clone()),
        });
        row.held = reason;
    }
}
