//! The operator on top of an executor: rows pass through it, but for orphaned samples that turn out to wait. It also
//! adds reasons, if they are asked for.

use std::fmt::{self, Formatter};
use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
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

use super::lookup::Lookups;
use super::work::{Found, Work};
use crate::columns::{INCREMENT, PROVENANCE, PROVENANCE_BY_FIELD, REASON};
use crate::update::{Description, Review, orphan_key};

/// Looks up what orphaned samples wait for, once the first of them arrives.
pub(crate) struct ReviewExec {
    input: Arc<dyn ExecutionPlan>,
    work: Arc<Work>,
    /// What was looked up, for all partitions.
    found: Arc<Found>,
    metrics: ExecutionPlanMetricsSet,
    properties: Arc<PlanProperties>,
}

impl ReviewExec {
    /// The columns of an increment that the input must have, so that those in `wanted` can be given out.
    pub(crate) fn needs(description: &Description, wanted: &[String]) -> Vec<String> {
        let explains = wanted.iter().any(|name| name == REASON);
        let mut needed: Vec<String> = wanted.iter().filter(|name| *name != REASON).cloned().collect();
        let mut need = |name: String| {
            if !needed.contains(&name) {
                needed.push(name);
            }
        };
        need(INCREMENT.to_owned());
        for key in description.keys.iter().filter(|key| !wanted.contains(key)) {
            need(if explains { key.clone() } else { orphan_key(key) });
        }
        if explains {
            need(PROVENANCE_BY_FIELD.to_owned());
            need(PROVENANCE.to_owned());
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
        let work = Work::try_new(&input.schema(), description, lookups, schema)?;
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
            found: Arc::default(),
            metrics: ExecutionPlanMetricsSet::new(),
            properties: Arc::new(properties),
        }
    }
}

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
        let (work, found) = (Arc::clone(&self.work), Arc::clone(&self.found));
        let stream = input.and_then(move |batch| {
            let (work, found) = (Arc::clone(&work), Arc::clone(&found));
            let (context, metrics) = (Arc::clone(&context), metrics.clone());
            async move {
                let batch = work.review(&batch, &found, &context).await?;
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
