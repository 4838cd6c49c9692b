//! The two ways to hash a group's values in order: as they arrive, or collected with their order keys.

use std::fmt::{self, Debug};
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, LargeBinaryArray, LargeStringArray};
use datafusion::arrow::datatypes::DataType;
use datafusion::arrow::row::{RowConverter, SortField};
use datafusion::common::utils::SingleRowListArrayBuilder;
use datafusion::common::{Result, ScalarValue, exec_err, internal_err, plan_err};
use datafusion::logical_expr::Accumulator;

use super::algorithm::HashSettings;
use super::hasher::{PartsHasher, SEPARATOR};
use super::strings::StringColumn;

/// The message for an aggregate whose result would depend on the order in which rows happen to arrive.
pub(super) const NO_ORDER: &str =
    "metaxy_hash_agg needs an order, since the hash depends on it; write ORDER BY inside the call";

/// Calls `each` with every value that isn't NULL and its row.
fn for_each_value(values: &ArrayRef, mut each: impl FnMut(usize, &str)) -> Result<()> {
    let nulls = values.logical_nulls();
    if nulls.as_ref().is_some_and(|nulls| nulls.null_count() == nulls.len()) {
        // Also the only case in which the column may have no string type at all.
        return Ok(());
    }
    let strings = StringColumn::try_new(values.as_ref())?;
    for row in 0..values.len() {
        if nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row)) {
            each(row, strings.value(row));
        }
    }
    Ok(())
}

/// Joins values one after the other.
#[derive(Debug)]
struct Joined {
    hasher: PartsHasher,
    empty: bool,
    length: usize,
}

impl Joined {
    fn new(settings: HashSettings) -> Self {
        Self { hasher: PartsHasher::new(settings.algorithm), empty: true, length: settings.length }
    }

    fn push(&mut self, value: &str) {
        if !self.empty {
            self.hasher.write(SEPARATOR.as_bytes());
        }
        self.empty = false;
        self.hasher.write(value.as_bytes());
    }

    fn hash(&self) -> ScalarValue {
        let mut text = String::new();
        self.hasher.finish(self.length, &mut text);
        ScalarValue::Utf8(Some(text))
    }
}

/// Hashes the values in the order of arrival: a window whose input is sorted already.
#[derive(Debug)]
pub(super) struct ArrivalAccumulator {
    joined: Joined,
}

impl ArrivalAccumulator {
    pub(super) fn new(settings: HashSettings) -> Self {
        Self { joined: Joined::new(settings) }
    }
}

impl Accumulator for ArrivalAccumulator {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let [_, _, values, ..] = values else {
            return internal_err!("metaxy_hash_agg takes three arguments");
        };
        for_each_value(values, |_, value| self.joined.push(value))
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(self.joined.hash())
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.joined.hasher.capacity()
    }

    // A partial hash can't be continued by another one.
    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        plan_err!("{NO_ORDER}")
    }

    fn merge_batch(&mut self, _states: &[ArrayRef]) -> Result<()> {
        plan_err!("{NO_ORDER}")
    }
}

/// A value and what it is sorted by. The key comes first: the derived order is the one of the result, and
/// values with equal keys come in their own order, so that the hash doesn't depend on how the input was
/// partitioned.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    key: Box<[u8]>,
    value: Box<str>,
}

/// Collects the values with their order keys and sorts at the end, so that partial results can be merged.
///
/// Keys are rows in Arrow's comparable encoding: NULLs first or last and descending order are part of the
/// bytes, and strings compare by their bytes.
pub(super) struct OrderedAccumulator {
    settings: HashSettings,
    converter: RowConverter,
    entries: Vec<Entry>,
    /// Heap bytes of the keys and values in `entries`.
    bytes: usize,
}

impl OrderedAccumulator {
    pub(super) fn try_new(settings: HashSettings, order: Vec<SortField>) -> Result<Self> {
        Ok(Self { settings, converter: RowConverter::new(order)?, entries: Vec::new(), bytes: 0 })
    }

    /// The types of the partial state: values, and keys of the same number.
    pub(super) fn state_types() -> [DataType; 2] {
        [DataType::LargeUtf8, DataType::LargeBinary]
    }

    fn push(&mut self, key: &[u8], value: &str) {
        self.bytes += key.len() + value.len();
        self.entries.push(Entry { key: key.into(), value: value.into() });
    }
}

impl Debug for OrderedAccumulator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OrderedAccumulator")
            .field("settings", &self.settings)
            .field("entries", &self.entries.len())
            .finish_non_exhaustive()
    }
}

