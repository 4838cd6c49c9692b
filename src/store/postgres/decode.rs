//! Rows of `COPY … TO STDOUT (FORMAT binary)` as Arrow batches.
//!
//! The server is asked for the types that go with the wanted Arrow types, so a value is known by the latter alone.
//! Structs, lists and maps come as JSON.

use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, BinaryBuilder, BooleanBuilder, Date32Builder, Decimal128Builder, Float32Builder,
    Float64Builder, Int16Builder, Int32Builder, Int64Builder, RecordBatch, RecordBatchOptions, StringBuilder,
    Time64MicrosecondBuilder, TimestampMicrosecondBuilder, UInt64Builder,
};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::json::ReaderBuilder;

use super::flat::{flat, holds_texts};
use super::names::identifier;
use super::numeric;
use crate::error::{MetaxyError, Result};
use crate::types::storable;

/// What every such copy begins with.
const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";
/// Rows of a batch.
const ROWS: usize = 8192;
/// Bytes after which a batch is closed although it has fewer rows.
const BYTES: usize = 16 << 20;
/// Days, and microseconds, from 1970 to 2000, where PostgreSQL begins to count.
pub(crate) const EPOCH_DAYS: i32 = 10_957;
pub(crate) const EPOCH_MICROS: i64 = 946_684_800_000_000;

/// A query around `sql` whose columns have the types in which they are decoded.
///
/// # Errors
/// A type that PostgreSQL doesn't have.
pub(crate) fn selection(sql: &str, schema: &SchemaRef) -> Result<String> {
    let mut columns = Vec::new();
    for (index, field) in schema.fields().iter().enumerate() {
        let name = identifier(&format!("c{index}"));
        columns.push(match storable_type(field.data_type()) {
            // The place of a row, which has no number of its own in SQL, or a number.
            DataType::UInt64 => name,
            DataType::List(_) => format!("to_jsonb({name})"),
            DataType::Struct(_) | DataType::Map(_, _) => format!("{name}::jsonb"),
            data_type => match super::types::sql_type(&data_type) {
                Some(cast) => format!("{name}::{cast}"),
                None => {
                    return Err(MetaxyError::Invalid(format!(
                        "column {:?}: PostgreSQL has no type for {}",
                        field.name(),
                        field.data_type()
                    )));
                }
            },
        });
    }
    let names: Vec<String> = (0..columns.len()).map(|index| identifier(&format!("c{index}"))).collect();
    let names = if names.is_empty() { String::new() } else { format!("({})", names.join(", ")) };
    Ok(format!("SELECT {} FROM ({sql}) AS q{names}", columns.join(", ")))
}

/// As [`storable`], but numbers of rows stay what they are.
fn storable_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::UInt64 => DataType::UInt64,
        DataType::Int8 => DataType::Int16,
        DataType::Null => DataType::Utf8,
        other => storable(other),
    }
}

/// Collects rows until they are a batch.
pub(crate) struct Decoder {
    schema: SchemaRef,
    columns: Vec<Column>,
    begun: bool,
    rows: usize,
    bytes: usize,
}

impl Decoder {
    /// # Errors
    /// A type that can't be read.
    pub(crate) fn try_new(schema: &SchemaRef) -> Result<Self> {
        let columns = schema.fields().iter().map(|field| Column::try_new(field)).collect::<Result<_>>()?;
        Ok(Self { schema: Arc::clone(schema), columns, begun: false, rows: 0, bytes: 0 })
    }

    /// Whether it is time to take a batch.
    pub(crate) fn is_full(&self) -> bool {
        self.rows >= ROWS || self.bytes >= BYTES
    }

    /// Takes one message of the copy: whole rows, after a head in the first one.
    ///
    /// # Errors
    /// It isn't what the server should send, or a value that Arrow can't hold.
    pub(crate) fn read(&mut self, message: &[u8]) -> Result<(), String> {
        let mut rest = Reader(message);
        if !self.begun {
            if rest.take(SIGNATURE.len())? != SIGNATURE {
                return Err("the server sent no binary copy".into());
            }
            rest.take(4)?;
            let extension = rest.int()?;
            rest.take(usize::try_from(extension).unwrap_or_default())?;
            self.begun = true;
        }
        while !rest.0.is_empty() {
            let count = rest.short()?;
            if count == -1 {
                return Ok(());
            }
            if usize::try_from(count).ok() != Some(self.columns.len()) {
                return Err(format!("a row has {count} columns instead of {}", self.columns.len()));
            }
            for column in &mut self.columns {
                let length = rest.int()?;
                let value = match usize::try_from(length) {
                    Ok(length) => Some(rest.take(length)?),
                    Err(_) => None,
                };
                column.push(value)?;
            }
            self.rows += 1;
        }
        self.bytes += message.len();
        Ok(())
    }

    /// The rows since the last batch; `None` if there are none.
    ///
    /// # Errors
    /// JSON that doesn't have the wanted type.
    pub(crate) fn batch(&mut self) -> Result<Option<RecordBatch>, String> {
        let rows = std::mem::take(&mut self.rows);
        self.bytes = 0;
        if rows == 0 {
            return Ok(None);
        }
        let arrays = self.columns.iter_mut().map(|c| c.finish(rows)).collect::<Result<_, String>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), arrays, &options)
            .map(Some)
            .map_err(|error| error.to_string())
    }
}

