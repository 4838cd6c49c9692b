//! Reading what rows of an answer are looked up in.

use std::sync::Arc;

use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::{Result, internal_datafusion_err};
use datafusion::execution::{SendableRecordBatchStream, SessionState, TaskContext};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::execute_stream;

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
        execute_stream(self.state.create_physical_plan(plan).await?, Arc::clone(context))
    }
}

/// Key columns in the types of others, so that equal ones are equal in all respects.
pub(super) fn of_types(columns: &[ArrayRef], types: &[DataType]) -> Result<Vec<ArrayRef>> {
    let same = |(column, target): (&ArrayRef, &DataType)| match column.data_type() == target {
        true => Ok(Arc::clone(column)),
        false => Ok(cast(column, target)?),
    };
    columns.iter().zip(types).map(same).collect()
}
