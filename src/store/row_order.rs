//! The physical operator that numbers rows of files: file modification time, file path, then row position.

use std::collections::HashMap;
use std::fmt::{self, Formatter};
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt64Array};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, internal_datafusion_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties,
    Partitioning, PlanProperties, ReplaceChildrenOptions,
};
use futures::StreamExt;

use crate::columns::ROW_ORDER;

/// Bits of the row order that hold the position within a file.
const POSITION_BITS: u32 = 40;

/// The rank of each file of a table, by the path that the scan reports for it.
pub(crate) type FileRanks = HashMap<String, u64>;

/// Replaces the scan's last column, the file path, by the row order.
///
/// Its input must read each file in one piece, which is why it asks not to be given more partitions.
#[derive(Debug)]
pub(crate) struct RowOrderExec {
    input: Arc<dyn ExecutionPlan>,
    ranks: Arc<FileRanks>,
    properties: Arc<PlanProperties>,
}

impl RowOrderExec {
    pub(crate) fn new(input: Arc<dyn ExecutionPlan>, ranks: Arc<FileRanks>) -> Self {
        let mut fields: Vec<_> = input.schema().fields().iter().cloned().collect();
        fields.pop();
        fields.push(Arc::new(Field::new(ROW_ORDER, DataType::UInt64, false)));
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::new(Schema::new(fields))),
            Partitioning::UnknownPartitioning(input.output_partitioning().partition_count()),
            input.pipeline_behavior(),
            input.boundedness(),
        );
        Self { input, ranks, properties: Arc::new(properties) }
    }
}

impl DisplayAs for RowOrderExec {
    fn fmt_as(&self, t: DisplayFormatType, f: &mut Formatter<'_>) -> fmt::Result {
        match t {
            DisplayFormatType::TreeRender => write!(f, "files={}", self.ranks.len()),
            _ => write!(f, "RowOrderExec: files={}", self.ranks.len()),
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
        vec![&self.input]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
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
        mut children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let input = children.pop().ok_or_else(|| internal_datafusion_err!("RowOrderExec needs an input"))?;
        Ok(Arc::new(Self::new(input, Arc::clone(&self.ranks))))
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let input = self.input.execute(partition, context)?;
        let schema = self.schema();
        let mut numbering = Numbering { ranks: Arc::clone(&self.ranks), next: HashMap::new() };
        let out = Arc::clone(&schema);
        let stream = input.map(move |batch| numbering.number(&batch?, &out));
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, stream)))
    }
}

struct Numbering {
    ranks: Arc<FileRanks>,
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
            orders.push((rank << POSITION_BITS) | *next);
            *next += 1;
        }
        Ok(Arc::new(UInt64Array::from(orders)))
    }
}
