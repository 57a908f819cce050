//! Whatever happens, and whenever a client reads, breaks off and comes back: in the end it has what
//! the daemon has.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use api::{
    Changes, Event, EventId, Label, Live, Notice, Part, RunId, State, Table, Transfer, TransferId,
};
use proptest::prelude::*;

/// What a client makes of the stream.
#[derive(Default)]
struct Client {
    rows: BTreeMap<u32, Transfer>,
    labels: Vec<Label>,
    finished: Vec<u32>,
    notices: Vec<String>,
    last: Option<EventId>,
}

impl Client {
    fn hear(&mut self, part: &Part) {
        let data = serde_json::to_string(part).unwrap();
        match Event::read(part.name(), &data).unwrap().unwrap() {
            Event::Snapshot(snapshot) => {
                self.rows.clear();
                self.labels = snapshot.labels.to_vec();
            }
            Event::Added(rows) => self
                .rows
                .extend(rows.into_iter().map(|row| (row.id.0, row))),
            Event::Changed(changes) => {
                for change in changes {
                    let row = self
                        .rows
                        .get_mut(&change.id.0)
                        .expect("a row that it knows");
                    change.apply(row).unwrap();
                }
            }
            Event::Removed(ids) => ids.iter().for_each(|id| drop(self.rows.remove(&id.0))),
            Event::Finished(id) => self.finished.push(id.0),
            Event::Notice(notice) => self.notices.push(notice.text),
            Event::Labels(labels) => self.labels = labels,
            Event::Settings(_) | Event::Totals(_) => {}
        }
        if part.id.is_some() {
            self.last = part.id;
        }
    }
}

/// The next part, if there is one now.
fn ready(changes: &mut Changes) -> Option<Part> {
    let mut next = pin!(changes.next());
    match next.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(part) => part,
        Poll::Pending => None,
    }
}

fn catch_up(client: &mut Client, changes: &mut Changes) {
    while let Some(part) = ready(changes) {
        client.hear(&part);
    }
}

#[derive(Clone, Debug)]
enum Step {
    Add,
    Edit(u32, u64),
    Finish(u32),
    Remove(u32),
    Label(String),
    Read(usize),
    ComeBack,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => Just(Step::Add),
        6 => (0..40u32, 0..5u64).prop_map(|(id, done)| Step::Edit(id, done)),
        1 => (0..40u32).prop_map(Step::Finish),
        2 => (0..40u32).prop_map(Step::Remove),
        1 => "[a-c]".prop_map(Step::Label),
        3 => (0..4usize).prop_map(Step::Read),
        1 => Just(Step::ComeBack),
    ];
    proptest::collection::vec(step, 0..120)
}

proptest! {
    #[test]
    fn a_client_ends_with_what_the_daemon_has(steps in steps()) {
        let live = Live::new(Table::new(RunId(7)));
        let mut client = Client::default();
        let mut changes = live.changes(None);
        let mut added = 0;
        for step in steps {
            match step {
                Step::Add => {
                    added += 1;
                    live.update(|table| {
                        // More than fits in a part, now and then.
                        let copies = if added % 5 == 0 { 200 } else { 1 };
                        for copy in 0..copies {
                            let id = TransferId(added + 1000 * copy);
                            table.put(Transfer::new(id, format!("bob {added}")));
                        }
                    });
                }
                Step::Edit(id, done) => live.update(|table| {
                    for copy in 0..200 {
                        table.edit(TransferId(id + 1000 * copy), |row| {
                            row.done = done;
                            row.reason = (done == 3).then(|| "no luck".to_owned());
                            row.state = if done > 2 { State::Downloading } else { State::Metadata };
                        });
                    }
                }),
                Step::Finish(id) => drop(live.update(|table| {
                    table.edit(TransferId(id), |row| row.finished_at = Some(9))
                })),
                Step::Remove(id) => drop(live.update(|table| table.remove(TransferId(id)))),
                Step::Label(name) => live.update(|table| table.set_labels(vec![Label::new(name)])),
                Step::Read(parts) => {
                    for _ in 0..parts {
                        if let Some(part) = ready(&mut changes) {
                            client.hear(&part);
                        }
                    }
                }
                Step::ComeBack => changes = live.changes(client.last),
            }
        }
        catch_up(&mut client, &mut changes);
        let (rows, labels, id) = live.read(|table| {
            let rows = table.rows().map(|row| (row.transfer.id.0, row.transfer.clone()));
            (rows.collect::<BTreeMap<_, _>>(), table.labels().to_vec(), table.id())
        });
        prop_assert_eq!(&client.rows, &rows);
        prop_assert_eq!(&client.labels, &labels);
        if id.revision > 0 {
            prop_assert_eq!(client.last, Some(id));
        }
    }
}

