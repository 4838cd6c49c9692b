//! Arrow batches as rows for `COPY … FROM STDIN (FORMAT binary)`.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use datafusion::arrow::compute::{CastOptions, cast_with_options};
use datafusion::arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Field, FieldRef, Float32Type, Float64Type, Int16Type, Int32Type,
    Int64Type, Time64MicrosecondType, TimestampMicrosecondType,
};
use datafusion::arrow::json::writer::{EncoderOptions, NullableEncoder, make_encoder};

use super::decode::{EPOCH_DAYS, EPOCH_MICROS};
use super::numeric;
use super::relation::is_versions;
use super::types::PostgresType;

/// What a copy begins with: its signature, no flags, no extension.
pub(crate) const HEAD: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// What it ends with.
pub(crate) const TAIL: &[u8] = &[0xff, 0xff];

/// The days, and the microseconds, from 2000 on that PostgreSQL has. The least numbers of all stand for infinity there.
const DAYS: std::ops::Range<i32> = -2_451_545..2_145_031_949;
const MICROS: std::ops::Range<i64> = -211_813_488_000_000_000..9_223_371_331_200_000_000;

/// Columns of batches, by name, and the types of the columns that they are copied into.
pub(crate) type Targets = Vec<(String, PostgresType)>;

/// Adds the rows of a batch to `out`.
///
/// # Errors
/// A value that PostgreSQL can't hold.
pub(crate) fn rows(batch: &RecordBatch, targets: &Targets, out: &mut Vec<u8>) -> Result<(), String> {
    let schema = batch.schema();
    let mut fields: Vec<FieldRef> = Vec::new();
    let mut arrays: Vec<ArrayRef> = Vec::new();
    for (name, target) in targets {
        let index = schema.index_of(name).map_err(|_| format!("column {name:?} is missing in some rows"))?;
        let array =
            laid_out(batch.column(index), target).map_err(|error| format!("column {name:?}: {error}"))?;
        fields.push(Arc::new(Field::new(name, array.data_type().clone(), true)));
        arrays.push(array);
    }
    // A field without a version is left out; a member of the user's that is NULL is written as such, as Python does.
    let options = (EncoderOptions::default(), EncoderOptions::default().with_explicit_nulls(true));
    let mut columns = Vec::new();
    for ((field, array), (_, target)) in fields.iter().zip(&arrays).zip(targets) {
        columns.push(Column::try_new(field, array, target, &options)?);
    }
    let count = i16::try_from(columns.len()).map_err(|_| "there are too many columns".to_owned())?;
    for row in 0..batch.num_rows() {
        out.extend(count.to_be_bytes());
        for (column, (name, _)) in columns.iter_mut().zip(targets) {
            column.write(row, out).map_err(|reason| format!("column {name:?}: {reason}"))?;
        }
    }
    Ok(())
}

/// The values in the layout in which they are written.
fn laid_out(array: &ArrayRef, target: &PostgresType) -> Result<ArrayRef, String> {
    let plain = match array.data_type() {
        DataType::Struct(_) | DataType::List(_) | DataType::Map(_, _) if target.is_json() => {
            return Ok(Arc::clone(array));
        }
        _ => target.arrow(),
    };
    if *array.data_type() == plain {
        return Ok(Arc::clone(array));
    }
    let options = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(array, &plain, &options).map_err(|error| error.to_string())
}

struct Column<'a> {
    array: &'a ArrayRef,
    values: Values<'a>,
}

enum Values<'a> {
    Plain,
    /// With digits after the point.
    Decimal(i8),
    /// JSON of values, for a column of this version of JSONB, or of none for plain JSON.
    Json(Box<NullableEncoder<'a>>, Option<u8>, Vec<u8>),
    /// Text that is JSON already.
    JsonText(Option<u8>),
}

impl<'a> Column<'a> {
    fn try_new(
        field: &'a FieldRef,
        array: &'a ArrayRef,
        target: &PostgresType,
        options: &'a (EncoderOptions, EncoderOptions),
    ) -> Result<Self, String> {
        let version = (*target == PostgresType::Jsonb).then_some(1);
        let values = match (array.data_type(), target) {
            (DataType::Utf8, target) if target.is_json() => Values::JsonText(version),
            (_, target) if target.is_json() => {
                let options = if is_versions(field.name()) { &options.0 } else { &options.1 };
                let encoder = make_encoder(field, array, options).map_err(|error| error.to_string())?;
                Values::Json(Box::new(encoder), version, Vec::new())
            }
            (DataType::Decimal128(_, scale), _) => Values::Decimal(*scale),
            _ => Values::Plain,
        };
        Ok(Self { array, values })
    }

