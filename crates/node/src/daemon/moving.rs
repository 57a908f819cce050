//! Data that goes elsewhere. A move is written down before it begins: one that is cut off is finished at the next start.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use api::{Kind, Move, Problem, Rename, Row};
use swarm::TorrentId;

use super::entry::Entry;
use super::{Daemon, home};

impl Daemon {
    /// Puts a transfer's data into another folder.
    pub(super) async fn move_into(self, id: u32, to: Move) -> Result<Arc<Row>, Problem> {
        let root = self.edit(id, |entry| entry.root())?;
        let Some(name) = root.file_name() else {
            return Err(conflict("Its place has no name to move it by."));
        };
        self.begin_move(id, Path::new(&to.folder).join(name)).await
    }

    /// Gives a transfer's data another name.
    pub(super) async fn call(self, id: u32, rename: Rename) -> Result<Arc<Row>, Problem> {
        if !rename.path.is_empty() {
            return Err(conflict(
                "Files inside a torrent keep their names, so that others can check them. Rename the whole.",
            ));
        }
        let root = self.edit(id, |entry| entry.root())?;
        self.begin_move(id, root.with_file_name(rename.name)).await
    }

    async fn begin_move(&self, id: u32, to: PathBuf) -> Result<Arc<Row>, Problem> {
        self.edit(id, |entry| {
            if entry.moving {
                return Err(conflict("Its data is being moved. Wait for that."));
            }
            if entry.record.read_only {
                return Err(conflict(
                    "It only serves data that is yours to move. Forget it and add it where the data is.",
                ));
            }
            if entry.record.facts.pieces == 0 {
                return Err(conflict(
                    "Its metadata is not here yet, so there is nothing to move. Wait until a peer has sent it.",
                ));
            }
            entry.moving = true;
            entry.record.rare.edit(|rare| rare.moving_to = Some(to.clone()));
            Ok(())
        })??;
        if let Err(problem) = self.keep(id).await {
            let back = |entry: &mut Entry| {
                entry.moving = false;
                entry.record.rare.edit(|rare| rare.moving_to = None);
            };
            self.edit(id, back)?;
            return Err(problem);
        }
        self.show([id]);
        self.relocate(id, to);
        self.row(id)
    }

    /// Moves a transfer's content, and tells when it is done.
    pub(super) fn relocate(&self, id: u32, to: PathBuf) {
        let daemon = self.clone();
        tokio::spawn(async move {
            let target = to.clone();
            let there = daemon.edit(id, |entry| entry.complete() || entry.record.totals.done > 0);
            let Ok(there) = there else {
                return;
            };
            let moved = daemon.shared.node.run(move |driver| async move {
                let moved = driver.clone().relocate(TorrentId(id), target, there).await;
                if moved.is_err() {
                    // It goes on where it is, even if it slept through the attempt.
                    driver.rouse(TorrentId(id));
                }
                moved
            });
            let moved = moved.await;
            let edited = daemon.edit(id, |entry| {
                entry.moving = false;
                entry.record.rare.edit(|rare| rare.moving_to = None);
                if let Ok(Ok(())) = moved {
                    entry.record.folder = to.as_path().into();
                    entry.record.exact = true;
                    entry.file_system = home::file_system(&to);
                }
            });
            if edited.is_err() {
                return;
            }
            match moved {
                Ok(Ok(())) => {
                    daemon.notice(Some(id), format!("its data is at {} now", to.display()))
                }
                Ok(Err(problem)) => daemon.notice(
                    Some(id),
                    format!(
                        "its data was not moved: {}. What was moved stays; try again",
                        problem.message
                    ),
                ),
                // The node has stopped; the move goes on at the next start.
                Err(_) => return,
            }
            if let Err(problem) = daemon.keep(id).await {
                daemon.notice(Some(id), problem.detail);
            }
            daemon.apply(id);
            daemon.wish(id);
            daemon.show([id]);
        });
    }
}

fn conflict(text: &str) -> Problem {
    Problem::new(Kind::Conflict, text)
}
