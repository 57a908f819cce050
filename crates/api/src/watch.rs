//! Waiting for news of one transfer. While there are none it costs nothing but its place.

use std::sync::Arc;

use tokio::sync::watch;

use crate::ids::{EventId, TransferId};
use crate::live::{Live, Signal};
use crate::table::{Row, Table};

/// A look at a transfer's row.
#[derive(Clone, Debug)]
pub struct Sight {
    /// The row; `None`: there is no such transfer any more.
    pub row: Option<Arc<Row>>,
    /// The state of the table this is of.
    pub id: EventId,
    /// Counts what no row shows, by [`Live::stir`].
    pub stirred: u32,
}

/// One transfer, watched.
#[derive(Debug)]
pub struct Watch {
    live: Live,
    signal: watch::Receiver<Signal>,
    id: TransferId,
    seen: Option<Sight>,
}

impl Watch {
    pub(crate) fn new(live: Live, signal: watch::Receiver<Signal>, id: TransferId) -> Watch {
        Watch {
            live,
            signal,
            id,
            seen: None,
        }
    }

    /// Which transfer.
    pub fn id(&self) -> TransferId {
        self.id
    }

    /// How it is now.
    pub fn sight(&self) -> Sight {
        let stirred = self.signal.borrow().stirred;
        let look = |table: &Table| (table.get(self.id).cloned(), table.id());
        let (row, id) = self.live.read(look);
        Sight { row, id, stirred }
    }

    /// This was taken in: only what differs from it is news.
    pub fn saw(&mut self, sight: Sight) {
        self.seen = Some(sight);
    }

    /// Waits until there is something that was not [seen](Watch::saw); false when the daemon
    /// stops.
    ///
    /// It may be dropped while it waits.
    pub async fn news(&mut self) -> bool {
        loop {
            if self.signal.borrow_and_update().closed {
                return false;
            }
            if self.is_news() {
                return true;
            }
            if self.signal.changed().await.is_err() {
                return false;
            }
        }
    }

    /// Waits until the daemon stops.
    pub async fn closed(&mut self) {
        // It has closed for all if nobody is left to say so.
        let _ = self.signal.wait_for(|signal| signal.closed).await;
    }

    fn is_news(&self) -> bool {
        let Some(seen) = &self.seen else { return true };
        let now = self.sight();
        now.stirred != seen.stirred
            || match (&now.row, &seen.row) {
                // A row never changes itself.
                (Some(now), Some(seen)) => !Arc::ptr_eq(now, seen),
                (now, seen) => now.is_some() != seen.is_some(),
            }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;
    use crate::ids::RunId;
    use crate::transfer::Transfer;

    fn news(watch: &mut Watch) -> Option<bool> {
        let news = pin!(watch.news());
        match news.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(news) => Some(news),
            Poll::Pending => None,
        }
    }

    fn take_in(watch: &mut Watch) -> Sight {
        let sight = watch.sight();
        watch.saw(sight.clone());
        sight
    }

    #[test]
    fn only_what_happens_to_it_is_news() {
        let mut table = Table::new(RunId(1));
        let (alice, bob) = (TransferId(1), TransferId(2));
        table.put(Transfer::new(alice, "alice"));
        table.put(Transfer::new(bob, "bob"));
        let live = Live::new(table);
        assert!(live.watch(TransferId(3)).is_none());
        let mut watch = live.watch(alice).unwrap();
        assert_eq!(news(&mut watch), Some(true));
        take_in(&mut watch);
        assert_eq!(news(&mut watch), None);
        live.update(|table| table.edit(bob, |row| row.done = 1));
        assert_eq!(news(&mut watch), None);
        live.update(|table| table.edit(alice, |row| row.done = 1));
        // Until it is taken in it stays news.
        assert_eq!(news(&mut watch), Some(true));
        assert_eq!(news(&mut watch), Some(true));
        take_in(&mut watch);
        assert_eq!(news(&mut watch), None);
        live.stir();
        assert_eq!(news(&mut watch), Some(true));
        take_in(&mut watch);
        live.update(|table| table.remove(alice));
        assert_eq!(news(&mut watch), Some(true));
        assert!(take_in(&mut watch).row.is_none());
        live.close();
        assert_eq!(news(&mut watch), Some(false));
    }
}
