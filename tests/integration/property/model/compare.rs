//! Expected against stored rows: what is new, what is stale, what is orphaned.

use std::collections::{BTreeMap, BTreeSet};

use datafusion_metaxy::columns::{
    DATA_VERSION, DATA_VERSION_BY_FIELD, INCREMENT, PROVENANCE, PROVENANCE_BY_FIELD, VERSION_COLUMNS,
};
use datafusion_metaxy::model::Lineage;

use super::expected::{Expected, ExpectedRow, conditions, expected, specs};
use super::history::all_members;
use super::{CURRENT, Refusal, Table, Tables, comparison_columns};
use crate::property::case::{Case, Feature, Question};
use crate::property::predicate::Predicate;
use crate::property::value::{Row, Value, cell, cells, project};

/// An increment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    pub columns: BTreeSet<String>,
    pub rows: Vec<Row>,
}

impl Answer {
    /// Sorted rows that have all columns, NULLs too.
    pub fn new(columns: BTreeSet<String>, rows: impl IntoIterator<Item = Row>) -> Self {
        let mut rows: Vec<Row> = rows.into_iter().map(|row| project(&row, &columns)).collect();
        rows.sort();
        Self { columns, rows }
    }
}

/// The stored rows of one comparison key.
struct Stored<'a> {
    rows: Vec<&'a Row>,
    /// Whether an increment shows one row for all of them.
    together: bool,
}

/// The increment of a feature.
pub fn answer(case: &Case, tables: &Tables, target: usize, question: &Question) -> Result<Answer, Refusal> {
    let feature = &case.features[target];
    check_global(case, tables, feature, question)?;
    let expected = expected(case, tables, feature, question, false)?;
    let mut columns: BTreeSet<String> = expected.keys.iter().cloned().collect();
    columns.extend(expected.columns.iter().map(|(name, _)| name.clone()));
    columns.extend([INCREMENT].iter().chain(&VERSION_COLUMNS).map(ToString::to_string));
    let mut rows = Vec::new();
    let table = tables.get(&feature.key()).filter(|_| !question.skip_comparison);
    let answer = |rows: Vec<Row>| {
        let own = rows.into_iter().filter(|row| match question.shard {
            Some((number, count)) => shard(&cells(row, &expected.keys), count) + 1 == number,
            None => true,
        });
        Ok(Answer::new(columns.clone(), own))
    };
    let Some(table) = table else {
        rows.extend(expected.rows.iter().filter(|row| row.passes).map(|row| expected_row("new", row)));
        return answer(rows);
    };
    if !table.has_all(&expected.keys.iter().map(String::as_str).collect::<Vec<_>>()) {
        return Err("the stored rows lack a key".into());
    }
    let mut target_filters = conditions(case, question, &feature.key(), |columns| table.has_all(columns));
    target_filters.extend(&question.target);
    for condition in target_filters.iter().copied().chain(&question.stale_when) {
        if !table.has_all(&condition.columns()) {
            return Err(format!("{condition}: no such column is stored"));
        }
    }

    let live = table.live(&feature.spec.id_columns, CURRENT);
    let expands = feature.spec.deps.iter().any(|dep| matches!(dep.lineage, Lineage::Expansion { .. }));
    let mut stored: BTreeMap<Vec<Value>, Stored<'_>> = BTreeMap::new();
    // Rows come in the order of their ids.
    for row in &live {
        let slot = stored.entry(cells(row, &expected.keys));
        slot.or_insert_with(|| Stored { rows: Vec::new(), together: expands }).rows.push(row);
    }
    let passes = |row: &&Row| target_filters.iter().all(|filter| filter.holds(row));
    for row in &expected.rows {
        let class = match stored.get(&cells(&row.values, &expected.keys)) {
            _ if !row.passes => continue,
            None => "new",
            Some(stored) if !stored.rows.iter().any(passes) => continue,
            Some(stored) if stored.differs(row, &question.stale_when) => "stale",
            Some(_) => continue,
        };
        rows.push(expected_row(class, row));
    }
    let wanted: BTreeSet<Vec<Value>> =
        expected.rows.iter().map(|row| cells(&row.values, &expected.keys)).collect();
    let waiting = pending(case, tables, feature, question)?;
    for (key, stored) in &stored {
        let class = match waiting.get(key) {
            _ if wanted.contains(key) => continue,
            None => "orphaned",
            Some(true) if question.include_pending => "pending",
            Some(_) => continue,
        };
        if !stored.together {
            let own = stored.rows.iter().filter(|row| passes(row));
            rows.extend(own.map(|row| stored_row(class, feature, table, &expected, row)));
        } else if stored.rows.iter().any(passes) {
            rows.push(stored_row(class, feature, table, &expected, stored.rows[0]));
        }
    }
    answer(rows)
}

