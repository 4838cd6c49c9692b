//! Reading the files of a feature in a Parquet store as a table.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{DFSchema, Result, ScalarValue, exec_datafusion_err};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{
    FileGroup, FileScanConfigBuilder, ParquetSource, wrap_partition_type_in_dict,
    wrap_partition_value_in_dict,
};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{CastExpr, Column};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::projection::ProjectionExec;

use super::delta_schema::merge;
use super::parquet_damage::NamedErrorsExec;
use super::parquet_folder::{Files, ParquetFolder};
use super::row_order::{FILE_COLUMN, FileRanks, RowOrderExec, in_order};
use crate::boxed::{self, BoxFuture};
use crate::columns::ROW_ORDER;

/// All rows of a folder, with their row order as a last column.
#[derive(Debug)]
pub(crate) struct ParquetRows {
    folder: ParquetFolder,
    /// The files' columns when the folder was opened, and the row order.
    schema: SchemaRef,
    /// The files to read instead of those that are there at the scan.
    pinned: Option<Arc<Files>>,
}

impl ParquetRows {
    /// A table with these columns.
    pub(crate) fn new(folder: ParquetFolder, columns: &Schema) -> Self {
        let mut fields: Vec<_> = columns.fields().iter().cloned().collect();
        fields.push(Arc::new(Field::new(ROW_ORDER, DataType::UInt64, false)));
        Self { folder, schema: Arc::new(Schema::new(fields)), pinned: None }
    }

    /// The rows of these files, whatever comes later.
    pub(crate) fn pinned(self, files: Arc<Files>) -> Self {
        Self { pinned: Some(files), ..self }
    }

    /// The columns of the files as they are now; those that a file lacks are NULL in its rows.
    fn columns(&self, files: &Files) -> Result<SchemaRef> {
        let opened = Schema::new(self.schema.fields()[..self.schema.fields().len() - 1].to_vec());
        let merged = merge(files.schema(), &opened);
        let merged = merged.map_err(|reason| self.folder.error("", &reason))?;
        Ok(Arc::new(merged.unwrap_or_else(|| files.schema().clone())))
    }

    /// Reads the columns at `indices` of the files' columns and the file of each row.
    fn read(
        &self,
        state: &dyn Session,
        files: &Files,
        columns: &SchemaRef,
        indices: Vec<usize>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let objects = &self.folder.objects;
        if state.runtime_env().object_store(&objects.url).is_err() {
            state.runtime_env().register_object_store(objects.url.as_ref(), Arc::clone(&objects.store));
        }
        let file_column = Field::new(FILE_COLUMN, wrap_partition_type_in_dict(DataType::Utf8), false);
        let table = TableSchema::builder(Arc::clone(columns))
            .with_table_partition_cols(vec![Arc::new(file_column)])
            .build();
        let mut source = ParquetSource::new(table)
            .with_table_parquet_options(state.default_table_options().parquet)
            .with_parquet_file_reader_factory(Arc::new(objects.reader()));
        if let Some(predicate) = predicate(state, columns, filters)? {
            source = source.with_predicate(predicate);
        }
        let parts = files.files.iter().map(|file| {
            let name = ScalarValue::from(file.meta.location.as_ref());
            PartitionedFile::new_from_meta(file.meta.clone())
                .with_partition_values(vec![wrap_partition_value_in_dict(name)])
        });
        let groups = parts.collect::<FileGroup>().split_files(state.config().target_partitions());
        let config = FileScanConfigBuilder::new(objects.url.clone(), Arc::new(source))
            .with_file_groups(groups)
            .with_limit(limit)
            .with_projection_indices(Some(indices))?
            .build();
        let scan = in_pieces(DataSourceExec::from_data_source(config), state)?;
        Ok(Arc::new(NamedErrorsExec::new(scan, self.folder.clone(), files)))
    }
}

#[async_trait]
impl TableProvider for ParquetRows {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    boxed::scan!(planned);
}

