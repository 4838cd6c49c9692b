//! Files of a Delta table whose rows are all later than those of the other files, as far as the log says.
//!
//! A sample that has a row there has its latest one there. So where few samples are asked for, the other files need not be
//! searched for it.

use std::collections::HashSet;

use datafusion::arrow::array::{ArrayRef, new_empty_array};
use datafusion::arrow::compute::concat;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::utils::conjunction;
use datafusion::physical_plan::collect;
use serde_json::Value;

use super::delta::DeltaRows;
use super::delta_pages::Wanted;
use super::kept::filtered;
use super::proven::is_always;
use super::times::{earliest, latest};
use crate::columns::FEATURE_VERSION;
use crate::operators::few_keys;

/// Rows whose ids are all read, whichever are asked for.
const ROWS: u64 = 1 << 16;
/// How many times larger files are searched before what is older than they are.
const SEARCHES: usize = 4;

/// The latest row of each value of a column is asked for, among the rows of a feature version.
#[derive(Debug, Clone)]
pub(super) struct Latest {
    pub id: String,
    pub version: String,
}

/// Files that are later than all that are in none of those before them, and samples that have rows there.
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

/// Files that are later than all those after them.
#[derive(Debug, PartialEq, Eq)]
struct Generation {
    paths: Vec<String>,
    rows: u64,
    /// How many rows there are in files after these.
    older: u64,
}

/// The files from the newest ones on, cut where all of one side are later than all of the other; what is left has no such
/// place. The first ones are taken together as long as they have few rows.
fn generations(mut files: Vec<Logged>) -> Vec<Generation> {
    files.sort_by(|a, b| b.first.cmp(&a.first).then_with(|| a.path.cmp(&b.path)));
    // The last time in the files from each on, and how many rows they have.
    let mut last: Vec<Option<i64>> = files.iter().map(|file| file.last).collect();
    let mut left: Vec<u64> = files.iter().map(|file| file.rows).collect();
    for at in (1..files.len()).rev() {
        last[at - 1] = last[at - 1].max(last[at]);
        left[at - 1] = left[at - 1].saturating_add(left[at]);
    }
    let mut found: Vec<Generation> = Vec::new();
    let mut next = Generation { paths: Vec::new(), rows: 0, older: 0 };
    for (at, file) in files.into_iter().enumerate() {
        let Some(first) = file.first else { break };
        next.paths.push(file.path);
        next.rows = next.rows.saturating_add(file.rows);
        if last.get(at + 1).copied().flatten().is_some_and(|others| others >= first) {
            continue;
        }
        next.older = left.get(at + 1).copied().unwrap_or(0);
        match found.as_mut_slice() {
            [only] if only.rows.saturating_add(next.rows) <= ROWS => {
                only.paths.append(&mut next.paths);
                (only.rows, only.older) = (only.rows + next.rows, next.older);
            }
            _ => found.push(next),
        }
        next = Generation { paths: Vec::new(), rows: 0, older: 0 };
    }
    found
}

impl DeltaRows {
    /// The newest files of these rows, which are those of one moment, if there are any that are not all: which of the
    /// `wanted` samples they have, by the condition that keeps their rows.
    ///
    /// # Errors
    /// A file that can't be read.
    pub(super) async fn newest(
        &self,
        latest: &Latest,
        wanted: &mut Wanted,
        conditions: &[Expr],
        state: &dyn Session,
    ) -> Result<Vec<Newest>> {
        let files: Vec<Logged> = self
            .logged()?
            .iter()
            .map(|file| {
                let stats = file.stats().and_then(|text| serde_json::from_str(&text).ok());
                Logged::new(file.path().into_owned(), &stats.unwrap_or(Value::Null), &latest.version)
            })
            .collect();
        let is_of_key =
            |condition: &&Expr| few_keys(condition).is_some_and(|(column, _)| column == latest.id);
        let conditions: Vec<Expr> = conditions.iter().filter(is_of_key).cloned().collect();
        let mut found = Vec::new();
        for generation in generations(files).into_iter().take(SEARCHES) {
            let is_small = generation.rows <= ROWS;
            // To search takes about as long as it may save.
            if generation.older == 0 || wanted.is_empty() || !is_small && generation.older < generation.rows {
                break;
            }
            let conditions = if is_small { &[][..] } else { &conditions };
            let ids = self.ids_of(&generation.paths, latest, conditions, state).await?;
            let before = wanted.len();
            wanted.leave_out(&ids);
            found.push(Newest { files: generation.paths.into_iter().collect(), ids });
            // Samples that are everywhere have to be searched for everywhere.
            if !is_small && wanted.len() > before / 2 {
                break;
            }
        }
        Ok(found)
    }

