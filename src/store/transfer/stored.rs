//! Rows that were stored before, in the types in which they are stored again.

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use futures::StreamExt;
use futures::stream::BoxStream;

use crate::error::Result;
use crate::types::{fit, storable};

/// The rows of a stream with their columns as they are stored: in the types of the table they are for, if there is one
/// and they fit, so that a file of it has no other types than its log says.
pub(in crate::store) fn stored_rows(
    rows: SendableRecordBatchStream,
    table: Option<&Schema>,
) -> (SchemaRef, BoxStream<'static, Result<RecordBatch>>) {
    let fields = rows.schema();
    let fields = fields.fields().iter().map(|field| {
        let stored = table.and_then(|table| table.field_with_name(field.name()).ok());
        let fitting = stored.and_then(|stored| fit(field.data_type(), stored.data_type()));
        Field::new(field.name(), fitting.unwrap_or_else(|| storable(field.data_type())), true)
    });
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let target = Arc::clone(&schema);
    let rows = rows.map(move |batch| as_stored(&batch?, &target)).boxed();
    (schema, rows)
}

fn as_stored(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let columns =
        batch.columns().iter().zip(schema.fields()).map(|(column, field)| cast(column, field.data_type()));
    let columns = columns.collect::<std::result::Result<_, _>>().map_err(DataFusionError::from)?;
    Ok(RecordBatch::try_new(Arc::clone(schema), columns).map_err(DataFusionError::from)?)
}
