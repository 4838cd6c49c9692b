//! The physical operator that numbers rows of files: file modification time, file path, then row position.

use std::collections::HashMap;
use std::fmt::{self, Formatter};
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt64Array};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, internal_datafusion_err};
use datafusion::config::ConfigOptions;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::ensure_requirements::EnsureRequirements;
use datafusion::physical_plan::metrics::MetricsSet;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, Partitioning, PlanProperties,
    ReplaceChildrenOptions,
};
use futures::StreamExt;

use crate::columns::ROW_ORDER;

/// Name under which a scan reports the file of each row, before it becomes the row order.
pub(crate) const FILE_COLUMN: &str = "__metaxy_file";

/// Bits of the row order for the position within a file's piece.
const POSITION_BITS: u32 = 32;
/// Bits for the partition, that is for the piece of the file.
const PARTITION_BITS: u32 = 12;
/// Files that can be told apart; rows of later ones share the last rank.
pub(crate) const MOST_FILES: u64 = (1 << (64 - POSITION_BITS - PARTITION_BITS)) - 1;

/// The rank of the file, and the position in it, of a row that was read in one partition.
pub(crate) fn file_and_position(order: u64) -> (usize, u64) {
    let rank = order >> (POSITION_BITS + PARTITION_BITS);
    (usize::try_from(rank).unwrap_or(usize::MAX), order & ((1 << POSITION_BITS) - 1))
}

/// The number of the first row of the file of this rank, in one partition.
pub(crate) fn first_of_file(rank: usize) -> u64 {
    (rank as u64) << (POSITION_BITS + PARTITION_BITS)
}

/// The rank of each file of a table, by the path that the scan reports for it.
pub(crate) type FileRanks = HashMap<String, u64>;

/// Replaces the scan's last column, the file path, by the row order.
///
/// The position of a row is known as long as each partition reads its pieces of files from front to back, and
/// pieces of one file are in partitions in their order. So the scan under this operator is planned here and not
/// shown to the optimizer, which would spread its batches over partitions.
#[derive(Debug)]
pub(crate) struct RowOrderExec {
    scan: Arc<dyn ExecutionPlan>,
    ranks: Arc<FileRanks>,
    properties: Arc<PlanProperties>,
}

impl RowOrderExec {
    /// Numbers the rows of `scan`.
    ///
    /// # Errors
    /// When the scan can't be planned.
    pub(crate) fn try_new(
        scan: Arc<dyn ExecutionPlan>,
        ranks: FileRanks,
        options: &ConfigOptions,
    ) -> Result<Self> {
        let scan = in_file_order(scan, options)?;
        let mut fields: Vec<_> = scan.schema().fields().iter().cloned().collect();
        fields.pop();
        fields.push(Arc::new(Field::new(ROW_ORDER, DataType::UInt64, false)));
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::new(Schema::new(fields))),
            Partitioning::UnknownPartitioning(scan.output_partitioning().partition_count()),
            scan.pipeline_behavior(),
            scan.boundedness(),
        );
        Ok(Self { scan, ranks: Arc::new(ranks), properties: Arc::new(properties) })
    }
}

/// Lets partitions read only what they were given, and files be cut into pieces only in order.
fn in_file_order(scan: Arc<dyn ExecutionPlan>, options: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
    let scan = scan
        .transform_up(|node| {
            let ordered = if node.children().is_empty() { node.with_preserve_order(true) } else { None };
            Ok(ordered.map_or_else(|| Transformed::no(node), Transformed::yes))
        })?
        .data;
    let mut options = options.clone();
    options.optimizer.enable_round_robin_repartition = false;
    EnsureRequirements::new().optimize(scan, &options)
}

/// Moves the row order, which comes last, to where the projection wants it.
pub(crate) fn in_order(
    plan: Arc<dyn ExecutionPlan>,
    projection: &[usize],
    order: usize,
) -> Result<Arc<dyn ExecutionPlan>> {
    if projection.last() == Some(&order) {
        return Ok(plan);
    }
    let last = projection.len() - 1;
    let mut next = 0;
    let schema = plan.schema();
    let exprs: Vec<(Arc<dyn PhysicalExpr>, String)> = projection
        .iter()
        .map(|&i| {
            let at = if i == order {
                last
            } else {
                next += 1;
                next - 1
            };
            let name = schema.field(at).name().clone();
            (Arc::new(Column::new(&name, at)) as _, name)
        })
        .collect();
    Ok(Arc::new(ProjectionExec::try_new(exprs, plan)?))
}

/// The operator that reads the files, for EXPLAIN.
fn reader(plan: &Arc<dyn ExecutionPlan>) -> &Arc<dyn ExecutionPlan> {
    plan.children().first().map_or(plan, |child| reader(child))
}

impl DisplayAs for RowOrderExec {
    fn fmt_as(&self, t: DisplayFormatType, f: &mut Formatter<'_>) -> fmt::Result {
        match t {
            DisplayFormatType::TreeRender => write!(f, "files={}", self.ranks.len()),
            _ => {
                write!(f, "RowOrderExec: files={}, reads=[", self.ranks.len())?;
                reader(&self.scan).fmt_as(t, f)?;
                write!(f, "]")
            }
        }
    }
}

impl ExecutionPlan for RowOrderExec {
    fn name(&self) -> &'static str {
        "RowOrderExec"
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
        _children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn with_new_children(
        self: Arc<Self>,
        _children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn metrics(&self) -> Option<MetricsSet> {
        reader(&self.scan).metrics()
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let input = self.scan.execute(partition, context)?;
        let schema = self.schema();
        let mut numbering =
            Numbering { ranks: Arc::clone(&self.ranks), partition: partition as u64, next: HashMap::new() };
        let out = Arc::clone(&schema);
        let stream = input.map(move |batch| numbering.number(&batch?, &out));
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, stream)))
    }
}

struct Numbering {
    ranks: Arc<FileRanks>,
    partition: u64,
    next: HashMap<u64, u64>,
}

impl Numbering {
    fn number(&mut self, batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
        let mut columns = batch.columns().to_vec();
        let files = columns.pop().ok_or_else(|| internal_datafusion_err!("RowOrderExec: no file column"))?;
        columns.push(self.orders(&files)?);
        Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
    }

    fn orders(&mut self, files: &ArrayRef) -> Result<ArrayRef> {
        let (keys, paths) = match files.as_any_dictionary_opt() {
            Some(dictionary) => (Some(dictionary.normalized_keys()), Arc::clone(dictionary.values())),
            None => (None, Arc::clone(files)),
        };
        let paths = cast(&paths, &DataType::Utf8)?;
        let ranks = paths
            .as_string::<i32>()
            .iter()
            .map(|path| {
                let path = path.unwrap_or_default();
                self.ranks.get(path).copied().ok_or_else(|| internal_datafusion_err!("unknown file {path}"))
            })
            .collect::<Result<Vec<u64>>>()?;
        let mut orders = Vec::with_capacity(files.len());
        for row in 0..files.len() {
            let rank = ranks[keys.as_ref().map_or(row, |keys| keys[row])];
            let next = self.next.entry(rank).or_default();
            let piece = (rank.min(MOST_FILES) << PARTITION_BITS) | self.partition;
            orders.push((piece << POSITION_BITS) | *next);
            *next += 1;
        }
        Ok(Arc::new(UInt64Array::from(orders)))
    }
}
