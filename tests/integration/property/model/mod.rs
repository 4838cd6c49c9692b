//! The reference: what an increment is, in plain loops over maps and lists, so that it can be read beside the rules.
//!
//! It shares nothing with the product but the hash function of a text and the parsed spec.

mod compare;
mod expected;
mod fields;
mod history;
mod parents;

use std::collections::{BTreeMap, BTreeSet};

use datafusion_metaxy::columns::{DELETED_AT, FEATURE_VERSION, UPDATED_AT};
use datafusion_metaxy::hash::{HashSettings, PartsHasher};

pub use compare::{Answer, answer, progress};
pub use expected::comparison_columns;
pub use fields::field_inputs;

use super::value::{Row, Type, Value, cell, cells};

/// The version of rows that count. Stored rows carry this word instead of the product's hash.
pub const CURRENT: &str = "current";

/// The version of rows that were written under an older definition.
pub const OLDER: &str = "older";

/// Why there is no answer.
pub type Refusal = String;

/// All rows ever written to a feature.
#[derive(Debug, Clone)]
pub struct Table {
    /// Ids and other user columns.
    pub columns: Vec<(String, Type)>,
    pub rows: Vec<Row>,
    /// The greatest time in the table.
    pub latest: Option<i64>,
    /// Microseconds from the greatest time to that of the next write, which begins a new tick.
    pub tick: i64,
}

/// The tables that exist, by feature key.
pub type Tables = BTreeMap<String, Table>;

impl Table {
    /// A table in which times go on by ticks of so many microseconds.
    pub fn new(tick: i64) -> Self {
        Self { columns: Vec::new(), rows: Vec::new(), latest: None, tick }
    }

    pub fn type_of(&self, column: &str) -> Option<Type> {
        self.columns.iter().find(|(name, _)| name == column).map(|(_, column_type)| *column_type)
    }

    /// The user columns, and the system columns that a condition may speak of.
    pub fn has_all(&self, columns: &[&str]) -> bool {
        columns.iter().all(|column| self.type_of(column).is_some())
    }

    /// Per id the row with the greatest time at one feature version, unless that row is a deletion.
    pub fn live(&self, ids: &[String], version: &str) -> Vec<Row> {
        let mut best: BTreeMap<Vec<Value>, &Row> = BTreeMap::new();
        for row in self.rows.iter().filter(|row| cell(row, FEATURE_VERSION).as_text() == Some(version)) {
            let slot = best.entry(cells(row, ids)).or_insert(row);
            // A later row wins a tie.
            if time(row) >= time(slot) {
                *slot = row;
            }
        }
        best.into_values().filter(|row| cell(row, DELETED_AT).is_null()).cloned().collect()
    }

    /// The ids that have any row, even a deleted one, at the current version.
    pub fn known_ids(&self, ids: &[String]) -> BTreeSet<Vec<Value>> {
        let current = |row: &&Row| cell(row, FEATURE_VERSION).as_text() == Some(CURRENT);
        self.rows.iter().filter(current).map(|row| cells(row, ids)).collect()
    }
}

/// NULL is the smallest time, as it is the smallest value.
fn time(row: &Row) -> Value {
    match cell(row, DELETED_AT) {
        Value::Null => cell(row, UPDATED_AT),
        deleted => deleted,
    }
}

/// The truncated hash of the parts, joined with the separator.
pub fn hash(settings: HashSettings, parts: &[&str]) -> String {
    let mut hasher = PartsHasher::new(settings.algorithm);
    hasher.write(parts.join("|").as_bytes());
    let mut text = String::new();
    hasher.finish(settings.length, &mut text);
    text
}

/// The version of a sample from those of its fields: in the order of struct keys, NULL if one is.
pub fn sample_version(settings: HashSettings, by_field: &super::value::Versions) -> Option<String> {
    let parts: Option<Vec<&str>> = by_field.values().map(Option::as_deref).collect();
    parts.map(|parts| hash(settings, &parts))
}

/// The comparison columns of a feature of a case.
pub fn keys(case: &super::case::Case, feature: usize) -> Vec<String> {
    let feature = &case.features[feature];
    comparison_columns(&feature.spec, &expected::specs(case, feature))
}