impl Accumulator for OrderedAccumulator {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let [_, _, values, order @ ..] = values else {
            return internal_err!("metaxy_hash_agg takes three arguments");
        };
        let keys = self.converter.convert_columns(order)?;
        for_each_value(values, |row, value| self.push(keys.row(row).as_ref(), value))
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.entries.sort_unstable();
        let mut joined = Joined::new(self.settings);
        self.entries.iter().for_each(|entry| joined.push(&entry.value));
        Ok(joined.hash())
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.converter.size() + self.entries.capacity() * size_of::<Entry>() + self.bytes
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let values = LargeStringArray::from_iter_values(self.entries.iter().map(|entry| &entry.value));
        let keys = LargeBinaryArray::from_iter_values(self.entries.iter().map(|entry| &entry.key));
        Ok(vec![
            SingleRowListArrayBuilder::new(Arc::new(values)).build_list_scalar(),
            SingleRowListArrayBuilder::new(Arc::new(keys)).build_list_scalar(),
        ])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let [values, keys] = states else { return internal_err!("metaxy_hash_agg has a state of two lists") };
        let (Some(values), Some(keys)) = (values.as_list_opt::<i32>(), keys.as_list_opt::<i32>()) else {
            return internal_err!("metaxy_hash_agg has a state of two lists");
        };
        for (values, keys) in values.iter().flatten().zip(keys.iter().flatten()) {
            let (Some(values), Some(keys)) = (values.as_string_opt::<i64>(), keys.as_binary_opt::<i64>())
            else {
                return internal_err!("metaxy_hash_agg has a state of strings and binary keys");
            };
            if values.len() != keys.len() {
                return exec_err!(
                    "metaxy_hash_agg: partial state with {} values, {} keys",
                    values.len(),
                    keys.len()
                );
            }
            for (value, key) in values.iter().flatten().zip(keys.iter().flatten()) {
                self.push(key, value);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{Int64Array, NullArray, StringArray};
    use datafusion::arrow::compute::SortOptions;

    use super::super::algorithm::HashAlgorithm;
    use super::*;

    const SETTINGS: HashSettings = HashSettings { algorithm: HashAlgorithm::Md5, length: 8 };

    fn arguments(values: ArrayRef, order: ArrayRef) -> [ArrayRef; 4] {
        let unused: ArrayRef = Arc::new(NullArray::new(values.len()));
        [Arc::clone(&unused), unused, values, order]
    }

    fn strings(values: Vec<Option<&str>>) -> ArrayRef {
        Arc::new(StringArray::from(values))
    }

    fn ordered() -> OrderedAccumulator {
        let options = SortOptions { descending: true, nulls_first: true };
        let order = vec![SortField::new_with_options(DataType::Int64, options)];
        OrderedAccumulator::try_new(SETTINGS, order).unwrap()
    }

    fn hash(text: &str) -> ScalarValue {
        let mut joined = Joined::new(SETTINGS);
        joined.push(text);
        joined.hash()
    }

    #[test]
    fn partial_states_merge_into_the_hash_of_the_whole() {
        let halves = [
            arguments(
                strings(vec![Some("c"), None, Some("a")]),
                Arc::new(Int64Array::from(vec![Some(1), Some(9), Some(3)])),
            ),
            arguments(strings(vec![Some("b"), Some("n")]), Arc::new(Int64Array::from(vec![Some(2), None]))),
            arguments(strings(vec![None]), Arc::new(Int64Array::from(vec![5]))),
        ];
        let mut whole = ordered();
        for reversed in [false, true] {
            let mut merged = ordered();
            let mut states: Vec<Vec<ScalarValue>> = Vec::new();
            for half in &halves {
                let mut part = ordered();
                part.update_batch(half).unwrap();
                states.push(part.state().unwrap());
                if !reversed {
                    whole.update_batch(half).unwrap();
                }
            }
            if reversed {
                states.reverse();
            }
            let lists =
                [0, 1].map(|i| ScalarValue::iter_to_array(states.iter().map(|s| s[i].clone())).unwrap());
            merged.merge_batch(&lists).unwrap();
            assert_eq!(merged.evaluate().unwrap(), hash("n|a|b|c"));
            assert_eq!(whole.evaluate().unwrap(), hash("n|a|b|c"));
        }
        assert!(whole.size() > ordered().size());
    }

    #[test]
    fn no_values_hash_as_the_empty_string() {
        assert_eq!(ordered().evaluate().unwrap(), hash(""));
        assert_eq!(ArrivalAccumulator::new(SETTINGS).evaluate().unwrap(), hash(""));
        let nulls = arguments(Arc::new(NullArray::new(2)), Arc::new(Int64Array::from(vec![1, 2])));
        let mut accumulator = ordered();
        accumulator.update_batch(&nulls).unwrap();
        assert_eq!(accumulator.evaluate().unwrap(), hash(""));
    }

    #[test]
    fn arrival_order_continues_over_batches() {
        let mut accumulator = ArrivalAccumulator::new(SETTINGS);
        let order: ArrayRef = Arc::new(Int64Array::from(vec![0, 0]));
        accumulator.update_batch(&arguments(strings(vec![None, Some("")]), Arc::clone(&order))).unwrap();
        accumulator.update_batch(&arguments(strings(vec![Some("b"), None]), order)).unwrap();
        assert_eq!(accumulator.evaluate().unwrap(), hash("|b"));
        assert!(accumulator.state().is_err());
    }
}