/// What is left of a message.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or("the server sent part of a row")?;
        self.0 = rest;
        Ok(taken)
    }

    fn short(&mut self) -> Result<i16, String> {
        Ok(i16::from_be_bytes(bytes(self.take(2)?)?))
    }

    fn int(&mut self) -> Result<i32, String> {
        Ok(i32::from_be_bytes(bytes(self.take(4)?)?))
    }
}

fn bytes<const N: usize>(value: &[u8]) -> Result<[u8; N], String> {
    value.try_into().map_err(|_| format!("a value has {} bytes instead of {N}", value.len()))
}

struct Column {
    name: String,
    /// The type that is asked for, which may differ from that of the values in layout.
    target: DataType,
    values: Values,
}

enum Values {
    Bool(BooleanBuilder),
    Int16(Int16Builder),
    Int32(Int32Builder),
    Int64(Int64Builder),
    Row(UInt64Builder),
    Float32(Float32Builder),
    Float64(Float64Builder),
    Decimal(Decimal128Builder, i8),
    Text(StringBuilder),
    Bytes(BinaryBuilder),
    Date(Date32Builder),
    Time(Time64MicrosecondBuilder),
    Timestamp(TimestampMicrosecondBuilder),
    /// JSON, a line for each row.
    Json(DataType, Vec<u8>),
}

impl Column {
    fn try_new(field: &Field) -> Result<Self> {
        let target = field.data_type().clone();
        let values = match storable_type(&target) {
            DataType::Boolean => Values::Bool(BooleanBuilder::new()),
            DataType::Int16 => Values::Int16(Int16Builder::new()),
            DataType::Int32 => Values::Int32(Int32Builder::new()),
            DataType::Int64 => Values::Int64(Int64Builder::new()),
            DataType::UInt64 => Values::Row(UInt64Builder::new()),
            DataType::Float32 => Values::Float32(Float32Builder::new()),
            DataType::Float64 => Values::Float64(Float64Builder::new()),
            DataType::Utf8 => Values::Text(StringBuilder::new()),
            DataType::Binary => Values::Bytes(BinaryBuilder::new()),
            DataType::Date32 => Values::Date(Date32Builder::new()),
            DataType::Time64(TimeUnit::Microsecond) => Values::Time(Time64MicrosecondBuilder::new()),
            data_type @ DataType::Timestamp(TimeUnit::Microsecond, _) => {
                Values::Timestamp(TimestampMicrosecondBuilder::new().with_data_type(data_type))
            }
            data_type @ DataType::Decimal128(_, scale) => {
                Values::Decimal(Decimal128Builder::new().with_data_type(data_type), scale)
            }
            data_type @ (DataType::Struct(_) | DataType::List(_) | DataType::Map(_, _)) => {
                Values::Json(data_type, Vec::new())
            }
            other => {
                return Err(MetaxyError::Invalid(format!(
                    "column {:?}: {other} can't be read from PostgreSQL",
                    field.name()
                )));
            }
        };
        Ok(Self { name: field.name().clone(), target, values })
    }

    fn push(&mut self, value: Option<&[u8]>) -> Result<(), String> {
        let wrong = |reason: String| format!("column {:?}: {reason}", self.name);
        match &mut self.values {
            Values::Bool(values) => values.append_option(value.map(|v| v != [0])),
            Values::Int16(values) => {
                values.append_option(value.map(bytes).transpose()?.map(i16::from_be_bytes));
            }
            Values::Int32(values) => {
                values.append_option(value.map(bytes).transpose()?.map(i32::from_be_bytes));
            }
            Values::Int64(values) => {
                values.append_option(value.map(bytes).transpose()?.map(i64::from_be_bytes));
            }
            Values::Row(values) => values.append_option(value.map(row).transpose()?),
            Values::Float32(values) => {
                values.append_option(value.map(bytes).transpose()?.map(f32::from_be_bytes));
            }
            Values::Float64(values) => {
                values.append_option(value.map(bytes).transpose()?.map(f64::from_be_bytes));
            }
            Values::Decimal(values, scale) => {
                let scale = *scale;
                values.append_option(value.map(|v| numeric::read(v, scale)).transpose().map_err(wrong)?);
            }
            Values::Text(values) => {
                let text = value.map(std::str::from_utf8).transpose();
                values.append_option(text.map_err(|error| wrong(error.to_string()))?);
            }
            Values::Bytes(values) => values.append_option(value),
            Values::Date(values) => {
                let days = value.map(bytes).transpose()?.map(i32::from_be_bytes);
                let days = days.map(|days| days.checked_add(EPOCH_DAYS).filter(|_| days != i32::MIN));
                values.append_option(
                    days.map(|days| days.ok_or_else(|| wrong("an infinite date can't be read".into())))
                        .transpose()?,
                );
            }
            Values::Time(values) => {
                values.append_option(value.map(bytes).transpose()?.map(i64::from_be_bytes));
            }
            Values::Timestamp(values) => {
                let micros = value.map(bytes).transpose()?.map(i64::from_be_bytes);
                let micros = micros.map(|time| time.checked_add(EPOCH_MICROS).filter(|_| time != i64::MIN));
                values.append_option(
                    micros
                        .map(|time| time.ok_or_else(|| wrong("an infinite time can't be read".into())))
                        .transpose()?,
                );
            }
            Values::Json(data_type, lines) => {
                match value {
                    // JSONB begins with the number of its version.
                    Some([1, json @ ..]) => {
                        lines.extend_from_slice(b"{\"c\":");
                        match holds_texts(data_type).then(|| flat(json)).flatten() {
                            Some(texts) => lines.extend_from_slice(&texts),
                            None => lines.extend_from_slice(json),
                        }
                        lines.extend_from_slice(b"}\n");
                    }
                    Some(_) => return Err(wrong("JSON of an unknown version".into())),
                    None => lines.extend_from_slice(b"{}\n"),
                }
            }
        }
        Ok(())
    }

