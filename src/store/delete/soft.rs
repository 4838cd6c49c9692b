//! Soft deletes: rows are written again, with the time of their end.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result as DataFusionResult;
use datafusion::datasource::sink::{DataSink, DataSinkExec};
use datafusion::error::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::dml::InsertOp;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan};

use crate::model::FeatureDefinition;
use crate::store::transfer::stored_rows;
use crate::store::{Append, FeatureTable, Store, WriteTime};

/// Where the rows of a soft delete go.
#[derive(Clone)]
pub(super) struct SoftDelete {
    store: Arc<Store>,
    definition: Arc<FeatureDefinition>,
    schema: SchemaRef,
    write_key: Option<String>,
}

impl SoftDelete {
    pub(super) fn new(table: &FeatureTable, write_key: Option<String>) -> Self {
        Self {
            store: Arc::clone(table.store()),
            definition: Arc::clone(table.definition()),
            schema: table.schema(),
            write_key,
        }
    }
}

impl fmt::Debug for SoftDelete {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SoftDelete({})", self.definition.key())
    }
}

impl DisplayAs for SoftDelete {
    fn fmt_as(&self, t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match t {
            DisplayFormatType::TreeRender => write!(f, "soft delete={}", self.definition.key()),
            _ => write!(f, "SoftDelete: feature={}, store={}", self.definition.key(), self.store.name()),
        }
    }
}

#[async_trait]
impl TableProvider for SoftDelete {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        _projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        Err(DataFusionError::Internal("a soft delete is only written to".into()))
    }

    async fn insert_into(
        &self,
        _state: &dyn Session,
        input: Arc<dyn ExecutionPlan>,
        _insert_op: InsertOp,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let sink = Self { schema: input.schema(), ..self.clone() };
        Ok(Arc::new(DataSinkExec::new(input, Arc::new(sink), None)))
    }
}

#[async_trait]
impl DataSink for SoftDelete {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    async fn write_all(
        &self,
        data: SendableRecordBatchStream,
        _context: &Arc<TaskContext>,
    ) -> DataFusionResult<u64> {
        let (schema, rows) = stored_rows(data);
        let append = Append {
            schema,
            rows,
            settings: self.store.settings(),
            id_columns: self.definition.spec.id_columns.clone(),
            write_key: self.write_key.clone(),
            time: WriteTime::Deleted,
        };
        Ok(self.store.backend.append(self.definition.key(), append).await?)
    }
}
