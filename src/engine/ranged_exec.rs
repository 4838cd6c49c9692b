//! The in-memory executor over large tables: a range of keys after another, on each core.
//!
//! So memory is needed for the rows of a few ranges, however many there are, and what is known of a range stays where
//! the processor finds it soon.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::compute::concat_batches;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::metrics::{
    BaselineMetrics, Count, ExecutionPlanMetricsSet, MetricBuilder, MetricsSet,
};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties,
    PlanProperties, ReplaceChildrenOptions,
};
use futures::future::BoxFuture;
use futures::{StreamExt, TryStreamExt};

use super::ranges::Ranges;
use crate::memory::{Follow, columns_of};
use crate::operators::compact;
use crate::records::KEYS;

/// Plans a range, in one partition: the columns that are asked for, then the others of the key.
type PlanOfRange = dyn Fn(usize) -> BoxFuture<'static, Result<Arc<dyn ExecutionPlan>>> + Send + Sync;

/// Runs the plans of all ranges.
pub(super) struct RangedExec {
    /// What all of them do; it is shown, and not run.
    whole: Arc<dyn ExecutionPlan>,
    ranges: Ranges,
    plan: Arc<PlanOfRange>,
    follow: Option<Follow>,
    /// The keys that each partition has found once it has come to its end; `None` in place of too many.
    found: Arc<Mutex<Vec<Option<Found>>>>,
    metrics: ExecutionPlanMetricsSet,
    properties: Arc<PlanProperties>,
}

type Found = Option<RecordBatch>;

impl RangedExec {
    /// `whole` does in one go what `plan` does for each range.
    pub(super) fn new(
        whole: Arc<dyn ExecutionPlan>,
        ranges: Ranges,
        plan: Arc<PlanOfRange>,
        follow: Option<Follow>,
    ) -> Self {
        let properties = Arc::clone(whole.properties());
        let metrics = ExecutionPlanMetricsSet::new();
        let found = Arc::new(Mutex::new(vec![None; properties.partitioning.partition_count()]));
        Self { whole, ranges, plan, follow, found, metrics, properties }
    }

    /// The ranges of a partition: neighbours, so that an answer that is in order is written in order.
    fn of_partition(&self, partition: usize) -> std::ops::Range<usize> {
        let (ranges, partitions) = (self.ranges.count(), self.found_by().max(1));
        ranges * partition / partitions..ranges * (partition + 1) / partitions
    }

    fn found_by(&self) -> usize {
        self.whole.output_partitioning().partition_count()
    }
}

/// What a partition finds.
struct Noted {
    follow: Follow,
    partition: usize,
    /// `None` once there are too many.
    keys: Option<Vec<RecordBatch>>,
    rows: usize,
    found: Arc<Mutex<Vec<Option<Found>>>>,
}

impl Noted {
    fn add(&mut self, batch: &RecordBatch) -> Result<()> {
        self.rows += batch.num_rows();
        if self.rows > KEYS {
            self.keys = None;
        }
        if let Some(keys) = &mut self.keys {
            keys.push(compact(&columns_of(batch, &self.follow.keys)?)?);
        }
        Ok(())
    }

    /// All rows of the partition have come.
    fn end(self) -> Result<()> {
        let keys = self.keys.map(|keys| concat_batches(&self.follow.keys, &keys)).transpose()?;
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        found[self.partition] = Some(keys);
        // The tables are those of one moment, so it is one answer, whenever its parts were worked out.
        let parts: Option<Option<Vec<RecordBatch>>> = found.iter().cloned().collect();
        drop(found);
        if let Some(Some(parts)) = parts {
            (self.follow.found)(concat_batches(&self.follow.keys, &parts)?);
        }
        Ok(())
    }
}

impl fmt::Debug for RangedExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RangedExec").field("ranges", &self.ranges).finish_non_exhaustive()
    }
}

impl DisplayAs for RangedExec {
    fn fmt_as(&self, t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (count, column) = (self.ranges.count(), self.ranges.column());
        match t {
            DisplayFormatType::TreeRender => write!(f, "ranges={count}\nby={column}"),
            _ => write!(f, "RangedExec: ranges={count}, by={column}"),
        }
    }
}

impl ExecutionPlan for RangedExec {
    fn name(&self) -> &'static str {
        "RangedExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.whole]
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
        let Ok([whole]) = <[Arc<dyn ExecutionPlan>; 1]>::try_from(children) else {
            return internal_err!("RangedExec has one input");
        };
        Ok(Arc::new(Self::new(whole, self.ranges.clone(), Arc::clone(&self.plan), self.follow.clone())))
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let done: Count = MetricBuilder::new(&self.metrics).counter("ranges_done", partition);
        let noted = self.follow.clone().map(|follow| Noted {
            follow,
            partition,
            keys: Some(Vec::new()),
            rows: 0,
            found: Arc::clone(&self.found),
        });
        let shown: Vec<usize> = (0..self.schema().fields().len()).collect();
        let mut ranges = self.of_partition(partition);
        let plan = Arc::clone(&self.plan);
        let state = (None::<SendableRecordBatchStream>, noted);
        let stream = futures::stream::try_unfold(state, move |(mut rows, mut noted)| {
            let next = if rows.is_none() { ranges.next() } else { None };
            let (plan, context, shown) = (Arc::clone(&plan), Arc::clone(&context), shown.clone());
            let (metrics, done) = (metrics.clone(), done.clone());
            async move {
                if let Some(range) = next {
                    rows = Some(plan(range).await?.execute(0, context)?);
                }
                let Some(mut of_range) = rows else {
                    noted.map(Noted::end).transpose()?;
                    return Ok(None);
                };
                let Some(batch) = of_range.try_next().await? else {
                    done.add(1);
                    return Ok(Some((None, (None, noted))));
                };
                if let Some(noted) = &mut noted {
                    noted.add(&batch)?;
                }
                let batch = batch.project(&shown)?;
                metrics.record_output(batch.num_rows());
                Ok(Some((Some(batch), (Some(of_range), noted))))
            }
        });
        let stream = stream.try_filter_map(futures::future::ok).boxed();
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), stream)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}
