//! The time of a write: which one it is, putting it on rows, and reading staged rows to put a later one on them.

use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use datafusion::arrow::array::{ArrayRef, RecordBatch, TimestampMicrosecondArray};
use datafusion::error::DataFusionError;
use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use super::WriteTime;
use crate::error::Result;

/// The later of now and one microsecond after the latest time of the table.
pub(crate) fn later_than(latest: Option<i64>) -> DateTime<Utc> {
    let after = latest.and_then(DateTime::from_timestamp_micros).map(|t| t + TimeDelta::microseconds(1));
    let now = Utc::now();
    after.map_or(now, |after| after.max(now))
}

/// The rows with this time, in microseconds, in the column that a write stamps.
pub(crate) fn stamped(batch: &RecordBatch, column: WriteTime, time: i64) -> Result<RecordBatch> {
    let Some(stamp) = column.column() else {
        return Ok(batch.clone());
    };
    let schema = batch.schema();
    let columns = batch
        .columns()
        .iter()
        .zip(schema.fields())
        .map(|(column, field)| {
            if field.name() == stamp {
                let times = TimestampMicrosecondArray::from_value(time, batch.num_rows());
                Arc::new(times.with_timezone("UTC")) as ArrayRef
            } else {
                Arc::clone(column)
            }
        })
        .collect();
    Ok(RecordBatch::try_new(Arc::clone(&schema), columns).map_err(DataFusionError::from)?)
}

/// Reads a staged file whole: it is only read when another writer was faster.
pub(crate) async fn read_back(
    store: Arc<dyn ObjectStore>,
    file: Path,
) -> Result<BoxStream<'static, Result<RecordBatch>>> {
    let fail = |error: object_store::Error| DataFusionError::ObjectStore(Box::new(error));
    rows_of(store.get(&file).await.map_err(fail)?.bytes().await.map_err(fail)?)
}

/// The rows of a whole file.
pub(crate) fn rows_of(file: Bytes) -> Result<BoxStream<'static, Result<RecordBatch>>> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(file)
        .and_then(ParquetRecordBatchReaderBuilder::build)
        .map_err(DataFusionError::from)?;
    Ok(futures::stream::iter(reader).map_err(|error| DataFusionError::from(error).into()).boxed())
}
