//! Soft deletes: rows are written again, with the time of their end.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result as DataFusionResult;
use datafusion::datasource::sink::{DataSink, DataSinkExec};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::dml::InsertOp;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan};

use crate::model::FeatureDefinition;
use crate::store::transfer::stored_rows;
use crate::store::{Append, FeatureTable, Store, TableState, WriteTime};

/// Where the rows of a soft delete go.
#[derive(Clone)]
pub(super) struct SoftDelete {
    store: Arc<Store>,
    definition: Arc<FeatureDefinition>,
    schema: SchemaRef,
    write_key: Option<String>,
    table: FeatureTable,
    /// The state of the table when its rows were read.
    read_at: Arc<Mutex<Option<TableState>>>,
}

impl SoftDelete {
    pub(super) fn new(table: &FeatureTable, write_key: Option<String>) -> Self {
        Self {
            store: Arc::clone(table.store()),
            definition: Arc::clone(table.definition()),
            schema: table.schema(),
            write_key,
            table: table.clone(),
            read_at: Arc::default(),
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

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> DataFusionResult<Vec<TableProviderFilterPushDown>> {
        self.table.supports_filters_pushdown(filters)
    }

    /// The rows that may go. What is written from here on is not among them, and makes the delete fail.
    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let read_at = self.store.backend.state(self.definition.key()).await?;
        *self.read_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(read_at);
        self.table.scan(state, projection, filters, limit).await
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
            only_at: self.read_at.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        };
        Ok(self.store.backend.append(self.definition.key(), append).await?)
    }
}
