//! Files of a Delta table whose rows are all later than those of the other files, as far as the log says.
//!
//! A sample that has a row there has its latest one there. So where few samples are asked for, the other files need not be
//! searched for it.

use std::collections::HashSet;

use datafusion::arrow::array::{ArrayRef, new_empty_array};
use datafusion::arrow::compute::concat;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result;
use datafusion::physical_plan::collect;
use serde_json::Value;

use super::delta::DeltaRows;
use super::proven::is_always;
use super::times::{earliest, latest};
use crate::columns::FEATURE_VERSION;

/// Rows whose ids are read at most.
const ROWS: u64 = 1 << 16;

/// The latest row of each value of a column is asked for, among the rows of a feature version.
#[derive(Debug, Clone)]
pub(super) struct Latest {
    pub id: String,
    pub version: String,
}

/// The newest files, and the samples that have rows there.
#[derive(Debug)]
pub(super) struct Newest {
    /// Where the files are, below the table.
    pub files: HashSet<String>,
    pub ids: ArrayRef,
}

/// What the log says of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Logged {
    path: String,
    rows: u64,
    /// The time of each of its rows is this or a later one, if that is known, and if all count.
    first: Option<i64>,
    /// None of its rows has a later time; `None` if it has no times, and the greatest if nothing is known.
    last: Option<i64>,
}

impl Logged {
    fn new(path: String, stats: &Value, version: &str) -> Self {
        let rows = stats["numRecords"].as_u64();
        let counts = is_always(stats, FEATURE_VERSION, version);
        Self {
            path,
            rows: rows.unwrap_or(u64::MAX),
            first: earliest(stats).filter(|_| counts),
            last: latest(stats).unwrap_or(Some(i64::MAX)),
        }
    }
}

/// As many files as possible that are later than all others, and have few rows.
fn newest(mut files: Vec<Logged>) -> Vec<String> {
    files.sort_by(|a, b| b.first.cmp(&a.first).then_with(|| a.path.cmp(&b.path)));
    // The last time in the files from each on.
    let mut last: Vec<Option<i64>> = files.iter().map(|file| file.last).collect();
    for at in (1..last.len()).rev() {
        last[at - 1] = last[at - 1].max(last[at]);
    }
    let (mut rows, mut count) = (0_u64, 0);
    for (at, file) in files.iter().enumerate() {
        rows = rows.saturating_add(file.rows);
        let Some(first) = file.first.filter(|_| rows <= ROWS) else { break };
        let others = last.get(at + 1).copied().flatten();
        if others.is_none_or(|others| others < first) {
            count = at + 1;
        }
    }
    files.truncate(count);
    files.into_iter().map(|file| file.path).collect()
}

impl DeltaRows {
    /// The newest files of these rows, which are those of one moment, if there are any that are not all.
    ///
    /// # Errors
    /// A file that can't be read.
    pub(super) async fn newest(&self, latest: &Latest, state: &dyn Session) -> Result<Option<Newest>> {
        let files: Vec<Logged> = self
            .logged()?
            .iter()
            .map(|file| {
                let stats = file.stats().and_then(|text| serde_json::from_str(&text).ok());
                Logged::new(file.path().into_owned(), &stats.unwrap_or(Value::Null), &latest.version)
            })
            .collect();
        let all = files.len();
        let files = newest(files);
        if files.is_empty() || files.len() == all {
            return Ok(None);
        }
        let schema = self.schema();
        let id = schema.index_of(&latest.id)?;
        let rows = self.clone().of_files(files.clone());
        let plan = rows.scan(state, Some(&vec![id]), &[], None).await?;
        let batches = collect(plan, state.task_ctx()).await?;
        let mut ids = vec![new_empty_array(schema.field(id).data_type())];
        ids.extend(batches.iter().map(|batch| ArrayRef::clone(batch.column(0))));
        let ids = concat(&ids.iter().map(AsRef::as_ref).collect::<Vec<_>>())?;
        Ok(Some(Newest { files: files.into_iter().collect(), ids }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, first: Option<i64>, last: Option<i64>) -> Logged {
        Logged { path: path.to_owned(), rows: 10, first, last }
    }

    #[test]
    fn files_that_are_later_than_all_others_are_found() {
        let old = || file("a", Some(1), Some(4));
        assert_eq!(
            newest(vec![old(), file("b", Some(5), Some(5)), file("c", Some(7), Some(9))]),
            ["c", "b", "a"]
        );
        let large = || Logged { rows: ROWS, ..old() };
        assert_eq!(
            newest(vec![large(), file("b", Some(5), Some(5)), file("c", Some(7), Some(9))]),
            ["c", "b"]
        );
        assert_eq!(
            newest(vec![large(), file("b", Some(5), Some(8)), file("c", Some(7), Some(9))]),
            ["c", "b"]
        );
    }

    #[test]
    fn times_that_meet_prove_nothing() {
        let large = Logged { rows: ROWS, ..file("a", Some(1), Some(5)) };
        assert!(newest(vec![large.clone(), file("b", Some(5), Some(5))]).is_empty());
        let newer = || file("c", Some(6), Some(9));
        assert_eq!(newest(vec![large.clone(), file("b", Some(5), Some(5)), newer()]), ["c"]);
        assert!(newest(vec![large, file("b", Some(5), Some(6)), newer()]).is_empty());
    }

    #[test]
    fn unknown_times_prove_nothing() {
        // Rows that are of another version, or whose times aren't known, may be later than any.
        let unknown = file("x", None, Some(i64::MAX));
        assert!(newest(vec![unknown, file("b", Some(5), Some(5))]).is_empty());
        // Rows without times are before all others.
        assert_eq!(newest(vec![file("x", None, None), file("b", Some(5), Some(5))]), ["b"]);
        assert!(newest(Vec::new()).is_empty());
    }

    #[test]
    fn rows_of_another_version_do_not_count() {
        let stats = serde_json::json!({
            "numRecords": 2,
            "minValues": {FEATURE_VERSION: "v", "metaxy_updated_at": "2026-01-01T00:00:00Z"},
            "maxValues": {FEATURE_VERSION: "v", "metaxy_updated_at": "2026-01-01T00:00:00Z"},
            "nullCount": {FEATURE_VERSION: 0, "metaxy_updated_at": 0, "metaxy_deleted_at": 2},
        });
        let own = Logged::new("f".into(), &stats, "v");
        assert!(own.first.is_some() && own.first < own.last);
        let other = Logged::new("f".into(), &stats, "w");
        assert_eq!((other.first, other.last), (None, own.last));
        let nothing = Logged::new("f".into(), &Value::Null, "v");
        assert_eq!((nothing.first, nothing.last, nothing.rows), (None, Some(i64::MAX), u64::MAX));
    }
}