    fn write(&mut self, row: usize, out: &mut Vec<u8>) -> Result<(), String> {
        if self.array.is_null(row) {
            out.extend((-1_i32).to_be_bytes());
            return Ok(());
        }
        let at = out.len();
        out.extend([0; 4]);
        match &mut self.values {
            Values::Plain => plain(self.array, row, out)?,
            Values::Decimal(scale) => {
                numeric::write(self.array.as_primitive::<Decimal128Type>().value(row), *scale, out);
            }
            Values::Json(encoder, version, json) => {
                json.clear();
                encoder.encode(row, json);
                check_json(json, *version)?;
                out.extend(version.iter());
                out.extend_from_slice(json);
            }
            Values::JsonText(version) => {
                let json = self.array.as_string::<i32>().value(row).as_bytes();
                check_json(json, *version)?;
                out.extend(version.iter());
                out.extend_from_slice(json);
            }
        }
        let length =
            i32::try_from(out.len() - at - 4).map_err(|_| "a value has too many bytes".to_owned())?;
        out[at..at + 4].copy_from_slice(&length.to_be_bytes());
        Ok(())
    }
}

fn has_nul(text: &str) -> String {
    format!("PostgreSQL keeps no text with the character NUL, such as {text:?}")
}

/// Whether a column for JSONB of a version, or for plain JSON, can have this.
fn check_json(json: &[u8], version: Option<u8>) -> Result<(), String> {
    let mut rest = json;
    // The server refuses it without a word on where it is.
    while let Some(at) = rest.iter().position(|&byte| byte == b'\\').filter(|_| version.is_some()) {
        rest = &rest[at + 1..];
        if rest.starts_with(b"u0000") {
            return Err(has_nul(&String::from_utf8_lossy(json)));
        }
        // What is escaped may be a backslash.
        rest = rest.get(1..).unwrap_or_default();
    }
    Ok(())
}

fn plain(array: &ArrayRef, row: usize, out: &mut Vec<u8>) -> Result<(), String> {
    match array.data_type() {
        DataType::Boolean => out.push(u8::from(array.as_boolean().value(row))),
        DataType::Int16 => out.extend(array.as_primitive::<Int16Type>().value(row).to_be_bytes()),
        DataType::Int32 => out.extend(array.as_primitive::<Int32Type>().value(row).to_be_bytes()),
        DataType::Int64 => out.extend(array.as_primitive::<Int64Type>().value(row).to_be_bytes()),
        DataType::Float32 => out.extend(array.as_primitive::<Float32Type>().value(row).to_be_bytes()),
        DataType::Float64 => out.extend(array.as_primitive::<Float64Type>().value(row).to_be_bytes()),
        DataType::Utf8 => {
            let text = array.as_string::<i32>().value(row);
            if text.contains('\0') {
                return Err(has_nul(text));
            }
            out.extend_from_slice(text.as_bytes());
        }
        DataType::Binary => out.extend_from_slice(array.as_binary::<i32>().value(row)),
        DataType::Date32 => {
            let days = array.as_primitive::<Date32Type>().value(row);
            let days = days.checked_sub(EPOCH_DAYS).filter(|days| DAYS.contains(days));
            out.extend(days.ok_or("a date is too far off for PostgreSQL")?.to_be_bytes());
        }
        DataType::Time64(_) => {
            out.extend(array.as_primitive::<Time64MicrosecondType>().value(row).to_be_bytes());
        }
        DataType::Timestamp(_, _) => {
            let time = array.as_primitive::<TimestampMicrosecondType>().value(row);
            let time = time.checked_sub(EPOCH_MICROS).filter(|time| MICROS.contains(time));
            out.extend(time.ok_or("a time is too far off for PostgreSQL")?.to_be_bytes());
        }
        other => return Err(format!("values of type {other} can't be written to PostgreSQL")),
    }
    Ok(())
}
