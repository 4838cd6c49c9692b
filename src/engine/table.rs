//! An increment as a table: scanning it plans the executor.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{Result, plan_datafusion_err};
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{
    Expr, LogicalPlan, LogicalPlanBuilder, TableProviderFilterPushDown, TableType,
};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::projection::ProjectionExec;

use super::native_exec::NativeExec;
use super::planning::Planner;
use crate::columns::{INCREMENT, REASON};
use crate::memory::{InMemoryExec, Input, Streaming, needed_columns};
use crate::review::{Lookups, ReviewExec, may_show};
use crate::update::{Engine, Increment, native_plan, orphan_key, plain};

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

    /// Columns of the increment, and such as only [`ReviewExec`] asks for.
    fn columns(&self, names: &[String]) -> Result<SchemaRef> {
        let all = self.schema();
        let field = |name: &String| {
            if let Ok(field) = all.field_with_name(name) {
                return Ok(field.clone());
            }
            let key = self.increment.description.keys.iter().find(|key| orphan_key(key) == *name);
            let key = key.ok_or_else(|| plan_datafusion_err!("an increment has no column {name}"))?;
            Ok(all.field_with_name(key)?.clone().with_name(name))
        };
        Ok(Arc::new(Schema::new(names.iter().map(field).collect::<Result<Vec<_>>>()?)))
    }

    /// Whether there is nothing to join and nothing to compare with: then the rows of the one input are hashed as they
    /// are read, and collecting them first would only cost time.
    fn is_one_pass(&self) -> bool {
        let description = &self.increment.description;
        let [input] = description.expected.as_slice() else { return false };
        description.current.is_none() && input.aggregation.is_none()
    }

    /// The increment as plain nodes, with these columns only.
    fn native(&self, columns: &[String]) -> Result<LogicalPlan> {
        let plan = native_plan(&self.increment)?;
        LogicalPlanBuilder::from(plan).project(columns.iter().map(plain).collect::<Vec<_>>())?.build()
    }

    async fn in_memory(&self, planner: &Planner, wanted: &[String]) -> Result<Arc<dyn ExecutionPlan>> {
        let description = &self.increment.description;
        if self.is_one_pass() {
            let plan = planner.native(&self.native(wanted)?).await?;
            return Ok(Arc::new(NativeExec::new(plan, Arc::clone(description))));
        }
        let mut inputs = Vec::new();
        let names: Vec<&str> = wanted.iter().map(String::as_str).collect();
        for (plan, columns) in self.increment.inputs.iter().zip(needed_columns(description, &names)) {
            let plan = LogicalPlanBuilder::from(plan.clone()).project(columns.iter().map(plain))?.build()?;
            inputs.push(Input::new(planner.part(&plan).await?));
        }
        let partitions = planner.partitions();
        let streaming = if planner.is_limited() && !description.executor.asked_for {
            let plan = planner.streaming(&self.native(wanted)?, partitions).await?;
            Some(Streaming { plan, notice: Arc::clone(&self.notice) })
        } else {
            None
        };
        let (description, schema) = (Arc::clone(description), self.columns(wanted)?);
        Ok(Arc::new(InMemoryExec::try_new(description, schema, inputs, streaming, partitions)?))
    }

    /// The executor's plan for these columns.
    async fn executor(&self, planner: &Planner, wanted: &[String]) -> Result<Arc<dyn ExecutionPlan>> {
        if self.increment.description.executor.engine == Engine::Native {
            let plan = planner.native(&self.native(wanted)?).await?;
            return Ok(Arc::new(NativeExec::new(plan, Arc::clone(&self.increment.description))));
        }
        let Some(volatile) = conjunction(self.increment.volatile.clone()) else {
            return self.in_memory(planner, wanted).await;
        };
        // A condition that waited for the result may need columns that nobody else asks for.
        let mut read = wanted.to_vec();
        for column in volatile.column_refs() {
            if !read.contains(&column.name) {
                read.push(column.name.clone());
            }
        }
        let plan = planner.filtered(self.in_memory(planner, &read).await?, volatile)?;
        let columns = wanted
            .iter()
            .enumerate()
            .map(|(i, name)| (Arc::new(Column::new(name, i)) as Arc<dyn PhysicalExpr>, name.clone()));
        Ok(Arc::new(ProjectionExec::try_new(columns.collect::<Vec<_>>(), Arc::clone(&plan))?))
    }

    /// Whether rows have to be looked at once more, for a query with these conditions.
    fn is_reviewed(&self, state: &dyn Session, filters: &[Expr], wanted: &[String]) -> bool {
        let Some(review) = &self.increment.description.review else { return false };
        if wanted.iter().any(|name| name == REASON) {
            return true;
        }
        may_show(state, filters, "orphaned")
            || (review.include_pending && may_show(state, filters, "pending"))
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

    /// A condition on the class alone says whether there is anything to be looked up. It is applied above.
    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        let support = |filter: &&Expr| {
            let columns = filter.column_refs();
            match !columns.is_empty() && columns.iter().all(|column| column.name == INCREMENT) {
                true if !filter.is_volatile() => TableProviderFilterPushDown::Inexact,
                _ => TableProviderFilterPushDown::Unsupported,
            }
        };
        Ok(filters.iter().map(support).collect())
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let planner = Planner::new(state)?;
        let all = self.schema();
        let schema = projection.map_or_else(|| Ok(Arc::clone(&all)), |p| all.project(p).map(Arc::new))?;
        let wanted: Vec<String> = schema.fields().iter().map(|f| f.name().clone()).collect();
        if !self.is_reviewed(state, filters, &wanted) {
            return self.executor(&planner, &wanted).await;
        }
        let description = &self.increment.description;
        let plan = self.executor(&planner, &ReviewExec::needs(description, &wanted)).await?;
        let lookups = Lookups::new(self.increment.inputs.clone(), planner.aside());
        Ok(Arc::new(ReviewExec::try_new(plan, Arc::clone(description), lookups, schema)?))
    }
}
