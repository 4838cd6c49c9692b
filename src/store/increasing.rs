//! Files whose rows come in the order of their ids, each id once: the log says so, and no row has to be looked up among
//! the others.
//!
//! Whoever writes a file knows the order of its rows. A tag on the log's entry for the file keeps it for those who read:
//! other writers leave the tag where the file stays the same, and have none for files of theirs.

use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use datafusion::arrow::compute::kernels::cmp::{eq, lt};
use datafusion::arrow::compute::{and, cast, or};
use datafusion::arrow::datatypes::{DataType, Int64Type};
use datafusion::arrow::error::ArrowError;
use deltalake::kernel::Add;
use serde_json::Value;

/// The tag of a file whose rows are in the strictly increasing order of some columns; its value is a JSON array of their
/// names.
const TAG: &str = "metaxy.increasing";
/// The tag of a file that others of one write have ids in between: its value is a JSON array of pairs, the first and the
/// last value of the first id in rows that have none of another file between them.
const RANGES_TAG: &str = "metaxy.ranges";
/// Ranges that are listed at most: a log is read as a whole.
const MOST_RANGES: usize = 64;

/// Whether rows that come batch by batch are in the strictly increasing order of their ids. A NULL is in no order.
#[derive(Debug)]
pub(super) struct Increasing {
    ids: Vec<String>,
    /// The ids of the last row.
    last: Option<Vec<ArrayRef>>,
    holds: bool,
}

impl Increasing {
    pub(super) fn new(ids: Vec<String>) -> Self {
        let holds = !ids.is_empty();
        Self { ids, last: None, holds }
    }

    /// Looks at further rows.
    pub(super) fn add(&mut self, batch: &RecordBatch) {
        if self.holds && batch.num_rows() > 0 {
            self.holds = self.is_increasing(batch).unwrap_or(false);
        }
    }

    fn is_increasing(&mut self, batch: &RecordBatch) -> Result<bool, ArrowError> {
        let columns = self.ids.iter().map(|id| batch.column_by_name(id).cloned()).collect::<Option<Vec<_>>>();
        let Some(columns) = columns.filter(|columns| columns.iter().all(has_order)) else { return Ok(false) };
        if let Some(last) = self.last.replace(part(&columns, batch.num_rows() - 1, 1))
            && !all_less(&last, &part(&columns, 0, 1))?
        {
            return Ok(false);
        }
        is_increasing(&columns)
    }

    /// Whether the rows are in order so far.
    pub(super) fn holds(&self) -> bool {
        self.holds
    }

    /// Says no more of the rows.
    pub(super) fn give_up(&mut self) {
        self.holds = false;
    }

    /// Whether rows with these ids, the first of which counts, go on from the last row.
    pub(super) fn is_before(&self, columns: &[ArrayRef]) -> bool {
        let is_less = |last: &Vec<ArrayRef>| all_less(last, &part(columns, 0, 1)).unwrap_or(false);
        self.holds && self.last.as_ref().is_none_or(is_less)
    }

    /// Whether the last row is before the last one of another.
    pub(super) fn is_behind(&self, other: &Self) -> bool {
        let lasts = self.last.as_ref().zip(other.last.as_ref());
        lasts.is_some_and(|(own, other)| all_less(own, other).unwrap_or(false))
    }

    /// Tags files that have all these rows, in this order. If others have rows in between, these have the ranges of the
    /// first id that no other has any in.
    pub(super) fn tag(&self, files: &mut [Add], ranges: &[(Bound, Bound)]) {
        if !self.holds {
            return;
        }
        for file in files {
            let tags = file.tags.get_or_insert_default();
            tags.insert(TAG.to_owned(), Some(Value::from(self.ids.clone()).to_string()));
            if (1..=MOST_RANGES).contains(&ranges.len()) {
                let pair = |(first, last): &(Bound, Bound)| Value::Array(vec![first.json(), last.json()]);
                let ranges: Value = ranges.iter().map(pair).collect();
                tags.insert(RANGES_TAG.to_owned(), Some(ranges.to_string()));
            }
        }
    }
}

/// Whether each row of these columns, of which there is one at least, is greater than the one before.
pub(super) fn is_increasing(columns: &[ArrayRef]) -> Result<bool, ArrowError> {
    let rows = columns.first().map_or(0, |column| column.len());
    if rows == 0 || !columns.iter().all(has_order) {
        return Ok(false);
    }
    all_less(&part(columns, 0, rows - 1), &part(columns, 1, rows - 1))
}

fn part(columns: &[ArrayRef], from: usize, rows: usize) -> Vec<ArrayRef> {
    columns.iter().map(|column| column.slice(from, rows)).collect()
}

