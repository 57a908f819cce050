//! What the layer above shows: how transfers that changed are doing, told a few times a second at most.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::{Duration, Instant};

use swarm::TorrentId;
use tokio::sync::Notify;

use super::Driver;
use crate::{Event, Report};

/// Transfers of which something changed.
#[derive(Default)]
pub(crate) struct News {
    ids: RefCell<BTreeSet<TorrentId>>,
    wake: Notify,
}

impl News {
    /// Something of this transfer changed.
    pub fn about(&self, id: TorrentId) {
        self.ids.borrow_mut().insert(id);
        self.wake.notify_one();
    }
}

impl Driver {
    /// The engine will know nothing of this transfer in a moment: what it did is told before.
    pub fn report_last(&self, id: TorrentId) {
        let report = |swarm| Report {
            swarm,
            checking: None,
        };
        let last = self.session.borrow().status(Instant::now(), id);
        if last.is_some() {
            self.event(Event::Report(vec![(id, report(last)), (id, report(None))]));
        }
    }
}

/// Tells what changed, for ever. A transfer that moves is looked at each time, until it has come to rest.
pub(crate) async fn run(driver: Rc<Driver>, every: Duration) {
    let mut told: BTreeMap<TorrentId, Report> = BTreeMap::new();
    loop {
        let mut ids = std::mem::take(&mut *driver.news.ids.borrow_mut());
        ids.extend(told.keys().copied());
        if ids.is_empty() {
            driver.news.wake.notified().await;
            continue;
        }
        let now = Instant::now();
        let mut news = Vec::new();
        for id in ids {
            let swarm = driver.session.borrow_mut().status(now, id);
            let checking = driver.transfers.borrow().get(&id).and_then(|t| t.checking);
            let report = Report { swarm, checking };
            let moving = report.checking.is_some()
                || report
                    .swarm
                    .as_ref()
                    .is_some_and(|s| s.peers > 0 || s.rate_down > 0 || s.rate_up > 0);
            if told.get(&id) != Some(&report) {
                news.push((id, report.clone()));
            }
            if moving {
                told.insert(id, report);
            } else {
                told.remove(&id);
            }
        }
        if !news.is_empty() {
            driver.event(Event::Report(news));
        }
        tokio::time::sleep(every).await;
    }
}