impl Stored<'_> {
    /// Any row that differs, or meets a predicate of staleness, makes the sample stale.
    fn differs(&self, expected: &ExpectedRow, stale_when: &[Predicate]) -> bool {
        self.rows.iter().any(|row| {
            expected.provenance.is_none()
                || cell(row, PROVENANCE) != Value::from(expected.provenance.clone())
                || stale_when.iter().any(|predicate| predicate.holds(row))
        })
    }
}

/// Conditions for all tables have to apply to one at least.
fn check_global(case: &Case, tables: &Tables, feature: &Feature, question: &Question) -> Result<(), Refusal> {
    let parents = specs(case, feature).into_iter().map(|spec| spec.key.to_string());
    let mut keys: Vec<String> = if question.samples.is_some() { Vec::new() } else { parents.collect() };
    keys.push(feature.key());
    for condition in &question.global {
        let columns = condition.columns();
        let samples = question.samples.iter().any(|samples| {
            columns.iter().all(|column| samples.columns.iter().any(|(name, _)| name == column))
        });
        if !samples && !keys.iter().filter_map(|key| tables.get(key)).any(|table| table.has_all(&columns)) {
            return Err(format!("no table has the columns of {condition}"));
        }
    }
    Ok(())
}

/// The keys of samples that only wait for a parent to be recomputed, and whether they pass the question's filters.
fn pending(
    case: &Case,
    tables: &Tables,
    feature: &Feature,
    question: &Question,
) -> Result<BTreeMap<Vec<Value>, bool>, Refusal> {
    let mut waiting = BTreeMap::new();
    if question.samples.is_some() {
        return Ok(waiting);
    }
    let with_older = expected(case, tables, feature, question, true)?;
    for row in &with_older.rows {
        *waiting.entry(cells(&row.values, &with_older.keys)).or_default() |= row.passes;
    }
    Ok(waiting)
}

/// The shard of a key, from 0 on: each value as its length and its text, NULL as nothing.
fn shard(key: &[Value], count: u32) -> u32 {
    let mut bytes = Vec::new();
    for value in key {
        let text = match value {
            Value::Null => {
                bytes.push(0);
                continue;
            }
            Value::Int(number) => number.to_string(),
            Value::Text(text) => text.clone(),
            Value::Versions(_) => panic!("{value:?} is no id"),
        };
        bytes.push(1);
        bytes.extend((text.len() as u64).to_le_bytes());
        bytes.extend(text.as_bytes());
    }
    u32::try_from(xxhash_rust::xxh3::xxh3_64(&bytes) % u64::from(count)).unwrap()
}

fn expected_row(class: &str, expected: &ExpectedRow) -> Row {
    let mut row = expected.values.clone();
    row.insert(INCREMENT.into(), Value::text(class));
    row.insert(PROVENANCE_BY_FIELD.into(), Value::Versions(expected.provenance_by_field.clone()));
    row.insert(PROVENANCE.into(), expected.provenance.clone().into());
    row.insert(DATA_VERSION_BY_FIELD.into(), Value::Versions(expected.data_version_by_field.clone()));
    row.insert(DATA_VERSION.into(), expected.data_version.clone().into());
    row
}

/// An orphaned or pending row: the expected side's names, filled from the stored row where name and type match.
fn stored_row(class: &str, feature: &Feature, table: &Table, expected: &Expected, stored: &Row) -> Row {
    let mut row = Row::from([(INCREMENT.to_owned(), Value::text(class))]);
    for key in &expected.keys {
        row.insert(key.clone(), cell(stored, key));
    }
    for (name, column_type) in &expected.columns {
        let same = table.type_of(name) == Some(*column_type);
        row.insert(name.clone(), if same { cell(stored, name) } else { Value::Null });
    }
    for name in VERSION_COLUMNS {
        let value = match cell(stored, name) {
            value if name != PROVENANCE_BY_FIELD && name != DATA_VERSION_BY_FIELD => value,
            value => Value::Versions(all_members(&value, &feature.members())),
        };
        row.insert(name.to_owned(), value);
    }
    row
}

/// The share of distinct input units that are not new; `None` without any.
pub fn progress(
    case: &Case,
    tables: &Tables,
    target: usize,
    question: &Question,
) -> Result<Option<f64>, Refusal> {
    let feature = &case.features[target];
    let keys = comparison_columns(&feature.spec, &specs(case, feature));
    let count = |question: &Question| -> Result<f64, Refusal> {
        let new = Value::text("new");
        let rows = answer(case, tables, target, question)?.rows;
        let units: BTreeSet<_> =
            rows.iter().filter(|row| cell(row, INCREMENT) == new).map(|row| cells(row, &keys)).collect();
        Ok(units.len() as f64)
    };
    let all = count(&Question { skip_comparison: true, ..question.clone() })?;
    if all == 0.0 {
        return Ok(None);
    }
    Ok(Some(1.0 - count(question)? / all))
}
