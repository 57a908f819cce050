//! The threads' own loops.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Instant,
};

use super::{
    Shared,
    queue::{Errand, Read, Task},
};
use crate::{
    disk::RealDisk,
    done::Done,
    home::Home,
    readbuf::ReadBuf,
    reading, settle,
    strand::{Arrived, Strand},
    sweep::{Stored, Sweeper},
};

impl Shared {
    pub(super) fn nudge(&self) {
        if self.queue().nudge() {
            self.work.notify_all();
        }
    }

    /// A hashing thread.
    pub(super) fn work(&self) {
        let mut sweeper = Sweeper::default();
        while let Some((task, buffer)) = self.next() {
            // A bug met with one piece must not end the thread that serves all others.
            let done = catch_unwind(AssertUnwindSafe(|| self.run(&mut sweeper, task, buffer)));
            if done.is_err() {
                tracing::error!(
                    "a task of the store failed and was dropped; its piece stays unfinished"
                );
                sweeper = Sweeper::default();
            }
        }
    }

    fn run(&self, sweeper: &mut Sweeper, task: Task, buffer: Option<ReadBuf>) {
        match task {
            Task::Strand {
                home,
                piece,
                strand,
                arrived,
                lean,
            } => self.turn(&home, piece, strand, arrived, lean),
            Task::Read(read) => self.read(
                read,
                buffer.expect("a read is taken together with its buffer"),
            ),
            Task::Errand(errand) => self.errand(errand),
            Task::Sweep {
                check,
                home,
                pieces,
            } => self.sweep(sweeper, check, &home, pieces),
        }
    }

    /// Sleeps until there is a task; `None` when the store ends.
    fn next(&self) -> Option<(Task, Option<ReadBuf>)> {
        let mut queue = self.queue();
        loop {
            if queue.stop {
                return None;
            }
            for check in queue.empty_checks() {
                (self.sink)(Done::CheckFinished {
                    id: check.home.id,
                    trouble: check.trouble,
                });
            }
            let mut buffer = None;
            let task = queue.next(|len| {
                buffer = self.reads.try_take(len);
                buffer.is_some()
            });
            if let Some(task) = task {
                return Some((task, buffer));
            }
            let linger = queue.linger();
            let held = "no code panics while it holds the queue";
            queue = match linger {
                Some(at) if at <= Instant::now() => {
                    queue.end_linger();
                    queue
                }
                Some(at) if !queue.timekeeper => {
                    queue.timekeeper = true;
                    let wait = at.saturating_duration_since(Instant::now());
                    let (mut queue, _) = self.work.wait_timeout(queue, wait).expect(held);
                    queue.timekeeper = false;
                    queue
                }
                _ => self.work.wait(queue).expect(held),
            };
        }
    }

    fn turn(
        &self,
        home: &Arc<Home>,
        piece: u32,
        mut strand: Box<Strand>,
        arrived: Vec<Arrived>,
        lean: bool,
    ) {
        let lean = lean || self.slots.is_short();
        let turn = strand.turn(&self.files, home, arrived, lean);
        let (wanted, more) = self
            .queue()
            .bring_back(home, piece, strand, turn.hashed.is_some());
        if more {
            self.work.notify_one();
        }
        if !wanted {
            return;
        }
        for done in turn.facts(home, piece) {
            (self.sink)(done);
        }
    }

    fn read(&self, Read { home, run, tag }: Read, mut data: ReadBuf) {
        let read = reading::read(&self.files, &home, run.piece, run.begin, data.bytes_mut());
        (self.sink)(match read {
            Ok(()) => Done::Read {
                id: home.id,
                tag,
                data,
            },
            Err(error) => Done::ReadFailed {
                id: home.id,
                tag,
                error,
            },
        });
    }

    fn errand(&self, errand: Errand) {
        (self.sink)(match errand {
            Errand::BlockDigests { home, piece } => {
                let digests = reading::block_digests(&self.files, &home, piece);
                Done::BlockDigests {
                    id: home.id,
                    piece,
                    digests,
                }
            }
            Errand::Leaves { home, piece, tag } => {
                let leaves = reading::block_digests(&self.files, &home, piece);
                Done::Leaves {
                    id: home.id,
                    piece,
                    tag,
                    leaves,
                }
            }
        });
    }

    fn sweep(&self, sweeper: &mut Sweeper, check: u64, home: &Home, pieces: std::ops::Range<u32>) {
        let (pieces, trouble) = sweeper.sweep(
            &mut Stored {
                files: &self.files,
                home,
            },
            pieces,
        );
        (self.sink)(Done::Checked {
            id: home.id,
            pieces,
        });
        let over = self.queue().sweep_back(check, trouble).flatten();
        if let Some(check) = over {
            // Its buffer is the largest thing a thread keeps.
            *sweeper = Sweeper::default();
            (self.sink)(Done::CheckFinished {
                id: home.id,
                trouble: check.trouble,
            });
        }
    }

    /// The syncing thread: a batch when it is large or old enough, a flush when asked.
    pub(super) fn settle(&self) {
        let held = "no code panics while it holds the queue";
        let mut queue = self.queue();
        while !queue.stop {
            if let Some(id) = queue.flushes.pop_front() {
                let home = queue.homes.get(&id).cloned();
                drop(queue);
                if let Some(home) = home {
                    let ok = self.settle_home(&home, true);
                    (self.sink)(Done::Flushed { id, ok });
                }
                queue = self.queue();
                continue;
            }
            let now = Instant::now();
            queue = match queue.settle_at(now) {
                None => self.unsettled.wait(queue).expect(held),
                Some(at) if at > now => self.unsettled.wait_timeout(queue, at - now).expect(held).0,
                Some(_) => {
                    queue.settled();
                    let homes: Vec<Arc<Home>> = queue.homes.values().cloned().collect();
                    drop(queue);
                    let failed = homes
                        .iter()
                        .filter(|home| home.is_unsettled() && !self.settle_home(home, false))
                        .count();
                    let mut queue = self.queue();
                    if failed > 0 {
                        queue.settle_again();
                    }
                    queue
                }
            };
        }
    }

    fn settle_home(&self, home: &Home, closing: bool) -> bool {
        let tell = &mut |done| (self.sink)(done);
        let settled = catch_unwind(AssertUnwindSafe(|| {
            settle::settle::<RealDisk>(&self.files, home, closing, tell)
        }));
        settled.unwrap_or_else(|_| {
            tracing::error!("a batch of {} failed and was dropped", home.id);
            false
        })
    }
}
