//! The optimizer rule that hands increments over to their executor.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, Result, TableReference};
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

use super::table::IncrementTable;
use crate::records::Records;
use crate::update::Increment;

/// The name under which plans show the table that stands for an increment, before its number.
const TABLE: &str = "__metaxy_increment";

/// How many increments there were. DataFusion takes two scans under one name for the same, whatever is scanned, and
/// would give both the answer of the first.
static INCREMENTS: AtomicU64 = AtomicU64::new(0);

/// Replaces each increment by a table whose scan is the chosen executor.
///
/// It runs after the rules that push filters down, which by then have gone through the increment.
#[derive(Clone)]
pub struct ExecuteIncrements {
    notice: Arc<dyn Fn(&str) + Send + Sync>,
    records: Arc<Records>,
}

impl ExecuteIncrements {
    /// The rule's name, by which a session can be asked whether it has it.
    pub const NAME: &'static str = "metaxy_execute_increments";

    /// The rule; `notice` gets what the user should hear of a running increment, such as that it did not fit into
    /// memory. Increments go on from what earlier ones have left in `records`.
    pub fn new(records: Arc<Records>, notice: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self { notice: Arc::new(notice), records }
    }
}

impl fmt::Debug for ExecuteIncrements {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExecuteIncrements").finish_non_exhaustive()
    }
}

impl OptimizerRule for ExecuteIncrements {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn supports_rewrite(&self) -> bool {
        true
    }

    fn rewrite(&self, plan: LogicalPlan, _config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        let LogicalPlan::Extension(extension) = &plan else {
            return Ok(Transformed::no(plan));
        };
        let Some(increment) = extension.node.as_any().downcast_ref::<Increment>() else {
            return Ok(Transformed::no(plan));
        };
        if !plan.get_parameter_names()?.is_empty() {
            // A prepared statement: its parameters are filled into the node's inputs.
            return Ok(Transformed::no(plan));
        }
        let table =
            IncrementTable::new(increment.clone(), Arc::clone(&self.notice), Arc::clone(&self.records));
        let name = format!("{TABLE}_{}", INCREMENTS.fetch_add(1, Ordering::Relaxed));
        let name = TableReference::bare(name);
        let scan = LogicalPlanBuilder::scan(name.clone(), provider_as_source(Arc::new(table)), None)?;
        // An increment's columns have no qualifier.
        let columns = scan.schema().fields().iter().map(|f| f.name().clone()).collect::<Vec<_>>();
        let exprs =
            columns.iter().map(|column| Expr::Column(Column::new(Some(name.clone()), column)).alias(column));
        let plan = scan.project(exprs.collect::<Vec<_>>())?.build()?;
        Ok(Transformed::yes(plan))
    }
}
