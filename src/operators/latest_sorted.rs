//! The latest row of each id from rows that are sorted by id: one id at a time is in memory.

use datafusion::arrow::array::{Array, AsArray, BooleanArray, BooleanBufferBuilder, RecordBatch};
use datafusion::arrow::compute::filter_record_batch;
use datafusion::arrow::datatypes::UInt64Type;
use datafusion::common::Result;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::memory_pool::MemoryReservation;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::metrics::BaselineMetrics;
use futures::StreamExt;
use futures::stream::BoxStream;

use super::latest::{LatestColumns, latest_times};
use super::whole_groups::{Groups, WholeGroups};

/// The latest rows of a sorted input.
pub(super) fn latest_of_sorted(
    input: SendableRecordBatchStream,
    ids: Vec<std::sync::Arc<dyn PhysicalExpr>>,
    columns: LatestColumns,
    keep_deleted: bool,
    reservation: MemoryReservation,
    metrics: BaselineMetrics,
) -> BoxStream<'static, Result<RecordBatch>> {
    let state = Some((input, WholeGroups::new(ids, reservation)));
    futures::stream::try_unfold(state, move |state| {
        let (columns, metrics) = (columns.clone(), metrics.clone());
        async move {
            let Some((mut input, mut groups)) = state else { return Ok(None) };
            loop {
                let (complete, state) = match input.next().await.transpose()? {
                    Some(batch) => match groups.push(batch)? {
                        Some(complete) => (Some(complete), Some((input, groups))),
                        None => continue,
                    },
                    None => (groups.finish()?, None),
                };
                let Some(complete) = complete else { return Ok(None) };
                let _timer = metrics.elapsed_compute().timer();
                let rows = latest(complete, &columns, keep_deleted)?;
                metrics.record_output(rows.num_rows());
                return Ok(Some((rows, state)));
            }
        }
    })
    .boxed()
}

/// The latest row of each group, unless it is deleted.
fn latest((rows, groups): Groups, columns: &LatestColumns, keep_deleted: bool) -> Result<RecordBatch> {
    let times = latest_times(&rows, columns)?;
    let orders = columns.row_order.and_then(|i| rows.column(i).as_primitive_opt::<UInt64Type>());
    let deleted = columns.deleted_at.filter(|_| !keep_deleted).map(|i| rows.column(i));
    let age = |row: usize| {
        (times.as_ref().map_or(i64::MIN, |times| times[row]), orders.map_or(0, |orders| orders.value(row)))
    };
    let mut keep = BooleanBufferBuilder::new(rows.num_rows());
    keep.append_n(rows.num_rows(), false);
    for group in groups {
        if let Some(best) = group.max_by_key(|&row| age(row))
            && deleted.is_none_or(|deleted| deleted.is_null(best))
        {
            keep.set_bit(best, true);
        }
    }
    let shown = rows.project(&columns.output)?;
    Ok(filter_record_batch(&shown, &BooleanArray::new(keep.finish(), None))?)
}
