//! The scalar function `metaxy_shard`: which of n shards a key is in.
//!
//! The answer depends on nothing but the values: not on the width of an integer, the layout of a text, the store, the
//! process or the machine. Workers that divide an increment rely on that.

use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Int64Array, LargeBinaryArray, StringArray};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::compute::{can_cast_types, cast};
use datafusion::arrow::datatypes::{DataType, Float64Type, TimeUnit};
use datafusion::arrow::util::display::array_value_to_string;
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{Result, ScalarValue, internal_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility, lit,
};
use xxhash_rust::xxh3::xxh3_64;

use super::strings::StringColumn;

/// The function's name, by which plans are searched for it.
pub(crate) const SHARD: &str = "metaxy_shard";

/// The shard of a key among `count`, from 0 on. The session need not know the function.
pub(crate) fn shard_expr(count: u32, keys: impl IntoIterator<Item = Expr>) -> Expr {
    static FUNCTION: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| {
        let signature = Signature::variadic_any(Volatility::Immutable);
        Arc::new(ScalarUDF::new_from_impl(MetaxyShard { signature }))
    });
    let mut arguments = vec![lit(i64::from(count))];
    arguments.extend(keys);
    FUNCTION.call(arguments)
}

/// Whether an expression asks for the shard of a key.
pub(crate) fn asks_for_shard(expr: &Expr) -> bool {
    let is_shard = |e: &Expr| matches!(e, Expr::ScalarFunction(function) if function.name() == SHARD);
    expr.exists(|e| Ok(is_shard(e))).unwrap_or(false)
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct MetaxyShard {
    signature: Signature,
}

impl ScalarUDFImpl for MetaxyShard {
    fn name(&self) -> &str {
        SHARD
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Int64)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [ColumnarValue::Scalar(ScalarValue::Int64(Some(count))), keys @ ..] = args.args.as_slice() else {
            return internal_err!("{SHARD} takes the number of shards and the columns of a key");
        };
        let keys =
            keys.iter().map(|key| key.to_array(args.number_rows)).collect::<Result<Vec<ArrayRef>>>()?;
        let shards = shards(*count, &keys, args.number_rows)?;
        Ok(ColumnarValue::Array(Arc::new(Int64Array::from(shards))))
    }
}

fn shards(count: i64, keys: &[ArrayRef], rows: usize) -> Result<Vec<i64>> {
    let arrays = keys.iter().map(canonical).collect::<Result<Vec<_>>>()?;
    let columns = arrays.iter().map(Column::try_new).collect::<Result<Vec<_>>>()?;
    let mut bytes = Vec::new();
    Ok((0..rows)
        .map(|row| {
            bytes.clear();
            columns.iter().for_each(|column| column.write(row, &mut bytes));
            // A count is positive and has 32 bits.
            (xxh3_64(&bytes) % count.unsigned_abs().max(1)) as i64
        })
        .collect())
}

/// A key column as text or bytes, with its NULLs.
struct Column<'a> {
    values: Values<'a>,
    nulls: Option<NullBuffer>,
}

enum Values<'a> {
    Text(StringColumn<'a>),
    Bytes(&'a LargeBinaryArray),
}

impl<'a> Column<'a> {
    fn try_new(array: &'a ArrayRef) -> Result<Self> {
        let values = match array.data_type() {
            DataType::LargeBinary => Values::Bytes(array.as_binary()),
            _ => Values::Text(StringColumn::try_new(array.as_ref())?),
        };
        Ok(Self { values, nulls: array.logical_nulls() })
    }

    /// Values with their lengths, so that columns don't run into each other, and NULL unlike any value.
    fn write(&self, row: usize, bytes: &mut Vec<u8>) {
        if self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
            bytes.push(0);
            return;
        }
        let value = match &self.values {
            Values::Text(texts) => texts.value(row).as_bytes(),
            Values::Bytes(values) => values.value(row),
        };
        bytes.push(1);
        bytes.extend((value.len() as u64).to_le_bytes());
        bytes.extend(value);
    }
}