/// Whether values of the column have one order, here and in the statistics of files.
fn has_order(column: &ArrayRef) -> bool {
    let is_known = column.data_type().is_integer()
        || matches!(column.data_type(), DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    is_known && column.null_count() == 0
}

/// Whether each row of the one is less than that of the other.
fn all_less(left: &[ArrayRef], right: &[ArrayRef]) -> Result<bool, ArrowError> {
    let mut less: Option<BooleanArray> = None;
    // From the last column on: what comes first decides.
    for (left, right) in left.iter().zip(right).rev() {
        let own = lt(left, right)?;
        less = Some(match less {
            None => own,
            Some(later) => or(&own, &and(&eq(left, right)?, &later)?)?,
        });
    }
    Ok(less.is_some_and(|less| less.true_count() == less.len()))
}

/// Whether these files have each id once, by what the log says of them.
pub(super) fn have_each_once(files: impl Iterator<Item = Add>, ids: &[String]) -> bool {
    let Some(first) = ids.first() else { return false };
    let mut count = 0;
    let mut ranges = Some(Vec::new());
    for Add { tags, stats, .. } in files {
        let tag = |name: &str| {
            let text = tags.as_ref()?.get(name)?.as_deref()?;
            serde_json::from_str::<Value>(text).ok()
        };
        if tag(TAG) != Some(Value::from(ids)) {
            return false;
        }
        count += 1;
        let stats = stats.and_then(|text| serde_json::from_str::<Value>(&text).ok()).unwrap_or_default();
        let bound = |which: &str| Bound::of(&stats[which][first]);
        let own = match (bound("minValues").zip(bound("maxValues")), tag(RANGES_TAG)) {
            (Some(whole), Some(listed)) => within(&whole, &listed),
            (Some(whole), None) => Some(vec![whole]),
            (None, _) => None,
        };
        ranges = ranges.zip(own).map(|(mut all, own)| {
            all.extend(own);
            all
        });
    }
    // One file needs no range.
    count < 2 || ranges.is_some_and(are_apart)
}

/// The parts of the listed ranges that are in the whole one.
fn within(whole: &(Bound, Bound), listed: &Value) -> Option<Vec<(Bound, Bound)>> {
    let (least, greatest) = whole;
    let mut parts = Vec::new();
    for pair in listed.as_array()? {
        let (first, last) = (Bound::of(&pair[0])?, Bound::of(&pair[1])?);
        let part = (first.max(least.clone()), last.min(greatest.clone()));
        if part.0 <= part.1 {
            parts.push(part);
        }
    }
    Some(parts)
}

/// Whether no range has a part of another. Texts that were cut are less than the least, or greater than the greatest.
fn are_apart(mut ranges: Vec<(Bound, Bound)>) -> bool {
    ranges.sort_unstable();
    ranges.windows(2).all(|pair| match (&pair[0].1, &pair[1].0) {
        (Bound::Number(greatest), Bound::Number(least)) => greatest < least,
        (Bound::Text(greatest), Bound::Text(least)) => greatest < least,
        _ => false,
    })
}

/// A value of an id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Bound {
    Number(i64),
    Text(String),
}

