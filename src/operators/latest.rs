//! The physical operator that keeps the latest row of each id and drops it when that row is a deletion.
//!
//! A window function or an aggregate per column would sort or copy every column of every row. Here rows are
//! grouped by id once, and whole batches pass through untouched where no id occurs twice.

use std::fmt::{self, Formatter};
use std::sync::Arc;

use datafusion::arrow::array::{Array, AsArray, BooleanArray, BooleanBufferBuilder, RecordBatch};
use datafusion::arrow::buffer::BooleanBuffer;
use datafusion::arrow::compute::{SortOptions, cast, filter_record_batch};
use datafusion::arrow::datatypes::{DataType, Schema, TimeUnit, TimestampMicrosecondType, UInt64Type};
use datafusion::common::Result;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{
    EquivalenceProperties, LexOrdering, OrderingRequirements, PhysicalExpr, PhysicalSortExpr,
};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, Distribution, ExecutionPlan,
    ExecutionPlanProperties, InputDistributionRequirements, Partitioning, PlanProperties,
    ReplaceChildrenOptions,
};
use futures::{StreamExt, TryStreamExt};

use super::keys::Keys;
use super::latest_sorted::latest_of_sorted;
use super::numbers::Numbers;

/// Bytes that an id takes: its number in a table that is at least half full, and its best row.
const ID_SIZE: usize = 2 * size_of::<(u128, u32)>() + size_of::<Best>();

/// Where the operator finds what it needs in its input; all are column indices.
#[derive(Debug, Clone)]
pub struct LatestColumns {
    /// The columns that identify a sample, and, with feature history, the feature version.
    pub ids: Vec<usize>,
    /// Time of the write.
    pub updated_at: Option<usize>,
    /// Time of the deletion; NULL in live rows.
    pub deleted_at: Option<usize>,
    /// What decides between rows of one time.
    pub row_order: Option<usize>,
    /// TRUE in rows that count only where an id has no others, however late they are.
    pub behind: Option<usize>,
    /// The columns to give out, in order.
    pub output: Vec<usize>,
}

/// Keeps, per id, the row with the greatest `coalesce(deleted_at, updated_at)` (NULL is smallest; ties go to the
/// greater row order), and of these the live ones.
#[derive(Debug)]
pub struct LatestExec {
    input: Arc<dyn ExecutionPlan>,
    columns: LatestColumns,
    keep_deleted: bool,
    /// Whether the input is sorted by id, so that no more than one id has to be held.
    sorted: bool,
    metrics: ExecutionPlanMetricsSet,
    properties: Arc<PlanProperties>,
}

impl LatestExec {
    /// Builds the operator over `input`; with `keep_deleted` the latest row is kept even if it is a deletion.
    ///
    /// # Errors
    /// When an index is outside the input's schema.
    pub fn try_new(
        input: Arc<dyn ExecutionPlan>,
        columns: LatestColumns,
        keep_deleted: bool,
    ) -> Result<Self> {
        Self::build(input, columns, keep_deleted, false)
    }

    /// As [`try_new`](Self::try_new), over rows sorted by id: DataFusion's sort spills, this operator's tables can't.
    ///
    /// # Errors
    /// As [`try_new`](Self::try_new).
    pub fn try_new_sorted(
        input: Arc<dyn ExecutionPlan>,
        columns: LatestColumns,
        keep_deleted: bool,
    ) -> Result<Self> {
        Self::build(input, columns, keep_deleted, true)
    }

    fn build(
        input: Arc<dyn ExecutionPlan>,
        columns: LatestColumns,
        keep_deleted: bool,
        sorted: bool,
    ) -> Result<Self> {
        let schema = Arc::new(input.schema().project(&columns.output)?);
        let partitioning = output_partitioning(input.output_partitioning(), &columns, &schema);
        let mut equivalences = EquivalenceProperties::new(Arc::clone(&schema));
        if sorted {
            let ids =
                columns.ids.iter().map_while(|id| columns.output.iter().position(|column| column == id));
            equivalences
                .add_ordering(ids.map(|at| ascending(Arc::new(Column::new(schema.field(at).name(), at)))));
        }
        let emission = if sorted { EmissionType::Incremental } else { EmissionType::Final };
        let properties = PlanProperties::new(equivalences, partitioning, emission, Boundedness::Bounded);
        Ok(Self {
            input,
            columns,
            keep_deleted,
            sorted,
            metrics: ExecutionPlanMetricsSet::new(),
            properties: Arc::new(properties),
        })
    }

    /// What is reduced to its latest rows.
    pub fn input(&self) -> &Arc<dyn ExecutionPlan> {
        &self.input
    }

