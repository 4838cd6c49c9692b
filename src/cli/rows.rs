//! The results of subcommands: rows of values, and the three forms in which they are printed.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, StringArray};
use datafusion::arrow::csv::WriterBuilder as CsvWriter;
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::json::WriterBuilder;
use datafusion::arrow::json::writer::LineDelimited;
use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::dataframe::DataFrame;
use serde_json::{Map, Value};

use crate::error::{MetaxyError, Result};

/// A form in which rows are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// For people.
    Table,
    /// An array of objects, NULLs included.
    Json,
    /// A header and a line per row; NULL is an empty cell.
    Csv,
}

/// Rows of JSON values under named columns. They are few: what a subcommand says about features, not samples.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Rows {
    columns: Vec<String>,
    rows: Vec<Vec<Value>>,
}

impl Rows {
    /// No rows yet.
    pub(super) fn new<S: Into<String>>(columns: impl IntoIterator<Item = S>) -> Self {
        Self { columns: columns.into_iter().map(Into::into).collect(), rows: Vec::new() }
    }

    /// All rows of a query.
    ///
    /// # Errors
    ///
    /// When it fails.
    pub(super) async fn collect(frame: DataFrame) -> Result<Self> {
        let columns: Vec<String> = frame.schema().fields().iter().map(|field| field.name().clone()).collect();
        let mut writer = WriterBuilder::new().with_explicit_nulls(true).build::<_, LineDelimited>(Vec::new());
        for batch in frame.collect().await? {
            writer.write(&batch).map_err(arrow)?;
        }
        writer.finish().map_err(arrow)?;
        let mut rows = Self::new(columns);
        for line in writer.into_inner().split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let mut row: Map<String, Value> = serde_json::from_slice(line)
                .map_err(|error| MetaxyError::Invalid(format!("a row can't be printed: {error}")))?;
            let values = rows.columns.iter().map(|column| row.remove(column).unwrap_or_default()).collect();
            rows.rows.push(values);
        }
        Ok(rows)
    }

    /// Adds a row: one value per column.
    pub(super) fn push(&mut self, row: impl IntoIterator<Item = Value>) {
        self.rows.push(row.into_iter().collect());
    }

    /// The first value of the first row.
    pub(super) fn first(&self) -> Option<&Value> {
        self.rows.first()?.first()
    }

    /// The last value of the first row.
    pub(super) fn last(&self) -> Option<&Value> {
        self.rows.first()?.last()
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// The rows as text that ends with a line end.
    ///
    /// # Errors
    ///
    /// None that can be met: the writers of the formats may fail in principle.
    pub(super) fn in_format(&self, format: Format) -> Result<String> {
        match format {
            Format::Table => Ok(format!("{}\n", pretty_format_batches(&[self.as_text()?]).map_err(arrow)?)),
            Format::Csv => {
                let mut bytes = Vec::new();
                let mut writer = CsvWriter::new().with_header(true).build(&mut bytes);
                writer.write(&self.as_text()?).map_err(arrow)?;
                drop(writer);
                Ok(String::from_utf8_lossy(&bytes).into_owned())
            }
            Format::Json => Ok(self.as_json()),
        }
    }

    /// One object per line, within an array.
    fn as_json(&self) -> String {
        let objects: Vec<String> = self
            .rows
            .iter()
            .map(|row| {
                let object: Map<String, Value> =
                    self.columns.iter().cloned().zip(row.iter().cloned()).collect();
                format!("  {}", Value::Object(object))
            })
            .collect();
        if objects.is_empty() { "[]\n".to_owned() } else { format!("[\n{}\n]\n", objects.join(",\n")) }
    }

    /// Everything as text, for people and CSV files: nested values are JSON.
    fn as_text(&self) -> Result<RecordBatch> {
        let fields: Vec<Field> =
            self.columns.iter().map(|name| Field::new(name, DataType::Utf8, true)).collect();
        let cell = |value: &Value| match value {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        };
        let columns = (0..self.columns.len()).map(|column| {
            let cells = self.rows.iter().map(|row| row.get(column).and_then(cell));
            Arc::new(cells.collect::<StringArray>()) as ArrayRef
        });
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns.collect()).map_err(arrow)
    }
}

fn arrow(error: ArrowError) -> MetaxyError {
    datafusion::error::DataFusionError::from(error).into()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn three_forms() {
        let mut rows = Rows::new(["name", "count", "list"]);
        rows.push([json!("a, \"b\""), json!(3), json!(["x"])]);
        rows.push([json!("c"), Value::Null, json!([])]);
        let table = "+--------+-------+-------+\n\
                     | name   | count | list  |\n\
                     +--------+-------+-------+\n\
                     | a, \"b\" | 3     | [\"x\"] |\n\
                     | c      |       | []    |\n\
                     +--------+-------+-------+\n";
        assert_eq!(rows.in_format(Format::Table).unwrap(), table);
        let csv = "name,count,list\n\"a, \"\"b\"\"\",3,\"[\"\"x\"\"]\"\nc,,[]\n";
        assert_eq!(rows.in_format(Format::Csv).unwrap(), csv);
        let json: Value = serde_json::from_str(&rows.in_format(Format::Json).unwrap()).unwrap();
        let expected = json!([
            {"name": "a, \"b\"", "count": 3, "list": ["x"]},
            {"name": "c", "count": null, "list": []},
        ]);
        assert_eq!(json, expected);
    }

    #[test]
    fn no_rows_are_valid_in_every_form() {
        let rows = Rows::new(["name"]);
        assert_eq!(rows.in_format(Format::Json).unwrap(), "[]\n");
        assert_eq!(rows.in_format(Format::Csv).unwrap(), "name\n");
        assert_eq!(rows.in_format(Format::Table).unwrap(), "+------+\n| name |\n+------+\n+------+\n");
    }
}
