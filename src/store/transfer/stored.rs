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

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{ArrayRef, Float32Array, Int32Array};
    use datafusion::arrow::datatypes::DataType;
    use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
    use futures::TryStreamExt;

    use super::*;

    #[test]
    fn narrower_numbers_take_the_types_of_the_table() {
        let numbers: ArrayRef = Arc::new(Int32Array::from(vec![1]));
        let shares: ArrayRef = Arc::new(Float32Array::from(vec![0.5]));
        let batch = RecordBatch::try_from_iter([("number", numbers), ("share", shares)]).unwrap();
        let types =
            |schema: &Schema| schema.fields().iter().map(|f| f.data_type().clone()).collect::<Vec<_>>();
        let read = |table: Option<&Schema>| {
            let rows = futures::stream::iter([Ok(batch.clone())]);
            let rows = Box::pin(RecordBatchStreamAdapter::new(batch.schema(), rows));
            let (schema, rows) = stored_rows(rows, table);
            let rows: Vec<RecordBatch> = futures::executor::block_on(rows.try_collect()).unwrap();
            assert_eq!(types(&schema), types(&rows[0].schema()));
            types(&schema)
        };
        let wide = [("number", DataType::Int64), ("share", DataType::Float64)];
        let wide = Schema::new(wide.map(|(name, data_type)| Field::new(name, data_type, true)).to_vec());
        assert_eq!(read(Some(&wide)), [DataType::Int64, DataType::Float64]);
        assert_eq!(read(None), [DataType::Int32, DataType::Float32]);
        // What does not fit stays as it is, and is refused with both types named.
        let other = Schema::new(vec![Field::new("number", DataType::Utf8, true)]);
        assert_eq!(read(Some(&other)), [DataType::Int32, DataType::Float32]);
    }
}