    fn finish(&mut self, rows: usize) -> Result<ArrayRef, String> {
        let wrong = |reason: String| format!("column {:?}: {reason}", self.name);
        let array: ArrayRef = match &mut self.values {
            Values::Bool(values) => Arc::new(values.finish()),
            Values::Int16(values) => Arc::new(values.finish()),
            Values::Int32(values) => Arc::new(values.finish()),
            Values::Int64(values) => Arc::new(values.finish()),
            Values::Row(values) => Arc::new(values.finish()),
            Values::Float32(values) => Arc::new(values.finish()),
            Values::Float64(values) => Arc::new(values.finish()),
            Values::Decimal(values, _) => Arc::new(values.finish()),
            Values::Text(values) => Arc::new(values.finish()),
            Values::Bytes(values) => Arc::new(values.finish()),
            Values::Date(values) => Arc::new(values.finish()),
            Values::Time(values) => Arc::new(values.finish()),
            Values::Timestamp(values) => Arc::new(values.finish()),
            Values::Json(data_type, lines) => {
                let lines = std::mem::take(lines);
                from_json(data_type, &lines, rows)
                    .map_err(|error| wrong(misfit(data_type, &lines, &error)))?
            }
        };
        if *array.data_type() == self.target {
            return Ok(array);
        }
        cast(&array, &self.target).map_err(|error| wrong(error.to_string()))
    }
}

/// The number of a row's place, which grows with it, or a number as it is.
fn row(value: &[u8]) -> Result<u64, String> {
    match value {
        [a, b, c, d, e, f] => Ok(u64::from_be_bytes([0, 0, *a, *b, *c, *d, *e, *f])),
        number => Ok(u64::from_be_bytes(bytes(number)?)),
    }
}

/// Why JSON can't be read as this type.
fn misfit(data_type: &DataType, lines: &[u8], error: &ArrowError) -> String {
    let nested = b"{\"c\":[[";
    match data_type {
        DataType::List(element)
            if !element.data_type().is_nested() && lines.windows(nested.len()).any(|part| part == nested) =>
        {
            format!("an array of more than one dimension can't be read as {data_type}")
        }
        _ => format!("JSON that can't be read as {data_type}: {error}"),
    }
}

/// The values `c` of JSON objects.
fn from_json(data_type: &DataType, lines: &[u8], rows: usize) -> Result<ArrayRef, ArrowError> {
    let schema = Arc::new(Schema::new(vec![Field::new("c", data_type.clone(), true)]));
    let mut decoder =
        ReaderBuilder::new(schema).with_batch_size(rows).with_coerce_primitive(true).build_decoder()?;
    decoder.decode(lines)?;
    let batch = decoder.flush()?;
    Ok(match batch {
        Some(batch) => Arc::clone(batch.column(0)),
        None => datafusion::arrow::array::new_empty_array(data_type),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::array::{Array, AsArray};

    use crate::columns::versions_struct;

    #[test]
    fn json_objects_become_structs_with_nulls_for_what_they_lack() {
        let lines = b"{\"c\":{\"b\": \"2\", \"a\": 1, \"x\": [1]}}\n{}\n{\"c\":null}\n{\"c\":{}}\n";
        let array = from_json(&versions_struct(["a", "b"]), lines, 4).unwrap();
        let array = array.as_struct();
        assert_eq!(array.len(), 4);
        let a: Vec<_> = array.column(0).as_string::<i32>().iter().collect();
        assert_eq!(a, [Some("1"), None, None, None]);
        assert_eq!(
            (array.is_null(0), array.is_null(1), array.is_null(2), array.is_null(3)),
            (false, true, true, false)
        );
    }

    #[test]
    fn places_of_rows_grow_by_block_and_then_by_line() {
        assert_eq!(row(&[0, 0, 0, 1, 0, 2]).unwrap(), 0x1_0002);
        assert_eq!(row(&[0, 0, 0, 0, 0, 0, 0, 7]).unwrap(), 7);
    }
}
