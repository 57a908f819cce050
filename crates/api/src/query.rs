//! Lists are filtered, sorted and cut on the daemon's side.

use std::cmp::Ordering;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::check::{self, Check, MAX_LABEL};
use crate::ids::EventId;
use crate::problem::Problem;
use crate::table::Row;
use crate::transfer::State;

/// Most rows of a page: about half a megabyte of JSON.
pub const MAX_PAGE: u32 = 500;
/// Most items of a [`Cut`]: some 300 KB of JSON for files with long paths.
pub const MAX_CUT: u32 = 1_000;

/// By what a list is sorted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Sort {
    /// Its number: the order in which they were added.
    #[default]
    Id,
    /// Its name, whatever the case.
    Name,
    /// What it is doing.
    State,
    /// Bytes of all files.
    Size,
    /// Share of what is wanted that is there.
    Progress,
    /// Bytes a second, received.
    RateDown,
    /// Bytes a second, sent.
    RateUp,
    /// Bytes received, ever.
    Received,
    /// Bytes sent, ever.
    Sent,
    /// Bytes sent for each byte of what is wanted.
    Ratio,
    /// Seconds until it is done; those that never are come last.
    Eta,
    /// Connected peers.
    Peers,
    /// Its label; those without come first.
    Label,
    /// When it was added.
    AddedAt,
    /// When it was finished; those that are not come first.
    FinishedAt,
    /// Place in the queue; those without come last.
    QueuePosition,
}

/// Which way a list is sorted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// Smallest first.
    #[default]
    Asc,
    /// Largest first.
    Desc,
}

/// Which transfers, in which order, from where, how many.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Query {
    /// Only those in this state.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(nullable = false)]
    pub state: Option<State>,
    /// Only those with this label; empty: those without.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(nullable = false, max_length = 100)]
    pub label: Option<String>,
    /// Only those whose name contains this, whatever the case.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(nullable = false, max_length = 100)]
    pub text: Option<String>,
    /// By what.
    #[param(required = false, inline)]
    pub sort: Sort,
    /// Which way.
    #[param(required = false, inline)]
    pub order: Order,
    /// How many to pass over.
    #[param(required = false)]
    pub offset: u32,
    /// How many to return.
    #[param(required = false, minimum = 1, maximum = 500, default = 50)]
    pub limit: u32,
}

impl Default for Query {
    fn default() -> Query {
        Query {
            state: None,
            label: None,
            text: None,
            sort: Sort::Id,
            order: Order::Asc,
            offset: 0,
            limit: 50,
        }
    }
}

impl Check for Query {
    fn check(&self) -> Result<(), Problem> {
        check::range("limit", self.limit, 1, MAX_PAGE)?;
        check::text("label", self.label.as_deref().unwrap_or(""), 0, MAX_LABEL)?;
        check::text("text", self.text.as_deref().unwrap_or(""), 0, MAX_LABEL)
    }
}

impl Query {
    /// Filters, sorts and cuts rows that come by number; how many matched, and the page.
    pub fn select<'a>(
        &self,
        rows: impl DoubleEndedIterator<Item = &'a Arc<Row>>,
    ) -> (usize, Vec<Arc<Row>>) {
        let text = self.text.as_ref().map(|text| text.to_lowercase());
        let found = rows.filter(|row| self.matches(row, text.as_deref()));
        let start = self.offset as usize;
        let end = start.saturating_add(self.limit as usize);
        if self.sort == Sort::Id {
            return match self.order {
                Order::Asc => cut(found, start, end),
                Order::Desc => cut(found.rev(), start, end),
            };
        }
        let mut found: Vec<&Arc<Row>> = found.collect();
        let total = found.len();
        if start >= total {
            return (total, Vec::new());
        }
        // What is before the page and behind it need not be sorted.
        if end < total {
            found.select_nth_unstable_by(end, |a, b| self.compare(a, b));
            found.truncate(end);
        }
        if start > 0 {
            found.select_nth_unstable_by(start, |a, b| self.compare(a, b));
        }
        found[start..].sort_unstable_by(|a, b| self.compare(a, b));
        let page = found[start..].iter().map(|row| Arc::clone(row));
        (total, page.collect())
    }

    /// Is it one of those asked for? `text` is in lower case.
    fn matches(&self, row: &Row, text: Option<&str>) -> bool {
        let label = row.transfer.label.as_deref().unwrap_or("");
        self.state.is_none_or(|state| state == row.transfer.state)
            && self.label.as_deref().is_none_or(|wanted| wanted == label)
            && text.is_none_or(|text| row.folded().contains(text))
    }

    /// A total order: rows that are equal in what is asked for come by number.
    fn compare(&self, a: &Row, b: &Row) -> Ordering {
        let (x, y) = (&a.transfer, &b.transfer);
        let order = match self.sort {
            Sort::Id => Ordering::Equal,
            Sort::Name => a.folded().cmp(b.folded()),
            Sort::State => x.state.cmp(&y.state),
            Sort::Size => x.size.cmp(&y.size),
            Sort::Progress => progress(a).total_cmp(&progress(b)),
            Sort::RateDown => x.rate_down.cmp(&y.rate_down),
            Sort::RateUp => x.rate_up.cmp(&y.rate_up),
            Sort::Received => x.received.cmp(&y.received),
            Sort::Sent => x.sent.cmp(&y.sent),
            Sort::Ratio => x.ratio.total_cmp(&y.ratio),
            Sort::Eta => x.eta.unwrap_or(u64::MAX).cmp(&y.eta.unwrap_or(u64::MAX)),
            Sort::Peers => x.peers.cmp(&y.peers),
            Sort::Label => x.label.cmp(&y.label),
            Sort::AddedAt => x.added_at.cmp(&y.added_at),
            Sort::FinishedAt => x.finished_at.cmp(&y.finished_at),
            Sort::QueuePosition => {
                let place = |place: Option<u32>| place.unwrap_or(u32::MAX);
                place(x.queue_position).cmp(&place(y.queue_position))
            }
        };
        let order = order.then(x.id.cmp(&y.id));
        match self.order {
            Order::Asc => order,
            Order::Desc => order.reverse(),
        }
    }
}

