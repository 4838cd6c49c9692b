//! Window functions over whole partitions, in memory for one partition at a time.
//!
//! DataFusion's own operator holds all of its input. With the sort below it, which spills, this one needs no more
//! than the rows of the largest group.

use std::fmt::Formatter;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch};
use datafusion::arrow::compute::concat;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, internal_err};
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{OrderingRequirements, PhysicalExpr};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::windows::WindowAggExec;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, InputDistributionRequirements,
    PlanProperties, ReplaceChildrenOptions, WindowExpr,
};
use futures::{StreamExt, TryStreamExt};

use super::whole_groups::{Groups, WholeGroups};

/// Does what a [`WindowAggExec`] does, group by group.
#[derive(Debug)]
pub(crate) struct GroupWindowExec {
    window: Arc<dyn ExecutionPlan>,
}

impl GroupWindowExec {
    /// Takes the place of a window operator; anything else is returned as it is.
    pub(crate) fn in_place_of(plan: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
        if plan.is::<WindowAggExec>() { Arc::new(Self { window: plan }) } else { plan }
    }

    fn window(&self) -> Result<&WindowAggExec> {
        match self.window.downcast_ref::<WindowAggExec>() {
            Some(window) => Ok(window),
            None => internal_err!("GroupWindowExec over {}", self.window.name()),
        }
    }
}

impl DisplayAs for GroupWindowExec {
    fn fmt_as(&self, t: DisplayFormatType, f: &mut Formatter<'_>) -> std::fmt::Result {
        match t {
            DisplayFormatType::TreeRender => write!(f, "one group at a time"),
            _ => {
                write!(f, "GroupWindowExec: ")?;
                self.window.fmt_as(t, f)
            }
        }
    }
}

impl ExecutionPlan for GroupWindowExec {
    fn name(&self) -> &'static str {
        "GroupWindowExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.window.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        self.window.children()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        self.window.maintains_input_order()
    }

    fn required_input_ordering(&self) -> Vec<Option<OrderingRequirements>> {
        self.window.required_input_ordering()
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        self.window.input_distribution_requirements()
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.window.apply_expressions(f)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let window = Arc::clone(&self.window).replace_children(children, options)?;
        Ok(Self::in_place_of(window))
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let window = self.window()?;
        let input = window.input().execute(partition, Arc::clone(&context))?;
        let reservation =
            MemoryConsumer::new(format!("GroupWindowExec[{partition}]")).register(context.memory_pool());
        let functions = window.window_expr().to_vec();
        let by = functions.first().map_or_else(Vec::new, |function| function.partition_by().to_vec());
        let schema = self.schema();
        let out = Arc::clone(&schema);
        let stream =
            futures::stream::try_unfold(Some((input, WholeGroups::new(by, reservation))), move |state| {
                let (functions, schema) = (functions.clone(), Arc::clone(&out));
                async move {
                    let Some((mut input, mut groups)) = state else { return Ok(None) };
                    loop {
                        let (complete, state) = match input.next().await.transpose()? {
                            Some(batch) => match groups.push(batch)? {
                                Some(complete) => (Some(complete), Some((input, groups))),
                                None => continue,
                            },
                            None => (groups.finish()?, None),
                        };
                        return match complete {
                            Some(complete) => Ok(Some((evaluate(&functions, complete, &schema)?, state))),
                            None => Ok(None),
                        };
                    }
                }
            });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, stream.into_stream())))
    }
}

/// The rows with the values of the functions, each group evaluated by itself.
fn evaluate(
    functions: &[Arc<dyn WindowExpr>],
    (rows, groups): Groups,
    schema: &SchemaRef,
) -> Result<RecordBatch> {
    let mut columns = rows.columns().to_vec();
    for function in functions {
        let values: Vec<ArrayRef> = groups
            .iter()
            .map(|group| function.evaluate(&rows.slice(group.start, group.len())))
            .collect::<Result<_>>()?;
        let values: Vec<&dyn datafusion::arrow::array::Array> = values.iter().map(AsRef::as_ref).collect();
        columns.push(concat(&values)?);
    }
    Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
}
