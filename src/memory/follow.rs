//! Comparing what may have changed since an earlier comparison, and saying what was found to the next one.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::compute::concat_batches;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::Result;
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::physical_plan::execute_stream;
use futures::TryStreamExt;

use super::input::Input;
use super::late::columns_of;
use crate::operators::compact;

/// How an increment goes on from an earlier one.
#[derive(Clone)]
pub(crate) struct Follow {
    /// The key's columns in their common type.
    pub keys: SchemaRef,
    /// The keys of the earlier answer, if only these and those of the rows that are read have to be compared.
    pub known: Option<RecordBatch>,
    /// What EXPLAIN says of it.
    pub said: String,
    /// Is told the keys of the answer.
    pub found: Arc<dyn Fn(RecordBatch) + Send + Sync>,
}

impl fmt::Debug for Follow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follow").field("said", &self.said).finish_non_exhaustive()
    }
}

impl Follow {
    /// The keys that have to be compared: the known ones, and those that the inputs have.
    pub(super) async fn changed(
        &self,
        known: &RecordBatch,
        inputs: &[Input],
        context: &Arc<TaskContext>,
    ) -> Result<RecordBatch> {
        let reservation = MemoryConsumer::new("IncrementExec[keys]").register(context.memory_pool());
        let mut batches = vec![columns_of(known, &self.keys)?];
        for input in inputs {
            let mut rows = execute_stream(Arc::clone(&input.plan), Arc::clone(context))?;
            while let Some(batch) = rows.try_next().await? {
                let keys = compact(&columns_of(&batch, &self.keys)?)?;
                // They are put together, and numbered.
                reservation.try_grow(3 * keys.get_array_memory_size())?;
                batches.push(keys);
            }
        }
        Ok(concat_batches(&self.keys, &batches)?)
    }
}