fn live(rows: u32) -> Live {
    let mut table = Table::new(RunId(7));
    for id in 1..=rows {
        table.put(Transfer::new(TransferId(id), "alice"));
    }
    Live::new(table)
}

#[test]
fn who_comes_back_is_sent_the_difference_alone() {
    let live = live(300);
    let mut client = Client::default();
    catch_up(&mut client, &mut live.changes(None));
    for done in 1..=10 {
        live.update(|table| table.edit(TransferId(5), |row| row.done = done));
    }
    let mut changes = live.changes(client.last);
    let part = ready(&mut changes).unwrap();
    assert_eq!(
        serde_json::to_string(&part).unwrap(),
        r#"[{"id":5,"done":10}]"#
    );
    assert_eq!(part.id, Some(live.read(Table::id)));
    assert!(ready(&mut changes).is_none());
}

#[test]
fn an_id_of_another_run_or_of_the_future_begins_anew() {
    let live = live(1);
    let now = live.read(Table::id);
    let others = [
        EventId {
            run: RunId(8),
            ..now
        },
        EventId {
            revision: now.revision + 1,
            ..now
        },
    ];
    for since in others {
        let part = ready(&mut live.changes(Some(since))).unwrap();
        assert_eq!(part.name(), "snapshot");
    }
    assert!(ready(&mut live.changes(Some(now))).is_none());
}

#[test]
fn what_a_slow_client_keeps_alive_is_bounded() {
    let live = live(5_000);
    let mut changes = live.changes(None);
    assert_eq!(ready(&mut changes).unwrap().name(), "snapshot");
    let first = live.read(|table| std::sync::Arc::downgrade(table.get(TransferId(5_000)).unwrap()));
    live.update(|table| {
        for id in 1..=5_000 {
            table.edit(TransferId(id), |row| row.done = 1);
        }
    });
    assert!(
        first.upgrade().is_none(),
        "old rows outside of the part are gone"
    );
}

#[test]
fn removals_beyond_memory_begin_anew_and_moments_are_heard_once() {
    let live = live(5_000);
    let mut client = Client::default();
    let mut changes = live.changes(None);
    catch_up(&mut client, &mut changes);
    let before = client.last;
    live.update(|table| {
        table.edit(TransferId(5_000), |row| row.finished_at = Some(1));
        table.notice(Notice {
            transfer: None,
            text: "hello".into(),
            at: 1,
        });
    });
    catch_up(&mut client, &mut changes);
    live.update(|table| table.edit(TransferId(5_000), |row| row.done = 1));
    catch_up(&mut client, &mut changes);
    assert_eq!(
        (client.finished.as_slice(), client.notices.len()),
        (&[5_000][..], 1)
    );
    for id in 1..5_000 {
        live.update(|table| table.remove(TransferId(id)));
    }
    assert_eq!(ready(&mut live.changes(before)).unwrap().name(), "snapshot");
    catch_up(&mut client, &mut changes);
    assert_eq!(client.rows.len(), 1);
}

#[tokio::test]
async fn a_closed_table_ends_its_followers_after_the_last_word() {
    let live = live(0);
    let mut client = Client::default();
    let mut changes = live.changes(None);
    catch_up(&mut client, &mut changes);
    live.update(|table| table.put(Transfer::new(TransferId(1), "bob")));
    live.close();
    client.hear(&changes.next().await.unwrap());
    assert_eq!(client.rows.len(), 1);
    assert!(changes.next().await.is_none());
}
