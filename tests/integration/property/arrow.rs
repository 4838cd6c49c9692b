//! The model's rows as Arrow batches, and answers as the model's rows.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, Int32Array, Int64Array, RecordBatch, RecordBatchOptions, StringArray,
    StructArray, TimestampMicrosecondArray,
};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Fields, Int64Type, Schema};

use super::value::{Row, Type, Value, Versions, cell};

/// Collects the columns of a batch.
pub struct BatchBuilder<'a> {
    rows: &'a [Row],
    fields: Vec<Field>,
    arrays: Vec<ArrayRef>,
}

impl<'a> BatchBuilder<'a> {
    pub fn new(rows: &'a [Row]) -> Self {
        Self { rows, fields: Vec::new(), arrays: Vec::new() }
    }

    fn push(&mut self, name: &str, array: ArrayRef) {
        self.fields.push(Field::new(name, array.data_type().clone(), true));
        self.arrays.push(array);
    }

    fn numbers(&self, name: &str) -> impl Iterator<Item = Option<i64>> {
        self.rows.iter().map(move |row| match cell(row, name) {
            Value::Int(number) => Some(number),
            Value::Null => None,
            other => panic!("{name} is {other:?}"),
        })
    }

    fn texts(&self, name: &str) -> StringArray {
        self.rows
            .iter()
            .map(|row| match cell(row, name) {
                Value::Text(text) => Some(text),
                Value::Null => None,
                other => panic!("{name} is {other:?}"),
            })
            .collect()
    }

    pub fn user(mut self, columns: &[(String, Type)]) -> Self {
        for (name, column_type) in columns {
            let array: ArrayRef = match column_type {
                Type::Int64 => Arc::new(Int64Array::from_iter(self.numbers(name))),
                Type::Int32 => Arc::new(Int32Array::from_iter(
                    self.numbers(name).map(|number| number.map(|n| i32::try_from(n).unwrap())),
                )),
                Type::Text => Arc::new(self.texts(name)),
            };
            self.push(name, array);
        }
        self
    }

    pub fn text(mut self, name: &str) -> Self {
        let array = self.texts(name);
        self.push(name, Arc::new(array));
        self
    }

    pub fn time(mut self, name: &str) -> Self {
        let array = TimestampMicrosecondArray::from_iter(self.numbers(name)).with_timezone("UTC");
        self.push(name, Arc::new(array));
        self
    }

    /// A struct of versions; a NULL cell is a NULL struct.
    pub fn versions(mut self, name: &str, members: &[String]) -> Self {
        let cells: Vec<Value> = self.rows.iter().map(|row| cell(row, name)).collect();
        let fields: Fields =
            members.iter().map(|m| Arc::new(Field::new(m, DataType::Utf8, true)) as FieldRef).collect();
        let arrays: Vec<ArrayRef> = members
            .iter()
            .map(|member| {
                let value = |cell: &Value| cell.members().get(member).cloned().flatten();
                Arc::new(cells.iter().map(value).collect::<StringArray>()) as ArrayRef
            })
            .collect();
        let valid: NullBuffer = cells.iter().map(|cell| !cell.is_null()).collect();
        self.push(name, Arc::new(StructArray::new(fields, arrays, Some(valid))));
        self
    }

    pub fn build(self) -> RecordBatch {
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows.len()));
        let schema = Arc::new(Schema::new(self.fields));
        RecordBatch::try_new_with_options(schema, self.arrays, &options).unwrap()
    }
}

/// The rows of an answer.
pub fn rows(batches: &[RecordBatch]) -> Vec<Row> {
    batches.iter().flat_map(batch_rows).collect()
}

fn batch_rows(batch: &RecordBatch) -> Vec<Row> {
    let mut rows = vec![Row::new(); batch.num_rows()];
    for (field, array) in batch.schema().fields().iter().zip(batch.columns()) {
        for (row, value) in rows.iter_mut().zip(values(array)) {
            row.insert(field.name().clone(), value);
        }
    }
    rows
}

fn values(array: &ArrayRef) -> Vec<Value> {
    match array.data_type() {
        DataType::Struct(fields) => {
            let members: Vec<Vec<Value>> = array.as_struct().columns().iter().map(values).collect();
            let row = |row: usize| {
                // An answer may show missing versions as a NULL struct or as NULL members.
                let member = |(field, values): (&FieldRef, &Vec<Value>)| {
                    let text = values[row].as_text().filter(|_| array.is_valid(row));
                    (field.name().clone(), text.map(str::to_owned))
                };
                Value::Versions(fields.iter().zip(&members).map(member).collect::<Versions>())
            };
            (0..array.len()).map(row).collect()
        }
        data_type if data_type.is_integer() => {
            let numbers = cast(array, &DataType::Int64).unwrap();
            numbers.as_primitive::<Int64Type>().iter().map(|n| n.map_or(Value::Null, Value::Int)).collect()
        }
        _ => {
            let texts = cast(array, &DataType::Utf8).unwrap();
            texts.as_string::<i32>().iter().map(|text| text.map(str::to_owned).into()).collect()
        }
    }
}