/// Which part of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Cut {
    /// How many to pass over.
    #[param(required = false)]
    pub offset: u32,
    /// How many to return.
    #[param(required = false, minimum = 1, maximum = 1000, default = 200)]
    pub limit: u32,
}

impl Default for Cut {
    fn default() -> Cut {
        Cut {
            offset: 0,
            limit: 200,
        }
    }
}

impl Check for Cut {
    fn check(&self) -> Result<(), Problem> {
        check::range("limit", self.limit, 1, MAX_CUT)
    }
}

/// Part of a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Items<T> {
    /// How many there are.
    pub total: u32,
    /// How many were passed over.
    pub offset: u32,
    /// Those that were asked for.
    pub items: Vec<T>,
}

impl<T> Items<T> {
    /// What of `all` was asked for.
    pub fn cut(all: impl ExactSizeIterator<Item = T>, cut: Cut) -> Items<T> {
        Items {
            total: u32::try_from(all.len()).unwrap_or(u32::MAX),
            offset: cut.offset,
            items: all
                .skip(cut.offset as usize)
                .take(cut.limit as usize)
                .collect(),
        }
    }
}

/// How many rows there are, and those from `start` to before `end`.
fn cut<'a>(
    rows: impl Iterator<Item = &'a Arc<Row>>,
    start: usize,
    end: usize,
) -> (usize, Vec<Arc<Row>>) {
    let mut total = 0;
    let mut page = Vec::new();
    for row in rows {
        if total >= start && total < end {
            page.push(Arc::clone(row));
        }
        total += 1;
    }
    (total, page)
}

fn progress(row: &Row) -> f64 {
    match row.transfer.wanted {
        0 => 0.0,
        wanted => row.transfer.done as f64 / wanted as f64,
    }
}

/// A page of the table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Page<R = Arc<Row>> {
    /// How many match, on all pages.
    pub total: u32,
    /// How many were passed over.
    pub offset: u32,
    /// The state this is of: `GET /api/v1/events?since=` goes on from here.
    #[schema(value_type = String, pattern = "^[0-9a-f]{16}-[0-9]{1,10}$")]
    pub as_of: EventId,
    /// The rows.
    pub transfers: Vec<R>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{RunId, TransferId};
    use crate::table::Table;
    use crate::transfer::Transfer;

    fn table() -> Table {
        let mut table = Table::new(RunId(1));
        for (id, name, size) in [
            (1, "beta", 30),
            (2, "Alpha", 10),
            (3, "gamma", 20),
            (4, "alpha", 20),
        ] {
            table.put(Transfer {
                size,
                label: (id % 2 == 0).then(|| "even".to_owned()),
                ..Transfer::new(TransferId(id), name)
            });
        }
        table
    }

    fn ids(query: &Query) -> Vec<u32> {
        let page = table().list(query);
        page.transfers.iter().map(|row| row.transfer.id.0).collect()
    }

    #[test]
    fn lists_are_sorted_both_ways_and_ties_by_number() {
        let by = |sort, order| Query {
            sort,
            order,
            ..Query::default()
        };
        assert_eq!(ids(&by(Sort::Id, Order::Asc)), [1, 2, 3, 4]);
        assert_eq!(ids(&by(Sort::Id, Order::Desc)), [4, 3, 2, 1]);
        assert_eq!(ids(&by(Sort::Name, Order::Asc)), [2, 4, 1, 3]);
        assert_eq!(ids(&by(Sort::Size, Order::Asc)), [2, 3, 4, 1]);
        assert_eq!(ids(&by(Sort::Size, Order::Desc)), [1, 4, 3, 2]);
    }

    #[test]
    fn every_page_of_a_list_joins_to_the_list() {
        for sort in [Sort::Name, Sort::Size, Sort::Id, Sort::Label] {
            let whole = ids(&Query {
                sort,
                ..Query::default()
            });
            for limit in 1..5 {
                let pages: Vec<u32> = (0..5)
                    .flat_map(|page| {
                        ids(&Query {
                            sort,
                            limit,
                            offset: page * limit,
                            ..Query::default()
                        })
                    })
                    .collect();
                assert_eq!(pages, whole, "{sort:?} {limit}");
            }
        }
    }

    #[test]
    fn lists_are_filtered_by_label_and_by_text_in_any_case() {
        let label = |label: &str| Query {
            label: Some(label.into()),
            ..Query::default()
        };
        assert_eq!(ids(&label("even")), [2, 4]);
        assert_eq!(ids(&label("")), [1, 3]);
        assert_eq!(ids(&label("odd")), [0; 0]);
        let text = Query {
            text: Some("ALPH".into()),
            ..Query::default()
        };
        assert_eq!(ids(&text), [2, 4]);
        let state = Query {
            state: Some(State::Seeding),
            ..Query::default()
        };
        assert_eq!(ids(&state), [0; 0]);
    }
}
