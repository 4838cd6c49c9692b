//! Finding the rows of a delete once more, after others have changed the table before they could be deleted.

use std::sync::Arc;

use datafusion::catalog::Session;
use datafusion::common::Result;
use datafusion::execution::{SendableRecordBatchStream, SessionState, TaskContext};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::execute_stream;

/// The query whose rows are deleted. Each time it is planned, its tables are read as they are then.
#[derive(Clone)]
pub(super) struct Redo {
    rows: LogicalPlan,
    state: Option<Arc<SessionState>>,
}

impl Redo {
    pub(super) fn new(rows: LogicalPlan) -> Self {
        Self { rows, state: None }
    }

    /// The same, planned as this session plans. Without a [`SessionState`] there is no second time.
    pub(super) fn in_session(mut self, state: &dyn Session) -> Self {
        self.state = state.as_any().downcast_ref::<SessionState>().map(|state| Arc::new(state.clone()));
        self
    }

    /// The rows as they are now; `None` if the query can't be planned again.
    pub(super) async fn rows(&self, context: &Arc<TaskContext>) -> Result<Option<SendableRecordBatchStream>> {
        let Some(state) = &self.state else { return Ok(None) };
        let plan = state.create_physical_plan(&self.rows).await?;
        Ok(Some(execute_stream(plan, Arc::clone(context))?))
    }
}