impl Bound {
    fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Number(number) => number.as_i64().map(Self::Number),
            Value::String(text) => Some(Self::Text(text.clone())),
            _ => None,
        }
    }

    /// The value in a row.
    pub(super) fn at(column: &ArrayRef, row: usize) -> Option<Self> {
        let value = column.slice(row, 1);
        if value.data_type().is_integer() {
            let number = cast(&value, &DataType::Int64).ok()?;
            let number = number.as_primitive::<Int64Type>();
            return (number.null_count() == 0).then(|| Self::Number(number.value(0)));
        }
        let text = cast(&value, &DataType::Utf8).ok().filter(|_| value.data_type().is_string())?;
        let text = text.as_string::<i32>();
        (text.null_count() == 0).then(|| Self::Text(text.value(0).to_owned()))
    }

    fn json(&self) -> Value {
        match self {
            Self::Number(number) => Value::from(*number),
            Self::Text(text) => Value::from(text.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Arc;

    use datafusion::arrow::array::{Float64Array, Int64Array, StringArray};
    use serde_json::json;

    use super::*;

    fn holds(batches: &[Vec<(Option<&str>, i64)>], ids: &[&str]) -> bool {
        let mut increasing = Increasing::new(ids.iter().map(|&id| id.to_owned()).collect());
        for rows in batches {
            let texts: ArrayRef = Arc::new(rows.iter().map(|row| row.0).collect::<StringArray>());
            let numbers: ArrayRef = Arc::new(rows.iter().map(|row| row.1).collect::<Int64Array>());
            let floats: ArrayRef = Arc::new(rows.iter().map(|row| row.1 as f64).collect::<Float64Array>());
            increasing
                .add(&RecordBatch::try_from_iter([("a", texts), ("b", numbers), ("f", floats)]).unwrap());
        }
        let mut files = [logged()];
        increasing.tag(&mut files, &[]);
        files[0].tags.is_some()
    }

    fn logged() -> Add {
        Add {
            path: "f".into(),
            partition_values: HashMap::new(),
            size: 1,
            modification_time: 1,
            data_change: true,
            stats: None,
            tags: None,
            deletion_vector: None,
            base_row_id: None,
            default_row_commit_version: None,
            clustering_provider: None,
        }
    }

    #[test]
    fn each_row_has_to_be_greater_than_the_one_before() {
        let (a, b, c) = ((Some("a"), 1), (Some("b"), 1), (Some("c"), 0));
        assert!(holds(&[vec![a, b], vec![], vec![c]], &["a"]));
        assert!(!holds(&[vec![a, b, b]], &["a"]), "the same id twice");
        assert!(!holds(&[vec![a, b], vec![b, c]], &["a"]), "the same id in two batches");
        assert!(!holds(&[vec![b, c], vec![a]], &["a"]));
        assert!(!holds(&[vec![(None, 1), a]], &["a"]), "a NULL");
        assert!(holds(&[vec![(None, 1), (None, 2)]], &["b"]), "a NULL that is no id");
        assert!(!holds(&[vec![a]], &["gone"]));
        assert!(!holds(&[vec![a]], &["f"]), "floats have no such order");
        assert!(!holds(&[vec![a]], &[]));
    }

    #[test]
    fn of_several_columns_the_first_decides() {
        let rows = vec![(Some("a"), 1), (Some("a"), 2), (Some("b"), 0)];
        assert!(holds(std::slice::from_ref(&rows), &["a", "b"]));
        assert!(!holds(std::slice::from_ref(&rows), &["b", "a"]));
        assert!(!holds(&[rows], &["a"]));
        assert!(!holds(&[vec![(Some("a"), 1)], vec![(Some("a"), 1)]], &["a", "b"]));
    }

    fn once(files: &[(Option<&str>, Value)]) -> bool {
        let files = files.iter().map(|(tag, stats)| Add {
            tags: tag.map(|tag| HashMap::from([(TAG.to_owned(), Some(tag.to_owned()))])),
            stats: Some(stats.to_string()),
            ..logged()
        });
        have_each_once(files, &["id".to_owned(), "n".to_owned()])
    }

    #[test]
    fn files_may_not_overlap() {
        let tag = Some(r#"["id","n"]"#);
        let range = |least: Value, greatest: Value| json!({"minValues": {"id": least}, "maxValues": {"id": greatest}});
        let text = |least: &str, greatest: &str| (tag, range(json!(least), json!(greatest)));
        let number = |least: i64, greatest: i64| (tag, range(json!(least), json!(greatest)));
        assert!(once(&[text("b", "c"), text("a", "az"), text("d", "d")]));
        assert!(!once(&[text("a", "b"), text("b", "c")]));
        assert!(!once(&[text("a", "z"), text("b", "c")]));
        assert!(once(&[number(10, 20), number(-5, 9)]));
        assert!(!once(&[number(10, 20), number(9, 10)]));
        assert!(!once(&[number(1, 2), text("a", "b")]), "of two types");
        assert!(once(&[(tag, json!({}))]), "one file needs no range");
        assert!(!once(&[(tag, json!({})), text("a", "b")]));
        assert!(!once(&[(None, range(json!(1), json!(2)))]));
        assert!(!once(&[(Some(r#"["n","id"]"#), json!({}))]), "other columns");
        assert!(once(&[]));
    }

    #[test]
    fn files_of_one_write_may_have_ranges_in_between() {
        let file = |ranges: Value, least: &str, greatest: &str| {
            let tags = [(TAG, json!(["id"])), (RANGES_TAG, ranges)];
            let tags = tags.map(|(name, value)| (name.to_owned(), Some(value.to_string())));
            let stats = json!({"minValues": {"id": least}, "maxValues": {"id": greatest}}).to_string();
            Add { tags: Some(HashMap::from(tags)), stats: Some(stats), ..logged() }
        };
        let once = |files: Vec<Add>| have_each_once(files.into_iter(), &["id".to_owned()]);
        let (outer, inner) = (json!([["a", "b"], ["m", "z"]]), json!([["c", "f"]]));
        assert!(once(vec![file(outer.clone(), "a", "z"), file(inner.clone(), "c", "f")]));
        assert!(!once(vec![file(outer.clone(), "a", "z"), file(json!([["b", "f"]]), "b", "f")]));
        assert!(!once(vec![file(outer.clone(), "a", "z"), file(outer.clone(), "a", "z")]));
        // One of them was closed when it was large enough, and another one begun.
        let (first, second) = (file(outer.clone(), "a", "o"), file(outer.clone(), "p", "z"));
        assert!(once(vec![first, file(inner, "c", "f"), second]));
        assert!(!once(vec![file(outer, "a", "z"), file(json!("?"), "c", "f")]), "what nobody can read");
    }
}
