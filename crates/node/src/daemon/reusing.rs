//! Files that another transfer has: shown, and taken when the person says so.

use std::sync::Arc;

use api::{Kind, Problem, Reusable, ReusableFrom, Row, TransferId};
use swarm::TorrentId;

use super::{Daemon, adding};

impl Daemon {
    /// What other transfers have of one's files.
    pub(super) async fn what_is_here(&self, id: u32) -> Result<Reusable, Problem> {
        self.row(id)?;
        let found = self
            .shared
            .node
            .run(move |driver| driver.reusable(TorrentId(id)));
        let found = found.await.map_err(|_| Problem::stopping())?;
        let from: Vec<ReusableFrom> = found
            .iter()
            .filter_map(|found| {
                Some(ReusableFrom {
                    transfer: TransferId(found.from.0),
                    // One that has gone meanwhile has nothing any more.
                    name: self.row(found.from.0).ok()?.transfer.name.clone(),
                    files: found.files.len() as u32,
                    bytes: found.bytes,
                })
            })
            .collect();
        Ok(Reusable {
            files: from.iter().map(|from| from.files).sum(),
            bytes: from.iter().map(|from| from.bytes).sum(),
            from,
        })
    }

    /// Copies what other transfers have of one's files.
    pub(super) async fn take_over(self, id: u32) -> Result<Arc<Row>, Problem> {
        let (moving, read_only) = self.edit(id, |entry| (entry.moving, entry.record.read_only))?;
        if moving {
            return Err(Problem::new(
                Kind::Conflict,
                "Its data is being moved. Take files over when that is done.",
            ));
        }
        if read_only {
            return Err(Problem::new(
                Kind::Conflict,
                "It only serves data that is there, and takes nothing over.",
            ));
        }
        let taken = self
            .shared
            .node
            .run(move |driver| driver.reuse(TorrentId(id)));
        let taken = taken.await.map_err(|_| Problem::stopping())?;
        taken.map_err(adding::refusal)?;
        self.wish(id);
        self.show([id]);
        self.row(id)
    }
}
