//! Whether an increment goes on from an earlier one.

use std::sync::Arc;

use datafusion::arrow::datatypes::{Field, Schema};
use datafusion::common::Result;
use datafusion::logical_expr::LogicalPlan;

use super::pinned::{Pinned, Since};
use crate::config::IncrementalResolve;
use crate::memory::Follow;
use crate::records::Records;

/// Comparing fewer rows than this takes no longer than finding out which of them have changed.
const LARGE: u64 = 100_000;

/// How an increment over tables at one moment goes on from an earlier one.
pub(super) struct Followed {
    pub follow: Follow,
    /// Plans with the keys of rows that were written since; of no use if nothing is known of before.
    pub written: Vec<LogicalPlan>,
}

/// How many rows an increment has to have for it to be of use to know its tables' moments.
pub(super) fn least(choice: IncrementalResolve, rows_at_once: u64) -> u64 {
    let ranges = rows_at_once.saturating_mul(2);
    match choice {
        IncrementalResolve::Never => ranges,
        IncrementalResolve::Auto => LARGE.min(ranges),
        IncrementalResolve::Always => 0,
    }
}

impl Followed {
    /// `None` for an increment that is always compared as a whole.
    pub(super) async fn try_new(
        pinned: &Pinned,
        choice: IncrementalResolve,
        records: &Arc<Records>,
    ) -> Result<Option<Self>> {
        if choice == IncrementalResolve::Never {
            return Ok(None);
        }
        let gain = choice == IncrementalResolve::Auto;
        if gain && pinned.rows().is_none_or(|rows| rows < LARGE) {
            return Ok(None);
        }
        let description = &pinned.increment.description;
        let field = |key: &String| {
            let schema = pinned.increment.inputs[0].schema();
            let data_type = schema.field_with_unqualified_name(key)?.data_type().clone();
            Ok(Field::new(key, data_type, true))
        };
        let keys = Arc::new(Schema::new(description.keys.iter().map(field).collect::<Result<Vec<_>>>()?));
        let record = records.get(&pinned.question);
        let since = match &record {
            Some(record) => pinned.since(record, &keys, gain).await?,
            None => Since::Everything("there is no earlier comparison".to_owned()),
        };
        let (written, said) = match since {
            Since::Changes { rows, files } => {
                (Some(rows), format!("changes since the last comparison (files={files})"))
            }
            Since::Everything(reason) => (None, format!("everything ({reason})")),
        };
        let known = record.filter(|_| written.is_some()).map(|record| record.keys.clone());
        let (record, records) = (pinned.record(), Arc::clone(records));
        let found = Arc::new(move |keys| records.put(record(keys)));
        let follow = Follow { keys, known, said, found };
        Ok(Some(Self { follow, written: written.unwrap_or_default() }))
    }
}
