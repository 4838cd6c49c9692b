//! A call as a relation: the work is done when its rows are asked for, so that EXPLAIN does nothing.

use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::streaming::StreamingTable;
use datafusion::datasource::provider_as_source;
use datafusion::error::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;

use super::Work;
use crate::error::Result;

/// The plan that does the work of the procedure of this name.
pub(super) fn plan(name: &str, work: Arc<dyn Work>) -> Result<LogicalPlan> {
    let schema = work.schema();
    let rows: Arc<dyn PartitionStream> = Arc::new(CallRows { schema: Arc::clone(&schema), work });
    let table = StreamingTable::try_new(schema, vec![rows])?;
    Ok(LogicalPlanBuilder::scan(name, provider_as_source(Arc::new(table)), None)?.build()?)
}

#[derive(Debug)]
struct CallRows {
    schema: SchemaRef,
    work: Arc<dyn Work>,
}

impl PartitionStream for CallRows {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let work = Arc::clone(&self.work);
        let rows = futures::stream::once(async move { work.run().await.map_err(DataFusionError::from) });
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), rows))
    }
}
