//! Arrays that hold no more than their values.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, StructArray};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::Result;

/// The rows with text of their own: a view of text keeps all the text alive that it was cut from, and after a sort that
/// may be everything that was sorted.
pub(crate) fn compact(batch: &RecordBatch) -> Result<RecordBatch> {
    let columns = batch.columns().iter().map(compact_array).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(batch.schema(), columns, &options)?)
}

fn compact_array(array: &ArrayRef) -> ArrayRef {
    match array.data_type() {
        DataType::Utf8View => Arc::new(array.as_string_view().gc()),
        DataType::BinaryView => Arc::new(array.as_binary_view().gc()),
        DataType::Struct(fields) => {
            let members = array.as_struct().columns().iter().map(compact_array).collect();
            let nulls = array.nulls().cloned();
            match StructArray::try_new(fields.clone(), members, nulls) {
                Ok(compacted) => Arc::new(compacted),
                // A struct without members: nothing to gain.
                Err(_) => Arc::clone(array),
            }
        }
        _ => Arc::clone(array),
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::StringViewArray;

    use super::*;

    #[test]
    fn a_slice_lets_go_of_the_rest() {
        let texts =
            StringViewArray::from_iter_values((0..1000).map(|i| format!("a text of some length {i}")));
        let batch = RecordBatch::try_from_iter([("text", Arc::new(texts) as ArrayRef)]).unwrap();
        let slice = batch.slice(7, 1);
        let compacted = compact(&slice).unwrap();
        assert_eq!(compacted, slice);
        assert!(compacted.get_array_memory_size() * 20 < slice.get_array_memory_size());
    }
}
