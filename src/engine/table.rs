//! An increment as a table: scanning it plans the executor.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, TableType};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::projection::ProjectionExec;

use super::native_exec::NativeExec;
use super::planning::Planner;
use crate::memory::{InMemoryExec, Input, Streaming, needed_columns};
use crate::update::{Engine, Increment, native_plan, plain};

/// Stands for an increment from the optimizer on.
#[derive(Clone)]
pub(super) struct IncrementTable {
    increment: Increment,
    notice: Arc<dyn Fn(&str) + Send + Sync>,
}

impl fmt::Debug for IncrementTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IncrementTable({})", self.increment.description.feature)
    }
}

impl IncrementTable {
    pub(super) fn new(increment: Increment, notice: Arc<dyn Fn(&str) + Send + Sync>) -> Self {
        Self { increment, notice }
    }

    /// The increment as plain nodes, with these columns only.
    fn native(&self, columns: &[&str]) -> Result<LogicalPlan> {
        let plan = native_plan(&self.increment)?;
        LogicalPlanBuilder::from(plan)
            .project(columns.iter().copied().map(plain).collect::<Vec<_>>())?
            .build()
    }

    /// Whether there is nothing to join and nothing to compare with: then the rows of the one input are hashed as they
    /// are read, and collecting them first would only cost time.
    fn is_one_pass(&self) -> bool {
        let description = &self.increment.description;
        let [input] = description.expected.as_slice() else { return false };
        description.current.is_none() && input.aggregation.is_none()
    }

    async fn in_memory(&self, planner: &Planner, schema: &SchemaRef) -> Result<Arc<dyn ExecutionPlan>> {
        let description = &self.increment.description;
        let wanted: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
        if self.is_one_pass() {
            let plan = planner.native(&self.native(&wanted)?).await?;
            return Ok(Arc::new(NativeExec::new(plan, Arc::clone(description))));
        }
        let mut inputs = Vec::new();
        for (plan, columns) in self.increment.inputs.iter().zip(needed_columns(description, &wanted)) {
            let plan = LogicalPlanBuilder::from(plan.clone()).project(columns.iter().map(plain))?.build()?;
            inputs.push(Input::new(planner.part(&plan).await?));
        }
        let partitions = planner.partitions();
        let streaming = if planner.is_limited() && !description.executor.asked_for {
            let plan = planner.streaming(&self.native(&wanted)?, partitions).await?;
            Some(Streaming { plan, notice: Arc::clone(&self.notice) })
        } else {
            None
        };
        let description = Arc::clone(description);
        let exec = InMemoryExec::try_new(description, Arc::clone(schema), inputs, streaming, partitions)?;
        Ok(Arc::new(exec))
    }
}

#[async_trait]
impl TableProvider for IncrementTable {
    fn schema(&self) -> SchemaRef {
        use datafusion::logical_expr::UserDefinedLogicalNodeCore;

        Arc::clone(self.increment.schema().inner())
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let planner = Planner::new(state)?;
        let all = self.schema();
        let wanted: Vec<usize> = projection.cloned().unwrap_or_else(|| (0..all.fields().len()).collect());
        if self.increment.description.executor.engine == Engine::Native {
            let names: Vec<&str> = wanted.iter().map(|&i| all.field(i).name().as_str()).collect();
            let plan = planner.native(&self.native(&names)?).await?;
            return Ok(Arc::new(NativeExec::new(plan, Arc::clone(&self.increment.description))));
        }
        let Some(volatile) = conjunction(self.increment.volatile.clone()) else {
            let schema = Arc::new(all.project(&wanted)?);
            return self.in_memory(&planner, &schema).await;
        };
        // A condition that waited for the result may need columns that nobody else asks for.
        let mut read = wanted.clone();
        for column in volatile.column_refs() {
            let index = all.index_of(&column.name)?;
            if !read.contains(&index) {
                read.push(index);
            }
        }
        let plan = self.in_memory(&planner, &Arc::new(all.project(&read)?)).await?;
        let plan = planner.filtered(plan, volatile)?;
        let columns = (0..wanted.len()).map(|i| {
            let name = plan.schema().field(i).name().clone();
            (Arc::new(Column::new(&name, i)) as Arc<dyn PhysicalExpr>, name)
        });
        Ok(Arc::new(ProjectionExec::try_new(columns.collect::<Vec<_>>(), Arc::clone(&plan))?))
    }
}
