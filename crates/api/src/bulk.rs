//! One thing said to many transfers.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::add::{Deleted, Move, TransferPatch};
use crate::check::{self, Check, MAX_IDS, MAX_LABEL};
use crate::ids::TransferId;
use crate::problem::Problem;
use crate::query::Query;
use crate::transfer::State;

/// What to do with many transfers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Bulk {
    /// With which.
    pub transfers: Which,
    /// What.
    pub verb: Verb,
}

/// Which transfers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Which {
    /// Those with these numbers.
    Ids(Vec<TransferId>),
    /// Those there are now that this is true of.
    Filter(Filter),
}

/// What is to be true of a transfer; an empty one is true of all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Filter {
    /// It is in this state.
    pub state: Option<State>,
    /// It has this label; empty: it has none.
    #[schema(max_length = 100)]
    pub label: Option<String>,
    /// Its name contains this, whatever the case.
    #[schema(max_length = 100)]
    pub text: Option<String>,
}

impl Filter {
    /// The list of those it is true of, whole.
    pub fn query(self) -> Query {
        Query {
            state: self.state,
            label: self.label,
            text: self.text,
            limit: u32::MAX,
            ..Query::default()
        }
    }
}

/// What is said to each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Verb {
    /// Stand still until a person says otherwise.
    Pause,
    /// Go on.
    Resume,
    /// Hash the data again.
    Recheck,
    /// Be forgotten; files stay.
    Forget,
    /// Be forgotten, and the files deleted: to the trash where there is one.
    Delete,
    /// Move the data.
    Move(Move),
    /// Change, as PATCH does: label, tags, limits, goals, sequential. What is one transfer's own
    /// (name, priorities, place in the queue) cannot be said to many.
    Update(TransferPatch),
}

impl Check for Bulk {
    fn check(&self) -> Result<(), Problem> {
        match &self.transfers {
            Which::Ids(ids) => check::list("ids", ids, MAX_IDS)?,
            Which::Filter(Filter { label, text, .. }) => {
                check::text("label", label.as_deref().unwrap_or(""), 0, MAX_LABEL)?;
                check::text("text", text.as_deref().unwrap_or(""), 0, MAX_LABEL)?;
            }
        }
        match &self.verb {
            Verb::Move(to) => to.check(),
            Verb::Update(patch) => {
                let own = patch.name.is_some()
                    || patch.priorities.is_some()
                    || patch.queue_position.is_some();
                if own {
                    return Err(Problem::invalid(
                        "name, priorities and queue_position are a transfer's own, and cannot be \
                         said to many. PATCH /api/v1/transfers/ID changes one.",
                    ));
                }
                patch.check()
            }
            Verb::Pause | Verb::Resume | Verb::Recheck | Verb::Forget | Verb::Delete => Ok(()),
        }
    }
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BulkAnswer {
    /// For each transfer, by number.
    pub results: Vec<BulkResult>,
}

/// What came of it for one transfer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BulkResult {
    /// Its number.
    pub id: TransferId,
    /// What became of its files, if it was removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub files: Option<Deleted>,
    /// Why it was not done; absent: it was, or it is begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub problem: Option<Problem>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_and_what_are_said_in_one_way_each() {
        let bulk: Bulk = serde_json::from_value(serde_json::json!({
            "transfers": {"filter": {"label": ""}},
            "verb": {"update": {"label": "films"}},
        }))
        .unwrap();
        assert_eq!(bulk.check(), Ok(()));
        assert!(matches!(&bulk.transfers, Which::Filter(filter)
            if filter.clone().query().label.as_deref() == Some("")));
        for wrong in [
            r#"{"verb": "pause"}"#,
            r#"{"transfers": {}, "verb": "pause"}"#,
            r#"{"transfers": {"ids": [1], "filter": {}}, "verb": "pause"}"#,
            r#"{"transfers": {"ids": [1]}, "verb": "explode"}"#,
            r#"{"transfers": {"filter": {"lable": "films"}}, "verb": "delete"}"#,
        ] {
            assert!(serde_json::from_str::<Bulk>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_one_transfers_own_is_not_said_to_many() {
        let bulk = |patch| Bulk {
            transfers: Which::Ids(vec![TransferId(1)]),
            verb: Verb::Update(patch),
        };
        let refused = bulk(TransferPatch {
            name: Some("bob".into()),
            ..TransferPatch::default()
        });
        assert!(refused.check().unwrap_err().detail.contains("own"));
        let fine = bulk(TransferPatch {
            sequential: Some(true),
            ..TransferPatch::default()
        });
        assert_eq!(fine.check(), Ok(()));
    }
}
