//! The operator on top of an executor: rows pass through it, but for orphaned samples that turn out to wait.

use std::fmt::{self, Formatter};
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, RecordBatch, RecordBatchOptions, StringArray, UInt32Array,
};
use datafusion::arrow::compute::{cast, filter_record_batch, take};
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::Result;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties,
    Partitioning, PlanProperties, ReplaceChildrenOptions,
};
use futures::{StreamExt, TryStreamExt};
use tokio::sync::OnceCell;

use super::known::{Known, Verdict};
use super::lookup::Lookups;
use crate::columns::INCREMENT;
use crate::update::{Description, Review, orphan_key};

/// Looks up what orphaned samples wait for, once the first of them arrives.
pub(crate) struct ReviewExec {
    input: Arc<dyn ExecutionPlan>,
    work: Arc<Work>,
    /// What was looked up, for all partitions.
    known: Arc<OnceCell<Known>>,
    metrics: ExecutionPlanMetricsSet,
    properties: Arc<PlanProperties>,
}

/// What an operator does to a batch.
struct Work {
    description: Arc<Description>,
    lookups: Lookups,
    schema: SchemaRef,
    /// The place of the class in the input, and those of the keys.
    class: usize,
    keys: Vec<usize>,
    /// The input's columns that are given out.
    output: Vec<usize>,
}

impl ReviewExec {
    /// The columns of an increment that the input must have, so that those in `wanted` can be given out.
    pub(crate) fn needs(description: &Description, wanted: &[String]) -> Vec<String> {
        let mut needed = wanted.to_vec();
        let mut need = |name: String| {
            if !needed.contains(&name) {
                needed.push(name);
            }
        };
        need(INCREMENT.to_owned());
        for key in description.keys.iter().filter(|key| !wanted.contains(key)) {
            need(orphan_key(key));
        }
        needed
    }

    /// Gives out the columns of `schema`.
    ///
    /// # Errors
    /// When the input lacks a column that [`needs`](Self::needs) asks for.
    pub(crate) fn try_new(
        input: Arc<dyn ExecutionPlan>,
        description: Arc<Description>,
        lookups: Lookups,
        schema: SchemaRef,
    ) -> Result<Self> {
        let given = input.schema();
        let key = |key: &String| Ok(given.index_of(key).or_else(|_| given.index_of(&orphan_key(key)))?);
        let work = Work {
            class: given.index_of(INCREMENT)?,
            keys: description.keys.iter().map(key).collect::<Result<_>>()?,
            output: schema.fields().iter().map(|f| Ok(given.index_of(f.name())?)).collect::<Result<_>>()?,
            description,
            lookups,
            schema,
        };
        Ok(Self::over(input, Arc::new(work)))
    }

    fn over(input: Arc<dyn ExecutionPlan>, work: Arc<Work>) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&work.schema)),
            Partitioning::UnknownPartitioning(input.output_partitioning().partition_count()),
            input.pipeline_behavior(),
            input.boundedness(),
        );
        Self {
            input,
            work,
            known: Arc::default(),
            metrics: ExecutionPlanMetricsSet::new(),
            properties: Arc::new(properties),
        }
    }
}

impl Work {
    async fn review(
        &self,
        batch: &RecordBatch,
        known: &OnceCell<Known>,
        context: &Arc<TaskContext>,
    ) -> Result<RecordBatch> {
        let Some(review) = &self.description.review else { return self.shown(batch, None) };
        let classes = cast(batch.column(self.class), &DataType::Utf8)?;
        let classes = classes.as_string::<i32>();
        let orphaned = (0..batch.num_rows() as u32).filter(|&row| classes.value(row as usize) == ORPHANED);
        let orphaned: Vec<u32> = orphaned.collect();
        if orphaned.is_empty() {
            return self.shown(batch, None);
        }
        let look_up = async || {
            let types = self.keys.iter().map(|&key| batch.column(key).data_type().clone()).collect();
            Known::look_up(review, &self.lookups, types, context).await
        };
        let known = known.get_or_try_init(look_up).await?;
        if known.nothing_waits() {
            return self.shown(batch, None);
        }
        let rows = UInt32Array::from(orphaned.clone());
        let keys = self.keys.iter().map(|&key| Ok(take(batch.column(key), &rows, None)?));
        let verdicts = known.verdicts(review, &keys.collect::<Result<Vec<ArrayRef>>>()?)?;
        self.judged(batch, classes, review, orphaned.into_iter().zip(verdicts))
    }

    /// The batch with what its orphaned rows turned out to be.
    fn judged(
        &self,
        batch: &RecordBatch,
        classes: &StringArray,
        review: &Review,
        verdicts: impl Iterator<Item = (u32, Verdict)>,
    ) -> Result<RecordBatch> {
        let mut classes: Vec<Option<&str>> = classes.iter().collect();
        let mut keep = vec![true; batch.num_rows()];
        for (row, verdict) in verdicts {
            match verdict {
                Verdict::Orphaned => {}
                Verdict::Waits { passes: true } if review.include_pending => {
                    classes[row as usize] = Some(PENDING);
                }
                Verdict::Waits { .. } => keep[row as usize] = false,
            }
        }
        let classes: ArrayRef = Arc::new(StringArray::from(classes));
        let batch = self.shown(batch, Some(&classes))?;
        Ok(filter_record_batch(&batch, &BooleanArray::from(keep))?)
    }

    /// The columns that are given out, perhaps with other classes.
    fn shown(&self, batch: &RecordBatch, classes: Option<&ArrayRef>) -> Result<RecordBatch> {
        let column = |&index: &usize| match classes {
            Some(classes) if index == self.class => Arc::clone(classes),
            _ => Arc::clone(batch.column(index)),
        };
        let columns = self.output.iter().map(column).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?)
    }
}

/// The class of samples that nothing is expected of.
const ORPHANED: &str = "orphaned";
/// The class of those whose parents are not recomputed yet.
const PENDING: &str = "pending";

impl fmt::Debug for ReviewExec {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReviewExec").field("input", &self.input).finish_non_exhaustive()
    }
}

impl DisplayAs for ReviewExec {
    fn fmt_as(&self, t: DisplayFormatType, f: &mut Formatter<'_>) -> fmt::Result {
        let review = self.work.description.review.iter();
        let parents: Vec<String> =
            review.flat_map(Review::decisive).map(|parent| parent.feature.to_string()).collect();
        match t {
            DisplayFormatType::TreeRender => write!(f, "may_wait_for={}", parents.join(", ")),
            _ => write!(f, "ReviewExec: may_wait_for=[{}]", parents.join(", ")),
        }
    }
}

impl ExecutionPlan for ReviewExec {
    fn name(&self) -> &'static str {
        "ReviewExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
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
        let [input] = <[Arc<dyn ExecutionPlan>; 1]>::try_from(children)
            .map_err(|c| datafusion::common::internal_datafusion_err!("ReviewExec: {} inputs", c.len()))?;
        Ok(Arc::new(Self::over(input, Arc::clone(&self.work))))
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let input = self.input.execute(partition, Arc::clone(&context))?;
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let (work, known) = (Arc::clone(&self.work), Arc::clone(&self.known));
        let stream = input.and_then(move |batch| {
            let (work, known) = (Arc::clone(&work), Arc::clone(&known));
            let (context, metrics) = (Arc::clone(&context), metrics.clone());
            async move {
                let batch = work.review(&batch, &known, &context).await?;
                metrics.record_output(batch.num_rows());
                Ok(batch)
            }
        });
        let stream = stream.try_filter(|batch| futures::future::ready(batch.num_rows() > 0));
        Ok(Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.work.schema), stream.boxed())))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}
