//! Reading what rows of an answer are looked up in.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::{Result, internal_datafusion_err};
use datafusion::execution::{SendableRecordBatchStream, SessionState, TaskContext};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::execute_stream;

use crate::operators::Keys;

/// The inputs of an increment, to be planned and read when they are needed.
///
/// They are read later than the rows of the answer: what they say has to hold all the same if somebody has written
/// meanwhile.
#[derive(Clone)]
pub(crate) struct Lookups {
    inputs: Arc<Vec<LogicalPlan>>,
    state: Arc<SessionState>,
}

impl Lookups {
    pub(crate) fn new(inputs: Vec<LogicalPlan>, state: SessionState) -> Self {
        Self { inputs: Arc::new(inputs), state: Arc::new(state) }
    }

    /// The rows of an input.
    pub(super) async fn rows(
        &self,
        input: usize,
        context: &Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let plan = self.inputs.get(input).ok_or_else(|| internal_datafusion_err!("no input {input}"))?;
        self.of(plan, context).await
    }

    /// The rows of a plan.
    pub(super) async fn of(
        &self,
        plan: &LogicalPlan,
        context: &Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        execute_stream(self.state.create_physical_plan(plan).await?, Arc::clone(context))
    }
}

/// Keys and versions as numbers, the same ones for all that is looked up in one plan.
#[derive(Debug, Clone)]
pub(super) struct KeyNumbers {
    numbers: Keys,
    /// The types of the key columns of the answer.
    types: Vec<DataType>,
}

impl KeyNumbers {
    pub(super) fn new(types: Vec<DataType>) -> Self {
        Self { numbers: Keys::new(), types }
    }

    /// The keys in these columns.
    pub(super) fn of(&self, columns: &[ArrayRef]) -> Result<Vec<u128>> {
        let same = |(column, target): (&ArrayRef, &DataType)| match column.data_type() == target {
            true => Ok(Arc::clone(column)),
            false => Ok(cast(column, target)?),
        };
        self.numbers.of(&columns.iter().zip(&self.types).map(same).collect::<Result<Vec<_>>>()?)
    }

    /// The keys of rows that begin with the key columns.
    pub(super) fn of_first(&self, batch: &RecordBatch) -> Result<Vec<u128>> {
        self.of(&batch.columns()[..self.types.len()])
    }

    /// A version; 0 is NULL.
    pub(super) fn version(&self, version: Option<&str>) -> u64 {
        self.numbers.version(version)
    }
}
