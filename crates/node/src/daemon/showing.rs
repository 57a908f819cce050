//! What is shown: rows and sums of the table, and notices.

use std::collections::btree_map;

use api::{Notice, Totals, Transfer, TransferId};

use super::entry::rates;
use super::{Daemon, unix_now};

impl Daemon {
    /// Shows transfers as they are now, and the sums with them.
    pub(super) fn show(&self, ids: impl IntoIterator<Item = u32>) {
        let (book, rules) = (self.book(), self.rules());
        self.shared.live.update(|table| {
            let mut totals = (**table.totals()).clone();
            for id in ids {
                let Some(entry) = book.get(id) else { continue };
                let position = rules.ahead(id).filter(|_| !entry.complete());
                if let Some(before) = table.get(TransferId(id)) {
                    take_away(&mut totals, &before.transfer);
                }
                let row = table.put(entry.row(position));
                add(&mut totals, &row.transfer);
            }
            table.set_totals(totals);
        });
    }

    pub(super) fn show_all(&self) {
        let ids: Vec<u32> = self.book().entries().map(|e| e.record.id).collect();
        self.show(ids);
    }

    /// Shows those anew whose place in the queue is another because others came or went.
    pub(super) fn show_places(&self) {
        let moved = self.rules().take_moved();
        self.show(moved);
    }

    /// Shows a transfer no longer.
    pub(super) fn unshow(&self, id: u32) {
        self.shared.live.update(|table| {
            if let Some(row) = table.get(TransferId(id)).cloned() {
                let mut totals = (**table.totals()).clone();
                take_away(&mut totals, &row.transfer);
                table.set_totals(totals);
                table.remove(TransferId(id));
            }
        });
    }

    /// Shows what is in effect for all together.
    pub(super) fn show_effects(&self) {
        let (limits, slots) = {
            let rules = self.rules();
            (rules.limits, rules.slots)
        };
        let free = store::free_space(&self.folder()).ok();
        self.shared.live.update(|table| {
            let asked = rates(table.settings().limits);
            let reason = "the schedule or a metered network asks for other limits";
            let totals = Totals {
                limits: api::Limits {
                    down: limits.down,
                    up: limits.up,
                },
                limits_reason: (limits != asked).then(|| reason.to_owned()),
                slots,
                free: free.map(|free| free >> 20 << 20),
                ..(**table.totals()).clone()
            };
            table.set_totals(totals);
        });
    }

    /// Says something to whoever follows, and to the log.
    pub(super) fn notice(&self, id: Option<u32>, text: String) {
        tracing::info!(transfer = id, "{text}");
        let notice = Notice {
            transfer: id.map(TransferId),
            text,
            at: unix_now() as u64,
        };
        self.shared.live.update(|table| table.notice(notice));
    }
}

/// A row joins the sums.
fn add(totals: &mut Totals, row: &Transfer) {
    totals.rate_down += row.rate_down;
    totals.rate_up += row.rate_up;
    totals.received += row.received;
    totals.sent += row.sent;
    totals.wasted += row.wasted;
    totals.peers += row.peers;
    *totals.states.entry(row.state).or_default() += 1;
}

/// A row that is in the sums leaves them.
fn take_away(totals: &mut Totals, row: &Transfer) {
    totals.rate_down -= row.rate_down;
    totals.rate_up -= row.rate_up;
    totals.received -= row.received;
    totals.sent -= row.sent;
    totals.wasted -= row.wasted;
    totals.peers -= row.peers;
    if let btree_map::Entry::Occupied(mut state) = totals.states.entry(row.state) {
        *state.get_mut() -= 1;
        if *state.get() == 0 {
            state.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use api::State;

    use super::*;

    #[test]
    fn sums_follow_the_rows_that_come_change_and_go() {
        let row = |id, state, sent, peers| {
            let mut row = Transfer::new(TransferId(id), "an album");
            (row.state, row.sent, row.peers) = (state, sent, peers);
            row
        };
        let (alice, bob) = (
            row(1, State::Seeding, 100, 2),
            row(2, State::Downloading, 7, 1),
        );
        let mut totals = Totals::default();
        add(&mut totals, &alice);
        add(&mut totals, &bob);
        assert_eq!((totals.sent, totals.peers), (107, 3));
        let later = row(2, State::Seeding, 9, 0);
        take_away(&mut totals, &bob);
        add(&mut totals, &later);
        assert_eq!((totals.sent, totals.peers), (109, 2));
        assert_eq!(totals.states, [(State::Seeding, 2)].into());
        take_away(&mut totals, &alice);
        take_away(&mut totals, &later);
        assert_eq!(totals, Totals::default());
    }
}
