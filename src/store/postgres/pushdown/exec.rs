//! The operator at the end of a pushed-down increment: one statement, whose rows are the answer.

use std::fmt::{self, Formatter};
use std::sync::Arc;

use datafusion::arrow::array::{AsArray, RecordBatch, RecordBatchOptions, UInt32Array};
use datafusion::arrow::compute::take;
use datafusion::arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::coop::make_cooperative;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType, SchedulingType};
use datafusion::physical_plan::metrics::{
    BaselineMetrics, ExecutionPlanMetricsSet, MetricBuilder, MetricsSet,
};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties, ReplaceChildrenOptions,
};
use futures::{StreamExt, TryStreamExt};

use super::changes::Changes;
use super::going_on::{self, Run};
use super::statement::Statement;
use crate::store::postgres::database::Database;

/// Runs one statement in the database.
pub(super) struct PostgresExec {
    database: Arc<Database>,
    statement: Statement,
    changes: Option<Arc<Changes>>,
    metrics: ExecutionPlanMetricsSet,
    properties: Arc<PlanProperties>,
}

impl PostgresExec {
    /// `changes`: how the increment goes on from an earlier one, if it may.
    pub(super) fn new(
        database: Arc<Database>,
        statement: Statement,
        changes: Option<Arc<Changes>>,
        schema: SchemaRef,
    ) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        )
        .with_scheduling_type(SchedulingType::Cooperative);
        let metrics = ExecutionPlanMetricsSet::new();
        Self { database, statement, changes, metrics, properties: Arc::new(properties) }
    }
}

impl fmt::Debug for PostgresExec {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresExec").field("statement", &self.statement).finish_non_exhaustive()
    }
}

impl DisplayAs for PostgresExec {
    fn fmt_as(&self, t: DisplayFormatType, f: &mut Formatter<'_>) -> fmt::Result {
        match t {
            DisplayFormatType::TreeRender => write!(f, "sql={}", self.statement.sql),
            _ => {
                f.write_str("PostgresExec: ")?;
                if let Some(changes) = &self.changes {
                    write!(f, "compared={}, ", changes.said())?;
                }
                write!(f, "sql={}", self.statement.sql)
            }
        }
    }
}

impl ExecutionPlan for PostgresExec {
    fn name(&self) -> &'static str {
        "PostgresExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if children.is_empty() { Ok(self) } else { internal_err!("PostgresExec has no inputs") }
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if children.is_empty() { Ok(self) } else { internal_err!("PostgresExec has no inputs") }
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let schema = self.schema();
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let (database, Statement { sql, counted }) = (Arc::clone(&self.database), self.statement.clone());
        let fetched = if counted { counted_schema(&schema) } else { Arc::clone(&schema) };
        let changes = self.changes.clone();
        let went_on = MetricBuilder::new(&self.metrics).counter("changes_only", partition);
        let rows = futures::stream::once(async move {
            let rows = match changes {
                Some(changes) => {
                    going_on::rows(Run { database, sql, counted, changes, went_on }, fetched).await
                }
                None => database.query(sql, fetched).await,
            };
            rows.map_err(datafusion::error::DataFusionError::from)
        });
        let rows = rows.try_flatten().map(move |batch| {
            let batch = batch?;
            metrics.record_output(batch.num_rows());
            Ok(batch)
        });
        if !counted {
            return Ok(make_cooperative(Box::pin(RecordBatchStreamAdapter::new(schema, rows))));
        }
        let (own, size) = (Arc::clone(&schema), context.session_config().batch_size().max(1));
        let rows = rows.map_ok(move |batch| futures::stream::iter(repeated(&batch, &own, size)));
        Ok(make_cooperative(Box::pin(RecordBatchStreamAdapter::new(schema, rows.try_flatten()))))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}

/// The columns and, last, how many rows there are of each kind.
fn counted_schema(schema: &Schema) -> SchemaRef {
    let fields = schema.fields().iter().cloned();
    let count = Arc::new(Field::new("n", DataType::Int64, false));
    Arc::new(Schema::new(fields.chain([count]).collect::<Vec<_>>()))
}

/// Each row as often as its last column says, `size` rows at a time.
fn repeated(
    batch: &RecordBatch,
    schema: &SchemaRef,
    size: usize,
) -> impl Iterator<Item = Result<RecordBatch>> + use<> {
    let counts = batch.column(batch.num_columns() - 1).as_primitive::<Int64Type>();
    let counts: Vec<usize> =
        counts.iter().map(|n| usize::try_from(n.unwrap_or_default()).unwrap_or(0)).collect();
    let (batch, schema) = (batch.clone(), Arc::clone(schema));
    let (mut row, mut left) = (0, counts.first().copied().unwrap_or_default());
    std::iter::from_fn(move || {
        let mut rows: Vec<u32> = Vec::new();
        while rows.len() < size && row < counts.len() {
            let taken = left.min(size - rows.len());
            rows.extend(std::iter::repeat_n(row as u32, taken));
            left -= taken;
            if left == 0 {
                row += 1;
                left = counts.get(row).copied().unwrap_or_default();
            }
        }
        if rows.is_empty() { None } else { Some(picked(&batch, &schema, rows)) }
    })
}

fn picked(batch: &RecordBatch, schema: &SchemaRef, rows: Vec<u32>) -> Result<RecordBatch> {
    let rows = UInt32Array::from(rows);
    let columns = (0..schema.fields().len()).map(|i| Ok(take(batch.column(i), &rows, None)?));
    let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns.collect::<Result<_>>()?, &options)?)
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{ArrayRef, Int64Array, StringArray};

    use super::*;

    #[test]
    fn rows_are_repeated_as_often_as_they_say() {
        let schema = Arc::new(Schema::new(vec![Field::new("class", DataType::Utf8, true)]));
        let classes: ArrayRef = Arc::new(StringArray::from(vec!["new", "stale", "orphaned"]));
        let counts: ArrayRef = Arc::new(Int64Array::from(vec![5, 0, 2]));
        let batch = RecordBatch::try_new(counted_schema(&schema), vec![classes, counts]).unwrap();
        let batches: Vec<RecordBatch> = repeated(&batch, &schema, 3).map(Result::unwrap).collect();
        let shown: Vec<Vec<&str>> = batches
            .iter()
            .map(|batch| batch.column(0).as_string::<i32>().iter().map(Option::unwrap).collect())
            .collect();
        assert_eq!(shown, [vec!["new"; 3], vec!["new", "new", "orphaned"], vec!["orphaned"]]);
        assert_eq!(repeated(&batch, &Arc::new(Schema::empty()), 100).next().unwrap().unwrap().num_rows(), 7);
    }
}
