//! The physical operator that says which Parquet file is damaged, as the reader's own errors don't.

use std::fmt::{self, Formatter};
use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result, internal_datafusion_err};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::ParquetFileReaderFactory;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::parquet::arrow::ProjectionMask;
use datafusion::parquet::arrow::async_reader::{AsyncFileReader, ParquetRecordBatchStreamBuilder};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties,
    ReplaceChildrenOptions,
};
use futures::TryStreamExt;
use object_store::ObjectMeta;

use super::objects::said;
use super::parquet_folder::{Files, ParquetFolder};

/// Passes on what a scan reads; when that fails, looks for the file that can't be read.
#[derive(Debug, Clone)]
pub(crate) struct NamedErrorsExec {
    scan: Arc<dyn ExecutionPlan>,
    folder: ParquetFolder,
    files: Arc<Vec<ObjectMeta>>,
}

impl NamedErrorsExec {
    /// The scan reads these files.
    pub(crate) fn new(scan: Arc<dyn ExecutionPlan>, folder: ParquetFolder, files: &Files) -> Self {
        let files = files.files.iter().map(|file| file.meta.clone()).collect();
        Self { scan, folder, files: Arc::new(files) }
    }

    /// The error with the file that causes it. An error that no file causes stays as it is.
    async fn named(self, error: DataFusionError) -> DataFusionError {
        if let Some(reason) = said(&error) {
            return self.folder.error("", &reason).into();
        }
        for file in self.files.iter() {
            if let Err(damage) = read_all(&self.folder, file.clone(), &self.scan.schema()).await {
                let name = file.location.filename().unwrap_or_default();
                if self.folder.is_gone(&file.location).await {
                    let reason = "the file was removed while it was read, by a delete or by another program; \
                                  run the statement again";
                    return self.folder.overtaken(name, reason).into();
                }
                let damage = damage.strip_backtrace();
                let reason = format!("the file is damaged, put a whole copy in its place: {damage}");
                return self.folder.error(name, &reason).into();
            }
        }
        error
    }
}

/// Reads the columns of a file that the scan reads.
async fn read_all(folder: &ParquetFolder, file: ObjectMeta, columns: &SchemaRef) -> Result<()> {
    let metrics = ExecutionPlanMetricsSet::new();
    let file = PartitionedFile::new_from_meta(file);
    let reader: Box<dyn AsyncFileReader> = folder.objects.reader().create_reader(0, file, None, &metrics)?;
    let builder = ParquetRecordBatchStreamBuilder::new(reader).await?;
    let wanted = columns.fields().iter().map(|field| field.name().as_str());
    let roots = builder.parquet_schema().root_schema().get_fields().iter();
    let indices: Vec<usize> = roots
        .enumerate()
        .filter(|(_, root)| wanted.clone().any(|name| name == root.name()))
        .map(|(index, _)| index)
        .collect();
    let mask = ProjectionMask::roots(builder.parquet_schema(), indices);
    builder.with_projection(mask).build()?.try_for_each(|_| async { Ok(()) }).await?;
    Ok(())
}

impl DisplayAs for NamedErrorsExec {
    fn fmt_as(&self, t: DisplayFormatType, f: &mut Formatter<'_>) -> fmt::Result {
        match t {
            DisplayFormatType::TreeRender => write!(f, "files={}", self.files.len()),
            _ => write!(f, "NamedErrorsExec: files={}", self.files.len()),
        }
    }
}

impl ExecutionPlan for NamedErrorsExec {
    fn name(&self) -> &'static str {
        "NamedErrorsExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.scan.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.scan]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    /// The scan is in as many pieces as it should be already.
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
        let [scan] = <[Arc<dyn ExecutionPlan>; 1]>::try_from(children)
            .map_err(|c| internal_datafusion_err!("NamedErrorsExec: {} inputs", c.len()))?;
        Ok(Arc::new(Self { scan, ..self.as_ref().clone() }))
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let input = self.scan.execute(partition, context)?;
        let this = self.clone();
        let stream = input.or_else(move |error| {
            let this = this.clone();
            async move { Err(this.named(error).await) }
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), stream)))
    }
}
