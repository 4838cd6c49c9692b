//! Keys of rows as 128-bit numbers: equal keys, equal numbers.
//!
//! A single integer is its own number. Anything else is hashed with XXH3 under a seed drawn for each run; with 128
//! bits, two of a billion different keys meet with a probability below 10⁻²⁰, less than that of a faulty memory cell.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::buffer::{BooleanBuffer, NullBuffer};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Float32Type, Float64Type, Int64Type, UInt64Type};
use datafusion::arrow::row::{RowConverter, SortField};
use datafusion::common::Result;
use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128_with_seed};

/// Marks a single integer that is NULL; other integers have no bits above the lowest 64.
const NULL: u128 = 1 << 127;

/// Makes keys; those of one maker can be compared with each other.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Keys {
    seed: u64,
}

impl Keys {
    pub(crate) fn new() -> Self {
        Self { seed: RandomState::new().hash_one(0_u8) }
    }

    /// The key of each row of these columns.
    pub(crate) fn of(&self, columns: &[ArrayRef]) -> Result<Vec<u128>> {
        match columns {
            [column] if column.data_type().is_signed_integer() => integers(column),
            [column] if column.data_type().is_unsigned_integer() => integers(column),
            [column] => match column.data_type() {
                DataType::Utf8 => Ok(self.texts(column.as_string::<i32>().iter())),
                DataType::LargeUtf8 => Ok(self.texts(column.as_string::<i64>().iter())),
                DataType::Utf8View => Ok(self.texts(column.as_string_view().iter())),
                _ => self.encoded(columns),
            },
            _ => self.encoded(columns),
        }
    }

    /// A version as a number that is not 0; 0 is NULL. Equal versions, equal numbers; that two different ones of a
    /// billion samples meet has a probability below 10⁻¹⁰.
    pub(crate) fn version(&self, version: Option<&str>) -> u64 {
        version.map_or(0, |version| xxh3_64_with_seed(version.as_bytes(), self.seed).max(1))
    }

    fn texts<'a>(&self, values: impl Iterator<Item = Option<&'a str>>) -> Vec<u128> {
        let hash = |text: &str| xxh3_128_with_seed(text.as_bytes(), self.seed);
        let null = xxh3_128_with_seed(b"NULL", !self.seed);
        values.map(|value| value.map_or(null, hash)).collect()
    }

    /// Arrow's row encoding tells values, columns and NULLs apart.
    fn encoded(&self, columns: &[ArrayRef]) -> Result<Vec<u128>> {
        let columns: Vec<ArrayRef> = columns.iter().map(one_zero).collect();
        let fields = columns.iter().map(|c| SortField::new(c.data_type().clone())).collect();
        let rows = RowConverter::new(fields)?.convert_columns(&columns)?;
        Ok(rows.iter().map(|row| xxh3_128_with_seed(row.as_ref(), self.seed)).collect())
    }
}

/// Numbers with one zero: joins take -0.0 and 0.0 for the same.
fn one_zero(column: &ArrayRef) -> ArrayRef {
    match column.data_type() {
        DataType::Float32 => {
            Arc::new(column.as_primitive::<Float32Type>().unary::<_, Float32Type>(|v| v + 0.0))
        }
        DataType::Float64 => {
            Arc::new(column.as_primitive::<Float64Type>().unary::<_, Float64Type>(|v| v + 0.0))
        }
        _ => Arc::clone(column),
    }
}

fn integers(column: &ArrayRef) -> Result<Vec<u128>> {
    let numbers: Vec<u128> = if column.data_type().is_signed_integer() {
        let wide = cast(column, &DataType::Int64)?;
        wide.as_primitive::<Int64Type>().values().iter().map(|v| u128::from(*v as u64)).collect()
    } else {
        let wide = cast(column, &DataType::UInt64)?;
        wide.as_primitive::<UInt64Type>().values().iter().map(|v| u128::from(*v)).collect()
    };
    Ok(match column.nulls() {
        Some(nulls) if nulls.null_count() > 0 => {
            numbers.into_iter().zip(nulls).map(|(n, valid)| if valid { n } else { NULL }).collect()
        }
        _ => numbers,
    })
}

/// The rows in which any of the columns is NULL, if there are such rows.
pub(crate) fn null_rows(columns: &[ArrayRef]) -> Option<BooleanBuffer> {
    let nulls = columns
        .iter()
        .fold(None, |all, column| NullBuffer::union(all.as_ref(), column.logical_nulls().as_ref()))?;
    (nulls.null_count() > 0).then(|| !nulls.inner())
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{Float64Array, Int32Array, Int64Array, StringArray, StringViewArray};

    use super::*;

    #[test]
    fn integers_of_any_width_are_their_own_keys() {
        let keys = Keys::new();
        let narrow: ArrayRef = Arc::new(Int32Array::from(vec![Some(-1), Some(7), None]));
        let wide: ArrayRef = Arc::new(Int64Array::from(vec![Some(-1), Some(7), None]));
        let narrow = keys.of(&[narrow]).unwrap();
        assert_eq!(narrow, keys.of(&[wide]).unwrap());
        assert_eq!(narrow[1], 7);
        assert_eq!(narrow[2], NULL);
    }

    #[test]
    fn texts_have_the_same_key_in_any_layout() {
        let keys = Keys::new();
        let values = vec![Some("a"), None, Some(""), Some("NULL")];
        let plain: ArrayRef = Arc::new(StringArray::from(values.clone()));
        let view: ArrayRef = Arc::new(StringViewArray::from(values));
        let plain = keys.of(&[plain]).unwrap();
        assert_eq!(plain, keys.of(&[view]).unwrap());
        assert_eq!(plain.iter().collect::<std::collections::HashSet<_>>().len(), 4);
    }

    #[test]
    fn there_is_one_zero() {
        let numbers: ArrayRef = Arc::new(Float64Array::from(vec![0.0, -0.0, f64::NAN, f64::NAN, 1.0]));
        let keys = Keys::new().of(&[numbers]).unwrap();
        assert_eq!((keys[0] == keys[1], keys[2] == keys[3], keys[0] == keys[4]), (true, true, false));
    }

    #[test]
    fn columns_do_not_run_into_each_other() {
        let text = |values: [&str; 2]| Arc::new(StringArray::from(values.to_vec())) as ArrayRef;
        let keys = Keys::new().of(&[text(["ab", "a"]), text(["c", "bc"])]).unwrap();
        assert_ne!(keys[0], keys[1]);
    }

    #[test]
    fn a_row_is_null_if_any_column_is() {
        let a: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, Some(3)]));
        let b: ArrayRef = Arc::new(StringArray::from(vec![None, Some("b"), Some("c")]));
        let nulls = null_rows(&[Arc::clone(&a), b]).unwrap();
        assert_eq!(nulls.iter().collect::<Vec<_>>(), [true, true, false]);
        assert!(null_rows(&[a.slice(0, 1)]).is_none());
    }
}