    /// Where the operator finds what it needs.
    pub fn columns(&self) -> &LatestColumns {
        &self.columns
    }

    /// Whether a latest row is kept even if it is a deletion.
    pub fn keeps_deleted(&self) -> bool {
        self.keep_deleted
    }

    fn id_exprs(&self) -> Vec<Arc<dyn PhysicalExpr>> {
        let schema = self.input.schema();
        self.columns
            .ids
            .iter()
            .map(|&i| Arc::new(Column::new(schema.field(i).name(), i)) as Arc<dyn PhysicalExpr>)
            .collect()
    }
}

/// The order in which DataFusion's sort-merge join wants its inputs.
fn ascending(column: Arc<dyn PhysicalExpr>) -> PhysicalSortExpr {
    PhysicalSortExpr::new(column, SortOptions::default())
}

/// Rows stay in their partition, so a hash partitioning on columns that are given out holds for the output too.
fn output_partitioning(input: &Partitioning, columns: &LatestColumns, schema: &Schema) -> Partitioning {
    if let Partitioning::Hash(exprs, count) = input {
        let moved: Option<Vec<Arc<dyn PhysicalExpr>>> = exprs
            .iter()
            .map(|expr| {
                let column = expr.downcast_ref::<Column>()?;
                let at = columns.output.iter().position(|&i| i == column.index())?;
                Some(Arc::new(Column::new(schema.field(at).name(), at)) as Arc<dyn PhysicalExpr>)
            })
            .collect();
        if let Some(moved) = moved {
            return Partitioning::Hash(moved, *count);
        }
    }
    Partitioning::UnknownPartitioning(input.partition_count())
}

impl DisplayAs for LatestExec {
    fn fmt_as(&self, t: DisplayFormatType, f: &mut Formatter<'_>) -> fmt::Result {
        let schema = self.input.schema();
        let ids = self.columns.ids.iter().map(|&i| schema.field(i).name().as_str()).collect::<Vec<_>>();
        match t {
            DisplayFormatType::TreeRender => write!(f, "by={}", ids.join(", ")),
            _ => {
                write!(f, "LatestExec: by=[{}]", ids.join(", "))?;
                if self.sorted { write!(f, ", sorted") } else { Ok(()) }
            }
        }
    }
}

impl ExecutionPlan for LatestExec {
    fn name(&self) -> &'static str {
        "LatestExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        InputDistributionRequirements::new(vec![Distribution::KeyPartitioned(self.id_exprs())])
    }

    fn required_input_ordering(&self) -> Vec<Option<OrderingRequirements>> {
        let order = LexOrdering::new(self.id_exprs().into_iter().map(ascending)).filter(|_| self.sorted);
        vec![order.map(|order| OrderingRequirements::new(order.into()))]
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        for expr in self.id_exprs() {
            f(&expr)?;
        }
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let [input] = <[Arc<dyn ExecutionPlan>; 1]>::try_from(children)
            .map_err(|c| datafusion::common::internal_datafusion_err!("LatestExec: {} inputs", c.len()))?;
        Ok(Arc::new(Self::build(input, self.columns.clone(), self.keep_deleted, self.sorted)?))
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let input = self.input.execute(partition, Arc::clone(&context))?;
        let reservation =
            MemoryConsumer::new(format!("LatestExec[{partition}]")).register(context.memory_pool());
        if self.sorted {
            let metrics = BaselineMetrics::new(&self.metrics, partition);
            let (ids, columns) = (self.id_exprs(), self.columns.clone());
            let stream = latest_of_sorted(input, ids, columns, self.keep_deleted, reservation, metrics);
            return Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), stream)));
        }
        let state = Latest {
            columns: self.columns.clone(),
            keep_deleted: self.keep_deleted,
            keys: Keys::new(),
            numbers: Numbers::default(),
            best: Vec::new(),
            batches: Vec::new(),
            reservation,
            metrics: BaselineMetrics::new(&self.metrics, partition),
        };
        let stream = futures::stream::once(state.run(input)).try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), stream)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}

/// The best row of an id so far.
#[derive(Clone, Copy)]
struct Best {
    time: i64,
    order: u64,
    batch: u32,
    row: u32,
}

/// A batch that waits for the end of the input.
struct Held {
    rows: RecordBatch,
    /// Rows that may be given out; `None` while that is all of them.
    keep: Option<BooleanBufferBuilder>,
}

impl Held {
    fn drop_row(&mut self, row: u32) {
        let rows = self.rows.num_rows();
        let keep = self.keep.get_or_insert_with(|| {
            let mut all = BooleanBufferBuilder::new(rows);
            all.append_n(rows, true);
            all
        });
        keep.set_bit(row as usize, false);
    }
}