impl ParquetRows {
    /// Reads the files that are there now, not those that were there when the folder was opened: a view that was made
    /// earlier must not miss later writes.
    fn planned<'a>(
        &'a self,
        state: &'a dyn Session,
        projection: Option<&'a Vec<usize>>,
        filters: &'a [Expr],
        limit: Option<usize>,
    ) -> BoxFuture<'a, Result<Arc<dyn ExecutionPlan>>> {
        Box::pin(async move {
            let files = match &self.pinned {
                Some(files) => Arc::clone(files),
                None => Arc::new(self.folder.files().await?),
            };
            let all: Vec<usize> = (0..self.schema.fields().len()).collect();
            let projection = projection.unwrap_or(&all);
            let wanted = Arc::new(self.schema.project(projection)?);
            if files.is_empty() {
                return Ok(Arc::new(EmptyExec::new(wanted)) as Arc<dyn ExecutionPlan>);
            }
            let columns = self.columns(&files)?;
            let order = self.schema.fields().len() - 1;
            let mut indices = projection
                .iter()
                .filter(|&&i| i != order)
                .map(|&i| Ok(columns.index_of(self.schema.field(i).name())?))
                .collect::<Result<Vec<_>>>()?;
            if !projection.contains(&order) {
                let limit = limit.filter(|_| filters.is_empty());
                return as_opened(self.read(state, &files, &columns, indices, filters, limit)?, &wanted);
            }
            indices.push(columns.fields().len());
            let scan = self.read(state, &files, &columns, indices, filters, None)?;
            let numbered = RowOrderExec::try_new(scan, ranks(&files), state.config_options())?;
            as_opened(in_order(Arc::new(numbered), projection, order)?, &wanted)
        })
    }
}

/// The conditions on columns of the files, by which parts of them are left out; all are applied above once more.
fn predicate(
    state: &dyn Session,
    columns: &Schema,
    filters: &[Expr],
) -> Result<Option<Arc<dyn PhysicalExpr>>> {
    let known = |filter: &&Expr| filter.column_refs().iter().all(|c| columns.index_of(&c.name).is_ok());
    let Some(condition) = conjunction(filters.iter().filter(known).cloned()) else {
        return Ok(None);
    };
    Ok(Some(state.create_physical_expr(condition, &DFSchema::try_from(columns.clone())?)?))
}

/// Lets several partitions read pieces of a large file: the optimizer leaves the scan as it is.
fn in_pieces(scan: Arc<dyn ExecutionPlan>, state: &dyn Session) -> Result<Arc<dyn ExecutionPlan>> {
    let options = state.config_options();
    if !options.optimizer.repartition_file_scans {
        return Ok(scan);
    }
    Ok(scan.repartitioned(options.execution.target_partitions, options)?.unwrap_or(scan))
}

/// The files' ranks, in the order in which they are listed.
fn ranks(files: &Files) -> FileRanks {
    let names = files.files.iter().map(|file| file.meta.location.to_string());
    names.zip(0..).collect()
}

/// The columns in the types that they had when the folder was opened: structs may have more members since.
fn as_opened(plan: Arc<dyn ExecutionPlan>, wanted: &SchemaRef) -> Result<Arc<dyn ExecutionPlan>> {
    let schema = plan.schema();
    if schema.fields().len() != wanted.fields().len() {
        return Err(exec_datafusion_err!(
            "a scan gave {} columns, not {}",
            schema.fields().len(),
            wanted.fields().len()
        ));
    }
    let same = |(have, want): (&Arc<Field>, &Arc<Field>)| have.data_type() == want.data_type();
    if schema.fields().iter().zip(wanted.fields()).all(same) {
        return Ok(plan);
    }
    let columns = schema.fields().iter().zip(wanted.fields()).enumerate().map(|(at, (have, want))| {
        let column: Arc<dyn PhysicalExpr> = Arc::new(Column::new(have.name(), at));
        let column = if have.data_type() == want.data_type() {
            column
        } else {
            Arc::new(CastExpr::new(column, want.data_type().clone(), None))
        };
        (column, want.name().clone())
    });
    Ok(Arc::new(ProjectionExec::try_new(columns.collect::<Vec<_>>(), Arc::clone(&plan))?)
        as Arc<dyn ExecutionPlan>)
}
