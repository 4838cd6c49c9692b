//! How a table grows: writes and raw appends, with times that stand for the product's.

use std::collections::BTreeMap;

use datafusion_metaxy::columns::{
    DATA_VERSION, DATA_VERSION_BY_FIELD, DELETED_AT, FEATURE_VERSION, PROVENANCE, PROVENANCE_BY_FIELD,
    UPDATED_AT,
};
use datafusion_metaxy::hash::HashSettings;

use super::{CURRENT, Table, sample_version};
use crate::property::case::{Deleted, Feature};
use crate::property::value::{Row, Type, Value, Versions, cell};

/// A time that stands for "while this test runs"; the product reads its clock, which lies between the other two.
const PRESENT: i64 = 1_000_000;

/// Microseconds of the year 2100. From here on the product's clock is behind, and its times are the same as ours.
const FUTURE: i64 = 4_102_444_800_000_000;

/// Earlier than any write.
const PAST: i64 = 1_000;

impl Table {
    fn stamp(&self) -> i64 {
        self.latest.map_or(PRESENT, |latest| PRESENT.max((latest / self.tick + 1) * self.tick))
    }

    fn add(&mut self, columns: &[(String, Type)], rows: Vec<Row>) {
        for (name, column_type) in columns {
            if self.type_of(name).is_none() {
                self.columns.push((name.clone(), *column_type));
            }
        }
        for row in rows {
            for column in [UPDATED_AT, DELETED_AT] {
                if let Value::Int(time) = cell(&row, column) {
                    self.latest = self.latest.max(Some(time));
                }
            }
            self.rows.push(row);
        }
    }

    /// Rows with provenance, and perhaps data versions, written under the current definition.
    pub fn write(&mut self, columns: &[(String, Type)], rows: &[Row], settings: HashSettings) {
        let stamp = self.stamp();
        let stored = |row: &Row| {
            let mut row = row.clone();
            let provenance = cell(&row, PROVENANCE_BY_FIELD).members();
            let versions = match cell(&row, DATA_VERSION_BY_FIELD) {
                Value::Versions(given) => given,
                _ => provenance.clone(),
            };
            row.insert(PROVENANCE.into(), sample_version(settings, &provenance).into());
            row.insert(DATA_VERSION.into(), sample_version(settings, &versions).into());
            row.insert(DATA_VERSION_BY_FIELD.into(), Value::Versions(versions));
            row.insert(FEATURE_VERSION.into(), Value::text(CURRENT));
            row.insert(UPDATED_AT.into(), Value::Int(stamp));
            row
        };
        self.add(columns, rows.iter().map(stored).collect());
    }

    /// Rows as they are, with times; gives them as they are stored, which is what the product is to append.
    pub fn append(&mut self, feature: &Feature, rows: &[(Row, Deleted)], timed: bool) -> Vec<Row> {
        let stamp = self.stamp();
        let stored: Vec<Row> = rows
            .iter()
            .map(|(row, deleted)| {
                let mut row = row.clone();
                row.insert(UPDATED_AT.into(), if timed { Value::Int(stamp) } else { Value::Null });
                let deleted_at = match deleted {
                    Deleted::No => Value::Null,
                    Deleted::Now => Value::Int(stamp.max(FUTURE)),
                    Deleted::Past => Value::Int(PAST),
                };
                row.insert(DELETED_AT.into(), deleted_at);
                row
            })
            .collect();
        self.add(&feature.columns, stored.clone());
        stored
    }
}

/// A versions cell as the increment shows it: all the feature's fields, a NULL cell as NULL members.
pub(super) fn all_members(value: &Value, members: &[String]) -> Versions {
    let given = value.members();
    members
        .iter()
        .map(|member| (member.clone(), given.get(member).cloned().flatten()))
        .collect::<BTreeMap<_, _>>()
}