struct Latest {
    columns: LatestColumns,
    keep_deleted: bool,
    keys: Keys,
    numbers: Numbers,
    best: Vec<Best>,
    batches: Vec<Held>,
    reservation: MemoryReservation,
    metrics: BaselineMetrics,
}

impl Latest {
    async fn run(
        mut self,
        mut input: SendableRecordBatchStream,
    ) -> Result<futures::stream::BoxStream<'static, Result<RecordBatch>>> {
        while let Some(batch) = input.next().await.transpose()? {
            let timer = self.metrics.elapsed_compute().clone();
            let _timer = timer.timer();
            self.add(&batch)?;
        }
        drop(input);
        let Self { batches, reservation, metrics, .. } = self;
        let stream = futures::stream::iter(batches).map(move |held| {
            // The reservation lives as long as the batches do.
            let _held = &reservation;
            let rows = match held.keep {
                None => held.rows,
                Some(mut keep) => filter_record_batch(&held.rows, &BooleanArray::new(keep.finish(), None))?,
            };
            metrics.record_output(rows.num_rows());
            Ok(rows)
        });
        Ok(stream.try_filter(|rows| futures::future::ready(rows.num_rows() > 0)).boxed())
    }

    fn add(&mut self, batch: &RecordBatch) -> Result<()> {
        let ids: Vec<_> = self.columns.ids.iter().map(|&i| Arc::clone(batch.column(i))).collect();
        let keys = self.keys.of(&ids)?;
        let known = self.numbers.len();
        let times = latest_times(batch, &self.columns)?;
        let orders = match self.columns.row_order {
            Some(i) => batch.column(i).as_primitive_opt::<UInt64Type>().cloned(),
            None => None,
        };
        let rows = batch.project(&self.columns.output)?;
        self.reservation.try_grow(rows.get_array_memory_size())?;
        let at = self.batches.len() as u32;
        let mut held = Held { rows, keep: None };
        if !self.keep_deleted
            && let Some(i) = self.columns.deleted_at
            && batch.column(i).null_count() < batch.num_rows()
        {
            let live = match batch.column(i).nulls() {
                Some(nulls) => !nulls.inner(),
                None => BooleanBuffer::new_unset(batch.num_rows()),
            };
            let mut keep = BooleanBufferBuilder::new(live.len());
            keep.append_buffer(&live);
            held.keep = Some(keep);
        }
        self.batches.push(held);
        for (row, key) in keys.into_iter().enumerate() {
            let candidate = Best {
                time: times.as_ref().map_or(i64::MIN, |t| t[row]),
                order: orders.as_ref().map_or(0, |o| o.value(row)),
                batch: at,
                row: row as u32,
            };
            let number = self.numbers.number(key) as usize;
            let Some(best) = self.best.get_mut(number) else {
                self.best.push(candidate);
                continue;
            };
            let loser = if (candidate.time, candidate.order) >= (best.time, best.order) {
                std::mem::replace(best, candidate)
            } else {
                candidate
            };
            self.batches[loser.batch as usize].drop_row(loser.row);
        }
        self.reservation.try_grow((self.numbers.len() - known) * ID_SIZE)
    }
}

/// `coalesce(deleted_at, updated_at)` of each row in microseconds, NULL as the smallest number, and rows that are behind
/// others before the times of all others; `None` when no row has a time.
pub(crate) fn latest_times(batch: &RecordBatch, columns: &LatestColumns) -> Result<Option<Vec<i64>>> {
    let mut times: Option<Vec<i64>> = None;
    for index in [columns.updated_at, columns.deleted_at].into_iter().flatten() {
        let column = batch.column(index);
        if column.null_count() == column.len() {
            continue;
        }
        let micros = cast(column, &DataType::Timestamp(TimeUnit::Microsecond, None))?;
        let micros = micros.as_primitive::<TimestampMicrosecondType>();
        match &mut times {
            None => times = Some(micros.iter().map(|t| t.unwrap_or(i64::MIN)).collect()),
            Some(times) => {
                for (time, value) in times.iter_mut().zip(micros.iter()) {
                    if let Some(value) = value {
                        *time = value;
                    }
                }
            }
        }
    }
    if let Some(index) = columns.behind {
        let behind = batch.column(index).as_boolean();
        let times = times.get_or_insert_with(|| vec![i64::MIN; batch.num_rows()]);
        for (row, time) in times.iter_mut().enumerate() {
            let clamped = (*time).clamp(-FAR, FAR);
            *time = if behind.value(row) { clamped - 2 * FAR } else { clamped };
        }
    }
    Ok(times)
}

/// Microseconds from which on a time is as good as any other: some 70,000 years.
const FAR: i64 = 1 << 61;