/// Values that are equal in different types become equal texts: an integer its decimal digits, a time its
/// microseconds.
fn canonical(array: &ArrayRef) -> Result<ArrayRef> {
    let to = |array: &ArrayRef, target: DataType| -> Result<ArrayRef> { Ok(cast(array, &target)?) };
    match array.data_type() {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Ok(Arc::clone(array)),
        DataType::Dictionary(_, values) => canonical(&to(array, values.as_ref().clone())?),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            to(array, DataType::LargeBinary)
        }
        DataType::Float16 | DataType::Float32 | DataType::Float64 => {
            let wide = to(array, DataType::Float64)?;
            // There is one zero.
            let wide: ArrayRef =
                Arc::new(wide.as_primitive::<Float64Type>().unary::<_, Float64Type>(|v| v + 0.0));
            to(&wide, DataType::Utf8)
        }
        DataType::Timestamp(_, zone) => {
            let micros = to(array, DataType::Timestamp(TimeUnit::Microsecond, zone.clone()))?;
            to(&to(&micros, DataType::Int64)?, DataType::Utf8)
        }
        DataType::Date32 | DataType::Date64 => {
            to(&to(&to(array, DataType::Date32)?, DataType::Int32)?, DataType::Utf8)
        }
        decimal if decimal.is_decimal() => {
            let texts = to(array, DataType::Utf8)?;
            let texts = texts.as_string::<i32>().iter();
            Ok(Arc::new(texts.map(|text| text.map(without_zeros)).collect::<StringArray>()))
        }
        other if can_cast_types(other, &DataType::Utf8) && !other.is_nested() => to(array, DataType::Utf8),
        _ => {
            let nulls = array.logical_nulls();
            let text = |row| {
                let valid = nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row));
                valid.then(|| Ok(array_value_to_string(array, row)?)).transpose()
            };
            Ok(Arc::new((0..array.len()).map(text).collect::<Result<StringArray>>()?))
        }
    }
}

/// A decimal without the zeros that its scale adds.
fn without_zeros(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{
        Date32Array, Date64Array, Decimal128Array, Float32Array, Float64Array, Int32Array, LargeStringArray,
        StringViewArray, TimestampMicrosecondArray, TimestampSecondArray, UInt8Array,
    };

    use super::*;

    fn of(count: i64, keys: &[ArrayRef]) -> Vec<i64> {
        shards(count, keys, keys[0].len()).unwrap()
    }

    /// Written down, since workers of different versions of this program may share the work.
    #[test]
    fn shards_never_change() {
        let ids: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), Some("b"), Some(""), None]));
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![Some(0), Some(-1), Some(1_000_000), None]));
        let keys = [vec![Arc::clone(&ids)], vec![Arc::clone(&numbers)], vec![ids, numbers]];
        assert_eq!(
            keys.map(|key| of(1000, &key)),
            [[809, 0, 576, 883], [400, 810, 712, 883], [688, 914, 411, 213]]
        );
    }

    #[test]
    fn types_that_hold_equal_values_give_equal_shards() {
        let alike: Vec<Vec<ArrayRef>> = vec![
            vec![
                Arc::new(Int32Array::from(vec![Some(7), None])),
                Arc::new(Int64Array::from(vec![Some(7), None])),
                Arc::new(UInt8Array::from(vec![Some(7), None])),
                Arc::new(StringArray::from(vec![Some("7"), None])),
                Arc::new(LargeStringArray::from(vec![Some("7"), None])),
                Arc::new(StringViewArray::from(vec![Some("7"), None])),
                cast(&StringArray::from(vec![Some("7"), None]), &dictionary()).unwrap(),
            ],
            vec![Arc::new(Float32Array::from(vec![0.5, -0.0])), Arc::new(Float64Array::from(vec![0.5, 0.0]))],
            vec![
                Arc::new(TimestampSecondArray::from(vec![5, -1])),
                Arc::new(TimestampMicrosecondArray::from(vec![5_000_000, -1_000_000])),
                Arc::new(TimestampMicrosecondArray::from(vec![5_000_000, -1_000_000]).with_timezone("UTC")),
            ],
            vec![
                Arc::new(Date32Array::from(vec![1, 2])),
                Arc::new(Date64Array::from(vec![86_400_000, 172_800_000])),
            ],
            vec![
                Arc::new(Decimal128Array::from(vec![150, 2000]).with_precision_and_scale(10, 2).unwrap()),
                Arc::new(Decimal128Array::from(vec![1500, 20000]).with_precision_and_scale(10, 3).unwrap()),
            ],
        ];
        for arrays in alike {
            let first = of(1 << 30, &arrays[..1]);
            assert_ne!(first[0], first[1]);
            for array in &arrays {
                assert_eq!(of(1 << 30, std::slice::from_ref(array)), first, "{}", array.data_type());
            }
        }
    }

    fn dictionary() -> DataType {
        DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Utf8))
    }

    #[test]
    fn columns_do_not_run_into_each_other() {
        let text = |value: Option<&str>| Arc::new(StringArray::from(vec![value])) as ArrayRef;
        let pairs =
            [(Some("ab"), Some("c")), (Some("a"), Some("bc")), (None, Some("abc")), (Some("abc"), None)];
        let mut shards: Vec<i64> =
            pairs.iter().flat_map(|(a, b)| of(1 << 30, &[text(*a), text(*b)])).collect();
        shards.sort_unstable();
        shards.dedup();
        assert_eq!(shards.len(), pairs.len());
    }

    #[test]
    fn keys_are_spread_over_all_shards() {
        let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..8_000));
        let mut counts = [0; 8];
        of(8, &[ids]).into_iter().for_each(|shard| counts[shard as usize] += 1);
        assert!(counts.iter().all(|count| (800..1_200).contains(count)), "{counts:?}");
    }
}