    /// The samples in these files that meet the conditions, which are about the id.
    async fn ids_of(
        &self,
        files: &[String],
        latest: &Latest,
        conditions: &[Expr],
        state: &dyn Session,
    ) -> Result<ArrayRef> {
        let schema = self.schema();
        let id = schema.index_of(&latest.id)?;
        let rows = self.clone().of_files(files.to_vec());
        let plan = rows.scan(state, Some(&vec![id]), conditions, None).await?;
        // Of a page that is read for one sample, all of them come.
        let plan = filtered(plan, conjunction(conditions.to_vec()), state)?;
        let mut ids = vec![new_empty_array(schema.field(id).data_type())];
        for batch in collect(plan, state.task_ctx()).await? {
            ids.push(ArrayRef::clone(batch.column(0)));
        }
        Ok(concat(&ids.iter().map(AsRef::as_ref).collect::<Vec<_>>())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, first: Option<i64>, last: Option<i64>) -> Logged {
        Logged { path: path.to_owned(), rows: 10, first, last }
    }

    /// The paths of each generation, and how many rows are older.
    fn cut(files: Vec<Logged>) -> Vec<(String, u64)> {
        generations(files).into_iter().map(|found| (found.paths.join(" "), found.older)).collect()
    }

    fn cuts<const N: usize>(expected: [(&str, u64); N]) -> Vec<(String, u64)> {
        expected.map(|(paths, older)| (paths.to_owned(), older)).to_vec()
    }

    #[test]
    fn files_that_are_later_than_all_others_are_found() {
        let old = || file("a", Some(1), Some(4));
        let two = || [file("b", Some(5), Some(5)), file("c", Some(7), Some(9))];
        assert_eq!(cut([vec![old()], two().to_vec()].concat()), cuts([("c b a", 0)]));
        let large = || Logged { rows: ROWS, ..old() };
        assert_eq!(cut([vec![large()], two().to_vec()].concat()), cuts([("c b", ROWS), ("a", 0)]));
        let meeting = vec![large(), file("b", Some(5), Some(8)), file("c", Some(7), Some(9))];
        assert_eq!(cut(meeting), cuts([("c b", ROWS), ("a", 0)]));
        let rewritten = |path: &str, time| Logged { rows: ROWS, ..file(path, Some(time), Some(time)) };
        assert_eq!(
            cut(vec![rewritten("a", 1), rewritten("b", 2), rewritten("c", 3), file("d", Some(4), Some(4))]),
            cuts([("d", 3 * ROWS), ("c", 2 * ROWS), ("b", ROWS), ("a", 0)])
        );
    }

    #[test]
    fn times_that_meet_prove_nothing() {
        let large = Logged { rows: ROWS, ..file("a", Some(1), Some(5)) };
        let meeting = file("b", Some(5), Some(5));
        let all = ("b a", 0);
        assert_eq!(cut(vec![large.clone(), meeting.clone()]), cuts([all]));
        let newer = || file("c", Some(6), Some(9));
        assert_eq!(cut(vec![large.clone(), meeting, newer()]), cuts([("c", ROWS + 10), all]));
        assert_eq!(cut(vec![large, file("b", Some(5), Some(6)), newer()]), cuts([("c b a", 0)]));
    }

    #[test]
    fn unknown_times_prove_nothing() {
        // Rows that are of another version, or whose times aren't known, may be later than any.
        let unknown = file("x", None, Some(i64::MAX));
        assert_eq!(cut(vec![unknown, file("b", Some(5), Some(5))]), cuts([]));
        // Rows without times are before all others.
        assert_eq!(cut(vec![file("x", None, None), file("b", Some(5), Some(5))]), cuts([("b", 10)]));
        assert_eq!(cut(Vec::new()), cuts([]));
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
