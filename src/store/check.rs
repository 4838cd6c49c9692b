//! The checks of rows before a write: all rows are looked at, so that the error can count them.

use std::collections::HashSet;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::compute::cast;
use datafusion::arrow::compute::kernels::cmp::not_distinct;
use datafusion::arrow::datatypes::DataType;
use datafusion::arrow::util::display::array_value_to_string;
use datafusion::error::DataFusionError;

use super::versions::SEPARATOR;
use crate::columns::INCREMENT;
use crate::error::Result;
use crate::operators::Keys;

/// How many offending samples an error names.
const EXAMPLES: usize = 3;

/// Index of the `metaxy_increment` column of rows that come from an increment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PendingIncrement(pub usize);

#[derive(Debug)]
struct Problem {
    what: String,
    count: usize,
    examples: Vec<String>,
}

/// Counts what is wrong with rows.
#[derive(Debug)]
pub(crate) struct Checks {
    id_names: Vec<String>,
    ids: Vec<usize>,
    increment: Option<PendingIncrement>,
    keys: Keys,
    /// The keys of the ids seen.
    seen: HashSet<u128>,
    problems: Vec<Problem>,
}

impl Checks {
    /// `ids` are the id columns' places in the given rows.
    pub(crate) fn new(id_names: Vec<String>, ids: Vec<usize>) -> Self {
        Self { id_names, ids, increment: None, keys: Keys::new(), seen: HashSet::new(), problems: Vec::new() }
    }

    pub(crate) fn with_increment(mut self, increment: Option<PendingIncrement>) -> Self {
        self.increment = increment;
        self
    }

    pub(crate) fn failed(&self) -> bool {
        !self.problems.is_empty()
    }

    /// The places of the id columns in the given rows.
    pub(crate) fn id_indices(&self) -> &[usize] {
        &self.ids
    }

    /// Ids must be there, survive being stored, and be unique within the write; increments must be `new` or `stale`.
    pub(crate) fn rows(&mut self, batch: &RecordBatch, stored: &[ArrayRef]) -> Result<()> {
        let ids = self.ids(batch);
        for (name, (given, stored)) in self.id_names.clone().iter().zip(ids.iter().zip(stored)) {
            if given.data_type() == stored.data_type() || *given.data_type() == DataType::Null {
                continue;
            }
            let back = cast(stored, given.data_type()).map_err(DataFusionError::from)?;
            let same = not_distinct(given, &back).map_err(DataFusionError::from)?;
            for row in (0..same.len()).filter(|&row| !same.value(row)) {
                let example = self.describe(&ids, row);
                self.problem(
                    &format!(
                        "a value in id column {name} that can't be stored exactly (times have microseconds)"
                    ),
                    example,
                );
            }
        }
        for (name, column) in self.id_names.clone().iter().zip(&ids) {
            if let Some(nulls) = column.logical_nulls() {
                for row in (0..batch.num_rows()).filter(|&row| nulls.is_null(row)) {
                    let example = self.describe(&ids, row);
                    self.problem(&format!("NULL in id column {name}"), example);
                }
            }
        }
        for (row, key) in self.keys.of(stored)?.into_iter().enumerate() {
            if !self.seen.insert(key) {
                let example = self.describe(&ids, row);
                self.problem("an id that another row of this write has", example);
            }
        }
        self.increments(batch, &ids)
    }

    fn increments(&mut self, batch: &RecordBatch, ids: &[ArrayRef]) -> Result<()> {
        let Some(PendingIncrement(index)) = self.increment else {
            return Ok(());
        };
        let values = cast(batch.column(index), &DataType::Utf8).map_err(DataFusionError::from)?;
        for (row, value) in values.as_string::<i32>().iter().enumerate() {
            if !matches!(value, Some("new" | "stale")) {
                let example = self.describe(ids, row);
                let what = format!(
                    "{INCREMENT} = {} (only new and stale samples can be written: WHERE {INCREMENT} IN ('new', 'stale'))",
                    value.unwrap_or("NULL")
                );
                self.problem(&what, example);
            }
        }
        Ok(())
    }

    /// Versions must be there, not empty and free of the separator; rows where `present` is NULL are exempt.
    pub(crate) fn versions(
        &mut self,
        column: &str,
        keys: &[String],
        values: &[StringArray],
        present: Option<&NullBuffer>,
        ids: &[ArrayRef],
    ) {
        for (key, values) in keys.iter().zip(values) {
            for row in 0..values.len() {
                if present.is_some_and(|p| p.is_null(row)) {
                    continue;
                }
                let wrong = if values.is_null(row) {
                    "NULL"
                } else if values.value(row).is_empty() {
                    "empty"
                } else if values.value(row).contains(SEPARATOR) {
                    "a version with the separator |"
                } else {
                    continue;
                };
                let example = self.describe(ids, row);
                self.problem(&format!("{wrong} in {column}.{key}"), example);
            }
        }
    }

    /// The id columns of a batch.
    pub(crate) fn ids(&self, batch: &RecordBatch) -> Vec<ArrayRef> {
        self.ids.iter().map(|&i| ArrayRef::clone(batch.column(i))).collect()
    }

    fn describe(&self, ids: &[ArrayRef], row: usize) -> String {
        let parts: Vec<String> = self
            .id_names
            .iter()
            .zip(ids)
            .map(|(name, column)| {
                let value = if column.is_null(row) {
                    "NULL".to_owned()
                } else {
                    array_value_to_string(column, row).unwrap_or_default()
                };
                format!("{name}={value}")
            })
            .collect();
        parts.join(" ")
    }

    fn problem(&mut self, what: &str, example: String) {
        match self.problems.iter_mut().find(|p| p.what == what) {
            Some(problem) => {
                problem.count += 1;
                if problem.examples.len() < EXAMPLES {
                    problem.examples.push(example);
                }
            }
            None => self.problems.push(Problem { what: what.to_owned(), count: 1, examples: vec![example] }),
        }
    }

    /// What is wrong, in one line, or nothing.
    pub(crate) fn summary(&self) -> Option<String> {
        if self.problems.is_empty() {
            return None;
        }
        let parts: Vec<String> = self
            .problems
            .iter()
            .map(|p| {
                let rows = if p.count == 1 { "row has" } else { "rows have" };
                let more = if p.count > p.examples.len() { ", …" } else { "" };
                format!("{} {rows} {} (for example {}{more})", p.count, p.what, p.examples.join(", "))
            })
            .collect();
        Some(format!("{}; nothing was written", parts.join("; ")))
    }
}
