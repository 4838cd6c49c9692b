//! The `*_by_field` columns as arrays: taking them apart, putting them together and hashing them.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, MapArray, StringArray, StringBuilder, StructArray, new_null_array,
};
use datafusion::arrow::buffer::{NullBuffer, OffsetBuffer};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Fields};

use crate::error::{MetaxyError, Result};
use crate::hash::{HashSettings, TextsHasher};

/// The separator between hashed parts; a version must not contain it.
pub(crate) const SEPARATOR: &str = "|";

/// The struct keys that a versions column of this type has, or `None` for a map, whose keys are data.
///
/// # Errors
/// The type's name, when it is neither struct nor map.
pub(crate) fn struct_keys(data_type: &DataType) -> std::result::Result<Option<Vec<&str>>, String> {
    match data_type {
        DataType::Struct(fields) => Ok(Some(fields.iter().map(|f| f.name().as_str()).collect())),
        DataType::Map(_, _) => Ok(None),
        other => Err(crate::types::type_name(other)),
    }
}

/// One string array per key; NULL where the column, or the key's value in it, is NULL or missing.
pub(crate) fn split(column: &ArrayRef, keys: &[String]) -> Result<Vec<StringArray>> {
    let arrow = |error: datafusion::arrow::error::ArrowError| {
        MetaxyError::from(datafusion::error::DataFusionError::from(error))
    };
    match column.data_type() {
        DataType::Struct(_) => {
            let column = column.as_struct();
            keys.iter()
                .map(|key| {
                    let values = match column.column_by_name(key) {
                        Some(values) => cast(values, &DataType::Utf8).map_err(arrow)?,
                        None => new_null_array(&DataType::Utf8, column.len()),
                    };
                    let values = values.as_string::<i32>();
                    let nulls = NullBuffer::union(values.nulls(), column.nulls());
                    Ok(StringArray::new(values.offsets().clone(), values.values().clone(), nulls))
                })
                .collect()
        }
        DataType::Map(_, _) => {
            let column = column.as_map();
            let names = cast(column.keys(), &DataType::Utf8).map_err(arrow)?;
            let values = cast(column.values(), &DataType::Utf8).map_err(arrow)?;
            let (names, values) = (names.as_string::<i32>(), values.as_string::<i32>());
            Ok(keys.iter().map(|key| map_value(column, names, values, key)).collect())
        }
        other => {
            Err(MetaxyError::Invalid(format!("a versions column is {}", crate::types::type_name(other))))
        }
    }
}

fn map_value(column: &MapArray, names: &StringArray, values: &StringArray, key: &str) -> StringArray {
    let offsets = column.value_offsets();
    (0..column.len())
        .map(|row| {
            let entries = offsets[row] as usize..offsets[row + 1] as usize;
            if column.is_null(row) {
                return None;
            }
            let at = entries.into_iter().find(|&i| names.value(i) == key)?;
            values.is_valid(at).then(|| values.value(at))
        })
        .collect()
}

/// Puts string arrays together as a column of type `target`, a struct (any member order) or a map.
pub(crate) fn join(keys: &[String], values: &[StringArray], target: &DataType) -> Result<ArrayRef> {
    match target {
        DataType::Map(entries, sorted) => map_of(keys, values, entries, *sorted),
        _ => {
            let fields: Fields =
                keys.iter().map(|key| Arc::new(Field::new(key, DataType::Utf8, true)) as FieldRef).collect();
            let arrays = values.iter().map(|v| Arc::new(v.clone()) as ArrayRef).collect();
            Ok(Arc::new(StructArray::new(fields, arrays, None)))
        }
    }
}

fn map_of(keys: &[String], values: &[StringArray], entries: &FieldRef, sorted: bool) -> Result<ArrayRef> {
    let rows = values.first().map_or(0, Array::len);
    let (mut names, mut texts) = (StringBuilder::new(), StringBuilder::new());
    for row in 0..rows {
        for (key, value) in keys.iter().zip(values) {
            names.append_value(key);
            texts.append_option(value.is_valid(row).then(|| value.value(row)));
        }
    }
    let DataType::Struct(fields) = entries.data_type() else {
        return Err(MetaxyError::Invalid("a map column without entries".into()));
    };
    let data: Vec<ArrayRef> = vec![Arc::new(names.finish()), Arc::new(texts.finish())];
    let data = data
        .iter()
        .zip(fields)
        .map(|(array, field)| cast(array, field.data_type()))
        .collect::<std::result::Result<Vec<_>, _>>()
        .map_err(datafusion::error::DataFusionError::from)?;
    let entries_array = StructArray::new(fields.clone(), data, None);
    let offsets = OffsetBuffer::from_lengths(std::iter::repeat_n(keys.len(), rows));
    Ok(Arc::new(MapArray::new(Arc::clone(entries), offsets, entries_array, None, sorted)))
}

/// The version of a sample: the hash of its fields' versions in the order of sorted struct keys; NULL if one is.
pub(crate) fn sample_version(keys: &[String], values: &[StringArray], settings: HashSettings) -> StringArray {
    let mut order: Vec<usize> = (0..keys.len()).collect();
    order.sort_by(|&a, &b| keys[a].cmp(&keys[b]));
    let rows = values.first().map_or(0, Array::len);
    let mut texts = TextsHasher::new(settings);
    let mut numbers = Vec::with_capacity(rows);
    for row in 0..rows {
        if values.iter().any(|v| v.is_null(row)) {
            numbers.push(None);
            continue;
        }
        texts.begin(0);
        for (n, &at) in order.iter().enumerate() {
            if n > 0 {
                texts.write(SEPARATOR.as_bytes());
            }
            texts.write(values[at].value(row).as_bytes());
        }
        numbers.push(Some(texts.end_after(b"")));
    }
    texts.finish();
    numbers.into_iter().map(|number| number.and_then(|number| texts.get(number))).collect()
}
