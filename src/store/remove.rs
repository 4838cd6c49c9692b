//! What all stores need to remove rows: from which file each is, and a file's rows without them.

use std::collections::BTreeMap;

use datafusion::arrow::array::{BooleanArray, RecordBatch};
use datafusion::arrow::compute::filter_record_batch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::error::DataFusionError;
use futures::StreamExt;
use futures::stream::BoxStream;

use super::row_order::file_and_position;
use crate::error::{MetaxyError, Result};
use crate::model::FeatureKey;

/// The rows of a batch without those at these places.
pub(crate) fn without(batch: &RecordBatch, gone: impl Iterator<Item = u64>) -> Result<RecordBatch> {
    let mut kept = vec![true; batch.num_rows()];
    for row in gone {
        if let Some(kept) = usize::try_from(row).ok().and_then(|row| kept.get_mut(row)) {
            *kept = false;
        }
    }
    Ok(filter_record_batch(batch, &BooleanArray::from(kept)).map_err(DataFusionError::from)?)
}

/// For each file, by its rank, the positions of the rows to remove, in ascending order.
pub(crate) fn by_file(rows: &[u64]) -> BTreeMap<usize, Vec<u64>> {
    let mut files: BTreeMap<usize, Vec<u64>> = BTreeMap::new();
    for &row in rows {
        let (file, position) = file_and_position(row);
        files.entry(file).or_default().push(position);
    }
    files
}

/// The columns of a file, and its rows without those at these positions, which are in ascending order; `None` for a
/// file without rows.
pub(crate) async fn remaining(
    mut batches: BoxStream<'static, Result<RecordBatch>>,
    gone: Vec<u64>,
) -> Result<Option<(SchemaRef, BoxStream<'static, Result<RecordBatch>>)>> {
    let Some(first) = batches.next().await.transpose()? else {
        return Ok(None);
    };
    let schema = first.schema();
    let mut start = 0_u64;
    let mut keep = move |batch: RecordBatch| {
        let end = start + batch.num_rows() as u64;
        let here = &gone[gone.partition_point(|&p| p < start)..gone.partition_point(|&p| p < end)];
        let kept = without(&batch, here.iter().map(|p| p - start));
        start = end;
        kept
    };
    let all = futures::stream::iter([Ok(first)]).chain(batches);
    Ok(Some((schema, all.map(move |batch| keep(batch?)).boxed())))
}

/// The error of a delete that another one has overtaken.
pub(crate) fn removed_meanwhile(feature: &FeatureKey) -> MetaxyError {
    MetaxyError::Changed { feature: feature.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_counted_through_the_batches_of_a_file() {
        use datafusion::arrow::array::{ArrayRef, AsArray, Int32Array};
        use datafusion::arrow::datatypes::Int32Type;
        let batch = |values: &[i32]| {
            let values: ArrayRef = std::sync::Arc::new(Int32Array::from(values.to_vec()));
            RecordBatch::try_from_iter([("x", values)]).unwrap()
        };
        let batches = [batch(&[0, 1, 2]), batch(&[3]), batch(&[4, 5])];
        let batches = futures::stream::iter(batches.map(Ok)).boxed();
        let kept = futures::executor::block_on(async {
            let (_, rows) = remaining(batches, vec![1, 3, 5]).await.unwrap().unwrap();
            rows.map(Result::unwrap).collect::<Vec<RecordBatch>>().await
        });
        let kept: Vec<i32> =
            kept.iter().flat_map(|b| b.column(0).as_primitive::<Int32Type>().values().to_vec()).collect();
        assert_eq!(kept, [0, 2, 4]);
    }
}
