//! Values and rows as the test's own model sees them: no Arrow, everything ordered and printable.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use datafusion_metaxy::columns::{DATA_VERSION_BY_FIELD, PROVENANCE_BY_FIELD};

/// The type of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    Int32,
    Int64,
    Text,
}

/// One version per field; a member may be NULL.
pub type Versions = BTreeMap<String, Option<String>>;

/// A cell. The order is the one in which an aggregation joins versions: NULL first, numbers, strings by their bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    Null,
    Int(i64),
    Text(String),
    Versions(Versions),
}

impl Value {
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    pub fn is_null(&self) -> bool {
        *self == Self::Null
    }

    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The members of a versions cell; none of a NULL.
    pub fn members(&self) -> Versions {
        match self {
            Self::Versions(versions) => versions.clone(),
            _ => Versions::new(),
        }
    }

    fn shown(&self) -> String {
        match self {
            Self::Null => "NULL".to_owned(),
            Self::Int(number) => number.to_string(),
            Self::Text(text) => format!("{text:?}"),
            Self::Versions(versions) => {
                let member = |(key, value): (&String, &Option<String>)| {
                    format!(
                        "{key}: {}",
                        value.as_ref().map_or_else(|| "NULL".to_owned(), |v| format!("{v:?}"))
                    )
                };
                format!("{{{}}}", versions.iter().map(member).collect::<Vec<_>>().join(", "))
            }
        }
    }
}

impl From<Option<String>> for Value {
    fn from(text: Option<String>) -> Self {
        text.map_or(Self::Null, Self::Text)
    }
}

/// A row; a column that it lacks is NULL.
pub type Row = BTreeMap<String, Value>;

/// A cell of a row.
pub fn cell(row: &Row, column: &str) -> Value {
    row.get(column).cloned().unwrap_or(Value::Null)
}

/// These cells of a row.
pub fn cells(row: &Row, columns: &[String]) -> Vec<Value> {
    columns.iter().map(|column| cell(row, column)).collect()
}

/// The row with these columns only, all of them there.
pub fn project(row: &Row, columns: &BTreeSet<String>) -> Row {
    columns.iter().map(|column| (column.clone(), cell(row, column))).collect()
}

/// Rows as a table that people can read.
pub fn table(rows: &[Row]) -> String {
    let mut columns: Vec<&String> =
        rows.iter().flat_map(BTreeMap::keys).collect::<BTreeSet<_>>().into_iter().collect();
    // Versions are long: they come last.
    columns.sort_by_key(|c| {
        (*c == PROVENANCE_BY_FIELD || *c == DATA_VERSION_BY_FIELD, c.starts_with("metaxy_"))
    });
    let mut lines: Vec<Vec<String>> = vec![columns.iter().map(ToString::to_string).collect()];
    lines.extend(rows.iter().map(|row| columns.iter().map(|c| cell(row, c).shown()).collect()));
    let width =
        |i: usize| lines.iter().map(|line: &Vec<String>| line[i].chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let mut text = String::new();
    for line in &lines {
        for (cell, width) in line.iter().zip(&widths) {
            let _ = write!(text, "  {cell:width$}");
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}
